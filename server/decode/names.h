/* SPDX-License-Identifier: Apache-2.0
 *
 * From the name of a field to its column: a small hash table, built once.
 */
#ifndef WEIR_DECODE_NAMES_H
#define WEIR_DECODE_NAMES_H

#include "batch/schema.h"

#include <stdint.h>

#define NAMES_SLOTS                                                                    \
    (4 * SCHEMA_COLUMNS_MAX) /* a power of two, never more than a quarter full */

struct names {
    const struct schema *schema;
    size_t longest; /* bytes of the longest name */
    size_t size[SCHEMA_COLUMNS_MAX];
    uint16_t slot[NAMES_SLOTS]; /* column + 1, or 0 */
};

/* Columns from `first` on. `schema` must outlive the table. */
void names_init(struct names *t, const struct schema *schema, size_t first);

/* The column, or -1. */
int names_find(const struct names *t, const char *name, size_t size);

#endif
