/* SPDX-License-Identifier: Apache-2.0
 *
 * A service that is slow, and costs next to nothing: it answers each GET some milliseconds after it came, however many
 * wait, with {"n": NUMBER}, the number at the end of the path. One thread.
 *
 *     bench/late [MILLISECONDS]      prints its port
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS  65536
#define HEAD_MAX 8192
#define LINE_MAX 262144 /* answers that wait; a power of two */
#define EVENTS   512

struct client {
    char head[HEAD_MAX];
    size_t n;
};

struct answer {
    int64_t due_us;
    int fd;
    uint32_t life; /* of the descriptor: another client may have its number since */
    long number;
};

static struct client *client[CLIENTS];
static uint32_t life[CLIENTS];
static struct answer line[LINE_MAX];
static uint64_t first, end;

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void drop(int fd)
{
    close(fd);
    life[fd]++;
    client[fd]->n = 0;
}

static void answer(const struct answer *a)
{
    char body[64], text[256];
    int size = snprintf(body, sizeof(body), "{\"n\": %ld}", a->number);
    int n = snprintf(text, sizeof(text),
                     "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                     "Content-Length: %d\r\n\r\n%s",
                     size, body);
    if (life[a->fd] == a->life && write(a->fd, text, (size_t)n) != n)
        drop(a->fd);
}

/* "GET /path/NUMBER HTTP/1.1": the digits before the second space. */
static long number_of(const char *head)
{
    const char *space = strstr(head, " HTTP/"), *at = space;
    while (at && at > head && at[-1] >= '0' && at[-1] <= '9')
        at--;
    return at ? strtol(at, NULL, 10) : 0;
}

static void read_some(int fd, int64_t delay_us)
{
    struct client *c = client[fd];
    ssize_t got = read(fd, c->head + c->n, HEAD_MAX - 1 - c->n);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            drop(fd);
        return;
    }
    c->n += (size_t)got;
    c->head[c->n] = '\0';
    for (char *last; (last = strstr(c->head, "\r\n\r\n"));) {
        size_t size = (size_t)(last + 4 - c->head);
        if (end - first == LINE_MAX) {
            drop(fd);
            return;
        }
        line[end++ & (LINE_MAX - 1)] = (struct answer){.due_us = now_us() + delay_us,
                                                       .fd = fd,
                                                       .life = life[fd],
                                                       .number = number_of(c->head)};
        c->n -= size;
        memmove(c->head, c->head + size, c->n + 1);
    }
    if (c->n == HEAD_MAX - 1)
        drop(fd);
}

static void take(int epoll, int listener)
{
    int one = 1;
    for (int fd;
         (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        if (fd >= CLIENTS ||
            (!client[fd] && !(client[fd] = calloc(1, sizeof(struct client))))) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
    }
}

static int listen_somewhere(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t size = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, size) < 0 || listen(fd, 4096) < 0 ||
        getsockname(fd, (struct sockaddr *)&a, &size) < 0) {
        perror("late");
        exit(1);
    }
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    int64_t delay_us = 1000 * (argc > 1 ? strtol(argv[1], NULL, 10) : 20);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    int epoll = epoll_create1(EPOLL_CLOEXEC), listener = listen_somewhere();
    struct epoll_event event[EVENTS], e = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int64_t wait_us =
            first == end ? 1000000 : line[first & (LINE_MAX - 1)].due_us - now_us();
        int n = epoll_wait(epoll, event, EVENTS,
                           wait_us <= 0 ? 0 : (int)(wait_us / 1000 + 1));
        for (int i = 0; i < n; i++) {
            if (event[i].data.fd == listener)
                take(epoll, listener);
            else
                read_some(event[i].data.fd, delay_us);
        }
        int64_t us = now_us();
        while (first != end && line[first & (LINE_MAX - 1)].due_us <= us)
            answer(&line[first++ & (LINE_MAX - 1)]);
    }
}
