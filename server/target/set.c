/* SPDX-License-Identifier: Apache-2.0
 *
 * Which tables go there, and what is known of each.
 */
#include "target/kind.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int no_memory(struct error *error)
{
    return error_set(error, -ENOMEM, "out of memory");
}

static bool is_wanted(const struct config *config, const struct config_target *settings,
                      const struct pipeline *p)
{
    return p && config_is_target(config, settings, pipeline_config(p)->name) == 1;
}

int target_check(const struct target_kind *kind, const struct config *config,
                 struct pipeline *const *pipeline, size_t n, struct error *error)
{
    const struct config_target *settings = kind->settings(config);
    int err = 0;
    for (size_t i = 0; !err && i < n; i++) {
        const struct table *const *table;
        if (!is_wanted(config, settings, pipeline[i]))
            continue;
        const size_t n_tables = pipeline_tables(pipeline[i], &table);
        for (size_t k = 0; !err && k < n_tables; k++)
            err = kind->check(config, pipeline[i], table[k], error);
    }
    return err;
}

static int table_new(const struct target_set *s, struct pipeline *p,
                     const struct table *t, int64_t late_us, struct target_table **ret,
                     struct error *error)
{
    int err = s->kind->check(s->config, p, t, error);
    if (err)
        return err;
    struct target_table *k = calloc(1, s->kind->table_size);
    if (!k)
        return no_memory(error);
    k->pipeline = pipeline_ref(p);
    k->table = t;
    k->late_us = late_us;
    k->look = true;
    *ret = k;
    return s->kind->table_new(s->config, k, error);
}

/* Late events revise rows of a pipeline, and those of pipelines that read it, whose windows may be longer. */
static int64_t latest(const struct config *c)
{
    int64_t us = 0;
    for (size_t i = 0; i < c->n_pipelines; i++)
        if (__builtin_add_overflow(us, c->pipeline[i].allowed_lateness_us, &us))
            return INT64_MAX;
    return us;
}

static int add_tables(struct target_set *s, struct pipeline *p, int64_t late_us,
                      struct error *error)
{
    const struct table *const *table;
    size_t n = pipeline_tables(p, &table);
    struct target_table **last = &s->first;
    int err = 0;
    while (*last)
        last = &(*last)->next;
    for (size_t i = 0; !err && i < n; i++) {
        err = table_new(s, p, table[i], late_us, last, error);
        last = *last ? &(*last)->next : last;
    }
    return err;
}

struct left_out {
    const struct config *config;
    const struct target_set *set;
};

/* It is wanted there, but has no tables now. */
static bool is_left_out(void *ctx, const char *pipeline)
{
    const struct left_out *l = ctx;
    if (config_is_target(l->config, l->set->kind->settings(l->set->config), pipeline) !=
        1)
        return false;
    const struct target_table *k = l->set->first;
    while (k && strcmp(k->table->pipeline, pipeline))
        k = k->next;
    return !k;
}

static int open_places(struct store *store, struct target_set *s, const char *writer,
                       const struct config *config, struct error *error)
{
    size_t n = 0;
    for (struct target_table *k = s->first; k; k = k->next)
        n++;
    const struct table **table = calloc(n + 1, sizeof(*table));
    struct carried_place *place = calloc(n + 1, sizeof(*place));
    struct left_out l = {.config = config, .set = s};
    n = 0;
    for (struct target_table *k = s->first; table && k; k = k->next)
        table[n++] = k->table;
    int err = table && place ? carried_open(store, s->kind->to, table, n, writer,
                                            is_left_out, &l, place, s->database, error)
                             : no_memory(error);
    n = 0;
    for (struct target_table *k = s->first; !err && k; k = k->next)
        k->place = place[n++];
    free(table);
    free(place);
    return err;
}

/* Also where there are no settings: what was kept before is kept for nobody then. */
int target_prepare(const struct target_kind *kind, struct store *store,
                   const struct target *running, struct config *config,
                   struct config *server, struct pipeline *const *pipeline, size_t n,
                   struct target_set **ret, struct error *error)
{
    struct target_set *s = calloc(1, sizeof(*s));
    if (!s)
        return no_memory(error);
    s->kind = kind;
    s->config = config_ref(server);
    const struct config_target *settings = kind->settings(server);
    int err = 0;
    for (size_t i = 0; !err && i < n; i++)
        if (is_wanted(config, settings, pipeline[i]))
            err = add_tables(s, pipeline[i], latest(config), error);
    if (!err)
        err = open_places(store, s, running ? running->writer : NULL, config, error);
    if (err || !settings) {
        target_set_free(s);
        s = NULL;
    }
    *ret = s;
    return err;
}

void target_set_free(struct target_set *s)
{
    if (!s)
        return;
    for (struct target_table *k = s->first, *next; k; k = next) {
        next = k->next;
        s->kind->table_free(k);
        pipeline_unref(k->pipeline);
        free(k);
    }
    config_free(s->config);
    free(s);
}
