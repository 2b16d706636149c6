/* SPDX-License-Identifier: Apache-2.0
 *
 * What producers have put and the log has not handed on yet: bounded in rows and bytes, in order. Any
 * thread puts; the gatherer takes, and tells those who wait what became of it. Room is given back
 * when the pipelines have an entry, so that what waits anywhere in the log counts.
 *
 *      intake_append -> [item item item] -> intake_take -> ... -> intake_tell, intake_done
 *                                            entries handed on -> intake_release
 */
#ifndef WEIR_LOG_INTAKE_H
#define WEIR_LOG_INTAKE_H

#include "base/metrics.h"
#include "base/tasks.h"
#include "base/waiter.h"
#include "batch/request.h"
#include "log/entry.h"
#include "log/idempotency.h"

struct intake;

/* A request, as long as it is the log's. */
struct intake_item {
    uint32_t source;
    struct origin *origin; /* busy as long as the item is there; NULL: not known */
    int64_t newest_us;     /* of the rows that may be gathered with those of others */
    struct ticket
        *ticket; /* protected by the intake's lock of tickets: cancel takes it away */
    bool asks;   /* it came with a ticket: somebody waits to hear that it is durable */
    struct request_id *key; /* NULL: none; one allocation with its bytes */
    uint64_t rows;
    size_t memory;
    size_t stored; /* bytes that it takes in the journal at most, also among others */
    struct intake_item *next;
    size_t
        last; /* the log's: index in the frame of its last entry, or the last one before
                  * it; SIZE_MAX: there is none */
    size_t n;
    struct log_entry *entry
        []; /* one a batch, with the room it takes; NULL: somebody else has it by now */
};

/* Keys of requests that nobody waits for are known from the moment they are taken, with POSITION_UNKNOWN;
 * the gatherer completes them again. */
#define POSITION_UNKNOWN UINT64_MAX
/* stored_max: bytes that a request may take in the journal; UINT64_MAX: it is not written to one. taker: woken as
 * intake_take says; NULL: nobody. */
int intake_new(uint64_t rows_max, size_t bytes_max, uint64_t stored_max,
               struct idempotency *known, struct task *taker, struct intake **ret);
void intake_free(struct intake *k); /* with what is in it; takes NULL */

/* Before this, everything is -EAGAIN. */
void intake_open(struct intake *k);
/* Nothing more is taken; what is in it can be taken out. */
void intake_close(struct intake *k);

/* 0; -EAGAIN: full (an empty one takes any request); -ESHUTDOWN; -ENOSPC, -EDQUOT, -ESTALE... while the
 * journal cannot be written; -EMSGSIZE: it would take more than stored_max; -ENOMEM. With `wait` waits for room in the intake and on the disk;
 * -EINTR: r->stop. */
int intake_append(struct intake *k, const struct request *r, bool wait);

/* A waiter is woken once, when there is more room; at once if it is empty. */
void intake_wait(struct intake *k, struct waiter *w);
void intake_unwait(struct intake *k, struct waiter *w);
/* After it returns t->spare may be set, and is the caller's. */
void intake_cancel(struct intake *k, struct ticket *t);

/* ---- The gatherer ---- */

/* Takes requests up to about `bytes` bytes, at least one, if there are rows_wanted rows or somebody asks;
 * rows_wanted 0, or from until_us (clock_monotonic_us) on: if anything is there. NULL: there is not; the taker is woken
 * when there is, and asking_wanted or more of them ask, but for until_us. *ret_closed: nothing more will come (of what is not in it yet). */
struct intake_item *intake_take(struct intake *k, uint64_t rows_wanted,
                                size_t asking_wanted, size_t bytes, int64_t until_us,
                                bool *ret_closed);

/* Calls the ticket, if there still is one. True: the item is its owner's now. */
bool intake_tell(struct intake *k, struct intake_item *item, int result,
                 uint64_t position);

/* Frees an item. Its room is that of its entries. */
void intake_done(struct intake_item *item);

/* The batches of an entry were copied together and take only so many bytes by now. */
void intake_shrink(struct intake *k, struct log_entry *e, size_t bytes);

/* Gives the room of an entry back, and wakes those who wait for it. Any thread. */
void intake_release(struct intake *k, const struct log_entry *e);

/* Requests are refused with `result` until until_us, or, with result 0, taken again. */
void intake_refuse(struct intake *k, int result, int64_t until_us);

/* Calls heard(ctx, source) for each source whose requests wait or were told to wait since the last call: it is
 * not silent. */
void intake_heard(struct intake *k, void (*heard)(void *ctx, uint32_t source),
                  void *ctx);

/* Rows that the pipelines do not have yet. */
uint64_t intake_rows(struct intake *k);

#endif
