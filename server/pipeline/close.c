/* SPDX-License-Identifier: Apache-2.0
 *
 * What an entry of the log brings to an end: the groups of the windows that the watermark has passed, in
 * the order of their keys, become result rows, and so do those of older windows that were revised. What
 * cannot be revised any more is forgotten.
 */
#include "pipeline/worker.h"

#include <errno.h>
#include <string.h>

#define ROWS_MAX  16384u /* of one rowset; a larger window goes in several */
#define CELLS_MAX 256u

/* The rows that are being made: a set for each table of the pipeline. */
struct closing {
    struct worker *worker;
    size_t expected;    /* groups of which rows will be made, about */
    int64_t done_us;    /* all windows that end at or before it are in the rows sent */
    uint64_t no_result; /* rows of the sets that are none, see struct table */
    struct rowset *set[65];
    /* Of the group at hand. */
    const struct group_slot *group;
    struct window window;
    const struct stage *stage;
    struct rowset *many;
    int64_t rank;
    struct weir_cell key[SCHEMA_COLUMNS_MAX];
    char scratch[KEY_BYTES_MAX];
    char key_bytes[2 * KEY_BYTES_MAX];
};

static struct rowset **set_of(struct closing *c, const struct table *t)
{
    size_t i = 0;
    while (c->worker->pipeline->table[i] != t)
        i++;
    return &c->set[i];
}

static struct rowset *ready_set(struct closing *c, const struct table *t, size_t rows)
{
    struct rowset **set = set_of(c, t);
    if (!*set && rowset_new(t, rows < ROWS_MAX ? rows : ROWS_MAX, set) < 0)
        return NULL;
    return *set;
}

/* Sends what there is, with the late events of the entry in front. Rows of an entry that is not wholly
 * done yet go with the position before it. */
static int send_sets(struct closing *c, uint64_t position, int64_t watermark_us)
{
    struct pipeline *p = c->worker->pipeline;
    struct rowset *list = NULL;
    uint64_t rows = 0;
    for (size_t i = p->n_tables; i-- > 0;) {
        if (!c->set[i])
            continue;
        rows += c->set[i]->n_rows;
        c->set[i]->next = list;
        list = c->set[i];
        c->set[i] = NULL;
    }
    metric_add(&p->rows, rows - c->no_result);
    c->no_result = 0;
    if (c->worker->side) {
        c->worker->side->next = list;
        list = c->worker->side;
        c->worker->side = NULL;
    }
    return p->sink.put(p->sink.ctx, p->config->name, c->worker->index,
                       p->config->workers, position, watermark_us, list);
}

/* The key columns of a group as cells; their strings are copied so that they stay while rows are put. */
static void read_key(struct closing *c, const struct group_key *key)
{
    const struct pipeline *p = c->worker->pipeline;
    const char *at = key->bytes, *end = key->bytes + key->size;
    char *to = c->key_bytes;
    for (size_t i = 0; i < p->config->n_keys; i++) {
        enum weir_type type = p->schema->column[p->config->key[i]].type;
        keys_read(&at, end, type, i + 1 == p->config->n_keys, c->scratch, &c->key[i]);
        if (type == WEIR_STRING) {
            memcpy(to, c->key[i].as.s, c->key[i].size);
            c->key[i].as.s = to;
            to += c->key[i].size;
        }
    }
}

/* Begins a row: the window, the key and the revision. NULL: no memory. */
static struct weir_cell *begin_row(struct closing *c, struct rowset *set)
{
    struct weir_cell *row = rowset_row(set);
    if (!row)
        return NULL;
    row[0].type = WEIR_TIME;
    row[0].as.i = c->window.start_us;
    for (size_t i = 0; i < c->worker->pipeline->config->n_keys; i++) {
        row[1 + i] = c->key[i];
        if (row[1 + i].type == WEIR_STRING && rowset_keep(set, &row[1 + i]) < 0)
            return NULL;
    }
    row[set->table->n_primary].type = WEIR_TIME;
    row[set->table->n_primary].as.i = c->window.end_us;
    if (set->table->revision)
        weir_put_int(&row[set->table->revision], c->group->revision);
    return row;
}

/* Copies the outputs that are columns. */
static int copy_outputs(const struct stage *s, struct rowset *set,
                        struct weir_cell *row, const struct weir_cell *cells)
{
    for (size_t i = 0; i < s->binding->n_outputs; i++) {
        struct weir_cell *to = &row[s->column + i];
        *to = cells[s->binding->output[i].cell];
        if (to->type == WEIR_STRING && rowset_keep(set, to) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* host->put of an analyzer that gives many rows. */
static int put_row(void *ctx, const struct weir_cell *cells)
{
    struct closing *c = ctx;
    struct weir_cell *row = begin_row(c, c->many);
    if (!row)
        return -1;
    struct weir_cell *rank = &row[1 + c->worker->pipeline->config->n_keys];
    weir_put_int(rank, ++c->rank);
    return copy_outputs(c->stage, c->many, row, cells) < 0 ? -1 : 0;
}

/* The rows that a revised group had are to go, and none come in their place. */
static int put_none(struct closing *c)
{
    const struct table *t = c->many->table;
    struct weir_cell *row = begin_row(c, c->many);
    if (!row)
        return -ENOMEM;
    weir_put_int(&row[t->n_primary - 1], 0);
    c->no_result++;
    return 0;
}

static int emit_stage(struct closing *c, size_t i, const char *block,
                      struct rowset *own, struct weir_cell *row)
{
    struct worker *w = c->worker;
    const struct stage *s = &w->pipeline->stage[i];
    const struct weir_analyzer *a = &s->binding->plugin->analyzer;
    struct weir_cell cells[CELLS_MAX];
    memset(cells, 0, s->binding->n_cells * sizeof(*cells));
    struct weir_out out = {0};
    if (a->flags & WEIR_MANY_ROWS) {
        out = (struct weir_out){.put = put_row, .ctx = c};
        c->stage = s;
        c->rank = 0;
        c->many = ready_set(c, s->table, c->expected);
        if (!c->many)
            return -ENOMEM;
    }
    if (a->emit(&w->host[i].ctx, block + s->offset, cells, &out))
        return -EINVAL;
    if (!(a->flags & WEIR_MANY_ROWS))
        return row ? copy_outputs(s, own, row, cells) : 0;
    return c->rank == 0 && s->table->revision && c->group->revision ? put_none(c) : 0;
}

static int emit_group(struct closing *c, uint32_t slot)
{
    struct worker *w = c->worker;
    struct pipeline *p = w->pipeline;
    c->group = &w->groups.slot[slot];
    c->window = window_by_id(&p->window, c->group->window);
    read_key(c, &w->groups.key[c->group->key]);
    struct rowset *own = p->own ? ready_set(c, p->own, c->expected) : NULL;
    struct weir_cell *row = own ? begin_row(c, own) : NULL;
    int r = p->own && !row ? -ENOMEM : 0;
    const char *block = groups_state(&w->groups, slot);
    for (size_t i = 0; r == 0 && i < p->n_stages; i++) {
        host_lock(&w->host[i]);
        r = emit_stage(c, i, block, own, row);
        host_unlock(&w->host[i]);
    }
    return r;
}

static bool sets_full(const struct closing *c)
{
    for (size_t i = 0; i < c->worker->pipeline->n_tables; i++)
        if (c->set[i] && c->set[i]->n_rows >= ROWS_MAX)
            return true;
    return false;
}

static int emit_groups(struct closing *c, const uint32_t *slot, size_t n)
{
    int r = 0;
    c->expected = n;
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = emit_group(c, slot[i]);
        if (r == 0 && sets_full(c))
            r = send_sets(c, c->worker->position - 1, c->done_us);
    }
    return r;
}

static int emit_revised(struct closing *c)
{
    struct worker *w = c->worker;
    size_t n = groups_sort_slots(&w->groups, w->revised, w->n_revised);
    w->n_revised = 0;
    metric_add(&w->pipeline->revisions, n);
    return emit_groups(c, w->revised, n);
}

/* Windows that end at or before `us`: the index behind them. */
static size_t windows_until(const struct worker *w, int64_t us)
{
    return groups_window_from(&w->groups, window_first_open(&w->pipeline->window, us));
}

static int emit_windows(struct closing *c, int64_t until_us)
{
    struct worker *w = c->worker;
    size_t end = windows_until(w, until_us);
    int r = 0;
    for (size_t i = windows_until(w, w->emitted_us); r == 0 && i < end; i++) {
        struct group_window *window = &w->groups.window[i];
        if (window_is_pane(&w->pipeline->window, window->id))
            continue;
        int64_t start_us = window_by_id(&w->pipeline->window, window->id).start_us;
        if (start_us > c->done_us) /* what ends by then has a lesser id */
            c->done_us = start_us;
        r = groups_sort(&w->groups, window);
        if (r == 0)
            r = emit_groups(c, window->slot, window->n);
        metric_add(&w->pipeline->windows, r == 0);
    }
    return r;
}

static void forget_windows(struct worker *w, int64_t until_us)
{
    size_t n = windows_until(w, until_us);
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < w->groups.window[k].n; i++)
            worker_drop_states(w, w->groups.window[k].slot[i], 0,
                               w->pipeline->n_stages);
    groups_close_oldest(&w->groups, n);
}

int worker_close_windows(struct worker *w, int64_t until_us, bool last,
                         struct error *error)
{
    const struct pipeline *p = w->pipeline;
    struct closing c = {.worker = w, .done_us = w->emitted_us};
    int64_t lateness_us = last ? 0 : p->config->allowed_lateness_us;
    int r = w->n_revised ? emit_revised(&c) : 0;
    if (r == 0)
        r = panes_seal(w, until_us);
    if (r == 0)
        r = emit_windows(&c, until_us);
    if (r == 0) {
        w->emitted_us = until_us;
        if (until_us >= INT64_MIN + lateness_us)
            forget_windows(w, until_us - lateness_us);
        groups_forget_keys(&w->groups);
        r = send_sets(&c, w->position, until_us);
    }
    for (size_t i = 0; i < p->n_tables; i++)
        rowset_free(c.set[i]);
    if (r < 0 && r != -EINVAL)
        return error_set(error, r, "results cannot be handed on: %s", strerror(-r));
    return r;
}
