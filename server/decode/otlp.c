/* SPDX-License-Identifier: Apache-2.0
 *
 * Metrics and logs of OpenTelemetry (OTLP, opentelemetry/proto/{metrics,logs,common}/v1): a row of each data point and
 * each log record. Attributes of the resource are columns by name, then those of the point or record, then:
 *
 *      points    name, unit, value; of histograms and summaries count, sum, min, max
 *      records   body, severity_text, severity_number, trace_id, span_id, event_name
 *
 * Lists, maps and bytes among the attributes are passed over. Numbers are those of the fields in the messages.
 */
#include "decode/named.h"
#include "decode/protobuf.h"

#include <errno.h>

/* Of the kinds of metrics: which field of Metric, and where in their points what we take is. */
static const struct kind {
    uint32_t metric, attributes, min, max;
    bool number; /* one value, not a count and a sum */
} kinds[] = {
    {5, 7, 0, 0, true},     /* gauge */
    {7, 7, 0, 0, true},     /* sum */
    {9, 9, 11, 12, false},  /* histogram */
    {10, 1, 12, 13, false}, /* exponential histogram */
    {11, 7, 0, 0, false},   /* summary */
};

static struct named_text text_of(const struct protobuf_field *f)
{
    return (struct named_text){f->bytes, (size_t)f->value};
}

/* AnyValue */
static bool put_value(struct lines *l, struct named_text name, struct protobuf m)
{
    bool ok = true;
    for (struct protobuf_field f; ok && protobuf_next(&m, &f);) {
        if (f.number == 1 && f.type == PROTOBUF_BYTES)
            ok = named_put_text(l, name, text_of(&f));
        else if (f.number == 2 && f.type == PROTOBUF_VARINT)
            ok = named_put_bool(l, name, f.value != 0);
        else if (f.number == 3 && f.type == PROTOBUF_VARINT)
            ok = named_put_int(l, name, (int64_t)f.value);
        else if (f.number == 4 && f.type == PROTOBUF_64)
            ok = named_put_double(l, name, protobuf_double(f.value));
    }
    return ok;
}

/* All KeyValues that are field `number` of the message. */
static bool put_attributes(struct lines *l, struct protobuf m, uint32_t number)
{
    struct protobuf pair, value;
    bool ok = true;
    for (struct protobuf_field f; ok && protobuf_next(&m, &f);) {
        struct named_text name = {"", 0};
        bool valued = false;
        if (f.number != number || !protobuf_enter(&f, &pair))
            continue;
        for (struct protobuf_field p; protobuf_next(&pair, &p);) {
            if (p.number == 1 && p.type == PROTOBUF_BYTES)
                name = text_of(&p);
            if (p.number == 2)
                valued = protobuf_enter(&p, &value);
        }
        ok = !valued || put_value(l, name, value);
    }
    return ok;
}

static bool put_hex(struct lines *l, struct named_text name,
                    const struct protobuf_field *f)
{
    static const char digit[] = "0123456789abcdef";
    char text[64];
    size_t size = f->value < sizeof text / 2 ? (size_t)f->value : sizeof text / 2;
    for (size_t i = 0; i < size; i++) {
        text[2 * i] = digit[(unsigned char)f->bytes[i] >> 4];
        text[2 * i + 1] = digit[(unsigned char)f->bytes[i] & 15];
    }
    return named_put_ascii(l, name, (struct named_text){text, 2 * size});
}

/* ---- Metrics ---- */

struct metric {
    struct protobuf resource;
    struct named_text name, unit;
    const struct kind *kind;
};

static bool put_number(struct lines *l, const struct protobuf_field *f)
{
    if (f->type != PROTOBUF_64)
        return true;
    if (f->number == 4)
        return named_put_double(l, NAMED("value"), protobuf_double(f->value));
    return f->number != 6 || named_put_int(l, NAMED("value"), (int64_t)f->value);
}

static bool put_summary(struct lines *l, const struct kind *k,
                        const struct protobuf_field *f)
{
    if (f->type != PROTOBUF_64)
        return true;
    if (f->number == 4)
        return named_put_int(l, NAMED("count"), (int64_t)f->value);
    double v = protobuf_double(f->value);
    if (f->number == 5)
        return named_put_double(l, NAMED("sum"), v);
    if (k->min && f->number == k->min)
        return named_put_double(l, NAMED("min"), v);
    return !k->max || f->number != k->max || named_put_double(l, NAMED("max"), v);
}

static int put_point(struct decoder *router, struct decoder *lane,
                     const struct metric *m, struct protobuf point)
{
    struct lines *l;
    int status;
    do {
        struct protobuf rest = point;
        int64_t time = 0;
        if ((status = named_begin(router, lane, &l)))
            return status;
        bool ok = put_attributes(l, m->resource, 1) &&
                  put_attributes(l, point, m->kind->attributes) &&
                  named_put_text(l, NAMED("name"), m->name) &&
                  named_put_text(l, NAMED("unit"), m->unit);
        for (struct protobuf_field f; ok && protobuf_next(&rest, &f);) {
            if (f.number == 3 && f.type == PROTOBUF_64)
                time = (int64_t)f.value;
            else
                ok = m->kind->number ? put_number(l, &f) : put_summary(l, m->kind, &f);
        }
        if (rest.bad)
            return -EBADMSG;
        status = named_end(router, lane, time, DECODE_NS);
    } while (status == RECORD_FULL);
    return status;
}

/* Gauge, Sum, ...: the points are field 1 of all of them. */
static int read_points(struct decoder *router, const struct metric *m,
                       struct protobuf points)
{
    struct protobuf counted = points, point;
    uint64_t n = 0;
    int err = 0;
    for (struct protobuf_field f; protobuf_next(&counted, &f);)
        n += f.number == 1;
    struct decoder *lane = n ? named_find(router, m->name, n, &err) : NULL;
    for (struct protobuf_field f; lane && !err && protobuf_next(&points, &f);)
        if (f.number == 1 && protobuf_enter(&f, &point))
            err = put_point(router, lane, m, point);
    return err ? err : counted.bad ? -EBADMSG : 0;
}

static int read_metric(struct decoder *router, struct protobuf resource,
                       struct protobuf metric)
{
    struct metric m = {.resource = resource, .name = {"", 0}, .unit = {"", 0}};
    struct protobuf head = metric, points;
    int err = 0;
    for (struct protobuf_field f; protobuf_next(&head, &f);) {
        if (f.number == 1 && f.type == PROTOBUF_BYTES)
            m.name = text_of(&f);
        if (f.number == 3 && f.type == PROTOBUF_BYTES)
            m.unit = text_of(&f);
    }
    for (struct protobuf_field f; !err && protobuf_next(&metric, &f);) {
        for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
            m.kind = &kinds[i];
            if (f.number == kinds[i].metric && protobuf_enter(&f, &points))
                err = read_points(router, &m, points);
        }
    }
    return err ? err : head.bad ? -EBADMSG : 0;
}

/* ---- Logs ---- */

static bool put_of_log(struct lines *l, const struct protobuf_field *f)
{
    struct protobuf body;
    if (f->number == 2 && f->type == PROTOBUF_VARINT)
        return named_put_int(l, NAMED("severity_number"), (int64_t)f->value);
    if (f->number == 5 && protobuf_enter(f, &body))
        return put_value(l, NAMED("body"), body);
    if (f->type != PROTOBUF_BYTES || f->value == 0)
        return true;
    if (f->number == 3)
        return named_put_text(l, NAMED("severity_text"), text_of(f));
    if (f->number == 9)
        return put_hex(l, NAMED("trace_id"), f);
    if (f->number == 10)
        return put_hex(l, NAMED("span_id"), f);
    return f->number != 12 || named_put_text(l, NAMED("event_name"), text_of(f));
}

static int read_record(struct decoder *router, struct protobuf resource,
                       struct protobuf record)
{
    struct lines *l;
    int status = 0;
    struct decoder *lane = named_find(router, NAMED("logs"), 1, &status);
    if (!lane)
        return status;
    do {
        struct protobuf rest = record;
        int64_t time = 0, observed = 0;
        if ((status = named_begin(router, lane, &l)))
            return status;
        bool ok = put_attributes(l, resource, 1) && put_attributes(l, record, 6);
        for (struct protobuf_field f; protobuf_next(&rest, &f);) {
            if (f.number == 1 && f.type == PROTOBUF_64)
                time = (int64_t)f.value;
            else if (f.number == 11 && f.type == PROTOBUF_64)
                observed = (int64_t)f.value;
            else
                ok = ok && put_of_log(l, &f);
        }
        if (rest.bad)
            return -EBADMSG;
        status = named_end(router, lane, time ? time : observed, DECODE_NS);
    } while (status == RECORD_FULL);
    return status;
}

/* ---- Requests ---- */

typedef int read_fn(struct decoder *router, struct protobuf resource,
                    struct protobuf item);

/* ResourceMetrics, ResourceLogs: resource 1, scopes 2, of which each has its items as 2. */
static int read_resource(struct decoder *router, struct protobuf m, read_fn *read)
{
    struct protobuf resource = protobuf_of("", 0), scopes = m, scope, item;
    int err = 0;
    for (struct protobuf_field f; protobuf_next(&m, &f);)
        if (f.number == 1)
            protobuf_enter(&f, &resource);
    for (struct protobuf_field f; !err && protobuf_next(&scopes, &f);) {
        if (f.number != 2 || !protobuf_enter(&f, &scope))
            continue;
        for (struct protobuf_field s; !err && protobuf_next(&scope, &s);)
            if (s.number == 2 && protobuf_enter(&s, &item))
                err = read(router, resource, item);
        if (!err && scope.bad)
            err = -EBADMSG;
    }
    return err ? err : m.bad ? -EBADMSG : 0;
}

static int read_request(struct decoder *router, const char *body, size_t size,
                        read_fn *read)
{
    struct protobuf m = protobuf_of(body, size), resource;
    int err = 0;
    for (struct protobuf_field f; !err && protobuf_next(&m, &f);)
        if (f.number == 1 && protobuf_enter(&f, &resource))
            err = read_resource(router, resource, read);
    return err ? err : m.bad ? -EBADMSG : 0;
}

int decoder_otlp_metrics(struct decoder *router, const char *body, size_t size)
{
    return read_request(router, body, size, read_metric);
}

int decoder_otlp_logs(struct decoder *router, const char *body, size_t size)
{
    return read_request(router, body, size, read_record);
}
