/* SPDX-License-Identifier: Apache-2.0
 *
 * From the row sets of several workers to one derived stream: what a subscriber gets, written down as text.
 */
#include "batch/cell.h"
#include "pipeline/outflow.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct table_column columns[] = {
    {"window_start", WEIR_TIME, ""}, {"k", WEIR_STRING, ""},
    {"window_end", WEIR_TIME, ""},   {"n", WEIR_INT, ""},
    {"x", WEIR_FLOAT, ""},           {"Time", WEIR_BOOL, ""},
};
static const struct table table = {.name = "t",
                                   .pipeline = "p",
                                   .n_keys = 1,
                                   .n_primary = 2,
                                   .n_columns = 6,
                                   .column = columns};

static struct fixture {
    struct tasks *tasks;
    struct outflow *outflow;
    char got[4096]; /* the dispatcher's, until the log is closed */
} f;

/* ---- The subscriber ---------------------------------------------------------------------------- */

static void write_rows(const struct log_entry *e, char *to, size_t room)
{
    const struct weir_column *c = e->batch->view;
    size_t at =
        (size_t)snprintf(to, room, "%llu #%llu:", (unsigned long long)e->position,
                         (unsigned long long)e->sequence);
    for (uint32_t i = 0; i < e->batch->n_rows; i++) {
        size_t size;
        const char *k = weir_string(&c[3], i, &size);
        at += (size_t)snprintf(
            to + at, room - at, " %lld%.*s%lld%s%s", (long long)weir_int(&c[0], i),
            (int)size, k, (long long)weir_int(&c[4], i),
            weir_is_null(&c[5], i) ? "?" : "", weir_bool(&c[6], i) ? "!" : "");
    }
    if (e->reached_us != INT64_MIN)
        at += (size_t)snprintf(to + at, room - at, " |%lld", (long long)e->reached_us);
    snprintf(to + at, room - at, "\n");
}

static bool take(void *ctx, struct log_entry *e, bool command)
{
    size_t at = strlen(f.got);
    char *to = f.got + at;
    (void)ctx, (void)command;
    if (e->kind == LOG_BATCH)
        write_rows(e, to, sizeof(f.got) - at);
    else
        snprintf(to, sizeof(f.got) - at, "%llu %s %lld\n",
                 (unsigned long long)e->position,
                 e->kind == LOG_REACHED      ? "reached"
                 : e->kind == LOG_CHECKPOINT ? "checkpoint"
                                             : "end",
                 (long long)(e->kind == LOG_REACHED ? e->time_us : (int64_t)e->number));
    log_entry_unref(e);
    return true;
}

static void room(void *ctx)
{
    (void)ctx;
}

static int64_t never(void *ctx, int64_t us)
{
    (void)ctx, (void)us;
    return INT64_MAX;
}

/* `after`: the subscriber knows what is of positions up to it. */
static void begin(unsigned workers, uint64_t after)
{
    struct error error = {""};
    const struct log_sink sink = {.pipeline = "child",
                                  .put = take,
                                  .position = after,
                                  .idle_timeout_us = INT64_MAX,
                                  .next_border_us = never,
                                  .last_border_us = never};
    size_t keys;
    f = (struct fixture){0};
    assert_int_equal(tasks_new("t", 2, false, &f.tasks), 0);
    assert_int_equal(outflow_new(&table, workers, &f.outflow, &error), 0);
    assert_int_equal(outflow_open(f.outflow, f.tasks, 0, room, NULL, &error), 0);
    assert_int_equal(log_subscribe(outflow_log(f.outflow), &sink, &keys), 0);
    assert_int_equal(log_start(outflow_log(f.outflow), &error), 0);
}

static const char *end(void)
{
    static char got[sizeof(f.got)];
    assert_true(outflow_close(f.outflow, INT64_MAX));
    strcpy(got, f.got);
    outflow_free(f.outflow);
    tasks_free(f.tasks);
    return got;
}

/* ---- The workers ------------------------------------------------------------------------------- */

/* "10a1 20b2": rows of windows that end then, of these keys, with n. */
static struct outflow_piece *pieces(const char *rows, uint64_t position)
{
    struct rowset *set;
    struct outflow_piece *list = NULL;
    char *at;
    assert_int_equal(rowset_new(&table, 1, &set), 0);
    for (; *rows; rows = *at ? at + 1 : at) {
        struct weir_cell *row = rowset_row(set);
        int64_t end_us = strtoll(rows, &at, 10);
        cell_put_time(&row[0], end_us - 10);
        cell_put_string(&row[1], at, 1);
        cell_put_time(&row[2], end_us);
        cell_put_int(&row[3], strtoll(at + 1, &at, 10));
        cell_put_float(&row[4], row[3].as.i % 2 ? 0.5 : NAN);
        row[5] = (struct weir_cell){.type = WEIR_BOOL, .as.i = row[3].as.i > 5};
    }
    assert_int_equal(outflow_read(f.outflow, set, position, &list), 0);
    rowset_free(set);
    return list;
}

static void put(unsigned worker, uint64_t position, int64_t done_us, const char *rows)
{
    const struct outflow_report r = {.worker = worker,
                                     .position = position,
                                     .done_us = done_us,
                                     .border_us = INT64_MAX};
    assert_int_equal(outflow_put(f.outflow, &r, *rows ? pieces(rows, position) : NULL),
                     0);
}

static void mark(unsigned worker, enum log_kind kind, uint64_t number,
                 uint64_t position)
{
    const struct log_entry e = {.kind = kind, .number = number, .position = position};
    assert_int_equal(outflow_mark(f.outflow, worker, &e), 0);
}

/* ---- Tests ------------------------------------------------------------------------------------- */

static void columns_are_those_that_people_see_behind_the_time(void **state)
{
    (void)state;
    begin(1, 0);
    const struct schema *s = outflow_schema(f.outflow);
    static const char *const name[] = {"time_", "window_start", "window_end", "k", "n",
                                       "x",     "Time"};
    assert_int_equal(s->n, 7);
    for (size_t i = 0; i < 7; i++)
        assert_string_equal(s->column[i].name, name[i]);
    assert_int_equal(s->column[5].type, WEIR_FLOAT);
    end();
}

/* Not a number is null, as in the file. */
static void rows_of_one_worker_go_on_at_once(void **state)
{
    (void)state;
    begin(1, 0);
    put(0, 7, 10, "10a1 10b2 20a9");
    put(0, 8, 20, "20c4");
    assert_string_equal(end(), "7 #1: 9a1 9b2? 19a9! |10\n"
                               "8 #4: 19c4? |20\n");
}

static void rows_of_several_are_merged_by_window_and_key(void **state)
{
    (void)state;
    begin(3, 0);
    put(0, 7, 20, "10a1 10d1 20b1");
    put(1, 7, 20, "20a3");
    put(1, 9, 30, "30a5"); /* ahead */
    put(2, 7, 20, "10b3 10c3 20c3");
    put(2, 9, 30, "30b1");
    put(0, 9, 30, "");
    assert_string_equal(end(), "7 #1: 9a1 9b3 9c3 9d1 19a3 19b1 19c3 |20\n"
                               "9 #8: 29a5 29b1 |30\n");
}

/* A window goes on when all are done with it, in the middle of an entry, too. */
static void what_not_all_are_done_with_waits(void **state)
{
    (void)state;
    begin(2, 0);
    put(0, 7, 10, "10a1 20a1");
    put(1, 7, 30, "10b1 20b1 30b1");
    put(0, 7, 30, "20c1 30a1");
    assert_string_equal(end(), "7 #1: 9a1 9b1 |10\n"
                               "7 #3: 19a1 19b1 19c1 29a1 29b1 |30\n");
}

static void a_mark_follows_what_was_before_it_in_all_workers(void **state)
{
    (void)state;
    begin(2, 0);
    put(0, 7, 10, "10a1");
    mark(0, LOG_CHECKPOINT, 1, 7);
    put(0, 8, 20, "20a1");
    mark(0, LOG_CHECKPOINT, 2, 8);
    mark(0, LOG_END, 0, 8);
    put(1, 7, 10, "10b1");
    mark(1, LOG_CHECKPOINT, 1, 7);
    put(1, 8, 20, "20b1");
    mark(1, LOG_CHECKPOINT, 2, 8);
    mark(1, LOG_END, 0, 8);
    assert_string_equal(end(), "7 #1: 9a1 9b1 |10\n"
                               "7 checkpoint 1\n"
                               "8 #3: 19a1 19b1 |20\n"
                               "8 checkpoint 2\n"
                               "8 end 0\n");
}

static void who_waits_for_a_border_or_a_position_hears_of_it(void **state)
{
    struct outflow_report r = {.position = 7, .done_us = 19, .border_us = 20};
    (void)state;
    begin(1, 0);
    assert_int_equal(outflow_put(f.outflow, &r, NULL), 0);
    assert_int_equal(outflow_told(f.outflow), 0);
    r.position = 8;
    r.done_us = 21;
    assert_int_equal(outflow_put(f.outflow, &r, NULL), 0);
    assert_int_equal(outflow_told(f.outflow), 21);
    r.position = 9;
    r.tell = true;
    r.border_us = INT64_MAX;
    assert_int_equal(outflow_put(f.outflow, &r, NULL), 0);
    assert_string_equal(end(), "8 reached 21\n9 reached 21\n");
}

static void who_knows_some_gets_what_is_behind_and_all_marks(void **state)
{
    (void)state;
    begin(1, 7);
    outflow_go_on(f.outflow, 100);
    put(0, 7, 10, "10a1");
    mark(0, LOG_CHECKPOINT, 3, 7);
    put(0, 8, 20, "20a1");
    assert_string_equal(end(), "7 checkpoint 3\n8 #101: 19a1 |20\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_those_that_people_see_behind_the_time),
        cmocka_unit_test(rows_of_one_worker_go_on_at_once),
        cmocka_unit_test(rows_of_several_are_merged_by_window_and_key),
        cmocka_unit_test(what_not_all_are_done_with_waits),
        cmocka_unit_test(a_mark_follows_what_was_before_it_in_all_workers),
        cmocka_unit_test(who_waits_for_a_border_or_a_position_hears_of_it),
        cmocka_unit_test(who_knows_some_gets_what_is_behind_and_all_marks),
    };
    return cmocka_run_group_tests_name("outflow", tests, NULL, NULL);
}
