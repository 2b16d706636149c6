/* SPDX-License-Identifier: Apache-2.0
 *
 * Who follows a result table learns of each row that is put or replaced, in the order in which it was, by a number
 * that counts up. Two triggers of SQLite write it down in the transaction of the row itself, so nothing is
 * forgotten and nothing said twice, whatever ends the server:
 *
 *      TABLE --trigger--> weir_changes_TABLE: seq | the primary key of the row
 *
 * Who remembers his place in the file (store/hooks.h) has what he has not seen kept for him, however much it is; of
 * what is for listeners the newest CHANGES_KEPT are kept.
 *
 * A table that nobody follows has no triggers and costs nothing. A row that was replaced since is found once for
 * each time, as it is now; one that retention has deleted is not found any more. A row that is taken back has a number
 * of its own, if the table is carried (store/carried.h), and is not found.
 */
#ifndef WEIR_STORE_CHANGES_H
#define WEIR_STORE_CHANGES_H

#include "store/store.h"

#include <sqlite3.h>

#define CHANGES_KEPT 100000 /* the newest so many of a table can be read again */
#define CHANGES_CUT  50000  /* so many are forgotten at once */

struct changes {
    int64_t since_us; /* when following began: numbers of another time mean nothing */
    int64_t first, last; /* known numbers are > first, <= last */
};

/* Begins to follow the table, or finds that it is followed. Any thread but the writer; waits for it. */
int changes_follow(struct store *s, const struct table *table, struct changes *ret,
                   struct error *error);

/* Tables for which `wanted` is false are followed no more; of others what is older than CHANGES_KEPT is forgotten. Any
 * thread but the writer; waits for it. `wanted` is called on the writer's. */
int changes_tidy(struct store *s, bool (*wanted)(void *ctx, const char *table),
                 void *ctx, struct error *error);

/* The same numbers, by a connection that reads. -ENOENT: it is not followed. */
int changes_look(sqlite3 *db, const char *table, struct changes *ret,
                 struct error *error);

/* Joins its changes, called c, with the table, called t: "weir_changes_T" AS c CROSS JOIN "T" AS t ON ...; `left`: LEFT
 * JOIN, so that rows that are deleted are seen, as nulls. */
void changes_append_join(sqlite3_str *sql, const struct table *table, bool left);

/* On the writer thread, outside of a transaction: as changes_follow, for those who call changes_keep. */
int changes_begin_here(struct store *s, const struct table *table, struct changes *ret,
                       struct error *error);

/* On the writer thread: these tables are followed for this owner, and what has numbers > position is kept. A table may be there
 * more than once. One that was there the last time, and is not now, is followed no more unless there are listeners. 1: there is more to
 * forget, by the next call; only of those that are carried, which may be far behind, and then not any more. */
struct changes_kept {
    const char *table;
    int64_t position;
};
enum changes_owner { CHANGES_HOOKS, CHANGES_CARRIED, CHANGES_PUBLISHED };
#define CHANGES_OWNERS 3
int changes_keep(struct store *s, enum changes_owner owner,
                 const struct changes_kept *kept, size_t n, struct error *error);
/* On the writer thread: is it kept for one who has to know of rows that go, too: carried, or published? */
bool changes_is_carried(const struct store *s, const char *table);
/* "weir_changes_T" (the primary key): of INSERT INTO. */
void changes_append_target(sqlite3_str *sql, const struct table *table);
void changes_free(struct store *s);

#endif
