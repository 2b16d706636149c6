/* SPDX-License-Identifier: Apache-2.0
 *
 * A stream's log: the one order of its events. Chunks (the rows of one request) come in from many
 * threads; one thread a stream gathers small ones into batches, numbers them, and hands the entries
 * to every pipeline of the stream, in the same order. All that a pipeline knows, time included,
 * comes to it through here, so that the same log gives the same results.
 *
 *      log_append -> [inbox] -> log thread: gather, seal, number -> log_sink of each pipeline
 */
#ifndef WEIR_LOG_LOG_H
#define WEIR_LOG_LOG_H

#include "base/error.h"
#include "base/metrics.h"
#include "base/waiter.h"
#include "batch/batch.h"
#include "batch/keys.h"

enum log_kind {
    LOG_BATCH, /* rows of one source */
    LOG_IDLE,  /* the source holds the watermark back no more, until it sends again */
    LOG_ADVANCE, /* event time is at least time_us: silence went on, or the input is at its end */
    LOG_END, /* nothing comes after: every window closes */
};

struct log_entry {
    _Atomic uint32_t refs;
    enum log_kind kind;
    uint64_t position;     /* 1, 2, 3, ... */
    uint32_t source;       /* small number of the source; 0: all that give no name */
    int64_t time_us;       /* LOG_ADVANCE */
    struct batch *batch;   /* LOG_BATCH; sealed */
    struct key_ids **keys; /* LOG_BATCH: for each list of key columns, by the index that
                            * log_subscribe gave */
    struct dictionary *
        *dictionary; /* LOG_BATCH: by column; NULL where nobody asked for one */
    size_t n_keys, n_columns;
};
void log_entry_unref(struct log_entry *e);

struct log;

#define LOG_QUEUE_BYTES ((size_t)64 << 20) /* of batches that may wait in the inbox */
#define LOG_GATHER_ROWS                                                                \
    4096u /* chunks of so many rows go on as they are, smaller ones are gathered */

struct log_options {
    const char *name;
    const struct schema *schema;
    uint64_t queue_events; /* rows that may wait in the inbox */
    int64_t linger_us;     /* how long gathered rows wait for more; 0: not at all */
};

/* What a pipeline gives to be fed. `put` may wait (that is the back-pressure); it owns a reference.
 * When all sources are silent, event time is taken to go on at the pace of the clock: a LOG_ADVANCE
 * comes whenever that closes a window, until no window can be open any more. */
struct log_sink {
    void (*put)(void *ctx, struct log_entry *e);
    void *ctx;
    int64_t idle_timeout_us; /* INT64_MAX: never idle */
    int64_t out_of_orderness_us;
    int64_t window_us, window_offset_us;
    const size_t *key; /* columns */
    size_t n_keys;
    const bool *dictionary; /* of each column of the schema: one is wanted */
};

#define LOG_SOURCES_MAX 1024 /* named sources of a stream */

int log_new(const struct log_options *options, struct metrics *metrics,
            struct log **ret, struct error *error);
/* Before log_start. Returns in *ret_keys the index into log_entry.keys for these key columns; equal
 * lists share one. The arrays of the sink are copied. -ENOMEM. */
int log_subscribe(struct log *l, const struct log_sink *sink, size_t *ret_keys);
int log_start(struct log *l, struct error *error);

/* Number of a named source, from now on known. -ENOSPC: too many names. */
int log_source(struct log *l, const char *name, size_t size, uint32_t *ret);
/* Its name; "" for 0 and for numbers not given. Lives as long as the log. */
const char *log_source_name(struct log *l, uint32_t source);

/* Puts an unsealed batch behind all that came before; never waits. 0: the log owns it. -EAGAIN: the
 * inbox is full; -ESHUTDOWN: it takes no more. A chunk is always taken by an empty inbox. */
int log_append(struct log *l, uint32_t source, struct batch *batch);

/* Calls wake(ctx) once when the inbox has become shorter or the log is closed; at once if it is empty.
 * It is called with the log's lock held: it must not call the log. The one-shot waiter can be taken
 * back: after log_unwait returns, it is not called. */
void log_wait(struct log *l, struct waiter *w);
void log_unwait(struct log *l, struct waiter *w);

/* Waits for room instead. For `weir run`. -ESHUTDOWN. */
int log_append_wait(struct log *l, uint32_t source, struct batch *batch);

/* Takes nothing more; what waits is handed on; with `end` a LOG_END entry follows. Waits for that. */
void log_close(struct log *l, bool end);
void log_free(struct log *l);

#endif
