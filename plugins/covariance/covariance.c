/* SPDX-License-Identifier: Apache-2.0
 *
 * covariance: how two numeric columns go together: covariance, correlation (Pearson's r), and the line of least
 * squares, y = intercept + slope * x.
 *
 * Corrected sums of squares and products as in B. P. Welford, "Note on a method for calculating corrected sums
 * of squares and products", Technometrics 4, 1962; merged as in P. Pebay, "Formulas for robust, one-pass parallel
 * computation of covariances and arbitrary-order statistical moments", SAND2008-6212, 2008, section 3.1. All
 * of distances to the first pair, so that small deviations far from zero keep their digits.
 */
#include "weir/plugin.h"

#include <math.h>

enum word { COUNT, COVARIANCE, CORRELATION, SLOPE, INTERCEPT };

struct config {
    const char *x, *y;
    uint32_t emit; /* bits of enum word */
};

struct side {
    double first, mean, squares; /* the mean is first + mean */
};

struct state {
    int64_t count;
    struct side x, y;
    double products;
};
_Static_assert(sizeof(struct state) == 64, "the manual page says 64");

enum reason { NOT_FINITE };

static inline void add_pair(struct state *s, double x, double y)
{
    if (s->count++ == 0) {
        s->x.first = x;
        s->y.first = y;
        return;
    }
    double weight = 1 / (double)s->count;
    double dx = x - s->x.first - s->x.mean, dy = y - s->y.first - s->y.mean;
    double rest_x = dx - dx * weight, rest_y = dy - dy * weight;
    s->x.mean += dx * weight;
    s->y.mean += dy * weight;
    s->x.squares += dx * rest_x;
    s->y.squares += dy * rest_y;
    s->products += dx * rest_y;
}

static int update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct weir_rows r = *rows;
    const struct weir_column *cx = r.in[0], *cy = r.in[1];
    uint64_t useless = 0;
    for (size_t i = 0; i < r.n; i++) {
        uint32_t row = r.row[i];
        struct state *s = (struct state *)(void *)(r.states + r.group[i] * r.stride);
        if (weir_is_null(cx, row) || weir_is_null(cy, row))
            continue;
        double x = weir_number(cx, row), y = weir_number(cy, row);
        if (isfinite(x) && isfinite(y))
            add_pair(s, x, y);
        else
            useless++;
    }
    if (useless)
        ctx->host->skip(ctx, NOT_FINITE, useless);
    return 0;
}

/* Of the means of two parts. */
static double distance(const struct side *a, const struct side *b)
{
    return (b->first - a->first) + (b->mean - a->mean);
}

static int merge_one(struct weir_ctx *ctx, struct state *a, const struct state *b,
                     const struct weir_window *window)
{
    (void)ctx;
    (void)window;
    if (a->count == 0 || b->count == 0) {
        if (b->count)
            *a = *b;
        return 0;
    }
    double n = (double)(a->count + b->count), share = (double)b->count / n;
    double weight = (double)a->count * share;
    double dx = distance(&a->x, &b->x), dy = distance(&a->y, &b->y);
    a->x.squares += b->x.squares + dx * dx * weight;
    a->y.squares += b->y.squares + dy * dy * weight;
    a->products += b->products + dx * dy * weight;
    a->x.mean += dx * share;
    a->y.mean += dy * share;
    a->count += b->count;
    return 0;
}

/* What is left null: all below 2 pairs, or where a sum of squares left the range of a double; the line and the
 * correlation where x is constant, the latter also where y is. */
static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    double xx = s->x.squares, yy = s->y.squares, xy = s->products;
    (void)window;
    weir_put_int(ctx, out, COUNT, s->count);
    if (s->count < 2 || !isfinite(xx) || !isfinite(yy) || !isfinite(xy))
        return 0;
    weir_put_float(ctx, out, COVARIANCE, xy / (double)(s->count - 1));
    if (xx == 0)
        return 0;
    double slope = xy / xx;
    weir_put_float(ctx, out, SLOPE, slope);
    weir_put_float(ctx, out, INTERCEPT,
                   (s->y.first - slope * s->x.first) + (s->y.mean - slope * s->x.mean));
    if (yy > 0)
        weir_put_float(ctx, out, CORRELATION,
                       fmax(-1, fmin(1, xy / sqrt(xx) / sqrt(yy))));
    return 0;
}

WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)

static const struct weir_param params[] = {
    {.name = "x",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, x),
     .help = "the column that explains",
     .column_types = WEIR_NUMBERS},
    {.name = "y",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, y),
     .help = "the column that is explained",
     .column_types = WEIR_NUMBERS},
    {.name = "emit",
     .type = WEIR_PARAM_SET,
     .offset = offsetof(struct config, emit),
     .init = "count, covariance, correlation, slope, intercept",
     .help = "which of the results to store",
     .choices = "count covariance correlation slope intercept"},
    {.name = NULL},
};

static const struct weir_output outputs[] = {
    {"{x}_{y}_count", WEIR_INT, "number of pairs", "count"},
    {"{x}_{y}_covariance", WEIR_FLOAT, "sample covariance (n - 1)", "covariance"},
    {"{x}_{y}_correlation", WEIR_FLOAT, "correlation, -1 to 1", "correlation"},
    {"{x}_{y}_slope", WEIR_FLOAT, "change of y for one of x", "slope"},
    {"{x}_{y}_intercept", WEIR_FLOAT, "y where x is 0, on the line", "intercept"},
    {.name = NULL},
};

static const struct weir_analyzer covariance = {
    .name = "covariance",
    .version = "1.0",
    .help =
        "Covariance and correlation of two columns, and their line of least squares",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .reasons = "not_finite",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 1,
    .update = update,
    .merge = merge,
    .emit = emit,
};
WEIR_PLUGIN(covariance);
