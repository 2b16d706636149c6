/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/worker.h"
#include "pipeline/parts.h"

#include "base/clock.h"
#include "base/doing.h"
#include "base/fault.h"
#include "base/logger.h"
#include "pipeline/join.h"
#include "pipeline/lookup.h"
#include "pipeline/open.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURN_US                                                                        \
    10000 /* before other tasks have theirs; the entry at hand is read to its end */
#define BEHIND_US 1000 /* until a process that is behind is looked at again */
#define PREFETCH_KEYS                                                                  \
    4096u /* keys from which on their records do not fit the first caches */
#define PREFETCH_ROWS 16u /* rows ahead */

/* The worker's key numbers for the distinct keys of the batch. */
static int map_keys(struct worker *w, const struct key_ids *k)
{
    if (k->n > w->key_map_room) {
        uint32_t *map = realloc(w->key_map, k->n * sizeof(*map));
        if (!map)
            return -ENOMEM;
        w->key_map = map;
        w->key_map_room = k->n;
    }
    for (uint32_t i = 0; i < k->n; i++) {
        w->key_map[i] = KEY_NULL;
        if (worker_owns(w, k->hash[i]) &&
            groups_key(&w->groups, k->bytes + k->offset[i],
                       k->offset[i + 1] - k->offset[i], k->hash[i], &w->key_map[i]) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* Rows without a usable key are counted by the first worker, for all. */
static void count_bad_keys(struct worker *w, const uint32_t *id, uint32_t n)
{
    uint64_t nulls = 0, longs = 0;
    for (uint32_t i = 0; i < n; i++) {
        nulls += id[i] == KEY_NULL;
        longs += id[i] == KEY_TOO_LONG;
    }
    metric_add(&w->pipeline->null_keys, nulls);
    metric_add(&w->pipeline->long_keys, longs);
}

/* Rows of the block that belong to this worker, into row[] and key[]. Returns how many. */
static uint32_t select_rows(struct worker *w, const struct key_ids *k, uint32_t first,
                            uint32_t n)
{
    const uint32_t *id = k->id + first;
    uint32_t out = 0, bad = 0;
    for (uint32_t i = 0; i < n; i++) {
        bad += id[i] >= KEY_TOO_LONG;
        uint32_t key = id[i] < KEY_TOO_LONG ? w->key_map[id[i]] : KEY_NULL;
        w->row[out] = first + i;
        w->key[out] = key;
        out += key != KEY_NULL;
    }
    if (bad && w->index == 0)
        count_bad_keys(w, id, n);
    return out;
}

/* Those of row[0..n) that are not left out. */
static uint32_t keep_left(struct worker *w, const uint8_t *gone, uint32_t n)
{
    uint32_t out = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = w->row[i], key = w->key[i];
        w->row[out] = row;
        w->key[out] = key;
        out += !(gone[row >> 3] >> (row & 7) & 1);
    }
    return out;
}

/* Keeps the rows for which `where` is true. */
static int filter_block(struct worker *w, const struct batch *b, uint32_t *n)
{
    if (!w->filter || !*n)
        return 0;
    uint64_t errors = 0;
    int kept = filter_rows(w->filter, b, w->row, *n, w->keep, &errors);
    if (kept < 0)
        return kept;
    for (int i = 0; i < kept; i++) {
        w->row[i] = w->row[w->keep[i]];
        w->key[i] = w->key[w->keep[i]];
    }
    metric_add(&w->pipeline->filtered, *n - (uint32_t)kept - errors);
    metric_add(&w->pipeline->where_errors, errors);
    *n = (uint32_t)kept;
    return 0;
}

int worker_begin_states(struct worker *w, uint32_t slot)
{
    memset(groups_state(&w->groups, slot), 0, w->pipeline->stride);
    int r = analyze_init(w, slot);
    if (r < 0)
        w->broken_slot = slot;
    return r;
}

int worker_open(struct worker *w, uint32_t key, int64_t window, uint32_t *ret_slot)
{
    bool is_new;
    int r = groups_open(&w->groups, key, window, ret_slot, &is_new);
    return r < 0 || !is_new ? r : worker_begin_states(w, *ret_slot);
}

int worker_open_group(struct worker *w, const char *key, size_t size, uint64_t hash,
                      int64_t window, uint32_t *ret_slot)
{
    uint32_t number;
    int r = groups_key(&w->groups, key, size, hash, &number);
    if (r == 0)
        r = worker_open(w, number, window, ret_slot);
    if (r == 0)
        groups_touch(&w->groups, *ret_slot);
    return r;
}

int worker_over_max_groups(struct worker *w)
{
    struct pipeline *p = w->pipeline;
    if (p->config->over_max_groups_fails)
        return -ENOSPC;
    if (!atomic_exchange_explicit(&p->over_logged, true, memory_order_relaxed))
        logger_warn(
            "pipeline",
            "pipeline '%s': as many groups are open as max_groups allows (%llu%s); "
            "events of further ones are dropped and counted",
            p->config->name, (unsigned long long)p->config->max_groups,
            p->config->workers > 1 ? ", an equal share for each worker" : "");
    return 0;
}

/* The slot of each row's group into slot[]; rows over the limit of groups are taken out. */
static int find_slots(struct worker *w, const struct batch *b, uint32_t *n)
{
    const struct window_kind *kind = &w->pipeline->window;
    const int64_t *time = b->view[0].values;
    const bool prefetch = w->groups.n_keys > PREFETCH_KEYS;
    struct window window = window_of(kind, b->span.min_us);
    uint32_t out = 0;
    for (uint32_t i = 0; i < *n; i++) {
        if (prefetch && i + PREFETCH_ROWS < *n)
            __builtin_prefetch(&w->groups.recent[w->key[i + PREFETCH_ROWS]]);
        uint32_t row = w->row[i];
        if (!window_has(&window, time[row]))
            window = window_of(kind, time[row]);
        const struct group_recent *recent = &w->groups.recent[w->key[i]];
        uint32_t slot = recent->slot;
        if (slot == SLOT_NONE || recent->window != window.id) {
            int r = worker_open(w, w->key[i], window.id, &slot);
            if (r == -ENOSPC && (r = worker_over_max_groups(w)) == 0)
                continue;
            if (r < 0)
                return r;
        }
        w->row[out] = row;
        w->slot[out++] = slot;
    }
    metric_add(&w->pipeline->over_groups, *n - out);
    *n = out;
    return 0;
}

/* The states of the rows' groups are about to change. */
static void touch_states(struct worker *w, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        groups_touch(&w->groups, w->slot[i]);
    if (w->groups.n_keys <= PREFETCH_KEYS)
        return;
    for (uint32_t i = 0; i < n; i++)
        __builtin_prefetch(groups_state(&w->groups, w->slot[i]), 1);
}

/* The limit that was passed, or the text of the step that failed, with its name. */
int worker_error(struct worker *w, int r, struct error *error)
{
    const struct config_pipeline *c = w->pipeline->config;
    if (r == -ENOSPC)
        return error_set(
            error, r,
            "max_groups: %llu groups are open%s, and an event belongs to "
            "another one; raise max_groups, or say 'over_max_groups: drop'",
            (unsigned long long)w->groups.open,
            c->workers > 1 ? ", the share of one worker" : "");
    if (r != -EINVAL)
        return error_set(error, r, "%s", strerror(-r));
    for (size_t i = 0; i < w->pipeline->n_steps; i++)
        if (w->host[i].failed)
            return error_set(error, r, "analyzer '%s': %s",
                             w->pipeline->step[i].binding->plugin->analyzer.name,
                             w->host[i].error.text);
    return error_set(error, r, "%s", strerror(-r));
}

int worker_fold(struct worker *w, const struct log_entry *e, uint32_t n)
{
    int r = 0;
    touch_states(w, n);
    if (n)
        r = choose_rows(w, e->batch, n);
    for (size_t i = 0; r == 0 && n && i < w->pipeline->n_steps; i++) {
        size_t condition = w->pipeline->step[i].condition;
        const struct chosen *c =
            condition == CONDITION_NONE ? NULL : &w->chosen[condition];
        if (c)
            r = c->n ? analyze_update(w, i, e, c->row, c->slot, c->n) : 0;
        else
            r = analyze_update(w, i, e, w->row, w->slot, n);
    }
    return r;
}

/* Rows row[0..n) of the block. */
static int fold_rows(struct worker *w, const struct log_entry *e, uint32_t block,
                     uint32_t n, bool late)
{
    struct pipeline *p = w->pipeline;
    if (late && window_has_panes(&p->window))
        return panes_fold(w, e, block, n);
    int r = find_slots(w, e->batch, &n);
    if (r == 0 && late && p->config->late == CONFIG_LATE_REVISE)
        r = late_revise(w, e, block, n);
    if (r == 0 && w->early_us != INT64_MIN &&
        window_of(&p->window, e->batch->block[block].min_us).end_us <= w->early_us)
        worker_note_changed(w, n);
    metric_add(&p->events, n);
    metric_add(&p->shard[w->index].events, n);
    return r == 0 ? worker_fold(w, e, n) : r;
}

/* Rows [first, end) of a block. */
static int read_rows(struct worker *w, const struct log_entry *e, uint32_t block,
                     uint32_t first, uint32_t end)
{
    const struct batch *b = e->batch;
    uint32_t n = select_rows(w, e->keys[w->pipeline->keys], first, end - first);
    if (e->gone)
        n = keep_left(w, e->gone, n);
    int r = filter_block(w, b, &n);
    bool by_key = window_is_by_key(&w->pipeline->window);
    bool none = w->pipeline->window.kind == CONFIG_NONE;
    bool late = r == 0 && !by_key && !none && late_find(w, e, block);
    if (late)
        r = late_take_out(w, e, block, &n);
    return r < 0    ? r
           : none   ? worker_select(w, e, n)
           : by_key ? keyed_read(w, e, block, n)
                    : fold_rows(w, e, block, n, late);
}

/* The first row of the block, from `row` on, with which the watermark reaches the next end of a window; `end`: none does. */
static uint32_t find_border(struct worker *w, const struct log_entry *e, uint32_t block,
                            uint32_t row, uint32_t end)
{
    int64_t border_us = window_next_border(&w->pipeline->window, w->emitted_us);
    if (late_watermark(w, e, block) < border_us)
        return end;
    late_watermarks(w, e, block);
    while (row < end && w->watermark_at[row - block * BATCH_BLOCK] < border_us)
        row++;
    return row;
}

static int read_block(struct worker *w, const struct log_entry *e, uint32_t block)
{
    const struct batch *b = e->batch;
    const uint32_t first = block * BATCH_BLOCK;
    uint32_t rows = b->n_rows - first < BATCH_BLOCK ? b->n_rows - first : BATCH_BLOCK;
    uint32_t row = first;
    int r = 0;
    while (r == 0 && row < first + rows) {
        uint32_t cut = chain_waits(w->pipeline)
                           ? find_border(w, e, block, row, first + rows)
                           : first + rows;
        r = row < cut ? read_rows(w, e, block, row, cut) : 0;
        if (r == 0 && cut < first + rows)
            r = worker_give_at(w, w->watermark_at[cut - first]);
        row = cut;
    }
    int64_t newest_us = b->block[block].max_us;
    watermark_read(&w->watermark,
                   e->held ? log_entry_reached(e, first + rows) : newest_us, newest_us);
    return r;
}

static int read_batch(struct worker *w, const struct log_entry *e)
{
    watermark_begin(&w->watermark, e->source);
    int r = map_keys(w, e->keys[w->pipeline->keys]);
    for (uint32_t k = 0; r == 0 && k * BATCH_BLOCK < e->batch->n_rows; k++)
        r = worker_leaves(w) ? -ECANCELED : read_block(w, e, k);
    return r;
}

/* At the end of the log every window closes. The watermark stays a time that can be gone on from, and is
 * the same for every worker, whatever share of the groups it has. */
static int64_t end_of_windows(const struct worker *w)
{
    if (w->watermark.newest_us == INT64_MIN)
        return w->watermark.value_us;
    return window_is_by_key(&w->pipeline->window)
               ? by_key_end_of_input(&w->pipeline->window, w->watermark.newest_us)
               : window_last_end(&w->pipeline->window, w->watermark.newest_us);
}

static int checkpoint(struct worker *w, const struct log_entry *e, struct error *error)
{
    const struct pipeline_sink *sink = &w->pipeline->sink;
    struct checkpoint *c;
    if (!sink->checkpoint)
        return 0;
    int r = checkpoint_make(w, e, &c);
    if (r < 0)
        return worker_error(w, r, error);
    fault_point("checkpoint_part");
    r = sink->checkpoint(sink->ctx, w->pipeline->config->name, c);
    if (r == 0)
        r = chain_mark(w, e);
    return r < 0 ? error_set(error, r, "a checkpoint cannot be handed on: %s",
                             strerror(-r))
                 : 0;
}

static int read_entry(struct worker *w, const struct log_entry *e, struct error *error)
{
    int r = 0;
    if (e->kind == LOG_CHECKPOINT)
        return checkpoint(w, e, error);
    w->reads = e->position;
    switch (e->kind) {
    case LOG_BATCH:
        if (e->sequence)
            w->sequence = e->sequence + e->batch->n_rows;
        r = worker_make_room(w, e, error);
        if (r == 0)
            r = read_batch(w, e);
        break;
    case LOG_REACHED:
        watermark_reached(&w->watermark, e->source, e->time_us);
        break;
    case LOG_HEARD:
        watermark_begin(&w->watermark, e->source);
        break;
    case LOG_IDLE:
        if (e->sequence) /* behind files: rows of the stream come behind theirs */
            w->sequence = e->sequence;
        watermark_idle(&w->watermark, e->source);
        break;
    case LOG_ADVANCE:
        watermark_advance(&w->watermark, e->time_us);
        break;
    case LOG_END:
        watermark_end(&w->watermark, end_of_windows(w));
        break;
    case LOG_CHECKPOINT:
        break;
    }
    if (r < 0)
        return error->text[0] ? r : worker_error(w, r, error);
    w->position = e->position;
    r = worker_give_early(w, error);
    if (r == 0)
        r = worker_close_windows(w, w->watermark.value_us, e->kind == LOG_END, error);
    if (r < 0)
        return error->text[0] ? r : worker_error(w, r, error);
    if (e->kind == LOG_END && w->watermark.value_us > w->unknown_us)
        w->unknown_us = w->watermark.value_us; /* all groups are gone */
    if (e->kind == LOG_END && (r = chain_mark(w, e)) < 0)
        return worker_error(w, r, error);
    if (e->kind == LOG_END)
        atomic_fetch_add_explicit(&w->pipeline->ended, 1, memory_order_release);
    return 0;
}

/* What status and metrics show, behind an entry, or (NULL) what was restored; the first worker speaks for the
 * pipeline. */
static void show(struct worker *w, const struct log_entry *e)
{
    struct pipeline *p = w->pipeline;
    metric_add(&p->groups, w->groups.open - w->groups_shown);
    w->groups_shown = w->groups.open;
    for (size_t i = 0; i < p->n_steps; i++)
        host_tell_memory(&w->host[i]);
    atomic_store_explicit(&w->shown_position, w->position, memory_order_release);
    if (w->index)
        return;
    late_tell(w, clock_monotonic_us());
    pthread_mutex_lock(&p->lock);
    p->shown_watermark_us = w->watermark.value_us;
    p->shown_newest_us = w->watermark.newest_us;
    p->shown_position = w->position;
    /* An entry changes one source, or all (LOG_END). */
    bool all = !e || e->kind == LOG_END || e->source >= p->shown_n;
    uint32_t i = all ? 0 : e->source, end = all ? w->watermark.n : e->source + 1;
    for (; i < end; i++)
        p->shown[i] = (struct pipeline_shown){.max_us = w->watermark.source[i].max_us,
                                              .idle = w->watermark.source[i].idle};
    p->shown_n = w->watermark.n;
    pthread_mutex_unlock(&p->lock);
}

/* Has the pipeline stopped because the process of an analyzer has ended? */
static bool has_crashed(struct worker *w, struct pipeline_crash *ret)
{
    struct remote_crash c;
    for (size_t i = 0; i < w->pipeline->n_steps; i++) {
        if (!w->remote[i] || !remote_has_crashed(w->remote[i], &c))
            continue;
        *ret = (struct pipeline_crash){.analyzer = i,
                                       .call = c.call,
                                       .rows = c.rows,
                                       .first = c.first,
                                       .last = c.last};
        snprintf(ret->text, sizeof(ret->text), "%s", w->host[i].error.text);
        if (c.rows)
            remote_show_row(w->remote[i], c.first, ret);
        return true;
    }
    return false;
}

int worker_read(struct worker *w, const struct log_entry *e, struct error *error)
{
    w->gives = false;
    doing_pipeline(w->pipeline->config->name, e->position);
    int r = worker_leaves(w) ? 0 : read_entry(w, e, error);
    if (r == 0 && (r = analyze_end(w)) < 0 && r != -ECANCELED)
        worker_error(w, r, error);
    doing_pipeline(NULL, 0);
    show(w, e);
    return r;
}

static void read_next(struct worker *w, const struct log_entry *e)
{
    struct pipeline *p = w->pipeline;
    struct error error = {0};
    if (atomic_load_explicit(&p->failed, memory_order_acquire)) {
        metric_add(&p->skipped,
                   e->kind == LOG_BATCH && !w->index ? e->batch->n_rows : 0);
        return;
    }
    int r = worker_read(w, e, &error);
    struct pipeline_crash crash;
    if (r == 0 || r == -ECANCELED)
        return;
    if (has_crashed(w, &crash))
        pipeline_crash(p, &crash);
    else
        pipeline_fail(p, &error);
}

/* Rows that an entry gives may still have to wait for the sink in between, on the thread: it has one of its own,
 * so that room comes. To begin with, who gave rows the last time waits without a thread. */
static bool must_wait(struct worker *w)
{
    const struct pipeline_sink *sink = &w->pipeline->sink;
    if (w->pipeline->outflow && !worker_leaves(w) && chain_is_full(w))
        return true; /* woken by room_again of chain.c */
    return w->gives && sink->ready && !worker_leaves(w) &&
           !sink->ready(sink->ctx, &w->room);
}

/* The process of an analyzer has enough to do. It wakes nobody: it is looked at again in a moment. */
static bool is_behind(struct worker *w)
{
    bool behind = false;
    for (size_t i = 0; i < w->pipeline->n_steps && !worker_leaves(w); i++)
        behind = behind || (w->remote[i] && remote_is_behind(w->remote[i]));
    return behind;
}

/* What the analyzers have had of the turn's CPU time: their shares of its time. Asked for itself it would cost a system call
 * with every call of an analyzer. */
static void count_turn(struct worker *w, int64_t cpu_ns, int64_t ns)
{
    struct pipeline *p = w->pipeline;
    const double share = ns > 0 ? (double)cpu_ns / (double)ns : 0;
    metric_add(&p->cpu_ns, (uint64_t)cpu_ns);
    metric_add(&p->shard[w->index].cpu_ns, (uint64_t)cpu_ns);
    for (size_t i = 0; i < p->n_steps; i++) {
        struct spent *s = &w->spent[i];
        if (s->events)
            metric_add(&p->step[i].events, s->events);
        if (s->ns && !w->remote[i])
            metric_add(&p->step[i].cpu_ns, (uint64_t)((double)s->ns * share));
        *s = (struct spent){0};
    }
}

/* One turn. */
static int64_t worker_run(void *worker)
{
    struct worker *w = worker;
    const int64_t cpu_ns = clock_thread_cpu_ns(), begun_ns = clock_monotonic_ns();
    int64_t again_us = TASK_SLEEPS, until_us = begun_ns / 1000 + TURN_US;
    doing_pipeline(w->pipeline->config->name, w->position);
    open_answer(w);
    doing_pipeline(NULL, 0);
    while (!must_wait(w)) {
        bool room;
        if (is_behind(w)) {
            again_us = clock_monotonic_us() + BEHIND_US;
            break;
        }
        struct log_entry *e = mailbox_take(&w->mailbox, &room);
        if (room && w->pipeline->join)
            join_wake(w->pipeline->join);
        else if (room && w->pipeline->lookup)
            lookup_wake(w->pipeline->lookup);
        else if (room)
            log_room(w->pipeline->log);
        if (!e)
            break;
        metric_add(&w->pipeline->shard[w->index].entries, 1);
        metric_add(&w->pipeline->shard[w->index].waited_us, w->mailbox.waited_us);
        read_next(w, e);
        log_entry_unref(e);
        mailbox_done(&w->mailbox);
        if (clock_monotonic_us() >= until_us) {
            again_us = TASK_AGAIN;
            break;
        }
    }
    /* Not with every entry, of which there may be many small ones. */
    for (size_t i = 0; i < w->pipeline->n_steps; i++)
        if (w->remote[i])
            remote_wake(w->remote[i]);
    count_turn(w, clock_thread_cpu_ns() - cpu_ns, clock_monotonic_ns() - begun_ns);
    return again_us;
}

static void wake(void *worker)
{
    struct worker *w = worker;
    task_wake(&w->task);
}

static uint64_t share_of_groups(const struct config_pipeline *c)
{
    return (c->max_groups + c->workers - 1) / c->workers;
}

/* Room for groups: where there are several workers, for more than a share, as stored groups may be dealt out
 * otherwise than they were. As many again where windows are merged from panes. */
static uint64_t groups_room(const struct pipeline *p)
{
    const struct config_pipeline *c = p->config;
    uint64_t room = 2 * share_of_groups(c) + 4096;
    room = room < c->max_groups ? room : c->max_groups;
    if (c->window.kind == CONFIG_COUNT)
        return room + COUNT_ROOM;
    return window_has_panes(&p->window) ? 2 * room : room;
}

int worker_init(struct worker *w, struct pipeline *p, unsigned index,
                int64_t watermark_us, struct error *error)
{
    w->pipeline = p;
    w->index = index;
    w->broken_slot = SLOT_NONE;
    keyed_init(w);
    w->emitted_us = w->sealed_us = w->unknown_us = watermark_us;
    w->early_us = INT64_MIN;
    /* Of several streams, what is told is their watermarks already. */
    watermark_init(&w->watermark,
                   p->config->joins.all ? 0 : p->config->out_of_orderness_us,
                   watermark_us);
    w->room = (struct waiter){.wake = wake, .ctx = w};
    mailbox_setup(&w->mailbox);
    w->groups_room = groups_room(p);
    if (!(w->host = calloc(p->n_steps + 1, sizeof(*w->host))) ||
        !(w->remote = calloc(p->n_steps + 1, sizeof(struct remote *))) ||
        !(w->spent = calloc(p->n_steps + 1, sizeof(*w->spent))) ||
        groups_init(&w->groups, w->groups_room, p->stride) < 0)
        return error_set(error, -ENOMEM, "no memory for %llu groups",
                         (unsigned long long)p->config->max_groups);
    for (size_t i = 0; i < p->n_steps; i++)
        if (step_keeps(&p->step[i]))
            w->groups.block_shift = 0; /* a group's rows are stored as one value */
    int r = p->config->where
                ? filter_new(p->schema, p->config->where, &w->filter, error)
                : 0;
    if (r == 0)
        r = choose_init(w, error);
    for (size_t i = 0; r == 0 && i < p->n_steps; i++) {
        struct step *s = &p->step[i];
        if (!s->config->apart) {
            r = host_open(&w->host[i], s->binding, p->config->name, &s->held,
                          s->skipped, error);
            continue;
        }
        host_stand_in(&w->host[i], s->binding, p->config->name, &s->held, s->skipped);
        r = remote_open(w, s, p->config->name, &w->host[i], &w->remote[i], error);
    }
    return r;
}

void worker_begin(struct worker *w)
{
    w->groups.max_open = share_of_groups(w->pipeline->config);
    show(w, NULL); /* what was stored is there before the first entry comes */
}

int worker_start(struct worker *w, struct tasks *tasks, struct error *error)
{
    worker_begin(w);
    pthread_mutex_lock(&w->pipeline->lock);
    int r = task_begin(&w->task, tasks, worker_run, w);
    pthread_mutex_unlock(&w->pipeline->lock);
    if (r < 0)
        return error_set(error, r, "no memory");
    task_wake(&w->task); /* its open windows may have been asked for */
    return 0;
}

/* The states that are still there go back to their plugins. */
static void drop_all_states(struct worker *w)
{
    for (uint32_t slot = 0; slot < w->groups.n_slots; slot++)
        if (w->groups.slot[slot].key != SLOT_NONE && slot != w->broken_slot)
            analyze_drop(w, slot, 0, w->pipeline->n_steps);
}

void worker_free(struct worker *w)
{
    if (!w->pipeline)
        return; /* not even begun with */
    task_end(&w->task);
    open_refuse(w);
    if (w->pipeline->sink.unwait)
        w->pipeline->sink.unwait(w->pipeline->sink.ctx, &w->room);
    for (size_t i = 0; w->remote && i < w->pipeline->n_steps; i++) {
        remote_close(w->remote[i]); /* with its states */
        w->remote[i] = NULL;
    }
    doing_pipeline(w->pipeline->config->name, w->position);
    if (w->host && w->groups.states.base)
        drop_all_states(w);
    for (size_t i = 0; w->host && i < w->pipeline->n_steps; i++)
        host_close(&w->host[i]);
    doing_pipeline(NULL, 0);
    free(w->host);
    free(w->remote);
    free(w->spent);
    worker_closing_free(w);
    keyed_free(w);
    former_free(&w->former);
    groups_free(&w->groups);
    filter_free(w->filter);
    choose_free(w);
    mailbox_clear(&w->mailbox);
    rowset_free(w->side);
    outflow_free_pieces(w->ahead.first);
    parts_free(w->parts);
    if (w->view)
        kept_view_free(w->view);
    free(w->view);
    free(w->revised.at);
    free(w->waiting.at);
    free(w->key_map);
}
