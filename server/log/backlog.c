/* SPDX-License-Identifier: Apache-2.0 */
#include "log/internal.h"

void backlog_setup(struct backlog *l, struct task *filler, struct task *taker)
{
    pthread_mutex_init(&l->lock, NULL);
    l->filler = filler;
    l->taker = taker;
    l->last = &l->first;
}

void backlog_free(struct backlog *l)
{
    for (struct log_entry *e = l->first, *next; e; e = next) {
        next = e->next;
        log_entry_unref(e);
    }
    pthread_mutex_destroy(&l->lock);
}

bool backlog_push(struct backlog *l, struct log_entry *e)
{
    e->next = NULL;
    pthread_mutex_lock(&l->lock);
    bool taken = !l->closed;
    if (taken) {
        *l->last = e;
        l->last = &e->next;
        l->n++;
        l->rows += e->batch ? e->batch->n_rows : 0;
    }
    bool wakes = taken && (!e->batch || l->rows >= l->wanted);
    pthread_mutex_unlock(&l->lock);
    if (wakes)
        task_wake(l->taker);
    if (!taken)
        log_entry_unref(e);
    return taken;
}

bool backlog_is_full(struct backlog *l)
{
    pthread_mutex_lock(&l->lock);
    bool full = l->n >= LINE_MAX && !l->closed;
    l->full = full;
    pthread_mutex_unlock(&l->lock);
    return full;
}

/* With the lock held. */
static struct log_entry *take_first(struct backlog *l)
{
    struct log_entry *e = l->first;
    l->first = e->next;
    if (!l->first)
        l->last = &l->first;
    l->n--;
    l->rows -= e->batch ? e->batch->n_rows : 0;
    if (l->full && l->n < LINE_MAX) {
        l->full = false;
        task_wake(l->filler);
    }
    return e;
}

bool backlog_linger(struct backlog *l, uint64_t rows)
{
    pthread_mutex_lock(&l->lock);
    bool waits = !l->first && !l->closed;
    l->wanted = waits ? rows : 0;
    pthread_mutex_unlock(&l->lock);
    return waits;
}

struct log_entry *backlog_pop_if(struct backlog *l,
                                 bool (*fits)(void *ctx, const struct log_entry *e),
                                 void *ctx)
{
    pthread_mutex_lock(&l->lock);
    struct log_entry *e = l->first && fits(ctx, l->first) ? take_first(l) : NULL;
    pthread_mutex_unlock(&l->lock);
    return e;
}

void backlog_push_back(struct backlog *l, struct log_entry *e)
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

struct log_entry *backlog_pop(struct backlog *l, bool *ret_end)
{
    pthread_mutex_lock(&l->lock);
    l->wanted = 0;
    struct log_entry *e = l->first ? take_first(l) : NULL;
    *ret_end = !e && l->closed;
    pthread_mutex_unlock(&l->lock);
    return e;
}

void backlog_close(struct backlog *l)
{
    pthread_mutex_lock(&l->lock);
    l->closed = true;
    l->full = false;
    pthread_mutex_unlock(&l->lock);
    task_wake(l->filler);
    task_wake(l->taker);
}
