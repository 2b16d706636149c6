/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP client of the tests.
 */
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

int client_open(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct timeval limit = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    int on = 1; /* requests are sent in parts */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_return_code(connect(fd, (struct sockaddr *)&to, sizeof(to)), errno);
    return fd;
}

bool client_try_send(int fd, const void *data, size_t size)
{
    const char *at = data;
    while (size > 0) {
        ssize_t n = send(fd, at, size, MSG_NOSIGNAL);
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
            return false;
        assert_true(n > 0);
        at += n;
        size -= (size_t)n;
    }
    return true;
}

void client_send(int fd, const void *data, size_t size)
{
    assert_true(client_try_send(fd, data, size));
}

void client_text(int fd, const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    assert_true(n > 0 && (size_t)n < sizeof(text));
    client_send(fd, text, (size_t)n);
}

void client_ask(int fd, const char *method, const char *path, const char *headers,
                const void *body, size_t size)
{
    client_text(fd, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s", method, path, headers);
    if (body)
        client_text(fd, "Content-Length: %zu\r\n", size);
    client_text(fd, "\r\n");
    client_send(fd, body ? body : "", body ? size : 0);
}

void client_chunk(int fd, const void *data, size_t size)
{
    client_text(fd, "%zx\r\n", size);
    client_send(fd, data, size);
    client_text(fd, "\r\n");
}

/* One byte; false at the end. */
static bool client_byte(int fd, char *ret)
{
    ssize_t n = recv(fd, ret, 1, 0);
    if (n < 0 && errno == ECONNRESET)
        n = 0;
    assert_true(n >= 0); /* the 20 s are over */
    return n == 1;
}

/* Up to and with an empty line; false at the end. */
static bool client_headers(int fd, struct answer *a)
{
    size_t size = 0;
    do {
        assert_true(size < sizeof(a->headers) - 1);
        if (!client_byte(fd, &a->headers[size]))
            return false;
        a->headers[++size] = 0;
    } while (size < 4 || memcmp(a->headers + size - 4, "\r\n\r\n", 4) != 0);
    return true;
}

static bool client_bytes(int fd, struct answer *a, size_t size)
{
    a->body = realloc(a->body, a->size + size + 1);
    assert_non_null(a->body);
    while (size > 0) {
        ssize_t n = recv(fd, a->body + a->size, size, 0);
        if (n < 0 && errno == ECONNRESET)
            n = 0;
        assert_true(n >= 0);
        if (n == 0)
            return false;
        a->size += (size_t)n;
        size -= (size_t)n;
    }
    return true;
}

/* "1a2b\r\n" */
static bool client_chunk_size(int fd, size_t *ret)
{
    char line[32];
    size_t size = 0;
    do {
        assert_true(size < sizeof(line) - 1);
        if (!client_byte(fd, &line[size]))
            return false;
        line[++size] = 0;
    } while (line[size - 1] != '\n');
    *ret = strtoul(line, NULL, 16);
    return true;
}

static bool client_chunks(int fd, struct answer *a)
{
    size_t size;
    char end[2];
    do {
        if (!client_chunk_size(fd, &size) || (size > 0 && !client_bytes(fd, a, size)))
            return false;
        if (!client_byte(fd, &end[0]) || !client_byte(fd, &end[1]))
            return false;
    } while (size > 0);
    return true;
}

const char *answer_header(const struct answer *a, const char *name, char value[256])
{
    char line[128];
    snprintf(line, sizeof(line), "\r\n%s: ", name);
    const char *at = strcasestr(a->headers, line);
    value[0] = 0;
    if (at) {
        at += strlen(line);
        snprintf(value, 256, "%.*s", (int)strcspn(at, "\r"), at);
    }
    return value;
}

void client_answer(int fd, struct answer *ret, bool head)
{
    char value[256];
    *ret = (struct answer){0};
    do {
        if (!client_headers(fd, ret))
            break;
        assert_int_equal(sscanf(ret->headers, "HTTP/1.1 %u", &ret->status), 1);
    } while (ret->status == 100);
    if (ret->status && !head) {
        if (*answer_header(ret, "Transfer-Encoding", value))
            ret->whole = client_chunks(fd, ret);
        else
            ret->whole = client_bytes(
                fd, ret,
                strtoul(answer_header(ret, "Content-Length", value), NULL, 10));
    }
    ret->body = realloc(ret->body, ret->size + 1);
    assert_non_null(ret->body);
    ret->body[ret->size] = 0;
}

void answer_free(struct answer *a)
{
    free(a->body);
}

void client_once(uint16_t port, const char *method, const char *path,
                 const char *headers, const void *body, size_t size, struct answer *ret)
{
    int fd = client_open(port);
    client_ask(fd, method, path, headers, body, size);
    client_answer(fd, ret, strcmp(method, "HEAD") == 0);
    close(fd);
}

char *client_gzip(const void *data, size_t size, size_t *ret_size)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY),
                     Z_OK);
    uLong room = deflateBound(&z, (uLong)size);
    char *out = malloc(room);
    assert_non_null(out);
    z.next_in = (z_const Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)size;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    *ret_size = z.total_out;
    deflateEnd(&z);
    return out;
}

void wait_for(bool (*true_now)(void *ctx), void *ctx)
{
    for (int i = 0; i < 20000; i++) {
        if (true_now(ctx))
            return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    fail_msg("waited 20 s in vain");
}

struct count {
    _Atomic uint64_t *count;
    uint64_t least;
};

static bool count_reached(void *ctx)
{
    const struct count *c = ctx;
    return *c->count >= c->least;
}

void wait_for_count(_Atomic uint64_t *count, uint64_t least)
{
    struct count c = {count, least};
    wait_for(count_reached, &c);
}
