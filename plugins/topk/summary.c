/* SPDX-License-Identifier: Apache-2.0
 *
 * Space-Saving: a hash table of entries and, once a value has been displaced, a heap of their counts.
 */
#include "summary.h"

#include <stdlib.h>
#include <string.h>

#define ROOM_FIRST 8 /* entries of a new summary */

/* ---- Finding entries ---- */

static inline uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 p = (unsigned __int128)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

/* Multiply-and-fold over 8 bytes at a time, the last of them padded. */
uint32_t summary_hash(const struct summary_rules *rules, const char *bytes, size_t size)
{
    uint64_t h = rules->seed[0] ^ size, word = 0;
    for (; size > 8; bytes += 8, size -= 8) {
        memcpy(&word, bytes, 8);
        h = mix(h ^ word, rules->seed[1]);
    }
    word = 0;
    memcpy(&word, bytes, size);
    h = mix(h ^ word, rules->seed[1]);
    return (uint32_t)(h ^ h >> 32);
}

/* The slot that holds the value, or the free one where it would go. */
static uint32_t find_slot(const struct summary *s, const struct summary_value *v)
{
    uint32_t at = v->hash & s->mask;
    for (; s->slot[at]; at = (at + 1) & s->mask) {
        if ((s->slot[at] ^ v->hash) & ~SUMMARY_NUMBER)
            continue;
        const struct summary_entry *e = &s->entry[(s->slot[at] & SUMMARY_NUMBER) - 1];
        if (e->hash == v->hash && e->size == v->size &&
            memcmp(summary_bytes(e), v->bytes, v->size) == 0)
            break;
    }
    return at;
}

static void put_slot(struct summary *s, uint32_t number)
{
    uint32_t at = s->entry[number].hash & s->mask;
    while (s->slot[at])
        at = (at + 1) & s->mask;
    s->slot[at] = (s->entry[number].hash & ~SUMMARY_NUMBER) | (number + 1);
}

/* Frees the slot of an entry; later ones of the same run move up, so that no gap cuts them off. */
static void clear_slot(struct summary *s, uint32_t number)
{
    uint32_t gap = s->entry[number].hash & s->mask;
    while ((s->slot[gap] & SUMMARY_NUMBER) != number + 1)
        gap = (gap + 1) & s->mask;
    for (uint32_t at = (gap + 1) & s->mask; s->slot[at]; at = (at + 1) & s->mask) {
        uint32_t home = s->entry[(s->slot[at] & SUMMARY_NUMBER) - 1].hash & s->mask;
        if (((at - home) & s->mask) < ((at - gap) & s->mask))
            continue;
        s->slot[gap] = s->slot[at];
        gap = at;
    }
    s->slot[gap] = 0;
}

/* ---- Memory ---- */

static int no_memory(struct weir_ctx *ctx)
{
    return weir_fail(ctx, "topk: no memory for the values of a group");
}

static uint32_t slots_for(uint32_t room)
{
    uint32_t n = 16;
    while (n < 2 * room)
        n *= 2;
    return n;
}

/* Makes room for `room` entries. On failure nothing has changed. */
static int resize(struct weir_ctx *ctx, struct summary *s, uint32_t room)
{
    uint32_t slots = slots_for(room);
    struct summary_entry *entry = ctx->host->alloc(ctx, room * sizeof(*entry));
    uint32_t *slot = ctx->host->alloc(ctx, slots * sizeof(*slot));
    uint32_t *heap = ctx->host->alloc(ctx, room * sizeof(*heap));
    if (!entry || !slot || !heap) {
        ctx->host->free(ctx, entry);
        ctx->host->free(ctx, slot);
        ctx->host->free(ctx, heap);
        return no_memory(ctx);
    }
    if (s->n) {
        memcpy(entry, s->entry, s->n * sizeof(*entry));
        memcpy(heap, s->heap, s->n * sizeof(*heap));
    }
    ctx->host->free(ctx, s->entry);
    ctx->host->free(ctx, s->slot);
    ctx->host->free(ctx, s->heap);
    s->entry = entry;
    s->slot = slot;
    s->heap = heap;
    s->room = room;
    s->mask = slots - 1;
    for (uint32_t i = 0; i < s->n; i++)
        put_slot(s, i);
    return 0;
}

static int set_value(struct weir_ctx *ctx, struct summary_entry *e,
                     const struct summary_value *v)
{
    if (v->size > SUMMARY_INSIDE && v->size > e->room) {
        uint32_t room = v->size <= 64 ? 64 : v->size <= 256 ? 256 : SUMMARY_VALUE_MAX;
        char *buffer = ctx->host->alloc(ctx, room);
        if (!buffer)
            return no_memory(ctx);
        ctx->host->free(ctx, e->buffer);
        e->buffer = buffer;
        e->room = room;
    }
    e->size = v->size;
    e->hash = v->hash;
    memcpy(v->size > SUMMARY_INSIDE ? e->buffer : e->inside, v->bytes, v->size);
    return 0;
}

void summary_drop(struct weir_ctx *ctx, struct summary *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        ctx->host->free(ctx, s->entry[i].buffer);
    ctx->host->free(ctx, s->entry);
    ctx->host->free(ctx, s->slot);
    ctx->host->free(ctx, s->heap);
    memset(s, 0, sizeof(*s));
}

/* ---- The heap of counts ---- */

static void set_place(struct summary *s, uint32_t place, uint32_t number)
{
    s->heap[place] = number;
    s->entry[number].place = place;
}

/* The entry's count has grown: it moves away from the top. */
static void sink(struct summary *s, uint32_t number)
{
    uint32_t place = s->entry[number].place;
    for (;;) {
        uint32_t child = 2 * place + 1;
        if (child >= s->n)
            break;
        if (child + 1 < s->n &&
            s->entry[s->heap[child + 1]].count < s->entry[s->heap[child]].count)
            child++;
        if (s->entry[s->heap[child]].count >= s->entry[number].count)
            break;
        set_place(s, place, s->heap[child]);
        place = child;
    }
    set_place(s, place, number);
}

void summary_make_heap(struct summary *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        set_place(s, i, i);
    for (uint32_t i = s->n / 2; i-- > 0;)
        sink(s, s->heap[i]);
    s->heaped = 1;
}

/* How often a value that is not kept may have come. */
static uint64_t unseen(const struct summary *s)
{
    return s->heaped ? s->entry[s->heap[0]].count : 0;
}

/* ---- Folding rows in ---- */

int summary_append(struct weir_ctx *ctx, const struct summary_rules *rules,
                   struct summary *s, const struct summary_value *v, uint64_t count,
                   uint64_t error)
{
    if (s->n == s->room) {
        uint32_t room = s->room ? 2 * s->room : ROOM_FIRST;
        int err = resize(ctx, s, room < rules->capacity ? room : rules->capacity);
        if (err)
            return err;
    }
    struct summary_entry *e = &s->entry[s->n];
    int err = set_value(ctx, e, v);
    if (err)
        return err;
    e->count = count;
    e->error = error;
    put_slot(s, s->n++);
    return 0;
}

static int displace(struct weir_ctx *ctx, struct summary *s,
                    const struct summary_value *v)
{
    if (!s->heaped)
        summary_make_heap(s);
    uint32_t number = s->heap[0];
    struct summary_entry *e = &s->entry[number];
    clear_slot(s, number);
    int err = set_value(ctx, e, v);
    put_slot(s, number);
    if (err)
        return err;
    e->error = e->count++;
    sink(s, number);
    return 0;
}

int summary_count(struct weir_ctx *ctx, const struct summary_rules *rules,
                  struct summary *s, const struct summary_value *v)
{
    uint32_t found = s->room ? s->slot[find_slot(s, v)] & SUMMARY_NUMBER : 0;
    s->rows++;
    if (!found)
        return s->n < rules->capacity ? summary_append(ctx, rules, s, v, 1, 0)
                                      : displace(ctx, s, v);
    s->entry[found - 1].count++;
    if (s->heaped)
        sink(s, found - 1);
    return 0;
}

/* ---- Order ---- */

const struct summary_entry **
summary_sorted(struct weir_ctx *ctx, const struct summary *s, summary_order *order)
{
    const struct summary_entry **list = ctx->host->alloc(ctx, s->n * sizeof(*list));
    if (!list) {
        no_memory(ctx);
        return NULL;
    }
    for (uint32_t i = 0; i < s->n; i++)
        list[i] = &s->entry[i];
    qsort(list, s->n, sizeof(*list), order);
    return list;
}

/* ---- Merging ---- */

/* A state with room for all of `a` and `b`, larger than any other state may be. */
static int combine(struct weir_ctx *ctx, const struct summary_rules *rules,
                   const struct summary *a, const struct summary *b,
                   struct summary *all)
{
    int err = resize(ctx, all, a->n + b->n);
    for (uint32_t i = 0; !err && i < a->n + b->n; i++) {
        const struct summary_entry *e = i < a->n ? &a->entry[i] : &b->entry[i - a->n];
        const struct summary *other = i < a->n ? b : a;
        struct summary_value v = {summary_bytes(e), e->size,
                                  summary_hash(rules, summary_bytes(e), e->size)};
        uint32_t found = all->slot[find_slot(all, &v)] & SUMMARY_NUMBER;
        if (!found) {
            err = summary_append(ctx, rules, all, &v, e->count + unseen(other),
                                 e->error + unseen(other));
            continue;
        }
        /* It came with a's bound for what b may have seen: now that is known. */
        all->entry[found - 1].count += e->count - unseen(b);
        all->entry[found - 1].error += e->error - unseen(b);
    }
    return err;
}

/* Keeps the `capacity` largest of `all` in `into`; a list in falling order, read backwards, is a heap. */
static int keep_first(struct weir_ctx *ctx, const struct summary_rules *rules,
                      summary_order *order, const struct summary *all,
                      struct summary *into)
{
    const struct summary_entry **list = summary_sorted(ctx, all, order);
    if (!list)
        return -1;
    int err = 0;
    for (uint32_t i = rules->capacity; !err && i-- > 0;) {
        struct summary_value v = {summary_bytes(list[i]), list[i]->size, list[i]->hash};
        err = summary_append(ctx, rules, into, &v, list[i]->count, list[i]->error);
    }
    ctx->host->free(ctx, list);
    if (!err)
        summary_make_heap(into);
    return err;
}

int summary_merge(struct weir_ctx *ctx, const struct summary_rules *rules,
                  struct summary *a, const struct summary *b, summary_order *order)
{
    struct summary all = {0}, kept = {0};
    if (b->n == 0)
        return 0;
    int err = combine(ctx, rules, a, b, &all);
    if (!err && (all.n > rules->capacity || a->heaped || b->heaped)) {
        err = keep_first(ctx, rules, order, &all, &kept);
    } else if (!err) {
        kept = all;
        all = (struct summary){0};
    }
    if (!err) {
        struct summary old = *a;
        kept.rows = a->rows + b->rows;
        *a = kept;
        kept = old;
    }
    summary_drop(ctx, &all);
    summary_drop(ctx, &kept);
    return err;
}
