/* SPDX-License-Identifier: Apache-2.0
 *
 * Which rejected records of files are in the table, so that those of a file that is read again are there once: their hashes,
 * with their numbers, as the table keeps the newest `limit` numbers of a stream. Two sets, each of up to `limit`: when the newer
 * one is full it takes the place of the older one, so all that the table may have is known.
 */
#ifndef WEIR_STORE_DEAD_KNOWN_H
#define WEIR_STORE_DEAD_KNOWN_H

#include "source/dead_letter.h"

struct dead_set {
    struct dead_slot {
        uint64_t hash; /* 0: free; at most half of them are taken */
        uint64_t number;
    } * slot;
    size_t room, n; /* a power of two */
};

struct dead_known { /* of a stream; zeroes but for the limit: none */
    struct dead_set newer, older;
    uint64_t limit;
};

/* Of its source, line, column and record; never 0. */
uint64_t dead_hash(const struct dead_letter *l);
/* The number that it got last; 0: none. */
uint64_t dead_known_number(const struct dead_known *k, uint64_t hash);
void dead_known_add(struct dead_known *k, uint64_t hash,
                    uint64_t number); /* not without memory */
/* It did not get into the table. */
void dead_known_forget(struct dead_known *k, uint64_t hash, uint64_t number);
void dead_known_clear(struct dead_known *k);

#endif
