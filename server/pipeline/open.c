/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/open.h"

#include "base/clock.h"
#include "pipeline/keyed_kinds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS_MAX  (16u * OPEN_ROWS_MAX) /* groups of panes of one window */
#define TIME_LOOKS 4096u                 /* groups between two looks at the clock */
#define EMIT_SOME  64u                   /* likewise, of those that are given out */

/* ---- The question -------------------------------------------------------------------------------- */

/* Shared by who asks and the workers; the last one frees it. */
struct asking {
    struct open_rows rows; /* first: what the asker has */
    struct open_question q;
    struct open_filter *filter;
    char *bytes; /* of strings in filters */

    pthread_mutex_t lock; /* protects all below, and rows.part[] until it is answered */
    pthread_cond_t answered;
    unsigned refs, missing;
    int err; /* the first; then no worker looks any more */
    struct error error;
    struct open_part part[];
};

static void unref(struct asking *a)
{
    pthread_mutex_lock(&a->lock);
    bool last = --a->refs == 0;
    pthread_mutex_unlock(&a->lock);
    if (!last)
        return;
    for (unsigned i = 0; i < a->rows.workers; i++)
        rowset_free(a->part[i].rows);
    pthread_cond_destroy(&a->answered);
    pthread_mutex_destroy(&a->lock);
    free(a->filter);
    free(a->bytes);
    free(a);
}

static int copy_filters(struct asking *a, const struct open_question *q)
{
    size_t size = 0;
    for (size_t i = 0; i < q->n_filters; i++)
        size += q->filter[i].value.type == WEIR_STRING ? q->filter[i].value.size : 0;
    a->filter = calloc(q->n_filters + 1, sizeof(*a->filter));
    char *at = a->bytes = malloc(size + 1);
    if (!a->filter || !at)
        return -ENOMEM;
    for (size_t i = 0; i < q->n_filters; i++) {
        a->filter[i] = q->filter[i];
        struct weir_cell *value = &a->filter[i].value;
        if (value->type != WEIR_STRING || !value->size)
            continue;
        memcpy(at, value->as.s, value->size);
        value->as.s = at;
        at += value->size;
    }
    return 0;
}

static int asking_new(const struct pipeline *p, const struct open_question *q,
                      struct asking **ret)
{
    const unsigned n = p->config->workers;
    struct asking *a = calloc(1, sizeof(*a) + n * sizeof(a->part[0]));
    if (!a)
        return -ENOMEM;
    pthread_mutex_init(&a->lock, NULL);
    clock_cond_init(&a->answered);
    a->refs = 1;
    a->rows = (struct open_rows){.workers = n, .part = a->part};
    for (unsigned i = 0; i < n; i++)
        a->part[i].of = &a->rows;
    a->q = *q;
    int r = copy_filters(a, q);
    a->q.filter = a->filter;
    if (r < 0)
        unref(a);
    else
        *ret = a;
    return r;
}

/* Takes the worker's reference. */
static void finish(struct open_part *part, int err, const struct error *error)
{
    struct asking *a = (struct asking *)part->of;
    pthread_mutex_lock(&a->lock);
    a->missing--;
    if (err < 0 && !a->err) {
        a->err = err;
        a->error = *error;
    }
    pthread_cond_broadcast(&a->answered);
    pthread_mutex_unlock(&a->lock);
    unref(a);
}

int pipeline_open_rows(struct pipeline *p, const struct open_question *q,
                       int64_t deadline_us, struct open_rows **ret, struct error *error)
{
    struct asking *a;
    if (pipeline_failed(p))
        return error_set(error, -EBUSY, "pipeline '%s' has stopped", p->config->name);
    if (asking_new(p, q, &a) < 0)
        return error_set(error, -ENOMEM, "no memory");
    pthread_mutex_lock(&p->lock);
    const bool runs = p->worker;
    for (unsigned i = 0; runs && i < a->rows.workers; i++) {
        struct worker *w = &p->worker[i];
        struct open_part *last = atomic_load_explicit(&w->asked, memory_order_relaxed);
        a->refs++;
        a->missing++;
        while (last && last->next)
            last = last->next;
        if (last)
            last->next = &a->part[i];
        else
            atomic_store_explicit(&w->asked, &a->part[i], memory_order_relaxed);
        task_wake(&w->task);
    }
    pthread_mutex_unlock(&p->lock);

    pthread_mutex_lock(&a->lock);
    int waited = 0;
    while (a->missing && !a->err && waited != ETIMEDOUT)
        waited = clock_cond_wait(&a->answered, &a->lock, deadline_us);
    if (!a->err && a->missing)
        a->err = error_set(&a->error, -ETIMEDOUT,
                           "the workers of pipeline '%s' are busy", p->config->name);
    if (!runs)
        a->err =
            error_set(&a->error, -EBUSY, "pipeline '%s' does not run", p->config->name);
    int err = a->err;
    if (err)
        *error = a->error;
    pthread_mutex_unlock(&a->lock);
    if (err)
        unref(a);
    else
        *ret = &a->rows;
    return err;
}

void open_rows_free(struct open_rows *o)
{
    if (o)
        unref((struct asking *)o);
}

/* ---- Rows of groups ------------------------------------------------------------------------------ */

struct opening {
    struct worker *worker;
    const struct open_question *q;
    size_t table;                /* its place in pipeline.table */
    size_t size;                 /* of its windows */
    int64_t until_ns, border_us; /* until_ns: of the thread's CPU time */
    uint32_t looks;
    struct rowset *rows;
    uint32_t slot[ANALYZE_GROUPS]; /* to be given out */
    size_t n;
    struct analyze_groups *groups; /* while panes are merged */
};

static int in_time(const struct opening *x)
{
    return clock_thread_cpu_ns() < x->until_ns ? 0 : -ETIMEDOUT;
}

static int emit(struct opening *x)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < x->n; i += EMIT_SOME) {
        r = worker_emit_as_is(x->worker, x->table, x->slot + i,
                              x->n - i < EMIT_SOME ? x->n - i : EMIT_SOME, x->border_us,
                              &x->rows);
        if (r == 0 && x->rows &&
            (x->rows->n_rows > OPEN_ROWS_MAX || x->rows->bytes > OPEN_BYTES_MAX))
            r = -E2BIG;
        if (r == 0)
            r = in_time(x);
    }
    x->n = 0;
    return r;
}

static int add(struct opening *x, uint32_t slot)
{
    x->slot[x->n++] = slot;
    return x->n == ANALYZE_GROUPS ? emit(x) : 0;
}

static bool is_value(const struct weir_cell *c, const struct weir_cell *value)
{
    switch (c->type) {
    case WEIR_STRING:
        return value->type == WEIR_STRING && c->size == value->size &&
               (!c->size || memcmp(c->as.s, value->as.s, c->size) == 0);
    case WEIR_FLOAT:
        return value->type != WEIR_STRING && c->as.f == (double)value->as.i;
    default:
        return value->type != WEIR_STRING && c->as.i == value->as.i;
    }
}

/* Of each key column that has filters, one of the values. */
static bool is_asked(const struct opening *x, uint32_t key)
{
    struct weir_cell cell[SCHEMA_COLUMNS_MAX];
    char bytes[KEY_BYTES_MAX];
    if (!x->q->n_filters)
        return true;
    analyze_key(x->worker, &x->worker->groups.key[key], cell, bytes);
    for (size_t i = 0; i < x->q->n_filters; i++) {
        bool some = false;
        for (size_t k = 0; k < x->q->n_filters && !some; k++)
            some = x->q->filter[k].key == x->q->filter[i].key &&
                   is_value(&cell[x->q->filter[k].key], &x->q->filter[k].value);
        if (!some)
            return false;
    }
    return true;
}

static bool starts_in(const struct opening *x, int64_t start_us)
{
    return start_us >= x->q->from_us &&
           (start_us < x->q->to_us || x->q->to_us == INT64_MAX);
}

/* -ETIMEDOUT now and then. */
static int look(struct opening *x)
{
    return ++x->looks % TIME_LOOKS ? 0 : in_time(x);
}

/* ---- Windows at fixed times ---------------------------------------------------------------------- */

static size_t first_open(const struct worker *w)
{
    return groups_window_from(&w->groups,
                              window_first_open(&w->pipeline->window, w->emitted_us));
}

static int read_windows(struct opening *x)
{
    const struct groups *g = &x->worker->groups;
    int r = 0;
    for (size_t i = first_open(x->worker); r == 0 && i < g->n_windows; i++) {
        const struct group_window *window = &g->window[i];
        const struct window at = window_by_id(&x->worker->pipeline->window, window->id);
        if (at.end_us <= x->worker->emitted_us || !starts_in(x, at.start_us))
            continue;
        for (size_t k = 0; r == 0 && k < window->n; k++) {
            r = look(x);
            if (r == 0 && is_asked(x, g->slot[window->slot[k]].key))
                r = add(x, window->slot[k]);
        }
    }
    return r;
}

/* A window and one of its panes, which are in the order of their ids. */
struct pane_of {
    int64_t window;
    size_t pane; /* place in groups.window */
};

static int compare_panes(const void *a, const void *b)
{
    const struct pane_of *x = a, *y = b;
    if (x->window != y->window)
        return x->window < y->window ? -1 : 1;
    return (x->pane > y->pane) - (x->pane < y->pane);
}

/* All of them, of windows of the size that have not been sealed. */
static int find_panes(const struct opening *x, struct pane_of **ret, size_t *ret_n)
{
    const struct worker *w = x->worker;
    const struct window_kind *kind = &w->pipeline->window;
    size_t n = 0, room = 0;
    struct pane_of *list = NULL;
    for (size_t i = first_open(w); i < w->groups.n_windows; i++) {
        if (!window_is_pane(kind, w->groups.window[i].id))
            continue;
        int64_t start_us = window_by_id(kind, w->groups.window[i].id).start_us;
        struct window window;
        for (size_t k = 0; window_around(kind, start_us, k, &window); k++) {
            if (window.end_us <= w->sealed_us ||
                window_size_of(kind, window.id) != x->size ||
                !starts_in(x, window.start_us))
                continue;
            if (n == room) {
                room = room ? 2 * room : 64;
                struct pane_of *more = realloc(list, room * sizeof(*more));
                if (!more) {
                    free(list);
                    return -ENOMEM;
                }
                list = more;
            }
            list[n++] = (struct pane_of){window.id, i};
        }
    }
    if (n)
        qsort(list, n, sizeof(*list), compare_panes);
    *ret = list;
    *ret_n = n;
    return 0;
}

/* The groups of a window's panes, by key: some keys at a time are merged. */
struct item {
    uint64_t order; /* those keys together, then by pane */
    uint32_t key;   /* number among those of the window */
    uint32_t slot;
};

struct merging {
    uint32_t *
        number; /* of each key of the worker among those of the window, and one; 0: none */
    uint32_t *key; /* of each number */
    size_t n_keys, n, room;
    struct item *item;
};

static int compare_items(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    return (x->order > y->order) - (x->order < y->order);
}

static int add_items(struct opening *x, struct merging *m, size_t pane, size_t seq)
{
    const struct groups *g = &x->worker->groups;
    const struct group_window *window = &g->window[pane];
    int r = 0;
    for (size_t k = 0; r == 0 && k < window->n; k++) {
        uint32_t key = g->slot[window->slot[k]].key;
        r = look(x);
        if (!m->number[key]) {
            if (!is_asked(x, key))
                continue;
            m->key[m->n_keys] = key;
            m->number[key] = (uint32_t)++m->n_keys;
        }
        if (m->n == m->room) {
            m->room = m->room ? 2 * m->room : 1024;
            struct item *more = realloc(m->item, m->room * sizeof(*more));
            if (!more)
                return -ENOMEM;
            m->item = more;
        }
        uint32_t number = m->number[key] - 1;
        m->item[m->n++] = (struct item){(uint64_t)(number / ANALYZE_GROUPS) << 32 | seq,
                                        number, window->slot[k]};
        if (m->n > ITEMS_MAX || m->n_keys > OPEN_ROWS_MAX)
            r = -E2BIG;
    }
    return r;
}

/* Groups beside the others: the states of those keys in the window, from zeros. *ret_n: how many there are, with one that
 * failed left out. */
static int open_apart(struct opening *x, const uint32_t *key, size_t n, int64_t id,
                      uint32_t *slot, size_t *ret_n)
{
    struct worker *w = x->worker;
    int r = 0;
    *ret_n = 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = groups_open_apart(&w->groups, key[i], &slot[i]);
        if (r < 0)
            break;
        w->groups.slot[slot[i]].window = id;
        memset(groups_state(&w->groups, slot[i]), 0, w->pipeline->stride);
        r = analyze_init(w, slot[i]);
        if (r < 0)
            groups_close_apart(&w->groups, slot[i]);
        else
            ++*ret_n;
    }
    return r;
}

/* The items of so many keys: merged, given out, forgotten. */
static int emit_merged(struct opening *x, const struct merging *m, size_t first,
                       size_t end, int64_t id)
{
    struct worker *w = x->worker;
    uint32_t slot[ANALYZE_GROUPS], into[ANALYZE_GROUPS], from[ANALYZE_GROUPS];
    size_t first_key = m->item[first].key / ANALYZE_GROUPS * ANALYZE_GROUPS, n = 0;
    size_t n_keys =
        m->n_keys - first_key < ANALYZE_GROUPS ? m->n_keys - first_key : ANALYZE_GROUPS;
    int r = open_apart(x, m->key + first_key, n_keys, id, slot, &n);
    for (size_t i = first, k; r == 0 && i < end; i = k) {
        size_t some = 0;
        for (k = i; k < end && m->item[k].order == m->item[i].order; k++, some++) {
            into[some] = slot[m->item[k].key - first_key];
            from[some] = m->item[k].slot;
        }
        r = analyze_groups_read(w, x->groups, into, some, 0);
        if (r == 0)
            r = analyze_merge(w, x->groups, from);
        if (r == 0)
            r = in_time(x);
    }
    for (size_t i = 0; r == 0 && i < n; i++)
        r = add(x, slot[i]);
    if (r == 0)
        r = emit(x);
    for (size_t i = 0; i < n; i++) {
        analyze_drop(w, slot[i], 0, w->pipeline->n_steps);
        groups_close_apart(&w->groups, slot[i]);
    }
    return r;
}

static int merge_window(struct opening *x, struct merging *m,
                        const struct pane_of *list, size_t n)
{
    int r = 0;
    m->n = m->n_keys = 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = add_items(x, m, list[i].pane, i);
    if (r == 0 && m->n)
        qsort(m->item, m->n, sizeof(*m->item), compare_items);
    for (size_t i = 0, k; r == 0 && i < m->n; i = k) {
        for (k = i; k < m->n && m->item[k].order >> 32 == m->item[i].order >> 32;)
            k++;
        r = emit_merged(x, m, i, k, list[0].window);
    }
    for (size_t i = 0; i < m->n_keys; i++)
        m->number[m->key[i]] = 0;
    return r;
}

static int read_panes(struct opening *x)
{
    struct worker *w = x->worker;
    struct pane_of *list = NULL;
    size_t n = 0, n_keys = w->groups.n_keys + 1u;
    struct merging m = {.number = calloc(n_keys, sizeof(*m.number)),
                        .key = malloc(n_keys * sizeof(*m.key))};
    int r = m.number && m.key ? find_panes(x, &list, &n) : -ENOMEM;
    if (r == 0)
        r = analyze_groups_new(w, &x->groups);
    for (size_t i = 0, k; r == 0 && i < n; i = k) {
        for (k = i; k < n && list[k].window == list[i].window;)
            k++;
        r = merge_window(x, &m, list + i, k - i);
    }
    analyze_groups_free(x->groups);
    free(m.number);
    free(m.key);
    free(m.item);
    free(list);
    return r;
}

/* ---- Windows by key ------------------------------------------------------------------------------ */

/* Windows of several panes that the key's newest pane is in, or that have earlier ones, and are not full. */
static int read_counted(struct opening *x, uint32_t pane)
{
    struct worker *w = x->worker;
    int r = 0;
    for (uint64_t number = 0; r == 0;) {
        uint32_t slot;
        int more = count_partial(w, pane, &number, &slot);
        if (more <= 0)
            return more;
        if (starts_in(x, w->keyed.spans.at[slot].start_us))
            r = add(x, slot);
        if (r == 0)
            r = emit(x);
        keyed_close(w, slot);
    }
    return r;
}

static int read_keyed(struct opening *x)
{
    struct worker *w = x->worker;
    const enum config_window_kind kind = w->pipeline->window.kind;
    const struct groups *g = &w->groups;
    int r = 0;
    for (uint32_t slot = 0, n = g->n_slots; r == 0 && slot < n; slot++) {
        if (g->slot[slot].key == SLOT_NONE)
            continue;
        const struct span *s = &w->keyed.spans.at[slot];
        r = look(x);
        bool open = s->given != SPAN_GIVEN && (!w->pipeline->changes || s->rows);
        if (kind == CONFIG_COUNT)
            open = s->rows && slot == spans_newest(&w->keyed.spans, g->slot[slot].key);
        else if (kind != CONFIG_GLOBAL)
            open = open && s->end_us > w->emitted_us;
        if (r < 0 || !open || !is_asked(x, g->slot[slot].key))
            continue;
        if (kind == CONFIG_COUNT && count_panes(&w->pipeline->window) > 1)
            r = read_counted(x, slot);
        else if (starts_in(x, kind == CONFIG_GLOBAL ? 0 : s->start_us))
            r = add(x, slot);
    }
    return r;
}

/* Global: when what has changed will be given out. */
static int64_t next_border(const struct worker *w)
{
    if (w->pipeline->window.kind != CONFIG_GLOBAL)
        return 0;
    int64_t us = w->keyed.border_us;
    if (us == INT64_MIN)
        us = w->watermark.value_us;
    if (us == INT64_MIN)
        us = w->watermark.newest_us;
    return window_next_border(&w->pipeline->window, us);
}

/* ---- The worker ---------------------------------------------------------------------------------- */

static int read_open(struct worker *w, const struct open_question *q,
                     struct rowset **ret)
{
    const struct pipeline *p = w->pipeline;
    struct opening x = {.worker = w,
                        .q = q,
                        .until_ns = clock_thread_cpu_ns() + OPEN_TURN_US * 1000,
                        .border_us = next_border(w)};
    if (q->table->late || q->table->rows)
        return 0;
    while (p->table[x.table] != q->table)
        x.table++;
    x.size = x.table / p->n_of_size;
    uint64_t max_open = w->groups.max_open;
    w->groups.max_open = w->groups_room;
    int r = window_is_by_key(&p->window)   ? read_keyed(&x)
            : window_has_panes(&p->window) ? read_panes(&x)
                                           : read_windows(&x);
    if (r == 0)
        r = emit(&x);
    w->groups.max_open = max_open;
    *ret = x.rows;
    return r;
}

static int say(const struct worker *w, int r, struct error *error)
{
    switch (r) {
    case -ETIMEDOUT:
        return error_set(error, r,
                         "the open windows of pipeline '%s' take a worker longer than "
                         "the %d ms that it has for this; ask for some keys",
                         w->pipeline->config->name, (int)(OPEN_TURN_US / 1000));
    case -E2BIG:
        return error_set(error, r,
                         "the open windows of pipeline '%s' have more than %u rows, or "
                         "their texts more than %zu MiB; ask for some keys",
                         w->pipeline->config->name, OPEN_ROWS_MAX,
                         OPEN_BYTES_MAX >> 20);
    case -ECANCELED:
        return error_set(error, -EBUSY, "pipeline '%s' ends",
                         w->pipeline->config->name);
    case -ENOSPC:
        return error_set(error, -EBUSY, "no room for more groups in memory");
    default:
        return error_set(error, r, "%s", strerror(-r));
    }
}

/* That an analyzer fails with what is half of a window says nothing of the pipeline: it goes on. */
static int forgive(struct worker *w, int r, struct error *error)
{
    for (size_t i = 0; i < w->pipeline->n_steps; i++) {
        struct host *h = &w->host[i];
        if (!h->failed)
            continue;
        error_set(error, r, "analyzer '%s': %s", h->binding->plugin->analyzer.name,
                  h->error.text);
        h->failed = false;
        h->error = (struct error){0};
    }
    return error->text[0] ? -EINVAL : say(w, r, error);
}

static int try_open(struct worker *w, const struct open_question *q,
                    struct rowset **ret, struct error *error)
{
    const size_t n = w->pipeline->n_steps;
    for (size_t i = 0; i < n; i++)
        if (w->remote[i])
            remote_try(w->remote[i], true);
    int r = read_open(w, q, ret);
    for (size_t i = 0; i < n; i++)
        if (w->remote[i])
            remote_try(w->remote[i], false);
    return r < 0 ? forgive(w, r, error) : 0;
}

static struct open_part *take(struct worker *w)
{
    struct pipeline *p = w->pipeline;
    if (!atomic_load_explicit(&w->asked, memory_order_relaxed))
        return NULL;
    pthread_mutex_lock(&p->lock);
    struct open_part *part = atomic_load_explicit(&w->asked, memory_order_relaxed);
    if (part)
        atomic_store_explicit(&w->asked, part->next, memory_order_relaxed);
    pthread_mutex_unlock(&p->lock);
    return part;
}

void open_answer(struct worker *w)
{
    struct open_part *part = take(w);
    if (!part)
        return;
    struct asking *a = (struct asking *)part->of;
    struct error error = {0};
    struct rowset *rows = NULL;
    uint32_t broken = w->broken_slot;
    pthread_mutex_lock(&a->lock);
    bool wanted = !a->err;
    pthread_mutex_unlock(&a->lock);
    int r = 0;
    if (wanted && pipeline_failed(w->pipeline))
        r = error_set(&error, -EBUSY, "pipeline '%s' has stopped",
                      w->pipeline->config->name);
    else if (wanted)
        r = try_open(w, &a->q, &rows, &error);
    w->broken_slot = broken;
    part->rows = rows;
    part->position = w->position;
    part->gave = w->gave;
    finish(part, r, &error);
    if (atomic_load_explicit(&w->asked, memory_order_relaxed))
        task_wake(&w->task);
}

void open_refuse(struct worker *w)
{
    struct open_part *part;
    struct error error = {0};
    while ((part = take(w))) {
        error_set(&error, -EBUSY, "pipeline '%s' ends", w->pipeline->config->name);
        finish(part, -EBUSY, &error);
    }
}
