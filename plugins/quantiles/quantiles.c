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

#define INSIDE 3 /* buckets of a group that take no memory of their own */

/* A few buckets in the order in which they came, or an open-addressing hash table, linear. A slot with count 0 is
 * free. */
struct state {
    double min, max;
    union {
        struct {
            uint32_t count[INSIDE];
            int32_t key[INSIDE];
        } few;
        struct {
            uint64_t *count; /* 1 << bits of them, then as many keys, in one piece */
            int32_t floor;   /* the lowest key once buckets were collapsed */
        } table;
    } in;
    uint32_t n;   /* buckets in use; 0: no rows */
    uint8_t bits; /* 0: few */
    uint8_t collapsed;
};
_Static_assert(sizeof(struct state) == 48, "the manual page says 48");

struct bucket {
    uint64_t count;
    int32_t key;
};

/* One in each context. */
struct sketch {
    double per_log, log_gamma, middle; /* 1 / ln gamma; ln gamma; 2 / (gamma + 1) */
    int32_t offset;                    /* makes the key of the smallest double 1 */
    uint32_t limit, room; /* buckets of a group, for a result; for a while */
    int32_t known;        /* a key, and its value */
    double known_value;
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

static double compute_value(const struct sketch *k, int32_t key)
{
    if (key == KEY_INF || key == -KEY_INF)
        return key > 0 ? INFINITY : -INFINITY;
    if (key == 0)
        return 0;
    double v = k->middle * exp((abs(key) - k->offset) * k->log_gamma);
    v = fmin(v, DBL_MAX); /* the last bucket goes on above all doubles */
    return key > 0 ? v : -v;
}

/* Quantiles of a group are often in one bucket. */
static double value_of(struct sketch *k, int32_t key)
{
    if (key != k->known) {
        k->known = key;
        k->known_value = compute_value(k, key);
    }
    return k->known_value;
}

/* ---- The buckets ---- */

static inline int32_t *keys_of(const struct state *s)
{
    return (int32_t *)(void *)(s->in.table.count + ((size_t)1 << s->bits));
}

static inline size_t slots_of(const struct state *s)
{
    return s->bits ? (size_t)1 << s->bits : s->n;
}

/* That of a slot. Its count is 0: there is none. */
static inline struct bucket bucket_at(const struct state *s, size_t slot)
{
    return s->bits ? (struct bucket){s->in.table.count[slot], keys_of(s)[slot]}
                   : (struct bucket){s->in.few.count[slot], s->in.few.key[slot]};
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
    while (keys[at] != key && s->in.table.count[at])
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
    s->in.table.count = table;
    s->in.table.floor = old.bits ? old.in.table.floor : 0;
    s->bits = bits;
    for (size_t i = 0; i < slots_of(&old); i++) {
        const struct bucket b = bucket_at(&old, i);
        if (!b.count)
            continue;
        size_t at = find(s, b.key);
        s->in.table.count[at] = b.count;
        keys_of(s)[at] = b.key;
    }
    if (old.bits)
        ctx->host->free(ctx, old.in.table.count);
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
    for (size_t i = 0; i < slots_of(s); i++) {
        const struct bucket b = bucket_at(s, i);
        if (b.count)
            sorted[n++] = b;
    }
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
    memset(s->in.table.count, 0, slots * (sizeof(uint64_t) + sizeof(int32_t)));
    for (uint32_t i = collapse(k, k->sorted, s->n); i < s->n; i++) {
        size_t at = find(s, k->sorted[i].key);
        s->in.table.count[at] = k->sorted[i].count;
        keys_of(s)[at] = k->sorted[i].key;
    }
    s->in.table.floor = k->sorted[s->n - k->limit].key;
    s->n = k->limit;
    s->collapsed = 1;
}

static int add(struct weir_ctx *ctx, struct state *s, int32_t key, uint64_t count);

static __attribute__((noinline)) int add_bucket(struct weir_ctx *ctx, struct state *s,
                                                int32_t key, uint64_t count)
{
    struct sketch *k = ctx->user;
    if (s->n == k->room) {
        collapse_table(k, s);
        return add(ctx, s, key, count);
    }
    if (s->n + 1 > (1u << s->bits) / 4 * 3) {
        int err = resize(ctx, s, (uint8_t)(s->bits + 1));
        if (err)
            return err;
    }
    size_t at = find(s, key);
    s->in.table.count[at] = count;
    keys_of(s)[at] = key;
    s->n++;
    return 0;
}

/* False: there is no place for it among few, or it would be counted beyond 32 bits. */
static inline int count_few(struct state *s, int32_t key, uint64_t count)
{
    uint32_t i = 0;
    while (i < s->n && s->in.few.key[i] != key)
        i++;
    if (i == INSIDE || count > UINT32_MAX - (i < s->n ? s->in.few.count[i] : 0))
        return 0;
    if (i == s->n) {
        s->in.few.key[i] = key;
        s->in.few.count[i] = 0;
        s->n++;
    }
    s->in.few.count[i] += (uint32_t)count;
    return 1;
}

static inline int add(struct weir_ctx *ctx, struct state *s, int32_t key,
                      uint64_t count)
{
    if (!s->bits) {
        int err = count_few(s, key, count) ? 0 : resize(ctx, s, BITS_FIRST);
        if (err || !s->bits)
            return err;
    }
    if (s->collapsed && key < s->in.table.floor)
        key = s->in.table.floor;
    size_t at = find(s, key);
    if (!s->in.table.count[at])
        return add_bucket(ctx, s, key, count);
    s->in.table.count[at] += count;
    return 0;
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
    if (!s->bits)
        return;
    size_t at = home_of(s, key);
    __builtin_prefetch(&keys_of(s)[at]);
    __builtin_prefetch(&s->in.table.count[at], 1);
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
    for (size_t i = 0; !err && i < slots_of(from); i++) {
        const struct bucket b = bucket_at(from, i);
        if (b.count)
            err = add(ctx, into, b.key, b.count);
    }
    return err;
}

/* ---- Results: section 2.1, algorithm 2 ---- */

/* The value at place floor(q (rows - 1)) of the sorted ones, counted from 0; q is a decimal number that was rounded to a
 * double: 0.57 of 100 is 57, not 56.99... */
static double quantile(struct sketch *k, const struct state *s,
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
        const struct state *ahead = i + AHEAD < n ? s[i + AHEAD] : NULL;
        for (size_t line = 0; ahead && ahead->bits && line < LINES; line++)
            __builtin_prefetch((const char *)ahead->in.table.count + 64 * line);
        err = ctx->host->group(ctx, out, i) ? -1 : emit_one(ctx, s[i], window[i], out);
    }
    return err;
}

static void drop(struct weir_ctx *ctx, void *state)
{
    const struct state *s = state;
    if (s->bits)
        ctx->host->free(ctx, s->in.table.count);
}

/* ---- Saving: a header, then the buckets ---- */

struct saved {
    uint64_t zero;
    double min, max;
    int32_t floor;
    uint32_t n;
    uint8_t unused, collapsed, zeros[6];
};
_Static_assert(sizeof(struct saved) == 40, "as it was from the first version on");

static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    const struct state *s = state;
    const struct saved header = {.min = s->min,
                                 .max = s->max,
                                 .floor = s->bits ? s->in.table.floor : 0,
                                 .n = s->n,
                                 .collapsed = s->collapsed};
    int err = ctx->host->write(ctx, out, &header, sizeof(header));
    for (size_t i = 0; !err && i < slots_of(s); i++) {
        struct bucket b, from = bucket_at(s, i);
        memset(&b, 0, sizeof(b)); /* what is between its members, too */
        b.count = from.count;
        b.key = from.key;
        if (b.count)
            err = ctx->host->write(ctx, out, &b, sizeof(b));
    }
    return err;
}

static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes,
                size_t size)
{
    const struct sketch *k = ctx->user;
    struct state *s = state;
    struct saved saved;
    struct bucket b;
    uint64_t rows = 0;
    (void)version; /* there has been one */
    if (size < sizeof(saved))
        return weir_fail(ctx, "quantiles: the saved state is damaged");
    memcpy(&saved, bytes, sizeof(saved));
    if (saved.n > k->room || size != sizeof(saved) + saved.n * sizeof(b) ||
        saved.collapsed > (saved.n > INSIDE) || saved.min != saved.min ||
        saved.max != saved.max)
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
    if (s->bits)
        s->in.table.floor = saved.floor;
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
