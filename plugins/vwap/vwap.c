/* SPDX-License-Identifier: Apache-2.0
 *
 * vwap: the volume-weighted average price, sum(price * volume) / sum(volume).
 *
 * Both sums carry the rounding error of every addition in a second double: TwoSum (Knuth, TAOCP 2,
 * 4.2.2, theorem B). What is left is the rounding of the products.
 */
#include "weir/plugin.h"

#include <math.h>

struct config {
    const char *price, *volume;
};

enum input { PRICE, VOLUME };

struct sum {
    double high, low;
};

struct state {
    struct sum turnover, volume;
};

static inline void add(struct sum *s, double v)
{
    double sum = s->high + v, part = sum - s->high;
    s->low += (s->high - (sum - part)) + (v - part);
    s->high = sum;
}

static inline void step(struct state *s, const struct weir_rows *r, uint32_t row)
{
    if (weir_is_null(r->in[PRICE], row) || weir_is_null(r->in[VOLUME], row))
        return;
    double price = weir_number(r->in[PRICE], row),
           volume = weir_number(r->in[VOLUME], row);
    if (isnan(price) || isnan(volume))
        return;
    add(&s->turnover, price * volume);
    add(&s->volume, volume);
}

WEIR_STEP(update, struct state, step)

static int merge(struct weir_ctx *ctx, void *into, const void *from)
{
    struct state *a = into;
    const struct state *b = from;
    (void)ctx;
    add(&a->turnover, b->turnover.high);
    a->turnover.low += b->turnover.low;
    add(&a->volume, b->volume.high);
    a->volume.low += b->volume.low;
    return 0;
}

static int emit(struct weir_ctx *ctx, const void *state, struct weir_cell *cells,
                struct weir_out *out)
{
    const struct state *s = state;
    (void)ctx;
    (void)out;
    double volume = s->volume.high + s->volume.low;
    double vwap = (s->turnover.high + s->turnover.low) / volume;
    if (volume != 0 && isfinite(vwap))
        weir_put_float(&cells[0], vwap);
    return 0;
}

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
    .version = "1.0",
    .help = "Volume-weighted average price",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .update = update,
    .merge = merge,
    .emit = emit,
};
WEIR_PLUGIN(vwap);
