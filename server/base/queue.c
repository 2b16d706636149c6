/* SPDX-License-Identifier: Apache-2.0
 *
 * A bounded queue of pointers: a ring, a mutex and two conditions.
 */
#include "base/queue.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct queue {
    pthread_mutex_t lock; /* protects all that follows */
    pthread_cond_t not_empty, not_full;
    size_t room, first, n; /* items: [first, first + n), modulo room */
    bool closed;
    void *item[];
};

int queue_new(size_t length, struct queue **ret)
{
    if (length == 0 || length > (SIZE_MAX - sizeof(struct queue)) / sizeof(void *))
        return -ENOMEM;
    struct queue *q = calloc(1, sizeof *q + length * sizeof(void *));
    if (!q)
        return -ENOMEM;
    pthread_mutex_init(&q->lock, NULL);
    clock_cond_init(&q->not_empty);
    clock_cond_init(&q->not_full);
    q->room = length;
    *ret = q;
    return 0;
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    pthread_cond_destroy(&q->not_empty);
    pthread_cond_destroy(&q->not_full);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

/* With the lock held. */
static bool queue_put(struct queue *q, void *item)
{
    if (q->closed || q->n == q->room)
        return false;
    size_t last = q->first + q->n++;
    q->item[last < q->room ? last : last - q->room] = item;
    pthread_cond_signal(&q->not_empty);
    return true;
}

bool queue_push(struct queue *q, void *item)
{
    pthread_mutex_lock(&q->lock);
    while (q->n == q->room && !q->closed)
        pthread_cond_wait(&q->not_full, &q->lock);
    bool done = queue_put(q, item);
    pthread_mutex_unlock(&q->lock);
    return done;
}

bool queue_try_push(struct queue *q, void *item)
{
    pthread_mutex_lock(&q->lock);
    bool done = queue_put(q, item);
    pthread_mutex_unlock(&q->lock);
    return done;
}

void *queue_pop(struct queue *q, int64_t deadline_us)
{
    void *item = NULL;
    pthread_mutex_lock(&q->lock);
    while (q->n == 0 && !q->closed &&
           clock_cond_wait(&q->not_empty, &q->lock, deadline_us) == 0)
        ;
    if (q->n > 0) {
        item = q->item[q->first];
        q->first = q->first + 1 < q->room ? q->first + 1 : 0;
        q->n--;
        pthread_cond_signal(&q->not_full);
    }
    pthread_mutex_unlock(&q->lock);
    return item;
}

void queue_close(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->not_empty);
    pthread_cond_broadcast(&q->not_full);
    pthread_mutex_unlock(&q->lock);
}

bool queue_is_closed(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    bool closed = q->closed;
    pthread_mutex_unlock(&q->lock);
    return closed;
}

size_t queue_length(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    size_t n = q->n;
    pthread_mutex_unlock(&q->lock);
    return n;
}
