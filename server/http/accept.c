/* SPDX-License-Identifier: Apache-2.0
 *
 * The listening socket and the thread that accepts on it. It deals connections out to the epoll threads
 * in turn: left to accept for themselves, the one that wakes first takes all that have come, and two
 * busy clients may share a thread while another sleeps.
 */
#include "base/logger.h"
#include "http/internal.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPT_PAUSE_MS 50 /* when there are no descriptors left */

int accept_new(struct http_acceptor *a)
{
    a->listen_fd = a->reserve_fd = -1;
    a->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return a->stop_fd < 0 ? -errno : 0;
}

static int find_address(const struct http_options *o, struct addrinfo **ret,
                        struct error *error)
{
    char service[8];
    snprintf(service, sizeof(service), "%u", o->port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    int rc = getaddrinfo(o->address, service, &hints, ret);
    if (rc)
        return error_set(error, rc == EAI_MEMORY ? -ENOMEM : -EADDRNOTAVAIL,
                         "address \"%s\": %s", o->address, gai_strerror(rc));
    return 0;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage a;
    socklen_t size = sizeof(a);
    if (getsockname(fd, (struct sockaddr *)&a, &size))
        return 0;
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                         : ((struct sockaddr_in *)&a)->sin_port);
}

int accept_listen(struct http_server *s, struct error *error)
{
    struct addrinfo *a;
    int rc = find_address(&s->options, &a, error);
    if (rc)
        return rc;
    int on = 1;
    s->acceptor.listen_fd =
        socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->acceptor.listen_fd < 0 ||
        setsockopt(s->acceptor.listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
        bind(s->acceptor.listen_fd, a->ai_addr, a->ai_addrlen) ||
        listen(s->acceptor.listen_fd, SOMAXCONN))
        rc = error_set(error, -errno, "cannot listen on %s port %u: %s",
                       s->options.address, s->options.port, strerror(errno));
    else
        s->port = bound_port(s->acceptor.listen_fd);
    freeaddrinfo(a);
    return rc;
}

/* False: it is to stop. */
static bool wait_for(struct http_acceptor *a, bool connections, int timeout_ms)
{
    struct pollfd fd[] = {{.fd = a->stop_fd, .events = POLLIN},
                          {.fd = connections ? a->listen_fd : -1, .events = POLLIN}};
    poll(fd, 2, timeout_ms);
    return !fd[0].revents;
}

struct accepted {
    struct sockaddr_storage address;
    socklen_t size;
};

/* Over the limit there is room to say no; beyond that there is not. `last`: it took the descriptor in
 * reserve. */
static void accept_deal(struct http_server *s, int fd, const struct accepted *from,
                        bool last)
{
    uint64_t open = atomic_load_explicit(&s->connections, memory_order_relaxed);
    unsigned max = s->options.max_connections,
             most = max + max / 2 + HTTP_CONNECTIONS_MORE;
    struct http_request *r = open < most ? request_new(s, fd) : NULL;
    if (!r) {
        metric_add(&s->refused, 1);
        close(fd);
        return;
    }
    r->over_limit = last;
    /* a pool of threads is dealt to by the descriptor's number */
    connection_add(r, (const struct sockaddr *)&from->address, from->size);
}

static int accept_one(const struct http_acceptor *a, struct accepted *from)
{
    from->size = sizeof(from->address);
    return accept4(a->listen_fd, (struct sockaddr *)&from->address, &from->size,
                   SOCK_CLOEXEC | SOCK_NONBLOCK);
}

/* When others have taken all descriptors, one is kept back to say so, or to tell a probe that the server
 * lives. */
static void accept_with_reserve(struct http_server *s)
{
    struct http_acceptor *a = &s->acceptor;
    struct accepted from;
    int fd = -1;
    if (a->reserve_fd >= 0) {
        close(a->reserve_fd);
        a->reserve_fd = -1;
        fd = accept_one(a, &from);
    }
    if (fd >= 0)
        accept_deal(s, fd, &from, true);
    else
        wait_for(a, false, ACCEPT_PAUSE_MS);
}

static void accept_keep_reserve(struct http_acceptor *a)
{
    if (a->reserve_fd < 0)
        a->reserve_fd = eventfd(0, EFD_CLOEXEC);
}

static void *accept_thread(void *arg)
{
    struct http_server *s = arg;
    struct http_acceptor *a = &s->acceptor;
    pthread_setname_np(pthread_self(), "accept");
    while (wait_for(a, true, -1)) {
        accept_keep_reserve(a);
        struct accepted from;
        int fd = accept_one(a, &from);
        if (fd >= 0)
            accept_deal(s, fd, &from, false);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
                 errno == ENOMEM)
            accept_with_reserve(s);
    }
    return NULL;
}

int accept_start(struct http_server *s, struct error *error)
{
    accept_keep_reserve(&s->acceptor);
    int rc = pthread_create(&s->acceptor.thread, NULL, accept_thread, s);
    if (rc)
        return error_set(error, -rc, "cannot start the thread that accepts: %s",
                         strerror(rc));
    s->acceptor.running = true;
    return 0;
}

void accept_stop(struct http_acceptor *a)
{
    if (a->running) {
        eventfd_write(a->stop_fd, 1);
        pthread_join(a->thread, NULL);
        a->running = false;
    }
    if (a->listen_fd >= 0)
        close(a->listen_fd);
    a->listen_fd = -1;
}

void accept_free(struct http_acceptor *a)
{
    if (a->reserve_fd >= 0)
        close(a->reserve_fd);
    if (a->stop_fd >= 0)
        close(a->stop_fd);
}
