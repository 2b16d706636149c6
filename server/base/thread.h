/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads of the server.
 */
#ifndef WEIR_BASE_THREAD_H
#define WEIR_BASE_THREAD_H

#include <pthread.h>
#include <stdint.h>

/* Runs run(ctx) with all signals blocked but those of its own faults: they are for the main thread. The name is cut to 15 bytes.
 * -EAGAIN. */
int thread_start(pthread_t *ret, const char *name, void *(*run)(void *ctx), void *ctx);

/* Threads that call thread_stand_back let the others go first: their niceness grows by `nice` (0 to 19), and
 * their turns are longer. 0, as at first: nothing changes. Before they are started. */
void thread_set_nice(int nice);
/* For the calling thread: nobody waits for each of its steps. */
void thread_stand_back(void);

/* Waits for its end until until_us (clock_monotonic_us; INT64_MAX: for ever). -ETIMEDOUT: it runs. */
int thread_join(pthread_t thread, int64_t until_us);

#endif
