/* SPDX-License-Identifier: Apache-2.0
 *
 * One statement of a stranger and its rows, within limits of time, rows and bytes, as frames of an answer. Runs in a process
 * of its own (query/child.c).
 */
#ifndef WEIR_QUERY_STATEMENT_H
#define WEIR_QUERY_STATEMENT_H

#include "query/message.h"
#include "store/reader.h"

struct statement_out {
    struct buffer frames; /* not sent yet */
    /* Sends and clears them. 0, or a negative errno: nobody listens any more. */
    int (*send)(void *ctx, struct buffer *frames);
    void *ctx;
};

/* What a process may have, for the texts of failures. */
struct statement_limits {
    uint64_t memory, temp; /* bytes */
};

/* Puts HEAD and DATA, of which some may have been sent; END or FAILED, what is in *ret_end, are the caller's. False:
 * nobody listens. */
bool statement_run(struct reader *reader, const struct query_ask *ask,
                   const struct statement_limits *limits, struct statement_out *out,
                   struct query_end *ret_end);

#endif
