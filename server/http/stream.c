/* SPDX-License-Identifier: Apache-2.0
 *
 * Streamed replies of queries: a bounded pipe between the query thread and the
 * connection's.
 *
 *      http_begin -> http_write ... -> [ring, 256 KiB] -> stream_read on the
 * connection's thread
 *
 * The first 16 KiB are held back: a reply that is complete by then gets a
 * Content-Length. From then on the writer waits while the ring is full, the connection
 * is suspended while it is empty.
 */
#include "base/clock.h"
#include "http/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static ssize_t stream_read(struct http_request *r, char *out, size_t max)
{
    struct http_stream *p = &r->stream;
    pthread_mutex_lock(&r->lock);
    ssize_t n = 0;
    if (p->size > 0) {
        n = (ssize_t)(max < p->size ? max : p->size);
        size_t run = HTTP_PIPE_ROOM - p->first;
        if (run > (size_t)n)
            run = (size_t)n;
        memcpy(out, p->ring + p->first, run);
        memcpy(out + run, p->ring, (size_t)n - run);
        p->first = (p->first + (size_t)n) % HTTP_PIPE_ROOM;
        p->size -= (size_t)n;
        if (p->size <= HTTP_PIPE_ROOM / 2)
            pthread_cond_signal(&r->room);
    } else if (p->finished) {
        n = p->broken ? HTTP_READ_FAILED : HTTP_READ_END;
    } else {
        p->waiting = true;
        conn_suspend(r);
    }
    pthread_mutex_unlock(&r->lock);
    return n;
}

/* With the lock held. */
static void stream_wake_reader(struct http_request *r)
{
    if (!r->stream.waiting)
        return;
    r->stream.waiting = false;
    conn_resume(r);
}

/* With the lock held: the connection's thread begins to read. */
static void stream_start(struct http_request *r)
{
    reply_stream(r, r->status, stream_read);
    r->stream.started = true;
    http_resume(r);
}

int http_begin(struct http_request *r, unsigned status, const char *content_type)
{
    if (r->replied || r->stream.begun)
        return -EINVAL;
    char *ring = malloc(HTTP_PIPE_ROOM);
    if (!ring)
        return -ENOMEM;
    http_set_header(r, "Content-Type", content_type);
    pthread_mutex_lock(&r->lock);
    r->stream = (struct http_stream){.ring = ring, .begun = true};
    r->status = status;
    pthread_mutex_unlock(&r->lock);
    return 0;
}

static bool stream_over(const struct http_request *r)
{
    return r->gone || r->stream.broken || atomic_load(&r->server->stopping);
}

/* With the lock held: puts what there is room for. */
static size_t stream_put(struct http_stream *p, const char *data, size_t size)
{
    size_t n = HTTP_PIPE_ROOM - p->size;
    if (n > size)
        n = size;
    size_t at = (p->first + p->size) % HTTP_PIPE_ROOM;
    size_t run = HTTP_PIPE_ROOM - at;
    if (run > n)
        run = n;
    memcpy(p->ring + at, data, run);
    memcpy(p->ring, data + run, n - run);
    p->size += n;
    return n;
}

int http_write(struct http_request *r, const void *data, size_t size)
{
    struct http_stream *p = &r->stream;
    if (strcmp(r->method, "HEAD") == 0)
        return -EPIPE; /* nobody wants the body */
    assert(p->begun);
    const char *at = data;
    int rc = 0;
    pthread_mutex_lock(&r->lock);
    while (size > 0 && rc == 0) {
        while (!stream_over(r) && p->size == HTTP_PIPE_ROOM)
            pthread_cond_wait(&r->room, &r->lock);
        if (stream_over(r)) {
            rc = -EPIPE;
            break;
        }
        size_t n = stream_put(p, at, size);
        at += n;
        size -= n;
        if (p->size < HTTP_PIPE_FIRST)
            continue;
        if (p->started)
            stream_wake_reader(r);
        else
            stream_start(r);
    }
    pthread_mutex_unlock(&r->lock);
    return rc;
}

int http_flush(struct http_request *r)
{
    int rc = 0;
    pthread_mutex_lock(&r->lock);
    if (stream_over(r))
        rc = -EPIPE;
    else if (r->stream.started)
        stream_wake_reader(r);
    else
        stream_start(r);
    pthread_mutex_unlock(&r->lock);
    return rc;
}

void http_abort(struct http_request *r)
{
    pthread_mutex_lock(&r->lock);
    r->stream.broken = true;
    pthread_mutex_unlock(&r->lock);
}

bool http_gone(struct http_request *r)
{
    pthread_mutex_lock(&r->lock);
    bool over = stream_over(r);
    pthread_mutex_unlock(&r->lock);
    return over;
}

void stream_wake(struct http_request *r)
{
    pthread_mutex_lock(&r->lock);
    pthread_cond_broadcast(&r->room);
    pthread_mutex_unlock(&r->lock);
}

/* A short reply is complete before anything was sent. */
static void stream_reply_whole(struct http_request *r)
{
    struct http_stream *p = &r->stream;
    if (p->broken) {
        http_problem(r, 500, "failed", "the answer could not be completed");
        return;
    }
    buffer_put(&r->reply, p->ring, p->size);
    r->replied = true;
}

void stream_finish(struct http_request *r)
{
    pthread_mutex_lock(&r->lock);
    r->job = false;
    if (stream_over(r))
        r->stream.broken = true; /* what was written is not all there should be */
    if (r->stream.started) {
        r->stream.finished = true;
        stream_wake_reader(r);
        pthread_mutex_unlock(&r->lock);
        return;
    }
    if (r->stream.begun && !r->replied)
        stream_reply_whole(r);
    pthread_mutex_unlock(&r->lock);
    http_resume(r);
}

void stream_reset(struct http_request *r)
{
    free(r->stream.ring);
    r->stream = (struct http_stream){0};
}
