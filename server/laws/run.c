/* SPDX-License-Identifier: Apache-2.0 */
#include "laws/run.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CANARY      0xa5
#define CANARY_SIZE 48u /* between two states */

enum run_verdict run_broken(struct runner *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (r->verdict == RUN_HOLDS) {
        vsnprintf(r->report->said, sizeof(r->report->said), format, args);
        r->verdict = RUN_BROKEN;
    }
    va_end(args);
    return r->verdict;
}

static enum run_verdict no_memory(struct runner *r)
{
    return r->verdict = RUN_NO_MEMORY;
}

const struct weir_window *run_window(bool early)
{
    static const struct weir_cell key = {.type = WEIR_STRING, .size = 1, .as.s = "k"};
    static const union host_window window[2] = {
        {.window = {sizeof(struct weir_window), ROWS_START_US, ROWS_END_US, WEIR_FINAL,
                    1, &key}},
        {.window = {sizeof(struct weir_window), ROWS_START_US, ROWS_END_US, WEIR_EARLY,
                    1, &key}}};
    return &window[early].window;
}

/* ---- Memory ------------------------------------------------------------------------------------ */

/* Slot 0 ends where the fenced memory does:  [canary][slot n-1]...[canary][slot 0] */
static char *slot_at(const struct runner *r, uint32_t slot)
{
    return r->arena.data + (r->n_slots - 1 - slot) * r->stride + CANARY_SIZE;
}

void *run_state(const struct runner *r, uint32_t state)
{
    return slot_at(r, r->slot[state]);
}

static void paint(struct runner *r)
{
    for (uint32_t i = 0; i < r->n_slots; i++) {
        char *s = slot_at(r, i);
        memset(s - CANARY_SIZE, CANARY, CANARY_SIZE);
        memset(s + r->a->state_size, CANARY, r->size - r->a->state_size);
    }
}

static bool is_painted(const char *at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)at[i] != CANARY)
            return false;
    return true;
}

static bool canaries_live(const struct runner *r)
{
    for (uint32_t i = 0; i < r->n_slots; i++) {
        const char *s = slot_at(r, i);
        if (!is_painted(s - CANARY_SIZE, CANARY_SIZE) ||
            !is_painted(s + r->a->state_size, r->size - r->a->state_size))
            return false;
    }
    return true;
}

/* ---- Calls ------------------------------------------------------------------------------------- */

static void begin(struct runner *r, const char *call)
{
    snprintf(r->report->call, sizeof(r->report->call), "%s", call);
}

/* What a function of the plugin returned. */
static enum run_verdict done(struct runner *r, struct host *h, int result)
{
    char call[sizeof(r->report->call)];
    memcpy(call, r->report->call, sizeof(call));
    r->report->call[0] = 0;
    if (!canaries_live(r))
        return run_broken(r, "%s wrote outside of a state", call);
    if (h->failed)
        return run_broken(r, "%s", h->error.text);
    if (result > 0 || (result < 0 && !h->error.text[0])) {
        host_done(h, call, result);
        return run_broken(r, "%s", h->error.text);
    }
    if (result < 0 && r->verdict == RUN_HOLDS) {
        snprintf(r->report->said, sizeof(r->report->said), "%s: %s", call,
                 h->error.text);
        r->verdict = RUN_GAVE_UP;
    }
    h->error.text[0] = 0;
    return r->verdict;
}

static struct host *host_of(struct runner *r, uint32_t state)
{
    return &r->host[r->second[state]];
}

enum run_verdict run_open(struct runner *r, const struct binding *b,
                          const struct rows *rows, struct run_report *report,
                          bool twice)
{
    struct error error = {""};
    memset(r, 0, sizeof(*r));
    r->rows = rows;
    r->binding = b;
    r->a = &b->plugin->analyzer;
    r->report = report;
    r->size = (r->a->state_size + 15) / 16 * 16;
    r->stride = r->size + CANARY_SIZE;
    r->n_slots = PLAN_STATES + 1;
    for (uint32_t i = 0; i < r->n_slots; i++)
        r->slot[i] = i;
    if (!fence_new(&r->arena, r->n_slots * r->stride))
        return no_memory(r);
    paint(r);
    for (size_t i = 0; i < (twice ? 2u : 1u); i++) {
        begin(r, "open");
        /* It describes outputs to the binding, and has to describe the same again. */
        if (host_open(&r->host[i], (struct binding *)(uintptr_t)b, "check", NULL, NULL,
                      &error)) {
            report->call[0] = 0;
            snprintf(report->said, sizeof(report->said), "%s", error.text);
            return r->verdict = RUN_GAVE_UP;
        }
        report->call[0] = 0;
        r->is_open[i] = true;
    }
    return r->verdict;
}

static enum run_verdict drop(struct runner *r, uint32_t state)
{
    struct host *h = host_of(r, state);
    r->alive[state] = false;
    if (r->a->drop) {
        begin(r, "drop");
        r->a->drop(&h->ctx, run_state(r, state));
        done(r, h, 0);
    }
    return r->verdict;
}

enum run_verdict run_close(struct runner *r)
{
    for (uint32_t s = 0; s < PLAN_STATES && r->verdict == RUN_HOLDS; s++)
        if (r->alive[s])
            drop(r, s);
    for (size_t i = 0; i < 2; i++) {
        struct host *h = &r->host[i];
        if (!r->is_open[i])
            continue;
        if (r->verdict == RUN_HOLDS && h->memory < h->own_memory)
            run_broken(r, "%zu bytes of what the context has were given back by drop",
                       h->own_memory - h->memory);
        if (r->verdict == RUN_HOLDS && h->memory != h->own_memory)
            run_broken(r, "%zu bytes of states were not given back by drop",
                       h->memory - h->own_memory);
        if (r->a->close) {
            begin(r, "close");
            r->a->close(&h->ctx);
            r->report->call[0] = 0;
        }
        if (r->verdict == RUN_HOLDS && h->memory)
            run_broken(r, "%zu bytes were not given back by close", h->memory);
        host_leave(h);
    }
    for (uint32_t s = 0; s < PLAN_STATES; s++)
        free(r->kept[s]);
    fence_free(&r->arena);
    return r->verdict;
}

static enum run_verdict make_state(struct runner *r, uint32_t state, bool second)
{
    struct host *h = &r->host[second];
    memset(run_state(r, state), 0, r->a->state_size);
    r->second[state] = second;
    if (r->a->init) {
        begin(r, "init");
        done(r, h, r->a->init(&h->ctx, run_window(true), run_state(r, state)));
    }
    r->alive[state] = r->verdict == RUN_HOLDS;
    return r->verdict;
}

/* Rows f->row[which[0..n)] to the states at base + group * stride. */
static enum run_verdict update(struct runner *r, struct host *h, const struct frame *f,
                               const uint32_t *row, const uint32_t *group, size_t n,
                               char *states, bool out)
{
    union host_rows rows;
    memset(&rows, 0, sizeof(rows));
    rows.rows = (struct weir_rows){.size = sizeof(rows.rows),
                                   .n = n,
                                   .row = row,
                                   .group = group,
                                   .states = states,
                                   .stride = r->stride,
                                   .time = f->time,
                                   .in = f->in,
                                   .sequence = FRAME_SEQUENCE};
    begin(r, out ? "retract" : "update");
    return done(r, h,
                out ? r->a->retract(&h->ctx, &rows.rows)
                    : r->a->update(&h->ctx, &rows.rows));
}

/* States are side by side in the order of their numbers from the end: group g is n - 1 - g behind the lowest. */
static enum run_verdict fold(struct runner *r, const struct step *s,
                             const struct frame *f)
{
    bool deal = s->kind == STEP_DEAL;
    size_t n = deal ? f->n : s->n;
    struct fence g = {0};
    if (!fence_new(&g, 2 * (n + 1) * sizeof(uint32_t)))
        return no_memory(r);
    uint32_t *row = (uint32_t *)(void *)g.data, *group = row + n + 1;
    uint32_t lowest = r->slot[s->s];
    for (uint32_t k = 0; deal && k < s->n; k++)
        lowest = r->slot[s->s + k] > lowest ? r->slot[s->s + k] : lowest;
    for (size_t i = 0; i < n; i++) {
        row[i] = f->row[deal ? i : s->first + i * s->by];
        group[i] = lowest - r->slot[deal ? s->s + i % s->n : s->s];
    }
    fence_protect(&g, true);
    update(r, &r->host[s->other], f, row, group, n, slot_at(r, lowest),
           s->kind == STEP_RETRACT);
    fence_free(&g);
    return r->verdict;
}

/* ---- The shape `whole`: rows are kept for it ---- */

static enum run_verdict keep(struct runner *r, uint32_t state, uint32_t row)
{
    uint32_t *more = realloc(r->kept[state], (r->n_kept[state] + 1) * sizeof(*more));
    if (!more)
        return no_memory(r);
    r->kept[state] = more;
    more[r->n_kept[state]++] = row;
    return r->verdict;
}

static enum run_verdict keep_rows(struct runner *r, const struct step *s)
{
    bool deal = s->kind == STEP_DEAL;
    size_t n = deal ? r->rows->n : s->n;
    for (size_t i = 0; i < n && r->verdict == RUN_HOLDS; i++)
        keep(r, deal ? s->s + (uint32_t)(i % s->n) : s->s,
             (uint32_t)(deal ? i : s->first + i * s->by));
    return r->verdict;
}

/* The rows of a state, by time, then by their order. */
static bool sort_rows(const struct runner *r, uint32_t state, struct rows *ret)
{
    size_t n = r->n_kept[state], inputs = r->rows->n_inputs;
    const int64_t *time = r->rows->time;
    uint32_t *row = r->kept[state];
    if (!rows_without(ret, r->rows, 0, r->rows->n - n))
        return false;
    for (size_t i = 0; i < n; i++) {
        size_t at = 0; /* how many come before it */
        for (size_t k = 0; k < n; k++)
            at += time[row[k]] < time[row[i]] ||
                  (time[row[k]] == time[row[i]] && row[k] < row[i]);
        ret->time[at] = time[row[i]];
        memcpy(&ret->value[at * inputs], &r->rows->value[row[i] * inputs],
               inputs * sizeof(*ret->value));
    }
    return true;
}

static enum run_verdict whole(struct runner *r, const struct step *s, uint32_t state,
                              struct weir_out *out, size_t i)
{
    struct host *h = &r->host[s->other];
    const struct binding *b = r->binding;
    struct rows rows;
    struct frame f;
    if (!sort_rows(r, state, &rows))
        return no_memory(r);
    if (!frame_new(&f, &rows, b->types, b->dictionary, r->layout & FRAME_VALIDITY, 0)) {
        rows_free(&rows);
        return no_memory(r);
    }
    union host_rows all;
    memset(&all, 0, sizeof(all));
    all.rows = (struct weir_rows){.size = sizeof(all.rows),
                                  .n = f.n,
                                  .row = f.row,
                                  .time = f.time,
                                  .in = f.in,
                                  .sequence = 1};
    begin(r, "whole");
    int result = host_begin_group(h, out, i);
    if (result == 0)
        result = r->a->whole(&h->ctx, run_window(s->early), &all.rows, out);
    if (result == 0 && out->put)
        host_done_emit(h, out, "whole", result);
    done(r, h, result);
    frame_free(&f);
    rows_free(&rows);
    return r->verdict;
}

static enum run_verdict whole_all(struct runner *r, const struct step *s,
                                  struct given *given, uint32_t base)
{
    struct weir_out out;
    given_collect(given, &out, s->n, base);
    for (uint32_t i = 0; i < s->n && r->verdict == RUN_HOLDS; i++)
        whole(r, s, s->s + i, &out, i);
    return given->no_memory ? no_memory(r) : r->verdict;
}

static enum run_verdict merge(struct runner *r, const struct step *s)
{
    const struct weir_window *window[PLAN_STATES];
    void *into[PLAN_STATES];
    const void *from[PLAN_STATES];
    struct host *h = host_of(r, s->s);
    size_t size = r->a->state_size;
    char *before = malloc(s->n * size);
    if (!before)
        return no_memory(r);
    for (uint32_t i = 0; i < s->n; i++) {
        window[i] = run_window(true);
        into[i] = run_state(r, s->s + i);
        from[i] = run_state(r, s->t + i);
        memcpy(before + i * size, from[i], size);
    }
    begin(r, "merge");
    done(r, h, r->a->merge(&h->ctx, s->n, window, into, from));
    for (uint32_t i = 0; r->verdict == RUN_HOLDS && i < s->n; i++)
        if (memcmp(before + i * size, from[i], size) != 0)
            run_broken(r,
                       "merge changed the state that it was to fold into another one");
    free(before);
    for (uint32_t i = 0; r->verdict == RUN_HOLDS && i < s->n; i++)
        drop(r, s->t + i);
    return r->verdict;
}

static enum run_verdict emit(struct runner *r, const struct step *s,
                             struct given *given, uint32_t base)
{
    const struct weir_window *window[PLAN_STATES];
    const void *state[PLAN_STATES];
    struct host *h = host_of(r, s->s);
    struct weir_out out;
    char *before = malloc(s->n * r->a->state_size);
    if (!before)
        return no_memory(r);
    for (uint32_t i = 0; i < s->n; i++) {
        window[i] = run_window(s->early);
        state[i] = run_state(r, s->s + i);
        memcpy(before + i * r->a->state_size, state[i], r->a->state_size);
    }
    given_collect(given, &out, s->n, base);
    begin(r, "emit");
    int result = r->a->emit(&h->ctx, s->n, window, state, &out);
    if (result == 0 && out.put)
        host_done_emit(h, &out, "emit", result);
    done(r, h, result);
    for (uint32_t i = 0; r->verdict == RUN_HOLDS && i < s->n; i++)
        if (memcmp(before + i * r->a->state_size, state[i], r->a->state_size) != 0)
            run_broken(r, "emit changed a state");
    free(before);
    return given->no_memory ? no_memory(r) : r->verdict;
}

/* To another place, as it is in a process that starts with what another one has stored. */
static enum run_verdict reload(struct runner *r, uint32_t state)
{
    struct host *h = host_of(r, state);
    uint32_t old = r->slot[state];
    struct buffer bytes = {0};
    struct fence g = {0};
    if (host_can_save(h) < 0)
        return run_broken(r, "%s", h->error.text);
    if (r->a->save) {
        struct weir_out out = {.bytes = &bytes};
        begin(r, "save");
        if (done(r, h, r->a->save(&h->ctx, run_state(r, state), &out)) != RUN_HOLDS)
            goto out;
    } else {
        buffer_put(&bytes, run_state(r, state), r->a->state_size);
    }
    if (bytes.error || !fence_new(&g, bytes.size)) {
        no_memory(r);
        goto out;
    }
    if (bytes.size)
        memcpy(g.data, bytes.data, bytes.size);
    fence_protect(&g, true);
    if (drop(r, state) != RUN_HOLDS)
        goto out;
    memset(run_state(r, state), 0x5a, r->a->state_size);
    r->slot[state] = r->slot[PLAN_STATES];
    r->slot[PLAN_STATES] = old;
    if (make_state(r, state, r->second[state]) != RUN_HOLDS)
        goto out;
    if (r->a->save) {
        begin(r, "load");
        done(r, h,
             r->a->load(&h->ctx, run_state(r, state), r->a->state_version, g.data,
                        bytes.size));
    } else {
        memcpy(run_state(r, state), g.data, bytes.size);
    }
out:
    buffer_free(&bytes);
    fence_free(&g);
    return r->verdict;
}

enum run_verdict run_step(struct runner *r, const struct step *s, const struct frame *f,
                          struct given *given)
{
    if (r->a->whole && s->kind >= STEP_EMIT) {
        if (s->kind == STEP_EMIT)
            given_clear(given);
        return whole_all(r, s, given, s->kind == STEP_EMIT ? 0 : s->s);
    }
    if (r->a->whole && (s->kind == STEP_FOLD || s->kind == STEP_DEAL))
        return keep_rows(r, s);
    switch (s->kind) {
    case STEP_NEW:
        return make_state(r, s->s, s->other);
    case STEP_FOLD:
    case STEP_DEAL:
    case STEP_RETRACT:
        return fold(r, s, f);
    case STEP_MERGE:
        return merge(r, s);
    case STEP_RELOAD:
        return reload(r, s->s);
    case STEP_EMIT:
        given_clear(given);
        return emit(r, s, given, 0);
    case STEP_GIVE:
        return emit(r, s, given, s->s);
    }
    return r->verdict;
}

enum run_verdict run_way(struct runner *r, const struct way *way, const struct frame *f,
                         struct given *given)
{
    for (size_t i = 0; i < way->n && r->verdict == RUN_HOLDS; i++)
        run_step(r, &way->step[i], f, given);
    return r->verdict;
}

/* ---- Laws -------------------------------------------------------------------------------------- */

static enum run_verdict go(const struct binding *b, const struct way *way,
                           const struct rows *rows, uint64_t seed, bool twice,
                           struct given *given, struct run_report *report)
{
    struct runner r;
    struct frame f;
    given_begin(given, b);
    if (!frame_new(&f, rows, b->types, b->dictionary, way->layout, seed))
        return RUN_NO_MEMORY;
    bool opened = run_open(&r, b, rows, report, twice) == RUN_HOLDS;
    r.layout = way->layout;
    if (opened)
        run_way(&r, way, &f, given);
    enum run_verdict v = run_close(&r);
    frame_free(&f);
    return v;
}

static bool uses_two(const struct way *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->step[i].other)
            return true;
    return false;
}

enum run_verdict run_law(const struct binding *b, const struct law *law,
                         const struct rows *rows, bool compare, bool exact,
                         uint64_t seed, struct run_report *report)
{
    struct given one, other = {0};
    struct plan plan;
    report->said[0] = report->one[0] = report->other[0] = 0;
    if (!plan_make(&plan, law, rows->n, seed))
        return RUN_NO_MEMORY;
    enum run_verdict v = go(b, &plan.one, rows, seed, false, &one, report);
    if (v == RUN_HOLDS)
        v = go(b, &plan.other, rows, seed, uses_two(&plan.other), &other, report);
    if (v == RUN_HOLDS && compare &&
        !given_equal(&one, &other, law->rounded && !exact)) {
        v = RUN_BROKEN;
        snprintf(report->said, sizeof(report->said), "the results differ");
        given_text(&one, report->one, sizeof(report->one));
        given_text(&other, report->other, sizeof(report->other));
    }
    given_free(&one);
    given_free(&other);
    plan_free(&plan);
    return v;
}
