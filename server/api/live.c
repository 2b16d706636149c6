/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows as they are committed, as Server-Sent Events.
 *
 *      handler (a query thread): follow the table, reply held --> [listeners]
 *      store, after a commit: wake --> thread: for each listener, changes behind its number --> http_write
 */
#include "api/live.h"
#include "api/ask.h"
#include "api/internal.h"
#include "api/rows.h"
#include "base/clock.h"
#include "base/logger.h"
#include "base/thread.h"
#include "store/changes.h"
#include "store/db.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIVE_LISTENERS_MAX 8192
#define LIVE_ROUND_US      (2 * SECOND_US) /* at who has gone, and at SIGHUP */
#define LIVE_HEARTBEAT_US                                                              \
    (15 * SECOND_US) /* a comment, so that proxies and clients know */
#define LIVE_LOOK_MIN_US                                                               \
    (2 * SECOND_US / 1000) /* at those who are behind, and take what there is */
#define LIVE_LOOK_US     (SECOND_US / 10) /* at those who take nothing */
#define LIVE_PATIENCE_US (60 * SECOND_US) /* who takes nothing for so long is cut off */
#define LIVE_UNSENT_MAX  ((uint64_t)64 << 10) /* bytes; who has more is behind */
#define LIVE_PIECE       ((size_t)64 << 10)
#define LIVE_PIECE_ROWS  2000
#define LIVE_PIECES      8 /* of different questions, in a round */
#define LIVE_TIDY_US     (60 * SECOND_US)
#define LIVE_KEEP_US                                                                   \
    (600 * SECOND_US) /* a table stays followed so long after the last */

struct listener {
    struct live *live;
    struct http_request *request;
    struct pipeline *pipeline; /* whose table it is */
    struct ask ask;
    char *sql;
    int64_t since_us,
        at; /* of changes: when following began, the last number written */
    int64_t sent_us, moved_us; /* when something was written, and taken, last */
    struct listener *next, *prev;
};

struct followed { /* a table that somebody listens to, or did a while ago */
    char name[128];
    int64_t last_us;
    struct followed *next;
};

struct live {
    const struct api *api;
    sqlite3 *db; /* the thread's */
    pthread_t thread;
    bool started;
    size_t next_piece; /* likewise */

    pthread_mutex_t wake_lock; /* protects these: the store never waits for a round */
    pthread_cond_t wake;
    bool committed, ending;

    pthread_mutex_t lock; /* protects all below; taken before a request's */
    struct listener *first;
    size_t n;
    struct followed *tables;
    bool running; /* the thread is there: from the first table that is followed */
    bool closed;  /* no new ones */
};

/* ---- One who listens ----------------------------------------------------------------------------- */

static void listener_free(struct listener *x)
{
    pipeline_unref(x->pipeline);
    sqlite3_free(x->sql);
    free(x);
}

/* The last call of a held reply: no thread has it any more but this one. */
static void listener_close(void *listener)
{
    struct listener *x = listener;
    struct live *l = x->live;
    pthread_mutex_lock(&l->lock);
    if (x->prev || l->first == x) {
        *(x->prev ? &x->prev->next : &l->first) = x->next;
        if (x->next)
            x->next->prev = x->prev;
        l->n--;
    }
    pthread_mutex_unlock(&l->lock);
    listener_free(x);
}

/* With the lock held. */
static void listener_drop(struct live *l, struct listener *x)
{
    *(x->prev ? &x->prev->next : &l->first) = x->next;
    if (x->next)
        x->next->prev = x->prev;
    x->next = x->prev = NULL;
    l->n--;
    http_let_go(x->request);
}

/* SIGHUP may have exchanged the pipeline, or removed it. Who listened comes back, and finds new columns, or 404. */
static bool listener_is_current(const struct live *l, const struct listener *x)
{
    struct pipeline *p =
        running_get(l->api->is.running, pipeline_config(x->pipeline)->name);
    bool current = p == x->pipeline;
    if (p)
        pipeline_unref(p);
    return current;
}

/* ---- What has changed ------------------------------------------------------------------------------ */

/* The same bytes for all who ask the same and are equally far: made once. */
struct piece {
    const struct listener *of; /* NULL: nothing was made yet in this round */
    int64_t from, to;
    struct buffer text;
};

static bool piece_serves(const struct piece *p, const struct listener *x)
{
    return p->of && p->from == x->at && x->ask.n_filters == 0 &&
           p->of->ask.n_filters == 0 && p->of->ask.times == x->ask.times &&
           p->of->since_us == x->since_us && strcmp(p->of->sql, x->sql) == 0;
}

/* -ESTALE: what changed behind `at` was cut off. */
static int piece_look(sqlite3 *db, const struct listener *x, struct changes *ret,
                      struct error *error)
{
    int err = changes_look(db, x->ask.table->name, ret, error);
    if (!err && (ret->since_us != x->since_us || ret->first > x->at))
        err = error_set(error, -ESTALE, "what changed since is not known any more");
    return err;
}

/* id: BEGAN-NUMBER, data: the row as an object. *ret_to is the last number that was looked at. */
static int piece_make(sqlite3 *db, const struct listener *x, struct piece *p,
                      struct error *error)
{
    DB_STATEMENT s = NULL;
    struct changes known, then;
    int err = piece_look(db, x, &known, error);
    if (!err)
        err = db_prepare(db, x->sql, 0, &s, error);
    if (err)
        return err;
    ask_bind_changes(&x->ask, s, x->at, INT64_MAX, LIVE_PIECE_ROWS, 0);
    struct rowout out = {.format = ROWOUT_NDJSON,
                         .times = x->ask.times,
                         .n_columns = x->ask.n_columns,
                         .column = x->ask.column};
    size_t rows = 0;
    int code = SQLITE_ROW;
    p->of = x;
    p->from = p->to = x->at;
    buffer_clear(&p->text);
    rowout_begin(&out, &p->text);
    while (p->text.size < LIVE_PIECE && (code = sqlite3_step(s)) == SQLITE_ROW) {
        p->to = sqlite3_column_int64(s, (int)x->ask.n_columns);
        buffer_printf(&p->text, "id: %" PRId64 "-%" PRId64 "\ndata: ", x->since_us,
                      p->to);
        rowout_row(&out, &p->text, s);
        buffer_putc(&p->text, '\n');
        rows++;
    }
    rowout_free(&out);
    if (code == SQLITE_DONE && rows < LIVE_PIECE_ROWS && known.last > p->to)
        p->to = known.last; /* the rest is of other keys, or of rows that are gone */
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return db_error(db, error);
    if (p->text.error)
        return p->text.error;
    return piece_look(db, x, &then,
                      error); /* cut between the first look and the rows */
}

/* True: it is not at the end yet. */
static bool listener_serve(struct live *l, struct listener *x, struct piece *pieces,
                           int64_t now_us)
{
    struct error error = {""};
    struct piece *p = NULL;
    if (http_gone(x->request) || !listener_is_current(l, x)) {
        listener_drop(l, x);
        return false;
    }
    if (http_unsent(x->request) > LIVE_UNSENT_MAX) {
        if (now_us - x->moved_us <= LIVE_PATIENCE_US)
            return true;
        http_abort(x->request);
        listener_drop(l, x);
        return false;
    }
    x->moved_us = now_us;
    for (size_t i = 0; i < LIVE_PIECES && !p; i++)
        p = piece_serves(&pieces[i], x) ? &pieces[i] : NULL;
    if (!p) {
        p = &pieces[l->next_piece++ % LIVE_PIECES];
        int err = piece_make(l->db, x, p, &error);
        if (err) {
            p->of = NULL;
            if (err == -ESTALE)
                http_write(x->request, "event: lost\ndata: {}\n\n", 22);
            else if (db_passing(sqlite3_errcode(l->db)))
                return true; /* a lock, memory: again, soon */
            else
                logger_warn("api", "live results of '%s': %s", x->ask.table->name,
                            error.text);
            listener_drop(l, x);
            return false;
        }
    }
    if (p->text.size) {
        http_write(x->request, p->text.data, p->text.size);
        http_flush(x->request);
        x->sent_us = now_us;
    }
    x->at = p->to;
    return p->text.size >= LIVE_PIECE;
}

/* ---- The thread ------------------------------------------------------------------------------------ */

/* When to look again at one who is behind: at once, or when some of it may have been taken, which nobody tells; more and more
 * seldom, if it is not. */
static int64_t listener_again(const struct listener *x, int64_t now_us)
{
    if (!http_unsent(x->request))
        return now_us;
    int64_t wait_us = (now_us - x->moved_us) / 4;
    wait_us = wait_us > LIVE_LOOK_MIN_US ? wait_us : LIVE_LOOK_MIN_US;
    return now_us + (wait_us < LIVE_LOOK_US ? wait_us : LIVE_LOOK_US);
}

/* With the lock held. When to look again without a commit. */
static int64_t live_round(struct live *l, struct piece *pieces)
{
    int64_t now_us = clock_monotonic_us(),
            next_us = l->first ? now_us + LIVE_ROUND_US : INT64_MAX;
    for (size_t i = 0; i < LIVE_PIECES; i++)
        pieces[i].of = NULL;
    for (struct listener *x = l->first, *next; x; x = next) {
        next = x->next;
        if (!listener_serve(l, x, pieces, now_us))
            continue;
        int64_t again_us = listener_again(x, now_us);
        next_us = again_us < next_us ? again_us : next_us;
    }
    return next_us;
}

static int64_t live_heartbeat(struct live *l)
{
    int64_t now_us = clock_monotonic_us(), next_us = INT64_MAX;
    for (struct listener *x = l->first; x; x = x->next) {
        if (now_us - x->sent_us >= LIVE_HEARTBEAT_US) {
            http_write(x->request, ":\n\n", 3);
            http_flush(x->request);
            x->sent_us = now_us;
        }
        if (x->sent_us + LIVE_HEARTBEAT_US < next_us)
            next_us = x->sent_us + LIVE_HEARTBEAT_US;
    }
    return next_us;
}

static bool live_wanted(void *live, const char *table)
{
    struct live *l = live;
    bool wanted = false;
    pthread_mutex_lock(&l->lock);
    for (const struct followed *f = l->tables; f && !wanted; f = f->next)
        wanted = strcmp(f->name, table) == 0;
    pthread_mutex_unlock(&l->lock);
    return wanted;
}

/* With the lock held. */
static struct followed *live_table(struct live *l, const char *name)
{
    struct followed *f = l->tables;
    while (f && strcmp(f->name, name) != 0)
        f = f->next;
    if (!f && (f = calloc(1, sizeof(*f)))) {
        snprintf(f->name, sizeof(f->name), "%s", name);
        f->next = l->tables;
        l->tables = f;
    }
    if (f)
        f->last_us = clock_monotonic_us();
    return f;
}

/* With the lock held, which is let go meanwhile. */
static void live_tidy(struct live *l)
{
    int64_t now_us = clock_monotonic_us();
    struct error error = {""};
    for (struct listener *x = l->first; x; x = x->next)
        live_table(l, x->ask.table->name);
    for (struct followed **at = &l->tables, *f; (f = *at);) {
        if (now_us - f->last_us < LIVE_KEEP_US) {
            at = &f->next;
            continue;
        }
        *at = f->next;
        free(f);
    }
    pthread_mutex_unlock(&l->lock);
    if (!store_trouble(l->api->is.store) &&
        changes_tidy(l->api->is.store, live_wanted, l, &error))
        logger_warn("api", "changes of results cannot be tidied: %s", error.text);
    pthread_mutex_lock(&l->lock);
}

/* False: the end. */
static bool live_wait(struct live *l, int64_t next_us)
{
    pthread_mutex_lock(&l->wake_lock);
    while (!l->committed && !l->ending && clock_monotonic_us() < next_us)
        clock_cond_wait(&l->wake, &l->wake_lock, next_us);
    l->committed = false;
    bool on = !l->ending;
    pthread_mutex_unlock(&l->wake_lock);
    return on;
}

static void *live_run(void *live)
{
    struct live *l = live;
    struct piece piece[LIVE_PIECES] = {0};
    int64_t next_us = INT64_MAX, tidy_us = clock_monotonic_us() + LIVE_TIDY_US;
    thread_stand_back();
    while (live_wait(l, next_us)) {
        pthread_mutex_lock(&l->lock);
        next_us = live_round(l, piece);
        int64_t beat_us = live_heartbeat(l);
        next_us = beat_us < next_us ? beat_us : next_us;
        if (l->tables && clock_monotonic_us() >= tidy_us) {
            live_tidy(l);
            tidy_us = clock_monotonic_us() + LIVE_TIDY_US;
        }
        if (l->tables && tidy_us < next_us)
            next_us = tidy_us;
        pthread_mutex_unlock(&l->lock);
    }
    pthread_mutex_lock(&l->lock);
    l->closed = true;
    while (l->first)
        listener_drop(l, l->first);
    pthread_mutex_unlock(&l->lock);
    for (size_t i = 0; i < LIVE_PIECES; i++)
        buffer_free(&piece[i].text);
    return NULL;
}

/* With the lock held. Who has no listeners needs no thread. -EAGAIN, -ENOMEM. */
static int live_start(struct live *l, struct error *error)
{
    if (l->running || l->closed)
        return 0;
    int err = thread_start(&l->thread, "weir-live", live_run, l);
    l->running = !err;
    return err ? error_set(error, err, "cannot start a thread: %s", strerror(-err)) : 0;
}

/* On the store's thread. */
static void live_committed(void *live)
{
    struct live *l = live;
    pthread_mutex_lock(&l->wake_lock);
    l->committed = true;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->wake_lock);
}

/* Of an earlier process there may be tables that are followed: they are given a while. */
static int live_know(struct live *l, struct error *error)
{
    DB_STATEMENT list = NULL;
    int err =
        db_prepare(l->db,
                   "SELECT substr(key, length('weir_changes_') + 1) FROM weir_meta"
                   " WHERE key GLOB 'weir_changes_*'",
                   0, &list, error);
    int code = SQLITE_DONE;
    while (!err && (code = sqlite3_step(list)) == SQLITE_ROW)
        if (!live_table(l, (const char *)sqlite3_column_text(list, 0)))
            err = error_set(error, -ENOMEM, "out of memory");
    return err || code == SQLITE_DONE ? err : db_error(l->db, error);
}

int live_new(const struct api *a, struct live **ret, struct error *error)
{
    struct live *l = calloc(1, sizeof(*l));
    if (!l)
        return error_set(error, -ENOMEM, "out of memory");
    l->api = a;
    pthread_mutex_init(&l->lock, NULL);
    pthread_mutex_init(&l->wake_lock, NULL);
    clock_cond_init(&l->wake);
    int err = db_open(store_path(a->is.store),
                      SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, &l->db, error);
    if (!err)
        err = live_know(l, error);
    if (!err && (err = store_listen(a->is.store, live_committed, l)))
        error_set(error, err, "the store does not take a listener: %s", strerror(-err));
    l->started = !err;
    pthread_mutex_lock(&l->lock);
    if (!err && l->tables)
        err = live_start(l, error);
    pthread_mutex_unlock(&l->lock);
    if (err) {
        live_free(l);
        return err;
    }
    *ret = l;
    return 0;
}

void live_end(struct live *l)
{
    if (!l || !l->started)
        return;
    store_listen(l->api->is.store, NULL, l);
    pthread_mutex_lock(&l->lock);
    l->closed = true;
    bool running = l->running;
    pthread_mutex_unlock(&l->lock);
    pthread_mutex_lock(&l->wake_lock);
    l->ending = true;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->wake_lock);
    if (running)
        pthread_join(l->thread, NULL);
    l->started = false;
}

void live_free(struct live *l)
{
    if (!l)
        return;
    live_end(l);
    for (struct followed *f = l->tables, *next; f; f = next) {
        next = f->next;
        free(f);
    }
    sqlite3_close(l->db);
    pthread_cond_destroy(&l->wake);
    pthread_mutex_destroy(&l->wake_lock);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---- The handler ----------------------------------------------------------------------------------- */

int live_follow(struct live *l, const struct table *t, struct changes *ret,
                struct error *error)
{
    pthread_mutex_lock(&l->lock);
    int err = live_table(l, t->name) ? live_start(l, error)
                                     : error_set(error, -ENOMEM, "out of memory");
    pthread_mutex_unlock(&l->lock);
    if (err)
        return err;
    if (store_trouble(l->api->is.store))
        return error_set(error, -EBUSY, "the database cannot be written now");
    return changes_follow(l->api->is.store, t, ret, error) ? -EBUSY : 0;
}

int live_parse_id(const char *text, int64_t *ret_since_us, int64_t *ret_at)
{
    int end = 0;
    bool ok =
        sscanf(text, "%" SCNd64 "-%" SCNd64 "%n", ret_since_us, ret_at, &end) == 2 &&
        !text[end] && *ret_at >= 0;
    return ok ? 0 : -EINVAL;
}

/* Last-Event-ID, or last_event_id= for those who cannot send a header: BEGAN-NUMBER. Behind it, or, where what
 * came since is not known any more, from now on: *ret_lost. -EINVAL. */
static int live_place(struct http_request *r, const struct changes *known,
                      int64_t *ret_at, bool *ret_lost)
{
    const char *text = http_header(r, "Last-Event-ID");
    if (!text)
        text = http_query(r, "last_event_id");
    *ret_at = known->last;
    *ret_lost = false;
    if (!text || !*text)
        return 0;
    int64_t since_us, at;
    if (live_parse_id(text, &since_us, &at))
        return -EINVAL;
    *ret_lost = since_us != known->since_us || at < known->first || at > known->last;
    if (!*ret_lost)
        *ret_at = at;
    return 0;
}

/* With the lock held. */
static void live_add(struct live *l, struct listener *x)
{
    x->next = l->first;
    if (x->next)
        x->next->prev = x;
    l->first = x;
    l->n++;
}

/* Takes x. */
static void live_begin(struct live *l, struct listener *x)
{
    struct http_request *r = x->request;
    struct changes known;
    struct error error = {""};
    bool lost;
    pthread_mutex_lock(&l->lock);
    bool full = l->n >= LIVE_LISTENERS_MAX;
    pthread_mutex_unlock(&l->lock);
    if (full || live_follow(l, x->ask.table, &known, &error)) {
        http_set_header(r, "Retry-After", "5");
        http_problem(r, 503, full ? "too_many_listeners" : "busy", "%s",
                     full ? "too many clients listen to results already" : error.text);
        listener_free(x);
        return;
    }
    if (live_place(r, &known, &x->at, &lost)) {
        http_problem(r, 400, "bad_parameter",
                     "Last-Event-ID is not one of this server");
        listener_free(x);
        return;
    }
    x->since_us = known.since_us;
    x->sent_us = x->moved_us = clock_monotonic_us();
    http_set_header(r, "Cache-Control", "no-store");
    http_set_header(r, "X-Accel-Buffering", "no");
    char hello[160];
    int n =
        snprintf(hello, sizeof(hello), "retry: 1000\n%sid: %" PRId64 "-%" PRId64 "\n\n",
                 lost ? "event: lost\ndata: {}\n" : ":\n", x->since_us, x->at);
    if (http_begin(r, 200, "text/event-stream") ||
        http_write(r, hello, (size_t)n)) { /* HEAD */
        listener_free(x);
        return;
    }
    http_flush(r);
    pthread_mutex_lock(&l->lock);
    bool closed = l->closed;
    if (!closed) {
        http_hold(r, listener_close, x);
        live_add(l, x);
    }
    pthread_mutex_unlock(&l->lock);
    if (closed)
        listener_free(x);
    else
        live_committed(l); /* it may be behind already */
}

void live_get(struct http_request *r, void *api)
{
    struct api *a = api;
    struct pipeline *p = api_find_pipeline(a, r);
    const struct table *t = p ? results_table(p, r) : NULL;
    struct listener *x = t ? calloc(1, sizeof(*x)) : NULL;
    struct error error = {""};
    if (!x) {
        if (t)
            http_problem(r, 503, "out_of_memory", "no memory");
        if (p)
            pipeline_unref(p);
        return;
    }
    *x = (struct listener){.live = a->live, .request = r, .pipeline = p};
    int err = ask_parse(&x->ask, t, ASK_LIVE, r, &error);
    x->sql = err ? NULL : ask_sql_changes(&x->ask, true);
    if (x->sql) {
        live_begin(a->live, x);
        return;
    }
    if (err)
        http_problem(r, 400, "bad_parameter", "%s", error.text);
    else
        http_problem(r, 503, "out_of_memory", "no memory");
    listener_free(x);
}
