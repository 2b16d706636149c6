/* SPDX-License-Identifier: Apache-2.0
 *
 * topk: the most frequent values of a string or int column. The algorithm is in summary.c.
 */
#include "summary.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define CAPACITY_MAX     100000
#define CAPACITY_DEFAULT 1000 /* or ten times k, if that is more */

struct config {
    const char *of;
    int64_t k, capacity;
};

/* One in each context. */
struct topk {
    struct summary_rules rules;
    uint32_t k;
};

/* ---- Folding rows in ---- */

/* A value that is too long is cut where a character begins, and a hash of the whole follows, so that
 * different values stay different: FNV-1a, 64 bits, the same in every process. */
static uint32_t shorten(const char *bytes, size_t size, char *kept)
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

static void read_value(const struct topk *t, const struct weir_column *c, uint32_t row,
                       char *scratch, struct summary_value *v)
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

static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    const struct topk *t = ctx->user;
    const struct weir_column *c = r->in[0];
    char scratch[SUMMARY_VALUE_MAX];
    struct summary_value v;
    for (size_t i = 0; i < r->n; i++) {
        if (weir_is_null(c, r->row[i]))
            continue;
        read_value(t, c, r->row[i], scratch, &v);
        struct summary *s =
            (struct summary *)(void *)(r->states + r->group[i] * r->stride);
        int err = summary_count(ctx, &t->rules, s, &v);
        if (err)
            return err;
    }
    return 0;
}

/* ---- Order of the result: count down, then value up ---- */

static int compare_values(const struct summary_entry *a, const struct summary_entry *b)
{
    uint32_t size = a->size < b->size ? a->size : b->size;
    int order = memcmp(summary_bytes(a), summary_bytes(b), size);
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

static int compare_strings(const void *a, const void *b)
{
    const struct summary_entry *x = *(const struct summary_entry *const *)a,
                               *y = *(const struct summary_entry *const *)b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return compare_values(x, y);
}

static int compare_ints(const void *a, const void *b)
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

static summary_order *order_of(const struct weir_ctx *ctx)
{
    return ctx->types[0] == WEIR_INT ? compare_ints : compare_strings;
}

enum output { VALUE, COUNT, ERROR };

static int put_entry(struct weir_ctx *ctx, const struct summary_entry *e,
                     struct weir_out *out)
{
    if (ctx->types[0] == WEIR_INT) {
        int64_t v;
        memcpy(&v, e->inside, sizeof(v));
        weir_put_int(ctx, out, VALUE, v);
    } else {
        weir_put_string(ctx, out, VALUE, summary_bytes(e), e->size);
    }
    weir_put_int(ctx, out, COUNT, (int64_t)e->count);
    weir_put_int(ctx, out, ERROR, (int64_t)e->error);
    return ctx->host->row(ctx, out);
}

static int emit_one(struct weir_ctx *ctx, const struct summary *s,
                    const struct weir_window *window, struct weir_out *out)
{
    const struct topk *t = ctx->user;
    (void)window;
    if (s->n == 0)
        return 0;
    const struct summary_entry **list = summary_sorted(ctx, s, order_of(ctx));
    if (!list)
        return -1;
    int err = 0;
    for (uint32_t i = 0; !err && i < s->n && i < t->k; i++)
        err = put_entry(ctx, list[i], out);
    ctx->host->free(ctx, list);
    return err;
}

/* ---- Merging and dropping ---- */

static int merge_one(struct weir_ctx *ctx, struct summary *into,
                     const struct summary *from, const struct weir_window *window)
{
    const struct topk *t = ctx->user;
    (void)window;
    return summary_merge(ctx, &t->rules, into, from, order_of(ctx));
}

WEIR_EMIT(emit, struct summary, emit_one)
WEIR_MERGE(merge, struct summary, merge_one)

static void drop(struct weir_ctx *ctx, void *state)
{
    summary_drop(ctx, state);
}

/* ---- Saving: a header, then the entries in the order of the heap, each with its bytes ---- */

struct saved_header {
    uint32_t version, n, heaped, capacity;
};

struct saved_entry {
    uint64_t count, error;
    uint32_t size, zero;
};

static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    const struct topk *t = ctx->user;
    const struct summary *s = state;
    struct saved_header header = {1, s->n, s->heaped, t->rules.capacity};
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

static int damaged(struct weir_ctx *ctx)
{
    return weir_fail(ctx, "topk: the saved state is damaged");
}

/* RFC 3629. What is not would stop the pipeline when it is put. */
static int is_utf8(const unsigned char *s, size_t n)
{
    for (size_t i = 0, more; i < n; i += more + 1) {
        unsigned char c = s[i], next = i + 1 < n ? s[i + 1] : 0;
        more = c < 0x80   ? 0
               : c < 0xc2 ? n
               : c < 0xe0 ? 1
               : c < 0xf0 ? 2
               : c < 0xf5 ? 3
                          : n;
        if (more >= n - i || (c == 0xe0 && next < 0xa0) || (c == 0xed && next > 0x9f) ||
            (c == 0xf0 && next < 0x90) || (c == 0xf4 && next > 0x8f))
            return 0;
        for (size_t k = 1; k <= more; k++)
            if ((s[i + k] & 0xc0) != 0x80)
                return 0;
    }
    return 1;
}

static int load_entries(struct weir_ctx *ctx, const struct summary_rules *rules,
                        struct summary *s, uint32_t n, const char *at, size_t size)
{
    for (uint32_t i = 0; i < n; i++) {
        struct saved_entry saved;
        if (size < sizeof(saved))
            return damaged(ctx);
        memcpy(&saved, at, sizeof(saved));
        at += sizeof(saved);
        size -= sizeof(saved);
        if (saved.size > size || saved.size > SUMMARY_VALUE_MAX ||
            (ctx->types[0] == WEIR_STRING &&
             !is_utf8((const unsigned char *)at, saved.size)))
            return damaged(ctx);
        struct summary_value v = {at, saved.size, summary_hash(rules, at, saved.size)};
        int err = summary_append(ctx, rules, s, &v, saved.count, saved.error);
        if (err)
            return err;
        at += saved.size;
        size -= saved.size;
    }
    return size ? damaged(ctx) : 0;
}

static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes,
                size_t size)
{
    const struct topk *t = ctx->user;
    struct summary *s = state;
    struct saved_header header;
    (void)version; /* there has been one */
    if (size < sizeof(header))
        return damaged(ctx);
    memcpy(&header, bytes, sizeof(header));
    if (header.version != 1 || header.n > header.capacity ||
        (header.heaped && header.n != header.capacity))
        return damaged(ctx);
    if (header.capacity != t->rules.capacity)
        return weir_fail(
            ctx, "topk: the saved state has capacity %u, the configuration says %u",
            header.capacity, t->rules.capacity);
    const char *at = (const char *)bytes + sizeof(header);
    int err = load_entries(ctx, &t->rules, s, header.n, at, size - sizeof(header));
    /* Saved in the order of the heap, they are one already: nothing moves. */
    if (!err && header.heaped)
        summary_make_heap(s);
    return err;
}

/* ---- */

static int open_topk(struct weir_ctx *ctx)
{
    const struct config *config = ctx->config;
    int64_t capacity = config->capacity ? config->capacity : 10 * config->k;
    if (!config->capacity && capacity < CAPACITY_DEFAULT)
        capacity = CAPACITY_DEFAULT;
    if (capacity < config->k)
        return weir_fail(ctx, "capacity %lld is less than k, %lld", (long long)capacity,
                         (long long)config->k);
    struct topk *t = ctx->host->alloc(ctx, sizeof(*t));
    if (!t)
        return weir_fail(ctx, "topk: out of memory");
    ctx->user = t;
    t->k = (uint32_t)config->k;
    t->rules.capacity = (uint32_t)capacity;
    if (getrandom(t->rules.seed, sizeof(t->rules.seed), 0) != sizeof(t->rules.seed))
        return weir_fail(ctx, "topk: getrandom failed");
    t->rules.seed[1] |= 1;
    return 0;
}

static void close_topk(struct weir_ctx *ctx)
{
    ctx->host->free(ctx, ctx->user);
    ctx->user = NULL;
}

static const struct weir_param params[] = {
    {.name = "of",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, of),
     .help = "the column whose values are counted",
     .column_types = WEIR_TYPES(WEIR_STRING) | WEIR_TYPES(WEIR_INT)},
    {.name = "k",
     .type = WEIR_PARAM_INT,
     .offset = offsetof(struct config, k),
     .init = "10",
     .help = "how many values to store, at most",
     .min = 1,
     .max = 1000},
    {.name = "capacity",
     .type = WEIR_PARAM_INT,
     .offset = offsetof(struct config, capacity),
     .init = "0",
     .help = "how many values to count; exact if no more come; 0: 1000, or ten times k",
     .min = 0,
     .max = CAPACITY_MAX},
    {.name = NULL},
};

static const struct weir_output outputs[] = {
    {"{of}", WEIR_SAME_AS(0), "the value", NULL},
    {"{of}_count", WEIR_INT, "how often it came, at most", NULL},
    {"{of}_error", WEIR_INT, "how much less it may be; 0: the count is exact", NULL},
    {.name = NULL},
};

static const struct weir_analyzer topk = {
    .name = "topk",
    .version = "1.1",
    .help = "The most frequent values of a column, with error bounds",
    .flags = WEIR_MANY_ROWS,
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct summary),
    .state_version = 1,
    .open = open_topk,
    .close = close_topk,
    .drop = drop,
    .update = update,
    .merge = merge,
    .emit = emit,
    .save = save,
    .load = load,
};
WEIR_PLUGIN(topk);
