/* SPDX-License-Identifier: Apache-2.0
 *
 * The result tables of a pipeline, made from what its analyzers give: one row a group into the
 * pipeline's own table, side by side; many rows into a table of the analyzer's own. And the table of late
 * events, which has the columns of the stream.
 */
#include "base/clock.h"
#include "pipeline/parts.h"
#include "pipeline/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int add_column(struct table *t, const char *name, enum weir_type type,
                      const char *help)
{
    struct table_column *c = realloc(t->column, (t->n_columns + 1) * sizeof(*c));
    if (!c)
        return -ENOMEM;
    t->column = c;
    c = &c[t->n_columns];
    *c = (struct table_column){
        .name = strdup(name), .type = type, .help = strdup(help ? help : "")};
    if (!c->name || !c->help) {
        free(c->name);
        free(c->help);
        return -ENOMEM;
    }
    t->n_columns++;
    return 0;
}

/* The part of a table's name that says of which windows it is. */
static void size_name(const struct pipeline *p, size_t size, char ret[160])
{
    const struct config_window *w = &p->config->window;
    int n = snprintf(ret, 160, "%s", p->config->name);
    if (!w->n_coarse)
        return;
    ret[n++] = '_';
    config_window_size(w, size, ret + n);
}

/* A table with window_start. */
static int table_new(const struct pipeline *p, const char *name, struct table **ret)
{
    struct table *t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    t->name = strdup(name);
    t->pipeline = strdup(p->config->name);
    const struct pipeline *top = p;
    while (top->parent)
        top = top->parent;
    t->top = strdup(top->config->name);
    t->window = window_kind_of_size(&p->window, 0);
    t->retain_us = p->config->retain_us;
    int r = t->name && t->pipeline && t->top
                ? add_column(t, "window_start", WEIR_TIME,
                             "Start of the window, microseconds")
                : -ENOMEM;
    if (r < 0) {
        table_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

/* The columns so far are the primary key. */
static int end_primary_key(struct table *t)
{
    t->n_primary = t->n_columns;
    return add_column(t, "window_end", WEIR_TIME, "End of the window, microseconds");
}

/* With the key, where groups have many rows rank, and where they can be revised revision. */
static int result_table_new(const struct pipeline *p, const char *name, bool many,
                            struct table **ret)
{
    struct table *t;
    int r = table_new(p, name, &t);
    if (r < 0)
        return r;
    t->n_keys = p->config->n_keys;
    for (size_t i = 0; r == 0 && i < p->config->n_keys; i++) {
        const struct schema_column *c = &p->schema->column[p->config->key[i]];
        r = add_column(t, c->name, c->type, "Key");
    }
    if (r == 0 && p->window.kind == CONFIG_COUNT) {
        r = add_column(t, "number", WEIR_INT, "Of the window, from 1 on for each key");
        t->n_keys++;
    }
    if (r == 0 && many)
        r = add_column(t, "rank", WEIR_INT, "1 for the first row of the group");
    if (r == 0)
        r = end_primary_key(t);
    const bool global = p->window.kind == CONFIG_GLOBAL;
    if (r == 0 && (global || p->config->late == CONFIG_LATE_REVISE)) {
        t->revision = t->n_columns;
        r = add_column(t, "revision", WEIR_INT,
                       global ? "How often the result was given out before"
                              : "Late events that the result was revised for; 0: as "
                                "first given");
    }
    if (r < 0) {
        table_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

static int add_table(struct pipeline *p, struct table *t)
{
    const struct table **table =
        realloc(p->table, (p->n_tables + 1) * sizeof(struct table *));
    if (!table)
        return -ENOMEM;
    p->table = table;
    p->table[p->n_tables++] = t;
    return 0;
}

/* Two columns of one name, for SQLite: no matter the case. */
static int check_name(const struct table *t, const struct config_analyzer *c,
                      const char *name, struct error *error)
{
    bool taken = !strcasecmp(name, "revision");
    for (size_t i = 0; !taken && i < t->n_columns; i++)
        taken = !strcasecmp(t->column[i].name, name);
    if (!taken)
        return 0;
    if (t->n_primary > 1 + t->n_keys) /* `as` names the table there, not the columns */
        return node_error(c->node, error,
                          "column '%s' is in table '%s' already: a key column, or one "
                          "that every such table has",
                          name, t->name);
    return node_error(
        c->node, error,
        "column '%s' is in table '%s' already; `as: NAME` beside the analyzer puts "
        "NAME_ before its columns",
        name, t->name);
}

static int add_outputs(struct step *s, struct table *t, const struct config_analyzer *c,
                       struct error *error)
{
    s->table = t;
    s->column = t->n_columns;
    if (s->gives_states) {
        char name[PARTS_NAME_MAX];
        parts_name(c, name);
        int r = check_name(t, c, name, error);
        if (r == 0 && add_column(t, name, WEIR_STRING, "State, to be merged") < 0)
            r = error_set(error, -ENOMEM, "no memory");
        return r;
    }
    for (size_t i = 0; i < s->binding->n_outputs; i++) {
        const struct binding_output *o = &s->binding->output[i];
        int r = check_name(t, c, o->name, error);
        if (r == 0)
            r = add_column(t, o->name, o->type, o->help);
        if (r < 0)
            return r == -ENOMEM ? error_set(error, r, "no memory") : r;
    }
    return 0;
}

static int many_rows_table(struct pipeline *p, struct step *s,
                           const struct config_analyzer *c, struct error *error)
{
    char base[160], name[320];
    size_name(p, 0, base);
    snprintf(name, sizeof(name), "%s_%s", base, c->as ? c->as : c->plugin);
    for (size_t i = 0; i < p->n_tables; i++)
        if (!strcasecmp(p->table[i]->name, name))
            return node_error(
                c->node, error,
                "table '%s' is there already; `as: NAME` beside the analyzer makes it "
                "'%s_NAME'",
                name, base);
    struct table *t = NULL;
    int r = result_table_new(p, name, true, &t);
    if (r == 0) {
        r = add_table(p, t);
        if (r < 0)
            table_free(t);
    }
    return r < 0 ? error_set(error, r, "no memory") : add_outputs(s, t, c, error);
}

/* A column of the stream, with underscores behind its name if that is taken. */
static int add_free_column(struct table *t, const char *wanted, enum weir_type type,
                           const char *help)
{
    char name[BINDING_NAME_MAX + 1];
    snprintf(name, sizeof(name) - LATE_COLUMNS - 1, "%s", wanted);
    bool taken = true;
    while (taken) {
        taken = false;
        for (size_t i = 0; !taken && i < t->n_columns; i++)
            taken = !strcasecmp(t->column[i].name, name);
        if (taken)
            strcat(name, "_");
    }
    return add_column(t, name, type, help);
}

static int late_table_new(const struct pipeline *p, const char *name,
                          struct table **ret)
{
    struct table *t;
    int r = table_new(p, name, &t);
    if (r < 0)
        return r;
    t->late = true;
    if (p->config->window.n_coarse) { /* the longest: they missed all */
        t->window = window_kind_of_size(&p->window, p->config->window.n_coarse);
        t->retain_us = p->config->coarse_retain_us[p->config->window.n_coarse - 1];
    }
    r = add_column(t, "position", WEIR_INT, "Of the log entry that the event came in");
    if (r == 0)
        r = add_column(t, "row", WEIR_INT, "Number of the event in it, from 0");
    if (r == 0)
        r = end_primary_key(t);
    for (size_t i = 0; r == 0 && i < p->schema->n; i++)
        r = add_free_column(t, p->schema->column[i].name, p->schema->column[i].type,
                            "As it came");
    if (r < 0) {
        table_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

static int late_table(struct pipeline *p, struct error *error)
{
    char name[160];
    snprintf(name, sizeof(name), "%s_late", p->config->name);
    for (size_t i = 0; i < p->n_tables; i++)
        if (!strcasecmp(p->table[i]->name, name))
            return node_error(p->config->late_node, error,
                              "table '%s' of late events is there already: an analyzer "
                              "has the name, or the `as`, 'late'",
                              name);
    struct table *t = NULL;
    int r = late_table_new(p, name, &t);
    if (r == 0 && (r = add_table(p, t)) < 0)
        table_free(t);
    if (r < 0)
        return error_set(error, r, "no memory");
    p->late_table = t;
    return 0;
}

/* The tables of the shortest windows once more, for another size. */
static int copy_tables(struct pipeline *p, size_t size, struct error *error)
{
    char of[160], base[160];
    size_name(p, 0, of);
    size_name(p, size, base);
    for (size_t i = 0; i < p->n_of_size; i++) {
        const struct table *from = p->table[i];
        struct table *t = calloc(1, sizeof(*t));
        int r = t ? 0 : -ENOMEM;
        if (r == 0) {
            *t = *from;
            t->n_columns = 0;
            t->column = NULL;
            t->window = window_kind_of_size(&p->window, size);
            t->retain_us = p->config->coarse_retain_us[size - 1];
            t->pipeline = strdup(from->pipeline);
            t->top = strdup(from->top);
            r = asprintf(&t->name, "%s%s", base, from->name + strlen(of)) < 0 ? -ENOMEM
                                                                              : 0;
            t->name = r == 0 ? t->name : NULL;
        }
        for (size_t k = 0; r == 0 && k < from->n_columns; k++)
            r = add_column(t, from->column[k].name, from->column[k].type,
                           from->column[k].help);
        if (r == 0)
            r = t->pipeline && t->top ? add_table(p, t) : -ENOMEM;
        if (r < 0) {
            table_free(t);
            return error_set(error, r, "no memory");
        }
    }
    return 0;
}

/* Events that are selected. */
static int rows_table(struct pipeline *p, struct error *error)
{
    const struct config_pipeline *c = p->config;
    struct table *t = calloc(1, sizeof(*t));
    if (!t)
        return error_set(error, -ENOMEM, "no memory");
    *t = (struct table){.name = strdup(c->name),
                        .pipeline = strdup(c->name),
                        .window = p->window,
                        .retain_us = c->retain_us,
                        .rows = true,
                        .n_primary = 3};
    int r = t->name && t->pipeline ? add_column(t, p->schema->column[0].name, WEIR_TIME,
                                                "When it happened, microseconds")
                                   : -ENOMEM;
    if (r == 0)
        r = add_free_column(t, "position", WEIR_INT,
                            "Of the log entry that the event came in");
    if (r == 0)
        r = add_free_column(t, "row", WEIR_INT, "Number of the event in it, from 0");
    for (size_t i = 0; r == 0 && i < c->n_select; i++) {
        const struct schema_column *column = &p->schema->column[c->select[i]];
        if (c->select[i]) /* the time is there */
            r = add_free_column(t, column->name, column->type, "As it came");
    }
    if (r == 0)
        r = add_table(p, t);
    if (r < 0) {
        table_free(t);
        return error_set(error, r, "no memory");
    }
    p->rows_table = t;
    p->n_of_size = p->n_tables;
    return 0;
}

static int check_exposed(const struct pipeline *p, size_t i, struct error *error)
{
    const struct node *node = &p->config->expose_node->item[i];
    const char *name = p->config->expose[i];
    const struct table *t = p->own;
    size_t c = t->n_primary + 1;
    while (c < t->n_columns && strcmp(t->column[c].name, name) != 0)
        c++;
    if (c == t->n_columns) {
        const char *known[SCHEMA_COLUMNS_MAX];
        size_t n = 0;
        for (c = t->n_primary + 1; c < t->n_columns && n < SCHEMA_COLUMNS_MAX; c++)
            known[n++] = t->column[c].name;
        node_error(node, error, "table '%s' has no result '%s'", t->name, name);
        node_suggest(error, name, known, n);
        return -EINVAL;
    }
    const enum weir_type type = t->column[c].type;
    return type == WEIR_STRING || type == WEIR_TIME
               ? node_error(node, error, "'%s' is no number", name)
               : 0;
}

static int check_expose(const struct pipeline *p, struct error *error)
{
    const struct config_pipeline *c = p->config;
    if (!c->expose_node)
        return 0;
    if (p->window.kind == CONFIG_NONE)
        return node_error(c->expose_node, error, "expose: rows have no windows");
    if (!p->own)
        return node_error(c->expose_node, error,
                          "expose: no analyzer here gives one row a key");
    for (size_t i = 1; i < p->own->n_primary; i++) {
        const char *key = p->own->column[i].name;
        if (!strcmp(key, "pipeline") || !strcmp(key, "column") ||
            !strncmp(key, "__", 2))
            return node_error(c->expose_node, error,
                              "expose: the key '%s' has the name of another label; a "
                              "derived column can have another",
                              key);
    }
    int r = 0;
    for (size_t i = 0; r == 0 && i < c->n_expose; i++)
        r = check_exposed(p, i, error);
    return r;
}

int pipeline_make_tables(struct pipeline *p, struct error *error)
{
    char name[160];
    if (p->window.kind == CONFIG_NONE) {
        int err = check_expose(p, error);
        return err ? err : rows_table(p, error);
    }
    bool own = false;
    for (size_t i = 0; i < p->n_steps; i++)
        own = own || !step_gives_many(&p->step[i]);
    int r = 0;
    size_name(p, 0, name);
    if (own) {
        r = result_table_new(p, name, false, &p->own);
        if (r == 0 && (r = add_table(p, p->own)) < 0) {
            table_free(p->own);
            p->own = NULL;
        }
    }
    if (r < 0)
        return error_set(error, r, "no memory");
    for (size_t i = 0; r == 0 && i < p->n_steps; i++) {
        const struct config_analyzer *c = &p->config->analyzer[i];
        if (step_gives_many(&p->step[i]))
            r = many_rows_table(p, &p->step[i], c, error);
        else
            r = add_outputs(&p->step[i], p->own, c, error);
    }
    p->n_of_size = p->n_tables;
    for (size_t i = 0; r == 0 && i < p->config->window.n_coarse; i++)
        r = copy_tables(p, 1 + i, error);
    if (r == 0 && p->config->late == CONFIG_LATE_SIDE)
        r = late_table(p, error);
    return r == 0 ? check_expose(p, error) : r;
}
