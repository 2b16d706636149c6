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

/* For windows with a zone. -EINVAL with the place in the configuration, -ENOMEM. */
int calendar_new(const struct config_window *c, struct calendar **ret,
                 struct error *error);
void calendar_free(struct calendar *c); /* takes NULL */

/* The span in which `us` lies: [start, end), INT64_MIN and INT64_MAX where time ends. */
void calendar_span(const struct calendar *c, int64_t us, int64_t *ret_start_us,
                   int64_t *ret_end_us);

/* A line that says which spans these are. */
void calendar_define(const struct calendar *c, struct buffer *b);

#endif
