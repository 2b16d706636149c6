/* SPDX-License-Identifier: Apache-2.0
 *
 * The mean of a value weighted by how long it held: all that the analyzers time_weighted and twap have in common.
 * The area under the values by time, divided by the time; a value holds until the next one (last observation
 * carried forward), or goes to it in a straight line (trapezoids).
 */
#ifndef WEIR_TIME_WEIGHTED_AREA_H
#define WEIR_TIME_WEIGHTED_AREA_H

#include "../common/declare.h"

/* In value times seconds. */
struct sum {
    double first, last, area;
};

#include "../common/ordered.h"

enum method { HOLD, LINEAR };
enum until { WINDOW, EVENT };

struct area_config {
    const char *column;
    int method, until; /* enum method, enum until */
};

static void sum_of(const struct weir_ctx *ctx, struct sum *sum, const struct point *p)
{
    (void)ctx;
    *sum = (struct sum){p->value, p->value, 0};
}

static void run_join(const struct weir_ctx *ctx, struct run *left,
                     const struct run *right)
{
    const struct area_config *config = ctx->config;
    double seconds = (double)(right->first.time_us - left->last.time_us) / SECOND_US;
    double value = config->method == HOLD ? left->sum.last
                                          : left->sum.last / 2 + right->sum.first / 2;
    left->sum.area += value * seconds + right->sum.area;
    left->sum.last = right->sum.last;
}

static int area_update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    return ordered_numbers(ctx, r, -HUGE_VAL);
}

/* The last value holds until the end of a window that has one and is over. */
static int area_emit_one(struct weir_ctx *ctx, const struct ordered *s,
                         const struct weir_window *window, struct weir_out *out)
{
    const struct area_config *config = ctx->config;
    struct run all;
    if (!ordered_all(ctx, s, &all))
        return 0;
    int64_t end_us = all.last.time_us;
    if (config->until == WINDOW && !(window->flags & WEIR_EARLY) &&
        window->end != INT64_MAX && window->end > end_us)
        end_us = window->end;
    double seconds = (double)(end_us - all.first.time_us) / SECOND_US;
    double area =
        all.sum.area + all.sum.last * ((double)(end_us - all.last.time_us) / SECOND_US);
    return weir_put_float(ctx, out, 0, seconds > 0 ? area / seconds : all.sum.last);
}

WEIR_EMIT(area_emit, struct ordered, area_emit_one)

#define AREA_CHOICES                                                                   \
    PARAM_CHOICE(struct area_config, method, "hold", "hold linear",                    \
                 "between two events: the earlier value, or a straight line"),         \
        PARAM_CHOICE(struct area_config, until, "window", "window event",              \
                     "the last value counts until the end of the window, or not")

#endif
