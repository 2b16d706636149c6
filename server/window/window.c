/* SPDX-License-Identifier: Apache-2.0
 *
 * Ids of windows of one pane are their start. Where there are panes, a watermark is done with a window at its end
 * and with a pane at the end of the last window that has it; what rows are folded into, and what is merged,
 * must not have one id:
 *
 *      window [end - size, end)         end
 *      pane [start, start + pane)       start + size + 1
 */
#include "window/window.h"

struct window_kind window_kind(const struct config_window *c)
{
    int64_t size_us = c->size_us;
    bool panes = c->kind == CONFIG_HOPPING && c->by_us != size_us;
    int64_t pane_us = panes ? c->by_us : size_us;
    return (struct window_kind){.size_us = size_us,
                                .pane_us = pane_us,
                                .offset_us = c->offset_us % pane_us,

                                .id_us = panes ? size_us + 1 : 0};
}

bool window_is_pane(const struct window_kind *k, int64_t id)
{
    return window_has_panes(k) && window_of(k, id).start_us != id;
}

struct window window_by_id(const struct window_kind *k, int64_t id)
{
    if (!window_has_panes(k) || window_is_pane(k, id))
        return window_of(k, id - k->id_us);
    struct window w = {.id = id, .end_us = id};
    if (__builtin_sub_overflow(id, k->size_us, &w.start_us))
        w.start_us = INT64_MIN;
    return w;
}

bool window_has_id(const struct window_kind *k, int64_t id)
{
    int64_t start_us;
    if (__builtin_sub_overflow(id, k->id_us, &start_us))
        return false;
    if (window_has_panes(k) && !window_is_pane(k, id))
        return true;
    struct window w = window_of(k, start_us);
    return w.id == id && (uint64_t)w.end_us - (uint64_t)w.start_us ==
                             (uint64_t)k->pane_us; /* the ends of time cut some short */
}

struct window window_ending(const struct window_kind *k, int64_t border_us,
                            int64_t *ret_first, int64_t *ret_last)
{
    *ret_first = border_us + 1;
    if (__builtin_add_overflow(border_us, k->id_us - k->pane_us, ret_last))
        *ret_last = INT64_MAX;
    return window_by_id(k, border_us);
}

int64_t window_next_border(const struct window_kind *k, int64_t us)
{
    return window_of(k, us).end_us;
}

int64_t window_first_open(const struct window_kind *k, int64_t us)
{
    int64_t border_us =
        window_of(k, us).start_us; /* the last one that it has reached */
    return window_has_panes(k) ? border_us + 2 : border_us;
}

int64_t window_fixed_size(const struct window_kind *k)
{
    return k->size_us;
}

void window_define(const struct window_kind *k, struct buffer *b)
{
    buffer_printf(b, "window %lld %lld", (long long)k->size_us,
                  (long long)k->offset_us);
    if (window_has_panes(k))
        buffer_printf(b, " %lld", (long long)k->pane_us);
    buffer_putc(b, '\n');
}
