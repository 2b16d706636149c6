/* SPDX-License-Identifier: Apache-2.0
 *
 * Windows of an input that has an end, in whatever order: none closes before that, as long as there is room.
 */
#include "base/logger.h"
#include "pipeline/worker.h"

#define GROUP_COST                                                                     \
    96u /* bytes of a group beside its states: slot, indexes, a share of its key */

/* Groups that an entry may open: for each of its keys in each of its windows one, but no more than rows. */
static uint64_t groups_of(const struct worker *w, const struct log_entry *e)
{
    const struct pipeline *p = w->pipeline;
    const struct batch *b = e->batch;
    const struct window first = window_of(&p->window, b->span.min_us);
    if (window_has(&first, b->span.max_us))
        return e->keys[p->keys]->n < b->n_rows ? e->keys[p->keys]->n : b->n_rows;
    return b->n_rows;
}

static bool fits(const struct worker *w, const struct log_entry *e)
{
    struct pipeline *p = w->pipeline;
    uint64_t groups = w->groups.open + groups_of(w, e);
    uint64_t bytes = groups * p->config->workers * (p->stride + GROUP_COST) +
                     atomic_load_explicit(&p->state_bytes, memory_order_relaxed);
    return groups <= w->groups.max_open && bytes <= p->hold_bytes;
}

int worker_make_room(struct worker *w, const struct log_entry *e, struct error *error)
{
    struct pipeline *p = w->pipeline;
    if (!w->watermark.held || fits(w, e))
        return 0;
    watermark_release(&w->watermark);
    if (!atomic_exchange_explicit(&p->released, true, memory_order_relaxed))
        logger_warn(
            "pipeline",
            "pipeline '%s': there is no room for more open windows (%llu groups, "
            "%llu bytes may be used); from here on they close as events come",
            p->config->name, (unsigned long long)w->groups.open,
            (unsigned long long)p->hold_bytes);
    return worker_close_windows(w, w->watermark.value_us, false, error);
}
