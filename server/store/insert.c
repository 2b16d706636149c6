/* SPDX-License-Identifier: Apache-2.0
 *
 * Result rows into INSERT statements of many rows each. Rows of consecutive rowsets fill one statement.
 */
#include "base/logger.h"
#include "store/internal.h"

#include <math.h>

/* INSERT INTO "t" ("window_start", ...) VALUES (?,?,...), (...), ... ON CONFLICT DO NOTHING: a row that is
 * there came from a window that closed; another of the same key knows of less, or is the same. */
static int insert_statement(sqlite3 *db, const struct table *t, size_t rows,
                            sqlite3_stmt **ret)
{
    sqlite3_str *text = sqlite3_str_new(db);
    sqlite3_str_appendf(text, "INSERT INTO \"%w\" (", t->name);
    for (size_t c = 0; c < t->n_columns; c++)
        sqlite3_str_appendf(text, "%s\"%w\"", c ? ", " : "", t->column[c].name);
    sqlite3_str_appendall(text, ") VALUES ");
    for (size_t r = 0; r < rows; r++) {
        sqlite3_str_appendall(text, r ? ", (?" : "(?");
        for (size_t c = 1; c < t->n_columns; c++)
            sqlite3_str_appendall(text, ",?");
        sqlite3_str_appendchar(text, 1, ')');
    }
    sqlite3_str_appendall(text, " ON CONFLICT DO NOTHING");
    char *sql = sqlite3_str_finish(text);
    if (!sql)
        return SQLITE_NOMEM;
    int code = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL);
    sqlite3_free(sql);
    return code;
}

int insert_prepare(struct store *s, struct store_table *t)
{
    t->statement_rows = STORE_STATEMENT_CELLS / t->table->n_columns;
    if (t->statement_rows > STORE_STATEMENT_ROWS)
        t->statement_rows = STORE_STATEMENT_ROWS;
    if (t->statement_rows == 0)
        t->statement_rows = 1;
    int code = insert_statement(s->db, t->table, 1, &t->one);
    if (!code)
        code = insert_statement(s->db, t->table, t->statement_rows, &t->many);
    return code;
}

/* A number of the wrong kind is converted where nothing is lost, otherwise the cell is null. */
static int insert_convert(struct store *s, struct store_table *t,
                          sqlite3_stmt *statement, int i, enum weir_type want,
                          const struct weir_cell *c)
{
    bool want_float = want == WEIR_FLOAT;
    if (want_float && c->type != WEIR_STRING)
        return sqlite3_bind_double(statement, i, (double)c->as.i);
    if (want != WEIR_STRING && c->type == WEIR_FLOAT && c->as.f == floor(c->as.f) &&
        c->as.f >= -0x1p63 && c->as.f < 0x1p63)
        return sqlite3_bind_int64(statement, i, (sqlite3_int64)c->as.f);
    metric_add(&s->count.wrong_cells, 1);
    if (!t->wrong_logged)
        log_error(
            "store",
            "table '%s': an analyzer gave a value of another type than it declares; "
            "stored as null",
            t->table->name);
    t->wrong_logged = true;
    return sqlite3_bind_null(statement, i);
}

static int insert_bind_cell(struct store *s, struct store_table *t,
                            sqlite3_stmt *statement, int i, enum weir_type want,
                            const struct weir_cell *c)
{
    bool is_int = c->type == WEIR_INT || c->type == WEIR_TIME || c->type == WEIR_BOOL;
    if (c->type == 0)
        return sqlite3_bind_null(statement, i);
    if (is_int && want != WEIR_FLOAT && want != WEIR_STRING)
        return sqlite3_bind_int64(statement, i, c->as.i);
    if (c->type == WEIR_FLOAT && want == WEIR_FLOAT)
        return sqlite3_bind_double(statement, i, c->as.f);
    if (c->type == WEIR_STRING && want == WEIR_STRING)
        return sqlite3_bind_text(statement, i, c->size ? c->as.s : "", (int)c->size,
                                 SQLITE_STATIC);
    return insert_convert(s, t, statement, i, want, c);
}

static int insert_step(struct store *s, struct store_table *t, sqlite3_stmt *statement,
                       const struct weir_cell *const *row, size_t n_rows)
{
    const struct table *table = t->table;
    int i = 1;
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t c = 0; c < table->n_columns; c++, i++) {
            int code =
                insert_bind_cell(s, t, statement, i, table->column[c].type, &row[r][c]);
            if (code)
                return code;
        }
    }
    sqlite3_step(statement);
    int code = sqlite3_reset(statement);
    if (code == SQLITE_OK)
        s->known_rows += n_rows - (size_t)sqlite3_changes(s->db);
    return code;
}

int insert_rows(struct store *s, struct store_table *t, const struct rowset *r)
{
    for (size_t i = 0; i < r->n_rows; i++) {
        t->pending[t->n_pending++] = r->cell + i * t->table->n_columns;
        if (t->n_pending < t->statement_rows)
            continue;
        t->n_pending = 0;
        int code = insert_step(s, t, t->many, t->pending, t->statement_rows);
        if (code)
            return code;
    }
    return SQLITE_OK;
}

int insert_end(struct store *s, struct store_table *t)
{
    size_t n = t->n_pending;
    t->n_pending = 0;
    for (size_t i = 0; i < n; i++) {
        int code = insert_step(s, t, t->one, &t->pending[i], 1);
        if (code)
            return code;
    }
    return SQLITE_OK;
}

void insert_cancel(struct store_table *t)
{
    t->n_pending = 0;
}
