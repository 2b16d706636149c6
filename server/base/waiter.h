/* SPDX-License-Identifier: Apache-2.0
 *
 * Somebody who waits for room in a queue without a thread of their own: called back once.
 */
#ifndef WEIR_BASE_WAITER_H
#define WEIR_BASE_WAITER_H

#include <stdbool.h>

struct waiter {
    void (*wake)(
        void *
            ctx); /* from another thread, with the queue's lock held: must not call it */
    void *ctx;
    struct waiter *next, *prev; /* the queue's */
    bool queued;                /* the queue's */
};

#endif
