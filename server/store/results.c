/* SPDX-License-Identifier: Apache-2.0 */
#include "store/results.h"

#include "store/db.h"
#include "store/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct results {
    const struct table *table;
    sqlite3 *db;
    sqlite3_stmt *select;
    struct weir_cell *cell; /* of a row */
};

/* Starts rise with ends, so the primary key finds the first one; but not of windows by key, for which results_ready is there. */
static void append_where(sqlite3_str *sql, const struct table *t)
{
    const bool by_key = window_is_by_key(&t->window);
    sqlite3_str_appendf(sql,
                        " FROM \"%s%w\" WHERE %swindow_end > ?2 AND window_end <= ?3",
                        replaced_can_be(t) ? "weir_given_" : "", t->name,
                        by_key ? "" : "window_start >= ?1 AND ");
    overdue_append_none(sql, t);
    sqlite3_str_appendf(sql, " ORDER BY %s", by_key ? "window_end, " : "");
}

static int prepare(struct results *r, struct error *error)
{
    const struct table *t = r->table;
    sqlite3_str *sql = sqlite3_str_new(r->db);
    sqlite3_str_appendall(sql, "SELECT ");
    for (size_t c = 0; c < t->n_columns; c++)
        sqlite3_str_appendf(sql, "%s\"%w\"", c ? ", " : "", t->column[c].name);
    append_where(sql, t);
    for (size_t c = 0; c < t->n_primary; c++)
        sqlite3_str_appendf(sql, "%s\"%w\"", c ? ", " : "", t->column[c].name);
    int code = db_prepare_str(r->db, sql, &r->select);
    return code ? db_error(r->db, error) : 0;
}

int results_open(const char *path, const struct table *t, struct results **ret,
                 struct error *error)
{
    struct results *r = calloc(1, sizeof(*r));
    if (!r)
        return error_set(error, -ENOMEM, "out of memory");
    r->table = t;
    r->cell = calloc(t->n_columns, sizeof(*r->cell));
    int err = r->cell ? db_open(path, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX,
                                &r->db, error)
                      : error_set(error, -ENOMEM, "out of memory");
    if (!err)
        err = prepare(r, error);
    if (err) {
        results_close(r);
        return err;
    }
    *ret = r;
    return 0;
}

void results_close(struct results *r)
{
    if (!r)
        return;
    sqlite3_finalize(r->select);
    sqlite3_close(r->db);
    free(r->cell);
    free(r);
}

static void take_row(struct results *r)
{
    for (int c = 0; c < (int)r->table->n_columns; c++) {
        const enum weir_type type = r->table->column[c].type;
        struct weir_cell *to = &r->cell[c];
        *to = (struct weir_cell){.type = type};
        if (sqlite3_column_type(r->select, c) == SQLITE_NULL) {
            to->type = (enum weir_type)0;
        } else if (type == WEIR_FLOAT) {
            to->as.f = sqlite3_column_double(r->select, c);
        } else if (type == WEIR_STRING) {
            to->as.s = (const char *)sqlite3_column_text(r->select, c);
            to->size = (uint32_t)sqlite3_column_bytes(r->select, c);
        } else {
            to->as.i = sqlite3_column_int64(r->select, c);
        }
    }
}

/* Within a transaction. */
static int read_rows(struct results *r, int64_t until_us, size_t rows,
                     int (*row)(void *ctx, const struct weir_cell *cell), void *ctx,
                     int64_t *ret_until_us, bool *ret_more, struct error *error)
{
    size_t n = 0;
    int64_t end_us = INT64_MIN;
    int code, err = 0;
    *ret_until_us = until_us;
    *ret_more = false;
    while (!err && (code = sqlite3_step(r->select)) == SQLITE_ROW) {
        take_row(r);
        int64_t us = r->cell[r->table->n_primary].as.i;
        if (n >= rows && us > end_us) {
            *ret_until_us = end_us;
            *ret_more = true;
            return 0;
        }
        end_us = us;
        err = row(ctx, r->cell);
        n++;
    }
    if (err)
        return error_set(error, err, "%s", strerror(-err));
    return code == SQLITE_DONE ? 0 : db_error(r->db, error);
}

int results_read(struct results *r, int64_t after_us, bool ended, size_t rows,
                 int (*row)(void *ctx, const struct weir_cell *cell), void *ctx,
                 int64_t *ret_until_us, bool *ret_more, struct error *error)
{
    const struct window_kind *kind = &r->table->window;
    int64_t until_us = INT64_MIN;
    *ret_until_us = after_us;
    *ret_more = false;
    int err = db_exec(r->db, "BEGIN", error);
    if (err)
        return err;
    err = store_watermark(r->db, r->table->pipeline, &until_us, error);
    if (ended)
        until_us = INT64_MAX;
    if (!err || err == -ENOENT)
        err = 0;
    if (!err && until_us > after_us) {
        if (!window_is_by_key(kind))
            sqlite3_bind_int64(
                r->select, 1,
                window_by_id(kind, window_first_open(kind, after_us)).start_us);
        sqlite3_bind_int64(r->select, 2, after_us);
        sqlite3_bind_int64(r->select, 3, until_us);
        err = read_rows(r, until_us, rows, row, ctx, ret_until_us, ret_more, error);
        sqlite3_reset(r->select);
    }
    int end = db_exec(r->db, "COMMIT", err ? NULL : error);
    return err ? err : end;
}

/* ---- The index ---------------------------------------------------------------------------------- */

int results_ready(struct store *s, const struct table *t, struct error *error)
{
    if (replaced_can_be(t))
        return replaced_begin(s, t, error);
    if (!window_is_by_key(&t->window))
        return 0;
    sqlite3_str *sql = sqlite3_str_new(s->db);
    sqlite3_str_appendf(sql,
                        "CREATE INDEX IF NOT EXISTS \"weir_%w_by_end\" ON \"%w\" "
                        "(window_end)",
                        t->name, t->name);
    return db_exec_str(s->db, sql, error);
}

static bool is_joined(const struct store *s, const struct table *t)
{
    bool joined = false;
    for (size_t i = 0; !joined && i < s->n_needs; i++)
        joined = !strcmp(s->needs[i].table, t->name) &&
                 strncmp(s->needs[i].reader, "weir_", 5) != 0;
    return joined;
}

/* It would make each row dearer. What cannot be done now is left to the next start. */
static void drop_indexes(struct store *s)
{
    for (struct store_table *t = s->tables; t; t = t->next) {
        if (!window_is_by_key(&t->table->window) || is_joined(s, t->table))
            continue;
        replaced_end(s, t);
        sqlite3_str *sql = sqlite3_str_new(s->db);
        sqlite3_str_appendf(sql, "DROP INDEX IF EXISTS \"weir_%w_by_end\"",
                            t->table->name);
        db_exec_str(s->db, sql, NULL);
    }
}

/* ---- Retention -------------------------------------------------------------------------------- */

int results_need(struct store *s, const char *table, const char *reader,
                 int64_t needed_us)
{
    for (size_t i = 0; i < s->n_needs; i++)
        if (!strcmp(s->needs[i].reader, reader)) {
            s->needs[i].needed_us = needed_us;
            return 0;
        }
    struct store_need *grown = realloc(s->needs, (s->n_needs + 1) * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    s->needs = grown;
    struct store_need *n = &grown[s->n_needs];
    *n = (struct store_need){
        .table = strdup(table), .reader = strdup(reader), .needed_us = needed_us};
    if (!n->table || !n->reader) {
        free(n->table);
        free(n->reader);
        return -ENOMEM;
    }
    s->n_needs++;
    return 0;
}

void results_forget(struct store *s, bool (*keep)(void *ctx, const char *reader),
                    void *ctx)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_needs; i++) {
        const char *reader = s->needs[i].reader;
        if (keep && (strncmp(reader, "weir_", 5) == 0 || keep(ctx, reader))) {
            s->needs[n++] = s->needs[i];
            continue;
        }
        free(s->needs[i].table);
        free(s->needs[i].reader);
    }
    s->n_needs = n;
    if (keep)
        drop_indexes(s);
}

void results_has_read(struct store *s, const char *reader, int64_t until_us)
{
    for (size_t i = 0; i < s->n_needs; i++)
        if (!strcmp(s->needs[i].reader, reader))
            s->needs[i].needed_us = until_us;
}

int64_t results_needed(const struct store *s, const char *table)
{
    int64_t us = INT64_MAX;
    for (size_t i = 0; i < s->n_needs; i++)
        if (s->needs[i].needed_us < us && !strcmp(s->needs[i].table, table))
            us = s->needs[i].needed_us;
    return us;
}
