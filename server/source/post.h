/* SPDX-License-Identifier: Apache-2.0
 *
 * One POST of events under way, and what it is answered (answer.c). Internal to source.
 */
#ifndef WEIR_SOURCE_POST_H
#define WEIR_SOURCE_POST_H

#include "source/feed.h"
#include "source/letters.h"
#include "source/repeat.h"
#include "source/source.h"
#include "source/type.h"

#include <pthread.h>

/* One request's state; kept, with its decoder, for the next one. */
struct post {
    struct source_post *owner;
    struct post_stream *stream;
    struct http_request *request;
    struct post *next; /* in the list of idle ones */
    enum decode_format format;
    struct feed feed;
    struct letters letters;
    struct repeat repeat;
    uint32_t source;
    struct origin
        *origin; /* the connection; NULL: it has a name, or there are too many */
    bool last_of_origin;                        /* no other request comes over it */
    char source_name[TYPE_SOURCE_NAME_MAX + 1]; /* "": none */

    bool bounded;   /* nothing is handed on before its end: it has a length, or a key */
    bool fed;       /* the piece at hand is decoded (it comes again after a pause) */
    bool finished;  /* the tail is decoded */
    bool sent;      /* the last of the body is with the sink */
    uint64_t bytes; /* of the body so far */
    uint64_t held;  /* of them counted in owner->held */
    uint64_t taken; /* rows that the sink has */
    uint64_t last;  /* of them those that the ticket is for */
    uint64_t elsewhere;   /* rows of the same body that other streams have taken */
    struct buffer faults; /* JSON array of what was wrong; empty: nothing */

    struct waiter waiter;
    bool waiting;        /* the waiter may be with the sink */
    int64_t deadline_us; /* of the wait for room; 0: not set */
    struct ticket ticket;
    bool ticketed;     /* the sink was given the ticket */
    _Atomic bool done; /* released by the sink's thread, after the ticket's result */

    bool counted;                      /* the stream's counters have the last rows */
    uint64_t rejected[DECODE_REASONS]; /* rejections that they have */
};

struct post_stream {
    struct source_stream *stream;
    _Atomic uint32_t
        row_bytes; /* of the events seen last; relaxed: a guess for the next batch */
    pthread_mutex_t lock; /* protects the lists */
    struct post *idle[DECODE_FORMATS];
    unsigned n_idle[DECODE_FORMATS];
};

struct source_post {
    _Atomic uint64_t
        held; /* bytes of unfinished bounded bodies; relaxed: a limit only */
    _Atomic size_t
        spare; /* bytes of batches that idle posts keep; relaxed: a limit only */
    _Atomic uint64_t unknown; /* rows that are no stream's */
    struct writes *writes;
    size_t n;
    struct post_stream stream[];
};

/* ---- post.c: what a body for several streams (write.c) has of each ---- */

struct post_stream *post_find(struct source_post *p, const char *name);

/* Begins a post, of what the headers of `r` say. NULL: replied. */
struct post *post_open(struct source_post *owner, struct post_stream *s,
                       struct http_request *r, enum decode_format format);

/* Hands all that was decoded to the sink. 0: it has it; 1: replied; -EAGAIN: come again after http_resume. */
int post_append_last(struct http_request *r, struct post *p);

/* It is handed over, and its ticket is not done. */
bool post_is_pending(const struct post *p);

/* Once it is not pending: counts it. What is wrong, as errno, or 0. */
int post_conclude(struct post *p);

void post_close(void *post, bool replied);

/* ---- write.c: POST /write, /api/v2/write, /api/v3/write_lp ---- */

/* -ENOMEM; as http_add. */
int writes_new(struct source_post *owner, struct http_server *server);
void writes_free(struct writes *w); /* takes NULL */

/* ---- answer.c: each replies, once ---- */

/* What is wrong with the headers. */
void answer_unknown_stream(struct http_request *r, const struct source_post *p,
                           const char *name);
void answer_closed(struct http_request *r, const struct source_stream *s);
void answer_unknown_parameter(struct http_request *r, const char *name);
void answer_unsupported_type(struct http_request *r, const char *type);
void answer_bad_source(struct http_request *r);
void answer_no_source(struct http_request *r, const struct source_stream *s,
                      const char *name, int rc);
void answer_not_ready(struct http_request *r, const struct source_stream *s, int rc);
void answer_no_key(struct http_request *r, int rc);
void answer_too_large(struct http_request *r, const struct source_stream *s);
void answer_no_memory(struct http_request *r);

/* What has come of the body. */
void answer_taken(struct http_request *r, const struct post *p);
void answer_replayed(struct http_request *r, const struct post *p);
void answer_mismatch(struct http_request *r);
void answer_all_rejected(struct http_request *r, const struct post *p);
void answer_failed(struct http_request *r, const struct post *p, int rc);
void answer_not_settled(struct http_request *r, const struct post *p, int rc);
void answer_unknown(struct http_request *r, const struct post *p);
void answer_throttled(struct http_request *r, const struct post *p);
void answer_too_much_held(struct http_request *r);

/* Makes post.faults. Of a request with a key it has at most REQUEST_ERRORS_MAX bytes. */
void answer_make_faults(struct post *p);

#endif
