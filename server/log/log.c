/* SPDX-License-Identifier: Apache-2.0
 *
 * The log as others see it: making, subscribing, starting, ending, names of sources.
 */
#include "log/log.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/logger.h"
#include "log/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BEGUN_AHEAD_US (60 * SECOND_US)

/* ---- Coming in -------------------------------------------------------------------------------- */

static int append(struct log *l, const struct request *r, bool wait)
{
    assert(r->source < LOG_SOURCES_MAX);
    if (r->bookmark && bookmarks_room(l) < 0)
        return -ENOMEM;
    return intake_append(l->intake, r, wait);
}

int log_append(struct log *l, const struct request *r)
{
    return append(l, r, false);
}

int log_append_wait(struct log *l, const struct request *r)
{
    return append(l, r, true);
}

void log_cancel(struct log *l, struct ticket *t)
{
    intake_cancel(l->intake, t);
}

void log_wait(struct log *l, struct waiter *w)
{
    intake_wait(l->intake, w);
}

void log_unwait(struct log *l, struct waiter *w)
{
    intake_unwait(l->intake, w);
}

bool log_is_ready(struct log *l)
{
    return atomic_load_explicit(&l->ready, memory_order_acquire);
}

bool log_has_room(struct log *l, struct error *ret)
{
    int why = atomic_load_explicit(&l->no_room, memory_order_relaxed);
    if (l->journal && !l->options.read_only && journal_check(l->journal, ret) < 0)
        error_prefix(ret, "the journal");
    else if (why)
        error_set(ret, why, "%s",
                  why == -EDQUOT   ? "the journal has reached its limit"
                  : why == -ENOMEM ? "there is no memory for the journal"
                  : why == -ESTALE ? "the journal was not where it was"
                                   : "the disk has no room for the journal");
    else
        return true;
    return false;
}

bool log_failed(struct log *l, struct error *ret)
{
    if (!atomic_load_explicit(&l->failed, memory_order_acquire))
        return false;
    *ret = l->error;
    return true;
}

uint64_t log_derive_errors(const struct log *l)
{
    return atomic_load_explicit(&l->derive_errors, memory_order_relaxed);
}

bool log_knows_requests(struct log *l)
{
    return log_is_ready(l) && idempotency_known(l->idempotency);
}

int log_key_begin(struct log *l, const char *key, size_t size,
                  struct request_known *ret)
{
    return log_is_ready(l)
               ? idempotency_begin(l->idempotency, key, size, clock_unstepped_us(), ret)
               : -EAGAIN;
}

void log_key_abandon(struct log *l, const char *key, size_t size)
{
    idempotency_abandon(l->idempotency, key, size);
}

int log_know_request(struct log *l, const struct request_id *key, int64_t taken_us)
{
    return idempotency_complete(l->idempotency, key, taken_us);
}

int log_keys(struct log *l, uint64_t after, uint64_t up_to,
             int (*call)(void *ctx, const struct request_id *key, int64_t taken_us),
             void *ctx)
{
    return idempotency_each(l->idempotency, after, up_to, call, ctx);
}

/* ---- Sources ---------------------------------------------------------------------------------- */

/* All of these with names_lock held. */

static bool is_called(const struct log *l, uint32_t i, const char *name, size_t size)
{
    return !strncmp(l->source_name[i], name, size) && !l->source_name[i][size];
}

/* Stand for names that went with damaged frames, "?2", in any log. */
static char lost_name[LOG_SOURCES_MAX][8];

static void make_lost_names(void)
{
    for (unsigned i = 0; i < LOG_SOURCES_MAX; i++)
        snprintf(lost_name[i], sizeof(lost_name[i]), "?%u", i);
}

static bool is_lost(const struct log *l, uint32_t i)
{
    return l->source_name[i] == lost_name[i];
}

/* Where the number of a name is, or would be. */
static uint16_t *find_name(struct log *l, const char *name, size_t size)
{
    size_t mask = sizeof(l->name_number) / sizeof(l->name_number[0]) - 1;
    size_t i = hash_bytes(name, size) & mask;
    while (l->name_number[i] && !is_called(l, l->name_number[i], name, size))
        i = (i + 1) & mask;
    return &l->name_number[i];
}

/* Of the next number, or of one whose name was lost. -ENOSPC, -ENOMEM. */
static int set_name(struct log *l, uint32_t i, const char *name, size_t size)
{
    if (i == LOG_SOURCES_MAX)
        return -ENOSPC;
    char *copy = strndup(name, size);
    if (!copy)
        return -ENOMEM;
    l->source_name[i] = copy;
    *find_name(l, name, size) = (uint16_t)i;
    l->n_sources += i == l->n_sources;
    if (strncmp(copy, LOG_GUEST_NAME, sizeof(LOG_GUEST_NAME) - 1) == 0)
        log_there(l, i, false);
    return 0;
}

/* Numbers below `n` that have no name get one that no producer can have. */
static void add_lost_names(struct log *l, uint32_t n)
{
    static pthread_once_t made = PTHREAD_ONCE_INIT;
    pthread_once(&made, make_lost_names);
    for (uint32_t i = l->n_sources; i < n; i++) {
        l->source_name[i] = lost_name[i];
        l->n_sources = i + 1;
    }
}

int log_source(struct log *l, const char *name, size_t size, uint32_t *ret)
{
    if (!log_is_ready(l))
        return -EAGAIN; /* the journal may know it by a number */
    pthread_mutex_lock(&l->names_lock);
    uint32_t i = *find_name(l, name, size);
    int r = 0;
    if (!i) {
        i = l->n_sources;
        r = set_name(l, i, name, size);
    }
    pthread_mutex_unlock(&l->names_lock);
    if (r == 0)
        *ret = i;
    return r;
}

const char *log_source_name(struct log *l, uint32_t source)
{
    pthread_mutex_lock(&l->names_lock);
    const char *name = source && source < l->n_sources ? l->source_name[source] : "";
    pthread_mutex_unlock(&l->names_lock);
    return name;
}

/* ---- What arrives ----------------------------------------------------------------------------- */

struct origin *log_origin(struct log *l)
{
    return origins_add(&l->origins);
}

void log_origin_end(struct origin *o)
{
    origin_end(o);
}

void log_alive(struct log *l, uint32_t source, struct origin *o)
{
    _Atomic uint64_t *bits = &l->alive[source / 64];
    uint64_t bit = UINT64_C(1) << source % 64;
    if (!(atomic_load_explicit(bits, memory_order_relaxed) & bit))
        atomic_fetch_or_explicit(bits, bit, memory_order_relaxed);
    if (o && !atomic_load_explicit(&o->heard, memory_order_relaxed))
        atomic_store_explicit(&o->heard, true, memory_order_relaxed);
}

void log_there(struct log *l, uint32_t source, bool there)
{
    uint64_t bit = UINT64_C(1) << source % 64;
    if (there)
        atomic_fetch_and_explicit(&l->gone[source / 64], ~bit, memory_order_relaxed);
    else
        atomic_fetch_or_explicit(&l->gone[source / 64], bit, memory_order_relaxed);
}

void log_waits(struct log *l, uint32_t source, struct origin *o, bool on)
{
    if (on)
        atomic_fetch_add_explicit(&l->waits[source], 1, memory_order_relaxed);
    else
        atomic_fetch_sub_explicit(&l->waits[source], 1, memory_order_relaxed);
    origin_busy(o, on);
}

/* Numbers were given in order, so that the journal brings them in order. */
int log_learn_source(struct log *l, uint32_t number, const char *name, size_t size)
{
    int r = 0;
    pthread_mutex_lock(&l->names_lock);
    if (l->skip_damaged)
        add_lost_names(l, number);
    if (number == l->n_sources || (number < l->n_sources && is_lost(l, number)))
        r = set_name(l, number, name, size);
    else if (number > l->n_sources || !is_called(l, number, name, size))
        r = -EBADMSG;
    pthread_mutex_unlock(&l->names_lock);
    return r;
}

void log_reserve_source(struct log *l, uint32_t number)
{
    pthread_mutex_lock(&l->names_lock);
    add_lost_names(l, number + 1);
    pthread_mutex_unlock(&l->names_lock);
}

/* ---- Subscribers ------------------------------------------------------------------------------ */

/* The key list's index; made if need be, in a place that nobody uses any more if there is one. -ENOMEM. */
static int find_key_list(struct log *l, const size_t *column, size_t n, size_t *ret)
{
    size_t at = l->n_keys;
    for (size_t i = 0; i < l->n_keys; i++) {
        const struct key_list *k = &l->keys[i];
        bool same =
            k->n == n && (!n || !memcmp(k->column, column, n * sizeof(*column)));
        if (same && k->users) {
            *ret = i;
            return 0;
        }
        at = k->users || at < l->n_keys ? at : i;
    }
    size_t *copy = calloc(n + 1, sizeof(*copy));
    struct key_list *keys =
        at < l->n_keys ? l->keys : realloc(l->keys, (at + 1) * sizeof(*keys));
    if (keys)
        l->keys = keys;
    if (!keys || !copy) {
        free(copy);
        return -ENOMEM;
    }
    if (n)
        memcpy(copy, column, n * sizeof(*copy));
    if (at < l->n_keys)
        free(keys[at].column);
    keys[at] = (struct key_list){.column = copy, .n = n};
    l->n_keys += at == l->n_keys;
    *ret = at;
    return 0;
}

static void subscriber_free(struct subscriber *s)
{
    if (!s)
        return;
    free((char *)(uintptr_t)s->sink.pipeline);
    free(s->dictionary);
    free(s);
}

static struct subscriber *subscriber_new(const struct log_sink *sink, size_t n_columns)
{
    struct subscriber *s = calloc(1, sizeof(*s));
    char *name = strdup(sink->pipeline);
    bool *dictionary = calloc(n_columns, sizeof(*dictionary));
    if (!s || !name || !dictionary) {
        free(dictionary);
        free(name);
        free(s);
        return NULL;
    }
    if (sink->dictionary)
        memcpy(dictionary, sink->dictionary, n_columns * sizeof(*dictionary));
    s->dictionary = dictionary;
    s->sink = *sink;
    s->sink.pipeline = name;
    s->sink.key = NULL;
    s->sink.dictionary = NULL;
    s->sink.source_us = NULL;
    s->behind = sink->behind;
    silence_init(&s->silence);
    atomic_init(&s->stored, sink->position);
    return s;
}

/* Silence may have taken its watermark beyond the newest event; a run over files, up to the end of a window that may
 * last for days: that is not followed. */
static void note_begun(struct log *l, const struct log_sink *sink)
{
    int64_t us = sink->newest_us;
    if (us != INT64_MIN && sink->watermark_us > us)
        us = sink->watermark_us < us + BEGUN_AHEAD_US ? sink->watermark_us
                                                      : us + BEGUN_AHEAD_US;
    if (us > l->begun_us)
        l->begun_us = us;
}

/* Sources that it has heard of before, so that their silence can be noticed. Connections without a name may have sent
 * rows and reached nothing yet, as one of them held the others back. */
static void know_sources(struct log *l, const struct log_sink *sink)
{
    for (uint32_t i = 0; i < sink->n_sources && i < LOG_SOURCES_MAX; i++)
        if (i == 0 || sink->source_us[i] != INT64_MIN)
            sources_heard(&l->sources, i,
                          sink->source_us[i] == LOG_HOLDS_US ? INT64_MIN
                                                             : sink->source_us[i],
                          gather_now(l));
    if (sink->n_sources && sink->source_us[0] > l->reached_us)
        l->reached_us = sink->source_us[0];
    if (sink->n_sources && sink->newest_us > l->sources.max_us)
        l->sources.max_us = sink->newest_us;
    if (sink->n_sources)
        note_begun(l, sink);
}

/* Other threads look at the list with the lock held only. -ENOMEM. */
static int list_subscriber(struct log *l, struct subscriber *s)
{
    pthread_mutex_lock(&l->subscribers_lock);
    struct subscriber **list =
        realloc(l->subscriber, (l->n_subscribers + 1) * sizeof(*list));
    if (list) {
        l->subscriber = list;
        l->subscriber[l->n_subscribers++] = s;
    }
    pthread_mutex_unlock(&l->subscribers_lock);
    return list ? 0 : -ENOMEM;
}

int log_add_subscriber(struct log *l, const struct log_sink *sink, size_t *ret_keys)
{
    struct subscriber *s = subscriber_new(sink, l->columns->n);
    int r = s ? find_key_list(l, sink->key, sink->n_keys, ret_keys) : -ENOMEM;
    if (r == 0)
        r = list_subscriber(l, s);
    if (r < 0) {
        subscriber_free(s);
        return r;
    }
    s->keys = *ret_keys;
    l->keys[s->keys].users++;
    for (size_t i = 0; i < l->columns->n; i++)
        l->dictionary[i] += s->dictionary[i];
    gather_look_again(l);
    return 0;
}

void log_remove_subscriber(struct log *l, size_t i)
{
    pthread_mutex_lock(&l->subscribers_lock);
    struct subscriber *s = l->subscriber[i];
    l->n_subscribers--;
    memmove(&l->subscriber[i], &l->subscriber[i + 1],
            (l->n_subscribers - i) * sizeof(l->subscriber[0]));
    pthread_mutex_unlock(&l->subscribers_lock);
    l->keys[s->keys].users--;
    for (size_t k = 0; k < l->columns->n; k++)
        l->dictionary[k] -= s->dictionary[k];
    subscriber_free(s);
}

size_t log_find_subscriber(const struct log *l, const char *pipeline)
{
    size_t i = 0;
    while (i < l->n_subscribers && strcmp(l->subscriber[i]->sink.pipeline, pipeline))
        i++;
    return i;
}

int log_subscribe(struct log *l, const struct log_sink *sink, size_t *ret_keys)
{
    int r = log_add_subscriber(l, sink, ret_keys);
    if (r == 0)
        know_sources(l, sink);
    return r;
}

void log_stored(struct log *l, const char *pipeline, uint64_t position)
{
    pthread_mutex_lock(&l->subscribers_lock);
    size_t i = log_find_subscriber(l, pipeline);
    if (i < l->n_subscribers) {
        atomic_store_explicit(&l->subscriber[i]->stored, position,
                              memory_order_relaxed);
        atomic_store_explicit(&l->subscriber[i]->answered, true, memory_order_relaxed);
    }
    bool found = i < l->n_subscribers;
    pthread_mutex_unlock(&l->subscribers_lock);
    if (found) /* a checkpoint may be complete */
        task_wake(&l->dispatcher);
}

void log_kept(struct log *l, uint64_t position)
{
    atomic_store_explicit(&l->kept, position, memory_order_relaxed);
    task_wake(&l->dispatcher);
}

int64_t log_newest(const struct log *l)
{
    return l->begun_us;
}

uint64_t log_first(const struct log *l)
{
    return l->journal ? journal_first(l->journal) : l->position + 1;
}

uint64_t log_last(const struct log *l)
{
    return l->started ? atomic_load_explicit(&l->handed_on, memory_order_relaxed)
                      : l->position;
}

uint64_t log_written(const struct log *l)
{
    return l->journal ? journal_end(l->journal) - 1 : log_last(l);
}

/* ---- Making and ending ------------------------------------------------------------------------ */

static double read_rows(void *intake)
{
    return (double)intake_rows(intake);
}

static int add_metrics(struct log *l, struct metrics *m)
{
    const struct {
        const char *name, *help;
        const _Atomic uint64_t *value;
    } all[] = {
        {"weir_log_batches_total", "Batches handed to pipelines.", &l->batches},
        {"weir_log_events_total", "Events handed to pipelines.", &l->batch_rows},
        {"weir_log_replayed_events_total",
         "Events read from the journal again at start.", &l->replayed},
        {"weir_log_unreadable_batches_total",
         "Batches of the journal that were passed over: their schema was lost.",
         &l->unreadable},
        {"weir_log_derive_errors_total",
         "Values of derived columns that could not be computed and are null.",
         &l->derive_errors},
    };
    char labels[128];
    snprintf(labels, sizeof(labels), "stream=\"%s\"", l->name);
    int r = metrics_add_call(m, METRIC_GAUGE, "weir_log_queue_events",
                             "Events that the pipelines do not have yet.", labels,
                             read_rows, l->intake);
    for (size_t i = 0; r == 0 && i < sizeof(all) / sizeof(all[0]); i++)
        r = metrics_add(m, METRIC_COUNTER, all[i].name, all[i].help, labels,
                        all[i].value, 1);
    return r;
}

/* The database may know more than the journal: a run over files writes none. It is begun anew then, unless
 * somebody still needs what it has. */
static int follow_database(struct log *l, struct error *error)
{
    uint64_t end = journal_end(l->journal);
    if (end > l->position)
        return 0;
    bool needed = journal_first(l->journal) != end && l->options.least + 1 < end;
    if (needed && !l->skip_damaged)
        return error_set(
            error, -EBADMSG,
            "the journal of stream '%s' ends at %llu, but the database has "
            "seen entry %llu: they do not belong together "
            "(weir serve --skip-damaged begins it anew)",
            l->name, (unsigned long long)end - 1, (unsigned long long)l->position);
    if (needed)
        logger_error("log",
                     "stream '%s': the journal ends at %llu, but the database has seen "
                     "entry %llu; it is begun anew",
                     l->name, (unsigned long long)end - 1,
                     (unsigned long long)l->position);
    int r = journal_restart(l->journal, l->position + 1);
    return r < 0
               ? error_set(error, r, "the journal of stream '%s' cannot go on at %llu",
                           l->name, (unsigned long long)l->position + 1)
               : 0;
}

static int open_journal(struct log *l, struct metrics *metrics, struct error *error)
{
    struct journal_options o = *l->options.journal;
    o.stream = l->name;
    o.begin_segment = gather_begin_segment;
    o.ctx = l;
    int r = journal_open(&o, metrics, &l->journal, error);
    if (r < 0)
        return r;
    l->journal_limit = o.limit;
    l->skip_damaged = o.skip_damaged;
    r = follow_database(l, error);
    if (r < 0)
        return r;
    l->position = journal_end(l->journal) - 1;
    return 0;
}

static int make_parts(struct log *l, struct metrics *metrics, struct error *error)
{
    const struct idempotency_options known = {.stream = l->name,
                                              .max_keys = l->options.idempotency_keys,
                                              .retain_us =
                                                  l->options.idempotency_retain_us};
    int r = l->name && l->dictionary ? idempotency_new(&known, metrics, &l->idempotency)
                                     : -ENOMEM;
    if (r == 0)
        r = intake_new(l->options.queue_events, LOG_QUEUE_BYTES, l->stored_max,
                       l->idempotency, &l->gatherer, &l->intake);
    if (r == 0)
        r = add_metrics(l, metrics);
    if (r < 0)
        return error_set(error, r, "no memory");
    if (l->options.n_derived &&
        (r = derive_new(l->columns, l->options.derived, l->options.n_derived,
                        &l->derive, error)) < 0)
        return r;
    return l->options.journal ? open_journal(l, metrics, error) : 0;
}

/* What both kinds of log have; rests of it are log_free's. */
static struct log *new_log(const char *name, const struct schema *schema,
                           const struct schema *columns, struct task *filler)
{
    struct log *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    l->name = strdup(name);
    l->schema = schema;
    l->columns = columns;
    l->n_sources = l->sources_written = 1;
    l->reached_us = l->begun_us = INT64_MIN;
    silence_step(&l->silence_clock, clock_monotonic_us());
    sources_init(&l->sources);
    origins_init(&l->origins);
    l->frame.last = &l->frame.items;
    l->later.last = &l->later.first;
    l->dictionary = calloc(columns->n, sizeof(*l->dictionary));
    l->tick_us = INT64_MAX;
    backlog_setup(&l->backlog, filler ? filler : &l->gatherer, &l->dispatcher);
    pthread_mutex_init(&l->end_lock, NULL);
    clock_cond_init(&l->ended);
    pthread_mutex_init(&l->names_lock, NULL);
    pthread_mutex_init(&l->subscribers_lock, NULL);
    return l;
}

int log_new_derived(const struct log_derived_options *options, struct log **ret,
                    struct error *error)
{
    struct log *l =
        new_log(options->name, options->schema, options->schema, options->filler);
    if (!l || !l->name || !l->dictionary) {
        log_free(l);
        return error_set(error, -ENOMEM, "no memory");
    }
    l->options = (struct log_options){.name = l->name, .back = options->back};
    l->gathered = true; /* nothing is */
    l->stored_max = UINT64_MAX;
    *ret = l;
    return 0;
}

void log_push(struct log *l, struct log_entry *e)
{
    backlog_push(&l->backlog, e);
}

bool log_is_full(struct log *l)
{
    return backlog_is_full(&l->backlog);
}

int log_new(const struct log_options *options, struct metrics *metrics,
            struct log **ret, struct error *error)
{
    struct log *l =
        new_log(options->name, options->schema,
                options->columns ? options->columns : options->schema, NULL);
    if (!l)
        return error_set(error, -ENOMEM, "no memory");
    l->options = *options;
    l->position = options->position;
    l->stored_max = options->journal && !options->read_only
                        ? request_stored_max(options->journal->limit)
                        : UINT64_MAX;
    atomic_init(&l->kept, options->kept);
    int r = make_parts(l, metrics, error);
    if (r < 0) {
        log_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

uint64_t log_least(const struct log *l, uint64_t position)
{
    for (size_t i = 0; i < l->n_subscribers; i++)
        if (l->subscriber[i]->sink.position < position)
            position = l->subscriber[i]->sink.position;
    return position;
}

int log_start(struct log *l, struct error *error)
{
    /* Entries from the journal move it on as they are handed on. */
    uint64_t position = l->journal ? log_least(l, l->position) : l->position;
    atomic_store_explicit(&l->handed_on, position, memory_order_relaxed);
    l->checkpoints.asked = position;
    l->checkpoints.next_us = clock_monotonic_us() + l->options.checkpoint_interval_us;
    if (task_begin(&l->dispatcher, l->options.back, dispatch_run, l) < 0 ||
        (l->intake && task_begin(&l->gatherer, l->options.front, gather_run, l) < 0))
        return error_set(error, -ENOMEM, "no memory");
    l->started = true;
    task_wake(&l->dispatcher); /* what it was told before it could be woken */
    if (!l->intake)
        return 0;
    if (!l->journal)
        gather_ready(l);
    task_wake(&l->gatherer);
    return 0;
}

void log_ended(struct log *l, bool *which)
{
    pthread_mutex_lock(&l->end_lock);
    *which = true;
    pthread_cond_broadcast(&l->ended);
    pthread_mutex_unlock(&l->end_lock);
}

static bool wait_for_end(struct log *l, const bool *which, int64_t deadline_us)
{
    int r = 0;
    pthread_mutex_lock(&l->end_lock);
    while (!*which && r != ETIMEDOUT)
        r = clock_cond_wait(&l->ended, &l->end_lock, deadline_us);
    bool ended = *which;
    pthread_mutex_unlock(&l->end_lock);
    return ended;
}

void log_end(struct log *l, enum log_end end)
{
    if (l->ending)
        return;
    l->ending = true;
    l->end = end;
    if (l->intake)
        intake_close(l->intake);
    else
        backlog_close(&l->backlog);
}

bool log_close(struct log *l, enum log_end end, int64_t deadline_us)
{
    bool whole = true;
    log_end(l, end);
    if (l->started) {
        whole = wait_for_end(l, &l->gathered, deadline_us) &&
                wait_for_end(l, &l->dispatched, deadline_us);
        if (!whole) {
            atomic_store_explicit(&l->leaving, true, memory_order_relaxed);
            backlog_close(&l->backlog); /* wakes both */
            wait_for_end(l, &l->gathered, INT64_MAX);
            wait_for_end(l, &l->dispatched, INT64_MAX);
        }
    }
    task_end(&l->gatherer);
    task_end(&l->dispatcher);
    l->started = false;
    return whole;
}

/* The database has all that the log has had. */
bool log_is_stored(struct log *l)
{
    bool all = !atomic_load_explicit(&l->failed, memory_order_acquire) &&
               (!l->options.keeper.keep ||
                atomic_load_explicit(&l->kept, memory_order_relaxed) >= l->position);
    for (size_t i = 0; i < l->n_subscribers; i++)
        all = all && atomic_load_explicit(&l->subscriber[i]->stored,
                                          memory_order_relaxed) >= l->position;
    return all;
}

void log_put_sources(struct log *l, struct buffer *to)
{
    pthread_mutex_lock(&l->names_lock);
    for (uint32_t i = 1; i < l->n_sources; i++)
        buffer_printf(to, "%s\n", l->source_name[i]);
    pthread_mutex_unlock(&l->names_lock);
}

/* An empty journal whose first frame says what sources are called: what is stored knows them by number. */
static int begin_anew(struct log *l, struct error *error)
{
    uint64_t first;
    int r = journal_restart(l->journal, l->position + 1);
    if (r < 0)
        return error_set(error, r, "%s", strerror(-r));
    l->sources_written = l->n_sources;
    return journal_commit(l->journal, 0, &first, error);
}

int log_take_sources(struct log *l, const char *names, struct error *error)
{
    uint32_t number = 1;
    int r = 0;
    for (const char *at = names; r == 0 && *at; number++) {
        const size_t size = strcspn(at, "\n");
        r = log_learn_source(l, number, at, size);
        at += size + (at[size] == '\n');
    }
    if (r < 0)
        return error_set(error, r, "stream '%s': the names of its sources: %s", l->name,
                         strerror(-r));
    return l->journal ? begin_anew(l, error) : 0;
}

void log_forget(struct log *l)
{
    struct error error = {0};
    if (!l->journal)
        return;
    if (!log_is_stored(l))
        logger_warn("log",
                    "stream '%s': not all is in the database, the journal is kept",
                    l->name);
    else if (begin_anew(l, &error) < 0)
        logger_error("log", "stream '%s': the journal cannot be begun anew: %s",
                     l->name, error.text);
}

void log_free(struct log *l)
{
    if (!l)
        return;
    if (l->intake || l->started)
        log_close(l, LOG_LEAVE, 0);
    log_entry_unref(l->handing.entry);
    backlog_free(&l->backlog);
    intake_free(l->intake);
    bookmarks_free(l);
    origins_free(&l->origins); /* behind what has them as origins */
    idempotency_free(l->idempotency);
    journal_close(l->journal);
    for (uint32_t i = 1; i < l->n_sources; i++)
        if (!is_lost(l, i))
            free(l->source_name[i]);
    for (size_t i = 0; i < l->n_keys; i++)
        free(l->keys[i].column);
    for (size_t i = 0; i < l->n_subscribers; i++)
        subscriber_free(l->subscriber[i]);
    free(l->keys);
    free(l->dictionary);
    derive_free(l->derive);
    free(l->subscriber);
    free(l->frame.entry);
    pthread_cond_destroy(&l->ended);
    pthread_mutex_destroy(&l->end_lock);
    pthread_mutex_destroy(&l->subscribers_lock);
    pthread_mutex_destroy(&l->names_lock);
    free(l->name);
    free(l);
}
