/* SPDX-License-Identifier: Apache-2.0
 *
 * What a target is made of. All is its thread's but what `lock` protects.
 *
 *                 ours, it fits           no place there, or another's
 *      TAKE ------------------> CHANGES        TAKE ------------> FILL --all rows--> CHANGES
 *       ^                          |
 *       +--- whatever has failed
 *      TAKE --another has written there since we have--> OVER
 *
 * A table that is taken is written to once the file knows by whom (`noted`): who is killed before has written nothing, so that what is
 * there is what it was.
 */
#ifndef WEIR_TARGET_KIND_H
#define WEIR_TARGET_KIND_H

#include "base/metrics.h"
#include "store/carried.h"
#include "store/changes.h"
#include "store/hand.h"
#include "target/target.h"

#include <pthread.h>
#include <stdatomic.h>

#define TARGET_ROWS   20000              /* of a transaction there */
#define TARGET_BYTES  ((size_t)8 << 20)  /* likewise, about */
#define TARGET_HANDED ((size_t)32 << 20) /* bytes of rows that were handed on */
#define TARGET_EVERY_US                                                                \
    SECOND_US /* how often places are saved, and lags are looked at */

struct target_counters {
    _Atomic uint64_t put, deleted, refused, failures;
    _Atomic uint64_t lag; /* a gauge */
};

/* First in what a kind knows of a table. */
struct target_table {
    struct pipeline *pipeline; /* a reference */
    const struct table *table;
    int64_t
        late_us; /* rows of windows that ended so long before the watermark are not revised */
    struct carried_place place;
    struct target_table *next;

    enum target_stage { TARGET_TAKE, TARGET_FILL, TARGET_CHANGES, TARGET_OVER } stage;
    bool taken; /* by this run; then `before` says by whom it was written, */
    char before[CARRIED_ID]; /* and up to where that is ours: */
    int64_t before_bound;
    int64_t epoch;         /* what the target counted then, if it counts */
    int64_t last;          /* number of the last change, as it was looked at */
    bool look;             /* there may be something to send */
    bool dirty;            /* the place is not saved */
    bool noted;            /* the file knows that this run writes there */
    bool posted, will_say; /* it is being saved; then the file knows */
    bool held_told, refused_told;
    int64_t next_us, backoff_us; /* after a failure: not before; 0 */

    struct rowset *handed, **handed_last; /* `lock`, as all of these: in order */
    bool takes;                           /* sets are kept for it */

    struct target_counters count;
    struct target_status shown; /* `lock`; the kind gives it its topic */
};

struct target_set {
    const struct target_kind *kind;
    struct config *config; /* whose settings hold; a reference */
    char database[CARRIED_ID];
    struct target_table *first;
};

/* First in what a kind knows of itself. */
struct target {
    const struct target_kind *kind;
    struct store *store;
    struct metrics *metrics;
    const struct config_target *config; /* of the set */
    struct target_set *set;
    char writer[CARRIED_ID]; /* this run */
    sqlite3 *db;             /* reads */
    int wake;                /* an eventfd: something has been said, or the end */
    int64_t connect_us, backoff_us; /* not before */
    bool told_away, told_saving;
    bool hands; /* `open` says so: the store hands rows on, for target_handed */
    bool stays; /* connected, also when all tables are left to others */
    int64_t watch_us, save_us; /* not before */
    pthread_t thread;
    bool started;
    _Atomic uint64_t connected;

    pthread_mutex_t lock; /* protects these */
    pthread_cond_t changed;
    bool committed, ending, held;
    struct saving *saving; /* the writer has it to do; NULL: none is */
    bool saved;            /* one is over, with: */
    int saved_err;
    struct error saved_error;
    struct target_set *fresh; /* to be taken over */
    size_t handed_bytes;      /* of all tables */
    enum target_last {
        TARGET_NOT_LAST,
        TARGET_LAST_WANTED,
        TARGET_LAST_DONE,
        TARGET_LAST_FAILED
    } last;
};

/* NULL: not needed. */
struct target_kind {
    enum carried_to to;
    const char *name, *done;  /* "Kafka", "published" */
    const char *log, *thread; /* what its thread is called */
    size_t size, table_size;
    int64_t
        away_most_us; /* between tries to connect, unless `backoff` is longer; 0: `max_backoff` */
    struct {
        const char *rows, *rows_help, *put, *deleted, *refused; /* NULL: it has none */
        const char *failures, *lag, *lag_help, *connected, *connected_help;
    } metric;

    const struct config_target *(*settings)(const struct config *c); /* NULL: none */
    /* The text stands at the pipeline. */
    int (*check)(const struct config *c, const struct pipeline *p,
                 const struct table *t, struct error *error);
    int (*table_new)(const struct config *c, struct target_table *k,
                     struct error *error);
    void (*table_free)(struct target_table *k);       /* also if table_new has failed */
    void (*open)(struct target *t, const void *with); /* as of target_new */
    void (*close)(struct target *t);

    /* Another set of tables is there; with the lock held. */
    void (*adopted)(struct target *t);
    bool (*is_connected)(const struct target *t);
    /* -ECANCELED: the end, or all is over. All tables are to be asked for (target_ask) when it begins, or when it is lost. */
    int (*connect)(struct target *t, struct error *error);
    void (*disconnect)(struct target *t);
    void (*listen)(struct target *t); /* once a second, connected or not */
    /* Connected, before tables have their turns: returns when to be called again. May be disconnected behind it. */
    int64_t (*before)(struct target *t);
    /* Has the table to wait for that? */
    bool (*waits)(const struct target *t, const struct target_table *k);
    /* A piece of a table, or its place. -EEXIST: another has it. -ESTALE: to be asked for anew, at once. -ECANCELED: the end.
     * Others: it has failed, and is tried again. */
    int (*step)(struct target *t, struct target_table *k, struct error *error);
    bool (*is_lost)(const struct target *t,
                    int err); /* the connection, not the table */
    /* For people who need not know where it is: texts of libraries name hosts and users. */
    void (*tell)(const struct target *t, int err, const struct error *error,
                 char ret[256]);
    /* Until it is woken, or the time has come; NULL: it has nothing to hear meanwhile. */
    void (*idle)(struct target *t, int64_t until_us);
};

/* target.c */
bool target_is_ending(void *target);
/* All tables, as nobody knows how far they are. */
void target_ask(struct target *t);
/* It is left to another. */
void target_give_up(struct target *t, struct target_table *k,
                    const struct error *error);
bool target_is_over(const struct target *t); /* all of it */
void target_wake(struct target *t);
bool target_has_work(const struct target *t, const struct target_table *k);
/* Who waits in target_last is told. */
bool target_last_is_wanted(struct target *t);
void target_last_is_over(struct target *t, bool done);
void target_away(struct target *t, int err,
                 const struct error *error); /* the connection is lost */
/* As far as its windows have ended and are there, and cannot be revised any more, `retain` may take rows. */
void target_settle(struct target_table *k, int64_t watermark_us);

/* handed.c; on the store's thread: takes a set; */
void target_hand(void *target, struct rowset *r);
/* on the target's: the set with the row of this change, until the next call for the table; NULL: it is to be read. Sets before it
 * are freed. */
const struct rowset *target_handed(struct target *t, struct target_table *k,
                                   int64_t number);
/* Numbers may mean other rows from now on, or nobody wants them. */
void target_drop_handed(struct target *t, struct target_table *k);
void target_free_handed(struct target *t,
                        struct target_table *k); /* with the lock held */

/* places.c: they are saved by the store's thread, once a second, or soon if target_note was called; nobody waits for it. */
void target_note(struct target *t, struct target_table *k);
void target_save(struct target *t, int64_t now_us);
void target_saved(struct target *t); /* what has come of it */
void target_save_last(struct target *t);

#endif
