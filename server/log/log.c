/* SPDX-License-Identifier: Apache-2.0 */
#include "log/log.h"

#include "base/clock.h"
#include "base/logger.h"
#include "log/sources.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_US    50000  /* how often silence is looked for */
#define GATHER_MAX 32768u /* gathered rows that are worth no more waiting */

struct chunk {
    struct batch *batch;
    uint32_t source;
    size_t memory;
    struct chunk *next;
};

struct waiting {     /* of one source */
    uint32_t chunks; /* in the inbox */
    bool refused;    /* since silence was looked for last */
};

struct subscriber {
    struct log_sink sink;
    struct silence silence;
};

struct key_list {
    size_t *column;
    size_t n;
};

struct log {
    char *name;
    const struct schema *schema;
    uint64_t queue_events;
    int64_t linger_us;

    pthread_mutex_t lock; /* protects all down to n_sources */
    pthread_cond_t work;  /* for the log thread */
    pthread_cond_t room;  /* for log_append_wait */
    struct chunk *first, **last;
    uint64_t rows; /* in the inbox */
    size_t bytes;
    bool sleeping; /* the log thread waits for a first chunk */
    bool lingers;  /* it has gathered rows and waits for GATHER_MAX */
    bool closed, end;
    struct waiter *waiters;
    struct waiting waiting[LOG_SOURCES_MAX];
    char *source_name[LOG_SOURCES_MAX];
    uint32_t n_sources;

    /* The log thread's, once it runs. */
    pthread_t thread;
    bool started;
    struct subscriber *subscriber;
    size_t n_subscribers;
    struct key_list *keys;
    size_t n_keys;
    bool *dictionary; /* of each column */
    uint64_t position;
    struct source_clock clock[LOG_SOURCES_MAX];
    struct batch *open; /* gathered rows */
    uint32_t open_source;
    int64_t open_since_us;

    _Atomic uint64_t queued_rows, batches, batch_rows; /* metrics */
};

/* ---- Entries ---------------------------------------------------------------------------------- */

static struct log_entry *entry_new(struct log *l, enum log_kind kind, uint32_t refs)
{
    struct log_entry *e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    atomic_init(&e->refs, refs);
    e->kind = kind;
    e->position = ++l->position;
    e->n_columns = l->schema->n;
    return e;
}

void log_entry_unref(struct log_entry *e)
{
    if (!e || atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; e->keys && i < e->n_keys; i++)
        keys_free(e->keys[i]);
    for (size_t i = 0; e->dictionary && i < e->n_columns; i++)
        dictionary_free(e->dictionary[i]);
    free(e->keys);
    free(e->dictionary);
    batch_unref(e->batch);
    free(e);
}

/* The passes over whole columns that pipelines share. */
static int entry_prepare(struct log *l, struct log_entry *e)
{
    batch_seal(e->batch);
    e->n_keys = l->n_keys;
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

static void put_batch(struct log *l, uint32_t source, struct batch *b)
{
    struct log_entry *e = entry_new(l, LOG_BATCH, (uint32_t)l->n_subscribers + 1);
    if (!e) {
        log_error("log", "stream '%s': no memory, %u events are lost", l->name,
                  b->n_rows);
        batch_unref(b);
        return;
    }
    e->batch = b;
    e->source = source;
    int r = entry_prepare(l, e);
    if (r < 0) {
        log_error("log", "stream '%s': no memory, %u events are lost", l->name,
                  b->n_rows);
        atomic_store_explicit(&e->refs, 1, memory_order_relaxed);
        log_entry_unref(e);
        return;
    }
    metric_add(&l->batches, 1);
    metric_add(&l->batch_rows, b->n_rows);
    sources_heard(l->clock, source, b->span.max_us, clock_monotonic_us());
    for (size_t i = 0; i < l->n_subscribers; i++)
        l->subscriber[i].sink.put(l->subscriber[i].sink.ctx, e);
    log_entry_unref(e);
}

struct mark {
    struct log *log;
    const struct log_sink *sink;
};

static void put_mark(void *ctx, enum log_kind kind, uint32_t source, int64_t time_us)
{
    struct mark *m = ctx;
    struct log_entry *e = entry_new(m->log, kind, 1);
    if (!e)
        return; /* said again at the next tick, or by the next batch */
    e->source = source;
    e->time_us = time_us;
    m->sink->put(m->sink->ctx, e);
}

/* ---- The log thread --------------------------------------------------------------------------- */

static void flush_open(struct log *l)
{
    struct batch *b = l->open;
    l->open = NULL;
    if (b)
        put_batch(l, l->open_source, b);
}

/* Small chunks are copied together; large ones go on as they are. */
static void gather(struct log *l, struct chunk *c)
{
    if (l->open && (l->open_source != c->source ||
                    l->open->n_rows + c->batch->n_rows > BATCH_ROWS_MAX))
        flush_open(l);
    if (c->batch->n_rows >= LOG_GATHER_ROWS) {
        flush_open(l);
        put_batch(l, c->source, c->batch);
        return;
    }
    if (l->open && batch_append(l->open, c->batch) == 0) {
        batch_unref(c->batch);
        return;
    }
    flush_open(l);
    l->open = c->batch;
    l->open_source = c->source;
    l->open_since_us = clock_monotonic_us();
}

/* A source whose rows wait for the pipelines, or that was told to wait, is not silent. */
static uint32_t hear_waiting(struct log *l, int64_t now_us)
{
    pthread_mutex_lock(&l->lock);
    uint32_t n_sources = l->n_sources;
    for (uint32_t i = 0; i < n_sources; i++) {
        if (l->waiting[i].chunks || l->waiting[i].refused)
            sources_heard(l->clock, i, INT64_MIN, now_us);
        l->waiting[i].refused = false;
    }
    pthread_mutex_unlock(&l->lock);
    if (l->open)
        sources_heard(l->clock, l->open_source, INT64_MIN, now_us);
    return n_sources;
}

static void check_silence(struct log *l, int64_t now_us)
{
    uint32_t n_sources = hear_waiting(l, now_us);
    for (size_t i = 0; i < l->n_subscribers; i++) {
        struct subscriber *s = &l->subscriber[i];
        struct mark m = {.log = l, .sink = &s->sink};
        silence_check(&s->silence, l->clock, n_sources, &s->sink, now_us, put_mark, &m);
    }
}

static struct timespec timespec_of(int64_t us)
{
    return (struct timespec){.tv_sec = us / SECOND_US,
                             .tv_nsec = us % SECOND_US * 1000};
}

/* With the lock held: until there is something to take, rows have lingered long enough, it is time to
 * look for silence, or the log is closed. */
static void wait_for_work(struct log *l, int64_t tick_us)
{
    int64_t until_us = tick_us;
    if (l->open && l->open_since_us + l->linger_us < until_us)
        until_us = l->open_since_us + l->linger_us;
    struct timespec t = timespec_of(until_us);
    while (!l->closed && clock_monotonic_us() < until_us) {
        l->lingers = l->open && l->rows + l->open->n_rows < GATHER_MAX;
        if (l->first && !l->lingers)
            break;
        l->sleeping = !l->open;
        int r = pthread_cond_timedwait(&l->work, &l->lock, &t);
        l->sleeping = l->lingers = false;
        if (r == ETIMEDOUT)
            break;
    }
    l->lingers = false;
}

static struct chunk *take_all(struct log *l)
{
    struct chunk *c = l->first;
    l->first = NULL;
    l->last = &l->first;
    return c;
}

static void wake_waiters(struct log *l)
{
    while (l->waiters) {
        struct waiter *w = l->waiters;
        l->waiters = w->next;
        if (w->next)
            w->next->prev = NULL;
        w->queued = false;
        w->wake(
            w->ctx); /* with the lock held: log_unwait must be able to say "not any more" */
    }
    pthread_cond_broadcast(&l->room);
}

/* Room is given back as chunks are handed on, so that what waits is bounded by the limit. */
static void chunk_done(struct log *l, uint32_t source, uint64_t rows, size_t memory)
{
    pthread_mutex_lock(&l->lock);
    l->waiting[source].chunks--;
    l->rows -= rows;
    l->bytes -= memory;
    atomic_store_explicit(&l->queued_rows, l->rows, memory_order_relaxed);
    wake_waiters(l);
    pthread_mutex_unlock(&l->lock);
}

static void *log_thread(void *arg)
{
    struct log *l = arg;
    int64_t tick_us = clock_monotonic_us() + TICK_US;
    for (;;) {
        pthread_mutex_lock(&l->lock);
        wait_for_work(l, tick_us);
        struct chunk *c = take_all(l);
        bool closed = l->closed, end = l->end;
        pthread_mutex_unlock(&l->lock);

        bool took = c;
        while (c) {
            struct chunk *next = c->next;
            uint64_t rows = c->batch->n_rows;
            uint32_t source = c->source;
            size_t memory = c->memory;
            gather(l, c);
            chunk_done(l, source, rows, memory);
            free(c);
            c = next;
        }
        int64_t now_us = clock_monotonic_us();
        if (l->open && (closed || l->open->n_rows >= GATHER_MAX ||
                        now_us >= l->open_since_us + l->linger_us))
            flush_open(l);
        if (now_us >= tick_us) {
            check_silence(l, now_us);
            tick_us = now_us + TICK_US;
        }
        if (closed && !took) {
            flush_open(l);
            for (size_t i = 0; end && i < l->n_subscribers; i++)
                put_mark(&(struct mark){.log = l, .sink = &l->subscriber[i].sink},
                         LOG_END, 0, 0);
            return NULL;
        }
    }
}

/* ---- Coming in -------------------------------------------------------------------------------- */

static int append_locked(struct log *l, struct chunk *c)
{
    if (l->closed)
        return -ESHUTDOWN;
    if (l->rows && (l->rows + c->batch->n_rows > l->queue_events ||
                    l->bytes + c->memory > LOG_QUEUE_BYTES)) {
        l->waiting[c->source].refused = true;
        return -EAGAIN;
    }
    l->waiting[c->source].chunks++;
    *l->last = c;
    l->last = &c->next;
    l->rows += c->batch->n_rows;
    l->bytes += c->memory;
    atomic_store_explicit(&l->queued_rows, l->rows, memory_order_relaxed);
    if (l->sleeping || (!l->lingers) || l->rows >= GATHER_MAX)
        pthread_cond_signal(&l->work);
    return 0;
}

static int append(struct log *l, uint32_t source, struct batch *batch, bool wait)
{
    assert(source < LOG_SOURCES_MAX);
    if (!batch->n_rows) {
        batch_unref(batch);
        return 0;
    }
    struct chunk *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    *c =
        (struct chunk){.batch = batch, .source = source, .memory = batch_memory(batch)};
    pthread_mutex_lock(&l->lock);
    int r = append_locked(l, c);
    while (wait && r == -EAGAIN) {
        pthread_cond_wait(&l->room, &l->lock);
        r = append_locked(l, c);
    }
    pthread_mutex_unlock(&l->lock);
    if (r < 0)
        free(c);
    return r;
}

int log_append(struct log *l, uint32_t source, struct batch *batch)
{
    return append(l, source, batch, false);
}

int log_append_wait(struct log *l, uint32_t source, struct batch *batch)
{
    return append(l, source, batch, true);
}

void log_wait(struct log *l, struct waiter *w)
{
    pthread_mutex_lock(&l->lock);
    if (!l->closed &&
        l->rows) { /* what is in the inbox will be handed on, and wake it */
        w->prev = NULL;
        w->next = l->waiters;
        if (w->next)
            w->next->prev = w;
        l->waiters = w;
        w->queued = true;
    } else {
        w->wake(w->ctx);
    }
    pthread_mutex_unlock(&l->lock);
}

void log_unwait(struct log *l, struct waiter *w)
{
    pthread_mutex_lock(&l->lock);
    if (w->queued) {
        if (w->prev)
            w->prev->next = w->next;
        else
            l->waiters = w->next;
        if (w->next)
            w->next->prev = w->prev;
        w->queued = false;
    }
    pthread_mutex_unlock(&l->lock);
}

int log_source(struct log *l, const char *name, size_t size, uint32_t *ret)
{
    int r = 0;
    pthread_mutex_lock(&l->lock);
    uint32_t i = 1;
    while (i < l->n_sources &&
           (strncmp(l->source_name[i], name, size) || l->source_name[i][size]))
        i++;
    if (i == l->n_sources) {
        if (i == LOG_SOURCES_MAX)
            r = -ENOSPC;
        else if (!(l->source_name[i] = strndup(name, size)))
            r = -ENOMEM;
        else
            l->n_sources++;
    }
    pthread_mutex_unlock(&l->lock);
    if (r == 0)
        *ret = i;
    return r;
}

const char *log_source_name(struct log *l, uint32_t source)
{
    pthread_mutex_lock(&l->lock);
    const char *name = source && source < l->n_sources ? l->source_name[source] : "";
    pthread_mutex_unlock(&l->lock);
    return name;
}

/* ---- Making and ending ------------------------------------------------------------------------ */

static int add_metrics(struct log *l, struct metrics *m)
{
    char labels[128];
    snprintf(labels, sizeof(labels), "stream=\"%s\"", l->name);
    int r =
        metrics_add(m, METRIC_GAUGE, "weir_log_queue_events",
                    "Events that wait for the log thread.", labels, &l->queued_rows, 1);
    if (r == 0)
        r = metrics_add(m, METRIC_COUNTER, "weir_log_batches_total",
                        "Batches handed to pipelines.", labels, &l->batches, 1);
    if (r == 0)
        r = metrics_add(m, METRIC_COUNTER, "weir_log_events_total",
                        "Events handed to pipelines.", labels, &l->batch_rows, 1);
    return r;
}

int log_new(const struct log_options *options, struct metrics *metrics,
            struct log **ret, struct error *error)
{
    struct log *l = calloc(1, sizeof(*l));
    if (!l)
        return error_set(error, -ENOMEM, "no memory");
    l->name = strdup(options->name);
    l->schema = options->schema;
    l->queue_events = options->queue_events;
    l->linger_us = options->linger_us;
    l->last = &l->first;
    l->n_sources = 1;
    l->dictionary = calloc(l->schema->n, sizeof(bool));
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, &attr);
    pthread_cond_init(&l->room, &attr);
    pthread_condattr_destroy(&attr);
    int r = l->name && l->dictionary ? add_metrics(l, metrics) : -ENOMEM;
    if (r < 0) {
        log_free(l);
        return error_set(error, r, "no memory");
    }
    *ret = l;
    return 0;
}

static int key_list_index(struct log *l, const size_t *column, size_t n, size_t *ret)
{
    size_t i = 0;
    while (i < l->n_keys &&
           (l->keys[i].n != n ||
            (n && memcmp(l->keys[i].column, column, n * sizeof(*column)))))
        i++;
    if (i == l->n_keys) {
        struct key_list *keys = realloc(l->keys, (i + 1) * sizeof(*keys));
        size_t *copy = calloc(n + 1, sizeof(*copy));
        if (keys)
            l->keys = keys;
        if (!keys || !copy) {
            free(copy);
            return -ENOMEM;
        }
        if (n)
            memcpy(copy, column, n * sizeof(*copy));
        l->keys[l->n_keys++] = (struct key_list){.column = copy, .n = n};
    }
    *ret = i;
    return 0;
}

int log_subscribe(struct log *l, const struct log_sink *sink, size_t *ret_keys)
{
    struct subscriber *s = realloc(l->subscriber, (l->n_subscribers + 1) * sizeof(*s));
    if (!s)
        return -ENOMEM;
    l->subscriber = s;
    int r = key_list_index(l, sink->key, sink->n_keys, ret_keys);
    if (r < 0)
        return r;
    s = &s[l->n_subscribers++];
    *s = (struct subscriber){.sink = *sink, .silence = {.advanced_us = INT64_MIN}};
    for (size_t i = 0; sink->dictionary && i < l->schema->n; i++)
        l->dictionary[i] = l->dictionary[i] || sink->dictionary[i];
    s->sink.key = NULL;
    s->sink.dictionary = NULL;
    return 0;
}

int log_start(struct log *l, struct error *error)
{
    int r = pthread_create(&l->thread, NULL, log_thread, l);
    if (r)
        return error_set(error, -r, "stream '%s': cannot start a thread: %s", l->name,
                         strerror(r));
    char name[16];
    snprintf(name, sizeof(name), "log %.11s", l->name);
    pthread_setname_np(l->thread, name);
    l->started = true;
    return 0;
}

void log_close(struct log *l, bool end)
{
    pthread_mutex_lock(&l->lock);
    l->closed = true;
    l->end = l->end || end;
    pthread_cond_signal(&l->work);
    wake_waiters(l);
    pthread_mutex_unlock(&l->lock);
    if (l->started)
        pthread_join(l->thread, NULL);
    l->started = false;
}

void log_free(struct log *l)
{
    if (!l)
        return;
    if (l->started)
        log_close(l, false);
    for (struct chunk *c = l->first, *next; c; c = next) {
        next = c->next;
        batch_unref(c->batch);
        free(c);
    }
    batch_unref(l->open);
    for (uint32_t i = 1; i < l->n_sources; i++)
        free(l->source_name[i]);
    for (size_t i = 0; i < l->n_keys; i++)
        free(l->keys[i].column);
    free(l->keys);
    free(l->dictionary);
    free(l->subscriber);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->room);
    free(l->name);
    free(l);
}
