/* SPDX-License-Identifier: Apache-2.0 */
#include "window/watermark.h"

#include "base/least.h"

#include <assert.h>

static_assert((WATERMARK_SOURCES & (WATERMARK_SOURCES - 1)) == 0, "a power of two");

void watermark_init(struct watermark *w, int64_t out_of_orderness_us, int64_t value_us)
{
    w->value_us = value_us;
    w->newest_us = INT64_MIN;
    w->out_of_orderness_us = out_of_orderness_us;
    w->held = false;
    w->n = 0;
    w->current = 0;
    w->others_us = INT64_MAX;
    least_clear(w->least, WATERMARK_SOURCES);
}

static void know(struct watermark *w, uint32_t source)
{
    for (; w->n <= source; w->n++) {
        w->source[w->n].max_us = INT64_MIN;
        w->source[w->n].idle = true;
    }
}

/* Enters what it says now into the tournament. */
static void enter(struct watermark *w, uint32_t source)
{
    least_set(w->least, WATERMARK_SOURCES, source,
              w->source[source].idle ? INT64_MAX : w->source[source].max_us);
}

/* The current source has not been entered while its rows were read. */
static void settle(struct watermark *w)
{
    if (w->current < w->n)
        enter(w, w->current);
}

/* Up to what all sources say that are not idle. */
static void catch_up(struct watermark *w)
{
    int64_t us = least_of(w->least);
    if (us != INT64_MAX && us >= INT64_MIN + w->out_of_orderness_us)
        watermark_advance(w, us - w->out_of_orderness_us);
}

void watermark_restore(struct watermark *w, uint32_t source, int64_t max_us, bool idle)
{
    know(w, source);
    w->source[source].max_us = max_us;
    w->source[source].idle = idle;
    enter(w, source);
}

void watermark_begin(struct watermark *w, uint32_t source)
{
    know(w, source);
    if (source != w->current)
        settle(w);
    w->source[source].idle = false;
    w->current = source;
    w->others_us = least_but(w->least, WATERMARK_SOURCES, source);
}

void watermark_read(struct watermark *w, int64_t told_us, int64_t newest_us)
{
    w->value_us = watermark_at(w, told_us);
    if (told_us > w->source[w->current].max_us)
        w->source[w->current].max_us = told_us;
    if (newest_us > w->newest_us)
        w->newest_us = newest_us;
}

void watermark_reached(struct watermark *w, uint32_t source, int64_t us)
{
    know(w, source);
    settle(w);
    if (us > w->source[source].max_us)
        w->source[source].max_us = us;
    enter(w, source);
    catch_up(w);
}

void watermark_idle(struct watermark *w, uint32_t source)
{
    know(w, source);
    settle(w);
    w->source[source].idle = true;
    enter(w, source);
    catch_up(w);
}

void watermark_advance(struct watermark *w, int64_t us)
{
    if (us > w->value_us && !w->held)
        w->value_us = us;
}

void watermark_end(struct watermark *w, int64_t us)
{
    for (uint32_t i = 0; i < w->n; i++)
        w->source[i].idle = true;
    w->held = false;
    least_clear(w->least, WATERMARK_SOURCES);
    watermark_advance(w, us);
}

int64_t watermark_unheld(struct watermark *w)
{
    settle(w);
    int64_t us = least_of(w->least);
    if (us == INT64_MAX) /* all are idle */
        us = w->newest_us;
    return us < INT64_MIN + w->out_of_orderness_us ? INT64_MIN
                                                   : us - w->out_of_orderness_us;
}

void watermark_release(struct watermark *w)
{
    w->held = false;
    watermark_advance(w, watermark_unheld(w));
}
