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

#include "config.h"

#include "base/fileid.h"
#include "base/queue.h"
#include "http/guard.h"
#include "http/http.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdalign.h>
#include <sys/socket.h>

#define HTTP_SEGMENTS_MAX 16
#define HTTP_FROM_MAX     64 /* bytes of from_text */
#define HTTP_PARAMS_MAX   4
#define HTTP_PARAM_ROOM   256 /* a longer one matches no route */
#define HTTP_HEADERS_MAX                                                               \
    (24u << 10) /* bytes of http_set_header in one reply; else 500 */
#define HTTP_STATUSES         600
#define HTTP_CONNECTIONS_MORE 64 /* beyond half as many again as max_connections */
#define HTTP_MEMORY                                                                    \
    (32u                                                                               \
     << 10) /* of libmicrohttpd, a connection: zeroed for each request, and has to   \
                 * hold the headers of the reply */
#define HTTP_INPUT_ROOM (64u << 10) /* of a connection whose head is not complete */
#define HTTP_HEAD_MAX   HTTP_INPUT_ROOM
#define HTTP_LINGER_US  (5 * SECOND_US) /* silence of a client that is to go */
#define HTTP_BODY_MAX   (1u << 20)      /* of all requests but uploads */
#define HTTP_DISCARD_MAX                                                               \
    (1u << 20) /* a refused body this long is read before the reply */
#define HTTP_LINGER_MAX                                                                \
    (64u << 20)                     /* after a reply in mid-body so much more is read  \
                                     */
#define HTTP_PIPE_ROOM (256u << 10) /* unsent bytes of a streamed reply, in memory */
#define HTTP_PIPE_LOW                                                                  \
    (HTTP_PIPE_ROOM / 2) /* what goes on with http_more goes on from here */
#define HTTP_PIPE_FIRST                                                                \
    (16u << 10) /* less than this, and the reply gets a Content-Length */
#define HTTP_SPOOLS_LEAST                                                              \
    8 /* files of replies, and one for 16 connections: each is a descriptor */
#define HTTP_QUERY_WAIT_US   (5 * SECOND_US) /* for a thread of the pool; then 503 */
#define HTTP_DECOMPRESS_ROOM (64u << 10)
#define GZIP_LEAST           1024 /* bytes; shorter answers are not packed */
#define GZIP_WHOLE_MAX                                                                 \
    (1u << 20) /* of an answer that is packed on its epoll thread: 10 ms */

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

/* Suspended connections with a deadline. And all connections, which are looked at now and then. */
struct http_pauses {
    pthread_mutex_t
        lock; /* protects the rest, and of all requests what they say of it */
    pthread_cond_t changed;
    struct http_request *first;
    struct http_request *connections;
    int64_t wake_us;   /* when the timer looks next */
    _Atomic bool stop; /* seq_cst against http_request.pause */
    bool running;
    pthread_t timer;
};

enum http_pause { HTTP_RUNNING, HTTP_PAUSED, HTTP_PENDING }; /* pause.c */

/* An epoll thread of libmicrohttpd's, as others see it that resume its connections: the first of them rings, the others
 * put theirs into a list, which the thread empties in its next call (connection.c). */
struct http_lane {
    alignas(64) _Atomic uint32_t
        suspended; /* connections; counted down when one is resumed */
    _Atomic bool rings;
    _Atomic(struct http_request *) first;
};

/* Threads that run handlers of one kind, QUERY or SLOW. */
struct http_pool {
    struct http_server *server;
    unsigned n_threads, max; /* max: running and waiting */
    struct queue *queue;     /* of requests */
    pthread_mutex_t lock;    /* protects both */
    pthread_t *thread; /* the first with the first query, others when all are busy */
    unsigned started;
    _Atomic int idle;   /* threads less what is in the queue or has one; relaxed */
    _Atomic unsigned n; /* whose handler runs or waits to; relaxed, a limit only */
};

enum { HTTP_POOL_QUERY, HTTP_POOL_SLOW, HTTP_POOLS };

struct http_acceptor {
    int listen_fd, stop_fd, reserve_fd; /* -1: none */
    int lock_fd;                        /* of a socket in the file system; -1: none */
    struct file_id file;                /* that socket */
    const char *path;
    bool running;
    pthread_t thread;
};

struct http_server {
    struct http_options options;
    struct http_acceptor acceptor;
    uint16_t port;
    struct MHD_Daemon *daemon;
    struct tls *tls; /* NULL: none */
    unsigned idle_timeout_s;
    struct http_route_entry *route;
    size_t n_routes;

    struct http_pauses pauses;
    struct http_lane *lane; /* options.epoll_threads of them, and one */
    _Atomic unsigned n_lanes;

    struct http_pool pool[HTTP_POOLS];
    _Atomic unsigned spools;  /* files of replies; relaxed, a limit only */
    _Atomic uint64_t spooled; /* bytes in them; likewise */

    _Atomic bool draining;     /* relaxed: seen soon enough */
    _Atomic bool stopping;     /* seq_cst against pauses, see pause.c */
    pthread_mutex_t idle_lock; /* protects nothing but the wait for `active` to be 0 */
    pthread_cond_t idle;
    _Atomic uint64_t active; /* requests under way */

    struct {
        _Atomic int64_t second;
        _Atomic uint64_t n;
    } said; /* refusals told in that second; relaxed, a limit only */

    _Atomic uint64_t connections, refused, seconds_ns, bytes_in, other_status;
    struct histogram duration; /* of requests that have an end of their own */
    _Atomic uint64_t status[HTTP_STATUSES];
};

/* Bytes of a reply that wait in a file. */
struct http_spool {
    bool open;
    int fd;
    uint64_t first, end; /* from `first` on they are unsent */
};

/* The pipe of a streamed reply: the query thread writes, the connection's thread takes. */
struct http_stream {
    char *ring; /* HTTP_PIPE_ROOM bytes */
    size_t first, size;
    struct http_spool spool; /* newer than what is in the ring */
    bool packs;              /* the client wants it packed */
    struct gzip *gzip;       /* it is, from its beginning on; the writer's */
    bool begun;              /* http_begin was called */
    bool started;            /* the reply is being sent */
    bool waiting;            /* the reader has suspended the connection */
    bool finished;           /* nothing more comes */
    bool broken; /* http_abort: the client is to see that the end is missing */
    bool
        parked; /* no thread has the job: it goes on when the client has taken enough */
    bool held;  /* http_hold: parked, whatever the client has taken */
    bool (*more)(void *ctx); /* the job's; NULL: nothing is to be made any more */
    void (*close)(void *ctx);
    void *ctx;
};

struct decompress;
struct gzip;

/* The next bytes of a streamed reply, on the connection's thread: at most `max`. 0: it has called
 * conn_suspend, and is asked again after conn_resume. */
typedef ssize_t http_reader(struct http_request *r, char *out, size_t max);
#define HTTP_READ_END    (-1)
#define HTTP_READ_FAILED (-2) /* the client is to see that the end is missing */

struct http_request {
    struct http_server *server;
    int fd; /* -1: closed */
    struct sockaddr_in6
        peer; /* or a sockaddr_in; of another family where it is not IP */
    struct {
        const void *owner;
        void *thing;
        void (*end)(void *thing);
    } kept[HTTP_KEPT_MAX]; /* http_keep; the connection's thread's */
    unsigned n_kept;
    bool over_limit;       /* the connection is one too many */
    _Atomic uint32_t refs; /* the connection's, the query job's */

    /* Of the request under way. Before and after a query job: the connection's thread.
     * During it: the query thread, except `stream`, `gone` and `left`, which `lock` protects.
     */
    const struct http_route_entry *entry;
    const char *method, *path;
    char param[HTTP_PARAMS_MAX][HTTP_PARAM_ROOM];
    int64_t begun_us;
    int64_t queued_us; /* when the query pool got it */
    bool active, chunked, in_body;
    uint64_t received; /* bytes of the body seen so far */
    struct buffer body;
    struct decompress *decompress;
    void *upload_state;
    bool upload_open;
    bool deferred;  /* a PLAIN one that goes to the query threads as well */
    bool submitted; /* to a pool of query threads */
    bool begun;     /* its handler was called */
    struct buffer head_text;
    struct head head; /* in head_text */

    const char *
        cross; /* the origin of a page that may send requests (CORS); NULL: it is ours, or no page */
    bool replied, close_after;
    bool packs;       /* the client wants a whole reply packed */
    bool origin_told; /* the fields of CORS are set */
    unsigned status;
    struct buffer list;      /* http_header_list's */
    struct buffer headers;   /* lines with CR LF */
    struct buffer reply;     /* its body, if it is whole */
    http_reader *reply_read; /* NULL: it is whole, or at its end */

    pthread_mutex_t lock; /* protects what follows */
    struct http_stream stream;
    bool job;    /* a thread of a pool has it, or it is parked */
    bool gone;   /* the connection is being closed */
    bool left;   /* completed during its job, which is to log it */
    bool probed; /* a client that has half closed was asked if it is there */

    /* Whose token it has; NULL: none, or none is needed. Its thread writes it, with server->pauses.lock, as the timer
     * looks. */
    struct access_user *user;
    bool refused; /* by permit.c */

    _Atomic enum http_pause pause;
    /* Its thread's, and while it is PAUSED of who takes it out of that; in the list also protected by server->pauses.lock. */
    int64_t pause_until_us;
    bool pause_listed;

    /* Protected by server->pauses.lock. */
    struct http_request *pause_next, *pause_prev;
    struct http_request *all_next, *all_prev;
    bool open_ended; /* an upload without a length is under way; its thread writes it */

    /* The connection: its thread. */
    struct MHD_Connection *connection;
    struct http_lane *lane;         /* of its thread */
    struct http_request *lane_next; /* of those to be resumed */
    bool opened;                    /* libmicrohttpd has it */
    struct guard guard;
    struct tls_credentials *credentials; /* of its session */
    bool past;                           /* the answer was sent past libmicrohttpd */
    uint64_t lingered;
};

/* accept.c */
int accept_new(struct http_acceptor *a);
int accept_listen(struct http_server *s, struct error *error);
int accept_start(struct http_server *s, struct error *error); /* after the daemon */
void accept_stop(struct http_acceptor *a); /* joins the thread, closes the socket */
void accept_free(struct http_acceptor *a);

/* route.c */
int route_compile(const struct http_route *route, struct http_route_entry *ret);
void route_free(struct http_route_entry *e);
/* Finds the route and fills in parameters, or replies 404 or 405. */
bool route_find(struct http_request *r);

/* connection.c */
void connection_add(struct http_request *r, const struct sockaddr *address,
                    socklen_t size); /* takes it over */
/* On the connection's thread, in a call of libmicrohttpd's: it gets no further one. */
void conn_suspend(struct http_request *r);
void conn_resume(struct http_request *r); /* any thread; of a suspended one, once */
void lanes_end(struct http_server *s, int64_t deadline_us); /* all are resumed */
enum MHD_Result connection_handle(void *cls, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version,
                                  const char *data, size_t *size, void **req_cls);
void connection_completed(void *cls, struct MHD_Connection *c, void **req_cls,
                          enum MHD_RequestTerminationCode toe);
void connection_notify(void *cls, struct MHD_Connection *c, void **socket_context,
                       enum MHD_ConnectionNotificationCode toe);

/* request.c */
struct http_request *request_new(struct http_server *s, int fd); /* NULL: no memory */
void request_unref(struct http_request *r);
void request_end_kept(struct http_request *r); /* the connection is closed */
void request_begin(struct http_request *r);    /* the head is parsed */
/* A head that is none, a body that is none or does not come: replied, and to be closed. */
void request_refuse_head(struct http_request *r, const struct head_fault *fault);
void request_refuse_body(struct http_request *r, unsigned status, const char *code,
                         const char *text);
/* A piece of the body, as it is sent. PAUSED, AGAIN: the same piece is to come again, after conn_resume,
 * in another turn. */
enum request_body { BODY_TAKEN, BODY_PAUSED, BODY_AGAIN, BODY_FAILED };
enum request_body request_body(struct http_request *r, const char *data, size_t size);
/* The body is complete. PAUSED: it is to be called again. FAILED: there is no reply. */
enum request_end { END_REPLIED, END_PAUSED, END_FAILED };
enum request_end request_end(struct http_request *r);
bool request_has_far_to_go(const struct http_request *r); /* to the end of its body */
void request_completed(struct http_request *r, bool ok);  /* ready for the next one */
/* A piece of the body, decoded. 0, 1, -EAGAIN as struct http_upload's piece. */
int request_put(struct http_request *r, const char *data, size_t size);

/* origin.c: replies 403 or 421 to what another site's page, or a name that is not ours, sends */
bool origin_is_ours(struct http_request *r);
/* A browser asks whether a page of another origin may send a request. False: it does not; true: answered. */
bool origin_preflight(struct http_request *r);
void origin_answer(struct http_request *r); /* what the page may see of the answer */

/* permit.c: only where there are tokens */
bool permit_enter(struct http_request *r); /* false: replied */
/* Before it is reset. `cut`: the client has not got all of its answer. */
void permit_log(struct http_request *r, bool cut);
void permit_leave(struct http_request *r);

/* from.c: an address, "local", and " proto=" */
void from_text(struct http_request *r, char to[HTTP_FROM_MAX]);

/* decompress.c */
#ifdef HAVE_ZSTD
#define DECOMPRESS_ENCODINGS "gzip, zstd"
#else
#define DECOMPRESS_ENCODINGS "gzip"
#endif
/* -ENOTSUP: no such encoding is known; -ENOMEM. */
int decompress_new(const char *encoding, struct decompress **ret);
void decompress_free(struct decompress *u);
const char *decompress_encoding(const struct decompress *u);
/* Hands on what comes out with request_put. As there; after -EAGAIN, and DECOMPRESS_AGAIN (enough for one
 * turn), the same data must come again. */
#define DECOMPRESS_AGAIN 2
int decompress_take(struct decompress *u, struct http_request *r, const char *data,
                    size_t size);
bool decompress_complete(const struct decompress *u);

/* gzip.c */
/* An answer of this type may be packed: says so (Vary), and returns whether the client wants it. */
bool gzip_applies(struct http_request *r, const char *type);
int gzip_new(struct gzip **ret);
void gzip_free(struct gzip *g); /* takes NULL */
/* Hands on what comes out; below 0: what take returned. */
enum gzip_flush { GZIP_ON, GZIP_FLUSH, GZIP_END };
typedef int gzip_taker(void *ctx, const void *data, size_t size);
int gzip_put(struct gzip *g, const void *data, size_t size, enum gzip_flush flush,
             gzip_taker *take, void *ctx);
void gzip_whole(struct http_request *r); /* the reply, where that is worth it */

/* reply.c */
void reply_finish(
    struct http_request *r); /* it is to be sent now, as it is behind this */
void reply_count(struct http_request *r);
/* The reply is a streamed one. */
void reply_stream(struct http_request *r, unsigned status, http_reader *read);

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
/* Nothing more will be written. True: the request was completed before, and the log is left to the job. */
bool stream_finish(struct http_request *r);
void stream_reset(struct http_request *r);
/* The job goes on when the client has taken enough. False: there is nothing to wait for. */
bool stream_park(struct http_request *r);
/* Nothing that is written will be sent. */
bool stream_is_over(struct http_request *r);

/* queries.c */
int queries_start(struct http_server *s);
void queries_stop(struct http_server *s); /* joins; before the daemon stops */
void queries_free(struct http_server *s); /* after it */
/* Pauses the connection (true: the request is the query thread's now), or replies 503
 * (false). */
bool queries_submit(struct http_request *r);
/* With the request's lock held: a parked job goes on. False: the server stops, and the job ends with its connection
 * (queries_drop). */
bool queries_unpark(struct http_request *r);
/* The connection of a parked job is being closed. */
void queries_drop(struct http_request *r);

#endif
