/* SPDX-License-Identifier: Apache-2.0
 *
 * imbalance: volume bought and sold, and their difference as a part of both: (buy - sell) / (buy + sell), the order
 * imbalance of T. Chordia, R. Roll, A. Subrahmanyam, "Order imbalance, liquidity, and market returns", Journal of
 * Financial Economics 65, 2002. The side of a row is a word, or a bool that is true for those bought; without one it is the
 * sign of the volume.
 *
 * Sums carry the rounding error of every addition in a second double: A. Neumaier, "Rundungsfehleranalyse einiger
 * Verfahren zur Summation endlicher Summen", ZAMM 54, 1974.
 */
#include "../common/declare.h"

#include <math.h>

struct config {
    const char *volume, *side, *buy, *sell;
};

struct total {
    double high, low; /* it is high + low */
};

/* Zero bytes are a state without rows. */
struct state {
    struct total volume[2]; /* enum side */
    int64_t n;
};
_Static_assert(sizeof(struct state) == 40, "the manual page says 40");

enum side { BUY, SELL, NEITHER };
enum reason { NOT_FINITE, UNKNOWN_SIDE };
enum output { BOUGHT, SOLD, IMBALANCE };

static inline void add(struct total *t, double v)
{
    double sum = t->high + v, part = sum - t->high;
    t->low += (t->high - (sum - part)) + (v - part);
    t->high = sum;
}

static int is_word(const char *word, const char *text, size_t size)
{
    return strlen(word) == size && memcmp(word, text, size) == 0;
}

static enum side side_of(const struct config *config, const struct weir_column *c,
                         uint32_t row, double volume)
{
    size_t size;
    if (!c)
        return volume < 0 ? SELL : BUY;
    if (c->type == WEIR_BOOL)
        return weir_bool(c, row) ? BUY : SELL;
    const char *text = weir_string(c, row, &size);
    return is_word(config->buy, text, size)    ? BUY
           : is_word(config->sell, text, size) ? SELL
                                               : NEITHER;
}

static int update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct config *config = ctx->config;
    const struct weir_rows r = *rows;
    uint64_t useless = 0, unknown = 0;
    for (size_t i = 0; i < r.n; i++) {
        uint32_t row = r.row[i];
        struct state *s = (struct state *)(void *)(r.states + r.group[i] * r.stride);
        if (weir_is_null(r.in[0], row) || (r.in[1] && weir_is_null(r.in[1], row)))
            continue;
        double volume = weir_number(r.in[0], row);
        enum side side = side_of(config, r.in[1], row, volume);
        if (!isfinite(volume)) {
            useless++;
        } else if (side == NEITHER) {
            unknown++;
        } else {
            add(&s->volume[side], fabs(volume));
            s->n++;
        }
    }
    if (useless)
        ctx->host->skip(ctx, NOT_FINITE, useless);
    if (unknown)
        ctx->host->skip(ctx, UNKNOWN_SIDE, unknown);
    return 0;
}

static int merge_one(struct weir_ctx *ctx, struct state *into, const struct state *from,
                     const struct weir_window *window)
{
    (void)ctx;
    (void)window;
    for (int side = BUY; side <= SELL; side++) {
        add(&into->volume[side], from->volume[side].high);
        into->volume[side].low += from->volume[side].low;
    }
    into->n += from->n;
    return 0;
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    double bought = s->volume[BUY].high + s->volume[BUY].low;
    double sold = s->volume[SELL].high + s->volume[SELL].low;
    (void)window;
    if (s->n == 0)
        return 0;
    weir_put_float(ctx, out, BOUGHT, bought);
    weir_put_float(ctx, out, SOLD, sold);
    if (bought + sold > 0)
        weir_put_float(ctx, out, IMBALANCE, (bought - sold) / (bought + sold));
    return 0;
}

WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, volume, WEIR_REQUIRED, WEIR_NUMBERS,
                 "the volume; without a side, below 0 where it was sold"),
    PARAM_COLUMN(struct config, side, 0,
                 WEIR_TYPES(WEIR_STRING) | WEIR_TYPES(WEIR_BOOL),
                 "which side took the initiative: a word, or true for buy"),
    PARAM_STRING(struct config, buy, 0, "buy", "the word for buy"),
    PARAM_STRING(struct config, sell, 0, "sell", "the word for sell"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{volume}_bought", WEIR_FLOAT, "volume bought", NULL},
    {"{volume}_sold", WEIR_FLOAT, "volume sold", NULL},
    {"{volume}_imbalance", WEIR_FLOAT, "their difference by their sum: -1 to 1", NULL},
    {.name = NULL},
};

static const struct weir_analyzer imbalance = {
    .name = "imbalance",
    .version = "1.0",
    .help = "Volume bought and sold, and which of both prevails",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .reasons = "not_finite unknown_side",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 1,
    .update = update,
    .merge = merge,
    .emit = emit,
};
WEIR_PLUGIN(imbalance);
