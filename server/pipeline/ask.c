/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t ask_services(const struct pipeline *p)
{
    return p->config->lookups.n + p->n_asking;
}

struct step *ask_step(const struct pipeline *p, size_t i)
{
    const size_t n = p->config->lookups.n;
    return i < n ? NULL : p->asking[i - n];
}

const struct config_lookup *ask_service(const struct pipeline *p, size_t i)
{
    const struct step *s = ask_step(p, i);
    return s ? s->ask : &p->config->lookups.lookup[i];
}

int ask_filter(const struct pipeline *p, size_t i, struct filter **ret,
               struct error *error)
{
    const struct config_lookup *l = ask_service(p, i);
    struct error text = {0};
    *ret = NULL;
    if (!l->where)
        return 0;
    int r =
        filter_new(p->whole->stream[p->config->stream].columns, l->where, ret, &text);
    return r < 0 ? node_error(l->where_node, error, "where: %s", text.text) : 0;
}

void ask_free(struct config_lookup *l)
{
    if (!l)
        return;
    schema_free(l->answer);
    free(l->name);
    free(l);
}

/* In metrics and messages: `as`, or the plugin's; with its place where that is taken. */
static char *name_of(const struct pipeline *p, const struct step *s)
{
    const char *name = s->config->as ? s->config->as : s->config->plugin;
    char *own;
    bool taken = false;
    for (size_t i = 0; i < ask_services(p); i++)
        taken = taken || strcmp(ask_service(p, i)->name, name) == 0;
    if (!taken)
        return strdup(name);
    return asprintf(&own, "%s_%zu", name, s->binding->place) < 0 ? NULL : own;
}

/* Others are asked before columns of the pipeline's own are there. */
static int find_columns(const struct pipeline *p, const struct step *s,
                        struct config_lookup *l, struct error *error)
{
    const struct binding *b = s->binding;
    const size_t n = p->whole->stream[p->config->stream].columns->n;
    for (size_t i = 0; i < b->n_asked; i++) {
        size_t column = (size_t)b->input[b->asked[i]];
        if (column >= n)
            return node_error(
                s->config->node, error,
                "'%s' is a column of this pipeline (derive, http_lookup): analyzer "
                "'%s' "
                "asks about columns of the stream, which can derive some, too",
                p->schema->column[column].name, s->config->plugin);
        l->on[l->n_on++] = column;
    }
    return 0;
}

static int make_answer(const struct step *s, struct config_lookup *l)
{
    const struct weir_output *o = s->binding->plugin->async.answers;
    const size_t n = s->binding->n_answers;
    int r = schema_new(n + 1, ".time", &l->answer);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = schema_set(l->answer, i + 1, o[i].name, (enum weir_type)o[i].type);
    return r;
}

static int add_service(struct pipeline *p, struct step *s, size_t first,
                       struct error *error)
{
    struct config_lookup *l = calloc(1, sizeof(*l));
    if (!l)
        return error_set(error, -ENOMEM, "no memory");
    *l = *s->config->ask; /* the limits */
    l->name = name_of(p, s);
    l->node = s->config->node;
    l->first = first;
    s->ask = l;
    int r = l->name ? make_answer(s, l) : -ENOMEM;
    if (r < 0)
        return error_set(error, r, "no memory");
    binding_answers_at(s->binding, first);
    p->asking[p->n_asking++] = s;
    return find_columns(p, s, l, error);
}

/* Names are for people; nobody looks for these columns by name. */
static int widen_schema(struct pipeline *p, size_t n)
{
    char name[160];
    size_t column = p->schema->n;
    int r = schema_copy(p->schema, column, n, &p->wide);
    for (size_t i = 0; r == 0 && i < p->n_asking; i++) {
        const struct config_lookup *l = p->asking[i]->ask;
        for (size_t k = 1; r == 0 && k < l->answer->n; k++) {
            snprintf(name, sizeof(name), "%s.%s", l->name, l->answer->column[k].name);
            r = schema_set(p->wide, column++, name, l->answer->column[k].type);
        }
    }
    return r;
}

int ask_setup(struct pipeline *p, struct error *error)
{
    size_t n = 0;
    int r = 0;
    for (size_t i = 0; r == 0 && i < p->n_steps; i++) {
        struct step *s = &p->step[i];
        if (!s->binding->n_answers)
            continue;
        r = add_service(p, s, p->schema->n + n, error);
        n += s->binding->n_answers;
        if (r == 0 && p->schema->n + n > SCHEMA_COLUMNS_MAX)
            r = node_error(s->config->node, error,
                           "there are more than %u columns with the answers that "
                           "analyzer '%s' asks for",
                           SCHEMA_COLUMNS_MAX, s->config->plugin);
    }
    if (r < 0 || !n)
        return r;
    r = widen_schema(p, n);
    return r < 0 ? error_set(error, r, "no memory") : 0;
}
