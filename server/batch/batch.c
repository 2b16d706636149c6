/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/batch.h"

#include "batch/pool.h"

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MIN  512u /* what the pool's smallest block holds */
#define BYTES_MIN 1024u

static_assert(BATCH_ROWS_MAX % BATCH_BLOCK == 0, "blocks fill a batch");
static_assert(sizeof(struct batch) % alignof(struct column) == 0,
              "columns lie behind it");
static_assert(sizeof(struct column) % alignof(struct weir_column) == 0, "and views");
static_assert(BATCH_BYTES_MAX <= INT32_MAX, "offsets are int32");

static size_t values_size(enum weir_type type, uint32_t rows)
{
    if (type == WEIR_STRING)
        return 0;
    return type == WEIR_BOOL ? (rows + 7) / 8 : (size_t)rows * 8;
}

static size_t used_bytes(const struct batch *b, const struct column *c)
{
    return (size_t)c->offsets[b->n_rows];
}

static int grow_validity(const struct batch *b, struct column *c, uint32_t rows)
{
    size_t old = (b->room + 7) / 8, size = (rows + 7) / 8;
    uint8_t *p = pool_grow(c->validity, c->validity_size, c->validity ? old : 0, size,
                           &c->validity_size);
    if (!p)
        return -ENOMEM;
    memset(p + (c->validity ? old : 0), 0xff, size - (c->validity ? old : 0));
    c->validity = p;
    return 0;
}

static int grow_column(const struct batch *b, struct column *c, uint32_t rows)
{
    if (c->validity && grow_validity(b, c, rows) < 0)
        return -ENOMEM;
    size_t size = values_size(c->type, rows);
    if (size) {
        void *p = pool_grow(c->values, c->values_size, values_size(c->type, b->n_rows),
                            size, &c->values_size);
        if (!p)
            return -ENOMEM;
        c->values = p;
        return 0;
    }
    int32_t *p = pool_grow(c->offsets, c->offsets_size,
                           c->offsets ? ((size_t)b->n_rows + 1) * sizeof(*p) : 0,
                           ((size_t)rows + 1) * sizeof(*p), &c->offsets_size);
    if (!p)
        return -ENOMEM;
    if (!c->offsets)
        p[0] = 0;
    c->offsets = p;
    return 0;
}

static int grow_rows(struct batch *b, uint32_t rows)
{
    for (size_t i = 0; i < b->schema->n; i++)
        if (!b->column[i].absent && grow_column(b, &b->column[i], rows) < 0)
            return -ENOMEM;
    b->room = rows;
    return 0;
}

static int grow_bytes(const struct batch *b, struct column *c, size_t size)
{
    char *p = pool_grow(c->bytes, c->bytes_size, c->bytes ? used_bytes(b, c) : 0,
                        size + BATCH_SLACK, &c->bytes_size);
    if (!p)
        return -ENOMEM;
    c->bytes = p;
    size_t room = c->bytes_size - BATCH_SLACK;
    c->bytes_room = room < BATCH_BYTES_MAX ? room : BATCH_BYTES_MAX;
    return 0;
}

/* One block: the batch, its columns, their views; seal fills in spans and views. */
static struct batch *batch_alloc(const struct schema *schema)
{
    size_t columns = schema->n * sizeof(struct column);
    struct batch *b =
        malloc(sizeof(*b) + columns + schema->n * sizeof(struct weir_column));
    if (!b)
        return NULL;
    memset(b, 0, offsetof(struct batch, block));
    atomic_init(&b->refs, 1);
    b->schema = schema;
    b->column = (struct column *)(b + 1);
    b->view = (struct weir_column *)(b->column + schema->n);
    memset(b->column, 0, columns);
    for (size_t i = 0; i < schema->n; i++)
        b->column[i].type = schema->column[i].type;
    return b;
}

int batch_new(const struct schema *schema, uint32_t rows, struct batch **ret)
{
    return batch_new_of(schema, NULL, rows, ret);
}

int batch_new_of(const struct schema *schema, const bool *wanted, uint32_t rows,
                 struct batch **ret)
{
    struct batch *b = batch_alloc(schema);
    if (!b)
        return -ENOMEM;
    for (size_t i = 1; wanted && i < schema->n; i++)
        b->column[i].absent = !wanted[i];
    if (rows < ROWS_MIN)
        rows = ROWS_MIN;
    int r = grow_rows(b, rows < BATCH_ROWS_MAX ? rows : BATCH_ROWS_MAX);
    for (size_t i = 0; r == 0 && i < schema->n; i++)
        if (b->column[i].type == WEIR_STRING && !b->column[i].absent)
            r = grow_bytes(b, &b->column[i], BYTES_MIN);
    if (r < 0) {
        batch_unref(b);
        return r;
    }
    *ret = b;
    return 0;
}

int batch_grow(struct batch *b)
{
    if (b->n_rows < b->room)
        return 0;
    if (b->room >= BATCH_ROWS_MAX)
        return -ENOSPC;
    return grow_rows(b, b->room < BATCH_ROWS_MAX / 4 ? b->room * 4 : BATCH_ROWS_MAX);
}

int batch_bytes(struct batch *b, size_t column, size_t size)
{
    struct column *c = &b->column[column];
    size_t need = used_bytes(b, c) + size;
    if (need <= c->bytes_room)
        return 0;
    if (need > BATCH_BYTES_MAX)
        return -ENOSPC;
    return grow_bytes(b, c, need);
}

int batch_set_null(struct batch *b, size_t column)
{
    struct column *c = &b->column[column];
    if (!c->validity && grow_validity(b, c, b->room) < 0)
        return -ENOMEM;
    uint8_t *byte = c->validity + (b->n_rows >> 3);
    uint8_t bit = (uint8_t)(1u << (b->n_rows & 7));
    if (*byte & bit) {
        *byte = (uint8_t)(*byte & ~bit);
        c->null_count++;
    }
    return 0;
}

void batch_unset_null(struct batch *b, size_t column)
{
    struct column *c = &b->column[column];
    uint8_t bit = (uint8_t)(1u << (b->n_rows & 7));
    if (!c->validity || c->validity[b->n_rows >> 3] & bit)
        return;
    c->validity[b->n_rows >> 3] |= bit;
    c->null_count--;
}

void batch_undo_nulls(struct batch *b)
{
    if (b->n_rows == b->room)
        return;
    for (size_t i = 0; i < b->schema->n; i++)
        batch_unset_null(b, i);
}

/* Copies bits [0, n) of `from` (NULL: all ones) behind bit `at` of `to`. */
static void append_bits(uint8_t *to, uint32_t at, const uint8_t *from, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        unsigned v = from ? (unsigned)from[i >> 3] >> (i & 7) & 1u : 1u;
        uint8_t bit = (uint8_t)(1u << ((at + i) & 7));
        uint8_t *byte = to + ((at + i) >> 3);
        *byte = (uint8_t)(v ? *byte | bit : *byte & ~bit);
    }
}

static void append_column(struct batch *to, const struct batch *from, size_t i)
{
    struct column *t = &to->column[i];
    const struct column *f = &from->column[i];
    if (t->validity)
        append_bits(t->validity, to->n_rows, f->validity, from->n_rows);
    t->null_count += f->null_count;
    if (t->type == WEIR_BOOL) {
        append_bits(t->values, to->n_rows, f->values, from->n_rows);
    } else if (t->type == WEIR_STRING) {
        int32_t base = t->offsets[to->n_rows], *offsets = t->offsets + to->n_rows;
        for (uint32_t k = 1; k <= from->n_rows; k++)
            offsets[k] = base + f->offsets[k];
        memcpy(t->bytes + base, f->bytes, used_bytes(from, f));
    } else {
        memcpy((int64_t *)t->values + to->n_rows, f->values, (size_t)from->n_rows * 8);
    }
}

void batch_reserve(struct batch *b, uint32_t rows)
{
    if (rows > BATCH_ROWS_MAX)
        rows = BATCH_ROWS_MAX;
    if (rows <= b->room || !b->n_rows || grow_rows(b, rows) < 0)
        return;
    for (size_t i = 0; i < b->schema->n; i++) {
        const struct column *c = &b->column[i];
        size_t size = c->type != WEIR_STRING || c->absent
                          ? 0
                          : used_bytes(b, c) * rows / b->n_rows;
        if (size > c->bytes_room && size <= BATCH_BYTES_MAX)
            grow_bytes(b, &b->column[i], size);
    }
}

/* Room for n more rows. */
static int grow_by(struct batch *b, uint32_t n)
{
    const uint32_t rows = b->n_rows + n;
    uint32_t room = b->room;
    if (rows > BATCH_ROWS_MAX)
        return -ENOSPC;
    while (room < rows)
        room *= 4;
    if (room > BATCH_ROWS_MAX)
        room = BATCH_ROWS_MAX;
    return room > b->room ? grow_rows(b, room) : 0;
}

int batch_append(struct batch *to, const struct batch *from)
{
    int err = grow_by(to, from->n_rows);
    if (err < 0)
        return err;
    for (size_t i = 0; i < to->schema->n; i++) {
        const struct column *f = &from->column[i];
        int r = f->type == WEIR_STRING && !f->absent
                    ? batch_bytes(to, i, used_bytes(from, f))
                    : 0;
        if (r == 0 && f->null_count && !to->column[i].validity)
            r = grow_validity(to, &to->column[i], to->room);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < to->schema->n; i++)
        if (!to->column[i].absent)
            append_column(to, from, i);
    to->n_rows += from->n_rows;
    return 0;
}

static void append_value(struct column *t, uint32_t at, const struct column *f,
                         uint32_t row)
{
    if (t->type == WEIR_BOOL) {
        batch_put_bool(t, at, ((const uint8_t *)f->values)[row >> 3] >> (row & 7) & 1);
    } else if (t->type == WEIR_STRING) {
        int32_t size = f->offsets[row + 1] - f->offsets[row];
        memcpy(t->bytes + t->offsets[at], f->bytes + f->offsets[row], (size_t)size);
        t->offsets[at + 1] = t->offsets[at] + size;
    } else {
        ((int64_t *)t->values)[at] = ((const int64_t *)f->values)[row];
    }
}

int batch_append_row(struct batch *to, const struct batch *from, uint32_t row)
{
    int r = batch_grow(to);
    for (size_t i = 0; r == 0 && i < to->schema->n; i++)
        if (from->column[i].type == WEIR_STRING && !from->column[i].absent)
            r = batch_bytes(to, i,
                            (size_t)(from->column[i].offsets[row + 1] -
                                     from->column[i].offsets[row]));
    for (size_t i = 0; r == 0 && i < to->schema->n; i++) {
        const struct column *f = &from->column[i];
        if (f->validity && !(f->validity[row >> 3] >> (row & 7) & 1))
            r = batch_set_null(to, i);
        if (r == 0 && !f->absent)
            append_value(&to->column[i], to->n_rows, f, row);
    }
    if (r < 0)
        batch_undo_nulls(to);
    to->n_rows += r == 0;
    return r;
}

static inline bool is_null(const struct column *c, uint32_t row)
{
    return !(c->validity[row >> 3] >> (row & 7) & 1);
}

/* For what chosen rows of `f` need in column i. */
static int make_room(struct batch *to, size_t i, const struct column *f,
                     const uint32_t *row, uint32_t n)
{
    size_t size = 0;
    uint32_t nulls = 0;
    for (uint32_t k = 0; f->type == WEIR_STRING && k < n; k++)
        size += (size_t)(f->offsets[row[k] + 1] - f->offsets[row[k]]);
    for (uint32_t k = 0; f->null_count && k < n; k++)
        nulls += is_null(f, row[k]);
    int err = size ? batch_bytes(to, i, size) : 0;
    return err == 0 && nulls && !to->column[i].validity
               ? grow_validity(to, &to->column[i], to->room)
               : err;
}

static void append_strings(struct column *t, uint32_t at, const struct column *f,
                           const uint32_t *row, uint32_t n)
{
    int32_t end = t->offsets[at];
    for (uint32_t k = 0; k < n; k++) {
        const int32_t from = f->offsets[row[k]], size = f->offsets[row[k] + 1] - from;
        memcpy(t->bytes + end, f->bytes + from, (size_t)size);
        t->offsets[at + k + 1] = end += size;
    }
}

static void append_chosen(struct column *t, uint32_t at, const struct column *f,
                          const uint32_t *row, uint32_t n)
{
    for (uint32_t k = 0; f->null_count && k < n; k++)
        if (is_null(f, row[k])) {
            t->validity[(at + k) >> 3] &= (uint8_t) ~(1u << ((at + k) & 7));
            t->null_count++;
        }
    if (t->type == WEIR_STRING) {
        append_strings(t, at, f, row, n);
    } else if (t->type == WEIR_BOOL) {
        for (uint32_t k = 0; k < n; k++)
            append_value(t, at + k, f, row[k]);
    } else {
        const int64_t *values = f->values;
        int64_t *to = (int64_t *)t->values + at;
        for (uint32_t k = 0; k < n; k++)
            to[k] = values[row[k]];
    }
}

int batch_append_rows(struct batch *to, const struct batch *from, const size_t *column,
                      const uint32_t *row, uint32_t n)
{
    int r = grow_by(to, n);
    for (size_t i = 0; r == 0 && i < to->schema->n; i++)
        r = make_room(to, i, &from->column[column[i]], row, n);
    if (r < 0)
        return r;
    for (size_t i = 0; i < to->schema->n; i++)
        append_chosen(&to->column[i], to->n_rows, &from->column[column[i]], row, n);
    to->n_rows += n;
    return 0;
}

int batch_put_text(struct batch *b, size_t column, uint32_t from, const char *text,
                   size_t size)
{
    uint32_t rows = b->n_rows;
    if (rows <= from)
        return 0;
    b->n_rows = from; /* what they have there needs no room any more */
    int r = batch_bytes(b, column, (rows - from) * size);
    if (r < 0) {
        b->n_rows = rows;
        return r;
    }
    struct column *c = &b->column[column];
    for (; b->n_rows < rows; b->n_rows++) {
        int32_t at = c->offsets[b->n_rows];
        memcpy(c->bytes + at, text, size);
        c->offsets[b->n_rows + 1] = at + (int32_t)size;
        batch_unset_null(b, column);
    }
    return 0;
}

void batch_clear(struct batch *b)
{
    b->n_rows = 0;
    for (size_t i = 0; i < b->schema->n; i++) {
        struct column *c = &b->column[i];
        if (c->validity)
            memset(c->validity, 0xff, (b->room + 7) / 8);
        c->null_count = 0;
    }
}

static struct batch_span span_of(const int64_t *time, size_t n)
{
    struct batch_span s = {INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < n; i++) {
        s.min_us = time[i] < s.min_us ? time[i] : s.min_us;
        s.max_us = time[i] > s.max_us ? time[i] : s.max_us;
    }
    return s;
}

void batch_seal(struct batch *b)
{
    const int64_t *time = b->column[0].values;
    b->span = (struct batch_span){INT64_MAX, INT64_MIN};
    for (uint32_t first = 0, k = 0; first < b->n_rows; first += BATCH_BLOCK, k++) {
        uint32_t n = b->n_rows - first < BATCH_BLOCK ? b->n_rows - first : BATCH_BLOCK;
        struct batch_span s = span_of(time + first, n);
        b->block[k] = s;
        b->span.min_us = s.min_us < b->span.min_us ? s.min_us : b->span.min_us;
        b->span.max_us = s.max_us > b->span.max_us ? s.max_us : b->span.max_us;
    }
    for (size_t i = 0; i < b->schema->n; i++)
        batch_seal_column(b, i);
}

void batch_seal_column(struct batch *b, size_t i)
{
    const struct column *c = &b->column[i];
    b->view[i] = (struct weir_column){
        .type = c->type,
        .validity = c->null_count ? c->validity : NULL,
        .values = c->values,
        .offsets = c->offsets,
        .bytes = c->bytes,
        .null_count = c->null_count,
    };
}

int batch_extend(struct batch *from, const struct schema *schema, struct batch **ret)
{
    size_t n = from->schema->n;
    struct batch *b = batch_alloc(schema);
    if (!b)
        return -ENOMEM;
    b->shared = batch_ref(from);
    b->span = from->span;
    memcpy(b->block, from->block,
           (from->n_rows + BATCH_BLOCK - 1) / BATCH_BLOCK * sizeof(b->block[0]));
    memcpy(b->column, from->column, n * sizeof(b->column[0]));
    memcpy(b->view, from->view, n * sizeof(b->view[0]));
    int r = 0;
    for (size_t i = n; r == 0 && i < schema->n; i++) {
        r = grow_column(b, &b->column[i], from->n_rows);
        if (r == 0 && b->column[i].type == WEIR_STRING)
            r = grow_bytes(b, &b->column[i], BYTES_MIN);
    }
    if (r < 0) {
        batch_unref(b);
        return r;
    }
    b->room = b->n_rows = from->n_rows;
    *ret = b;
    return 0;
}

static size_t values_bytes(enum weir_type type, uint32_t rows)
{
    return type == WEIR_BOOL ? (rows + 7) / 8 : (size_t)rows * 8;
}

static int pick_nulls(struct batch *b, struct column *t, uint32_t rows)
{
    if (grow_validity(b, t, b->room) < 0)
        return -ENOMEM;
    memset(t->validity, 0, (rows + 7) / 8);
    t->null_count = rows;
    if (t->type == WEIR_STRING)
        memset(t->offsets, 0, ((size_t)rows + 1) * sizeof(*t->offsets));
    else
        memset(t->values, 0, values_bytes(t->type, rows));
    return 0;
}

static int pick_column(struct batch *b, size_t i, const struct batch *from,
                       const struct column *f)
{
    struct column *t = &b->column[i];
    uint32_t rows = from->n_rows;
    if (f->null_count && grow_validity(b, t, b->room) < 0)
        return -ENOMEM;
    if (f->null_count)
        memcpy(t->validity, f->validity, (rows + 7) / 8);
    t->null_count = f->null_count;
    if (t->type != WEIR_STRING) {
        memcpy(t->values, f->values, values_bytes(t->type, rows));
        return 0;
    }
    size_t size = used_bytes(from, f);
    int r = batch_bytes(b, i, size);
    if (r < 0)
        return r;
    memcpy(t->offsets, f->offsets, ((size_t)rows + 1) * sizeof(*t->offsets));
    memcpy(t->bytes, f->bytes, size);
    return 0;
}

int batch_pick(const struct batch *from, const struct schema *schema,
               const size_t *column, size_t number, int64_t value, struct batch **ret)
{
    struct batch *b;
    int r = batch_new(schema, from->n_rows, &b);
    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < schema->n; i++) {
        if (i == number)
            for (uint32_t row = 0; row < from->n_rows; row++)
                ((int64_t *)b->column[i].values)[row] = value;
        else if (column[i] == SIZE_MAX)
            r = pick_nulls(b, &b->column[i], from->n_rows);
        else
            r = pick_column(b, i, from, &from->column[column[i]]);
    }
    if (r < 0) {
        batch_unref(b);
        return r;
    }
    b->n_rows = from->n_rows;
    batch_seal(b);
    *ret = b;
    return 0;
}

size_t batch_memory(const struct batch *b)
{
    size_t size = sizeof(*b);
    for (size_t i = 0; i < b->schema->n; i++) {
        const struct column *c = &b->column[i];
        size += c->validity_size + c->values_size + c->offsets_size + c->bytes_size;
    }
    return size;
}

struct batch *batch_ref(struct batch *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void batch_unref(struct batch *b)
{
    if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = b->shared ? b->shared->schema->n : 0; i < b->schema->n; i++) {
        struct column *c = &b->column[i];
        pool_put(c->validity, c->validity_size);
        pool_put(c->values, c->values_size);
        pool_put(c->offsets, c->offsets_size);
        pool_put(c->bytes, c->bytes_size);
    }
    batch_unref(b->shared);
    free(b);
}
