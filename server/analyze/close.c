/* SPDX-License-Identifier: Apache-2.0
 *
 * Closing windows: the groups of a window, in the order of their keys, become result rows.
 */
#include "analyze/worker.h"

#include "base/clock.h"

#include <errno.h>
#include <string.h>

#define ROWS_MAX  16384u /* of one rowset; a larger window goes in several */
#define CELLS_MAX 256u

/* The rows that are being made: a set for each table of the pipeline. */
struct closing {
    struct worker *worker;
    const struct group_window *window;
    struct rowset *set[65];
    /* Of the group at hand. */
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

/* Sends what there is. Rows of an entry that is not wholly done yet go with the position before it. */
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
    metric_add(&p->rows, rows);
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

/* Begins a row: window_start and the key. NULL: no memory. */
static struct weir_cell *begin_row(struct closing *c, struct rowset *set)
{
    struct weir_cell *row = rowset_row(set);
    if (!row)
        return NULL;
    row[0].type = WEIR_TIME;
    row[0].as.i = c->window->start_us;
    for (size_t i = 0; i < c->worker->pipeline->config->n_keys; i++) {
        row[1 + i] = c->key[i];
        if (row[1 + i].type == WEIR_STRING && rowset_keep(set, &row[1 + i]) < 0)
            return NULL;
    }
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
        c->many = ready_set(c, s->table, c->window->n);
        if (!c->many)
            return -ENOMEM;
    }
    if (a->emit(&w->host[i].ctx, block + s->offset, cells, &out))
        return -EINVAL;
    return row && !(a->flags & WEIR_MANY_ROWS) ? copy_outputs(s, own, row, cells) : 0;
}

/* Its states are given back in any case. */
static int emit_group(struct closing *c, uint32_t slot)
{
    struct worker *w = c->worker;
    struct pipeline *p = w->pipeline;
    read_key(c, &w->groups.key[w->groups.slot[slot].key]);
    struct rowset *own = p->own ? ready_set(c, p->own, c->window->n) : NULL;
    struct weir_cell *row = own ? begin_row(c, own) : NULL;
    int r = p->own && !row ? -ENOMEM : 0;
    const char *block = groups_state(&w->groups, slot);
    for (size_t i = 0; i < p->n_stages; i++) {
        host_lock(&w->host[i]);
        if (r == 0)
            r = emit_stage(c, i, block, own, row);
        host_unlock(&w->host[i]);
    }
    worker_drop_states(w, slot, 0, p->n_stages);
    return r;
}

static bool sets_full(const struct closing *c)
{
    for (size_t i = 0; i < c->worker->pipeline->n_tables; i++)
        if (c->set[i] && c->set[i]->n_rows >= ROWS_MAX)
            return true;
    return false;
}

static int close_window(struct closing *c, int64_t before_us)
{
    struct worker *w = c->worker;
    int r = groups_sort(&w->groups, w->groups.window);
    c->window = groups_oldest(&w->groups);
    size_t done = 0;
    while (r == 0 && done < c->window->n) {
        r = emit_group(c, c->window->slot[done++]);
        if (r == 0 && sets_full(c))
            r = send_sets(c, w->position - 1, before_us);
    }
    if (r < 0) { /* the groups that still have states stay, for worker_free */
        struct group_window *window = groups_oldest(&w->groups);
        window->n -= done;
        memmove(window->slot, window->slot + done, window->n * sizeof(*window->slot));
        return r;
    }
    groups_close_oldest(&w->groups);
    metric_add(&w->pipeline->windows, 1);
    return 0;
}

int worker_close_windows(struct worker *w, int64_t until_us, struct error *error)
{
    const struct pipeline *p = w->pipeline;
    struct closing c = {.worker = w};
    int r = 0;
    const struct group_window *oldest;
    while (r == 0 && (oldest = groups_oldest(&w->groups)) &&
           oldest->start_us + p->config->window_us <= until_us)
        r = close_window(&c, oldest->start_us);
    if (r == 0)
        groups_forget_keys(&w->groups);
    if (r == 0)
        r = send_sets(&c, w->position, until_us);
    for (size_t i = 0; i < p->n_tables; i++)
        rowset_free(c.set[i]);
    if (r < 0 && r != -EINVAL)
        return error_set(error, r, "results cannot be handed on: %s", strerror(-r));
    return r;
}
