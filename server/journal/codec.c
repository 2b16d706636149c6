/* SPDX-License-Identifier: Apache-2.0 */
#include "journal/codec.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "arrays of numbers go to disk as they lie in memory");

struct batch_head {
    uint32_t n_rows, n_columns;
};

struct column_head {
    uint32_t null_count; /* 0: no validity bits follow */
    uint32_t bytes_size; /* of strings */
};

struct schema_head {
    uint32_t n_columns;
    uint32_t zero;
};

struct schema_column_head {
    uint32_t type;
    uint32_t name_size;
};

static size_t pad(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

static size_t bits_size(uint32_t rows)
{
    return (rows + 7) / 8;
}

/* Of values, or offsets, without padding. */
static size_t values_size(enum weir_type type, uint32_t rows)
{
    switch (type) {
    case WEIR_BOOL:
        return bits_size(rows);
    case WEIR_STRING:
        return ((size_t)rows + 1) * sizeof(int32_t);
    default:
        return (size_t)rows * 8;
    }
}

/* ---- Writing ---- */

static size_t string_bytes(const struct column *c, uint32_t rows)
{
    return c->type == WEIR_STRING ? (size_t)c->offsets[rows] : 0;
}

size_t codec_size(const struct batch *b)
{
    size_t size = sizeof(struct batch_head) + b->schema->n * sizeof(struct column_head);
    for (size_t i = 0; i < b->schema->n; i++) {
        const struct column *c = &b->column[i];
        size += c->null_count ? pad(bits_size(b->n_rows)) : 0;
        size += pad(values_size(c->type, b->n_rows));
        size += pad(string_bytes(c, b->n_rows));
    }
    return size;
}

static char *put(char *to, const void *from, size_t size)
{
    if (size)
        memcpy(to, from, size);
    memset(to + size, 0, pad(size) - size);
    return to + pad(size);
}

/* Bits behind the last row were never set. */
static char *put_bits(char *to, const uint8_t *from, uint32_t rows)
{
    char *end = put(to, from, bits_size(rows));
    if (rows % 8)
        to[rows / 8] = (char)(from[rows / 8] & ((1u << rows % 8) - 1));
    return end;
}

static char *put_column(char *to, const struct column *c, uint32_t rows)
{
    if (c->null_count)
        to = put_bits(to, c->validity, rows);
    if (c->type == WEIR_BOOL)
        return put_bits(to, c->values, rows);
    if (c->type != WEIR_STRING)
        return put(to, c->values, values_size(c->type, rows));
    to = put(to, c->offsets, values_size(c->type, rows));
    return put(to, c->bytes, string_bytes(c, rows));
}

void codec_write(const struct batch *b, char *to)
{
    struct batch_head head = {b->n_rows, (uint32_t)b->schema->n};
    to = put(to, &head, sizeof(head));
    for (size_t i = 0; i < b->schema->n; i++) {
        const struct column *c = &b->column[i];
        struct column_head h = {(uint32_t)c->null_count,
                                (uint32_t)string_bytes(c, b->n_rows)};
        to = put(to, &h, sizeof(h));
    }
    for (size_t i = 0; i < b->schema->n; i++)
        to = put_column(to, &b->column[i], b->n_rows);
}

size_t codec_schema_size(const struct schema *s)
{
    size_t size = sizeof(struct schema_head);
    for (size_t i = 0; i < s->n; i++)
        size += sizeof(struct schema_column_head) + pad(strlen(s->column[i].name));
    return size;
}

void codec_schema_write(const struct schema *s, char *to)
{
    struct schema_head head = {(uint32_t)s->n, 0};
    to = put(to, &head, sizeof(head));
    for (size_t i = 0; i < s->n; i++) {
        size_t size = strlen(s->column[i].name);
        struct schema_column_head h = {s->column[i].type, (uint32_t)size};
        to = put(to, &h, sizeof(h));
        to = put(to, s->column[i].name, size);
    }
}

/* ---- The schema that was written, and the one that is wanted ---- */

#define NOWHERE (-1)

struct codec_map {
    const struct schema *want;
    bool same;
    size_t n; /* columns that were written */
    enum weir_type type[SCHEMA_COLUMNS_MAX];
    int from
        [SCHEMA_COLUMNS_MAX]; /* for each of `want`: the written column, or NOWHERE */
};

/* A piece of the bytes that are left, with its padding; NULL: there are not so many. */
static const char *take(const char **p, const char *end, size_t size)
{
    const char *at = *p;
    if (size > (size_t)(end - at) || pad(size) > (size_t)(end - at))
        return NULL;
    *p = at + pad(size);
    return at;
}

static bool is_called(const struct schema_column *c, const char *name, size_t size)
{
    return strlen(c->name) == size && memcmp(c->name, name, size) == 0;
}

/* The time is the time, whatever it was called. */
static void map_column(struct codec_map *m, size_t i, const char *name, size_t size)
{
    bool same = i < m->want->n && is_called(&m->want->column[i], name, size);
    m->same = m->same && same && m->want->column[i].type == m->type[i];
    if (i == 0)
        m->from[0] = 0;
    for (size_t k = 1; k < m->want->n; k++)
        if (m->from[k] == NOWHERE && m->want->column[k].type == m->type[i] &&
            is_called(&m->want->column[k], name, size))
            m->from[k] = (int)i;
}

static int map_columns(struct codec_map *m, const char *p, size_t size)
{
    const char *end = p + size, *bytes = take(&p, end, sizeof(struct schema_head));
    struct schema_head head;
    if (!bytes)
        return -EBADMSG;
    memcpy(&head, bytes, sizeof(head));
    if (head.n_columns < 1 || head.n_columns > SCHEMA_COLUMNS_MAX)
        return -EBADMSG;
    m->n = head.n_columns;
    m->same = m->n == m->want->n;
    for (size_t i = 0; i < m->n; i++) {
        struct schema_column_head h;
        bytes = take(&p, end, sizeof(h));
        if (!bytes)
            return -EBADMSG;
        memcpy(&h, bytes, sizeof(h));
        const char *name = take(&p, end, h.name_size);
        if (!name || h.type < WEIR_INT || h.type > WEIR_TIME)
            return -EBADMSG;
        m->type[i] = h.type;
        map_column(m, i, name, h.name_size);
    }
    return p == end && m->type[0] == WEIR_TIME ? 0 : -EBADMSG;
}

int codec_map_new(const struct schema *want, const char *bytes, size_t size,
                  struct codec_map **ret)
{
    struct codec_map *m = calloc(1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    m->want = want;
    for (size_t i = 0; i < SCHEMA_COLUMNS_MAX; i++)
        m->from[i] = NOWHERE;
    int err = map_columns(m, bytes, size);
    if (err) {
        free(m);
        return err;
    }
    *ret = m;
    return 0;
}

void codec_map_free(struct codec_map *m)
{
    free(m);
}

bool codec_map_is_same(const struct codec_map *m)
{
    return m->same;
}

/* ---- Reading ---- */

struct piece {
    const char *validity; /* NULL: no row is null */
    const char *values;   /* strings: offsets */
    const char *bytes;
    uint32_t null_count, bytes_size;
};

/* Finds the pieces of all written columns. */
static int find_pieces(const struct codec_map *m, const char *p, size_t size,
                       uint32_t *ret_rows, struct piece *piece)
{
    const char *end = p + size, *bytes = take(&p, end, sizeof(struct batch_head));
    struct batch_head head;
    if (!bytes)
        return -EBADMSG;
    memcpy(&head, bytes, sizeof(head));
    const char *heads = take(&p, end, m->n * sizeof(struct column_head));
    if (head.n_rows > BATCH_ROWS_MAX || head.n_columns != m->n || !heads)
        return -EBADMSG;
    for (size_t i = 0; i < m->n; i++) {
        struct column_head h;
        memcpy(&h, heads + i * sizeof(h), sizeof(h));
        struct piece *c = &piece[i];
        *c = (struct piece){.null_count = h.null_count, .bytes_size = h.bytes_size};
        if (h.null_count && !(c->validity = take(&p, end, bits_size(head.n_rows))))
            return -EBADMSG;
        c->values = take(&p, end, values_size(m->type[i], head.n_rows));
        c->bytes = take(&p, end, h.bytes_size);
        if (!c->values || !c->bytes || (h.bytes_size && m->type[i] != WEIR_STRING))
            return -EBADMSG;
    }
    *ret_rows = head.n_rows;
    return p == end ? 0 : -EBADMSG;
}

/* The batch has no rows yet: marking row 0 makes the bits of all rows, those behind the last one set. */
static int make_validity(struct batch *b, size_t i)
{
    int err = batch_set_null(b, i);
    if (!err)
        batch_unset_null(b, i);
    return err;
}

static bool is_null(const struct column *c, uint32_t row)
{
    return !(c->validity[row / 8] >> row % 8 & 1);
}

static int read_validity(struct batch *b, size_t i, const struct piece *from,
                         uint32_t rows)
{
    struct column *c = &b->column[i];
    int err = make_validity(b, i);
    if (err)
        return err;
    memcpy(c->validity, from->validity, bits_size(rows));
    if (rows % 8)
        c->validity[rows / 8] |= (uint8_t)(0xffu << rows % 8);
    uint32_t nulls = 0;
    for (size_t k = 0; k < bits_size(rows); k++)
        nulls += 8u - (uint32_t)__builtin_popcount(c->validity[k]);
    c->null_count = nulls;
    return nulls == from->null_count ? 0 : -EBADMSG;
}

static int read_strings(struct batch *b, size_t i, const struct piece *from,
                        uint32_t rows)
{
    struct column *c = &b->column[i];
    if (from->bytes_size > BATCH_BYTES_MAX || batch_bytes(b, i, from->bytes_size))
        return from->bytes_size > BATCH_BYTES_MAX ? -EBADMSG : -ENOMEM;
    memcpy(c->bytes, from->bytes, from->bytes_size);
    memcpy(c->offsets, from->values, values_size(WEIR_STRING, rows));
    bool bad = c->offsets[0] != 0 || c->offsets[rows] != (int32_t)from->bytes_size;
    for (uint32_t k = 0; k < rows; k++)
        bad |= c->offsets[k] > c->offsets[k + 1];
    if (from->null_count)
        for (uint32_t k = 0; k < rows; k++)
            bad |= is_null(c, k) && c->offsets[k] != c->offsets[k + 1];
    return bad ? -EBADMSG : 0;
}

static void read_values(struct column *c, const struct piece *from, uint32_t rows)
{
    memcpy(c->values, from->values, values_size(c->type, rows));
    if (!from->null_count)
        return;
    for (uint32_t row = 0; row < rows; row++) {
        if (!is_null(c, row))
            continue;
        if (c->type == WEIR_BOOL)
            batch_put_bool(c, row, false);
        else
            ((int64_t *)c->values)[row] = 0;
    }
}

static int read_column(struct batch *b, size_t i, const struct piece *from,
                       uint32_t rows)
{
    struct column *c = &b->column[i];
    int err = from->null_count ? read_validity(b, i, from, rows) : 0;
    if (err)
        return err;
    if (i == 0 && c->null_count)
        return -EBADMSG;
    if (c->type == WEIR_STRING)
        return read_strings(b, i, from, rows);
    read_values(c, from, rows);
    return 0;
}

static int all_null(struct batch *b, size_t i, uint32_t rows)
{
    struct column *c = &b->column[i];
    int err = make_validity(b, i);
    if (err)
        return err;
    memset(c->validity, 0, rows / 8);
    if (rows % 8)
        c->validity[rows / 8] = (uint8_t)(0xffu << rows % 8);
    memset(c->type == WEIR_STRING ? (void *)c->offsets : c->values, 0,
           values_size(c->type, rows));
    c->null_count = rows;
    return 0;
}

int codec_read(const struct codec_map *m, const char *bytes, size_t size,
               struct batch **ret)
{
    struct piece piece[SCHEMA_COLUMNS_MAX];
    struct batch *b = NULL;
    uint32_t rows;
    int err = find_pieces(m, bytes, size, &rows, piece);
    if (!err)
        err = batch_new(m->want, rows, &b);
    for (size_t i = 0; !err && i < m->want->n; i++)
        err = m->from[i] == NOWHERE ? all_null(b, i, rows)
                                    : read_column(b, i, &piece[m->from[i]], rows);
    if (err) {
        batch_unref(b);
        return err;
    }
    b->n_rows = rows;
    *ret = b;
    return 0;
}
