/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection, as libmicrohttpd calls for it, on its epoll thread: what comes goes to request.c, which says
 * what to do.
 *
 *      notified: open --> [handler: head --> body, a piece a call ... --> end --> completed] ... --> closed
 *
 * libmicrohttpd takes an answer before the body or behind it. One in the middle, with far to go, is sent past
 * it: nothing else of that request was sent.
 */
#include "base/clock.h"
#include "http/internal.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PIECE_ROOM (32u << 10) /* of a streamed answer */

/* ---- Lanes ----
 *
 * MHD_resume_connection takes a lock that the connection's thread holds while it suspends and resumes others. Where many
 * are resumed at once, as when a frame is on disk, that thread does it itself. */

static _Thread_local struct http_lane
    *here; /* NULL: no epoll thread, or not known yet */

static void lane_resume(struct http_lane *lane, struct http_request *r)
{
    MHD_resume_connection(r->connection);
    atomic_fetch_sub(&lane->suspended, 1);
}

static void lane_empty(struct http_lane *lane)
{
    struct http_request *next;
    for (struct http_request *r = atomic_exchange(&lane->first, NULL); r; r = next) {
        next = r->lane_next;
        lane_resume(lane, r);
    }
}

/* First of all in each call of libmicrohttpd's. The last lane is for threads that are none of its. */
static void lane_turn(struct http_request *r)
{
    struct http_server *s = r->server;
    unsigned last = s->options.epoll_threads;
    if (!here) {
        unsigned n = atomic_load_explicit(&s->n_lanes, memory_order_relaxed);
        if (n < last)
            n = atomic_fetch_add_explicit(&s->n_lanes, 1, memory_order_relaxed);
        here = &s->lane[n < last ? n : last];
    }
    r->lane = here;
    if (!atomic_load_explicit(&here->rings, memory_order_relaxed))
        return;
    atomic_store(&here->rings, false); /* before the list is emptied */
    lane_empty(here);
}

void lanes_end(struct http_server *s, int64_t deadline_us)
{
    for (unsigned i = 0; s->lane && i <= s->options.epoll_threads; i++)
        while (atomic_load(&s->lane[i].suspended) &&
               clock_monotonic_us() < deadline_us) {
            lane_empty(&s->lane[i]);
            clock_sleep_us(100);
        }
}

void conn_suspend(struct http_request *r)
{
    atomic_fetch_add(&r->lane->suspended, 1);
    MHD_suspend_connection(r->connection);
}

void conn_resume(struct http_request *r)
{
    struct http_lane *lane = r->lane;
    bool alone =
        lane == here || lane == &r->server->lane[r->server->options.epoll_threads];
    if (alone || !atomic_exchange(&lane->rings, true)) {
        lane_resume(lane, r); /* a call for it follows, and lane_turn */
        return;
    }
    r->lane_next = atomic_load_explicit(&lane->first, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&lane->first, &r->lane_next, r))
        ;
    if (!atomic_load(&lane->rings)) /* it may have been emptied just before */
        lane_empty(lane);
}

/* ---- The answer ---- */

static ssize_t connection_read(void *cls, uint64_t position, char *out, size_t max)
{
    struct http_request *r = cls;
    (void)position;
    lane_turn(r);
    ssize_t n = r->reply_read(r, out, max);
    return n == HTTP_READ_END      ? MHD_CONTENT_READER_END_OF_STREAM
           : n == HTTP_READ_FAILED ? MHD_CONTENT_READER_END_WITH_ERROR
                                   : n;
}

static struct MHD_Response *connection_response(struct http_request *r)
{
    if (r->reply_read)
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PIECE_ROOM,
                                                 connection_read, r, NULL);
    if (!r->reply.size)
        return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback(
        r->reply.size, r->reply.data, free);
    if (response)
        r->reply = (struct buffer){0};
    return response;
}

/* Header lines, "Name: value" and CR LF each, which this cuts into strings. */
static bool connection_headers(struct http_request *r, struct MHD_Response *response)
{
    char *at = r->headers.data, *end = at + r->headers.size;
    while (at < end) {
        char *colon = memchr(at, ':', (size_t)(end - at));
        char *line = memchr(colon, '\r', (size_t)(end - colon));
        *colon = *line = 0;
        if (MHD_add_response_header(response, at, colon + 2) == MHD_NO)
            return false;
        at = line + 2;
    }
    return true;
}

/* RFC 9110, 5.6.7; without the names of a locale. */
static void connection_date(struct buffer *b)
{
    static const char days[] = "SunMonTueWedThuFriSat",
                      months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = time(NULL);
    struct tm tm;
    if (!gmtime_r(&now, &tm))
        return;
    buffer_printf(b, "Date: %.3s, %02d %.3s %d %02d:%02d:%02d GMT\r\n",
                  days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon,
                  tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* What does not fit into the socket at once (tens of kilobytes) is cut: the connection is closed either
 * way. */
static void connection_answer_past(struct http_request *r)
{
    struct buffer b = {0};
    bool head = strcmp(r->method, "HEAD") == 0;
    r->close_after = r->past = true;
    reply_finish(r);
    buffer_printf(&b, "HTTP/1.1 %u %s\r\nConnection: close\r\n", r->status,
                  MHD_get_reason_phrase_for(r->status));
    connection_date(&b);
    if (!head)
        buffer_printf(&b, "Content-Length: %zu\r\n", r->reply.size);
    buffer_put(&b, r->headers.data, r->headers.size);
    buffer_puts(&b, "\r\n");
    if (!head)
        buffer_put(&b, r->reply.data, r->reply.size);
    if (!b.error && r->guard.session)
        tls_send_last(r->guard.session, b.data, b.size);
    else if (!b.error)
        (void)!send(r->fd, b.data, b.size, MSG_DONTWAIT | MSG_NOSIGNAL);
    buffer_free(&b);
    shutdown(r->fd, SHUT_WR);
    MHD_set_connection_option(r->connection, MHD_CONNECTION_OPTION_TIMEOUT,
                              (unsigned)(HTTP_LINGER_US / SECOND_US));
    reply_count(r);
}

static enum MHD_Result connection_answer(struct http_request *r)
{
    reply_finish(r);
    /* A length that GET would not have is worse than none; and behind a head without one libmicrohttpd (0.9.75)
     * sends an empty chunk. */
    if ((r->stream.begun || r->status >= 400) && strcmp(r->method, "HEAD") == 0) {
        connection_answer_past(r);
        return MHD_NO;
    }
    struct MHD_Response *response = connection_response(r);
    if (!response)
        return MHD_NO;
    enum MHD_Result ok = MHD_NO;
    if (connection_headers(r, response) &&
        (!r->close_after ||
         MHD_add_response_header(response, "Connection", "close") == MHD_YES))
        ok = MHD_queue_response(r->connection, r->status, response);
    MHD_destroy_response(response);
    if (ok == MHD_YES)
        reply_count(r);
    return ok;
}

/* ---- The request ---- */

static enum MHD_Result connection_begin(struct http_request *r)
{
    struct head_fault fault;
    if (!guard_next(&r->guard, &r->head_text, &r->head, &fault))
        return MHD_NO;
    if (fault.status) {
        request_refuse_head(r, &fault);
        connection_answer_past(r);
        return MHD_YES;
    }
    request_begin(r);
    /* A client that asks first is spared the body. */
    if (r->replied && r->in_body && r->head.expects_continue) {
        r->close_after = true;
        return connection_answer(r);
    }
    if (r->replied && request_has_far_to_go(r))
        connection_answer_past(r);
    return MHD_YES;
}

/* The body ends before its end. */
static enum MHD_Result connection_bad_body(struct http_request *r, size_t *size)
{
    *size = 0;
    if (r->guard.bad_body == GUARD_SLOW)
        request_refuse_body(r, 408, "request_timeout",
                            "the request did not come to its end");
    else
        request_refuse_body(r, 400, "malformed",
                            "the chunks of the body are malformed");
    if (!r->past)
        connection_answer_past(r);
    return MHD_YES;
}

static enum MHD_Result connection_body(struct http_request *r, const char *data,
                                       size_t *size)
{
    /* Chunks come one by one; the rest of a body with a length does not matter any more. */
    if (r->guard.bad_body && (!r->chunked || (*size == 1 && *data == '.')))
        return connection_bad_body(r, size);
    switch (request_body(r, data, *size)) {
    case BODY_PAUSED:
        return MHD_YES;
    case BODY_AGAIN: /* the same piece comes again, behind the others that can go on */
        conn_suspend(r);
        conn_resume(r);
        return MHD_YES;
    case BODY_FAILED:
        return MHD_NO;
    case BODY_TAKEN:
        break;
    }
    if (r->past && (r->lingered += *size) > HTTP_LINGER_MAX)
        return MHD_NO;
    *size = 0;
    if (r->replied && !r->past && request_has_far_to_go(r))
        connection_answer_past(r);
    return MHD_YES;
}

static enum MHD_Result connection_end(struct http_request *r)
{
    if (r->past)
        return MHD_NO;
    switch (request_end(r)) {
    case END_PAUSED:
        return MHD_YES;
    case END_FAILED:
        return MHD_NO;
    case END_REPLIED:
        break;
    }
    return connection_answer(r);
}

enum MHD_Result connection_handle(void *cls, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version,
                                  const char *data, size_t *size, void **req_cls)
{
    (void)cls;
    (void)url;
    (void)method;
    (void)version;
    struct http_request *r = *req_cls;
    if (r)
        lane_turn(r);
    if (r)
        return *size > 0 ? connection_body(r, data, size) : connection_end(r);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    r = *req_cls = info ? info->socket_context : NULL;
    if (!r)
        return MHD_NO;
    lane_turn(r);
    return connection_begin(r);
}

void connection_completed(void *cls, struct MHD_Connection *c, void **req_cls,
                          enum MHD_RequestTerminationCode toe)
{
    struct http_request *r = *req_cls;
    (void)cls;
    (void)c;
    *req_cls = NULL;
    if (!r)
        return;
    lane_turn(r);
    atomic_fetch_sub_explicit(&r->guard.under_way, 1, memory_order_relaxed);
    request_completed(r, toe == MHD_REQUEST_TERMINATED_COMPLETED_OK);
}

/* ---- The connection ---- */

/* Before its handshake. Without credentials of its own that fails. */
static void connection_secure(struct http_request *r)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    r->guard.session = info->tls_session;
    r->credentials = tls_begin(r->server->tls, r->guard.session);
}

void connection_notify(void *cls, struct MHD_Connection *c, void **socket_context,
                       enum MHD_ConnectionNotificationCode toe)
{
    struct http_server *s = cls;
    int fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    if (toe == MHD_CONNECTION_NOTIFY_STARTED) {
        struct guard *g = guard_of(fd);
        struct http_request *r =
            (struct http_request *)(void *)((char *)g -
                                            offsetof(struct http_request, guard));
        r->connection = c;
        r->opened = true;
        *socket_context = r;
        if (s->tls)
            connection_secure(r);
        pause_connection(r, true);
        return;
    }
    struct http_request *r = *socket_context;
    *socket_context = NULL;
    if (r) {
        request_end_kept(r);
        pause_connection(r, false); /* the socket is closed after this */
        guard_watch(fd, NULL);
        tls_end(r->credentials);
        r->credentials = NULL;
        request_unref(r);
    }
    atomic_fetch_sub_explicit(&s->connections, 1, memory_order_relaxed);
}

void connection_add(struct http_request *r, const struct sockaddr *address,
                    socklen_t size)
{
    struct http_server *s = r->server;
    memcpy(&r->peer, address, size < sizeof(r->peer) ? size : sizeof(r->peer));
    uint64_t others =
        atomic_fetch_add_explicit(&s->connections, 1, memory_order_relaxed);
    r->over_limit |= others >= s->options.max_connections;
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    bool added = false;
    if (guard_watch(r->fd, &r->guard) < 0)
        close(r->fd);
    else /* it closes the socket where it fails */
        added = MHD_add_connection(s->daemon, r->fd, address, size) == MHD_YES;
    if (!added && !r->opened) {
        guard_watch(r->fd, NULL);
        atomic_fetch_sub_explicit(&s->connections, 1, memory_order_relaxed);
        request_unref(r);
    }
    request_unref(r);
}
