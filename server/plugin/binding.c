/* SPDX-License-Identifier: Apache-2.0
 *
 * Binds an analyzer of the configuration to its plugin and to the columns of a stream.
 */
#include "plugin/binding.h"
#include "plugin/outputs.h"
#include "plugin/params.h"

#include "base/hash.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the functions below hand each other. */
struct work {
    struct binding *b;
    const struct config_analyzer *analyzer;
    const struct node *node; /* the place of a fault; NULL: it has none */
    const struct schema *schema;
    const bool *is_key;
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

static int fault(const struct work *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static int fault(const struct work *w, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return w->node ? node_error(w->node, w->error, "%s", text)
                   : error_set(w->error, -EINVAL, "%s", text);
}

static int allocate(const struct work *w)
{
    struct binding *b = w->b;
    const struct weir_analyzer *a = plugin_of(w);
    size_t n = count_params(a->params), inputs = BINDING_INPUTS_MAX;
    b->config = calloc(1, a->config_size + 1);
    b->string = calloc(n + inputs, sizeof(*b->string));
    b->list = calloc(n + 1, sizeof(*b->list));
    b->input = calloc(inputs, sizeof(*b->input));
    b->types = calloc(inputs, sizeof(*b->types));
    b->dictionary = calloc(inputs, sizeof(*b->dictionary));
    b->left_out = calloc(inputs, sizeof(*b->left_out));
    b->as = w->analyzer->as ? strdup(w->analyzer->as) : NULL;
    if (!b->config || !b->string || !b->list || !b->input || !b->types ||
        !b->dictionary || !b->left_out || !b->as != !w->analyzer->as)
        return out_of_memory(w);
    return 0;
}

/* ---- Parameters ---- */

static int check_key(const struct work *w, const struct node *key)
{
    const struct weir_analyzer *a = plugin_of(w);
    const char *names[PARAMS_MAX];
    size_t n = 0;
    if (!strcmp(key->text, "as") || !strcmp(key->text, "where"))
        return 0; /* the server's */
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
    if (params->kind == NODE_SCALAR && count_params(plugin_of(w)->params))
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

/* A copy that lives as long as the binding. */
static const char *keep_text(const struct work *w, const char *text)
{
    struct binding *b = w->b;
    char *copy = strdup(text);
    if (copy)
        b->string[b->n_strings++] = copy;
    return copy;
}

/* The text that the config struct points to lives with the tree; from here on with the binding. */
static int keep_member(const struct work *w, const struct weir_param *p)
{
    const char *text = text_of(w->b, p);
    if (!text)
        return 0;
    text = keep_text(w, text);
    *(const char **)(void *)((char *)w->b->config + p->offset) = text;
    return text ? 0 : out_of_memory(w);
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

/* The next input; name NULL: it is not given. */
static int bind_column(const struct work *w, const struct weir_param *p,
                       const char *name, const struct node *node)
{
    struct binding *b = w->b;
    size_t k = b->n_inputs++;
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
    if (p->flags & WEIR_ASKED)
        b->asked[b->n_asked++] = k;
    b->dictionary[k] = type == WEIR_STRING && p->flags & WEIR_DICTIONARY;
    return 0;
}

/* All columns of the stream that the parameter takes. Those of the key stand in the result table already: only who is handed all
 * rows at once, to compute from them, gets these, too. */
static int bind_all(const struct work *w, const struct weir_param *p)
{
    const bool with_key = !w->is_key || plugin_of(w)->flags & WEIR_WHOLE;
    struct binding *b = w->b;
    struct weir_columns *c = (void *)((char *)b->config + p->offset);
    const char **name = calloc(w->schema->n + 1, sizeof(*name));
    if (!name)
        return out_of_memory(w);
    b->list[b->n_lists++] = name;
    *c = (struct weir_columns){.first = (uint32_t)b->n_inputs, .name = name};
    for (size_t i = 0; i < w->schema->n; i++) {
        const struct schema_column *column = &w->schema->column[i];
        if (!(p->column_types & WEIR_TYPES(column->type)) ||
            b->n_inputs == SCHEMA_COLUMNS_MAX || (!with_key && w->is_key[i]))
            continue;
        name[c->n] = keep_text(w, column->name);
        int err = name[c->n] ? bind_column(w, p, name[c->n], w->analyzer->node)
                             : out_of_memory(w);
        if (err)
            return err;
        c->n++;
    }
    return 0;
}

/* A list of columns: struct weir_columns has the number of names already. */
static int bind_columns(const struct work *w, const struct weir_param *p,
                        const struct node *node)
{
    struct binding *b = w->b;
    struct weir_columns *c = (void *)((char *)b->config + p->offset);
    c->first = (uint32_t)b->n_inputs;
    if (b->n_inputs + c->n > SCHEMA_COLUMNS_MAX)
        return node_error(
            node, w->error,
            "'%s' of '%s' names too many columns: %d inputs are the limit", p->name,
            plugin_of(w)->name, SCHEMA_COLUMNS_MAX);
    const char **name = calloc(c->n + 1, sizeof(*name));
    if (!name)
        return out_of_memory(w);
    b->list[b->n_lists++] = name;
    c->name = name;
    for (size_t i = 0; i < c->n; i++) {
        const struct node *item = node->kind == NODE_LIST ? &node->item[i] : node;
        name[i] = keep_text(w, item->text);
        int err = name[i] ? bind_column(w, p, name[i], item) : out_of_memory(w);
        if (err)
            return err;
    }
    return 0;
}

static int keep_numbers(const struct work *w, const struct weir_param *p,
                        const struct node *node)
{
    struct weir_numbers *numbers = (void *)((char *)w->b->config + p->offset);
    double value[PARAMS_NUMBERS], *copy = NULL;
    int err = params_numbers(p, node, value, &numbers->n, w->error);
    if (err || numbers->n == 0)
        return err;
    copy = malloc(numbers->n * sizeof(*copy));
    if (!copy)
        return out_of_memory(w);
    memcpy(copy, value, numbers->n * sizeof(*copy));
    w->b->list[w->b->n_lists++] = copy;
    numbers->value = copy;
    return 0;
}

static int fill_one(const struct work *w, const struct weir_param *p)
{
    const struct node *params = w->analyzer->params;
    const struct node *node = !params                     ? NULL
                              : params->kind == NODE_MAP  ? node_get(params, p->name)
                              : p == plugin_of(w)->params ? params
                                                          : NULL;
    if (!node && p->flags & WEIR_REQUIRED)
        return node_error(w->analyzer->node, w->error,
                          "analyzer '%s' needs the parameter '%s' (%s)",
                          plugin_of(w)->name, p->name, p->help);
    int err = node ? params_store(p, node, w->b->config, w->error)
                   : params_store_default(p, w->b->config, w->error);
    if (!err && p->type == WEIR_PARAM_NUMBERS)
        return keep_numbers(w, p, node);
    if (!err && !node && p->flags & WEIR_ALL)
        return bind_all(w, p);
    if (!node)
        node = w->analyzer->node;
    if (!err && p->type == WEIR_PARAM_COLUMNS)
        return bind_columns(w, p, node);
    if (!err && (p->type == WEIR_PARAM_STRING || p->type == WEIR_PARAM_COLUMN))
        err = keep_member(w, p);
    if (!err && p->type == WEIR_PARAM_COLUMN)
        err = bind_column(w, p, text_of(w->b, p), node);
    return err;
}

static int fill_params(const struct work *w)
{
    int err = check_keys(w);
    const struct weir_param *p = plugin_of(w)->params;
    for (; !err && p && p->name; p++)
        err = fill_one(w, p);
    return err;
}

/* ---- Answers of other services ---- */

static int check_async(const struct work *w)
{
    const struct weir_analyzer *a = plugin_of(w);
    const struct node *item = w->analyzer->node;
    const struct node *run = item->kind == NODE_MAP ? node_get(item, "run") : NULL;
    if (a->async && !w->analyzer->async)
        return node_error(run ? run : item, w->error,
                          "analyzer '%s' asks other services: it needs 'run: async'",
                          a->name);
    if (!a->async && w->analyzer->async)
        return node_error(
            run ? run : item, w->error,
            "'run: async' is for analyzers that have an asynchronous part, "
            "and '%s' has none: 'run' is 'thread' or 'process'; an 'async "
            "def' of Python, 'http_lookup' and 'webhook' wait for others "
            "without it",
            a->name);
    return 0;
}

/* Inputs, of which it is not known yet where they come from. */
static int add_answers(const struct work *w)
{
    struct binding *b = w->b;
    const struct weir_output *o = plugin_of(w)->async->answers;
    size_t n = count_outputs(o);
    if (!(b->answer = calloc(n, sizeof(*b->answer))))
        return out_of_memory(w);
    for (size_t i = 0; i < n; i++) {
        b->answer[i] =
            (struct binding_cell){.type = (enum weir_type)o[i].type, .output = (int)i};
        b->input[b->n_inputs] = -1;
        b->types[b->n_inputs++] = o[i].type;
    }
    b->n_answers = n;
    return 0;
}

void binding_answers_at(struct binding *b, size_t first)
{
    for (size_t i = 0; i < b->n_answers; i++)
        b->input[b->n_inputs - b->n_answers + i] = (int)(first + i);
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
/* `single`: it is the only one, and `as` is its name. */
static int expand_name(const struct work *w, const char *pattern, bool single,
                       char name[BINDING_NAME_MAX + 1])
{
    size_t used = 0;
    const char *as = plugin_of(w)->flags & WEIR_MANY_ROWS ? NULL : w->b->as;
    char piece[256];
    if (as)
        used = (size_t)snprintf(name, BINDING_NAME_MAX + 1, single ? "%s" : "%s_", as);
    if (as && single)
        pattern = "";
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
        return fault(
            w, "the output column '%.40s...' of '%s' has a name of more than %d bytes",
            name, plugin_of(w)->name, BINDING_NAME_MAX);
    if (!good_output_name(name))
        return fault(w, "'%s' cannot be the name of an output column of '%s'", name,
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

/* Of an input that is given: the loader has checked that of a table, not what open describes. */
static int type_of(const struct work *w, const struct weir_output *o,
                   enum weir_type *ret)
{
    uint32_t type = o->type, k = o->type - WEIR_SAME_AS(0);
    if (o->type >= WEIR_SAME_AS(0))
        type = k < w->b->n_inputs ? w->b->types[k] : 0;
    if (!type)
        return fault(w, "output '%s' takes its type from an input that is not given",
                     o->name);
    *ret = (enum weir_type)type;
    return 0;
}

static int add_output(const struct work *w, const struct weir_output *o,
                      enum weir_type type, bool single)
{
    struct binding *b = w->b;
    char name[BINDING_NAME_MAX + 1];
    int err = expand_name(w, o->name, single, name);
    if (err)
        return err;
    for (size_t i = 0; i < b->n_outputs; i++)
        if (strcasecmp(b->output[i].name, name) == 0)
            return fault(w, "two output columns of '%s' would be called '%s'",
                         plugin_of(w)->name, name);
    struct binding_output *to = &b->output[b->n_outputs++];
    *to = (struct binding_output){
        .name = strdup(name), .help = strdup(o->help), .type = type};
    return to->name && to->help ? 0 : out_of_memory(w);
}

static int add_outputs(const struct work *w, const struct weir_output *o)
{
    struct binding *b = w->b;
    b->n_cells = count_outputs(o);
    b->cell = calloc(b->n_cells, sizeof(*b->cell));
    b->output = calloc(b->n_cells, sizeof(*b->output));
    if (!b->cell || !b->output)
        return out_of_memory(w);
    size_t n_wanted = 0;
    for (size_t i = 0; i < b->n_cells; i++)
        n_wanted += is_wanted(w, &o[i]);
    for (size_t i = 0; i < b->n_cells; i++) {
        struct binding_cell *c = &b->cell[i];
        c->output = is_wanted(w, &o[i]) ? (int)b->n_outputs : -1;
        int err = type_of(w, &o[i], &c->type);
        if (!err && c->output >= 0)
            err = add_output(w, &o[i], c->type, n_wanted == 1);
        if (err)
            return err;
    }
    return b->n_outputs ? 0
                        : fault(w, "analyzer '%s' is left without any output column",
                                plugin_of(w)->name);
}

static void free_outputs(struct binding *b)
{
    for (size_t i = 0; i < b->n_outputs; i++) {
        free(b->output[i].name);
        free(b->output[i].help);
    }
    free(b->output);
    free(b->cell);
}

bool binding_same_outputs(const struct binding *a, const struct binding *b)
{
    if (a->n_cells != b->n_cells || a->n_outputs != b->n_outputs)
        return false;
    for (size_t i = 0; i < a->n_cells; i++)
        if (a->cell[i].type != b->cell[i].type ||
            a->cell[i].output != b->cell[i].output)
            return false;
    for (size_t i = 0; i < a->n_outputs; i++)
        if (strcmp(a->output[i].name, b->output[i].name) != 0)
            return false;
    return true;
}

int binding_describe(struct binding *b, const struct weir_output *outputs,
                     struct error *error)
{
    struct binding other = *b;
    const struct work w = {.b = &other, .error = error};
    void *table;
    other.n_cells = other.n_outputs = 0;
    other.cell = NULL;
    other.output = NULL;
    int err =
        outputs_copy_table(outputs, b->plugin->output_size, sizeof(struct weir_output),
                           OUTPUTS_MAX, "outputs", &table, error);
    if (err)
        return err;
    err = outputs_check(&b->plugin->analyzer, table, true, error);
    if (!err)
        err = add_outputs(&w, table);
    free(table);
    if (!err && !b->n_cells) {
        *b = other;
        return 0;
    }
    if (!err && !binding_same_outputs(b, &other))
        err = error_set(error, -EINVAL,
                        "it describes other outputs than when it was first opened");
    free_outputs(&other);
    return err;
}

bool binding_has_good_outputs(const struct binding *b)
{
    size_t next = 0;
    for (size_t i = 0; i < b->n_cells; i++) {
        const struct binding_cell *c = &b->cell[i];
        if (c->type < WEIR_INT || c->type > WEIR_TIME || c->output < -1 ||
            (c->output >= 0 && (size_t)c->output != next++))
            return false;
        if (c->output >= 0 &&
            (next > b->n_outputs || b->output[c->output].type != c->type))
            return false;
    }
    for (size_t i = 0; i < b->n_outputs; i++) {
        const char *name = b->output[i].name;
        if (!good_output_name(name) || strlen(name) > BINDING_NAME_MAX)
            return false;
        for (size_t k = 0; k < i; k++)
            if (strcasecmp(b->output[k].name, name) == 0)
                return false;
    }
    return next > 0 && next == b->n_outputs;
}

int binding_form(struct binding *b, const char *text, struct error *error)
{
    if (strchr(text, '\n'))
        return error_set(error, -EINVAL, "the form of its states has several lines");
    if (b->form && strcmp(b->form, text) != 0)
        return error_set(error, -EINVAL,
                         "it says another form of its states than when it was first "
                         "opened");
    if (!b->form && !(b->form = strdup(text)))
        return error_set(error, -ENOMEM, "out of memory");
    return 0;
}

/* ---- Files ---- */

/* Of what cannot be read 0: who reads it says why. */
static uint64_t hash_file(const char *path)
{
    char piece[65536];
    struct stat st;
    uint64_t hash = 0;
    ssize_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return 0;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        while ((n = read(fd, piece, sizeof(piece))) > 0)
            hash = hash_u64(hash + 1) ^ hash_bytes(piece, (size_t)n);
    close(fd);
    return n < 0 ? 0 : hash;
}

static uint64_t hash_files(const struct binding *b)
{
    const struct weir_param *p = b->plugin->analyzer.params;
    uint64_t hash = 0;
    for (; p && p->name; p++)
        if (p->flags & WEIR_FILE && text_of(b, p))
            hash = hash_u64(hash) ^ hash_file(text_of(b, p));
    return hash;
}

bool binding_is_stale(const struct binding *b)
{
    return hash_files(b) != b->files;
}

/* ---- */

int binding_new(struct plugins *plugins, const struct config_analyzer *analyzer,
                const struct schema *schema, const bool *is_key, struct binding **ret,
                struct error *error)
{
    struct work w = {.analyzer = analyzer,
                     .node = analyzer->node,
                     .schema = schema,
                     .is_key = is_key,
                     .error = error};
    w.b = calloc(1, sizeof(*w.b));
    if (!w.b)
        return out_of_memory(&w);
    struct error why = {0};
    int err = plugins_get(plugins, analyzer->plugin, &w.b->plugin, &why);
    if (err)
        node_error(analyzer->node, error, "%s", why.text);
    if (!err)
        err = check_async(&w);
    if (!err)
        err = allocate(&w);
    if (!err)
        err = fill_params(&w);
    if (!err && plugin_of(&w)->async)
        err = add_answers(&w);
    if (!err && plugin_of(&w)->outputs)
        err = add_outputs(&w, plugin_of(&w)->outputs);
    if (err) {
        binding_free(w.b);
        return err;
    }
    w.b->files = hash_files(w.b);
    *ret = w.b;
    return 0;
}

void binding_free(struct binding *b)
{
    if (!b)
        return;
    free_outputs(b);
    for (size_t i = 0; i < b->n_strings; i++)
        free(b->string[i]);
    for (size_t i = 0; i < b->n_lists; i++)
        free(b->list[i]);
    free(b->string);
    free(b->list);
    free(b->as);
    free(b->form);
    free(b->config);
    free(b->input);
    free(b->types);
    free(b->dictionary);
    free(b->left_out);
    free(b->answer);
    free(b);
}
