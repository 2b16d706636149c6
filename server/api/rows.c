/* SPDX-License-Identifier: Apache-2.0
 *
 * What the routes share that answer with rows.
 */
#include "api/rows.h"
#include "api/internal.h"
#include "base/clock.h"
#include "base/logger.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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
               ? error_set(error, -EINVAL,
                           "format: '%s' is not json, ndjson, csv or arrow", text)
               : 0;
}

int rows_times(const char *text, enum rowout_times *ret, struct error *error)
{
    return rowout_parse_times(text, ret)
               ? error_set(error, -EINVAL, "times: '%s' is not rfc3339, us, ms or s",
                           text)
               : 0;
}

int rows_accept(struct http_request *r, enum rowout_format *ret, struct error *error)
{
    http_set_header(r, "Vary", "Accept");
    return rowout_accept(http_header_list(r, "Accept"), ret)
               ? error_set(error, -ENOENT,
                           "Accept: there are application/json, application/x-ndjson, "
                           "text/csv, application/vnd.apache.arrow.stream")
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

/* One piece; 1: more come. */
static int rows_next(struct rows *x, struct error *error)
{
    bool end = false;
    int err = x->piece(x->ctx, &x->out, &x->text, &end, error);
    if (!err && end)
        rowout_end(&x->out, &x->text, NULL);
    else if (!err)
        rowout_flush(&x->out, &x->text);
    if (!err)
        err = x->text.error;
    if (!err && !x->begun) {
        err = http_begin(x->request, 200, rowout_content_type(x->out.format));
        x->begun = !err;
    }
    if (!err)
        err = http_write(x->request, x->text.data, x->text.size);
    buffer_clear(&x->text);
    return err ? err : !end;
}

static bool rows_more(void *rows)
{
    struct rows *x = rows;
    struct error error = {""};
    int got = rows_next(x, &error);
    if (got < 0 && rows_failed(x->request, got, error.text))
        logger_warn("api", "rows of '%s' were cut: %s", x->name,
                    error.text[0] ? error.text : strerror(-got));
    return got == 1;
}

static void rows_close(void *rows)
{
    struct rows *x = rows;
    buffer_free(&x->text);
    rowout_free(&x->out);
    x->free(x->ctx);
}

void rows_send(struct rows *x)
{
    rowout_begin(&x->out, &x->text);
    if (rows_more(x))
        http_more(x->request, rows_more, rows_close, x);
    else
        rows_close(x);
}

bool rows_failed(struct http_request *r, int err, const char *text)
{
    if (err == -EPIPE)
        return false;
    if (!http_is_under_way(r)) {
        api_read_failed(r, err, text);
        return false;
    }
    http_abort(r);
    return err != -ECANCELED;
}
