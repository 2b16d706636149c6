/* SPDX-License-Identifier: Apache-2.0
 *
 * vwap: the volume-weighted average price, sum(price * volume) / sum(volume).
 *
 * Both sums carry the rounding error of every addition in a second double: TwoSum (Knuth, TAOCP 2,
 * 4.2.2, theorem B). What is left is the rounding of the products. A group that gets a product or volume
 * near the ends of a double's range keeps an exponent beside each sum from then on.
 */
#include "weir/plugin.h"

#include <math.h>
#include <string.h>

struct config {
    const char *price, *volume;
};

enum input { PRICE, VOLUME };

/* What is done to the sum of the products and that of the volumes is the same: both at once. */
typedef double pair __attribute__((vector_size(16), aligned(8)));
enum sum { TURNOVER, VOLUMES };

struct state {
    pair high, low;      /* each sum is (high + low) * 2^exponent */
    int32_t exponent[2]; /* plus BIAS; 0 until the state is scaled: then it is 0 */
};
_Static_assert(sizeof(struct state) == 40, "the manual page says 40");

#define BIAS (1 << 20)

static int is_scaled(const struct state *s)
{
    return s->exponent[TURNOVER] != 0;
}

static int64_t exponent_of(const struct state *s, enum sum i)
{
    return s->exponent[i] ? s->exponent[i] - BIAS : 0;
}

/* Terms from TERM_MIN to below TERM_MAX are added as they are: no sum of 2^63 of them overflows. */
#define TERM_BITS 900
#define TERM_MAX  0x1p900
#define TERM_MIN  0x1p-900

#define RATIO_BITS 500 /* of two such nothing overflows or loses digits */

/* From 2^-limit to below 2^limit, either sign. By the exponent, which is quicker than two comparisons; NaN is not. */
static inline int in_range(double v, uint64_t limit)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    return (bits << 1) - ((1023 - limit) << 53) < 2 * limit << 53;
}

static inline void add_both(struct state *s, double term, double volume)
{
    pair v = {term, volume}, sum = s->high + v, part = sum - s->high;
    s->low += (s->high - (sum - part)) + (v - part);
    s->high = sum;
}

static void add(struct state *s, enum sum i, double v)
{
    double sum = s->high[i] + v, part = sum - s->high[i];
    s->low[i] += (s->high[i] - (sum - part)) + (v - part);
    s->high[i] = sum;
}

/* ldexp, for exponents that may be far out of an int's range. */
static double shift(double v, int64_t exponent)
{
    return ldexp(v, exponent > 9999 ? 9999 : exponent < -9999 ? -9999 : (int)exponent);
}

static void begin_scaled(struct state *s)
{
    if (!is_scaled(s))
        s->exponent[TURNOVER] = s->exponent[VOLUMES] = BIAS;
}

/* Adds m * 2^exponent. What is 2^900 times as large as all before it sets the exponent. */
static void add_scaled(struct state *s, enum sum i, double m, int64_t exponent)
{
    int64_t was = exponent_of(s, i);
    if (m == 0)
        return;
    if ((s->high[i] == 0 && s->low[i] == 0) || exponent > was + 900) {
        s->high[i] = shift(s->high[i], was - exponent);
        s->low[i] = shift(s->low[i], was - exponent);
        s->exponent[i] = (int32_t)exponent + BIAS;
    }
    add(s, i, shift(m, exponent - exponent_of(s, i)));
}

static __attribute__((noinline, cold)) void step_scaled(struct state *s, double price,
                                                        double volume)
{
    double term = price * volume;
    if (isnan(price) || isnan(volume))
        return;
    int small = fabs(term) < TERM_MIN && fabs(volume) <= TERM_MAX;
    if (!is_scaled(s) && small &&
        (price == 0 || volume == 0 || fabs(s->high[TURNOVER]) >= TERM_MIN)) {
        add_both(s, term, volume);
        return;
    }
    int p, v;
    double price_part = frexp(price, &p), volume_part = frexp(volume, &v);
    begin_scaled(s);
    add_scaled(s, TURNOVER, price_part * volume_part, (int64_t)p + v);
    add_scaled(s, VOLUMES, volume_part, v);
}

/* The types of the columns. */
enum work { FLOAT_PRICE = 1, FLOAT_VOLUME = 2, NULLABLE = 4, WORKS = 8 };

static inline double number(const void *values, uint32_t row, int is_float)
{
    return is_float ? ((const double *)values)[row]
                    : (double)((const int64_t *)values)[row];
}

/* `work` is a constant wherever this is inlined. */
static inline __attribute__((always_inline)) void fold(const struct weir_rows *rows,
                                                       enum work work)
{
    const struct weir_rows r = *rows;
    const void *prices = r.in[PRICE]->values, *volumes = r.in[VOLUME]->values;
    for (size_t i = 0; i < r.n; i++) {
        uint32_t row = r.row[i];
        if (work & NULLABLE &&
            (weir_is_null(r.in[PRICE], row) || weir_is_null(r.in[VOLUME], row)))
            continue;
        struct state *s = (struct state *)(void *)(r.states + r.group[i] * r.stride);
        double price = number(prices, row, work & FLOAT_PRICE),
               volume = number(volumes, row, work & FLOAT_VOLUME),
               term = price * volume;
        if (__builtin_expect(is_scaled(s) || !in_range(term, TERM_BITS) ||
                                 !in_range(volume, TERM_BITS),
                             0))
            step_scaled(s, price, volume);
        else
            add_both(s, term, volume);
    }
}

#define FOLD(n)                                                                        \
    static void fold_##n(const struct weir_rows *r)                                    \
    {                                                                                  \
        fold(r, (enum work)(n));                                                       \
    }
#define ALL_WORKS(x) x(0) x(1) x(2) x(3) x(4) x(5) x(6) x(7)
#define NAME(n)      fold_##n,

ALL_WORKS(FOLD)

static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    static void (*const folds[WORKS])(const struct weir_rows *) = {ALL_WORKS(NAME)};
    unsigned work = 0;
    (void)ctx;
    if (r->in[PRICE]->type == WEIR_FLOAT)
        work |= FLOAT_PRICE;
    if (r->in[VOLUME]->type == WEIR_FLOAT)
        work |= FLOAT_VOLUME;
    if (r->in[PRICE]->validity || r->in[VOLUME]->validity)
        work |= NULLABLE;
    folds[work](r);
    return 0;
}

static void add_sum(struct state *a, const struct state *b, enum sum i)
{
    int high, low;
    double high_part = frexp(b->high[i], &high), low_part = frexp(b->low[i], &low);
    add_scaled(a, i, high_part, exponent_of(b, i) + high);
    add_scaled(a, i, low_part, exponent_of(b, i) + low);
}

static int merge_one(struct weir_ctx *ctx, struct state *a, const struct state *b,
                     const struct weir_window *window)
{
    (void)ctx;
    (void)window;
    if (is_scaled(a) || is_scaled(b)) {
        begin_scaled(a);
        add_sum(a, b, TURNOVER);
        add_sum(a, b, VOLUMES);
        return 0;
    }
    add_both(a, b->high[TURNOVER], b->high[VOLUMES]);
    a->low += b->low;
    return 0;
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    (void)window;
    int t, v;
    pair sum = s->high + s->low;
    if (!is_scaled(s) && in_range(sum[TURNOVER], RATIO_BITS) &&
        in_range(sum[VOLUMES], RATIO_BITS))
        return weir_put_float(ctx, out, 0, sum[TURNOVER] / sum[VOLUMES]);
    double volume = frexp(sum[VOLUMES], &v), turnover = frexp(sum[TURNOVER], &t);
    double vwap = shift(turnover / volume,
                        t - v + exponent_of(s, TURNOVER) - exponent_of(s, VOLUMES));
    return volume != 0 && isfinite(vwap) ? weir_put_float(ctx, out, 0, vwap) : 0;
}

WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)

static const struct weir_param params[] = {
    {.name = "price",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, price),
     .help = "price of one unit",
     .column_types = WEIR_NUMBERS},
    {.name = "volume",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, volume),
     .help = "number of units",
     .column_types = WEIR_NUMBERS},
    {.name = NULL},
};

static const struct weir_output outputs[] = {
    {.name = "vwap",
     .type = WEIR_FLOAT,
     .help = "average price by volume; null without volume"},
    {.name = NULL},
};

static const struct weir_analyzer vwap = {
    .name = "vwap",
    .version = "1.1",
    .help = "Volume-weighted average price",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 2,
    .update = update,
    .merge = merge,
    .emit = emit,
};
WEIR_PLUGIN(vwap);
