/* SPDX-License-Identifier: Apache-2.0
 *
 * count: the number of rows, or of rows in which a column is not null.
 */
#include "weir/plugin.h"

struct config {
    const char *of;
};

struct state {
    int64_t rows;
};

static inline void step_all(struct state *s, const struct weir_rows *r, uint32_t row)
{
    (void)r;
    (void)row;
    s->rows++;
}

static inline void step_of(struct state *s, const struct weir_rows *r, uint32_t row)
{
    s->rows += !weir_is_null(r->in[0], row);
}

static inline void unstep_all(struct state *s, const struct weir_rows *r, uint32_t row)
{
    (void)r;
    (void)row;
    s->rows--;
}

static inline void unstep_of(struct state *s, const struct weir_rows *r, uint32_t row)
{
    s->rows -= !weir_is_null(r->in[0], row);
}

WEIR_STEP(update_all, struct state, step_all)
WEIR_STEP(update_of, struct state, step_of)
WEIR_STEP(retract_all, struct state, unstep_all)
WEIR_STEP(retract_of, struct state, unstep_of)

static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    return r->in[0] && r->in[0]->validity ? update_of(ctx, r) : update_all(ctx, r);
}

static int retract(struct weir_ctx *ctx, const struct weir_rows *r)
{
    return r->in[0] && r->in[0]->validity ? retract_of(ctx, r) : retract_all(ctx, r);
}

static int merge_one(struct weir_ctx *ctx, struct state *into, const struct state *from,
                     const struct weir_window *window)
{
    (void)ctx;
    (void)window;
    into->rows += from->rows;
    return 0;
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    (void)window;
    return weir_put_int(ctx, out, 0, s->rows);
}

WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)

static const struct weir_param params[] = {
    {.name = "of",
     .type = WEIR_PARAM_COLUMN,
     .offset = offsetof(struct config, of),
     .help = "count only rows in which this column is not null",
     .column_types = WEIR_NUMBERS | WEIR_TYPES(WEIR_BOOL) | WEIR_TYPES(WEIR_STRING) |
                     WEIR_TYPES(WEIR_TIME)},
    {.name = NULL},
};

static const struct weir_output outputs[] = {
    {.name = "{of}_count", .type = WEIR_INT, .help = "number of rows"},
    {.name = NULL},
};

static const struct weir_analyzer count = {
    .name = "count",
    .version = "1.0",
    .help = "Number of rows, or of those in which a column is not null",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 1,
    .update = update,
    .retract = retract,
    .merge = merge,
    .emit = emit,
};
WEIR_PLUGIN(count);
