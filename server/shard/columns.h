/* SPDX-License-Identifier: Apache-2.0
 *
 * Result tables as others see them, and result rows as columns, some at a time.
 */
#ifndef WEIR_SHARD_COLUMNS_H
#define WEIR_SHARD_COLUMNS_H

#include "pipeline/pipeline.h"
#include "weir/shard.h"

struct shard_tables {
    struct weir_shard_table *table;
    const struct table *const *made; /* of the pipeline, which is to outlive this */
    size_t n;
};

/* -ENOMEM. What it has so far is for shard_tables_free also where it fails. */
int shard_tables_make(struct shard_tables *t, const struct pipeline *p);
void shard_tables_free(struct shard_tables *t);

struct columns {
    const struct rowset *set; /* where the next row is; NULL: there is none */
    size_t row;
    char *bytes; /* all that is given out */
    size_t room;
    struct weir_shard_values *value;
    size_t value_room;
    struct weir_shard_columns given;
};

/* From the first of these rows on, which stay until the last call of columns_next; NULL: none. */
void columns_begin(struct columns *c, const struct rowset *rows);
void columns_free(struct columns *c);

/* As weir_shard_next. */
int columns_next(struct columns *c, const struct shard_tables *tables, size_t rows_max,
                 const struct weir_shard_columns **ret);

#endif
