/* SPDX-License-Identifier: Apache-2.0
 *
 * How far the sources of a stream are, and who of them is silent. The gatherer's.
 */
#ifndef WEIR_LOG_SOURCES_H
#define WEIR_LOG_SOURCES_H

#include "base/clock.h"
#include "log/log.h"

/* The clock by which silence is measured. It stands still while the server does not run: a process that was
 * stopped for a minute, or that gets no processor, has not listened. */
struct silence_clock {
    int64_t us;
    int64_t at_us; /* clock_monotonic_us of the last step */
};

#define SILENCE_STEP_US 75000 /* the clock goes on by at most so much a step */

/* What it shows; and a step, to be made more often than every SILENCE_STEP_US. */
int64_t silence_now(const struct silence_clock *c, int64_t monotonic_us);
int64_t silence_step(struct silence_clock *c, int64_t monotonic_us);

struct source_clock { /* of one source */
    bool seen;
    int64_t max_us;   /* newest event time */
    int64_t last_us;  /* when it was heard of last */
    int64_t batch_us; /* when its last batch came */
    bool gone;        /* since then it said that it sends no more */
};

struct sources {
    struct source_clock clock[LOG_SOURCES_MAX];
    uint32_t n;      /* numbers from here on were never seen */
    uint64_t n_gone; /* how often one went */
    int64_t max_us;  /* newest event of all; INT64_MIN: none */
    int64_t last_us; /* when any was heard of last; INT64_MIN: none was */
};

void sources_init(struct sources *s);
/* Notes a batch of `source` with newest event time `max_us`. */
void sources_heard(struct sources *s, uint32_t source, int64_t max_us, int64_t now_us);
/* It is there, though it has no rows. */
void sources_there(struct sources *s, uint32_t source, int64_t now_us);
/* It sends no more, until it does. */
void sources_gone(struct sources *s, uint32_t source);
/* Something of it arrives, or waits. */
void sources_alive(struct sources *s, uint32_t source, int64_t now_us);

struct silence { /* of one sink */
    int64_t
        idle_us[LOG_SOURCES_MAX]; /* last_us of the silence that was said; -1: none */
    uint64_t n_gone;              /* those of sources.n_gone that were said */
    int64_t due_us;               /* before it no other source becomes idle */
    int64_t advanced_us;          /* time of the last LOG_ADVANCE of this silence */
    int64_t passed_us;            /* of the last one of all */
    int64_t patience_us;          /* what silence_returned has found; 0: nothing */
    int64_t reached_us;           /* time of the last LOG_REACHED for it alone */
    int64_t wanted_us;            /* of the last LOG_ADVANCE to what the sink wanted */
    int64_t begun_us;             /* when it was looked at first; INT64_MIN: not yet */
};

#define SILENCE_PATIENCE_MAX_US (60 * SECOND_US)

void silence_init(struct silence *s);
/* How long a source is waited for: idle_timeout, or longer (silence_returned). */
int64_t silence_timeout(const struct silence *s, const struct log_sink *sink);
/* A batch comes, with min_us as its oldest time; to be called before sources_heard. True: its source had been taken for
 * silent, and time has gone on without events that were in order: from now on such a pause is waited for twice over,
 * a minute at most. *ret_pause_us: how long it was. */
bool silence_returned(struct silence *s, const struct sources *sources,
                      const struct log_sink *sink, uint32_t source, int64_t min_us,
                      int64_t now_us, int64_t *ret_pause_us);
/* Sources that have become idle for the sink by now; each is given to `call` once. What it returns false for
 * was not said, and is given to it again. */
void silence_check(struct silence *s, const struct sources *sources,
                   const struct log_sink *sink, int64_t now_us,
                   bool (*call)(void *ctx, enum log_kind kind, uint32_t source,
                                int64_t time_us),
                   void *ctx);

/* Nothing more is to be said, unless somebody sends. */
bool silence_is_over(const struct silence *s, const struct sources *sources,
                     const struct log_sink *sink);

#endif
