/* SPDX-License-Identifier: Apache-2.0
 *
 * anomaly: how unusual the newest value is, given all before it, and whether it is an anomaly. What that means stands in
 * detector.h. Rows are judged as they come, in the order of the log, so that a verdict waits for nothing.
 */
#include "../common/declare.h"
#include "detector.h"

#define VALUE_MOST 1e150 /* squares of steps and of sums stay finite */

struct config {
    const char *of, *season;
    double sensitivity;
};

/* One in each context. */
struct anomaly {
    int64_t season_us;
};

struct state {
    uint64_t anomalies;
    double unusual, expected; /* of the newest row */
    uint32_t verdict;
    uint32_t judged; /* whether that row has a value */
    struct detector detector;
};
_Static_assert(sizeof(struct state) < 26u << 10, "the manual page says 26 KiB");

enum reason { USELESS };

static int update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct weir_rows r = *rows;
    const struct config *config = ctx->config;
    const struct anomaly *a = ctx->user;
    uint64_t useless = 0;
    for (size_t i = 0; i < r.n; i++) {
        uint32_t row = r.row[i];
        struct state *s = (struct state *)(void *)(r.states + r.group[i] * r.stride);
        s->judged = 0;
        if (weir_is_null(r.in[0], row))
            continue;
        double x = weir_number(r.in[0], row);
        if (!(fabs(x) <= VALUE_MOST)) {
            useless++;
            continue;
        }
        struct judgement j = detector_take(&s->detector, x, r.time[row], a->season_us,
                                           config->sensitivity);
        s->judged = 1;
        s->unusual = j.unusual;
        s->expected = j.expected;
        s->verdict = (uint32_t)j.verdict;
        s->anomalies += s->verdict;
    }
    if (useless)
        ctx->host->skip(ctx, USELESS, useless);
    return 0;
}

enum output { SCORE, ANOMALY, EXPECTED, ANOMALIES };

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    (void)window;
    weir_put_int(ctx, out, ANOMALIES, (int64_t)s->anomalies);
    if (!s->judged)
        return 0;
    weir_put_float(ctx, out, SCORE, s->unusual / (1 + s->unusual));
    weir_put_int(ctx, out, ANOMALY, s->verdict);
    return weir_put_float(ctx, out, EXPECTED, s->expected);
}

WEIR_EMIT(emit, struct state, emit_one)

/* ---- Saved: what is known, without the room behind it -------------------------------------------- */

#define HEAD offsetof(struct state, detector.known)

static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    const struct state *s = state;
    int r = ctx->host->write(ctx, out, s, HEAD);
    for (size_t i = 0; r == 0 && i < FEATURES + 1; i++) {
        const struct known *k = &s->detector.known[i];
        const uint32_t n[2] = {k->n, 0};
        r = ctx->host->write(ctx, out, n, sizeof(n));
        if (r == 0 && k->n)
            r = ctx->host->write(ctx, out, k->value, k->n * sizeof(*k->value));
        if (r == 0 && k->n)
            r = ctx->host->write(ctx, out, k->seen, k->n * sizeof(*k->seen));
    }
    return r;
}

static int is_number(double v)
{
    return fabs(v) <= 10 * VALUE_MOST;
}

/* Whether nothing in it can lead out of an array, or to a result that is no number. */
static int is_sound(const struct state *s)
{
    const struct detector *d = &s->detector;
    int good = s->unusual >= 0 && isfinite(s->unusual) && is_number(s->expected) &&
               s->verdict <= 1 && s->judged <= 1 && d->silent <= LAST &&
               d->runs <= STILL_RUNS && is_number(d->mean) && is_number(d->step) &&
               is_number(d->slow) && is_number(d->error) && is_number(d->rest);
    for (size_t i = 0; i < LAST; i++)
        good = good && is_number(d->last[i]);
    for (size_t i = 0; i < PHASES; i++)
        good = good && is_number(d->phase[i].mean) && isfinite(d->phase[i].sum) &&
               d->phase[i].cycles <= SEASON_CYCLES;
    for (size_t i = 0; i < FEATURES + 1; i++)
        for (uint32_t k = 0; k < d->known[i].n; k++)
            good = good && is_number(d->known[i].value[k]) &&
                   (!k || d->known[i].value[k - 1] < d->known[i].value[k]);
    return good;
}

static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes,
                size_t size)
{
    struct state *s = state;
    const char *at = bytes;
    (void)version; /* there has been one */
    int good = size >= HEAD;
    if (good)
        memcpy(s, at, HEAD);
    at += HEAD;
    size -= good ? HEAD : size;
    for (size_t i = 0; good && i < FEATURES + 1; i++) {
        struct known *k = &s->detector.known[i];
        uint32_t n[2] = {0, 0};
        if (size >= sizeof(n))
            memcpy(n, at, sizeof(n));
        size_t values = n[0] * sizeof(*k->value), seen = n[0] * sizeof(*k->seen);
        good =
            size >= sizeof(n) && n[0] < KNOWN_MAX && size - sizeof(n) >= values + seen;
        if (!good)
            break;
        k->n = n[0];
        memcpy(k->value, at + sizeof(n), values);
        memcpy(k->seen, at + sizeof(n) + values, seen);
        at += sizeof(n) + values + seen;
        size -= sizeof(n) + values + seen;
    }
    return good && !size && is_sound(s) ? 0
                                        : weir_fail(ctx, "the saved state is damaged");
}

static int open_anomaly(struct weir_ctx *ctx)
{
    const struct config *config = ctx->config;
    struct anomaly *a = ctx->host->alloc(ctx, sizeof(*a));
    if (!a)
        return weir_fail(ctx, "out of memory");
    ctx->user = a;
    return duration_parse(ctx, "season", config->season, &a->season_us);
}

static void close_anomaly(struct weir_ctx *ctx)
{
    ctx->host->free(ctx, ctx->user);
    ctx->user = NULL;
}

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, of, WEIR_REQUIRED, WEIR_NUMBERS, "the column"),
    PARAM_STRING(struct config, season, 0, "1d",
                 "how long a season is, where there is one; 0s: there is none"),
    PARAM_FLOAT(struct config, sensitivity, 0, "1", 0.01, 100,
                "by how much more is an anomaly than by default"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{of}_score", WEIR_FLOAT,
     "how unusual the newest value is, 0 to 1; above 0.5 is an anomaly", NULL},
    {"{of}_anomaly", WEIR_BOOL, "whether an anomaly begins, or goes on, with it", NULL},
    {"{of}_expected", WEIR_FLOAT, "what was expected in its place", NULL},
    {"{of}_anomalies", WEIR_INT, "how many there were", NULL},
    {.name = NULL},
};

static const struct weir_analyzer anomaly = {
    .name = "anomaly",
    .version = "1.0",
    .help = "How unusual the newest value is, given those before it, and a verdict",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .reasons = "not_finite",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 1,
    .open = open_anomaly,
    .close = close_anomaly,
    .update = update,
    .emit = emit,
    .save = save,
    .load = load,
};
WEIR_PLUGIN(anomaly);
