/* SPDX-License-Identifier: Apache-2.0
 *
 * `where`: a SQLite expression over the columns of a batch (expr/events.h says which are allowed). What is common
 * is computed by vectors, the rest by SQLite; the answer is the same.
 */
#ifndef WEIR_EXPR_FILTER_H
#define WEIR_EXPR_FILTER_H

#include "base/error.h"
#include "batch/batch.h"

struct filter;

/* One for each thread that uses it. -EINVAL with SQLite's text. */
int filter_new(const struct schema *schema, const char *where, struct filter **ret,
               struct error *error);
void filter_free(struct filter *f); /* takes NULL */

/* Of rows row[0..n) of the batch, n at most BATCH_BLOCK, keeps those for which the expression is true, in order; keep[i] is
 * the index that the i-th kept row had in row[]. Returns how many are kept. A row for which SQLite
 * reports an error (an integer overflow, say) is not kept and counted in *errors. -EIO when SQLite
 * itself fails. */
int filter_rows(struct filter *f, const struct batch *b, const uint32_t *row,
                uint32_t n, uint32_t *keep, uint64_t *errors);

#endif
