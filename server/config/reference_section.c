/* SPDX-License-Identifier: Apache-2.0
 *
 * `join:` with a `table` of the user's in the database. The types of its columns stand here, as those of fields do, and not
 * only in the file: so a configuration means the same without one.
 */
#include "base/clock.h"
#include "config/fields.h"
#include "config/sections.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define LONGEST      (100 * 366 * DAY_US)

struct reading {
    const struct schema *ours; /* with what was joined before */
    const struct node *on, *columns, *time;
};

static int out_of_memory(const struct node *n, struct error *error)
{
    return error_set(error, -ENOMEM, "%s: out of memory", n->file);
}

bool reference_section_is(const struct node *join)
{
    return join->kind == NODE_MAP && node_get(join, "table");
}

/* ---- Keys ---------------------------------------------------------------------------------------- */

static int read_table(const struct node *n, void *target, void *ctx,
                      struct error *error)
{
    struct config_reference *c = target;
    (void)ctx;
    c->table_node = n;
    int r = fields_text(n, &c->table, error);
    if (r == 0 &&
        (!strncasecmp(c->table, "weir_", 5) || !strncasecmp(c->table, "sqlite_", 7)))
        return node_error(n, error, "'%s' is not a table of yours", c->table);
    return r;
}

static int read_on(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct reading *r = ctx;
    (void)target;
    size_t pairs = n->kind == NODE_SCALAR ? 1 : n->n;
    if (pairs < 1 || pairs > CONFIG_JOIN_ON_MAX)
        return node_error(n, error, "tables are joined on 1 to %d fields, not %zu",
                          CONFIG_JOIN_ON_MAX, pairs);
    r->on = n;
    return 0;
}

static int read_columns(const struct node *n, void *target, void *ctx,
                        struct error *error)
{
    struct reading *r = ctx;
    (void)target;
    if (n->kind != NODE_MAP || n->n < 1 || n->n > CONFIG_JOIN_COLUMNS_MAX)
        return node_error(
            n, error,
            "1 to %d columns of the table are expected here, with their types, such as "
            "{category: string, price: float}; with another name, {product_price: "
            "{column: price, type: float}}",
            CONFIG_JOIN_COLUMNS_MAX);
    r->columns = n;
    return 0;
}

static const char *const unit[] = {"rfc3339", "s", "ms", "us", "ns"};

static int read_unit(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_reference *c = target;
    (void)ctx;
    int r = node_word(n, unit, COUNT(unit), error);
    c->time_unit = r < 0 ? 0 : (unsigned)r;
    return r < 0 ? r : 0;
}

static int read_time_field(const struct node *n, void *target, void *ctx,
                           struct error *error)
{
    struct reading *r = ctx;
    const char *text;
    (void)target;
    r->time = n;
    return node_text(n, &text, error);
}

static const struct field time_fields[] = {
    {"field", FIELD_CALL, .required = true, .read = read_time_field,
     .schema = FIELD_SCHEMA_TEXT},
    {"unit", FIELD_CALL, .read = read_unit, .words = unit, .n_words = COUNT(unit)},
};

/* `time: since`, or `time: {field: since, unit: ms}`. */
static int read_time(const struct node *n, void *target, void *ctx, struct error *error)
{
    return n->kind == NODE_MAP ? fields_read(time_fields, COUNT(time_fields), n,
                                             "'time'", target, ctx, error)
                               : read_time_field(n, target, ctx, error);
}

#define AT(member) offsetof(struct config_reference, member)

#define ON_SCHEMA                                                                      \
    FIELD_SCHEMA_TEXTS                                                                 \
    ",{\"type\":\"object\",\"additionalProperties\":{\"$ref\":\"#/$defs/text\"}}"
#define TYPE_SCHEMA "{\"enum\":[\"string\",\"float\",\"int\",\"bool\"]}"
#define COLUMNS_SCHEMA                                                                 \
    "{\"type\":\"object\",\"minProperties\":1,\"maxProperties\":64,"                   \
    "\"propertyNames\":{\"$ref\":\"#/$defs/name\"},"                                   \
    "\"additionalProperties\":{\"anyOf\":[" TYPE_SCHEMA                                \
    ",{\"type\":\"object\",\"properties\":{\"column\":{\"$ref\":\"#/$defs/text\"},"    \
    "\"type\":" TYPE_SCHEMA "},\"required\":[\"type\"],"                               \
    "\"additionalProperties\":false}]}}"
static_assert(CONFIG_JOIN_COLUMNS_MAX == 64, "the schema says 64");

/* `table` stands before what is read of it. */
static const struct field reference_fields[] = {
    {"table", FIELD_CALL, .required = true, .read = read_table,
     .schema = FIELD_SCHEMA_TEXT},
    {"on", FIELD_CALL, .required = true, .read = read_on, .schema = ON_SCHEMA},
    {"columns", FIELD_CALL, .required = true, .read = read_columns,
     .schema = COLUMNS_SCHEMA},
    {"time", FIELD_CALL, .read = read_time, .keys = time_fields,
     .n_keys = COUNT(time_fields), .schema = FIELD_SCHEMA_TEXT},
    {"within", FIELD_DURATION, .offset = AT(within_us), .min = 0, .max = LONGEST,
     .init = INT64_MAX},
    {"lead", FIELD_DURATION, .offset = AT(lead_us), .min = 0, .max = LONGEST},
};

void reference_section_schema(struct buffer *to)
{
    fields_schema(reference_fields, COUNT(reference_fields), to);
}

/* ---- What is read of the table ------------------------------------------------------------------- */

static int set_read(struct config_reference *c, size_t i, const struct node *name,
                    enum weir_type type, struct error *error)
{
    const char *text;
    int r = node_text(name, &text, error);
    c->read_node[i] = name;
    return r == 0 && schema_set(c->read, i, text, type) < 0 ? out_of_memory(name, error)
                                                            : r;
}

static int add_on(const struct node *ours, const struct node *theirs,
                  struct config_reference *c, const struct schema *s,
                  struct error *error)
{
    const char *name, *names[SCHEMA_COLUMNS_MAX];
    int r = node_text(ours, &name, error);
    int column = r == 0 ? schema_find(s, name) : -1;
    if (r < 0)
        return r;
    for (size_t i = 0; i < s->n; i++)
        names[i] = s->column[i].name;
    if (column < 0) {
        node_error(ours, error, "the stream has no field '%s'", name);
        node_suggest(error, name, names, s->n);
        return -EINVAL;
    }
    enum weir_type type = s->column[column].type;
    if (type == WEIR_FLOAT || type == WEIR_TIME)
        return node_error(ours, error,
                          "'%s' is a %s: tables are joined on string, int or bool",
                          name, schema_type_name(type));
    c->on[c->n_on++] = (size_t)column;
    return set_read(c, c->n_on, theirs, type, error);
}

static int column_type(const struct node *n, enum weir_type *ret, struct error *error)
{
    int r = section_type(n, ret, error);
    return r == 0 && *ret == WEIR_TIME
               ? node_error(n, error,
                            "a column of a table is a string, float, int or bool here; "
                            "its 'time' says from when on a row holds")
               : r;
}

/* `category: string`, or `what: {column: category, type: string}`. */
static int add_column(const struct node *name, const struct node *item,
                      struct config_reference *c, struct schema *joined,
                      struct error *error)
{
    const struct node *theirs = name, *type_node = item;
    const char *text;
    enum weir_type type = WEIR_INT;
    size_t at = c->first + c->n_columns;
    int r = node_name(name, &text, error);
    if (r == 0 && item->kind == NODE_MAP) {
        for (size_t i = 0; r == 0 && i < item->n; i++)
            if (strcmp(item->key[i].text, "column") &&
                strcmp(item->key[i].text, "type"))
                r = node_error(&item->key[i], error,
                               "a column of a table has 'column' and 'type', not '%s'",
                               item->key[i].text);
        theirs = node_get(item, "column") ? node_get(item, "column") : name;
        type_node = node_get(item, "type");
        if (r == 0 && !type_node)
            r = node_error(item, error,
                           "the 'type' of '%s' is missing: string, float, int or bool",
                           text);
    }
    for (size_t i = 0; r == 0 && i < at; i++)
        if (strcasecmp(joined->column[i].name, text) == 0)
            r = node_error(name, error,
                           "there is a column '%s' already; {OTHER_NAME: {column: %s, "
                           "type: ...}} gives this one another name",
                           joined->column[i].name, theirs->text ? theirs->text : text);
    if (r == 0)
        r = column_type(type_node, &type, error);
    if (r == 0 && schema_set(joined, at, text, type) < 0)
        r = out_of_memory(name, error);
    if (r == 0)
        r = set_read(c, 1 + c->n_on + c->n_columns, theirs, type, error);
    c->n_columns += r == 0;
    return r;
}

static int add_columns(const struct reading *r, struct config_reference *c,
                       struct config_references *all, struct error *error)
{
    const struct node *n = r->columns;
    struct schema *joined;
    if (r->ours->n + n->n > SCHEMA_COLUMNS_MAX)
        return node_error(n, error, "there are more than %u columns with these",
                          SCHEMA_COLUMNS_MAX);
    if (schema_copy(r->ours, r->ours->n, n->n, &joined) < 0)
        return out_of_memory(n, error);
    c->first = r->ours->n;
    int err = 0;
    for (size_t i = 0; err == 0 && i < n->n; i++)
        err = add_column(&n->key[i], &n->item[i], c, joined, error);
    if (err < 0) {
        schema_free(joined);
        return err;
    }
    schema_free(all->schema);
    all->schema = joined;
    return 0;
}

static int add_all(const struct reading *r, struct config_reference *c,
                   const struct schema *stream, struct config_references *all,
                   struct error *error)
{
    const struct node *on = r->on, *time = r->time;
    size_t n_on = on->kind == NODE_SCALAR ? 1 : on->n;
    if (schema_new(1 + n_on + r->columns->n, time ? time->text : ".time", &c->read) < 0)
        return out_of_memory(on, error);
    c->read_node[0] = time;
    int err = 0;
    for (size_t i = 0; err == 0 && i < n_on; i++) {
        const struct node *item = on->kind == NODE_SCALAR ? on : &on->item[i];
        err = add_on(on->kind == NODE_MAP ? &on->key[i] : item, item, c, stream, error);
    }
    return err == 0 ? add_columns(r, c, all, error) : err;
}

/* ---- The section --------------------------------------------------------------------------------- */

static int read_reference(const struct node *name, const struct node *map,
                          const struct schema *stream, struct config_references *all,
                          struct error *error)
{
    struct config_reference *c = &all->reference[all->n++];
    struct reading r = {.ours = all->schema ? all->schema : stream};
    char what[SECTION_NAME_MAX + 16];
    const char *text;
    int err = section_name(name, "join", &text, error);
    if (err < 0)
        return err;
    c->node = name;
    snprintf(what, sizeof what, "join '%s'", text);
    err =
        fields_read(reference_fields, COUNT(reference_fields), map, what, c, &r, error);
    const struct node *of_time =
        node_get(map, "within") ? node_get(map, "within") : node_get(map, "lead");
    if (err == 0 && !r.time && of_time)
        return node_error(
            of_time, error,
            "'within' and 'lead' are for tables with a 'time', the column that says "
            "from when on a row holds");
    return err == 0 ? add_all(&r, c, stream, all, error) : err;
}

int reference_section(const struct node *n, const struct schema *schema,
                      struct config_references *ret, struct error *error)
{
    int err = 0;
    if (!(ret->reference = calloc(n->n, sizeof *ret->reference)))
        return out_of_memory(n, error);
    for (size_t i = 0; err == 0 && i < n->n; i++)
        if (reference_section_is(&n->item[i]))
            err = read_reference(&n->key[i], &n->item[i], schema, ret, error);
    return err;
}

void reference_section_free(struct config_references *all)
{
    for (size_t i = 0; i < all->n; i++) {
        free(all->reference[i].table);
        schema_free(all->reference[i].read);
    }
    free(all->reference);
    schema_free(all->schema);
}
