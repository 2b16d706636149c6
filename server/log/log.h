/* SPDX-License-Identifier: Apache-2.0
 *
 * A stream's log: the one order of its events. Requests come in from many threads; one task a stream
 * gathers them into batches, writes them to the journal, says so to those who wait, and numbers them;
 * a second one hands the entries to every pipeline of the stream, in the same order. All that a
 * pipeline knows, time included, comes to it through here, so that the same log gives the same results.
 *
 *      log_append -> [intake] -> gathering: frame -> journal -> tickets
 *                                                       \-> [backlog] -> dispatching:
 *      at start: journal -> entries ---------------------/    keys -> log_sink of each pipeline
 *
 * Neither waits on its thread for anything but the disk: who finds no room goes to sleep, and is woken by whoever
 * makes some. Every so often the pipelines are asked for a checkpoint; what they have all put into
 * the database is trimmed from the journal.
 */
#ifndef WEIR_LOG_LOG_H
#define WEIR_LOG_LOG_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/metrics.h"
#include "base/tasks.h"
#include "base/waiter.h"
#include "batch/batch.h"
#include "batch/keys.h"
#include "batch/request.h"
#include "expr/derive.h"
#include "journal/journal.h"

enum log_kind {
    LOG_BATCH,   /* rows of one source */
    LOG_REACHED, /* the source has reached time_us, without a row */
    LOG_HEARD, /* the source is there: it holds the watermark back, also if it has never sent a row */
    LOG_IDLE,    /* the source holds the watermark back no more, until it sends again */
    LOG_ADVANCE, /* event time is at least time_us: silence went on */
    LOG_END,     /* nothing comes after: every window closes */
    LOG_CHECKPOINT, /* what the entries up to and with `position` have made is to be stored */
};

/* Rows of an entry that were one of their own in the journal. */
struct log_part {
    uint64_t position;
    uint32_t first;     /* row */
    int64_t reached_us; /* as of the entry */
};

struct log_entry {
    _Atomic uint32_t refs;
    enum log_kind kind;
    uint64_t position; /* 1, 2, 3, ...; of LOG_CHECKPOINT that of the entry before it */
    uint64_t number;   /* LOG_CHECKPOINT: 1, 2, ... */
    uint32_t source;   /* small number of the source; 0: all that give no name */
    int64_t time_us;   /* LOG_ADVANCE, LOG_REACHED */
    /* LOG_BATCH: its rows do not say how far the source is: other connections without a name are behind. Behind
     * the rows of each entry of the journal it has reached reached_us. */
    bool held;
    int64_t reached_us;
    uint64_t
        sequence; /* LOG_BATCH of a derived log: number of its first row, 1, 2, ...; 0: positions say it */
    bool
        retract; /* LOG_BATCH of a derived log: its rows came before, and are taken out again */
    char *pipeline; /* LOG_IDLE, LOG_ADVANCE, LOG_REACHED: whom it is for; NULL: all */
    struct batch *batch;   /* LOG_BATCH; sealed */
    struct key_ids **keys; /* LOG_BATCH: for each list of key columns, by the index that
                            * log_subscribe gave */
    struct dictionary *
        *dictionary; /* LOG_BATCH: by column; NULL where nobody asked for one */
    size_t n_keys, n_columns;
    char *
        bookmark; /* LOG_BATCH, LOG_HEARD: request.bookmark behind it; the log's alone; NULL: none */
    struct log_part *part; /* LOG_BATCH: entries that were joined on their way to the
                            * pipelines; NULL: it is one, with all rows */
    size_t n_parts;
    uint8_t *gone; /* LOG_BATCH: bits of rows that a pipeline leaves out; NULL: none */

    /* The log's, until it is handed on: the room that it takes in the intake. */
    struct log_entry *next;
    uint64_t held_rows;
    size_t held_bytes;
    uint32_t held_requests;
    bool asks;             /* somebody waits to hear that it is durable */
    bool whole;            /* joined with others it might not fit into the journal */
    struct origin *origin; /* of its rows; NULL: not known, or there are several */
    bool mixed;            /* there are several */
};
void log_entry_unref(struct log_entry *e);

/* Where a row stands in the log, whatever was joined: the position of its entry, and its number in it. Rows with numbers of
 * their own (`sequence`) stand before all others: as a signed number it is negative. */
uint64_t log_entry_row(const struct log_entry *e, uint32_t row, uint32_t *ret_index);
/* What the source of a batch that is held had reached before this row, by the batch alone; behind the last one:
 * of all of it. INT64_MIN: it says nothing yet. */
int64_t log_entry_reached(const struct log_entry *e, uint32_t row);

/* The same as one number that rises with it: position and row side by side. For all rows from this one to before *ret_end
 * it is what is returned plus the row. */
uint64_t log_entry_sequence(const struct log_entry *e, uint32_t row, uint32_t *ret_end);

struct log;

#define LOG_HOLDS_US    (INT64_MIN + 1)
#define LOG_SOURCES_MAX 1024 /* sources of a stream; 0 has no name */
/* Sources whose names begin so come and go (log_there). No producer's name has a space in it. */
#define LOG_GUEST_NAME  "weir run"
#define LOG_ORIGINS_MAX 1024 /* connections without a name that are told apart */
#define LOG_QUEUE_BYTES ((size_t)64 << 20) /* of batches that may wait in the intake */
#define LOG_GATHER_ROWS                                                                \
    4096u /* batches of so many rows go on as they are, smaller ones are gathered */

/* Where requests with keys, and bookmarks, are kept once the journal is trimmed (the database). */
struct log_keeper {
    /* The stream is at `position`; keys of requests up to it that were not given before follow from
     * log_keys, bookmarks of there from log_bookmarks. Takes effect when the caller says so with log_kept. Below 0: not this time. */
    int (*keep)(void *ctx, uint64_t position);
    /* What was kept is still there. False: the journal is not trimmed. NULL: always. */
    bool (*there)(void *ctx);
    void *ctx;
};

struct log_options {
    const char *name;
    const struct schema
        *schema; /* of the batches that are appended, and of the journal */
    /* What pipelines see: with n_derived columns behind those, which follow from them. Key columns and
     * dictionaries of sinks are of these. NULL: the same. */
    const struct schema *columns;
    const struct derive_column *derived; /* not looked at behind log_new */
    size_t n_derived;
    struct tasks *front;   /* whose threads gather: somebody waits for them */
    struct tasks *back;    /* whose threads dispatch */
    uint64_t queue_events; /* rows that may wait in the intake */
    int64_t linger_us; /* how long gathered rows wait for more if nobody waits for an
                            * answer; 0: not at all */
    /* NULL: entries are not kept. The log fills in begin_segment, ctx and stream. */
    const struct journal_options *journal;
    uint64_t position; /* of the last entry that the database knows of */
    uint64_t least;    /* of the last entry that all its pipelines know of */
    bool read_only;    /* the journal is read at start, not written */
    uint64_t
        kept; /* keys of requests up to this position were given to log_know_request */
    int64_t checkpoint_interval_us; /* 0: only at the end */
    uint64_t idempotency_keys;
    int64_t idempotency_retain_us;
    struct log_keeper keeper; /* keep NULL: nobody */
};

/* What a pipeline gives to be fed. When all sources are silent, event time is taken to go on at the pace of the clock: a LOG_ADVANCE
 * comes whenever that closes a window, until no window can be open any more. */
struct log_sink {
    const char *pipeline; /* its name */
    /* Owns a reference from then on. False: there is no room for all of it; it is put again after log_room. With
     * `command` there is more room, for few entries. Never waits. */
    bool (*put)(void *ctx, struct log_entry *e, bool command);
    void *ctx;
    uint64_t position; /* of the last entry that it knows: it gets those behind it */
    /* It gets nothing, nor is it asked for checkpoints, before log_catch_up has brought it what it lacks. */
    bool behind;
    /* Of a derived log: it gets entries at `position`, too. */
    bool also;
    int64_t idle_timeout_us; /* INT64_MAX: never idle */
    int64_t out_of_orderness_us;
    /* Borders of its windows, for silence; the log's tasks. The first behind a time; the last that a row of
     * this time waits for. */
    int64_t (*next_border_us)(void *ctx, int64_t after_us);
    int64_t (*last_border_us)(void *ctx, int64_t newest_us);
    /* Of one of several streams that a pipeline reads: the time up to which it waits for this one; INT64_MIN: for
     * nothing. Where all sources are silent for idle_timeout, or nobody has ever sent, time goes on to there at once. The
     * log's tasks; log_look tells of a change. NULL: the clock alone says how time goes on. */
    int64_t (*wanted_us)(void *ctx);
    const size_t *key; /* columns */
    size_t n_keys;
    const bool *dictionary; /* of each column of the schema: one is wanted */
    /* True: it stores no more checkpoints, and holds nothing up but the journal. Any thread. NULL: never */
    bool (*failed)(void *ctx);
    /* What sources had reached, as it knows from before; they need not have a name any more. INT64_MIN: nothing, though source 0
     * may have sent rows. LOG_HOLDS_US: nothing, but it waits for the source. */
    const int64_t *source_us;
    uint32_t n_sources;
    int64_t newest_us; /* event of all sources; INT64_MIN: none */
    int64_t watermark_us;
};

/* A log of rows that a pipeline gives out: entries are made elsewhere, in order, with positions of the log that the
 * pipeline reads. It has no journal, as they can be made again, takes no requests, and knows no silence. Of the
 * calls below it has those that name it, log_subscribe, log_hold, log_room, log_source_name, log_close and log_free.
 * `filler` is woken when it is full no more. -ENOMEM. */
struct log_derived_options {
    const char *name; /* of the table */
    const struct schema *schema;
    struct tasks *back;
    struct task *filler;
};
int log_new_derived(const struct log_derived_options *options, struct log **ret,
                    struct error *error);
/* Behind those before; several may have one position. Takes it. Marks (LOG_CHECKPOINT, LOG_END) are for all
 * subscribers, the others for those whose position is lower. Never waits. One thread at a time. */
void log_push(struct log *l, struct log_entry *e);
/* Who fills it should rest. */
bool log_is_full(struct log *l);

int log_new(const struct log_options *options, struct metrics *metrics,
            struct log **ret, struct error *error); /* errors of journal_open */

/* Before log_start. Returns in *ret_keys the index into log_entry.keys for these key columns; equal
 * lists share one. The arrays of the sink are copied. -ENOMEM. */
int log_subscribe(struct log *l, const struct log_sink *sink, size_t *ret_keys);

/* What the database knows of a key. Before log_start. */
int log_know_request(struct log *l, const struct request_id *key, int64_t taken_us);

/* The same of the bookmark of the source with that name. -ENOMEM. */
int log_know_bookmark(struct log *l, const char *source, const char *bookmark);

/* It runs; what the journal has is handed on first, and until then nothing new is taken. Also of a derived log. */
int log_start(struct log *l, struct error *error);

/* False: the journal is still being read. */
bool log_is_ready(struct log *l);
/* True: the journal could not be read to its end, nothing is taken; the text says why. */
bool log_failed(struct log *l, struct error *ret);
/* Values of derived columns so far that could not be computed. */
uint64_t log_derive_errors(const struct log *l);

/* False: the journal cannot be written, for want of room or because it is not where it was; requests are refused,
 * and the text says why. */
bool log_has_room(struct log *l, struct error *ret);

/* Number of a named source, from now on known. -ENOSPC: too many names; -EAGAIN: not ready. */
int log_source(struct log *l, const char *name, size_t size, uint32_t *ret);
/* Its name; "" for 0 and for numbers not given. Lives as long as the log. */
const char *log_source_name(struct log *l, uint32_t source);

/* ---- Who is sending: what arrives is not silence. Any thread ---- */

/* A connection without a name, from its first request on; a request over it has it as its origin. While it sends,
 * what it has not sent yet holds the watermark back as that of a source does. NULL: there are LOG_ORIGINS_MAX, or no
 * memory: its rows count as those of nobody in particular. */
struct origin *log_origin(struct log *l);
/* It is closed; no call with it follows. Also when the log is closed. */
void log_origin_end(struct origin *o);
/* Bytes have come; no lock. `o` may be NULL. */
void log_alive(struct log *l, uint32_t source, struct origin *o);
/* A source named LOG_GUEST_NAME... is there. Once it is there no more, and what it has put is on disk, it holds the
 * watermark back no more, however long idle_timeout is; nor does it after a start. */
void log_there(struct log *l, uint32_t source, bool there);
/* It is we who keep it waiting, for room: until then it is not silent. Counted. */
void log_waits(struct log *l, uint32_t source, struct origin *o, bool on);

/* Puts the rows behind all that came before; never waits. 0: the log owns the batches. -EAGAIN: the intake
 * is full, or the log is not ready; -ENOSPC, -EDQUOT: the journal has no room; -ESTALE: it is gone; -EMSGSIZE: it could never have
 * (request_stored_max); -ESHUTDOWN; -ENOMEM. Any other request is taken by an empty intake. */
int log_append(struct log *l, const struct request *r);
/* Waits for room instead; -EINTR: r->stop. */
int log_append_wait(struct log *l, const struct request *r);
/* After it returns the ticket is not called any more. */
void log_cancel(struct log *l, struct ticket *t);

/* Whether it knows any keys; false: none, or it is not ready. */
bool log_knows_requests(struct log *l);
/* As idempotency_begin and idempotency_abandon; -EAGAIN: not ready. */
int log_key_begin(struct log *l, const char *key, size_t size,
                  struct request_known *ret);
void log_key_abandon(struct log *l, const char *key, size_t size);
int log_keys(struct log *l, uint64_t after, uint64_t up_to,
             int (*call)(void *ctx, const struct request_id *key, int64_t taken_us),
             void *ctx);

/* Where a reader goes on: the last bookmark of the source that the journal or the database had at the start, malloc'ed, in
 * *ret, NULL: none. -EAGAIN: not ready; -ENOMEM. */
int log_bookmark(struct log *l, uint32_t source, char **ret);
/* All of those, by the names of their sources. Stops with what `call` returns below 0. -EAGAIN: not ready. */
int log_known_bookmarks(struct log *l,
                        int (*call)(void *ctx, const char *source,
                                    const char *bookmark),
                        void *ctx);
/* Within log_keeper.keep: calls `call` for each source with the bookmark of that position, as far as there were new ones
 * since the start. Stops with what it returns below 0. */
int log_bookmarks(struct log *l,
                  int (*call)(void *ctx, const char *source, const char *bookmark),
                  void *ctx);

/* Calls wake(ctx) once when the intake has become shorter or the log is closed; at once if it is empty.
 * It is called with the log's lock held: it must not call the log. The one-shot waiter can be taken
 * back: after log_unwait returns, it is not called. */
void log_wait(struct log *l, struct waiter *w);
void log_unwait(struct log *l, struct waiter *w);

/* The pipeline's checkpoint at `position` is in the database; any thread, quick. */
void log_stored(struct log *l, const char *pipeline, uint64_t position);
/* So are the keys up to `position`. */
void log_kept(struct log *l, uint64_t position);

/* A sink has room again, or its pipeline has failed. Any thread. */
void log_room(struct log *l);
/* A sink waits for more than before (wanted_us). Any thread. */
void log_look(struct log *l);

/* Runs call(ctx), on the caller's thread, between two entries: whatever waits to be handed on waits behind it. For
 * changes of pipelines while the log runs; from one thread, also from within. -ESHUTDOWN: the log has ended. */
int log_call(struct log *l, void (*call)(void *ctx), void *ctx);
/* -ETIMEDOUT: at until_us (clock_monotonic_us) a pipeline had not taken the entry before it; nothing was called. */
int log_call_until(struct log *l, int64_t until_us, void (*call)(void *ctx), void *ctx);
/* Columns of a stream, and of its rows as pipelines see them. */
struct log_columns {
    const struct schema *schema, *columns;
    const struct derive_column *derived;
    size_t n_derived;
};
/* Within such a call, when no pipeline runs: from now on the stream has more columns. Those of `schema` so far are its
 * first ones; they all stay as long as the log. Batches of the schema before may still come, and have nulls in the new
 * columns. -ENOMEM, -EINVAL: it is as it was. */
int log_change(struct log *l, const struct log_columns *to, struct error *error);
/* Within such a call: what all pipelines have made of the entries so far is to be stored, with the bookmarks. -EBUSY: one of them has
 * failed or is behind, or the journal is still being read; -ENOMEM, -EIO, -ESHUTDOWN. */
int log_settle(struct log *l, struct error *error);
/* Within the same call: 1: it is; 0: not yet. */
int log_is_settled(const struct log *l, struct error *error);
/* Within such a call: a checkpoint of the pipeline, now; */
void log_checkpoint(struct log *l, const char *pipeline);
/* the pipeline gets no more entries; the position that it has stored, or that of the last entry if it is not there; */
uint64_t log_unsubscribe(struct log *l, const char *pipeline);
/* another one takes its place, also one that is held, and gets those behind sink->position that it missed. -EBADMSG,
 * -EIO: they cannot be read, and who was there stays. */
int log_resubscribe(struct log *l, const struct log_sink *sink, size_t *ret_keys,
                    struct error *error);
/* another one comes, with sink->behind; nothing is read yet. -ENOMEM; */
int log_subscribe_behind(struct log *l, const struct log_sink *sink, size_t *ret_keys);
/* another one takes its place that has failed: what is behind sink->position stays in the journal, or behind what one of
 * this name has stored that is still there; later entries are put to it. -ENOMEM: nothing has changed. */
int log_hold(struct log *l, const struct log_sink *sink);

/* ---- A pipeline that is behind; from one thread, not within log_call, while it is subscribed ---- */

/* Puts it an entry that was made elsewhere, with the position that it has. Takes it. Waits for room; -ECANCELED: *stop,
 * or the log ends, or the pipeline has failed; -ENOMEM. */
int log_put_behind(struct log *l, const char *pipeline, struct log_entry *e,
                   const _Atomic bool *stop);
/* Puts it what the journal has, while others go on; from then on it gets what they get. Every checkpoint_interval it is
 * asked for a checkpoint of what it has read. -ECANCELED as above; -EBADMSG, -EIO: it cannot be read; -ENOMEM. */
int log_catch_up(struct log *l, const char *pipeline, const _Atomic bool *stop,
                 struct error *error);

/* The newest time that an event has, or that a pipeline knew before the start; INT64_MIN: none. Once the log is ready. */
int64_t log_newest(const struct log *l);
/* Positions that the journal has: log_first to log_last; first is last + 1: none. While the log runs: up to the
 * last entry handed on. */
uint64_t log_first(const struct log *l);
uint64_t log_last(const struct log *l);
/* The last one that was written, though it may not be handed on yet. */
uint64_t log_written(const struct log *l);

/* How the log ends. */
enum log_end {
    LOG_STOP,   /* what waits is handed on, a last checkpoint is asked for */
    LOG_FINISH, /* the same, and LOG_END before it: all windows close */
    LOG_LEAVE,  /* what waits is handed on, no checkpoint: it stays in the journal */
};

/* Takes nothing more, and ends as said. */
void log_end(struct log *l, enum log_end end);
/* The same, and waits for that. From deadline_us on (clock_monotonic_us) nothing more is handed on: what is in the
 * journal is there at the next start. False: it came to that. */
bool log_close(struct log *l, enum log_end end, int64_t deadline_us);
/* All that it has had is in the database. After log_close. */
bool log_is_stored(struct log *l);

/* What sources are called, in the order of their numbers, a line each. Any thread. */
void log_put_sources(struct log *l, struct buffer *to);
/* Before log_start: the database has come without its journal, which begins anew behind it and knows sources by these numbers. */
int log_take_sources(struct log *l, const char *names, struct error *error);

/* After LOG_FINISH, once all is committed: the journal begins anew behind the last entry. What is not in the
 * database stays there. */
void log_forget(struct log *l);
void log_free(struct log *l);

#endif
