/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "pipeline/ask.h"
#include "pipeline/join.h"
#include "pipeline/lookup.h"
#include "pipeline/parts.h"
#include "pipeline/reference.h"
#include "pipeline/worker.h"

#include "config/faults.h"

#include "base/clock.h"
#include "base/doing.h"
#include "base/logger.h"
#include "log/entry.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of results that are replaced those before are taken out again: of an analyzer that cannot, the rows are kept. */
static bool has_bag(const struct pipeline *p, const struct weir_analyzer *a)
{
    return p->changes && !a->retract;
}

/* What `drop` gives back is not in the state's own bytes. */
static int check_can_be_saved(const struct pipeline *p, const struct weir_analyzer *a,
                              const struct config_analyzer *c, struct error *error)
{
    if (!a->drop || a->save || has_bag(p, a))
        return 0;
    return node_error(
        c->node, error,
        "analyzer '%s' has states with memory of their own (drop), but no save "
        "and load: they would be lost at a restart",
        a->name);
}

/* The windows of which states are merged; NULL: they never are. */
static const char *merged_windows(const struct config_window *w)
{
    switch (w->kind) {
    case CONFIG_TUMBLING:
        return w->n_coarse ? "windows of several sizes" : NULL;
    case CONFIG_HOPPING:
        return w->by_us < w->size_us ? "windows that overlap" : NULL;
    case CONFIG_COUNT:
        return w->by_rows < w->rows ? "windows that overlap" : NULL;
    case CONFIG_SESSION:
        return "sessions, of which an event can join two,";
    case CONFIG_GLOBAL:
    case CONFIG_UNTIL:
    case CONFIG_NONE:
        break;
    }
    return NULL;
}

static int check_can_retract(const struct pipeline *p, const struct weir_analyzer *a,
                             const struct config_analyzer *c, struct error *error)
{
    return p->changes && c->apart
               ? node_error(c->node, error,
                            "analyzer '%s' has to run in the server: 'run: "
                            "process' is not for results that are replaced",
                            a->name)
               : 0;
}

static int check_can_merge(const struct pipeline *p, const struct weir_analyzer *a,
                           const struct config_analyzer *c, struct error *error)
{
    const char *windows = merged_windows(&p->config->window);
    if (!windows || a->merge || a->whole ||
        has_bag(p, a)) /* kept rows are put together */
        return 0;
    return node_error(c->node, error,
                      "analyzer '%s' cannot merge states (merge), which %s need",
                      a->name, windows);
}

/* Rows are kept for what takes all of a window at once, and for that only. */
static int check_rows(const struct pipeline *p, const struct weir_analyzer *a,
                      const struct config_analyzer *c, struct error *error)
{
    if (c->max_rows && !a->whole && !has_bag(p, a))
        return node_error(c->node, error,
                          "analyzer '%s' keeps no rows, so 'max_rows' says nothing",
                          a->name);
    if (!a->whole && p->config->joins.all)
        return node_error(
            c->node, error,
            "analyzer '%s' takes events one after the other, and those of several "
            "streams have no order; sql takes all of a window at once",
            a->name);
    if (a->whole && !p->changes &&
        (p->config->window.kind == CONFIG_GLOBAL || p->config->window.running))
        return node_error(c->node, error,
                          "analyzer '%s' takes all rows of a window once it is over, "
                          "and a %s one never is",
                          a->name, p->config->window.running ? "running" : "global");
    return 0;
}

static int bind_analyzers(struct pipeline *p, struct plugins *plugins,
                          struct error *error)
{
    const struct config_pipeline *c = p->config;
    p->step = calloc(c->n_analyzers + 1, sizeof(*p->step));
    p->dictionary = calloc(p->schema->n, sizeof(bool));
    if (!p->step || !p->dictionary)
        return error_set(error, -ENOMEM, "no memory");
    /* Who merges parts knows what they were made of. */
    const struct config_pipeline *of = c->merges ? &p->whole->pipeline[c->parts_of] : c;
    const struct schema *schema = c->merges ? of->schema : p->schema;
    bool is_key[SCHEMA_COLUMNS_MAX] = {false};
    for (size_t i = 0; i < of->n_keys; i++)
        is_key[of->key[i]] = true;
    int failed = 0;
    for (size_t i = 0; i < c->n_analyzers; i++) {
        struct step *s = &p->step[p->n_steps];
        int r =
            binding_new(plugins, &c->analyzer[i], schema, is_key, &s->binding, error);
        if (r == 0) {
            s->binding->place = ++p->n_steps;
            r = check_can_be_saved(p, &s->binding->plugin->analyzer, &c->analyzer[i],
                                   error);
        }
        if (r == 0)
            r = check_can_merge(p, &s->binding->plugin->analyzer, &c->analyzer[i],
                                error);
        if (r == 0)
            r = check_can_retract(p, &s->binding->plugin->analyzer, &c->analyzer[i],
                                  error);
        if (r == 0)
            r = check_rows(p, &s->binding->plugin->analyzer, &c->analyzer[i], error);
        s->config = &c->analyzer[i];
        if (r == 0)
            r = parts_check(p, &s->binding->plugin->analyzer, &c->analyzer[i], error);
        if (r == 0)
            r = parts_find(p, s, error);
        if (r < 0) {
            failed = r;
            if (!faults_go_on(r, error))
                return r;
            continue;
        }
        r = choose_bind(p, s, &c->analyzer[i], error);
        if (r < 0 && !faults_go_on(r, error))
            return r;
        failed = r < 0 ? r : failed;
        s->gives_states = c->partial == CONFIG_PARTIAL_STATES;
        s->bag = has_bag(p, &s->binding->plugin->analyzer);
        s->pipeline = p;
        s->stored_version = s->binding->plugin->analyzer.state_version;
        p->inits = p->inits || s->binding->plugin->analyzer.init || s->config->apart;
        p->drops = p->drops || s->binding->plugin->analyzer.drop || step_keeps(s);
        s->offset = p->stride;
        p->stride += s->config->apart ? 0 : step_stride(s); /* its process has them */
        for (size_t k = 0; k < s->binding->n_inputs; k++)
            if (s->binding->dictionary[k] && s->binding->input[k] >= 0)
                p->dictionary[s->binding->input[k]] = true;
    }
    if (!p->stride)
        p->stride = STATE_ALIGN;
    return failed;
}

/* What only SQLite can say: is it an expression? */
static int try_where(const struct pipeline *p, struct error *error)
{
    const struct config_pipeline *c = p->config;
    struct filter *f = NULL;
    struct error text = {0};
    int r = 0;
    if (c->where && filter_new(p->schema, c->where, &f, &text) < 0)
        r = node_error(c->where_node, error, "where: %s", text.text);
    filter_free(f);
    for (size_t i = 0; r == 0 && i < ask_services(p); i++) {
        r = ask_filter(p, i, &f, error);
        filter_free(f);
    }
    return r;
}

/* What only plugins can say: do the parameters go together? */
static int try_analyzers(struct pipeline *p, struct error *error)
{
    const struct config_pipeline *c = p->config;
    int failed = 0;
    for (size_t i = 0; i < p->n_steps; i++) {
        struct host h;
        struct error text = {0};
        struct remote *remote = NULL;
        int r;
        doing_pipeline(c->name, 0);
        if (p->step[i].config->apart) {
            host_stand_in(&h, p->step[i].binding, c->name, NULL, NULL);
            r = remote_open(NULL, &p->step[i], c->name, &h, &remote, &text);
            remote_close(remote);
        } else {
            r = host_open(&h, p->step[i].binding, c->name, NULL, NULL, &text);
        }
        if (r == 0)
            host_close(&h);
        doing_pipeline(NULL, 0);
        if (r == 0)
            continue;
        failed = node_error(c->analyzer[i].node, error, "%s", text.text);
        if (!faults_go_on(failed, error))
            break;
    }
    return failed;
}

/* Does it know whose a row is, of several streams? */
static bool takes_number(const struct pipeline *p, const struct binding *b)
{
    bool found = false;
    for (size_t i = 0; i < b->n_inputs; i++)
        found =
            found || (b->input[i] == (int)p->config->joins.number && !b->left_out[i]);
    return found;
}

/* What is kept for analyzers whose states are rows, now that they have said what they need. */
static int form_rows(struct pipeline *p, struct error *error)
{
    size_t n_keep = 0;
    int r = 0;
    for (size_t i = 0; i < p->n_steps; i++)
        n_keep += (size_t)step_keeps(&p->step[i]) + p->step[i].bag; /* two lots */
    for (size_t i = 0; r == 0 && i < p->n_steps; i++) {
        struct step *s = &p->step[i];
        uint32_t rows_max = p->config->analyzer[i].max_rows;
        if (step_keeps(s))
            r = kept_form_new(s->binding, rows_max ? rows_max : KEPT_ROWS_DEFAULT,
                              KEPT_BYTES_MAX / n_keep, &s->kept);
        s->kept.by_columns = p->config->joins.all && !takes_number(p, s->binding);
    }
    return r < 0 ? error_set(error, r, "no memory") : 0;
}

/* Without opening them. */
static bool knows_outputs(const struct pipeline *p)
{
    bool known = true;
    for (size_t i = 0; known && i < p->n_steps; i++)
        known = p->step[i].binding->n_cells > 0;
    return known;
}

/* Analyzers and `where` do not depend on each other: where faults are collected, both are looked at. */
static int check_parts(struct pipeline *p, struct plugins *plugins, struct error *error)
{
    int bound = bind_analyzers(p, plugins, error);
    if (bound == 0)
        bound = ask_setup(p, error);
    if (bound < 0 && !faults_go_on(bound, error))
        return bound;
    int where = try_where(p, error);
    if (where < 0 && !faults_go_on(where, error))
        return where;
    if (p->config->left_out && bound == 0 && where == 0 && !knows_outputs(p))
        return 0; /* without tables */
    int r = bound == 0 && !p->config->left_out ? try_analyzers(p, error) : bound;
    if (r == 0 && !p->config->left_out) /* only now all have said what they give */
        r = form_rows(p, error);
    if (r == 0)
        r = pipeline_make_tables(p, error);
    return where < 0 ? where : r;
}

#define LATE_HELP                                                                      \
    "Events whose window had been given out already, by what became of them."

/* Of `run: process`. */
static int add_process_metrics(struct step *s, struct metrics *m, const char *labels)
{
    int r =
        metrics_add(m, METRIC_COUNTER, "weir_analyzer_process_cpu_seconds_total",
                    "CPU time of an analyzer's processes.", labels, &s->cpu_ns, 1e-9);
    if (r == 0)
        r = metrics_add(m, METRIC_COUNTER, "weir_analyzer_restarts_total",
                        "Times that an analyzer's process ended by itself, and its "
                        "pipeline was started again.",
                        labels, &s->restarts, 1);
    if (r == 0)
        r = metrics_add(m, METRIC_COUNTER, "weir_analyzer_queue_wait_seconds_total",
                        "Time that entries waited for an analyzer's process, all "
                        "together.",
                        labels, &s->waited_us, 1e-6);
    if (r == 0)
        r = metrics_add(m, METRIC_COUNTER, "weir_analyzer_entries_total",
                        "Entries that an analyzer's processes have begun with.", labels,
                        &s->entries, 1);
    return r < 0 ? r
                 : metrics_add(m, METRIC_COUNTER, "weir_analyzer_set_aside_total",
                               "Events that were not given to an analyzer because its "
                               "process ended at them.",
                               labels, &s->set_aside, 1);
}

static double bytes_of_step(void *step)
{
    const struct step *s = step;
    return (double)(atomic_load_explicit(&s->pipeline->groups, memory_order_relaxed) *
                        step_stride(s) +
                    atomic_load_explicit(&s->held, memory_order_relaxed));
}

static double bytes_held(void *pipeline)
{
    return (double)pipeline_held(pipeline);
}

static double waited(void *pipeline)
{
    const struct pipeline *p = pipeline;
    uint64_t us = 0;
    for (unsigned i = 0; i < p->config->workers; i++)
        us += atomic_load_explicit(&p->shard[i].waited_us, memory_order_relaxed);
    return (double)us / 1e6;
}

static double entries(void *pipeline)
{
    const struct pipeline *p = pipeline;
    uint64_t n = 0;
    for (unsigned i = 0; i < p->config->workers; i++)
        n += atomic_load_explicit(&p->shard[i].entries, memory_order_relaxed);
    return (double)n;
}

#define WAIT_HELP                                                                      \
    "Time that entries of the log waited for a worker that reads them, all together."
#define ENTRIES_HELP "Entries of the log that workers have read, counted for each."

/* Of all workers together, and of each where there are several. */
static int add_shard_metrics(struct pipeline *p, struct metrics *m)
{
    char labels[192];
    snprintf(labels, sizeof(labels), "pipeline=\"%s\"", p->config->name);
    int r =
        metrics_add_call(m, METRIC_COUNTER, "weir_pipeline_queue_wait_seconds_total",
                         WAIT_HELP, labels, waited, p);
    if (r == 0)
        r = metrics_add_call(m, METRIC_COUNTER, "weir_pipeline_entries_total",
                             ENTRIES_HELP, labels, entries, p);
    for (unsigned i = 0; r == 0 && p->config->workers > 1 && i < p->config->workers;
         i++) {
        struct shard *s = &p->shard[i];
        snprintf(labels, sizeof(labels), "pipeline=\"%s\",worker=\"%u\"",
                 p->config->name, i);
        r = metrics_add(m, METRIC_COUNTER, "weir_worker_cpu_seconds_total",
                        "CPU time of a worker of a pipeline with several.", labels,
                        &s->cpu_ns, 1e-9);
        if (r == 0)
            r = metrics_add(m, METRIC_COUNTER, "weir_worker_events_total",
                            "Events that a worker has folded into its groups.", labels,
                            &s->events, 1);
        if (r == 0)
            r = metrics_add(m, METRIC_COUNTER, "weir_worker_queue_wait_seconds_total",
                            "Time that entries waited for this worker.", labels,
                            &s->waited_us, 1e-6);
    }
    return r;
}

static int add_figures(struct step *s, struct metrics *m, const char *labels)
{
    int r = metrics_add(m, METRIC_COUNTER, "weir_analyzer_seconds_total",
                        "Time spent in an analyzer's update, or whole.", labels, &s->ns,
                        1e-9);
    if (r == 0)
        r = metrics_add(m, METRIC_COUNTER, "weir_analyzer_cpu_seconds_total",
                        "CPU time of an analyzer: its share of its workers' turns, or "
                        "that of its processes.",
                        labels, &s->cpu_ns, 1e-9);
    if (r == 0)
        r = metrics_add(m, METRIC_COUNTER, "weir_analyzer_events_total",
                        "Events that an analyzer was given.", labels, &s->events, 1);
    if (r == 0)
        r = metrics_add_call(m, METRIC_GAUGE, "weir_analyzer_state_bytes",
                             "Memory of an analyzer's states.", labels, bytes_of_step,
                             s);
    return r < 0 || !s->config->apart ? r : add_process_metrics(s, m, labels);
}

static int add_step_metrics(struct pipeline *p, struct metrics *m)
{
    char labels[384], reason[PARAMS_WORD];
    int r = 0;
    for (size_t i = 0; r == 0 && i < p->n_steps; i++) {
        struct step *s = &p->step[i];
        int size = snprintf(labels, sizeof(labels),
                            "pipeline=\"%s\",analyzer=\"%s\",place=\"%zu\"",
                            p->config->name, p->config->analyzer[i].plugin, i + 1);
        r = add_figures(s, m, labels);
        const struct plugin *plugin = s->binding->plugin;
        size_t n = plugin->n_reasons;
        for (size_t k = 0; r == 0 && k < n + step_keeps(s); k++) {
            if (k < n)
                params_word(plugin->analyzer.reasons, k, reason);
            snprintf(labels + size, sizeof(labels) - (size_t)size, ",reason=\"%s\"",
                     k < n ? reason : "max_rows");
            r = metrics_add(m, METRIC_COUNTER, "weir_analyzer_skipped_total",
                            "Events that an analyzer could not use, by reason.", labels,
                            k < n ? &s->skipped[k] : &s->over_rows, 1);
        }
        snprintf(labels + size, sizeof(labels) - (size_t)size,
                 ",reason=\"where_error\"");
        if (r == 0 && s->condition != CONDITION_NONE)
            r = metrics_add(m, METRIC_COUNTER, "weir_analyzer_skipped_total",
                            "Events that an analyzer could not use, by reason.", labels,
                            &s->where_errors, 1);
    }
    return r;
}

static int add_metrics(struct pipeline *p, struct metrics *m)
{
    const struct {
        enum metric_kind kind;
        const char *name, *help, *label;
        const _Atomic uint64_t *value;
        double scale;
    } table[] = {
        {METRIC_COUNTER, "weir_pipeline_events_total", "Events folded into groups.", "",
         &p->events, 1},
        {METRIC_COUNTER, "weir_pipeline_late_total", LATE_HELP, ",outcome=\"drop\"",
         &p->late[CONFIG_LATE_DROP], 1},
        {METRIC_COUNTER, "weir_pipeline_late_total", LATE_HELP, ",outcome=\"side\"",
         &p->late[CONFIG_LATE_SIDE], 1},
        {METRIC_COUNTER, "weir_pipeline_late_total", LATE_HELP, ",outcome=\"revise\"",
         &p->late[CONFIG_LATE_REVISE], 1},
        {METRIC_COUNTER, "weir_pipeline_revisions_total",
         "Groups whose results were given out again because of late events.", "",
         &p->revisions, 1},
        {METRIC_COUNTER, "weir_pipeline_dropped_total",
         "Events not counted, by reason.", ",reason=\"where\"", &p->filtered, 1},
        {METRIC_COUNTER, "weir_pipeline_dropped_total",
         "Events not counted, by reason.", ",reason=\"where_error\"", &p->where_errors,
         1},
        {METRIC_COUNTER, "weir_pipeline_dropped_total",
         "Events not counted, by reason.", ",reason=\"null_key\"", &p->null_keys, 1},
        {METRIC_COUNTER, "weir_pipeline_dropped_total",
         "Events not counted, by reason.", ",reason=\"long_key\"", &p->long_keys, 1},
        {METRIC_COUNTER, "weir_pipeline_dropped_total",
         "Events not counted, by reason.", ",reason=\"max_groups\"", &p->over_groups,
         1},
        {METRIC_COUNTER, "weir_pipeline_dropped_total",
         "Events not counted, by reason.", ",reason=\"no_until\"", &p->no_until, 1},
        {METRIC_COUNTER, "weir_pipeline_dropped_total",
         "Events not counted, by reason.", ",reason=\"pipeline_failed\"", &p->skipped,
         1},
        {METRIC_COUNTER, "weir_pipeline_derive_errors_total",
         "Values of its derived columns that could not be computed and are null.", "",
         &p->derive_errors, 1},
        {METRIC_COUNTER, "weir_pipeline_join_late_total",
         "Events of joined streams that came behind their watermark, and are not "
         "found.",
         "", &p->join_late, 1},
        {METRIC_COUNTER, "weir_pipeline_join_too_late_total",
         "Events that came so late that they find nothing in a joined stream.", "",
         &p->join_too_late, 1},
        {METRIC_COUNTER, "weir_pipeline_join_cut_total",
         "Joined texts that are null, as those of a batch were more than it can hold.",
         "", &p->join_cut, 1},
        {METRIC_COUNTER, "weir_pipeline_windows_total",
         "Windows closed, counted for each worker.", "", &p->windows, 1},
        {METRIC_COUNTER, "weir_pipeline_rows_total", "Result rows given out.", "",
         &p->rows, 1},
        {METRIC_GAUGE, "weir_pipeline_groups",
         "Groups in memory now: open, or such as can be revised.", "", &p->groups, 1},
        {METRIC_GAUGE, "weir_pipeline_partial",
         "1: it began in the middle of its stream, and its first windows may hold a "
         "part of their events only.",
         "", &p->is_partial, 1},
        {METRIC_COUNTER, "weir_pipeline_cpu_seconds_total", "CPU time of the workers.",
         "", &p->cpu_ns, 1e-9},
    };
    char labels[192];
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof(table) / sizeof(table[0]); i++) {
        snprintf(labels, sizeof(labels), "pipeline=\"%s\"%s", p->config->name,
                 table[i].label);
        r = metrics_add(m, table[i].kind, table[i].name, table[i].help, labels,
                        table[i].value, table[i].scale);
    }
    snprintf(labels, sizeof(labels), "pipeline=\"%s\"", p->config->name);
    if (r == 0)
        r = metrics_add_call(m, METRIC_GAUGE, "weir_pipeline_state_bytes",
                             "Memory that analyzers hold beside their fixed states.",
                             labels, bytes_held, p);
    if (r == 0)
        r = add_shard_metrics(p, m);
    if (r == 0)
        r = references_count(p, m);
    return r < 0 ? r : add_step_metrics(p, m);
}

/* NaN: it has not begun. */
static double watermark_lag(void *ctx)
{
    struct pipeline *p = ctx;
    pthread_mutex_lock(&p->lock);
    int64_t us = p->shown_watermark_us;
    pthread_mutex_unlock(&p->lock);
    return us == INT64_MIN ? NAN : (double)(clock_now_us() - us) / 1e6;
}

int pipeline_count(struct pipeline *p, struct metrics *metrics)
{
    char labels[192];
    snprintf(labels, sizeof(labels), "pipeline=\"%s\"", p->config->name);
    p->metrics = metrics;
    int r = add_metrics(p, metrics);
    return r < 0 ? r
                 : metrics_add_call(metrics, METRIC_GAUGE,
                                    "weir_pipeline_watermark_lag_seconds",
                                    "How far its watermark is behind the clock.",
                                    labels, watermark_lag, p);
}

void pipeline_uncount(struct pipeline *p)
{
    if (!p->metrics)
        return;
    metrics_remove(p->metrics, p, sizeof(*p));
    metrics_remove(p->metrics, p->step, p->n_steps * sizeof(*p->step));
    metrics_remove(p->metrics, p->shard, p->config->workers * sizeof(*p->shard));
    if (p->references)
        metrics_remove(p->metrics, p->references->of,
                       p->references->n * sizeof(p->references->of[0]));
    p->metrics = NULL;
}

/* Numbers of `until` have the unit of the stream's time. */
static int64_t until_unit(enum decode_unit unit)
{
    switch (unit) {
    case DECODE_S:
        return SECOND_US;
    case DECODE_MS:
        return 1000;
    case DECODE_NS:
        return 0;
    default:
        return 1;
    }
}

int pipeline_new(struct config *config, const struct config_pipeline *c,
                 struct plugins *plugins, struct metrics *metrics,
                 struct pipeline **ret, struct error *error)
{
    return pipeline_new_child(config, c, NULL, plugins, metrics, ret, error);
}

int pipeline_new_child(struct config *config, const struct config_pipeline *c,
                       struct pipeline *const *all, struct plugins *plugins,
                       struct metrics *metrics, struct pipeline **ret,
                       struct error *error)
{
    struct pipeline *p = calloc(1, sizeof(*p));
    if (!p)
        return error_set(error, -ENOMEM, "no memory");
    atomic_init(&p->refs, 1);
    p->whole = config_ref(config);
    p->config = c;
    p->schema = c->schema;
    p->until_unit_us = until_unit(config->stream[c->stream].time_unit);
    p->shown_watermark_us = p->shown_newest_us = INT64_MIN;
    pthread_mutex_init(&p->lock, NULL);
    int r = c->window.zone ? calendar_new(&c->window, &p->calendar, error) : 0;
    if (r == 0)
        p->window = window_kind(&c->window, p->calendar);
    atomic_init(&p->asked_us, INT64_MIN);
    if (r == 0 && c->from && all)
        r = chain_join(p, all[c->parent], error);
    if (r == 0 && c->results.n && all)
        r = chain_find_results(p, all, error);
    p->schema = c->schema;
#ifndef HAVE_LIBCURL
    if (r == 0 && c->asks)
        r = node_error(
            c->lookups_node ? c->lookups_node : c->node, error,
            "this weir was built without libcurl: it asks no other services");
#endif
    if (r == 0)
        r = derived_setup(p, error);
    if (r == 0 && (r = references_new(p, &p->references)) < 0)
        error_set(error, r, "no memory");
    if (r == 0)
        r = check_parts(p, plugins, error);
    if (r == 0 && !(p->shard = calloc(c->workers + 1, sizeof(*p->shard))))
        r = error_set(error, -ENOMEM, "no memory");
    if (r == 0 && metrics && (r = pipeline_count(p, metrics)) < 0)
        error_set(error, r, "no memory");
    if (r < 0) {
        pipeline_unref(p);
        return r;
    }
    *ret = p;
    return 0;
}

struct pipeline *pipeline_ref(struct pipeline *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void pipeline_unref(struct pipeline *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    pipeline_stop(p);
    pipeline_uncount(p);
    chain_leave(p);
    for (size_t i = 0; i < p->n_tables; i++)
        table_free((struct table *)(uintptr_t)p->table[i]);
    for (size_t i = 0; i < p->n_steps; i++) {
        kept_form_free(&p->step[i].kept);
        binding_free(p->step[i].binding);
        ask_free(p->step[i].ask);
        free(p->step[i].aside);
    }
    calendar_free(p->calendar);
    pthread_mutex_destroy(&p->lock);
    free(p->table);
    free(p->shard);
    free(p->step);
    free(p->condition);
    free(p->dictionary);
    log_entry_unref(p->derived);
    derive_free(p->derive);
    schema_free(p->wide);
    references_free(p->references);
    config_free(p->whole);
    free(p);
}

size_t pipeline_tables(const struct pipeline *p, const struct table *const **ret_tables)
{
    *ret_tables = p->table;
    return p->n_tables;
}

/* Each worker gets every entry and takes its own rows: a scan of the key ids costs it a nanosecond a
 * row, and needs nobody in between who hands rows out. Where one has no room, those before it have the entry
 * already. */
bool pipeline_give(struct pipeline *p, struct log_entry *e, bool command)
{
    for (; p->given < p->config->workers; p->given++) {
        struct worker *w = &p->worker[p->given];
        atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
        if (!mailbox_put(&w->mailbox, e, command)) {
            atomic_fetch_sub_explicit(&e->refs, 1, memory_order_relaxed);
            return false;
        }
        task_wake(&w->task);
    }
    p->given = 0;
    log_entry_unref(e);
    return true;
}

/* With derived columns of its own workers get another entry, made at the first attempt. */
static bool put_entry(void *ctx, struct log_entry *e, bool command)
{
    struct pipeline *p = ctx;
    struct error error = {0};
    if (p->join)
        return join_put(p->join, e, command);
    if (p->lookup)
        return lookup_put(p->lookup, e, command);
    if (!p->derived && pipeline_widens(p) && e->kind == LOG_BATCH &&
        !pipeline_failed(p) && derived_entry(p, e, &p->derived) < 0) {
        error_set(&error, -ENOMEM, "no memory for derived or joined columns");
        pipeline_fail(p, &error);
    }
    if (!pipeline_give(p, p->derived ? p->derived : e, command))
        return false;
    if (p->derived) /* the workers have what was ours of it */
        log_entry_unref(e);
    p->derived = NULL;
    return true;
}

/* Metrics and status may look already. */
static void show_begin(struct pipeline *p, int64_t watermark_us, uint64_t position)
{
    pthread_mutex_lock(&p->lock);
    p->shown_watermark_us = watermark_us;
    p->shown_position = position;
    pthread_mutex_unlock(&p->lock);
}

int pipeline_prepare(struct pipeline *p, const struct pipeline_sink *sink,
                     int64_t watermark_us, struct error *error)
{
    const struct config_pipeline *c = p->config;
    p->sink = *sink;
    show_begin(p, watermark_us, 0);
    struct worker *worker = calloc(c->workers, sizeof(*worker));
    if (!worker)
        return error_set(error, -ENOMEM, "no memory");
    int r = 0;
    for (unsigned i = 0; r == 0 && i < c->workers; i++)
        r = worker_init(&worker[i], p, i, watermark_us, error);
    pthread_mutex_lock(&p->lock);
    p->worker = worker;
    pthread_mutex_unlock(&p->lock);
    struct join *join = NULL;
    struct lookup *lookup = NULL;
    if (r == 0 && c->joins.n && (r = join_new(p, &join)) < 0)
        error_set(error, r, "no memory");
    if (r == 0 && c->asks)
        r = lookup_new(p, sink->lookups, &lookup, error);
    pthread_mutex_lock(&p->lock);
    p->join = join;
    p->lookup = lookup;
    pthread_mutex_unlock(&p->lock);
    return r;
}

struct lookup *pipeline_lookup(const struct pipeline *p)
{
    return p->lookup;
}

struct references *pipeline_references(const struct pipeline *p)
{
    return p->references;
}

struct join *pipeline_join(const struct pipeline *p)
{
    return p->join;
}

static int64_t own_wanted(void *pipeline)
{
    const struct pipeline *p = pipeline;
    int64_t us = atomic_load_explicit(&p->asked_us, memory_order_relaxed);
    int64_t join_us = p->join ? join_wanted(p->join) : INT64_MIN;
    return us > join_us ? us : join_us;
}

/* The first of its chain asks for all. */
void pipeline_ask(struct pipeline *p, int64_t wanted_us)
{
    while (p->parent)
        p = p->parent;
    int64_t before_us =
        atomic_exchange_explicit(&p->asked_us, wanted_us, memory_order_relaxed);
    struct log *log = atomic_load_explicit(&p->runs_on, memory_order_acquire);
    if (wanted_us > before_us && log)
        log_look(log);
}

bool pipeline_has_ended(const struct pipeline *p)
{
    return atomic_load_explicit(&p->ended, memory_order_acquire) == p->config->workers;
}

static bool all_have_ended(struct pipeline *p)
{
    bool ended = pipeline_has_ended(p) || pipeline_failed(p) || p->left_out;
    pthread_mutex_lock(&p->lock); /* children may leave */
    for (struct pipeline *c = NULL; ended && (c = pipeline_child(p, c));)
        ended = all_have_ended(c);
    pthread_mutex_unlock(&p->lock);
    return ended;
}

bool pipeline_chain_has_ended(struct pipeline *p)
{
    while (p->parent)
        p = p->parent;
    return all_have_ended(p);
}

/* ---- What it begins with ---------------------------------------------------------------------- */

/* In the checkpoint of one whose files are not read: its workers have seen no row. */
#define FILES_WANTED UINT64_MAX

void pipeline_begin_behind(struct pipeline *p, bool files)
{
    atomic_store_explicit(&p->behind, true, memory_order_relaxed);
    for (unsigned i = 0; files && p->worker && i < p->config->workers; i++)
        p->worker[i].sequence = FILES_WANTED;
}

bool pipeline_wants_files(const struct pipeline *p)
{
    return !p->parent && p->worker[0].sequence == FILES_WANTED;
}

void pipeline_forget_files(struct pipeline *p)
{
    for (unsigned i = 0; i < p->config->workers; i++)
        p->worker[i].sequence = 0;
}

bool pipeline_is_behind(const struct pipeline *p)
{
    while (p->parent)
        p = p->parent;
    return atomic_load_explicit(&p->behind, memory_order_relaxed);
}

void pipeline_caught_up(struct pipeline *p)
{
    atomic_store_explicit(&p->behind, false, memory_order_relaxed);
}

int pipeline_file_entry(const struct pipeline *p, enum log_kind kind, uint64_t sequence,
                        struct log_entry **ret)
{
    int r = entry_new(kind, ret);
    if (r < 0)
        return r;
    (*ret)->position = p->started_at;
    (*ret)->sequence = sequence;
    return 0;
}

/* Tables that were read for it: in the transaction of what it begins with. */
static void add_snapshots(struct pipeline *p, struct checkpoint *c)
{
    struct checkpoint **last = &c->inputs;
    while (*last)
        last = &(*last)->inputs;
    *last = references_take_snapshots(p->references);
}

int pipeline_first_checkpoint(struct pipeline *p, uint64_t position,
                              struct error *error)
{
    const struct log_entry e = {.kind = LOG_CHECKPOINT, .position = position};
    int r = 0;
    doing_pipeline(p->config->name, position); /* analyzers save states */
    for (unsigned i = 0; r == 0 && i < p->config->workers; i++) {
        struct checkpoint *c;
        r = checkpoint_make(&p->worker[i], &e, &c);
        if (r == 0 && i == 0)
            add_snapshots(p, c);
        if (r == 0)
            r = p->sink.checkpoint(p->sink.ctx, p->config->name, c);
    }
    doing_pipeline(NULL, 0);
    return r < 0 ? error_set(error, r, "its first checkpoint cannot be made") : 0;
}

static struct log_sink sink_of(struct pipeline *p, uint64_t position)
{
    const struct config_pipeline *c = p->config;
    const struct config_join *join = c->joins.n ? &c->joins.join[0] : NULL;
    const bool own_keys = pipeline_widens(p) || c->asks;
    const struct pipeline *top = p;
    while (top->parent)
        top = top->parent;
    return (struct log_sink){
        .pipeline = c->name,
        .put = put_entry,
        .ctx = p,
        .position = position,
        .idle_timeout_us = c->idle_timeout_us,
        .out_of_orderness_us = c->out_of_orderness_us,
        .next_border_us = chain_next_border,
        .last_border_us = chain_last_border,
        .wanted_us = p->join || p->parent == NULL ? own_wanted : NULL,
        /* Those of the pipeline itself are found in derived_keys, if there is a join, a look-up or a derive. */
        .key = join ? join->on : c->key,
        .n_keys = join       ? join->n_on
                  : own_keys ? 0
                             : c->n_keys,
        .dictionary = join || own_keys ? NULL : p->dictionary,
        .failed = pipeline_failed,
        .behind = !p->parent && pipeline_is_behind(p),
        .also = p->parent &&
                (pipeline_wants_files(top) || (p->changes && !p->worker[0].sequence))};
}

/* What it has reached, for its log. Before its workers run. */
static struct log_sink behind(struct pipeline *p, uint64_t position,
                              int64_t source_us[WATERMARK_SOURCES])
{
    const struct watermark *w = &p->worker[0].watermark;
    for (uint32_t i = 0; i < w->n; i++)
        source_us[i] = w->source[i].idle || w->source[i].max_us != INT64_MIN
                           ? w->source[i].max_us
                           : LOG_HOLDS_US;
    struct log_sink s = sink_of(p, position);
    s.source_us = source_us;
    s.n_sources = w->n;
    s.newest_us = w->newest_us;
    s.watermark_us = w->value_us;
    return s;
}

static int subscribe(struct pipeline *p, const struct log_sink *s, bool live,
                     struct error *error)
{
    size_t none, *keys = p->join                           ? &p->join->keys
                         : pipeline_widens(p) || p->lookup ? &none
                                                           : &p->keys;
    if (live && !s->behind)
        return log_resubscribe(p->log, s, keys, error);
    int r =
        live ? log_subscribe_behind(p->log, s, keys) : log_subscribe(p->log, s, keys);
    return r < 0 ? error_set(error, r, "no memory") : 0;
}

void pipeline_keep_open(struct pipeline *p, uint64_t bytes)
{
    p->hold_bytes = bytes;
}

int pipeline_start(struct pipeline *p, struct tasks *tasks, struct log *log,
                   uint64_t position, bool live, struct error *error)
{
    const struct config_pipeline *c = p->config;
    p->log = log;
    atomic_store_explicit(&p->runs_on, log, memory_order_release);
    p->begun_us = p->worker[0].watermark.value_us;
    p->started_at = position;
    show_begin(p, p->begun_us, position);
    int64_t source_us[WATERMARK_SOURCES];
    const struct log_sink s = behind(p, position, source_us);
    int r = p->join ? join_begin(p->join, tasks, position, error) : 0;
    if (p->lookup && (r = lookup_start(p->lookup, tasks, position)) < 0)
        error_set(error, r, "no memory");
    if (r == 0 && !live)
        r = subscribe(p, &s, false, error);
    if (p->parent)
        outflow_go_on(p->reads, p->worker[0].sequence);
    if (p->changes && !p->worker[0].sequence)
        p->parent->gives_all = true;
    if (r == 0 && (r = chain_give_all(p, position)) < 0)
        error_set(error, r, "what it has given out cannot be given again");
    for (unsigned i = 0; r == 0 && i < c->workers; i++) {
        p->worker[i].position = position;
        if (p->parent) /* nothing before is waited for */
            r = p->sink.put(p->sink.ctx, c->name, i, c->workers, position,
                            p->worker[i].watermark.value_us, NULL);
        if (r < 0)
            return error_set(error, r, "%s", strerror(-r));
        p->worker[i].watermark.held = p->hold_bytes > 0;
        r = worker_start(&p->worker[i], tasks, error);
    }
    if (r == 0 && p->join) /* what comes goes on to the workers */
        r = join_subscribe(p->join, live, error);
    if (r == 0 && live)
        r = subscribe(p, &s, true, error);
    return r;
}

void pipeline_begin_alone(struct pipeline *p)
{
    p->begun_us = p->worker[0].watermark.value_us;
    worker_begin(&p->worker[0]);
}

int pipeline_read(struct pipeline *p, struct log_entry *e, struct error *error)
{
    struct log_entry *own = NULL;
    int r = 0;
    if (pipeline_failed(p)) {
        *error = p->error;
        return -EIO;
    }
    if (e->kind == LOG_BATCH)
        r = pipeline_widens(p) ? derived_entry(p, e, &own) : derived_keys(p, e);
    if (r < 0)
        error_set(error, r, "no memory for keys and columns of a batch");
    else
        r = worker_read(&p->worker[0], own ? own : e, error);
    log_entry_unref(own);
    if (r < 0)
        pipeline_fail(p, error);
    return r;
}

static bool skip_entry(void *ctx, struct log_entry *e, bool command)
{
    struct pipeline *p = ctx;
    (void)command;
    metric_add(&p->skipped, e->kind == LOG_BATCH ? e->batch->n_rows : 0);
    log_entry_unref(e);
    return true;
}

void pipeline_hold(struct pipeline *p, struct log *log, uint64_t position)
{
    struct log_sink s = sink_of(p, position);
    s.put = skip_entry;
    s.n_keys = 0;
    s.dictionary = NULL;
    s.wanted_us = NULL;
    if (log_hold(log, &s) < 0)
        logger_error("pipeline",
                     "pipeline '%s': no memory to keep its place in the log",
                     p->config->name);
    if (p->join)
        join_hold(p->join);
}

void pipeline_leave_out(struct pipeline *p, struct log *log, uint64_t position)
{
    struct error why = {.text = "left out (--without)"};
    p->left_out = true;
    if (p->config->left_out)
        error_set(&why, 0, "%s", p->config->left_out);
    pipeline_fail(p, &why);
    if (log)
        pipeline_hold(p, log, position);
}

bool pipeline_is_left_out(const struct pipeline *p)
{
    return p->left_out;
}

bool pipeline_drain(struct pipeline *p, int64_t deadline_us)
{
    bool drained = !p->parent || pipeline_drain(p->parent, deadline_us);
    if (p->join)
        drained = drained && join_drain(p->join, deadline_us);
    if (p->lookup)
        drained = drained && lookup_drain(p->lookup, deadline_us);
    for (unsigned i = 0; p->worker && drained && i < p->config->workers; i++)
        drained =
            !p->worker[i].task.run || mailbox_drain(&p->worker[i].mailbox, deadline_us);
    return drained && chain_drain(p, deadline_us);
}

void pipeline_leave(struct pipeline *p)
{
    atomic_store_explicit(&p->leaving, true, memory_order_relaxed);
    if (p->sink.out)
        p->sink.out(p->sink.ctx, p->config->name);
    if (p->join)
        join_wake(p->join);
    if (p->lookup)
        lookup_wake(p->lookup);
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; p->worker && i < p->config->workers; i++)
        if (p->worker[i].task.run)
            task_wake(&p->worker[i].task);
    pthread_mutex_unlock(&p->lock);
}

void pipeline_stop(struct pipeline *p)
{
    if (!p)
        return;
    pipeline_drain(p, INT64_MAX);
    pthread_mutex_lock(&p->lock); /* somebody may ask for its status */
    struct worker *worker = p->worker;
    p->worker = NULL;
    pthread_mutex_unlock(&p->lock);
    if (p->join) /* it feeds the workers, which wake it */
        task_end(&p->join->task);
    if (p->lookup) /* likewise */
        lookup_end(p->lookup);
    for (unsigned i = 0; worker && i < p->config->workers; i++)
        worker_free(&worker[i]);
    free(worker);
    pthread_mutex_lock(&p->lock);
    struct join *join = p->join;
    p->join = NULL;
    struct lookup *lookup = p->lookup;
    p->lookup = NULL;
    pthread_mutex_unlock(&p->lock);
    join_free(join);
    lookup_free(lookup);
}

void pipeline_say_partial(struct pipeline *p, const char *format, ...)
{
    char text[sizeof(p->partial)];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    pthread_mutex_lock(&p->lock);
    memcpy(p->partial, text, sizeof(text));
    pthread_mutex_unlock(&p->lock);
    atomic_store_explicit(&p->is_partial, 1, memory_order_relaxed);
    logger_warn(
        "pipeline",
        "pipeline '%s' %s; its first windows may hold a part of their events only",
        p->config->name, text);
}

void pipeline_fail(struct pipeline *p, const struct error *error)
{
    pthread_mutex_lock(&p->lock);
    bool first = !p->error.text[0];
    if (first)
        p->error = *error;
    pthread_mutex_unlock(&p->lock);
    atomic_store_explicit(&p->failed, true, memory_order_release);
    if (p->sink.out)
        p->sink.out(p->sink.ctx, p->config->name);
    if (first && p->left_out)
        logger_warn("pipeline", "pipeline '%s' keeps its place: %s", p->config->name,
                    error->text);
    else if (first)
        logger_error("pipeline",
                     "pipeline '%s' stops, and keeps its place in the journal until it "
                     "can go on: %s",
                     p->config->name, error->text);
    chain_fail(p);
}

void pipeline_crash(struct pipeline *p, const struct pipeline_crash *crash)
{
    struct error error;
    error_set(&error, 0, "analyzer '%s': %s",
              p->step[crash->analyzer].binding->plugin->analyzer.name, crash->text);
    if (!p->sink.crashed || p->step[crash->analyzer].config->crash_stops) {
        pipeline_fail(p, &error);
        return;
    }
    pthread_mutex_lock(&p->lock);
    bool first = !p->error.text[0];
    if (first) {
        p->error = error;
        p->crash = *crash;
        p->crashed = true;
    }
    pthread_mutex_unlock(&p->lock);
    atomic_store_explicit(&p->failed, true, memory_order_release);
    if (first)
        logger_error("pipeline", "pipeline '%s' is started again: %s", p->config->name,
                     error.text);
    chain_fail(p);
    p->sink.crashed();
}

bool pipeline_crash_at_start(struct pipeline *p, const struct error *why)
{
    struct pipeline_crash crash = {0};
    for (size_t i = 0; i < p->n_steps; i++) {
        crash.call = atomic_load_explicit(&p->step[i].ended, memory_order_relaxed);
        if (!crash.call)
            continue;
        crash.analyzer = i;
        const char *text = strstr(why->text, "its process");
        snprintf(crash.text, sizeof(crash.text), "%s", text ? text : why->text);
        pipeline_crash(p, &crash);
        return true;
    }
    for (struct pipeline *c = NULL; (c = pipeline_child(p, c));)
        if (pipeline_crash_at_start(c, why))
            return true;
    return false;
}

bool pipeline_crashed(struct pipeline *p, struct pipeline_crash *ret)
{
    pthread_mutex_lock(&p->lock);
    bool crashed = p->crashed;
    if (crashed)
        *ret = p->crash;
    pthread_mutex_unlock(&p->lock);
    return crashed;
}

void pipeline_stop_restarts(struct pipeline *p)
{
    pthread_mutex_lock(&p->lock);
    p->crashed = false;
    pthread_mutex_unlock(&p->lock);
}

void pipeline_restarted(struct pipeline *p, size_t analyzer, uint64_t restarts)
{
    if (analyzer < p->n_steps)
        atomic_store_explicit(&p->step[analyzer].restarts, restarts,
                              memory_order_relaxed);
}

int pipeline_set_aside(struct pipeline *p, size_t analyzer, uint64_t first,
                       uint64_t last, bool suspect)
{
    if (analyzer >= p->n_steps)
        return 0;
    struct step *s = &p->step[analyzer];
    struct aside *aside = realloc(s->aside, (s->n_aside + 1) * sizeof(*aside));
    if (!aside)
        return -ENOMEM;
    s->aside = aside;
    s->aside[s->n_aside++] =
        (struct aside){.first = first, .last = last, .suspect = suspect};
    return 0;
}

void pipeline_forget_aside(struct pipeline *p)
{
    for (size_t i = 0; i < p->n_steps; i++)
        p->step[i].n_aside = 0;
}

void pipeline_status(struct pipeline *p, struct pipeline_status *ret)
{
    *ret = (struct pipeline_status){.name = p->config->name};
    ret->left_out = p->left_out;
    ret->behind = pipeline_is_behind(p) || join_is_behind(p->join);
    pthread_mutex_lock(&p->lock);
    ret->restarts = p->crashed;
    ret->watermark_us = p->shown_watermark_us;
    ret->max_event_us = p->shown_newest_us;
    ret->position = p->shown_position;
    snprintf(ret->error, sizeof(ret->error), "%s", p->error.text);
    snprintf(ret->partial, sizeof(ret->partial), "%s", p->partial);
    for (unsigned i = 0; p->worker && i < p->config->workers; i++)
        ret->queued += mailbox_length(&p->worker[i].mailbox);
    if (p->join) {
        ret->queued += mailbox_length(&p->join->mailbox);
        ret->join_waiting =
            atomic_load_explicit(&p->join->n_waits, memory_order_relaxed);
    }
    if (p->lookup) {
        ret->queued += lookup_queued(p->lookup);
        ret->lookup_waiting = lookup_waiting(p->lookup);
    }
    pthread_mutex_unlock(&p->lock);
    ret->events = atomic_load_explicit(&p->events, memory_order_relaxed);
    for (size_t i = 0; i < CONFIG_LATE_POLICIES; i++) {
        ret->late_by[i] = atomic_load_explicit(&p->late[i], memory_order_relaxed);
        ret->late += ret->late_by[i];
    }
    ret->late_known = atomic_load_explicit(&p->late_known, memory_order_relaxed);
    ret->released = atomic_load_explicit(&p->released, memory_order_relaxed);
    ret->revisions = atomic_load_explicit(&p->revisions, memory_order_relaxed);
    ret->filtered = atomic_load_explicit(&p->filtered, memory_order_relaxed);
    ret->where_errors = atomic_load_explicit(&p->where_errors, memory_order_relaxed);
    ret->null_keys = atomic_load_explicit(&p->null_keys, memory_order_relaxed);
    ret->long_keys = atomic_load_explicit(&p->long_keys, memory_order_relaxed);
    ret->over_groups = atomic_load_explicit(&p->over_groups, memory_order_relaxed);
    ret->no_until = atomic_load_explicit(&p->no_until, memory_order_relaxed);
    ret->derive_errors = atomic_load_explicit(&p->derive_errors, memory_order_relaxed);
    ret->choose_errors = choose_errors(p);
    ret->join_late = atomic_load_explicit(&p->join_late, memory_order_relaxed);
    ret->join_cut = atomic_load_explicit(&p->join_cut, memory_order_relaxed);
    ret->join_too_late = atomic_load_explicit(&p->join_too_late, memory_order_relaxed);
    ret->rows = atomic_load_explicit(&p->rows, memory_order_relaxed);
    ret->groups = atomic_load_explicit(&p->groups, memory_order_relaxed);
    ret->state_bytes = ret->groups * p->stride + pipeline_held(p);
}

/* The i-th input of a join that is fed by the stream; its own stream is one where the join counts what is late of it. */
static struct join_input *input_of(struct pipeline *p, size_t stream, size_t i)
{
    if (!p->join || i > p->join->n)
        return NULL;
    if (i == p->join->n)
        return p->config->stream == stream ? &p->join->own : NULL;
    const struct config_join *c = p->join->input[i].config;
    return !c->result && c->stream == stream ? &p->join->input[i] : NULL;
}

void pipeline_took(struct pipeline *p, size_t stream, uint32_t source,
                   struct pipeline_taken *ret)
{
    bool own = p->config->stream == stream, all = p->config->joins.all;
    uint64_t late = 0;
    *ret = (struct pipeline_taken){.position = UINT64_MAX};
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; own && !all && p->worker && i < p->config->workers; i++) {
        uint64_t read =
            atomic_load_explicit(&p->worker[i].shown_position, memory_order_acquire);
        ret->position = read < ret->position ? read : ret->position;
    }
    for (size_t i = 0; p->join && i <= p->join->n; i++) {
        struct join_input *in = input_of(p, stream, i);
        if (!in)
            continue;
        uint64_t read = atomic_load_explicit(&in->shown_position, memory_order_acquire);
        if ((i < p->join->n || all) && read < ret->position)
            ret->position = read;
        late += atomic_load_explicit(&in->late_of[source], memory_order_relaxed);
    }
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; own && i < CONFIG_LATE_POLICIES; i++)
        ret->late_by[i] =
            atomic_load_explicit(&p->late_of[source][i], memory_order_relaxed);
    if (all)
        ret->late_by[CONFIG_LATE_DROP] += late;
    else
        ret->not_joined = late;
}

void pipeline_forget_late(struct pipeline *p, size_t stream, uint32_t source)
{
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; p->join && i <= p->join->n; i++) {
        struct join_input *in = input_of(p, stream, i);
        if (in)
            atomic_store_explicit(&in->late_of[source], 0, memory_order_relaxed);
    }
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; p->config->stream == stream && i < CONFIG_LATE_POLICIES; i++)
        atomic_store_explicit(&p->late_of[source][i], 0, memory_order_relaxed);
}

void pipeline_processes(struct pipeline *p,
                        void (*call)(void *ctx, const struct pipeline_process *process),
                        void *ctx)
{
    pthread_mutex_lock(&p->lock);
    for (unsigned k = 0; p->worker && k < p->config->workers; k++) {
        for (size_t i = 0; i < p->n_steps; i++) {
            const struct step *s = &p->step[i];
            const struct remote *r =
                p->worker[k].remote ? p->worker[k].remote[i] : NULL;
            if (!r)
                continue;
            struct pipeline_process process = {
                .analyzer = s->binding->plugin->analyzer.name,
                .place = i + 1,
                .worker = k,
                .restarts = atomic_load_explicit(&s->restarts, memory_order_relaxed),
                .set_aside = atomic_load_explicit(&s->set_aside, memory_order_relaxed)};
            remote_show(r, &process.pid, &process.cpu_ns);
            call(ctx, &process);
        }
    }
    pthread_mutex_unlock(&p->lock);
}

size_t pipeline_sources(struct pipeline *p, struct pipeline_source *ret, size_t room)
{
    size_t n = 0;
    pthread_mutex_lock(&p->lock);
    for (uint32_t i = 0; i < p->shown_n; i++) {
        if (p->shown[i].max_us == INT64_MIN)
            continue;
        if (n < room) {
            ret[n] = (struct pipeline_source){.max_event_us = p->shown[i].max_us,
                                              .idle = p->shown[i].idle};
            snprintf(ret[n].name, sizeof(ret[n].name), "%s",
                     log_source_name(p->log, i));
        }
        n++;
    }
    pthread_mutex_unlock(&p->lock);
    return n;
}

size_t pipeline_tables_joined(struct pipeline *p, struct pipeline_reference *ret,
                              size_t room)
{
    size_t n = p->references ? p->references->n : 0;
    for (size_t i = 0; i < n && i < room; i++) {
        const struct reference *r = &p->references->of[i];
        ret[i] = (struct pipeline_reference){
            .name = r->config->node->text,
            .table = r->config->table,
            .rows = atomic_load_explicit(&r->n_rows, memory_order_relaxed),
            .bytes = atomic_load_explicit(&r->bytes, memory_order_relaxed),
            .wrong_values = atomic_load_explicit(&r->n_wrong, memory_order_relaxed),
            .missing = atomic_load_explicit(&r->missing, memory_order_relaxed)};
    }
    return n;
}

size_t pipeline_joined(struct pipeline *p, struct pipeline_input *ret, size_t room)
{
    pthread_mutex_lock(&p->lock);
    size_t own = p->config->joins.all; /* which is one of them then */
    size_t n = p->join ? p->join->n + own : 0;
    for (size_t i = 0; i < n && i < room; i++) {
        struct join_input *in = i < own ? &p->join->own : &p->join->input[i - own];
        ret[i] = (struct pipeline_input){
            .stream = in->stream,
            .watermark_us = atomic_load_explicit(&in->shown_us, memory_order_relaxed),
            .position = atomic_load_explicit(&in->shown_position, memory_order_relaxed),
            .rows = atomic_load_explicit(&in->n_rows, memory_order_relaxed),
            .bytes = atomic_load_explicit(&in->bytes, memory_order_relaxed),
            .late = atomic_load_explicit(&in->late, memory_order_relaxed),
            .null_keys = atomic_load_explicit(&in->null_keys, memory_order_relaxed),
            .waited_for =
                atomic_load_explicit(i < own ? &p->join->wanted_us : &in->wanted_us,
                                     memory_order_relaxed) != INT64_MIN};
    }
    pthread_mutex_unlock(&p->lock);
    return n;
}

static uint64_t read_counter(const _Atomic uint64_t *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

size_t pipeline_looked_up(struct pipeline *p, struct pipeline_service *ret, size_t room)
{
    pthread_mutex_lock(&p->lock);
    size_t n = p->lookup ? lookup_services(p->lookup) : 0;
    for (size_t i = 0; i < n && i < room; i++) {
        struct service *s = lookup_service(p->lookup, i);
        const struct service_counters *c = service_count(s);
        ret[i] =
            (struct pipeline_service){.name = ask_service(p, i)->name,
                                      .found = read_counter(&c->found),
                                      .missing = read_counter(&c->missing),
                                      .failed = read_counter(&c->failed),
                                      .kept = read_counter(&c->kept),
                                      .retries = read_counter(&c->retries),
                                      .null_rows = read_counter(&c->null_rows),
                                      .dropped_rows = read_counter(&c->dropped_rows),
                                      .flying = read_counter(&c->flying),
                                      .bytes = read_counter(&c->bytes),
                                      .broken = read_counter(&c->broken)};
        service_error(s, ret[i].error, sizeof(ret[i].error));
    }
    pthread_mutex_unlock(&p->lock);
    return n;
}

bool pipeline_failed(void *pipeline)
{
    const struct pipeline *p = pipeline;
    return atomic_load_explicit(&p->failed, memory_order_acquire);
}

bool pipeline_is_stale(const struct pipeline *p)
{
    bool stale = false;
    for (size_t i = 0; !stale && i < p->n_steps; i++)
        stale = binding_is_stale(p->step[i].binding);
    return stale;
}

const struct config_pipeline *pipeline_config(const struct pipeline *p)
{
    return p->config;
}

const struct config_stream *pipeline_stream(const struct pipeline *p)
{
    return &p->whole->stream[p->config->stream];
}

const struct window_kind *pipeline_window(const struct pipeline *p)
{
    return &p->window;
}
