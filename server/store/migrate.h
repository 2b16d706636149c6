/* SPDX-License-Identifier: Apache-2.0
 *
 * weir's own tables: made and brought up to date by the numbered texts of sql/.
 */
#ifndef WEIR_STORE_MIGRATE_H
#define WEIR_STORE_MIGRATE_H

#include "base/error.h"

#include <sqlite3.h>

/* The version that this program writes. */
int migrate_version(void);

/* The version of the file; 0: it has no tables of weir. -EINVAL, -EIO, ... */
int migrate_found(sqlite3 *db, int *ret, struct error *error);

/* -EEXIST if the file was made by a newer weir; changes nothing. */
int migrate_check(sqlite3 *db, struct error *error);

/* Runs what is missing, in one transaction. */
int migrate_run(sqlite3 *db, struct error *error);

#endif
