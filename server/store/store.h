/* SPDX-License-Identifier: Apache-2.0
 *
 * The SQLite file: one writer thread, one transaction a commit, result tables made from struct table,
 * migrations from sql/. Readers open their own read-only connections (store/reader.h).
 */
#ifndef WEIR_STORE_STORE_H
#define WEIR_STORE_STORE_H

#include "base/error.h"
#include "base/metrics.h"
#include "base/waiter.h"
#include "batch/request.h"
#include "pipeline/checkpoint.h"
#include "pipeline/rowset.h"

struct store;
struct pipeline_answers;

struct store_options {
    const char *path;
    int64_t commit_interval_us; /* a row is committed at most this much later */
    size_t queue_rowsets;       /* bounded; default 256 */
    uint64_t size_max; /* bytes of the file; more is like a full disk; 0: no limit */
    /* Commits need not outlive a loss of power before store_sync: after one the file is as it was at some commit. */
    bool relaxed;
    bool again; /* with `relaxed`: though the run before was ended as it ended */
    /* What is committed, durably but for `relaxed`: the checkpoint of a pipeline, the keys of a stream. Called from
     * the writer thread; quick; may be NULL. */
    void (*stored)(void *ctx, const char *pipeline, uint64_t position);
    void (*kept)(void *ctx, const char *stream, uint64_t position);
    /* What the pipeline gave cannot be written, and never will be: its table is gone, a value is too large. It
     * is dropped, and so is all that follows, until store_restart_pipeline; others go on. */
    void (*failed)(void *ctx, const char *pipeline, const struct error *error);
    void *ctx;
};

/* Opens or creates the file and migrates it. -EEXIST: made by a newer weir; -EALREADY: a run was ended as it ended, see
 * store_ending; -EACCES, -EROFS, -EIO,
 * -EBUSY (another weir has it, by whatever name), -ENOTDIR... with a text that names the file. */
int store_open(const struct store_options *options, struct metrics *metrics,
               struct store **ret, struct error *error);

/* Makes the tables and their readable views, or checks that those there fit: new output columns are
 * added, a changed key, window or type is -EINVAL with a text that says what to do, and the file stays as it
 * was. The tables must outlive the store, or store_drop_table. Before store_start, or within store_call. */
int store_table(struct store *s, const struct table *table, struct error *error);
/* The same of n, made in one transaction. */
int store_tables(struct store *s, const struct table *const *table, size_t n,
                 struct error *error);

/* Whether store_open and store_tables would do, for a file that another process may have open, or that is not there.
 * Nothing is written, nothing is made. Their errors. */
int store_try(const char *path, const struct table *const *table, size_t n,
              struct error *error);
/* Whether a weir has the file open. */
bool store_is_open(const char *path);

int store_start(struct store *s, struct error *error);

/* A run is at its end: from now on what is committed may be final, of one pipeline before another, and the file says so, in
 * the same transaction, until store_free behind store_ended. Where it still does, store_open refuses a run, as its files
 * would be counted twice by some pipelines; without `relaxed` it warns. Any thread. */
void store_ending(struct store *s);
void store_ended(struct store *s); /* all is committed */
const char *store_path(const struct store *s);

/* Why the last transaction could not be written, and is tried again; 0: it was. -ENOSPC: the disk is full, or the
 * file as large as it may be; -ESTALE: it is not where it was; -EBUSY: somebody else has it locked; -EIO,
 * -ENOMEM. Any thread. */
int store_trouble(const struct store *s);

/* Looks at once: false if the database was moved, removed or replaced, and the next start would not find what
 * this one commits. Any thread. */
bool store_is_there(const struct store *s);

/* The same, and why; also if store_trouble has something to say. Any thread. */
bool store_is_well(const struct store *s, struct error *why);

/* What one worker has to say after an entry of the log: rows (a list, may be NULL) and how far it is.
 * Takes the rows. Waits while the queue is full. The watermark is committed in the transaction of the
 * rows, as the least of what the pipeline's workers have said. -EIO once the store, or the pipeline, has
 * failed. */
struct store_report {
    const char *pipeline; /* must outlive the store */
    unsigned worker, workers;
    uint64_t position;
    int64_t watermark_us;
    struct rowset *rows;
};
int store_put(struct store *s, const struct store_report *report);

/* Would store_put not wait for room? Otherwise the waiter is called, once, when that is so, with a lock of the store
 * held. */
bool store_ready(struct store *s, struct waiter *w);
void store_unwait(struct store *s, struct waiter *w); /* it is not called any more */

/* A worker's part of a checkpoint, behind the rows it put before. Once the parts of all workers for a
 * position are there, they are committed together, in one transaction with the rows before them. Takes
 * it, waits as store_put. */
int store_put_checkpoint(struct store *s, const char *pipeline, struct checkpoint *c);

/* What other services have answered for a pipeline, in front of what follows from it: it is in the transaction of what
 * is put behind it, or an earlier one, and forgotten with a checkpoint that has passed it. Takes it, waits as
 * store_put. */
int store_put_answers(struct store *s, const char *pipeline,
                      struct pipeline_answers *a);

/* Other pipelines of its chain are not to wait for it: it gives nothing more, until store_restart_pipeline. Any
 * thread, quick. */
void store_out(struct store *s, const char *pipeline);

/* Keys of requests, and how far a stream's keys are known with them. */
struct store_key {
    struct request_id key; /* its bytes and errors belong to it */
    int64_t taken_us;
    struct store_key *next;
};
/* How far a source was read (batch/request.h). */
struct store_bookmark {
    struct store_bookmark *next;
    char *source, *bookmark; /* lie behind it */
};
struct store_stream {
    const char *stream; /* must outlive the store */
    uint64_t position;
    int64_t forget_us; /* keys taken before this wall clock time are forgotten, */
    uint64_t max_keys; /* and so are the oldest, when there are more */
    struct store_key *keys;
    struct store_bookmark *bookmarks;
};
/* A copy of the key. NULL: no memory. */
struct store_key *store_key_new(const struct request_id *key, int64_t taken_us);
/* The same. */
struct store_bookmark *store_bookmark_new(const char *source, const char *bookmark);
void store_stream_free(struct store_stream *r); /* takes NULL */
int store_put_stream(struct store *s,
                     struct store_stream *r); /* takes it; waits as store_put */

/* Runs call(s, ctx) on the writer thread, behind what was put before, and waits for what it returns: for
 * changes of tables while the store runs. -EIO: the store has failed; -ESHUTDOWN. */
int store_call(struct store *s, int (*call)(struct store *s, void *ctx), void *ctx);

/* The same, but nobody waits, neither for room nor for the call, and what has failed is not told again: once the store
 * has failed, or is freed, the call is not made. -EIO, -ESHUTDOWN, -ENOMEM: it never will be. */
int store_post(struct store *s, void (*call)(struct store *s, void *ctx), void *ctx);

/* Within store_call. As store_tables, but the tables are only made, or found to fit, all of them, or the file stays
 * as it is; pipelines of the same names may have some of those names. */
int store_make_tables(struct store *s, const struct table *const *table, size_t n,
                      struct error *error);
/* The table is forgotten (it stays in the file): its struct is about to be freed. */
void store_drop_table(struct store *s, const struct table *table);
/* Within store_call: its rows go. */
int store_clear_table(struct store *s, const struct table *table, struct error *error);
/* Checkpoints that keep() does not want leave the file, with their groups. `left`: of what a pipeline joins, which has no
 * checkpoint itself. */
int store_forget_checkpoints(struct store *s,
                             bool (*keep)(void *ctx, const char *pipeline,
                                          const char *stream, uint64_t position,
                                          bool left),
                             void *ctx);
/* What the workers of the pipeline have said is forgotten: other workers follow. */
void store_restart_pipeline(struct store *s, const char *pipeline);

/* From now on committed(ctx) is called after each transaction that has put rows of results, on the writer thread; quick. NULL:
 * no more for this ctx, and it is not being called once this has returned. Any thread but the writer; waits for it. */
int store_listen(struct store *s, void (*committed)(void *ctx), void *ctx);
/* The same after each transaction that has put rows or a watermark. */
int store_listen_all(struct store *s, void (*committed)(void *ctx), void *ctx);

/* Waits until all that was put before is committed, or dropped with its pipeline (store_options.failed). -EIO: it
 * never will be. */
int store_flush(struct store *s);
/* The same, and what is committed is on disk also where the store is relaxed. -errno. */
int store_sync(struct store *s);
int store_flush_until(struct store *s, int64_t deadline_us); /* or -ETIMEDOUT */

/* The end is near: what cannot be written for 10 s from now on is given up, and put and flush are -EIO.
 * Before, the store tries for as long as the reason may pass (a full disk, another's lock). */
void store_hurry(struct store *s);

/* Flushes, stops the thread, closes. Takes NULL. */
void store_free(struct store *s);

#endif
