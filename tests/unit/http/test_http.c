/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP server over real sockets on loopback: routes, bodies, pauses, queries,
 * limits, drain.
 */
#include "base/clock.h"
#include "client.h"
#include "http/http.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* What the handlers of the tests have seen. */
static struct {
    struct http_server *server;
    uint16_t port;
    _Atomic uint64_t pieces, piece_bytes, ends, closed_replied, closed_unreplied;
    _Atomic uint64_t pauses, queries, gone, written, more_closed;
    _Atomic int write_result;
    _Atomic bool hold;                 /* uploads pause while it is set */
    _Atomic bool stay;                 /* queries at /hold end, but not yet */
    _Atomic uint64_t release;          /* queries at /hold end when it is set */
    struct http_request *_Atomic held; /* the one that is paused */
} t;

/* ---- Handlers ---- */

static void echo(struct http_request *r, void *ctx)
{
    (void)ctx;
    size_t size;
    const char *body = http_body(r, &size);
    const char *a = http_param(r, "a"), *q = http_query(r, "q"),
               *h = http_header(r, "X-Test");
    struct buffer b = {0};
    buffer_printf(&b, "%s %s a=%s q=%s h=%s size=%zu ", http_method(r), http_path(r),
                  a ? a : "-", q ? q : "-", h ? h : "-", size);
    buffer_put(&b, body, size);
    http_set_header(r, "X-Reply", "yes");
    http_reply_buffer(r, 200, "text/plain", &b);
}

struct upload {
    uint64_t bytes, sum;
    bool paused;
};

static int upload_begin(struct http_request *r, void *ctx, void **ret_state)
{
    (void)ctx;
    if (strcmp(http_param(r, "mode"), "refuse") == 0) {
        http_problem(r, 404, "unknown_stream", "no such thing");
        return 1;
    }
    *ret_state = calloc(1, sizeof(struct upload));
    return 0;
}

static int upload_piece(struct http_request *r, void *state, const char *data,
                        size_t size)
{
    struct upload *u = state;
    const char *mode = http_param(r, "mode");
    if (strcmp(mode, "early") ==
        0) { /* the resume comes before the pause, every time */
        u->paused = !u->paused;
        if (u->paused) {
            http_resume(r);
            return -EAGAIN;
        }
    }
    if (strcmp(mode, "hold") == 0 && t.hold) {
        t.held = r;
        t.pauses++;
        return -EAGAIN;
    }
    if (strcmp(mode, "stop") == 0) {
        http_problem(r, 400, "malformed", "cannot read this");
        return 1;
    }
    for (size_t i = 0; i < size; i++)
        u->sum = u->sum * 31 + (unsigned char)data[i];
    u->bytes += size;
    t.pieces++;
    t.piece_bytes += size;
    return 0;
}

static int upload_end(struct http_request *r, void *state)
{
    struct upload *u = state;
    if (strcmp(http_param(r, "mode"), "wait") == 0 &&
        !u->paused) { /* until its deadline */
        u->paused = true;
        http_resume_at(r, clock_monotonic_us() + 50000);
        return -EAGAIN;
    }
    t.ends++;
    struct buffer b = {0};
    buffer_printf(&b, "%llu %llu", (unsigned long long)u->bytes,
                  (unsigned long long)u->sum);
    http_reply_buffer(r, 200, "text/plain", &b);
    return 0;
}

static void upload_close(void *state, bool replied)
{
    if (replied)
        t.closed_replied++;
    else
        t.closed_unreplied++;
    free(state);
}

static const struct http_upload upload = {upload_begin, upload_piece, upload_end,
                                          upload_close};

/* Writes n bytes in pieces of 1000: byte i is 'a' + i % 23. */
static void query_stream(struct http_request *r, void *ctx)
{
    (void)ctx;
    size_t n = strtoul(http_query(r, "n"), NULL, 10);
    char piece[1000];
    t.queries++;
    t.write_result = http_begin(r, 200, "text/plain");
    size_t i = 0;
    while (i < n && t.write_result == 0) {
        size_t size = n - i < sizeof(piece) ? n - i : sizeof(piece);
        for (size_t k = 0; k < size; k++)
            piece[k] = (char)('a' + (i + k) % 23);
        t.write_result = http_write(r, piece, size);
        i += size;
        t.written += size;
    }
    if (http_query(r, "abort") || (http_query(r, "late") && http_is_under_way(r)))
        http_abort(r);
    else if (http_query(r, "late"))
        http_problem(r, 504, "timeout", "too late");
}

/* The same in pieces of 100,000, each made when there is little left to send. */
struct more {
    struct http_request *request;
    size_t n, i;
};

static bool query_more_piece(void *ctx)
{
    struct more *m = ctx;
    static _Thread_local char piece[100000];
    size_t size = m->n - m->i < sizeof(piece) ? m->n - m->i : sizeof(piece);
    for (size_t k = 0; k < size; k++)
        piece[k] = (char)('a' + (m->i + k) % 23);
    m->i += size;
    t.written += size;
    t.write_result = http_write(m->request, piece, size);
    return t.write_result == 0 && m->i < m->n;
}

static void query_more_close(void *ctx)
{
    free(ctx);
    t.more_closed++;
}

static void query_more(struct http_request *r, void *ctx)
{
    (void)ctx;
    struct more *m = calloc(1, sizeof(*m));
    *m = (struct more){.request = r, .n = strtoul(http_query(r, "n"), NULL, 10)};
    http_begin(r, 200, "text/plain");
    http_more(r, query_more_piece, query_more_close, m);
}

static void query_hold(struct http_request *r, void *ctx)
{
    (void)ctx;
    t.queries++;
    while (!t.release && !http_gone(r))
        usleep(1000);
    if (!t.release)
        t.gone++;
    while (t.stay)
        usleep(1000);
    http_reply(r, 200, "text/plain", "held\n", 5);
}

static void long_header(struct http_request *r, void *ctx)
{
    (void)ctx;
    char value[10001];
    memset(value, 'y', sizeof(value) - 1);
    value[sizeof(value) - 1] = 0;
    http_set_header(r, "X-Long", value);
    http_reply(r, 200, NULL, NULL, 0);
}

static void query_none(struct http_request *r, void *ctx)
{
    (void)r;
    (void)ctx;
}

/* ---- Set-up ---- */

static const struct http_options usual = {.address = "127.0.0.1",
                                          .epoll_threads = 2,
                                          .query_threads = 2,
                                          .max_connections = 300,
                                          .max_queries = 8,
                                          .slow_threads = 1,
                                          .max_slow = 2,
                                          .max_spooled = 64 << 20,
                                          .idle_timeout_us = 300 * SECOND_US};

static void server_start(const struct http_options *options)
{
    memset(&t, 0, sizeof(t));
    const struct http_route routes[] = {
        {.method = "GET",
         .pattern = "/plain/{a}",
         .kind = HTTP_PLAIN,
         .may = ACCESS_FREE,
         .handle = echo},
        {.method = "POST",
         .pattern = "/plain/{a}",
         .kind = HTTP_PLAIN,
         .may = ACCESS_FREE,
         .handle = echo},
        {.method = "POST",
         .pattern = "/up/{mode}",
         .kind = HTTP_UPLOAD,
         .may = ACCESS_FREE,
         .upload = &upload},
        {.method = "GET",
         .pattern = "/stream",
         .kind = HTTP_QUERY,
         .may = ACCESS_FREE,
         .handle = query_stream},
        {.method = "GET",
         .pattern = "/more",
         .kind = HTTP_QUERY,
         .may = ACCESS_FREE,
         .handle = query_more},
        {.method = "GET",
         .pattern = "/slow",
         .kind = HTTP_SLOW,
         .may = ACCESS_FREE,
         .handle = query_hold},
        {.method = "POST",
         .pattern = "/query/{a}",
         .kind = HTTP_QUERY,
         .may = ACCESS_FREE,
         .handle = echo},
        {.method = "GET",
         .pattern = "/hold",
         .kind = HTTP_QUERY,
         .may = ACCESS_FREE,
         .handle = query_hold},
        {.method = "GET",
         .pattern = "/none",
         .kind = HTTP_QUERY,
         .may = ACCESS_FREE,
         .handle = query_none},
        {.method = "GET",
         .pattern = "/",
         .kind = HTTP_PLAIN,
         .may = ACCESS_FREE,
         .handle = echo},
        {.method = "GET",
         .pattern = "/long-header",
         .kind = HTTP_PLAIN,
         .may = ACCESS_FREE,
         .handle = long_header},
        {.method = "GET",
         .pattern = "/api/v1/pipelines",
         .kind = HTTP_PLAIN,
         .may = ACCESS_FREE,
         .handle = echo},
    };
    struct error error = {0};
    assert_return_code(http_new(options, NULL, &t.server, &error), 0);
    for (size_t i = 0; i < sizeof(routes) / sizeof(*routes); i++)
        assert_return_code(http_add(t.server, &routes[i]), 0);
    assert_return_code(http_start(t.server, &error), 0);
    t.port = http_port(t.server);
}

static int set_up(void **state)
{
    (void)state;
    server_start(&usual);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    http_free(t.server);
    t.server = NULL;
    return 0;
}

static void expect(const char *method, const char *path, const char *headers,
                   const void *body, size_t size, unsigned status, const char *text)
{
    struct answer a;
    client_once(t.port, method, path, headers, body, size, &a);
    assert_int_equal(a.status, status);
    if (!strstr(a.body, text))
        fail_msg("%s %s: \"%s\" is not in: %s", method, path, text, a.body);
    answer_free(&a);
}

/* ---- Tests ---- */

static void plain_route_gives_parameters_and_body(void **state)
{
    (void)state;
    expect("GET", "/plain/x%20y?q=a%2Bb+c&r=2", "X-Test: 7\r\n", NULL, 0, 200,
           "GET /plain/x y a=x y q=a+b c h=7 size=0 ");
    expect("GET", "/plain/x?q=a&r=2&q=b", "", NULL, 0, 400, "q: it is there twice");
    expect("POST", "/plain/1", "", "hello", 5, 200, "size=5 hello");
    expect("POST", "/query/1?q=z", "X-Test: 8\r\n", "hello", 5, 200,
           "POST /query/1 a=1 q=z h=8 size=5 hello");
}

static void unknown_path_is_404_with_a_suggestion(void **state)
{
    (void)state;
    expect("GET", "/api/v1/pipeline", "", NULL, 0, 404,
           "\"detail\":\"there is nothing at /api/v1/pipeline; did you mean "
           "/api/v1/pipelines?\"");
    expect("GET", "/x", "", NULL, 0, 404, "\"code\":\"not_found\"");
    expect("GET", "/plain/", "", NULL, 0, 404, "\"title\":\"Not Found\"");
    expect("GET", "/plain/a/b", "", NULL, 0, 404, "\"status\":404");
}

static void wrong_method_is_405_with_allow(void **state)
{
    (void)state;
    struct answer a;
    char value[256];
    client_once(t.port, "DELETE", "/plain/1", "", NULL, 0, &a);
    assert_int_equal(a.status, 405);
    assert_string_equal(answer_header(&a, "Allow", value), "GET, HEAD, POST");
    assert_string_equal(answer_header(&a, "Content-Type", value),
                        "application/problem+json");
    answer_free(&a);
}

static void head_gives_headers_only(void **state)
{
    (void)state;
    int fd = client_open(t.port);
    struct answer a;
    char value[256];
    client_ask(fd, "HEAD", "/plain/1", "", NULL, 0);
    client_answer(fd, &a, true);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_header(&a, "X-Reply", value), "yes");
    answer_free(&a);
    client_ask(fd, "GET", "/plain/2", "", NULL,
               0); /* nothing is left over in between */
    client_answer(fd, &a, false);
    assert_non_null(strstr(a.body, "GET /plain/2"));
    answer_free(&a);
    client_ask(fd, "HEAD", "/stream?n=100000", "", NULL, 0);
    client_answer(fd, &a, true);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    char byte; /* of a length that nobody knows: the connection ends with it */
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
}

static void connection_is_kept_for_many_requests(void **state)
{
    (void)state;
    int fd = client_open(t.port);
    for (int i = 0; i < 500; i++) {
        char path[32], text[64];
        struct answer a;
        snprintf(path, sizeof(path), i % 2 ? "/plain/%d" : "/query/%d", i);
        snprintf(text, sizeof(text), "a=%d q=- h=- size=3 abc", i);
        client_ask(fd, "POST", path, "", "abc", 3);
        client_answer(fd, &a, false);
        assert_int_equal(a.status, 200);
        assert_non_null(strstr(a.body, text));
        answer_free(&a);
    }
    close(fd);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    int fd = client_open(t.port);
    for (int i = 0; i < 20; i++) {
        char path[32];
        snprintf(path, sizeof(path), i % 2 ? "/plain/%d" : "/query/%d", i);
        client_ask(fd, "POST", path, "", "xyz", 3);
    }
    for (int i = 0; i < 20; i++) {
        char text[64];
        struct answer a;
        snprintf(text, sizeof(text), "a=%d q=- h=- size=3 xyz", i);
        client_answer(fd, &a, false);
        assert_non_null(strstr(a.body, text));
        answer_free(&a);
    }
    close(fd);
}

/* sum = sum * 31 + byte, as the upload handler makes it, over n bytes of the pattern.
 */
static char *pattern(size_t n, char expected[64])
{
    char *data = malloc(n);
    assert_non_null(data);
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        data[i] = (char)('a' + i % 23);
        sum = sum * 31 + (unsigned char)data[i];
    }
    snprintf(expected, 64, "%zu %llu", n, (unsigned long long)sum);
    return data;
}

static void upload_comes_in_pieces(void **state)
{
    (void)state;
    char expected[64];
    char *data = pattern(3000000, expected);
    expect("POST", "/up/x", "", data, 3000000, 200, expected);
    assert_true(t.pieces > 10);
    wait_for_count(&t.closed_replied, 1);
    free(data);
}

static void chunked_upload_is_seen_before_its_end(void **state)
{
    (void)state;
    char expected[64];
    char *data = pattern(5000, expected);
    int fd = client_open(t.port);
    struct answer a;
    client_text(fd,
                "POST /up/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; i < 5; i++) {
        client_chunk(fd, data + i * 1000, 1000);
        wait_for_count(&t.piece_bytes, (i + 1) * 1000);
    }
    assert_int_equal(t.ends, 0);
    client_chunk(fd, "", 0);
    client_answer(fd, &a, false);
    assert_string_equal(a.body, expected);
    answer_free(&a);
    close(fd);
    free(data);
}

static void gzip_body_is_undone(void **state)
{
    (void)state;
    char expected[64];
    char *data = pattern(2000000, expected);
    size_t size, first;
    char *zipped = client_gzip(data, 2000000, &size);
    expect("POST", "/up/x", "Content-Encoding: gzip\r\n", zipped, size, 200, expected);
    expect("POST", "/up/early", "Content-Encoding: gzip\r\n", zipped, size, 200,
           expected);
    expect("POST", "/up/x", "Content-Encoding: gzip\r\n", zipped, size - 5, 400,
           "the gzip body ends too early");
    expect("POST", "/plain/1", "Content-Encoding: gzip\r\n", zipped, size, 413,
           "too_large");
    free(zipped);
    /* two members, one behind the other */
    zipped = client_gzip(data, 700000, &first);
    char *rest = client_gzip(data + 700000, 1300000, &size);
    zipped = realloc(zipped, first + size);
    assert_non_null(zipped);
    memcpy(zipped + first, rest, size);
    expect("POST", "/up/x", "Content-Encoding: gzip\r\n", zipped, first + size, 200,
           expected);
    free(rest);
    free(zipped);
    free(data);
}

static void bad_gzip_and_other_encodings_are_refused(void **state)
{
    (void)state;
    expect("POST", "/up/x", "Content-Encoding: gzip\r\n", "no gzip at all", 14, 400,
           "not valid gzip");
    expect("POST", "/up/x", "Content-Encoding: br\r\n", "x", 1, 415,
           "unsupported_encoding");
    expect("POST", "/up/x", "Content-Encoding: identity\r\n", "x", 1, 200, "1 120");
}

static void paused_upload_goes_on_after_resume(void **state)
{
    (void)state;
    char expected[64];
    char *data = pattern(100000, expected);
    for (int i = 0; i < 20; i++) {
        struct answer a;
        t.hold = true;
        t.pauses = 0;
        int fd = client_open(t.port);
        client_ask(fd, "POST", "/up/hold", "", data, 100000);
        wait_for_count(&t.pauses, 1);
        t.hold = false;
        http_resume(t.held); /* before or after the connection is really suspended */
        client_answer(fd, &a, false);
        assert_string_equal(a.body, expected);
        answer_free(&a);
        close(fd);
    }
    free(data);
}

static void early_resume_is_not_lost(void **state)
{
    (void)state;
    char expected[64];
    char *data = pattern(500000, expected);
    expect("POST", "/up/early", "", data, 500000, 200, expected);
    free(data);
}

static void pause_ends_at_its_deadline(void **state)
{
    (void)state;
    int64_t from = clock_monotonic_us();
    expect("POST", "/up/wait", "", "abc", 3, 200, "3 ");
    assert_true(clock_monotonic_us() - from >= 50000);
}

static void client_gone_in_mid_body_closes_the_upload(void **state)
{
    (void)state;
    int fd = client_open(t.port);
    client_text(fd,
                "POST /up/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc");
    wait_for_count(&t.piece_bytes, 3);
    close(fd);
    wait_for_count(&t.closed_unreplied, 1);
    assert_int_equal(t.ends, 0);
    assert_int_equal(t.closed_replied, 0);
}

/* A head that is cut is answered; in the middle of a body nobody is told. */
static void end_that_comes_with_the_last_bytes_is_seen(void **state)
{
    (void)state;
    static const char feed[] = "POST /up/x HTTP/1.1\r\nHost: a\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    int fd[10];
    for (size_t i = 0; i < 10; i++) {
        fd[i] = client_open(t.port);
        client_send(fd[i], feed, i % 2 ? sizeof(feed) - 1 : 5);
        shutdown(fd[i], SHUT_WR);
    }
    for (size_t i = 0; i < 10; i++) {
        struct answer a;
        client_answer(fd[i], &a, false);
        assert_int_equal(a.status, i % 2 ? 0 : 400);
        answer_free(&a);
        close(fd[i]);
    }
    wait_for_count(&t.closed_unreplied, 5);
}

static void refused_short_body_keeps_the_connection(void **state)
{
    (void)state;
    int fd = client_open(t.port);
    for (int i = 0; i < 3; i++) {
        struct answer a;
        client_ask(fd, "POST", i == 1 ? "/up/stop" : "/up/refuse", "", "abcdef", 6);
        client_answer(fd, &a, false);
        assert_int_equal(a.status, i == 1 ? 400 : 404);
        answer_free(&a);
    }
    close(fd);
}

/* Nobody waits for the end of a body that never ends, or that is long, to hear that it
 * is wrong. */
static void refusal_comes_in_the_middle_of_an_endless_body(void **state)
{
    (void)state;
    static const char *const path[] = {"/up/refuse", "/up/stop", "/nowhere"};
    for (size_t i = 0; i < 6; i++) {
        int fd = client_open(t.port);
        struct answer a;
        client_text(fd, "POST %s HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", path[i % 3],
                    i < 3 ? "Transfer-Encoding: chunked"
                          : "Content-Length: 1000000000");
        if (i < 3)
            client_chunk(fd, "abc", 3);
        else
            client_send(fd, "abc", 3);
        client_answer(fd, &a, false);
        assert_int_equal(a.status, i % 3 == 1 ? 400 : 404);
        assert_true(a.whole);
        answer_free(&a);
        close(fd);
    }
}

static void body_with_two_ends_or_an_unknown_coding_is_refused(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity",
    };
    for (size_t i = 0; i < 3; i++) {
        int fd = client_open(t.port);
        struct answer a;
        char value[256];
        client_text(fd, "POST /up/1 HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", headers[i]);
        client_chunk(fd, "abc", 3);
        client_chunk(fd, "", 0);
        client_answer(fd, &a, false);
        assert_int_equal(a.status, 400);
        assert_string_equal(answer_header(&a, "Connection", value), "close");
        answer_free(&a);
        close(fd);
    }
}

static void page_of_another_origin_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *headers;
        unsigned status;
    } row[] = {
        {"Host: 127.0.0.1:8080\r\nOrigin: http://127.0.0.1:8080", 200},
        {"Host: weir.example\r\nOrigin: https://WEIR.example", 200},
        {"Host: 127.0.0.1:8080\r\nOrigin: http://127.0.0.1", 403},
        {"Host: 127.0.0.1:8080\r\nOrigin: https://shop.example", 403},
        {"Host: 127.0.0.1:8080\r\nOrigin: null", 403},
    };
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        int fd = client_open(t.port);
        struct answer a;
        client_text(fd, "POST /plain/1 HTTP/1.1\r\n%s\r\nContent-Length: 3\r\n\r\nabc",
                    row[i].headers);
        client_answer(fd, &a, false);
        assert_int_equal(a.status, row[i].status);
        if (row[i].status == 403)
            assert_non_null(strstr(a.body, "\"code\":\"foreign_origin\""));
        answer_free(&a);
        close(fd);
    }
}

static void who_asks_first_is_refused_before_the_body(void **state)
{
    (void)state;
    int fd = client_open(t.port);
    struct answer a;
    client_text(fd, "POST /plain/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n"
                    "Expect: 100-continue\r\n\r\n");
    client_answer(fd, &a, false);
    assert_int_equal(a.status, 413);
    answer_free(&a);
    close(fd);
}

/* What comes back on a connection of its own; the client has closed its half when `half` says so. */
static unsigned raw_status(const char *request, size_t size, bool half,
                           struct answer *a)
{
    int fd = client_open(t.port);
    client_send(fd, request, size);
    if (half)
        shutdown(fd, SHUT_WR);
    client_answer(fd, a, false);
    close(fd);
    return a->status;
}

static void pages_of_other_sites_get_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *path, *headers;
        unsigned status;
    } row[] = {
        {"/plain/1", "Sec-Fetch-Site: same-origin\r\n", 200},
        {"/plain/1", "Sec-Fetch-Site: none\r\n", 200},
        {"/plain/1", "Sec-Fetch-Site: cross-site\r\n", 403},
        {"/stream?n=1", "Sec-Fetch-Site: same-site\r\n", 403},
        {"/stream?n=1",
         "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: "
         "document\r\n",
         403},
        {"/",
         "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: "
         "document\r\n",
         200},
        {"/",
         "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: "
         "iframe\r\n",
         403},
    };
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
        expect("GET", row[i].path, row[i].headers, NULL, 0, row[i].status, "");
}

static void other_names_than_ours_are_refused(void **state)
{
    (void)state;
    static const char *const hosts[] = {"weir.example", NULL};
    static const struct {
        const char *host;
        unsigned status;
    } row[] = {
        {"localhost", 200},
        {"LocalHost:1", 200},
        {"a.localhost:80", 200},
        {"localhost.", 200},
        {"127.0.0.1:8080", 200},
        {"127.9.9.9", 200},
        {"[::1]:80", 200},
        {"[0:0:0:0:0:0:0:1]", 200},
        {"WEIR.example:443", 200},
        {"x.example", 421},
        {"xweir.example", 421},
        {"weir.example.x", 421},
        {"xlocalhost", 421},
        {"localhost.x", 421},
        {"127.0.0.1.x", 421},
        {"10.0.0.1:80", 421},
        {"", 421},
        {".localhost", 421},
    };
    struct http_options named = usual;
    named.hosts = hosts;
    http_free(t.server);
    server_start(&named);
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        char text[256];
        struct answer a;
        int n = snprintf(text, sizeof(text),
                         "GET /plain/1 HTTP/1.1\r\nHost: %s\r\n\r\n", row[i].host);
        if (raw_status(text, (size_t)n, false, &a) != row[i].status)
            fail_msg("%u and not %u: Host: %s", a.status, row[i].status, row[i].host);
        answer_free(&a);
    }
    static const char rebound[] =
        "GET http://x.example/plain/1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct answer a;
    assert_int_equal(raw_status(rebound, sizeof(rebound) - 1, false, &a), 421);
    answer_free(&a);
}

/* Each is a problem+json, and the connection is closed behind it. */
static void malformed_heads_are_answered_and_closed(void **state)
{
    (void)state;
    static const char *const text[] = {
        "POST /up/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: "
        "4\r\n\r\nabcd",
        "POST /up/x HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc",
        "GET /plain/1 HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET /plain/1 HTTP/1.1\r\n\r\n",
        "GET /plain/1 HTTP/1.1\nHost: a\n\n",
        "nonsense\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
        struct answer a;
        char value[256];
        int fd = client_open(t.port);
        client_send(fd, text[i], strlen(text[i]));
        client_answer(fd, &a, false);
        assert_int_equal(a.status, 400);
        assert_string_equal(answer_header(&a, "Connection", value), "close");
        assert_string_equal(answer_header(&a, "Content-Type", value),
                            "application/problem+json");
        assert_non_null(strstr(a.body, "\"code\":\"malformed\""));
        answer_free(&a);
        client_answer(fd, &a, false);
        assert_int_equal(a.status, 0);
        answer_free(&a);
        close(fd);
    }
    assert_int_equal(t.ends, 0);
}

static void head_has_a_limit(void **state)
{
    (void)state;
    static const char head[] = "GET /plain/1 HTTP/1.1\r\nHost: a\r\nX-Test: ";
    static char text[100000];
    const size_t taken = 60000;
    struct answer a;
    memset(text, 'x', sizeof(text));
    memcpy(text, head, sizeof(head) - 1);
    assert_int_equal(raw_status(text, sizeof(text), false, &a), 431);
    answer_free(&a);
    memcpy(text + taken, "\r\n\r\n", 4);
    assert_int_equal(raw_status(text, taken + 4, false, &a), 200);
    answer_free(&a);
    memset(text, '/', sizeof(text));
    memcpy(text, "GET ", 4);
    assert_int_equal(raw_status(text, sizeof(text), false, &a), 414);
    answer_free(&a);
}

static void thousand_arguments_are_answered(void **state)
{
    (void)state;
    static char text[20000];
    size_t n = (size_t)sprintf(text, "GET /plain/1?q=1");
    for (int i = 0; i < 1000; i++)
        n += (size_t)sprintf(text + n, "&a%d=%d", i, i);
    n += (size_t)sprintf(text + n, " HTTP/1.1\r\nHost: a\r\n\r\n");
    struct answer a;
    assert_int_equal(raw_status(text, n, false, &a), 200);
    answer_free(&a);
}

static void long_headers_of_an_answer_are_whole(void **state)
{
    (void)state;
    struct answer a;
    client_once(t.port, "GET", "/long-header", "", NULL, 0, &a);
    const char *at = strstr(a.headers, "X-Long: ");
    assert_non_null(at);
    assert_int_equal(strspn(at + 8, "y"), 10000);
    answer_free(&a);
}

static void body_without_a_length_is_411(void **state)
{
    (void)state;
    static const char *const text[] = {"POST /up/x HTTP/1.0\r\n\r\nabc",
                                       "POST /up/x HTTP/1.1\r\nHost: a\r\n\r\nabc",
                                       "POST /query/1 HTTP/1.1\r\nHost: a\r\n\r\nabc"};
    for (size_t i = 0; i < 3; i++) {
        struct answer a;
        assert_int_equal(raw_status(text[i], strlen(text[i]), false, &a), 411);
        answer_free(&a);
    }
    assert_int_equal(t.ends, 0);
    expect("POST", "/up/x", "", "", 0, 200, "0 0");
}

static void client_that_half_closes_is_answered(void **state)
{
    (void)state;
    static const char *const text[] = {
        "GET /plain/1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /up/wait HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "GET /stream?n=1000000 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /plain/1 HTTP/1.0\r\n\r\n"};
    for (size_t i = 0; i < 4; i++) {
        struct answer a;
        assert_int_equal(raw_status(text[i], strlen(text[i]), true, &a), 200);
        assert_true(a.whole);
        answer_free(&a);
    }
    /* it waits for longer than it takes to ask whether it is there */
    int fd = client_open(t.port);
    struct answer a;
    char byte;
    client_ask(fd, "GET", "/hold", "", NULL, 0);
    shutdown(fd, SHUT_WR);
    assert_int_equal(recv(fd, &byte, 1, MSG_PEEK), 1); /* 100 Continue */
    t.release = 1;
    client_answer(fd, &a, false);
    assert_string_equal(a.body, "held\n");
    answer_free(&a);
    close(fd);
}

/* 64 KiB of gzip make 64 MiB; meanwhile others are answered. */
static void bomb_does_not_keep_others_waiting(void **state)
{
    (void)state;
    struct http_options one = usual;
    one.epoll_threads = 1;
    http_free(t.server);
    server_start(&one);
    size_t size;
    char *zeros = calloc(1, 64u << 20);
    assert_non_null(zeros);
    char *zipped = client_gzip(zeros, 64u << 20, &size);
    free(zeros);
    int bomb = client_open(t.port), other = client_open(t.port);
    client_text(bomb, "POST /up/x HTTP/1.1\r\nHost: a\r\nContent-Encoding: "
                      "gzip\r\nTransfer-Encoding: chunked\r\n\r\n");
    client_chunk(bomb, zipped, size);
    wait_for_count(&t.piece_bytes, 1);
    for (int i = 0; i < 5; i++) {
        struct answer a;
        client_ask(other, "GET", "/plain/1", "", NULL, 0);
        client_answer(other, &a, false);
        assert_int_equal(a.status, 200);
        answer_free(&a);
    }
    assert_true(t.piece_bytes < 64u << 20);
    struct answer a;
    client_chunk(bomb, "", 0);
    client_answer(bomb, &a, false);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    free(zipped);
    close(bomb);
    close(other);
}

static void head_answers_with_the_length_of_get_or_none(void **state)
{
    (void)state;
    struct answer a;
    char value[256], length[256];
    client_once(t.port, "GET", "/plain/1", "", NULL, 0, &a);
    answer_header(&a, "Content-Length", length);
    answer_free(&a);
    client_once(t.port, "HEAD", "/plain/1", "", NULL, 0, &a);
    /* the method's name is in the body */
    assert_int_equal(strtoul(answer_header(&a, "Content-Length", value), NULL, 10),
                     strtoul(length, NULL, 10) + 1);
    answer_free(&a);
    client_once(t.port, "HEAD", "/stream?n=100", "", NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_header(&a, "Content-Length", value), "");
    answer_free(&a);
}

static void old_clients_get_a_body_that_ends_with_the_connection(void **state)
{
    (void)state;
    static const char text[] = "GET /stream?n=100000 HTTP/1.0\r\n\r\n";
    int fd = client_open(t.port);
    size_t size = 0;
    char *all = malloc(200000);
    ssize_t n;
    assert_non_null(all);
    client_send(fd, text, sizeof(text) - 1);
    while ((n = recv(fd, all + size, 200000 - size, 0)) > 0)
        size += (size_t)n;
    all[1000] = 0;
    char *body = strstr(all, "\r\n\r\n");
    assert_non_null(body);
    assert_int_equal(all + size - (body + 4), 100000);
    assert_null(strstr(all, "chunked"));
    free(all);
    close(fd);
}

static void short_query_reply_has_a_length(void **state)
{
    (void)state;
    struct answer a;
    char value[256];
    client_once(t.port, "GET", "/stream?n=5000", "", NULL, 0, &a);
    assert_string_equal(answer_header(&a, "Content-Length", value), "5000");
    assert_int_equal(a.size, 5000);
    answer_free(&a);
}

static void check_pattern(const struct answer *a, size_t size)
{
    assert_int_equal(a->size, size);
    for (size_t i = 0; i < size; i++)
        if (a->body[i] != (char)('a' + i % 23))
            fail_msg("byte %zu is wrong", i);
}

static void long_query_reply_is_streamed(void **state)
{
    (void)state;
    struct answer a;
    client_once(t.port, "GET", "/stream?n=20000000", "", NULL, 0, &a);
    assert_true(a.whole);
    check_pattern(&a, 20000000);
    answer_free(&a);
    client_once(t.port, "GET", "/stream?n=20000&abort=1", "", NULL, 0, &a);
    assert_false(a.whole); /* the client sees that the end is missing */
    answer_free(&a);
    expect("GET", "/stream?n=20&abort=1", "", NULL, 0, 500, "could not be completed");
    expect("GET", "/stream?n=10000&late=1", "", NULL, 0, 504, "too late");
    client_once(t.port, "GET", "/stream?n=20000&late=1", "", NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_false(a.whole);
    answer_free(&a);
}

/* Asks and reads nothing yet. */
static int slow_client(const char *path)
{
    int fd = client_open(t.port), small = 65536;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    client_ask(fd, "GET", path, "", NULL, 0);
    return fd;
}

static void check_slow_client(int fd, size_t size)
{
    struct answer a;
    int large = 1 << 20; /* it is slow no longer */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
    client_answer(fd, &a, false);
    assert_true(a.whole);
    check_pattern(&a, size);
    answer_free(&a);
    close(fd);
}

/* Twice as many as there are threads; what they are sent does not fit into sockets and pipes. */
static void slow_readers_hold_no_thread(void **state)
{
    (void)state;
    const size_t size = 10000000;
    int fd[4];
    for (int i = 0; i < 4; i++)
        fd[i] = slow_client("/stream?n=10000000");
    wait_for_count(&t.written, 4 * size);
    assert_int_equal(t.write_result, 0);
    expect("POST", "/query/1", "", "", 0, 200, "POST /query/1");
    for (int i = 0; i < 4; i++)
        check_slow_client(fd[i], size);
}

/* Until it stands still. */
static void wait_until_nobody_writes(void)
{
    uint64_t before;
    do {
        before = t.written;
        usleep(50000);
    } while (t.written != before || before == 0);
}

/* The writer is never far ahead of a reader that does not read: what the kernel's two
 * socket buffers hold, and the pipe. Meanwhile it holds no thread. */
static void reply_without_bound_is_made_at_the_clients_pace(void **state)
{
    (void)state;
    const size_t size = 10000000;
    int fd[4];
    for (int i = 0; i < 4; i++)
        fd[i] = slow_client("/more?n=10000000");
    wait_until_nobody_writes();
    assert_true(t.written < 4 * size);
    expect("POST", "/query/1", "", "", 0, 200, "POST /query/1");
    for (int i = 0; i < 4; i++)
        check_slow_client(fd[i], size);
    wait_for_count(&t.more_closed, 4);
}

static void replies_in_files_have_a_limit(void **state)
{
    (void)state;
    int fd = slow_client("/stream?n=90000000");
    while (t.write_result == 0)
        usleep(1000);
    assert_int_equal(t.write_result, -ENOSPC);
    assert_true(t.written > 60000000);
    assert_true(t.written < 80000000);
    close(fd);
    /* The place that it took is free again. */
    struct answer a;
    for (int i = 0; i < 20000; i++) {
        client_once(t.port, "GET", "/stream?n=30000000", "", NULL, 0, &a);
        bool whole = a.whole;
        if (whole)
            check_pattern(&a, 30000000);
        answer_free(&a);
        if (whole)
            return;
    }
    fail_msg("there is no room");
}

static void writer_learns_that_the_client_went_away(void **state)
{
    (void)state;
    int fd = client_open(t.port);
    client_ask(fd, "GET", "/more?n=500000000", "", NULL, 0);
    char some[1000];
    assert_true(recv(fd, some, sizeof(some), 0) > 0);
    close(fd);
    wait_for_count(&t.more_closed, 1);
    assert_true(t.written < 50000000);
}

static void reply_that_waits_for_a_client_ends_with_the_server(void **state)
{
    (void)state;
    int fd = slow_client("/more?n=500000000");
    wait_until_nobody_writes();
    http_free(t.server);
    t.server = NULL;
    assert_int_equal(t.more_closed, 1);
    close(fd);
}

static void *free_server(void *arg)
{
    http_free(t.server);
    return arg;
}

/* While the last handler ends: no thread takes up any more what stood still. */
static void reply_that_is_taken_while_the_server_ends_is_cut(void **state)
{
    (void)state;
    pthread_t freeing;
    struct answer a;
    t.stay = true;
    int busy = client_open(t.port);
    client_ask(busy, "GET", "/hold", "", NULL, 0);
    wait_for_count(&t.queries, 1);
    int fd = slow_client("/more?n=500000000");
    wait_until_nobody_writes();
    assert_int_equal(pthread_create(&freeing, NULL, free_server, NULL), 0);
    wait_for_count(&t.gone, 1); /* it stops */
    client_answer(fd, &a, false);
    assert_int_equal(a.status, 200);
    assert_false(a.whole);
    t.stay = false;
    pthread_join(freeing, NULL);
    t.server = NULL;
    assert_int_equal(t.more_closed, 1);
    answer_free(&a);
    close(fd);
    close(busy);
}

/* One runs, one waits, one is refused, whichever it is; queries have threads of their own. */
static void slow_routes_hold_no_query_up(void **state)
{
    (void)state;
    struct pollfd wait[3];
    struct answer a;
    for (int i = 0; i < 3; i++) {
        wait[i] = (struct pollfd){.fd = client_open(t.port), .events = POLLIN};
        client_ask(wait[i].fd, "GET", "/slow", "", NULL, 0);
    }
    assert_int_equal(poll(wait, 3, 20000), 1);
    wait_for_count(&t.queries, 1);
    expect("POST", "/query/1", "", "", 0, 200, "POST /query/1");
    t.release = 1;
    for (int i = 0; i < 3; i++) {
        client_answer(wait[i].fd, &a, false);
        assert_int_equal(a.status, wait[i].revents ? 503 : 200);
        answer_free(&a);
        close(wait[i].fd);
    }
}

static void waiting_query_learns_that_the_client_went_away(void **state)
{
    (void)state;
    int fd = client_open(t.port);
    client_ask(fd, "GET", "/hold", "", NULL, 0);
    wait_for_count(&t.queries, 1);
    close(fd);
    wait_for_count(&t.gone, 1);
}

/* Nine at once where eight may be: one is answered at once, whichever it is. */
static void too_many_queries_are_refused(void **state)
{
    (void)state;
    struct pollfd wait[9];
    struct answer a;
    char value[256];
    for (int i = 0; i < 9; i++) {
        wait[i] = (struct pollfd){.fd = client_open(t.port), .events = POLLIN};
        client_ask(wait[i].fd, "GET", "/hold", "", NULL, 0);
    }
    assert_int_equal(poll(wait, 9, 20000), 1);
    int refused = 0;
    while (!wait[refused].revents)
        refused++;
    client_answer(wait[refused].fd, &a, false);
    assert_int_equal(a.status, 503);
    assert_non_null(strstr(a.body, "too_many_queries"));
    assert_string_equal(answer_header(&a, "Retry-After", value), "1");
    answer_free(&a);
    t.release = 1;
    for (int i = 0; i < 9; i++) {
        if (i != refused) {
            client_answer(wait[i].fd, &a, false);
            assert_string_equal(a.body, "held\n");
            answer_free(&a);
        }
        close(wait[i].fd);
    }
    expect("GET", "/none", "", NULL, 0, 500, "not answered");
}

static void two_hundred_connections_at_once(void **state)
{
    (void)state;
    enum { N = 200 };
    int fd[N];
    for (int i = 0; i < N; i++)
        fd[i] = client_open(t.port);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++)
            client_ask(fd[i], "POST", "/up/x", "", "abcdefgh", 8);
        for (int i = 0; i < N; i++) {
            struct answer a;
            client_answer(fd[i], &a, false);
            assert_int_equal(a.status, 200);
            answer_free(&a);
        }
    }
    for (int i = 0; i < N; i++)
        close(fd[i]);
    assert_int_equal(t.ends, 600);
}

static void connections_over_the_limit_get_an_answer(void **state)
{
    (void)state;
    struct http_options few = usual;
    few.max_connections = 4;
    http_free(t.server);
    server_start(&few);
    int fd[4];
    struct answer a;
    for (int i = 0; i < 4; i++) {
        fd[i] = client_open(t.port);
        client_ask(fd[i], "GET", "/plain/1", "", NULL, 0);
        client_answer(fd[i], &a, false);
        assert_int_equal(a.status, 200);
        answer_free(&a);
    }
    expect("GET", "/plain/1", "", NULL, 0, 503, "too_many_connections");
    for (int i = 0; i < 4; i++)
        close(fd[i]);
    do { /* as soon as the server has seen them go */
        client_once(t.port, "GET", "/plain/1", "", NULL, 0, &a);
        answer_free(&a);
    } while (a.status == 503);
    assert_int_equal(a.status, 200);
}

/* A feed may say nothing for a long time; a connection without a request, or one that takes nothing
 * of its answer, may not. */
static void silent_connection_is_closed(void **state)
{
    (void)state;
    struct http_options hasty = usual;
    hasty.idle_timeout_us = SECOND_US;
    http_free(t.server);
    server_start(&hasty);
    int silent = client_open(t.port), taker = client_open(t.port),
        feed = client_open(t.port);
    client_text(feed,
                "POST /up/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client_chunk(feed, "abc", 3);
    wait_for_count(&t.piece_bytes, 3);
    client_ask(taker, "GET", "/more?n=500000000", "", NULL, 0); /* and takes nothing */
    char byte;
    assert_int_equal(recv(silent, &byte, 1, 0), 0);
    wait_for_count(&t.more_closed, 1);
    struct answer a;
    client_chunk(feed, "", 0);
    client_answer(feed, &a, false);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    assert_int_equal(recv(feed, &byte, 1, 0),
                     0); /* its request is over: the limit holds again */
    close(feed);
    close(silent);
    close(taker);
}

static void request_that_does_not_go_on_is_408(void **state)
{
    (void)state;
    static const char *const text[] = {
        "GET /pl", "POST /up/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"};
    struct http_options hasty = usual;
    hasty.idle_timeout_us = SECOND_US;
    http_free(t.server);
    server_start(&hasty);
    int fd[2];
    for (size_t i = 0; i < 2; i++) {
        fd[i] = client_open(t.port);
        client_send(fd[i], text[i], strlen(text[i]));
    }
    for (size_t i = 0; i < 2; i++) {
        struct answer a;
        client_answer(fd[i], &a, false);
        assert_int_equal(a.status, 408);
        assert_non_null(strstr(a.body, "\"code\":\"request_timeout\""));
        answer_free(&a);
        close(fd[i]);
    }
    assert_int_equal(t.ends, 0);
}

static void drain_finishes_what_is_under_way(void **state)
{
    (void)state;
    int fd = client_open(t.port);
    client_ask(fd, "GET", "/hold", "", NULL, 0);
    wait_for_count(&t.queries, 1);
    http_drain(t.server, clock_monotonic_us() + 10000); /* too short for it */
    t.release = 1;
    http_drain(t.server, clock_monotonic_us() + 20 * SECOND_US);
    struct answer a;
    char value[256];
    client_answer(fd, &a, false);
    assert_string_equal(a.body, "held\n");
    assert_string_equal(answer_header(&a, "Connection", value), "close");
    answer_free(&a);
    close(fd);
}

static void drain_cuts_bodies_without_end(void **state)
{
    (void)state;
    int fd = client_open(t.port);
    client_text(fd,
                "POST /up/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client_chunk(fd, "abc", 3);
    wait_for_count(&t.piece_bytes, 3);
    int64_t from = clock_monotonic_us();
    http_drain(t.server, from + 20 * SECOND_US);
    assert_true(clock_monotonic_us() - from < 15 * SECOND_US);
    wait_for_count(&t.closed_unreplied, 1);
    close(fd);
}

static void stop_in_the_middle_of_everything(void **state)
{
    (void)state;
    int fd[5];
    for (int i = 0; i < 5; i++)
        fd[i] = client_open(t.port);
    t.hold = true;
    client_ask(fd[0], "POST", "/up/hold", "", "abc", 3);
    client_ask(fd[1], "GET", "/hold", "", NULL, 0);
    client_ask(fd[2], "GET", "/stream?n=500000000", "", NULL, 0);
    client_text(fd[3],
                "POST /up/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc");
    wait_for_count(&t.pauses, 1);
    wait_for_count(&t.queries, 2);
    wait_for_count(&t.piece_bytes, 3);
    http_free(t.server);
    t.server = NULL;
    assert_int_equal(t.closed_unreplied, 2);
    for (int i = 0; i < 5; i++)
        close(fd[i]);
}

static void port_in_use_is_said(void **state)
{
    (void)state;
    struct http_options same = usual;
    same.port = t.port;
    struct http_server *other = NULL;
    struct error error = {0};
    assert_int_equal(http_new(&same, NULL, &other, &error), -EADDRINUSE);
    assert_null(other);
    assert_non_null(strstr(error.text, "Address already in use"));
    same.address = "no.such.host.invalid";
    assert_int_equal(http_new(&same, NULL, &other, &error), -EADDRNOTAVAIL);
}

static void requests_are_counted(void **state)
{
    (void)state;
    struct metrics *m;
    struct error error = {0};
    struct http_server *s;
    assert_return_code(metrics_new(&m), 0);
    assert_return_code(http_new(&usual, m, &s, &error), 0);
    assert_return_code(http_start(s, &error), 0);
    struct answer a;
    client_once(http_port(s), "GET", "/x", "", NULL, 0, &a);
    answer_free(&a);
    client_once(http_port(s), "GET", "/y", "", NULL, 0, &a);
    answer_free(&a);
    struct buffer b = {0};
    metrics_print(m, &b);
    assert_non_null(
        strstr(buffer_text(&b), "weir_http_requests_total{status=\"404\"} 2\n"));
    assert_non_null(
        strstr(buffer_text(&b), "weir_http_requests_total{status=\"200\"} 0\n"));
    buffer_free(&b);
    http_free(s);
    metrics_free(m);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(plain_route_gives_parameters_and_body),
        TEST(unknown_path_is_404_with_a_suggestion),
        TEST(wrong_method_is_405_with_allow),
        TEST(head_gives_headers_only),
        TEST(connection_is_kept_for_many_requests),
        TEST(pipelined_requests_are_answered_in_order),
        TEST(upload_comes_in_pieces),
        TEST(chunked_upload_is_seen_before_its_end),
        TEST(gzip_body_is_undone),
        TEST(bad_gzip_and_other_encodings_are_refused),
        TEST(paused_upload_goes_on_after_resume),
        TEST(early_resume_is_not_lost),
        TEST(pause_ends_at_its_deadline),
        TEST(client_gone_in_mid_body_closes_the_upload),
        TEST(end_that_comes_with_the_last_bytes_is_seen),
        TEST(refused_short_body_keeps_the_connection),
        TEST(refusal_comes_in_the_middle_of_an_endless_body),
        TEST(body_with_two_ends_or_an_unknown_coding_is_refused),
        TEST(page_of_another_origin_is_refused),
        TEST(pages_of_other_sites_get_nothing),
        TEST(other_names_than_ours_are_refused),
        TEST(malformed_heads_are_answered_and_closed),
        TEST(head_has_a_limit),
        TEST(thousand_arguments_are_answered),
        TEST(long_headers_of_an_answer_are_whole),
        TEST(body_without_a_length_is_411),
        TEST(client_that_half_closes_is_answered),
        TEST(bomb_does_not_keep_others_waiting),
        TEST(head_answers_with_the_length_of_get_or_none),
        TEST(old_clients_get_a_body_that_ends_with_the_connection),
        TEST(who_asks_first_is_refused_before_the_body),
        TEST(short_query_reply_has_a_length),
        TEST(long_query_reply_is_streamed),
        TEST(slow_readers_hold_no_thread),
        TEST(reply_without_bound_is_made_at_the_clients_pace),
        TEST(replies_in_files_have_a_limit),
        TEST(writer_learns_that_the_client_went_away),
        TEST(reply_that_waits_for_a_client_ends_with_the_server),
        TEST(reply_that_is_taken_while_the_server_ends_is_cut),
        TEST(slow_routes_hold_no_query_up),
        TEST(waiting_query_learns_that_the_client_went_away),
        TEST(too_many_queries_are_refused),
        TEST(two_hundred_connections_at_once),
        TEST(connections_over_the_limit_get_an_answer),
        TEST(silent_connection_is_closed),
        TEST(request_that_does_not_go_on_is_408),
        TEST(drain_finishes_what_is_under_way),
        TEST(drain_cuts_bodies_without_end),
        TEST(stop_in_the_middle_of_everything),
        TEST(port_in_use_is_said),
        TEST(requests_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
