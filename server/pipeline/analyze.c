/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/analyze.h"

#include "base/clock.h"
#include "base/logger.h"
#include "pipeline/parts.h"
#include "pipeline/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SENDER_BIT 56 /* places of rows in the logs of several servers differ */

static const struct weir_analyzer *analyzer_of(const struct worker *w, size_t step)
{
    return &w->pipeline->step[step].binding->plugin->analyzer;
}

/* ---- Windows and keys -------------------------------------------------------------------------- */

void analyze_key(const struct worker *w, const struct group_key *k,
                 struct weir_cell *key, char *bytes)
{
    const struct pipeline *p = w->pipeline;
    const char *at = k->bytes, *end = k->bytes + k->size;
    for (size_t i = 0; i < p->config->n_keys; i++) {
        enum weir_type type = p->schema->column[p->config->key[i]].type;
        keys_read(&at, end, type, i + 1 == p->config->n_keys, bytes, &key[i]);
        if (type == WEIR_STRING)
            bytes += key[i].size;
    }
}

static struct window window_at(const struct worker *w, uint32_t slot)
{
    const struct window_kind *kind = &w->pipeline->window;
    return window_is_by_key(kind) ? keyed_window(w, slot)
                                  : window_by_id(kind, w->groups.slot[slot].window);
}

/* The window of a group, with its key in `key`; strings go to `bytes`, which has room for all of the key. */
static void read_window(const struct worker *w, uint32_t slot,
                        const struct window *window, uint32_t flags,
                        union host_window *ret, struct weir_cell *key, char *bytes)
{
    const struct pipeline *p = w->pipeline;
    analyze_key(w, &w->groups.key[w->groups.slot[slot].key], key, bytes);
    memset(ret, 0, sizeof(*ret));
    ret->window = (struct weir_window){.size = sizeof(ret->window),
                                       .start = window->start_us,
                                       .end = window->end_us,
                                       .flags = flags,
                                       .n_keys = (uint32_t)p->config->n_keys,
                                       .key = key};
}

int analyze_groups_new(const struct worker *w, struct analyze_groups **ret)
{
    struct analyze_groups *g = calloc(1, sizeof(*g));
    if (!g)
        return -ENOMEM;
    g->key = calloc(ANALYZE_GROUPS * w->pipeline->config->n_keys + 1, sizeof(*g->key));
    for (size_t i = 0; i < ANALYZE_GROUPS; i++)
        g->window[i] = &g->windows[i].window;
    if (!g->key) {
        free(g);
        return -ENOMEM;
    }
    *ret = g;
    return 0;
}

void analyze_groups_free(struct analyze_groups *g)
{
    if (!g)
        return;
    free(g->key);
    free(g->bytes);
    free(g);
}

int analyze_groups_read(const struct worker *w, struct analyze_groups *g,
                        const uint32_t *slot, size_t n, uint32_t flags)
{
    const struct groups *groups = &w->groups;
    const bool by_key = window_is_by_key(&w->pipeline->window);
    size_t size = 0;
    for (size_t i = 0; i < n; i++)
        size += groups->key[groups->slot[slot[i]].key].size;
    if (size > g->bytes_room) {
        char *bytes = realloc(g->bytes, 2 * size);
        if (!bytes)
            return -ENOMEM;
        g->bytes = bytes;
        g->bytes_room = 2 * size;
    }
    char *bytes = g->bytes;
    g->n = n;
    g->slot = slot;
    struct window window;
    for (size_t i = 0; i < n; i++) {
        const int64_t id = groups->slot[slot[i]].window;
        if (!i || by_key || id != groups->slot[slot[i - 1]].window)
            window = window_at(w, slot[i]);
        read_window(w, slot[i], &window, flags, &g->windows[i],
                    g->key + i * w->pipeline->config->n_keys, bytes);
        bytes += groups->key[groups->slot[slot[i]].key].size;
    }
    return 0;
}

/* ---- Calls ------------------------------------------------------------------------------------- */

static struct bag *bag_at(const struct step *s, char *block)
{
    return (struct bag *)(void *)(block + s->offset);
}

static int init_one(struct worker *w, size_t step, uint32_t slot,
                    const struct weir_window *window)
{
    struct host *h = &w->host[step];
    char *block = groups_state(&w->groups, slot);
    if (w->remote[step])
        return remote_init(w->remote[step], slot, window);
    host_lock(h);
    int r = host_done(h, "init",
                      analyzer_of(w, step)->init(
                          &h->ctx, window, block + w->pipeline->step[step].offset));
    host_unlock(h);
    return r;
}

int analyze_init(struct worker *w, uint32_t slot)
{
    struct weir_cell key[SCHEMA_COLUMNS_MAX];
    char bytes[KEY_BYTES_MAX];
    union host_window window;
    bool read = false;
    for (size_t i = 0; w->pipeline->inits && i < w->pipeline->n_steps; i++) {
        bool inits = analyzer_of(w, i)->init && !w->pipeline->step[i].bag;
        if (!inits && !w->remote[i])
            continue;
        if (!read && inits) {
            struct window span = window_at(w, slot);
            read_window(w, slot, &span, 0, &window, key, bytes);
        }
        read = read || inits;
        int r = init_one(w, i, slot, inits ? &window.window : NULL);
        if (r < 0) {
            analyze_drop(w, slot, 0, i);
            return r;
        }
    }
    return 0;
}

void analyze_drop(struct worker *w, uint32_t slot, size_t first, size_t end)
{
    char *block = groups_state(&w->groups, slot);
    for (size_t i = first; w->pipeline->drops && i < end; i++) {
        const struct weir_analyzer *a = analyzer_of(w, i);
        const struct step *s = &w->pipeline->step[i];
        if (s->config->apart) {
            if (w->remote[i] && (a->drop || step_is_whole(s)))
                remote_drop(w->remote[i], slot); /* what fails shows in the next call */
            continue;
        }
        if (s->bag && w->host[i].binding)
            bag_drop(&s->kept, &w->host[i], bag_at(s, block));
        else if (step_is_whole(s) && w->host[i].binding)
            kept_drop(&s->kept, &w->host[i],
                      (struct kept *)(void *)(block + s->offset));
        if (!a->drop || s->bag || !w->host[i].binding)
            continue;
        host_lock(&w->host[i]);
        a->drop(&w->host[i].ctx, block + w->pipeline->step[i].offset);
        host_unlock(&w->host[i]);
    }
}

static void find_inputs(const struct binding *b, const struct log_entry *e,
                        const struct weir_column **in)
{
    for (size_t k = 0; k < b->n_inputs; k++) {
        int column = b->input[k];
        in[k] = column < 0         ? NULL
                : b->dictionary[k] ? &e->dictionary[column]->view
                                   : &e->batch->view[column];
    }
}

/* Rows that were not kept. */
static void count_over(struct worker *w, size_t step, uint64_t over)
{
    struct step *s = &w->pipeline->step[step];
    if (!over)
        return;
    metric_add(&s->over_rows, over);
    if (!atomic_exchange_explicit(&s->over_logged, true, memory_order_relaxed))
        logger_warn(
            "pipeline",
            "pipeline '%s', analyzer '%s': a group has more rows than are kept "
            "for it, %u or %zu MiB (max_rows); the rest is left out and counted",
            w->pipeline->config->name, s->binding->plugin->analyzer.name,
            s->kept.rows_max, s->kept.bytes_max >> 20);
}

static int keep_rows(struct worker *w, size_t step, const struct weir_rows *rows,
                     bool out)
{
    const struct step *s = &w->pipeline->step[step];
    uint64_t over = 0;
    int r = s->bag ? bag_add(&s->kept, &w->host[step], rows, out, &over)
                   : kept_add(&s->kept, &w->host[step], rows, &over);
    count_over(w, step, over);
    return r;
}

int analyze_update(struct worker *w, size_t step, const struct log_entry *e,
                   const uint32_t *row, const uint32_t *slot, uint32_t n)
{
    struct step *s = &w->pipeline->step[step];
    struct host *h = &w->host[step];
    const struct weir_column *in[BINDING_INPUTS_MAX];
    union host_rows rows;
    struct remote *remote = w->remote[step];
    struct spent *spent = &w->spent[step];
    const struct weir_analyzer *a = &s->binding->plugin->analyzer;
    int64_t begin_ns = clock_monotonic_ns();
    if (w->pipeline->config->merges) {
        int merged = parts_fold(w, step, e, row, slot, n);
        spent->events += n;
        metric_add(&s->ns, (uint64_t)(clock_monotonic_ns() - begin_ns));
        return merged;
    }
    find_inputs(s->binding, e, in);
    memset(&rows, 0, sizeof(rows));
    rows.rows = (struct weir_rows){.size = sizeof(rows.rows),
                                   .states = w->groups.states.base + s->offset,
                                   .stride = w->pipeline->stride,
                                   .time = e->batch->view[0].values,
                                   .in = in};
    int r = remote ? remote_begin(remote, (struct log_entry *)(uintptr_t)e, in) : 0;
    if (!remote)
        host_lock(h);
    for (uint32_t at = 0, next; r == 0 && at < n; at = next) {
        uint32_t end;
        rows.rows.sequence = log_entry_sequence(e, row[at], &end);
        if (!e->sequence) /* files that came first have numbers of their own */
            rows.rows.sequence += w->sequence;
        rows.rows.sequence += (uint64_t)w->pipeline->config->sender << SENDER_BIT;
        next = n;
        if (row[n - 1] >= end)
            for (next = at + 1; row[next] < end;)
                next++;
        rows.rows.n = next - at;
        rows.rows.row = row + at;
        rows.rows.group = slot + at;
        r = remote          ? remote_update(remote, &rows.rows)
            : step_keeps(s) ? keep_rows(w, step, &rows.rows, e->retract)
            : e->retract    ? host_done(h, "retract", a->retract(&h->ctx, &rows.rows))
                            : host_done(h, "update", a->update(&h->ctx, &rows.rows));
    }
    spent->events += n;
    if (remote)
        return r;
    host_unlock(h);
    begin_ns = clock_monotonic_ns() - begin_ns;
    spent->ns += begin_ns;
    metric_add(&s->ns, (uint64_t)begin_ns);
    return r;
}

int analyze_end(struct worker *w)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->pipeline->n_steps; i++)
        if (w->remote[i]) {
            uint64_t over = 0;
            r = remote_end(w->remote[i], &over);
            count_over(w, i, over);
        }
    return r;
}

static int merge_rows(struct worker *w, size_t step, size_t n, void *const *into,
                      const void *const *from)
{
    const struct step *s = &w->pipeline->step[step];
    struct host *h = &w->host[step];
    uint64_t over = 0;
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = s->bag ? bag_merge(&s->kept, h, into[i], from[i], &over)
                   : kept_merge(&s->kept, h, into[i], from[i], &over);
    count_over(w, step, over);
    return r;
}

int analyze_merge(struct worker *w, struct analyze_groups *g, const uint32_t *from)
{
    void *into[ANALYZE_GROUPS];
    const void *other[ANALYZE_GROUPS];
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->pipeline->n_steps; i++) {
        struct host *h = &w->host[i];
        size_t offset = w->pipeline->step[i].offset;
        if (w->remote[i]) {
            r = remote_merge(w->remote[i], g, from);
            continue;
        }
        for (size_t k = 0; k < g->n; k++) {
            into[k] = (char *)groups_state(&w->groups, g->slot[k]) + offset;
            other[k] = (char *)groups_state(&w->groups, from[k]) + offset;
        }
        int64_t begin_ns = clock_monotonic_ns();
        host_lock(h);
        r = step_keeps(&w->pipeline->step[i])
                ? merge_rows(w, i, g->n, into, other)
                : host_done(
                      h, "merge",
                      analyzer_of(w, i)->merge(&h->ctx, g->n, g->window, into, other));
        host_unlock(h);
        w->spent[i].ns += clock_monotonic_ns() - begin_ns;
    }
    return r;
}

/* The rows of each group to the plugin's `whole`, or what is left of them into states. */
static int emit_kept(struct worker *w, size_t step, const struct analyze_groups *g,
                     struct weir_out *out)
{
    const struct step *s = &w->pipeline->step[step];
    const struct kept_form *form = &s->kept;
    struct host *h = &w->host[step];
    int64_t begin_ns = clock_monotonic_ns();
    if (!w->view && !(w->view = calloc(1, sizeof(*w->view))))
        return -ENOMEM;
    int r = s->bag ? bag_emit(form, h, w->view, g->n, g->window,
                              (void *const *)(uintptr_t)g->state, out)
                   : 0;
    for (size_t i = 0; r == 0 && !s->bag && i < g->n; i++) {
        r = kept_view_begin(form, h, g->state[i], w->view);
        if (r == 0)
            r = host_begin_group(h, out, i);
        if (r == 0)
            r = host_done_emit(h, out, "whole",
                               analyzer_of(w, step)->whole(&h->ctx, g->window[i],
                                                           &w->view->rows.rows, out));
        kept_view_end(form, h, w->view);
    }
    metric_add(&w->pipeline->step[step].ns,
               (uint64_t)(clock_monotonic_ns() - begin_ns));
    return r;
}

int analyze_emit(struct worker *w, size_t step, struct analyze_groups *g,
                 struct weir_out *out)
{
    struct host *h = &w->host[step];
    out->n = g->n;
    if (w->remote[step])
        return remote_emit(w->remote[step], g, out);
    for (size_t i = 0; i < g->n; i++)
        g->state[i] = (char *)groups_state(&w->groups, g->slot[i]) +
                      w->pipeline->step[step].offset;
    int64_t begin_ns = clock_monotonic_ns();
    host_lock(h);
    int r = w->pipeline->config->partial == CONFIG_PARTIAL_STATES
                ? parts_emit(w, step, g, out)
            : step_keeps(&w->pipeline->step[step])
                ? emit_kept(w, step, g, out)
                : host_done_emit(h, out, "emit",
                                 analyzer_of(w, step)->emit(&h->ctx, g->n, g->window,
                                                            g->state, out));
    host_unlock(h);
    w->spent[step].ns += clock_monotonic_ns() - begin_ns;
    return r;
}
