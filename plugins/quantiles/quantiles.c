/* SPDX-License-Identifier: Apache-2.0
 *
 * quantiles: of a numeric column, to within a relative error. DDSketch: C. Masson, J. Rim, H. Lee, "DDSketch:
 * a fast and fully-mergeable quantile sketch with relative-error guarantees", PVLDB 12, 2019.
 *
 * Values are counted in buckets (section 2.1): with gamma = (1 + error) / (1 - error), bucket i has the
 * values in (gamma^(i - 1), gamma^i], and stands for one that is at most `error` away from all of them. Negative
 * values, zero and the infinities have buckets too; keys of buckets are in the order of their values:
 *
 *      -inf   -big ... -small    0    small ... big   inf
 *      -MAX   -(i + offset)      0    i + offset      MAX
 *
 * Only buckets that are in use take memory. Of more than the limit the lowest are collapsed into the lowest that
 * remains (section 2.2, algorithm 3): for each result, and in the table once it has a quarter more, so that many new
 * buckets cost little each. What remains are always the highest keys of all that have come, and the lowest
 * of them has all counts below it: a result depends on which values came, not on their order, nor on how
 * states were merged.
 */
#include "weir/plugin.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct config {
    const char *of;
    struct weir_numbers q;
    double error;
    int64_t buckets;
};

/* An open-addressing hash table, linear. A slot with count 0 is free. */
struct state {
    uint64_t
        *count; /* 1 << bits of them, then as many keys, in one piece; NULL: no rows */
    double min, max;
    int32_t floor; /* the lowest key once buckets were collapsed */
    uint32_t n;    /* buckets in use */
    uint8_t bits;
    uint8_t collapsed;
};
_Static_assert(sizeof(struct state) == 40, "the manual page says 40");

struct bucket {
    uint64_t count;
    int32_t key;
};

/* One in each context. */
struct sketch {
    double per_log, log_gamma, middle; /* 1 / ln gamma; ln gamma; 2 / (gamma + 1) */
    int32_t offset;                    /* makes the key of the smallest double 1 */
    uint32_t limit, room;   /* buckets of a group, for a result; for a while */
    struct bucket sorted[]; /* room of them */
};

enum reason { NAN_VALUE };

#define KEY_INF    INT32_MAX
#define BITS_FIRST 3
#define FEW        24 /* buckets: sorted by insertion */
#define BLOCK      32 /* rows */
#define AHEAD      4  /* groups */
#define LINES      3  /* of a table: the whole of a small one */
#define DOUBLE_MIN 0x1p-1074

/* ---- Keys and values ---- */

static inline int32_t bucket_of(const struct sketch *k, double positive)
{
    return (int32_t)ceil(log(positive) * k->per_log) + k->offset;
}

static inline int32_t key_of(const struct sketch *k, double v)
{
    if (isinf(v))
        return v > 0 ? KEY_INF : -KEY_INF;
    return v > 0 ? bucket_of(k, v) : v < 0 ? -bucket_of(k, -v) : 0;
}

static double value_of(const struct sketch *k, int32_t key)
{
    if (key == KEY_INF || key == -KEY_INF)
        return key > 0 ? INFINITY : -INFINITY;
    if (key == 0)
        return 0;
    double v = k->middle * exp((abs(key) - k->offset) * k->log_gamma);
    v = fmin(v, DBL_MAX); /* the last bucket goes on above all doubles */
    return key > 0 ? v : -v;
}

/* ---- The table ---- */

static inline int32_t *keys_of(const struct state *s)
{
    return (int32_t *)(void *)(s->count + ((size_t)1 << s->bits));
}

/* Fibonacci hashing. */
static inline size_t home_of(const struct state *s, int32_t key)
{
    return (uint32_t)key * 0x9e3779b1u >> (32 - s->bits);
}

/* The slot of the key, or the free one where it would go. */
static inline size_t find(const struct state *s, int32_t key)
{
    const int32_t *keys = keys_of(s);
    size_t mask = ((size_t)1 << s->bits) - 1, at = home_of(s, key);
    while (keys[at] != key && s->count[at])
        at = (at + 1) & mask;
    return at;
}

static int resize(struct weir_ctx *ctx, struct state *s, uint8_t bits)
{
    struct state old = *s;
    size_t slots = (size_t)1 << bits;
    uint64_t *table = ctx->host->alloc(ctx, slots * (sizeof(*table) + sizeof(int32_t)));
    if (!table)
        return weir_fail(ctx, "quantiles: no memory for the buckets of a group");
    s->count = table;
    s->bits = bits;
    for (size_t i = 0; old.count && i < (size_t)1 << old.bits; i++)
        if (old.count[i]) {
            size_t at = find(s, keys_of(&old)[i]);
            s->count[at] = old.count[i];
            keys_of(s)[at] = keys_of(&old)[i];
        }
    ctx->host->free(ctx, old.count);
    return 0;
}

static int compare_keys(const void *a, const void *b)
{
    int32_t x = ((const struct bucket *)a)->key, y = ((const struct bucket *)b)->key;
    return (x > y) - (x < y);
}

static void sort_buckets(const struct state *s, struct bucket *sorted)
{
    size_t n = 0;
    for (size_t i = 0; s->n && i < (size_t)1 << s->bits; i++)
        if (s->count[i])
            sorted[n++] = (struct bucket){s->count[i], keys_of(s)[i]};
    if (n > FEW) {
        qsort(sorted, n, sizeof(*sorted), compare_keys);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        struct bucket b = sorted[i];
        size_t at = i;
        for (; at > 0 && sorted[at - 1].key > b.key; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = b;
    }
}

/* Of more than `limit` sorted buckets, the lowest go up into the lowest that remains; returns its place. */
static uint32_t collapse(const struct sketch *k, struct bucket *sorted, uint32_t n)
{
    uint32_t first = 0;
    for (; n - first > k->limit; first++)
        sorted[first + 1].count += sorted[first].count;
    return first;
}

static void collapse_table(struct sketch *k, struct state *s)
{
    size_t slots = (size_t)1 << s->bits;
    sort_buckets(s, k->sorted);
    memset(s->count, 0, slots * (sizeof(*s->count) + sizeof(int32_t)));
    for (uint32_t i = collapse(k, k->sorted, s->n); i < s->n; i++) {
        size_t at = find(s, k->sorted[i].key);
        s->count[at] = k->sorted[i].count;
        keys_of(s)[at] = k->sorted[i].key;
    }
    s->floor = k->sorted[s->n - k->limit].key;
    s->n = k->limit;
    s->collapsed = 1;
}

static int add(struct weir_ctx *ctx, struct state *s, int32_t key, uint64_t count);

static __attribute__((noinline)) int add_bucket(struct weir_ctx *ctx, struct state *s,
                                                int32_t key, uint64_t count)
{
    struct sketch *k = ctx->user;
    uint32_t slots = s->count ? 1u << s->bits : 0;
    if (s->n == k->room) {
        collapse_table(k, s);
        return add(ctx, s, key, count);
    }
    if (s->n + 1 > slots / 4 * 3) {
        int err = resize(ctx, s, slots ? (uint8_t)(s->bits + 1) : BITS_FIRST);
        if (err)
            return err;
    }
    size_t at = find(s, key);
    s->count[at] = count;
    keys_of(s)[at] = key;
    s->n++;
    return 0;
}

static inline int add(struct weir_ctx *ctx, struct state *s, int32_t key,
                      uint64_t count)
{
    if (s->collapsed && key < s->floor)
        key = s->floor;
    if (s->count) {
        size_t at = find(s, key);
        if (s->count[at]) {
            s->count[at] += count;
            return 0;
        }
    }
    return add_bucket(ctx, s, key, count);
}

/* ---- Folding rows in ---- */

static inline void add_extremes(struct state *s, double min, double max)
{
    if (s->n == 0 || min < s->min)
        s->min = min;
    if (s->n == 0 || max > s->max)
        s->max = max;
}

/* Where the key would be is on its way while others are looked at. */
static inline void fetch(const struct state *s, int32_t key)
{
    if (!s->count)
        return;
    size_t at = home_of(s, key);
    __builtin_prefetch(&keys_of(s)[at]);
    __builtin_prefetch(&s->count[at], 1);
}

/* In blocks: keys of all rows of one first, then their buckets. */
static int update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct weir_rows r = *rows;
    const struct weir_column *c = r.in[0];
    const struct sketch *k = ctx->user;
    struct {
        struct state *state;
        double value;
        int32_t key;
    } block[BLOCK];
    uint64_t nans = 0;
    for (size_t first = 0; first < r.n; first += BLOCK) {
        size_t end = r.n - first < BLOCK ? r.n : first + BLOCK, n = 0;
        for (size_t i = first; i < end; i++) {
            if (weir_is_null(c, r.row[i]))
                continue;
            double v = weir_number(c, r.row[i]);
            if (v != v) {
                nans++;
                continue;
            }
            block[n].state = (struct state *)(void *)(r.states + r.group[i] * r.stride);
            block[n].value = v;
            block[n].key = key_of(k, v);
            fetch(block[n].state, block[n].key);
            n++;
        }
        for (size_t i = 0; i < n; i++) {
            add_extremes(block[i].state, block[i].value, block[i].value);
            int err = add(ctx, block[i].state, block[i].key, 1);
            if (err)
                return err;
        }
    }
    if (nans)
        ctx->host->skip(ctx, NAN_VALUE, nans);
    return 0;
}

static int merge_one(struct weir_ctx *ctx, struct state *into, const struct state *from,
                     const struct weir_window *window)
{
    int err = 0;
    (void)window;
    if (from->n == 0)
        return 0;
    add_extremes(into, from->min, from->max);
    for (size_t i = 0; !err && i < (size_t)1 << from->bits; i++)
        if (from->count[i])
            err = add(ctx, into, keys_of(from)[i], from->count[i]);
    return err;
}

/* ---- Results: section 2.1, algorithm 2 ---- */

/* The value at place floor(q (rows - 1)) of the sorted ones, counted from 0; q is a decimal number that was rounded to a
 * double: 0.57 of 100 is 57, not 56.99... */
static double quantile(const struct sketch *k, const struct state *s,
                       const struct bucket *sorted, const struct bucket *end,
                       uint64_t rows, double q)
{
    if (q == 0 || q == 1)
        return q == 0 ? s->min : s->max;
    double exact = q * (double)(rows - 1);
    uint64_t place = (uint64_t)(exact + exact * 0x1p-51), seen = sorted->count;
    while (seen <= place && sorted + 1 < end)
        seen += (++sorted)->count;
    return fmin(fmax(value_of(k, sorted->key), s->min), s->max);
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    const struct config *config = ctx->config;
    struct sketch *k = ctx->user;
    uint64_t rows = 0;
    (void)window;
    if (s->n == 0)
        return 0;
    sort_buckets(s, k->sorted);
    const struct bucket *first = k->sorted + collapse(k, k->sorted, s->n),
                        *end = k->sorted + s->n;
    for (const struct bucket *b = first; b < end; b++)
        rows += b->count;
    for (uint32_t i = 0; i < config->q.n; i++)
        weir_put_float(ctx, out, i,
                       quantile(k, s, first, end, rows, config->q.value[i]));
    return 0;
}

WEIR_MERGE(merge, struct state, merge_one)

static int emit(struct weir_ctx *ctx, size_t n, const struct weir_window *const *window,
                const void *const *state, struct weir_out *out)
{
    const struct state *const *s = (const struct state *const *)state;
    int err = 0;
    for (size_t i = 0; !err && i < n; i++) {
        /* Few of them have been looked at lately. */
        const char *table = i + AHEAD < n ? (const char *)s[i + AHEAD]->count : NULL;
        for (size_t line = 0; table && line < LINES; line++)
            __builtin_prefetch(table + 64 * line);
        err = ctx->host->group(ctx, out, i) ? -1 : emit_one(ctx, s[i], window[i], out);
    }
    return err;
}

static void drop(struct weir_ctx *ctx, void *state)
{
    ctx->host->free(ctx, ((struct state *)state)->count);
}

/* ---- Saving: the state, its pointer as zero, then its buckets ---- */

static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    struct state s = *(const struct state *)state;
    const struct state *full = state;
    s.count = NULL;
    int err = ctx->host->write(ctx, out, &s, sizeof(s));
    for (size_t i = 0; !err && full->n && i < (size_t)1 << full->bits; i++)
        if (full->count[i]) {
            struct bucket b = {0};
            b.count = full->count[i];
            b.key = keys_of(full)[i];
            err = ctx->host->write(ctx, out, &b, sizeof(b));
        }
    return err;
}

static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes,
                size_t size)
{
    const struct sketch *k = ctx->user;
    struct state *s = state, saved;
    struct bucket b;
    uint64_t rows = 0;
    (void)version; /* there has been one */
    if (size < sizeof(saved))
        return weir_fail(ctx, "quantiles: the saved state is damaged");
    memcpy(&saved, bytes, sizeof(saved));
    if (saved.n > k->room || size != sizeof(saved) + saved.n * sizeof(b) ||
        saved.collapsed > 1 || saved.min != saved.min || saved.max != saved.max)
        return weir_fail(ctx, "quantiles: the saved state is damaged");
    s->min = saved.min;
    s->max = saved.max;
    for (uint32_t i = 0; i < saved.n; i++) {
        memcpy(&b, (const char *)bytes + sizeof(saved) + i * sizeof(b), sizeof(b));
        if (b.count == 0 || b.count > INT64_MAX - rows || b.key < -KEY_INF)
            return weir_fail(ctx, "quantiles: the saved state is damaged");
        rows += b.count;
        int err = add(ctx, s, b.key, b.count);
        if (err)
            return err;
    }
    if (s->n != saved.n)
        return weir_fail(ctx, "quantiles: the saved state is damaged");
    s->floor = saved.floor;
    s->collapsed = saved.collapsed;
    return 0;
}

/* ---- */

/* A column for each quantile: 0.5 is {of}_p50, 0.999 is {of}_p99_9. */
static int describe(struct weir_ctx *ctx)
{
    const struct config *config = ctx->config;
    struct weir_output output[257] = {{.name = NULL}};
    char name[256][32];
    for (size_t i = 0; i < config->q.n; i++) {
        snprintf(name[i], sizeof(name[i]), "{of}_p%.10g", config->q.value[i] * 100);
        for (char *p = name[i]; *p; p++)
            *p = *p == '.' ? '_' : *p;
        output[i] = (struct weir_output){name[i], WEIR_FLOAT, "the quantile", NULL};
    }
    return ctx->host->outputs(ctx, output);
}

static int open_quantiles(struct weir_ctx *ctx)
{
    const struct config *config = ctx->config;
    size_t limit = (size_t)config->buckets, room = limit + limit / 4;
    struct sketch *k = ctx->host->alloc(ctx, sizeof(*k) + room * sizeof(struct bucket));
    if (!k)
        return weir_fail(ctx, "quantiles: out of memory");
    ctx->user = k;
    k->log_gamma = log1p(config->error) - log1p(-config->error);
    k->per_log = 1 / k->log_gamma;
    k->middle = 1 - config->error; /* gamma = (1 + e) / (1 - e) */
    k->limit = (uint32_t)limit;
    k->room = (uint32_t)room;
    k->offset = 1 - bucket_of(k, DOUBLE_MIN);
    return describe(ctx);
}

static void close_quantiles(struct weir_ctx *ctx)
{
    ctx->host->free(ctx, ctx->user);
    ctx->user = NULL;
}

static const struct weir_param params[] = {
    {.name = "of",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, of),
     .help = "the column",
     .column_types = WEIR_NUMBERS},
    {.name = "q",
     .type = WEIR_PARAM_NUMBERS,
     .offset = offsetof(struct config, q),
     .init = "0.5, 0.99",
     .help = "the quantiles; 0 is the smallest value, 1 the largest",
     .min = 0,
     .max = 1},
    {.name = "error",
     .type = WEIR_PARAM_FLOAT,
     .offset = offsetof(struct config, error),
     .init = "0.01",
     .help = "the largest relative error",
     .min = 0.0001,
     .max = 0.25},
    {.name = "buckets",
     .type = WEIR_PARAM_INT,
     .offset = offsetof(struct config, buckets),
     .init = "2048",
     .help = "buckets of a group, at most; of more, the lowest become one",
     .min = 16,
     .max = 65536},
    {.name = NULL},
};

static const struct weir_analyzer quantiles = {
    .name = "quantiles",
    .version = "1.0",
    .help = "Quantiles of a column, to within a relative error",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .reasons = "nan",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 1,
    .open = open_quantiles,
    .close = close_quantiles,
    .drop = drop,
    .update = update,
    .merge = merge,
    .emit = emit,
    .save = save,
    .load = load,
};
WEIR_PLUGIN(quantiles);
