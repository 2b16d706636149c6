/* SPDX-License-Identifier: Apache-2.0
 *
 * mad: the median of a column, and the median absolute deviation from it: F. R. Hampel, "The influence curve and its
 * role in robust estimation", Journal of the American Statistical Association 69, 1974.
 *
 * Exact while there are no more values than `sample`. Of more, a sample of that size is kept (kept.h): both medians are
 * then of values whose rank is within n * epsilon of the middle one with probability 0.99, by P. Massart, "The tight
 * constant in the Dvoretzky-Kiefer-Wolfowitz inequality", Annals of Probability 18, 1990:
 * epsilon = sqrt(ln(2 / 0.01) / (2 * sample)).
 */
#include "../common/declare.h"
#include "../common/kept.h"

#include <math.h>

struct config {
    const char *of;
    int64_t sample;
};

enum reason { NOT_FINITE };
enum output { MEDIAN, DEVIATION, ERROR };

static uint32_t limit_of(const struct weir_ctx *ctx)
{
    return (uint32_t)((const struct config *)ctx->config)->sample;
}

KEPT_FUNCTIONS(limit_of(ctx), 0)

static int update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct weir_rows r = *rows;
    const uint32_t limit = limit_of(ctx);
    uint64_t useless = 0;
    for (size_t i = 0; i < r.n; i++) {
        uint32_t row = r.row[i];
        struct kept *s = (struct kept *)(void *)(r.states + r.group[i] * r.stride);
        if (weir_is_null(r.in[0], row))
            continue;
        struct item item = {.rank = hash_number(weir_sequence(&r, row))};
        item.value.f = weir_number(r.in[0], row);
        if (!isfinite(item.value.f)) {
            useless++;
            continue;
        }
        s->seen++;
        if (kept_wants(s, &item) && kept_add(ctx, s, limit, &item, NULL, 0))
            return -1;
    }
    if (useless)
        ctx->host->skip(ctx, NOT_FINITE, useless);
    return 0;
}

/* The k-th smallest, which is v[k] afterwards, with none larger before it: C. A. R. Hoare, "Algorithm 65: find",
 * CACM 4, 1961. The middle one as pivot: sorted values are no worst case. */
static double find(double *v, uint32_t n, uint32_t k)
{
    int64_t low = 0, high = (int64_t)n - 1;
    while (low < high) {
        double pivot = v[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (v[i] < pivot)
                i++;
            while (v[j] > pivot)
                j--;
            if (i <= j) {
                double swapped = v[i];
                v[i++] = v[j];
                v[j--] = swapped;
            }
        }
        if ((int64_t)k <= j)
            high = j;
        else if ((int64_t)k >= i)
            low = i;
        else
            break;
    }
    return v[k];
}

static double median(double *v, uint32_t n)
{
    double high = find(v, n, n / 2), low = v[0];
    if (n % 2)
        return high;
    for (uint32_t i = 0; i < n / 2; i++)
        low = v[i] > low ? v[i] : low;
    return isfinite(low + high) ? (low + high) / 2 : low / 2 + high / 2;
}

static int emit_one(struct weir_ctx *ctx, const struct kept *s,
                    const struct weir_window *window, struct weir_out *out)
{
    (void)window;
    if (s->n == 0)
        return 0;
    uint32_t n;
    struct item *list = kept_least(ctx, s, limit_of(ctx), NULL, &n);
    double *v = ctx->host->alloc(ctx, s->n * sizeof(*v));
    if (!list || !v) {
        ctx->host->free(ctx, list);
        ctx->host->free(ctx, v);
        return kept_no_memory(ctx);
    }
    for (uint32_t i = 0; i < n; i++)
        v[i] = list[i].value.f;
    double middle = median(v, n);
    for (uint32_t i = 0; i < n; i++)
        v[i] = fabs(v[i] - middle);
    weir_put_float(ctx, out, MEDIAN, middle);
    weir_put_float(ctx, out, DEVIATION, median(v, n));
    ctx->host->free(ctx, list);
    ctx->host->free(ctx, v);
    return weir_put_float(ctx, out, ERROR,
                          s->seen > n ? sqrt(log(2 / 0.01) / 2 / n) : 0);
}

WEIR_EMIT(emit, struct kept, emit_one)

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, of, WEIR_REQUIRED, WEIR_NUMBERS, "the column"),
    PARAM_INT(struct config, sample, "1000", 16, 65536,
              "how many values are kept; exact if no more come"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{of}_median", WEIR_FLOAT, "median", NULL},
    {"{of}_mad", WEIR_FLOAT, "median absolute deviation from it", NULL},
    {"{of}_mad_error", WEIR_FLOAT, "of the ranks, a part of the count; 0: exact", NULL},
    {.name = NULL},
};

static const struct weir_analyzer mad = {
    .name = "mad",
    .version = "1.0",
    .help = "Median of a column, and median absolute deviation from it",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .reasons = "not_finite",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct kept),
    .state_version = 1,
    .drop = drop,
    .update = update,
    .merge = merge,
    .emit = emit,
    .save = save,
    .load = load,
};
WEIR_PLUGIN(mad);
