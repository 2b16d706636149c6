/* SPDX-License-Identifier: Apache-2.0
 *
 * What the kinds of windows by key share: a block that is being read, what becomes of its rows, the windows that are
 * opened and given out for them. Functions return 0, -ENOSPC, -EINVAL or -ENOMEM, those that end in _slot also ROW_...
 */
#ifndef WEIR_PIPELINE_KEYED_KINDS_H
#define WEIR_PIPELINE_KEYED_KINDS_H

#include "pipeline/worker.h"

/* Queues of spans: due at their end; to be forgotten. */
enum { OPEN, PAST };

/* A block that is being read. */
struct reading {
    struct worker *worker;
    const struct log_entry *entry;
    const int64_t *time;
    uint32_t block;
    int64_t most_us; /* no row of the block has a later watermark */
    uint32_t
        cut; /* global: the row at which the watermark reaches the next border; UINT32_MAX: none does */
    bool exact;   /* worker.watermark_at is filled in */
    uint32_t out; /* rows before it are to be folded, row[] and slot[] */
    uint64_t dropped, revised, aside, known, over, no_until; /* rows */
};

/* What becomes of a row that has no slot. */
#define ROW_LATE 1
#define ROW_KNOWN                                                                      \
    2 /* its window was given out by an earlier run, whatever the watermark */
#define ROW_FOLD 3 /* those before are to be folded first, then it is asked again */
#define ROW_NONE 4 /* none, and it is counted */

static inline int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- keyed.c ---- */
/* A window of the key, with fresh states; its states go back, and it is forgotten. */
int keyed_open(struct worker *w, uint32_t key, const struct span *span,
               uint32_t *ret_slot);
void keyed_close(struct worker *w, uint32_t slot);
/* Into the lists of struct keyed. */
int keyed_give(struct keyed *k, uint32_t slot);
int keyed_wait(struct keyed *k, uint32_t slot);
/* The result with this start is none any more: no row of the key has it as its window's. */
int keyed_take_back(struct worker *w, uint32_t slot, int64_t start_us,
                    uint32_t revision);
/* The watermark at a row of the block. */
int64_t keyed_watermark(struct reading *r, uint32_t row);
/* Can a row still be folded into a window that ended at or before the watermark? */
bool keyed_can_revise(const struct worker *w, int64_t end_us, int64_t watermark_us);
/* So long behind its end a window is remembered. */
int64_t keyed_keep_us(const struct worker *w);
/* A window for a row that is in none, if it has not ended at an earlier row. */
int keyed_open_window(struct reading *r, uint32_t key, int64_t watermark_us,
                      const struct span *span, uint32_t *ret);

/* ---- keyed_session.c, keyed_count.c: the slot of a row's window ---- */
int session_slot(struct reading *r, uint32_t key, uint32_t row, uint32_t *ret);
int count_slot(struct reading *r, uint32_t key, uint32_t row, uint32_t *ret);
/* Full panes to windows that are given out, some at a time: 1: there are more; and what becomes of them. */
int count_collect(struct worker *w);
int count_given(struct worker *w, int64_t until_us);
/* The key's windows of several panes that are not full: the one behind *number, 0 at first, as a group that the caller closes.
 * 1, or 0: there are no more. `pane`: the key's newest. */
int count_partial(struct worker *w, uint32_t pane, uint64_t *number,
                  uint32_t *ret_slot);

#endif
