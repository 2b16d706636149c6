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
    size_t n, longest; /* bytes of the longest name */
    struct {
        const char *text;
        size_t size;
        int value;
    } name[SCHEMA_COLUMNS_MAX];
    uint16_t slot[NAMES_SLOTS]; /* index of the name + 1, or 0 */
};

/* One more of at most SCHEMA_COLUMNS_MAX, in a table of zeros at first; the text must outlive it. */
void names_add(struct names *t, const char *text, size_t size, int value);

/* What was given with the name; the first time, if it was twice. -1. */
int names_find(const struct names *t, const char *name, size_t size);

#endif
