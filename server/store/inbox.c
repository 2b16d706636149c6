/* SPDX-License-Identifier: Apache-2.0
 *
 * The bounded queue in front of the writer, which also decides when a commit is due.
 */
#include "store/inbox.h"
#include "base/clock.h"
#include "store/dead_letters.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

struct inbox {
    size_t reports_max;
    int64_t commit_interval_us;

    pthread_mutex_t mutex;  /* protects all below */
    pthread_cond_t arrived; /* the writer waits: a report, a flush, the end */
    pthread_cond_t room;    /* workers wait: room, failure */
    pthread_cond_t done;    /* flushers wait: a commit, failure */
    struct waiter *waiters;
    struct inbox_item *first, **last;
    size_t reports, rows;
    uint64_t put, taken, committed; /* the last numbers */
    uint64_t noted;   /* number of the last note that was not taken; 0: none */
    int64_t noted_us; /* clock_monotonic_us of the first one; INT64_MAX: none */
    int64_t
        rows_us; /* when rows were taken last; they are committed at once after a pause */
    uint64_t flush; /* commit what has numbers up to this one at once */
    bool closed;
    _Atomic bool failed; /* set once, with the mutex held; relaxed without it */
    int64_t hurry_us;    /* of inbox_hurry or inbox_close; INT64_MAX: not yet */
};

int inbox_new(size_t reports_max, int64_t commit_interval_us, struct inbox **ret)
{
    struct inbox *k = calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    k->reports_max = reports_max;
    k->commit_interval_us = commit_interval_us;
    k->last = &k->first;
    k->hurry_us = k->noted_us = INT64_MAX;
    pthread_mutex_init(&k->mutex, NULL);
    clock_cond_init(&k->arrived);
    clock_cond_init(&k->done);
    pthread_cond_init(&k->room, NULL);
    *ret = k;
    return 0;
}

void inbox_free_rows(struct rowset *r)
{
    while (r) {
        struct rowset *next = r->next;
        rowset_free(r);
        r = next;
    }
}

void inbox_free_answers(struct pipeline_answers *a)
{
    if (a)
        free(a->data);
    free(a);
}

static void inbox_free_content(const struct inbox_item *item)
{
    inbox_free_rows(item->report.rows);
    checkpoint_free(item->checkpoint);
    store_stream_free(item->stream);
    dead_batch_free(item->dead);
    inbox_free_answers(item->answers);
}

void inbox_item_free(struct inbox_item *list)
{
    while (list) {
        struct inbox_item *next = list->next;
        inbox_free_content(list);
        free(list);
        list = next;
    }
}

void inbox_free(struct inbox *k)
{
    if (!k)
        return;
    inbox_item_free(k->first);
    pthread_cond_destroy(&k->done);
    pthread_cond_destroy(&k->room);
    pthread_cond_destroy(&k->arrived);
    pthread_mutex_destroy(&k->mutex);
    free(k);
}

/* Called with the mutex held. An empty inbox takes any report. */
static bool inbox_full(const struct inbox *k)
{
    return k->reports && (k->reports >= k->reports_max || k->rows >= INBOX_ROWS_MAX);
}

/* Called with the mutex held. */
static int inbox_refusal(const struct inbox *k)
{
    return k->failed ? -EIO : k->closed ? -ESHUTDOWN : 0;
}

static int inbox_append(struct inbox *k, struct inbox_item *item, uint64_t *ret_number)
{
    pthread_mutex_lock(&k->mutex);
    const bool waits = !item->dead && !item->post;
    while (waits && inbox_full(k) && !k->closed && !k->failed)
        pthread_cond_wait(&k->room, &k->mutex);
    int err = inbox_refusal(k);
    if (!err) {
        *k->last = item;
        k->last = &item->next;
        k->reports += waits;
        k->rows += item->n_rows;
        *ret_number = item->number = ++k->put;
        pthread_cond_signal(&k->arrived);
    }
    pthread_mutex_unlock(&k->mutex);
    return err;
}

/* Called with the mutex held, which who waits may take again once woken. */
static void inbox_wake(struct inbox *k)
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

bool inbox_ready(struct inbox *k, struct waiter *w)
{
    pthread_mutex_lock(&k->mutex);
    bool ready = !inbox_full(k) || k->closed || k->failed;
    if (!ready && !w->queued) {
        w->prev = NULL;
        w->next = k->waiters;
        if (w->next)
            w->next->prev = w;
        k->waiters = w;
        w->queued = true;
    }
    pthread_mutex_unlock(&k->mutex);
    return ready;
}

void inbox_unwait(struct inbox *k, struct waiter *w)
{
    pthread_mutex_lock(&k->mutex);
    if (w->queued) {
        if (w->prev)
            w->prev->next = w->next;
        else
            k->waiters = w->next;
        if (w->next)
            w->next->prev = w->prev;
        w->queued = false;
    }
    pthread_mutex_unlock(&k->mutex);
}

int inbox_put(struct inbox *k, const struct inbox_item *given, uint64_t *ret_number)
{
    struct inbox_item *item = malloc(sizeof(*item));
    if (!item) {
        inbox_free_content(given);
        return -ENOMEM;
    }
    *item = *given;
    item->put_us = clock_monotonic_us();
    for (const struct rowset *r = item->report.rows; r; r = r->next)
        item->n_rows += r->n_rows;
    if (item->answers) /* a large one counts for several */
        item->n_rows += item->answers->n + item->answers->size / INBOX_ROW_BYTES;
    int err = inbox_append(k, item, ret_number);
    if (err)
        inbox_item_free(item);
    return err;
}

bool inbox_failed(struct inbox *k)
{
    return atomic_load_explicit(&k->failed, memory_order_relaxed);
}

int inbox_note(struct inbox *k)
{
    pthread_mutex_lock(&k->mutex);
    int err = inbox_refusal(k);
    if (!err) {
        k->noted = ++k->put;
        if (k->noted_us == INT64_MAX)
            k->noted_us = clock_monotonic_us();
        pthread_cond_signal(&k->arrived);
    }
    pthread_mutex_unlock(&k->mutex);
    return err;
}

int inbox_put_dead(struct inbox *k, struct dead_batch *batch)
{
    struct inbox_item *item = calloc(1, sizeof(*item));
    uint64_t number;
    if (!item)
        return -ENOMEM;
    item->dead = batch;
    item->put_us = clock_monotonic_us();
    int err = inbox_append(k, item, &number);
    if (err)
        free(item);
    return err;
}

int inbox_put_post(struct inbox *k, void (*post)(struct store *s, void *ctx), void *ctx)
{
    struct inbox_item *item = calloc(1, sizeof(*item));
    uint64_t number;
    if (!item)
        return -ENOMEM;
    item->post = post;
    item->post_ctx = ctx;
    item->put_us = clock_monotonic_us();
    int err = inbox_append(k, item, &number);
    if (err)
        free(item);
    return err;
}

int inbox_flush(struct inbox *k)
{
    return inbox_flush_until(k, INT64_MAX);
}

int inbox_flush_until(struct inbox *k, int64_t deadline_us)
{
    int err = 0;
    pthread_mutex_lock(&k->mutex);
    uint64_t target = k->put;
    if (k->flush < target)
        k->flush = target;
    pthread_cond_signal(&k->arrived);
    while (k->committed < target && !err) {
        if (k->failed)
            err = -EIO;
        else if (clock_monotonic_us() >= deadline_us)
            err = -ETIMEDOUT;
        else
            clock_cond_wait(&k->done, &k->mutex, deadline_us);
    }
    pthread_mutex_unlock(&k->mutex);
    return err;
}

/* Called with the mutex held. */
static void inbox_note_hurry(struct inbox *k)
{
    if (k->hurry_us == INT64_MAX)
        k->hurry_us = clock_monotonic_us();
    pthread_cond_broadcast(&k->arrived);
}

void inbox_hurry(struct inbox *k)
{
    pthread_mutex_lock(&k->mutex);
    inbox_note_hurry(k);
    pthread_mutex_unlock(&k->mutex);
}

void inbox_close(struct inbox *k)
{
    pthread_mutex_lock(&k->mutex);
    inbox_note_hurry(k);
    k->closed = true;
    inbox_wake(k);
    pthread_mutex_unlock(&k->mutex);
}

size_t inbox_length(struct inbox *k)
{
    pthread_mutex_lock(&k->mutex);
    size_t n = k->reports;
    pthread_mutex_unlock(&k->mutex);
    return n;
}

/* Called with the mutex held: when the next commit is due; INT64_MIN: now, INT64_MAX: not known. */
static int64_t inbox_due_us(const struct inbox *k, size_t rows_wanted, int64_t rest_us)
{
    if (!k->first && !k->noted)
        return INT64_MAX;
    if (k->closed || k->rows >= rows_wanted || inbox_full(k) || k->flush > k->taken)
        return INT64_MIN;
    if (!k->first && rest_us > k->commit_interval_us)
        return k->noted_us + rest_us;
    int64_t since_us =
        k->first && k->first->put_us < k->noted_us ? k->first->put_us : k->noted_us;
    if (k->rows > 0 && k->rows_us < since_us)
        since_us = k->rows_us;
    return since_us + k->commit_interval_us;
}

/* Called with the mutex held: cuts the reports off that make up the next commit. */
static struct inbox_item *inbox_cut(struct inbox *k, size_t rows_wanted)
{
    struct inbox_item *list = k->first, *item = list, *last = NULL;
    size_t rows = 0;
    for (; item && rows < rows_wanted; item = item->next) {
        rows += item->n_rows;
        k->reports -= !item->dead && !item->post;
        last = item;
    }
    if (rows > 0)
        k->rows_us = clock_monotonic_us();
    k->rows -= rows;
    k->taken = item ? last->number : k->put;
    k->first = item;
    if (!item)
        k->last = &k->first;
    if (last)
        last->next = NULL;
    if (k->noted <= k->taken) {
        k->noted = 0;
        k->noted_us = INT64_MAX;
    }
    inbox_wake(k);
    return list;
}

struct inbox_share inbox_take(struct inbox *k, size_t rows_wanted, bool hurry,
                              int64_t rest_us)
{
    struct inbox_share share = {0};
    pthread_mutex_lock(&k->mutex);
    for (;;) {
        int64_t due_us = inbox_due_us(k, rows_wanted, rest_us);
        if (due_us <= clock_monotonic_us()) {
            share.due = true;
            share.list = inbox_cut(k, rows_wanted);
            share.number = k->taken;
            break;
        }
        if (hurry || (k->closed && !k->first && !k->noted))
            break;
        clock_cond_wait(&k->arrived, &k->mutex, due_us);
    }
    share.closed = k->closed;
    pthread_mutex_unlock(&k->mutex);
    return share;
}

void inbox_done(struct inbox *k)
{
    pthread_mutex_lock(&k->mutex);
    k->committed = k->taken;
    pthread_cond_broadcast(&k->done);
    pthread_mutex_unlock(&k->mutex);
}

void inbox_fail(struct inbox *k)
{
    pthread_mutex_lock(&k->mutex);
    k->failed = true;
    inbox_wake(k);
    pthread_cond_broadcast(&k->done);
    pthread_mutex_unlock(&k->mutex);
}

int64_t inbox_pause(struct inbox *k, int64_t us)
{
    int64_t deadline_us = clock_monotonic_us() + us;
    pthread_mutex_lock(&k->mutex);
    while (k->hurry_us == INT64_MAX && clock_monotonic_us() < deadline_us)
        clock_cond_wait(&k->arrived, &k->mutex, deadline_us);
    int64_t hurry_us = k->hurry_us;
    pthread_mutex_unlock(&k->mutex);
    if (hurry_us == INT64_MAX)
        return -1;
    clock_sleep_us(20000); /* the last attempts do not spin */
    return clock_monotonic_us() - hurry_us;
}
