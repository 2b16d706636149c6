/* SPDX-License-Identifier: Apache-2.0
 *
 * retention: users by the period in which they first came (a cohort), and how many of each came again so many periods
 * later. Of each user: the first period, and a bit for each of the 64 from there on in which they came.
 *
 * Of more users than the limit those with the least hashes are kept, each with the same probability: bottom-k, E.
 * Cohen, H. Kaplan, "Summarizing data using bottom-k sketches", PODC 2007. There may be twice as many until the larger
 * half is left out; a user among the least has never been, so results are of those, whatever order states are merged in.
 */
#include "../common/declare.h"

struct entry {
    uint64_t hash; /* of the user */
    uint64_t bits; /* bit k: came in period first + k */
    int64_t first; /* period */
};

#include "../common/table.h"

#include <math.h>
#include <stdlib.h>

struct config {
    const char *by, *period;
    int64_t users;
};

#define AGES    64
#define COHORTS 1000 /* given out, the latest ones */

/* One in each context. */
struct retention {
    int64_t period_us;
    uint64_t seed;
    uint32_t limit;
};

/* Zero bytes are a state without rows. */
struct state {
    struct table table;
    uint64_t cut; /* users with this hash and above are left out; 0: none is */
};

enum output { COHORT, AGE, USERS, SHARE, PART };

/* ---- Folding rows in, merging ---- */

static void come(struct entry *e, int64_t period, uint64_t bits)
{
    uint64_t age;
    if (period < e->first) {
        age = (uint64_t)e->first - (uint64_t)period;
        e->bits = age < AGES ? e->bits << age | bits : bits;
        e->first = period;
    } else {
        age = (uint64_t)period - (uint64_t)e->first;
        if (age < AGES)
            e->bits |= bits << age;
    }
}

static int by_hash(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return (x->hash > y->hash) - (x->hash < y->hash);
}

/* Leaves the `limit` least. */
static void cut(const struct retention *t, struct state *s)
{
    qsort(s->table.entry, s->table.n, sizeof(*s->table.entry), by_hash);
    if (!s->cut || s->table.entry[t->limit].hash < s->cut)
        s->cut = s->table.entry[t->limit].hash;
    s->table.n = t->limit;
    table_index(&s->table, t->seed);
}

static int add(struct weir_ctx *ctx, struct state *s, uint64_t hash, int64_t period,
               uint64_t bits)
{
    const struct retention *t = ctx->user;
    if (s->cut && hash >= s->cut)
        return 0;
    struct entry *e = table_get(&s->table, t->seed, hash);
    if (e) {
        come(e, period, bits);
        return 0;
    }
    e = table_add(ctx, &s->table, t->seed, hash);
    if (!e)
        return -1;
    e->first = period;
    e->bits = bits;
    if (s->table.n >= 2 * t->limit)
        cut(t, s);
    return 0;
}

/* Rounded down: times before 1970 too. */
static int64_t period_of(const struct retention *t, int64_t time_us)
{
    return time_us / t->period_us - (time_us % t->period_us < 0);
}

static int update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct retention *t = ctx->user;
    const struct weir_rows r = *rows;
    struct {
        struct state *s;
        uint64_t hash;
        int64_t period;
        uint32_t mixed;
    } ahead[TABLE_AHEAD];
    for (size_t i = 0; i < r.n;) {
        uint32_t n = 0;
        for (; i < r.n && n < TABLE_AHEAD; i++) {
            uint32_t row = r.row[i];
            if (weir_is_null(r.in[0], row))
                continue;
            ahead[n].s = (struct state *)(void *)(r.states + r.group[i] * r.stride);
            ahead[n].hash = hash_value(r.in[0], row);
            ahead[n].period = period_of(t, r.time[row]);
            ahead[n].mixed = table_mix(t->seed, ahead[n].hash);
            table_fetch_slot(&ahead[n].s->table, ahead[n].mixed);
            n++;
        }
        for (uint32_t k = 0; k < n; k++)
            table_fetch_entry(&ahead[k].s->table, ahead[k].mixed);
        for (uint32_t k = 0; k < n; k++)
            if (add(ctx, ahead[k].s, ahead[k].hash, ahead[k].period, 1))
                return -1;
    }
    return 0;
}

static int merge_one(struct weir_ctx *ctx, struct state *into, const struct state *from,
                     const struct weir_window *window)
{
    (void)window;
    if (from->cut && (!into->cut || from->cut < into->cut))
        into->cut = from->cut;
    for (uint32_t i = 0; i < from->table.n; i++) {
        const struct entry *e = &from->table.entry[i];
        if (add(ctx, into, e->hash, e->first, e->bits))
            return -1;
    }
    return 0;
}

/* ---- Results ---- */

static int by_cohort(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

static int put_cohort(struct weir_ctx *ctx, const struct entry *e, uint32_t n,
                      double part, struct weir_out *out)
{
    const struct retention *t = ctx->user;
    uint32_t users[AGES] = {0};
    int64_t began_us;
    int err = 0;
    if (__builtin_mul_overflow(e->first, t->period_us, &began_us))
        began_us = INT64_MIN;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t age = 0; age < AGES; age++)
            users[age] += (uint32_t)(e[i].bits >> age & 1);
    for (uint32_t age = 0; !err && age < AGES; age++) {
        if (!users[age])
            continue;
        weir_put_int(ctx, out, COHORT, began_us);
        weir_put_int(ctx, out, AGE, age);
        weir_put_int(ctx, out, USERS, (int64_t)llround(users[age] / part));
        weir_put_float(ctx, out, SHARE, (double)users[age] / n);
        weir_put_float(ctx, out, PART, part);
        err = ctx->host->row(ctx, out);
    }
    return err;
}

/* The first of the cohorts that are given out. */
static uint32_t latest(const struct entry *e, uint32_t n)
{
    uint32_t at = n;
    for (uint32_t cohorts = 0; at > 0; at--)
        if ((at == n || e[at - 1].first != e[at].first) && cohorts++ == COHORTS)
            break;
    return at;
}

static int put_all(struct weir_ctx *ctx, struct entry *e, uint32_t n, double part,
                   struct weir_out *out)
{
    int err = 0;
    qsort(e, n, sizeof(*e), by_cohort);
    for (uint32_t i = latest(e, n), more; !err && i < n; i += more) {
        for (more = 1; i + more < n && e[i + more].first == e[i].first; more++)
            ;
        err = put_cohort(ctx, e + i, more, part, out);
    }
    return err;
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    const struct retention *t = ctx->user;
    uint32_t n = s->table.n;
    uint64_t end = s->cut;
    (void)window;
    if (n == 0)
        return 0;
    struct entry *e = ctx->host->alloc(ctx, n * sizeof(*e));
    if (!e)
        return weir_fail(ctx, "no memory for the users of a group");
    memcpy(e, s->table.entry, n * sizeof(*e));
    if (n > t->limit) {
        qsort(e, n, sizeof(*e), by_hash);
        if (!end || e[t->limit].hash < end)
            end = e[t->limit].hash;
        n = t->limit;
    }
    int err = put_all(ctx, e, n, end ? ldexp((double)end, -64) : 1, out);
    ctx->host->free(ctx, e);
    return err;
}

WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)

static void drop(struct weir_ctx *ctx, void *state)
{
    table_drop(ctx, &((struct state *)state)->table);
}

/* ---- Saving: the cut, then the users ---- */

static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    const struct state *s = state;
    int err = ctx->host->write(ctx, out, &s->cut, sizeof(s->cut));
    if (!err && s->table.n)
        err = ctx->host->write(ctx, out, s->table.entry,
                               s->table.n * sizeof(*s->table.entry));
    return err;
}

static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes,
                size_t size)
{
    const struct retention *t = ctx->user;
    struct state *s = state;
    uint64_t end;
    (void)version; /* there has been one */
    if (size < sizeof(end) || (size - sizeof(end)) % sizeof(*s->table.entry) ||
        (size - sizeof(end)) / sizeof(*s->table.entry) > 2 * t->limit)
        return weir_fail(ctx, "the saved state is damaged");
    memcpy(&end, bytes, sizeof(end));
    for (size_t at = sizeof(end); at < size; at += sizeof(*s->table.entry)) {
        struct entry e;
        memcpy(&e, (const char *)bytes + at, sizeof(e));
        if (!(e.bits & 1) || e.first > INT64_MAX / t->period_us ||
            e.first < INT64_MIN / t->period_us)
            return weir_fail(ctx, "the saved state is damaged");
        if (add(ctx, s, e.hash, e.first, e.bits))
            return -1;
    }
    s->cut = end;
    return 0;
}

/* ---- Opening ---- */

static int open_retention(struct weir_ctx *ctx)
{
    const struct config *config = ctx->config;
    struct retention *t = ctx->host->alloc(ctx, sizeof(*t));
    if (!t)
        return weir_fail(ctx, "out of memory");
    ctx->user = t;
    t->limit = (uint32_t)config->users;
    if (table_seed(ctx, &t->seed) ||
        duration_parse(ctx, "period", config->period, &t->period_us))
        return -1;
    return t->period_us ? 0 : weir_fail(ctx, "period has to be longer than 0s");
}

static void close_retention(struct weir_ctx *ctx)
{
    ctx->host->free(ctx, ctx->user);
    ctx->user = NULL;
}

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, by, WEIR_REQUIRED, ANY_TYPE, "who it was"),
    PARAM_STRING(struct config, period, 0, "1d", "length of a period"),
    PARAM_INT(struct config, users, "10000", 100, 1000000,
              "how many users are looked at, at most; of more, a sample"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"cohort", WEIR_TIME, "when the users' first period began", NULL},
    {"age", WEIR_INT, "how many periods later", NULL},
    {"users", WEIR_INT, "how many of them came then", NULL},
    {"share", WEIR_FLOAT, "the same as a part of the cohort", NULL},
    {"part", WEIR_FLOAT, "part of the users that was looked at; 1: all", NULL},
    {.name = NULL},
};

static const struct weir_analyzer retention = {
    .name = "retention",
    .version = "1.0",
    .help = "How many users come again, by when they first came",
    .flags = WEIR_MANY_ROWS,
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 1,
    .open = open_retention,
    .close = close_retention,
    .drop = drop,
    .update = update,
    .merge = merge,
    .emit = emit,
    .save = save,
    .load = load,
};
WEIR_PLUGIN(retention);
