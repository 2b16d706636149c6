/* SPDX-License-Identifier: Apache-2.0
 *
 * The question behind GET .../results: query arguments, checked against the table, and the SELECT they
 * make.
 */
#ifndef WEIR_API_ASK_H
#define WEIR_API_ASK_H

#include "base/error.h"
#include "http/http.h"
#include "pipeline/rowset.h"
#include "query/rowout.h"

#define ASK_LIMIT_DEFAULT 1000
#define ASK_LIMIT_MAX     100000 /* JSON; others may ask for limit=all */
#define ASK_COLUMNS_MAX   300    /* SCHEMA_COLUMNS_MAX and window_end, with room */
#define ASK_FILTERS_MAX   500    /* values of all key filters together */

struct ask_filter {
    size_t column;    /* of the table */
    const char *text; /* may hold zeros */
    size_t size;
    int64_t number; /* not of string columns */
};

/* Rows of windows that are still open: none, behind those of the table, or these alone. */
enum ask_open { ASK_NONE_OPEN, ASK_WITH_OPEN, ASK_ONLY_OPEN };

struct ask {
    const struct table *table;
    enum ask_open
        open; /* the last column shown then says whether the row is one of those */
    int64_t from_us,
        to_us; /* window_start >= from, < to; INT64_MIN, INT64_MAX: not given */
    bool descending;
    enum rowout_times times;
    bool all;
    uint64_t limit;
    const char *cursor; /* NULL: from the beginning */
    enum rowout_format format;
    size_t n_columns;
    struct rowout_column column[ASK_COLUMNS_MAX]; /* what is shown */
    size_t n_filters;
    struct ask_filter filter[ASK_FILTERS_MAX];
};

/* What is asked: rows by their key, in pages; those committed from now on; those committed behind a place; in pages, of
 * all servers. */
enum ask_kind { ASK_PAGES, ASK_LIVE, ASK_CHANGED, ASK_EVERYWHERE };

/* Reads the request's arguments and Accept header. -EINVAL; -ENOENT: the header takes no format that there is. `ask`
 * points into the request. */
int ask_parse(struct ask *ask, const struct table *table, enum ask_kind kind,
              struct http_request *r, struct error *error);

enum ask_select {
    ASK_ROWS, /* the columns shown, then those of the primary key; LIMIT is a parameter */
    ASK_LOOKAHEAD, /* the primary key of the last row of the page, and of the row behind it */
    ASK_MARKED_CLOSED, /* as ASK_ROWS of one that asks for open windows; then the revision, 0 if there is none; of the */
    ASK_MARKED_OPEN,   /* table in the file, of one that has the rows of open windows */
};

/* The statement's text, or NULL (no memory): sqlite3_free. Rows behind the cursor `after`, up to and
 * with the cursor `last`; NULL: not bounded. */
char *ask_sql(const struct ask *ask, enum ask_select what, bool after, bool last);

/* Binds what ask_sql has left open. */
int ask_bind(const struct ask *ask, sqlite3_stmt *s, const char *after,
             const char *last, uint64_t limit, uint64_t offset);

/* Of what was committed: the columns shown, if `columns`, then the number of the change. For sqlite3_free; NULL: no
 * memory. */
char *ask_sql_changes(const struct ask *ask, bool columns);
/* Those with numbers > after, <= last. */
void ask_bind_changes(const struct ask *ask, sqlite3_stmt *s, int64_t after,
                      int64_t last, int64_t limit, int64_t offset);

#endif
