/* SPDX-License-Identifier: Apache-2.0
 *
 * Sessions: which one a row joins, which two it makes one of, what a late row takes back.
 */
#include "pipeline/keyed_kinds.h"

#include <errno.h>

static bool session_fits(const struct window_kind *k, const struct span *s, int64_t us)
{
    return by_key_add(us, session_gap(k)) > s->start_us &&
           us < by_key_add(s->last_us, session_gap(k)) &&
           session_holds(k, earlier(s->start_us, us), later(s->last_us, us));
}

/* The session has rows from start_us to last_us: an earlier start takes back what was given out with the one before. */
static int session_grow(struct worker *w, uint32_t slot, int64_t start_us,
                        int64_t last_us)
{
    struct keyed *k = &w->keyed;
    struct span *s = &k->spans.at[slot];
    int64_t was_us = s->start_us;
    s->start_us = earlier(was_us, start_us);
    s->last_us = later(s->last_us, last_us);
    s->end_us = session_end(&w->pipeline->window, s->start_us, s->last_us);
    if (s->start_us != was_us) {
        spans_order(&k->spans, slot, s->start_us);
        if (s->given != SPAN_FRESH &&
            keyed_take_back(w, slot, was_us, w->groups.slot[slot].revision) < 0)
            return -ENOMEM;
        s->given = SPAN_FRESH;
    }
    return spans_due(&k->spans, slot, OPEN, s->end_us);
}

/* The later one of two sessions becomes part of the earlier one. Rows before are folded. */
static int session_merge(struct worker *w, uint32_t into, uint32_t from)
{
    struct keyed *k = &w->keyed;
    struct analyze_groups *g;
    int r = analyze_groups_new(w, &g);
    if (r < 0)
        return r;
    const struct span other = k->spans.at[from];
    struct span *s = &k->spans.at[into];
    uint32_t revision = w->groups.slot[from].revision;
    w->groups.slot[into].revision += revision;
    if (other.given != SPAN_FRESH)
        r = keyed_take_back(w, from, other.start_us, w->groups.slot[into].revision);
    if (s->given == SPAN_GIVEN)
        s->given = SPAN_AGAIN;
    if (r == 0)
        r = session_grow(w, into, other.start_us, other.last_us);
    if (r == 0)
        r = analyze_groups_read(w, g, &into, 1, 0);
    if (r == 0)
        r = analyze_merge(w, g, &from);
    analyze_groups_free(g);
    groups_touch(&w->groups, into);
    if (r == 0)
        keyed_close(w, from);
    return r;
}

/* The first of a key's windows that begins at or behind `us`. */
static uint32_t first_from(const struct spans *s, const uint32_t *slot, uint32_t n,
                           int64_t us)
{
    uint32_t low = 0, high = n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (s->at[slot[middle]].order < us)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The sessions that a row at `us` can join, the newest first. It is late for one that has ended and cannot be revised, unless it
 * lies within another: where `max` cuts, sessions can overlap. */
static int session_search(struct worker *w, uint32_t key, int64_t us,
                          int64_t watermark_us, uint32_t found[2], unsigned *ret_n)
{
    const struct window_kind *kind = &w->pipeline->window;
    const struct spans *spans = &w->keyed.spans;
    uint32_t n;
    const uint32_t *slot = spans_of(spans, key, &n);
    unsigned n_found = 0;
    bool late = false;
    for (uint32_t i = first_from(spans, slot, n, by_key_add(us, session_gap(kind)));
         i-- > 0;) {
        const struct span *s = &spans->at[slot[i]];
        if (s->end_us <= watermark_us &&
            !keyed_can_revise(w, s->end_us, watermark_us)) {
            late = late || us < s->end_us;
            continue;
        }
        if (us >= by_key_add(s->last_us, session_gap(kind)))
            break;
        if (session_fits(kind, s, us) && n_found < 2)
            found[n_found++] = slot[i];
    }
    *ret_n = n_found;
    return late && (!n_found || us < spans->at[found[n_found - 1]].start_us) ? ROW_LATE
                                                                             : 0;
}

/* A session that had ended before a row may have been given out, if not by this run then by an earlier one that read the same
 * log in other pieces. */
static void may_be_given(struct spans *s, uint32_t slot, int64_t watermark_us)
{
    if (s->at[slot].end_us <= watermark_us)
        s->at[slot].given = SPAN_AGAIN;
}

/* A row that is not just one more of the key's newest session. */
static int session_join(struct reading *r, uint32_t key, uint32_t row, uint32_t *ret)
{
    struct worker *w = r->worker;
    const struct window_kind *kind = &w->pipeline->window;
    struct spans *spans = &w->keyed.spans;
    int64_t us = r->time[row], watermark_us = keyed_watermark(r, row);
    uint32_t found[2];
    unsigned n;
    int err = session_search(w, key, us, watermark_us, found, &n);
    if (err)
        return err;
    if (!n) {
        const struct span span = {.order = us,
                                  .start_us = us,
                                  .last_us = us,
                                  .end_us = session_end(kind, us, us),
                                  .floor_us =
                                      by_key_less(watermark_us, keyed_keep_us(w))};
        return keyed_open_window(r, key, watermark_us, &span, ret);
    }
    bool late = false, both = n == 2;
    for (unsigned i = 0; i < n; i++)
        late = late || spans->at[found[i]].end_us <= watermark_us;
    uint32_t into = found[0];
    if (both) {
        const struct span *a = &spans->at[found[1]], *b = &spans->at[found[0]];
        both = session_holds(kind, earlier(a->start_us, us),
                             later(later(a->last_us, b->last_us), us));
        if (both || (us < b->start_us && us >= a->start_us && us <= a->last_us))
            into = found[1];
        if (!both) /* it is late for the one that it joins, or for none */
            late = spans->at[into].end_us <= watermark_us;
    }
    if (us < spans->at[into].start_us && us < spans->at[into].floor_us)
        return ROW_LATE;
    if (both && r->out)
        return ROW_FOLD;
    groups_touch(&w->groups, into);
    if (late) {
        r->revised++;
        w->groups.slot[into].revision++;
    }
    may_be_given(spans, into, watermark_us);
    if (both)
        may_be_given(spans, found[0], watermark_us);
    err = session_grow(w, into, us, us);
    if (err == 0 && both)
        err = session_merge(w, into, found[0]);
    struct span *s = &spans->at[into];
    if (err == 0 && s->given != SPAN_FRESH && s->end_us > watermark_us) {
        s->given = SPAN_FRESH; /* it is open again, and has no result */
        err = keyed_take_back(w, into, s->start_us, w->groups.slot[into].revision);
    }
    *ret = into;
    return err;
}

int session_slot(struct reading *r, uint32_t key, uint32_t row, uint32_t *ret)
{
    struct spans *spans = &r->worker->keyed.spans;
    uint32_t slot = spans_newest(spans, key);
    if (slot != SLOT_NONE) {
        struct span *s = &spans->at[slot];
        int64_t us = r->time[row];
        if (us >= s->start_us && us < s->end_us && s->end_us > r->most_us) {
            if (us > s->last_us) {
                s->last_us = us;
                s->end_us = session_end(&r->worker->pipeline->window, s->start_us, us);
            }
            *ret = slot;
            return 0;
        }
    }
    return session_join(r, key, row, ret);
}
