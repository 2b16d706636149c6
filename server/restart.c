/* SPDX-License-Identifier: Apache-2.0 */
#include "restart.h"

#include "base/clock.h"
#include "base/logger.h"
#include "crashes.h"
#include "reload.h"
#include "store/dead_letters.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEATHS_MAX  3 /* at the same place: then it is the rows, or the pipeline stops */
#define WAIT_MIN_US 100000
#define WAIT_MAX_US (10 * SECOND_US)
#define CALM_US     (60 * SECOND_US) /* without a crash: as if there had been none */
#define LETTER_US   (2 * SECOND_US)  /* for which the letter is waited for */
#define ASIDE_MAX   10000 /* ranges of rows of all analyzers that are set aside */

/* Of an analyzer in its place. */
struct place {
    char *pipeline;
    char *analyzer; /* so that another one in its place does not inherit */
    size_t step;
    uint64_t restarts;
    unsigned in_a_row;       /* crashes, each within CALM_US of the one before */
    int64_t last_us, due_us; /* of a restart; INT64_MAX: none is due */
    /* Where it crashed the last time, and how often so far. */
    uint32_t call;
    bool rows;
    uint64_t first, last;
    unsigned deaths;
    struct place *next;
};

struct range {
    const struct place *place;
    uint64_t first, last;
};

struct restarts {
    struct place *place;
    struct range *aside;
    size_t n_aside;
};

void restarts_free(struct restarts *r)
{
    if (!r)
        return;
    for (struct place *p = r->place, *next; p; p = next) {
        next = p->next;
        free(p->pipeline);
        free(p->analyzer);
        free(p);
    }
    free(r->aside);
    free(r);
}

static const char *analyzer_of(struct pipeline *p, size_t step)
{
    const struct config_pipeline *c = pipeline_config(p);
    return step < c->n_analyzers ? c->analyzer[step].plugin : "";
}

static bool is_of(const struct place *at, struct pipeline *p)
{
    return !strcmp(at->pipeline, pipeline_config(p)->name) &&
           !strcmp(at->analyzer, analyzer_of(p, at->step));
}

/* NULL: no memory. */
static struct place *get_place(struct weir *w, const char *pipeline,
                               const char *analyzer, size_t step)
{
    if (!w->restarts && !(w->restarts = calloc(1, sizeof(*w->restarts))))
        return NULL;
    struct place *at = w->restarts->place;
    while (at && (at->step != step || strcmp(at->pipeline, pipeline) != 0 ||
                  strcmp(at->analyzer, analyzer) != 0))
        at = at->next;
    if (at || !(at = calloc(1, sizeof(*at))))
        return at;
    at->pipeline = strdup(pipeline);
    at->analyzer = strdup(analyzer);
    at->step = step;
    at->due_us = INT64_MAX;
    if (!at->pipeline || !at->analyzer) {
        free(at->pipeline);
        free(at->analyzer);
        free(at);
        return NULL;
    }
    at->next = w->restarts->place;
    w->restarts->place = at;
    return at;
}

/* ---- What has crashed --------------------------------------------------------------------------- */

static int add_range(struct restarts *r, const struct place *at, uint64_t first,
                     uint64_t last)
{
    struct range *more = realloc(r->aside, (r->n_aside + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    r->aside = more;
    r->aside[r->n_aside++] = (struct range){.place = at, .first = first, .last = last};
    return 0;
}

/* The rows are not given to the analyzer any more; the first of them stands in the letter, which is on disk before that is: what
 * ends the server in between leaves two letters, not none. False: no more can be set aside. */
static bool set_aside(struct weir *w, struct pipeline *p, const struct place *at,
                      const struct pipeline_crash *c)
{
    struct restarts *r = w->restarts;
    const char *stream = w->config->stream[pipeline_config(p)->stream].name;
    char message[700];
    if (r->n_aside >= ASIDE_MAX)
        return false;
    if (add_range(r, at, c->first, c->last) < 0)
        return true; /* it is tried again, as long as there is no memory */
    snprintf(message, sizeof(message),
             "pipeline '%s', analyzer '%s': set aside, %s, %d times", at->pipeline,
             at->analyzer, c->text, DEATHS_MAX);
    const struct dead_letter letter = {.stream = stream,
                                       .received_us = clock_now_us(),
                                       .source = "",
                                       .reason = "crash",
                                       .message = message,
                                       .record = c->record_size ? c->record : NULL,
                                       .record_size = c->record_size,
                                       .truncated = c->truncated};
    dead_letters_put(w->store, &letter, 1);
    int err = store_flush_until(w->store, clock_monotonic_us() + LETTER_US);
    if (err == 0 && w->crashes)
        err = crashes_set_aside(w->crashes, at->pipeline, at->step + 1, at->analyzer,
                                c->first, c->last);
    if (err < 0)
        logger_warn("restart",
                    "what is set aside for analyzer '%s' of pipeline '%s' is known "
                    "until the server ends only: %s",
                    at->analyzer, at->pipeline, strerror(-err));
    logger_error(
        "restart",
        "pipeline '%s', analyzer '%s': an event is set aside, it has ended "
        "the analyzer's process %d times; it is among the dead letters of '%s'",
        at->pipeline, at->analyzer, DEATHS_MAX, stream);
    return true;
}

/* The same rows, or some of them; elsewhere: the same call, not long ago. */
static bool is_again(const struct place *at, const struct pipeline_crash *c,
                     int64_t now_us)
{
    if (!at->deaths || at->rows != c->rows)
        return false;
    if (c->rows)
        return c->first <= at->last && c->last >= at->first;
    return c->call && at->call == c->call && now_us - at->last_us < CALM_US;
}

/* Twice as long each time. */
static int64_t next_due(const struct place *at, int64_t now_us)
{
    int64_t wait_us = WAIT_MIN_US;
    for (unsigned i = 1; i < at->in_a_row && wait_us < WAIT_MAX_US; i++)
        wait_us *= 2;
    return now_us + (wait_us < WAIT_MAX_US ? wait_us : WAIT_MAX_US);
}

static void note(struct weir *w, struct pipeline *p, const struct pipeline_crash *c)
{
    struct place *at = get_place(w, pipeline_config(p)->name,
                                 analyzer_of(p, c->analyzer), c->analyzer);
    int64_t now_us = clock_monotonic_us();
    if (!at || at->due_us != INT64_MAX)
        return; /* without memory it is noted the next time */
    at->deaths = is_again(at, c, now_us) ? at->deaths + 1 : 1;
    at->in_a_row = at->last_us && now_us - at->last_us < CALM_US ? at->in_a_row + 1 : 1;
    at->call = c->call;
    at->rows = c->rows;
    at->first = c->first;
    at->last = c->last;
    at->last_us = now_us;
    at->restarts++;
    at->due_us = next_due(at, now_us);
    if (at->deaths < DEATHS_MAX)
        return;
    at->deaths = 0;
    if (c->rows && set_aside(w, p, at, c))
        return;
    at->due_us = INT64_MAX;
    at->restarts--;
    pipeline_stop_restarts(p);
    logger_error("restart",
                 "pipeline '%s' stays as it is: analyzer '%s' has ended its process %d "
                 "times, and no event can be set aside for it",
                 at->pipeline, at->analyzer, DEATHS_MAX);
}

/* ---- At the start --------------------------------------------------------------------------------- */

/* What the journal does not have any more is not read again. Rows of pipelines that read others have numbers of their own. */
static bool may_come(void *weir, const struct crash *c)
{
    const struct weir *w = weir;
    for (size_t i = 0; i < w->n_pipelines; i++) {
        const struct config_pipeline *p = pipeline_config(w->pipeline[i]);
        if (!strcmp(p->name, c->pipeline))
            return pipeline_parent(w->pipeline[i]) ||
                   c->last >> 16 >= log_first(w->log[p->stream]);
    }
    return true;
}

int restart_begin(struct weir *w)
{
    struct crashes *c = w->crashes;
    int err = 0;
    crashes_drop(c, may_come, w);
    for (size_t i = 0; err == 0 && i < c->n; i++) {
        const struct crash *one = &c->list[i];
        if (!one->aside)
            continue;
        struct place *at = get_place(w, one->pipeline, one->analyzer, one->place - 1);
        err = at ? add_range(w->restarts, at, one->first, one->last) : -ENOMEM;
    }
    crashes_settle(c);
    return err;
}

/* ---- Fresh ones ------------------------------------------------------------------------------------ */

int restart_tell(const struct weir *w, struct pipeline *p)
{
    const struct restarts *r = w->restarts;
    int err = 0;
    for (const struct place *at = r ? r->place : NULL; at && !err; at = at->next) {
        if (!is_of(at, p))
            continue;
        pipeline_restarted(p, at->step, at->restarts);
        if (at->rows && at->deaths == DEATHS_MAX - 1)
            err = pipeline_set_aside(p, at->step, at->first, at->last, true);
        for (size_t i = 0; !err && i < r->n_aside; i++)
            if (r->aside[i].place == at)
                err = pipeline_set_aside(p, at->step, r->aside[i].first,
                                         r->aside[i].last, false);
    }
    for (struct pipeline *c = NULL; !err && (c = pipeline_child(p, c));)
        err = restart_tell(w, c);
    return err;
}

void restart_forget(struct weir *w, struct pipeline *p)
{
    struct restarts *r = w->restarts;
    const char *name = pipeline_config(p)->name;
    size_t n = 0;
    if (!r)
        return;
    for (size_t i = 0; i < r->n_aside; i++)
        if (strcmp(r->aside[i].place->pipeline, name) != 0)
            r->aside[n++] = r->aside[i];
    r->n_aside = n;
    for (struct place *at = r->place; at; at = at->next)
        if (at->rows && !strcmp(at->pipeline, name))
            at->deaths = 0;
    pipeline_forget_aside(p);
    if (w->crashes)
        crashes_forget_aside(w->crashes, name);
}

/* The place of an analyzer of the pipeline that waits. */
static struct place *waits(const struct weir *w, struct pipeline *p)
{
    struct place *at = w->restarts ? w->restarts->place : NULL;
    while (at && (at->due_us == INT64_MAX || !is_of(at, p)))
        at = at->next;
    return at;
}

int64_t weir_restart(struct weir *w)
{
    struct pipeline_crash c;
    for (size_t i = 0; i < w->n_pipelines; i++)
        if (pipeline_crashed(w->pipeline[i], &c))
            note(w, w->pipeline[i], &c);
    int64_t next_us = INT64_MAX, now_us = clock_monotonic_us();
    for (size_t i = 0; i < w->n_pipelines; i++) {
        struct pipeline *p = w->pipeline[i];
        struct place *at = waits(w, p);
        struct error error = {0};
        if (!at)
            continue;
        if (at->due_us > now_us) {
            next_us = at->due_us < next_us ? at->due_us : next_us;
            continue;
        }
        at->due_us = INT64_MAX;
        if (!pipeline_crashed(p, &c))
            continue; /* somebody else has exchanged it */
        int err = weir_exchange(w, p, &error);
        if (err < 0) {
            if (err != -EAGAIN) /* the journal is still being read */
                logger_error("restart", "pipeline '%s' cannot be started again yet: %s",
                             at->pipeline, error.text);
            at->in_a_row += err != -EAGAIN;
            at->due_us = next_due(at, clock_monotonic_us());
            next_us = at->due_us < next_us ? at->due_us : next_us;
            continue;
        }
        i = SIZE_MAX; /* the list is another one */
    }
    return next_us;
}
