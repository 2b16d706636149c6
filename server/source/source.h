/* SPDX-License-Identifier: Apache-2.0
 *
 * Where events come from: a POST (source/post.c), files and standard input (source/file.c), and what
 * weir reads itself (source/pull.h). A source
 * cuts bytes into pieces, has them decoded into batches, and hands the batches to the stream's sink.
 */
#ifndef WEIR_SOURCE_SOURCE_H
#define WEIR_SOURCE_SOURCE_H

#include "base/error.h"
#include "base/metrics.h"
#include "base/waiter.h"
#include "batch/request.h"
#include "decode/decode.h"
#include "http/http.h"
#include "source/dead_letter.h"

/* What a stream takes; filled in by the wiring. Any thread. */
struct source_sink {
    void *ctx;
    /* 0: it takes requests. -EAGAIN: it will, once what it has on disk is read; -EIO: that cannot be read.
     * NULL: always. */
    int (*ready)(void *ctx);
    /* Number of a named source. -ENOSPC: too many names. -ENOMEM. */
    int (*name)(void *ctx, const char *name, size_t size, uint32_t *ret_source);

    /* The time that an event of a `time: arrival` stream is given when it arrives: never less than before. NULL: the
     * wall clock. */
    int64_t (*now)(void *ctx);

    /* As log_origin, log_origin_end, log_alive and log_waits: who sends, so that what arrives is not taken for silence.
     * NULL, all of them: nobody wants to know. */
    struct origin *(*origin)(void *ctx);
    void (*origin_end)(void *origin);
    void (*alive)(void *ctx, uint32_t source, struct origin *o);
    void (*waits)(void *ctx, uint32_t source, struct origin *o, bool on);
    void (*there)(void *ctx, uint32_t source, bool there); /* as log_there */

    /* Never waits. 0: taken: the batches are the sink's; so is the key, to be completed or abandoned;
     * the ticket is called once, possibly before this returns. -EAGAIN: full, nothing was taken;
     * -ESHUTDOWN; -ENOSPC, -EDQUOT: no room on disk for the journal; -EMSGSIZE: there could never be; -ENOMEM. */
    int (*append)(void *ctx, const struct request *r);
    int (*append_wait)(void *ctx, const struct request *r); /* waits for room instead */
    void (*wait)(void *ctx, struct waiter *w);
    void (*unwait)(void *ctx, struct waiter *w);
    /* After it returns the ticket is not called any more, nor is a call of it under way. Harmless if it
     * was called already. What was taken stays taken. */
    void (*cancel)(void *ctx, struct ticket *t);

    /* As idempotency_begin and idempotency_abandon. Who has reserved a key abandons it, unless append
     * has taken it. */
    int (*key_begin)(void *ctx, const char *key, size_t size,
                     struct request_known *ret);
    void (*key_abandon)(void *ctx, const char *key, size_t size);

    /* As log_bookmark. NULL: nothing is remembered. */
    int (*bookmark)(void *ctx, uint32_t source, char **ret);
    /* As log_known_bookmarks. NULL: likewise. */
    int (*bookmarks)(void *ctx,
                     int (*call)(void *ctx, const char *source, const char *bookmark),
                     void *call_ctx);

    /* Rejected records, all of one stream: copied. Never waits; what does not fit is dropped and
     * counted. NULL: nobody keeps them. */
    void (*dead)(void *ctx, const struct dead_letter *list, size_t n);
};

struct config_stream;

/* A stream with other fields than at the start. */
struct source_change {
    struct decode_options decode;
    const struct config_stream *config;
    struct source_change
        *before; /* what it took the place of: requests may have it still */
};

/* A stream as sources see it. Outlives the HTTP server. */
struct source_stream {
    const char *name;
    struct decode_options decode; /* as at the start, */
    /* and since fields were added; NULL: they are the same. What a request began with serves it to its end; release,
     * acquire. */
    _Atomic(const struct source_change *) change;
    struct source_sink sink;
    uint64_t max_body;     /* bytes of a bounded request, decompressed */
    int64_t queue_wait_us; /* then 429 */
    bool closed;           /* nothing is taken but what weir reads itself */
    bool durable;          /* answers wait until the events are on disk */
    struct pull *pull;     /* what weir reads itself; NULL: nothing */
    _Atomic uint64_t accepted, rejected[DECODE_REASONS], requests, bytes, throttled,
        no_space, too_large, skipped;
};

static inline const struct decode_options *source_decode(const struct source_stream *s)
{
    const struct source_change *c =
        atomic_load_explicit(&s->change, memory_order_acquire);
    return c ? &c->decode : &s->decode;
}

/* weir_events_total, weir_rejected_total{reason}, ... of a stream. The stream outlives the registry's
 * last scrape. -ENOMEM. */
int source_count(struct source_stream *s, struct metrics *metrics);

/* ---- POST /api/v1/streams/{stream}/events; /write, /api/v2/write, /api/v3/write_lp ---- */

/* Bytes of bounded bodies that wait for their end, all requests together; more are answered 503. */
#define SOURCE_HELD_MAX ((uint64_t)512 << 20)

struct source_post;

/* Adds the routes to `server`, before http_start. The streams stay the caller's. -ENOMEM. */
int source_post_new(struct source_stream *streams, size_t n, struct http_server *server,
                    struct source_post **ret, struct error *error);
/* Registers what is no stream's. */
int source_post_count(struct source_post *p, struct metrics *m);
void source_post_free(struct source_post *p); /* after http_free; takes NULL */

/* ---- What weir reads itself: `source:` of a stream (config/config.h) ---- */

struct source_pulls;
struct config_source;

/* Of those of the n streams that have one. All stay the caller's. */
int source_pulls_new(struct source_stream *streams, const struct config_stream *config,
                     size_t n, struct metrics *metrics, struct source_pulls **ret,
                     struct error *error);
/* Could it be read? Asks whoever has it, for some seconds at most. Nothing is changed. -ENOENT: a file is not there yet; others:
 * no. */
int source_pull_try(const struct config_source *config, struct error *error);

struct source_state {
    const char *kind, *unit; /* "file", "bytes"; "kafka", "messages"; "mqtt", NULL: */
    uint64_t lag;            /* that were not read yet; unit NULL: nobody knows */
    struct error trouble;    /* why it is not read; "": it is */
};

/* False: the stream has no source of its own. Any thread. */
bool source_state(const struct source_stream *s, struct source_state *ret);

/* Each waits until its stream is ready. */
int source_pulls_start(struct source_pulls *all, struct error *error);
/* One of them reads no more; the text says why. Any thread. NULL: none has. */
bool source_pulls_failed(struct source_pulls *all, struct error *ret);
void source_pulls_end(struct source_pulls *all); /* waits; takes NULL */
void source_pulls_free(struct source_pulls *all);

/* ---- Files ---- */

#define SOURCE_BY_NAME (-1) /* .ndjson .jsonl .json .csv .lp; standard input: NDJSON */

struct source_files {
    struct source_stream *stream;
    const char *const
        *path;     /* "-": standard input; gzip is noticed by its first bytes */
    const int *fd; /* of each file, which stay the caller's; NULL: they are opened */
    size_t n;
    int format; /* enum decode_format, or SOURCE_BY_NAME */
    /* May be NULL. After each piece: bytes read and the size of all files (0: not known), compressed
     * where they are, and events accepted. */
    void (*progress)(void *ctx, uint64_t bytes, uint64_t total, uint64_t rows);
    /* May be NULL. Before the rows of a piece of the file-th are decoded and put: its bytes, unpacked, 1 MiB but for a file's
     * last; and behind that, before what it leaves is put, no bytes. Below 0: no more is read, and the error is set. */
    int (*piece)(void *ctx, size_t file, const char *data, size_t size,
                 struct error *error);
    /* May be NULL. Once for a file, at its end, before its last piece: is it its end? Below 0: it is given up, and the error is set. */
    int (*last)(void *ctx, int fd, struct error *error);
    void *ctx;
    const _Atomic bool *stop; /* may be NULL; set: stop soon, -EINTR */
};

/* The format that its name says. It says none: -EINVAL, with the text. */
int source_file_format(const char *path, enum decode_format *ret, struct error *error);

struct source_fault {
    const char *path;
    struct decode_error error;
};

struct source_result {
    uint64_t accepted, rejected, by_reason[DECODE_REASONS];
    size_t n_faults; /* the first DECODE_ERRORS_MAX of all files */
    struct source_fault fault[DECODE_ERRORS_MAX];
};

/* Reads the files one after the other, in order, and puts their events into the stream as fast as it
 * takes them. `ret` is filled in also on failure: what was accepted before stays. -EINVAL: a name
 * that does not say the format; -ENOENT, -EACCES, -EISDIR, -EIO...: with the path; -EBADMSG: the rest
 * of a file cannot be read as its format; -ESHUTDOWN; -EINTR; -ENOMEM. Not thread-safe for one `ret`. */
int source_file(const struct source_files *files, struct source_result *ret,
                struct error *error);

#endif
