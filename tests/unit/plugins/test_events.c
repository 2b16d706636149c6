/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `events` of the analyzer sql: plans say which columns they read, and to read one that rows are without is an
 * error, in whatever way it is done.
 */
#include "../../../plugins/sql/events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COLUMNS 70 /* more than a plan tells apart */
#define ROWS    3

static void *lend(struct weir_ctx *ctx, size_t size)
{
    (void)ctx;
    return calloc(1, size ? size : 1);
}

static void give_back(struct weir_ctx *ctx, void *p)
{
    (void)ctx;
    free(p);
}

struct fixture {
    struct weir_host host;
    struct weir_ctx ctx;
    uint32_t types[COLUMNS];
    char names[COLUMNS][8];
    const char *name[COLUMNS];
    uint32_t *by[COLUMNS];
    bool reads[COLUMNS];
    int64_t values[ROWS];
    uint32_t row[ROWS];
    struct weir_column column;
    const struct weir_column *in[COLUMNS];
    struct weir_rows rows;
    struct events events;
    sqlite3 *db;
};

/* Columns c0, c1, ... of integers, all with the values 5, 6, 7. */
static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->host = (struct weir_host){.alloc = lend, .free = give_back};
    f->ctx =
        (struct weir_ctx){.host = &f->host, .types = f->types, .n_inputs = COLUMNS};
    f->column = (struct weir_column){.type = WEIR_INT, .values = f->values};
    for (uint32_t i = 0; i < COLUMNS; i++) {
        f->types[i] = WEIR_INT;
        snprintf(f->names[i], sizeof(f->names[i]), "c%u", i);
        f->name[i] = f->names[i];
        f->in[i] = &f->column;
    }
    for (uint32_t i = 0; i < ROWS; i++) {
        f->values[i] = 5 + i;
        f->row[i] = i;
    }
    f->rows = (struct weir_rows){.size = sizeof(f->rows),
                                 .n = ROWS,
                                 .row = f->row,
                                 .time = f->values,
                                 .in = f->in};
    f->events = (struct events){
        .ctx = &f->ctx, .name = f->name, .n = COLUMNS, .by = f->by, .reads = f->reads};
    assert_int_equal(sqlite3_open(":memory:", &f->db), SQLITE_OK);
    assert_int_equal(events_install(&f->events, f->db), SQLITE_OK);
    events_set(&f->events, &f->rows);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    sqlite3_close(f->db);
    events_set(&f->events, NULL);
    free(f);
    return 0;
}

/* The one number that a statement gives; SQLite's text goes to `text` where it fails. */
static int64_t number(struct fixture *f, const char *sql, char *text, size_t size)
{
    sqlite3_stmt *s = NULL;
    int64_t ret = -1;
    assert_int_equal(sqlite3_prepare_v2(f->db, sql, -1, &s, NULL), SQLITE_OK);
    int r = sqlite3_step(s);
    if (r == SQLITE_ROW)
        ret = sqlite3_column_int64(s, 0);
    snprintf(text, size, "%s", r == SQLITE_ROW ? "" : sqlite3_errmsg(f->db));
    sqlite3_finalize(s);
    return ret;
}

static void test_plans_say_what_they_read(void **state)
{
    static const struct {
        const char *sql;
        int n;           /* what it gives */
        int first, last; /* of the columns that it reads; -1: none */
    } statements[] = {
        {"SELECT count(*) FROM events", 3, -1, -1},
        {"SELECT max(rowid) FROM events", 3, -1, -1},
        {"SELECT count(*) FROM events AS a JOIN events AS b USING (c3)", 3, 3, 3},
        {"SELECT count(*) FROM events AS a JOIN (SELECT 5 AS c62) USING (c62)", 1, 62,
         62},
        {"SELECT count(*) FROM events AS a JOIN events AS b USING (c66)", 3, 63, 69},
        {"SELECT count(*) FROM events AS a NATURAL JOIN events AS b", 3, 0, 69},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
        char text[256];
        memset(f->reads, 0, sizeof(f->reads));
        assert_int_equal(number(f, statements[i].sql, text, sizeof(text)),
                         statements[i].n);
        assert_string_equal(text, "");
        for (int c = 0; c < COLUMNS; c++)
            assert_int_equal(f->reads[c],
                             c >= statements[i].first && c <= statements[i].last);
    }
}

static void test_to_read_what_is_not_there_fails(void **state)
{
    static const char *const statements[] = {
        "SELECT sum(c1) FROM events",                          /* as they lie */
        "SELECT count(*) FROM events WHERE c1 = 5",            /* rows of one value */
        "SELECT count(*) FROM events WHERE c1 = NULL",         /* with no value */
        "SELECT count(*) FROM events WHERE c0 = 5 AND c1 = 5", /* which SQLite sees to */
        "SELECT rowid FROM events ORDER BY c1",                /* by one */
        "SELECT rowid FROM events ORDER BY c0, c1 DESC",       /* by several */
        "SELECT count(*) FROM events GROUP BY c1",             /* groups */
        "SELECT a.c0 FROM events AS a JOIN events AS b USING (c1)", /* without its name */
        "SELECT count(*) FROM events AS a LEFT JOIN events AS b USING (c1)",
    };
    struct fixture *f = *state;
    char text[256];
    f->in[1] = NULL;
    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
        number(f, statements[i], text, sizeof(text));
        if (!strstr(text, "column 'c1' is read but not kept"))
            fail_msg("%s: %s", statements[i], text);
    }
    assert_int_equal(number(f, "SELECT sum(c0) FROM events WHERE c2 > 5 ORDER BY c3",
                            text, sizeof(text)),
                     13);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_plans_say_what_they_read, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_to_read_what_is_not_there_fails, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
