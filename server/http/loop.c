/* SPDX-License-Identifier: Apache-2.0
 *
 * The epoll threads. A connection belongs to one of them for its life; others reach it only through the
 * inbox. Sockets are watched once, for edges: what is known of a socket (readable, writable) is kept with the
 * connection, which has its turn while it can go on. A turn is bounded, so that nobody keeps the others
 * waiting.
 *
 *      accept, conn_resume --> inbox --+
 *      epoll_wait ---------------------+--> ready (in turn) --> connection_turn --> waits: for an edge,
 *      times over ---------------------+        ^                    |              conn_resume, a time
 *                                               +--- can go on ------+
 */
#include "base/clock.h"
#include "http/internal.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOOP_EVENTS     128
#define LOOP_INPUT_KEPT 8 /* idle input buffers of a loop */

/* ---- Lists ---- */

void loop_ready(struct http_request *r)
{
    struct http_loop *l = r->loop;
    if (r->in_ready)
        return;
    r->in_ready = true;
    r->ready_next = NULL;
    if (l->ready_last)
        l->ready_last->ready_next = r;
    else
        l->ready = r;
    l->ready_last = r;
}

static struct http_request *loop_next_ready(struct http_loop *l)
{
    struct http_request *r = l->ready;
    l->ready = r->ready_next;
    if (!l->ready)
        l->ready_last = NULL;
    r->in_ready = false;
    return r;
}

void loop_time(struct http_request *r, enum loop_wait wait)
{
    struct http_loop *l = r->loop;
    if (r->wait != LOOP_NO_LIMIT) {
        struct loop_times *t = &l->times[r->wait];
        *(r->time_prev ? &r->time_prev->time_next : &t->first) = r->time_next;
        *(r->time_next ? &r->time_next->time_prev : &t->last) = r->time_prev;
    }
    r->wait = wait;
    if (wait == LOOP_NO_LIMIT)
        return;
    struct loop_times *t = &l->times[wait];
    r->time_us = l->now_us;
    r->time_next = NULL;
    r->time_prev = t->last;
    *(t->last ? &t->last->time_next : &t->first) = r;
    t->last = r;
}

char *loop_input(struct http_loop *l)
{
    return l->n_input ? l->input[--l->n_input] : malloc(HTTP_INPUT_ROOM);
}

void loop_put_input(struct http_loop *l, char *input)
{
    if (l->n_input < LOOP_INPUT_KEPT)
        l->input[l->n_input++] = input;
    else
        free(input);
}

/* ---- From other threads ---- */

/* Once a wake-up is under way no other is needed. */
static void loop_post(struct http_request *r)
{
    struct http_loop *l = r->loop;
    pthread_mutex_lock(&l->lock);
    bool first = !l->inbox;
    if (!r->in_inbox) {
        r->in_inbox = true;
        r->inbox_next = l->inbox;
        l->inbox = r;
    }
    pthread_mutex_unlock(&l->lock);
    if (first)
        eventfd_write(l->wake_fd, 1);
}

void conn_resume(struct http_request *r)
{
    loop_post(r);
}

void conn_suspend(struct http_request *r)
{
    r->suspended = true;
}

void loop_add(struct http_loop *l, struct http_request *r)
{
    int on = 1;
    setsockopt(r->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    r->loop = l;
    r->fresh = true;
    loop_post(r);
}

/* ---- The thread ---- */

static void loop_watch(struct http_loop *l, struct http_request *r)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                            .data.ptr = r};
    r->fresh = false;
    r->writable = true;
    r->mine_next = l->mine;
    r->mine_prev = NULL;
    if (l->mine)
        l->mine->mine_prev = r;
    l->mine = r;
    connection_opened(r);
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, r->fd, &e))
        r->dead = true;
    loop_time(r, LOOP_IDLE);
    loop_ready(r);
}

void loop_forget(struct http_request *r)
{
    struct http_loop *l = r->loop;
    loop_time(r, LOOP_NO_LIMIT);
    /* To close it is not enough: a process that is being started has a copy of each descriptor until its exec, and as
     * long as one is open, epoll tells of it. */
    epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, r->fd, NULL);
    *(r->mine_prev ? &r->mine_prev->mine_next : &l->mine) = r->mine_next;
    if (r->mine_next)
        r->mine_next->mine_prev = r->mine_prev;
    if (!r->in_ready)
        return;
    struct http_request **at = &l->ready, *before = NULL;
    while (*at != r) {
        before = *at;
        at = &before->ready_next;
    }
    *at = r->ready_next;
    if (l->ready_last == r)
        l->ready_last = before;
}

static void loop_take_inbox(struct http_loop *l)
{
    pthread_mutex_lock(&l->lock);
    struct http_request *in_order = NULL, *next;
    for (struct http_request *r = l->inbox; r; r = next) {
        next = r->inbox_next;
        r->in_inbox = false; /* it may come again as soon as the lock is free */
        r->taken_next = in_order;
        in_order = r;
    }
    l->inbox = NULL;
    pthread_mutex_unlock(&l->lock);
    for (struct http_request *r = in_order; r; r = next) {
        next = r->taken_next;
        if (r->fresh)
            loop_watch(l, r);
        r->suspended = false;
        loop_ready(r);
    }
}

static void loop_event(const struct epoll_event *e)
{
    struct http_request *r = e->data.ptr;
    if (!r)
        return; /* the inbox */
    r->readable |= (e->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) != 0;
    r->writable |= (e->events & EPOLLOUT) != 0;
    r->half_closed |= (e->events & EPOLLRDHUP) != 0;
    if (e->events &
        EPOLLERR) /* EPOLLHUP: both halves are closed, but there may be input */
        connection_died(r);
    loop_ready(r);
}

/* Those whose time is over; when to look again. */
static int64_t loop_expire(struct http_loop *l)
{
    int64_t wake = INT64_MAX;
    for (unsigned i = 0; i < LOOP_NO_LIMIT; i++) {
        struct loop_times *t = &l->times[i];
        while (t->first && t->first->time_us + t->limit_us <= l->now_us)
            connection_expired(t->first, i);
        if (t->first && t->first->time_us + t->limit_us < wake)
            wake = t->first->time_us + t->limit_us;
    }
    return wake;
}

static int loop_timeout_ms(struct http_loop *l, int64_t wake_us)
{
    if (l->ready)
        return 0;
    if (wake_us == INT64_MAX)
        return -1;
    int64_t ms = (wake_us - l->now_us + 999) / 1000;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

/* Each that is ready now has one turn. */
static void loop_turns(struct http_loop *l)
{
    struct http_request *last = l->ready_last;
    while (l->ready) {
        struct http_request *r = loop_next_ready(l);
        bool end = r == last;
        connection_turn(r);
        if (end)
            break;
    }
}

static void *loop_run(void *arg)
{
    struct http_loop *l = arg;
    struct epoll_event event[LOOP_EVENTS];
    pthread_setname_np(pthread_self(), "weir-http");
    l->now_us = clock_monotonic_us();
    while (!atomic_load(&l->stop)) {
        int timeout_ms = loop_timeout_ms(l, loop_expire(l));
        int n = epoll_wait(l->epoll_fd, event, LOOP_EVENTS, timeout_ms);
        l->now_us = clock_monotonic_us();
        for (int i = 0; i < n; i++)
            loop_event(&event[i]);
        loop_take_inbox(l);
        loop_turns(l);
    }
    loop_take_inbox(l);
    while (l->mine)
        connection_close(l->mine);
    return NULL;
}

/* ---- Start, stop ---- */

static int loop_new(struct http_server *s, struct http_loop *l)
{
    *l = (struct http_loop){.server = s, .epoll_fd = -1, .wake_fd = -1};
    l->times[LOOP_IDLE].limit_us = s->options.idle_timeout_us;
    l->times[LOOP_LINGER].limit_us = HTTP_LINGER_US;
    l->times[LOOP_HALF_CLOSED].limit_us = HTTP_PROBE_US;
    pthread_mutex_init(&l->lock, NULL);
    s->n_loops++;
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN | EPOLLET};
    if (l->epoll_fd < 0 || l->wake_fd < 0 ||
        epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->wake_fd, &e))
        return -errno;
    int rc = pthread_create(&l->thread, NULL, loop_run, l);
    l->running = rc == 0;
    return -rc;
}

int loops_start(struct http_server *s)
{
    unsigned n = s->options.epoll_threads ? s->options.epoll_threads : 1;
    s->loop = calloc(n, sizeof(*s->loop));
    int rc = s->loop ? 0 : -ENOMEM;
    for (unsigned i = 0; !rc && i < n; i++)
        rc = loop_new(s, &s->loop[i]);
    return rc;
}

void loops_stop(struct http_server *s)
{
    for (unsigned i = 0; i < s->n_loops; i++) {
        struct http_loop *l = &s->loop[i];
        atomic_store(&l->stop, true);
        if (l->running) {
            eventfd_write(l->wake_fd, 1);
            pthread_join(l->thread, NULL);
        }
        while (l->n_input)
            free(l->input[--l->n_input]);
        if (l->epoll_fd >= 0)
            close(l->epoll_fd);
        if (l->wake_fd >= 0)
            close(l->wake_fd);
        pthread_mutex_destroy(&l->lock);
    }
    free(s->loop);
    s->loop = NULL;
    s->n_loops = 0;
}
