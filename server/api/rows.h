/* SPDX-License-Identifier: Apache-2.0
 *
 * What the routes share that answer with rows of the database: arguments, the answer in pieces, its failure.
 */
#ifndef WEIR_API_ROWS_H
#define WEIR_API_ROWS_H

#include "base/error.h"
#include "http/http.h"
#include "query/rowout.h"
#include "store/reader.h"

/* ---- Arguments; -EINVAL says why ---- */

#define ROWS_TIMEOUT_MS_MAX 86400000 /* of timeout_ms */

/* `text` as 1 to max; `name` is the argument's. */
int rows_number(const char *name, const char *text, int64_t max, int64_t *ret,
                struct error *error);

/* json, ndjson, csv, arrow: the table is for people. */
int rows_format(const char *text, enum rowout_format *ret, struct error *error);

/* rfc3339, us, ms, s. */
int rows_times(const char *text, enum rowout_times *ret, struct error *error);

/* What the Accept header asks for. -ENOENT: none that there is. */
int rows_accept(struct http_request *r, enum rowout_format *ret, struct error *error);

/* ---- The answer ---- */

/* Statements end after so long, or when the client has gone. */
void rows_limit(struct reader *reader, struct http_request *r, int64_t timeout_us);

#define ROWS_PIECE ((size_t)128 << 10) /* bytes of a piece, about */

/* Appends rows to a buffer that is empty, until rowout_size is ROWS_PIECE; *ret_end: no more come. Below 0: they are not to be sent. */
typedef int rows_piece(void *ctx, struct rowout *o, struct buffer *text, bool *ret_end,
                       struct error *error);

struct rows {
    struct http_request *request;
    const char *name; /* of what is answered, for the log */
    struct rowout out;
    struct buffer text; /* a piece */
    rows_piece *piece;
    void (*free)(void *ctx); /* the last call, in any case */
    void *ctx;
    bool begun; /* http_begin was called */
};

/* Answers piece by piece, at the client's pace; in between there is no statement, reader or thread. It may be over
 * when this returns, and *rows freed with ctx. */
void rows_send(struct rows *rows);

/* An answer that failed. Once it is under way that can only be shown by cutting the answer; true: it was
 * cut, and not because the client has gone or the server ends. */
bool rows_failed(struct http_request *r, int err, const char *text);

#endif
