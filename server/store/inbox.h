/* SPDX-License-Identifier: Apache-2.0
 *
 * What workers have put and the writer has not committed yet, in order; bounded by reports and by
 * rows. Everything has a number, 1, 2, ...: items, and notes that something is to be committed that does
 * not stand in the queue. The workers' side may be called from any thread, the writer's from one.
 */
#ifndef WEIR_STORE_INBOX_H
#define WEIR_STORE_INBOX_H

#include "base/waiter.h"
#include "pipeline/pipeline.h"
#include "store/store.h"

#include <stdbool.h>

#define INBOX_ROW_BYTES 256 /* answers of other services count as rows of this size */
#define INBOX_ROWS_MAX                                                                 \
    65536 /* put waits while more rows wait: about 8 MB of 8 columns */

struct inbox;
struct dead_batch;

struct inbox_item {
    struct store_report report;               /* pipeline NULL: there is none */
    struct checkpoint *checkpoint;            /* of report.pipeline; NULL: none */
    struct store_stream *stream;              /* NULL: none */
    struct dead_batch *dead;                  /* NULL: none */
    struct pipeline_answers *answers;         /* of report.pipeline; NULL: none */
    struct store_call *call;                  /* NULL: none; the caller's */
    void (*post)(struct store *s, void *ctx); /* NULL: none */
    void *post_ctx;
    uint64_t number;
    size_t n_rows;
    bool given_up;  /* the writer's: it cannot be written */
    int64_t put_us; /* clock_monotonic_us */
    struct inbox_item *next;
};

int inbox_new(size_t reports_max, int64_t commit_interval_us, struct inbox **ret);
void inbox_free(struct inbox *k); /* with the items left in it */
void inbox_item_free(struct inbox_item *list);
void inbox_free_rows(struct rowset *list);
void inbox_free_answers(struct pipeline_answers *a); /* takes NULL */

/* Workers. Put takes the item, what it holds, in any case; -EIO once failed, -ESHUTDOWN once closed. */
int inbox_put(struct inbox *k, const struct inbox_item *item, uint64_t *ret_number);
/* Would put not wait? Otherwise the waiter is called, once, when that is so. */
bool inbox_ready(struct inbox *k, struct waiter *w);
void inbox_unwait(struct inbox *k, struct waiter *w);
/* There is something else to commit, within the commit interval, or the writer's rest. Never waits. */
int inbox_note(struct inbox *k);
bool inbox_failed(struct inbox *k); /* nothing more will be committed */
int inbox_flush(struct inbox *k);
int inbox_flush_until(struct inbox *k, int64_t deadline_us); /* or -ETIMEDOUT */
/* Never waits, and takes no room from reports. Takes the batch unless it fails: as inbox_put, -ENOMEM. */
int inbox_put_dead(struct inbox *k, struct dead_batch *batch);
int inbox_put_post(struct inbox *k, void (*post)(struct store *s, void *ctx),
                   void *ctx);     /* likewise */
void inbox_hurry(struct inbox *k); /* the end is near: see inbox_pause */
void inbox_close(struct inbox *k);
size_t inbox_length(struct inbox *k);

/* What makes up a commit. */
struct inbox_share {
    bool due; /* false: nothing is */
    bool closed;
    struct inbox_item *list; /* NULL: only what was noted */
    uint64_t number; /* all that has this number or a smaller one has been taken */
};

/* The writer. Waits until `rows_wanted` rows wait, or the oldest report or note has waited for the commit
 * interval, notes alone for `rest_us` at least, or somebody flushes, or it is closed; takes reports up to and with the one
 * that reaches `rows_wanted`. Not due: closed and empty; or, where `hurry` is set, there is nothing to do yet. */
struct inbox_share inbox_take(struct inbox *k, size_t rows_wanted, bool hurry,
                              int64_t rest_us);

/* All that was taken is in the file. */
void inbox_done(struct inbox *k);
/* No more is taken; those who wait get -EIO. */
void inbox_fail(struct inbox *k);
/* Waits for `us`, less if the end is near: returns microseconds since inbox_hurry or inbox_close, or
 * -1. */
int64_t inbox_pause(struct inbox *k, int64_t us);

#endif
