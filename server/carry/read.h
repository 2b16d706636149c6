/* SPDX-License-Identifier: Apache-2.0
 *
 * Result rows of all servers that share a table (`shard`), read where they are together:
 *
 *      read_get --> read_params, bound --> read_begin --> read_step, read_step, ... --> read_put
 *
 * Statements are those that SQLite takes, with ? for parameters; a row comes as the columns of a statement of SQLite, so that what
 * writes rows of ours writes these. Any thread.
 */
#ifndef WEIR_CARRY_READ_H
#define WEIR_CARRY_READ_H

#include "base/error.h"
#include "config/config.h"
#include "weir/plugin.h"

#include <sqlite3.h>

#define READ_IDLE 4 /* connections that are kept for who comes next */

struct read_pool;
struct read;

/* NULL: built without libpq, no `shard`, or no memory. `config` outlives it. */
struct read_pool *read_pool_new(const struct config_postgresql *config,
                                int64_t timeout_us);
void read_pool_free(struct read_pool *p); /* takes NULL; none is out */

/* A connection, which can write nothing. -ECONNREFUSED, -ETIMEDOUT: PostgreSQL cannot be reached; -ENOMEM. */
int read_get(struct read_pool *p, struct read **ret, struct error *error);
void read_put(struct read *r); /* takes NULL */

/* n parameters, to be bound; until the next call. NULL: no memory. */
sqlite3_stmt *read_params(struct read *r, int n);
/* With those, and what they are compared with: bounds of times that no clock reaches are infinite. n columns are
 * given, of these types. Rows have a LIMIT; no more than one is held. -ENOENT: there is no such table yet; -EINVAL: PostgreSQL refuses
 * a value; -ETIMEDOUT; -ECONNRESET. */
int read_begin(struct read *r, const char *sql, const enum weir_type *of_params,
               const enum weir_type *of_columns, int n, struct error *error);
/* 1: a row is in *ret, until the next call; 0: there are no more; -ENOMEM, and as read_begin. */
int read_step(struct read *r, sqlite3_stmt **ret, struct error *error);

#endif
