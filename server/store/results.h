/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of a result table in the order of their windows' ends, for pipelines that join them: what is final, as the committed
 * watermark has passed it. One thread at a time; a connection of its own.
 */
#ifndef WEIR_STORE_RESULTS_H
#define WEIR_STORE_RESULTS_H

#include "pipeline/rowset.h"
#include "store/store.h"

struct results;

/* Of a table of windows that end, which is to outlive it. Errors of SQLite. */
int results_open(const char *path, const struct table *t, struct results **ret,
                 struct error *error);
void results_close(struct results *r); /* takes NULL */

/* Gives the rows of windows that end behind after_us and are final (`ended`: all), cells as in struct rowset, valid during the
 * call; behind `rows` of them it stops where the next window begins. *ret_until_us: all that end by then have been given;
 * *ret_more: there are others. Stops with what row() returns below 0. */
int results_read(struct results *r, int64_t after_us, bool ended, size_t rows,
                 int (*row)(void *ctx, const struct weir_cell *cell), void *ctx,
                 int64_t *ret_until_us, bool *ret_more, struct error *error);

/* Whatever `retain` says, rows of windows of the table that end behind needed_us stay for this reader, until a checkpoint of an
 * input of this name says that it has read up to its position. Before store_start, or within store_call. -ENOMEM. */
int results_need(struct store *s, const char *table, const char *reader,
                 int64_t needed_us);
/* By what results_read finds the rows of windows by key: of `global` as they were given out, from now on, all that anybody needs;
 * of others an index by their ends, which do not rise with their starts: without it, it reads the whole table. Nothing to do for
 * windows by time, or where it is there. Before store_start, or within store_call. Errors of SQLite. */
int results_ready(struct store *s, const struct table *t, struct error *error);
/* Readers that keep() does not want need nothing any more, but for the store's own (store/carried.h), whose names begin with
 * weir_; nor do tables that nobody reads need what results_ready has made. Within store_call. */
void results_forget(struct store *s, bool (*keep)(void *ctx, const char *reader),
                    void *ctx);

#endif
