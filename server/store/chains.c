/* SPDX-License-Identifier: Apache-2.0
 *
 * Pipelines that read one another are committed together: rows of one wait here until the others have read as far, so
 * that what they make of them stands in the same transaction, and a checkpoint waits for those of all. A chain
 * is known by the pipeline that it begins with, its top.
 *
 *      parent:  rows at 7   | rows at 9          known: 9
 *      child:               | rows at 7          known: 7     rows at 7 go, those at 9 wait
 */
#include "store/internal.h"

#include <stdlib.h>

void chains_join(struct store *s, struct store_pipeline *p, struct store_pipeline *top)
{
    if (p->top == top)
        return;
    p->top = top;
    s->n_chained += top->members++ > 0;
    atomic_store_explicit(&p->out, false, memory_order_relaxed);
}

static void drop_held(struct store *s, const struct store_pipeline *p)
{
    struct inbox_item **at = &s->held;
    while (*at) {
        struct inbox_item *i = *at;
        if (store_find_pipeline(s, i->report.pipeline) != p) {
            at = &i->next;
            continue;
        }
        *at = i->next;
        i->next = NULL;
        inbox_item_free(i);
    }
}

void chains_part(struct store *s, struct store_pipeline *p)
{
    if (!p->top)
        return;
    drop_held(s, p);
    s->n_chained -= --p->top->members > 0;
    p->top = NULL;
    for (size_t i = 0; i < STORE_WORKERS_MAX; i++)
        p->known[i] = 0;
    p->held_from = 0;
}

static bool is_alone(const struct store_pipeline *p)
{
    return !p->top || p->top->members < 2;
}

/* Is it waited for? */
static bool counts(const struct store_pipeline *p, const struct store_pipeline *top)
{
    return p->top == top && !atomic_load_explicit(&p->failed, memory_order_relaxed) &&
           !atomic_load_explicit(&p->out, memory_order_relaxed);
}

bool chains_complete(const struct store *s, const struct store_pipeline *p,
                     uint64_t number)
{
    if (!number || is_alone(p)) /* 0: what one begins with, before it runs */
        return true;
    for (const struct store_pipeline *m = s->pipelines; m; m = m->next)
        if (counts(m, p->top) && !checkpoints_complete(m, number))
            return false;
    return true;
}

/* ---- Rows ------------------------------------------------------------------------------------- */

/* How far workers are, with rows that wait here or without. */
static void hear(struct store *s, const struct inbox_share *share)
{
    for (const struct inbox_item *i = share->list; i; i = i->next) {
        struct store_pipeline *p =
            i->report.workers ? store_find_pipeline(s, i->report.pipeline) : NULL;
        if (p)
            p->known[i->report.worker] = i->report.position;
    }
    for (struct store_pipeline *p = s->pipelines; p; p = p->next) {
        if (is_alone(p))
            continue;
        pthread_mutex_lock(&p->lock);
        p->known_n = p->workers;
        for (unsigned i = 0; i < p->workers; i++)
            if (p->said[i].behind <= share->number && p->said[i].position > p->known[i])
                p->known[i] = p->said[i].position;
        pthread_mutex_unlock(&p->lock);
    }
}

/* Up to where all of a chain have said what they had to say. A checkpoint that goes in takes what is before it along,
 * whatever was said. */
static uint64_t settled(const struct store *s, const struct store_pipeline *top)
{
    uint64_t least = UINT64_MAX, with_checkpoint = 0;
    for (const struct store_pipeline *p = s->pipelines; p; p = p->next) {
        if (!counts(p, top))
            continue;
        for (unsigned i = 0; i < p->known_n; i++)
            least = p->known[i] < least ? p->known[i] : least;
        least = p->known_n ? least : 0;
        for (const struct checkpoint *c = p->parts; c; c = c->next)
            if (c->position > with_checkpoint && checkpoints_complete(p, c->number) &&
                chains_complete(s, p, c->number))
                with_checkpoint = c->position;
    }
    return with_checkpoint > least ? with_checkpoint : least;
}

/* Of the chains that have rows to be sorted. */
static void settle(struct store *s, const struct inbox_item *list)
{
    for (const struct inbox_item *i = list; i; i = i->next) {
        struct store_pipeline *p =
            i->report.workers ? store_find_pipeline(s, i->report.pipeline) : NULL;
        if (p && !is_alone(p))
            p->top->settled = settled(s, p->top);
    }
}

static bool waits(const struct store *s, const struct inbox_item *i)
{
    const struct store_pipeline *p =
        i->report.workers ? store_find_pipeline(s, i->report.pipeline) : NULL;
    return p && !is_alone(p) &&
           !atomic_load_explicit(&p->failed, memory_order_relaxed) &&
           i->report.position > p->top->settled;
}

struct inbox_item *chains_sort(struct store *s, const struct inbox_share *share)
{
    struct inbox_item *all = s->held, *first = NULL, **last = &first, **held = &s->held;
    struct inbox_item **end = &all;
    if (!s->n_chained && !all)
        return share->list;
    hear(s, share);
    while (*end)
        end = &(*end)->next;
    *end = share->list;
    settle(s, all);
    s->held = NULL;
    for (struct store_pipeline *p = s->pipelines; p; p = p->next)
        p->held_from = 0;
    for (struct inbox_item *i = all, *next; i; i = next) {
        next = i->next;
        i->next = NULL;
        if (share->closed || !waits(s, i)) {
            *last = i;
            last = &i->next;
            continue;
        }
        struct store_pipeline *p = store_find_pipeline(s, i->report.pipeline);
        p->held_from = p->held_from ? p->held_from : i->number;
        *held = i;
        held = &i->next;
    }
    return first;
}
