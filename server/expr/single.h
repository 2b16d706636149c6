/* SPDX-License-Identifier: Apache-2.0
 *
 * A condition over one row of values, such as a result: the expressions that expr/events.h allows.
 */
#ifndef WEIR_EXPR_SINGLE_H
#define WEIR_EXPR_SINGLE_H

#include "base/error.h"
#include "batch/schema.h"

#include <sqlite3.h>
#include <stdbool.h>

struct single;

/* For one thread at a time. -EINVAL with SQLite's text, -ENOMEM. */
int single_new(const struct schema *schema, const char *expression, struct single **ret,
               struct error *error);
void single_free(struct single *s); /* takes NULL */

/* Whether it is true for the row at which the statement stands, whose first columns are those of the schema. Null is
 * not true. -EDOM: it cannot be computed (an integer overflow, say); -ENOMEM. */
int single_holds(struct single *s, sqlite3_stmt *row, bool *ret);

#endif
