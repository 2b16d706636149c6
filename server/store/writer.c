/* SPDX-License-Identifier: Apache-2.0
 *
 * The writer thread: reports to one transaction of rows, positions and watermarks, again and again
 * until it succeeds; retention, and pages from the WAL to their place, in between.
 *
 *      inbox_take -> note -> BEGIN, rows, pipelines, COMMIT -> tell, free -> purge, WAL
 *                              ^       | passing error: ROLLBACK, pause
 *                              +-------+
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/logger.h"
#include "base/thread.h"
#include "store/db.h"
#include "store/internal.h"

#include <string.h>

#define WRITER_PAUSE_MIN_US 10000
#define WRITER_PAUSE_MAX_US SECOND_US
#define WRITER_REST         30 /* times the last commit */
#define WRITER_REST_MAX_US  100000

static struct store_table *writer_table(struct store *s, const struct table *table)
{
    struct store_table *t = s->tables;
    while (t && t->table != table)
        t = t->next;
    return t;
}

static void writer_advance(struct store_pipeline *p, unsigned worker, uint64_t position,
                           int64_t watermark_us)
{
    struct store_worker *w = &p->worker[worker];
    w->position = position;
    w->watermark_us = watermark_us;
    p->changed = true;
}

/* What the workers have said last, as far as the rows that they put before it have been taken: a position in the
 * file is never ahead of rows that belong before it. */
static void writer_hear(struct store_pipeline *p, uint64_t taken)
{
    pthread_mutex_lock(&p->lock);
    p->n = p->workers ? p->workers : p->n;
    p->spoken = false;
    for (unsigned i = 0; i < p->n; i++) {
        const struct store_worker *said = &p->said[i], *w = &p->worker[i];
        if (p->held_from && said->behind >= p->held_from)
            continue; /* others of its chain bring the writer here again */
        if (said->behind > taken)
            p->spoken = true; /* their rows bring the writer here again */
        else if (said->position > w->position || said->watermark_us > w->watermark_us)
            writer_advance(p, i, said->position, said->watermark_us);
    }
    pthread_mutex_unlock(&p->lock);
}

static void writer_note_checkpoints(struct store *s, const struct inbox_share *share)
{
    for (struct inbox_item *i = share->list; i; i = i->next) {
        struct store_pipeline *p =
            i->report.pipeline ? store_find_pipeline(s, i->report.pipeline) : NULL;
        if (p && p->failed)
            continue; /* it is freed with the item */
        if (p && i->checkpoint)
            checkpoints_note(p, i->checkpoint);
        i->checkpoint = NULL;
    }
}

static void writer_note(struct store *s, const struct inbox_item *list, uint64_t taken)
{
    for (const struct inbox_item *i = list; i; i = i->next) {
        struct store_pipeline *p =
            i->report.workers ? store_find_pipeline(s, i->report.pipeline) : NULL;
        if (!p || p->failed)
            continue;
        p->n = i->report.workers;
        early_note(p, i->report.rows);
        writer_advance(p, i->report.worker, i->report.position, i->report.watermark_us);
    }
    for (struct store_pipeline *p = s->pipelines; p; p = p->next)
        if (!p->failed)
            writer_hear(p, taken);
}

/* The least of what the workers have said. One that has said nothing yet keeps it where it is: position 0 leaves
 * the one in the file. */
static struct store_worker writer_least(const struct store_pipeline *p)
{
    struct store_worker least = p->worker[0];
    for (unsigned i = 1; i < p->n; i++) {
        if (p->worker[i].watermark_us < least.watermark_us)
            least.watermark_us = p->worker[i].watermark_us;
        if (p->worker[i].position < least.position)
            least.position = p->worker[i].position;
    }
    if (least.watermark_us < p->committed_us)
        least.watermark_us = p->committed_us;
    return least;
}

static int writer_put_pipeline(struct store *s, struct store_pipeline *p)
{
    struct store_worker least = writer_least(p);
    sqlite3_stmt *put = s->put_pipeline;
    sqlite3_bind_text(put, 1, p->name, -1, SQLITE_STATIC);
    if (least.watermark_us == INT64_MIN)
        sqlite3_bind_null(put, 2);
    else
        sqlite3_bind_int64(put, 2, least.watermark_us);
    sqlite3_bind_int64(put, 3, (sqlite3_int64)least.position);
    sqlite3_bind_int64(put, 4, clock_now_us());
    int code = db_step(put);
    return code ? code : early_mark(s, p, least.watermark_us);
}

static int writer_rows(struct store *s, struct rowset *rows)
{
    int code = SQLITE_OK;
    for (struct rowset *r = rows; !code && r; r = r->next) {
        struct store_table *t = writer_table(s, r->table);
        if (!t)
            return SQLITE_MISUSE;
        r->first = 0; /* it may have been put before, in a transaction that failed */
        s->part = (struct store_part){.pipeline = t->pipeline, .table = t->table};
        code = t->pipeline->failed ? SQLITE_OK : insert_rows(s, t, r);
    }
    return code;
}

static int writer_answers(struct store *s, struct inbox_item *i)
{
    struct store_pipeline *p =
        i->answers ? store_find_pipeline(s, i->report.pipeline) : NULL;
    if (!p || p->failed)
        return SQLITE_OK;
    s->part = (struct store_part){.pipeline = p};
    return answers_write(s, p->name, i->answers);
}

static int writer_pipelines(struct store *s)
{
    int code = SQLITE_OK;
    for (struct store_pipeline *p = s->pipelines; !code && p; p = p->next) {
        s->part = (struct store_part){.pipeline = p};
        if (p->changed)
            code = writer_put_pipeline(s, p);
        if (!code)
            code = checkpoints_write(s, p);
    }
    return code;
}

static int writer_parts(struct store *s, struct inbox_item *list)
{
    int code = SQLITE_OK;
    for (struct inbox_item *i = list; !code && i; i = i->next) {
        s->part = (struct store_part){.item = i};
        if (i->dead && !i->given_up)
            code = dead_letters_write(s, i->dead);
        if (!code)
            code = writer_answers(s, i);
        if (!code)
            code = writer_rows(s, i->report.rows);
    }
    fault_point("store_rows");
    if (!code)
        code = writer_pipelines(s);
    for (struct inbox_item *i = list; !code && i; i = i->next) {
        s->part = (struct store_part){.item = i};
        if (i->stream && !i->given_up)
            code = requests_write(s, i->stream);
    }
    if (!code)
        s->part = (struct store_part){.item = NULL}; /* what fails now is not of one */
    return code;
}

static int writer_transaction(struct store *s, struct inbox_item *list)
{
    s->new_rows = s->known_rows = 0;
    s->part = (struct store_part){.item = NULL};
    fault_point("store_begin");
    bool ending = atomic_load_explicit(&s->ending, memory_order_acquire);
    int code = db_step(s->begin);
    if (!code && ending && !s->ending_kept)
        code = early_note_ending(s);
    if (!code)
        code = writer_parts(s, list);
    fault_point("store_commit");
    if (!code)
        code = db_step(s->commit);
    if (!code)
        s->ending_kept = ending;
    fault_point("store_committed");
    return code;
}

/* Not into a file that the next start will not find: neither before nor, as far as anybody is told, after it was
 * written. */
static int writer_try(struct store *s, struct inbox_item *list, struct error *error)
{
    if (files_check(&s->files, error) < 0)
        return SQLITE_READONLY_DBMOVED;
    int code = writer_transaction(s, list);
    if (code)
        error_set(error, db_errno(code), "%s", sqlite3_errmsg(s->db));
    else if (files_check(&s->files, error) < 0)
        code = SQLITE_READONLY_DBMOVED;
    return code;
}

/* After a failure, of which SQLite may have rolled back the transaction already. */
static void writer_roll_back(struct store *s)
{
    if (!sqlite3_get_autocommit(s->db))
        db_step(s->rollback);
}

/* ---- One part that cannot be written is left out ------------------------------------------------- */

void writer_fail_pipeline(struct store *s, struct store_pipeline *p,
                          const struct table *table)
{
    struct error error;
    error_set(&error, -EIO, "%s", sqlite3_errmsg(s->db));
    if (table)
        error_prefix(&error, "table '%s'", table->name);
    if (s->options.failed) /* first: its workers are refused with fewer words */
        s->options.failed(s->options.ctx, p->name, &error);
    atomic_store_explicit(&p->failed, true, memory_order_relaxed);
    p->changed = false;
    checkpoints_drop(p);
}

/* Its keys are in the journal, which is not trimmed behind what is kept. */
static void writer_give_up(struct store *s, struct inbox_item *i)
{
    i->given_up = true;
    if (i->dead)
        dead_letters_given_up(i->dead);
    logger_error("store", "'%s': %s; %s are left out", s->path, sqlite3_errmsg(s->db),
                 i->dead ? "dead letters" : "the keys of requests");
}

/* False: it is not only a part that cannot be written. */
static bool writer_leave_out(struct store *s, int code)
{
    if (!db_is_local(code) || (!s->part.pipeline && !s->part.item))
        return false;
    if (s->part.pipeline)
        writer_fail_pipeline(s, s->part.pipeline, s->part.table);
    else
        writer_give_up(s, s->part.item);
    return true;
}

/* ---- Again and again ------------------------------------------------------------------------------ */

static bool writer_committed(struct store *s, const struct inbox_item *list)
{
    bool moved = false;
    for (const struct inbox_item *i = list; i; i = i->next)
        if (i->stream && !i->given_up && s->options.kept)
            s->options.kept(s->options.ctx, i->stream->stream, i->stream->position);
    for (struct store_pipeline *p = s->pipelines; p; p = p->next) {
        checkpoints_committed(s, p);
        if (!p->changed)
            continue;
        p->committed_us = writer_least(p).watermark_us;
        p->changed = false;
        moved = true;
        early_committed(p);
    }
    return moved;
}

/* A failed purge is tried again after the next commit; a file that cannot be written stops that. */
static bool writer_purge(struct store *s, size_t rows)
{
    bool more = false;
    size_t budget = rows * 2 > STORE_PURGE_ROWS ? rows * 2 : STORE_PURGE_ROWS;
    return purge_run(s, budget, &more) == SQLITE_OK && more;
}

/* The end is near, and it has failed for too long. What was moved away will not be back by then. */
static bool writer_gives_up(int code, int64_t hurry_us, int64_t begin_us)
{
    if (hurry_us >= 0 && code == SQLITE_READONLY_DBMOVED)
        return true;
    return hurry_us > STORE_CLOSE_PATIENCE_US &&
           clock_monotonic_us() - begin_us > STORE_CLOSE_PATIENCE_US;
}

/* Until it succeeds, or cannot, or has failed for too long now that the end is near. Logs once. */
static int writer_persist(struct store *s, struct inbox_item *list)
{
    int64_t pause_us = WRITER_PAUSE_MIN_US, begin_us = clock_monotonic_us();
    for (bool logged = false;;) {
        struct error error;
        int code = writer_try(s, list, &error);
        if (code == SQLITE_OK) {
            atomic_store_explicit(&s->trouble, 0, memory_order_relaxed);
            if (logged)
                logger_info("store", "'%s': writing again", s->path);
            return code;
        }
        if (writer_leave_out(s, code)) {
            writer_roll_back(s);
            continue;
        }
        bool passing = db_passing(code);
        atomic_store_explicit(&s->trouble, db_errno(code), memory_order_relaxed);
        if (!logged || !passing)
            logger_error("store", "'%s': %s; %s", s->path, error.text,
                         passing ? "rows are kept and written later"
                                 : "writes no more");
        logged = true;
        writer_roll_back(s);
        metric_add(&s->count.retries, 1);
        if (!passing)
            return code;
        if ((code & 0xff) == SQLITE_FULL)
            writer_purge(s, 0); /* which may make room */
        int64_t hurry_us = inbox_pause(s->inbox, pause_us);
        if (writer_gives_up(code, hurry_us, begin_us)) {
            logger_error("store", "'%s': stopped without the last rows", s->path);
            return code;
        }
        pause_us =
            pause_us * 2 > WRITER_PAUSE_MAX_US ? WRITER_PAUSE_MAX_US : pause_us * 2;
    }
}

/* What goes in becomes the list of the share. */
static int writer_commit(struct store *s, struct inbox_share *share, size_t *ret_rows)
{
    int64_t begin_us = clock_monotonic_us();
    size_t rows = 0;
    writer_note_checkpoints(s, share);
    struct inbox_item *list = share->list = chains_sort(s, share);
    for (const struct inbox_item *i = list; i; i = i->next)
        rows += i->n_rows;
    writer_note(s, list, share->number);
    int code = writer_persist(s, list);
    if (code)
        return code;
    bool moved = writer_committed(s, list);
    for (const struct inbox_item *i = list; i; i = i->next)
        if (i->dead && !i->given_up)
            dead_letters_committed(i->dead);
    metric_add(&s->count.rows, s->new_rows);
    metric_add(&s->count.known_rows, s->known_rows);
    hand_rows(s, list);
    for (size_t i = 0; i < STORE_LISTENERS; i++)
        if (s->listener[i].committed && (s->new_rows || (s->listener[i].all && moved)))
            s->listener[i].committed(s->listener[i].ctx);
    metric_add(&s->count.commits, 1);
    int64_t end_us = clock_monotonic_us();
    metric_add(&s->count.commit_ns, (uint64_t)(end_us - begin_us) * 1000);
    histogram_add(&s->count.commit, end_us - begin_us);
    s->took_us = end_us - begin_us;
    atomic_store_explicit(&s->count.last_us, end_us, memory_order_relaxed);
    *ret_rows = rows;
    return SQLITE_OK;
}

/* After those who wait for rows were told of them. What fails, or finds readers in its way, is tried after the next commit. */
static void writer_shorten_wal(struct store *s)
{
    if (s->wal_pages < STORE_WAL_PAGES)
        return;
    s->wal_pages = 0;
    sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

/* Rows that come during a commit wait for its end. So commits of nothing but positions and watermarks, for which nobody waits,
 * take a small part of the time. */
static int64_t writer_rest(const struct store *s)
{
    bool waits = s->held; /* rows of a chain, for how far others are */
    for (size_t i = 0; i < STORE_LISTENERS; i++)
        waits = waits || (s->listener[i].committed && s->listener[i].all);
    int64_t rest_us = WRITER_REST * s->took_us;
    return waits ? 0 : rest_us < WRITER_REST_MAX_US ? rest_us : WRITER_REST_MAX_US;
}

static void writer_calls(struct store *s, const struct inbox_item *list)
{
    for (const struct inbox_item *i = list; i; i = i->next)
        if (i->call)
            i->call->result = i->call->call(s, i->call->ctx);
        else if (i->post)
            i->post(s, i->post_ctx);
}

void *writer_run(void *store)
{
    struct store *s = store;
    thread_stand_back();
    bool more = true; /* a shorter `retain` than last time has work at once */
    for (;;) {
        struct inbox_share share =
            inbox_take(s->inbox, STORE_COMMIT_ROWS, more, writer_rest(s));
        size_t rows = 0;
        if (share.due && writer_commit(s, &share, &rows)) {
            inbox_item_free(share.list);
            inbox_fail(s->inbox);
            return NULL;
        }
        writer_calls(s, share.list);
        if (share.due)
            inbox_done(s->inbox);
        inbox_item_free(share.list);
        if (!share.due && share.closed && s->held) {
            share = (struct inbox_share){.closed = true, .number = share.number};
            writer_commit(s, &share, &rows);
            inbox_item_free(share.list);
        }
        if (!share.due && share.closed)
            return NULL;
        more = writer_purge(s, rows);
        writer_shorten_wal(s);
    }
}
