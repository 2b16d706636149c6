/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/bag.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FOLD_ROWS 1024u /* of one call */
#define ADD_ROWS  256u

/* Rows that are gone take no place from those that are left: where n more might not fit, they are set off. */
static int make_room(const struct kept_form *f, struct host *h,
                     const struct weir_rows *rows, bool out)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < rows->n; i++) {
        struct bag *b =
            (struct bag *)(void *)(rows->states + rows->group[i] * rows->stride);
        if (b->out.rows && !kept_fits(f, out ? &b->out : &b->in, rows))
            r = kept_settle(f, h, &b->in, &b->out);
    }
    return r;
}

int bag_add(const struct kept_form *f, struct host *h, const struct weir_rows *rows,
            bool out, uint64_t *ret_over)
{
    struct weir_rows some = *rows;
    int r = 0;
    for (size_t at = 0; r == 0 && at < rows->n; at += some.n) {
        some.n = rows->n - at < ADD_ROWS ? rows->n - at : ADD_ROWS;
        some.row = rows->row + at;
        some.group = rows->group + at;
        some.states = rows->states;
        r = make_room(f, h, &some, out);
        if (out)
            some.states += offsetof(struct bag, out);
        if (r == 0)
            r = kept_add(f, h, &some, ret_over);
    }
    return r;
}

int bag_merge(const struct kept_form *f, struct host *h, struct bag *into,
              const struct bag *from, uint64_t *ret_over)
{
    int r = kept_merge(f, h, &into->in, &from->in, ret_over);
    return r < 0 ? r : kept_merge(f, h, &into->out, &from->out, ret_over);
}

void bag_drop(const struct kept_form *f, struct host *h, struct bag *b)
{
    kept_drop(f, h, &b->in);
    kept_drop(f, h, &b->out);
}

/* ---- As bytes: the size of the rows that came, they, those that are gone ------------------------- */

void bag_save(const struct kept_form *f, const struct bag *b, struct buffer *to)
{
    uint64_t size = 0;
    size_t at = to->size;
    buffer_put(to, &size, sizeof(size));
    kept_save(f, &b->in, to);
    if (to->error)
        return;
    size = to->size - at - sizeof(size);
    memcpy(to->data + at, &size, sizeof(size));
    kept_save(f, &b->out, to);
}

int bag_load(const struct kept_form *f, struct host *h, struct bag *b,
             const char *bytes, size_t size)
{
    uint64_t in_size;
    if (size < sizeof(in_size))
        return -EBADMSG;
    memcpy(&in_size, bytes, sizeof(in_size));
    bytes += sizeof(in_size);
    size -= sizeof(in_size);
    if (in_size > size)
        return -EBADMSG;
    int r = kept_load(f, h, &b->in, bytes, in_size);
    return r < 0 ? r : kept_load(f, h, &b->out, bytes + in_size, size - in_size);
}

/* ---- Results ------------------------------------------------------------------------------------- */

/* The call is of one group: what it gives is of another number. */
struct of_group {
    struct weir_out *out;
    size_t number;
};

static struct weir_cell *cells_of(void *ctx, size_t i)
{
    const struct of_group *g = ctx;
    (void)i;
    return g->out->group(g->out->ctx, g->number);
}

static int row_of(void *ctx, struct weir_cell *cells)
{
    const struct of_group *g = ctx;
    return g->out->row(g->out->ctx, cells);
}

static const char *keep_of(void *ctx, const char *bytes, size_t size)
{
    const struct of_group *g = ctx;
    return g->out->keep(g->out->ctx, bytes, size);
}

/* All rows of the view into the state. Rows without use were counted when they came, if anywhere. */
static int fold(struct host *h, struct kept_view *v, void *state)
{
    static const uint32_t one_group[FOLD_ROWS];
    const struct weir_analyzer *a = &h->binding->plugin->analyzer;
    union host_rows rows = v->rows;
    const size_t n = rows.rows.n;
    int r = 0;
    for (size_t k = 0; k < h->binding->n_inputs; k++)
        if (h->binding->dictionary[k] && v->in[k]) { /* each row has an entry */
            v->column[k].values = v->row;
            v->column[k].dictionary_size = (int64_t)n;
        }
    rows.rows.states = state;
    rows.rows.stride = a->state_size;
    rows.rows.group = one_group;
    for (size_t at = 0; r == 0 && at < n; at += FOLD_ROWS) {
        rows.rows.n = n - at < FOLD_ROWS ? n - at : FOLD_ROWS;
        rows.rows.row = v->row + at;
        r = host_done(h, "update", a->update(&h->ctx, &rows.rows));
    }
    return r;
}

static int emit_state(struct host *h, struct kept_view *v,
                      const struct weir_window *window, struct weir_out *out)
{
    const struct weir_analyzer *a = &h->binding->plugin->analyzer;
    void *state = calloc(1, a->state_size);
    if (!state)
        return -ENOMEM;
    int r = a->init ? host_done(h, "init", a->init(&h->ctx, window, state)) : 0;
    if (r < 0) {
        free(state);
        return r;
    }
    const void *states[] = {state};
    r = fold(h, v, state);
    if (r == 0)
        r = host_done_emit(h, out, "emit", a->emit(&h->ctx, 1, &window, states, out));
    if (a->drop)
        a->drop(&h->ctx, state);
    free(state);
    return r;
}

int bag_emit(const struct kept_form *f, struct host *h, struct kept_view *v, size_t n,
             const struct weir_window *const *window, void *const *bag,
             struct weir_out *out)
{
    const struct weir_analyzer *a = &h->binding->plugin->analyzer;
    _Atomic uint64_t *skipped = h->skipped;
    int r = 0;
    h->skipped = NULL; /* the same rows again and again */
    for (size_t i = 0; r == 0 && i < n; i++) {
        struct bag *b = bag[i];
        struct of_group group = {.out = out, .number = i};
        struct weir_out one = {.group = cells_of,
                               .row = out->row ? row_of : NULL,
                               .keep = keep_of,
                               .ctx = &group,
                               .n = 1};
        r = kept_settle(f, h, &b->in, &b->out);
        if (r == 0)
            r = kept_view_begin(f, h, &b->in, v);
        if (r == 0 && a->whole) {
            r = host_begin_group(h, &one, 0);
            if (r == 0)
                r = host_done_emit(h, &one, "whole",
                                   a->whole(&h->ctx, window[i], &v->rows.rows, &one));
        } else if (r == 0) {
            r = emit_state(h, v, window[i], &one);
        }
        kept_view_end(f, h, v);
    }
    h->skipped = skipped;
    return r;
}
