/* SPDX-License-Identifier: Apache-2.0
 *
 * ohlc: open, high, low and close of a numeric column, a candle of a price chart. Open and close go by
 * event time; of rows with the same time the first in the log opens and the last closes, whatever order states
 * are merged in: each price carries its row's sequence number.
 */
#include "weir/plugin.h"

struct config {
    const char *of;
};

enum output { OPEN, HIGH, LOW, CLOSE };

union value {
    int64_t i;
    double f;
};

struct state {
    int64_t rows;
    int64_t open_us, close_us;
    uint64_t open_sequence, close_sequence; /* of rows of the same time: the order */
    union value price[4];                   /* by enum output */
};

static inline void set_all(struct state *s, union value v, int64_t time_us,
                           uint64_t sequence)
{
    for (int k = OPEN; k <= CLOSE; k++)
        s->price[k] = v;
    s->open_us = s->close_us = time_us;
    s->open_sequence = s->close_sequence = sequence;
}

/* Rows come in the order of the log. */
static inline void open_and_close(struct state *s, union value v, int64_t time_us,
                                  uint64_t sequence)
{
    if (time_us < s->open_us) {
        s->open_us = time_us;
        s->open_sequence = sequence;
        s->price[OPEN] = v;
    }
    if (time_us >= s->close_us) {
        s->close_us = time_us;
        s->close_sequence = sequence;
        s->price[CLOSE] = v;
    }
}

static inline void step_int(struct state *s, const struct weir_rows *r, uint32_t row)
{
    if (weir_is_null(r->in[0], row))
        return;
    union value v = {.i = weir_int(r->in[0], row)};
    if (s->rows++ == 0) {
        set_all(s, v, r->time[row], weir_sequence(r, row));
        return;
    }
    s->price[HIGH].i = v.i > s->price[HIGH].i ? v.i : s->price[HIGH].i;
    s->price[LOW].i = v.i < s->price[LOW].i ? v.i : s->price[LOW].i;
    open_and_close(s, v, r->time[row], weir_sequence(r, row));
}

static inline void step_float(struct state *s, const struct weir_rows *r, uint32_t row)
{
    union value v = {.f = ((const double *)r->in[0]->values)[row]};
    if (weir_is_null(r->in[0], row) || v.f != v.f)
        return; /* NaN: no number, like null */
    if (s->rows++ == 0) {
        set_all(s, v, r->time[row], weir_sequence(r, row));
        return;
    }
    s->price[HIGH].f = v.f > s->price[HIGH].f ? v.f : s->price[HIGH].f;
    s->price[LOW].f = v.f < s->price[LOW].f ? v.f : s->price[LOW].f;
    open_and_close(s, v, r->time[row], weir_sequence(r, row));
}

WEIR_STEP(update_ints, struct state, step_int)
WEIR_STEP(update_floats, struct state, step_float)

static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    return ctx->types[0] == WEIR_FLOAT ? update_floats(ctx, r) : update_ints(ctx, r);
}

static int merge_one(struct weir_ctx *ctx, struct state *a, const struct state *b,
                     const struct weir_window *window)
{
    (void)window;
    if (a->rows == 0 || b->rows == 0) {
        if (b->rows)
            *a = *b;
        return 0;
    }
    int is_float = ctx->types[0] == WEIR_FLOAT;
    const union value *p = a->price, *q = b->price;
    if (is_float ? q[HIGH].f > p[HIGH].f : q[HIGH].i > p[HIGH].i)
        a->price[HIGH] = q[HIGH];
    if (is_float ? q[LOW].f < p[LOW].f : q[LOW].i < p[LOW].i)
        a->price[LOW] = q[LOW];
    if (b->open_us < a->open_us ||
        (b->open_us == a->open_us && b->open_sequence < a->open_sequence)) {
        a->open_us = b->open_us;
        a->open_sequence = b->open_sequence;
        a->price[OPEN] = q[OPEN];
    }
    if (b->close_us > a->close_us ||
        (b->close_us == a->close_us && b->close_sequence > a->close_sequence)) {
        a->close_us = b->close_us;
        a->close_sequence = b->close_sequence;
        a->price[CLOSE] = q[CLOSE];
    }
    a->rows += b->rows;
    return 0;
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    (void)window;
    for (uint32_t k = OPEN; s->rows && k <= CLOSE; k++) {
        if (ctx->types[0] == WEIR_FLOAT)
            weir_put_float(ctx, out, k, s->price[k].f);
        else
            weir_put_int(ctx, out, k, s->price[k].i);
    }
    return 0;
}

WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)

static const struct weir_param params[] = {
    {.name = "of",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, of),
     .help = "the column, mostly a price",
     .column_types = WEIR_NUMBERS},
    {.name = NULL},
};

static const struct weir_output outputs[] = {
    {"{of}_open", WEIR_SAME_AS(0), "value of the earliest event", NULL},
    {"{of}_high", WEIR_SAME_AS(0), "largest value", NULL},
    {"{of}_low", WEIR_SAME_AS(0), "smallest value", NULL},
    {"{of}_close", WEIR_SAME_AS(0), "value of the latest event", NULL},
    {.name = NULL},
};

static const struct weir_analyzer ohlc = {
    .name = "ohlc",
    .version = "1.0",
    .help = "Open, high, low and close of a column by event time",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 1,
    .update = update,
    .merge = merge,
    .emit = emit,
};
WEIR_PLUGIN(ohlc);
