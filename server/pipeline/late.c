/* SPDX-License-Identifier: Apache-2.0
 *
 * Late rows: those whose window the watermark had passed when they came. They are counted, kept as they
 * are in a table of their own, or folded into groups that are given out again.
 */
#include "base/clock.h"
#include "base/logger.h"
#include "pipeline/worker.h"

#include <errno.h>
#include <stdlib.h>

/* How many rows the block has. */
static uint32_t rows_of(const struct batch *b, uint32_t block)
{
    uint32_t rest = b->n_rows - block * BATCH_BLOCK;
    return rest < BATCH_BLOCK ? rest : BATCH_BLOCK;
}

int64_t late_watermark(const struct worker *w, const struct log_entry *e,
                       uint32_t block)
{
    uint32_t last = block * BATCH_BLOCK + rows_of(e->batch, block) - 1;
    int64_t told_us =
        e->held ? log_entry_reached(e, last) : e->batch->block[block].max_us;
    return watermark_at(&w->watermark, told_us);
}

void late_watermarks(struct worker *w, const struct log_entry *e, uint32_t block)
{
    uint32_t first = block * BATCH_BLOCK, n = rows_of(e->batch, block);
    const int64_t *time = e->batch->view[0].values;
    int64_t newest_us = INT64_MIN, told_us;
    for (uint32_t i = 0; i < n; i++) {
        newest_us = time[first + i] > newest_us ? time[first + i] : newest_us;
        told_us = e->held ? log_entry_reached(e, first + i) : newest_us;
        w->watermark_at[i] = watermark_at(&w->watermark, told_us);
    }
}

bool late_find(struct worker *w, const struct log_entry *e, uint32_t block)
{
    int64_t end_us =
        window_of(&w->pipeline->window, e->batch->block[block].min_us).end_us;
    if (end_us > late_watermark(w, e, block) && end_us > w->unknown_us)
        return false;
    late_watermarks(w, e, block);
    return true;
}

/* ---- The table of late events ------------------------------------------------------------------ */

int late_keep(struct worker *w, const struct log_entry *e, uint32_t row,
              int64_t start_us, int64_t end_us)
{
    const struct pipeline *p = w->pipeline;
    const struct weir_column *column = e->batch->view;
    if (!w->side && rowset_new(p->late_table, 0, &w->side) < 0)
        return -ENOMEM;
    struct weir_cell *cell = rowset_row(w->side);
    if (!cell)
        return -ENOMEM;
    uint32_t index;
    cell_put_time(&cell[0], start_us);
    cell_put_int(&cell[1], (int64_t)log_entry_row(e, row, &index));
    cell_put_int(&cell[2], index);
    cell_put_time(&cell[3], end_us);
    int r = 0;
    for (size_t c = 0; r == 0 && c < p->schema->n; c++)
        r = rowset_value(w->side, &column[c], row, &cell[LATE_COLUMNS + c]);
    return r;
}

/* ---- Telling ------------------------------------------------------------------------------------- */

#define TELL_US (60 * SECOND_US)

void late_tell(struct worker *w, int64_t now_us)
{
    struct pipeline *p = w->pipeline;
    uint64_t late =
        atomic_load_explicit(&p->late[CONFIG_LATE_DROP], memory_order_relaxed) +
        atomic_load_explicit(&p->late[CONFIG_LATE_SIDE], memory_order_relaxed);
    uint64_t events = atomic_load_explicit(&p->events, memory_order_relaxed);
    uint64_t new_late = late - p->seen_late, new_events = events - p->seen_events;
    bool tell = new_late > new_events && now_us >= p->quiet_until_us;
    if (!tell && now_us - p->seen_us < TELL_US)
        return;
    if (tell) {
        p->quiet_until_us = now_us + TELL_US;
        logger_warn(
            "pipeline",
            "pipeline '%s': %llu of %llu events came after their window had been "
            "closed, and %s; out_of_orderness is how far they may come out of order, "
            "/api/v1/pipelines/%s/watermarks shows which source is ahead",
            p->config->name, (unsigned long long)new_late,
            (unsigned long long)(new_late + new_events),
            p->config->late == CONFIG_LATE_SIDE ? "are in the table of late events"
                                                : "were dropped",
            p->config->name);
    }
    p->seen_us = now_us;
    p->seen_late = late;
    p->seen_events = events;
}

/* ---- Sorting out --------------------------------------------------------------------------------- */

/* Groups of windows that ended before this worker knew of any are not here: what was
 * given out for them is not to be replaced by a part. */
bool late_stays(const struct worker *w, int64_t end_us, int64_t watermark_us)
{
    const struct config_pipeline *c = w->pipeline->config;
    if (end_us <= w->unknown_us)
        return false;
    if (end_us > watermark_us)
        return true;
    uint64_t behind_us = (uint64_t)watermark_us - (uint64_t)end_us;
    return c->late == CONFIG_LATE_REVISE &&
           behind_us < (uint64_t)c->allowed_lateness_us;
}

int late_take_out(struct worker *w, const struct log_entry *e, uint32_t block,
                  uint32_t *n)
{
    const struct config_pipeline *c = w->pipeline->config;
    const int64_t *time = e->batch->view[0].values;
    uint32_t first = block * BATCH_BLOCK, out = 0, aside = 0, known = 0;
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < *n; i++) {
        uint32_t row = w->row[i];
        int64_t end_us = window_last_end(&w->pipeline->window, time[row]),
                watermark_us = w->watermark_at[row - first];
        if (late_stays(w, end_us, watermark_us)) {
            w->row[out] = row;
            w->key[out++] = w->key[i];
        } else if (c->late == CONFIG_LATE_SIDE && end_us <= watermark_us) {
            struct window missed = window_last(&w->pipeline->window, time[row]);
            r = late_keep(w, e, row, missed.start_us, missed.end_us);
            aside++;
        } else {
            known += end_us <= w->pipeline->begun_us;
        }
    }
    metric_add(&w->pipeline->late_known, known);
    pipeline_count_late(w->pipeline, e, CONFIG_LATE_SIDE, aside);
    pipeline_count_late(w->pipeline, e, CONFIG_LATE_DROP, *n - out - aside);
    *n = out;
    return r;
}

static int add_slot(struct slots *s, uint32_t slot)
{
    if (s->n == s->room) {
        size_t room = s->room ? 2 * s->room : BATCH_BLOCK;
        uint32_t *at = realloc(s->at, room * sizeof(*at));
        if (!at)
            return -ENOMEM;
        s->at = at;
        s->room = room;
    }
    s->at[s->n++] = slot;
    return 0;
}

int late_wait(struct worker *w, uint32_t slot)
{
    if (!w->waiting.n)
        atomic_fetch_add_explicit(&w->pipeline->waiting, 1, memory_order_relaxed);
    return add_slot(&w->waiting, slot);
}

int late_mark(struct worker *w, uint32_t slot, int64_t end_us)
{
    w->groups.slot[slot].revision++;
    if (end_us > w->emitted_us)
        return 0; /* it is given out for the first time behind this entry */
    int r = add_slot(&w->revised, slot);
    return r == 0 && chain_waits(w->pipeline) ? late_wait(w, slot) : r;
}

int late_revise(struct worker *w, const struct log_entry *e, uint32_t block, uint32_t n)
{
    const int64_t *time = e->batch->view[0].values;
    uint64_t late = 0;
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < n; i++) {
        uint32_t row = w->row[i];
        int64_t end_us = window_last_end(&w->pipeline->window, time[row]);
        if (end_us > w->watermark_at[row - block * BATCH_BLOCK])
            continue;
        late++;
        r = late_mark(w, w->slot[i], end_us);
    }
    pipeline_count_late(w->pipeline, e, CONFIG_LATE_REVISE, late);
    return r;
}
