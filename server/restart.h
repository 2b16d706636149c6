/* SPDX-License-Identifier: Apache-2.0
 *
 * Pipelines whose analyzers crash their processes (`run: process`) are started again, through the one way there is: the last
 * checkpoint, and the journal from there.
 *
 *      a process ends --> restart_look --> wait, longer each time --> weir_restart: exchanged for itself
 *                             |
 *             third time at the same rows: they are set aside, a dead letter tells of them
 *             third time elsewhere: the pipeline stops
 *
 * For the thread that reloads, too: both exchange pipelines.
 */
#ifndef WEIR_RESTART_H
#define WEIR_RESTART_H

#include "wire.h"

/* Looks for pipelines that have crashed since the last time, and starts those whose time has come. Returns when the next
 * one is due (clock_monotonic_us); INT64_MAX: none waits. */
int64_t weir_restart(struct weir *w);

/* Once, when the logs are there and no pipeline has started: rows that were set aside before, and what crashes.h has to say.
 * -ENOMEM. */
int restart_begin(struct weir *w);

/* What is known of a pipeline, and of those that read it, to fresh ones before they start. -ENOMEM. */
int restart_tell(const struct weir *w, struct pipeline *p);

/* A pipeline that reads another one begins afresh, and the rows that it reads may get numbers that others had: none is set aside
 * any more. Before it starts. */
void restart_forget(struct weir *w, struct pipeline *p);

void restarts_free(struct restarts *r); /* takes NULL */

#endif
