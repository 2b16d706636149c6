/* SPDX-License-Identifier: Apache-2.0
 *
 * A pipeline and those that read its tables: who they are, what they are given, how they start, end and fail
 * together.
 */
#include "base/logger.h"
#include "pipeline/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- Who reads whom --------------------------------------------------------------------------- */

struct pipeline *pipeline_parent(const struct pipeline *p)
{
    return p->parent;
}

struct pipeline *pipeline_child(const struct pipeline *p, const struct pipeline *after)
{
    return after ? after->sibling : p->child;
}

const struct table *pipeline_reads_table(const struct pipeline *p)
{
    return outflow_table(p->reads);
}

bool pipeline_reads_replaced(const struct pipeline *p)
{
    return p->changes;
}

void pipeline_begin_afresh(struct pipeline *p)
{
    p->afresh = true;
}

bool pipeline_is_afresh(const struct pipeline *p)
{
    return p->afresh;
}

struct log *pipeline_reads(const struct pipeline *p)
{
    return outflow_log(p->reads);
}

/* The table of this name. The pipeline's own name stands for that with one row a group, of its shortest windows, or for
 * the only one that there is. */
static const struct table *find_table(const struct pipeline *parent, const char *name,
                                      const struct node *from, struct error *error)
{
    const struct table *found = NULL;
    size_t results = 0;
    for (size_t i = 0; i < parent->n_tables; i++) {
        const struct table *t = parent->table[i];
        if (!strcmp(t->name, name) && !t->late)
            return t;
        results += !t->late;
        found = t->late ? found : t;
    }
    bool own = !strcmp(parent->config->name, name);
    if (own && parent->own) /* of the shortest windows */
        return parent->own;
    if (own && results == 1)
        return found;
    if (own)
        node_error(from, error,
                   "pipeline '%s' has no table of its own, but one for each of its "
                   "analyzers, such as '%s'",
                   name, found ? found->name : "");
    else
        node_error(
            from, error,
            "there is no stream or pipeline '%s', and pipeline '%s' has no table "
            "of results of that name",
            name, parent->config->name);
    return NULL;
}

/* Of a table that somebody reads already, or a new one. */
static int derive(struct pipeline *p, const struct table *t, struct outflow **ret,
                  struct error *error)
{
    struct of_table **at = &p->outflow;
    size_t n = 0;
    for (; *at; at = &(*at)->next, n++)
        if (outflow_table((*at)->outflow) == t) {
            *ret = (*at)->outflow;
            return 0;
        }
    struct of_table *o = n < CHAIN_TABLES ? calloc(1, sizeof(*o)) : NULL;
    if (!o)
        return error_set(error, -ENOMEM, "no memory");
    int r = outflow_new(t, p->config->workers, &o->outflow, error);
    if (r < 0) {
        free(o);
        return r;
    }
    while (p->table[o->place] != t)
        o->place++;
    *at = o;
    *ret = o->outflow;
    p->replaced = p->replaced || outflow_replaces(o->outflow);
    return 0;
}

int chain_join(struct pipeline *p, struct pipeline *parent, struct error *error)
{
    const struct config_pipeline *c = p->config;
    const struct table *t = find_table(parent, c->from, c->from_node, error);
    if (!t)
        return -EINVAL;
    int r = derive(parent, t, &p->reads, error);
    if (r < 0)
        return r == -E2BIG ? node_error(c->from_node, error, "%s", error->text) : r;
    p->parent = pipeline_ref(parent);
    p->changes = outflow_replaces(p->reads);
    pthread_mutex_lock(&parent->lock);
    struct pipeline **at = &parent->child;
    while (*at)
        at = &(*at)->sibling;
    *at = p;
    pthread_mutex_unlock(&parent->lock);
    return config_resolve(p->whole, (size_t)(c - p->whole->pipeline),
                          outflow_schema(p->reads), error);
}

int chain_find_results(struct pipeline *p, struct pipeline *const *all,
                       struct error *error)
{
    const size_t place = (size_t)(p->config - p->whole->pipeline);
    struct config_results *results = &p->whole->pipeline[place].results;
    int r = 0;
    for (size_t i = 0; r == 0 && i < results->n; i++) {
        struct config_result *item = &results->item[i];
        struct pipeline *of = all[item->pipeline];
        p->joined_table[i] = find_table(of, item->table, item->node, error);
        if (!p->joined_table[i])
            return -EINVAL;
        p->joined[i] = pipeline_ref(of);
        if (!item->columns)
            r = outflow_columns(p->joined_table[i], &item->columns, error);
        if (r == -E2BIG)
            r = node_error(item->node, error, "%s", error->text);
    }
    return r < 0 ? r
                 : config_resolve(p->whole, place,
                                  p->whole->stream[p->config->stream].columns, error);
}

struct pipeline *pipeline_joins(const struct pipeline *p, size_t i)
{
    return i < CONFIG_JOINS_MAX ? p->joined[i] : NULL;
}

void chain_leave(struct pipeline *p)
{
    for (size_t i = 0; i < CONFIG_JOINS_MAX; i++)
        pipeline_unref(p->joined[i]);
    for (struct of_table *o = p->outflow, *next; o; o = next) {
        next = o->next;
        outflow_free(o->outflow);
        free(o);
    }
    p->outflow = NULL;
    if (!p->parent)
        return;
    pthread_mutex_lock(&p->parent->lock);
    struct pipeline **at = &p->parent->child;
    while (*at != p)
        at = &(*at)->sibling;
    *at = p->sibling;
    pthread_mutex_unlock(&p->parent->lock);
    pipeline_unref(p->parent);
}

void chain_fail(struct pipeline *p)
{
    struct error error;
    pthread_mutex_lock(&p->lock);
    for (struct pipeline *c = p->child; c; c = c->sibling) {
        error_set(&error, -EIO, "pipeline '%s', which it reads, has stopped",
                  p->config->name);
        pipeline_fail(c, &error);
    }
    pthread_mutex_unlock(&p->lock);
}

/* ---- Starting --------------------------------------------------------------------------------- */

static void room_again(void *pipeline)
{
    struct pipeline *p = pipeline;
    for (unsigned i = 0; i < p->config->workers; i++)
        task_wake(&p->worker[i].task);
}

bool pipeline_wants(const struct pipeline *p, bool *wanted)
{
    const struct config_pipeline *c = p->config;
    bool plain = c->window.kind == CONFIG_TUMBLING || c->window.kind == CONFIG_HOPPING;
    if (!plain || p->changes || p->late_table || c->where || p->n_conditions ||
        c->derive.n || c->joins.n || c->results.n || c->references.n || c->lookups.n)
        return false;
    for (size_t i = 0; i < c->n_keys; i++)
        wanted[c->key[i]] = true;
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct binding *b = p->step[i].binding;
        if (p->step[i].config->apart || p->step[i].ask)
            return false;
        for (size_t k = 0; k < b->n_inputs; k++)
            if (b->input[k] >= 0 && (!b->left_out[k] || b->dictionary[k]))
                wanted[b->input[k]] = true;
    }
    return true;
}

/* Of a run, as nobody comes to read later; the others want all columns from the beginning. */
static int want_columns(struct pipeline *p, struct outflow *d, struct error *error)
{
    bool wanted[SCHEMA_COLUMNS_MAX] = {false};
    for (struct pipeline *c = p->child; c; c = c->sibling)
        if (c->reads == d && !pipeline_wants(c, wanted))
            return 0;
    return outflow_want(d, wanted) < 0 ? error_set(error, -ENOMEM, "no memory") : 0;
}

int pipeline_open_outflows(struct pipeline *p, struct tasks *tasks, struct error *error)
{
    int r = 0;
    for (struct of_table *o = p->outflow; r == 0 && o; o = o->next) {
        r = p->hold_bytes ? want_columns(p, o->outflow, error) : 0;
        if (r == 0)
            r = outflow_open(o->outflow, tasks, p->worker[0].watermark.value_us,
                             room_again, p, error);
    }
    return r;
}

int pipeline_start_outflows(struct pipeline *p, struct error *error)
{
    int r = 0;
    for (struct of_table *o = p->outflow; r == 0 && o; o = o->next)
        r = log_start(outflow_log(o->outflow), error);
    return r;
}

bool chain_drain(struct pipeline *p, int64_t deadline_us)
{
    bool drained = true;
    for (struct of_table *o = p->outflow; o; o = o->next)
        drained = outflow_close(o->outflow, deadline_us) && drained;
    return drained;
}

/* ---- What they are given ---------------------------------------------------------------------- */

int chain_read(const struct worker *w, const struct rowset *set,
               struct chain_pieces *ret)
{
    struct outflow_piece **list = ret->list;
    for (struct of_table *o = w->pipeline->outflow; o; o = o->next, list++)
        if (set && outflow_table(o->outflow) == set->table &&
            !chain_waits(w->pipeline)) /* otherwise they were added one by one */
            return outflow_read(o->outflow, set, w->reads, list);
    return 0;
}

int chain_add(const struct worker *w, const struct of_table *o,
              const struct former *rows, enum outflow_kind kind, int64_t border_us,
              struct outflow_piece **list)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < rows->rows; i++)
        r = outflow_add(o->outflow, rows->cell + i * rows->columns, kind, border_us,
                        w->reads, list);
    return r;
}

void chain_drop(struct chain_pieces *pieces)
{
    for (size_t i = 0; i < CHAIN_TABLES; i++)
        outflow_free_pieces(pieces->list[i]);
}

/* Rows are given out early of one table only. */
void chain_set_aside(struct worker *w, int64_t until_us, struct chain_pieces *pieces)
{
    struct chain_ahead *a = &w->ahead;
    if (a->dropped)
        return; /* the caller frees them */
    if (!a->first)
        a->last = &a->first;
    *a->last = pieces->list[0];
    pieces->list[0] = NULL;
    for (; *a->last; a->last = &(*a->last)->next) {
        (*a->last)->until_us = until_us;
        a->bytes += sizeof(**a->last) + batch_memory((*a->last)->batch);
    }
}

struct outflow_piece *chain_take_ahead(struct worker *w, int64_t until_us)
{
    struct outflow_piece *first = w->ahead.first, **at = &w->ahead.first;
    for (; *at && (*at)->until_us <= until_us; at = &(*at)->next)
        (*at)->position = w->reads;
    if (at == &w->ahead.first)
        return NULL;
    w->ahead.first = *at;
    *at = NULL;
    return first;
}

void chain_drop_ahead(struct worker *w)
{
    outflow_free_pieces(w->ahead.first);
    w->ahead = (struct chain_ahead){.dropped = true};
}

/* The first border that a child of this table waits for. */
static int64_t border_of(const struct pipeline *p, const struct outflow *d,
                         int64_t told_us)
{
    int64_t border_us = INT64_MAX;
    for (struct pipeline *c = p->child; c; c = c->sibling) {
        int64_t us = c->reads != d ? INT64_MAX
                     : c->window.kind == CONFIG_SESSION
                         ? by_key_add(told_us, 1) /* any time may be an end */
                         : chain_next_border(c, told_us);
        border_us = us < border_us ? us : border_us;
    }
    return border_us;
}

/* A child of a child hears of every position: one whose rows are to be in the same transaction may come. */
int chain_put(struct worker *w, uint64_t position, int64_t done_us, bool gave,
              struct chain_pieces *pieces)
{
    const struct pipeline *p = w->pipeline;
    struct outflow_piece **list = pieces->list;
    int r = 0;
    for (struct of_table *o = p->outflow; o; o = o->next, list++) {
        int64_t told_us = outflow_told(o->outflow);
        const struct outflow_report report = {
            .worker = w->index,
            .position = position,
            .done_us = done_us,
            .tell = gave || p->parent,
            .border_us =
                done_us > told_us ? border_of(p, o->outflow, told_us) : INT64_MAX};
        int err = outflow_put(o->outflow, &report, *list);
        *list = NULL;
        r = r < 0 ? r : err;
    }
    return r;
}

int chain_mark(struct worker *w, const struct log_entry *mark)
{
    int r = 0;
    for (struct of_table *o = w->pipeline->outflow; r == 0 && o; o = o->next)
        r = outflow_mark(o->outflow, w->index, mark);
    return r;
}

bool chain_is_full(struct worker *w)
{
    bool full = false;
    for (struct of_table *o = w->pipeline->outflow; o; o = o->next)
        full = outflow_is_full(o->outflow) || full;
    return full;
}

/* ---- To one that has come later ------------------------------------------------------------------ */

/* Up to where it is known to those that read it. */
static int64_t known_us(const struct worker *w)
{
    return chain_waits(w->pipeline) ? w->emitted_us : w->keyed.border_us;
}

static bool was_given(const struct worker *w, uint32_t slot)
{
    const struct window_kind *kind = &w->pipeline->window;
    int64_t id = w->groups.slot[slot].window;
    if (window_is_by_key(kind))
        return w->keyed.spans.at[slot].given == SPAN_GIVEN;
    return !window_is_pane(kind, id) && window_by_id(kind, id).end_us <= w->emitted_us;
}

/* A result that was given out before anybody read it is made again: nothing has come since. */
static int note_as_is(struct worker *w, const struct of_table *o, uint32_t slot)
{
    struct rowset *set = NULL;
    struct former *now;
    int r = worker_emit_as_is(w, o->place, &slot, 1, w->keyed.border_us, &set);
    if (r == 0)
        r = former_new(set->cell, rowset_results(set, 0, set->n_rows),
                       set->table->n_columns, &now);
    if (r == 0) {
        now->table = (uint32_t)chain_table(w->pipeline, o);
        now->revision = w->groups.slot[slot].revision;
        now->next = former_take(&w->former, slot);
        r = former_set(&w->former, slot, now);
    }
    groups_touch(&w->groups, slot);
    rowset_free(set);
    return r;
}

/* What the group has given out to who reads this table; NULL: nothing, or it is of windows of another size. */
static const struct former *given_of(const struct worker *w, const struct of_table *o,
                                     uint32_t slot)
{
    const struct pipeline *p = w->pipeline;
    return window_size_of(&p->window, w->groups.slot[slot].window) == chain_size(p, o)
               ? former_of(former_at(&w->former, slot), chain_table(p, o))
               : NULL;
}

static int give_all_of(struct worker *w, const struct of_table *o, uint64_t position,
                       struct outflow_piece **list)
{
    struct groups *g = &w->groups;
    struct pipeline *p = w->pipeline;
    uint32_t *slot = malloc((g->n_slots + 1) * sizeof(*slot));
    size_t n = 0;
    int r = slot ? 0 : -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < g->n_slots; i++) {
        if (g->slot[i].key == SLOT_NONE)
            continue;
        if (!chain_waits(p))
            g->slot[i].window = 0;
        if (!given_of(w, o, i) && was_given(w, i) && !chain_waits(p))
            r = note_as_is(w, o, i); /* others wait for a border */
        if (given_of(w, o, i))
            slot[n++] = i;
    }
    n = r == 0 ? groups_sort_slots(g, slot, n) : 0;
    w->reads = position;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = chain_add(w, o, given_of(w, o, slot[i]), OUTFLOW_FIRST, known_us(w), list);
    free(slot);
    return r;
}

/* Has somebody who reads the group's results not got what it is now? */
static bool is_waited_for(const struct worker *w, uint32_t slot)
{
    const struct pipeline *p = w->pipeline;
    const size_t size = window_size_of(&p->window, w->groups.slot[slot].window);
    for (struct of_table *o = p->outflow; o; o = o->next) {
        const struct former *rows = given_of(w, o, slot);
        if (chain_size(p, o) == size &&
            (!rows || rows->revision < w->groups.slot[slot].revision))
            return true;
    }
    return false;
}

/* Groups of which those that read them have not got what they are now, or nothing yet. */
static int find_waiting(struct worker *w)
{
    const struct groups *g = &w->groups;
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < g->n_slots; i++)
        if (g->slot[i].key != SLOT_NONE && was_given(w, i) && is_waited_for(w, i))
            r = late_wait(w, i);
    return r;
}

int chain_give_all(struct pipeline *p, uint64_t position)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && p->gives_all && i < p->config->workers; i++) {
        struct chain_pieces pieces = {{NULL}};
        struct worker *w = &p->worker[i];
        struct outflow_piece **list = pieces.list;
        for (struct of_table *o = p->outflow; r == 0 && o; o = o->next, list++)
            r = give_all_of(w, o, position, list);
        if (r == 0)
            r = chain_put(w, position, w->emitted_us, true, &pieces);
        chain_drop(&pieces);
    }
    for (unsigned i = 0; r == 0 && chain_waits(p) && i < p->config->workers; i++)
        r = find_waiting(&p->worker[i]);
    return r;
}

/* ---- Silence: their windows are to close, too ------------------------------------------------- */

int64_t chain_next_border(void *pipeline, int64_t after_us)
{
    struct pipeline *p = pipeline;
    int64_t border_us = window_is_by_key(&p->window)
                            ? keyed_next_border(p, after_us)
                            : window_next_border(&p->window, after_us);
    for (struct pipeline *c = p->child; c; c = c->sibling) {
        int64_t us = chain_next_border(c, after_us);
        border_us = us < border_us ? us : border_us;
    }
    return border_us;
}

/* The newest row that a child can get is that of the last window. */
int64_t chain_last_border(void *pipeline, int64_t newest_us)
{
    struct pipeline *p = pipeline;
    int64_t end_us = window_is_by_key(&p->window)
                         ? keyed_last_border(p, newest_us)
                         : window_last_end(&p->window, newest_us);
    if (atomic_load_explicit(&p->waiting, memory_order_relaxed)) {
        pthread_mutex_lock(&p->lock);
        int64_t next_us = window_next_border(&p->window, p->shown_watermark_us);
        pthread_mutex_unlock(&p->lock);
        end_us = next_us > end_us ? next_us : end_us;
    }
    int64_t last_us = end_us;
    for (struct pipeline *c = p->child; c; c = c->sibling) {
        int64_t us = chain_last_border(c, end_us - 1);
        last_us = us > last_us ? us : last_us;
    }
    return last_us;
}
