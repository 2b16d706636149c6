/* SPDX-License-Identifier: Apache-2.0
 *
 * Windows of several panes: rows are folded into panes; when a window is sealed, a group is opened for each key that
 * its panes have, and their states are merged into that, oldest pane first. What is given out, and when, is
 * for close.c as with any window.
 *
 * What a window holds must not depend on how the log was cut into entries. So it is sealed before the first row that
 * is late for it, in the middle of a block if need be. Such a row goes into the pane for the windows that are still
 * to come, and with `late: revise` also into each sealed one that can be revised.
 */
#include "pipeline/worker.h"

#include <errno.h>
#include <string.h>

/* ---- Sealing ------------------------------------------------------------------------------------- */

/* Groups that are merged into those of the same keys in a window, or pane. */
struct merging {
    int64_t into; /* its id */
    bool opened;  /* it has no groups but those of this merge */
    struct analyze_groups *groups;
};

static int open_merged(struct worker *w, const struct merging *x, uint32_t from,
                       uint32_t *ret_slot)
{
    const uint32_t key = w->groups.slot[from].key;
    bool is_new = false;
    if (!x->opened)
        return worker_open(w, key, x->into, ret_slot);
    int r = groups_open_merged(&w->groups, key, x->into, ret_slot, &is_new);
    return r < 0 || !is_new ? r : worker_begin_states(w, *ret_slot);
}

/* n is at most ANALYZE_GROUPS. */
static int merge_groups(struct worker *w, const struct merging *x, const uint32_t *slot,
                        size_t n)
{
    uint32_t from[ANALYZE_GROUPS], into[ANALYZE_GROUPS];
    size_t m = 0;
    int r = 0;
    for (size_t i = 0; i < n; i++) {
        r = open_merged(w, x, slot[i], &into[m]);
        if (r == -ENOSPC && (r = worker_over_max_groups(w)) == 0)
            continue;
        if (r < 0)
            return r;
        worker_prefetch(w, slot[i]);
        worker_prefetch(w, into[m]);
        groups_touch(&w->groups, into[m]);
        from[m++] = slot[i];
    }
    r = analyze_groups_read(w, x->groups, into, m, 0);
    return r < 0 ? r : analyze_merge(w, x->groups, from);
}

/* All groups of the window at this place of groups.window. */
static int merge_window(struct worker *w, size_t place, const struct merging *x)
{
    const struct group_window from = w->groups.window[place]; /* opening moves it */
    int r = 0;
    for (size_t k = 0; r == 0 && k < from.n; k += ANALYZE_GROUPS)
        r = merge_groups(w, x, from.slot + k,
                         from.n - k < ANALYZE_GROUPS ? from.n - k : ANALYZE_GROUPS);
    return r;
}

/* All panes of a window into that of this id. */
static int merge_panes(struct worker *w, const struct window_merge *m, int64_t into,
                       struct analyze_groups *g)
{
    const struct groups *groups = &w->groups;
    const struct merging x = {into, !groups_has_window(groups, into), g};
    int r = 0;
    size_t i = groups_window_from(groups, m->first);
    while (r == 0 && i < groups->n_windows && groups->window[i].id <= m->last) {
        int64_t id = groups->window[i].id;
        if ((id - m->first) % m->step == 0)
            r = merge_window(w, i, &x);
        i = groups_window_from(groups, id + 1);
    }
    return r;
}

/* Into groups of its own, and those into the pane that it becomes. */
static int seal_window(struct worker *w, const struct window_merge *m,
                       struct analyze_groups *g)
{
    const struct groups *groups = &w->groups;
    int r = merge_panes(w, m, m->window.id, g);
    const struct merging x = {m->pane, !groups_has_window(groups, m->pane), g};
    if (r == 0 && m->pane != INT64_MAX && m->pane != m->first &&
        groups_has_window(groups, m->window.id))
        r = merge_window(w, groups_window_from(groups, m->window.id), &x);
    return r;
}

/* The same where nothing comes between this and giving it out: the pane is the window. */
static int seal_in_place(struct worker *w, const struct window_merge *m,
                         struct analyze_groups *g, struct panes_whole *whole)
{
    if (m->pane == INT64_MAX)
        return seal_window(w, m, g);
    whole->pane[whole->n++] = m->pane;
    return m->pane == m->first ? 0 : merge_panes(w, m, m->pane, g);
}

/* What is merged has room of its own, beside that which max_groups gives to rows. */
static int seal_border(struct worker *w, int64_t border_us, struct panes_whole *whole)
{
    struct window_merge m[WINDOW_SIZES];
    struct analyze_groups *g = NULL;
    size_t n = window_ending(&w->pipeline->window, border_us, m);
    int r = n ? analyze_groups_new(w, &g) : 0;
    uint64_t max_open = w->groups.max_open;
    w->groups.max_open = w->groups_room;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = whole ? seal_in_place(w, &m[i], g, whole) : seal_window(w, &m[i], g);
    w->groups.max_open = max_open;
    analyze_groups_free(g);
    w->sealed_us = border_us;
    return r;
}

int64_t panes_next(const struct worker *w, int64_t until_us)
{
    const struct window_kind *kind = &w->pipeline->window;
    const struct groups *g = &w->groups;
    if (!window_has_panes(kind))
        return until_us;
    int64_t from_us = w->sealed_us > w->unknown_us ? w->sealed_us : w->unknown_us;
    int64_t border_us = window_next_border(kind, from_us);
    if (border_us >= until_us)
        return until_us;
    /* Mostly there are rows just before the border; otherwise windows without any are passed over: in the order of
     * their ids, panes of one last window come together, and one of those is in the next that has rows. */
    size_t i = groups_window_from(g, window_of(kind, border_us - 1).id);
    if (i < g->n_windows && g->window[i].id == window_of(kind, border_us - 1).id)
        return border_us;
    int64_t least_us = until_us, behind = INT64_MAX;
    for (i = groups_window_from(g, border_us);
         i < g->n_windows && g->window[i].id < behind; i++) {
        int64_t next_us = window_next_end_of(kind, g->window[i].id, from_us);
        least_us = next_us < least_us ? next_us : least_us;
        if (behind == INT64_MAX)
            behind = window_next_border(kind, g->window[i].id);
    }
    return least_us;
}

int panes_seal(struct worker *w, int64_t until_us)
{
    int r = 0;
    while (r == 0 && w->sealed_us < until_us)
        r = seal_border(w, panes_next(w, until_us), NULL);
    return r;
}

int panes_seal_next(struct worker *w, int64_t border_us, struct panes_whole *ret)
{
    /* What is revised must not have the rows that come too late for that, and which its pane has. */
    const bool copied = w->pipeline->config->late == CONFIG_LATE_REVISE;
    ret->n = 0;
    if (!window_has_panes(&w->pipeline->window) || w->sealed_us >= border_us)
        return 0;
    return seal_border(w, border_us, copied ? NULL : ret);
}

/* ---- Late rows ----------------------------------------------------------------------------------- */

/* A block whose rows go to more groups than one, or to other ones than the pane of their time. */
struct folding {
    struct worker *worker;
    const struct log_entry *entry;
    uint32_t n; /* rows with their slots in worker.row, worker.slot */
};

static int flush(struct folding *f)
{
    int r = f->n ? worker_fold(f->worker, f->entry, f->n) : 0;
    f->n = 0;
    return r;
}

/* Rows of one call rise, and none is there twice, as one late for several windows would be. *ret_slot is SLOT_NONE for a
 * row over max_groups, which is left out. */
static int put_row(struct folding *f, uint32_t row, uint32_t key, int64_t id,
                   uint32_t *ret_slot)
{
    struct worker *w = f->worker;
    const bool full = f->n == BATCH_BLOCK || (f->n && w->row[f->n - 1] == row);
    int r = full ? flush(f) : 0;
    *ret_slot = SLOT_NONE;
    if (r == 0)
        r = worker_open(w, key, id, ret_slot);
    if (r == -ENOSPC && (r = worker_over_max_groups(w)) == 0) {
        metric_add(&w->pipeline->over_groups, 1);
        return 0;
    }
    if (r < 0)
        return r;
    w->row[f->n] = row;
    w->slot[f->n++] = *ret_slot;
    return 0;
}

/* Into the sealed windows that it is late for, and that can still be revised. *ret_some: there is one. */
static int put_late(struct folding *f, uint32_t row, uint32_t key, int64_t us,
                    int64_t watermark_us, bool *ret_some)
{
    struct worker *w = f->worker;
    struct window window;
    int r = 0;
    for (size_t i = 0; r == 0 && window_around(&w->pipeline->window, us, i, &window) &&
                       window.end_us <= watermark_us;
         i++) {
        uint32_t slot;
        if (!late_stays(w, window.end_us, watermark_us))
            continue;
        r = put_row(f, row, key, window.id, &slot);
        if (r == 0 && slot != SLOT_NONE)
            r = late_mark(w, slot, window.end_us);
        *ret_some = true;
    }
    return r;
}

int panes_fold(struct worker *w, const struct log_entry *e, uint32_t block, uint32_t n)
{
    const struct window_kind *kind = &w->pipeline->window;
    const int64_t *time = e->batch->view[0].values;
    bool revise = w->pipeline->config->late == CONFIG_LATE_REVISE;
    /* So that what is given out was merged in the same way, whatever rows come in this entry, or to this worker. */
    bool in_place = !revise && kind->n_sizes;
    struct folding f = {.worker = w, .entry = e};
    uint32_t row[BATCH_BLOCK], key[BATCH_BLOCK], slot;
    uint64_t revised = 0;
    int r = 0;
    memcpy(row, w->row, n * sizeof(row[0]));
    memcpy(key, w->key, n * sizeof(key[0]));
    for (uint32_t i = 0; r == 0 && i < n; i++) {
        int64_t us = time[row[i]];
        int64_t watermark_us = w->watermark_at[row[i] - block * BATCH_BLOCK];
        struct window first;
        window_around(kind, us, 0, &first);
        bool late = first.end_us <= watermark_us, some = false;
        if (late && window_next_border(kind, w->sealed_us) <= watermark_us) {
            r = flush(&f);
            if (r == 0)
                r = in_place ? worker_give_at(w, watermark_us)
                             : panes_seal(w, watermark_us);
        }
        int64_t pane;
        if (r == 0 && window_open_pane(kind, us, watermark_us, &pane))
            r = put_row(&f, row[i], key[i], pane, &slot);
        if (r == 0 && late && revise)
            r = put_late(&f, row[i], key[i], us, watermark_us, &some);
        revised += some;
    }
    metric_add(&w->pipeline->events, n);
    pipeline_count_late(w->pipeline, e, CONFIG_LATE_REVISE, revised);
    return r == 0 ? flush(&f) : r;
}
