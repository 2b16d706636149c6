/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameter tables of plugins.
 */
#include "plugin/params.h"
#include "batch/schema.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *params_type_name(uint32_t type)
{
    static const char *const name[] = {"?",      "int", "float",  "bool",    "string",
                                       "choice", "set", "column", "columns", "numbers"};
    return type < sizeof(name) / sizeof(*name) ? name[type] : "?";
}

bool params_word(const char *choices, size_t k, char word[PARAMS_WORD])
{
    const char *at = choices + strspn(choices, " ");
    for (; k > 0 && *at; k--) {
        at += strcspn(at, " ");
        at += strspn(at, " ");
    }
    size_t size = strcspn(at, " ");
    if (size == 0)
        return false;
    if (size >= PARAMS_WORD)
        size = PARAMS_WORD - 1;
    memcpy(word, at, size);
    word[size] = 0;
    return true;
}

int params_word_find(const char *choices, const char *word)
{
    char other[PARAMS_WORD];
    for (size_t k = 0; params_word(choices, k, other); k++)
        if (strcmp(word, other) == 0)
            return (int)k;
    return -1;
}

size_t params_words(const char *words)
{
    char word[PARAMS_WORD];
    size_t n = 0;
    while (words && params_word(words, n, word))
        n++;
    return n;
}

void params_types_text(uint32_t types, char *text, size_t room)
{
    size_t used = 0;
    text[0] = 0;
    for (uint32_t t = WEIR_INT; t <= WEIR_TIME && used < room; t++)
        if (types & WEIR_TYPES(t))
            used += (size_t)snprintf(text + used, room - used, "%s%s", used ? ", " : "",
                                     schema_type_name((enum weir_type)t));
}

/* ---- Is a table sound? ---- */

static bool good_name(const char *s)
{
    if (!s || !islower((unsigned char)*s) || strlen(s) > 63)
        return false;
    return s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_")] == 0;
}

static size_t member_size(uint32_t type)
{
    switch (type) {
    case WEIR_PARAM_INT:
        return sizeof(int64_t);
    case WEIR_PARAM_FLOAT:
        return sizeof(double);
    case WEIR_PARAM_BOOL:
    case WEIR_PARAM_CHOICE:
    case WEIR_PARAM_SET:
        return sizeof(int);
    case WEIR_PARAM_COLUMNS:
        return sizeof(struct weir_columns);
    case WEIR_PARAM_NUMBERS:
        return sizeof(struct weir_numbers);
    default:
        return sizeof(char *);
    }
}

static int check_words(const struct weir_param *p, struct error *error)
{
    size_t n = params_words(p->choices);
    if (n == 0)
        return error_set(error, -EINVAL, "parameter '%s' has no choices", p->name);
    if (n > 32)
        return error_set(error, -EINVAL,
                         "parameter '%s' has %zu choices, the limit is 32", p->name, n);
    return 0;
}

/* The types of columns that a parameter takes; that there are none of some yet is no fault. */
static int check_types(const struct weir_param *p, struct error *error)
{
    const uint32_t known = (WEIR_TYPES(WEIR_STRUCT + 1) - 1) & ~WEIR_TYPES(0);
    if (!p->column_types)
        return error_set(error, -EINVAL, "parameter '%s' takes columns of no type",
                         p->name);
    if (p->column_types & ~known)
        return error_set(error, -EINVAL,
                         "parameter '%s' takes columns of the unknown types 0x%x",
                         p->name, p->column_types & ~known);
    if (p->type == WEIR_PARAM_COLUMNS && p->init)
        return error_set(error, -EINVAL,
                         "parameter '%s': a list of columns has no default", p->name);
    return 0;
}

#define ASKED_TYPES                                                                    \
    (WEIR_TYPES(WEIR_STRING) | WEIR_TYPES(WEIR_INT) | WEIR_TYPES(WEIR_BOOL))

static int check_one(const struct weir_param *p, size_t config_size,
                     struct error *error)
{
    if (!good_name(p->name))
        return error_set(error, -EINVAL,
                         "'%.63s' is not a parameter name ([a-z][a-z0-9_]*)", p->name);
    if (p->type < WEIR_PARAM_INT || p->type > WEIR_PARAM_NUMBERS)
        return error_set(error, -EINVAL, "parameter '%s' has the unknown type %u",
                         p->name, p->type);
    if (p->flags &
        ~(WEIR_REQUIRED | WEIR_DICTIONARY | WEIR_ALL | WEIR_FILE | WEIR_ASKED))
        return error_set(error, -EINVAL, "parameter '%s' has the unknown flags 0x%x",
                         p->name, p->flags);
    if (p->flags & WEIR_ALL &&
        (p->type != WEIR_PARAM_COLUMNS || p->flags & WEIR_REQUIRED))
        return error_set(
            error, -EINVAL,
            "parameter '%s': WEIR_ALL is for columns that need not be given", p->name);
    if (p->flags & WEIR_FILE && p->type != WEIR_PARAM_STRING)
        return error_set(error, -EINVAL,
                         "parameter '%s': WEIR_FILE is for strings, paths of files",
                         p->name);
    if (p->flags & WEIR_ASKED &&
        (p->type != WEIR_PARAM_COLUMN || !(p->flags & WEIR_REQUIRED) ||
         p->column_types & ~ASKED_TYPES))
        return error_set(error, -EINVAL,
                         "parameter '%s': WEIR_ASKED is for a column of string, int or "
                         "bool that must be given (WEIR_REQUIRED)",
                         p->name);
    size_t size = member_size(p->type), align = size < 8 ? size : 8;
    if (p->offset > config_size || size > config_size - p->offset || p->offset % align)
        return error_set(error, -EINVAL,
                         "parameter '%s' (%zu bytes at %zu) does not lie in the config "
                         "struct of %zu bytes",
                         p->name, size, p->offset, config_size);
    if (!p->help)
        return error_set(error, -EINVAL, "parameter '%s' has no help line", p->name);
    if (p->type == WEIR_PARAM_CHOICE || p->type == WEIR_PARAM_SET)
        return check_words(p, error);
    if (p->type == WEIR_PARAM_COLUMN || p->type == WEIR_PARAM_COLUMNS)
        return check_types(p, error);
    return 0;
}

int params_check(const struct weir_param *params, size_t config_size,
                 struct error *error)
{
    uint64_t scratch[4096 / sizeof(uint64_t)];
    bool have_set = false;
    for (size_t i = 0; params && params[i].name; i++) {
        if (i == PARAMS_MAX)
            return error_set(error, -EINVAL, "more than %d parameters", PARAMS_MAX);
        int err = check_one(&params[i], config_size, error);
        if (err)
            return err;
        for (size_t k = 0; k < i; k++)
            if (strcmp(params[k].name, params[i].name) == 0)
                return error_set(error, -EINVAL,
                                 "parameter '%s' stands twice in its table",
                                 params[i].name);
        if (params[i].type == WEIR_PARAM_SET && have_set)
            return error_set(error, -EINVAL, "'%s' is the second parameter of type set",
                             params[i].name);
        have_set |= params[i].type == WEIR_PARAM_SET;
        err = params_store_default(&params[i], scratch, error);
        if (err)
            return err;
    }
    return 0;
}

/* ---- Values ---- */

static void *member(const struct weir_param *p, void *config)
{
    return (char *)config + p->offset;
}

/* 2^63 as a double is one more than an int64 holds, hence `<`. */
static bool in_range(const struct weir_param *p, double v)
{
    return (p->min == 0 && p->max == 0) || (v >= p->min && v <= p->max);
}

static int out_of_range(const struct weir_param *p, const struct node *node,
                        struct error *error)
{
    return node_error(node, error, "'%s' is %s, but goes from %.15g to %.15g", p->name,
                      node->text, p->min, p->max);
}

static int store_int(const struct weir_param *p, const struct node *node, void *config,
                     struct error *error)
{
    int64_t v;
    int err = node_int(node, INT64_MIN, INT64_MAX, &v, error);
    if (err)
        return err;
    if (!in_range(p, (double)v))
        return out_of_range(p, node, error);
    *(int64_t *)member(p, config) = v;
    return 0;
}

static int read_float(const struct weir_param *p, const struct node *node, double *ret,
                      struct error *error)
{
    double v;
    int err = node_float(node, &v, error);
    if (err)
        return err;
    if (!isfinite(v))
        return node_error(node, error, "'%s' is not a finite number", p->name);
    if (!in_range(p, v))
        return out_of_range(p, node, error);
    *ret = v;
    return 0;
}

static int store_bool(const struct weir_param *p, const struct node *node, void *config,
                      struct error *error)
{
    bool v;
    int err = node_bool(node, &v, error);
    if (!err)
        *(int *)member(p, config) = v;
    return err;
}

static int find_word(const struct weir_param *p, const struct node *node,
                     const char *text, struct error *error)
{
    int k = params_word_find(p->choices, text);
    if (k >= 0)
        return k;
    char words[32][PARAMS_WORD];
    const char *list[32];
    size_t n = 0;
    while (n < 32 && params_word(p->choices, n, words[n])) {
        list[n] = words[n];
        n++;
    }
    node_error(node, error, "'%s' cannot be '%s', only one of: %s", p->name, text,
               p->choices);
    node_suggest(error, text, list, n);
    return -EINVAL;
}

static int store_choice(const struct weir_param *p, const struct node *node,
                        void *config, struct error *error)
{
    if (node->kind != NODE_SCALAR)
        return node_error(node, error, "'%s' is one of: %s", p->name, p->choices);
    int k = find_word(p, node, node->text, error);
    if (k < 0)
        return k;
    *(int *)member(p, config) = k;
    return 0;
}

static int add_word(const struct weir_param *p, const struct node *node,
                    const char *text, uint32_t *set, struct error *error)
{
    int k = find_word(p, node, text, error);
    if (k < 0)
        return k;
    if (*set & 1u << k)
        return node_error(node, error, "'%s' names '%s' twice", p->name, text);
    *set |= 1u << k;
    return 0;
}

/* A scalar of words with commas or spaces between them. */
static int scalar_set(const struct weir_param *p, const struct node *node,
                      uint32_t *set, struct error *error)
{
    for (const char *at = node->text; *(at += strspn(at, ", "));) {
        size_t size = strcspn(at, ", ");
        char word[PARAMS_WORD];
        snprintf(word, sizeof(word), "%.*s", (int)size, at);
        int err = add_word(p, node, word, set, error);
        if (err)
            return err;
        at += size;
    }
    return 0;
}

static int list_set(const struct weir_param *p, const struct node *node, uint32_t *set,
                    struct error *error)
{
    for (size_t i = 0; i < node->n; i++) {
        const struct node *item = &node->item[i];
        if (item->kind != NODE_SCALAR)
            return node_error(item, error, "'%s' is a list of words: %s", p->name,
                              p->choices);
        int err = add_word(p, item, item->text, set, error);
        if (err)
            return err;
    }
    return 0;
}

static int store_set(const struct weir_param *p, const struct node *node, void *config,
                     struct error *error)
{
    uint32_t set = 0;
    if (node->kind == NODE_MAP)
        return node_error(node, error, "'%s' is a list of words: %s", p->name,
                          p->choices);
    int err = node->kind == NODE_LIST ? list_set(p, node, &set, error)
                                      : scalar_set(p, node, &set, error);
    if (err)
        return err;
    if (set == 0)
        return node_error(node, error, "'%s' is empty; it takes one or more of: %s",
                          p->name, p->choices);
    *(uint32_t *)member(p, config) = set;
    return 0;
}

static int store_text(const struct weir_param *p, const struct node *node, void *config,
                      struct error *error)
{
    if (node->kind != NODE_SCALAR)
        return node_error(node, error, "'%s' is a %s, not a list or map", p->name,
                          p->type == WEIR_PARAM_COLUMN ? "column's name" : "string");
    *(const char **)member(p, config) = node->text;
    return 0;
}

/* A list of names, or one alone. */
static int store_columns(const struct weir_param *p, const struct node *node,
                         void *config, struct error *error)
{
    bool one = node->kind == NODE_SCALAR;
    if (node->kind == NODE_MAP || (!one && node->n == 0))
        return node_error(node, error, "'%s' is a list of columns' names", p->name);
    for (size_t i = 0; !one && i < node->n; i++) {
        if (node->item[i].kind != NODE_SCALAR)
            return node_error(&node->item[i], error, "'%s' is a list of columns' names",
                              p->name);
        for (size_t k = 0; k < i; k++)
            if (strcmp(node->item[k].text, node->item[i].text) == 0)
                return node_error(&node->item[i], error, "'%s' names '%s' twice",
                                  p->name, node->item[i].text);
    }
    ((struct weir_columns *)member(p, config))->n = one ? 1 : (uint32_t)node->n;
    return 0;
}

static int add_number(const struct weir_param *p, const struct node *node,
                      double *value, size_t *n, struct error *error)
{
    if (node->kind != NODE_SCALAR)
        return node_error(node, error, "'%s' is a list of numbers", p->name);
    if (*n == PARAMS_NUMBERS)
        return node_error(node, error, "'%s' has more than %d numbers", p->name,
                          PARAMS_NUMBERS);
    int err = read_float(p, node, &value[*n], error);
    *n += !err;
    return err;
}

/* A scalar of numbers with commas or spaces between them. */
static int scalar_numbers(const struct weir_param *p, const struct node *node,
                          double *value, size_t *n, struct error *error)
{
    int err = 0;
    for (const char *at = node->text; !err && *(at += strspn(at, ", "));) {
        size_t size = strcspn(at, ", ");
        char word[PARAMS_WORD];
        struct node one = *node;
        if (size >= sizeof(word))
            return node_error(node, error, "'%s' is a list of numbers", p->name);
        snprintf(word, sizeof(word), "%.*s", (int)size, at);
        one.text = word;
        err = add_number(p, &one, value, n, error);
        at += size;
    }
    return err;
}

int params_numbers(const struct weir_param *p, const struct node *node, double *value,
                   size_t *ret_n, struct error *error)
{
    const struct node init = {.kind = NODE_SCALAR,
                              .file = "default",
                              .text = (char *)(uintptr_t)(p->init ? p->init : "")};
    size_t n = 0;
    int err = 0;
    if (!node)
        node = &init;
    if (node->kind == NODE_MAP)
        return node_error(node, error, "'%s' is a list of numbers", p->name);
    if (node->kind == NODE_SCALAR)
        err = scalar_numbers(p, node, value, &n, error);
    for (size_t i = 0; !err && node->kind == NODE_LIST && i < node->n; i++)
        err = add_number(p, &node->item[i], value, &n, error);
    if (!err && n == 0 && node != &init)
        err =
            node_error(node, error, "'%s' is empty; it is a list of numbers", p->name);
    if (!err)
        *ret_n = n;
    return err;
}

static int store_numbers(const struct weir_param *p, const struct node *node,
                         void *config, struct error *error)
{
    double value[PARAMS_NUMBERS];
    return params_numbers(p, node, value,
                          &((struct weir_numbers *)member(p, config))->n, error);
}

int params_store(const struct weir_param *p, const struct node *node, void *config,
                 struct error *error)
{
    switch (p->type) {
    case WEIR_PARAM_INT:
        return store_int(p, node, config, error);
    case WEIR_PARAM_FLOAT:
        return read_float(p, node, member(p, config), error);
    case WEIR_PARAM_BOOL:
        return store_bool(p, node, config, error);
    case WEIR_PARAM_CHOICE:
        return store_choice(p, node, config, error);
    case WEIR_PARAM_SET:
        return store_set(p, node, config, error);
    case WEIR_PARAM_COLUMNS:
        return store_columns(p, node, config, error);
    case WEIR_PARAM_NUMBERS:
        return store_numbers(p, node, config, error);
    default:
        return store_text(p, node, config, error);
    }
}

int params_store_default(const struct weir_param *p, void *config, struct error *error)
{
    if (!p->init) {
        memset(member(p, config), 0, member_size(p->type));
        return 0;
    }
    /* Text parameters keep the pointer, which is the plugin's own constant. */
    struct node node = {
        .kind = NODE_SCALAR, .file = "default", .text = (char *)(uintptr_t)p->init};
    return params_store(p, &node, config, error);
}

/* ---- JSON Schema ------------------------------------------------------------------------------- */

static void words_schema(const struct weir_param *p, struct buffer *to)
{
    char word[PARAMS_WORD];
    buffer_puts(to, "{\"enum\":[");
    for (size_t k = 0; params_word(p->choices, k, word); k++) {
        buffer_puts(to, k ? "," : "");
        buffer_put_json_string(to, word, strlen(word));
    }
    buffer_puts(to, "]}");
}

/* Of int, float: a number in its range. */
static void number_schema(const struct weir_param *p, const char *type,
                          struct buffer *to)
{
    buffer_printf(to, "{\"type\":\"%s\"", type);
    if (p->min != 0 || p->max != 0)
        buffer_printf(to, ",\"minimum\":%.15g,\"maximum\":%.15g", p->min, p->max);
    buffer_putc(to, '}');
}

static void value_schema(const struct weir_param *p, struct buffer *to)
{
    static const char text[] = "{\"$ref\":\"#/$defs/text\"}";
    switch (p->type) {
    case WEIR_PARAM_INT:
        number_schema(p, "integer", to);
        break;
    case WEIR_PARAM_FLOAT:
        number_schema(p, "number", to);
        break;
    case WEIR_PARAM_BOOL:
        buffer_puts(to, "{\"$ref\":\"#/$defs/truth\"}");
        break;
    case WEIR_PARAM_CHOICE:
        words_schema(p, to);
        break;
    case WEIR_PARAM_SET: /* a list, or words with commas between them */
        buffer_puts(
            to, "{\"type\":\"array\",\"minItems\":1,\"uniqueItems\":true,\"items\":");
        words_schema(p, to);
        buffer_puts(to, "},{\"type\":\"string\"}");
        break;
    case WEIR_PARAM_COLUMNS:
        buffer_printf(to, "%s,{\"type\":\"array\",\"minItems\":1,\"items\":%s}", text,
                      text);
        break;
    case WEIR_PARAM_NUMBERS:
        number_schema(p, "number", to);
        buffer_puts(
            to, ",{\"type\":\"string\"},{\"type\":\"array\",\"minItems\":1,\"items\":");
        number_schema(p, "number", to);
        buffer_putc(to, '}');
        break;
    default:
        buffer_puts(to, text);
    }
}

void params_schema(const struct weir_param *params, const char *more, struct buffer *to)
{
    const char *before = "";
    buffer_printf(to,
                  "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[");
    for (const struct weir_param *p = params; p && p->name; p++)
        if (p->flags & WEIR_REQUIRED) {
            buffer_printf(to, "%s\"%s\"", before, p->name);
            before = ",";
        }
    buffer_printf(to, "],\"properties\":{%s", more);
    for (const struct weir_param *p = params; p && p->name; p++) {
        buffer_printf(to, "\"%s\":{\"description\":", p->name);
        buffer_put_json_string(to, p->help, strlen(p->help));
        if (p->init) {
            buffer_puts(to, ",\"default\":");
            buffer_put_json_string(to, p->init, strlen(p->init));
        }
        buffer_puts(to, ",\"anyOf\":[");
        value_schema(p, to);
        buffer_puts(to, ",{\"$ref\":\"#/$defs/variable\"}]}");
        buffer_puts(to, p[1].name ? "," : "");
    }
    if (to->size && to->data[to->size - 1] == ',')
        to->size--; /* behind `more`, where there are no parameters */
    buffer_puts(to, "}}");
}
