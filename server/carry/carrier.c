/* SPDX-License-Identifier: Apache-2.0
 *
 * The thread that carries, and its coming and going.
 */
#include "base/clock.h"
#include "base/logger.h"
#include "base/thread.h"
#include "carry/internal.h"
#include "store/db.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

const char *const carry_state_word[] = {[CARRY_WELL] = "well",
                                        [CARRY_FILLING] = "filling",
                                        [CARRY_AWAY] = "away",
                                        [CARRY_FAILING] = "failing",
                                        [CARRY_FENCED] = "fenced"};

static void wake(struct carrier *c)
{
    uint64_t one = 1;
    if (write(c->pg.wake, &one, sizeof(one)) < 0)
        return; /* it is full: it will wake */
}

/* ---- Tables come and go ------------------------------------------------------------------------- */

/* Of one name at a time. */
static int count_table(struct carrier *c, struct carried *k)
{
    struct carry_counters *n = &k->count;
    struct buffer labels = {0};
    const struct {
        enum metric_kind kind;
        const char *name, *help, *outcome;
        const _Atomic uint64_t *at;
    } all[] = {
        {METRIC_COUNTER, "weir_postgresql_rows_total",
         "Rows by what became of them in PostgreSQL.", "carried", &n->carried},
        {METRIC_COUNTER, "weir_postgresql_rows_total",
         "Rows by what became of them in PostgreSQL.", "deleted", &n->deleted},
        {METRIC_COUNTER, "weir_postgresql_rows_total",
         "Rows by what became of them in PostgreSQL.", "refused", &n->refused},
        {METRIC_COUNTER, "weir_postgresql_failures_total",
         "Transactions that failed and are tried again.", NULL, &n->failures},
        {METRIC_GAUGE, "weir_postgresql_lag_rows",
         "Changes of the table that are not in PostgreSQL.", NULL, &n->lag},
    };
    int err = 0;
    for (size_t i = 0; !err && i < sizeof(all) / sizeof(all[0]); i++) {
        buffer_clear(&labels);
        metrics_put_label(&labels, "pipeline", k->table->pipeline);
        metrics_put_label(&labels, "table", k->table->name);
        if (all[i].outcome)
            metrics_put_label(&labels, "outcome", all[i].outcome);
        err = metrics_add(c->metrics, all[i].kind, all[i].name, all[i].help,
                          buffer_text(&labels), all[i].at, 1);
    }
    buffer_free(&labels);
    return err;
}

static void inherit(struct carried *k, const struct carried *old)
{
    const struct {
        const _Atomic uint64_t *from;
        _Atomic uint64_t *to;
    } all[] = {{&old->count.carried, &k->count.carried},
               {&old->count.deleted, &k->count.deleted},
               {&old->count.refused, &k->count.refused},
               {&old->count.failures, &k->count.failures}};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        metric_add(all[i].to, atomic_load_explicit(all[i].from, memory_order_relaxed));
    k->shown = old->shown;
    k->taken = old->taken; /* who has been fenced stays so */
    k->before_bound = old->before_bound;
    memcpy(k->before, old->before, sizeof(k->before));
    k->refused_told = old->refused_told;
}

static void drop_set(struct carrier *c, struct carry_set *s)
{
    for (struct carried *k = s ? s->first : NULL; k; k = k->next)
        metrics_remove(c->metrics, k, sizeof(*k));
    carry_set_free(s);
}

/* With the lock held. All begins where it is in PostgreSQL. */
static void adopt(struct carrier *c, struct carry_set *fresh)
{
    struct carry_set *old = c->set;
    for (struct carried *k = fresh->first; k; k = k->next) {
        const struct carried *o = old ? old->first : NULL;
        k->shown = (struct carry_status){
            .state = CARRY_AWAY, .error_us = INT64_MIN, .success_us = INT64_MIN};
        while (o && strcmp(o->table->name, k->table->name))
            o = o->next;
        if (o)
            inherit(k, o);
        k->shown.table = k->table->name;
        k->last = k->place.position;
        k->noted = strcmp(k->place.writer, c->writer) == 0;
    }
    drop_set(c, old); /* before others of the same names are counted */
    for (struct carried *k = fresh->first; k; k = k->next)
        if (count_table(c, k))
            logger_warn("carry", "table '%s' is not in /metrics: out of memory",
                        k->table->name);
    c->set = fresh;
    c->config = fresh->config->server.postgresql;
    pg_close(&c->pg); /* and with it what was made for the tables of before */
    c->pg.timeout_us = c->config->timeout_us;
    c->connect_us = c->watch_us = 0;
}

/* ---- Places are saved ---------------------------------------------------------------------------- */

struct saving {
    struct carrier *carrier;
    struct error error;
    size_t n;
    struct carried_place place[];
};

/* On the writer thread. */
static void save(struct store *s, void *saving)
{
    struct saving *w = saving;
    struct carrier *c = w->carrier;
    int err = carried_save(s, CARRIED_POSTGRESQL, w->place, w->n, &w->error);
    pthread_mutex_lock(&c->lock);
    c->saved = true;
    c->saved_err = err;
    c->busy = false; /* the thread may be waiting for PostgreSQL */
    pthread_cond_broadcast(&c->changed);
    wake(c);
    pthread_mutex_unlock(&c->lock);
}

static struct saving *collect(struct carrier *c)
{
    size_t n = 0;
    for (struct carried *k = c->set->first; k; k = k->next)
        n += k->dirty;
    struct saving *w = n ? calloc(1, sizeof(*w) + n * sizeof(w->place[0])) : NULL;
    if (!w)
        return NULL;
    w->carrier = c;
    for (struct carried *k = c->set->first; k; k = k->next)
        if (k->dirty) {
            w->place[w->n++] = k->place;
            k->dirty = false;
        }
    return w;
}

/* What was not saved is saved with what comes next: all of it, as it is no trouble. */
static void begin_save(struct carrier *c, int64_t now_us)
{
    if (c->saving || now_us < c->save_us)
        return;
    pthread_mutex_lock(&c->lock);
    bool held = c->held || c->fresh; /* then these are of the set before */
    c->busy = !held;
    pthread_mutex_unlock(&c->lock);
    if (held)
        return;
    c->saving = collect(c);
    if (c->saving && store_post(c->store, save, c->saving) == 0)
        return;
    free(c->saving);
    c->saving = NULL;
    pthread_mutex_lock(&c->lock);
    c->busy = false;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

static void end_save(struct carrier *c, int err)
{
    if (err < 0)
        logger_warn("carry",
                    "how far tables were carried cannot be noted: %s; tried again, and "
                    "PostgreSQL knows",
                    c->saving->error.text);
    for (struct carried *k = c->set->first; k; k = k->next) {
        k->dirty = k->dirty || err;
        for (size_t i = 0; err >= 0 && i < c->saving->n; i++)
            if (c->saving->place[i].table == k->place.table)
                k->noted = strcmp(c->saving->place[i].writer, c->writer) == 0;
    }
    free(c->saving);
    c->saving = NULL;
    c->save_us = err == 1 ? 0 : clock_monotonic_us() + CARRY_EVERY_US;
}

static int save_now(struct store *s, void *saving)
{
    struct saving *w = saving;
    return carried_save(s, CARRIED_POSTGRESQL, w->place, w->n, &w->error);
}

/* Behind one that is under way, which belongs to the store until it is freed if that cannot write. */
static void save_last(struct carrier *c)
{
    struct saving *w = store_trouble(c->store) ? NULL : collect(c);
    if (w && store_call(c->store, save_now, w) < 0)
        logger_warn("carry",
                    "how far tables were carried last is not noted: PostgreSQL "
                    "knows");
    free(w);
}

/* ---- One table ------------------------------------------------------------------------------------ */

/* As far as its windows have ended and are carried, and cannot be revised any more, `retain` may take rows. */
static void settle(struct carried *k, int64_t watermark_us)
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

static int carry_changes(struct carrier *c, struct carried *k, struct error *error)
{
    struct carry_piece p;
    int err = rows_changes(c, k, &p, error);
    if (err == 1) {
        k->look = false;
        settle(k, p.watermark_us);
        return 0;
    }
    if (!err)
        err = far_put(c, k, &p, error);
    if (err == -EINVAL && p.plain && !strcmp(c->pg.state, "23505")) {
        k->staged_until = p.last; /* some are there already */
        return 0;
    }
    if (err)
        return err;
    k->place.position = p.last;
    k->look = !p.all;
    k->dirty = true;
    settle(k, p.watermark_us);
    metric_add(&k->count.carried, c->rows.rows);
    metric_add(&k->count.deleted, c->gone.rows);
    return 0;
}

static int carry_all(struct carrier *c, struct carried *k, struct error *error)
{
    struct carry_piece p;
    int err = rows_fill(c, k, &p, error);
    if (!err)
        err = far_fill(c, k, &p, error);
    if (err)
        return err;
    metric_add(&k->count.carried, c->rows.rows);
    if (p.all) {
        k->place.position = k->fill_last;
        k->staged_until = k->last; /* what came meanwhile was read, too, or not */
        k->stage = CARRY_CHANGES;
        k->dirty = true;
        rows_restart(k);
        logger_info("carry", "table '%s': all of its rows are in PostgreSQL",
                    k->table->name);
    }
    return 0;
}

static int carry(struct carrier *c, struct carried *k, struct error *error)
{
    switch (k->stage) {
    case CARRY_TAKE:
        return far_take(c, k, error);
    case CARRY_FILL:
        return carry_all(c, k, error);
    case CARRY_CHANGES:
        return carry_changes(c, k, error);
    case CARRY_OVER:
        break;
    }
    k->look = false;
    return 0;
}

static int64_t longer(const struct carrier *c, int64_t backoff_us)
{
    int64_t us = backoff_us ? 2 * backoff_us : c->config->backoff_us;
    return us < c->config->max_backoff_us ? us : c->config->max_backoff_us;
}

/* For people who need not know where it is: libpq's text, and what others have put there, may name hosts and users. */
static const char *shown_text(int err, const struct error *error)
{
    switch (err) {
    case -EBADF:
    case -EPROTO:
        return error->text;
    case -EPERM:
        return "in PostgreSQL it is carried from another database";
    case -EEXIST:
        return "another server has taken its place";
    case -ECONNREFUSED:
        return "PostgreSQL cannot be reached, or refuses the connection";
    case -ETIMEDOUT:
        return "no answer within 'timeout'";
    case -ECONNRESET:
        return "the connection was lost";
    default:
        return "the log says why";
    }
}

static void note_error(struct carrier *c, struct carried *k, int err,
                       const struct error *error)
{
    pthread_mutex_lock(&c->lock);
    if (err == -EINVAL && c->pg.state[0])
        snprintf(k->shown.error, sizeof(k->shown.error),
                 "PostgreSQL refuses it: SQLSTATE %s", c->pg.state);
    else
        snprintf(k->shown.error, sizeof(k->shown.error), "%.250s",
                 shown_text(err, error));
    k->shown.error_us = clock_now_us();
    pthread_mutex_unlock(&c->lock);
}

/* The table is asked for its place anew; others go on. */
static void failed(struct carrier *c, struct carried *k, int err,
                   const struct error *error)
{
    if (err != -ESTALE)
        note_error(c, k, err, error);
    k->stage = CARRY_TAKE;
    rows_restart(k);
    if (!c->pg.c && err != -ECANCELED)
        logger_warn("carry", "the connection to PostgreSQL is lost: %s", error->text);
    if (err == -ESTALE || !c->pg.c)
        return;
    metric_add(&k->count.failures, 1);
    if (err == -EEXIST)
        k->stage = CARRY_OVER;
    if (!k->backoff_us || err == -EEXIST)
        logger_error("carry", "table '%s' is not carried to PostgreSQL: %s%s",
                     k->table->name, error->text,
                     err == -EEXIST ? "" : "; tried again");
    k->backoff_us = longer(c, k->backoff_us);
    k->next_us = clock_monotonic_us() + k->backoff_us;
}

/* Once the table has something to do. */
static void step(struct carrier *c, struct carried *k)
{
    struct error error = {""};
    int err = carry(c, k, &error);
    if (err) {
        failed(c, k, err, &error);
        return;
    }
    if (k->backoff_us && k->stage == CARRY_CHANGES && !k->look) {
        logger_info("carry", "table '%s' is carried again", k->table->name);
        k->backoff_us = 0;
    }
}

/* ---- All of them ---------------------------------------------------------------------------------- */

static void away(struct carrier *c, int err, const struct error *error)
{
    if (!c->told_away)
        logger_warn("carry",
                    "PostgreSQL cannot be reached: %s; tried again, and rows "
                    "are kept",
                    error->text);
    c->told_away = true;
    for (struct carried *k = c->set->first; k; k = k->next)
        note_error(c, k, err, error);
    c->backoff_us = longer(c, c->backoff_us);
    c->connect_us = clock_monotonic_us() + c->backoff_us;
}

static bool is_connected(struct carrier *c)
{
    struct error error = {""};
    if (c->pg.c)
        return true;
    if (clock_monotonic_us() < c->connect_us)
        return false;
    int err = pg_open(&c->pg, c->config, &error);
    if (!err)
        err = far_schema(c, &error);
    if (err) {
        pg_close(&c->pg);
        if (err != -ECANCELED)
            away(c, err, &error);
        return false;
    }
    logger_info("carry", "results are carried to PostgreSQL at '%s', database '%s'",
                PQhost(c->pg.c) ? PQhost(c->pg.c) : "", PQdb(c->pg.c));
    c->told_away = false;
    for (struct carried *k = c->set->first; k; k = k->next) {
        if (k->stage != CARRY_OVER)
            k->stage = CARRY_TAKE;
        rows_restart(k);
        k->temporary = false;
        k->look = true;
        k->next_us = 0;
    }
    return true;
}

/* What is too far behind is not followed any longer: all rows are carried once it can be. */
static void look_at_lag(struct carrier *c, struct carried *k)
{
    struct changes known;
    struct error error;
    int64_t watermark_us, least_us;
    if (changes_look(c->db, k->table->name, &known, &error))
        return;
    k->last = known.last;
    if ((k->stage != CARRY_FILL || !c->pg.c) &&
        k->last - k->place.position > (int64_t)c->config->max_lag) {
        logger_warn("carry",
                    "table '%s' is behind by more than 'max_lag': all of its rows are "
                    "carried anew once PostgreSQL takes them",
                    k->table->name);
        k->place.position = k->last;
        k->dirty = true;
        k->stage = k->stage == CARRY_OVER ? CARRY_OVER : CARRY_TAKE;
        k->look = true;
    }
    if (c->config->hold_us == INT64_MAX || k->table->retain_us == INT64_MAX ||
        carried_watermark(c->db, k->table->pipeline, &watermark_us, &error) ||
        __builtin_sub_overflow(watermark_us, k->table->retain_us, &least_us) ||
        __builtin_sub_overflow(least_us, c->config->hold_us, &least_us) ||
        least_us <= k->place.needed_us)
        return;
    if (!k->held_told && k->place.needed_us > INT64_MIN)
        logger_warn("carry",
                    "table '%s': 'retain' takes rows that are not in PostgreSQL: "
                    "they have waited for longer than 'hold'",
                    k->table->name);
    k->held_told = k->place.needed_us > INT64_MIN;
    k->place.needed_us = least_us;
    k->dirty = true;
}

static void show(struct carrier *c, struct carried *k)
{
    struct carry_status *s = &k->shown;
    struct carry_counters *n = &k->count;
    s->position = k->place.position;
    s->lag = k->last > k->place.position ? (uint64_t)(k->last - k->place.position) : 0;
    s->state = k->stage == CARRY_OVER      ? CARRY_FENCED
               : !c->pg.c                  ? CARRY_AWAY
               : k->backoff_us             ? CARRY_FAILING
               : k->stage != CARRY_CHANGES ? CARRY_FILLING
                                           : CARRY_WELL;
    if (s->state == CARRY_WELL && k->stage == CARRY_CHANGES && !k->look)
        s->success_us = clock_now_us();
    atomic_store_explicit(&n->lag, s->lag, memory_order_relaxed);
    s->carried = atomic_load_explicit(&n->carried, memory_order_relaxed);
    s->deleted = atomic_load_explicit(&n->deleted, memory_order_relaxed);
    s->refused = atomic_load_explicit(&n->refused, memory_order_relaxed);
    s->failures = atomic_load_explicit(&n->failures, memory_order_relaxed);
}

/* What others have said. False: the end. */
static bool listen_to_others(struct carrier *c)
{
    pthread_mutex_lock(&c->lock);
    bool saved = c->saved, on = !c->ending;
    int err = c->saved_err;
    c->saved = false;
    pthread_mutex_unlock(&c->lock);
    if (saved)
        end_save(c, err);
    pthread_mutex_lock(&c->lock);
    if (c->fresh && !c->saving) {
        adopt(c, c->fresh);
        c->fresh = NULL;
    }
    for (struct carried *k = c->set->first; c->committed && k; k = k->next)
        k->look = true;
    c->committed = false;
    pthread_mutex_unlock(&c->lock);
    return on;
}

/* A table that is taken is written to once the file knows by whom: who is killed before has written nothing, so that what is there
 * is what it was. */
static bool has_work(const struct carried *k)
{
    return k->stage == CARRY_TAKE || (k->stage != CARRY_OVER && k->look && k->noted);
}

/* A piece of each table. When to come again. */
static int64_t carry_round(struct carrier *c)
{
    int64_t next_us = INT64_MAX, now_us = clock_monotonic_us();
    if (c->set->first && now_us >= c->watch_us) {
        for (struct carried *k = c->set->first; k; k = k->next)
            look_at_lag(c, k);
        c->watch_us = now_us + CARRY_EVERY_US;
    }
    if (c->set->first)
        next_us = c->watch_us;
    if (!c->set->first || !is_connected(c))
        return c->set->first && c->connect_us < next_us ? c->connect_us : next_us;
    for (struct carried *k = c->set->first; k && c->pg.c; k = k->next) {
        if (now_us >= k->next_us && has_work(k))
            step(c, k);
        int64_t due_us = has_work(k) ? k->next_us : INT64_MAX;
        next_us = due_us < next_us ? due_us : next_us;
        if (c->pg.c && k->stage == CARRY_CHANGES)
            c->backoff_us = 0;
    }
    if (!c->pg.c) {
        c->backoff_us = longer(c, c->backoff_us);
        next_us = c->connect_us = clock_monotonic_us() + c->backoff_us;
    }
    return next_us;
}

static void *run(void *carrier)
{
    struct carrier *c = carrier;
    thread_stand_back();
    while (listen_to_others(c)) {
        int64_t next_us = carry_round(c);
        pthread_mutex_lock(&c->lock);
        for (struct carried *k = c->set->first; k; k = k->next)
            show(c, k);
        pthread_mutex_unlock(&c->lock);
        atomic_store_explicit(&c->connected, c->pg.c != NULL, memory_order_relaxed);
        begin_save(c, clock_monotonic_us());
        pg_idle(&c->pg, next_us);
    }
    pg_close(&c->pg);
    return NULL;
}

/* ---- Its coming and going ------------------------------------------------------------------------- */

/* On the store's thread. */
static void committed(void *carrier)
{
    struct carrier *c = carrier;
    pthread_mutex_lock(&c->lock);
    c->committed = true;
    wake(c);
    pthread_mutex_unlock(&c->lock);
}

static bool is_ending(void *carrier)
{
    struct carrier *c = carrier;
    pthread_mutex_lock(&c->lock);
    bool ending = c->ending;
    pthread_mutex_unlock(&c->lock);
    return ending;
}

static int start(struct carrier *c, struct carry_set *set, struct error *error)
{
    int err =
        c->pg.wake < 0 ? error_set(error, -errno, "eventfd: %s", strerror(errno)) : 0;
    if (!err)
        err = db_open(store_path(c->store), SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX,
                      &c->db, error);
    if (!err)
        err = metrics_add(c->metrics, METRIC_GAUGE, "weir_postgresql_connected",
                          "1: there is a connection to PostgreSQL.", "", &c->connected,
                          1);
    if (err) {
        carry_set_free(set);
        return err;
    }
    adopt(c, set);
    if ((err = thread_start(&c->thread, "weir-carry", run, c)))
        return error_set(error, err, "cannot start a thread: %s", strerror(-err));
    c->started = true;
    if ((err = store_listen(c->store, committed, c)))
        error_set(error, err, "the store does not take a listener: %s", strerror(-err));
    return err;
}

int carry_new(struct store *store, struct metrics *metrics, struct carry_set *set,
              struct carrier **ret, struct error *error)
{
    struct carrier *c = calloc(1, sizeof(*c));
    if (!c) {
        carry_set_free(set);
        return error_set(error, -ENOMEM, "out of memory");
    }
    c->store = store;
    c->metrics = metrics;
    carried_make_id(c->writer);
    c->pg = (struct pg){
        .wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .stop = is_ending, .ctx = c};
    pthread_mutex_init(&c->lock, NULL);
    clock_cond_init(&c->changed);
    int err = start(c, set, error);
    if (err) {
        carry_end(c);
        carry_free(c);
        return err;
    }
    *ret = c;
    return 0;
}

void carry_end(struct carrier *c)
{
    if (!c || !c->started)
        return;
    store_listen(c->store, NULL, c);
    pthread_mutex_lock(&c->lock);
    c->ending = true;
    wake(c);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    c->started = false;
    save_last(c);
}

void carry_free(struct carrier *c)
{
    if (!c)
        return;
    metrics_remove(c->metrics, c, sizeof(*c));
    drop_set(c, c->set);
    carry_set_free(c->fresh);
    free(c->saving);
    copy_free(&c->rows);
    copy_free(&c->gone);
    sqlite3_close(c->db);
    if (c->pg.wake >= 0)
        close(c->pg.wake);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---- Another configuration ------------------------------------------------------------------------ */

static int nothing(struct store *s, void *ctx)
{
    (void)s, (void)ctx;
    return 0;
}

/* A store that has failed makes no more calls: then a save is never over. */
int carry_hold(struct carrier *c, struct error *error)
{
    int err = 0;
    pthread_mutex_lock(&c->lock);
    c->held = true;
    while (c->busy && !err) {
        pthread_mutex_unlock(&c->lock);
        err = store_call(c->store, nothing, NULL);
        pthread_mutex_lock(&c->lock);
        if (!err && c->busy)
            clock_cond_wait(&c->changed, &c->lock, clock_monotonic_us() + SECOND_US);
    }
    c->held = !err;
    pthread_mutex_unlock(&c->lock);
    return err ? error_set(error, err, "the database cannot be written to") : 0;
}

void carry_release(struct carrier *c)
{
    pthread_mutex_lock(&c->lock);
    c->held = false;
    wake(c);
    pthread_mutex_unlock(&c->lock);
}

void carry_exchange(struct carrier *c, struct carry_set *set)
{
    pthread_mutex_lock(&c->lock);
    carry_set_free(c->fresh); /* of a set that was not looked at: this is newer */
    c->fresh = set;
    c->held = false;
    wake(c);
    pthread_mutex_unlock(&c->lock);
}

/* ---- For people ----------------------------------------------------------------------------------- */

void carry_each(struct carrier *c, const char *pipeline,
                void (*call)(void *ctx, const struct carry_status *s), void *ctx)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    for (struct carried *k = c->set->first; k; k = k->next)
        if (strcmp(k->table->pipeline, pipeline) == 0)
            call(ctx, &k->shown);
    pthread_mutex_unlock(&c->lock);
}

int carry_try(const struct config_postgresql *config, char ret_text[256],
              struct error *error)
{
    struct pg pg = {.wake = -1, .timeout_us = config->timeout_us};
    PG_RESULT r = NULL;
    int err = pg_open(&pg, config, error);
    if (!err)
        err = pg_ask(&pg,
                     "SELECT current_database(), current_user,"
                     " current_setting('server_version'), pg_is_in_recovery(),"
                     " coalesce((SELECT has_schema_privilege(oid, 'CREATE') FROM"
                     " pg_namespace WHERE nspname = $1),"
                     " has_database_privilege(current_database(), 'CREATE'))",
                     &PG_TEXT(config->schema), 1, &r, error);
    if (!err && *PQgetvalue(r, 0, 3) == 't')
        err = error_set(error, -EROFS, "it is a standby, which takes no rows");
    else if (!err && *PQgetvalue(r, 0, 4) != 't')
        err = error_set(error, -EACCES,
                        "user '%s' may not make tables in schema '%s' of database '%s'",
                        PQgetvalue(r, 0, 1), config->schema, PQgetvalue(r, 0, 0));
    if (!err)
        snprintf(ret_text, 256, "PostgreSQL %.40s, database '%.80s', user '%.80s'",
                 PQgetvalue(r, 0, 2), PQgetvalue(r, 0, 0), PQgetvalue(r, 0, 1));
    pg_close(&pg);
    return err;
}
