/* SPDX-License-Identifier: Apache-2.0
 *
 * Read-only connections: what a stranger's statement may not do, and what ends it.
 */
#include "base/clock.h"
#include "shell.h"
#include "store/reader.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <cmocka.h>

static struct reader_pool *pool;
static struct reader *reader;

static int setup(void **state)
{
    if (shell_setup(state))
        return -1;
    shell("weir.db",
          "PRAGMA journal_mode = WAL; CREATE TABLE trades (a INTEGER, b TEXT);"
          "INSERT INTO trades VALUES (1, 'x'), (2, 'y');"
          "CREATE VIEW trades_readable AS SELECT b FROM trades;"
          "CREATE INDEX trades_b ON trades (b);"
          "CREATE TABLE weir_pipelines (pipeline TEXT);"
          "CREATE TABLE weir_secrets (token TEXT)");
    struct error error = {""};
    if (reader_pool_new(shell_path("weir.db"), 2, &pool) ||
        reader_get(pool, &reader, &error)) {
        fprintf(stderr, "%s\n", error.text);
        return -1;
    }
    return 0;
}

static int teardown(void **state)
{
    reader_put(reader);
    reader_pool_free(pool);
    return shell_teardown(state);
}

/* The result of preparing and of stepping to the end. */
static int run(const char *sql, struct error *error)
{
    sqlite3_stmt *s = NULL;
    int offset;
    int err = reader_prepare(reader, sql, strlen(sql), &s, &offset, error);
    while (!err && (err = reader_step(reader, s, error)) == 1)
        err = 0;
    sqlite3_finalize(s);
    return err;
}

/* One row, one value, as text. */
static const char *value(const char *sql)
{
    static char text[1024];
    sqlite3_stmt *s = NULL;
    int offset;
    struct error error = {""};
    if (reader_prepare(reader, sql, strlen(sql), &s, &offset, &error) ||
        reader_step(reader, s, &error) != 1)
        fail_msg("%s: %s", sql, error.text);
    snprintf(text, sizeof(text), "%s", (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    return text;
}

static void reading_is_allowed(void **state)
{
    (void)state;
    assert_string_equal(value("SELECT sum(a) || group_concat(b, '') FROM trades"),
                        "3xy");
    assert_string_equal(value("SELECT count(*) FROM trades_readable"), "2");
    assert_string_equal(value("SELECT count(*) FROM weir_pipelines"), "0");
    assert_string_equal(
        value("SELECT count(*) FROM sqlite_schema WHERE name = 'trades'"), "1");
    assert_string_equal(value("SELECT name FROM pragma_table_info('trades') LIMIT 1"),
                        "a");
    assert_string_equal(
        value("WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c "
              "WHERE x < 10) SELECT sum(x) FROM c"),
        "55");
    assert_string_equal(value("SELECT sum(value) FROM json_each('[1,2,3]')"), "6");
    assert_string_equal(value("SELECT strftime('%Y', 86400, 'unixepoch')"), "1970");
    assert_string_equal(value("SELECT 1; -- a comment"), "1");
}

static void everything_else_is_not_authorized(void **state)
{
    (void)state;
    static const char *const statements[] = {
        "INSERT INTO trades VALUES (3, 'z')",
        "UPDATE trades SET a = 0",
        "DELETE FROM trades",
        "REPLACE INTO trades VALUES (3, 'z')",
        "WITH d AS (SELECT 1) DELETE FROM trades",
        "CREATE TABLE t (a)",
        "CREATE TEMP TABLE t (a)",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TRIGGER t AFTER INSERT ON trades BEGIN SELECT 1; END",
        "CREATE VIRTUAL TABLE t USING fts5(a)",
        "DROP TABLE trades",
        "ALTER TABLE trades ADD COLUMN c",
        "ATTACH '/tmp/weir-other.db' AS other",
        "ATTACH ':memory:' AS other",
        "DETACH main",
        "PRAGMA query_only = OFF",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA writable_schema = ON",
        "PRAGMA trusted_schema = ON",
        "PRAGMA wal_checkpoint",
        "PRAGMA cache_size = -1000000",
        "SELECT * FROM pragma_database_list",
        "BEGIN",
        "COMMIT",
        "SAVEPOINT s",
        "VACUUM",
        "VACUUM INTO '/tmp/weir-copy.db'",
        "REINDEX",
        "ANALYZE",
        "SELECT load_extension('x')",
        "SELECT fts3_tokenizer('simple')",
        "SELECT * FROM weir_secrets",
        "SELECT (SELECT token FROM weir_secrets)",
        "SELECT * FROM dbstat",
        "SELECT * FROM sqlite_stmt",
    };
    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
        struct error error = {""};
        int err = run(statements[i], &error);
        if (err != -EPERM)
            fail_msg("%s: %d %s", statements[i], err, error.text);
    }
    assert_string_equal(shell("weir.db", "SELECT count(*), sum(a) FROM trades"),
                        "2|3\n");
}

static void faults_say_where(void **state)
{
    (void)state;
    sqlite3_stmt *s;
    int offset;
    struct error error = {""};
    const char *sql = "SELECT a, nosuch FROM trades";
    assert_int_equal(reader_prepare(reader, sql, strlen(sql), &s, &offset, &error),
                     -EINVAL);
    assert_int_equal(offset, 10);
    assert_string_equal(error.text, "no such column: nosuch");
    assert_int_equal(run("SELECT 1; SELECT 2", &error), -EINVAL);
    assert_non_null(strstr(error.text, "more than one statement"));
    assert_int_equal(run("SELECT 1;; DELETE FROM trades", &error), -EINVAL);
    assert_int_equal(run("", &error), -EINVAL);
    assert_int_equal(run(" -- nothing", &error), -EINVAL);
    assert_int_equal(run("SELECT \"x\"", &error),
                     -EINVAL); /* no string in double quotes */
    assert_int_equal(reader_prepare(reader, "SELECT 1\0", 9, &s, &offset, &error),
                     -EINVAL);
}

static const char endless[] =
    "WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c) "
    "SELECT count(*) FROM c";

static void deadline_ends_an_endless_statement(void **state)
{
    (void)state;
    struct error error = {""};
    int64_t begin = clock_monotonic_us();
    reader_limit(reader, begin + 50000, NULL, NULL);
    assert_int_equal(run(endless, &error), -ETIMEDOUT);
    assert_in_range(clock_monotonic_us() - begin, 50000, 5 * SECOND_US);
    /* The connection is as good as new afterwards. */
    reader_limit(reader, INT64_MAX, NULL, NULL);
    assert_string_equal(value("SELECT 7"), "7");
}

static bool gone_after(void *ctx)
{
    return ++*(int *)ctx > 3;
}

static void client_that_goes_away_ends_its_statement(void **state)
{
    (void)state;
    struct error error = {""};
    int asked = 0;
    reader_limit(reader, INT64_MAX, gone_after, &asked);
    assert_int_equal(run(endless, &error), -ECANCELED);
}

static void sizes_are_limited(void **state)
{
    (void)state;
    struct error error = {""};
    assert_int_equal(run("SELECT zeroblob(17000000)", &error), -E2BIG);
    assert_int_equal(run("SELECT hex(zeroblob(9000000))", &error), -E2BIG);
    assert_string_equal(value("SELECT length(zeroblob(16000000))"), "16000000");
    char *longest = malloc(READER_SQL_MAX + 2);
    memset(longest, ' ', READER_SQL_MAX + 1);
    longest[READER_SQL_MAX + 1] = 0;
    memcpy(longest, "SELECT 1", 8);
    assert_int_equal(run(longest, &error), -E2BIG);
    free(longest);
}

static void missing_file_is_told(void **state)
{
    (void)state;
    struct reader_pool *none;
    struct reader *r = NULL;
    struct error error = {""};
    assert_int_equal(reader_pool_new(shell_path("none.db"), 1, &none), 0);
    assert_int_equal(reader_get(none, &r, &error), -ENOENT);
    assert_non_null(strstr(error.text, "none.db"));
    reader_pool_free(none);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reading_is_allowed),
        TEST(everything_else_is_not_authorized),
        TEST(faults_say_where),
        TEST(deadline_ends_an_endless_statement),
        TEST(client_that_goes_away_ends_its_statement),
        TEST(sizes_are_limited),
        TEST(missing_file_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
