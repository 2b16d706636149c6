/* SPDX-License-Identifier: Apache-2.0
 *
 * Which window a row is in, where it begins and ends, and when it closes. This is the only place that
 * knows how a kind of window divides event time: all others hold a window's id and ask. Tumbling windows
 * are the only kind.
 *
 *      -----|---------|---------|---------|----->  event time; | are borders
 *            window_of(us): the one in which us lies, [start, end)
 *
 * Of a kind of window this much is relied on: a window has an id, and one that closes before another has
 * the lesser one; with a key it names a group. A window closes when the watermark reaches its end.
 */
#ifndef WEIR_WINDOW_WINDOW_H
#define WEIR_WINDOW_WINDOW_H

#include "base/buffer.h"
#include "config/config.h"

#include <stdbool.h>
#include <stdint.h>

/* How a pipeline divides event time. Plain data: it may be copied; its members are this folder's. */
struct window_kind {
    int64_t size_us,
        offset_us; /* windows begin at multiples of the size plus the offset */
};

struct window {
    int64_t id;
    int64_t start_us, end_us; /* [start, end) */
};

struct window_kind window_kind(const struct config_window *c);

/* The window in which a row of this time is. `us` may be any time. */
static inline struct window window_of(const struct window_kind *k, int64_t us)
{
    int64_t into_us = us % k->size_us - k->offset_us; /* above -2 * size */
    if (into_us < 0)
        into_us += k->size_us;
    if (into_us < 0)
        into_us += k->size_us;
    struct window w;
    if (__builtin_sub_overflow(us, into_us, &w.start_us))
        w.start_us = INT64_MIN;
    if (__builtin_add_overflow(us, k->size_us - into_us, &w.end_us))
        w.end_us = INT64_MAX;
    w.id = w.start_us;
    return w;
}

/* Is it the window of this time, too? All that most rows need. */
static inline bool window_has(const struct window *w, int64_t us)
{
    return (uint64_t)us - (uint64_t)w->start_us <
           (uint64_t)w->end_us - (uint64_t)w->start_us;
}

/* The window of an id that window_of has given. */
static inline struct window window_by_id(const struct window_kind *k, int64_t id)
{
    return window_of(k, id);
}

/* Can an id that comes from elsewhere be one? */
bool window_has_id(const struct window_kind *k, int64_t id);

/* A row of this time is late once the watermark has reached this: the end of the last window that it is in. Does
 * not decrease with `us`. */
static inline int64_t window_last_end(const struct window_kind *k, int64_t us)
{
    return window_of(k, us).end_us;
}

/* The first border behind `us`: a watermark that goes on from `us` closes nothing before. */
int64_t window_next_border(const struct window_kind *k, int64_t us);

/* The least id of windows that a watermark `us` has not closed. */
int64_t window_first_open(const struct window_kind *k, int64_t us);

/* How long each window is, if all are alike: end is start plus this, and need not be stored. 0: they differ. */
int64_t window_fixed_size(const struct window_kind *k);

/* A line that says what windows these are. Stored groups are of no use where another line stands. */
void window_define(const struct window_kind *k, struct buffer *b);

#endif
