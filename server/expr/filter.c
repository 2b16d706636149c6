/* SPDX-License-Identifier: Apache-2.0 */
#include "expr/filter.h"

#include "expr/events.h"
#include "expr/vector.h"

#include <errno.h>
#include <stdlib.h>

struct filter {
    struct events *events;
    struct expr_tree tree;
    struct vector *vector; /* NULL: all is SQLite's */
};

int filter_new(const struct schema *schema, const char *where, struct filter **ret,
               struct error *error)
{
    struct filter *f = calloc(1, sizeof(*f));
    if (!f)
        return error_set(error, -ENOMEM, "no memory");
    int r = events_new(schema, where, &f->events, error);
    if (r == 0)
        r = events_select(f->events, true, where, error);
    if (r == 0 && ((r = expr_parse(f->events->db, schema, where, &f->tree)) < 0 ||
                   (r = vector_new(&f->tree, schema, &f->vector)) < 0))
        error_set(error, r, "no memory");
    if (r < 0) {
        filter_free(f);
        return r;
    }
    *ret = f;
    return 0;
}

void filter_free(struct filter *f)
{
    if (!f)
        return;
    vector_free(f->vector);
    expr_tree_free(&f->tree);
    events_free(f->events);
    free(f);
}

static int keep_true(const struct vector_values *v, uint32_t n, uint32_t *keep)
{
    int kept = 0;
    if (v->kind == VECTOR_TEXT)
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        bool yes = v->kind == VECTOR_REAL ? v->f[i] != 0 : v->i[i] != 0;
        keep[kept] = i;
        kept += yes && !(v->nulls && v->null[i]);
    }
    return kept;
}

static int ask_sqlite(struct events *e, uint32_t *keep, uint64_t *errors)
{
    int kept = 0;
    for (;;) {
        switch (events_step(e)) {
        case EVENTS_ROW:
            keep[kept++] = e->at; /* a field may be called rowid: not by that name */
            break;
        case EVENTS_FAULT:
            ++*errors;
            e->at++;
            break;
        case EVENTS_END:
            return kept;
        case EVENTS_NO_MEMORY:
            return -EIO;
        }
    }
}

int filter_rows(struct filter *f, const struct batch *b, const uint32_t *row,
                uint32_t n, uint32_t *keep, uint64_t *errors)
{
    const struct vector_values *v = f->vector ? vector_run(f->vector, b, row, n) : NULL;
    int kept = v ? keep_true(v, n, keep) : -1;
    if (kept >= 0)
        return kept;
    events_begin(f->events, b, row, n);
    return ask_sqlite(f->events, keep, errors);
}
