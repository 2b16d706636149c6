/* SPDX-License-Identifier: Apache-2.0
 *
 * What the routes share that answer with rows.
 */
#include "api/rows.h"
#include "api/internal.h"
#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

int rows_number(const char *name, const char *text, int64_t max, int64_t *ret,
                struct error *error)
{
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (errno || end == text || *end || n < 1 || n > max)
        return error_set(error, -EINVAL, "%s: '%s' is not 1 to %" PRId64, name, text,
                         max);
    *ret = n;
    return 0;
}

int rows_format(const char *text, enum rowout_format *ret, struct error *error)
{
    return rowout_parse(text, ret) || *ret == ROWOUT_TABLE
               ? error_set(error, -EINVAL, "format: '%s' is not json, ndjson or csv",
                           text)
               : 0;
}

int rows_accept(struct http_request *r, enum rowout_format *ret, struct error *error)
{
    return rowout_accept(http_header(r, "Accept"), ret)
               ? error_set(error, -ENOENT,
                           "Accept: there are application/json, application/x-ndjson, "
                           "text/csv")
               : 0;
}

static bool rows_gone(void *request)
{
    return http_gone(request);
}

void rows_limit(struct reader *reader, struct http_request *r, int64_t timeout_us)
{
    reader_limit(reader, clock_monotonic_us() + timeout_us, rows_gone, r);
}

int rows_send(struct http_request *r, struct rowout *o, struct buffer *out,
              rows_piece *piece, void *ctx, bool *ret_begun, struct error *error)
{
    rowout_begin(o, out);
    for (bool end = false; !end;) {
        int err = piece(ctx, o, &end, error);
        if (end)
            rowout_end(o, out, NULL);
        if (!err && !*ret_begun) {
            err = http_begin(r, 200, rowout_content_type(o->format));
            *ret_begun = !err;
        }
        if (!err)
            err = http_write(r, out->data, out->size);
        if (err)
            return err;
        buffer_clear(out);
    }
    return 0;
}

bool rows_failed(struct http_request *r, bool begun, int err, const char *text)
{
    if (err == -EPIPE)
        return false;
    if (!begun) {
        api_read_failed(r, err, text);
        return false;
    }
    http_abort(r);
    return err != -ECANCELED;
}
