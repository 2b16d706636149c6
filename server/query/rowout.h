/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of a statement as JSON, NDJSON, CSV, Arrow or a table for people, piece by piece: the buffer is the
 * caller's to hand on and clear between rows, behind a rowout_flush.
 *
 *      rowout_begin, rowout_row for each row, rowout_end, rowout_free
 *
 * In objects and in Arrow no name comes twice: of columns with the same name the second is called name_2. A table is as wide as
 * its names and first rows.
 */
#ifndef WEIR_QUERY_ROWOUT_H
#define WEIR_QUERY_ROWOUT_H

#include "base/buffer.h"
#include "base/error.h"
#include "query/arrow.h"
#include "weir/plugin.h"

#include <sqlite3.h>
#include <stdbool.h>

enum rowout_format {
    ROWOUT_JSON,
    ROWOUT_NDJSON,
    ROWOUT_CSV,
    ROWOUT_TABLE,
    ROWOUT_ARROW,
};
#define ROWOUT_FORMATS (ROWOUT_ARROW + 1u)

/* How times are printed; milliseconds and seconds are whole ones that have begun. In Arrow the first is timestamps, the
 * others are numbers. */
enum rowout_times { ROWOUT_RFC3339, ROWOUT_US, ROWOUT_MS, ROWOUT_S };

struct rowout_column {
    const char *name;
    enum weir_type
        type; /* WEIR_TIME is printed as a time, WEIR_BOOL as true and false; all else, and 0, as stored. Where Arrow
                 begins with a column: query/arrow.h */
};

struct rowout {
    enum rowout_format format;
    enum rowout_times times;
    bool
        arrays; /* JSON: {"columns":[...],"rows":[[...],...],"truncated":...}, not [{...},...] */
    size_t n_columns;
    const struct rowout_column *column; /* as many as the statement has */
    uint64_t rows;                      /* written so far */

    struct buffer
        names; /* of objects: each column's, as it is written, and a zero; of Arrow */
    struct arrow *arrow; /* with rows that are not flushed */
    struct error
        why; /* the buffer's error -EDOM: a value that does not fit into its column */

    struct buffer
        held;      /* of a table: cells of the first rows, each with a zero behind */
    size_t *width; /* of a table's columns, once they are known */
};

/* "json", "ndjson", "csv", "table", "arrow"; -EINVAL. */
int rowout_parse(const char *name, enum rowout_format *ret);

/* "rfc3339", "us", "ms", "s"; -EINVAL. */
int rowout_parse_times(const char *name, enum rowout_times *ret);

/* The one that an Accept header wants most, by weight, then by name rather than by *, then by place; JSON where
 * it takes anything or is NULL. -ENOENT: it takes none. */
int rowout_accept(const char *accept, enum rowout_format *ret);

const char *rowout_content_type(enum rowout_format format);

void rowout_begin(struct rowout *o, struct buffer *b);
void rowout_row(struct rowout *o, struct buffer *b, sqlite3_stmt *row);
/* Bytes of the rows in the buffer and, of Arrow, beside it. */
size_t rowout_size(const struct rowout *o, const struct buffer *b);
/* All rows so far into the buffer. */
void rowout_flush(struct rowout *o, struct buffer *b);
void rowout_drop(struct rowout *o); /* the last row, of Arrow, which was not flushed */
/* `cut` says why rows are missing ("rows", "bytes", "time"), or is NULL; only JSON with arrays and the
 * table can say it. */
void rowout_end(struct rowout *o, struct buffer *b, const char *cut);
/* What a column of the statement was declared as, if that is a name of one of our types; 0. */
enum weir_type rowout_declared(sqlite3_stmt *s, int column);
/* One value, as in JSON; times as RFC 3339. */
void rowout_put_value(struct buffer *b, sqlite3_stmt *row, int column,
                      enum weir_type type);
void rowout_free(struct rowout *o); /* what it has allocated; at any time */

#endif
