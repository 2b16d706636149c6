/* SPDX-License-Identifier: Apache-2.0
 *
 * Thin helpers around SQLite: opening, running, preparing, errors.
 */
#include "store/db.h"

#include <errno.h>
#include <string.h>

int db_errno(int code)
{
    if (code == SQLITE_READONLY_DBMOVED)
        return -ESTALE;
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_READONLY:
        return -EACCES;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_TOOBIG:
        return -E2BIG;
    case SQLITE_INTERRUPT:
        return -EINTR;
    case SQLITE_ERROR:
    case SQLITE_NOTADB:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
    case SQLITE_MISUSE:
    case SQLITE_CONSTRAINT:
        return -EINVAL;
    default:
        return -EIO;
    }
}

bool db_is_local(int code)
{
    switch (code & 0xff) {
    case SQLITE_ERROR:
    case SQLITE_SCHEMA:
    case SQLITE_TOOBIG:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_AUTH:
        return true;
    default:
        return false;
    }
}

bool db_passing(int code)
{
    if (code == SQLITE_READONLY_DBMOVED)
        return true;
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_NOMEM:
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_PROTOCOL:
    case SQLITE_INTERRUPT:
        return true;
    default:
        return false;
    }
}

int db_error(sqlite3 *db, struct error *error)
{
    int err = db_errno(sqlite3_errcode(db));
    return error_set(error, err ? err : -EIO, "%s", sqlite3_errmsg(db));
}

int db_open(const char *path, int flags, sqlite3 **ret, struct error *error)
{
    /* "./" keeps "file:x" and ":memory:" what they are to every other program: file names. */
    const char *prefix = path[0] == '/' ? "" : "./";
    char *name = sqlite3_mprintf("%s%s", prefix, path);
    if (!name)
        return error_set(error, -ENOMEM, "out of memory");
    sqlite3 *db = NULL;
    int code = sqlite3_open_v2(name, &db, flags | SQLITE_OPEN_EXRESCODE, NULL);
    sqlite3_free(name);
    if (code) {
        int err = db_errno(code);
        int os = db ? sqlite3_system_errno(db) : 0;
        if ((code & 0xff) == SQLITE_CANTOPEN && os)
            err = -os;
        error_set(error, err, "%s", os ? strerror(os) : sqlite3_errstr(code));
        sqlite3_close(db);
        return err;
    }
    sqlite3_busy_timeout(db, DB_BUSY_TIMEOUT_MS);
    *ret = db;
    return 0;
}

int db_exec(sqlite3 *db, const char *sql, struct error *error)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) ? db_error(db, error) : 0;
}

int db_exec_str(sqlite3 *db, sqlite3_str *text, struct error *error)
{
    char *sql = sqlite3_str_finish(text);
    if (!sql)
        return error_set(error, -ENOMEM, "out of memory");
    int err = db_exec(db, sql, error);
    sqlite3_free(sql);
    return err;
}

int db_prepare(sqlite3 *db, const char *sql, unsigned flags, sqlite3_stmt **ret,
               struct error *error)
{
    const char *rest;
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v3(db, sql, -1, flags, &statement, &rest))
        return db_error(db, error);
    if (!statement)
        return error_set(error, -EINVAL, "there is no statement");
    sqlite3_stmt *second = NULL; /* stays NULL for white space and comments */
    if (*rest && (sqlite3_prepare_v2(db, rest, -1, &second, NULL) || second)) {
        sqlite3_finalize(second);
        sqlite3_finalize(statement);
        return error_set(error, -EINVAL, "there is more than one statement");
    }
    *ret = statement;
    return 0;
}

int db_prepare_str(sqlite3 *db, sqlite3_str *text, sqlite3_stmt **ret)
{
    char *sql = sqlite3_str_finish(text);
    int code =
        sql ? sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL)
            : SQLITE_NOMEM;
    sqlite3_free(sql);
    return code;
}

int db_step(sqlite3_stmt *statement)
{
    sqlite3_step(statement);
    return sqlite3_reset(statement);
}

int db_run(sqlite3_stmt *statement, struct error *error)
{
    int code = sqlite3_step(statement);
    int err = code == SQLITE_DONE ? 0 : db_error(sqlite3_db_handle(statement), error);
    sqlite3_reset(statement);
    return err;
}

int db_int(sqlite3 *db, const char *sql, const char *parameter, sqlite3_int64 *ret,
           struct error *error)
{
    DB_STATEMENT s = NULL;
    int err = db_prepare(db, sql, 0, &s, error);
    if (err)
        return err;
    if (parameter)
        sqlite3_bind_text(s, 1, parameter, -1, SQLITE_STATIC);
    switch (sqlite3_step(s)) {
    case SQLITE_ROW:
        *ret = sqlite3_column_int64(s, 0);
        return 0;
    case SQLITE_DONE:
        return -ENOENT;
    default:
        return db_error(db, error);
    }
}
