/* SPDX-License-Identifier: Apache-2.0
 *
 * change: how often a value of any type is another one than before, by time, and of the last change from what to
 * what, and when.
 */
#include "../common/declare.h"
#include "../common/text.h"

#define TEXT_MAX 39

/* Of strings the hash, 64 bits, tells whether they are equal: of a million different ones two are taken for the
 * same with a probability below 1e-7. */
struct value {
    union {
        int64_t i; /* int, time, bool */
        double f;
        uint64_t hash;
    } as;
    uint8_t size;
    char text[TEXT_MAX];
};
_Static_assert(sizeof(struct value) == 48, "without padding");

struct sum {
    struct value first, last, from, to;
    int64_t changes, time_us;
};

#define ORDERED_VALUE struct value
#define ORDERED_OWN_VALUE
#define ORDERED_APPEND
#define ORDERED_KEEP 512 /* points are large */
#include "../common/ordered.h"

struct config {
    const char *of;
};

enum output { CHANGES, FROM, TO, TIME };

static void sum_of(const struct weir_ctx *ctx, struct sum *sum, const struct point *p)
{
    (void)ctx;
    *sum = (struct sum){.first = p->value, .last = p->value};
}

static void become(struct sum *sum, const struct value *v, int64_t time_us)
{
    sum->changes++;
    sum->from = sum->last;
    sum->to = *v;
    sum->time_us = time_us;
}

static void run_append(const struct weir_ctx *ctx, struct run *left,
                       const struct point *p)
{
    (void)ctx;
    if (left->sum.last.as.hash == p->value.as.hash)
        return;
    become(&left->sum, &p->value, p->at.time_us);
    left->sum.last = p->value;
}

static void run_join(const struct weir_ctx *ctx, struct run *left_run,
                     const struct run *right_run)
{
    struct sum *left = &left_run->sum;
    const struct sum *right = &right_run->sum;
    (void)ctx;
    if (left->last.as.hash != right->first.as.hash)
        become(left, &right->first, right_run->first.time_us);
    if (right->changes) {
        left->changes += right->changes;
        left->from = right->from;
        left->to = right->to;
        left->time_us = right->time_us;
    }
    left->last = right->last;
}

static void read_value(const struct weir_column *c, uint32_t row, struct value *v)
{
    size_t size;
    const char *text;
    memset(v, 0, sizeof(*v));
    switch (c->type) {
    case WEIR_STRING:
        text = weir_string(c, row, &size);
        v->as.hash = hash_bytes(text, size);
        v->size = (uint8_t)text_cut(text, size, TEXT_MAX);
        if (v->size)
            memcpy(v->text, text, v->size);
        break;
    case WEIR_FLOAT:
        v->as.f = weir_number(c, row) + 0.0; /* -0 is 0 */
        break;
    case WEIR_BOOL:
        v->as.i = weir_bool(c, row);
        break;
    default:
        v->as.i = weir_int(c, row);
    }
}

static int update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct weir_rows r = *rows;
    const struct weir_column *c = r.in[0];
    uint64_t late = 0, nans = 0;
    for (size_t i = 0; i < r.n; i++) {
        uint32_t row = r.row[i];
        if (weir_is_null(c, row))
            continue;
        struct point p = {.at = {r.time[row], weir_sequence(&r, row)}};
        read_value(c, row, &p.value);
        if (c->type == WEIR_FLOAT && p.value.as.f != p.value.as.f) {
            nans++;
            continue;
        }
        int err = ordered_add(
            ctx, (struct ordered *)(void *)(r.states + r.group[i] * r.stride), &p);
        if (err < 0)
            return err;
        late += (uint64_t)err;
    }
    if (late)
        ctx->host->skip(ctx, ORDERED_LATE, late);
    if (nans)
        ctx->host->skip(ctx, ORDERED_USELESS, nans);
    return 0;
}

static int put_value(struct weir_ctx *ctx, struct weir_out *out, enum output cell,
                     const struct value *v)
{
    if (ctx->types[0] == WEIR_STRING)
        return weir_put_string(ctx, out, cell, v->text, v->size);
    if (ctx->types[0] == WEIR_FLOAT)
        return weir_put_float(ctx, out, cell, v->as.f);
    return weir_put_int(ctx, out, cell, v->as.i);
}

static int emit_one(struct weir_ctx *ctx, const struct ordered *s,
                    const struct weir_window *window, struct weir_out *out)
{
    struct run all;
    (void)window;
    if (!ordered_all(ctx, s, &all))
        return 0;
    weir_put_int(ctx, out, CHANGES, all.sum.changes);
    if (!all.sum.changes)
        return 0;
    put_value(ctx, out, FROM, &all.sum.from);
    put_value(ctx, out, TO, &all.sum.to);
    return weir_put_int(ctx, out, TIME, all.sum.time_us);
}

WEIR_EMIT(emit, struct ordered, emit_one)

static int is_sound(const struct weir_ctx *ctx, const struct value *v)
{
    if (ctx->types[0] == WEIR_STRING)
        return v->size <= TEXT_MAX && text_is_utf8(v->text, v->size);
    return ctx->types[0] != WEIR_BOOL || (v->as.i & ~(int64_t)1) == 0;
}

static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes,
                size_t size)
{
    const struct ordered *s = state;
    int err = ordered_load(ctx, state, version, bytes, size), sound = 1;
    for (uint32_t i = 0; !err && i < s->n; i++)
        sound &= is_sound(ctx, &s->point[i].value);
    for (uint32_t i = 0; !err && i < s->runs; i++) {
        const struct sum *sum = &s->run[i].sum;
        sound &= is_sound(ctx, &sum->first) & is_sound(ctx, &sum->last) &
                 is_sound(ctx, &sum->from) & is_sound(ctx, &sum->to);
    }
    return err || sound ? err : weir_fail(ctx, "the saved state is damaged");
}

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, of, WEIR_REQUIRED, ANY_TYPE,
                 "the column; rows in which it is null do not count"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{of}_changes", WEIR_INT, "how often it became another value", NULL},
    {"{of}_from", WEIR_SAME_AS(0), "the value before the last change", NULL},
    {"{of}_to", WEIR_SAME_AS(0), "the value behind it", NULL},
    {"{of}_changed", WEIR_TIME, "when that was", NULL},
    {.name = NULL},
};

static const struct weir_analyzer change = {
    .name = "change",
    .version = "1.0",
    .help = "How often a value changed, and the last change: from what, to what, when",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .reasons = "late nan",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct ordered),
    .state_version = 1,
    .drop = ordered_drop,
    .update = update,
    .merge = ordered_merge,
    .emit = emit,
    .save = ordered_save,
    .load = load,
};
WEIR_PLUGIN(change);
