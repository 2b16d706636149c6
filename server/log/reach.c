/* SPDX-License-Identifier: Apache-2.0
 *
 * What source 0 has reached, which is all producers without a name together. As long as one connection sends alone,
 * that is the newest time of its rows, row by row. Where several do, it is the least that each of them has reached,
 * and moves behind each entry:
 *
 *      connection A   10..19          30..39                 closed
 *      connection B            5..14           15..24
 *      log            [A     ] [B   ] [A    ]  [B   ]        LOG_REACHED 24 (held by B alone now)
 *      has reached    -        14     14       24
 */
#include "base/clock.h"
#include "log/internal.h"

static bool tells_alone(const struct log *l, const struct log_entry *e)
{
    uint32_t n = l->origins.n_holding;
    return n == 0 || (n == 1 && !e->mixed && e->origin && e->origin->holds);
}

/* Behind the entry. */
static int64_t reached_behind(const struct log *l, struct log_entry *e,
                              int64_t reached_us)
{
    int64_t us = e->time_us;
    if (e->kind == LOG_BATCH) {
        if (e->origin)
            origin_took(e->origin, e->batch->span.max_us);
        e->held = !tells_alone(l, e);
        us = e->held ? origins_least(&l->origins) : e->batch->span.max_us;
    }
    return us > reached_us ? us : reached_us;
}

void reach_frame(struct log *l)
{
    struct frame *f = &l->frame;
    int64_t reached_us = l->reached_us;
    origins_look(&l->origins, reached_us, gather_now(l));
    struct intake_item *item = f->items;
    for (size_t i = 0; i < f->n; i++) {
        struct log_entry *e = f->entry[i];
        for (; item && (item->last == SIZE_MAX || item->last <= i); item = item->next)
            if (item->origin && item->rows)
                origin_took(item->origin, item->newest_us);
        if (e->source || (e->kind != LOG_BATCH && e->kind != LOG_REACHED) ||
            e->pipeline)
            continue;
        reached_us = e->reached_us = reached_behind(l, e, reached_us);
    }
    l->will_reach_us = reached_us;
}

void reach_written(struct log *l)
{
    int64_t now_us = gather_now(l);
    l->reached_us = l->will_reach_us;
    for (struct intake_item *i = l->frame.items; i; i = i->next)
        if (i->origin)
            origin_sure(i->origin, now_us);
}

void reach_undo(struct log *l)
{
    for (struct intake_item *i = l->frame.items; i; i = i->next)
        if (i->origin)
            origin_undo(i->origin);
}

void reach_replayed(struct log *l, const struct log_entry *e)
{
    int64_t us = e->kind != LOG_BATCH ? e->time_us
                 : e->held            ? e->reached_us
                                      : e->batch->span.max_us;
    bool says = e->kind == LOG_BATCH || (e->kind == LOG_REACHED && !e->pipeline);
    if (!e->source && says && us > l->reached_us)
        l->reached_us = us;
}

int64_t reach_more(struct log *l)
{
    const struct origins *os = &l->origins;
    int64_t us = origins_least(os);
    if (os->n_holding)
        return us > l->reached_us ? us : INT64_MIN;
    /* After a start those that were there before may still come back. */
    us = l->sources.clock[0].seen && os->some_ended ? l->sources.clock[0].max_us
                                                    : INT64_MIN;
    return us > l->reached_us ? us : INT64_MIN;
}
