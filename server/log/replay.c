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
    uint64_t next; /* position expected */
    bool names;    /* sources and keys are wanted, too */
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
    const struct entry_calls calls = {
        .entry = on_entry, .source = on_source, .key = on_key, .ctx = r};
    struct codec_map *map = NULL;
    struct journal_frame f;
    int err;
    while ((err = journal_reader_next(reader, &f, error)) > 0 && f.first <= up_to) {
        note_gap(r, after, &f);
        err = entry_read(&f, after, up_to, r->log->schema, &map, &calls);
        if (err == -EBADMSG)
            error_set(error, err, "the journal's entries from %llu on cannot be read",
                      (unsigned long long)f.first);
        if (err < 0)
            break;
    }
    codec_map_free(map);
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
        sources_heard(l->clock, e->source, e->batch->span.max_us, clock_monotonic_us());
        metric_add(&l->replayed, e->batch->n_rows);
    }
    return line_push(&l->line, e, true) ? 0 : -ESHUTDOWN;
}

int replay_journal(struct log *l, struct error *error)
{
    struct replay r = {.log = l, .names = true, .entry = hand_on, .ctx = l};
    /* All pipelines and the keeper of keys know the entries up to there. */
    uint64_t kept = atomic_load_explicit(&l->kept, memory_order_relaxed);
    uint64_t after = log_least(l, kept), end = journal_end(l->journal);
    int64_t begun_us = clock_monotonic_us();
    int err = replay(&r, after, UINT64_MAX, error);
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
