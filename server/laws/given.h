/* SPDX-License-Identifier: Apache-2.0
 *
 * What an analyzer has given: rows of cells, kept, compared and written down.
 */
#ifndef WEIR_LAWS_GIVEN_H
#define WEIR_LAWS_GIVEN_H

#include "plugin/host.h"

struct given {
    const struct binding *binding; /* whose outputs the cells are */
    size_t n, room;                /* rows */
    uint32_t *group;        /* of each row: how many groups were asked for before */
    struct weir_cell *cell; /* binding->n_outputs of each row */
    char **string;
    size_t n_strings, string_room;
    uint32_t base; /* groups of the calls before */
    struct weir_cell
        *next;   /* cells of the row at hand, of an analyzer that gives many */
    uint32_t at; /* its group */
    bool no_memory;
};

void given_begin(struct given *g, const struct binding *b);
/* Has `out` collect into it: n groups, the first of them number `base`. */
void given_collect(struct given *g, struct weir_out *out, size_t n, uint32_t base);
void given_clear(struct given *g); /* no rows */
void given_free(struct given *g);

/* `rounded`: floats may differ by 1e-9, relative, or absolute below 1. */
bool given_equal(const struct given *a, const struct given *b, bool rounded);

/* "price_mean=1.5, n=2" a row, with line ends; cut off where `room` ends. */
void given_text(const struct given *g, char *text, size_t room);

#endif
