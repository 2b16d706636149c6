/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/remote.h"

#include "apart/process.h"
#include "base/clock.h"
#include "base/logger.h"
#include "base/utf8.h"
#include "batch/shared.h"
#include "pipeline/remote_form.h"
#include "pipeline/worker.h"
#include "plugin/binding_form.h"
#include "plugin/outputs.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPEN_US                                                                        \
    (10 * SECOND_US) /* at least: a program is started, libraries are loaded */

static_assert(APART_REASONS >= PLUGIN_REASONS_MAX, "each reason has its figure");

/* An entry whose columns the process may still look at. */
struct held {
    struct log_entry *entry;
    uint64_t number;
};

struct remote {
    struct apart *apart;
    const struct worker *worker;
    struct step *step;
    struct host *host;
    uint64_t entries;  /* numbers given */
    bool open;         /* of the last one rows may come */
    struct held *held; /* the oldest first */
    size_t n_held, held_room;
    uint32_t clear[REMOTE_CLEAR_MAX]; /* slots, not written down yet */
    size_t n_clear;
    bool abandoned;
    bool trying, told; /* of a failure, which is not for good */
    size_t asked;      /* answers that come before that of the next call */
    bool crashed;
    struct remote_crash crash;
    /* Figures of the process, as they were counted here. */
    uint64_t memory, skipped[PLUGIN_REASONS_MAX], left_out, update_ns, cpu_ns, begun,
        waited_us;
};

static const char *const call_name[REMOTE_CALLS] = {
    [REMOTE_OPEN] = "open",     [REMOTE_INIT] = "init",   [REMOTE_DROP] = "drop",
    [REMOTE_UPDATE] = "update", [REMOTE_MERGE] = "merge", [REMOTE_EMIT] = "emit",
    [REMOTE_SAVE] = "save",     [REMOTE_LOAD] = "load"};

/* ---- Figures ------------------------------------------------------------------------------------ */

static uint64_t more(_Atomic uint64_t *now, uint64_t *seen)
{
    uint64_t value = atomic_load_explicit(now, memory_order_relaxed);
    uint64_t grown = value - *seen;
    *seen = value;
    return grown;
}

static void count(struct remote *r)
{
    struct apart_shared *s = r->apart->shared;
    uint64_t memory = more(&s->memory, &r->memory);
    if (r->host->total)
        atomic_fetch_add_explicit(r->host->total, memory, memory_order_relaxed);
    metric_add(&r->step->ns, more(&s->update_ns, &r->update_ns));
    metric_add(&r->step->cpu_ns, more(&s->cpu_ns, &r->cpu_ns));
    metric_add(&r->step->entries, more(&s->begun, &r->begun));
    metric_add(&r->step->waited_us, more(&s->waited_us, &r->waited_us));
    for (size_t i = 0; i < r->step->binding->plugin->n_reasons; i++)
        metric_add(&r->step->skipped[i], more(&s->skipped[i], &r->skipped[i]));
}

/* ---- What went wrong ------------------------------------------------------------------------------ */

/* Its process has ended: by itself, with what the plugin said, or otherwise. */
static void note_end(struct remote *r)
{
    struct apart_shared *s = r->apart->shared;
    char *text = r->host->error.text, how[128], where[96] = "";
    const size_t room = sizeof(r->host->error.text);
    if (r->host->failed)
        return;
    r->host->failed = true;
    if (atomic_load_explicit(&s->gave_up, memory_order_acquire)) {
        s->why[sizeof(s->why) - 1] = 0;
        snprintf(text, room, "%.*s", (int)sizeof(s->why) - 1, s->why);
        return;
    }
    r->crashed = true;
    r->crash = (struct remote_crash){.call = atomic_load(&s->call)};
    if (r->crash.call >= REMOTE_CALLS || !call_name[r->crash.call])
        r->crash.call = 0;
    if (r->crash.call == REMOTE_UPDATE) {
        r->crash.first = atomic_load(&s->first);
        r->crash.last = atomic_load(&s->last);
        /* It may have written over them: no more is left out than one call can have had. */
        r->crash.rows = r->crash.first <= r->crash.last &&
                        r->crash.last - r->crash.first < BATCH_ROWS_MAX;
    }
    if (r->crash.rows) {
        bool derived = r->worker && r->worker->pipeline->parent;
        snprintf(where, sizeof(where), derived ? ", at row %llu" : ", at entry %llu",
                 (unsigned long long)(r->crash.first >> (derived ? 0 : 16)));
    }
    atomic_store_explicit(&r->step->ended, r->crash.call ? r->crash.call : REMOTE_OPEN,
                          memory_order_relaxed);
    apart_say_end(r->apart, how, sizeof(how));
    snprintf(text, room, "its process %s%s%s%s", how, r->crash.call ? ", in " : "",
             r->crash.call ? call_name[r->crash.call] : "", where);
}

static int result(struct remote *r, int err)
{
    if (err == -ECHILD) {
        note_end(r);
        return -EINVAL;
    }
    return err;
}

/* Answers that nobody reads would be taken for others: it is of no use, whatever is forgiven. */
static void abandon(struct remote *r)
{
    r->abandoned = true;
    if (!r->host->failed)
        snprintf(r->host->error.text, sizeof(r->host->error.text),
                 "what its process gives could not be taken");
    r->host->failed = true;
}

static bool is_usable(struct remote *r)
{
    if (r->abandoned)
        abandon(r);
    return !r->host->failed || r->told;
}

/* What it says cannot be. */
static int nonsense(struct remote *r)
{
    if (!r->host->failed)
        snprintf(r->host->error.text, sizeof(r->host->error.text),
                 "its process talks nonsense");
    r->host->failed = true;
    return -EINVAL;
}

/* ---- Commands -------------------------------------------------------------------------------------- */

static int put(struct remote *r, const void *bytes, size_t size)
{
    return is_usable(r) ? result(r, apart_put(r->apart, bytes, size)) : -EINVAL;
}

/* States begin before whatever is done with them. */
static int put_clear(struct remote *r)
{
    const struct remote_head head = {.call = REMOTE_CLEAR, .n = (uint32_t)r->n_clear};
    int err = put(r, &head, sizeof(head));
    if (!err)
        err = put(r, r->clear, r->n_clear * sizeof(r->clear[0]));
    r->n_clear = 0;
    return err;
}

static int put_head(struct remote *r, enum remote_call call, size_t n, uint64_t value)
{
    const struct remote_head head = {.call = call, .n = (uint32_t)n, .value = value};
    int err = r->n_clear ? put_clear(r) : 0;
    return err ? err : put(r, &head, sizeof(head));
}

static int send_some(struct remote *r, bool now)
{
    return is_usable(r) ? result(r, apart_send(r->apart, now)) : -EINVAL;
}

static int get(struct remote *r, void *to, size_t size)
{
    return is_usable(r) ? result(r, apart_get(r->apart, to, size)) : -EINVAL;
}

/* Into at most REMOTE_KEY_MAX bytes; how many. */
static size_t form_window(const struct weir_window *w, char *to)
{
    const struct remote_window head = {
        .start = w->start, .end = w->end, .flags = w->flags, .n_keys = w->n_keys};
    size_t at = sizeof(head) + w->n_keys * sizeof(*w->key);
    memcpy(to, &head, sizeof(head));
    if (w->n_keys)
        memcpy(to + sizeof(head), w->key, w->n_keys * sizeof(*w->key));
    for (uint32_t i = 0; i < w->n_keys; i++) {
        if (w->key[i].type != WEIR_STRING)
            continue;
        memcpy(to + at, w->key[i].as.s, w->key[i].size);
        at += w->key[i].size;
    }
    return (at + 7) & ~(size_t)7;
}
static_assert(sizeof(struct remote_window) +
                      SCHEMA_COLUMNS_MAX * sizeof(struct weir_cell) + KEY_BYTES_MAX +
                      8 <=
                  REMOTE_WINDOW_MAX,
              "a window with its key has room");

static uint64_t size_of_windows(const struct weir_window *const *w, size_t n)
{
    uint64_t all = 0;
    for (size_t i = 0; i < n; i++) {
        size_t size = sizeof(struct remote_window) + w[i]->n_keys * sizeof(*w[i]->key);
        for (uint32_t k = 0; k < w[i]->n_keys; k++)
            size += w[i]->key[k].type == WEIR_STRING ? w[i]->key[k].size : 0;
        all += (size + 7) & ~(size_t)7;
    }
    return all;
}

/* Several in one piece. */
static int put_windows(struct remote *r, const struct weir_window *const *w, size_t n)
{
    char bytes[2 * REMOTE_WINDOW_MAX];
    size_t at = 0;
    const uint64_t size = size_of_windows(w, n);
    int err = put(r, &size, sizeof(size));
    for (size_t i = 0; !err && i < n; i++) {
        at += form_window(w[i], bytes + at);
        if (i + 1 < n && at <= REMOTE_WINDOW_MAX)
            continue;
        err = put(r, bytes, at);
        at = 0;
    }
    return err;
}

/* ---- Entries ----------------------------------------------------------------------------------------- */

/* Those that the process does not look at any more. */
static void release(struct remote *r, uint64_t done)
{
    size_t n = 0;
    while (n < r->n_held && r->held[n].number <= done)
        log_entry_unref(r->held[n++].entry);
    r->n_held -= n;
    if (n && r->n_held)
        memmove(r->held, r->held + n, r->n_held * sizeof(*r->held));
}

static int hold(struct remote *r, struct log_entry *e)
{
    release(r, atomic_load(&r->apart->shared->done));
    if (r->n_held == r->held_room) {
        size_t room = r->held_room ? 2 * r->held_room : 16;
        struct held *held = realloc(r->held, room * sizeof(*held));
        if (!held)
            return -ENOMEM;
        r->held = held;
        r->held_room = room;
    }
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    r->held[r->n_held++] = (struct held){.entry = e, .number = ++r->entries};
    r->open = true;
    return 0;
}

int remote_begin(struct remote *r, struct log_entry *e,
                 const struct weir_column *const *in)
{
    struct shared_column column[1 + BINDING_INPUTS_MAX];
    size_t n = r->step->binding->n_inputs;
    if (r->open)
        return 0;
    int err = hold(r, e);
    if (err)
        return err;
    shared_write_column(&e->batch->view[0], &column[0]);
    for (size_t i = 0; i < n; i++) {
        column[1 + i] = (struct shared_column){0};
        if (in[i])
            shared_write_column(in[i], &column[1 + i]);
    }
    const uint64_t rows = e->batch->n_rows;
    const int64_t now_us = clock_monotonic_us();
    err = put_head(r, REMOTE_BATCH, n, r->entries);
    if (!err)
        err = put(r, &rows, sizeof(rows));
    if (!err)
        err = put(r, &now_us, sizeof(now_us));
    return err ? err : put(r, column, (1 + n) * sizeof(column[0]));
}

/* Rows of one call. */
static int put_rows(struct remote *r, const struct weir_rows *rows, size_t first,
                    size_t n)
{
    const uint32_t *row = rows->row + first;
    const struct remote_run run = {.is_run = row[n - 1] - row[0] == n - 1,
                                   .first = row[0]};
    int err = put_head(r, REMOTE_UPDATE, n, rows->sequence);
    if (!err)
        err = put(r, &run, sizeof(run));
    if (!err)
        err = put(r, rows->group + first, n * sizeof(*rows->group));
    if (!err && !run.is_run)
        err = put(r, row, n * sizeof(*row));
    return err ? err : send_some(r, false);
}

/* Rows that have killed the process are set aside; those among which one does are handed over one by one. */
static int put_rows_with_care(struct remote *r, const struct weir_rows *rows)
{
    const struct aside *a = r->step->aside;
    int err = 0;
    for (size_t i = 0; !err && i < rows->n; i++) {
        uint64_t sequence = rows->sequence + rows->row[i];
        bool aside = false;
        for (size_t k = 0; k < r->step->n_aside; k++)
            aside = aside ||
                    (!a[k].suspect && sequence >= a[k].first && sequence <= a[k].last);
        if (aside)
            metric_add(&r->step->set_aside, 1);
        else
            err = put_rows(r, rows, i, 1);
    }
    return err;
}

int remote_update(struct remote *r, const struct weir_rows *rows)
{
    uint64_t first = rows->sequence + rows->row[0],
             last = rows->sequence + rows->row[rows->n - 1];
    for (size_t k = 0; k < r->step->n_aside; k++)
        if (last >= r->step->aside[k].first && first <= r->step->aside[k].last)
            return put_rows_with_care(r, rows);
    return put_rows(r, rows, 0, rows->n);
}

int remote_end(struct remote *r, uint64_t *ret_over)
{
    int err = r->open ? put_head(r, REMOTE_DONE, 0, r->entries) : 0;
    r->open = false;
    if (!err)
        err = send_some(r, false);
    if (!err && apart_has_ended(r->apart))
        err = result(r, -ECHILD);
    count(r);
    *ret_over = more(&r->apart->shared->left_out, &r->left_out);
    return err;
}

/* ---- States ------------------------------------------------------------------------------------------ */

int remote_init(struct remote *r, uint32_t slot, const struct weir_window *window)
{
    int err;
    if (!window) {
        r->clear[r->n_clear++] = slot;
        return r->n_clear < REMOTE_CLEAR_MAX ? 0 : put_clear(r);
    }
    err = put_head(r, REMOTE_INIT, slot, 0);
    if (!err)
        err = put_windows(r, &window, 1);
    return err ? err : send_some(r, false);
}

int remote_drop(struct remote *r, uint32_t slot)
{
    int err = put_head(r, REMOTE_DROP, slot, 0);
    return err ? err : send_some(r, false);
}

int remote_merge(struct remote *r, const struct analyze_groups *g, const uint32_t *from)
{
    int err = put_head(r, REMOTE_MERGE, g->n, 0);
    if (!err)
        err = put(r, g->slot, g->n * sizeof(*g->slot));
    if (!err)
        err = put(r, from, g->n * sizeof(*from));
    if (!err)
        err = put_windows(r, g->window, g->n);
    return err ? err : send_some(r, false);
}

int remote_save(struct remote *r, const uint32_t *slot, size_t n)
{
    int err = put_head(r, REMOTE_SAVE, n, 0);
    if (!err)
        err = put(r, slot, n * sizeof(*slot));
    return err ? err : send_some(r, true);
}

int remote_saved(struct remote *r, struct buffer *b)
{
    uint64_t size = 0;
    char bytes[4096];
    int err = get(r, &size, sizeof(size));
    if (!err && size > HOST_GIVEN_MAX)
        return nonsense(r);
    while (!err && size) {
        size_t n = size < sizeof(bytes) ? (size_t)size : sizeof(bytes);
        err = get(r, bytes, n);
        if (!err)
            buffer_put(b, bytes, n);
        if (!err && b->error)
            err = b->error;
        size -= n;
    }
    return err;
}

int remote_load(struct remote *r, uint32_t slot, uint32_t version, const char *bytes,
                size_t size)
{
    int err = put_head(r, REMOTE_LOAD, slot, size);
    if (!err)
        err = put(r, &version, sizeof(version));
    if (!err)
        err = put(r, bytes, size);
    return err ? err : send_some(r, false);
}

/* ---- Results ----------------------------------------------------------------------------------------- */

/* The bytes of a string cell. */
static int get_string(struct remote *r, struct weir_out *out, struct weir_cell *c)
{
    char few[256], *bytes = few;
    if (c->size > HOST_STRING_MAX || out->given + c->size > HOST_GIVEN_MAX)
        return nonsense(r);
    if (c->size > sizeof(few) && !(bytes = malloc(c->size)))
        return -ENOMEM;
    int err = get(r, bytes, c->size);
    for (size_t at = 0, n; !err && at < c->size; at += n)
        if ((n = utf8_length(bytes + at, c->size - at)) == 0)
            err = nonsense(r);
    if (!err)
        c->as.s = c->size ? out->keep(out->ctx, bytes, c->size) : "";
    out->given += c->size;
    if (bytes != few)
        free(bytes);
    return err || c->as.s ? err : -ENOMEM;
}

static int get_cells(struct remote *r, struct weir_out *out)
{
    const struct binding *b = r->step->binding;
    struct weir_cell cell[OUTPUTS_MAX];
    int err = get(r, cell, b->n_outputs * sizeof(cell[0]));
    for (size_t i = 0; !err && i < b->n_outputs; i++) {
        if (cell[i].type && cell[i].type != b->output[i].type)
            return nonsense(r);
        if (cell[i].type == WEIR_STRING)
            err = get_string(r, out, &cell[i]);
        if (!err)
            out->cell[i] = cell[i];
    }
    return err;
}

/* As host_done does; it goes on. */
static int get_failure(struct remote *r, size_t size)
{
    char *text = r->host->error.text;
    if (!r->trying || size >= sizeof(r->host->error.text))
        return nonsense(r);
    int err = get(r, text, size);
    text[size] = 0;
    r->told = !err;
    r->host->failed = true;
    return err ? err : -EINVAL;
}

static int get_results(struct remote *r, struct weir_out *out)
{
    struct host *h = r->host;
    struct remote_given given;
    int err;
    while ((err = get(r, &given, sizeof(given))) == 0 && given.what != REMOTE_END) {
        if (given.what == REMOTE_FAILED)
            return get_failure(r, given.i);
        if (given.what == REMOTE_GROUP)
            err = host_begin_group(h, out, given.i);
        else if (given.what != REMOTE_ROW || !h->many || !out->cell)
            err = nonsense(r);
        if (!err && (given.what == REMOTE_ROW || !h->many))
            err = get_cells(r, out);
        if (!err && given.what == REMOTE_ROW)
            err = host_done(h, "row", h->ctx.host->row(&h->ctx, out));
        if (err)
            return err;
    }
    return err;
}

static int put_emit(struct remote *r, const struct analyze_groups *g)
{
    int err = put_head(r, REMOTE_EMIT, g->n, 0);
    if (!err)
        err = put(r, g->slot, g->n * sizeof(*g->slot));
    return err ? err : put_windows(r, g->window, g->n);
}

int remote_emit(struct remote *r, const struct analyze_groups *g, struct weir_out *out)
{
    int err = 0;
    if (r->asked)
        r->asked--;
    else
        err = put_emit(r, g);
    if (!err)
        err = get_results(r, out);
    if (err && !r->told && !r->crashed) /* the rest of the answer is still there */
        abandon(r);
    return err;
}

void remote_try(struct remote *r, bool on)
{
    r->trying = on;
    if (!put_head(r, REMOTE_TRY, on, 0))
        send_some(r, false);
    r->told = false;
}

bool remote_ask(struct remote *r, const struct analyze_groups *g)
{
    size_t size = 2 * sizeof(struct remote_head) + sizeof(r->clear) +
                  g->n * sizeof(*g->slot) + sizeof(uint64_t) +
                  size_of_windows(g->window, g->n);
    if (!is_usable(r) || r->trying || !apart_has_room(r->apart, size) ||
        put_emit(r, g) || send_some(r, false)) /* what failed shows in the call */
        return false;
    r->asked++;
    return true;
}

void remote_wake(struct remote *r)
{
    send_some(r, true); /* what failed shows in the next call */
}

void remote_abandon(struct remote *r)
{
    if (r->asked)
        abandon(r);
}

/* ---- Life ---------------------------------------------------------------------------------------------- */

static bool leaves(void *worker)
{
    const struct worker *w = worker;
    return w && worker_leaves(w);
}

static void form_open(const struct remote *r, const char *pipeline, struct buffer *to)
{
    const struct step *s = r->step;
    const struct plugin *p = s->binding->plugin;
    const char *slash = strrchr(p->path, '/');
    struct buffer binding = {0};
    enum logger_level least;
    bool json;
    binding_form_put(s->binding, &binding);
    logger_look(&least, &json);
    struct remote_open o = {.plugin = binding_form_plugin(p),
                            .max_slots = r->worker ? r->worker->groups_room : 1,
                            .memory = s->config->memory,
                            .bytes_max = s->kept.bytes_max,
                            .by_columns = s->kept.by_columns,
                            .rows_max = s->kept.rows_max,
                            .stride = (uint32_t)step_stride(s),
                            .log_least = least,
                            .log_json = json,
                            .name = (uint32_t)strlen(p->analyzer.name),
                            .folder = (uint32_t)(slash ? slash - p->path : 0),
                            .pipeline = (uint32_t)strlen(pipeline),
                            .binding = (uint32_t)binding.size};
    buffer_put(to, &o, sizeof(o));
    buffer_put(to, p->analyzer.name, o.name);
    buffer_put(to, p->path, o.folder);
    buffer_put(to, pipeline, o.pipeline);
    buffer_put(to, binding.data, binding.size);
    if (binding.error)
        to->error = binding.error;
    buffer_free(&binding);
}

/* What open has made of the binding. */
static int get_opened(struct remote *r, struct error *error)
{
    uint64_t size = 0;
    int err = get(r, &size, sizeof(size));
    if (!err && size > REMOTE_OPEN_MAX)
        err = nonsense(r);
    char *bytes = err ? NULL : malloc(size + 1);
    if (!err && !bytes)
        err = -ENOMEM;
    if (!err)
        err = get(r, bytes, size);
    if (!err)
        err = binding_form_take_opened(r->step->binding, bytes, size, error);
    free(bytes);
    return err;
}

static int say_open(struct remote *r, const char *pipeline, struct error *error)
{
    struct buffer b = {0};
    form_open(r, pipeline, &b);
    int err = b.error ? b.error : put_head(r, REMOTE_OPEN, b.size, 0);
    if (!err)
        err = put(r, b.data, b.size);
    buffer_free(&b);
    if (!err)
        err = get_opened(r, error);
    if (err && !error->text[0])
        error_set(error, err, "analyzer '%s': %s",
                  r->step->binding->plugin->analyzer.name,
                  r->host->error.text[0] ? r->host->error.text : strerror(-err));
    return err;
}

int remote_open(const struct worker *w, struct step *step, const char *pipeline,
                struct host *h, struct remote **ret, struct error *error)
{
    const int64_t limit_us = step->config->limit_time_us;
    const struct apart_options options = {.program = step->config->program,
                                          .limit_us =
                                              limit_us < OPEN_US ? OPEN_US : limit_us,
                                          .leaves = leaves,
                                          .ctx = (void *)(uintptr_t)w};
    struct remote *r = calloc(1, sizeof(*r));
    if (!r)
        return error_set(error, -ENOMEM, "no memory");
    r->worker = w;
    r->step = step;
    r->host = h;
    int err = apart_start(&options, &r->apart, error);
    if (!err)
        err = say_open(r, pipeline, error);
    if (err) {
        remote_close(r);
        return err;
    }
    r->apart->options.limit_us = limit_us;
    *ret = r;
    return 0;
}

void remote_close(struct remote *r)
{
    if (!r)
        return;
    if (r->apart) {
        count(r);
        if (r->host->total)
            atomic_fetch_sub_explicit(r->host->total, r->memory, memory_order_relaxed);
    }
    apart_close(r->apart);
    release(r, UINT64_MAX);
    free(r->held);
    free(r);
}

bool remote_is_behind(struct remote *r)
{
    return !r->host->failed && apart_is_behind(r->apart);
}

bool remote_has_crashed(const struct remote *r, struct remote_crash *ret)
{
    if (r->crashed)
        *ret = r->crash;
    return r->crashed;
}

static void put_value(const struct weir_column *c, uint32_t row, struct buffer *b)
{
    size_t size;
    const char *text;
    char time[CLOCK_TEXT_MAX];
    if (weir_is_null(c, row)) {
        buffer_puts(b, "null");
        return;
    }
    switch (c->type) {
    case WEIR_FLOAT:
        buffer_put_json_double(b, weir_number(c, row));
        break;
    case WEIR_BOOL:
        buffer_puts(b, weir_bool(c, row) ? "true" : "false");
        break;
    case WEIR_STRING:
        text = weir_string(c, row, &size);
        buffer_put_json_string(b, text, size);
        break;
    case WEIR_TIME:
        size = clock_format(weir_int(c, row), time);
        buffer_put_json_string(b, time, size);
        break;
    default:
        buffer_printf(b, "%lld", (long long)weir_int(c, row));
    }
}

void remote_show_row(const struct remote *r, uint64_t sequence,
                     struct pipeline_crash *ret)
{
    struct buffer b = {0};
    for (size_t i = 0; i < r->n_held; i++) {
        const struct log_entry *e = r->held[i].entry;
        uint32_t row = 0, end = 0;
        uint64_t base = 0;
        for (bool found = false; !found && row < e->batch->n_rows;
             row = found ? row : end) {
            base = log_entry_sequence(e, row, &end);
            found = sequence >= base + row && sequence < base + end;
        }
        row = (uint32_t)(sequence - base);
        if (row >= end || base + row != sequence)
            continue;
        for (size_t k = 0; k < e->batch->schema->n; k++) {
            buffer_puts(&b, k ? "," : "{");
            buffer_put_json_string(&b, e->batch->schema->column[k].name,
                                   strlen(e->batch->schema->column[k].name));
            buffer_putc(&b, ':');
            put_value(&e->batch->view[k], row, &b);
        }
        buffer_putc(&b, '}');
        break;
    }
    if (!b.error && b.size) {
        ret->truncated = b.size > sizeof(ret->record);
        ret->record_size = ret->truncated ? sizeof(ret->record) : b.size;
        memcpy(ret->record, b.data, ret->record_size);
    }
    buffer_free(&b);
}

void remote_show(const struct remote *r, int64_t *ret_pid, uint64_t *ret_cpu_ns)
{
    *ret_pid = r->apart->pid;
    *ret_cpu_ns = atomic_load_explicit(&r->apart->shared->cpu_ns, memory_order_relaxed);
}
