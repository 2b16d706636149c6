/* SPDX-License-Identifier: Apache-2.0
 *
 * The opaque cursor of a page: the primary key of its last row, as base64url text.
 */
#ifndef WEIR_API_CURSOR_H
#define WEIR_API_CURSOR_H

#include "base/buffer.h"
#include "pipeline/rowset.h"

#include <sqlite3.h>

#define CURSOR_SIZE_MAX                                                                \
    16384 /* of the text; keys longer than 12 kB cannot be gone on from */

/* From the columns `first`, first + 1, ... of a row, those of the primary key. -E2BIG, -ENOMEM. */
int cursor_make(const struct table *table, sqlite3_stmt *row, int first,
                struct buffer *ret);

/* Binds the values to parameters `first`, first + 1, ... -EINVAL: not a cursor of this table. The text
 * of strings is copied. */
int cursor_bind(const struct table *table, const char *cursor, sqlite3_stmt *statement,
                int first);

/* 0 or -EINVAL. */
int cursor_check(const struct table *table, const char *cursor);

#endif
