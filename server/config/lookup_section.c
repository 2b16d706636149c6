/* SPDX-License-Identifier: Apache-2.0
 *
 * `http_lookup:` of a pipeline: columns that another service knows, asked for by the values of columns in the URL.
 */
#include "base/clock.h"
#include "config/fields.h"
#include "config/sections.h"
#include "decode/paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

struct reading {
    const struct schema *ours;
    const struct node *url, *columns;
};

static int out_of_memory(const struct node *n, struct error *error)
{
    return error_set(error, -ENOMEM, "%s: out of memory", n->file);
}

/* ---- url ----------------------------------------------------------------------------------------- */

/* The column is one of those that are asked by, from now on at the latest. */
static int find_on(const struct node *n, const char *name, struct config_lookup *l,
                   const struct schema *s, size_t *ret, struct error *error)
{
    const char *names[SCHEMA_COLUMNS_MAX];
    int column = schema_find(s, name);
    for (size_t i = 0; i < s->n; i++)
        names[i] = s->column[i].name;
    if (column < 0) {
        node_error(n, error, "the stream has no field '%s'", name);
        node_suggest(error, name, names, s->n);
        return -EINVAL;
    }
    enum weir_type type = s->column[column].type;
    if (type == WEIR_FLOAT || type == WEIR_TIME)
        return node_error(
            n, error, "'%s' is a %s: what is asked for is named by string, int or bool",
            name, schema_type_name(type));
    size_t i = 0;
    while (i < l->n_on && l->on[i] != (size_t)column)
        i++;
    if (i == CONFIG_LOOKUP_ON_MAX)
        return node_error(n, error, "a URL has at most %d fields",
                          CONFIG_LOOKUP_ON_MAX);
    if (i == l->n_on)
        l->on[l->n_on++] = (size_t)column;
    *ret = i;
    return 0;
}

/* Text, and the field behind it. *at moves behind both. */
static int read_part(const struct node *n, const char **at, struct config_lookup *l,
                     const struct schema *s, struct error *error)
{
    struct config_lookup_part *p = &l->part[l->n_parts++];
    const char *open = strchr(*at, '{'), *close = open ? strchr(open, '}') : NULL;
    p->on = SIZE_MAX;
    p->text = open ? strndup(*at, (size_t)(open - *at)) : strdup(*at);
    if (!p->text)
        return out_of_memory(n, error);
    if (!open) {
        *at += strlen(*at);
        return 0;
    }
    if (!close)
        return node_error(n, error, "'{' without '}' in the URL");
    char *name = strndup(open + 1, (size_t)(close - open - 1));
    if (!name)
        return out_of_memory(n, error);
    int r = find_on(n, name, l, s, &p->on, error);
    free(name);
    *at = close + 1;
    return r;
}

/* Events decide what is asked for, never who is asked. */
static int parse_url(const struct node *n, struct config_lookup *l,
                     const struct schema *s, struct error *error)
{
    size_t parts = 1;
    for (const char *c = l->url; *c; c++)
        parts += *c == '{';
    if (!(l->part = calloc(parts, sizeof(*l->part))))
        return out_of_memory(n, error);
    int r = 0;
    for (const char *at = l->url; r == 0 && *at;)
        r = read_part(n, &at, l, s, error);
    if (r < 0)
        return r;
    const char *host = strstr(l->part[0].text, "://");
    if (!section_is_url(l->url) || !host || (l->n_on && !strpbrk(host + 3, "/?")))
        return node_error(
            n, error,
            "expected a URL such as http://127.0.0.1:8080/users/{user}, http "
            "or https, with fields of the stream behind the host");
    return l->n_on ? 0
                   : node_error(n, error,
                                "the URL names no field of the stream, such as {user}: "
                                "what is the same for all events is not looked up");
}

static int read_url(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_lookup *l = target;
    struct reading *r = ctx;
    r->url = n;
    return fields_text(n, &l->url, error);
}

/* ---- The other keys ------------------------------------------------------------------------------ */

static int read_columns(const struct node *n, void *target, void *ctx,
                        struct error *error)
{
    struct reading *r = ctx;
    (void)target;
    if (n->kind != NODE_MAP || n->n < 1 || n->n > CONFIG_LOOKUP_COLUMNS_MAX)
        return node_error(
            n, error,
            "1 to %d columns are expected here, such as {country: string, "
            "tier: {path: account.tier, type: int}}",
            CONFIG_LOOKUP_COLUMNS_MAX);
    r->columns = n;
    return 0;
}

static int read_headers(const struct node *n, void *target, void *ctx,
                        struct error *error)
{
    static const char *const own[] = {"content-length", "transfer-encoding",
                                      "connection", "expect", NULL};
    struct config_lookup *l = target;
    (void)ctx;
    return section_headers(n, own, &l->header, &l->n_headers, error);
}

static int read_where(const struct node *n, void *target, void *ctx,
                      struct error *error)
{
    struct config_lookup *l = target;
    (void)ctx;
    l->where_node = n;
    return fields_text(n, &l->where, error);
}

static const char *const error_word[] = {"null", "stop", "drop"};

/* YAML's own null is meant as the word. */
static int read_on_error(const struct node *n, void *target, void *ctx,
                         struct error *error)
{
    struct config_lookup *l = target;
    (void)ctx;
    int r = node_is_null(n) ? CONFIG_NULL_ON_ERROR
                            : node_word(n, error_word, COUNT(error_word), error);
    if (r < 0)
        return r;
    l->on_error = (enum config_on_error)r;
    return 0;
}

#define AT(member) offsetof(struct config_lookup, member)

/* clang-format off */
#define LIMITS \
    {"where", FIELD_CALL, .read = read_where, .schema = FIELD_SCHEMA_TEXT}, \
    {"timeout", FIELD_DURATION, .offset = AT(timeout_us), .min = 10000, \
     .max = 600 * SECOND_US, .init = 2 * SECOND_US}, \
    {"retries", FIELD_UNSIGNED, .offset = AT(retries), .min = 0, .max = 1000, \
     .init = 3}, \
    {"backoff", FIELD_DURATION, .offset = AT(backoff_us), .min = 1000, \
     .max = 600 * SECOND_US, .init = SECOND_US / 10}, \
    {"max_backoff", FIELD_DURATION, .offset = AT(max_backoff_us), .min = 1000, \
     .max = 3600 * SECOND_US, .init = 5 * SECOND_US}, \
    {"break_after", FIELD_UNSIGNED, .offset = AT(break_after), .min = 1, .max = 1000000, \
     .init = 20}, \
    {"in_flight", FIELD_UNSIGNED, .offset = AT(in_flight), .min = 1, .max = 10000, \
     .init = 100}, \
    {"cache_ttl", FIELD_DURATION, .offset = AT(cache_ttl_us), .min = 0, \
     .max = 366 * DAY_US, .init = 300 * SECOND_US}, \
    {"cache_size", FIELD_SIZE, .offset = AT(cache_size), .min = 0, \
     .max = INT64_C(1) << 40, .init = 64 << 20}
/* clang-format on */

static const struct field lookup_fields[] = {
    {"url", FIELD_CALL, .required = true, .read = read_url,
     .schema = FIELD_SCHEMA_TEXT},
    {"columns", FIELD_CALL, .required = true, .read = read_columns,
     .schema = "{\"$ref\":\"#/$defs/fields\"}"},
    {"headers", FIELD_CALL, .read = read_headers,
     .schema = "{\"type\":\"object\",\"maxProperties\":32,"
               "\"additionalProperties\":{\"$ref\":\"#/$defs/text\"}}"},
    {"ca_file", FIELD_TEXT, .offset = AT(ca_file)},
    {"on_error", FIELD_CALL, .read = read_on_error,
     .schema = "{\"enum\":[\"null\",\"stop\",\"drop\",null]}"},
    LIMITS,
};

void lookup_section_schema(struct buffer *to)
{
    fields_schema(lookup_fields, COUNT(lookup_fields), to);
}

/* ---- ask, of an analyzer ------------------------------------------------------------------------- */

static int read_ask_error(const struct node *n, void *target, void *ctx,
                          struct error *error)
{
    if (!node_is_null(n) && n->kind == NODE_SCALAR && strcmp(n->text, "drop") == 0)
        return node_error(
            n, error,
            "an event that one analyzer has no answer for is there for the "
            "others: 'on_error' is null or 'stop'");
    return read_on_error(n, target, ctx, error);
}

static const struct field ask_fields[] = {
    {"ca_file", FIELD_TEXT, .offset = AT(ca_file)},
    {"on_error", FIELD_CALL, .read = read_ask_error,
     .schema = "{\"enum\":[\"null\",\"stop\",null]}"},
    LIMITS,
};

void ask_section_schema(struct buffer *to)
{
    fields_schema(ask_fields, COUNT(ask_fields), to);
}

int ask_section(const struct node *map, struct config_lookup **ret, struct error *error)
{
    struct config_lookup *l = calloc(1, sizeof(*l));
    if (!l)
        return error_set(error, -ENOMEM, "out of memory");
    int r = fields_read(ask_fields, COUNT(ask_fields), map, "'ask'", l, NULL, error);
    if (r == 0 && l->backoff_us > l->max_backoff_us)
        r = node_error(map, error, "'backoff' is longer than 'max_backoff'");
    if (r < 0) {
        ask_section_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

void ask_section_free(struct config_lookup *l)
{
    if (!l)
        return;
    free(l->where);
    free(l->ca_file);
    free(l);
}

/* ---- Columns ------------------------------------------------------------------------------------- */

static int read_column(const struct node *key, const struct node *item,
                       struct config_lookup *l, size_t i, const struct schema *all,
                       struct error *error)
{
    enum weir_type type = WEIR_INT;
    const char *name;
    int r = node_name(key, &name, error);
    for (size_t k = 0; r == 0 && k < l->first + i; k++)
        if (strcasecmp(all->column[k].name, name) == 0)
            r = node_error(key, error,
                           "there is a column '%s' already; {OTHER_NAME: {path: %s, "
                           "type: ...}} gives this one another name",
                           all->column[k].name, name);
    if (r == 0)
        r = field_section(item, &type, &l->field[i + 1], error);
    if (r == 0 && l->field[i + 1].path && strstr(l->field[i + 1].path, "[*]"))
        r = node_error(item, error, "an answer is one row: its path names one element");
    if (r == 0 && schema_set(l->answer, i + 1, name, type) < 0)
        return out_of_memory(key, error);
    return r;
}

/* Behind those of the lookups before it. */
static int read_answer(const struct node *n, struct config_lookup *l,
                       const struct schema *before, struct schema **ret,
                       struct error *error)
{
    struct schema *all;
    if (before->n + n->n > SCHEMA_COLUMNS_MAX)
        return node_error(n, error, "there are more than %u columns with these",
                          SCHEMA_COLUMNS_MAX);
    if (!(l->field = calloc(n->n + 1, sizeof(*l->field))) ||
        schema_new(n->n + 1, ".time", &l->answer) < 0 ||
        schema_copy(before, before->n, n->n, &all) < 0)
        return out_of_memory(n, error);
    l->first = before->n;
    int r = 0;
    for (size_t i = 0; r == 0 && i < n->n; i++) {
        r = read_column(&n->key[i], &n->item[i], l, i, all, error);
        if (r == 0 && schema_set(all, l->first + i, l->answer->column[i + 1].name,
                                 l->answer->column[i + 1].type) < 0)
            r = out_of_memory(n, error);
    }
    if (r < 0) {
        schema_free(all);
        return r;
    }
    *ret = all;
    return 0;
}

static int make_paths(const struct node *n, struct config_lookup *l,
                      struct error *error)
{
    struct error why = {0};
    size_t column = 0;
    bool none = true;
    for (size_t i = 1; i < l->answer->n; i++)
        none = none && !l->field[i].path && !l->field[i].name;
    int r = none ? 0 : paths_new(l->answer, l->field, 1, &l->paths, &column, &why);
    if (r == -ENOMEM)
        return out_of_memory(n, error);
    return r < 0 ? node_error(&n->item[column - 1], error, "column '%s': %s",
                              l->answer->column[column].name, why.text)
                 : 0;
}

/* ---- The section --------------------------------------------------------------------------------- */

static int read_lookup(const struct node *name, const struct node *map,
                       struct config_lookup *l, const struct schema *ours,
                       struct config_lookups *all, struct error *error)
{
    struct reading reading = {.ours = ours};
    struct schema *joined = NULL;
    char what[SECTION_NAME_MAX + 32];
    const char *text;
    int r = section_name(name, "look-up", &text, error);
    if (r < 0)
        return r;
    l->node = name;
    if (!(l->name = strdup(text)))
        return out_of_memory(name, error);
    snprintf(what, sizeof what, "http_lookup '%s'", text);
    r = fields_read(lookup_fields, COUNT(lookup_fields), map, what, l, &reading, error);
    if (r == 0)
        r = parse_url(reading.url, l, ours, error);
    if (r == 0)
        r = read_answer(reading.columns, l, all->schema ? all->schema : ours, &joined,
                        error);
    if (r == 0) {
        schema_free(all->schema);
        all->schema = joined;
        r = make_paths(reading.columns, l, error);
    }
    if (r == 0 && l->backoff_us > l->max_backoff_us)
        r = node_error(map, error, "'backoff' is longer than 'max_backoff'");
    return r;
}

int lookup_sections(const struct node *n, const struct schema *schema,
                    struct config_lookups *ret, struct error *error)
{
    if (n->kind != NODE_MAP || n->n < 1 || n->n > CONFIG_LOOKUPS_MAX)
        return node_error(n, error,
                          "1 to %d services are expected here, such as {users: {url: "
                          "\"http://127.0.0.1:8080/users/{user}\", columns: {country: "
                          "string}}}",
                          CONFIG_LOOKUPS_MAX);
    if (!(ret->lookup = calloc(n->n, sizeof *ret->lookup)))
        return out_of_memory(n, error);
    int r = 0;
    for (size_t i = 0; r == 0 && i < n->n; i++)
        r = read_lookup(&n->key[i], &n->item[i], &ret->lookup[ret->n++], schema, ret,
                        error);
    return r;
}

static void lookup_free(struct config_lookup *l)
{
    for (size_t i = 0; i < l->n_parts; i++)
        free(l->part[i].text);
    for (size_t i = 0; l->field && l->answer && i < l->answer->n; i++)
        field_section_free(&l->field[i]);
    for (size_t i = 0; i < l->n_headers; i++)
        free(l->header[i]);
    paths_free(l->paths);
    schema_free(l->answer);
    free(l->field);
    free(l->header);
    free(l->part);
    free(l->name);
    free(l->url);
    free(l->where);
    free(l->ca_file);
}

void lookup_sections_free(struct config_lookups *l)
{
    for (size_t i = 0; i < l->n; i++)
        lookup_free(&l->lookup[i]);
    free(l->lookup);
    schema_free(l->schema);
}
