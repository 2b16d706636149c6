/* SPDX-License-Identifier: Apache-2.0
 *
 * What the server and a process that runs SQL say to each other, over a socket. Both are the same executable, so
 * numbers are as the machine has them; still, neither believes what the other says.
 *
 *      server   [size u32][statement, parameters, limits]
 *      process  [HEAD][DATA]...[END]  or  [FAILED], also in the place of any later frame
 *
 *      frame    [kind u32][size u32][size bytes, at most QUERY_FRAME_MAX]
 */
#ifndef WEIR_QUERY_MESSAGE_H
#define WEIR_QUERY_MESSAGE_H

#include "base/buffer.h"
#include "base/error.h"
#include "query/rowout.h"

#include <stdint.h>
#include <sys/types.h>

#define QUERY_ASK_MAX                                                                  \
    (4u << 20)                 /* bytes of a question; bodies of requests have 1 MiB */
#define QUERY_PARAMS_MAX 1000u /* of a statement */
#define QUERY_FRAME_MAX  (64u << 10) /* bytes of a frame */
#define QUERY_FRAME_HEAD 8u

/* ---- The question ---- */

enum query_type { QUERY_NULL, QUERY_INT, QUERY_FLOAT, QUERY_TEXT };

struct query_param {
    const char *name; /* without its prefix; NULL: by its place */
    size_t name_size;
    uint32_t place; /* from 1 on; of those without a name */
    enum query_type type;
    int64_t number;
    double real;
    const char *text; /* may hold zeros */
    size_t size;
};

struct query_ask {
    enum rowout_format format;
    enum rowout_times times; /* of columns that are times; ROWOUT_US: as stored */
    bool head_only;          /* nobody wants the rows */
    int64_t timeout_us;
    uint64_t max_rows, max_bytes;
    bool only;          /* no other tables than these may be read */
    const char *tables; /* a name and a zero, each */
    size_t tables_size;
    const char *sql;
    size_t sql_size;
    size_t n_params; /* up to QUERY_PARAMS_MAX */
    const struct query_param *param;
};

/* Appends the question with its size. The buffer's error is sticky. */
void query_ask_put(const struct query_ask *ask, struct buffer *to);

/* Reads what query_ask_put has written, behind the size. Texts stay where they are; `param` has room for
 * QUERY_PARAMS_MAX. -EPROTO. */
int query_ask_take(const char *bytes, size_t size, struct query_param *param,
                   struct query_ask *ret);

/* ---- The answer ---- */

enum query_kind { QUERY_HEAD = 1, QUERY_DATA, QUERY_END, QUERY_FAILED };

enum query_cut { QUERY_WHOLE, QUERY_CUT_ROWS, QUERY_CUT_BYTES, QUERY_CUT_TIME };
extern const char *const query_cut_word[]; /* "rows", ...; NULL: whole */

/* What became of an answer, in the words of END and FAILED. */
struct query_end {
    bool spent;     /* the process wants to be replaced */
    bool missing;   /* END: rows are missing, and nothing in the answer says so */
    int32_t err;    /* FAILED: -EINVAL, -EPERM, -E2BIG, -ETIMEDOUT, ...; END: 0 */
    int32_t offset; /* of the fault in the statement; -1: not known */
    struct error error;
};

void query_put_head(struct buffer *to, enum query_cut cut);
void query_put_data(struct buffer *to, const char *bytes, size_t size); /* in frames */
void query_put_end(struct buffer *to, const struct query_end *end);     /* or FAILED */

/* Takes a whole answer, piece by piece. What the calls return, if it is not 0, ends it. */
struct query_sink {
    int (*head)(void *ctx, enum query_cut cut); /* once, first */
    int (*data)(void *ctx, const char *bytes, size_t size);
    void *ctx;
};

struct query_answer { /* zeroed at first */
    bool begun, ended;
    struct query_end end; /* once it has ended */
};

/* The frames that are whole among `size` bytes, up to the end of the answer. How many bytes were taken; -EPROTO: these
 * are no such frames; or what a call returned. */
ssize_t query_answer_take(struct query_answer *a, const char *bytes, size_t size,
                          const struct query_sink *sink);

#endif
