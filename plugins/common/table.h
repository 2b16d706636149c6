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

/* A slot holds the number of an entry + 1 and, above it, bits of its hash, so that hardly an entry is looked at in
 * vain. */
#define TABLE_NUMBER 0x3fffffu
#define TABLE_MOST   2000000 /* entries */
_Static_assert(TABLE_MOST < TABLE_NUMBER, "numbers of entries fit");

/* Zero bytes are an empty one. */
struct table {
    struct entry *entry; /* in no order */
    uint32_t *slot;      /* see TABLE_NUMBER; 0: free */
    uint32_t n, room, mask;
};

static inline int table_seed(struct weir_ctx *ctx, uint64_t *ret_seed)
{
    return getrandom(ret_seed, sizeof(*ret_seed), 0) == sizeof(*ret_seed)
               ? 0
               : weir_fail(ctx, "getrandom failed");
}

/* Low bits are for the place, high ones for the slot. */
static inline uint32_t table_mix(uint64_t seed, uint64_t hash)
{
    uint64_t h = hash_number(hash ^ seed);
    return (uint32_t)(h ^ h >> 32);
}

/* The slot that has the hash, or the free one where it would go. */
static inline uint32_t table_find(const struct table *t, uint32_t mixed, uint64_t hash)
{
    uint32_t at = mixed & t->mask;
    for (; t->slot[at]; at = (at + 1) & t->mask)
        if (((t->slot[at] ^ mixed) & ~TABLE_NUMBER) == 0 &&
            t->entry[(t->slot[at] & TABLE_NUMBER) - 1].hash == hash)
            break;
    return at;
}

static inline void table_put(struct table *t, uint64_t seed, uint32_t number)
{
    uint64_t hash = t->entry[number].hash;
    uint32_t mixed = table_mix(seed, hash);
    t->slot[table_find(t, mixed, hash)] = (mixed & ~TABLE_NUMBER) | (number + 1);
}

/* Finds all entries anew. */
static inline void table_index(struct table *t, uint64_t seed)
{
    memset(t->slot, 0, ((size_t)t->mask + 1) * sizeof(*t->slot));
    for (uint32_t i = 0; i < t->n; i++)
        table_put(t, seed, i);
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
    uint32_t slot = t->room ? t->slot[table_find(t, table_mix(seed, hash), hash)] : 0;
    return slot ? &t->entry[(slot & TABLE_NUMBER) - 1] : NULL;
}

/* Hints for rows to come: what table_get will look at is fetched while others are folded in. The second one needs
 * what the first one fetched. */
#define TABLE_AHEAD 32
static inline void table_fetch_slot(const struct table *t, uint32_t mixed)
{
    if (t->room)
        __builtin_prefetch(&t->slot[mixed & t->mask]);
}

static inline void table_fetch_entry(const struct table *t, uint32_t mixed)
{
    uint32_t number = t->room ? t->slot[mixed & t->mask] & TABLE_NUMBER : 0;
    if (number)
        __builtin_prefetch(&t->entry[number - 1], 1);
}

/* A new one, zeroed but for the hash, which is not there yet. NULL: no memory, and the host knows. */
static inline struct entry *table_add(struct weir_ctx *ctx, struct table *t,
                                      uint64_t seed, uint64_t hash)
{
    if (t->n == t->room && table_reserve(ctx, t, seed, t->room ? 2 * t->room : 4))
        return NULL;
    struct entry *e = &t->entry[t->n];
    memset(e, 0, sizeof(*e));
    e->hash = hash;
    table_put(t, seed, t->n++);
    return e;
}

static inline void table_drop(struct weir_ctx *ctx, struct table *t)
{
    ctx->host->free(ctx, t->entry);
    ctx->host->free(ctx, t->slot);
    memset(t, 0, sizeof(*t));
}

#endif
