/* SPDX-License-Identifier: Apache-2.0
 *
 * The thread of a target, and its coming and going.
 */
#include "target/target.h"
#include "base/clock.h"
#include "base/logger.h"
#include "base/thread.h"
#include "store/db.h"
#include "target/kind.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

const char *const target_state_word[] = {[TARGET_WELL] = "well",
                                         [TARGET_FILLING] = "filling",
                                         [TARGET_AWAY] = "away",
                                         [TARGET_FAILING] = "failing",
                                         [TARGET_FENCED] = "fenced"};

void target_wake(struct target *t)
{
    uint64_t one = 1;
    if (write(t->wake, &one, sizeof(one)) < 0)
        return; /* it is full: it will wake */
}

/* ---- Tables come and go ------------------------------------------------------------------------- */

/* Of one name at a time. */
static int count_table(struct target *t, struct target_table *k)
{
    const struct target_kind *d = t->kind;
    struct target_counters *n = &k->count;
    struct buffer labels = {0};
    const struct {
        enum metric_kind kind;
        const char *name, *help, *outcome;
        const _Atomic uint64_t *at;
    } all[] = {
        {METRIC_COUNTER, d->metric.rows, d->metric.rows_help, d->metric.put, &n->put},
        {METRIC_COUNTER, d->metric.rows, d->metric.rows_help, d->metric.deleted,
         &n->deleted},
        {METRIC_COUNTER, d->metric.refused ? d->metric.rows : NULL, d->metric.rows_help,
         d->metric.refused, &n->refused},
        {METRIC_COUNTER, d->metric.failures,
         "Transactions that failed and are tried again.", NULL, &n->failures},
        {METRIC_GAUGE, d->metric.lag, d->metric.lag_help, NULL, &n->lag},
    };
    int err = 0;
    for (size_t i = 0; !err && i < sizeof(all) / sizeof(all[0]); i++) {
        if (!all[i].name)
            continue;
        buffer_clear(&labels);
        metrics_put_label(&labels, "pipeline", k->table->pipeline);
        metrics_put_label(&labels, "table", k->table->name);
        if (all[i].outcome)
            metrics_put_label(&labels, "outcome", all[i].outcome);
        err = metrics_add(t->metrics, all[i].kind, all[i].name, all[i].help,
                          buffer_text(&labels), all[i].at, 1);
    }
    buffer_free(&labels);
    return err;
}

/* What it does not know from the file. That goes on while it was held, so that the old set may be further than the file; but `noted`
 * is what is in the file. */
static void inherit(struct target_table *k, const struct target_table *old)
{
    const struct {
        const _Atomic uint64_t *from;
        _Atomic uint64_t *to;
    } all[] = {{&old->count.put, &k->count.put},
               {&old->count.deleted, &k->count.deleted},
               {&old->count.refused, &k->count.refused},
               {&old->count.failures, &k->count.failures}};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        metric_add(all[i].to, atomic_load_explicit(all[i].from, memory_order_relaxed));
    const char *topic = k->shown.topic;
    k->shown = old->shown;
    k->shown.topic = topic;
    k->taken = old->taken; /* who has been fenced stays so */
    k->before_bound = old->before_bound;
    k->epoch = old->epoch;
    memcpy(k->before, old->before, sizeof(k->before));
    k->refused_told = old->refused_told;
    k->stage = old->stage == TARGET_OVER ? TARGET_OVER : TARGET_TAKE;
    if (old->stage == TARGET_OVER || old->place.since_us != k->place.since_us ||
        old->place.position <= k->place.position)
        return;
    k->place.position = old->place.position;
    k->dirty = true;
    if (old->taken) {
        memcpy(k->place.writer, old->place.writer, sizeof(k->place.writer));
        k->place.bound = -1;
    }
}

static void drop_set(struct target *t, struct target_set *s)
{
    for (struct target_table *k = s ? s->first : NULL; k; k = k->next) {
        metrics_remove(t->metrics, k, s->kind->table_size);
        target_free_handed(t, k);
    }
    target_set_free(s);
}

/* With the lock held. All begins where it is there. */
static void adopt(struct target *t, struct target_set *fresh)
{
    struct target_set *old = t->set;
    for (struct target_table *k = fresh->first; k; k = k->next) {
        const struct target_table *o = old ? old->first : NULL;
        k->shown.state = TARGET_AWAY;
        k->shown.error_us = k->shown.success_us = INT64_MIN;
        k->noted = strcmp(k->place.writer, t->writer) == 0;
        while (o && strcmp(o->table->name, k->table->name))
            o = o->next;
        if (o)
            inherit(k, o);
        k->shown.table = k->table->name;
        k->last = k->place.position;
    }
    drop_set(t, old); /* before others of the same names are counted */
    for (struct target_table *k = fresh->first; k; k = k->next)
        if (count_table(t, k))
            logger_warn(t->kind->log, "table '%s' is not in /metrics: out of memory",
                        k->table->name);
    t->set = fresh;
    t->config = t->kind->settings(fresh->config);
    t->connect_us = t->watch_us = 0;
    t->kind->adopted(t);
}

void target_ask(struct target *t)
{
    for (struct target_table *k = t->set->first; k; k = k->next) {
        k->stage = k->stage == TARGET_OVER ? TARGET_OVER : TARGET_TAKE;
        k->look = true;
    }
}

/* ---- One table ---------------------------------------------------------------------------------- */

void target_settle(struct target_table *k, int64_t watermark_us)
{
    int64_t us;
    if (watermark_us == INT64_MIN ||
        __builtin_sub_overflow(watermark_us, k->late_us, &us))
        return;
    if (us > k->place.needed_us) {
        k->place.needed_us = us;
        k->dirty = true;
    }
}

static int64_t longer(const struct target *t, int64_t backoff_us)
{
    int64_t us = backoff_us ? 2 * backoff_us : t->config->backoff_us;
    return us < t->config->max_backoff_us ? us : t->config->max_backoff_us;
}

static void note_error(struct target *t, struct target_table *k, int err,
                       const struct error *error)
{
    pthread_mutex_lock(&t->lock);
    t->kind->tell(t, err, error, k->shown.error);
    k->shown.error_us = clock_now_us();
    pthread_mutex_unlock(&t->lock);
}

void target_give_up(struct target *t, struct target_table *k, const struct error *error)
{
    note_error(t, k, -EEXIST, error);
    target_drop_handed(t, k);
    k->stage = TARGET_OVER;
    k->backoff_us = 0;
    logger_error(t->kind->log,
                 "table '%s' is not %s to %s: %s: nothing more is %s by this one until "
                 "it is started again, and what 'retain' would take stays until then%s",
                 k->table->name, t->kind->done, t->kind->name, error->text,
                 t->kind->done,
                 t->config->hold_us == INT64_MAX ? "" : ", or for 'hold'");
}

/* Between tries to connect: who connects again soon costs little. */
static int64_t longer_away(const struct target *t)
{
    int64_t us = longer(t, t->backoff_us), most_us = t->kind->away_most_us;
    most_us = most_us > t->config->backoff_us ? most_us : t->config->backoff_us;
    return t->kind->away_most_us && us > most_us ? most_us : us;
}

/* Others may be well, but nothing can be sent. */
static void away(struct target *t, bool lost, int err, const struct error *error)
{
    if (!t->told_away && lost)
        logger_warn(t->kind->log,
                    "the connection to %s is lost: %s; tried again, and rows are kept",
                    t->kind->name, error->text);
    else if (!t->told_away)
        logger_warn(t->kind->log,
                    "%s cannot be reached: %s; tried again, and rows are kept",
                    t->kind->name, error->text);
    t->told_away = !lost;
    for (struct target_table *k = t->set->first; k; k = k->next)
        note_error(t, k, err, error);
    t->kind->disconnect(t);
    t->backoff_us = longer_away(t);
    t->connect_us = clock_monotonic_us() + t->backoff_us;
}

void target_away(struct target *t, int err, const struct error *error)
{
    away(t, true, err, error);
}

static void failed(struct target *t, struct target_table *k, int err,
                   const struct error *error)
{
    if (err == -ECANCELED || err == -ESTALE)
        return;
    if (t->kind->is_lost(t, err)) {
        away(t, true, err, error);
        return;
    }
    metric_add(&k->count.failures, 1);
    if (err == -EEXIST) {
        target_give_up(t, k, error);
        return;
    }
    note_error(t, k, err, error);
    if (!k->backoff_us)
        logger_error(t->kind->log, "table '%s' is not %s to %s: %s; tried again",
                     k->table->name, t->kind->done, t->kind->name, error->text);
    k->backoff_us = longer(t, k->backoff_us);
    k->next_us = clock_monotonic_us() + k->backoff_us;
}

/* Once the table has something to do. */
static void step(struct target *t, struct target_table *k)
{
    struct error error = {""};
    int err = t->kind->step(t, k, &error);
    if (err) {
        failed(t, k, err, &error);
        return;
    }
    t->backoff_us = 0;
    if (k->backoff_us && k->stage == TARGET_CHANGES && !k->look) {
        logger_info(t->kind->log, "table '%s' is %s again", k->table->name,
                    t->kind->done);
        k->backoff_us = 0;
    }
}

/* ---- All of them -------------------------------------------------------------------------------- */

bool target_is_over(const struct target *t)
{
    const struct target_table *k = t->set->first;
    while (k && k->stage == TARGET_OVER)
        k = k->next;
    return !k;
}

static bool is_connected(struct target *t)
{
    struct error error = {""};
    if (t->kind->is_connected(t))
        return true;
    if (clock_monotonic_us() < t->connect_us || (target_is_over(t) && !t->stays))
        return false;
    int err = t->kind->connect(t, &error);
    if (!err)
        t->told_away = false;
    else if (err != -ECANCELED)
        away(t, false, err, &error);
    return !err;
}

/* What is too far behind is not followed any longer: all rows go there once they can. */
static void skip_lag(struct target *t, struct target_table *k)
{
    if ((k->stage == TARGET_FILL && t->kind->is_connected(t)) ||
        k->last <= k->place.position ||
        (uint64_t)(k->last - k->place.position) <= t->config->max_lag)
        return;
    logger_warn(t->kind->log,
                "table '%s' is behind by more than 'max_lag': all of its rows are %s "
                "anew once %s takes them",
                k->table->name, t->kind->done, t->kind->name);
    k->place.position = k->last;
    k->dirty = true;
    k->stage = k->stage == TARGET_OVER ? TARGET_OVER : TARGET_TAKE;
    k->look = true;
}

static void end_hold(struct target *t, struct target_table *k)
{
    int64_t watermark_us, least_us;
    struct error error;
    if (t->config->hold_us == INT64_MAX || k->table->retain_us == INT64_MAX ||
        carried_watermark(t->db, k->table->pipeline, &watermark_us, &error) ||
        __builtin_sub_overflow(watermark_us, k->table->retain_us, &least_us) ||
        __builtin_sub_overflow(least_us, t->config->hold_us, &least_us) ||
        least_us <= k->place.needed_us)
        return;
    if (!k->held_told && k->place.needed_us > INT64_MIN)
        logger_warn(t->kind->log,
                    "table '%s': 'retain' takes rows that are not in %s: they have "
                    "waited for longer than 'hold'",
                    k->table->name, t->kind->name);
    k->held_told = k->place.needed_us > INT64_MIN;
    k->place.needed_us = least_us;
    k->dirty = true;
}

static void look_at_lag(struct target *t, struct target_table *k)
{
    struct changes known;
    struct error error;
    if (changes_look(t->db, k->table->name, &known, &error))
        return;
    k->last = known.last;
    skip_lag(t, k);
    end_hold(t, k);
}

static enum target_state state(const struct target *t, const struct target_table *k)
{
    if (k->stage == TARGET_OVER)
        return TARGET_FENCED;
    if (!t->kind->is_connected(t) && (t->backoff_us || !k->backoff_us))
        return TARGET_AWAY;
    if (k->backoff_us)
        return TARGET_FAILING;
    return k->stage == TARGET_CHANGES && k->noted ? TARGET_WELL : TARGET_FILLING;
}

static void show(const struct target *t, struct target_table *k)
{
    struct target_status *s = &k->shown;
    struct target_counters *n = &k->count;
    s->position = k->place.position;
    s->lag = k->last > k->place.position ? (uint64_t)(k->last - k->place.position) : 0;
    s->state = state(t, k);
    k->takes = t->hands && s->state == TARGET_WELL;
    if (s->state == TARGET_WELL && !k->look)
        s->success_us = clock_now_us();
    atomic_store_explicit(&n->lag, s->lag, memory_order_relaxed);
    s->put = atomic_load_explicit(&n->put, memory_order_relaxed);
    s->deleted = atomic_load_explicit(&n->deleted, memory_order_relaxed);
    s->refused = atomic_load_explicit(&n->refused, memory_order_relaxed);
    s->failures = atomic_load_explicit(&n->failures, memory_order_relaxed);
}

static void show_all(struct target *t)
{
    pthread_mutex_lock(&t->lock);
    for (struct target_table *k = t->set->first; k; k = k->next)
        show(t, k);
    pthread_mutex_unlock(&t->lock);
    atomic_store_explicit(&t->connected, t->kind->is_connected(t),
                          memory_order_relaxed);
}

/* What others have said. False: the end. */
static bool listen_to_others(struct target *t)
{
    target_saved(t);
    pthread_mutex_lock(&t->lock);
    bool on = !t->ending;
    if (t->fresh && !t->saving && !t->saved) {
        adopt(t, t->fresh);
        t->fresh = NULL;
    }
    for (struct target_table *k = t->set->first; t->committed && k; k = k->next)
        k->look = true;
    t->committed = false;
    pthread_mutex_unlock(&t->lock);
    return on;
}

bool target_has_work(const struct target *t, const struct target_table *k)
{
    if (t->kind->waits && t->kind->waits(t, k))
        return false;
    return k->stage == TARGET_TAKE || (k->stage != TARGET_OVER && k->look && k->noted);
}

/* A piece of each table. When to come again. */
static int64_t go_round(struct target *t)
{
    const struct target_kind *d = t->kind;
    int64_t now_us = clock_monotonic_us();
    if (!t->set->first) { /* nobody would listen to it */
        d->disconnect(t);
        return INT64_MAX;
    }
    if (now_us >= t->watch_us) {
        for (struct target_table *k = t->set->first; k; k = k->next)
            look_at_lag(t, k);
        show_all(t); /* connecting may take long */
        if (d->listen)
            d->listen(t);
        t->watch_us = now_us + TARGET_EVERY_US;
    }
    int64_t next_us = t->watch_us;
    if (is_connected(t) && d->before) {
        const int64_t again_us = d->before(t);
        next_us = again_us < next_us ? again_us : next_us;
    }
    if (d->is_connected(t))
        for (struct target_table *k = t->set->first; k && d->is_connected(t);
             k = k->next) {
            if (now_us >= k->next_us && target_has_work(t, k))
                step(t, k);
            if (target_has_work(t, k) && k->next_us < next_us)
                next_us = k->next_us;
        }
    if (!d->is_connected(t) && (!target_is_over(t) || t->stays) &&
        t->connect_us < next_us)
        next_us = t->connect_us;
    return next_us;
}

static void idle(struct target *t, int64_t until_us)
{
    int64_t left_us = until_us - clock_monotonic_us();
    struct pollfd fd = {.fd = t->wake, .events = POLLIN};
    uint64_t count;
    if (poll(&fd, 1, left_us > 3600 * SECOND_US ? 3600000 : (int)(left_us / 1000) + 1) >
            0 &&
        read(t->wake, &count, sizeof(count)) < 0)
        return; /* another has read it */
}

static void rest(struct target *t, int64_t until_us)
{
    pthread_mutex_lock(&t->lock);
    const bool said = t->committed || t->ending || t->saved ||
                      (t->fresh && !t->saving) ||
                      (t->last == TARGET_LAST_WANTED && t->kind->is_connected(t));
    pthread_mutex_unlock(&t->lock);
    if (said || until_us <= clock_monotonic_us())
        return;
    if (t->kind->idle)
        t->kind->idle(t, until_us);
    else
        idle(t, until_us);
}

static void *run(void *target)
{
    struct target *t = target;
    thread_stand_back();
    while (listen_to_others(t)) {
        int64_t next_us = go_round(t);
        show_all(t);
        target_save(t, clock_monotonic_us());
        rest(t, next_us);
    }
    t->kind->disconnect(t);
    return NULL;
}

/* ---- Its coming and going ----------------------------------------------------------------------- */

/* On the store's thread. */
static void committed(void *target)
{
    struct target *t = target;
    pthread_mutex_lock(&t->lock);
    t->committed = true;
    target_wake(t);
    pthread_mutex_unlock(&t->lock);
}

bool target_is_ending(void *target)
{
    struct target *t = target;
    pthread_mutex_lock(&t->lock);
    bool ending = t->ending;
    pthread_mutex_unlock(&t->lock);
    return ending;
}

static int start(struct target *t, struct target_set *set, struct error *error)
{
    int err =
        t->wake < 0 ? error_set(error, -errno, "eventfd: %s", strerror(errno)) : 0;
    if (!err)
        err = db_open(store_path(t->store), SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX,
                      &t->db, error);
    if (!err)
        err = metrics_add(t->metrics, METRIC_GAUGE, t->kind->metric.connected,
                          t->kind->metric.connected_help, "", &t->connected, 1);
    if (err) {
        target_set_free(set);
        return err;
    }
    adopt(t, set);
    if ((err = thread_start(&t->thread, t->kind->thread, run, t)))
        return error_set(error, err, "cannot start a thread: %s", strerror(-err));
    t->started = true;
    if (t->hands && (err = store_hand(t->store, target_hand, t)))
        return error_set(error, err, "the store hands nothing on: %s", strerror(-err));
    if ((err = store_listen(t->store, committed, t)))
        error_set(error, err, "the store does not take a listener: %s", strerror(-err));
    return err;
}

int target_new(struct store *store, struct metrics *metrics, struct target_set *set,
               const void *with, struct target **ret, struct error *error)
{
    struct target *t = calloc(1, set->kind->size);
    if (!t) {
        target_set_free(set);
        return error_set(error, -ENOMEM, "out of memory");
    }
    t->kind = set->kind;
    t->store = store;
    t->metrics = metrics;
    t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    carried_make_id(t->writer);
    pthread_mutex_init(&t->lock, NULL);
    clock_cond_init(&t->changed);
    t->kind->open(t, with);
    int err = start(t, set, error);
    if (err) {
        target_end(t);
        target_free(t);
        return err;
    }
    *ret = t;
    return 0;
}

void target_end(struct target *t)
{
    if (!t || !t->started)
        return;
    if (t->hands)
        store_hand(t->store, NULL, t);
    store_listen(t->store, NULL, t);
    pthread_mutex_lock(&t->lock);
    t->ending = true;
    target_wake(t);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    t->started = false;
    target_save_last(t);
}

/* ---- The last --------------------------------------------------------------------------------- */

bool target_last_is_wanted(struct target *t)
{
    pthread_mutex_lock(&t->lock);
    bool wanted = t->last == TARGET_LAST_WANTED;
    pthread_mutex_unlock(&t->lock);
    return wanted;
}

void target_last_is_over(struct target *t, bool done)
{
    pthread_mutex_lock(&t->lock);
    t->last = done ? TARGET_LAST_DONE : TARGET_LAST_FAILED;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

bool target_last(struct target *t, int64_t until_us)
{
    if (!t || !t->started || !t->kind->before)
        return true;
    pthread_mutex_lock(&t->lock);
    t->last = TARGET_LAST_WANTED;
    target_wake(t);
    while (t->last == TARGET_LAST_WANTED && clock_monotonic_us() < until_us)
        clock_cond_wait(&t->changed, &t->lock, until_us);
    const bool done = t->last == TARGET_LAST_DONE;
    pthread_mutex_unlock(&t->lock);
    return done;
}

void target_free(struct target *t)
{
    if (!t)
        return;
    metrics_remove(t->metrics, t, t->kind->size);
    drop_set(t, t->set);
    target_set_free(t->fresh);
    t->kind->close(t);
    free(t->saving);
    sqlite3_close(t->db);
    if (t->wake >= 0)
        close(t->wake);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* ---- Another configuration ---------------------------------------------------------------------- */

static int nothing(struct store *s, void *ctx)
{
    (void)s, (void)ctx;
    return 0;
}

/* A store that has failed makes no more calls: then a save is never over. */
int target_hold(struct target *t, struct error *error)
{
    int err = 0;
    pthread_mutex_lock(&t->lock);
    t->held = true;
    while (t->saving && !err) {
        pthread_mutex_unlock(&t->lock);
        err = store_call(t->store, nothing, NULL);
        pthread_mutex_lock(&t->lock);
        if (!err && t->saving)
            clock_cond_wait(&t->changed, &t->lock, clock_monotonic_us() + SECOND_US);
    }
    t->held = !err;
    pthread_mutex_unlock(&t->lock);
    return err ? error_set(error, err, "the database cannot be written to") : 0;
}

void target_release(struct target *t)
{
    pthread_mutex_lock(&t->lock);
    t->held = false;
    target_wake(t);
    pthread_mutex_unlock(&t->lock);
}

void target_exchange(struct target *t, struct target_set *set)
{
    pthread_mutex_lock(&t->lock);
    target_set_free(t->fresh); /* of a set that was not looked at: this is newer */
    t->fresh = set;
    t->held = false;
    target_wake(t);
    pthread_mutex_unlock(&t->lock);
}

/* ---- For people --------------------------------------------------------------------------------- */

void target_each(struct target *t, const char *pipeline,
                 void (*call)(void *ctx, const struct target_status *s), void *ctx)
{
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    for (struct target_table *k = t->set->first; k; k = k->next)
        if (strcmp(k->table->pipeline, pipeline) == 0)
            call(ctx, &k->shown);
    pthread_mutex_unlock(&t->lock);
}
