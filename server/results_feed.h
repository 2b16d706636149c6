/* SPDX-License-Identifier: Apache-2.0
 *
 * Results of pipelines on their way to those that join them. They are read from their tables, once they are committed: so nobody waits
 * for who joins, who comes later finds what is there, and a start goes on where the checkpoint of who joins is.
 *
 *      table, watermark --(each commit)--> a thread of its own --> input of the join (pipeline/join.h)
 *                                             ^                       |
 *                                             \---- room, wanted -----/
 */
#ifndef WEIR_RESULTS_FEED_H
#define WEIR_RESULTS_FEED_H

#include "wire.h"

/* Before the store runs: tables whose results are joined keep what may be asked for, until it is known what that is. */
int results_feed_prepare(struct weir *w, struct error *error);
/* Is a table of this pipeline's, or of one that reads it, joined? */
bool results_feed_is_joined(const struct weir *w, const struct pipeline *p);

/* A pipeline that has started; one without results is let alone. Not from the store's thread, nor the join's task. */
int results_feed_add(struct weir *w, struct pipeline *p, struct error *error);
/* Before it stops. */
void results_feed_remove(struct weir *w, struct pipeline *p);
/* One that is left out keeps what its last checkpoint needs. */
struct restore;
int results_feed_hold(struct weir *w, struct restore *r, struct pipeline *p,
                      struct error *error);
/* Those that are gone need nothing any more. Within store_call. */
void results_feed_forget(struct store *s, struct weir *w);

/* All inputs of all logs end: those of results do once those are complete. Waits for it. */
void results_feed_begin_end(struct weir *w);
void results_feed_finish(struct weir *w);
/* Ends the thread. */
void results_feed_stop(struct weir *w);

#endif
