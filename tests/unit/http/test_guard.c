/* SPDX-License-Identifier: Apache-2.0
 *
 * What goes through the guard does not depend on the pieces in which it came.
 */
#include "http/guard.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* What is seen behind the guard: the plain heads and bodies, then a line for each request. */
struct seen {
    struct buffer plain, requests;
};

/* Takes all that can be had now. */
static void receive(struct guard *g, struct seen *seen)
{
    char to[512];
    ssize_t n;
    while ((n = guard_receive(g, to, sizeof(to))) > 0)
        buffer_put(&seen->plain, to, (size_t)n);
    assert_true(n == 0 || errno == EAGAIN);
    struct buffer text = {0};
    struct head head = {0};
    struct head_fault fault;
    while (guard_next(g, &text, &head, &fault)) {
        size_t size = fault.status ? 0 : text.size;
        buffer_printf(&seen->requests, "%u %zu\n", size ? 200 : fault.status, size);
        assert_true(!size || (head.path && head.method));
    }
    buffer_free(&text);
    head_free(&head);
}

/* The text comes in pieces that end at `cuts`. */
static struct seen see(const char *text, const size_t *cuts, size_t n_cuts)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct guard g;
    guard_init(&g, fds[0]);
    struct seen seen = {0};
    size_t at = 0;
    for (size_t i = 0; i < n_cuts; i++) {
        ssize_t size = (ssize_t)(cuts[i] - at);
        assert_int_equal(send(fds[1], text + at, cuts[i] - at, 0), size);
        at = cuts[i];
        receive(&g, &seen);
    }
    shutdown(fds[1], SHUT_WR);
    receive(&g, &seen);
    close(fds[0]);
    close(fds[1]);
    guard_free(&g);
    return seen;
}

/* The same requests, as many as are wanted, whatever the pieces. */
static void expect(const char *text, const char *requests)
{
    const size_t size = strlen(text);
    for (size_t cut = 0; cut <= size; cut++) {
        size_t every[512], n = 0;
        if (cut == 0) /* byte by byte */
            for (assert_true(size <= 512); n < size; n++)
                every[n] = n + 1;
        else if (cut < size)
            every[n++] = cut;
        if (cut)
            every[n++] = size;
        struct seen seen = see(text, every, n);
        buffer_put(&seen.requests, "", 1);
        if (strcmp(seen.requests.data, requests) != 0)
            fail_msg("cut at %zu: %s: %s", cut, text, seen.requests.data);
        buffer_free(&seen.plain);
        buffer_free(&seen.requests);
    }
}

#define GET  "GET / HTTP/1.1\r\nHost: x\r\n\r\n" /* 27 bytes */
#define POST "POST / HTTP/1.1\r\nHost: x\r\n"

static void pieces_do_not_matter(void **state)
{
    (void)state;
    expect(GET GET, "200 27\n200 27\n");
    expect("\r\n\r\n" GET "\r\n" GET, "200 27\n200 27\n");
    expect(POST "Content-Length: 3\r\n\r\nabc" GET, "200 47\n200 27\n");
    expect(POST
           "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: v\r\n\r\n" GET,
           "200 56\n200 27\n");
    expect(POST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" GET, "200 56\n200 27\n");
    expect(POST "Content-Length: 0\r\n\r\n\r\n\r\n" GET, "200 47\n200 27\n");
    expect("GET / HTTP/1.1\nHost: x\n\n", "400 0\n");
    expect("GET / HTTP/1.1\r\nHost : x\r\n\r\n" GET, "400 0\n");
    expect(GET "GET / HT", "200 27\n400 0\n");
    expect("\r\n\r\n\r\n\r\n\r\n" GET, "400 0\n");
}

/* Longer than what is read at first, and than what is wanted at once. */
static void bodies_go_on_byte_for_byte(void **state)
{
    (void)state;
    struct buffer text = {0}, body = {0};
    for (unsigned i = 0; i < 4000; i++)
        buffer_printf(&body, "%09u\n", i);
    buffer_puts(&text, POST "X: 1\r\nContent-Length: 40000\r\n\r\n");
    buffer_put(&text, body.data, body.size);
    buffer_puts(&text, POST "Content-Length: 3\r\n\r\nabc" GET);
    struct buffer plain = {0};
    buffer_puts(&plain, POST "Content-Length: 40000\r\n\r\n");
    buffer_put(&plain, body.data, body.size);
    buffer_puts(&plain, POST "Content-Length: 3\r\n\r\nabc" GET);
    for (size_t cut = 1; cut < text.size; cut += 997) {
        struct seen seen = see(text.data, (size_t[]){cut, text.size}, 2);
        assert_int_equal(seen.plain.size, plain.size);
        assert_memory_equal(seen.plain.data, plain.data, plain.size);
        buffer_put(&seen.requests, "", 1);
        assert_string_equal(seen.requests.data, "200 57\n200 47\n200 27\n");
        buffer_free(&seen.plain);
        buffer_free(&seen.requests);
    }
    buffer_free(&plain);
    buffer_free(&body);
    buffer_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_do_not_matter),
        cmocka_unit_test(bodies_go_on_byte_for_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
