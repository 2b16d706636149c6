/* SPDX-License-Identifier: Apache-2.0
 *
 * The head of a request (RFC 9112, 2 to 6): request line and fields, and what they say about the body
 * behind them. Where two readers could see the end of a message in different places, nothing is
 * repaired: such a head is refused, and the connection closed.
 */
#ifndef WEIR_HTTP_HEAD_H
#define WEIR_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HEAD_FIELDS_MAX    256
#define HEAD_ARGUMENTS_MAX 4096

/* A field or a query argument; the texts end in zero. */
struct head_pair {
    const char *name, *value;
    size_t value_size; /* an argument's value may hold zeros: "%00" */
};

struct head {
    const char *method;
    const char *path; /* decoded, without the arguments; "*" of OPTIONS */
    size_t path_size; /* it may hold zeros */
    const char *host; /* name and port, of the target if that has them; NULL: none */
    bool http_1_0, keep_alive, expects_continue;
    bool chunked, has_length;
    uint64_t length;
    bool zeros;             /* there is an argument whose value holds a zero */
    struct head_pair *pair; /* fields, then arguments; kept for the next head */
    size_t n_fields, n_pairs, room;
};

struct head_fault {
    unsigned status;
    const char *code, *text; /* as of http_problem */
};

/* How long the head at `text` is, with its empty line. 0: it is not all there; *scanned, 0 at first, says
 * how far this has looked. -EINVAL: a line ends in something else than CR LF. */
ssize_t head_end(const char *text, size_t size, size_t *scanned);

/* Reads the head of head_end; `text` is changed, and must live as long as what `head` says. False: it is
 * refused, as `fault` says. */
bool head_parse(struct head *head, char *text, size_t size, struct head_fault *fault);

void head_clear(struct head *head); /* keeps the memory of a few pairs */
void head_free(struct head *head);

/* The name in "name:port", without port, brackets and the dot of the root. Its size. */
size_t head_host_name(const char *host, const char **ret);

/* The chunks of a body (RFC 9112, 7.1). */
struct chunks {
    uint64_t left; /* bytes of the chunk at hand that are to come */
    enum { CHUNKS_SIZE, CHUNKS_EXTENSION, CHUNKS_DATA, CHUNKS_TRAILER, CHUNKS_END } in;
    unsigned digits, cr, line; /* of the size; CR was seen; bytes of the line */
    unsigned extra; /* bytes of extensions and trailers, which have a limit */
};

/* Goes over what is not data. How many bytes it has taken; it ends at data (`left` is not 0), at the end
 * of the body (CHUNKS_END), or at the end of the bytes. -EINVAL: these are no chunks. */
ssize_t chunks_skip(struct chunks *c, const char *text, size_t size);
void chunks_took(struct chunks *c, size_t size); /* so much of `left` */

#endif
