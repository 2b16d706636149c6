/* SPDX-License-Identifier: Apache-2.0
 *
 * Days, weeks and months as the clocks of a time zone show them, and where they begin. A day may have 23 or 25 hours, or
 * any other length; one that the clocks skip has none. It does not change: any thread.
 */
#ifndef WEIR_WINDOW_CALENDAR_H
#define WEIR_WINDOW_CALENDAR_H

#include "base/buffer.h"
#include "config/config.h"

struct calendar;

/* Spans of several sizes, where each is made of those of the one before; sizes are numbered from 0, the shortest. Those
 * shorter than a day begin with the day, and the last of one ends with it. */

/* For windows with a zone. -EINVAL with the place in the configuration, -ENOMEM. */
int calendar_new(const struct config_window *c, struct calendar **ret,
                 struct error *error);
void calendar_free(struct calendar *c); /* takes NULL */

size_t calendar_sizes(const struct calendar *c);

/* The span of a size in which `us` lies: [start, end), INT64_MIN and INT64_MAX where time ends. */
void calendar_span(const struct calendar *c, size_t size, int64_t us,
                   int64_t *ret_start_us, int64_t *ret_end_us);

/* Which one the span that begins at start_us is in the next longer one: a number from 0 on that rises, not always by 1. */
int64_t calendar_place(const struct calendar *c, size_t size, int64_t start_us);
/* The other way round: the span of that number in the longer one that ends at end_us. */
void calendar_by_place(const struct calendar *c, size_t size, int64_t end_us,
                       int64_t place, int64_t *ret_start_us, int64_t *ret_end_us);

/* A line that says which spans these are. Of several sizes also what the zone's clocks show. */
void calendar_define(const struct calendar *c, struct buffer *b);

#endif
