/* @: the largest values of a column, a row each. */
#include <weir/plugin.h>

#define K_MAX 100

/* What the configuration says; the server fills it in. */
struct config {
    const char *of;
    int64_t k;
};

/* What is remembered of a group, one key in one window. It begins as zeros. */
struct state {
    int64_t n;
    double value[K_MAX]; /* the largest first */
};

static void insert(struct state *s, double v)
{
    int64_t at = s->n < K_MAX ? s->n++ : K_MAX;
    for (; at > 0 && v > s->value[at - 1]; at--)
        if (at < K_MAX)
            s->value[at] = s->value[at - 1];
    if (at < K_MAX)
        s->value[at] = v;
}

/* Folds one row in. NaN has no place in an order. */
static inline void step(struct state *s, const struct weir_rows *r, uint32_t row)
{
    if (weir_is_null(r->in[0], row))
        return;
    double v = weir_number(r->in[0], row);
    if (v == v)
        insert(s, v);
}

WEIR_STEP(update, struct state, step)

/* Two parts of a window become one, in any order. */
static int merge_one(struct weir_ctx *ctx, struct state *a, const struct state *b,
                     const struct weir_window *window)
{
    (void)ctx;
    (void)window;
    for (int64_t i = 0; i < b->n; i++)
        insert(a, b->value[i]);
    return 0;
}

WEIR_MERGE(merge, struct state, merge_one)

/* A result is due: cells, then `row` behind those of each row. */
static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    const struct config *c = ctx->config;
    (void)window;
    for (int64_t i = 0; i < s->n && i < c->k; i++) {
        weir_put_float(ctx, out, 0, s->value[i]);
        if (ctx->host->row(ctx, out))
            return -1;
    }
    return 0;
}

WEIR_EMIT(emit, struct state, emit_one)

static const struct weir_param params[] = {
    {.name = "of",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, of),
     .help = "the column",
     .column_types = WEIR_NUMBERS},
    {.name = "k",
     .type = WEIR_PARAM_INT,
     .offset = offsetof(struct config, k),
     .init = "3",
     .help = "how many",
     .min = 1,
     .max = K_MAX},
    {.name = NULL},
};

static const struct weir_output outputs[] = {
    {.name = "{of}", .type = WEIR_FLOAT, .help = "value"},
    {.name = NULL},
};

static const struct weir_analyzer analyzer = {
    .name = "@",
    .version = "0.1",
    .help = "The largest values of a column",
    .flags = WEIR_MANY_ROWS,
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
