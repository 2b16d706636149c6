/* SPDX-License-Identifier: Apache-2.0
 *
 * What the journal has, read again: at start for all pipelines, later for one that starts anew.
 */
#include "base/clock.h"
#include "base/logger.h"
#include "log/internal.h"

#include <errno.h>
#include <stdlib.h>

#define TURN_US 10000 /* before other tasks have theirs */

struct replay {
    struct log *log;
    struct journal_reader *reader;
    uint64_t after, up_to; /* of all entries, these */
    int64_t begun_us;
    uint64_t next;         /* position expected */
    uint64_t end;          /* of the frames so far, a position; 0: there was none */
    bool names;            /* sources and keys are wanted, too */
    struct codec_map *map; /* of the schema in force; NULL: it is not known */
    char *bookmark;        /* of the entry that follows, of this source; NULL: none */
    uint32_t source;
    uint64_t unreadable, first_unreadable, last_unreadable; /* batches; positions */
    int (*entry)(void *ctx, struct log_entry *e);
    void *ctx;
};

static int on_entry(void *ctx, struct log_entry *e)
{
    struct replay *r = ctx;
    r->next = e->position + 1;
    if (r->bookmark && e->source == r->source) {
        e->bookmark = r->bookmark;
        r->bookmark = NULL;
    }
    if (e->batch)
        batch_seal(e->batch);
    return r->entry(r->ctx, e);
}

static int on_source(void *ctx, uint32_t number, const char *name, size_t size)
{
    struct replay *r = ctx;
    return r->names ? log_learn_source(r->log, number, name, size) : 0;
}

static int on_request_id(void *ctx, const struct request_id *key, int64_t taken_us)
{
    struct replay *r = ctx;
    return r->names ? idempotency_complete(r->log->idempotency, key, taken_us) : 0;
}

static int on_bookmark(void *ctx, uint32_t source, const char *bookmark, size_t size)
{
    struct replay *r = ctx;
    free(r->bookmark);
    r->source = source;
    r->bookmark = strndup(bookmark, size);
    return r->bookmark ? 0 : -ENOMEM;
}

/* Only while damage is passed over. */
static int on_unreadable(void *ctx, uint64_t position, uint32_t source)
{
    struct replay *r = ctx;
    r->next = position + 1;
    free(r->bookmark);
    r->bookmark = NULL;
    if (r->unreadable++ == 0)
        r->first_unreadable = position;
    r->last_unreadable = position;
    metric_add(&r->log->unreadable, 1);
    if (r->names) /* its number is taken */
        sources_heard(&r->log->sources, source, INT64_MIN, gather_now(r->log));
    return 0;
}

static void say_unreadable(const struct replay *r)
{
    if (r->unreadable)
        logger_error(
            "log",
            "stream '%s': %llu batches of entries %llu to %llu cannot be read: "
            "their schema was lost with damaged frames; passed over",
            r->log->name, (unsigned long long)r->unreadable,
            (unsigned long long)r->first_unreadable,
            (unsigned long long)r->last_unreadable);
}

/* What frames that were passed over have said of the schema is not known. The one before is trusted only if it is
 * that of today: most starts do not change it. */
static void look_for_gap(struct replay *r, const struct journal_frame *f)
{
    bool gap = r->end && f->first > r->end;
    r->end = f->first + f->n;
    if (!gap || !r->map || codec_map_is_same(r->map))
        return;
    codec_map_free(r->map);
    r->map = NULL;
}

/* Positions between frames that are not there (damaged ones that were to be skipped, or trimmed ones). */
static void note_gap(const struct replay *r, const struct journal_frame *f)
{
    uint64_t expected = r->next > r->after ? r->next : r->after + 1;
    if (f->n && f->first > expected)
        logger_error(
            "log", "stream '%s': entries %llu to %llu are not in the journal any more",
            r->log->name, (unsigned long long)expected,
            (unsigned long long)f->first - 1);
}

/* 1: a frame was read; 0: there is no other. */
static int read_frame(struct replay *r, struct error *error)
{
    const struct entry_calls calls = {.entry = on_entry,
                                      .source = on_source,
                                      .key = on_request_id,
                                      .bookmark = on_bookmark,
                                      .unreadable =
                                          r->log->skip_damaged ? on_unreadable : NULL,
                                      .ctx = r};
    struct journal_frame f;
    int err = journal_reader_next(r->reader, &f, error);
    if (err <= 0 || f.first > r->up_to)
        return err < 0 ? err : 0;
    note_gap(r, &f);
    look_for_gap(r, &f);
    err = entry_read(&f, r->after, r->up_to, r->log->schema, &r->map, &calls);
    if (err == -EBADMSG)
        error_set(error, err, "the journal's entries from %llu on cannot be read",
                  (unsigned long long)f.first);
    return err < 0 ? err : 1;
}

static void close_replay(struct replay *r)
{
    codec_map_free(r->map);
    free(r->bookmark);
    say_unreadable(r);
    journal_reader_free(r->reader);
}

int replay_range(struct log *l, uint64_t after, uint64_t up_to,
                 int (*entry)(void *ctx, struct log_entry *e), void *ctx,
                 struct error *error)
{
    struct replay r = {
        .log = l, .after = after, .up_to = up_to, .entry = entry, .ctx = ctx};
    if (!l->journal || after >= up_to)
        return 0;
    int err = journal_reader_new(l->journal, after + 1, &r.reader, error);
    if (err < 0)
        return err;
    while ((err = read_frame(&r, error)) > 0)
        ;
    close_replay(&r);
    return err;
}

/* ---- At start --------------------------------------------------------------------------------- */

static int hand_on(void *ctx, struct log_entry *e)
{
    struct log *l = ctx;
    if (e->kind == LOG_BATCH) {
        sources_heard(&l->sources, e->source, e->batch->span.max_us, gather_now(l));
        metric_add(&l->replayed, e->batch->n_rows);
    }
    if (e->kind == LOG_HEARD)
        sources_there(&l->sources, e->source, gather_now(l));
    if (e->kind == LOG_ADVANCE && e->time_us > l->begun_us)
        l->begun_us = e->time_us;
    reach_replayed(l, e);
    int r = bookmark_replayed(l, e);
    if (r < 0) {
        log_entry_unref(e);
        return r;
    }
    return backlog_push(&l->backlog, e) ? 0 : -ESHUTDOWN;
}

/* Numbers of sources that are in entries or checkpoints, even if their names were lost. */
static void reserve_sources(struct log *l)
{
    uint32_t last = LOG_SOURCES_MAX - 1;
    while (last > 0 && !l->sources.clock[last].seen)
        last--;
    log_reserve_source(l, last);
}

int replay_begin(struct log *l, struct error *error)
{
    struct replay *r = calloc(1, sizeof(*r));
    if (!r)
        return error_set(error, -ENOMEM, "no memory");
    /* All pipelines and the keeper of keys know the entries up to there. */
    uint64_t kept = atomic_load_explicit(&l->kept, memory_order_relaxed);
    *r = (struct replay){.log = l,
                         .after = log_least(l, kept),
                         .up_to = UINT64_MAX,
                         .begun_us = clock_monotonic_us(),
                         .names = true,
                         .entry = hand_on,
                         .ctx = l};
    l->replay = r;
    return journal_reader_new(l->journal, r->after + 1, &r->reader, error);
}

int replay_go_on(struct log *l, struct error *error)
{
    int64_t until_us = clock_monotonic_us() + TURN_US;
    int r = 1;
    while (r > 0 && !backlog_is_full(&l->backlog) && clock_monotonic_us() < until_us)
        r = atomic_load_explicit(&l->leaving, memory_order_relaxed)
                ? -ESHUTDOWN
                : read_frame(l->replay, error);
    return r;
}

static void say_how_long(const struct replay *r)
{
    struct log *l = r->log;
    uint64_t rows = atomic_load_explicit(&l->replayed, memory_order_relaxed);
    if (rows)
        logger_info(
            "log",
            "stream '%s': %llu events of entries %llu to %llu read from the journal in "
            "%.2f s",
            l->name, (unsigned long long)rows, (unsigned long long)r->after + 1,
            (unsigned long long)journal_end(l->journal) - 1,
            (double)(clock_monotonic_us() - r->begun_us) / 1e6);
}

void replay_end(struct log *l, bool complete)
{
    struct replay *r = l->replay;
    if (!r)
        return;
    if (complete && l->skip_damaged)
        reserve_sources(l);
    if (complete)
        say_how_long(r);
    l->sources_written = l->n_sources;
    close_replay(r);
    free(r);
    l->replay = NULL;
}
