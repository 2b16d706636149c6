/* SPDX-License-Identifier: Apache-2.0 */
#include "expr/derive.h"

#include "base/utf8.h"
#include "expr/events.h"
#include "expr/vector.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* An event time is within 146,000 years of 1970; a derived time is nothing else. */
#define TIME_MAX_US (INT64_C(1) << 62)

struct derived {
    struct events *events;
    struct expr_tree tree;
    struct vector *vector; /* NULL: all is SQLite's */
    enum weir_type type;
};

struct derive {
    const struct schema *schema;
    size_t n, first; /* columns, of which `first` is the first */
    struct derived column[];
};

int derive_type(const struct schema *schema, const char *text, struct error *error)
{
    struct events *e = NULL;
    struct expr_tree tree;
    int r = events_new(schema, text, &e, error);
    if (r == 0)
        r = events_select(e, false, text, error);
    if (r == 0 && (r = expr_parse(e->db, schema, text, &tree)) < 0)
        error_set(error, r, "no memory");
    if (r == 0) {
        r = (int)tree.root->type;
        expr_tree_free(&tree);
    }
    events_free(e);
    return r;
}

/* The columns before this one are all that its expression knows. */
static int derived_new(struct derived *d, const struct schema *schema, size_t column,
                       const struct derive_column *c, struct error *error)
{
    struct schema *before;
    int r = schema_copy(schema, column, 0, &before);
    if (r < 0)
        return error_set(error, r, "no memory");
    d->type = (enum weir_type)c->type;
    r = events_new(before, c->text, &d->events, error);
    if (r == 0)
        r = events_select(d->events, false, c->text, error);
    if (r == 0 && ((r = expr_parse(d->events->db, before, c->text, &d->tree)) < 0 ||
                   (r = vector_new(&d->tree, schema, &d->vector)) < 0))
        error_set(error, r, "no memory");
    if (d->events)
        d->events->schema = schema; /* of the same columns, and more */
    schema_free(before);
    return r;
}

int derive_new(const struct schema *schema, const struct derive_column *column,
               size_t n, struct derive **ret, struct error *error)
{
    struct derive *d = calloc(1, sizeof(*d) + n * sizeof(d->column[0]));
    if (!d)
        return error_set(error, -ENOMEM, "no memory");
    d->schema = schema;
    d->first = schema->n - n;
    for (size_t i = 0; i < n; i++) {
        int r =
            derived_new(&d->column[d->n++], schema, d->first + i, &column[i], error);
        if (r < 0) {
            derive_free(d);
            return r;
        }
    }
    *ret = d;
    return 0;
}

void derive_free(struct derive *d)
{
    for (size_t i = 0; d && i < d->n; i++) {
        vector_free(d->column[i].vector);
        expr_tree_free(&d->column[i].tree);
        events_free(d->column[i].events);
    }
    free(d);
}

/* ---- A value into the column ------------------------------------------------------------------ */

/* Where the row being stored is b->n_rows. */
struct store {
    struct batch *b;
    size_t c;
    uint64_t errors;
};

static int put_null(struct store *s)
{
    struct column *c = &s->b->column[s->c];
    uint32_t row = s->b->n_rows;
    if (c->type == WEIR_STRING)
        c->offsets[row + 1] = c->offsets[row];
    else if (c->type == WEIR_BOOL)
        batch_put_bool(c, row, false);
    else
        ((int64_t *)c->values)[row] = 0; /* the bits of 0.0, too */
    return batch_set_null(s->b, s->c);
}

static int put_fault(struct store *s)
{
    s->errors++;
    return put_null(s);
}

static int put_int(struct store *s, int64_t v)
{
    struct column *c = &s->b->column[s->c];
    uint32_t row = s->b->n_rows;
    if (c->type == WEIR_TIME && (v < -TIME_MAX_US || v > TIME_MAX_US))
        return put_fault(s);
    if (c->type == WEIR_FLOAT)
        ((double *)c->values)[row] = (double)v;
    else if (c->type == WEIR_BOOL)
        batch_put_bool(c, row, v != 0);
    else
        ((int64_t *)c->values)[row] = v;
    return 0;
}

static int put_real(struct store *s, double v)
{
    struct column *c = &s->b->column[s->c];
    if (c->type == WEIR_BOOL)
        return put_int(s, v != 0);
    if (c->type != WEIR_FLOAT)
        return v >= -0x1p63 && v < 0x1p63 && v == trunc(v) ? put_int(s, (int64_t)v)
                                                           : put_fault(s);
    if (!isfinite(v))
        return put_fault(s);
    ((double *)c->values)[s->b->n_rows] = v;
    return 0;
}

static bool is_utf8(const char *text, size_t size)
{
    for (size_t i = 0, n; i < size; i += n)
        if (!(n = utf8_length(text + i, size - i)))
            return false;
    return true;
}

static int put_text(struct store *s, const char *text, size_t size)
{
    struct column *c = &s->b->column[s->c];
    if (c->type != WEIR_STRING || !is_utf8(text, size))
        return put_fault(s);
    int r = batch_bytes(s->b, s->c, size);
    if (r == -ENOSPC)
        return put_fault(s);
    if (r < 0)
        return r;
    int32_t *offset = &c->offsets[s->b->n_rows];
    memcpy(c->bytes + offset[0], text, size);
    offset[1] = offset[0] + (int32_t)size;
    return 0;
}

static int put_value(struct store *s, sqlite3_stmt *select)
{
    bool text = s->b->column[s->c].type == WEIR_STRING;
    switch (sqlite3_column_type(select, 0)) {
    case SQLITE_NULL:
        return put_null(s);
    case SQLITE_INTEGER:
        if (!text)
            return put_int(s, sqlite3_column_int64(select, 0));
        break;
    case SQLITE_FLOAT:
        if (!text)
            return put_real(s, sqlite3_column_double(select, 0));
        break;
    case SQLITE_TEXT:
        break;
    default:
        return put_fault(s);
    }
    const char *bytes = (const char *)sqlite3_column_text(select, 0);
    return bytes ? put_text(s, bytes, (size_t)sqlite3_column_bytes(select, 0))
                 : -ENOMEM;
}

/* ---- A block ---------------------------------------------------------------------------------- */

static int ask_sqlite(struct store *s, struct events *e, const uint32_t *row,
                      uint32_t n)
{
    int r = 0;
    events_begin(e, s->b, row, n);
    for (uint32_t i = 0; r == 0 && i < n; i++) {
        enum events_step step = events_step(e);
        s->b->n_rows = row[i];
        if (step == EVENTS_ROW) {
            r = put_value(s, e->select);
            continue;
        }
        if (step != EVENTS_FAULT)
            r = -ENOMEM;
        else
            r = put_fault(s);
        e->at++;
    }
    sqlite3_reset(e->select);
    return r;
}

/* Without a check of each: whole numbers, without nulls, into a column of theirs. */
static bool copy_whole(struct store *s, const struct vector_values *v,
                       const uint32_t *row, uint32_t n)
{
    struct column *c = &s->b->column[s->c];
    if (v->nulls || v->kind != VECTOR_INT || c->type != WEIR_INT)
        return false;
    memcpy((int64_t *)c->values + row[0], v->i, n * sizeof(v->i[0]));
    return true;
}

static bool copy_real(struct store *s, const struct vector_values *v,
                      const uint32_t *row, uint32_t n)
{
    struct column *c = &s->b->column[s->c];
    bool finite = true;
    if (v->nulls || v->kind != VECTOR_REAL || c->type != WEIR_FLOAT)
        return false;
    for (uint32_t i = 0; i < n; i++)
        finite &= v->f[i] - v->f[i] == 0;
    if (finite)
        memcpy((double *)c->values + row[0], v->f, n * sizeof(v->f[0]));
    return finite;
}

static int put_vector(struct store *s, const struct vector_values *v,
                      const uint32_t *row, uint32_t n)
{
    int r = 0;
    if (copy_whole(s, v, row, n) || copy_real(s, v, row, n))
        return 0;
    for (uint32_t i = 0; r == 0 && i < n; i++) {
        s->b->n_rows = row[i];
        if (v->nulls && v->null[i])
            r = put_null(s);
        else if (v->kind == VECTOR_INT)
            r = put_int(s, v->i[i]);
        else if (v->kind == VECTOR_REAL)
            r = put_real(s, v->f[i]);
        else
            r = put_text(s, v->text[i], v->size[i]);
    }
    return r;
}

static int derive_block(struct derived *d, struct store *s, const uint32_t *row,
                        uint32_t n)
{
    const struct vector_values *v =
        d->vector ? vector_run(d->vector, s->b, row, n) : NULL;
    if (v && (v->kind == VECTOR_TEXT) == (d->type == WEIR_STRING))
        return put_vector(s, v, row, n);
    return ask_sqlite(s, d->events, row, n);
}

static int put_nulls(struct batch *b, size_t c, uint32_t rows)
{
    struct store s = {.b = b, .c = c};
    int r = 0;
    for (b->n_rows = 0; r == 0 && b->n_rows < rows; b->n_rows++)
        r = put_null(&s);
    b->n_rows = rows;
    batch_seal_column(b, c);
    return r;
}

int derive_batch(struct derive *d, struct batch *from, uint64_t *ret_errors,
                 struct batch **ret)
{
    struct batch *b;
    uint64_t errors = 0;
    uint32_t row[BATCH_BLOCK], rows = from->n_rows;
    int r = batch_extend(from, d->schema, &b);
    if (r < 0)
        return r;
    for (size_t c = from->schema->n; r == 0 && c < d->first; c++)
        r = put_nulls(b, c, rows);
    for (size_t i = 0; r == 0 && i < d->n; i++) {
        struct store s = {.b = b, .c = d->first + i};
        for (uint32_t first = 0; r == 0 && first < rows; first += BATCH_BLOCK) {
            uint32_t n = rows - first < BATCH_BLOCK ? rows - first : BATCH_BLOCK;
            for (uint32_t k = 0; k < n; k++)
                row[k] = first + k;
            r = derive_block(&d->column[i], &s, row, n);
        }
        b->n_rows = rows;
        batch_seal_column(b, s.c);
        errors += s.errors;
    }
    if (r < 0) {
        batch_unref(b);
        return r;
    }
    *ret_errors = errors;
    *ret = b;
    return 0;
}
