/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of windows that are still open, as they would be if the windows closed now. Any thread asks; each worker answers between two
 * entries of the log, ahead of those that wait for it, for its own groups.
 *
 *      asker: a part for each worker --> worker.asked, wake --> rows, position --> asker, or nobody, if it has left
 *
 * What is asked must not hold up the log for long: so there are limits on rows and on the time of a worker, and one
 * question is answered between two entries.
 */
#ifndef WEIR_PIPELINE_OPEN_H
#define WEIR_PIPELINE_OPEN_H

#include "pipeline/pipeline.h"

#define OPEN_ROWS_MAX  100000u
#define OPEN_BYTES_MAX ((size_t)64 << 20) /* of strings in them; both for a worker */
#define OPEN_TURN_US   INT64_C(100000)    /* CPU time of a worker for one question */

struct open_filter { /* of one key, any of its values */
    size_t key;      /* number among the pipeline's */
    struct weir_cell value;
};

struct open_question {
    const struct table *table; /* of the pipeline */
    int64_t from_us, to_us;    /* windows that start at or after, and before it */
    size_t n_filters;
    const struct open_filter *filter; /* copied */
};

struct open_rows {
    unsigned workers;
    struct open_part {
        struct open_rows *of;
        struct open_part *next; /* of those that the worker has been asked */
        struct rowset *rows;    /* NULL: none */
        uint64_t position;      /* they are as of this entry */
        uint64_t gave;          /* where the worker last gave out rows; 0: not yet */
    } * part;
};

/* -ETIMEDOUT: a worker is busy with one entry, or its groups are too many for its time; -E2BIG: too many rows; -EBUSY: the pipeline has
 * failed or ends; -EINVAL: an analyzer failed, which does not matter to the pipeline; -ENOMEM. */
int pipeline_open_rows(struct pipeline *p, const struct open_question *q,
                       int64_t deadline_us, struct open_rows **ret,
                       struct error *error);
void open_rows_free(struct open_rows *o); /* takes NULL */

/* ---- For worker.c: between two entries; once its task has ended ---- */
void open_answer(struct worker *w);
void open_refuse(struct worker *w);

#endif
