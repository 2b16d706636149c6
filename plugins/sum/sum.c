/* SPDX-License-Identifier: Apache-2.0
 *
 * sum: of a numeric column, exact for ints: 128 bits hold the sum of all that can ever come.
 *
 * Sums of floats carry the rounding error of every addition in a second double: TwoSum (Knuth, TAOCP 2, 4.2.2,
 * theorem B), added up as in A. Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher
 * Summen", ZAMM 54, 1974. Values from BIG on have a sum of their own, divided by WIDE, so that 2^63 of
 * either kind cannot leave the range of a double; infinite ones are only noted.
 */
#include "weir/plugin.h"

#include <math.h>
#include <string.h>

struct config {
    const char *of;
};

struct float_sum {
    double high, low; /* it is high + low */
};

/* Zero bytes are the state of no rows. */
struct state {
    union {
        __int128 exact;
        struct float_sum f[2]; /* of values below BIG; of the others, divided by WIDE */
    } sum;
    int64_t count;
    uint32_t infinite[2]; /* how many have come, above and below; at most UINT32_MAX */
};
_Static_assert(sizeof(struct state) == 48, "the manual page says 48");

enum reason { NAN_VALUE };
enum output { SUM, TEXT };

#define BIG  0x1p960
#define WIDE 0x1p64

static inline void add_float(struct float_sum *s, double v)
{
    double sum = s->high + v, part = sum - s->high;
    s->low += (s->high - (sum - part)) + (v - part);
    s->high = sum;
}

static inline void add_infinite(uint32_t *n, uint32_t more)
{
    *n = *n > UINT32_MAX - more ? UINT32_MAX : *n + more;
}

/* A row less. Without any there is nothing left of rounding, either. */
static void take_float(struct state *s, double v)
{
    if (fabs(v) < BIG)
        add_float(&s->sum.f[0], -v);
    else if (isfinite(v))
        add_float(&s->sum.f[1], -v / WIDE);
    else if (s->infinite[v < 0] && s->infinite[v < 0] < UINT32_MAX)
        s->infinite[v < 0]--;
    if (--s->count == 0)
        memset(s, 0, sizeof(*s));
}

static void take_floats(const struct weir_rows *r)
{
    const struct weir_column *c = r->in[0];
    for (size_t i = 0; i < r->n; i++) {
        double v = weir_number(c, r->row[i]);
        if (!weir_is_null(c, r->row[i]) && v == v)
            take_float((struct state *)(void *)(r->states + r->group[i] * r->stride),
                       v);
    }
}

static uint64_t fold_floats(const struct weir_rows *rows)
{
    const struct weir_rows r = *rows;
    const struct weir_column *c = r.in[0];
    uint64_t nans = 0;
    for (size_t i = 0; i < r.n; i++) {
        struct state *s = (struct state *)(void *)(r.states + r.group[i] * r.stride);
        if (weir_is_null(c, r.row[i]))
            continue;
        double v = weir_number(c, r.row[i]);
        if (v != v) {
            nans++; /* no number, like null */
            continue;
        }
        s->count++;
        if (fabs(v) < BIG)
            add_float(&s->sum.f[0], v);
        else if (isfinite(v))
            add_float(&s->sum.f[1], v / WIDE);
        else
            add_infinite(&s->infinite[v < 0], 1);
    }
    return nans;
}

static inline void step_int(struct state *s, const struct weir_rows *r, uint32_t row)
{
    if (weir_is_null(r->in[0], row))
        return;
    s->sum.exact += weir_int(r->in[0], row);
    s->count++;
}

static inline void unstep_int(struct state *s, const struct weir_rows *r, uint32_t row)
{
    if (weir_is_null(r->in[0], row))
        return;
    s->sum.exact -= weir_int(r->in[0], row);
    s->count--;
}

WEIR_STEP(fold_ints, struct state, step_int)
WEIR_STEP(take_ints, struct state, unstep_int)

static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    if (ctx->types[0] != WEIR_FLOAT)
        return fold_ints(ctx, r);
    uint64_t nans = fold_floats(r);
    if (nans)
        ctx->host->skip(ctx, NAN_VALUE, nans);
    return 0;
}

static int retract(struct weir_ctx *ctx, const struct weir_rows *r)
{
    if (ctx->types[0] != WEIR_FLOAT)
        return take_ints(ctx, r);
    take_floats(r);
    return 0;
}

static int merge_one(struct weir_ctx *ctx, struct state *a, const struct state *b,
                     const struct weir_window *window)
{
    (void)window;
    if (ctx->types[0] != WEIR_FLOAT) {
        a->sum.exact += b->sum.exact;
    } else {
        for (int k = 0; k < 2; k++) {
            add_float(&a->sum.f[k], b->sum.f[k].high);
            a->sum.f[k].low += b->sum.f[k].low;
        }
    }
    a->count += b->count;
    add_infinite(&a->infinite[0], b->infinite[0]);
    add_infinite(&a->infinite[1], b->infinite[1]);
    return 0;
}

/* ---- Results ---- */

/* NaN where both infinities have come: there is no sum. */
static double float_total(const struct state *s)
{
    static const double infinite[] = {0, INFINITY, -INFINITY, NAN};
    struct float_sum small = s->sum.f[0], big = s->sum.f[1];
    unsigned which = (s->infinite[0] > 0) | (s->infinite[1] > 0) << 1;
    if (which)
        return infinite[which];
    if (big.high == 0 && big.low == 0)
        return small.high + small.low;
    add_float(&big, small.high / WIDE);
    return (big.high + (big.low + small.low / WIDE)) * WIDE;
}

/* The decimal digits; returns how many. */
static size_t digits_of(__int128 v, char text[41])
{
    unsigned __int128 rest = v < 0 ? -(unsigned __int128)v : (unsigned __int128)v;
    char *at = text + 41;
    do
        *--at = (char)('0' + (int)(rest % 10));
    while (rest /= 10);
    if (v < 0)
        *--at = '-';
    size_t n = (size_t)(text + 41 - at);
    memmove(text, at, n);
    return n;
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    char text[41];
    (void)window;
    if (s->count == 0)
        return 0;
    if (ctx->types[0] == WEIR_FLOAT)
        return weir_put_float(ctx, out, SUM, float_total(s));
    if (s->sum.exact >= INT64_MIN && s->sum.exact <= INT64_MAX)
        return weir_put_int(ctx, out, SUM, (int64_t)s->sum.exact);
    return weir_put_string(ctx, out, TEXT, text, digits_of(s->sum.exact, text));
}

WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)

static int open_sum(struct weir_ctx *ctx)
{
    static const struct weir_output ints[] = {
        {"{of}_sum", WEIR_INT, "sum; null if it does not fit 64 bits", NULL},
        {"{of}_sum_text", WEIR_STRING, "the digits of a sum that does not fit", NULL},
        {.name = NULL},
    };
    static const struct weir_output floats[] = {
        {"{of}_sum", WEIR_FLOAT, "sum", NULL},
        {.name = NULL},
    };
    return ctx->host->outputs(ctx, ctx->types[0] == WEIR_FLOAT ? floats : ints);
}

static const struct weir_param params[] = {
    {.name = "of",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, of),
     .help = "the column",
     .column_types = WEIR_NUMBERS},
    {.name = NULL},
};

static const struct weir_analyzer sum = {
    .name = "sum",
    .version = "1.0",
    .help = "Sum of a column, exact for ints however large",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .reasons = "nan",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 2,
    .open = open_sum,
    .update = update,
    .retract = retract,
    .merge = merge,
    .emit = emit,
};
WEIR_PLUGIN(sum);
