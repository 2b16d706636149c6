/* @: what it gives, in a sentence. */
#include <weir/plugin.h>

/* What the configuration says; the server fills it in. */
struct config {
    const char *of;
};

/* What is remembered of a group, one key in one window. It begins as zeros. */
struct state {
    int64_t rows;
    double total;
};

/* Folds one row in. */
static inline void step(struct state *s, const struct weir_rows *r, uint32_t row)
{
    if (weir_is_null(r->in[0], row))
        return;
    s->rows++;
    s->total += weir_number(r->in[0], row);
}

WEIR_STEP(update, struct state, step)

/* Two parts of a window become one, in any order. */
static int merge_one(struct weir_ctx *ctx, struct state *a, const struct state *b,
                     const struct weir_window *window)
{
    (void)ctx;
    (void)window;
    a->rows += b->rows;
    a->total += b->total;
    return 0;
}

WEIR_MERGE(merge, struct state, merge_one)

/* A result is due. A cell that nothing is put into is null. */
static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    (void)window;
    if (s->rows == 0)
        return 0;
    return weir_put_float(ctx, out, 0, s->total / (double)s->rows);
}

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
    {.name = "{of}_@", .type = WEIR_FLOAT, .help = "mean of the column"},
    {.name = NULL},
};

static const struct weir_analyzer analyzer = {
    .name = "@",
    .version = "0.1",
    .help = "Mean of a column",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .update = update,
    .merge = merge,
    .emit = emit,
};
WEIR_PLUGIN(analyzer);
