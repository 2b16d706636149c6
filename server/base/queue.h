/* SPDX-License-Identifier: Apache-2.0
 *
 * A bounded first-in first-out queue of pointers between threads. A mutex is enough: what goes
 * through is batches of thousands of rows (docs/architecture.md, "Measured").
 */
#ifndef WEIR_BASE_QUEUE_H
#define WEIR_BASE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct queue;

/* Room for `length` items. -ENOMEM. */
int queue_new(size_t length, struct queue **ret);
void queue_free(struct queue *q); /* the items left are the caller's */

/* Waits while the queue is full. False once it is closed. */
bool queue_push(struct queue *q, void *item);
/* Does not wait: false if full or closed. */
bool queue_try_push(struct queue *q, void *item);

/* Waits at most until `deadline_us` (clock_monotonic_us; INT64_MAX: for ever). NULL on time-out, and
 * once the queue is closed and empty. */
void *queue_pop(struct queue *q, int64_t deadline_us);

void queue_close(
    struct queue *q); /* wakes everybody; what is in it can still be popped */
bool queue_is_closed(struct queue *q);
size_t queue_length(struct queue *q);

#endif
