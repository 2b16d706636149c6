/* SPDX-License-Identifier: Apache-2.0
 *
 * The processes that run SQL of strangers, seen from the server: started when they are needed, used again, ended when a
 * statement does not end by itself. Nothing that one of them does or does not do holds a caller up beyond the statement's
 * deadline, and nothing that it says is believed.
 */
#ifndef WEIR_QUERY_PROCESS_H
#define WEIR_QUERY_PROCESS_H

#include "base/error.h"
#include "base/metrics.h"
#include "query/message.h"

#include <stdbool.h>

struct query_pool;

struct query_options {
    const char *
        program; /* NULL: this executable; its main calls query_child for QUERY_CHILD_COMMAND */
    const char *database; /* copied, as is `program` */
    uint64_t memory,
        temp; /* bytes that a process may have: of memory, in temporary files */
};

/* Starts none yet. `metrics` may be NULL. -ENOMEM. */
int query_pool_new(const struct query_options *options, struct metrics *metrics,
                   struct query_pool **ret);
/* No statement runs; ends all processes. Takes NULL. */
void query_pool_free(struct query_pool *p);

/* One statement, on a process that is idle, or a new one: there are as many as threads call this. `gone` (may be NULL)
 * says that nobody waits for the answer any more; it is asked every 20 ms or so. Returns 0: sink has had the whole
 * answer, *ret says what became of it; or, with a text, and the process ended:
 *
 *      -ETIMEDOUT  it was still running some time after its deadline
 *      -ECANCELED  gone
 *      -ECHILD     the process died, or talked nonsense
 *      -EAGAIN     no process can be started
 *      others      the sink's; no text
 */
int query_run(struct query_pool *p, const struct query_ask *ask,
              const struct query_sink *sink, bool (*gone)(void *ctx), void *gone_ctx,
              struct query_answer *ret, struct error *error);

#endif
