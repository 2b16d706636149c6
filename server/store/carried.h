/* SPDX-License-Identifier: Apache-2.0
 *
 * Result tables that go to a target (target/target.h): they are followed (store/changes.h), what is not there yet is kept, as
 * changes and as rows, and the file knows up to where that is. The target knows better; whether what it says is about this file, and
 * not a copy of it that went another way, is told by two things:
 *
 *      database   of the file, made once; copies have the same
 *      writer     of each run that writes there, made when it begins to. Of who wrote last, before this run, numbers
 *                 up to `bound` are the same in this file
 */
#ifndef WEIR_STORE_CARRIED_H
#define WEIR_STORE_CARRIED_H

#include "store/store.h"

#include <sqlite3.h>

#define CARRIED_ID 33 /* bytes of a name made by chance, with its zero */

/* Each has places of its own, and keeps what it has to keep. */
enum carried_to { CARRIED_POSTGRESQL, CARRIED_KAFKA };
#define CARRIED_TARGETS 2

struct carried_place {
    const char *table, *pipeline;
    int64_t since_us, position;
    char writer[CARRIED_ID]; /* "": nobody has written yet */
    int64_t bound;           /* -1: none, the writer is this run */
    /* Rows of windows that end behind it stay, whatever `retain` says. */
    int64_t needed_us;
};

/* Begins to follow these n tables, or finds that they are followed, and what is known of each; `retain` takes none of their
 * rows until a place is saved. `writer` is who writes now and goes on meanwhile, NULL: nobody, so what is there is all that the
 * last one can have written. Tables that are not among them are kept for nobody any more, unless left_out(pipeline). Any
 * thread but the writer; waits for it. */
int carried_open(struct store *s, enum carried_to to, const struct table *const *table,
                 size_t n, const char *writer,
                 bool (*left_out)(void *ctx, const char *pipeline), void *ctx,
                 struct carried_place *ret, char ret_database[CARRIED_ID],
                 struct error *error);

/* As the file is opened: what is not carried is kept, whoever writes to it now, until carried_open says otherwise. */
int carried_load(struct store *s, struct error *error);

/* All of these, in one transaction: on the writer thread, within store_call or store_post. 1: there is more to forget, by the
 * next call. */
int carried_save(struct store *s, enum carried_to to, const struct carried_place *place,
                 size_t n, struct error *error);

/* As of the snapshot of a connection that reads: event time up to which all rows of the pipeline are there. -ENOENT: none. */
int carried_watermark(sqlite3 *db, const char *pipeline, int64_t *ret_us,
                      struct error *error);

/* Has `retain` ever deleted rows of the table, also if there is none now? */
int carried_is_purged(sqlite3 *db, const char *table, bool *ret, struct error *error);

/* A new name. */
void carried_make_id(char ret[CARRIED_ID]);

#endif
