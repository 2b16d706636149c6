/* SPDX-License-Identifier: Apache-2.0
 *
 * Windows of several panes: rows are folded into panes; when a window is sealed, a group is opened for each key that
 * its panes have, and their states are merged into that, oldest pane first. What is given out, and when, is
 * for close.c as with any window.
 */
#include "pipeline/worker.h"

#include <errno.h>

static int merge_group(struct worker *w, int64_t window, uint32_t from)
{
    const struct pipeline *p = w->pipeline;
    const struct group_key *key = &w->groups.key[w->groups.slot[from].key];
    uint32_t to;
    int r = worker_open_group(w, key->bytes, key->size, key->hash, window, &to);
    for (size_t i = 0; r == 0 && i < p->n_stages; i++) {
        const struct stage *s = &p->stage[i];
        char *into = (char *)groups_state(&w->groups, to) + s->offset;
        const char *state = (char *)groups_state(&w->groups, from) + s->offset;
        host_lock(&w->host[i]);
        if (s->binding->plugin->analyzer.merge(&w->host[i].ctx, into, state))
            r = -EINVAL;
        host_unlock(&w->host[i]);
    }
    return r;
}

/* The groups of panes from id `first` to id `last` into those of the window. */
static int merge_panes(struct worker *w, int64_t window, int64_t first, int64_t last)
{
    struct groups *g = &w->groups;
    size_t i = groups_window_from(g, first);
    while (i < g->n_windows && g->window[i].id <= last) {
        const struct group_window pane = g->window[i]; /* opening groups moves it */
        for (size_t k = 0; k < pane.n; k++) {
            int r = merge_group(w, window, pane.slot[k]);
            if (r < 0)
                return r;
        }
        i = groups_window_from(g, pane.id + 1);
    }
    return 0;
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
