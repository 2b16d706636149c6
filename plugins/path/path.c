/* SPDX-License-Identifier: Apache-2.0
 *
 * path: the most frequent steps from one value to the next, by the time of each user's rows: counts of a Markov chain
 * of the first order (R. Cooley, B. Mobasher, J. Srivastava, "Data preparation for mining World Wide Web browsing
 * patterns", Knowledge and Information Systems 1, 1999, on what is done with such). kept.h says which rows are kept if
 * there are too many.
 */
#include "../common/declare.h"
#include "../common/users.h"

struct config {
    const char *of, *by;
    int64_t k, events;
};

enum input { OF_IN, BY_IN };
enum output { FROM, TO, COUNT, SHARE };

static uint32_t limit_of(const struct weir_ctx *ctx)
{
    return (uint32_t)((const struct config *)ctx->config)->events;
}

KEPT_FUNCTIONS(limit_of(ctx), ctx->types[OF_IN] == WEIR_STRING)

static int update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct weir_rows r = *rows;
    const uint32_t limit = limit_of(ctx);
    const struct weir_column *c = r.in[OF_IN], *by = r.in[BY_IN];
    for (size_t i = 0; i < r.n; i++) {
        uint32_t row = r.row[i];
        if (weir_is_null(c, row) || (by && weir_is_null(by, row)))
            continue;
        struct item item = {
            users_rank(by, row), r.time[row], weir_sequence(&r, row), {0}};
        if (kept_row(ctx, (struct kept *)(void *)(r.states + r.group[i] * r.stride),
                     limit, &item, c, row))
            return -1;
    }
    return 0;
}

/* ---- Results ---- */

struct step {
    const struct item *from, *to;
    uint32_t is_text, count;
    uint32_t out; /* steps from the same value */
};

static int compare_values(const struct item *a, const struct item *b, uint32_t is_text)
{
    if (!is_text)
        return (a->value.i > b->value.i) - (a->value.i < b->value.i);
    const struct text *x = a->value.text, *y = b->value.text;
    uint32_t size = x->size < y->size ? x->size : y->size;
    int order = size ? memcmp(x->bytes, y->bytes, size) : 0;
    return order ? order : (x->size > y->size) - (x->size < y->size);
}

static int by_values(const void *a, const void *b)
{
    const struct step *x = a, *y = b;
    int order = compare_values(x->from, y->from, x->is_text);
    return order ? order : compare_values(x->to, y->to, x->is_text);
}

/* Most frequent first, then values up. */
static int by_count(const void *a, const void *b)
{
    const struct step *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count ? 1 : -1) : by_values(a, b);
}

/* Makes one of equal steps, with their number, and counts those from each value. Returns how many are left. */
static uint32_t count_steps(struct step *step, uint32_t n)
{
    uint32_t kept = 0, first = 0, out = 0;
    qsort(step, n, sizeof(*step), by_values);
    for (uint32_t i = 0; i < n; i++) {
        if (kept && by_values(&step[kept - 1], &step[i]) == 0) {
            step[kept - 1].count++;
        } else {
            if (kept &&
                compare_values(step[first].from, step[i].from, step[i].is_text)) {
                for (; first < kept; first++)
                    step[first].out = out;
                out = 0;
            }
            step[kept] = step[i];
            step[kept++].count = 1;
        }
        out++;
    }
    for (; first < kept; first++)
        step[first].out = out;
    return kept;
}

static int put_steps(struct weir_ctx *ctx, const struct step *step, uint32_t n,
                     double part, struct weir_out *out)
{
    int err = 0;
    for (uint32_t i = 0; !err && i < n; i++) {
        item_put(ctx, out, FROM, ctx->types[OF_IN], step[i].from);
        item_put(ctx, out, TO, ctx->types[OF_IN], step[i].to);
        weir_put_int(ctx, out, COUNT, (int64_t)llround(step[i].count / part));
        weir_put_float(ctx, out, SHARE, (double)step[i].count / step[i].out);
        err = ctx->host->row(ctx, out);
    }
    return err;
}

static int emit_one(struct weir_ctx *ctx, const struct kept *s,
                    const struct weir_window *window, struct weir_out *out)
{
    const struct config *config = ctx->config;
    uint32_t steps = 0, is_text = ctx->types[OF_IN] == WEIR_STRING;
    double part;
    (void)window;
    if (s->n == 0)
        return 0;
    uint32_t n = 0;
    struct item *list = kept_least(ctx, s, limit_of(ctx), item_compare, &n);
    struct step *step = ctx->host->alloc(ctx, s->n * sizeof(*step));
    int err = list && step ? 0 : kept_no_memory(ctx);
    if (!err) {
        n = users_whole(s, list, n, ctx->types[BY_IN] != 0, &part);
        for (uint32_t i = 1; i < n; i++)
            if (list[i].rank == list[i - 1].rank)
                step[steps++] = (struct step){&list[i - 1], &list[i], is_text, 0, 0};
        steps = count_steps(step, steps);
        qsort(step, steps, sizeof(*step), by_count);
        err = put_steps(ctx, step, steps < config->k ? steps : (uint32_t)config->k,
                        part, out);
    }
    ctx->host->free(ctx, step);
    ctx->host->free(ctx, list);
    return err;
}

WEIR_EMIT(emit, struct kept, emit_one)

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, of, WEIR_REQUIRED,
                 WEIR_TYPES(WEIR_STRING) | WEIR_TYPES(WEIR_INT),
                 "the column whose values follow each other"),
    PARAM_COLUMN(struct config, by, 0, ANY_TYPE,
                 "whose row it is; if not given, the group is one user"),
    PARAM_INT(struct config, k, "10", 1, 1000, "how many steps to store, at most"),
    PARAM_INT(struct config, events, "10000", 100, 1000000,
              "how many rows are kept; of more, those of a sample of users"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{of}_from", WEIR_SAME_AS(0), "a value", NULL},
    {"{of}_to", WEIR_SAME_AS(0), "the next one", NULL},
    {"{of}_count", WEIR_INT, "how often it is", NULL},
    {"{of}_share", WEIR_FLOAT, "the same as a part of all steps from that value", NULL},
    {.name = NULL},
};

static const struct weir_analyzer path = {
    .name = "path",
    .version = "1.0",
    .help = "The most frequent steps from one value to the next",
    .flags = WEIR_MANY_ROWS,
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
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
WEIR_PLUGIN(path);
