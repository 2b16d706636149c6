/* SPDX-License-Identifier: Apache-2.0
 *
 * Small blocks of memory for one analyzer of one worker, many of the same few sizes, such as a sketch for each group: no
 * head in front of each, no look at it where it is given back, and large pages where there is much. One thread at a
 * time. Memory that was given back is kept for blocks of about the same size, and for all once its whole chunk is free: so
 * that sketches may grow from one size to the next.
 */
#ifndef WEIR_PLUGIN_SLABS_H
#define WEIR_PLUGIN_SLABS_H

#include "base/reserve.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLABS_BLOCK_MAX ((size_t)4096) /* bytes of a block */

#define SLABS_CLASSES 40

/* All zero: there are none yet. Made as
 *
 *      base                                                      base + most
 *      | what of each chunk is free | chunk, blocks of one size | chunk | ... | addresses only |
 *
 * A chunk is known by its number, from base on; 0 is none.
 */
struct slabs {
    struct reserve memory;
    size_t used;    /* bytes; a multiple of a chunk's */
    uint32_t empty; /* the first chunk that has no class now */
    struct slab {
        uint32_t roomy;    /* the first chunk with room */
        uint16_t n_blocks; /* of a chunk */
    } of[SLABS_CLASSES];
};

/* Addresses for `most` bytes. -ENOMEM; -ENOTSUP: the build looks for errors of memory, which wants malloc. */
int slabs_init(struct slabs *s, size_t most);
void slabs_free(struct slabs *s); /* with all its blocks; also one that is all zero */

/* A zeroed block of at least so many bytes, aligned to 16. NULL: no memory. */
void *slabs_take(struct slabs *s, size_t size);
void slabs_give(struct slabs *s, void *block);

bool slabs_has(const struct slabs *s, const void *block);
/* Bytes that a block of this size takes, and that this block has. */
size_t slabs_size(size_t size);
size_t slabs_size_of(const struct slabs *s, const void *block);

#endif
