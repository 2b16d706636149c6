/* SPDX-License-Identifier: Apache-2.0 */
#include "carry/copy.h"
#include "base/utf8.h"
#include "carry/types.h"

#include <endian.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define TIME_LEAST INT64_C(-211813488000000000)
#define TIME_END   INT64_C(9223371331200000000)
#define FIRST_ROOM ((size_t)256 << 10)

/* ---- Bytes -------------------------------------------------------------------------------------- */

static int need(struct copy *c, size_t more)
{
    if (c->room - c->size >= more)
        return 0;
    size_t room = c->room ? c->room : FIRST_ROOM;
    while (room - c->size < more)
        room *= 2;
    char *grown = realloc(c->data, room);
    if (!grown)
        return -ENOMEM;
    c->data = grown;
    c->room = room;
    return 0;
}

static void put16(struct copy *c, uint16_t v)
{
    v = htobe16(v);
    memcpy(c->data + c->size, &v, sizeof(v));
    c->size += sizeof(v);
}

static void put32(struct copy *c, uint32_t v)
{
    v = htobe32(v);
    memcpy(c->data + c->size, &v, sizeof(v));
    c->size += sizeof(v);
}

static void put64(struct copy *c, uint64_t v)
{
    v = htobe64(v);
    put32(c, 8);
    memcpy(c->data + c->size, &v, sizeof(v));
    c->size += sizeof(v);
}

int copy_begin(struct copy *c)
{
    static const char head[19] = "PGCOPY\n\377\r\n"; /* and zeros */
    c->size = c->rows = 0;
    if (need(c, sizeof(head)))
        return -ENOMEM;
    memcpy(c->data, head, sizeof(head));
    c->size = sizeof(head);
    return 0;
}

int copy_end(struct copy *c)
{
    if (need(c, 2))
        return -ENOMEM;
    put16(c, UINT16_MAX);
    return 0;
}

void copy_free(struct copy *c)
{
    free(c->data);
    *c = (struct copy){0};
}

int copy_bytes(struct copy *c, const void *bytes, size_t size)
{
    if (need(c, size))
        return -ENOMEM;
    memcpy(c->data + c->size, bytes, size);
    c->size += size;
    return 0;
}

int copy_row(struct copy *c, size_t n)
{
    if (need(c, 2))
        return -ENOMEM;
    put16(c, (uint16_t)n);
    return 0;
}

/* ---- Values ------------------------------------------------------------------------------------- */

static bool is_text(const char *text, size_t size)
{
    size_t at = 0;
    while (at < size) {
        uint64_t eight;
        if (size - at >= 8) {
            memcpy(&eight, text + at, 8);
            const uint64_t high = UINT64_C(0x8080808080808080);
            /* ASCII, and none is zero. */
            if (!((eight | (eight - UINT64_C(0x0101010101010101))) & high)) {
                at += 8;
                continue;
            }
        }
        size_t length = text[at] ? utf8_length(text + at, size - at) : 0;
        if (length == 0)
            return false;
        at += length;
    }
    return true;
}

static int put_text(struct copy *c, const char *text, size_t size)
{
    if (!text || need(c, 4 + size))
        return -ENOMEM;
    if (!is_text(text, size))
        return -EDOM;
    put32(c, (uint32_t)size);
    if (size)
        memcpy(c->data + c->size, text, size);
    c->size += size;
    return 0;
}

int copy_text(struct copy *c, const char *text)
{
    const size_t size = strlen(text);
    if (need(c, 4 + size))
        return -ENOMEM;
    put32(c, (uint32_t)size);
    memcpy(c->data + c->size, text, size);
    c->size += size;
    return 0;
}

/* There is room for them. */
static void put_float(struct copy *c, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    put64(c, bits);
}

static int put_int(struct copy *c, enum weir_type type, int64_t v)
{
    if (type == WEIR_BOOL) {
        put32(c, 1);
        c->data[c->size++] = v != 0;
        return 0;
    }
    if (type == WEIR_TIME && (__builtin_sub_overflow(v, TYPES_2000_US, &v) ||
                              v < TIME_LEAST || v >= TIME_END))
        return -EDOM;
    put64(c, (uint64_t)v);
    return 0;
}

/* The connection has no mutex, so the value is good as long as the row; a column is looked up once. */
int copy_value(struct copy *c, enum weir_type type, sqlite3_stmt *row, int column)
{
    sqlite3_value *value = sqlite3_column_value(row, column);
    if (need(c, 12))
        return -ENOMEM;
    if (sqlite3_value_type(value) == SQLITE_NULL) {
        put32(c, UINT32_MAX);
        return 0;
    }
    if (type == WEIR_STRING) {
        const char *text = (const char *)sqlite3_value_text(value);
        return put_text(c, text, (size_t)sqlite3_value_bytes(value));
    }
    if (type == WEIR_FLOAT) {
        put_float(c, sqlite3_value_double(value));
        return 0;
    }
    return put_int(c, type, sqlite3_value_int64(value));
}

int copy_cell(struct copy *c, enum weir_type type, const struct weir_cell *cell)
{
    if (need(c, 12))
        return -ENOMEM;
    if (!cell->type || (cell->type == WEIR_FLOAT && isnan(cell->as.f))) {
        put32(c, UINT32_MAX);
        return 0;
    }
    if (cell->type != type)
        return -EDOM;
    if (type == WEIR_STRING)
        return put_text(c, cell->size ? cell->as.s : "", cell->size);
    if (type == WEIR_FLOAT) {
        put_float(c, cell->as.f + 0.0); /* SQLite has no negative zero */
        return 0;
    }
    return put_int(c, type, cell->as.i);
}
