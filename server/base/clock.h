/* SPDX-License-Identifier: Apache-2.0
 *
 * Times are int64 microseconds since 1970-01-01 UTC. Text forms: RFC 3339 for times, "10s", "250ms",
 * "2h" for durations.
 */
#ifndef WEIR_BASE_CLOCK_H
#define WEIR_BASE_CLOCK_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define SECOND_US INT64_C(1000000)
#define DAY_US    (86400 * SECOND_US)

int64_t clock_now_us(void);       /* wall clock */
int64_t clock_monotonic_us(void); /* for time-outs; never goes back */
int64_t clock_monotonic_ns(void);
int64_t clock_thread_cpu_ns(void); /* CPU time of the calling thread */

/* The wall clock of when the process began, going on with the monotonic one: for ages of things. Who sets the
 * clock neither makes them old nor young. */
int64_t clock_unstepped_us(void);

/* The wall clock, but for that it never goes back: where it was set back, time goes on from where it was. Each such
 * clock keeps what it is ahead of the monotonic one, at first CLOCK_STEADY_UNSET; raise: to at least us by now.
 * Any thread. */
#define CLOCK_STEADY_UNSET INT64_MIN
int64_t clock_steady_us(_Atomic int64_t *ahead_us);
void clock_steady_raise(_Atomic int64_t *ahead_us, int64_t us);

/* A condition that clock_cond_wait can wait for. 0 or -errno. */
int clock_cond_init(pthread_cond_t *c);
/* Until until_us (clock_monotonic_us; INT64_MAX: for ever). 0: woken; ETIMEDOUT. */
int clock_cond_wait(pthread_cond_t *c, pthread_mutex_t *lock, int64_t until_us);

/* Proleptic Gregorian calendar, any year that fits int64 microseconds. month 1-12, day 1-31. */
int64_t clock_days_from_civil(int64_t year, unsigned month, unsigned day);
void clock_civil_from_days(int64_t days, int64_t *ret_year, unsigned *ret_month,
                           unsigned *ret_day);

/* "2026-01-02T03:04:05Z", with ".123456" only if not whole seconds. Returns the length, at most 33. */
#define CLOCK_TEXT_MAX 40
size_t clock_format(int64_t us, char text[CLOCK_TEXT_MAX]);

/* RFC 3339: date, 'T' or space, time, optional fraction (further digits than six are cut), optional
 * zone ('Z', "+02:00"; none means UTC); a date alone is its midnight. -EINVAL otherwise, -ERANGE if
 * a field is out of range. */
int clock_parse(const char *text, size_t size, int64_t *ret_us);

/* A whole or decimal number followed by us, ms, s, m, h, d or w. -EINVAL, -ERANGE. */
int clock_parse_duration(const char *text, int64_t *ret_us);

/* "10s", "1m30s" would be two units: the largest single unit that is exact is used: "90s". */
size_t clock_format_duration(int64_t us, char text[CLOCK_TEXT_MAX]);

void clock_sleep_us(int64_t us); /* less than a second; a signal ends it */
#define NO_MEMORY_US 50000       /* between attempts where nothing may be left out */

#endif
