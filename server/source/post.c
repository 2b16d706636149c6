/* SPDX-License-Identifier: Apache-2.0
 *
 * POST /api/v1/streams/{stream}/events.
 *
 * A body with a length is atomic: its batches are kept until it is complete, then handed to the sink.
 * A chunked body may never end: its rows are handed on with each piece; a full queue pauses reading.
 *
 *      length:   piece: decode ... piece: decode, end: append* -> answer
 *                                              | queue full: wait; too long and nothing taken yet: 429
 *      chunked:  piece: decode, append* ... end: decode the tail, append* -> answer
 *                                  | queue full: wait as long as it takes
 */
#include "base/clock.h"
#include "config/node.h"
#include "source/feed.h"
#include "source/source.h"
#include "source/type.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POST_FORMATS       3
#define POST_KEPT          32 /* idle decoders of a stream and format */
#define POST_ROW_BYTES     64 /* first guess of an event's size */
#define POST_ROW_BYTES_MAX (1u << 20)
#define POST_LISTED        20 /* streams named in a 404 */

/* One request's state; kept, with its decoder, for the next one. */
struct post {
    struct source_post *owner;
    struct post_stream *stream;
    struct http_request *request;
    struct post *next; /* in the list of idle ones */
    enum decode_format format;
    struct feed feed;
    struct waiter waiter;
    bool waiting;  /* the waiter may be with the sink */
    bool bounded;  /* the body has a length */
    bool fed;      /* the piece at hand is decoded (it comes again after a pause) */
    bool finished; /* the tail is decoded */
    uint32_t source;
    uint64_t bytes;                   /* of the body so far */
    uint64_t held;                    /* of them counted in owner->held */
    uint64_t taken;                   /* rows that the sink has */
    int64_t deadline_us;              /* of the wait for room; 0: not set */
    uint64_t counted[DECODE_REASONS]; /* rejections that the stream's counters have */
};

struct post_stream {
    struct source_stream *stream;
    _Atomic uint32_t
        row_bytes; /* of the events seen last; relaxed: a guess for the next batch */
    pthread_mutex_t lock; /* protects the lists */
    struct post *idle[POST_FORMATS];
    unsigned n_idle[POST_FORMATS];
};

struct source_post {
    _Atomic uint64_t
        held; /* bytes of unfinished bounded bodies; relaxed: a limit only */
    size_t n;
    struct post_stream stream[];
};

/* ---- What the headers say ---- */

static struct post_stream *post_find(struct source_post *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->stream[i].stream->name, name) == 0)
            return &p->stream[i];
    return NULL;
}

static void post_unknown(const struct source_post *p, struct http_request *r,
                         const char *name)
{
    const char *known[POST_LISTED];
    struct buffer list = {.limit = 4096};
    size_t n = 0;
    for (; n < p->n && n < POST_LISTED; n++) {
        known[n] = p->stream[n].stream->name;
        buffer_printf(&list, "%s%s", n ? ", " : "", known[n]);
    }
    struct error text;
    error_set(&text, 0, "there is no stream '%.100s'", name);
    node_suggest(&text, name, known, n);
    http_problem(r, 404, "unknown_stream", "%s; the streams are: %s%s", text.text,
                 buffer_text(&list), n < p->n ? ", ..." : "");
    buffer_free(&list);
}

/* False: replied. */
static bool post_source(struct http_request *r, const struct source_stream *s,
                        uint32_t *ret)
{
    const char *name = http_header(r, "Weir-Source");
    *ret = 0;
    if (!name)
        return true;
    size_t size = strlen(name);
    if (!type_is_source_name(name, size)) {
        http_problem(r, 400, "bad_source",
                     "Weir-Source is to be 1 to %d of A-Z a-z 0-9 . _ : -",
                     TYPE_SOURCE_NAME_MAX);
        return false;
    }
    int rc = s->sink.name(s->sink.ctx, name, size, ret);
    if (rc == -ENOSPC)
        http_problem(r, 422, "too_many_sources",
                     "stream \"%s\" has too many named sources", s->name);
    else if (rc)
        http_problem(r, 503, "out_of_memory", "source \"%s\": %s", name, strerror(-rc));
    return rc == 0;
}

static void post_too_large(struct http_request *r, const struct source_stream *s)
{
    http_problem(
        r, 413, "too_large",
        "a body may have %llu bytes, decompressed; send less at a time, or chunked",
        (unsigned long long)s->max_body);
}

/* ---- States of requests, used again and again ---- */

static void post_wake(void *ctx)
{
    struct post *p = ctx;
    http_resume(p->request);
}

static struct post *post_get(struct source_post *owner, struct post_stream *s,
                             enum decode_format format)
{
    pthread_mutex_lock(&s->lock);
    struct post *p = s->idle[format];
    if (p) {
        s->idle[format] = p->next;
        s->n_idle[format]--;
    }
    pthread_mutex_unlock(&s->lock);
    if (p)
        return p;
    p = calloc(1, sizeof(*p));
    if (!p || feed_setup(&p->feed, &s->stream->decode, format)) {
        free(p);
        return NULL;
    }
    p->owner = owner;
    p->stream = s;
    p->format = format;
    p->waiter = (struct waiter){.wake = post_wake, .ctx = p};
    return p;
}

static void post_free(struct post *p)
{
    feed_free(&p->feed);
    free(p);
}

static void post_put(struct post *p)
{
    struct post_stream *s = p->stream;
    pthread_mutex_lock(&s->lock);
    bool keep = s->n_idle[p->format] < POST_KEPT;
    if (keep) {
        p->next = s->idle[p->format];
        s->idle[p->format] = p;
        s->n_idle[p->format]++;
    }
    pthread_mutex_unlock(&s->lock);
    if (!keep)
        post_free(p);
}

/* How many rows the body probably has; 0: no idea. */
static uint64_t post_expected_rows(struct post_stream *s, const struct http_request *r)
{
    uint64_t size = http_header(r, "Content-Encoding") ? 0 : http_length(r);
    return size ? size / atomic_load_explicit(&s->row_bytes, memory_order_relaxed) * 9 /
                          8 +
                      16
                : 0;
}

static void post_setup(struct post *p, struct http_request *r, uint32_t source)
{
    p->request = r;
    p->source = source;
    p->bounded = http_has_length(r);
    p->waiting = p->fed = p->finished = false;
    p->bytes = p->held = p->taken = 0;
    p->deadline_us = 0;
    memset(p->counted, 0, sizeof(p->counted));
    feed_begin(&p->feed, post_expected_rows(p->stream, r));
    decoder_reset(p->feed.decoder, clock_now_us());
}

static int post_begin(struct http_request *r, void *ctx, void **ret_state)
{
    struct source_post *owner = ctx;
    const char *name = http_param(r, "stream");
    struct post_stream *s = post_find(owner, name);
    if (!s) {
        post_unknown(owner, r, name);
        return 1;
    }
    metric_add(&s->stream->requests, 1);
    enum decode_format format;
    const char *type = http_header(r, "Content-Type");
    if (type_format(type, &format)) {
        http_problem(r, 415, "unsupported_type",
                     "Content-Type %.100s is not understood; application/x-ndjson, "
                     "application/json and text/csv are, in UTF-8",
                     type);
        return 1;
    }
    if (http_length(r) > s->stream->max_body) {
        post_too_large(r, s->stream);
        return 1;
    }
    uint32_t source;
    if (!post_source(r, s->stream, &source))
        return 1;
    struct post *p = post_get(owner, s, format);
    if (!p) {
        http_problem(r, 503, "out_of_memory", "no memory for the request");
        return 1;
    }
    post_setup(p, r, source);
    *ret_state = p;
    return 0;
}

/* ---- Answers ---- */

static size_t post_faults(const struct decode_stats *d, struct http_fault *faults)
{
    for (size_t i = 0; i < d->n_errors; i++) {
        const struct decode_error *e = &d->errors[i];
        faults[i] = (struct http_fault){.line = e->line,
                                        .column = e->column,
                                        .message = e->message,
                                        .reason = decode_reason_name(e->reason)};
    }
    return d->n_errors;
}

/* Rejections since the last call. */
static void post_count_rejected(struct post *p)
{
    const struct decode_stats *d = decoder_stats(p->feed.decoder);
    for (size_t i = 0; i < DECODE_REASONS; i++) {
        uint64_t more = d->by_reason[i] - p->counted[i];
        if (more)
            metric_add(&p->stream->stream->rejected[i], more);
        p->counted[i] = d->by_reason[i];
    }
}

/* What the next body of this stream may expect. */
static void post_learn(struct post *p)
{
    uint64_t size = p->taken ? p->bytes / p->taken + 1 : POST_ROW_BYTES;
    if (size > POST_ROW_BYTES_MAX)
        size = POST_ROW_BYTES_MAX;
    atomic_store_explicit(&p->stream->row_bytes, (uint32_t)size, memory_order_relaxed);
}

static void post_answer(struct http_request *r, struct post *p)
{
    const struct decode_stats *d = decoder_stats(p->feed.decoder);
    struct http_fault faults[DECODE_ERRORS_MAX];
    size_t n = post_faults(d, faults);
    post_count_rejected(p);
    if (p->taken > 0 && p->bounded)
        atomic_store_explicit(&p->stream->row_bytes,
                              (uint32_t)(p->bytes / p->taken) + 1,
                              memory_order_relaxed);
    if (p->taken == 0 && d->rejected > 0) {
        http_problem_errors(r, 422, "rejected", "every event was rejected", faults, n);
        return;
    }
    struct buffer b = {0};
    buffer_printf(&b, "{\"accepted\":%llu,\"rejected\":%llu,\"errors\":",
                  (unsigned long long)p->taken, (unsigned long long)d->rejected);
    http_put_faults(&b, faults, n);
    buffer_puts(&b, ",\"durable\":false}\n");
    http_reply_buffer(r, 200, "application/json", &b);
}

/* The rest of the body cannot be read. What a chunked body has brought before stays. */
static void post_malformed(struct http_request *r, struct post *p)
{
    const struct decode_stats *d = decoder_stats(p->feed.decoder);
    struct http_fault faults[DECODE_ERRORS_MAX];
    size_t n = post_faults(d, faults);
    char detail[256];
    snprintf(detail, sizeof(detail),
             "the body cannot be read: %s; %llu events were taken",
             n ? faults[n - 1].message : "not of its Content-Type",
             (unsigned long long)p->taken);
    http_problem_errors(r, 400, "malformed", detail, faults, n);
}

static void post_failed(struct http_request *r, struct post *p, int rc)
{
    unsigned long long taken = p->taken;
    if (rc == -EBADMSG) {
        post_malformed(r, p);
        return;
    }
    http_set_header(r, "Retry-After", "1");
    if (rc == -ESHUTDOWN)
        http_problem(r, 503, "stopping",
                     "the stream takes nothing more; %llu events were taken", taken);
    else
        http_problem(r, 503, "out_of_memory", "%s; %llu events were taken",
                     strerror(-rc), taken);
}

static void post_throttled(struct http_request *r, struct post *p)
{
    metric_add(&p->stream->stream->throttled, 1);
    http_set_header(r, "Retry-After", "1");
    http_problem(r, 429, "queue_full",
                 "the queue of stream \"%s\" is full; nothing was taken",
                 p->stream->stream->name);
}

/* ---- Handing on ---- */

static void post_unwait(struct post *p)
{
    const struct source_sink *sink = &p->stream->stream->sink;
    if (p->waiting)
        sink->unwait(sink->ctx, &p->waiter);
    p->waiting = false;
}

/* The queue is full. False: waited long enough. */
static bool post_wait(struct http_request *r, struct post *p)
{
    const struct source_stream *s = p->stream->stream;
    if (p->bounded && p->taken == 0) {
        int64_t now = clock_monotonic_us();
        if (!p->deadline_us)
            p->deadline_us = now + s->queue_wait_us;
        if (now >= p->deadline_us)
            return false;
        http_resume_at(r, p->deadline_us);
    }
    p->waiting = true;
    s->sink.wait(s->sink.ctx, &p->waiter);
    return true;
}

/* Everything decoded so far. 0; 1: replied; -EAGAIN: come again after http_resume. */
static int post_append(struct http_request *r, struct post *p)
{
    struct source_stream *s = p->stream->stream;
    struct batch *b;
    post_unwait(p);
    while ((b = feed_batch(&p->feed))) {
        uint32_t rows = b->n_rows;
        int rc = s->sink.append(s->sink.ctx, p->source, b);
        if (rc == 0) {
            feed_taken(&p->feed);
            p->taken += rows;
            metric_add(&s->accepted, rows);
            continue;
        }
        if (rc == -EAGAIN && post_wait(r, p))
            return -EAGAIN;
        if (rc == -EAGAIN)
            post_throttled(r, p);
        else
            post_failed(r, p, rc);
        return 1;
    }
    return 0;
}

/* Memory for bodies that are not complete yet. False: replied. */
static bool post_hold(struct http_request *r, struct post *p, size_t size)
{
    p->bytes += size;
    if (!p->bounded)
        return true;
    if (p->bytes > p->stream->stream->max_body) {
        post_too_large(r, p->stream->stream);
        return false;
    }
    p->held += size;
    uint64_t before =
        atomic_fetch_add_explicit(&p->owner->held, size, memory_order_relaxed);
    if (before + size <= SOURCE_HELD_MAX)
        return true;
    http_set_header(r, "Retry-After", "1");
    http_problem(r, 503, "too_much_at_once",
                 "unfinished bodies hold %llu MiB; try again, or send smaller ones",
                 (unsigned long long)(SOURCE_HELD_MAX >> 20));
    return false;
}

static int post_piece(struct http_request *r, void *state, const char *data,
                      size_t size)
{
    struct post *p = state;
    if (!p->fed) {
        if (!post_hold(r, p, size))
            return 1;
        int rc = feed_piece(&p->feed, data, size);
        if (rc) {
            if (!p->bounded)
                post_count_rejected(p);
            post_failed(r, p, rc);
            return 1;
        }
    }
    if (p->bounded)
        return 0;
    p->fed = true;
    int rc = post_append(r, p);
    if (rc)
        return rc;
    p->fed = false;
    metric_add(&p->stream->stream->bytes, size);
    post_count_rejected(p);
    return 0;
}

static int post_end(struct http_request *r, void *state)
{
    struct post *p = state;
    if (!p->finished && p->bytes > 0) {
        int rc = feed_finish(&p->feed);
        if (rc) {
            post_failed(r, p, rc);
            return 1;
        }
    }
    p->finished = true;
    int rc = post_append(r, p);
    if (rc)
        return rc;
    if (p->bounded)
        metric_add(&p->stream->stream->bytes, p->bytes);
    post_learn(p);
    post_answer(r, p);
    return 0;
}

static void post_close(void *state, bool replied)
{
    struct post *p = state;
    (void)replied;
    post_unwait(p);
    if (p->held)
        atomic_fetch_sub_explicit(&p->owner->held, p->held, memory_order_relaxed);
    feed_begin(&p->feed, 0);
    post_put(p);
}

/* ---- Set-up ---- */

int source_post_new(struct source_stream *streams, size_t n, struct http_server *server,
                    struct source_post **ret, struct error *error)
{
    static const struct http_upload upload = {post_begin, post_piece, post_end,
                                              post_close};
    struct source_post *p = calloc(1, sizeof(*p) + n * sizeof(p->stream[0]));
    if (!p)
        return error_set(error, -ENOMEM, "no memory for the streams");
    p->n = n;
    for (size_t i = 0; i < n; i++) {
        p->stream[i].stream = &streams[i];
        p->stream[i].row_bytes = POST_ROW_BYTES;
        pthread_mutex_init(&p->stream[i].lock, NULL);
    }
    const struct http_route route = {.method = "POST",
                                     .pattern = "/api/v1/streams/{stream}/events",
                                     .kind = HTTP_UPLOAD,
                                     .upload = &upload,
                                     .ctx = p};
    int rc = http_add(server, &route);
    if (rc) {
        source_post_free(p);
        return error_set(error, rc, "cannot add the route for events: %s",
                         strerror(-rc));
    }
    *ret = p;
    return 0;
}

void source_post_free(struct source_post *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++) {
        for (size_t f = 0; f < POST_FORMATS; f++) {
            struct post *next;
            for (struct post *at = p->stream[i].idle[f]; at; at = next) {
                next = at->next;
                post_free(at);
            }
        }
        pthread_mutex_destroy(&p->stream[i].lock);
    }
    free(p);
}
