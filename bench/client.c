/* SPDX-License-Identifier: Apache-2.0
 *
 * See client.h.
 */
#include "config.h"

#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

int client_open(struct client *c, const struct addrinfo *address)
{
    *c = (struct client){.fd = -1};
    c->answer = malloc(CLIENT_ANSWER_MAX + 1);
    if (!c->answer)
        return -ENOMEM;
    c->answer[0] = '\0';
    c->fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, address->ai_addr, address->ai_addrlen) != 0)
        return -errno;
    int on = 1;
    if (setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0)
        return -errno;
    return 0;
}

void client_close(struct client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    free(c->answer);
    *c = (struct client){.fd = -1};
}

int client_post(struct client *c, const char *host, const char *path,
                const char *headers, const char *body, size_t size)
{
    int n = snprintf(c->head, sizeof c->head,
                     "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %zu\r\n%s\r\n",
                     path, host, size, headers);
    if (n < 0 || (size_t)n >= sizeof c->head)
        return -E2BIG;
    c->head_size = (size_t)n;
    c->body = body;
    c->body_size = size;
    c->sent = 0;
    c->received = 0;
    c->answer[0] = '\0';
    c->status = c->retry_after_s = 0;
    c->answer_size = c->answer_head_size = 0;
    c->closing = false;
    return 0;
}

bool client_wants_out(const struct client *c)
{
    return c->sent < c->head_size + c->body_size;
}

static int client_send(struct client *c)
{
    while (client_wants_out(c)) {
        struct iovec part[2];
        struct msghdr message = {.msg_iov = part};
        size_t body_sent = 0;
        if (c->sent < c->head_size)
            part[message.msg_iovlen++] =
                (struct iovec){c->head + c->sent, c->head_size - c->sent};
        else
            body_sent = c->sent - c->head_size;
        part[message.msg_iovlen++] = (struct iovec){
            (char *)(uintptr_t)c->body + body_sent, c->body_size - body_sent};
        ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -errno;
        c->sent += (size_t)n;
    }
    return 0;
}

/* The value of a header in the answer's head, or NULL. */
static const char *client_header(const struct client *c, const char *name)
{
    size_t size = strlen(name);
    const char *p = c->answer, *end = c->answer + c->answer_head_size;
    while ((p = memchr(p, '\n', (size_t)(end - p))) != NULL) {
        p++;
        if (strncasecmp(p, name, size) == 0 && p[size] == ':')
            return p + size + 1 + strspn(p + size + 1, " ");
    }
    return NULL;
}

static int client_read_head(struct client *c)
{
    const char *end = strstr(c->answer, "\r\n\r\n");
    if (!end)
        return c->received == CLIENT_ANSWER_MAX ? -EMSGSIZE : 0;
    unsigned status;
    if (sscanf(c->answer, "HTTP/1.1 %3u", &status) != 1)
        return -EPROTO;
    c->answer_head_size = (size_t)(end + 4 - c->answer);
    const char *length = client_header(c, "Content-Length");
    if (!length)
        return -EPROTO;
    c->answer_size = c->answer_head_size + strtoul(length, NULL, 10);
    if (c->answer_size > CLIENT_ANSWER_MAX)
        return -EMSGSIZE;
    const char *retry = client_header(c, "Retry-After");
    const char *connection = client_header(c, "Connection");
    c->retry_after_s = retry ? (unsigned)strtoul(retry, NULL, 10) : 0;
    c->closing = connection && strncasecmp(connection, "close", 5) == 0;
    c->status = status;
    return 0;
}

static int client_receive(struct client *c)
{
    while (c->status == 0 || c->received < c->answer_size) {
        ssize_t n =
            recv(c->fd, c->answer + c->received, CLIENT_ANSWER_MAX - c->received, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -errno;
        if (n == 0)
            return -ECONNRESET;
        c->received += (size_t)n;
        c->answer[c->received] = '\0';
        int err = c->status == 0 ? client_read_head(c) : 0;
        if (err)
            return err;
    }
    return 1;
}

int client_go(struct client *c)
{
    int err = client_send(c);
    int done =
        client_receive(c); /* also after an error: the server may have said why */
    if (done < 0 || (err < 0 && done == 0))
        return done < 0 ? done : err;
    return done == 1 && (err < 0 || !client_wants_out(c));
}

const char *client_answer_body(const struct client *c)
{
    return c->answer + c->answer_head_size;
}
