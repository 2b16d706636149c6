/* SPDX-License-Identifier: Apache-2.0
 *
 * topk: the most frequent values of a string or int column. Counting is in counted.h, the algorithm in summary.c.
 */
#include "counted.h"

#define FEW              32   /* so many are found without sorting all */
#define CAPACITY_DEFAULT 1000 /* or ten times k, if that is more */

struct config {
    const char *of;
    int64_t k, capacity;
};

enum output { VALUE, COUNT, ERROR };

static int put_entry(struct weir_ctx *ctx, const struct summary_entry *e,
                     struct weir_out *out)
{
    counted_put(ctx, out, VALUE, e);
    weir_put_int(ctx, out, COUNT, (int64_t)e->count);
    weir_put_int(ctx, out, ERROR, (int64_t)e->error);
    return ctx->host->row(ctx, out);
}

/* The first k in order, by insertion: most entries are compared with the last of them only. NULL: no memory. */
static const struct summary_entry **first_of(struct weir_ctx *ctx,
                                             const struct summary *s, uint32_t k)
{
    summary_order *order = counted_order_of(ctx);
    const struct summary_entry **list = ctx->host->alloc(ctx, k * sizeof(*list)), *e;
    uint32_t n = 0;
    if (!list)
        return NULL;
    for (uint32_t i = 0; i < s->n; i++) {
        e = &s->entry[i];
        if (n == k && (e->count < list[k - 1]->count || order(&e, &list[k - 1]) > 0))
            continue;
        uint32_t at = n < k ? n++ : k - 1;
        for (; at > 0 && order(&e, &list[at - 1]) < 0; at--)
            list[at] = list[at - 1];
        list[at] = e;
    }
    return list;
}

static int emit_one(struct weir_ctx *ctx, const struct summary *s,
                    const struct weir_window *window, struct weir_out *out)
{
    const struct counted *t = ctx->user;
    (void)window;
    if (s->n == 0)
        return 0;
    const struct summary_entry **list =
        t->k <= FEW ? first_of(ctx, s, t->k)
                    : summary_sorted(ctx, s, counted_order_of(ctx));
    if (!list)
        return -1;
    int err = 0;
    for (uint32_t i = 0; !err && i < s->n && i < t->k; i++)
        err = put_entry(ctx, list[i], out);
    ctx->host->free(ctx, list);
    return err;
}

WEIR_EMIT(emit, struct summary, emit_one)

static int open_topk(struct weir_ctx *ctx)
{
    const struct config *config = ctx->config;
    int64_t capacity = config->capacity ? config->capacity : 10 * config->k;
    if (!config->capacity && capacity < CAPACITY_DEFAULT)
        capacity = CAPACITY_DEFAULT;
    if (capacity < config->k)
        return weir_fail(ctx, "capacity %lld is less than k, %lld", (long long)capacity,
                         (long long)config->k);
    return counted_open(ctx, (uint32_t)capacity, (uint32_t)config->k);
}

static const struct weir_param params[] = {
    {.name = "of",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, of),
     .help = "the column whose values are counted",
     .column_types = COUNTED_TYPES},
    {.name = "k",
     .type = WEIR_PARAM_INT,
     .offset = offsetof(struct config, k),
     .init = "10",
     .help = "how many values to store, at most",
     .min = 1,
     .max = 1000},
    {.name = "capacity",
     .type = WEIR_PARAM_INT,
     .offset = offsetof(struct config, capacity),
     .init = "0",
     .help = "how many values to count; exact if no more come; 0: 1000, or ten times k",
     .min = 0,
     .max = SUMMARY_CAPACITY},
    {.name = NULL},
};

static const struct weir_output outputs[] = {
    {"{of}", WEIR_SAME_AS(0), "the value", NULL},
    {"{of}_count", WEIR_INT, "how often it came, at most", NULL},
    {"{of}_error", WEIR_INT, "how much less it may be; 0: the count is exact", NULL},
    {.name = NULL},
};

static const struct weir_analyzer topk = {
    .name = "topk",
    .version = "1.1",
    .help = "The most frequent values of a column, with error bounds",
    .flags = WEIR_MANY_ROWS,
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct summary),
    .state_version = 2,
    .open = open_topk,
    .close = counted_close,
    .drop = counted_drop,
    .update = counted_update,
    .merge = counted_merge,
    .emit = emit,
    .save = counted_save,
    .load = counted_load,
};
WEIR_PLUGIN(topk);
