/* SPDX-License-Identifier: Apache-2.0
 *
 * A pipeline: N workers, each with its share of the keys, fed with the entries of a stream's log in
 * order, and run as tasks. What it knows depends on those entries alone.
 */
#ifndef WEIR_PIPELINE_PIPELINE_H
#define WEIR_PIPELINE_PIPELINE_H

#include "base/metrics.h"
#include "base/tasks.h"
#include "base/waiter.h"
#include "config/config.h"
#include "log/log.h"
#include "pipeline/checkpoint.h"
#include "pipeline/rowset.h"
#include "plugin/binding.h"

struct pipeline;

/* What other services have answered for entries first to last (pipeline/lookup.h), as bytes; malloc'ed, as is `data`. */
struct pipeline_answers {
    uint64_t first, last;
    size_t n;
    char *data;
    size_t size;
};

struct lookups;

/* Where the results of a worker go (store_put behind it). May wait. Takes the rows. */
struct pipeline_sink {
    int (*put)(void *ctx, const char *pipeline, unsigned worker, unsigned workers,
               uint64_t position, int64_t watermark_us, struct rowset *rows);
    /* One worker's part of a checkpoint; behind the rows it put before. Takes it. NULL: none are made. */
    int (*checkpoint)(void *ctx, const char *pipeline, struct checkpoint *c);
    /* Would put not wait? Otherwise the waiter is called once that is so. NULL: it never does. */
    bool (*ready)(void *ctx, struct waiter *w);
    void (*unwait)(void *ctx, struct waiter *w); /* it is not called any more */
    /* It will put nothing more: what others put is not to wait for it. Any thread, quick. NULL: nobody does */
    void (*out)(void *ctx, const char *pipeline);
    /* To be in the file with, or before, what is put behind it, until a checkpoint has passed `last`. Takes it. May wait.
     * NULL: it is not kept. */
    int (*answers)(void *ctx, const char *pipeline, struct pipeline_answers *a);
    void *ctx;
    struct lookups *lookups; /* asks other services; for pipelines with look-ups */
    /* The process of an analyzer has ended, and it waits to be started again (pipeline_crashed). Any thread, quick. NULL:
     * nobody starts it again, it has failed. */
    void (*crashed)(void);
};

/* Loads and binds the analyzers, compiles `where`, makes the tables. Everything that `weir check` has
 * to find out about a pipeline fails here. */
int pipeline_new(struct config *config, const struct config_pipeline *c,
                 struct plugins *plugins, struct metrics *metrics,
                 struct pipeline **ret, struct error *error);
struct pipeline *pipeline_ref(struct pipeline *p);
void pipeline_unref(struct pipeline *p); /* takes NULL; the last one stops it */

/* The same of one that reads tables of other pipelines, which it holds references of: by config_pipeline.parent, or
 * config_result.pipeline, in all[]. -EINVAL: they have no such table, or the key is no column of it. */
int pipeline_new_child(struct config *config, const struct config_pipeline *c,
                       struct pipeline *const *all, struct plugins *plugins,
                       struct metrics *metrics, struct pipeline **ret,
                       struct error *error);
/* Those that read its tables: `after` NULL: the first; NULL: no more. */
struct pipeline *pipeline_child(const struct pipeline *p, const struct pipeline *after);
const struct table *pipeline_reads_table(const struct pipeline *p); /* of its parent */
/* Are rows of that replaced? Then what it has made of others than it is given at its start is of no use. */
bool pipeline_reads_replaced(const struct pipeline *p);
/* It knows nothing of what it gave out before. Before it starts. */
void pipeline_begin_afresh(struct pipeline *p);
bool pipeline_is_afresh(const struct pipeline *p);
struct pipeline *
pipeline_parent(const struct pipeline *p); /* NULL: it reads the stream */

/* Its counters in the registry, if pipeline_new was given none: one of a name at a time. -ENOMEM. */
int pipeline_count(struct pipeline *p, struct metrics *metrics);
/* It will be gone soon. */
void pipeline_uncount(struct pipeline *p);

size_t pipeline_tables(const struct pipeline *p,
                       const struct table *const **ret_tables);
/* The first is the pipeline's own, if an analyzer gives one row a group; that of late events is the last. */

/* From what the database has to a running pipeline, in three steps:
 *
 *      pipeline_prepare -> checkpoint_load_marks, checkpoint_load_block -> pipeline_start
 *
 * Prepare makes the workers; the watermark is watermark_us until marks say another one. */
int pipeline_prepare(struct pipeline *p, const struct pipeline_sink *sink,
                     int64_t watermark_us, struct error *error);

/* Has a checkpoint of what it is now, at `position`, put to the sink. Before it starts. */
int pipeline_first_checkpoint(struct pipeline *p, uint64_t position,
                              struct error *error);

/* ---- What it begins with (`backfill`) ---- */

/* The database does not know it: it begins with files, if there are some, and with what is behind its position. Before its
 * first checkpoint, which says so until the files are read. */
void pipeline_begin_behind(struct pipeline *p, bool files);
/* Before it starts: its files are still to be read, from the first one on. */
bool pipeline_wants_files(const struct pipeline *p);
void pipeline_forget_files(struct pipeline *p); /* it is to do without them */
/* It, or the one of its chain that reads the stream, has not caught up since. Any thread. */
bool pipeline_is_behind(const struct pipeline *p);
void pipeline_caught_up(struct pipeline *p); /* any thread */
/* An entry of its files for it. `sequence`: of LOG_BATCH that of its first row, from 1 on; of LOG_IDLE, which is the last of
 * them, that of the row that would follow. -ENOMEM. */
int pipeline_file_entry(const struct pipeline *p, enum log_kind kind, uint64_t sequence,
                        struct log_entry **ret);

/* It begins in the middle of its stream: windows that were open then may hold a part of their events only. The
 * text, which continues "pipeline 'NAME' ", is logged, and shown by its status. Before it starts. */
void pipeline_say_partial(struct pipeline *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Where it has children: makes the logs that they read. After it was prepared and has loaded what there is, before they start;
 * they start before it does, with derived logs. */
int pipeline_open_outflows(struct pipeline *p, struct tasks *tasks,
                           struct error *error);
/* The children have started: their logs run. */
int pipeline_start_outflows(struct pipeline *p, struct error *error);
/* Adds the columns of what it reads that it looks at; workers of it need not have begun. False: that may be any; who joins, derives,
 * chooses or keeps rows, or hands them to a process or asks a service. */
bool pipeline_wants(const struct pipeline *p, bool *wanted);
/* The log that it reads of its parent. */
struct log *pipeline_reads(const struct pipeline *p);

/* The i-th whose results it joins; NULL: no more. */
struct pipeline *pipeline_joins(const struct pipeline *p, size_t i);
/* Somebody who joins its results waits until it has reached this time; INT64_MIN: nobody. It is told again. Any thread. */
void pipeline_ask(struct pipeline *p, int64_t wanted_us);
/* Its input has ended, and its workers have put all that they ever will (LOG_END). Any thread. */
bool pipeline_has_ended(const struct pipeline *p);
/* All of its chain that run have: rows are committed with those that follow from them. Any thread. */
bool pipeline_chain_has_ended(struct pipeline *p);

/* The streams that it joins, once it is prepared (pipeline/join.h); NULL: none. Their logs and positions are to be filled in
 * before it starts. */
struct join *pipeline_join(const struct pipeline *p);

/* The tables that it joins (pipeline/reference.h); NULL: none. They are to be filled in before its first checkpoint. */
struct references *pipeline_references(const struct pipeline *p);

/* Of a pipeline with look-ups, once it is prepared (pipeline/lookup.h); NULL: it has none. */
struct lookup *pipeline_lookup(const struct pipeline *p);

/* Workers run, on threads of `tasks`; the log feeds it with what is behind `position`. With `live` the log runs
 * already, and this is called within log_call: the entries that it missed are fed to it at once. */
int pipeline_start(struct pipeline *p, struct tasks *tasks, struct log *log,
                   uint64_t position, bool live, struct error *error);

/* ---- Without a log and threads ---- */

/* Instead of pipeline_start, for one that reads a stream by itself: it has one worker, and whoever hosts it gives it entries. */
void pipeline_begin_alone(struct pipeline *p);
/* Reads an entry in the caller's thread. A batch has the columns of the stream; what is made of them is made here. The text
 * says what has failed, with the analyzer's name; then nothing more is read. -EINVAL, -ENOSPC, -ENOMEM, ... */
int pipeline_read(struct pipeline *p, struct log_entry *e, struct error *error);

/* Before it starts, for an input that has an end: windows stay open until then, as long as their groups are within
 * max_groups and take no more than so many bytes. */
void pipeline_keep_open(struct pipeline *p, uint64_t bytes);

/* Instead of starting: one that has failed keeps its place in the journal at `position`, and counts what it leaves
 * out. Within log_call. */
void pipeline_hold(struct pipeline *p, struct log *log, uint64_t position);

/* The same for one that is not to run at all, before the log starts. `log` NULL: it keeps no place. */
void pipeline_leave_out(struct pipeline *p, struct log *log, uint64_t position);

/* Waits until it has read all that it was fed, and its children have been fed with what it gave; for its parent first. False:
 * it has not by deadline_us (clock_monotonic_us). */
bool pipeline_drain(struct pipeline *p, int64_t deadline_us);
/* Reads nothing more and gives nothing more out, from the block or group at hand on: what it has not stored, the
 * next start makes again. Any thread. */
void pipeline_leave(struct pipeline *p);
/* Reads what it was fed to its end, but after pipeline_leave, and ends the workers. After log_close. Windows that
 * are open stay unfinished: nothing is given out as final that is not. Takes NULL. */
void pipeline_stop(struct pipeline *p);

/* Its state, for the API; any thread. Times in microseconds, INT64_MIN: nothing yet. */
struct pipeline_status {
    const char *name;
    int64_t watermark_us;
    int64_t max_event_us;
    uint64_t position;
    uint64_t events, late, filtered, where_errors, null_keys, long_keys, over_groups,
        no_until, rows;
    uint64_t derive_errors; /* values of its own columns */
    uint64_t choose_errors; /* of the `where` of analyzers, each that they share once */
    uint64_t
        late_by[CONFIG_LATE_POLICIES]; /* what became of them; their sum is `late` */
    uint64_t
        late_known; /* of the late: their window had been given out before the start */
    bool released;  /* windows were kept open, and there was no room for more */
    uint64_t revisions; /* groups given out again */
    uint64_t groups;    /* open now, or such as can be revised */
    uint64_t state_bytes;
    size_t queued;   /* entries waiting */
    bool left_out;   /* by pipeline_leave_out */
    bool behind;     /* as of pipeline_is_behind */
    bool restarts;   /* it has not failed for good: it is started again in a moment */
    char error[512]; /* "" while it runs */
    char partial
        [256]; /* why its first windows may hold a part of their events only; "" */
    uint64_t join_late; /* rows of joined streams that came behind their watermark, */
    uint64_t join_too_late;  /* own rows that came too late to find any, */
    uint64_t join_cut;       /* values that are null for want of room for their text, */
    uint64_t join_waiting;   /* and such as wait for another stream now */
    uint64_t lookup_waiting; /* or for other services */
};
void pipeline_status(struct pipeline *p, struct pipeline_status *ret);

/* Of an analyzer with `run: process`, for one worker. */
struct pipeline_process {
    const char *analyzer; /* its plugin */
    size_t place;         /* of the analyzer, from 1 */
    unsigned worker;      /* from 0 */
    int64_t pid;
    uint64_t cpu_ns;
    uint64_t restarts, set_aside; /* of the analyzer, of all workers */
};
/* Calls call(ctx) for each process. Any thread. */
void pipeline_processes(struct pipeline *p,
                        void (*call)(void *ctx, const struct pipeline_process *process),
                        void *ctx);

/* What one source's rows came to so far. Any thread. */
struct pipeline_taken {
    uint64_t position; /* of the last entry of the stream that it has read */
    /* Of this source, up to there at least. */
    uint64_t late_by[CONFIG_LATE_POLICIES];
    uint64_t not_joined; /* too late to be joined, or to find what they join */
};
void pipeline_took(struct pipeline *p, size_t stream, uint32_t source,
                   struct pipeline_taken *ret);
/* It counts from 0 again. */
void pipeline_forget_late(struct pipeline *p, size_t stream, uint32_t source);

struct pipeline_source { /* of the watermark */
    char name[64];       /* "": all that give no name */
    int64_t max_event_us;
    bool idle;
};
/* Copies up to `room`; returns how many there are. */
size_t pipeline_sources(struct pipeline *p, struct pipeline_source *ret, size_t room);

struct pipeline_input { /* a stream that is joined */
    const char *stream;
    int64_t watermark_us;
    uint64_t position, rows, bytes, late, null_keys;
    bool waited_for; /* rows wait until its watermark has passed their times */
};
/* Copies up to `room`; returns how many there are. Any thread. */
size_t pipeline_joined(struct pipeline *p, struct pipeline_input *ret, size_t room);

struct pipeline_reference { /* a table that is joined, as it was read */
    const char *name, *table;
    uint64_t rows, bytes, wrong_values, missing;
};
/* Copies up to `room`; returns how many there are. Any thread. */
size_t pipeline_tables_joined(struct pipeline *p, struct pipeline_reference *ret,
                              size_t room);

struct pipeline_service { /* another service that is asked */
    const char *name;
    uint64_t found, missing, failed, kept, retries, null_rows, dropped_rows, flying,
        bytes;
    bool broken;
    char error[256]; /* the last; "": there was none */
};
/* Copies up to `room`; returns how many there are. Any thread. */
size_t pipeline_looked_up(struct pipeline *p, struct pipeline_service *ret,
                          size_t room);

/* Windows by key: when the first that is open ends; INT64_MAX: none is, or none ends at a time. Any thread. */
int64_t pipeline_first_end(struct pipeline *p);

const struct config_pipeline *pipeline_config(const struct pipeline *p);
/* The stream that it all comes from. */
const struct config_stream *pipeline_stream(const struct pipeline *p);
const struct window_kind *pipeline_window(const struct pipeline *p);
bool pipeline_failed(void *pipeline); /* any thread */
/* Have files that parameters of its analyzers name other contents than when it was made? Any thread. */
bool pipeline_is_stale(const struct pipeline *p);
bool pipeline_is_left_out(const struct pipeline *p);
/* The pipeline stops: the first text is kept and logged. */
void pipeline_fail(struct pipeline *p, const struct error *error);

/* How the process of an analyzer ended (`run: process`). */
struct pipeline_crash {
    size_t analyzer;      /* its place */
    uint32_t call;        /* that it was in; 0: none */
    bool rows;            /* it was folding rows in: */
    uint64_t first, last; /* their sequence numbers */
    char text[512];       /* how */
    char record[4000];    /* the first of the rows, as JSON; cut */
    size_t record_size;
    bool truncated;
};
/* It stops as it does when it fails, but waits to be started again: from its last checkpoint, as after a start of the
 * server. */
void pipeline_crash(struct pipeline *p, const struct pipeline_crash *crash);
bool pipeline_crashed(struct pipeline *p, struct pipeline_crash *ret); /* any thread */
/* One that could not be started, for this reason. True: because the process of an analyzer ended, of itself or of one
 * that reads it; then it is as after pipeline_crash. */
bool pipeline_crash_at_start(struct pipeline *p, const struct error *why);
/* It is not: it has failed for good. */
void pipeline_stop_restarts(struct pipeline *p);
/* What one that was made anew knows of those before: before it starts. */
void pipeline_restarted(struct pipeline *p, size_t analyzer, uint64_t restarts);
/* Rows of the analyzer that killed its process are set aside, or (`suspect`) handed over one by one to find those that
 * do. -ENOMEM. */
int pipeline_set_aside(struct pipeline *p, size_t analyzer, uint64_t first,
                       uint64_t last, bool suspect);
void pipeline_forget_aside(struct pipeline *p); /* nothing is; before it starts */

#endif
