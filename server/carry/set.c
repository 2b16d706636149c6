/* SPDX-License-Identifier: Apache-2.0
 *
 * Which tables are carried, and what is known of each.
 */
#include "carry/internal.h"
#include "store/db.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_THERE 63 /* bytes of a name in PostgreSQL */
#define KEY_MAX_THERE  32 /* columns of a primary key there */

static int no_memory(struct error *error)
{
    return error_set(error, -ENOMEM, "out of memory");
}

static void put_name(struct buffer *to, const char *name)
{
    buffer_putc(to, '"');
    for (; *name; name++) {
        if (*name == '"')
            buffer_putc(to, '"');
        buffer_putc(to, *name);
    }
    buffer_putc(to, '"');
}

/* The text stands at the pipeline. */
static int check_table(const struct pipeline *p, const struct table *t,
                       struct error *error)
{
    const struct node *at = pipeline_config(p)->map;
    const char *longest = t->name;
    for (size_t i = 0; i < t->n_columns; i++)
        if (strlen(t->column[i].name) > strlen(longest))
            longest = t->column[i].name;
    if (strlen(longest) > NAME_MAX_THERE)
        return node_error(at, error,
                          "'postgresql': table '%s': the name '%s' is longer than the "
                          "%d bytes that it has there",
                          t->name, longest, NAME_MAX_THERE);
    if (t->n_primary > KEY_MAX_THERE)
        return node_error(at, error,
                          "'postgresql': table '%s': its primary key has %zu columns, "
                          "there it has %d at most",
                          t->name, t->n_primary, KEY_MAX_THERE);
    return 0;
}

int carry_check(const struct config *config, struct pipeline *const *pipeline, size_t n,
                struct error *error)
{
    const struct config_postgresql *settings = config->server.postgresql;
    int err = 0;
    for (size_t i = 0; !err && i < n; i++) {
        const struct table *const *table;
        if (!pipeline[i] || config_is_carried(config, settings,
                                              pipeline_config(pipeline[i])->name) != 1)
            continue;
        const size_t n_tables = pipeline_tables(pipeline[i], &table);
        for (size_t k = 0; !err && k < n_tables; k++)
            err = check_table(pipeline[i], table[k], error);
    }
    return err;
}

static int carried_new(const struct carry_set *s, struct pipeline *p,
                       const struct table *t, int64_t late_us, struct carried **ret,
                       struct error *error)
{
    int err = check_table(p, t, error);
    if (err)
        return err;
    struct carried *k = calloc(1, sizeof(*k));
    if (!k)
        return no_memory(error);
    k->pipeline = pipeline_ref(p);
    k->table = t;
    k->late_us = late_us;
    k->look = true;
    struct buffer name = {0};
    put_name(&name, s->config->server.postgresql->schema);
    buffer_putc(&name, '.');
    put_name(&name, t->name);
    buffer_putc(&name, 0);
    k->name = name.data;
    k->at = calloc(t->n_primary, sizeof(sqlite3_value *));
    *ret = k;
    return name.error || !k->at ? no_memory(error) : 0;
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

static int add_tables(struct carry_set *s, struct pipeline *p, int64_t late_us,
                      struct error *error)
{
    const struct table *const *table;
    size_t n = pipeline_tables(p, &table);
    struct carried **last = &s->first;
    int err = 0;
    while (*last)
        last = &(*last)->next;
    for (size_t i = 0; !err && i < n; i++) {
        err = carried_new(s, p, table[i], late_us, last, error);
        last = *last ? &(*last)->next : last;
    }
    return err;
}

struct left_out {
    const struct config *config;
    const struct carry_set *set;
};

/* It is carried, but has no tables now. */
static bool is_left_out(void *ctx, const char *pipeline)
{
    const struct left_out *l = ctx;
    if (config_is_carried(l->config, l->set->config->server.postgresql, pipeline) != 1)
        return false;
    const struct carried *k = l->set->first;
    while (k && strcmp(k->table->pipeline, pipeline))
        k = k->next;
    return !k;
}

static int open_places(struct store *store, struct carry_set *s,
                       const struct config *config, struct error *error)
{
    size_t n = 0;
    for (struct carried *k = s->first; k; k = k->next)
        n++;
    const struct table **table = calloc(n + 1, sizeof(*table));
    struct carried_place *place = calloc(n + 1, sizeof(*place));
    struct left_out l = {.config = config, .set = s};
    n = 0;
    for (struct carried *k = s->first; table && k; k = k->next)
        table[n++] = k->table;
    int err = table && place ? carried_open(store, CARRIED_POSTGRESQL, table, n, NULL,
                                            is_left_out, &l, place, s->database, error)
                             : no_memory(error);
    n = 0;
    for (struct carried *k = s->first; !err && k; k = k->next)
        k->place = place[n++];
    free(table);
    free(place);
    return err;
}

int carry_prepare(struct store *store, struct config *config, struct config *server,
                  struct pipeline *const *pipeline, size_t n, struct carry_set **ret,
                  struct error *error)
{
    struct carry_set *s = calloc(1, sizeof(*s));
    if (!s)
        return no_memory(error);
    s->config = config_ref(server);
    const struct config_postgresql *settings = server->server.postgresql;
    int err = 0;
    for (size_t i = 0; !err && i < n; i++)
        if (pipeline[i] && config_is_carried(config, settings,
                                             pipeline_config(pipeline[i])->name) == 1)
            err = add_tables(s, pipeline[i], latest(config), error);
    if (!err)
        err = open_places(store, s, config, error);
    if (err || !settings) {
        carry_set_free(s);
        s = NULL;
    }
    *ret = s;
    return err;
}

void carried_free_list(struct carried *first)
{
    for (struct carried *k = first, *next; k; k = next) {
        next = k->next;
        rows_restart(k);
        sqlite3_finalize(k->changes);
        sqlite3_finalize(k->first);
        sqlite3_finalize(k->more);
        copy_free(&k->lower);
        copy_free(&k->upper);
        pipeline_unref(k->pipeline);
        free(k->at);
        free(k->name);
        free(k);
    }
}

void carry_set_free(struct carry_set *s)
{
    if (!s)
        return;
    carried_free_list(s->first);
    config_free(s->config);
    free(s);
}
