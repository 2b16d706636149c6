/* SPDX-License-Identifier: Apache-2.0
 *
 * The page at /: what people see of streams, pipelines and results, and of nodes. Static files from the binary; all
 * that they show they ask of the API. A browser may load nothing from elsewhere, and run no script
 * or style that is not one of these files.
 */
#include "api/page.h"
#include "api/internal.h"

#include <string.h>

#define PAGE_POLICY                                                                    \
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "    \
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

static const struct {
    const char *name, *type, *text;
} page_file[] = {
    {"index.html", "text/html; charset=utf-8", page_index},
    {"node.html", "text/html; charset=utf-8", page_node},
    {"style.css", "text/css; charset=utf-8", page_style},
#define MODULE(name)                                                                   \
    {                                                                                  \
#name ".js", "text/javascript; charset=utf-8", page_##name                     \
    }
    MODULE(main),
    MODULE(nodes),
    MODULE(theme),
    MODULE(watch),
    MODULE(net),
    MODULE(dom),
    MODULE(download),
    MODULE(format),
    MODULE(chart),
    MODULE(overview),
    MODULE(results),
    MODULE(console),
    MODULE(letters),
    MODULE(graph),
};

void page_send(struct http_request *r, const char *name)
{
    for (size_t i = 0; i < sizeof(page_file) / sizeof(page_file[0]); i++)
        if (strcmp(page_file[i].name, name) == 0) {
            http_set_header(r, "Content-Security-Policy", PAGE_POLICY);
            http_set_header(r, "X-Content-Type-Options", "nosniff");
            http_set_header(r, "Referrer-Policy", "no-referrer");
            http_set_header(r, "Cache-Control", "no-cache");
            http_reply(r, 200, page_file[i].type, page_file[i].text,
                       strlen(page_file[i].text));
            return;
        }
    http_problem(r, 404, "not_found", "there is nothing at this path");
}

void page_get(struct http_request *r, void *api)
{
    (void)api;
    const char *name = http_param(r, "file");
    if (api_no_arguments(r))
        page_send(r, name ? name : "index.html");
}
