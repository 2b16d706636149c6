/* SPDX-License-Identifier: Apache-2.0
 *
 * volatility: of a price within a window, by two estimators. Realised: the root of the sum of squares of the
 * logarithmic returns from each event to the next by time: T. G. Andersen, T. Bollerslev, F. X. Diebold,
 * P. Labys, "Modeling and forecasting realized volatility", Econometrica 71, 2003, section 2. By range: M.
 * Parkinson, "The extreme value method for estimating the variance of the rate of return", Journal of Business
 * 53, 1980, formula (9): ln(high / low) / sqrt(4 ln 2).
 */
#include "../common/declare.h"

struct sum {
    double first, last, high, low;
    double squares; /* of the returns */
    int64_t n;      /* returns */
};

#include "../common/ordered.h"

#include <float.h>

struct config {
    const char *price;
};

static void sum_of(const struct weir_ctx *ctx, struct sum *sum, const struct point *p)
{
    (void)ctx;
    *sum = (struct sum){p->value, p->value, p->value, p->value, 0, 0};
}

static void run_join(const struct weir_ctx *ctx, struct run *left_run,
                     const struct run *right_run)
{
    struct sum *left = &left_run->sum;
    const struct sum *right = &right_run->sum;
    (void)ctx;
    /* Small returns keep their digits: ln(1 + x). */
    double part = (right->first - left->last) / left->last;
    double step = part < 1 ? log1p(part) : log(right->first) - log(left->last);
    left->squares += step * step + right->squares;
    left->n += right->n + 1;
    left->high = right->high > left->high ? right->high : left->high;
    left->low = right->low < left->low ? right->low : left->low;
    left->last = right->last;
}

static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    return ordered_numbers(ctx, r, DBL_TRUE_MIN);
}

enum output { REALISED, PARKINSON, RETURNS };

static int emit_one(struct weir_ctx *ctx, const struct ordered *s,
                    const struct weir_window *window, struct weir_out *out)
{
    struct run all;
    (void)window;
    if (!ordered_all(ctx, s, &all))
        return 0;
    weir_put_int(ctx, out, RETURNS, all.sum.n);
    if (all.sum.n == 0)
        return 0;
    double part = (all.sum.high - all.sum.low) / all.sum.low;
    double range = part < 1 ? log1p(part) : log(all.sum.high) - log(all.sum.low);
    weir_put_float(ctx, out, REALISED, sqrt(all.sum.squares));
    return weir_put_float(ctx, out, PARKINSON, range / sqrt(4 * log(2)));
}

WEIR_EMIT(emit, struct ordered, emit_one)

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, price, WEIR_REQUIRED, WEIR_NUMBERS,
                 "the price, above 0"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{price}_volatility", WEIR_FLOAT,
     "realised volatility of the window, not annualised", NULL},
    {"{price}_parkinson", WEIR_FLOAT, "the same by Parkinson's range", NULL},
    {"{price}_returns", WEIR_INT, "number of steps from one price to the next", NULL},
    {.name = NULL},
};

static const struct weir_analyzer volatility = {
    .name = "volatility",
    .version = "1.0",
    .help = "Volatility of a price: realised, and by Parkinson's range",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .reasons = "late not_positive",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct ordered),
    .state_version = 1,
    .drop = ordered_drop,
    .update = update,
    .merge = ordered_merge,
    .emit = emit,
    .save = ordered_save,
    .load = ordered_load,
};
WEIR_PLUGIN(volatility);
