/* SPDX-License-Identifier: Apache-2.0
 *
 * What an entry of the log brings to an end: the groups of the windows that the watermark has passed, in
 * the order of their keys, become result rows, and so do those of older windows that were revised. What
 * cannot be revised any more is forgotten.
 */
#include "pipeline/worker.h"
#include "plugin/outputs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX     16384u /* of one rowset; a larger window goes in several */
#define BYTES_MAX    ((size_t)16 << 20) /* of strings in one, likewise */
#define FETCH_GROUPS 16u                /* at once */
#define MANY_GROUPS  16u /* in one call, where groups give any number of rows */
#define AHEAD                                                                          \
    8u /* calls that processes of analyzers may begin with before their rows are wanted */

/* Groups of one call. */
struct chunk {
    struct analyze_groups *groups; /* made when there are some */
    size_t size;                   /* of their windows, from 0 */
    int64_t start_us, border_us;   /* what closing has once they are at hand */
};

/* Groups on their way into chunks: a list, then those of windows. */
struct feed {
    const uint32_t *slot;
    size_t n;           /* from slot on */
    size_t window, end; /* of the worker's, the next ones */
    bool panes;         /* they are panes */
    uint32_t flags;
    int64_t start_us, border_us;
};

/* The rows that are being made: a set for each table of the pipeline. */
struct closing {
    struct worker *worker;
    size_t expected;   /* groups of which rows will be made, about */
    int64_t done_us;   /* all windows that end at or before it are in the rows sent */
    int64_t border_us; /* up to where what is given out counts: of global, and for who
                        * reads what is replaced */
    bool later;        /* who reads it gets it at the next border */
    enum rowset_when when;
    enum { TO_ALL, TO_STORE, TO_CHILDREN } to_whom;
    int64_t children_us; /* as done_us, of what those that read the rows have, where it
                          * is more */
    uint64_t no_result;  /* rows of the sets that are none, see struct table */
    size_t size;         /* of the windows at hand, from 0 */
    struct rowset *set[TABLES_MAX];
    const struct table *only;      /* of the shortest; NULL: rows of all tables */
    struct chain_pieces pieces;    /* the same rows, for those that read them */
    bool gave;                     /* rows, of this entry */
    struct chunk chunk[AHEAD];     /* those at hand, and such as are begun with */
    struct analyze_groups *groups; /* at hand: one of these */
    size_t own_first;              /* row of the first of them in the own table */
    /* Of the step at hand. */
    const struct step *step;
    struct rowset *to;
    size_t next;  /* group; those before are done */
    int64_t rank; /* of the last row of the group before `next` */
    /* Of tables with any number of rows a group: where those of the groups at hand begin, and end. */
    uint32_t (*first)[MANY_GROUPS + 1];
    uint32_t first_of[TABLES_OF_SIZE][MANY_GROUPS + 1];
    struct weir_cell cell[OUTPUTS_MAX];
};

/* Of a table of the shortest windows. */
static size_t number_of(const struct pipeline *p, const struct table *t)
{
    size_t i = 0;
    while (p->table[i] != t)
        i++;
    return i;
}

/* For a table of the shortest windows, or in its place that of the windows at hand. */
static struct rowset *ready_set(struct closing *c, const struct table *t, size_t rows)
{
    const struct pipeline *p = c->worker->pipeline;
    const size_t most = ROWS_MAX + ANALYZE_GROUPS; /* it is looked at behind so many */
    const size_t i = number_of(p, t) + c->size * p->n_of_size;
    struct rowset **set = &c->set[i];
    if (!*set && rowset_new(p->table[i], rows < most ? rows : most, set) < 0)
        return NULL;
    (*set)->when = c->when;
    return *set;
}

/* Sends what there is, with the late events of the entry in front. Rows of an entry that is not wholly
 * done yet go with the position before it. */
static int send_sets(struct closing *c, uint64_t position, int64_t watermark_us)
{
    struct pipeline *p = c->worker->pipeline;
    struct rowset *list = NULL;
    uint64_t rows = 0;
    int r = 0;
    for (size_t i = p->n_tables; i-- > 0;) {
        if (p->outflow && r == 0 && c->to_whom != TO_STORE)
            r = chain_read(c->worker, c->set[i], &c->pieces);
        if (!c->set[i])
            continue;
        if (c->to_whom == TO_CHILDREN) {
            rowset_free(c->set[i]);
            c->set[i] = NULL;
            continue;
        }
        rows += c->when == ROWS_INSTEAD ? 0 : c->set[i]->n_rows;
        c->set[i]->next = list;
        list = c->set[i];
        c->set[i] = NULL;
    }
    if (c->to_whom == TO_CHILDREN)
        return r < 0 ? r
                     : chain_put(c->worker, position, c->children_us, true, &c->pieces);
    metric_add(&p->rows, rows - c->no_result);
    c->no_result = 0;
    if (c->worker->side) {
        c->worker->side->next = list;
        list = c->worker->side;
        c->worker->side = NULL;
    }
    c->worker->gives = c->worker->gives || list;
    if (list)
        c->worker->gave = c->worker->position;
    c->gave = c->gave || list;
    int err = p->sink.put(p->sink.ctx, p->config->name, c->worker->index,
                          p->config->workers, position, watermark_us, list);
    if (r == 0 && err == 0 && p->outflow) {
        /* Of rows that children get at another time they hear that they will be committed, and no more. */
        bool theirs = c->when != ROWS_EARLY && c->to_whom == TO_ALL;
        struct chain_pieces none = {{NULL}};
        return chain_put(c->worker, position, theirs ? watermark_us : c->children_us,
                         c->gave, theirs ? &c->pieces : &none);
    }
    return r < 0 ? r : err;
}

/* The start and the key. -ENOMEM. */
static int begin_cells(struct rowset *set, struct weir_cell *row, int64_t start_us,
                       const struct weir_cell *key, size_t n_keys)
{
    cell_put_time(&row[0], start_us);
    for (size_t k = 0; k < n_keys; k++) {
        row[1 + k] = key[k];
        if (row[1 + k].type == WEIR_STRING && rowset_keep(set, &row[1 + k]) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* Begins a row of group i: the window, the key and the revision. NULL: no memory. */
static struct weir_cell *begin_row(struct closing *c, struct rowset *set, size_t i)
{
    const struct analyze_groups *g = c->groups;
    const struct weir_window *window = g->window[i];
    const struct window_kind *kind = &c->worker->pipeline->window;
    struct weir_cell *row = rowset_row(set);
    if (!row)
        return NULL;
    if (begin_cells(set, row, window->start, window->key, window->n_keys) < 0)
        return NULL;
    cell_put_time(&row[set->table->n_primary], window->end);
    if (kind->kind == CONFIG_GLOBAL) {
        cell_put_time(&row[0], 0);
        cell_put_time(&row[set->table->n_primary], c->border_us);
    }
    if (kind->kind == CONFIG_COUNT)
        cell_put_int(&row[1 + window->n_keys],
                     (int64_t)keyed_number(&c->worker->keyed, g->slot[i]));
    if (kind->kind == CONFIG_COUNT && c->worker->keyed.spans.at[g->slot[i]].overdue &&
        rowset_overdue(set) < 0)
        return NULL;
    if (set->table->revision)
        cell_put_int(&row[set->table->revision],
                     c->worker->groups.slot[g->slot[i]].revision);
    return row;
}

/* ---- What a step gives: the calls of struct weir_out -------------------------------------------- */

static const char *keep_string(void *ctx, const char *bytes, size_t size)
{
    const struct closing *c = ctx;
    struct weir_cell cell = {.size = (uint32_t)size, .as.s = bytes};
    return rowset_keep(c->to, &cell) < 0 ? NULL : cell.as.s;
}

static struct weir_cell *own_cells(void *ctx, size_t i)
{
    const struct closing *c = ctx;
    return c->to->cell + (c->own_first + i) * c->to->table->n_columns + c->step->column;
}

/* The groups before i that are not done yet gave no rows: those that revised ones had are to go, and none come in
 * their place. */
static int end_groups(struct closing *c, size_t i)
{
    const struct table *t = c->to->table;
    for (; c->next < i; c->rank = 0) {
        uint32_t slot = c->groups->slot[c->next];
        if (!c->rank && t->revision && c->worker->groups.slot[slot].revision) {
            struct weir_cell *row = begin_row(c, c->to, c->next);
            if (!row)
                return -ENOMEM;
            cell_put_int(&row[t->n_primary - 1], 0);
            c->no_result++;
        }
        (*c->first)[++c->next] = (uint32_t)c->to->n_rows;
    }
    return 0;
}

static struct weir_cell *many_cells(void *ctx, size_t i)
{
    struct closing *c = ctx;
    return end_groups(c, i) < 0 ? NULL : c->cell;
}

static int many_row(void *ctx, struct weir_cell *cells)
{
    struct closing *c = ctx;
    size_t size = c->step->binding->n_outputs * sizeof(*cells);
    struct weir_cell *row = begin_row(c, c->to, c->next);
    if (!row)
        return -ENOMEM;
    cell_put_int(&row[c->to->table->n_primary - 1], ++c->rank);
    memcpy(row + c->step->column, cells, size);
    memset(cells, 0, size);
    return 0;
}

/* ---- Groups -------------------------------------------------------------------------------------- */

static int emit_step(struct closing *c, size_t i)
{
    const struct step *s = &c->worker->pipeline->step[i];
    c->step = s;
    c->to = ready_set(c, s->table, c->expected);
    if (!c->to)
        return -ENOMEM;
    if (!step_gives_many(s)) {
        struct weir_out out = {.group = own_cells, .keep = keep_string, .ctx = c};
        return analyze_emit(c->worker, i, c->groups, &out);
    }
    struct weir_out out = {
        .group = many_cells, .row = many_row, .keep = keep_string, .ctx = c};
    c->next = 0;
    c->rank = 0;
    c->first = &c->first_of[number_of(c->worker->pipeline, s->table)];
    (*c->first)[0] = (uint32_t)c->to->n_rows;
    memset(c->cell, 0, s->binding->n_outputs * sizeof(*c->cell));
    int r = analyze_emit(c->worker, i, c->groups, &out);
    return r < 0 ? r : end_groups(c, c->groups->n);
}

/* The rows of group i at hand in the table that is read. */
static int rows_of(const struct closing *c, const struct of_table *o, size_t i,
                   struct former **ret)
{
    const struct pipeline *p = c->worker->pipeline;
    const size_t number = chain_table(p, o);
    const struct rowset *set = c->set[o->place];
    const size_t columns = p->table[o->place]->n_columns;
    size_t first = c->own_first + i, n = 1;
    if (!p->own || number_of(p, p->own) != number) {
        first = c->first_of[number][i];
        n = c->first_of[number][i + 1] - first;
        n = n ? rowset_results(set, first, n) : 0;
    }
    int r = former_new(n ? set->cell + first * columns : NULL, n, columns, ret);
    if (r == 0) {
        (*ret)->table = (uint32_t)number;
        (*ret)->revision = c->worker->groups.slot[c->groups->slot[i]].revision;
    }
    return r;
}

/* Those that read a table take out the rows that group i had there, and get these ones. */
static int note_group(struct closing *c, size_t i, const struct former *before,
                      struct former **ret)
{
    struct worker *w = c->worker;
    const struct pipeline *p = w->pipeline;
    struct outflow_piece **list = c->pieces.list;
    int r = 0;
    for (struct of_table *o = p->outflow; r == 0 && o; o = o->next, list++) {
        const struct former *old = former_of(before, chain_table(p, o));
        struct former *now;
        if (chain_size(p, o) != c->size)
            continue;
        if (old)
            r = chain_add(w, o, old, OUTFLOW_REPLACED, c->border_us, list);
        if (r == 0)
            r = rows_of(c, o, i, &now);
        if (r < 0)
            break;
        now->next = *ret;
        *ret = now;
        if (chain_waits(p))
            r = chain_add(w, o, now, old && old->rows ? OUTFLOW_NEXT : OUTFLOW_FIRST,
                          c->border_us, list);
    }
    return r;
}

/* Of tables that nobody reads nothing is kept: who comes later is given what the groups say then. */
static int note_given(struct closing *c, const uint32_t *slot, size_t n)
{
    struct worker *w = c->worker;
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        struct former *before = former_take(&w->former, slot[i]), *now = NULL;
        if (w->pipeline->replaced)
            r = note_group(c, i, before, &now);
        former_drop(before);
        if (r == 0)
            r = former_set(&w->former, slot[i], now);
        else
            former_drop(now);
        groups_touch(&w->groups, slot[i]);
    }
    return r;
}

/* The groups at hand, with their rows in the own table first. */
static int emit_some(struct closing *c)
{
    struct pipeline *p = c->worker->pipeline;
    const size_t n = c->groups->n;
    int r = 0;
    const bool to_own = p->own && (!c->only || c->only == p->own);
    struct rowset *own = to_own ? ready_set(c, p->own, c->expected) : NULL;
    if (to_own && !own)
        return -ENOMEM;
    if (own)
        c->own_first = own->n_rows;
    for (size_t i = 0; i < n; i++)
        worker_prefetch(c->worker, c->groups->slot[i]);
    for (size_t i = 0; own && i < n; i++)
        if (!begin_row(c, own, i))
            return -ENOMEM;
    for (size_t i = 0; r == 0 && i < p->n_steps; i++)
        if (!c->only || c->only == p->step[i].table)
            r = emit_step(c, i);
    const bool notes = p->replaced ? !c->later : c->worker->former.room > 0;
    return r == 0 && notes && !c->only ? note_given(c, c->groups->slot, n) : r;
}

static void free_chunks(struct closing *c)
{
    for (size_t i = 0; i < AHEAD; i++)
        analyze_groups_free(c->chunk[i].groups);
}

static bool sets_full(const struct closing *c)
{
    for (size_t i = 0; i < c->worker->pipeline->n_tables; i++)
        if (c->set[i] &&
            (c->set[i]->n_rows >= ROWS_MAX || c->set[i]->bytes >= BYTES_MAX))
            return true;
    return false;
}

/* How many of the groups have windows of one size. */
static size_t of_one_size(const struct worker *w, const uint32_t *slot, size_t n,
                          size_t *ret_size)
{
    const struct window_kind *kind = &w->pipeline->window;
    *ret_size = window_size_of(kind, w->groups.slot[slot[0]].window);
    size_t i = kind->n_sizes ? 1 : n;
    while (i < n && window_size_of(kind, w->groups.slot[slot[i]].window) == *ret_size)
        i++;
    return i;
}

/* Goes on to the next window once there are no more groups. False: there are none at all. */
static int feed_has_more(struct closing *c, struct feed *f, bool *ret)
{
    struct worker *w = c->worker;
    const struct window_kind *kind = &w->pipeline->window;
    while (f->n == 0 && f->window < f->end) {
        struct group_window *window = &w->groups.window[f->window++];
        if (window_is_pane(kind, window->id) != f->panes)
            continue;
        int r = groups_sort(&w->groups, window);
        if (r < 0)
            return r;
        const struct window span = window_by_id(kind, window->id);
        f->slot = window->slot;
        f->n = window->n;
        f->start_us = span.start_us;
        if (chain_waits(w->pipeline))
            f->border_us = span.end_us;
        metric_add(&w->pipeline->windows, 1);
    }
    *ret = f->n > 0;
    return 0;
}

/* The next groups, at most `most`, for one call. */
static int read_chunk(struct closing *c, struct feed *f, size_t most, struct chunk *k)
{
    struct worker *w = c->worker;
    int r = k->groups ? 0 : analyze_groups_new(w, &k->groups);
    if (r < 0)
        return r;
    size_t n = of_one_size(w, f->slot, f->n < most ? f->n : most, &k->size);
    r = analyze_groups_read(w, k->groups, f->slot, n, f->flags);
    k->start_us = f->start_us;
    k->border_us = f->border_us;
    f->slot += n;
    f->n -= n;
    return r;
}

/* Processes begin with it. False: not all do. */
static bool ask(struct closing *c, const struct analyze_groups *g)
{
    const struct worker *w = c->worker;
    bool all = true;
    for (size_t i = 0; all && i < w->pipeline->n_steps; i++)
        if (w->remote[i] && (!c->only || c->only == w->pipeline->step[i].table))
            all = remote_ask(w->remote[i], g);
    return all;
}

/* Rows of an entry that is not wholly read follow from the one before it. Of files that came first there is none. */
static uint64_t position_before(const struct worker *w)
{
    return w->position ? w->position - 1 : 0;
}

static int emit_chunk(struct closing *c, const struct chunk *k)
{
    if (worker_leaves(c->worker))
        return -ECANCELED;
    c->groups = k->groups;
    c->size = k->size;
    c->border_us = k->border_us;
    if (k->start_us > c->done_us) /* what ends by then has a lesser id */
        c->done_us = k->start_us;
    int r = emit_some(c);
    return r == 0 && !c->only && sets_full(c)
               ? send_sets(c, position_before(c->worker), c->done_us)
               : r;
}

static int emit_feed(struct closing *c, struct feed *f)
{
    struct worker *w = c->worker;
    const struct pipeline *p = w->pipeline;
    size_t most = ANALYZE_GROUPS, ahead = 1, read = 0;
    bool asks = false, more;
    int r = 0;
    for (size_t i = 0; i < p->n_steps; i++) {
        most = step_gives_many(&p->step[i]) ? MANY_GROUPS : most;
        asks = asks || w->remote[i];
    }
    ahead = asks ? AHEAD : 1;
    /* Once one has no room no more are asked: answers come in the order of the calls. */
    for (size_t done = 0;
         (r = feed_has_more(c, f, &more)) == 0 && (more || done < read); done++) {
        const bool half = read - done <= ahead / 2; /* so they are woken for several */
        while (half && r == 0 && more && read - done < ahead) {
            struct chunk *k = &c->chunk[read++ % AHEAD];
            r = read_chunk(c, f, most, k);
            asks = asks && r == 0 && ask(c, k->groups);
            r = r == 0 ? feed_has_more(c, f, &more) : r;
        }
        for (size_t i = 0; half && i < p->n_steps; i++)
            if (w->remote[i])
                remote_wake(w->remote[i]);
        if (r == 0)
            r = emit_chunk(c, &c->chunk[done % AHEAD]);
        if (r < 0)
            break;
    }
    for (size_t i = 0; r < 0 && i < p->n_steps; i++)
        if (w->remote[i])
            remote_abandon(w->remote[i]);
    return r;
}

static int emit_groups(struct closing *c, const uint32_t *slot, size_t n,
                       uint32_t flags)
{
    struct feed f = {.slot = slot,
                     .n = n,
                     .flags = flags,
                     .start_us = INT64_MIN,
                     .border_us = c->border_us};
    if (c->expected < n)
        c->expected = n;
    return emit_feed(c, &f);
}

static int emit_revised(struct closing *c)
{
    struct worker *w = c->worker;
    size_t n = groups_sort_slots(&w->groups, w->revised.at, w->revised.n);
    w->revised.n = 0;
    metric_add(&w->pipeline->revisions, n);
    return emit_groups(c, w->revised.at, n, WEIR_FINAL | WEIR_REVISED);
}

/* Those of earlier entries, too, for who reads them. */
static int emit_waiting(struct closing *c, int64_t border_us)
{
    struct worker *w = c->worker;
    size_t n = groups_sort_slots(&w->groups, w->waiting.at, w->waiting.n);
    metric_add(&w->pipeline->revisions,
               groups_sort_slots(&w->groups, w->revised.at, w->revised.n));
    if (w->waiting.n)
        atomic_fetch_sub_explicit(&w->pipeline->waiting, 1, memory_order_relaxed);
    w->waiting.n = w->revised.n = 0;
    c->border_us = border_us;
    return emit_groups(c, w->waiting.at, n, WEIR_FINAL | WEIR_REVISED);
}

/* Rows of several windows go in one set. */
static void expect(struct closing *c, size_t first, size_t end)
{
    for (size_t i = first; i < end && c->expected < ROWS_MAX; i++)
        c->expected += c->worker->groups.window[i].n;
}

/* Windows that end at or before `us`: the index behind them. */
static size_t windows_until(const struct worker *w, int64_t us)
{
    return groups_window_from(&w->groups, window_first_open(&w->pipeline->window, us));
}

/* Groups of the window of which so much was given out, and that are given out now. */
static int emit_some_of(struct closing *c, struct group_window *window,
                        enum group_early early)
{
    struct groups *g = &c->worker->groups;
    size_t n = 0;
    for (size_t i = 0; i < window->n; i++)
        n += g->early[window->slot[i]] == early;
    uint32_t *slot = n ? malloc(n * sizeof(*slot)) : NULL;
    if (!slot)
        return n ? -ENOMEM : 0;
    int r = groups_sort(g, window);
    n = 0;
    for (size_t i = 0; r == 0 && i < window->n; i++)
        if (g->early[window->slot[i]] == early)
            slot[n++] = window->slot[i];
    if (r == 0)
        r = emit_groups(c, slot, n, WEIR_FINAL);
    for (size_t i = 0; i < n; i++)
        g->early[slot[i]] = EARLY_GIVEN;
    free(slot);
    return r;
}

/* What was not given out early. */
static int emit_rests(struct closing *c, size_t first, size_t end)
{
    struct worker *w = c->worker;
    int r = 0;
    for (size_t i = first; r == 0 && i < end; i++) {
        struct group_window *window = &w->groups.window[i];
        if (window_is_pane(&w->pipeline->window, window->id))
            continue;
        int64_t start_us = window_by_id(&w->pipeline->window, window->id).start_us;
        if (start_us > c->done_us) /* what ends by then has a lesser id */
            c->done_us = start_us;
        if (chain_waits(w->pipeline))
            c->border_us = window_by_id(&w->pipeline->window, window->id).end_us;
        r = emit_some_of(c, window, EARLY_NOTHING);
        metric_add(&w->pipeline->windows, r == 0);
    }
    return r;
}

static int emit_windows(struct closing *c, int64_t until_us)
{
    struct worker *w = c->worker;
    struct feed f = {.window = windows_until(w, w->emitted_us),
                     .end = windows_until(w, until_us),
                     .flags = WEIR_FINAL,
                     .start_us = INT64_MIN,
                     .border_us = c->border_us};
    if (w->early_us != INT64_MIN) /* hardly a row is left */
        return emit_rests(c, f.window, f.end);
    expect(c, f.window, f.end);
    return emit_feed(c, &f);
}

/* Panes that are windows, too. Rows that come for them now are late. */
static int emit_whole(struct closing *c, const struct panes_whole *whole)
{
    struct groups *g = &c->worker->groups;
    int r = 0;
    for (size_t i = 0; r == 0 && i < whole->n; i++) {
        struct feed f = {.window = groups_window_from(g, whole->pane[i]),
                         .panes = true,
                         .flags = WEIR_FINAL,
                         .start_us = INT64_MIN,
                         .border_us = c->border_us};
        f.end = groups_window_from(g, whole->pane[i] + 1);
        if (f.window == f.end)
            continue;
        c->expected = g->window[f.window].n;
        r = emit_feed(c, &f);
        if (r == 0)
            groups_set_aside(g, f.end - 1);
    }
    return r;
}

/* Windows behind from_us whose rows, given out early, are not all that there is to say of them. */
static bool has_changed(const struct worker *w, int64_t from_us, int64_t to_us)
{
    const struct groups *g = &w->groups;
    size_t first = windows_until(w, from_us), end = windows_until(w, to_us);
    for (size_t i = first; i < end; i++)
        for (size_t k = 0; k < g->window[i].n; k++)
            if (g->early[g->window[i].slot[k]] != EARLY_GIVEN)
                return true;
    return false;
}

/* The rows of all groups of these windows, as they are now, for those that read them. */
static int emit_again(struct closing *c, int64_t from_us, int64_t to_us)
{
    struct worker *w = c->worker;
    size_t first = windows_until(w, from_us), end = windows_until(w, to_us);
    int r = 0;
    c->to_whom = TO_CHILDREN;
    for (size_t i = first; r == 0 && i < end; i++) {
        struct group_window *window = &w->groups.window[i];
        int64_t start_us = window_by_id(&w->pipeline->window, window->id).start_us;
        if (start_us > c->children_us) /* as in emit_windows */
            c->children_us = start_us;
        r = groups_sort(&w->groups, window);
        if (r == 0)
            r = emit_groups(c, window->slot, window->n, WEIR_FINAL);
    }
    c->children_us = to_us;
    if (r == 0)
        r = send_sets(c, position_before(w), c->done_us);
    c->to_whom = TO_ALL;
    return r;
}

/* Those that read the rows have heard of none that was early: they get them now, in their order. */
static int give_children(struct closing *c)
{
    struct worker *w = c->worker;
    int r = 0;
    c->children_us = c->done_us;
    c->gave = true;
    for (int64_t from_us = w->emitted_us, to_us; r == 0 && from_us < w->early_us;
         from_us = to_us) {
        to_us = w->ahead.first ? w->ahead.first->until_us : w->early_us;
        struct outflow_piece *given = chain_take_ahead(w, to_us);
        if (w->ahead.dropped || has_changed(w, from_us, to_us)) {
            outflow_free_pieces(given);
            r = emit_again(c, from_us, to_us);
        } else {
            struct chain_pieces pieces = {{given}};
            c->children_us = to_us;
            r = chain_put(w, position_before(w), to_us, true, &pieces);
        }
    }
    return r;
}

/* In sets of their own, in front of all others. */
static int emit_changed(struct closing *c)
{
    struct worker *w = c->worker;
    size_t end = windows_until(w, w->early_us);
    int r = w->pipeline->outflow ? give_children(c) : 0;
    c->when = ROWS_INSTEAD;
    c->to_whom = TO_STORE;
    for (size_t i = 0; r == 0 && i < end; i++)
        r = emit_some_of(c, &w->groups.window[i], EARLY_CHANGED);
    if (r == 0)
        r = send_sets(c, position_before(w), c->done_us);
    c->when = ROWS_FINAL;
    if (r == 0 && w->pipeline->outflow && w->emitted_us < w->early_us) {
        r = emit_windows(c, w->early_us); /* groups that came behind them */
        if (r == 0)
            r = send_sets(c, position_before(w), c->done_us);
        w->emitted_us = w->early_us;
    }
    c->to_whom = TO_ALL;
    return r;
}

static int end_closing(struct closing *c, int r, struct error *error)
{
    for (size_t i = 0; i < c->worker->pipeline->n_tables; i++)
        rowset_free(c->set[i]);
    free_chunks(c);
    if (c->worker->pipeline->outflow)
        chain_drop(&c->pieces);
    c->worker = NULL;
    if (r < 0 && r != -EINVAL && r != -ECANCELED)
        return error_set(error, r, "results cannot be handed on: %s", strerror(-r));
    return r;
}

int worker_emit_early(struct worker *w, int64_t until_us, struct error *error)
{
    struct closing c = {.worker = w,
                        .done_us = w->emitted_us,
                        .children_us = w->emitted_us,
                        .when = ROWS_EARLY,
                        .to_whom = w->ahead.dropped ? TO_STORE : TO_ALL};
    size_t first = windows_until(w, w->early_us > w->emitted_us ? w->early_us
                                                                : w->emitted_us),
           end = windows_until(w, until_us);
    int r = 0;
    w->early_us = until_us;
    expect(&c, first, end);
    for (size_t i = first; r == 0 && i < end; i++)
        if ((r = emit_some_of(&c, &w->groups.window[i], EARLY_NOTHING)) == 0)
            groups_set_aside(&w->groups, i);
    if (r == 0 && c.groups)
        r = send_sets(&c, position_before(w), w->emitted_us);
    if (r == 0 && w->pipeline->outflow)
        chain_set_aside(w, until_us, &c.pieces);
    return end_closing(&c, r, error);
}

/* The states that are given back to their plugins. */
static void prefetch_dropped(const struct worker *w, uint32_t slot)
{
    const struct pipeline *p = w->pipeline;
    const char *block = groups_state(&w->groups, slot);
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct weir_analyzer *a = &p->step[i].binding->plugin->analyzer;
        if (!a->drop)
            continue;
        __builtin_prefetch(block + p->step[i].offset);
        __builtin_prefetch(block + p->step[i].offset + a->state_size - 1);
    }
}

static void forget_windows(struct worker *w, int64_t until_us)
{
    size_t n = windows_until(w, until_us);
    for (size_t k = 0; w->pipeline->drops && k < n; k++) {
        const struct group_window *window = &w->groups.window[k];
        for (size_t i = 0; i < window->n; i++) {
            if (i + FETCH_GROUPS < window->n)
                prefetch_dropped(w, window->slot[i + FETCH_GROUPS]);
            analyze_drop(w, window->slot[i], 0, w->pipeline->n_steps);
        }
    }
    for (size_t k = 0; w->former.room && k < n; k++)
        for (size_t i = 0; i < w->groups.window[k].n; i++)
            former_set(&w->former, w->groups.window[k].slot[i], NULL);
    groups_close_oldest(&w->groups, n);
}

/* ---- Windows by key -------------------------------------------------------------------------------- */

/* A row of each table for a result that is none any more. */
static int put_taken(struct closing *c, const struct keyed_taken *t)
{
    const struct worker *w = c->worker;
    const struct pipeline *p = w->pipeline;
    struct outflow_piece **list = c->pieces.list;
    int r = 0;
    for (struct of_table *o = p->outflow; p->replaced && r == 0 && o;
         o = o->next, list++) {
        const struct former *rows = former_of(t->former, chain_table(p, o));
        if (rows)
            r = chain_add(w, o, rows, OUTFLOW_GONE, c->border_us, list);
    }
    if (r < 0)
        return r;
    struct weir_cell key[SCHEMA_COLUMNS_MAX];
    char bytes[KEY_BYTES_MAX];
    analyze_key(w, &w->groups.key[t->key], key, bytes);
    for (size_t i = 0; i < p->n_tables; i++) {
        if (p->table[i] == p->late_table)
            continue;
        const struct table *table = p->table[i];
        struct rowset *set = ready_set(c, table, w->keyed.n_taken);
        struct weir_cell *row = set ? rowset_row(set) : NULL;
        if (!row || begin_cells(set, row, t->start_us, key, p->config->n_keys) < 0)
            return -ENOMEM;
        if (table->n_primary > 1 + table->n_keys)
            cell_put_int(&row[table->n_primary - 1], 0);
        cell_put_int(&row[table->revision], t->revision);
        c->no_result++;
    }
    return 0;
}

static int by_key(const void *a, const void *b, void *worker)
{
    const struct worker *w = worker;
    const struct keyed_taken *x = a, *y = b;
    const struct group_key *p = &w->groups.key[x->key], *q = &w->groups.key[y->key];
    int order = memcmp(p->bytes, q->bytes, p->size < q->size ? p->size : q->size);
    return order ? order : (p->size > q->size) - (p->size < q->size);
}

static int emit_taken(struct closing *c)
{
    struct keyed *k = &c->worker->keyed;
    int r = 0;
    if (c->worker->pipeline->replaced && k->n_taken > 1)
        qsort_r(k->taken, k->n_taken, sizeof(*k->taken), by_key, c->worker);
    for (size_t i = 0; r == 0 && i < k->n_taken; i++)
        r = put_taken(c, &k->taken[i]);
    for (size_t i = 0; i < k->n_taken; i++)
        former_drop(k->taken[i].former);
    k->n_taken = 0;
    return r;
}

/* What is due, and what that takes back. */
static int emit_keyed(struct closing *c, int64_t until_us, bool last)
{
    struct worker *w = c->worker;
    struct keyed *k = &w->keyed;
    uint32_t flags =
        w->pipeline->window.kind == CONFIG_GLOBAL ? WEIR_EARLY : WEIR_FINAL;
    if (w->pipeline->window.kind == CONFIG_GLOBAL)
        c->border_us = keyed_border(w, until_us, last);
    int r = emit_taken(c), more = 1;
    while (r == 0 && more) {
        r = more = keyed_collect(w, until_us, last);
        if (r < 0)
            break;
        size_t n = k->n_give;
        r = emit_groups(c, k->give, k->n_fresh, flags);
        if (r == 0)
            r = emit_groups(c, k->give + k->n_fresh, n - k->n_fresh,
                            flags | WEIR_REVISED);
        metric_add(&w->pipeline->windows, r == 0 ? k->n_fresh : 0);
        metric_add(&w->pipeline->revisions, r == 0 ? n - k->n_fresh : 0);
        if (r == 0)
            r = keyed_given(w, until_us, last);
    }
    if (r == 0)
        r = emit_taken(c);
    keyed_show(w);
    return r;
}

/* Where there is a result behind each row, those of an entry go together. */
static int give_out_running(struct worker *w, int64_t watermark_us)
{
    struct error error = {0};
    if (!w->closing && !(w->closing = calloc(1, sizeof(*w->closing))))
        return -ENOMEM;
    struct closing *c = w->closing;
    if (!c->worker)
        *c = (struct closing){
            .worker = w, .done_us = w->emitted_us, .expected = BATCH_BLOCK};
    int r = emit_keyed(c, watermark_us, false);
    return r < 0 ? end_closing(c, r, &error) : 0;
}

int worker_give_out(struct worker *w, int64_t watermark_us)
{
    struct closing c = {.worker = w, .done_us = w->emitted_us};
    struct error error = {0}; /* the caller has a better text */
    if (w->pipeline->window.running)
        return give_out_running(w, watermark_us);
    int r = emit_keyed(&c, watermark_us, false);
    if (r == 0)
        r = send_sets(&c, w->position, w->emitted_us);
    return end_closing(&c, r, &error);
}

void worker_closing_free(struct worker *w)
{
    struct error error = {0};
    if (w->closing && w->closing->worker)
        end_closing(w->closing, 0, &error);
    free(w->closing);
}

/* Windows by time, behind what is given out again. */
static int close_by_time(struct closing *c, int64_t until_us, bool last)
{
    struct worker *w = c->worker;
    const struct pipeline *p = w->pipeline;
    const int64_t lateness_us = last ? 0 : p->config->allowed_lateness_us;
    const int64_t border_us =
        chain_waits(p) ? window_next_border(&p->window, w->emitted_us) : INT64_MIN;
    /* What waits for a border must not be forgotten before. */
    const bool waits = chain_waits(p) && until_us < border_us && !last;
    int r = 0;
    if (chain_waits(p) && !waits)
        r = emit_waiting(c, border_us < until_us ? border_us : until_us);
    c->later = waits;
    if (r == 0 && w->revised.n)
        r = emit_revised(c);
    c->later = false;
    if (r == 0 && w->early_us != INT64_MIN && !w->watermark.held)
        r = emit_changed(c);
    /* Windows of several panes go border by border: no more than one is there twice, as panes and merged. */
    for (int64_t to_us = INT64_MIN; r == 0 && to_us < until_us;) {
        struct panes_whole whole;
        to_us = panes_next(w, until_us);
        r = panes_seal_next(w, to_us, &whole);
        if (r == 0)
            r = emit_windows(c, to_us);
        if (r == 0)
            r = emit_whole(c, &whole);
        w->emitted_us = to_us;
        if (r == 0 && !waits && to_us >= INT64_MIN + lateness_us)
            forget_windows(w, to_us - lateness_us);
    }
    return r;
}

int worker_give_at(struct worker *w, int64_t watermark_us)
{
    struct closing c = {.worker = w, .done_us = w->emitted_us};
    struct error error = {0}; /* the caller has a better text */
    int r = close_by_time(&c, watermark_us, false);
    if (r == 0)
        r = send_sets(&c, position_before(w), watermark_us);
    return end_closing(&c, r, &error);
}

int worker_close_windows(struct worker *w, int64_t until_us, bool last,
                         struct error *error)
{
    const struct pipeline *p = w->pipeline;
    struct closing own, *c = &own;
    if (w->closing && w->closing->worker)
        c = w->closing;
    else
        own = (struct closing){.worker = w, .done_us = w->emitted_us};
    int r;
    if (window_is_by_key(&p->window)) {
        r = emit_keyed(c, until_us, last);
        w->emitted_us = until_us;
    } else {
        r = close_by_time(c, until_us, last);
    }
    if (r == 0) {
        groups_forget_keys(&w->groups);
        r = send_sets(c, w->position, until_us);
    }
    return end_closing(c, r, error);
}

int worker_emit_as_is(struct worker *w, size_t table, const uint32_t *slot, size_t n,
                      int64_t border_us, struct rowset **set)
{
    const struct pipeline *p = w->pipeline;
    struct closing c = {
        .worker = w, .border_us = border_us, .only = p->table[table % p->n_of_size]};
    c.set[table] = *set;
    int r = emit_groups(&c, slot, n, WEIR_EARLY);
    *set = c.set[table];
    free_chunks(&c);
    return r;
}
