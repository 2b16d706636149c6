/* SPDX-License-Identifier: Apache-2.0
 *
 * A decoder and the batches that it has filled: bytes in, a short list of batches out.
 *
 *      feed_piece ... feed_finish -> [batches] -> feed_batches, append, feed_taken
 */
#ifndef WEIR_SOURCE_FEED_H
#define WEIR_SOURCE_FEED_H

#include "decode/decode.h"

struct feed {
    const struct decode_options *decode;
    struct decoder *decoder;
    uint32_t rows; /* room of the first batch */
    struct batch **batch;
    size_t n, room;            /* batches; the last one is being filled */
    struct batch *spare;       /* to be filled again; NULL: none */
    int64_t (*now)(void *ctx); /* source_sink.now */
    void *ctx;
};

struct source_stream;

/* -ENOMEM. */
int feed_setup(struct feed *t, const struct source_stream *stream,
               enum decode_format format);
void feed_free(struct feed *t);

/* A batch that came back; takes it, and NULL. */
void feed_keep(struct feed *t, struct batch *spare);

/* The time that what arrives now is given. */
int64_t feed_now(const struct feed *t);

/* For the next body: drops the batches. `rows`: how many are expected; 0: not known. */
void feed_begin(struct feed *t, uint64_t rows);

/* 0, -ENOMEM, -EFBIG (a record that no batch can hold), or -EBADMSG: the rest of the body cannot be read
 * (the error is in decoder_stats). */
int feed_piece(struct feed *t, const char *data, size_t size);
int feed_finish(struct feed *t);

/* A place between rows that are decoded, and those that follow. */
struct feed_place {
    size_t batch;
    uint32_t row;
};
struct feed_place feed_end(const struct feed *t);
/* As batch_put_text, of all rows behind `from`. */
int feed_put_text(struct feed *t, struct feed_place from, size_t column,
                  const char *text, size_t size);

/* Drops all rows behind `from`. */
void feed_cut(struct feed *t, struct feed_place from);

/* DECODE_LINES: where the next row of one that a router feeds goes to; called when there is no batch, or it is full.
 * -EFBIG, -ENOMEM. */
int feed_room(struct feed *t);

/* The batches that there are to be handed on, none of them empty, and how many rows they have. */
size_t feed_batches(const struct feed *t, struct batch *const **ret,
                    uint64_t *ret_rows);
void feed_taken(struct feed *t, size_t n); /* the first n belong to somebody else now */

#endif
