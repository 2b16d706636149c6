/* SPDX-License-Identifier: Apache-2.0
 *
 * OpenTelemetry's requests as JSON (OTLP/HTTP, "JSON Protobuf Encoding"): the same messages in other clothes, so they
 * are made what they are as protobuf, and read as that. In JSON what a point needs may stand behind it; in
 * protobuf that does not matter.
 *
 *      {"key": "host", "value": {"stringValue": "a"}}  -->  [1: "host"] [2: [1: "a"]]
 *
 * Members that otlp.c does not read are passed over.
 */
#include "base/buffer.h"
#include "decode/members.h"
#include "decode/protobuf.h"

#include <errno.h>
#include <math.h>

enum otlp_type {
    OTLP_MESSAGE, /* or a list of them */
    OTLP_TEXT,
    OTLP_HEX,
    OTLP_BOOL,
    OTLP_INT,   /* a number, or one in a string: a varint */
    OTLP_FIXED, /* the same in eight bytes */
    OTLP_DOUBLE,
};

struct otlp_member {
    const char *name; /* NULL: the end */
    uint32_t number;
    enum otlp_type type;
    const struct otlp_member *message;
};

static const struct otlp_member any_value[] = {
    {"stringValue", 1, OTLP_TEXT, NULL},
    {"boolValue", 2, OTLP_BOOL, NULL},
    {"intValue", 3, OTLP_INT, NULL},
    {"doubleValue", 4, OTLP_DOUBLE, NULL},
    {0},
};
static const struct otlp_member key_value[] = {
    {"key", 1, OTLP_TEXT, NULL},
    {"value", 2, OTLP_MESSAGE, any_value},
    {0},
};
static const struct otlp_member resource[] = {
    {"attributes", 1, OTLP_MESSAGE, key_value},
    {0},
};
static const struct otlp_member number_point[] = {
    {"attributes", 7, OTLP_MESSAGE, key_value},
    {"timeUnixNano", 3, OTLP_FIXED, NULL},
    {"asDouble", 4, OTLP_DOUBLE, NULL},
    {"asInt", 6, OTLP_FIXED, NULL},
    {0},
};
static const struct otlp_member histogram_point[] = {
    {"attributes", 9, OTLP_MESSAGE, key_value},
    {"timeUnixNano", 3, OTLP_FIXED, NULL},
    {"count", 4, OTLP_FIXED, NULL},
    {"sum", 5, OTLP_DOUBLE, NULL},
    {"min", 11, OTLP_DOUBLE, NULL},
    {"max", 12, OTLP_DOUBLE, NULL},
    {0},
};
static const struct otlp_member exponential_point[] = {
    {"attributes", 1, OTLP_MESSAGE, key_value},
    {"timeUnixNano", 3, OTLP_FIXED, NULL},
    {"count", 4, OTLP_FIXED, NULL},
    {"sum", 5, OTLP_DOUBLE, NULL},
    {"min", 12, OTLP_DOUBLE, NULL},
    {"max", 13, OTLP_DOUBLE, NULL},
    {0},
};
static const struct otlp_member summary_point[] = {
    {"attributes", 7, OTLP_MESSAGE, key_value},
    {"timeUnixNano", 3, OTLP_FIXED, NULL},
    {"count", 4, OTLP_FIXED, NULL},
    {"sum", 5, OTLP_DOUBLE, NULL},
    {0},
};
#define POINTS(name, point)                                                            \
    static const struct otlp_member name[] = {{"dataPoints", 1, OTLP_MESSAGE, point},  \
                                              {0}}
POINTS(numbers, number_point);
POINTS(histogram, histogram_point);
POINTS(exponential, exponential_point);
POINTS(summary, summary_point);

static const struct otlp_member metric[] = {
    {"name", 1, OTLP_TEXT, NULL},
    {"unit", 3, OTLP_TEXT, NULL},
    {"gauge", 5, OTLP_MESSAGE, numbers},
    {"sum", 7, OTLP_MESSAGE, numbers},
    {"histogram", 9, OTLP_MESSAGE, histogram},
    {"exponentialHistogram", 10, OTLP_MESSAGE, exponential},
    {"summary", 11, OTLP_MESSAGE, summary},
    {0},
};
static const struct otlp_member scope_metrics[] = {
    {"metrics", 2, OTLP_MESSAGE, metric},
    {0},
};
static const struct otlp_member resource_metrics[] = {
    {"resource", 1, OTLP_MESSAGE, resource},
    {"scopeMetrics", 2, OTLP_MESSAGE, scope_metrics},
    {0},
};
static const struct otlp_member metrics_request[] = {
    {"resourceMetrics", 1, OTLP_MESSAGE, resource_metrics},
    {0},
};

static const struct otlp_member log_record[] = {
    {"timeUnixNano", 1, OTLP_FIXED, NULL},
    {"observedTimeUnixNano", 11, OTLP_FIXED, NULL},
    {"severityNumber", 2, OTLP_INT, NULL},
    {"severityText", 3, OTLP_TEXT, NULL},
    {"body", 5, OTLP_MESSAGE, any_value},
    {"attributes", 6, OTLP_MESSAGE, key_value},
    {"traceId", 9, OTLP_HEX, NULL},
    {"spanId", 10, OTLP_HEX, NULL},
    {"eventName", 12, OTLP_TEXT, NULL},
    {0},
};
static const struct otlp_member scope_logs[] = {
    {"logRecords", 2, OTLP_MESSAGE, log_record},
    {0},
};
static const struct otlp_member resource_logs[] = {
    {"resource", 1, OTLP_MESSAGE, resource},
    {"scopeLogs", 2, OTLP_MESSAGE, scope_logs},
    {0},
};
static const struct otlp_member logs_request[] = {
    {"resourceLogs", 1, OTLP_MESSAGE, resource_logs},
    {0},
};

struct otlp_json {
    struct members m;
    struct buffer out;
    locale_t c_locale;
};

/* ---- What is written ---- */

static void put_varint(struct buffer *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buffer_putc(b, (char)(v | 0x80));
    buffer_putc(b, (char)v);
}

static void put_key(struct buffer *b, uint32_t number, enum protobuf_type type)
{
    put_varint(b, (uint64_t)number << 3 | type);
}

static void put_fixed(struct buffer *b, uint32_t number, uint64_t bits)
{
    char bytes[8];
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (char)(bits >> (8 * i));
    put_key(b, number, PROTOBUF_64);
    buffer_put(b, bytes, sizeof(bytes));
}

#define LENGTH_ROOM 5 /* bytes of a length that is not known yet: up to 32 GiB */

static size_t begin_bytes(struct buffer *b, uint32_t number)
{
    static const char length[LENGTH_ROOM];
    put_key(b, number, PROTOBUF_BYTES);
    buffer_put(b, length, sizeof(length));
    return b->size;
}

static void end_bytes(struct buffer *b, size_t begin)
{
    size_t size = b->size - begin;
    for (unsigned i = 0; !b->error && i < LENGTH_ROOM; i++)
        b->data[begin - LENGTH_ROOM + i] =
            (char)((size >> (7 * i) & 0x7f) | (i + 1 < LENGTH_ROOM ? 0x80 : 0));
}

/* ---- What is read ---- */

static bool read_text(struct otlp_json *x, uint32_t number)
{
    struct members_text text;
    if (!members_text(&x->m, &text))
        return false;
    size_t begin = begin_bytes(&x->out, number);
    buffer_put(&x->out, text.bytes, text.size);
    if (text.escapes && !x->out.error)
        x->out.size = begin + text_unescape(x->out.data + begin, text.bytes,
                                            text.bytes + text.size);
    end_bytes(&x->out, begin);
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

static bool read_hex(struct otlp_json *x, uint32_t number)
{
    struct members_text text;
    if (!members_text(&x->m, &text) || text.size % 2)
        return members_fail(&x->m);
    size_t begin = begin_bytes(&x->out, number);
    for (size_t i = 0; i < text.size; i += 2) {
        int high = hex_digit(text.bytes[i]), low = hex_digit(text.bytes[i + 1]);
        if (high < 0 || low < 0)
            return members_fail(&x->m);
        buffer_putc(&x->out, (char)(high << 4 | low));
    }
    end_bytes(&x->out, begin);
    return true;
}

static bool read_bool(struct otlp_json *x, uint32_t number)
{
    bool yes = members_word(&x->m, "true");
    if (!yes && !members_word(&x->m, "false"))
        return members_fail(&x->m);
    put_key(&x->out, number, PROTOBUF_VARINT);
    put_varint(&x->out, yes);
    return true;
}

/* In quotes or not. */
static bool read_number(struct otlp_json *x, struct number *ret)
{
    bool quoted = members_take(&x->m, '"');
    return members_number(&x->m, ret) &&
           (!quoted || *x->m.at++ == '"' || members_fail(&x->m));
}

static bool read_int(struct otlp_json *x, uint32_t number, bool fixed)
{
    struct number n;
    int64_t v;
    if (!read_number(x, &n) || number_to_int(&n, &v))
        return members_fail(&x->m);
    if (fixed) {
        put_fixed(&x->out, number, (uint64_t)v);
    } else {
        put_key(&x->out, number, PROTOBUF_VARINT);
        put_varint(&x->out, (uint64_t)v);
    }
    return true;
}

static bool read_double(struct otlp_json *x, uint32_t number)
{
    static const char *const no_number[] = {"\"NaN\"", "\"Infinity\"", "\"-Infinity\""};
    struct number n;
    double v = NAN; /* which is null, as infinity is */
    uint64_t bits;
    for (size_t i = 0; i < sizeof(no_number) / sizeof(*no_number); i++)
        if (members_word(&x->m, no_number[i])) {
            memcpy(&bits, &v, sizeof(bits));
            put_fixed(&x->out, number, bits);
            return true;
        }
    if (!read_number(x, &n))
        return false;
    if (number_to_double(&n, x->c_locale, &v))
        v = NAN;
    memcpy(&bits, &v, sizeof(bits));
    put_fixed(&x->out, number, bits);
    return true;
}

static bool read_message(struct otlp_json *x, uint32_t number,
                         const struct otlp_member *known);

static bool read_one(struct otlp_json *x, const struct otlp_member *f)
{
    if (members_word(&x->m, "null")) /* as if it were not there */
        return true;
    switch (f->type) {
    case OTLP_MESSAGE:
        return read_message(x, f->number, f->message);
    case OTLP_TEXT:
        return read_text(x, f->number);
    case OTLP_HEX:
        return read_hex(x, f->number);
    case OTLP_BOOL:
        return read_bool(x, f->number);
    case OTLP_INT:
        return read_int(x, f->number, false);
    case OTLP_FIXED:
        return read_int(x, f->number, true);
    case OTLP_DOUBLE:
        return read_double(x, f->number);
    }
    return members_fail(&x->m);
}

static bool read_list(struct otlp_json *x, const struct otlp_member *f)
{
    members_open(&x->m, '[');
    for (size_t n = 0; members_next(&x->m, n, ']'); n++)
        read_one(x, f);
    return !x->m.bad;
}

/* Its members, in the order in which they come. How deep it goes, the tables say. */
static bool read_members(struct otlp_json *x, const struct otlp_member *known)
{
    members_open(&x->m, '{');
    for (size_t n = 0; members_next(&x->m, n, '}'); n++) {
        struct members_text key;
        const struct otlp_member *f = known;
        if (!members_key(&x->m, &key))
            break;
        while (f->name && !members_is(&key, f->name))
            f++;
        if (!f->name)
            members_skip(&x->m);
        else if (f->type == OTLP_MESSAGE && members_peek(&x->m) == '[')
            read_list(x, f);
        else
            read_one(x, f);
    }
    return !x->m.bad;
}

static bool read_message(struct otlp_json *x, uint32_t number,
                         const struct otlp_member *known)
{
    size_t begin = begin_bytes(&x->out, number);
    bool ok = read_members(x, known);
    end_bytes(&x->out, begin);
    return ok;
}

static int read_request(struct decoder *router, const char *body, size_t size,
                        const struct otlp_member *request,
                        int (*decode)(struct decoder *, const char *, size_t))
{
    static const char pad[DECODE_PAD];
    /* The shortest member of a list, {}, of three bytes becomes six. */
    struct otlp_json x = {.m = members_of(body),
                          .out = {.limit = 4 * size + sizeof(pad)},
                          .c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0)};
    if (!x.c_locale)
        return -ENOMEM;
    int err = read_members(&x, request) ? 0 : -EBADMSG;
    if (!err && (members_peek(&x.m), x.m.at != body + size))
        err = -EBADMSG;
    size_t made = x.out.size;
    buffer_put(&x.out, pad, sizeof(pad));
    if (!err)
        err = x.out.error ? x.out.error : decode(router, x.out.data, made);
    buffer_free(&x.out);
    freelocale(x.c_locale);
    return err;
}

int decoder_otlp_metrics_json(struct decoder *router, const char *body, size_t size)
{
    return read_request(router, body, size, metrics_request, decoder_otlp_metrics);
}

int decoder_otlp_logs_json(struct decoder *router, const char *body, size_t size)
{
    return read_request(router, body, size, logs_request, decoder_otlp_logs);
}
