/* SPDX-License-Identifier: Apache-2.0
 *
 * A row set into its table, by one statement: INSERT ... SELECT from a virtual table that shows the cells
 * of the set as they lie in memory. Nothing is bound; docs/store.md has the figures.
 */
#include "base/logger.h"
#include "store/internal.h"

#include <math.h>

/* ---- The cells as SQLite's values --------------------------------------------------------------- */

/* A number of the wrong kind is converted where nothing is lost, otherwise the cell is null. */
static void insert_convert(struct store_table *t, sqlite3_context *to,
                           enum weir_type want, const struct weir_cell *c)
{
    if (want == WEIR_FLOAT && c->type != WEIR_STRING) {
        sqlite3_result_double(to, (double)c->as.i);
        return;
    }
    if (want != WEIR_STRING && c->type == WEIR_FLOAT && c->as.f == floor(c->as.f) &&
        c->as.f >= -0x1p63 && c->as.f < 0x1p63) {
        sqlite3_result_int64(to, (sqlite3_int64)c->as.f);
        return;
    }
    metric_add(&t->store->count.wrong_cells, 1);
    if (!t->wrong_logged)
        log_error(
            "store",
            "table '%s': an analyzer gave a value of another type than it declares; "
            "stored as null",
            t->table->name);
    t->wrong_logged = true;
}

/* A cell that is not set stays null, and so does NaN. */
static void insert_cell(struct store_table *t, sqlite3_context *to, enum weir_type want,
                        const struct weir_cell *c)
{
    bool is_int = c->type == WEIR_INT || c->type == WEIR_TIME || c->type == WEIR_BOOL;
    if (c->type == WEIR_FLOAT && want == WEIR_FLOAT)
        sqlite3_result_double(to, c->as.f);
    else if (is_int && want != WEIR_FLOAT && want != WEIR_STRING)
        sqlite3_result_int64(to, c->as.i);
    else if (c->type == WEIR_STRING && want == WEIR_STRING)
        sqlite3_result_text(to, c->size ? c->as.s : "", (int)c->size, SQLITE_STATIC);
    else if (c->type != 0)
        insert_convert(t, to, want, c);
}

/* ---- The virtual table: the rows of store_table.set -------------------------------------------- */

struct insert_vtab {
    sqlite3_vtab base;
    struct store_table *table;
};

struct insert_cursor {
    sqlite3_vtab_cursor base;
    struct store_table *table;
    size_t row;
    const struct weir_cell *cells; /* of the row */
};

static int insert_connect(sqlite3 *db, void *aux, int argc, const char *const *argv,
                          sqlite3_vtab **ret, char **message)
{
    (void)argc, (void)argv, (void)message;
    struct store_table *t = aux;
    sqlite3_str *text = sqlite3_str_new(db);
    sqlite3_str_appendall(text, "CREATE TABLE x(c0");
    for (size_t c = 1; c < t->table->n_columns; c++)
        sqlite3_str_appendf(text, ", c%d", (int)c);
    sqlite3_str_appendchar(text, 1, ')');
    char *sql = sqlite3_str_finish(text);
    struct insert_vtab *v = sqlite3_malloc(sizeof(*v));
    int code = sql && v ? sqlite3_declare_vtab(db, sql) : SQLITE_NOMEM;
    sqlite3_free(sql);
    if (code) {
        sqlite3_free(v);
        return code;
    }
    *v = (struct insert_vtab){.table = t};
    *ret = &v->base;
    return SQLITE_OK;
}

static int insert_disconnect(sqlite3_vtab *v)
{
    sqlite3_free(v);
    return SQLITE_OK;
}

static int insert_best_index(sqlite3_vtab *v, sqlite3_index_info *info)
{
    (void)v;
    info->estimatedCost = 1000;
    return SQLITE_OK;
}

static int insert_open(sqlite3_vtab *v, sqlite3_vtab_cursor **ret)
{
    struct insert_cursor *c = sqlite3_malloc(sizeof(*c));
    if (!c)
        return SQLITE_NOMEM;
    *c = (struct insert_cursor){.table = ((struct insert_vtab *)v)->table};
    *ret = &c->base;
    return SQLITE_OK;
}

static int insert_close(sqlite3_vtab_cursor *cursor)
{
    sqlite3_free(cursor);
    return SQLITE_OK;
}

static int insert_filter(sqlite3_vtab_cursor *cursor, int plan, const char *name,
                         int argc, sqlite3_value **argv)
{
    (void)plan, (void)name, (void)argc, (void)argv;
    struct insert_cursor *c = (struct insert_cursor *)cursor;
    c->row = 0;
    c->cells = c->table->set->cell;
    return SQLITE_OK;
}

static int insert_next(sqlite3_vtab_cursor *cursor)
{
    struct insert_cursor *c = (struct insert_cursor *)cursor;
    c->row++;
    c->cells += c->table->table->n_columns;
    return SQLITE_OK;
}

static int insert_eof(sqlite3_vtab_cursor *cursor)
{
    const struct insert_cursor *c = (const struct insert_cursor *)cursor;
    return c->row >= c->table->set->n_rows;
}

static int insert_column(sqlite3_vtab_cursor *cursor, sqlite3_context *to, int column)
{
    const struct insert_cursor *c = (const struct insert_cursor *)cursor;
    insert_cell(c->table, to, c->table->table->column[column].type, &c->cells[column]);
    return SQLITE_OK;
}

static int insert_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *ret)
{
    *ret = (sqlite3_int64)((const struct insert_cursor *)cursor)->row;
    return SQLITE_OK;
}

static const sqlite3_module insert_module = {
    .iVersion = 1,
    .xConnect = insert_connect, /* no xCreate: the table is there by its name */
    .xDisconnect = insert_disconnect,
    .xBestIndex = insert_best_index,
    .xOpen = insert_open,
    .xClose = insert_close,
    .xFilter = insert_filter,
    .xNext = insert_next,
    .xEof = insert_eof,
    .xColumn = insert_column,
    .xRowid = insert_rowid,
};

/* ---- The statement ------------------------------------------------------------------------------ */

/* INSERT INTO "t" ("window_start", ...) SELECT * FROM "weir_set_t" WHERE true ON CONFLICT DO NOTHING: a row
 * that is there came from a window that closed; another of the same key knows of less, or is the same.
 * (WHERE true: SQLite's grammar would take ON for a join's.) */
int insert_prepare(struct store *s, struct store_table *t)
{
    t->store = s;
    sqlite3_str *text = sqlite3_str_new(s->db);
    sqlite3_str_appendf(text, "weir_set_%s", t->table->name);
    char *module = sqlite3_str_finish(text);
    int code =
        module ? sqlite3_create_module(s->db, module, &insert_module, t) : SQLITE_NOMEM;
    text = sqlite3_str_new(s->db);
    sqlite3_str_appendf(text, "INSERT INTO \"%w\" (", t->table->name);
    for (size_t c = 0; c < t->table->n_columns; c++)
        sqlite3_str_appendf(text, "%s\"%w\"", c ? ", " : "", t->table->column[c].name);
    sqlite3_str_appendf(
        text, ") SELECT * FROM \"%w\" WHERE true ON CONFLICT DO NOTHING", module);
    char *sql = sqlite3_str_finish(text);
    if (!code)
        code = sql ? sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT,
                                        &t->insert, NULL)
                   : SQLITE_NOMEM;
    sqlite3_free(sql);
    sqlite3_free(module);
    return code;
}

int insert_rows(struct store *s, struct store_table *t, const struct rowset *r)
{
    if (!r->n_rows)
        return SQLITE_OK;
    t->set = r;
    sqlite3_step(t->insert);
    int code = sqlite3_reset(t->insert);
    if (code == SQLITE_OK)
        s->known_rows += r->n_rows - (size_t)sqlite3_changes(s->db);
    return code;
}
