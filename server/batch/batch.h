/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of one stream as columns, laid out as in the Arrow C Data Interface.
 *
 * A batch is first built by one thread (a decoder writes rows straight into its arrays), then sealed,
 * and from then on immutable, shared by reference count.
 *
 *      batch_new -> [batch_grow, batch_bytes, row stores, ++n_rows]* -> batch_seal -> batch_ref/unref
 *
 * Values of null rows are zero (strings: empty).
 */
#ifndef WEIR_BATCH_BATCH_H
#define WEIR_BATCH_BATCH_H

#include "batch/schema.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BATCH_ROWS_MAX 65536u
#define BATCH_BYTES_MAX                                                                \
    (64u << 20) /* of strings in one column of one batch; keeps offsets in int32 */
#define BATCH_SLACK 64u   /* bytes that may be overwritten behind the end of `bytes` */
#define BATCH_BLOCK 1024u /* rows for which seal keeps the range of times */

/* One column while it is built. Arrays have room for `room` rows of the batch. */
struct column {
    enum weir_type type;
    bool absent;       /* see batch_new_of */
    uint8_t *validity; /* NULL until the first null; see batch_set_null */
    void *values;      /* int64_t, double, or bits (batch_put_bool); NULL for strings */
    int32_t *
        offsets; /* strings: room + 1; offsets[0] = 0, offsets[row + 1] set by each row */
    char *bytes;       /* strings */
    size_t bytes_room; /* without BATCH_SLACK, which is always there behind it */
    int64_t null_count;
    size_t validity_size, values_size, offsets_size,
        bytes_size; /* of the pool's blocks */
};

struct batch_span {
    int64_t min_us, max_us;
};

struct batch {
    _Atomic uint32_t refs; /* taken relaxed, released acq_rel: the last one frees */
    uint32_t n_rows;
    uint32_t room; /* rows */
    const struct schema *schema;
    struct batch
        *shared; /* of batch_extend: whose arrays the first columns are; NULL */
    struct column *column;    /* schema->n of them */
    struct weir_column *view; /* the same for readers; valid after seal */
    struct batch_span span;   /* of all rows; valid after seal */
    struct batch_span block[BATCH_ROWS_MAX / BATCH_BLOCK]; /* event times of rows
                                  * [k * BATCH_BLOCK, ...); valid after seal */
};

/* Room for `rows` rows at first. -ENOMEM. */
int batch_new(const struct schema *schema, uint32_t rows, struct batch **ret);

/* The same without the columns for which `wanted` is false; NULL: with all. They have no arrays: nobody may look at them, and a
 * row is stored without them. Column 0 is always there. */
int batch_new_of(const struct schema *schema, const bool *wanted, uint32_t rows,
                 struct batch **ret);

/* Makes room for at least one more row (four times as many, up to BATCH_ROWS_MAX). -ENOSPC when full, -ENOMEM. */
int batch_grow(struct batch *b);

/* Makes room for `size` more string bytes behind offsets[n_rows] of column `c`. -ENOSPC when the
 * column would pass BATCH_BYTES_MAX, -ENOMEM. */
int batch_bytes(struct batch *b, size_t c, size_t size);

/* Marks row n_rows (the one being built) of column c as null; the caller stores zero or an empty
 * string. Marking twice is marking once. -ENOMEM. */
int batch_set_null(struct batch *b, size_t c);
/* Takes back the null mark of row n_rows in column c: the key came a second time, with a value. */
void batch_unset_null(struct batch *b, size_t c);
void batch_undo_nulls(
    struct batch *b); /* the row is given up: forgets all null marks of n_rows */

static inline void batch_put_bool(struct column *c, uint32_t row, bool v)
{
    uint8_t *byte = (uint8_t *)c->values + (row >> 3);
    uint8_t bit = (uint8_t)(1u << (row & 7));
    *byte = (uint8_t)(v ? *byte | bit : *byte & ~bit);
}

/* Makes room for `rows` rows like those that it has, so that no array is made again and again while they are appended; or does
 * not, where there is no memory. */
void batch_reserve(struct batch *b, uint32_t rows);

/* Copies all rows of `from` behind those of `to` (same schema and columns, both unsealed). -ENOSPC: nothing was
 * copied. -ENOMEM. */
int batch_append(struct batch *to, const struct batch *from);

/* The same of one row. -ENOSPC: nothing was copied. -ENOMEM. */
int batch_append_row(struct batch *to, const struct batch *from, uint32_t row);

/* The same of n of its rows, column by column: those of `to` are column[i] of `from`, which may have more. */
int batch_append_rows(struct batch *to, const struct batch *from, const size_t *column,
                      const uint32_t *row, uint32_t n);

/* The same text in column `c`, of strings, of all rows from `from` on, instead of what they have there. -ENOSPC: nothing was
 * changed. -ENOMEM. */
int batch_put_text(struct batch *b, size_t c, uint32_t from, const char *text,
                   size_t size);

void batch_clear(struct batch *b); /* unsealed: no rows, memory kept */

/* After this nothing of the batch changes. */
void batch_seal(struct batch *b);

/* A sealed batch with more columns: the first ones of `schema` are those of `from`, whose arrays it shares and of which
 * it holds a reference. The others have room for its rows, and are to be filled, each for all rows, with n_rows as the
 * row being stored; batch_seal_column makes one readable. -ENOMEM. */
int batch_extend(struct batch *from, const struct schema *schema, struct batch **ret);
void batch_seal_column(struct batch *b, size_t c);

/* A sealed batch of `schema` with the rows of a sealed one: column[i] says which of its columns stands in the place of
 * column i, SIZE_MAX: none, all are null; in that of `number`, an int, stands `value`. -ENOMEM. */
int batch_pick(const struct batch *from, const struct schema *schema,
               const size_t *column, size_t number, int64_t value, struct batch **ret);

size_t batch_memory(const struct batch *b); /* bytes that it holds */

struct batch *batch_ref(struct batch *b);
void batch_unref(struct batch *b); /* takes NULL */

#endif
