/* SPDX-License-Identifier: Apache-2.0
 *
 * Thin helpers around SQLite: opening, running, preparing, and its result codes as errno with a text.
 */
#ifndef WEIR_STORE_DB_H
#define WEIR_STORE_DB_H

#include "base/error.h"

#include <sqlite3.h>
#include <stdbool.h>

#define DB_BUSY_TIMEOUT_MS                                                             \
    5000 /* how long a statement waits for a foreign writer's lock */

/* Opens `path` as a plain file name, never as a URI and never ":memory:". `flags` are SQLITE_OPEN_*. */
int db_open(const char *path, int flags, sqlite3 **ret, struct error *error);

/* Runs all statements of `sql`. */
int db_exec(sqlite3 *db, const char *sql, struct error *error);

/* sqlite3_str text made by `text` (freed here); -ENOMEM if it could not be built. */
int db_exec_str(sqlite3 *db, sqlite3_str *text, struct error *error);

/* Prepares, to be kept, the text made by `text` (freed here). Returns a SQLite result code. */
int db_prepare_str(sqlite3 *db, sqlite3_str *text, sqlite3_stmt **ret);

/* `flags` as of sqlite3_prepare_v3. Text behind the first statement is -EINVAL. */
int db_prepare(sqlite3 *db, const char *sql, unsigned flags, sqlite3_stmt **ret,
               struct error *error);

/* Steps a statement that gives no rows, and resets it. The first returns a SQLite result code. */
int db_step(sqlite3_stmt *statement);
int db_run(sqlite3_stmt *statement, struct error *error);

/* The first column of the first row as an integer; -ENOENT: no row. One text parameter, or NULL. */
int db_int(sqlite3 *db, const char *sql, const char *parameter, sqlite3_int64 *ret,
           struct error *error);

/* Sets the text from the connection's last error and returns its errno. */
int db_error(sqlite3 *db, struct error *error);

/* A SQLite result code, extended or not, as a negative errno; 0 for SQLITE_OK, ROW and DONE. */
int db_errno(int code);

/* May the same work succeed later: disk full, I/O, locks, memory, a file that was moved. */
bool db_passing(int code);

/* Is it only this statement that cannot be run: no such table, a constraint, a value that is too large. */
bool db_is_local(int code);

static inline void db_cleanup_statement(sqlite3_stmt **s)
{
    sqlite3_finalize(*s); /* takes NULL */
}
#define DB_STATEMENT __attribute__((cleanup(db_cleanup_statement))) sqlite3_stmt *

#endif
