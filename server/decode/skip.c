/* SPDX-License-Identifier: Apache-2.0
 *
 * Values that no column wants: passed over, but checked as strictly as those that are stored.
 *
 * Without recursion: a bit for each open container says whether it is an object.
 */
#include "decode/value.h"

struct open_containers {
    unsigned n;
    uint64_t object[RECORD_DEPTH_MAX / 64];
};

static bool in_object(const struct open_containers *open)
{
    return open->object[(open->n - 1) / 64] >> ((open->n - 1) % 64) & 1;
}

static const char *push(struct record *r, struct open_containers *open, const char *p)
{
    if (open->n + 2 > r->depth_max) /* the record itself is the first */
        return record_fault(r, p, DECODE_DEPTH, "nested deeper than %u", r->depth_max);
    uint64_t bit = UINT64_C(1) << (open->n % 64);
    uint64_t *word = &open->object[open->n / 64];
    *word = *p == '{' ? *word | bit : *word & ~bit;
    open->n++;
    return record_skip_space(r, p + 1);
}

static const char *skip_word(struct record *r, const char *p, const char *word,
                             size_t n)
{
    if (memcmp(p, word, n) != 0)
        return record_fault(r, p, DECODE_SYNTAX, "expected a value");
    return p + n;
}

static const char *skip_number(struct record *r, const char *p)
{
    struct number n;
    const char *problem;
    int64_t v;
    const char *end = number_fast_int(p, &v);
    if (end)
        return end;
    if (*p != '-' && !(*p >= '0' && *p <= '9'))
        return record_fault(r, p, DECODE_SYNTAX, "expected a value");
    end = number_scan(p, &n, &problem);
    return end ? end : record_fault(r, n.end, DECODE_SYNTAX, "%s", problem);
}

static const char *skip_string(struct record *r, const char *p)
{
    bool escapes;
    const char *end = text_check(r, p + 1, &escapes);
    return end ? end + 1 : NULL;
}

static const char *skip_scalar(struct record *r, const char *p)
{
    switch (*p) {
    case '"':
        return skip_string(r, p);
    case 't':
        return skip_word(r, p, "true", 4);
    case 'f':
        return skip_word(r, p, "false", 5);
    case 'n':
        return skip_word(r, p, "null", 4);
    default:
        return skip_number(r, p);
    }
}

/* A key and its colon. */
static const char *skip_key(struct record *r, const char *p)
{
    if (*p != '"')
        return record_fault(r, p, DECODE_SYNTAX, "expected a key in quotes");
    p = skip_string(r, p);
    if (!p)
        return NULL;
    p = record_skip_space(r, p);
    if (*p != ':')
        return record_fault(r, p, DECODE_SYNTAX, "expected ':' after a key");
    return record_skip_space(r, p + 1);
}

/* From behind a value: closes what ends here and stands then before the next value, or behind the
 * outermost one. */
static const char *skip_ends(struct record *r, struct open_containers *open,
                             const char *p)
{
    while (open->n > 0) {
        bool object = in_object(open);
        p = record_skip_space(r, p);
        if (*p == ',') {
            p = record_skip_space(r, p + 1);
            return object ? skip_key(r, p) : p;
        }
        if (*p != (object ? '}' : ']'))
            return record_fault(r, p, DECODE_SYNTAX,
                                "expected ',' or '%c' after a value",
                                object ? '}' : ']');
        open->n--;
        p++;
    }
    return p;
}

const char *value_skip(struct record *r, const char *p)
{
    struct open_containers open;
    open.n = 0;
    p = record_skip_space(r, p);
    do {
        if (*p != '{' && *p != '[') {
            p = skip_scalar(r, p);
        } else {
            char close = *p == '{' ? '}' : ']';
            p = push(r, &open, p);
            if (p && *p != close) {
                p = close == '}' ? skip_key(r, p) : p;
                continue;
            }
            if (p)
                open.n--, p++;
        }
        if (p)
            p = skip_ends(r, &open, p);
    } while (p && open.n > 0);
    return p;
}
