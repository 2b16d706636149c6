/* SPDX-License-Identifier: Apache-2.0
 *
 * A sealed batch as another process reads it, without a copy: the pool's arena, mapped read-only at any
 * address, and a header that says by offsets into the arena where the arrays lie.
 *
 *      shared_batch   n_rows, n_columns
 *      shared_column  type, null_count, validity, values, offsets, bytes     n_columns of them
 *
 * Whoever shares a batch holds a reference until the other process has said that it is done.
 */
#ifndef WEIR_BATCH_SHARED_H
#define WEIR_BATCH_SHARED_H

#include "batch/batch.h"

#define SHARED_NONE UINT64_MAX /* offset: the array is not there */

struct shared_column {
    uint32_t type;     /* enum weir_type */
    uint32_t reserved; /* 0 */
    int64_t null_count;
    int64_t dictionary_size; /* as of weir_column; of columns of a batch 0 */
    uint64_t validity, values, offsets, bytes; /* of the first byte, in the arena */
};

struct shared_batch {
    uint32_t n_rows, n_columns;
    struct shared_column column[];
};

/* Bytes of a header. */
static inline size_t shared_size(size_t n_columns)
{
    return sizeof(struct shared_batch) + n_columns * sizeof(struct shared_column);
}

/* Writes the header of a sealed batch to `to`, shared_size(b->schema->n) bytes. */
void shared_write(const struct batch *b, struct shared_batch *to);

/* The columns of a batch in an arena of `size` bytes that is mapped at `arena`: `ret`, from->n_columns of them.
 * -EBADMSG: an array would not lie in the arena. What lies in the arrays is not looked at. */
int shared_read(const struct shared_batch *from, const void *arena, size_t size,
                struct weir_column *ret);

/* The same of one column of `rows` rows, also of one with a dictionary (batch/keys.h). */
void shared_write_column(const struct weir_column *c, struct shared_column *to);
int shared_read_column(const struct shared_column *from, uint32_t rows,
                       const void *arena, size_t size, struct weir_column *ret);

#endif
