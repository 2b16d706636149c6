/* SPDX-License-Identifier: Apache-2.0
 *
 * GET /api/v1/pipelines/{pipeline}/results[/{table}]: rows in the order of the primary key, streamed in
 * pieces. No statement, hence no snapshot of the file, and no thread is held while a client is waited for.
 */
#include "api/ask.h"
#include "api/cursor.h"
#include "api/internal.h"
#include "api/open.h"
#include "api/rows.h"
#include "base/clock.h"
#include "store/db.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESULTS_PIECE_ROWS 10000
#define RESULTS_OPEN_US    (5 * SECOND_US) /* for what open windows are waited for */

struct results {
    struct ask ask;
    struct http_request *request;
    const struct api *api;
    struct pipeline *pipeline; /* whose table it is */
    struct open *open;         /* rows of windows that are; NULL: not asked for */
    struct reader *reader;     /* while a piece is made */
    struct rows rows;
    struct buffer after; /* cursor of the last row written; empty: none yet */
    struct buffer last;  /* cursor of the last row of the page; empty: all */
};

static int results_prepare(struct results *x, enum ask_select what, sqlite3_stmt **ret,
                           struct error *error)
{
    const char *after = x->after.size ? buffer_text(&x->after) : NULL;
    const char *last = x->last.size ? buffer_text(&x->last) : NULL;
    rows_limit(x->reader, x->request, x->api->is.config->server.sql_timeout_us);
    char *sql = ask_sql(&x->ask, what, after, last);
    if (!sql)
        return error_set(error, -ENOMEM, "out of memory");
    int offset;
    int err = reader_prepare(x->reader, sql, strlen(sql), ret, &offset, error);
    sqlite3_free(sql);
    if (err)
        return err;
    uint64_t limit = what == ASK_ROWS ? RESULTS_PIECE_ROWS : 2;
    err = ask_bind(&x->ask, *ret, after, last, limit,
                   what == ASK_ROWS ? 0 : x->ask.limit - 1);
    return err ? error_set(error, err, "the key of a row is too long for a cursor") : 0;
}

static int results_open(struct results *x, struct open_read *ret, struct error *error)
{
    rows_limit(x->reader, x->request, x->api->is.config->server.sql_timeout_us);
    return open_begin(x->open, &x->ask, x->reader,
                      x->after.size ? buffer_text(&x->after) : NULL,
                      x->last.size ? buffer_text(&x->last) : NULL, ret, error);
}

/* The same two, with rows of open windows among those of the table. */
static int results_look_ahead_open(struct results *x, bool *ret_more,
                                   struct error *error)
{
    struct open_read read;
    sqlite3_stmt *s = NULL;
    int err = results_open(x, &read, error), got = 1;
    for (uint64_t i = 0; !err && got == 1 && i < x->ask.limit; i++)
        got = open_next(&read, &s, error);
    if (!err && got == 1) {
        err = cursor_make(x->ask.table, s, (int)x->ask.n_columns, &x->last);
        if (err)
            error_set(error, err, "the key of a row is too long for a cursor");
        got = err ? err : open_next(&read, &s, error);
        *ret_more = got == 1;
    }
    open_end(&read);
    return err ? err : got < 0 ? got : 0;
}

static int results_open_rows(struct results *x, struct rowout *o, struct buffer *text,
                             bool *ret_end, struct error *error)
{
    struct open_read read;
    sqlite3_stmt *s = NULL;
    int err = results_open(x, &read, error), got = err;
    bool full = false;
    while (!err && !full && (got = open_next(&read, &s, error)) == 1) {
        rowout_row(o, text, s);
        full = rowout_size(o, text) >= ROWS_PIECE;
        if (!full)
            continue;
        buffer_clear(&x->after);
        err = cursor_make(x->ask.table, s, (int)x->ask.n_columns, &x->after);
        if (err)
            error_set(error, err, "the key of a row is too long for a cursor");
    }
    *ret_end = !full;
    open_end(&read);
    return err ? err : got < 0 ? got : 0;
}

/* Finds where the page ends, and whether there is more behind it. */
static int results_look_ahead(struct results *x, bool *ret_more, struct error *error)
{
    if (x->open)
        return results_look_ahead_open(x, ret_more, error);
    DB_STATEMENT s = NULL;
    int err = results_prepare(x, ASK_LOOKAHEAD, &s, error);
    if (err)
        return err;
    int got = reader_step(x->reader, s, error);
    if (got != 1)
        return got;
    err = cursor_make(x->ask.table, s, 0, &x->last);
    if (err)
        return error_set(error, err, "the key of a row is too long for a cursor");
    got = reader_step(x->reader, s, error);
    *ret_more = got == 1;
    return got < 0 ? got : 0;
}

/* *ret_end: nothing comes behind these rows. */
static int results_rows(struct results *x, struct rowout *o, struct buffer *text,
                        bool *ret_end, struct error *error)
{
    DB_STATEMENT s = NULL;
    int err = results_prepare(x, ASK_ROWS, &s, error);
    size_t rows = 0;
    int got = err;
    bool full = false;
    while (!full && (got = err ? err : reader_step(x->reader, s, error)) == 1) {
        rowout_row(o, text, s);
        full = ++rows == RESULTS_PIECE_ROWS || rowout_size(o, text) >= ROWS_PIECE;
        if (!full)
            continue;
        buffer_clear(&x->after);
        err = cursor_make(x->ask.table, s, (int)x->ask.n_columns, &x->after);
        if (err)
            return error_set(error, err, "the key of a row is too long for a cursor");
    }
    *ret_end = !full;
    return got < 0 ? got : 0;
}

static int results_piece(void *results, struct rowout *o, struct buffer *text,
                         bool *ret_end, struct error *error)
{
    struct results *x = results;
    int err = reader_get(x->api->is.readers, &x->reader, error);
    if (!err)
        err = x->open ? results_open_rows(x, o, text, ret_end, error)
                      : results_rows(x, o, text, ret_end, error);
    reader_put(x->reader);
    x->reader = NULL;
    return err;
}

static void results_free(void *results)
{
    struct results *x = results;
    if (!x)
        return;
    pipeline_unref(x->pipeline);
    open_free(x->open);
    buffer_free(&x->after);
    buffer_free(&x->last);
    free(x);
}

/* Takes x. */
static void results_answer(struct results *x)
{
    struct error error = {""};
    bool more = false;
    int err = 0;
    if (x->ask.cursor)
        buffer_puts(&x->after, x->ask.cursor);
    if (x->ask.open)
        err = open_new(x->api, x->pipeline, &x->ask, x->request,
                       clock_monotonic_us() + RESULTS_OPEN_US, &x->open, &error);
    if (!err && !x->ask.all) {
        err = reader_get(x->api->is.readers, &x->reader, &error);
        if (!err)
            err = results_look_ahead(x, &more, &error);
        reader_put(x->reader);
        x->reader = NULL;
    }
    if (err) {
        rows_failed(x->request, err, error.text);
        results_free(x);
        return;
    }
    if (more)
        api_say_next(x->request, "cursor", buffer_text(&x->last), true);
    x->rows = (struct rows){.request = x->request,
                            .name = x->ask.table->name,
                            .out = {.format = x->ask.format,
                                    .times = x->ask.times,
                                    .n_columns = x->ask.n_columns,
                                    .column = x->ask.column},
                            .piece = results_piece,
                            .free = results_free,
                            .ctx = x};
    rows_send(&x->rows);
}

/* The table named in the path, the pipeline's own, or the only one with results. One that a crash left out may have none. */
const struct table *results_table(struct pipeline *p, struct http_request *r)
{
    const struct table *const *tables;
    size_t n = pipeline_tables(p, &tables);
    const char *name = http_param(r, "table");
    const char *wanted = name ? name : http_param(r, "pipeline");
    if (n == 0) {
        http_problem(r, 503, "pipeline_failed",
                     "pipeline '%s' is left out, and its tables are not known: its "
                     "status says why",
                     http_param(r, "pipeline"));
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        if (strcmp(tables[i]->name, wanted) == 0)
            return tables[i];
    if (!name && n - tables[n - 1]->late == 1)
        return tables[0];
    struct error list = {""};
    for (size_t i = 0; i < n; i++) {
        size_t used = strlen(list.text);
        snprintf(list.text + used, sizeof(list.text) - used, " %s", tables[i]->name);
    }
    if (name)
        http_problem(r, 404, "unknown_table",
                     "pipeline '%s' has no table '%s'; there are:%s",
                     http_param(r, "pipeline"), name, list.text);
    else
        http_problem(r, 404, "unknown_table",
                     "name the table: .../results/TABLE; there are:%s", list.text);
    return NULL;
}

/* Takes the pipeline. */
static void results_of(struct http_request *r, void *api, struct pipeline *p)
{
    const struct table *t = results_table(p, r);
    if (t && http_query(r, "shards")) {
        everywhere_get(r, api, p, t);
        return;
    }
    struct results *x = t ? calloc(1, sizeof(*x)) : NULL;
    if (t && !x)
        http_problem(r, 503, "out_of_memory", "no memory");
    if (!x) {
        pipeline_unref(p);
        return;
    }
    x->request = r;
    x->api = api;
    x->pipeline = p;
    struct error error = {""};
    const bool changed = http_query(r, "changed_since") != NULL;
    int err = ask_parse(&x->ask, t, changed ? ASK_CHANGED : ASK_PAGES, r, &error);
    if (!err && changed) {
        changed_get(r, api, p, &x->ask);
        free(x);
        return;
    }
    if (!err) {
        results_answer(x);
        return;
    }
    http_problem(r, err == -ENOENT ? 406 : 400,
                 err == -ENOENT ? "not_acceptable" : "bad_parameter", "%s", error.text);
    results_free(x);
}

void results_get(struct http_request *r, void *api)
{
    struct pipeline *p = api_find_pipeline(api, r);
    if (p)
        results_of(r, api, p);
}
