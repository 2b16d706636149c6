/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows as Arrow where there is no memory: each allocation fails once, and nothing comes of it but an error. What is written is read
 * in tests/system/test_arrow.py.
 */
#include "query/arrow.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static size_t until_failure; /* allocations; 0: none fails */

static bool fails(void)
{
    return until_failure && --until_failure == 0;
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size)
{
    return fails() ? NULL : __real_realloc(p, size);
}

/* Types that change in the first rows, each to each. */
static const char sql[] =
    "WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 100) "
    "SELECT n, iif(n < 50, n, n / 2.0), iif(n < 50, n, 'text'), iif(n < 50, n / 2.0, "
    "'text'), iif(n < 50, NULL, n), iif(n < 50, x'00', n), iif(n % 2, n, NULL), n, n "
    "FROM i";

static int write_all(sqlite3_stmt *s, struct buffer *to)
{
    static const struct arrow_field fields[] = {{.name = "n", .type = WEIR_INT},
                                                {.name = "real"},
                                                {.name = "text"},
                                                {.name = "real_text"},
                                                {.name = "late"},
                                                {.name = "bytes"},
                                                {.name = "some"},
                                                {.name = "ok", .type = WEIR_BOOL},
                                                {.name = "at", .type = WEIR_TIME}};
    struct arrow *a = NULL;
    struct error error = {""};
    int err = arrow_new(fields, sizeof(fields) / sizeof(fields[0]), &a);
    for (int n = 0; !err && sqlite3_step(s) == SQLITE_ROW; n++) {
        err = arrow_row(a, s, &error);
        if (!err && n % 10 == 3) { /* as if it had not been */
            arrow_drop(a);
            err = arrow_row(a, s, &error);
        }
        if (!err && n == 79)
            arrow_flush(a, to);
        if (!err)
            err = to->error;
    }
    if (!err) {
        arrow_end(a, to);
        err = to->error;
    }
    sqlite3_reset(s);
    arrow_free(a);
    return err;
}

static void no_memory_is_an_error(void **state)
{
    (void)state;
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    struct buffer whole = {0}, some = {0};
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(write_all(s, &whole), 0);
    size_t failures = 0;
    for (int err = -ENOMEM; err; failures++) {
        buffer_free(&some);
        until_failure = failures + 1;
        err = write_all(s, &some);
        if (err)
            assert_int_equal(err, -ENOMEM);
        until_failure = 0;
    }
    assert_true(failures > 50);
    assert_int_equal(some.size, whole.size);
    assert_memory_equal(some.data, whole.data, whole.size);
    buffer_free(&some);
    buffer_free(&whole);
    sqlite3_finalize(s);
    sqlite3_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_memory_is_an_error)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
