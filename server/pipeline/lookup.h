/* SPDX-License-Identifier: Apache-2.0
 *
 * Columns that other services know, before the workers: a task that asks for those of each entry, and hands entries on in
 * their order, with these columns beside their own.
 *
 *      stream --> [mailbox] --> waiting: e e e --> answers stored, then derive, keys --> workers
 *                                 | ^
 *                        ask      v | done           in whatever order answers come
 *                               lookup/ ... other services
 *
 * What a row gets is in the file before, or with, anything that follows from it: answers go into the store's queue in front
 * of their entry's results (pipeline_sink.answers). So an entry that is read again is not asked for again, and gives the
 * same rows. Behind a checkpoint answers are forgotten.
 */
#ifndef WEIR_PIPELINE_LOOKUP_H
#define WEIR_PIPELINE_LOOKUP_H

#include "lookup/lookups.h"
#include "pipeline/mailbox.h"
#include "pipeline/pipeline.h"

#define LOOKUP_ROWS_MAX    262144u /* that wait for answers, */
#define LOOKUP_ENTRIES_MAX 1024u   /* and entries */

struct lookup;

/* For a pipeline that has look-ups, prepared. -ENOMEM. */
int lookup_new(struct pipeline *p, struct lookups *lookups, struct lookup **ret,
               struct error *error);
void lookup_free(struct lookup *l); /* ends its task; takes NULL */

/* Before it starts: answers that were stored behind the checkpoint, in the order of positions. -EBADMSG, -ENOMEM. Those of
 * another definition are left out: they are asked for again. */
int lookup_load(struct lookup *l, uint64_t first, uint64_t last, const char *data,
                size_t size);

/* It runs, behind `position`. -ENOMEM. */
int lookup_start(struct lookup *l, struct tasks *tasks, uint64_t position);

/* log_sink.put */
bool lookup_put(struct lookup *l, struct log_entry *e, bool command);
void lookup_wake(struct lookup *l); /* a worker has room */
void lookup_end(struct lookup *l);  /* its task does not run any more */
/* Waits until it has handed on all that it can. What waits for answers is dropped with it, and read again by the next
 * start, unless the input has ended. False: not by the deadline. */
bool lookup_drain(struct lookup *l, int64_t deadline_us);

uint64_t lookup_waiting(struct lookup *l); /* rows; any thread */
unsigned lookup_queued(struct lookup *l);  /* entries; any thread */

/* What stands in the pipeline's definition of them; -ENOMEM is the buffer's. */
void lookup_define(const struct pipeline *p, struct buffer *to);

/* For the API and /metrics. */
size_t lookup_services(const struct lookup *l);
struct service *lookup_service(const struct lookup *l, size_t i);

#endif
