/* SPDX-License-Identifier: Apache-2.0
 *
 * entropy: how evenly values of a column are spread: C. E. Shannon, "A mathematical theory of communication", Bell
 * System Technical Journal 27, 1948, section 6, in bits. Counting is in counted.h; exact while no more than `capacity`
 * different values come.
 *
 * With more it has bounds. A value that is kept came at least count - error times; of the other rows nobody knows
 * which value they have. The entropy is least if all of them have the most frequent value, and largest if each has
 * one of its own: it falls when a row moves from a rarer value to one that is at least as frequent.
 */
#include "counted.h"

#include <math.h>

struct config {
    const char *of;
    int64_t capacity;
};

enum output { ENTROPY, ERROR, PERPLEXITY };

static double weigh(double n)
{
    return n > 0 ? n * log2(n) : 0;
}

static int emit_one(struct weir_ctx *ctx, const struct summary *s,
                    const struct weir_window *window, struct weir_out *out)
{
    uint64_t known = 0, most = 0;
    double sum = 0, lost = 0;
    (void)window;
    for (uint32_t i = 0; i < s->n; i++) {
        uint64_t least = s->entry[i].count - s->entry[i].error;
        double v = weigh((double)least) - lost, next = sum + v;
        lost = (next - sum) - v; /* W. Kahan, CACM 8, 1965 */
        sum = next;
        known += least;
        most = least > most ? least : most;
    }
    if (s->rows == 0)
        return 0;
    double n = (double)s->rows, rest = s->rows > known ? (double)(s->rows - known) : 0;
    double high = log2(n) - sum / n;
    double low = log2(n) - (sum - weigh((double)most) + weigh((double)most + rest)) / n;
    low = low > 0 ? low : 0;
    weir_put_float(ctx, out, ENTROPY, low);
    weir_put_float(ctx, out, ERROR, high > low && rest > 0 ? high - low : 0);
    return weir_put_float(ctx, out, PERPLEXITY, exp2(low));
}

WEIR_EMIT(emit, struct summary, emit_one)

static int open_entropy(struct weir_ctx *ctx)
{
    const struct config *config = ctx->config;
    return counted_open(ctx, (uint32_t)config->capacity, 1);
}

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, of, WEIR_REQUIRED, COUNTED_TYPES,
                 "the column whose values are counted"),
    PARAM_INT(struct config, capacity, "1000", 1, SUMMARY_CAPACITY,
              "how many values to count; exact if no more come"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{of}_entropy", WEIR_FLOAT, "Shannon entropy, bits, at least", NULL},
    {"{of}_entropy_error", WEIR_FLOAT, "how much more it may be; 0: it is exact", NULL},
    {"{of}_perplexity", WEIR_FLOAT, "2^entropy: so many equally frequent values", NULL},
    {.name = NULL},
};

static const struct weir_analyzer entropy = {
    .name = "entropy",
    .version = "1.0",
    .help = "How evenly the values of a column are spread: Shannon's entropy",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct summary),
    .state_version = 1,
    .open = open_entropy,
    .close = counted_close,
    .drop = counted_drop,
    .update = counted_update,
    .merge = counted_merge,
    .emit = emit,
    .save = counted_save,
    .load = counted_load,
};
WEIR_PLUGIN(entropy);
