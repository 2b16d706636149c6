/* SPDX-License-Identifier: Apache-2.0 */
#include "window/watermark.h"

void watermark_init(struct watermark *w, int64_t out_of_orderness_us, int64_t value_us)
{
    w->value_us = value_us;
    w->newest_us = INT64_MIN;
    w->out_of_orderness_us = out_of_orderness_us;
    w->held = false;
    w->n = 0;
    w->current = 0;
    w->others_us = INT64_MAX;
}

static void know(struct watermark *w, uint32_t source)
{
    for (; w->n <= source; w->n++) {
        w->source[w->n].max_us = INT64_MIN;
        w->source[w->n].idle = true;
    }
}

/* The least of the newest times of sources that hold the watermark back, but for one. */
static int64_t least_but(const struct watermark *w, uint32_t source)
{
    int64_t us = INT64_MAX;
    for (uint32_t i = 0; i < w->n; i++)
        if (i != source && !w->source[i].idle && w->source[i].max_us < us)
            us = w->source[i].max_us;
    return us;
}

void watermark_begin(struct watermark *w, uint32_t source)
{
    know(w, source);
    w->source[source].idle = false;
    w->current = source;
    w->others_us = least_but(w, source);
}

void watermark_read(struct watermark *w, int64_t max_us)
{
    w->value_us = watermark_at(w, max_us);
    if (max_us > w->source[w->current].max_us)
        w->source[w->current].max_us = max_us;
    if (max_us > w->newest_us)
        w->newest_us = max_us;
}

void watermark_idle(struct watermark *w, uint32_t source)
{
    know(w, source);
    w->source[source].idle = true;
    int64_t us = least_but(w, UINT32_MAX);
    if (us != INT64_MAX && us >= INT64_MIN + w->out_of_orderness_us)
        watermark_advance(w, us - w->out_of_orderness_us);
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
    watermark_advance(w, us);
}

void watermark_release(struct watermark *w)
{
    int64_t us = least_but(w, UINT32_MAX);
    if (us == INT64_MAX) /* all are idle */
        us = w->newest_us;
    w->held = false;
    if (us >= INT64_MIN + w->out_of_orderness_us)
        watermark_advance(w, us - w->out_of_orderness_us);
}
