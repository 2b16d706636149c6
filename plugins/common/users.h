/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of many users in a struct kept: the rank of an item is the hash of its user, so that of more rows than the limit all of
 * some users are kept, those with the least hashes, each user with the same probability. Without a column of users
 * all ranks are 0, and the earliest rows are kept.
 *
 * Hashes have 64 bits: of a million users, two are taken for one with a probability below 1e-7.
 */
#ifndef WEIR_COMMON_USERS_H
#define WEIR_COMMON_USERS_H

#include "kept.h"

#include <math.h>

static inline uint64_t users_rank(const struct weir_column *by, uint32_t row)
{
    return by ? hash_value(by, row) : 0;
}

/* How many of the n rows of a sorted list are of users of which none is missing: the last user's may be. The part
 * of all users that these are goes to *ret_part, by the least hash that is not among them; 1: no row was left out, or
 * there are no users. */
static inline uint32_t users_whole(const struct kept *s, const struct item *list,
                                   uint32_t n, int has_users, double *ret_part)
{
    *ret_part = 1;
    if (!has_users || s->seen <= n)
        return n;
    const uint64_t cut = list[n - 1].rank;
    while (n > 0 && list[n - 1].rank == cut)
        n--;
    *ret_part = ldexp((double)cut, -64);
    return n;
}

#endif
