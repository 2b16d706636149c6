/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the API share.
 */
#ifndef WEIR_API_INTERNAL_H
#define WEIR_API_INTERNAL_H

#include "api/api.h"
#include "api/ask.h"
#include "query/rowout.h"

#include <stdatomic.h>

struct live;
struct read_pool;

struct api {
    struct api_context is;
    struct buffer plugins; /* the answer of /plugins, made once */
    struct live *live;
    struct read_pool *read;   /* of all servers; NULL: this one shares nothing */
    _Atomic bool backup_runs; /* at most one; it guards nothing else */
};

/* Handlers of routes; ctx is struct api. */
void results_get(struct http_request *r, void *api);
/* Takes the pipeline; `ask` is copied. */
void changed_get(struct http_request *r, const struct api *api, struct pipeline *p,
                 const struct ask *ask);
/* Takes the pipeline, whose table it is. */
void everywhere_get(struct http_request *r, const struct api *api, struct pipeline *p,
                    const struct table *t);
void live_get(struct http_request *r, void *api);
void sqlquery_get(struct http_request *r, void *api);
void sqlquery_post(struct http_request *r, void *api);
void backup_post(struct http_request *r, void *api);
void overview_streams(struct http_request *r, void *api);
void overview_stream(struct http_request *r, void *api);
void deadletters_get(struct http_request *r, void *api);
void deadletters_delete(struct http_request *r, void *api);
void overview_pipelines(struct http_request *r, void *api);
void overview_pipeline(struct http_request *r, void *api);
void overview_watermarks(struct http_request *r, void *api);
void overview_config(struct http_request *r, void *api);
void overview_warnings(struct http_request *r, void *api);
void overview_plugins(struct http_request *r, void *api);
void probes_live(struct http_request *r, void *api);
void probes_ready(struct http_request *r, void *api);
void probes_health(struct http_request *r, void *api);
void probes_version(struct http_request *r, void *api);
void probes_metrics(struct http_request *r, void *api);
void probes_openapi(struct http_request *r, void *api);
void page_get(struct http_request *r, void *api);

/* The table named in the path, the pipeline's own, or the only one with results; NULL: answered 404, or 503. */
const struct table *results_table(struct pipeline *p, struct http_request *r);

/* Does a pipeline expose results? And these, as /metrics has them; on a query thread. */
bool exposed_any(const struct api *a);
void exposed_print(const struct api *a, struct buffer *to);

/* The answer of /plugins. */
int overview_list_plugins(struct plugins *plugins, struct buffer *ret);

/* For pipeline_unref. NULL and answered 404 if the {pipeline} of the path is unknown. */
struct pipeline *api_find_pipeline(const struct api *a, struct http_request *r);

/* The name; NULL and answered 404 if the {stream} of the path is unknown. */
const char *api_find_stream(const struct api *a, struct http_request *r);

/* Sets the headers that lead to the next page of an answer: what comes behind this one, by which parameter, and the link,
 * if there is something. */
void api_say_next(struct http_request *r, const char *parameter, const char *cursor,
                  bool link);

/* No query arguments are taken: answers 400 to any, and returns false. */
bool api_no_arguments(struct http_request *r);

/* Answers with what a reader's failure is to a client: 400, 403, 422, 503, 504. */
void api_read_failed(struct http_request *r, int err, const char *text);

extern const char text_openapi[]; /* server/api/openapi.json */

#endif
