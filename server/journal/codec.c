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
    uint32_t width;      /* as struct codec_width */
    uint32_t zero;
    int64_t base;
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

/* Of values, or lengths, without padding. */
static size_t values_size(uint32_t width, uint32_t rows)
{
    return width ? (size_t)rows * width : bits_size(rows);
}

/* ---- How wide? -------------------------------------------------------------------------------- */

static uint32_t width_of(uint64_t bits)
{
    return bits >> 32 ? 8 : bits >> 16 ? 4 : bits >> 8 ? 2 : 1;
}

/* Of numbers that are counted from 0: all their bits; of a negative one the highest is set. */
static uint64_t bits_of(const int64_t *v, uint32_t rows)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < rows; i++)
        bits |= (uint64_t)v[i];
    return bits;
}

static uint32_t bits_of_lengths(const int32_t *offsets, uint32_t rows)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < rows; i++)
        bits |= (uint32_t)(offsets[i + 1] - offsets[i]);
    return bits;
}

/* Times lie close together, far from 0. */
static struct codec_width width_of_times(const int64_t *v, uint32_t rows)
{
    if (!rows)
        return (struct codec_width){.width = 1};
    int64_t least = v[0], most = v[0];
    for (uint32_t i = 1; i < rows; i++) {
        least = v[i] < least ? v[i] : least;
        most = v[i] > most ? v[i] : most;
    }
    return (struct codec_width){.width = width_of((uint64_t)most - (uint64_t)least),
                                .base = least};
}

static struct codec_width width_of_column(const struct column *c, uint32_t rows)
{
    switch (c->type) {
    case WEIR_BOOL:
        return (struct codec_width){0};
    case WEIR_STRING:
        return (struct codec_width){.width =
                                        width_of(bits_of_lengths(c->offsets, rows))};
    case WEIR_TIME:
        return width_of_times(c->values, rows);
    case WEIR_INT:
        return (struct codec_width){.width = width_of(bits_of(c->values, rows))};
    case WEIR_FLOAT:
        break;
    }
    return (struct codec_width){.width = 8};
}

static size_t string_bytes(const struct column *c, uint32_t rows)
{
    return c->type == WEIR_STRING ? (size_t)c->offsets[rows] : 0;
}

void codec_plan_make(const struct batch *b, struct codec_plan *ret)
{
    size_t size = sizeof(struct batch_head) + b->schema->n * sizeof(struct column_head);
    for (size_t i = 0; i < b->schema->n; i++) {
        const struct column *c = &b->column[i];
        ret->column[i] = width_of_column(c, b->n_rows);
        size += c->null_count ? pad(bits_size(b->n_rows)) : 0;
        size += pad(values_size(ret->column[i].width, b->n_rows));
        size += pad(string_bytes(c, b->n_rows));
    }
    ret->size = size;
}

/* ---- Writing ---- */

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

/* `to` is aligned to 8. */
static char *put_values(char *to, const int64_t *v, const struct codec_width *w,
                        uint32_t rows)
{
    uint64_t base = (uint64_t)w->base;
    void *at = to;
    size_t size = values_size(w->width, rows);
    memset(to + size, 0, pad(size) - size);
    if (w->width == 1)
        for (uint32_t i = 0; i < rows; i++)
            ((uint8_t *)at)[i] = (uint8_t)((uint64_t)v[i] - base);
    else if (w->width == 2)
        for (uint32_t i = 0; i < rows; i++)
            ((uint16_t *)at)[i] = (uint16_t)((uint64_t)v[i] - base);
    else if (w->width == 4)
        for (uint32_t i = 0; i < rows; i++)
            ((uint32_t *)at)[i] = (uint32_t)((uint64_t)v[i] - base);
    else
        for (uint32_t i = 0; i < rows; i++)
            ((uint64_t *)at)[i] = (uint64_t)v[i] - base;
    return to + pad(size);
}

static char *put_lengths(char *to, const int32_t *offsets, uint32_t width,
                         uint32_t rows)
{
    void *at = to;
    size_t size = values_size(width, rows);
    memset(to + size, 0, pad(size) - size);
    if (width == 1)
        for (uint32_t i = 0; i < rows; i++)
            ((uint8_t *)at)[i] = (uint8_t)(offsets[i + 1] - offsets[i]);
    else if (width == 2)
        for (uint32_t i = 0; i < rows; i++)
            ((uint16_t *)at)[i] = (uint16_t)(offsets[i + 1] - offsets[i]);
    else
        for (uint32_t i = 0; i < rows; i++)
            ((uint32_t *)at)[i] = (uint32_t)(offsets[i + 1] - offsets[i]);
    return to + pad(size);
}

static char *put_column(char *to, const struct column *c, const struct codec_width *w,
                        uint32_t rows)
{
    if (c->null_count)
        to = put_bits(to, c->validity, rows);
    if (c->type == WEIR_BOOL)
        return put_bits(to, c->values, rows);
    if (c->type != WEIR_STRING)
        return put_values(to, c->values, w, rows);
    to = put_lengths(to, c->offsets, w->width, rows);
    return put(to, c->bytes, string_bytes(c, rows));
}

void codec_write(const struct batch *b, const struct codec_plan *plan, char *to)
{
    assert((uintptr_t)to % 8 == 0);
    struct batch_head head = {b->n_rows, (uint32_t)b->schema->n};
    to = put(to, &head, sizeof(head));
    for (size_t i = 0; i < b->schema->n; i++) {
        const struct column *c = &b->column[i];
        struct column_head h = {.null_count = (uint32_t)c->null_count,
                                .bytes_size = (uint32_t)string_bytes(c, b->n_rows),
                                .width = plan->column[i].width,
                                .base = plan->column[i].base};
        to = put(to, &h, sizeof(h));
    }
    for (size_t i = 0; i < b->schema->n; i++)
        to = put_column(to, &b->column[i], &plan->column[i], b->n_rows);
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
    const char *values;   /* strings: lengths */
    const char *bytes;
    uint32_t null_count, bytes_size;
    struct codec_width width;
};

/* Floats are never counted from anything, bools are bits, lengths are counted from 0. */
static bool width_fits(enum weir_type type, const struct column_head *h)
{
    uint32_t w = h->width;
    bool any = w == 1 || w == 2 || w == 4 || w == 8;
    switch (type) {
    case WEIR_BOOL:
        return w == 0 && h->base == 0;
    case WEIR_FLOAT:
        return w == 8 && h->base == 0;
    case WEIR_STRING:
        return any && w < 8 && h->base == 0;
    default:
        return any;
    }
}

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
        *c = (struct piece){.null_count = h.null_count,
                            .bytes_size = h.bytes_size,
                            .width = {.width = h.width, .base = h.base}};
        if (h.zero || !width_fits(m->type[i], &h))
            return -EBADMSG;
        if (h.null_count && !(c->validity = take(&p, end, bits_size(head.n_rows))))
            return -EBADMSG;
        c->values = take(&p, end, values_size(h.width, head.n_rows));
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

/* The bytes of a journal's frame need not be aligned in the hands of whoever tests this. */
static uint64_t narrow(const char *values, uint32_t width, uint32_t i)
{
    uint64_t v = 0;
    memcpy(&v, values + (size_t)i * width, width);
    return v;
}

/* Offsets from lengths; returns where the last string ends. */
static uint64_t read_lengths(int32_t *offsets, const struct piece *from, uint32_t rows)
{
    uint64_t end = 0;
    const uint8_t *bytes = (const uint8_t *)from->values;
    offsets[0] = 0;
    for (uint32_t k = 0; k < rows; k++) {
        end += from->width.width == 1 ? bytes[k]
                                      : narrow(from->values, from->width.width, k);
        offsets[k + 1] = (int32_t)(end <= BATCH_BYTES_MAX ? end : BATCH_BYTES_MAX);
    }
    return end;
}

static int read_strings(struct batch *b, size_t i, const struct piece *from,
                        uint32_t rows)
{
    struct column *c = &b->column[i];
    if (from->bytes_size > BATCH_BYTES_MAX || batch_bytes(b, i, from->bytes_size))
        return from->bytes_size > BATCH_BYTES_MAX ? -EBADMSG : -ENOMEM;
    memcpy(c->bytes, from->bytes, from->bytes_size);
    bool bad = read_lengths(c->offsets, from, rows) != from->bytes_size;
    if (from->null_count)
        for (uint32_t k = 0; k < rows; k++)
            bad |= is_null(c, k) && c->offsets[k] != c->offsets[k + 1];
    return bad ? -EBADMSG : 0;
}

#define READ_NARROW(type)                                                              \
    for (uint32_t i = 0; i < rows; i++) {                                              \
        type one;                                                                      \
        memcpy(&one, from->values + (size_t)i * sizeof(one), sizeof(one));             \
        v[i] = (int64_t)(base + one);                                                  \
    }

static void read_numbers(int64_t *v, const struct piece *from, uint32_t rows)
{
    uint64_t base = (uint64_t)from->width.base;
    if (from->width.width == 1)
        READ_NARROW(uint8_t)
    else if (from->width.width == 2)
        READ_NARROW(uint16_t)
    else if (from->width.width == 4)
        READ_NARROW(uint32_t)
    else
        READ_NARROW(uint64_t)
}

static void read_values(struct column *c, const struct piece *from, uint32_t rows)
{
    if (c->type == WEIR_BOOL)
        memcpy(c->values, from->values, bits_size(rows));
    else
        read_numbers(c->values, from, rows);
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
    if (c->type == WEIR_STRING)
        memset(c->offsets, 0, ((size_t)rows + 1) * sizeof(int32_t));
    else
        memset(c->values, 0, c->type == WEIR_BOOL ? bits_size(rows) : (size_t)rows * 8);
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
