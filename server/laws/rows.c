/* SPDX-License-Identifier: Apache-2.0 */
#include "laws/rows.h"

#include "laws/dice.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define LONG_BYTES   70000u

static const int64_t ints[] = {
    INT64_MIN, INT64_MAX, INT64_MIN + 1,   INT64_MAX - 1, -1,          0,
    1,         1LL << 53, (1LL << 53) + 1, 1LL << 31,     -(1LL << 62)};
static const double floats[] = {INFINITY, -INFINITY, NAN, DBL_MAX, -DBL_MAX, DBL_MIN,
                                5e-324,   -0.0,      0.0, 1e300,   -1e300,   1.0};
/* Years 1 to 9999. */
static const int64_t times[] = {INT64_C(-62135596800000000),
                                INT64_C(253402300799999999),
                                0,
                                -1,
                                ROWS_START_US,
                                ROWS_END_US};

static const struct {
    const char *s;
    uint32_t size;
} strings[] = {
    {"", 0},
    {"\0", 1},
    {"a\0b", 3},
    {"a\0c", 3},
    {"null", 4},
    {"NaN", 3},
    {"'; DROP TABLE x; --", 19},
    {"\"\\\n\t\r", 5},
    {"%s%n%d", 6},
    {"\xc3\xa9", 2},  /* an accent */
    {"e\xcc\x81", 3}, /* the same, combining */
    {"\xe2\x80\xae"
     "abc",
     6},                     /* right to left */
    {"\xef\xbb\xbf", 3},     /* a byte order mark */
    {"\xf0\x9f\x98\x80", 4}, /* a smiley */
    {"\xf4\x8f\xbf\xbf", 4}, /* the last character that there is */
    {"\x7f\x01\x1f", 3},
};

/* Characters that begin with the same bytes. */
static const char *const near[] = {"\xc3\xa9", "\xc3\xa8", "\xe2\x82\xac",
                                   "\xe2\x82\xab"};

static const char *const words[] = {"tag", "view", "cart", "paid",
                                    "a value that takes more room"};

/* A long string, made once; NULL: no memory. */
static const char *long_string(void)
{
    static char *s;
    if (!s && (s = malloc(LONG_BYTES)))
        memset(s, 'x', LONG_BYTES);
    return s;
}

static struct rows_value text(const char *s, size_t size)
{
    return (struct rows_value){.type = WEIR_STRING, .size = (uint32_t)size, .as.s = s};
}

/* "w0" to "w99". */
static struct rows_value word(struct dice *d, size_t below)
{
#define TEN(t)                                                                         \
    "w" t "0", "w" t "1", "w" t "2", "w" t "3", "w" t "4", "w" t "5", "w" t "6",       \
        "w" t "7", "w" t "8", "w" t "9"
    static const char made[100][4] = {TEN(""),  TEN("1"), TEN("2"), TEN("3"), TEN("4"),
                                      TEN("5"), TEN("6"), TEN("7"), TEN("8"), TEN("9")};
    size_t k = dice(d, below < 100 ? below : 100);
    return text(made[k], strlen(made[k]));
}

static struct rows_value tame(struct dice *d, uint32_t type)
{
    struct rows_value v = {.type = type};
    if (type == WEIR_BOOL)
        v.as.i = (int64_t)dice(d, 2);
    else if (type == WEIR_INT)
        v.as.i = (int64_t)dice(d, 40) - 20;
    else if (type == WEIR_TIME)
        v.as.i = ROWS_START_US + (int64_t)dice(d, 60) * 1000000;
    else if (type == WEIR_FLOAT)
        v.as.f = (double)dice(d, 10000) / 100 - 30;
    else if (dice(d, 4)) {
        const char *s = words[dice(d, COUNT(words))];
        v = text(s, strlen(s));
    } else {
        v = word(d, 1 + dice(d, 30));
    }
    return v;
}

static struct rows_value ties(struct dice *d, uint32_t type)
{
    struct rows_value v = tame(d, type);
    if (type == WEIR_INT || type == WEIR_TIME)
        v.as.i = (int64_t)dice(d, 3) - 1;
    else if (type == WEIR_FLOAT)
        v.as.f = (double)dice(d, 3) / 2;
    else if (type == WEIR_STRING)
        v = word(d, 3);
    return v;
}

static struct rows_value extreme(struct dice *d, uint32_t type)
{
    struct rows_value v = tame(d, type);
    if (type == WEIR_INT)
        v.as.i = ints[dice(d, COUNT(ints))];
    else if (type == WEIR_TIME)
        v.as.i = times[dice(d, COUNT(times))];
    else if (type == WEIR_FLOAT)
        v.as.f = floats[dice(d, COUNT(floats))];
    return v;
}

static struct rows_value hostile(struct dice *d, uint32_t type)
{
    if (type != WEIR_STRING)
        return tame(d, type);
    if (dice(d, 100) == 0 && long_string())
        return text(long_string(), LONG_BYTES);
    if (dice(d, 3) == 0) {
        const char *s = near[dice(d, COUNT(near))];
        return text(s, strlen(s));
    }
    size_t k = dice(d, COUNT(strings));
    return text(strings[k].s, strings[k].size);
}

static struct rows_value make(struct dice *d, enum rows_flavour flavour, uint32_t type)
{
    size_t nulls = flavour == ROWS_NULLS ? 10 : 2; /* of 11 */
    if (!type || dice(d, 11) < nulls)
        return (struct rows_value){0};
    switch (flavour) {
    case ROWS_TIES:
        return ties(d, type);
    case ROWS_EXTREMES:
        return extreme(d, type);
    case ROWS_HOSTILE:
        return hostile(d, type);
    default:
        return tame(d, type);
    }
}

static bool allocate(struct rows *r, size_t n, size_t n_inputs)
{
    *r = (struct rows){.n = n, .n_inputs = n_inputs};
    r->time = calloc(n + 1, sizeof(*r->time));
    r->value = calloc(n * n_inputs + 1, sizeof(*r->value));
    if (r->time && r->value)
        return true;
    rows_free(r);
    return false;
}

bool rows_make(struct rows *r, enum rows_flavour flavour, const uint32_t *types,
               size_t n_inputs, size_t n, uint64_t seed)
{
    struct dice d = dice_of(seed);
    if (!allocate(r, n, n_inputs))
        return false;
    for (size_t i = 0; i < n; i++) {
        r->time[i] = ROWS_START_US + (int64_t)dice(&d, 60000) * 1000;
        for (size_t k = 0; k < n_inputs; k++)
            r->value[i * n_inputs + k] = make(&d, flavour, types[k]);
    }
    return true;
}

bool rows_without(struct rows *r, const struct rows *from, size_t first, size_t n)
{
    if (!allocate(r, from->n - n, from->n_inputs))
        return false;
    for (size_t i = 0, to = 0; i < from->n; i++) {
        if (i >= first && i < first + n)
            continue;
        r->time[to] = from->time[i];
        memcpy(&r->value[to++ * r->n_inputs], &from->value[i * r->n_inputs],
               r->n_inputs * sizeof(*r->value));
    }
    return true;
}

void rows_free(struct rows *r)
{
    free(r->time);
    free(r->value);
    *r = (struct rows){0};
}

static bool set(struct rows_value *v, struct rows_value simple)
{
    bool changes = v->type == WEIR_STRING
                       ? v->size != simple.size || memcmp(v->as.s, simple.as.s, v->size)
                       : v->as.i != simple.as.i;
    *v = simple;
    return changes;
}

static bool simplify_value(struct rows_value *v, unsigned how)
{
    if (v->type == WEIR_STRING && how == 2) { /* half of it */
        size_t half = v->size / 2;
        bool ascii = half > 0 && !((unsigned char)v->as.s[half] & 0x80);
        return ascii && set(v, text(v->as.s, half));
    }
    if (v->type == WEIR_STRING)
        return how < 2 && set(v, text(how ? "b" : "a", 1));
    if (v->type == WEIR_FLOAT) {
        double f = how == 0 ? 0 : how == 1 ? 1 : trunc(v->as.f);
        return how < 2 + (trunc(v->as.f) != v->as.f) && f == f && v->as.f != f &&
               set(v, (struct rows_value){.type = WEIR_FLOAT, .as.f = f});
    }
    return v->type && how < 2 && v->as.i != 0 &&
           set(v, (struct rows_value){.type = v->type, .as.i = how});
}

bool rows_simplify(struct rows *r, size_t k, unsigned how)
{
    if (k < r->n * r->n_inputs)
        return simplify_value(&r->value[k], how);
    size_t row = k - r->n * r->n_inputs;
    int64_t plain = ROWS_START_US + (int64_t)row;
    if (how || r->time[row] == plain)
        return false;
    r->time[row] = plain;
    return true;
}
