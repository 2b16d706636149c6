/* SPDX-License-Identifier: Apache-2.0
 *
 * What a statement of a stranger may do: read result tables and some of weir's own, call functions
 * that have no side effect. Everything else is denied, whatever later versions of SQLite add.
 */
#ifndef WEIR_STORE_AUTHORIZE_H
#define WEIR_STORE_AUTHORIZE_H

/* The callback for sqlite3_set_authorizer; it needs no context. */
int authorize(void *unused, int action, const char *a, const char *b,
              const char *database, const char *inner);

#endif
