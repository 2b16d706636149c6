/* SPDX-License-Identifier: Apache-2.0
 *
 * The routes of the API that reads, and what its handlers have in common.
 */
#include "api/api.h"
#include "api/internal.h"
#include "api/live.h"
#include "carry/read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define API_LINK_MAX                                                                   \
    32768 /* as long as a target can be; a longer one is left out, not the cursor */

static const struct {
    const char *method, *pattern;
    int kind;
    enum access_verb may; /* a table for all: who may do what, weir-api(7) */
    void (*handle)(struct http_request *r, void *api);
} api_routes[] = {
    {"GET", "/api/v1/pipelines/{pipeline}/results", HTTP_QUERY, ACCESS_READ,
     results_get},
    {"GET", "/api/v1/pipelines/{pipeline}/results/live", HTTP_QUERY, ACCESS_READ,
     live_get},
    {"GET", "/api/v1/pipelines/{pipeline}/results/{table}", HTTP_QUERY, ACCESS_READ,
     results_get},
    {"GET", "/api/v1/pipelines/{pipeline}/results/{table}/live", HTTP_QUERY,
     ACCESS_READ, live_get},
    {"GET", "/api/v1/sql", HTTP_SLOW, ACCESS_SQL, sqlquery_get},
    {"POST", "/api/v1/sql", HTTP_SLOW, ACCESS_SQL, sqlquery_post},
    {"POST", "/api/v1/backup", HTTP_QUERY, ACCESS_ADMIN, backup_post},
    {"GET", "/api/v1/streams", HTTP_PLAIN, ACCESS_READ, overview_streams},
    {"GET", "/api/v1/streams/{stream}", HTTP_PLAIN, ACCESS_READ, overview_stream},
    {"GET", "/api/v1/streams/{stream}/dead-letters", HTTP_QUERY, ACCESS_READ,
     deadletters_get},
    {"DELETE", "/api/v1/streams/{stream}/dead-letters", HTTP_QUERY, ACCESS_ADMIN,
     deadletters_delete},
    {"GET", "/api/v1/pipelines", HTTP_PLAIN, ACCESS_READ, overview_pipelines},
    {"GET", "/api/v1/pipelines/{pipeline}", HTTP_PLAIN, ACCESS_READ, overview_pipeline},
    {"GET", "/api/v1/pipelines/{pipeline}/watermarks", HTTP_PLAIN, ACCESS_READ,
     overview_watermarks},
    {"GET", "/api/v1/plugins", HTTP_PLAIN, ACCESS_KNOWN, overview_plugins},
    {"GET", "/api/v1/config", HTTP_PLAIN, ACCESS_KNOWN, overview_config},
    {"GET", "/api/v1/warnings", HTTP_PLAIN, ACCESS_ADMIN, overview_warnings},
    {"GET", "/live", HTTP_PLAIN, ACCESS_FREE, probes_live},
    {"GET", "/livez", HTTP_PLAIN, ACCESS_FREE, probes_live},
    {"GET", "/ready", HTTP_PLAIN, ACCESS_FREE, probes_ready},
    {"GET", "/readyz", HTTP_PLAIN, ACCESS_FREE, probes_ready},
    {"GET", "/healthz", HTTP_PLAIN, ACCESS_FREE, probes_ready},
    {"GET", "/health", HTTP_PLAIN, ACCESS_FREE, probes_health},
    {"GET", "/version", HTTP_PLAIN, ACCESS_KNOWN, probes_version},
    {"GET", "/metrics", HTTP_PLAIN, ACCESS_METRICS, probes_metrics},
    {"GET", "/openapi.json", HTTP_PLAIN, ACCESS_KNOWN, probes_openapi},
    {"GET", "/", HTTP_PLAIN, ACCESS_FREE, page_get},
    {"GET", "/page/{file}", HTTP_PLAIN, ACCESS_FREE, page_get},
};

static int api_add_routes(struct http_server *server, struct api *a)
{
    int err = 0;
    for (size_t i = 0; !err && i < sizeof(api_routes) / sizeof(api_routes[0]); i++) {
        struct http_route route = {.method = api_routes[i].method,
                                   .pattern = api_routes[i].pattern,
                                   .may = api_routes[i].may,
                                   .handle = api_routes[i].handle,
                                   .by_key = api_routes[i].handle == results_get ||
                                             api_routes[i].handle == live_get,
                                   .bodyless = api_routes[i].handle == backup_post,
                                   .probe = api_routes[i].handle == probes_live ||
                                            api_routes[i].handle == probes_ready,
                                   .patient = api_routes[i].handle == live_get ||
                                              api_routes[i].handle == probes_metrics,
                                   .ctx = a};
        route.kind = api_routes[i].kind;
        err = http_add(server, &route);
    }
    return err;
}

int api_setup(struct http_server *server, const struct api_context *context,
              struct api **ret, struct error *error)
{
    struct api *a = calloc(1, sizeof(*a));
    if (!a)
        return error_set(error, -ENOMEM, "out of memory");
    a->is = *context;
    int err = overview_list_plugins(context->plugins, &a->plugins);
    if (!err)
        err = api_add_routes(server, a);
    if (err) {
        api_free(a);
        return error_set(error, err, "cannot set up the HTTP API: %s", strerror(-err));
    }
    if ((err = live_new(a, &a->live, error))) {
        api_free(a);
        return err;
    }
    a->read = read_pool_new(a->is.config->server.postgresql,
                            a->is.config->server.sql_timeout_us);
    *ret = a;
    return 0;
}

void api_end_live(struct api *a)
{
    if (a)
        live_end(a->live);
}

void api_free(struct api *a)
{
    if (!a)
        return;
    live_free(a->live);
    read_pool_free(a->read);
    buffer_free(&a->plugins);
    free(a);
}

struct pipeline *api_find_pipeline(const struct api *a, struct http_request *r)
{
    const char *name = http_param(r, "pipeline");
    struct pipeline *p = name ? running_get(a->is.running, name) : NULL;
    if (p)
        return p;
    http_problem(r, 404, "unknown_pipeline",
                 "there is no pipeline '%s'; /api/v1/pipelines lists them",
                 name ? name : "");
    return NULL;
}

const char *api_find_stream(const struct api *a, struct http_request *r)
{
    const char *name = http_param(r, "stream");
    for (size_t i = 0; name && i < a->is.config->n_streams; i++)
        if (strcmp(a->is.config->stream[i].name, name) == 0)
            return a->is.config->stream[i].name;
    http_problem(r, 404, "unknown_stream",
                 "there is no stream '%s'; /api/v1/streams lists them",
                 name ? name : "");
    return NULL;
}

/* As it was, but encoded. */
static void api_put_encoded(struct buffer *link, const char *text, size_t size)
{
    for (const char *p = text; p < text + size; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || (*p && strchr("-._~", *p));
        buffer_printf(link, plain ? "%c" : "%%%02X", (unsigned char)*p);
    }
}

/* Link: </api/v1/...?...&cursor=...>; rel="next", and the cursor alone. */
void api_say_next(struct http_request *r, const char *parameter, const char *cursor,
                  bool link_too)
{
    http_set_header(r, "Weir-Next-Cursor", cursor);
    if (!link_too)
        return;
    struct buffer link = {.limit = API_LINK_MAX};
    const char *name, *value;
    size_t size;
    buffer_printf(&link, "<%s?", http_path(r));
    for (size_t i = 0; (value = http_argument(r, i, &name, &size)); i++) {
        if (strcmp(name, parameter) == 0)
            continue;
        api_put_encoded(&link, name, strlen(name));
        buffer_putc(&link, '=');
        api_put_encoded(&link, value, size);
        buffer_putc(&link, '&');
    }
    buffer_printf(&link, "%s=%s>; rel=\"next\"", parameter, cursor);
    if (!link.error)
        http_set_header(r, "Link", buffer_text(&link));
    buffer_free(&link);
}

static bool api_take_name(void *ctx, const char *name, const char *value)
{
    (void)value;
    *(const char **)ctx = name;
    return false;
}

bool api_no_arguments(struct http_request *r)
{
    const char *name = NULL;
    http_each_query(r, api_take_name, &name);
    if (!name)
        return true;
    http_problem(r, 400, "unknown_parameter",
                 "unknown parameter '%s'; none is taken here", name);
    return false;
}

void api_read_failed(struct http_request *r, int err, const char *text)
{
    switch (err) {
    case -EINVAL:
        http_problem(r, 400, "bad_sql", "%s", text);
        return;
    case -EPERM:
        http_problem(r, 403, "not_authorized",
                     "%s: only statements that read result tables are allowed", text);
        return;
    case -E2BIG:
        http_problem(r, 422, "too_large", "%s", text);
        return;
    case -ETIMEDOUT:
        http_problem(r, 504, "timeout", "%s; ask for less: a shorter time, fewer keys",
                     text);
        return;
    case -EBUSY:
    case -EAGAIN:
        http_set_header(r, "Retry-After", "1");
        http_problem(r, 503, "busy", "%s", text);
        return;
    case -ENOSPC:
        http_set_header(r, "Retry-After", "5");
        http_problem(r, 507, "disk_full", "%s", text);
        return;
    case -ESTALE:
        http_problem(r, 410, "changes_lost", "%s", text);
        return;
    case -ECHILD:
        http_problem(r, 500, "sql_process_died", "%s", text);
        return;
    default:
        http_problem(r, 500, "read_failed", "%s", text);
    }
}
