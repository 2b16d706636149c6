/* SPDX-License-Identifier: Apache-2.0
 *
 * Rejected records in the file, as the sqlite3 shell sees them.
 */
#include "base/clock.h"
#include "shell.h"
#include "store/dead_letters.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>

#include <cmocka.h>

static struct metrics *metrics;

static struct store *open_started(uint64_t limit)
{
    struct store_options options = {.path = shell_path("weir.db"),
                                    .commit_interval_us = 20000};
    struct store *s;
    struct error error = {""};
    assert_int_equal(metrics_new(&metrics), 0);
    if (store_open(&options, NULL, &s, &error) ||
        dead_letters_keep(s, "ticks", limit, metrics, &error) ||
        dead_letters_keep(s, "other", 1000, metrics, &error) || store_start(s, &error))
        fail_msg("%s", error.text);
    return s;
}

static void close_all(struct store *s)
{
    store_free(s);
    metrics_free(metrics);
}

static bool metrics_say(const char *line)
{
    struct buffer b = {0};
    metrics_print(metrics, &b);
    bool said = strstr(buffer_text(&b), line);
    buffer_free(&b);
    return said;
}

static struct dead_letter letter(const char *stream, uint64_t line, const char *record,
                                 size_t size)
{
    return (struct dead_letter){.stream = stream,
                                .received_us = 1700000000123456,
                                .source = "north",
                                .line = line,
                                .column = 7,
                                .reason = "type",
                                .message = "field 'v': it's wrong",
                                .record = record,
                                .record_size = size};
}

static void put(struct store *s, const char *stream, uint64_t line)
{
    struct dead_letter l = letter(stream, line, "{]", 2);
    dead_letters_put(s, &l, 1);
}

static void letters_are_in_the_table(void **state)
{
    (void)state;
    struct store *s = open_started(100);
    struct dead_letter l[2] = {letter("ticks", 3, "{\"v\": \"x\"}", 10),
                               letter("ticks", 4, NULL, 0)};
    l[1].truncated = true;
    l[1].source = "";
    dead_letters_put(s, l, 2);
    put(s, "other", 1);
    put(s, "unknown", 1);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(
        shell("weir.db", "SELECT * FROM weir_dead_letters ORDER BY stream, number"),
        "other|1|1700000000123456|north|1|7|type|field 'v': it's wrong|{]|0|0\n"
        "ticks|1|1700000000123456|north|3|7|type|field 'v': it's wrong|"
        "{\"v\": \"x\"}|0|0\n"
        "ticks|2|1700000000123456||4|7|type|field 'v': it's wrong||0|1\n");
    assert_string_equal(shell("weir.db", "SELECT record IS NULL FROM weir_dead_letters "
                                         "WHERE line = 4"),
                        "1\n");
    assert_true(metrics_say("weir_dead_letters_total{stream=\"ticks\"} 2\n"));
    assert_true(metrics_say("weir_dead_letters_dropped_total{stream=\"ticks\"} 0\n"));
    close_all(s);
}

static void bytes_that_are_no_text_are_escaped(void **state)
{
    (void)state;
    static const char bad[] = "a\\b\xff\x00\xc3\xa4\xe2\x82";
    struct store *s = open_started(100);
    struct dead_letter l[2] = {letter("ticks", 1, bad, sizeof(bad) - 1),
                               letter("ticks", 2, "a\\xff \xc3\xa4", 8)};
    dead_letters_put(s, l, 2);
    close_all(s);
    assert_string_equal(
        shell("weir.db", "SELECT record, escaped FROM weir_dead_letters"),
        "a\\\\b\\xff\\x00\xc3\xa4\\xe2\\x82|1\n"
        "a\\xff \xc3\xa4|0\n");
    /* a \ \ b, 4, 4, 2, 4, 4 */
    assert_string_equal(
        shell("weir.db", "SELECT length(CAST(record AS BLOB)) FROM weir_dead_letters"),
        "22\n8\n");
}

static void oldest_letters_go(void **state)
{
    (void)state;
    struct store *s = open_started(100);
    for (uint64_t i = 1; i <= 250; i++) {
        put(s, "ticks", i);
        if (i % 10 == 0)
            store_flush(s);
    }
    put(s, "other", 1);
    assert_int_equal(store_flush(s), 0);
    static const char sql[] = "SELECT stream, count(*), min(line), max(line) "
                              "FROM weir_dead_letters GROUP BY 1";
    assert_string_equal(shell("weir.db", sql), "other|1|1|1\nticks|100|151|250\n");
    close_all(s);
    /* a lower limit holds at once; numbers go on */
    s = open_started(30);
    assert_string_equal(shell("weir.db", sql), "other|1|1|1\nticks|30|221|250\n");
    put(s, "ticks", 1000);
    close_all(s);
    assert_string_equal(shell("weir.db", "SELECT number, line FROM weir_dead_letters "
                                         "WHERE stream = 'ticks' AND number > 249"),
                        "250|250\n251|1000\n");
    s = open_started(0);
    put(s, "ticks", 1001);
    close_all(s);
    assert_string_equal(shell("weir.db", sql), "other|1|1|1\n");
}

static void emptied_stream_has_none_and_counts_on(void **state)
{
    (void)state;
    struct store *s = open_started(100);
    for (uint64_t i = 1; i <= 5; i++)
        put(s, "ticks", i);
    put(s, "other", 1);
    int64_t until_us = clock_monotonic_us() + 20 * SECOND_US;
    assert_int_equal(dead_letters_empty(s, "ticks", until_us), 0);
    assert_int_equal(dead_letters_empty(s, "unknown", until_us), -ENOENT);
    assert_string_equal(
        shell("weir.db", "SELECT stream, number FROM weir_dead_letters"), "other|1\n");
    put(s, "ticks", 6);
    close_all(s);
    assert_string_equal(
        shell("weir.db", "SELECT stream, number FROM weir_dead_letters"),
        "other|1\nticks|6\n");
}

static void put_once(struct store *s, uint64_t line, const char *source,
                     const char *record, size_t size)
{
    struct dead_letter l = letter("ticks", line, record, size);
    l.source = source;
    l.once = true;
    dead_letters_put(s, &l, 1);
}

static void letters_of_a_file_that_is_read_again_are_there_once(void **state)
{
    (void)state;
    static const char sql[] = "SELECT number, source, line, record FROM "
                              "weir_dead_letters WHERE stream = 'ticks'";
    struct store *s = open_started(100);
    for (int again = 0; again < 2; again++) {
        put_once(s, 1, "a.csv", "x", 1);
        put_once(s, 1, "b.csv", "x", 1);
        put_once(s, 1, "a.csv", "y\xff", 2); /* the file is another one */
        put_once(s, 2, "a.csv", "x", 1);
        put_once(s, 3, "a.csv", NULL, 0);
    }
    put(s, "ticks", 1); /* those of requests are there as often as they came */
    put(s, "ticks", 1);
    close_all(s);
    s = open_started(100);
    put_once(s, 1, "a.csv", "y\xff", 2);
    put_once(s, 3, "a.csv", NULL, 0);
    put_once(s, 4, "a.csv", "x", 1);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(shell("weir.db", sql), "1|a.csv|1|x\n2|b.csv|1|x\n"
                                               "3|a.csv|1|y\\xff\n4|a.csv|2|x\n"
                                               "5|a.csv|3|\n6|north|1|{]\n"
                                               "7|north|1|{]\n8|a.csv|4|x\n");
    assert_int_equal(
        dead_letters_empty(s, "ticks", clock_monotonic_us() + 20 * SECOND_US), 0);
    put_once(s, 1, "a.csv", "x", 1);
    close_all(s);
    assert_string_equal(shell("weir.db", sql), "9|a.csv|1|x\n");
}

static void as_many_letters_of_files_are_known_as_are_kept(void **state)
{
    (void)state;
    struct store *s = open_started(100);
    for (int again = 0; again < 3; again++) {
        for (uint64_t i = 1; i <= 100; i++) {
            put_once(s, i, "a.csv", "x", 1);
            if (i % 10 == 0)
                store_flush(s);
        }
    }
    for (uint64_t i = 1; i <= 1000; i++) {
        put_once(s, i, "long.csv", "x", 1);
        if (i % 10 == 0)
            store_flush(s);
    }
    close_all(s);
    assert_string_equal(shell("weir.db",
                              "SELECT source, count(*), min(line), max(number) "
                              "FROM weir_dead_letters GROUP BY 1"),
                        "long.csv|100|901|1100\n");
}

/* The writer is kept from writing: puts must return, and the inbox must not grow. */
static void letters_that_do_not_fit_are_dropped_and_counted(void **state)
{
    (void)state;
    struct store *s = open_started(1000);
    sqlite3 *other;
    assert_int_equal(sqlite3_open(shell_path("weir.db"), &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL),
                     SQLITE_OK);
    for (uint64_t i = 1; i <= 200; i++)
        put(s, "ticks", i);
    assert_int_equal(dead_letters_empty(s, "other", clock_monotonic_us() + 20000),
                     -ETIMEDOUT);
    assert_true(metrics_say("weir_dead_letters_dropped_total{stream=\"ticks\"} 136\n"));
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    assert_int_equal(store_flush(s), 0);
    /* once the writer has come to this, it has freed what it wrote before */
    assert_int_equal(
        dead_letters_empty(s, "other", clock_monotonic_us() + 20 * SECOND_US), 0);
    put(s, "ticks", 201);
    close_all(s);
    assert_string_equal(shell("weir.db", "SELECT count(*), max(number), max(line) "
                                         "FROM weir_dead_letters"),
                        "65|65|201\n");
}

static void long_letters_are_bounded_by_bytes(void **state)
{
    (void)state;
    static char record[4096];
    static struct dead_letter l[100];
    memset(record, 0xff, sizeof(record)); /* four times as long when it is escaped */
    struct store *s = open_started(1000);
    sqlite3 *other;
    assert_int_equal(sqlite3_open(shell_path("weir.db"), &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL),
                     SQLITE_OK);
    for (uint64_t i = 0; i < 100; i++)
        l[i] = letter("ticks", i + 1, record, sizeof(record));
    dead_letters_put(s, l, 100); /* more than all may have, but it is the only one */
    dead_letters_put(s, l, 1);
    assert_true(metrics_say("weir_dead_letters_dropped_total{stream=\"ticks\"} 1\n"));
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    close_all(s);
    assert_string_equal(shell("weir.db", "SELECT count(*), sum(length(record)) "
                                         "FROM weir_dead_letters"),
                        "100|1638400\n");
}

static void *put_many(void *store)
{
    for (uint64_t i = 1; i <= 500; i++)
        put(store, "ticks", i);
    return NULL;
}

static void threads_put_at_once(void **state)
{
    (void)state;
    pthread_t thread[4];
    struct store *s = open_started(100000);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, put_many, s), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(store_flush(s), 0);
    /* each is in the table under a number of its own, or counted as dropped */
    char line[100];
    int kept = atoi(shell("weir.db", "SELECT count(*) FROM weir_dead_letters"));
    int last = atoi(shell("weir.db", "SELECT max(number) FROM weir_dead_letters"));
    assert_int_equal(kept, last);
    snprintf(line, sizeof(line),
             "weir_dead_letters_dropped_total{stream=\"ticks\"} %d\n", 2000 - kept);
    assert_true(metrics_say(line));
    close_all(s);
}

/* A file as the first version left it. */
static void older_file_gets_the_table(void **state)
{
    (void)state;
    close_all(open_started(100));
    shell("weir.db", "DROP TABLE weir_dead_letters; DROP TABLE weir_checkpoints;"
                     "DROP TABLE weir_states; DROP TABLE weir_streams;"
                     "DROP TABLE weir_requests; DROP TABLE weir_hooks;"
                     "DROP TABLE weir_hook_states; DROP TABLE weir_hook_notices;"
                     "DROP TABLE weir_answers; DROP TABLE weir_bookmarks;"
                     "DROP TABLE weir_carried; DROP TABLE weir_published;"
                     "UPDATE weir_meta SET value = '1' WHERE key = 'schema_version'");
    struct store *s = open_started(100);
    put(s, "ticks", 1);
    close_all(s);
    assert_string_equal(shell("weir.db", "SELECT count(*) FROM weir_dead_letters"),
                        "1\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, shell_setup, shell_teardown)
    const struct CMUnitTest tests[] = {
        TEST(letters_are_in_the_table),
        TEST(bytes_that_are_no_text_are_escaped),
        TEST(oldest_letters_go),
        TEST(emptied_stream_has_none_and_counts_on),
        TEST(letters_of_a_file_that_is_read_again_are_there_once),
        TEST(as_many_letters_of_files_are_known_as_are_kept),
        TEST(letters_that_do_not_fit_are_dropped_and_counted),
        TEST(long_letters_are_bounded_by_bytes),
        TEST(threads_put_at_once),
        TEST(older_file_gets_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
