/* SPDX-License-Identifier: Apache-2.0
 *
 * Pipelines without windows: rows are kept as they are. Their key is the place of the row in the log, so that writing one again
 * after a crash changes nothing.
 */
#include "pipeline/worker.h"

#include <errno.h>

#define ROWS_KEYS 3 /* columns of rows_table before those that are selected */

int worker_select(struct worker *w, const struct log_entry *e, uint32_t n)
{
    struct pipeline *p = w->pipeline;
    const struct config_pipeline *c = p->config;
    const struct weir_column *column = e->batch->view;
    int r = 0;
    if (n && !w->side && rowset_new(p->rows_table, e->batch->n_rows, &w->side) < 0)
        return -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < n; i++) {
        struct weir_cell *cell = rowset_row(w->side);
        uint32_t row = w->row[i], index;
        if (!cell)
            return -ENOMEM;
        cell_put_time(&cell[0], weir_int(&column[0], row));
        cell_put_int(&cell[1], (int64_t)log_entry_row(e, row, &index));
        cell_put_int(&cell[2], index);
        cell += ROWS_KEYS;
        for (size_t k = 0; r == 0 && k < c->n_select; k++)
            if (c->select[k])
                r = rowset_value(w->side, &column[c->select[k]], row, cell++);
    }
    metric_add(&p->events, n);
    metric_add(&p->shard[w->index].events, n);
    metric_add(&p->rows, n);
    return r;
}
