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

/* (high + low) * 2^exponent */
struct sum {
    double high, low;
    int64_t exponent; /* 0 until the state is scaled */
};

struct state {
    struct sum turnover, volume;
    int64_t scaled;
};

/* Terms from TERM_MIN to below TERM_MAX are added as they are: no sum of 2^63 of them overflows. */
#define TERM_BITS 900
#define TERM_MAX  0x1p900
#define TERM_MIN  0x1p-900

/* By the exponent, which is quicker than two comparisons; NaN is not. */
static inline int in_range(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    return (bits >> 52 & 0x7ff) - (1023 - TERM_BITS) < 2 * TERM_BITS;
}

static inline void add(struct sum *s, double v)
{
    double sum = s->high + v, part = sum - s->high;
    s->low += (s->high - (sum - part)) + (v - part);
    s->high = sum;
}

/* ldexp, for exponents that may be far out of an int's range. */
static double shift(double v, int64_t exponent)
{
    return ldexp(v, exponent > 9999 ? 9999 : exponent < -9999 ? -9999 : (int)exponent);
}

/* Adds m * 2^exponent. What is 2^900 times as large as all before it sets the exponent. */
static void add_scaled(struct sum *s, double m, int64_t exponent)
{
    if (m == 0)
        return;
    if ((s->high == 0 && s->low == 0) || exponent > s->exponent + 900) {
        s->high = shift(s->high, s->exponent - exponent);
        s->low = shift(s->low, s->exponent - exponent);
        s->exponent = exponent;
    }
    add(s, shift(m, exponent - s->exponent));
}

static __attribute__((noinline, cold)) void step_scaled(struct state *s, double price,
                                                        double volume)
{
    double term = price * volume;
    if (isnan(price) || isnan(volume))
        return;
    int small = fabs(term) < TERM_MIN && fabs(volume) <= TERM_MAX;
    if (!s->scaled && small &&
        (price == 0 || volume == 0 || fabs(s->turnover.high) >= TERM_MIN)) {
        add(&s->turnover, term);
        add(&s->volume, volume);
        return;
    }
    int p, v;
    double price_part = frexp(price, &p), volume_part = frexp(volume, &v);
    s->scaled = 1;
    add_scaled(&s->turnover, price_part * volume_part, (int64_t)p + v);
    add_scaled(&s->volume, volume_part, v);
}

static inline void step(struct state *s, const struct weir_rows *r, uint32_t row)
{
    if (weir_is_null(r->in[PRICE], row) || weir_is_null(r->in[VOLUME], row))
        return;
    double price = weir_number(r->in[PRICE], row),
           volume = weir_number(r->in[VOLUME], row), term = price * volume;
    if (__builtin_expect(s->scaled || !in_range(term) || !in_range(volume), 0)) {
        step_scaled(s, price, volume);
        return;
    }
    add(&s->turnover, term);
    add(&s->volume, volume);
}

WEIR_STEP(update, struct state, step)

static void add_sum(struct sum *a, const struct sum *b)
{
    int high, low;
    double high_part = frexp(b->high, &high), low_part = frexp(b->low, &low);
    add_scaled(a, high_part, b->exponent + high);
    add_scaled(a, low_part, b->exponent + low);
}

static int merge_one(struct weir_ctx *ctx, struct state *a, const struct state *b,
                     const struct weir_window *window)
{
    (void)ctx;
    (void)window;
    if (a->scaled || b->scaled) {
        a->scaled = 1;
        add_sum(&a->turnover, &b->turnover);
        add_sum(&a->volume, &b->volume);
        return 0;
    }
    add(&a->turnover, b->turnover.high);
    a->turnover.low += b->turnover.low;
    add(&a->volume, b->volume.high);
    a->volume.low += b->volume.low;
    return 0;
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    (void)window;
    int t, v;
    double volume = frexp(s->volume.high + s->volume.low, &v);
    double turnover = frexp(s->turnover.high + s->turnover.low, &t);
    double vwap =
        shift(turnover / volume, t - v + s->turnover.exponent - s->volume.exponent);
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
    .state_version = 1,
    .update = update,
    .merge = merge,
    .emit = emit,
};
WEIR_PLUGIN(vwap);
