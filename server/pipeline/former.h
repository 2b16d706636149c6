/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows as they were given out, of a table whose rows are replaced and that other pipelines read: when the next one comes, or
 * none any more, those take the one before out again.
 *
 *      group given out again:  row before --(taken out)--> children         one a group, kept with the worker's slot,
 *                              row now    --(folded in)--> children         and stored with it
 */
#ifndef WEIR_PIPELINE_FORMER_H
#define WEIR_PIPELINE_FORMER_H

#include "base/buffer.h"
#include "batch/cell.h"
#include "pipeline/rowset.h"

struct former {
    uint32_t n, size; /* cells; bytes of strings, which stand behind them */
    struct weir_cell cell[];
};

/* Of each slot of a worker. */
struct former_rows {
    struct former **at; /* NULL: it has none */
    uint32_t room;
};

/* A copy. -ENOMEM. */
int former_new(const struct weir_cell *row, size_t n, struct former **ret);

static inline struct former *former_at(const struct former_rows *r, uint32_t slot)
{
    return slot < r->room ? r->at[slot] : NULL;
}
/* Takes the row, NULL: none, in the place of the one before. -ENOMEM: that one stays, the row is freed. */
int former_set(struct former_rows *r, uint32_t slot, struct former *row);
/* The caller's from then on; NULL: it has none. */
struct former *former_take(struct former_rows *r, uint32_t slot);
void former_free(struct former_rows *r);

/* To a checkpoint, and back: -EBADMSG where the bytes are no row of the table; -ENOMEM. */
void former_save(const struct former *row, struct buffer *to);
int former_load(const struct table *t, const char *bytes, size_t size,
                struct former **ret);

#endif
