/* SPDX-License-Identifier: Apache-2.0
 *
 * The sink that only remembers.
 */
#include "sink.h"

#include "base/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int sink_name(void *ctx, const char *name, size_t size, uint32_t *ret_source)
{
    struct sink *s = ctx;
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    size_t i = 0;
    while (i < s->n_names &&
           (strlen(s->name[i]) != size || memcmp(s->name[i], name, size)))
        i++;
    if (i == 8) {
        rc = -ENOSPC;
    } else {
        if (i == s->n_names)
            memcpy(s->name[s->n_names++], name, size);
        *ret_source = (uint32_t)i + 1;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static void sink_take_batch(struct sink *s, struct batch *b)
{
    const int64_t *v = b->column[2].values;
    assert_true(b->n_rows > 0);
    for (uint32_t i = 0; i < b->n_rows; i++)
        s->sum += (uint64_t)v[i];
    s->rows += b->n_rows;
    s->batches++;
    batch_unref(b);
}

/* With the lock held. Batches are numbered: that is the position. */
static void sink_complete(struct sink *s, struct sink_held *h, int result)
{
    if (h->key.size && result)
        idempotency_abandon(s->keys, h->key.key, h->key.size);
    h->key.answer.position = s->batches;
    if (h->key.size && !result)
        idempotency_complete(s->keys, &h->key, clock_now_us());
    if (h->ticket) {
        h->ticket->result = result;
        h->ticket->position = s->batches;
        h->ticket->done(h->ticket->ctx);
    }
    h->ticket = NULL;
}

/* With the lock held. */
static void sink_take(struct sink *s, const struct request *r)
{
    for (size_t i = 0; i < r->n; i++)
        sink_take_batch(s, r->batch[i]);
    s->requests++;
    s->last_source = r->source;
    assert_true(s->n_held < SINK_HELD);
    struct sink_held *h = &s->held[s->n_held];
    h->ticket = r->ticket;
    h->key = (struct request_id){0};
    if (r->key) {
        h->key = *r->key;
        h->key.key = memcpy(h->name, r->key->key, r->key->size);
        if (r->key->answer.errors)
            h->key.answer.errors =
                memcpy(h->errors, r->key->answer.errors, r->key->answer.errors_size);
    }
    if (s->hold && (r->ticket || r->key))
        s->n_held++;
    else
        sink_complete(s, h, 0);
}

static int sink_append(void *ctx, const struct request *r)
{
    struct sink *s = ctx;
    int rc = s->fails;
    uint64_t rows = 0;
    for (size_t i = 0; i < r->n; i++)
        rows += r->batch[i]->n_rows;
    pthread_mutex_lock(&s->lock);
    if (s->closed) {
        rc = -ESHUTDOWN;
    } else if (s->rows + rows > s->limit) {
        s->refusals++;
        rc = -EAGAIN;
    } else if (!rc) {
        sink_take(s, r);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void sink_release(struct sink *s, int result)
{
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->n_held; i++)
        sink_complete(s, &s->held[i], result);
    s->n_held = 0;
    pthread_mutex_unlock(&s->lock);
}

static void sink_cancel(void *ctx, struct ticket *t)
{
    struct sink *s = ctx;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->n_held; i++)
        if (s->held[i].ticket == t)
            s->held[i].ticket = NULL;
    s->cancels++;
    pthread_mutex_unlock(&s->lock);
}

static int sink_key_begin(void *ctx, const char *key, size_t size,
                          struct request_known *ret)
{
    struct sink *s = ctx;
    return idempotency_begin(s->keys, key, size, clock_now_us(), ret);
}

static void sink_key_abandon(void *ctx, const char *key, size_t size)
{
    struct sink *s = ctx;
    idempotency_abandon(s->keys, key, size);
}

static void sink_dead(void *ctx, const struct dead_letter *list, size_t n)
{
    struct sink *s = ctx;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < n; i++) {
        const struct dead_letter *d = &list[i];
        size_t used = strlen(s->dead);
        assert_string_equal(d->stream, "ticks");
        assert_true(d->received_us > 1700000000 * SECOND_US);
        snprintf(s->dead + used, sizeof(s->dead) - used, "%s|%llu|%u|%s|%.*s%s\n",
                 d->source, (unsigned long long)d->line, d->column, d->reason,
                 (int)d->record_size, d->record ? d->record : "",
                 d->truncated ? "..." : "");
        s->letters++;
    }
    pthread_mutex_unlock(&s->lock);
}

static void sink_wait(void *ctx, struct waiter *w)
{
    struct sink *s = ctx;
    pthread_mutex_lock(&s->lock);
    w->prev = NULL;
    w->next = s->waiters;
    if (w->next)
        w->next->prev = w;
    s->waiters = w;
    w->queued = true;
    s->waits++;
    pthread_mutex_unlock(&s->lock);
}

static void sink_unwait(void *ctx, struct waiter *w)
{
    struct sink *s = ctx;
    pthread_mutex_lock(&s->lock);
    if (w->queued) {
        if (w->prev)
            w->prev->next = w->next;
        else
            s->waiters = w->next;
        if (w->next)
            w->next->prev = w->prev;
        w->queued = false;
    }
    pthread_mutex_unlock(&s->lock);
}

void sink_room(struct sink *s, uint64_t limit)
{
    pthread_mutex_lock(&s->lock);
    s->limit = limit;
    while (s->waiters) {
        struct waiter *w = s->waiters;
        s->waiters = w->next;
        if (w->next)
            w->next->prev = NULL;
        w->queued = false;
        w->wake(w->ctx);
    }
    pthread_mutex_unlock(&s->lock);
}

void sink_open(struct sink *s)
{
    memset(s, 0, sizeof(*s));
    pthread_mutex_init(&s->lock, NULL);
    assert_return_code(schema_new(3, "ts", &s->schema), 0);
    assert_return_code(schema_set(s->schema, 1, "k", WEIR_STRING), 0);
    assert_return_code(schema_set(s->schema, 2, "v", WEIR_INT), 0);
    s->limit = UINT64_MAX;
    s->stream.name = "ticks";
    s->stream.decode = (struct decode_options){.schema = s->schema,
                                               .time_unit = DECODE_MS,
                                               .record_max = 1 << 20,
                                               .depth_max = 64,
                                               .max_future_skew_us = INT64_MAX};
    s->stream.sink = (struct source_sink){.ctx = s,
                                          .name = sink_name,
                                          .append = sink_append,
                                          .append_wait = sink_append,
                                          .wait = sink_wait,
                                          .unwait = sink_unwait,
                                          .cancel = sink_cancel,
                                          .key_begin = sink_key_begin,
                                          .key_abandon = sink_key_abandon,
                                          .dead = sink_dead};
    const struct idempotency_options keys = {
        .stream = "ticks", .max_keys = 100, .retain_us = 3600 * SECOND_US};
    assert_return_code(idempotency_new(&keys, NULL, &s->keys), 0);
    s->stream.durable = true;
    s->stream.max_body = 8 << 20;
    s->stream.queue_wait_us = 200000;
}

void sink_close(struct sink *s)
{
    assert_null(s->waiters);
    for (size_t i = 0; i < s->n_held; i++)
        assert_null(s->held[i].ticket); /* who waited has taken it back */
    idempotency_free(s->keys);
    schema_free(s->schema);
    pthread_mutex_destroy(&s->lock);
}
