/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the store share. The connection and all of this but the inbox is the writer
 * thread's once store_start has returned.
 */
#ifndef WEIR_STORE_INTERNAL_H
#define WEIR_STORE_INTERNAL_H

#include "store/changes.h"
#include "store/dead_letters.h"
#include "store/files.h"
#include "store/inbox.h"
#include "store/store.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>

#define STORE_COMMIT_ROWS 10000 /* a commit is made when so many rows wait */
#define STORE_WAL_PAGES                                                                \
    1000 /* longer ones gain a few per cent of speed, and cost the longest pause */
#define STORE_PURGE_ROWS  5000  /* rows of one DELETE of retention: some milliseconds */
#define STORE_WORKERS_MAX 64    /* of one pipeline, as in the configuration */
#define STORE_LISTENERS   5     /* told of commits */
#define STORE_BUCKETS     1024u /* of pipelines by name */
#define STORE_CLOSE_PATIENCE_US                                                        \
    (10 * SECOND_US) /* retries go on for so long after store_hurry */

struct store_worker {
    uint64_t position;
    int64_t watermark_us; /* INT64_MIN: nothing said yet */
    uint64_t behind;      /* number in the inbox of the rows that it put last */
};

struct store_pipeline {
    char *name;

    pthread_mutex_t lock; /* protects these three */
    unsigned workers;
    struct store_worker
        said[STORE_WORKERS_MAX]; /* each the last that the worker said */
    bool spoken; /* the writer has not looked since, and has been told to */

    /* The writer's: what is to be committed, or is. */
    unsigned n;
    struct store_worker worker[STORE_WORKERS_MAX];
    int64_t committed_us; /* watermark in the file; INT64_MIN: none */
    bool changed;         /* a worker has come further since the last commit */
    int64_t early_us; /* rows of windows that end by then may be early (ROWS_EARLY) */
    bool early, early_kept; /* some are; the file says so */
    _Atomic bool out;       /* it gives nothing more: it is not waited for; relaxed */
    struct store_pipeline
        *top; /* of its chain, itself if it reads a stream; NULL: it has no table */
    unsigned members;                  /* of the chain whose top it is */
    unsigned known_n;                  /* workers, */
    uint64_t known[STORE_WORKERS_MAX]; /* and how far they are, held or not */
    uint64_t held_from;  /* number of its first item that is held; 0: none is */
    uint64_t settled;    /* of a top: rows up to here need not wait */
    _Atomic bool failed; /* what it gives is dropped; relaxed: soon enough */
    struct checkpoint *
        parts; /* of checkpoints that are not in the file yet, in the order they came */
    struct store_pipeline *next;
    struct store_pipeline *same; /* of the same bucket */
};

/* window_end, where all windows are of one length: SQLite computes it, no row stores it. */
static inline bool store_is_generated(const struct table *t, size_t column)
{
    return column == t->n_primary && window_fixed_size(&t->window) > 0;
}

struct store_table {
    const struct table *table;
    struct store_pipeline *pipeline;
    struct store *store;
    const struct rowset *set; /* what `insert` reads, */
    int64_t gone_us; /* but for rows that end, or begin, before: see purge_border */
    sqlite3_stmt *insert;
    sqlite3_stmt *clear; /* rows of a group that are revised; NULL: never needed */
    sqlite3_stmt
        *gone; /* changes of those that do not come again; NULL: not needed yet */
    sqlite3_stmt *
        instead; /* as `insert`, of rows that take the place of early ones; NULL: not needed yet */
    sqlite3_stmt *purge_find, *purge_to, *purge_all;
    sqlite3_stmt *overdue; /* a row of its table of these; NULL: not needed yet */
    sqlite3_stmt *number;  /* of the last change; NULL: not needed yet */
    sqlite3_stmt *given; /* a set, as it was given out; NULL: nobody joins the table */
    int64_t
        given_us; /* of those, all that end by then are gone; INT64_MIN: not looked yet */
    int64_t
        purged_us; /* no window that began earlier is left; INT64_MIN: not looked yet */
    bool purge_noted; /* the file says that it has no longer all rows */
    struct store_table *next;
};

/* A call that waits for the writer. */
struct store_call {
    int (*call)(struct store *s, void *ctx);
    void *ctx;
    int result;
};

struct store_counters {
    _Atomic uint64_t rows, known_rows, commits, commit_ns, retries, purged;
    _Atomic uint64_t checkpoints, checkpoint_bytes;
    struct histogram commit; /* of each transaction that was committed */
    _Atomic int64_t
        last_us; /* when the last one was (clock_monotonic_us); 0: none; relaxed: for people */
};

/* Who is given what they have put (store/hand.h); the writer's. */
struct store_taker {
    void (*take)(void *ctx, struct rowset *set); /* NULL: nobody */
    void *ctx;
};

/* Who is told of commits; the writer's. */
struct store_listener {
    void (*committed)(void *ctx); /* NULL: nobody */
    void *ctx;
    bool all; /* also without rows */
};

/* Rows that retention leaves (store/results.h); the writer's, or before it runs. */
struct store_need {
    char *table, *reader;
    int64_t needed_us;
};

/* Statements of checkpoints.c, requests.c and answers.c. */
struct store_statements {
    sqlite3_stmt *checkpoint_put, *checkpoint_number, *states_clear, *state_put,
        *state_delete;
    sqlite3_stmt *request_put, *request_forget, *bookmark_put, *stream_put;
    sqlite3_stmt *answers_put, *answers_forget;
};

struct store {
    struct store_options options; /* path is not valid */
    char *path;
    struct files files;
    sqlite3 *db;
    struct pages *pages; /* pages.c; NULL: nobody copies them */
    /* Both grow at their front: release, acquire. */
    _Atomic(struct store_pipeline *) pipelines, bucket[STORE_BUCKETS];
    struct store_table *tables;
    sqlite3_stmt *begin, *commit, *rollback, *put_pipeline;
    struct store_statements statement;
    struct inbox *inbox;
    int64_t took_us;           /* for the last commit */
    int wal_pages;             /* of the WAL that the next commit goes behind */
    struct inbox_item *held;   /* rows that wait for others of their chain; in order */
    size_t n_chained;          /* pipelines that read others */
    struct dead_letters *dead; /* NULL: none are kept */
    size_t new_rows, known_rows; /* of this transaction: written, in the file already */
    struct store_part {          /* of this transaction, that is being written */
        struct store_pipeline *pipeline;
        const struct table *table; /* NULL: its position or checkpoint */
        struct inbox_item *item;   /* dead letters, keys of a stream */
    } part;
    struct store_need *needs;
    size_t n_needs;
    struct store_listener listener[STORE_LISTENERS];
    struct store_taker taker;
    struct store_kept { /* changes.c: tables that are followed for the places of, */
        size_t n;
        struct changes_kept *table;
    } kept[CHANGES_OWNERS]; /* each of these */
    bool listened;          /* some are followed for listeners */
    struct store_counters count;
    _Atomic int trouble; /* relaxed: for people and for refusals that may be late */
    _Atomic bool ending, ended; /* store_ending and store_ended */
    bool ending_kept;           /* the writer's: the file says so */
    bool started;
    pthread_t thread;
};

/* NULL: no table was made for it. Any thread. */
struct store_pipeline *store_find_pipeline(const struct store *s, const char *name);
/* Makes it if need be. Before store_start, or on the writer thread. -ENOMEM, or why its watermark cannot be read. */
int store_need_pipeline(struct store *s, const char *name, struct store_pipeline **ret,
                        struct error *error);

/* What SQLite would only say at the first write. 0 where the file is not there. */
int store_check_path(const char *path, struct error *error);

/* result_table.c: makes the table and its view, or checks that those there fit, as store_tables. `none`: there are only tables that
 * were made so, and tables of the server's own. */
int result_table_sync(sqlite3 *db, const struct table *t, bool none,
                      struct error *error);

/* pages.c: what a commit has changed. */
struct pages;
void pages_note(struct store *s);
void pages_unfollow(
    struct pages *p); /* takes NULL; behind the connection, whose WAL it reads */

/* insert.c: the statements of a table, once, and the rows of one set into it. Both return a SQLite result
 * code. */
int insert_prepare(struct store *s, struct store_table *t);
char *
insert_module_name(const struct table *table); /* for sqlite3_free; NULL: no memory */
int insert_rows(struct store *s, struct store_table *t, struct rowset *r);

/* hand.c: behind the statement that has put so many of its rows, and written so many in all: their numbers, if it can be handed on; */
void hand_number(struct store *s, struct store_table *t, struct rowset *r, size_t put,
                 size_t written);
/* behind the commit: those that can. */
void hand_rows(struct store *s, struct inbox_item *list);

/* early.c: rows that were given out before they are final. As long as there are some, the file says so, and who opens
 * it next deletes them: nobody knows what they would have become. */
void early_note(struct store_pipeline *p, const struct rowset *rows);
/* With the pipeline's rows and position, in their transaction: is what the file says still so? A SQLite result code. */
int early_mark(struct store *s, struct store_pipeline *p, int64_t watermark_us);
void early_committed(struct store_pipeline *p);
/* Of a run that is at its end; a SQLite result code. */
int early_note_ending(struct store *s);
/* Was one ended there? -EALREADY: and its files are not to be taken again. */
int early_check_ending(struct store *s, struct error *error);
int early_clear_ending(sqlite3 *db, struct error *error);
/* Deletes those that a run has left that did not come to its end. */
int early_clean(sqlite3 *db, struct error *error);

/* The key in weir_meta of a table that `retain` has deleted rows of, with its name behind it. */
#define PURGE_NOTE "purged."
/* purge.c: deletes at most about `budget` rows that retention no longer keeps; *ret_more: there are
 * more. Returns a SQLite result code. */
int purge_prepare(struct store *s, struct store_table *t);
/* Windows that end at or before watermark - retain go: those whose rows begin before *ret_before_us; windows by key, whose rows
 * end before it. False: all stay. */
bool purge_border(const struct store_table *t, int64_t *ret_before_us);
/* If rows of windows that end behind needed_us stay. */
bool purge_border_of(const struct store_table *t, int64_t needed_us,
                     int64_t *ret_before_us);
int purge_run(struct store *s, size_t budget, bool *ret_more);

/* checkpoints.c: parts are collected (note), written once they are complete (write: a SQLite result
 * code), and told of once that is committed. */
int checkpoints_prepare(struct store *s, struct error *error);
void checkpoints_free(struct store *s);
void checkpoints_drop(struct store_pipeline *p);
void checkpoints_note(struct store_pipeline *p, struct checkpoint *c); /* takes it */
bool checkpoints_complete(const struct store_pipeline *p, uint64_t number);
int checkpoints_write(struct store *s, const struct store_pipeline *p);
void checkpoints_committed(struct store *s, struct store_pipeline *p);

/* overdue.c: rows that who joins results does not find. Their table, where there may be such; */
int overdue_make(sqlite3 *db, const struct table *t, struct error *error);
/* " AND NOT EXISTS ...": none of those, in a condition on rows of the table; */
void overdue_append_none(sqlite3_str *text, const struct table *t);
/* those of a set, behind its rows; those that end before. Both return a SQLite result code. */
int overdue_write(struct store *s, struct store_table *t, const struct rowset *r);
int overdue_purge(struct store *s, const struct table *t, int64_t before_us);

/* replaced.c: results that are replaced, as they were given out, for those that join them. From here on they are kept, in a table
 * of their own, which begins with what there is; its statement, where it is there; its columns; */
bool replaced_can_be(const struct table *t);
int replaced_begin(struct store *s, const struct table *table, struct error *error);
int replaced_prepare(struct store *s, struct store_table *t); /* a SQLite result code */
int replaced_sync(sqlite3 *db, const struct table *t, struct error *error);
/* what all have read goes (a SQLite result code); nobody joins them. */
int replaced_purge(struct store *s, struct store_table *t);
void replaced_end(struct store *s, struct store_table *t);

/* results.c; on the writer thread. A reader of this name has read windows that end by then, and so has its checkpoint. */
void results_has_read(struct store *s, const char *reader, int64_t until_us);
/* INT64_MAX: nobody needs rows of it. */
int64_t results_needed(const struct store *s, const char *table);

/* chains.c; all on the writer thread. The pipeline has a table again, or none any more. */
void chains_join(struct store *s, struct store_pipeline *p, struct store_pipeline *top);
void chains_part(struct store *s, struct store_pipeline *p);
/* Are the parts of all of the chain there? */
bool chains_complete(const struct store *s, const struct store_pipeline *p,
                     uint64_t number);
/* What is to be committed now, of the share, whose checkpoints are noted, and of what was held before. */
struct inbox_item *chains_sort(struct store *s, const struct inbox_share *share);

/* requests.c: keys of requests. Write returns a SQLite result code. */
int requests_prepare(struct store *s, struct error *error);
void requests_free(struct store *s);
int requests_write(struct store *s, const struct store_stream *r);

/* reference.c: as restore_reference. */
int reference_read(sqlite3 *db, const struct config_reference *c,
                   int (*take)(void *ctx, const struct batch *b, struct error *error),
                   void *ctx, uint64_t *ret_wrong, struct error *error);

/* answers.c: of other services. Both return a SQLite result code. */
int answers_prepare(struct store *s, struct error *error);
void answers_free(struct store *s);
int answers_write(struct store *s, const char *pipeline,
                  const struct pipeline_answers *a);
int answers_forget(struct store *s, const char *pipeline, uint64_t position);

/* restore.c: the committed watermark of a pipeline; -ENOENT: none. */
int store_watermark(sqlite3 *db, const char *pipeline, int64_t *ret_us,
                    struct error *error);

/* writer.c */
void *writer_run(void *store);
/* The last statement could not be run, for a reason that is the pipeline's own (db_is_local). On the writer
 * thread. */
void writer_fail_pipeline(struct store *s, struct store_pipeline *p,
                          const struct table *table);

#endif
