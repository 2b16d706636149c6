/* SPDX-License-Identifier: Apache-2.0
 *
 * stats: count, sum, min, max, mean, standard deviation and variance of a numeric column.
 *
 * Sums of ints are exact (128 bits). Sums of floats carry the rounding error of every addition in a
 * second double: TwoSum (Knuth, TAOCP 2, 4.2.2, theorem B), added up as in A. Neumaier, "Rundungs-
 * fehleranalyse einiger Verfahren zur Summation endlicher Summen", ZAMM 54, 1974. The standard
 * deviation: B. P. Welford, "Note on a method for calculating corrected sums of squares and products",
 * Technometrics 4, 1962; merged as in T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a
 * pairwise algorithm for computing sample variances", 1979.
 *
 * No finite values overflow or vanish on the way to a result that a double can hold: a float sum that leaves
 * the range goes on divided by 2^64, and distances are multiplied by a power of two that brings the first of
 * them near 1. Such factors change no digit.
 */
#include "weir/plugin.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum word { COUNT, SUM, MIN, MAX, MEAN, STDDEV, VARIANCE };

struct config {
    const char *of;
    uint32_t emit; /* bits of enum word */
};

/* Kept as far as `emit` asks for it; the count always. Zero bytes are the state of no rows. The extremes are kept as keys (below) so that this holds for
 * them too: 0 is the neutral element of both. */
struct state {
    union {
        __int128 exact;
        struct {
            double high, low; /* the sum is high + low; or, when high is not finite, */
        } f;                  /* (wide + low) * WIDE */
    } sum;
    int64_t count;
    uint64_t max_key;
    uint64_t min_key; /* the largest ~key */
    double wide;
    /* Welford's. Of the distances to the first value: a small deviation far from zero
     * keeps its digits. All times scale, a power of two. */
    double first, mean, m2, scale;
};
_Static_assert(sizeof(struct state) <= 80, "the manual page says 80");

#define WIDE      0x1p64
#define SCALE_MIN 0x1p-1024 /* brings any distance of two doubles below 2 */
#define SCALE_MAX 0x1p1000

#define TOP_BIT ((uint64_t)1 << 63)

/* Unsigned keys in the order of the values. */
static inline uint64_t int_key(int64_t v)
{
    return (uint64_t)v ^ TOP_BIT;
}

static inline int64_t key_int(uint64_t key)
{
    return (int64_t)(key ^ TOP_BIT);
}

/* IEEE 754 doubles without NaN order as sign and magnitude; negative ones are turned round. */
static inline uint64_t float_key(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    return bits ^ ((0 - (bits >> 63)) | TOP_BIT);
}

static inline double key_float(uint64_t key)
{
    uint64_t bits = key & TOP_BIT ? key ^ TOP_BIT : ~key;
    double v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

/* ---- Folding rows in ---- */

static inline void add_key(struct state *s, uint64_t key)
{
    s->max_key = key > s->max_key ? key : s->max_key;
    s->min_key = ~key > s->min_key ? ~key : s->min_key;
}

/* 0: v is NaN, the sum overflows, or is wide already. Each makes the low part NaN. */
static inline int two_sum(double *high, double *low, double v)
{
    double sum = *high + v, part = sum - *high;
    double rest = *low + ((*high - (sum - part)) + (v - part));
    if (__builtin_expect(rest != rest, 0))
        return 0;
    *low = rest;
    *high = sum;
    return 1;
}

/* Of 2^63 values the sum fits. Only infinite ones can still spoil it, and then they are the sum. */
static __attribute__((noinline, cold)) int add_wide(struct state *s, double v)
{
    if (v != v)
        return 0;
    if (isfinite(s->sum.f.high)) {
        s->wide = s->sum.f.high / WIDE;
        s->sum.f.low /= WIDE;
        s->sum.f.high = INFINITY;
    }
    if (!two_sum(&s->wide, &s->sum.f.low, v / WIDE))
        s->wide += v;
    return 1;
}

/* 0: v is NaN, and nothing has changed. */
static inline int add_float(struct state *s, double v)
{
    return two_sum(&s->sum.f.high, &s->sum.f.low, v) || add_wide(s, v);
}

/* Near 1 the first value, so that no distance to another vanishes: it is 2^-53 at least. */
static void begin_deviation(struct state *s, double v)
{
    int exponent;
    frexp(v, &exponent);
    s->scale = v == 0 || exponent < -1000 ? SCALE_MAX : ldexp(1, -exponent);
    s->first = v * s->scale;
}

static void rescale(struct state *s, double scale)
{
    double factor = scale / s->scale;
    s->first *= factor;
    s->mean *= factor;
    s->m2 = s->m2 * factor * factor;
    s->scale = scale;
}

static double next_scale(double scale)
{
    return fmax(scale * 0x1p-600, SCALE_MIN);
}

static inline int step_deviation(struct state *s, double v)
{
    double distance = v * s->scale - s->first, delta = distance - s->mean;
    double mean = s->mean + delta / (double)s->count;
    double m2 = s->m2 + delta * (distance - mean);
    if (__builtin_expect(!(m2 <= DBL_MAX), 0))
        return 0;
    s->mean = mean;
    s->m2 = m2;
    return 1;
}

/* A distance far beyond all before it. */
static __attribute__((noinline, cold)) void step_rescaled(struct state *s, double v)
{
    do {
        if (s->scale <= SCALE_MIN) { /* an infinite value */
            s->m2 = NAN;
            return;
        }
        rescale(s, next_scale(s->scale));
    } while (!step_deviation(s, v));
}

static inline void add_deviation(struct state *s, double v)
{
    if (__builtin_expect(s->count == 1, 0))
        begin_deviation(s, v);
    else if (!step_deviation(s, v))
        step_rescaled(s, v);
}

/* What a fold has to do: the type of the column, and what `emit` asks for. */
enum work {
    FLOATS = 1,
    NULLABLE = 2,
    SUMS = 4,
    EXTREMES = 8,
    DEVIATION = 16,
    WORKS = 32
};

/* `work` is a constant wherever this is inlined, so that each loop does only its own work. Returns how many
 * rows are NaN. */
static inline __attribute__((always_inline)) uint64_t fold(const struct weir_rows *rows,
                                                           enum work work)
{
    uint64_t nans = 0;
    const struct weir_rows r = *rows;
    const struct weir_column *c = r.in[0];
    const double *number = c->values;
    const int64_t *whole = c->values;
    const uint8_t *validity = c->validity;
    for (size_t i = 0; i < r.n; i++) {
        uint32_t row = r.row[i];
        if (work & NULLABLE && !(validity[row >> 3] >> (row & 7) & 1))
            continue;
        struct state *s = (struct state *)(void *)(r.states + r.group[i] * r.stride);
        if (work & FLOATS) {
            double v = number[row];
            if (work & SUMS ? !add_float(s, v) : v != v) {
                nans++; /* no number, like null */
                continue;
            }
            if (work & EXTREMES)
                add_key(s, float_key(v));
        } else {
            if (work & SUMS)
                s->sum.exact += whole[row];
            if (work & EXTREMES)
                add_key(s, int_key(whole[row]));
        }
        s->count++;
        if (work & DEVIATION)
            add_deviation(s, work & FLOATS ? number[row] : (double)whole[row]);
    }
    return nans;
}

#define FOLD(n)                                                                        \
    static uint64_t fold_##n(const struct weir_rows *r)                                \
    {                                                                                  \
        return fold(r, (enum work)(n));                                                \
    }
#define ALL_WORKS(x)                                                                   \
    x(0) x(1) x(2) x(3) x(4) x(5) x(6) x(7) x(8) x(9) x(10) x(11) x(12) x(13) x(14)    \
        x(15) x(16) x(17) x(18) x(19) x(20) x(21) x(22) x(23) x(24) x(25) x(26) x(27)  \
            x(28) x(29) x(30) x(31)
#define NAME(n) fold_##n,

ALL_WORKS(FOLD)

static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    static uint64_t (*const folds[WORKS])(const struct weir_rows *) = {ALL_WORKS(NAME)};
    const struct config *config = ctx->config;
    unsigned work = 0;
    if (r->in[0]->type == WEIR_FLOAT)
        work |= FLOATS;
    if (r->in[0]->validity)
        work |= NULLABLE;
    if (config->emit & (1u << SUM | 1u << MEAN))
        work |= SUMS;
    if (config->emit & (1u << MIN | 1u << MAX))
        work |= EXTREMES;
    if (config->emit & (1u << STDDEV | 1u << VARIANCE))
        work |= DEVIATION;
    uint64_t nans = folds[work](r);
    if (nans)
        ctx->host->skip(ctx, 0, nans);
    return 0;
}

static void merge_deviation(struct state *a, const struct state *from)
{
    struct state b = *from;
    double n = (double)(a->count + b.count), scale, delta, m2;
    if (a->count == 0) {
        a->first = b.first;
        a->scale = b.scale;
    }
    for (scale = fmin(a->scale, b.scale);; scale = next_scale(scale)) {
        rescale(a, scale);
        rescale(&b, scale);
        delta = (b.first - a->first) + (b.mean - a->mean);
        m2 = a->m2 + b.m2 + delta * delta * ((double)a->count / n * (double)b.count);
        if (m2 <= DBL_MAX || scale <= SCALE_MIN)
            break;
    }
    a->m2 = m2;
    a->mean += delta * ((double)b.count / n);
}

static void merge_floats(struct state *a, const struct state *b)
{
    if (isfinite(b->sum.f.high)) {
        add_float(a, b->sum.f.high);
        a->sum.f.low += isfinite(a->sum.f.high) ? b->sum.f.low : b->sum.f.low / WIDE;
        return;
    }
    if (isfinite(a->sum.f.high))
        add_wide(a, 0);
    if (!two_sum(&a->wide, &a->sum.f.low, b->wide))
        a->wide += b->wide;
    a->sum.f.low += b->sum.f.low;
}

static int merge_one(struct weir_ctx *ctx, struct state *a, const struct state *b,
                     const struct weir_window *window)
{
    (void)window;
    if (b->count == 0)
        return 0;
    merge_deviation(a, b);
    a->count += b->count;
    a->max_key = b->max_key > a->max_key ? b->max_key : a->max_key;
    a->min_key = b->min_key > a->min_key ? b->min_key : a->min_key;
    if (ctx->types[0] == WEIR_FLOAT)
        merge_floats(a, b);
    else
        a->sum.exact += b->sum.exact;
    return 0;
}

WEIR_MERGE(merge, struct state, merge_one)

/* ---- Results ---- */

static double float_sum(const struct state *s, double divisor)
{
    if (isfinite(s->sum.f.high))
        return (s->sum.f.high + s->sum.f.low) / divisor;
    return isfinite(s->wide) ? (s->wide + s->sum.f.low) / divisor * WIDE : s->wide;
}

/* Rounded once where the sum fits a double; else whole part and rest apart. */
static double int_mean(const struct state *s)
{
    const __int128 limit = (__int128)1 << 53;
    if (s->sum.exact >= -limit && s->sum.exact <= limit)
        return (double)s->sum.exact / (double)s->count;
    return (double)(s->sum.exact / s->count) +
           (double)(s->sum.exact % s->count) / (double)s->count;
}

static void emit_floats(struct weir_ctx *ctx, const struct state *s, uint32_t emit,
                        struct weir_out *out)
{
    if (emit & 1u << SUM)
        weir_put_float(ctx, out, SUM, float_sum(s, 1));
    if (emit & 1u << MIN)
        weir_put_float(ctx, out, MIN, key_float(~s->min_key));
    if (emit & 1u << MAX)
        weir_put_float(ctx, out, MAX, key_float(s->max_key));
    if (emit & 1u << MEAN)
        weir_put_float(ctx, out, MEAN, float_sum(s, (double)s->count));
}

static void emit_ints(struct weir_ctx *ctx, const struct state *s, uint32_t emit,
                      struct weir_out *out)
{
    if (emit & 1u << SUM && s->sum.exact >= INT64_MIN && s->sum.exact <= INT64_MAX)
        weir_put_int(ctx, out, SUM, (int64_t)s->sum.exact);
    if (emit & 1u << MIN)
        weir_put_int(ctx, out, MIN, key_int(~s->min_key));
    if (emit & 1u << MAX)
        weir_put_int(ctx, out, MAX, key_int(s->max_key));
    if (emit & 1u << MEAN)
        weir_put_float(ctx, out, MEAN, int_mean(s));
}

/* Cells that `emit` does not ask for are no columns, and each call costs. */
static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    const struct config *config = ctx->config;
    (void)window;
    if (config->emit & 1u << COUNT)
        weir_put_int(ctx, out, COUNT, s->count);
    if (s->count == 0)
        return 0;
    if (ctx->types[0] == WEIR_FLOAT)
        emit_floats(ctx, s, config->emit, out);
    else
        emit_ints(ctx, s, config->emit, out);
    if (s->count < 2)
        return 0;
    double variance = s->m2 / (double)(s->count - 1); /* times scale^2 */
    if (config->emit & 1u << STDDEV)
        weir_put_float(ctx, out, STDDEV, sqrt(variance) / s->scale);
    if (config->emit & 1u << VARIANCE)
        weir_put_float(ctx, out, VARIANCE, variance / s->scale / s->scale);
    return 0;
}

WEIR_EMIT(emit, struct state, emit_one)

static const struct weir_param params[] = {
    {.name = "of",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, of),
     .help = "the column",
     .column_types = WEIR_NUMBERS},
    {.name = "emit",
     .type = WEIR_PARAM_SET,
     .offset = offsetof(struct config, emit),
     .init = "count, sum, min, max, mean, stddev",
     .help = "which of the results to store",
     .choices = "count sum min max mean stddev variance"},
    {.name = NULL},
};

static const struct weir_output outputs[] = {
    {"{of}_count", WEIR_INT, "number of values that are not null", "count"},
    {"{of}_sum", WEIR_SAME_AS(0), "sum; null if an int column's does not fit 64 bits",
     "sum"},
    {"{of}_min", WEIR_SAME_AS(0), "smallest value", "min"},
    {"{of}_max", WEIR_SAME_AS(0), "largest value", "max"},
    {"{of}_mean", WEIR_FLOAT, "arithmetic mean", "mean"},
    {"{of}_stddev", WEIR_FLOAT,
     "sample standard deviation (n - 1); null below 2 values", "stddev"},
    {"{of}_variance", WEIR_FLOAT, "its square", "variance"},
    {.name = NULL},
};

static const struct weir_analyzer stats = {
    .name = "stats",
    .version = "1.2",
    .help = "Count, sum, min, max, mean and standard deviation of a column",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .reasons = "nan",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 1,
    .update = update,
    .merge = merge,
    .emit = emit,
};
WEIR_PLUGIN(stats);
