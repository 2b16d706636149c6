/* SPDX-License-Identifier: Apache-2.0
 *
 * The dispatcher: numbers keys, hands entries to the pipelines, asks for checkpoints, and gives what
 * is stored back to the journal.
 *
 *      backlog -> join, prepare -> put to every pipeline that does not know the entry
 *                                 | no room: it goes on there, once log_room says so
 *           -> checkpoint due? LOG_CHECKPOINT to all -> ... log_stored by all -> journal_trim
 *
 * Commands hold the task and do what they do on the thread of who gives them, so that they never wait behind data but
 * for the entry at hand, to which the pipelines give a little more room then.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/logger.h"
#include "log/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHECKPOINT_REST                                                                \
    9                   /* a checkpoint that takes 1 s is followed by 9 s without one */
#define JOIN_MAX 32768u /* rows of small entries that are joined */
#define TURN_US                                                                        \
    10000 /* before other tasks have theirs; the entry at hand is put first */
#define LOOK_US                                                                        \
    250000 /* while a pipeline that will store no more may hold a checkpoint up */
#define CATCH_UP_ENTRIES                                                               \
    64               /* so few are read while all others wait; 64k rows each at most */
#define ROOM_US 1000 /* between attempts of a command, where even that room is full */

/* In place of the batch one with derived columns. -ENOMEM. */
static int derive(struct log *l, struct log_entry *e)
{
    struct batch *b;
    uint64_t errors;
    if (!l->derive || e->batch->schema == l->columns)
        return 0;
    int r = derive_batch(l->derive, e->batch, &errors, &b);
    if (r < 0)
        return r;
    batch_unref(e->batch);
    e->batch = b;
    metric_add(&l->derive_errors, errors);
    return 0;
}

/* The passes over whole columns that pipelines share. -ENOMEM. */
static int prepare(struct log *l, struct log_entry *e)
{
    int err = derive(l, e);
    if (err < 0)
        return err;
    e->n_keys = l->n_keys;
    e->n_columns = l->columns->n;
    e->keys = calloc(l->n_keys + 1, sizeof(struct key_ids *));
    e->dictionary = calloc(l->columns->n, sizeof(struct dictionary *));
    if (!e->keys || !e->dictionary)
        return -ENOMEM;
    for (size_t i = 0; i < l->n_keys; i++) {
        if (!l->keys[i].users)
            continue;
        int r = keys_new(e->batch, l->keys[i].column, l->keys[i].n, &e->keys[i]);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < l->columns->n; i++) {
        int r = l->dictionary[i] ? dictionary_new(e->batch, i, &e->dictionary[i]) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- Entries to pipelines --------------------------------------------------------------------- */

static bool put(struct subscriber *s, struct log_entry *e, bool command)
{
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    bool taken = s->sink.put(s->sink.ctx, e, command);
    if (!taken) /* it is the caller's, too: not the last one */
        atomic_fetch_sub_explicit(&e->refs, 1, memory_order_relaxed);
    return taken;
}

static bool is_leaving(const struct log *l)
{
    return atomic_load_explicit(&l->leaving, memory_order_relaxed);
}

/* A command waits on its thread, if need be. False: the log is left, or it is too late. */
static bool put_until(struct log *l, struct subscriber *s, struct log_entry *e,
                      int64_t until_us)
{
    while (!put(s, e, true)) {
        if (is_leaving(l) || clock_monotonic_us() >= until_us)
            return false;
        clock_sleep_us(ROOM_US);
    }
    return true;
}

static bool put_now(struct log *l, struct subscriber *s, struct log_entry *e)
{
    return put_until(l, s, e, INT64_MAX);
}

static bool is_for(const struct log_entry *e, const struct subscriber *s)
{
    if (e->kind == LOG_CHECKPOINT || e->kind == LOG_END) /* of a derived log */
        return true;
    return s->sink.position < e->position + s->sink.also &&
           (!e->pipeline || !strcmp(e->pipeline, s->sink.pipeline));
}

/* No pipeline may miss an entry: without memory the stream waits. */
static bool prepare_handing(struct log *l)
{
    struct handing *h = &l->handing;
    if (h->entry->kind == LOG_BATCH && prepare(l, h->entry) < 0) {
        entry_unprepare(h->entry);
        return false;
    }
    h->prepared = true;
    return true;
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
        (e->bookmark && !f->bookmark) || f->batch->schema != e->batch->schema ||
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
    while ((f = backlog_pop_if(&l->backlog, goes_along, &j))) {
        if (entry_join(e, f) < 0) {
            backlog_push_back(&l->backlog, f);
            return false;
        }
    }
    return true;
}

/* Requests that are answered as soon as they are durable come in small entries. They linger here, where
 * nobody waits for them, so that keys are found once for more rows. All others have lingered in their frame: what has come
 * meanwhile goes along. True: more may come. */
static bool lingers(struct log *l)
{
    struct handing *h = &l->handing;
    if (!h->linger_us)
        return false;
    if (join_those(l, h->entry) && h->entry->batch->n_rows < JOIN_MAX &&
        clock_monotonic_us() < h->linger_us &&
        backlog_linger(&l->backlog, JOIN_MAX - h->entry->batch->n_rows))
        return true;
    join_those(l, h->entry);
    h->linger_us = 0;
    if (h->entry->n_parts)
        batch_seal(h->entry->batch);
    return false;
}

static void take(struct log *l, struct log_entry *e)
{
    bool joins =
        e->kind == LOG_BATCH && e->batch->n_rows < LOG_GATHER_ROWS && !e->sequence;
    fault_point("log_dispatch");
    l->handing = (struct handing){.entry = e};
    if (joins && (e->asks || !log_is_ready(l)))
        l->handing.linger_us = clock_monotonic_us() + l->options.linger_us;
    else if (joins)
        l->handing.linger_us = 1; /* it is over */
}

static void handed_on(struct log *l)
{
    struct log_entry *e = l->handing.entry;
    l->handing.entry = NULL;
    if (e->kind == LOG_BATCH) {
        metric_add(&l->batches, 1);
        metric_add(&l->batch_rows, e->batch->n_rows);
    }
    bookmark_here(l, e);
    atomic_store_explicit(&l->handed_on, e->position, memory_order_relaxed);
    if (l->intake)
        intake_release(l->intake, e);
    log_entry_unref(e);
}

/* 0: every pipeline has the entry at hand; or when to go on with it. */
static int64_t hand_on(struct log *l)
{
    struct handing *h = &l->handing;
    if (lingers(l))
        return h->linger_us;
    if (!h->prepared && !prepare_handing(l)) {
        if (!l->no_memory)
            logger_error("log", "stream '%s': no memory; tried again until there is",
                         l->name);
        l->no_memory = true;
        return clock_monotonic_us() + NO_MEMORY_US;
    }
    l->no_memory = false;
    for (; h->next < l->n_subscribers; h->next++)
        if (!l->subscriber[h->next]->behind &&
            is_for(h->entry, l->subscriber[h->next]) &&
            !put(l->subscriber[h->next], h->entry, false))
            return TASK_SLEEPS;
    handed_on(l);
    return 0;
}

/* For a command, which wants to be between two entries. What is not taken in time stays at hand. */
static void hand_on_until(struct log *l, int64_t until_us)
{
    struct handing *h = &l->handing;
    if (!h->entry)
        return;
    h->linger_us = h->linger_us ? 1 : 0;
    lingers(l);
    while (!h->prepared && !prepare_handing(l)) {
        if (is_leaving(l) || clock_monotonic_us() >= until_us)
            return;
        clock_sleep_us(NO_MEMORY_US);
    }
    for (; h->next < l->n_subscribers; h->next++)
        if (!l->subscriber[h->next]->behind &&
            is_for(h->entry, l->subscriber[h->next]) &&
            !put_until(l, l->subscriber[h->next], h->entry, until_us))
            return;
    if (!is_leaving(l))
        handed_on(l);
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

/* False: no memory, or no room, it was not asked for. */
static bool put_checkpoint(struct subscriber *s, uint64_t number, uint64_t position)
{
    struct log_entry *e;
    if (entry_new(LOG_CHECKPOINT, &e) < 0)
        return false;
    e->number = number;
    e->position = position;
    bool taken = put(s, e, true);
    log_entry_unref(e);
    return taken;
}

/* What was not asked for, for want of memory or of room, is asked for when the next one is due, be there more by then or not. */
static void ask(struct log *l, int64_t interval_us)
{
    struct checkpoints *c = &l->checkpoints;
    const struct log_keeper *k = &l->options.keeper;
    const uint64_t before = c->asked;
    c->number++;
    c->asked = position_of(l);
    c->asked_us = clock_monotonic_us();
    c->running = true;
    fault_point("checkpoint_begin");
    for (size_t i = 0; i < l->n_subscribers; i++)
        if (!has_failed(l->subscriber[i]) && !l->subscriber[i]->behind &&
            stored_of(l->subscriber[i]) < c->asked) {
            atomic_store_explicit(&l->subscriber[i]->answered, false,
                                  memory_order_relaxed);
            c->running &= put_checkpoint(l->subscriber[i], c->number, c->asked);
        }
    if (k->keep)
        c->running &= k->keep(k->ctx, c->asked) == 0;
    if (!c->running) {
        c->asked = before;
        c->next_us = c->asked_us + interval_us;
    }
}

/* Nobody needs entries up to here to start again. */
static uint64_t least_stored(const struct log *l)
{
    uint64_t least = l->options.keeper.keep
                         ? atomic_load_explicit(&l->kept, memory_order_relaxed)
                         : position_of(l);
    for (size_t i = 0; i < l->n_subscribers; i++) {
        const struct subscriber *s = l->subscriber[i];
        if (stored_of(s) < least && !s->given_up)
            least = stored_of(s);
    }
    return least;
}

/* All have stored what was asked for, or, where rows wait for those of another stream, as much of it as they can. */
static bool all_answered(const struct log *l, uint64_t asked)
{
    bool answered = !l->options.keeper.keep ||
                    atomic_load_explicit(&l->kept, memory_order_relaxed) >= asked;
    for (size_t i = 0; answered && i < l->n_subscribers; i++) {
        const struct subscriber *s = l->subscriber[i];
        answered = stored_of(s) >= asked || has_failed(s) || s->behind ||
                   atomic_load_explicit(&s->answered, memory_order_relaxed);
    }
    return answered;
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
        logger_error(
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
    journal_trim(l->journal, least_stored(l) + 1);
}

/* Is the running one done, is the next one due? */
static void look_at_checkpoints(struct log *l)
{
    struct checkpoints *c = &l->checkpoints;
    int64_t interval_us = l->options.checkpoint_interval_us;
    int64_t now_us = clock_monotonic_us();
    if (!interval_us)
        return;
    if (c->running && all_answered(l, c->asked)) {
        c->running = false;
        int64_t rested_us = now_us + CHECKPOINT_REST * (now_us - c->asked_us);
        c->next_us = c->asked_us + interval_us;
        c->next_us = rested_us > c->next_us ? rested_us : c->next_us;
        trim(l);
    }
    if (c->running)
        return;
    if (position_of(l) > c->asked && (now_us >= c->next_us || under_pressure(l))) {
        if (!l->handing.entry) /* otherwise some may have it, and others not */
            ask(l, interval_us);
    } else if (atomic_load_explicit(&l->no_room, memory_order_relaxed))
        trim(l); /* nothing new comes in until there is room */
}

static int64_t next_look_us(const struct log *l)
{
    const struct checkpoints *c = &l->checkpoints;
    if (!l->options.checkpoint_interval_us)
        return INT64_MAX;
    if (c->running || atomic_load_explicit(&l->no_room, memory_order_relaxed))
        return clock_monotonic_us() + LOOK_US;
    if (position_of(l) > c->asked && !l->handing.entry)
        return c->next_us;
    return INT64_MAX;
}

/* ---- The end ---------------------------------------------------------------------------------- */

static void put_ends(struct log *l)
{
    for (size_t i = 0; i < l->n_subscribers; i++) {
        struct log_entry *e;
        if (entry_new(LOG_END, &e) < 0) {
            logger_error("log", "stream '%s': no memory to close the windows of '%s'",
                         l->name, l->subscriber[i]->sink.pipeline);
            continue;
        }
        e->position = position_of(l);
        put_now(l, l->subscriber[i], e);
        log_entry_unref(e);
    }
}

static void finish(struct log *l)
{
    if (atomic_load_explicit(&l->failed, memory_order_relaxed) || /* `end` is not set */
        is_leaving(l) || l->end == LOG_LEAVE)
        return;
    if (l->end == LOG_FINISH)
        put_ends(l);
    l->checkpoints.number++;
    for (size_t i = 0; i < l->n_subscribers; i++)
        if (!has_failed(l->subscriber[i]) && !l->subscriber[i]->behind)
            put_checkpoint(l->subscriber[i], l->checkpoints.number, position_of(l));
    if (l->options.keeper.keep)
        l->options.keeper.keep(l->options.keeper.ctx, position_of(l));
}

/* The journal has what is dropped. */
static void leave(struct log *l)
{
    struct log_entry *e;
    bool end;
    log_entry_unref(l->handing.entry);
    l->handing.entry = NULL;
    while ((e = backlog_pop(&l->backlog, &end)))
        log_entry_unref(e);
}

/* Until there is nothing more, or something is waited for. Returns when to go on. */
static int64_t hand_on_all(struct log *l, bool *ret_end)
{
    int64_t until_us = clock_monotonic_us() + TURN_US;
    while (clock_monotonic_us() < until_us) {
        struct log_entry *e =
            l->handing.entry ? NULL : backlog_pop(&l->backlog, ret_end);
        if (e)
            take(l, e);
        if (!l->handing.entry)
            return TASK_SLEEPS;
        int64_t again_us = hand_on(l);
        if (again_us)
            return again_us;
        look_at_checkpoints(l);
    }
    return TASK_AGAIN;
}

int64_t dispatch_run(void *log)
{
    struct log *l = log;
    bool end = false;
    if (l->dispatched)
        return TASK_SLEEPS;
    if (is_leaving(l))
        leave(l);
    int64_t again_us = hand_on_all(l, &end);
    if (end) {
        finish(l);
        log_ended(l, &l->dispatched);
        return TASK_SLEEPS;
    }
    if (!is_leaving(l))
        look_at_checkpoints(l);
    int64_t look_us = next_look_us(l);
    return again_us < look_us ? again_us : look_us;
}

/* ---- Commands from other threads -------------------------------------------------------------- */

void log_room(struct log *l)
{
    task_wake(&l->dispatcher);
}

int log_call(struct log *l, void (*function)(void *ctx), void *ctx)
{
    return log_call_until(l, INT64_MAX, function, ctx);
}

int log_call_until(struct log *l, int64_t until_us, void (*function)(void *ctx),
                   void *ctx)
{
    if (!l->started)
        return -ESHUTDOWN;
    const pthread_t self = pthread_self();
    if (pthread_equal(atomic_load_explicit(&l->caller, memory_order_relaxed), self)) {
        function(ctx);
        return 0;
    }
    task_hold(&l->dispatcher);
    bool runs = !l->dispatched && !is_leaving(l);
    if (runs)
        hand_on_until(l, until_us);
    const bool late = runs && l->handing.entry && !is_leaving(l);
    runs = runs && !l->handing.entry;
    if (runs) {
        atomic_store_explicit(&l->caller, self, memory_order_relaxed);
        function(ctx);
        atomic_store_explicit(&l->caller, (pthread_t)0, memory_order_relaxed);
    }
    task_release(&l->dispatcher);
    task_wake(&l->dispatcher); /* much may be otherwise than before */
    return runs ? 0 : late ? -ETIMEDOUT : -ESHUTDOWN;
}

/* Those that are left stay as they are, and want no dictionaries: pipelines that are held. -ENOMEM */
static int widen_subscribers(struct log *l, size_t n)
{
    for (size_t i = 0; i < l->n_subscribers; i++) {
        bool *dictionary = calloc(n, sizeof(*dictionary));
        if (!dictionary)
            return -ENOMEM;
        free(l->subscriber[i]->dictionary);
        l->subscriber[i]->dictionary = dictionary;
    }
    return 0;
}

int log_change(struct log *l, const struct log_columns *to, struct error *error)
{
    struct derive *derive = NULL;
    size_t *dictionary = calloc(to->columns->n, sizeof(*dictionary));
    int r = dictionary ? widen_subscribers(l, to->columns->n) : -ENOMEM;
    if (r < 0)
        error_set(error, r, "no memory");
    else
        r = derive_new(to->columns, to->derived, to->n_derived, &derive, error);
    if (r < 0) {
        free(dictionary);
        return r;
    }
    free(l->dictionary);
    derive_free(l->derive);
    l->dictionary = dictionary;
    l->derive = derive;
    l->schema = to->schema;
    l->columns = to->columns;
    return 0;
}

void log_checkpoint(struct log *l, const char *pipeline)
{
    size_t i = log_find_subscriber(l, pipeline);
    struct log_entry *e;
    if (i == l->n_subscribers || l->subscriber[i]->behind ||
        entry_new(LOG_CHECKPOINT, &e) < 0)
        return;
    e->number = ++l->checkpoints.number;
    e->position = position_of(l);
    if (e->position < l->subscriber[i]->sink.position) /* it began behind what waits */
        e->position = l->subscriber[i]->sink.position;
    put_now(l, l->subscriber[i], e);
    log_entry_unref(e);
}

/* What keeps all of it from being stored at one position; NULL: nothing does. */
static const char *is_apart(const struct subscriber *s)
{
    if (has_failed(s) || s->given_up)
        return "has failed";
    return s->behind ? "is behind" : NULL;
}

int log_settle(struct log *l, struct error *error)
{
    struct checkpoints *c = &l->checkpoints;
    const struct log_keeper *k = &l->options.keeper;
    const uint64_t position = position_of(l);
    if (!log_is_ready(l))
        return error_set(error, -EBUSY, "stream '%s': the journal is still being read",
                         l->name);
    for (size_t i = 0; i < l->n_subscribers; i++)
        if (is_apart(l->subscriber[i]))
            return error_set(error, -EBUSY, "pipeline '%s' %s",
                             l->subscriber[i]->sink.pipeline,
                             is_apart(l->subscriber[i]));
    c->number++;
    for (size_t i = 0; i < l->n_subscribers; i++) {
        struct log_entry *e;
        if (stored_of(l->subscriber[i]) >= position)
            continue;
        if (entry_new(LOG_CHECKPOINT, &e) < 0)
            return error_set(error, -ENOMEM, "no memory");
        e->number = c->number;
        e->position = position;
        const bool taken = put_now(l, l->subscriber[i], e);
        log_entry_unref(e);
        if (!taken)
            return error_set(error, -ESHUTDOWN, "the server stops");
    }
    if (k->keep && atomic_load_explicit(&l->kept, memory_order_relaxed) < position &&
        k->keep(k->ctx, position) < 0)
        return error_set(error, -EIO, "the store takes nothing");
    c->asked = position;
    c->asked_us = clock_monotonic_us();
    c->running = true;
    return 0;
}

int log_is_settled(const struct log *l, struct error *error)
{
    const uint64_t position = position_of(l);
    if (is_leaving(l))
        return error_set(error, -ESHUTDOWN, "the server stops");
    for (size_t i = 0; i < l->n_subscribers; i++) {
        if (is_apart(l->subscriber[i]))
            return error_set(error, -EBUSY, "pipeline '%s' %s",
                             l->subscriber[i]->sink.pipeline,
                             is_apart(l->subscriber[i]));
        if (stored_of(l->subscriber[i]) < position)
            return 0;
    }
    return !l->options.keeper.keep ||
           atomic_load_explicit(&l->kept, memory_order_relaxed) >= position;
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

/* The last one has come in the place of one of its name. */
static void remove_older(struct log *l)
{
    const char *name = l->subscriber[l->n_subscribers - 1]->sink.pipeline;
    size_t i = log_find_subscriber(l, name);
    if (i < l->n_subscribers - 1)
        log_remove_subscriber(l, i);
}

struct catch_up {
    struct log *log;
    struct subscriber *subscriber;
};

static int catch_up_entry(void *ctx, struct log_entry *e)
{
    struct catch_up *c = ctx;
    int r = 0;
    if (is_for(e, c->subscriber) &&
        (e->kind != LOG_BATCH || (r = prepare(c->log, e)) == 0))
        r = put_now(c->log, c->subscriber, e) ? 0 : -ESHUTDOWN;
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
    else
        remove_older(l);
    begin_checkpoints_anew(l);
    return r;
}

int log_hold(struct log *l, const struct log_sink *sink)
{
    size_t keys;
    int r = log_add_subscriber(l, sink, &keys);
    if (r < 0)
        return r;
    size_t older = log_find_subscriber(l, sink->pipeline);
    struct subscriber *s = l->subscriber[l->n_subscribers - 1];
    if (stored_of(l->subscriber[older]) < stored_of(s))
        atomic_store_explicit(&s->stored, stored_of(l->subscriber[older]),
                              memory_order_relaxed);
    remove_older(l);
    return 0;
}

/* ---- A pipeline that is behind ---------------------------------------------------------------- */

int log_subscribe_behind(struct log *l, const struct log_sink *sink, size_t *ret_keys)
{
    int r = log_add_subscriber(l, sink, ret_keys);
    begin_checkpoints_anew(l);
    return r;
}

/* The columns, keys and number of an entry are the dispatcher's: it is held for them, not while there is no room. */
static int prepare_behind(struct log *l, struct log_entry *e)
{
    int r = 0;
    task_hold(&l->dispatcher);
    if (l->dispatched || is_leaving(l))
        r = -ECANCELED;
    else if (e->kind == LOG_BATCH)
        r = prepare(l, e);
    else if (e->kind == LOG_CHECKPOINT)
        e->number = ++l->checkpoints.number;
    task_release(&l->dispatcher);
    task_wake(&l->dispatcher);
    return r;
}

/* It stays as long as it is behind, wherever it is in the list. */
static struct subscriber *find_behind(struct log *l, const char *pipeline)
{
    pthread_mutex_lock(&l->subscribers_lock);
    size_t i = log_find_subscriber(l, pipeline);
    struct subscriber *s = i < l->n_subscribers ? l->subscriber[i] : NULL;
    pthread_mutex_unlock(&l->subscribers_lock);
    return s;
}

static int put_behind(struct log *l, struct subscriber *s, struct log_entry *e,
                      const _Atomic bool *stop)
{
    int r = prepare_behind(l, e);
    while (r == 0 && !put(s, e, false)) {
        if (is_leaving(l) || has_failed(s) ||
            atomic_load_explicit(stop, memory_order_relaxed))
            r = -ECANCELED;
        else
            clock_sleep_us(ROOM_US);
    }
    log_entry_unref(e);
    return r == 0 && has_failed(s) ? -ECANCELED : r;
}

int log_put_behind(struct log *l, const char *pipeline, struct log_entry *e,
                   const _Atomic bool *stop)
{
    struct subscriber *s = find_behind(l, pipeline);
    if (s)
        return put_behind(l, s, e, stop);
    log_entry_unref(e);
    return -ECANCELED;
}

struct behind {
    struct log *log;
    struct subscriber *subscriber;
    const _Atomic bool *stop;
    struct error *error;
    uint64_t position; /* it has all entries up to here */
    int64_t next_us;   /* of a checkpoint */
    int r;
};

/* Where it goes on if it all ends before it has caught up. */
static int checkpoint_behind(struct behind *b)
{
    struct log_entry *e;
    int64_t interval_us = b->log->options.checkpoint_interval_us;
    if (!interval_us || clock_monotonic_us() < b->next_us)
        return 0;
    b->next_us = clock_monotonic_us() + interval_us;
    if (entry_new(LOG_CHECKPOINT, &e) < 0)
        return 0;
    e->position = b->position;
    return put_behind(b->log, b->subscriber, e, b->stop);
}

static int read_behind(void *ctx, struct log_entry *e)
{
    struct behind *b = ctx;
    uint64_t position = e->position;
    fault_point("catch_up");
    if (atomic_load_explicit(b->stop, memory_order_relaxed)) {
        log_entry_unref(e);
        return -ECANCELED;
    }
    int r = 0;
    if (is_for(e, b->subscriber))
        r = put_behind(b->log, b->subscriber, e, b->stop);
    else
        log_entry_unref(e);
    if (r < 0)
        return r;
    b->position = position;
    return checkpoint_behind(b);
}

/* Within log_call: the rest, and from here on it is as the others. */
static void read_last(void *ctx)
{
    struct behind *b = ctx;
    struct log *l = b->log;
    struct catch_up c = {.log = l, .subscriber = b->subscriber};
    b->r = replay_range(l, b->position, position_of(l), catch_up_entry, &c, b->error);
    if (b->r < 0)
        return;
    pthread_mutex_lock(&l->subscribers_lock);
    b->subscriber->behind = false;
    if (b->subscriber->sink.position < position_of(l))
        b->subscriber->sink.position = position_of(l);
    pthread_mutex_unlock(&l->subscribers_lock);
    begin_checkpoints_anew(l);
}

int log_catch_up(struct log *l, const char *pipeline, const _Atomic bool *stop,
                 struct error *error)
{
    struct behind b = {.log = l,
                       .subscriber = find_behind(l, pipeline),
                       .stop = stop,
                       .error = error,
                       .next_us = INT64_MIN};
    if (!b.subscriber)
        return -ECANCELED;
    b.position = b.subscriber->sink.position;
    /* Each round is as long as what came during the one before. */
    for (uint64_t end; (end = position_of(l)) > b.position + CATCH_UP_ENTRIES;) {
        int r = replay_range(l, b.position, end, read_behind, &b, error);
        if (r < 0)
            return r;
        b.position = end;
    }
    int r = log_call(l, read_last, &b);
    return r < 0 ? -ECANCELED : b.r;
}
