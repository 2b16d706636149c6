/* SPDX-License-Identifier: Apache-2.0
 *
 * rate: how much a counter has grown, and how fast. A value below the one before it is a counter that began
 * again at 0, so that it has grown by that value since: as `increase` and `rate` of Prometheus, without their
 * extrapolation to the ends of the window.
 */
#include "../common/declare.h"

/* What it has grown by is last - first + lost. */
struct sum {
    double first, last,
        lost; /* lost: what stood there before the counter began again */
    uint64_t resets;
};

#include "../common/ordered.h"

struct config {
    const char *of;
};

static void sum_of(const struct weir_ctx *ctx, struct sum *sum, const struct point *p)
{
    (void)ctx;
    *sum = (struct sum){p->value, p->value, 0, 0};
}

static void run_join(const struct weir_ctx *ctx, struct run *left,
                     const struct run *right)
{
    (void)ctx;
    if (right->sum.first < left->sum.last) {
        left->sum.lost += left->sum.last;
        left->sum.resets++;
    }
    left->sum.lost += right->sum.lost;
    left->sum.resets += right->sum.resets;
    left->sum.last = right->sum.last;
}

static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    return ordered_numbers(ctx, r, 0);
}

enum output { INCREASE, RATE, RESETS };

static int emit_one(struct weir_ctx *ctx, const struct ordered *s,
                    const struct weir_window *window, struct weir_out *out)
{
    struct run all;
    (void)window;
    if (!ordered_all(ctx, s, &all))
        return 0;
    double seconds = (double)(all.last.time_us - all.first.time_us) / SECOND_US;
    double increase = (all.sum.last - all.sum.first) + all.sum.lost;
    weir_put_int(ctx, out, RESETS, (int64_t)all.sum.resets);
    if (seconds > 0) {
        weir_put_float(ctx, out, INCREASE, increase);
        weir_put_float(ctx, out, RATE, increase / seconds);
    }
    return 0;
}

WEIR_EMIT(emit, struct ordered, emit_one)

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, of, WEIR_REQUIRED, WEIR_NUMBERS,
                 "the counter: it only grows, or begins again at 0"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{of}_increase", WEIR_FLOAT, "how much it has grown", NULL},
    {"{of}_rate", WEIR_FLOAT, "how much a second, from first to last event", NULL},
    {"{of}_resets", WEIR_INT, "how often it began again", NULL},
    {.name = NULL},
};

static const struct weir_analyzer rate = {
    .name = "rate",
    .version = "1.0",
    .help = "How much a counter has grown, and how fast, over its resets",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .reasons = "late not_a_count",
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
WEIR_PLUGIN(rate);
