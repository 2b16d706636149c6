/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of a string or int column and how often each came: all that the analyzers topk, mode and entropy have in
 * common. The algorithm is in summary.c.
 */
#ifndef WEIR_TOPK_COUNTED_H
#define WEIR_TOPK_COUNTED_H

#include "../common/declare.h"
#include "../common/text.h"
#include "summary.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

/* One in each context. */
struct counted {
    struct summary_rules rules;
    uint32_t k; /* topk's */
};

/* ---- Folding rows in ---- */

/* A value that is too long is cut where a character begins, and a hash of the whole follows, so that
 * different values stay different: FNV-1a, 64 bits, the same in every process. */
static inline uint32_t shorten(const char *bytes, size_t size, char *kept)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ (unsigned char)bytes[i]) * 0x100000001b3u;
    char tail[24];
    size_t tail_size =
        (size_t)snprintf(tail, sizeof(tail), "\u2026%016llx", (unsigned long long)h);
    size_t head = SUMMARY_VALUE_MAX - tail_size;
    while (head > 0 && (bytes[head] & 0xc0) == 0x80)
        head--;
    memcpy(kept, bytes, head);
    memcpy(kept + head, tail, tail_size);
    return (uint32_t)(head + tail_size);
}

static inline void read_value(const struct counted *t, const struct weir_column *c,
                              uint32_t row, char *scratch, struct summary_value *v)
{
    if (c->type == WEIR_INT) {
        v->bytes = (const char *)c->values + (size_t)row * sizeof(int64_t);
        v->size = sizeof(int64_t);
    } else {
        size_t size;
        v->bytes = weir_string(c, row, &size);
        v->size = (uint32_t)size;
        if (size == 0)
            v->bytes = ""; /* a column of empty strings may have no bytes at all */
        if (size > SUMMARY_VALUE_MAX) {
            v->size = shorten(v->bytes, size, scratch);
            v->bytes = scratch;
        }
    }
    v->hash = summary_hash(&t->rules, v->bytes, v->size);
}

/* Values are far apart in memory: those of AHEAD rows are fetched at once. */
#define AHEAD 32

static inline int counted_update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct counted *t = ctx->user;
    const struct weir_rows r = *rows;
    const struct weir_column *c = r.in[0];
    char scratch[AHEAD][SUMMARY_VALUE_MAX];
    struct summary_value v[AHEAD];
    struct summary *s[AHEAD];
    for (size_t i = 0; i < r.n;) {
        uint32_t n = 0;
        for (; i < r.n && n < AHEAD; i++) {
            if (weir_is_null(c, r.row[i]))
                continue;
            read_value(t, c, r.row[i], scratch[n], &v[n]);
            s[n] = (struct summary *)(void *)(r.states + r.group[i] * r.stride);
            summary_fetch_slot(s[n], &v[n]);
            n++;
        }
        for (uint32_t k = 0; k < n; k++)
            summary_fetch_entry(s[k], &v[k]);
        for (uint32_t k = 0; k < n; k++)
            if (summary_count(ctx, &t->rules, s[k], &v[k]))
                return -1;
    }
    return 0;
}

/* ---- Order of the result: count down, then value up ---- */

static inline int compare_values(const struct summary_entry *a,
                                 const struct summary_entry *b)
{
    uint32_t size = a->size < b->size ? a->size : b->size;
    int order = memcmp(summary_bytes(a), summary_bytes(b), size);
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

static inline int compare_strings(const void *a, const void *b)
{
    const struct summary_entry *x = *(const struct summary_entry *const *)a,
                               *y = *(const struct summary_entry *const *)b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return compare_values(x, y);
}

static inline int compare_ints(const void *a, const void *b)
{
    const struct summary_entry *x = *(const struct summary_entry *const *)a,
                               *y = *(const struct summary_entry *const *)b;
    int64_t v, w;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    memcpy(&v, x->inside, sizeof(v));
    memcpy(&w, y->inside, sizeof(w));
    return (v > w) - (v < w);
}

static inline summary_order *counted_order_of(const struct weir_ctx *ctx)
{
    return ctx->types[0] == WEIR_INT ? compare_ints : compare_strings;
}

static inline int counted_put(struct weir_ctx *ctx, struct weir_out *out, uint32_t cell,
                              const struct summary_entry *e)
{
    int64_t v;
    if (ctx->types[0] == WEIR_STRING)
        return weir_put_string(ctx, out, cell, summary_bytes(e), e->size);
    memcpy(&v, e->inside, sizeof(v));
    return weir_put_int(ctx, out, cell, v);
}

/* ---- Merging and dropping ---- */

static inline int counted_merge_one(struct weir_ctx *ctx, struct summary *into,
                                    const struct summary *from,
                                    const struct weir_window *window)
{
    const struct counted *t = ctx->user;
    (void)window;
    return summary_merge(ctx, &t->rules, into, from, counted_order_of(ctx));
}

WEIR_MERGE(counted_merge, struct summary, counted_merge_one)

static inline void counted_drop(struct weir_ctx *ctx, void *state)
{
    summary_drop(ctx, state);
}

/* ---- Saving: a header, then the entries in the order of the heap, each with its bytes ---- */

struct saved_header {
    uint32_t version, n, heaped, capacity;
    uint64_t rows;
};

struct saved_entry {
    uint64_t count, error;
    uint32_t size, zero;
};

static inline int counted_save(struct weir_ctx *ctx, const void *state,
                               struct weir_out *out)
{
    const struct counted *t = ctx->user;
    const struct summary *s = state;
    struct saved_header header = {2, s->n, s->heaped, t->rules.capacity, s->rows};
    int err = ctx->host->write(ctx, out, &header, sizeof(header));
    for (uint32_t i = 0; !err && i < s->n; i++) {
        const struct summary_entry *e = &s->entry[s->heaped ? s->heap[i] : i];
        struct saved_entry saved = {e->count, e->error, e->size, 0};
        err = ctx->host->write(ctx, out, &saved, sizeof(saved));
        if (!err)
            err = ctx->host->write(ctx, out, summary_bytes(e), e->size);
    }
    return err;
}

static inline int counted_damaged(struct weir_ctx *ctx)
{
    return weir_fail(ctx, "the saved state is damaged");
}

static inline int counted_load_entries(struct weir_ctx *ctx,
                                       const struct summary_rules *rules,
                                       struct summary *s, uint32_t n, const char *at,
                                       size_t size)
{
    for (uint32_t i = 0; i < n; i++) {
        struct saved_entry saved;
        if (size < sizeof(saved))
            return counted_damaged(ctx);
        memcpy(&saved, at, sizeof(saved));
        at += sizeof(saved);
        size -= sizeof(saved);
        if (saved.size > size || saved.size > SUMMARY_VALUE_MAX ||
            (ctx->types[0] == WEIR_STRING && !text_is_utf8(at, saved.size)))
            return counted_damaged(ctx);
        struct summary_value v = {at, saved.size, summary_hash(rules, at, saved.size)};
        int err = summary_append(ctx, rules, s, &v, saved.count, saved.error);
        if (err)
            return err;
        at += saved.size;
        size -= saved.size;
    }
    return size ? counted_damaged(ctx) : 0;
}

static inline int counted_load(struct weir_ctx *ctx, void *state, uint32_t version,
                               const void *bytes, size_t size)
{
    const struct counted *t = ctx->user;
    struct summary *s = state;
    struct saved_header header;
    (void)version; /* load takes one */
    if (size < sizeof(header))
        return counted_damaged(ctx);
    memcpy(&header, bytes, sizeof(header));
    if (header.version != 2 || header.n > header.capacity ||
        (header.heaped && header.n != header.capacity))
        return counted_damaged(ctx);
    if (header.capacity != t->rules.capacity)
        return weir_fail(ctx,
                         "the saved state has capacity %u, the configuration says %u",
                         header.capacity, t->rules.capacity);
    const char *at = (const char *)bytes + sizeof(header);
    int err =
        counted_load_entries(ctx, &t->rules, s, header.n, at, size - sizeof(header));
    s->rows = header.rows;
    /* Saved in the order of the heap, they are one already: nothing moves. */
    if (!err && header.heaped)
        summary_make_heap(s);
    return err;
}

/* ---- Opening ---- */

static inline int counted_open(struct weir_ctx *ctx, uint32_t capacity, uint32_t k)
{
    struct counted *t = ctx->host->alloc(ctx, sizeof(*t));
    if (!t)
        return weir_fail(ctx, "out of memory");
    ctx->user = t;
    t->k = k;
    t->rules.capacity = capacity;
    if (getrandom(t->rules.seed, sizeof(t->rules.seed), 0) != sizeof(t->rules.seed))
        return weir_fail(ctx, "getrandom failed");
    t->rules.seed[1] |= 1;
    return 0;
}

static inline void counted_close(struct weir_ctx *ctx)
{
    ctx->host->free(ctx, ctx->user);
    ctx->user = NULL;
}

#define COUNTED_TYPES (WEIR_TYPES(WEIR_STRING) | WEIR_TYPES(WEIR_INT))

#endif
