/* SPDX-License-Identifier: Apache-2.0
 *
 * holt_winters: forecast of a column with a band, by level, trend and season, each smoothed exponentially: P. R. Winters,
 * "Forecasting sales by exponentially weighted moving averages", Management Science 6, 1960; additive, in the form of R.
 * J. Hyndman, G. Athanasopoulos, "Forecasting: principles and practice", 3rd ed., 8.3, and the variance of the
 * forecast as in 8.7, table 8.8, of ETS(A,A,A).
 *
 * Rows are gathered in buckets of `every`. The newest OPEN are kept apart, so that rows may come out of order; older ones
 * are taken in, in order. The first two seasons are kept until both are there, and then make level, trend and season:
 *
 *      [ taken in: level, trend, season[] ][ open buckets: sum, count ]       --> time
 *                                   next ^                       newest ^
 *
 * With `fit` a group keeps its newest `history` values instead; for a result the smoothing that has the least squares of
 * errors over them is searched: J. A. Nelder, R. Mead, "A simplex method for function
 * minimization", The Computer Journal 7, 1965.
 *
 * States cannot be merged: what is taken in has no inverse.
 */
#include "../common/declare.h"

#include <math.h>

struct config {
    const char *of, *every;
    int64_t season, ahead, history;
    double alpha, beta, gamma, band;
    uint32_t emit;
    int value; /* enum value */
    int fit;
};

enum value { MEAN, SUM, COUNT };

#define OPEN       16
#define SEASON_MAX 20000
#define GAP_MAX    100000 /* buckets without rows; a longer gap begins anew */
#define HISTORY    500    /* and ten seasons, if it is not given */
#define ERRORS_MIN 10     /* to fit parameters to */
#define STEPS      150    /* of a search, at most */

struct smoothing {
    double alpha, beta, gamma;
};

/* One in each context. */
struct model {
    int64_t every_us;
    double band;      /* half of it, in standard deviations */
    size_t kept;      /* values that a group keeps; 0: nothing is fitted */
    size_t n_doubles; /* of a group, beside its struct */
    double *series;   /* the kept ones in their order, while they are fitted to */
};

/* What was fitted to values with this hash: of the same values it is the same again. */
struct fitted {
    uint64_t hash;
    struct smoothing by;
};
#define FITTED (sizeof(struct fitted) / sizeof(double))
_Static_assert(sizeof(struct fitted) % sizeof(double) == 0, "it lies behind doubles");

struct bucket {
    double sum;
    int64_t count;
};

/* Zero bytes are a state without rows. */
struct state {
    int64_t newest, next; /* numbers of buckets */
    int64_t n;     /* taken in, with those without rows; 0 with `began` 0: none */
    int64_t began; /* 1: there was a row */
    double level, trend;
    double squares; /* of the errors of forecasts of the next bucket */
    int64_t errors;
    struct bucket open[OPEN]; /* of bucket k, open[k % OPEN] */
    double *season;           /* season of the buckets, by number % season */
    double *first;            /* two seasons behind it: the first values */
};
/* Behind `first`, with `fit`: the values kept, that of the k-th taken in at k % kept; a struct fitted. */

enum reason { LATE, NOT_FINITE };
enum output { FORECAST, LOWER, UPPER, TIME, ERROR, ALPHA, BETA, GAMMA };

static size_t season_of(const struct weir_ctx *ctx)
{
    return (size_t)((const struct config *)ctx->config)->season;
}

static const struct model *model_of(const struct weir_ctx *ctx)
{
    return ctx->user;
}

static double *kept_of(const struct weir_ctx *ctx, const struct state *s)
{
    return s->season + 3 * season_of(ctx);
}

static struct bucket *bucket_at(struct state *s, int64_t number)
{
    return &s->open[(uint64_t)number % OPEN];
}

static double *season_at(const struct weir_ctx *ctx, struct state *s, int64_t number)
{
    int64_t m = (int64_t)season_of(ctx);
    return &s->season[(number % m + m) % m];
}

/* ---- Taking buckets in ---- */

/* Level and trend of two seasons, as of the last bucket of the first one: its mean is that of its middle. */
static void begin_season(const struct weir_ctx *ctx, struct state *s, int64_t number)
{
    const size_t m = season_of(ctx);
    double one = 0, two = 0;
    for (size_t i = 0; i < m; i++) {
        one += s->first[i] / (double)m;
        two += s->first[m + i] / (double)m;
    }
    double middle = ((double)m - 1) / 2;
    s->trend = (two - one) / (double)m;
    s->level = one + middle * s->trend;
    for (size_t i = 0; i < m; i++)
        *season_at(ctx, s, number - (int64_t)(2 * m) + 1 + (int64_t)i) =
            s->first[i] - one - ((double)i - middle) * s->trend;
}

/* NaN: there is none. */
static void smooth(struct state *s, const struct smoothing *by, double *season_of_y,
                   double y)
{
    double season = season_of_y ? *season_of_y : 0;
    double expected = s->level + s->trend, error = y - expected - season;
    if (isnan(y)) {
        s->level = expected;
        return;
    }
    double level = by->alpha * (y - season) + (1 - by->alpha) * expected;
    s->trend = by->beta * (level - s->level) + (1 - by->beta) * s->trend;
    s->level = level;
    if (season_of_y)
        *season_of_y = season + by->gamma * error;
    s->squares += error * error;
    s->errors++;
}

/* Without a season the first two values are level and trend; a missing one there is as the one before. */
static void take_value(const struct weir_ctx *ctx, struct state *s,
                       const struct smoothing *by, int64_t number, double y)
{
    const int64_t m = (int64_t)season_of(ctx), n = s->n++;
    if (m == 0 && n < 2) {
        s->trend = n == 0 || isnan(y) ? 0 : y - s->level;
        s->level = isnan(y) ? s->level : y;
    } else if (n < 2 * m) {
        s->first[n] = !isnan(y) ? y : n ? s->first[n - 1] : 0;
        if (n + 1 < 2 * m)
            return;
        begin_season(ctx, s, number);
        for (int64_t i = 0; i < m; i++)
            smooth(s, by, season_at(ctx, s, number - m + 1 + i), s->first[m + i]);
    } else {
        smooth(s, by, m ? season_at(ctx, s, number) : NULL, y);
    }
}

static double value_of(const struct weir_ctx *ctx, const struct bucket *b)
{
    const struct config *c = ctx->config;
    if (c->value == COUNT)
        return (double)b->count;
    if (c->value == SUM)
        return b->sum;
    return b->count ? b->sum / (double)b->count : NAN;
}

/* Takes in all buckets before `end`. Open ones are emptied. */
static void take_until(const struct weir_ctx *ctx, struct state *s, int64_t end)
{
    static const struct bucket empty = {0, 0};
    const struct config *c = ctx->config;
    const struct smoothing given = {c->alpha, c->beta, c->gamma};
    const size_t kept = model_of(ctx)->kept;
    for (; s->next < end; s->next++) {
        int is_open = s->next <= s->newest;
        double y = value_of(ctx, is_open ? bucket_at(s, s->next) : &empty);
        if (kept)
            kept_of(ctx, s)[(uint64_t)s->n++ % kept] = y;
        else
            take_value(ctx, s, &given, s->next, y);
        if (is_open)
            *bucket_at(s, s->next) = empty;
    }
}

/* ---- Folding rows in ---- */

static void begin(const struct weir_ctx *ctx, struct state *s, int64_t number)
{
    s->newest = s->next = number;
    s->n = s->errors = 0;
    s->level = s->trend = s->squares = 0;
    s->began = 1;
    memset(s->open, 0, sizeof(s->open));
    if (season_of(ctx))
        memset(s->season, 0, season_of(ctx) * sizeof(*s->season));
}

static int need_memory(struct weir_ctx *ctx, struct state *s)
{
    const size_t n = model_of(ctx)->n_doubles;
    if (n == 0 || s->season)
        return 0;
    s->season = ctx->host->alloc(ctx, n * sizeof(*s->season));
    if (!s->season)
        return weir_fail(ctx, "no memory for the values of a group");
    s->first = s->season + season_of(ctx);
    return 0;
}

/* Of buckets, of which `a` is not before `b`. */
static uint64_t distance(int64_t a, int64_t b)
{
    return (uint64_t)a - (uint64_t)b;
}

/* 1: the bucket is taken in already. While nothing is, one before the first moves the beginning. */
static int add(const struct weir_ctx *ctx, struct state *s, int64_t number, double v)
{
    if (!s->began || (number > s->newest && distance(number, s->newest) > GAP_MAX))
        begin(ctx, s, number);
    if (number < s->next && (s->n > 0 || distance(s->newest, number) >= OPEN))
        return 1;
    if (number < s->next)
        s->next = number;
    if (number > s->newest) {
        take_until(ctx, s, number - OPEN + 1);
        s->newest = number;
    }
    struct bucket *b = bucket_at(s, number);
    b->sum += v;
    b->count++;
    return 0;
}

/* Rounded down: times before 1970 too. */
static int64_t bucket_of(const struct model *model, int64_t time_us)
{
    return time_us / model->every_us - (time_us % model->every_us < 0);
}

static int update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct weir_rows r = *rows;
    uint64_t late = 0, useless = 0;
    for (size_t i = 0; i < r.n; i++) {
        uint32_t row = r.row[i];
        struct state *s = (struct state *)(void *)(r.states + r.group[i] * r.stride);
        if (weir_is_null(r.in[0], row))
            continue;
        double v = weir_number(r.in[0], row);
        if (!isfinite(v)) {
            useless++;
            continue;
        }
        if (!s->began && need_memory(ctx, s))
            return -1;
        int64_t number = bucket_of(ctx->user, r.time[row]);
        if (number > INT64_MAX / 2 || number < INT64_MIN / 2)
            useless++; /* 146,000 years from 1970 */
        else
            late += (uint64_t)add(ctx, s, number, v);
    }
    if (late)
        ctx->host->skip(ctx, LATE, late);
    if (useless)
        ctx->host->skip(ctx, NOT_FINITE, useless);
    return 0;
}

/* ---- Fitting ---- */

struct series {
    const struct weir_ctx *ctx;
    struct state *s;  /* whose model is begun anew for each trial */
    int64_t first, n; /* number of the first bucket; values */
};

/* In their order, from the first that is not missing. */
static struct series unroll(const struct weir_ctx *ctx, struct state *s)
{
    const uint64_t kept = model_of(ctx)->kept, end = (uint64_t)s->n;
    uint64_t at = end < kept ? 0 : end - kept;
    const double *value = kept_of(ctx, s);
    while (at < end && isnan(value[at % kept]))
        at++;
    int64_t n = (int64_t)(end - at);
    for (int64_t i = 0; i < n; i++)
        model_of(ctx)->series[i] = value[(at + (uint64_t)i) % kept];
    return (struct series){ctx, s, s->next - n, n};
}

static void replay(const struct series *h, const struct smoothing *by)
{
    struct state *s = h->s;
    s->n = s->errors = 0;
    s->level = s->trend = s->squares = 0;
    for (int64_t i = 0; i < h->n; i++)
        take_value(h->ctx, s, by, h->first + i, model_of(h->ctx)->series[i]);
}

/* From any three numbers into the region of parameters, which is that of statsmodels: 0 < beta < alpha < 1, gamma < 1 - alpha. */
static struct smoothing smoothing_at(const double *x)
{
    double alpha = 1 / (1 + exp(-x[0]));
    return (struct smoothing){alpha, alpha / (1 + exp(-x[1])),
                              (1 - alpha) / (1 + exp(-x[2]))};
}

struct vertex {
    double x[3], squares;
};

static void judge(const struct series *h, struct vertex *v)
{
    const struct smoothing by = smoothing_at(v->x);
    replay(h, &by);
    v->squares = isfinite(h->s->squares) ? h->s->squares : INFINITY;
}

/* The point on the way from `worst` through the middle of the others. */
static struct vertex beyond(const struct series *h, const struct vertex *v, size_t dims,
                            double way)
{
    struct vertex p = v[dims];
    for (size_t k = 0; k < dims; k++) {
        double middle = 0;
        for (size_t i = 0; i < dims; i++)
            middle += v[i].x[k] / (double)dims;
        p.x[k] = fmin(fmax(middle + way * (middle - v[dims].x[k]), -18), 18);
    }
    judge(h, &p);
    return p;
}

/* Up to 1e-8 of the squares; v[0] is the best in the end. */
static void descend(const struct series *h, struct vertex *v, size_t dims)
{
    for (size_t k = 0; k < dims; k++) {
        v[k + 1] = v[0];
        v[k + 1].x[k] += v[0].x[k] > 0 ? -1.5 : 1.5; /* away from the border */
        judge(h, &v[k + 1]);
    }
    for (int step = 0; step < STEPS; step++) {
        for (size_t i = 1; i <= dims; i++) /* sorted by insertion */
            for (size_t k = i; k > 0 && v[k].squares < v[k - 1].squares; k--) {
                struct vertex other = v[k];
                v[k] = v[k - 1];
                v[k - 1] = other;
            }
        if (v[dims].squares - v[0].squares <= 1e-8 * v[0].squares)
            return;
        struct vertex p = beyond(h, v, dims, 1), q;
        if (p.squares < v[0].squares) {
            q = beyond(h, v, dims, 2);
            v[dims] = q.squares < p.squares ? q : p;
        } else if (p.squares < v[dims - 1].squares) {
            v[dims] = p;
        } else {
            q = beyond(h, v, dims, p.squares < v[dims].squares ? 0.5 : -0.5);
            if (q.squares < fmin(p.squares, v[dims].squares)) {
                v[dims] = q;
                continue;
            }
            for (size_t i = 1; i <= dims; i++) {
                for (size_t k = 0; k < dims; k++)
                    v[i].x[k] = (v[i].x[k] + v[0].x[k]) / 2;
                judge(h, &v[i]);
            }
        }
    }
}

/* From the best point of a grid for each of four trends, and once more from where the best of these leads to. */
static struct smoothing search(const struct series *h)
{
    static const double start[] = {-4, -1.5, 0, 2};
    const size_t dims = season_of(h->ctx) ? 3 : 2, n = dims == 3 ? 16 : 4;
    struct vertex best = {.squares = INFINITY}, v[4];
    for (size_t trend = 0; trend < 4; trend++) {
        v[0] = (struct vertex){.squares = INFINITY};
        for (size_t i = 0; i < n; i++) {
            struct vertex p = {{start[i % 4], start[trend], start[i / 4]}, 0};
            judge(h, &p);
            if (p.squares < v[0].squares)
                v[0] = p;
        }
        descend(h, v, dims);
        if (v[0].squares < best.squares)
            best = v[0];
    }
    v[0] = best;
    descend(h, v, dims);
    return smoothing_at(v[0].x);
}

/* FNV-1a, of words. */
static uint64_t hash_series(const struct series *h)
{
    uint64_t hash = 0xcbf29ce484222325u ^ (uint64_t)h->n, word;
    for (int64_t i = 0; i < h->n; i++) {
        memcpy(&word, &model_of(h->ctx)->series[i], sizeof(word));
        hash = (hash ^ word) * 0x100000001b3u;
        hash ^= hash >> 32;
    }
    return hash | 1; /* 0: nothing was fitted */
}

/* The best smoothing of a copy's values, which its model then has; the original remembers it. */
static struct smoothing fit(const struct weir_ctx *ctx, struct state *s,
                            const struct state *original)
{
    const struct config *c = ctx->config;
    const struct series h = unroll(ctx, s);
    struct fitted known = {0, {c->alpha, c->beta, c->gamma}}, found;
    double *at = kept_of(ctx, original) + model_of(ctx)->kept;
    replay(&h, &known.by);
    if (s->errors < ERRORS_MIN)
        return known.by;
    known.hash = hash_series(&h);
    memcpy(&found, at, sizeof(found));
    if (found.hash != known.hash) {
        found = (struct fitted){known.hash, search(&h)};
        memcpy(at, &found, sizeof(found));
    }
    replay(&h, &found.by);
    return found.by;
}

/* ---- Results ---- */

/* Of the forecast h buckets ahead, by that of one. */
static double variance_factor(const struct smoothing *by, double m, double h)
{
    double alpha = by->alpha, beta = alpha * by->beta;
    double k = m > 0 ? floor((h - 1) / m) : 0, gamma = m > 0 ? by->gamma : 0;
    return 1 +
           (h - 1) *
               (alpha * alpha + alpha * beta * h + beta * beta * h * (2 * h - 1) / 6) +
           gamma * k * (2 * alpha + gamma + beta * m * (k + 1));
}

static int put_forecast(struct weir_ctx *ctx, struct state *s,
                        const struct state *original, int64_t end, struct weir_out *out)
{
    const struct config *c = ctx->config;
    const struct model *model = ctx->user;
    struct smoothing by = {c->alpha, c->beta, c->gamma};
    int64_t least = c->season ? 2 * c->season : 2, number = end - 1 + c->ahead, time_us;
    take_until(ctx, s, end);
    if (model->kept)
        by = fit(ctx, s, original);
    if (s->n < least)
        return 0;
    weir_put_float(ctx, out, ALPHA, by.alpha);
    weir_put_float(ctx, out, BETA, by.beta);
    if (c->season)
        weir_put_float(ctx, out, GAMMA, by.gamma);
    double forecast = s->level + (double)c->ahead * s->trend;
    if (c->season)
        forecast += *season_at(ctx, s, number);
    weir_put_float(ctx, out, FORECAST, forecast);
    if (!__builtin_mul_overflow(number, model->every_us, &time_us))
        weir_put_int(ctx, out, TIME, time_us);
    if (s->errors == 0)
        return 0;
    double error = sqrt(s->squares / (double)s->errors);
    double half = model->band * error *
                  sqrt(variance_factor(&by, (double)c->season, (double)c->ahead));
    weir_put_float(ctx, out, ERROR, error);
    weir_put_float(ctx, out, LOWER, forecast - half);
    return weir_put_float(ctx, out, UPPER, forecast + half);
}

/* Of a copy, in which the open buckets are taken in. The one that may still grow is left out. */
static int emit_one(struct weir_ctx *ctx, const struct state *state,
                    const struct weir_window *window, struct weir_out *out)
{
    const size_t n = model_of(ctx)->n_doubles;
    struct state s = *state;
    if (!s.began)
        return 0;
    int64_t end = s.newest;
    if (window->end != INT64_MAX && !(window->flags & WEIR_EARLY))
        end = bucket_of(ctx->user,
                        window->end < INT64_MAX / 2 ? window->end : INT64_MAX / 2);
    if (end > s.newest && distance(end, s.newest) > GAP_MAX)
        end = s.newest + 1;
    if (end < s.next)
        end = s.next;
    if (n) {
        s.season = ctx->host->alloc(ctx, n * sizeof(*s.season));
        if (!s.season)
            return weir_fail(ctx, "no memory for the values of a group");
        memcpy(s.season, state->season, n * sizeof(*s.season));
        s.first = s.season + season_of(ctx);
    }
    int err = put_forecast(ctx, &s, state, end, out);
    if (n)
        ctx->host->free(ctx, s.season);
    return err;
}

WEIR_EMIT(emit, struct state, emit_one)

static void drop(struct weir_ctx *ctx, void *state)
{
    ctx->host->free(ctx, ((struct state *)state)->season);
}

/* ---- Saving: the state without pointers, then season, first and what is kept ---- */

static size_t saved_values(const struct weir_ctx *ctx)
{
    return (3 * season_of(ctx) + model_of(ctx)->kept) * sizeof(double);
}

static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    const struct state *s = state;
    struct state saved = *s;
    saved.season = saved.first = NULL;
    int err = ctx->host->write(ctx, out, &saved, sizeof(saved));
    return err || !s->season ? err
                             : ctx->host->write(ctx, out, s->season, saved_values(ctx));
}

static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes,
                size_t size)
{
    const size_t values = saved_values(ctx);
    struct state *s = state, saved;
    (void)version; /* there has been one */
    if (size < sizeof(saved))
        return weir_fail(ctx, "the saved state is damaged");
    memcpy(&saved, bytes, sizeof(saved));
    if (size - sizeof(saved) != (saved.began ? values : 0) || saved.n < 0 ||
        saved.errors < 0 || saved.newest > INT64_MAX / 2 ||
        saved.newest < INT64_MIN / 2 || saved.next > saved.newest + 1 ||
        saved.next <= saved.newest - OPEN)
        return weir_fail(ctx, "the saved state is damaged");
    *s = saved;
    s->season = s->first = NULL;
    if (!saved.began || !values)
        return 0;
    int err = need_memory(ctx, s);
    if (!err)
        memcpy(s->season, (const char *)bytes + sizeof(saved), values);
    return err;
}

/* ---- Opening ---- */

/* Standard deviations that have the part p of a normal distribution between them: bisection of erf. */
static double deviations(double p)
{
    double low = 0, high = 40;
    for (int i = 0; i < 100; i++) {
        double middle = (low + high) / 2;
        if (erf(middle / sqrt(2)) < p)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Of the kept values more than the first two seasons have to be left. */
static int open_fit(struct weir_ctx *ctx, struct model *model)
{
    const struct config *c = ctx->config;
    int64_t history = 10 * c->season > HISTORY ? 10 * c->season : HISTORY;
    if (c->history)
        history = c->history;
    if (!c->fit && c->history)
        return weir_fail(ctx, "history is of use only with fit");
    if (c->fit && history < 3 * c->season)
        return weir_fail(ctx, "history has to be three seasons at least");
    model->kept = c->fit ? (size_t)history : 0;
    model->n_doubles = 3 * (size_t)c->season + (c->fit ? model->kept + FITTED : 0);
    model->series = ctx->host->alloc(ctx, (model->kept + 1) * sizeof(*model->series));
    return model->series ? 0 : weir_fail(ctx, "out of memory");
}

static int open_holt_winters(struct weir_ctx *ctx)
{
    const struct config *config = ctx->config;
    struct model *model = ctx->host->alloc(ctx, sizeof(*model));
    if (!model)
        return weir_fail(ctx, "out of memory");
    ctx->user = model;
    model->band = deviations(config->band);
    if (config->season == 1)
        return weir_fail(ctx, "season has to be 0, for none, or 2 buckets at least");
    if (open_fit(ctx, model) ||
        duration_parse(ctx, "every", config->every, &model->every_us))
        return -1;
    return model->every_us ? 0 : weir_fail(ctx, "every has to be longer than 0s");
}

static void close_holt_winters(struct weir_ctx *ctx)
{
    struct model *model = ctx->user;
    if (model)
        ctx->host->free(ctx, model->series);
    ctx->host->free(ctx, model);
    ctx->user = NULL;
}

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, of, WEIR_REQUIRED, WEIR_NUMBERS, "the column"),
    PARAM_STRING(struct config, every, 0, "1m", "length of a bucket"),
    PARAM_CHOICE(struct config, value, "mean", "mean sum count",
                 "what a bucket counts as"),
    PARAM_INT(struct config, season, "0", 0, SEASON_MAX,
              "buckets of a season; 0: there is none"),
    PARAM_INT(struct config, ahead, "1", 1, 10000,
              "the forecast is of the bucket so many after the last"),
    PARAM_FLOAT(struct config, alpha, 0, "0.3", 1e-6, 1, "how fast the level follows"),
    PARAM_FLOAT(struct config, beta, 0, "0.1", 0, 1, "how fast the trend does"),
    PARAM_FLOAT(struct config, gamma, 0, "0.2", 0, 1, "how fast the season does"),
    PARAM_FLOAT(struct config, band, 0, "0.95", 0.01, 0.9999,
                "part of the values that the band is to hold"),
    {.name = "fit",
     .type = WEIR_PARAM_BOOL,
     .offset = offsetof(struct config, fit),
     .init = "false",
     .help = "alpha, beta and gamma are fitted to the newest buckets"},
    PARAM_INT(struct config, history, "0", 0, 100000,
              "to so many; 0: ten seasons, 500 at least"),
    PARAM_SET(struct config, emit,
              "forecast, lower, upper, forecast_time, forecast_error",
              "forecast lower upper forecast_time forecast_error alpha beta gamma",
              "the results"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{of}_forecast", WEIR_FLOAT, "what the column is expected to be", "forecast"},
    {"{of}_lower", WEIR_FLOAT, "lower end of the band", "lower"},
    {"{of}_upper", WEIR_FLOAT, "upper end of the band", "upper"},
    {"{of}_forecast_time", WEIR_TIME, "begin of the bucket that it is of",
     "forecast_time"},
    {"{of}_forecast_error", WEIR_FLOAT,
     "root of the mean square of errors so far, one bucket ahead", "forecast_error"},
    {"{of}_alpha", WEIR_FLOAT, "how fast the level follows", "alpha"},
    {"{of}_beta", WEIR_FLOAT, "how fast the trend does", "beta"},
    {"{of}_gamma", WEIR_FLOAT, "how fast the season does", "gamma"},
    {.name = NULL},
};

static const struct weir_analyzer holt_winters = {
    .name = "holt_winters",
    .version = "1.1",
    .help = "Forecast of a column with a band, by level, trend and season",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .reasons = "late not_finite",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 1,
    .open = open_holt_winters,
    .close = close_holt_winters,
    .drop = drop,
    .update = update,
    .emit = emit,
    .save = save,
    .load = load,
};
WEIR_PLUGIN(holt_winters);
