/* SPDX-License-Identifier: Apache-2.0
 *
 * What streams, pipelines and plugins are and do: /streams, /pipelines, /plugins, .../watermarks.
 */
#include "api/internal.h"
#include "api/jsonout.h"
#include "base/clock.h"
#include "base/logger.h"
#include "plugin/params.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Streams ---- */

static uint64_t overview_load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void overview_put_rejected(struct buffer *b, const struct source_stream *s)
{
    uint64_t total = 0;
    for (int i = 0; i < DECODE_REASONS; i++)
        total += overview_load(&s->rejected[i]);
    jsonout_count(b, "rejected", total);
    jsonout_open(b, "rejected_by_reason", '{');
    for (int i = 0; i < DECODE_REASONS; i++)
        jsonout_count(b, decode_reason_name((enum decode_reason)i),
                      overview_load(&s->rejected[i]));
    jsonout_close(b, '}');
}

static void overview_put_derived(struct buffer *b, const struct config_derive *d,
                                 const struct schema *columns)
{
    jsonout_open(b, "derive", '[');
    for (size_t i = 0; i < d->n; i++) {
        jsonout_open(b, NULL, '{');
        jsonout_string(b, "name", columns->column[columns->n - d->n + i].name);
        jsonout_string(b, "type", schema_type_name(d->column[i].type));
        jsonout_string(b, "expr", d->column[i].text);
        jsonout_close(b, '}');
    }
    jsonout_close(b, ']');
}

/* What weir reads itself. */
static void overview_put_source(struct buffer *b, const struct source_stream *s)
{
    struct source_state state;
    if (!source_state(s, &state))
        return;
    jsonout_open(b, "source", '{');
    jsonout_string(b, "kind", state.kind);
    if (state.unit) {
        jsonout_count(b, "lag", state.lag);
        jsonout_string(b, "lag_unit", state.unit);
    }
    jsonout_string(b, "error", state.trouble.text[0] ? state.trouble.text : NULL);
    jsonout_close(b, '}');
}

static void overview_put_stream(struct buffer *b, const char *name,
                                const struct config_stream *c,
                                const struct source_stream *s)
{
    static const char *const units[] = {"rfc3339", "s", "ms", "us", "ns", "arrival"};
    jsonout_open(b, name, '{');
    jsonout_string(b, "name", c->name);
    jsonout_open(b, "time", '{');
    jsonout_string(b, "field", c->schema->column[0].name);
    jsonout_string(b, "unit", units[c->time_unit]);
    jsonout_close(b, '}');
    jsonout_open(b, "fields", '[');
    for (size_t i = 1; i < c->schema->n; i++) {
        jsonout_open(b, NULL, '{');
        jsonout_string(b, "name", c->schema->column[i].name);
        jsonout_string(b, "type", schema_type_name(c->schema->column[i].type));
        jsonout_close(b, '}');
    }
    jsonout_close(b, ']');
    overview_put_derived(b, &c->derive, c->columns);
    jsonout_duration(b, "max_future_skew", c->max_future_skew_us);
    jsonout_string(b, "ack", c->durable ? "durable" : "memory");
    jsonout_count(b, "accepted", overview_load(&s->accepted));
    overview_put_rejected(b, s);
    jsonout_count(b, "requests", overview_load(&s->requests));
    jsonout_count(b, "bytes", overview_load(&s->bytes));
    jsonout_count(b, "throttled", overview_load(&s->throttled));
    jsonout_count(b, "no_space", overview_load(&s->no_space));
    overview_put_source(b, s);
    jsonout_close(b, '}');
}

static const struct config_stream *stream_in_force(const struct api *a, size_t i)
{
    const struct source_change *c =
        atomic_load_explicit(&a->is.stream[i].change, memory_order_acquire);
    return c ? c->config : &a->is.config->stream[i];
}

void overview_streams(struct http_request *r, void *api)
{
    const struct api *a = api;
    if (!api_no_arguments(r))
        return;
    struct buffer b = {0};
    jsonout_open(&b, NULL, '[');
    for (size_t i = 0; i < a->is.config->n_streams; i++)
        if (http_may(r, ACCESS_STREAM, a->is.config->stream[i].name))
            overview_put_stream(&b, NULL, stream_in_force(a, i), &a->is.stream[i]);
    buffer_puts(&b, "]\n");
    http_reply_buffer(r, 200, "application/json", &b);
}

void overview_stream(struct http_request *r, void *api)
{
    const struct api *a = api;
    const char *name = http_param(r, "stream");
    for (size_t i = 0; name && i < a->is.config->n_streams; i++) {
        if (strcmp(a->is.config->stream[i].name, name) != 0)
            continue;
        if (!api_no_arguments(r))
            return;
        struct buffer b = {0};
        overview_put_stream(&b, NULL, stream_in_force(a, i), &a->is.stream[i]);
        buffer_putc(&b, '\n');
        http_reply_buffer(r, 200, "application/json", &b);
        return;
    }
    http_problem(r, 404, "unknown_stream",
                 "there is no stream '%s'; /api/v1/streams lists them",
                 name ? name : "");
}

/* ---- Pipelines ---- */

static void overview_put_table(struct buffer *b, const struct table *t)
{
    jsonout_open(b, NULL, '{');
    jsonout_string(b, "name", t->name);
    jsonout_duration(b, "retain", t->retain_us);
    jsonout_open(b, "columns", '[');
    for (size_t i = 0; i < t->n_columns; i++) {
        size_t c = table_shown(t, i);
        jsonout_open(b, NULL, '{');
        jsonout_string(b, "name", t->column[c].name);
        jsonout_string(b, "type", schema_type_name(t->column[c].type));
        jsonout_bool(b, "key", c < t->n_primary);
        jsonout_string(b, "help", t->column[c].help ? t->column[c].help : "");
        jsonout_close(b, '}');
    }
    jsonout_close(b, ']');
    jsonout_close(b, '}');
}

static void overview_put_status(struct buffer *b, struct pipeline *p)
{
    struct pipeline_status s = {.watermark_us = INT64_MIN, .max_event_us = INT64_MIN};
    pipeline_status(p, &s);
    jsonout_open(b, "status", '{');
    jsonout_time(b, "watermark", s.watermark_us);
    jsonout_time(b, "max_event", s.max_event_us);
    jsonout_count(b, "position", s.position);
    jsonout_count(b, "events", s.events);
    jsonout_count(b, "late", s.late);
    jsonout_open(b, "late_by_outcome", '{');
    for (size_t i = 0; i < CONFIG_LATE_POLICIES; i++)
        jsonout_count(b, config_late_word[i], s.late_by[i]);
    jsonout_close(b, '}');
    jsonout_count(b, "revisions", s.revisions);
    jsonout_count(b, "filtered", s.filtered);
    jsonout_count(b, "where_errors", s.where_errors);
    jsonout_count(b, "null_keys", s.null_keys);
    jsonout_count(b, "long_keys", s.long_keys);
    jsonout_count(b, "over_groups", s.over_groups);
    jsonout_count(b, "rows", s.rows);
    jsonout_count(b, "groups", s.groups);
    jsonout_count(b, "state_bytes", s.state_bytes);
    jsonout_count(b, "queued", s.queued);
    jsonout_string(b, "error", s.error[0] ? s.error : NULL);
    jsonout_bool(b, "restarting", s.restarts);
    jsonout_bool(b, "backfilling", s.behind);
    jsonout_string(b, "partial", s.partial[0] ? s.partial : NULL);
    jsonout_close(b, '}');
}

static void overview_put_window(struct buffer *b, const struct config_window *w,
                                const struct schema *schema)
{
    char size[CONFIG_SIZE_MAX];
    if (w->months) {
        config_window_size(w, 0, size);
        jsonout_string(b, "window", size);
    } else if (w->kind == CONFIG_TUMBLING || w->kind == CONFIG_HOPPING ||
               w->kind == CONFIG_SESSION || w->kind == CONFIG_GLOBAL) {
        jsonout_duration(b, "window", w->days ? w->days * DAY_US : w->size_us);
    }
    if (w->kind == CONFIG_TUMBLING || w->kind == CONFIG_HOPPING)
        jsonout_duration(b, "window_offset", w->offset_us);
    jsonout_string(b, "window_kind", config_window_word[w->kind]);
    if (w->kind == CONFIG_HOPPING)
        jsonout_duration(b, "window_by", w->by_us);
    if (w->zone)
        jsonout_string(b, "window_zone", w->zone);
    if (w->n_coarse) {
        jsonout_open(b, "window_sizes", '[');
        for (size_t i = 0; i < 1 + w->n_coarse; i++) {
            config_window_size(w, i, size);
            jsonout_string(b, NULL, size);
        }
        jsonout_close(b, ']');
    }
    if (w->kind == CONFIG_SESSION)
        jsonout_duration(b, "window_max", w->max_us);
    if (w->kind == CONFIG_GLOBAL ||
        (w->kind == CONFIG_COUNT && w->expire_us != INT64_MAX))
        jsonout_duration(b, "window_expire", w->expire_us);
    if (w->kind == CONFIG_UNTIL)
        jsonout_string(b, "window_until", schema->column[w->column].name);
    if (w->kind != CONFIG_COUNT)
        return;
    jsonout_count(b, "window_rows", w->rows);
    jsonout_count(b, "window_by_rows", w->by_rows);
    if (w->running)
        jsonout_bool(b, "window_running", true);
}

static void overview_put_settings(struct buffer *b, const struct config *config,
                                  const struct pipeline *p)
{
    const struct config_pipeline *c = pipeline_config(p);
    jsonout_string(b, "name", c->name);
    jsonout_string(b, "from", c->from ? c->from : config->stream[c->stream].name);
    jsonout_string(b, "where", c->where);
    jsonout_open(b, "key", '[');
    for (size_t i = 0; i < c->n_keys; i++)
        jsonout_string(b, NULL, c->schema->column[c->key[i]].name);
    jsonout_close(b, ']');
    overview_put_window(b, &c->window, c->schema);
    jsonout_duration(b, "out_of_orderness", c->out_of_orderness_us);
    jsonout_string(b, "late", config_late_word[c->late]);
    jsonout_duration(b, "allowed_lateness", c->allowed_lateness_us);
    jsonout_duration(b, "idle_timeout", c->idle_timeout_us);
    jsonout_duration(b, "retain", c->retain_us);
    jsonout_count(b, "workers", c->workers);
    jsonout_count(b, "max_groups", c->max_groups);
    overview_put_derived(b, &c->derive, c->schema);
    jsonout_string(b, "over_max_groups", c->over_max_groups_fails ? "fail" : "drop");
    jsonout_open(b, "analyzers", '[');
    for (size_t i = 0; i < c->n_analyzers; i++)
        jsonout_string(b, NULL, c->analyzer[i].plugin);
    jsonout_close(b, ']');
}

static void overview_put_hook(void *buffer, const struct hook_status *s)
{
    static const char *const state[] = {
        [HOOK_WELL] = "well", [HOOK_RETRIES] = "retries", [HOOK_BROKEN] = "broken"};
    struct buffer *b = buffer;
    jsonout_open(b, NULL, '{');
    jsonout_string(b, "name", s->name);
    jsonout_string(b, "table", s->table);
    jsonout_string(b, "state", state[s->state]);
    jsonout_count(b, "position", s->position > 0 ? (uint64_t)s->position : 0);
    jsonout_count(b, "lag", s->lag);
    jsonout_count(b, "delivered", s->sent);
    jsonout_count(b, "refused", s->refused);
    jsonout_count(b, "deleted", s->deleted);
    jsonout_count(b, "skipped", s->skipped);
    jsonout_count(b, "failed_requests", s->retries);
    jsonout_count(b, "when_errors", s->errors);
    if (s->alert) {
        jsonout_count(b, "firing", s->firing);
        jsonout_count(b, "over_keys", s->over_keys);
    }
    jsonout_time(b, "last_success", s->success_us);
    jsonout_string(b, "last_error", s->error[0] ? s->error : NULL);
    jsonout_time(b, "last_error_time", s->error_us);
    jsonout_close(b, '}');
}

static void overview_put_hooks(struct buffer *b, const struct api *a,
                               const struct pipeline *p)
{
    struct hooks *hooks =
        a->is.hooks ? atomic_load_explicit(a->is.hooks, memory_order_acquire) : NULL;
    jsonout_open(b, "webhooks", '[');
    hooks_each(hooks, pipeline_config(p)->name, overview_put_hook, b);
    jsonout_close(b, ']');
}

/* Each target has its own word for what is there. */
static void overview_put_target(struct buffer *b, const struct target_status *s,
                                const char *put, bool refuses)
{
    jsonout_open(b, NULL, '{');
    jsonout_string(b, "table", s->table);
    if (s->topic)
        jsonout_string(b, "topic", s->topic);
    jsonout_string(b, "state", target_state_word[s->state]);
    jsonout_count(b, "position", s->position > 0 ? (uint64_t)s->position : 0);
    jsonout_count(b, "lag", s->lag);
    jsonout_count(b, put, s->put);
    jsonout_count(b, "deleted", s->deleted);
    if (refuses)
        jsonout_count(b, "refused", s->refused);
    jsonout_count(b, "failures", s->failures);
    jsonout_time(b, "last_success", s->success_us);
    jsonout_string(b, "last_error", s->error[0] ? s->error : NULL);
    jsonout_time(b, "last_error_time", s->error_us);
    jsonout_close(b, '}');
}

static void overview_put_carried(void *buffer, const struct target_status *s)
{
    overview_put_target(buffer, s, "carried", true);
}

static void overview_put_published(void *buffer, const struct target_status *s)
{
    overview_put_target(buffer, s, "published", false);
}

static const struct {
    const char *name;
    void (*put)(void *buffer, const struct target_status *s);
} overview_target[CARRIED_TARGETS] = {
    [CARRIED_POSTGRESQL] = {"postgresql", overview_put_carried},
    [CARRIED_KAFKA] = {"kafka", overview_put_published},
};

static void overview_put_targets(struct buffer *b, const struct api *a,
                                 const struct pipeline *p)
{
    for (size_t i = 0; i < CARRIED_TARGETS; i++) {
        struct target *t =
            a->is.target ? atomic_load_explicit(&a->is.target[i], memory_order_acquire)
                         : NULL;
        jsonout_open(b, overview_target[i].name, '[');
        target_each(t, pipeline_config(p)->name, overview_target[i].put, b);
        jsonout_close(b, ']');
    }
}

static void overview_put_lookups(struct buffer *b, struct pipeline *p)
{
    struct pipeline_service s[CONFIG_LOOKUPS_MAX + CONFIG_ASYNC_MAX];
    size_t n = pipeline_looked_up(p, s, CONFIG_LOOKUPS_MAX + CONFIG_ASYNC_MAX);
    jsonout_open(b, "lookups", '[');
    for (size_t i = 0; i < n; i++) {
        jsonout_open(b, NULL, '{');
        jsonout_string(b, "name", s[i].name);
        jsonout_string(b, "state", s[i].broken ? "broken" : "well");
        jsonout_count(b, "found", s[i].found);
        jsonout_count(b, "missing", s[i].missing);
        jsonout_count(b, "failed", s[i].failed);
        jsonout_count(b, "kept", s[i].kept);
        jsonout_count(b, "kept_bytes", s[i].bytes);
        jsonout_count(b, "requests", s[i].flying);
        jsonout_count(b, "failed_requests", s[i].retries);
        jsonout_count(b, "null_events", s[i].null_rows);
        jsonout_count(b, "dropped_events", s[i].dropped_rows);
        jsonout_string(b, "last_error", s[i].error[0] ? s[i].error : NULL);
        jsonout_close(b, '}');
    }
    jsonout_close(b, ']');
}

static void overview_put_tables_joined(struct buffer *b, struct pipeline *p)
{
    struct pipeline_reference t[CONFIG_JOINS_MAX];
    size_t n = pipeline_tables_joined(p, t, CONFIG_JOINS_MAX);
    if (!n)
        return;
    jsonout_open(b, "joined_tables", '[');
    for (size_t i = 0; i < n; i++) {
        jsonout_open(b, NULL, '{');
        jsonout_string(b, "name", t[i].name);
        jsonout_string(b, "table", t[i].table);
        jsonout_count(b, "rows", t[i].rows);
        jsonout_count(b, "bytes", t[i].bytes);
        jsonout_count(b, "wrong_values", t[i].wrong_values);
        jsonout_count(b, "missing", t[i].missing);
        jsonout_close(b, '}');
    }
    jsonout_close(b, ']');
}

static void overview_put_process(void *buffer, const struct pipeline_process *p)
{
    struct buffer *b = buffer;
    jsonout_open(b, NULL, '{');
    jsonout_string(b, "analyzer", p->analyzer);
    jsonout_count(b, "place", p->place);
    jsonout_count(b, "worker", p->worker);
    jsonout_count(b, "pid", (uint64_t)p->pid);
    jsonout_count(b, "cpu_us", p->cpu_ns / 1000);
    jsonout_count(b, "restarts", p->restarts);
    jsonout_count(b, "set_aside", p->set_aside);
    jsonout_close(b, '}');
}

static void overview_put_pipeline(struct buffer *b, const struct api *a,
                                  struct pipeline *p)
{
    const struct table *const *tables;
    size_t n = pipeline_tables(p, &tables);
    jsonout_open(b, NULL, '{');
    overview_put_settings(b, a->is.config, p);
    jsonout_open(b, "tables", '[');
    for (size_t i = 0; i < n; i++)
        overview_put_table(b, tables[i]);
    jsonout_close(b, ']');
    jsonout_open(b, "processes", '[');
    pipeline_processes(p, overview_put_process, b);
    jsonout_close(b, ']');
    overview_put_status(b, p);
    overview_put_lookups(b, p);
    overview_put_tables_joined(b, p);
    overview_put_hooks(b, a, p);
    overview_put_targets(b, a, p);
    jsonout_close(b, '}');
}

void overview_pipelines(struct http_request *r, void *api)
{
    const struct api *a = api;
    if (!api_no_arguments(r))
        return;
    struct buffer b = {0};
    jsonout_open(&b, NULL, '[');
    struct running_list all = running_all(a->is.running);
    for (size_t i = 0; i < all.n; i++)
        if (http_may(r, ACCESS_PIPELINE, pipeline_config(all.pipeline[i])->name))
            overview_put_pipeline(&b, a, all.pipeline[i]);
    running_done(&all);
    buffer_puts(&b, "]\n");
    http_reply_buffer(r, 200, "application/json", &b);
}

void overview_pipeline(struct http_request *r, void *api)
{
    struct pipeline *p = api_no_arguments(r) ? api_find_pipeline(api, r) : NULL;
    if (!p)
        return;
    struct buffer b = {0};
    overview_put_pipeline(&b, api, p);
    pipeline_unref(p);
    buffer_putc(&b, '\n');
    http_reply_buffer(r, 200, "application/json", &b);
}

/* ---- Watermarks ---- */

/* The source that is not idle and has the least time; -1: all are idle or none is there. */
static int overview_slowest(const struct pipeline_source *source, size_t n)
{
    int least = -1;
    for (size_t i = 0; i < n; i++)
        if (!source[i].idle && source[i].max_event_us != INT64_MIN &&
            (least < 0 || source[i].max_event_us < source[least].max_event_us))
            least = (int)i;
    return least;
}

static void overview_put_sources(struct buffer *b, const struct config_pipeline *c,
                                 const struct pipeline_source *source, size_t n,
                                 int slowest)
{
    jsonout_open(b, "sources", '[');
    for (size_t i = 0; i < n; i++) {
        int64_t max_us = source[i].max_event_us, us = INT64_MIN;
        if (max_us > INT64_MIN + c->out_of_orderness_us)
            us = max_us - c->out_of_orderness_us;
        jsonout_open(b, NULL, '{');
        jsonout_string(b, "name", source[i].name);
        jsonout_time(b, "max_event", max_us);
        jsonout_time(b, "watermark", us);
        jsonout_bool(b, "idle", source[i].idle);
        jsonout_bool(b, "holds_back", (int)i == slowest);
        jsonout_close(b, '}');
    }
    jsonout_close(b, ']');
}

/* Of the windows that the watermark has not passed the one that ends first, or that is given out first; its start where it is
 * the same for all keys. False: none is open, or none ends at a time. */
static bool overview_open(struct pipeline *p, int64_t watermark_us, struct window *ret)
{
    const struct window_kind *kind = pipeline_window(p);
    ret->start_us = INT64_MIN;
    switch (pipeline_config(p)->window.kind) {
    case CONFIG_GLOBAL:
        ret->end_us = window_next_border(kind, watermark_us);
        return true;
    case CONFIG_SESSION:
    case CONFIG_UNTIL:
        ret->end_us = pipeline_first_end(p);
        return ret->end_us != INT64_MAX;
    case CONFIG_COUNT:
    case CONFIG_NONE:
        return false;
    default:
        return window_around(kind, watermark_us, 0, ret);
    }
}

/* Of several streams, the one that is furthest behind. */
static void overview_put_behind(struct buffer *to, struct pipeline *p, const char *end)
{
    struct pipeline_input input[CONFIG_JOINS_MAX + 1];
    size_t n = pipeline_joined(p, input, CONFIG_JOINS_MAX + 1), least = 0;
    for (size_t i = 1; i < n; i++)
        if (input[i].watermark_us < input[least].watermark_us)
            least = i;
    buffer_printf(
        to, "windows up to %s close when the watermark of stream '%s' has passed that",
        end, n ? input[least].stream : "");
}

static void overview_put_open(struct buffer *b, struct pipeline *p,
                              int64_t watermark_us, const char *slowest)
{
    const struct config_pipeline *c = pipeline_config(p);
    const bool global = c->window.kind == CONFIG_GLOBAL;
    struct window open;
    int64_t event_us;
    if (!overview_open(p, watermark_us, &open)) {
        if (c->window.kind == CONFIG_COUNT)
            jsonout_string(b, "waits_for",
                           "windows close when their key has enough events");
        return;
    }
    if (__builtin_add_overflow(open.end_us, c->out_of_orderness_us, &event_us))
        return; /* at the end of time */
    char end[CLOCK_TEXT_MAX], event[CLOCK_TEXT_MAX], idle[CLOCK_TEXT_MAX];
    clock_format(open.end_us, end);
    clock_format(event_us, event);
    clock_format_duration(c->idle_timeout_us, idle);
    jsonout_open(b, "open_window", '{');
    jsonout_time(b, "start", open.start_us);
    jsonout_time(b, "end", open.end_us);
    jsonout_close(b, '}');
    struct buffer text = {0};
    if (c->joins.all)
        overview_put_behind(&text, p, end);
    else if (c->from)
        buffer_printf(
            &text, "windows up to %s close when '%s' has given out its own until then",
            end, c->from);
    else if (slowest)
        buffer_printf(
            &text, "%s up to %s %s when %s%s%s has sent an event of %s or later",
            global ? "results" : "windows", end, global ? "are given out" : "close",
            slowest[0] ? "source '" : "every connection without a name", slowest,
            slowest[0] ? "'" : "", event);
    else
        buffer_printf(&text,
                      "no source is active; %s up to %s %s at an event of %s or later",
                      global ? "results" : "windows", end,
                      global ? "are given out" : "close", event);
    if (slowest && !c->from && !c->joins.all && c->idle_timeout_us != INT64_MAX)
        buffer_printf(&text, ", or nothing for %s", idle);
    jsonout_string(b, "waits_for", buffer_text(&text));
    buffer_free(&text);
}

static void overview_put_joins(struct buffer *b, struct pipeline *p)
{
    struct pipeline_input input[CONFIG_JOINS_MAX + 1];
    size_t n = pipeline_joined(p, input, CONFIG_JOINS_MAX + 1);
    if (!n)
        return;
    jsonout_open(b, "joins", '[');
    for (size_t i = 0; i < n; i++) {
        jsonout_open(b, NULL, '{');
        jsonout_string(b, "stream", input[i].stream);
        jsonout_time(b, "watermark", input[i].watermark_us);
        jsonout_count(b, "position", input[i].position);
        jsonout_count(b, "events", input[i].rows);
        jsonout_count(b, "bytes", input[i].bytes);
        jsonout_count(b, "late", input[i].late);
        jsonout_bool(b, "waited_for", input[i].waited_for);
        jsonout_close(b, '}');
    }
    jsonout_close(b, ']');
}

#define OVERVIEW_SOURCES_MAX LOG_SOURCES_MAX

static void overview_watermarks_of(struct http_request *r, struct pipeline *p)
{
    const struct config_pipeline *c = pipeline_config(p);
    struct pipeline_source *source = calloc(OVERVIEW_SOURCES_MAX, sizeof(*source));
    if (!source) {
        http_problem(r, 503, "out_of_memory", "no memory");
        return;
    }
    size_t n = pipeline_sources(p, source, OVERVIEW_SOURCES_MAX);
    n = n < OVERVIEW_SOURCES_MAX ? n : OVERVIEW_SOURCES_MAX;
    int slowest = overview_slowest(source, n);
    struct pipeline_status s = {.watermark_us = INT64_MIN, .max_event_us = INT64_MIN};
    pipeline_status(p, &s);

    struct buffer b = {0};
    jsonout_open(&b, NULL, '{');
    jsonout_string(&b, "pipeline", c->name);
    jsonout_time(&b, "watermark", s.watermark_us);
    jsonout_time(&b, "max_event", s.max_event_us);
    jsonout_duration(&b, "out_of_orderness", c->out_of_orderness_us);
    jsonout_duration(&b, "idle_timeout", c->idle_timeout_us);
    overview_put_sources(&b, c, source, n, slowest);
    if (s.watermark_us != INT64_MIN)
        overview_put_open(&b, p, s.watermark_us,
                          slowest < 0 ? NULL : source[slowest].name);
    overview_put_joins(&b, p);
    buffer_puts(&b, "}\n");
    free(source);
    http_reply_buffer(r, 200, "application/json", &b);
}

void overview_watermarks(struct http_request *r, void *api)
{
    struct pipeline *p = api_no_arguments(r) ? api_find_pipeline(api, r) : NULL;
    if (p)
        overview_watermarks_of(r, p);
    pipeline_unref(p);
}

/* ---- Plugins ---- */

static void overview_put_params(struct buffer *b, const struct weir_param *param)
{
    jsonout_open(b, "params", '[');
    for (; param && param->name; param++) {
        jsonout_open(b, NULL, '{');
        jsonout_string(b, "name", param->name);
        jsonout_string(b, "type", params_type_name(param->type));
        jsonout_bool(b, "required", param->flags & WEIR_REQUIRED);
        jsonout_string(b, "default", param->init);
        jsonout_string(b, "choices", param->choices);
        jsonout_string(b, "help", param->help);
        jsonout_close(b, '}');
    }
    jsonout_close(b, ']');
}

static void overview_put_outputs(struct buffer *b, const struct weir_output *output)
{
    jsonout_open(b, "outputs", '[');
    for (; output && output->name; output++) {
        jsonout_open(b, NULL, '{');
        jsonout_string(b, "name", output->name);
        jsonout_string(b, "type",
                       output->type >= WEIR_SAME_AS(0)
                           ? "as the input"
                           : schema_type_name((enum weir_type)output->type));
        jsonout_string(b, "help", output->help);
        jsonout_close(b, '}');
    }
    jsonout_close(b, ']');
}

static void overview_put_plugin(void *ctx, const char *name,
                                const struct plugin *plugin, const struct error *error)
{
    struct buffer *b = ctx;
    jsonout_open(b, NULL, '{');
    jsonout_string(b, "name", name);
    if (!plugin) {
        jsonout_string(b, "error", error ? error->text : "");
    } else {
        const struct weir_analyzer *a = &plugin->analyzer;
        jsonout_string(b, "version", a->version);
        jsonout_string(b, "help", a->help);
        jsonout_bool(b, "many_rows", a->flags & WEIR_MANY_ROWS);
        overview_put_params(b, a->params);
        overview_put_outputs(b, a->outputs);
    }
    jsonout_close(b, '}');
}

int overview_list_plugins(struct plugins *plugins, struct buffer *ret)
{
    jsonout_open(ret, NULL, '[');
    int err = plugins_each(plugins, overview_put_plugin, ret);
    buffer_puts(ret, "]\n");
    return err < 0 ? err : ret->error;
}

void overview_plugins(struct http_request *r, void *api)
{
    const struct api *a = api;
    if (api_no_arguments(r))
        http_reply(r, 200, "application/json", a->plugins.data, a->plugins.size);
}

/* ---- /config ---- */

void overview_config(struct http_request *r, void *api)
{
    const struct api *a = api;
    struct api_reload last = {.loaded_us = INT64_MIN, .tried_us = INT64_MIN};
    struct buffer b = {0};
    if (!api_no_arguments(r))
        return;
    if (a->is.reload)
        a->is.reload(a->is.reload_ctx, &last);
    jsonout_open(&b, NULL, '{');
    jsonout_time(&b, "loaded", last.loaded_us);
    if (last.tried_us == INT64_MIN) {
        jsonout_string(&b, "last_reload", NULL);
    } else {
        jsonout_open(&b, "last_reload", '{');
        jsonout_time(&b, "time", last.tried_us);
        jsonout_bool(&b, "successful", last.successful);
        jsonout_open(&b, "errors", '[');
        for (size_t i = 0; i < last.n; i++) /* they quote the file */
            jsonout_string(&b, NULL,
                           http_has_verb(r, ACCESS_ADMIN)
                               ? last.fault[i].text
                               : "told to tokens that may 'admin'");
        jsonout_close(&b, ']');
        jsonout_close(&b, '}');
    }
    jsonout_close(&b, '}');
    buffer_putc(&b, '\n');
    http_reply_buffer(r, 200, "application/json", &b);
}

/* ---- /warnings ---- */

static void overview_put_warning(const struct logger_kept *kept, void *to)
{
    struct buffer *b = to;
    jsonout_open(b, NULL, '{');
    jsonout_time(b, "time", kept->time_us);
    jsonout_string(b, "level", kept->level);
    jsonout_string(b, "part", kept->part);
    jsonout_string(b, "message", kept->message);
    jsonout_close(b, '}');
}

void overview_warnings(struct http_request *r, void *api)
{
    struct buffer b = {0};
    (void)api;
    if (!api_no_arguments(r))
        return;
    jsonout_open(&b, NULL, '[');
    logger_each_kept(overview_put_warning, &b);
    jsonout_close(&b, ']');
    buffer_putc(&b, '\n');
    http_reply_buffer(r, 200, "application/json", &b);
}
