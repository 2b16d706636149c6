/* SPDX-License-Identifier: Apache-2.0
 *
 * `backfill`: a pipeline that is new begins with files, then with what the journal of its stream has, while all others go
 * on; then it is as they are.
 *
 *      files --> batches --> the pipeline, at the position where it begins     no checkpoint before the last file is read:
 *                               ^                                              after a crash it begins with the first again
 *      journal, behind it ------+--> ... --> caught up: it gets what others get
 *
 * Each runs on a thread of its own, so that neither a start nor a SIGHUP waits for it.
 */
#ifndef WEIR_BACKFILL_H
#define WEIR_BACKFILL_H

#include "wire.h"

/* Do the names of all files say their formats? -EINVAL, with the place. */
int backfill_check(const struct config *c, struct error *error);

/* For all pipelines that are behind, and that it does not run for yet. Logs run; not within log_call. -EAGAIN, -ENOMEM. */
int backfill_start(struct weir *w, struct error *error);
/* Ends that of a pipeline, if there is one, where it is; the next start goes on. Not within log_call. */
void backfill_stop(struct weir *w, const struct pipeline *p);
void backfill_stop_all(struct weir *w);

#endif
