/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of this folder share; nobody else includes it. docs/http.md draws the
 * life of a request and says which thread does what.
 *
 * A connection owns one struct http_request, used again for each request on it. A query
 * thread that still runs its handler when the connection is closed holds a second
 * reference.
 */
#ifndef WEIR_HTTP_INTERNAL_H
#define WEIR_HTTP_INTERNAL_H

#include "base/queue.h"
#include "http/http.h"

#include <microhttpd.h>
#include <pthread.h>

#define HTTP_SEGMENTS_MAX 16
#define HTTP_PARAMS_MAX   4
#define HTTP_PARAM_ROOM   256  /* a longer one matches no route */
#define HTTP_HEADERS_ROOM 1024 /* of http_set_header in one reply, names and values */
#define HTTP_STATUSES     600
#define HTTP_MEMORY                                                                    \
    (64u << 10) /* of a connection; larger pools cost more than they give */
#define HTTP_BODY_MAX (1u << 20) /* of PLAIN and QUERY requests */
#define HTTP_DISCARD_MAX                                                               \
    (1u << 20) /* a refused body this long is read before the reply */
#define HTTP_LINGER_MAX                                                                \
    (64u << 20)                     /* after a reply in mid-body so much more is read  \
                                     */
#define HTTP_PIPE_ROOM (256u << 10) /* unsent bytes of a streamed reply */
#define HTTP_PIPE_FIRST                                                                \
    (16u << 10) /* less than this, and the reply gets a Content-Length */
#define HTTP_QUERY_WAIT_US                                                             \
    (5 * SECOND_US) /* for a thread of the query pool; then 503 */
#define HTTP_GUNZIP_ROOM (64u << 10)

struct http_segment {
    const char *text; /* NULL: a parameter */
    size_t size;
    const char *name; /* of the parameter */
};

struct http_route_entry {
    struct http_route route;
    char *text; /* the pattern, cut into strings */
    size_t n_segments;
    struct http_segment segment[HTTP_SEGMENTS_MAX];
};

/* Suspended connections: all that wait for http_resume, or for their deadline. And all connections,
 * which are looked at now and then. */
struct http_pauses {
    pthread_mutex_t
        lock; /* protects the rest, and of all requests what they say of it */
    pthread_cond_t changed;
    struct http_request *first;
    struct http_request *connections;
    int64_t wake_us; /* when the timer looks next */
    bool stop;
    bool running;
    pthread_t timer;
};

struct http_query_thread {
    struct http_server *server;
    pthread_t thread;
    pthread_mutex_t lock;         /* protects `request` */
    struct http_request *request; /* whose handler runs */
};

struct http_acceptor {
    int listen_fd, stop_fd; /* -1: none */
    bool running;
    pthread_t thread;
};

struct http_server {
    struct http_options options;
    struct http_acceptor acceptor;
    uint16_t port;
    unsigned idle_timeout_s;
    struct MHD_Daemon *daemon;
    struct http_route_entry *route;
    size_t n_routes;

    struct http_pauses pauses;

    struct queue *queries;
    struct http_query_thread *query_thread;
    unsigned n_query_threads;
    _Atomic unsigned n_queries; /* running and waiting; relaxed, a limit only */

    _Atomic bool draining;     /* relaxed: seen soon enough */
    _Atomic bool stopping;     /* seq_cst against pauses, see pause.c */
    pthread_mutex_t idle_lock; /* protects nothing but the wait for `active` to be 0 */
    pthread_cond_t idle;
    _Atomic uint64_t active; /* requests under way */

    _Atomic uint64_t connections, refused, seconds_ns, bytes_in, other_status;
    _Atomic uint64_t status[HTTP_STATUSES];
};

/* The pipe of a streamed reply: the query thread writes, MHD's content reader takes. */
struct http_stream {
    char *ring; /* HTTP_PIPE_ROOM bytes */
    size_t first, size;
    bool begun;    /* http_begin was called */
    bool started;  /* the response is with MHD */
    bool waiting;  /* the reader has suspended the connection */
    bool finished; /* nothing more comes */
    bool broken;   /* http_abort: the client is to see that the end is missing */
};

struct http_pair {
    enum MHD_ValueKind kind;
    const char *name, *value;
};

struct gunzip;

struct http_request {
    struct http_server *server;
    struct MHD_Connection *connection;
    int fd;
    bool over_limit;       /* the connection is one too many */
    _Atomic uint32_t refs; /* the connection's, the query job's */

    /* Of the request under way. Before and after a query job: the connection's thread.
     * During it: the query thread, except `stream` and `gone`, which `lock` protects.
     */
    const struct http_route_entry *entry;
    const char *method, *path;
    char param[HTTP_PARAMS_MAX][HTTP_PARAM_ROOM];
    int64_t begun_us;
    int64_t queued_us; /* when the query pool got it */
    bool active, chunked, expects_continue, in_body;
    uint64_t length, received; /* Content-Length; bytes of the body seen so far */
    struct buffer body;
    struct gunzip *gunzip;
    void *upload_state;
    bool upload_open;
    bool submitted; /* to the query pool */
    struct http_pair
        *copy; /* arguments and headers, for the query thread; one allocation */
    size_t n_copy;

    bool replied, raw, close_after;
    unsigned status;
    struct MHD_Response *response;
    char headers[HTTP_HEADERS_ROOM]; /* name, 0, value, 0, ... */
    size_t headers_size;

    pthread_mutex_t lock; /* protects what follows */
    pthread_cond_t room;
    struct http_stream stream;
    bool job;  /* a query thread has it */
    bool gone; /* the connection is being closed */
    int64_t looked_us;

    /* Protected by server->pauses.lock. */
    bool paused, pause_pending;
    int64_t pause_until_us;
    struct http_request *pause_next, *pause_prev;
    struct http_request *all_next, *all_prev;
    bool open_ended; /* an upload without a length is under way */
};

/* accept.c */
int accept_new(struct http_acceptor *a);
int accept_listen(struct http_server *s, struct error *error);
int accept_start(struct http_server *s, struct error *error); /* after MHD's daemon */
void accept_stop(struct http_acceptor *a); /* joins the thread, closes the socket */
void accept_free(struct http_acceptor *a);

/* route.c */
int route_compile(const struct http_route *route, struct http_route_entry *ret);
void route_free(struct http_route_entry *e);
/* Finds the route and fills in parameters, or replies 404 or 405. */
bool route_find(struct http_request *r, const char *path, const char *method);

/* request.c: callbacks of MHD */
enum MHD_Result request_handle(void *cls, struct MHD_Connection *c, const char *url,
                               const char *method, const char *version,
                               const char *data, size_t *size, void **req_cls);
void request_completed(void *cls, struct MHD_Connection *c, void **req_cls,
                       enum MHD_RequestTerminationCode toe);
void request_connection(void *cls, struct MHD_Connection *c, void **socket_context,
                        enum MHD_ConnectionNotificationCode toe);
void request_unref(struct http_request *r);
/* A piece of the body, decoded. 0, 1, -EAGAIN as struct http_upload's piece. */
int request_put(struct http_request *r, const char *data, size_t size);

/* fields.c */
int fields_copy(struct http_request *r); /* what a query thread may ask for. -ENOMEM */

/* gunzip.c */
int gunzip_new(struct gunzip **ret);
void gunzip_free(struct gunzip *g);
/* Hands on what comes out with request_put. As there; after -EAGAIN the same data must
 * come again. */
int gunzip_take(struct gunzip *g, struct http_request *r, const char *data,
                size_t size);
bool gunzip_complete(const struct gunzip *g);

/* reply.c */
enum MHD_Result reply_queue(struct http_request *r);
/* Makes the response; takes nothing. For replies that are written by stream.c. */
void reply_set(struct http_request *r, unsigned status, struct MHD_Response *response);

/* pause.c */
int pause_new(struct http_pauses *p);
int pause_start(struct http_pauses *p);
void pause_free(struct http_pauses *p);
/* Suspends the connection; on its own thread. False: it is to go on at once. */
bool pause_enter(struct http_request *r);
void pause_enter_always(struct http_request *r); /* whatever resume came before */
void pause_all_resume(struct http_server *s);
void pause_open_ended(struct http_request *r, bool on); /* an upload without a length */
void pause_connection(struct http_request *r, bool on); /* lists it */
void pause_cut_open_ended(struct http_server *s);

/* stream.c */
void stream_finish(struct http_request *r); /* the handler of the query has returned */
void stream_wake(struct http_request *r);   /* a writer that waits looks again */
void stream_reset(struct http_request *r);

/* queries.c */
int queries_start(struct http_server *s);
void queries_stop(struct http_server *s); /* joins; before the daemon stops */
void queries_free(struct http_server *s); /* after it */
/* Pauses the connection (true: the request is the query thread's now), or replies 503
 * (false). */
bool queries_submit(struct http_request *r);

#endif
