/* SPDX-License-Identifier: Apache-2.0
 *
 * A small HTTP client on plain sockets, for tests: says exactly what it is told, reads
 * answers with Content-Length, chunked, or up to the end.
 */
#ifndef WEIR_TESTS_CLIENT_H
#define WEIR_TESTS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct answer {
    unsigned status;
    char headers[16384]; /* as sent, with the status line */
    char *body;          /* zero-terminated; from malloc */
    size_t size;
    bool whole; /* false: the connection ended first */
};

int client_open(uint16_t port); /* a socket, waits at most 20 s in any call */
void client_send(int fd, const void *data, size_t size);
bool client_try_send(int fd, const void *data,
                     size_t size); /* false: the server closed */
void client_text(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A request with Content-Length. `headers`: lines with \r\n, or "". */
void client_ask(int fd, const char *method, const char *path, const char *headers,
                const void *body, size_t size);
void client_chunk(int fd, const void *data, size_t size); /* size 0: the last one */
void client_answer(int fd, struct answer *ret, bool head);
void answer_free(struct answer *a);
/* The value of a header, "" if not there. */
const char *answer_header(const struct answer *a, const char *name, char value[256]);

/* One request on a connection of its own. */
void client_once(uint16_t port, const char *method, const char *path,
                 const char *headers, const void *body, size_t size,
                 struct answer *ret);

/* gzip of `size` bytes, from malloc. */
char *client_gzip(const void *data, size_t size, size_t *ret_size);

/* Waits for a condition that another thread makes true; fails the test after 20 s. */
void wait_for(bool (*true_now)(void *ctx), void *ctx);
void wait_for_count(_Atomic uint64_t *count, uint64_t least);

#endif
