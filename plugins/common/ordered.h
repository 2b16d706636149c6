/* SPDX-License-Identifier: Apache-2.0
 *
 * The rows of a group in the order of their time, of equal times in that of the log, for analyzers whose result
 * depends on what comes next to what.
 *
 * Rows arrive nearly in order. The newest are kept as points, sorted. When there are ORDERED_KEEP, the older half
 * of them, and what was folded before, becomes one run: its ends, and what its rows add up to.
 *
 *      [ run: first, last, sum ][ point ][ point ] ... [ point ]       --> time
 *                              cut ^                       new rows are put in here
 *
 * The plugin defines `struct sum`, then includes this, then defines the two functions below; joining has to be
 * associative. A row whose place lies inside a run is of no use any more: `reasons` names it, ORDERED_LATE. That
 * takes ORDERED_KEEP / 2 rows of the group with later times.
 *
 * Merging unites points and runs and folds nothing, so any order and tree gives the same state, as long as no
 * state has rows inside another's run: panes and sessions never do.
 */
#ifndef WEIR_COMMON_ORDERED_H
#define WEIR_COMMON_ORDERED_H

#include "weir/plugin.h"

#include <math.h>
#include <string.h>

#ifndef ORDERED_VALUE
#define ORDERED_VALUE double
#endif
#ifndef ORDERED_KEEP
#define ORDERED_KEEP 1024
#endif
enum { ORDERED_LATE, ORDERED_USELESS }; /* numbers of the reasons */

struct place {
    int64_t time_us;
    uint64_t sequence;
};

struct point {
    struct place at;
    ORDERED_VALUE value;
};

struct run {
    struct place first, last;
    struct sum sum;
};

/* What a run of one row adds up to. */
static void sum_of(const struct weir_ctx *ctx, struct sum *sum, const struct point *p);
/* `right` follows: changes left->sum alone. */
static void run_join(const struct weir_ctx *ctx, struct run *left,
                     const struct run *right);

#ifdef ORDERED_APPEND
/* The same of a run of one row, where that can be had with less copying. */
static void run_append(const struct weir_ctx *ctx, struct run *left,
                       const struct point *p);
#endif

/* Zero bytes are a state without rows. */
struct ordered {
    struct point *point; /* sorted */
    struct run *run;     /* sorted by `first` */
    uint32_t n, room, runs, run_room;
};

static inline int place_before(const struct place *a, const struct place *b)
{
    return a->time_us != b->time_us ? a->time_us < b->time_us
                                    : a->sequence < b->sequence;
}

/* ---- Memory ---- */

static inline int ordered_no_memory(struct weir_ctx *ctx)
{
    return weir_fail(ctx, "no memory for the rows of a group");
}

/* Room for n points and runs in all. On failure nothing has changed. */
static inline int ordered_reserve(struct weir_ctx *ctx, struct ordered *s, uint32_t n,
                                  uint32_t runs)
{
    if (n > s->room) {
        uint32_t room = n > 2 * s->room ? n : 2 * s->room;
        struct point *point =
            ctx->host->alloc(ctx, (room < 4 ? 4 : room) * sizeof(*point));
        if (!point)
            return ordered_no_memory(ctx);
        if (s->n)
            memcpy(point, s->point, s->n * sizeof(*point));
        ctx->host->free(ctx, s->point);
        s->point = point;
        s->room = room < 4 ? 4 : room;
    }
    if (runs > s->run_room) {
        struct run *run = ctx->host->alloc(ctx, runs * sizeof(*run));
        if (!run)
            return ordered_no_memory(ctx);
        if (s->runs)
            memcpy(run, s->run, s->runs * sizeof(*run));
        ctx->host->free(ctx, s->run);
        s->run = run;
        s->run_room = runs;
    }
    return 0;
}

static inline void ordered_drop(struct weir_ctx *ctx, void *state)
{
    struct ordered *s = state;
    ctx->host->free(ctx, s->point);
    ctx->host->free(ctx, s->run);
    memset(s, 0, sizeof(*s));
}

/* ---- Adding up ---- */

/* The first n points, and the runs that begin before the next one, as one run. Returns how many runs these are;
 * nothing is told if there are neither. */
static inline uint32_t ordered_sum(const struct weir_ctx *ctx, const struct ordered *s,
                                   uint32_t n, struct run *all)
{
    uint32_t i = 0, k = 0;
    for (int any = 0;; any = 1) {
        struct run one;
        int is_run = k < s->runs &&
                     (i >= s->n || place_before(&s->run[k].first, &s->point[i].at));
        if (!is_run && i == n)
            return k;
#ifdef ORDERED_APPEND
        if (!is_run && any) {
            run_append(ctx, all, &s->point[i]);
            all->last = s->point[i++].at;
            continue;
        }
#endif
        if (is_run) {
            one = s->run[k++];
        } else {
            memset(&one, 0, sizeof(one)); /* no byte that is saved is left to chance */
            one.first = one.last = s->point[i].at;
            sum_of(ctx, &one.sum, &s->point[i++]);
        }
        if (any) {
            run_join(ctx, all, &one);
            all->last = one.last;
        } else {
            *all = one;
        }
    }
}

/* All rows as one run; 0: there are none, and it is zeroed. */
static inline int ordered_all(const struct weir_ctx *ctx, const struct ordered *s,
                              struct run *all)
{
    memset(all, 0, sizeof(*all));
    if (s->n == 0 && s->runs == 0)
        return 0;
    ordered_sum(ctx, s, s->n, all);
    return 1;
}

/* Leaves `keep` points. */
static inline int ordered_fold(struct weir_ctx *ctx, struct ordered *s, uint32_t keep)
{
    struct run all;
    uint32_t n = s->n - keep;
    int err = ordered_reserve(ctx, s, 0, s->runs + 1);
    if (err)
        return err;
    uint32_t runs = ordered_sum(ctx, s, n, &all);
    memmove(s->run + 1, s->run + runs, (s->runs - runs) * sizeof(*s->run));
    s->run[0] = all;
    s->runs += 1 - runs;
    memmove(s->point, s->point + n, keep * sizeof(*s->point));
    s->n = keep;
    return 0;
}

/* ---- Folding rows in, merging ---- */

static inline int ordered_in_run(const struct ordered *s, const struct place *at)
{
    for (uint32_t k = 0; k < s->runs; k++)
        if (!place_before(at, &s->run[k].first) && !place_before(&s->run[k].last, at))
            return 1;
    return 0;
}

/* 1: the row lies inside a run, and is left out; negative: no memory. */
static inline int ordered_add(struct weir_ctx *ctx, struct ordered *s,
                              const struct point *p)
{
    uint32_t at, low = 0;
    if (s->n >= ORDERED_KEEP && ordered_fold(ctx, s, ORDERED_KEEP / 2))
        return -1;
    if (s->runs && ordered_in_run(s, &p->at))
        return 1;
    if (s->n >= s->room && ordered_reserve(ctx, s, s->n + 1, 0))
        return -1;
    at = s->n;
    if (at && place_before(&p->at, &s->point[at - 1].at)) {
        while (low < at) {
            uint32_t middle = low + (at - low) / 2;
            if (place_before(&p->at, &s->point[middle].at))
                at = middle;
            else
                low = middle + 1;
        }
        memmove(s->point + at + 1, s->point + at, (s->n - at) * sizeof(*s->point));
    }
    s->point[at] = *p;
    s->n++;
    return 0;
}

#ifndef ORDERED_OWN_VALUE
/* Folds in the first input: numbers that are finite and at least `least`; others are ORDERED_USELESS. */
static inline int ordered_numbers(struct weir_ctx *ctx, const struct weir_rows *rows,
                                  double least)
{
    const struct weir_rows r = *rows;
    const struct weir_column *c = r.in[0];
    uint64_t late = 0, useless = 0;
    for (size_t i = 0; i < r.n; i++) {
        uint32_t row = r.row[i];
        struct ordered *s =
            (struct ordered *)(void *)(r.states + r.group[i] * r.stride);
        if (weir_is_null(c, row))
            continue;
        const struct point p = {{r.time[row], weir_sequence(&r, row)},
                                weir_number(c, row)};
        if (!isfinite(p.value) || p.value < least) {
            useless++;
            continue;
        }
        int err = ordered_add(ctx, s, &p);
        if (err < 0)
            return err;
        late += (uint64_t)err;
    }
    if (late)
        ctx->host->skip(ctx, ORDERED_LATE, late);
    if (useless)
        ctx->host->skip(ctx, ORDERED_USELESS, useless);
    return 0;
}
#endif

static inline int ordered_merge_one(struct weir_ctx *ctx, struct ordered *into,
                                    const struct ordered *from,
                                    const struct weir_window *window)
{
    uint32_t i = into->n, k = from->n, at = i + k;
    (void)window;
    int err = ordered_reserve(ctx, into, at, into->runs + from->runs);
    if (err)
        return err;
    into->n = at;
    while (k > 0)
        if (i > 0 && place_before(&from->point[k - 1].at, &into->point[i - 1].at))
            into->point[--at] = into->point[--i];
        else
            into->point[--at] = from->point[--k];
    i = into->runs, k = from->runs, at = i + k;
    into->runs = at;
    while (k > 0)
        if (i > 0 && place_before(&from->run[k - 1].first, &into->run[i - 1].first))
            into->run[--at] = into->run[--i];
        else
            into->run[--at] = from->run[--k];
    return 0;
}

WEIR_MERGE(ordered_merge, struct ordered, ordered_merge_one)

/* ---- Saving: how many, then points and runs as they lie in memory ---- */

static inline int ordered_save(struct weir_ctx *ctx, const void *state,
                               struct weir_out *out)
{
    const struct ordered *s = state;
    const uint32_t count[2] = {s->n, s->runs};
    int err = ctx->host->write(ctx, out, count, sizeof(count));
    if (!err && s->n)
        err = ctx->host->write(ctx, out, s->point, s->n * sizeof(*s->point));
    if (!err && s->runs)
        err = ctx->host->write(ctx, out, s->run, s->runs * sizeof(*s->run));
    return err;
}

/* Times whose differences fit an int64; those of events are far within. */
#define ORDERED_TIME_MAX ((int64_t)1 << 61)

static inline int ordered_is_time(const struct place *at)
{
    return at->time_us >= -ORDERED_TIME_MAX && at->time_us <= ORDERED_TIME_MAX;
}

static inline int ordered_load(struct weir_ctx *ctx, void *state, uint32_t version,
                               const void *bytes, size_t size)
{
    struct ordered *s = state;
    uint32_t count[2];
    (void)version; /* there has been one */
    if (size < sizeof(count))
        return weir_fail(ctx, "the saved state is damaged");
    memcpy(count, bytes, sizeof(count));
    size_t points = count[0] * sizeof(*s->point), runs = count[1] * sizeof(*s->run);
    if (size - sizeof(count) != points + runs)
        return weir_fail(ctx, "the saved state is damaged");
    int err = ordered_reserve(ctx, s, count[0], count[1]);
    if (err)
        return err;
    if (points)
        memcpy(s->point, (const char *)bytes + sizeof(count), points);
    if (runs)
        memcpy(s->run, (const char *)bytes + sizeof(count) + points, runs);
    s->n = count[0];
    s->runs = count[1];
    int good = 1;
    for (uint32_t i = 0; i < s->n; i++)
        good = good && ordered_is_time(&s->point[i].at);
    for (uint32_t i = 0; i < s->runs; i++)
        good = good && ordered_is_time(&s->run[i].first) &&
               ordered_is_time(&s->run[i].last);
    return good ? 0 : weir_fail(ctx, "the saved state is damaged");
}

#endif
