/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of every form: stored with their type checked, or skipped with their syntax checked.
 */
#include "decode/value.h"

#include "base/clock.h"

#include <errno.h>

static const char *const expected_name[] = {
    [WEIR_INT] = "a whole number", [WEIR_FLOAT] = "a number",
    [WEIR_BOOL] = "true or false", [WEIR_STRING] = "a string",
    [WEIR_TIME] = "a time",
};

enum value_kind value_kind(const struct record *r, size_t c)
{
    switch (r->schema->column[c].type) {
    case WEIR_INT:
        return VALUE_INT;
    case WEIR_FLOAT:
        return VALUE_FLOAT;
    case WEIR_STRING:
        return VALUE_STRING;
    case WEIR_TIME:
        return c == 0 && r->unit != DECODE_RFC3339 ? VALUE_NUMBER_TIME : VALUE_OTHER;
    default:
        return VALUE_OTHER;
    }
}

static const char *literal(struct record *r, const char *p, const char *word)
{
    size_t n = strlen(word);
    if (memcmp(p, word, n) != 0)
        return record_fault(r, p, DECODE_SYNTAX, "expected a value");
    return p + n;
}

static size_t count_digits(const char *p, size_t size)
{
    size_t n = 0;
    while (n < size && p[n] >= '0' && p[n] <= '9')
        n++;
    return n;
}

/* Without seconds, or with a zone such as +0100 or +01: put in the form that clock_parse knows. */
static bool parse_loose(const char *p, size_t size, int64_t *ret_us)
{
    char text[64];
    if (size < 16 || size > sizeof(text) - 8 || p[13] != ':')
        return false;
    memcpy(text, p, 16);
    size_t n = 16, at = 16;
    bool seconds = size > 16 && p[16] == ':';
    if (!seconds) {
        memcpy(text + n, ":00", 3);
        n += 3;
    }
    while (at < size && p[at] != '+' && p[at] != '-')
        text[n++] = p[at++];
    size_t zone = size - at;
    memcpy(text + n, p + at, zone);
    n += zone;
    if (zone == 5) { /* +0100 */
        memmove(text + n - 1, text + n - 2, 2);
        text[n - 2] = ':';
        n++;
    } else if (zone == 3) { /* +01 */
        memcpy(text + n, ":00", 3);
        n += 3;
    }
    return clock_parse(text, n, ret_us) == 0;
}

/* Of a time as text; what came is a number, it seems, of a time of these days in some unit, or what `lenient` takes. */
static const char *text_time(const struct record *r, const char *p, size_t size,
                             size_t c)
{
    static const struct {
        size_t digits;
        const char *expected;
    } unit[] = {{10, "an RFC 3339 time (numbers want unit: s)"},
                {13, "an RFC 3339 time (numbers want unit: ms)"},
                {16, "an RFC 3339 time (numbers want unit: us)"},
                {19, "an RFC 3339 time (numbers want unit: ns)"}};
    int64_t us;
    size_t digits = count_digits(p, size), end = digits;
    if (digits < size && p[digits] == '.')
        end += 1 + count_digits(p + digits + 1, size - digits - 1);
    for (size_t i = 0; c == 0 && end == size && i < sizeof unit / sizeof unit[0]; i++)
        if (digits == unit[i].digits)
            return unit[i].expected;
    if (!(r->lenient & DECODE_LENIENT_TIMES) && parse_loose(p, size, &us))
        return "an RFC 3339 time (such as this wants lenient: times)";
    return "an RFC 3339 time";
}

/* A number in quotes. */
static bool is_quoted_number(const char *p, size_t size)
{
    struct number n;
    const char *problem;
    return size > 2 && p[0] == '"' && number_scan(p + 1, &n, &problem) &&
           n.end == p + size - 1;
}

static const char *expected(const struct record *r, const char *p, size_t size,
                            size_t c)
{
    enum weir_type type = r->schema->column[c].type;
    bool quoted = is_quoted_number(p, size);
    if (quoted && !(r->lenient & DECODE_LENIENT_NUMBERS)) {
        if (type == WEIR_INT)
            return "a whole number (text wants lenient: numbers)";
        if (type == WEIR_FLOAT)
            return "a number (text wants lenient: numbers)";
    }
    if (type != WEIR_TIME)
        return expected_name[type];
    if (c != 0)
        return "an RFC 3339 time or whole microseconds";
    if (r->unit == DECODE_RFC3339)
        return text_time(r, p, size, c);
    return quoted && !(r->lenient & DECODE_LENIENT_TIMES)
               ? "a time as a number (text wants lenient: times)"
               : "a time as a number";
}

const char *value_wrong(struct record *r, const char *p, size_t size, size_t c)
{
    return record_type_fault(r, c, p, size, DECODE_TYPE, expected(r, p, size, c));
}

/* A value that is well-formed, but not of the column's type. */
static const char *wrong_type(struct record *r, const char *p, size_t c)
{
    const char *end = value_skip(r, p);
    return end ? value_wrong(r, p, (size_t)(end - p), c) : NULL;
}

static int scale_time(enum decode_unit unit, const struct number *n, int64_t *ret_us)
{
    static const int shift[] = {
        [DECODE_S] = 6, [DECODE_MS] = 3, [DECODE_US] = 0, [DECODE_NS] = -3};
    int64_t us;
    int r = number_to_scaled(n, shift[unit], &us);
    if (r == 0 && !value_is_event_time(us))
        return -ERANGE;
    if (r == 0)
        *ret_us = us;
    return r;
}

static int store_number(struct record *r, const struct number *n, size_t c)
{
    struct column *col = &r->out->column[c];
    uint32_t row = r->out->n_rows;
    if (col->type == WEIR_FLOAT)
        return number_to_double(n, r->c_locale, &((double *)col->values)[row]);
    if (col->type == WEIR_BOOL || col->type == WEIR_STRING ||
        (c == 0 && r->unit == DECODE_RFC3339))
        return -EDOM;
    int64_t *to = &((int64_t *)col->values)[row];
    return c == 0 ? scale_time(r->unit, n, to) : number_to_int(n, to);
}

bool value_number(struct record *r, const struct number *n, size_t c)
{
    size_t size = (size_t)(n->end - n->begin);
    int err = store_number(r, n, c);
    if (err == -EDOM)
        value_wrong(r, n->begin, size, c);
    else if (err == -ERANGE)
        record_type_fault(r, c, n->begin, size, DECODE_RANGE,
                          c == 0 ? "a time within 146000 years of 1970"
                          : r->schema->column[c].type == WEIR_FLOAT
                              ? "a number in the range of a double"
                              : "a number that fits 64 bits");
    return err == 0;
}

static const char *number(struct record *r, const char *p, size_t c)
{
    struct number n;
    const char *problem;
    if (!number_scan(p, &n, &problem))
        return record_fault(r, n.end, DECODE_SYNTAX, "%s", problem);
    return value_number(r, &n, c) ? n.end : NULL;
}

const char *value_text_time(struct record *r, const char *p, size_t size, size_t c)
{
    int64_t us;
    bool lenient = r->lenient & DECODE_LENIENT_TIMES;
    if (clock_parse(p, size, &us) < 0 && !(lenient && parse_loose(p, size, &us)))
        return record_type_fault(r, c, p, size, c == 0 ? DECODE_NO_TIME : DECODE_TYPE,
                                 text_time(r, p, size, c));
    ((int64_t *)r->out->column[c].values)[r->out->n_rows] = us;
    return p + size;
}

/* Digits alone, where it may be a number that comes as a string. */
static bool is_lenient_number(const struct record *r, size_t c)
{
    enum weir_type type = r->schema->column[c].type;
    if (type == WEIR_TIME)
        return r->lenient & DECODE_LENIENT_TIMES &&
               !(c == 0 && r->unit == DECODE_RFC3339);
    return (type == WEIR_INT || type == WEIR_FLOAT) &&
           r->lenient & DECODE_LENIENT_NUMBERS;
}

/* A number in quotes, from the opening one. NULL without a fault (r->status is RECORD_OK): it is none. */
static const char *quoted_number(struct record *r, const char *p, size_t c)
{
    struct number n;
    const char *problem;
    if (!number_scan(p + 1, &n, &problem) || *n.end != '"')
        return NULL;
    return value_number(r, &n, c) ? n.end + 1 : NULL;
}

#define TIME_TEXT_MAX 256 /* longer text is no time, whatever its escapes mean */

static const char *string_time(struct record *r, const char *p, size_t c)
{
    bool escapes;
    const char *end = text_check(r, p + 1, &escapes);
    if (!end)
        return NULL;
    char text[TIME_TEXT_MAX];
    size_t size = (size_t)(end - p - 1);
    if (!escapes || size > sizeof text)
        return value_text_time(r, p + 1, size, c) ? end + 1 : NULL;
    size = text_unescape(text, p + 1, end);
    if (value_text_time(r, text, size, c))
        return end + 1;
    r->fault.at = p + 1;
    return NULL;
}

static const char *string(struct record *r, const char *p, size_t c)
{
    enum weir_type type = r->schema->column[c].type;
    if (type == WEIR_STRING)
        return text_store(r, p + 1, c);
    if (is_lenient_number(r, c)) {
        const char *end = quoted_number(r, p, c);
        if (end || r->status != RECORD_OK)
            return end;
    }
    if (type == WEIR_TIME && !(c == 0 && r->unit != DECODE_RFC3339))
        return string_time(r, p, c);
    return wrong_type(r, p, c);
}

static const char *boolean(struct record *r, const char *p, size_t c)
{
    const char *end = literal(r, p, *p == 't' ? "true" : "false");
    if (!end)
        return NULL;
    struct column *col = &r->out->column[c];
    if (col->type != WEIR_BOOL)
        return wrong_type(r, p, c);
    batch_put_bool(col, r->out->n_rows, *p == 't');
    return end;
}

const char *value_store(struct record *r, const char *p, size_t c)
{
    p = record_skip_space(r, p);
    switch (*p) {
    case '"':
        return string(r, p, c);
    case 't':
    case 'f':
        return boolean(r, p, c);
    case 'n':
        p = literal(r, p, "null");
        if (p)
            record_null(r, c);
        return p;
    case '{':
    case '[':
        return wrong_type(r, p, c);
    default:
        if (*p != '-' && !(*p >= '0' && *p <= '9'))
            return record_fault(r, p, DECODE_SYNTAX, "expected a value");
        return number(r, p, c);
    }
}

static bool plain_bool(struct record *r, const char *p, size_t size, size_t c)
{
    bool yes = (size == 4 && memcmp(p, "true", 4) == 0) || (size == 1 && *p == '1');
    bool no = (size == 5 && memcmp(p, "false", 5) == 0) || (size == 1 && *p == '0');
    if (!yes && !no)
        return value_wrong(r, p, size, c);
    batch_put_bool(&r->out->column[c], r->out->n_rows, yes);
    return true;
}

/* A number that fills its text. */
static bool plain_number(struct record *r, const char *p, size_t size, size_t c)
{
    struct number n;
    const char *problem;
    if (!number_scan(p, &n, &problem) || n.end != p + size)
        return value_wrong(r, p, size, c);
    return value_number(r, &n, c);
}

static bool looks_like_number(const char *p, size_t size)
{
    size_t i = size > 0 && p[0] == '-';
    while (i < size && p[i] >= '0' && p[i] <= '9')
        i++;
    return i == size;
}

bool value_plain(struct record *r, const char *p, size_t size, size_t c)
{
    enum weir_type type = r->schema->column[c].type;
    if (type == WEIR_BOOL)
        return plain_bool(r, p, size, c);
    if (type != WEIR_TIME ||
        (c == 0 ? r->unit != DECODE_RFC3339 : looks_like_number(p, size)))
        return plain_number(r, p, size, c);
    return value_text_time(r, p, size, c) != NULL;
}
