/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/keyed_kinds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
    for (size_t i = 0; i < w->keyed.n_taken; i++)
        former_drop(w->keyed.taken[i].former);
    free(w->keyed.taken);
}

int keyed_open(struct worker *w, uint32_t key, const struct span *span,
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

void keyed_close(struct worker *w, uint32_t slot)
{
    analyze_drop(w, slot, 0, w->pipeline->n_steps);
    former_set(&w->former, slot, NULL);
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

int keyed_give(struct keyed *k, uint32_t slot)
{
    int r = grow(&k->give, sizeof(*k->give), k->n_give, &k->give_room);
    if (r == 0)
        k->give[k->n_give++] = slot;
    return r;
}

int keyed_wait(struct keyed *k, uint32_t slot)
{
    int r = grow(&k->wait, sizeof(*k->wait), k->n_wait, &k->wait_room);
    if (r == 0)
        k->wait[k->n_wait++] = slot;
    return r;
}

int keyed_take_back(struct worker *w, uint32_t slot, int64_t start_us,
                    uint32_t revision)
{
    struct keyed *k = &w->keyed;
    if (grow(&k->taken, sizeof(*k->taken), k->n_taken, &k->taken_room) < 0)
        return -ENOMEM;
    k->taken[k->n_taken++] =
        (struct keyed_taken){.start_us = start_us,
                             .key = w->groups.slot[slot].key,
                             .revision = revision,
                             .former = former_take(&w->former, slot)};
    return 0;
}

/* ---- Late ---------------------------------------------------------------------------------------- */

int64_t keyed_watermark(struct reading *r, uint32_t row)
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

bool keyed_can_revise(const struct worker *w, int64_t end_us, int64_t watermark_us)
{
    return (uint64_t)watermark_us - (uint64_t)end_us < (uint64_t)lateness(w);
}

int64_t keyed_keep_us(const struct worker *w)
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

int keyed_open_window(struct reading *r, uint32_t key, int64_t watermark_us,
                      const struct span *span, uint32_t *ret)
{
    struct worker *w = r->worker;
    bool late = span->end_us <= watermark_us;
    if (span->end_us <= w->unknown_us)
        return late ? ROW_LATE : ROW_KNOWN;
    if (late && !keyed_can_revise(w, span->end_us, watermark_us))
        return ROW_LATE;
    int err = keyed_open(w, key, span, ret);
    if (err == 0)
        err = late ? fold_late(r, *ret)
                   : spans_due(&w->keyed.spans, *ret, OPEN, span->end_us);
    return err;
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

/* The window begins with this row, too; a result with a later start is none any more. */
static int until_begin(struct worker *w, uint32_t slot, int64_t us)
{
    struct span *s = &w->keyed.spans.at[slot];
    int64_t was_us = s->start_us, start_us = later(us, s->last_us);
    if (start_us >= was_us)
        return 0;
    s->start_us = start_us;
    spans_order(&w->keyed.spans, slot, start_us);
    groups_touch(&w->groups, slot);
    if (s->given == SPAN_FRESH)
        return 0;
    s->given = SPAN_FRESH;
    return keyed_take_back(w, slot, was_us, w->groups.slot[slot].revision);
}

/* A row of a window, but one that lies before all that it can have. */
static int until_row(struct reading *r, uint32_t slot, int64_t us, int64_t watermark_us)
{
    struct worker *w = r->worker;
    struct span *s = &w->keyed.spans.at[slot];
    if (us < s->floor_us)
        return ROW_LATE;
    int err = 0;
    if (s->end_us <= watermark_us) {
        err = fold_late(r, slot);
        if (us < s->start_us)
            s->given = SPAN_AGAIN; /* if not by this run, maybe by an earlier one */
    }
    return err < 0 ? err : until_begin(w, slot, us);
}

/* Windows of a key follow each other: the first that has not ended before the row, and is not forgotten at the
 * watermark, is the row's. The first row to come says when it ends. It begins with its earliest row, but not where
 * earlier windows may have been (last_us): so none overlap, and no two begin at one time. Rows before both that and its
 * first row (floor_us) are late for those. */
static int until_join(struct reading *r, uint32_t key, uint32_t row, uint32_t *ret)
{
    struct worker *w = r->worker;
    struct spans *spans = &w->keyed.spans;
    int64_t us = r->time[row], watermark_us = keyed_watermark(r, row), end_us;
    int64_t least_us = later(by_key_less(watermark_us, lateness(w)), w->unknown_us);
    uint32_t n;
    const uint32_t *slot = spans_of(spans, key, &n);
    for (uint32_t i = 0; i < n; i++) {
        const struct span *s = &spans->at[slot[i]];
        least_us = later(least_us, s->end_us);
        if (us >= s->end_us || (s->end_us <= watermark_us &&
                                !keyed_can_revise(w, s->end_us, watermark_us)))
            continue;
        *ret = slot[i];
        return until_row(r, *ret, us, watermark_us);
    }
    if (!until_of(w->pipeline, r->entry->batch, row, &end_us) || end_us <= us)
        return ROW_NONE;
    int64_t start_us = later(us, least_us);
    const struct span span = {.order = start_us,
                              .start_us = start_us,
                              .end_us = end_us,
                              .last_us = least_us,
                              .floor_us = earlier(us, least_us)};
    int err = keyed_open_window(r, key, watermark_us, &span, ret);
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
    const struct span *s = n == 1 ? &spans->at[*slot] : NULL;
    if (s && r->time[row] >= s->start_us && r->time[row] < s->end_us &&
        s->end_us > r->most_us) {
        *ret = *slot;
        return 0;
    }
    return until_join(r, key, row, ret);
}

/* ---- Global -------------------------------------------------------------------------------------- */

static inline int global_slot(struct reading *r, uint32_t key, uint32_t row,
                              uint32_t *ret)
{
    struct worker *w = r->worker;
    struct keyed *k = &w->keyed;
    int64_t us = r->time[row];
    uint32_t slot = spans_newest(&k->spans, key);
    const bool out = r->entry->retract;
    *ret = slot;
    if (slot == SLOT_NONE && out) /* there was no room for it either */
        return -ENOSPC;
    if (slot == SLOT_NONE) {
        const struct span span = {.last_us = us, .rows = w->pipeline->changes};
        int err = keyed_open(w, key, &span, ret);
        if (err == 0)
            err = keyed_wait(k, *ret);
        int64_t expire_us = w->pipeline->window.expire_us;
        if (err == 0 && expire_us != INT64_MAX)
            err = spans_due(&k->spans, *ret, PAST, by_key_add(us, expire_us));
        return err;
    }
    struct span *s = &k->spans.at[slot];
    s->last_us = later(s->last_us, us);
    if (w->pipeline->changes)
        s->rows += out ? UINT64_MAX : 1;
    if (s->given != SPAN_GIVEN)
        return 0;
    s->given = SPAN_AGAIN;
    return keyed_wait(k, slot);
}

/* The last border at or before it; INT64_MIN: none. */
static int64_t border_at(const struct worker *w, int64_t us)
{
    return us == INT64_MIN ? us : window_of(&w->pipeline->window, us).start_us;
}

static bool global_is_due(const struct worker *w, int64_t watermark_us)
{
    return watermark_us >= window_next_border(&w->pipeline->window, w->keyed.border_us);
}

/* Has the key had no row for too long, at this border? Or, where rows are taken out again, has it none any more? */
static bool global_has_expired(const struct worker *w, uint32_t slot, int64_t border_us)
{
    int64_t expire_us = w->pipeline->window.expire_us;
    if (w->pipeline->changes)
        return !w->keyed.spans.at[slot].rows;
    return expire_us != INT64_MAX &&
           by_key_add(w->keyed.spans.at[slot].last_us, expire_us) <= border_us;
}

/* What would go at once does not come: a set of rows takes back before it gives. */
static int global_collect(struct worker *w, int64_t until_us)
{
    struct keyed *k = &w->keyed;
    int64_t border_us = border_at(w, until_us);
    int r = 0;
    for (size_t i = 0; r == 0 && i < k->n_wait; i++)
        if (global_has_expired(w, k->wait[i], border_us)) {
            w->groups.slot[k->wait[i]]
                .revision++; /* an earlier run may have given it */
            r = spans_due(&k->spans, k->wait[i], PAST, INT64_MIN);
        } else {
            r = keyed_give(k, k->wait[i]);
        }
    k->n_wait = 0;
    return r;
}

/* The next result has a higher revision. Groups whose last row is too long ago are forgotten, and their results go. */
static int global_given(struct worker *w, int64_t until_us)
{
    struct keyed *k = &w->keyed;
    int64_t border_us = border_at(w, until_us);
    int r = 0;
    for (size_t i = 0; i < k->n_give; i++) {
        k->spans.at[k->give[i]].given = SPAN_GIVEN;
        w->groups.slot[k->give[i]].revision++;
        groups_touch(&w->groups, k->give[i]);
    }
    for (uint32_t slot;
         r == 0 && (slot = spans_first_due(&k->spans, PAST, border_us)) != SLOT_NONE;) {
        if (!global_has_expired(w, slot, border_us)) {
            r = spans_due(
                &k->spans, slot, PAST,
                by_key_add(k->spans.at[slot].last_us, w->pipeline->window.expire_us));
            continue;
        }
        r = keyed_take_back(w, slot, 0, w->groups.slot[slot].revision);
        keyed_close(w, slot);
    }
    k->border_us = later(k->border_us, border_us);
    return r;
}

/* What waits has come before the first border behind the last one, however far the watermark goes in one step. While it
 * is held, as up to the end of a file, there was none. */
int64_t keyed_border(const struct worker *w, int64_t until_us, bool last)
{
    int64_t last_us = w->keyed.border_us, border_us = border_at(w, until_us);
    return last || last_us == INT64_MIN
               ? border_us
               : earlier(border_us, window_next_border(&w->pipeline->window, last_us));
}

/* ---- Those that end at a time --------------------------------------------------------------------- */

/* The sessions of the key that follow know where it ended; windows of until have known before. */
static void forget(struct worker *w, uint32_t slot)
{
    struct spans *spans = &w->keyed.spans;
    uint32_t n;
    const uint32_t *of_key = spans_of(spans, w->groups.slot[slot].key, &n);
    for (uint32_t i = w->pipeline->window.kind == CONFIG_SESSION ? n : 0;
         i-- > 0 && of_key[i] != slot;) {
        struct span *s = &spans->at[of_key[i]];
        s->floor_us = later(s->floor_us, spans->at[slot].end_us);
        groups_touch(&w->groups, of_key[i]);
    }
    keyed_close(w, slot);
}

static int64_t forget_us(const struct worker *w, uint32_t slot)
{
    return by_key_add(w->keyed.spans.at[slot].end_us, keyed_keep_us(w));
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
            r = keyed_give(k, slot);
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
    if (k->n_give == 1) {
        k->n_fresh = k->spans.at[k->give[0]].given == SPAN_FRESH;
        return 0;
    }
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
            r = global_collect(w, until_us);
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
        r = count_given(w, until_us);
        break;
    case CONFIG_GLOBAL:
        if (!last && !global_is_due(w, until_us))
            break;
        r = global_given(w, until_us);
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
    while (!global_is_due(w, keyed_watermark(r, row)))
        row++;
    r->cut = row;
}

/* The rows before are folded; what waits is given out, as of before this row. */
static int make_room(struct reading *r, uint32_t row)
{
    int err = fold(r);
    if (err == 0 && r->worker->pipeline->window.kind != CONFIG_SESSION)
        err = worker_give_out(r->worker, keyed_watermark(r, row));
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
    pipeline_count_late(p, e, CONFIG_LATE_DROP, r.dropped);
    pipeline_count_late(p, e, CONFIG_LATE_SIDE, r.aside);
    pipeline_count_late(p, e, CONFIG_LATE_REVISE, r.revised);
    return err;
}

/* ---- From a checkpoint ----------------------------------------------------------------------------- */

int keyed_restore(struct worker *w, const char *key, size_t size, uint64_t hash,
                  const struct span *span, uint32_t *ret_slot)
{
    const struct window_kind *kind = &w->pipeline->window;
    struct keyed *k = &w->keyed;
    uint32_t number;
    int r = span->given > SPAN_GIVEN ||
                    (kind->kind == CONFIG_COUNT && span->rows > kind->pane_rows)
                ? -EBADMSG
                : 0;
    if (r == 0)
        r = groups_key(&w->groups, key, size, hash, &number);
    if (r == 0)
        r = keyed_open(w, number, span, ret_slot);
    if (r < 0)
        return r;
    if (kind->kind == CONFIG_COUNT)
        return kind->expire_us == INT64_MAX
                   ? 0
                   : spans_due(&k->spans, *ret_slot, PAST,
                               by_key_add(span->floor_us, kind->expire_us));
    if (kind->kind == CONFIG_GLOBAL) {
        r = span->given == SPAN_GIVEN ? 0 : keyed_wait(k, *ret_slot);
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
        w->keyed.border_us = border_at(w, watermark_us);
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
