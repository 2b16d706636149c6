/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/remote_child.h"

#include "apart/limits.h"
#include "apart/process.h"
#include "base/clock.h"
#include "base/logger.h"
#include "base/reserve.h"
#include "batch/batch.h"
#include "batch/keys.h"
#include "batch/shared.h"
#include "pipeline/analyze.h"
#include "pipeline/kept.h"
#include "pipeline/remote_form.h"
#include "plugin/binding_form.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHED   ((size_t)512 << 10) /* bytes of states that need not be fetched ahead */
#define PREFETCH 512u                /* bytes of one that are, at most */

static_assert(REMOTE_CLEAR_MAX <= ANALYZE_GROUPS, "slots have room");

/* A string of a result, until its row has gone. */
struct text {
    struct text *next;
    char bytes[];
};

struct child {
    struct apart_here here;
    struct host host;
    const struct weir_analyzer *analyzer;
    struct binding *binding;
    char *pipeline;
    bool whole;
    struct kept_form kept;
    struct kept_view *view;
    struct reserve states;
    size_t stride;

    /* The entry at hand. */
    struct weir_column time, column[BINDING_INPUTS_MAX];
    const struct weir_column *in[BINDING_INPUTS_MAX];
    uint32_t n_rows;
    uint32_t row[BATCH_BLOCK], slot[BATCH_BLOCK];

    /* Groups of a call. */
    uint32_t group[ANALYZE_GROUPS], from[ANALYZE_GROUPS];
    const struct weir_window *window[ANALYZE_GROUPS];
    union host_window windows[ANALYZE_GROUPS];
    char *bytes; /* of windows and their keys, as they came */
    size_t bytes_room;
    void *into[ANALYZE_GROUPS];
    const void *other[ANALYZE_GROUPS];

    /* What emit gives. */
    struct remote_given *answer; /* and behind it */
    struct weir_cell *cell;
    struct text *texts;
    uint32_t given; /* group whose cells wait to be sent; UINT32_MAX: none */

    bool trying;       /* behind TRY: */
    uint64_t steps;    /* commands that were begun with */
    char failure[512]; /* the first one, for the next emit; "": none */
};

/* ---- What comes --------------------------------------------------------------------------------- */

static _Noreturn void give_up(struct child *c)
{
    apart_give_up(&c->here, c->host.error.text);
}

static _Noreturn void fail(struct child *c, const char *why)
{
    apart_give_up(&c->here, why);
}

static void over(void *child)
{
    struct child *c = child;
    host_close(&c->host);
}

static void take(struct child *c, void *to, size_t size)
{
    apart_take(&c->here, to, size, over, c);
}

/* Plugins do not come here, so what is wrong here is wrong with us: it is said, and the pipeline stops. */
static void check(struct child *c, int r)
{
    if ((r == -EINVAL || c->host.failed) && c->trying) {
        if (!c->failure[0])
            snprintf(c->failure, sizeof(c->failure), "%s", c->host.error.text);
        c->host.failed = false;
        c->host.error = (struct error){0};
        return;
    }
    if (r == -EINVAL || c->host.failed)
        give_up(c);
    if (r < 0)
        fail(c, strerror(-r));
}

static void begin_call(struct child *c, enum remote_call call)
{
    atomic_store_explicit(&c->here.shared->call, call, memory_order_release);
    host_lock(&c->host);
}

static void end_call(struct child *c, int r)
{
    host_unlock(&c->host);
    host_tell_memory(&c->host);
    atomic_store_explicit(&c->here.shared->call, 0, memory_order_release);
    check(c, r);
}

/* Groups of a call: at most ANALYZE_GROUPS. */
static void take_slots(struct child *c, uint32_t *slot, uint32_t n)
{
    if (n > ANALYZE_GROUPS)
        fail(c, "more groups in a call than there can be");
    take(c, slot, n * sizeof(*slot));
}

/* One window, at an offset that is a multiple of 8. Returns where the next one begins. */
static uint64_t read_window(struct child *c, uint32_t i, uint64_t at, uint64_t size)
{
    const struct remote_window *head = (const void *)(c->bytes + at);
    if (at > size || size - at < sizeof(*head) ||
        (size - at - sizeof(*head)) / sizeof(struct weir_cell) < head->n_keys)
        fail(c, "a window that there cannot be");
    struct weir_cell *key = (void *)(c->bytes + at + sizeof(*head));
    at += sizeof(*head) + head->n_keys * sizeof(*key);
    for (uint32_t k = 0; k < head->n_keys; k++) {
        if (key[k].type != WEIR_STRING)
            continue;
        if (size - at < key[k].size)
            fail(c, "a key that there cannot be");
        key[k].as.s = c->bytes + at;
        at += key[k].size;
    }
    c->windows[i].window = (struct weir_window){.size = sizeof(struct weir_window),
                                                .start = head->start,
                                                .end = head->end,
                                                .flags = head->flags,
                                                .n_keys = head->n_keys,
                                                .key = key};
    c->window[i] = &c->windows[i].window;
    return (at + 7) & ~(uint64_t)7;
}

static void take_windows(struct child *c, uint32_t n)
{
    uint64_t size, at = 0;
    take(c, &size, sizeof(size));
    if (size > (uint64_t)n * REMOTE_WINDOW_MAX || size % 8)
        fail(c, "windows that there cannot be");
    if (size > c->bytes_room) {
        free(c->bytes);
        c->bytes = malloc(size);
        if (!c->bytes)
            fail(c, "no memory");
        c->bytes_room = size;
    }
    take(c, c->bytes, size);
    for (uint32_t i = 0; i < n; i++)
        at = read_window(c, i, at, size);
}

/* ---- States --------------------------------------------------------------------------------------- */

static char *state_of(struct child *c, uint32_t slot)
{
    size_t end = ((size_t)slot + 1) * c->stride;
    if (end > c->states.most)
        fail(c, "a group that there cannot be");
    if (end > c->states.usable && reserve_grow(&c->states, end))
        fail(c, "no memory for states (memory)");
    return c->states.base + (size_t)slot * c->stride;
}

/* Nobody has looked at most of them for a while: they are fetched while something else is done. Inline: gcc takes calls of a
 * function that only fetches for calls of no effect, and out. */
static inline __attribute__((always_inline)) void
prefetch_states(const struct child *c, const uint32_t *slot, uint32_t n)
{
    if (c->states.usable <= CACHED)
        return;
    for (uint32_t i = 0; i < n; i++) {
        const char *state = c->states.base + (size_t)slot[i] * c->stride;
        for (size_t at = 0; at < c->stride && at < PREFETCH; at += 64)
            __builtin_prefetch(state + at);
    }
}

static struct kept *kept_of(void *state)
{
    return state;
}

static void do_init(struct child *c, const struct remote_head *h)
{
    char *state = state_of(c, h->n);
    memset(state, 0, c->stride);
    take_windows(c, 1);
    begin_call(c, REMOTE_INIT);
    end_call(c, host_done(&c->host, "init",
                          c->analyzer->init(&c->host.ctx, c->window[0], state)));
}

static void do_clear(struct child *c, const struct remote_head *h)
{
    if (h->n > REMOTE_CLEAR_MAX)
        fail(c, "more groups in a call than there can be");
    take(c, c->group, h->n * sizeof(c->group[0]));
    for (uint32_t i = 0; i < h->n; i++)
        memset(state_of(c, c->group[i]), 0, c->stride);
}

static void do_drop(struct child *c, const struct remote_head *h)
{
    char *state = state_of(c, h->n);
    if (c->whole)
        kept_drop(&c->kept, &c->host, kept_of(state));
    if (!c->analyzer->drop)
        return;
    begin_call(c, REMOTE_DROP);
    c->analyzer->drop(&c->host.ctx, state);
    end_call(c, 0);
}

static void put_saved(struct child *c, const void *bytes, uint64_t size)
{
    apart_answer(&c->here, &size, sizeof(size));
    apart_answer(&c->here, bytes, size);
}

static void do_save(struct child *c, const struct remote_head *h)
{
    struct buffer b = {0};
    check(c, host_can_save(&c->host));
    for (uint32_t i = 0; i < h->n; i++) {
        uint32_t slot;
        take(c, &slot, sizeof(slot));
        char *state = state_of(c, slot);
        if (!c->whole && !c->analyzer->save) {
            put_saved(c, state, c->analyzer->state_size);
            continue;
        }
        struct weir_out out = {.bytes = &b};
        buffer_clear(&b);
        if (c->whole) {
            kept_save(&c->kept, kept_of(state), &b);
        } else {
            begin_call(c, REMOTE_SAVE);
            end_call(c, host_done(&c->host, "save",
                                  c->analyzer->save(&c->host.ctx, state, &out)));
        }
        check(c, b.error);
        put_saved(c, b.data, b.size);
    }
    buffer_free(&b);
    apart_answer_send(&c->here);
}

static void do_load(struct child *c, const struct remote_head *h)
{
    uint32_t version;
    char *state = state_of(c, h->n), *bytes = malloc(h->value + 1);
    if (!bytes)
        fail(c, "no memory for a stored state");
    take(c, &version, sizeof(version));
    take(c, bytes, h->value);
    if (c->whole) {
        check(c, kept_load(&c->kept, &c->host, kept_of(state), bytes, h->value));
    } else if (!c->analyzer->load) {
        if (h->value == c->analyzer->state_size)
            memcpy(state, bytes, h->value);
    } else {
        begin_call(c, REMOTE_LOAD);
        end_call(c, host_done(&c->host, "load",
                              c->analyzer->load(&c->host.ctx, state, version, bytes,
                                                h->value)));
    }
    free(bytes);
}

/* ---- Rows ----------------------------------------------------------------------------------------- */

static void take_column(struct child *c, struct weir_column *to, bool *ret_given)
{
    struct shared_column from;
    take(c, &from, sizeof(from));
    *ret_given = from.type != 0;
    if (from.type &&
        shared_read_column(&from, c->n_rows, c->here.arena, c->here.arena_size, to) < 0)
        fail(c, "a column that is not in the arena");
}

static void do_batch(struct child *c, const struct remote_head *h)
{
    struct apart_shared *s = c->here.shared;
    uint64_t rows;
    int64_t put_us;
    bool given;
    atomic_store(&s->done, h->value - 1);
    take(c, &rows, sizeof(rows));
    take(c, &put_us, sizeof(put_us));
    atomic_fetch_add_explicit(&s->begun, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->waited_us, (uint64_t)(clock_monotonic_us() - put_us),
                              memory_order_relaxed);
    if (rows > BATCH_ROWS_MAX || h->n != c->binding->n_inputs)
        fail(c, "a batch that there cannot be");
    c->n_rows = (uint32_t)rows;
    take_column(c, &c->time, &given);
    for (uint32_t i = 0; i < h->n; i++) {
        take_column(c, &c->column[i], &given);
        c->in[i] = given ? &c->column[i] : NULL;
    }
}

static void do_update(struct child *c, const struct remote_head *h)
{
    struct remote_run run;
    struct apart_shared *s = c->here.shared;
    uint32_t last = 0;
    if (h->n == 0 || h->n > BATCH_BLOCK)
        fail(c, "more rows in a call than there can be");
    take(c, &run, sizeof(run));
    take(c, c->slot, h->n * sizeof(c->slot[0]));
    if (!run.is_run)
        take(c, c->row, h->n * sizeof(c->row[0]));
    for (uint32_t i = 0; i < h->n; i++) {
        if (run.is_run)
            c->row[i] = run.first + i;
        last = c->slot[i] > last ? c->slot[i] : last;
    }
    if (c->row[h->n - 1] >= c->n_rows)
        fail(c, "a row that there cannot be");
    state_of(c, last);
    prefetch_states(c, c->slot, h->n);
    atomic_store_explicit(&s->first, h->value + c->row[0], memory_order_relaxed);
    atomic_store_explicit(&s->last, h->value + c->row[h->n - 1], memory_order_relaxed);
    union host_rows rows = {.room = {0}};
    rows.rows = (struct weir_rows){.size = sizeof(rows.rows),
                                   .n = h->n,
                                   .row = c->row,
                                   .group = c->slot,
                                   .states = c->states.base,
                                   .stride = c->stride,
                                   .time = c->time.values,
                                   .in = c->in,
                                   .sequence = h->value};
    uint64_t left_out = 0;
    int64_t begin_ns = clock_monotonic_ns();
    begin_call(c, REMOTE_UPDATE);
    int r = c->whole ? kept_add(&c->kept, &c->host, &rows.rows, &left_out)
                     : host_done(&c->host, "update",
                                 c->analyzer->update(&c->host.ctx, &rows.rows));
    end_call(c, r);
    atomic_fetch_add_explicit(&s->left_out, left_out, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->update_ns,
                              (uint64_t)(clock_monotonic_ns() - begin_ns),
                              memory_order_relaxed);
}

static void do_merge(struct child *c, const struct remote_head *h)
{
    uint64_t left_out = 0;
    int r = 0;
    take_slots(c, c->group, h->n);
    take_slots(c, c->from, h->n);
    take_windows(c, h->n);
    for (uint32_t i = 0; i < h->n; i++) {
        c->into[i] = state_of(c, c->group[i]);
        c->other[i] = state_of(c, c->from[i]);
    }
    begin_call(c, REMOTE_MERGE);
    for (uint32_t i = 0; c->whole && r == 0 && i < h->n; i++)
        r = kept_merge(&c->kept, &c->host, c->into[i], c->other[i], &left_out);
    if (!c->whole)
        r = host_done(
            &c->host, "merge",
            c->analyzer->merge(&c->host.ctx, h->n, c->window, c->into, c->other));
    end_call(c, r);
    atomic_fetch_add_explicit(&c->here.shared->left_out, left_out,
                              memory_order_relaxed);
}

/* ---- Results --------------------------------------------------------------------------------------- */

/* The next ones begin as nulls. */
static void clear_cells(struct child *c)
{
    memset(c->cell, 0, c->binding->n_outputs * sizeof(*c->cell));
    for (struct text *t = c->texts, *next; t; t = next) {
        next = t->next;
        free(t);
    }
    c->texts = NULL;
}

/* Cells to the server. */
static void send_cells(struct child *c, uint32_t what, uint32_t group)
{
    *c->answer = (struct remote_given){.what = what, .i = group};
    apart_answer(&c->here, c->answer,
                 sizeof(*c->answer) + c->binding->n_outputs * sizeof(*c->cell));
    for (size_t i = 0; i < c->binding->n_outputs; i++)
        if (c->cell[i].type == WEIR_STRING)
            apart_answer(&c->here, c->cell[i].as.s, c->cell[i].size);
    clear_cells(c);
}

static struct weir_cell *give_group(void *child, size_t i)
{
    struct child *c = child;
    const struct remote_given given = {.what = REMOTE_GROUP, .i = (uint32_t)i};
    if (c->given != UINT32_MAX)
        send_cells(c, REMOTE_GROUP, c->given);
    c->given = UINT32_MAX;
    if (c->host.many)
        apart_answer(&c->here, &given, sizeof(given));
    else
        c->given = (uint32_t)i;
    return c->cell;
}

static int give_row(void *child, struct weir_cell *cells)
{
    (void)cells; /* ours */
    send_cells(child, REMOTE_ROW, 0);
    return 0;
}

static const char *give_text(void *child, const char *bytes, size_t size)
{
    struct child *c = child;
    struct text *t = malloc(sizeof(*t) + size);
    if (!t)
        return NULL;
    memcpy(t->bytes, bytes, size);
    t->next = c->texts;
    c->texts = t;
    return t->bytes;
}

static int emit_whole(struct child *c, uint32_t n, struct weir_out *out)
{
    int r = 0;
    if (!c->view && !(c->view = calloc(1, sizeof(*c->view))))
        return -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < n; i++) {
        r = kept_view_begin(&c->kept, &c->host, c->other[i], c->view);
        if (r == 0)
            r = host_begin_group(&c->host, out, i);
        if (r == 0)
            r = host_done_emit(&c->host, out, "whole",
                               c->analyzer->whole(&c->host.ctx, c->window[i],
                                                  &c->view->rows.rows, out));
        kept_view_end(&c->kept, &c->host, c->view);
    }
    return r;
}

static void call_emit(struct child *c, uint32_t n)
{
    struct weir_out out = {
        .group = give_group, .row = give_row, .keep = give_text, .ctx = c, .n = n};
    c->given = UINT32_MAX;
    begin_call(c, REMOTE_EMIT);
    int r = c->whole ? emit_whole(c, n, &out)
                     : host_done_emit(&c->host, &out, "emit",
                                      c->analyzer->emit(&c->host.ctx, n, c->window,
                                                        c->other, &out));
    end_call(c, r);
    if (c->failure[0])
        clear_cells(c);
    else if (c->given != UINT32_MAX)
        send_cells(c, REMOTE_GROUP, c->given);
}

static void do_emit(struct child *c, const struct remote_head *h)
{
    struct remote_given end = {.what = REMOTE_END};
    take_slots(c, c->group, h->n);
    prefetch_states(c, c->group, h->n);
    take_windows(c, h->n);
    for (uint32_t i = 0; i < h->n; i++)
        c->other[i] = state_of(c, c->group[i]);
    if (!c->failure[0])
        call_emit(c, h->n);
    if (c->failure[0])
        end = (struct remote_given){REMOTE_FAILED, (uint32_t)strlen(c->failure)};
    apart_answer(&c->here, &end, sizeof(end));
    apart_answer(&c->here, c->failure, end.i);
    apart_answer_send(&c->here);
    c->failure[0] = 0;
}

static void do_try(struct child *c, const struct remote_head *h)
{
    c->trying = h->n;
    c->failure[0] = 0;
}

/* ---- Life ------------------------------------------------------------------------------------------ */

/* The plugin as the server has it. */
static void load_plugin(struct child *c, const struct remote_open *o, const char *name,
                        const char *folder, const char *form)
{
    struct error error = {0};
    struct plugins *plugins;
    struct plugin *plugin;
    char *folders[] = {(char *)(uintptr_t)folder, NULL};
    unsetenv("WEIR_PLUGIN_PATH");
    int r = plugins_new(folders, &plugins);
    check(c, r);
    if (plugins_get(plugins, name, &plugin, &error) < 0)
        fail(c, error.text);
    if (binding_form_plugin(plugin) != o->plugin)
        fail(c, "its file is another one than the server has loaded: start the server "
                "again");
    check(c, binding_form_take(plugin, form, o->binding, &c->binding));
    c->analyzer = &plugin->analyzer;
    c->whole = plugin->analyzer.flags & WEIR_WHOLE;
}

static void open_plugin(struct child *c)
{
    struct error error = {0};
    struct apart_shared *s = c->here.shared;
    atomic_store_explicit(&s->call, REMOTE_OPEN, memory_order_release);
    int r =
        host_open(&c->host, c->binding, c->pipeline, &s->memory, s->skipped, &error);
    atomic_store_explicit(&s->call, 0, memory_order_release);
    if (r < 0)
        fail(c, c->host.error.text[0] ? c->host.error.text : error.text);
    c->answer =
        calloc(1, sizeof(*c->answer) + (c->binding->n_outputs + 1) * sizeof(*c->cell));
    if (!c->answer)
        fail(c, "no memory");
    c->cell = (struct weir_cell *)(c->answer + 1);
}

static char *take_text(struct child *c, size_t size)
{
    char *text = calloc(1, size + 1);
    if (!text)
        fail(c, "no memory");
    take(c, text, size);
    return text;
}

static void answer_open(struct child *c)
{
    struct buffer b = {0};
    binding_form_put_opened(c->binding, &b);
    check(c, b.error);
    put_saved(c, b.data, b.size);
    buffer_free(&b);
    apart_answer_send(&c->here);
}

static void do_open(struct child *c, const struct remote_head *h)
{
    struct remote_open o;
    take(c, &o, sizeof(o));
    if (h->n != sizeof(o) + o.name + o.folder + o.pipeline + o.binding ||
        h->n > REMOTE_OPEN_MAX || o.binding == 0 || c->binding)
        fail(c, "no analyzer that there can be");
    logger_setup((enum logger_level)o.log_least, o.log_json != 0);
    logger_shard(getenv("WEIR_SHARD")); /* as the server does */
    char *name = take_text(c, o.name), *folder = take_text(c, o.folder);
    c->pipeline = take_text(c, o.pipeline);
    char *form = take_text(c, o.binding);
    load_plugin(c, &o, name, folder, form);
    open_plugin(c);
    if (c->whole)
        check(c, kept_form_new(c->binding, o.rows_max, o.bytes_max, &c->kept));
    c->kept.by_columns = o.by_columns;
    c->stride = o.stride;
    if (reserve_init(&c->states, o.max_slots * c->stride))
        fail(c, "no addresses for states");
    free(name);
    free(folder);
    free(form);
    if (limits_close(o.memory)) {
        char text[128];
        snprintf(text, sizeof(text), "its process cannot be limited: %s",
                 strerror(errno));
        fail(c, text);
    }
    answer_open(c);
}

static void do_done(struct child *c, const struct remote_head *h)
{
    atomic_store(&c->here.shared->done, h->value);
}

static void (*const calls[REMOTE_CALLS])(struct child *, const struct remote_head *) = {
    [REMOTE_OPEN] = do_open,   [REMOTE_BATCH] = do_batch, [REMOTE_DONE] = do_done,
    [REMOTE_INIT] = do_init,   [REMOTE_DROP] = do_drop,   [REMOTE_UPDATE] = do_update,
    [REMOTE_MERGE] = do_merge, [REMOTE_EMIT] = do_emit,   [REMOTE_SAVE] = do_save,
    [REMOTE_LOAD] = do_load,   [REMOTE_TRY] = do_try,     [REMOTE_CLEAR] = do_clear};

int remote_child(int argc, char **argv)
{
    static struct child child;
    struct child *c = &child;
    if (apart_attach(argc, argv, &c->here)) {
        fputs("weir: a process for an analyzer is started by the server only\n",
              stderr);
        return EXIT_FAILURE;
    }
    while (true) {
        struct remote_head head;
        take(c, &head, sizeof(head));
        atomic_store(&c->here.shared->steps, ++c->steps);
        if (head.call == 0 || head.call >= REMOTE_CALLS ||
            (head.call != REMOTE_OPEN && !c->binding))
            fail(c, "a command that there is not");
        calls[head.call](c, &head);
    }
}
