/* SPDX-License-Identifier: Apache-2.0
 *
 * Of 8 shards three nodes have 3, 3 and 2: those that have more keep more.
 */
#include "node/share.h"

/* How many a node is to have. What is left over when all have the same goes to those that have most; of equals to the first. */
static size_t target(const struct share *s, size_t node)
{
    const size_t left_over = s->n_shards % s->n_nodes;
    size_t before = 0;
    for (size_t i = 0; i < s->n_nodes; i++)
        before += s->has[i] > s->has[node] || (s->has[i] == s->has[node] && i < node);
    return s->n_shards / s->n_nodes + (before < left_over);
}

size_t share_wanted(const struct share *s, size_t *ret)
{
    size_t skip = 0, n = 0;
    if (s->me == SHARE_NOBODY)
        return 0;
    for (size_t i = 0; i < s->me;
         i++) { /* the first of those that are free are theirs */
        const size_t most = target(s, i);
        skip += most > s->has[i] ? most - s->has[i] : 0;
    }
    const size_t has = s->has[s->me], most = target(s, s->me);
    for (size_t i = 0; i < s->n_shards && has + n < most; i++) {
        if (s->owner[i] != SHARE_NOBODY)
            continue;
        if (skip)
            skip--;
        else
            ret[n++] = i;
    }
    return n;
}

/* Does shard i go before k? Those that came last do. */
static bool goes_before(const struct share *s, size_t i, size_t k)
{
    return s->since[i] > s->since[k] || (s->since[i] == s->since[k] && i > k);
}

size_t share_surplus(const struct share *s, size_t *ret)
{
    if (s->me == SHARE_NOBODY)
        return 0;
    const size_t has = s->has[s->me], most = target(s, s->me);
    size_t n = 0;
    while (has > most && n < has - most) {
        size_t next = SHARE_NOBODY;
        for (size_t i = 0; i < s->n_shards; i++)
            if (s->owner[i] == s->me && (n == 0 || goes_before(s, ret[n - 1], i)) &&
                (next == SHARE_NOBODY || goes_before(s, i, next)))
                next = i;
        ret[n++] = next;
    }
    return n;
}
