/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening, starting, closing of the store, and the side of it that the workers see.
 */
#include "store/store.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/thread.h"
#include "store/carried.h"
#include "store/changes.h"
#include "store/db.h"
#include "store/internal.h"
#include "store/migrate.h"
#include "store/results.h"
#include "store/sql.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STORE_REPORTS_DEFAULT 256

/* What SQLite would only say at the first write, and in fewer words. */
int store_check_path(const char *path, struct error *error)
{
    struct stat st;
    if (stat(path, &st))
        return errno == ENOENT ? 0 : error_set(error, -errno, "%s", strerror(errno));
    if (S_ISDIR(st.st_mode))
        return error_set(error, -EISDIR, "%s", strerror(EISDIR));
    if (!S_ISREG(st.st_mode))
        return error_set(error, -EINVAL, "not a regular file");
    if (access(path, R_OK | W_OK))
        return error_set(error, -errno, "%s", strerror(errno));
    return 0;
}

/* A larger cache gains a few per cent of speed and costs memory. */
static const char store_pragmas[] = "PRAGMA page_size = 16384;"
                                    "PRAGMA journal_mode = WAL;"
                                    "PRAGMA synchronous = FULL;"
                                    "PRAGMA cache_size = -16384;"
                                    "PRAGMA journal_size_limit = 67108864;"
                                    "PRAGMA secure_delete = OFF;"
                                    "PRAGMA temp_store = MEMORY;"
                                    "PRAGMA foreign_keys = OFF;"
                                    "PRAGMA trusted_schema = OFF;";

static int store_prepare(struct store *s, struct error *error)
{
    unsigned keep = SQLITE_PREPARE_PERSISTENT;
    int err = db_prepare(s->db, "BEGIN IMMEDIATE", keep, &s->begin, error);
    if (!err)
        err = db_prepare(s->db, "COMMIT", keep, &s->commit, error);
    if (!err)
        err = db_prepare(s->db, "ROLLBACK", keep, &s->rollback, error);
    if (!err)
        err = db_prepare(s->db, sql_pipeline_put, keep, &s->put_pipeline, error);
    if (!err)
        err = checkpoints_prepare(s, error);
    if (!err)
        err = requests_prepare(s, error);
    if (!err)
        err = answers_prepare(s, error);
    return err;
}

/* The pages of a file that is there are what they are. */
static int store_limit_size(struct store *s, struct error *error)
{
    sqlite3_int64 page_bytes;
    int err = db_int(s->db, "PRAGMA page_size", NULL, &page_bytes, error);
    if (err)
        return err;
    sqlite3_str *limit = sqlite3_str_new(s->db);
    sqlite3_str_appendf(limit, "PRAGMA max_page_count = %lld",
                        (long long)(s->options.size_max / (uint64_t)page_bytes));
    return db_exec_str(s->db, limit, error);
}

/* In the place of SQLite's own, which would move the pages within the COMMIT; see writer_shorten_wal. */
static int store_wal_grew(void *store, sqlite3 *db, const char *name, int pages)
{
    struct store *s = store;
    (void)db;
    (void)name;
    s->wal_pages = pages;
    pages_note(s);
    return SQLITE_OK;
}

/* To become one with a WAL a fresh file is synced four times. Where what is committed is on disk at the end only, once does:
 * behind a file without a first page SQLite would take the WAL for another's, and delete it. */
static int store_begin_relaxed(struct store *s, struct error *error)
{
    sqlite3_int64 pages;
    sqlite3_file *file = NULL;
    int err = db_int(s->db, "PRAGMA page_count", NULL, &pages, error);
    if (err || pages)
        return err;
    err = db_exec(s->db,
                  "PRAGMA page_size = 16384;"
                  "PRAGMA synchronous = OFF;"
                  "PRAGMA journal_mode = WAL",
                  error);
    if (err)
        return err;
    int code =
        sqlite3_file_control(s->db, NULL, SQLITE_FCNTL_FILE_POINTER, (void *)&file);
    if (code == SQLITE_OK && file && file->pMethods)
        code = file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
    return code == SQLITE_OK ? 0
                             : error_set(error, -EIO, "'%s' cannot be synced: %s",
                                         s->path, sqlite3_errstr(code));
}

static int store_open_db(struct store *s, struct error *error)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int err = db_open(s->path, flags, &s->db, error);
    if (!err)
        err = migrate_check(s->db, error);
    if (!err && s->options.relaxed)
        err = store_begin_relaxed(s, error);
    if (!err)
        err = db_exec(s->db, store_pragmas, error);
    if (!err && s->options.relaxed)
        err = db_exec(s->db, "PRAGMA synchronous = NORMAL", error);
    if (!err && s->options.size_max)
        err = store_limit_size(s, error);
    if (!err)
        err = migrate_run(s->db, error);
    if (!err)
        err = early_check_ending(s, error);
    if (!err)
        err = early_clean(s->db, error);
    if (!err)
        err = store_prepare(s, error);
    if (!err)
        err = carried_load(s, error);
    if (!err)
        sqlite3_wal_hook(s->db, store_wal_grew, s);
    return err;
}

static double store_queue_depth(void *store)
{
    return (double)inbox_length(((struct store *)store)->inbox);
}

/* NaN: there was none since the start. */
static double store_commit_age(void *store)
{
    const struct store *s = store;
    int64_t us = atomic_load_explicit(&s->count.last_us, memory_order_relaxed);
    return us ? (double)(clock_monotonic_us() - us) / 1e6 : NAN;
}

static int store_metrics(struct store *s, struct metrics *m, struct error *error)
{
    const struct {
        const char *name, *help;
        const _Atomic uint64_t *value;
        double scale;
    } all[] = {
        {"weir_store_rows_total", "Result rows committed.", &s->count.rows, 1},
        {"weir_store_known_rows_total",
         "Result rows not written because their window and key were in the table "
         "already, in the same revision or a later one.",
         &s->count.known_rows, 1},
        {"weir_store_commits_total", "Transactions committed.", &s->count.commits, 1},
        {"weir_store_commit_seconds_total", "Time spent in transactions.",
         &s->count.commit_ns, 1e-9},
        {"weir_store_retries_total",
         "Transactions that failed; rows are kept and written later.",
         &s->count.retries, 1},
        {"weir_store_purged_rows_total", "Result rows deleted by retention.",
         &s->count.purged, 1},
        {"weir_store_checkpoints_total", "Checkpoints of pipelines committed.",
         &s->count.checkpoints, 1},
        {"weir_store_checkpoint_bytes_total",
         "Bytes of groups in committed checkpoints.", &s->count.checkpoint_bytes, 1},
    };
    int err = 0;
    for (size_t i = 0; !err && i < sizeof(all) / sizeof(all[0]); i++)
        err = metrics_add(m, METRIC_COUNTER, all[i].name, all[i].help, "", all[i].value,
                          all[i].scale);
    if (!err)
        err = metrics_add_call(m, METRIC_GAUGE, "weir_store_queue_reports",
                               "Reports of workers that wait for the writer.", "",
                               store_queue_depth, s);
    if (!err)
        err = metrics_add_call(m, METRIC_GAUGE, "weir_store_last_commit_age_seconds",
                               "Time since the last transaction.", "", store_commit_age,
                               s);
    if (!err)
        err = metrics_add_histogram(m, "weir_store_commit_duration_seconds",
                                    "Time that a transaction took.", "",
                                    &s->count.commit);
    return err ? error_set(error, err, "out of memory") : 0;
}

static int store_open_steps(struct store *s, const struct store_options *o,
                            struct error *error)
{
    s->options = *o;
    s->path = strdup(o->path);
    size_t reports = o->queue_rowsets ? o->queue_rowsets : STORE_REPORTS_DEFAULT;
    if (!s->path || inbox_new(reports, o->commit_interval_us, &s->inbox))
        return error_set(error, -ENOMEM, "out of memory");
    int err = store_check_path(s->path, error);
    if (!err)
        err = files_lock(&s->files, s->path, error);
    if (!err && !o->relaxed)
        err = files_sync_wal(&s->files, error);
    if (!err)
        err = store_open_db(s, error);
    if (!err)
        err = files_note(&s->files, error);
    return err;
}

int store_open(const struct store_options *options, struct metrics *metrics,
               struct store **ret, struct error *error)
{
    struct store *s = calloc(1, sizeof(*s));
    if (!s)
        return error_set(error, -ENOMEM, "out of memory");
    s->files.lock = s->files.database = -1;
    int err = store_open_steps(s, options, error);
    if (!err && metrics)
        err = store_metrics(s, metrics, error);
    if (err) {
        error_prefix(error, "database '%s'", options->path);
        store_free(s);
        return err;
    }
    *ret = s;
    return 0;
}

/* Each report looks its pipeline up. */
static size_t bucket_of(const char *name)
{
    return hash_bytes(name, strlen(name)) % STORE_BUCKETS;
}

struct store_pipeline *store_find_pipeline(const struct store *s, const char *name)
{
    struct store_pipeline *p =
        atomic_load_explicit(&s->bucket[bucket_of(name)], memory_order_acquire);
    while (p && strcmp(p->name, name) != 0)
        p = p->same;
    return p;
}

static void forget_workers(struct store_pipeline *p)
{
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < STORE_WORKERS_MAX; i++)
        p->said[i] = p->worker[i] = (struct store_worker){.watermark_us = INT64_MIN};
    p->workers = p->n = 0;
    p->spoken = p->changed = false;
    pthread_mutex_unlock(&p->lock);
}

int store_need_pipeline(struct store *s, const char *name, struct store_pipeline **ret,
                        struct error *error)
{
    int64_t committed_us = INT64_MIN;
    struct store_pipeline *p = store_find_pipeline(s, name);
    if (p) {
        *ret = p;
        return 0;
    }
    int err = store_watermark(s->db, name, &committed_us, error);
    if (err && err != -ENOENT)
        return err;
    p = calloc(1, sizeof(*p));
    if (!p || !(p->name = strdup(name))) {
        free(p);
        return error_set(error, -ENOMEM, "out of memory");
    }
    pthread_mutex_init(&p->lock, NULL);
    p->committed_us = committed_us;
    p->early_us = INT64_MIN;
    forget_workers(p);
    p->next = s->pipelines;
    atomic_store_explicit(&s->pipelines, p, memory_order_release);
    p->same = s->bucket[bucket_of(name)];
    atomic_store_explicit(&s->bucket[bucket_of(name)], p, memory_order_release);
    *ret = p;
    return 0;
}

int store_start(struct store *s, struct error *error)
{
    int err = thread_start(&s->thread, "store", writer_run, s);
    if (err)
        return error_set(error, err, "cannot start the store's thread: %s",
                         strerror(-err));
    s->started = true;
    return 0;
}

const char *store_path(const struct store *s)
{
    return s->path;
}

int store_trouble(const struct store *s)
{
    return atomic_load_explicit(&s->trouble, memory_order_relaxed);
}

bool store_is_there(const struct store *s)
{
    struct error error;
    return files_check(&s->files, &error) == 0;
}

bool store_is_well(const struct store *s, struct error *why)
{
    int trouble = store_trouble(s);
    if (files_check(&s->files, why) < 0)
        error_prefix(why, "the database");
    else if (trouble == -ENOSPC)
        error_set(why, trouble,
                  "the database cannot be written: the disk is full, or database_limit "
                  "is reached");
    else if (trouble)
        error_set(why, trouble, "the database cannot be written: %s",
                  trouble == -EBUSY ? "somebody else has it locked"
                                    : strerror(-trouble));
    else
        return true;
    return false;
}

/* It was made, and has not failed. */
static int store_takes(const struct store_pipeline *p)
{
    if (!p)
        return -EINVAL;
    return atomic_load_explicit(&p->failed, memory_order_relaxed) ? -EIO : 0;
}

/* What a worker said takes the place of what it said before, so that workers never wait for the writer where
 * there is nothing to write. The writer is told once for all that is said until it looks. */
static int say(struct store *s, struct store_pipeline *p, const struct store_report *r,
               uint64_t number)
{
    pthread_mutex_lock(&p->lock);
    struct store_worker *w = &p->said[r->worker];
    p->workers = r->workers;
    w->position = r->position;
    w->watermark_us = r->watermark_us;
    if (number)
        w->behind = number;
    bool tell = !p->spoken;
    p->spoken = true;
    pthread_mutex_unlock(&p->lock);
    return tell ? inbox_note(s->inbox) : inbox_failed(s->inbox) ? -EIO : 0;
}

int store_put(struct store *s, const struct store_report *report)
{
    struct store_pipeline *p = store_find_pipeline(s, report->pipeline);
    uint64_t number = 0;
    bool wrong =
        report->worker >= report->workers || report->workers > STORE_WORKERS_MAX;
    int err = wrong ? -EINVAL : store_takes(p);
    if (err) {
        inbox_free_rows(report->rows);
        return err;
    }
    if (report->rows)
        err = inbox_put(s->inbox, &(struct inbox_item){.report = *report}, &number);
    return err ? err : say(s, p, report, number);
}

bool store_ready(struct store *s, struct waiter *w)
{
    return inbox_ready(s->inbox, w);
}

void store_unwait(struct store *s, struct waiter *w)
{
    inbox_unwait(s->inbox, w);
}

int store_put_checkpoint(struct store *s, const char *pipeline, struct checkpoint *c)
{
    bool wrong = c->worker >= c->workers || c->workers > STORE_WORKERS_MAX;
    int err = wrong ? -EINVAL : store_takes(store_find_pipeline(s, pipeline));
    if (err) {
        checkpoint_free(c);
        return err;
    }
    const struct inbox_item item = {.report.pipeline = pipeline, .checkpoint = c};
    uint64_t number;
    return inbox_put(s->inbox, &item, &number);
}

int store_put_answers(struct store *s, const char *pipeline, struct pipeline_answers *a)
{
    int err = store_takes(store_find_pipeline(s, pipeline));
    if (err) {
        inbox_free_answers(a);
        return err;
    }
    const struct inbox_item item = {.report.pipeline = pipeline, .answers = a};
    uint64_t number;
    return inbox_put(s->inbox, &item, &number);
}

void store_out(struct store *s, const char *pipeline)
{
    struct store_pipeline *p = store_find_pipeline(s, pipeline);
    if (p && !atomic_exchange_explicit(&p->out, true, memory_order_relaxed))
        inbox_note(s->inbox);
}

int store_put_stream(struct store *s, struct store_stream *r)
{
    uint64_t number;
    return inbox_put(s->inbox, &(struct inbox_item){.stream = r}, &number);
}

int store_call(struct store *s, int (*call)(struct store *s, void *ctx), void *ctx)
{
    struct store_call c = {.call = call, .ctx = ctx, .result = -EIO};
    uint64_t number;
    int err = inbox_put(s->inbox, &(struct inbox_item){.call = &c}, &number);
    if (!err)
        err = inbox_flush(s->inbox);
    return err ? err : c.result;
}

int store_post(struct store *s, void (*call)(struct store *s, void *ctx), void *ctx)
{
    return inbox_put_post(s->inbox, call, ctx);
}

static int set_listener(struct store *s, void *listener)
{
    const struct store_listener *l = listener;
    for (size_t i = 0; i < STORE_LISTENERS; i++)
        if (s->listener[i].ctx == (l->committed ? NULL : l->ctx)) {
            s->listener[i] = l->committed ? *l : (struct store_listener){0};
            return 0;
        }
    return l->committed ? -EBUSY : 0;
}

int store_listen(struct store *s, void (*committed)(void *ctx), void *ctx)
{
    struct store_listener l = {.committed = committed, .ctx = ctx};
    return store_call(s, set_listener, &l);
}

int store_listen_all(struct store *s, void (*committed)(void *ctx), void *ctx)
{
    struct store_listener l = {.committed = committed, .ctx = ctx, .all = true};
    return store_call(s, set_listener, &l);
}

void store_restart_pipeline(struct store *s, const char *pipeline)
{
    struct store_pipeline *p = store_find_pipeline(s, pipeline);
    if (!p)
        return;
    forget_workers(p);
    chains_part(s, p);
    atomic_store_explicit(&p->failed, false, memory_order_relaxed);
    atomic_store_explicit(&p->out, false, memory_order_relaxed);
    checkpoints_drop(p);
}

static void store_free_table(struct store_table *t)
{
    sqlite3_finalize(t->insert);
    sqlite3_finalize(t->clear);
    sqlite3_finalize(t->gone);
    sqlite3_finalize(t->instead);
    sqlite3_finalize(t->purge_find);
    sqlite3_finalize(t->purge_to);
    sqlite3_finalize(t->purge_all);
    sqlite3_finalize(t->overdue);
    sqlite3_finalize(t->given);
    sqlite3_finalize(t->number);
    free(t);
}

void store_drop_table(struct store *s, const struct table *table)
{
    struct store_table **at = &s->tables;
    while (*at && (*at)->table != table)
        at = &(*at)->next;
    struct store_table *t = *at;
    if (!t)
        return;
    *at = t->next;
    char *module = insert_module_name(table);
    store_free_table(t);
    if (module) /* no statement uses it any more */
        sqlite3_create_module(s->db, module, NULL, NULL);
    sqlite3_free(module);
}

int store_clear_table(struct store *s, const struct table *table, struct error *error)
{
    sqlite3_str *sql = sqlite3_str_new(s->db);
    sqlite3_str_appendall(sql, "BEGIN IMMEDIATE;\n");
    if (changes_is_carried(s, table->name)) { /* they go there, too */
        sqlite3_str_appendall(sql, "INSERT INTO ");
        changes_append_target(sql, table);
        sqlite3_str_appendall(sql, " SELECT ");
        for (size_t c = 0; c < table->n_primary; c++)
            sqlite3_str_appendf(sql, "%s\"%w\"", c ? ", " : "", table->column[c].name);
        sqlite3_str_appendf(sql, " FROM \"%w\";\n", table->name);
    }
    sqlite3_str_appendf(sql, "DELETE FROM \"%w\";\nCOMMIT", table->name);
    int err = db_exec_str(s->db, sql, error);
    if (err && !sqlite3_get_autocommit(s->db))
        db_step(s->rollback);
    return err;
}

int store_flush(struct store *s)
{
    return inbox_flush(s->inbox);
}

/* A checkpoint syncs both files, but for what somebody who reads keeps it from looking at: false. */
static bool move_pages(struct store *s)
{
    int pages = 0, moved = 0;
    int code = sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages,
                                         &moved);
    return code == SQLITE_OK && moved == pages;
}

static int sync_wal(struct store *s, void *ctx)
{
    char *path = NULL;
    (void)ctx;
    if (move_pages(s))
        return 0;
    if (asprintf(&path, "%s-wal", s->path) < 0)
        return -ENOMEM;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int err = fd < 0 || fdatasync(fd) < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    free(path);
    return err;
}

int store_sync(struct store *s)
{
    int err = store_flush(s);
    return err == 0 && s->options.relaxed ? store_call(s, sync_wal, NULL) : err;
}

int store_flush_until(struct store *s, int64_t deadline_us)
{
    return inbox_flush_until(s->inbox, deadline_us);
}

void store_hurry(struct store *s)
{
    inbox_hurry(s->inbox);
}

static void store_free_tables(struct store *s)
{
    for (struct store_table *t = s->tables, *next; t; t = next) {
        next = t->next;
        store_free_table(t);
    }
    for (struct store_pipeline *p = s->pipelines, *next; p; p = next) {
        next = p->next;
        checkpoints_drop(p);
        pthread_mutex_destroy(&p->lock);
        free(p->name);
        free(p);
    }
}

/* Without a WAL, whose files only those can make who may write to the folder, anybody who may read the file can
 * open it. As long as somebody else has it open it stays as it is. */
static void store_leave_tidy(struct store *s)
{
    if (!s->started || store_trouble(s) || !store_is_there(s))
        return;
    sqlite3_busy_timeout(s->db, 0);
    /* Where all pages are in the file, and synced, one bit of its head is left, without which it is whole, too. */
    if (s->options.relaxed && move_pages(s))
        db_exec(s->db, "PRAGMA synchronous = OFF", NULL);
    db_exec(s->db, "PRAGMA journal_mode = DELETE", NULL);
}

/* Of a run that was ended before its input. What cannot be deleted now is when the file is opened again. */
static void store_clean_early(struct store *s)
{
    bool some = false;
    for (struct store_pipeline *p = s->pipelines; p; p = p->next)
        some = some || p->early_kept;
    if (store_trouble(s) || !store_is_there(s))
        return;
    if (some)
        early_clean(s->db, NULL);
    if (atomic_load_explicit(&s->ended, memory_order_relaxed) && s->ending_kept)
        early_clear_ending(s->db, NULL);
}

void store_ending(struct store *s)
{
    atomic_store_explicit(&s->ending, true, memory_order_release);
}

void store_ended(struct store *s)
{
    atomic_store_explicit(&s->ended, true, memory_order_relaxed);
}

void store_free(struct store *s)
{
    if (!s)
        return;
    if (s->started) {
        inbox_close(s->inbox);
        pthread_join(s->thread, NULL);
    }
    store_clean_early(s);
    inbox_item_free(s->held);
    store_free_tables(s);
    changes_free(s);
    results_forget(s, NULL, NULL);
    free(s->needs);
    sqlite3_finalize(s->begin);
    sqlite3_finalize(s->commit);
    sqlite3_finalize(s->rollback);
    sqlite3_finalize(s->put_pipeline);
    checkpoints_free(s);
    requests_free(s);
    answers_free(s);
    inbox_free(s->inbox);
    dead_letters_free(s->dead);
    store_leave_tidy(s);
    sqlite3_close(s->db);
    pages_unfollow(s->pages);
    files_free(&s->files);
    free(s->path);
    free(s);
}
