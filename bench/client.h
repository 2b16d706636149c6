/* SPDX-License-Identifier: Apache-2.0
 *
 * One keep-alive HTTP/1.1 connection of the load generator: posts a body, takes the
 * answer, never blocks. Speaks to weir only: answers have a Content-Length and are at
 * most 64 KiB.
 *
 *      client_open -> [client_post -> client_go until 1 or an error -> client's
 * answer]* -> client_close
 */
#ifndef WEIR_BENCH_CLIENT_H
#define WEIR_BENCH_CLIENT_H

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENT_HEAD_MAX   1024
#define CLIENT_ANSWER_MAX (64u << 10)

struct client {
    int fd;
    char head[CLIENT_HEAD_MAX];
    const char *body; /* the caller's; must live until the answer is there */
    size_t head_size, body_size, sent;
    char *answer; /* CLIENT_ANSWER_MAX + 1 bytes, zero-terminated */
    size_t received;
    unsigned status;         /* 0: not there yet */
    unsigned retry_after_s;  /* 0: the header was not there */
    size_t answer_head_size; /* with the blank line */
    size_t answer_size;      /* with the head */
    bool closing;            /* the server closes after this answer */
};

/* Connects (waits for that). Negative errno. */
int client_open(struct client *c, const struct addrinfo *address);
void client_close(struct client *c);

/* Starts a request; `headers`: further header lines, each with its CRLF. -E2BIG. */
int client_post(struct client *c, const char *host, const char *path,
                const char *headers, const char *body, size_t size);

/* Sends and receives what can be. 1: the request is sent and its answer there; 0: wait
 * for the socket (client_wants_out); negative errno: the connection is no good. */
int client_go(struct client *c);

bool client_wants_out(const struct client *c);
const char *client_answer_body(const struct client *c); /* zero-terminated */

#endif
