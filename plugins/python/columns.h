/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of a call as Python objects, one a column. Where the rows lie side by side in the batch, an array of numpy or a
 * memoryview stands on the batch itself; otherwise they are gathered, once. Both are lent for the call: who keeps an
 * array is found out by columns_give_back, before its memory is someone else's.
 *
 *      rows_choose     without the GIL: which rows, in which order
 *      columns_fetch   without the GIL: gathers what has to be
 *      columns_make    objects, for all rows
 *      columns_give_back
 */
#ifndef WEIR_PYTHON_COLUMNS_H
#define WEIR_PYTHON_COLUMNS_H

#include "interpreter.h"

/* Memory that grows and is used again. */
struct scratch {
    void *at;
    size_t room;
};

/* The rows of a call that come, and their groups. */
struct chosen {
    size_t n;
    const uint32_t *row;
    uint32_t *group; /* its number in this call, from 0 */
    size_t n_groups;
    uint32_t *slot;     /* of each group: what weir_rows.group has */
    uint32_t *first;    /* sorted: where its rows begin; n_groups + 1 */
    uint64_t n_skipped; /* rows with a null */
    struct scratch rows, numbers, slots, firsts, sorted, table;
};

struct lent; /* an object with a buffer of ours */

struct column {
    uint32_t type; /* enum weir_type */
    const struct weir_column *in;
    const void *values; /* not of strings */
    bool nulls;         /* some row has one: `mask` tells which */
    struct scratch gathered, mask;
    struct lent *lent, *lent_mask;
    PyObject *object;
};

struct columns {
    size_t n;
    struct column *column;
    bool numpy, arrow;
};

/* Skips rows with a null in one of in[0..n_in) if `skip`. With `sort` those of a group stand together, in their order.
 * false: no memory. */
bool rows_choose(struct chosen *c, const struct weir_rows *r, size_t first_in,
                 size_t n_in, bool skip, bool sort);
void rows_free(struct chosen *c);

bool columns_new(struct columns *c, const uint32_t *types, size_t n,
                 const struct analyzer *a);
void columns_free(struct columns *c); /* with the GIL, or before anything was made */
bool columns_fetch(struct columns *c, const struct weir_rows *r, size_t first_in,
                   const struct chosen *rows);
int columns_make(struct columns *c, size_t n,
                 const struct chosen *rows); /* -1: an exception */
/* -1: an exception that says that an array was kept. */
int columns_give_back(struct columns *c);

/* For memory that is no column. */
PyObject *lent_new(void *values, size_t size, char format, bool writable);
void lent_end(PyObject *lent);
bool lent_is_kept(PyObject *lent);
bool lent_is_over(PyObject *lent); /* lent_end was called */

void *scratch_take(struct scratch *s, size_t size); /* NULL: no memory */

#endif
