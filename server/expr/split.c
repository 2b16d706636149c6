/* SPDX-License-Identifier: Apache-2.0 */
#include "expr/split.h"

#include <string.h>

/* The next separator in the text up to `end`; NULL: there is none. An empty one is nowhere. */
static const char *find(const char *at, const char *end, const char *by, size_t by_size)
{
    if (by_size == 0 || at == end)
        return NULL;
    return by_size == 1 ? memchr(at, *by, (size_t)(end - at))
                        : memmem(at, (size_t)(end - at), by, by_size);
}

static int64_t count(const char *text, size_t size, const char *by, size_t by_size)
{
    int64_t n = 1;
    for (const char *at = text; (at = find(at, text + size, by, by_size));
         at += by_size)
        n++;
    return n;
}

const char *split_part(const char *text, size_t size, const char *by, size_t by_size,
                       int64_t n, size_t *ret_size)
{
    const char *end = text + size, *at = text, *next;
    *ret_size = 0;
    if (n < 0 && (n += count(text, size, by, by_size) + 1) <= 0)
        return text;
    while ((next = find(at, end, by, by_size)) && n > 1) {
        at = next + by_size;
        n--;
    }
    if (n == 1)
        *ret_size = (size_t)((next ? next : end) - at);
    return at;
}

static void call(sqlite3_context *to, int n_args, sqlite3_value **arg)
{
    (void)n_args;
    for (int i = 0; i < 3; i++)
        if (sqlite3_value_type(arg[i]) == SQLITE_NULL)
            return;
    const int64_t n = sqlite3_value_int64(arg[2]);
    if (n == 0) {
        sqlite3_result_error(to, "split_part(): parts are counted from 1, or from -1",
                             -1);
        return;
    }
    const char *text = (const char *)sqlite3_value_text(arg[0]);
    const char *by = (const char *)sqlite3_value_text(arg[1]);
    if (!text || !by) {
        sqlite3_result_error_nomem(to);
        return;
    }
    size_t size;
    const char *part = split_part(text, (size_t)sqlite3_value_bytes(arg[0]), by,
                                  (size_t)sqlite3_value_bytes(arg[1]), n, &size);
    sqlite3_result_text64(to, part, size, SQLITE_TRANSIENT, SQLITE_UTF8);
}

int split_install(sqlite3 *db)
{
    return sqlite3_create_function_v2(
        db, "split_part", 3, SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS,
        NULL, call, NULL, NULL, NULL);
}
