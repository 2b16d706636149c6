/* SPDX-License-Identifier: Apache-2.0
 *
 * Remote write 1 of Prometheus, unpacked: a row of each sample, with the labels and `value` by name. Of the message
 * (prometheus/prompb/remote.proto, types.proto):
 *
 *      WriteRequest: timeseries 1    TimeSeries: labels 1, samples 2
 *      Label: name 1, value 2        Sample: value 1 (double), timestamp 2 (int64, ms)
 */
#include "decode/named.h"
#include "decode/protobuf.h"

#include <errno.h>

#define REMOTE_LABELS 256 /* of one series; Prometheus has 30 by default */

/* What ends a series is no sample. */
#define REMOTE_STALE UINT64_C(0x7ff0000000000002)

struct series {
    size_t n;
    struct named_text name; /* __name__ */
    struct {
        struct named_text name, value;
    } label[REMOTE_LABELS];
};

static struct named_text text_of(const struct protobuf_field *f)
{
    return (struct named_text){f->bytes, (size_t)f->value};
}

static bool read_label(struct protobuf m, struct series *s)
{
    struct named_text name = {"", 0}, value = {"", 0};
    for (struct protobuf_field f; protobuf_next(&m, &f);) {
        if (f.number == 1 && f.type == PROTOBUF_BYTES)
            name = text_of(&f);
        if (f.number == 2 && f.type == PROTOBUF_BYTES)
            value = text_of(&f);
    }
    if (m.bad || s->n == REMOTE_LABELS)
        return false;
    s->label[s->n].name = name;
    s->label[s->n++].value = value;
    if (name.size == 8 && memcmp(name.bytes, "__name__", 8) == 0)
        s->name = value;
    return true;
}

static bool read_sample(struct protobuf m, uint64_t *ret_value, int64_t *ret_ms)
{
    *ret_value = 0;
    *ret_ms = 0;
    for (struct protobuf_field f; protobuf_next(&m, &f);) {
        if (f.number == 1 && f.type == PROTOBUF_64)
            *ret_value = f.value;
        if (f.number == 2 && f.type == PROTOBUF_VARINT)
            *ret_ms = (int64_t)f.value;
    }
    return !m.bad;
}

static int put_sample(struct decoder *router, struct decoder *lane,
                      const struct series *s, uint64_t value, int64_t ms)
{
    struct lines *l;
    int status;
    do {
        if ((status = named_begin(router, lane, &l)))
            return status;
        bool ok = true;
        for (size_t i = 0; ok && i < s->n; i++)
            ok = named_put_text(l, s->label[i].name, s->label[i].value);
        if (ok)
            named_put_double(l, NAMED("value"), protobuf_double(value));
        status = named_end(router, lane, ms, DECODE_MS);
    } while (status == RECORD_FULL);
    return status;
}

/* -EBADMSG: it is none. */
static int read_series(struct decoder *router, struct protobuf m)
{
    struct series s;
    struct protobuf inner;
    struct protobuf labels = m;
    uint64_t samples = 0;
    int err = 0;
    s.n = 0;
    s.name = (struct named_text){"", 0};
    for (struct protobuf_field f; protobuf_next(&labels, &f);) {
        if (f.number == 1 && protobuf_enter(&f, &inner) && !read_label(inner, &s))
            return -EBADMSG;
        samples += f.number == 2;
    }
    if (labels.bad)
        return -EBADMSG;
    struct decoder *lane = samples ? named_find(router, s.name, samples, &err) : NULL;
    for (struct protobuf_field f; lane && !err && protobuf_next(&m, &f);) {
        uint64_t value;
        int64_t ms;
        if (f.number != 2 || !protobuf_enter(&f, &inner))
            continue;
        if (!read_sample(inner, &value, &ms))
            return -EBADMSG;
        if (value != REMOTE_STALE)
            err = put_sample(router, lane, &s, value, ms);
    }
    return err;
}

int decoder_remote(struct decoder *router, const char *body, size_t size)
{
    struct protobuf m = protobuf_of(body, size), inner;
    int err = 0;
    for (struct protobuf_field f; !err && protobuf_next(&m, &f);)
        if (f.number == 1 && protobuf_enter(&f, &inner))
            err = read_series(router, inner);
    return err ? err : m.bad ? -EBADMSG : 0;
}
