/* SPDX-License-Identifier: Apache-2.0
 *
 * Result rows on their way from a worker to the store: cells in row order, the table they belong to,
 * and the log position after which they are complete.
 */
#ifndef WEIR_PIPELINE_ROWSET_H
#define WEIR_PIPELINE_ROWSET_H

#include "batch/cell.h"
#include "window/window.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A result table, made from the configuration. Columns in this order: window_start, the key columns,
 * then (many-row tables only) `rank` (1, 2, ... in the order the analyzer put the rows), then window_end,
 * then (only where late events revise results) `revision`, then outputs. Primary key: all columns before
 * window_end.
 *
 * Rows of a table without `revision` never change: one that is there already is ignored. In one with it
 * the rows of a group (window_start and key) all have the same revision, and take the place of those with
 * a smaller one. A row of rank 0, or where groups have one row one whose window_end is null, is no result: it says that
 * a revised group now has no rows.
 *
 * The table of late events has the columns window_start, `position`, `row`, which are its primary key,
 * window_end, and then those of the stream. */
struct table_column {
    char *name;
    enum weir_type type; /* stored as INTEGER (int, bool, time), REAL or TEXT */
    char *help;
};

struct table {
    char *name;
    char *pipeline;
    char *
        top; /* the pipeline of its chain that reads the stream; NULL: it does itself */
    struct window_kind window;
    int64_t retain_us; /* INT64_MAX: for ever */
    size_t
        n_keys; /* key columns, behind window_start; of windows by count with `number` */
    size_t n_primary; /* 1 + n_keys, or 2 + n_keys with rank; 3 of late events; also the
                        * index of window_end */
    size_t revision;  /* index of its column, n_primary + 1; 0: it has none */
    bool late;        /* events as they came, not results */
    bool
        rows; /* events that are selected: column 0 is their time, and there is no window_end */
    size_t n_columns;
    struct table_column *column;
};

/* The index of the i-th column as people see them: window_end beside window_start. */
static inline size_t table_shown(const struct table *t, size_t i)
{
    if (t->rows)
        return i;
    if (i == 1)
        return t->n_primary;
    return i > 1 && i <= t->n_primary ? i - 1 : i;
}

/* Rows given out before the watermark has passed their window are early: what comes until it has may make them others,
 * which then take their place. */
enum rowset_when { ROWS_FINAL, ROWS_EARLY, ROWS_INSTEAD /* of early ones; final */ };

struct rowset_chunk; /* strings that cells point into */

struct rowset {
    const struct table *table;
    enum rowset_when when;
    size_t
        n_rows;  /* of table->n_columns cells each; in the order of the primary key they
                    * are written fastest */
    size_t room; /* rows */
    struct weir_cell *cell; /* row after row */
    size_t *overdue;        /* rows, in order, that who joins results does not find */
    size_t n_overdue;
    size_t bytes; /* of strings that were kept */
    struct rowset_chunk *chunks;
    int64_t first; /* number of the first row's change (store/hand.h); 0: unknown */
    struct rowset *next; /* for lists */
};

/* Room for `rows` rows at first. -ENOMEM. */
int rowset_new(const struct table *table, size_t rows, struct rowset **ret);

/* The cells of one more row, all null; valid until the next call. NULL: no memory. */
struct weir_cell *rowset_row(struct rowset *r);

/* The last row came too late for those that join results: all that could find it have been answered. -ENOMEM. */
int rowset_overdue(struct rowset *r);

/* How many of n rows from `first` on are results: those of one group, see struct table. */
size_t rowset_results(const struct rowset *r, size_t first, size_t n);

/* Replaces the string of a cell by a copy that lives as long as the rows. -ENOMEM. */
int rowset_keep(struct rowset *r, struct weir_cell *cell);

/* The value of a row of a batch, null as it may be. -ENOMEM. */
int rowset_value(struct rowset *r, const struct weir_column *c, uint32_t row,
                 struct weir_cell *ret);

void rowset_free(struct rowset *r); /* takes NULL; one, not the list */

void table_free(struct table *t); /* takes NULL */

#endif
