/* SPDX-License-Identifier: Apache-2.0
 *
 * Cursors. Inside: for each column of the primary key `i` and a decimal number, or `s`, the size of a
 * string, a colon and its bytes; each followed by a semicolon.
 */
#include "api/cursor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char cursor_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* base64url without padding (RFC 4648, section 5). */
static void cursor_encode(const unsigned char *p, size_t n, struct buffer *ret)
{
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
                     (left > 2 ? p[i + 2] : 0);
        for (size_t k = 0; k < (left > 2 ? 4 : left + 1); k++)
            buffer_putc(ret, cursor_digits[v >> (18 - 6 * k) & 63]);
    }
}

static int cursor_decode(const char *text, struct buffer *ret)
{
    uint32_t v = 0;
    unsigned bits = 0;
    for (const char *p = text; *p; p++) {
        const char *digit = strchr(cursor_digits, *p);
        if (!digit)
            return -EINVAL;
        v = v << 6 | (uint32_t)(digit - cursor_digits);
        bits += 6;
        if (bits < 8)
            continue;
        bits -= 8;
        buffer_putc(ret, (char)(v >> bits));
        v &= (1u << bits) - 1;
    }
    return v ? -EINVAL : ret->error;
}

int cursor_make(const struct table *table, sqlite3_stmt *row, int first,
                struct buffer *ret)
{
    struct buffer raw = {.limit = CURSOR_SIZE_MAX / 4 * 3};
    for (int c = 0; c < (int)table->n_primary; c++) {
        if (table->column[c].type != WEIR_STRING) {
            buffer_printf(&raw, "i%" PRId64 ";",
                          (int64_t)sqlite3_column_int64(row, first + c));
            continue;
        }
        const void *text = sqlite3_column_text(row, first + c);
        size_t size = (size_t)sqlite3_column_bytes(row, first + c);
        buffer_printf(&raw, "s%zu:", size);
        buffer_put(&raw, text, size);
        buffer_putc(&raw, ';');
    }
    int err = raw.error;
    if (!err)
        cursor_encode((const unsigned char *)raw.data, raw.size, ret);
    buffer_free(&raw);
    return err == -EFBIG ? -E2BIG : err ? err : ret->error;
}

/* One value from *p on. `statement` may be NULL: it is only checked. */
static int cursor_value(const char **p, const char *end, bool string,
                        sqlite3_stmt *statement, int i)
{
    if (*p >= end || **p != (string ? 's' : 'i'))
        return -EINVAL;
    char *after;
    errno = 0;
    long long v = strtoll(*p + 1, &after, 10);
    if (errno || after == *p + 1)
        return -EINVAL;
    if (!string) {
        if (statement)
            sqlite3_bind_int64(statement, i, v);
    } else {
        if (*after++ != ':' || v < 0 || v > end - after)
            return -EINVAL;
        if (statement)
            sqlite3_bind_text(statement, i, after, (int)v, SQLITE_TRANSIENT);
        after += v;
    }
    if (after >= end || *after != ';')
        return -EINVAL;
    *p = after + 1;
    return 0;
}

int cursor_bind(const struct table *table, const char *cursor, sqlite3_stmt *statement,
                int first)
{
    if (strlen(cursor) > CURSOR_SIZE_MAX)
        return -EINVAL;
    struct buffer raw = {0};
    int err = cursor_decode(cursor, &raw);
    const char *p = buffer_text(&raw);
    const char *end = p + raw.size;
    for (size_t c = 0; !err && c < table->n_primary; c++)
        err = cursor_value(&p, end, table->column[c].type == WEIR_STRING, statement,
                           first + (int)c);
    if (!err && p != end)
        err = -EINVAL;
    buffer_free(&raw);
    return err;
}

int cursor_check(const struct table *table, const char *cursor)
{
    return cursor_bind(table, cursor, NULL, 0);
}
