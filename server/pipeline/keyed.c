/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MAX 4096u /* windows by count that wait: then they are given out at once */

/* Queues of spans: due at their end; to be forgotten. */
enum { OPEN, PAST };

/* A block that is being read. */
struct reading {
    struct worker *worker;
    const struct log_entry *entry;
    const int64_t *time;
    uint32_t block;
    int64_t most_us; /* no row of the block has a later watermark */
    uint32_t
        cut; /* global: the row at which the watermark reaches the next border; UINT32_MAX: none does */
    bool exact;   /* worker.watermark_at is filled in */
    uint32_t out; /* rows before it are to be folded, row[] and slot[] */
    uint64_t dropped, revised, aside, known, over, no_until; /* rows */
};

/* What becomes of a row that has no slot. */
#define ROW_LATE 1
#define ROW_KNOWN                                                                      \
    2 /* its window was given out by an earlier run, whatever the watermark */
#define ROW_FOLD 3 /* those before are to be folded first, then it is asked again */
#define ROW_NONE 4 /* none, and it is counted */

/* ---- Windows ------------------------------------------------------------------------------------- */

void keyed_init(struct worker *w)
{
    struct keyed *k = &w->keyed;
    spans_init(&k->spans, &w->groups);
    k->border_us = INT64_MIN;
    atomic_init(&k->due_us, INT64_MAX);
    atomic_init(&k->last_us, INT64_MIN);
}

void keyed_free(struct worker *w)
{
    spans_free(&w->keyed.spans);
    free(w->keyed.give);
    free(w->keyed.wait);
    free(w->keyed.taken);
}

/* With fresh states. */
static int open_span(struct worker *w, uint32_t key, const struct span *span,
                     uint32_t *ret_slot)
{
    uint32_t slot;
    int r = spans_open(&w->keyed.spans, key, span, &slot);
    if (r < 0)
        return r;
    groups_touch(&w->groups, slot);
    memset(groups_state(&w->groups, slot), 0, w->pipeline->stride);
    r = analyze_init(w, slot);
    if (r < 0)
        w->broken_slot = slot;
    *ret_slot = slot;
    return r;
}

static void close_span(struct worker *w, uint32_t slot)
{
    analyze_drop(w, slot, 0, w->pipeline->n_steps);
    spans_close(&w->keyed.spans, slot);
}

struct window keyed_window(const struct worker *w, uint32_t slot)
{
    const struct span *s = &w->keyed.spans.at[slot];
    if (w->pipeline->window.kind == CONFIG_GLOBAL)
        return (struct window){.start_us = INT64_MIN, .end_us = INT64_MAX};
    return (struct window){.start_us = s->start_us, .end_us = s->end_us};
}

/* Room for one more item of a list. */
static int grow(void *list_pointer, size_t item, size_t n, size_t *room)
{
    void **list = list_pointer;
    if (n < *room)
        return 0;
    size_t more = *room ? 2 * *room : 256;
    void *p = realloc(*list, more * item);
    if (!p)
        return -ENOMEM;
    *list = p;
    *room = more;
    return 0;
}

static int give(struct keyed *k, uint32_t slot)
{
    int r = grow(&k->give, sizeof(*k->give), k->n_give, &k->give_room);
    if (r == 0)
        k->give[k->n_give++] = slot;
    return r;
}

static int wait(struct keyed *k, uint32_t slot)
{
    int r = grow(&k->wait, sizeof(*k->wait), k->n_wait, &k->wait_room);
    if (r == 0)
        k->wait[k->n_wait++] = slot;
    return r;
}

/* The result with this start is none any more: no row of the key has it as its window's. */
static int take_back(struct worker *w, uint32_t slot, int64_t start_us,
                     uint32_t revision)
{
    struct keyed *k = &w->keyed;
    if (grow(&k->taken, sizeof(*k->taken), k->n_taken, &k->taken_room) < 0)
        return -ENOMEM;
    k->taken[k->n_taken++] = (struct keyed_taken){
        .start_us = start_us, .key = w->groups.slot[slot].key, .revision = revision};
    return 0;
}

/* ---- Late ---------------------------------------------------------------------------------------- */

/* The watermark at a row of the block. */
static int64_t watermark_of(struct reading *r, uint32_t row)
{
    struct worker *w = r->worker;
    if (!r->exact)
        late_watermarks(w, r->entry, r->block);
    r->exact = true;
    return w->watermark_at[row - r->block * BATCH_BLOCK];
}

static int64_t lateness(const struct worker *w)
{
    return w->pipeline->config->allowed_lateness_us; /* 0 where nothing is revised */
}

/* Can a row still be folded into a window that ended at or before the watermark? */
static bool can_revise(const struct worker *w, int64_t end_us, int64_t watermark_us)
{
    return (uint64_t)watermark_us - (uint64_t)end_us < (uint64_t)lateness(w);
}

/* So long behind its end a window is remembered. */
static int64_t keep_us(const struct worker *w)
{
    return by_key_add(by_key_keep(&w->pipeline->window), lateness(w));
}

/* A row of a window that may have ended: the slot is to be given out again. */
static int fold_late(struct reading *r, uint32_t slot)
{
    struct worker *w = r->worker;
    struct span *s = &w->keyed.spans.at[slot];
    r->revised++;
    w->groups.slot[slot].revision++;
    if (s->given == SPAN_GIVEN)
        s->given = SPAN_AGAIN;
    return spans_due(&w->keyed.spans, slot, OPEN, s->end_us);
}

/* A window for a row that is in none, if it has not ended at an earlier row. */
static int open_window(struct reading *r, uint32_t key, int64_t watermark_us,
                       const struct span *span, uint32_t *ret)
{
    struct worker *w = r->worker;
    bool late = span->end_us <= watermark_us;
    if (span->end_us <= w->unknown_us)
        return late ? ROW_LATE : ROW_KNOWN;
    if (late && !can_revise(w, span->end_us, watermark_us))
        return ROW_LATE;
    int err = open_span(w, key, span, ret);
    if (err == 0)
        err = late ? fold_late(r, *ret)
                   : spans_due(&w->keyed.spans, *ret, OPEN, span->end_us);
    return err;
}

/* ---- Sessions ------------------------------------------------------------------------------------ */

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

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
            take_back(w, slot, was_us, w->groups.slot[slot].revision) < 0)
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
        r = take_back(w, from, other.start_us, w->groups.slot[into].revision);
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
        close_span(w, from);
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
        if (s->end_us <= watermark_us && !can_revise(w, s->end_us, watermark_us)) {
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
    int64_t us = r->time[row], watermark_us = watermark_of(r, row);
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
                                  .floor_us = by_key_less(watermark_us, keep_us(w))};
        return open_window(r, key, watermark_us, &span, ret);
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
        err = take_back(w, into, s->start_us, w->groups.slot[into].revision);
    }
    *ret = into;
    return err;
}

static inline int session_slot(struct reading *r, uint32_t key, uint32_t row,
                               uint32_t *ret)
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

/* ---- Until ---------------------------------------------------------------------------------------- */

/* The time that the row's field gives; false: none. A number has the unit of the stream's time. */
static bool until_of(const struct pipeline *p, const struct batch *b, uint32_t row,
                     int64_t *ret_us)
{
    const struct weir_column *c = &b->view[p->window.column];
    if (weir_is_null(c, row))
        return false;
    int64_t us = weir_int(c, row);
    if (c->type == WEIR_TIME || !p->until_unit_us)
        us = c->type == WEIR_TIME ? us : us / 1000;
    else if (__builtin_mul_overflow(us, p->until_unit_us, &us))
        return false;
    *ret_us = us;
    return true;
}

/* Windows of a key follow each other: the first that has not ended before the row, and is not forgotten at the
 * watermark, is the row's. The first row of one says when it ends; where the watermark has passed that row, the window
 * begins there, so that no two of a key begin at one time. */
static int until_join(struct reading *r, uint32_t key, uint32_t row, uint32_t *ret)
{
    struct worker *w = r->worker;
    struct spans *spans = &w->keyed.spans;
    int64_t us = r->time[row], watermark_us = watermark_of(r, row), end_us;
    uint32_t n;
    const uint32_t *slot = spans_of(spans, key, &n);
    for (uint32_t i = 0; i < n; i++) {
        const struct span *s = &spans->at[slot[i]];
        bool late = s->end_us <= watermark_us;
        if (us >= s->end_us || (late && !can_revise(w, s->end_us, watermark_us)))
            continue;
        *ret = slot[i];
        return late ? fold_late(r, *ret) : 0;
    }
    if (!until_of(w->pipeline, r->entry->batch, row, &end_us) || end_us <= us)
        return ROW_NONE;
    int64_t least_us = later(by_key_less(watermark_us, lateness(w)), w->unknown_us);
    int64_t start_us = later(us, least_us);
    const struct span span = {
        .order = start_us, .start_us = start_us, .end_us = end_us};
    int err = open_window(r, key, watermark_us, &span, ret);
    if (err == 0 &&
        end_us > atomic_load_explicit(&w->keyed.last_us, memory_order_relaxed))
        atomic_store_explicit(&w->keyed.last_us, end_us, memory_order_relaxed);
    return err;
}

static inline int until_slot(struct reading *r, uint32_t key, uint32_t row,
                             uint32_t *ret)
{
    struct spans *spans = &r->worker->keyed.spans;
    uint32_t n;
    const uint32_t *slot = spans_of(spans, key, &n);
    if (n == 1 && r->time[row] < spans->at[*slot].end_us &&
        spans->at[*slot].end_us > r->most_us) {
        *ret = *slot;
        return 0;
    }
    return until_join(r, key, row, ret);
}

/* ---- Count --------------------------------------------------------------------------------------- */

/* The key's newest pane that is not full; one is opened behind it otherwise. */
static inline int count_slot(struct reading *r, uint32_t key, uint32_t row,
                             uint32_t *ret)
{
    struct worker *w = r->worker;
    struct spans *spans = &w->keyed.spans;
    const uint64_t full = w->pipeline->window.pane_rows;
    int64_t us = r->time[row];
    uint32_t slot = spans_newest(spans, key);
    if (slot == SLOT_NONE || spans->at[slot].rows == full) {
        uint64_t number = slot == SLOT_NONE ? 1 : spans->at[slot].number + 1;
        if (w->keyed.n_wait >= WAIT_MAX)
            return ROW_FOLD;
        const struct span span = {.order = (int64_t)number,
                                  .number = number,
                                  .start_us = us,
                                  .last_us = us,
                                  .end_us = by_key_add(us, 1)};
        int err = open_span(w, key, &span, &slot);
        if (err == -ENOSPC && w->keyed.n_wait)
            return ROW_FOLD; /* those that are full make room */
        if (err < 0)
            return err;
    }
    struct span *s = &spans->at[slot];
    s->start_us = s->rows ? earlier(s->start_us, us) : us;
    s->last_us = s->rows ? later(s->last_us, us) : us;
    s->end_us = by_key_add(s->last_us, 1);
    *ret = slot;
    return ++s->rows == full ? wait(&w->keyed, slot) : 0;
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
        return give(&w->keyed, pane);
    if (!number)
        return 0;
    uint32_t slot;
    const struct span span = {.order = INT64_MIN,
                              .number = number,
                              .start_us = INT64_MAX,
                              .last_us = INT64_MIN,
                              .end_us = INT64_MIN};
    w->groups.max_open += COUNT_ROOM;
    int r = open_span(w, w->groups.slot[pane].key, &span, &slot);
    w->groups.max_open -= COUNT_ROOM;
    if (r == 0)
        r = give(&w->keyed, slot);
    if (r == 0)
        r = count_merge(w, slot, count_first(kind, number), last);
    return r;
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
        close_span(w, slot[0]);
}

/* A window of one pane has been given out: the key's newest begins anew in its place. */
static int count_renew(struct worker *w, uint32_t slot)
{
    struct spans *spans = &w->keyed.spans;
    struct span *s = &spans->at[slot];
    if (spans_newest(spans, w->groups.slot[slot].key) != slot) {
        close_span(w, slot);
        return 0;
    }
    s->rows = 0;
    s->number++;
    s->order++;
    groups_touch(&w->groups, slot);
    analyze_drop(w, slot, 0, w->pipeline->n_steps);
    memset(groups_state(&w->groups, slot), 0, w->pipeline->stride);
    int r = analyze_init(w, slot);
    if (r < 0)
        w->broken_slot = slot;
    return r;
}

static int count_collect(struct worker *w)
{
    struct keyed *k = &w->keyed;
    size_t n = k->n_wait < COUNT_ROOM ? k->n_wait : COUNT_ROOM;
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = count_give(w, k->wait[i]);
    k->n_done = n;
    return r < 0 ? r : k->n_wait > n;
}

static int count_given(struct worker *w)
{
    struct keyed *k = &w->keyed;
    bool panes = count_panes(&w->pipeline->window) > 1;
    int r = 0;
    for (size_t i = 0; r == 0 && i < k->n_give; i++)
        if (panes)
            close_span(w, k->give[i]);
        else
            r = count_renew(w, k->give[i]);
    for (size_t i = 0; panes && i < k->n_done; i++)
        count_forget(w, w->groups.slot[k->wait[i]].key, k->spans.at[k->wait[i]].number);
    k->n_wait -= k->n_done;
    if (k->n_wait)
        memmove(k->wait, k->wait + k->n_done, k->n_wait * sizeof(*k->wait));
    k->n_done = 0;
    return r;
}

/* ---- Global -------------------------------------------------------------------------------------- */

static inline int global_slot(struct reading *r, uint32_t key, uint32_t row,
                              uint32_t *ret)
{
    struct worker *w = r->worker;
    struct keyed *k = &w->keyed;
    int64_t us = r->time[row];
    uint32_t slot = spans_newest(&k->spans, key);
    *ret = slot;
    if (slot == SLOT_NONE) {
        const struct span span = {.last_us = us};
        int err = open_span(w, key, &span, ret);
        if (err == 0)
            err = wait(k, *ret);
        int64_t expire_us = w->pipeline->window.expire_us;
        if (err == 0 && expire_us != INT64_MAX)
            err = spans_due(&k->spans, *ret, PAST, by_key_add(us, expire_us));
        return err;
    }
    struct span *s = &k->spans.at[slot];
    s->last_us = later(s->last_us, us);
    if (s->given != SPAN_GIVEN)
        return 0;
    s->given = SPAN_AGAIN;
    return wait(k, slot);
}

static bool global_is_due(const struct worker *w, int64_t watermark_us)
{
    return watermark_us >= window_next_border(&w->pipeline->window, w->keyed.border_us);
}

static int global_collect(struct worker *w)
{
    struct keyed *k = &w->keyed;
    int r = 0;
    for (size_t i = 0; r == 0 && i < k->n_wait; i++)
        r = give(k, k->wait[i]);
    k->n_wait = 0;
    return r;
}

/* The next result has a higher revision. Groups whose last row is too long ago are forgotten, and their results go. */
static int global_given(struct worker *w, int64_t until_us)
{
    struct keyed *k = &w->keyed;
    int64_t expire_us = w->pipeline->window.expire_us;
    int r = 0;
    for (size_t i = 0; i < k->n_give; i++) {
        k->spans.at[k->give[i]].given = SPAN_GIVEN;
        w->groups.slot[k->give[i]].revision++;
        groups_touch(&w->groups, k->give[i]);
    }
    for (uint32_t slot;
         r == 0 && (slot = spans_first_due(&k->spans, PAST, until_us)) != SLOT_NONE;) {
        int64_t due_us = by_key_add(k->spans.at[slot].last_us, expire_us);
        if (due_us > until_us) {
            r = spans_due(&k->spans, slot, PAST, due_us);
            continue;
        }
        r = take_back(w, slot, 0, w->groups.slot[slot].revision);
        close_span(w, slot);
    }
    return r;
}

/* ---- Those that end at a time --------------------------------------------------------------------- */

/* The windows of the key that follow know where it ended. */
static void forget(struct worker *w, uint32_t slot)
{
    struct spans *spans = &w->keyed.spans;
    uint32_t n;
    const uint32_t *of_key = spans_of(spans, w->groups.slot[slot].key, &n);
    for (uint32_t i = n; i-- > 0 && of_key[i] != slot;) {
        struct span *s = &spans->at[of_key[i]];
        s->floor_us = later(s->floor_us, spans->at[slot].end_us);
        groups_touch(&w->groups, of_key[i]);
    }
    close_span(w, slot);
}

static int64_t forget_us(const struct worker *w, uint32_t slot)
{
    return by_key_add(w->keyed.spans.at[slot].end_us, keep_us(w));
}

/* What is due may have been prolonged since: then it is due later. */
static int ended_collect(struct worker *w, int64_t until_us, bool last)
{
    struct keyed *k = &w->keyed;
    int r = 0;
    uint32_t slot;
    while (r == 0 && (slot = spans_first_due(
                          &k->spans, OPEN, last ? INT64_MAX : until_us)) != SLOT_NONE) {
        int64_t end_us = k->spans.at[slot].end_us;
        if (end_us > until_us && !last) {
            r = spans_due(&k->spans, slot, OPEN, end_us);
        } else {
            spans_undue(&k->spans, slot);
            r = give(k, slot);
        }
    }
    while (r == 0 && (slot = spans_first_due(&k->spans, PAST,
                                             last ? INT64_MAX : until_us)) != SLOT_NONE)
        forget(w, slot);
    return r;
}

static int ended_given(struct worker *w, int64_t until_us, bool last)
{
    struct keyed *k = &w->keyed;
    int r = 0;
    for (size_t i = 0; r == 0 && i < k->n_give; i++) {
        uint32_t slot = k->give[i];
        k->spans.at[slot].given = SPAN_GIVEN;
        groups_touch(&w->groups, slot);
        if (last || forget_us(w, slot) <= until_us)
            forget(w, slot);
        else
            r = spans_due(&k->spans, slot, PAST, forget_us(w, slot));
    }
    return r;
}

/* ---- Giving out ----------------------------------------------------------------------------------- */

/* In the order of their rows in the table, those that were given out before behind the others. */
static int sort_list(struct worker *w)
{
    struct keyed *k = &w->keyed;
    for (size_t i = 0; i < k->n_give; i++)
        w->groups.slot[k->give[i]].window = k->spans.at[k->give[i]].start_us;
    k->n_give = groups_sort_slots(&w->groups, k->give, k->n_give);
    uint32_t *sorted = malloc((k->n_give + 1) * sizeof(*sorted));
    if (!sorted)
        return -ENOMEM;
    size_t n = 0;
    for (size_t i = 0; i < k->n_give; i++)
        if (k->spans.at[k->give[i]].given == SPAN_FRESH)
            sorted[n++] = k->give[i];
    k->n_fresh = n;
    for (size_t i = 0; i < k->n_give; i++)
        if (k->spans.at[k->give[i]].given != SPAN_FRESH)
            sorted[n++] = k->give[i];
    memcpy(k->give, sorted, n * sizeof(*sorted));
    free(sorted);
    return 0;
}

int keyed_collect(struct worker *w, int64_t until_us, bool last)
{
    int r = 0;
    switch (w->pipeline->window.kind) {
    case CONFIG_COUNT:
        r = count_collect(w);
        break;
    case CONFIG_GLOBAL:
        if (last || global_is_due(w, until_us))
            r = global_collect(w);
        break;
    default:
        r = ended_collect(w, until_us, last);
    }
    int sorted = r >= 0 && w->keyed.n_give ? sort_list(w) : 0;
    return sorted < 0 ? sorted : r;
}

int keyed_given(struct worker *w, int64_t until_us, bool last)
{
    struct keyed *k = &w->keyed;
    int r = 0;
    switch (w->pipeline->window.kind) {
    case CONFIG_COUNT:
        r = count_given(w);
        break;
    case CONFIG_GLOBAL:
        if (!last && !global_is_due(w, until_us))
            break;
        r = global_given(w, until_us);
        k->border_us = window_of(&w->pipeline->window, until_us).start_us;
        break;
    default:
        r = ended_given(w, until_us, last);
    }
    k->n_give = k->n_fresh = 0;
    return r;
}

void keyed_show(struct worker *w)
{
    struct keyed *k = &w->keyed;
    const struct span_queue *q = &k->spans.queue[OPEN];
    while (q->n && q->due[0].us < k->spans.at[q->due[0].slot].end_us)
        spans_due(&k->spans, q->due[0].slot, OPEN,
                  k->spans.at[q->due[0].slot].end_us); /* it is there: no memory */
    atomic_store_explicit(&k->due_us, q->n ? q->due[0].us : INT64_MAX,
                          memory_order_relaxed);
}

/* ---- Rows ------------------------------------------------------------------------------------------ */

static int fold(struct reading *r)
{
    uint32_t n = r->out;
    r->out = 0;
    metric_add(&r->worker->pipeline->events, n);
    return worker_fold(r->worker, r->entry, n);
}

/* Global: whoever's row it is that moves the watermark, all workers give out before it. */
static void find_cut(struct reading *r)
{
    const struct worker *w = r->worker;
    uint32_t row = r->block * BATCH_BLOCK;
    r->cut = UINT32_MAX;
    if (w->pipeline->window.kind != CONFIG_GLOBAL || !global_is_due(w, r->most_us))
        return;
    while (!global_is_due(w, watermark_of(r, row)))
        row++;
    r->cut = row;
}

/* The rows before are folded; what waits is given out, as of before this row. */
static int make_room(struct reading *r, uint32_t row)
{
    int err = fold(r);
    if (err == 0 && r->worker->pipeline->window.kind != CONFIG_SESSION)
        err = worker_give_out(r->worker, watermark_of(r, row));
    find_cut(r);
    return err;
}

static int slot_of(struct reading *r, uint32_t key, uint32_t row, uint32_t *ret)
{
    switch (r->worker->pipeline->window.kind) {
    case CONFIG_SESSION:
        return session_slot(r, key, row, ret);
    case CONFIG_COUNT:
        return count_slot(r, key, row, ret);
    case CONFIG_GLOBAL:
        return row >= r->cut ? ROW_FOLD : global_slot(r, key, row, ret);
    default:
        return until_slot(r, key, row, ret);
    }
}

/* A row that has no window, by what slot_of says of it. */
static int pass_over(struct reading *r, uint32_t row, int why)
{
    struct worker *w = r->worker;
    const struct window_kind *kind = &w->pipeline->window;
    int64_t us = r->time[row], end_us = 0;
    if (why == ROW_NONE) {
        r->no_until++;
        return 0;
    }
    if (kind->kind != CONFIG_UNTIL ||
        !until_of(w->pipeline, r->entry->batch, row, &end_us))
        end_us = session_end(kind, us, us);
    if (why == ROW_LATE && w->pipeline->config->late == CONFIG_LATE_SIDE) {
        r->aside++;
        return late_keep(w, r->entry, row, us, end_us);
    }
    r->dropped++;
    r->known += end_us <= w->pipeline->begun_us;
    return 0;
}

int keyed_read(struct worker *w, const struct log_entry *e, uint32_t block, uint32_t n)
{
    struct pipeline *p = w->pipeline;
    struct reading r = {.worker = w,
                        .entry = e,
                        .block = block,
                        .time = e->batch->view[0].values,
                        .most_us = late_watermark(w, e, block)};
    int err = 0;
    find_cut(&r);
    for (uint32_t i = 0; err == 0 && i < n;) {
        uint32_t row = w->row[i], key = w->key[i], slot;
        err = slot_of(&r, key, row, &slot);
        if (err == ROW_FOLD) {
            err = make_room(&r, r.cut < row ? r.cut : row);
            continue;
        }
        i++;
        if (err == -ENOSPC) {
            r.over++;
            err = worker_over_max_groups(w);
        } else if (err > 0) {
            err = pass_over(&r, row, err);
        } else if (err == 0) {
            w->row[r.out] = row;
            w->slot[r.out++] = slot;
        }
    }
    while (err == 0 && r.cut != UINT32_MAX)
        err = make_room(&r, r.cut);
    if (err == 0)
        err = fold(&r);
    metric_add(&p->over_groups, r.over);
    metric_add(&p->no_until, r.no_until);
    metric_add(&p->late_known, r.known);
    metric_add(&p->late[CONFIG_LATE_DROP], r.dropped);
    metric_add(&p->late[CONFIG_LATE_SIDE], r.aside);
    metric_add(&p->late[CONFIG_LATE_REVISE], r.revised);
    return err;
}

/* ---- From a checkpoint ----------------------------------------------------------------------------- */

int keyed_restore(struct worker *w, const char *key, size_t size, uint64_t hash,
                  const struct span *span, uint32_t *ret_slot)
{
    const struct window_kind *kind = &w->pipeline->window;
    struct keyed *k = &w->keyed;
    uint32_t number;
    int r = span->given > SPAN_GIVEN || span->rows > kind->pane_rows ? -EBADMSG : 0;
    if (r == 0)
        r = groups_key(&w->groups, key, size, hash, &number);
    if (r == 0)
        r = open_span(w, number, span, ret_slot);
    if (r < 0)
        return r;
    if (kind->kind == CONFIG_COUNT)
        return 0;
    if (kind->kind == CONFIG_GLOBAL) {
        r = span->given == SPAN_GIVEN ? 0 : wait(k, *ret_slot);
        if (r == 0 && kind->expire_us != INT64_MAX)
            r = spans_due(&k->spans, *ret_slot, PAST,
                          by_key_add(span->last_us, kind->expire_us));
        return r;
    }
    if (span->end_us > atomic_load_explicit(&k->last_us, memory_order_relaxed))
        atomic_store_explicit(&k->last_us, span->end_us, memory_order_relaxed);
    return span->given == SPAN_GIVEN
               ? spans_due(&k->spans, *ret_slot, PAST, forget_us(w, *ret_slot))
               : spans_due(&k->spans, *ret_slot, OPEN, span->end_us);
}

void keyed_restore_marks(struct worker *w, int64_t watermark_us)
{
    if (w->pipeline->window.kind == CONFIG_GLOBAL)
        w->keyed.border_us = window_of(&w->pipeline->window, watermark_us).start_us;
}

/* ---- Silence --------------------------------------------------------------------------------------- */

int64_t pipeline_first_end(struct pipeline *p)
{
    int64_t first_us = INT64_MAX;
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; p->worker && i < p->config->workers; i++)
        first_us = earlier(first_us, atomic_load_explicit(&p->worker[i].keyed.due_us,
                                                          memory_order_relaxed));
    pthread_mutex_unlock(&p->lock);
    return first_us;
}

int64_t keyed_next_border(struct pipeline *p, int64_t after_us)
{
    switch (p->window.kind) {
    case CONFIG_COUNT:
        return INT64_MAX;
    case CONFIG_GLOBAL:
        return window_next_border(&p->window, after_us);
    default:
        break;
    }
    int64_t first_us = pipeline_first_end(p); /* unless the workers are behind */
    return first_us > after_us ? first_us : by_key_add(after_us, 1);
}

int64_t keyed_last_border(struct pipeline *p, int64_t newest_us)
{
    int64_t last_us = INT64_MIN;
    switch (p->window.kind) {
    case CONFIG_COUNT:
        return INT64_MIN;
    case CONFIG_SESSION:
        return by_key_add(newest_us, session_gap(&p->window));
    case CONFIG_GLOBAL:
        return window_next_border(&p->window, newest_us);
    default:
        break;
    }
    for (unsigned i = 0; i < p->config->workers; i++) {
        struct worker *w = &p->worker[i];
        if (mailbox_length(&w->mailbox)) /* it does not know yet */
            return INT64_MAX;
        last_us = later(last_us,
                        atomic_load_explicit(&w->keyed.last_us, memory_order_relaxed));
    }
    return last_us;
}
