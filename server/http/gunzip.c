/* SPDX-License-Identifier: Apache-2.0
 *
 * Undoes Content-Encoding: gzip, piece by piece: whatever the ratio, at most
 * HTTP_GUNZIP_ROOM bytes are out at a time. Several gzip members behind each other are
 * one body, as with gunzip(1).
 */
#include "http/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

#define GUNZIP_TURN                                                                    \
    (256u                                                                              \
     << 10) /* bytes out in one turn of the connection: a bomb does not keep others */

struct gunzip {
    z_stream z;
    size_t fed;     /* bytes of the piece at hand that zlib has */
    size_t pending; /* bytes of `out` that were not taken yet */
    bool open;      /* in the middle of a member */
    bool any;       /* at least one member was complete */
    unsigned char out[HTTP_GUNZIP_ROOM];
};

int gunzip_new(struct gunzip **ret)
{
    struct gunzip *g = malloc(sizeof(*g));
    if (!g)
        return -ENOMEM;
    g->z = (z_stream){0};
    g->fed = g->pending = 0;
    g->open = g->any = false;
    if (inflateInit2(&g->z, 15 + 16) != Z_OK) {
        free(g);
        return -ENOMEM;
    }
    *ret = g;
    return 0;
}

void gunzip_free(struct gunzip *g)
{
    if (!g)
        return;
    inflateEnd(&g->z);
    free(g);
}

bool gunzip_complete(const struct gunzip *g)
{
    return g->any && !g->open;
}

/* Lets zlib fill `out`. False: not gzip. */
static bool gunzip_more(struct gunzip *g, const char *data, size_t size)
{
    g->z.next_in = (z_const Bytef *)(uintptr_t)(data + g->fed);
    g->z.avail_in = (uInt)(size - g->fed);
    g->z.next_out = g->out;
    g->z.avail_out = sizeof(g->out);
    int rc = inflate(&g->z, Z_SYNC_FLUSH);
    g->fed = size - g->z.avail_in;
    g->pending = sizeof(g->out) - g->z.avail_out;
    g->open = rc != Z_STREAM_END;
    if (rc == Z_STREAM_END) {
        g->any = true;
        return inflateReset(&g->z) == Z_OK;
    }
    return rc == Z_OK || rc == Z_BUF_ERROR;
}

int gunzip_take(struct gunzip *g, struct http_request *r, const char *data, size_t size)
{
    for (size_t turn = 0;; turn += g->pending) {
        if (turn >= GUNZIP_TURN)
            return GUNZIP_AGAIN;
        if (g->pending) {
            int rc = request_put(r, (const char *)g->out, g->pending);
            if (rc)
                return rc;
            g->pending = 0;
        }
        /* zlib may hold output back although it has all input: only a call that fills
         * nothing and takes nothing says that it is through. */
        size_t fed = g->fed;
        if (fed == size && (!g->open || g->z.avail_out > 0))
            break;
        if (!gunzip_more(g, data, size)) {
            http_problem(r, 400, "malformed", "the body is not valid gzip: %s",
                         g->z.msg ? g->z.msg : "damaged");
            return 1;
        }
        if (g->pending == 0 && g->fed == fed)
            break;
    }
    g->fed = 0;
    return 0;
}
