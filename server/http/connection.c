/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a connection, on its loop's thread.
 *
 *          +------------------------------ kept ------------------------------+
 *          v            body to come                          answered        |
 *      CONN_HEAD --+---------------> CONN_BODY --+--> CONN_END -----> CONN_SEND --> CONN_LINGER, closed
 *                  +-----------------------------+        ^ |             ^
 *                  |     answered, with much to come      +-+ suspended   |
 *                  +------------------------------------------------------+
 *
 * Input lies in a buffer of the loop's, which the connection has only while there is something in it.
 */
#include "base/clock.h"
#include "http/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define TURN_REQUESTS 32           /* answered in one turn */
#define TURN_OUTPUT   (256u << 10) /* bytes of a streamed answer in one turn */
#define PIECE_ROOM    (32u << 10)  /* of a streamed answer */
#define OUT_KEPT      (64u << 10)  /* room of an idle connection's output */
#define HEAD_KEPT     (4u << 10)   /* and of its head */
#define EMPTY_MAX     8            /* bytes of empty lines before a request */

/* What a step leads to: another step; the end of this turn, with more to do; waiting for input, for room
 * in the socket, for conn_resume; the end. */
enum step { STEP_ON, STEP_YIELD, STEP_INPUT, STEP_OUTPUT, STEP_WAIT, STEP_CLOSE };

static size_t input_size(const struct http_request *r)
{
    return r->in_end - r->in_first;
}

static void input_take(struct http_request *r, size_t size)
{
    r->in_first += size;
    if (r->in_first == r->in_end)
        r->in_first = r->in_end = 0;
}

/* ---- Head ---- */

static void connection_answered_at_once(struct http_request *r)
{
    r->state = CONN_SEND;
    reply_start(r);
}

static enum step connection_refuse(struct http_request *r, const struct head_fault *f)
{
    head_clear(&r->head);
    request_refuse_head(r, f);
    connection_answered_at_once(r);
    return STEP_ON;
}

/* A body with far to go is not awaited: its sender hears now that it is not wanted. */
static void connection_after_begin(struct http_request *r)
{
    if (r->replied && request_has_far_to_go(r)) {
        r->close_after = true;
        connection_answered_at_once(r);
        return;
    }
    r->state = r->in_body ? CONN_BODY : CONN_END;
    r->chunks = (struct chunks){0};
    if (r->in_body && r->head.expects_continue && input_size(r) == 0)
        buffer_puts(&r->out, "HTTP/1.1 100 Continue\r\n\r\n");
}

static enum step connection_no_head_yet(struct http_request *r)
{
    static const struct head_fault large = {431, "headers_too_large",
                                            "the head of the request is too long"},
                                   uri = {414, "uri_too_long",
                                          "the target of the request is too long"},
                                   cut = {400, "malformed",
                                          "the request ends within its head"};
    const char *at = r->in ? r->in + r->in_first : "";
    if (input_size(r) >= HTTP_HEAD_MAX)
        return connection_refuse(r, memchr(at, '\n', HTTP_HEAD_MAX) ? &large : &uri);
    if (!r->ended)
        return STEP_INPUT;
    return input_size(r) ? connection_refuse(r, &cut) : STEP_CLOSE;
}

static enum step connection_head(struct http_request *r)
{
    static const struct head_fault lines = {400, "malformed",
                                            "a line of the head does not end in CR LF"};
    struct head_fault fault;
    while (input_size(r) >= 2 && r->n_empty < EMPTY_MAX && r->scanned == 0 &&
           memcmp(r->in + r->in_first, "\r\n", 2) == 0) {
        input_take(r, 2); /* behind a body some clients send one (RFC 9112, 2.2) */
        r->n_empty += 2;
    }
    ssize_t size =
        input_size(r) ? head_end(r->in + r->in_first, input_size(r), &r->scanned) : 0;
    if (size < 0)
        return connection_refuse(r, &lines);
    if (size == 0)
        return connection_no_head_yet(r);
    r->scanned = r->n_empty = 0;
    buffer_clear(&r->head_text);
    buffer_put(&r->head_text, r->in + r->in_first, (size_t)size);
    input_take(r, (size_t)size);
    if (r->head_text.error)
        return STEP_CLOSE;
    if (!head_parse(&r->head, r->head_text.data, (size_t)size, &fault))
        return connection_refuse(r, &fault);
    request_begin(r);
    connection_after_begin(r);
    return STEP_ON;
}

/* ---- Body ---- */

/* How much of the body lies at the front of the input; -EINVAL: no chunks. */
static ssize_t connection_body_run(struct http_request *r)
{
    size_t size = input_size(r);
    uint64_t left = r->head.length - r->received;
    if (r->chunked) {
        ssize_t n = size ? chunks_skip(&r->chunks, r->in + r->in_first, size) : 0;
        if (n < 0)
            return n;
        input_take(r, (size_t)n);
        size -= (size_t)n;
        left = r->chunks.in == CHUNKS_DATA ? r->chunks.left : 0;
    }
    return (ssize_t)(left < size ? left : size);
}

static bool connection_body_is_complete(const struct http_request *r)
{
    return r->chunked ? r->chunks.in == CHUNKS_END : r->received == r->head.length;
}

static enum step connection_body(struct http_request *r)
{
    ssize_t size = connection_body_run(r);
    if (size < 0) {
        request_refuse_body(r, "the chunks of the body are malformed");
        connection_answered_at_once(r);
        return STEP_ON;
    }
    if (connection_body_is_complete(r)) {
        r->state = CONN_END;
        return STEP_ON;
    }
    if (size == 0)
        return r->ended ? STEP_CLOSE : STEP_INPUT;
    switch (request_body(r, r->in + r->in_first, (size_t)size)) {
    case BODY_PAUSED:
        return STEP_WAIT;
    case BODY_AGAIN:
        return STEP_YIELD;
    case BODY_FAILED:
        return STEP_CLOSE;
    case BODY_TAKEN:
        break;
    }
    input_take(r, (size_t)size);
    if (r->chunked)
        chunks_took(&r->chunks, (size_t)size);
    if (r->replied && request_has_far_to_go(r)) {
        r->close_after = true;
        connection_answered_at_once(r);
    }
    return STEP_ON;
}

static enum step connection_end(struct http_request *r)
{
    switch (request_end(r)) {
    case END_PAUSED:
        return STEP_WAIT;
    case END_FAILED:
        return STEP_CLOSE;
    case END_REPLIED:
        break;
    }
    connection_answered_at_once(r);
    return STEP_ON;
}

/* ---- Output ---- */

static bool connection_has_output(const struct http_request *r)
{
    return r->out_sent < r->out.size ||
           (r->state == CONN_SEND && r->reply_sent < r->reply.size);
}

/* Sends what is there. STEP_ON: all of it is with the kernel. */
static enum step connection_flush(struct http_request *r)
{
    while (connection_has_output(r)) {
        if (!r->writable)
            return STEP_OUTPUT;
        struct iovec v[2];
        size_t n_parts = 0, out = r->out.size - r->out_sent;
        if (out)
            v[n_parts++] = (struct iovec){r->out.data + r->out_sent, out};
        if (r->state == CONN_SEND && r->reply_sent < r->reply.size)
            v[n_parts++] = (struct iovec){r->reply.data + r->reply_sent,
                                          r->reply.size - r->reply_sent};
        struct msghdr m = {.msg_iov = v, .msg_iovlen = n_parts};
        ssize_t n = sendmsg(r->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return STEP_CLOSE;
        if (n < 0) {
            r->writable = false;
            continue;
        }
        out = (size_t)n < out ? (size_t)n : out;
        r->out_sent += out;
        r->reply_sent += (size_t)n - out;
        r->progress = true;
    }
    buffer_clear(&r->out);
    r->out_sent = 0;
    return STEP_ON;
}

/* The next piece of a streamed answer goes to the output. */
static enum step connection_next_piece(struct http_request *r)
{
    char piece[PIECE_ROOM];
    ssize_t n = r->reply_read(r, piece, sizeof(piece));
    bool framed = !r->head.http_1_0;
    if (n == HTTP_READ_FAILED)
        return STEP_CLOSE;
    if (n == 0)
        return STEP_WAIT;
    if (n == HTTP_READ_END) {
        r->reply_read = NULL;
        if (framed)
            buffer_puts(&r->out, "0\r\n\r\n");
        else
            r->close_after = true;
    } else {
        if (framed)
            buffer_printf(&r->out, "%zx\r\n", (size_t)n);
        buffer_put(&r->out, piece, (size_t)n);
        if (framed)
            buffer_puts(&r->out, "\r\n");
        r->turn_output += (size_t)n;
    }
    return r->out.error ? STEP_CLOSE : STEP_ON;
}

static enum step connection_answered(struct http_request *r)
{
    bool close = r->close_after;
    bool unread = input_size(r) || r->in_body;
    request_completed(r, true);
    if (r->out.room > OUT_KEPT)
        buffer_free(&r->out);
    if (r->head_text.room > HEAD_KEPT)
        buffer_free(&r->head_text);
    r->state = CONN_HEAD;
    if (!close)
        return STEP_ON;
    if (!unread && !r->readable)
        return STEP_CLOSE;
    /* Closed with input that nobody has read, the kernel would throw the answer away. */
    shutdown(r->fd, SHUT_WR);
    r->state = CONN_LINGER;
    return STEP_ON;
}

static enum step connection_send(struct http_request *r)
{
    if (r->turn_output >= TURN_OUTPUT)
        return STEP_YIELD;
    if (r->reply_read)
        return connection_next_piece(r);
    return connection_answered(r);
}

static enum step connection_linger(struct http_request *r)
{
    r->lingered += input_size(r);
    r->in_first = r->in_end = 0;
    return r->ended || r->lingered > HTTP_LINGER_MAX ? STEP_CLOSE : STEP_INPUT;
}

/* ---- Input ---- */

static void connection_put_input(struct http_request *r)
{
    if (r->in && input_size(r) == 0) {
        loop_put_input(r->loop, r->in);
        r->in = NULL;
    }
}

static enum step connection_receive(struct http_request *r)
{
    if (!r->in && !(r->in = loop_input(r->loop)))
        return STEP_CLOSE;
    if (r->in_first) {
        memmove(r->in, r->in + r->in_first, input_size(r));
        r->in_end -= r->in_first;
        r->in_first = 0;
    }
    size_t room = HTTP_INPUT_ROOM - r->in_end;
    ssize_t n = recv(r->fd, r->in + r->in_end, room, MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return STEP_CLOSE;
    if (n < 0) {
        r->readable = errno == EINTR;
        return STEP_ON;
    }
    if (n == 0)
        r->ended = true;
    /* Less than there was room for is all there is, unless the end comes behind it. */
    if (n == 0 || ((size_t)n < room && !r->half_closed))
        r->readable = false;
    r->progress |= n > 0 && (r->state != CONN_HEAD || r->in_end == 0);
    r->in_end += (size_t)n;
    return STEP_ON;
}

/* ---- Turns ---- */

static enum step connection_step(struct http_request *r)
{
    enum step step = connection_flush(r);
    if (step != STEP_ON)
        return step;
    switch (r->state) {
    case CONN_HEAD:
        return connection_head(r);
    case CONN_BODY:
        return connection_body(r);
    case CONN_END:
        return connection_end(r);
    case CONN_SEND:
        return connection_send(r);
    case CONN_LINGER:
        return connection_linger(r);
    }
    return STEP_CLOSE;
}

/* How long it may wait. A head's time is that of its first byte, not of the last. */
static void connection_limit(struct http_request *r)
{
    enum loop_wait wait = LOOP_IDLE;
    if (r->suspended)
        wait = r->submitted && r->half_closed && !r->probed ? LOOP_HALF_CLOSED
                                                            : LOOP_NO_LIMIT;
    else if (r->state == CONN_LINGER || r->over_limit) /* which others wait for */
        wait = LOOP_LINGER;
    else if (r->state == CONN_BODY && r->open_ended)
        wait = LOOP_NO_LIMIT;
    if (wait != r->wait || r->progress)
        loop_time(r, wait);
    r->progress = false;
}

/* At most one read, and what comes of it. */
void connection_turn(struct http_request *r)
{
    bool has_read = false;
    unsigned heads = 0;
    enum step step = STEP_ON;
    r->turn_output = 0;
    if (!r->suspended && r->dead)
        step = STEP_CLOSE;
    while (!r->suspended && step == STEP_ON) {
        heads += r->state == CONN_HEAD;
        step = heads > TURN_REQUESTS ? STEP_YIELD : connection_step(r);
        if (step != STEP_INPUT || !r->readable)
            continue;
        step = has_read ? STEP_YIELD : connection_receive(r);
        has_read = true;
    }
    if (step == STEP_CLOSE) {
        connection_close(r);
        return;
    }
    if (step == STEP_YIELD && !r->suspended)
        loop_ready(r);
    connection_put_input(r);
    connection_limit(r);
}

void connection_died(struct http_request *r)
{
    r->dead = true;
    request_gone(r);
}

/* A client that has said all it will may still listen, or be gone: TCP does not tell. What every client
 * reads over, an interim answer, makes it tell. */
static void connection_probe(struct http_request *r)
{
    static const char probe[] = "HTTP/1.1 100 Continue\r\n\r\n";
    r->probed = true;
    if (r->head.http_1_0)
        request_gone(r);
    else if (r->state == CONN_END)
        (void)!send(r->fd, probe, sizeof(probe) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    loop_time(r, LOOP_NO_LIMIT);
}

void connection_expired(struct http_request *r, enum loop_wait wait)
{
    static const struct head_fault slow = {408, "request_timeout",
                                           "the request did not come to its end"};
    if (wait == LOOP_HALF_CLOSED) {
        connection_probe(r);
        return;
    }
    bool head = r->state == CONN_HEAD && input_size(r);
    if (head)
        connection_refuse(r, &slow);
    else if (r->state == CONN_BODY && !r->replied)
        request_refuse_slow(r, &slow);
    if (head || r->state == CONN_BODY) {
        if (r->state == CONN_BODY)
            connection_answered_at_once(r);
        connection_flush(r);
    }
    connection_close(r);
}

void connection_opened(struct http_request *r)
{
    struct http_server *s = r->server;
    uint64_t others =
        atomic_fetch_add_explicit(&s->connections, 1, memory_order_relaxed);
    r->over_limit |= others >= s->options.max_connections;
    pause_connection(r, true);
}

void connection_close(struct http_request *r)
{
    request_completed(r, false);
    request_end_kept(r);
    pause_connection(r, false);
    loop_forget(r);
    close(r->fd);
    r->fd = -1;
    if (r->in)
        loop_put_input(r->loop, r->in);
    r->in = NULL;
    atomic_fetch_sub_explicit(&r->server->connections, 1, memory_order_relaxed);
    request_unref(r);
}
