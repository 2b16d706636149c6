/* SPDX-License-Identifier: Apache-2.0
 *
 * /live, /ready, /version, /metrics, /openapi.json, and the page at /.
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

/* Names of streams, pipelines and tables are [a-zA-Z0-9_]: nothing to escape. */
static void probes_page_pipeline(struct buffer *b, struct pipeline *p)
{
    const char *name = pipeline_config(p)->name;
    const struct table *const *tables;
    size_t n = pipeline_tables(p, &tables);
    buffer_printf(
        b,
        "<li><a href=\"/api/v1/pipelines/%s\">%s</a> (<a href=\"/api/v1/pipelines/%s/"
        "watermarks\">watermarks</a>): ",
        name, name, name);
    for (size_t i = 0; i < n; i++)
        buffer_printf(
            b,
            "<a "
            "href=\"/api/v1/pipelines/%s/results/%s?order=desc&amp;limit=100\">%s</a> "
            "(<a href=\"/api/v1/pipelines/%s/results/%s?order=desc&amp;limit=100&amp;"
            "format=csv\">csv</a>) ",
            name, tables[i]->name, tables[i]->name, name, tables[i]->name);
    buffer_puts(b, "</li>\n");
}

void probes_page(struct http_request *r, void *api)
{
    const struct api *a = api;
    struct buffer b = {0};
    if (!api_no_arguments(r))
        return;
    buffer_printf(
        &b,
        "<!doctype html>\n<html lang=\"en\"><meta "
        "charset=\"utf-8\"><title>weir</title>\n"
        "<style>body{font:16px sans-serif;margin:2em auto;max-width:60em}</style>\n"
        "<h1>weir %s</h1>\n<h2>Pipelines</h2>\n<ul>\n",
        a->is.version);
    struct running_list all = running_all(a->is.running);
    for (size_t i = 0; i < all.n; i++)
        probes_page_pipeline(&b, all.pipeline[i]);
    running_done(&all);
    buffer_puts(&b, "</ul>\n<h2>Streams</h2>\n<ul>\n");
    for (size_t i = 0; i < a->is.config->n_streams; i++)
        buffer_printf(&b, "<li><a href=\"/api/v1/streams/%s\">%s</a></li>\n",
                      a->is.config->stream[i].name, a->is.config->stream[i].name);
    buffer_puts(
        &b,
        "</ul>\n<p><a href=\"/api/v1/plugins\">plugins</a>, "
        "<a href=\"/metrics\">metrics</a>, <a href=\"/ready\">ready</a>, "
        "<a href=\"/version\">version</a>, <a href=\"/openapi.json\">OpenAPI</a></p>\n"
        "<form action=\"/api/v1/sql\"><p><input name=\"q\" size=\"80\" "
        "value=\"SELECT * FROM weir_pipelines\"> "
        "<button>SQL</button></p></form>\n</html>\n");
    http_reply_buffer(r, 200, "text/html; charset=utf-8", &b);
}
