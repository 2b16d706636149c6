/* SPDX-License-Identifier: Apache-2.0
 *
 * `copy` of `postgresql`: who has the shard, what it goes on with, and moments at which all is at rest (carry/copies.h makes the copies).
 *
 *      start:  claim --> a copy that is newer than what is here? its pages take the place of the database, the journal begins anew
 *      at rest: all dispatchers held, checkpoints of all pipelines and bookmarks committed --> a snapshot --> go on
 *      another has claimed the shard: the process ends at once, with EXIT_SUPERSEDED
 */
#ifndef WEIR_COPIES_H
#define WEIR_COPIES_H

#include "store/restore.h"
#include "wire.h"

/* Before the database (`path`: instead of the configured one, or NULL) is opened; waits for PostgreSQL, with SIGTERM and SIGINT blocked.
 * -ECANCELED: one of them has come, *ret_exit is 0. Does nothing without `copy`. */
int copies_claim(struct weir *w, const char *path, int *ret_exit, struct error *error);
/* Before the store is started: what changes in the file is noted. */
int copies_follow(struct weir *w, struct error *error);
/* The log was made: what sources are called is known to a database that came alone. */
int copies_name_sources(struct weir *w, struct restore *r, size_t stream,
                        struct error *error);
/* For target_new; NULL: none are made. */
const void *copies_with(const struct weir *w);
/* From now on nothing is held; waits for who is, until then (clock_monotonic_us; INT64_MAX: for ever, all logs have ended). */
void copies_end(struct weir *w, int64_t until_us);
/* All has ended and is stored: one more, so that who follows has nothing to read again. */
void copies_last(struct weir *w);
void copies_free(struct weir *w);

#endif
