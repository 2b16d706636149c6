/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys of requests that were taken (Idempotency-Key), each with what came of it: a producer that
 * repeats a request is answered as the first time, and nothing is counted twice. Bounded by number and
 * by age; the oldest go first. Any thread.
 *
 *      idempotency_begin -> new: reserved -> [appended, durable] -> idempotency_complete
 *                           |                 \-> not taken      -> idempotency_abandon
 *                           known: answer as before      busy: another request has it under way
 */
#ifndef WEIR_LOG_IDEMPOTENCY_H
#define WEIR_LOG_IDEMPOTENCY_H

#include "base/metrics.h"
#include "batch/request.h"

struct idempotency;

/* Memory for one key, on the average: all known ones together have at most max_keys times as much. One
 * takes about 120 bytes and those of the key itself and of its errors. */
#define IDEMPOTENCY_KEY_BYTES 400u

struct idempotency_options {
    const char *stream; /* label of metrics */
    uint64_t max_keys;
    int64_t retain_us; /* a key is known at least so long, unless there are too many */
};

int idempotency_new(const struct idempotency_options *options, struct metrics *metrics,
                    struct idempotency **ret);
void idempotency_free(struct idempotency *k); /* takes NULL */

/* 0: new, now reserved. 1: known, *ret filled in. -EBUSY: reserved by somebody else. -ENOMEM. `now_us` is
 * the wall clock. */
int idempotency_begin(struct idempotency *k, const char *key, size_t size,
                      int64_t now_us, struct request_known *ret);
/* How many keys are known. */
uint64_t idempotency_known(struct idempotency *k);
void idempotency_abandon(struct idempotency *k, const char *key, size_t size);

/* The request is durable (reserved before, or found in the journal or the database at start). `key` and
 * its errors are copied. -ENOMEM: it is forgotten, and counted. */
int idempotency_complete(struct idempotency *k, const struct request_id *key,
                         int64_t taken_us);

/* Calls `call` for each known key with a position in (after, up_to], in the order of positions, until it
 * returns something else than 0, which is returned. The lock is not held meanwhile. -ENOMEM. */
int idempotency_each(struct idempotency *k, uint64_t after, uint64_t up_to,
                     int (*call)(void *ctx, const struct request_id *key,
                                 int64_t taken_us),
                     void *ctx);

#endif
