/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a request: headers, body, end, completed.
 */
#include "base/clock.h"
#include "http/internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

/* ---- The connection ---- */

static struct http_request *request_new(struct http_server *s, struct MHD_Connection *c)
{
    struct http_request *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->server = s;
    r->connection = c;
    r->fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    r->refs = 1;
    r->body.limit = HTTP_BODY_MAX;
    r->pause_until_us = INT64_MAX;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->room, NULL);
    return r;
}

void request_unref(struct http_request *r)
{
    if (atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    stream_reset(r);
    buffer_free(&r->body);
    gunzip_free(r->gunzip);
    free(r->copy);
    if (r->response)
        MHD_destroy_response(r->response);
    pthread_cond_destroy(&r->room);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

void request_connection(void *cls, struct MHD_Connection *c, void **socket_context,
                        enum MHD_ConnectionNotificationCode toe)
{
    struct http_server *s = cls;
    if (toe == MHD_CONNECTION_NOTIFY_STARTED) {
        struct http_request *r = request_new(s, c);
        uint64_t others =
            atomic_fetch_add_explicit(&s->connections, 1, memory_order_relaxed);
        if (r) {
            r->over_limit = others >= s->options.max_connections;
            pause_connection(r, true);
        }
        *socket_context = r;
        return;
    }
    atomic_fetch_sub_explicit(&s->connections, 1, memory_order_relaxed);
    if (*socket_context) {
        pause_connection(*socket_context, false); /* MHD closes the socket after this */
        request_unref(*socket_context);
    }
    *socket_context = NULL;
}

/* ---- Headers ---- */

static void request_framing(struct http_request *r)
{
    const char *length = http_header(r, "Content-Length");
    r->chunked = http_header(r, "Transfer-Encoding") != NULL;
    r->length =
        length && !r->chunked ? strtoull(length, NULL, 10) : 0; /* MHD has checked it */
    r->in_body = r->chunked || r->length > 0;
    r->expects_continue = r->in_body && http_header(r, "Expect") != NULL;
}

static void request_encoding(struct http_request *r)
{
    const char *encoding = http_header(r, "Content-Encoding");
    if (!encoding || strcasecmp(encoding, "identity") == 0)
        return;
    if (strcasecmp(encoding, "gzip") != 0 && strcasecmp(encoding, "x-gzip") != 0) {
        http_set_header(r, "Accept-Encoding", "gzip, identity");
        http_problem(r, 415, "unsupported_encoding",
                     "Content-Encoding %.100s is not understood; gzip is", encoding);
    } else if (gunzip_new(&r->gunzip)) {
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

/* A body whose end a proxy in front may see elsewhere (RFC 9112, 6.1), or that is coded in a way that
 * we do not undo. */
static bool request_frame_is_clear(struct http_request *r)
{
    const char *coding = http_header(r, "Transfer-Encoding");
    if (!coding ||
        (strcasecmp(coding, "chunked") == 0 && !http_header(r, "Content-Length")))
        return true;
    r->close_after = true;
    http_problem(r, 400, "malformed",
                 "Transfer-Encoding is to be chunked, and without Content-Length");
    return false;
}

/* A page of another site, open in the browser of somebody who runs weir, can send requests here, too; but
 * the browser says where they come from (Fetch Standard, 3.2). */
static bool request_origin_is_ours(struct http_request *r)
{
    const char *origin = http_header(r, "Origin"), *host = http_header(r, "Host");
    const char *authority = origin ? strstr(origin, "://") : NULL;
    if (!origin || (authority && host && strcasecmp(authority + 3, host) == 0))
        return true;
    http_problem(r, 403, "foreign_origin",
                 "pages of another origin may not send requests here");
    return false;
}

/* Everything that can be said from the headers alone. */
static void request_admit(struct http_request *r, const char *method)
{
    struct http_server *s = r->server;
    if (r->over_limit || atomic_load_explicit(&s->draining, memory_order_relaxed)) {
        if (r->over_limit)
            metric_add(&s->refused, 1);
        r->close_after = true;
        http_set_header(r, "Retry-After", "1");
        http_problem(r, 503, r->over_limit ? "too_many_connections" : "stopping",
                     r->over_limit ? "too many connections are open; try again"
                                   : "the server is stopping");
        return;
    }
    if (!request_frame_is_clear(r) || !request_origin_is_ours(r) ||
        !route_find(r, r->path, method))
        return;
    const struct http_route *route = &r->entry->route;
    r->method = strcmp(method, "HEAD") == 0 ? "HEAD" : route->method;
    request_encoding(r);
    if (r->replied)
        return;
    if (route->kind != HTTP_UPLOAD) {
        if (r->length > HTTP_BODY_MAX)
            request_too_large(r);
        return;
    }
    if (route->upload->begin(r, route->ctx, &r->upload_state))
        return;
    r->upload_open = true;
    if (r->chunked)
        request_open_ended(r, true);
}

static enum MHD_Result request_begin(struct http_request *r, const char *path,
                                     const char *method)
{
    r->active = true;
    r->begun_us = clock_monotonic_us();
    atomic_fetch_add_explicit(&r->server->active, 1, memory_order_relaxed);
    r->path = path;
    r->method = method;
    request_framing(r);
    request_admit(r, method);
    /* The client asks before it sends: the answer spares it the body. */
    if (r->replied && r->expects_continue)
        return reply_queue(r);
    return MHD_YES;
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

/* The reply is made; what still comes is thrown away. */
static enum MHD_Result request_discard(struct http_request *r, size_t *size)
{
    request_close_upload(r);
    r->received += *size;
    *size = 0;
    return r->received > r->length + HTTP_LINGER_MAX ? MHD_NO : MHD_YES;
}

static enum MHD_Result request_body(struct http_request *r, const char *data,
                                    size_t *size)
{
    int rc;
    if (r->replied)
        return request_discard(r, size);
    do {
        if (atomic_load(&r->server->stopping))
            return MHD_NO;
        rc = r->gunzip ? gunzip_take(r->gunzip, r, data, *size)
                       : request_put(r, data, *size);
    } while (rc == -EAGAIN && !pause_enter(r));
    if (rc == -EAGAIN)
        return MHD_YES;
    if (rc < 0)
        return MHD_NO;
    metric_add(&r->server->bytes_in, *size);
    if (r->replied)
        return request_discard(r, size);
    r->received += *size;
    *size = 0;
    return MHD_YES;
}

/* ---- End ---- */

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
    if (r->gunzip && !gunzip_complete(r->gunzip) && r->received > 0) {
        http_problem(r, 400, "malformed", "the gzip body ends too early");
        return true;
    }
    if (route->kind == HTTP_UPLOAD)
        return request_end_upload(r);
    if (route->kind == HTTP_PLAIN) {
        route->handle(r, route->ctx);
        return true;
    }
    if (r->submitted)
        return true;
    r->submitted = true;
    return !queries_submit(r);
}

static enum MHD_Result request_end(struct http_request *r)
{
    if (atomic_load(&r->server->stopping) || r->raw)
        return MHD_NO;
    r->in_body = false;
    if (!r->replied && !request_answer(r))
        return MHD_YES;
    if (!r->replied && !atomic_load(&r->server->stopping))
        http_problem(r, 500, "failed", "the request was not answered");
    return reply_queue(r);
}

enum MHD_Result request_handle(void *cls, struct MHD_Connection *c, const char *url,
                               const char *method, const char *version,
                               const char *data, size_t *size, void **req_cls)
{
    (void)cls;
    (void)version;
    struct http_request *r = *req_cls;
    if (r)
        return *size > 0 ? request_body(r, data, size) : request_end(r);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    if (!info || !info->socket_context)
        return MHD_NO; /* no memory when it was accepted */
    r = *req_cls = info->socket_context;
    return request_begin(r, url, method);
}

/* ---- Completed ---- */

/* Ready for the next request on the connection. */
static void request_reset(struct http_request *r)
{
    stream_reset(r);
    if (r->body.room > HTTP_GUNZIP_ROOM)
        buffer_free(&r->body);
    buffer_clear(&r->body);
    gunzip_free(r->gunzip);
    r->gunzip = NULL;
    free(r->copy);
    r->copy = NULL;
    r->n_copy = 0;
    if (r->response)
        MHD_destroy_response(r->response);
    r->response = NULL;
    r->entry = NULL;
    r->upload_state = NULL;
    r->received = 0;
    r->submitted = r->replied = r->raw = false;
    r->headers_size = 0;
}

void request_completed(void *cls, struct MHD_Connection *c, void **req_cls,
                       enum MHD_RequestTerminationCode toe)
{
    struct http_server *s = cls;
    struct http_request *r = *req_cls;
    (void)c;
    if (!r || !r->active)
        return;
    *req_cls = NULL;
    r->active = false;
    request_close_upload(r);
    metric_add(&s->seconds_ns, (uint64_t)(clock_monotonic_us() - r->begun_us) * 1000);
    pthread_mutex_lock(&r->lock);
    bool job = r->job;
    if (toe != MHD_REQUEST_TERMINATED_COMPLETED_OK || job)
        r->gone = true;
    pthread_cond_broadcast(&r->room);
    pthread_mutex_unlock(&r->lock);
    /* A query thread that still has it frees it with its reference: there is no next
     * request. */
    if (!job)
        request_reset(r);
    if (atomic_fetch_sub(&s->active, 1) == 1 && atomic_load(&s->draining)) {
        pthread_mutex_lock(&s->idle_lock);
        pthread_cond_signal(&s->idle);
        pthread_mutex_unlock(&s->idle_lock);
    }
}
