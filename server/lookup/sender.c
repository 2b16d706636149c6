/* SPDX-License-Identifier: Apache-2.0
 *
 * libcurl's multi interface with an epoll of our own: a wake-up costs what has happened, not what is under way, so that
 * thousands of requests are. Handles are used again; they are the dearest part of a request.
 *
 * libcurl goes through all connections to a host for one that is free. So requests are dealt out to pools of connections, the first
 * that has room: few requests have one pool, and its connections are used again as ever.
 *
 *      pool 0: 64 under way | pool 1: 64 | pool 2: 13 | ...     one epoll: (pool, socket)
 */
#include "config.h"

#include "lookup/sender.h"

#include <errno.h>

#ifdef HAVE_LIBCURL

#include "base/buffer.h"
#include "base/clock.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ANSWER_MAX     65536 /* bytes of an answer that are read, and thrown away */
#define RETRY_AFTER_US (3600 * SECOND_US) /* believed at most */
#define EVENTS_MAX     256                /* of one wake-up */
#define KEPT_MAX       1024       /* handles that are not in use; some 5 KiB each */
#define POOL_ROOM      64         /* requests under way */
#define POOLS_MAX      256        /* the last one takes what is more */
#define WAKE           UINT32_MAX /* in place of a pool's number */

/* Connections, and who may use them. */
struct pool {
    struct sender *sender;
    CURLM *multi;
    uint32_t number;
    size_t n;         /* under way */
    int running;      /* of these, as libcurl said last: others have ended */
    int64_t timer_us; /* libcurl wants to be called; INT64_MAX: not */
};

struct sending {
    struct sender *sender;
    struct pool *pool;
    CURL *easy;
    struct curl_slist *headers;
    void *ctx;
    size_t answered; /* bytes */
    size_t answer_max;
    struct buffer body;
    char text[CURL_ERROR_SIZE];
    struct sending *next, *prev;
};

struct sender {
    struct pool *pool[POOLS_MAX];
    size_t n_pools;        /* that were needed once */
    long connections;      /* at most, all pools together */
    struct sending *first; /* under way */
    struct sending *kept;  /* for later ones, by next */
    struct sending *told;  /* its answer was given out by sender_next */
    size_t n_kept;
    size_t looked_at; /* pools whose answers sender_next has given out */
    int epoll, wake;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode global;

static void setup(void)
{
    global = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* ---- What libcurl waits for ---------------------------------------------------------------------- */

static uint64_t event_of(uint32_t pool, int fd)
{
    return (uint64_t)pool << 32 | (uint32_t)fd;
}

static int watch_socket(CURL *easy, curl_socket_t socket, int what, void *pool,
                        void *known)
{
    struct pool *p = pool;
    struct sender *s = p->sender;
    struct epoll_event e = {.data.u64 = event_of(p->number, socket)};
    (void)easy;
    if (what == CURL_POLL_REMOVE) { /* it may be closed already */
        epoll_ctl(s->epoll, EPOLL_CTL_DEL, socket, NULL);
        return 0;
    }
    e.events =
        (what != CURL_POLL_OUT ? EPOLLIN : 0u) | (what != CURL_POLL_IN ? EPOLLOUT : 0u);
    if (epoll_ctl(s->epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, socket, &e) < 0 &&
        (errno == ENOENT ||
         errno == EEXIST)) /* the number belongs to another file now */
        epoll_ctl(s->epoll, errno == ENOENT ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, socket,
                  &e);
    curl_multi_assign(p->multi, socket, p);
    return 0;
}

static int set_timer(CURLM *multi, long ms, void *pool)
{
    struct pool *p = pool;
    (void)multi;
    p->timer_us = ms < 0 ? INT64_MAX : clock_monotonic_us() + (int64_t)ms * 1000;
    return 0;
}

/* ---- Pools --------------------------------------------------------------------------------------- */

/* Of the limit each has what the others leave. */
static void share_connections(struct sender *s)
{
    long each = s->connections / (long)s->n_pools;
    for (size_t i = 0; i < s->n_pools; i++) {
        CURLM *multi = s->pool[i]->multi;
        curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, each);
        curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, each);
    }
}

static int add_pool(struct sender *s)
{
    struct pool *p = calloc(1, sizeof(*p));
    if (!p || !(p->multi = curl_multi_init())) {
        free(p);
        return -ENOMEM;
    }
    p->sender = s;
    p->number = (uint32_t)s->n_pools;
    p->timer_us = INT64_MAX;
    curl_multi_setopt(p->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
    curl_multi_setopt(p->multi, CURLMOPT_SOCKETDATA, p);
    curl_multi_setopt(p->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(p->multi, CURLMOPT_TIMERDATA, p);
    s->pool[s->n_pools++] = p;
    share_connections(s);
    return 0;
}

/* The first with room, or a fresh one; without memory for that, or with so many that one more would leave none of them
 * a connection for each of its requests, the last. */
static struct pool *choose_pool(struct sender *s)
{
    for (size_t i = 0; i < s->n_pools; i++)
        if (s->pool[i]->n < POOL_ROOM)
            return s->pool[i];
    if (s->n_pools < POOLS_MAX && (long)(s->n_pools + 1) * POOL_ROOM <= s->connections)
        add_pool(s);
    return s->pool[s->n_pools - 1];
}

int sender_new(unsigned connections, struct sender **ret, struct error *error)
{
    pthread_once(&once, setup);
    struct sender *s = calloc(1, sizeof(*s));
    if (s)
        s->connections = (long)connections;
    if (!s || global || add_pool(s) < 0) {
        free(s);
        return error_set(error, -ENOMEM, "libcurl: out of memory");
    }
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = event_of(WAKE, s->wake)};
    if (s->epoll < 0 || s->wake < 0 ||
        epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->wake, &e) < 0) {
        int err = -errno;
        sender_free(s);
        return error_set(error, err, "no file descriptor for requests: %s",
                         strerror(-err));
    }
    *ret = s;
    return 0;
}

/* ---- Requests ------------------------------------------------------------------------------------ */

static void free_handle(struct sending *r)
{
    curl_easy_cleanup(r->easy);
    buffer_free(&r->body);
    free(r);
}

/* Its handle is kept for another one. */
static void sending_end(struct sending *r)
{
    struct sender *s = r->sender;
    if (r->prev || s->first == r) {
        *(r->prev ? &r->prev->next : &s->first) = r->next;
        r->pool->n--;
    }
    if (r->next)
        r->next->prev = r->prev;
    curl_slist_free_all(r->headers);
    if (!r->easy || s->n_kept >= KEPT_MAX) {
        free_handle(r);
        return;
    }
    curl_easy_reset(r->easy);
    buffer_clear(&r->body);
    *r = (struct sending){
        .sender = s, .easy = r->easy, .body = r->body, .next = s->kept};
    s->kept = r;
    s->n_kept++;
}

void sender_cancel(struct sending *r)
{
    if (!r)
        return;
    curl_multi_remove_handle(r->pool->multi, r->easy);
    sending_end(r);
}

static void end_told(struct sender *s)
{
    if (s->told)
        sending_end(s->told);
    s->told = NULL;
}

void sender_free(struct sender *s)
{
    if (!s)
        return;
    end_told(s);
    while (s->first)
        sender_cancel(s->first);
    for (struct sending *r = s->kept, *next; r; r = next) {
        next = r->next;
        free_handle(r);
    }
    for (size_t i = 0; i < s->n_pools; i++) {
        curl_multi_cleanup(s->pool[i]->multi);
        free(s->pool[i]);
    }
    if (s->epoll >= 0)
        close(s->epoll);
    if (s->wake >= 0)
        close(s->wake);
    free(s);
}

/* One who answers without end is cut off. */
static size_t take_answer(char *bytes, size_t size, size_t n, void *sending)
{
    struct sending *r = sending;
    size_t max = r->answer_max ? r->answer_max : ANSWER_MAX;
    r->answered += size * n;
    if (r->answered > max)
        return 0;
    if (r->answer_max)
        buffer_put(&r->body, bytes, size * n);
    return r->body.error ? 0 : size * n;
}

static bool add_header(struct sending *r, const char *header)
{
    struct curl_slist *list = curl_slist_append(r->headers, header);
    if (list)
        r->headers = list;
    return list;
}

#define SET(option, value)                                                             \
    ((void)(failed = curl_easy_setopt(e, option, value) != CURLE_OK || failed))

static int set_options(struct sending *r, const struct sender_request *q)
{
    CURL *e = r->easy;
    bool ok = !q->body || add_header(r, "Expect:");
    for (size_t i = 0; ok && i < q->n_headers; i++)
        ok = add_header(r, q->header[i]);
    bool failed = !ok;
    SET(CURLOPT_URL, q->url);
#if LIBCURL_VERSION_NUM >= 0x075500
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
    SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
    /* A name that does not resolve in time is not waited for. */
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
#endif
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PATH_AS_IS, 1L); /* a value that is ".." stays one */
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_USERAGENT, "weir/" PACKAGE_VERSION);
    SET(CURLOPT_HTTPHEADER, r->headers);
    if (q->body) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDS, q->body);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->size);
    }
    SET(CURLOPT_TIMEOUT_MS, (long)(q->timeout_us / 1000));
    SET(CURLOPT_WRITEFUNCTION, take_answer);
    SET(CURLOPT_WRITEDATA, r);
    SET(CURLOPT_ERRORBUFFER, r->text);
    SET(CURLOPT_PRIVATE, r);
    if (q->ca_file)
        SET(CURLOPT_CAINFO, q->ca_file);
    return failed ? -EINVAL : 0;
}

static struct sending *new_handle(struct sender *s)
{
    struct sending *r = s->kept;
    if (r) {
        s->kept = r->next;
        s->n_kept--;
        r->next = NULL;
        return r;
    }
    if (!(r = calloc(1, sizeof(*r))))
        return NULL;
    r->sender = s;
    if (!(r->easy = curl_easy_init())) {
        free(r);
        return NULL;
    }
    return r;
}

int sender_begin(struct sender *s, const struct sender_request *q, struct sending **ret,
                 struct error *error)
{
    struct sending *r = new_handle(s);
    if (!r)
        return error_set(error, -ENOMEM, "out of memory");
    r->ctx = q->ctx;
    r->answer_max = q->answer_max;
    r->pool = choose_pool(s);
    int err = set_options(r, q);
    if (!err && curl_multi_add_handle(r->pool->multi, r->easy))
        err = -ENOMEM;
    if (err) {
        sending_end(r);
        return error_set(error, err, "libcurl does not take the request");
    }
    r->next = s->first;
    if (r->next)
        r->next->prev = r;
    s->first = r;
    r->pool->n++;
    r->pool->running++;
    *ret = r;
    return 0;
}

/* ---- Waiting ------------------------------------------------------------------------------------- */

static void act(struct sender *s, const struct epoll_event *e)
{
    const uint32_t number = (uint32_t)(e->data.u64 >> 32);
    const int fd = (int)(uint32_t)e->data.u64;
    int mask = 0;
    uint64_t woken;
    if (number == WAKE) {
        while (read(s->wake, &woken, sizeof(woken)) > 0)
            ;
        return;
    }
    struct pool *p = s->pool[number];
    mask |= e->events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0;
    mask |= e->events & EPOLLOUT ? CURL_CSELECT_OUT : 0;
    mask |= e->events & EPOLLERR ? CURL_CSELECT_ERR : 0;
    curl_multi_socket_action(p->multi, fd, mask, &p->running);
}

/* Those that are due. Returns when the next is; 0: at once, as what has ended is to be told of. */
static int64_t run_timers(struct sender *s)
{
    int64_t now_us = clock_monotonic_us(), next_us = INT64_MAX;
    for (size_t i = 0; i < s->n_pools; i++) {
        struct pool *p = s->pool[i];
        if (p->timer_us <= now_us) {
            p->timer_us = INT64_MAX;
            curl_multi_socket_action(p->multi, CURL_SOCKET_TIMEOUT, 0, &p->running);
        }
        if (p->timer_us < next_us)
            next_us = p->timer_us;
        if ((size_t)p->running < p->n)
            next_us = 0;
    }
    return next_us;
}

void sender_wait(struct sender *s, int64_t timeout_us)
{
    struct epoll_event event[EVENTS_MAX];
    int64_t next_us = run_timers(s); /* what has just begun */
    int64_t us = next_us == INT64_MAX ? INT64_MAX : next_us - clock_monotonic_us();
    us = timeout_us < us ? timeout_us : us;
    int64_t ms = us < 0 ? 0 : us / 1000 + (us % 1000 > 0);
    int n = epoll_wait(s->epoll, event, EVENTS_MAX, ms > 1000000 ? 1000000 : (int)ms);
    for (int i = 0; i < n; i++)
        act(s, &event[i]);
    run_timers(s);
}

void sender_wake(struct sender *s)
{
    uint64_t one = 1;
    ssize_t n = write(s->wake, &one, sizeof(one)); /* full: it is awake */
    (void)n;
}

bool sender_next(struct sender *s, struct sender_answer *ret)
{
    CURLMsg *m = NULL;
    int left;
    end_told(s);
    for (; !m && s->looked_at < s->n_pools; s->looked_at += !m)
        while ((m = curl_multi_info_read(s->pool[s->looked_at]->multi, &left)) &&
               m->msg != CURLMSG_DONE)
            ;
    if (!m) {
        s->looked_at = 0;
        return false;
    }
    struct sending *r = NULL;
    CURLcode code = m->data.result;
    long status = 0;
    curl_off_t after_s = 0;
    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&r);
    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(r->easy, CURLINFO_RETRY_AFTER, &after_s);
    *ret = (struct sender_answer){.ctx = r->ctx,
                                  .body = r->answer_max ? buffer_text(&r->body) : NULL,
                                  .size = r->body.size};
    /* An answer that was cut short by the other end is none; one that was too long is one, where only its status is
     * wanted. */
    bool too_long = code == CURLE_WRITE_ERROR &&
                    r->answered > (r->answer_max ? r->answer_max : ANSWER_MAX);
    if (code == CURLE_OK || (too_long && !r->answer_max))
        ret->status = (int)status;
    if (too_long && r->answer_max)
        error_set(&ret->error, -EFBIG, "the answer has more than %zu bytes",
                  r->answer_max);
    else if (!ret->status)
        error_set(&ret->error, -EIO, "%s",
                  r->text[0] ? r->text : curl_easy_strerror(code));
    if (after_s > 0)
        ret->retry_after_us = after_s >= RETRY_AFTER_US / SECOND_US
                                  ? RETRY_AFTER_US
                                  : (int64_t)after_s * SECOND_US;
    curl_multi_remove_handle(r->pool->multi, r->easy);
    s->told = r;
    return true;
}

#else /* the configuration refuses what would come here */

int sender_new(unsigned connections, struct sender **ret, struct error *error)
{
    (void)connections, (void)ret;
    return error_set(error, -ENOSYS, "this weir was built without libcurl");
}

void sender_free(struct sender *s)
{
    (void)s;
}

int sender_begin(struct sender *s, const struct sender_request *q, struct sending **ret,
                 struct error *error)
{
    (void)s, (void)q, (void)ret;
    return error_set(error, -ENOSYS, "this weir was built without libcurl");
}

void sender_cancel(struct sending *r)
{
    (void)r;
}

void sender_wait(struct sender *s, int64_t timeout_us)
{
    (void)s, (void)timeout_us;
}

void sender_wake(struct sender *s)
{
    (void)s;
}

bool sender_next(struct sender *s, struct sender_answer *ret)
{
    (void)s, (void)ret;
    return false;
}

#endif
