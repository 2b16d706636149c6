/* SPDX-License-Identifier: Apache-2.0
 *
 * Windows of several panes: rows are folded into panes; when a window is sealed, a group is opened for each key that
 * its panes have, and their states are merged into that, oldest pane first. What is given out, and when, is
 * for close.c as with any window.
 */
#include "pipeline/worker.h"

#include <errno.h>

/* Groups of a pane into those of the window that have the same keys; n is at most ANALYZE_GROUPS. */
static int merge_groups(struct worker *w, int64_t window, const uint32_t *from,
                        size_t n, struct analyze_groups *g)
{
    uint32_t into[ANALYZE_GROUPS];
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        const struct group_key *key = &w->groups.key[w->groups.slot[from[i]].key];
        r = worker_open_group(w, key->bytes, key->size, key->hash, window, &into[i]);
    }
    if (r == 0)
        r = analyze_groups_read(w, g, into, n, 0);
    return r < 0 ? r : analyze_merge(w, g, from);
}

/* The groups of panes from id `first` to id `last` into those of the window. */
static int merge_panes(struct worker *w, int64_t window, int64_t first, int64_t last)
{
    struct groups *groups = &w->groups;
    struct analyze_groups *g;
    int r = analyze_groups_new(w, &g);
    if (r < 0)
        return r;
    size_t i = groups_window_from(groups, first);
    while (r == 0 && i < groups->n_windows && groups->window[i].id <= last) {
        const struct group_window pane =
            groups->window[i]; /* opening groups moves it */
        for (size_t k = 0; r == 0 && k < pane.n; k += ANALYZE_GROUPS)
            r = merge_groups(w, window, pane.slot + k,
                             pane.n - k < ANALYZE_GROUPS ? pane.n - k : ANALYZE_GROUPS,
                             g);
        i = groups_window_from(groups, pane.id + 1);
    }
    analyze_groups_free(g);
    return r;
}

int panes_seal(struct worker *w, int64_t until_us)
{
    const struct window_kind *kind = &w->pipeline->window;
    struct groups *g = &w->groups;
    if (!window_has_panes(kind) || until_us <= w->sealed_us)
        return 0;
    int64_t border_us = w->sealed_us > w->unknown_us ? w->sealed_us : w->unknown_us;
    while ((border_us = window_next_border(kind, border_us)) <= until_us) {
        int64_t first, last;
        struct window window = window_ending(kind, border_us, &first, &last);
        size_t i = groups_window_from(g, first);
        if (i == g->n_windows)
            break;
        if (g->window[i].id >
            last) { /* the windows before that pane's first have no rows */
            border_us = window_by_id(kind, g->window[i].id).start_us;
            continue;
        }
        int r = merge_panes(w, window.id, first, last);
        if (r < 0)
            return r;
    }
    w->sealed_us = until_us;
    return 0;
}

uint32_t panes_cut(const struct worker *w, const struct batch *b, uint32_t block,
                   uint32_t n, int64_t *ret_until_us)
{
    const struct window_kind *kind = &w->pipeline->window;
    const int64_t *time = b->view[0].values;
    for (uint32_t i = 0; window_has_panes(kind) && i < n; i++) {
        int64_t watermark_us = w->watermark_at[w->row[i] - block * BATCH_BLOCK];
        if (window_of(kind, time[w->row[i]]).end_us <= watermark_us &&
            window_of(kind, watermark_us).start_us > w->sealed_us) {
            *ret_until_us = watermark_us;
            return i;
        }
    }
    return n;
}
