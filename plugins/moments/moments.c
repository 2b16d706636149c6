/* SPDX-License-Identifier: Apache-2.0
 *
 * moments: mean, variance, skewness and kurtosis of a numeric column.
 *
 * P. Pebay, "Formulas for robust, one-pass parallel computation of covariances and arbitrary-order statistical
 * moments", SAND2008-6212, 2008, sections 2 and 3. Of distances to the first value, so that small deviations far
 * from zero keep their digits, and all sums carry the rounding error of each addition in a second double: A.
 * Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen", ZAMM 54, 1974.
 *
 * The fourth power of a distance must neither overflow nor vanish: distances are multiplied by a power of two that
 * brings the first one near 1, and the largest below 2^180. Such factors change no digit.
 */
#include "../common/declare.h"

#include <math.h>

enum word { COUNT, MEAN, VARIANCE, SKEWNESS, KURTOSIS };

struct config {
    const char *of;
    uint32_t emit; /* bits of enum word */
};

struct total {
    double high, low; /* it is high + low */
};

/* Zero bytes are a state without values. */
struct state {
    int64_t count;
    double first,
        scale; /* a distance is value * scale - first * scale; 0: none but 0 */
    struct total mean, m2, m3, m4; /* of distances, about their mean */
};
_Static_assert(sizeof(struct state) == 88, "the manual page says 88");

enum reason { NOT_FINITE };

#define FAR 0x1p180

static inline void add(struct total *t, double v)
{
    double sum = t->high + v, part = sum - t->high;
    t->low += (t->high - (sum - part)) + (v - part);
    t->high = sum;
}

static inline double value_of(const struct total *t)
{
    return t->high + t->low;
}

static void multiply(struct total *t, double factor)
{
    t->high *= factor;
    t->low *= factor;
}

/* Factors are powers of two; the sums of powers may be too small for one in a step. */
static void rescale(struct state *s, double scale)
{
    double factor = s->scale > 0 ? scale / s->scale : 1;
    struct total *t[] = {&s->mean, &s->m2, &s->m3, &s->m4};
    for (int power = 1; power <= 4; power++)
        for (int i = 0; i < power; i++)
            multiply(t[power - 1], factor);
    s->scale = scale;
}

/* Brings a distance near 1. Half of it does not overflow. */
static double scale_for(double half)
{
    int exponent;
    frexp(half, &exponent);
    return ldexp(1, exponent < -1000 ? 1000 : -exponent - 1);
}

/* Multiplied one by one, no intermediate is lost: scale may be 2^1000. */
static inline double distance(const struct state *s, double v)
{
    double d = v - s->first;
    return isfinite(d) ? d * s->scale : (v / 2 - s->first / 2) * (2 * s->scale);
}

/* The scale is 0 until a value differs from the first, then one that keeps the largest distance below FAR. */
static __attribute__((noinline)) double first_or_far(struct state *s, double v)
{
    double half = v / 2 - s->first / 2;
    if (half == 0)
        half = v - s->first; /* of the smallest numbers nothing is lost */
    if (half == 0)
        return 0;
    rescale(s, scale_for(half));
    return distance(s, v);
}

static inline void add_value(struct state *s, double v)
{
    if (s->count == 0)
        s->first = v;
    double d = distance(s, v);
    if (__builtin_expect(s->scale == 0 || !(fabs(d) < FAR), 0))
        d = first_or_far(s, v);
    double n1 = (double)s->count, n = n1 + 1;
    s->count++;
    double delta = (d - s->mean.high) - s->mean.low, step = delta / n,
           square = step * step, term = delta * step * n1;
    double m2 = value_of(&s->m2), m3 = value_of(&s->m3);
    add(&s->mean, step);
    add(&s->m4, term * square * (n * n - 3 * n + 3));
    add(&s->m4, 6 * square * m2);
    add(&s->m4, -4 * step * m3);
    add(&s->m3, term * step * (n - 2));
    add(&s->m3, -3 * step * m2);
    add(&s->m2, term);
}

static int update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct weir_rows r = *rows;
    const struct weir_column *c = r.in[0];
    uint64_t useless = 0;
    for (size_t i = 0; i < r.n; i++) {
        uint32_t row = r.row[i];
        struct state *s = (struct state *)(void *)(r.states + r.group[i] * r.stride);
        if (weir_is_null(c, row))
            continue;
        double v = weir_number(c, row);
        if (isfinite(v))
            add_value(s, v);
        else
            useless++;
    }
    if (useless)
        ctx->host->skip(ctx, NOT_FINITE, useless);
    return 0;
}

static void add_total(struct total *into, const struct total *from)
{
    add(into, from->high);
    into->low += from->low;
}

/* Section 3 with A the state `a`, B the state `b`, in the same scale. */
static void join(struct state *a, const struct state *b, double between)
{
    double na = (double)a->count, nb = (double)b->count, n = na + nb;
    double delta = between + (value_of(&b->mean) - value_of(&a->mean)),
           step = delta / n;
    double a2 = value_of(&a->m2), a3 = value_of(&a->m3), b2 = value_of(&b->m2),
           b3 = value_of(&b->m3);
    add_total(&a->m4, &b->m4);
    add(&a->m4, delta * step * step * step * na * nb * (na * na - na * nb + nb * nb));
    add(&a->m4, 6 * step * step * (na * na * b2 + nb * nb * a2));
    add(&a->m4, 4 * step * (na * b3 - nb * a3));
    add_total(&a->m3, &b->m3);
    add(&a->m3, delta * step * step * na * nb * (na - nb));
    add(&a->m3, 3 * step * (na * b2 - nb * a2));
    add_total(&a->m2, &b->m2);
    add(&a->m2, delta * step * na * nb);
    add(&a->mean, step * nb);
    a->count += b->count;
}

static int merge_one(struct weir_ctx *ctx, struct state *a, const struct state *from,
                     const struct weir_window *window)
{
    struct state b = *from;
    (void)ctx;
    (void)window;
    if (b.count == 0)
        return 0;
    if (a->count == 0) {
        *a = b;
        return 0;
    }
    double scale = a->scale;
    if (scale == 0 || (b.scale > 0 && b.scale < scale))
        scale = b.scale;
    double half = b.first / 2 - a->first / 2;
    if (half == 0)
        half = b.first - a->first;
    if (half != 0 && (scale == 0 || fabs(half) * scale > FAR / 4))
        scale = scale_for(half);
    if (scale > 0) {
        rescale(a, scale);
        rescale(&b, scale);
    }
    join(a, &b, distance(a, b.first));
    return 0;
}

/* NaN, and so null, where the values do not differ. */
static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    double n = (double)s->count, m2 = value_of(&s->m2), m3 = value_of(&s->m3),
           m4 = value_of(&s->m4);
    (void)window;
    weir_put_int(ctx, out, COUNT, s->count);
    if (s->count == 0)
        return 0;
    double mean = s->scale > 0 ? value_of(&s->mean) / s->scale : 0;
    weir_put_float(ctx, out, MEAN, s->first + mean);
    if (s->count < 2)
        return 0;
    weir_put_float(ctx, out, VARIANCE,
                   s->scale > 0 ? m2 / (n - 1) / s->scale / s->scale : 0);
    if (!(m2 > 0))
        return 0;
    weir_put_float(ctx, out, SKEWNESS, sqrt(n) * m3 / m2 / sqrt(m2));
    return weir_put_float(ctx, out, KURTOSIS, n * (m4 / m2) / m2 - 3);
}

WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, of, WEIR_REQUIRED, WEIR_NUMBERS, "the column"),
    PARAM_SET(struct config, emit, "count, mean, variance, skewness, kurtosis",
              "count mean variance skewness kurtosis", "which of the results to store"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{of}_count", WEIR_INT, "number of values", "count"},
    {"{of}_mean", WEIR_FLOAT, "arithmetic mean", "mean"},
    {"{of}_variance", WEIR_FLOAT, "sample variance (n - 1)", "variance"},
    {"{of}_skewness", WEIR_FLOAT, "skewness: m3 / m2^1.5", "skewness"},
    {"{of}_kurtosis", WEIR_FLOAT, "excess kurtosis: m4 / m2^2 - 3", "kurtosis"},
    {.name = NULL},
};

static const struct weir_analyzer moments = {
    .name = "moments",
    .version = "1.0",
    .help = "Mean, variance, skewness and kurtosis of a column",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .reasons = "not_finite",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 1,
    .update = update,
    .merge = merge,
    .emit = emit,
};
WEIR_PLUGIN(moments);
