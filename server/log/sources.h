/* SPDX-License-Identifier: Apache-2.0
 *
 * How far the sources of a stream are, and who of them is silent. The log thread's.
 */
#ifndef WEIR_LOG_SOURCES_H
#define WEIR_LOG_SOURCES_H

#include "log/log.h"

struct source_clock { /* of one source; the log thread's */
    bool seen;
    int64_t max_us;  /* newest event time */
    int64_t last_us; /* clock_monotonic_us of the newest batch */
};

struct silence { /* of one sink; the log thread's */
    bool idle[LOG_SOURCES_MAX];
    int64_t advanced_us; /* time of the last LOG_ADVANCE */
};

/* Notes a batch of `source` with newest event time `max_us`. */
void sources_heard(struct source_clock *clocks, uint32_t source, int64_t max_us,
                   int64_t now_us);

/* Sources that have become idle for the sink by now; each is given to `call` once. */
void silence_check(struct silence *s, const struct source_clock *clocks,
                   uint32_t n_sources, const struct log_sink *sink, int64_t now_us,
                   void (*call)(void *ctx, enum log_kind kind, uint32_t source,
                                int64_t time_us),
                   void *ctx);

#endif
