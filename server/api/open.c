/* SPDX-License-Identifier: Apache-2.0 */
#include "api/open.h"
#include "api/cursor.h"
#include "base/clock.h"
#include "pipeline/open.h"
#include "store/db.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPEN_LOOK_US 2000 /* at how far the file is */

enum { CLOSED, OPEN };

struct open {
    sqlite3 *db;
};

/* ---- From the workers to a table in memory ------------------------------------------------------- */

static int open_failed(sqlite3 *db, struct error *error)
{
    return error_set(error, -ENOMEM, "open windows: %s",
                     db ? sqlite3_errmsg(db) : "no memory");
}

static int open_create(sqlite3 *db, const struct table *t, struct error *error)
{
    sqlite3_str *sql = sqlite3_str_new(db);
    sqlite3_str_appendf(sql, "CREATE TABLE \"%w\" (", t->name);
    for (size_t c = 0; c < t->n_columns; c++)
        sqlite3_str_appendf(sql, "\"%w\" %s, ", t->column[c].name,
                            c < t->n_primary ? "NOT NULL" : "");
    sqlite3_str_appendall(sql, "PRIMARY KEY (");
    for (size_t c = 0; c < t->n_primary; c++)
        sqlite3_str_appendf(sql, "%s\"%w\"", c ? ", " : "", t->column[c].name);
    sqlite3_str_appendall(sql, ")) WITHOUT ROWID");
    return db_exec_str(db, sql, error);
}

static void open_bind(sqlite3_stmt *put, int i, const struct weir_cell *c)
{
    switch (c->type) {
    case WEIR_FLOAT:
        sqlite3_bind_double(put, i, c->as.f);
        break;
    case WEIR_INT:
    case WEIR_TIME:
    case WEIR_BOOL:
        sqlite3_bind_int64(put, i, c->as.i);
        break;
    case WEIR_STRING:
        sqlite3_bind_text64(put, i, c->size ? c->as.s : "", c->size, SQLITE_STATIC,
                            SQLITE_UTF8);
        break;
    default:
        sqlite3_bind_null(put, i);
    }
}

static int open_put(sqlite3 *db, const struct table *t, const struct open_rows *rows,
                    struct error *error)
{
    DB_STATEMENT put = NULL;
    sqlite3_str *sql = sqlite3_str_new(db);
    sqlite3_str_appendf(sql, "INSERT INTO \"%w\" VALUES (?", t->name);
    for (size_t c = 1; c < t->n_columns; c++)
        sqlite3_str_appendall(sql, ", ?");
    sqlite3_str_appendchar(sql, 1, ')');
    if (db_prepare_str(db, sql, &put))
        return open_failed(db, error);
    for (unsigned i = 0; i < rows->workers; i++) {
        const struct rowset *set = rows->part[i].rows;
        for (size_t k = 0; set && k < set->n_rows; k++) {
            for (size_t c = 0; c < t->n_columns; c++)
                open_bind(put, (int)c + 1, &set->cell[k * t->n_columns + c]);
            if (db_step(put))
                return open_failed(db, error);
        }
    }
    return 0;
}

static int open_fill(struct open *o, const struct table *t,
                     const struct open_rows *rows, struct error *error)
{
    if (sqlite3_open_v2(
            ":memory:", &o->db,
            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL))
        return open_failed(o->db, error);
    int err = open_create(o->db, t, error);
    if (!err)
        err = db_exec(o->db, "BEGIN", error);
    if (!err)
        err = open_put(o->db, t, rows, error);
    return err ? err : db_exec(o->db, "COMMIT", error);
}

/* What the pipeline says it has given must be in the file: rows of windows that have just closed are neither open nor there
 * otherwise. */
static int open_wait(const struct api *api, const struct pipeline *p,
                     const struct open_rows *rows, int64_t deadline_us,
                     struct error *error)
{
    uint64_t gave = 0;
    for (unsigned i = 0; i < rows->workers; i++)
        gave = rows->part[i].gave > gave ? rows->part[i].gave : gave;
    int err = gave ? store_flush_until(api->is.store, deadline_us) : 0;
    if (err == -EIO)
        return error_set(error, -EBUSY, "the database cannot be written");
    for (sqlite3_int64 at = -1; gave && (uint64_t)at < gave; usleep(OPEN_LOOK_US)) {
        struct reader *reader = NULL;
        DB_STATEMENT s = NULL;
        int offset;
        static const char sql[] =
            "SELECT position FROM weir_pipelines WHERE pipeline = ?";
        if (clock_monotonic_us() >= deadline_us)
            return error_set(error, -EBUSY,
                             "results of windows that have closed wait to be written");
        err = reader_get(api->is.readers, &reader, error);
        if (!err)
            err = reader_prepare(reader, sql, strlen(sql), &s, &offset, error);
        if (!err)
            sqlite3_bind_text(s, 1, pipeline_config(p)->name, -1, SQLITE_STATIC);
        int got = err ? err : reader_step(reader, s, error);
        at = got == 1 ? sqlite3_column_int64(s, 0) : 0;
        sqlite3_finalize(s);
        s = NULL;
        reader_put(reader);
        if (got < 0 || (uint64_t)at >= gave)
            return got < 0 ? got : 0;
    }
    return 0;
}

static void open_say_positions(const struct open_rows *rows, struct http_request *r)
{
    struct buffer text = {0};
    for (unsigned i = 0; i < rows->workers; i++)
        buffer_printf(&text, "%s%" PRIu64, i ? ", " : "", rows->part[i].position);
    if (!text.error)
        http_set_header(r, "Weir-Positions", buffer_text(&text));
    buffer_free(&text);
}

int open_new(const struct api *api, struct pipeline *p, const struct ask *ask,
             struct http_request *r, int64_t deadline_us, struct open **ret,
             struct error *error)
{
    const struct table *t = ask->table;
    const size_t n_keys = pipeline_config(p)->n_keys;
    struct open_filter filter[ASK_FILTERS_MAX];
    struct open_question q = {
        .table = t, .from_us = ask->from_us, .to_us = ask->to_us, .filter = filter};
    for (size_t i = 0; i < ask->n_filters; i++) {
        const struct ask_filter *f = &ask->filter[i];
        if (f->column > n_keys) /* number, rank: SQLite looks at them */
            continue;
        struct weir_cell value = {.type = WEIR_INT, .as.i = f->number};
        if (t->column[f->column].type == WEIR_STRING)
            value = (struct weir_cell){
                .type = WEIR_STRING, .size = (uint32_t)f->size, .as.s = f->text};
        filter[q.n_filters++] = (struct open_filter){f->column - 1, value};
    }
    struct open_rows *rows = NULL;
    struct open *o = calloc(1, sizeof(*o));
    int err = o ? pipeline_open_rows(p, &q, deadline_us, &rows, error)
                : error_set(error, -ENOMEM, "no memory");
    if (!err)
        err = open_fill(o, t, rows, error);
    if (!err && ask->open == ASK_WITH_OPEN)
        err = open_wait(api, p, rows, deadline_us, error);
    if (!err)
        open_say_positions(rows, r);
    open_rows_free(rows);
    if (err)
        open_free(o);
    else
        *ret = o;
    return err;
}

void open_free(struct open *o)
{
    if (!o)
        return;
    sqlite3_close(o->db);
    free(o);
}

/* ---- Reading ------------------------------------------------------------------------------------- */

static int open_step(struct open_read *x, int which, struct error *error)
{
    int got;
    if (which == CLOSED) {
        got = reader_step(x->reader, x->row[CLOSED], error);
    } else {
        int code = sqlite3_step(x->row[OPEN]);
        got = code == SQLITE_ROW    ? 1
              : code == SQLITE_DONE ? 0
                                    : open_failed(x->open->db, error);
    }
    x->has[which] = got == 1;
    return got < 0 ? got : 0;
}

static int open_compare_text(sqlite3_stmt *a, sqlite3_stmt *b, int c)
{
    const void *s = sqlite3_column_text(a, c), *t = sqlite3_column_text(b, c);
    size_t n = (size_t)sqlite3_column_bytes(a, c),
           m = (size_t)sqlite3_column_bytes(b, c);
    int order = s && t ? memcmp(s, t, n < m ? n : m) : 0;
    return order ? order : (n > m) - (n < m);
}

/* Of the first n columns of the primary keys of the two rows. */
static int open_compare(const struct open_read *x, size_t n)
{
    const struct table *t = x->ask->table;
    sqlite3_stmt *a = x->row[CLOSED], *b = x->row[OPEN];
    int order = 0, first = (int)x->ask->n_columns;
    for (size_t i = 0; !order && i < n; i++) {
        int c = first + (int)i;
        if (t->column[i].type == WEIR_STRING) {
            order = open_compare_text(a, b, c);
        } else if (t->column[i].type == WEIR_FLOAT) {
            double v = sqlite3_column_double(a, c), u = sqlite3_column_double(b, c);
            order = (v > u) - (v < u);
        } else {
            int64_t v = sqlite3_column_int64(a, c), u = sqlite3_column_int64(b, c);
            order = (v > u) - (v < u);
        }
    }
    return order;
}

static bool open_is_many(const struct table *t)
{
    return t->n_primary > 1 + t->n_keys;
}

/* Behind a cursor in the middle of a group: has its open result a higher revision, though no row of it is left? Then what is left
 * of the one in the file is passed over. */
static int open_pass_replaced(struct open_read *x, struct error *error)
{
    const struct table *t = x->ask->table;
    int first = (int)x->ask->n_columns, revision = first + (int)t->n_primary;
    for (bool replaced = true; replaced && x->has[CLOSED];) {
        DB_STATEMENT find = NULL;
        sqlite3_str *sql = sqlite3_str_new(x->open->db);
        sqlite3_str_appendf(sql, "SELECT 1 FROM \"%w\" WHERE revision > ?", t->name);
        for (size_t c = 0; c < 1 + t->n_keys; c++)
            sqlite3_str_appendf(sql, " AND \"%w\" = ?", t->column[c].name);
        if (db_prepare_str(x->open->db, sql, &find))
            return open_failed(x->open->db, error);
        sqlite3_bind_value(find, 1, sqlite3_column_value(x->row[CLOSED], revision));
        for (int c = 0; c < 1 + (int)t->n_keys; c++)
            sqlite3_bind_value(find, 2 + c,
                               sqlite3_column_value(x->row[CLOSED], first + c));
        replaced = sqlite3_step(find) == SQLITE_ROW;
        int err = replaced ? open_step(x, CLOSED, error) : 0;
        if (err)
            return err;
    }
    return 0;
}

static int open_prepare(struct open_read *x, int which, const char *after,
                        const char *last, struct error *error)
{
    char *sql = ask_sql(x->ask, which == OPEN ? ASK_MARKED_OPEN : ASK_MARKED_CLOSED,
                        after, last);
    if (!sql)
        return error_set(error, -ENOMEM, "no memory");
    int offset, err = 0;
    if (which == CLOSED)
        err =
            reader_prepare(x->reader, sql, strlen(sql), &x->row[which], &offset, error);
    else if (sqlite3_prepare_v2(x->open->db, sql, -1, &x->row[which], NULL))
        err = open_failed(x->open->db, error);
    sqlite3_free(sql);
    if (err)
        return err;
    if (ask_bind(x->ask, x->row[which], after, last, UINT64_MAX, 0))
        return error_set(error, -EINVAL, "the key of a row is too long for a cursor");
    return open_step(x, which, error);
}

int open_begin(const struct open *o, const struct ask *ask, struct reader *reader,
               const char *after, const char *last, struct open_read *ret,
               struct error *error)
{
    *ret = (struct open_read){.open = o, .ask = ask, .reader = reader, .now = -1};
    int err = open_prepare(ret, OPEN, after, last, error);
    if (!err && ask->open == ASK_WITH_OPEN)
        err = open_prepare(ret, CLOSED, after, last, error);
    if (!err && after && ask->table->revision && open_is_many(ask->table))
        err = open_pass_replaced(ret, error);
    return err;
}

/* Both have a result of one group: the one with the higher revision, or the one that has been given out. The rows of the other
 * are passed over. */
static int open_choose(struct open_read *x, struct error *error)
{
    const struct table *t = x->ask->table;
    int revision = (int)(x->ask->n_columns + t->n_primary);
    int other = sqlite3_column_int64(x->row[OPEN], revision) >
                        sqlite3_column_int64(x->row[CLOSED], revision)
                    ? CLOSED
                    : OPEN;
    int err = 0;
    while (!err && x->has[other] && open_compare(x, 1 + t->n_keys) == 0)
        err = open_step(x, other, error);
    return err;
}

/* A row of rank 0 is none: it says that the group has none any more. */
static bool open_is_nothing(const struct open_read *x)
{
    const struct table *t = x->ask->table;
    return x->now == OPEN && open_is_many(t) &&
           sqlite3_column_int64(x->row[OPEN],
                                (int)(x->ask->n_columns + t->n_primary) - 1) == 0;
}

int open_next(struct open_read *x, sqlite3_stmt **ret, struct error *error)
{
    do {
        int err = x->now >= 0 ? open_step(x, x->now, error) : 0;
        if (!err && x->has[CLOSED] && x->has[OPEN] &&
            open_compare(x, 1 + x->ask->table->n_keys) == 0)
            err = open_choose(x, error);
        if (err)
            return err;
        if (!x->has[CLOSED] && !x->has[OPEN])
            return 0;
        x->now = x->has[OPEN] ? OPEN : CLOSED;
        if (x->has[CLOSED] && x->has[OPEN]) {
            bool closed_first = open_compare(x, 1 + x->ask->table->n_keys) < 0;
            x->now = closed_first != x->ask->descending ? CLOSED : OPEN;
        }
    } while (open_is_nothing(x));
    *ret = x->row[x->now];
    return 1;
}

void open_end(struct open_read *x)
{
    sqlite3_finalize(x->row[CLOSED]);
    sqlite3_finalize(x->row[OPEN]);
    x->row[CLOSED] = x->row[OPEN] = NULL;
}
