/* SPDX-License-Identifier: Apache-2.0
 *
 * The embedded HTTP/1.1 server: epoll threads, routes, uploads handed on piece by piece, replies,
 * problem+json. Knows nothing of events or tables.
 *
 * Four kinds of route:
 *   plain   the handler runs on an epoll thread with the body complete (at most 1 MiB); it must be
 *           quick: no disk, no waiting
 *   query   the handler runs on a thread of the query pool and may take its time; it writes the reply
 *           with http_begin, http_write, http_more; a client that is slow holds no thread
 *   slow    the same on threads of their own: what may take seconds delays no query
 *   upload  the body goes piece by piece to struct http_upload, on an epoll thread
 */
#ifndef WEIR_HTTP_HTTP_H
#define WEIR_HTTP_HTTP_H

#include "access/access.h"
#include "base/buffer.h"
#include "base/cidr.h"
#include "base/error.h"
#include "base/metrics.h"
#include "http/tls.h"

#include <stdbool.h>

struct http_server;
struct http_request;

struct http_options {
    const char *address;
    uint16_t port;
    unsigned epoll_threads;
    unsigned max_connections; /* more are answered 503 */
    /* Of QUERY and of SLOW routes; 0 threads: there are no such routes. Running and waiting; more are answered
     * 503. */
    unsigned query_threads, max_queries;
    unsigned slow_threads, max_slow;
    uint64_t
        max_spooled; /* bytes of all replies together that wait in files; default 1 GiB */
    /* Of a connection that neither sends nor takes anything; default 60s. Not while a request waits
     * for its answer, nor in a chunked body: there TCP keep-alive finds out that nobody is there. */
    int64_t idle_timeout_us;
    /* Names that Host may hold besides loopback's and `address`, up to NULL; "*": any. NULL: any. A page
     * of another site that has its own name lead here (DNS rebinding) is refused by this. */
    const char *const *hosts;
    /* Pages of these origins ("https://a.example"; "*": any) may send requests, up to NULL (CORS). NULL: none but ours. */
    const char *const *origins;
    /* Listen on this socket instead of `address`, with this mode and for this group; group NULL: as the process. */
    const char *socket, *socket_group;
    unsigned socket_mode;
    /* Who may do what (access/access.h); NULL: everybody everything. */
    struct access *access;
    unsigned
        audit; /* bits 1 << enum access_verb: such requests are logged; refused ones are always */
    struct tls_options tls; /* certificate NULL: no TLS */
    /* Whose X-Forwarded-For and X-Forwarded-Proto the log believes. */
    const struct cidr *proxies;
    size_t n_proxies;
};

/* A streamed body. Methods run on the connection's epoll thread, one after the other.
 */
struct http_upload {
    /* Headers are in. 0: go on; *ret_state is for the other calls. 1: replied
     * (http_problem), no other call follows; what comes of the body is thrown away. */
    int (*begin)(struct http_request *r, void *ctx, void **ret_state);
    /* A piece, gzip already undone. 0: taken. 1: replied (the rest is thrown away).
     * -EAGAIN: not taken, the same piece is to come again after http_resume. */
    int (*piece)(struct http_request *r, void *state, const char *data, size_t size);
    /* The body is complete: reply. -EAGAIN: call again after http_resume. */
    int (*end)(struct http_request *r, void *state);
    /* The last call after a begin that returned 0, also when the client went away in
     * mid-body. */
    void (*close)(void *state, bool replied);
};

struct http_route {
    const char *method;  /* "GET" also answers HEAD */
    const char *pattern; /* "/api/v1/streams/{stream}/events": up to 4 parameters */
    enum { HTTP_PLAIN, HTTP_QUERY, HTTP_SLOW, HTTP_UPLOAD } kind;
    /* What it wants to do, to the {stream} or the {pipeline} of its pattern; what it names elsewhere its handler asks for, with
     * http_may. A route that does not say it is refused. */
    enum access_verb may;
    bool
        bodyless; /* POST: it may come without a body and its length; others are answered 411 */
    bool
        by_key; /* key columns are arguments: they may be there again, and hold zeros (http_argument); of other routes
                 * such are answered 400 */
    bool
        patient; /* QUERY, or deferred: it waits for its turn, however many others do */
    bool probe;  /* answered on a connection over the limit, too */
    const char
        *encoding; /* UPLOAD: a Content-Encoding that it undoes itself; NULL: none */
    bool
        message; /* a problem is told as application/json, and its detail also as `message` and `error`, its first line
                   * also as `line`: what clients of other servers look for */
    void (*handle)(struct http_request *r, void *ctx); /* all but UPLOAD: must reply */
    const struct http_upload *upload;
    void *ctx;
};

/* How many file descriptors so many connections may take. */
unsigned http_descriptors(unsigned connections);

/* Binds and listens, answers nothing yet. -EADDRINUSE, -EACCES, -ENOMEM, ... with a
 * text. */
int http_new(const struct http_options *options, struct metrics *metrics,
             struct http_server **ret, struct error *error);
/* Before http_start; copied. -EINVAL: it does not say what it wants to do. */
int http_add(struct http_server *s, const struct http_route *route);
int http_start(struct http_server *s, struct error *error);
/* Certificates and keys are read again, for connections to come; without TLS nothing happens. On failure all stays as it was. */
int http_reload(struct http_server *s, struct error *error);
uint16_t http_port(const struct http_server *s);
/* No new connections; requests under way are finished until the deadline
 * (clock_monotonic_us). */
void http_drain(struct http_server *s, int64_t deadline_us);
void http_free(struct http_server *s);

/* Of the request. Strings live as long as the request; NULL: not there. */
const char *http_param(const struct http_request *r,
                       const char *name); /* of the pattern */
const char *http_query(const struct http_request *r, const char *name); /* decoded */
/* The value of the i-th argument; NULL: there are no more. Its size: it may hold zeros where the route
 * says so. */
const char *http_argument(const struct http_request *r, size_t i, const char **ret_name,
                          size_t *ret_size);
/* All query arguments in order; call returns false to stop. */
void http_each_query(const struct http_request *r,
                     bool (*call)(void *ctx, const char *name, const char *value),
                     void *ctx);
/* Whether one of its name stands before the i-th argument. */
bool http_argument_again(const struct http_request *r, size_t i);
const char *http_header(const struct http_request *r, const char *name);
/* Of a field that is a list: all lines of it as one, until the next call. */
const char *http_header_list(struct http_request *r, const char *name);
const char *http_method(const struct http_request *r);
const char *http_path(const struct http_request *r);
const char *http_body(const struct http_request *r, size_t *size); /* all but UPLOAD */
bool http_has_length(const struct http_request *r); /* false: chunked, may never end */
uint64_t
http_length(const struct http_request *r); /* Content-Length, as sent; 0: none */

/* Something of the caller's that lives as long as the connection: `end` is called once, when it is closed, after
 * all requests on it. `owner` is by whom it is found again; HTTP_KEPT_MAX of them at most (-ENOSPC). On the
 * connection's thread, in the methods of an upload. */
#define HTTP_KEPT_MAX 8
int http_keep(struct http_request *r, const void *owner, void *thing,
              void (*end)(void *thing));
void *http_kept(const struct http_request *r, const void *owner); /* NULL: nothing */
/* The client says that this request is the last one. */
bool http_is_last(const struct http_request *r);

/* May who has sent the request do what its route does with this, too, or with all of a kind? Or does what it has allow for
 * another verb? Without tokens: yes. Any thread that has the request. */
bool http_may(const struct http_request *r, enum access_kind kind, const char *name);
bool http_may_all(const struct http_request *r, enum access_kind kind);
bool http_has_verb(const struct http_request *r, enum access_verb verb);
void http_forbid(struct http_request *r, enum access_kind kind,
                 const char *name); /* replies 403 */
/* In the methods of an upload: so many events were taken. And whether more of them may follow; false: return -EAGAIN, it
 * is resumed when they may. */
void http_spend(struct http_request *r, uint64_t events);
bool http_may_go_on(struct http_request *r);

/* Any thread: a paused upload (after -EAGAIN) goes on. Never blocks. Harmless if it is
 * not paused yet: then it does not pause. */
void http_resume(struct http_request *r);

/* Before -EAGAIN: the pause ends by then (clock_monotonic_us), resumed or not. */
void http_resume_at(struct http_request *r, int64_t deadline_us);

/* In the handler of a PLAIN route that is to take its time after all. True: it returns, without a reply, and is called again, on
 * a thread of the query pool. False: this is that call. */
bool http_defer(struct http_request *r);

/* Replies; once for each request. The body is copied. */
void http_reply(struct http_request *r, unsigned status, const char *content_type,
                const void *body, size_t size);
void http_reply_buffer(
    struct http_request *r, unsigned status, const char *content_type,
    struct buffer *body); /* 500 if the buffer has failed; empties it */
void http_set_header(struct http_request *r, const char *name,
                     const char *value); /* before */

/* application/problem+json (RFC 9457):
 * {"type":"about:blank","title":...,"status":...,"code":..., "detail":...,
 * "errors":[...]}; `code` is stable and machine-readable: "unknown_stream". */
struct http_fault {
    uint64_t line;   /* 0: not said */
    uint32_t column; /* 0: not said */
    const char *message;
    const char *reason; /* NULL: not said */
};
void http_problem(struct http_request *r, unsigned status, const char *code,
                  const char *format, ...) __attribute__((format(printf, 4, 5)));
void http_problem_errors(struct http_request *r, unsigned status, const char *code,
                         const char *detail, const struct http_fault *errors, size_t n);
void http_put_faults(struct buffer *b, const struct http_fault *errors,
                     size_t n); /* the array */

/* Streamed replies, QUERY and SLOW only. The first 16 KiB, and then small writes, are held back
 * until there is more, http_flush, or the handler's return; a reply that stays below 16
 * KiB gets a Content-Length. Write never waits for the client: what is unsent beyond 256 KiB goes to a
 * file without a name. -EPIPE: the client went away, the server stops, or the method is HEAD: give up. -ENOSPC: the
 * files of all replies together have max_spooled bytes, or the disk is full. -ENOMEM, -EIO, ... */
int http_begin(struct http_request *r, unsigned status, const char *content_type);
int http_write(struct http_request *r, const void *data, size_t size);
int http_flush(struct http_request *r);
/* Something of a reply that http_begin began is on its way. Before that http_problem may take its place. */
bool http_is_under_way(struct http_request *r);
/* The rest cannot be made: the client is to see that the reply is cut. The handler
 * returns then. */
void http_abort(struct http_request *r);
bool http_gone(
    struct http_request *r); /* the client went away; may be asked any time */

/* For replies of any length, in the handler: once it has returned, more(ctx) is called, on a thread of the same pool,
 * whenever at most 128 KiB are unsent, until it returns false; in between the reply holds no thread. Last, and
 * in any case, close(ctx). */
void http_more(struct http_request *r, bool (*more)(void *ctx),
               void (*close)(void *ctx), void *ctx);

/* In the handler, after http_begin: the reply stays open once it has returned, without a thread, until the client goes,
 * the server stops, or http_let_go. Meanwhile others write to it, with http_write and http_flush. close(ctx) is the last
 * call, in any case; until it is made, the request lives. */
void http_hold(struct http_request *r, void (*close)(void *ctx), void *ctx);
/* Any thread, before close(ctx): the reply ends here. */
void http_let_go(struct http_request *r);
/* Bytes of a streamed reply that the client has not taken yet. Any thread. */
uint64_t http_unsent(struct http_request *r);

#endif
