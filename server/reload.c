/* SPDX-License-Identifier: Apache-2.0 */
#include "reload.h"

#include "base/clock.h"
#include "base/logger.h"
#include "config/faults.h"
#include "recover.h"
#include "store/restore.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What becomes of one pipeline; both: it is exchanged. */
struct change {
    struct pipeline *old, *fresh;
};

struct reload {
    struct weir *weir;
    struct config *config; /* the new one */
    struct change *change;
    size_t n_changes;
    struct pipeline **pipeline; /* in force afterwards; not references */
    size_t n_pipelines;
    size_t stream;           /* whose pipelines are being exchanged */
    bool adding;             /* those that are only new; before them, the others */
    struct restore *restore; /* one for all: each reads the schema of all tables */
};

/* ---- What has changed? ------------------------------------------------------------------------ */

static int check_streams(const struct config *old, const struct config *fresh,
                         struct error *error)
{
    bool same = old->n_streams == fresh->n_streams;
    for (size_t i = 0; same && i < old->n_streams; i++)
        same = !strcmp(old->stream[i].name, fresh->stream[i].name);
    if (!same)
        return error_set(error, -EINVAL,
                         "there are other streams, or in another order: that takes a "
                         "restart");
    const struct node *a = node_get(old->root, "streams"),
                      *b = node_get(fresh->root, "streams");
    for (size_t i = 0; i < old->n_streams; i++)
        if (!node_equal(node_get(a, old->stream[i].name),
                        node_get(b, fresh->stream[i].name)))
            return node_error(fresh->stream[i].node, error,
                              "stream '%s' is another one than before: that takes a "
                              "restart",
                              fresh->stream[i].name);
    if (!node_equal(node_get(old->root, "server"), node_get(fresh->root, "server")))
        logger_warn("reload",
                    "what has changed in 'server' takes effect at the next start");
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
    return !pipeline_failed(old) && node_equal(pipeline_config(old)->map, fresh->map);
}

static int plan_pipeline(struct reload *r, const struct config_pipeline *c,
                         struct error *error)
{
    struct pipeline *old = find(r->weir, c->name), *fresh = NULL;
    if (old && (weir_goes_without(r->weir, c->name) || is_same(old, c))) {
        r->pipeline[r->n_pipelines++] = old;
        return 0;
    }
    int err = pipeline_new(r->config, c, r->weir->plugins, NULL, &fresh, error);
    if (err < 0)
        return err;
    r->pipeline[r->n_pipelines++] = fresh;
    r->change[r->n_changes++] = (struct change){.old = old, .fresh = fresh};
    return 0;
}

static int plan(struct reload *r, struct error *error)
{
    const struct weir *w = r->weir;
    const struct config *c = r->config;
    r->change = calloc(w->n_pipelines + 2 * c->n_pipelines + 1, sizeof(*r->change));
    r->pipeline = calloc(c->n_pipelines + 1, sizeof(struct pipeline *));
    if (!r->change || !r->pipeline)
        return error_set(error, -ENOMEM, "no memory");
    int err = 0, failed = 0;
    for (size_t i = 0; err == 0 && i < c->n_pipelines; i++) {
        err = plan_pipeline(r, &c->pipeline[i], error);
        failed = err < 0 ? err : failed;
        err = faults_go_on(err, error) ? 0 : err;
    }
    if (failed < 0)
        return failed;
    const struct node *all = node_get(c->root, "pipelines");
    for (size_t i = 0; err == 0 && i < w->n_pipelines; i++)
        if (!node_get(all, pipeline_config(w->pipeline[i])->name))
            r->change[r->n_changes++] = (struct change){.old = w->pipeline[i]};
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
    for (size_t i = 0; i < r->n_changes; i++) {
        const struct table *const *table;
        struct pipeline *p = r->change[i].fresh;
        size_t n = p ? pipeline_tables(p, &table) : 0;
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

/* On the writer thread. */
static int exchange_tables(struct store *s, void *ctx)
{
    struct tables *t = ctx;
    const struct table *const *table;
    t->called = true;
    size_t n = t->change->old ? pipeline_tables(t->change->old, &table) : 0;
    for (size_t k = 0; k < n; k++)
        store_drop_table(s, table[k]);
    if (t->change->old)
        store_restart_pipeline(s, pipeline_config(t->change->old)->name);
    n = t->change->fresh ? pipeline_tables(t->change->fresh, &table) : 0;
    return store_tables(s, table, n, t->error);
}

/* ---- The exchange, between two entries of the stream ----------------------------------------- */

/* All that it was given is folded and committed, with a checkpoint. Returns in *ret_stored the position that it is
 * known to have stored. */
static int stop_old(struct weir *w, struct log *log, struct pipeline *p,
                    uint64_t *ret_stored)
{
    const char *name = pipeline_config(p)->name;
    if (!pipeline_failed(p))
        log_checkpoint(log, name);
    *ret_stored = log_unsubscribe(log, name);
    pipeline_stop(p);
    pipeline_uncount(p);
    return store_flush(w->store);
}

static int start_fresh(struct reload *r, struct pipeline *p, struct error *error)
{
    struct weir *w = r->weir;
    int err = pipeline_count(p, w->metrics);
    if (err < 0)
        return error_set(error, err, "no memory");
    if (!r->restore)
        err = restore_open(store_path(w->store), &r->restore, error);
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

static void exchange(struct reload *r, const struct change *c)
{
    struct weir *w = r->weir;
    struct log *log = w->log[r->stream];
    struct error error = {0};
    const char *name = pipeline_config(c->fresh ? c->fresh : c->old)->name;
    uint64_t stored = log_last(log);
    int err = c->old ? stop_old(w, log, c->old, &stored) : 0;
    struct tables t = {.reload = r, .change = c, .error = &error};
    int tables_err = call_store(w, &t);
    if (err == 0)
        err = tables_err;
    if (err == 0 && c->fresh)
        err = start_fresh(r, c->fresh, &error);
    if (err < 0 && !error.text[0])
        error_set(&error, err, "%s", strerror(-err));
    if (err < 0 && c->fresh) {
        pipeline_fail(c->fresh, &error);
        pipeline_hold(c->fresh, log, stored);
    } else if (err < 0) {
        logger_error("reload", "pipeline '%s': %s", name, error.text);
    } else {
        logger_info("reload", "pipeline '%s' %s", name,
                    !c->fresh ? "is stopped"
                    : c->old  ? "is exchanged"
                              : "is started");
    }
}

static size_t stream_of(const struct change *c)
{
    return pipeline_config(c->old ? c->old : c->fresh)->stream;
}

static void exchange_all(void *ctx)
{
    struct reload *r = ctx;
    for (size_t i = 0; i < r->n_changes; i++)
        if (stream_of(&r->change[i]) == r->stream && !r->change[i].old == r->adding)
            exchange(r, &r->change[i]);
}

/* A pipeline that now reads another stream is one that goes and one that comes. */
static void split_moves(struct reload *r)
{
    size_t n = r->n_changes;
    for (size_t i = 0; i < n; i++) {
        struct change *c = &r->change[i];
        if (!c->old || !c->fresh ||
            pipeline_config(c->old)->stream == pipeline_config(c->fresh)->stream)
            continue;
        r->change[r->n_changes++] = (struct change){.fresh = c->fresh};
        c->fresh = NULL;
    }
}

/* Half of the pipelines exchanged would be neither configuration: what can fail comes before. */
static void exchange_streams(struct reload *r)
{
    struct weir *w = r->weir;
    for (size_t i = 0; i < 2 * w->config->n_streams; i++) {
        r->adding = i >= w->config->n_streams;
        r->stream = i % w->config->n_streams;
        log_call(w->log[r->stream], exchange_all, r);
    }
}

static int apply(struct reload *r, struct error *error)
{
    struct weir *w = r->weir;
    struct tables t = {.reload = r, .error = error};
    struct running_list running = running_list_of(r->pipeline, r->n_pipelines);
    int err = running.pipeline ? store_call(w->store, try_tables, &t) : -ENOMEM;
    if (err < 0) {
        running_done(&running);
        return error->text[0] ? err : error_set(error, err, "%s", strerror(-err));
    }
    split_moves(r);
    exchange_streams(r);
    running_set(w->running, running);
    return 0;
}

static void keep(struct reload *r)
{
    struct weir *w = r->weir;
    for (size_t i = 0; i < r->n_changes; i++)
        pipeline_unref(r->change[i].old);
    free(w->pipeline);
    w->pipeline = r->pipeline;
    w->n_pipelines = r->n_pipelines;
    r->pipeline = NULL;
}

static void drop(struct reload *r)
{
    for (size_t i = 0; i < r->n_changes; i++)
        pipeline_unref(r->change[i].fresh);
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
        err = check_streams(w->config, r.config, error);
    if (err == 0)
        err = plan(&r, error);
    if (err == 0)
        err = apply(&r, error);
    if (err == 0) {
        keep(&r);
        recover_forget(w);
    } else {
        drop(&r);
    }
    restore_close(r.restore);
    free(r.change);
    free(r.pipeline);
    config_free(r.config); /* pipelines hold references */
    return err;
}
