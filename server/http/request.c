/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a request: head, body, end, completed; on its connection's thread.
 */
#include "base/clock.h"
#include "base/utf8.h"
#include "http/internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

struct http_request *request_new(struct http_server *s, int fd)
{
    struct http_request *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->server = s;
    r->fd = fd;
    r->refs = 1;
    guard_init(&r->guard, fd);
    r->body.limit = HTTP_BODY_MAX;
    r->headers.limit = HTTP_HEADERS_MAX;
    r->pause_until_us = INT64_MAX;
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

void request_unref(struct http_request *r)
{
    if (atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    stream_reset(r);
    permit_leave(r);
    decompress_free(r->decompress);
    buffer_free(&r->body);
    buffer_free(&r->head_text);
    head_free(&r->head);
    buffer_free(&r->list);
    buffer_free(&r->headers);
    buffer_free(&r->reply);
    guard_free(&r->guard);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* ---- What others keep with a connection ---- */

int http_keep(struct http_request *r, const void *owner, void *thing,
              void (*end)(void *thing))
{
    if (r->n_kept == HTTP_KEPT_MAX)
        return -ENOSPC;
    r->kept[r->n_kept].owner = owner;
    r->kept[r->n_kept].thing = thing;
    r->kept[r->n_kept++].end = end;
    return 0;
}

void *http_kept(const struct http_request *r, const void *owner)
{
    for (unsigned i = 0; i < r->n_kept; i++)
        if (r->kept[i].owner == owner)
            return r->kept[i].thing;
    return NULL;
}

bool http_is_last(const struct http_request *r)
{
    return r->close_after || guard_is_last(&r->guard);
}

void request_end_kept(struct http_request *r)
{
    for (unsigned i = 0; i < r->n_kept; i++)
        r->kept[i].end(r->kept[i].thing);
    r->n_kept = 0;
}

/* ---- Headers ---- */

static void request_encoding(struct http_request *r)
{
    const char *encoding = http_header_list(r, "Content-Encoding");
    const char *own = r->entry->route.encoding;
    if (!encoding || strcasecmp(encoding, "identity") == 0 ||
        (own && strcasecmp(encoding, own) == 0))
        return;
    int err = decompress_new(encoding, &r->decompress);
    if (err == -ENOTSUP) {
        http_set_header(r, "Accept-Encoding", DECOMPRESS_ENCODINGS ", identity");
        http_problem(r, 415, "unsupported_encoding",
                     "Content-Encoding %.100s is not understood; there "
                     "are " DECOMPRESS_ENCODINGS,
                     encoding);
    } else if (err) {
        http_problem(r, 503, "out_of_memory", "no memory to decompress the body");
    }
}

static void request_too_large(struct http_request *r)
{
    http_problem(r, 413, "too_large", "the body of such a request is at most %u bytes",
                 HTTP_BODY_MAX);
}

/* A feed may be silent for hours; whether its client still lives is asked by TCP. */
static void request_open_ended(struct http_request *r, bool on)
{
    unsigned timeout_s = on ? 0 : r->server->idle_timeout_s;
    MHD_set_connection_option(r->connection, MHD_CONNECTION_OPTION_TIMEOUT, timeout_s);
    if (on) {
        int yes = 1, idle_s = 60, interval_s = 10, probes = 6;
        setsockopt(r->fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
        setsockopt(r->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
        setsockopt(r->fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
        setsockopt(r->fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    }
    pause_open_ended(r, on);
}

/* On a connection over the limit only what tells whether the server lives is answered. False: replied. */
static bool request_has_room(struct http_request *r)
{
    struct http_server *s = r->server;
    if (!r->over_limit)
        return true;
    r->close_after = true;
    if (r->entry->route.probe)
        return true;
    metric_add(&s->refused, 1);
    http_set_header(r, "Retry-After", "1");
    http_problem(r, 503, "too_many_connections",
                 "too many connections are open; try again");
    return false;
}

/* No route knows as many but those by key. */
#define ARGUMENTS_KNOWN_MAX 64

/* Which of two would be meant? Behind so many there is one that nobody knows, and the handler says so. */
static const char *request_argument_again(const struct http_request *r)
{
    const char *name;
    size_t size;
    for (size_t i = 0; i < ARGUMENTS_KNOWN_MAX && http_argument(r, i, &name, &size);
         i++)
        if (http_argument_again(r, i))
            return name;
    return NULL;
}

static bool request_is_utf8(const struct http_request *r)
{
    const char *name, *value;
    size_t size;
    for (size_t i = 0; (value = http_argument(r, i, &name, &size)); i++)
        for (size_t at = 0, n; at < size; at += n)
            if ((n = utf8_length(value + at, size - at)) == 0)
                return false;
    return true;
}

/* False: replied. */
static bool request_is_fit(struct http_request *r)
{
    const struct http_route *route = &r->entry->route;
    if (r->head.zeros && !route->by_key) {
        http_problem(r, 400, "bad_parameter", "a parameter holds a zero character");
        return false;
    }
    if (!request_is_utf8(r)) {
        http_problem(r, 400, "bad_parameter", "a parameter is not UTF-8");
        return false;
    }
    const char *again = route->by_key ? NULL : request_argument_again(r);
    if (again) {
        http_problem(r, 400, "bad_parameter", "%.100s: it is there twice", again);
        return false;
    }
    if (!r->head.has_length && !r->chunked && !route->bodyless &&
        strcmp(route->method, "POST") == 0) {
        r->close_after = true; /* what follows may be a body */
        http_problem(r, 411, "length_required",
                     "a body comes with a Content-Length, or chunked");
        return false;
    }
    return true;
}

/* Everything that can be said from the headers alone. */
static void request_admit(struct http_request *r)
{
    struct http_server *s = r->server;
    if (atomic_load_explicit(&s->draining, memory_order_relaxed)) {
        http_set_header(r, "Retry-After", "1");
        http_problem(r, 503, "stopping", "the server is stopping");
        return;
    }
    if (s->options.origins && *s->options.origins && origin_preflight(r))
        return;
    if (strcmp(r->path, "*") == 0) { /* OPTIONS: of the server (RFC 9110, 9.3.7) */
        http_set_header(r, "Allow", "GET, HEAD, POST, DELETE, OPTIONS");
        http_reply(r, 204, NULL, NULL, 0);
        return;
    }
    if (!route_find(r) || !request_has_room(r) || !request_is_fit(r) ||
        !origin_is_ours(r) || (s->options.access && !permit_enter(r)))
        return;
    const struct http_route *route = &r->entry->route;
    r->method = strcmp(r->method, "HEAD") == 0 ? "HEAD" : route->method;
    request_encoding(r);
    if (r->replied)
        return;
    if (route->kind != HTTP_UPLOAD) {
        if (r->head.length > HTTP_BODY_MAX)
            request_too_large(r);
        return;
    }
    if (route->upload->begin(r, route->ctx, &r->upload_state))
        return;
    r->upload_open = true;
    if (r->chunked)
        request_open_ended(r, true);
}

static void request_open(struct http_request *r)
{
    r->active = true;
    r->begun_us = clock_monotonic_us();
    atomic_fetch_add_explicit(&r->server->active, 1, memory_order_relaxed);
    r->path = r->head.path ? r->head.path : "";
    r->method = r->head.method ? r->head.method : "GET";
    r->chunked = r->head.chunked;
    r->close_after = !r->head.keep_alive;
}

void request_begin(struct http_request *r)
{
    request_open(r);
    r->in_body = r->chunked || r->head.length > 0;
    request_admit(r);
}

void request_refuse_head(struct http_request *r, const struct head_fault *fault)
{
    request_open(r);
    r->close_after = r->in_body = true; /* what follows is not looked at */
    http_problem(r, fault->status, fault->code, "%s", fault->text);
}

bool request_has_far_to_go(const struct http_request *r)
{
    if (!r->in_body)
        return false;
    return r->chunked || (r->head.expects_continue && r->received == 0) ||
           r->head.length - r->received > HTTP_DISCARD_MAX;
}

/* ---- Body ---- */

int request_put(struct http_request *r, const char *data, size_t size)
{
    const struct http_route *route = &r->entry->route;
    if (route->kind == HTTP_UPLOAD)
        return route->upload->piece(r, r->upload_state, data, size);
    buffer_put(&r->body, data, size);
    if (!r->body.error)
        return 0;
    request_too_large(r);
    return 1;
}

static void request_close_upload(struct http_request *r)
{
    if (!r->upload_open)
        return;
    r->upload_open = false;
    if (r->chunked)
        request_open_ended(r, false);
    r->entry->route.upload->close(r->upload_state, r->replied);
}

void request_refuse_body(struct http_request *r, unsigned status, const char *code,
                         const char *text)
{
    r->close_after = true;
    if (!r->replied)
        http_problem(r, status, code, "%s", text);
    request_close_upload(r);
}

/* The reply is made; what still comes is thrown away. */
static enum request_body request_discard(struct http_request *r, size_t size)
{
    request_close_upload(r);
    r->received += size;
    return BODY_TAKEN;
}

enum request_body request_body(struct http_request *r, const char *data, size_t size)
{
    int rc;
    if (r->replied)
        return request_discard(r, size);
    do {
        if (atomic_load(&r->server->stopping))
            return BODY_FAILED;
        rc = r->decompress ? decompress_take(r->decompress, r, data, size)
                           : request_put(r, data, size);
    } while (rc == -EAGAIN && !pause_enter(r));
    if (rc == -EAGAIN)
        return BODY_PAUSED;
    if (rc == DECOMPRESS_AGAIN)
        return BODY_AGAIN;
    if (rc < 0)
        return BODY_FAILED;
    metric_add(&r->server->bytes_in, size);
    if (r->replied)
        return request_discard(r, size);
    r->received += size;
    return BODY_TAKEN;
}

/* ---- End ---- */

bool http_defer(struct http_request *r)
{
    if (r->submitted)
        return false;
    r->deferred = true;
    return true;
}

/* False: paused. */
static bool request_end_upload(struct http_request *r)
{
    int rc;
    do {
        if (atomic_load(&r->server->stopping))
            return true;
        rc = r->entry->route.upload->end(r, r->upload_state);
    } while (rc == -EAGAIN && !pause_enter(r));
    if (rc == -EAGAIN)
        return false;
    request_close_upload(r);
    return true;
}

/* False: paused. */
static bool request_answer(struct http_request *r)
{
    const struct http_route *route = &r->entry->route;
    if (r->decompress && !decompress_complete(r->decompress) && r->received > 0) {
        http_problem(r, 400, "malformed", "the %s body ends too early",
                     decompress_encoding(r->decompress));
        return true;
    }
    if (route->kind == HTTP_UPLOAD)
        return request_end_upload(r);
    if (route->kind == HTTP_PLAIN && !r->deferred) {
        route->handle(r, route->ctx);
        if (!r->deferred)
            return true;
    }
    if (r->submitted)
        return true;
    r->submitted = true;
    return !queries_submit(r);
}

enum request_end request_end(struct http_request *r)
{
    if (atomic_load(&r->server->stopping))
        return END_FAILED;
    r->in_body = false;
    if (!r->replied && !request_answer(r))
        return END_PAUSED;
    if (atomic_load(&r->server->stopping))
        return END_FAILED;
    if (!r->replied)
        http_problem(r, 500, "failed", "the request was not answered");
    return END_REPLIED;
}

/* ---- Completed ---- */

/* Ready for the next request on the connection. */
static void request_reset(struct http_request *r)
{
    stream_reset(r);
    permit_leave(r);
    if (r->body.room > HTTP_DECOMPRESS_ROOM)
        buffer_free(&r->body);
    buffer_clear(&r->body);
    decompress_free(r->decompress);
    r->decompress = NULL;
    head_clear(&r->head);
    buffer_free(&r->reply);
    buffer_clear(&r->headers);
    r->reply_read = NULL;
    r->entry = NULL;
    r->cross = NULL;
    r->origin_told = false;
    r->upload_state = NULL;
    r->received = 0;
    r->submitted = r->deferred = r->replied = r->packs = r->in_body = r->probed =
        r->past = false;
    r->lingered = 0;
}

void request_completed(struct http_request *r, bool ok)
{
    struct http_server *s = r->server;
    if (!r->active)
        return;
    r->active = false;
    request_close_upload(r);
    int64_t took_us = clock_monotonic_us() - r->begun_us;
    metric_add(&s->seconds_ns, (uint64_t)took_us * 1000);
    pthread_mutex_lock(&r->lock);
    bool job = r->job, parked = r->stream.parked;
    if (!r->chunked && !r->stream.held)
        histogram_add(&s->duration, took_us);
    if (!ok || job)
        r->gone = true;
    r->left = job;
    r->stream.parked = false;
    pthread_mutex_unlock(&r->lock);
    /* A query thread that still has it logs it, and frees it with its reference: there is no next
     * request. */
    if (!job && s->options.access)
        permit_log(r, !ok && !r->past);
    if (!job)
        request_reset(r);
    if (parked)
        queries_drop(r);
    if (atomic_fetch_sub(&s->active, 1) == 1 && atomic_load(&s->draining)) {
        pthread_mutex_lock(&s->idle_lock);
        pthread_cond_signal(&s->idle);
        pthread_mutex_unlock(&s->idle_lock);
    }
}
