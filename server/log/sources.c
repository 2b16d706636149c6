/* SPDX-License-Identifier: Apache-2.0 */
#include "log/sources.h"

void sources_heard(struct source_clock *clocks, uint32_t source, int64_t max_us,
                   int64_t now_us)
{
    struct source_clock *c = &clocks[source];
    c->max_us = !c->seen || max_us > c->max_us ? max_us : c->max_us;
    c->last_us = now_us;
    c->seen = true;
}

/* All are silent: event time goes on from the newest event with the clock. Windows close one after the
 * other, the last one when its end, too, is out_of_orderness behind. */
static void advance(struct silence *s, const struct log_sink *sink, int64_t max_us,
                    int64_t silent_us,
                    void (*call)(void *ctx, enum log_kind kind, uint32_t source,
                                 int64_t time_us),
                    void *ctx)
{
    int64_t last_us = sink->last_border_us(sink->ctx, max_us);
    int64_t now_us = max_us + silent_us - sink->out_of_orderness_us;
    if (now_us > last_us)
        now_us = last_us;
    int64_t from_us = max_us - sink->out_of_orderness_us;
    if (s->advanced_us > from_us)
        from_us = s->advanced_us;
    if (now_us < sink->next_border_us(sink->ctx, from_us))
        return;
    s->advanced_us = now_us;
    call(ctx, LOG_ADVANCE, 0, now_us);
}

void silence_check(struct silence *s, const struct source_clock *clocks,
                   uint32_t n_sources, const struct log_sink *sink, int64_t now_us,
                   void (*call)(void *ctx, enum log_kind kind, uint32_t source,
                                int64_t time_us),
                   void *ctx)
{
    if (sink->idle_timeout_us == INT64_MAX)
        return;
    int64_t max_us = INT64_MIN, last_us = INT64_MIN;
    bool all_idle = true;
    for (uint32_t i = 0; i < n_sources; i++) {
        const struct source_clock *c = &clocks[i];
        if (!c->seen)
            continue;
        bool idle = now_us - c->last_us >= sink->idle_timeout_us;
        if (idle && !s->idle[i])
            call(ctx, LOG_IDLE, i, 0);
        s->idle[i] = idle;
        all_idle = all_idle && idle;
        max_us = c->max_us > max_us ? c->max_us : max_us;
        last_us = c->last_us > last_us ? c->last_us : last_us;
    }
    if (!all_idle)
        s->advanced_us = INT64_MIN;
    else if (max_us != INT64_MIN)
        advance(s, sink, max_us, now_us - last_us, call, ctx);
}
