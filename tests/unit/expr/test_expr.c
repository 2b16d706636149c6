/* SPDX-License-Identifier: Apache-2.0 */
#include "expr/filter.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ts, symbol: string, price: float, qty: int, ok: bool, rowid: int; rows i = 0..9: "A" or "B", i / 4.0, i,
 * i odd, 1000 (a field may have the name that SQLite has for the number of a row); in row 9 all but the
 * time is null. */
static struct batch *ten_rows(struct schema **ret_schema)
{
    struct schema *s;
    assert_int_equal(schema_new(6, "ts", &s), 0);
    assert_int_equal(schema_set(s, 1, "symbol", WEIR_STRING), 0);
    assert_int_equal(schema_set(s, 2, "price", WEIR_FLOAT), 0);
    assert_int_equal(schema_set(s, 3, "qty", WEIR_INT), 0);
    assert_int_equal(schema_set(s, 4, "ok", WEIR_BOOL), 0);
    assert_int_equal(schema_set(s, 5, "rowid", WEIR_INT), 0);
    struct batch *b;
    assert_int_equal(batch_new(s, 0, &b), 0);
    for (uint32_t i = 0; i < 10; i++) {
        ((int64_t *)b->column[0].values)[i] = i;
        int32_t at = b->column[1].offsets[i];
        b->column[1].bytes[at] = i % 2 ? 'B' : 'A';
        b->column[1].offsets[i + 1] = at + (i < 9);
        ((double *)b->column[2].values)[i] = i / 4.0;
        ((int64_t *)b->column[3].values)[i] = i;
        batch_put_bool(&b->column[4], i, i % 2);
        ((int64_t *)b->column[5].values)[i] = 1000;
        for (size_t c = 1; i == 9 && c < 6; c++)
            assert_int_equal(batch_set_null(b, c), 0);
        b->n_rows++;
    }
    batch_seal(b);
    *ret_schema = s;
    return b;
}

/* Checks that `where` keeps just the rows that are ones in `expected`. */
static void assert_keeps(const char *where, const char *expected,
                         uint64_t expected_errors)
{
    struct schema *s;
    struct batch *b = ten_rows(&s);
    struct filter *f;
    struct error error = {0};
    assert_int_equal(filter_new(s, where, &f, &error), 0);
    uint32_t row[10], keep[10];
    for (uint32_t i = 0; i < 10; i++)
        row[i] = i;
    for (int again = 0; again < 2; again++) {
        uint64_t errors = 0;
        int n = filter_rows(f, b, row, 10, keep, &errors);
        char got[11] = "0000000000";
        for (int i = 0; i < n; i++)
            got[keep[i]] = '1';
        assert_string_equal(got, expected);
        assert_int_equal(errors, expected_errors);
    }
    filter_free(f);
    batch_unref(b);
    schema_free(s);
}

static void where_keeps_the_rows_for_which_it_is_true(void **state)
{
    (void)state;
    assert_keeps("price > 1", "0000011110", 0);
    assert_keeps("symbol = 'A' AND qty >= 4", "0000101010", 0);
    assert_keeps("ok", "0101010100", 0);
    assert_keeps("qty IS NULL", "0000000001", 0);
    assert_keeps("NOT (qty > 3)", "1111000000", 0);
    assert_keeps("\"ts\" IN (1, 9) -- with a comment", "0100000001", 0);
    assert_keeps("symbol LIKE 'b' AND length(symbol) = 1", "0101010100", 0);
    assert_keeps("rowid = 1000", "1111111110", 0);
    assert_keeps("0", "0000000000", 0);
    assert_keeps("strftime('%S', ts, 'unixepoch', '+1 minutes') = '09'", "0000000001",
                 0);
    assert_keeps("date(ts, 'unixepoch') = '1970-01-01' AND julianday(ts) > 4",
                 "0000011111", 0);
}

/* Parts are PostgreSQL's: its manual, 9.4. */
static void split_part_gives_a_part_of_a_text(void **state)
{
    (void)state;
    assert_keeps("split_part('abc~@~def~@~ghi', '~@~', 2) = 'def'", "1111111111", 0);
    assert_keeps("split_part('abc,def,ghi,jkl', ',', -2) = 'ghi'", "1111111111", 0);
    assert_keeps("split_part('a/b//c', '/', 3) = ''", "1111111111", 0);
    assert_keeps("split_part('a/b', '/', 3) = ''", "1111111111", 0);
    assert_keeps("split_part('a/b', '/', -3) = ''", "1111111111", 0);
    assert_keeps("split_part('a/b', '', 1) = 'a/b'", "1111111111", 0);
    assert_keeps("split_part('a/b', '', -1) = 'a/b'", "1111111111", 0);
    assert_keeps("split_part('', '/', 1) = ''", "1111111111", 0);
    assert_keeps("split_part('aaa', 'aa', 2) = 'a'", "1111111111", 0);
    assert_keeps("split_part('2/3/4', '/', 2) + 0 = 3", "1111111111", 0);
    assert_keeps("split_part(NULL, '/', 1) IS NULL", "1111111111", 0);
    assert_keeps("split_part(symbol, '/', 1) = 'B'", "0101010100", 0);
}

static void split_part_has_no_part_0(void **state)
{
    (void)state;
    assert_keeps("split_part(symbol, '/', CASE ts WHEN 3 THEN 0 ELSE 1 END) IS NOT 'x'",
                 "1110111111", 1);
}

/* Answers are remembered: by the arguments, with their types. */
static void times_are_what_they_were_whoever_asked_before(void **state)
{
    (void)state;
    assert_keeps(
        "strftime('%S', ts, 'unixepoch') = printf('%02d', ts) AND "
        "strftime('%s', ts, 'unixepoch') = printf('%d', ts) AND "
        "strftime('%S', 0, 'unixepoch') = '00' AND "
        "strftime('%S', 0.0 + ts, 'unixepoch') = printf('%02d', ts) AND "
        "strftime('%S', '1970-01-01 00:00:1' || (ts % 10)) = printf('1%d', ts % 10)",
        "1111111111", 0);
    assert_keeps("julianday(ts, 'unixepoch') = 2440587.5 + ts / 86400.0", "1111111111",
                 0);
    assert_keeps("unixepoch(ts, 'unixepoch') = ts AND date('no date') IS NULL AND "
                 "date('no date') IS NULL",
                 "1111111111", 0);
}

static void a_row_that_makes_sqlite_fail_is_counted_and_left_out(void **state)
{
    (void)state;
    assert_keeps("abs(CASE qty WHEN 3 THEN -9223372036854775807 - 1 ELSE 1 END) = 1",
                 "1110111111", 1);
}

/* What only a row can say: a column whose text is 'now' or 'localtime'. */
static void
where_depends_on_no_clock_and_no_zone_whatever_the_columns_hold(void **state)
{
    (void)state;
    assert_keeps("date(CASE WHEN ts = 2 THEN 'now' ELSE '2020-01-01' END) < '2021'",
                 "1101111111", 1);
    assert_keeps(
        "date(0, CASE WHEN ts = 2 THEN 'LocalTime' WHEN ts = 3 THEN 'utc' ELSE "
        "'+1 days' END) < '2021'",
        "1100111111", 2);
    assert_keeps("CASE WHEN ts = 5 THEN unixepoch() > 0 ELSE 1 END", "1111101111", 1);
}

static void assert_refused(const char *where, const char *text)
{
    struct schema *s;
    struct batch *b = ten_rows(&s);
    struct filter *f;
    struct error error = {0};
    assert_int_equal(filter_new(s, where, &f, &error), -EINVAL);
    assert_non_null(strstr(error.text, text));
    assert_null(strstr(error.text, "index"));
    batch_unref(b);
    schema_free(s);
}

static void where_that_is_no_expression_or_not_deterministic_is_refused(void **state)
{
    (void)state;
    assert_refused("prize > 1", "no such column: prize");
    assert_refused("price >", "syntax error");
    assert_refused("symbol = \"A\"", "no such column: A");
    assert_refused("qty IN (SELECT 1)", "subqueries prohibited");
    assert_refused("random() > 0", "non-deterministic");
    assert_refused("datetime('now') > '2026'", "non-deterministic use of datetime()");
    assert_refused("symbol = 'A' AND datetime('now') > '2026'",
                   "non-deterministic use of datetime()");
    assert_refused("qty IS NOT NULL AND qty < unixepoch()",
                   "non-deterministic use of unixepoch()");
    assert_refused("strftime('%H', ts / 1000000, 'unixepoch', 'localtime') < '12'",
                   "non-deterministic use of strftime(): 'localtime'");
    assert_refused("qty = 1 AND date(symbol, 'utc') > ''",
                   "non-deterministic use of date()");
    assert_refused("strftime('%s') > 0", "non-deterministic use of strftime()");
    assert_refused("ts > current_timestamp", "non-deterministic");
    assert_refused("_rowid_ > 1", "no such column: _rowid_");
    assert_refused("oid > 1", "no such column: oid");
    assert_refused("sqlite_version() > '3'", "not authorized");
    assert_refused("symbol == \"AAPL\"", "text stands in single quotes: 'AAPL'");
    assert_refused("qty = ?", "parameters");
    assert_refused("qty > 1) OR (1", "syntax error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_keeps_the_rows_for_which_it_is_true),
        cmocka_unit_test(split_part_gives_a_part_of_a_text),
        cmocka_unit_test(split_part_has_no_part_0),
        cmocka_unit_test(times_are_what_they_were_whoever_asked_before),
        cmocka_unit_test(a_row_that_makes_sqlite_fail_is_counted_and_left_out),
        cmocka_unit_test(
            where_depends_on_no_clock_and_no_zone_whatever_the_columns_hold),
        cmocka_unit_test(where_that_is_no_expression_or_not_deterministic_is_refused),
    };
    return cmocka_run_group_tests_name("expr", tests, NULL, NULL);
}
