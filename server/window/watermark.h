/* SPDX-License-Identifier: Apache-2.0
 *
 * The watermark of a pipeline: the event time up to which it believes it has seen everything. It is
 * the least of the times that all sources have reached that are not idle, less out_of_orderness, and never
 * goes back. Mostly a source has reached the newest time of its rows: then the watermark moves row by row, in
 * the order of the log, so that it does not matter how events were cut into batches. What producers without
 * a name have reached, the log may say instead (log_entry.held). After Akidau et al., "The Dataflow Model", VLDB 2015, section 2.3.
 */
#ifndef WEIR_WINDOW_WATERMARK_H
#define WEIR_WINDOW_WATERMARK_H

#include <stdbool.h>
#include <stdint.h>

#define WATERMARK_SOURCES 1024

struct watermark {
    int64_t value_us;  /* INT64_MIN: nothing seen yet */
    int64_t newest_us; /* event of all sources; INT64_MIN: none */
    int64_t out_of_orderness_us;
    bool held;  /* the value stays, whatever comes, until watermark_release or _end */
    uint32_t n; /* sources seen or passed over: numbers below n */
    struct {
        int64_t max_us; /* that it has reached; INT64_MIN: nothing seen */
        bool idle;
    } source[WATERMARK_SOURCES];
    int64_t least[2 * WATERMARK_SOURCES]; /* base/least.h: of those that are not idle;
                                           * `current` may have gone on since */

    /* Of the batch that is being read. */
    uint32_t current;
    int64_t
        others_us; /* least of the other sources that are not idle; INT64_MAX: there is none */
};

void watermark_init(struct watermark *w, int64_t out_of_orderness_us, int64_t value_us);

/* Rows of `source` follow: it is not idle any more. */
void watermark_begin(struct watermark *w, uint32_t source);

/* What the watermark is once the current source has reached max_us. */
static inline int64_t watermark_at(const struct watermark *w, int64_t max_us)
{
    if (w->held)
        return w->value_us;
    int64_t us = w->source[w->current].max_us;
    us = max_us > us ? max_us : us;
    us = us < w->others_us ? us : w->others_us;
    if (us < INT64_MIN + w->out_of_orderness_us)
        return w->value_us;
    us -= w->out_of_orderness_us;
    return us > w->value_us ? us : w->value_us;
}

/* Rows have been read: the current source has reached told_us (INT64_MIN: as before), the newest of them is
 * newest_us. */
void watermark_read(struct watermark *w, int64_t told_us, int64_t newest_us);

/* The source has reached this without a row. */
void watermark_reached(struct watermark *w, uint32_t source, int64_t us);
/* As it was in an earlier run. */
void watermark_restore(struct watermark *w, uint32_t source, int64_t max_us, bool idle);
void watermark_idle(struct watermark *w, uint32_t source);
void watermark_advance(struct watermark *w, int64_t us);
/* All sources are at their end: who sends again holds it back, nobody else. */
void watermark_end(struct watermark *w, int64_t us);

/* Where one that is held would be if it were not; INT64_MIN: nowhere yet. Between two entries. */
int64_t watermark_unheld(struct watermark *w);
/* Is held no more, and at once there. */
void watermark_release(struct watermark *w);

#endif
