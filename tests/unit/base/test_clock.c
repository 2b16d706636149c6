/* SPDX-License-Identifier: Apache-2.0
 *
 * Times and durations. Expected times come from the datetime module of Python.
 */
#include "base/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Python: (datetime - datetime(1970, 1, 1)) // timedelta(microseconds=1), and isoformat. */
static const struct {
    int64_t us;
    const char *text;
} known[] = {
    {INT64_C(-62135596800000000), "0001-01-01T00:00:00Z"},
    {INT64_C(-11670912000000001), "1600-02-29T23:59:59.999999Z"},
    {INT64_C(-2208988801000000), "1899-12-31T23:59:59Z"},
    {INT64_C(-2203934400000000), "1900-02-28T12:00:00Z"},
    {INT64_C(-2203891200000000), "1900-03-01T00:00:00Z"},
    {INT64_C(-1), "1969-12-31T23:59:59.999999Z"},
    {INT64_C(0), "1970-01-01T00:00:00Z"},
    {INT64_C(951782400000000), "2000-02-29T00:00:00Z"},
    {INT64_C(1735689599000001), "2024-12-31T23:59:59.000001Z"},
    {INT64_C(2147483648000000), "2038-01-19T03:14:08Z"},
    {INT64_C(4107542399500000), "2100-02-28T23:59:59.500000Z"},
    {INT64_C(4107542400000000), "2100-03-01T00:00:00Z"},
    {INT64_C(253402300799999999), "9999-12-31T23:59:59.999999Z"},
    {INT64_C(-25756988594259004), "1153-10-17T16:56:45.740996Z"},
    {INT64_C(5839906796500028), "2155-01-22T12:19:56.500028Z"},
    {INT64_C(210095250715580579), "8627-08-27T23:51:55.580579Z"},
    {INT64_C(156697679834057755), "6935-07-21T13:17:14.057755Z"},
    {INT64_C(58895111815038486), "3836-04-24T09:16:55.038486Z"},
    {INT64_C(219094618717515404), "8912-10-31T08:18:37.515404Z"},
    {INT64_C(162573883080766386), "7121-10-06T03:58:00.766386Z"},
    {INT64_C(91393517256516909), "4866-02-22T08:07:36.516909Z"},
    {INT64_C(-3205652141735262), "1868-06-01T13:04:18.264738Z"},
    {INT64_C(120850131508015929), "5799-08-03T08:58:28.015929Z"},
    {INT64_C(-49267775865553188), "0408-10-07T02:42:14.446812Z"},
    {INT64_C(-56829312704298466), "0169-02-24T07:48:15.701534Z"},
    {INT64_C(242022051513333639), "9639-05-17T03:38:33.333639Z"},
    {INT64_C(137147124344138809), "6316-01-08T23:25:44.138809Z"},
    {INT64_C(177775800363555189), "7603-06-29T06:46:03.555189Z"},
    {INT64_C(-4489363333208237), "1827-09-27T18:37:46.791763Z"},
    {INT64_C(108721835175687357), "5415-04-05T13:46:15.687357Z"},
    {INT64_C(226555774131038711), "9149-04-08T07:28:51.038711Z"},
    {INT64_C(230543469635138649), "9275-08-19T04:40:35.138649Z"},
    {INT64_C(47305322446808394), "3469-01-17T07:20:46.808394Z"},
    {INT64_C(101671124277776157), "5191-10-31T02:57:57.776157Z"},
    {INT64_C(225727030862177476), "9123-01-03T09:01:02.177476Z"},
    {INT64_C(164617328316549061), "7186-07-08T03:38:36.549061Z"},
    {INT64_C(214696404447850327), "8773-06-17T02:07:27.850327Z"},
    {INT64_C(170920623574806360), "7386-04-04T22:59:34.806360Z"},
    {INT64_C(149496881638962840), "6707-05-15T23:33:58.962840Z"},
    {INT64_C(-12290425251378801), "1580-07-13T16:59:08.621199Z"},
};

static void times_are_written_and_read_as_python_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        char text[CLOCK_TEXT_MAX];
        int64_t us = -1;
        size_t n = clock_format(known[i].us, text);
        assert_string_equal(text, known[i].text);
        assert_int_equal(n, strlen(text));
        assert_int_equal(clock_parse(text, n, &us), 0);
        assert_true(us == known[i].us);
    }
}

/* 400 years by the rule of the calendar itself: each day is one after the day before. */
static void every_day_of_an_era_follows_the_one_before(void **state)
{
    static const unsigned length[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t day_number = clock_days_from_civil(1800, 1, 1);
    (void)state;
    assert_int_equal(day_number,
                     -62091); /* Python: date(1800, 1, 1) - date(1970, 1, 1) */
    for (int year = 1800; year < 2200; year++) {
        bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        for (unsigned month = 1; month <= 12; month++) {
            unsigned days = length[month - 1] + (month == 2 && leap);
            for (unsigned day = 1; day <= days; day++, day_number++) {
                char text[CLOCK_TEXT_MAX], expected[CLOCK_TEXT_MAX];
                assert_int_equal(clock_days_from_civil(year, month, day), day_number);
                clock_format(day_number * DAY_US, text);
                snprintf(expected, sizeof expected, "%d-%02u-%02uT00:00:00Z", year,
                         month, day);
                assert_string_equal(text, expected);
            }
        }
    }
}

static void the_ends_of_int64_are_written(void **state)
{
    char text[CLOCK_TEXT_MAX];
    size_t n;
    (void)state;
    /* GNU date: date -u -d @-9223372036855 and @9223372036854 */
    n = clock_format(INT64_MIN, text);
    assert_int_equal(n, strlen(text));
    assert_string_equal(text, "-290308-12-21T19:59:05.224192Z");
    n = clock_format(INT64_MAX, text);
    assert_int_equal(n, strlen(text));
    assert_string_equal(text, "294247-01-10T04:00:54.775807Z");
}

static void forms_of_rfc3339_are_read(void **state)
{
    /* 2026-01-02T03:04:05Z is 1767323045: date -u -d 2026-01-02T03:04:05Z +%s */
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {
        {"2026-01-02T03:04:05Z", INT64_C(1767323045000000)},
        {"2026-01-02t03:04:05z", INT64_C(1767323045000000)},
        {"2026-01-02 03:04:05", INT64_C(1767323045000000)},
        {"2026-01-02T03:04:05.5Z", INT64_C(1767323045500000)},
        {"2026-01-02T03:04:05.123456789Z", INT64_C(1767323045123456)},
        {"2026-01-02T03:04:05.0000009", INT64_C(1767323045000000)},
        {"2026-01-02T05:04:05+02:00", INT64_C(1767323045000000)},
        {"2026-01-01T21:34:05-05:30", INT64_C(1767323045000000)},
        {"2026-01-02T03:04:05-00:00", INT64_C(1767323045000000)},
        {"2026-01-02", INT64_C(1767312000000000)},
        {"2016-12-31T23:59:60Z",
         INT64_C(1483228800000000)}, /* the leap second of 2016 */
        {"2017-01-01T00:59:60.5+01:00", INT64_C(1483228800500000)},
        {"0000-02-29T00:00:00Z", INT64_C(-62162121600000000)},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        int64_t us = -1;
        if (clock_parse(good[i].text, strlen(good[i].text), &us) != 0 ||
            us != good[i].us)
            fail_msg("%s: %lld", good[i].text, (long long)us);
    }
}

static void what_is_no_time_is_refused(void **state)
{
    static const struct {
        const char *text;
        int error;
    } bad[] = {
        {"", -EINVAL},
        {"2026", -EINVAL},
        {"2026-1-2", -EINVAL},
        {"2026-01-02T", -EINVAL},
        {"2026-01-02T03:04", -EINVAL},
        {"2026-01-02T03:04:05 ", -EINVAL},
        {"2026-01-02T03:04:05ZZ", -EINVAL},
        {"2026-01-02T03:04:05.Z", -EINVAL},
        {"2026-01-02T03:04:05,5Z", -EINVAL},
        {"2026-01-02T03:04:05+0200", -EINVAL},
        {"2026-01-02T03:04:05+02", -EINVAL},
        {"2026-01-02T03:04:05 UTC", -EINVAL},
        {"2026-01-02_03:04:05Z", -EINVAL},
        {"+026-01-02T03:04:05Z", -EINVAL},
        {" 2026-01-02", -EINVAL},
        {"1767323045", -EINVAL},
        {"2026-00-02", -ERANGE},
        {"2026-13-02", -ERANGE},
        {"2026-01-00", -ERANGE},
        {"2026-04-31", -ERANGE},
        {"2026-02-29", -ERANGE},
        {"1900-02-29", -ERANGE},
        {"2026-01-02T24:00:00Z", -ERANGE},
        {"2026-01-02T03:60:00Z", -ERANGE},
        {"2026-01-02T03:04:61Z", -ERANGE},
        {"2026-01-02T03:04:60Z", -ERANGE},
        {"2016-12-31T23:59:60+01:00", -ERANGE},
        {"2026-01-02T03:04:05+24:00", -ERANGE},
        {"2026-01-02T03:04:05+01:60", -ERANGE},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        int64_t us = 42;
        int r = clock_parse(bad[i].text, strlen(bad[i].text), &us);
        if (r != bad[i].error || us != 42)
            fail_msg("'%s': %d", bad[i].text, r);
    }
    int64_t us;
    assert_int_equal(clock_parse("2026-01-02\0", 11, &us), -EINVAL);
    assert_int_equal(clock_parse("2026-01-02T03", 10, &us),
                     0); /* size, not a zero, ends it */
}

static void durations_are_read(void **state)
{
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {
        {"0s", 0},
        {"1us", 1},
        {"250ms", 250000},
        {"10s", 10000000},
        {"1.5h", INT64_C(5400000000)},
        {"0.1s", 100000},
        {"0.0000019s", 1},
        {"5m", 300000000},
        {"7d", INT64_C(604800000000)},
        {"1w", INT64_C(604800000000)},
        {"9223372036854775806us", INT64_MAX - 1},
    };
    static const struct {
        const char *text;
        int error;
    } bad[] = {
        {"", -EINVAL},           {"10", -EINVAL},
        {"s", -EINVAL},          {"10 s", -EINVAL},
        {"-1s", -EINVAL},        {"1m30s", -EINVAL},
        {"1.s", -EINVAL},        {".5s", -EINVAL},
        {"10S", -EINVAL},        {"10sec", -EINVAL},
        {"1e3s", -EINVAL},       {"9223372036854775807us", -ERANGE},
        {"999999999w", -ERANGE}, {"99999999999999999999999us", -ERANGE},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        int64_t us = -1;
        if (clock_parse_duration(good[i].text, &us) != 0 || us != good[i].us)
            fail_msg("%s: %lld", good[i].text, (long long)us);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        int64_t us = 42;
        int r = clock_parse_duration(bad[i].text, &us);
        if (r != bad[i].error || us != 42)
            fail_msg("'%s': %d", bad[i].text, r);
    }
}

static void durations_are_written_in_the_largest_exact_unit(void **state)
{
    static const struct {
        int64_t us;
        const char *text;
    } known_durations[] = {
        {0, "0s"},
        {1, "1us"},
        {1500, "1500us"},
        {2000, "2ms"},
        {SECOND_US, "1s"},
        {90 * SECOND_US, "90s"},
        {120 * SECOND_US, "2m"},
        {DAY_US, "1d"},
        {7 * DAY_US, "7d"},
        {-2000, "-2ms"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(known_durations); i++) {
        char text[CLOCK_TEXT_MAX];
        size_t n = clock_format_duration(known_durations[i].us, text);
        assert_int_equal(n, strlen(text));
        assert_string_equal(text, known_durations[i].text);
    }
}

static void monotonic_time_does_not_go_back(void **state)
{
    (void)state;
    int64_t before = clock_monotonic_us(), cpu = clock_thread_cpu_ns();
    for (int i = 0; i < 1000; i++) {
        int64_t now = clock_monotonic_us();
        assert_true(now >= before);
        before = now;
    }
    assert_true(clock_thread_cpu_ns() > cpu);
    assert_true(clock_now_us() > INT64_C(1700000000000000)); /* later than 2023 */
}

static void a_steady_clock_goes_on_from_where_it_was(void **state)
{
    (void)state;
    const int64_t hour_us = 3600 * SECOND_US;
    _Atomic int64_t ahead_us = CLOCK_STEADY_UNSET;
    int64_t wall_us = clock_now_us();
    assert_in_range(clock_steady_us(&ahead_us) - wall_us, 0, 60 * SECOND_US);
    /* As after a start with a clock that was set back by an hour since. */
    clock_steady_raise(&ahead_us, wall_us + hour_us);
    int64_t before_us = clock_steady_us(&ahead_us);
    assert_in_range(before_us - wall_us - hour_us, 0, 60 * SECOND_US);
    clock_steady_raise(&ahead_us, wall_us);
    clock_sleep_us(2000);
    assert_in_range(clock_steady_us(&ahead_us) - before_us, 2000, 60 * SECOND_US);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_written_and_read_as_python_does),
        cmocka_unit_test(every_day_of_an_era_follows_the_one_before),
        cmocka_unit_test(the_ends_of_int64_are_written),
        cmocka_unit_test(a_steady_clock_goes_on_from_where_it_was),
        cmocka_unit_test(forms_of_rfc3339_are_read),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(durations_are_read),
        cmocka_unit_test(durations_are_written_in_the_largest_exact_unit),
        cmocka_unit_test(monotonic_time_does_not_go_back),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
