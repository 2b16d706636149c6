/* SPDX-License-Identifier: Apache-2.0
 *
 * How shards are dealt out to nodes: as evenly as can be, and none moves that need not. Every node works this out for itself, from
 * what PostgreSQL says; those that see the same do not want the same shards.
 */
#ifndef WEIR_NODE_SHARE_H
#define WEIR_NODE_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHARE_NOBODY SIZE_MAX

struct share {
    size_t n_nodes;    /* that live and do not stop, in the order of their names */
    size_t me;         /* among them; SHARE_NOBODY: to be given nothing */
    const size_t *has; /* of each node: how many shards are its own */
    size_t n_shards;
    const size_t
        *owner; /* of each shard: a node, SHARE_NOBODY: free, or its owner is no more */
    const int64_t *since; /* of each shard: when it came to its owner */
};

/* Shards that are to come to us, or to go: at most n_shards in `ret`. Never both. */
size_t share_wanted(const struct share *s, size_t *ret);
size_t share_surplus(const struct share *s, size_t *ret);

#endif
