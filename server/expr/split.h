/* SPDX-License-Identifier: Apache-2.0
 *
 * split_part(text, separator, n), as PostgreSQL has it: the n-th part of a text between separators, from 1; from the end
 * where n is negative. SQLite has nothing of the kind.
 */
#ifndef WEIR_EXPR_SPLIT_H
#define WEIR_EXPR_SPLIT_H

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

/* Where the part lies within `text`; *ret_size is 0 if there is none. n is not 0. */
const char *split_part(const char *text, size_t size, const char *by, size_t by_size,
                       int64_t n, size_t *ret_size);

/* The function for a connection. An SQLite code. */
int split_install(sqlite3 *db);

#endif
