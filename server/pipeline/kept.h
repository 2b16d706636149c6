/* SPDX-License-Identifier: Apache-2.0
 *
 * The rows of a group that an analyzer of the shape WEIR_WHOLE is handed when a result is due: the columns that it
 * takes, copied as they come, in the order of the log. What stands in the group's block is a pointer to them.
 *
 *      struct kept --> head | time 8 n | int, float, time 8 n each | string offsets 4 (n + 1) each | bits n / 8 each
 *                        +--> bytes of each string column           n: room for so many rows, a multiple of 8
 *
 * Rows are sorted by time when they are given out, not before: what late rows and merged groups add comes behind.
 */
#ifndef WEIR_PIPELINE_KEPT_H
#define WEIR_PIPELINE_KEPT_H

#include "base/buffer.h"
#include "plugin/host.h"

#define KEPT_ROWS_DEFAULT 10000000u
/* Bytes of a group's rows, for all analyzers of a pipeline together: a checkpoint stores them as one value. */
#define KEPT_BYTES_MAX ((size_t)768 << 20)

struct kept_rows;

struct kept { /* as zeros: no rows */
    struct kept_rows *rows;
};

/* What is kept of a row: made once for a step, read only from then on. */
struct kept_column {
    enum weir_type type;
    uint32_t input; /* number of the analyzer's */
    size_t bits_before,
        texts_before; /* its values, of strings the offsets: what lies before them, of one row */
    size_t validity_before; /* the same of its validity, which lies behind all values */
};
struct kept_form {
    uint32_t rows_max; /* of a group */
    size_t bytes_max;
    size_t n, n_texts;
    size_t row_bits; /* of one row, with its time and validity */
    struct kept_column *column;
    size_t time_input; /* the input that is the event time itself; SIZE_MAX: none is */
    /* Rows of one time are handed out in the order of their columns, as that of the log follows from how streams come in
     * between each other. */
    bool by_columns;
};
/* Of the inputs that the analyzer takes; after its open. -ENOMEM. */
int kept_form_new(const struct binding *b, uint32_t rows_max, size_t bytes_max,
                  struct kept_form *ret);
void kept_form_free(struct kept_form *f);

/* Adds rows row[0..n) of the columns in[], as an analyzer gets them, to the groups at states + group[i] * stride.
 * Those for which a group has no room are counted in *ret_over. -EINVAL with a text in h->error: no memory. */
int kept_add(const struct kept_form *f, struct host *h, const struct weir_rows *rows,
             uint64_t *ret_over);

/* Has k room for these rows, if all were of its group? */
bool kept_fits(const struct kept_form *f, const struct kept *k,
               const struct weir_rows *rows);

/* Adds all rows of `from` to `into`. Of rows of one time those of `into` come first. */
int kept_merge(const struct kept_form *f, struct host *h, struct kept *into,
               const struct kept *from, uint64_t *ret_over);

/* Takes the rows of `out` from those of `in`, one for each that is like it in time and columns, and drops them; one that is
 * like none had no room. What is left is ordered by time, then columns, however it came. -EINVAL: both are as before. */
int kept_settle(const struct kept_form *f, struct host *h, struct kept *in,
                struct kept *out);

void kept_drop(const struct kept_form *f, struct host *h, struct kept *k);

/* To bytes, and back into a state of zeros. -EBADMSG: they are not what kept_save writes. */
void kept_save(const struct kept_form *f, const struct kept *k, struct buffer *b);
int kept_load(const struct kept_form *f, struct host *h, struct kept *k,
              const char *bytes, size_t size);

/* The rows as an analyzer gets them, ordered by time, then log, or columns; until kept_view_end, and while none are added. One view can
 * be begun again and again. */
struct kept_view {
    union host_rows rows;
    struct weir_column column[BINDING_INPUTS_MAX];
    const struct weir_column *in[BINDING_INPUTS_MAX];
    struct kept sorted; /* a copy, where they were not in order */
    uint32_t *row;      /* 0, 1, 2, ... */
    size_t row_room;
};
/* -EINVAL with a text in h->error: no memory. */
int kept_view_begin(const struct kept_form *f, struct host *h, const struct kept *k,
                    struct kept_view *v);
void kept_view_end(const struct kept_form *f, struct host *h, struct kept_view *v);
void kept_view_free(struct kept_view *v);

#endif
