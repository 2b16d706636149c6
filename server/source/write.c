/* SPDX-License-Identifier: Apache-2.0
 *
 * POST /write, /api/v2/write, /api/v3/write_lp: line protocol, as clients of InfluxDB send it; /api/v1/write: remote
 * write of Prometheus; /api/v1/telegraf; /v1/metrics, /v1/logs: OpenTelemetry. The measurement, or the metric, names the stream, so that a
 * body may have rows of several. Lines are decoded as they come, all else when the body is complete.
 *
 *      router --line--> find: the part of its stream, a post (post.c) --> decoder, batches
 *      end:  part, append -> part, append -> ... -> [all tickets: on disk] -> 204
 *
 * Nothing is handed on before the body is complete, also where it is chunked. What a stream gets is atomic, the body is
 * not: a full queue is answered 429 as long as no stream has its rows, and waited for without a limit when one has.
 */
#include "config.h"

#include "base/hash.h"
#include "source/post.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#ifdef HAVE_SNAPPY
#include <snappy-c.h>
#endif

#define WRITES_KEPT    32                  /* idle ones */
#define WRITE_TOLD     3                   /* lines that the text of an answer names */
#define WRITE_NUMBER   24                  /* bytes of a number as text */
#define WRITE_NAME     64                  /* of a stream */
#define ROWS_BYTES_MAX (UINT64_C(1) << 30) /* of one request, as rows */

/* Decodes a body that is complete. */
typedef int write_decoder(struct decoder *router, const char *body, size_t size);

/* What a path takes: a protobuf, JSON, either; or, where both are NULL, line protocol. */
struct write_form {
    const char *path;
    write_decoder *protobuf, *json;
    const char *what; /* such a body, for people */
    bool v3;          /* of line protocol: the unit of times is guessed */
    bool snappy;
    const char *
        rejected; /* OpenTelemetry answers with a message: the member that counts what was rejected; NULL: 204 */
};

static const struct write_form write_forms[] = {
    {.path = "/write"},
    {.path = "/api/v2/write"},
    {.path = "/api/v3/write_lp", .v3 = true},
#ifdef HAVE_SNAPPY
    {"/api/v1/write", decoder_remote, NULL, "a WriteRequest of Prometheus",
     .snappy = true},
#endif
    {.path = "/api/v1/telegraf",
     .json = decoder_telegraf,
     .what = "metrics of Telegraf as JSON"},
    {"/v1/metrics", decoder_otlp_metrics, decoder_otlp_metrics_json,
     "an ExportMetricsServiceRequest", .rejected = "rejectedDataPoints"},
    {"/v1/logs", decoder_otlp_logs, decoder_otlp_logs_json,
     "an ExportLogsServiceRequest", .rejected = "rejectedLogRecords"},
};

#define WRITE_FORMS (sizeof(write_forms) / sizeof(*write_forms))

/* One request under way; kept for the next one. */
struct write {
    struct writes *owner;
    const struct write_form *form;
    write_decoder *decode; /* NULL: line protocol */
    struct http_request *request;
    struct write *next; /* in the list of idle ones */
    struct decoder *router;
    struct post **of; /* by the number of the stream: its part; NULL: no line was its */
    struct post **part; /* the same, without those */
    size_t n;
    struct post_stream
        *only; /* stream= or Weir-Stream: all goes there; NULL: by name */
    enum decode_unit precision;
    struct buffer
        body;       /* of what is decoded at its end; DECODE_PAD zeros behind it then */
    bool whole;     /* if a line is rejected all are */
    uint64_t bytes; /* of the body so far; */
    uint64_t held;  /* of them counted in source_post.held */
    bool finished;  /* the tail is decoded */
    size_t sent;    /* parts that their sinks have */
    uint64_t taken; /* rows of them */
    uint64_t batches; /* bytes of those that are full */
    char unknown[64]; /* the first measurement without a stream */
};

struct writes {
    struct source_post *posts;
    struct schema *schema; /* of routers, which do not use it */
    struct decode_options decode;
    uint64_t max_body;    /* the most that one of the streams takes */
    uint32_t *slot;       /* number of a stream + 1, by the hash of its name; 0: free */
    size_t n_slots;       /* a power of two */
    pthread_mutex_t lock; /* protects the list */
    struct write *idle;
    unsigned n_idle;
};

/* ---- Streams by name ---- */

static uint32_t *writes_slot(const struct writes *w, const char *name, size_t size)
{
    size_t i = hash_bytes(name, size) & (w->n_slots - 1);
    for (; w->slot[i]; i = (i + 1) & (w->n_slots - 1)) {
        const char *known = w->posts->stream[w->slot[i] - 1].stream->name;
        if (strlen(known) == size && memcmp(known, name, size) == 0)
            break;
    }
    return &w->slot[i];
}

/* A stream's name has letters, digits and underscores: other characters are looked for as underscores. 0: none. */
static uint32_t write_number(struct write *w, const char *name, size_t size)
{
    char plain[WRITE_NAME];
    if (w->only)
        return (uint32_t)(w->only - w->owner->posts->stream) + 1;
    uint32_t slot = *writes_slot(w->owner, name, size);
    if (slot || size > sizeof(plain))
        return slot;
    for (size_t i = 0; i < size; i++) {
        char c = name[i];
        bool word =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        plain[i] = word ? c : '_';
    }
    return *writes_slot(w->owner, plain, size);
}

static int write_find(void *ctx, const char *name, size_t size, struct decoder **ret)
{
    struct write *w = ctx;
    uint32_t slot = write_number(w, name, size);
    if (!slot) {
        if (!w->unknown[0])
            snprintf(w->unknown, sizeof(w->unknown), "%.*s", (int)size, name);
        return 0;
    }
    struct post **p = &w->of[slot - 1];
    if (!*p) {
        *p = post_open(w->owner->posts, &w->owner->posts->stream[slot - 1], w->request,
                       DECODE_LINES);
        if (!*p)
            return -ECANCELED; /* replied */
        decoder_precision((*p)->feed.decoder, w->precision);
        w->part[w->n++] = *p;
    }
    *ret = (*p)->feed.decoder;
    return 0;
}

static int write_room(void *ctx, struct decoder *d)
{
    struct write *w = ctx;
    size_t i = 0;
    while (w->part[i]->feed.decoder != d)
        i++;
    /* What many points have in common comes once and stands in every row. */
    struct feed *t = &w->part[i]->feed;
    if (t->n)
        w->batches += batch_memory(t->batch[t->n - 1]);
    if (w->batches > ROWS_BYTES_MAX)
        return -EFBIG;
    return feed_room(t);
}

/* ---- What the request says ---- */

/* Empty: none is given. False: it is not known. */
static bool write_precision(const char *text, bool v3, enum decode_unit *ret)
{
    static const struct {
        const char *name;
        enum decode_unit unit;
    } known[] = {
        {"ns", DECODE_NS},          {"n", DECODE_NS},
        {"nanosecond", DECODE_NS},  {"us", DECODE_US},
        {"u", DECODE_US},           {"µ", DECODE_US},
        {"microsecond", DECODE_US}, {"ms", DECODE_MS},
        {"millisecond", DECODE_MS}, {"s", DECODE_S},
        {"second", DECODE_S},       {"auto", DECODE_AUTO},
    };
    *ret = v3 ? DECODE_AUTO : DECODE_NS;
    for (size_t i = 0; *text && i < sizeof(known) / sizeof(*known); i++) {
        if (strcmp(text, known[i].name) != 0)
            continue;
        *ret = known[i].unit;
        return true;
    }
    return !*text;
}

/* Where the rows would be in InfluxDB is not asked here, nor who sends them. False: replied. */
static bool write_arguments(struct http_request *r, struct write *w)
{
    static const char *const passed[] = {"db",          "rp",     "bucket", "bucketID",
                                         "org",         "u",      "p",      "orgID",
                                         "consistency", "no_sync"};
    const char *name, *value;
    size_t size;
    const char *only = http_header(r, "Weir-Stream"),
               *source = http_header(r, "Weir-Source");
    bool lines = !w->form->protobuf && !w->form->json;
    w->precision = w->form->v3 ? DECODE_AUTO : DECODE_NS;
    w->whole = false;
    w->only = NULL;
    for (size_t i = 0; (value = http_argument(r, i, &name, &size)); i++) {
        bool known = false;
        for (size_t k = 0; lines && !known && k < sizeof(passed) / sizeof(*passed); k++)
            known = strcmp(name, passed[k]) == 0;
        if (strcmp(name, "stream") == 0) {
            only = value;
        } else if (lines && strcmp(name, "accept_partial") == 0 &&
                   (strcmp(value, "true") == 0 || strcmp(value, "false") == 0)) {
            w->whole = *value == 'f';
        } else if (lines && strcmp(name, "precision") == 0) {
            if (!write_precision(value, w->form->v3, &w->precision)) {
                http_problem(r, 400, "bad_parameter",
                             "precision is to be ns, us, ms, s or auto, not '%.40s'",
                             value);
                return false;
            }
        } else if (!known) {
            http_problem(
                r, 400, "unknown_parameter", "unknown parameter '%.100s'; %s", name,
                lines ? "stream, precision, accept_partial, db, bucket, org and "
                        "their like are taken here"
                      : "stream is taken here");
            return false;
        }
    }
    if (source && !type_is_source_name(source, strlen(source))) {
        answer_bad_source(r); /* also where no row is a stream's */
        return false;
    }
    if (only && !(w->only = post_find(w->owner->posts, only))) {
        answer_unknown_stream(r, w->owner->posts, only);
        return false;
    }
    if (!http_header(r, "Idempotency-Key"))
        return true;
    http_problem(r, 400, "bad_idempotency_key",
                 "an Idempotency-Key is for the events of one stream: "
                 "/api/v1/streams/{stream}/events takes it");
    return false;
}

static bool write_type_is(const char *type, const char *name)
{
    size_t size = strlen(name);
    return type && strncasecmp(type, name, size) == 0 && !isalnum(type[size]);
}

/* Clients of InfluxDB, and Telegraf, say all kinds of types; a protobuf is named as such. False: replied. */
static bool write_type(struct http_request *r, struct write *w)
{
    const struct write_form *form = w->form;
    const char *type = http_header(r, "Content-Type"),
               *encoding = http_header_list(r, "Content-Encoding");
    w->decode = form->protobuf;
    if (!form->protobuf || (form->json && write_type_is(type, "application/json"))) {
        w->decode = form->json;
        return true;
    }
    if (!write_type_is(type, "application/x-protobuf")) {
        http_problem(r, 415, "unsupported_type",
                     "Content-Type %.100s is not understood; application/x-protobuf%s",
                     type ? type : "(none)",
                     form->json ? " and application/json are" : " is");
        return false;
    }
    if (!form->snappy || (encoding && strcasecmp(encoding, "snappy") == 0))
        return true;
    http_problem(r, 415, "unsupported_encoding",
                 "Content-Encoding %.100s is not understood; snappy is",
                 encoding ? encoding : "(none)");
    return false;
}

/* ---- Requests, used again and again ---- */

static void write_free(struct write *w)
{
    if (!w)
        return;
    decoder_free(w->router);
    buffer_free(&w->body);
    free(w->of);
    free(w->part);
    free(w);
}

static struct write *write_new(struct writes *owner)
{
    struct write *w = calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->owner = owner;
    w->of = calloc(owner->posts->n + 1, sizeof(struct post *));
    w->part = calloc(owner->posts->n + 1, sizeof(struct post *));
    if (w->of && w->part && decoder_new(&owner->decode, DECODE_LINES, &w->router) == 0)
        return w;
    write_free(w);
    return NULL;
}

static struct write *write_get(struct writes *owner)
{
    pthread_mutex_lock(&owner->lock);
    struct write *w = owner->idle;
    if (w) {
        owner->idle = w->next;
        owner->n_idle--;
    }
    pthread_mutex_unlock(&owner->lock);
    return w ? w : write_new(owner);
}

static void write_put(struct write *w)
{
    struct writes *owner = w->owner;
    buffer_free(&w->body);
    pthread_mutex_lock(&owner->lock);
    bool keep = owner->n_idle < WRITES_KEPT;
    if (keep) {
        w->next = owner->idle;
        owner->idle = w;
        owner->n_idle++;
    }
    pthread_mutex_unlock(&owner->lock);
    if (!keep)
        write_free(w);
}

static void write_too_large(struct http_request *r, const struct writes *owner)
{
    http_problem(r, 413, "too_large",
                 "a body may have %llu bytes, decompressed; send less at a time",
                 (unsigned long long)owner->max_body);
}

static int write_begin(struct http_request *r, void *ctx, void **ret_state)
{
    struct writes *owner = ctx;
    if (http_length(r) > owner->max_body) {
        write_too_large(r, owner);
        return 1;
    }
    struct write *w = write_get(owner);
    if (!w) {
        answer_no_memory(r);
        return 1;
    }
    for (size_t i = 0; i < WRITE_FORMS; i++)
        if (strcmp(http_path(r), write_forms[i].path) == 0)
            w->form = &write_forms[i];
    if (!write_arguments(r, w) || !write_type(r, w)) {
        write_put(w);
        return 1;
    }
    const struct decode_route route = {write_find, write_room, w};
    w->request = r;
    w->n = w->sent = 0;
    w->bytes = w->held = w->taken = w->batches = 0;
    w->finished = false;
    w->unknown[0] = 0;
    decoder_reset(w->router, 0);
    decoder_set_route(w->router, &route);
    *ret_state = w;
    return 0;
}

/* ---- The body ---- */

/* A negative errno of the router, or of what it calls. */
static void write_give_up(struct http_request *r, const struct write *w, int rc)
{
    if (rc == -ENOMEM)
        answer_no_memory(r);
    else if (rc == -EBADMSG)
        http_problem(r, 400, "malformed", "the body is not %s; nothing was taken",
                     w->form->what);
    else if (rc == -EFBIG)
        http_problem(r, 413, "too_large",
                     "a record, or all of its rows, are too large; nothing was taken");
    else if (rc != -ECANCELED)
        http_problem(r, 500, "failed", "%s; nothing was taken", strerror(-rc));
}

/* Memory for bodies that are not complete yet. False: replied. */
static bool write_hold(struct http_request *r, struct write *w, size_t size)
{
    struct source_post *posts = w->owner->posts;
    w->bytes += size;
    if (w->bytes > w->owner->max_body) {
        write_too_large(r, w->owner);
        return false;
    }
    w->held += size;
    uint64_t before =
        atomic_fetch_add_explicit(&posts->held, size, memory_order_relaxed);
    if (before + size <= SOURCE_HELD_MAX)
        return true;
    answer_too_much_held(r);
    return false;
}

static int write_piece(struct http_request *r, void *state, const char *data,
                       size_t size)
{
    struct write *w = state;
    for (size_t i = 0; i < w->n; i++) {
        struct post *p = w->part[i];
        const struct source_sink *sink = &p->stream->stream->sink;
        decoder_clock(p->feed.decoder, feed_now(&p->feed));
        if (sink->alive)
            sink->alive(sink->ctx, p->source, p->origin);
    }
    if (!write_hold(r, w, size))
        return 1;
    if (w->decode) {
        buffer_put(&w->body, data, size);
        return 0;
    }
    int rc = decoder_feed(w->router, &data, &size, NULL);
    if (rc)
        write_give_up(r, w, rc);
    return rc != 0;
}

/* ---- Its end ---- */

/* How many there were, and what was wrong with the first. */
static void write_put_rejected(struct buffer *to, const struct write *w, uint64_t taken)
{
    const struct decode_stats *d = decoder_stats(w->router);
    const char *one = w->decode ? "row" : "line";
    buffer_printf(to, "partial write: %llu %ss were rejected, %llu are taken",
                  (unsigned long long)d->rejected, one, (unsigned long long)taken);
    for (size_t i = 0; i < d->n_errors && i < WRITE_TOLD; i++)
        buffer_printf(to, "; %s %llu: %s", one, (unsigned long long)d->errors[i].line,
                      d->errors[i].message);
}

/* 400, with the first lines that were wrong. */
static void write_say_rejected(struct http_request *r, const struct write *w,
                               uint64_t taken)
{
    const struct decode_stats *d = decoder_stats(w->router);
    struct http_fault faults[DECODE_ERRORS_MAX];
    struct buffer text = {.limit = 1000};
    write_put_rejected(&text, w, taken);
    for (size_t i = 0; i < d->n_errors; i++) {
        const struct decode_error *e = &d->errors[i];
        faults[i] = (struct http_fault){.line = e->line,
                                        .column = e->column,
                                        .message = e->message,
                                        .reason = decode_reason_name(e->reason)};
    }
    http_problem_errors(r, 400, "invalid", buffer_text(&text), faults, d->n_errors);
    buffer_free(&text);
}

static void write_put_varint(struct buffer *to, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buffer_putc(to, (char)(v | 0x80));
    buffer_putc(to, (char)v);
}

/* ExportMetricsServiceResponse, ExportLogsServiceResponse: partial_success 1, with the number of what was rejected as 1
 * and a text as 2, or nothing. */
static void write_say_export(struct http_request *r, const struct write *w)
{
    const struct decode_stats *d = decoder_stats(w->router);
    struct buffer said = {0}, partial = {0}, text = {.limit = 1000};
    if (d->rejected) {
        write_put_rejected(&text, w, w->taken);
        buffer_puts(&partial, "\x08");
        write_put_varint(&partial, d->rejected);
        buffer_puts(&partial, "\x12");
        write_put_varint(&partial, text.size);
        buffer_put(&partial, text.data, text.size);
        buffer_puts(&said, "\x0a");
        write_put_varint(&said, partial.size);
        buffer_put(&said, partial.data, partial.size);
    }
    buffer_free(&text);
    buffer_free(&partial);
    http_reply_buffer(r, 200, "application/x-protobuf", &said);
}

/* The same as JSON, whose 64-bit numbers are strings. */
static void write_say_export_json(struct http_request *r, const struct write *w)
{
    const struct decode_stats *d = decoder_stats(w->router);
    struct buffer said = {0}, text = {.limit = 1000};
    buffer_putc(&said, '{');
    if (d->rejected) {
        write_put_rejected(&text, w, w->taken);
        buffer_printf(&said, "\"partialSuccess\":{\"%s\":\"%llu\",\"errorMessage\":",
                      w->form->rejected, (unsigned long long)d->rejected);
        buffer_put_json_string(&said, text.data, text.size);
        buffer_putc(&said, '}');
    }
    buffer_puts(&said, "}\n");
    buffer_free(&text);
    http_reply_buffer(r, 200, "application/json", &said);
}

static void write_say_taken(struct http_request *r, struct write *w)
{
    const struct decode_stats *d = decoder_stats(w->router);
    char number[WRITE_NUMBER];
    snprintf(number, sizeof(number), "%llu", (unsigned long long)w->taken);
    http_set_header(r, "Weir-Accepted", number);
    snprintf(number, sizeof(number), "%llu", (unsigned long long)d->unrouted);
    if (d->unrouted)
        http_set_header(r, "Weir-Unknown-Lines", number);
    metric_add(&w->owner->posts->unknown, d->unrouted);
    if (w->form->rejected && w->decode == w->form->json)
        write_say_export_json(r, w);
    else if (w->form->rejected)
        write_say_export(r, w);
    else if (d->rejected)
        write_say_rejected(r, w, w->taken);
    else if (d->unrouted && !w->taken && !w->decode)
        answer_unknown_stream(r, w->owner->posts, w->unknown);
    else
        http_reply(r, 204, NULL, NULL, 0);
}

#ifdef HAVE_SNAPPY

/* The body as it was; no more than a body may have. False: replied. */
static bool write_unpack(struct http_request *r, struct write *w)
{
    size_t size;
    if (snappy_uncompressed_length(w->body.data, w->body.size, &size) != SNAPPY_OK) {
        http_problem(r, 400, "malformed", "the body is not compressed with snappy");
        return false;
    }
    w->bytes = 0;
    if (!write_hold(r, w, size))
        return false;
    struct buffer plain = {.data = malloc(size + 1), .room = size + 1, .size = size};
    bool ok = plain.data && snappy_uncompress(w->body.data, w->body.size, plain.data,
                                              &plain.size) == SNAPPY_OK;
    buffer_free(&w->body);
    w->body = plain;
    if (!plain.data)
        answer_no_memory(r);
    else if (!ok)
        http_problem(r, 400, "malformed", "the body is not compressed with snappy");
    return ok;
}

#else

static bool write_unpack(struct http_request *r, struct write *w)
{
    (void)w;
    http_problem(r, 415, "unsupported_encoding", "there is no snappy");
    return false;
}

#endif

/* The whole of a body that is no line protocol. As write_finish. */
static bool write_decode(struct http_request *r, struct write *w)
{
    static const char pad[DECODE_PAD];
    if (!w->body.error && w->form->snappy && !write_unpack(r, w))
        return false;
    size_t size = w->body.size;
    buffer_put(&w->body, pad, sizeof(pad));
    int rc = w->body.error ? w->body.error : w->decode(w->router, w->body.data, size);
    buffer_free(&w->body);
    if (rc)
        write_give_up(r, w, rc);
    return rc == 0;
}

/* The tail. False: replied, and nothing of the body is taken. */
static bool write_finish(struct http_request *r, struct write *w)
{
    const struct decode_stats *d = decoder_stats(w->router);
    int rc = w->decode ? 0 : decoder_finish(w->router, NULL);
    if (rc)
        write_give_up(r, w, rc);
    if (rc || (w->decode && !write_decode(r, w)))
        return false;
    for (size_t i = 0; i < w->n; i++) {
        struct post *p = w->part[i];
        uint64_t rows = decoder_stats(p->feed.decoder)->accepted;
        p->bytes =
            d->accepted
                ? (uint64_t)((double)w->bytes * (double)rows / (double)d->accepted)
                : 0; /* its share */
    }
    w->finished = true;
    if (!w->whole || !d->rejected)
        return true;
    write_say_rejected(r, w, 0);
    return false;
}

/* 0: all sinks have their rows; 1, -EAGAIN as post_append_last. */
static int write_append(struct http_request *r, struct write *w)
{
    for (; w->sent < w->n; w->sent++) {
        struct post *p = w->part[w->sent];
        p->elsewhere = w->taken;
        p->bounded = w->taken == 0; /* or it waits as long as it takes */
        int rc = post_append_last(r, p);
        if (rc)
            return rc;
        p->sent = p->bounded = true;
        w->taken += p->taken;
    }
    return 0;
}

static int write_end(struct http_request *r, void *state)
{
    struct write *w = state;
    if (!w->finished && !write_finish(r, w))
        return 1;
    int rc = write_append(r, w);
    if (rc)
        return rc;
    for (size_t i = 0; i < w->n; i++)
        if (post_is_pending(w->part[i]))
            return -EAGAIN;
    struct post *failed = NULL;
    w->taken = 0;
    for (size_t i = 0; i < w->n; i++) {
        struct post *p = w->part[i];
        int failure = post_conclude(p);
        if (failure && !failed) {
            failed = p;
            rc = failure;
        }
        w->taken += p->taken;
    }
    if (failed) {
        failed->elsewhere = w->taken - failed->taken;
        answer_not_settled(r, failed, rc);
    } else {
        write_say_taken(r, w);
    }
    return 0;
}

static void write_close(void *state, bool replied)
{
    struct write *w = state;
    for (size_t i = 0; i < w->n; i++)
        post_close(w->part[i], replied);
    memset(w->of, 0, w->owner->posts->n * sizeof(struct post *));
    if (w->held)
        atomic_fetch_sub_explicit(&w->owner->posts->held, w->held,
                                  memory_order_relaxed);
    write_put(w);
}

/* ---- /ping ---- */

/* What clients look for before they write. */
static void write_ping(struct http_request *r, void *ctx)
{
    (void)ctx;
    http_set_header(r, "X-Influxdb-Version", "1.8.0"); /* whose writes are understood */
    http_set_header(r, "X-Influxdb-Build", "weir");
    http_reply(r, 204, NULL, NULL, 0);
}

/* ---- Set-up ---- */

static int writes_index(struct writes *w)
{
    struct source_post *posts = w->posts;
    size_t n = 4;
    while (n < 2 * posts->n)
        n *= 2;
    w->slot = calloc(n, sizeof(*w->slot));
    w->n_slots = n;
    int rc = w->slot ? schema_new(1, "time", &w->schema) : -ENOMEM;
    if (rc)
        return rc;
    w->decode = (struct decode_options){.schema = w->schema,
                                        .time_unit = DECODE_ARRIVAL,
                                        .max_future_skew_us = INT64_MAX};
    for (size_t i = 0; i < posts->n; i++) {
        const struct source_stream *s = posts->stream[i].stream;
        *writes_slot(w, s->name, strlen(s->name)) = (uint32_t)i + 1;
        if (s->max_body > w->max_body)
            w->max_body = s->max_body;
        if (s->decode.record_max > w->decode.record_max)
            w->decode.record_max = s->decode.record_max;
    }
    return 0;
}

int writes_new(struct source_post *owner, struct http_server *server)
{
    static const struct http_upload upload = {write_begin, write_piece, write_end,
                                              write_close};
    struct writes *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    pthread_mutex_init(&w->lock, NULL);
    w->posts = owner;
    owner->writes = w;
    int rc = writes_index(w);
    for (size_t i = 0; !rc && i < WRITE_FORMS; i++) {
        const struct http_route route = {
            .method = "POST",
            .pattern = write_forms[i].path,
            .kind = HTTP_UPLOAD,
            .may = ACCESS_POST, /* to what the rows name: post_open */
            .encoding = write_forms[i].snappy ? "snappy" : NULL,
            .message = true,
            .upload = &upload,
            .ctx = w};
        rc = http_add(server, &route);
    }
    const struct http_route ping = {.method = "GET",
                                    .pattern = "/ping",
                                    .kind = HTTP_PLAIN,
                                    .may = ACCESS_FREE,
                                    .handle = write_ping};
    return rc ? rc : http_add(server, &ping);
}

void writes_free(struct writes *w)
{
    if (!w)
        return;
    struct write *next;
    for (struct write *at = w->idle; at; at = next) {
        next = at->next;
        write_free(at);
    }
    schema_free(w->schema);
    free(w->slot);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
