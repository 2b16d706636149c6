/* SPDX-License-Identifier: Apache-2.0
 *
 * GET and POST /api/v1/sql: one read-only statement, its rows streamed, within limits of time, rows and
 * bytes.
 */
#include "api/internal.h"
#include "api/rows.h"
#include "base/logger.h"
#include "store/db.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SQLQUERY_FIRST                                                                 \
    ((size_t)64 << 10) /* held back, so that a failure can still be a status */
#define SQLQUERY_PIECE ((size_t)64 << 10)

struct sqlquery {
    const struct api *api;
    struct http_request *request;
    struct reader *reader;
    char *sql; /* from sqlite3_malloc */
    size_t sql_size;
    char *params; /* a JSON object or array, or NULL */
    bool format_given;
    enum rowout_format format;
    int64_t timeout_us;
};

static void sqlquery_free(struct sqlquery *q)
{
    reader_put(q->reader);
    sqlite3_free(q->sql);
    sqlite3_free(q->params);
}

/* ---- The question ---- */

static int sqlquery_set_sql(struct sqlquery *q, const char *sql, size_t size,
                            struct error *error)
{
    if (q->sql)
        return error_set(error, -EINVAL, "the statement is given twice");
    q->sql = sqlite3_malloc64(size + 1);
    if (!q->sql)
        return error_set(error, -ENOMEM, "out of memory");
    memcpy(q->sql, sql, size);
    q->sql[size] = 0;
    q->sql_size = size;
    return 0;
}

static int sqlquery_set_timeout(struct sqlquery *q, const char *text,
                                struct error *error)
{
    int64_t ms;
    int err = rows_number("timeout_ms", text, 86400000, &ms, error);
    if (err)
        return err;
    if (ms * 1000 < q->timeout_us)
        q->timeout_us = ms * 1000;
    return 0;
}

static int sqlquery_set_format(struct sqlquery *q, const char *text,
                               struct error *error)
{
    q->format_given = true;
    return rows_format(text, &q->format, error);
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
    value = value ? value : "";
    if (x->sql_too && (strcmp(name, "q") == 0 || strcmp(name, "sql") == 0))
        x->err = sqlquery_set_sql(x->q, value, strlen(value), x->error);
    else if (strcmp(name, "format") == 0)
        x->err = sqlquery_set_format(x->q, value, x->error);
    else if (strcmp(name, "timeout_ms") == 0)
        x->err = sqlquery_set_timeout(x->q, value, x->error);
    else
        x->err = error_set(x->error, -EINVAL,
                           "unknown parameter '%s'; there are %sformat, timeout_ms",
                           name, x->sql_too ? "q, " : "");
    return x->err == 0;
}

/* A member of the JSON body. Row: key, type, value. */
static int sqlquery_member(struct sqlquery *q, sqlite3_stmt *row, struct error *error)
{
    const char *key = (const char *)sqlite3_column_text(row, 0);
    const char *type = (const char *)sqlite3_column_text(row, 1);
    const char *value = (const char *)sqlite3_column_text(row, 2);
    size_t size = (size_t)sqlite3_column_bytes(row, 2);
    if (!key || !type)
        return error_set(error, -EINVAL, "the body is no JSON object");
    if (strcmp(key, "sql") == 0)
        return strcmp(type, "text") == 0 && value
                   ? sqlquery_set_sql(q, value, size, error)
                   : error_set(error, -EINVAL, "sql: it is no string");
    if (strcmp(key, "timeout_ms") == 0)
        return strcmp(type, "integer") == 0 && value
                   ? sqlquery_set_timeout(q, value, error)
                   : error_set(error, -EINVAL, "timeout_ms: it is no whole number");
    if (strcmp(key, "format") == 0)
        return strcmp(type, "text") == 0 && value
                   ? sqlquery_set_format(q, value, error)
                   : error_set(error, -EINVAL, "format: it is no string");
    if (strcmp(key, "params") != 0)
        return error_set(
            error, -EINVAL,
            "unknown member '%s'; there are sql, params, timeout_ms, format", key);
    if ((strcmp(type, "object") != 0 && strcmp(type, "array") != 0) || q->params ||
        !value)
        return error_set(error, -EINVAL,
                         "params: it is neither an object nor an array");
    q->params = sqlite3_mprintf("%s", value);
    return q->params ? 0 : error_set(error, -ENOMEM, "out of memory");
}

/* SQLite's own JSON functions take the body apart. */
static int sqlquery_json(struct sqlquery *q, const char *body, size_t size,
                         struct error *error)
{
    static const char each[] = "SELECT key, type, value FROM json_each(?)";
    DB_STATEMENT s = NULL;
    int offset;
    size_t blank = 0;
    while (blank < size && strchr(" \t\r\n", body[blank]))
        blank++;
    if (blank == size || body[blank] != '{')
        return error_set(error, -EINVAL, "the body is no JSON object");
    int err = reader_prepare(q->reader, each, sizeof(each) - 1, &s, &offset, error);
    if (err)
        return err;
    sqlite3_bind_text(s, 1, body, (int)size, SQLITE_STATIC);
    int got;
    while (!err && (got = reader_step(q->reader, s, error)) != 0)
        err = got < 0 ? got : sqlquery_member(q, s, error);
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

/* ---- Parameters ---- */

/* :name, @name or $name of the statement; 0: there is none. */
static int sqlquery_parameter(sqlite3_stmt *statement, const char *name)
{
    for (const char *prefix = ":@$"; *prefix; prefix++) {
        char *full = sqlite3_mprintf("%c%s", *prefix, name);
        int i = full ? sqlite3_bind_parameter_index(statement, full) : 0;
        sqlite3_free(full);
        if (i)
            return i;
    }
    return 0;
}

/* Row: key, type, atom. Marks the parameter as given. */
static int sqlquery_bind_one(sqlite3_stmt *statement, sqlite3_stmt *row, bool *given,
                             struct error *error)
{
    const char *key = (const char *)sqlite3_column_text(row, 0);
    const char *type = (const char *)sqlite3_column_text(row, 1);
    bool named = sqlite3_column_type(row, 0) == SQLITE_TEXT;
    if (!key || !type)
        return error_set(error, -ENOMEM, "out of memory");
    int i = named ? sqlquery_parameter(statement, key) : sqlite3_column_int(row, 0) + 1;
    if (i < 1 || i > sqlite3_bind_parameter_count(statement))
        return error_set(error, -EINVAL, "params: the statement has no parameter '%s'",
                         key);
    if (strcmp(type, "object") == 0 || strcmp(type, "array") == 0)
        return error_set(error, -EINVAL, "params: '%s' is an %s", key, type);
    given[i] = true;
    sqlite3_bind_value(statement, i, sqlite3_column_value(row, 2));
    return 0;
}

static int sqlquery_bind_all(struct sqlquery *q, sqlite3_stmt *statement, bool *given,
                             struct error *error)
{
    static const char each[] = "SELECT key, type, atom FROM json_each(?)";
    DB_STATEMENT s = NULL;
    int offset, got;
    int err = reader_prepare(q->reader, each, sizeof(each) - 1, &s, &offset, error);
    if (err)
        return err;
    sqlite3_bind_text(s, 1, q->params, -1, SQLITE_STATIC);
    while (!err && (got = reader_step(q->reader, s, error)) != 0)
        err = got < 0 ? got : sqlquery_bind_one(statement, s, given, error);
    return err;
}

static int sqlquery_bind(struct sqlquery *q, sqlite3_stmt *statement,
                         struct error *error)
{
    int n = sqlite3_bind_parameter_count(statement);
    bool *given = calloc((size_t)n + 1, sizeof(*given));
    int err = given ? 0 : error_set(error, -ENOMEM, "out of memory");
    if (!err && q->params)
        err = sqlquery_bind_all(q, statement, given, error);
    for (int i = 1; !err && i <= n; i++) {
        const char *name = sqlite3_bind_parameter_name(statement, i);
        if (!given[i])
            err = error_set(error, -EINVAL, "parameter %s is not given",
                            name ? name : "?");
    }
    free(given);
    return err;
}

/* ---- The answer ---- */

struct sqlquery_answer {
    struct rowout out;
    struct buffer text; /* not handed on yet */
    uint64_t bytes;     /* handed on */
    bool begun;
    const char *cut; /* why rows are missing, or NULL */
};

static int sqlquery_begin(struct sqlquery *q, struct sqlquery_answer *a)
{
    if (a->begun)
        return 0;
    if (a->cut)
        http_set_header(q->request, "Weir-Truncated", a->cut);
    int err = http_begin(q->request, 200, rowout_content_type(a->out.format));
    a->begun = !err;
    return err;
}

static int sqlquery_hand_on(struct sqlquery *q, struct sqlquery_answer *a)
{
    int err = a->text.error ? a->text.error : sqlquery_begin(q, a);
    if (!err)
        err = http_write(q->request, a->text.data, a->text.size);
    a->bytes += a->text.size;
    buffer_clear(&a->text);
    return err;
}

/* Steps until the end or a limit. A time-out before anything was sent is an error, later a cut. */
static int sqlquery_rows(struct sqlquery *q, sqlite3_stmt *s, struct sqlquery_answer *a,
                         struct error *error)
{
    const struct config_server *limits = &q->api->is.config->server;
    int got;
    while ((got = reader_step(q->reader, s, error)) == 1) {
        if (a->out.rows == limits->sql_max_rows)
            a->cut = "rows";
        else if (a->bytes + a->text.size >= limits->sql_max_bytes)
            a->cut = "bytes";
        if (a->cut)
            return 0;
        rowout_row(&a->out, &a->text, s);
        if (a->text.size < (a->begun ? SQLQUERY_PIECE : SQLQUERY_FIRST))
            continue;
        int err = sqlquery_hand_on(q, a);
        if (err)
            return err;
    }
    if (got == -ETIMEDOUT && a->begun) {
        a->cut = "time";
        got = 0;
    }
    return got;
}

/* A cut that the format cannot show, after the status has gone out, must not look whole. */
static int sqlquery_finish(struct sqlquery *q, struct sqlquery_answer *a)
{
    bool silent = a->cut && a->begun && a->out.format != ROWOUT_JSON;
    rowout_end(&a->out, &a->text, a->cut);
    int err = sqlquery_hand_on(q, a);
    if (!err && silent)
        http_abort(q->request);
    return err;
}

static void sqlquery_stream(struct sqlquery *q, sqlite3_stmt *s,
                            const struct rowout_column *column)
{
    struct sqlquery_answer a = {.out = {.format = q->format,
                                        .arrays = true,
                                        .n_columns = (size_t)sqlite3_column_count(s),
                                        .column = column}};
    struct error error = {""};
    rowout_begin(&a.out, &a.text);
    int err = sqlquery_rows(q, s, &a, &error);
    if (!err)
        err = sqlquery_finish(q, &a);
    buffer_free(&a.text);
    if (err && rows_failed(q->request, a.begun, err, error.text))
        log_warn("api", "an answer to SQL was cut: %s", error.text);
}

static void sqlquery_run(struct sqlquery *q, sqlite3_stmt *s)
{
    size_t n = (size_t)sqlite3_column_count(s);
    struct rowout_column *column = calloc(n + 1, sizeof(*column));
    if (!column) {
        http_problem(q->request, 503, "out_of_memory", "no memory");
        return;
    }
    for (size_t c = 0; c < n; c++) {
        const char *name = sqlite3_column_name(s, (int)c);
        column[c].name = name ? name : "";
    }
    sqlquery_stream(q, s, column);
    free(column);
}

/* Where in the statement the fault is. */
static void sqlquery_fault(struct sqlquery *q, int offset, const char *text)
{
    struct http_fault fault = {.line = 1, .column = 1, .message = text};
    for (int i = 0; i < offset && (size_t)i < q->sql_size; i++) {
        fault.column++;
        if (q->sql[i] == '\n') {
            fault.line++;
            fault.column = 1;
        }
    }
    http_problem_errors(q->request, 400, "bad_sql", text, &fault, 1);
}

static void sqlquery_answer(struct sqlquery *q)
{
    DB_STATEMENT s = NULL;
    struct error error = {""};
    int offset = -1;
    rows_limit(q->reader, q->request, q->timeout_us);
    int err = reader_prepare(q->reader, q->sql, q->sql_size, &s, &offset, &error);
    if (err == -EINVAL && offset >= 0) {
        sqlquery_fault(q, offset, error.text);
        return;
    }
    if (!err)
        err = sqlquery_bind(q, s, &error);
    if (err)
        api_read_failed(q->request, err, error.text);
    else
        sqlquery_run(q, s);
}

static void sqlquery_handle(struct http_request *r, const struct api *api, bool post)
{
    struct sqlquery q = {
        .api = api, .request = r, .timeout_us = api->is.config->server.sql_timeout_us};
    struct error error = {""};
    struct sqlquery_reading reading = {.q = &q, .sql_too = !post, .error = &error};
    int err = reader_get(api->is.readers, &q.reader, &error);
    if (err) {
        api_read_failed(r, err, error.text);
        return;
    }
    http_each_query(r, sqlquery_argument, &reading);
    err = reading.err;
    if (!err && post)
        err = sqlquery_body(&q, &error);
    if (!err && !q.sql)
        err = error_set(&error, -EINVAL,
                        post ? "the body has no member 'sql'"
                             : "the statement is missing: ?q=SELECT...");
    if (err == -ENOTSUP)
        http_problem(r, 415, "unsupported_type", "%s", error.text);
    else if (err)
        http_problem(r, err == -EINVAL ? 400 : 500, "bad_parameter", "%s", error.text);
    else if (!q.format_given && rows_accept(r, &q.format, &error))
        http_problem(r, 406, "not_acceptable", "%s", error.text);
    else
        sqlquery_answer(&q);
    sqlquery_free(&q);
}

void sqlquery_get(struct http_request *r, void *api)
{
    sqlquery_handle(r, api, false);
}

void sqlquery_post(struct http_request *r, void *api)
{
    sqlquery_handle(r, api, true);
}
