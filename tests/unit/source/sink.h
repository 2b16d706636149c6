/* SPDX-License-Identifier: Apache-2.0
 *
 * A stream whose sink only remembers: rows, their sum, how many batches and requests, from which source;
 * with a limit, so that it can be full. Tickets are completed at once, or by hand.
 */
#ifndef WEIR_TESTS_SINK_H
#define WEIR_TESTS_SINK_H

#include "log/idempotency.h"
#include "source/source.h"

#include <pthread.h>

#define SINK_HELD 32

struct sink_held {         /* taken, not on disk yet */
    struct ticket *ticket; /* NULL: none, or nobody waits any more */
    struct request_id key;
    char name[REQUEST_KEY_MAX], errors[REQUEST_ERRORS_MAX];
};

struct sink {
    struct schema *schema; /* ts (time), k (string), v (int) */
    struct source_stream stream;
    pthread_mutex_t lock;
    struct waiter *waiters; /* with lock */
    _Atomic uint64_t rows, batches, sum, waits, refusals;
    _Atomic uint64_t requests, cancels, letters;
    _Atomic uint64_t limit; /* append says -EAGAIN to what would go over it */
    _Atomic int fails;      /* append says this; 0: nothing */
    _Atomic bool hold;      /* tickets are kept for sink_release */
    _Atomic uint64_t n_held;
    struct sink_held held[SINK_HELD]; /* with lock */
    struct idempotency *keys;
    char dead
        [4096]; /* "SOURCE|LINE|COLUMN|REASON|RECORD\n" of each letter; "..." after a cut record */
    _Atomic uint32_t last_source;
    _Atomic bool closed;
    char name[8][64];
    size_t n_names;
};

void sink_open(struct sink *s);
void sink_close(struct sink *s);
void sink_room(struct sink *s, uint64_t limit); /* and wakes all who wait */
/* Completes all tickets. Rows of requests that failed have been counted all the same. */
void sink_release(struct sink *s, int result);

#endif
