/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "config/faults.h"
#include "hook/sign.h"
#include "hook/spec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int no_memory(struct error *error)
{
    return error_set(error, -ENOMEM, "no memory");
}

static int find_table(struct hook_spec *s, struct error *error)
{
    const struct config_hook *c = s->config;
    const struct table *const *table;
    size_t n = pipeline_tables(s->pipeline, &table);
    const char **names = calloc(n + 1, sizeof(*names));
    if (!names)
        return no_memory(error);
    for (size_t i = 0; i < n; i++) {
        names[i] = table[i]->name;
        if (!s->table && (!c->table || !strcmp(c->table, names[i])))
            s->table = table[i];
    }
    if (!s->table) {
        node_error(c->table_node ? c->table_node : c->node, error,
                   "pipeline '%s' has no table '%s'", s->pipeline_name,
                   c->table ? c->table : "");
        node_suggest(error, c->table ? c->table : "", names, n);
    }
    free(names);
    return s->table ? 0 : -EINVAL;
}

static int make_columns(struct hook_spec *s, struct error *error)
{
    const struct table *t = s->table;
    int err = schema_new(t->n_columns, t->column[0].name, &s->columns);
    for (size_t i = 1; !err && i < t->n_columns; i++) {
        const struct table_column *c = &t->column[table_shown(t, i)];
        err = schema_set(s->columns, i, c->name, c->type);
    }
    if (!err && !(s->key = calloc(t->n_keys + 1, sizeof(*s->key))))
        err = -ENOMEM;
    if (err == -E2BIG)
        return node_error(s->config->node, error,
                          "table '%s' has too many columns for a webhook", t->name);
    if (err)
        return no_memory(error);
    s->time = t->rows ? 0 : 1;
    /* Windows by count number those of a key: that is no part of what is watched. */
    size_t n = t->n_keys - (t->n_keys > 0 && s->pipeline &&
                            pipeline_config(s->pipeline)->window.kind == CONFIG_COUNT);
    for (size_t i = 0; !t->rows && !t->late && i < n; i++)
        s->key[s->n_keys++] = i + 2; /* behind window_start, window_end */
    s->revision = -1;
    for (size_t i = 0; t->revision && i < t->n_columns; i++)
        if (table_shown(t, i) == t->revision)
            s->revision = (int)i;
    return 0;
}

static int make_when(struct hook_spec *s, struct error *error)
{
    struct error own = {""};
    int err = single_new(s->columns, s->config->when, &s->when, &own);
    return err == -ENOMEM ? no_memory(error)
           : err ? node_error(s->config->when_node, error, "when: %s", own.text)
                 : 0;
}

static int make_body(struct hook_spec *s, struct error *error)
{
    char unknown[64];
    const char *names[SCHEMA_COLUMNS_MAX + TEMPLATE_WORDS];
    size_t n = 0;
    int err = template_new(s->config->body, s->columns, &s->body, unknown);
    if (err != -EINVAL)
        return err ? no_memory(error) : 0;
    for (size_t i = 0; i < s->columns->n; i++)
        names[n++] = s->columns->column[i].name;
    for (size_t i = 0; i < TEMPLATE_WORDS; i++)
        names[n++] = template_word_name[i];
    node_error(s->config->body_node, error, "body: table '%s' has no column '%s'",
               s->table->name, unknown);
    node_suggest(error, unknown, names, n);
    return -EINVAL;
}

/* Without the line end that editors put behind it. */
static int read_secret(struct hook_spec *s, struct error *error)
{
    const struct config_hook *c = s->config;
    char text[SIGN_SECRET_MAX + 2];
    FILE *f = fopen(c->secret_file, "re");
    if (!f)
        return node_error(c->secret_node, error, "secret_file '%s': %s", c->secret_file,
                          strerror(errno));
    size_t size = fread(text, 1, sizeof(text), f);
    bool failed = ferror(f);
    fclose(f);
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r'))
        size--;
    int err = failed || size > SIGN_SECRET_MAX ? -EINVAL
                                               : sign_secret(text, size, &s->secret);
    explicit_bzero(text, sizeof(text));
    if (err == -ENOMEM)
        return no_memory(error);
    return err ? node_error(c->secret_node, error,
                            "secret_file '%s' has no secret of 1 to %d bytes, or none "
                            "in base64 behind 'whsec_'",
                            c->secret_file, SIGN_SECRET_MAX)
               : 0;
}

static int make_secret(struct hook_spec *s, struct error *error)
{
    const struct config_hook *c = s->config;
    if (c->secret_file)
        return read_secret(s, error);
    if (!c->secret)
        return 0;
    int err = sign_secret(c->secret, strlen(c->secret), &s->secret);
    if (err == -ENOMEM)
        return no_memory(error);
    return err ? node_error(node_get(c->node, "secret"), error,
                            "the secret is not base64 behind 'whsec_'")
               : 0;
}

static bool is_left_out(const struct hook_spec *s)
{
    const struct table *const *table;
    return !s->pipeline || pipeline_tables(s->pipeline, &table) == 0;
}

static int fill(struct hook_spec *s, struct error *error)
{
#ifndef HAVE_LIBCURL
    return node_error(s->config->node, error,
                      "this weir was built without libcurl: it sends no webhooks");
#endif
    int err = find_table(s, error);
    if (!err)
        err = make_columns(s, error);
    if (!err && s->config->when)
        err = make_when(s, error);
    if (!err && s->config->body)
        err = make_body(s, error);
    return err ? err : make_secret(s, error);
}

static int spec_new(struct config *config, const struct config_pipeline *c,
                    const struct config_hook *h, struct pipeline *p,
                    struct hook_spec **ret, struct error *error)
{
    struct hook_spec *s = calloc(1, sizeof(*s));
    if (!s)
        return no_memory(error);
    *s = (struct hook_spec){.owner = config_ref(config),
                            .config = h,
                            .pipeline = p ? pipeline_ref(p) : NULL,
                            .pipeline_name = c->name};
    int err = is_left_out(s) ? 0 : fill(s, error);
    if (err)
        hook_spec_free(s);
    else
        *ret = s;
    return err;
}

int hook_specs_new(struct config *config, struct pipeline *const *pipeline, size_t n,
                   struct hook_spec **ret, struct error *error)
{
    struct hook_spec *first = NULL, **last = &first;
    int failed = 0;
    for (size_t i = 0; i < n; i++) {
        const struct config_pipeline *c = &config->pipeline[i];
        for (size_t k = 0; k < c->n_hooks; k++) {
            int err = spec_new(config, c, &c->hook[k], pipeline[i], last, error);
            if (!err)
                last = &(*last)->next;
            failed = err ? err : failed;
            if (err && !faults_go_on(err, error)) {
                hook_specs_free(first);
                return err;
            }
        }
    }
    if (failed) {
        hook_specs_free(first);
        return failed;
    }
    *ret = first;
    return 0;
}

void hook_spec_free(struct hook_spec *s)
{
    if (!s)
        return;
    single_free(s->when);
    template_free(s->body);
    if (s->secret.data)
        explicit_bzero(s->secret.data, s->secret.size);
    buffer_free(&s->secret);
    schema_free(s->columns);
    free(s->key);
    pipeline_unref(s->pipeline);
    config_free(s->owner);
    free(s);
}

void hook_specs_free(struct hook_spec *list)
{
    while (list) {
        struct hook_spec *next = list->next;
        hook_spec_free(list);
        list = next;
    }
}

bool hook_spec_same(const struct hook_spec *a, const struct hook_spec *b)
{
    return a->table == b->table && node_equal(a->config->node, b->config->node) &&
           a->secret.size == b->secret.size &&
           (!a->secret.size ||
            memcmp(a->secret.data, b->secret.data, a->secret.size) == 0);
}
