/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows as they were given out, of tables whose rows are replaced and that other pipelines read: when the next ones come, or
 * none any more, those take the ones before out again.
 *
 *      group given out again:  rows before --(taken out)--> children        of a group and a table, kept with the worker's
 *                              rows now    --(folded in)--> children        slot, and stored with it
 */
#ifndef WEIR_PIPELINE_FORMER_H
#define WEIR_PIPELINE_FORMER_H

#include "base/buffer.h"
#include "batch/cell.h"
#include "pipeline/rowset.h"

/* A group's rows of one table. */
struct former {
    struct former *next; /* of another table */
    uint32_t table;      /* its number among those of one size of windows */
    uint32_t revision;   /* of the group, when they were given out */
    uint32_t rows, columns;
    uint32_t size; /* bytes of strings, which stand behind the cells */
    struct weir_cell cell[];
};

/* Of each slot of a worker, those of all tables that are read. */
struct former_rows {
    struct former **at; /* NULL: it has none */
    uint32_t room;
};

/* A copy, of one table. -ENOMEM. */
int former_new(const struct weir_cell *row, size_t rows, size_t columns,
               struct former **ret);
void former_drop(struct former *list);
/* Those of a table; NULL: there are none. */
const struct former *former_of(const struct former *list, size_t table);

static inline struct former *former_at(const struct former_rows *r, uint32_t slot)
{
    return slot < r->room ? r->at[slot] : NULL;
}
/* Takes the list, NULL: none, in the place of the one before. -ENOMEM: that one stays, the new one is freed. */
int former_set(struct former_rows *r, uint32_t slot, struct former *list);
/* The caller's from then on; NULL: it has none. */
struct former *former_take(struct former_rows *r, uint32_t slot);
void former_free(struct former_rows *r);

/* To a checkpoint, and back; the tables are those of one size. -ESTALE: they are rows of tables that had other columns;
 * -EBADMSG: they are none; -ENOMEM. */
void former_save(const struct former *list, const struct table *const *table,
                 struct buffer *to);
int former_load(const struct table *const *table, size_t n, const char *bytes,
                size_t size, struct former **ret);

#endif
