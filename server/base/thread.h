/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads of the server.
 */
#ifndef WEIR_BASE_THREAD_H
#define WEIR_BASE_THREAD_H

#include <pthread.h>
#include <stdint.h>

/* Runs run(ctx) with all signals blocked: they are for the main thread. The name is cut to 15 bytes.
 * -EAGAIN. */
int thread_start(pthread_t *ret, const char *name, void *(*run)(void *ctx), void *ctx);

/* Waits for its end until until_us (clock_monotonic_us; INT64_MAX: for ever). -ETIMEDOUT: it runs. */
int thread_join(pthread_t thread, int64_t until_us);

#endif
