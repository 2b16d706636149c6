/* SPDX-License-Identifier: Apache-2.0
 *
 * A hash table of entries that are known by a hash of 64 bits: what a state keeps of each value or user. Open
 * addressing, linear: Knuth, TAOCP 3, 6.4. The plugin defines `struct entry`, whose first member is uint64_t hash, then
 * includes this.
 *
 * Hashes are the same in every process, so that results are. Where an entry lies is not to be chosen by whoever
 * chooses values: that depends on a seed of the context too.
 */
#ifndef WEIR_COMMON_TABLE_H
#define WEIR_COMMON_TABLE_H

#include "text.h"
#include "weir/plugin.h"

#include <string.h>
#include <sys/random.h>

/* Zero bytes are an empty one. */
struct table {
    struct entry *entry; /* in no order */
    uint32_t *slot;      /* number of an entry + 1; 0: free */
    uint32_t n, room, mask;
};

static inline int table_seed(struct weir_ctx *ctx, uint64_t *ret_seed)
{
    return getrandom(ret_seed, sizeof(*ret_seed), 0) == sizeof(*ret_seed)
               ? 0
               : weir_fail(ctx, "getrandom failed");
}

static inline uint32_t table_home(const struct table *t, uint64_t seed, uint64_t hash)
{
    return (uint32_t)hash_number(hash ^ seed) & t->mask;
}

/* The slot that has the hash, or the free one where it would go. */
static inline uint32_t table_find(const struct table *t, uint64_t seed, uint64_t hash)
{
    uint32_t at = table_home(t, seed, hash);
    while (t->slot[at] && t->entry[t->slot[at] - 1].hash != hash)
        at = (at + 1) & t->mask;
    return at;
}

/* Finds all entries anew. */
static inline void table_index(struct table *t, uint64_t seed)
{
    memset(t->slot, 0, ((size_t)t->mask + 1) * sizeof(*t->slot));
    for (uint32_t i = 0; i < t->n; i++)
        t->slot[table_find(t, seed, t->entry[i].hash)] = i + 1;
}

static inline int table_reserve(struct weir_ctx *ctx, struct table *t, uint64_t seed,
                                uint32_t room)
{
    uint32_t slots = 16;
    if (room <= t->room)
        return 0;
    while (slots < 2 * room)
        slots *= 2;
    struct entry *entry = ctx->host->alloc(ctx, room * sizeof(*entry));
    uint32_t *slot = ctx->host->alloc(ctx, slots * sizeof(*slot));
    if (!entry || !slot) {
        ctx->host->free(ctx, entry);
        ctx->host->free(ctx, slot);
        return weir_fail(ctx, "no memory for the values of a group");
    }
    if (t->n)
        memcpy(entry, t->entry, t->n * sizeof(*entry));
    ctx->host->free(ctx, t->entry);
    ctx->host->free(ctx, t->slot);
    t->entry = entry;
    t->slot = slot;
    t->room = room;
    t->mask = slots - 1;
    table_index(t, seed);
    return 0;
}

/* The entry with this hash, or NULL. */
static inline struct entry *table_get(const struct table *t, uint64_t seed,
                                      uint64_t hash)
{
    uint32_t number = t->room ? t->slot[table_find(t, seed, hash)] : 0;
    return number ? &t->entry[number - 1] : NULL;
}

/* A new one, zeroed but for the hash, which is not there yet. NULL: no memory, and the host knows. */
static inline struct entry *table_add(struct weir_ctx *ctx, struct table *t,
                                      uint64_t seed, uint64_t hash)
{
    if (t->n == t->room && table_reserve(ctx, t, seed, t->room ? 2 * t->room : 4))
        return NULL;
    struct entry *e = &t->entry[t->n++];
    memset(e, 0, sizeof(*e));
    e->hash = hash;
    t->slot[table_find(t, seed, hash)] = t->n;
    return e;
}

static inline void table_drop(struct weir_ctx *ctx, struct table *t)
{
    ctx->host->free(ctx, t->entry);
    ctx->host->free(ctx, t->slot);
    memset(t, 0, sizeof(*t));
}

#endif
