/* SPDX-License-Identifier: Apache-2.0
 *
 * Results as gauges in /metrics, of pipelines with `expose`: the newest window that has a result, read from the file when
 * somebody asks. A key that has none in it is not shown, so that its series ends. Of windows by key it is each key's
 * newest, as far as it is one of the newest EXPOSED_RECENT results.
 *
 *      weir_result{pipeline="trades_10s",column="price_mean",symbol="A"} 101.5
 */
#include "api/internal.h"
#include "base/clock.h"
#include "base/logger.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define EXPOSED_GROUPS 1000
#define EXPOSED_RECENT 10000
#define EXPOSED_US     (2 * SECOND_US) /* for all of them */

struct exposed {
    const struct api *api;
    int64_t deadline_us;
    struct buffer results, ends, cut; /* a family each */
};

bool exposed_any(const struct api *a)
{
    struct running_list all = running_all(a->is.running);
    bool any = false;
    for (size_t i = 0; !any && i < all.n; i++)
        any = pipeline_config(all.pipeline[i])->n_expose > 0;
    running_done(&all);
    return any;
}

static bool is_by_key(const struct config_pipeline *c)
{
    const enum config_window_kind kind = c->window.kind;
    return kind != CONFIG_TUMBLING && kind != CONFIG_HOPPING && kind != CONFIG_GLOBAL;
}

/* Key columns; windows by count have a number behind them, which is no label. */
static size_t n_keys(const struct table *t, const struct config_pipeline *c)
{
    return is_by_key(c) ? c->n_keys : t->n_primary - 1;
}

/* Those of the primary key from `first` up to `end`. */
static void put_list(sqlite3_str *sql, const struct table *t, size_t first, size_t end,
                     const char *before, const char *behind)
{
    for (size_t k = first; k < end; k++) {
        sqlite3_str_appendf(sql, "%s\"%w\"%s", before, t->column[k].name, behind);
        before = ", ";
    }
}

/* As `from`: of the newest results the newest of each key. */
static void put_newest(sqlite3_str *sql, const struct table *t, size_t keys)
{
    sqlite3_str_appendall(sql, " FROM (SELECT *, row_number() OVER (");
    put_list(sql, t, 1, 1 + keys, "PARTITION BY ", "");
    put_list(sql, t, 0, 1, " ORDER BY ", " DESC");
    put_list(sql, t, 1 + keys, t->n_primary, ", ", " DESC");
    sqlite3_str_appendf(sql,
                        ") AS weir_age FROM (SELECT * FROM \"%w\""
                        " ORDER BY window_start DESC LIMIT %d)) WHERE weir_age = 1",
                        t->name, EXPOSED_RECENT);
}

/* Keys, window_end, then what is exposed. For sqlite3_free. */
static char *exposed_sql(const struct table *t, const struct config_pipeline *c)
{
    const size_t keys = n_keys(t, c);
    sqlite3_str *sql = sqlite3_str_new(NULL);
    sqlite3_str_appendall(sql, "SELECT ");
    put_list(sql, t, 1, 1 + keys, "", "");
    sqlite3_str_appendf(sql, "%swindow_end", keys ? ", " : "");
    for (size_t i = 0; i < c->n_expose; i++)
        sqlite3_str_appendf(sql, ", \"%w\"", c->expose[i]);
    if (is_by_key(c))
        put_newest(sql, t, keys);
    else
        sqlite3_str_appendf(sql,
                            " FROM \"%w\" WHERE window_start ="
                            " (SELECT max(window_start) FROM \"%w\")",
                            t->name, t->name);
    put_list(sql, t, 1, 1 + keys, " ORDER BY ", "");
    sqlite3_str_appendf(sql, " LIMIT %d", EXPOSED_GROUPS + 1);
    return sqlite3_str_finish(sql);
}

static void put_key(struct buffer *labels, const struct table_column *column,
                    sqlite3_stmt *s, int i)
{
    const char *text = (const char *)sqlite3_column_text(s, i);
    if (column->type == WEIR_BOOL)
        text = sqlite3_column_int(s, i) ? "true" : "false";
    metrics_put_label(labels, column->name, text ? text : "");
}

static void put_end(struct exposed *x, const struct table *t,
                    const struct config_pipeline *c, sqlite3_stmt *s)
{
    struct buffer labels = {0};
    const size_t keys = n_keys(t, c);
    metrics_put_label(&labels, "pipeline", c->name);
    for (size_t k = 0; is_by_key(c) && k < keys; k++) /* otherwise it is one for all */
        put_key(&labels, &t->column[k + 1], s, (int)k);
    buffer_printf(&x->ends, "weir_result_window_end_timestamp_seconds{%s} ",
                  buffer_text(&labels));
    buffer_put_json_double(&x->ends, sqlite3_column_double(s, (int)keys) / SECOND_US);
    buffer_putc(&x->ends, '\n');
    if (labels.error)
        x->ends.error = labels.error;
    buffer_free(&labels);
}

static void put_row(struct exposed *x, const struct table *t,
                    const struct config_pipeline *c, sqlite3_stmt *s)
{
    struct buffer labels = {0};
    const int keys = (int)n_keys(t, c);
    for (size_t i = 0; i < c->n_expose; i++) {
        int at = keys + 1 + (int)i;
        double v = sqlite3_column_double(s, at);
        if (sqlite3_column_type(s, at) == SQLITE_NULL)
            continue;
        buffer_clear(&labels);
        metrics_put_label(&labels, "pipeline", c->name);
        metrics_put_label(&labels, "column", c->expose[i]);
        for (int k = 0; k < keys; k++)
            put_key(&labels, &t->column[k + 1], s, k);
        buffer_printf(&x->results, "weir_result{%s} ", buffer_text(&labels));
        if (isinf(v)) /* which JSON does not have */
            buffer_puts(&x->results, v < 0 ? "-Inf" : "+Inf");
        else
            buffer_put_json_double(&x->results, v);
        buffer_putc(&x->results, '\n');
    }
    if (labels.error)
        x->results.error = labels.error;
    buffer_free(&labels);
}

static int put_rows(struct exposed *x, const struct table *t,
                    const struct config_pipeline *c, struct reader *reader,
                    sqlite3_stmt *s, struct error *error)
{
    size_t rows = 0;
    int got;
    while ((got = reader_step(reader, s, error)) == 1 && ++rows <= EXPOSED_GROUPS) {
        put_row(x, t, c, s);
        if (rows == 1 || is_by_key(c))
            put_end(x, t, c, s);
    }
    buffer_printf(&x->cut, "weir_result_cut{pipeline=\"%s\"} %d\n", c->name,
                  rows > EXPOSED_GROUPS);
    return got < 0 ? got : 0;
}

static int put_pipeline(struct exposed *x, struct pipeline *p, struct error *error)
{
    const struct config_pipeline *c = pipeline_config(p);
    const struct table *const *tables;
    if (pipeline_tables(p, &tables) == 0)
        return 0;
    char *sql = exposed_sql(tables[0], c);
    if (!sql)
        return error_set(error, -ENOMEM, "out of memory");
    struct reader *reader = NULL;
    sqlite3_stmt *s = NULL;
    int offset, err = reader_get(x->api->is.readers, &reader, error);
    if (!err) {
        reader_own(reader);
        reader_limit(reader, x->deadline_us, NULL, NULL);
        err = reader_prepare(reader, sql, strlen(sql), &s, &offset, error);
    }
    if (!err)
        err = put_rows(x, tables[0], c, reader, s, error);
    sqlite3_finalize(s);
    sqlite3_free(sql);
    reader_put(reader);
    return err;
}

static void put_family(struct buffer *to, struct buffer *samples, const char *name,
                       const char *help)
{
    if (samples->error)
        to->error = samples->error;
    else if (samples->size)
        buffer_printf(to, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
    buffer_put(to, samples->data, samples->size);
    buffer_free(samples);
}

void exposed_print(const struct api *a, struct buffer *to)
{
    struct exposed x = {.api = a, .deadline_us = clock_monotonic_us() + EXPOSED_US};
    struct running_list all = running_all(a->is.running);
    for (size_t i = 0; i < all.n; i++) {
        const struct config_pipeline *c = pipeline_config(all.pipeline[i]);
        struct error error = {""};
        if (c->n_expose && put_pipeline(&x, all.pipeline[i], &error))
            logger_warn("api", "results of '%s' are not all in /metrics: %s", c->name,
                        error.text);
    }
    running_done(&all);
    put_family(to, &x.results, "weir_result",
               "Of the newest window that has a result, of pipelines with expose.");
    put_family(to, &x.ends, "weir_result_window_end_timestamp_seconds",
               "When that window ends.");
    put_family(to, &x.cut, "weir_result_cut",
               "1: there are more keys than are shown here.");
}
