/* SPDX-License-Identifier: Apache-2.0
 *
 * /live, /ready, /version, /metrics, /openapi.json.
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

/* Ready: everything runs, no pipeline has stopped with an error. */
void probes_ready(struct http_request *r, void *api)
{
    static const char body[] = "{\"ready\":true}\n";
    const struct api *a = api;
    struct error why = {""};
    if (!api_no_arguments(r))
        return;
    if (a->is.ready && !a->is.ready(a->is.ready_ctx, &why)) {
        http_problem(r, 503, "not_ready", "%s", why.text);
        return;
    }
    struct running_list all = running_all(a->is.running);
    struct pipeline_status status = {0};
    for (size_t i = 0; i < all.n && !status.error[0]; i++) {
        pipeline_status(all.pipeline[i], &status);
        if (status.left_out) /* that is what was asked for */
            status.error[0] = 0;
    }
    if (status.error[0])
        http_problem(r, 503, "pipeline_failed", "pipeline '%s': %s", status.name,
                     status.error);
    running_done(&all);
    if (status.error[0])
        return;
    http_reply(r, 200, "application/json", body, sizeof(body) - 1);
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
    metrics_print(a->is.metrics, &b);
    http_reply_buffer(r, 200, "text/plain; version=0.0.4; charset=utf-8", &b);
}

void probes_openapi(struct http_request *r, void *api)
{
    (void)api;
    if (!api_no_arguments(r))
        return;
    http_reply(r, 200, "application/json", text_openapi, strlen(text_openapi));
}
