/* SPDX-License-Identifier: Apache-2.0
 *
 * Results that are replaced, as they were given out: those of `global`, of which the table itself has the newest only. While
 * somebody joins them each stands here, too, until all who do have read it: so whoever is slower, or reads again after a
 * crash, finds at each time what the others found.
 */
#include "base/clock.h"
#include "store/db.h"
#include "store/internal.h"

#include <errno.h>
#include <string.h>

bool replaced_can_be(const struct table *t)
{
    return t->window.kind == CONFIG_GLOBAL && !t->late && !t->rows;
}

/* "window_start", "symbol", ... */
static void replaced_append_columns(sqlite3_str *text, const struct table *t, size_t n)
{
    for (size_t c = 0; c < n; c++)
        sqlite3_str_appendf(text, "%s\"%w\"", c ? ", " : "", t->column[c].name);
}

static const char *replaced_type(const struct table *t, size_t c)
{
    const enum weir_type type = t->column[c].type;
    return type == WEIR_FLOAT ? "REAL" : type == WEIR_STRING ? "TEXT" : "INTEGER";
}

static int replaced_create(sqlite3 *db, const struct table *t, struct error *error)
{
    sqlite3_str *text = sqlite3_str_new(db);
    sqlite3_str_appendf(text, "CREATE TABLE \"weir_given_%w\" (\n", t->name);
    for (size_t c = 0; c < t->n_columns; c++)
        sqlite3_str_appendf(text, "    \"%w\" %s%s,\n", t->column[c].name,
                            replaced_type(t, c), c <= t->n_primary ? " NOT NULL" : "");
    sqlite3_str_appendall(text, "    PRIMARY KEY (\"window_end\", ");
    replaced_append_columns(text, t, t->n_primary);
    sqlite3_str_appendall(text, ")\n) STRICT, WITHOUT ROWID");
    return db_exec_str(db, text, error);
}

/* For who has read nothing yet: the newest of each key, of which the others may have read all, so that they are gone here. */
static int replaced_fill(sqlite3 *db, const struct table *t, struct error *error)
{
    sqlite3_str *text = sqlite3_str_new(db);
    sqlite3_str_appendf(text, "INSERT OR IGNORE INTO \"weir_given_%w\" (", t->name);
    replaced_append_columns(text, t, t->n_columns);
    sqlite3_str_appendall(text, ") SELECT ");
    replaced_append_columns(text, t, t->n_columns);
    sqlite3_str_appendf(text, " FROM \"%w\"", t->name);
    return db_exec_str(db, text, error);
}

/* 1: it is there. */
static int replaced_is_there(sqlite3 *db, const struct table *t, struct error *error)
{
    sqlite3_int64 n = 0;
    char *name = sqlite3_mprintf("weir_given_%s", t->name);
    int err = name
                  ? db_int(db,
                           "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND"
                           " name = ? COLLATE NOCASE",
                           name, &n, error)
                  : error_set(error, -ENOMEM, "out of memory");
    sqlite3_free(name);
    return err ? err : n > 0;
}

int replaced_prepare(struct store *s, struct store_table *t)
{
    const struct table *table = t->table;
    if (!replaced_can_be(table) || t->given ||
        replaced_is_there(s->db, table, NULL) <= 0)
        return SQLITE_OK;
    sqlite3_str *text = sqlite3_str_new(s->db);
    sqlite3_str_appendf(text, "INSERT OR IGNORE INTO \"weir_given_%w\" (", table->name);
    replaced_append_columns(text, table, table->n_columns);
    sqlite3_str_appendf(text, ") SELECT * FROM \"weir_set_%w\" WHERE c%d IS NOT NULL",
                        table->name, (int)table->n_primary);
    if (table->n_primary > 1 + table->n_keys) /* ranks; 0 is of none */
        sqlite3_str_appendf(text, " AND c%d > 0", (int)table->n_primary - 1);
    return db_prepare_str(s->db, text, &t->given);
}

/* What is carried to another database is read from the table itself. */
static int64_t replaced_needed(const struct store *s, const char *table)
{
    int64_t us = INT64_MAX;
    for (size_t i = 0; i < s->n_needs; i++)
        if (s->needs[i].needed_us < us && !strcmp(s->needs[i].table, table) &&
            strncmp(s->needs[i].reader, "weir_", 5) != 0)
            us = s->needs[i].needed_us;
    return us;
}

int replaced_begin(struct store *s, const struct table *table, struct error *error)
{
    int there = replaced_is_there(s->db, table, error);
    if (there == 0 || (there > 0 && replaced_needed(s, table->name) == INT64_MIN)) {
        int err = db_exec(s->db, "BEGIN IMMEDIATE", error);
        if (!err && !there)
            err = replaced_create(s->db, table, error);
        if (!err)
            err = replaced_fill(s->db, table, error);
        if (!err)
            err = db_exec(s->db, "COMMIT", error);
        if (err)
            db_exec(s->db, "ROLLBACK", NULL);
        there = err;
    }
    for (struct store_table *t = s->tables; there >= 0 && t; t = t->next)
        if (t->table == table && replaced_prepare(s, t))
            return db_error(s->db, error);
    return there < 0 ? there : 0;
}

static int replaced_drop(sqlite3 *db, const struct table *t, struct error *error)
{
    sqlite3_str *sql = sqlite3_str_new(db);
    sqlite3_str_appendf(sql, "DROP TABLE IF EXISTS \"weir_given_%w\"", t->name);
    return db_exec_str(db, sql, error);
}

/* The table has got columns since, or windows of another kind. */
int replaced_sync(sqlite3 *db, const struct table *t, struct error *error)
{
    if (!replaced_can_be(t))
        return replaced_drop(db, t, error);
    int err = replaced_is_there(db, t, error);
    for (size_t c = 0; err > 0 && c < t->n_columns; c++) {
        sqlite3_int64 n = 0;
        char *sql = sqlite3_mprintf("SELECT count(*) FROM pragma_table_info("
                                    "'weir_given_%q') WHERE name = ? COLLATE NOCASE",
                                    t->name);
        int r = sql ? db_int(db, sql, t->column[c].name, &n, error)
                    : error_set(error, -ENOMEM, "out of memory");
        sqlite3_free(sql);
        if (r == 0 && n == 0) {
            sqlite3_str *text = sqlite3_str_new(db);
            sqlite3_str_appendf(text,
                                "ALTER TABLE \"weir_given_%w\" ADD COLUMN \"%w\" %s",
                                t->name, t->column[c].name, replaced_type(t, c));
            r = db_exec_str(db, text, error);
        }
        err = r < 0 ? r : err;
    }
    return err < 0 ? err : 0;
}

int replaced_purge(struct store *s, struct store_table *t)
{
    const int64_t needed_us = t->given ? replaced_needed(s, t->table->name) : INT64_MIN;
    int64_t next_us;
    if (needed_us == INT64_MIN || needed_us == INT64_MAX ||
        (t->given_us != INT64_MIN &&
         !__builtin_add_overflow(t->given_us, SECOND_US, &next_us) &&
         needed_us < next_us))
        return SQLITE_OK;
    DB_STATEMENT statement = NULL;
    sqlite3_str *text = sqlite3_str_new(s->db);
    sqlite3_str_appendf(text, "DELETE FROM \"weir_given_%w\" WHERE window_end <= ?1",
                        t->table->name);
    int code = db_prepare_str(s->db, text, &statement);
    if (code)
        return code;
    sqlite3_bind_int64(statement, 1, needed_us);
    code = db_step(statement);
    if (code == SQLITE_OK)
        t->given_us = needed_us;
    return code;
}

void replaced_end(struct store *s, struct store_table *t)
{
    if (!replaced_can_be(t->table))
        return;
    sqlite3_finalize(t->given);
    t->given = NULL;
    replaced_drop(s->db, t->table, NULL);
}
