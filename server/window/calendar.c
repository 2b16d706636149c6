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

#define LONGEST_DAY_S (2 * DAY_S) /* one that is shown twice */

struct calendar {
    char *name;
    struct zone *zone;
    size_t n;
    struct config_span size[1 + CONFIG_COARSE_MAX]; /* one of its members is not 0 */
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
                              .n = 1 + c->n_coarse,
                              .offset_s = c->offset_us / SECOND_US};
    for (size_t i = 0; i < made->n; i++)
        made->size[i] = config_window_span(c, i);
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

size_t calendar_sizes(const struct calendar *c)
{
    return c->n;
}

/* The number of the span that has this day. */
static int64_t number_of(const struct config_span *size, int64_t day)
{
    int64_t year;
    unsigned month, of_month;
    if (size->days)
        return floor_div(day - A_MONDAY * (size->days == 7), size->days);
    clock_civil_from_days(day, &year, &month, &of_month);
    return floor_div(year * 12 + month - 1, size->months);
}

static int64_t first_day(const struct config_span *size, int64_t number)
{
    if (size->days)
        return number * size->days + A_MONDAY * (size->days == 7);
    int64_t month = number * size->months;
    return clock_days_from_civil(floor_div(month, 12),
                                 (unsigned)(month - 12 * floor_div(month, 12)) + 1, 1);
}

static int64_t start_of(const struct calendar *c, const struct config_span *size,
                        int64_t number)
{
    int64_t s = zone_when_s(c->zone, first_day(size, number) * DAY_S + c->offset_s), us;
    if (__builtin_mul_overflow(s, SECOND_US, &us))
        return s < 0 ? INT64_MIN : INT64_MAX;
    return us;
}

/* Of days or months; returns its number. */
static int64_t days_span(const struct calendar *c, const struct config_span *size,
                         int64_t us, int64_t *ret_start_us, int64_t *ret_end_us)
{
    int64_t s = floor_div(us, SECOND_US);
    int64_t local_s = s + zone_ahead_s(c->zone, s) - c->offset_s;
    int64_t number = number_of(size, floor_div(local_s, DAY_S));
    /* Clocks that are put back over midnight show the day before once more: it is over all the same. */
    while (start_of(c, size, number) > us)
        number--;
    int64_t start_us = start_of(c, size, number), end_us;
    while ((end_us = start_of(c, size, number + 1)) <= us && end_us < INT64_MAX) {
        start_us = end_us;
        number++;
    }
    *ret_start_us = start_us;
    *ret_end_us = end_us;
    return number;
}

static const struct config_span one_day = {.days = 1};

void calendar_span(const struct calendar *c, size_t size, int64_t us,
                   int64_t *ret_start_us, int64_t *ret_end_us)
{
    const struct config_span *s = &c->size[size];
    days_span(c, s->us ? &one_day : s, us, ret_start_us, ret_end_us);
    if (!s->us || *ret_start_us == INT64_MIN)
        return;
    *ret_start_us += (us - *ret_start_us) / s->us * s->us;
    if (*ret_end_us - *ret_start_us > s->us)
        *ret_end_us = *ret_start_us + s->us;
}

/* ---- Spans in spans ------------------------------------------------------------------------------- */

/* Numbers that those of less than a day take in each of the longer one's days. */
static int64_t places_a_day(const struct config_span *s)
{
    return LONGEST_DAY_S * SECOND_US / s->us;
}

int64_t calendar_place(const struct calendar *c, size_t size, int64_t start_us)
{
    const struct config_span *s = &c->size[size];
    const struct config_span *day = s->us ? &one_day : s;
    int64_t longer_us, day_us, end_us;
    calendar_span(c, size + 1, start_us, &longer_us, &end_us);
    if (longer_us == INT64_MIN) /* where time begins there are no more */
        return 0;
    if (s->us && c->size[size + 1].us)
        return (start_us - longer_us) / s->us;
    int64_t number = days_span(c, day, start_us, &day_us, &end_us) -
                     days_span(c, day, longer_us, &longer_us, &end_us);
    return s->us ? number * places_a_day(s) + (start_us - day_us) / s->us : number;
}

void calendar_by_place(const struct calendar *c, size_t size, int64_t end_us,
                       int64_t place, int64_t *ret_start_us, int64_t *ret_end_us)
{
    const struct config_span *s = &c->size[size];
    const struct config_span *day = s->us ? &one_day : s;
    int64_t us, start_us;
    calendar_span(c, size + 1, end_us - 1, &start_us, &us);
    if (s->us && c->size[size + 1].us) {
        us = start_us + place * s->us;
    } else {
        int64_t number = days_span(c, day, start_us, &us, &end_us);
        us = start_of(c, day, number + (s->us ? place / places_a_day(s) : place));
        us += s->us ? place % places_a_day(s) * s->us : 0;
    }
    calendar_span(c, size, us, ret_start_us, ret_end_us);
}

void calendar_define(const struct calendar *c, struct buffer *b)
{
    if (c->n == 1) {
        buffer_printf(b, "window of %u days, %u months, %lld, %s\n", c->size[0].days,
                      c->size[0].months, (long long)c->offset_s, c->name);
        return;
    }
    buffer_printf(b, "window of");
    for (size_t i = 0; i < c->n; i++)
        buffer_printf(b, " %lld:%u:%u", (long long)c->size[i].us, c->size[i].days,
                      c->size[i].months);
    buffer_printf(b, ", %lld, %s %llx\n", (long long)c->offset_s, c->name,
                  (unsigned long long)zone_sum(c->zone));
}
