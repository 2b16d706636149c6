/* SPDX-License-Identifier: Apache-2.0 */
#include "control.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/thread.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define RELOAD          "weir" /* the kind of its name */
#define CONTROL_BACKLOG 8
#define SEND_S          5 /* for one who does not read */

struct control {
    int fd;
    void (*reload)(void *ctx, struct buffer *answer);
    void *ctx;
    pthread_t thread;
    bool started;
};

/* The abstract name of a folder: nothing is left behind by a server that is killed, or in the way of who copies the folder. */
static int address_of(const char *folder, const char *kind, struct sockaddr_un *ret,
                      socklen_t *ret_size, uid_t *ret_owner)
{
    struct stat st;
    if (stat(folder, &st) < 0)
        return -errno;
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(ret->sun_path + 1, sizeof(ret->sun_path) - 1, "%s-%llx-%llx", kind,
                     (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
    *ret_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    *ret_owner = st.st_uid;
    return 0;
}

/* Whether the other side is root's or `user`'s: anybody can connect to, and take, an abstract name. */
static bool is_of(int fd, uid_t user)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           (peer.uid == 0 || peer.uid == user);
}

static void answer(struct control *c, int fd)
{
    const struct timeval patience = {.tv_sec = SEND_S};
    struct buffer b = {0};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (is_of(fd, geteuid()))
        c->reload(c->ctx, &b);
    for (size_t at = 0; !b.error && at < b.size;) {
        ssize_t n = send(fd, b.data + at, b.size - at, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            break; /* who asked has gone */
        at += n > 0 ? (size_t)n : 0;
    }
    buffer_free(&b);
}

static void *control_run(void *control)
{
    struct control *c = control;
    for (;;) {
        int fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            answer(c, fd);
        else if (errno == EINVAL) /* shut down */
            return NULL;
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
                 errno == ENOMEM)
            clock_sleep_us(100000);
        else if (errno != EINTR && errno != ECONNABORTED)
            break;
        if (fd >= 0)
            close(fd);
    }
    logger_warn("control", "accept: %s; weir reload will not be heard",
                strerror(errno));
    return NULL;
}

int control_listen(const char *folder, const char *kind, int type, int *ret_fd)
{
    struct sockaddr_un a;
    socklen_t size = 0;
    uid_t owner;
    int r = address_of(folder, kind, &a, &size, &owner);
    if (r < 0)
        return r;
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)(void *)&a, size) < 0 ||
        listen(fd, CONTROL_BACKLOG) < 0) {
        r = -errno;
        close(fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

bool control_is_own(int fd)
{
    return is_of(fd, geteuid());
}

static int listen_for(struct control *c, const char *folder)
{
    int r = control_listen(folder, RELOAD, SOCK_STREAM, &c->fd);
    if (r == 0)
        r = thread_start(&c->thread, "control", control_run, c);
    c->started = r == 0;
    return r;
}

int control_new(const char *folder, void (*reload)(void *ctx, struct buffer *answer),
                void *ctx, struct control **ret, struct error *error)
{
    struct control *c = malloc(sizeof(*c));
    if (!c)
        return error_set(error, -ENOMEM, "out of memory");
    *c = (struct control){.fd = -1, .reload = reload, .ctx = ctx};
    int r = listen_for(c, folder);
    if (r < 0) {
        control_free(c);
        return error_set(error, r, "no socket can be made for '%s': %s", folder,
                         strerror(-r));
    }
    *ret = c;
    return 0;
}

void control_free(struct control *c)
{
    if (!c)
        return;
    if (c->started) {
        shutdown(c->fd, SHUT_RDWR);
        pthread_join(c->thread, NULL);
    }
    if (c->fd >= 0)
        close(c->fd);
    free(c);
}

/* ---- The other side ---- */

int control_reach(const char *folder, const char *kind, int type)
{
    struct sockaddr_un a;
    socklen_t size = 0;
    uid_t owner = 0;
    int r = address_of(folder, kind, &a, &size, &owner);
    if (r < 0)
        return r;
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)(void *)&a, size) < 0)
        r = -errno;
    else if (!is_of(fd, owner))
        r = -EACCES;
    if (r < 0 && fd >= 0)
        close(fd);
    return r < 0 ? r : fd;
}

int control_reload(const char *folder,
                   void (*said)(void *ctx, const char *level, const char *text),
                   void *ctx, struct error *error)
{
    int fd = control_reach(folder, RELOAD, SOCK_STREAM), status = -EPIPE;
    if (fd == -EACCES)
        return error_set(error, fd, "'%s': %s, or the server is not its owner's",
                         folder, strerror(-fd));
    if (fd < 0)
        return error_set(error, fd, "no server runs on '%s' (%s)", folder,
                         strerror(-fd));
    FILE *answer = fdopen(fd, "r");
    if (!answer) {
        close(fd);
        return error_set(error, -ENOMEM, "out of memory");
    }
    char *line = NULL;
    size_t room = 0;
    for (ssize_t n; (n = getline(&line, &room, answer)) > 0;) {
        if (line[n - 1] == '\n')
            line[n - 1] = 0;
        char *text = strchr(line, ' ');
        if (!text)
            continue;
        *text++ = 0;
        if (strcmp(line, "status") == 0)
            status = (int)strtol(text, NULL, 10);
        else
            said(ctx, line, text);
    }
    free(line);
    fclose(answer);
    return status >= 0 ? status
                       : error_set(error, -EPIPE,
                                   "the server of '%s' gave no answer: it is stopping, "
                                   "or another user's",
                                   folder);
}
