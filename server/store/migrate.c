/* SPDX-License-Identifier: Apache-2.0
 *
 * weir's own tables: made and brought up to date by the numbered texts of sql/.
 */
#include "store/migrate.h"
#include "store/db.h"
#include "store/sql.h"

#include <errno.h>
#include <stddef.h>

/* migrations[i] leads from version i to version i + 1. Never changed once released. */
static const char *const migrations[] = {sql_0001_tables,      sql_0002_dead_letters,
                                         sql_0003_checkpoints, sql_0004_hooks,
                                         sql_0005_bookmarks,   sql_0006_answers,
                                         sql_0007_carried,     sql_0008_published};

int migrate_version(void)
{
    return (int)(sizeof(migrations) / sizeof(migrations[0]));
}

int migrate_found(sqlite3 *db, int *ret, struct error *error)
{
    sqlite3_int64 version = 0;
    int err = db_int(db, "SELECT 1 FROM sqlite_schema WHERE name = 'weir_meta'", NULL,
                     &version, error);
    if (err == -ENOENT) {
        *ret = 0;
        return 0;
    }
    if (!err)
        err = db_int(db, "SELECT CAST(value AS INTEGER) FROM weir_meta WHERE key = ?",
                     "schema_version", &version, error);
    if (err == -ENOENT)
        return error_set(error, -EINVAL, "table weir_meta has no schema_version");
    if (err)
        return err;
    *ret = (int)version;
    return 0;
}

int migrate_check(sqlite3 *db, struct error *error)
{
    int found = 0;
    int err = migrate_found(db, &found, error);
    if (err)
        return err;
    if (found > migrate_version())
        return error_set(error, -EEXIST,
                         "made by a newer weir (schema version %d, this one knows %d)",
                         found, migrate_version());
    return 0;
}

static int migrate_steps(sqlite3 *db, struct error *error)
{
    int found = 0;
    int err = migrate_found(db, &found, error);
    if (err || found >= migrate_version())
        return err;
    for (int i = found; !err && i < migrate_version(); i++) {
        err = db_exec(db, migrations[i], error);
        if (err)
            error_prefix(error, "migration %d", i + 1);
    }
    if (err)
        return err;
    sqlite3_str *put = sqlite3_str_new(db);
    sqlite3_str_appendf(
        put, "INSERT OR REPLACE INTO weir_meta VALUES ('schema_version', '%d')",
        migrate_version());
    return db_exec_str(db, put, error);
}

int migrate_run(sqlite3 *db, struct error *error)
{
    int err = db_exec(db, "BEGIN IMMEDIATE", error);
    if (err)
        return err;
    err = migrate_steps(db, error);
    if (!err)
        err = db_exec(db, "COMMIT", error);
    if (err)
        db_exec(db, "ROLLBACK", NULL);
    return err;
}
