/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables of keys: what each section of the configuration file may hold, with type, limits and
 * default. One table is the whole truth about a section's keys; fields_read walks it.
 */
#ifndef WEIR_CONFIG_FIELDS_H
#define WEIR_CONFIG_FIELDS_H

#include "base/buffer.h"
#include "config/node.h"

enum field_type {
    FIELD_UNSIGNED, /* unsigned */
    FIELD_COUNT,    /* uint64_t */
    FIELD_SIZE,     /* uint64_t, bytes */
    FIELD_DURATION, /* int64_t, microseconds */
    FIELD_BOOL,     /* bool */
    FIELD_TEXT,     /* char *, the section's own; no default */
    FIELD_CALL,     /* `read` does it */
    FIELD_LATER,    /* a word kept for a later version: said so */
};

struct field {
    const char *name;
    enum field_type type;
    bool required;
    size_t offset;          /* of the member in the target */
    int64_t min, max, init; /* of numbers, sizes and durations; init of bool too */
    const char *never;      /* of a duration: the word for INT64_MAX, or NULL */
    int (*read)(const struct node *value, void *target, void *ctx, struct error *error);
    /* What `read` takes, for fields_schema, any of these; none: whatever there is. */
    const char *const *words;
    size_t n_words;
    const struct field *keys; /* of a mapping */
    size_t n_keys;
    const char *schema; /* JSON Schema */
};

/* Shapes of FIELD_SCHEMA_..., in JSON Schema; what they refer to stands in config_schema. */
#define FIELD_SCHEMA_TEXT "{\"$ref\":\"#/$defs/text\"}"
#define FIELD_SCHEMA_TEXTS                                                             \
    "{\"$ref\":\"#/$defs/text\"},{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/"   \
    "text\"}}"

/* Sets the defaults, refuses unknown keys and missing ones, then reads the values in the order of the
 * table. `what` names the section in messages ("pipeline 'x'"). While faults are collected
 * (config/faults.h) it goes on behind one. `map` NULL: defaults only. What was
 * read before a failure stays in the target. -EINVAL, -ENOMEM. */
int fields_read(const struct field *table, size_t n, const struct node *map,
                const char *what, void *target, void *ctx, struct error *error);

/* A duration, or the word for never, within the limits of f. -EINVAL. */
int fields_duration(const struct field *f, const struct node *n, int64_t *ret,
                    struct error *error);

/* JSON Schema of a mapping with these keys, made of the same table; what is for a later version is left out. A value
 * that fields_read takes is valid; of lengths and durations as text only the form is checked. */
void fields_schema(const struct field *table, size_t n, struct buffer *to);

/* A copy of a scalar's text. -EINVAL if it is none or empty, -ENOMEM. */
int fields_text(const struct node *n, char **ret, struct error *error);

#endif
