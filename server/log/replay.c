/* SPDX-License-Identifier: Apache-2.0
 *
 * What the journal has, read again: at start for all pipelines, later for one that starts anew.
 */
#include "base/clock.h"
#include "base/logger.h"
#include "log/internal.h"

#include <errno.h>

struct replay {
    struct log *log;
    uint64_t next;         /* position expected */
    uint64_t end;          /* of the frames so far, a position; 0: there was none */
    bool names;            /* sources and keys are wanted, too */
    struct codec_map *map; /* of the schema in force; NULL: it is not known */
    uint64_t unreadable, first_unreadable, last_unreadable; /* batches; positions */
    int (*entry)(void *ctx, struct log_entry *e);
    void *ctx;
};

static int on_entry(void *ctx, struct log_entry *e)
{
    struct replay *r = ctx;
    r->next = e->position + 1;
    if (e->batch)
        batch_seal(e->batch);
    return r->entry(r->ctx, e);
}

static int on_source(void *ctx, uint32_t number, const char *name, size_t size)
{
    struct replay *r = ctx;
    return r->names ? log_learn_source(r->log, number, name, size) : 0;
}

static int on_key(void *ctx, const struct request_key *key, int64_t taken_us)
{
    struct replay *r = ctx;
    return r->names ? idempotency_complete(r->log->idempotency, key, taken_us) : 0;
}

/* Only while damage is passed over. */
static int on_unreadable(void *ctx, uint64_t position, uint32_t source)
{
    struct replay *r = ctx;
    r->next = position + 1;
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
        log_error("log",
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
static void note_gap(const struct replay *r, uint64_t after,
                     const struct journal_frame *f)
{
    uint64_t expected = r->next > after ? r->next : after + 1;
    if (f->n && f->first > expected)
        log_error("log",
                  "stream '%s': entries %llu to %llu are not in the journal any more",
                  r->log->name, (unsigned long long)expected,
                  (unsigned long long)f->first - 1);
}

static int read_frames(struct replay *r, struct journal_reader *reader, uint64_t after,
                       uint64_t up_to, struct error *error)
{
    const struct entry_calls calls = {.entry = on_entry,
                                      .source = on_source,
                                      .key = on_key,
                                      .unreadable =
                                          r->log->skip_damaged ? on_unreadable : NULL,
                                      .ctx = r};
    struct journal_frame f;
    int err;
    while ((err = journal_reader_next(reader, &f, error)) > 0 && f.first <= up_to) {
        note_gap(r, after, &f);
        look_for_gap(r, &f);
        err = entry_read(&f, after, up_to, r->log->schema, &r->map, &calls);
        if (err == -EBADMSG)
            error_set(error, err, "the journal's entries from %llu on cannot be read",
                      (unsigned long long)f.first);
        if (err < 0)
            break;
    }
    codec_map_free(r->map);
    say_unreadable(r);
    return err < 0 ? err : 0;
}

static int replay(struct replay *r, uint64_t after, uint64_t up_to, struct error *error)
{
    struct journal_reader *reader;
    int err = journal_reader_new(r->log->journal, after + 1, &reader, error);
    if (err < 0)
        return err;
    err = read_frames(r, reader, after, up_to, error);
    journal_reader_free(reader);
    return err;
}

int replay_range(struct log *l, uint64_t after, uint64_t up_to,
                 int (*entry)(void *ctx, struct log_entry *e), void *ctx,
                 struct error *error)
{
    struct replay r = {.log = l, .entry = entry, .ctx = ctx};
    return l->journal && after < up_to ? replay(&r, after, up_to, error) : 0;
}

/* ---- At start --------------------------------------------------------------------------------- */

static int hand_on(void *ctx, struct log_entry *e)
{
    struct log *l = ctx;
    if (e->kind == LOG_BATCH) {
        sources_heard(&l->sources, e->source, e->batch->span.max_us, gather_now(l));
        metric_add(&l->replayed, e->batch->n_rows);
    }
    if (e->kind == LOG_ADVANCE && e->time_us > l->begun_us)
        l->begun_us = e->time_us;
    reach_replayed(l, e);
    return line_push(&l->line, e, true) ? 0 : -ESHUTDOWN;
}

/* Numbers of sources that are in entries or checkpoints, even if their names were lost. */
static void reserve_sources(struct log *l)
{
    uint32_t last = LOG_SOURCES_MAX - 1;
    while (last > 0 && !l->sources.clock[last].seen)
        last--;
    log_reserve_source(l, last);
}

int replay_journal(struct log *l, struct error *error)
{
    struct replay r = {.log = l, .names = true, .entry = hand_on, .ctx = l};
    /* All pipelines and the keeper of keys know the entries up to there. */
    uint64_t kept = atomic_load_explicit(&l->kept, memory_order_relaxed);
    uint64_t after = log_least(l, kept), end = journal_end(l->journal);
    int64_t begun_us = clock_monotonic_us();
    int err = replay(&r, after, UINT64_MAX, error);
    if (err == 0 && l->skip_damaged)
        reserve_sources(l);
    uint64_t rows = atomic_load_explicit(&l->replayed, memory_order_relaxed);
    if (err == 0 && rows)
        log_info(
            "log",
            "stream '%s': %llu events of entries %llu to %llu read from the journal in "
            "%.2f s",
            l->name, (unsigned long long)rows, (unsigned long long)after + 1,
            (unsigned long long)end - 1,
            (double)(clock_monotonic_us() - begun_us) / 1e6);
    l->sources_written = l->n_sources;
    return err;
}
