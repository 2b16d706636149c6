/* SPDX-License-Identifier: Apache-2.0
 *
 * Result tables carried to PostgreSQL (target/target.h), each row once:
 *
 *      commit --wake--> changes of a table (store/changes.h) --COPY--> the same table there, and how far that is, in one
 *                                                                      transaction
 *
 * Where the two do not fit (a new database there, a copy of ours put back, changes that are not known any more) all rows of the table
 * are carried anew, in the place of those that are there. Who has written last is looked at in each transaction.
 */
#ifndef WEIR_CARRY_CARRY_H
#define WEIR_CARRY_CARRY_H

#include "target/target.h"

/* The last column of the primary key there, with `shard`. */
#define CARRY_SHARD "weir_shard"

/* Without libpq it has no settings. */
extern const struct target_kind carry_kind;

/* For weir doctor: can it be reached, and written to? The text says what is there; -ECONNREFUSED and others with why. */
int carry_try(const struct config_postgresql *config, char ret_text[256],
              struct error *error);

#endif
