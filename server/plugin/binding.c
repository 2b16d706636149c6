/* SPDX-License-Identifier: Apache-2.0
 *
 * Binds an analyzer of the configuration to its plugin and to the columns of a stream.
 */
#include "plugin/binding.h"
#include "plugin/params.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the functions below hand each other. */
struct work {
    struct binding *b;
    const struct config_analyzer *analyzer;
    const struct schema *schema;
    struct error *error;
};

static const struct weir_analyzer *plugin_of(const struct work *w)
{
    return &w->b->plugin->analyzer;
}

static size_t count_params(const struct weir_param *p)
{
    size_t n = 0;
    while (p && p[n].name)
        n++;
    return n;
}

static size_t count_columns(const struct weir_param *p)
{
    size_t n = 0;
    for (; p && p->name; p++)
        n += p->type == WEIR_PARAM_COLUMN;
    return n;
}

static size_t count_outputs(const struct weir_output *o)
{
    size_t n = 0;
    while (o[n].name)
        n++;
    return n;
}

static int out_of_memory(const struct work *w)
{
    return error_set(w->error, -ENOMEM, "out of memory");
}

static int allocate(const struct work *w)
{
    struct binding *b = w->b;
    const struct weir_analyzer *a = plugin_of(w);
    size_t n = count_params(a->params);
    b->n_inputs = count_columns(a->params);
    b->n_cells = count_outputs(a->outputs);
    b->config = calloc(1, a->config_size + 1);
    b->strings = calloc(n + 1, sizeof(*b->strings));
    b->input = calloc(b->n_inputs + 1, sizeof(*b->input));
    b->types = calloc(b->n_inputs + 1, sizeof(*b->types));
    b->dictionary = calloc(b->n_inputs + 1, sizeof(*b->dictionary));
    b->output = calloc(b->n_cells, sizeof(*b->output));
    if (!b->config || !b->strings || !b->input || !b->types || !b->dictionary ||
        !b->output)
        return out_of_memory(w);
    return 0;
}

/* ---- Parameters ---- */

static int check_key(const struct work *w, const struct node *key)
{
    const struct weir_analyzer *a = plugin_of(w);
    const char *names[PARAMS_MAX];
    size_t n = 0;
    for (; a->params && a->params[n].name; n++) {
        if (strcmp(a->params[n].name, key->text) == 0)
            return 0;
        names[n] = a->params[n].name;
    }
    node_error(key, w->error, "analyzer '%s' has no parameter '%s'", a->name,
               key->text);
    node_suggest(w->error, key->text, names, n);
    return -EINVAL;
}

static int check_keys(const struct work *w)
{
    const struct node *params = w->analyzer->params;
    if (!params)
        return 0;
    if (params->kind != NODE_MAP)
        return node_error(params, w->error, "the parameters of '%s' are a map",
                          plugin_of(w)->name);
    for (size_t i = 0; i < params->n; i++) {
        int err = check_key(w, &params->key[i]);
        if (err)
            return err;
    }
    return 0;
}

static const char *text_of(const struct binding *b, const struct weir_param *p)
{
    return *(const char *const *)(const void *)((const char *)b->config + p->offset);
}

/* The text that the config struct points to lives with the tree; from here on with the binding. */
static int keep_text(const struct work *w, const struct weir_param *p)
{
    struct binding *b = w->b;
    const char *text = text_of(b, p);
    if (!text)
        return 0;
    char *copy = strdup(text);
    if (!copy)
        return out_of_memory(w);
    b->strings[b->n_strings++] = copy;
    *(const char **)(void *)((char *)b->config + p->offset) = copy;
    return 0;
}

static int no_column(const struct work *w, const struct node *node, const char *name)
{
    const char *names[SCHEMA_COLUMNS_MAX];
    size_t n = 0;
    for (; n < w->schema->n && n < SCHEMA_COLUMNS_MAX; n++)
        names[n] = w->schema->column[n].name;
    node_error(node, w->error, "the stream has no column '%s'", name);
    node_suggest(w->error, name, names, n);
    return -EINVAL;
}

static int bind_column(const struct work *w, const struct weir_param *p, size_t k,
                       const struct node *node)
{
    struct binding *b = w->b;
    const char *name = text_of(b, p);
    b->input[k] = -1;
    if (!name)
        return 0;
    int column = schema_find(w->schema, name);
    if (column < 0)
        return no_column(w, node, name);
    enum weir_type type = w->schema->column[column].type;
    if (!(p->column_types & WEIR_TYPES(type))) {
        char types[64];
        params_types_text(p->column_types, types, sizeof(types));
        return node_error(node, w->error,
                          "column '%s' is of type %s, but '%s' of '%s' takes: %s", name,
                          schema_type_name(type), p->name, plugin_of(w)->name, types);
    }
    b->input[k] = column;
    b->types[k] = type;
    b->dictionary[k] = type == WEIR_STRING && p->flags & WEIR_DICTIONARY;
    return 0;
}

static int fill_one(const struct work *w, const struct weir_param *p, size_t *column)
{
    const struct node *params = w->analyzer->params;
    const struct node *node = params ? node_get(params, p->name) : NULL;
    if (!node && p->flags & WEIR_REQUIRED)
        return node_error(w->analyzer->node, w->error,
                          "analyzer '%s' needs the parameter '%s' (%s)",
                          plugin_of(w)->name, p->name, p->help);
    int err = node ? params_store(p, node, w->b->config, w->error)
                   : params_store_default(p, w->b->config, w->error);
    if (!err && (p->type == WEIR_PARAM_STRING || p->type == WEIR_PARAM_COLUMN))
        err = keep_text(w, p);
    if (!err && p->type == WEIR_PARAM_COLUMN)
        err = bind_column(w, p, (*column)++, node ? node : w->analyzer->node);
    return err;
}

static int fill_params(const struct work *w)
{
    size_t column = 0;
    int err = check_keys(w);
    const struct weir_param *p = plugin_of(w)->params;
    for (; !err && p && p->name; p++)
        err = fill_one(w, p, &column);
    return err;
}

/* ---- Outputs ---- */

static const struct weir_param *find_param(const struct work *w, const char *name,
                                           size_t size)
{
    const struct weir_param *p = plugin_of(w)->params;
    while (strlen(p->name) != size || strncmp(p->name, name, size) != 0)
        p++; /* the loader has checked that it is there */
    return p;
}

/* The value of a parameter as it goes into a name; "" if it was not given. */
static void value_text(const struct work *w, const struct weir_param *p, char *text,
                       size_t room)
{
    const char *member = (const char *)w->b->config + p->offset;
    char word[PARAMS_WORD] = "";
    int64_t i;
    int choice;
    switch (p->type) {
    case WEIR_PARAM_INT:
        memcpy(&i, member, sizeof(i));
        snprintf(text, room, "%lld", (long long)i);
        break;
    case WEIR_PARAM_CHOICE:
        memcpy(&choice, member, sizeof(choice));
        params_word(p->choices, (size_t)choice, word);
        snprintf(text, room, "%s", word);
        break;
    default:
        snprintf(text, room, "%s", text_of(w->b, p) ? text_of(w->b, p) : "");
    }
}

static bool good_output_name(const char *s)
{
    if (!isalpha((unsigned char)*s) && *s != '_')
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && *s != '_')
            return false;
    return true;
}

/* "{of}_mean" -> "price_mean". */
static int expand_name(const struct work *w, const char *pattern,
                       char name[BINDING_NAME_MAX + 1])
{
    size_t used = 0;
    const char *as = plugin_of(w)->flags & WEIR_MANY_ROWS ? NULL : w->analyzer->as;
    char piece[256];
    if (as)
        used = (size_t)snprintf(name, BINDING_NAME_MAX + 1, "%s_", as);
    while (*pattern && used <= BINDING_NAME_MAX) {
        size_t size = strcspn(pattern, "{");
        snprintf(piece, sizeof(piece), "%.*s", (int)size, pattern);
        pattern += size;
        if (size == 0) {
            size = strcspn(pattern, "}");
            value_text(w, find_param(w, pattern + 1, size - 1), piece, sizeof(piece));
            pattern += size + 1;
            if (!*piece && *pattern == '_')
                pattern++;
        }
        used += (size_t)snprintf(name + used, BINDING_NAME_MAX + 1 - used, "%s", piece);
    }
    if (used > BINDING_NAME_MAX)
        return node_error(
            w->analyzer->node, w->error,
            "the output column '%.40s...' of '%s' has a name of more than %d bytes",
            name, plugin_of(w)->name, BINDING_NAME_MAX);
    if (!good_output_name(name))
        return node_error(w->analyzer->node, w->error,
                          "'%s' cannot be the name of an output column of '%s'", name,
                          plugin_of(w)->name);
    return 0;
}

static bool is_wanted(const struct work *w, const struct weir_output *o)
{
    if (!o->set_word)
        return true;
    const struct weir_param *p = plugin_of(w)->params;
    while (p->type != WEIR_PARAM_SET)
        p++;
    uint32_t set;
    memcpy(&set, (const char *)w->b->config + p->offset, sizeof(set));
    return set >> params_word_find(p->choices, o->set_word) & 1;
}

static int add_output(const struct work *w, const struct weir_output *o, size_t cell)
{
    struct binding *b = w->b;
    char name[BINDING_NAME_MAX + 1];
    int err = expand_name(w, o->name, name);
    if (err)
        return err;
    for (size_t i = 0; i < b->n_outputs; i++)
        if (strcasecmp(b->output[i].name, name) == 0)
            return node_error(w->analyzer->node, w->error,
                              "two output columns of '%s' would be called '%s'",
                              plugin_of(w)->name, name);
    char *copy = strdup(name);
    if (!copy)
        return out_of_memory(w);
    uint32_t type =
        o->type >= WEIR_SAME_AS(0) ? b->types[o->type - WEIR_SAME_AS(0)] : o->type;
    b->output[b->n_outputs++] = (struct binding_output){
        .name = copy, .type = (enum weir_type)type, .cell = cell, .help = o->help};
    return 0;
}

static int add_outputs(const struct work *w)
{
    const struct weir_output *o = plugin_of(w)->outputs;
    for (size_t i = 0; i < w->b->n_cells; i++) {
        int err = is_wanted(w, &o[i]) ? add_output(w, &o[i], i) : 0;
        if (err)
            return err;
    }
    if (w->b->n_outputs == 0)
        return node_error(w->analyzer->node, w->error,
                          "analyzer '%s' is left without any output column",
                          plugin_of(w)->name);
    return 0;
}

/* ---- */

int binding_new(struct plugins *plugins, const struct config_analyzer *analyzer,
                const struct schema *schema, struct binding **ret, struct error *error)
{
    struct work w = {.analyzer = analyzer, .schema = schema, .error = error};
    w.b = calloc(1, sizeof(*w.b));
    if (!w.b)
        return out_of_memory(&w);
    struct error why = {0};
    int err = plugins_get(plugins, analyzer->plugin, &w.b->plugin, &why);
    if (err)
        node_error(analyzer->node, error, "%s", why.text);
    if (!err)
        err = allocate(&w);
    if (!err)
        err = fill_params(&w);
    if (!err)
        err = add_outputs(&w);
    if (err) {
        binding_free(w.b);
        return err;
    }
    *ret = w.b;
    return 0;
}

void binding_free(struct binding *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->n_outputs; i++)
        free(b->output[i].name);
    for (size_t i = 0; i < b->n_strings; i++)
        free(b->strings[i]);
    free(b->output);
    free(b->strings);
    free(b->config);
    free(b->input);
    free(b->types);
    free(b->dictionary);
    free(b);
}
