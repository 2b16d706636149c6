/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/kept.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM  8u
#define ADD_ROWS    1024u
#define FEW_ROWS    32u /* are sorted by insertion */
#define STORED_HEAD 8u

/* Of a column: nulls, and of strings the bytes. */
struct part {
    uint32_t nulls, size, room;
    char *bytes;
};

struct kept_rows {
    uint32_t n, room;
    size_t bytes; /* of all rows, what bytes_max limits */
    int64_t newest_us;
    bool unordered; /* some row is older than one before it */
    char *columns;
    struct part part[]; /* of each column */
};

/* ---- The form ---------------------------------------------------------------------------------- */

static size_t bits_of(enum weir_type t)
{
    return t == WEIR_BOOL ? 1 : t == WEIR_STRING ? 32 : 64;
}

static void place(struct kept_form *f, size_t bits)
{
    for (size_t i = 0; i < f->n; i++) {
        struct kept_column *c = &f->column[i];
        if (bits_of(c->type) != bits)
            continue;
        c->bits_before = f->row_bits;
        c->texts_before = f->n_texts;
        f->row_bits += bits;
        f->n_texts += c->type == WEIR_STRING;
    }
}

int kept_form_new(const struct binding *b, uint32_t rows_max, size_t bytes_max,
                  struct kept_form *ret)
{
    struct kept_form f = {.rows_max = rows_max,
                          .bytes_max = bytes_max,
                          .row_bits = bits_of(WEIR_TIME),
                          .time_input = SIZE_MAX};
    f.column = calloc(b->n_inputs + 1, sizeof(*f.column));
    if (!f.column)
        return -ENOMEM;
    for (size_t k = 0; k < b->n_inputs; k++) {
        if (b->input[k] < 0 || b->left_out[k])
            continue;
        if (b->input[k] == 0 && f.time_input == SIZE_MAX)
            f.time_input = k;
        else
            f.column[f.n++] = (struct kept_column){.type = (enum weir_type)b->types[k],
                                                   .input = (uint32_t)k};
    }
    place(&f, 64); /* the widest first, so that all are aligned */
    place(&f, 32);
    place(&f, 1);
    for (size_t i = 0; i < f.n; i++)
        f.column[i].validity_before = f.row_bits++;
    *ret = f;
    return 0;
}

void kept_form_free(struct kept_form *f)
{
    free(f->column);
}

/* There is one offset of strings more than rows. */
static char *array_at(const struct kept_rows *r, size_t bits_before,
                      size_t texts_before)
{
    return r->columns + (size_t)r->room / 8 * bits_before +
           texts_before * sizeof(int32_t);
}

static void *values_of(const struct kept_rows *r, const struct kept_column *c)
{
    return array_at(r, c->bits_before, c->texts_before);
}

static uint8_t *validity_of(const struct kept_form *f, const struct kept_rows *r,
                            const struct kept_column *c)
{
    return (uint8_t *)array_at(r, c->validity_before, f->n_texts);
}

static int64_t *times_of(const struct kept_rows *r)
{
    return (int64_t *)(void *)r->columns;
}

/* Bytes of the values of n rows. */
static size_t size_of(const struct kept_column *c, size_t n)
{
    return c->type == WEIR_STRING ? (n + 1) * sizeof(int32_t)
                                  : (n * bits_of(c->type) + 7) / 8;
}

/* ---- Room -------------------------------------------------------------------------------------- */

static void *take(struct host *h, size_t size)
{
    return h->ctx.host->alloc(&h->ctx, size);
}

static void give(struct host *h, void *p)
{
    h->ctx.host->free(&h->ctx, p);
}

/* Fails with what alloc said. */
static int no_memory(struct host *h)
{
    return host_done(h, "keeping rows", -1);
}

static int set_room(const struct kept_form *f, struct host *h, struct kept_rows *r,
                    size_t room)
{
    const struct kept_rows old = *r;
    char *columns = take(h, room / 8 * f->row_bits + f->n_texts * sizeof(int32_t));
    if (!columns)
        return no_memory(h);
    r->columns = columns;
    r->room = (uint32_t)room;
    if (old.n) {
        memcpy(columns, old.columns, old.n * sizeof(int64_t));
        for (size_t i = 0; i < f->n; i++) {
            const struct kept_column *c = &f->column[i];
            memcpy(values_of(r, c), values_of(&old, c), size_of(c, old.n));
            memcpy(validity_of(f, r, c), validity_of(f, &old, c), (old.n + 7) / 8);
        }
    }
    give(h, old.columns);
    return 0;
}

/* The head, and room for more rows. */
static int grow(const struct kept_form *f, struct host *h, struct kept *k, size_t room)
{
    if (!k->rows) {
        k->rows = take(h, sizeof(*k->rows) + f->n * sizeof(struct part));
        if (!k->rows)
            return no_memory(h);
        k->rows->newest_us = INT64_MIN;
    }
    return set_room(f, h, k->rows, room);
}

static int grow_text(struct host *h, struct part *p, size_t more)
{
    size_t room = p->room ? p->room : 64;
    while (room - p->size < more)
        room *= 2;
    char *bytes = take(h, room);
    if (!bytes)
        return no_memory(h);
    if (p->size)
        memcpy(bytes, p->bytes, p->size);
    give(h, p->bytes);
    p->bytes = bytes;
    p->room = (uint32_t)room;
    return 0;
}
static_assert(2 * KEPT_BYTES_MAX < (size_t)1 << 31, "offsets are int32_t");

void kept_drop(const struct kept_form *f, struct host *h, struct kept *k)
{
    struct kept_rows *r = k->rows;
    k->rows = NULL;
    for (size_t i = 0; r && i < f->n; i++)
        give(h, r->part[i].bytes);
    if (r)
        give(h, r->columns);
    give(h, r);
}

/* ---- Adding ------------------------------------------------------------------------------------ */

/* Some rows on their way. */
struct adding {
    const struct weir_rows *from;
    uint32_t n;
    uint32_t row[ADD_ROWS], at[ADD_ROWS]; /* where from, where to */
    struct kept_rows *to[ADD_ROWS];
};

/* Bytes of a row in a group. */
static size_t row_size(const struct kept_form *f, const struct weir_rows *rows,
                       uint32_t row)
{
    size_t size = (f->row_bits + 7) / 8, more = 0;
    for (size_t i = 0; i < f->n; i++)
        if (f->column[i].type == WEIR_STRING) {
            weir_string(rows->in[f->column[i].input], row, &more);
            size += more;
        }
    return size;
}

bool kept_fits(const struct kept_form *f, const struct kept *k,
               const struct weir_rows *rows)
{
    const struct kept_rows *r = k->rows;
    if (!r || (r->n + rows->n <= f->rows_max && r->bytes <= f->bytes_max / 2))
        return true; /* no call has half of it */
    size_t size = 0;
    for (size_t i = 0; i < rows->n; i++)
        size += row_size(f, rows, rows->row[i]);
    return r->n + rows->n <= f->rows_max && r->bytes + size <= f->bytes_max;
}

/* Gives each row its place; its time is set. */
static int place_rows(const struct kept_form *f, struct host *h, struct adding *a,
                      size_t first, size_t n, uint64_t *over)
{
    const struct weir_rows *rows = a->from;
    const size_t fixed_size = f->n_texts ? 0 : (f->row_bits + 7) / 8;
    a->n = 0;
    for (size_t i = first; i < first + n; i++) {
        struct kept *k =
            (struct kept *)(void *)(rows->states + rows->group[i] * rows->stride);
        uint32_t row = rows->row[i];
        size_t size = fixed_size ? fixed_size : row_size(f, rows, row);
        struct kept_rows *r = k->rows;
        if (r && (r->n >= f->rows_max || r->bytes + size > f->bytes_max)) {
            ++*over;
            continue;
        }
        if (!r || r->n == r->room) {
            int err = grow(f, h, k, r ? 2 * (size_t)r->room : FIRST_ROOM);
            if (err < 0)
                return err;
            r = k->rows;
        }
        int64_t us = rows->time[row];
        r->unordered = r->unordered || us < r->newest_us;
        r->newest_us = us > r->newest_us ? us : r->newest_us;
        r->bytes += size;
        times_of(r)[r->n] = us;
        a->row[a->n] = row;
        a->to[a->n] = r;
        a->at[a->n++] = r->n++;
    }
    return 0;
}

/* A run of rows of one group: what is found once for it. */
static uint32_t run_end(const struct adding *a, uint32_t first)
{
    uint32_t end = first + 1;
    while (end < a->n && a->to[end] == a->to[first])
        end++;
    return end;
}

static void put_bits(uint8_t *bits, uint32_t at, int v)
{
    bits[at >> 3] = (uint8_t)(bits[at >> 3] | (v != 0) << (at & 7));
}

static int put_strings(struct host *h, const struct adding *a, uint32_t first,
                       uint32_t end, const struct weir_column *from, int32_t *offsets,
                       struct part *p)
{
    for (uint32_t i = first; i < end; i++) {
        size_t size;
        const char *s = weir_string(from, a->row[i], &size);
        if (p->room - p->size < size) {
            int err = grow_text(h, p, size);
            if (err < 0)
                return err;
        }
        if (size)
            memcpy(p->bytes + p->size, s, size);
        p->size += (uint32_t)size;
        offsets[a->at[i] + 1] = (int32_t)p->size;
    }
    return 0;
}

static int put_column(const struct kept_form *f, struct host *h, const struct adding *a,
                      size_t number)
{
    const struct kept_column *c = &f->column[number];
    const struct weir_column *from = a->from->in[c->input];
    int err = 0;
    for (uint32_t first = 0, end; err == 0 && first < a->n; first = end) {
        struct kept_rows *r = a->to[first];
        void *values = values_of(r, c);
        uint8_t *validity = validity_of(f, r, c);
        end = run_end(a, first);
        for (uint32_t i = first; i < end; i++) {
            int is_null = weir_is_null(from, a->row[i]);
            put_bits(validity, a->at[i], !is_null);
            r->part[number].nulls += is_null != 0;
        }
        if (c->type == WEIR_STRING)
            err = put_strings(h, a, first, end, from, values, &r->part[number]);
        else if (c->type == WEIR_BOOL)
            for (uint32_t i = first; i < end; i++)
                put_bits(values, a->at[i], weir_bool(from, a->row[i]));
        else
            for (uint32_t i = first; i < end; i++)
                ((int64_t *)values)[a->at[i]] =
                    ((const int64_t *)from->values)[a->row[i]];
    }
    return err;
}
static_assert(sizeof(double) == sizeof(int64_t), "floats are copied as they lie");

int kept_add(const struct kept_form *f, struct host *h, const struct weir_rows *rows,
             uint64_t *ret_over)
{
    struct adding a = {.from = rows};
    int err = 0;
    for (size_t first = 0; err == 0 && first < rows->n; first += ADD_ROWS) {
        size_t n = rows->n - first < ADD_ROWS ? rows->n - first : ADD_ROWS;
        err = place_rows(f, h, &a, first, n, ret_over);
        for (size_t i = 0; err == 0 && i < f->n; i++)
            err = put_column(f, h, &a, i);
    }
    return err;
}

/* ---- Looking ----------------------------------------------------------------------------------- */

/* Columns of rows that may be none. */
static void set_columns(const struct kept_form *f, const struct kept_rows *r,
                        struct weir_column *column, const struct weir_column **in)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct kept_column *c = &f->column[i];
        struct weir_column *to = &column[c->input];
        *to = (struct weir_column){.type = c->type};
        in[c->input] = to;
        if (!r)
            continue;
        to->null_count = r->part[i].nulls;
        to->validity = to->null_count ? validity_of(f, r, c) : NULL;
        if (c->type == WEIR_STRING) {
            to->offsets = values_of(r, c);
            /* Analyzers hand it to memcmp, also where all texts are empty. */
            to->bytes = r->part[i].bytes ? r->part[i].bytes : "";
        } else {
            to->values = values_of(r, c);
        }
    }
    if (f->time_input == SIZE_MAX)
        return;
    column[f->time_input] =
        (struct weir_column){.type = WEIR_TIME, .values = r ? times_of(r) : NULL};
    in[f->time_input] = &column[f->time_input];
}

struct row_order {
    uint64_t time_us; /* behind the oldest */
    uint32_t row;
};

/* Adds n rows of `from`, in this order; NULL: as they lie. */
static int add_from(const struct kept_form *f, struct host *h, struct kept *into,
                    const struct kept_rows *from, const struct row_order *order,
                    uint32_t n, uint64_t *over)
{
    struct weir_column column[BINDING_INPUTS_MAX];
    const struct weir_column *in[BINDING_INPUTS_MAX];
    uint32_t row[ADD_ROWS];
    struct weir_rows rows = {.row = row,
                             .group = row, /* a stride of 0 makes all groups one */
                             .states = (char *)into,
                             .time = times_of(from),
                             .in = in};
    int err = 0;
    set_columns(f, from, column, in);
    for (uint32_t first = 0; err == 0 && first < n; first += ADD_ROWS) {
        rows.n = n - first < ADD_ROWS ? n - first : ADD_ROWS;
        for (uint32_t i = 0; i < rows.n; i++)
            row[i] = order ? order[first + i].row : first + i;
        err = kept_add(f, h, &rows, over);
    }
    return err;
}

int kept_merge(const struct kept_form *f, struct host *h, struct kept *into,
               const struct kept *from, uint64_t *ret_over)
{
    return from->rows ? add_from(f, h, into, from->rows, NULL, from->rows->n, ret_over)
                      : 0;
}

static void sort_few(struct row_order *o, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) {
        struct row_order x = o[i];
        uint32_t k = i;
        for (; k > 0 && o[k - 1].time_us > x.time_us; k--)
            o[k] = o[k - 1];
        o[k] = x;
    }
}

/* Radix sort, least byte first; the result is where it began. */
static void sort_many(struct row_order *order, struct row_order *other, uint32_t n,
                      uint64_t longest_us)
{
    struct row_order *from = order, *to = other;
    for (unsigned shift = 0; shift < 64 && longest_us >> shift; shift += 8) {
        uint32_t at[257] = {0};
        for (uint32_t i = 0; i < n; i++)
            at[(from[i].time_us >> shift & 255) + 1]++;
        for (unsigned k = 1; k < 257; k++)
            at[k] += at[k - 1];
        for (uint32_t i = 0; i < n; i++)
            to[at[from[i].time_us >> shift & 255]++] = from[i];
        struct row_order *swap = from;
        from = to;
        to = swap;
    }
    if (from != order)
        memcpy(order, from, n * sizeof(*order));
}

/* A copy in the order of time; rows of one time stay in that of the log. */
static int sort_rows(const struct kept_form *f, struct host *h,
                     const struct kept_rows *r, struct kept *ret)
{
    uint64_t over = 0; /* stays: they fitted before */
    const int64_t *time = times_of(r);
    int64_t oldest_us = r->newest_us;
    struct row_order *order = take(h, 2 * (size_t)r->n * sizeof(*order));
    if (!order)
        return no_memory(h);
    for (uint32_t i = 0; i < r->n; i++)
        oldest_us = time[i] < oldest_us ? time[i] : oldest_us;
    for (uint32_t i = 0; i < r->n; i++)
        order[i] = (struct row_order){(uint64_t)time[i] - (uint64_t)oldest_us, i};
    if (r->n <= FEW_ROWS)
        sort_few(order, r->n);
    else
        sort_many(order, order + r->n, r->n,
                  (uint64_t)r->newest_us - (uint64_t)oldest_us);
    int err = grow(f, h, ret, ((size_t)r->n + 7) / 8 * 8);
    if (err == 0)
        err = add_from(f, h, ret, r, order, r->n, &over);
    give(h, order);
    return err;
}

/* ---- Taking out -------------------------------------------------------------------------------- */

static int compare_values(const struct kept_rows *a, uint32_t i,
                          const struct kept_rows *b, uint32_t k,
                          const struct kept_column *c, size_t number)
{
    if (c->type == WEIR_STRING) {
        const int32_t *x = (const int32_t *)values_of(a, c) + i,
                      *y = (const int32_t *)values_of(b, c) + k;
        int32_t n = x[1] - x[0], m = y[1] - y[0], least = n < m ? n : m;
        int order = least ? memcmp(a->part[number].bytes + x[0],
                                   b->part[number].bytes + y[0], (size_t)least)
                          : 0;
        return order ? order : (n > m) - (n < m);
    }
    if (c->type == WEIR_BOOL) {
        const uint8_t *x = values_of(a, c), *y = values_of(b, c);
        return (x[i >> 3] >> (i & 7) & 1) - (y[k >> 3] >> (k & 7) & 1);
    }
    if (c->type == WEIR_FLOAT) {
        double x = ((const double *)values_of(a, c))[i],
               y = ((const double *)values_of(b, c))[k];
        if (x < y || x > y)
            return x < y ? -1 : 1;
    } /* equal ones, and NaN, by their bits */
    int64_t x = ((const int64_t *)values_of(a, c))[i],
            y = ((const int64_t *)values_of(b, c))[k];
    return (x > y) - (x < y);
}

/* By time, then by the columns, null first. 0: nothing tells them apart. */
static int compare_rows(const struct kept_form *f, const struct kept_rows *a,
                        uint32_t i, const struct kept_rows *b, uint32_t k)
{
    int64_t x = times_of(a)[i], y = times_of(b)[k];
    int order = (x > y) - (x < y);
    for (size_t n = 0; !order && n < f->n; n++) {
        const struct kept_column *c = &f->column[n];
        int is = validity_of(f, a, c)[i >> 3] >> (i & 7) & 1,
            other = validity_of(f, b, c)[k >> 3] >> (k & 7) & 1;
        order = is - other;
        if (!order && is)
            order = compare_values(a, i, b, k, c, n);
    }
    return order;
}

struct sorting {
    const struct kept_form *form;
    const struct kept_rows *rows;
};

static int by_value(const void *a, const void *b, void *sorting)
{
    const struct sorting *s = sorting;
    const struct row_order *x = a, *y = b;
    return compare_rows(s->form, s->rows, x->row, s->rows, y->row);
}

/* All rows by time and columns. Mostly they are but for the last ones: these alone are sorted, and merged in. Returns how
 * many lay in that order. */
static uint32_t order_rows(const struct kept_form *f, const struct kept_rows *r,
                           struct row_order *order, struct row_order *other)
{
    struct sorting s = {f, r};
    uint32_t sorted = 1, i = 0, k, n = 0;
    while (sorted < r->n && compare_rows(f, r, sorted - 1, r, sorted) <= 0)
        sorted++;
    for (uint32_t m = 0; m < r->n; m++)
        other[m] = order[m] = (struct row_order){.row = m};
    if (sorted == r->n)
        return sorted;
    qsort_r(other + sorted, r->n - sorted, sizeof(*other), by_value, &s);
    for (k = sorted; i < sorted || k < r->n;)
        order[n++] =
            i < sorted && (k == r->n || by_value(&other[i], &other[k], &s) <= 0)
                ? other[i++]
                : other[k++];
    return sorted;
}

/* Of order[0..n) those that `out` does not have, each once for each time that it has it. Returns how many. */
static uint32_t leave_out(const struct kept_form *f, const struct kept_rows *in,
                          struct row_order *order, const struct kept_rows *out,
                          const struct row_order *taken)
{
    uint32_t n = 0, k = 0;
    for (uint32_t i = 0; i < in->n; i++) {
        int differs = 1;
        while (k < out->n &&
               (differs = compare_rows(f, out, taken[k].row, in, order[i].row)) < 0)
            k++; /* there was no room for it */
        if (k < out->n && !differs)
            k++;
        else
            order[n++] = order[i];
    }
    return n;
}

int kept_settle(const struct kept_form *f, struct host *h, struct kept *in,
                struct kept *out)
{
    static const struct kept_rows none = {0};
    const struct kept_rows *x = in->rows, *y = out->rows ? out->rows : &none;
    struct kept settled = {0};
    uint64_t over = 0;
    if (!x) {
        kept_drop(f, h, out);
        return 0;
    }
    struct row_order *order = take(h, 2 * ((size_t)x->n + y->n) * sizeof(*order));
    if (!order)
        return no_memory(h);
    struct row_order *taken = order + 2 * (size_t)x->n;
    int err = 0;
    uint32_t n = x->n, sorted = order_rows(f, x, order, order + n);
    if (y->n) {
        order_rows(f, y, taken, taken + y->n);
        n = leave_out(f, x, order, y, taken);
    }
    if (n < x->n || sorted < x->n) {
        err = n ? grow(f, h, &settled, ((size_t)n + 7) / 8 * 8) : 0;
        if (err == 0)
            err = add_from(f, h, &settled, x, order, n, &over);
        kept_drop(f, h, err < 0 ? &settled : in);
        if (err == 0)
            *in = settled;
    }
    give(h, order);
    if (err == 0)
        kept_drop(f, h, out);
    return err;
}

/* A copy in the order of time and columns, unless they lie so. */
static int sort_by_columns(const struct kept_form *f, struct host *h,
                           const struct kept_rows *r, struct kept *ret)
{
    uint64_t over = 0; /* stays */
    struct row_order *order = take(h, 2 * (size_t)r->n * sizeof(*order));
    if (!order)
        return no_memory(h);
    int err = 0;
    if (order_rows(f, r, order, order + r->n) < r->n) {
        err = grow(f, h, ret, ((size_t)r->n + 7) / 8 * 8);
        if (err == 0)
            err = add_from(f, h, ret, r, order, r->n, &over);
    }
    give(h, order);
    return err;
}

/* ---- Handing out ------------------------------------------------------------------------------- */

static int number_rows(struct kept_view *v, size_t n)
{
    if (n <= v->row_room)
        return 0;
    uint32_t *row = realloc(v->row, n * sizeof(*row));
    if (!row)
        return -ENOMEM;
    for (size_t i = v->row_room; i < n; i++)
        row[i] = (uint32_t)i;
    v->row = row;
    v->row_room = n;
    return 0;
}

int kept_view_begin(const struct kept_form *f, struct host *h, const struct kept *k,
                    struct kept_view *v)
{
    const struct kept_rows *r = k->rows;
    if (r && (f->by_columns || r->unordered)) {
        int err = f->by_columns ? sort_by_columns(f, h, r, &v->sorted)
                                : sort_rows(f, h, r, &v->sorted);
        if (err < 0)
            return err;
        r = v->sorted.rows ? v->sorted.rows : r;
    }
    if (number_rows(v, r ? r->n : 0) < 0) {
        weir_fail(&h->ctx, "no memory for %u rows of a group", r->n);
        return no_memory(h);
    }
    memset(v->in, 0, h->ctx.n_inputs * sizeof(v->in[0]));
    set_columns(f, r, v->column, v->in);
    memset(&v->rows, 0, sizeof(v->rows));
    v->rows.rows = (struct weir_rows){.size = sizeof(v->rows.rows),
                                      .n = r ? r->n : 0,
                                      .row = v->row,
                                      .time = r ? times_of(r) : NULL,
                                      .in = v->in,
                                      .sequence = 1};
    return 0;
}

void kept_view_end(const struct kept_form *f, struct host *h, struct kept_view *v)
{
    kept_drop(f, h, &v->sorted);
}

void kept_view_free(struct kept_view *v)
{
    free(v->row);
}

/* ---- As bytes: the number of rows, times, then of each column values, validity and the bytes of strings; all padded
 * to multiples of 8 ---------------------------------------------------------------------------- */

static void put_padded(struct buffer *b, const void *bytes, size_t size)
{
    static const char zeros[8];
    buffer_put(b, bytes, size);
    buffer_put(b, zeros, -size & 7);
}

void kept_save(const struct kept_form *f, const struct kept *k, struct buffer *b)
{
    const struct kept_rows *r = k->rows;
    const uint64_t n = r ? r->n : 0;
    static_assert(sizeof(n) == STORED_HEAD, "as kept_load takes it");
    buffer_put(b, &n, sizeof(n));
    if (!n)
        return;
    put_padded(b, times_of(r), n * sizeof(int64_t));
    for (size_t i = 0; i < f->n; i++) {
        const struct kept_column *c = &f->column[i];
        put_padded(b, values_of(r, c), size_of(c, n));
        put_padded(b, validity_of(f, r, c), (n + 7) / 8);
        if (c->type == WEIR_STRING)
            put_padded(b, r->part[i].bytes, r->part[i].size);
    }
}

struct rest { /* to be read */
    const char *at;
    size_t size;
};

static const char *next_bytes(struct rest *rest, size_t size)
{
    const char *bytes = rest->at;
    size_t padded = size + (-size & 7);
    if (padded > rest->size)
        return NULL;
    rest->at += padded;
    rest->size -= padded;
    return bytes;
}

static int load_text(struct host *h, struct rest *rest, const int32_t *offsets,
                     uint32_t n, struct part *p)
{
    if (offsets[0])
        return -EBADMSG;
    for (uint32_t i = 0; i < n; i++)
        if (offsets[i + 1] < offsets[i])
            return -EBADMSG;
    const char *bytes = next_bytes(rest, (size_t)offsets[n]);
    if (!bytes)
        return -EBADMSG;
    int err = offsets[n] ? grow_text(h, p, (size_t)offsets[n]) : 0;
    if (err < 0 || !offsets[n])
        return err;
    memcpy(p->bytes, bytes, (size_t)offsets[n]);
    p->size = (uint32_t)offsets[n];
    return 0;
}

static int load_column(const struct kept_form *f, struct host *h, struct rest *rest,
                       struct kept_rows *r, size_t number)
{
    const struct kept_column *c = &f->column[number];
    const char *values = next_bytes(rest, size_of(c, r->n));
    const char *validity = values ? next_bytes(rest, (r->n + 7) / 8) : NULL;
    if (!validity)
        return -EBADMSG;
    uint8_t *bits = validity_of(f, r, c);
    memcpy(values_of(r, c), values, size_of(c, r->n));
    memcpy(bits, validity, (r->n + 7) / 8);
    uint32_t valid = 0;
    for (uint32_t i = 0; i < r->n; i++)
        valid += bits[i >> 3] >> (i & 7) & 1;
    r->part[number].nulls = r->n - valid;
    return c->type == WEIR_STRING
               ? load_text(h, rest, values_of(r, c), r->n, &r->part[number])
               : 0;
}

int kept_load(const struct kept_form *f, struct host *h, struct kept *k,
              const char *bytes, size_t size)
{
    struct rest rest = {bytes, size};
    uint64_t n;
    const char *head = next_bytes(&rest, sizeof(n));
    if (!head)
        return -EBADMSG;
    memcpy(&n, head, sizeof(n));
    if (!n)
        return rest.size ? -EBADMSG : 0;
    const char *times =
        n < UINT32_MAX - 7 ? next_bytes(&rest, n * sizeof(int64_t)) : NULL;
    if (!times)
        return -EBADMSG;
    int err = grow(f, h, k, (n + 7) / 8 * 8);
    if (err < 0)
        return err;
    struct kept_rows *r = k->rows;
    r->n = (uint32_t)n;
    memcpy(times_of(r), times, n * sizeof(int64_t));
    for (uint64_t i = 0; i < n; i++) {
        int64_t us = times_of(r)[i];
        r->unordered = r->unordered || us < r->newest_us;
        r->newest_us = us > r->newest_us ? us : r->newest_us;
    }
    r->bytes = n * ((f->row_bits + 7) / 8);
    for (size_t i = 0; err == 0 && i < f->n; i++) {
        err = load_column(f, h, &rest, r, i);
        r->bytes += r->part[i].size;
    }
    return err < 0 ? err : rest.size ? -EBADMSG : 0;
}
