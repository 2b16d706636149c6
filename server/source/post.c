/* SPDX-License-Identifier: Apache-2.0
 *
 * POST /api/v1/streams/{stream}/events.
 *
 * A body with a length is atomic: its batches are kept until it is complete, then handed to the sink as
 * one request. A chunked body may never end: its rows are handed on with each piece; a full queue pauses
 * reading. With an Idempotency-Key it is kept until its end, too.
 *
 *      length:   piece: decode ... piece: decode, end: append -> [ticket: on disk] -> answer
 *                                              | queue full: wait; too long: 429
 *      chunked:  piece: decode, append ... end: decode the tail, append -> [ticket] -> answer
 *                                  | queue full: wait as long as it takes
 *
 * While it waits for room, or for its ticket, the connection is suspended and no thread waits.
 */
#include "source/post.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define POST_KEPT          32                /* idle decoders of a stream and format */
#define POST_SPARE_MAX     ((size_t)8 << 20) /* bytes of batches that idle ones keep */
#define POST_KEPT_BYTES    16384u            /* of the text of faults of an idle one */
#define POST_ROW_BYTES     64                /* first guess of an event's size */
#define POST_ROW_BYTES_MAX (1u << 20)

/* ---- What the headers say ---- */

struct post_stream *post_find(struct source_post *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->stream[i].stream->name, name) == 0)
            return &p->stream[i];
    return NULL;
}

/* `name`: NULL if the producer gives none. False: replied. */
static bool post_source(struct http_request *r, const struct source_stream *s,
                        const char *name, uint32_t *ret)
{
    *ret = 0;
    if (!name)
        return true;
    size_t size = strlen(name);
    if (!type_is_source_name(name, size)) {
        answer_bad_source(r);
        return false;
    }
    int rc = s->sink.name(s->sink.ctx, name, size, ret);
    if (rc)
        answer_no_source(r, s, name, rc);
    return rc == 0;
}

/* ---- Who sends ---- */

/* Connections without a name are told apart, from their first request to their end. */
static struct origin *post_origin(struct http_request *r,
                                  const struct source_sink *sink, bool last)
{
    struct origin *o = http_kept(r, sink);
    if (o || !(o = sink->origin(sink->ctx)) || last ||
        http_keep(r, sink, o, sink->origin_end) == 0)
        return o;
    sink->origin_end(o);
    return NULL;
}

static void post_arrives(struct post *p, struct http_request *r, bool named)
{
    const struct source_sink *sink = &p->stream->stream->sink;
    p->origin = NULL;
    p->last_of_origin = false;
    if (!sink->origin)
        return;
    if (!named) {
        bool last = http_is_last(r) && !http_kept(r, sink);
        p->origin = post_origin(r, sink, last);
        p->last_of_origin = p->origin && last;
    }
    sink->alive(sink->ctx, p->source, p->origin);
}

static void post_leaves(struct post *p)
{
    if (p->last_of_origin)
        p->stream->stream->sink.origin_end(p->origin);
    p->origin = NULL;
}

/* ---- States of requests, used again and again ---- */

static void post_wake(void *ctx)
{
    struct post *p = ctx;
    http_resume(p->request);
}

static void post_done(void *ctx)
{
    struct post *p = ctx;
    atomic_store_explicit(&p->done, true, memory_order_release);
    http_resume(p->request);
}

static struct post *post_new(struct source_post *owner, struct post_stream *s,
                             enum decode_format format)
{
    struct post *p = calloc(1, sizeof(*p));
    if (!p || feed_setup(&p->feed, s->stream, format)) {
        free(p);
        return NULL;
    }
    p->owner = owner;
    p->stream = s;
    p->format = format;
    p->waiter = (struct waiter){.wake = post_wake, .ctx = p};
    letters_listen(&p->letters, p->feed.decoder, s->stream);
    return p;
}

static void post_free(struct post *p)
{
    feed_free(&p->feed);
    letters_free(&p->letters);
    buffer_free(&p->faults);
    free(p);
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
    if (p && p->feed.spare)
        atomic_fetch_sub_explicit(&owner->spare, batch_memory(p->feed.spare),
                                  memory_order_relaxed);
    if (p && p->feed.decode == source_decode(s->stream))
        return p;
    if (p) /* it knows the fields of before */
        post_free(p);
    return post_new(owner, s, format);
}

static void post_put(struct post *p)
{
    struct post_stream *s = p->stream;
    struct batch *spare = p->feed.spare;
    size_t size = spare ? batch_memory(spare) : 0;
    if (p->faults.room > POST_KEPT_BYTES)
        buffer_free(&p->faults);
    if (spare &&
        atomic_fetch_add_explicit(&p->owner->spare, size, memory_order_relaxed) + size >
            POST_SPARE_MAX) {
        atomic_fetch_sub_explicit(&p->owner->spare, size, memory_order_relaxed);
        feed_keep(&p->feed, NULL);
        size = 0;
    }
    pthread_mutex_lock(&s->lock);
    bool keep = s->n_idle[p->format] < POST_KEPT;
    if (keep) {
        p->next = s->idle[p->format];
        s->idle[p->format] = p;
        s->n_idle[p->format]++;
    }
    pthread_mutex_unlock(&s->lock);
    if (!keep) {
        atomic_fetch_sub_explicit(&p->owner->spare, size, memory_order_relaxed);
        post_free(p);
    }
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

static void post_setup(struct post *p, struct http_request *r, const char *source_name,
                       uint32_t source)
{
    p->request = r;
    p->source = source;
    strcpy(p->source_name, source_name ? source_name : ""); /* its size was checked */
    p->bounded = http_has_length(r) || p->repeat.size;
    p->fed = p->finished = p->sent = p->waiting = p->ticketed = p->counted = false;
    p->bytes = p->held = p->taken = p->last = p->elsewhere = 0;
    p->deadline_us = 0;
    p->ticket = (struct ticket){.done = post_done, .ctx = p, .returns = true};
    atomic_store_explicit(&p->done, false, memory_order_relaxed); /* nobody has it */
    memset(p->rejected, 0, sizeof(p->rejected));
    post_arrives(p, r, source_name != NULL);
    feed_begin(&p->feed, post_expected_rows(p->stream, r));
    decoder_reset(p->feed.decoder, feed_now(&p->feed));
}

/* False: replied. */
static bool post_is_ready(struct http_request *r, const struct source_stream *s)
{
    if (s->closed) {
        answer_closed(r, s);
        return false;
    }
    int ready = s->sink.ready ? s->sink.ready(s->sink.ctx) : 0;
    if (ready)
        answer_not_ready(r, s, ready);
    return !ready;
}

struct post *post_open(struct source_post *owner, struct post_stream *s,
                       struct http_request *r, enum decode_format format)
{
    const char *source_name = http_header(r, "Weir-Source");
    uint32_t source;
    if (!http_may(r, ACCESS_STREAM, s->stream->name)) {
        http_forbid(r, ACCESS_STREAM, s->stream->name);
        return NULL;
    }
    metric_add(&s->stream->requests, 1);
    if (!post_is_ready(r, s->stream) ||
        !post_source(r, s->stream, source_name, &source))
        return NULL;
    struct post *p = post_get(owner, s, format);
    if (!p) {
        answer_no_memory(r);
        return NULL;
    }
    p->repeat = (struct repeat){0};
    post_setup(p, r, source_name, source);
    p->bounded = true; /* as its body is */
    feed_begin(&p->feed, 0);
    return p;
}

static int post_begin(struct http_request *r, void *ctx, void **ret_state)
{
    struct source_post *owner = ctx;
    const char *name = http_param(r, "stream");
    const char *source_name = http_header(r, "Weir-Source");
    const char *type = http_header(r, "Content-Type");
    struct post_stream *s = post_find(owner, name);
    if (!s) {
        answer_unknown_stream(r, owner, name);
        return 1;
    }
    metric_add(&s->stream->requests, 1);
    const char *argument;
    size_t size;
    if (http_argument(r, 0, &argument, &size)) {
        answer_unknown_parameter(r, argument);
        return 1;
    }
    if (!post_is_ready(r, s->stream))
        return 1;
    enum decode_format format;
    if (type_format(type, &format)) {
        answer_unsupported_type(r, type);
        return 1;
    }
    if (http_length(r) > s->stream->max_body) {
        answer_too_large(r, s->stream);
        return 1;
    }
    uint32_t source;
    if (!post_source(r, s->stream, source_name, &source))
        return 1;
    struct post *p = post_get(owner, s, format);
    if (!p) {
        answer_no_memory(r);
        return 1;
    }
    int rc =
        repeat_begin(&p->repeat, &s->stream->sink, http_header(r, "Idempotency-Key"));
    if (rc < 0) {
        answer_no_key(r, rc);
        post_put(p);
        return 1;
    }
    post_setup(p, r, source_name, source);
    *ret_state = p;
    return 0;
}

/* ---- Counting ---- */

/* Rejections since the last call, and their records. */
static void post_count_rejected(struct post *p)
{
    const struct decode_stats *d = decoder_stats(p->feed.decoder);
    for (size_t i = 0; i < DECODE_REASONS; i++) {
        uint64_t more = d->by_reason[i] - p->rejected[i];
        if (more)
            metric_add(&p->stream->stream->rejected[i], more);
        p->rejected[i] = d->by_reason[i];
    }
    letters_hand_on(&p->letters, p->stream->stream, p->source_name);
}

/* At the end of a body, once it is certain that its rows are the log's. */
static void post_count(struct post *p)
{
    metric_add(&p->stream->stream->accepted, p->last);
    if (p->format == DECODE_LINES)
        metric_add(&p->stream->stream->skipped,
                   decoder_stats(p->feed.decoder)->skipped);
    if (p->bounded)
        metric_add(&p->stream->stream->bytes, p->bytes);
    post_count_rejected(p);
    p->counted = true;
}

/* What the next body of this stream may expect. */
static void post_learn(struct post *p)
{
    uint64_t size = p->taken ? p->bytes / p->taken + 1 : POST_ROW_BYTES;
    if (size > POST_ROW_BYTES_MAX)
        size = POST_ROW_BYTES_MAX;
    atomic_store_explicit(&p->stream->row_bytes, (uint32_t)size, memory_order_relaxed);
}

/* ---- Handing on ---- */

static void post_unwait(struct post *p)
{
    const struct source_sink *sink = &p->stream->stream->sink;
    if (!p->waiting)
        return;
    sink->unwait(sink->ctx, &p->waiter);
    p->waiting = false;
    if (sink->waits)
        sink->waits(sink->ctx, p->source, p->origin, false);
}

/* The queue is full. False: waited long enough. */
static bool post_wait(struct http_request *r, struct post *p)
{
    const struct source_stream *s = p->stream->stream;
    if (p->bounded) {
        int64_t now = clock_monotonic_us();
        if (!p->deadline_us)
            p->deadline_us = now + s->queue_wait_us;
        if (now >= p->deadline_us)
            return false;
        http_resume_at(r, p->deadline_us);
    }
    p->waiting = true;
    if (s->sink.waits)
        s->sink.waits(s->sink.ctx, p->source, p->origin, true);
    s->sink.wait(s->sink.ctx, &p->waiter);
    return true;
}

/* 0: the sink has it; 1: replied; -EAGAIN: come again after http_resume. */
static int post_append(struct http_request *r, struct post *p, const struct request *q,
                       uint64_t rows)
{
    const struct source_sink *sink = &p->stream->stream->sink;
    int rc = sink->append(sink->ctx, q);
    if (rc == 0) {
        feed_taken(&p->feed, q->n);
        p->taken += rows;
        http_spend(r, rows);
        return 0;
    }
    if (rc == -EAGAIN && post_wait(r, p))
        return -EAGAIN;
    if (rc == -EAGAIN)
        answer_throttled(r, p);
    else
        answer_failed(r, p, rc);
    return 1;
}

/* The rows of a piece of a body that may never end. As post_append. */
static int post_append_piece(struct http_request *r, struct post *p)
{
    struct request q = {.source = p->source, .origin = p->origin};
    uint64_t rows;
    post_unwait(p);
    q.n = feed_batches(&p->feed, &q.batch, &rows);
    int rc = rows ? post_append(r, p, &q, rows) : 0;
    if (rc == 0)
        metric_add(&p->stream->stream->accepted, rows);
    return rc;
}

/* The rest, or all, of the body, with what tells that it is on disk. As post_append. */
int post_append_last(struct http_request *r, struct post *p)
{
    struct request_id key = {.key = p->repeat.key, .size = p->repeat.size};
    struct request q = {.source = p->source, .origin = p->origin};
    uint64_t rows;
    post_unwait(p);
    q.n = feed_batches(&p->feed, &q.batch, &rows);
    if (p->taken + rows == 0)
        return 0;
    if (p->stream->stream->durable)
        q.ticket = &p->ticket;
    if (key.size) {
        key.digest = repeat_digest(&p->repeat, p->bytes, p->format);
        key.answer.accepted = p->taken + rows;
        key.answer.rejected = decoder_stats(p->feed.decoder)->rejected;
        key.answer.errors = p->faults.size ? p->faults.data : NULL;
        key.answer.errors_size = p->faults.size;
        q.key = &key;
    }
    if (!rows && !q.ticket && !q.key)
        return 0;
    p->ticketed = q.ticket != NULL; /* before: it may be called at once */
    int rc = post_append(r, p, &q, rows);
    if (rc) {
        p->ticketed = false;
        return rc;
    }
    p->last = rows;
    repeat_taken(&p->repeat);
    return 0;
}

/* ---- The body ---- */

/* Memory for bodies that are not complete yet. False: replied. */
static bool post_hold(struct http_request *r, struct post *p, size_t size)
{
    p->bytes += size;
    if (!p->bounded)
        return true;
    if (p->bytes > p->stream->stream->max_body) {
        answer_too_large(r, p->stream->stream);
        return false;
    }
    if (p->repeat.known)
        return true;
    p->held += size;
    uint64_t before =
        atomic_fetch_add_explicit(&p->owner->held, size, memory_order_relaxed);
    if (before + size <= SOURCE_HELD_MAX)
        return true;
    answer_too_much_held(r);
    return false;
}

/* 0; 1: replied. */
static int post_decode(struct http_request *r, struct post *p, const char *data,
                       size_t size)
{
    if (!post_hold(r, p, size))
        return 1;
    repeat_piece(&p->repeat, data, size);
    if (p->repeat.known)
        return 0;
    int rc = feed_piece(&p->feed, data, size);
    if (!rc)
        return 0;
    if (!p->bounded)
        post_count_rejected(p);
    answer_failed(r, p, rc);
    return 1;
}

static int post_piece(struct http_request *r, void *state, const char *data,
                      size_t size)
{
    struct post *p = state;
    const struct source_sink *sink = &p->stream->stream->sink;
    if (sink->alive)
        sink->alive(sink->ctx, p->source, p->origin);
    if (!p->bounded && !p->fed && !http_may_go_on(r))
        return -EAGAIN;
    if (!p->fed && post_decode(r, p, data, size))
        return 1;
    if (p->bounded)
        return 0;
    p->fed = true;
    int rc = post_append_piece(r, p);
    if (rc)
        return rc;
    p->fed = false;
    metric_add(&p->stream->stream->bytes, size);
    post_count_rejected(p);
    return 0;
}

/* The key was used before: what is said is what was said then. */
static void post_repeat(struct http_request *r, struct post *p)
{
    uint64_t digest = repeat_digest(&p->repeat, p->bytes, p->format);
    if (digest == p->repeat.was.digest)
        answer_replayed(r, p);
    else
        answer_mismatch(r);
}

/* The tail. 0; 1: replied. */
static int post_finish(struct http_request *r, struct post *p)
{
    int rc = p->bytes ? feed_finish(&p->feed) : 0;
    if (!rc) {
        answer_make_faults(p);
        rc = p->faults.error;
    }
    if (rc)
        answer_failed(r, p, rc);
    p->finished = !rc;
    return rc ? 1 : 0;
}

bool post_is_pending(const struct post *p)
{
    return p->ticketed && !atomic_load_explicit(&p->done, memory_order_acquire);
}

/* The rows are on disk, or will be, or (the ticket says so) are not taken after all, or nobody knows. */
int post_conclude(struct post *p)
{
    if (p->ticketed && p->ticket.result) {
        p->taken -= p->last;
        p->counted = true; /* there is nothing to count */
        return p->ticket.result;
    }
    post_count(p);
    post_learn(p);
    return 0;
}

static void post_settle(struct http_request *r, struct post *p)
{
    int rc = post_conclude(p);
    if (rc)
        answer_not_settled(r, p, rc);
    else if (p->taken == 0 && decoder_stats(p->feed.decoder)->rejected > 0)
        answer_all_rejected(r, p);
    else
        answer_taken(r, p);
}

static int post_end(struct http_request *r, void *state)
{
    struct post *p = state;
    if (p->repeat.known) {
        post_repeat(r, p);
        return 0;
    }
    if (!p->finished && post_finish(r, p))
        return 1;
    if (!p->sent) {
        int rc = post_append_last(r, p);
        if (rc)
            return rc;
        p->sent = true;
    }
    if (post_is_pending(p))
        return -EAGAIN;
    post_settle(r, p);
    return 0;
}

void post_close(void *state, bool replied)
{
    struct post *p = state;
    const struct source_sink *sink = &p->stream->stream->sink;
    (void)replied;
    post_unwait(p);
    /* Also if it was called: the sink's thread may still be in the middle of it. */
    if (p->ticketed) {
        sink->cancel(sink->ctx, &p->ticket);
        if (p->ticket.spare)
            feed_keep(&p->feed, p->ticket.spare);
        p->ticket.spare = NULL;
    }
    if (p->sent && !p->counted && !p->ticket.result)
        post_count(p); /* nobody hears the answer, but the rows are there */
    post_leaves(p);
    repeat_end(&p->repeat, sink);
    letters_drop(&p->letters);
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
                                     .may = ACCESS_POST,
                                     .upload = &upload,
                                     .ctx = p};
    int rc = http_add(server, &route);
    if (!rc)
        rc = writes_new(p, server);
    if (rc) {
        source_post_free(p);
        return error_set(error, rc, "cannot add the routes for events: %s",
                         strerror(-rc));
    }
    *ret = p;
    return 0;
}

int source_post_count(struct source_post *p, struct metrics *m)
{
    return metrics_add(m, METRIC_COUNTER, "weir_unknown_rows_total",
                       "Rows whose name is no stream's.", "", &p->unknown, 1);
}

void source_post_free(struct source_post *p)
{
    if (!p)
        return;
    writes_free(p->writes);
    for (size_t i = 0; i < p->n; i++) {
        for (size_t f = 0; f < DECODE_FORMATS; f++) {
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
