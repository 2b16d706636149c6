/* SPDX-License-Identifier: Apache-2.0
 *
 * A pipeline of the configuration file.
 */
#include "base/clock.h"
#include "config/faults.h"
#include "config/fields.h"
#include "config/sections.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COUNT(array)  (sizeof(array) / sizeof(array)[0])
#define EXPOSE_MAX    32 /* columns; the schema says so, too */
#define ANALYZERS_MAX 64
#define MAX_ROWS      1000000000
#define LONGEST       (36525 * DAY_US) /* a hundred years */
/* Of `run: process`. */
#define WORKERS_MAX        64
#define MEMORY_MIN         (UINT64_C(16) << 20)
#define MEMORY_DEFAULT     (UINT64_C(1) << 30)
#define MEMORY_MAX         (UINT64_C(1) << 40)
#define LIMIT_TIME_MIN     100000
#define LIMIT_TIME_DEFAULT (10 * SECOND_US)
#define LIMIT_TIME_MAX     (3600 * SECOND_US)

static int out_of_memory(const struct node *n, struct error *error)
{
    return error_set(error, -ENOMEM, "%s: out of memory", n->file);
}

/* ---- from, where ------------------------------------------------------------------------------- */

static int read_from(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_pipeline *p = target;
    const struct config *c = ctx;
    const char *name;
    p->from_node = n;
    if (n->kind == NODE_LIST) {
        int r = streams_section(n, c, &p->stream, &p->joins, error);
        p->schema = r < 0 ? NULL : p->joins.schema;
        return r;
    }
    int r = node_text(n, &name, error);
    if (r < 0)
        return r;
    for (size_t i = 0; i < c->n_streams; i++) {
        if (!c->stream[i].name) /* a fault that is told already */
            continue;
        if (strcmp(c->stream[i].name, name) == 0) {
            p->stream = i;
            p->schema = c->stream[i].columns;
            return 0;
        }
    }
    /* A pipeline, or what there is not: see chain.c. */
    p->from = strdup(name);
    return p->from ? 0 : out_of_memory(n, error);
}

/* Its columns, behind those of the stream. */
static int take_joins(struct config_pipeline *p, const struct config *c,
                      struct error *error)
{
    int r = p->from ? 0
                    : join_section(p->join_node, c, p->stream, p->schema, &p->results,
                                   &p->joins, error);
    if (r == 0 && p->joins.schema)
        p->schema = p->joins.schema;
    if (r == 0)
        r = reference_section(p->join_node, p->schema, &p->references, error);
    if (r == 0 && p->references.schema)
        p->schema = p->references.schema;
    p->schema = r < 0 ? NULL : p->schema;
    return r;
}

static void default_orders(struct config_pipeline *p)
{
    for (size_t i = 0; i < p->joins.n; i++) {
        struct config_join *j = &p->joins.join[i];
        if (j->out_of_orderness_us < 0)
            j->out_of_orderness_us = p->out_of_orderness_us;
    }
}

/* Before derived columns and the key, which may be made of these. Columns of results are known later. */
static int read_join(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_pipeline *p = target;
    if (p->from) { /* what else than a table stands there chain.c tells */
        p->join_node = n;
        return 0;
    }
    if (!p->schema) /* faults are told already */
        return 0;
    if (p->joins.all)
        return node_error(n, error, "'join' is for pipelines that read one stream");
    p->join_node = n;
    int r = join_section_results(n, ctx, &p->results, error);
    if (r < 0 || p->results.n) {
        p->schema = NULL;
        return r;
    }
    r = take_joins(p, ctx, error);
    return r;
}

/* Are there columns that config_resolve will tell of? */
static bool is_unresolved(const struct config_pipeline *p)
{
    return p->from || p->results.n;
}

/* journal, or files, the last of which may be `journal`: what the stream has of its own. */
static int read_backfill(const struct node *n, void *target, void *ctx,
                         struct error *error)
{
    struct config_pipeline *p = target;
    const struct node *item = n->kind == NODE_LIST ? n->item : n;
    size_t n_items = n->kind == NODE_LIST ? n->n : 1;
    (void)ctx;
    p->backfill_node = n;
    if (n->kind == NODE_MAP || !n_items ||
        (n->kind == NODE_SCALAR && strcmp(n->text, "journal") != 0))
        return node_expected(n, "'journal', or a list of files such as [old.ndjson]",
                             error);
    if (p->from)
        return node_error(n, error,
                          "'backfill' is for pipelines that read a stream; those that "
                          "read '%s' begin with what it is given",
                          p->from);
    if (!(p->backfill = calloc(n_items, sizeof(char *))))
        return out_of_memory(n, error);
    for (size_t i = 0; i < n_items; i++) {
        const char *text;
        int r = node_text(&item[i], &text, error);
        if (r < 0)
            return r;
        if (p->backfill_journal)
            return node_error(&item[i], error, "'journal' is the last of the list");
        if (strcmp(text, "journal") == 0)
            p->backfill_journal = true;
        else if (!(p->backfill[p->n_backfill++] = strdup(text)))
            return out_of_memory(n, error);
    }
    return 0;
}

/* Analyzers that ask others do so where look-ups do: once an event of the stream, before the workers. */
static int check_asking(struct config_pipeline *p, struct error *error)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_analyzers; i++) {
        const struct config_analyzer *a = &p->analyzer[i];
        if (!a->async)
            continue;
        const struct node *run = node_get(a->node, "run");
        if (p->from)
            return node_error(run, error,
                              "'run: async' is for pipelines that read a stream, and "
                              "this one reads '%s'",
                              p->from);
        if (p->joins.n || p->results.n || p->references.n)
            return node_error(
                run, error,
                "'run: async' does not go with several streams or tables; "
                "a pipeline that joins can read this one's results");
        if (++n > CONFIG_ASYNC_MAX)
            return node_error(run, error,
                              "a pipeline has at most %d analyzers with 'run: async'",
                              CONFIG_ASYNC_MAX);
    }
    p->asks = n || p->lookups.n;
    return 0;
}

static int check_backfill(const struct config_pipeline *p, struct error *error)
{
    if (p->backfill_node && p->asks)
        return node_error(p->backfill_node, error,
                          "'backfill' is for pipelines that ask no other services");
    return p->n_backfill && (p->joins.n || p->results.n)
               ? node_error(p->backfill_node, error,
                            "files are of one stream: a pipeline that reads, or joins, "
                            "others or results begins with 'backfill: journal'")
               : 0;
}

/* Before derived columns and the key, too. */
static int read_lookups(const struct node *n, void *target, void *ctx,
                        struct error *error)
{
    struct config_pipeline *p = target;
    (void)ctx;
    p->lookups_node = n;
    if (p->from)
        return node_error(n, error,
                          "'http_lookup' is for pipelines that read a stream; the "
                          "columns can stand in the first of the chain");
    if (!p->schema && !p->results.n) /* faults are told already */
        return 0;
    if (p->joins.n || p->results.n)
        return node_error(n, error,
                          "'http_lookup' does not go with several streams; a pipeline "
                          "that looks up first can be read by one that joins");
    if (p->references.n)
        return node_error(n, error, "'http_lookup' and 'join' do not go together");
    int r = lookup_sections(n, p->schema, &p->lookups, error);
    p->schema = r < 0 ? NULL : p->lookups.schema;
    return r;
}

/* Before the key, which may be of these. */
static int read_derive(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    struct config_pipeline *p = target;
    (void)ctx;
    if (is_unresolved(p))
        p->derive_node = n;
    if (!p->schema) /* not known yet, or the stream has faults, which are told already */
        return 0;
    int r = derive_section(n, p->schema, &p->derive, error);
    p->schema = r < 0 ? NULL : p->derive.schema;
    return r;
}

static int read_where(const struct node *n, void *target, void *ctx,
                      struct error *error)
{
    struct config_pipeline *p = target;
    (void)ctx;
    p->where_node = n;
    return fields_text(n, &p->where, error);
}

/* ---- key --------------------------------------------------------------------------------------- */

static int key_type(const struct node *n, const struct schema *s, size_t column,
                    struct error *error)
{
    const char *name = s->column[column].name;
    switch (s->column[column].type) {
    case WEIR_STRING:
    case WEIR_INT:
    case WEIR_BOOL:
        return 0;
    case WEIR_FLOAT:
        return node_error(
            n, error,
            "'%s' is a float: numbers that are nearly equal would be different "
            "groups; keys are string, int or bool",
            name);
    case WEIR_TIME:
        break;
    }
    return node_error(n, error, "'%s' is a time; keys are string, int or bool", name);
}

/* Names that the result table has already. */
static int key_name(const struct node *n, const char *name, struct error *error)
{
    static const char *const taken[] = {"window_start", "window_end", "rank",
                                        "revision"};
    for (size_t i = 0; i < COUNT(taken); i++) {
        if (strcasecmp(taken[i], name) == 0)
            return node_error(
                n, error,
                "a key cannot be called '%s': result tables have a column of "
                "that name",
                name);
    }
    return 0;
}

static int read_key_column(const struct node *n, const struct schema *s,
                           struct config_pipeline *p, struct error *error)
{
    const char *name, *names[SCHEMA_COLUMNS_MAX];
    int r = node_text(n, &name, error);
    if (r < 0)
        return r;
    int column = schema_find(s, name);
    if (column < 0) {
        for (size_t i = 0; i < s->n; i++)
            names[i] = s->column[i].name;
        node_error(n, error, "%s%s has no %s '%s'", p->from ? "table " : "the stream",
                   p->from ? p->from : "", p->from ? "column" : "field", name);
        node_suggest(error, name, names, s->n);
        return -EINVAL;
    }
    for (size_t i = 0; i < p->n_keys; i++) {
        if (p->key[i] == (size_t)column)
            return node_error(n, error, "'%s' is in the key twice", name);
    }
    r = key_type(n, s, (size_t)column, error);
    if (r == 0)
        r = key_name(n, name, error);
    if (r == 0)
        p->key[p->n_keys++] = (size_t)column;
    return r;
}

static int read_key_columns(const struct node *n, const struct schema *s,
                            struct config_pipeline *p, struct error *error)
{
    const struct node *column = n->kind == NODE_LIST ? n->item : n;
    size_t n_columns = n->kind == NODE_LIST ? n->n : 1;
    if (!(p->key = calloc(s->n, sizeof *p->key)))
        return out_of_memory(n, error);
    int r = 0, failed = 0;
    for (size_t i = 0; r == 0 && i < n_columns; i++) {
        r = read_key_column(&column[i], s, p,
                            error); /* at most s->n: none is there twice */
        failed = r < 0 ? r : failed;
        r = faults_go_on(r, error) ? 0 : r;
    }
    return failed;
}

static int read_key(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_pipeline *p = target;
    (void)ctx;
    if (n->kind == NODE_MAP)
        return node_expected(n, "a field or a list of fields", error);
    if (is_unresolved(p))
        p->key_node = n;
    return p->schema
               ? read_key_columns(n, p->schema, p, error)
               : 0; /* columns are not known yet, or there are faults that are told */
}

/* ---- window ------------------------------------------------------------------------------------ */

static int read_window(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    struct config_pipeline *p = target;
    (void)ctx;
    return window_section(n, p->schema, &p->window, error);
}

/* ---- late, over_max_groups --------------------------------------------------------------------- */

const char *const config_late_word[CONFIG_LATE_POLICIES] = {
    [CONFIG_LATE_DROP] = "drop",
    [CONFIG_LATE_SIDE] = "side",
    [CONFIG_LATE_REVISE] = "revise",
};

static int read_late(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_pipeline *p = target;
    (void)ctx;
    int r = node_word(n, config_late_word, CONFIG_LATE_POLICIES, error);
    if (r < 0)
        return r;
    p->late = (enum config_late)r;
    p->late_node = n;
    return 0;
}

static const char *const partial_word[] = {"rows", "states"};

static int read_partial(const struct node *n, void *target, void *ctx,
                        struct error *error)
{
    struct config_pipeline *p = target;
    (void)ctx;
    p->partial_node = n;
    int r = node_word(n, partial_word, COUNT(partial_word), error);
    if (r < 0)
        return r;
    p->partial = CONFIG_PARTIAL_ROWS + (enum config_partial)r;
    return 0;
}

static const char *const over_word[] = {"drop", "fail"};

static int read_over_max_groups(const struct node *n, void *target, void *ctx,
                                struct error *error)
{
    struct config_pipeline *p = target;
    (void)ctx;
    int r = node_word(n, over_word, COUNT(over_word), error);
    if (r < 0)
        return r;
    p->over_max_groups_fails = r == 1;
    return 0;
}

/* One for all sizes of windows, or one for each. */
static int read_retain(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    static const struct field retain = {
        .min = SECOND_US, .max = LONGEST, .never = "forever"};
    struct config_pipeline *p = target;
    (void)ctx;
    if (n->kind != NODE_LIST) {
        int r = fields_duration(&retain, n, &p->retain_us, error);
        for (size_t i = 0; i < CONFIG_COARSE_MAX; i++)
            p->coarse_retain_us[i] = p->retain_us;
        return r;
    }
    if (n->n != 1 + p->window.n_coarse)
        return node_error(n, error,
                          p->window.n_coarse
                              ? "there are %zu sizes of windows, and %zu "
                                "durations here"
                              : "'retain' is a list where 'window' has "
                                "several sizes",
                          1 + p->window.n_coarse, n->n);
    int r = fields_duration(&retain, &n->item[0], &p->retain_us, error);
    for (size_t i = 1; r == 0 && i < n->n; i++)
        r = fields_duration(&retain, &n->item[i], &p->coarse_retain_us[i - 1], error);
    return r;
}

/* `late` and `allowed_lateness` make sense together only. */
static int check_lateness(const struct config_pipeline *p, const struct node *map,
                          struct error *error)
{
    const struct node *lateness = node_get(map, "allowed_lateness");
    if (p->late == CONFIG_LATE_REVISE && p->allowed_lateness_us == 0)
        return node_error(
            p->late_node, error,
            "'late: revise' needs 'allowed_lateness', such as "
            "'allowed_lateness: 1m': for how long results can be revised");
    if (p->late != CONFIG_LATE_REVISE && p->allowed_lateness_us > 0)
        return node_error(
            lateness, error,
            "'allowed_lateness' is for 'late: revise' only; to wait longer "
            "before results are given out, raise 'out_of_orderness'");
    int64_t retain_us = p->retain_us;
    for (size_t i = 0; i < p->window.n_coarse; i++)
        if (p->coarse_retain_us[i] < retain_us)
            retain_us = p->coarse_retain_us[i];
    if (p->allowed_lateness_us > retain_us)
        return node_error(
            lateness, error,
            "'allowed_lateness' is longer than 'retain': results would be "
            "deleted while they can still be revised");
    return 0;
}

/* Events of several streams go into windows by their times: what asks for one order of all of them has no answer. */
static int check_streams(const struct config_pipeline *p, struct error *error)
{
    if (!p->joins.all)
        return 0;
    if (p->window.kind != CONFIG_TUMBLING && p->window.kind != CONFIG_HOPPING &&
        p->window.kind != CONFIG_SESSION)
        return node_error(p->window.node, error,
                          "'%s' is for pipelines that read one stream; windows of "
                          "several are tumbling, hopping or sessions",
                          config_window_word[p->window.kind]);
    if (p->window.kind == CONFIG_SESSION && p->window.max_us != INT64_MAX)
        return node_error(node_get(p->window.node, "max"), error,
                          "'max' is for sessions of one stream: where it cuts follows "
                          "from the order of events, and those of several have none");
    if (p->late != CONFIG_LATE_DROP)
        return node_error(p->late_node, error,
                          "'late: %s' is for pipelines that read one stream",
                          config_late_word[p->late]);
    return 0;
}

/* ---- select ------------------------------------------------------------------------------------ */

static int read_select_column(const struct node *n, struct config_pipeline *p,
                              struct error *error)
{
    const struct schema *s = p->schema;
    const char *name, *names[SCHEMA_COLUMNS_MAX];
    int r = node_text(n, &name, error);
    if (r < 0)
        return r;
    int column = schema_find(s, name);
    for (size_t i = 0; column < 0 && i < s->n; i++)
        names[i] = s->column[i].name;
    if (column < 0) {
        node_error(n, error, "the stream has no field '%s'", name);
        node_suggest(error, name, names, s->n);
        return -EINVAL;
    }
    for (size_t i = 0; i < p->n_select; i++)
        if (p->select[i] == (size_t)column)
            return node_error(n, error, "'%s' is selected twice", name);
    p->select[p->n_select++] = (size_t)column;
    return 0;
}

static int read_select(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    struct config_pipeline *p = target;
    const struct node *column = n->kind == NODE_LIST ? n->item : n;
    size_t n_columns = n->kind == NODE_LIST ? n->n : 1;
    (void)ctx;
    p->select_node = n;
    if (n->kind == NODE_MAP || !n_columns)
        return node_expected(n, "a field or a list of fields", error);
    if (!p->schema) /* the stream has faults, which are told already, or it is none */
        return 0;
    if (!(p->select = calloc(p->schema->n, sizeof *p->select)))
        return out_of_memory(n, error);
    int r = 0, failed = 0;
    for (size_t i = 0; r == 0 && i < n_columns; i++) {
        r = read_select_column(&column[i], p,
                               error); /* at most schema->n: none twice */
        failed = r < 0 ? r : failed;
        r = faults_go_on(r, error) ? 0 : r;
    }
    return failed;
}

int config_resolve(struct config *c, size_t pipeline, const struct schema *columns,
                   struct error *error)
{
    struct config_pipeline *p = &c->pipeline[pipeline];
    if (p->derive.schema || p->joins.schema || p->references.schema) /* all is done */
        return 0;
    p->schema = columns;
    const bool tables = p->from && p->join_node;
    int r = p->results.n || tables ? take_joins(p, c, error) : 0;
    default_orders(p);
    if (r == 0 && p->derive_node)
        r = read_derive(p->derive_node, p, NULL, error);
    if (r == 0 && p->key_node && !p->key)
        r = read_key_columns(p->key_node, p->schema, p, error);
    if (r == 0 && p->results.n && p->window.kind == CONFIG_UNTIL)
        r = window_section(p->window.node, p->schema, &p->window, error);
    return r == 0 && p->results.n && p->select_node
               ? read_select(p->select_node, p, NULL, error)
               : r;
}

/* Rows are analyzed, or kept as they are. */
static int check_select(const struct config_pipeline *p, const struct node *map,
                        struct error *error)
{
    static const char *const none[] = {"analyzers", "key", "over_max_groups",
                                       "max_groups", "workers"};
    if (p->window.kind != CONFIG_NONE && p->select_node)
        return node_error(
            p->select_node, error,
            "'select' is for 'window: none': it keeps events as they are, "
            "without groups");
    if (p->window.kind != CONFIG_NONE)
        return node_get(map, "analyzers") || p->merges
                   ? 0
                   : node_error(map, error,
                                "the key 'analyzers' is missing in pipeline '%s'",
                                p->name);
    for (size_t i = 0; i < COUNT(none); i++)
        if (node_get(map, none[i]))
            return node_error(node_get(map, none[i]), error,
                              "'%s' has no meaning with 'window: none': there are no "
                              "groups",
                              none[i]);
    return p->select_node ? 0
                          : node_error(map, error,
                                       "'window: none' needs 'select', the fields that "
                                       "are kept");
}

/* What does not go with the kind of the window. */
static int check_kind(const struct config_pipeline *p, const struct node *map,
                      struct error *error)
{
    const struct schema *s = p->schema;
    const enum config_window_kind kind = p->window.kind;
    if (p->late != CONFIG_LATE_DROP &&
        (kind == CONFIG_COUNT || kind == CONFIG_GLOBAL || kind == CONFIG_NONE))
        return node_error(p->late_node, error,
                          "'late: %s' has no meaning here: no event is late for a "
                          "window by '%s'",
                          config_late_word[p->late], config_window_word[kind]);
    if (kind == CONFIG_GLOBAL && p->retain_us != INT64_MAX)
        return node_error(node_get(map, "retain"), error,
                          "results of a window for ever stay as long as their groups, "
                          "which 'expire' limits: {global: 10s, expire: 7d}");
    for (size_t i = 0; s && kind == CONFIG_COUNT && i < p->n_keys; i++)
        if (strcasecmp(s->column[p->key[i]].name, "number") == 0)
            return node_error(node_get(map, "key"), error,
                              "a key cannot be called 'number' here: tables of windows "
                              "by count have a column of that name");
    return 0;
}

/* ---- analyzers --------------------------------------------------------------------------------- */

static int analyzer_name(const struct node *n, struct config_analyzer *a,
                         struct error *error)
{
    const char *name;
    int r = section_name(n, "plugin", &name, error);
    if (r == 0 && !(a->plugin = strdup(name)))
        return out_of_memory(n, error);
    return r;
}

static int analyzer_as(const struct node *n, struct config_analyzer *a,
                       struct error *error)
{
    const char *name;
    int r = section_name(n, "table or column", &name, error);
    if (r == 0 && !(a->as = strdup(name)))
        return out_of_memory(n, error);
    return r;
}

static int analyzer_where(const struct node *n, struct config_analyzer *a,
                          struct error *error)
{
    a->where_node = n;
    return fields_text(n, &a->where, error);
}

static int analyzer_run(const struct node *n, struct config_analyzer *a,
                        struct error *error)
{
    static const char *const words[] = {"thread", "process", "async"};
    int r = node_word(n, words, COUNT(words), error);
    a->apart = r == 1;
    a->async = r == 2;
    return r < 0 ? r : 0;
}

static int analyzer_ask(const struct node *n, struct config_analyzer *a,
                        struct error *error)
{
    return ask_section(n, &a->ask, error);
}

static int analyzer_processes(const struct node *n, struct config_analyzer *a,
                              struct error *error)
{
    int64_t processes;
    int r = node_int(n, 1, WORKERS_MAX, &processes, error);
    a->processes = r < 0 ? 0 : (unsigned)processes;
    return r;
}

static int analyzer_memory(const struct node *n, struct config_analyzer *a,
                           struct error *error)
{
    int r = node_size(n, &a->memory, error);
    if (r == 0 && (a->memory < MEMORY_MIN || a->memory > MEMORY_MAX))
        return node_error(n, error, "'memory' is 16MiB to 1TiB");
    return r;
}

static int analyzer_limit_time(const struct node *n, struct config_analyzer *a,
                               struct error *error)
{
    int r = node_duration(n, &a->limit_time_us, error);
    if (r == 0 &&
        (a->limit_time_us < LIMIT_TIME_MIN || a->limit_time_us > LIMIT_TIME_MAX))
        return node_error(n, error, "'limit_time' is 100ms to 1h");
    return r;
}

static int analyzer_on_crash(const struct node *n, struct config_analyzer *a,
                             struct error *error)
{
    static const char *const words[] = {"skip", "stop"};
    int r = node_word(n, words, COUNT(words), error);
    a->crash_stops = r == 1;
    return r < 0 ? r : 0;
}

/* Likewise what says how others are asked. */
static int check_async(const struct node *n, struct config_analyzer *a,
                       struct error *error)
{
    if (a->ask && !a->async)
        return node_error(node_get(n, "ask"), error,
                          "'ask' has a meaning with 'run: async' only");
    return a->async && !a->ask ? ask_section(NULL, &a->ask, error) : 0;
}

/* What says something of its process has a meaning only where it has one. */
static int check_apart(const struct node *n, struct config_analyzer *a,
                       struct error *error)
{
    static const char *const of_process[] = {"processes", "memory", "limit_time"};
    for (size_t i = 0; !a->apart && i < COUNT(of_process); i++) {
        const struct node *key = node_get(n, of_process[i]);
        if (key)
            return node_error(key, error, "'%s' has a meaning with 'run: process' only",
                              of_process[i]);
    }
    if (!a->memory)
        a->memory = MEMORY_DEFAULT;
    if (!a->limit_time_us)
        a->limit_time_us = LIMIT_TIME_DEFAULT;
    return 0;
}

static int analyzer_max_rows(const struct node *n, struct config_analyzer *a,
                             struct error *error)
{
    int64_t rows;
    int r = node_int(n, 1, MAX_ROWS, &rows, error);
    a->max_rows = r < 0 ? 0 : (uint32_t)rows;
    return r;
}

static bool has_as(const struct config_analyzer *a)
{
    return a->as != NULL;
}

static bool has_where(const struct config_analyzer *a)
{
    return a->where != NULL;
}

/* Keys that are the same for all analyzers, beside the name; those that tell whether they are there already, also with
 * the parameters. */
static const struct analyzer_key {
    const char *name;
    int (*read)(const struct node *value, struct config_analyzer *a,
                struct error *error);
    bool (*has)(const struct config_analyzer *a);
    const char *schema;
} analyzer_keys[] = {
    {"as", analyzer_as, has_as, FIELD_SCHEMA_TEXT},
    {"where", analyzer_where, has_where, FIELD_SCHEMA_TEXT},
    {"max_rows", analyzer_max_rows, NULL, "{\"type\":\"integer\",\"minimum\":1}"},
    {"run", analyzer_run, NULL, "{\"enum\":[\"thread\",\"process\",\"async\"]}"},
    {"ask", analyzer_ask, NULL, "{\"$ref\":\"#/$defs/ask\"}"},
    {"memory", analyzer_memory, NULL, "{\"$ref\":\"#/$defs/size\"}"},
    {"limit_time", analyzer_limit_time, NULL, "{\"$ref\":\"#/$defs/duration\"}"},
    {"on_crash", analyzer_on_crash, NULL, "{\"enum\":[\"skip\",\"stop\"]}"},
    {"processes", analyzer_processes, NULL,
     "{\"type\":\"integer\",\"minimum\":1,\"maximum\":64}"},
};

/* 1: it was one of them. */
static int analyzer_key(const struct node *key, const struct node *value, bool inside,
                        struct config_analyzer *a, struct error *error)
{
    for (size_t i = 0; i < COUNT(analyzer_keys); i++) {
        const struct analyzer_key *k = &analyzer_keys[i];
        if (strcmp(key->text, k->name) != 0 || (inside && !k->has))
            continue;
        if (k->has && k->has(a))
            return node_error(key, error, "'%s' is there twice", key->text);
        int r = k->read(value, a, error);
        return r < 0 ? r : 1;
    }
    return 0;
}

void analyzer_keys_schema(bool inside, struct buffer *to)
{
    for (size_t i = 0; i < COUNT(analyzer_keys); i++)
        if (!inside || analyzer_keys[i].has)
            buffer_printf(to, "\"%s\":%s,", analyzer_keys[i].name,
                          analyzer_keys[i].schema);
}

/* `stats: {of: price}`, or `stats: price`, and nothing else of the item may name a plugin. */
static int analyzer_plugin(const struct node *key, const struct node *params,
                           struct config_analyzer *a, struct error *error)
{
    if (a->plugin)
        return node_error(
            key, error,
            "'%s' after '%s': an item of the list is one analyzer, and its "
            "parameters stand further to the right than its name",
            key->text, a->plugin);
    if (params->kind == NODE_LIST)
        return node_expected(params, "parameters such as {of: price}", error);
    a->params = node_is_null(params) ? NULL : params;
    int r = analyzer_name(key, a, error);
    for (size_t i = 0; r >= 0 && params->kind == NODE_MAP && i < params->n; i++)
        r = analyzer_key(&params->key[i], &params->item[i], true, a, error);
    return r < 0 ? r : 0;
}

static int read_analyzer(const struct node *n, struct config_analyzer *a,
                         struct error *error)
{
    a->node = n;
    if (n->kind == NODE_SCALAR)
        return analyzer_name(n, a, error);
    if (n->kind == NODE_LIST)
        return node_expected(n, "an analyzer such as 'count' or 'stats: {of: price}'",
                             error);
    int r = 0;
    for (size_t i = 0; r == 0 && i < n->n; i++) {
        r = analyzer_key(&n->key[i], &n->item[i], false, a, error);
        r = r == 0 ? analyzer_plugin(&n->key[i], &n->item[i], a, error) : r < 0 ? r : 0;
    }
    if (r == 0 && !a->plugin)
        return node_error(n, error,
                          "no analyzer is named here, such as 'stats: {of: price}'");
    r = r == 0 ? check_async(n, a, error) : r;
    return r == 0 ? check_apart(n, a, error) : r;
}

static int read_analyzers(const struct node *n, void *target, void *ctx,
                          struct error *error)
{
    struct config_pipeline *p = target;
    (void)ctx;
    if (n->kind != NODE_LIST)
        return node_expected(n, "a list of analyzers", error);
    if (n->n < 1 || n->n > ANALYZERS_MAX)
        return node_error(n, error, "a pipeline has 1 to %d analyzers, not %zu",
                          ANALYZERS_MAX, n->n);
    if (!(p->analyzer = calloc(n->n, sizeof *p->analyzer)))
        return out_of_memory(n, error);
    int r = 0, failed = 0;
    for (size_t i = 0; r == 0 && i < n->n; i++) {
        r = read_analyzer(&n->item[i], &p->analyzer[p->n_analyzers++], error);
        failed = r < 0 ? r : failed;
        r = faults_go_on(r, error) ? 0 : r;
    }
    return failed;
}

/* The analyzers are those of the other; which rows these get was its matter. */
static int read_parts_of(const struct node *n, void *target, void *ctx,
                         struct error *error)
{
    struct config_pipeline *p = target;
    const struct config *c = ctx;
    const struct config_pipeline *of = NULL;
    const char *name;
    int r = node_text(n, &name, error);
    if (r < 0)
        return r;
    p->merges = n;
    for (size_t i = 0; !of && i < c->n_pipelines; i++)
        if (&c->pipeline[i] != p && c->pipeline[i].name &&
            !strcmp(c->pipeline[i].name, name)) {
            of = &c->pipeline[i];
            p->parts_of = i;
            p->parts_map = of->map;
        }
    if (!of || of->partial != CONFIG_PARTIAL_STATES)
        return node_error(n, error,
                          "'parts_of' is for states: a pipeline '%s' with 'partial: "
                          "states' has to stand before this one",
                          name);
    if (p->n_analyzers)
        return node_error(n, error, "the analyzers are those of '%s': here are none",
                          name);
    if (node_get(of->map, "analyzers"))
        r = read_analyzers(node_get(of->map, "analyzers"), p, ctx, error);
    for (size_t i = 0; i < p->n_analyzers; i++) {
        free(p->analyzer[i].where);
        p->analyzer[i].where = NULL;
    }
    return r;
}

/* What columns there are is known once its tables are (pipeline/tables.c). */
static int read_expose(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    struct config_pipeline *p = target;
    (void)ctx;
    p->expose_node = n;
    if (n->kind != NODE_LIST)
        return node_expected(n, "a list of columns, such as [count, price_mean]",
                             error);
    if (n->n < 1 || n->n > EXPOSE_MAX)
        return node_error(n, error, "a pipeline exposes 1 to %d columns, not %zu",
                          EXPOSE_MAX, n->n);
    if (!(p->expose = calloc(n->n, sizeof(char *))))
        return out_of_memory(n, error);
    for (size_t i = 0; i < n->n; i++) {
        const char *text;
        int r = node_text(&n->item[i], &text, error);
        if (r < 0)
            return r;
        for (size_t k = 0; k < i; k++)
            if (strcmp(p->expose[k], text) == 0)
                return node_error(&n->item[i], error, "'%s' is there twice", text);
        if (!(p->expose[p->n_expose++] = strdup(text)))
            return out_of_memory(n, error);
    }
    return 0;
}

static int read_hooks(const struct node *n, void *target, void *ctx,
                      struct error *error)
{
    (void)ctx;
    return hook_sections(n, target, error);
}

/* ---- The section ------------------------------------------------------------------------------- */

#define AT(member) offsetof(struct config_pipeline, member)

#define RETAIN_SCHEMA                                                                  \
    "{\"$ref\":\"#/$defs/"                                                             \
    "duration\"},{\"const\":\"forever\"},{\"type\":\"array\",\"items\":{"              \
    "\"anyOf\":[{\"$ref\":\"#/$defs/duration\"},{\"const\":\"forever\"}]}}"
#define ANALYZERS_SCHEMA                                                               \
    "{\"type\":\"array\",\"minItems\":1,\"maxItems\":64,\"items\":{\"$ref\":\"#/"      \
    "$defs/analyzer\"}}"
static_assert(ANALYZERS_MAX == 64, "the schema says 64");

#define JOIN_SCHEMA                                                                    \
    "{\"type\":\"object\",\"minProperties\":1,\"additionalProperties\":{\"anyOf\":[{"  \
    "\"$ref\":\"#/$defs/join\"},{\"$ref\":\"#/$defs/table_join\"}]}}"

#define LOOKUP_SCHEMA                                                                  \
    "{\"type\":\"object\",\"minProperties\":1,\"additionalProperties\":{\"$ref\":\"#/" \
    "$defs/http_lookup\"}}"

/* `from` stands before `join`, and both before `derive` and `key`, which need their columns. */
static const struct field pipeline_fields[] = {
    {"from", FIELD_CALL, .required = true, .read = read_from,
     .schema = FIELD_SCHEMA_TEXTS},
    {"join", FIELD_CALL, .read = read_join, .schema = JOIN_SCHEMA},
    {"http_lookup", FIELD_CALL, .read = read_lookups, .schema = LOOKUP_SCHEMA},
    {"backfill", FIELD_CALL, .read = read_backfill, .schema = FIELD_SCHEMA_TEXTS},
    {"derive", FIELD_CALL, .read = read_derive,
     .schema = "{\"$ref\":\"#/$defs/derive\"}"},
    {"where", FIELD_CALL, .read = read_where, .schema = FIELD_SCHEMA_TEXT},
    {"key", FIELD_CALL, .read = read_key, .schema = FIELD_SCHEMA_TEXTS},
    {"window", FIELD_CALL, .required = true, .read = read_window,
     .schema = "{\"$ref\":\"#/$defs/window\"}"},
    {"out_of_orderness", FIELD_DURATION, .offset = AT(out_of_orderness_us), .min = 0,
     .max = LONGEST},
    {"allowed_lateness", FIELD_DURATION, .offset = AT(allowed_lateness_us), .min = 0,
     .max = LONGEST},
    {"late", FIELD_CALL, .read = read_late, .words = config_late_word,
     .n_words = CONFIG_LATE_POLICIES},
    {"partial", FIELD_CALL, .read = read_partial, .words = partial_word,
     .n_words = COUNT(partial_word)},
    {"idle_timeout", FIELD_DURATION, .offset = AT(idle_timeout_us), .min = 1000,
     .max = LONGEST, .init = 30 * SECOND_US, .never = "off"},
    {"retain", FIELD_CALL, .read = read_retain,
     .schema = RETAIN_SCHEMA}, /* behind `window` */
    {"workers", FIELD_UNSIGNED, .offset = AT(workers), .min = 1, .max = WORKERS_MAX,
     .init = 1},
    {"max_groups", FIELD_COUNT, .offset = AT(max_groups), .min = 1, .max = 1000000000,
     .init = 10000000},
    {"over_max_groups", FIELD_CALL, .read = read_over_max_groups, .words = over_word,
     .n_words = COUNT(over_word)},
    {"analyzers", FIELD_CALL, .read = read_analyzers, .schema = ANALYZERS_SCHEMA},
    {"parts_of", FIELD_CALL, .read = read_parts_of, /* behind `analyzers` */
     .schema = FIELD_SCHEMA_TEXT},
    {"select", FIELD_CALL, .read = read_select, .schema = FIELD_SCHEMA_TEXTS},
    {"expose", FIELD_CALL, .read = read_expose,
     .schema = "{\"type\":\"array\",\"minItems\":1,\"maxItems\":32,\"items\":{\"type\":"
               "\"string\"}}"},
    {"webhook", FIELD_CALL, .read = read_hooks,
     .schema = "{\"$ref\":\"#/$defs/webhook\"},{\"type\":\"array\",\"minItems\":1,"
               "\"maxItems\":32,\"items\":{\"$ref\":\"#/$defs/webhook\"}}"},
};

void pipeline_section_schema(struct buffer *to)
{
    fields_schema(pipeline_fields, COUNT(pipeline_fields), to);
}

/* Groups are dealt out once, to workers that each have a process: as many processes as are wanted make as many workers. */
static int deal_processes(struct config_pipeline *p, const struct node *map,
                          struct error *error)
{
    const struct config_analyzer *first = NULL;
    for (size_t i = 0; i < p->n_analyzers; i++) {
        const struct config_analyzer *a = &p->analyzer[i];
        if (a->processes && first && a->processes != first->processes)
            return node_error(
                node_get(a->node, "processes"), error,
                "'processes' is %u here and %u for '%s': analyzers of a pipeline share "
                "its groups among the same number",
                a->processes, first->processes, first->plugin);
        first = a->processes ? a : first;
    }
    if (first && node_get(map, "workers") && p->workers != first->processes)
        return node_error(node_get(first->node, "processes"), error,
                          "'processes' is %u and 'workers' %u: each worker has a "
                          "process, so the one follows from the other",
                          first->processes, p->workers);
    if (first)
        p->workers = first->processes;
    return 0;
}

static int check_name(const struct node *n, const struct config *c, const char **ret,
                      struct error *error)
{
    int r = section_name(n, "pipeline", ret, error);
    for (size_t i = 0; r == 0 && i < c->n_streams; i++) {
        if (c->stream[i].name && strcmp(c->stream[i].name, *ret) == 0)
            return node_error(n, error, "'%s' is the name of a stream already", *ret);
    }
    return r;
}

int pipeline_section(const struct node *name, const struct node *map,
                     const struct config *config, struct config_pipeline *ret,
                     struct error *error)
{
    const char *text;
    char what[SECTION_NAME_MAX + 16];
    int r = check_name(name, config, &text, error);
    if (r < 0)
        return r;
    if (!(ret->name = strdup(text)))
        return out_of_memory(name, error);
    ret->node = name;
    ret->map = map;
    ret->stream = ret->parent = SIZE_MAX; /* until `from` says it */
    ret->retain_us = INT64_MAX;
    for (size_t i = 0; i < CONFIG_COARSE_MAX; i++)
        ret->coarse_retain_us[i] = INT64_MAX;
    snprintf(what, sizeof what, "pipeline '%s'", text);
    struct config *ctx =
        (struct config *)config; /* read only, behind the table's void pointer */
    r = fields_read(pipeline_fields, COUNT(pipeline_fields), map, what, ret, ctx,
                    error);
    if (r == 0)
        r = deal_processes(ret, map, error);
    if (r == 0)
        r = check_kind(ret, map, error);
    if (r == 0)
        r = check_select(ret, map, error);
    default_orders(ret);
    if (r == 0)
        r = check_streams(ret, error);
    if (r == 0)
        r = check_asking(ret, error);
    if (r == 0)
        r = check_backfill(ret, error);
    return r < 0 ? r : check_lateness(ret, map, error);
}

void pipeline_section_free(struct config_pipeline *p)
{
    for (size_t i = 0; i < p->n_analyzers; i++) {
        free(p->analyzer[i].plugin);
        free(p->analyzer[i].as);
        free(p->analyzer[i].where);
        ask_section_free(p->analyzer[i].ask);
    }
    free(p->analyzer);
    for (size_t i = 0; i < p->n_hooks; i++)
        hook_section_free(&p->hook[i]);
    free(p->hook);
    free(p->name);
    free(p->from);
    for (size_t i = 0; i < p->n_backfill; i++)
        free(p->backfill[i]);
    free(p->backfill);
    free(p->where);
    free(p->window.zone);
    join_section_free(&p->joins);
    reference_section_free(&p->references);
    join_section_results_free(&p->results);
    lookup_sections_free(&p->lookups);
    derive_section_free(&p->derive);
    free(p->key);
    free(p->select);
    for (size_t i = 0; i < p->n_expose; i++)
        free(p->expose[i]);
    free(p->expose);
    free(p->left_out);
}
