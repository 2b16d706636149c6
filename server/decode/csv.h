/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of CSV (RFC 4180): found and cut into fields in one pass, which may stop anywhere.
 *
 *              quote                     quote
 *   FIELD ---------------> QUOTED <===================> QUOTE --- CR ---> RETURN
 *    ^  |                            (two are one)        |                 | line feed: end
 *    |  +-- other --> PLAIN -- line feed: end             +-- comma, line feed, as in PLAIN
 *    +---- comma -------+
 */
#ifndef WEIR_DECODE_CSV_H
#define WEIR_DECODE_CSV_H

#include "decode/names.h"
#include "decode/record.h"

#define CSV_FIELDS_MAX 4096 /* of a row; those past it are counted, no more */

enum csv_state { CSV_FIELD, CSV_PLAIN, CSV_QUOTED, CSV_QUOTE, CSV_RETURN };

struct csv_field {
    size_t begin, end; /* offsets in the row, without the quotes around */
    bool quoted, doubled;
};

struct csv {
    struct record record;
    struct names names;
    bool have_header;
    size_t n_columns;               /* fields of the header */
    int16_t column[CSV_FIELDS_MAX]; /* where each goes, or -1 */
    uint64_t missing[RECORD_WORDS]; /* columns that the header does not name */

    unsigned bom; /* bytes of a byte order mark seen; 3: no more is expected */
    enum csv_state state;
    size_t at; /* bytes of the row before the next piece */
    size_t n_fields;
    const char
        *problem; /* the first thing wrong with the row's quotes, at problem_at */
    size_t problem_at;
    struct csv_field field[CSV_FIELDS_MAX];
};

/* `c` is zeroed but for record. */
void csv_init(struct csv *c);

void csv_begin_body(struct csv *c);
void csv_begin_row(struct csv *c);

/* Behind the row's end, or NULL if that is not before `end`. */
const char *csv_scan(struct csv *c, const char *p, const char *end);

/* The row that was scanned; its bytes begin at p, end with a line feed and are RECORD_PAD short of the
 * end of what may be read. The first row that is not blank is the header: RECORD_BAD then means that
 * nothing of the body can be read. Returns an enum record_status, or -ENOMEM. */
int csv_decode(struct csv *c, const char *p, size_t size);

#endif
