/* SPDX-License-Identifier: Apache-2.0
 *
 * The processes that run SQL, of which some are not what they should be: this program, started again, plays them. What it is
 * to play stands in the place of the database's name.
 */
#include "base/clock.h"
#include "query/child.h"
#include "query/process.h"
#include "store/shell.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- The process that is played ---- */

static void play_send(const struct buffer *b)
{
    if (send(QUERY_CHILD_SOCKET, b->data, b->size, MSG_NOSIGNAL) < 0)
        _exit(1);
}

static void play_question(void)
{
    char some[4096];
    if (recv(QUERY_CHILD_SOCKET, some, sizeof(some), 0) <= 0)
        _exit(0);
}

static int play(const char *part)
{
    struct buffer b = {0};
    const struct query_end end = {.offset = -1};
    play_question();
    if (strcmp(part, "is killed") == 0)
        raise(SIGKILL);
    if (strcmp(part, "exits") == 0)
        return 0;
    if (strcmp(part, "is killed by its timer") == 0)
        raise(SIGALRM);
    if (strcmp(part, "says nothing") == 0)
        pause();
    if (strcmp(part, "talks nonsense") == 0)
        buffer_puts(&b, "HTTP/1.1 200 OK\r\n\r\n");
    if (strcmp(part, "has no end") == 0) {
        query_put_head(&b, QUERY_WHOLE);
        query_put_data(&b, "x", 1);
        play_send(&b);
        pause();
    }
    if (strcmp(part, "has no end of data") == 0) {
        static const char data[1000];
        query_put_head(&b, QUERY_WHOLE);
        for (;;) {
            query_put_data(&b, data, sizeof(data));
            play_send(&b);
            buffer_clear(&b);
        }
    }
    if (strcmp(part, "says more than it was asked for") == 0) {
        query_put_head(&b, QUERY_WHOLE);
        query_put_end(&b, &end);
        query_put_head(&b, QUERY_WHOLE);
    }
    if (strcmp(part, "dies in mid-frame") == 0) {
        query_put_head(&b, QUERY_WHOLE);
        query_put_data(&b, "0123456789", 10);
        b.size -= 5;
        play_send(&b);
        return 0;
    }
    play_send(&b);
    play_question();
    return 0;
}

/* ---- The tests ---- */

static struct {
    struct metrics *metrics;
    struct query_pool *pool;
    struct query_answer answer;
    struct buffer data;
    struct error error;
    bool gone;
    int data_err; /* what the sink returns */
} t;

static int on_head(void *ctx, enum query_cut cut)
{
    (void)ctx;
    assert_int_equal(cut, QUERY_WHOLE);
    return 0;
}

static int on_data(void *ctx, const char *bytes, size_t size)
{
    (void)ctx;
    buffer_put(&t.data, bytes, size);
    return t.data_err;
}

static bool is_gone(void *ctx)
{
    (void)ctx;
    return t.gone;
}

static int ask(const char *sql, int64_t timeout_us)
{
    const struct query_sink sink = {.head = on_head, .data = on_data};
    const struct query_ask ask = {.format = ROWOUT_NDJSON,
                                  .times = ROWOUT_US,
                                  .timeout_us = timeout_us,
                                  .max_rows = 1000,
                                  .max_bytes = 1 << 20,
                                  .sql = sql,
                                  .sql_size = strlen(sql)};
    buffer_clear(&t.data);
    t.error.text[0] = 0;
    return query_run(t.pool, &ask, &sink, is_gone, NULL, &t.answer, &t.error);
}

static void start(const char *database)
{
    const struct query_options options = {
        .database = database, .memory = 32 << 20, .temp = 4 << 20};
    memset(&t, 0, sizeof(t));
    assert_int_equal(metrics_new(&t.metrics), 0);
    assert_int_equal(query_pool_new(&options, t.metrics, &t.pool), 0);
}

static void stop(void)
{
    query_pool_free(t.pool);
    metrics_free(t.metrics);
    buffer_free(&t.data);
}

static void check_metric(const char *line)
{
    struct buffer b = {0};
    metrics_print(t.metrics, &b);
    if (!strstr(buffer_text(&b), line))
        fail_msg("'%s' is not in:\n%s", line, buffer_text(&b));
    buffer_free(&b);
}

static void database_is_asked(void **state)
{
    (void)state;
    shell("weir.db",
          "CREATE TABLE numbers (n INTEGER); INSERT INTO numbers VALUES (1), (2);");
    start(shell_path("weir.db"));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask("SELECT n FROM numbers", 20 * SECOND_US), 0);
        assert_int_equal(t.answer.end.err, 0);
        assert_string_equal(buffer_text(&t.data), "{\"n\":1}\n{\"n\":2}\n");
    }
    assert_int_equal(ask("SELECT nowhere", 20 * SECOND_US), 0);
    assert_int_equal(t.answer.end.err, -EINVAL);
    assert_int_equal(t.answer.end.offset, 7);
    assert_string_equal(t.answer.end.error.text, "no such column: nowhere");
    check_metric("\nweir_sql_process_starts_total 1\n");
    stop();
}

static void processes_that_fail_cost_their_own_answer(void **state)
{
    (void)state;
    static const struct {
        const char *part;
        int err;
        const char *metric;
    } parts[] = {
        {"is killed", -ECHILD, "{reason=\"died\"} 1"},
        {"exits", -ECHILD, "{reason=\"died\"} 1"},
        {"dies in mid-frame", -ECHILD, "{reason=\"died\"} 1"},
        {"is killed by its timer", -ETIMEDOUT, "{reason=\"timeout\"} 1"},
        {"talks nonsense", -ECHILD, "{reason=\"died\"} 1"},
        {"says more than it was asked for", -ECHILD, "{reason=\"died\"} 1"},
        {"says nothing", -ETIMEDOUT, "{reason=\"timeout\"} 1"},
        {"has no end", -ETIMEDOUT, "{reason=\"timeout\"} 1"},
        {"has no end of data", -ETIMEDOUT, "{reason=\"timeout\"} 1"},
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        start(parts[i].part);
        int64_t began_us = clock_monotonic_us();
        /* A loaded machine may need more than 50 ms to start one. */
        int err = ask("SELECT 1", parts[i].err == -ETIMEDOUT ? 50000 : 20 * SECOND_US);
        if (err != parts[i].err)
            fail_msg("%s: %d: %s", parts[i].part, err, t.error.text);
        assert_true(clock_monotonic_us() - began_us < 10 * SECOND_US);
        assert_true(t.error.text[0]);
        check_metric(parts[i].metric);
        check_metric("\nweir_sql_processes 0\n");
        stop();
    }
}

static void answer_that_nobody_wants_ends_the_process(void **state)
{
    (void)state;
    start("says nothing");
    t.gone = true;
    assert_int_equal(ask("SELECT 1", 60 * SECOND_US), -ECANCELED);
    check_metric("{reason=\"cancelled\"} 1");
    stop();
    start("has no end");
    t.data_err = -ENOSPC;
    assert_int_equal(ask("SELECT 1", 60 * SECOND_US), -ENOSPC);
    check_metric("{reason=\"cancelled\"} 1");
    stop();
}

static void program_that_is_not_there_is_said(void **state)
{
    (void)state;
    const struct query_options options = {
        .program = shell_path("no-program"), .database = "x", .memory = 32 << 20};
    memset(&t, 0, sizeof(t));
    assert_int_equal(query_pool_new(&options, NULL, &t.pool), 0);
    assert_int_equal(ask("SELECT 1", SECOND_US), -EAGAIN);
    assert_non_null(strstr(t.error.text, "no process can be started"));
    stop();
}

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], QUERY_CHILD_COMMAND) == 0)
        return argv[2][0] == '/' ? query_child(argc - 1, argv + 1) : play(argv[2]);
    /* valgrind knows neither the limits of the processes nor how they are waited for. */
    const char *preload = getenv("LD_PRELOAD");
    if (preload && strstr(preload, "vgpreload"))
        return 77; /* skipped */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(database_is_asked),
        cmocka_unit_test(processes_that_fail_cost_their_own_answer),
        cmocka_unit_test(answer_that_nobody_wants_ends_the_process),
        cmocka_unit_test(program_that_is_not_there_is_said),
    };
    return cmocka_run_group_tests(tests, shell_setup, shell_teardown);
}
