/* SPDX-License-Identifier: Apache-2.0
 *
 * weir/async.h - analyzers that ask other services, with `run: async`; see weir-plugin(3).
 *
 * An analyzer's asynchronous part, the member `async` of its table, says what to send about values of
 * a row, and what a reply means. The server does the rest: connections, thousands of requests at once
 * on one thread, time-outs, repeats, a cache. What a row gets is stored with what follows from it, so
 * that a replay asks nobody.
 *
 *      values --ask--> request ~~~ server ~~~ reply --read--> cells of `answers` --> update: in[]
 *                         ^                            |
 *                         +-------- WEIR_AGAIN --------+   also: none in time, 5xx, 408, 425, 429
 *
 * Values are those of columns whose parameters have the flag WEIR_ASKED. Answers are the last inputs
 * of update, behind those of parameters; of rows that have none they are null. */
#ifndef WEIR_ASYNC_H
#define WEIR_ASYNC_H
#include <weir/plugin.h>

struct weir_request {
    size_t size;                /* of this struct, bytes */
    const char *url;            /* http or https */
    const char *const *headers; /* "Name: value", the last is NULL; NULL: none */
    const char *body;           /* of a POST; NULL: a GET */
    size_t body_size;
};
struct weir_asked {
    size_t size; /* of this struct, bytes */
    /* Once a call of ask: what to send, which is copied. */
    int (*request)(struct weir_ctx *, struct weir_asked *, const struct weir_request *);
};
struct weir_reply {
    size_t size;                   /* of this struct, bytes */
    const struct weir_cell *value; /* what was asked about */
    const char *body;              /* with a zero behind it */
    size_t body_size;              /* at most 16 KiB */
    int32_t status;                /* of HTTP: 2xx, 3xx, 4xx */
};
#define WEIR_AGAIN     1 /* from read: it is of no use now, ask again */
#define WEIR_NO_ANSWER 2 /* from read: nor will it be; why, weir_fail may have said */

/* Both functions have a ctx of their own, do no I/O, do not block, and depend on what they are given only. */
struct weir_async {
    size_t size;                       /* of this struct, bytes */
    const struct weir_output *answers; /* 1 to 64, of fixed types */
    /* value: a cell for each parameter with WEIR_ASKED, in their order, none null. */
    int (*ask)(struct weir_ctx *, const struct weir_cell *value, struct weir_asked *);
    /* Puts cells as emit does; none put: nothing is known of the value. */
    int (*read)(struct weir_ctx *, const struct weir_reply *, struct weir_out *);
};
#endif
