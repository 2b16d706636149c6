/* SPDX-License-Identifier: Apache-2.0
 *
 * What workers have put and the writer has not committed yet, in order; bounded by reports and by
 * rows. The workers' side may be called from any thread, the writer's from one.
 */
#ifndef WEIR_STORE_INTAKE_H
#define WEIR_STORE_INTAKE_H

#include "store/store.h"

#include <stdbool.h>

#define INTAKE_ROWS_MAX                                                                \
    65536 /* put waits while more rows wait: about 8 MB of 8 columns */

struct intake;

struct intake_item {
    struct store_report report;
    size_t n_rows;
    int64_t put_us; /* clock_monotonic_us */
    struct intake_item *next;
};

int intake_new(size_t reports_max, int64_t commit_interval_us, struct intake **ret);
void intake_free(struct intake *k); /* with the items left in it */
void intake_item_free(struct intake_item *list);
void intake_free_rows(struct rowset *list);

/* Workers. Put takes the rows in any case; -EIO once failed, -ESHUTDOWN once closed. */
int intake_put(struct intake *k, const struct store_report *report);
int intake_flush(struct intake *k);
void intake_close(struct intake *k);
size_t intake_length(struct intake *k);

/* The writer. Waits until `rows_wanted` rows wait, or the oldest report has waited for the commit
 * interval, or somebody flushes, or it is closed; takes reports up to and with the one that reaches
 * `rows_wanted`. NULL: closed and empty; or, where `hurry` is set, nothing is due. */
struct intake_item *intake_take(struct intake *k, size_t rows_wanted, bool hurry,
                                bool *ret_closed);

/* All that was taken is in the file. */
void intake_done(struct intake *k);
/* No more is taken; those who wait get -EIO. */
void intake_fail(struct intake *k);
/* Waits for `us`, less if it is closed: returns microseconds since it was closed, or -1. */
int64_t intake_pause(struct intake *k, int64_t us);

#endif
