/* SPDX-License-Identifier: Apache-2.0
 *
 * The pools of threads that run the handlers which may take their time, while the connection is suspended.
 *
 *      queries_submit --> [queue] --> handle -- all is written -------------------------> done
 *                            ^            | http_more                                      ^
 *                            |            v                                                |
 *                            +----- little is unsent? --- no ---> parked: no thread has it |
 *                            |                                      |       | client gone  |
 *                            +--- the client has taken enough ------+       +--------------+
 *
 * A job that goes on goes to the end of the queue, behind those that wait for their turn.
 */
#include "base/clock.h"
#include "base/thread.h"
#include "http/internal.h"

#include <errno.h>
#include <stdlib.h>

static struct http_pool *queries_pool(const struct http_request *r)
{
    bool slow = r->entry->route.kind == HTTP_SLOW;
    return &r->server->pool[slow ? HTTP_POOL_SLOW : HTTP_POOL_QUERY];
}

static void queries_refuse(struct http_request *r)
{
    http_set_header(r, "Retry-After", "1");
    http_problem(r, 503, "too_many_queries",
                 "too many queries are running or waiting; try again");
}

/* The first turn: the handler's. */
static void queries_begin(struct http_request *r)
{
    if (!r->entry->route.patient &&
        clock_monotonic_us() - r->queued_us > HTTP_QUERY_WAIT_US)
        queries_refuse(r);
    else if (!atomic_load(&r->server->stopping))
        r->entry->route.handle(r, r->entry->route.ctx);
    r->begun = true;
    atomic_fetch_sub_explicit(&queries_pool(r)->n, 1, memory_order_relaxed);
}

static void queries_end(struct http_request *r)
{
    if (r->stream.more)
        r->stream.close(r->stream.ctx);
    r->stream.more = NULL;
    if (stream_finish(r) && r->server->options.access)
        permit_log(r, true);
    request_unref(r);
}

static bool queries_push(struct http_pool *p, struct http_request *r)
{
    bool pushed = queue_try_push(p->queue, r);
    if (pushed)
        atomic_fetch_sub_explicit(&p->idle, 1, memory_order_relaxed);
    return pushed;
}

static void queries_turn(struct http_request *r)
{
    if (!r->begun) {
        queries_begin(r);
    } else if (stream_is_over(r) || !r->stream.more(r->stream.ctx)) {
        queries_end(r);
        return;
    }
    if (!r->stream.more)
        queries_end(r);
    else if (!stream_park(r) && !queries_push(queries_pool(r), r))
        queries_end(r); /* the server stops */
}

static void *queries_run(void *arg)
{
    struct http_pool *p = arg;
    pthread_setname_np(pthread_self(), "weir-query");
    thread_stand_back();
    struct http_request *r;
    while ((r = queue_pop(p->queue, INT64_MAX))) {
        queries_turn(r);
        atomic_fetch_add_explicit(&p->idle, 1, memory_order_relaxed);
    }
    return NULL;
}

/* One more, if there may be. */
static int queries_start_thread(struct http_pool *p)
{
    int rc = 0;
    pthread_mutex_lock(&p->lock);
    if (p->started < p->n_threads && !queue_is_closed(p->queue)) {
        rc = pthread_create(&p->thread[p->started], NULL, queries_run, p);
        if (!rc) {
            p->started++;
            atomic_fetch_add_explicit(&p->idle, 1, memory_order_relaxed);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return -rc;
}

bool queries_unpark(struct http_request *r)
{
    r->stream.parked = !queries_push(queries_pool(r), r);
    return !r->stream.parked;
}

void queries_drop(struct http_request *r)
{
    if (!queries_push(queries_pool(r), r))
        queries_end(r);
}

/* Room for all that may be in the queue: those that wait to begin, and one for each connection that goes on or is
 * patient. */
static size_t queries_room(const struct http_server *s, const struct http_pool *p)
{
    return p->max + 2 * (size_t)s->options.max_connections +
           64 * (size_t)s->options.epoll_threads;
}

static int queries_start_pool(struct http_server *s, struct http_pool *p)
{
    p->server = s;
    pthread_mutex_init(&p->lock, NULL);
    int rc = queue_new(queries_room(s, p), &p->queue);
    if (rc)
        return rc;
    p->thread = calloc(p->n_threads, sizeof(*p->thread));
    return p->thread ? 0 : -ENOMEM;
}

/* The first query starts the first thread. False: there is none, and none can be started. */
static bool queries_have_thread(struct http_pool *p)
{
    pthread_mutex_lock(&p->lock);
    bool any = p->started > 0;
    pthread_mutex_unlock(&p->lock);
    return any || queries_start_thread(p) == 0;
}

int queries_start(struct http_server *s)
{
    const struct http_options *o = &s->options;
    s->pool[HTTP_POOL_QUERY].n_threads = o->query_threads;
    s->pool[HTTP_POOL_QUERY].max = o->max_queries;
    s->pool[HTTP_POOL_SLOW].n_threads = o->slow_threads;
    s->pool[HTTP_POOL_SLOW].max = o->max_slow;
    int rc = 0;
    for (size_t i = 0; !rc && i < HTTP_POOLS; i++)
        if (s->pool[i].n_threads)
            rc = queries_start_pool(s, &s->pool[i]);
    return rc;
}

/* Handlers find that the server stops. */
void queries_stop(struct http_server *s)
{
    for (size_t i = 0; i < HTTP_POOLS; i++)
        if (s->pool[i].queue)
            queue_close(s->pool[i].queue);
    for (size_t i = 0; i < HTTP_POOLS; i++) {
        struct http_pool *p = &s->pool[i];
        if (!p->queue)
            continue;
        pthread_mutex_lock(&p->lock); /* none is added any more: the queue is closed */
        unsigned n = p->started;
        p->started = 0;
        pthread_mutex_unlock(&p->lock);
        for (unsigned k = 0; k < n; k++)
            pthread_join(p->thread[k], NULL);
    }
}

void queries_free(struct http_server *s)
{
    for (size_t i = 0; i < HTTP_POOLS; i++) {
        free(s->pool[i].thread);
        queue_free(s->pool[i].queue);
    }
}

bool queries_submit(struct http_request *r)
{
    struct http_pool *p = queries_pool(r);
    unsigned before = atomic_fetch_add_explicit(&p->n, 1, memory_order_relaxed);
    if ((before >= p->max && !r->entry->route.patient) || !queries_have_thread(p)) {
        atomic_fetch_sub_explicit(&p->n, 1, memory_order_relaxed);
        queries_refuse(r);
        return false;
    }
    pthread_mutex_lock(&r->lock);
    r->job = true;
    r->queued_us = clock_monotonic_us();
    pthread_mutex_unlock(&r->lock);
    r->begun = false;
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    pause_enter_always(r);
    /* The queue has room; it fails only when it is closed. */
    if (queries_push(p, r)) {
        if (atomic_load_explicit(&p->idle, memory_order_relaxed) < 0)
            queries_start_thread(p); /* if that fails, those that are there serve it */
        return true;
    }
    atomic_fetch_sub_explicit(&p->n, 1, memory_order_relaxed);
    stream_finish(r);
    request_unref(r);
    return true;
}
