/* SPDX-License-Identifier: Apache-2.0
 *
 * The listening socket and the thread that accepts on it. It deals connections out to the epoll threads
 * in turn: left to accept for themselves, the one that wakes first takes all that have come, and two
 * busy clients may share a thread while another sleeps.
 */
#include "base/logger.h"
#include "http/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPT_PAUSE_MS 50 /* when there are no descriptors left */

int accept_new(struct http_acceptor *a)
{
    a->listen_fd = a->reserve_fd = a->lock_fd = -1;
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

/* ---- A socket in the file system ---- */

/* Who holds PATH.lock may listen there: a socket that is left over is told from one in use without a race between two that
 * start. The lock file stays; removing it would be a race again. */
static int lock_socket(struct http_acceptor *a, struct error *error)
{
    char lock[sizeof(((struct sockaddr_un *)0)->sun_path) + 8];
    snprintf(lock, sizeof(lock), "%s.lock", a->path);
    a->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (a->lock_fd < 0)
        return error_set(error, -errno, "%s: %s", lock, strerror(errno));
    if (flock(a->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return error_set(error, -EADDRINUSE, "%s: another server listens there",
                         a->path);
    return 0;
}

/* Removes what a server left that was killed; nothing else, and none that somebody answers at. */
static int clear_socket(const struct sockaddr_un *at, struct error *error)
{
    struct stat st;
    if (lstat(at->sun_path, &st) < 0)
        return errno == ENOENT
                   ? 0
                   : error_set(error, -errno, "%s: %s", at->sun_path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return error_set(error, -EEXIST, "%s is there, and is no socket", at->sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool answers =
        fd >= 0 && (connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0 ||
                    errno != ECONNREFUSED);
    if (fd >= 0)
        close(fd);
    if (answers)
        return error_set(error, -EADDRINUSE, "%s: somebody listens there",
                         at->sun_path);
    return unlink(at->sun_path) < 0
               ? error_set(error, -errno, "%s: %s", at->sun_path, strerror(errno))
               : 0;
}

/* Nobody can connect before listen(2). */
static int open_socket_to(const struct http_options *o, struct error *error)
{
    const struct group *group = NULL;
    if (o->socket_group && !(group = getgrnam(o->socket_group)))
        return error_set(error, -EINVAL, "socket_group: there is no group '%s'",
                         o->socket_group);
    if (group && lchown(o->socket, (uid_t)-1, group->gr_gid) < 0)
        return error_set(error, -errno, "%s: cannot be given to the group '%s': %s",
                         o->socket, o->socket_group, strerror(errno));
    return chmod(o->socket, o->socket_mode) < 0
               ? error_set(error, -errno, "%s: %s", o->socket, strerror(errno))
               : 0;
}

static int listen_at_path(struct http_server *s, struct error *error)
{
    struct http_acceptor *a = &s->acceptor;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct stat st;
    if (strlen(s->options.socket) >= sizeof(at.sun_path))
        return error_set(error, -ENAMETOOLONG, "%s: the path has more than %zu bytes",
                         s->options.socket, sizeof(at.sun_path) - 1);
    strcpy(at.sun_path, s->options.socket);
    a->path = s->options.socket;
    int r = lock_socket(a, error);
    if (r == 0)
        r = clear_socket(&at, error);
    if (r < 0)
        return r;
    a->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (a->listen_fd < 0 ||
        bind(a->listen_fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
        lstat(a->path, &st) < 0)
        return error_set(error, -errno, "cannot listen on %s: %s", a->path,
                         strerror(errno));
    a->file = (struct file_id){st.st_dev, st.st_ino};
    r = open_socket_to(&s->options, error);
    if (r == 0 && listen(a->listen_fd, SOMAXCONN) < 0)
        r = error_set(error, -errno, "cannot listen on %s: %s", a->path,
                      strerror(errno));
    return r;
}

int accept_listen(struct http_server *s, struct error *error)
{
    struct addrinfo *a;
    if (s->options.socket)
        return listen_at_path(s, error);
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
    if (a->file.ino && file_id_is_at(&a->file, AT_FDCWD, a->path))
        (void)!unlink(a->path);
    a->file.ino = 0;
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
    if (a->lock_fd >= 0)
        close(a->lock_fd);
}
