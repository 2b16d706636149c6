/* SPDX-License-Identifier: Apache-2.0
 *
 * An analyzer that keeps all laws, and with -DBREAK=SPLIT, ... breaks one of them. Count, sum and least of a column,
 * its value in the last row, the longest of another one's strings; what a state knows lies in memory of its own.
 */
#include <weir/plugin.h>

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum breaks {
    NOTHING,
    SPLIT,
    LAYOUT,
    GROUPS,
    EMIT,
    SAVE,
    CONTEXTS,
    EMPTY,
    MERGE,
    RETRACT,
    LOST,
    LEAKS,
    MEMORY,
    DAMAGE,
    PROCESS,
    OUTSIDE,
    BEYOND,
    HANGS,
    STRINGS,
    PRINTS,
    WRITES,
    GIVES
};
#ifndef BREAK
#define BREAK NOTHING
#endif

struct config {
    const char *of, *text;
};

struct known {
    int64_t n, sum, least, last, longest;
    uint64_t sequence;
};

struct state {
    struct known *known; /* NULL: no rows */
};

static struct weir_ctx *latest;

static int open_it(struct weir_ctx *ctx)
{
    latest = ctx;
    if (BREAK == PROCESS)
        setenv("LANGUAGE", "de", 1);
    return 0;
}

static int know(struct weir_ctx *ctx, struct state *s)
{
    if (s->known)
        return 0;
    s->known = ctx->host->alloc(ctx, sizeof(*s->known));
    if (!s->known && BREAK != MEMORY)
        return weir_fail(ctx, "no memory");
    s->known->least = INT64_MAX;
    return 0;
}

static int fold(struct weir_ctx *ctx, struct state *s, const struct weir_rows *r,
                uint32_t row, int sign)
{
    size_t size;
    char room[64];
    if (know(ctx, s))
        return -1;
    struct known *k = s->known;
    if (r->in[1] && !weir_is_null(r->in[1], row)) {
        const char *text = weir_string(r->in[1], row, &size);
        if (BREAK == STRINGS) {
            memcpy(room, text, size);
            size = strlen(room);
        }
        k->longest = (int64_t)size > k->longest ? (int64_t)size : k->longest;
    }
    if (weir_is_null(r->in[0], row) || (BREAK == LAYOUT && r->in[0]->validity))
        return 0;
    int64_t v = weir_int(r->in[0], BREAK == BEYOND ? row + 1 : row);
    while (BREAK == HANGS && v == INT64_MAX)
        v |= weir_int(r->in[0], row);
    k->n += sign;
    if (BREAK != RETRACT || sign > 0)
        k->sum = (int64_t)((uint64_t)k->sum + (uint64_t)sign * (uint64_t)v);
    k->least = v < k->least ? v : k->least;
    if (weir_sequence(r, row) >= k->sequence) {
        k->sequence = weir_sequence(r, row);
        k->last = v;
    }
    return 0;
}

static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    for (size_t i = 0; i < r->n; i++) {
        struct state *s =
            (struct state *)(void *)(r->states +
                                     r->group[BREAK == GROUPS ? 0 : i] * r->stride);
        if (fold(ctx, s, r, r->row[i], 1))
            return -1;
        if (BREAK == CONTEXTS && ctx != latest)
            s->known->sum++;
        if (BREAK == OUTSIDE && s->known->n == 3)
            s[1].known = NULL;
        if (BREAK == LEAKS)
            *(char *)malloc(100) = 1;
        if (BREAK == SPLIT && i == 0)
            s->known->n++;
        if (BREAK == WRITES)
            ((int64_t *)(uintptr_t)r->in[0]->values)[r->row[i]] = 0;
    }
    if (BREAK == PRINTS && r->n > 2)
        puts("three rows");
    latest = ctx;
    return 0;
}

/* Of what can be taken out again only. */
static int retract(struct weir_ctx *ctx, const struct weir_rows *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (fold(ctx, (struct state *)(void *)(r->states + r->group[i] * r->stride), r,
                 r->row[i], -1))
            return -1;
    return 0;
}

static int merge_one(struct weir_ctx *ctx, struct state *a, const struct state *b,
                     const struct weir_window *window)
{
    (void)window;
    if (!b->known && BREAK != EMPTY)
        return 0;
    if (know(ctx, a))
        return -1;
    static const struct known nothing;
    const struct known *from = b->known ? b->known : &nothing;
    a->known->n += from->n;
    a->known->sum = (int64_t)((uint64_t)a->known->sum + (uint64_t)from->sum);
    a->known->least = from->least < a->known->least ? from->least : a->known->least;
    a->known->longest =
        from->longest > a->known->longest ? from->longest : a->known->longest;
    if (from->n && (from->sequence > a->known->sequence || BREAK == MERGE)) {
        a->known->sequence = from->sequence;
        a->known->last = from->last;
    }
    return 0;
}
WEIR_MERGE(merge, struct state, merge_one)

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    struct known *k = s->known;
    (void)window;
    if (!k)
        return 0;
    weir_put_int(ctx, out, BREAK == GIVES && k->n > 1 ? 7 : 0, k->n);
    weir_put_int(ctx, out, 1, k->sum);
    if (k->n && BREAK != RETRACT) {
        weir_put_int(ctx, out, 2, k->least);
        weir_put_int(ctx, out, 3, k->last);
    }
    if (BREAK == EMIT)
        k->sum = 0;
    return weir_put_int(ctx, out, 4, k->longest);
}
WEIR_EMIT(emit, struct state, emit_one)

static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    const struct state *s = state;
    struct known k = {0};
    if (!s->known)
        return 0;
    k = *s->known;
    if (BREAK == SAVE)
        k.sum = (int8_t)k.sum;
    return ctx->host->write(ctx, out, &k, sizeof(k));
}

static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes,
                size_t size)
{
    struct state *s = state;
    (void)version;
    if (size == 0)
        return 0;
    if (size != sizeof(*s->known) && BREAK != DAMAGE)
        return weir_fail(ctx, "%zu bytes are no state", size);
    if (know(ctx, s))
        return -1;
    memcpy(s->known, bytes, sizeof(*s->known));
    return 0;
}

static void drop(struct weir_ctx *ctx, void *state)
{
    struct state *s = state;
    if (BREAK != LOST)
        ctx->host->free(ctx, s->known);
}

static const struct weir_param params[] = {
    {.name = "of",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, of),
     .help = "a number",
     .column_types = WEIR_TYPES(WEIR_INT)},
    {.name = "text",
     .type = WEIR_PARAM_COLUMN,
     .offset = offsetof(struct config, text),
     .help = "a text",
     .column_types = WEIR_TYPES(WEIR_STRING)},
    {.name = NULL},
};
static const struct weir_output outputs[] = {
    {"n", WEIR_INT, "rows", NULL},        {"sum", WEIR_INT, "modulo 2^64", NULL},
    {"least", WEIR_INT, "least", NULL},   {"last", WEIR_INT, "of the last row", NULL},
    {"longest", WEIR_INT, "bytes", NULL}, {.name = NULL},
};
static const struct weir_analyzer breaks = {
    .name = "breaks",
    .version = "1",
    .help = "Breaks a law",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .open = open_it,
    .update = update,
    .retract = BREAK == RETRACT ? retract : NULL,
    .merge = merge,
    .emit = emit,
    .save = save,
    .load = load,
    .drop = drop,
};
WEIR_PLUGIN(breaks);
