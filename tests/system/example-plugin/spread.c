/* SPDX-License-Identifier: Apache-2.0
 *
 * spread: what it costs to trade at once. Of quotes with a bid and an ask price: the mean and the largest
 * spread, the mean spread in basis points of the mid price, and how many quotes were crossed (the bid above
 * the ask), which are left out of the rest.
 */
#include <weir/plugin.h>

/* What the configuration says; the server fills it in. */
struct config {
    const char *bid, *ask;
};

enum { BID, ASK }; /* inputs, in the order of the parameters */
enum { SPREAD_MEAN, SPREAD_MAX, SPREAD_BPS, CROSSED }; /* outputs */

/* What is remembered of a group, one symbol in one window. It begins as zeros. */
struct state {
    int64_t quotes, crossed;
    double spread, spread_max, spread_bps; /* sums and the largest */
};

/* Folds one row in. */
static inline void step(struct state *s, const struct weir_rows *r, uint32_t row)
{
    if (weir_is_null(r->in[BID], row) || weir_is_null(r->in[ASK], row))
        return;
    double bid = weir_number(r->in[BID], row), ask = weir_number(r->in[ASK], row);
    double spread = ask - bid, mid = (bid + ask) / 2;
    if (spread < 0 || mid <= 0) {
        s->crossed++;
        return;
    }
    s->quotes++;
    s->spread += spread;
    s->spread_bps += 1e4 * spread / mid;
    s->spread_max = spread > s->spread_max ? spread : s->spread_max;
}

WEIR_STEP(update, struct state, step)

/* Two parts of the same window become one, in any order. */
static int merge_one(struct weir_ctx *ctx, struct state *a, const struct state *b,
                     const struct weir_window *window)
{
    (void)ctx, (void)window;
    a->quotes += b->quotes;
    a->crossed += b->crossed;
    a->spread += b->spread;
    a->spread_bps += b->spread_bps;
    a->spread_max = b->spread_max > a->spread_max ? b->spread_max : a->spread_max;
    return 0;
}

WEIR_MERGE(merge, struct state, merge_one)

/* The window closes: the result. What is not put is null. */
static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    (void)window;
    weir_put_int(ctx, out, CROSSED, s->crossed);
    if (s->quotes == 0)
        return 0;
    weir_put_float(ctx, out, SPREAD_MEAN, s->spread / (double)s->quotes);
    weir_put_float(ctx, out, SPREAD_MAX, s->spread_max);
    weir_put_float(ctx, out, SPREAD_BPS, s->spread_bps / (double)s->quotes);
    return 0;
}

WEIR_EMIT(emit, struct state, emit_one)

static const struct weir_param params[] = {
    {.name = "bid",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, bid),
     .help = "highest price that somebody pays",
     .column_types = WEIR_NUMBERS},
    {.name = "ask",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, ask),
     .help = "lowest price that somebody takes",
     .column_types = WEIR_NUMBERS},
    {.name = NULL},
};

static const struct weir_output outputs[] = {
    {"spread_mean", WEIR_FLOAT, "mean spread, in the unit of the price", NULL},
    {"spread_max", WEIR_FLOAT, "largest spread, in the unit of the price", NULL},
    {"spread_bps", WEIR_FLOAT,
     "mean spread, in hundredths of a percent of the mid price", NULL},
    {"crossed", WEIR_INT, "quotes with the bid above the ask, or without a price",
     NULL},
    {.name = NULL},
};

static const struct weir_analyzer spread = {
    .name = "spread",
    .version = "1.0",
    .help = "Bid-ask spread of quotes",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .update = update,
    .merge = merge,
    .emit = emit,
};
WEIR_PLUGIN(spread);
