/* SPDX-License-Identifier: Apache-2.0
 *
 * A field of a stream: `price: float`, or with where it is in an event, and what stands for it if it is missing.
 */
#include "base/clock.h"
#include "config/fields.h"
#include "config/sections.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

struct draft {
    struct decode_field *field;
    enum weir_type type;
    bool each;
    const struct node *path, *each_node, *init;
};

static int read_type(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct draft *d = target;
    (void)ctx;
    return section_type(n, &d->type, error);
}

static int read_path(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct draft *d = target;
    (void)ctx;
    d->path = n;
    return fields_text(n, &d->field->path, error);
}

static int read_name(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct draft *d = target;
    (void)ctx;
    return fields_text(n, &d->field->name, error);
}

static int read_each(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct draft *d = target;
    (void)ctx;
    d->each_node = n;
    return node_bool(n, &d->each, error);
}

static int read_default(const struct node *n, void *target, void *ctx,
                        struct error *error)
{
    struct draft *d = target;
    (void)ctx, (void)error;
    d->init = n;
    return 0;
}

static const struct field keys[] = {
    {"type", FIELD_CALL, .required = true, .read = read_type},
    {"path", FIELD_CALL, .read = read_path},
    {"name", FIELD_CALL, .read = read_name},
    {"each", FIELD_CALL, .read = read_each},
    {"default", FIELD_CALL, .read = read_default},
};

static int default_text(const struct node *n, struct decode_field *f,
                        struct error *error)
{
    if (n->kind != NODE_SCALAR || node_is_null(n))
        return node_expected(n, "a text", error);
    f->text = strdup(n->text);
    f->size = strlen(n->text);
    return f->text ? 0 : error_set(error, -ENOMEM, "%s: out of memory", n->file);
}

static int default_time(const struct node *n, struct decode_field *f,
                        struct error *error)
{
    if (n->kind == NODE_SCALAR &&
        clock_parse(n->text, strlen(n->text), &f->init.i) == 0)
        return 0;
    if (node_int(n, -DECODE_TIME_MAX_US, DECODE_TIME_MAX_US, &f->init.i, error) == 0)
        return 0;
    return node_expected(n, "an RFC 3339 time or whole microseconds", error);
}

static int make_default(const struct draft *d, struct error *error)
{
    struct decode_field *f = d->field;
    bool yes;
    int r = 0;
    f->has_default = d->init != NULL;
    if (!d->init)
        return 0;
    switch (d->type) {
    case WEIR_STRING:
        return default_text(d->init, f, error);
    case WEIR_FLOAT:
        return node_float(d->init, &f->init.f, error);
    case WEIR_INT:
        return node_int(d->init, INT64_MIN, INT64_MAX, &f->init.i, error);
    case WEIR_BOOL:
        r = node_bool(d->init, &yes, error);
        f->init.i = r == 0 && yes;
        return r;
    case WEIR_TIME:
        break;
    }
    return default_time(d->init, f, error);
}

/* `each` is there for the reader: what has [*] in its path is many rows. */
static int check_each(const struct draft *d, const struct node *map,
                      struct error *error)
{
    bool star = d->field->path && strstr(d->field->path, "[*]");
    if (star && !d->each)
        return node_error(
            d->path, error,
            "'[*]' makes a row of each element; 'each: true' says that it "
            "is meant");
    if (d->each && !star)
        return node_error(d->each_node, error,
                          "'each' needs a path with '[*]', such as tags[*]");
    if (d->field->path && d->field->name)
        return node_error(map, error, "a field has a 'path' or a 'name', not both");
    return 0;
}

int field_section(const struct node *n, enum weir_type *ret_type,
                  struct decode_field *ret, struct error *error)
{
    struct draft d = {.field = ret};
    if (n->kind != NODE_MAP) {
        if (n->kind == NODE_LIST)
            return node_expected(n, "a type, or {type: string, path: user.id}", error);
        return section_type(n, ret_type, error);
    }
    int r = fields_read(keys, COUNT(keys), n, "a field", &d, NULL, error);
    if (r == 0)
        r = check_each(&d, n, error);
    if (r == 0)
        r = make_default(&d, error);
    if (r == 0)
        *ret_type = d.type;
    return r;
}

void field_section_free(struct decode_field *f)
{
    free(f->path);
    free(f->name);
    free(f->text);
}
