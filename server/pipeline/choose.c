/* SPDX-License-Identifier: Apache-2.0
 *
 * `where` of analyzers: which of the rows that are folded an analyzer gets. A condition that several have is evaluated
 * once.
 */
#include "pipeline/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The number of a condition among those of the pipeline's analyzers. */
static size_t find_condition(const struct pipeline *p, const char *where)
{
    size_t i = 0;
    while (i < p->n_conditions && strcmp(p->condition[i], where) != 0)
        i++;
    return i;
}

int choose_bind(struct pipeline *p, struct step *s, const struct config_analyzer *c,
                struct error *error)
{
    struct filter *f;
    struct error text = {0};
    s->condition = CONDITION_NONE;
    if (!c->where)
        return 0;
    s->condition = find_condition(p, c->where);
    if (s->condition < p->n_conditions)
        return 0;
    int r = filter_new(p->schema, c->where, &f, &text);
    if (r < 0)
        return node_error(c->where_node, error, "where: %s", text.text);
    filter_free(f);
    const char **condition =
        realloc(p->condition, (p->n_conditions + 1) * sizeof(*condition));
    if (!condition)
        return error_set(error, -ENOMEM, "no memory");
    p->condition = condition;
    p->condition[p->n_conditions++] = c->where;
    return 0;
}

int choose_init(struct worker *w, struct error *error)
{
    const struct pipeline *p = w->pipeline;
    int r = 0;
    if (!(w->chosen = calloc(p->n_conditions + 1, sizeof(*w->chosen))))
        return error_set(error, -ENOMEM, "no memory");
    for (size_t i = 0; r == 0 && i < p->n_conditions; i++)
        r = filter_new(p->schema, p->condition[i], &w->chosen[i].filter, error);
    return r;
}

void choose_free(struct worker *w)
{
    for (size_t i = 0; w->chosen && i < w->pipeline->n_conditions; i++)
        filter_free(w->chosen[i].filter);
    free(w->chosen);
}

/* A condition that fails for a row is not true. */
static void count_errors(const struct pipeline *p, size_t condition, uint64_t errors)
{
    for (size_t i = 0; errors && i < p->n_steps; i++)
        if (p->step[i].condition == condition)
            metric_add(&p->step[i].where_errors, errors);
}

uint64_t choose_errors(const struct pipeline *p)
{
    uint64_t errors = 0;
    for (size_t k = 0; k < p->n_conditions; k++)
        for (size_t i = 0; i < p->n_steps; i++)
            if (p->step[i].condition == k) {
                errors += atomic_load_explicit(&p->step[i].where_errors,
                                               memory_order_relaxed);
                break; /* others that have this one count the same */
            }
    return errors;
}

int choose_rows(struct worker *w, const struct batch *b, uint32_t n)
{
    for (size_t k = 0; k < w->pipeline->n_conditions; k++) {
        struct chosen *c = &w->chosen[k];
        uint64_t errors = 0;
        int kept = filter_rows(c->filter, b, w->row, n, w->keep, &errors);
        if (kept < 0)
            return kept;
        for (int i = 0; i < kept; i++) {
            c->row[i] = w->row[w->keep[i]];
            c->slot[i] = w->slot[w->keep[i]];
        }
        c->n = (uint32_t)kept;
        count_errors(w->pipeline, k, errors);
    }
    return 0;
}
