/* SPDX-License-Identifier: Apache-2.0
 *
 * A sum over a sliding window: rows go out of the state as they came in.
 * Asks for: retract, with the same rows as update, the first first. Ints, so that nothing is left behind.
 */
#include "weir/plugin.h"

struct config {
    const char *of;
};

struct state {
    int64_t rows;
    uint64_t sum; /* modulo 2^64 */
};

static inline void step(struct state *s, const struct weir_rows *r, uint32_t row)
{
    s->rows++;
    s->sum += (uint64_t)weir_int(r->in[0], row); /* 0 where null */
}

static inline void step_back(struct state *s, const struct weir_rows *r, uint32_t row)
{
    s->rows--;
    s->sum -= (uint64_t)weir_int(r->in[0], row);
}

static int merge_one(struct weir_ctx *ctx, struct state *into, const struct state *from,
                     const struct weir_window *w)
{
    (void)ctx, (void)w;
    into->rows += from->rows;
    into->sum += from->sum;
    return 0;
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *w, struct weir_out *out)
{
    (void)w;
    return s->rows ? weir_put_int(ctx, out, 0, (int64_t)s->sum) : 0;
}

WEIR_STEP(update, struct state, step)
WEIR_STEP(retract, struct state, step_back)
WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)

static const struct weir_param params[] = {
    {.name = "of",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, of),
     .help = "the column",
     .column_types = WEIR_TYPES(WEIR_INT)},
    {.name = NULL},
};

static const struct weir_output outputs[] = {
    {"{of}_sum", WEIR_INT, "sum", NULL},
    {.name = NULL},
};

static const struct weir_analyzer sliding = {
    .name = "sliding",
    .version = "1.0",
    .help = "Sum over a sliding window",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .update = update,
    .retract = retract,
    .merge = merge,
    .emit = emit,
};
WEIR_PLUGIN(sliding);
