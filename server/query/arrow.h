/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of a statement as a stream of Arrow's interchange format (arrow.apache.org, "Columnar Format", IPC streaming): a schema, then
 * batches. Rows are kept as columns until they are flushed.
 *
 *      arrow_new, arrow_row for each row, arrow_flush now and then, arrow_end, arrow_free
 *
 * Values of SQLite have types of their own, whatever their column's is. What a column is, is settled by the first flush: by what was
 * declared, or the first of these that holds each of its values without loss:
 *
 *      nothing yet --> int64 --> float64 --> utf8      utf8, if there is nothing
 *                 \--> timestamp, binary -->/
 *
 * A later value that does not fit is -EDOM.
 *
 * Each message begins with a mark, FFFFFFFF. Here that of the next one ends each piece, so that a stream that is cut between two batches
 * ends in the middle of a message, for whoever reads.
 */
#ifndef WEIR_QUERY_ARROW_H
#define WEIR_QUERY_ARROW_H

#include "base/buffer.h"
#include "base/error.h"
#include "weir/plugin.h"

#include <sqlite3.h>
#include <stdbool.h>

struct arrow;

struct arrow_field {
    const char *name;    /* UTF-8; stays the caller's until arrow_free */
    enum weir_type type; /* 0: not known */
    int64_t
        unit_us; /* WEIR_TIME: 0: timestamps; otherwise numbers of units that have begun */
};

/* -ENOMEM. */
int arrow_new(const struct arrow_field *field, size_t n, struct arrow **ret);
void arrow_free(struct arrow *a); /* takes NULL */

/* The row on which the statement stands. -ENOMEM; -EDOM, with a text. */
int arrow_row(struct arrow *a, sqlite3_stmt *row, struct error *error);
/* Takes back the last row, which was not flushed. */
void arrow_drop(struct arrow *a);

size_t arrow_size(const struct arrow *a); /* bytes of the values that are kept */

/* Appends the schema, if that was not done, and what is kept as one batch. */
void arrow_flush(struct arrow *a, struct buffer *to);
/* And the end. */
void arrow_end(struct arrow *a, struct buffer *to);

#endif
