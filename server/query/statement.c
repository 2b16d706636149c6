/* SPDX-License-Identifier: Apache-2.0
 *
 * One statement and its rows.
 */
#include "query/statement.h"
#include "base/clock.h"
#include "store/db.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Held back, so that a failure can still be a status; and what goes out at a time. */
#define STATEMENT_PIECE ((size_t)64 << 10)

struct statement {
    const struct query_ask *ask;
    struct reader *reader;
    struct statement_out *out;
    sqlite3_stmt *row;
    struct rowout rows;
    struct buffer text; /* not in frames yet */
    uint64_t bytes;     /* in frames */
    bool begun;
    bool deaf; /* nobody listens */
    enum query_cut cut;
};

/* ---- Parameters ---- */

/* :name, @name or $name of the statement; 0: there is none. */
static int statement_place(sqlite3_stmt *s, const struct query_param *p)
{
    if (!p->name)
        return (int)p->place;
    if (memchr(p->name, 0, p->name_size))
        return 0;
    for (const char *prefix = ":@$"; *prefix; prefix++) {
        char *full = sqlite3_mprintf("%c%.*s", *prefix, (int)p->name_size, p->name);
        int i = full ? sqlite3_bind_parameter_index(s, full) : 0;
        sqlite3_free(full);
        if (i)
            return i;
    }
    return 0;
}

static int statement_bind_one(sqlite3_stmt *s, const struct query_param *p, bool *given,
                              struct error *error)
{
    int i = statement_place(s, p), code = SQLITE_OK;
    if (i < 1 || i > sqlite3_bind_parameter_count(s))
        return p->name
                   ? error_set(error, -EINVAL,
                               "params: the statement has no parameter '%.*s'",
                               (int)p->name_size, p->name)
                   : error_set(error, -EINVAL,
                               "params: the statement has no parameter %u", p->place);
    given[i] = true;
    if (p->type == QUERY_INT)
        code = sqlite3_bind_int64(s, i, p->number);
    else if (p->type == QUERY_FLOAT)
        code = sqlite3_bind_double(s, i, p->real);
    else if (p->type == QUERY_TEXT)
        code = sqlite3_bind_text(s, i, p->text, (int)p->size, SQLITE_STATIC);
    else
        code = sqlite3_bind_null(s, i);
    return code ? error_set(error, db_errno(code), "params: %s", sqlite3_errstr(code))
                : 0;
}

static int statement_bind(struct statement *x, struct error *error)
{
    int n = sqlite3_bind_parameter_count(x->row);
    bool *given = calloc((size_t)n + 1, sizeof(*given));
    int err = given ? 0 : error_set(error, -ENOMEM, "out of memory");
    for (size_t i = 0; !err && i < x->ask->n_params; i++)
        err = statement_bind_one(x->row, &x->ask->param[i], given, error);
    for (int i = 1; !err && i <= n; i++) {
        const char *name = sqlite3_bind_parameter_name(x->row, i);
        if (!given[i])
            err = error_set(error, -EINVAL, "parameter %s is not given",
                            name ? name : "?");
    }
    free(given);
    return err;
}

/* ---- Rows ---- */

/* The text so far into frames, and those out. */
static int statement_hand_on(struct statement *x)
{
    const size_t size = rowout_size(&x->rows, &x->text);
    rowout_flush(&x->rows, &x->text);
    if (x->text.error)
        return x->text.error;
    if (!x->begun)
        query_put_head(&x->out->frames, x->cut);
    x->begun = true;
    if (!x->ask->head_only)
        query_put_data(&x->out->frames, x->text.data, x->text.size);
    x->bytes += size;
    buffer_clear(&x->text);
    if (x->out->frames.error)
        return x->out->frames.error;
    x->deaf = x->out->send(x->out->ctx, &x->out->frames) != 0;
    return x->deaf ? -EPIPE : 0;
}

/* Bytes that may still come. What describes the columns of Arrow is not counted. */
static uint64_t statement_left(const struct statement *x)
{
    return x->bytes < x->ask->max_bytes ? x->ask->max_bytes - x->bytes : 0;
}

/* One row, unless there is no more room for it: x->cut. */
static int statement_row(struct statement *x)
{
    uint64_t left = statement_left(x);
    size_t before = x->text.size;
    if (x->rows.rows == x->ask->max_rows)
        x->cut = QUERY_CUT_ROWS;
    else if (rowout_size(&x->rows, &x->text) >= left)
        x->cut = QUERY_CUT_BYTES;
    if (x->cut)
        return 0;
    x->text.limit = left < SIZE_MAX ? (size_t)left : SIZE_MAX;
    rowout_row(&x->rows, &x->text, x->row);
    x->text.limit = 0;
    if (x->text.error == -EFBIG) { /* as if it had not been tried */
        x->text.error = 0;
        x->text.size = before;
        x->rows.rows--;
        x->cut = QUERY_CUT_BYTES;
    } else if (x->rows.arrow && !x->text.error &&
               rowout_size(&x->rows, &x->text) > left) {
        rowout_drop(&x->rows);
        x->cut = QUERY_CUT_BYTES;
    }
    return x->text.error;
}

/* Steps until the end or a limit. A time-out before anything was handed on is an error, later a cut. */
static int statement_rows(struct statement *x, struct error *error)
{
    int got;
    while ((got = reader_step(x->reader, x->row, error)) == 1) {
        int err = statement_row(x);
        const size_t size = rowout_size(&x->rows, &x->text);
        if (!err && !x->cut && size >= STATEMENT_PIECE && size < statement_left(x))
            err = statement_hand_on(x);
        if (err == -EDOM)
            *error = x->rows.why;
        if (err || x->cut || (x->begun && x->ask->head_only))
            return err;
    }
    if (got == -ETIMEDOUT && x->begun) {
        x->cut = QUERY_CUT_TIME;
        got = 0;
    }
    return got;
}

static int statement_stream(struct statement *x, bool *ret_missing, struct error *error)
{
    rowout_begin(&x->rows, &x->text);
    int err = statement_rows(x, error);
    if (err)
        return err;
    /* A cut that the format cannot show, after the head has gone out, must not look whole. */
    *ret_missing = x->cut && x->begun && x->rows.format != ROWOUT_JSON;
    if (*ret_missing) /* it has no end, then */
        rowout_flush(&x->rows, &x->text);
    else
        rowout_end(&x->rows, &x->text, query_cut_word[x->cut]);
    if (x->text.error)
        return x->text.error;
    if (!x->begun)
        query_put_head(&x->out->frames, x->cut);
    x->begun = true;
    if (!x->ask->head_only)
        query_put_data(&x->out->frames, x->text.data, x->text.size);
    return x->out->frames.error;
}

static int statement_columns(struct statement *x, bool *ret_missing,
                             struct error *error)
{
    size_t n = (size_t)sqlite3_column_count(x->row);
    struct rowout_column *column = calloc(n + 1, sizeof(*column));
    if (!column)
        return error_set(error, -ENOMEM, "out of memory");
    for (size_t c = 0; c < n; c++) {
        const char *name = sqlite3_column_name(x->row, (int)c);
        column[c].name = name ? name : "";
    }
    int err = 0;
    for (size_t c = 0; !err && x->ask->times != ROWOUT_US && c < n; c++) {
        int is_time = reader_is_time(x->reader, x->row, (int)c, error);
        column[c].type = is_time > 0 ? WEIR_TIME : 0;
        err = is_time < 0 ? is_time : 0;
    }
    for (size_t c = 0; x->ask->format == ROWOUT_ARROW && c < n; c++)
        if (!column[c].type)
            column[c].type = rowout_declared(x->row, (int)c);
    x->rows = (struct rowout){.format = x->ask->format,
                              .times = x->ask->times,
                              .arrays = true,
                              .n_columns = n,
                              .column = column};
    if (!err)
        err = statement_stream(x, ret_missing, error);
    rowout_free(&x->rows);
    free(column);
    return err;
}

/* What the kernel, or the limit of SQLite's memory, refused. */
static int statement_limited(sqlite3 *db, int err,
                             const struct statement_limits *limits, struct error *error)
{
    int os = db ? sqlite3_system_errno(db) : 0;
    if (err == -ENOMEM)
        return error_set(error, -E2BIG,
                         "the statement needs more memory than a process may have "
                         "(sql_memory, %llu bytes)",
                         (unsigned long long)limits->memory);
    if ((err == -EIO || err == -ENOSPC || err == -ENFILE) &&
        (os == EFBIG || os == EMFILE))
        return error_set(error, -E2BIG,
                         "the statement needs more temporary files than a process may "
                         "have (sql_temp, %llu bytes)",
                         (unsigned long long)limits->temp);
    return err;
}

bool statement_run(struct reader *reader, const struct query_ask *ask,
                   const struct statement_limits *limits, struct statement_out *out,
                   struct query_end *ret_end)
{
    struct statement x = {.ask = ask, .reader = reader, .out = out};
    struct query_end end = {.offset = -1};
    reader_limit(reader, clock_monotonic_us() + ask->timeout_us, NULL, NULL);
    if (ask->only)
        reader_only(reader, ask->tables, ask->tables_size);
    int offset = -1;
    int err =
        reader_prepare(reader, ask->sql, ask->sql_size, &x.row, &offset, &end.error);
    end.offset = err == -EINVAL ? offset : -1;
    if (!err)
        err = statement_bind(&x, &end.error);
    if (!err)
        err = statement_columns(&x, &end.missing, &end.error);
    if (err)
        err = statement_limited(x.row ? sqlite3_db_handle(x.row) : NULL, err, limits,
                                &end.error);
    sqlite3_finalize(x.row);
    buffer_free(&x.text);
    end.err = err;
    *ret_end = end;
    return !x.deaf;
}
