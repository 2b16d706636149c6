/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON numbers (RFC 8259, section 6) from text: exact integers, correctly rounded doubles.
 *
 * The inline functions take the common forms, eight digits at a time, and return NULL for all
 * others, valid or not; number_scan takes every form and says what is wrong. All may read RECORD_PAD
 * bytes behind the number, which must be followed by a byte that cannot belong to it.
 */
#ifndef WEIR_DECODE_NUMBER_H
#define WEIR_DECODE_NUMBER_H

#include <locale.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct number {
    const char *begin, *end;
    bool negative;
    bool more;        /* digits that are not zero follow those in `digits` */
    uint64_t digits;  /* the first 19 significant ones */
    int64_t exponent; /* the value is digits * 10^exponent (and a bit, if `more`) */
};

/* Returns the end, or NULL: *ret_problem says what is wrong at ret->end. */
const char *number_scan(const char *p, struct number *ret, const char **ret_problem);

int number_to_int(const struct number *n, int64_t *ret); /* -EDOM: not whole; -ERANGE */

/* Whole part of the value times 10^shift; digits behind it are cut. -ERANGE. */
int number_to_scaled(const struct number *n, int shift, int64_t *ret);

/* Rounds to nearest, ties to even. -ERANGE where that is infinite. */
int number_to_double(const struct number *n, locale_t c_locale, double *ret);

extern const uint64_t number_power_of_ten[20];
extern const double number_double_of_ten[23]; /* those that a double holds exactly */

/* Eight characters, the first in the lowest byte, digits as 0 to 9, other bytes above. */
static inline uint64_t number_load(const char *p)
{
    uint64_t x;
    memcpy(&x, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    return x ^ UINT64_C(0x3030303030303030);
}

/* How many of the eight are digits before the first that is not. A carry out of a byte that is not a
 * digit disturbs only bytes behind it. */
static inline unsigned number_count(uint64_t x)
{
    uint64_t others =
        ((x + UINT64_C(0x7676767676767676)) | x) & UINT64_C(0x8080808080808080);
    return others ? (unsigned)__builtin_ctzll(others) / 8 : 8;
}

/* Value of the first n (0 to 8) digits: as eight digits with zeros in front, summed in pairs. */
static inline uint64_t number_eight(uint64_t x, unsigned n)
{
    if (n < 8)
        x = x << (8 * (7 - n)) << 8;
    x = (x * 10 + (x >> 8)) & UINT64_C(0x00ff00ff00ff00ff);
    x = (x * 100 + (x >> 16)) & UINT64_C(0x0000ffff0000ffff);
    return (x * 10000 + (x >> 32)) & UINT64_C(0xffffffff);
}

/* Whole numbers of up to 15 digits. */
static inline const char *number_fast_int(const char *p, int64_t *ret)
{
    bool negative = *p == '-';
    p += negative;
    uint64_t x = number_load(p);
    unsigned n = number_count(x);
    if (__builtin_expect(n == 0 || ((x & 0xff) == 0 && n > 1), 0))
        return NULL;
    uint64_t v = number_eight(x, n);
    if (n == 8) {
        uint64_t y = number_load(p + 8);
        unsigned k = number_count(y);
        if (k == 8)
            return NULL;
        v = v * number_power_of_ten[k] + number_eight(y, k);
        n += k;
    }
    p += n;
    if (__builtin_expect(*p == '.' || (*p | 0x20) == 'e', 0))
        return NULL;
    *ret = negative ? -(int64_t)v : (int64_t)v;
    return p;
}

/* Up to seven digits before the point and seven behind it: both the digits, as a whole number below
 * 2^53, and the power of ten are exact doubles, so that one division rounds correctly. */
static inline const char *number_fast_double(const char *p, double *ret)
{
    bool negative = *p == '-';
    p += negative;
    uint64_t x = number_load(p);
    unsigned n = number_count(x);
    if (__builtin_expect(n == 0 || n == 8 || ((x & 0xff) == 0 && n > 1), 0))
        return NULL;
    double v = (double)(int64_t)number_eight(x, n);
    p += n;
    if (*p == '.') {
        uint64_t y = number_load(p + 1);
        unsigned k = number_count(y);
        if (k == 0 || k == 8)
            return NULL;
        int64_t digits =
            (int64_t)(number_eight(x, n) * number_power_of_ten[k] + number_eight(y, k));
        v = (double)digits / number_double_of_ten[k];
        p += k + 1;
    }
    if (__builtin_expect((*p | 0x20) == 'e', 0))
        return NULL;
    *ret = negative ? -v : v;
    return p;
}

#endif
