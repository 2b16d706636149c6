/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows to try an analyzer on, as values: made by chance, made fewer and simpler.
 */
#ifndef WEIR_LAWS_ROWS_H
#define WEIR_LAWS_ROWS_H

#include "weir/plugin.h"

#include <stdbool.h>
#include <stdint.h>

#define ROWS_INPUTS_MAX 72u
#define ROWS_START_US   INT64_C(1700000000000000) /* the window that all rows are in */
#define ROWS_END_US     (ROWS_START_US + INT64_C(60000000))

enum rows_flavour {
    ROWS_TAME,     /* small numbers, short words */
    ROWS_TIES,     /* two or three different values */
    ROWS_NULLS,    /* most of them, or all */
    ROWS_EXTREMES, /* infinities, the largest and the smallest */
    ROWS_HOSTILE,  /* strings: empty, long, with zeros, of all planes of Unicode */
    ROWS_FLAVOURS
};

struct rows_value {
    uint32_t type; /* enum weir_type; 0: null */
    uint32_t size; /* of a string */
    union {
        int64_t i; /* int, time, bool */
        double f;
        const char *s; /* lives for ever */
    } as;
};

struct rows {
    size_t n, n_inputs;
    int64_t *time;
    struct rows_value *value; /* row after row */
};

/* Values of the given types (0: the input is not given). False: no memory. */
bool rows_make(struct rows *r, enum rows_flavour flavour, const uint32_t *types,
               size_t n_inputs, size_t n, uint64_t seed);
/* Those of `from` without [first, first + n). */
bool rows_without(struct rows *r, const struct rows *from, size_t first, size_t n);
void rows_free(struct rows *r);

/* Makes value number k (times come behind the values) simpler, in the form `how`, 0, 1, ...; false: there is no such
 * form, or it is that simple already. */
bool rows_simplify(struct rows *r, size_t k, unsigned how);

#endif
