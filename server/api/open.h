/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of a table and of windows that are still open, in one order: GET .../results?live=1.
 *
 *      workers --rows--> a table in memory --\
 *                                             +-- by primary key --> rows; of a group one of the two
 *      the file, with all that they gave -----/
 */
#ifndef WEIR_API_OPEN_H
#define WEIR_API_OPEN_H

#include "api/ask.h"
#include "api/internal.h"

struct open;

/* Asks the workers, and waits until what they gave before is in the file. -ETIMEDOUT, -E2BIG, -EBUSY, ... with a text; `ask` must
 * ask for open windows. Sets a header of the answer. */
int open_new(const struct api *api, struct pipeline *p, const struct ask *ask,
             struct http_request *r, int64_t deadline_us, struct open **ret,
             struct error *error);
void open_free(struct open *o); /* takes NULL */

/* Rows behind the cursor `after`, up to and with the cursor `last`, one after the other; NULL: not bounded. */
struct open_read {
    const struct open *open;
    const struct ask *ask;
    struct reader *reader;
    sqlite3_stmt
        *row[2]; /* of the file, NULL where these are not asked for; of the open */
    bool has[2]; /* it stands on one */
    int now;     /* which of them was handed out last; -1: none */
};
int open_begin(const struct open *o, const struct ask *ask, struct reader *reader,
               const char *after, const char *last, struct open_read *ret,
               struct error *error);
/* 1: *ret is a row, as of ASK_MARKED_...; 0: the end. As reader_step. */
int open_next(struct open_read *x, sqlite3_stmt **ret, struct error *error);
void open_end(struct open_read *x);

#endif
