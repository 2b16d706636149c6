/* SPDX-License-Identifier: Apache-2.0
 *
 * One line of the line protocol of InfluxDB to one row: tags and fields are columns by name, the time stands at the
 * end.
 *
 *      trades,symbol=SYM0042,venue=X price=123.45,qty=3i,note="a \"b\"" 1700000000123000000
 *      measurement, tags             fields                             time
 *
 * Commas, spaces and equals signs are escaped by a backslash where they stand in names and tags, quotes and
 * backslashes in strings, which may hold line feeds; any other backslash is one. Layouts (layout.h) serve as for JSON.
 */
#ifndef WEIR_DECODE_LINES_H
#define WEIR_DECODE_LINES_H

#include "decode/layout.h"
#include "decode/names.h"

struct lines {
    struct record record; /* unit: that of the times, or DECODE_ARRIVAL */
    struct names names;   /* of all columns but the time */
    struct layouts layouts;
    uint64_t all[RECORD_WORDS], seen[RECORD_WORDS];
    uint64_t skipped;     /* values of accepted lines that no column wants */
    uint64_t row_skipped; /* of the row at hand (named.h) */
    bool feeds;           /* there are line feeds in the line */
    bool guess;           /* the unit of a time is to be seen from its digits */
    char *key;            /* a name without its backslashes */
    size_t key_room;      /* longer ones are no column's */
};

/* Where a line ends is found byte by byte where it is cut: not at a line feed in a string. */
enum lines_state {
    LINES_START,
    LINES_COMMENT,
    LINES_NAMES,   /* measurement and tags */
    LINES_ESCAPED, /* behind a backslash there */
    LINES_KEY,     /* of a field, and its value if that is no string, and the time */
    LINES_KEY_ESCAPED,
    LINES_EQUALS, /* behind the equals sign of a field */
    LINES_STRING,
    LINES_STRING_ESCAPED,
};

/* `l` is zeroed but for record. -ENOMEM. */
int lines_init(struct lines *l);
void lines_free(struct lines *l);

/* Behind the line's end, or NULL if that is not before `end`. Goes on in *state, LINES_START at first. */
const char *lines_scan(enum lines_state *state, const char *p, const char *end);

/* The line at p, in bytes that end with a line feed in front of `limit` and are RECORD_PAD short of the end of what may
 * be read. RECORD_OK, RECORD_BLANK: *ret_end is set behind it. RECORD_CUT: a string goes on behind `limit`. Other
 * values of enum record_status, or -ENOMEM. */
int lines_decode(struct lines *l, const char *p, const char *limit,
                 const char **ret_end);

/* The line at p seems to be one of those that `l` has seen before. */
static inline bool lines_predict(const struct lines *l, const char *p)
{
    const struct layout *at = &l->layouts.layout[l->layouts.current];
    return at->n && layout_matches(&at->slot[0], p);
}

/* The measurement at p, behind spaces: its end, and how it begins without backslashes in *ret_name and *ret_size, at
 * `room` if there are any, which has LINES_NAME_MAX bytes. NULL: there is none, or it is longer. */
#define LINES_NAME_MAX 256
const char *lines_measurement(const char *p, char *room, const char **ret_name,
                              size_t *ret_size);

/* Nothing, or a comment. */
bool lines_is_blank(const char *p);

#endif
