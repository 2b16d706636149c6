/* SPDX-License-Identifier: Apache-2.0
 *
 * Suspended connections. A connection is suspended on its own thread and resumed from
 * any other; the resume may come first, and is then remembered. Who takes it out of PAUSED resumes it. There is no
 * lock on this way, but for those that have a deadline: the timer has a list of them.
 *
 *                 pause_enter                       http_resume, deadline
 *      RUNNING ---------------> PAUSED (its thread) ----------------------> RUNNING
 *         |  http_resume                                                      ^
 *         +-------------> PENDING ------- pause_enter: does not suspend ------+
 */
#include "base/clock.h"
#include "http/internal.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#define LOOK_US      SECOND_US /* how often connections are looked at */
#define LOOK_AT_ONCE 256

int pause_new(struct http_pauses *p)
{
    int rc = clock_cond_init(&p->changed);
    if (rc)
        return rc;
    pthread_mutex_init(&p->lock, NULL);
    p->wake_us = INT64_MAX;
    return 0;
}

/* With the lock held. */
static void pause_list(struct http_request *r)
{
    struct http_pauses *p = &r->server->pauses;
    r->pause_listed = true;
    r->pause_prev = NULL;
    r->pause_next = p->first;
    if (p->first)
        p->first->pause_prev = r;
    p->first = r;
    if (r->pause_until_us < p->wake_us)
        pthread_cond_signal(&p->changed);
}

/* With the lock held. */
static void pause_unlist(struct http_request *r)
{
    struct http_pauses *p = &r->server->pauses;
    r->pause_listed = false;
    if (r->pause_prev)
        r->pause_prev->pause_next = r->pause_next;
    else
        p->first = r->pause_next;
    if (r->pause_next)
        r->pause_next->pause_prev = r->pause_prev;
}

/* What it has of the last pause is gone. */
static void pause_forget(struct http_request *r)
{
    struct http_pauses *p = &r->server->pauses;
    if (r->pause_listed) {
        pthread_mutex_lock(&p->lock);
        pause_unlist(r);
        pthread_mutex_unlock(&p->lock);
    }
    r->pause_until_us = INT64_MAX;
}

static bool pause_change(struct http_request *r, enum http_pause from,
                         enum http_pause to)
{
    enum http_pause was = from;
    return atomic_compare_exchange_strong(&r->pause, &was, to);
}

bool pause_enter(struct http_request *r)
{
    struct http_pauses *p = &r->server->pauses;
    if (pause_change(r, HTTP_PENDING, HTTP_RUNNING) || atomic_load(&p->stop)) {
        r->pause_until_us = INT64_MAX;
        return false;
    }
    if (r->pause_until_us != INT64_MAX) {
        pthread_mutex_lock(&p->lock);
        pause_list(r);
        pthread_mutex_unlock(&p->lock);
    }
    conn_suspend(r);
    if (!pause_change(r, HTTP_RUNNING, HTTP_PAUSED)) { /* meanwhile */
        atomic_exchange(&r->pause, HTTP_RUNNING); /* sees what all of them did before */
        pause_forget(r);
        conn_resume(r);
    } else if (atomic_load(&p->stop)) { /* who stops may not have seen it */
        http_resume(r);
    }
    return true;
}

void pause_enter_always(struct http_request *r)
{
    r->pause_until_us = INT64_MAX;
    conn_suspend(r);
    atomic_store(&r->pause, HTTP_PAUSED);
}

void http_resume(struct http_request *r)
{
    for (;;) {
        if (pause_change(r, HTTP_PAUSED, HTTP_RUNNING)) {
            pause_forget(r);
            conn_resume(r);
            return;
        }
        if (pause_change(r, HTTP_RUNNING, HTTP_PENDING) ||
            pause_change(r, HTTP_PENDING,
                         HTTP_PENDING)) /* what we did before is seen */
            return;
    }
}

/* With the lock held. False: it does not pause, or somebody else resumes it. */
static bool pause_leave(struct http_request *r)
{
    if (!pause_change(r, HTTP_PAUSED, HTTP_RUNNING))
        return false;
    if (r->pause_listed)
        pause_unlist(r);
    r->pause_until_us = INT64_MAX;
    conn_resume(r);
    return true;
}

void http_resume_at(struct http_request *r, int64_t deadline_us)
{
    r->pause_until_us = deadline_us;
}

/* From now on nobody pauses; everybody goes on and finds that the server stops. */
void pause_all_resume(struct http_server *s)
{
    struct http_pauses *p = &s->pauses;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop, true);
    for (struct http_request *r = p->connections, *next; r; r = next) {
        next = r->all_next;
        pause_leave(r);
    }
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

void pause_open_ended(struct http_request *r, bool on)
{
    pthread_mutex_lock(&r->server->pauses.lock);
    r->open_ended = on;
    pthread_mutex_unlock(&r->server->pauses.lock);
}

void pause_connection(struct http_request *r, bool on)
{
    struct http_pauses *p = &r->server->pauses;
    pthread_mutex_lock(&p->lock);
    if (on) {
        r->all_prev = NULL;
        r->all_next = p->connections;
        if (r->all_next)
            r->all_next->all_prev = r;
        p->connections = r;
        if (p->wake_us == INT64_MAX)
            pthread_cond_signal(&p->changed);
    } else {
        if (r->all_prev)
            r->all_prev->all_next = r->all_next;
        else
            p->connections = r->all_next;
        if (r->all_next)
            r->all_next->all_prev = r->all_prev;
    }
    pthread_mutex_unlock(&p->lock);
}

/* Bodies that may never end: the connection's thread sees the end of input now. */
void pause_cut_open_ended(struct http_server *s)
{
    pthread_mutex_lock(&s->pauses.lock);
    for (struct http_request *r = s->pauses.connections; r; r = r->all_next)
        if (r->open_ended)
            shutdown(r->fd, SHUT_RD);
    pthread_mutex_unlock(&s->pauses.lock);
}

/* With the lock held: resumes those whose time has come; returns when to look again. */
static int64_t pause_expire(struct http_pauses *p)
{
    int64_t now = clock_monotonic_us(), wake = INT64_MAX;
    struct http_request *next;
    for (struct http_request *r = p->first; r; r = next) {
        next = r->pause_next;
        if (r->pause_until_us > now)
            wake = r->pause_until_us < wake ? r->pause_until_us : wake;
        else if (!pause_leave(r)) /* it is about to pause, or was resumed just now */
            pause_change(r, HTTP_RUNNING, HTTP_PENDING);
    }
    return wake;
}

static bool pause_at_end(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* A client that has said all it will may still listen, or be gone: TCP does not tell. What every client
 * reads over, an interim answer, makes it tell. */
static void pause_probe(struct http_request *r)
{
    static const char probe[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!r->job || r->stream.started || r->probed)
        return;
    r->probed = true;
    if (r->head.http_1_0)
        r->gone = true;
    else
        (void)!send(r->fd, probe, sizeof(probe) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* With the lock held. That of a request is only tried: elsewhere it is taken first. */
static void pause_look_at(struct http_request *r, short events, int64_t now_us)
{
    int64_t since_us = atomic_load_explicit(&r->guard.since_us, memory_order_relaxed);
    if (r->user && access_is_over(r->user, clock_now_us())) {
        shutdown(r->fd, SHUT_RDWR); /* also of what has no end: a feed, live results */
        return;
    }
    if (since_us && (atomic_load(&r->pause) == HTTP_PAUSED || r->open_ended)) {
        atomic_store_explicit(&r->guard.since_us, now_us, memory_order_relaxed);
        since_us = now_us;
    }
    if (since_us && now_us - since_us >= r->server->options.idle_timeout_us) {
        atomic_store_explicit(&r->guard.slow, true, memory_order_relaxed);
        shutdown(r->fd, SHUT_RD);
        return;
    }
    if (!(events & (POLLERR | POLLHUP | POLLRDHUP)) || pthread_mutex_trylock(&r->lock))
        return;
    /* With TLS its closing alert is still unread, and nobody sends one to go on listening. */
    if (events & (POLLERR | POLLHUP) || r->guard.session)
        r->gone = true;
    else if (pause_at_end(r->fd))
        pause_probe(r);
    pthread_mutex_unlock(&r->lock);
    if (pause_at_end(r->fd))
        shutdown(r->fd, SHUT_RD);
}

/* With the lock held. libmicrohttpd takes a short read for "nothing more for now": when a client's last bytes
 * and its end come together, it does not see the end. Shutting down what has ended already changes
 * nothing but wakes its epoll. */
static void pause_look(const struct http_pauses *p, int64_t now_us)
{
    struct pollfd fd[LOOK_AT_ONCE];
    struct http_request *at[LOOK_AT_ONCE], *r = p->connections;
    while (r) {
        nfds_t n = 0;
        for (; r && n < LOOK_AT_ONCE; r = r->all_next) {
            at[n] = r;
            fd[n++] = (struct pollfd){.fd = r->fd, .events = POLLRDHUP};
        }
        if (poll(fd, n, 0) < 0)
            continue;
        for (nfds_t i = 0; i < n; i++)
            pause_look_at(at[i], fd[i].revents, now_us);
    }
}

static void *pause_run(void *arg)
{
    struct http_pauses *p = arg;
    int64_t look_us = 0;
    pthread_setname_np(pthread_self(), "weir-http-timer");
    pthread_mutex_lock(&p->lock);
    while (!atomic_load(&p->stop)) {
        p->wake_us = pause_expire(p);
        int64_t now_us = clock_monotonic_us();
        if (now_us >= look_us) {
            pause_look(p, now_us);
            look_us = now_us + LOOK_US;
        }
        if (p->connections && look_us < p->wake_us)
            p->wake_us = look_us;
        clock_cond_wait(&p->changed, &p->lock, p->wake_us);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

int pause_start(struct http_pauses *p)
{
    int rc = pthread_create(&p->timer, NULL, pause_run, p);
    p->running = rc == 0;
    return -rc;
}

void pause_free(struct http_pauses *p)
{
    if (p->running)
        pthread_join(p->timer, NULL);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
}
