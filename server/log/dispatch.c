/* SPDX-License-Identifier: Apache-2.0
 *
 * The dispatch thread: numbers keys, hands entries to the pipelines, asks for checkpoints, and gives what
 * is stored back to the journal.
 *
 *      queue -> prepare -> put to every pipeline that does not know the entry
 *            -> checkpoint due? LOG_CHECKPOINT to all -> ... log_stored by all -> journal_trim
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/logger.h"
#include "base/thread.h"
#include "log/internal.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define LOG_CALL ((enum log_kind)100) /* run a call; within the log only */
#define CHECKPOINT_REST                                                                \
    9                   /* a checkpoint that takes 1 s is followed by 9 s without one */
#define JOIN_MAX 32768u /* rows of small entries that are joined */
#define LOOK_US  20000  /* how often a running checkpoint is looked at */

struct call {
    void (*call)(void *ctx);
    void *ctx;
    pthread_mutex_t lock; /* protects `done` */
    pthread_cond_t changed;
    bool done, ran;
};

/* The entry in which a call stands in line. */
struct call_entry {
    struct log_entry entry; /* first */
    struct call *call;
};

/* The passes over whole columns that pipelines share. -ENOMEM. */
static int prepare(struct log *l, struct log_entry *e)
{
    e->n_keys = l->n_keys;
    e->n_columns = l->schema->n;
    e->keys = calloc(l->n_keys + 1, sizeof(struct key_ids *));
    e->dictionary = calloc(l->schema->n, sizeof(struct dictionary *));
    if (!e->keys || !e->dictionary)
        return -ENOMEM;
    for (size_t i = 0; i < l->n_keys; i++) {
        int r = keys_new(e->batch, l->keys[i].column, l->keys[i].n, &e->keys[i]);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < l->schema->n; i++) {
        int r = l->dictionary[i] ? dictionary_new(e->batch, i, &e->dictionary[i]) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- Entries to pipelines --------------------------------------------------------------------- */

static void put(struct subscriber *s, struct log_entry *e)
{
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    s->sink.put(s->sink.ctx, e);
}

/* No pipeline may miss an entry: without memory the stream waits. False: it is leaving. */
static bool prepare_until_done(struct log *l, struct log_entry *e)
{
    for (bool logged = false; prepare(l, e) < 0; logged = true) {
        entry_unprepare(e);
        if (!logged)
            log_error("log", "stream '%s': no memory; tried again until there is",
                      l->name);
        if (atomic_load_explicit(&l->leaving, memory_order_relaxed))
            return false;
        clock_sleep_us(NO_MEMORY_US);
    }
    return true;
}

static void put_batch(struct log *l, struct log_entry *e)
{
    if (!prepare_until_done(l, e))
        return;
    metric_add(&l->batches, 1);
    metric_add(&l->batch_rows, e->batch->n_rows);
    for (size_t i = 0; i < l->n_subscribers; i++)
        if (l->subscriber[i]->sink.position < e->position)
            put(l->subscriber[i], e);
}

static void put_mark(struct log *l, struct log_entry *e)
{
    for (size_t i = 0; i < l->n_subscribers; i++) {
        struct subscriber *s = l->subscriber[i];
        if (s->sink.position < e->position &&
            (!e->pipeline || !strcmp(e->pipeline, s->sink.pipeline)))
            put(s, e);
    }
}

/* ---- Joining ---------------------------------------------------------------------------------- */

struct joining {
    const struct log *log;
    const struct log_entry *entry;
};

/* A follower goes along if it is more of the same, and every pipeline is to get both or neither. */
static bool goes_along(void *ctx, const struct log_entry *f)
{
    const struct joining *j = ctx;
    const struct log_entry *e = j->entry;
    if (f->kind != LOG_BATCH || f->source != e->source || f->held != e->held ||
        e->batch->n_rows + f->batch->n_rows > JOIN_MAX)
        return false;
    uint64_t first = e->part ? e->part[0].position : e->position;
    for (size_t i = 0; i < j->log->n_subscribers; i++) {
        uint64_t known = j->log->subscriber[i]->sink.position;
        if ((known < first) != (known < f->position))
            return false;
    }
    return true;
}

/* Those that are there. False: no memory, no more. */
static bool join_those(struct log *l, struct log_entry *e)
{
    struct joining j = {.log = l, .entry = e};
    struct log_entry *f;
    while ((f = line_pop_if(&l->line, goes_along, &j))) {
        if (entry_join(e, f) < 0) {
            line_push_back(&l->line, f);
            return false;
        }
    }
    return true;
}

/* Requests that are answered as soon as they are durable come in small entries. They linger here, where
 * nobody waits for them, so that keys are found once for more rows. */
static void join_followers(struct log *l, struct log_entry *e)
{
    int64_t until_us = clock_monotonic_us() + l->options.linger_us;
    if (e->batch->n_rows >= LOG_GATHER_ROWS)
        return;
    if (join_those(l, e) && e->batch->n_rows < JOIN_MAX) {
        line_linger(&l->line, JOIN_MAX - e->batch->n_rows, until_us);
        join_those(l, e);
    }
    if (e->n_parts)
        batch_seal(e->batch);
}

static void end_call(struct log_entry *e, bool ran)
{
    struct call *c = ((struct call_entry *)e)->call;
    if (ran)
        c->call(c->ctx);
    pthread_mutex_lock(&c->lock);
    c->done = true;
    c->ran = ran;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

static void hand_on(struct log *l, struct log_entry *e)
{
    fault_point("log_dispatch");
    if (e->kind == LOG_CALL)
        end_call(e, true);
    else if (e->kind == LOG_BATCH) {
        join_followers(l, e);
        put_batch(l, e);
    } else
        put_mark(l, e);
    if (e->position)
        atomic_store_explicit(&l->handed_on, e->position, memory_order_relaxed);
    intake_release(l->intake, e);
    log_entry_unref(e);
}

/* ---- Checkpoints ------------------------------------------------------------------------------ */

static uint64_t position_of(const struct log *l)
{
    return atomic_load_explicit(&l->handed_on, memory_order_relaxed);
}

static bool has_failed(const struct subscriber *s)
{
    return s->sink.failed && s->sink.failed(s->sink.ctx);
}

static uint64_t stored_of(const struct subscriber *s)
{
    return atomic_load_explicit(&s->stored, memory_order_relaxed);
}

/* False: no memory, it was not asked for. */
static bool put_checkpoint(struct subscriber *s, uint64_t number, uint64_t position)
{
    struct log_entry *e;
    if (entry_new(LOG_CHECKPOINT, &e) < 0)
        return false;
    e->number = number;
    e->position = position;
    s->sink.put(s->sink.ctx, e);
    return true;
}

/* What was not asked for, for want of memory, is asked for when the next one is due. */
static void ask(struct log *l, int64_t interval_us)
{
    struct checkpoints *c = &l->checkpoints;
    const struct log_keeper *k = &l->options.keeper;
    c->number++;
    c->asked = position_of(l);
    c->asked_us = clock_monotonic_us();
    c->running = true;
    fault_point("checkpoint_begin");
    for (size_t i = 0; i < l->n_subscribers; i++)
        if (!has_failed(l->subscriber[i]) && stored_of(l->subscriber[i]) < c->asked)
            c->running &= put_checkpoint(l->subscriber[i], c->number, c->asked);
    if (k->keep)
        c->running &= k->keep(k->ctx, c->asked) == 0;
    if (!c->running)
        c->next_us = c->asked_us + interval_us;
}

/* Nobody needs entries up to here to start again. */
static uint64_t least_stored(const struct log *l, bool with_failed)
{
    uint64_t least = l->options.keeper.keep
                         ? atomic_load_explicit(&l->kept, memory_order_relaxed)
                         : position_of(l);
    for (size_t i = 0; i < l->n_subscribers; i++) {
        const struct subscriber *s = l->subscriber[i];
        if (stored_of(s) < least && (with_failed ? !s->given_up : !has_failed(s)))
            least = stored_of(s);
    }
    return least;
}

/* The journal cannot be written, or has more than three quarters of what it may have. */
static bool under_pressure(const struct log *l)
{
    uint64_t limit = l->journal_limit;
    if (atomic_load_explicit(&l->no_room, memory_order_relaxed))
        return true;
    return limit && journal_bytes(l->journal) > limit / 4 * 3;
}

/* A pipeline that has failed holds the journal back as long as there is room. */
static void give_up_failed(struct log *l)
{
    for (size_t i = 0; i < l->n_subscribers; i++) {
        struct subscriber *s = l->subscriber[i];
        if (s->given_up || !has_failed(s))
            continue;
        s->given_up = true;
        log_error(
            "log",
            "stream '%s': the journal is nearly full; pipeline '%s', which has failed, "
            "will not get the entries behind %llu any more",
            l->name, s->sink.pipeline, (unsigned long long)stored_of(s));
    }
}

/* Only behind what can still be found: not while the database is not the file that it was. */
static void trim(struct log *l)
{
    const struct log_keeper *k = &l->options.keeper;
    if (!l->journal || l->options.read_only || (k->there && !k->there(k->ctx)))
        return;
    if (under_pressure(l) &&
        atomic_load_explicit(&l->no_room, memory_order_relaxed) != -ESTALE)
        give_up_failed(l);
    journal_trim(l->journal, least_stored(l, true) + 1);
}

/* Is the running one done, is the next one due? */
static void look_at_checkpoints(struct log *l)
{
    struct checkpoints *c = &l->checkpoints;
    int64_t interval_us = l->options.checkpoint_interval_us;
    int64_t now_us = clock_monotonic_us();
    if (!interval_us)
        return;
    if (c->running && least_stored(l, false) >= c->asked) {
        c->running = false;
        int64_t rested_us = now_us + CHECKPOINT_REST * (now_us - c->asked_us);
        c->next_us = c->asked_us + interval_us;
        c->next_us = rested_us > c->next_us ? rested_us : c->next_us;
        trim(l);
    }
    if (c->running)
        return;
    if (position_of(l) > c->asked && (now_us >= c->next_us || under_pressure(l)))
        ask(l, interval_us);
    else if (atomic_load_explicit(&l->no_room, memory_order_relaxed))
        trim(l); /* nothing new comes in until there is room */
}

static int64_t next_look_us(const struct log *l)
{
    const struct checkpoints *c = &l->checkpoints;
    if (!l->options.checkpoint_interval_us)
        return INT64_MAX;
    if (c->running || atomic_load_explicit(&l->no_room, memory_order_relaxed))
        return clock_monotonic_us() + LOOK_US;
    if (position_of(l) > c->asked)
        return c->next_us;
    return l->journal ? clock_monotonic_us() + SECOND_US : INT64_MAX; /* no_room */
}

/* ---- The end ---------------------------------------------------------------------------------- */

static void put_ends(struct log *l)
{
    for (size_t i = 0; i < l->n_subscribers; i++) {
        struct log_entry *e;
        if (entry_new(LOG_END, &e) < 0) {
            log_error("log", "stream '%s': no memory to close the windows of '%s'",
                      l->name, l->subscriber[i]->sink.pipeline);
            continue;
        }
        e->position = position_of(l);
        l->subscriber[i]->sink.put(l->subscriber[i]->sink.ctx, e);
    }
}

static void finish(struct log *l)
{
    if (atomic_load_explicit(&l->failed, memory_order_relaxed) || /* `end` is not set */
        atomic_load_explicit(&l->leaving, memory_order_relaxed) || l->end == LOG_LEAVE)
        return;
    if (l->end == LOG_FINISH)
        put_ends(l);
    l->checkpoints.number++;
    for (size_t i = 0; i < l->n_subscribers; i++)
        if (!has_failed(l->subscriber[i]))
            put_checkpoint(l->subscriber[i], l->checkpoints.number, position_of(l));
    if (l->options.keeper.keep)
        l->options.keeper.keep(l->options.keeper.ctx, position_of(l));
}

void *dispatch_run(void *log)
{
    struct log *l = log;
    thread_stand_back();
    l->checkpoints.asked = position_of(l);
    l->checkpoints.next_us = clock_monotonic_us() + l->options.checkpoint_interval_us;
    for (bool end = false;;) {
        struct log_entry *e = line_pop(&l->line, next_look_us(l), &end);
        bool leaving = atomic_load_explicit(&l->leaving, memory_order_relaxed);
        if (end)
            break;
        if (e && leaving && e->kind == LOG_CALL)
            end_call(e, false);
        if (e && leaving)
            log_entry_unref(e); /* the journal has it */
        else if (e)
            hand_on(l, e);
        if (!atomic_load_explicit(&l->leaving, memory_order_relaxed))
            look_at_checkpoints(l);
    }
    finish(l);
    return NULL;
}

/* ---- Calls from other threads ----------------------------------------------------------------- */

int log_call(struct log *l, void (*function)(void *ctx), void *ctx)
{
    struct call_entry *e = calloc(1, sizeof(*e));
    if (!e)
        return -ENOMEM;
    struct call c = {.call = function,
                     .ctx = ctx,
                     .lock = PTHREAD_MUTEX_INITIALIZER,
                     .changed = PTHREAD_COND_INITIALIZER};
    atomic_init(&e->entry.refs, 1);
    e->entry.kind = LOG_CALL;
    e->call = &c;
    static_assert(offsetof(struct call_entry, entry) == 0, "freed as an entry");
    if (!line_push(&l->line, &e->entry, true))
        return -ESHUTDOWN;
    pthread_mutex_lock(&c.lock);
    while (!c.done)
        pthread_cond_wait(&c.changed, &c.lock);
    pthread_mutex_unlock(&c.lock);
    return c.ran ? 0 : -ESHUTDOWN;
}

void log_checkpoint(struct log *l, const char *pipeline)
{
    size_t i = log_find_subscriber(l, pipeline);
    if (i < l->n_subscribers)
        put_checkpoint(l->subscriber[i], ++l->checkpoints.number, position_of(l));
}

/* Who has come was not asked for the checkpoint that is under way, and who has gone will not store it. */
static void begin_checkpoints_anew(struct log *l)
{
    l->checkpoints.running = false;
    l->checkpoints.asked = 0;
    l->checkpoints.next_us = clock_monotonic_us();
}

uint64_t log_unsubscribe(struct log *l, const char *pipeline)
{
    size_t i = log_find_subscriber(l, pipeline);
    if (i == l->n_subscribers)
        return position_of(l);
    uint64_t stored = stored_of(l->subscriber[i]);
    log_remove_subscriber(l, i);
    begin_checkpoints_anew(l);
    return stored;
}

struct catch_up {
    struct log *log;
    struct subscriber *subscriber;
};

static int catch_up_entry(void *ctx, struct log_entry *e)
{
    struct catch_up *c = ctx;
    const struct log_sink *sink = &c->subscriber->sink;
    int r = 0;
    if (e->kind == LOG_BATCH && (r = prepare(c->log, e)) == 0)
        put(c->subscriber, e);
    else if (e->kind != LOG_BATCH &&
             (!e->pipeline || !strcmp(e->pipeline, sink->pipeline)))
        put(c->subscriber, e);
    log_entry_unref(e);
    return r;
}

int log_resubscribe(struct log *l, const struct log_sink *sink, size_t *ret_keys,
                    struct error *error)
{
    int r = log_add_subscriber(l, sink, ret_keys);
    if (r < 0)
        return error_set(error, r, "no memory");
    struct catch_up c = {.log = l, .subscriber = l->subscriber[l->n_subscribers - 1]};
    r = replay_range(l, sink->position, position_of(l), catch_up_entry, &c, error);
    if (r < 0)
        log_remove_subscriber(l, l->n_subscribers - 1);
    begin_checkpoints_anew(l);
    return r;
}

int log_hold(struct log *l, const struct log_sink *sink)
{
    size_t keys;
    return log_add_subscriber(l, sink, &keys);
}
