/* SPDX-License-Identifier: Apache-2.0
 *
 * sample: k values of a column, chosen by chance, each set of k rows with the same probability, as a reservoir does (J.
 * S. Vitter, "Random sampling with a reservoir", ACM TOMS 11, 1985). Chance is a hash of the row's place in the log, so
 * that a replay chooses the same, and states can be merged: kept.h.
 */
#include "../common/declare.h"
#include "../common/kept.h"

struct config {
    const char *of;
    int64_t k;
};

enum output { VALUE, TIME, OF };

static uint32_t limit_of(const struct weir_ctx *ctx)
{
    return (uint32_t)((const struct config *)ctx->config)->k;
}

KEPT_FUNCTIONS(limit_of(ctx), ctx->types[0] == WEIR_STRING)

static int update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct weir_rows r = *rows;
    const uint32_t limit = limit_of(ctx);
    for (size_t i = 0; i < r.n; i++) {
        uint32_t row = r.row[i];
        uint64_t sequence = weir_sequence(&r, row);
        struct item item = {hash_number(sequence), r.time[row], sequence, {0}};
        if (weir_is_null(r.in[0], row))
            continue;
        if (kept_row(ctx, (struct kept *)(void *)(r.states + r.group[i] * r.stride),
                     limit, &item, r.in[0], row))
            return -1;
    }
    return 0;
}

static int by_time(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->time_us != y->time_us)
        return x->time_us < y->time_us ? -1 : 1;
    return (x->sequence > y->sequence) - (x->sequence < y->sequence);
}

static int emit_one(struct weir_ctx *ctx, const struct kept *s,
                    const struct weir_window *window, struct weir_out *out)
{
    int err = 0;
    (void)window;
    if (s->n == 0)
        return 0;
    uint32_t n;
    struct item *list = kept_least(ctx, s, limit_of(ctx), by_time, &n);
    if (!list)
        return -1;
    for (uint32_t i = 0; !err && i < n; i++) {
        item_put(ctx, out, VALUE, ctx->types[0], &list[i]);
        weir_put_int(ctx, out, TIME, list[i].time_us);
        weir_put_int(ctx, out, OF, (int64_t)s->seen);
        err = ctx->host->row(ctx, out);
    }
    ctx->host->free(ctx, list);
    return err;
}

WEIR_EMIT(emit, struct kept, emit_one)

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, of, WEIR_REQUIRED, ANY_TYPE,
                 "the column; rows in which it is null do not count"),
    PARAM_INT(struct config, k, "10", 1, 10000, "how many values"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{of}", WEIR_SAME_AS(0), "the value", NULL},
    {"{of}_time", WEIR_TIME, "time of its event", NULL},
    {"{of}_of", WEIR_INT, "of how many it was chosen", NULL},
    {.name = NULL},
};

static const struct weir_analyzer sample = {
    .name = "sample",
    .version = "1.0",
    .help = "Values of a column chosen by chance, the same in every replay",
    .flags = WEIR_MANY_ROWS,
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct kept),
    .state_version = 1,
    .drop = drop,
    .update = update,
    .merge = merge,
    .emit = emit,
    .save = save,
    .load = load,
};
WEIR_PLUGIN(sample);
