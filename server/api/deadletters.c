/* SPDX-License-Identifier: Apache-2.0
 *
 * GET and DELETE /api/v1/streams/{stream}/dead-letters: rejected records, newest first. As with results,
 * no statement and no thread is held while a client is waited for.
 */
#include "api/internal.h"
#include "api/rows.h"
#include "base/clock.h"
#include "store/db.h"
#include "store/dead_letters.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEADLETTERS_DEFAULT 100
#define DEADLETTERS_MAX     10000

static const struct rowout_column deadletters_columns[] = {
    {"number", WEIR_INT},     {"received", WEIR_TIME}, {"source", WEIR_STRING},
    {"line", WEIR_INT},       {"column", WEIR_INT},    {"reason", WEIR_STRING},
    {"message", WEIR_STRING}, {"record", WEIR_STRING}, {"escaped", WEIR_BOOL},
    {"truncated", WEIR_BOOL},
};
#define DEADLETTERS_COLUMNS                                                            \
    (sizeof(deadletters_columns) / sizeof(deadletters_columns[0]))

struct deadletters {
    struct http_request *request;
    const struct api *api;
    const char *stream;
    struct reader *reader; /* while a piece is made */
    int64_t limit, before; /* letters with lower numbers */
    enum rowout_format format;
    enum rowout_times times;
    struct rows rows;
};

/* ---- The question ---- */

struct deadletters_reading {
    struct deadletters *x;
    bool format_given;
    struct error *error;
    int err;
};

static bool deadletters_argument(void *ctx, const char *name, const char *value)
{
    struct deadletters_reading *reading = ctx;
    struct deadletters *x = reading->x;
    struct error *error = reading->error;
    value = value ? value : "";
    if (strcmp(name, "limit") == 0) {
        reading->err = rows_number(name, value, DEADLETTERS_MAX, &x->limit, error);
    } else if (strcmp(name, "cursor") == 0) {
        reading->err = rows_number(name, value, INT64_MAX, &x->before, error);
    } else if (strcmp(name, "format") == 0) {
        reading->format_given = true;
        reading->err = rows_format(value, &x->format, error);
    } else if (strcmp(name, "times") == 0) {
        reading->err = rows_times(value, &x->times, error);
    } else {
        reading->err = error_set(
            error, -EINVAL,
            "unknown parameter '%s'; there are limit, cursor, format, times", name);
    }
    return reading->err == 0;
}

/* False: replied. */
static bool deadletters_parse(struct deadletters *x)
{
    struct error error = {""};
    struct deadletters_reading reading = {.x = x, .error = &error};
    http_each_query(x->request, deadletters_argument, &reading);
    if (reading.err) {
        http_problem(x->request, 400, "bad_parameter", "%s", error.text);
        return false;
    }
    if (!reading.format_given && rows_accept(x->request, &x->format, &error)) {
        http_problem(x->request, 406, "not_acceptable", "%s", error.text);
        return false;
    }
    return true;
}

/* ---- The answer ---- */

/* Parameters: the stream, `before`, two numbers. */
static int deadletters_prepare(struct deadletters *x, const char *sql, int64_t limit,
                               int64_t offset, sqlite3_stmt **ret, struct error *error)
{
    int at;
    rows_limit(x->reader, x->request, x->api->is.config->server.sql_timeout_us);
    int err = reader_prepare(x->reader, sql, strlen(sql), ret, &at, error);
    if (err)
        return err;
    sqlite3_bind_text(*ret, 1, x->stream, -1, SQLITE_STATIC);
    sqlite3_bind_int64(*ret, 2, x->before);
    sqlite3_bind_int64(*ret, 3, limit);
    sqlite3_bind_int64(*ret, 4, offset);
    return 0;
}

/* Finds out whether there are more behind this page, and says so. */
static int deadletters_look_ahead(struct deadletters *x, struct error *error)
{
    static const char sql[] = "SELECT number FROM weir_dead_letters"
                              " WHERE stream = ? AND number < ?"
                              " ORDER BY number DESC LIMIT ? OFFSET ?";
    DB_STATEMENT s = NULL;
    int err = deadletters_prepare(x, sql, 2, x->limit - 1, &s, error);
    int got = err ? err : reader_step(x->reader, s, error);
    if (got != 1)
        return got;
    char cursor[32];
    snprintf(cursor, sizeof(cursor), "%" PRId64, (int64_t)sqlite3_column_int64(s, 0));
    got = reader_step(x->reader, s, error);
    if (got == 1)
        api_say_next(x->request, "cursor", cursor, true);
    return got < 0 ? got : 0;
}

static int deadletters_rows(struct deadletters *x, struct rowout *o,
                            struct buffer *text, bool *ret_end, struct error *error)
{
    static const char sql[] =
        "SELECT number, received, source, line, \"column\", reason, message, record,"
        " escaped, truncated FROM weir_dead_letters WHERE stream = ? AND number < ?"
        " ORDER BY number DESC LIMIT ? OFFSET ?";
    DB_STATEMENT s = NULL;
    int err = deadletters_prepare(x, sql, x->limit, 0, &s, error);
    int got = err;
    while (!err && rowout_size(o, text) < ROWS_PIECE &&
           (got = reader_step(x->reader, s, error)) == 1) {
        rowout_row(o, text, s);
        x->before = sqlite3_column_int64(s, 0);
        x->limit--;
    }
    *ret_end = got != 1 || x->limit == 0;
    return got < 0 ? got : 0;
}

static int deadletters_piece(void *deadletters, struct rowout *o, struct buffer *text,
                             bool *ret_end, struct error *error)
{
    struct deadletters *x = deadletters;
    int err = reader_get(x->api->is.readers, &x->reader, error);
    if (!err)
        err = deadletters_rows(x, o, text, ret_end, error);
    reader_put(x->reader);
    x->reader = NULL;
    return err;
}

/* Takes x. */
static void deadletters_answer(struct deadletters *x)
{
    struct error error = {""};
    int err = reader_get(x->api->is.readers, &x->reader, &error);
    if (!err)
        err = deadletters_look_ahead(x, &error);
    reader_put(x->reader);
    x->reader = NULL;
    if (err) {
        rows_failed(x->request, err, error.text);
        free(x);
        return;
    }
    x->rows = (struct rows){.request = x->request,
                            .name = "weir_dead_letters",
                            .out = {.format = x->format,
                                    .times = x->times,
                                    .n_columns = DEADLETTERS_COLUMNS,
                                    .column = deadletters_columns},
                            .piece = deadletters_piece,
                            .free = free,
                            .ctx = x};
    rows_send(&x->rows);
}

void deadletters_get(struct http_request *r, void *api)
{
    const char *stream = api_find_stream(api, r);
    struct deadletters *x = stream ? calloc(1, sizeof(*x)) : NULL;
    if (stream && !x)
        http_problem(r, 503, "out_of_memory", "no memory");
    if (!x)
        return;
    *x = (struct deadletters){.request = r,
                              .api = api,
                              .stream = stream,
                              .limit = DEADLETTERS_DEFAULT,
                              .before = INT64_MAX};
    if (deadletters_parse(x))
        deadletters_answer(x);
    else
        free(x);
}

void deadletters_delete(struct http_request *r, void *api)
{
    const struct api *a = api;
    const char *stream = api_find_stream(a, r);
    if (!stream || !api_no_arguments(r))
        return;
    int64_t until_us = clock_monotonic_us() + a->is.config->server.sql_timeout_us;
    int err = dead_letters_empty(a->is.store, stream, until_us);
    if (!err) {
        http_reply(r, 204, NULL, NULL, 0);
        return;
    }
    http_set_header(r, "Retry-After", "1");
    if (err == -ETIMEDOUT)
        http_problem(r, 504, "timeout",
                     "the database cannot be written to; they will be deleted when it "
                     "can be");
    else
        http_problem(r, 503, err == -ENOMEM ? "out_of_memory" : "busy",
                     "the database cannot be written to: %s", strerror(-err));
}
