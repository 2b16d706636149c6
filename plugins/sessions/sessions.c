/* SPDX-License-Identifier: Apache-2.0
 *
 * sessions: visits of a key: events that follow each other within `gap`. How many there are, how long, with how many
 * events, and how many had one event only (bounces). The first and the last session of a run may go on in
 * its neighbours, and are kept apart from those between.
 */
#include "../common/declare.h"

struct session {
    int64_t began_us, ended_us, events;
};

/* Of one session alone both `first` and `last` are that one, and n is 1. */
struct sum {
    struct session first, last;
    int64_t n, events;
    int64_t bounces, longest_us, length_us; /* of those between first and last */
};

#define ORDERED_VALUE char
#define ORDERED_OWN_VALUE
#include "../common/ordered.h"

struct config {
    const char *of, *gap;
};

/* One in each context. */
struct sessions {
    int64_t gap_us;
};

static void sum_of(const struct weir_ctx *ctx, struct sum *sum, const struct point *p)
{
    const struct session one = {p->at.time_us, p->at.time_us, 1};
    (void)ctx;
    *sum = (struct sum){.first = one, .last = one, .n = 1, .events = 1};
}

static void count(struct sum *sum, const struct session *s)
{
    int64_t length_us = s->ended_us - s->began_us;
    sum->bounces += s->events == 1;
    sum->length_us += length_us;
    if (length_us > sum->longest_us)
        sum->longest_us = length_us;
}

/* Both parts have the session at the seam in common. */
static void join_seam(struct sum *left, const struct sum *right)
{
    struct session both = left->last;
    both.ended_us = right->first.ended_us;
    both.events += right->first.events;
    if (left->n == 1)
        left->first = both;
    if (left->n > 1 && right->n > 1)
        count(left, &both);
    left->last = right->n == 1 ? both : right->last;
    left->n += right->n - 1;
}

static void run_join(const struct weir_ctx *ctx, struct run *left_run,
                     const struct run *right_run)
{
    const struct sessions *t = ctx->user;
    struct sum *left = &left_run->sum;
    const struct sum *right = &right_run->sum;
    if (right->first.began_us - left->last.ended_us < t->gap_us) {
        join_seam(left, right);
    } else {
        if (left->n > 1)
            count(left, &left->last);
        if (right->n > 1)
            count(left, &right->first);
        left->last = right->last;
        left->n += right->n;
    }
    left->events += right->events;
    left->bounces += right->bounces;
    left->length_us += right->length_us;
    if (right->longest_us > left->longest_us)
        left->longest_us = right->longest_us;
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

enum output { SESSIONS, EVENTS, LENGTH, LONGEST, BOUNCES };

static int emit_one(struct weir_ctx *ctx, const struct ordered *s,
                    const struct weir_window *window, struct weir_out *out)
{
    struct run all;
    (void)window;
    if (!ordered_all(ctx, s, &all))
        return 0;
    struct sum *sum = &all.sum;
    double n = (double)sum->n;
    count(sum, &sum->first);
    if (sum->n > 1)
        count(sum, &sum->last);
    weir_put_int(ctx, out, SESSIONS, sum->n);
    weir_put_float(ctx, out, EVENTS, (double)sum->events / n);
    weir_put_float(ctx, out, LENGTH, (double)sum->length_us / SECOND_US / n);
    weir_put_float(ctx, out, LONGEST, (double)sum->longest_us / SECOND_US);
    return weir_put_int(ctx, out, BOUNCES, sum->bounces);
}

WEIR_EMIT(emit, struct ordered, emit_one)

static int open_sessions(struct weir_ctx *ctx)
{
    const struct config *config = ctx->config;
    struct sessions *t = ctx->host->alloc(ctx, sizeof(*t));
    if (!t)
        return weir_fail(ctx, "out of memory");
    ctx->user = t;
    return duration_parse(ctx, "gap", config->gap, &t->gap_us);
}

static void close_sessions(struct weir_ctx *ctx)
{
    ctx->host->free(ctx, ctx->user);
    ctx->user = NULL;
}

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, of, 0, ANY_TYPE,
                 "only events count in which this column is not null"),
    PARAM_STRING(struct config, gap, 0, "30m",
                 "an event that comes so much later begins a new session"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"sessions", WEIR_INT, "number of sessions", NULL},
    {"session_events", WEIR_FLOAT, "mean number of events", NULL},
    {"session_length", WEIR_FLOAT, "mean length from first to last event, seconds",
     NULL},
    {"session_longest", WEIR_FLOAT, "length of the longest, seconds", NULL},
    {"session_bounces", WEIR_INT, "sessions with one event only", NULL},
    {.name = NULL},
};

static const struct weir_analyzer sessions = {
    .name = "sessions",
    .version = "1.0",
    .help = "Number, length, events and bounces of a key's sessions",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .reasons = "late",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct ordered),
    .state_version = 1,
    .open = open_sessions,
    .close = close_sessions,
    .drop = ordered_drop,
    .update = update,
    .merge = ordered_merge,
    .emit = emit,
    .save = ordered_save,
    .load = ordered_load,
};
WEIR_PLUGIN(sessions);
