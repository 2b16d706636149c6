/* SPDX-License-Identifier: Apache-2.0 */
#include "window/window.h"

struct window_kind window_kind(const struct config_window *c)
{
    return (struct window_kind){.size_us = c->tumbling_us, .offset_us = c->offset_us};
}

bool window_has_id(const struct window_kind *k, int64_t id)
{
    struct window w = window_of(k, id);
    return w.id == id && (uint64_t)w.end_us - (uint64_t)w.start_us ==
                             (uint64_t)k->size_us; /* the ends of time cut some short */
}

int64_t window_next_border(const struct window_kind *k, int64_t us)
{
    return window_of(k, us).end_us;
}

int64_t window_first_open(const struct window_kind *k, int64_t us)
{
    return window_of(k, us).id;
}

int64_t window_fixed_size(const struct window_kind *k)
{
    return k->size_us;
}

void window_define(const struct window_kind *k, struct buffer *b)
{
    buffer_printf(b, "window %lld %lld\n", (long long)k->size_us,
                  (long long)k->offset_us);
}
