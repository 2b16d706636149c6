/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/logger.h"
#include "store/dead_letters.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define STORE_QUEUE_ROWSETS 64
#define DEPTH_MAX           64 /* of nested JSON */

/* ---- Between the stages ----------------------------------------------------------------------- */

static int stream_name(void *ctx, const char *name, size_t size, uint32_t *ret_source)
{
    const struct weir_intake *in = ctx;
    return log_source(in->log, name, size, ret_source);
}

/* There is no journal behind the log yet: what is taken counts as durable at once, at no position. Once
 * the first batch is in, the others wait for room, so that a request is taken whole. */
static int stream_put(const struct weir_intake *in, const struct request *r, bool wait)
{
    for (size_t i = 0; i < r->n; i++) {
        int rc = i || wait ? log_append_wait(in->log, r->source, r->batch[i])
                           : log_append(in->log, r->source, r->batch[i]);
        if (rc)
            return rc;
    }
    if (r->key)
        idempotency_complete(in->keys, r->key, clock_now_us());
    if (r->ticket)
        r->ticket->done(r->ticket->ctx);
    return 0;
}

static int stream_append(void *ctx, const struct request *r)
{
    return stream_put(ctx, r, false);
}

static int stream_append_wait(void *ctx, const struct request *r)
{
    return stream_put(ctx, r, true);
}

static void stream_wait(void *ctx, struct waiter *w)
{
    const struct weir_intake *in = ctx;
    log_wait(in->log, w);
}

static void stream_unwait(void *ctx, struct waiter *w)
{
    const struct weir_intake *in = ctx;
    log_unwait(in->log, w);
}

static void stream_cancel(void *ctx, struct ticket *t)
{
    (void)ctx;
    (void)t; /* it was called before append returned */
}

static void stream_dead(void *ctx, const struct dead_letter *list, size_t n)
{
    const struct weir_intake *in = ctx;
    dead_letters_put(in->store, list, n);
}

static int stream_key_begin(void *ctx, const char *key, size_t size,
                            struct request_known *ret)
{
    const struct weir_intake *in = ctx;
    return idempotency_begin(in->keys, key, size, clock_now_us(), ret);
}

static void stream_key_abandon(void *ctx, const char *key, size_t size)
{
    const struct weir_intake *in = ctx;
    idempotency_abandon(in->keys, key, size);
}

static int results_put(void *ctx, const char *pipeline, unsigned worker,
                       unsigned workers, uint64_t position, int64_t watermark_us,
                       struct rowset *rows)
{
    const struct store_report report = {.pipeline = pipeline,
                                        .worker = worker,
                                        .workers = workers,
                                        .position = position,
                                        .watermark_us = watermark_us,
                                        .rows = rows};
    return store_put(ctx, &report);
}

/* ---- Loading ---------------------------------------------------------------------------------- */

static int load_pipelines(struct weir *w, struct error *error)
{
    struct config *c = w->config;
    w->pipeline = calloc(c->n_pipelines + 1, sizeof(struct pipeline *));
    w->log = calloc(c->n_streams + 1, sizeof(struct log *));
    w->stream = calloc(c->n_streams + 1, sizeof(struct source_stream));
    w->intake = calloc(c->n_streams + 1, sizeof(struct weir_intake));
    if (!w->pipeline || !w->log || !w->stream || !w->intake)
        return error_set(error, -ENOMEM, "no memory");
    for (size_t i = 0; i < c->n_pipelines; i++) {
        int r = pipeline_new(c, &c->pipeline[i], w->plugins, w->metrics,
                             &w->pipeline[i], error);
        if (r < 0)
            return r;
    }
    return 0;
}

int weir_load(const char *config_path, struct weir **ret, int *ret_exit,
              struct error *error)
{
    struct weir *w = calloc(1, sizeof(*w));
    if (!w)
        return error_set(error, -ENOMEM, "no memory");
    hash_setup();
    *ret_exit = EXIT_CONFIG;
    int r = config_load(config_path, &w->config, error);
    if (r == 0 && (r = metrics_new(&w->metrics)) < 0)
        error_set(error, r, "no memory");
    if (r == 0 && (r = plugins_new(w->config->server.plugin_path, &w->plugins)) < 0)
        error_set(error, r, "no memory");
    if (r == 0)
        r = load_pipelines(w, error);
    if (r < 0) {
        weir_free(w);
        return r;
    }
    *ret = w;
    return 0;
}

static int store_exit_code(int r)
{
    switch (-r) {
    case EINVAL: /* a table does not fit the configuration */
        return EXIT_CONFIG;
    case EBUSY: /* another weir has it */
        return EXIT_UNAVAILABLE;
    case EEXIST: /* the file was made by a newer weir */
    case EACCES:
    case EROFS:
    case ENOENT:
    case ENOTDIR:
    case EPERM:
        return EXIT_CANNOT_CREATE;
    default:
        return EXIT_IO;
    }
}

int weir_open_store(struct weir *w, const char *path, int *ret_exit,
                    struct error *error)
{
    const struct config_server *s = &w->config->server;
    const struct store_options options = {.path = path ? path : s->database,
                                          .commit_interval_us = s->commit_interval_us,
                                          .queue_rowsets = STORE_QUEUE_ROWSETS};
    int r = store_open(&options, w->metrics, &w->store, error);
    for (size_t i = 0; r == 0 && i < w->config->n_pipelines; i++) {
        const struct table *const *table;
        size_t n = pipeline_tables(w->pipeline[i], &table);
        for (size_t k = 0; r == 0 && k < n; k++)
            r = store_table(w->store, table[k], error);
    }
    for (size_t i = 0; r == 0 && i < w->config->n_streams; i++)
        r = dead_letters_keep(w->store, w->config->stream[i].name, s->dead_letters,
                              w->metrics, error);
    *ret_exit = r < 0 ? store_exit_code(r) : 0;
    return r;
}

/* ---- Running ---------------------------------------------------------------------------------- */

static int start_intake(struct weir *w, size_t i)
{
    const struct config_server *s = &w->config->server;
    const struct idempotency_options options = {.stream = w->config->stream[i].name,
                                                .max_keys = s->idempotency_keys,
                                                .retain_us = s->idempotency_retain_us};
    w->intake[i].log = w->log[i];
    w->intake[i].store = w->store;
    w->stream[i].sink =
        (struct source_sink){.ctx = &w->intake[i],
                             .name = stream_name,
                             .append = stream_append,
                             .append_wait = stream_append_wait,
                             .wait = stream_wait,
                             .unwait = stream_unwait,
                             .cancel = stream_cancel,
                             .key_begin = stream_key_begin,
                             .key_abandon = stream_key_abandon,
                             .dead = s->dead_letters ? stream_dead : NULL};
    return idempotency_new(&options, w->metrics, &w->intake[i].keys);
}

static int start_stream(struct weir *w, size_t i, struct error *error)
{
    const struct config_stream *c = &w->config->stream[i];
    const struct config_server *s = &w->config->server;
    const struct log_options options = {.name = c->name,
                                        .schema = c->schema,
                                        .queue_events = s->queue_events,
                                        .linger_us = s->linger_us};
    int r = log_new(&options, w->metrics, &w->log[i], error);
    if (r < 0)
        return r;
    w->stream[i].name = c->name;
    w->stream[i].decode =
        (struct decode_options){.schema = c->schema,
                                .time_unit = c->time_unit,
                                .record_max = s->max_record,
                                .depth_max = DEPTH_MAX,
                                .max_future_skew_us = c->max_future_skew_us};
    w->stream[i].max_body = s->max_body;
    w->stream[i].queue_wait_us = s->queue_wait_us;
    w->stream[i].durable = c->durable;
    r = start_intake(w, i);
    if (r == 0)
        r = source_count(&w->stream[i], w->metrics);
    return r < 0 ? error_set(error, r, "no memory") : 0;
}

static int start_pipeline(struct weir *w, size_t i, struct error *error)
{
    const struct config_pipeline *c = &w->config->pipeline[i];
    const struct pipeline_sink sink = {.put = results_put, .ctx = w->store};
    int64_t watermark_us = INT64_MIN;
    int r = store_watermark(w->store, c->name, &watermark_us);
    if (r < 0 && r != -ENOENT)
        return error_set(error, r, "pipeline '%s': its watermark cannot be read",
                         c->name);
    return pipeline_start(w->pipeline[i], w->log[c->stream], &sink, watermark_us,
                          error);
}

int weir_start(struct weir *w, int *ret_exit, struct error *error)
{
    *ret_exit = EXIT_FAILURE;
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->config->n_streams; i++)
        r = start_stream(w, i, error);
    for (size_t i = 0; r == 0 && i < w->config->n_pipelines; i++)
        r = start_pipeline(w, i, error);
    if (r == 0)
        r = store_start(w->store, error);
    for (size_t i = 0; r == 0 && i < w->config->n_streams; i++)
        r = log_start(w->log[i], error);
    return r;
}

uint64_t weir_stop(struct weir *w, bool end)
{
    uint64_t open_groups = 0;
    if (w->store && !end)
        store_hurry(w->store);
    for (size_t i = 0; i < w->config->n_streams; i++)
        if (w->log[i])
            log_close(w->log[i], end);
    for (size_t i = 0; i < w->config->n_pipelines; i++) {
        struct pipeline_status status;
        pipeline_stop(w->pipeline[i]);
        pipeline_status(w->pipeline[i], &status);
        open_groups += status.groups;
    }
    if (w->store && store_flush(w->store) < 0)
        w->lost = true;
    return open_groups;
}

bool weir_failed(struct weir *w)
{
    if (w->lost)
        return true;
    for (size_t i = 0; i < w->config->n_pipelines; i++) {
        struct pipeline_status status;
        pipeline_status(w->pipeline[i], &status);
        if (status.error[0])
            return true;
    }
    return false;
}

void weir_free(struct weir *w)
{
    if (!w)
        return;
    for (size_t i = 0; w->log && i < w->config->n_streams; i++)
        if (w->log[i])
            log_close(w->log[i], false);
    for (size_t i = 0; w->pipeline && i < w->config->n_pipelines; i++)
        pipeline_stop(w->pipeline[i]);
    store_free(w->store);
    for (size_t i = 0; w->log && i < w->config->n_streams; i++)
        log_free(w->log[i]);
    for (size_t i = 0; w->pipeline && i < w->config->n_pipelines; i++)
        pipeline_free(w->pipeline[i]);
    for (size_t i = 0; w->intake && i < w->config->n_streams; i++)
        idempotency_free(w->intake[i].keys);
    free(w->intake);
    free(w->stream);
    free(w->log);
    free(w->pipeline);
    plugins_free(w->plugins);
    metrics_free(w->metrics);
    config_free(w->config);
    free(w);
}
