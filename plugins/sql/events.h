/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `events` of a statement: a virtual table over the rows of a window, where they lie. It gives them in the
 * order of time and log, by the columns of ORDER BY or GROUP BY, or those with one value of a column, so that
 * SQLite neither sorts nor goes through all rows for each of a join.
 */
#ifndef EVENTS_H
#define EVENTS_H

#include "weir/plugin.h"

#include <sqlite3.h>
#include <stdbool.h>

struct events {
    struct weir_ctx *ctx;
    const char *const *name; /* of its columns */
    uint32_t first, n;       /* they are inputs [first, first + n) */
    uint32_t stream;         /* column that says whose a row is; n: all are one's */
    const struct weir_rows *rows; /* of the window at hand; NULL: it has none */
    uint32_t *
        *by; /* of each column: rows in its order; NULL: not sorted yet. 0 to n - 1 */
    bool *reads; /* of each column: a plan that was made reads it */
    const struct weir_column *
        *fetched; /* those of the window that are read, but bits */
    uint32_t n_fetched;
    uint64_t seed; /* of hashes; no result depends on it */
    bool trial;    /* rows have whatever value is asked for by `column = value` */
};

/* Makes it known to the connection. What `e` points to outlives that. An SQLite code.
 * A statement that reads a column which rows are without, NULL in `in`, fails with a text. */
int events_install(struct events *e, sqlite3 *db);

/* Other rows, until the next call; no statement is running. */
void events_set(struct events *e, const struct weir_rows *rows);

/* What sqlite3_column_decltype says of a column of this type; and what type has said it, 0: none. */
const char *events_decltype(uint32_t type);
uint32_t events_type(const char *decltype);

#endif
