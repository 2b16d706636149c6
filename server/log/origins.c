/* SPDX-License-Identifier: Apache-2.0 */
#include "log/origins.h"

#include "base/least.h"

#include <stdlib.h>

void origins_init(struct origins *os)
{
    pthread_mutex_init(&os->lock, NULL);
}

void origins_free(struct origins *os)
{
    for (struct origin *o = os->come, *next; o; o = next) {
        next = o->next;
        free(o);
    }
    for (uint32_t i = 0; i < os->n_listed; i++)
        free(os->list[i]);
    free(os->list);
    free(os->least);
    pthread_mutex_destroy(&os->lock);
}

/* ---- Any thread ------------------------------------------------------------------------------- */

/* With the lock held. */
static bool make_arrays(struct origins *os)
{
    if (os->list)
        return true;
    struct origin **list = calloc(LOG_ORIGINS_MAX, sizeof(struct origin *));
    int64_t *least = calloc((size_t)2 * LOG_ORIGINS_MAX, sizeof(*least));
    if (!list || !least) {
        free(list);
        free(least);
        return false;
    }
    least_clear(least, LOG_ORIGINS_MAX);
    os->list = list;
    os->least = least;
    return true;
}

struct origin *origins_add(struct origins *os)
{
    struct origin *o = calloc(1, sizeof(*o));
    pthread_mutex_lock(&os->lock);
    bool room = o && os->n < LOG_ORIGINS_MAX && make_arrays(os);
    if (room) {
        o->owner = os;
        o->next = os->come;
        os->come = o;
        os->n++;
    }
    pthread_mutex_unlock(&os->lock);
    if (!room) {
        free(o);
        return NULL;
    }
    atomic_store_explicit(&os->changed, true, memory_order_release);
    return o;
}

void origin_end(struct origin *o)
{
    struct origins *os = o->owner; /* it may be gone at once */
    atomic_store_explicit(&o->ended, true, memory_order_release);
    atomic_store_explicit(&os->changed, true, memory_order_release);
}

void origin_busy(struct origin *o, bool on)
{
    if (o && on)
        atomic_fetch_add_explicit(&o->busy, 1, memory_order_relaxed);
    else if (o)
        atomic_fetch_sub_explicit(&o->busy, 1, memory_order_relaxed);
}

/* ---- The log thread's ------------------------------------------------------------------------- */

static void enter(struct origin *o)
{
    least_set(o->owner->least, LOG_ORIGINS_MAX, o->place,
              o->holds ? o->newest_us : INT64_MAX);
}

static void hold(struct origin *o, bool on)
{
    if (o->holds != on)
        o->owner->n_holding += on ? 1 : UINT32_MAX;
    o->holds = on;
    enter(o);
}

static void take_in(struct origins *os, int64_t reached_us, int64_t now_us)
{
    pthread_mutex_lock(&os->lock);
    struct origin *o = os->come;
    os->come = NULL;
    pthread_mutex_unlock(&os->lock);
    for (; o; o = o->next) {
        o->place = os->n_listed;
        os->list[os->n_listed++] = o;
        o->newest_us = o->sure_us = reached_us;
        o->last_us = now_us;
        hold(o, true);
    }
}

/* The last one takes its place. */
static void drop(struct origins *os, struct origin *o)
{
    hold(o, false);
    struct origin *last = os->list[--os->n_listed];
    if (last != o) {
        uint32_t place = last->place;
        last->place = o->place;
        os->list[o->place] = last;
        least_set(os->least, LOG_ORIGINS_MAX, place, INT64_MAX);
        enter(last);
    }
    free(o);
    pthread_mutex_lock(&os->lock);
    os->n--;
    pthread_mutex_unlock(&os->lock);
    os->some_ended = true;
}

void origins_look(struct origins *os, int64_t reached_us, int64_t now_us)
{
    if (!atomic_load_explicit(&os->changed, memory_order_relaxed) ||
        !atomic_exchange_explicit(&os->changed, false, memory_order_acquire))
        return;
    take_in(os, reached_us, now_us);
    for (uint32_t i = 0; i < os->n_listed;) {
        struct origin *o = os->list[i];
        bool ended = atomic_load_explicit(&o->ended, memory_order_acquire);
        if (ended && !atomic_load_explicit(&o->busy, memory_order_relaxed)) {
            drop(os, o);
            continue;
        }
        if (ended) /* rows of it are under way: looked at again */
            atomic_store_explicit(&os->changed, true, memory_order_relaxed);
        i++;
    }
}

int64_t origins_tick(struct origins *os, int64_t reached_us, int64_t now_us,
                     int64_t patience_us)
{
    int64_t oldest_us = INT64_MAX;
    for (uint32_t i = 0; i < os->n_listed; i++) {
        struct origin *o = os->list[i];
        if (atomic_exchange_explicit(&o->heard, false, memory_order_relaxed) ||
            atomic_load_explicit(&o->busy, memory_order_relaxed))
            o->last_us = now_us;
        bool holds = patience_us == INT64_MAX || now_us - o->last_us < patience_us;
        if (holds && !o->holds && o->newest_us < reached_us)
            o->newest_us = o->sure_us = reached_us;
        if (holds != o->holds)
            hold(o, holds);
        if (holds && o->last_us < oldest_us)
            oldest_us = o->last_us;
    }
    return oldest_us;
}

int64_t origins_least(const struct origins *os)
{
    return os->n_holding ? least_of(os->least) : INT64_MAX;
}

int64_t origins_least_of(const struct origins *os, int64_t now_us, int64_t patience_us)
{
    int64_t least_us = INT64_MAX;
    for (uint32_t i = 0; i < os->n_listed; i++) {
        const struct origin *o = os->list[i];
        if (o->holds && now_us - o->last_us < patience_us && o->newest_us < least_us)
            least_us = o->newest_us;
    }
    return least_us;
}

void origin_took(struct origin *o, int64_t max_us)
{
    if (max_us > o->newest_us)
        o->newest_us = max_us;
    hold(o, true);
}

void origin_sure(struct origin *o, int64_t now_us)
{
    o->sure_us = o->newest_us;
    o->last_us = now_us;
}

void origin_undo(struct origin *o)
{
    o->newest_us = o->sure_us;
    enter(o);
}
