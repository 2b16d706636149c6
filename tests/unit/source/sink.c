/* SPDX-License-Identifier: Apache-2.0
 *
 * The sink that only remembers.
 */
#include "sink.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
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

static int sink_append(void *ctx, uint32_t source, struct batch *b)
{
    struct sink *s = ctx;
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    if (s->closed) {
        rc = -ESHUTDOWN;
    } else if (s->rows + b->n_rows > s->limit) {
        s->refusals++;
        rc = -EAGAIN;
    } else {
        const int64_t *v = b->column[2].values;
        for (uint32_t i = 0; i < b->n_rows; i++)
            s->sum += (uint64_t)v[i];
        s->rows += b->n_rows;
        s->batches++;
        s->last_source = source;
        batch_unref(b);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
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
                                          .unwait = sink_unwait};
    s->stream.max_body = 8 << 20;
    s->stream.queue_wait_us = 200000;
}

void sink_close(struct sink *s)
{
    assert_null(s->waiters);
    schema_free(s->schema);
    pthread_mutex_destroy(&s->lock);
}
