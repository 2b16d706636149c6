/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows in the order of a column, as SQLite orders it: nulls first, numbers by value, strings by their bytes. Radix sort
 * on numbers that are in the same order as the values; of strings longer than eight bytes the ranks of the
 * distinct ones.
 */
#ifndef ORDER_H
#define ORDER_H

#include "weir/plugin.h"

/* Sorts row[0..n) by the column, or from the last to the first; rows that are equal stay in their order.
 * `item` has room for 2 * n. Memory comes from ctx; -1 without any. */
struct order_item {
    uint64_t key;
    uint32_t row;
};
int order_by(struct weir_ctx *ctx, const struct weir_column *c, int descending,
             uint32_t *row, size_t n, struct order_item *item, uint64_t seed);

/* Negative, 0, positive as the value of row a is less than, equal to, greater than that of b; none is null. */
int order_compare(const struct weir_column *c, uint32_t a, uint32_t b);

#endif
