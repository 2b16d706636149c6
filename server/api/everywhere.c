/* SPDX-License-Identifier: Apache-2.0
 *
 * GET .../results?shards=all: rows of all servers that put them into a table, from PostgreSQL, where they are together
 * (carry/read.h). The same questions and answers as of our own; behind the key is the column weir_shard.
 */
#include "api/cursor.h"
#include "api/internal.h"
#include "api/rows.h"
#include "base/clock.h"
#include "carry/carry.h"
#include "carry/read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EVERYWHERE_FIRST                                                               \
    100 /* rows of the first piece: how long they are is not known */
#define EVERYWHERE_MOST   10000
#define EVERYWHERE_BYTES  (1 << 20) /* of a piece, about */
#define EVERYWHERE_PARAMS (2 + ASK_FILTERS_MAX + 2 * 32 + 2)

struct everywhere {
    struct ask ask;
    struct http_request *request;
    const struct api *api;
    struct pipeline *pipeline; /* whose table it is */
    struct table table; /* with the column of shards; the rest is the pipeline's */
    enum weir_type param[EVERYWHERE_PARAMS];
    enum weir_type shown[ASK_COLUMNS_MAX + 32];
    struct rows rows;
    uint64_t n; /* rows of the next piece */
    struct buffer after, last;
};

/* The table as PostgreSQL has it. */
static int everywhere_table(const struct table *t, struct table *ret)
{
    *ret = *t;
    ret->column = calloc(t->n_columns + 1, sizeof(*ret->column));
    if (!ret->column)
        return -ENOMEM;
    const size_t at = t->n_primary;
    memcpy(ret->column, t->column, at * sizeof(*t->column));
    memcpy(ret->column + at + 1, t->column + at,
           (t->n_columns - at) * sizeof(*t->column));
    static char name[] = CARRY_SHARD;
    ret->column[at] = (struct table_column){.name = name, .type = WEIR_STRING};
    ret->n_columns++;
    ret->n_primary++;
    ret->revision += t->revision != 0;
    return 0;
}

/* ---- A statement there -------------------------------------------------------------------------- */

/* What ask_bind binds, in its order. */
static int everywhere_types(struct everywhere *x, bool after, bool last)
{
    const struct ask *ask = &x->ask;
    int n = 0;
    x->param[n++] = ask->table->column[0].type;
    x->param[n++] = ask->table->column[0].type;
    for (size_t c = 1; c < ask->table->n_primary; c++)
        for (size_t i = 0; i < ask->n_filters; i++)
            if (ask->filter[i].column == c)
                x->param[n++] = ask->table->column[c].type;
    for (int bound = 0; bound < after + last; bound++)
        for (size_t c = 0; c < ask->table->n_primary; c++)
            x->param[n++] = ask->table->column[c].type;
    x->param[n++] = WEIR_INT; /* LIMIT, OFFSET */
    x->param[n++] = WEIR_INT;
    return n;
}

static int everywhere_ask(struct everywhere *x, struct read *r, enum ask_select what,
                          uint64_t limit, uint64_t offset, struct error *error)
{
    const char *after = x->after.size ? buffer_text(&x->after) : NULL;
    const char *last = x->last.size ? buffer_text(&x->last) : NULL;
    sqlite3_stmt *params = read_params(r, everywhere_types(x, after, last));
    char *sql = ask_sql(&x->ask, what, after, last);
    if (!params || !sql) {
        sqlite3_free(sql);
        return error_set(error, -ENOMEM, "out of memory");
    }
    int n = 0;
    for (size_t i = 0; what == ASK_ROWS && i < x->ask.n_columns; i++)
        x->shown[n++] = x->ask.column[i].type;
    for (size_t i = 0; i < x->table.n_primary; i++)
        x->shown[n++] = x->table.column[i].type;
    int err = ask_bind(&x->ask, params, after, last, limit, offset);
    if (err)
        error_set(error, err, "the key of a row is too long for a cursor");
    else
        err = read_begin(r, sql, x->param, x->shown, n, error);
    sqlite3_free(sql);
    return err;
}

/* A connection that was kept may have ended since: once more, with a new one. */
static int everywhere_begin(struct everywhere *x, struct read **ret,
                            enum ask_select what, uint64_t limit, uint64_t offset,
                            struct error *error)
{
    int err = 0;
    for (int tried = 0; tried <= READ_IDLE; tried++) {
        err = read_get(x->api->read, ret, error);
        if (!err)
            err = everywhere_ask(x, *ret, what, limit, offset, error);
        if (err != -ECONNRESET)
            break;
        read_put(*ret);
        *ret = NULL;
    }
    return err;
}

static int everywhere_cursor(struct everywhere *x, sqlite3_stmt *row, size_t first,
                             struct buffer *ret, struct error *error)
{
    buffer_clear(ret);
    int err = cursor_make(&x->table, row, (int)first, ret);
    return err ? error_set(error, err, "the key of a row is too long for a cursor") : 0;
}

/* ---- The answer --------------------------------------------------------------------------------- */

/* Finds where the page ends, and whether there is more behind it. */
static int everywhere_look_ahead(struct everywhere *x, bool *ret_more,
                                 struct error *error)
{
    struct read *r = NULL;
    sqlite3_stmt *s = NULL;
    int err = everywhere_begin(x, &r, ASK_LOOKAHEAD, 2, x->ask.limit - 1, error);
    int got = err ? err : read_step(r, &s, error);
    if (got == 1) {
        err = everywhere_cursor(x, s, 0, &x->last, error);
        got = err ? err : read_step(r, &s, error);
        *ret_more = got == 1;
    }
    read_put(r);
    return got < 0 ? got : 0;
}

static int everywhere_piece(void *ctx, struct rowout *o, struct buffer *text,
                            bool *ret_end, struct error *error)
{
    struct everywhere *x = ctx;
    struct read *r = NULL;
    sqlite3_stmt *s = NULL;
    int err = everywhere_begin(x, &r, ASK_ROWS, x->n, 0, error), got = err;
    uint64_t rows = 0;
    while (!err && (got = read_step(r, &s, error)) == 1) {
        rowout_row(o, text, s);
        if (++rows == x->n)
            err = everywhere_cursor(x, s, x->ask.n_columns, &x->after, error);
    }
    *ret_end = rows < x->n;
    const size_t size = rowout_size(o, text);
    if (rows && size)
        x->n = rows * EVERYWHERE_BYTES / size;
    x->n = x->n < 1 ? 1 : x->n > EVERYWHERE_MOST ? EVERYWHERE_MOST : x->n;
    read_put(r);
    return err ? err : got < 0 ? got : 0;
}

static void everywhere_free(void *ctx)
{
    struct everywhere *x = ctx;
    if (!x)
        return;
    pipeline_unref(x->pipeline);
    buffer_free(&x->after);
    buffer_free(&x->last);
    free(x->table.column);
    free(x);
}

static void everywhere_failed(struct everywhere *x, int err, const char *text)
{
    struct http_request *r = x->request;
    switch (err) {
    case -EINVAL:
        http_problem(r, 400, "bad_parameter", "%s", text);
        break;
    case -ENOENT:
        http_problem(r, 404, "not_carried", "%s", text);
        break;
    case -ECONNREFUSED:
    case -ECONNRESET:
    case -EIO:
        http_set_header(r, "Retry-After", "5");
        http_problem(r, 503, "postgresql_failed", "PostgreSQL cannot be asked: %s",
                     text);
        break;
    default:
        rows_failed(r, err, text);
    }
}

static int everywhere_parse(struct everywhere *x, const struct table *t,
                            struct error *error)
{
    int err = everywhere_table(t, &x->table);
    if (err)
        return error_set(error, err, "out of memory");
    err = ask_parse(&x->ask, &x->table, ASK_EVERYWHERE, x->request, error);
    if (!err && strcmp(http_query(x->request, "shards"), "all"))
        err = error_set(error, -EINVAL, "shards: there is 'all'");
    if (!err && !x->api->read)
        err = error_set(error, -EINVAL,
                        "shards: this server shares no tables with others ('shard' of "
                        "'postgresql')");
    return err;
}

/* Takes x. */
static void everywhere_answer(struct everywhere *x)
{
    struct error error = {""};
    bool more = false;
    int err = 0;
    x->n = EVERYWHERE_FIRST;
    if (x->ask.cursor)
        buffer_puts(&x->after, x->ask.cursor);
    if (!x->ask.all)
        err = everywhere_look_ahead(x, &more, &error);
    if (err) {
        everywhere_failed(x, err, error.text);
        everywhere_free(x);
        return;
    }
    if (more)
        api_say_next(x->request, "cursor", buffer_text(&x->last), true);
    x->rows = (struct rows){.request = x->request,
                            .name = x->table.name,
                            .out = {.format = x->ask.format,
                                    .times = x->ask.times,
                                    .n_columns = x->ask.n_columns,
                                    .column = x->ask.column},
                            .piece = everywhere_piece,
                            .free = everywhere_free,
                            .ctx = x};
    rows_send(&x->rows);
}

void everywhere_get(struct http_request *r, const struct api *api, struct pipeline *p,
                    const struct table *t)
{
    struct error error = {""};
    struct everywhere *x = calloc(1, sizeof(*x));
    if (!x) {
        pipeline_unref(p);
        http_problem(r, 503, "out_of_memory", "no memory");
        return;
    }
    x->request = r;
    x->api = api;
    x->pipeline = p;
    int err = everywhere_parse(x, t, &error);
    if (!err) {
        everywhere_answer(x);
        return;
    }
    if (err == -ENOENT)
        http_problem(r, 406, "not_acceptable", "%s", error.text);
    else
        everywhere_failed(x, err, error.text);
    everywhere_free(x);
}
