/* SPDX-License-Identifier: Apache-2.0
 *
 * Streamed replies: what a handler writes, on its way to the connection's thread.
 *
 *      http_begin -> http_write ... -> [ring, 256 KiB] [spool, a file] -> stream_read on the
 * connection's thread
 *
 * Nobody who writes ever waits for a client. What the ring has no room for goes to a file without a name, and so
 * does what follows, until the client has taken all of that file:
 *
 *      oldest  [ ring ][ spool: first ... end ]  newest
 *
 * The first 16 KiB are held back: a reply that is complete by then gets a Content-Length. From then on
 * the connection is suspended while there is nothing to send. Once it has 16 KiB, or is complete and not short, it is
 * packed before it goes into the ring, if the client wants that: by the thread that writes.
 */
#include "base/clock.h"
#include "http/internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- The spool ---- */

/* A file that has no name, where SQLite would make one, too. -errno. */
static int spool_open(void)
{
    const char *folder[] = {getenv("SQLITE_TMPDIR"), getenv("TMPDIR"), "/var/tmp",
                            "/tmp"};
    int err = -ENOENT;
    for (size_t i = 0; i < sizeof(folder) / sizeof(folder[0]); i++) {
        if (!folder[i])
            continue;
        int fd = open(folder[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (fd >= 0)
            return fd;
        err = -errno;
    }
    return err;
}

static void spool_free(struct http_server *s, struct http_spool *p)
{
    if (!p->open)
        return;
    close(p->fd);
    atomic_fetch_sub_explicit(&s->spools, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&s->spooled, p->end, memory_order_relaxed);
    *p = (struct http_spool){0};
}

/* The writer's: room for `size` bytes at the end. -ENOSPC: all replies together have what they may. */
static int spool_reserve(struct http_server *s, struct http_spool *p, size_t size)
{
    if (!p->open) {
        if (atomic_fetch_add_explicit(&s->spools, 1, memory_order_relaxed) >=
            s->options.max_connections / 16 + HTTP_SPOOLS_LEAST) {
            atomic_fetch_sub_explicit(&s->spools, 1, memory_order_relaxed);
            return -ENOSPC;
        }
        int fd = spool_open();
        if (fd < 0) {
            atomic_fetch_sub_explicit(&s->spools, 1, memory_order_relaxed);
            return fd;
        }
        *p = (struct http_spool){.open = true, .fd = fd};
    }
    uint64_t before =
        atomic_fetch_add_explicit(&s->spooled, size, memory_order_relaxed);
    if (before + size <= s->options.max_spooled)
        return 0;
    atomic_fetch_sub_explicit(&s->spooled, size, memory_order_relaxed);
    return -ENOSPC;
}

static int spool_write(const struct http_spool *p, const char *data, size_t size)
{
    for (uint64_t at = p->end; size > 0;) {
        ssize_t n = pwrite(p->fd, data, size, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        data += n;
        at += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

/* With the lock held, which is let go meanwhile: the disk may be slow. Only the writer moves `end`, and only
 * the reader `first`. */
static int stream_spool(struct http_request *r, const char *data, size_t size)
{
    struct http_spool *p = &r->stream.spool;
    if (p->first == p->end && p->end > 0) { /* taken: begin anew */
        atomic_fetch_sub_explicit(&r->server->spooled, p->end, memory_order_relaxed);
        p->first = p->end = 0;
    }
    int err = spool_reserve(r->server, p, size);
    if (err)
        return err;
    pthread_mutex_unlock(&r->lock);
    err = spool_write(p, data, size);
    pthread_mutex_lock(&r->lock);
    if (err)
        atomic_fetch_sub_explicit(&r->server->spooled, size, memory_order_relaxed);
    else
        p->end += size;
    return err;
}

/* With the lock held, which is let go meanwhile. */
static ssize_t spool_read(struct http_request *r, char *out, size_t max)
{
    struct http_spool *p = &r->stream.spool;
    size_t n = max < p->end - p->first ? max : (size_t)(p->end - p->first);
    pthread_mutex_unlock(&r->lock);
    ssize_t got;
    do
        got = pread(p->fd, out, n, (off_t)p->first);
    while (got < 0 && errno == EINTR);
    pthread_mutex_lock(&r->lock);
    if (got <= 0)
        return HTTP_READ_FAILED;
    p->first += (uint64_t)got;
    return got;
}

/* ---- The reader ---- */

static uint64_t stream_unsent(const struct http_stream *p)
{
    return p->size + (p->spool.end - p->spool.first);
}

static size_t ring_take(struct http_stream *p, char *out, size_t max)
{
    size_t n = max < p->size ? max : p->size;
    size_t run = HTTP_PIPE_ROOM - p->first;
    if (run > n)
        run = n;
    memcpy(out, p->ring + p->first, run);
    memcpy(out + run, p->ring, n - run);
    p->first = (p->first + n) % HTTP_PIPE_ROOM;
    p->size -= n;
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

/* With the lock held. No thread has the job any more once the server stops: the reader is to see that. */
static void stream_unpark(struct http_request *r)
{
    if (!queries_unpark(r))
        stream_wake_reader(r);
}

static ssize_t stream_read(struct http_request *r, char *out, size_t max)
{
    struct http_stream *p = &r->stream;
    pthread_mutex_lock(&r->lock);
    ssize_t n = 0;
    if (p->size > 0) {
        n = (ssize_t)ring_take(p, out, max);
    } else if (p->spool.first < p->spool.end) {
        n = spool_read(r, out, max);
    } else if (p->finished) {
        n = p->broken ? HTTP_READ_FAILED : HTTP_READ_END;
    } else if (atomic_load(&r->server->stopping)) {
        n = HTTP_READ_FAILED;
    } else {
        p->waiting = true;
        conn_suspend(r);
    }
    if (p->parked && !p->held && stream_unsent(p) <= HTTP_PIPE_LOW)
        stream_unpark(r);
    pthread_mutex_unlock(&r->lock);
    return n;
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
    bool packs = gzip_applies(r, content_type);
    pthread_mutex_lock(&r->lock);
    r->stream = (struct http_stream){.ring = ring, .packs = packs, .begun = true};
    r->status = status;
    pthread_mutex_unlock(&r->lock);
    return 0;
}

static bool stream_over(const struct http_request *r)
{
    return r->gone || r->stream.broken || atomic_load(&r->server->stopping);
}

/* With the lock held: puts what there is room for. */
static size_t ring_put(struct http_stream *p, const char *data, size_t size)
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

/* As it goes out. */
static int stream_put(void *request, const void *data, size_t size)
{
    struct http_request *r = request;
    struct http_stream *p = &r->stream;
    int rc = 0;
    if (size == 0)
        return 0; /* there may be no data then */
    pthread_mutex_lock(&r->lock);
    if (stream_over(r)) {
        rc = -EPIPE;
    } else {
        size_t n = p->spool.first == p->spool.end ? ring_put(p, data, size) : 0;
        if (n < size)
            rc = stream_spool(r, (const char *)data + n, size - n);
        if (rc)
            p->broken =
                true; /* bytes are missing: what came before must not look whole */
    }
    if (!rc && stream_unsent(p) >= HTTP_PIPE_FIRST) {
        if (p->started)
            stream_wake_reader(r);
        else
            stream_start(r);
    }
    pthread_mutex_unlock(&r->lock);
    return rc;
}

/* From the beginning of what was written, which is in the ring: nothing was sent yet. */
static int stream_begin_packing(struct http_request *r)
{
    struct http_stream *p = &r->stream;
    char held[HTTP_PIPE_FIRST];
    int err = gzip_new(&p->gzip);
    if (err)
        return err;
    http_set_header(r, "Content-Encoding", "gzip");
    size_t n = ring_take(p, held, sizeof(held));
    p->first = 0; /* a reply that is whole by the end is taken from there */
    return gzip_put(p->gzip, held, n, GZIP_ON, stream_put, r);
}

static int stream_pack(struct http_request *r, const void *data, size_t size,
                       enum gzip_flush flush)
{
    int err = r->stream.gzip ? 0 : stream_begin_packing(r);
    if (!err)
        err = gzip_put(r->stream.gzip, data, size, flush, stream_put, r);
    if (err)
        http_abort(r);
    return err;
}

int http_write(struct http_request *r, const void *data, size_t size)
{
    struct http_stream *p = &r->stream;
    if (strcmp(r->method, "HEAD") == 0)
        return -EPIPE; /* nobody wants the body */
    assert(p->begun || size == 0);
    if (p->packs && (p->gzip || p->size + size >= HTTP_PIPE_FIRST))
        return stream_pack(r, data, size, GZIP_ON);
    return stream_put(r, data, size);
}

int http_flush(struct http_request *r)
{
    int rc = r->stream.packs ? stream_pack(r, NULL, 0, GZIP_FLUSH) : 0;
    if (rc)
        return rc;
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

void http_more(struct http_request *r, bool (*more)(void *ctx),
               void (*close)(void *ctx), void *ctx)
{
    r->stream.more = more;
    r->stream.close = close;
    r->stream.ctx = ctx;
}

static bool stream_nothing_more(void *ctx)
{
    (void)ctx;
    return false;
}

void http_hold(struct http_request *r, void (*close)(void *ctx), void *ctx)
{
    http_more(r, stream_nothing_more, close, ctx);
    pthread_mutex_lock(&r->lock);
    r->stream.held = true;
    pthread_mutex_unlock(&r->lock);
}

void http_let_go(struct http_request *r)
{
    pthread_mutex_lock(&r->lock);
    r->stream.held = false;
    if (r->stream.parked)
        stream_unpark(r);
    pthread_mutex_unlock(&r->lock);
}

uint64_t http_unsent(struct http_request *r)
{
    pthread_mutex_lock(&r->lock);
    uint64_t unsent = stream_unsent(&r->stream);
    pthread_mutex_unlock(&r->lock);
    return unsent;
}

bool stream_park(struct http_request *r)
{
    pthread_mutex_lock(&r->lock);
    bool park = !stream_over(r) &&
                (r->stream.held || stream_unsent(&r->stream) > HTTP_PIPE_LOW);
    r->stream.parked = park;
    pthread_mutex_unlock(&r->lock);
    return park;
}

bool stream_is_over(struct http_request *r)
{
    pthread_mutex_lock(&r->lock);
    bool over = stream_over(r);
    pthread_mutex_unlock(&r->lock);
    return over;
}

bool http_is_under_way(struct http_request *r)
{
    pthread_mutex_lock(&r->lock);
    bool under_way = r->stream.started;
    pthread_mutex_unlock(&r->lock);
    return under_way;
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

/* The end of what is packed. A reply that is whole and short stays as it is. */
static void stream_end_packing(struct http_request *r)
{
    const struct http_stream *p = &r->stream;
    bool taken_back = r->replied && !p->started; /* by http_problem */
    if (p->packs && !taken_back && (p->gzip || p->size >= GZIP_LEAST) &&
        !stream_is_over(r))
        stream_pack(r, NULL, 0, GZIP_END);
}

bool stream_finish(struct http_request *r)
{
    stream_end_packing(r);
    pthread_mutex_lock(&r->lock);
    const bool left = r->left;
    r->job = false;
    if (stream_over(r))
        r->stream.broken = true; /* what was written is not all there should be */
    if (r->stream.started) {
        r->stream.finished = true;
        stream_wake_reader(r);
        pthread_mutex_unlock(&r->lock);
        return left;
    }
    if (r->stream.begun && !r->replied)
        stream_reply_whole(r);
    pthread_mutex_unlock(&r->lock);
    http_resume(r);
    return left;
}

void stream_reset(struct http_request *r)
{
    spool_free(r->server, &r->stream.spool);
    free(r->stream.ring);
    gzip_free(r->stream.gzip);
    r->stream = (struct http_stream){0};
}
