/* SPDX-License-Identifier: Apache-2.0
 *
 * Content-Encoding: gzip of answers, for clients that want it. What handlers write is packed on their thread
 * (stream.c), what they reply at once where it is sent (reply.c).
 */
#include "base/accept.h"
#include "http/internal.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

/* A window of 8 KiB: 64 KiB a reply, and rows resemble those before them. The lowest level: 5 to 10 times as
 * small at 100 MB/s. */
#define GZIP_LEVEL  1
#define GZIP_WINDOW 13
#define GZIP_MEMORY 6
#define GZIP_OUT    (16u << 10)

struct gzip {
    z_stream z;
    unsigned char out[GZIP_OUT];
};

/* What is neither text nor rows is small; and events are to come one by one. */
static bool gzip_helps(const char *type)
{
    if (strncmp(type, "text/", 5) == 0)
        return strncmp(type, "text/event-stream", 17) != 0;
    return strncmp(type, "application/", 12) == 0 &&
           (strstr(type, "json") || strstr(type, "arrow"));
}

bool gzip_applies(struct http_request *r, const char *type)
{
    if (!gzip_helps(type))
        return false;
    http_set_header(r, "Vary", "Accept-Encoding");
    const char *list = http_header_list(r, "Accept-Encoding");
    int gzip = list ? accept_find(list, "gzip") : -1;
    if (list && gzip < 0)
        gzip = accept_find(list, "x-gzip");
    return gzip > 0 && gzip >= accept_find(list, "identity");
}

int gzip_new(struct gzip **ret)
{
    struct gzip *g = malloc(sizeof(*g));
    if (!g)
        return -ENOMEM;
    g->z = (z_stream){0};
    if (deflateInit2(&g->z, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW + 16, GZIP_MEMORY,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        free(g);
        return -ENOMEM;
    }
    *ret = g;
    return 0;
}

void gzip_free(struct gzip *g)
{
    if (!g)
        return;
    deflateEnd(&g->z);
    free(g);
}

int gzip_put(struct gzip *g, const void *data, size_t size, enum gzip_flush flush,
             gzip_taker *take, void *ctx)
{
    static const int mode[] = {
        [GZIP_ON] = Z_NO_FLUSH, [GZIP_FLUSH] = Z_SYNC_FLUSH, [GZIP_END] = Z_FINISH};
    assert(size <= UINT_MAX);
    g->z.next_in = (z_const Bytef *)(uintptr_t)data;
    g->z.avail_in = (uInt)size;
    do {
        g->z.next_out = g->out;
        g->z.avail_out = sizeof(g->out);
        deflate(&g->z, mode[flush]);
        int err = take(ctx, g->out, sizeof(g->out) - g->z.avail_out);
        if (err)
            return err;
    } while (g->z.avail_out == 0);
    return 0;
}

static int gzip_take(void *buffer, const void *data, size_t size)
{
    struct buffer *b = buffer;
    buffer_put(b, data, size);
    return b->error;
}

void gzip_whole(struct http_request *r)
{
    struct gzip *g = NULL;
    struct buffer packed = {0};
    if (r->reply.size < GZIP_LEAST || r->reply.size > GZIP_WHOLE_MAX || gzip_new(&g))
        return;
    int err = gzip_put(g, r->reply.data, r->reply.size, GZIP_END, gzip_take, &packed);
    gzip_free(g);
    if (err) {
        buffer_free(&packed); /* then as it is */
        return;
    }
    http_set_header(r, "Content-Encoding", "gzip");
    buffer_free(&r->reply);
    r->reply = packed;
}
