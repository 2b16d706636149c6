/* SPDX-License-Identifier: Apache-2.0
 *
 * Scalars of the tree as values.
 */
#include "base/clock.h"
#include "config/node.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NAME_MAX_SIZE 63

static bool is_plain(const struct node *n)
{
    return n->kind == NODE_SCALAR && !n->quoted && !node_is_null(n);
}

static size_t digits(const char *p)
{
    return strspn(p, "0123456789");
}

/* 010 is ten for some, and eight for YAML 1.1. */
static int refuse_octal(const struct node *n, const char *what, struct error *error)
{
    char longer[192];
    snprintf(longer, sizeof longer, "%s without a zero in front, which can mean octal",
             what);
    return node_expected(n, longer, error);
}

static bool looks_octal(const char *p)
{
    return p[0] == '0' && p[1] >= '0' && p[1] <= '9';
}

int node_int(const struct node *n, int64_t min, int64_t max, int64_t *ret,
             struct error *error)
{
    char what[96] = "a whole number";
    if (min > INT64_MIN || max < INT64_MAX)
        snprintf(what, sizeof what, "a whole number from %" PRId64 " to %" PRId64, min,
                 max);
    if (!is_plain(n))
        return node_expected(n, what, error);
    const char *p = n->text + (*n->text == '-' || *n->text == '+');
    size_t length = digits(p);
    if (length == 0 || p[length])
        return node_expected(n, what, error);
    if (looks_octal(p))
        return refuse_octal(n, what, error);
    errno = 0;
    int64_t v = strtoll(n->text, NULL, 10);
    if (errno == ERANGE || v < min || v > max)
        return node_expected(n, what, error);
    *ret = v;
    return 0;
}

/* [-+] digits [. digits] [e [-+] digits], or without digits before the point. */
static bool is_number(const char *p)
{
    p += *p == '-' || *p == '+';
    size_t whole = digits(p), fraction = 0;
    p += whole;
    if (*p == '.') {
        fraction = digits(++p);
        p += fraction;
    }
    if (whole + fraction == 0)
        return false;
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '-' || *p == '+';
        if (digits(p) == 0)
            return false;
        p += digits(p);
    }
    return *p == 0;
}

int node_float(const struct node *n, double *ret, struct error *error)
{
    if (!is_plain(n) || !is_number(n->text))
        return node_expected(n, "a number", error);
    if (looks_octal(n->text + (*n->text == '-' || *n->text == '+')))
        return refuse_octal(n, "a number", error);
    double v = strtod(n->text, NULL);
    if (!isfinite(v))
        return node_expected(n, "a number that fits a double", error);
    *ret = v;
    return 0;
}

int node_bool(const struct node *n, bool *ret, struct error *error)
{
    static const char *const word[] = {"false", "true", "no", "yes", "off", "on"};
    for (size_t i = 0; is_plain(n) && i < sizeof word / sizeof word[0]; i++) {
        if (strcasecmp(n->text, word[i]) == 0) {
            *ret = i % 2 == 1;
            return 0;
        }
    }
    return node_expected(n, "true or false", error);
}

int node_text(const struct node *n, const char **ret, struct error *error)
{
    if (n->kind != NODE_SCALAR || node_is_null(n))
        return node_expected(n, "a text", error);
    if (!*n->text)
        return node_error(n, error, "expected a text, found an empty one");
    *ret = n->text;
    return 0;
}

int node_word(const struct node *n, const char *const *words, size_t n_words,
              struct error *error)
{
    const char *text = NULL;
    char what[160];
    size_t size = 0;
    int r = node_text(n, &text, error);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n_words; i++) {
        if (strcmp(text, words[i]) == 0)
            return (int)i;
        const char *before = i == 0 ? "" : i + 1 < n_words ? ", " : " or ";
        if (size < sizeof what)
            size += (size_t)snprintf(what + size, sizeof what - size, "%s'%s'", before,
                                     words[i]);
    }
    node_expected(n, what, error);
    node_suggest(error, text, words, n_words);
    return -EINVAL;
}

int node_duration(const struct node *n, int64_t *ret_us, struct error *error)
{
    static const char what[] =
        "a duration with its unit, such as 250ms, 10s, 5m, 1h or 7d";
    if (n->kind != NODE_SCALAR)
        return node_expected(n, what, error);
    int r = clock_parse_duration(n->text, ret_us);
    if (r == -ERANGE)
        return node_expected(n, "a duration of less than 292,000 years", error);
    return r < 0 ? node_expected(n, what, error) : 0;
}

int node_size(const struct node *n, uint64_t *ret, struct error *error)
{
    static const char what[] = "a size in bytes, such as 4096, 10kB or 64MiB";
    static const struct {
        const char *name;
        uint64_t bytes;
    } unit[] = {
        {"", 1},
        {"B", 1},
        {"kB", 1000},
        {"MB", 1000000},
        {"GB", 1000000000},
        {"TB", UINT64_C(1000000000000)},
        {"PB", UINT64_C(1000000000000000)},
        {"KiB", 1u << 10},
        {"MiB", 1u << 20},
        {"GiB", 1u << 30},
        {"TiB", UINT64_C(1) << 40},
        {"PiB", UINT64_C(1) << 50},
    };
    size_t i = 0, length = n->kind == NODE_SCALAR ? digits(n->text) : 0;
    if (length == 0)
        return node_expected(n, what, error);
    while (i < sizeof unit / sizeof unit[0] &&
           strcmp(unit[i].name, n->text + length) != 0)
        i++;
    if (i == sizeof unit / sizeof unit[0])
        return node_expected(n, what, error);
    if (looks_octal(n->text))
        return refuse_octal(n, "a size in bytes", error);
    errno = 0;
    uint64_t v = strtoull(n->text, NULL, 10);
    if (errno == ERANGE || __builtin_mul_overflow(v, unit[i].bytes, &v))
        return node_expected(n, "a size that fits 64 bits", error);
    *ret = v;
    return 0;
}

int node_name(const struct node *n, const char **ret, struct error *error)
{
    if (n->kind != NODE_SCALAR || node_is_null(n))
        return node_expected(n, "a name", error);
    const char *p = n->text;
    if (!isalpha((unsigned char)*p) && *p != '_')
        return node_expected(n, "a name that begins with a letter or '_'", error);
    while (isalnum((unsigned char)*p) || *p == '_')
        p++;
    if (*p)
        return node_expected(n, "a name of letters, digits and '_'", error);
    if (p - n->text > NAME_MAX_SIZE)
        return node_expected(n, "a name of at most 63 characters", error);
    *ret = n->text;
    return 0;
}
