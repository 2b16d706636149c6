/* SPDX-License-Identifier: Apache-2.0
 *
 * What a POST of events is answered.
 */
#include "config/node.h"
#include "source/post.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_LISTED 20 /* streams named in a 404 */

/* ---- Headers ---- */

void answer_unknown_stream(struct http_request *r, const struct source_post *p,
                           const char *name)
{
    const char *known[ANSWER_LISTED];
    struct buffer list = {.limit = 4096};
    size_t n = 0, i = 0;
    for (; i < p->n && n < ANSWER_LISTED; i++) { /* those that the client may know of */
        if (!http_may(r, ACCESS_STREAM, p->stream[i].stream->name))
            continue;
        known[n] = p->stream[i].stream->name;
        buffer_printf(&list, "%s%s", n ? ", " : "", known[n]);
        n++;
    }
    struct error text;
    error_set(&text, 0, "there is no stream '%.100s'", name);
    node_suggest(&text, name, known, n);
    http_problem(r, 404, "unknown_stream", "%s; the streams are: %s%s", text.text,
                 buffer_text(&list), i < p->n ? ", ..." : "");
    buffer_free(&list);
}

void answer_closed(struct http_request *r, const struct source_stream *s)
{
    http_problem(r, 403, "stream_closed",
                 "stream \"%s\" is read from Kafka only, as another machine may go on "
                 "with it ('copy' of 'postgresql')",
                 s->name);
}

void answer_unknown_parameter(struct http_request *r, const char *name)
{
    http_problem(r, 400, "unknown_parameter",
                 "unknown parameter '%.100s'; none is taken here", name);
}

void answer_unsupported_type(struct http_request *r, const char *type)
{
    http_problem(r, 415, "unsupported_type",
                 "Content-Type %.100s is not understood; application/x-ndjson, "
                 "application/json and text/csv are, in UTF-8",
                 type);
}

void answer_bad_source(struct http_request *r)
{
    http_problem(r, 400, "bad_source",
                 "Weir-Source is to be 1 to %d of A-Z a-z 0-9 . _ : -",
                 TYPE_SOURCE_NAME_MAX);
}

void answer_no_source(struct http_request *r, const struct source_stream *s,
                      const char *name, int rc)
{
    if (rc == -ENOSPC)
        http_problem(r, 422, "too_many_sources",
                     "stream \"%s\" has too many named sources", s->name);
    else
        http_problem(r, 503, "out_of_memory", "source \"%s\": %s", name, strerror(-rc));
}

static void answer_storage_lost(struct http_request *r, const struct source_stream *s,
                                unsigned long long taken)
{
    http_set_header(r, "Retry-After", "5");
    http_problem(r, 503, "storage_lost",
                 "the files of the database or of the journal of stream \"%s\" are not "
                 "where they were; /ready tells which; %llu events were taken",
                 s->name, taken);
}

void answer_not_ready(struct http_request *r, const struct source_stream *s, int rc)
{
    if (rc == -ESTALE) {
        answer_storage_lost(r, s, 0);
        return;
    }
    if (rc == -EAGAIN) {
        http_set_header(r, "Retry-After", "1");
        http_problem(r, 503, "recovering",
                     "stream \"%s\" takes events once its journal has been read",
                     s->name);
        return;
    }
    http_problem(r, 503, "journal_failed",
                 "the journal of stream \"%s\" cannot be read; /ready tells why",
                 s->name);
}

void answer_no_key(struct http_request *r, int rc)
{
    if (rc == -EINVAL) {
        http_problem(r, 400, "bad_idempotency_key",
                     "Idempotency-Key is to be 1 to %d visible ASCII characters",
                     REQUEST_KEY_MAX);
        return;
    }
    http_set_header(r, "Retry-After", "1");
    if (rc == -EBUSY)
        http_problem(r, 409, "idempotency_in_progress",
                     "a request with this Idempotency-Key is under way");
    else
        answer_no_memory(r);
}

void answer_too_large(struct http_request *r, const struct source_stream *s)
{
    http_problem(
        r, 413, "too_large",
        "a body may have %llu bytes, decompressed; send less at a time, or chunked and "
        "without Idempotency-Key",
        (unsigned long long)s->max_body);
}

void answer_no_memory(struct http_request *r)
{
    http_problem(r, 503, "out_of_memory", "no memory for the request");
}

/* ---- Taken ---- */

static size_t answer_list(const struct post *p, struct http_fault *faults)
{
    const struct decode_stats *d = decoder_stats(p->feed.decoder);
    for (size_t i = 0; i < d->n_errors; i++) {
        const struct decode_error *e = &d->errors[i];
        faults[i] = (struct http_fault){.line = e->line,
                                        .column = e->column,
                                        .message = e->message,
                                        .reason = decode_reason_name(e->reason)};
    }
    return d->n_errors;
}

void answer_make_faults(struct post *p)
{
    struct http_fault faults[DECODE_ERRORS_MAX];
    size_t n = answer_list(p, faults);
    p->faults.limit = p->repeat.size ? REQUEST_ERRORS_MAX : 0;
    buffer_clear(&p->faults);
    if (n)
        http_put_faults(&p->faults, faults, n);
    while (p->faults.error == -EFBIG) { /* messages full of escapes */
        n -= n / 4 + 1;
        buffer_clear(&p->faults);
        http_put_faults(&p->faults, faults, n);
    }
}

/* `position` 0: null. */
static void answer_put(struct http_request *r, uint64_t accepted, uint64_t rejected,
                       const char *errors, size_t errors_size, uint64_t position,
                       bool durable)
{
    struct buffer b = {0};
    buffer_puts(&b, "{\"accepted\":");
    buffer_put_uint(&b, accepted);
    buffer_puts(&b, ",\"rejected\":");
    buffer_put_uint(&b, rejected);
    buffer_puts(&b, ",\"errors\":");
    buffer_put(&b, errors_size ? errors : "[]", errors_size ? errors_size : 2);
    buffer_puts(&b, durable ? ",\"durable\":true,\"position\":"
                            : ",\"durable\":false,\"position\":");
    if (durable && position)
        buffer_put_uint(&b, position);
    else
        buffer_puts(&b, "null");
    buffer_puts(&b, "}\n");
    http_reply_buffer(r, 200, "application/json", &b);
}

void answer_taken(struct http_request *r, const struct post *p)
{
    const struct decode_stats *d = decoder_stats(p->feed.decoder);
    answer_put(r, p->taken, d->rejected, p->faults.data, p->faults.size,
               p->ticket.position, p->stream->stream->durable);
}

void answer_replayed(struct http_request *r, const struct post *p)
{
    const struct request_answer *was = &p->repeat.was.answer;
    http_set_header(r, "Idempotency-Replayed", "true");
    answer_put(r, was->accepted, was->rejected, was->errors, was->errors_size,
               was->position, p->stream->stream->durable);
}

/* ---- Not taken ---- */

void answer_mismatch(struct http_request *r)
{
    http_problem(r, 422, "idempotency_mismatch",
                 "this Idempotency-Key was used for a request with another body");
}

void answer_all_rejected(struct http_request *r, const struct post *p)
{
    struct http_fault faults[DECODE_ERRORS_MAX];
    size_t n = answer_list(p, faults);
    http_problem_errors(r, 422, "rejected", "every event was rejected", faults, n);
}

/* The rest of the body cannot be read. What a chunked body has brought before stays. */
static void answer_malformed(struct http_request *r, const struct post *p)
{
    struct http_fault faults[DECODE_ERRORS_MAX];
    size_t n = answer_list(p, faults);
    char detail[256];
    snprintf(detail, sizeof(detail),
             "the body cannot be read: %s; %llu events were taken",
             n ? faults[n - 1].message : "not of its Content-Type",
             (unsigned long long)(p->taken + p->elsewhere));
    http_problem_errors(r, 400, "malformed", detail, faults, n);
}

static void answer_no_space(struct http_request *r, const struct post *p, int rc)
{
    metric_add(&p->stream->stream->no_space, 1);
    http_set_header(r, "Retry-After", "5");
    http_problem(r, 507, rc == -EDQUOT ? "journal_full" : "disk_full",
                 "%s; %llu events were taken",
                 rc == -EDQUOT ? "the journal has reached its limit"
                               : "no space is left for the journal or the database",
                 (unsigned long long)(p->taken + p->elsewhere));
}

static void answer_too_large_for_journal(struct http_request *r, const struct post *p)
{
    metric_add(&p->stream->stream->too_large, 1);
    http_problem(
        r, 413, "too_large_for_journal",
        "the events would take more of the journal than one request may: three "
        "eighths of journal_limit, and at most 1 GiB; send fewer at a time; "
        "%llu events were taken",
        (unsigned long long)(p->taken + p->elsewhere));
}

void answer_failed(struct http_request *r, const struct post *p, int rc)
{
    unsigned long long taken = p->taken + p->elsewhere;
    if (rc == -EBADMSG) {
        answer_malformed(r, p);
        return;
    }
    if (rc == -ENOSPC || rc == -EDQUOT) {
        answer_no_space(r, p, rc);
        return;
    }
    if (rc == -EMSGSIZE) {
        answer_too_large_for_journal(r, p);
        return;
    }
    if (rc == -ESTALE) {
        answer_storage_lost(r, p->stream->stream, taken);
        return;
    }
    http_set_header(r, "Retry-After", "1");
    if (rc == -ESHUTDOWN)
        http_problem(r, 503, "stopping",
                     "the stream takes nothing more; %llu events were taken", taken);
    else if (rc == -ENOMEM)
        http_problem(r, 503, "out_of_memory", "%s; %llu events were taken",
                     strerror(-rc), taken);
    else
        http_problem(r, 500, "failed", "%s; %llu events were taken", strerror(-rc),
                     taken);
}

/* The server ends, and what was being written may be on disk. */
void answer_unknown(struct http_request *r, const struct post *p)
{
    char before[64] = "";
    if (p->taken + p->elsewhere)
        snprintf(before, sizeof(before), "; %llu others were taken",
                 (unsigned long long)(p->taken + p->elsewhere));
    http_problem(r, 500, "outcome_unknown",
                 "the journal could not be written to the end: it is not known whether "
                 "the last %llu events are on disk%s; with an Idempotency-Key the "
                 "request can be sent again",
                 (unsigned long long)p->last, before);
}

void answer_not_settled(struct http_request *r, const struct post *p, int rc)
{
    if (rc == -EIO)
        answer_unknown(r, p);
    else
        answer_failed(r, p, rc);
}

void answer_throttled(struct http_request *r, const struct post *p)
{
    metric_add(&p->stream->stream->throttled, 1);
    http_set_header(r, "Retry-After", "1");
    http_problem(r, 429, "queue_full",
                 "the queue of stream \"%s\" is full; nothing was taken",
                 p->stream->stream->name);
}

void answer_too_much_held(struct http_request *r)
{
    http_set_header(r, "Retry-After", "1");
    http_problem(r, 503, "too_much_at_once",
                 "unfinished bodies hold %llu MiB; try again, or send smaller ones",
                 (unsigned long long)(SOURCE_HELD_MAX >> 20));
}
