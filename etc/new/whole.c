/* @: the median of a column, of all rows of the window at once. */
#include <weir/plugin.h>

#include <stdlib.h>

/* What the configuration says; the server fills it in. */
struct config {
    const char *of;
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A result is due, of these rows: all of a group, by time. A cell that nothing is put into is null. */
static int whole(struct weir_ctx *ctx, const struct weir_window *window,
                 const struct weir_rows *r, struct weir_out *out)
{
    (void)window;
    double *value = ctx->host->alloc(ctx, (r->n + 1) * sizeof(*value));
    size_t n = 0;
    if (!value)
        return weir_fail(ctx, "no memory for %zu rows", r->n);
    for (size_t i = 0; i < r->n; i++) {
        uint32_t row = r->row[i];
        if (weir_is_null(r->in[0], row))
            continue;
        double v = weir_number(r->in[0], row);
        if (v == v) /* NaN has no place in an order */
            value[n++] = v;
    }
    qsort(value, n, sizeof(*value), compare);
    if (n)
        weir_put_float(ctx, out, 0,
                       n % 2 ? value[n / 2] : value[n / 2 - 1] / 2 + value[n / 2] / 2);
    ctx->host->free(ctx, value);
    return 0;
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

static const struct weir_output outputs[] = {
    {.name = "{of}_@", .type = WEIR_FLOAT, .help = "median of the column"},
    {.name = NULL},
};

static const struct weir_analyzer analyzer = {
    .name = "@",
    .version = "0.1",
    .help = "Median of a column",
    .flags = WEIR_WHOLE,
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .whole = whole,
};
WEIR_PLUGIN(analyzer);
