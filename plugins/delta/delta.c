/* SPDX-License-Identifier: Apache-2.0
 *
 * delta: by how much a value differs between the first and the last event by time, and how much that is a second.
 * Of events with the same time the place in the log decides, so that merging may come in any order.
 */
#include "../common/declare.h"

#include <math.h>

struct config {
    const char *of;
};

struct edge {
    int64_t time_us;
    uint64_t sequence; /* 0: there is none */
    double value;
};

/* Zero bytes are a state without rows. */
struct state {
    struct edge first, last;
};
_Static_assert(sizeof(struct state) == 48, "the manual page says 48");

enum reason { NOT_FINITE };
enum output { DELTA, RATE };

static inline int is_before(const struct edge *a, const struct edge *b)
{
    return a->time_us != b->time_us ? a->time_us < b->time_us
                                    : a->sequence < b->sequence;
}

static inline void add(struct state *s, const struct edge *first,
                       const struct edge *last)
{
    if (!s->first.sequence || is_before(first, &s->first))
        s->first = *first;
    if (!s->last.sequence || is_before(&s->last, last))
        s->last = *last;
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
        const struct edge e = {r.time[row], weir_sequence(&r, row),
                               weir_number(r.in[0], row)};
        if (isfinite(e.value))
            add(s, &e, &e);
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
    (void)ctx;
    (void)window;
    if (from->first.sequence)
        add(into, &from->first, &from->last);
    return 0;
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    double seconds = (double)(s->last.time_us - s->first.time_us) / SECOND_US;
    double delta = s->last.value - s->first.value;
    (void)window;
    if (!s->first.sequence)
        return 0;
    weir_put_float(ctx, out, DELTA, delta);
    if (seconds > 0)
        weir_put_float(ctx, out, RATE, delta / seconds);
    return 0;
}

WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, of, WEIR_REQUIRED, WEIR_NUMBERS, "the column"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{of}_delta", WEIR_FLOAT, "last value less the first", NULL},
    {"{of}_delta_rate", WEIR_FLOAT, "the same a second", NULL},
    {.name = NULL},
};

static const struct weir_analyzer delta = {
    .name = "delta",
    .version = "1.0",
    .help = "Last value of a column less the first, by time, and how much a second",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .reasons = "not_finite",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 1,
    .update = update,
    .merge = merge,
    .emit = emit,
};
WEIR_PLUGIN(delta);
