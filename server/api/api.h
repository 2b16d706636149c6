/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP API that reads: results, SQL, what streams, pipelines and plugins do, probes, metrics.
 * weir-api(7) says what a client sees.
 */
#ifndef WEIR_API_API_H
#define WEIR_API_API_H

#include "base/metrics.h"
#include "config/config.h"
#include "config/faults.h"
#include "hook/hooks.h"
#include "http/http.h"
#include "pipeline/pipeline.h"
#include "pipeline/running.h"
#include "plugin/loader.h"
#include "query/process.h"
#include "source/source.h"
#include "store/reader.h"
#include "store/store.h"
#include "target/target.h"

struct api;

/* Of the configuration in force, and of the last attempt to read another one. */
struct api_reload {
    int64_t loaded_us; /* the one in force was read then */
    int64_t tried_us;  /* INT64_MIN: SIGHUP has not come yet */
    bool successful;
    size_t n; /* why not */
    struct error fault[FAULTS_MAX];
};

/* What the answers are made of. All of it outlives the HTTP server. */
struct api_context {
    const struct config *config;
    struct reader_pool *readers;
    struct query_pool *queries; /* for SQL of users */
    struct store *store;        /* started */
    const char *journal;        /* folder of the journals */
    const char *backups;        /* folder that backups go to */
    struct metrics *metrics;
    struct plugins *plugins;
    struct running *running;
    _Atomic(struct hooks *)
        *hooks; /* NULL in it: there are none; acquire. May be NULL */
    _Atomic(struct target *) *target;   /* CARRIED_TARGETS, likewise */
    const struct source_stream *stream; /* config->n_streams, likewise */
    const char *version;
    /* May be NULL. False: /ready answers 503 and the reason in `why`. Any thread; quick. */
    bool (*ready)(void *ctx, struct error *why);
    void *ready_ctx;
    /* Likewise. May be NULL: the configuration is that of the start. */
    void (*reload)(void *ctx, struct api_reload *ret);
    void *reload_ctx;
};

/* Adds the routes, before http_start. Loads all plugins to list them. -ENOMEM. */
int api_setup(struct http_server *server, const struct api_context *context,
              struct api **ret, struct error *error);
/* As /ready says. Any thread. */
bool api_is_ready(const struct api *a, struct error *why);
/* Replies that have no end, end; no new ones begin. Before http_drain, which would wait for them. */
void api_end_live(struct api *a); /* takes NULL */
void api_free(struct api *a);     /* after http_free; takes NULL */

#endif
