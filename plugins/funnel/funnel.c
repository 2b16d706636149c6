/* SPDX-License-Identifier: Apache-2.0
 *
 * funnel: how many users take steps in their order within a time, and how long each step takes: windowFunnel as in
 * ClickHouse, for many users of a group, or with the group as the only one.
 *
 * The rows of a user are gone through by time. For each level there is at most one chain of steps that matters: of
 * those that reached it the one that began last, since it has the most time left. A row that is step k makes a chain of
 * level k of the one of level k - 1. Rows that are no step are not kept; kept.h says which are if there are too many.
 */
#include "../common/declare.h"
#include "../common/users.h"

struct config {
    const char *step, *by, *steps, *within;
    int64_t events;
};

#define STEPS_MAX 16

/* One in each context. */
struct funnel {
    int64_t within_us;
    uint32_t n;
    struct {
        const char *name; /* in the config's string */
        size_t size;
    } step[STEPS_MAX];
};

enum input { STEP_IN, BY_IN };
enum output { STEP, USERS, CONVERSION, SECONDS, PART };

static uint32_t limit_of(const struct weir_ctx *ctx)
{
    return (uint32_t)((const struct config *)ctx->config)->events;
}

KEPT_FUNCTIONS(limit_of(ctx), 0)

/* A bit for each step that has this name. */
static int64_t steps_of(const struct funnel *f, const struct weir_column *c,
                        uint32_t row)
{
    size_t size;
    const char *name = weir_string(c, row, &size);
    int64_t bits = 0;
    for (uint32_t k = 0; k < f->n; k++)
        if (f->step[k].size == size && memcmp(f->step[k].name, name, size) == 0)
            bits |= (int64_t)1 << k;
    return bits;
}

static int update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct weir_rows r = *rows;
    const uint32_t limit = limit_of(ctx);
    const struct weir_column *step = r.in[STEP_IN], *by = r.in[BY_IN];
    for (size_t i = 0; i < r.n; i++) {
        uint32_t row = r.row[i];
        struct kept *s = (struct kept *)(void *)(r.states + r.group[i] * r.stride);
        if (weir_is_null(step, row) || (by && weir_is_null(by, row)))
            continue;
        int64_t bits = steps_of(ctx->user, step, row);
        if (!bits)
            continue;
        const struct item item = {
            users_rank(by, row), r.time[row], weir_sequence(&r, row), {bits}};
        s->seen++;
        if (kept_wants(s, &item) && kept_add(ctx, s, limit, &item, NULL, 0))
            return -1;
    }
    return 0;
}

/* ---- Results ---- */

struct chain {
    int64_t time_us[STEPS_MAX];
};

/* How far the n rows of a user get, and the times of the chain that was first to get there. */
static uint32_t go_through(const struct funnel *f, const struct item *item, uint32_t n,
                           struct chain *ret_first)
{
    struct chain chain[STEPS_MAX];
    uint32_t there = 0, reached = 0; /* there: levels that have a chain, as bits */
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = f->n; k-- > 0;) {
            if (!(item[i].value.i >> k & 1))
                continue;
            if (k > 0 && (!(there >> (k - 1) & 1) ||
                          item[i].time_us - chain[k - 1].time_us[0] > f->within_us))
                continue;
            if (k > 0)
                chain[k] = chain[k - 1];
            chain[k].time_us[k] = item[i].time_us;
            there |= 1u << k;
            if (k + 1 > reached) {
                reached = k + 1;
                *ret_first = chain[k];
            }
        }
    return reached;
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* took[k * room ...]: how long step k took those users that got there. */
struct tally {
    uint32_t users[STEPS_MAX], room;
    int64_t *took;
};

static void count_users(const struct funnel *f, const struct item *list, uint32_t n,
                        struct tally *t)
{
    for (uint32_t i = 0, more; i < n; i += more) {
        struct chain first;
        for (more = 1; i + more < n && list[i + more].rank == list[i].rank; more++)
            ;
        uint32_t reached = go_through(f, list + i, more, &first);
        for (uint32_t k = 0; k < reached; k++)
            t->took[(size_t)k * t->room + t->users[k]++] =
                k ? first.time_us[k] - first.time_us[k - 1] : 0;
    }
}

static double median_seconds(int64_t *took, uint32_t n)
{
    qsort(took, n, sizeof(*took), compare_times);
    return (double)(took[(n - 1) / 2] + took[n / 2]) / 2 / SECOND_US;
}

static int put_steps(struct weir_ctx *ctx, struct tally *t, double part,
                     struct weir_out *out)
{
    const struct funnel *f = ctx->user;
    int err = 0;
    for (uint32_t k = 0; !err && k < f->n; k++) {
        weir_put_string(ctx, out, STEP, f->step[k].name, f->step[k].size);
        weir_put_int(ctx, out, USERS, (int64_t)llround(t->users[k] / part));
        if (t->users[0])
            weir_put_float(ctx, out, CONVERSION,
                           (double)t->users[k] / (double)t->users[0]);
        if (k && t->users[k])
            weir_put_float(ctx, out, SECONDS,
                           median_seconds(t->took + (size_t)k * t->room, t->users[k]));
        weir_put_float(ctx, out, PART, part);
        err = ctx->host->row(ctx, out);
    }
    return err;
}

static int emit_one(struct weir_ctx *ctx, const struct kept *s,
                    const struct weir_window *window, struct weir_out *out)
{
    const struct funnel *f = ctx->user;
    double part;
    int err = 0;
    (void)window;
    if (s->n == 0)
        return 0;
    uint32_t n;
    struct item *list = kept_least(ctx, s, limit_of(ctx), item_compare, &n);
    if (!list)
        return -1;
    struct tally t = {.room = n};
    n = users_whole(s, list, n, ctx->types[BY_IN] != 0, &part);
    t.took = ctx->host->alloc(ctx, (size_t)f->n * t.room * sizeof(*t.took));
    if (!t.took) {
        err = kept_no_memory(ctx);
    } else if (n > 0) {
        count_users(f, list, n, &t);
        err = put_steps(ctx, &t, part, out);
    }
    ctx->host->free(ctx, t.took);
    ctx->host->free(ctx, list);
    return err;
}

WEIR_EMIT(emit, struct kept, emit_one)

/* ---- Opening ---- */

/* "view > cart > paid". */
static int parse_steps(struct weir_ctx *ctx, struct funnel *f, const char *text)
{
    for (const char *at = text; *at;) {
        size_t before = strspn(at, " "), size = strcspn(at + before, ">");
        const char *name = at + before;
        at = name + size + (name[size] == '>');
        while (size > 0 && name[size - 1] == ' ')
            size--;
        if (!size || f->n == STEPS_MAX)
            return weir_fail(ctx, "steps: '%s' is not 2 to %d names with > between",
                             text, STEPS_MAX);
        f->step[f->n].name = name;
        f->step[f->n++].size = size;
    }
    if (f->n < 2)
        return weir_fail(ctx, "steps: '%s' is not 2 to %d names with > between", text,
                         STEPS_MAX);
    return 0;
}

static int open_funnel(struct weir_ctx *ctx)
{
    const struct config *config = ctx->config;
    struct funnel *f = ctx->host->alloc(ctx, sizeof(*f));
    if (!f)
        return weir_fail(ctx, "out of memory");
    ctx->user = f;
    int err = parse_steps(ctx, f, config->steps);
    return err ? err : duration_parse(ctx, "within", config->within, &f->within_us);
}

static void close_funnel(struct weir_ctx *ctx)
{
    ctx->host->free(ctx, ctx->user);
    ctx->user = NULL;
}

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, step, WEIR_REQUIRED, WEIR_TYPES(WEIR_STRING),
                 "the column that names what was done"),
    PARAM_COLUMN(struct config, by, 0, ANY_TYPE,
                 "whose step it is; if not given, the group is one user"),
    PARAM_STRING(struct config, steps, WEIR_REQUIRED, NULL,
                 "names in their order, with > between: view > cart > paid"),
    PARAM_STRING(struct config, within, 0, "1d", "from the first step to the last"),
    PARAM_INT(struct config, events, "10000", 100, 1000000,
              "how many steps are kept; of more, those of a sample of users"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"step", WEIR_STRING, "name of the step", NULL},
    {"users", WEIR_INT, "how many got there", NULL},
    {"conversion", WEIR_FLOAT, "the same as a part of those of the first step", NULL},
    {"seconds", WEIR_FLOAT, "median time from the step before", NULL},
    {"part", WEIR_FLOAT, "part of the users that was looked at; 1: all", NULL},
    {.name = NULL},
};

static const struct weir_analyzer funnel = {
    .name = "funnel",
    .version = "1.0",
    .help = "How many users take steps in their order within a time, and how fast",
    .flags = WEIR_MANY_ROWS,
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct kept),
    .state_version = 1,
    .open = open_funnel,
    .close = close_funnel,
    .drop = drop,
    .update = update,
    .merge = merge,
    .emit = emit,
    .save = save,
    .load = load,
};
WEIR_PLUGIN(funnel);
