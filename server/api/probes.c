/* SPDX-License-Identifier: Apache-2.0
 *
 * /live, /ready, /health, /version, /metrics, /openapi.json.
 */
#include "api/internal.h"
#include "api/jsonout.h"

#include <sqlite3.h>
#include <string.h>

void probes_live(struct http_request *r, void *api)
{
    (void)api;
    static const char body[] = "{\"live\":true}\n";
    if (!api_no_arguments(r))
        return;
    http_reply(r, 200, "application/json", body, sizeof(body) - 1);
}

/* Ready: everything runs, no pipeline has stopped with an error. Else a code, and the reason in *ret. */
static const char *probes_problem(const struct api *a, struct error *ret)
{
    if (a->is.ready && !a->is.ready(a->is.ready_ctx, ret))
        return "not_ready";
    struct running_list all = running_all(a->is.running);
    struct pipeline_status status = {0};
    for (size_t i = 0; i < all.n && !status.error[0]; i++) {
        pipeline_status(all.pipeline[i], &status);
        if (status.left_out || status.restarts) /* asked for; over in a moment */
            status.error[0] = 0;
    }
    if (status.error[0])
        error_set(ret, 0, "pipeline '%s': %s", status.name, status.error);
    running_done(&all);
    return status.error[0] ? "pipeline_failed" : NULL;
}

bool api_is_ready(const struct api *a, struct error *why)
{
    return !probes_problem(a, why);
}

void probes_ready(struct http_request *r, void *api)
{
    static const char body[] = "{\"ready\":true}\n";
    struct error why = {""};
    if (!api_no_arguments(r))
        return;
    const char *code = probes_problem(api, &why);
    if (code)
        http_problem(r, 503, code, "%s", why.text);
    else
        http_reply(r, 200, "application/json", body, sizeof(body) - 1);
}

/* The same as clients of InfluxDB ask for it. */
void probes_health(struct http_request *r, void *api)
{
    const struct api *a = api;
    struct error why = {""};
    struct buffer b = {0};
    if (!api_no_arguments(r))
        return;
    bool fails = probes_problem(a, &why);
    jsonout_open(&b, NULL, '{');
    jsonout_string(&b, "name", "weir");
    jsonout_string(&b, "message", fails ? why.text : "ready for queries and writes");
    jsonout_string(&b, "status", fails ? "fail" : "pass");
    jsonout_string(&b, "version", a->is.version);
    jsonout_close(&b, '}');
    buffer_putc(&b, '\n');
    http_reply_buffer(r, fails ? 503 : 200, "application/json", &b);
}

void probes_version(struct http_request *r, void *api)
{
    const struct api *a = api;
    struct buffer b = {0};
    if (!api_no_arguments(r))
        return;
    jsonout_open(&b, NULL, '{');
    jsonout_string(&b, "name", "weir");
    jsonout_string(&b, "version", a->is.version);
    jsonout_string(&b, "api", "v1");
    jsonout_count(&b, "plugin_abi", WEIR_ABI);
    jsonout_string(&b, "sqlite", sqlite3_libversion());
    jsonout_close(&b, '}');
    buffer_putc(&b, '\n');
    http_reply_buffer(r, 200, "application/json", &b);
}

void probes_metrics(struct http_request *r, void *api)
{
    const struct api *a = api;
    struct buffer b = {0};
    if (!api_no_arguments(r))
        return;
    const bool exposes = exposed_any(a);
    if (exposes && http_defer(r))
        return;
    metrics_print(a->is.metrics, &b);
    if (exposes)
        exposed_print(a, &b);
    http_reply_buffer(r, 200, "text/plain; version=0.0.4; charset=utf-8", &b);
}

void probes_openapi(struct http_request *r, void *api)
{
    (void)api;
    if (!api_no_arguments(r))
        return;
    http_reply(r, 200, "application/json", text_openapi, strlen(text_openapi));
}
