/* SPDX-License-Identifier: Apache-2.0
 *
 * POST of events over real sockets into a sink that only remembers.
 */
#include "../http/client.h"
#include "base/clock.h"
#include "sink.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define EVENTS "/api/v1/streams/ticks/events"

static struct {
    struct sink sink;
    struct http_server *server;
    struct source_post *post;
    uint16_t port;
} t;

static int set_up(void **state)
{
    (void)state;
    struct error error = {0};
    const struct http_options options = {.address = "127.0.0.1",
                                         .epoll_threads = 2,
                                         .query_threads = 1,
                                         .max_connections = 300,
                                         .max_queries = 1,
                                         .idle_timeout_us = 30 * SECOND_US};
    sink_open(&t.sink);
    assert_return_code(http_new(&options, NULL, &t.server, &error), 0);
    assert_return_code(source_post_new(&t.sink.stream, 1, t.server, &t.post, &error),
                       0);
    assert_return_code(http_start(t.server, &error), 0);
    t.port = http_port(t.server);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    http_free(t.server);
    source_post_free(t.post);
    sink_close(&t.sink);
    return 0;
}

/* Lines with v = first ... first + n - 1, each 40 bytes long. */
static char *lines(size_t first, size_t n, size_t *ret_size)
{
    char *text = malloc(n * 40 + 1);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++) {
        char line[64];
        int size =
            snprintf(line, sizeof(line),
                     "{\"ts\":1700000000123,\"k\":\"a\",\"v\":%6zu}\n", first + i);
        assert_int_equal(size, 40);
        memcpy(text + i * 40, line, 40);
    }
    *ret_size = n * 40;
    return text;
}

static void post(const char *headers, const void *body, size_t size, unsigned status,
                 const char *text)
{
    struct answer a;
    client_once(t.port, "POST", EVENTS, headers, body, size, &a);
    if (a.status != status || !strstr(a.body, text))
        fail_msg("expected %u %s, got %u: %s", status, text, a.status, a.body);
    answer_free(&a);
}

static void post_text(const char *headers, const char *body, unsigned status,
                      const char *text)
{
    post(headers, body, strlen(body), status, text);
}

#define ACCEPTED(n) "{\"accepted\":" n ",\"rejected\":0,\"errors\":[],\"durable\":true,"

static void events_are_taken_in_each_format(void **state)
{
    (void)state;
    static const char line[] = "{\"ts\":1700000000123,\"k\":\"a\",\"v\":5}\n";
    static const char *const type[] = {
        "", "Content-Type: application/x-ndjson\r\n",
        "Content-Type: application/ndjson; charset=utf-8\r\n",
        "Content-Type: Application/JSONL\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n"};
    for (size_t i = 0; i < 5; i++)
        post_text(type[i], line, 200, ACCEPTED("1"));
    post_text("Content-Type: application/json\r\n",
              "[{\"ts\":1,\"k\":\"a\",\"v\":10},{\"ts\":2,\"k\":\"b\",\"v\":20}]", 200,
              ACCEPTED("2"));
    post_text("Content-Type: application/json\r\n", "{\"ts\":1,\"k\":\"a\",\"v\":3}",
              200, ACCEPTED("1"));
    post_text("Content-Type: text/csv\r\n", "v,k,ts\r\n7,x,1\r\n8,y,2\r\n", 200,
              ACCEPTED("2"));
    assert_int_equal(t.sink.rows, 10);
    assert_int_equal(t.sink.sum, 5 * 5 + 30 + 3 + 15);
    assert_int_equal(t.sink.stream.accepted, 10);
    assert_int_equal(t.sink.stream.requests, 8);
    /* counted by hand: five lines of 35 bytes, an array, an object, a CSV */
    assert_int_equal(t.sink.stream.bytes, 5 * 35 + 49 + 22 + 22);
}

static void empty_body_is_fine(void **state)
{
    (void)state;
    post_text("", "", 200, ACCEPTED("0"));
    post_text("Content-Type: application/json\r\n", "", 200, ACCEPTED("0"));
    post_text("Content-Type: text/csv\r\n", "", 200, ACCEPTED("0"));
    post_text("", "\n\n", 200, ACCEPTED("0"));
    assert_int_equal(t.sink.batches, 0);
}

static void bad_line_is_named_and_rejected_alone(void **state)
{
    (void)state;
    struct answer a;
    static const char body[] = "{\"ts\":1,\"k\":\"a\",\"v\":1}\n"
                               "{\"ts\":1,\"k\":\"a\",\"v\":\n"
                               "{\"ts\":1,\"k\":\"a\",\"v\":\"x\"}\n"
                               "{\"k\":\"a\",\"v\":1}\n"
                               "{\"ts\":1,\"k\":\"a\",\"v\":2}\n";
    client_once(t.port, "POST", EVENTS, "", body, strlen(body), &a);
    assert_int_equal(a.status, 200);
    assert_non_null(
        strstr(a.body, "{\"accepted\":2,\"rejected\":3,\"errors\":[{\"line\":2,"));
    assert_non_null(
        strstr(a.body, "{\"line\":3,\"column\":21,\"reason\":\"type\",\"message\":"));
    assert_non_null(strstr(a.body, "{\"line\":4,"));
    assert_non_null(strstr(a.body, "\"reason\":\"no_time\""));
    answer_free(&a);
    assert_int_equal(t.sink.sum, 3);
    assert_int_equal(t.sink.stream.rejected[DECODE_SYNTAX], 1);
    assert_int_equal(t.sink.stream.rejected[DECODE_TYPE], 1);
    assert_int_equal(t.sink.stream.rejected[DECODE_NO_TIME], 1);
}

static void all_bad_is_422_and_unreadable_is_400(void **state)
{
    (void)state;
    post_text("", "{]\n{]\n", 422, "\"code\":\"rejected\"");
    post_text("", "{]\n{]\n", 422, "\"errors\":[{\"line\":1,");
    post_text("Content-Type: application/json\r\n", "7", 400, "\"code\":\"malformed\"");
    post_text("Content-Type: text/csv\r\n", "a,b\n1,2\n", 400,
              "\"code\":\"malformed\"");
    assert_int_equal(t.sink.rows, 0);
    assert_int_equal(t.sink.stream.rejected[DECODE_SYNTAX] >= 4, 1);
}

static void wrong_stream_type_or_source_is_said(void **state)
{
    (void)state;
    struct answer a;
    char value[256];
    client_once(t.port, "POST", "/api/v1/streams/tocks/events", "", "x", 1, &a);
    assert_int_equal(a.status, 404);
    assert_non_null(strstr(a.body, "\"code\":\"unknown_stream\""));
    assert_non_null(strstr(a.body, "did you mean 'ticks'?; the streams are: ticks"));
    answer_free(&a);
    client_once(t.port, "GET", EVENTS, "", NULL, 0, &a);
    assert_int_equal(a.status, 405);
    assert_string_equal(answer_header(&a, "Allow", value), "POST");
    answer_free(&a);
    post_text("Content-Type: text/xml\r\n", "x", 415, "unsupported_type");
    post_text("Content-Type: text/csv; charset=iso-8859-1\r\n", "x", 415,
              "unsupported_type");
    post_text("Weir-Source: a b\r\n", "x", 400, "bad_source");
    post_text("Weir-Source: "
              "a123456789b123456789c123456789d123456789e123456789f123456789abcd\r\n",
              "x", 400, "bad_source");
}

static void named_sources_are_kept_apart(void **state)
{
    (void)state;
    static const char line[] = "{\"ts\":1,\"k\":\"a\",\"v\":5}\n";
    post_text("Weir-Source: north\r\n", line, 200, ACCEPTED("1"));
    assert_int_equal(t.sink.last_source, 1);
    post_text("Weir-Source: south.1:x_-\r\n", line, 200, ACCEPTED("1"));
    assert_int_equal(t.sink.last_source, 2);
    post_text("Weir-Source: north\r\n", line, 200, ACCEPTED("1"));
    assert_int_equal(t.sink.last_source, 1);
    post_text("", line, 200, ACCEPTED("1"));
    assert_int_equal(t.sink.last_source, 0);
    char header[64];
    for (int i = 0; i < 6; i++) {
        snprintf(header, sizeof(header), "Weir-Source: s%d\r\n", i);
        post_text(header, line, 200, ACCEPTED("1"));
    }
    post_text("Weir-Source: one-too-many\r\n", line, 422, "too_many_sources");
}

static void body_over_the_limit_is_413(void **state)
{
    (void)state;
    size_t size, zipped_size;
    char *body = lines(0, 300000, &size); /* 12 MB; the limit is 8 MiB */
    struct answer a;
    int fd = client_open(t.port);
    client_text(
        fd, "POST " EVENTS " HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", size);
    client_try_send(fd, body, size);
    client_answer(fd, &a, false);
    assert_int_equal(a.status, 413);
    assert_non_null(strstr(a.body, "\"code\":\"too_large\""));
    answer_free(&a);
    close(fd);
    /* small on the wire: seen when it is too long, not when it has been unpacked */
    char *zipped = client_gzip(body, size, &zipped_size);
    assert_true(zipped_size < 4000000);
    post("Content-Encoding: gzip\r\n", zipped, zipped_size, 413, "too_large");
    assert_int_equal(t.sink.rows, 0);
    /* without a length there is no such limit */
    fd = client_open(t.port);
    client_text(fd, "POST " EVENTS
                    " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client_chunk(fd, body, size);
    client_chunk(fd, "", 0);
    client_answer(fd, &a, false);
    assert_non_null(strstr(a.body, ACCEPTED("300000")));
    assert_int_equal(t.sink.sum, UINT64_C(300000) * 299999 / 2);
    answer_free(&a);
    close(fd);
    free(zipped);
    free(body);
}

static void large_body_is_several_batches(void **state)
{
    (void)state;
    size_t size;
    char *body = lines(0, 200000, &size);
    post("", body, size, 200, ACCEPTED("200000"));
    assert_int_equal(t.sink.sum, UINT64_C(200000) * 199999 / 2);
    assert_true(t.sink.batches >= 4 && t.sink.batches <= 6); /* 65,536 rows at most */
    size_t zipped_size;
    char *zipped = client_gzip(body, size, &zipped_size);
    post("Content-Encoding: gzip\r\n", zipped, zipped_size, 200, ACCEPTED("200000"));
    assert_int_equal(t.sink.rows, 400000);
    free(zipped);
    free(body);
}

static void endless_body_is_seen_as_it_comes(void **state)
{
    (void)state;
    int fd = client_open(t.port);
    client_text(fd, "POST " EVENTS
                    " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (uint64_t i = 0; i < 10; i++) {
        char line[80];
        int n = snprintf(line, sizeof(line),
                         "{\"ts\":1,\"k\":\"a\",\"v\":%d}\n{\"ts\":1,", (int)i);
        client_chunk(fd, line, (size_t)n); /* and the first half of another one */
        wait_for_count(&t.sink.rows, 2 * i + 1);
        client_chunk(fd, "\"k\":\"b\",\"v\":100}\n", 17);
        wait_for_count(&t.sink.rows, 2 * i + 2);
    }
    client_chunk(fd, "{]\n{\"ts\":1,\"v\":1000}", 20); /* the last line has no end */
    client_chunk(fd, "", 0);
    struct answer a;
    client_answer(fd, &a, false);
    assert_int_equal(a.status, 200);
    assert_non_null(
        strstr(a.body, "\"accepted\":21,\"rejected\":1,\"errors\":[{\"line\":21,"));
    answer_free(&a);
    close(fd);
    assert_int_equal(t.sink.sum, 45 + 1000 + 1000);
    assert_int_equal(t.sink.stream.rejected[DECODE_SYNTAX], 1);
}

static void client_gone_in_mid_body_counts_nothing(void **state)
{
    (void)state;
    size_t size;
    char *body = lines(0, 100000, &size);
    int fd = client_open(t.port);
    client_text(
        fd, "POST " EVENTS " HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", size);
    client_send(fd, body, size - 10);
    close(fd);
    http_drain(t.server,
               clock_monotonic_us() + 20 * SECOND_US); /* until it is closed */
    assert_int_equal(t.sink.rows, 0);
    assert_int_equal(t.sink.stream.accepted, 0);
    assert_int_equal(t.sink.stream.bytes, 0);
    free(body);
}

static void full_queue_is_429_after_the_wait(void **state)
{
    (void)state;
    struct answer a;
    char value[256];
    static const char line[] = "{\"ts\":1,\"k\":\"a\",\"v\":5}\n{]\n";
    t.sink.limit = 0;
    int64_t from = clock_monotonic_us();
    client_once(t.port, "POST", EVENTS, "", line, strlen(line), &a);
    assert_true(clock_monotonic_us() - from >= 200000);
    assert_int_equal(a.status, 429);
    assert_string_equal(answer_header(&a, "Retry-After", value), "1");
    assert_non_null(strstr(a.body, "\"code\":\"queue_full\""));
    answer_free(&a);
    assert_int_equal(t.sink.stream.throttled, 1);
    assert_int_equal(t.sink.stream.accepted, 0);
    assert_int_equal(t.sink.stream.rejected[DECODE_SYNTAX],
                     0); /* it will be sent again */
    sink_room(&t.sink, UINT64_MAX);
    post_text("", line, 200, "{\"accepted\":1,\"rejected\":1,");
}

static void room_within_the_wait_is_used(void **state)
{
    (void)state;
    static const char line[] = "{\"ts\":1,\"k\":\"a\",\"v\":5}\n";
    t.sink.stream.queue_wait_us = 20 * SECOND_US;
    for (uint64_t i = 0; i < 30; i++) {
        struct answer a;
        t.sink.limit = 0;
        t.sink.waits = 0;
        int fd = client_open(t.port);
        client_ask(fd, "POST", EVENTS, "", line, strlen(line));
        wait_for_count(&t.sink.waits, 1);
        sink_room(&t.sink, UINT64_MAX);
        client_answer(fd, &a, false);
        assert_int_equal(a.status, 200);
        answer_free(&a);
        close(fd);
        assert_int_equal(t.sink.rows, i + 1);
    }
    assert_int_equal(t.sink.stream.throttled, 0);
}

static void body_of_many_batches_is_taken_whole_or_not_at_all(void **state)
{
    (void)state;
    size_t size;
    char *body = lines(0, 200000, &size);
    t.sink.limit = 199999;
    post("", body, size, 429, "nothing was taken");
    assert_int_equal(t.sink.rows, 0);
    assert_int_equal(t.sink.stream.accepted, 0);
    t.sink.limit = 200000;
    post("", body, size, 200, ACCEPTED("200000"));
    assert_int_equal(t.sink.requests, 1);
    assert_true(t.sink.batches >= 4);
    free(body);
}

static void full_queue_stops_the_reading_of_an_endless_body(void **state)
{
    (void)state;
    /* All of it fits the buffers of a socket: this thread writes it, and makes room. */
    enum { ROWS = 20000, STEP = 2000 };
    size_t size;
    struct answer a;
    char *body = lines(0, ROWS, &size);
    char *zipped = client_gzip(body, size, &size);
    t.sink.stream.queue_wait_us = 1000;
    for (int round = 0; round < 2; round++) {
        uint64_t before = t.sink.rows;
        t.sink.limit = before + 500;
        t.sink.waits = 0;
        int fd = client_open(t.port);
        client_text(fd,
                    "POST " EVENTS
                    " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
                    "%s\r\n",
                    round ? "Content-Encoding: gzip\r\n" : "");
        client_chunk(fd, round ? zipped : body, round ? size : ROWS * 40);
        client_chunk(fd, "", 0);
        wait_for_count(&t.sink.waits, 1);
        for (uint64_t room = STEP; room <= ROWS; room += STEP) {
            wait_for_count(&t.sink.waits, room / STEP);
            sink_room(&t.sink, before + room);
        }
        client_answer(fd, &a, false);
        assert_non_null(strstr(a.body, ACCEPTED("20000")));
        answer_free(&a);
        close(fd);
    }
    assert_int_equal(t.sink.sum, 2 * (UINT64_C(1) * ROWS * (ROWS - 1) / 2));
    free(zipped);
    free(body);
}

static void closed_stream_is_503(void **state)
{
    (void)state;
    t.sink.closed = true;
    post_text("", "{\"ts\":1,\"k\":\"a\",\"v\":5}\n", 503, "\"code\":\"stopping\"");
}

static void stop_while_requests_wait_for_room(void **state)
{
    (void)state;
    static const char line[] = "{\"ts\":1,\"k\":\"a\",\"v\":5}\n";
    int fd[10];
    t.sink.limit = 0;
    t.sink.stream.queue_wait_us = 100 * SECOND_US;
    for (int i = 0; i < 10; i++) {
        fd[i] = client_open(t.port);
        client_ask(fd[i], "POST", EVENTS, "", line, strlen(line));
    }
    wait_for_count(&t.sink.waits, 10);
    http_free(t.server);
    t.server = NULL;
    assert_null(t.sink.waiters);
    for (int i = 0; i < 10; i++)
        close(fd[i]);
}

/* ---- On disk ---- */

#define LINE "{\"ts\":1,\"k\":\"a\",\"v\":5}\n"

static int ask(const char *headers, const char *body)
{
    int fd = client_open(t.port);
    client_ask(fd, "POST", EVENTS, headers, body, strlen(body));
    return fd;
}

/* The answer's whole body, and that it is the answer to `fd`. */
static void answered(int fd, unsigned status, const char *text)
{
    struct answer a;
    client_answer(fd, &a, false);
    if (a.status != status || strcmp(a.body, text) != 0)
        fail_msg("expected %u %s, got %u: %s", status, text, a.status, a.body);
    answer_free(&a);
    close(fd);
}

static bool nothing_to_read(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static void answer_waits_until_it_is_on_disk(void **state)
{
    (void)state;
    t.sink.hold = true;
    int fd[3];
    for (int i = 0; i < 3; i++) {
        fd[i] = ask("", LINE "{]\n");
        wait_for_count(&t.sink.n_held, (uint64_t)i + 1);
    }
    for (int i = 0; i < 3; i++)
        assert_true(nothing_to_read(fd[i]));
    assert_int_equal(t.sink.stream.accepted, 0);
    assert_int_equal(t.sink.letters, 0);
    sink_release(&t.sink, 0);
    for (int i = 0; i < 3; i++) {
        struct answer a;
        client_answer(fd[i], &a, false);
        assert_int_equal(a.status, 200);
        assert_non_null(strstr(a.body, "{\"accepted\":1,\"rejected\":1,\"errors\":[{"));
        assert_non_null(strstr(a.body, "}],\"durable\":true,\"position\":3}\n"));
        answer_free(&a);
        close(fd[i]);
    }
    assert_int_equal(t.sink.stream.accepted, 3);
    assert_int_equal(t.sink.letters, 3);
}

static void answer_from_memory_does_not_wait(void **state)
{
    (void)state;
    t.sink.stream.durable = false;
    t.sink.hold = true;
    for (int i = 0; i < 3; i++)
        answered(ask("", LINE), 200,
                 "{\"accepted\":1,\"rejected\":0,\"errors\":[],\"durable\":false,"
                 "\"position\":null}\n");
    assert_int_equal(t.sink.n_held, 0);
    assert_int_equal(t.sink.stream.accepted, 3);
}

static void nothing_to_wait_for_has_no_position(void **state)
{
    (void)state;
    t.sink.hold = true;
    answered(ask("", "\n\n"), 200,
             "{\"accepted\":0,\"rejected\":0,\"errors\":[],\"durable\":true,"
             "\"position\":null}\n");
    post_text("", "{]\n", 422, "\"code\":\"rejected\"");
    assert_int_equal(t.sink.requests, 0);
}

static void endless_body_waits_for_the_disk_at_its_end(void **state)
{
    (void)state;
    t.sink.hold = true;
    int fd = client_open(t.port);
    client_text(fd, "POST " EVENTS
                    " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (uint64_t i = 1; i <= 3; i++) {
        client_chunk(fd, LINE LINE, strlen(LINE LINE));
        wait_for_count(&t.sink.rows, 2 * i - 1); /* the tail of a piece may wait */
    }
    assert_int_equal(t.sink.n_held, 0);
    client_chunk(fd, "", 0);
    wait_for_count(&t.sink.n_held, 1);
    assert_true(nothing_to_read(fd));
    assert_int_equal(t.sink.rows, 6);
    sink_release(&t.sink, 0);
    char text[128];
    snprintf(text, sizeof(text),
             "{\"accepted\":6,\"rejected\":0,\"errors\":[],\"durable\":true,"
             "\"position\":%llu}\n",
             (unsigned long long)t.sink.batches);
    answered(fd, 200, text);
    assert_int_equal(t.sink.stream.accepted, 6);
}

static void full_disk_is_507_and_nothing_is_counted(void **state)
{
    (void)state;
    struct answer a;
    char value[256];
    t.sink.hold = true;
    int fd = ask("Idempotency-Key: a\r\n", LINE "{]\n");
    wait_for_count(&t.sink.n_held, 1);
    sink_release(&t.sink, -ENOSPC);
    client_answer(fd, &a, false);
    assert_int_equal(a.status, 507);
    assert_string_equal(answer_header(&a, "Retry-After", value), "5");
    assert_non_null(strstr(a.body, "\"code\":\"disk_full\""));
    assert_non_null(strstr(a.body, "; 0 events were taken"));
    answer_free(&a);
    close(fd);
    t.sink.hold = false;
    t.sink.fails = -EDQUOT;
    post_text("Idempotency-Key: a\r\n", LINE "{]\n", 507, "\"code\":\"journal_full\"");
    assert_int_equal(t.sink.stream.accepted, 0);
    assert_int_equal(t.sink.stream.bytes, 0);
    assert_int_equal(t.sink.stream.rejected[DECODE_SYNTAX], 0);
    assert_int_equal(t.sink.letters, 0);
    assert_int_equal(t.sink.stream.no_space, 2);
    t.sink.fails = 0;
    post_text("Idempotency-Key: a\r\n", LINE "{]\n", 200,
              "{\"accepted\":1,\"rejected\":1,");
    assert_int_equal(t.sink.stream.accepted, 1);
    assert_int_equal(t.sink.letters, 1);
}

static void what_the_journal_could_never_hold_is_413(void **state)
{
    (void)state;
    t.sink.fails = -EMSGSIZE;
    post_text("Idempotency-Key: a\r\n", LINE, 413,
              "\"code\":\"too_large_for_journal\"");
    post_text("", LINE, 413, "journal_limit");
    assert_int_equal(t.sink.stream.accepted, 0);
    assert_int_equal(t.sink.stream.too_large, 2);
    t.sink.fails = 0;
    post_text("Idempotency-Key: a\r\n", LINE, 200, ACCEPTED("1"));
}

static void what_may_be_on_disk_is_not_said_to_be_lost(void **state)
{
    (void)state;
    struct answer a;
    t.sink.hold = true;
    int fd = ask("", LINE);
    wait_for_count(&t.sink.n_held, 1);
    sink_release(&t.sink, -EIO);
    client_answer(fd, &a, false);
    assert_int_equal(a.status, 500);
    assert_non_null(strstr(a.body, "\"code\":\"outcome_unknown\""));
    assert_non_null(strstr(a.body, "the last 1 events"));
    assert_null(strstr(a.body, "were taken"));
    answer_free(&a);
    close(fd);
    assert_int_equal(t.sink.stream.accepted, 0);
}

/* Pieces that were taken before stay; only the last rows are not. */
static void full_disk_at_the_end_of_an_endless_body(void **state)
{
    (void)state;
    struct answer a;
    t.sink.hold = true;
    int fd = client_open(t.port);
    client_text(fd, "POST " EVENTS
                    " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client_chunk(fd, LINE LINE LINE LINE, 4 * strlen(LINE));
    wait_for_count(&t.sink.rows, 2); /* the end of a piece may wait for the next one */
    client_chunk(fd, "{\"ts\":1,\"v\":1}", 14); /* the last line has no end */
    client_chunk(fd, "", 0);
    wait_for_count(&t.sink.n_held, 1);
    assert_int_equal(t.sink.rows, 5);
    assert_int_equal(t.sink.stream.accepted, 4);
    sink_release(&t.sink, -ENOSPC);
    client_answer(fd, &a, false);
    assert_int_equal(a.status, 507);
    assert_non_null(strstr(a.body, "; 4 events were taken"));
    answer_free(&a);
    close(fd);
    assert_int_equal(t.sink.stream.accepted, 4);
}

static void body_waits_for_room_and_then_for_the_disk(void **state)
{
    (void)state;
    t.sink.stream.queue_wait_us = 20 * SECOND_US;
    t.sink.hold = true;
    for (uint64_t i = 1; i <= 20; i++) {
        t.sink.limit = t.sink.rows;
        t.sink.waits = 0;
        int fd = ask(i % 2 ? "" : "Idempotency-Key: a\r\n", LINE);
        wait_for_count(&t.sink.waits, i % 2 || i == 2);
        sink_room(&t.sink, UINT64_MAX);
        if (i % 2 || i == 2)
            wait_for_count(&t.sink.n_held, 1);
        sink_release(&t.sink, 0);
        struct answer a;
        client_answer(fd, &a, false);
        assert_int_equal(a.status, 200);
        answer_free(&a);
        close(fd);
    }
    assert_int_equal(t.sink.stream.throttled, 0);
    assert_int_equal(t.sink.rows, 11); /* ten without a key, one with it */
}

/* The rows are the log's: what the producer never heard of is counted all the same. */
static void client_gone_while_it_waits_for_the_disk(void **state)
{
    (void)state;
    t.sink.hold = true;
    for (int i = 0; i < 8; i++)
        close(ask("", LINE "{]\n"));
    wait_for_count(&t.sink.n_held, 8);
    sink_release(&t.sink, 0);
    wait_for_count(&t.sink.stream.accepted, 8);
    wait_for_count(&t.sink.letters, 8);
    wait_for_count(&t.sink.cancels, 8);
}

/* Sleeps, or under valgrind, which runs one thread at a time, no other might ever get its turn. */
static void *release_often(void *arg)
{
    _Atomic bool *stop = arg;
    while (!*stop) {
        sink_release(&t.sink, 0);
        nanosleep(&(struct timespec){.tv_nsec = 10000}, NULL);
    }
    return NULL;
}

/* Clients come and go while tickets are completed by another thread. */
static void tickets_and_closing_connections_race(void **state)
{
    (void)state;
    static _Atomic bool stop;
    stop = false;
    pthread_t thread;
    t.sink.hold = true;
    assert_int_equal(pthread_create(&thread, NULL, release_often, &stop), 0);
    for (int i = 0; i < 300; i++) {
        int fd = ask("", LINE);
        if (i % 3 == 0) {
            close(fd);
            continue;
        }
        struct answer a;
        client_answer(fd, &a, false);
        assert_int_equal(a.status, 200);
        answer_free(&a);
        close(fd);
    }
    wait_for_count(&t.sink.stream.accepted, 200);
    stop = true;
    pthread_join(thread, NULL);
}

static void stop_while_requests_wait_for_the_disk(void **state)
{
    (void)state;
    int fd[10];
    t.sink.hold = true;
    for (int i = 0; i < 10; i++)
        fd[i] = ask("", LINE);
    wait_for_count(&t.sink.n_held, 10);
    http_free(t.server);
    t.server = NULL;
    for (size_t i = 0; i < 10; i++)
        assert_null(t.sink.held[i].ticket);
    assert_int_equal(t.sink.stream.accepted, 10);
    for (int i = 0; i < 10; i++)
        close(fd[i]);
}

/* ---- Idempotency-Key ---- */

#define KEY "Idempotency-Key: 7f-\"x\"~!\r\n"

static void repeated_request_is_answered_as_before(void **state)
{
    (void)state;
    struct answer first, again;
    char value[256];
    static const char body[] = LINE "{]\n" LINE;
    post_text("", LINE, 200, ACCEPTED("1"));
    client_once(t.port, "POST", EVENTS, KEY, body, strlen(body), &first);
    assert_int_equal(first.status, 200);
    assert_string_equal(answer_header(&first, "Idempotency-Replayed", value), "");
    assert_non_null(strstr(first.body, "{\"accepted\":2,\"rejected\":1,\"errors\":[{"));
    assert_non_null(strstr(first.body, ",\"position\":2}"));
    post_text("", LINE, 200, ACCEPTED("1"));
    uint64_t bytes = t.sink.stream.bytes;
    for (int i = 0; i < 3; i++) {
        client_once(t.port, "POST", EVENTS, KEY, body, strlen(body), &again);
        assert_int_equal(again.status, 200);
        assert_string_equal(answer_header(&again, "Idempotency-Replayed", value),
                            "true");
        assert_string_equal(again.body, first.body);
        answer_free(&again);
    }
    answer_free(&first);
    assert_int_equal(t.sink.rows, 4);
    assert_int_equal(t.sink.stream.accepted, 4);
    assert_int_equal(t.sink.stream.bytes, bytes);
    assert_int_equal(t.sink.stream.rejected[DECODE_SYNTAX], 1);
    assert_int_equal(t.sink.letters, 1);
}

static void same_key_with_another_body_is_422(void **state)
{
    (void)state;
    post_text(KEY, LINE, 200, ACCEPTED("1"));
    post_text(KEY, LINE "\n", 422, "\"code\":\"idempotency_mismatch\"");
    post_text(KEY, "{\"ts\":1,\"k\":\"a\",\"v\":6}\n", 422, "idempotency_mismatch");
    post_text(KEY "Content-Type: application/json\r\n", LINE, 422,
              "idempotency_mismatch");
    post_text(KEY "Content-Type: application/jsonl\r\n", LINE, 200, ACCEPTED("1"));
    assert_int_equal(t.sink.rows, 1);
}

static void key_under_way_is_409(void **state)
{
    (void)state;
    struct answer a;
    char value[256];
    t.sink.hold = true;
    int fd = ask(KEY, LINE);
    wait_for_count(&t.sink.n_held, 1);
    client_once(t.port, "POST", EVENTS, KEY, LINE, strlen(LINE), &a);
    assert_int_equal(a.status, 409);
    assert_string_equal(answer_header(&a, "Retry-After", value), "1");
    assert_non_null(strstr(a.body, "\"code\":\"idempotency_in_progress\""));
    answer_free(&a);
    sink_release(&t.sink, 0);
    answered(fd, 200,
             "{\"accepted\":1,\"rejected\":0,\"errors\":[],\"durable\":true,"
             "\"position\":1}\n");
    post_text(KEY, LINE, 200, "\"position\":1}\n");
    assert_int_equal(t.sink.rows, 1);
}

/* The producer went away before the answer; it comes again and must not be counted twice. */
static void key_of_a_client_that_went_away_is_known(void **state)
{
    (void)state;
    t.sink.hold = true;
    close(ask(KEY, LINE));
    wait_for_count(&t.sink.n_held, 1);
    post_text(KEY, LINE, 409, "idempotency_in_progress");
    sink_release(&t.sink, 0);
    post_text(KEY, LINE, 200, "\"position\":1}\n");
    assert_int_equal(t.sink.rows, 1);
    wait_for_count(&t.sink.stream.accepted, 1);
}

static bool key_is_free(void *ctx)
{
    struct answer a;
    (void)ctx;
    client_once(t.port, "POST", EVENTS, KEY, LINE, strlen(LINE), &a);
    bool is_free = a.status == 200;
    answer_free(&a);
    return is_free;
}

static void key_of_what_was_not_taken_is_free(void **state)
{
    (void)state;
    post_text(KEY, "{]\n", 422, "\"code\":\"rejected\"");
    post_text(KEY, "", 200, ACCEPTED("0"));
    post_text(KEY "Content-Type: application/json\r\n", "7", 400, "malformed");
    t.sink.limit = 0;
    post_text(KEY, LINE, 429, "queue_full");
    t.sink.limit = UINT64_MAX;
    t.sink.fails = -ENOSPC;
    post_text(KEY, LINE, 507, "disk_full");
    t.sink.fails = 0;
    int fd = client_open(t.port); /* in mid-body */
    client_text(fd, "POST " EVENTS " HTTP/1.1\r\nHost: a\r\n" KEY
                    "Content-Length: 1000\r\n\r\n" LINE);
    close(fd);
    wait_for(key_is_free, NULL);
    assert_int_equal(t.sink.rows, 1);
}

static void chunked_body_with_a_key_is_taken_whole(void **state)
{
    (void)state;
    size_t size;
    struct answer a;
    char value[256];
    char *body = lines(0, 20000, &size);
    for (int round = 0; round < 2; round++) {
        int fd = client_open(t.port);
        client_text(fd, "POST " EVENTS " HTTP/1.1\r\nHost: a\r\n" KEY
                        "Transfer-Encoding: chunked\r\n\r\n");
        for (size_t at = 0; at < size; at += 100000)
            client_chunk(fd, body + at, size - at < 100000 ? size - at : 100000);
        client_chunk(fd, "", 0);
        client_answer(fd, &a, false);
        assert_non_null(strstr(a.body, ACCEPTED("20000") "\"position\":"));
        assert_string_equal(answer_header(&a, "Idempotency-Replayed", value),
                            round ? "true" : "");
        answer_free(&a);
        close(fd);
    }
    post(KEY, body, size, 200, ACCEPTED("20000")); /* the cuts do not count */
    size_t zipped_size;
    char *zipped = client_gzip(body, size, &zipped_size);
    post(KEY "Content-Encoding: gzip\r\n", zipped, zipped_size, 200,
         ACCEPTED("20000")); /* nor what it was on the wire */
    assert_int_equal(t.sink.requests, 1);
    assert_int_equal(t.sink.rows, 20000);
    free(zipped);
    free(body);
}

static void chunked_body_with_a_key_has_a_limit(void **state)
{
    (void)state;
    size_t size;
    struct answer a;
    char *body = lines(0, 300000, &size); /* 12 MB; the limit is 8 MiB */
    int fd = client_open(t.port);
    client_text(fd, "POST " EVENTS " HTTP/1.1\r\nHost: a\r\n" KEY
                    "Transfer-Encoding: chunked\r\n\r\n");
    client_text(fd, "%zx\r\n", size);
    client_try_send(fd, body, size);
    client_answer(fd, &a, false);
    assert_int_equal(a.status, 413);
    answer_free(&a);
    close(fd);
    assert_int_equal(t.sink.rows, 0);
    free(body);
}

static void key_that_is_none_is_400(void **state)
{
    (void)state;
    char header[300] = "Idempotency-Key: ";
    post_text("Idempotency-Key: a b\r\n", LINE, 400, "bad_idempotency_key");
    post_text("Idempotency-Key: \xc3\xa4\r\n", LINE, 400, "bad_idempotency_key");
    post_text("Idempotency-Key: \r\n", LINE, 400, "bad_idempotency_key");
    size_t name = strlen(header);
    memset(header + name, 'k', 256);
    strcpy(header + name + 256, "\r\n");
    post_text(header, LINE, 400, "bad_idempotency_key");
    strcpy(header + name + 255, "\r\n");
    post_text(header, LINE, 200, ACCEPTED("1"));
}

static void key_works_from_memory(void **state)
{
    (void)state;
    struct answer a;
    char value[256];
    t.sink.stream.durable = false;
    post_text(KEY, LINE, 200, "\"durable\":false,\"position\":null}");
    client_once(t.port, "POST", EVENTS, KEY, LINE, strlen(LINE), &a);
    assert_string_equal(a.body, "{\"accepted\":1,\"rejected\":0,\"errors\":[],"
                                "\"durable\":false,\"position\":null}\n");
    assert_string_equal(answer_header(&a, "Idempotency-Replayed", value), "true");
    answer_free(&a);
    assert_int_equal(t.sink.rows, 1);
}

/* ---- Dead letters ---- */

static void rejected_records_are_kept(void **state)
{
    (void)state;
    post_text("Weir-Source: north\r\n", LINE "{\"ts\":2,\"v\":\"x\"}\n{]\n" LINE, 200,
              "\"rejected\":2");
    assert_string_equal(t.sink.dead, "north|2|13|type|{\"ts\":2,\"v\":\"x\"}\n"
                                     "north|3|2|syntax|{]\n");
    t.sink.dead[0] = 0;
    post_text("Content-Type: text/csv\r\n", "ts,k,v\r\n1,a,1\r\n1,\"a\r\n\",x\r\n", 200,
              "\"rejected\":1");
    assert_string_equal(t.sink.dead, "|3|3|type|1,\"a\r\n\",x\n");
    assert_int_equal(t.sink.letters, 3);
}

static void records_of_an_endless_body_are_kept_as_it_comes(void **state)
{
    (void)state;
    struct answer a;
    int fd = client_open(t.port);
    client_text(fd, "POST " EVENTS
                    " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (uint64_t i = 1; i <= 250; i++) { /* more than errors that are listed */
        client_chunk(fd, "{]\n", 3);
        wait_for_count(&t.sink.letters, i);
        t.sink.dead[0] = 0;
    }
    client_chunk(fd, "", 0);
    client_answer(fd, &a, false);
    assert_int_equal(a.status, 422);
    answer_free(&a);
    close(fd);
    assert_int_equal(t.sink.letters, 250);
}

static void metrics_count_the_stream(void **state)
{
    (void)state;
    struct metrics *m;
    assert_return_code(metrics_new(&m), 0);
    assert_return_code(source_count(&t.sink.stream, m), 0);
    post_text("", "{\"ts\":1,\"k\":\"a\",\"v\":5}\n{]\n", 200, "\"accepted\":1");
    struct buffer b = {0};
    metrics_print(m, &b);
    const char *text = buffer_text(&b);
    assert_non_null(strstr(text, "weir_events_total{stream=\"ticks\"} 1\n"));
    assert_non_null(
        strstr(text, "weir_rejected_total{stream=\"ticks\",reason=\"syntax\"} 1\n"));
    assert_non_null(strstr(text, "weir_ingest_bytes_total{stream=\"ticks\"} 26\n"));
    buffer_free(&b);
    metrics_free(m);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(events_are_taken_in_each_format),
        TEST(empty_body_is_fine),
        TEST(bad_line_is_named_and_rejected_alone),
        TEST(all_bad_is_422_and_unreadable_is_400),
        TEST(wrong_stream_type_or_source_is_said),
        TEST(named_sources_are_kept_apart),
        TEST(body_over_the_limit_is_413),
        TEST(large_body_is_several_batches),
        TEST(endless_body_is_seen_as_it_comes),
        TEST(client_gone_in_mid_body_counts_nothing),
        TEST(full_queue_is_429_after_the_wait),
        TEST(room_within_the_wait_is_used),
        TEST(body_of_many_batches_is_taken_whole_or_not_at_all),
        TEST(full_queue_stops_the_reading_of_an_endless_body),
        TEST(closed_stream_is_503),
        TEST(stop_while_requests_wait_for_room),
        TEST(answer_waits_until_it_is_on_disk),
        TEST(answer_from_memory_does_not_wait),
        TEST(nothing_to_wait_for_has_no_position),
        TEST(endless_body_waits_for_the_disk_at_its_end),
        TEST(full_disk_is_507_and_nothing_is_counted),
        TEST(what_may_be_on_disk_is_not_said_to_be_lost),
        TEST(what_the_journal_could_never_hold_is_413),
        TEST(full_disk_at_the_end_of_an_endless_body),
        TEST(body_waits_for_room_and_then_for_the_disk),
        TEST(client_gone_while_it_waits_for_the_disk),
        TEST(tickets_and_closing_connections_race),
        TEST(stop_while_requests_wait_for_the_disk),
        TEST(repeated_request_is_answered_as_before),
        TEST(same_key_with_another_body_is_422),
        TEST(key_under_way_is_409),
        TEST(key_of_a_client_that_went_away_is_known),
        TEST(key_of_what_was_not_taken_is_free),
        TEST(chunked_body_with_a_key_is_taken_whole),
        TEST(chunked_body_with_a_key_has_a_limit),
        TEST(key_that_is_none_is_400),
        TEST(key_works_from_memory),
        TEST(rejected_records_are_kept),
        TEST(records_of_an_endless_body_are_kept_as_it_comes),
        TEST(metrics_count_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
