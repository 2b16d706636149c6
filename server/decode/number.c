/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers of every form: the grammar, and exact conversions by integer arithmetic.
 *
 * A double is digits * 10^e = digits * 5^e * 2^e. For |e| <= 27, 5^|e| fits 64 bits: the product of
 * two 64-bit numbers (e >= 0), or their quotient with its remainder (e < 0), holds all that rounding
 * needs. That covers what programs print; the rest goes to strtod.
 */
#include "decode/number.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define DIGITS_MAX 19 /* decimal digits that always fit 64 bits */
#define EXPONENT_MAX                                                                   \
    1000000000000000 /* larger ones change nothing, but must not overflow */
#define FIVES 28

typedef unsigned __int128 u128;

const uint64_t number_power_of_ten[20] = {
    1,
    10,
    100,
    1000,
    10000,
    100000,
    1000000,
    10000000,
    100000000,
    1000000000,
    10000000000,
    100000000000,
    1000000000000,
    10000000000000,
    100000000000000,
    1000000000000000,
    10000000000000000,
    100000000000000000,
    1000000000000000000,
    10000000000000000000u,
};

const double number_double_of_ten[23] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
};

static const uint64_t power_of_five[FIVES] = {
    1,
    5,
    25,
    125,
    625,
    3125,
    15625,
    78125,
    390625,
    1953125,
    9765625,
    48828125,
    244140625,
    1220703125,
    6103515625,
    30517578125,
    152587890625,
    762939453125,
    3814697265625,
    19073486328125,
    95367431640625,
    476837158203125,
    2384185791015625,
    11920928955078125,
    59604644775390625,
    298023223876953125,
    1490116119384765625,
    7450580596923828125,
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads a run of digits into n->digits; `*count` is how many of them are significant. Those past 19
 * are left out, and counted in *left_out. */
static const char *scan_digits(const char *p, struct number *n, unsigned *count,
                               int64_t *left_out)
{
    while (n->digits == 0 && *p == '0')
        p++;
    for (;;) {
        uint64_t x = number_load(p);
        unsigned k = number_count(x);
        if (k == 0)
            return p;
        if (*count + k > DIGITS_MAX)
            break;
        n->digits = n->digits * number_power_of_ten[k] + number_eight(x, k);
        *count += k;
        p += k;
    }
    for (; is_digit(*p); p++) {
        if (*count < DIGITS_MAX) {
            n->digits = n->digits * 10 + (uint64_t)(*p - '0');
            ++*count;
        } else {
            n->more |= *p != '0';
            ++*left_out;
        }
    }
    return p;
}

static const char *scan_exponent(const char *p, int64_t *ret)
{
    bool negative = *p == '-';
    p += *p == '-' || *p == '+';
    if (!is_digit(*p)) {
        *ret = 0;
        return NULL;
    }
    int64_t e = 0;
    for (; is_digit(*p); p++)
        e = e < EXPONENT_MAX ? e * 10 + (*p - '0') : e;
    *ret = negative ? -e : e;
    return p;
}

static const char *problem(struct number *n, const char *at, const char **ret,
                           const char *text)
{
    n->end = at;
    *ret = text;
    return NULL;
}

const char *number_scan(const char *p, struct number *ret, const char **ret_problem)
{
    struct number n = {.begin = p, .negative = *p == '-'};
    unsigned count = 0;
    int64_t left_out = 0;
    p += n.negative;
    if (!is_digit(*p))
        return problem(ret, p, ret_problem,
                       n.negative ? "expected a digit after '-'" : "expected a number");
    if (*p == '0' && is_digit(p[1]))
        return problem(ret, p, ret_problem, "a number must not begin with a zero");
    p = scan_digits(p, &n, &count, &left_out);
    n.exponent = left_out;
    if (*p == '.') {
        const char *fraction = ++p;
        if (!is_digit(*p))
            return problem(ret, p, ret_problem, "expected a digit after '.'");
        left_out = 0;
        p = scan_digits(p, &n, &count, &left_out);
        n.exponent -= p - fraction - left_out;
    }
    if (*p == 'e' || *p == 'E') {
        int64_t e;
        const char *begin = p + 1;
        p = scan_exponent(begin, &e);
        if (!p)
            return problem(ret, begin + (*begin == '-' || *begin == '+'), ret_problem,
                           "expected a digit in the exponent");
        n.exponent += e;
    }
    n.end = p;
    *ret = n;
    return p;
}

static int with_sign(const struct number *n, uint64_t v, int64_t *ret)
{
    if (v > (uint64_t)INT64_MAX + n->negative)
        return -ERANGE;
    *ret = n->negative ? (int64_t)(0 - v) : (int64_t)v;
    return 0;
}

/* v * 10^e in 64 bits. */
static int raise(uint64_t v, int64_t e, uint64_t *ret)
{
    if (v == 0) {
        *ret = 0;
        return 0;
    }
    if (e > DIGITS_MAX || __builtin_mul_overflow(v, number_power_of_ten[e], ret))
        return -ERANGE;
    return 0;
}

int number_to_int(const struct number *n, int64_t *ret)
{
    uint64_t v = n->digits;
    int64_t e = n->exponent;
    if (n->more && e <= 0)
        return -EDOM; /* what was left out lies behind the point */
    for (; e < 0 && v != 0; e++, v /= 10)
        if (v % 10 != 0)
            return -EDOM;
    if (raise(v, e, &v) < 0)
        return -ERANGE;
    return with_sign(n, v, ret);
}

int number_to_scaled(const struct number *n, int shift, int64_t *ret)
{
    uint64_t v = n->digits;
    int64_t e = n->exponent + shift;
    if (e < 0)
        v = e < -DIGITS_MAX ? 0 : v / number_power_of_ten[-e];
    else if (raise(v, e, &v) < 0)
        return -ERANGE;
    return with_sign(n, v, ret);
}

/* m * 2^e; e within the range of normal doubles, m at most 2^53. */
static double with_exponent(uint64_t m, int e)
{
    assert(e >= -1022 && e <= 1023);
    uint64_t bits = (uint64_t)(e + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return (double)m * power;
}

/* v * 2^e to the nearest double, where v stands for a little more than it says if `sticky`. */
static double round_to_even(uint64_t v, bool sticky, int e)
{
    int shift = 64 - __builtin_clzll(v) - 53;
    if (shift <= 0) {
        assert(!sticky); /* callers keep more than 53 bits unless v is exact */
        return with_exponent(v, e);
    }
    uint64_t half = UINT64_C(1) << (shift - 1);
    uint64_t rest = v & (2 * half - 1);
    uint64_t m = v >> shift;
    if (rest > half || (rest == half && (sticky || (m & 1))))
        m++;
    return with_exponent(m, e + shift);
}

static double times_power_of_ten(uint64_t v, unsigned e)
{
    u128 product = (u128)v * power_of_five[e];
    uint64_t high = (uint64_t)(product >> 64), low = (uint64_t)product;
    if (high == 0)
        return round_to_even(low, false, (int)e);
    int shift =
        64 - __builtin_clzll(high); /* bits of the product above the lowest 64 */
    bool sticky = shift == 64 ? low != 0 : (low & ((UINT64_C(1) << shift) - 1)) != 0;
    return round_to_even((uint64_t)(product >> shift), sticky, (int)e + shift);
}

static double by_power_of_ten(uint64_t v, unsigned e)
{
    int up_v = __builtin_clzll(v), up_five = __builtin_clzll(power_of_five[e]);
    u128 dividend = (u128)(v << up_v) << 63;
    uint64_t divisor = power_of_five[e] << up_five;
    uint64_t quotient = (uint64_t)(dividend / divisor); /* 2^62 or more, below 2^64 */
    bool sticky = (u128)quotient * divisor != dividend;
    return round_to_even(quotient, sticky, up_five - up_v - 63 - (int)e);
}

static int by_strtod(const struct number *n, locale_t c_locale, double *ret)
{
    double v = strtod_l(n->begin, NULL, c_locale);
    if (isinf(v))
        return -ERANGE;
    *ret = v;
    return 0;
}

int number_to_double(const struct number *n, locale_t c_locale, double *ret)
{
    double v = 0;
    if (n->digits != 0) {
        if (n->more || n->exponent >= FIVES || n->exponent <= -FIVES)
            return by_strtod(n, c_locale, ret);
        v = n->exponent < 0 ? by_power_of_ten(n->digits, (unsigned)-n->exponent)
                            : times_power_of_ten(n->digits, (unsigned)n->exponent);
    }
    *ret = n->negative ? -v : v;
    return 0;
}
