/* SPDX-License-Identifier: Apache-2.0
 *
 * The most frequent of a run of values, in bounded memory: Space-Saving.
 *
 * A. Metwally, D. Agrawal, A. El Abbadi, "Efficient computation of frequent and top-k elements in data
 * streams", ICDT 2005. Up to `capacity` values are counted. A value that is new when all places are taken
 * gets the place of one that has the smallest count, and starts with that count as its possible error. So
 * for every value that is kept
 *
 *      count - error <= true count <= count
 *
 * and one that is not kept has come at most as often as the smallest count says. Merging adds counts up,
 * with that bound for a value that the other side does not keep, and keeps the largest: P. K. Agarwal,
 * G. Cormode, Z. Huang, J. Phillips, Z. Wei, K. Yi, "Mergeable summaries", PODS 2012.
 *
 * Memory comes from the host of the context; errors go to it.
 */
#ifndef WEIR_TOPK_SUMMARY_H
#define WEIR_TOPK_SUMMARY_H

#include "weir/plugin.h"

#define SUMMARY_VALUE_MAX                                                              \
    512                   /* bytes of a value, so that a group's memory has a limit */
#define SUMMARY_INSIDE 16 /* bytes of a value that need no memory of their own */

/* What a row of a value that is there looks at comes first: half a cache line. */
struct summary_entry {
    uint64_t count;
    uint32_t size, hash;
    char inside[SUMMARY_INSIDE];
    char *
        buffer; /* of `room` bytes, for a value longer than SUMMARY_INSIDE; kept for the next one */
    uint64_t error;
    uint32_t room;
    uint32_t place; /* in the heap */
};
_Static_assert(offsetof(struct summary_entry, buffer) == 32, "half a cache line");

/* Zero bytes are an empty one. Until a value is displaced, entries are only found by hash. Then the heap is
 * made, and stays. */
struct summary {
    uint32_t n, room; /* entries in use; allocated */
    uint32_t mask;    /* slots - 1; at least twice as many slots as entries */
    uint32_t heaped;
    uint64_t rows; /* how many were counted, exactly */
    struct summary_entry *entry;
    uint32_t *slot; /* open addressing, linear: see SUMMARY_NUMBER; 0: free */
    uint32_t
        *heap; /* numbers of entries, the smallest count first; as long as `room` */
};

/* A slot holds the number of an entry + 1 and, above it, the highest bits of its hash, so that hardly an entry
 * is looked at in vain. Merging has both states' entries in one. */
#define SUMMARY_NUMBER   0x3ffffu
#define SUMMARY_CAPACITY 100000 /* at most */
_Static_assert(2 * SUMMARY_CAPACITY < SUMMARY_NUMBER, "numbers of entries fit");

/* What all summaries of a context share. The seed keys the hash, so that nobody can choose values that
 * collide. */
struct summary_rules {
    uint64_t seed[2];
    uint32_t capacity;
};

struct summary_value {
    const char *bytes;
    uint32_t size; /* at most SUMMARY_VALUE_MAX */
    uint32_t hash; /* summary_hash of it */
};

static inline const char *summary_bytes(const struct summary_entry *e)
{
    return e->size > SUMMARY_INSIDE ? e->buffer : e->inside;
}

uint32_t summary_hash(const struct summary_rules *rules, const char *bytes,
                      size_t size);

/* Hints for rows to come: what summary_count will look at is fetched while others are counted. The second one
 * needs what the first one fetched. */
static inline void summary_fetch_slot(const struct summary *s,
                                      const struct summary_value *v)
{
    if (s->room)
        __builtin_prefetch(&s->slot[v->hash & s->mask]);
}

static inline void summary_fetch_entry(const struct summary *s,
                                       const struct summary_value *v)
{
    uint32_t number = s->room ? s->slot[v->hash & s->mask] & SUMMARY_NUMBER : 0;
    if (number) {
        __builtin_prefetch(&s->entry[number - 1].count, 1);
        __builtin_prefetch(&s->entry[number - 1].inside[SUMMARY_INSIDE - 1]);
    }
}

/* Counts the value once more. Nothing is allocated for values that are there, or that fit the memory of the
 * one they displace. */
int summary_count(struct weir_ctx *ctx, const struct summary_rules *rules,
                  struct summary *s, const struct summary_value *v);

/* Adds a value that is not there yet; there is room by the rules. */
int summary_append(struct weir_ctx *ctx, const struct summary_rules *rules,
                   struct summary *s, const struct summary_value *v, uint64_t count,
                   uint64_t error);

/* Makes the heap. Nothing moves if the entries are in the order of one. */
void summary_make_heap(struct summary *s);

/* An order of entries, for qsort of pointers to them. */
typedef int summary_order(const void *a, const void *b);

/* The entries in that order, in memory of host->alloc; NULL: none left, and the host knows. n > 0. */
const struct summary_entry **
summary_sorted(struct weir_ctx *ctx, const struct summary *s, summary_order *order);

/* Adds `b` to `a`; of too many values, keeps those that `order` puts first. On failure `a` is as it was. */
int summary_merge(struct weir_ctx *ctx, const struct summary_rules *rules,
                  struct summary *a, const struct summary *b, summary_order *order);

void summary_drop(struct weir_ctx *ctx, struct summary *s); /* leaves an empty one */

#endif
