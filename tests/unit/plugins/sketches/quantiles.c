/* SPDX-License-Identifier: Apache-2.0
 *
 * A quantile sketch: DDSketch with bins that do not collapse (C. Masson, J. Rim, H. Lee, PVLDB 12, 2019).
 * Asks for: memory of a state's own, merge in any order, save and load with a version, a row that is of no
 * use, outputs that depend on a parameter.
 */
#include "weir/plugin.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define GAMMA 1.02 /* values are right to within 1 % */
#define BINS  2048 /* of positive values from 1e-9 to 4e8 */

struct config {
    const char *of;
    const char *q; /* "0.5 0.99" */
};

struct state {
    uint64_t *bin; /* NULL: no rows */
};

enum reason { NOT_POSITIVE };

static int bin_of(double v)
{
    int k = (int)ceil(log(v) / log(GAMMA)) + 1047;
    return k < 0 ? 0 : k < BINS ? k : BINS - 1;
}

static int need_bins(struct weir_ctx *ctx, struct state *s)
{
    if (!s->bin)
        s->bin = ctx->host->alloc(ctx, BINS * sizeof(*s->bin));
    return s->bin ? 0 : weir_fail(ctx, "no memory for a sketch");
}

static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    uint64_t useless = 0;
    for (size_t i = 0; i < r->n; i++) {
        struct state *s = (struct state *)(void *)(r->states + r->group[i] * r->stride);
        if (weir_is_null(r->in[0], r->row[i]))
            continue;
        double v = weir_number(r->in[0], r->row[i]);
        if (!(v > 0)) {
            useless++;
            continue;
        }
        int err = need_bins(ctx, s);
        if (err)
            return err;
        s->bin[bin_of(v)]++;
    }
    if (useless)
        ctx->host->skip(ctx, NOT_POSITIVE, useless);
    return 0;
}

/* Sums: no order, no tree matters. */
static int merge_one(struct weir_ctx *ctx, struct state *into, const struct state *from,
                     const struct weir_window *w)
{
    (void)w;
    int err = from->bin ? need_bins(ctx, into) : 0;
    for (int k = 0; !err && from->bin && k < BINS; k++)
        into->bin[k] += from->bin[k];
    return err;
}

/* A column for each word of `q`: known at open, the same for every context of the place. */
static int open_sketch(struct weir_ctx *ctx)
{
    const struct config *c = ctx->config;
    struct weir_output output[17] = {{.name = NULL}};
    char name[16][24], *end;
    size_t n = 0;
    for (const char *at = c->q; n < 16; at = end) {
        double q = strtod(at, &end);
        if (end == at)
            break;
        if (q < 0 || q > 1)
            return weir_fail(ctx, "q is from 0 to 1, not %g", q);
        snprintf(name[n], sizeof(name[n]), "{of}_p%g", q * 100);
        for (char *p = name[n]; *p; p++)
            *p = *p == '.' ? '_' : *p;
        output[n] = (struct weir_output){name[n], WEIR_FLOAT, "the quantile", NULL};
        n++;
    }
    return ctx->host->outputs(ctx, output); /* copied: these are on the stack */
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *w, struct weir_out *out)
{
    const struct config *c = ctx->config;
    uint64_t n = 0;
    char *end;
    (void)w;
    for (int k = 0; s->bin && k < BINS; k++)
        n += s->bin[k];
    const char *at = c->q;
    for (uint32_t i = 0; n && i < 16; i++, at = end) {
        double q = strtod(at, &end), rank = q * (double)(n - 1);
        if (end == at)
            break;
        int k = 0;
        for (uint64_t seen = s->bin[0]; (double)seen <= rank; seen += s->bin[k])
            k++;
        int err = weir_put_float(ctx, out, i, 2 * pow(GAMMA, k - 1047) / (GAMMA + 1));
        if (err)
            return err;
    }
    return 0;
}

static void drop(struct weir_ctx *ctx, void *state)
{
    ctx->host->free(ctx, ((struct state *)state)->bin);
}

static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    const struct state *s = state;
    return s->bin ? ctx->host->write(ctx, out, s->bin, BINS * sizeof(*s->bin)) : 0;
}

/* Version 1 had half as many bins. */
static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes,
                size_t size)
{
    struct state *s = state;
    size_t bins = version == 1 ? BINS / 2 : BINS;
    if (size == 0)
        return 0;
    if (size != bins * sizeof(*s->bin))
        return weir_fail(ctx, "the saved sketch is damaged");
    int err = need_bins(ctx, s);
    for (size_t k = 0; !err && k < bins; k++)
        s->bin[k + (BINS - bins) / 2] = ((const uint64_t *)bytes)[k];
    return err;
}

WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)

static const struct weir_param params[] = {
    {.name = "of",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, of),
     .help = "the column",
     .column_types = WEIR_NUMBERS},
    {.name = "q",
     .type = WEIR_PARAM_STRING,
     .offset = offsetof(struct config, q),
     .init = "0.5 0.99",
     .help = "quantiles, 0 to 1"},
    {.name = NULL},
};

static const struct weir_analyzer quantiles = {
    .name = "quantiles",
    .version = "2.1",
    .help = "Quantiles of a column, to within 1 %",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .reasons = "not_positive",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 2,
    .oldest_version = 1,
    .open = open_sketch,
    .drop = drop,
    .update = update,
    .merge = merge,
    .emit = emit,
    .save = save,
    .load = load,
};
WEIR_PLUGIN(quantiles);
