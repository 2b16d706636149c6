/* SPDX-License-Identifier: Apache-2.0
 *
 * The items of a group with the least ranks, up to a limit, of all that have come: a set, whatever order they come
 * in and states are merged in. With hashes of the rows' places in the log as ranks that is a sample of the rows
 * without replacement, each with the same probability, and the same in every replay: bottom-k, E. Cohen, H. Kaplan,
 * "Summarizing data using bottom-k sketches", PODC 2007. With times as ranks it is the first rows; with hashes of
 * users, all rows of some users.
 *
 * Once there are as many as the limit they are a heap, the largest first: Knuth, TAOCP 3, 5.2.3.
 */
#ifndef WEIR_COMMON_KEPT_H
#define WEIR_COMMON_KEPT_H

#include "text.h"
#include "weir/plugin.h"

#include <stdlib.h>
#include <string.h>

#define KEPT_TEXT_MAX 512 /* bytes of a string that are kept */

struct text {
    uint32_t size;
    char bytes[];
};

/* Ordered by rank, then time, then sequence. */
struct item {
    uint64_t rank;
    int64_t time_us;
    uint64_t sequence;
    union {
        int64_t i; /* int, time, bool */
        double f;
        struct text *text; /* owned */
    } value;
};

/* Zero bytes are a state without rows. */
struct kept {
    struct item *item;
    uint32_t n, room;
    uint64_t seen; /* how many have come */
};

static inline int item_before(const struct item *a, const struct item *b)
{
    if (a->rank != b->rank)
        return a->rank < b->rank;
    return a->time_us != b->time_us ? a->time_us < b->time_us
                                    : a->sequence < b->sequence;
}

static inline int item_compare(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    return item_before(x, y) ? -1 : item_before(y, x);
}

/* The value of a row that is not null; of a string nothing yet. */
static inline void item_read(struct item *item, const struct weir_column *c,
                             uint32_t row)
{
    if (c->type == WEIR_STRING)
        item->value.text = NULL;
    else if (c->type == WEIR_FLOAT)
        item->value.f = weir_number(c, row);
    else if (c->type == WEIR_BOOL)
        item->value.i = weir_bool(c, row);
    else
        item->value.i = weir_int(c, row);
}

static inline int item_put(struct weir_ctx *ctx, struct weir_out *out, uint32_t cell,
                           uint32_t type, const struct item *item)
{
    if (type == WEIR_STRING)
        return weir_put_string(ctx, out, cell, item->value.text->bytes,
                               item->value.text->size);
    if (type == WEIR_FLOAT)
        return weir_put_float(ctx, out, cell, item->value.f);
    return weir_put_int(ctx, out, cell, item->value.i);
}

/* ---- The heap ---- */

static inline void kept_sink(struct item *item, uint32_t n, uint32_t at)
{
    const struct item moved = item[at];
    for (uint32_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && item_before(&item[child], &item[child + 1]))
            child++;
        if (!item_before(&moved, &item[child]))
            break;
        item[at] = item[child];
    }
    item[at] = moved;
}

static inline void kept_make_heap(struct kept *s)
{
    for (uint32_t at = s->n / 2; at-- > 0;)
        kept_sink(s->item, s->n, at);
}

/* ---- Folding items in, merging ---- */

static inline int kept_no_memory(struct weir_ctx *ctx)
{
    return weir_fail(ctx, "no memory for the rows of a group");
}

static inline int kept_reserve(struct weir_ctx *ctx, struct kept *s, uint32_t n)
{
    if (n <= s->room)
        return 0;
    struct item *item = ctx->host->alloc(ctx, n * sizeof(*item));
    if (!item)
        return kept_no_memory(ctx);
    if (s->n)
        memcpy(item, s->item, s->n * sizeof(*item));
    ctx->host->free(ctx, s->item);
    s->item = item;
    s->room = n;
    return 0;
}

/* Whether it would be kept. */
static inline int kept_wants(const struct kept *s, uint32_t limit,
                             const struct item *item)
{
    return s->n < limit || item_before(item, &s->item[0]);
}

/* Keeps one that is wanted; with `bytes` its value becomes a text. */
static inline int kept_add(struct weir_ctx *ctx, struct kept *s, uint32_t limit,
                           const struct item *item, const char *bytes, size_t size)
{
    struct item copy = *item;
    uint32_t room = s->room ? 2 * s->room : 4;
    if (s->n == s->room && s->n < limit &&
        kept_reserve(ctx, s, room < limit ? room : limit))
        return -1;
    if (bytes) {
        struct text *text = ctx->host->alloc(ctx, sizeof(*text) + size);
        if (!text)
            return kept_no_memory(ctx);
        text->size = (uint32_t)size;
        if (size)
            memcpy(text->bytes, bytes, size);
        copy.value.text = text;
    }
    if (s->n < limit) {
        s->item[s->n++] = copy;
        if (s->n == limit)
            kept_make_heap(s);
        return 0;
    }
    if (bytes)
        ctx->host->free(ctx, s->item[0].value.text);
    s->item[0] = copy;
    kept_sink(s->item, s->n, 0);
    return 0;
}

/* One row of the column, if it is wanted. */
static inline int kept_row(struct weir_ctx *ctx, struct kept *s, uint32_t limit,
                           struct item *item, const struct weir_column *c, uint32_t row)
{
    size_t size = 0;
    const char *bytes = NULL;
    s->seen++;
    if (!kept_wants(s, limit, item))
        return 0;
    item_read(item, c, row);
    if (c->type == WEIR_STRING) {
        bytes = weir_string(c, row, &size);
        size = text_cut(size ? bytes : "", size, KEPT_TEXT_MAX);
        bytes = size ? bytes : "";
    }
    return kept_add(ctx, s, limit, item, bytes, size);
}

static inline int kept_merge_state(struct weir_ctx *ctx, struct kept *into,
                                   const struct kept *from, uint32_t limit, int texts)
{
    for (uint32_t i = 0; i < from->n; i++) {
        const struct item *item = &from->item[i];
        const struct text *text = texts ? item->value.text : NULL;
        if (kept_wants(into, limit, item) &&
            kept_add(ctx, into, limit, item, text ? text->bytes : NULL,
                     text ? text->size : 0))
            return -1;
    }
    into->seen += from->seen;
    return 0;
}

/* Copies in the order of `compare`, in memory of host->alloc; their texts are those of the state. n > 0. */
static inline struct item *kept_sorted(struct weir_ctx *ctx, const struct kept *s,
                                       int (*compare)(const void *, const void *))
{
    struct item *list = ctx->host->alloc(ctx, s->n * sizeof(*list));
    if (!list) {
        kept_no_memory(ctx);
        return NULL;
    }
    memcpy(list, s->item, s->n * sizeof(*list));
    qsort(list, s->n, sizeof(*list), compare);
    return list;
}

static inline void kept_drop(struct weir_ctx *ctx, struct kept *s, int texts)
{
    for (uint32_t i = 0; texts && i < s->n; i++)
        ctx->host->free(ctx, s->item[i].value.text);
    ctx->host->free(ctx, s->item);
    memset(s, 0, sizeof(*s));
}

/* ---- Saving: how many, then each item, behind it its text; instead of the pointer its size ---- */

static inline int kept_save_state(struct weir_ctx *ctx, const struct kept *s, int texts,
                                  struct weir_out *out)
{
    const uint64_t head[2] = {s->seen, s->n};
    int err = ctx->host->write(ctx, out, head, sizeof(head));
    for (uint32_t i = 0; !err && i < s->n; i++) {
        struct item item = s->item[i];
        const struct text *text = texts ? item.value.text : NULL;
        if (text)
            item.value.i = text->size;
        err = ctx->host->write(ctx, out, &item, sizeof(item));
        if (!err && text && text->size)
            err = ctx->host->write(ctx, out, text->bytes, text->size);
    }
    return err;
}

static inline int kept_load_state(struct weir_ctx *ctx, struct kept *s, uint32_t limit,
                                  int texts, const void *bytes, size_t size)
{
    uint64_t head[2];
    const char *at = bytes;
    if (size < sizeof(head))
        return weir_fail(ctx, "the saved state is damaged");
    memcpy(head, at, sizeof(head));
    at += sizeof(head), size -= sizeof(head);
    for (uint64_t i = 0; i < head[1]; i++) {
        struct item item;
        if (size < sizeof(item) || s->n == limit)
            return weir_fail(ctx, "the saved state is damaged");
        memcpy(&item, at, sizeof(item));
        at += sizeof(item), size -= sizeof(item);
        size_t more = texts ? (size_t)item.value.i : 0;
        if (more > size || more > KEPT_TEXT_MAX || !text_is_utf8(at, more))
            return weir_fail(ctx, "the saved state is damaged");
        if (kept_add(ctx, s, limit, &item, texts ? at : NULL, more))
            return -1;
        at += more, size -= more;
    }
    s->seen = head[0];
    return size ? weir_fail(ctx, "the saved state is damaged") : 0;
}

/* The functions of a plugin whose state is a struct kept: `limit_` and `texts_` are expressions with ctx. */
#define KEPT_FUNCTIONS(limit_, texts_)                                                 \
    static int merge_one(struct weir_ctx *ctx, struct kept *into,                      \
                         const struct kept *from, const struct weir_window *window)    \
    {                                                                                  \
        (void)window;                                                                  \
        return kept_merge_state(ctx, into, from, (limit_), (texts_));                  \
    }                                                                                  \
    WEIR_MERGE(merge, struct kept, merge_one)                                          \
    static void drop(struct weir_ctx *ctx, void *state)                                \
    {                                                                                  \
        kept_drop(ctx, state, (texts_));                                               \
    }                                                                                  \
    static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)     \
    {                                                                                  \
        return kept_save_state(ctx, state, (texts_), out);                             \
    }                                                                                  \
    static int load(struct weir_ctx *ctx, void *state, uint32_t version,               \
                    const void *bytes, size_t size)                                    \
    {                                                                                  \
        (void)version; /* there has been one */                                        \
        return kept_load_state(ctx, state, (limit_), (texts_), bytes, size);           \
    }

#endif
