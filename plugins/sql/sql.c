/* SPDX-License-Identifier: Apache-2.0
 *
 * sql: a SELECT over all rows of each window, by SQLite. Its columns are those of the result table.
 */
#include "statement.h"

#include <stdlib.h>

#define MIB ((size_t)1 << 20)

struct config {
    const char *select;
    struct weir_columns columns;
    int64_t limit, memory;
    double timeout;
};

enum reason { CUT };

struct user {
    struct statement statement;
    bool cut; /* it was said that results are */
};

/* ---- Values ------------------------------------------------------------------------------------ */

static int wrong_type(struct weir_ctx *ctx, const struct statement *s, int i,
                      const char *type)
{
    static const char *const word[] = {[SQLITE_INTEGER] = "an integer",
                                       [SQLITE_FLOAT] = "a number with a fraction",
                                       [SQLITE_TEXT] = "a text",
                                       [SQLITE_BLOB] = "a blob"};
    return weir_fail(ctx,
                     "its column '%s' is %s, and a row has %s there: CAST in the "
                     "statement says what it is to be",
                     s->name[i], type, word[sqlite3_column_type(s->stmt, i)]);
}

/* Doubles that are whole and fit become integers, as SQLite does for a column of integers. */
static int put_int(struct weir_ctx *ctx, struct weir_out *out,
                   const struct statement *s, int i)
{
    double v = sqlite3_column_double(s->stmt, i);
    bool whole = sqlite3_column_type(s->stmt, i) == SQLITE_FLOAT &&
                 v > -9007199254740992.0 && v < 9007199254740992.0 &&
                 v == (double)(int64_t)v;
    if (sqlite3_column_type(s->stmt, i) != SQLITE_INTEGER && !whole)
        return wrong_type(ctx, s, i, "an integer");
    return weir_put_int(ctx, out, (uint32_t)i,
                        whole ? (int64_t)v : sqlite3_column_int64(s->stmt, i));
}

static int put(struct weir_ctx *ctx, struct weir_out *out, const struct statement *s,
               int i)
{
    int is = sqlite3_column_type(s->stmt, i);
    if (is == SQLITE_NULL)
        return 0;
    switch (s->type[i]) {
    case WEIR_FLOAT:
        if (is != SQLITE_FLOAT && is != SQLITE_INTEGER)
            return wrong_type(ctx, s, i, "a number");
        return weir_put_float(ctx, out, (uint32_t)i, sqlite3_column_double(s->stmt, i));
    case WEIR_STRING: {
        if (is != SQLITE_TEXT)
            return wrong_type(ctx, s, i, "a text");
        const char *text = (const char *)sqlite3_column_text(s->stmt, i);
        if (!text)
            return weir_fail(ctx, "no memory for a text");
        return weir_put_string(ctx, out, (uint32_t)i, text,
                               (size_t)sqlite3_column_bytes(s->stmt, i));
    }
    default:
        return put_int(ctx, out, s, i);
    }
}

/* ---- Calls ------------------------------------------------------------------------------------- */

/* More rows than `limit`: the first ones stay. */
static int cut(struct weir_ctx *ctx)
{
    const struct config *c = ctx->config;
    struct user *u = ctx->user;
    ctx->host->skip(ctx, CUT, 1);
    if (!u->cut)
        ctx->host->log(
            ctx, WEIR_WARN,
            "the statement gives more than %lld rows for a window (limit); the "
            "rest is left out, and such windows are counted",
            (long long)c->limit);
    u->cut = true;
    return 0;
}

static int whole(struct weir_ctx *ctx, const struct weir_window *window,
                 const struct weir_rows *rows, struct weir_out *out)
{
    const struct config *c = ctx->config;
    struct statement *s = &((struct user *)ctx->user)->statement;
    int64_t n = 0;
    int more = 0, err = statement_begin(s, window->start, window->end, rows);
    while (!err && (more = statement_step(s)) > 0) {
        if (n++ == c->limit) {
            err = cut(ctx);
            break;
        }
        for (int i = 0; !err && i < s->n; i++)
            err = put(ctx, out, s, i);
        if (!err)
            err = ctx->host->row(ctx, out);
    }
    statement_end(s);
    return more < 0 ? more : err;
}

static int describe(struct weir_ctx *ctx, const struct statement *s)
{
    struct weir_output output[STATEMENT_COLUMNS + 1] = {{.name = NULL}};
    int err = 0;
    for (uint32_t i = 0; !err && i < s->events.n; i++)
        if (!s->events.reads[i])
            err = ctx->host->leave_out(ctx, s->events.first + i);
    for (int i = 0; i < s->n; i++)
        output[i] = (struct weir_output){
            .name = s->name[i], .type = s->type[i], .help = "column of the statement"};
    return err ? err : ctx->host->outputs(ctx, output);
}

static int open_sql(struct weir_ctx *ctx)
{
    const struct config *c = ctx->config;
    struct user *u = ctx->host->alloc(ctx, sizeof(*u));
    if (!u)
        return -1;
    ctx->user = u;
    struct statement *s = &u->statement;
    s->events.name = c->columns.name;
    s->events.first = c->columns.first;
    s->events.n = c->columns.n;
    s->most_ns = (int64_t)(c->timeout * 1e9);
    s->temp.most = (size_t)c->memory * MIB;
    int err = statement_open(s, ctx, c->select);
    return err ? err : describe(ctx, s);
}

static void close_sql(struct weir_ctx *ctx)
{
    struct user *u = ctx->user;
    if (!u)
        return;
    if (u->statement.events.ctx)
        statement_close(&u->statement);
    ctx->host->free(ctx, u);
}

/* ---- Tables ------------------------------------------------------------------------------------ */

static const struct weir_param params[] = {
    {.name = "select",
     .type = WEIR_PARAM_STRING,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, select),
     .help = "the statement: SELECT ... FROM events ..."},
    {.name = "columns",
     .type = WEIR_PARAM_COLUMNS,
     .flags = WEIR_ALL,
     .offset = offsetof(struct config, columns),
     .help = "columns that events has; default: those of the stream",
     .column_types = WEIR_NUMBERS | WEIR_TYPES(WEIR_BOOL) | WEIR_TYPES(WEIR_STRING) |
                     WEIR_TYPES(WEIR_TIME)},
    {.name = "limit",
     .type = WEIR_PARAM_INT,
     .offset = offsetof(struct config, limit),
     .init = "100000",
     .help = "rows that a window gives, at most; the rest is cut and counted",
     .min = 1,
     .max = 1000000},
    {.name = "timeout",
     .type = WEIR_PARAM_FLOAT,
     .offset = offsetof(struct config, timeout),
     .init = "10",
     .help = "seconds of CPU time for a window, at most",
     .min = 0.001,
     .max = 3600},
    {.name = "memory",
     .type = WEIR_PARAM_INT,
     .offset = offsetof(struct config, memory),
     .init = "256",
     .help = "MiB for what is sorted or kept in between, at most",
     .min = 1,
     .max = 4096},
    {.name = NULL},
};

static const struct weir_analyzer sql = {
    .name = "sql",
    .version = "1.0",
    .help = "A SELECT over the rows of each window",
    .flags = WEIR_MANY_ROWS | WEIR_WHOLE,
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .reasons = "cut",
    .config_size = sizeof(struct config),
    .open = open_sql,
    .close = close_sql,
    .whole = whole,
};
WEIR_PLUGIN(sql);
