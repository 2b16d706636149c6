/* SPDX-License-Identifier: Apache-2.0
 *
 * `derive:` of a stream or a pipeline: columns that are expressions over others.
 */
#include "config/fields.h"
#include "config/sections.h"
#include "expr/derive.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int out_of_memory(const struct node *n, struct error *error)
{
    return error_set(error, -ENOMEM, "%s: out of memory", n->file);
}

int section_type(const struct node *n, enum weir_type *ret, struct error *error)
{
    static const enum weir_type type[] = {WEIR_STRING, WEIR_FLOAT, WEIR_INT, WEIR_BOOL,
                                          WEIR_TIME};
    enum { N = sizeof type / sizeof type[0] };
    const char *name[N], *text;
    int r = node_text(n, &text, error);
    if (r < 0)
        return r;
    for (size_t i = 0; i < N; i++) {
        name[i] = schema_type_name(type[i]);
        if (strcmp(text, name[i]) == 0) {
            *ret = type[i];
            return 0;
        }
    }
    node_expected(n, "a type: string, float, int, bool or time", error);
    node_suggest(error, text, name, N);
    return -EINVAL;
}

/* `price * qty`, or {expr: price * qty, type: float}. */
static int read_forms(const struct node *n, struct config_derived *d,
                      const struct node **ret_type, struct error *error)
{
    const struct node *text = n;
    for (size_t i = 0; n->kind == NODE_MAP && i < n->n; i++) {
        if (strcmp(n->key[i].text, "expr") == 0)
            text = &n->item[i];
        else if (strcmp(n->key[i].text, "type") == 0)
            *ret_type = &n->item[i];
        else
            return node_error(&n->key[i], error,
                              "unknown key '%s' of a derived column, which takes "
                              "'expr', 'type'",
                              n->key[i].text);
    }
    if (text == n && n->kind != NODE_SCALAR)
        return node_expected(
            n, "an expression such as price * qty, or {expr: price * qty, type: float}",
            error);
    d->node = text;
    return fields_text(text, &d->text, error);
}

static int read_type(struct config_derived *d, const struct node *type,
                     const struct schema *before, struct error *error)
{
    struct error why = {0};
    int found = derive_type(before, d->text, &why);
    if (found == -ENOMEM)
        return out_of_memory(d->node, error);
    if (found < 0)
        return node_error(d->node, error, "%s", why.text);
    if (type)
        return section_type(type, &d->type, error);
    if (found == 0)
        return node_error(d->node, error,
                          "the type of this expression cannot be told; give it one, "
                          "such as {expr: ..., type: float}");
    d->type = (enum weir_type)found;
    return 0;
}

static int check_unique(const struct schema *s, size_t n, const struct node *name,
                        struct error *error)
{
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(s->column[i].name, name->text) == 0)
            return node_error(name, error, "there is a column '%s' already",
                              s->column[i].name);
    return 0;
}

/* Column `at` of `s`, whose columns before it are there. */
static int read_column(const struct node *key, const struct node *value,
                       struct config_derived *d, struct schema *s, size_t at,
                       struct error *error)
{
    struct schema *before;
    const struct node *type = NULL;
    const char *name;
    int r = node_name(key, &name, error);
    if (r == 0)
        r = check_unique(s, at, key, error);
    if (r == 0)
        r = read_forms(value, d, &type, error);
    if (r < 0)
        return r;
    if (schema_copy(s, at, 0, &before) < 0)
        return out_of_memory(key, error);
    r = read_type(d, type, before, error);
    schema_free(before);
    if (r == 0 && schema_set(s, at, name, d->type) < 0)
        return out_of_memory(key, error);
    return r;
}

int derive_section(const struct node *n, const struct schema *schema,
                   struct config_derive *ret, struct error *error)
{
    if (n->kind != NODE_MAP)
        return node_expected(n, "a mapping of columns (name: expression)", error);
    if (schema->n + n->n > SCHEMA_COLUMNS_MAX)
        return node_error(n, error, "there are more than %u columns with these",
                          SCHEMA_COLUMNS_MAX);
    if (!(ret->column = calloc(n->n + 1, sizeof *ret->column)) ||
        schema_copy(schema, schema->n, n->n, &ret->schema) < 0)
        return out_of_memory(n, error);
    for (size_t i = 0; i < n->n;
         i++) { /* the next ones may need it: no further faults */
        int r = read_column(&n->key[i], &n->item[i], &ret->column[ret->n++],
                            ret->schema, schema->n + i, error);
        if (r < 0)
            return r;
    }
    return 0;
}

size_t config_derive_columns(const struct config_derive *d, struct derive_column *to)
{
    for (size_t i = 0; i < d->n; i++)
        to[i] = (struct derive_column){.text = d->column[i].text,
                                       .type = d->column[i].type};
    return d->n;
}

void derive_section_free(struct config_derive *d)
{
    for (size_t i = 0; i < d->n; i++)
        free(d->column[i].text);
    free(d->column);
    schema_free(d->schema);
}
