/* SPDX-License-Identifier: Apache-2.0
 *
 * The rejected records of a body, from the decoder to the sink, which keeps them. At most
 * DECODE_ERRORS_MAX at a time; what is more is passed over.
 *
 *      letters_listen -> [decoder rejects: a copy] ... letters_hand_on, or letters_drop
 */
#ifndef WEIR_SOURCE_LETTERS_H
#define WEIR_SOURCE_LETTERS_H

#include "base/buffer.h"
#include "source/source.h"

struct letter;

struct letters {
    struct letter *list; /* DECODE_ERRORS_MAX of them; NULL until the first */
    size_t n;
    bool once;             /* as of struct dead_letter */
    struct buffer records; /* their bytes, one after the other */
};

/* From now on takes what `d` rejects. Nothing, where the stream keeps no dead letters. */
void letters_listen(struct letters *l, struct decoder *d,
                    const struct source_stream *s);

/* Gives all to the stream's sink, and is empty. `source`: "" for none. */
void letters_hand_on(struct letters *l, const struct source_stream *s,
                     const char *source);
/* The same, each with the source and the line that `place` makes of it. */
void letters_hand_on_each(struct letters *l, const struct source_stream *s,
                          void (*place)(void *ctx, struct dead_letter *d), void *ctx);
void letters_drop(
    struct letters *l); /* nobody wants them; memory is kept, if it is little */
void letters_free(struct letters *l);

#endif
