/* SPDX-License-Identifier: Apache-2.0
 *
 * Replies: whole bodies, headers, problem+json. A reply that is made while much of the
 * request's body is still to come is sent past MHD, which answers only at the end of a
 * body.
 */
#include "http/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

void http_set_header(struct http_request *r, const char *name, const char *value)
{
    size_t name_size = strlen(name) + 1, value_size = strlen(value) + 1;
    if (r->headers_size + name_size + value_size > sizeof(r->headers))
        return;
    memcpy(r->headers + r->headers_size, name, name_size);
    memcpy(r->headers + r->headers_size + name_size, value, value_size);
    r->headers_size += name_size + value_size;
}

static const char *reply_next_header(const struct http_request *r, const char *at,
                                     const char **ret_name, const char **ret_value)
{
    if (at == r->headers + r->headers_size)
        return NULL;
    *ret_name = at;
    *ret_value = at + strlen(at) + 1;
    return *ret_value + strlen(*ret_value) + 1;
}

void reply_set(struct http_request *r, unsigned status, struct MHD_Response *response)
{
    const char *name, *value;
    for (const char *at = r->headers; (at = reply_next_header(r, at, &name, &value));)
        MHD_add_response_header(response, name, value);
    r->response = response;
    r->status = status;
    r->replied = true;
}

static void reply_count(struct http_request *r)
{
    struct http_server *s = r->server;
    metric_add(r->status < HTTP_STATUSES ? &s->status[r->status] : &s->other_status, 1);
}

/* MHD takes a response before the body or behind it. In the middle, with far to go: */
static bool reply_is_early(const struct http_request *r)
{
    if (!r->in_body || r->expects_continue)
        return false;
    return r->chunked || r->length - r->received > HTTP_DISCARD_MAX;
}

/* Nothing of this request has been given to MHD yet, so the socket is ours. What does
 * not fit into the socket's buffer at once (tens of kilobytes) is cut: the connection
 * is closed either way. */
static void reply_raw(struct http_request *r, unsigned status, const void *body,
                      size_t size)
{
    struct buffer b = {.limit = size + 4096};
    buffer_printf(&b, "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Length: %zu\r\n",
                  status, MHD_get_reason_phrase_for(status), size);
    const char *name, *value;
    for (const char *at = r->headers; (at = reply_next_header(r, at, &name, &value));)
        buffer_printf(&b, "%s: %s\r\n", name, value);
    buffer_puts(&b, "\r\n");
    buffer_put(&b, body, size);
    if (!b.error)
        (void)!send(r->fd, b.data, b.size, MSG_DONTWAIT | MSG_NOSIGNAL);
    buffer_free(&b);
    r->status = status;
    r->replied = r->raw = true;
    reply_count(r);
}

void http_reply(struct http_request *r, unsigned status, const char *content_type,
                const void *body, size_t size)
{
    if (r->replied)
        return;
    if (r->stream.begun)
        r->headers_size = 0; /* instead of what http_begin began */
    if (content_type)
        http_set_header(r, "Content-Type", content_type);
    if (reply_is_early(r)) {
        reply_raw(r, status, body, size);
        return;
    }
    union {
        const void *in;
        void *out;
    } copied = {.in = size ? body
                           : ""}; /* MHD copies it, in spite of the missing const */
    struct MHD_Response *response =
        MHD_create_response_from_buffer(size, copied.out, MHD_RESPMEM_MUST_COPY);
    if (response)
        reply_set(r, status, response);
}

void http_reply_buffer(struct http_request *r, unsigned status,
                       const char *content_type, struct buffer *body)
{
    if (body->error)
        http_problem(r, 500, "failed", "the answer could not be made: %s",
                     strerror(-body->error));
    else
        http_reply(r, status, content_type, body->data, body->size);
    buffer_free(body);
}

static void reply_put_fault(struct buffer *b, const struct http_fault *f)
{
    buffer_putc(b, '{');
    if (f->line)
        buffer_printf(b, "\"line\":%llu,", (unsigned long long)f->line);
    if (f->column)
        buffer_printf(b, "\"column\":%u,", f->column);
    if (f->reason) {
        buffer_puts(b, "\"reason\":");
        buffer_put_json_string(b, f->reason, strlen(f->reason));
        buffer_putc(b, ',');
    }
    buffer_puts(b, "\"message\":");
    buffer_put_json_string(b, f->message, strlen(f->message));
    buffer_putc(b, '}');
}

void http_put_faults(struct buffer *b, const struct http_fault *errors, size_t n)
{
    buffer_putc(b, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buffer_putc(b, ',');
        reply_put_fault(b, &errors[i]);
    }
    buffer_putc(b, ']');
}

void http_problem_errors(struct http_request *r, unsigned status, const char *code,
                         const char *detail, const struct http_fault *errors, size_t n)
{
    const char *title = MHD_get_reason_phrase_for(status);
    struct buffer b = {0};
    buffer_printf(
        &b, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,\"code\":\"%s\"",
        title, status, code);
    buffer_puts(&b, ",\"detail\":");
    buffer_put_json_string(&b, detail, strlen(detail));
    if (n) {
        buffer_puts(&b, ",\"errors\":");
        http_put_faults(&b, errors, n);
    }
    buffer_puts(&b, "}\n");
    if (b.error)
        http_reply(r, status, NULL, NULL, 0);
    else
        http_reply(r, status, "application/problem+json", b.data, b.size);
    buffer_free(&b);
}

void http_problem(struct http_request *r, unsigned status, const char *code,
                  const char *format, ...)
{
    char detail[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    http_problem_errors(r, status, code, detail, NULL, 0);
}

enum MHD_Result reply_queue(struct http_request *r)
{
    struct MHD_Response *response = r->response;
    if (!response) /* out of memory, or a handler that does not reply */
        return MHD_NO;
    r->response = NULL;
    if (r->close_after ||
        atomic_load_explicit(&r->server->draining, memory_order_relaxed))
        MHD_add_response_header(response, "Connection", "close");
    enum MHD_Result ok = MHD_queue_response(r->connection, r->status, response);
    MHD_destroy_response(response);
    if (ok == MHD_YES)
        reply_count(r);
    return ok;
}
