/* SPDX-License-Identifier: Apache-2.0
 *
 * mode: the most frequent value of a column, of those that are equally frequent the least. Counting is in counted.h;
 * exact while no more than `capacity` different values come.
 */
#include "counted.h"

struct config {
    const char *of;
    int64_t capacity;
};

enum output { MODE, COUNT, ERROR };

static int emit_one(struct weir_ctx *ctx, const struct summary *s,
                    const struct weir_window *window, struct weir_out *out)
{
    const struct summary_entry *first = NULL;
    (void)window;
    for (uint32_t i = 0; i < s->n; i++) {
        const struct summary_entry *e = &s->entry[i];
        if (!first || counted_order_of(ctx)(&e, &first) < 0)
            first = e;
    }
    if (!first)
        return 0;
    counted_put(ctx, out, MODE, first);
    weir_put_int(ctx, out, COUNT, (int64_t)first->count);
    return weir_put_int(ctx, out, ERROR, (int64_t)first->error);
}

WEIR_EMIT(emit, struct summary, emit_one)

static int open_mode(struct weir_ctx *ctx)
{
    const struct config *config = ctx->config;
    return counted_open(ctx, (uint32_t)config->capacity, 1);
}

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, of, WEIR_REQUIRED, COUNTED_TYPES,
                 "the column whose values are counted"),
    PARAM_INT(struct config, capacity, "1000", 1, SUMMARY_CAPACITY,
              "how many values to count; exact if no more come"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{of}_mode", WEIR_SAME_AS(0), "the most frequent value", NULL},
    {"{of}_mode_count", WEIR_INT, "how often it came, at most", NULL},
    {"{of}_mode_error", WEIR_INT, "how much less it may be; 0: the count is exact",
     NULL},
    {.name = NULL},
};

static const struct weir_analyzer mode = {
    .name = "mode",
    .version = "1.0",
    .help = "The most frequent value of a column",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct summary),
    .state_version = 1,
    .open = open_mode,
    .close = counted_close,
    .drop = counted_drop,
    .update = counted_update,
    .merge = counted_merge,
    .emit = emit,
    .save = counted_save,
    .load = counted_load,
};
WEIR_PLUGIN(mode);
