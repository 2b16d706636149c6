/* SPDX-License-Identifier: Apache-2.0
 *
 * Sets of rows that are in the file, handed on as they lie in memory: who follows a table (store/changes.h) and is not behind need
 * not read them again.
 *
 *      worker --> inbox --> writer: rows, their numbers --COMMIT--> take(ctx, set), whose rows are the changes first, first + 1, ...
 *
 * Only sets each of whose rows was put just now, once, into a table that never revises; others are in the file like these.
 */
#ifndef WEIR_STORE_HAND_H
#define WEIR_STORE_HAND_H

#include "pipeline/rowset.h"
#include "store/store.h"

/* From now on take(ctx, set) is called on the writer thread behind each transaction, for each such set in the order of numbers, before
 * those who listen (store_listen) are told; it takes the set, and is quick. One at a time: -EBUSY. NULL: no more for this ctx. Any
 * thread but the writer; waits for it. */
int store_hand(struct store *s, void (*take)(void *ctx, struct rowset *set), void *ctx);

#endif
