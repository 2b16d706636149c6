/* SPDX-License-Identifier: Apache-2.0
 *
 * Read-only connections for questions from outside: own connections, query_only, defensive, an
 * authorizer that denies by default, limits on sizes, a deadline that no statement outlives.
 */
#ifndef WEIR_STORE_READER_H
#define WEIR_STORE_READER_H

#include "base/error.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define READER_VALUE_MAX (16 << 20) /* bytes of one value or row */
#define READER_SQL_MAX   (64 << 10) /* bytes of one statement */

struct reader_pool;
struct reader; /* one connection, used by one thread at a time */

/* Keeps up to `keep` idle connections to `path`; opens none yet. -ENOMEM. */
int reader_pool_new(const char *path, size_t keep, struct reader_pool **ret);
void reader_pool_free(struct reader_pool *p); /* all readers are back; takes NULL */

/* A connection that is idle, or a new one. Any thread. -ENOENT, -EACCES, ... with a text. */
int reader_get(struct reader_pool *p, struct reader **ret, struct error *error);
void reader_put(struct reader *r); /* its statements are finalized; takes NULL */

/* Statements fail from `deadline_us` (clock_monotonic_us) on, and once gone(ctx) says that nobody waits
 * for the answer; `gone` may be NULL. It is asked every millisecond or so. Until reader_put. */
void reader_limit(struct reader *r, int64_t deadline_us, bool (*gone)(void *ctx),
                  void *ctx);

/* Until reader_put: statements may read these tables only, a name and a zero each. The text stays the caller's. */
void reader_only(struct reader *r, const char *tables, size_t size);

/* Until reader_put: statements are the caller's own, and may read everything. The connection. */
sqlite3 *reader_own(struct reader *r);

/* One statement that only reads. -EINVAL: SQLite's text (*ret_offset: byte of the fault, -1: not
 * known); -EPERM: it does what is not allowed; -E2BIG: too long. */
int reader_prepare(struct reader *r, const char *sql, size_t size, sqlite3_stmt **ret,
                   int *ret_offset, struct error *error);

/* 1: the column is one of a result table, by whatever name or through whatever views and subqueries, and holds times. 0: it
 * is another one, or computed. Below 0: a failure. */
int reader_is_time(struct reader *r, sqlite3_stmt *statement, int column,
                   struct error *error);

/* 1: a row, 0: the end. -ETIMEDOUT: the deadline passed; -ECANCELED: gone; -E2BIG: a value is too
 * large; -EBUSY, -ENOMEM, -EIO, -EINVAL (a function was called wrongly) with SQLite's text. */
int reader_step(struct reader *r, sqlite3_stmt *statement, struct error *error);

#endif
