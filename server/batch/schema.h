/* SPDX-License-Identifier: Apache-2.0
 *
 * The columns of a stream: names and types. Column 0 is the event time, type WEIR_TIME, never null.
 * Immutable once made; outlives all batches of the stream.
 */
#ifndef WEIR_BATCH_SCHEMA_H
#define WEIR_BATCH_SCHEMA_H

#include "weir/plugin.h"

#include <stddef.h>

#define SCHEMA_COLUMNS_MAX                                                             \
    256 /* a decoder keeps a bit a column for what a line has set */

struct schema_column {
    char *name;
    enum weir_type type;
};

struct schema {
    size_t n;
    struct schema_column column[];
};

/* Column 0 is named `time_name`; the others are to be set with schema_set. -ENOMEM, -E2BIG. */
int schema_new(size_t n, const char *time_name, struct schema **ret);
int schema_set(struct schema *s, size_t i, const char *name, enum weir_type type);
void schema_free(struct schema *s);

/* A copy of its first n columns, in a schema of n + `more`; the others are to be set. -ENOMEM, -E2BIG. */
int schema_copy(const struct schema *s, size_t n, size_t more, struct schema **ret);

/* Index of the column, or -1. */
int schema_find(const struct schema *s, const char *name);

const char *
schema_type_name(enum weir_type type); /* "int", "float", "bool", "string", "time" */

#endif
