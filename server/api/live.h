/* SPDX-License-Identifier: Apache-2.0
 *
 * GET /api/v1/pipelines/{pipeline}/results[/{table}]/live: rows as they are committed, as Server-Sent Events.
 *
 * One thread serves all who listen. It sleeps until the store has committed rows, reads what has changed of each table
 * that somebody follows (store/changes.h), and writes it to the replies; those who ask the same and are
 * equally far get the same bytes. Nobody is waited for: a client that is behind is left alone until it has taken what
 * it was sent, as its place in SQLite is all that has to be remembered of it.
 */
#ifndef WEIR_API_LIVE_H
#define WEIR_API_LIVE_H

#include "api/api.h"
#include "store/changes.h"

struct live;

int live_new(const struct api *a, struct live **ret, struct error *error);
/* For a query thread: the table is followed, for ten minutes from now on at least. -EBUSY: the database cannot be
 * written now. */
int live_follow(struct live *l, const struct table *t, struct changes *ret,
                struct error *error);
/* BEGAN-NUMBER, the id of a row. -EINVAL. */
int live_parse_id(const char *text, int64_t *ret_since_us, int64_t *ret_at);

/* Replies end, no new ones begin. Before http_drain, which would wait for them. */
void live_end(struct live *l); /* takes NULL */
void live_free(
    struct live *
        l); /* after http_free, while the store is there unless live_end was called; takes NULL */

#endif
