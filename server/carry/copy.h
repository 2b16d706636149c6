/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows in the binary form of PostgreSQL's COPY (its manual, COPY, "Binary Format"):
 *
 *      "PGCOPY\n\377\r\n\0" | flags int32 | length of an extension int32        then rows:
 *      fields int16 | for each: bytes int32, -1 for null | bytes                and at the end -1 int16
 */
#ifndef WEIR_CARRY_COPY_H
#define WEIR_CARRY_COPY_H

#include "weir/plugin.h"

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

struct copy {
    char *data;
    size_t size, room, rows;
};

/* Empties it, and begins anew. -ENOMEM. */
int copy_begin(struct copy *c);
int copy_end(struct copy *c);
void copy_free(struct copy *c);

/* Bytes as they are. -ENOMEM. */
int copy_bytes(struct copy *c, const void *bytes, size_t size);
/* A row of n fields, from where it can be taken back: c->size. -ENOMEM. */
int copy_row(struct copy *c, size_t n);
/* A field: a column of a row of SQLite, which has this type or is null. -ENOMEM; -EDOM: PostgreSQL has no such
 * value: a time of before 4714 BC or behind 294276, a text with a zero byte, or not in UTF-8. */
int copy_value(struct copy *c, enum weir_type type, sqlite3_stmt *row, int column);
/* The same of a cell, as it would be read back from SQLite. */
int copy_cell(struct copy *c, enum weir_type type, const struct weir_cell *cell);
int copy_text(struct copy *c, const char *text); /* which is UTF-8. -ENOMEM */

#endif
