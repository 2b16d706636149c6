/* SPDX-License-Identifier: Apache-2.0
 *
 * Checkpoints of pipelines into the file: the parts of all workers, in one transaction.
 */
#include "base/clock.h"
#include "store/db.h"
#include "store/internal.h"
#include "store/sql.h"

#include <errno.h>
#include <stdlib.h>

#define NUMBER_SHIFT 40
#define WORKER_SHIFT 32

int checkpoints_prepare(struct store *s, struct error *error)
{
    const struct {
        sqlite3_stmt **statement;
        const char *sql;
    } all[] = {
        {&s->statement.checkpoint_put, sql_checkpoint_put},
        {&s->statement.checkpoint_number,
         "SELECT number FROM weir_checkpoints WHERE pipeline = ?"},
        {&s->statement.states_clear,
         "DELETE FROM weir_states WHERE id >= ?1 AND id < ?2"},
        {&s->statement.state_put, "INSERT OR REPLACE INTO weir_states VALUES (?1, ?2)"},
        {&s->statement.state_delete, "DELETE FROM weir_states WHERE id = ?1"},
    };
    int err = 0;
    for (size_t i = 0; !err && i < sizeof(all) / sizeof(all[0]); i++)
        err = db_prepare(s->db, all[i].sql, SQLITE_PREPARE_PERSISTENT, all[i].statement,
                         error);
    return err;
}

void checkpoints_drop(struct store_pipeline *p)
{
    for (struct checkpoint *c = p->parts, *next; c; c = next) {
        next = c->next;
        checkpoint_free(c);
    }
    p->parts = NULL;
}

void checkpoints_free(struct store *s)
{
    sqlite3_finalize(s->statement.checkpoint_put);
    sqlite3_finalize(s->statement.checkpoint_number);
    sqlite3_finalize(s->statement.states_clear);
    sqlite3_finalize(s->statement.state_put);
    sqlite3_finalize(s->statement.state_delete);
}

/* ---- Collecting ------------------------------------------------------------------------------- */

void checkpoints_note(struct store_pipeline *p, struct checkpoint *c)
{
    struct checkpoint **at = &p->parts;
    while (*at)
        at = &(*at)->next;
    c->next = NULL;
    *at = c;
}

/* All workers have given their part of this checkpoint. A worker gives one checkpoint after the other, so
 * the first in the list is complete first. */
bool checkpoints_complete(const struct store_pipeline *p, uint64_t number)
{
    unsigned n = 0, workers = 0;
    for (const struct checkpoint *c = p->parts; c; c = c->next) {
        if (c->number != number)
            continue;
        n++;
        workers = c->workers;
    }
    return n && n == workers;
}

/* ---- Writing ---------------------------------------------------------------------------------- */

/* Worker 0 knows what they all have in common. */
static void checkpoints_bind(sqlite3_stmt *put, const struct checkpoint *c)
{
    sqlite3_bind_text(put, 2, c->stream, -1, SQLITE_STATIC);
    sqlite3_bind_int64(put, 3, (sqlite3_int64)c->position);
    sqlite3_bind_text(put, 4, c->definition, -1, SQLITE_STATIC);
    if (c->marks)
        sqlite3_bind_blob64(put, 5, c->marks, c->marks_size, SQLITE_STATIC);
    else
        sqlite3_bind_null(put, 5);
}

static int checkpoints_put(struct store *s, const struct store_pipeline *p,
                           uint64_t number)
{
    sqlite3_stmt *put = s->statement.checkpoint_put;
    uint64_t groups = 0;
    for (const struct checkpoint *c = p->parts; c; c = c->next) {
        if (c->number != number)
            continue;
        groups += c->groups;
        if (c->worker == 0)
            checkpoints_bind(put, c);
    }
    sqlite3_bind_text(put, 1, p->name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(put, 6, (sqlite3_int64)groups);
    sqlite3_bind_int64(put, 7, clock_now_us());
    return db_step(put);
}

static int checkpoints_first(struct store *s, const char *pipeline, sqlite3_int64 *ret)
{
    sqlite3_stmt *find = s->statement.checkpoint_number;
    sqlite3_bind_text(find, 1, pipeline, -1, SQLITE_STATIC);
    int code = sqlite3_step(find);
    if (code == SQLITE_ROW)
        *ret = sqlite3_column_int64(find, 0) << NUMBER_SHIFT;
    int reset = sqlite3_reset(find);
    return code == SQLITE_ROW ? SQLITE_OK : reset ? reset : SQLITE_NOTFOUND;
}

static int checkpoints_clear(struct store *s, sqlite3_int64 first)
{
    sqlite3_stmt *clear = s->statement.states_clear;
    sqlite3_bind_int64(clear, 1, first);
    sqlite3_bind_int64(clear, 2, first + (INT64_C(1) << NUMBER_SHIFT));
    return db_step(clear);
}

static int checkpoints_write_block(struct store *s, sqlite3_int64 id,
                                   const struct checkpoint_block *b)
{
    sqlite3_stmt *to = b->size ? s->statement.state_put : s->statement.state_delete;
    sqlite3_bind_int64(to, 1, id);
    if (b->size)
        sqlite3_bind_blob64(to, 2, b->data, b->size, SQLITE_STATIC);
    return db_step(to);
}

static int checkpoints_write_part(struct store *s, sqlite3_int64 first,
                                  const struct checkpoint *c)
{
    sqlite3_int64 id = first | (sqlite3_int64)c->worker << WORKER_SHIFT;
    int code = SQLITE_OK;
    for (size_t i = 0; !code && i < c->n_blocks; i++)
        code = checkpoints_write_block(s, id | c->block[i].number, &c->block[i]);
    return code;
}

static bool checkpoints_whole(const struct store_pipeline *p, uint64_t number)
{
    const struct checkpoint *c = p->parts;
    while (c->number != number)
        c = c->next;
    return c->whole;
}

/* Of the streams that it joins: each as one of its own. */
static int checkpoints_write_inputs(struct store *s, const struct checkpoint *c)
{
    int code = SQLITE_OK;
    for (const struct checkpoint *in = c->inputs; !code && in; in = in->inputs) {
        sqlite3_stmt *put = s->statement.checkpoint_put;
        sqlite3_int64 first = 0;
        checkpoints_bind(put, in);
        sqlite3_bind_text(put, 1, in->pipeline, -1, SQLITE_STATIC);
        sqlite3_bind_int64(put, 6, (sqlite3_int64)in->groups);
        sqlite3_bind_int64(put, 7, clock_now_us());
        code = db_step(put);
        if (!code)
            code = checkpoints_first(s, in->pipeline, &first);
        if (!code)
            code = checkpoints_clear(s, first);
        if (!code)
            code = checkpoints_write_part(s, first, in);
    }
    return code;
}

static int checkpoints_write_one(struct store *s, const struct store_pipeline *p,
                                 uint64_t number)
{
    sqlite3_int64 first = 0;
    int code = checkpoints_put(s, p, number);
    if (!code)
        code = checkpoints_first(s, p->name, &first);
    if (!code && checkpoints_whole(p, number))
        code = checkpoints_clear(s, first);
    for (const struct checkpoint *c = p->parts; !code && c; c = c->next)
        if (c->number == number) {
            code = checkpoints_write_part(s, first, c);
            if (!code)
                code = checkpoints_write_inputs(s, c);
            if (!code && c->worker == 0)
                code = answers_forget(s, p->name, c->position);
        }
    return code;
}

static void checkpoints_mark(const struct store_pipeline *p, uint64_t number)
{
    for (struct checkpoint *c = p->parts; c; c = c->next)
        c->written = c->written || c->number == number;
}

int checkpoints_write(struct store *s, const struct store_pipeline *p)
{
    int code = SQLITE_OK;
    const struct checkpoint *c = p->parts, *written = NULL;
    for (struct checkpoint *all = p->parts; all; all = all->next)
        all->written = false; /* of an attempt that failed */
    for (; !code && c && checkpoints_complete(p, c->number) &&
           chains_complete(s, p, c->number);
         c = c->next) {
        if (written && written->number >= c->number)
            continue;
        code = checkpoints_write_one(s, p, c->number);
        checkpoints_mark(p, c->number);
        written = c;
    }
    return code;
}

static void checkpoints_count(struct store *s, const struct checkpoint *c)
{
    uint64_t bytes = 0;
    for (; c; c = c->inputs)
        for (size_t i = 0; i < c->n_blocks; i++)
            bytes += c->block[i].size;
    metric_add(&s->count.checkpoint_bytes, bytes);
}

/* Tells how far the streams are that it joins. */
static void checkpoints_tell_inputs(struct store *s, const struct checkpoint *c)
{
    for (const struct checkpoint *in = c->inputs; in; in = in->inputs) {
        results_has_read(s, in->pipeline, (int64_t)in->position);
        if (s->options.stored)
            s->options.stored(s->options.ctx, in->pipeline, in->position);
    }
}

/* All parts of one that is in the file. */
static void checkpoints_remove(struct store *s, struct store_pipeline *p,
                               uint64_t number)
{
    struct checkpoint **at = &p->parts;
    while (*at) {
        struct checkpoint *c = *at;
        if (c->number != number) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        checkpoints_count(s, c);
        checkpoints_tell_inputs(s, c);
        checkpoint_free(c);
    }
    metric_add(&s->count.checkpoints, 1);
}

void checkpoints_committed(struct store *s, struct store_pipeline *p)
{
    while (p->parts && p->parts->written) {
        uint64_t position = p->parts->position;
        checkpoints_remove(s, p, p->parts->number);
        if (s->options.stored)
            s->options.stored(s->options.ctx, p->name, position);
    }
}

/* ---- Forgetting ------------------------------------------------------------------------------- */

static int checkpoints_delete(struct store *s, sqlite3_int64 number)
{
    sqlite3_str *text = sqlite3_str_new(s->db);
    sqlite3_str_appendf(text,
                        "BEGIN IMMEDIATE;"
                        "DELETE FROM weir_states WHERE id >= %lld AND id < %lld;"
                        "DELETE FROM weir_checkpoints WHERE number = %lld;"
                        "DELETE FROM weir_answers WHERE pipeline NOT IN"
                        " (SELECT pipeline FROM weir_checkpoints);"
                        "COMMIT",
                        number << NUMBER_SHIFT, (number + 1) << NUMBER_SHIFT, number);
    int err = db_exec_str(s->db, text, NULL);
    if (err && !sqlite3_get_autocommit(s->db))
        db_step(s->rollback);
    return err;
}

int store_forget_checkpoints(struct store *s,
                             bool (*keep)(void *ctx, const char *pipeline,
                                          const char *stream, uint64_t position,
                                          bool left),
                             void *ctx)
{
    for (;;) {
        DB_STATEMENT all = NULL;
        int err = db_prepare(
            s->db,
            "SELECT number, pipeline, stream, position,"
            " instr(pipeline, '.') AND NOT EXISTS (SELECT 1 FROM weir_checkpoints"
            " WHERE pipeline = substr(c.pipeline, 1, instr(c.pipeline, '.') - 1))"
            " FROM weir_checkpoints c",
            0, &all, NULL);
        int code = err ? SQLITE_DONE : sqlite3_step(all);
        while (code == SQLITE_ROW &&
               keep(ctx, (const char *)sqlite3_column_text(all, 1),
                    (const char *)sqlite3_column_text(all, 2),
                    (uint64_t)sqlite3_column_int64(all, 3),
                    sqlite3_column_int(all, 4) != 0))
            code = sqlite3_step(all);
        if (code != SQLITE_ROW)
            return err ? err : db_errno(code);
        sqlite3_int64 number = sqlite3_column_int64(all, 0);
        sqlite3_reset(all);
        err = checkpoints_delete(s, number);
        if (err)
            return err;
    }
}
