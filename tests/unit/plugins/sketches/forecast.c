/* SPDX-License-Identifier: Apache-2.0
 *
 * A forecast: the line of least squares through the rows of a window, read off at the end of the next one.
 * Asks for: the window's start in init and its end in emit, and to know whether the result is early.
 */
#include "weir/plugin.h"

struct config {
    const char *of;
};

struct state {
    int64_t
        start; /* of the window: times are kept as seconds behind it, so that their squares stay small */
    double n, t, v, tt, tv; /* sums */
};

static int init(struct weir_ctx *ctx, const struct weir_window *w, void *state)
{
    struct state *s = state;
    if (w->start == INT64_MIN)
        return weir_fail(ctx, "a forecast needs windows that begin");
    s->start = w->start;
    return 0;
}

static inline void step(struct state *s, const struct weir_rows *r, uint32_t row)
{
    if (weir_is_null(r->in[0], row))
        return;
    double t = (double)(r->time[row] - s->start) / 1e6, v = weir_number(r->in[0], row);
    s->n++;
    s->t += t;
    s->v += v;
    s->tt += t * t;
    s->tv += t * v;
}

/* A session's start may have become earlier: the sums of `from` are moved to that of `into`. */
static int merge_one(struct weir_ctx *ctx, struct state *a, const struct state *b,
                     const struct weir_window *w)
{
    double d = (double)(b->start - a->start) / 1e6;
    (void)ctx, (void)w;
    a->tt += b->tt + 2 * d * b->t + d * d * b->n;
    a->tv += b->tv + d * b->v;
    a->t += b->t + d * b->n;
    a->v += b->v;
    a->n += b->n;
    return 0;
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *w, struct weir_out *out)
{
    double below = s->n * s->tt - s->t * s->t;
    double at = (double)(2 * w->end - w->start - s->start) / 1e6; /* the next end */
    if (w->flags & WEIR_EARLY || !(below > 0))
        return 0; /* no forecast of a part */
    double slope = (s->n * s->tv - s->t * s->v) / below;
    return weir_put_float(ctx, out, 0, (s->v - slope * s->t) / s->n + slope * at);
}

WEIR_STEP(update, struct state, step)
WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)

static const struct weir_param params[] = {
    {.name = "of",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, of),
     .help = "the column",
     .column_types = WEIR_NUMBERS},
    {.name = NULL},
};

static const struct weir_output outputs[] = {
    {"{of}_next", WEIR_FLOAT, "value expected at the end of the next window", NULL},
    {.name = NULL},
};

static const struct weir_analyzer forecast = {
    .name = "forecast",
    .version = "1.0",
    .help = "Value expected at the end of the next window",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .init = init,
    .update = update,
    .merge = merge,
    .emit = emit,
};
WEIR_PLUGIN(forecast);
