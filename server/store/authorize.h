/* SPDX-License-Identifier: Apache-2.0
 *
 * What a statement of a stranger may do: read result tables and some of weir's own, call functions
 * that have no side effect. Everything else is denied, whatever later versions of SQLite add.
 */
#ifndef WEIR_STORE_AUTHORIZE_H
#define WEIR_STORE_AUTHORIZE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>

/* Where `only` is set, no other tables than the named ones; what they and their columns are called is not told either. */
struct authorize_scope {
    sqlite3 *db;
    bool own; /* the statement is ours: it may read everything */
    bool only;
    const char *tables; /* a name and a zero, each */
    size_t size;
};

/* The callback for sqlite3_set_authorizer; its context is a struct authorize_scope. */
int authorize(void *scope, int action, const char *a, const char *b,
              const char *database, const char *inner);

#endif
