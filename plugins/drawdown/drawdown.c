/* SPDX-License-Identifier: Apache-2.0
 *
 * drawdown: the largest loss from a peak to a later trough, as a part of the peak, and where both are. M. Magdon-
 * Ismail, A. F. Atiya, "Maximum drawdown", Risk 17 (10), 2004. Of two parts in a row it is the largest of either
 * and of that from the first one's highest to the second one's lowest.
 */
#include "../common/declare.h"

struct extreme {
    double value;
    int64_t time_us;
};

struct sum {
    struct extreme high, low; /* the first of those that are equal */
    struct extreme peak, trough;
    double loss; /* of peak to trough; 0: there is none yet */
};

#include "../common/ordered.h"

#include <float.h>

struct config {
    const char *of;
};

static void sum_of(const struct weir_ctx *ctx, struct sum *sum, const struct point *p)
{
    const struct extreme here = {p->value, p->at.time_us};
    (void)ctx;
    *sum = (struct sum){here, here, here, here, 0};
}

static void add(struct sum *sum, double loss, const struct extreme *peak,
                const struct extreme *trough)
{
    if (loss <= sum->loss)
        return;
    sum->loss = loss;
    sum->peak = *peak;
    sum->trough = *trough;
}

static void run_join(const struct weir_ctx *ctx, struct run *left_run,
                     const struct run *right_run)
{
    struct sum *left = &left_run->sum;
    const struct sum *right = &right_run->sum;
    (void)ctx;
    add(left, (left->high.value - right->low.value) / left->high.value, &left->high,
        &right->low);
    add(left, right->loss, &right->peak, &right->trough);
    if (right->high.value > left->high.value)
        left->high = right->high;
    if (right->low.value < left->low.value)
        left->low = right->low;
}

static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    return ordered_numbers(ctx, r, DBL_TRUE_MIN);
}

enum output { DRAWDOWN, PEAK, PEAK_TIME, TROUGH, TROUGH_TIME };

static int emit_one(struct weir_ctx *ctx, const struct ordered *s,
                    const struct weir_window *window, struct weir_out *out)
{
    struct run all;
    (void)window;
    if (!ordered_all(ctx, s, &all))
        return 0;
    weir_put_float(ctx, out, DRAWDOWN, all.sum.loss);
    if (all.sum.loss == 0)
        return 0;
    weir_put_float(ctx, out, PEAK, all.sum.peak.value);
    weir_put_int(ctx, out, PEAK_TIME, all.sum.peak.time_us);
    weir_put_float(ctx, out, TROUGH, all.sum.trough.value);
    return weir_put_int(ctx, out, TROUGH_TIME, all.sum.trough.time_us);
}

WEIR_EMIT(emit, struct ordered, emit_one)

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, of, WEIR_REQUIRED, WEIR_NUMBERS,
                 "the price or balance, above 0"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{of}_drawdown", WEIR_FLOAT, "largest loss, a part of its peak: 0 to 1", NULL},
    {"{of}_peak", WEIR_FLOAT, "where it began", NULL},
    {"{of}_peak_time", WEIR_TIME, "when", NULL},
    {"{of}_trough", WEIR_FLOAT, "where it ended", NULL},
    {"{of}_trough_time", WEIR_TIME, "when", NULL},
    {.name = NULL},
};

static const struct weir_analyzer drawdown = {
    .name = "drawdown",
    .version = "1.0",
    .help = "The largest loss from a peak to a later trough",
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
WEIR_PLUGIN(drawdown);
