/* SPDX-License-Identifier: Apache-2.0
 *
 * The bounded queue in front of the writer, which also decides when a commit is due.
 */
#include "store/inbox.h"
#include "base/clock.h"
#include "store/dead_letters.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct inbox {
    size_t reports_max;
    int64_t commit_interval_us;

    pthread_mutex_t mutex;  /* protects all below */
    pthread_cond_t arrived; /* the writer waits: a report, a flush, the end */
    pthread_cond_t room;    /* workers wait: room, failure */
    pthread_cond_t done;    /* flushers wait: a commit, failure */
    struct inbox_item *first, **last;
    size_t reports, rows;
    uint64_t put, taken, committed; /* reports since the start */
    uint64_t flush;                 /* commit at least so many at once */
    bool closed, failed;
    int64_t hurry_us; /* of inbox_hurry or inbox_close; INT64_MAX: not yet */
};

int inbox_new(size_t reports_max, int64_t commit_interval_us, struct inbox **ret)
{
    struct inbox *k = calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    k->reports_max = reports_max;
    k->commit_interval_us = commit_interval_us;
    k->last = &k->first;
    k->hurry_us = INT64_MAX;
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

static void inbox_free_content(const struct inbox_item *item)
{
    inbox_free_rows(item->report.rows);
    checkpoint_free(item->checkpoint);
    store_stream_free(item->stream);
    dead_batch_free(item->dead);
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

/* Who put it: the worker of a report, or of a part of a checkpoint. */
static bool inbox_same_worker(const struct inbox_item *a, const struct inbox_item *b)
{
    unsigned of_a = a->checkpoint ? a->checkpoint->worker : a->report.worker;
    unsigned of_b = b->checkpoint ? b->checkpoint->worker : b->report.worker;
    return a->report.pipeline && a->report.pipeline == b->report.pipeline &&
           of_a == of_b;
}

/* Called with the mutex held. A report without rows only says how far its worker is: if the last thing that the
 * worker put is another report, and still here, that one says so. Then workers do not wait for the writer
 * where there is nothing to write. */
static bool inbox_fold(struct inbox *k, const struct inbox_item *item)
{
    if (item->n_rows || !item->report.workers)
        return false;
    struct inbox_item *last = NULL;
    for (struct inbox_item *i = k->first; i; i = i->next)
        if (inbox_same_worker(i, item))
            last = i;
    if (!last || !last->report.workers)
        return false;
    last->report.position = item->report.position;
    last->report.watermark_us = item->report.watermark_us;
    return true;
}

static int inbox_append(struct inbox *k, struct inbox_item *item, bool *ret_folded)
{
    pthread_mutex_lock(&k->mutex);
    *ret_folded = !k->closed && !k->failed && inbox_fold(k, item);
    while (!*ret_folded && !item->dead && inbox_full(k) && !k->closed && !k->failed)
        pthread_cond_wait(&k->room, &k->mutex);
    int err = k->failed ? -EIO : k->closed ? -ESHUTDOWN : 0;
    if (!err && !*ret_folded) {
        *k->last = item;
        k->last = &item->next;
        k->reports += !item->dead;
        k->rows += item->n_rows;
        k->put++;
        pthread_cond_signal(&k->arrived);
    }
    pthread_mutex_unlock(&k->mutex);
    return err;
}

int inbox_put(struct inbox *k, const struct inbox_item *given)
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
    bool folded;
    int err = inbox_append(k, item, &folded);
    if (err || folded)
        inbox_item_free(item);
    return err;
}

int inbox_put_dead(struct inbox *k, struct dead_batch *batch)
{
    struct inbox_item *item = calloc(1, sizeof(*item));
    if (!item)
        return -ENOMEM;
    item->dead = batch;
    item->put_us = clock_monotonic_us();
    bool folded;
    int err = inbox_append(k, item, &folded);
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
    pthread_cond_broadcast(&k->room);
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
static int64_t inbox_due_us(const struct inbox *k, size_t rows_wanted)
{
    if (!k->first)
        return INT64_MAX;
    if (k->closed || k->rows >= rows_wanted || inbox_full(k) || k->flush > k->taken)
        return INT64_MIN;
    return k->first->put_us + k->commit_interval_us;
}

/* Called with the mutex held: cuts the reports off that make up the next commit. */
static struct inbox_item *inbox_cut(struct inbox *k, size_t rows_wanted)
{
    struct inbox_item *list = k->first;
    size_t rows = 0;
    struct inbox_item *item = list;
    for (;; item = item->next) {
        rows += item->n_rows;
        k->reports -= !item->dead;
        k->taken++;
        if (rows >= rows_wanted || !item->next)
            break;
    }
    k->rows -= rows;
    k->first = item->next;
    if (!k->first)
        k->last = &k->first;
    item->next = NULL;
    pthread_cond_broadcast(&k->room);
    return list;
}

struct inbox_item *inbox_take(struct inbox *k, size_t rows_wanted, bool hurry,
                              bool *ret_closed)
{
    struct inbox_item *list = NULL;
    pthread_mutex_lock(&k->mutex);
    for (;;) {
        int64_t due_us = inbox_due_us(k, rows_wanted);
        if (due_us <= clock_monotonic_us()) {
            list = inbox_cut(k, rows_wanted);
            break;
        }
        if (hurry || (k->closed && !k->first))
            break;
        if (due_us == INT64_MAX)
            pthread_cond_wait(&k->arrived, &k->mutex);
        else
            clock_cond_wait(&k->arrived, &k->mutex, due_us);
    }
    *ret_closed = k->closed;
    pthread_mutex_unlock(&k->mutex);
    return list;
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
    pthread_cond_broadcast(&k->room);
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
