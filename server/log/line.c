/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "log/internal.h"

#define LINE_MAX 8u /* of up to 64k rows each */

void line_setup(struct line *l)
{
    pthread_mutex_init(&l->lock, NULL);
    clock_cond_init(&l->arrived);
    pthread_cond_init(&l->room, NULL);
    l->last = &l->first;
}

void line_free(struct line *l)
{
    for (struct log_entry *e = l->first, *next; e; e = next) {
        next = e->next;
        log_entry_unref(e);
    }
    pthread_cond_destroy(&l->room);
    pthread_cond_destroy(&l->arrived);
    pthread_mutex_destroy(&l->lock);
}

bool line_push(struct line *l, struct log_entry *e, bool bounded)
{
    e->next = NULL;
    pthread_mutex_lock(&l->lock);
    while (bounded && l->n >= LINE_MAX && !l->closed)
        pthread_cond_wait(&l->room, &l->lock);
    bool taken = !l->closed;
    if (taken) {
        *l->last = e;
        l->last = &e->next;
        l->n++;
        l->rows += e->batch ? e->batch->n_rows : 0;
        if (!e->batch || l->rows >= l->wanted)
            pthread_cond_signal(&l->arrived);
    }
    pthread_mutex_unlock(&l->lock);
    if (!taken)
        log_entry_unref(e);
    return taken;
}

/* With the lock held. */
static void wait_for_first(struct line *l, int64_t deadline_us)
{
    while (!l->first && !l->closed && clock_monotonic_us() < deadline_us)
        clock_cond_wait(&l->arrived, &l->lock, deadline_us);
}

/* With the lock held. */
static struct log_entry *take_first(struct line *l)
{
    struct log_entry *e = l->first;
    l->first = e->next;
    if (!l->first)
        l->last = &l->first;
    l->n--;
    l->rows -= e->batch ? e->batch->n_rows : 0;
    pthread_cond_signal(&l->room);
    return e;
}

void line_linger(struct line *l, uint64_t rows, int64_t until_us)
{
    pthread_mutex_lock(&l->lock);
    l->wanted = l->first ? 0 : rows;
    if (l->wanted && !l->closed)
        clock_cond_wait(&l->arrived, &l->lock, until_us);
    l->wanted = 0;
    pthread_mutex_unlock(&l->lock);
}

struct log_entry *line_pop_if(struct line *l,
                              bool (*fits)(void *ctx, const struct log_entry *e),
                              void *ctx)
{
    pthread_mutex_lock(&l->lock);
    struct log_entry *e = l->first && fits(ctx, l->first) ? take_first(l) : NULL;
    pthread_mutex_unlock(&l->lock);
    return e;
}

void line_push_back(struct line *l, struct log_entry *e)
{
    pthread_mutex_lock(&l->lock);
    e->next = l->first;
    if (!l->first)
        l->last = &e->next;
    l->first = e;
    l->n++;
    l->rows += e->batch ? e->batch->n_rows : 0;
    pthread_mutex_unlock(&l->lock);
}

struct log_entry *line_pop(struct line *l, int64_t deadline_us, bool *ret_end)
{
    pthread_mutex_lock(&l->lock);
    wait_for_first(l, deadline_us);
    struct log_entry *e = l->first ? take_first(l) : NULL;
    *ret_end = !e && l->closed;
    pthread_mutex_unlock(&l->lock);
    return e;
}

void line_close(struct line *l)
{
    pthread_mutex_lock(&l->lock);
    l->closed = true;
    pthread_cond_broadcast(&l->arrived);
    pthread_cond_broadcast(&l->room);
    pthread_mutex_unlock(&l->lock);
}
