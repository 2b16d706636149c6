/* SPDX-License-Identifier: Apache-2.0
 *
 * GET and POST /api/v1/sql: one read-only statement, which runs in a process of its own (query/process.h); its rows are
 * streamed.
 */
#include "api/internal.h"
#include "api/rows.h"
#include "api/sqlbody.h"
#include "base/logger.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct sqlquery {
    const struct api *api;
    struct http_request *request;
    bool format_given;
    struct query_ask ask;
    struct sqlbody body; /* what the question points into */
    struct buffer tables;
};

/* ---- The question ---- */

static int sqlquery_set_sql(struct sqlquery *q, const char *sql, size_t size,
                            struct error *error)
{
    if (q->ask.sql)
        return error_set(error, -EINVAL, "the statement is given twice");
    for (size_t at = 0, n; at < size; at += n)
        if ((n = utf8_length(sql + at, size - at)) == 0)
            return error_set(error, -EINVAL, "byte %zu of the statement is no UTF-8",
                             at + 1);
    q->ask.sql = sql;
    q->ask.sql_size = size;
    return 0;
}

/* It may only lower the limit. */
static void sqlquery_set_timeout(struct sqlquery *q, int64_t ms)
{
    if (ms * 1000 < q->ask.timeout_us)
        q->ask.timeout_us = ms * 1000;
}

static int sqlquery_set_format(struct sqlquery *q, const char *text,
                               struct error *error)
{
    q->format_given = true;
    return rows_format(text, &q->ask.format, error);
}

struct sqlquery_reading {
    struct sqlquery *q;
    bool sql_too; /* GET: the statement is an argument */
    struct error *error;
    int err;
};

static bool sqlquery_argument(void *ctx, const char *name, const char *value)
{
    struct sqlquery_reading *x = ctx;
    int64_t ms = 0;
    value = value ? value : "";
    if (x->sql_too && (strcmp(name, "q") == 0 || strcmp(name, "sql") == 0)) {
        x->err = sqlquery_set_sql(x->q, value, strlen(value), x->error);
    } else if (strcmp(name, "format") == 0) {
        x->err = sqlquery_set_format(x->q, value, x->error);
    } else if (strcmp(name, "times") == 0) {
        x->err = rows_times(value, &x->q->ask.times, x->error);
    } else if (strcmp(name, "timeout_ms") == 0) {
        x->err = rows_number("timeout_ms", value, ROWS_TIMEOUT_MS_MAX, &ms, x->error);
        if (!x->err)
            sqlquery_set_timeout(x->q, ms);
    } else {
        x->err =
            error_set(x->error, -EINVAL,
                      "unknown parameter '%s'; there are %sformat, times, timeout_ms",
                      name, x->sql_too ? "q, " : "");
    }
    return x->err == 0;
}

static int sqlquery_json(struct sqlquery *q, const char *body, size_t size,
                         struct error *error)
{
    int err = sqlbody_parse(body, size, &q->body, error);
    if (!err && q->body.sql)
        err = sqlquery_set_sql(q, q->body.sql, q->body.sql_size, error);
    if (!err && q->body.format)
        err = sqlquery_set_format(q, q->body.format, error);
    if (!err && q->body.times)
        err = rows_times(q->body.times, &q->ask.times, error);
    if (!err && q->body.timeout_ms)
        sqlquery_set_timeout(q, q->body.timeout_ms);
    q->ask.n_params = q->body.n_params;
    q->ask.param = q->body.param;
    return err;
}

static bool sqlquery_type_is(const char *type, const char *name)
{
    size_t n = strlen(name);
    return type && strncasecmp(type, name, n) == 0 && strchr("; \t", type[n]);
}

/* -ENOTSUP: a body of another type. */
static int sqlquery_body(struct sqlquery *q, struct error *error)
{
    size_t size;
    const char *body = http_body(q->request, &size);
    const char *type = http_header(q->request, "Content-Type");
    if (sqlquery_type_is(type, "application/json"))
        return sqlquery_json(q, body ? body : "", body ? size : 0, error);
    if (!type || sqlquery_type_is(type, "text/plain") ||
        sqlquery_type_is(type, "application/sql") ||
        sqlquery_type_is(type,
                         "application/x-www-form-urlencoded")) /* what curl -d says */
        return sqlquery_set_sql(q, body ? body : "", body ? size : 0, error);
    return error_set(error, -ENOTSUP,
                     "Content-Type '%s': there are text/plain and application/json",
                     type);
}

/* ---- The answer ---- */

static int sqlquery_head(void *query, enum query_cut cut)
{
    struct sqlquery *q = query;
    if (cut)
        http_set_header(q->request, "Weir-Truncated", query_cut_word[cut]);
    return http_begin(q->request, 200, rowout_content_type(q->ask.format));
}

static int sqlquery_data(void *query, const char *bytes, size_t size)
{
    struct sqlquery *q = query;
    return http_write(q->request, bytes, size);
}

static bool sqlquery_gone(void *request)
{
    return http_gone(request);
}

/* A token that may not read everything reads the tables of its pipelines, and dead letters where it may read all of them. */
static int sqlquery_scope(struct sqlquery *q)
{
    static const char letters[] = "weir_dead_letters";
    const bool all_streams = http_may_all(q->request, ACCESS_STREAM);
    if (all_streams && http_may_all(q->request, ACCESS_PIPELINE))
        return 0;
    if (all_streams)
        buffer_put(&q->tables, letters, sizeof(letters));
    struct running_list all = running_all(q->api->is.running);
    for (size_t i = 0; i < all.n; i++) {
        const struct table *const *table;
        size_t n = pipeline_tables(all.pipeline[i], &table);
        if (!http_may(q->request, ACCESS_PIPELINE,
                      pipeline_config(all.pipeline[i])->name))
            continue;
        for (size_t k = 0; k < n; k++)
            buffer_put(&q->tables, table[k]->name, strlen(table[k]->name) + 1);
    }
    running_done(&all);
    q->ask.only = true;
    q->ask.tables = q->tables.data;
    q->ask.tables_size = q->tables.size;
    return q->tables.error;
}

/* Where in the statement the fault is. */
static void sqlquery_fault(struct sqlquery *q, int32_t offset, const char *text)
{
    struct http_fault fault = {.line = 1, .column = 1, .message = text};
    for (size_t i = 0; i < (size_t)offset && i < q->ask.sql_size; i++) {
        fault.column++;
        if (q->ask.sql[i] == '\n') {
            fault.line++;
            fault.column = 1;
        }
    }
    http_problem_errors(q->request, 400, "bad_sql", text, &fault, 1);
}

static void sqlquery_answer(struct sqlquery *q)
{
    const struct config_server *limits = &q->api->is.config->server;
    const struct query_sink sink = {
        .head = sqlquery_head, .data = sqlquery_data, .ctx = q};
    struct query_answer a;
    struct error error = {""};
    q->ask.max_rows = limits->sql_max_rows;
    q->ask.max_bytes = limits->sql_max_bytes;
    q->ask.head_only = strcmp(http_method(q->request), "HEAD") == 0;
    int err = sqlquery_scope(q);
    if (err) {
        http_problem(q->request, 503, "out_of_memory", "no memory");
        return;
    }
    err = query_run(q->api->is.queries, &q->ask, &sink, sqlquery_gone, q->request, &a,
                    &error);
    if (!err && a.end.err) {
        err = a.end.err;
        error = a.end.error;
    }
    if (err == -EINVAL && a.end.offset >= 0 && !a.begun)
        sqlquery_fault(q, a.end.offset, error.text);
    else if (err && rows_failed(q->request, err, error.text))
        logger_warn("api", "an answer to SQL was cut: %s",
                    error.text[0] ? error.text : strerror(-err));
    else if (!err && a.end.missing)
        http_abort(q->request);
}

static void sqlquery_handle(struct http_request *r, const struct api *api, bool post)
{
    struct sqlquery q = {.api = api,
                         .request = r,
                         .ask = {.times = ROWOUT_US,
                                 .timeout_us = api->is.config->server.sql_timeout_us}};
    struct error error = {""};
    struct sqlquery_reading reading = {.q = &q, .sql_too = !post, .error = &error};
    http_each_query(r, sqlquery_argument, &reading);
    int err = reading.err;
    if (!err && post)
        err = sqlquery_body(&q, &error);
    if (!err && !q.ask.sql)
        err = error_set(&error, -EINVAL,
                        post ? "the body has no member 'sql'"
                             : "the statement is missing: ?q=SELECT...");
    if (err == -ENOTSUP)
        http_problem(r, 415, "unsupported_type", "%s", error.text);
    else if (err)
        http_problem(r, err == -EINVAL ? 400 : 500, "bad_parameter", "%s", error.text);
    else if (!q.format_given && rows_accept(r, &q.ask.format, &error))
        http_problem(r, 406, "not_acceptable", "%s", error.text);
    else
        sqlquery_answer(&q);
    sqlbody_free(&q.body);
    buffer_free(&q.tables);
}

void sqlquery_get(struct http_request *r, void *api)
{
    sqlquery_handle(r, api, false);
}

void sqlquery_post(struct http_request *r, void *api)
{
    sqlquery_handle(r, api, true);
}
