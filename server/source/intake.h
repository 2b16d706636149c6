/* SPDX-License-Identifier: Apache-2.0
 *
 * A decoder and the batches that it has filled: bytes in, a short list of batches out.
 *
 *      intake_feed ... intake_finish -> [batches] -> while ((b = intake_batch(t))) append, intake_taken
 */
#ifndef WEIR_SOURCE_INTAKE_H
#define WEIR_SOURCE_INTAKE_H

#include "decode/decode.h"

struct intake {
    const struct schema *schema;
    struct decoder *decoder;
    uint32_t rows; /* room of the first batch */
    struct batch **batch;
    size_t first, n,
        room; /* batches [first, n) are to be handed on; the last one is being filled */
};

/* -ENOMEM. */
int intake_setup(struct intake *t, const struct decode_options *options,
                 enum decode_format format);
void intake_free(struct intake *t);

/* For the next body: drops the batches. `rows`: how many are expected; 0: not known. */
void intake_begin(struct intake *t, uint64_t rows);

/* 0, -ENOMEM, -ENOSPC (a record that no batch can hold), or -EBADMSG: the rest of the body cannot be read (the error is in decoder_stats). */
int intake_feed(struct intake *t, const char *data, size_t size);
int intake_finish(struct intake *t);

/* The batch to be handed on next, never an empty one; NULL: none. */
struct batch *intake_batch(struct intake *t);
void intake_taken(struct intake *t); /* it belongs to somebody else now */

#endif
