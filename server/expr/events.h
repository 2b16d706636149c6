/* SPDX-License-Identifier: Apache-2.0
 *
 * The rows of a batch as a table of SQLite, called events, and an expression over it. There is no expression
 * language of our own: what is allowed is what SQLite takes, and what gives the same value for the same row: no
 * sub-selects, no random(), no 'now' or 'localtime', no rowid.
 *
 *      events_new -> events_select -> [events_begin -> events_step until EVENTS_END]*
 */
#ifndef WEIR_EXPR_EVENTS_H
#define WEIR_EXPR_EVENTS_H

#include "base/error.h"
#include "batch/batch.h"

#include <sqlite3.h>

struct events {
    sqlite3 *db;
    sqlite3_stmt *select;
    const struct schema *schema;
    const struct batch *batch;
    const uint32_t *row;
    uint32_t n, at;
};

/* Checks the expression. One for each thread that uses it. -EINVAL with SQLite's text, -ENOMEM. */
int events_new(const struct schema *schema, const char *expression, struct events **ret,
               struct error *error);
void events_free(struct events *f); /* takes NULL */

/* What is selected: the value of each row, or with `where` the rows for which it is true. -EINVAL, -ENOMEM. */
int events_select(struct events *f, bool where, const char *expression,
                  struct error *error);

/* The table has the rows row[0..n) of the batch from now on. */
void events_begin(struct events *f, const struct batch *b, const uint32_t *row,
                  uint32_t n);

enum events_step {
    EVENTS_ROW,   /* `select` has a row: it is that of row[at] */
    EVENTS_FAULT, /* it cannot be computed for row[at], by an integer overflow, say; the caller moves `at` on */
    EVENTS_END,
    EVENTS_NO_MEMORY,
};
enum events_step events_step(struct events *f);

#endif
