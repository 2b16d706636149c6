/* SPDX-License-Identifier: Apache-2.0
 *
 * The least of many numbers of which one changes at a time: a tournament. A change, and the least of all
 * others, take as many steps as the number of places has bits, however many places there are.
 *
 *      node[1]          the least of all
 *      node[2] node[3]  of each half; node[i] is the lesser of node[2 i] and node[2 i + 1]
 *      node[room + i]   place i
 */
#ifndef WEIR_BASE_LEAST_H
#define WEIR_BASE_LEAST_H

#include <stdint.h>

/* All places: INT64_MAX. `node` has room for 2 * room numbers; room is a power of two. */
static inline void least_clear(int64_t *node, uint32_t room)
{
    for (uint32_t i = 0; i < 2 * room; i++)
        node[i] = INT64_MAX;
}

static inline void least_set(int64_t *node, uint32_t room, uint32_t place,
                             int64_t value)
{
    uint32_t i = room + place;
    node[i] = value;
    while ((i /= 2)) {
        int64_t a = node[2 * i], b = node[2 * i + 1];
        node[i] = a < b ? a : b;
    }
}

static inline int64_t least_of(const int64_t *node)
{
    return node[1];
}

/* Of all places but this one; INT64_MAX: there is nothing else. */
static inline int64_t least_but(const int64_t *node, uint32_t room, uint32_t place)
{
    int64_t least = INT64_MAX;
    for (uint32_t i = room + place; i > 1; i /= 2)
        least = node[i ^ 1] < least ? node[i ^ 1] : least;
    return least;
}

#endif
