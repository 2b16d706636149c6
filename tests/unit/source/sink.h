/* SPDX-License-Identifier: Apache-2.0
 *
 * A stream whose sink only remembers: rows, their sum, how many batches, from which source; with a
 * limit, so that it can be full.
 */
#ifndef WEIR_TESTS_SINK_H
#define WEIR_TESTS_SINK_H

#include "source/source.h"

#include <pthread.h>

struct sink {
    struct schema *schema; /* ts (time), k (string), v (int) */
    struct source_stream stream;
    pthread_mutex_t lock;
    struct waiter *waiters; /* with lock */
    _Atomic uint64_t rows, batches, sum, waits, refusals;
    _Atomic uint64_t limit; /* append says -EAGAIN to what would go over it */
    _Atomic uint32_t last_source;
    _Atomic bool closed;
    char name[8][64];
    size_t n_names;
};

void sink_open(struct sink *s);
void sink_close(struct sink *s);
void sink_room(struct sink *s, uint64_t limit); /* and wakes all who wait */

#endif
