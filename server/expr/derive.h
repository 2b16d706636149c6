/* SPDX-License-Identifier: Apache-2.0
 *
 * Derived columns: SQLite expressions (expr/events.h says which are allowed) over the columns of a batch and the
 * derived ones before, each of one type.
 *
 *      schema   time, price, qty                 of the batch as it came
 *      derived  time, price, qty, notional       of the batch with its derived columns
 */
#ifndef WEIR_EXPR_DERIVE_H
#define WEIR_EXPR_DERIVE_H

#include "base/error.h"
#include "batch/batch.h"

/* A derived column, as it is configured. */
struct derive_column {
    const char *text;
    uint32_t type; /* enum weir_type */
};

struct derive;

/* The type of an expression's values, before there are rows: enum weir_type. 0: it cannot be told. -EINVAL with
 * SQLite's text where it is none, or not allowed; -ENOMEM. */
int derive_type(const struct schema *schema, const char *text, struct error *error);

/* `schema` has the n derived columns as its last ones, and stays. For one thread at a time. -EINVAL, -ENOMEM. */
int derive_new(const struct schema *schema, const struct derive_column *column,
               size_t n, struct derive **ret, struct error *error);
void derive_free(struct derive *d); /* takes NULL */

/* A sealed batch with the derived columns (and nulls in those before them that it does not have): it shares the arrays of `from`, which it takes a reference to. A value that
 * is not of the column's type (a whole number that overflowed, text for a number, an infinite number), or that
 * SQLite reports an error for, is null; *ret_errors says how many there are. -ENOMEM. */
int derive_batch(struct derive *d, struct batch *from, uint64_t *ret_errors,
                 struct batch **ret);

#endif
