/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether tables would fit into a database that is not to be touched: tried on an empty one in memory, with the definitions
 * of the tables that are there, and what is noted of weir's own.
 */
#include "store/db.h"
#include "store/internal.h"
#include "store/migrate.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Runs the text in the first column of each row on `to`. */
static int trial_copy_definitions(sqlite3 *from, sqlite3 *to, struct error *error)
{
    DB_STATEMENT s = NULL;
    int err =
        db_prepare(from,
                   "SELECT sql FROM sqlite_schema WHERE type = 'table' AND sql LIKE "
                   "'CREATE TABLE%' AND name NOT LIKE 'weir!_%' ESCAPE '!' AND name "
                   "NOT LIKE 'sqlite!_%' ESCAPE '!'",
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

/* What there is in the file; the two tables that say what is weir's are the same in all versions. */
static int trial_copy(sqlite3 *file, sqlite3 *trial, struct error *error)
{
    int found = 0, err = migrate_check(file, error);
    if (!err)
        err = migrate_found(file, &found, error);
    if (!err)
        err = trial_copy_definitions(file, trial, error);
    if (err || found == 0) /* none of them is weir's */
        return err;
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
    return err;
}

static int trial_run(const char *path, sqlite3 *trial, const struct table *const *table,
                     size_t n, struct error *error)
{
    sqlite3 *file = NULL;
    int err = migrate_run(trial, error);
    if (!err && access(path, F_OK) == 0) {
        err = db_open(path, SQLITE_OPEN_READONLY, &file, error);
        if (!err)
            err = trial_copy(file, trial, error);
        sqlite3_close(file);
    }
    for (size_t i = 0; !err && i < n; i++) {
        err = result_table_sync(trial, table[i], false, error);
        if (err)
            error_prefix(error, "table '%s'", table[i]->name);
    }
    return err;
}

/* A file that is not there is made by the next start. */
static int check_folder(const char *path, struct error *error)
{
    if (access(path, F_OK) == 0 || errno != ENOENT)
        return 0;
    char *copy = strdup(path);
    if (!copy)
        return error_set(error, -ENOMEM, "no memory");
    int err = access(dirname(copy), W_OK | X_OK) ? -errno : 0;
    free(copy);
    return err ? error_set(error, err, "%s", strerror(-err)) : 0;
}

int store_try(const char *path, const struct table *const *table, size_t n,
              struct error *error)
{
    sqlite3 *trial = NULL;
    int err = store_check_path(path, error);
    if (!err)
        err = check_folder(path, error);
    if (!err && sqlite3_open(":memory:", &trial))
        err = error_set(error, -ENOMEM, "no memory");
    if (!err)
        err = trial_run(path, trial, table, n, error);
    sqlite3_close(trial);
    if (err)
        error_prefix(error, "database '%s'", path);
    return err;
}

bool store_is_open(const char *path)
{
    return files_in_use(path);
}
