/* SPDX-License-Identifier: Apache-2.0
 *
 * ewma: mean of a column in which a value that is older by `half_life` than the newest event counts half as much.
 *
 * Weights decay with time, not with the number of rows, so the order of rows does not matter: a state keeps both
 * sums as of its newest time. G. Cormode, V. Shkapenyuk, D. Srivastava, B. Xu, "Forward decay: a practical time
 * decay model for streaming systems", ICDE 2009, section III (exponential decay).
 */
#include "../common/declare.h"

#include <math.h>

struct config {
    const char *of, *half_life;
};

/* One in each context. */
struct decay {
    double per_us; /* of the exponent of 2 */
};

/* Zero bytes are a state without rows. */
struct state {
    int64_t time_us; /* the newest */
    double weight, total;
};
_Static_assert(sizeof(struct state) == 24, "the manual page says 24");

enum reason { NOT_FINITE };

/* Adds what has this weight and total at time_us. */
static inline void add(const struct decay *d, struct state *s, int64_t time_us,
                       double weight, double total)
{
    if (s->weight > 0 && time_us != s->time_us) {
        double by = exp2((double)(time_us < s->time_us ? time_us - s->time_us
                                                       : s->time_us - time_us) *
                         d->per_us);
        if (time_us < s->time_us) {
            weight *= by;
            total *= by;
            time_us = s->time_us;
        } else {
            s->weight *= by;
            s->total *= by;
        }
    }
    s->time_us = time_us;
    s->weight += weight;
    s->total += total;
}

static int update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct weir_rows r = *rows;
    uint64_t useless = 0;
    for (size_t i = 0; i < r.n; i++) {
        uint32_t row = r.row[i];
        struct state *s = (struct state *)(void *)(r.states + r.group[i] * r.stride);
        if (weir_is_null(r.in[0], row))
            continue;
        double v = weir_number(r.in[0], row);
        if (isfinite(v))
            add(ctx->user, s, r.time[row], 1, v);
        else
            useless++;
    }
    if (useless)
        ctx->host->skip(ctx, NOT_FINITE, useless);
    return 0;
}

static int merge_one(struct weir_ctx *ctx, struct state *into, const struct state *from,
                     const struct weir_window *window)
{
    (void)window;
    if (from->weight > 0)
        add(ctx->user, into, from->time_us, from->weight, from->total);
    return 0;
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    (void)window;
    return s->weight > 0 ? weir_put_float(ctx, out, 0, s->total / s->weight) : 0;
}

WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)

static int open_ewma(struct weir_ctx *ctx)
{
    const struct config *config = ctx->config;
    int64_t us = 0;
    if (duration_parse(ctx, "half_life", config->half_life, &us))
        return -1;
    if (us == 0)
        return weir_fail(ctx, "half_life has to be longer than 0s");
    struct decay *d = ctx->host->alloc(ctx, sizeof(*d));
    if (!d)
        return weir_fail(ctx, "out of memory");
    d->per_us = 1 / (double)us;
    ctx->user = d;
    return 0;
}

static void close_ewma(struct weir_ctx *ctx)
{
    ctx->host->free(ctx, ctx->user);
    ctx->user = NULL;
}

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, of, WEIR_REQUIRED, WEIR_NUMBERS, "the column"),
    PARAM_STRING(struct config, half_life, 0, "1m",
                 "a value so much older than the newest event counts half"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{of}_ewma", WEIR_FLOAT, "mean, exponentially weighted by age", NULL},
    {.name = NULL},
};

static const struct weir_analyzer ewma = {
    .name = "ewma",
    .version = "1.0",
    .help = "Mean of a column, exponentially weighted by age",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .reasons = "not_finite",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 1,
    .open = open_ewma,
    .close = close_ewma,
    .update = update,
    .merge = merge,
    .emit = emit,
};
WEIR_PLUGIN(ewma);
