/* SPDX-License-Identifier: Apache-2.0
 *
 * Events of several streams in the same windows (`from: [bids, auctions]`). The entries of all become entries of one
 * log, of the schema of all, which says up to where all have come. A row is late by its own stream's watermark, and
 * is left out here; a window closes by the least of them. So what is in it does not depend on how the streams come in
 * between each other.
 *
 *      bids:     e e e e    watermark 12  --\
 *                                           +--> e e E E E e ..., reached 9 --> workers
 *      auctions: E E E      watermark  9  --/
 */
#include "log/entry.h"
#include "pipeline/join.h"
#include "pipeline/worker.h"

#include <errno.h>
#include <stdlib.h>

#define AHEAD_MAX 1000000u /* rows of a stream that others have not come up to */

/* Of the own one, then of the others. */
static struct join_input *source_of(struct join *j, size_t i)
{
    return i ? &j->input[i - 1] : &j->own;
}

/* What all have reached that have not ended. INT64_MAX: all have ended. */
static int64_t reached_by_all(struct join *j)
{
    int64_t us = INT64_MAX;
    for (size_t i = 0; i <= j->n; i++) {
        const struct join_input *in = source_of(j, i);
        if (!in->ended && in->watermark.value_us < us)
            us = in->watermark.value_us;
    }
    return us;
}

/* Who is behind is asked to come up to the first, if it is silent. */
static void ask_all(struct join *j)
{
    int64_t first_us = INT64_MIN;
    for (size_t i = 0; i <= j->n; i++)
        if (source_of(j, i)->watermark.value_us > first_us)
            first_us = source_of(j, i)->watermark.value_us;
    for (size_t i = 0; i <= j->n; i++) {
        struct join_input *in = source_of(j, i);
        struct log *log = i ? in->log : j->pipeline->log;
        _Atomic int64_t *wanted = i ? &in->wanted_us : &j->wanted_us;
        int64_t us =
            in->ended || in->watermark.value_us >= first_us ? INT64_MIN : first_us;
        int64_t before_us = atomic_load_explicit(wanted, memory_order_relaxed);
        if (us == before_us)
            continue;
        atomic_store_explicit(wanted, us, memory_order_relaxed);
        if (us > before_us && log)
            log_look(log);
    }
}

/* ---- Late rows -------------------------------------------------------------------------------- */

/* Of windows that overlap, a row that is late for the first is late for all. A session that has been given out may still have
 * been open for a row at or behind its own stream's watermark, but none that the row touches: hence the stricter rule. */
static bool is_late(const struct window_kind *kind, int64_t us, int64_t watermark_us)
{
    return kind->kind == CONFIG_SESSION ? us < watermark_us
                                        : window_next_border(kind, us) <= watermark_us;
}

static uint32_t find_late(const struct join *j, const struct watermark *w,
                          const struct log_entry *e, uint32_t first, uint32_t n,
                          bool *late)
{
    const int64_t *time = e->batch->view[0].values;
    const struct window_kind *kind = &j->pipeline->window;
    int64_t newest_us = INT64_MIN;
    uint32_t found = 0;
    for (uint32_t row = first; row < first + n; row++) {
        newest_us = time[row] > newest_us ? time[row] : newest_us;
        int64_t told_us = e->held ? log_entry_reached(e, row) : newest_us;
        late[row] = is_late(kind, time[row], watermark_at(w, told_us));
        found += late[row];
    }
    return found;
}

/* Moves the watermark on, behind each block. Most have no late row, and a comparison shows it. */
static uint32_t read_rows(const struct join *j, struct watermark *w,
                          const struct log_entry *e, bool *late)
{
    const struct pipeline *p = j->pipeline;
    bool open =
        p->hold_bytes && !atomic_load_explicit(&p->released, memory_order_relaxed);
    uint32_t found = 0;
    watermark_begin(w, e->source);
    for (uint32_t first = 0, k = 0; first < e->batch->n_rows;
         first += BATCH_BLOCK, k++) {
        uint32_t rest = e->batch->n_rows - first;
        uint32_t n = rest < BATCH_BLOCK ? rest : BATCH_BLOCK;
        const struct batch_span *span = &e->batch->block[k];
        int64_t told_us = e->held ? log_entry_reached(e, first + n) : span->max_us;
        if (!open && is_late(&p->window, span->min_us, watermark_at(w, told_us)))
            found += find_late(j, w, e, first, n, late);
        else
            memset(late + first, 0, n * sizeof(*late));
        watermark_read(w, told_us, span->max_us);
    }
    return found;
}

/* In place of the batch one without them; NULL: all are late. */
static int leave_out(struct batch **b, const bool *late)
{
    struct batch *to = NULL;
    int r = batch_new((*b)->schema, (*b)->n_rows, &to);
    for (uint32_t row = 0; r == 0 && row < (*b)->n_rows; row++)
        r = late[row] ? 0 : batch_append_row(to, *b, row);
    if (r < 0) {
        batch_unref(to);
        return r;
    }
    batch_unref(*b);
    batch_seal(to);
    *b = to;
    if (!to->n_rows) {
        batch_unref(to);
        *b = NULL;
    }
    return 0;
}

/* ---- Entries ---------------------------------------------------------------------------------- */

/* What all have reached, if no row says it. */
static int hand_on_reached(struct join *j, int64_t us)
{
    struct log_entry *mark;
    if (us <= j->told_us)
        return 0;
    bool end = us == INT64_MAX;
    if (entry_new(end ? LOG_END : LOG_REACHED, &mark) < 0)
        return -ENOMEM;
    mark->position = j->position;
    mark->time_us = end ? 0 : us;
    j->told_us = us;
    j->handing = mark;
    return 0;
}

static int make_entry(struct join *j, size_t source, const struct log_entry *e,
                      const bool *late, uint32_t n_late, struct log_entry **ret)
{
    const struct config_joins *c = &j->pipeline->config->joins;
    struct log_entry *to;
    int r = entry_new(LOG_BATCH, &to);
    if (r < 0)
        return r;
    r = batch_pick(e->batch, c->schema, c->pick + source * c->schema->n, c->number,
                   (int64_t)source, &to->batch);
    if (r == 0 && n_late)
        r = leave_out(&to->batch, late);
    if (r < 0 || !to->batch) {
        log_entry_unref(to);
        *ret = NULL;
        return r;
    }
    to->position = j->position;
    to->held = true;
    to->reached_us = reached_by_all(j);
    *ret = to;
    return 0;
}

static int read_batch(struct join *j, size_t source, const struct log_entry *e)
{
    struct pipeline *p = j->pipeline;
    struct join_input *in = source_of(j, source);
    bool *late = (bool *)j->found; /* scratch that is not used here */
    struct log_entry *to;
    uint32_t n_late = read_rows(j, &in->watermark, e, late);
    metric_add(&p->late[CONFIG_LATE_DROP], n_late);
    metric_add(&in->late, n_late);
    join_count_late(in, e, n_late);
    in->ahead += e->batch->n_rows;
    int r = make_entry(j, source, e, late, n_late, &to);
    if (r < 0 || !to)
        return r < 0 ? r : hand_on_reached(j, reached_by_all(j));
    if (to->reached_us > j->told_us)
        j->told_us = to->reached_us;
    if (p->derive) {
        r = derived_entry(p, to, &j->handing);
        log_entry_unref(to);
    } else if ((r = derived_keys(p, to)) < 0) {
        log_entry_unref(to);
    } else {
        j->handing = to;
    }
    return r;
}

static int read_source(struct join *j, size_t source, const struct log_entry *e)
{
    struct join_input *in = source_of(j, source);
    struct watermark *w = &in->watermark;
    if (e->kind == LOG_CHECKPOINT)
        return join_hand_on_checkpoint(j);
    if (e->position > in->position)
        in->position = e->position;
    if (!source)
        j->position = in->position;
    switch (e->kind) {
    case LOG_BATCH:
        return read_batch(j, source, e);
    case LOG_REACHED:
        watermark_reached(w, e->source, e->time_us);
        break;
    case LOG_HEARD:
        watermark_begin(w, e->source);
        break;
    case LOG_IDLE:
        watermark_idle(w, e->source);
        break;
    case LOG_ADVANCE:
        watermark_advance(w, e->time_us);
        break;
    case LOG_END:
        watermark_end(w, w->newest_us);
        in->ended = true;
        break;
    case LOG_CHECKPOINT:
        break;
    }
    return hand_on_reached(j, reached_by_all(j));
}

/* Of those that have something, the one that is furthest behind; who is far ahead of others waits for them, unless these
 * are silent, which moves them on. */
static size_t choose(struct join *j)
{
    size_t best = SIZE_MAX;
    int64_t least_us = reached_by_all(j);
    bool all = atomic_load_explicit(&j->draining, memory_order_relaxed);
    for (size_t i = 0; i <= j->n; i++) {
        struct join_input *in = source_of(j, i);
        unsigned n = mailbox_length(i ? &in->mailbox : &j->mailbox);
        bool far = in->watermark.value_us > least_us && in->ahead >= AHEAD_MAX;
        if (!n || (far && !all && n <= MAILBOX_ENTRIES))
            continue;
        if (best == SIZE_MAX ||
            in->watermark.value_us < source_of(j, best)->watermark.value_us)
            best = i;
    }
    return best;
}

bool join_all_step(struct join *j)
{
    size_t i = choose(j);
    if (i == SIZE_MAX)
        return false;
    struct join_input *in = source_of(j, i);
    struct mailbox *m = i ? &in->mailbox : &j->mailbox;
    int64_t before_us = reached_by_all(j);
    struct log_entry *e = join_take(m, i ? in->log : j->pipeline->log);
    int r = read_source(j, i, e);
    log_entry_unref(e);
    mailbox_done(m);
    if (reached_by_all(j) > before_us)
        for (size_t k = 0; k <= j->n; k++)
            source_of(j, k)->ahead /= 2; /* about so many are behind it now */
    join_show(in);
    ask_all(j);
    if (r < 0)
        join_failed(j, r);
    return true;
}
