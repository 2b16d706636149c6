/* SPDX-License-Identifier: Apache-2.0
 *
 * GET .../results?changed_since=ID: rows as they were committed, for clients that ask again and again. The ids are those
 * of live results (store/changes.h); each answer says where it ends, also when there is nothing behind it.
 *
 *      changed_since=now --> no rows, Weir-Next-Cursor: C1
 *      changed_since=C1  --> what was committed since, Weir-Next-Cursor: C2
 */
#include "api/internal.h"
#include "api/live.h"
#include "api/rows.h"
#include "store/changes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANGED_PIECE_ROWS 10000

struct changed {
    struct ask ask;
    struct http_request *request;
    const struct api *api;
    struct pipeline *pipeline; /* whose table it is */
    char *sql;
    int64_t since_us; /* when following began */
    int64_t at, last; /* numbers behind which, and up to which, rows are answered */
    struct rows rows;
};

static int changed_lost(struct error *error)
{
    return error_set(error, -ESTALE,
                     "what changed since then is not known any more: read the results, "
                     "and go on from changed_since=now, asked before");
}

/* What follows `at` was not cut off. */
static int changed_check(struct changed *x, sqlite3 *db, int64_t at,
                         struct error *error)
{
    struct changes known;
    int err = changes_look(db, x->ask.table->name, &known, error);
    if (err == -ENOENT || (!err && (known.since_us != x->since_us || known.first > at)))
        return changed_lost(error);
    return err;
}

/* For reader_put. */
static int changed_prepare(struct changed *x, const char *sql, struct reader **ret,
                           sqlite3_stmt **ret_s, struct error *error)
{
    int err = reader_get(x->api->is.readers, ret, error);
    if (err)
        return err;
    rows_limit(*ret, x->request, x->api->is.config->server.sql_timeout_us);
    int offset;
    err = changed_check(x, reader_own(*ret), x->at, error);
    return err ? err : reader_prepare(*ret, sql, strlen(sql), ret_s, &offset, error);
}

/* Where the page ends: at the last of `limit` rows, or where all is known. */
static int changed_look_ahead(struct changed *x, bool *ret_more, struct error *error)
{
    char *sql = ask_sql_changes(&x->ask, false);
    if (!sql)
        return error_set(error, -ENOMEM, "out of memory");
    struct reader *reader = NULL;
    sqlite3_stmt *s = NULL;
    int err = changed_prepare(x, sql, &reader, &s, error);
    if (!err) {
        ask_bind_changes(&x->ask, s, x->at, x->last, 2, (int64_t)x->ask.limit - 1);
        err = reader_step(reader, s, error);
    }
    if (err == 1) {
        x->last = sqlite3_column_int64(s, 0);
        err = reader_step(reader, s, error);
        *ret_more = err == 1;
    }
    sqlite3_finalize(s);
    sqlite3_free(sql);
    reader_put(reader);
    return err < 0 ? err : 0;
}

static int changed_piece(void *changed, struct rowout *o, struct buffer *text,
                         bool *ret_end, struct error *error)
{
    struct changed *x = changed;
    struct reader *reader = NULL;
    sqlite3_stmt *s = NULL;
    int err = changed_prepare(x, x->sql, &reader, &s, error), got = err;
    const int64_t from = x->at;
    size_t rows = 0;
    if (!err)
        ask_bind_changes(&x->ask, s, x->at, x->last, CHANGED_PIECE_ROWS, 0);
    while (!err && rowout_size(o, text) < ROWS_PIECE &&
           (got = reader_step(reader, s, error)) == 1) {
        rowout_row(o, text, s);
        x->at = sqlite3_column_int64(s, (int)x->ask.n_columns);
        rows++;
    }
    *ret_end = got == 0 && rows < CHANGED_PIECE_ROWS;
    if (got >= 0) /* cut between the first look and the rows */
        err = changed_check(x, reader_own(reader), from, error);
    sqlite3_finalize(s);
    reader_put(reader);
    return got < 0 ? got : err;
}

static void changed_free(void *changed)
{
    struct changed *x = changed;
    if (!x)
        return;
    pipeline_unref(x->pipeline);
    sqlite3_free(x->sql);
    free(x);
}

static int changed_begin(struct changed *x, bool *ret_more, struct error *error)
{
    struct changes known;
    const char *since = http_query(x->request, "changed_since");
    const bool now = strcmp(since, "now") == 0;
    if (!now && live_parse_id(since, &x->since_us, &x->at))
        return error_set(error, -EINVAL,
                         "changed_since: it is neither 'now' nor what an answer said");
    int err = live_follow(x->api->live, x->ask.table, &known, error);
    if (err)
        return err;
    if (now) {
        x->since_us = known.since_us;
        x->at = known.last;
    }
    x->last = known.last;
    if (x->since_us != known.since_us || x->at < known.first || x->at > known.last)
        return changed_lost(error);
    x->sql = ask_sql_changes(&x->ask, true);
    if (!x->sql)
        return error_set(error, -ENOMEM, "out of memory");
    return x->ask.all ? 0 : changed_look_ahead(x, ret_more, error);
}

static void changed_failed(struct http_request *r, int err, const char *text)
{
    if (err == -EINVAL)
        http_problem(r, 400, "bad_parameter", "%s", text);
    else
        rows_failed(r, err, text);
}

void changed_get(struct http_request *r, const struct api *api, struct pipeline *p,
                 const struct ask *ask)
{
    struct error error = {""};
    struct changed *x = calloc(1, sizeof(*x));
    if (!x) {
        pipeline_unref(p);
        http_problem(r, 503, "out_of_memory", "no memory");
        return;
    }
    *x = (struct changed){.ask = *ask, .request = r, .api = api, .pipeline = p};
    bool more = false;
    int err = changed_begin(x, &more, &error);
    if (err) {
        changed_failed(r, err, error.text);
        changed_free(x);
        return;
    }
    char next[64];
    snprintf(next, sizeof(next), "%" PRId64 "-%" PRId64, x->since_us, x->last);
    api_say_next(r, "changed_since", next, more);
    http_set_header(r, "Cache-Control", "no-store");
    x->rows = (struct rows){.request = r,
                            .name = x->ask.table->name,
                            .out = {.format = x->ask.format,
                                    .times = x->ask.times,
                                    .n_columns = x->ask.n_columns,
                                    .column = x->ask.column},
                            .piece = changed_piece,
                            .free = changed_free,
                            .ctx = x};
    rows_send(&x->rows);
}
