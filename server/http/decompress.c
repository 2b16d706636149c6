/* SPDX-License-Identifier: Apache-2.0
 *
 * Undoes Content-Encoding: gzip, and zstd where there is libzstd, piece by piece: whatever the ratio, at most
 * HTTP_DECOMPRESS_ROOM bytes are out at a time. Several members, or frames, behind each other are one body, as with gunzip(1)
 * and unzstd(1).
 */
#include "config.h"

#include "http/internal.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

#ifdef HAVE_ZSTD
#include <zstd.h>
#endif

#define DECOMPRESS_TURN                                                                \
    (256u                                                                              \
     << 10) /* bytes out in one turn of the connection: a bomb does not keep others */
#define DECOMPRESS_WINDOW_LOG 23 /* zstd: 8 MiB, as RFC 9659 says of this encoding */

struct decompress {
    const char *name; /* of the encoding */
    /* Lets `out` be filled from data + fed on. NULL, or what is wrong. */
    const char *(*more)(struct decompress *u, const char *data, size_t size);
    z_stream gzip;
#ifdef HAVE_ZSTD
    ZSTD_DStream *zstd;
#endif
    size_t fed;     /* bytes of the piece at hand that the library has */
    size_t pending; /* bytes of `out` that were not taken yet */
    bool open;      /* in the middle of a member */
    bool any;       /* at least one member was complete */
    unsigned char out[HTTP_DECOMPRESS_ROOM];
};

static const char *decompress_gzip(struct decompress *u, const char *data, size_t size)
{
    z_stream *z = &u->gzip;
    z->next_in = (z_const Bytef *)(uintptr_t)(data + u->fed);
    z->avail_in = (uInt)(size - u->fed);
    z->next_out = u->out;
    z->avail_out = sizeof(u->out);
    int rc = inflate(z, Z_SYNC_FLUSH);
    u->fed = size - z->avail_in;
    u->pending = sizeof(u->out) - z->avail_out;
    u->open = rc != Z_STREAM_END;
    u->any |= rc == Z_STREAM_END;
    if (rc == Z_STREAM_END)
        rc = inflateReset(z);
    return rc == Z_OK || rc == Z_BUF_ERROR ? NULL : z->msg ? z->msg : "damaged";
}

#ifdef HAVE_ZSTD

static const char *decompress_zstd(struct decompress *u, const char *data, size_t size)
{
    ZSTD_inBuffer in = {data, size, u->fed};
    ZSTD_outBuffer out = {u->out, sizeof(u->out), 0};
    size_t rc = ZSTD_decompressStream(u->zstd, &out, &in);
    u->fed = in.pos;
    u->pending = out.pos;
    if (ZSTD_isError(rc))
        return ZSTD_getErrorName(rc);
    u->open = rc != 0;
    u->any |= rc == 0;
    return NULL;
}

static int decompress_begin_zstd(struct decompress *u)
{
    u->name = "zstd";
    u->more = decompress_zstd;
    u->zstd = ZSTD_createDStream();
    bool ok = u->zstd && !ZSTD_isError(ZSTD_initDStream(u->zstd)) &&
              !ZSTD_isError(ZSTD_DCtx_setParameter(u->zstd, ZSTD_d_windowLogMax,
                                                   DECOMPRESS_WINDOW_LOG));
    return ok ? 0 : -ENOMEM;
}

#endif

int decompress_new(const char *encoding, struct decompress **ret)
{
    bool gzip =
        strcasecmp(encoding, "gzip") == 0 || strcasecmp(encoding, "x-gzip") == 0;
    bool zstd =
        strcasecmp(encoding, "zstd") == 0 && strstr(DECOMPRESS_ENCODINGS, "zstd");
    if (!gzip && !zstd)
        return -ENOTSUP;
    struct decompress *u = malloc(sizeof(*u));
    if (!u)
        return -ENOMEM;
    memset(u, 0, offsetof(struct decompress, out));
    int err = 0;
    if (gzip) {
        u->name = "gzip";
        u->more = decompress_gzip;
        err = inflateInit2(&u->gzip, 15 + 16) == Z_OK ? 0 : -ENOMEM;
    }
#ifdef HAVE_ZSTD
    if (zstd)
        err = decompress_begin_zstd(u);
#endif
    if (err) {
        decompress_free(u);
        return err;
    }
    *ret = u;
    return 0;
}

void decompress_free(struct decompress *u)
{
    if (!u)
        return;
    inflateEnd(&u->gzip); /* which takes one that was not begun */
#ifdef HAVE_ZSTD
    ZSTD_freeDStream(u->zstd);
#endif
    free(u);
}

const char *decompress_encoding(const struct decompress *u)
{
    return u->name;
}

bool decompress_complete(const struct decompress *u)
{
    return u->any && !u->open;
}

int decompress_take(struct decompress *u, struct http_request *r, const char *data,
                    size_t size)
{
    bool full = false;
    for (size_t turn = 0;; turn += u->pending) {
        if (turn >= DECOMPRESS_TURN)
            return DECOMPRESS_AGAIN;
        if (u->pending) {
            int rc = request_put(r, (const char *)u->out, u->pending);
            if (rc)
                return rc;
            full = u->pending == sizeof(u->out);
            u->pending = 0;
        }
        /* Output may be held back although all input was taken: only a call that fills nothing and takes nothing says
         * that it is through. */
        size_t fed = u->fed;
        if (fed == size && (!u->open || !full))
            break;
        full = false;
        const char *wrong = u->more(u, data, size);
        if (wrong) {
            http_problem(r, 400, "malformed", "the body is not valid %s: %s", u->name,
                         wrong);
            return 1;
        }
        if (u->pending == 0 && u->fed == fed)
            break;
    }
    u->fed = 0;
    return 0;
}
