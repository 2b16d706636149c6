/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the carrier share. All is the thread's but what `lock` protects.
 *
 *                 ours, it fits           no place there, or another's
 *      TAKE ------------------> CHANGES        TAKE ------------> FILL --all rows--> CHANGES
 *       ^                          |
 *       +--- connection lost, changes unknown, refused
 *      TAKE --another has written there since we have--> FENCED
 */
#ifndef WEIR_CARRY_INTERNAL_H
#define WEIR_CARRY_INTERNAL_H

#include "base/buffer.h"
#include "base/metrics.h"
#include "carry/carry.h"
#include "carry/copy.h"
#include "carry/pg.h"
#include "store/carried.h"
#include "store/changes.h"

#include <pthread.h>
#include <stdatomic.h>

#define CARRY_ROWS  20000             /* of a transaction there */
#define CARRY_BYTES ((size_t)8 << 20) /* likewise, about */
#define CARRY_EVERY_US                                                                 \
    SECOND_US /* how often places are saved, and lags are looked at */

struct carry_counters {
    _Atomic uint64_t carried, deleted, refused, failures;
    _Atomic uint64_t lag; /* a gauge */
};

/* What a transaction carries, as one snapshot of ours has it. */
struct carry_piece {
    int64_t from, last;   /* numbers of changes behind `from`, up to `last` */
    bool all;             /* there is nothing behind it */
    bool plain;           /* each row was put once, and is new there */
    int64_t watermark_us; /* INT64_MIN: none */
};

struct carried {
    struct pipeline *pipeline; /* a reference */
    const struct table *table;
    int64_t
        late_us; /* rows of windows that ended so long before the watermark are not revised */
    struct carried_place place;
    struct carried *next;

    enum carry_stage { CARRY_TAKE, CARRY_FILL, CARRY_CHANGES, CARRY_OVER } stage;
    bool taken; /* by this run; then `before` says by whom it was written, */
    char before[CARRIED_ID]; /* and up to where that is ours: */
    int64_t before_bound;
    int64_t last;         /* number of the last change, as it was looked at */
    int64_t staged_until; /* rows up to this number may be there */
    bool look;            /* there may be something to carry */
    bool dirty;           /* the place is not saved */
    bool noted;           /* the file knows that this run writes there */
    bool held_told, refused_told;
    int64_t next_us, backoff_us; /* after a failure: not before; 0 */

    sqlite3_stmt *changes, *first, *more; /* rows: of changes, and of all */
    sqlite3_value *
        *at; /* FILL: the key of the last row that was read; [0] NULL: none was */
    int64_t fill_last; /* the last change when it began */
    struct copy lower,
        upper; /* FILL: keys, as they are sent, of the rows that the piece is between; `rows` 0: none */
    bool inclusive; /* lower is the first row; otherwise the last of the piece before */
    bool temporary; /* its tables for this connection were made */
    char *name;     /* "schema"."table" */
    struct carry_counters count;
    struct carry_status shown; /* `lock` */
};

struct carry_set {
    struct config *config; /* whose settings hold; a reference */
    char database[CARRIED_ID];
    struct carried *first;
};

struct carrier {
    struct store *store;
    struct metrics *metrics;
    const struct config_postgresql *config; /* of the set */
    struct carry_set *set;
    char writer[CARRIED_ID]; /* this run */
    sqlite3 *db;             /* reads */
    struct pg pg;
    bool schema_made;
    int64_t connect_us, backoff_us; /* not before */
    bool told_away;
    int64_t watch_us, save_us; /* not before */
    struct copy rows, gone;
    struct saving *saving; /* under way; NULL: none is */
    pthread_t thread;
    bool started;
    _Atomic uint64_t connected;

    pthread_mutex_t lock; /* protects these */
    pthread_cond_t changed;
    bool committed, ending, held, busy; /* busy: the writer has a save to do */
    bool saved;                         /* it is over, with: */
    int saved_err;
    struct carry_set *fresh; /* to be taken over */
};

void carried_free_list(struct carried *first);

/* rows.c: the next piece of changes, or of all rows, into c->rows, and keys of rows that are gone into c->gone. 1: there is
 * none. -ESTALE: what is next is not known any more. */
int rows_changes(struct carrier *c, struct carried *k, struct carry_piece *ret,
                 struct error *error);
int rows_fill(struct carrier *c, struct carried *k, struct carry_piece *ret,
              struct error *error);
void rows_restart(struct carried *k); /* of all rows, from the first one */

/* far.c: there. All leave no transaction open; what pg.h says of failures. Take: the table is made, or fits, and is ours; -EEXIST:
 * another's (CARRY_OVER). */
int far_schema(struct carrier *c, struct error *error);
int far_take(struct carrier *c, struct carried *k, struct error *error);
/* The piece that was read. -ESTALE: the place there is another one: take it again. */
int far_put(struct carrier *c, struct carried *k, const struct carry_piece *p,
            struct error *error);
int far_fill(struct carrier *c, struct carried *k, const struct carry_piece *p,
             struct error *error);

#endif
