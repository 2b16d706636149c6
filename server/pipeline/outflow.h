/* SPDX-License-Identifier: Apache-2.0
 *
 * The rows of a result table as a stream that other pipelines read. Workers give theirs in the order (window end, key);
 * here they become one order, however many workers there are, and go into a log.
 *
 *      worker 0: rows, "done until 12:10"  \                                         /--> child
 *      worker 1: rows, "done until 12:20"   > merged by (window end, key), up to the --> log
 *      worker 2: rows, "done until 12:10"  /  least that all are done with: 12:10    \--> child
 *
 * Event time of a row is the last microsecond of its window. An entry has the position of the entry that the parent read
 * when it gave the rows, so a child is at a position of the same stream, and a mark that has passed all workers
 * of the parent (a checkpoint, the end) follows the rows that came before it.
 *
 * Of windows that are never over (`global`) a result takes the place of the one before, which is taken out first: at each
 * border come, in entries of their own, what is taken out, then what comes in. These are in the order (border, kind, key).
 */
#ifndef WEIR_PIPELINE_OUTFLOW_H
#define WEIR_PIPELINE_OUTFLOW_H

#include "batch/batch.h"
#include "log/log.h"
#include "pipeline/rowset.h"

struct outflow;

/* What rows are to those that read them, in the order in which they come at a border. */
enum outflow_kind {
    OUTFLOW_REPLACED, /* taken out, as another one comes */
    OUTFLOW_GONE,     /* taken out for good */
    OUTFLOW_FIRST, /* of a group that has had none; all rows of windows that are over */
    OUTFLOW_NEXT,  /* in the place of one that is taken out */
};
#define OUTFLOW_KINDS 4

/* Rows of one worker, as a batch each that is not sealed. */
struct outflow_piece {
    enum outflow_kind kind;
    int64_t border_us; /* where results are replaced */
    uint64_t position;
    uint32_t next_row; /* those before have been taken */
    int64_t until_us;  /* given out early: of windows that end at or before it */
    struct batch *batch;
    struct outflow_piece *next;
};
void outflow_free_pieces(struct outflow_piece *list);

/* Columns of rows of the table to those who read it: `time`, then those of the table as people see them. -ENOMEM, or -E2BIG: too
 * many. */
int outflow_columns(const struct table *table, struct schema **ret,
                    struct error *error);
/* One row of the table, cells as in struct rowset, behind those of a batch of these columns, or such of them as the batch has.
 * -ENOSPC: no room for more; -ENOMEM. */
int outflow_put_row(struct batch *b, const struct table *t,
                    const struct weir_cell *row);

/* A stream of these columns. The table is to outlive it. Errors of outflow_columns. */
int outflow_new(const struct table *table, unsigned workers, struct outflow **ret,
                struct error *error);
void outflow_free(struct outflow *d); /* takes NULL */
const struct schema *outflow_schema(const struct outflow *d);
const struct table *outflow_table(const struct outflow *d);

/* Makes its log, for rows beyond `watermark_us`. `room` is called when it is full no more, on a thread of `tasks`. */
int outflow_open(struct outflow *d, struct tasks *tasks, int64_t watermark_us,
                 void (*room)(void *ctx), void *ctx, struct error *error);
struct log *outflow_log(const struct outflow *d); /* NULL before */
/* Rows have these columns only, wanted[i] for each of the schema, and those that say in which order they come. Copied.
 * Before there is a row. -ENOMEM. */
int outflow_want(struct outflow *d, const bool *wanted);
/* All that was put is handed on; `room` is called no more. False: it is not by deadline_us. */
bool outflow_close(struct outflow *d, int64_t deadline_us);
/* Rows get numbers from `sequence` on, if that is beyond those of who said so before. Before the log starts. */
void outflow_go_on(struct outflow *d, uint64_t sequence);

/* The same for all tables that are read: a worker of the parent is to wait. */
bool outflow_is_full(struct outflow *d);

/* Are results replaced? */
bool outflow_replaces(const struct outflow *d);
/* The same of a row that is taken out, or, as OUTFLOW_FIRST, given to those that have seen none. */
int outflow_add(const struct outflow *d, const struct weir_cell *row,
                enum outflow_kind kind, int64_t border_us, uint64_t position,
                struct outflow_piece **list);

/* The rows of a set as pieces, behind those in the list. -ENOMEM. */
int outflow_read(const struct outflow *d, const struct rowset *r, uint64_t position,
                 struct outflow_piece **list);

/* What a worker has to say: */
struct outflow_report {
    unsigned worker;
    uint64_t position; /* it has given all rows up to this entry, */
    int64_t done_us;   /* and of all windows that end at or before this */
    bool tell;         /* the children are to hear of the position, rows or not */
    int64_t border_us; /* or once this has been reached: they wait for it */
};
/* Takes the pieces. -ENOMEM. */
int outflow_put(struct outflow *d, const struct outflow_report *r,
                struct outflow_piece *pieces);
/* The worker has read a mark, behind what it put before. All workers read the same ones. -ENOMEM. */
int outflow_mark(struct outflow *d, unsigned worker, const struct log_entry *mark);
/* How far the children have been told. */
int64_t outflow_told(struct outflow *d);

#endif
