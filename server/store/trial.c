/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether tables would fit into a database that somebody else has open: tried on an empty one in memory, with the
 * definitions of the result tables that are there, and what is noted of them.
 */
#include "store/db.h"
#include "store/internal.h"

#include <errno.h>

/* Runs the text in the first column of each row on `to`. */
static int trial_copy_definitions(sqlite3 *from, sqlite3 *to, struct error *error)
{
    DB_STATEMENT s = NULL;
    int err =
        db_prepare(from,
                   "SELECT sql FROM sqlite_schema WHERE type = 'table' AND (name IN "
                   "('weir_tables', 'weir_columns') OR name IN (SELECT name FROM "
                   "weir_tables))",
                   0, &s, error);
    while (!err && sqlite3_step(s) == SQLITE_ROW)
        err = db_exec(to, (const char *)sqlite3_column_text(s, 0), error);
    return err ? err : sqlite3_reset(s) ? db_error(from, error) : 0;
}

static int trial_copy_rows(sqlite3 *from, sqlite3 *to, const char *read,
                           const char *write, struct error *error)
{
    DB_STATEMENT r = NULL;
    DB_STATEMENT w = NULL;
    int err = db_prepare(from, read, 0, &r, error);
    if (!err)
        err = db_prepare(to, write, 0, &w, error);
    while (!err && sqlite3_step(r) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(r); i++)
            sqlite3_bind_value(w, i + 1, sqlite3_column_value(r, i));
        err = db_run(w, error);
    }
    return err ? err : sqlite3_reset(r) ? db_error(from, error) : 0;
}

static int trial_run(sqlite3 *file, sqlite3 *trial, const struct table *const *table,
                     size_t n, struct error *error)
{
    int err = trial_copy_definitions(file, trial, error);
    if (!err)
        err = trial_copy_rows(
            file, trial, "SELECT name, pipeline, window_us, retain_us FROM weir_tables",
            "INSERT INTO weir_tables (name, pipeline, window_us, retain_us) "
            "VALUES (?, ?, ?, ?)",
            error);
    if (!err)
        err = trial_copy_rows(
            file, trial, "SELECT table_name, name, type, key, help FROM weir_columns",
            "INSERT INTO weir_columns (table_name, name, type, key, help) "
            "VALUES (?, ?, ?, ?, ?)",
            error);
    for (size_t i = 0; !err && i < n; i++) {
        err = result_table_sync(trial, table[i], error);
        if (err)
            error_prefix(error, "table '%s'", table[i]->name);
    }
    return err;
}

int store_try_tables(const char *path, const struct table *const *table, size_t n,
                     struct error *error)
{
    sqlite3 *file = NULL, *trial = NULL;
    int err = db_open(path, SQLITE_OPEN_READONLY, &file, error);
    if (!err && sqlite3_open(":memory:", &trial))
        err = error_set(error, -ENOMEM, "no memory");
    if (!err)
        err = trial_run(file, trial, table, n, error);
    sqlite3_close(trial);
    sqlite3_close(file);
    return err;
}
