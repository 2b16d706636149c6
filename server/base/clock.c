/* SPDX-License-Identifier: Apache-2.0
 *
 * Clocks, and the text forms of times and durations.
 */
#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DAYS_IN_ERA      146097 /* 400 years */
#define DAYS_BEFORE_1970 719468 /* from 0000-03-01 */

static int64_t clock_read_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t clock_now_us(void)
{
    return clock_read_ns(CLOCK_REALTIME) / 1000;
}

int64_t clock_monotonic_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC);
}

int64_t clock_monotonic_us(void)
{
    return clock_read_ns(CLOCK_MONOTONIC) / 1000;
}

int64_t clock_thread_cpu_ns(void)
{
    return clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* No less than before. */
static int64_t raise_ahead(_Atomic int64_t *ahead_us, int64_t us)
{
    int64_t old = atomic_load_explicit(ahead_us, memory_order_relaxed);
    while (us > old && !atomic_compare_exchange_weak_explicit(ahead_us, &old, us,
                                                              memory_order_relaxed,
                                                              memory_order_relaxed))
        ;
    return us > old ? us : old;
}

int64_t clock_steady_us(_Atomic int64_t *ahead_us)
{
    /* The wall clock first: who is interrupted in between is too low rather than too high for ever. */
    int64_t wall_us = clock_now_us(), us = clock_monotonic_us();
    return us + raise_ahead(ahead_us, wall_us - us);
}

void clock_steady_raise(_Atomic int64_t *ahead_us, int64_t us)
{
    raise_ahead(ahead_us, us - clock_monotonic_us());
}

int64_t clock_unstepped_us(void)
{
    static _Atomic int64_t ahead_us; /* 0: not set */
    int64_t us = clock_monotonic_us();
    int64_t ahead = atomic_load_explicit(&ahead_us, memory_order_relaxed);
    if (!ahead) {
        int64_t fresh = clock_now_us() - us;
        if (atomic_compare_exchange_strong_explicit(
                &ahead_us, &ahead, fresh, memory_order_relaxed, memory_order_relaxed))
            ahead = fresh;
    }
    return us + ahead;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

int clock_cond_init(pthread_cond_t *c)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    int err = pthread_cond_init(c, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return -err;
}

int clock_cond_wait(pthread_cond_t *c, pthread_mutex_t *lock, int64_t until_us)
{
    if (until_us == INT64_MAX)
        return pthread_cond_wait(c, lock);
    int64_t us = until_us > 0 ? until_us : 0;
    struct timespec t = {.tv_sec = us / SECOND_US, .tv_nsec = us % SECOND_US * 1000};
    return pthread_cond_timedwait(c, lock, &t);
}

/* Years are counted from March, so that the leap day is the last of its year; then the
 * months have 31 30 31 30 31 | 31 30 31 30 31 | 31 28 days, and 153 days a block of
 * five gives the line (153 m + 2) / 5 through their beginnings. */
int64_t clock_days_from_civil(int64_t year, unsigned month, unsigned day)
{
    int64_t from_march = month > 2 ? month - 3 : month + 9;
    year -= month <= 2;
    int64_t era = floor_div(year, 400);
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * from_march + 2) / 5 + day - 1;
    int64_t day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * DAYS_IN_ERA + day_of_era - DAYS_BEFORE_1970;
}

void clock_civil_from_days(int64_t days, int64_t *year, unsigned *month, unsigned *day)
{
    days += DAYS_BEFORE_1970;
    int64_t era = floor_div(days, DAYS_IN_ERA);
    int64_t d = days - era * DAYS_IN_ERA; /* 0 .. 146096 */
    /* Leap days taken out: every 1460 days, not every 36524, again every 146096. */
    int64_t y = (d - d / 1460 + d / 36524 - d / 146096) / 365;
    int64_t day_of_year = d - (365 * y + y / 4 - y / 100);
    int64_t m = (5 * day_of_year + 2) / 153;
    *day = (unsigned)(day_of_year - (153 * m + 2) / 5 + 1);
    *month = (unsigned)(m < 10 ? m + 3 : m - 9);
    *year = era * 400 + y + (*month <= 2);
}

/* `v` with so many digits. Result rows have two times: with printf one took 131 ns, now 22. */
static char *digits(char *to, unsigned v, unsigned n)
{
    for (unsigned i = n; i-- > 0; v /= 10)
        to[i] = (char)('0' + v % 10);
    return to + n;
}

size_t clock_format(int64_t us, char text[CLOCK_TEXT_MAX])
{
    int64_t days = floor_div(us, DAY_US);
    int64_t rest =
        us % DAY_US + (us % DAY_US < 0 ? DAY_US : 0); /* days * DAY_US may overflow */
    unsigned second = (unsigned)(rest / SECOND_US),
             fraction = (unsigned)(rest % SECOND_US);
    int64_t year;
    unsigned month, day;
    clock_civil_from_days(days, &year, &month, &day);
    char *to = text;
    if (year >= 0 && year <= 9999)
        to = digits(to, (unsigned)year, 4);
    else
        to += snprintf(text, CLOCK_TEXT_MAX, "%s%04" PRId64, year < 0 ? "-" : "",
                       year < 0 ? -year : year);
    *to++ = '-';
    to = digits(to, month, 2);
    *to++ = '-';
    to = digits(to, day, 2);
    *to++ = 'T';
    to = digits(to, second / 3600, 2);
    *to++ = ':';
    to = digits(to, second / 60 % 60, 2);
    *to++ = ':';
    to = digits(to, second % 60, 2);
    if (fraction) {
        *to++ = '.';
        to = digits(to, fraction, 6);
    }
    *to++ = 'Z';
    *to = 0;
    return (size_t)(to - text);
}

struct cursor {
    const char *p, *end;
};

/* Exactly `n` digits; false if they are not there. */
static bool take_digits(struct cursor *c, int n, int *ret)
{
    int v = 0;
    if (c->end - c->p < n)
        return false;
    for (int i = 0; i < n; i++) {
        if (c->p[i] < '0' || c->p[i] > '9')
            return false;
        v = v * 10 + (c->p[i] - '0');
    }
    c->p += n;
    *ret = v;
    return true;
}

/* One character of `set`. */
static bool take_one(struct cursor *c, const char *set)
{
    if (c->p == c->end || *c->p == 0 || !strchr(set, *c->p))
        return false;
    c->p++;
    return true;
}

static int take_date(struct cursor *c, int64_t *ret_us)
{
    static const unsigned char length[] = {31, 28, 31, 30, 31, 30,
                                           31, 31, 30, 31, 30, 31};
    int year, month, day;
    if (!take_digits(c, 4, &year) || !take_one(c, "-") || !take_digits(c, 2, &month) ||
        !take_one(c, "-") || !take_digits(c, 2, &day))
        return -EINVAL;
    if (month < 1 || month > 12)
        return -ERANGE;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (day < 1 || day > length[month - 1] + (month == 2 && leap))
        return -ERANGE;
    *ret_us = clock_days_from_civil(year, (unsigned)month, (unsigned)day) * DAY_US;
    return 0;
}

/* ".123456789": further digits than six are cut. */
static int take_fraction(struct cursor *c, int64_t *ret_us)
{
    int64_t us = 0, scale = SECOND_US / 10;
    *ret_us = 0;
    if (!take_one(c, "."))
        return 0;
    int digit;
    if (!take_digits(c, 1, &digit))
        return -EINVAL;
    do {
        us += digit * scale;
        scale /= 10;
    } while (take_digits(c, 1, &digit));
    *ret_us = us;
    return 0;
}

/* What is to be added to a time of day to have it in UTC. */
static int take_zone(struct cursor *c, int64_t *ret_us)
{
    int hour, minute;
    *ret_us = 0;
    if (c->p == c->end || take_one(c, "Zz"))
        return 0;
    bool east = *c->p == '+';
    if (!take_one(c, "+-") || !take_digits(c, 2, &hour) || !take_one(c, ":") ||
        !take_digits(c, 2, &minute))
        return -EINVAL;
    if (hour > 23 || minute > 59)
        return -ERANGE;
    int64_t offset = (hour * 60 + minute) * (60 * SECOND_US);
    *ret_us = east ? -offset : offset;
    return 0;
}

static int take_time_of_day(struct cursor *c, int64_t *ret_us)
{
    int hour, minute, second;
    int64_t fraction, zone;
    if (!take_digits(c, 2, &hour) || !take_one(c, ":") || !take_digits(c, 2, &minute) ||
        !take_one(c, ":") || !take_digits(c, 2, &second))
        return -EINVAL;
    if (hour > 23 || minute > 59 || second > 60)
        return -ERANGE;
    int r = take_fraction(c, &fraction);
    if (r == 0)
        r = take_zone(c, &zone);
    if (r < 0)
        return r;
    int64_t whole = ((hour * 60 + minute) * 60 + second) * SECOND_US + zone;
    if (second == 60 && whole % DAY_US != 0)
        return -ERANGE; /* leap seconds end a day of UTC */
    *ret_us = whole + fraction;
    return 0;
}

int clock_parse(const char *text, size_t size, int64_t *ret_us)
{
    struct cursor c = {text, text + size};
    int64_t date, time = 0;
    int r = take_date(&c, &date);
    if (r < 0)
        return r;
    if (c.p < c.end) {
        if (!take_one(&c, "Tt "))
            return -EINVAL;
        r = take_time_of_day(&c, &time);
        if (r < 0)
            return r;
        if (c.p < c.end)
            return -EINVAL;
    }
    *ret_us = date + time;
    return 0;
}

static const struct {
    const char *name;
    int64_t us;
} units[] = {
    {"w", 7 * DAY_US},
    {"d", DAY_US},
    {"h", 3600 * SECOND_US},
    {"m", 60 * SECOND_US},
    {"s", SECOND_US},
    {"ms", 1000},
    {"us", 1},
};
#define N_UNITS (sizeof units / sizeof units[0])

/* Digits, and a fraction as `ret_fraction` / `ret_scale`, of which 12 digits are kept.
 */
static const char *take_decimal(const char *p, int64_t *ret_whole,
                                int64_t *ret_fraction, int64_t *ret_scale)
{
    int64_t whole = 0, fraction = 0, scale = 1;
    if (*p < '0' || *p > '9')
        return NULL;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(whole, 10, &whole) ||
            __builtin_add_overflow(whole, *p - '0', &whole))
            whole = INT64_MAX; /* stays too large for every unit */
    }
    if (*p == '.') {
        if (*++p < '0' || *p > '9')
            return NULL;
        for (; *p >= '0' && *p <= '9'; p++) {
            if (scale < INT64_C(1000000000000)) {
                fraction = fraction * 10 + (*p - '0');
                scale *= 10;
            }
        }
    }
    *ret_whole = whole;
    *ret_fraction = fraction;
    *ret_scale = scale;
    return p;
}

int clock_parse_duration(const char *text, int64_t *ret_us)
{
    int64_t whole, fraction, scale, us;
    const char *unit = take_decimal(text, &whole, &fraction, &scale);
    if (!unit)
        return -EINVAL;
    size_t i = 0;
    while (i < N_UNITS && strcmp(units[i].name, unit) != 0)
        i++;
    if (i == N_UNITS)
        return -EINVAL;
    int64_t part = (int64_t)((__int128_t)fraction * units[i].us / scale);
    if (__builtin_mul_overflow(whole, units[i].us, &us) ||
        __builtin_add_overflow(us, part, &us) || us == INT64_MAX)
        return -ERANGE; /* INT64_MAX stands for "never" */
    *ret_us = us;
    return 0;
}

size_t clock_format_duration(int64_t us, char text[CLOCK_TEXT_MAX])
{
    size_t i = 1; /* weeks are read, not written: 7d and 14d are usual */
    while (i + 1 < N_UNITS && us % units[i].us != 0)
        i++;
    if (us == 0)
        i = 4;
    int n = snprintf(text, CLOCK_TEXT_MAX, "%" PRId64 "%s", us / units[i].us,
                     units[i].name);
    return (size_t)n;
}

void clock_sleep_us(int64_t us)
{
    nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
}
