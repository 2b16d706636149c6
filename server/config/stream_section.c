/* SPDX-License-Identifier: Apache-2.0
 *
 * A stream of the configuration file: its columns, and which of them is the time.
 */
#include "base/clock.h"
#include "config/faults.h"
#include "config/fields.h"
#include "config/sections.h"
#include "decode/paths.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* What the keys of a stream say, before it is made. */
struct draft {
    const struct node *time; /* where the field is named; NULL: arrival */
    const char *time_name;
    struct decode_field time_field;
    enum decode_unit unit;
    bool check_unit;
    const struct node *fields, *derive; /* NULL: none */
    int64_t max_future_skew_us;
    bool memory; /* answers do not wait for the disk */
};

/* The name of a column. Events may call it anything, which is for other keys to say. */
static int column_name(const struct node *n, const char **ret, struct error *error)
{
    int r = node_name(n, ret, error);
    if (r == 0 || !error || n->kind != NODE_SCALAR || node_is_null(n))
        return r;
    size_t end = strlen(error->text);
    snprintf(error->text + end, sizeof error->text - end,
             "; what events call it is said by its 'name' or 'path'");
    return r;
}

/* ---- time -------------------------------------------------------------------------------------- */

static int read_time_field(const struct node *n, void *target, void *ctx,
                           struct error *error)
{
    struct draft *d = target;
    (void)ctx;
    d->time = n;
    return column_name(n, &d->time_name, error);
}

static const char *const unit[] = {"rfc3339", "s", "ms", "us", "ns"};

static int read_time_path(const struct node *n, void *target, void *ctx,
                          struct error *error)
{
    struct draft *d = target;
    (void)ctx;
    return fields_text(n, &d->time_field.path, error);
}

static int read_time_key(const struct node *n, void *target, void *ctx,
                         struct error *error)
{
    struct draft *d = target;
    (void)ctx;
    if (d->time_field.path)
        return node_error(n, error, "the time has a 'path' or a 'name', not both");
    return fields_text(n, &d->time_field.name, error);
}

static int read_time_unit(const struct node *n, void *target, void *ctx,
                          struct error *error)
{
    static_assert(DECODE_RFC3339 == 0 && DECODE_NS == 4,
                  "units are in the decoder's order");
    struct draft *d = target;
    (void)ctx;
    int r = node_word(n, unit, COUNT(unit), error);
    if (r < 0)
        return r;
    d->unit = (enum decode_unit)r;
    return 0;
}

static const struct field time_fields[] = {
    {"field", FIELD_CALL, .required = true, .read = read_time_field,
     .schema = FIELD_SCHEMA_TEXT},
    {"unit", FIELD_CALL, .read = read_time_unit, .words = unit, .n_words = COUNT(unit)},
    {"path", FIELD_CALL, .read = read_time_path, .schema = FIELD_SCHEMA_TEXT},
    {"name", FIELD_CALL, .read = read_time_key, .schema = FIELD_SCHEMA_TEXT},
    {"check_unit", FIELD_BOOL, .offset = offsetof(struct draft, check_unit), .init = 1},
};

/* `time: ts`, `time: {field: ts, unit: ms}`, or `time: arrival`. */
static int read_time(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct draft *d = target;
    if (n->kind == NODE_SCALAR && strcmp(n->text, "arrival") == 0)
        return 0;
    d->unit = DECODE_RFC3339;
    if (n->kind == NODE_SCALAR)
        return read_time_field(n, target, ctx, error);
    if (n->kind == NODE_LIST)
        return node_expected(
            n, "a field such as ts, or {field: ts, unit: ms}, or arrival", error);
    return fields_read(time_fields, COUNT(time_fields), n, "'time'", target, ctx,
                       error);
}

/* ---- fields ------------------------------------------------------------------------------------ */

static int read_fields(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    struct draft *d = target;
    (void)ctx;
    if (n->kind != NODE_MAP)
        return node_expected(n, "a mapping of fields (name: type)", error);
    if (n->n > SCHEMA_COLUMNS_MAX - 1)
        return node_error(n, error,
                          "a stream can have %u fields beside its time, not %zu",
                          SCHEMA_COLUMNS_MAX - 1, n->n);
    d->fields = n;
    return 0;
}

/* SQLite takes names for the same that differ only in case. */
static int check_unique(const struct draft *d, const struct schema *s, size_t i,
                        const struct node *name, struct error *error)
{
    if (strcasecmp(s->column[0].name, name->text) == 0)
        return d->time
                   ? node_error(
                         name, error,
                         "'%s' is the time of the stream and not listed in 'fields'",
                         name->text)
                   : node_error(
                         name, error,
                         "the column 'time' is the time of arrival here; 'time: %s' "
                         "in the stream makes the field its time",
                         name->text);
    for (size_t k = 1; k < i; k++) {
        const char *other = s->column[k].name; /* NULL: it is wrong, which was said */
        if (other && strcasecmp(other, name->text) == 0)
            return node_error(name, error,
                              "'%s' and '%s' differ only in case, which SQLite ignores",
                              name->text, other);
    }
    return 0;
}

static int make_schema(const struct draft *d, const struct node *at,
                       struct config_stream *ret, struct error *error)
{
    size_t n = d->fields ? d->fields->n : 0;
    struct schema *schema;
    int r = schema_new(1 + n, d->time_name, &schema);
    if (r < 0)
        return error_set(error, r, "%s: out of memory", at->file);
    int failed = 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        enum weir_type type = WEIR_INT;
        const char *name;
        r = column_name(&d->fields->key[i], &name, error);
        if (r == 0)
            r = check_unique(d, schema, i + 1, &d->fields->key[i], error);
        if (r == 0)
            r = field_section(&d->fields->item[i], &type, &ret->field[i + 1], error);
        if (r == 0 && (r = schema_set(schema, i + 1, name, type)) < 0)
            error_set(error, r, "%s: out of memory", at->file);
        failed = r < 0 ? r : failed;
        r = faults_go_on(r, error) ? 0 : r;
    }
    if (failed < 0)
        schema_free(schema); /* half a schema is none */
    else
        ret->schema = schema;
    return failed;
}

/* Where the fields are, if it is not by their names in the event itself. */
static int make_paths(const struct draft *d, struct config_stream *s,
                      struct error *error)
{
    size_t column = 0, first = d->time ? 0 : 1;
    struct error why = {0};
    bool none = true;
    for (size_t i = 0; i < s->schema->n; i++)
        none = none && !s->field[i].path && !s->field[i].name;
    if (none)
        return 0;
    int r = paths_new(s->schema, s->field, first, &s->paths, &column, &why);
    if (r == -ENOMEM)
        return error_set(error, r, "no memory");
    const struct node *at = column == 0 ? d->time : &d->fields->item[column - 1];
    return r < 0 ? node_error(at, error, "field '%s': %s",
                              s->schema->column[column].name, why.text)
                 : 0;
}

/* ---- derive ------------------------------------------------------------------------------------ */

static int read_derive(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    struct draft *d = target;
    (void)ctx, (void)error;
    d->derive = n;
    return 0;
}

/* ---- ack --------------------------------------------------------------------------------------- */

static const char *const ack_word[] = {"durable", "memory"};

static int read_ack(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct draft *d = target;
    (void)ctx;
    int r = node_word(n, ack_word, COUNT(ack_word), error);
    if (r < 0)
        return r;
    d->memory = r == 1;
    return 0;
}

/* ---- lenient ----------------------------------------------------------------------------------- */

static int read_lenient(const struct node *n, void *target, void *ctx,
                        struct error *error)
{
    static const char *const word[] = {"numbers", "times"};
    struct config_stream *s = ctx;
    (void)target;
    const struct node *item = n->kind == NODE_LIST ? n->item : n;
    size_t n_items = n->kind == NODE_LIST ? n->n : 1;
    for (size_t i = 0; i < n_items; i++) {
        int r = node_word(&item[i], word, COUNT(word), error);
        if (r < 0)
            return r;
        s->lenient |= r == 0 ? DECODE_LENIENT_NUMBERS : DECODE_LENIENT_TIMES;
    }
    return 0;
}

/* ---- source ------------------------------------------------------------------------------------ */

static int read_source(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    struct config_stream *s = ctx;
    (void)target;
    return source_section(n, &s->source, error);
}

/* ---- The section ------------------------------------------------------------------------------- */

static const struct field stream_fields[] = {
    {"time", FIELD_CALL, .read = read_time, .schema = FIELD_SCHEMA_TEXT,
     .keys = time_fields, .n_keys = COUNT(time_fields)},
    {"fields", FIELD_CALL, .read = read_fields,
     .schema = "{\"$ref\":\"#/$defs/fields\"}"},
    {"lenient", FIELD_CALL, .read = read_lenient, .schema = FIELD_SCHEMA_TEXTS},
    {"derive", FIELD_CALL, .read = read_derive,
     .schema = "{\"$ref\":\"#/$defs/derive\"}"},
    {"max_future_skew", FIELD_DURATION,
     .offset = offsetof(struct draft, max_future_skew_us), .min = 0,
     .max = 36525 * DAY_US, .init = 3600 * SECOND_US, .never = "off"},
    {"ack", FIELD_CALL, .read = read_ack, .words = ack_word,
     .n_words = COUNT(ack_word)},
    {"source", FIELD_CALL, .read = read_source,
     .schema = "{\"$ref\":\"#/$defs/source\"}"},
};

void stream_section_schema(struct buffer *to)
{
    fields_schema(stream_fields, COUNT(stream_fields), to);
}

int stream_section(const struct node *name, const struct node *map,
                   struct config_stream *ret, struct error *error)
{
    struct draft d = {.time_name = "time", .unit = DECODE_ARRIVAL};
    const char *text;
    char what[SECTION_NAME_MAX + 16];
    int r = section_name(name, "stream", &text, error);
    if (r < 0)
        return r;
    if (!(ret->name = strdup(text)))
        return error_set(error, -ENOMEM, "%s: out of memory", name->file);
    snprintf(what, sizeof what, "stream '%s'", text);
    r = fields_read(stream_fields, COUNT(stream_fields), map, what, &d, ret, error);
    ret->field = calloc(1 + (d.fields ? d.fields->n : 0), sizeof *ret->field);
    if (!ret->field) {
        field_section_free(&d.time_field);
        return error_set(error, -ENOMEM, "%s: out of memory", name->file);
    }
    ret->n_fields = 1 + (d.fields ? d.fields->n : 0);
    ret->field[0] = d.time_field;
    if (r < 0)
        return r;
    ret->node = name;
    ret->map = map;
    ret->time_unit = d.unit;
    ret->check_unit = d.check_unit;
    ret->max_future_skew_us = d.max_future_skew_us;
    ret->durable = !d.memory;
    r = make_schema(&d, name, ret, error);
    if (r == 0)
        r = make_paths(&d, ret, error);
    if (r == 0 && d.derive)
        r = derive_section(d.derive, ret->schema, &ret->derive, error);
    if (r == 0)
        ret->columns = ret->derive.schema ? ret->derive.schema : ret->schema;
    return r == 0 ? source_section_columns(&ret->source, ret->schema, error) : r;
}

void stream_section_free(struct config_stream *s)
{
    free(s->name);
    for (size_t i = 0; i < s->n_fields; i++)
        field_section_free(&s->field[i]);
    free(s->field);
    paths_free(s->paths);
    derive_section_free(&s->derive);
    source_section_free(&s->source);
    schema_free(s->schema);
}
