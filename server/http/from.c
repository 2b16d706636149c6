/* SPDX-License-Identifier: Apache-2.0
 *
 * From where a request comes, for the log only: nothing is allowed or forbidden by it. A proxy that is trusted says for whom it
 * asks (X-Forwarded-For, X-Forwarded-Proto); what others say is not believed.
 */
#include "http/internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

/* As it was accepted: a connection that was reset has no peer any more. False: not over IP. */
static bool from_peer(const struct http_request *r, uint8_t ret[16])
{
    char text[INET6_ADDRSTRLEN];
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)&r->peer;
    if (r->peer.sin6_family == AF_INET6)
        memcpy(ret, &r->peer.sin6_addr, 16);
    else if (v4->sin_family != AF_INET ||
             !inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text)) ||
             !cidr_address(text, strlen(text), ret))
        return false;
    return true;
}

static void from_put(const uint8_t address[16], char *to)
{
    static const uint8_t v4[12] = {[10] = 0xff, [11] = 0xff};
    bool is_v4 = memcmp(address, v4, sizeof(v4)) == 0;
    if (!inet_ntop(is_v4 ? AF_INET : AF_INET6, address + (is_v4 ? 12 : 0), to,
                   INET6_ADDRSTRLEN))
        strcpy(to, "?");
}

static bool from_is_trusted(const struct http_options *o, const uint8_t address[16])
{
    bool trusted = false;
    for (size_t i = 0; !trusted && i < o->n_proxies; i++)
        trusted = cidr_has(&o->proxies[i], address);
    return trusted;
}

/* Of the addresses in the field the last one that no trusted proxy has: those before it anybody can have written. */
static void from_behind(const struct http_options *o, const char *field,
                        uint8_t address[16])
{
    size_t end = strlen(field);
    uint8_t at[16];
    while (end > 0 && from_is_trusted(o, address)) {
        size_t begin = end;
        while (begin > 0 && field[begin - 1] != ',')
            begin--;
        size_t from = begin + strspn(field + begin, " \t"), to = end;
        while (to > from && (field[to - 1] == ' ' || field[to - 1] == '\t'))
            to--;
        if (to <= from || !cidr_address(field + from, to - from, at))
            return;
        memcpy(address, at, sizeof(at));
        end = begin ? begin - 1 : 0;
    }
}

void from_text(struct http_request *r, char to[HTTP_FROM_MAX])
{
    const struct http_options *o = &r->server->options;
    uint8_t address[16];
    if (!from_peer(r, address)) {
        strcpy(to, "local");
        return;
    }
    bool trusted = from_is_trusted(o, address);
    const char *field = trusted ? http_header_list(r, "X-Forwarded-For") : NULL,
               *proto = trusted ? http_header(r, "X-Forwarded-Proto") : NULL;
    if (field)
        from_behind(o, field, address);
    from_put(address, to);
    if (proto && (strcasecmp(proto, "https") == 0 || strcasecmp(proto, "http") == 0))
        strcat(strcat(to, " proto="), proto);
}
