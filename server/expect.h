/* SPDX-License-Identifier: Apache-2.0
 *
 * The rows that a test expects in a result table, beside those that are there (weir test).
 */
#ifndef WEIR_EXPECT_H
#define WEIR_EXPECT_H

#include "base/buffer.h"
#include "config/node.h"
#include "pipeline/rowset.h"

#include <sqlite3.h>

#define EXPECT_ROWS_MAX 100000u /* of a table */

/* `rows`: a list of mappings, column: value. A row of the table is the expected one if it has these values; what is not
 * named does not matter, nor does the order. Numbers may differ by `tolerance`, relative, below 1 absolute. The
 * differences go to `to` as lines for people, how many rows they are to *ret_faults. -EINVAL: `rows` is wrong, with the
 * place; -E2BIG: too many rows; -EIO, -ENOMEM. */
int expect_rows(const struct table *t, sqlite3 *db, const struct node *rows,
                double tolerance, struct buffer *to, size_t *ret_faults,
                struct error *error);

#endif
