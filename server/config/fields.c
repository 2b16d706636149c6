/* SPDX-License-Identifier: Apache-2.0
 *
 * Sections of the configuration file, by tables.
 */
#include "config/fields.h"
#include "base/clock.h"
#include "config/faults.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELDS_MAX 64 /* of one table */

int fields_text(const struct node *n, char **ret, struct error *error)
{
    const char *text;
    int r = node_text(n, &text, error);
    if (r < 0)
        return r;
    char *copy = strdup(text);
    if (!copy)
        return error_set(error, -ENOMEM, "%s: out of memory", n->file);
    *ret = copy;
    return 0;
}

static int read_size(const struct field *f, const struct node *n, uint64_t *ret,
                     struct error *error)
{
    char what[80];
    uint64_t v;
    int r = node_size(n, &v, error);
    if (r < 0)
        return r;
    if (v < (uint64_t)f->min || v > (uint64_t)f->max) {
        snprintf(what, sizeof what, "a size from %" PRId64 " to %" PRId64 " bytes",
                 f->min, f->max);
        return node_expected(n, what, error);
    }
    *ret = v;
    return 0;
}

int fields_duration(const struct field *f, const struct node *n, int64_t *ret,
                    struct error *error)
{
    char what[160], min[CLOCK_TEXT_MAX], max[CLOCK_TEXT_MAX];
    int64_t v;
    if (f->never && n->kind == NODE_SCALAR && strcmp(n->text, f->never) == 0) {
        *ret = INT64_MAX;
        return 0;
    }
    int r = node_duration(n, &v, error);
    if (r == 0 && v >= f->min && v <= f->max) {
        *ret = v;
        return 0;
    }
    if (r < 0 && !f->never)
        return r;
    clock_format_duration(f->min, min);
    clock_format_duration(f->max, max);
    snprintf(what, sizeof what, "a duration from %s to %s%s%s%s", min, max,
             f->never ? ", or '" : "", f->never ? f->never : "", f->never ? "'" : "");
    return node_expected(n, what, error);
}

static int read_field(const struct field *f, const struct node *n, void *target,
                      void *ctx, struct error *error)
{
    void *member = (char *)target + f->offset;
    int64_t v;
    int r;
    switch (f->type) {
    case FIELD_UNSIGNED:
        r = node_int(n, f->min, f->max, &v, error);
        if (r == 0)
            *(unsigned *)member = (unsigned)v;
        return r;
    case FIELD_COUNT:
        r = node_int(n, f->min, f->max, &v, error);
        if (r == 0)
            *(uint64_t *)member = (uint64_t)v;
        return r;
    case FIELD_SIZE:
        return read_size(f, n, member, error);
    case FIELD_DURATION:
        return fields_duration(f, n, member, error);
    case FIELD_BOOL:
        return node_bool(n, member, error);
    case FIELD_TEXT:
        return fields_text(n, member, error);
    case FIELD_CALL:
        return f->read(n, target, ctx, error);
    case FIELD_LATER:
        break;
    }
    return -EINVAL; /* not reached: refused with the keys */
}

static void set_default(const struct field *f, void *target)
{
    void *member = (char *)target + f->offset;
    if (f->type == FIELD_UNSIGNED)
        *(unsigned *)member = (unsigned)f->init;
    else if (f->type == FIELD_COUNT || f->type == FIELD_SIZE)
        *(uint64_t *)member = (uint64_t)f->init;
    else if (f->type == FIELD_DURATION)
        *(int64_t *)member = f->init;
    else if (f->type == FIELD_BOOL)
        *(bool *)member = f->init != 0;
}

static const struct field *find(const struct field *table, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    }
    return NULL;
}

/* What is not there yet, and what is. */
static int later(const struct node *key, const char *what, const char *const *word,
                 size_t n_words, struct error *error)
{
    char list[256] = "";
    size_t size = 0;
    for (size_t i = 0; i < n_words && size < sizeof list; i++)
        size += (size_t)snprintf(list + size, sizeof list - size, "%s'%s'",
                                 i ? ", " : "", word[i]);
    return node_error(key, error, "'%s' is not supported by this version; %s takes %s",
                      key->text, what, list);
}

static int check_keys(const struct field *table, size_t n, const struct node *map,
                      const char *what, struct error *error)
{
    const char *word[FIELDS_MAX];
    size_t n_words = 0;
    for (size_t i = 0; i < n && n_words < FIELDS_MAX; i++) {
        if (table[i].type != FIELD_LATER)
            word[n_words++] = table[i].name;
    }
    int r = 0;
    for (size_t i = 0; i < map->n; i++) {
        const struct node *key = &map->key[i];
        const struct field *f = find(table, n, key->text);
        if (f && f->type != FIELD_LATER)
            continue;
        if (f) {
            r = later(key, what, word, n_words, error);
        } else {
            r = node_error(key, error, "unknown key '%s' in %s", key->text, what);
            node_suggest(error, key->text, word, n_words);
        }
        if (!faults_go_on(r, error))
            return r;
    }
    for (size_t i = 0; i < n; i++) {
        if (!table[i].required || node_get(map, table[i].name))
            continue;
        r = node_error(map, error, "the key '%s' is missing in %s", table[i].name,
                       what);
        if (!faults_go_on(r, error))
            return r;
    }
    return r;
}

int fields_read(const struct field *table, size_t n, const struct node *map,
                const char *what, void *target, void *ctx, struct error *error)
{
    for (size_t i = 0; i < n; i++)
        set_default(&table[i], target);
    if (!map)
        return 0;
    if (map->kind != NODE_MAP)
        return node_expected(map, "a mapping (key: value)", error);
    int failed = check_keys(table, n, map, what, error);
    if (failed < 0 && !faults_go_on(failed, error))
        return failed;
    for (size_t i = 0; i < n; i++) {
        const struct node *value = node_get(map, table[i].name);
        int r = value && table[i].type != FIELD_LATER
                    ? read_field(&table[i], value, target, ctx, error)
                    : 0;
        if (r < 0 && !faults_go_on(r, error))
            return r;
        if (r < 0)
            failed = r;
    }
    return failed;
}

/* ---- JSON Schema ------------------------------------------------------------------------------- */

#define DURATION "{\"$ref\":\"#/$defs/duration\"}"
#define VARIABLE "{\"$ref\":\"#/$defs/variable\"}"

static void whole_schema(const struct field *f, struct buffer *to)
{
    buffer_printf(to,
                  "{\"type\":\"integer\",\"minimum\":%" PRId64 ",\"maximum\":%" PRId64
                  "}," VARIABLE,
                  f->min, f->max);
}

static void words_schema(const char *const *words, size_t n, struct buffer *to)
{
    buffer_puts(to, "{\"enum\":[");
    for (size_t i = 0; i < n; i++) {
        buffer_puts(to, i ? "," : "");
        buffer_put_json_string(to, words[i], strlen(words[i]));
    }
    buffer_puts(to, "]}," VARIABLE);
}

/* What a reader of its own takes. */
static void call_schema(const struct field *f, struct buffer *to)
{
    const char *before = "";
    if (f->schema) {
        buffer_puts(to, f->schema);
        before = ",";
    }
    if (f->words) {
        buffer_puts(to, before);
        words_schema(f->words, f->n_words, to);
        before = ",";
    }
    if (f->keys) {
        buffer_puts(to, before);
        fields_schema(f->keys, f->n_keys, to);
    }
}

static void default_schema(const struct field *f, struct buffer *to)
{
    char text[CLOCK_TEXT_MAX];
    if (f->required)
        return;
    if (f->type == FIELD_DURATION && f->init == INT64_MAX && f->never)
        buffer_printf(to, ",\"default\":\"%s\"", f->never);
    else if (f->type == FIELD_DURATION && clock_format_duration(f->init, text))
        buffer_printf(to, ",\"default\":\"%s\"", text);
    else if (f->type == FIELD_BOOL)
        buffer_printf(to, ",\"default\":%s", f->init ? "true" : "false");
    else if (f->init)
        buffer_printf(to, ",\"default\":%" PRId64, f->init);
}

static void field_schema(const struct field *f, struct buffer *to)
{
    if (f->type == FIELD_CALL && !f->schema && !f->words && !f->keys) {
        buffer_puts(to, "true");
        return;
    }
    buffer_puts(to, "{\"anyOf\":[");
    switch (f->type) {
    case FIELD_UNSIGNED:
    case FIELD_COUNT:
        whole_schema(f, to);
        break;
    case FIELD_SIZE:
        whole_schema(f, to);
        buffer_puts(to, ",{\"$ref\":\"#/$defs/size\"}");
        break;
    case FIELD_DURATION:
        buffer_puts(to, DURATION);
        if (f->never) { /* "off" is false in YAML 1.1 */
            buffer_printf(to, ",{\"enum\":[\"%s\"%s]}", f->never,
                          strcmp(f->never, "off") ? "" : ",false");
        }
        break;
    case FIELD_BOOL:
        buffer_puts(to, "{\"$ref\":\"#/$defs/truth\"}");
        break;
    case FIELD_TEXT:
        buffer_puts(to, FIELD_SCHEMA_TEXT);
        break;
    default:
        call_schema(f, to);
    }
    buffer_putc(to, ']');
    default_schema(f, to);
    buffer_putc(to, '}');
}

void fields_schema(const struct field *table, size_t n, struct buffer *to)
{
    const char *before = "";
    buffer_puts(to,
                "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[");
    for (size_t i = 0; i < n; i++)
        if (table[i].required) {
            buffer_printf(to, "%s\"%s\"", before, table[i].name);
            before = ",";
        }
    buffer_puts(to, "],\"properties\":{");
    before = "";
    for (size_t i = 0; i < n; i++)
        if (table[i].type != FIELD_LATER) {
            buffer_printf(to, "%s\"%s\":", before, table[i].name);
            field_schema(&table[i], to);
            before = ",";
        }
    buffer_puts(to, "}}");
}
