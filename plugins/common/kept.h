/* SPDX-License-Identifier: Apache-2.0
 *
 * The items of a group with the least ranks, up to a limit, of all that have come: a set, whatever order they come
 * in and states are merged in. With hashes of the rows' places in the log as ranks that is a sample of the rows
 * without replacement, each with the same probability, and the same in every replay: bottom-k, E. Cohen, H. Kaplan,
 * "Summarizing data using bottom-k sketches", PODC 2007. With times as ranks it is the first rows; with hashes of
 * users, all rows of some users.
 *
 * There may be half as many again. Then those beyond the limit are left out, and the least of them is the cut: what is
 * not before it is not wanted any more. An item among the least of all has never been beyond it.
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
    struct item *item; /* in no order */
    uint32_t n, room;
    uint64_t seen; /* how many have come */
    uint64_t is_cut;
    struct item cut; /* its value means nothing */
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

/* ---- Leaving out ---- */

static inline uint32_t kept_most(uint32_t limit)
{
    return limit + limit / 2 + 1;
}

/* Brings the k least to the front, and the next one to place k < n: C. A. R. Hoare, "Algorithm 65: find", CACM 4,
 * 1961. With the middle one as pivot, what is sorted is no worst case. */
static inline void kept_find(struct item *item, uint32_t n, uint32_t k)
{
    int64_t low = 0, high = (int64_t)n - 1;
    while (low < high) {
        const struct item pivot = item[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (item_before(&item[i], &pivot))
                i++;
            while (item_before(&pivot, &item[j]))
                j--;
            if (i <= j) {
                struct item swapped = item[i];
                item[i++] = item[j];
                item[j--] = swapped;
            }
        }
        if ((int64_t)k <= j)
            high = j;
        else if ((int64_t)k >= i)
            low = i;
        else
            break;
    }
}

static inline void kept_cut(struct weir_ctx *ctx, struct kept *s, uint32_t limit,
                            int texts)
{
    kept_find(s->item, s->n, limit);
    if (!s->is_cut || item_before(&s->item[limit], &s->cut))
        s->cut = s->item[limit];
    s->is_cut = 1;
    for (uint32_t i = limit; texts && i < s->n; i++)
        ctx->host->free(ctx, s->item[i].value.text);
    s->n = limit;
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

/* Whether it may be one of the least. */
static inline int kept_wants(const struct kept *s, const struct item *item)
{
    return !s->is_cut || item_before(item, &s->cut);
}

/* Keeps one that is wanted; with `bytes` its value becomes a text. */
static inline int kept_add(struct weir_ctx *ctx, struct kept *s, uint32_t limit,
                           const struct item *item, const char *bytes, size_t size)
{
    struct item copy = *item;
    uint32_t room = s->room ? 2 * s->room : 4, most = kept_most(limit);
    if (s->n == s->room && kept_reserve(ctx, s, room < most ? room : most))
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
    s->item[s->n++] = copy;
    if (s->n == most)
        kept_cut(ctx, s, limit, bytes != NULL);
    return 0;
}

/* One row of the column, if it is wanted. */
static inline int kept_row(struct weir_ctx *ctx, struct kept *s, uint32_t limit,
                           struct item *item, const struct weir_column *c, uint32_t row)
{
    size_t size = 0;
    const char *bytes = NULL;
    s->seen++;
    if (!kept_wants(s, item))
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
    if (from->is_cut && (!into->is_cut || item_before(&from->cut, &into->cut))) {
        into->is_cut = 1;
        into->cut = from->cut;
    }
    for (uint32_t i = 0; i < from->n; i++) {
        const struct item *item = &from->item[i];
        const struct text *text = texts ? item->value.text : NULL;
        if (kept_wants(into, item) &&
            kept_add(ctx, into, limit, item, text ? text->bytes : NULL,
                     text ? text->size : 0))
            return -1;
    }
    into->seen += from->seen;
    return 0;
}

/* The least ones, at most `limit`, as copies whose texts are the state's, in memory of host->alloc; sorted if
 * `compare` is given. There is one at least. */
static inline struct item *kept_least(struct weir_ctx *ctx, const struct kept *s,
                                      uint32_t limit,
                                      int (*compare)(const void *, const void *),
                                      uint32_t *ret_n)
{
    struct item *list = ctx->host->alloc(ctx, s->n * sizeof(*list));
    uint32_t n = s->n < limit ? s->n : limit;
    if (!list) {
        kept_no_memory(ctx);
        return NULL;
    }
    memcpy(list, s->item, s->n * sizeof(*list));
    if (s->n > limit)
        kept_find(list, s->n, limit);
    if (compare)
        qsort(list, n, sizeof(*list), compare);
    *ret_n = n;
    return list;
}

static inline void kept_drop(struct weir_ctx *ctx, struct kept *s, int texts)
{
    for (uint32_t i = 0; texts && i < s->n; i++)
        ctx->host->free(ctx, s->item[i].value.text);
    ctx->host->free(ctx, s->item);
    memset(s, 0, sizeof(*s));
}

/* ---- Saving: a header, then each item, behind it its text; instead of the pointer its size ---- */

struct kept_header {
    uint64_t seen, n, is_cut;
    struct item cut;
};

static inline int kept_save_state(struct weir_ctx *ctx, const struct kept *s, int texts,
                                  struct weir_out *out)
{
    struct kept_header head = {s->seen, s->n, s->is_cut, s->cut};
    head.cut.value.i = 0;
    int err = ctx->host->write(ctx, out, &head, sizeof(head));
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
    struct kept_header head;
    const char *at = bytes;
    if (size < sizeof(head))
        return weir_fail(ctx, "the saved state is damaged");
    memcpy(&head, at, sizeof(head));
    at += sizeof(head), size -= sizeof(head);
    for (uint64_t i = 0; i < head.n; i++) {
        struct item item;
        if (size < sizeof(item) || s->n + 1 == kept_most(limit))
            return weir_fail(ctx, "the saved state is damaged");
        memcpy(&item, at, sizeof(item));
        at += sizeof(item), size -= sizeof(item);
        size_t more = texts ? (size_t)item.value.i : 0;
        if (more > size || more > KEPT_TEXT_MAX || !text_is_utf8(at, more) ||
            !time_is_sound(item.time_us))
            return weir_fail(ctx, "the saved state is damaged");
        if (kept_add(ctx, s, limit, &item, texts ? at : NULL, more))
            return -1;
        at += more, size -= more;
    }
    s->seen = head.seen;
    s->is_cut = head.is_cut != 0;
    s->cut = head.cut;
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
