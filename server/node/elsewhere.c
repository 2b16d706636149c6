/* SPDX-License-Identifier: Apache-2.0
 *
 * GET /api/v1/pipelines/NAME/results of a node: of all shards. A server of its own knows the tables, and PostgreSQL has the rows of
 * all: the client is sent on to it, with shards=all.
 */
#include "node/internal.h"
#include "node/pages.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* As it is put into a URL. */
static void put_escaped(struct buffer *to, const char *text)
{
    for (; *text; text++)
        if (isalnum((unsigned char)*text) || strchr("-._~", *text))
            buffer_putc(to, *text);
        else
            buffer_printf(to, "%%%02X", (unsigned char)*text);
}

static bool put_argument(void *ctx, const char *name, const char *value)
{
    struct buffer *to = ctx;
    if (strcmp(name, "shards") == 0)
        return true;
    buffer_putc(to, '&');
    put_escaped(to, name);
    buffer_putc(to, '=');
    put_escaped(to, value);
    return true;
}

/* Where a server listens that is ready: "http://127.0.0.1:9001". False: none is. */
static bool find_server(struct weir_node *n, char ret[128])
{
    bool found = false;
    pthread_mutex_lock(&n->lock);
    for (unsigned i = 0; !found && i < n->config->shards; i++) {
        found = n->shard[i].hold == NODE_HELD && n->shard[i].ready;
        if (found)
            memcpy(ret, n->shard[i].news.address, sizeof(n->shard[i].news.address));
    }
    pthread_mutex_unlock(&n->lock);
    return found;
}

/* The machine by the name that the client has for it, and the server's port. */
static void put_place(struct buffer *to, const char *address, const char *host)
{
    const char *port = strrchr(address, ':');
    const size_t scheme = strncmp(address, "https", 5) == 0 ? 8 : 7;
    if (!host || !port) {
        buffer_puts(to, address);
        return;
    }
    buffer_put(to, address, scheme);
    const char *end = *host == '[' ? strchr(host, ']') : NULL;
    buffer_put(to, host, end ? (size_t)(end + 1 - host) : strcspn(host, ":"));
    buffer_puts(to, port);
}

void elsewhere_get(struct http_request *r, void *node)
{
    char address[128];
    struct buffer to = {0};
    if (!find_server(node, address)) {
        http_problem(r, 503, "not_ready",
                     "no server of this node is ready; another node may have one: "
                     "/api/v1/nodes");
        return;
    }
    put_place(&to, address, http_header(r, "Host"));
    buffer_puts(&to, "/api/v1/pipelines/");
    put_escaped(&to, http_param(r, "pipeline"));
    buffer_puts(&to, "/results");
    if (http_param(r, "table")) {
        buffer_putc(&to, '/');
        put_escaped(&to, http_param(r, "table"));
    }
    buffer_puts(&to, "?shards=all");
    http_each_query(r, put_argument, &to);
    const char *location = buffer_text(&to);
    if (to.error) {
        http_problem(r, 500, "no_memory", "out of memory");
    } else {
        http_set_header(r, "Location", location);
        http_reply(r, 307, "text/plain", "", 0);
    }
    buffer_free(&to);
}
