/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of a statement as JSON, NDJSON, CSV or a table for people, piece by piece: the buffer is the
 * caller's to hand on and clear between rows.
 *
 *      rowout_begin, rowout_row for each row, rowout_end, rowout_free
 *
 * In objects no name comes twice: of columns with the same name the second is called name_2. A table is as wide as
 * its names and first rows.
 */
#ifndef WEIR_QUERY_ROWOUT_H
#define WEIR_QUERY_ROWOUT_H

#include "base/buffer.h"
#include "weir/plugin.h"

#include <sqlite3.h>
#include <stdbool.h>

enum rowout_format { ROWOUT_JSON, ROWOUT_NDJSON, ROWOUT_CSV, ROWOUT_TABLE };

/* How times are printed; milliseconds and seconds are whole ones that have begun. */
enum rowout_times { ROWOUT_RFC3339, ROWOUT_US, ROWOUT_MS, ROWOUT_S };

struct rowout_column {
    const char *name;
    enum weir_type
        type; /* WEIR_TIME is printed as a time, WEIR_BOOL as true and false; 0: as stored */
};

struct rowout {
    enum rowout_format format;
    enum rowout_times times;
    bool
        arrays; /* JSON: {"columns":[...],"rows":[[...],...],"truncated":...}, not [{...},...] */
    size_t n_columns;
    const struct rowout_column *column; /* as many as the statement has */
    uint64_t rows;                      /* written so far */

    struct buffer keys; /* of objects: each column's, as it is written, and a zero */
    struct buffer
        held;      /* of a table: cells of the first rows, each with a zero behind */
    size_t *width; /* of a table's columns, once they are known */
};

/* "json", "ndjson", "csv", "table"; -EINVAL. */
int rowout_parse(const char *name, enum rowout_format *ret);

/* "rfc3339", "us", "ms", "s"; -EINVAL. */
int rowout_parse_times(const char *name, enum rowout_times *ret);

/* The one that an Accept header wants most, by weight, then by name rather than by *, then by place; JSON where
 * it takes anything or is NULL. -ENOENT: it takes none. */
int rowout_accept(const char *accept, enum rowout_format *ret);

const char *rowout_content_type(enum rowout_format format);

void rowout_begin(struct rowout *o, struct buffer *b);
void rowout_row(struct rowout *o, struct buffer *b, sqlite3_stmt *row);
/* `cut` says why rows are missing ("rows", "bytes", "time"), or is NULL; only JSON with arrays and the
 * table can say it. */
void rowout_end(struct rowout *o, struct buffer *b, const char *cut);
/* One value, as in JSON; times as RFC 3339. */
void rowout_put_value(struct buffer *b, sqlite3_stmt *row, int column,
                      enum weir_type type);
void rowout_free(struct rowout *o); /* what it has allocated; at any time */

#endif
