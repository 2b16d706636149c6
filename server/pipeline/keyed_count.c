/* SPDX-License-Identifier: Apache-2.0
 *
 * Windows by count: rows fill panes; a window ends with a pane, and is merged from several where windows overlap.
 */
#include "pipeline/keyed_kinds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MAX 4096u /* full panes that wait: then they are given out at once */

/* ---- Keys that are forgotten: without rows for `expire` ----------------------------------------- */

/* Of the key's newest pane: its newest row of all is floor_us. */
static bool has_expired(const struct worker *w, uint32_t slot, int64_t watermark_us)
{
    return by_key_add(w->keyed.spans.at[slot].floor_us,
                      w->pipeline->window.expire_us) <= watermark_us;
}

static void forget_key(struct worker *w, uint32_t key)
{
    uint32_t n;
    const uint32_t *slot;
    while ((slot = spans_of(&w->keyed.spans, key, &n), n))
        keyed_close(w, slot[n - 1]);
}

/* By the watermark at the row, whether the key has been forgotten since or not: what an entry is does not matter. A row is
 * late where windows of the key may have been forgotten that began behind it: so none begin at one time with the same number. */
static int count_expire(struct reading *r, uint32_t key, uint32_t row)
{
    struct worker *w = r->worker;
    const int64_t expire_us = w->pipeline->window.expire_us;
    uint32_t slot = spans_newest(&w->keyed.spans, key);
    int64_t last_us =
        slot == SLOT_NONE ? r->time[row] : w->keyed.spans.at[slot].floor_us;
    if (by_key_add(earlier(last_us, r->time[row]), expire_us) > r->most_us)
        return 0;
    int64_t watermark_us = keyed_watermark(r, row);
    bool expired = slot != SLOT_NONE && has_expired(w, slot, watermark_us);
    if (expired && (r->out || w->keyed.n_wait))
        return ROW_FOLD;
    if (expired)
        forget_key(w, key);
    return (slot == SLOT_NONE || expired) &&
                   by_key_add(r->time[row], expire_us) <= watermark_us
               ? ROW_LATE
               : 0;
}

/* Those that no row has come for, so that they take no room. */
static int forget_expired(struct worker *w, int64_t until_us)
{
    struct spans *spans = &w->keyed.spans;
    int r = 0;
    uint32_t slot;
    while (r == 0 && (slot = spans_first_due(spans, PAST, until_us)) != SLOT_NONE) {
        uint32_t key = w->groups.slot[slot].key;
        if (spans_newest(spans, key) != slot)
            spans_undue(spans, slot);
        else if (has_expired(w, slot, until_us))
            forget_key(w, key);
        else
            r = spans_due(
                spans, slot, PAST,
                by_key_add(spans->at[slot].floor_us, w->pipeline->window.expire_us));
    }
    return r;
}

/* ---- Rows --------------------------------------------------------------------------------------- */

/* A row has filled the pane: had the watermark passed the end of the window that ends with it? Whoever joins results has looked for
 * this one before, and does not find it. */
static bool is_overdue(struct reading *r, uint32_t pane, uint32_t row)
{
    const struct window_kind *kind = &r->worker->pipeline->window;
    const struct spans *spans = &r->worker->keyed.spans;
    int64_t end_us = spans->at[pane].end_us;
    const uint64_t number = count_window(kind, spans->at[pane].number);
    if (end_us > r->most_us || !number)
        return false;
    uint32_t n;
    const uint32_t *slot = spans_of(spans, r->worker->groups.slot[pane].key, &n);
    for (uint32_t i = n;
         i-- > 0 && spans->at[slot[i]].number >= count_first(kind, number);)
        end_us = later(end_us, spans->at[slot[i]].end_us);
    return end_us <= r->most_us && end_us <= keyed_watermark(r, row);
}

/* The key's newest pane that is not full; one is opened behind it otherwise. */
int count_slot(struct reading *r, uint32_t key, uint32_t row, uint32_t *ret)
{
    struct worker *w = r->worker;
    struct spans *spans = &w->keyed.spans;
    const uint64_t full = w->pipeline->window.pane_rows;
    const int64_t expire_us = w->pipeline->window.expire_us;
    int64_t us = r->time[row];
    int err = expire_us != INT64_MAX ? count_expire(r, key, row) : 0;
    if (err)
        return err;
    uint32_t slot = spans_newest(spans, key);
    if (slot != SLOT_NONE && spans->at[slot].rows == full &&
        w->pipeline->window.running)
        return ROW_FOLD; /* its result is due before this row */
    if (slot == SLOT_NONE || spans->at[slot].rows == full) {
        uint64_t number = slot == SLOT_NONE ? 1 : spans->at[slot].number + 1;
        if (w->keyed.n_wait >= WAIT_MAX)
            return ROW_FOLD;
        const struct span span = {.order = (int64_t)number,
                                  .number = number,
                                  .start_us = us,
                                  .last_us = us,
                                  .floor_us =
                                      slot == SLOT_NONE ? us : spans->at[slot].floor_us,
                                  .end_us = by_key_add(us, 1)};
        err = keyed_open(w, key, &span, &slot);
        if (err == -ENOSPC && w->keyed.n_wait)
            return ROW_FOLD; /* those that are full make room */
        if (err == 0 && expire_us != INT64_MAX)
            err = spans_due(spans, slot, PAST,
                            by_key_add(later(us, span.floor_us), expire_us));
        if (err < 0)
            return err;
    }
    struct span *s = &spans->at[slot];
    s->floor_us = later(s->floor_us, us);
    s->start_us = s->rows ? earlier(s->start_us, us) : us;
    s->last_us = s->rows ? later(s->last_us, us) : us;
    s->end_us = by_key_add(s->last_us, 1);
    *ret = slot;
    if (++s->rows < full)
        return 0;
    s->overdue = is_overdue(r, slot, row);
    return keyed_wait(&w->keyed, slot);
}

/* The states of the key's panes from number `first` to `last` into those of another group. */
static int count_merge(struct worker *w, uint32_t into, uint64_t first, uint64_t last)
{
    struct spans *spans = &w->keyed.spans;
    struct span *whole = &spans->at[into];
    struct analyze_groups *g;
    int r = analyze_groups_new(w, &g);
    if (r < 0)
        return r;
    uint32_t n;
    const uint32_t *slot = spans_of(spans, w->groups.slot[into].key, &n);
    for (uint32_t i = 0; r == 0 && i < n; i++) {
        const struct span *s = &spans->at[slot[i]];
        if (s->order == INT64_MIN || s->number < first || s->number > last)
            continue;
        whole->start_us = earlier(whole->start_us, s->start_us);
        whole->last_us = later(whole->last_us, s->last_us);
        whole->end_us = by_key_add(whole->last_us, 1);
        r = analyze_groups_read(w, g, &into, 1, 0);
        if (r == 0)
            r = analyze_merge(w, g, &slot[i]);
    }
    analyze_groups_free(g);
    return r;
}

/* The window that a full pane ends, into the list to give out; where it has several panes, a group of its own, which comes
 * before all panes of the key and is closed behind it. There is room for as many as one call gives. */
static int count_give(struct worker *w, uint32_t pane)
{
    const struct window_kind *kind = &w->pipeline->window;
    struct spans *spans = &w->keyed.spans;
    uint64_t last = spans->at[pane].number, number = count_window(kind, last);
    if (count_panes(kind) == 1)
        return keyed_give(&w->keyed, pane);
    if (!number)
        return 0;
    uint32_t slot;
    const struct span span = {.order = INT64_MIN,
                              .number = number,
                              .start_us = INT64_MAX,
                              .last_us = INT64_MIN,
                              .end_us = INT64_MIN,
                              .overdue = spans->at[pane].overdue};
    w->groups.max_open += COUNT_ROOM;
    int r = keyed_open(w, w->groups.slot[pane].key, &span, &slot);
    w->groups.max_open -= COUNT_ROOM;
    if (r == 0)
        r = keyed_give(&w->keyed, slot);
    if (r == 0)
        r = count_merge(w, slot, count_first(kind, number), last);
    return r;
}

int count_partial(struct worker *w, uint32_t pane, uint64_t *number, uint32_t *ret_slot)
{
    const struct window_kind *kind = &w->pipeline->window;
    const struct span newest = w->keyed.spans.at[pane];
    uint64_t last = newest.number + (newest.rows == kind->pane_rows); /* not full */
    uint64_t next = *number + 1, panes = count_panes(kind), step = count_step(kind);
    if (!*number && last > panes)
        next = (last - panes + step - 1) / step + 1;
    if (count_first(kind, next) > newest.number)
        return 0;
    const struct span span = {.order = INT64_MIN,
                              .number = next,
                              .start_us = INT64_MAX,
                              .last_us = INT64_MIN,
                              .end_us = INT64_MIN};
    *number = next;
    *ret_slot = SLOT_NONE;
    int r = keyed_open(w, w->groups.slot[pane].key, &span, ret_slot);
    if (r < 0 && *ret_slot != SLOT_NONE)
        spans_close(&w->keyed.spans, *ret_slot); /* without states */
    if (r < 0)
        return r;
    r = count_merge(w, *ret_slot, count_first(kind, next), newest.number);
    if (r < 0)
        keyed_close(w, *ret_slot);
    return r < 0 ? r : 1;
}

/* Panes of the key that no window to come has. The newest is not among them, so that its number is not lost. */
static void count_forget(struct worker *w, uint32_t key, uint64_t pane)
{
    const struct window_kind *kind = &w->pipeline->window;
    struct spans *spans = &w->keyed.spans;
    uint64_t panes = count_panes(kind);
    uint64_t next = pane < panes ? 1 : (pane - panes) / count_step(kind) + 2;
    uint32_t n;
    const uint32_t *slot;
    while ((slot = spans_of(spans, key, &n), n > 1) &&
           spans->at[slot[0]].number < count_first(kind, next))
        keyed_close(w, slot[0]);
}

/* A window of one pane has been given out: the key's newest begins in its place, anew or running. */
static int count_renew(struct worker *w, uint32_t slot)
{
    struct spans *spans = &w->keyed.spans;
    struct span *s = &spans->at[slot];
    if (spans_newest(spans, w->groups.slot[slot].key) != slot) {
        keyed_close(w, slot);
        return 0;
    }
    s->rows = 0;
    s->overdue = false;
    s->number++;
    s->order++;
    groups_touch(&w->groups, slot);
    if (w->pipeline->window.running)
        return 0;
    analyze_drop(w, slot, 0, w->pipeline->n_steps);
    memset(groups_state(&w->groups, slot), 0, w->pipeline->stride);
    int r = analyze_init(w, slot);
    if (r < 0)
        w->broken_slot = slot;
    return r;
}

int count_collect(struct worker *w)
{
    struct keyed *k = &w->keyed;
    size_t n = k->n_wait < COUNT_ROOM ? k->n_wait : COUNT_ROOM;
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = count_give(w, k->wait[i]);
    k->n_done = n;
    return r < 0 ? r : k->n_wait > n;
}

int count_given(struct worker *w, int64_t until_us)
{
    struct keyed *k = &w->keyed;
    bool panes = count_panes(&w->pipeline->window) > 1;
    int r = 0;
    for (size_t i = 0; r == 0 && i < k->n_give; i++)
        if (panes)
            keyed_close(w, k->give[i]);
        else
            r = count_renew(w, k->give[i]);
    for (size_t i = 0; panes && i < k->n_done; i++)
        count_forget(w, w->groups.slot[k->wait[i]].key, k->spans.at[k->wait[i]].number);
    k->n_wait -= k->n_done;
    if (k->n_wait)
        memmove(k->wait, k->wait + k->n_done, k->n_wait * sizeof(*k->wait));
    k->n_done = 0;
    return r == 0 && !k->n_wait && w->pipeline->window.expire_us != INT64_MAX
               ? forget_expired(w, until_us)
               : r;
}
