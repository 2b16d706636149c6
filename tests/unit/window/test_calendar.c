/* SPDX-License-Identifier: Apache-2.0
 *
 * Days, weeks and months of time zones: what Python's zoneinfo says of the same times, by the system's files.
 */
#include "base/clock.h"
#include "window/window.h"
#include "window/zone.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct node place = {.file = "f", .line = 1, .column = 2};

static int make(const char *zone, unsigned days, unsigned months, int64_t offset_s,
                struct calendar **ret, struct error *error)
{
    char name[256];
    snprintf(name, sizeof(name), "%s", zone);
    return calendar_new(&(struct config_window){.zone = name,
                                                .zone_node = &place,
                                                .days = days,
                                                .months = months,
                                                .offset_us = offset_s * SECOND_US},
                        ret, error);
}

/* Without the files only UTC is there. */
static void need_files(void)
{
    if (access("/usr/share/zoneinfo/Europe/Berlin", R_OK) != 0)
        skip();
}

/* Seconds: a time, and where its span begins and ends. Days of 23 to 25 hours, also half of one more or less; one that begins
 * at 1; one that there was not (Samoa, 2011-12-30) between its neighbours, and in its week; clocks put back at midnight
 * (Havana) and a minute behind (St. John's); the first day of another meridian (Berlin, 1893); times of the rule, behind
 * 2037. */
static const struct {
    const char *zone;
    unsigned days, months;
    int64_t offset_s, at_s, start_s, end_s;
} known[] = {
    {"Europe/Berlin", 1, 0, 0, INT64_C(1711879200), INT64_C(1711839600),
     INT64_C(1711922400)},
    {"Europe/Berlin", 1, 0, 0, INT64_C(1730026800), INT64_C(1729980000),
     INT64_C(1730070000)},
    {"Europe/Berlin", 7, 0, 0, INT64_C(1730069999), INT64_C(1729461600),
     INT64_C(1730070000)},
    {"Europe/Berlin", 0, 1, 0, INT64_C(1710457200), INT64_C(1709247600),
     INT64_C(1711922400)},
    {"Europe/Berlin", 1, 0, 0, INT64_C(-2422011600), INT64_C(-2422054408),
     INT64_C(-2421968400)},
    {"Europe/Berlin", 0, 3, 0, INT64_C(2848039200), INT64_C(2847996000),
     INT64_C(2855858400)},
    {"Europe/Berlin", 1, 0, 0, INT64_C(2847693600), INT64_C(2847654000),
     INT64_C(2847736800)},
    {"America/Sao_Paulo", 1, 0, 0, INT64_C(1541340000), INT64_C(1541300400),
     INT64_C(1541383200)},
    {"America/Sao_Paulo", 1, 0, 0, INT64_C(1518876000), INT64_C(1518832800),
     INT64_C(1518922800)},
    {"America/Sao_Paulo", 1, 0, 0, INT64_C(-631101600), INT64_C(-631144800),
     INT64_C(-631058400)},
    {"Australia/Lord_Howe", 1, 0, 0, INT64_C(1712453400), INT64_C(1712408400),
     INT64_C(1712496600)},
    {"Australia/Lord_Howe", 1, 0, 0, INT64_C(1728176400), INT64_C(1728135000),
     INT64_C(1728219600)},
    {"Australia/Lord_Howe", 0, 12, 0, INT64_C(4112775000), INT64_C(4102405200),
     INT64_C(4133941200)},
    {"Pacific/Apia", 1, 0, 0, INT64_C(1325196000), INT64_C(1325152800),
     INT64_C(1325239200)},
    {"Pacific/Apia", 7, 0, 0, INT64_C(1325282400), INT64_C(1324893600),
     INT64_C(1325412000)},
    {"America/Havana", 1, 0, 0, INT64_C(1730608200), INT64_C(1730606400),
     INT64_C(1730696400)},
    {"America/New_York", 1, 0, 21600, INT64_C(1710064740), INT64_C(1709982000),
     INT64_C(1710064800)},
    {"America/St_Johns", 1, 0, 0, INT64_C(1194190200), INT64_C(1194143400),
     INT64_C(1194233400)},
    {"Asia/Kolkata", 1, 0, 0, INT64_C(-23400), INT64_C(-106200), INT64_C(-19800)},
    {"UTC", 0, 6, 0, INT64_C(-3600), INT64_C(-15897600), INT64_C(0)},
};

static void spans_are_those_of_python(void **state)
{
    (void)state;
    need_files();
    for (size_t i = 0; i < COUNT(known); i++) {
        struct calendar *c;
        struct error error = {""};
        assert_int_equal(make(known[i].zone, known[i].days, known[i].months,
                              known[i].offset_s, &c, &error),
                         0);
        struct window_kind k = window_kind(&(struct config_window){0}, c);
        const int64_t start_us = known[i].start_s * SECOND_US,
                      end_us = known[i].end_s * SECOND_US;
        const int64_t inside[] = {start_us, known[i].at_s * SECOND_US, end_us - 1};
        for (size_t j = 0; j < 3; j++) {
            struct window w = window_of(&k, inside[j]);
            if (w.start_us != start_us || w.end_us != end_us)
                fail_msg("%s at %lld: %lld to %lld", known[i].zone,
                         (long long)known[i].at_s, (long long)w.start_us,
                         (long long)w.end_us);
            assert_true(window_has(&w, inside[j]) && w.id == start_us);
        }
        assert_true(window_has_id(&k, start_us));
        assert_int_equal(window_by_id(&k, start_us).end_us, end_us);
        assert_int_equal(window_next_border(&k, start_us), end_us);
        assert_int_equal(window_first_open(&k, end_us), end_us);
        assert_int_equal(window_last_end(&k, start_us), end_us);
        assert_int_equal(window_of(&k, start_us - 1).end_us, start_us);
        assert_int_equal(window_fixed_size(&k), 0);
        /* Of a time when the clocks of that day were an hour off. */
        assert_int_equal(window_id_now(&k, start_us - 3600 * SECOND_US), start_us);
        assert_int_equal(window_id_now(&k, start_us + 3600 * SECOND_US), start_us);
        calendar_free(c);
    }
}

static void spans_follow_each_other_to_the_ends_of_time(void **state)
{
    (void)state;
    struct calendar *c;
    struct error error = {""};
    for (unsigned days = 0; days <= 7; days += days ? 6 : 1) {
        assert_int_equal(make("UTC", days, days ? 0 : 1, 0, &c, &error), 0);
        static const int64_t ends[] = {INT64_MIN, INT64_MIN + DAY_US,
                                       INT64_MAX - DAY_US, INT64_MAX};
        for (size_t i = 0; i < COUNT(ends); i++) {
            int64_t start_us, end_us;
            calendar_span(c, 0, ends[i], &start_us, &end_us);
            assert_true(start_us <= ends[i] &&
                        (end_us > ends[i] || end_us == INT64_MAX));
        }
        int64_t us = -400 * DAY_US;
        while (us < 400 * DAY_US) {
            int64_t start_us, end_us;
            calendar_span(c, 0, us, &start_us, &end_us);
            assert_true(us == -400 * DAY_US || start_us == us);
            assert_true(end_us > us);
            us = end_us;
        }
        calendar_free(c);
    }
}

static uint64_t dice_state = 88172645463325252u;

/* Marsaglia, "Xorshift RNGs", 2003. */
static int64_t dice(int64_t below)
{
    dice_state ^= dice_state << 13;
    dice_state ^= dice_state >> 7;
    dice_state ^= dice_state << 17;
    return (int64_t)(dice_state % (uint64_t)below);
}

/* Windows of several sizes: each is cut into those of the size before, whose panes have ids of their own, in the order in
 * which a watermark is done with them. */
static void check_sizes(const struct window_kind *k, int64_t us)
{
    struct window w, finer, pane = window_of(k, us);
    int64_t id;
    assert_true(window_has(&pane, us) && window_is_pane(k, pane.id));
    for (size_t i = 0; i < k->n_sizes; i++, finer = w) {
        struct window_merge m[WINDOW_SIZES];
        assert_true(window_around(k, us, i, &w) && window_has(&w, us));
        struct window same = window_by_id(k, w.id);
        assert_true(same.start_us == w.start_us && same.end_us == w.end_us);
        assert_true(window_has_id(k, w.id) && !window_is_pane(k, w.id));
        assert_int_equal(window_size_of(k, w.id), i);
        assert_true(i == 0 ||
                    (w.start_us <= finer.start_us && w.end_us >= finer.end_us));
        assert_true(window_ending(k, w.end_us, m) > i);
        assert_int_equal(m[i].window.id, w.id);
        assert_int_equal(m[i].window.start_us, w.start_us);
        assert_true(window_first_open(k, w.end_us - 1) <= w.id &&
                    window_first_open(k, w.end_us) > w.id);
        /* Its panes, one behind the other. */
        int64_t at_us = w.start_us;
        for (id = m[i].first; id <= m[i].last; id += m[i].step) {
            struct window part = window_by_id(k, id);
            if (!window_has_id(k, id))
                continue; /* a place that the day does not have */
            assert_true(window_is_pane(k, id) && part.start_us == at_us);
            at_us = part.end_us;
        }
        assert_int_equal(at_us, w.end_us);
    }
    assert_true(window_open_pane(k, us, us, &id) && id == pane.id);
    assert_true(window_has_id(k, pane.id));
    struct window again = window_by_id(k, pane.id);
    assert_true(again.start_us == pane.start_us && again.end_us == pane.end_us);
    assert_false(window_open_pane(k, us, window_last_end(k, us), &id));
}

static void windows_of_several_sizes_are_cut_into_each_other(void **state)
{
    static const char *const zones[] = {"Europe/Berlin",       "America/Sao_Paulo",
                                        "Australia/Lord_Howe", "Pacific/Apia",
                                        "America/Havana",      "UTC"};
    const struct config_window windows[] = {
        {.size_us = 3600 * SECOND_US,
         .n_coarse = 3,
         .coarse_days = {1},
         .coarse_months = {0, 1, 12}},
        {.days = 1,
         .n_coarse = 1,
         .coarse_days = {7},
         .offset_us = 6 * 3600 * SECOND_US},
        {.size_us = 10 * SECOND_US,
         .n_coarse = 3,
         .coarse_us = {900 * SECOND_US, 3 * 3600 * SECOND_US},
         .coarse_days = {0, 0, 7}},
        {.months = 1, .n_coarse = 2, .coarse_months = {3, 6}},
    };
    (void)state;
    need_files();
    for (size_t z = 0; z < COUNT(zones); z++)
        for (size_t i = 0; i < COUNT(windows); i++) {
            struct config_window c = windows[i];
            struct calendar *calendar;
            struct error error = {""};
            char name[64];
            snprintf(name, sizeof(name), "%s", zones[z]);
            c.zone = name;
            c.zone_node = &place;
            assert_int_equal(calendar_new(&c, &calendar, &error), 0);
            struct window_kind k = window_kind(&c, calendar);
            for (int n = 0; n < 40; n++) /* 1890 to 2090 */
                check_sizes(&k, (dice(200 * 365) - 80 * 365) * DAY_US + dice(DAY_US));
            for (size_t s = 0; s < COUNT(known); s++)
                check_sizes(&k, known[s].at_s * SECOND_US);
            calendar_free(calendar);
        }
}

static void names_that_are_none_are_refused(void **state)
{
    static const struct {
        const char *name, *text;
    } wrong[] = {
        {"", "f:1:2: '' is no name of a time zone, such as Europe/Berlin"},
        {"/etc/passwd", "f:1:2: '/etc/passwd' is no name of a time zone"},
        {"../../etc/passwd", "f:1:2: '../../etc/passwd' is no name of a time zone"},
        {"Europe/Berln", "f:1:2: there is no time zone 'Europe/Berln' in "},
        {"zone.tab", "f:1:2: 'zone.tab' is no name of a time zone"},
        {"Europe", "f:1:2: '/usr/share/zoneinfo/Europe' is no time zone's file"},
    };
    (void)state;
    need_files();
    for (size_t i = 0; i < COUNT(wrong); i++) {
        struct calendar *c = NULL;
        struct error error = {""};
        assert_true(make(wrong[i].name, 1, 0, 0, &c, &error) < 0);
        if (strncmp(error.text, wrong[i].text, strlen(wrong[i].text)) != 0)
            fail_msg("%s", error.text);
    }
}

/* Every cut of a file is refused: its rule is at its end. */
static void files_that_are_cut_are_refused(void **state)
{
    (void)state;
    need_files();
    unsigned char bytes[8192];
    FILE *file = fopen("/usr/share/zoneinfo/Europe/Berlin", "r");
    assert_non_null(file);
    size_t size = fread(bytes, 1, sizeof(bytes), file);
    fclose(file);
    assert_true(size > 500 && size < sizeof(bytes));
    struct zone *z;
    for (size_t n = 0; n < size; n++) {
        unsigned char *cut = malloc(n + 1); /* whose end a sanitizer knows */
        assert_non_null(cut);
        memcpy(cut, bytes, n);
        assert_int_equal(zone_parse(cut, n, &z), -EBADMSG);
        free(cut);
    }
    assert_int_equal(zone_parse(bytes, size, &z), 0);
    assert_int_equal(zone_ahead_s(z, 0), 3600);
    zone_free(z);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_are_those_of_python),
        cmocka_unit_test(spans_follow_each_other_to_the_ends_of_time),
        cmocka_unit_test(windows_of_several_sizes_are_cut_into_each_other),
        cmocka_unit_test(names_that_are_none_are_refused),
        cmocka_unit_test(files_that_are_cut_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
