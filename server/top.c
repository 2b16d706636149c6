/* SPDX-License-Identifier: Apache-2.0
 *
 * One look: /api/v1/streams and /api/v1/pipelines, which SQLite's JSON functions read, /metrics and /ready.
 */
#include "top.h"

#include "base/clock.h"
#include "client.h"
#include "store/db.h"

#include <errno.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* name, of, state, error, then the counts in their order. */
static const char streams_sql[] =
    "SELECT value->>'name', '', '', '', value->>'accepted', value->>'bytes', NULL, "
    "value->>'rejected', value->>'throttled' + value->>'no_space' FROM json_each(?1)";

/* What one wants to be woken for goes first. */
static const char pipelines_sql[] =
    "WITH p AS (SELECT value AS all_of, value->'status' AS s, (SELECT h.value->>'name' "
    "|| ': ' || "
    "ifnull(h.value->>'last_error', '') FROM json_each(j.value, '$.webhooks') AS h "
    "WHERE h.value->>'state' <> 'well') AS hook FROM json_each(?1) AS j) "
    "SELECT all_of->>'name', all_of->>'from', CASE WHEN s->>'restarting' THEN "
    "'restarts' "
    "WHEN s->>'error' IS NOT NULL THEN 'failed' WHEN hook IS NOT NULL THEN 'webhook' "
    "WHEN s->>'partial' IS NOT NULL THEN 'partial' ELSE 'runs' END, "
    "coalesce(s->>'error', hook, s->>'partial', ''), s->>'events', s->>'state_bytes', "
    "s->>'rows', s->>'late', NULL, s->>'groups', s->>'queued', "
    "86400 * (julianday('now') - julianday(s->>'watermark')) FROM p";

static void clear_counts(struct top_row *row)
{
    for (int i = 0; i < TOP_COUNTS; i++)
        row->count[i] = row->rate[i] = NAN;
}

/* A row with copies of these texts; NULL: no memory. */
static struct top_row *add_row(struct top_rows *rows, const char *name, const char *of,
                               const char *state, const char *error)
{
    if (rows->n == rows->room) {
        size_t room = rows->room ? 2 * rows->room : 64;
        struct top_row *row = reallocarray(rows->row, room, sizeof(*row));
        if (!row)
            return NULL;
        rows->row = row;
        rows->room = room;
    }
    struct top_row *r = &rows->row[rows->n++];
    *r = (struct top_row){.name = strdup(name),
                          .of = strdup(of),
                          .state = strdup(state),
                          .error = strdup(error)};
    clear_counts(r);
    return r->name && r->of && r->state && r->error ? r : NULL;
}

static const char *text_of(sqlite3_stmt *s, int column)
{
    const char *text = (const char *)sqlite3_column_text(s, column);
    return text ? text : "";
}

static int read_rows(sqlite3 *db, const char *sql, const struct buffer *json,
                     struct top_rows *rows)
{
    DB_STATEMENT s = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) ||
        sqlite3_bind_text64(s, 1, json->data, json->size, SQLITE_STATIC, SQLITE_UTF8))
        return -ENOMEM;
    int got;
    while ((got = sqlite3_step(s)) == SQLITE_ROW) {
        struct top_row *row =
            add_row(rows, text_of(s, 0), text_of(s, 1), text_of(s, 2), text_of(s, 3));
        if (!row)
            return -ENOMEM;
        for (int i = 0; i < TOP_COUNTS && i + 4 < sqlite3_column_count(s); i++)
            if (sqlite3_column_type(s, i + 4) != SQLITE_NULL)
                row->count[i] = sqlite3_column_double(s, i + 4);
    }
    return got == SQLITE_DONE ? 0 : got == SQLITE_NOMEM ? -ENOMEM : -EPROTO;
}

/* What a problem says (RFC 9457); "": nothing. */
static void read_detail(sqlite3 *db, const struct buffer *json, char *to, size_t size)
{
    DB_STATEMENT s = NULL;
    *to = 0;
    if (sqlite3_prepare_v2(db, "SELECT ?1->>'detail' WHERE json_valid(?1)", -1, &s,
                           NULL) == SQLITE_OK &&
        sqlite3_bind_text64(s, 1, json->data, json->size, SQLITE_STATIC, SQLITE_UTF8) ==
            SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW)
        snprintf(to, size, "%s", text_of(s, 0));
}

static int get_rows(struct client *c, sqlite3 *db, const char *path, const char *sql,
                    struct top_rows *rows, struct error *error)
{
    struct buffer body = {0};
    unsigned status = 0;
    char detail[256];
    int err = client_get(c, path, &body, &status, error);
    if (!err && status != 200) {
        read_detail(db, &body, detail, sizeof(detail));
        err = error_set(error, status == 401 || status == 403 ? -EACCES : -EPROTO,
                        "%s%s: %u%s%s", client_where(c), path, status,
                        detail[0] ? ": " : "", detail);
    } else if (!err && (err = read_rows(db, sql, &body, rows))) {
        error_set(error, err, "%s%s: %s", client_where(c), path,
                  err == -ENOMEM ? "out of memory" : "not what weir answers");
    }
    buffer_free(&body);
    return err;
}

/* ---- /metrics ---- */

struct sample {
    const char *name;
    size_t name_size;
    const char *labels; /* behind the brace; NULL: none */
    size_t labels_size;
    double value;
};

/* Of a line of the text format. False: a comment. */
static bool read_sample(const char *line, size_t size, struct sample *ret)
{
    const char *space = memrchr(line, ' ', size), *brace = memchr(line, '{', size);
    if (*line == '#' || !space || (brace && brace > space))
        return false;
    ret->name = line;
    ret->name_size = (size_t)((brace ? brace : space) - line);
    ret->labels = brace ? brace + 1 : NULL;
    ret->labels_size = brace ? (size_t)(space - brace) - 1 : 0;
    ret->value = strtod(space + 1, NULL);
    return true;
}

static bool is_called(const struct sample *s, const char *name)
{
    return strlen(name) == s->name_size && memcmp(name, s->name, s->name_size) == 0;
}

/* Names of streams, pipelines and analyzers have no escapes. False: it has no such label, or a longer one. */
static bool label_of(const struct sample *s, const char *name, char *to, size_t size)
{
    size_t n = strlen(name);
    for (const char *p = s->labels, *end = p + s->labels_size; p && p < end;) {
        const char *equals = memchr(p, '=', (size_t)(end - p));
        const char *close = equals && end - equals > 2
                                ? memchr(equals + 2, '"', (size_t)(end - equals) - 2)
                                : NULL;
        if (!close)
            return false;
        if ((size_t)(equals - p) == n && memcmp(p, name, n) == 0) {
            int length = (int)(close - equals) - 2;
            return snprintf(to, size, "%.*s", length, equals + 2) < (int)size;
        }
        p = close + 1 + (close + 1 < end && close[1] == ',');
    }
    return false;
}

/* Those of one metric come in the order of the rows, so that the next is most often the one behind the last. */
static struct top_row *find_row(struct top_rows *rows, const char *name, const char *of,
                                size_t *hint)
{
    for (size_t i = 0; i < rows->n; i++) {
        struct top_row *r = &rows->row[(*hint + i) % rows->n];
        if (strcmp(r->name, name) == 0 && (!of || strcmp(r->of, of) == 0)) {
            *hint = (*hint + i + 1) % rows->n;
            return r;
        }
    }
    return NULL;
}

static void add_to(double *count, double value)
{
    *count = isnan(*count) ? value : *count + value;
}

static const struct {
    const char *name;
    enum top_count count;
} stream_metrics[] = {{"weir_log_queue_events", TOP_QUEUED}},
  pipeline_metrics[] = {{"weir_pipeline_cpu_seconds_total", TOP_CPU},
                        {"weir_analyzer_process_cpu_seconds_total", TOP_CPU},
                        {"weir_pipeline_queue_wait_seconds_total", TOP_WAIT},
                        {"weir_pipeline_entries_total", TOP_ENTRIES},
                        {"weir_pipeline_watermark_lag_seconds", TOP_LAG}},
  analyzer_metrics[] = {{"weir_analyzer_cpu_seconds_total", TOP_CPU},
                        {"weir_analyzer_events_total", TOP_EVENTS},
                        {"weir_analyzer_state_bytes", TOP_BYTES},
                        {"weir_analyzer_restarts_total", TOP_RESTARTS},
                        {"weir_analyzer_queue_wait_seconds_total", TOP_WAIT},
                        {"weir_analyzer_entries_total", TOP_ENTRIES}};

static int take_analyzer(struct top_look *l, const struct sample *s,
                         const char *pipeline, enum top_count count, size_t *hint)
{
    char name[128], place[16], label[160];
    if (!label_of(s, "analyzer", name, sizeof(name)) ||
        !label_of(s, "place", place, sizeof(place)))
        return 0;
    snprintf(label, sizeof(label), "%s:%s", place, name);
    struct top_row *row = find_row(&l->analyzers, label, pipeline, hint);
    if (!row && !(row = add_row(&l->analyzers, label, pipeline, "", "")))
        return -ENOMEM;
    row->count[count] = s->value;
    return 0;
}

static int take_sample(struct top_look *l, const struct sample *s, size_t hint[3])
{
    char name[128];
    struct top_row *row;
    if (is_called(s, "process_cpu_seconds_total"))
        l->server.count[TOP_CPU] = s->value;
    else if (is_called(s, "process_resident_memory_bytes"))
        l->server.count[TOP_BYTES] = s->value;
    else if (is_called(s, "process_start_time_seconds"))
        l->started_s = s->value;
    else if (is_called(s, "weir_store_last_commit_age_seconds"))
        l->commit_age_s = s->value;
    else if (is_called(s, "weir_build_info"))
        label_of(s, "version", l->version, sizeof(l->version));
    else if (label_of(s, "stream", name, sizeof(name))) {
        for (size_t i = 0; i < sizeof(stream_metrics) / sizeof(stream_metrics[0]); i++)
            if (is_called(s, stream_metrics[i].name) &&
                (row = find_row(&l->streams, name, NULL, &hint[0])))
                row->count[stream_metrics[i].count] = s->value;
    } else if (label_of(s, "pipeline", name, sizeof(name))) {
        for (size_t i = 0; i < sizeof(pipeline_metrics) / sizeof(pipeline_metrics[0]);
             i++)
            if (is_called(s, pipeline_metrics[i].name) &&
                (row = find_row(&l->pipelines, name, NULL, &hint[1]))) {
                if (pipeline_metrics[i].count == TOP_CPU)
                    add_to(&row->count[TOP_CPU], s->value);
                else /* the lag by the server's clock */
                    row->count[pipeline_metrics[i].count] = s->value;
            }
        for (size_t i = 0; i < sizeof(analyzer_metrics) / sizeof(analyzer_metrics[0]);
             i++)
            if (is_called(s, analyzer_metrics[i].name))
                return take_analyzer(l, s, name, analyzer_metrics[i].count, &hint[2]);
    }
    return 0;
}

static int get_metrics(struct client *c, struct top_look *l, struct error *error)
{
    struct buffer body = {0};
    struct sample sample;
    unsigned status = 0;
    size_t hint[3] = {0};
    int err = client_get(c, "/metrics", &body, &status, error);
    const char *text = buffer_text(&body), *end = text + body.size, *next;
    for (const char *p = text; !err && status == 200 && p < end; p = next) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        next = line_end ? line_end + 1 : end;
        if (read_sample(p, (size_t)((line_end ? line_end : end) - p), &sample) &&
            take_sample(l, &sample, hint))
            err = error_set(error, -ENOMEM, "out of memory");
    }
    buffer_free(&body);
    return err;
}

static int get_ready(struct client *c, sqlite3 *db, struct top_look *l,
                     struct error *error)
{
    struct buffer body = {0};
    unsigned status = 0;
    int err = client_get(c, "/ready", &body, &status, error);
    if (!err && status != 200)
        read_detail(db, &body, l->ready, sizeof(l->ready));
    if (!err && status != 200 && !l->ready[0])
        snprintf(l->ready, sizeof(l->ready), "/ready says %u", status);
    buffer_free(&body);
    return err;
}

int top_look(struct client *c, struct top_look *ret, struct error *error)
{
    struct top_look l = {.started_s = NAN, .commit_age_s = NAN};
    sqlite3 *db = NULL;
    clear_counts(&l.server);
    int err =
        sqlite3_open(":memory:", &db) ? error_set(error, -ENOMEM, "out of memory") : 0;
    if (!err)
        err = get_rows(c, db, "/api/v1/streams", streams_sql, &l.streams, error);
    struct error second;
    if (err == -EPROTO && !top_nodes(c, db, &l.nodes, &second))
        err = error_set(error, 0, "%s", "");
    else if (!err)
        err = get_rows(c, db, "/api/v1/pipelines", pipelines_sql, &l.pipelines, error);
    if (!err)
        err = get_metrics(c, &l, error);
    if (!err)
        err = get_ready(c, db, &l, error);
    l.at_us = clock_monotonic_us();
    sqlite3_close(db);
    if (err)
        top_free(&l);
    else
        *ret = l;
    return err;
}

/* ---- Rates ---- */

/* One that has gone back began anew: it is not known what it lost. */
static void rate_row(struct top_row *now, const struct top_row *before, double s)
{
    for (int i = 0; i < TOP_COUNTS; i++) {
        double grown = now->count[i] - before->count[i];
        now->rate[i] = grown >= 0 && s > 0 ? grown / s : NAN;
    }
}

static void rate_rows(struct top_rows *now, struct top_rows before, double s)
{
    size_t hint = 0;
    for (size_t i = 0; i < now->n; i++) {
        const struct top_row *old =
            find_row(&before, now->row[i].name, now->row[i].of, &hint);
        if (old)
            rate_row(&now->row[i], old, s);
    }
}

void top_rates(struct top_look *now, const struct top_look *before)
{
    double s = (double)(now->at_us - before->at_us) / 1e6;
    rate_rows(&now->streams, before->streams, s);
    rate_rows(&now->pipelines, before->pipelines, s);
    rate_rows(&now->analyzers, before->analyzers, s);
    rate_row(&now->server, &before->server, s);
}

static void free_rows(struct top_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++) {
        free(rows->row[i].name);
        free(rows->row[i].of);
        free(rows->row[i].state);
        free(rows->row[i].error);
    }
    free(rows->row);
}

void top_free(struct top_look *l)
{
    free_rows(&l->streams);
    free_rows(&l->pipelines);
    free_rows(&l->analyzers);
    buffer_free(&l->nodes);
    *l = (struct top_look){0};
}
