/* SPDX-License-Identifier: Apache-2.0
 *
 * The thread of the webhooks, and their coming and going.
 */
#include "hook/hooks.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/logger.h"
#include "base/thread.h"
#include "hook/internal.h"
#include "store/changes.h"
#include "store/db.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_AGAIN_US SECOND_US /* after a failure of the database's */

static struct hook_id id_of(const struct hook_spec *s)
{
    return (struct hook_id){.pipeline = s->pipeline_name,
                            .hook = s->config->name,
                            .table = s->table ? s->table->name : NULL,
                            .alert = s->config->alert};
}

int hooks_prepare(struct store *store, const struct hook_spec *specs,
                  struct error *error)
{
    size_t n = 0;
    for (const struct hook_spec *s = specs; s; s = s->next)
        n++;
    struct hook_id *id = calloc(n + 1, sizeof(*id));
    const struct table **table = calloc(n + 1, sizeof(*table));
    n = 0;
    for (const struct hook_spec *s = specs; id && table && s; s = s->next) {
        id[n] = id_of(s);
        table[n++] = s->table;
    }
    int err = id && table ? hooks_open(store, id, table, n, error)
                          : error_set(error, -ENOMEM, "out of memory");
    free(id);
    free(table);
    return err;
}

/* ---- One hook ------------------------------------------------------------------------------------ */

void hook_append(struct hook *k, struct item *i)
{
    *k->last_item = i;
    k->last_item = &i->next;
    k->n++;
    k->bytes += i->size;
}

void hook_ready(struct hook *k, struct item *i)
{
    struct lane *l = &k->lane[i->lane];
    i->stage = ITEM_READY;
    *l->last = i;
    l->last = &i->lane_next;
}

int64_t hook_position(const struct hook *k)
{
    return k->first ? k->first->seq - 1 : k->read;
}

/* Rows are over once all before them are, too: then the place behind them is. */
void hook_sweep(struct hook *k)
{
    for (struct item *i = k->first; !k->alerts && i && i->stage >= ITEM_SENT;
         i = i->next)
        i->stage = ITEM_OVER;
    for (struct item **at = &k->first, *i; (i = *at);) {
        if (i->stage != ITEM_OVER || i->saving) {
            if (!k->alerts)
                return; /* none behind it is over */
            at = &i->next;
            k->last_item = at;
            continue;
        }
        *at = i->next;
        k->n--;
        k->bytes -= i->size;
        free(i);
    }
    if (!k->first)
        k->last_item = &k->first;
}

/* Of one name at a time. */
static int count_hook(struct hook *k)
{
    struct metrics *m = k->hooks->metrics;
    struct hook_counters *c = &k->count;
    struct buffer labels = {0};
    const struct {
        enum metric_kind kind;
        const char *name, *help, *label, *value;
        const _Atomic uint64_t *at;
    } all[] = {
        {METRIC_COUNTER, "weir_webhook_rows_total", "Rows, or alerts, by outcome.",
         "outcome", "delivered", &c->sent},
        {METRIC_COUNTER, "weir_webhook_rows_total", "Rows, or alerts, by outcome.",
         "outcome", "refused", &c->refused},
        {METRIC_COUNTER, "weir_webhook_rows_total", "Rows, or alerts, by outcome.",
         "outcome", "deleted", &c->deleted},
        {METRIC_COUNTER, "weir_webhook_rows_total", "Rows, or alerts, by outcome.",
         "outcome", "skipped", &c->skipped},
        {METRIC_COUNTER, "weir_webhook_failed_requests_total",
         "Requests that failed and are repeated.", NULL, NULL, &c->retries},
        {METRIC_COUNTER, "weir_webhook_when_errors_total",
         "Rows for which `when` could not be computed.", NULL, NULL, &c->errors},
        {METRIC_COUNTER, "weir_webhook_over_keys_total",
         "Rows of keys beyond max_keys, which are not watched.", NULL, NULL,
         &c->over_keys},
        {METRIC_GAUGE, "weir_webhook_lag_rows",
         "Rows that are in the table and not done with.", NULL, NULL, &c->lag},
        {METRIC_GAUGE, "weir_webhook_failures_in_a_row",
         "Requests that failed since the last that was answered.", NULL, NULL,
         &c->failures},
        {METRIC_GAUGE, "weir_webhook_alerts_firing",
         "Keys for which an alert has begun and not ended.", NULL, NULL, &c->firing},
    };
    int err = 0;
    for (size_t i = 0; !err && i < sizeof(all) / sizeof(all[0]); i++) {
        buffer_clear(&labels);
        metrics_put_label(&labels, "pipeline", k->id.pipeline);
        metrics_put_label(&labels, "webhook", k->id.hook);
        if (all[i].label)
            metrics_put_label(&labels, all[i].label, all[i].value);
        err = metrics_add(m, all[i].kind, all[i].name, all[i].help,
                          buffer_text(&labels), all[i].at, 1);
    }
    buffer_free(&labels);
    return err;
}

int hook_new(struct hooks *h, struct hook_spec *spec, struct hook **ret)
{
    struct hook *k = calloc(1, sizeof(*k));
    unsigned n = spec->config->in_flight;
    if (!k || !(k->lane = calloc(n, sizeof(*k->lane)))) {
        free(k);
        hook_spec_free(spec);
        return -ENOMEM;
    }
    k->hooks = h;
    k->spec = spec;
    k->id = id_of(spec);
    k->last_item = &k->first;
    k->broken = true; /* until it is loaded */
    k->saved = -1;
    for (unsigned i = 0; i < n; i++) {
        k->lane[i].hook = k;
        k->lane[i].last = &k->lane[i].first;
    }
    k->shown = (struct hook_status){.name = k->id.hook,
                                    .table = k->id.table,
                                    .alert = k->id.alert,
                                    .error_us = INT64_MIN,
                                    .success_us = INT64_MIN};
    *ret = k;
    return 0;
}

void hook_free(struct hook *k)
{
    if (!k)
        return;
    metrics_remove(k->hooks->metrics, k, sizeof(*k));
    for (unsigned i = 0; i < k->spec->config->in_flight; i++) {
        lane_cancel(&k->lane[i]);
        buffer_free(&k->lane[i].body);
    }
    for (struct item *i = k->first, *next; i; i = next) {
        next = i->next;
        free(i);
    }
    alerts_free(k->alerts);
    hook_spec_free(k->spec);
    free(k->lane);
    free(k);
}

/* ---- Another configuration ------------------------------------------------------------------------ */

static struct hook **find(struct hook **list, const struct hook_id *id)
{
    while (*list && (strcmp((*list)->id.pipeline, id->pipeline) ||
                     strcmp((*list)->id.hook, id->hook)))
        list = &(*list)->next;
    return list;
}

/* Counters go on. */
static void inherit(struct hook *k, const struct hook *old)
{
    const struct {
        const _Atomic uint64_t *from;
        _Atomic uint64_t *to;
    } all[] = {{&old->count.sent, &k->count.sent},
               {&old->count.refused, &k->count.refused},
               {&old->count.ok, &k->count.ok},
               {&old->count.retries, &k->count.retries},
               {&old->count.deleted, &k->count.deleted},
               {&old->count.skipped, &k->count.skipped},
               {&old->count.errors, &k->count.errors},
               {&old->count.over_keys, &k->count.over_keys}};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        metric_add(all[i].to, atomic_load_explicit(all[i].from, memory_order_relaxed));
    memcpy(k->shown.error, old->shown.error, sizeof(k->shown.error));
    k->shown.error_us = old->shown.error_us;
    k->shown.success_us = old->shown.success_us;
}

/* The hooks of these specs; what is the same goes on, what has changed begins where it is in the file. With the lock held;
 * takes the specs. */
static void adopt(struct hooks *h, struct hook_spec *specs)
{
    struct hook *first = NULL, **last = &first;
    for (struct hook_spec *s = specs, *next; s; s = next) {
        next = s->next;
        s->next = NULL;
        if (!s->table) {
            hook_spec_free(s);
            continue;
        }
        const struct hook_id id = id_of(s);
        struct hook **at = find(&h->first, &id), *old = *at, *k = NULL;
        if (old)
            *at = old->next;
        if (old && hook_spec_same(old->spec, s)) {
            hook_spec_free(s);
            k = old;
        } else if (hook_new(h, s, &k) == 0) {
            if (old)
                inherit(k, old);
            hook_free(old);
            if (count_hook(k))
                logger_warn("hook", "webhook '%s' is not in /metrics: out of memory",
                            k->id.hook);
        } else {
            logger_error("hook", "a webhook is left out until the next start: out of "
                                 "memory");
            hook_free(old);
            continue;
        }
        k->next = NULL;
        *last = k;
        last = &k->next;
    }
    for (struct hook *k = h->first, *next; k; k = next) {
        next = k->next;
        hook_free(k);
    }
    h->first = first;
}

static int nothing(struct store *s, void *ctx)
{
    (void)s, (void)ctx;
    return 0;
}

/* A store that has failed makes no more calls: then a save is never over. */
int hooks_hold(struct hooks *h, struct error *error)
{
    int err = 0;
    pthread_mutex_lock(&h->lock);
    h->held = true;
    while (h->busy && !err) {
        pthread_mutex_unlock(&h->lock);
        err = store_call(h->store, nothing, NULL);
        pthread_mutex_lock(&h->lock);
        if (!err && h->busy)
            clock_cond_wait(&h->changed, &h->lock, clock_monotonic_us() + SECOND_US);
    }
    h->held = !err;
    pthread_mutex_unlock(&h->lock);
    return err ? error_set(error, err, "the database cannot be written to") : 0;
}

void hooks_release(struct hooks *h)
{
    pthread_mutex_lock(&h->lock);
    h->held = false;
    sender_wake(h->sender);
    pthread_mutex_unlock(&h->lock);
}

void hooks_set(struct hooks *h, struct hook_spec *specs)
{
    pthread_mutex_lock(&h->lock);
    hook_specs_free(h->specs); /* of a set that was not looked at: this is newer */
    h->specs = specs;
    h->exchanged = true;
    h->held = false;
    sender_wake(h->sender);
    pthread_mutex_unlock(&h->lock);
}

/* ---- The thread ------------------------------------------------------------------------------------ */

static void say_trouble(const struct hook *k, const char *what, const char *text)
{
    logger_warn("hook", "webhook '%s' of pipeline '%s': %s: %s; tried again",
                k->id.hook, k->id.pipeline, what, text);
}

/* When to look again; INT64_MAX: when something happens. */
static int64_t hook_run(struct hook *k, int64_t now_us)
{
    struct error error = {""};
    if (k->broken && k->hooks->keeping)
        return INT64_MAX; /* its items are being saved */
    if (k->broken && feed_load(k, &error)) {
        say_trouble(k, "its place cannot be read", error.text);
        return now_us + LOOK_AGAIN_US;
    }
    k->broken = false;
    int64_t next_us = INT64_MAX;
    bool room = k->n < HOOK_ITEMS_MAX && k->bytes < HOOK_BYTES_MAX;
    if (room ? k->look : k->news) {
        int err = room ? feed_read(k, &error) : feed_look(k, &error);
        if (err) {
            /* What an alert knows may be half of a row now. */
            k->broken = err == -ENOMEM && k->alerts;
            say_trouble(k, "what has changed cannot be read", error.text);
            next_us = now_us + LOOK_AGAIN_US;
        } else if (room &&
                   k->look) { /* with no room left, what has come is looked at */
            next_us = now_us;
        }
    }
    int64_t due_us = lane_dispatch(k, now_us);
    return due_us < next_us ? due_us : next_us;
}

static uint64_t load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void show(struct hook *k)
{
    struct hook_status *s = &k->shown;
    uint64_t waiting = k->last > k->read ? (uint64_t)(k->last - k->read) : 0;
    s->position = hook_position(k);
    s->lag = k->alerts ? waiting : waiting + k->n;
    for (const struct item *i = k->first; k->alerts && i; i = i->next)
        s->lag += i->notice && i->stage < ITEM_SENT;
    s->state = k->failures >= HOOK_BREAK ? HOOK_BROKEN
               : k->failures             ? HOOK_RETRIES
                                         : HOOK_WELL;
    s->firing = k->alerts ? alerts_firing(k->alerts) : 0;
    atomic_store_explicit(&k->count.lag, s->lag, memory_order_relaxed);
    atomic_store_explicit(&k->count.failures, k->failures, memory_order_relaxed);
    atomic_store_explicit(&k->count.firing, s->firing, memory_order_relaxed);
    s->sent = load(&k->count.sent);
    s->refused = load(&k->count.refused);
    s->retries = load(&k->count.retries);
    s->deleted = load(&k->count.deleted);
    s->skipped = load(&k->count.skipped);
    s->errors = load(&k->count.errors);
    s->over_keys = load(&k->count.over_keys);
}

/* What others have said. False: the end. */
static bool listen_to_others(struct hooks *h)
{
    pthread_mutex_lock(&h->lock);
    bool kept = h->kept, on = !h->ending;
    h->kept = false;
    pthread_mutex_unlock(&h->lock);
    if (kept)
        keep_done(h);
    pthread_mutex_lock(&h->lock);
    if (h->exchanged && !h->keeping) {
        adopt(h, h->specs);
        h->specs = NULL;
        h->exchanged = false;
    }
    for (struct hook *k = h->first; h->committed && k; k = k->next)
        k->look = k->news = true;
    h->committed = false;
    pthread_mutex_unlock(&h->lock);
    return on;
}

static void *hooks_run(void *hooks)
{
    struct hooks *h = hooks;
    thread_stand_back();
    while (listen_to_others(h)) {
        int64_t now_us = clock_monotonic_us(), next_us = INT64_MAX;
        for (struct hook *k = h->first; k; k = k->next) {
            int64_t due_us = hook_run(k, now_us);
            next_us = due_us < next_us ? due_us : next_us;
        }
        pthread_mutex_lock(&h->lock);
        for (struct hook *k = h->first; k; k = k->next)
            show(k);
        pthread_mutex_unlock(&h->lock);
        int64_t keep_us = keep_begin(h, now_us);
        next_us = keep_us < next_us ? keep_us : next_us;
        now_us = clock_monotonic_us();
        sender_wait(h->sender, next_us == INT64_MAX ? INT64_MAX : next_us - now_us);
        struct sender_answer a;
        while (sender_next(h->sender, &a))
            lane_answer(a.ctx, &a);
    }
    return NULL;
}

/* On the store's thread. */
static void committed(void *hooks)
{
    struct hooks *h = hooks;
    pthread_mutex_lock(&h->lock);
    h->committed = true;
    sender_wake(h->sender);
    pthread_mutex_unlock(&h->lock);
}

int hooks_new(struct store *store, struct metrics *metrics, struct hook_spec *specs,
              struct hooks **ret, struct error *error)
{
    struct hooks *h = calloc(1, sizeof(*h));
    if (!h) {
        hook_specs_free(specs);
        return error_set(error, -ENOMEM, "out of memory");
    }
    h->store = store;
    h->metrics = metrics;
    h->dice = hash_u64((uint64_t)clock_now_us()) | 1;
    pthread_mutex_init(&h->lock, NULL);
    clock_cond_init(&h->changed);
    int err = sender_new(HOOK_CONNECTIONS, &h->sender, error);
    if (!err)
        err = db_open(store_path(store), SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX,
                      &h->db, error);
    if (err)
        hook_specs_free(specs);
    else
        adopt(h, specs);
    if (!err && (err = thread_start(&h->thread, "weir-hooks", hooks_run, h)))
        error_set(error, err, "cannot start a thread: %s", strerror(-err));
    h->started = !err;
    if (!err && (err = store_listen(store, committed, h)))
        error_set(error, err, "the store does not take a listener: %s", strerror(-err));
    if (err) {
        hooks_end(h);
        hooks_free(h);
        return err;
    }
    *ret = h;
    return 0;
}

void hooks_end(struct hooks *h)
{
    if (!h || !h->started)
        return;
    store_listen(h->store, NULL, h);
    pthread_mutex_lock(&h->lock);
    h->ending = true;
    sender_wake(h->sender);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    h->started = false;
    keep_last(h);
}

void hooks_free(struct hooks *h)
{
    if (!h)
        return;
    for (struct hook *k = h->first, *next; k; k = next) {
        next = k->next;
        hook_free(k);
    }
    keep_free(h->keeping);
    hook_specs_free(h->specs);
    sender_free(h->sender);
    sqlite3_close(h->db);
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

void hooks_each(struct hooks *h, const char *pipeline,
                void (*call)(void *ctx, const struct hook_status *s), void *ctx)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    for (struct hook *k = h->first; k; k = k->next)
        if (strcmp(k->id.pipeline, pipeline) == 0)
            call(ctx, &k->shown);
    pthread_mutex_unlock(&h->lock);
}
