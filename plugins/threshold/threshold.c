/* SPDX-License-Identifier: Apache-2.0
 *
 * threshold: whether a value is beyond a limit, with hysteresis, and for how long: ok, pending, firing, as alerts
 * of Prometheus. A value beyond the limit begins an episode, one that is back by `hysteresis` ends it, values in
 * between change nothing. An episode fires once it is `for` long.
 *
 *               beyond            `for` has passed
 *        ok ------------> pending ----------------> firing
 *         ^---- back --------'----------- back --------'
 *
 * What came before the first row of a run that is not in between is not known there. So a run keeps that row, and
 * the episode that it begins, apart from those behind it.
 */
#include "../common/declare.h"

enum side { BETWEEN, BACK, BEYOND };

struct episode {
    int64_t began_us, ended_us; /* STILL: it goes on; began 0, ended 0: there is none */
};
#define STILL INT64_MAX

struct sum {
    uint32_t first; /* enum side of the first row that is not BETWEEN */
    uint32_t fired; /* episodes between `lead` and `open` that did */
    int64_t firing_us;
    struct episode lead; /* BEYOND: of the first row; BACK: began_us is its time */
    int64_t open_us;     /* since when another one goes on; STILL: none does */
};

#include "../common/ordered.h"

struct config {
    const char *of, *for_;
    double limit, hysteresis;
    int when; /* enum when */
};

enum when { ABOVE, BELOW };

/* One in each context. */
struct threshold {
    int64_t for_us;
};

static enum side side_of(const struct config *c, double v)
{
    double over = c->when == ABOVE ? v - c->limit : c->limit - v;
    return over > 0 ? BEYOND : over <= -c->hysteresis ? BACK : BETWEEN;
}

static void sum_of(const struct weir_ctx *ctx, struct sum *sum, const struct point *p)
{
    sum->first = side_of(ctx->config, p->value);
    sum->fired = 0;
    sum->firing_us = 0;
    sum->lead = (struct episode){0, 0};
    if (sum->first != BETWEEN)
        sum->lead = (struct episode){p->at.time_us, STILL};
    sum->open_us = STILL;
}

static void count(const struct weir_ctx *ctx, struct sum *s, int64_t began_us,
                  int64_t ended_us)
{
    const struct threshold *t = ctx->user;
    int64_t firing_us = ended_us - began_us - t->for_us;
    if (firing_us < 0)
        return;
    s->fired++;
    s->firing_us += firing_us;
}

/* The right part's lead episode goes on or begins what is open at the end of the left one. */
static void join_beyond(const struct weir_ctx *ctx, struct sum *left,
                        const struct episode *lead)
{
    if (left->first == BEYOND && left->lead.ended_us == STILL) {
        left->lead.ended_us = lead->ended_us;
        return;
    }
    int64_t began_us = left->open_us != STILL ? left->open_us : lead->began_us;
    left->open_us = STILL;
    if (lead->ended_us == STILL)
        left->open_us = began_us;
    else
        count(ctx, left, began_us, lead->ended_us);
}

static void join_back(const struct weir_ctx *ctx, struct sum *left, int64_t at_us)
{
    if (left->first == BEYOND && left->lead.ended_us == STILL)
        left->lead.ended_us = at_us;
    else if (left->open_us != STILL)
        count(ctx, left, left->open_us, at_us);
    left->open_us = STILL;
}

static void run_join(const struct weir_ctx *ctx, struct run *left_run,
                     const struct run *right_run)
{
    struct sum *left = &left_run->sum;
    const struct sum *right = &right_run->sum;
    if (right->first == BETWEEN)
        return;
    if (left->first == BETWEEN) {
        *left = *right;
        return;
    }
    if (right->first == BEYOND)
        join_beyond(ctx, left, &right->lead);
    else
        join_back(ctx, left, right->lead.began_us);
    left->fired += right->fired;
    left->firing_us += right->firing_us;
    if (right->open_us != STILL)
        left->open_us = right->open_us;
}

static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    return ordered_numbers(ctx, r, -HUGE_VAL);
}

enum output { STATE, SINCE, FIRED, FIRING };

/* A window that has an end and is over is judged at its end, others at their last event. */
static int emit_one(struct weir_ctx *ctx, const struct ordered *s,
                    const struct weir_window *window, struct weir_out *out)
{
    const struct threshold *t = ctx->user;
    const char *state = "ok";
    struct run all;
    if (!ordered_all(ctx, s, &all))
        return 0;
    struct sum *sum = &all.sum;
    int64_t end_us = all.last.time_us, since_us = sum->open_us;
    if (window->end != INT64_MAX && !(window->flags & WEIR_EARLY))
        end_us = window->end;
    if (sum->first == BEYOND && sum->lead.ended_us == STILL)
        since_us = sum->lead.began_us;
    else if (sum->first == BEYOND)
        count(ctx, sum, sum->lead.began_us, sum->lead.ended_us);
    if (since_us != STILL) {
        state = end_us - since_us >= t->for_us ? "firing" : "pending";
        count(ctx, sum, since_us, end_us);
        weir_put_int(ctx, out, SINCE, since_us);
    }
    weir_put_string(ctx, out, STATE, state, strlen(state));
    weir_put_int(ctx, out, FIRED, (int64_t)sum->fired);
    return weir_put_float(ctx, out, FIRING, (double)sum->firing_us / SECOND_US);
}

WEIR_EMIT(emit, struct ordered, emit_one)

static int open_threshold(struct weir_ctx *ctx)
{
    const struct config *config = ctx->config;
    struct threshold *t = ctx->host->alloc(ctx, sizeof(*t));
    if (!t)
        return weir_fail(ctx, "out of memory");
    ctx->user = t;
    return duration_parse(ctx, "for", config->for_, &t->for_us);
}

static void close_threshold(struct weir_ctx *ctx)
{
    ctx->host->free(ctx, ctx->user);
    ctx->user = NULL;
}

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, of, WEIR_REQUIRED, WEIR_NUMBERS, "the column"),
    PARAM_FLOAT(struct config, limit, WEIR_REQUIRED, NULL, 0, 0,
                "values beyond it are not ok"),
    PARAM_CHOICE(struct config, when, "above", "above below",
                 "which values are beyond the limit"),
    PARAM_FLOAT(struct config, hysteresis, 0, "0", 0, 1e300,
                "how far on the right side of the limit it is ok again"),
    {.name = "for",
     .type = WEIR_PARAM_STRING,
     .offset = offsetof(struct config, for_),
     .init = "0s",
     .help = "how long it has to be beyond to fire"},
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{of}_state", WEIR_STRING, "ok, pending or firing", NULL},
    {"{of}_since", WEIR_TIME, "since when it is beyond; null: ok", NULL},
    {"{of}_fired", WEIR_INT, "how many times it fired", NULL},
    {"{of}_firing", WEIR_FLOAT, "for how long in all, seconds", NULL},
    {.name = NULL},
};

static const struct weir_analyzer threshold = {
    .name = "threshold",
    .version = "1.0",
    .help = "Whether a value is beyond a limit, and for how long: ok, pending, firing",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .reasons = "late not_finite",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct ordered),
    .state_version = 1,
    .open = open_threshold,
    .close = close_threshold,
    .drop = ordered_drop,
    .update = update,
    .merge = ordered_merge,
    .emit = emit,
    .save = ordered_save,
    .load = ordered_load,
};
WEIR_PLUGIN(threshold);
