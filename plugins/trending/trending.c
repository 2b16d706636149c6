/* SPDX-License-Identifier: Apache-2.0
 *
 * trending: values of a column that come more often now than they used to. Of each value two counts are kept that decay
 * with time, a fast and a slow one: G. Cormode, V. Shkapenyuk, D. Srivastava, B. Xu, "Forward decay: a practical time
 * decay model for streaming systems", ICDE 2009. They do not depend on the order of rows.
 *
 * A value that comes r times a second, as a Poisson process, has by the age T of the group the expected counts
 * r * (1 - 2^(-T / h)) * h / ln 2 with the half-lives h. So the slow count says what the fast one should be; its
 * variance is half of it for long T. The score is the distance in standard deviations, with one event added to the
 * variance, so that a value that came once is no trend: (fast - expected) / sqrt(expected / 2 + 1).
 */
#include "../common/declare.h"
#include "../common/kept.h"

struct entry {
    uint64_t hash;
    int64_t time_us; /* both counts are as of then */
    double fast, slow;
    union {
        int64_t i;
        struct text *text; /* owned */
    } value;
};

#include "../common/table.h"

#include <math.h>

struct config {
    const char *of, *recent, *baseline;
    int64_t k, capacity;
};

/* One in each context. */
struct trending {
    double fast, slow; /* exponents of 2 for a microsecond */
    uint64_t seed;
    uint32_t capacity, k;
    uint32_t is_text;
};

/* Zero bytes are a state without rows. */
struct state {
    struct table table;
    int64_t first_us, last_us; /* of all rows */
};

enum output { VALUE, SCORE, RECENT, EXPECTED };

/* ---- Folding rows in ---- */

/* Adds counts that are as of time_us. */
static void add_counts(const struct trending *t, struct entry *e, int64_t time_us,
                       double fast, double slow)
{
    double us = (double)(time_us - e->time_us);
    if (us == 0) {
        e->fast += fast;
        e->slow += slow;
    } else if (us > 0) {
        e->fast = e->fast * exp2(-us * t->fast) + fast;
        e->slow = e->slow * exp2(-us * t->slow) + slow;
        e->time_us = time_us;
    } else {
        e->fast += fast * exp2(us * t->fast);
        e->slow += slow * exp2(us * t->slow);
    }
}

struct ranked {
    double by;
    uint32_t number; /* of an entry */
};

static int by_rank(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    return x->by != y->by ? (x->by < y->by ? 1 : -1)
                          : (x->number > y->number) - (x->number < y->number);
}

/* Leaves the `capacity` values with the largest slow counts. */
static int prune(struct weir_ctx *ctx, struct state *s)
{
    const struct trending *t = ctx->user;
    struct table kept = {0};
    struct ranked *list = ctx->host->alloc(ctx, s->table.n * sizeof(*list));
    int err = list ? table_reserve(ctx, &kept, t->seed, s->table.room)
                   : weir_fail(ctx, "no memory for the values of a group");
    for (uint32_t i = 0; !err && i < s->table.n; i++) {
        const struct entry *e = &s->table.entry[i];
        list[i].by = log2(e->slow) + (double)(e->time_us - s->last_us) * t->slow;
        list[i].number = i;
    }
    if (!err) {
        qsort(list, s->table.n, sizeof(*list), by_rank);
        for (uint32_t i = 0; i < s->table.n; i++) {
            const struct entry *e = &s->table.entry[list[i].number];
            if (i < t->capacity)
                kept.entry[kept.n++] = *e;
            else if (t->is_text)
                ctx->host->free(ctx, e->value.text);
        }
        table_index(&kept, t->seed);
        table_drop(ctx, &s->table);
        s->table = kept;
    }
    ctx->host->free(ctx, list);
    return err;
}

/* A value that is new: of a string its first bytes. */
static struct entry *add_value(struct weir_ctx *ctx, struct state *s, uint64_t hash,
                               const char *bytes, size_t size, int64_t number)
{
    const struct trending *t = ctx->user;
    struct text *text = NULL;
    if (s->table.n >= 2 * t->capacity && prune(ctx, s))
        return NULL;
    if (bytes) {
        size = text_cut(bytes, size, KEPT_TEXT_MAX);
        text = ctx->host->alloc(ctx, sizeof(*text) + size);
        if (!text) {
            kept_no_memory(ctx);
            return NULL;
        }
        text->size = (uint32_t)size;
        if (size)
            memcpy(text->bytes, bytes, size);
    }
    struct entry *e = table_add(ctx, &s->table, t->seed, hash);
    if (!e)
        ctx->host->free(ctx, text);
    else if (bytes)
        e->value.text = text;
    else
        e->value.i = number;
    return e;
}

static void see(struct state *s, int64_t first_us, int64_t last_us)
{
    if (!s->table.n || first_us < s->first_us)
        s->first_us = first_us;
    if (!s->table.n || last_us > s->last_us)
        s->last_us = last_us;
}

static int count_row(struct weir_ctx *ctx, struct state *s, uint64_t hash,
                     int64_t time_us, const struct weir_column *c, uint32_t row)
{
    const struct trending *t = ctx->user;
    struct entry *e = table_get(&s->table, t->seed, hash);
    see(s, time_us, time_us);
    if (!e) {
        size_t size = 0;
        const char *bytes = t->is_text ? weir_string(c, row, &size) : NULL;
        e = add_value(ctx, s, hash, t->is_text && !size ? "" : bytes, size,
                      t->is_text ? 0 : weir_int(c, row));
        if (!e)
            return -1;
        e->time_us = time_us;
    }
    add_counts(t, e, time_us, 1, 1);
    return 0;
}

static int update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct trending *t = ctx->user;
    const struct weir_rows r = *rows;
    const struct weir_column *c = r.in[0];
    struct {
        struct state *s;
        uint64_t hash;
        uint32_t mixed, row;
    } ahead[TABLE_AHEAD];
    for (size_t i = 0; i < r.n;) {
        uint32_t n = 0;
        for (; i < r.n && n < TABLE_AHEAD; i++) {
            uint32_t row = r.row[i];
            if (weir_is_null(c, row))
                continue;
            ahead[n].s = (struct state *)(void *)(r.states + r.group[i] * r.stride);
            ahead[n].hash = hash_value(c, row);
            ahead[n].row = row;
            ahead[n].mixed = table_mix(t->seed, ahead[n].hash);
            table_fetch_slot(&ahead[n].s->table, ahead[n].mixed);
            n++;
        }
        for (uint32_t k = 0; k < n; k++)
            table_fetch_entry(&ahead[k].s->table, ahead[k].mixed);
        for (uint32_t k = 0; k < n; k++)
            if (count_row(ctx, ahead[k].s, ahead[k].hash, r.time[ahead[k].row], c,
                          ahead[k].row))
                return -1;
    }
    return 0;
}

static int merge_one(struct weir_ctx *ctx, struct state *into, const struct state *from,
                     const struct weir_window *window)
{
    const struct trending *t = ctx->user;
    (void)window;
    if (from->table.n)
        see(into, from->first_us, from->last_us);
    for (uint32_t i = 0; i < from->table.n; i++) {
        const struct entry *f = &from->table.entry[i];
        struct entry *e = table_get(&into->table, t->seed, f->hash);
        if (!e) {
            const struct text *text = t->is_text ? f->value.text : NULL;
            e = add_value(ctx, into, f->hash, text ? text->bytes : NULL,
                          text ? text->size : 0, f->value.i);
            if (!e)
                return -1;
            e->time_us = f->time_us;
        }
        add_counts(t, e, f->time_us, f->fast, f->slow);
    }
    return 0;
}

/* ---- Results ---- */

/* What the slow count says that the fast one should be; the limit for a group of no age is the count. */
static double expected_of(const struct trending *t, double slow, double age_us)
{
    if (age_us <= 0)
        return slow;
    return slow * (-expm1(-age_us * t->fast * log(2)) / t->fast) /
           (-expm1(-age_us * t->slow * log(2)) / t->slow);
}

struct trend {
    const struct entry *e;
    double score, recent, expected;
    uint32_t is_text;
};

static int by_score(const void *a, const void *b)
{
    const struct trend *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    if (!x->is_text)
        return (x->e->value.i > y->e->value.i) - (x->e->value.i < y->e->value.i);
    const struct text *v = x->e->value.text, *w = y->e->value.text;
    uint32_t size = v->size < w->size ? v->size : w->size;
    int order = size ? memcmp(v->bytes, w->bytes, size) : 0;
    return order ? order : (v->size > w->size) - (v->size < w->size);
}

static struct trend judge(const struct trending *t, const struct state *s,
                          const struct entry *e)
{
    double ago_us = (double)(s->last_us - e->time_us);
    struct trend trend = {.e = e, .is_text = t->is_text};
    trend.recent = e->fast * exp2(-ago_us * t->fast);
    trend.expected = expected_of(t, e->slow * exp2(-ago_us * t->slow),
                                 (double)(s->last_us - s->first_us));
    trend.score = (trend.recent - trend.expected) / sqrt(trend.expected / 2 + 1);
    return trend;
}

static int put_trend(struct weir_ctx *ctx, const struct trend *trend,
                     struct weir_out *out)
{
    if (trend->is_text)
        weir_put_string(ctx, out, VALUE, trend->e->value.text->bytes,
                        trend->e->value.text->size);
    else
        weir_put_int(ctx, out, VALUE, trend->e->value.i);
    weir_put_float(ctx, out, SCORE, trend->score);
    weir_put_float(ctx, out, RECENT, trend->recent);
    weir_put_float(ctx, out, EXPECTED, trend->expected);
    return ctx->host->row(ctx, out);
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    const struct trending *t = ctx->user;
    int err = 0;
    (void)window;
    if (s->table.n == 0)
        return 0;
    struct trend *list = ctx->host->alloc(ctx, s->table.n * sizeof(*list));
    if (!list)
        return kept_no_memory(ctx);
    for (uint32_t i = 0; i < s->table.n; i++)
        list[i] = judge(t, s, &s->table.entry[i]);
    qsort(list, s->table.n, sizeof(*list), by_score);
    for (uint32_t i = 0; !err && i < s->table.n && i < t->k && list[i].score > 0; i++)
        err = put_trend(ctx, &list[i], out);
    ctx->host->free(ctx, list);
    return err;
}

WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)

static void drop(struct weir_ctx *ctx, void *state)
{
    const struct trending *t = ctx->user;
    struct state *s = state;
    for (uint32_t i = 0; t->is_text && i < s->table.n; i++)
        ctx->host->free(ctx, s->table.entry[i].value.text);
    table_drop(ctx, &s->table);
}

/* ---- Saving: both times, then entries, each with its text behind it, and its size instead of the pointer ---- */

static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    const struct trending *t = ctx->user;
    const struct state *s = state;
    const int64_t head[2] = {s->first_us, s->last_us};
    int err = ctx->host->write(ctx, out, head, sizeof(head));
    for (uint32_t i = 0; !err && i < s->table.n; i++) {
        struct entry e = s->table.entry[i];
        const struct text *text = t->is_text ? e.value.text : NULL;
        if (text)
            e.value.i = text->size;
        err = ctx->host->write(ctx, out, &e, sizeof(e));
        if (!err && text && text->size)
            err = ctx->host->write(ctx, out, text->bytes, text->size);
    }
    return err;
}

static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes,
                size_t size)
{
    const struct trending *t = ctx->user;
    struct state *s = state;
    const char *at = bytes;
    int64_t head[2];
    (void)version; /* there has been one */
    if (size < sizeof(head))
        return weir_fail(ctx, "the saved state is damaged");
    memcpy(head, at, sizeof(head));
    at += sizeof(head), size -= sizeof(head);
    if (!time_is_sound(head[0]) || !time_is_sound(head[1]))
        return weir_fail(ctx, "the saved state is damaged");
    while (size > 0) {
        struct entry e;
        if (size < sizeof(e) || s->table.n == 2 * t->capacity)
            return weir_fail(ctx, "the saved state is damaged");
        memcpy(&e, at, sizeof(e));
        at += sizeof(e), size -= sizeof(e);
        size_t more = t->is_text ? (size_t)e.value.i : 0;
        if (more > size || more > KEPT_TEXT_MAX || !text_is_utf8(at, more) ||
            !time_is_sound(e.time_us) || table_get(&s->table, t->seed, e.hash))
            return weir_fail(ctx, "the saved state is damaged");
        struct entry *added =
            add_value(ctx, s, e.hash, t->is_text ? at : NULL, more, e.value.i);
        if (!added)
            return -1;
        added->time_us = e.time_us;
        added->fast = e.fast;
        added->slow = e.slow;
        at += more, size -= more;
    }
    s->first_us = head[0];
    s->last_us = head[1];
    return 0;
}

/* ---- Opening ---- */

static int open_trending(struct weir_ctx *ctx)
{
    const struct config *config = ctx->config;
    int64_t recent_us = 0, baseline_us = 0;
    struct trending *t = ctx->host->alloc(ctx, sizeof(*t));
    if (!t)
        return weir_fail(ctx, "out of memory");
    ctx->user = t;
    if (duration_parse(ctx, "recent", config->recent, &recent_us) ||
        duration_parse(ctx, "baseline", config->baseline, &baseline_us) ||
        table_seed(ctx, &t->seed))
        return -1;
    if (recent_us == 0 || baseline_us <= recent_us)
        return weir_fail(
            ctx,
            "baseline, %s, has to be longer than recent, %s, and that longer than 0s",
            config->baseline, config->recent);
    t->fast = 1 / (double)recent_us;
    t->slow = 1 / (double)baseline_us;
    t->k = (uint32_t)config->k;
    t->capacity = (uint32_t)config->capacity;
    t->is_text = ctx->types[0] == WEIR_STRING;
    return 0;
}

static void close_trending(struct weir_ctx *ctx)
{
    ctx->host->free(ctx, ctx->user);
    ctx->user = NULL;
}

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, of, WEIR_REQUIRED,
                 WEIR_TYPES(WEIR_STRING) | WEIR_TYPES(WEIR_INT), "the column"),
    PARAM_STRING(struct config, recent, 0, "5m", "half-life of what is recent"),
    PARAM_STRING(struct config, baseline, 0, "1h", "half-life of what is usual"),
    PARAM_INT(struct config, k, "10", 1, 1000, "how many values to store, at most"),
    PARAM_INT(struct config, capacity, "1000", 1, 100000,
              "how many values are followed; of more, the most frequent"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{of}", WEIR_SAME_AS(0), "the value", NULL},
    {"{of}_score", WEIR_FLOAT, "how much more than usual, standard deviations", NULL},
    {"{of}_recent", WEIR_FLOAT, "recent count, older events less", NULL},
    {"{of}_expected", WEIR_FLOAT, "what it would be as usual", NULL},
    {.name = NULL},
};

static const struct weir_analyzer trending = {
    .name = "trending",
    .version = "1.0",
    .help = "Values that come more often than they used to, with a score",
    .flags = WEIR_MANY_ROWS,
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 1,
    .open = open_trending,
    .close = close_trending,
    .drop = drop,
    .update = update,
    .merge = merge,
    .emit = emit,
    .save = save,
    .load = load,
};
WEIR_PLUGIN(trending);
