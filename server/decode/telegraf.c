/* SPDX-License-Identifier: Apache-2.0
 *
 * Metrics as the serializer `json` of Telegraf writes them: one, several behind each other, or a list.
 *
 *      {"metrics": [{"fields": {"usage": 0.5}, "name": "cpu", "tags": {"host": "a"}, "timestamp": 1700000000}, ...]}
 *
 * The name is the stream, tags and then fields are its columns by name, as in line protocol. The name stands behind the
 * fields: an object is passed over first, and read when all of it is known.
 */
#include "base/buffer.h"
#include "base/clock.h"
#include "decode/members.h"
#include "decode/named.h"

#include <errno.h>
#include <math.h>

struct telegraf {
    struct members m;
    struct decoder *router;
    struct buffer name, key, text; /* without their escapes */
    locale_t c_locale;
};

struct metric {
    struct named_text name;
    const char *tags, *fields; /* where these objects begin; NULL: there is none */
    int64_t time;              /* 0: there is none */
    enum decode_unit unit;
    const char *list; /* where a list of metrics begins, instead of all that */
};

/* The text as it is; in `room` if it has escapes. */
static struct named_text plain(struct buffer *room, const struct members_text *t)
{
    if (!t->escapes)
        return (struct named_text){t->bytes, t->size};
    buffer_clear(room);
    buffer_put(room, t->bytes, t->size);
    if (room->error)
        return NAMED("");
    size_t size = text_unescape(room->data, t->bytes, t->bytes + t->size);
    return (struct named_text){room->data, size};
}

/* json_timestamp_units: the unit is seen from the digits; json_timestamp_format: RFC 3339. */
static void read_time(struct members *m, struct metric *ret)
{
    struct members_text text;
    struct number n;
    if (members_peek(m) == '"') {
        ret->unit = DECODE_US;
        if (members_text(m, &text) && clock_parse(text.bytes, text.size, &ret->time))
            members_fail(m);
        return;
    }
    if (!members_number(m, &n) || number_to_int(&n, &ret->time)) {
        members_fail(m);
        return;
    }
    uint64_t size = ret->time < 0 ? 0 - (uint64_t)ret->time : (uint64_t)ret->time;
    ret->unit = size < UINT64_C(10000000000)         ? DECODE_S
                : size < UINT64_C(10000000000000)    ? DECODE_MS
                : size < UINT64_C(10000000000000000) ? DECODE_US
                                                     : DECODE_NS;
}

static const char *pass_over(struct members *m)
{
    members_peek(m);
    const char *at = m->at;
    members_skip(m);
    return at;
}

/* Finds the parts of an object, and checks all of it. */
static void find_parts(struct telegraf *x, struct metric *ret)
{
    struct members *m = &x->m;
    struct members_text key, name;
    members_open(m, '{');
    for (size_t n = 0; members_next(m, n, '}') && members_key(m, &key); n++) {
        if (members_is(&key, "name") && members_text(m, &name))
            ret->name = plain(&x->name, &name);
        else if (members_is(&key, "tags"))
            ret->tags = pass_over(m);
        else if (members_is(&key, "fields"))
            ret->fields = pass_over(m);
        else if (members_is(&key, "timestamp"))
            read_time(m, ret);
        else if (members_is(&key, "metrics"))
            ret->list = pass_over(m);
        else
            members_skip(m);
    }
}

static bool put_number(struct telegraf *x, struct lines *l, struct named_text name)
{
    struct number n;
    int64_t whole;
    double v = HUGE_VAL; /* null */
    if (!members_number(&x->m, &n))
        return false;
    size_t size = (size_t)(n.end - n.begin);
    bool point = memchr(n.begin, '.', size) || memchr(n.begin, 'e', size) ||
                 memchr(n.begin, 'E', size);
    if (!point && number_to_int(&n, &whole) == 0)
        return named_put_int(l, name, whole);
    (void)!number_to_double(&n, x->c_locale, &v);
    return named_put_double(l, name, v);
}

static bool put_value(struct telegraf *x, struct lines *l, struct named_text name)
{
    struct members *m = &x->m;
    struct members_text text;
    switch (members_peek(m)) {
    case '"':
        return members_text(m, &text) &&
               named_put_ascii(l, name, plain(&x->text, &text));
    case 't':
    case 'f':
        return named_put_bool(l, name,
                              members_word(m, "true") || !members_word(m, "false"));
    case '{':
    case '[':
    case 'n':
        return members_skip(m); /* no field of Telegraf's, or null */
    default:
        return put_number(x, l, name);
    }
}

/* An object that was passed over already. False: the row cannot be. */
static bool put_values(struct telegraf *x, struct lines *l, const char *at)
{
    struct members_text key;
    bool ok = true;
    x->m.at = at;
    members_open(&x->m, '{');
    for (size_t n = 0; ok && members_next(&x->m, n, '}'); n++) {
        ok = members_key(&x->m, &key) && put_value(x, l, plain(&x->key, &key));
    }
    return ok;
}

static int put_metric(struct telegraf *x, const struct metric *metric)
{
    struct lines *l;
    int status = 0;
    struct decoder *lane = named_find(x->router, metric->name, 1, &status);
    if (!lane)
        return status;
    do {
        if ((status = named_begin(x->router, lane, &l)))
            return status;
        bool ok = !metric->tags || put_values(x, l, metric->tags);
        if (ok)
            put_values(x, l, metric->fields);
        if (x->m.bad)
            return -EBADMSG;
        status = named_end(x->router, lane, metric->time, metric->unit);
    } while (status == RECORD_FULL);
    return status;
}

/* A metric; or, at the outermost, an object with a list of them. */
static int read_object(struct telegraf *x, bool outermost)
{
    struct metric metric = {.unit = DECODE_S};
    find_parts(x, &metric);
    const char *end = x->m.at;
    if (x->m.bad)
        return -EBADMSG;
    int err = 0;
    if (outermost && metric.list) {
        x->m.at = metric.list;
        members_open(&x->m, '[');
        for (size_t n = 0; !err && members_next(&x->m, n, ']'); n++)
            err = read_object(x, false);
    } else {
        err = metric.name.bytes && metric.fields ? put_metric(x, &metric) : -EBADMSG;
    }
    if (!err && (x->m.bad || x->name.error || x->key.error || x->text.error))
        err = x->m.bad ? -EBADMSG : -ENOMEM;
    x->m.at = end;
    return err;
}

int decoder_telegraf(struct decoder *router, const char *body, size_t size)
{
    struct telegraf x = {.m = members_of(body),
                         .router = router,
                         .c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0)};
    if (!x.c_locale)
        return -ENOMEM;
    int err = 0;
    while (!err && (members_peek(&x.m), x.m.at < body + size))
        err = read_object(&x, true);
    buffer_free(&x.name);
    buffer_free(&x.key);
    buffer_free(&x.text);
    freelocale(x.c_locale);
    return err;
}
