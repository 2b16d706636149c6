/* SPDX-License-Identifier: Apache-2.0
 *
 * Who sends a request here. A page of another site, open in the browser of somebody who runs weir, can send
 * requests, too. It can also have its own name lead to this address, and then be of the same origin
 * (DNS rebinding). The browser says what it was asked for (Host) and by whom (Origin, Sec-Fetch-Site), and
 * no page can change that.
 */
#include "http/internal.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

static bool is_name(const char *name, size_t size, const char *is)
{
    return strlen(is) == size && strncasecmp(name, is, size) == 0;
}

static bool is_loopback(const char *name, size_t size)
{
    static const char below[] = ".localhost"; /* RFC 6761, 6.3 */
    char text[INET6_ADDRSTRLEN];
    struct in_addr v4;
    struct in6_addr v6;
    if (is_name(name, size, "localhost") ||
        (size > sizeof(below) - 1 &&
         is_name(name + size - (sizeof(below) - 1), sizeof(below) - 1, below)))
        return true;
    if (size >= sizeof(text))
        return false;
    memcpy(text, name, size);
    text[size] = 0;
    if (inet_pton(AF_INET, text, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* An address, and we listen at all of them: which of the machine's it is, or a router's before it, is not known here. No page can
 * have an address for its own name, so it cannot come by one from elsewhere. */
static bool is_any_of_all(const struct http_options *o, const char *name, size_t size)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if ((strcmp(o->address, "0.0.0.0") != 0 && strcmp(o->address, "::") != 0) ||
        size >= sizeof(text))
        return false;
    memcpy(text, name, size);
    text[size] = 0;
    return inet_pton(AF_INET, text, &address) == 1 ||
           inet_pton(AF_INET6, text, &address) == 1;
}

static bool host_is_ours(const struct http_options *o, const char *host)
{
    const char *name;
    size_t size = head_host_name(host, &name);
    if (!o->hosts || o->socket || is_loopback(name, size) ||
        is_name(name, size, o->address) || is_any_of_all(o, name, size))
        return true;
    for (const char *const *h = o->hosts; *h; h++)
        if (strcmp(*h, "*") == 0 || is_name(name, size, *h))
            return true;
    return false;
}

/* A link that somebody follows to a page here is fine: the other site does not see what comes. */
static bool is_visit(const struct http_request *r)
{
    const char *mode = http_header(r, "Sec-Fetch-Mode"),
               *destination = http_header(r, "Sec-Fetch-Dest");
    return strcmp(r->path, "/") == 0 && mode && strcmp(mode, "navigate") == 0 &&
           destination && strcmp(destination, "document") == 0;
}

static bool is_listed(const struct http_options *o, const char *origin)
{
    for (const char *const *at = o->origins; at && *at; at++)
        if (strcmp(*at, "*") == 0 || strcasecmp(*at, origin) == 0)
            return true;
    return false;
}

static bool is_from_elsewhere(struct http_request *r)
{
    const char *origin = http_header(r, "Origin");
    const char *authority = origin ? strstr(origin, "://") : NULL;
    if (origin && authority && r->head.host &&
        strcasecmp(authority + 3, r->head.host) == 0)
        return false;
    if (origin && is_listed(&r->server->options, origin))
        r->cross = origin;
    if (origin)
        return !r->cross;
    const char *site = http_header(r, "Sec-Fetch-Site");
    return site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0 &&
           !is_visit(r);
}

static bool host_is_known(struct http_request *r)
{
    if (!r->head.host || host_is_ours(&r->server->options, r->head.host))
        return true;
    http_problem(
        r, 421, "unknown_host",
        "this server is not called '%.100s'; names that it is to answer to stand "
        "in the configuration: server: hosts:",
        r->head.host);
    return false;
}

bool origin_preflight(struct http_request *r)
{
    const char *origin = http_header(r, "Origin");
    if (strcmp(r->method, "OPTIONS") != 0 || !origin ||
        !http_header(r, "Access-Control-Request-Method") ||
        !is_listed(&r->server->options, origin))
        return false;
    if (!host_is_known(r))
        return true;
    r->cross = origin;
    http_set_header(r, "Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE");
    http_set_header(r, "Access-Control-Allow-Headers",
                    "Accept, Authorization, Content-Encoding, Content-Type, "
                    "Idempotency-Key, Last-Event-ID, Weir-Source, Weir-Stream");
    http_set_header(r, "Access-Control-Max-Age", "600");
    http_reply(r, 204, NULL, NULL, 0);
    return true;
}

/* Who asks from elsewhere next is not to get what a cache has of this answer, whoever has asked for it. No
 * credentials: a token is in a field that the page itself sets. */
void origin_answer(struct http_request *r)
{
    http_set_header(r, "Vary", "Origin");
    if (!r->cross)
        return;
    http_set_header(r, "Access-Control-Allow-Origin", r->cross);
    http_set_header(r, "Access-Control-Expose-Headers",
                    "Idempotency-Replayed, Link, Retry-After, Weir-Accepted, "
                    "Weir-Next-Cursor, Weir-Positions, Weir-Truncated, "
                    "Weir-Unknown-Lines");
}

bool origin_is_ours(struct http_request *r)
{
    if (!host_is_known(r))
        return false;
    if (!is_from_elsewhere(r))
        return true;
    http_problem(r, 403, "foreign_origin",
                 "pages of another origin may not send requests here");
    return false;
}
