/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection: what a client sends, to a server with a route of each kind. The first byte is the size of
 * the pieces in which the rest comes. The connection must end, and what comes back must be whole answers of
 * HTTP/1.1, each with its length.
 */
#include "base/clock.h"
#include "http/internal.h"

#include "target.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static _Noreturn void broken(const char *what)
{
    fprintf(stderr, "%s\n", what);
    abort();
}

/* ---- The server ---- */

static void echo(struct http_request *r, void *ctx)
{
    struct buffer b = {0};
    const char *name, *value, *body;
    size_t size;
    (void)ctx;
    for (size_t i = 0; (value = http_argument(r, i, &name, &size)); i++) {
        buffer_puts(&b, name);
        buffer_put(&b, value, size);
    }
    body = http_body(r, &size);
    buffer_put(&b, body, size);
    if (http_header(r, "X-Back"))
        http_set_header(r, "X-Back", http_header(r, "X-Back"));
    http_reply_buffer(r, 200, "text/plain", &b);
}

static void query(struct http_request *r, void *ctx)
{
    char piece[1000];
    (void)ctx;
    memset(piece, 'x', sizeof(piece));
    if (http_begin(r, 200, "text/plain"))
        return;
    for (int i = 0; i < (http_query(r, "long") ? 40 : 1); i++)
        if (http_write(r, piece, sizeof(piece)))
            return;
}

static int upload_begin(struct http_request *r, void *ctx, void **ret_state)
{
    (void)ctx;
    if (http_header(r, "X-Refuse")) {
        http_problem(r, 404, "unknown_stream", "refused");
        return 1;
    }
    *ret_state = calloc(1, sizeof(uint64_t));
    return *ret_state ? 0 : 1;
}

static int upload_piece(struct http_request *r, void *state, const char *data,
                        size_t size)
{
    uint64_t *sum = state;
    for (size_t i = 0; i < size; i++) /* a sanitizer sees what lies outside */
        *sum += (unsigned char)data[i];
    if (*sum % 7 == 6)
        http_problem(r, 422, "rejected", "by its sum");
    return *sum % 7 == 6;
}

static int upload_end(struct http_request *r, void *state)
{
    (void)state;
    http_reply(r, 200, "application/json", "{}\n", 3);
    return 0;
}

static void upload_close(void *state, bool replied)
{
    (void)replied;
    free(state);
}

static struct http_server *server(void)
{
    static const struct http_upload upload = {upload_begin, upload_piece, upload_end,
                                              upload_close};
    static const struct http_route routes[] = {
        {.method = "GET",
         .may = ACCESS_FREE,
         .pattern = "/p/{a}",
         .handle = echo,
         .by_key = true},
        {.method = "POST", .may = ACCESS_FREE, .pattern = "/p", .handle = echo},
        {.method = "GET",
         .pattern = "/q",
         .kind = HTTP_QUERY,
         .may = ACCESS_FREE,
         .handle = query},
        {.method = "POST",
         .pattern = "/u",
         .kind = HTTP_UPLOAD,
         .may = ACCESS_FREE,
         .upload = &upload}};
    static const char *const hosts[] = {"h", NULL};
    static const char *const origins[] = {"https://a.example", NULL};
    static const struct http_options options = {.address = "127.0.0.1",
                                                .origins = origins,
                                                .epoll_threads = 1,
                                                .query_threads = 1,
                                                .max_connections = 100,
                                                .max_queries = 10,
                                                .hosts = hosts};
    static struct http_server *s;
    struct error error = {""};
    if (s)
        return s;
    if (http_new(&options, NULL, &s, &error))
        broken(error.text);
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
        if (http_add(s, &routes[i]))
            broken("no route");
    if (http_start(s, &error))
        broken(error.text);
    return s;
}

/* ---- The client ---- */

struct answers {
    int fd;
    bool over;
    char *data;
    size_t size, room;
};

/* Reads what is there; waits at most `timeout_ms` for the first of it. */
static void client_read(struct answers *a, int timeout_ms)
{
    struct pollfd p = {.fd = a->fd, .events = POLLIN};
    while (!a->over && poll(&p, 1, timeout_ms) > 0) {
        if (a->room - a->size < 65536 &&
            !(a->data = realloc(a->data, a->room = 2 * a->room + 65536)))
            broken("no memory");
        ssize_t n = recv(a->fd, a->data + a->size, 65536 - 1, MSG_DONTWAIT);
        a->over = n == 0 || (n < 0 && errno != EAGAIN);
        a->size += n > 0 ? (size_t)n : 0;
        timeout_ms = 0;
    }
}

static void client_write(struct answers *a, const uint8_t *data, size_t size,
                         size_t step)
{
    while (size > 0 && !a->over) {
        size_t piece = step < size ? step : size;
        ssize_t n = send(a->fd, data, piece, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return;
        if (n < 0) {
            client_read(a, 100);
            continue;
        }
        data += n;
        size -= (size_t)n;
    }
}

/* The chunks of a body; NULL: cut. */
static char *skip_chunks(char *at, const char *end)
{
    for (;;) {
        char *line = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
        if (!line)
            return NULL;
        size_t size = strtoul(at, NULL, 16);
        if (size + 2 > (size_t)(end - line - 1))
            return NULL;
        at = line + 1 + size + 2;
        if (size == 0)
            return at;
    }
}

/* Behind the answer at `at`; NULL: what is left is cut, or is its body until the end. */
static char *skip_answer(char *at, const char *end)
{
    char *body = strstr(at, "\r\n\r\n"), *p;
    unsigned status = 0;
    if (sscanf(at, "HTTP/1.1 %3u ", &status) != 1 || status < 100 || status > 599)
        broken("this is no answer");
    if (!body)
        return NULL;
    *body = 0;
    body += 4;
    if (status == 100)
        return body;
    if ((p = strstr(at, "\r\nContent-Length: "))) {
        size_t size = strtoul(p + 18, NULL, 10);
        if (status >= 400 && status != 500 && !strstr(at, "application/problem+json"))
            broken("an error without its text");
        return size > (size_t)(end - body) ? NULL : body + size;
    }
    return strstr(at, "\r\nTransfer-Encoding: chunked") ? skip_chunks(body, end) : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd[2];
    if (size < 2)
        return 0;
    struct http_server *s = server();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd))
        broken("no sockets");
    struct answers a = {.fd = fd[0]};
    const struct sockaddr address = {.sa_family = AF_UNIX};
    connection_add(request_new(s, fd[1]), &address, sizeof(address.sa_family));
    client_write(&a, data + 1, size - 1, data[0] ? data[0] : size);
    shutdown(fd[0], SHUT_WR);
    for (int64_t from = clock_monotonic_us(); !a.over; client_read(&a, 100))
        if (clock_monotonic_us() - from > 10 * SECOND_US)
            broken("no end");
    close(fd[0]);
    if (a.data)
        a.data[a.size] = 0;
    /* Answers to HEAD have a length and no body: what follows cannot be told apart. */
    bool head = memmem(data, size, "HEAD", 4);
    for (char *at = a.data; !head && at && at < a.data + a.size;)
        at = skip_answer(at, a.data + a.size);
    free(a.data);
    return 0;
}
