/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/join.h"

#include "base/clock.h"
#include "base/logger.h"
#include "log/entry.h"
#include "pipeline/worker.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURN_US                                                                        \
    10000 /* before other tasks have theirs; the entry at hand is read first */
#define ENTRIES_MAX 65536u /* that wait */
/* Where events wait for results that are made of the same events, reading on is the only way: then the limits are so many times
 * as high, and the pipeline stops there. */
#define SAME_TIMES 16

static_assert(ASOF_COLUMNS >= CONFIG_JOIN_COLUMNS_MAX, "all columns of a join fit");

/* ---- Entries that wait ------------------------------------------------------------------------ */

static int waiting_put(struct join *j, struct log_entry *e)
{
    if (j->n_waiting == j->room) {
        size_t room = j->room ? 2 * j->room : 16;
        struct log_entry **grown = malloc(room * sizeof(struct log_entry *));
        if (!grown)
            return -ENOMEM;
        for (size_t i = 0; i < j->n_waiting; i++)
            grown[i] = j->waiting[(j->first + i) & (j->room - 1)];
        free(j->waiting);
        j->waiting = grown;
        j->room = room;
        j->first = 0;
    }
    j->waiting[(j->first + j->n_waiting++) & (j->room - 1)] = e;
    if (e->kind == LOG_BATCH) {
        j->rows += e->batch->n_rows;
        if (e->batch->span.max_us > j->newest_us)
            j->newest_us = e->batch->span.max_us;
    }
    j->ends = j->ends || e->kind == LOG_END;
    return 0;
}

static struct log_entry *waiting_take(struct join *j)
{
    struct log_entry *e = j->waiting[j->first];
    j->first = (j->first + 1) & (j->room - 1);
    j->n_waiting--;
    if (e->kind == LOG_BATCH)
        j->rows -= e->batch->n_rows;
    if (!j->n_waiting) {
        j->newest_us = INT64_MIN;
        j->ends = false;
    }
    return e;
}

/* Up to where the input has to be for a row of this time. */
static int64_t needed_us(const struct join_input *in, int64_t time_us)
{
    return time_us + in->config->lead_us + 1;
}

static bool has_passed(const struct join_input *in, int64_t time_us)
{
    return in->ended || in->watermark.value_us >= needed_us(in, time_us);
}

static bool is_ready(const struct join *j, const struct log_entry *e)
{
    for (size_t i = 0; e->kind == LOG_BATCH && i < j->n; i++)
        if (!has_passed(&j->input[i], e->batch->span.max_us))
            return false;
    return true;
}

/* Tells who feeds results. */
static void look(struct join_input *in)
{
    pthread_mutex_lock(&in->join->lock);
    if (in->look)
        in->look(in->look_ctx);
    pthread_mutex_unlock(&in->join->lock);
}

/* What is waited for, for the logs of those that are waited for. */
static void ask_inputs(struct join *j)
{
    for (size_t i = 0; i < j->n; i++) {
        struct join_input *in = &j->input[i];
        int64_t us = j->newest_us == INT64_MIN || has_passed(in, j->newest_us)
                         ? INT64_MIN
                         : needed_us(in, j->newest_us);
        int64_t before_us = atomic_load_explicit(&in->wanted_us, memory_order_relaxed);
        if (us == before_us)
            continue;
        atomic_store_explicit(&in->wanted_us, us, memory_order_relaxed);
        if (us > before_us && in->log)
            log_look(in->log);
        else if (us > before_us)
            look(in);
    }
}

static int64_t input_wanted(void *input)
{
    const struct join_input *in = input;
    return atomic_load_explicit(&in->wanted_us, memory_order_relaxed);
}

int64_t join_wanted(struct join *j)
{
    return atomic_load_explicit(&j->wanted_us, memory_order_relaxed);
}

/* Where the own stream is silent, rows of the others would pile up for rows that do not come: from a quarter of what they
 * may be on, it is to be where those are. */
static void ask_own(struct join *j)
{
    int64_t us = INT64_MAX, before_us = join_wanted(j);
    bool many = false;
    for (size_t i = 0; i < j->n; i++) {
        const struct join_input *in = &j->input[i];
        many = many || asof_rows(&in->rows) > JOIN_ROWS_MAX / 4 ||
               asof_memory(&in->rows) > JOIN_BYTES_MAX / 4;
        if (!in->ended && in->watermark.value_us < us)
            us = in->watermark.value_us;
    }
    if (!many || us == INT64_MAX || us <= before_us)
        return;
    atomic_store_explicit(&j->wanted_us, us, memory_order_relaxed);
    log_look(j->pipeline->log);
}

/* ---- Rows of other streams -------------------------------------------------------------------- */

static int input_key(struct join_input *in, const struct key_ids *k, uint32_t id,
                     uint32_t *ret)
{
    if (in->map[id] == ASOF_KEY_NONE) {
        int r = asof_key(&in->rows, k->bytes + k->offset[id],
                         k->offset[id + 1] - k->offset[id], k->hash[id], &in->map[id]);
        if (r < 0)
            return r;
    }
    *ret = in->map[id];
    return 0;
}

static int map_room(struct join_input *in, uint32_t n)
{
    if (n > in->map_room) {
        uint32_t *map = realloc(in->map, n * sizeof(*map));
        if (!map)
            return -ENOMEM;
        in->map = map;
        in->map_room = n;
    }
    if (n) /* otherwise all rows are without a key */
        memset(in->map, 0xff, n * sizeof(*in->map)); /* ASOF_KEY_NONE */
    return 0;
}
static_assert(ASOF_KEY_NONE == UINT32_MAX, "bytes of 0xff");

/* Rows behind the watermark at them are late, whether somebody asks for them still or not. */
static int input_block(struct join_input *in, const struct log_entry *e, uint32_t first,
                       uint32_t n)
{
    const struct key_ids *k = e->keys[in->keys];
    const int64_t *time = e->batch->view[0].values;
    const int64_t oldest_us = join_oldest(in);
    int64_t newest_us = INT64_MIN;
    uint64_t late = 0, null_keys = 0;
    int r = 0;
    for (uint32_t row = first; r == 0 && row < first + n; row++) {
        int64_t told_us = e->held ? log_entry_reached(e, row) : newest_us;
        uint32_t key;
        newest_us = time[row] > newest_us ? time[row] : newest_us;
        if (time[row] < watermark_at(&in->watermark, told_us))
            late++;
        else if (k->id[row] >= KEY_TOO_LONG)
            null_keys++;
        else if (time[row] >= oldest_us && !in->join->own_ended &&
                 (r = input_key(in, k, k->id[row], &key)) == 0)
            r = asof_add(&in->rows, key, e->batch, row, in->config->column);
    }
    metric_add(&in->late, late);
    metric_add(&in->join->pipeline->join_late, late);
    join_count_late(in, e, late);
    metric_add(&in->null_keys, null_keys);
    watermark_read(&in->watermark,
                   e->held ? log_entry_reached(e, first + n) : newest_us, newest_us);
    return r;
}

static int input_batch(struct join_input *in, const struct log_entry *e)
{
    int r = map_room(in, e->keys[in->keys]->n);
    watermark_begin(&in->watermark, e->source);
    for (uint32_t first = 0; r == 0 && first < e->batch->n_rows; first += BATCH_BLOCK) {
        uint32_t rest = e->batch->n_rows - first;
        r = input_block(in, e, first, rest < BATCH_BLOCK ? rest : BATCH_BLOCK);
    }
    return r;
}

void join_show(struct join_input *in)
{
    atomic_store_explicit(&in->shown_us, in->watermark.value_us, memory_order_relaxed);
    atomic_store_explicit(&in->shown_position, in->position, memory_order_release);
    atomic_store_explicit(&in->n_rows, asof_rows(&in->rows), memory_order_relaxed);
    atomic_store_explicit(&in->bytes, asof_memory(&in->rows), memory_order_relaxed);
}

/* ---- Joining ---------------------------------------------------------------------------------- */

/* Rows of a block that came so late that what they ask for may be forgotten find nothing. */
static void leave_out_late(struct join *j, size_t input, const struct log_entry *e,
                           uint32_t first, uint32_t n)
{
    const struct config_join *c = j->input[input].config;
    const int64_t *time = e->batch->view[0].values;
    uint64_t *found = j->found + input * BATCH_ROWS_MAX;
    int64_t newest_us = INT64_MIN, least_us;
    uint64_t late = 0;
    for (uint32_t row = first; row < first + n; row++) {
        int64_t told_us = e->held ? log_entry_reached(e, row) : newest_us;
        newest_us = time[row] > newest_us ? time[row] : newest_us;
        if (__builtin_sub_overflow(watermark_at(&j->watermark, told_us), c->within_us,
                                   &least_us) ||
            time[row] >= least_us)
            continue;
        found[row] = ASOF_NONE;
        late++;
    }
    metric_add(&j->pipeline->join_too_late, late);
    join_count_late(&j->own, e, late);
}

/* The own stream's watermark goes on, behind each block; most have no late row, and two comparisons show it. */
static void read_own(struct join *j, const struct log_entry *e)
{
    struct watermark *w = &j->watermark;
    watermark_begin(w, e->source);
    for (uint32_t first = 0, k = 0; first < e->batch->n_rows;
         first += BATCH_BLOCK, k++) {
        uint32_t rest = e->batch->n_rows - first;
        uint32_t n = rest < BATCH_BLOCK ? rest : BATCH_BLOCK;
        const struct batch_span *span = &e->batch->block[k];
        int64_t told_us = e->held ? log_entry_reached(e, first + n) : span->max_us;
        for (size_t i = 0; i < j->n; i++) {
            int64_t least_us;
            if (!__builtin_sub_overflow(watermark_at(w, told_us),
                                        j->input[i].config->within_us, &least_us) &&
                span->min_us < least_us)
                leave_out_late(j, i, e, first, n);
        }
        watermark_read(w, told_us, span->max_us);
    }
}

static int find_rows(struct join *j, size_t input, const struct log_entry *e)
{
    struct join_input *in = &j->input[input];
    const struct config_join *c = in->config;
    const int64_t *time = e->batch->view[0].values;
    uint64_t *found = j->found + input * BATCH_ROWS_MAX;
    struct key_ids *own = NULL;
    if (input > 0 && keys_new(e->batch, c->on, c->n_on, &own) < 0)
        return -ENOMEM;
    const struct key_ids *k = own ? own : e->keys[j->keys];
    int r = map_room(in, k->n);
    for (uint32_t id = 0; r == 0 && id < k->n; id++)
        in->map[id] = asof_find_key(&in->rows, k->bytes + k->offset[id],
                                    k->offset[id + 1] - k->offset[id], k->hash[id]);
    for (uint32_t row = 0; r == 0 && row < e->batch->n_rows; row++) {
        uint32_t key = k->id[row] >= KEY_TOO_LONG ? ASOF_KEY_NONE : in->map[k->id[row]];
        found[row] = key == ASOF_KEY_NONE ? ASOF_NONE
                                          : asof_find(&in->rows, key, time[row],
                                                      c->within_us, c->lead_us);
    }
    keys_free(own);
    return r;
}

static void note_cut(struct join *j, uint64_t cut)
{
    if (!atomic_load_explicit(&j->pipeline->join_cut, memory_order_relaxed))
        logger_warn("pipeline",
                    "pipeline '%s': joined texts are null, as those of the events of a "
                    "batch are more than %u MiB; told once, "
                    "weir_pipeline_join_cut_total counts them",
                    j->pipeline->config->name, (unsigned)(BATCH_BYTES_MAX >> 20));
    metric_add(&j->pipeline->join_cut, cut);
}

/* The batch with the columns of all inputs. -ENOMEM. */
static int join_batch(struct join *j, const struct log_entry *e, struct batch **ret)
{
    struct batch *b;
    uint64_t cut = 0;
    int r = 0;
    for (size_t i = 0; r == 0 && i < j->n; i++)
        r = find_rows(j, i, e);
    if (r < 0)
        return r;
    read_own(j, e);
    r = batch_extend(e->batch, j->pipeline->config->joins.schema, &b);
    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < j->n; i++) {
        const struct config_join *c = j->input[i].config;
        for (size_t k = 0; r == 0 && k < c->n_columns; k++)
            r = asof_gather(&j->input[i].rows, k, j->found + i * BATCH_ROWS_MAX, b,
                            c->first + k, &cut);
    }
    if (cut)
        note_cut(j, cut);
    if (r < 0) {
        batch_unref(b);
        return r;
    }
    *ret = b;
    return 0;
}

static void forget(struct join *j)
{
    for (size_t i = 0; i < j->n; i++) {
        int64_t oldest_us = j->own_ended ? INT64_MAX : join_oldest(&j->input[i]);
        if (oldest_us == INT64_MIN)
            continue;
        asof_forget(&j->input[i].rows, oldest_us);
        join_show(&j->input[i]);
    }
}

/* ---- Handing on ------------------------------------------------------------------------------- */

static int hand_on_batch(struct join *j, const struct log_entry *e)
{
    struct pipeline *p = j->pipeline;
    struct log_entry *joined;
    int r = derived_copy(e, &joined);
    if (r < 0)
        return r;
    r = join_batch(j, e, &joined->batch);
    if (r == 0 && pipeline_widens(p)) {
        r = derived_entry(p, joined, &j->handing);
    } else if (r == 0 && (r = derived_keys(p, joined)) == 0) {
        j->handing = joined;
        joined = NULL;
    }
    log_entry_unref(joined);
    forget(j);
    return r;
}

/* A mark of the own stream says something of its watermark, too. */
static void read_mark(struct join *j, const struct log_entry *e)
{
    struct watermark *w = &j->watermark;
    if (e->kind == LOG_REACHED)
        watermark_reached(w, e->source, e->time_us);
    else if (e->kind == LOG_HEARD)
        watermark_begin(w, e->source);
    else if (e->kind == LOG_IDLE)
        watermark_idle(w, e->source);
    else if (e->kind == LOG_ADVANCE)
        watermark_advance(w, e->time_us);
    else if (e->kind == LOG_END) {
        watermark_end(w, w->newest_us);
        j->own_ended = true;
    }
    forget(j);
}

/* What is known of the others now goes with the parts of the workers, which they make once they have read the mark. */
int join_hand_on_checkpoint(struct join *j)
{
    struct join_snapshot *s = calloc(1, sizeof(*s));
    struct log_entry *mark = NULL;
    int r = s ? entry_new(LOG_CHECKPOINT, &mark) : -ENOMEM;
    if (r == 0 && j->pipeline->sink.checkpoint)
        r = join_make_checkpoints(j, &s->inputs);
    if (r < 0) {
        log_entry_unref(mark);
        free(s);
        return r;
    }
    mark->number = ++j->number;
    mark->position = j->position;
    if (j->pipeline->sink.checkpoint) {
        pthread_mutex_lock(&j->lock);
        *j->last_snapshot = s;
        j->last_snapshot = &s->next;
        pthread_mutex_unlock(&j->lock);
    } else {
        free(s);
    }
    j->handing = mark;
    return 0;
}

/* Takes the entry. */
static int hand_on(struct join *j, struct log_entry *e)
{
    int r = 0;
    if (e->kind == LOG_CHECKPOINT) {
        r = join_hand_on_checkpoint(j);
        log_entry_unref(e);
        return r;
    }
    j->position = e->position > j->position ? e->position : j->position;
    if (e->kind == LOG_BATCH) {
        r = hand_on_batch(j, e);
        log_entry_unref(e);
    } else {
        read_mark(j, e);
        j->handing = e;
    }
    return r;
}

/* ---- The task --------------------------------------------------------------------------------- */

void join_failed(struct join *j, int r)
{
    struct error error = {0};
    error_set(&error, r, "its streams cannot be joined: %s", strerror(-r));
    pipeline_fail(j->pipeline, &error);
}

struct log_entry *join_take(struct mailbox *m, struct log *log)
{
    bool room;
    struct log_entry *e = mailbox_take(m, &room);
    if (room)
        log_room(log);
    return e;
}

struct log_entry *join_take_input(struct join_input *in)
{
    bool room;
    struct log_entry *e = mailbox_take(&in->mailbox, &room);
    if (room && in->log)
        log_room(in->log);
    else if (room)
        look(in);
    return e;
}

static bool is_draining(const struct join *j)
{
    return atomic_load_explicit(&j->draining, memory_order_relaxed);
}

/* Does the first entry wait for results that are made of a stream that is read here? */
static bool waits_for_same(const struct join *j)
{
    const struct log_entry *e = j->n_waiting ? j->waiting[j->first] : NULL;
    for (size_t i = 0; e && e->kind == LOG_BATCH && i < j->n; i++)
        if (j->input[i].of_same && !has_passed(&j->input[i], e->batch->span.max_us))
            return true;
    return false;
}

static void too_many_wait(struct join *j)
{
    struct error error;
    error_set(&error, -E2BIG,
              "more than %u events wait for results that are made of the same events: "
              "'out_of_orderness' or 'idle_timeout' of those is too great",
              SAME_TIMES * JOIN_WAITING_MAX);
    pipeline_fail(j->pipeline, &error);
}

/* Is there room for more rows of it? Those that the first entry waits for are taken in any case, and so is what a command
 * has put: it waits on its thread. */
static bool may_take_input(struct join *j, struct join_input *in)
{
    if (asof_rows(&in->rows) < JOIN_ROWS_MAX && asof_memory(&in->rows) < JOIN_BYTES_MAX)
        return true;
    if (!in->results && waits_for_same(j))
        return true;
    const struct log_entry *e = j->n_waiting ? j->waiting[j->first] : NULL;
    return (e && e->kind == LOG_BATCH && !has_passed(in, e->batch->span.max_us)) ||
           is_draining(j) || mailbox_length(&in->mailbox) > MAILBOX_ENTRIES;
}

/* Returns whether there was an entry. */
static bool take_input(struct join *j, struct join_input *in)
{
    struct log_entry *e = may_take_input(j, in) ? join_take_input(in) : NULL;
    struct watermark *w = &in->watermark;
    int r = 0;
    if (!e)
        return false;
    if (e->position > in->position)
        in->position = e->position;
    switch (e->kind) {
    case LOG_BATCH:
        r = input_batch(in, e);
        break;
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
    case LOG_CHECKPOINT: /* whoever asks: it is one of all streams */
        r = j->ends ? 0 : join_hand_on_checkpoint(j);
        break;
    }
    log_entry_unref(e);
    mailbox_done(&in->mailbox);
    join_show(in);
    ask_inputs(j);
    ask_own(j);
    if (r < 0)
        join_failed(j, r);
    return true;
}

/* Where nothing is known of before, the first row says from when on results may be asked for. */
static void begin_results(struct join *j, const struct batch *b)
{
    const int64_t *time = b->view[0].values;
    for (size_t i = 0; i < j->n; i++) {
        struct join_input *in = &j->input[i];
        int64_t us;
        if (!in->results ||
            atomic_load_explicit(&in->from_us, memory_order_relaxed) != INT64_MIN)
            continue;
        if (__builtin_sub_overflow(time[0],
                                   j->pipeline->config->out_of_orderness_us +
                                       2 * in->config->within_us,
                                   &us) ||
            us == INT64_MIN)
            us = INT64_MIN + 1;
        atomic_store_explicit(&in->from_us, us, memory_order_release);
        look(in);
    }
}

static bool take_own(struct join *j)
{
    bool room = j->rows < JOIN_WAITING_MAX && j->n_waiting < ENTRIES_MAX;
    bool same = !room && waits_for_same(j);
    /* The last ones of a backfill are put while the log waits, for which another pipeline's input may wait. */
    bool held = pipeline_is_behind(j->pipeline) &&
                mailbox_length(&j->mailbox) > MAILBOX_ENTRIES;
    struct log_entry *e = room || same || held || is_draining(j)
                              ? join_take(&j->mailbox, j->pipeline->log)
                              : NULL;
    if (!e)
        return false;
    if (same && (j->rows >= SAME_TIMES * JOIN_WAITING_MAX ||
                 j->n_waiting >= SAME_TIMES * ENTRIES_MAX))
        too_many_wait(j);
    if (e->kind == LOG_BATCH)
        begin_results(j, e->batch);
    /* A checkpoint is of what has been handed on: those that wait are read again. */
    int r = e->kind == LOG_CHECKPOINT && !j->ends ? hand_on(j, e) : waiting_put(j, e);
    mailbox_done(&j->mailbox);
    ask_inputs(j);
    if (r < 0)
        join_failed(j, r);
    return true;
}

static bool drop_all(struct join *j)
{
    struct log_entry *e = j->handing;
    bool none_has_it = e && e->kind == LOG_BATCH && !j->pipeline->given;
    metric_add(&j->pipeline->skipped, none_has_it ? e->batch->n_rows : 0);
    j->handing = NULL;
    log_entry_unref(e);
    while (j->n_waiting) {
        e = waiting_take(j);
        metric_add(&j->pipeline->skipped, e->kind == LOG_BATCH ? e->batch->n_rows : 0);
        log_entry_unref(e);
    }
    bool any = false;
    for (size_t i = 0; i <= j->n; i++) {
        struct mailbox *m = i < j->n ? &j->input[i].mailbox : &j->mailbox;
        e = i < j->n ? join_take_input(&j->input[i]) : join_take(m, j->pipeline->log);
        if (!e)
            continue;
        if (i == j->n && e->kind == LOG_BATCH)
            metric_add(&j->pipeline->skipped, e->batch->n_rows);
        log_entry_unref(e);
        mailbox_done(m);
        any = true;
    }
    return any;
}

/* One thing that can be done. False: there is none. */
static bool step(struct join *j)
{
    struct pipeline *p = j->pipeline;
    if (pipeline_failed(p) || atomic_load_explicit(&p->leaving, memory_order_relaxed))
        return drop_all(j);
    if (j->handing) {
        if (!pipeline_give(p, j->handing, false))
            return false;
        j->handing = NULL;
        return true;
    }
    if (p->config->joins.all)
        return join_all_step(j);
    if (j->n_waiting && is_ready(j, j->waiting[j->first])) {
        int r = hand_on(j, waiting_take(j));
        if (r < 0)
            join_failed(j, r);
        return true;
    }
    for (size_t i = 0; i < j->n; i++)
        if (take_input(j, &j->input[i]))
            return true;
    return take_own(j);
}

static bool is_empty(struct join *j)
{
    bool empty = !j->handing && !mailbox_length(&j->mailbox);
    for (size_t i = 0; empty && i < j->n; i++)
        empty = !mailbox_length(&j->input[i].mailbox);
    return empty;
}

static int64_t join_run(void *join)
{
    struct join *j = join;
    int64_t begun_ns = clock_thread_cpu_ns(), again_us = TASK_SLEEPS;
    int64_t until_us = clock_monotonic_us() + TURN_US;
    while (again_us == TASK_SLEEPS && step(j))
        if (clock_monotonic_us() >= until_us)
            again_us = TASK_AGAIN;
    atomic_store_explicit(&j->n_waits, j->rows, memory_order_relaxed);
    metric_add(&j->pipeline->cpu_ns, (uint64_t)(clock_thread_cpu_ns() - begun_ns));
    pthread_mutex_lock(&j->lock);
    j->settled = again_us == TASK_SLEEPS && is_empty(j);
    if (j->settled)
        pthread_cond_broadcast(&j->rests);
    pthread_mutex_unlock(&j->lock);
    return again_us;
}

bool join_put(struct join *j, struct log_entry *e, bool command)
{
    bool taken = mailbox_put(&j->mailbox, e, command);
    task_wake(&j->task);
    return taken;
}

static bool input_put(void *input, struct log_entry *e, bool command)
{
    struct join_input *in = input;
    bool taken = mailbox_put(&in->mailbox, e, command);
    task_wake(&in->join->task);
    return taken;
}

void join_wake(struct join *j)
{
    task_wake(&j->task);
}

bool join_drain(struct join *j, int64_t deadline_us)
{
    int r = 0;
    if (!j->task.run)
        return true;
    atomic_store_explicit(&j->draining, true, memory_order_relaxed);
    pthread_mutex_lock(&j->lock);
    j->settled = false;
    task_wake(&j->task);
    while (!j->settled && r != ETIMEDOUT)
        r = clock_cond_wait(&j->rests, &j->lock, deadline_us);
    bool settled = j->settled;
    pthread_mutex_unlock(&j->lock);
    return settled;
}

/* ---- Beginning and end ------------------------------------------------------------------------ */

static void input_of_results(struct join_input *in, const struct pipeline *p)
{
    const struct config_joins *joins = &p->config->joins;
    const size_t i = (size_t)(in->config->result - p->config->results.item);
    const size_t pipeline = in->config->result->pipeline;
    in->results = p->joined_table[i];
    in->giver = p->joined[i]->config;
    in->of_same = config_depends(p->whole, pipeline, p->config->stream);
    for (size_t k = 0; k < joins->n; k++)
        if (!joins->join[k].result)
            in->of_same = in->of_same ||
                          config_depends(p->whole, pipeline, joins->join[k].stream);
}

static int input_init(struct join_input *in, struct join *j,
                      const struct config_join *c)
{
    const struct pipeline *p = j->pipeline;
    const struct schema *s =
        c->result ? c->result->columns : p->whole->stream[c->stream].columns;
    enum weir_type type[ASOF_COLUMNS];
    in->join = j;
    in->config = c;
    in->stream = c->result ? c->result->table : p->whole->stream[c->stream].name;
    atomic_init(&in->from_us, INT64_MIN);
    if (c->result)
        input_of_results(in, p);
    for (size_t i = 0; i < c->n_columns; i++)
        type[i] = s->column[c->column[i]].type;
    asof_init(&in->rows, type, c->n_columns);
    watermark_init(&in->watermark, c->out_of_orderness_us, INT64_MIN);
    mailbox_setup(&in->mailbox);
    atomic_init(&in->wanted_us, INT64_MIN);
    atomic_init(&in->shown_us, INT64_MIN);
    return asprintf(&in->name, "%s.%s", p->config->name, in->stream) < 0 ? -ENOMEM : 0;
}

int join_new(struct pipeline *p, struct join **ret)
{
    const struct config_joins *c = &p->config->joins;
    struct join *j = calloc(1, sizeof(*j) + c->n * sizeof(j->input[0]));
    if (!j)
        return -ENOMEM;
    j->pipeline = p;
    j->newest_us = INT64_MIN;
    atomic_init(&j->wanted_us, INT64_MIN);
    pthread_mutex_init(&j->lock, NULL);
    clock_cond_init(&j->rests);
    j->last_snapshot = &j->snapshot;
    mailbox_setup(&j->mailbox);
    mailbox_setup(&j->own.mailbox);
    watermark_init(&j->watermark, p->config->out_of_orderness_us, INT64_MIN);
    j->found = malloc(c->n * BATCH_ROWS_MAX * sizeof(*j->found));
    int r = j->found ? 0 : -ENOMEM;
    j->own_config =
        (struct config_join){.stream = p->config->stream,
                             .out_of_orderness_us = p->config->out_of_orderness_us};
    if (r == 0 && (r = input_init(&j->own, j, &j->own_config)) < 0)
        j->own.name = NULL;
    for (; r == 0 && j->n < c->n; j->n++)
        if ((r = input_init(&j->input[j->n], j, &c->join[j->n])) < 0)
            j->input[j->n].name = NULL; /* undefined otherwise */
    if (r < 0) {
        join_free(j);
        return r;
    }
    *ret = j;
    return 0;
}

void join_free(struct join *j)
{
    if (!j)
        return;
    task_end(&j->task);
    log_entry_unref(j->handing);
    while (j->n_waiting)
        log_entry_unref(waiting_take(j));
    for (struct join_snapshot *s = j->snapshot, *next; s; s = next) {
        next = s->next;
        checkpoint_free(s->inputs);
        free(s);
    }
    for (size_t i = 0; i < j->n; i++) {
        mailbox_clear(&j->input[i].mailbox);
        asof_free(&j->input[i].rows);
        free(j->input[i].map);
        free(j->input[i].name);
    }
    asof_free(&j->own.rows);
    free(j->own.name);
    mailbox_clear(&j->own.mailbox);
    mailbox_clear(&j->mailbox);
    pthread_cond_destroy(&j->rests);
    pthread_mutex_destroy(&j->lock);
    free(j->waiting);
    free(j->found);
    free(j);
}

/* Where its events are the pipeline's, windows close by them as by those of the own stream. */
static int64_t next_border(void *input, int64_t after_us)
{
    const struct join_input *in = input;
    return chain_next_border(in->join->pipeline, after_us);
}

static int64_t last_border(void *input, int64_t newest_us)
{
    const struct join_input *in = input;
    return chain_last_border(in->join->pipeline, newest_us);
}

static int64_t no_border(void *ctx, int64_t us)
{
    (void)ctx;
    (void)us;
    return INT64_MAX;
}

static int64_t no_last_border(void *ctx, int64_t us)
{
    (void)ctx;
    (void)us;
    return INT64_MIN;
}

static bool input_failed(void *input)
{
    const struct join_input *in = input;
    return pipeline_failed(in->join->pipeline);
}

/* What an input asks of its log. */
static struct log_sink sink_of(struct join_input *in)
{
    const bool all = in->join->pipeline->config->joins.all;
    return (struct log_sink){
        .pipeline = in->name,
        .put = input_put,
        .ctx = in,
        .position = in->position,
        .idle_timeout_us = in->join->pipeline->config->idle_timeout_us,
        .out_of_orderness_us = in->config->out_of_orderness_us,
        .next_border_us = all ? next_border : no_border,
        .last_border_us = all ? last_border : no_last_border,
        .wanted_us = input_wanted,
        .key = in->config->their_on,
        .n_keys = in->config->n_on,
        .failed = input_failed,
        .behind = atomic_load_explicit(&in->behind, memory_order_relaxed)};
}

struct subscribing {
    struct join_input *input;
    struct log_sink sink;
    struct error *error;
    int r;
};

static void resubscribe(void *ctx)
{
    struct subscribing *s = ctx;
    struct log *log = s->input->log;
    if (!s->sink.behind) {
        s->r = log_resubscribe(log, &s->sink, &s->input->keys, s->error);
        return;
    }
    log_unsubscribe(log, s->sink.pipeline); /* one that had its place */
    s->r = log_subscribe_behind(log, &s->sink, &s->input->keys);
    if (s->r < 0)
        error_set(s->error, s->r, "no memory");
}

static int subscribe(struct join_input *in, bool live, struct error *error)
{
    const struct watermark *w = &in->watermark;
    int64_t source_us[WATERMARK_SOURCES];
    struct subscribing s = {.input = in, .sink = sink_of(in), .error = error};
    for (uint32_t i = 0; i < w->n; i++)
        source_us[i] = w->source[i].idle || w->source[i].max_us != INT64_MIN
                           ? w->source[i].max_us
                           : LOG_HOLDS_US;
    s.sink.source_us = source_us;
    s.sink.n_sources = w->n;
    s.sink.newest_us = w->newest_us;
    s.sink.watermark_us = w->value_us;
    join_show(in);
    if (!live) {
        s.r = log_subscribe(in->log, &s.sink, &in->keys);
        return s.r < 0 ? error_set(error, s.r, "no memory") : 0;
    }
    if (log_call(in->log, resubscribe, &s) < 0)
        return error_set(error, -ESHUTDOWN, "stream '%s' has ended", in->stream);
    return s.r;
}

int join_begin(struct join *j, struct tasks *tasks, uint64_t position,
               struct error *error)
{
    j->position = j->own.position = position;
    j->told_us = j->pipeline->worker[0].watermark.value_us;
    j->watermark = j->pipeline->worker[0].watermark;
    j->watermark.held = false; /* what is open at the end of an input waits behind us */
    for (size_t i = 0; i < j->n; i++) {
        const struct join_input *in = &j->input[i];
        int64_t us = in->watermark.value_us;
        if (in->results)
            atomic_store_explicit(&j->input[i].from_us,
                                  us == INT64_MIN ? join_oldest(in) : us,
                                  memory_order_release);
    }
    int r = task_begin(&j->task, tasks, join_run, j);
    return r < 0 ? error_set(error, r, "no memory") : 0;
}

int join_subscribe(struct join *j, bool live, struct error *error)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < j->n; i++)
        r = j->input[i].results ? 0 : subscribe(&j->input[i], live, error);
    return r;
}

void join_caught_up(struct join_input *in)
{
    atomic_store_explicit(&in->behind, false, memory_order_relaxed);
}

bool join_is_behind(const struct join *j)
{
    bool behind = false;
    for (size_t i = 0; j && i < j->n; i++)
        behind =
            behind || atomic_load_explicit(&j->input[i].behind, memory_order_relaxed);
    return behind;
}

void join_feed(struct join_input *in, void (*call)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&in->join->lock);
    in->look = call;
    in->look_ctx = ctx;
    pthread_mutex_unlock(&in->join->lock);
}

void join_unfeed(struct join_input *in)
{
    join_feed(in, NULL, NULL);
}

bool join_feed_entry(struct join_input *in, struct log_entry *e)
{
    return input_put(in, e, false);
}

struct leaving {
    struct log *log;
    const char *name;
};

static void leave(void *ctx)
{
    struct leaving *l = ctx;
    log_unsubscribe(l->log, l->name);
}

void join_leave_place(const char *name, struct log *log)
{
    struct leaving l = {.log = log, .name = name};
    log_call(log, leave, &l);
}

/* ---- Places in journals ----------------------------------------------------------------------- */

static bool skip_entry(void *ctx, struct log_entry *e, bool command)
{
    (void)ctx;
    (void)command;
    log_entry_unref(e);
    return true;
}

static bool nobody_runs(void *ctx)
{
    (void)ctx;
    return true;
}

void join_hold_place(const char *name, struct log *log, uint64_t position)
{
    const struct log_sink s = {.pipeline = name,
                               .put = skip_entry,
                               .position = position,
                               .idle_timeout_us = INT64_MAX,
                               .next_border_us = no_border,
                               .last_border_us = no_last_border,
                               .failed = nobody_runs};
    if (log_hold(log, &s) < 0)
        logger_error("pipeline",
                     "pipeline '%s': no memory to keep its place in the log", name);
}

static void hold(void *input)
{
    const struct join_input *in = input;
    join_hold_place(in->name, in->log,
                    atomic_load_explicit(&in->shown_position, memory_order_relaxed));
}

void join_hold(struct join *j)
{
    for (size_t i = 0; i < j->n; i++)
        if (j->input[i].log)
            log_call(j->input[i].log, hold, &j->input[i]);
}
