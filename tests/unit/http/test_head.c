/* SPDX-License-Identifier: Apache-2.0
 *
 * Heads and chunks, byte by byte: what RFC 9112 and 9110 allow is read, what two readers could take for two
 * different messages is refused.
 */
#include "http/head.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The text comes in `step` bytes at a time. */
static unsigned parse_in_steps(const char *text, size_t size, size_t step,
                               struct head *head, char **ret)
{
    size_t scanned = 0, have = 0;
    ssize_t n = 0;
    struct head_fault fault = {0};
    char *copy = malloc(size + 1);
    assert_non_null(copy);
    memcpy(copy, text, size);
    *ret = copy;
    while (n == 0 && have < size) {
        have = have + step < size ? have + step : size;
        n = head_end(copy, have, &scanned);
    }
    if (n < 0)
        return 400;
    if (n == 0)
        return 0;
    return head_parse(head, copy, (size_t)n, &fault) ? 200 : fault.status;
}

static void expect_size(const char *text, size_t size, unsigned status)
{
    const size_t steps[] = {1, 2, 7, size};
    for (size_t i = 0; i < 4; i++) {
        size_t step = steps[i];
        struct head head = {0};
        char *copy;
        unsigned got = parse_in_steps(text, size, step, &head, &copy);
        if (got != status)
            fail_msg("%u and not %u: %s", got, status, text);
        head_free(&head);
        free(copy);
    }
}

static void expect(const char *text, unsigned status)
{
    expect_size(text, strlen(text), status);
}

/* "GET / HTTP/1.1", Host, and `fields`. */
static void expect_fields(const char *fields, unsigned status)
{
    char text[1024];
    snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", fields);
    expect(text, status);
}

static void first_line_is_method_target_version(void **state)
{
    (void)state;
    expect("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200);
    expect("M-SEARCH /x?y HTTP/1.1\r\nHost: a\r\n\r\n", 200);
    expect("GET / HTTP/1.0\r\n\r\n", 200);
    expect("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200);
    expect("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    expect("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400);
    expect(" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    expect("GET /\r\nHost: a\r\n\r\n", 400);
    expect("GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400);
    expect("GET / http/1.1\r\nHost: a\r\n\r\n", 400);
    expect("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    expect("GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    expect("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    expect("GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    expect("GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    expect("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    expect("PRI * HTTP/2.0\r\n\r\n", 505);
}

static void lines_end_in_cr_lf(void **state)
{
    (void)state;
    expect("GET / HTTP/1.1\nHost: a\n\n", 400);
    expect("GET / HTTP/1.1\r\nHost: a\n\r\n", 400);
    expect("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400);
    expect("GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n", 400);
    expect("GET / HTTP/1.1\r\nHost: a\r\n", 0); /* not all of it */
}

static void zeros_are_refused(void **state)
{
    (void)state;
    static const char name[] =
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length\0: 3\r\n\r\n",
                      value[] = "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
                      target[] = "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n";
    expect_size(name, sizeof(name) - 1, 400);
    expect_size(value, sizeof(value) - 1, 400);
    expect_size(target, sizeof(target) - 1, 400);
}

static void fields_are_name_colon_value(void **state)
{
    (void)state;
    expect_fields("X:a\r\n", 200);
    expect_fields("X: \t a b \t \r\n", 200);
    expect_fields("X:\r\n", 200);
    expect_fields("X : a\r\n", 400);
    expect_fields("X\r\n", 400);
    expect_fields(": a\r\n", 400);
    expect_fields("X Y: a\r\n", 400);
    expect_fields("X: a\r\n b\r\n", 400);
    expect_fields("X: a\r\n\tb\r\n", 400);
    expect_fields("X: a\001b\r\n", 400);
    expect("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400);
    expect("GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n", 400);
}

static void body_has_one_end(void **state)
{
    (void)state;
    expect_fields("Content-Length: 3\r\n", 200);
    expect_fields("Content-Length: 3\r\nContent-Length: 3\r\n", 200);
    expect_fields("Content-Length: 3\r\ncontent-length: 4\r\n", 400);
    expect_fields("Content-Length: 3, 3\r\n", 400);
    expect_fields("Content-Length: +3\r\n", 400);
    expect_fields("Content-Length: -3\r\n", 400);
    expect_fields("Content-Length: 0x3\r\n", 400);
    expect_fields("Content-Length: 3 4\r\n", 400);
    expect_fields("Content-Length:\r\n", 400);
    expect_fields("Content-Length : 3\r\n", 400);
    expect_fields("Content-Length: 1\r\n 0\r\n", 400);
    expect_fields("Content-Length: 9999999999999999999\r\n", 200);
    expect_fields("Content-Length: 18446744073709551617\r\n", 400);
    expect_fields("Transfer-Encoding: Chunked\r\n", 200);
    expect_fields("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", 400);
    expect_fields("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400);
    expect_fields("Content-Length: 3\r\nTransfer-Encoding : chunked\r\n", 400);
    expect_fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400);
    expect_fields("Transfer-Encoding: gzip, chunked\r\n", 400);
    expect_fields("Transfer-Encoding: chunked, identity\r\n", 400);
    expect_fields("Transfer-Encoding: xchunked\r\n", 400);
    expect_fields("Transfer-Encoding:\r\n", 400);
    expect("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
}

static void fields_of_one_value_have_one(void **state)
{
    (void)state;
    expect_fields("Content-Type: a/b\r\nX: c\r\ncontent-type: a/b\r\n", 200);
    expect_fields("Content-Type: a/b\r\nX: c\r\ncontent-type: a/c\r\n", 400);
    expect_fields("Idempotency-Key: a\r\nIdempotency-Key: b\r\n", 400);
    expect_fields("Weir-Source: a\r\nWeir-Source: A\r\n", 400);
    expect_fields("Authorization: Bearer a\r\nAuthorization: Bearer b\r\n", 400);
    expect_fields("Accept: a/b\r\nAccept: a/c\r\nX: a\r\nX: b\r\n", 200);
}

static void host_is_there_once(void **state)
{
    (void)state;
    static const char *const good[] = {"a",     "a:1",      "A.b-c:80", "127.0.0.1:",
                                       "[::1]", "[::1]:80", "a_b",      "a%2db"},
                             *const bad[] = {"a b",   "a/b",     "u@a",   "a:b",
                                             "[::1",  "::1",     "a,b:c", "[a]x",
                                             "a:1:2", "\303\244"};
    char text[256];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", good[i]);
        expect(text, 200);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", bad[i]);
        expect(text, 400);
    }
    expect("GET / HTTP/1.1\r\n\r\n", 400);
    expect("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
    expect("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400);
}

static void expectations_but_one_are_refused(void **state)
{
    (void)state;
    expect_fields("Expect: 100-Continue\r\n", 200);
    expect_fields("Expect: tea\r\n", 417);
}

static void head_reads(struct head *h, char **copy, const char *text)
{
    *h = (struct head){0};
    assert_int_equal(parse_in_steps(text, strlen(text), 1000, h, copy), 200);
}

static void target_is_taken_apart(void **state)
{
    (void)state;
    struct head h;
    char *copy;
    head_reads(
        &h, &copy,
        "GET /a%20b+c/%C3%A4?x=1+2&&y=%26%3D&z&x=a%00b&=v HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_string_equal(h.path, "/a b+c/\303\244");
    assert_int_equal(h.n_pairs - h.n_fields, 5);
    const struct head_pair *p = &h.pair[h.n_fields];
    assert_string_equal(p[0].name, "x");
    assert_string_equal(p[0].value, "1 2");
    assert_string_equal(p[1].value, "&=");
    assert_string_equal(p[2].name, "z");
    assert_string_equal(p[2].value, "");
    assert_int_equal(p[3].value_size, 3);
    assert_memory_equal(p[3].value, "a\0b", 4);
    assert_string_equal(p[4].name, "");
    assert_string_equal(p[4].value, "v");
    assert_true(h.zeros);
    head_free(&h);
    free(copy);
    expect("GET /%2 HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    expect("GET /?a=5% HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    expect("GET /?a%00=5 HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}

static void target_may_be_a_whole_address(void **state)
{
    (void)state;
    static const struct {
        const char *target, *host, *path;
    } row[] = {
        {"http://x.example:80/a?b=c", "x.example:80", "/a"},
        {"HTTP://x/", "x", "/"},
        {"https://x", "x", "/"},
        {"http://[::1]?b=c", "[::1]", "/"},
        {"http:///a", "", "/a"},
    };
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        char text[256];
        struct head h;
        char *copy;
        snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: other\r\n\r\n",
                 row[i].target);
        head_reads(&h, &copy, text);
        assert_string_equal(h.host, row[i].host);
        assert_string_equal(h.path, row[i].path);
        head_free(&h);
        free(copy);
    }
    expect("GET http://u@x/ HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    expect("GET ftp://x/ HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}

static void connection_says_whether_it_is_kept(void **state)
{
    (void)state;
    static const struct {
        const char *version, *connection;
        bool keep;
    } row[] = {{"1.1", "x", true},          {"1.1", "Close", false},
               {"1.1", "TE, close", false}, {"1.0", "x", false},
               {"1.0", "Keep-Alive", true}, {"1.0", "close, keep-alive", true}};
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        char text[256];
        struct head h;
        char *copy;
        snprintf(text, sizeof(text),
                 "GET / HTTP/%s\r\nHost: a\r\nConnection: %s\r\n\r\n", row[i].version,
                 row[i].connection);
        head_reads(&h, &copy, text);
        assert_int_equal(h.keep_alive, row[i].keep);
        head_free(&h);
        free(copy);
    }
}

static void numbers_of_fields_and_arguments_have_a_limit(void **state)
{
    (void)state;
    static char text[65536];
    size_t n = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 300; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "X: %d\r\n", i);
    strcpy(text + n, "\r\n");
    expect(text, 431);
    n = (size_t)snprintf(text, sizeof(text), "GET /?");
    for (int i = 0; i < 4097; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "a=1&");
    strcpy(text + n, " HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(text, 400);
}

/* What comes out of chunks that come in `step` bytes at a time; "!" behind it: an error, "." the end. */
static void chunks_give(const char *text, const char *expected)
{
    size_t size = strlen(text);
    for (size_t step = 1; step <= size; step++) {
        struct chunks c = {0};
        char out[256];
        size_t n = 0, at = 0, have = 0;
        ssize_t took = 0;
        while (took >= 0 && c.in != CHUNKS_END && have < size) {
            have = have + step < size ? have + step : size;
            while (at < have && c.in != CHUNKS_END) {
                took = chunks_skip(&c, text + at, have - at);
                if (took < 0)
                    break;
                at += (size_t)took;
                size_t run = c.in == CHUNKS_DATA && c.left < have - at ? (size_t)c.left
                             : c.in == CHUNKS_DATA                     ? have - at
                                                                       : 0;
                memcpy(out + n, text + at, run);
                chunks_took(&c, run);
                n += run;
                at += run;
            }
        }
        snprintf(out + n, sizeof(out) - n, "%s",
                 took < 0             ? "!"
                 : c.in == CHUNKS_END ? "."
                                      : "");
        assert_string_equal(out, expected);
    }
}

static void chunks_are_put_together(void **state)
{
    (void)state;
    chunks_give("3\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n", "abc0123456789.");
    chunks_give("3;x=\"y\"\r\nabc\r\n0\r\nX: y\r\nZ: 1\r\n\r\n", "abc.");
    chunks_give("3 ;x\r\nabc\r\n0\r\n\r\nGET /", "abc.");
    chunks_give("3\r\nab", "ab");
}

static void what_is_no_chunk_is_refused(void **state)
{
    (void)state;
    chunks_give("3\r\nabcd\r\n", "abc!");
    chunks_give("3\nabc", "!");
    chunks_give("\r\n", "!");
    chunks_give("x\r\n", "!");
    chunks_give("-3\r\nabc", "!");
    chunks_give("0x3\r\nabc", "!");
    chunks_give("3\rabc", "!");
    chunks_give("3;a\nb\r\nabc", "!");
    chunks_give("3\r\nabc\n0\r\n\r\n", "abc!");
    chunks_give("1234567890abcdef\r\n", "!");
    chunks_give("0\r\nX: y\nZ: 1\r\n\r\n", "!");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_line_is_method_target_version),
        cmocka_unit_test(lines_end_in_cr_lf),
        cmocka_unit_test(zeros_are_refused),
        cmocka_unit_test(fields_are_name_colon_value),
        cmocka_unit_test(body_has_one_end),
        cmocka_unit_test(fields_of_one_value_have_one),
        cmocka_unit_test(host_is_there_once),
        cmocka_unit_test(expectations_but_one_are_refused),
        cmocka_unit_test(target_is_taken_apart),
        cmocka_unit_test(target_may_be_a_whole_address),
        cmocka_unit_test(connection_says_whether_it_is_kept),
        cmocka_unit_test(numbers_of_fields_and_arguments_have_a_limit),
        cmocka_unit_test(chunks_are_put_together),
        cmocka_unit_test(what_is_no_chunk_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
