/* SPDX-License-Identifier: Apache-2.0
 *
 * Which window a row is in, where it begins and ends, and when it closes. This is the only place that
 * knows how a kind of window divides event time: all others hold an id and ask.
 *
 *      -----|---------|---------|---------|----->  event time; | are borders
 *            window_of(us): the one in which us lies, [start, end)
 *
 * Windows that overlap, and those of several sizes, are made of panes: rows are folded into panes, and a window is
 * merged from its panes when the watermark has reached its end (pipeline/panes.c).
 *
 * Of ids this much is relied on: an id names one window or pane, with a key it names a group, and ids are in
 * the order in which a watermark is done with what they name.
 */
#ifndef WEIR_WINDOW_WINDOW_H
#define WEIR_WINDOW_WINDOW_H

#include "base/buffer.h"
#include "config/config.h"
#include "window/calendar.h"

#include <stdbool.h>
#include <stdint.h>

#define WINDOW_SIZES (1 + CONFIG_COARSE_MAX)

/* How a pipeline divides event time. Plain data: it may be copied; its members are this folder's. */
struct window_kind {
    int64_t size_us; /* of the longest */
    int64_t
        pane_us; /* there is a border each so often; a window is of size / pane panes */
    int64_t offset_us; /* borders are multiples of pane_us plus this */
    int64_t id_us;     /* id of what rows are folded into, less its start */
    /* Of windows that have panes: */
    int64_t by_us, begin_us; /* the longest begin at multiples of by_us plus begin_us */
    int64_t ends_us, end_us; /* one ends at each multiple of ends_us plus end_us */
    size_t n_sizes;          /* of a cascade; otherwise 0 */
    int64_t sizes_us[WINDOW_SIZES];
    const struct calendar *calendar; /* which says where windows begin; NULL: none */
    size_t
        size; /* those of one size: which of the calendar's; of a cascade 0, the shortest */

    /* Windows by key (window/by_key.h). */
    enum config_window_kind kind;
    int64_t max_us, expire_us;
    uint64_t rows, by_rows, pane_rows;
    bool running; /* count: states outlive their windows */
    size_t column;
};

/* Do the rows of a key decide what its windows are? Then only what is said so below is asked for. */
static inline bool window_is_by_key(const struct window_kind *k)
{
    return k->kind == CONFIG_SESSION || k->kind == CONFIG_COUNT ||
           k->kind == CONFIG_GLOBAL || k->kind == CONFIG_UNTIL;
}

struct window { /* or a pane */
    int64_t id;
    int64_t start_us, end_us; /* [start, end) */
};

/* `calendar`: for windows with a zone, and to stay as long as the kind and its copies; otherwise NULL. */
struct window_kind window_kind(const struct config_window *c,
                               const struct calendar *calendar);

/* What the calendar says; window_of asks it. */
struct window window_by_calendar(const struct window_kind *k, int64_t us);

/* What rows are folded into, where the start is not enough to name it. */
int64_t window_pane_id(const struct window_kind *k, int64_t start_us);

/* What a row of this time is folded into: its window, or its pane. `us` may be any time. */
static inline struct window window_of(const struct window_kind *k, int64_t us)
{
    if (k->calendar)
        return window_by_calendar(k, us);
    int64_t into_us = us % k->pane_us - k->offset_us; /* above -2 * pane */
    if (into_us < 0)
        into_us += k->pane_us;
    if (into_us < 0)
        into_us += k->pane_us;
    struct window w;
    if (__builtin_sub_overflow(us, into_us, &w.start_us))
        w.start_us = INT64_MIN;
    if (__builtin_add_overflow(us, k->pane_us - into_us, &w.end_us))
        w.end_us = INT64_MAX;
    if (k->n_sizes)
        w.id = window_pane_id(k, w.start_us);
    else if (__builtin_add_overflow(w.start_us, k->id_us, &w.id))
        w.id = INT64_MAX;
    return w;
}

/* Is this time in it, too? All that most rows need. */
static inline bool window_has(const struct window *w, int64_t us)
{
    return (uint64_t)us - (uint64_t)w->start_us <
           (uint64_t)w->end_us - (uint64_t)w->start_us;
}

/* Are windows merged from panes? */
static inline bool window_has_panes(const struct window_kind *k)
{
    return k->pane_us != k->size_us;
}

/* The last of the windows that a time is in. */
struct window window_last(const struct window_kind *k, int64_t us);

/* A row of this time is late once the watermark has reached this: the end of the last window that it is in. Does
 * not decrease with `us`. */
static inline int64_t window_last_end(const struct window_kind *k, int64_t us)
{
    return window_last(k, us).end_us;
}

/* The window, or the pane, of an id. */
struct window window_by_id(const struct window_kind *k, int64_t id);
bool window_is_pane(const struct window_kind *k, int64_t id);
/* Which of the sizes the window of this id has, from 0, the shortest. */
size_t window_size_of(const struct window_kind *k, int64_t id);

/* Can an id that comes from elsewhere be one? */
bool window_has_id(const struct window_kind *k, int64_t id);
/* The id of what had this id when it was stored: a zone may have got other rules since. */
int64_t window_id_now(const struct window_kind *k, int64_t id);

/* The first border behind `us`: a watermark that goes on from `us` closes nothing before. */
int64_t window_next_border(const struct window_kind *k, int64_t us);

/* The least id of what a watermark `us` is not done with: of windows that it has not closed, of panes that
 * these have. */
int64_t window_first_open(const struct window_kind *k, int64_t us);

/* ---- Windows that have panes ---- */

/* A window to be merged at its end, and of what: groups whose id is first, first + step, ..., last. */
struct window_merge {
    struct window window;
    int64_t first, last, step;
    int64_t pane; /* id of the pane that it is for longer ones, of the shortest the only
                   * one that it has; INT64_MAX: there are no longer ones */
};

/* The windows that end at this time, shorter ones first. Returns how many: 0 where there is no border. */
size_t window_ending(const struct window_kind *k, int64_t border_us,
                     struct window_merge ret[WINDOW_SIZES]);

/* The i-th of the windows that a time is in, in the order of their ends. False: there are less. */
bool window_around(const struct window_kind *k, int64_t us, size_t i,
                   struct window *ret);

/* The id of the pane into which a row of this time goes at this watermark, of which windows are to come. False: all
 * windows of the row have closed. */
bool window_open_pane(const struct window_kind *k, int64_t us, int64_t watermark_us,
                      int64_t *ret_id);

/* The first end behind `us` of a window that has this pane; of its last one if there is none. */
int64_t window_next_end_of(const struct window_kind *k, int64_t pane, int64_t us);

/* ---- For tables, definitions ---- */

/* The windows of one size alone. */
struct window_kind window_kind_of_size(const struct window_kind *k, size_t size);

/* How long each window is, if all are alike: end is start plus this, and need not be stored. 0: they differ. */
int64_t window_fixed_size(const struct window_kind *k);

/* A line that says what windows these are. Stored groups are of no use where another line stands. */
void window_define(const struct window_kind *k, struct buffer *b);

#endif
