/* SPDX-License-Identifier: Apache-2.0
 *
 * Windows of an input that has an end, in whatever order: none closes before that, as long as there is room. Most
 * input is nearly in order, and then most rows are known long before: they are given out early, while input is
 * read, and groups that change afterwards once more at the end.
 *
 *      watermark:  held ................................................ the end
 *      if it were not:  ...|... window's end + out_of_orderness
 *      a group:    open    | given out early   row: changed              given out instead
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
    uint64_t keys = e->keys[p->keys]->n;
    if (window_is_by_key(&p->window)) {
        uint64_t most =
            by_key_groups(&p->window, keys, b->n_rows, b->span.min_us, b->span.max_us);
        return most < b->n_rows ? most : b->n_rows;
    }
    const struct window first = window_of(&p->window, b->span.min_us);
    if (window_has(&first, b->span.max_us))
        return keys < b->n_rows ? keys : b->n_rows;
    return b->n_rows;
}

/* One row a group takes the place of one. Where groups give any number, or where a result costs a look at all rows again,
 * nothing is early. Pipelines that read the rows get them at the end, too: they need not take
 * back what they did; where they could, by a former row, nothing is early. */
static bool may_be_early(const struct pipeline *p)
{
    for (size_t i = 0; i < p->n_steps; i++)
        if (step_keeps(&p->step[i]))
            return false;
    return p->own && !p->replaced && p->n_tables == 1u + (p->late_table != NULL) &&
           window_fixed_size(&p->window) > 0 && !window_has_panes(&p->window);
}

static bool fits(const struct worker *w, const struct log_entry *e)
{
    struct pipeline *p = w->pipeline;
    uint64_t groups = w->groups.open + groups_of(w, e);
    uint64_t bytes = groups * p->config->workers * (p->stride + GROUP_COST) +
                     w->ahead.bytes * p->config->workers + pipeline_held(p);
    return groups <= w->groups.max_open && bytes <= p->hold_bytes;
}

int worker_make_room(struct worker *w, const struct log_entry *e, struct error *error)
{
    struct pipeline *p = w->pipeline;
    if (!w->watermark.held || p->window.kind == CONFIG_NONE || fits(w, e))
        return 0;
    if (w->ahead.first) { /* those rows can be made again */
        chain_drop_ahead(w);
        if (fits(w, e))
            return 0;
    }
    watermark_release(&w->watermark);
    if (!atomic_exchange_explicit(&p->released, true, memory_order_relaxed))
        logger_warn(
            "pipeline",
            "pipeline '%s': there is no room for more open windows (%llu groups, "
            "%llu bytes may be used); from here on they close as events come",
            p->config->name, (unsigned long long)w->groups.open,
            (unsigned long long)p->hold_bytes);
    int r = worker_close_windows(w, w->watermark.value_us, false, error);
    w->early_us = INT64_MIN; /* those have closed */
    return r;
}

int worker_give_early(struct worker *w, struct error *error)
{
    if (!w->watermark.held || !may_be_early(w->pipeline))
        return 0;
    int64_t until_us = watermark_unheld(&w->watermark);
    return until_us > w->early_us ? worker_emit_early(w, until_us, error) : 0;
}

void worker_note_changed(struct worker *w, uint32_t n)
{
    uint8_t *early = w->groups.early;
    for (uint32_t i = 0; i < n; i++)
        if (early[w->slot[i]] == EARLY_GIVEN)
            early[w->slot[i]] = EARLY_CHANGED;
}
