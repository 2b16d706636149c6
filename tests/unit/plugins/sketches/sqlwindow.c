/* SPDX-License-Identifier: Apache-2.0
 *
 * A SQL analyzer: a statement over all rows of each closed window. A server does not run this shape yet.
 * Asks for: the whole window, many columns by name and type, outputs that only the statement knows, any
 * number of rows, strings that die when the statement steps on. The database is what `struct sql` stands
 * for: a handful of calls like SQLite's, with a virtual table over struct weir_rows.
 */
#include "weir/plugin.h"

#include <stddef.h>

struct config {
    const char *statement;
    struct weir_columns columns;
};

struct sql; /* an engine with one statement */
struct sql *sql_open(const char *statement, const struct weir_columns *columns,
                     const uint32_t *types, const char **ret_error);
void sql_close(struct sql *s);
int sql_columns(const struct sql *s);
const char *sql_name(const struct sql *s, int column);
uint32_t sql_type(const struct sql *s, int column); /* enum weir_type */
void sql_bind(struct sql *s, const struct weir_window *w,
              const struct weir_rows *events);
int sql_step(struct sql *s); /* 1: a row; 0: no more; negative: an error */
const char *sql_text(struct sql *s, int column, size_t *ret_size);
int64_t sql_int(struct sql *s, int column);
double sql_float(struct sql *s, int column);
const char *sql_error(const struct sql *s);

static int open_sql(struct weir_ctx *ctx)
{
    const struct config *c = ctx->config;
    struct weir_output output[65] = {{.name = NULL}};
    const char *error = NULL;
    struct sql *s =
        sql_open(c->statement, &c->columns, ctx->types + c->columns.first, &error);
    if (!s)
        return weir_fail(ctx, "%s", error);
    ctx->user = s;
    for (int i = 0; i < sql_columns(s) && i < 64; i++)
        output[i] =
            (struct weir_output){sql_name(s, i), sql_type(s, i), "a column", NULL};
    return ctx->host->outputs(ctx, output);
}

static void close_sql(struct weir_ctx *ctx)
{
    sql_close(ctx->user);
}

static int put(struct weir_ctx *ctx, struct weir_out *out, struct sql *s, int column)
{
    size_t size;
    const char *text;
    switch (sql_type(s, column)) {
    case WEIR_FLOAT:
        return weir_put_float(ctx, out, (uint32_t)column, sql_float(s, column));
    case WEIR_STRING:
        text = sql_text(s, column, &size);
        return weir_put_string(ctx, out, (uint32_t)column, text, size);
    default:
        return weir_put_int(ctx, out, (uint32_t)column, sql_int(s, column));
    }
}

static int whole(struct weir_ctx *ctx, const struct weir_window *w,
                 const struct weir_rows *rows, struct weir_out *out)
{
    struct sql *s = ctx->user;
    int more, err = 0;
    sql_bind(s, w, rows);
    while (!err && (more = sql_step(s)) != 0) {
        if (more < 0)
            return weir_fail(ctx, "%s", sql_error(s));
        for (int i = 0; !err && i < sql_columns(s); i++)
            err = put(ctx, out, s, i);
        if (!err)
            err = ctx->host->row(ctx, out);
    }
    return err;
}

static const struct weir_param params[] = {
    {.name = "statement",
     .type = WEIR_PARAM_STRING,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, statement),
     .help = "SELECT ... FROM events"},
    {.name = "columns",
     .type = WEIR_PARAM_COLUMNS,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, columns),
     .help = "the columns of events",
     .column_types = WEIR_NUMBERS | WEIR_TYPES(WEIR_BOOL) | WEIR_TYPES(WEIR_STRING) |
                     WEIR_TYPES(WEIR_TIME)},
    {.name = NULL},
};

static const struct weir_analyzer sqlwindow = {
    .name = "sqlwindow",
    .version = "1.0",
    .help = "A SQL statement over the rows of each window",
    .flags = WEIR_MANY_ROWS | WEIR_WHOLE,
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .config_size = sizeof(struct config),
    .open = open_sql,
    .close = close_sql,
    .whole = whole,
};
WEIR_PLUGIN(sqlwindow);
