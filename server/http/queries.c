/* SPDX-License-Identifier: Apache-2.0
 *
 * The query pool: threads that run the handlers which may take their time, while the
 * connection is suspended.
 */
#include "base/clock.h"
#include "base/thread.h"
#include "http/internal.h"

#include <errno.h>
#include <stdlib.h>

static void queries_running(struct http_query_thread *t, struct http_request *r)
{
    pthread_mutex_lock(&t->lock);
    t->request = r;
    pthread_mutex_unlock(&t->lock);
}

static void queries_refuse(struct http_request *r)
{
    http_set_header(r, "Retry-After", "1");
    http_problem(r, 503, "too_many_queries",
                 "too many queries are running or waiting; try again");
}

static void *queries_run(void *arg)
{
    struct http_query_thread *t = arg;
    struct http_server *s = t->server;
    pthread_setname_np(pthread_self(), "weir-query");
    thread_stand_back();
    struct http_request *r;
    while ((r = queue_pop(s->queries, INT64_MAX))) {
        queries_running(t, r);
        if (clock_monotonic_us() - r->queued_us > HTTP_QUERY_WAIT_US)
            queries_refuse(r);
        else if (!atomic_load(&s->stopping))
            r->entry->route.handle(r, r->entry->route.ctx);
        queries_running(t, NULL);
        atomic_fetch_sub_explicit(&s->n_queries, 1, memory_order_relaxed);
        stream_finish(r);
        request_unref(r);
    }
    return NULL;
}

int queries_start(struct http_server *s)
{
    int rc = queue_new(s->options.max_queries, &s->queries);
    if (rc)
        return rc;
    s->query_thread = calloc(s->options.query_threads, sizeof(*s->query_thread));
    if (!s->query_thread)
        return -ENOMEM;
    for (; s->n_query_threads < s->options.query_threads; s->n_query_threads++) {
        struct http_query_thread *t = &s->query_thread[s->n_query_threads];
        t->server = s;
        pthread_mutex_init(&t->lock, NULL);
        rc = pthread_create(&t->thread, NULL, queries_run, t);
        if (rc) {
            pthread_mutex_destroy(&t->lock);
            return -rc;
        }
    }
    return 0;
}

/* Handlers find that the server stops: those that write are woken. */
void queries_stop(struct http_server *s)
{
    if (s->queries)
        queue_close(s->queries);
    for (unsigned i = 0; i < s->n_query_threads; i++) {
        struct http_query_thread *t = &s->query_thread[i];
        pthread_mutex_lock(&t->lock);
        if (t->request)
            stream_wake(t->request);
        pthread_mutex_unlock(&t->lock);
    }
    for (unsigned i = 0; i < s->n_query_threads; i++) {
        pthread_join(s->query_thread[i].thread, NULL);
        pthread_mutex_destroy(&s->query_thread[i].lock);
    }
    s->n_query_threads = 0;
}

void queries_free(struct http_server *s)
{
    free(s->query_thread);
    queue_free(s->queries);
}

bool queries_submit(struct http_request *r)
{
    struct http_server *s = r->server;
    unsigned before = atomic_fetch_add_explicit(&s->n_queries, 1, memory_order_relaxed);
    if (before >= s->options.max_queries) {
        atomic_fetch_sub_explicit(&s->n_queries, 1, memory_order_relaxed);
        queries_refuse(r);
        return false;
    }
    pthread_mutex_lock(&r->lock);
    r->job = true;
    r->queued_us = clock_monotonic_us();
    pthread_mutex_unlock(&r->lock);
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    pause_enter_always(r);
    /* The queue has room for max_queries; it fails only when it is closed. */
    if (queue_try_push(s->queries, r))
        return true;
    atomic_fetch_sub_explicit(&s->n_queries, 1, memory_order_relaxed);
    stream_finish(r);
    request_unref(r);
    return true;
}
