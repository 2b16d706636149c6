/* SPDX-License-Identifier: Apache-2.0
 *
 * What the routes share that answer with rows of the database: arguments, the answer in pieces, its failure.
 */
#ifndef WEIR_API_ROWS_H
#define WEIR_API_ROWS_H

#include "api/rowout.h"
#include "base/error.h"
#include "http/http.h"
#include "store/reader.h"

/* ---- Arguments; -EINVAL says why ---- */

/* `text` as 1 to max; `name` is the argument's. */
int rows_number(const char *name, const char *text, int64_t max, int64_t *ret,
                struct error *error);

/* json, ndjson, csv: the table is for people. */
int rows_format(const char *text, enum rowout_format *ret, struct error *error);

/* What the Accept header asks for. -ENOENT: none that there is. */
int rows_accept(struct http_request *r, enum rowout_format *ret, struct error *error);

/* ---- The answer ---- */

/* Statements end after so long, or when the client has gone. */
void rows_limit(struct reader *reader, struct http_request *r, int64_t timeout_us);

/* Appends rows to a buffer that is empty; *ret_end: no more come. Below 0: they are not to be sent. */
typedef int rows_piece(void *ctx, struct rowout *o, bool *ret_end, struct error *error);

/* Sends `out` piece by piece; no statement is open meanwhile. *ret_begun: the status has gone out. */
int rows_send(struct http_request *r, struct rowout *o, struct buffer *out,
              rows_piece *piece, void *ctx, bool *ret_begun, struct error *error);

/* An answer that failed. Once the status has gone out that can only be shown by cutting the answer; true: it was
 * cut, and not because the client has gone or the server ends. */
bool rows_failed(struct http_request *r, bool begun, int err, const char *text);

#endif
