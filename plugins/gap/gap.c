/* SPDX-License-Identifier: Apache-2.0
 *
 * gap: silence of a key: how often two events that follow each other in time are further apart than a limit, which
 * silence was the longest, and how long it has been silent at the end of the window.
 */
#include "../common/declare.h"

struct sum {
    uint64_t gaps;
    int64_t longest_us, began_us; /* the first of those that are equally long */
};

#define ORDERED_VALUE char
#define ORDERED_OWN_VALUE
#include "../common/ordered.h"

struct config {
    const char *of, *longer_than;
};

/* One in each context. */
struct gap {
    int64_t limit_us;
};

static void sum_of(const struct weir_ctx *ctx, struct sum *sum, const struct point *p)
{
    (void)ctx;
    (void)p;
    *sum = (struct sum){0, 0, 0};
}

static void add_gap(struct sum *sum, int64_t length_us, int64_t began_us)
{
    if (length_us > sum->longest_us) {
        sum->longest_us = length_us;
        sum->began_us = began_us;
    }
}

static void run_join(const struct weir_ctx *ctx, struct run *left,
                     const struct run *right)
{
    const struct gap *gap = ctx->user;
    int64_t length_us = right->first.time_us - left->last.time_us;
    left->sum.gaps += right->sum.gaps + (length_us > gap->limit_us);
    add_gap(&left->sum, length_us, left->last.time_us);
    add_gap(&left->sum, right->sum.longest_us, right->sum.began_us);
}

static int update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct weir_rows r = *rows;
    uint64_t late = 0;
    for (size_t i = 0; i < r.n; i++) {
        uint32_t row = r.row[i];
        if (r.in[0] && weir_is_null(r.in[0], row))
            continue;
        const struct point p = {{r.time[row], weir_sequence(&r, row)}, 0};
        int err = ordered_add(
            ctx, (struct ordered *)(void *)(r.states + r.group[i] * r.stride), &p);
        if (err < 0)
            return err;
        late += (uint64_t)err;
    }
    if (late)
        ctx->host->skip(ctx, ORDERED_LATE, late);
    return 0;
}

enum output { GAPS, LONGEST, BEGAN, SILENT };

static int emit_one(struct weir_ctx *ctx, const struct ordered *s,
                    const struct weir_window *window, struct weir_out *out)
{
    struct run all;
    if (!ordered_all(ctx, s, &all))
        return 0;
    weir_put_int(ctx, out, GAPS, (int64_t)all.sum.gaps);
    if (all.sum.longest_us > 0) {
        weir_put_float(ctx, out, LONGEST, (double)all.sum.longest_us / SECOND_US);
        weir_put_int(ctx, out, BEGAN, all.sum.began_us);
    }
    if (window->end != INT64_MAX && !(window->flags & WEIR_EARLY))
        weir_put_float(ctx, out, SILENT,
                       (double)(window->end - all.last.time_us) / SECOND_US);
    return 0;
}

WEIR_EMIT(emit, struct ordered, emit_one)

static int open_gap(struct weir_ctx *ctx)
{
    const struct config *config = ctx->config;
    struct gap *gap = ctx->host->alloc(ctx, sizeof(*gap));
    if (!gap)
        return weir_fail(ctx, "out of memory");
    ctx->user = gap;
    return duration_parse(ctx, "longer_than", config->longer_than, &gap->limit_us);
}

static void close_gap(struct weir_ctx *ctx)
{
    ctx->host->free(ctx, ctx->user);
    ctx->user = NULL;
}

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, of, 0, ANY_TYPE,
                 "only events count in which this column is not null"),
    PARAM_STRING(struct config, longer_than, 0, "1m", "a longer silence is a gap"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{of}_gaps", WEIR_INT, "how often it was silent for longer than the limit", NULL},
    {"{of}_gap_longest", WEIR_FLOAT, "the longest silence, seconds", NULL},
    {"{of}_gap_began", WEIR_TIME, "time of the event before it", NULL},
    {"{of}_silent", WEIR_FLOAT, "seconds from the last event to the window's end",
     NULL},
    {.name = NULL},
};

static const struct weir_analyzer gap = {
    .name = "gap",
    .version = "1.0",
    .help = "How often and how long a key was silent",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .reasons = "late",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct ordered),
    .state_version = 1,
    .open = open_gap,
    .close = close_gap,
    .drop = ordered_drop,
    .update = update,
    .merge = ordered_merge,
    .emit = emit,
    .save = ordered_save,
    .load = ordered_load,
};
WEIR_PLUGIN(gap);
