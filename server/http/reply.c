/* SPDX-License-Identifier: Apache-2.0
 *
 * Replies: whole bodies, headers, problem+json.
 */
#include "http/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void http_set_header(struct http_request *r, const char *name, const char *value)
{
    buffer_puts(&r->headers, name);
    buffer_puts(&r->headers, ": ");
    size_t at = r->headers.size;
    buffer_puts(&r->headers, value);
    for (; at < r->headers.size; at++) { /* a line of its own is nobody's to add */
        unsigned char c = (unsigned char)r->headers.data[at];
        if (c < ' ' || c == 127)
            r->headers.data[at] = ' ';
    }
    buffer_puts(&r->headers, "\r\n");
}

void reply_count(struct http_request *r)
{
    struct http_server *s = r->server;
    metric_add(r->status < HTTP_STATUSES ? &s->status[r->status] : &s->other_status, 1);
}

void reply_finish(struct http_request *r)
{
    if (r->headers.error || r->reply.error) {
        const char *what = r->headers.error ? "headers" : "body";
        buffer_clear(&r->headers);
        buffer_clear(&r->reply);
        r->replied = false;
        r->reply_read = NULL;
        http_problem(r, 500, "failed", "the %s of the answer could not be made", what);
    }
    if (r->packs && !r->reply_read)
        gzip_whole(r);
    r->packs = false;
    const char *const *origins = r->server->options.origins;
    if (origins && *origins && !r->origin_told)
        origin_answer(r);
    r->origin_told = true; /* once, also where this comes again */
    if (atomic_load_explicit(&r->server->draining, memory_order_relaxed) ||
        guard_is_last(&r->guard))
        r->close_after = true;
}

void reply_stream(struct http_request *r, unsigned status, http_reader *read)
{
    r->status = status;
    r->reply_read = read;
    r->replied = true;
}

void http_reply(struct http_request *r, unsigned status, const char *content_type,
                const void *body, size_t size)
{
    if (r->replied)
        return;
    if (r->stream.begun)
        buffer_clear(&r->headers); /* instead of what http_begin began */
    if (content_type)
        http_set_header(r, "Content-Type", content_type);
    r->packs = content_type && gzip_applies(r, content_type);
    buffer_put(&r->reply, body, size);
    r->status = status;
    r->replied = true;
}

void http_reply_buffer(struct http_request *r, unsigned status,
                       const char *content_type, struct buffer *body)
{
    if (body->error) {
        http_problem(r, 500, "failed", "the answer could not be made: %s",
                     strerror(-body->error));
    } else if (!r->replied) {
        http_reply(r, status, content_type, NULL, 0);
        r->reply = *body;
        *body = (struct buffer){0};
    }
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
    bool message = r->entry && r->entry->route.message;
    if (message) {
        buffer_puts(&b, ",\"message\":");
        buffer_put_json_string(&b, detail, strlen(detail));
        buffer_puts(&b, ",\"error\":");
        buffer_put_json_string(&b, detail, strlen(detail));
        if (n && errors[0].line)
            buffer_printf(&b, ",\"line\":%llu", (unsigned long long)errors[0].line);
    }
    if (n) {
        buffer_puts(&b, ",\"errors\":");
        http_put_faults(&b, errors, n);
    }
    buffer_puts(&b, "}\n");
    if (b.error)
        http_reply(r, status, NULL, NULL, 0);
    else
        http_reply(r, status, message ? "application/json" : "application/problem+json",
                   b.data, b.size);
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
