/* SPDX-License-Identifier: Apache-2.0
 *
 * The store: what was put is in the file, all of it or nothing, as the sqlite3 shell sees it.
 */
#include "base/clock.h"
#include "shell.h"
#include "store/changes.h"
#include "store/hand.h"
#include "store/hooks.h"
#include "store/internal.h"
#include "store/restore.h"
#include "store/results.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cmocka.h>

#define MINUTE_US (60 * SECOND_US)

static struct table_column columns[] = {
    {"window_start", WEIR_TIME, "start of the window"},
    {"symbol", WEIR_STRING, "key"},
    {"window_end", WEIR_TIME, "end of the window"},
    {"count", WEIR_INT, "events"},
    {"price_mean", WEIR_FLOAT, "mean"},
    {"last_seen", WEIR_TIME, "time"},
};

static struct table trades = {
    .name = "trades",
    .pipeline = "trades",
    .window = {.size_us = MINUTE_US, .pane_us = MINUTE_US},
    .retain_us = INT64_MAX,
    .n_keys = 1,
    .n_primary = 2,
    .n_columns = 5,
    .column = columns,
};

static struct rowset *rows_new(const struct table *t, size_t n)
{
    struct rowset *r;
    assert_int_equal(rowset_new(t, n, &r), 0);
    for (size_t i = 0; i < n; i++)
        assert_non_null(rowset_row(r));
    return r;
}

/* Row i: symbol `S%05i`, count i * 3, mean i + 0.5. */
static struct rowset *rows_made(const struct table *t, int64_t start_us, size_t n)
{
    struct rowset *r = rows_new(t, n);
    for (size_t i = 0; i < n; i++) {
        struct weir_cell *c = r->cell + i * t->n_columns;
        char symbol[16];
        int size = snprintf(symbol, sizeof(symbol), "S%05zu", i);
        cell_put_int(&c[0], start_us);
        c[0].type = WEIR_TIME;
        cell_put_string(&c[1], symbol, (uint32_t)size);
        assert_int_equal(rowset_keep(r, &c[1]), 0);
        cell_put_int(&c[3], (int64_t)i * 3);
        cell_put_float(&c[4], (double)i + 0.5);
    }
    return r;
}

static struct store *open_as(const char *name, struct table *t, bool relaxed)
{
    struct store_options options = {
        .path = shell_path(name), .commit_interval_us = 20000, .relaxed = relaxed};
    struct store *s;
    struct error error = {""};
    if (store_open(&options, NULL, &s, &error) || (t && store_table(s, t, &error)) ||
        store_start(s, &error))
        fail_msg("%s", error.text);
    return s;
}

static struct store *open_started(struct table *t)
{
    return open_as("weir.db", t, false);
}

static int put(struct store *s, int64_t watermark_us, struct rowset *rows)
{
    struct store_report report = {"trades", 0, 1, 7, watermark_us, rows};
    return store_put(s, &report);
}

static void rows_put_are_read_back_after_close(void **state)
{
    (void)state;
    struct store *s = open_started(&trades);
    int64_t start = 1700000040 * SECOND_US;
    assert_int_equal(put(s, start + MINUTE_US, rows_made(&trades, start, 123)), 0);
    assert_int_equal(
        put(s, start + 2 * MINUTE_US, rows_made(&trades, start + MINUTE_US, 50)), 0);
    store_free(s);
    /* 3 * (0 + ... + 122) = 22509, 3 * (0 + ... + 49) = 3675 */
    assert_string_equal(
        shell("weir.db", "SELECT window_start, count(*), min(symbol), max(symbol), "
                         "sum(\\\"count\\\"), sum(price_mean), max(window_end) "
                         "FROM trades GROUP BY 1"),
        "1700000040000000|123|S00000|S00122|22509|7564.5|1700000100000000\n"
        "1700000100000000|50|S00000|S00049|3675|1250.0|1700000160000000\n");
    assert_string_equal(
        shell("weir.db", "SELECT * FROM trades WHERE symbol = 'S00007' LIMIT 1"),
        "1700000040000000|S00007|21|7.5|1700000100000000\n");
    assert_string_equal(shell("weir.db", "PRAGMA integrity_check"), "ok\n");
}

static bool nobody_listens(void *ctx, const char *table)
{
    (void)ctx;
    (void)table;
    return false;
}

/* Its pipeline was left out before its tables are known. */
static void changes_of_a_hook_that_is_left_out_are_kept(void **state)
{
    (void)state;
    struct error error = {""};
    const struct table *table = &trades;
    struct hook_id id = {.pipeline = "trades", .hook = "h", .table = "trades"};
    struct store *s = open_started(&trades);
    assert_int_equal(hooks_open(s, &id, &table, 1, &error), 0);
    assert_int_equal(put(s, MINUTE_US, rows_made(&trades, 0, 123)), 0);
    store_free(s);

    id.table = NULL;
    table = NULL;
    s = open_started(NULL);
    assert_int_equal(hooks_open(s, &id, &table, 1, &error), 0);
    assert_int_equal(changes_tidy(s, nobody_listens, NULL, &error), 0);
    store_free(s);
    assert_string_equal(shell("weir.db", "SELECT count(*) FROM weir_changes_trades"),
                        "123\n");

    s = open_started(NULL); /* it is not configured any more */
    assert_int_equal(hooks_open(s, NULL, NULL, 0, &error), 0);
    assert_int_equal(changes_tidy(s, nobody_listens, NULL, &error), 0);
    store_free(s);
    assert_string_equal(
        shell("weir.db",
              "SELECT count(*) FROM sqlite_schema WHERE name = 'weir_changes_trades'"),
        "0\n");
}

/* "FIRST N SYMBOL\n" of each set. */
struct taken {
    char text[256];
};

static void take_set(void *ctx, struct rowset *r)
{
    struct taken *t = ctx;
    const size_t used = strlen(t->text);
    const struct weir_cell *symbol = &r->cell[1];
    snprintf(t->text + used, sizeof(t->text) - used, "%lld %zu %.*s\n",
             (long long)r->first, r->n_rows, (int)symbol->size, symbol->as.s);
    rowset_free(r);
}

static void put_now(struct store *s, int64_t start_us, size_t n)
{
    assert_int_equal(put(s, start_us + MINUTE_US, rows_made(&trades, start_us, n)), 0);
    assert_int_equal(store_flush(s), 0);
}

/* The numbers are those of the rows in the file; what was there before, in part or not, or is nobody's to follow is not handed on. */
static void sets_of_new_rows_are_handed_on_with_their_numbers(void **state)
{
    (void)state;
    struct taken taken = {""}, other = {""};
    struct changes known;
    struct error error = {""};
    struct store *s = open_started(&trades);
    assert_int_equal(store_hand(s, take_set, &taken), 0);
    assert_int_equal(store_hand(s, take_set, &other), -EBUSY);
    put_now(s, 0, 10); /* nobody follows it */
    assert_int_equal(changes_follow(s, &trades, &known, &error), 0);
    put_now(s, MINUTE_US, 123);
    put_now(s, MINUTE_US, 123); /* all are there */
    put_now(s, MINUTE_US, 125); /* most are */
    put_now(s, 2 * MINUTE_US, 1);
    put_now(s, 3 * MINUTE_US, 50);
    assert_string_equal(
        shell("weir.db", "SELECT seq, window_start / 60000000 FROM weir_changes_trades "
                         "WHERE symbol = 'S00000'"),
        "1|1\n126|2\n127|3\n");
    assert_string_equal(taken.text, "1 123 S00000\n126 1 S00000\n127 50 S00000\n");
    shell("weir.db", "CREATE TABLE theirs (x); CREATE TRIGGER theirs AFTER INSERT ON "
                     "trades BEGIN INSERT INTO theirs VALUES (1); END");
    put_now(s, 4 * MINUTE_US, 5);
    shell("weir.db", "DROP TRIGGER theirs");
    put_now(s, 5 * MINUTE_US, 5);
    assert_int_equal(store_hand(s, NULL, &taken), 0);
    put_now(s, 6 * MINUTE_US, 5);
    assert_string_equal(taken.text, "1 123 S00000\n126 1 S00000\n127 50 S00000\n"
                                    "182 5 S00000\n");
    assert_string_equal(other.text, "");
    store_free(s);
}

/* It has a number already when what comes behind it in the transaction is refused, and its pipeline is left out. */
static void a_set_that_is_rolled_back_is_not_handed_on(void **state)
{
    (void)state;
    struct taken taken = {""};
    struct changes known;
    struct error error = {""};
    struct store *s = open_started(&trades);
    assert_int_equal(store_hand(s, take_set, &taken), 0);
    assert_int_equal(changes_follow(s, &trades, &known, &error), 0);
    shell("weir.db", "CREATE TRIGGER no BEFORE INSERT ON trades WHEN NEW.symbol = "
                     "'S00003' BEGIN SELECT RAISE(ABORT, 'no'); END");
    struct rowset *rows = rows_made(&trades, 0, 2);
    rows->next = rows_made(&trades, MINUTE_US, 5);
    assert_int_equal(put(s, 2 * MINUTE_US, rows), 0);
    store_flush(s);
    assert_string_equal(shell("weir.db", "SELECT count(*) FROM trades"), "0\n");
    assert_string_equal(taken.text, "");
    store_free(s);
}

static void readable_view_shows_rfc3339(void **state)
{
    (void)state;
    trades.n_columns = 6;
    trades.window.size_us = trades.window.pane_us = 250000;
    struct store *s = open_started(&trades);
    struct rowset *r = rows_new(&trades, 2);
    int64_t start[] = {-250000, 1700000000000000};
    for (size_t i = 0; i < 2; i++) {
        struct weir_cell *c = r->cell + i * 6;
        cell_put_int(&c[0], start[i]);
        cell_put_string(&c[1], "A", 1);
    }
    cell_put_int(&r->cell[11], 1700000000123456);
    assert_int_equal(put(s, 0, r), 0);
    store_free(s);
    trades.n_columns = 5;
    trades.window.size_us = trades.window.pane_us = MINUTE_US;
    assert_string_equal(shell("weir.db", "SELECT * FROM trades_readable"),
                        "1969-12-31T23:59:59.750000Z|1970-01-01T00:00:00Z|A|||\n"
                        "2023-11-14T22:13:20Z|2023-11-14T22:13:20.250000Z|A|||"
                        "2023-11-14T22:13:20.123456Z\n");
}

/* The first and the last microsecond of an int64, and both ends of what SQLite's own functions know. By Python's
 * datetime, moved by cycles of 146,097 days. */
static void readable_view_shows_years_that_sqlite_does_not_know(void **state)
{
    (void)state;
    static const int64_t start[] = {INT64_MIN,          -62167219200000001,
                                    -62167219200000000, 253402300799999999,
                                    253402300800000000, 12622780800000000 * 60,
                                    INT64_MAX - 1000000};
    size_t n = sizeof(start) / sizeof(start[0]);
    trades.window.size_us = trades.window.pane_us = 1;
    struct store *s = open_started(&trades);
    struct rowset *r = rows_new(&trades, n);
    for (size_t i = 0; i < n; i++) {
        cell_put_int(&r->cell[i * trades.n_columns], start[i]);
        cell_put_string(&r->cell[i * trades.n_columns + 1], "A", 1);
    }
    assert_int_equal(put(s, 0, r), 0);
    store_free(s);
    trades.window.size_us = trades.window.pane_us = MINUTE_US;
    assert_string_equal(shell("weir.db", "SELECT window_start FROM trades_readable"),
                        "-290308-12-21T19:59:05.224192Z\n"
                        "-0001-12-31T23:59:59.999999Z\n"
                        "0000-01-01T00:00:00Z\n"
                        "9999-12-31T23:59:59.999999Z\n"
                        "10000-01-01T00:00:00Z\n"
                        "25970-01-01T00:00:00Z\n"
                        "294247-01-10T04:00:53.775807Z\n");
}

/* They are of windows that closed. After a crash the watermark may be behind them, and events that come
 * then make rows of the same windows that know of less. */
static void rows_in_the_table_stay_as_they_are(void **state)
{
    (void)state;
    struct store *s = open_started(&trades);
    for (int64_t i = 0; i < 3; i++) {
        struct rowset *r = rows_made(&trades, 0, 77 + (size_t)i);
        for (size_t k = 0; i && k < 77; k++)
            cell_put_int(&r->cell[k * 5 + 3], 1);
        assert_int_equal(put(s, MINUTE_US, r), 0);
        assert_int_equal(store_flush(s), 0);
    }
    store_free(s);
    assert_string_equal(
        shell("weir.db", "SELECT count(*), sum(\\\"count\\\") FROM trades"),
        "79|9243\n"); /* 3 * 78 * 79 / 2, the last two rows from later puts */
}

/* A table whose rows can be revised: window_start, symbol, revision, c0; many: with a rank. A column may have
 * the name that columns of a set have. */
static struct table_column revised_columns[] = {
    {"window_start", WEIR_TIME, "start of the window"},
    {"symbol", WEIR_STRING, "key"},
    {"window_end", WEIR_TIME, "end of the window"},
    {"revision", WEIR_INT, "revision"},
    {"c0", WEIR_INT, "output"},
};
static struct table_column many_columns[] = {
    {"window_start", WEIR_TIME, "start of the window"},
    {"symbol", WEIR_STRING, "key"},
    {"rank", WEIR_INT, "rank"},
    {"window_end", WEIR_TIME, "end of the window"},
    {"revision", WEIR_INT, "revision"},
    {"c0", WEIR_INT, "output"},
};
static struct table revised = {.name = "revised",
                               .pipeline = "trades",
                               .window = {.size_us = MINUTE_US, .pane_us = MINUTE_US},
                               .retain_us = INT64_MAX,
                               .n_keys = 1,
                               .n_primary = 2,
                               .revision = 3,
                               .n_columns = 5,
                               .column = revised_columns};
static struct table many = {.name = "revised",
                            .pipeline = "trades",
                            .window = {.size_us = MINUTE_US, .pane_us = MINUTE_US},
                            .retain_us = INT64_MAX,
                            .n_keys = 1,
                            .n_primary = 3,
                            .revision = 4,
                            .n_columns = 6,
                            .column = many_columns};

static void add_row(struct rowset *r, const char *symbol, int rank, int revision,
                    int value)
{
    struct weir_cell *c = rowset_row(r);
    assert_non_null(c);
    c[0] = (struct weir_cell){.type = WEIR_TIME, .as.i = 0};
    cell_put_string(&c[1], symbol, strlen(symbol));
    size_t n = 2;
    if (r->table->n_primary == 3)
        cell_put_int(&c[n++], rank);
    n++; /* window_end, which SQLite computes */
    cell_put_int(&c[n++], revision);
    cell_put_int(&c[n], value);
}

static void put_one(struct store *s, const char *symbol, int revision, int value)
{
    struct rowset *r = rows_new(&revised, 0);
    add_row(r, symbol, 0, revision, value);
    assert_int_equal(put(s, MINUTE_US, r), 0);
}

static void assert_table(struct store *s, const char *expected)
{
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(shell("weir.db", "SELECT * FROM revised"), expected);
}

static struct store *open_counted(struct table *t, struct metrics **ret_metrics)
{
    struct store_options options = {.path = shell_path("weir.db"),
                                    .commit_interval_us = 20000};
    struct store *s;
    struct error error = {""};
    assert_int_equal(metrics_new(ret_metrics), 0);
    if (store_open(&options, *ret_metrics, &s, &error) || store_table(s, t, &error) ||
        store_start(s, &error))
        fail_msg("%s", error.text);
    return s;
}

static void assert_counted(struct metrics *m, const char *written, const char *known)
{
    struct buffer text = {0};
    metrics_print(m, &text);
    char line[80];
    snprintf(line, sizeof(line), "\nweir_store_rows_total %s\n", written);
    assert_non_null(strstr(buffer_text(&text), line));
    snprintf(line, sizeof(line), "\nweir_store_known_rows_total %s\n", known);
    assert_non_null(strstr(buffer_text(&text), line));
    buffer_free(&text);
}

static const char is_not_null[] =
    "SELECT \\\"notnull\\\" FROM pragma_table_info('revised') WHERE name = 'revision'";

static void a_higher_revision_takes_the_place_of_a_row(void **state)
{
    (void)state;
    struct metrics *m;
    struct store *s = open_counted(&revised, &m);
    assert_string_equal(shell("weir.db", is_not_null), "1\n");
    put_one(s, "A", 0, 10);
    put_one(s, "B", 2, 20);
    assert_table(s, "0|A|0|10|60000000\n0|B|2|20|60000000\n");
    put_one(s, "A", 1, 11);
    put_one(s, "A", 4, 14);
    assert_table(s, "0|A|4|14|60000000\n0|B|2|20|60000000\n");
    assert_counted(m, "4", "0");
    /* Put again after a crash: the same rows, in the same order. */
    put_one(s, "A", 0, 10);
    assert_table(s, "0|A|4|14|60000000\n0|B|2|20|60000000\n");
    put_one(s, "B", 2, 99);
    put_one(s, "A", 1, 11);
    put_one(s, "A", 4, 14);
    assert_table(s, "0|A|4|14|60000000\n0|B|2|20|60000000\n");
    assert_counted(m, "4", "4");
    store_free(s);
    metrics_free(m);
}

/* Rows of A and of B; the replay puts them again. */
static void put_sets(struct store *s, bool flush)
{
    static const struct {
        const char *symbol;
        int rank, revision, value;
    } row[] = {
        {"A", 1, 0, 1},
        {"A", 2, 0, 2},
        {"A", 3, 0, 3},
        {"B", 1, 0, 8},
        {0},
        {"A", 1, 2, 5},
        {"A", 2, 2, 6},
        {"C", 1, 1, 30},
        {0}, /* fewer; and a new one */
        {"A", 0, 3, 0},
        {"B", 1, 1, 80},
        {"B", 2, 1, 81},
        {0}, /* none; and more */
    };
    struct rowset *r = rows_new(&many, 0);
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        if (row[i].symbol) {
            add_row(r, row[i].symbol, row[i].rank, row[i].revision, row[i].value);
            continue;
        }
        assert_int_equal(put(s, MINUTE_US, r), 0);
        if (flush)
            assert_int_equal(store_flush(s), 0);
        r = rows_new(&many, 0);
    }
    rowset_free(r);
}

static void a_higher_revision_takes_the_place_of_all_rows_of_a_group(void **state)
{
    (void)state;
    static const char expected[] = "0|B|1|1|80|60000000\n0|B|2|1|81|60000000\n"
                                   "0|C|1|1|30|60000000\n";
    struct metrics *m;
    struct store *s = open_counted(&many, &m);
    put_sets(s, false); /* in one transaction, or in some */
    assert_table(s, expected);
    assert_counted(m, "9", "0");
    put_sets(s, true);
    assert_table(s, expected);
    store_free(s);
    metrics_free(m);
}

static void rows_of_an_older_revision_are_not_put_beside_newer_ones(void **state)
{
    (void)state;
    struct metrics *m;
    struct store *s = open_counted(&many, &m);
    struct rowset *r = rows_new(&many, 0);
    add_row(r, "A", 1, 5, 50);
    assert_int_equal(put(s, MINUTE_US, r), 0);
    r = rows_new(&many, 0);
    for (int rank = 1; rank <= 3; rank++)
        add_row(r, "A", rank, 4, rank);
    assert_int_equal(put(s, MINUTE_US, r), 0);
    assert_table(s, "0|A|1|5|50|60000000\n");
    r = rows_new(&many, 0);
    add_row(r, "A", 0, 4, 0); /* nor do they go for an older set without rows */
    assert_int_equal(put(s, MINUTE_US, r), 0);
    assert_table(s, "0|A|1|5|50|60000000\n");
    assert_counted(m, "1", "3");
    store_free(s);
    metrics_free(m);
}

/* Rows as rows_made, of one window, with its end. */
static struct rowset *rows_when(enum rowset_when when, int64_t start_us, size_t n,
                                int64_t more)
{
    struct rowset *r = rows_made(&trades, start_us, n);
    r->when = when;
    for (size_t i = 0; i < n; i++) {
        cell_put_time(&r->cell[5 * i + 2], start_us + MINUTE_US);
        r->cell[5 * i + 3].as.i += more;
    }
    return r;
}

static const char early_rows[] = "SELECT window_start / 60000000, count(*), "
                                 "sum(\\\"count\\\") FROM trades GROUP BY 1;"
                                 "SELECT key FROM weir_meta WHERE key LIKE 'early%'";

static void final_rows_take_the_place_of_early_ones(void **state)
{
    (void)state;
    struct store *s = open_started(&trades);
    assert_int_equal(put(s, INT64_MIN, rows_when(ROWS_EARLY, 0, 3, 0)), 0);
    assert_int_equal(put(s, INT64_MIN, rows_when(ROWS_EARLY, MINUTE_US, 3, 0)), 0);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(shell("weir.db", early_rows), "0|3|9\n1|3|9\nearly.trades\n");
    assert_int_equal(put(s, MINUTE_US, rows_when(ROWS_INSTEAD, 0, 2, 10)), 0);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(shell("weir.db", early_rows), "0|3|29\n1|3|9\nearly.trades\n");
    assert_int_equal(put(s, 2 * MINUTE_US, rows_when(ROWS_INSTEAD, MINUTE_US, 1, 5)),
                     0);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(shell("weir.db", early_rows), "0|3|29\n1|3|14\n");
    store_free(s);
    assert_string_equal(shell("weir.db", early_rows), "0|3|29\n1|3|14\n");
}

static void early_rows_go_when_nothing_comes_of_them(void **state)
{
    (void)state;
    struct store *s = open_started(&trades);
    assert_int_equal(put(s, MINUTE_US, rows_when(ROWS_FINAL, 0, 3, 0)), 0);
    assert_int_equal(put(s, MINUTE_US, rows_when(ROWS_EARLY, MINUTE_US, 3, 0)), 0);
    store_free(s);
    assert_string_equal(shell("weir.db", early_rows), "0|3|9\n");
    /* As a crash leaves it. */
    shell("weir.db", "INSERT INTO weir_meta VALUES ('early.trades', '');"
                     "INSERT INTO trades VALUES (60000000, 'A', 1, 1)");
    s = open_started(&trades);
    assert_string_equal(shell("weir.db", early_rows), "0|3|9\n");
    store_free(s);
}

static void a_table_gets_a_revision_and_goes_on_without(void **state)
{
    (void)state;
    static struct table_column plain_columns[4];
    plain_columns[0] = revised_columns[0];
    plain_columns[1] = revised_columns[1];
    plain_columns[2] = revised_columns[2];
    plain_columns[3] = revised_columns[4];
    struct table plain = revised;
    plain.revision = 0;
    plain.n_columns = 4;
    plain.column = plain_columns;
    struct store *s = open_started(&plain);
    struct rowset *r = rows_new(&plain, 1);
    cell_put_int(&r->cell[0], 0);
    cell_put_string(&r->cell[1], "A", 1);
    cell_put_int(&r->cell[3], 7);
    assert_int_equal(put(s, 0, r), 0);
    store_free(s);

    s = open_started(&revised);
    put_one(s, "A", 0, 9); /* it was given out: not again in the same revision */
    put_one(s, "B", 1, 10);
    assert_int_equal(store_flush(s), 0);
    const char *sql = "SELECT symbol, revision, c0 FROM revised";
    assert_string_equal(shell("weir.db", sql), "A|0|7\nB|1|10\n");
    put_one(s, "A", 2, 11);
    store_free(s);
    assert_string_equal(shell("weir.db", sql), "A|2|11\nB|1|10\n");
    assert_string_equal(shell("weir.db", is_not_null), "1\n");

    s = open_started(&plain);
    r = rows_new(&plain, 1);
    cell_put_int(&r->cell[0], MINUTE_US);
    cell_put_string(&r->cell[1], "A", 1);
    cell_put_int(&r->cell[3], 12);
    assert_int_equal(put(s, 0, r), 0);
    store_free(s);
    assert_string_equal(shell("weir.db", sql), "A|2|11\nB|1|10\nA|0|12\n");
}

/* Another program keeps the lock. While weir runs that passes; at its end it must not. */
static void lock_that_stays_is_given_up_after_hurry(void **state)
{
    (void)state;
    struct store *s = open_started(&trades);
    sqlite3 *other;
    assert_int_equal(sqlite3_open(shell_path("weir.db"), &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(put(s, MINUTE_US, rows_made(&trades, 0, 77)), 0);
    store_hurry(s);
    assert_int_equal(store_flush(s), -EIO);
    assert_int_equal(put(s, MINUTE_US, rows_made(&trades, 0, 77)), -EIO);
    store_free(s);
    sqlite3_close(other);
}

/* Those of SQLite, too. */
static _Atomic unsigned syncs;

__attribute__((visibility("default"))) int fdatasync(int fd)
{
    syncs++;
    return (int)syscall(SYS_fdatasync, fd);
}

__attribute__((visibility("default"))) int fsync(int fd)
{
    syncs++;
    return (int)syscall(SYS_fsync, fd);
}

static void commit_ten(struct store *s, int64_t from_us)
{
    for (int i = 0; i < 10; i++) {
        int64_t start_us = from_us + i * MINUTE_US;
        assert_int_equal(put(s, start_us, rows_made(&trades, start_us, 3)), 0);
        assert_int_equal(store_flush(s), 0);
    }
}

static void commits_are_synced_at_once_or_by_store_sync(void **state)
{
    (void)state;
    for (int relaxed = 0; relaxed <= 1; relaxed++) {
        char name[] = "0.db";
        name[0] = (char)('0' + relaxed);
        struct store *s = open_as(name, &trades, relaxed);
        unsigned before = syncs;
        commit_ten(s, 0);
        assert_true(relaxed ? syncs == before : syncs >= before + 10);
        before = syncs;
        assert_int_equal(store_sync(s), 0);
        assert_int_equal(syncs > before, relaxed);
        /* Who reads keeps the next pages in the WAL. */
        sqlite3 *reader;
        assert_int_equal(sqlite3_open(shell_path(name), &reader), SQLITE_OK);
        assert_int_equal(
            sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM trades", 0, 0, 0),
            SQLITE_OK);
        commit_ten(s, 10 * MINUTE_US);
        before = syncs;
        assert_int_equal(store_sync(s), 0);
        assert_int_equal(syncs > before, relaxed);
        sqlite3_close(reader);
        store_free(s);
        assert_string_equal(shell(name, "SELECT count(*) FROM trades"), "60\n");
    }
}

static void flush_makes_rows_visible(void **state)
{
    (void)state;
    struct store *s = open_started(&trades);
    assert_int_equal(put(s, 0, rows_made(&trades, 0, 3)), 0);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(shell("weir.db", "SELECT count(*) FROM trades"), "3\n");
    store_free(s);
}

static void watermark_is_the_least_of_all_workers(void **state)
{
    (void)state;
    struct store *s = open_started(&trades);
    struct store_report a = {"trades", 0, 2, 5, 100, NULL},
                        b = {"trades", 1, 2, 4, 90, NULL};
    assert_int_equal(store_put(s, &a), 0);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(
        shell("weir.db", "SELECT watermark IS NULL, position FROM weir_pipelines"),
        "1|0\n");
    assert_int_equal(store_put(s, &b), 0);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(
        shell("weir.db", "SELECT pipeline, watermark, position FROM weir_pipelines"),
        "trades|90|4\n");
    store_free(s);

    /* After a restart both stay until every worker has come further. */
    s = open_started(&trades);
    int64_t us = 0;
    struct restore *r;
    struct error error = {""};
    assert_int_equal(restore_open(shell_path("weir.db"), &r, &error), 0);
    assert_int_equal(restore_watermark(r, "trades", &us, &error), 0);
    assert_int_equal(us, 90);
    assert_int_equal(restore_watermark(r, "nobody", &us, &error), -ENOENT);
    restore_close(r);
    a.watermark_us = 200;
    assert_int_equal(store_put(s, &a), 0);
    store_free(s);
    assert_string_equal(
        shell("weir.db", "SELECT watermark, position FROM weir_pipelines"), "90|4\n");
}

/* They have nothing to write but how far they are: the last of it, at the next commit. */
static void workers_that_only_come_further_make_one_commit(void **state)
{
    (void)state;
    struct metrics *m;
    struct store *s;
    struct error error = {""};
    struct store_options options = {.path = shell_path("weir.db"),
                                    .commit_interval_us = 3600 * SECOND_US,
                                    .queue_rowsets = 8};
    assert_int_equal(metrics_new(&m), 0);
    if (store_open(&options, m, &s, &error) || store_table(s, &trades, &error) ||
        store_start(s, &error))
        fail_msg("%s", error.text);
    for (uint64_t position = 1; position <= 100; position++) {
        for (unsigned worker = 0; worker < 64; worker++) {
            const struct store_report report = {"trades",          worker, 64, position,
                                                (int64_t)position, NULL};
            assert_int_equal(store_put(s, &report), 0);
        }
    }
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(
        shell("weir.db", "SELECT watermark, position FROM weir_pipelines"),
        "100|100\n");
    struct buffer text = {0};
    metrics_print(m, &text);
    assert_non_null(strstr(text.data, "weir_store_commits_total 1\n"));
    buffer_free(&text);
    store_free(s);
    metrics_free(m);
}

struct gate {
    pthread_mutex_t lock; /* protects the rest */
    pthread_cond_t changed;
    bool reached, open;
    char seen[64]; /* in the file, after the commit of stream "b" */
};

/* On the writer thread: waits behind the commit of stream "a", and looks behind that of "b". */
static void kept(void *ctx, const char *stream, uint64_t position)
{
    struct gate *g = ctx;
    (void)position;
    pthread_mutex_lock(&g->lock);
    g->reached = true;
    pthread_cond_broadcast(&g->changed);
    while (stream[0] == 'a' && !g->open)
        pthread_cond_wait(&g->changed, &g->lock);
    if (stream[0] == 'b')
        snprintf(
            g->seen, sizeof(g->seen), "%s",
            shell("weir.db", "SELECT position, count(*) FROM weir_pipelines, trades"));
    pthread_mutex_unlock(&g->lock);
}

static void put_stream(struct store *s, const char *name)
{
    struct store_stream *stream = calloc(1, sizeof(*stream));
    assert_non_null(stream);
    stream->stream = name;
    assert_int_equal(store_put_stream(s, stream), 0);
}

/* The rows of entry 1 fill a commit. Those of entry 2 wait for the next one, and so does all that comes later. */
static void a_position_is_not_in_the_file_before_the_rows_before_it(void **state)
{
    (void)state;
    struct gate g = {.lock = PTHREAD_MUTEX_INITIALIZER,
                     .changed = PTHREAD_COND_INITIALIZER};
    struct store_options options = {
        .path = shell_path("weir.db"), .kept = kept, .ctx = &g};
    struct store *s;
    struct error error = {""};
    if (store_open(&options, NULL, &s, &error) || store_table(s, &trades, &error) ||
        store_start(s, &error))
        fail_msg("%s", error.text);
    put_stream(s, "a");
    pthread_mutex_lock(&g.lock);
    while (!g.reached)
        pthread_cond_wait(&g.changed, &g.lock);
    pthread_mutex_unlock(&g.lock);
    put_stream(s, "b");
    struct store_report report = {"trades", 0, 1, 1, 1, rows_made(&trades, 0, 10000)};
    assert_int_equal(store_put(s, &report), 0);
    report = (struct store_report){
        "trades", 0, 1, 2, MINUTE_US, rows_made(&trades, MINUTE_US, 1)};
    assert_int_equal(store_put(s, &report), 0);
    report = (struct store_report){"trades", 0, 1, 3, 2 * MINUTE_US, NULL};
    assert_int_equal(store_put(s, &report), 0);
    pthread_mutex_lock(&g.lock);
    g.open = true;
    pthread_cond_broadcast(&g.changed);
    pthread_mutex_unlock(&g.lock);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(g.seen, "1|10000\n");
    assert_string_equal(
        shell("weir.db", "SELECT position, count(*) FROM weir_pipelines, trades"),
        "3|10001\n");
    store_free(s);
}

/* Retention, and what is known to be done, would go by one that is not so. */
static void a_watermark_that_cannot_be_read_is_told(void **state)
{
    (void)state;
    struct store_options options = {.path = shell_path("weir.db")};
    struct store *s;
    struct error error = {""};
    assert_int_equal(store_open(&options, NULL, &s, &error), 0);
    shell("weir.db", "ALTER TABLE weir_pipelines RENAME TO elsewhere");
    assert_int_equal(store_table(s, &trades, &error), -EINVAL);
    assert_string_equal(error.text, "table 'trades': no such table: weir_pipelines");
    store_free(s);
}

static struct checkpoint *part_made(unsigned worker, const char *data)
{
    struct checkpoint *c = calloc(1, sizeof(*c));
    assert_non_null(c);
    c->block = calloc(1, sizeof(*c->block));
    assert_non_null(c->block);
    *c->block =
        (struct checkpoint_block){.size = (uint32_t)strlen(data), .data = strdup(data)};
    c->n_blocks = 1;
    c->number = 1;
    c->position = 7;
    c->worker = worker;
    c->workers = 2;
    c->whole = true;
    if (worker == 0) {
        c->stream = strdup("trades");
        c->definition = strdup("of a test");
    }
    return c;
}

static void assert_metric(struct metrics *m, const char *name, const char *value)
{
    struct buffer text = {0};
    metrics_print(m, &text);
    char line[80];
    snprintf(line, sizeof(line), "\n%s %s\n", name, value);
    assert_non_null(strstr(buffer_text(&text), line));
    buffer_free(&text);
}

static void a_checkpoint_is_counted_once_its_parts_are_in_the_file(void **state)
{
    (void)state;
    struct metrics *m;
    struct store *s = open_counted(&trades, &m);
    assert_int_equal(store_put_checkpoint(s, "trades", part_made(1, "12345")), 0);
    assert_int_equal(store_flush(s), 0);
    assert_metric(m, "weir_store_checkpoints_total", "0");
    assert_metric(m, "weir_store_checkpoint_bytes_total", "0");
    assert_int_equal(store_put_checkpoint(s, "trades", part_made(0, "123")), 0);
    assert_int_equal(store_flush(s), 0);
    assert_metric(m, "weir_store_checkpoints_total", "1");
    assert_metric(m, "weir_store_checkpoint_bytes_total", "8");
    assert_string_equal(shell("weir.db", "SELECT count(*), sum(length(data)) FROM "
                                         "weir_states"),
                        "2|8\n");
    store_free(s);
    metrics_free(m);
}

static void rows_and_watermark_commit_together(void **state)
{
    (void)state;
    struct store *s = open_started(&trades);
    /* The transaction fails at its very end, when the watermark is written. */
    shell("weir.db", "CREATE TRIGGER stop BEFORE INSERT ON weir_pipelines "
                     "BEGIN SELECT raise(ABORT, 'no'); END");
    assert_int_equal(put(s, MINUTE_US, rows_made(&trades, 0, 60)), 0);
    assert_int_equal(store_flush(s), 0);
    assert_int_equal(put(s, MINUTE_US, rows_made(&trades, 0, 60)), -EIO);
    store_free(s);
    assert_string_equal(shell("weir.db", "SELECT (SELECT count(*) FROM trades), "
                                         "(SELECT count(*) FROM weir_pipelines)"),
                        "0|0\n");
}

/* ---- One pipeline that cannot be written, beside others --------------------------------------------- */

static struct table quotes = {
    .name = "quotes",
    .pipeline = "quotes",
    .window = {.size_us = MINUTE_US, .pane_us = MINUTE_US},
    .retain_us = INT64_MAX,
    .n_keys = 1,
    .n_primary = 2,
    .n_columns = 5,
    .column = columns,
};

struct failures {
    unsigned n;
    char pipeline[32];
    struct error why;
};

static void note_failure(void *ctx, const char *pipeline, const struct error *error)
{
    struct failures *f = ctx;
    f->n++;
    snprintf(f->pipeline, sizeof(f->pipeline), "%s", pipeline);
    f->why = *error;
}

static int start_again(struct store *s, void *ctx)
{
    (void)ctx;
    store_drop_table(s, &trades);
    store_restart_pipeline(s, "trades");
    return store_table(s, &trades, NULL);
}

static int put_quotes(struct store *s, size_t n)
{
    struct store_report report = {"quotes", 0, 1, 7, 0, rows_made(&quotes, 0, n)};
    return store_put(s, &report);
}

/* `damage` is done to the table of one pipeline; `why` is a word of the reason. */
static void check_stops_alone(const char *damage, const char *why)
{
    struct failures f = {0};
    struct store_options options = {.path = shell_path("weir.db"),
                                    .commit_interval_us = 20000,
                                    .failed = note_failure,
                                    .ctx = &f};
    struct store *s;
    assert_int_equal(store_open(&options, NULL, &s, NULL), 0);
    assert_int_equal(store_table(s, &trades, NULL), 0);
    assert_int_equal(store_table(s, &quotes, NULL), 0);
    if (!damage)
        sqlite3_limit(s->db, SQLITE_LIMIT_LENGTH, 100000);
    assert_int_equal(store_start(s, NULL), 0);
    if (damage)
        shell("weir.db", damage);
    assert_int_equal(put_quotes(s, 10), 0);
    struct rowset *rows = rows_made(&trades, 0, 3);
    static char large[100001];
    memset(large, 'x', sizeof(large));
    cell_put_string(&rows->cell[1], large, damage ? 1 : sizeof(large));
    assert_int_equal(put(s, 0, rows), 0);
    assert_int_equal(put_quotes(s, 20), 0);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(shell("weir.db", "SELECT count(*) FROM quotes"), "20\n");
    assert_int_equal(f.n, 1);
    assert_string_equal(f.pipeline, "trades");
    assert_non_null(strstr(f.why.text, "table 'trades'"));
    assert_non_null(strstr(f.why.text, why));
    assert_int_equal(put(s, 0, rows_made(&trades, 0, 1)), -EIO);
    if (damage)
        shell("weir.db", "DROP TABLE IF EXISTS trades");
    assert_int_equal(store_call(s, start_again, NULL), 0);
    assert_int_equal(put(s, 0, rows_made(&trades, 0, 4)), 0);
    assert_int_equal(put_quotes(s, 30), 0);
    store_free(s);
    assert_int_equal(f.n, 1);
    assert_string_equal(shell("weir.db", "SELECT (SELECT count(*) FROM trades), "
                                         "(SELECT count(*) FROM quotes)"),
                        "4|30\n");
}

static void a_pipeline_whose_table_is_gone_stops_alone(void **state)
{
    (void)state;
    check_stops_alone("DROP TABLE trades", "no such table");
}

static void a_pipeline_that_a_constraint_refuses_stops_alone(void **state)
{
    (void)state;
    check_stops_alone("CREATE TRIGGER no BEFORE INSERT ON trades BEGIN "
                      "SELECT raise(ABORT, 'not here'); END",
                      "not here");
}

static void a_pipeline_with_a_value_that_is_too_large_stops_alone(void **state)
{
    (void)state;
    check_stops_alone(NULL, "too big");
}

/* Also where only retention would have found out. */
static void retention_goes_on_beside_a_table_that_is_gone(void **state)
{
    (void)state;
    struct failures f = {0};
    struct store_options options = {.path = shell_path("weir.db"),
                                    .commit_interval_us = 1000,
                                    .failed = note_failure,
                                    .ctx = &f};
    trades.retain_us = quotes.retain_us = MINUTE_US;
    for (int first = 0; first < 2; first++) { /* whichever is looked at first */
        struct store *s;
        assert_int_equal(store_open(&options, NULL, &s, NULL), 0);
        assert_int_equal(store_table(s, first ? &trades : &quotes, NULL), 0);
        assert_int_equal(store_table(s, first ? &quotes : &trades, NULL), 0);
        assert_int_equal(store_start(s, NULL), 0);
        assert_int_equal(put(s, 0, rows_made(&trades, 0, 1)), 0);
        assert_int_equal(put_quotes(s, 10), 0);
        assert_int_equal(store_flush(s), 0);
        shell("weir.db", "DROP TABLE trades");
        struct store_report report = {"quotes", 0, 1, 8, 60 * MINUTE_US, NULL};
        assert_int_equal(put(s, 60 * MINUTE_US, NULL), 0);
        assert_int_equal(store_put(s, &report), 0);
        store_free(s);
        assert_string_equal(shell("weir.db", "SELECT count(*) FROM quotes"), "0\n");
        assert_int_equal(f.n, first + 1);
        assert_string_equal(f.pipeline, "trades");
        shell("weir.db", "UPDATE weir_pipelines SET watermark = 0");
    }
    trades.retain_us = quotes.retain_us = INT64_MAX;
}

static void must_not_be_kept(void *ctx, const char *stream, uint64_t position)
{
    (void)ctx, (void)stream, (void)position;
    fail_msg("what is not in the file is not kept");
}

static void letters_and_keys_that_cannot_be_written_hold_nobody_up(void **state)
{
    (void)state;
    struct metrics *m;
    struct store_options options = {.path = shell_path("weir.db"),
                                    .commit_interval_us = 20000,
                                    .kept = must_not_be_kept};
    struct store *s;
    assert_int_equal(metrics_new(&m), 0);
    assert_int_equal(store_open(&options, m, &s, NULL), 0);
    assert_int_equal(store_table(s, &trades, NULL), 0);
    assert_int_equal(dead_letters_keep(s, "in", 10, m, NULL), 0);
    assert_int_equal(store_start(s, NULL), 0);
    shell("weir.db", "DROP TABLE weir_dead_letters; DROP TABLE weir_streams");
    const struct dead_letter letter = {
        .stream = "in", .source = "", .reason = "type", .message = "no"};
    dead_letters_put(s, &letter, 1);
    struct store_stream *keys = calloc(1, sizeof(*keys));
    *keys = (struct store_stream){.stream = "in", .position = 5};
    assert_int_equal(store_put_stream(s, keys), 0);
    assert_int_equal(put(s, 0, rows_made(&trades, 0, 3)), 0);
    assert_int_equal(store_flush(s), 0);
    assert_metric(m, "weir_dead_letters_dropped_total{stream=\"in\"}", "1");
    store_free(s);
    metrics_free(m);
    assert_string_equal(shell("weir.db", "SELECT count(*) FROM trades"), "3\n");
}

/* ---- Files that are moved, removed, replaced ------------------------------------------------------ */

/* In the folder of the database. */
static void shell_run(const char *what)
{
    char command[512];
    snprintf(command, sizeof(command), "cd '%s' && { %s; }", shell_folder, what);
    assert_int_equal(system(command), 0);
}

static _Atomic unsigned times_stored;

static void count_stored(void *ctx, const char *pipeline, uint64_t position)
{
    (void)ctx, (void)pipeline, (void)position;
    times_stored++;
}

static void wait_for_trouble(const struct store *s, int trouble)
{
    int64_t limit_us = clock_monotonic_us() + 10 * SECOND_US;
    while (store_trouble(s) != trouble && clock_monotonic_us() < limit_us)
        clock_sleep_us(1000);
    assert_int_equal(store_trouble(s), trouble);
}

/* What `move` does, `back` undoes. */
static void check_moved(const char *move, const char *back)
{
    struct store_options options = {.path = shell_path("weir.db"),
                                    .commit_interval_us = 1000,
                                    .stored = count_stored};
    struct store *s;
    struct error why = {""};
    times_stored = 0;
    assert_int_equal(store_open(&options, NULL, &s, NULL), 0);
    assert_int_equal(store_table(s, &trades, NULL), 0);
    assert_int_equal(store_start(s, NULL), 0);
    assert_int_equal(put(s, 0, rows_made(&trades, 0, 10)), 0);
    assert_int_equal(store_flush(s), 0);
    assert_true(store_is_well(s, &why));
    shell_run(move);
    assert_false(store_is_there(s));
    assert_false(store_is_well(s, &why));
    assert_non_null(strstr(why.text, "was moved, removed or replaced"));
    assert_int_equal(put(s, 0, rows_made(&trades, MINUTE_US, 20)), 0);
    assert_int_equal(store_put_checkpoint(s, "trades", part_made(0, "123")), 0);
    assert_int_equal(store_put_checkpoint(s, "trades", part_made(1, "12345")), 0);
    wait_for_trouble(s, -ESTALE);
    assert_int_equal(times_stored, 0);
    shell_run(back);
    assert_int_equal(store_flush(s), 0);
    assert_int_equal(store_trouble(s), 0);
    assert_true(store_is_well(s, &why));
    assert_int_equal(times_stored, 1);
    store_free(s);
    assert_string_equal(shell("weir.db", "SELECT count(*) FROM trades"), "30\n");
}

static void a_database_that_was_moved_is_waited_for(void **state)
{
    (void)state;
    check_moved("mv weir.db away", "mv away weir.db");
}

static void a_database_that_was_replaced_is_waited_for(void **state)
{
    (void)state;
    check_moved("mv weir.db away; cp away weir.db", "mv away weir.db");
}

static void a_wal_that_was_moved_is_waited_for(void **state)
{
    (void)state;
    check_moved("mv weir.db-wal away", "mv away weir.db-wal");
}

static void an_index_of_the_wal_that_was_moved_is_waited_for(void **state)
{
    (void)state;
    check_moved("mv weir.db-shm away", "mv away weir.db-shm");
}

static void a_store_whose_file_was_removed_ends_at_once(void **state)
{
    (void)state;
    struct store *s = open_started(&trades);
    shell_run("rm weir.db weir.db-wal weir.db-shm");
    int64_t begin_us = clock_monotonic_us();
    assert_int_equal(put(s, 0, rows_made(&trades, 0, 10)), 0);
    store_hurry(s);
    assert_int_equal(store_flush(s), -EIO);
    store_free(s);
    assert_true(clock_monotonic_us() - begin_us < STORE_CLOSE_PATIENCE_US / 2);
    shell_run("test ! -e weir.db && test ! -e weir.db-wal");
}

static void an_ended_store_leaves_one_file(void **state)
{
    (void)state;
    struct store *s = open_started(&trades);
    assert_int_equal(put(s, 0, rows_made(&trades, 0, 10)), 0);
    store_free(s);
    shell_run("test ! -e weir.db-wal && test ! -e weir.db-shm && test ! -e "
              "weir.db-journal");
    assert_string_equal(shell("weir.db", "PRAGMA journal_mode"), "delete\n");
    s = open_started(&trades);
    assert_string_equal(shell("weir.db", "PRAGMA journal_mode"), "wal\n");
    store_free(s);
}

/* Another program holds the write lock for longer than the busy time-out would allow at first. */
static void busy_file_is_waited_for(void **state)
{
    (void)state;
    struct store *s = open_started(&trades);
    char command[256];
    snprintf(command, sizeof(command), "sqlite3 '%s'", shell_path("weir.db"));
    FILE *other = popen(command, "w");
    assert_non_null(other);
    fprintf(other, "BEGIN IMMEDIATE;\n.system touch '%s/locked'\n", shell_folder);
    fflush(other);
    int64_t limit = clock_monotonic_us() + 10 * SECOND_US;
    while (access(shell_path("locked"), F_OK) && clock_monotonic_us() < limit)
        usleep(1000);
    assert_int_equal(access(shell_path("locked"), F_OK), 0);
    assert_int_equal(put(s, 9, rows_made(&trades, 0, 10)), 0);
    assert_string_equal(shell("weir.db", "SELECT count(*) FROM trades"), "0\n");
    fprintf(other, "COMMIT;\n");
    pclose(other);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(shell("weir.db", "SELECT count(*) FROM trades"), "10\n");
    store_free(s);
}

static bool metric_is_zero(struct metrics *m, const char *line)
{
    struct buffer text = {0};
    metrics_print(m, &text);
    bool zero = strstr(buffer_text(&text), line) != NULL;
    buffer_free(&text);
    return zero;
}

/* No file may grow beyond 64 KiB for a while. Rows wait, and arrive when there is room again. */
static void full_disk_keeps_rows(void **state)
{
    (void)state;
    struct metrics *m;
    assert_int_equal(metrics_new(&m), 0);
    struct store_options options = {.path = shell_path("weir.db"),
                                    .commit_interval_us = 1000};
    struct store *s;
    assert_int_equal(store_open(&options, m, &s, NULL), 0);
    assert_int_equal(store_table(s, &trades, NULL), 0);
    struct rlimit unlimited, small;
    getrlimit(RLIMIT_FSIZE, &unlimited);
    small = unlimited;
    small.rlim_cur = 65536;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    assert_int_equal(store_start(s, NULL), 0);
    assert_int_equal(put(s, 1, rows_made(&trades, 0, 20000)), 0);
    int64_t limit = clock_monotonic_us() + 10 * SECOND_US;
    while (metric_is_zero(m, "weir_store_retries_total 0\n") &&
           clock_monotonic_us() < limit)
        usleep(1000);
    setrlimit(RLIMIT_FSIZE, &unlimited);
    assert_false(metric_is_zero(m, "weir_store_retries_total 0\n"));
    assert_int_equal(store_flush(s), 0);
    store_free(s);
    metrics_free(m);
    assert_string_equal(
        shell("weir.db", "SELECT count(*), watermark FROM trades, weir_pipelines"),
        "20000|1\n");
}

/* A file that was not made by this weir has pages of another size. */
static void the_limit_is_one_of_bytes_whatever_the_pages(void **state)
{
    (void)state;
    shell("weir.db", "PRAGMA page_size = 4096; CREATE TABLE mine (a)");
    struct store_options options = {
        .path = shell_path("weir.db"), .commit_interval_us = 1000, .size_max = 1 << 20};
    struct store *s;
    assert_int_equal(store_open(&options, NULL, &s, NULL), 0);
    assert_int_equal(store_table(s, &trades, NULL), 0);
    assert_int_equal(store_start(s, NULL), 0);
    store_hurry(s); /* what does not succeed is given up */
    assert_int_equal(put(s, 1, rows_made(&trades, 0, 20000)), 0);
    assert_int_equal(store_flush(s), 0);
    assert_int_equal(put(s, 1, rows_made(&trades, MINUTE_US, 20000)), 0);
    assert_int_equal(store_flush(s), -EIO);
    assert_true(store_trouble(s) == -ENOSPC);
    store_free(s);
    assert_string_equal(
        shell("weir.db", "SELECT page_size, page_count * page_size BETWEEN 600000 AND"
                         " 1048576 FROM pragma_page_size, pragma_page_count"),
        "4096|1\n");
}

static int try_open(struct table *t, struct error *error)
{
    struct store_options options = {.path = shell_path("weir.db"),
                                    .commit_interval_us = 20000};
    struct store *s = NULL;
    int err = store_open(&options, NULL, &s, error);
    if (!err && t)
        err = store_table(s, t, error);
    store_free(s);
    return err;
}

static void newer_database_is_refused(void **state)
{
    (void)state;
    store_free(open_started(&trades));
    shell("weir.db", "UPDATE weir_meta SET value = '99' WHERE key = 'schema_version'");
    struct error error = {""};
    assert_int_equal(try_open(NULL, &error), -EEXIST);
    assert_non_null(strstr(error.text, "newer weir"));
    assert_non_null(strstr(error.text, "weir.db"));
}

static void second_weir_is_refused(void **state)
{
    (void)state;
    struct store *s = open_started(&trades);
    struct error error = {""};
    assert_int_equal(try_open(NULL, &error), -EBUSY);
    assert_non_null(strstr(error.text, "another weir"));
    store_free(s);
    assert_int_equal(try_open(&trades, &error), 0);
}

static void not_a_database_is_refused(void **state)
{
    (void)state;
    FILE *f = fopen(shell_path("weir.db"), "w");
    for (int i = 0; i < 200; i++)
        fputs("this is a text file\n", f);
    fclose(f);
    struct error error = {""};
    assert_int_equal(try_open(NULL, &error), -EINVAL);
    assert_non_null(strstr(error.text, "not a database"));
}

static void missing_folder_is_told(void **state)
{
    (void)state;
    struct store_options options = {.path = "/tmp/weir-no-such-folder/weir.db"};
    struct store *s;
    struct error error = {""};
    assert_int_equal(store_open(&options, NULL, &s, &error), -ENOENT);
    assert_non_null(strstr(error.text, "/tmp/weir-no-such-folder/weir.db"));
}

static void new_output_column_is_added(void **state)
{
    (void)state;
    struct store *s = open_started(&trades);
    assert_int_equal(put(s, 1, rows_made(&trades, 0, 1)), 0);
    store_free(s);
    trades.n_columns = 6;
    s = open_started(&trades);
    struct rowset *r = rows_made(&trades, MINUTE_US, 1);
    cell_put_int(&r->cell[5], 99);
    assert_int_equal(put(s, 2, r), 0);
    store_free(s);
    trades.n_columns = 5;
    assert_string_equal(
        shell("weir.db", "SELECT window_start, symbol, last_seen FROM trades"),
        "0|S00000|\n60000000|S00000|99\n");
    assert_string_equal(
        shell("weir.db", "SELECT last_seen FROM trades_readable ORDER BY 1 DESC"),
        "1970-01-01T00:00:00.000099Z\n\n");
}

/* As weir made tables before window_end was a column like others: noted nowhere, and the last one. */
static void a_table_that_does_not_know_of_its_window_end_goes_on(void **state)
{
    (void)state;
    store_free(open_started(&trades));
    shell("weir.db",
          "DELETE FROM weir_columns WHERE name = 'window_end';"
          "DROP TABLE trades;"
          "CREATE TABLE trades (window_start INTEGER NOT NULL, symbol TEXT NOT NULL,"
          " \\\"count\\\" INTEGER, price_mean REAL, window_end INTEGER GENERATED ALWAYS"
          " AS (window_start + 60000000) VIRTUAL, PRIMARY KEY (window_start, symbol))"
          " STRICT, WITHOUT ROWID;"
          "INSERT INTO trades VALUES (0, 'A', 1, 1.5)");
    struct store *s = open_started(&trades);
    assert_int_equal(put(s, 2, rows_made(&trades, MINUTE_US, 1)), 0);
    store_free(s);
    assert_string_equal(
        shell("weir.db",
              "SELECT window_start, window_end, symbol, \\\"count\\\" FROM trades"),
        "0|60000000|A|1\n60000000|120000000|S00000|0\n");
    assert_string_equal(
        shell("weir.db",
              "SELECT type, key FROM weir_columns WHERE name = 'window_end'"),
        "time|0\n");
}

/* Of a kind of window that says no length: what the cell has is stored, and goes along with a revision. */
static void the_end_of_windows_of_different_lengths_is_stored(void **state)
{
    (void)state;
    struct table different = revised;
    different.window = (struct window_kind){0};
    struct store *s = open_started(&different);
    for (int revision = 0; revision < 2; revision++) {
        struct rowset *r = rows_new(&different, 0);
        add_row(r, "A", 0, revision, 7 + revision);
        r->cell[2] =
            (struct weir_cell){.type = WEIR_TIME, .as.i = 1000 * (1 + revision)};
        assert_int_equal(put(s, 0, r), 0);
        assert_int_equal(store_flush(s), 0);
        assert_string_equal(
            shell("weir.db", "SELECT symbol, window_end, revision, c0 FROM revised"),
            revision ? "A|2000|1|8\n" : "A|1000|0|7\n");
    }
    store_free(s);
    store_free(open_started(&different));
}

static void removed_output_column_becomes_null(void **state)
{
    (void)state;
    store_free(open_started(&trades));
    trades.n_columns = 4;
    struct store *s = open_started(&trades);
    struct rowset *r = rows_new(&trades, 1);
    cell_put_int(&r->cell[0], 0);
    cell_put_string(&r->cell[1], "A", 1);
    cell_put_int(&r->cell[3], 5);
    assert_int_equal(put(s, 1, r), 0);
    store_free(s);
    trades.n_columns = 5;
    assert_string_equal(
        shell("weir.db", "SELECT symbol, \\\"count\\\", price_mean FROM trades"),
        "A|5|\n");
}

static void changed_table_is_refused(void **state)
{
    (void)state;
    store_free(open_started(&trades));
    struct error error = {""};

    struct table other = trades;
    other.window.size_us = other.window.pane_us = 2 * MINUTE_US;
    assert_int_equal(try_open(&other, &error), -EINVAL);
    assert_non_null(strstr(error.text, "windows are 1m long"));

    other = trades;
    struct table_column changed[5];
    memcpy(changed, columns, sizeof(changed));
    other.column = changed;
    changed[4].type = WEIR_INT;
    assert_int_equal(try_open(&other, &error), -EINVAL);
    assert_non_null(strstr(error.text, "'price_mean' is of type float, now int"));
    changed[4].type = WEIR_FLOAT;
    changed[1].name = "venue";
    assert_int_equal(try_open(&other, &error), -EINVAL);
    assert_non_null(strstr(error.text, "primary key"));

    other = trades;
    other.n_keys = 2;
    other.n_primary = 3;
    assert_int_equal(try_open(&other, &error), -EINVAL);
    assert_non_null(
        strstr(error.text, "primary key has 2 columns, that of the configuration 3"));

    other = trades;
    other.name = "weir_things";
    assert_int_equal(try_open(&other, &error), -EINVAL);
    shell("weir.db", "CREATE TABLE mine (a)");
    other.name = "mine";
    assert_int_equal(try_open(&other, &error), -EINVAL);
    assert_non_null(strstr(error.text, "did not make"));
}

static void a_float_that_is_no_number_is_null(void **state)
{
    (void)state;
    struct store *s = open_started(&trades);
    struct rowset *r = rows_made(&trades, 0, 1);
    cell_put_float(&r->cell[4], __builtin_nan(""));
    assert_int_equal(put(s, 1, r), 0);
    assert_int_equal(store_flush(s), 0);
    store_free(s);
    assert_string_equal(shell("weir.db", "SELECT price_mean IS NULL FROM trades"),
                        "1\n");
}

static void a_schema_changed_by_others_is_followed(void **state)
{
    (void)state;
    struct store *s = open_started(&trades);
    assert_int_equal(put(s, MINUTE_US, rows_made(&trades, 0, 2)), 0);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(shell("weir.db", "CREATE INDEX i ON trades(price_mean);"
                                         "ALTER TABLE trades ADD COLUMN note TEXT"),
                        "");
    struct rowset *r = rows_made(&trades, MINUTE_US, 3);
    cell_put_string(&r->cell[1], "", 0);
    cell_put_string(&r->cell[6], "a\0b", 3);
    assert_int_equal(put(s, 2 * MINUTE_US, r), 0);
    assert_int_equal(store_flush(s), 0);
    store_free(s);
    assert_string_equal(
        shell("weir.db", "SELECT window_start, hex(symbol), \\\"count\\\", note IS NULL"
                         " FROM trades INDEXED BY i ORDER BY 1, 3"),
        "0|533030303030|0|1\n0|533030303031|3|1\n"
        "60000000||0|1\n60000000|610062|3|1\n60000000|533030303032|6|1\n");
}

/* The window alone, and with 198 more columns of all types in turn. */
static void tables_may_have_one_column_or_many(void **state)
{
    (void)state;
    static char name[200][8];
    static struct table_column column[200];
    static const enum weir_type type[] = {WEIR_INT, WEIR_FLOAT, WEIR_BOOL, WEIR_STRING};
    struct table wide = trades;
    wide.n_keys = 0;
    wide.n_primary = 1;
    wide.column = column;
    column[0] = columns[0];
    column[1] = columns[2];
    for (size_t c = 2; c < 200; c++) {
        snprintf(name[c], sizeof(name[c]), "c%zu", c);
        column[c] = (struct table_column){name[c], type[c % 4], "column"};
    }
    wide.n_columns = 2;
    struct store *s = open_started(&wide);
    struct rowset *r = rows_new(&wide, 2);
    for (int64_t i = 0; i < 2; i++) {
        cell_put_int(&r->cell[2 * i], i * MINUTE_US);
        r->cell[2 * i].type = WEIR_TIME;
    }
    assert_int_equal(put(s, 2 * MINUTE_US, r), 0);
    store_free(s);
    wide.n_columns = 200;
    s = open_started(&wide);
    r = rows_new(&wide, 1);
    cell_put_int(&r->cell[0], 2 * MINUTE_US);
    r->cell[0].type = WEIR_TIME;
    for (size_t c = 2; c < 200; c++) {
        cell_put_int(&r->cell[c], 1);
        r->cell[c].type = type[c % 4] == WEIR_BOOL ? WEIR_BOOL : WEIR_INT;
        if (type[c % 4] == WEIR_STRING)
            cell_put_string(&r->cell[c], "x", 1);
    }
    assert_int_equal(put(s, 3 * MINUTE_US, r), 0);
    store_free(s);
    assert_string_equal(
        shell("weir.db",
              "SELECT window_start, window_end, c2, c3, c4, typeof(c197), c198, c199"
              " FROM trades"),
        "0|60000000||||null||\n60000000|120000000||||null||\n"
        "120000000|180000000|1|x|1|real|1|x\n");
}

static void retention_deletes_only_what_is_too_old(void **state)
{
    (void)state;
    trades.retain_us = 10 * MINUTE_US;
    struct store *s = open_started(&trades);
    for (int i = 0; i < 30; i++)
        assert_int_equal(
            put(s, (i + 1) * MINUTE_US, rows_made(&trades, i * MINUTE_US, 1000)), 0);
    assert_int_equal(store_flush(s), 0);
    int64_t limit = clock_monotonic_us() + 10 * SECOND_US;
    const char *want =
        "10|10000|1200000000\n"; /* watermark 30 min: windows that end after 20 min */
    const char *sql =
        "SELECT count(DISTINCT window_start), count(*), min(window_start) FROM trades";
    while (strcmp(shell("weir.db", sql), want) != 0 && clock_monotonic_us() < limit)
        usleep(1000);
    assert_string_equal(shell("weir.db", sql), want);
    /* What comes again after a crash, though it was too old already, goes again. */
    for (int i = 10; i < 30; i++)
        assert_int_equal(
            put(s, 30 * MINUTE_US, rows_made(&trades, i * MINUTE_US, 1000)), 0);
    assert_int_equal(store_flush(s), 0);
    limit = clock_monotonic_us() + 10 * SECOND_US;
    while (strcmp(shell("weir.db", sql), want) != 0 && clock_monotonic_us() < limit)
        usleep(1000);
    assert_string_equal(shell("weir.db", sql), want);
    store_free(s);
    trades.retain_us = INT64_MAX;
}

static int need_unknown(struct store *s, void *ctx)
{
    (void)ctx;
    return results_need(s, "trades", "somebody", INT64_MIN);
}

/* Puts two rows that end an hour apart, waits until retention has deleted the older, and puts them again, the newer
 * first: as after a crash; `unknown`: by which nobody knows what is needed. */
static void put_what_retention_has_deleted(bool unknown)
{
    trades.retain_us = 10 * MINUTE_US;
    struct store *s = open_started(&trades);
    shell("weir.db",
          "CREATE TABLE seen(symbol TEXT); CREATE TRIGGER see AFTER INSERT ON"
          " trades BEGIN INSERT INTO seen VALUES (new.symbol); END");
    const int64_t start[] = {60 * MINUTE_US, 0};
    for (int again = 0; again < 2; again++) {
        struct rowset *r = rows_made(&trades, 0, 2);
        if (again && unknown)
            assert_int_equal(store_call(s, need_unknown, NULL), 0);
        for (size_t i = 0; i < 2; i++) {
            struct weir_cell *row = r->cell + i * trades.n_columns;
            cell_put_time(&row[0], trades.window.kind == CONFIG_SESSION ? 0 : start[i]);
            cell_put_time(&row[2], start[i] + MINUTE_US);
        }
        assert_int_equal(put(s, 61 * MINUTE_US, r), 0);
        assert_int_equal(store_flush(s), 0);
        int64_t limit = clock_monotonic_us() + 10 * SECOND_US;
        while (strcmp(shell("weir.db", "SELECT symbol FROM trades"), "S00000\n") != 0 &&
               clock_monotonic_us() < limit)
            usleep(1000);
        assert_string_equal(shell("weir.db", "SELECT symbol FROM trades"), "S00000\n");
    }
    assert_string_equal(shell("weir.db", "SELECT * FROM seen ORDER BY 1"),
                        "S00000\nS00001\n");
    store_free(s);
    trades.retain_us = INT64_MAX;
}

static void what_retention_has_deleted_does_not_come_again(void **state)
{
    (void)state;
    put_what_retention_has_deleted(false);
    remove("weir.db");
    remove("weir.db-wal");
    remove("weir.db-shm");
    put_what_retention_has_deleted(true);
}

static void sessions_that_retention_has_deleted_do_not_come_again(void **state)
{
    (void)state;
    struct window_kind was = trades.window;
    trades.window = (struct window_kind){
        .kind = CONFIG_SESSION, .size_us = MINUTE_US, .pane_us = MINUTE_US};
    put_what_retention_has_deleted(false);
    trades.window = was;
}

static void bad_reports_are_refused(void **state)
{
    (void)state;
    struct store *s = open_started(&trades);
    struct store_report unknown = {"nobody", 0, 1, 1, 1, NULL},
                        outside = {"trades", 2, 2, 1, 1, NULL};
    assert_int_equal(store_put(s, &unknown), -EINVAL);
    assert_int_equal(store_put(s, &outside), -EINVAL);
    store_free(s);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, shell_setup, shell_teardown)

/* ---- What the next rows need not wait for -------------------------------------------------------- */

static void wal_is_shortened_without_sqlites_own_way(void **state)
{
    (void)state;
    static const char text[15000] = {0};
    struct store *s = open_started(&trades);
    for (int64_t commit = 0; commit < 25; commit++) { /* of 100 pages or more each */
        struct rowset *r = rows_new(&trades, 100);
        for (int64_t i = 0; i < 100; i++) {
            struct weir_cell *c = r->cell + i * 5;
            cell_put_time(&c[0], commit * MINUTE_US);
            cell_put_string(&c[1], text, (uint32_t)(sizeof(text) - (size_t)i));
        }
        assert_int_equal(put(s, (commit + 1) * MINUTE_US, r), 0);
        assert_int_equal(store_flush(s), 0);
    }
    struct stat wal;
    assert_int_equal(stat(shell_path("weir.db-wal"), &wal), 0);
    assert_true(wal.st_size > 1000 * 16384 && wal.st_size < 1300 * 16384);
    store_free(s);
    assert_string_equal(shell("weir.db", "SELECT count(*) FROM trades"), "2500\n");
}

static double metric_of(struct metrics *m, const char *name)
{
    struct buffer b = {0};
    char line[128];
    snprintf(line, sizeof(line), "\n%s ", name);
    metrics_print(m, &b);
    const char *at = strstr(buffer_text(&b), line);
    assert_non_null(at);
    double value = strtod(at + strlen(line), NULL);
    buffer_free(&b);
    return value;
}

/* Behind each there is a rest of 30 times as long as it took, but of 100 ms at most. */
static void commits_without_rows_take_a_small_part_of_the_time(void **state)
{
    (void)state;
    struct metrics *m;
    struct error error = {""};
    struct store *s;
    struct store_options options = {.path = shell_path("weir.db"),
                                    .commit_interval_us = 1};
    assert_int_equal(metrics_new(&m), 0);
    if (store_open(&options, m, &s, &error) || store_table(s, &trades, &error) ||
        store_start(s, &error))
        fail_msg("%s", error.text);
    double before_s = 0;
    for (int64_t i = 0; i < 6; i++) {
        const double took_s =
            metric_of(m, "weir_store_commit_seconds_total") - before_s;
        int64_t began_us = clock_monotonic_us();
        assert_int_equal(put(s, (i + 1) * MINUTE_US, NULL), 0);
        while (metric_of(m, "weir_store_commit_duration_seconds_count") <= (double)i)
            assert_true(clock_monotonic_us() - began_us < 60 * SECOND_US);
        int64_t waited_us = clock_monotonic_us() - began_us;
        before_s += took_s;
        assert_true((double)waited_us >=
                    (took_s < 0.1 / 30 ? took_s * 30e6 : 1e5) - 100);
    }
    store_free(s);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rows_put_are_read_back_after_close),
        TEST(changes_of_a_hook_that_is_left_out_are_kept),
        TEST(sets_of_new_rows_are_handed_on_with_their_numbers),
        TEST(a_set_that_is_rolled_back_is_not_handed_on),
        TEST(readable_view_shows_rfc3339),
        TEST(readable_view_shows_years_that_sqlite_does_not_know),
        TEST(rows_in_the_table_stay_as_they_are),
        TEST(a_higher_revision_takes_the_place_of_a_row),
        TEST(a_higher_revision_takes_the_place_of_all_rows_of_a_group),
        TEST(rows_of_an_older_revision_are_not_put_beside_newer_ones),
        TEST(final_rows_take_the_place_of_early_ones),
        TEST(early_rows_go_when_nothing_comes_of_them),
        TEST(a_table_gets_a_revision_and_goes_on_without),
        TEST(lock_that_stays_is_given_up_after_hurry),
        TEST(flush_makes_rows_visible),
        TEST(commits_are_synced_at_once_or_by_store_sync),
        TEST(watermark_is_the_least_of_all_workers),
        TEST(workers_that_only_come_further_make_one_commit),
        TEST(a_position_is_not_in_the_file_before_the_rows_before_it),
        TEST(a_watermark_that_cannot_be_read_is_told),
        TEST(a_checkpoint_is_counted_once_its_parts_are_in_the_file),
        TEST(rows_and_watermark_commit_together),
        TEST(a_pipeline_whose_table_is_gone_stops_alone),
        TEST(a_pipeline_that_a_constraint_refuses_stops_alone),
        TEST(a_pipeline_with_a_value_that_is_too_large_stops_alone),
        TEST(retention_goes_on_beside_a_table_that_is_gone),
        TEST(letters_and_keys_that_cannot_be_written_hold_nobody_up),
        TEST(a_database_that_was_moved_is_waited_for),
        TEST(a_database_that_was_replaced_is_waited_for),
        TEST(wal_is_shortened_without_sqlites_own_way),
        TEST(commits_without_rows_take_a_small_part_of_the_time),
        TEST(a_wal_that_was_moved_is_waited_for),
        TEST(an_index_of_the_wal_that_was_moved_is_waited_for),
        TEST(a_store_whose_file_was_removed_ends_at_once),
        TEST(an_ended_store_leaves_one_file),
        TEST(busy_file_is_waited_for),
        TEST(full_disk_keeps_rows),
        TEST(the_limit_is_one_of_bytes_whatever_the_pages),
        TEST(newer_database_is_refused),
        TEST(second_weir_is_refused),
        TEST(not_a_database_is_refused),
        TEST(missing_folder_is_told),
        TEST(new_output_column_is_added),
        TEST(removed_output_column_becomes_null),
        TEST(a_table_that_does_not_know_of_its_window_end_goes_on),
        TEST(the_end_of_windows_of_different_lengths_is_stored),
        TEST(changed_table_is_refused),
        TEST(a_float_that_is_no_number_is_null),
        TEST(a_schema_changed_by_others_is_followed),
        TEST(tables_may_have_one_column_or_many),
        TEST(retention_deletes_only_what_is_too_old),
        TEST(what_retention_has_deleted_does_not_come_again),
        TEST(sessions_that_retention_has_deleted_do_not_come_again),
        TEST(bad_reports_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
