/* SPDX-License-Identifier: Apache-2.0
 *
 * Which rejected records of files are in the table, so that those of a file that is read again are there once. Two sets of
 * hashes, each of up to `limit`: when the newer one is full it takes the place of the older one. So the last `limit` are
 * known at least, which is what the table keeps.
 */
#ifndef WEIR_STORE_DEAD_KNOWN_H
#define WEIR_STORE_DEAD_KNOWN_H

#include "source/dead_letter.h"

struct dead_set {
    uint64_t *slot; /* 0: free; at most half of them are taken */
    size_t room, n; /* a power of two */
};

struct dead_known { /* of a stream; zeroes but for the limit: none */
    struct dead_set newer, older;
    uint64_t limit;
};

/* Of its source, line, column and record; never 0. */
uint64_t dead_hash(const struct dead_letter *l);
bool dead_known_has(const struct dead_known *k, uint64_t hash);
void dead_known_add(struct dead_known *k, uint64_t hash); /* not without memory */
void dead_known_clear(struct dead_known *k);

#endif
