/* SPDX-License-Identifier: Apache-2.0
 *
 * What stands between a socket and libmicrohttpd, which takes much that two readers could see
 * differently, answers some of it with pages of its own, and has no call between the bytes and its
 * parser. It reads with recv(2); the program has a recv of its own, so that all that it reads comes
 * through here:
 *
 *      socket --> guard_receive --> libmicrohttpd --> connection.c
 *                     |    a head: read strictly, kept for connection.c; a plain one goes on in its place
 *                     |    a body with a length: as it comes, straight to where it is wanted
 *                     |    chunks: checked, and framed anew
 *                     +--> heads, in their order, and faults: guard_next
 *
 * With TLS the guard stands behind the decryption: libmicrohttpd reads with gnutls_record_recv, of which the program has
 * one of its own, too (http/tls.c), and what guard_receive receives comes from the real one.
 *
 * A head that is refused goes on as a plain one, and guard_next says why: so the answer is made where all are,
 * comes in its turn, and is counted. What follows is thrown away.
 */
#ifndef WEIR_HTTP_GUARD_H
#define WEIR_HTTP_GUARD_H

#include "base/buffer.h"
#include "http/head.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct guard {
    int fd;
    struct gnutls_session_int *session; /* NULL: no TLS */
    enum { GUARD_HEAD, GUARD_LENGTH, GUARD_CHUNKS, GUARD_OVER } in;
    uint64_t left; /* GUARD_LENGTH: bytes of the body that are to come */
    struct chunks chunks;
    /* Why a body ends before its end: the byte that comes with it is none of it. */
    enum { GUARD_GOOD, GUARD_BAD_CHUNKS, GUARD_SLOW } bad_body;
    bool ended; /* the client sends nothing more */
    _Atomic bool
        slow; /* the rest did not come in time: that is why the input ends; relaxed */
    char *input;     /* HTTP_INPUT_ROOM bytes; NULL: nothing is kept back */
    bool input_lent; /* it is guard_receive's, and gone with the call */
    size_t first, end;
    size_t scanned;
    bool waits_head; /* since_us is that of a head */
    unsigned n_empty;
    struct buffer out; /* for libmicrohttpd */
    size_t out_taken;
    /* For guard_next. Mostly there is one, read. Of those behind it the texts wait. */
    struct buffer text;
    struct head head; /* in `text` */
    bool is_read;
    struct buffer heads; /* a size and a text, or a fault, each */
    size_t heads_taken;
    /* Since when more is awaited: of a head from its first byte, in a body from its last one. 0: nothing is. Relaxed. */
    _Atomic int64_t since_us;
    _Atomic unsigned
        under_way; /* requests that libmicrohttpd has and that are not answered; its thread's,
                                 * atomic as the timer looks */
};

void guard_init(struct guard *g, int fd);
void guard_free(struct guard *g);

/* As recv(2): 0 at the end of the input, but not while a request is under way, as its client may still
 * listen. */
ssize_t guard_receive(struct guard *g, void *to, size_t room);

/* The head of the next request, in a copy of its text; or *ret_fault, whose texts are constants (status 0: none). What
 * was in `text` and `head` is used again. False: there is none. */
bool guard_next(struct guard *g, struct buffer *text, struct head *head,
                struct head_fault *ret_fault);

/* The client has ended its half, and the request under way is the last of those that came. */
bool guard_is_last(const struct guard *g);

/* The guard of a descriptor; NULL: it has none any more, or not yet. Before the descriptor is given to
 * libmicrohttpd, and before it closes it. -ENOMEM. */
int guard_watch(int fd, struct guard *g);
struct guard *guard_of(int fd); /* NULL: none */

/* False: recv of this program is not what libmicrohttpd calls. */
bool guard_in_force(void);

#endif
