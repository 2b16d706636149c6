/* SPDX-License-Identifier: Apache-2.0
 *
 * The thread that publishes, and its coming and going.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/logger.h"
#include "base/thread.h"
#include "publish/internal.h"
#include "store/db.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELD_US 50000 /* while another configuration is prepared */

const char *const publish_state_word[] = {[PUBLISH_WELL] = "well",
                                          [PUBLISH_AWAY] = "away",
                                          [PUBLISH_FAILING] = "failing",
                                          [PUBLISH_FENCED] = "fenced"};

/* ---- Tables come and go ------------------------------------------------------------------------- */

/* Of one name at a time. */
static int count_table(struct publisher *p, struct published *k)
{
    struct publish_counters *n = &k->count;
    struct buffer labels = {0};
    const struct {
        enum metric_kind kind;
        const char *name, *help, *outcome;
        const _Atomic uint64_t *at;
    } all[] = {
        {METRIC_COUNTER, "weir_kafka_rows_total", "Rows by what was sent to Kafka.",
         "published", &n->published},
        {METRIC_COUNTER, "weir_kafka_rows_total", "Rows by what was sent to Kafka.",
         "deleted", &n->deleted},
        {METRIC_COUNTER, "weir_kafka_failures_total",
         "Transactions that failed and are tried again.", NULL, &n->failures},
        {METRIC_GAUGE, "weir_kafka_lag_rows",
         "Changes of the table that are not in Kafka.", NULL, &n->lag},
    };
    int err = 0;
    for (size_t i = 0; !err && i < sizeof(all) / sizeof(all[0]); i++) {
        buffer_clear(&labels);
        metrics_put_label(&labels, "pipeline", k->table->pipeline);
        metrics_put_label(&labels, "table", k->table->name);
        if (all[i].outcome)
            metrics_put_label(&labels, "outcome", all[i].outcome);
        err = metrics_add(p->metrics, all[i].kind, all[i].name, all[i].help,
                          buffer_text(&labels), all[i].at, 1);
    }
    buffer_free(&labels);
    return err;
}

static void inherit(struct published *k, const struct published *old)
{
    const struct {
        const _Atomic uint64_t *from;
        _Atomic uint64_t *to;
    } all[] = {{&old->count.published, &k->count.published},
               {&old->count.deleted, &k->count.deleted},
               {&old->count.failures, &k->count.failures}};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        metric_add(all[i].to, atomic_load_explicit(all[i].from, memory_order_relaxed));
    k->shown = old->shown;
    k->taken = old->taken; /* who has been fenced stays so */
    memcpy(k->before, old->before, sizeof(k->before));
    k->stage = old->stage == PUBLISH_OVER ? PUBLISH_OVER : PUBLISH_TAKE;
    if (old->stage == PUBLISH_OVER || old->place.since_us != k->place.since_us ||
        old->place.position <= k->place.position)
        return;
    k->place.position = old->place.position;
    k->dirty = true; /* the old set was held */
    if (old->taken) {
        memcpy(k->place.writer, old->place.writer, sizeof(k->place.writer));
        k->place.bound = -1;
    }
}

static void drop_set(struct publisher *p, struct publish_set *s)
{
    for (struct published *k = s ? s->first : NULL; k; k = k->next)
        metrics_remove(p->metrics, k, sizeof(*k));
    publish_set_free(s);
}

/* With the lock held. All begins where it is in Kafka. */
static void adopt(struct publisher *p, struct publish_set *fresh)
{
    struct publish_set *old = p->set;
    for (struct published *k = fresh->first; k; k = k->next) {
        const struct published *o = old ? old->first : NULL;
        k->shown = (struct publish_status){
            .state = PUBLISH_AWAY, .error_us = INT64_MIN, .success_us = INT64_MIN};
        while (o && strcmp(o->table->name, k->table->name))
            o = o->next;
        if (o)
            inherit(k, o);
        k->shown.table = k->table->name;
        k->shown.topic = k->topic;
        k->last = k->place.position;
    }
    drop_set(p, old); /* before others of the same names are counted */
    for (struct published *k = fresh->first; k; k = k->next)
        if (count_table(p, k))
            logger_warn("publish", "table '%s' is not in /metrics: out of memory",
                        k->table->name);
    p->set = fresh;
    p->config = fresh->config->server.kafka;
    p->connect_us = p->watch_us = 0;
}

/* ---- Places are saved ---------------------------------------------------------------------------- */

/* Once it is posted the writer has it, and frees it; a store that has failed does not: then publish_free does. */
struct saving {
    struct publisher *publisher;
    struct error error;
    size_t n;
    struct carried_place place[];
};

/* On the writer thread. */
static void save(struct store *s, void *saving)
{
    struct saving *w = saving;
    struct publisher *p = w->publisher;
    int err = carried_save(s, CARRIED_KAFKA, w->place, w->n, &w->error);
    pthread_mutex_lock(&p->lock);
    p->saved_err = err;
    p->saved_error = w->error;
    p->saving = NULL;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    free(w);
}

static struct saving *collect(struct publisher *p)
{
    size_t n = 0;
    for (struct published *k = p->set->first; k; k = k->next)
        n += k->dirty;
    struct saving *w = n ? calloc(1, sizeof(*w) + n * sizeof(w->place[0])) : NULL;
    if (!w)
        return NULL;
    w->publisher = p;
    for (struct published *k = p->set->first; k; k = k->next)
        if (k->dirty)
            w->place[w->n++] = k->place;
    return w;
}

/* All that is dirty. False: not now, others are to be read from the file, or the writer has no time for it. */
static bool post_save(struct publisher *p)
{
    struct saving *w = collect(p);
    pthread_mutex_lock(&p->lock);
    bool post = w && !p->saving && !p->held && !p->fresh;
    if (post)
        p->saving = w;
    pthread_mutex_unlock(&p->lock);
    if (post && store_post(p->store, save, w) == 0) {
        for (struct published *k = p->set->first; k; k = k->next)
            k->dirty = false;
        return true;
    }
    pthread_mutex_lock(&p->lock);
    if (post) {
        p->saving = NULL;
        pthread_cond_broadcast(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
    free(w);
    return false;
}

/* Once a second. What could not be saved is no trouble: Kafka knows. */
static void save_sometimes(struct publisher *p, int64_t now_us)
{
    if (now_us < p->save_us)
        return;
    pthread_mutex_lock(&p->lock);
    const int err = p->saving ? 0 : p->saved_err;
    const bool more = err == 1; /* to forget, by the next call */
    p->saved_err = p->saving ? p->saved_err : 0;
    pthread_mutex_unlock(&p->lock);
    for (struct published *k = p->set->first; err && k; k = k->next)
        k->dirty = true;
    if (post_save(p))
        p->save_us = now_us + (more ? 0 : PUBLISH_EVERY_US);
}

/* -EBUSY: not now. */
static int save_now(struct publisher *p, struct error *error)
{
    if (!post_save(p))
        return error_set(error, -EBUSY, "the database cannot be written to yet");
    pthread_mutex_lock(&p->lock);
    while (p->saving && !p->ending)
        clock_cond_wait(&p->changed, &p->lock, clock_monotonic_us() + SECOND_US);
    int err = p->saving ? -ECANCELED : p->saved_err;
    if (err < 0 && err != -ECANCELED)
        *error = p->saved_error;
    pthread_mutex_unlock(&p->lock);
    return err < 0 ? err : 0;
}

static int save_call(struct store *s, void *saving)
{
    struct saving *w = saving;
    return carried_save(s, CARRIED_KAFKA, w->place, w->n, &w->error);
}

static void save_last(struct publisher *p)
{
    struct saving *w = store_trouble(p->store) ? NULL : collect(p);
    if (w && store_call(p->store, save_call, w) < 0)
        logger_warn("publish",
                    "how far tables were published last is not noted: Kafka knows");
    free(w);
}

/* ---- Whose a table is ---------------------------------------------------------------------------- */

static bool is_others(const struct publisher *p, const struct published *k,
                      const struct link_place *there)
{
    return there->there && k->taken && strcmp(there->writer, p->writer) &&
           strcmp(there->writer, k->before);
}

/* Is what is there what we have up to its place? What had a lower number than ours when that was noted is the same in all copies of the
 * file; and of who has published before this run what it may have published until the file was opened anew. */
static bool is_ours(const struct publisher *p, const struct published *k,
                    const struct link_place *there)
{
    const struct carried_place *here = &k->place;
    if (!there->there || there->since_us != here->since_us)
        return false;
    return there->position <= here->position || strcmp(there->writer, p->writer) == 0 ||
           (*here->writer && strcmp(there->writer, here->writer) == 0 &&
            there->position <= here->bound);
}

static void say_where(const struct published *k, const struct link_place *there)
{
    if (there->there && there->since_us == k->place.since_us)
        logger_warn("publish",
                    "table '%s': what Kafka has was published from another copy of the "
                    "database: what was put since this one was copied is published "
                    "again",
                    k->table->name);
    else if (!there->there && *k->place.writer)
        logger_warn("publish",
                    "table '%s': Kafka does not know how far it is: it goes on where "
                    "the file is, and what was published just before the last stop may "
                    "come again",
                    k->table->name);
}

/* -EEXIST: it is another's. The name of this run is in the file before it is there. */
static int take(struct publisher *p, struct published *k, struct error *error)
{
    struct link_place there;
    int err = link_topic(&p->link, k->topic, error);
    if (!err)
        err = link_place(&p->link, k->topic, &there, error);
    if (err)
        return err;
    if (is_others(p, k, &there))
        return error_set(error, -EEXIST, "another server has taken its place");
    const bool ours = is_ours(p, k, &there);
    if (!ours && !k->taken)
        say_where(k, &there);
    if (ours && there.position > k->place.position)
        k->place.position = there.position;
    if (!k->taken)
        memcpy(k->before, there.there ? there.writer : "",
               there.there ? sizeof(k->before) : 1);
    memcpy(k->place.writer, p->writer, sizeof(p->writer));
    k->place.bound = -1;
    k->dirty = true;
    err = save_now(p, error);
    fault_point("publish_noted");
    if (!err)
        err = link_begin(&p->link, error);
    there = (struct link_place){.position = k->place.position,
                                .since_us = k->place.since_us};
    memcpy(there.writer, p->writer, sizeof(p->writer));
    if (!err)
        err = link_commit(&p->link, k->topic, &there, error);
    if (err)
        return err;
    fault_point("publish_taken");
    k->taken = true;
    k->stage = PUBLISH_CHANGES;
    return 0;
}

/* ---- One table ------------------------------------------------------------------------------------ */

/* As far as its windows have ended and are published, and cannot be revised any more, `retain` may take rows. */
static void settle(struct published *k, int64_t watermark_us)
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

static int publish_changes(struct publisher *p, struct published *k,
                           struct error *error)
{
    struct publish_piece piece;
    int err = messages_send(p, k, &piece, error);
    if (err == 1) {
        k->look = false;
        settle(k, piece.watermark_us);
        return 0;
    }
    struct link_place to = {.position = piece.last, .since_us = k->place.since_us};
    memcpy(to.writer, p->writer, sizeof(p->writer));
    fault_point("publish_sent");
    if (!err)
        err = link_commit(&p->link, k->topic, &to, error);
    if (err)
        return err;
    fault_point("publish_committed");
    k->place.position = piece.last;
    k->look = !piece.all;
    k->dirty = true;
    settle(k, piece.watermark_us);
    metric_add(&k->count.published, piece.rows);
    metric_add(&k->count.deleted, piece.gone);
    return 0;
}

static int64_t longer(const struct publisher *p, int64_t backoff_us)
{
    int64_t us = backoff_us ? 2 * backoff_us : p->config->backoff_us;
    return us < p->config->max_backoff_us ? us : p->config->max_backoff_us;
}

/* For people who need not know where it is: librdkafka's texts name hosts. */
static const char *shown_text(int err, const struct error *error)
{
    switch (err) {
    case -EEXIST:
    case -ENOENT:
    case -EMSGSIZE:
        return error->text;
    case -EAGAIN:
        return "Kafka cannot be reached, or does not answer";
    default:
        return "the log says why";
    }
}

static void note_error(struct publisher *p, struct published *k, int err,
                       const struct error *error)
{
    pthread_mutex_lock(&p->lock);
    snprintf(k->shown.error, sizeof(k->shown.error), "%.250s", shown_text(err, error));
    k->shown.error_us = clock_now_us();
    pthread_mutex_unlock(&p->lock);
}

/* What was sent is given up, and all tables are asked for their places anew. */
static void disconnect(struct publisher *p)
{
    link_close(&p->link);
    for (struct published *k = p->set->first; k; k = k->next) {
        k->stage = k->stage == PUBLISH_OVER ? PUBLISH_OVER : PUBLISH_TAKE;
        k->look = true;
    }
}

static void away(struct publisher *p, int err, const struct error *error)
{
    if (!p->told_away)
        logger_warn("publish",
                    "Kafka cannot be reached: %s; tried again, and rows are kept",
                    error->text);
    p->told_away = true;
    for (struct published *k = p->set->first; k; k = k->next)
        note_error(p, k, err, error);
    disconnect(p);
    p->backoff_us = longer(p, p->backoff_us);
    p->connect_us = clock_monotonic_us() + p->backoff_us;
}

static void over(struct publisher *p, struct published *k, const struct error *error)
{
    note_error(p, k, -EEXIST, error);
    k->stage = PUBLISH_OVER;
    k->backoff_us = 0;
    logger_error("publish",
                 "table '%s' is not published to Kafka: %s: nothing more is published "
                 "by this one until it is started again, and what 'retain' would take "
                 "stays until then",
                 k->table->name, error->text);
}

static void failed(struct publisher *p, struct published *k, int err,
                   const struct error *error)
{
    if (err == -ECANCELED || err == -EAGAIN) {
        if (err == -EAGAIN)
            away(p, err, error);
        return;
    }
    if (err == -ESTALE) {
        p->superseded = true;
        disconnect(p);
        return;
    }
    if (err == -EBUSY) {
        k->next_us = clock_monotonic_us() + HELD_US;
        return;
    }
    metric_add(&k->count.failures, 1);
    if (err == -EEXIST) {
        over(p, k, error);
        return;
    }
    note_error(p, k, err, error);
    if (!k->backoff_us)
        logger_error("publish", "table '%s' is not published to Kafka: %s; tried again",
                     k->table->name, error->text);
    k->backoff_us = longer(p, k->backoff_us);
    k->next_us = clock_monotonic_us() + k->backoff_us;
    if (err != -ENOENT && err != -EMSGSIZE)
        disconnect(p);
}

/* Once the table has something to do. */
static void step(struct publisher *p, struct published *k)
{
    struct error error = {""};
    int err =
        k->stage == PUBLISH_TAKE ? take(p, k, &error) : publish_changes(p, k, &error);
    if (err) {
        failed(p, k, err, &error);
        return;
    }
    p->backoff_us = 0;
    if (k->backoff_us && k->stage == PUBLISH_CHANGES && !k->look) {
        logger_info("publish", "table '%s' is published again", k->table->name);
        k->backoff_us = 0;
    }
}

/* ---- All of them ---------------------------------------------------------------------------------- */

static bool is_all_over(const struct publisher *p)
{
    const struct published *k = p->set->first;
    while (k && k->stage == PUBLISH_OVER)
        k = k->next;
    return !k;
}

/* Another producer has begun: tables that it has taken are left to it before ours would end what it has under way. */
static int look_for_others(struct publisher *p, struct error *error)
{
    int err = 0;
    for (struct published *k = p->set->first; !err && k; k = k->next) {
        struct link_place there;
        if (k->stage == PUBLISH_OVER)
            continue;
        err = link_place(&p->link, k->topic, &there, error);
        if (!err && is_others(p, k, &there)) {
            error_set(error, 0, "another server has taken its place");
            over(p, k, error);
        }
    }
    return err;
}

static bool is_connected(struct publisher *p)
{
    struct error error = {""};
    if (p->link.producer)
        return true;
    if (clock_monotonic_us() < p->connect_us || is_all_over(p))
        return false;
    int err = link_open(&p->link, p->config, p->set->database, &error);
    if (!err && p->superseded)
        err = look_for_others(p, &error);
    if (!err && is_all_over(p)) {
        link_close(&p->link);
        return false;
    }
    if (!err)
        err = link_take(&p->link, &error);
    if (err) {
        link_close(&p->link);
        if (err != -ECANCELED)
            away(p, err, &error);
        return false;
    }
    p->superseded = false;
    logger_info("publish", "results are published to Kafka at '%s'",
                p->config->link.brokers);
    p->told_away = false;
    return true;
}

static void look_at_lag(struct publisher *p, struct published *k)
{
    struct changes known;
    struct error error;
    if (!changes_look(p->db, k->table->name, &known, &error))
        k->last = known.last;
}

static void show(struct publisher *p, struct published *k)
{
    struct publish_status *s = &k->shown;
    struct publish_counters *n = &k->count;
    s->position = k->place.position;
    s->lag = k->last > k->place.position ? (uint64_t)(k->last - k->place.position) : 0;
    s->state = k->stage == PUBLISH_OVER                        ? PUBLISH_FENCED
               : k->backoff_us                                 ? PUBLISH_FAILING
               : !p->link.producer || k->stage == PUBLISH_TAKE ? PUBLISH_AWAY
                                                               : PUBLISH_WELL;
    if (s->state == PUBLISH_WELL && !k->look)
        s->success_us = clock_now_us();
    atomic_store_explicit(&n->lag, s->lag, memory_order_relaxed);
    s->published = atomic_load_explicit(&n->published, memory_order_relaxed);
    s->deleted = atomic_load_explicit(&n->deleted, memory_order_relaxed);
    s->failures = atomic_load_explicit(&n->failures, memory_order_relaxed);
}

/* What others have said. False: the end. */
static bool listen_to_others(struct publisher *p)
{
    pthread_mutex_lock(&p->lock);
    bool on = !p->ending;
    if (p->fresh && !p->saving) {
        adopt(p, p->fresh);
        p->fresh = NULL;
    }
    for (struct published *k = p->set->first; p->committed && k; k = k->next)
        k->look = true;
    p->committed = false;
    pthread_mutex_unlock(&p->lock);
    return on;
}

/* A piece of each table. When to come again. */
static int64_t publish_round(struct publisher *p)
{
    int64_t now_us = clock_monotonic_us();
    if (!p->set->first) { /* nobody would listen to it */
        link_close(&p->link);
        return INT64_MAX;
    }
    if (now_us >= p->watch_us) {
        for (struct published *k = p->set->first; k; k = k->next)
            look_at_lag(p, k);
        link_listen(&p->link);
        p->watch_us = now_us + PUBLISH_EVERY_US;
    }
    int64_t next_us = p->watch_us;
    if (is_connected(p))
        for (struct published *k = p->set->first; k && p->link.producer; k = k->next) {
            bool wants =
                k->stage == PUBLISH_TAKE || (k->stage == PUBLISH_CHANGES && k->look);
            if (wants && now_us >= k->next_us)
                step(p, k);
            wants =
                k->stage == PUBLISH_TAKE || (k->stage == PUBLISH_CHANGES && k->look);
            if (wants && k->next_us < next_us)
                next_us = k->next_us;
        }
    if (!p->link.producer && !is_all_over(p) && p->connect_us < next_us)
        next_us = p->connect_us;
    return next_us;
}

static void rest(struct publisher *p, int64_t until_us)
{
    if (until_us == INT64_MAX)
        until_us = clock_monotonic_us() + 60 * SECOND_US;
    pthread_mutex_lock(&p->lock);
    if (!p->committed && !p->ending && !(p->fresh && !p->saving))
        clock_cond_wait(&p->changed, &p->lock, until_us);
    pthread_mutex_unlock(&p->lock);
}

static void *run(void *publisher)
{
    struct publisher *p = publisher;
    thread_stand_back();
    while (listen_to_others(p)) {
        int64_t next_us = publish_round(p);
        pthread_mutex_lock(&p->lock);
        for (struct published *k = p->set->first; k; k = k->next)
            show(p, k);
        pthread_mutex_unlock(&p->lock);
        atomic_store_explicit(&p->connected, p->link.producer != NULL,
                              memory_order_relaxed);
        save_sometimes(p, clock_monotonic_us());
        if (next_us > clock_monotonic_us())
            rest(p, next_us);
    }
    link_close(&p->link);
    return NULL;
}

/* ---- Its coming and going ------------------------------------------------------------------------- */

/* On the store's thread. */
static void committed(void *publisher)
{
    struct publisher *p = publisher;
    pthread_mutex_lock(&p->lock);
    p->committed = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static bool is_ending(void *publisher)
{
    struct publisher *p = publisher;
    pthread_mutex_lock(&p->lock);
    bool ending = p->ending;
    pthread_mutex_unlock(&p->lock);
    return ending;
}

static int start(struct publisher *p, struct publish_set *set, struct error *error)
{
    int err = db_open(store_path(p->store), SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX,
                      &p->db, error);
    if (!err)
        err = metrics_add(p->metrics, METRIC_GAUGE, "weir_kafka_connected",
                          "1: there is a connection to Kafka, to publish.", "",
                          &p->connected, 1);
    if (err) {
        publish_set_free(set);
        return err;
    }
    adopt(p, set);
    if ((err = thread_start(&p->thread, "weir-publish", run, p)))
        return error_set(error, err, "cannot start a thread: %s", strerror(-err));
    p->started = true;
    if ((err = store_listen(p->store, committed, p)))
        error_set(error, err, "the store does not take a listener: %s", strerror(-err));
    return err;
}

int publish_new(struct store *store, struct metrics *metrics, struct publish_set *set,
                struct publisher **ret, struct error *error)
{
    struct publisher *p = calloc(1, sizeof(*p));
    if (!p) {
        publish_set_free(set);
        return error_set(error, -ENOMEM, "out of memory");
    }
    p->store = store;
    p->metrics = metrics;
    carried_make_id(p->writer);
    p->link = (struct link){.stop = is_ending, .ctx = p};
    pthread_mutex_init(&p->lock, NULL);
    clock_cond_init(&p->changed);
    int err = start(p, set, error);
    if (err) {
        publish_end(p);
        publish_free(p);
        return err;
    }
    *ret = p;
    return 0;
}

void publish_end(struct publisher *p)
{
    if (!p || !p->started)
        return;
    store_listen(p->store, NULL, p);
    pthread_mutex_lock(&p->lock);
    p->ending = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    p->started = false;
    save_last(p);
}

void publish_free(struct publisher *p)
{
    if (!p)
        return;
    metrics_remove(p->metrics, p, sizeof(*p));
    drop_set(p, p->set);
    publish_set_free(p->fresh);
    free(p->saving);
    buffer_free(&p->key);
    buffer_free(&p->value);
    sqlite3_close(p->db);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* ---- Another configuration ------------------------------------------------------------------------ */

static int nothing(struct store *s, void *ctx)
{
    (void)s, (void)ctx;
    return 0;
}

/* A store that has failed makes no more calls: then a save is never over. */
int publish_hold(struct publisher *p, struct error *error)
{
    int err = 0;
    pthread_mutex_lock(&p->lock);
    p->held = true;
    while (p->saving && !err) {
        pthread_mutex_unlock(&p->lock);
        err = store_call(p->store, nothing, NULL);
        pthread_mutex_lock(&p->lock);
        if (!err && p->saving)
            clock_cond_wait(&p->changed, &p->lock, clock_monotonic_us() + SECOND_US);
    }
    p->held = !err;
    pthread_mutex_unlock(&p->lock);
    return err ? error_set(error, err, "the database cannot be written to") : 0;
}

void publish_release(struct publisher *p)
{
    pthread_mutex_lock(&p->lock);
    p->held = false;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

void publish_exchange(struct publisher *p, struct publish_set *set)
{
    pthread_mutex_lock(&p->lock);
    publish_set_free(p->fresh); /* of a set that was not looked at: this is newer */
    p->fresh = set;
    p->held = false;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

/* ---- For people ----------------------------------------------------------------------------------- */

void publish_each(struct publisher *p, const char *pipeline,
                  void (*call)(void *ctx, const struct publish_status *s), void *ctx)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    for (struct published *k = p->set->first; k; k = k->next)
        if (strcmp(k->table->pipeline, pipeline) == 0)
            call(ctx, &k->shown);
    pthread_mutex_unlock(&p->lock);
}
