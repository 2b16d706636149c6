/* SPDX-License-Identifier: Apache-2.0
 *
 * histogram: how many values of a numeric column lie between bounds, which are listed or grow by a factor. Bucket
 * k has those above bound k - 1 and up to bound k, as in Prometheus; the first has no lower bound, the last
 * no upper one. Counts are exact. A bound is found by bisection: Knuth, TAOCP 3, 6.2.1.
 */
#include "weir/plugin.h"

#include <math.h>
#include <string.h>

struct config {
    const char *of;
    struct weir_numbers bounds;
    double start, factor;
    int64_t count;
};

#define BOUNDS_MAX 256

/* One in each context. */
struct histogram {
    uint32_t n; /* bounds; buckets are one more */
    double bound[BOUNDS_MAX];
};

struct state {
    uint64_t *count; /* of each bucket; NULL: no values */
};

enum reason { NAN_VALUE };
enum output { LOWER, UPPER, COUNT };

static size_t size_of(const struct histogram *h)
{
    return (h->n + 1) * sizeof(uint64_t);
}

static int need_counts(struct weir_ctx *ctx, struct state *s)
{
    if (!s->count)
        s->count = ctx->host->alloc(ctx, size_of(ctx->user));
    return s->count ? 0 : weir_fail(ctx, "histogram: no memory for a group");
}

/* How many bounds are below v; without branches that depend on it. */
static inline uint32_t bucket_of(const struct histogram *h, double v)
{
    const double *first = h->bound;
    uint32_t n = h->n;
    while (n > 1) {
        uint32_t half = n / 2;
        first = first[half - 1] < v ? first + half : first;
        n -= half;
    }
    return (uint32_t)(first - h->bound) + (*first < v);
}

static int update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct weir_rows r = *rows;
    const struct weir_column *c = r.in[0];
    uint64_t nans = 0;
    for (size_t i = 0; i < r.n; i++) {
        struct state *s = (struct state *)(void *)(r.states + r.group[i] * r.stride);
        if (weir_is_null(c, r.row[i]))
            continue;
        double v = weir_number(c, r.row[i]);
        if (v != v) {
            nans++;
            continue;
        }
        if (!s->count && need_counts(ctx, s))
            return -1;
        s->count[bucket_of(ctx->user, v)]++;
    }
    if (nans)
        ctx->host->skip(ctx, NAN_VALUE, nans);
    return 0;
}

static int merge_one(struct weir_ctx *ctx, struct state *into, const struct state *from,
                     const struct weir_window *window)
{
    const struct histogram *h = ctx->user;
    (void)window;
    if (!from->count)
        return 0;
    int err = need_counts(ctx, into);
    for (uint32_t k = 0; !err && k <= h->n; k++)
        into->count[k] += from->count[k];
    return err;
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    const struct histogram *h = ctx->user;
    int err = 0;
    (void)window;
    for (uint32_t k = 0; !err && s->count && k <= h->n; k++) {
        if (k > 0)
            weir_put_float(ctx, out, LOWER, h->bound[k - 1]);
        if (k < h->n)
            weir_put_float(ctx, out, UPPER, h->bound[k]);
        weir_put_int(ctx, out, COUNT, (int64_t)s->count[k]);
        err = ctx->host->row(ctx, out);
    }
    return err;
}

WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)

static void drop(struct weir_ctx *ctx, void *state)
{
    ctx->host->free(ctx, ((struct state *)state)->count);
}

/* The counts, or nothing. */
static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    const struct state *s = state;
    return s->count ? ctx->host->write(ctx, out, s->count, size_of(ctx->user)) : 0;
}

static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes,
                size_t size)
{
    struct state *s = state;
    (void)version; /* there has been one */
    if (size == 0)
        return 0;
    if (size != size_of(ctx->user))
        return weir_fail(ctx, "histogram: the saved state is damaged");
    int err = need_counts(ctx, s);
    if (!err)
        memcpy(s->count, bytes, size);
    return err;
}

/* ---- */

static int set_bounds(struct weir_ctx *ctx, struct histogram *h)
{
    const struct config *c = ctx->config;
    h->n = c->bounds.n ? (uint32_t)c->bounds.n : (uint32_t)c->count;
    for (uint32_t i = 0; i < h->n; i++) {
        h->bound[i] = c->bounds.n ? c->bounds.value[i] : c->start * pow(c->factor, i);
        if (!isfinite(h->bound[i]))
            return weir_fail(ctx, "bound %u, %g * %g^%u, is no finite number", i + 1,
                             c->start, c->factor, i);
        if (i && h->bound[i] <= h->bound[i - 1])
            return weir_fail(ctx, "bounds have to rise: %g is not above %g",
                             h->bound[i], h->bound[i - 1]);
    }
    return 0;
}

static int open_histogram(struct weir_ctx *ctx)
{
    struct histogram *h = ctx->host->alloc(ctx, sizeof(*h));
    if (!h)
        return weir_fail(ctx, "histogram: out of memory");
    ctx->user = h;
    return set_bounds(ctx, h);
}

static void close_histogram(struct weir_ctx *ctx)
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
    {.name = "bounds",
     .type = WEIR_PARAM_NUMBERS,
     .offset = offsetof(struct config, bounds),
     .help = "the bounds, rising; if not given, they grow by a factor"},
    {.name = "start",
     .type = WEIR_PARAM_FLOAT,
     .offset = offsetof(struct config, start),
     .init = "1",
     .help = "the first bound of those that grow",
     .min = 1e-300,
     .max = 1e300},
    {.name = "factor",
     .type = WEIR_PARAM_FLOAT,
     .offset = offsetof(struct config, factor),
     .init = "2",
     .help = "what each is multiplied by for the next",
     .min = 1.001,
     .max = 1e6},
    {.name = "count",
     .type = WEIR_PARAM_INT,
     .offset = offsetof(struct config, count),
     .init = "20",
     .help = "how many there are",
     .min = 1,
     .max = BOUNDS_MAX},
    {.name = NULL},
};

static const struct weir_output outputs[] = {
    {"{of}_lower", WEIR_FLOAT, "values are above it; null: none is too small", NULL},
    {"{of}_upper", WEIR_FLOAT, "and not above it; null: none is too large", NULL},
    {"{of}_count", WEIR_INT, "how many values", NULL},
    {.name = NULL},
};

static const struct weir_analyzer histogram = {
    .name = "histogram",
    .version = "1.0",
    .help = "How many values lie between bounds, listed or exponential",
    .flags = WEIR_MANY_ROWS,
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .reasons = "nan",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 1,
    .open = open_histogram,
    .close = close_histogram,
    .drop = drop,
    .update = update,
    .merge = merge,
    .emit = emit,
    .save = save,
    .load = load,
};
WEIR_PLUGIN(histogram);
