/* SPDX-License-Identifier: Apache-2.0 */
#include "log/intake.h"

#include "base/clock.h"
#include "log/log.h"
#include "log/origins.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* How late somebody who waits for room sees that he is to stop. */
#define STOP_LOOK_US 50000

struct waiting {      /* of one source */
    uint32_t entries; /* that take room */
    bool refused;     /* since intake_heard was called last */
};

struct intake {
    uint64_t rows_max;
    size_t bytes_max;
    uint64_t stored_max;
    struct idempotency *known;
    struct task *taker;

    pthread_mutex_t
        tickets; /* protects those of items; not taken on the way of one that is told in time */
    pthread_mutex_t lock; /* protects all of this */
    pthread_cond_t room;  /* for intake_append with wait */
    struct intake_item *first, **last;
    uint64_t rows; /* of entries that were not released */
    size_t bytes;
    uint64_t rows_here; /* of items that are not taken */
    size_t asking;      /* items not taken that somebody waits for */
    uint64_t rows_wanted;
    size_t asking_wanted;
    bool asleep; /* the taker is, as far as we know */
    bool open, closed;
    int refused; /* 0, or what intake_refuse said */
    int64_t refused_until_us;
    struct waiter *waiters;
    struct waiting waiting[LOG_SOURCES_MAX];
};

int intake_new(uint64_t rows_max, size_t bytes_max, uint64_t stored_max,
               struct idempotency *known, struct task *taker, struct intake **ret)
{
    struct intake *k = calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    k->rows_max = rows_max;
    k->bytes_max = bytes_max;
    k->stored_max = stored_max;
    k->known = known;
    k->taker = taker;
    k->last = &k->first;
    pthread_mutex_init(&k->tickets, NULL);
    pthread_mutex_init(&k->lock, NULL);
    clock_cond_init(&k->room);
    *ret = k;
    return 0;
}

static void item_free(struct intake_item *item)
{
    origin_busy(item->origin, false);
    for (size_t i = 0; i < item->n; i++)
        log_entry_unref(item->entry[i]);
    free(item->key);
    free(item);
}

void intake_free(struct intake *k)
{
    if (!k)
        return;
    for (struct intake_item *i = k->first, *next; i; i = next) {
        next = i->next;
        item_free(i);
    }
    pthread_mutex_destroy(&k->tickets);
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->room);
    free(k);
}

/* With the lock held: a waiter must be able to say "not any more" until it is called. */
static void wake_waiters(struct intake *k)
{
    while (k->waiters) {
        struct waiter *w = k->waiters;
        k->waiters = w->next;
        if (w->next)
            w->next->prev = NULL;
        w->queued = false;
        w->wake(w->ctx);
    }
    pthread_cond_broadcast(&k->room);
}

void intake_open(struct intake *k)
{
    pthread_mutex_lock(&k->lock);
    k->open = true;
    wake_waiters(k);
    pthread_mutex_unlock(&k->lock);
}

void intake_close(struct intake *k)
{
    pthread_mutex_lock(&k->lock);
    k->closed = true;
    wake_waiters(k);
    pthread_mutex_unlock(&k->lock);
    if (k->taker)
        task_wake(k->taker);
}

/* ---- Putting ---------------------------------------------------------------------------------- */

static struct request_id *copy_key(const struct request_id *key)
{
    struct request_id *copy = malloc(sizeof(*copy) + request_id_bytes(key));
    if (copy)
        *copy = request_id_copy(key, (char *)(copy + 1));
    return copy;
}

/* The batches stay the caller's, or become the caller's again. */
static void item_refused(struct intake_item *item)
{
    for (size_t i = 0; i < item->n; i++)
        item->entry[i]->batch = NULL;
    item_free(item);
}

/* Of small batches: large ones stay as they are, and are looked at when they are sealed. */
static void note_newest(struct intake_item *item, const struct batch *b)
{
    const int64_t *time = b->column[0].values;
    int64_t newest_us = item->newest_us;
    for (uint32_t i = 0; i < b->n_rows; i++)
        newest_us = time[i] > newest_us ? time[i] : newest_us;
    item->newest_us = newest_us;
}

static int item_entry(struct intake_item *item, struct batch *b, bool held)
{
    struct log_entry *e;
    int r = entry_new(LOG_BATCH, &e);
    if (r < 0)
        return r;
    e->batch = b;
    e->source = item->source;
    e->origin = item->origin;
    e->held = held;
    e->reached_us = held ? INT64_MIN : 0;
    if (item->origin && b->n_rows < LOG_GATHER_ROWS)
        note_newest(item, b);
    e->asks = item->asks;
    item->entry[item->n++] = e;
    e->held_rows = b->n_rows;
    e->held_bytes = batch_memory(b);
    e->held_requests = 1;
    item->rows += e->held_rows;
    item->memory += e->held_bytes;
    return 0;
}

static int item_mark(struct intake_item *item, enum log_kind kind, int64_t time_us)
{
    struct log_entry *e;
    int r = entry_mark(kind, NULL, item->source, time_us, &e);
    if (r < 0)
        return r;
    e->held_requests = item->n == 0;
    item->entry[item->n++] = e;
    return 0;
}

/* Of the item's last entry; where there are no rows, there are some that say only that the source is there, and how far it is.
 * -ENOMEM. */
static int item_bookmark(struct intake_item *item, const struct request *request)
{
    const char *bookmark = request->bookmark;
    assert(item->source && strlen(bookmark) <= REQUEST_BOOKMARK_MAX);
    int r = item->n ? 0 : item_mark(item, LOG_HEARD, 0);
    if (r == 0 && !request->n && request->held && request->reached_us != INT64_MIN)
        r = item_mark(item, LOG_REACHED, request->reached_us);
    if (r < 0)
        return r;
    item->entry[item->n - 1]->bookmark = strdup(bookmark);
    return item->entry[item->n - 1]->bookmark ? 0 : -ENOMEM;
}

/* What a quick look finds too large is measured, and then has to stay as it is. -EMSGSIZE. */
static int item_measure(const struct intake *k, struct intake_item *item)
{
    size_t beside = item->key ? entry_request_id_size(item->key) : 0;
    const struct log_entry *last = item->n ? item->entry[item->n - 1] : NULL;
    if (last && last->bookmark)
        beside += entry_bookmark_size(last->bookmark) + 2 * ENTRY_MARK_SIZE;
    item->stored = beside;
    for (size_t i = 0; i < item->n && item->entry[i]->batch; i++)
        item->stored += entry_size_max(item->entry[i]->batch);
    if (item->stored <= k->stored_max)
        return 0;
    item->stored = beside;
    for (size_t i = 0; i < item->n && item->entry[i]->batch; i++) {
        item->stored += entry_size(item->entry[i]->batch);
        item->entry[i]->whole = true;
    }
    return item->stored <= k->stored_max ? 0 : -EMSGSIZE;
}

/* With all that is allocated for it on its way through the log: there it cannot fail any more. -ENOMEM,
 * -EMSGSIZE. */
static int item_new(const struct intake *k, const struct request *r,
                    struct intake_item **ret)
{
    struct intake_item *item =
        calloc(1, sizeof(*item) + (r->n + 2) * sizeof(item->entry[0]));
    if (!item)
        return -ENOMEM;
    item->source = r->source;
    item->newest_us = INT64_MIN;
    item->origin = r->origin;
    origin_busy(item->origin, true);
    item->ticket = r->ticket;
    item->asks = r->ticket != NULL;
    item->last = SIZE_MAX;
    int err = r->key && !(item->key = copy_key(r->key)) ? -ENOMEM : 0;
    for (size_t i = 0; err == 0 && i < r->n; i++)
        err = item_entry(item, r->batch[i], r->held);
    if (err == 0 && r->bookmark)
        err = item_bookmark(item, r);
    if (err == 0)
        err = item_measure(k, item);
    if (err < 0) {
        item_refused(item);
        return err;
    }
    *ret = item;
    return 0;
}

/* With the lock held. */
static int refusal(struct intake *k, const struct intake_item *item)
{
    if (k->closed)
        return -ESHUTDOWN;
    if (!k->open)
        return -EAGAIN;
    int err = 0;
    if (k->refused && clock_monotonic_us() < k->refused_until_us)
        err = k->refused;
    else if (k->rows && item->rows &&
             (k->rows + item->rows > k->rows_max ||
              k->bytes + item->memory > k->bytes_max))
        err = -EAGAIN;
    if (err)
        k->waiting[item->source].refused = true;
    return err;
}

/* With the lock held: is what there is worth waking the taker for? */
static bool enough(const struct intake *k)
{
    return k->first && ((k->asking && k->asking >= k->asking_wanted) ||
                        k->rows_here >= k->rows_wanted);
}

/* With the lock held. */
static void put(struct intake *k, struct intake_item *item)
{
    k->waiting[item->source].entries += (uint32_t)item->n;
    *k->last = item;
    k->last = &item->next;
    k->rows += item->rows;
    k->rows_here += item->rows;
    k->bytes += item->memory;
    k->asking += item->asks;
    if (item->ticket) {
        item->ticket->owner = item;
        atomic_store_explicit(&item->ticket->waiting, true, memory_order_relaxed);
    }
    if (!k->asleep || !enough(k))
        return;
    k->asleep = false;
    if (k->taker)
        task_wake(k->taker);
}

int intake_append(struct intake *k, const struct request *r, bool wait)
{
    if (!r->n && !r->ticket && !r->key && !r->bookmark)
        return 0;
    struct intake_item *item;
    int err = item_new(k, r, &item);
    if (err < 0)
        return err;
    pthread_mutex_lock(&k->lock);
    err = refusal(k, item);
    while (wait && (err == -EAGAIN || err == -ENOSPC || err == -EDQUOT)) {
        int64_t until_us = err == -EAGAIN ? INT64_MAX : k->refused_until_us;
        int64_t look_us = r->stop ? clock_monotonic_us() + STOP_LOOK_US : INT64_MAX;
        clock_cond_wait(&k->room, &k->lock, look_us < until_us ? look_us : until_us);
        bool stopped = r->stop && atomic_load_explicit(r->stop, memory_order_relaxed);
        err = stopped ? -EINTR : refusal(k, item);
    }
    if (!err && item->key && !item->asks) { /* before the gatherer can see it */
        item->key->answer.position = POSITION_UNKNOWN;
        idempotency_complete(k->known, item->key, clock_unstepped_us());
    }
    if (!err)
        put(k, item);
    pthread_mutex_unlock(&k->lock);
    if (err)
        item_refused(item);
    return err;
}

void intake_wait(struct intake *k, struct waiter *w)
{
    pthread_mutex_lock(&k->lock);
    if (!k->closed && (k->rows || !k->open)) {
        w->prev = NULL;
        w->next = k->waiters;
        if (w->next)
            w->next->prev = w;
        k->waiters = w;
        w->queued = true;
    } else {
        w->wake(w->ctx);
    }
    pthread_mutex_unlock(&k->lock);
}

void intake_unwait(struct intake *k, struct waiter *w)
{
    pthread_mutex_lock(&k->lock);
    if (w->queued) {
        if (w->prev)
            w->prev->next = w->next;
        else
            k->waiters = w->next;
        if (w->next)
            w->next->prev = w->prev;
        w->queued = false;
    }
    pthread_mutex_unlock(&k->lock);
}

void intake_cancel(struct intake *k, struct ticket *t)
{
    if (!t->returns || atomic_load_explicit(&t->waiting, memory_order_acquire)) {
        pthread_mutex_lock(&k->tickets); /* it may be called right now */
        if (atomic_load_explicit(&t->waiting, memory_order_relaxed)) {
            ((struct intake_item *)t->owner)->ticket = NULL;
            t->owner = NULL;
            atomic_store_explicit(&t->waiting, false, memory_order_relaxed);
        }
        pthread_mutex_unlock(&k->tickets);
    }
    struct intake_item *item = t->owner;
    t->owner = NULL;
    if (!item)
        return;
    for (size_t i = 0; i < item->n && !t->spare; i++)
        if (item->entry[i]) {
            t->spare = item->entry[i]->batch;
            item->entry[i]->batch = NULL;
        }
    item_free(item);
}

/* ---- Taking ----------------------------------------------------------------------------------- */

/* With the lock held. */
static struct intake_item *cut(struct intake *k, size_t bytes)
{
    struct intake_item *list = k->first, *i = list;
    for (size_t size = 0;; i = i->next) {
        k->rows_here -= i->rows;
        k->asking -= i->asks;
        size += i->memory;
        if (size >= bytes || !i->next)
            break;
    }
    k->first = i->next;
    if (!k->first)
        k->last = &k->first;
    i->next = NULL;
    return list;
}

struct intake_item *intake_take(struct intake *k, uint64_t rows_wanted,
                                size_t asking_wanted, size_t bytes, int64_t until_us,
                                bool *ret_closed)
{
    pthread_mutex_lock(&k->lock);
    k->rows_wanted = rows_wanted;
    k->asking_wanted = asking_wanted;
    bool takes = k->first && (k->asking || enough(k) || k->closed ||
                              clock_monotonic_us() >= until_us);
    struct intake_item *list = takes ? cut(k, bytes) : NULL;
    k->asleep = !list;
    *ret_closed = k->closed && !k->first;
    pthread_mutex_unlock(&k->lock);
    return list;
}

bool intake_tell(struct intake *k, struct intake_item *item, int result,
                 uint64_t position)
{
    if (!item->asks)
        return false;
    pthread_mutex_lock(&k->tickets);
    struct ticket *t = item->ticket;
    item->ticket = NULL;
    bool returns = t && t->returns;
    if (t) {
        t->result = result;
        t->position = position;
    }
    if (returns) {
        origin_busy(item->origin, false);
        item->origin = NULL;
        t->done(t->ctx);
        atomic_store_explicit(&t->waiting, false, memory_order_release);
    } else if (t) {
        t->owner = NULL;
        atomic_store_explicit(&t->waiting, false, memory_order_relaxed);
        t->done(t->ctx); /* and may be gone */
    }
    pthread_mutex_unlock(&k->tickets);
    return returns;
}

void intake_done(struct intake_item *item)
{
    item_free(item);
}

void intake_shrink(struct intake *k, struct log_entry *e, size_t bytes)
{
    if (e->held_requests < 2 || bytes >= e->held_bytes)
        return;
    pthread_mutex_lock(&k->lock);
    k->bytes -= e->held_bytes - bytes;
    e->held_bytes = bytes;
    wake_waiters(k);
    pthread_mutex_unlock(&k->lock);
}

void intake_release(struct intake *k, const struct log_entry *e)
{
    if (!e->held_requests)
        return;
    pthread_mutex_lock(&k->lock);
    k->waiting[e->source].entries -= e->held_requests;
    k->rows -= e->held_rows;
    k->bytes -= e->held_bytes;
    wake_waiters(k);
    pthread_mutex_unlock(&k->lock);
}

void intake_refuse(struct intake *k, int result, int64_t until_us)
{
    pthread_mutex_lock(&k->lock);
    k->refused = result;
    k->refused_until_us = until_us;
    wake_waiters(k);
    pthread_mutex_unlock(&k->lock);
}

void intake_heard(struct intake *k, void (*heard)(void *ctx, uint32_t source),
                  void *ctx)
{
    bool said[LOG_SOURCES_MAX];
    pthread_mutex_lock(&k->lock);
    for (uint32_t i = 0; i < LOG_SOURCES_MAX; i++) {
        said[i] = k->waiting[i].entries || k->waiting[i].refused;
        k->waiting[i].refused = false;
    }
    pthread_mutex_unlock(&k->lock);
    for (uint32_t i = 0; i < LOG_SOURCES_MAX; i++)
        if (said[i])
            heard(ctx, i);
}

uint64_t intake_rows(struct intake *k)
{
    pthread_mutex_lock(&k->lock);
    uint64_t rows = k->rows;
    pthread_mutex_unlock(&k->lock);
    return rows;
}
