/* SPDX-License-Identifier: Apache-2.0
 *
 * Windows that depend on the rows of a key: which window a row goes to, which are due, which are forgotten.
 * window/by_key.h has the arithmetic, group/spans.h the lists of windows.
 *
 *      session, until   due at their end; behind it remembered as long as a row can be late for them
 *      count            given out behind the entry that fills them, or within it where there are many
 *      global           given out where the watermark reaches a border, before the next row: what a result holds must
 *                       not depend on how the log was cut into entries
 *
 * What is given out, and what is taken back, waits in a list of the worker until close.c makes rows of it.
 */
#ifndef WEIR_PIPELINE_KEYED_H
#define WEIR_PIPELINE_KEYED_H

#include "group/spans.h"
#include "log/log.h"
#include "window/by_key.h"

struct worker;
struct pipeline;

#define COUNT_ROOM                                                                     \
    256u /* windows by count that are given out at once: groups beside max_groups */

/* A result that is none any more: a late row has moved its session's start, or it has expired. */
struct keyed_taken {
    int64_t start_us;
    uint32_t key, revision;
    struct former *former; /* as it was given out; NULL: nobody reads it; a list */
};

struct keyed {
    struct spans spans;
    uint32_t *
        give; /* slots that are to be given out now: never given first, then those given before */
    size_t n_give, give_room, n_fresh;
    uint32_t *wait; /* count: panes that are full; global: groups that have changed */
    size_t n_wait, wait_room, n_done; /* done: of those the first are in `give` */
    struct keyed_taken *taken;
    size_t n_taken, taken_room;
    int64_t border_us; /* global: the last one that the watermark has reached */
    /* For silence and people; relaxed: soon enough. */
    _Atomic int64_t due_us; /* when the first window is due; INT64_MAX: none is */
    _Atomic int64_t
        last_us; /* until: no window is due later; INT64_MIN: there was none */
};

void keyed_init(struct worker *w);
void keyed_free(struct worker *w);

/* Folds row[0..n) of the block, whose keys are key[0..n), late rows taken out. */
int keyed_read(struct worker *w, const struct log_entry *e, uint32_t block, uint32_t n);

/* For close.c: those that are due at until_us, with `last` all that can be, into the list to give out. 1: there are more, for
 * the next call. */
int keyed_collect(struct worker *w, int64_t until_us, bool last);
/* They have been given out: which of them are forgotten? */
int keyed_given(struct worker *w, int64_t until_us, bool last);
/* After that. */
void keyed_show(struct worker *w);

/* Global: the time up to which what is given out now counts. */
int64_t keyed_border(const struct worker *w, int64_t until_us, bool last);

/* For log_sink, on its tasks. */
int64_t keyed_next_border(struct pipeline *p, int64_t after_us);
int64_t keyed_last_border(struct pipeline *p, int64_t newest_us);

/* A group of a checkpoint: -EBADMSG, -ENOSPC, -EINVAL, -ENOMEM. */
int keyed_restore(struct worker *w, const char *key, size_t size, uint64_t hash,
                  const struct span *span, uint32_t *ret_slot);
/* The watermark of a checkpoint. */
void keyed_restore_marks(struct worker *w, int64_t watermark_us);

/* Count: the number of a window, from 1 on for each key. */
static inline uint64_t keyed_number(const struct keyed *k, uint32_t slot)
{
    return k->spans.at[slot].number;
}

/* [start, end) of a group as analyzers see it. */
struct window keyed_window(const struct worker *w, uint32_t slot);

#endif
