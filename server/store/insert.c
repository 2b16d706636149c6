/* SPDX-License-Identifier: Apache-2.0
 *
 * A row set into its table, by one statement: INSERT ... SELECT from a virtual table that shows the cells
 * of the set as they lie in memory. Nothing is bound; docs/store.md has the figures.
 */
#include "store/db.h"
#include "store/internal.h"

/* ---- The cells as SQLite's values --------------------------------------------------------------- */

/* Cells have the type of their column: plugin/host.c has seen to it. One that is not set is null, and so is
 * NaN. */
static void insert_cell(sqlite3_context *to, const struct weir_cell *c)
{
    switch (c->type) {
    case WEIR_FLOAT:
        sqlite3_result_double(to, c->as.f);
        break;
    case WEIR_INT:
    case WEIR_TIME:
    case WEIR_BOOL:
        sqlite3_result_int64(to, c->as.i);
        break;
    case WEIR_STRING:
        sqlite3_result_text64(to, c->size ? c->as.s : "", c->size, SQLITE_STATIC,
                              SQLITE_UTF8);
        break;
    default:
        break;
    }
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
    sqlite3_str_appendall(text, "CREATE TABLE x(");
    for (size_t c = 0; c < t->table->n_columns; c++)
        sqlite3_str_appendf(text, "%sc%d%s", c ? ", " : "", (int)c,
                            store_is_generated(t->table, c) ? " HIDDEN" : "");
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

/* After a crash rows come again that retention has deleted: they are known, and gone. Which they are, purge.c says;
 * in sets of late events, of windows by key and with revised groups they lie anywhere. */
static bool insert_is_gone(const struct insert_cursor *c)
{
    const struct table *t = c->table->table;
    const struct weir_cell *until =
        &c->cells[window_is_by_key(&t->window) ? t->n_primary : 0];
    return until->as.i < c->table->gone_us && until->type;
}

static void insert_pass_gone(struct insert_cursor *c)
{
    while (c->row < c->table->set->n_rows && insert_is_gone(c)) {
        c->row++;
        c->cells += c->table->table->n_columns;
    }
}

static int insert_filter(sqlite3_vtab_cursor *cursor, int plan, const char *name,
                         int argc, sqlite3_value **argv)
{
    (void)plan, (void)name, (void)argc, (void)argv;
    struct insert_cursor *c = (struct insert_cursor *)cursor;
    c->row = 0;
    c->cells = c->table->set->cell;
    insert_pass_gone(c);
    return SQLITE_OK;
}

static int insert_next(sqlite3_vtab_cursor *cursor)
{
    struct insert_cursor *c = (struct insert_cursor *)cursor;
    c->row++;
    c->cells += c->table->table->n_columns;
    insert_pass_gone(c);
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
    insert_cell(to, &c->cells[column]);
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

/* ---- The statements ----------------------------------------------------------------------------- */

/* A row that is there came from a window that was given out; another of the same key knows of less, or is
 * the same. */
static const char insert_once[] = " WHERE true ON CONFLICT DO NOTHING";

/* "window_start" = weir_set.c0 AND "symbol" = weir_set.c1: the rows of the group that a row of the set belongs to; or = ?1
 * and so on. */
static void insert_append_group(sqlite3_str *text, const struct table *t, bool bound)
{
    for (size_t c = 0; c < 1 + t->n_keys; c++)
        sqlite3_str_appendf(text, bound ? "%s\"%w\" = ?%d" : "%s\"%w\" = weir_set.c%d",
                            c ? " AND " : "", t->column[c].name, (int)c + bound);
}

static bool insert_is_many(const struct table *t)
{
    return t->n_primary > 1 + t->n_keys;
}

/* A row without an end takes a result back (struct table). */
static bool insert_takes_back(const struct table *t)
{
    return t->revision && !insert_is_many(t) && !store_is_generated(t, t->n_primary);
}

/* One row a group: it is replaced. */
static void insert_append_replace(sqlite3_str *text, const struct table *t)
{
    const char *between = " ON CONFLICT DO UPDATE SET ";
    if (insert_takes_back(t))
        sqlite3_str_appendf(text, " WHERE weir_set.c%d IS NOT NULL", (int)t->n_primary);
    else
        sqlite3_str_appendall(text, " WHERE true");
    for (size_t c = t->n_primary; c < t->n_columns; c++) {
        if (store_is_generated(t, c))
            continue;
        sqlite3_str_appendf(text, "%s\"%w\" = excluded.\"%w\"", between,
                            t->column[c].name, t->column[c].name);
        between = ", ";
    }
}

/* The same, by one of a higher revision. */
static void insert_append_upsert(sqlite3_str *text, const struct table *t)
{
    insert_append_replace(text, t);
    sqlite3_str_appendf(text, " WHERE excluded.revision > \"%w\".revision", t->name);
}

/* Many rows a group: those of a lower revision are gone before (insert_clear), so what is there is of
 * the same revision, hence the same rows, or of a higher one, and then none of these goes in. The first
 * row tells, all of a group are alike. */
static void insert_append_set(sqlite3_str *text, const struct table *t)
{
    sqlite3_str_appendf(text,
                        " WHERE weir_set.c%d > 0 AND"
                        " ifnull((SELECT revision FROM \"%w\" WHERE ",
                        (int)t->n_primary - 1, t->name);
    insert_append_group(text, t, false);
    sqlite3_str_appendf(text, " LIMIT 1), 0) <= weir_set.c%d ON CONFLICT DO NOTHING",
                        (int)t->revision);
}

/* DELETE FROM "t" WHERE "window_start" = ?1 AND ... AND revision < ?n */
static int insert_prepare_clear(struct store *s, struct store_table *t)
{
    const struct table *table = t->table;
    sqlite3_str *text = sqlite3_str_new(s->db);
    sqlite3_str_appendf(text, "DELETE FROM \"%w\" WHERE ", table->name);
    insert_append_group(text, table, true);
    sqlite3_str_appendf(text, " AND revision < ?%d", (int)table->n_keys + 2);
    return db_prepare_str(s->db, text, &t->clear);
}

/* The same rows, but for those that come again, get a number as changes: a row of rank 1 to ?n + 3 does. */
static int insert_prepare_gone(struct store *s, struct store_table *t)
{
    const struct table *table = t->table;
    sqlite3_str *text = sqlite3_str_new(s->db);
    sqlite3_str_appendall(text, "INSERT INTO ");
    changes_append_target(text, table);
    sqlite3_str_appendall(text, " SELECT ");
    for (size_t c = 0; c < table->n_primary; c++)
        sqlite3_str_appendf(text, "%s\"%w\"", c ? ", " : "", table->column[c].name);
    sqlite3_str_appendf(text, " FROM \"%w\" WHERE ", table->name);
    insert_append_group(text, table, true);
    sqlite3_str_appendf(text, " AND revision < ?%d", (int)table->n_keys + 2);
    if (insert_is_many(table))
        sqlite3_str_appendf(text, " AND \"%w\" > ?%d",
                            table->column[table->n_primary - 1].name,
                            (int)table->n_keys + 3);
    return db_prepare_str(s->db, text, &t->gone);
}

char *insert_module_name(const struct table *table)
{
    return sqlite3_mprintf("weir_set_%s", table->name);
}

/* INSERT INTO "t" ("window_start", ...) SELECT * FROM "weir_set_t" AS weir_set, for WHERE true ON CONFLICT DO ...
 * A generated column is hidden from the *.
 * (WHERE true: SQLite's grammar would take ON for a join's.) */
static void insert_append(sqlite3_str *text, const struct table *table)
{
    sqlite3_str_appendf(text, "INSERT INTO \"%w\" (", table->name);
    for (size_t c = 0; c < table->n_columns; c++)
        if (!store_is_generated(table, c))
            sqlite3_str_appendf(text, "%s\"%w\"", c ? ", " : "", table->column[c].name);
    sqlite3_str_appendf(text, ") SELECT * FROM \"weir_set_%w\" AS weir_set",
                        table->name);
}

int insert_prepare(struct store *s, struct store_table *t)
{
    const struct table *table = t->table;
    t->store = s;
    char *module = insert_module_name(table);
    int code =
        module ? sqlite3_create_module(s->db, module, &insert_module, t) : SQLITE_NOMEM;
    sqlite3_str *text = sqlite3_str_new(s->db);
    insert_append(text, table);
    if (!table->revision)
        sqlite3_str_appendall(text, insert_once);
    else if (insert_is_many(table))
        insert_append_set(text, table);
    else
        insert_append_upsert(text, table);
    if (!code)
        code = db_prepare_str(s->db, text, &t->insert);
    else
        sqlite3_free(sqlite3_str_finish(text));
    sqlite3_free(module);
    if (!code && table->revision && (insert_is_many(table) || insert_takes_back(table)))
        code = insert_prepare_clear(s, t);
    return code ? code : replaced_prepare(s, t);
}

/* Returns the number of the next parameter. */
static int insert_bind_group(const struct store_table *t, sqlite3_stmt *to,
                             const struct weir_cell *row)
{
    const struct table *table = t->table;
    int c = 0;
    for (; c < (int)table->n_keys + 1; c++) {
        if (row[c].type == WEIR_STRING)
            sqlite3_bind_text64(to, c + 1, row[c].size ? row[c].as.s : "", row[c].size,
                                SQLITE_STATIC, SQLITE_UTF8);
        else
            sqlite3_bind_int64(to, c + 1, row[c].as.i);
    }
    sqlite3_bind_int64(to, c + 1, row[table->revision].as.i);
    return c + 2;
}

/* Of a table that is carried: who carries it learns which rows go, and do not come again with these n. */
static int insert_note_gone(struct store *s, struct store_table *t,
                            const struct weir_cell *row, int64_t n)
{
    int code = t->gone ? SQLITE_OK : insert_prepare_gone(s, t);
    if (code)
        return code;
    int next = insert_bind_group(t, t->gone, row);
    if (insert_is_many(t->table))
        sqlite3_bind_int64(t->gone, next, n);
    return db_step(t->gone);
}

/* Rows of the group that begins with this one, if it has any. */
static int64_t insert_count_group(const struct rowset *r, size_t first)
{
    const struct table *t = r->table;
    const struct weir_cell *rank = r->cell + first * t->n_columns + t->n_primary - 1;
    int64_t n = rank->as.i > 0;
    while (n && first + (size_t)n < r->n_rows && rank[t->n_columns].as.i > 1) {
        rank += t->n_columns;
        n++;
    }
    return n;
}

/* Deletes the rows that those of the set take the place of. Groups given out for the first time have
 * none. *ret_results: rows of the set that are results. */
static int insert_clear(struct store *s, struct store_table *t, const struct rowset *r,
                        size_t *ret_results)
{
    const struct table *table = t->table;
    const bool many = insert_is_many(table);
    const bool carried = changes_is_carried(s, table->name);
    size_t results = 0;
    int code = SQLITE_OK;
    for (size_t i = 0; !code && i < r->n_rows; i++) {
        const struct weir_cell *row = r->cell + i * table->n_columns;
        int64_t rank = many ? row[table->n_primary - 1].as.i
                            : 2 * (row[table->n_primary].type != 0);
        results += rank > 0;
        if (rank > 1 || row[table->revision].as.i <= 0)
            continue;
        if (carried)
            code = insert_note_gone(s, t, row, many ? insert_count_group(r, i) : 0);
        if (!code) {
            insert_bind_group(t, t->clear, row);
            code = db_step(t->clear);
        }
    }
    *ret_results = results;
    return code;
}

/* In the place of early rows, all of which the file has. */
static int insert_instead(struct store *s, struct store_table *t,
                          const struct rowset *r)
{
    int code = SQLITE_OK;
    if (!t->instead) {
        sqlite3_str *text = sqlite3_str_new(s->db);
        insert_append(text, t->table);
        insert_append_replace(text, t->table);
        code = db_prepare_str(s->db, text, &t->instead);
    }
    t->set = r;
    t->gone_us = INT64_MIN;
    return code ? code : db_step(t->instead);
}

/* Behind a start nobody knows yet what is needed. Of a plain window that is given out once all rows are there that were not deleted,
 * needed or not. */
static void find_gone(struct store_table *t)
{
    const struct table *table = t->table;
    if (purge_border(t, &t->gone_us))
        return;
    if (table->revision || table->late || table->rows ||
        window_is_by_key(&table->window) || !purge_border_of(t, INT64_MAX, &t->gone_us))
        t->gone_us = INT64_MIN;
}

int insert_rows(struct store *s, struct store_table *t, struct rowset *r)
{
    if (!r->n_rows)
        return SQLITE_OK;
    if (r->when == ROWS_INSTEAD)
        return insert_instead(s, t, r);
    size_t results = r->n_rows;
    int code = t->clear ? insert_clear(s, t, r, &results) : SQLITE_OK;
    if (code)
        return code;
    t->set = r;
    find_gone(t);
    const unsigned before = (unsigned)sqlite3_total_changes(s->db);
    code = db_step(t->insert);
    if (code == SQLITE_OK) {
        size_t changed = (size_t)sqlite3_changes(s->db);
        hand_number(s, t, r, changed, (unsigned)sqlite3_total_changes(s->db) - before);
        s->new_rows += changed;
        s->known_rows += results - changed;
    }
    if (code == SQLITE_OK && t->given)
        code = db_step(t->given);
    return code ? code : overdue_write(s, t, r);
}
