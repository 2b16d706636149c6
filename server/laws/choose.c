/* SPDX-License-Identifier: Apache-2.0 */
#include "laws/choose.h"

#include "base/buffer.h"
#include "laws/rows.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TYPES_ALL                                                                      \
    (WEIR_TYPES(WEIR_INT) | WEIR_TYPES(WEIR_FLOAT) | WEIR_TYPES(WEIR_BOOL) |           \
     WEIR_TYPES(WEIR_STRING) | WEIR_TYPES(WEIR_TIME))

/* A set of parameters being written: YAML for them, and the columns that it names. */
struct draft {
    struct buffer yaml;
    unsigned k; /* which one of the plugin's */
    bool
        optional; /* there are columns that need not be given: number 1 is without them */
    size_t n_columns;
    struct {
        char name[64];
        enum weir_type type;
    } column[ROWS_INPUTS_MAX];
    struct error *error;
};

static bool is_column(const struct weir_param *p)
{
    return p->type == WEIR_PARAM_COLUMN || p->type == WEIR_PARAM_COLUMNS;
}

static unsigned count_types(uint32_t types)
{
    return (unsigned)__builtin_popcount(types & TYPES_ALL);
}

static enum weir_type type_number(uint32_t types, unsigned k)
{
    uint32_t t = WEIR_INT;
    for (k %= count_types(types);; t++)
        if (types & WEIR_TYPES(t) && k-- == 0)
            return (enum weir_type)t;
}

static int add_column(struct draft *d, const struct weir_param *p, const char *text)
{
    char name[64];
    enum weir_type type = 0;
    const char *colon = strchr(text, ':');
    snprintf(name, sizeof(name), "%.*s", colon ? (int)(colon - text) : 63, text);
    if (!count_types(p->column_types))
        return error_set(d->error, -EINVAL,
                         "'%s' takes columns of types that no stream has yet", p->name);
    if (d->n_columns == ROWS_INPUTS_MAX)
        return error_set(d->error, -EINVAL, "more than %u columns are not tried",
                         ROWS_INPUTS_MAX);
    for (uint32_t t = WEIR_INT; colon && t <= WEIR_TIME; t++)
        if (!strcmp(schema_type_name((enum weir_type)t), colon + 1))
            type = (enum weir_type)t;
    if (colon && !type)
        return error_set(d->error, -EINVAL,
                         "'%s' is no type: string, float, int, bool or time",
                         colon + 1);
    buffer_put_json_string(&d->yaml, name, strlen(name));
    for (size_t i = 0; i < d->n_columns; i++)
        if (!strcmp(d->column[i].name, name))
            return 0;
    if (!type)
        type =
            type_number(p->column_types, (d->optional && d->k > 0 ? d->k - 1 : d->k) +
                                             (unsigned)d->n_columns);
    snprintf(d->column[d->n_columns].name, sizeof(name), "%s", name);
    d->column[d->n_columns++].type = type;
    return 0;
}

/* "a", "b", ... */
static int next_column(struct draft *d, const struct weir_param *p)
{
    return add_column(d, p, (char[]){(char)('a' + d->n_columns), 0});
}

static int put_given(struct draft *d, const struct weir_param *p, const struct node *n)
{
    if (n->kind == NODE_MAP)
        return node_expected(n, "a value, or a list", d->error);
    if (n->kind == NODE_LIST) {
        int err = 0;
        buffer_putc(&d->yaml, '[');
        for (size_t i = 0; err == 0 && i < n->n; i++) {
            buffer_puts(&d->yaml, i ? ", " : "");
            err = put_given(d, p, &n->item[i]);
        }
        buffer_putc(&d->yaml, ']');
        return err;
    }
    if (is_column(p))
        return add_column(d, p, n->text);
    if (n->quoted)
        buffer_put_json_string(&d->yaml, n->text, strlen(n->text));
    else
        buffer_puts(&d->yaml, n->text);
    return 0;
}

/* The middle of a range, or a small number. */
static double some_number(const struct weir_param *p)
{
    if (p->min == 0 && p->max == 0)
        return p->type == WEIR_PARAM_INT ? 3 : 0.5;
    if (p->max - p->min > 1000)
        return p->min <= 3 && p->max >= 3 ? 3 : p->min;
    double middle = p->min + (p->max - p->min) / 2;
    return p->type == WEIR_PARAM_INT ? (double)(int64_t)middle : middle;
}

static int put_chosen(struct draft *d, const struct weir_param *p)
{
    char word[PARAMS_WORD];
    int err;
    switch (p->type) {
    case WEIR_PARAM_COLUMN:
        return next_column(d, p);
    case WEIR_PARAM_COLUMNS:
        buffer_putc(&d->yaml, '[');
        err = next_column(d, p);
        buffer_puts(&d->yaml, ", ");
        if (err == 0)
            err = next_column(d, p);
        buffer_putc(&d->yaml, ']');
        return err;
    case WEIR_PARAM_CHOICE:
        if (params_word(p->choices, d->k % params_words(p->choices), word))
            buffer_puts(&d->yaml, word);
        break;
    case WEIR_PARAM_SET: /* all of them */
        buffer_putc(&d->yaml, '[');
        for (size_t i = 0; params_word(p->choices, i, word); i++)
            buffer_printf(&d->yaml, "%s%s", i ? ", " : "", word);
        buffer_putc(&d->yaml, ']');
        break;
    case WEIR_PARAM_STRING:
        buffer_puts(&d->yaml, "x");
        break;
    case WEIR_PARAM_BOOL:
        buffer_puts(&d->yaml, d->k & 1 ? "true" : "false");
        break;
    default:
        buffer_printf(&d->yaml, "%.15g", some_number(p));
    }
    return 0;
}

/* What need not be given is left out by one set or another. */
static bool is_wanted(const struct draft *d, const struct weir_param *p)
{
    if (p->flags & WEIR_REQUIRED)
        return true;
    switch (p->type) {
    case WEIR_PARAM_COLUMN:
    case WEIR_PARAM_COLUMNS:
        return count_types(p->column_types) && d->k != 1;
    case WEIR_PARAM_SET:
        return d->k % 2 == 0;
    case WEIR_PARAM_CHOICE:
    case WEIR_PARAM_BOOL:
        return d->k > 0;
    default:
        return false;
    }
}

static int write_yaml(struct draft *d, const struct weir_analyzer *a,
                      const struct node *given)
{
    bool first = true;
    buffer_putc(&d->yaml, '{');
    for (const struct weir_param *p = a->params; p && p->name; p++) {
        const struct node *n = given ? node_get(given, p->name) : NULL;
        if (!n && !is_wanted(d, p))
            continue;
        buffer_printf(&d->yaml, "%s%s: ", first ? "" : ", ", p->name);
        first = false;
        int err = n ? put_given(d, p, n) : put_chosen(d, p);
        if (err < 0)
            return err;
    }
    buffer_putc(&d->yaml, '}');
    return d->yaml.error ? error_set(d->error, d->yaml.error, "out of memory") : 0;
}

static void describe(const struct draft *d, struct choice *c)
{
    size_t used = 0;
    for (size_t i = 0; i < d->yaml.size && used + 1 < sizeof(c->text); i++)
        if (d->yaml.data[i] != '"')
            c->text[used++] = d->yaml.data[i];
    c->text[used] = 0;
    for (size_t i = 0; i < d->n_columns && used < sizeof(c->text); i++)
        used +=
            (size_t)snprintf(c->text + used, sizeof(c->text) - used, ", %s %s",
                             d->column[i].name, schema_type_name(d->column[i].type));
}

static int bind(struct draft *d, struct plugins *plugins, const char *name,
                const struct weir_analyzer *a, struct choice *c)
{
    int r = node_parse("parameters", d->yaml.data, d->yaml.size, &c->params, d->error);
    if (r == 0 && (r = schema_new(1 + d->n_columns, "time", &c->schema)) < 0)
        error_set(d->error, r, "out of memory");
    for (size_t i = 0; r == 0 && i < d->n_columns; i++)
        if ((r = schema_set(c->schema, i + 1, d->column[i].name, d->column[i].type)) <
            0)
            error_set(d->error, r, "out of memory");
    if (r < 0)
        return r;
    const struct config_analyzer analyzer = {.plugin = (char *)(uintptr_t)name,
                                             .node = c->params,
                                             .params = c->params,
                                             .async = a->async != NULL};
    return binding_new(plugins, &analyzer, c->schema, NULL, &c->binding, d->error);
}

static int make_choice(struct plugins *plugins, const char *name,
                       const struct weir_analyzer *a, const struct node *given,
                       unsigned k, struct choice *ret, struct error *error)
{
    struct draft d = {.k = k, .error = error};
    for (const struct weir_param *p = a->params; p && p->name; p++)
        d.optional |= is_column(p) && !(p->flags & WEIR_REQUIRED);
    *ret = (struct choice){0};
    int r = write_yaml(&d, a, given);
    if (r == 0)
        r = bind(&d, plugins, name, a, ret);
    if (r == 0)
        describe(&d, ret);
    buffer_free(&d.yaml);
    if (r < 0)
        choices_free(ret, 1);
    return r;
}

/* So many sets that each type of a column, and each word of a choice, is in one of them. */
static unsigned count_choices(const struct weir_analyzer *a)
{
    unsigned n = 1;
    for (const struct weir_param *p = a->params; p && p->name; p++) {
        bool column = is_column(p);
        unsigned k = column ? count_types(p->column_types)
                     : p->type == WEIR_PARAM_CHOICE
                         ? (unsigned)params_words(p->choices) + 1
                         : 2;
        if (column && !(p->flags & WEIR_REQUIRED))
            k++; /* and none at all */
        n = k > n ? k : n;
    }
    return n < CHOICES_MAX ? n : CHOICES_MAX;
}

static int check_given(const struct weir_analyzer *a, const struct node *given,
                       struct error *error)
{
    const char *names[PARAMS_MAX];
    size_t n = 0;
    if (given->kind != NODE_MAP)
        return node_expected(given, "parameters such as 'of: price'", error);
    for (; a->params && a->params[n].name; n++)
        names[n] = a->params[n].name;
    for (size_t i = 0; i < given->n; i++) {
        size_t k = 0;
        while (k < n && strcmp(names[k], given->key[i].text) != 0)
            k++;
        if (k < n)
            continue;
        node_error(&given->key[i], error, "'%s' has no parameter '%s'", a->name,
                   given->key[i].text);
        node_suggest(error, given->key[i].text, names, n);
        return -EINVAL;
    }
    return 0;
}

static bool same_text(const struct choice *c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(c[i].text, c[n].text))
            return true;
    return false;
}

int choices_new(struct plugins *plugins, const char *name, const char *with,
                struct choice ret[CHOICES_MAX], size_t *ret_n, struct error *error)
{
    struct plugin *plugin;
    struct node *given = NULL;
    char *yaml = NULL;
    size_t n = 0;
    int r = plugins_get(plugins, name, &plugin, error);
    if (r == 0 && with && asprintf(&yaml, "{%s}", with) < 0)
        r = error_set(error, -ENOMEM, "out of memory");
    if (r == 0 && with)
        r = node_parse("--with", yaml, strlen(yaml), &given, error);
    if (r == 0 && with)
        r = check_given(&plugin->analyzer, given, error);
    unsigned most = r == 0 ? count_choices(&plugin->analyzer) : 0;
    for (unsigned k = 0; r == 0 && k < most; k++) {
        struct error why = {""};
        int err =
            make_choice(plugins, name, &plugin->analyzer, given, k, &ret[n], &why);
        if (err == 0 && same_text(ret, n))
            choices_free(&ret[n], 1);
        else if (err == 0)
            n++;
        else if (k == 0) /* a later one may ask for what does not go together */
            r = error_set(error, err, "%s", why.text);
    }
    free(yaml);
    node_free(given);
    if (r == 0)
        *ret_n = n;
    else
        choices_free(ret, n);
    return r;
}

void choices_free(struct choice *c, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        binding_free(c[i].binding);
        schema_free(c[i].schema);
        node_free(c[i].params);
        c[i] = (struct choice){0};
    }
}
