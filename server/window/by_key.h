/* SPDX-License-Identifier: Apache-2.0
 *
 * Windows that depend on the rows of a key: the arithmetic of each kind. Which windows a key has, and what becomes of
 * them, is for pipeline/keyed.c.
 *
 *      session   [first row, last row + gap), no longer than max
 *      until     [first row, what its field says)
 *      count     n rows in the order of the log; made of panes of g rows where a window begins every `by` rows;
 *                running: states go on, there is a result of all rows so far every n rows
 *      global    one for ever
 *
 * Times near the ends of int64 stay there.
 */
#ifndef WEIR_WINDOW_BY_KEY_H
#define WEIR_WINDOW_BY_KEY_H

#include "window/window.h"

static inline int64_t by_key_add(int64_t us, int64_t more_us)
{
    int64_t sum_us;
    return __builtin_add_overflow(us, more_us, &sum_us) ? INT64_MAX : sum_us;
}

static inline int64_t by_key_less(int64_t us, int64_t less_us)
{
    int64_t rest_us;
    return __builtin_sub_overflow(us, less_us, &rest_us) ? INT64_MIN : rest_us;
}

static inline int64_t session_gap(const struct window_kind *k)
{
    return k->size_us;
}

/* The end of a session with rows from start_us to last_us. */
static inline int64_t session_end(const struct window_kind *k, int64_t start_us,
                                  int64_t last_us)
{
    int64_t end_us = by_key_add(last_us, k->size_us);
    int64_t longest_us = by_key_add(start_us, k->max_us);
    return end_us < longest_us ? end_us : longest_us;
}

/* Can rows from start_us to last_us be in one session, if no gap is between them? */
static inline bool session_holds(const struct window_kind *k, int64_t start_us,
                                 int64_t last_us)
{
    return (uint64_t)last_us - (uint64_t)start_us < (uint64_t)k->max_us;
}

/* How long a window is remembered behind its end, and the time in which it can be revised: a row before the end of a session
 * that cannot be revised is late for it, and must not begin another one that overlaps. From then on such a row would be late
 * for one of its own, too. */
static inline int64_t by_key_keep(const struct window_kind *k)
{
    return k->kind == CONFIG_SESSION ? k->size_us : 0;
}

/* Count: panes of a window, and from the end of one window to that of the next. */
static inline uint64_t count_panes(const struct window_kind *k)
{
    return k->rows / k->pane_rows;
}

static inline uint64_t count_step(const struct window_kind *k)
{
    return k->by_rows / k->pane_rows;
}

/* The number, from 1 on, of the window that ends with the pane of this number; 0: none does. */
static inline uint64_t count_window(const struct window_kind *k, uint64_t pane)
{
    uint64_t panes = count_panes(k), step = count_step(k);
    return pane < panes || (pane - panes) % step ? 0 : (pane - panes) / step + 1;
}

/* The first pane of that window. */
static inline uint64_t count_first(const struct window_kind *k, uint64_t window)
{
    return (window - 1) * count_step(k) + 1;
}

/* Windows that rows of so many keys may begin, at most. */
static inline uint64_t by_key_groups(const struct window_kind *k, uint64_t keys,
                                     uint64_t rows, int64_t min_us, int64_t max_us)
{
    switch (k->kind) {
    case CONFIG_SESSION: {
        uint64_t each =
            ((uint64_t)max_us - (uint64_t)min_us) / (uint64_t)k->size_us + 1;
        return each < rows ? keys * each : rows;
    }
    case CONFIG_GLOBAL:
        return keys;
    case CONFIG_COUNT:
        return k->running ? keys : keys + rows / k->pane_rows;
    default:
        return rows;
    }
}

/* Where the watermark is when the input has ended, and all windows with it. */
static inline int64_t by_key_end_of_input(const struct window_kind *k,
                                          int64_t newest_us)
{
    switch (k->kind) {
    case CONFIG_SESSION:
        return by_key_add(newest_us, k->size_us);
    case CONFIG_GLOBAL:
        return window_next_border(k, newest_us);
    case CONFIG_UNTIL:
        return by_key_add(newest_us, 1);
    default:
        return newest_us;
    }
}

#endif
