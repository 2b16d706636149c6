/* SPDX-License-Identifier: Apache-2.0 */
#include "results_feed.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/thread.h"
#include "log/entry.h"
#include "pipeline/join.h"
#include "pipeline/outflow.h"
#include "store/restore.h"
#include "store/results.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_AT_ONCE 10000u /* then others have their turn */
#define END_LOOK_US  5000   /* whether pipelines have ended is looked at so often */

/* One input of one pipeline. */
struct feed {
    struct weir *weir;
    struct pipeline *pipeline; /* a reference */
    struct join_input *in;
    struct results *reader; /* NULL: not yet */
    bool begun, over;
    int64_t reached_us;              /* rows before have been read, once it has begun */
    struct log_entry *entry, **last; /* that the input has no room for, in order */
    struct batch *batch;             /* that is being filled */
    struct feed *next;
};

struct results_feed {
    pthread_t thread;
    pthread_mutex_t list_lock; /* protects the feeds; held while all are looked at */
    struct feed *first;
    pthread_mutex_t lock; /* protects the rest; taken last */
    pthread_cond_t changed, looked;
    bool dirty, ending, stop;
    uint64_t n_looks;
};

/* ---- Rows to entries --------------------------------------------------------------------------- */

static void push(struct feed *f, struct log_entry *e)
{
    *f->last = e;
    f->last = &e->next;
}

static int end_batch(struct feed *f)
{
    const struct config_join *c = f->in->config;
    struct log_entry *e;
    if (!f->batch)
        return 0;
    int r = entry_new(LOG_BATCH, &e);
    if (r < 0)
        return r;
    batch_seal(f->batch);
    e->batch = f->batch;
    f->batch = NULL;
    e->held = true; /* the mark behind it says what it has reached */
    e->reached_us = INT64_MIN;
    e->keys = calloc(1, sizeof(*e->keys));
    e->n_keys = e->keys ? 1 : 0;
    r = e->keys ? keys_new(e->batch, c->their_on, c->n_on, &e->keys[0]) : -ENOMEM;
    if (r < 0)
        log_entry_unref(e);
    else
        push(f, e);
    return r;
}

static int put_row(void *feed, const struct weir_cell *cell)
{
    struct feed *f = feed;
    int r = -ENOSPC;
    for (unsigned tries = 0; r == -ENOSPC && tries < 2; tries++) {
        if (!f->batch)
            r = batch_new(f->in->config->result->columns, 0, &f->batch);
        if (f->batch)
            r = outflow_put_row(f->batch, f->in->results, cell);
        if (r == -ENOSPC) {
            int err = end_batch(f);
            r = err < 0 ? err : r;
        }
    }
    return r;
}

static int push_mark(struct feed *f, enum log_kind kind, int64_t time_us)
{
    struct log_entry *e;
    int r = entry_new(kind, &e);
    if (r < 0)
        return r;
    e->time_us = time_us;
    push(f, e);
    return 0;
}

static struct log_entry *take_first(struct feed *f)
{
    struct log_entry *e = f->entry;
    f->entry = e->next;
    if (!f->entry)
        f->last = &f->entry;
    e->next = NULL;
    return e;
}

/* False: there is no room for all. */
static bool hand_on(struct feed *f)
{
    while (f->entry) {
        struct log_entry *next = f->entry->next;
        f->entry->next = NULL;
        if (!join_feed_entry(f->in, f->entry)) {
            f->entry->next = next;
            return false;
        }
        f->entry = next;
    }
    f->last = &f->entry;
    return true;
}

/* ---- Looking at one ---------------------------------------------------------------------------- */

static void fail(struct feed *f, int r, const struct error *why)
{
    struct error error;
    error_set(&error, r, "the results of '%s' cannot be read: %s", f->in->stream,
              why->text[0] ? why->text : strerror(-r));
    pipeline_fail(f->pipeline, &error);
}

/* What gives the results has failed for good, and nothing more will come. */
static bool has_stopped(struct pipeline *giver)
{
    struct pipeline_crash crash;
    return pipeline_failed(giver) && !pipeline_crashed(giver, &crash);
}

static void say_stopped(struct feed *f)
{
    struct error error;
    error_set(&error, -EIO, "pipeline '%s', whose results it joins, has stopped",
              f->in->giver->name);
    pipeline_fail(f->pipeline, &error);
}

static int read_more(struct feed *f, bool ended, bool *ret_more, struct error *error)
{
    int64_t until_us;
    int r = f->reader ? 0
                      : results_open(store_path(f->weir->store), f->in->results,
                                     &f->reader, error);
    if (r == 0)
        r = results_read(f->reader, f->reached_us, ended, ROWS_AT_ONCE, put_row, f,
                         &until_us, ret_more, error);
    if (r == 0)
        r = end_batch(f);
    if (r == 0 && ended && !*ret_more) {
        f->over = true;
        return push_mark(f, LOG_END, 0);
    }
    if (r == 0 && until_us > f->reached_us) {
        f->reached_us = until_us;
        r = push_mark(f, LOG_REACHED, until_us);
    }
    return r;
}

/* Where nothing is known of before, it waits for the first event that asks, also if no more results come. 1: it has begun. */
static int begins(struct feed *f)
{
    int64_t us = atomic_load_explicit(&f->in->from_us, memory_order_acquire);
    if (f->begun || us == INT64_MIN)
        return f->begun;
    int r = push_mark(f, LOG_HEARD, 0);
    f->begun = r == 0;
    f->reached_us = us;
    return r < 0 ? r : 1;
}

/* Returns whether there is more to read at once. */
static bool look_at(struct feed *f)
{
    struct weir *w = f->weir;
    struct error error = {0};
    bool more = false;
    if (pipeline_failed(f->pipeline) || !hand_on(f) || f->over)
        return false;
    struct pipeline *giver = running_get(w->running, f->in->giver->name);
    if (giver && has_stopped(giver))
        say_stopped(f);
    bool ended = giver && pipeline_chain_has_ended(giver);
    pipeline_unref(giver);
    if (ended && store_flush(w->store) < 0)
        return false;
    int r = begins(f);
    if (r > 0)
        r = read_more(f, ended, &more, &error);
    if (r < 0)
        fail(f, r, &error);
    return hand_on(f) && more;
}

/* What is waited for, the most of all that wait for pipelines of the same chain. */
static void ask_for(struct results_feed *all, const struct feed *f)
{
    struct pipeline *giver = running_get(f->weir->running, f->in->giver->name);
    const size_t stream = f->in->giver->stream;
    int64_t most_us = INT64_MIN;
    for (const struct feed *o = all->first; o; o = o->next) {
        int64_t us = atomic_load_explicit(&o->in->wanted_us, memory_order_relaxed);
        if (o->in->giver->stream == stream && !pipeline_failed(o->pipeline) &&
            us > most_us)
            most_us = us;
    }
    if (giver)
        pipeline_ask(giver, most_us);
    pipeline_unref(giver);
}

/* ---- The thread -------------------------------------------------------------------------------- */

static void look(void *feed)
{
    struct results_feed *all = feed;
    pthread_mutex_lock(&all->lock);
    all->dirty = true;
    pthread_cond_signal(&all->changed);
    pthread_mutex_unlock(&all->lock);
}

static bool wait_for_change(struct results_feed *all)
{
    pthread_mutex_lock(&all->lock);
    all->n_looks++;
    pthread_cond_broadcast(&all->looked);
    int r = 0;
    while (!all->dirty && !all->stop && r != ETIMEDOUT)
        r = clock_cond_wait(&all->changed, &all->lock,
                            all->ending ? clock_monotonic_us() + END_LOOK_US
                                        : INT64_MAX);
    all->dirty = false;
    bool stop = all->stop;
    pthread_mutex_unlock(&all->lock);
    return !stop;
}

static void *run(void *feed)
{
    struct results_feed *all = feed;
    thread_stand_back();
    while (wait_for_change(all)) {
        bool more = false;
        pthread_mutex_lock(&all->list_lock);
        for (struct feed *f = all->first; f; f = f->next)
            more = look_at(f) || more;
        for (struct feed *f = all->first; f; f = f->next)
            ask_for(all, f);
        pthread_mutex_unlock(&all->list_lock);
        if (more)
            look(all);
    }
    return NULL;
}

static int begin(struct weir *w, struct error *error)
{
    struct results_feed *all = calloc(1, sizeof(*all));
    if (!all)
        return error_set(error, -ENOMEM, "no memory");
    pthread_mutex_init(&all->list_lock, NULL);
    pthread_mutex_init(&all->lock, NULL);
    clock_cond_init(&all->changed);
    clock_cond_init(&all->looked);
    int r = thread_start(&all->thread, "results", run, all);
    if (r < 0) {
        free(all);
        return error_set(error, r, "cannot start a thread: %s", strerror(-r));
    }
    w->results = all;
    r = store_listen_all(w->store, look, all);
    return r < 0 ? error_set(error, r, "the database does not say what is committed")
                 : 0;
}

/* ---- Who joins --------------------------------------------------------------------------------- */

struct need {
    const char *table, *reader;
    int64_t needed_us;
};

static int set_need(struct store *s, void *ctx)
{
    const struct need *n = ctx;
    return results_need(s, n->table, n->reader, n->needed_us);
}

struct readying {
    const struct table *table;
    struct error error;
};

static int make_ready(struct store *s, void *ctx)
{
    struct readying *r = ctx;
    return results_ready(s, r->table, &r->error);
}

/* Without an index all is as it would be, only slower. */
static int ready_table(struct weir *w, const struct join_input *in, struct error *error)
{
    struct readying r = {.table = in->results};
    if (!window_is_by_key(&in->results->window))
        return 0;
    int err = store_call(w->store, make_ready, &r);
    if (err < 0 && in->results->window.kind == CONFIG_GLOBAL)
        return error_set(error, err, "the results of '%s' cannot be kept: %s",
                         in->stream, r.error.text);
    if (err < 0)
        logger_warn("results",
                    "the results of '%s' have no index by their end, and are read "
                    "slowly: %s",
                    in->stream, r.error.text);
    return 0;
}

static void free_feed(struct feed *f)
{
    while (f->entry)
        log_entry_unref(take_first(f));
    batch_unref(f->batch);
    results_close(f->reader);
    pipeline_unref(f->pipeline);
    free(f);
}

static int add(struct weir *w, struct pipeline *p, struct join_input *in,
               struct error *error)
{
    struct need need = {
        .table = in->stream, .reader = in->name, .needed_us = in->watermark.value_us};
    struct feed *f = calloc(1, sizeof(*f));
    int r = f ? store_call(w->store, set_need, &need) : -ENOMEM;
    if (r < 0)
        error_set(error, r, "%s", strerror(-r));
    if (r < 0 || (r = ready_table(w, in, error)) < 0) {
        free(f);
        return r;
    }
    f->weir = w;
    f->pipeline = pipeline_ref(p);
    f->in = in;
    f->last = &f->entry;
    join_feed(in, look, w->results);
    pthread_mutex_lock(&w->results->list_lock);
    f->next = w->results->first;
    w->results->first = f;
    pthread_mutex_unlock(&w->results->list_lock);
    look(w->results);
    return 0;
}

int results_feed_add(struct weir *w, struct pipeline *p, struct error *error)
{
    struct join *j = pipeline_join(p);
    int r = 0;
    for (size_t i = 0; j && r == 0 && i < j->n; i++) {
        if (!j->input[i].results)
            continue;
        if (!w->results && (r = begin(w, error)) < 0)
            return r;
        r = add(w, p, &j->input[i], error);
    }
    return r;
}

void results_feed_remove(struct weir *w, struct pipeline *p)
{
    struct results_feed *all = w->results;
    if (!all)
        return;
    pthread_mutex_lock(&all->list_lock);
    for (struct feed **at = &all->first; *at;) {
        struct feed *f = *at;
        if (f->pipeline != p) {
            at = &f->next;
            continue;
        }
        *at = f->next;
        join_unfeed(f->in);
        free_feed(f);
    }
    pthread_mutex_unlock(&all->list_lock);
}

/* ---- What tables keep -------------------------------------------------------------------------- */

/* Calls call() for each input that is results. */
static int each_result(struct weir *w, const struct config_pipeline *c,
                       int (*call)(struct weir *w, const struct need *n))
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < c->results.n; i++) {
        char
            name[256]; /* names are no longer than 63 bytes, those of tables than 127 */
        snprintf(name, sizeof(name), "%s.%s", c->name, c->results.item[i].table);
        r = call(w, &(struct need){.table = c->results.item[i].table,
                                   .reader = name,
                                   .needed_us = INT64_MIN});
    }
    return r;
}

static int keep_all(struct weir *w, const struct need *n)
{
    return results_need(w->store, n->table, n->reader, n->needed_us);
}

/* Results that are replaced are kept before the first comes. What else makes reading fast is told of when it begins. */
static int ready_all(struct weir *w, struct pipeline *p, struct error *error)
{
    const struct config_results *results = &pipeline_config(p)->results;
    int r = 0;
    for (size_t k = 0; r == 0 && k < results->n; k++) {
        const struct table *const *table;
        size_t n = pipeline_tables(pipeline_joins(p, k), &table);
        for (size_t i = 0; r == 0 && i < n; i++)
            if (table[i]->window.kind == CONFIG_GLOBAL &&
                !strcmp(table[i]->name, results->item[k].table))
                r = results_ready(w->store, table[i], error);
    }
    return r;
}

int results_feed_prepare(struct weir *w, struct error *error)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->n_pipelines; i++) {
        r = each_result(w, pipeline_config(w->pipeline[i]), keep_all);
        if (r < 0)
            return error_set(error, r, "no memory");
        r = ready_all(w, w->pipeline[i], error);
    }
    return r;
}

int results_feed_hold(struct weir *w, struct restore *r, struct pipeline *p,
                      struct error *error)
{
    const struct config_results *results = &pipeline_config(p)->results;
    int err = 0;
    for (size_t i = 0; err == 0 && i < results->n; i++) {
        char name[256];
        struct restore_checkpoint stored = {0};
        struct need need = {.table = results->item[i].table, .reader = name};
        snprintf(name, sizeof(name), "%s.%s", pipeline_config(p)->name,
                 results->item[i].table);
        err = restore_checkpoint(r, name, need.table, &stored, error);
        if (err == -ENOENT) {
            err = 0; /* it needs what there is when it comes */
            continue;
        }
        need.needed_us = (int64_t)stored.position;
        restore_checkpoint_free(&stored);
        if (err == 0 && (err = store_call(w->store, set_need, &need)) < 0)
            error_set(error, err, "no memory");
    }
    return err;
}

static bool is_there(void *weir, const char *reader)
{
    const struct weir *w = weir;
    bool found = false;
    for (size_t i = 0; !found && i < w->n_pipelines; i++) {
        const struct config_pipeline *c = pipeline_config(w->pipeline[i]);
        for (size_t k = 0; !found && k < c->results.n; k++) {
            char name[256];
            snprintf(name, sizeof(name), "%s.%s", c->name, c->results.item[k].table);
            found = !strcmp(name, reader);
        }
    }
    return found;
}

void results_feed_forget(struct store *s, struct weir *w)
{
    results_forget(s, is_there, w);
}

static bool is_of_chain(const struct pipeline *p, const struct pipeline *top)
{
    while (pipeline_parent(p))
        p = pipeline_parent(p);
    return p == top;
}

bool results_feed_is_joined(const struct weir *w, const struct pipeline *p)
{
    bool joined = false;
    for (size_t i = 0; !joined && i < w->n_pipelines; i++)
        for (size_t k = 0; !joined && pipeline_joins(w->pipeline[i], k); k++)
            joined = is_of_chain(pipeline_joins(w->pipeline[i], k), p);
    return joined;
}

/* ---- The end ----------------------------------------------------------------------------------- */

void results_feed_begin_end(struct weir *w)
{
    if (!w->results)
        return;
    pthread_mutex_lock(&w->results->lock);
    w->results->ending = true;
    w->results->dirty = true;
    pthread_cond_signal(&w->results->changed);
    pthread_mutex_unlock(&w->results->lock);
}

static bool all_are_over(struct results_feed *all)
{
    bool over = true;
    pthread_mutex_lock(&all->list_lock);
    for (const struct feed *f = all->first; over && f; f = f->next)
        over = pipeline_failed(f->pipeline) || pipeline_has_ended(f->pipeline) ||
               (f->over && !f->entry);
    pthread_mutex_unlock(&all->list_lock);
    return over;
}

void results_feed_finish(struct weir *w)
{
    struct results_feed *all = w->results;
    while (all && !all_are_over(all)) {
        pthread_mutex_lock(&all->lock);
        uint64_t n = all->n_looks;
        while (all->n_looks == n)
            pthread_cond_wait(&all->looked, &all->lock);
        pthread_mutex_unlock(&all->lock);
    }
}

void results_feed_stop(struct weir *w)
{
    struct results_feed *all = w->results;
    if (!all)
        return;
    store_listen(w->store, NULL, all); /* if it has failed, it calls nobody */
    pthread_mutex_lock(&all->lock);
    all->stop = true;
    pthread_cond_signal(&all->changed);
    pthread_mutex_unlock(&all->lock);
    thread_join(all->thread, INT64_MAX);
    for (struct feed *f = all->first, *next; f; f = next) {
        next = f->next;
        join_unfeed(f->in);
        free_feed(f);
    }
    pthread_cond_destroy(&all->looked);
    pthread_cond_destroy(&all->changed);
    pthread_mutex_destroy(&all->lock);
    pthread_mutex_destroy(&all->list_lock);
    free(all);
    w->results = NULL;
}
