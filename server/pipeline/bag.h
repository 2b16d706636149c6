/* SPDX-License-Identifier: Apache-2.0
 *
 * For an analyzer that cannot take rows out again, where results that it reads are replaced: the rows of a group are kept,
 * those that came and those that are gone, and folded into a fresh state when a result is due. What comes of it depends on
 * the rows that are left only: they are ordered by time, then by the columns that the analyzer takes.
 *
 *      update  --> in  \
 *      retract --> out  +--(due)--> in - out, ordered --> init, update, emit, drop
 */
#ifndef WEIR_PIPELINE_BAG_H
#define WEIR_PIPELINE_BAG_H

#include "pipeline/kept.h"

struct bag { /* as zeros: no rows */
    struct kept in, out;
};

/* Rows come, or go again, as of kept_add. */
int bag_add(const struct kept_form *f, struct host *h, const struct weir_rows *rows,
            bool out, uint64_t *ret_over);
int bag_merge(const struct kept_form *f, struct host *h, struct bag *into,
              const struct bag *from, uint64_t *ret_over);
void bag_drop(const struct kept_form *f, struct host *h, struct bag *b);

/* To bytes, and back into a state of zeros. -EBADMSG: they are not what bag_save writes. */
void bag_save(const struct kept_form *f, const struct bag *b, struct buffer *to);
int bag_load(const struct kept_form *f, struct host *h, struct bag *b,
             const char *bytes, size_t size);

/* Has the analyzer give the results of n groups to `out`. The bags are as they were, but for where their rows lie. */
int bag_emit(const struct kept_form *f, struct host *h, struct kept_view *v, size_t n,
             const struct weir_window *const *window, void *const *bag,
             struct weir_out *out);

#endif
