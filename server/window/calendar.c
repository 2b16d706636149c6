/* SPDX-License-Identifier: Apache-2.0
 *
 * Spans have numbers: days since 1970-01-01, weeks since the Monday before, groups of months since the year 0. A number
 * becomes a day, the day's midnight (and offset) a local time, and that a time when the clocks first show it.
 */
#include "window/calendar.h"

#include "base/clock.h"
#include "window/zone.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DAY_S    INT64_C(86400)
#define A_MONDAY (-3) /* 1969-12-29, in days */

struct calendar {
    char *name;
    struct zone *zone;
    unsigned days, months; /* one of them is 0 */
    int64_t offset_s;
};

int calendar_new(const struct config_window *c, struct calendar **ret,
                 struct error *error)
{
    struct error text = {""};
    struct calendar *made = calloc(1, sizeof(*made));
    if (!made)
        return error_set(error, -ENOMEM, "no memory");
    *made = (struct calendar){.name = strdup(c->zone),
                              .days = c->days,
                              .months = c->months,
                              .offset_s = c->offset_us / SECOND_US};
    int r = made->name ? zone_load(c->zone, &made->zone, &text) : -ENOMEM;
    if (r < 0) {
        calendar_free(made);
        return r == -ENOMEM ? error_set(error, r, "no memory")
                            : node_error(c->zone_node, error, "%s", text.text);
    }
    *ret = made;
    return 0;
}

void calendar_free(struct calendar *c)
{
    if (!c)
        return;
    zone_free(c->zone);
    free(c->name);
    free(c);
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* The number of the span that has this day. */
static int64_t number_of(const struct calendar *c, int64_t day)
{
    int64_t year;
    unsigned month, of_month;
    if (c->days)
        return floor_div(day - A_MONDAY * (c->days == 7), c->days);
    clock_civil_from_days(day, &year, &month, &of_month);
    return floor_div(year * 12 + month - 1, c->months);
}

static int64_t first_day(const struct calendar *c, int64_t number)
{
    if (c->days)
        return number * c->days + A_MONDAY * (c->days == 7);
    int64_t month = number * c->months;
    return clock_days_from_civil(floor_div(month, 12),
                                 (unsigned)(month - 12 * floor_div(month, 12)) + 1, 1);
}

static int64_t start_of(const struct calendar *c, int64_t number)
{
    int64_t s = zone_when_s(c->zone, first_day(c, number) * DAY_S + c->offset_s), us;
    if (__builtin_mul_overflow(s, SECOND_US, &us))
        return s < 0 ? INT64_MIN : INT64_MAX;
    return us;
}

void calendar_span(const struct calendar *c, int64_t us, int64_t *ret_start_us,
                   int64_t *ret_end_us)
{
    int64_t s = floor_div(us, SECOND_US);
    int64_t local_s = s + zone_ahead_s(c->zone, s) - c->offset_s;
    int64_t number = number_of(c, floor_div(local_s, DAY_S));
    /* Clocks that are put back over midnight show the day before once more: it is over all the same. */
    while (start_of(c, number) > us)
        number--;
    int64_t start_us = start_of(c, number), end_us;
    while ((end_us = start_of(c, number + 1)) <= us && end_us < INT64_MAX) {
        start_us = end_us;
        number++;
    }
    *ret_start_us = start_us;
    *ret_end_us = end_us;
}

void calendar_define(const struct calendar *c, struct buffer *b)
{
    buffer_printf(b, "window of %u days, %u months, %lld, %s\n", c->days, c->months,
                  (long long)c->offset_s, c->name);
}
