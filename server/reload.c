/* SPDX-License-Identifier: Apache-2.0 */
#include "reload.h"

#include "backfill.h"
#include "base/clock.h"
#include "base/logger.h"
#include "config/faults.h"
#include "crashes.h"
#include "pipeline/join.h"
#include "recover.h"
#include "restart.h"
#include "results_feed.h"
#include "store/restore.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What becomes of a pipeline that reads a stream, with all that read it, directly or not; both: they are exchanged. */
struct change {
    struct pipeline *old, *fresh;
    uint64_t stored; /* by the old one, at least */
    int err;
};

#define PAST_MAX                                                                       \
    1000 /* changes of fields until a restart: each keeps its configuration */

struct reload {
    struct weir *weir;
    struct config *config;          /* the new one */
    bool *changed;                  /* of each pipeline of it: a fresh one is made */
    struct source_change **widened; /* of each stream: it has more fields; NULL */
    struct change *change;
    size_t n_changes;
    struct pipeline **pipeline; /* in force afterwards; not references */
    size_t n_pipelines;
    size_t stream; /* whose pipelines are being exchanged */
    bool *
        together; /* of each stream: with others, as one that is joined gets other columns */
    size_t held;             /* of these, the streams before that one are */
    bool adding;             /* those that are only new; before them, the others */
    struct restore *restore; /* one for all: each reads the schema of all tables */
    struct hook_spec *hooks; /* afterwards */
    struct target_set *target[CARRIED_TARGETS]; /* likewise */
};

/* ---- What has changed? ------------------------------------------------------------------------ */

static int other_stream(const struct config_stream *fresh, const char *why,
                        struct error *error)
{
    return node_error(
        fresh->node, error,
        "stream '%s' is another one than before (%s): that takes a restart",
        fresh->name, why);
}

/* The first ones of `b` are those of `a`. */
static bool begins_with(const struct schema *b, const struct schema *a)
{
    bool same = a->n <= b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = !strcmp(a->column[i].name, b->column[i].name) &&
               a->column[i].type == b->column[i].type;
    return same;
}

/* Rows of before have to be rows of the stream still: with nulls in what is new. */
static int check_widened(const struct config_stream *old,
                         const struct config_stream *fresh, struct error *error)
{
    static const char *const same[] = {"time", "max_future_skew", "ack", "source"};
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
        if (!node_equal(node_get(old->map, same[i]), node_get(fresh->map, same[i])))
            return other_stream(fresh, same[i], error);
    return begins_with(fresh->schema, old->schema)
               ? 0
               : other_stream(fresh, "fields are only added, behind those there are",
                              error);
}

static int check_stream(struct reload *r, size_t i, struct error *error)
{
    struct weir *w = r->weir;
    const struct config_stream *old = weir_stream(w, i), *fresh = &r->config->stream[i];
    bool same = old->columns->n == fresh->columns->n &&
                begins_with(fresh->columns, old->columns); /* also in the same order */
    if (same && node_equal(old->map, fresh->map))
        return 0;
    int err = check_widened(old, fresh, error);
    if (err == 0 && w->n_past >= PAST_MAX)
        return error_set(error, -E2BIG,
                         "fields were changed %d times: a restart is due", PAST_MAX);
    if (err == 0 && !(r->widened[i] = calloc(1, sizeof(*r->widened[i]))))
        return error_set(error, -ENOMEM, "no memory");
    if (err == 0)
        *r->widened[i] =
            (struct source_change){.decode = weir_decode(w, fresh), .config = fresh};
    return err;
}

static int check_streams(struct reload *r, struct error *error)
{
    const struct config *old = r->weir->config, *fresh = r->config;
    bool same = old->n_streams == fresh->n_streams;
    for (size_t i = 0; same && i < old->n_streams; i++)
        same = !strcmp(old->stream[i].name, fresh->stream[i].name);
    if (!same)
        return error_set(error, -EINVAL,
                         "there are other streams, or in another order: that takes a "
                         "restart");
    r->widened = calloc(old->n_streams + 1, sizeof(struct source_change *));
    if (!r->widened)
        return error_set(error, -ENOMEM, "no memory");
    int err = 0;
    for (size_t i = 0; err == 0 && i < old->n_streams; i++)
        err = check_stream(r, i, error);
    if (err < 0)
        return err;
    if (!node_equal(node_get(old->root, "server"), node_get(fresh->root, "server")))
        logger_warn("reload",
                    "what has changed in 'server' takes effect at the next start");
    return 0;
}

/* The configuration stays from now on: rows have its columns. Before anything is changed. */
static int keep_config(struct reload *r)
{
    struct weir *w = r->weir;
    bool widened = false;
    for (size_t i = 0; i < w->config->n_streams; i++)
        widened = widened || r->widened[i];
    if (!widened)
        return 0;
    struct config **past = realloc(w->past, (w->n_past + 1) * sizeof(struct config *));
    if (!past)
        return -ENOMEM;
    w->past = past;
    w->past[w->n_past++] = config_ref(r->config);
    return 0;
}

static struct pipeline *find(const struct weir *w, const char *name)
{
    for (size_t i = 0; i < w->n_pipelines; i++)
        if (!strcmp(pipeline_config(w->pipeline[i])->name, name))
            return w->pipeline[i];
    return NULL;
}

static bool is_same(struct pipeline *old, const struct config_pipeline *fresh)
{
    static const char *const others[] = {"webhook", "backfill", NULL};
    const struct config_pipeline *c = pipeline_config(old);
    return !pipeline_failed(old) && !pipeline_is_stale(old) &&
           node_equal_but(c->map, fresh->map, others) &&
           (!c->merges || node_equal(c->parts_map, fresh->parts_map));
}

static const struct config_pipeline *top_of(const struct config *c,
                                            const struct config_pipeline *p)
{
    while (p->from)
        p = &c->pipeline[p->parent];
    return p;
}

static const struct pipeline *running_top_of(const struct pipeline *p)
{
    while (pipeline_parent(p))
        p = pipeline_parent(p);
    return p;
}

static int open_restore(struct reload *r, struct error *error)
{
    return r->restore ? 0
                      : restore_open(store_path(r->weir->store), &r->restore, error);
}

/* Has a table that the pipeline joins been changed? */
static int tables_differ(struct reload *r, struct pipeline *old, bool *ret,
                         struct error *error)
{
    *ret = false;
    if (!pipeline_references(old) || pipeline_is_left_out(old))
        return 0;
    int err = open_restore(r, error);
    return err < 0 ? err
                   : recover_references_differ(r->weir, r->restore, old, ret, error);
}

static size_t index_of(const struct config *c, const char *name)
{
    size_t i = 0;
    while (i < c->n_pipelines && strcmp(c->pipeline[i].name, name))
        i++;
    return i;
}

static void mark(struct reload *r, const char *top)
{
    size_t i = index_of(r->config, top);
    if (i < r->config->n_pipelines)
        r->changed[i] = true;
}

/* Who joins results of a chain that is exchanged is, too: their tables are others. */
static bool mark_joiners(struct reload *r)
{
    const struct config *c = r->config;
    bool any = false;
    for (size_t i = 0; i < c->n_pipelines; i++) {
        const struct config_pipeline *p = &c->pipeline[i];
        const size_t own = index_of(c, top_of(c, p)->name);
        for (size_t k = 0; !r->changed[own] && k < p->results.n; k++) {
            const struct config_pipeline *of =
                &c->pipeline[p->results.item[k].pipeline];
            r->changed[own] = r->changed[index_of(c, top_of(c, of)->name)];
            any = any || r->changed[own];
        }
    }
    return any;
}

/* Has a stream that it reads other columns? */
static bool is_widened(const struct reload *r, const struct config_pipeline *p)
{
    bool widened = r->widened[p->stream];
    for (size_t i = 0; i < p->joins.n; i++)
        widened = widened ||
                  (!p->joins.join[i].result && r->widened[p->joins.join[i].stream]);
    /* Beside results joins are not known yet. */
    for (size_t i = 0; p->results.n && !widened && i < r->config->n_streams; i++)
        widened = r->widened[i] && node_get(p->join_node, r->config->stream[i].name);
    return widened;
}

/* A chain is exchanged as a whole, if one of it has changed, come or gone: all of it is at one position. One whose top
 * is left out stays so. */
static int find_changed(struct reload *r, struct error *error)
{
    const struct weir *w = r->weir;
    const struct config *c = r->config;
    for (size_t i = 0; i < w->n_pipelines; i++) {
        const char *name = pipeline_config(w->pipeline[i])->name,
                   *top = pipeline_config(running_top_of(w->pipeline[i]))->name;
        size_t k = index_of(c, name);
        if (k == c->n_pipelines || strcmp(top_of(c, &c->pipeline[k])->name, top) != 0)
            mark(r, top);
    }
    for (size_t i = 0; i < c->n_pipelines; i++) {
        const struct config_pipeline *p = &c->pipeline[i];
        struct pipeline *old = find(w, p->name);
        bool same = old && is_same(old, p) && !is_widened(r, p), differ;
        int err = same ? tables_differ(r, old, &differ, error) : 0;
        if (err < 0)
            return err;
        if (!old || ((!same || differ) && !weir_goes_without(w, p->name)))
            mark(r, top_of(c, p)->name);
    }
    while (mark_joiners(r))
        ;
    for (size_t i = 0; i < c->n_pipelines; i++) {
        const char *top = top_of(c, &c->pipeline[i])->name;
        r->changed[i] = r->changed[index_of(c, top)] &&
                        !(weir_goes_without(w, top) && find(w, top));
    }
    return 0;
}

static bool is_changed(void *reload, size_t i)
{
    const struct reload *r = reload;
    return r->changed[i];
}

static bool is_fresh(const struct reload *r, const struct pipeline *p)
{
    size_t i = 0;
    while (i < r->weir->n_pipelines && r->weir->pipeline[i] != p)
        i++;
    return i == r->weir->n_pipelines;
}

static bool stays(const struct reload *r, const struct pipeline *p)
{
    size_t i = 0;
    while (i < r->n_pipelines && r->pipeline[i] != p)
        i++;
    return i < r->n_pipelines;
}

/* Has one of the chain been in another one? Then that is to end before this one begins. */
static bool has_moved(const struct reload *r, struct pipeline *fresh, const char *top)
{
    const struct pipeline *old = find(r->weir, pipeline_config(fresh)->name);
    bool moved = old && strcmp(pipeline_config(running_top_of(old))->name, top) != 0;
    struct pipeline *child = NULL;
    while (!moved && (child = pipeline_child(fresh, child)))
        moved = has_moved(r, child, top);
    return moved;
}

/* Of the tops: those that go, come or are exchanged. Who moves to another stream, or chain, goes and comes. */
static void list_changes(struct reload *r)
{
    const struct weir *w = r->weir;
    for (size_t i = 0; i < w->n_pipelines; i++) {
        struct pipeline *p = w->pipeline[i];
        if (!pipeline_parent(p) && !stays(r, p))
            r->change[r->n_changes++] = (struct change){.old = p};
    }
    size_t n_old = r->n_changes;
    for (size_t i = 0; i < r->n_pipelines; i++) {
        struct pipeline *p = r->pipeline[i];
        const struct config_pipeline *c = pipeline_config(p);
        if (pipeline_parent(p) || !is_fresh(r, p))
            continue;
        size_t k = 0;
        while (k < n_old && strcmp(pipeline_config(r->change[k].old)->name, c->name))
            k++;
        if (k < n_old && pipeline_config(r->change[k].old)->stream == c->stream &&
            !has_moved(r, p, c->name))
            r->change[k].fresh = p;
        else
            r->change[r->n_changes++] = (struct change){.fresh = p};
    }
}

/* Only the chain of `p`, as it is configured: all others stay. */
static void mark_chain(struct reload *r, const struct pipeline *p)
{
    const struct config *c = r->config;
    const char *top = pipeline_config(running_top_of(p))->name;
    for (size_t i = 0; i < c->n_pipelines; i++)
        r->changed[i] = !strcmp(top_of(c, &c->pipeline[i])->name, top);
}

/* Tables that fresh pipelines join are read before anything is exchanged: it can fail, and take a while. */
static int read_tables(struct reload *r, struct error *error)
{
    int err = 0;
    for (size_t i = 0; err == 0 && i < r->n_pipelines; i++) {
        struct pipeline *p = r->pipeline[i];
        if (!p || !r->changed[i] || !pipeline_references(p))
            continue;
        err = open_restore(r, error);
        if (err == 0)
            err = recover_read_references(r->weir, r->restore, p, error);
    }
    return err;
}

/* `only` NULL: what has changed. */
static int plan(struct reload *r, const struct pipeline *only, struct error *error)
{
    struct weir *w = r->weir;
    struct config *c = r->config;
    r->changed = calloc(c->n_pipelines + 1, sizeof(*r->changed));
    r->change = calloc(w->n_pipelines + c->n_pipelines + 1, sizeof(*r->change));
    r->pipeline = calloc(c->n_pipelines + 1, sizeof(struct pipeline *));
    if (!r->changed || !r->change || !r->pipeline)
        return error_set(error, -ENOMEM, "no memory");
    int err = 0;
    if (only)
        mark_chain(r, only);
    else
        err = find_changed(r, error);
    if (err < 0)
        return err;
    r->n_pipelines = c->n_pipelines;
    for (size_t i = 0; i < c->n_pipelines; i++)
        r->pipeline[i] = r->changed[i] ? NULL : find(w, c->pipeline[i].name);
    err = weir_make_pipelines(w, c, NULL, is_changed, r, r->pipeline, error);
    if (err == 0 && !only) /* one that is started again has what is stored */
        err = read_tables(r, error);
    if (err == 0)
        err = hook_specs_new(c, r->pipeline, c->n_pipelines, &r->hooks, error);
    r->n_pipelines = weir_close_gaps(r->pipeline, r->n_pipelines);
    if (err == 0)
        list_changes(r);
    return err;
}

/* ---- Tables ----------------------------------------------------------------------------------- */

struct tables {
    struct reload *reload;
    const struct change *change;
    struct error *error;
    bool called;
};

/* Those of the fresh pipelines, into `to` unless it is NULL. Returns how many. */
static size_t fresh_tables(const struct reload *r, const struct table **to)
{
    size_t total = 0;
    for (size_t i = 0; i < r->n_pipelines; i++) {
        const struct table *const *table;
        struct pipeline *p = r->pipeline[i];
        size_t n = is_fresh(r, p) ? pipeline_tables(p, &table) : 0;
        for (size_t k = 0; to && k < n; k++)
            to[total + k] = table[k];
        total += n;
    }
    return total;
}

/* On the writer thread: do all new tables fit the file? */
static int try_tables(struct store *s, void *ctx)
{
    struct tables *t = ctx;
    size_t n = fresh_tables(t->reload, NULL);
    const struct table **all = calloc(n + 1, sizeof(*all));
    if (!all)
        return -ENOMEM;
    fresh_tables(t->reload, all);
    int err = store_make_tables(s, all, n, t->error);
    free(all);
    return err;
}

/* Of a pipeline and those that read it. */
static void drop_tables(struct store *s, struct pipeline *p)
{
    const struct table *const *table;
    size_t n = pipeline_tables(p, &table);
    for (size_t k = 0; k < n; k++)
        store_drop_table(s, table[k]);
    store_restart_pipeline(s, pipeline_config(p)->name);
    for (struct pipeline *c = NULL; (c = pipeline_child(p, c));)
        drop_tables(s, c);
}

static int add_tables(struct store *s, struct pipeline *p, struct error *error)
{
    const struct table *const *table;
    size_t n = pipeline_tables(p, &table);
    int err = store_tables(s, table, n, error);
    for (struct pipeline *c = NULL; err == 0 && (c = pipeline_child(p, c));)
        err = add_tables(s, c, error);
    return err;
}

/* On the writer thread. */
static int exchange_tables(struct store *s, void *ctx)
{
    struct tables *t = ctx;
    t->called = true;
    if (t->change->old)
        drop_tables(s, t->change->old);
    return t->change->fresh ? add_tables(s, t->change->fresh, t->error) : 0;
}

/* ---- The exchange, between two entries of the stream ----------------------------------------- */

static void stop_chain(struct pipeline *p)
{
    pipeline_stop(p);
    pipeline_uncount(p);
    for (struct pipeline *c = NULL; (c = pipeline_child(p, c));)
        stop_chain(c);
}

/* All that it was given is folded and committed, with a checkpoint. Returns in *ret_stored the position that it is
 * known to have stored. */
static int stop_old(struct weir *w, struct log *log, struct pipeline *p,
                    uint64_t *ret_stored)
{
    const char *name = pipeline_config(p)->name;
    if (!pipeline_failed(p))
        log_checkpoint(log, name);
    *ret_stored = log_unsubscribe(log, name);
    results_feed_remove(w, p);
    if (pipeline_join(p)) /* journals go on, and keep what the next one reads */
        join_hold(pipeline_join(p));
    stop_chain(p);
    return store_flush(w->store);
}

static bool joins(const struct pipeline *p, size_t stream)
{
    const struct config_joins *joins = p ? &pipeline_config(p)->joins : NULL;
    bool found = false;
    for (size_t i = 0; joins && !found && i < joins->n; i++)
        found = joins->join[i].stream == stream;
    return found;
}

/* Places in the journals of streams that it joined, and the fresh one, if there is one, does not. */
static void leave_places(const struct weir *w, const struct change *c)
{
    const struct config_pipeline *old = pipeline_config(c->old);
    for (size_t i = 0; i < old->joins.n; i++) {
        size_t stream = old->joins.join[i].stream;
        char name[256]; /* names are no longer than 63 bytes */
        if (old->joins.join[i].result || joins(c->fresh, stream))
            continue;
        snprintf(name, sizeof(name), "%s.%s", old->name,
                 w->config->stream[stream].name);
        join_leave_place(name, w->log[stream]);
    }
}

static int count_chain(struct weir *w, struct pipeline *p)
{
    int err = pipeline_count(p, w->metrics);
    for (struct pipeline *c = NULL; err == 0 && (c = pipeline_child(p, c));)
        err = count_chain(w, c);
    return err;
}

static int start_fresh(struct reload *r, struct pipeline *p, struct error *error)
{
    struct weir *w = r->weir;
    int err = restart_tell(w, p); /* first: its counters are to show it */
    if (err == 0)
        err = count_chain(w, p);
    if (err < 0)
        return error_set(error, err, "no memory");
    err = open_restore(r, error);
    return err < 0 ? err : weir_start_pipeline(w, r->restore, p, true, error);
}

/* On the writer thread, in any case: what was given up is not looked at any more. */
static int call_store(struct weir *w, struct tables *t)
{
    int err;
    while ((err = store_call(w->store, exchange_tables, t)) == -ENOMEM && !t->called)
        clock_sleep_us(NO_MEMORY_US);
    return err;
}

static bool chain_has(struct pipeline *p, const char *name)
{
    bool has = p && !strcmp(pipeline_config(p)->name, name);
    for (struct pipeline *c = NULL; p && !has && (c = pipeline_child(p, c));)
        has = chain_has(c, name);
    return has;
}

/* Those of `p` that are in `other`, or are not. */
static void tell(struct pipeline *p, struct pipeline *other, bool in, const char *what)
{
    const char *name = pipeline_config(p)->name;
    if (chain_has(other, name) == in)
        logger_info("reload", "pipeline '%s' %s", name, what);
    for (struct pipeline *c = NULL; (c = pipeline_child(p, c));)
        tell(c, other, in, what);
}

static void exchange_old(struct reload *r, struct change *c)
{
    struct log *log = r->weir->log[r->stream];
    c->stored = log_last(log);
    c->err = c->old ? stop_old(r->weir, log, c->old, &c->stored) : 0;
}

static void exchange_fresh(struct reload *r, const struct change *c)
{
    struct weir *w = r->weir;
    struct log *log = w->log[r->stream];
    struct error error = {0};
    const char *name = pipeline_config(c->fresh ? c->fresh : c->old)->name;
    int err = c->err;
    struct tables t = {.reload = r, .change = c, .error = &error};
    int tables_err = call_store(w, &t);
    if (err == 0)
        err = tables_err;
    if (err == 0 && c->fresh)
        err = start_fresh(r, c->fresh, &error);
    if (c->old)
        leave_places(w, c);
    if (err < 0 && !error.text[0])
        error_set(&error, err, "%s", strerror(-err));
    if (err < 0 && c->fresh) {
        if (!pipeline_crash_at_start(c->fresh, &error) || !pipeline_failed(c->fresh))
            pipeline_fail(c->fresh, &error);
        pipeline_hold(c->fresh, log, c->stored);
        return;
    }
    if (err < 0) {
        logger_error("reload", "pipeline '%s': %s", name, error.text);
        return;
    }
    if (c->old)
        tell(c->old, c->fresh, false, "is stopped");
    if (c->fresh)
        tell(c->fresh, c->old, true, "is exchanged");
    if (c->fresh)
        tell(c->fresh, c->old, false, "is started");
}

/* Between the old pipelines and the fresh ones. Those that begin with the columns of before would misread every row, so
 * without memory all wait for it. */
static void widen(struct reload *r)
{
    struct weir *w = r->weir;
    struct source_change *to = r->widened[r->stream];
    const struct config_stream *c = to->config;
    struct derive_column derived[SCHEMA_COLUMNS_MAX];
    struct log_columns columns = {.schema = c->schema, .columns = c->columns};
    struct error error = {0};
    columns.derived = derived;
    columns.n_derived = config_derive_columns(&c->derive, derived);
    while (log_change(w->log[r->stream], &columns, &error) < 0)
        clock_sleep_us(NO_MEMORY_US);
    atomic_store_explicit(&w->stream[r->stream].change, to, memory_order_release);
    struct source_change *before = w->change[r->stream];
    w->change[r->stream] = to;
    to->before = before;
    r->widened[r->stream] = NULL;
    logger_info("reload", "stream '%s' has other columns", c->name);
}

static size_t stream_of(const struct change *c)
{
    return pipeline_config(c->old ? c->old : c->fresh)->stream;
}

static bool is_due(const struct reload *r, const struct change *c)
{
    return stream_of(c) == r->stream && !c->old == r->adding;
}

/* Where the stream itself changes, all its pipelines end before the first of the fresh ones begins. */
static void exchange_all(void *ctx)
{
    struct reload *r = ctx;
    bool widens = !r->adding && r->widened[r->stream];
    for (size_t i = 0; i < r->n_changes; i++) {
        if (!is_due(r, &r->change[i]))
            continue;
        exchange_old(r, &r->change[i]);
        if (!widens)
            exchange_fresh(r, &r->change[i]);
    }
    if (!widens)
        return;
    widen(r);
    for (size_t i = 0; i < r->n_changes; i++)
        if (is_due(r, &r->change[i]))
            exchange_fresh(r, &r->change[i]);
}

/* Streams with other columns that pipelines of other streams join, with those others: all that read them end before they have
 * these columns, and none begins before. */
static void find_together(struct reload *r)
{
    for (size_t i = 0; i < r->weir->config->n_streams; i++)
        for (size_t k = 0; r->widened[i] && k < r->n_changes; k++) {
            const struct change *c = &r->change[k];
            if (!joins(c->old, i) && !joins(c->fresh, i))
                continue;
            r->together[i] = r->together[stream_of(c)] = true;
        }
}

static void exchange_held(struct reload *r)
{
    const size_t n = r->weir->config->n_streams;
    for (size_t i = 0; i < 3 * n; i++) {
        r->stream = i % n;
        if (!r->together[r->stream])
            continue;
        if (i / n == 1 && r->widened[r->stream])
            widen(r);
        for (size_t k = 0; k < r->n_changes; k++) {
            if (i / n == 0 && is_due(r, &r->change[k]))
                exchange_old(r, &r->change[k]);
            if (i / n == 2 && is_due(r, &r->change[k]))
                exchange_fresh(r, &r->change[k]);
        }
    }
}

/* Between two entries of all these streams. */
static void exchange_together(void *ctx)
{
    struct reload *r = ctx;
    const struct weir *w = r->weir;
    while (r->held < w->config->n_streams && !r->together[r->held])
        r->held++;
    if (r->held < w->config->n_streams)
        log_call(w->log[r->held++], exchange_together, r);
    else
        exchange_held(r);
}

/* Half of the pipelines exchanged would be neither configuration: what can fail comes before. */
static void exchange_streams(struct reload *r)
{
    struct weir *w = r->weir;
    find_together(r);
    exchange_together(r);
    for (size_t i = 0; i < 2 * w->config->n_streams; i++) {
        r->adding = i >= w->config->n_streams;
        r->stream = i % w->config->n_streams;
        if (r->adding || !r->together[r->stream])
            log_call(w->log[r->stream], exchange_all, r);
    }
}

/* Tables are followed before there are rows; nothing is sent by the new settings yet. */
static int prepare_hooks(struct reload *r, struct error *error)
{
    struct weir *w = r->weir;
    int err = w->hooks ? hooks_hold(w->hooks, error) : 0;
    if (err < 0)
        return err;
    err = hooks_prepare(w->store, r->hooks, error);
    if (err < 0 && w->hooks)
        hooks_release(w->hooks);
    return err;
}

static int prepare_target(struct reload *r, size_t i, struct error *error)
{
    struct weir *w = r->weir;
    struct target *running = w->target[i];
    int err = running ? target_hold(running, error) : 0;
    if (err < 0)
        return err;
    err = target_prepare(weir_target[i], w->store, running, r->config, w->config,
                         r->pipeline, r->n_pipelines, &r->target[i], error);
    if (err < 0 && running)
        target_release(running);
    return err;
}

/* The server's settings stay, so there is one, or nothing goes there. */
static void exchange_targets(struct reload *r)
{
    for (size_t i = 0; i < CARRIED_TARGETS; i++) {
        struct target *running = r->weir->target[i];
        if (running && r->target[i])
            target_exchange(running, r->target[i]);
        else
            target_set_free(r->target[i]);
        r->target[i] = NULL;
    }
}

static void release_target(struct reload *r, size_t i)
{
    struct target *running = r->weir->target[i];
    target_set_free(r->target[i]);
    r->target[i] = NULL;
    if (running)
        target_release(running);
}

/* All who follow tables, or none. */
static int prepare_followers(struct reload *r, struct error *error)
{
    struct weir *w = r->weir;
    int err = prepare_hooks(r, error);
    if (err < 0)
        return err;
    size_t n = 0;
    while (n < CARRIED_TARGETS && (err = prepare_target(r, n, error)) == 0)
        n++;
    if (n == CARRIED_TARGETS)
        return 0;
    while (n-- > 0)
        release_target(r, n);
    if (w->hooks)
        hooks_release(w->hooks);
    return err;
}

static void exchange_hooks(struct reload *r)
{
    struct weir *w = r->weir;
    struct hook_spec *specs = r->hooks;
    struct error error = {0};
    r->hooks = NULL;
    if (w->hooks)
        hooks_set(w->hooks, specs);
    else if (specs && weir_start_hooks(w, specs, &error) < 0)
        logger_error("reload", "no webhooks are sent: %s", error.text);
}

static int apply(struct reload *r, struct error *error)
{
    struct weir *w = r->weir;
    struct tables t = {.reload = r, .error = error};
    struct running_list running = running_list_of(r->pipeline, r->n_pipelines);
    r->together = calloc(w->config->n_streams + 1, sizeof(*r->together));
    int err = running.pipeline && r->together ? store_call(w->store, try_tables, &t)
                                              : -ENOMEM;
    if (err < 0) {
        running_done(&running);
        return error->text[0] ? err : error_set(error, err, "%s", strerror(-err));
    }
    if ((err = keep_config(r)) < 0)
        error_set(error, err, "no memory");
    if (err < 0 || (err = prepare_followers(r, error)) < 0) {
        running_done(&running);
        return err;
    }
    for (size_t i = 0; i < r->n_changes; i++)
        if (r->change[i].old)
            backfill_stop(w, r->change[i].old);
    exchange_streams(r);
    exchange_hooks(r);
    exchange_targets(r);
    running_set(w->running, running);
    return 0;
}

static void keep(struct reload *r)
{
    struct weir *w = r->weir;
    for (size_t i = 0; i < w->n_pipelines; i++)
        if (!stays(r, w->pipeline[i]))
            pipeline_unref(w->pipeline[i]);
    free(w->pipeline);
    w->pipeline = r->pipeline;
    w->n_pipelines = r->n_pipelines;
    r->pipeline = NULL;
}

static void drop(struct reload *r)
{
    for (size_t i = 0; r->pipeline && i < r->n_pipelines; i++)
        if (r->pipeline[i] && is_fresh(r, r->pipeline[i]))
            pipeline_unref(r->pipeline[i]);
}

/* What was made for it, and is not in force. */
static void done(struct reload *r)
{
    restore_close(r->restore);
    hook_specs_free(r->hooks);
    for (size_t i = 0; r->widened && i < r->weir->config->n_streams; i++)
        free(r->widened[i]);
    free(r->widened);
    free(r->together);
    free(r->changed);
    free(r->change);
    free(r->pipeline);
    config_free(r->config); /* pipelines hold references */
}

int weir_exchange(struct weir *w, struct pipeline *p, struct error *error)
{
    struct reload r = {.weir = w};
    if (!weir_is_ready(w, error))
        return -EAGAIN;
    r.config = config_ref(w->latest ? w->latest : w->config);
    r.widened = calloc(w->config->n_streams + 1, sizeof(struct source_change *));
    int err = r.widened ? plan(&r, p, error) : error_set(error, -ENOMEM, "no memory");
    if (err == 0)
        err = apply(&r, error);
    if (err == 0)
        keep(&r);
    else
        drop(&r);
    done(&r);
    return err < 0 ? err : backfill_start(w, error);
}

int weir_reload(struct weir *w, const char *path, struct error *error)
{
    struct reload r = {.weir = w};
    if (!weir_is_ready(w, error))
        return -EAGAIN;
    if (!store_is_there(w->store))
        return error_set(error, -ESTALE, "the database is not where it was");
    struct stat st;
    /* A pipe, which is good for a start, would be waited for. */
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return error_set(error, -EINVAL,
                         "%s: not a regular file, which could be read again", path);
    int err = config_load(path, &r.config, error);
    if (err == 0)
        err = backfill_check(r.config, error);
    if (err == 0 && w->crashes && (err = crashes_apply(w->crashes, r.config, NULL)) < 0)
        error_set(error, err, "no memory");
    if (err == 0)
        err = check_streams(&r, error);
    if (err == 0)
        err = plan(&r, NULL, error);
    if (err == 0)
        err = apply(&r, error);
    if (err == 0) {
        keep(&r);
        config_free(w->latest);
        w->latest = config_ref(r.config);
        recover_forget(w);
        err = backfill_start(w, error);
    } else {
        drop(&r);
    }
    done(&r);
    return err;
}
