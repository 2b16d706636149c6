/* SPDX-License-Identifier: Apache-2.0 */
#include "log/sources.h"

int64_t silence_now(const struct silence_clock *c, int64_t monotonic_us)
{
    int64_t step_us = monotonic_us - c->at_us;
    return c->us + (step_us < SILENCE_STEP_US ? step_us : SILENCE_STEP_US);
}

int64_t silence_step(struct silence_clock *c, int64_t monotonic_us)
{
    c->us = silence_now(c, monotonic_us);
    c->at_us = monotonic_us;
    return c->us;
}

void sources_init(struct sources *s)
{
    s->max_us = s->last_us = INT64_MIN;
}

void sources_heard(struct sources *s, uint32_t source, int64_t max_us, int64_t now_us)
{
    struct source_clock *c = &s->clock[source];
    c->max_us = !c->seen || max_us > c->max_us ? max_us : c->max_us;
    c->last_us = c->batch_us = now_us;
    c->seen = true;
    c->gone = false;
    s->n = source >= s->n ? source + 1 : s->n;
    s->max_us = max_us > s->max_us ? max_us : s->max_us;
    s->last_us = now_us;
}

void sources_gone(struct sources *s, uint32_t source)
{
    struct source_clock *c = &s->clock[source];
    if (!c->seen || c->gone)
        return;
    c->gone = true;
    s->n_gone++;
}

void sources_alive(struct sources *s, uint32_t source, int64_t now_us)
{
    s->clock[source].last_us = now_us;
    s->last_us = now_us;
}

void sources_there(struct sources *s, uint32_t source, int64_t now_us)
{
    if (s->clock[source].seen)
        sources_alive(s, source, now_us);
    else
        sources_heard(s, source, INT64_MIN, now_us);
}

void silence_init(struct silence *s)
{
    for (uint32_t i = 0; i < LOG_SOURCES_MAX; i++)
        s->idle_us[i] = -1;
    s->due_us = 0;
    s->advanced_us = s->passed_us = s->reached_us = INT64_MIN;
    s->wanted_us = s->begun_us = INT64_MIN;
    s->patience_us = 0;
    s->n_gone = 0;
}

int64_t silence_timeout(const struct silence *s, const struct log_sink *sink)
{
    return sink->idle_timeout_us > s->patience_us ? sink->idle_timeout_us
                                                  : s->patience_us;
}

bool silence_returned(struct silence *s, const struct sources *sources,
                      const struct log_sink *sink, uint32_t source, int64_t min_us,
                      int64_t now_us, int64_t *ret_pause_us)
{
    const struct source_clock *c = &sources->clock[source];
    int64_t late_us = sink->out_of_orderness_us;
    bool was_idle = c->seen && !c->gone && s->idle_us[source] >= c->batch_us;
    if (!was_idle || c->max_us == INT64_MIN || min_us < c->max_us - late_us)
        return false;
    bool others = sources->max_us > c->max_us && min_us < sources->max_us - late_us;
    if (min_us >= s->passed_us && !others)
        return false;
    int64_t pause_us = now_us - c->batch_us;
    int64_t us =
        pause_us < SILENCE_PATIENCE_MAX_US / 2 ? 2 * pause_us : SILENCE_PATIENCE_MAX_US;
    if (us <= silence_timeout(s, sink))
        return false;
    s->patience_us = us;
    *ret_pause_us = pause_us;
    return true;
}

/* All are silent: event time goes on from the newest event with the clock. Windows close one after the
 * other, the last one when its end, too, is out_of_orderness behind. */
static void advance(struct silence *s, const struct log_sink *sink, int64_t max_us,
                    int64_t silent_us,
                    bool (*call)(void *ctx, enum log_kind kind, uint32_t source,
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
    if (call(ctx, LOG_ADVANCE, 0, now_us))
        s->advanced_us = s->passed_us = now_us;
}

/* Other streams wait for this one, and it is silent, or was from the beginning: they are not held up. */
static void advance_to_wanted(struct silence *s, const struct sources *sources,
                              const struct log_sink *sink, int64_t now_us,
                              bool (*call)(void *ctx, enum log_kind kind,
                                           uint32_t source, int64_t time_us),
                              void *ctx)
{
    int64_t wanted_us = sink->wanted_us(sink->ctx);
    int64_t since_us = sources->last_us > s->begun_us ? sources->last_us : s->begun_us;
    if (wanted_us <= s->wanted_us || now_us - since_us < silence_timeout(s, sink))
        return;
    if (!call(ctx, LOG_ADVANCE, 0, wanted_us))
        return;
    s->wanted_us = wanted_us;
    s->passed_us = wanted_us > s->passed_us ? wanted_us : s->passed_us;
}

/* Those that are newly idle. Who is heard of again can be idle again after idle_timeout at the soonest, so
 * that nobody needs to be looked at before due_us. */
static void check_each(struct silence *s, const struct sources *sources,
                       int64_t timeout_us, int64_t now_us,
                       bool (*call)(void *ctx, enum log_kind kind, uint32_t source,
                                    int64_t time_us),
                       void *ctx)
{
    s->due_us = now_us + timeout_us;
    for (uint32_t i = 0; i < sources->n; i++) {
        const struct source_clock *c = &sources->clock[i];
        if (!c->seen || s->idle_us[i] == c->last_us)
            continue;
        if (now_us - c->last_us < timeout_us) {
            int64_t due_us = c->last_us + timeout_us;
            s->due_us = due_us < s->due_us ? due_us : s->due_us;
        } else if (call(ctx, LOG_IDLE, i, 0)) {
            s->idle_us[i] = c->last_us;
        } else {
            s->due_us = now_us;
        }
    }
}

/* Those that sent no more of their own accord: nobody waits for their silence. */
static void check_gone(struct silence *s, const struct sources *sources,
                       bool (*call)(void *ctx, enum log_kind kind, uint32_t source,
                                    int64_t time_us),
                       void *ctx)
{
    if (s->n_gone == sources->n_gone)
        return;
    bool said = true;
    for (uint32_t i = 0; i < sources->n; i++) {
        const struct source_clock *c = &sources->clock[i];
        if (!c->gone || s->idle_us[i] == c->last_us)
            continue;
        if (call(ctx, LOG_IDLE, i, 0))
            s->idle_us[i] = c->last_us;
        else
            said = false;
    }
    if (said)
        s->n_gone = sources->n_gone;
}

void silence_check(struct silence *s, const struct sources *sources,
                   const struct log_sink *sink, int64_t now_us,
                   bool (*call)(void *ctx, enum log_kind kind, uint32_t source,
                                int64_t time_us),
                   void *ctx)
{
    check_gone(s, sources, call, ctx);
    if (sink->idle_timeout_us == INT64_MAX)
        return;
    if (s->begun_us == INT64_MIN)
        s->begun_us = now_us;
    if (now_us >= s->due_us)
        check_each(s, sources, silence_timeout(s, sink), now_us, call, ctx);
    if (sink->wanted_us)
        advance_to_wanted(s, sources, sink, now_us, call, ctx);
    if (sources->max_us == INT64_MIN)
        return;
    int64_t silent_us = now_us - sources->last_us;
    if (silent_us < silence_timeout(s, sink))
        s->advanced_us = INT64_MIN;
    else
        advance(s, sink, sources->max_us, silent_us, call, ctx);
}

bool silence_is_over(const struct silence *s, const struct sources *sources,
                     const struct log_sink *sink)
{
    if (sink->idle_timeout_us == INT64_MAX)
        return true;
    if (sink->wanted_us && sink->wanted_us(sink->ctx) > s->wanted_us)
        return false;
    for (uint32_t i = 0; i < sources->n; i++)
        if (sources->clock[i].seen && s->idle_us[i] != sources->clock[i].last_us)
            return false;
    if (sources->max_us == INT64_MIN)
        return true;
    int64_t from_us = sources->max_us - sink->out_of_orderness_us;
    from_us = s->advanced_us > from_us ? s->advanced_us : from_us;
    return sink->next_border_us(sink->ctx, from_us) >
           sink->last_border_us(sink->ctx, sources->max_us);
}
