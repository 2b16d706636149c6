/* SPDX-License-Identifier: Apache-2.0
 *
 * The streams that a pipeline joins, before its workers: a task that takes entries of all of them, and hands those of the
 * pipeline's own stream on, in their order, with columns of the others beside their own.
 *
 *      own stream   --> [mailbox] --> waiting: e e e --> join, derive, keys --> workers
 *      other stream --> [mailbox] --> recent rows by key --^      until the watermarks of the others have passed
 *
 * What a row gets depends on the logs alone, however they come in between each other: it is looked up once the other's
 * watermark has passed its time, and rows behind that watermark are left out as late. For workers, and all behind them,
 * it is the own stream's log with more columns. Its positions are the pipeline's; those of the others stand in the
 * checkpoint, each with its watermark and the rows that may be asked for.
 */
#ifndef WEIR_PIPELINE_JOIN_H
#define WEIR_PIPELINE_JOIN_H

#include "base/tasks.h"
#include "pipeline/asof.h"
#include "pipeline/checkpoint.h"
#include "pipeline/mailbox.h"
#include "pipeline/pipeline.h"
#include "window/watermark.h"

#define JOIN_ROWS_MAX    4000000u            /* recent rows of another stream, */
#define JOIN_BYTES_MAX   ((size_t)512 << 20) /* and bytes */
#define JOIN_WAITING_MAX 1000000u            /* rows of the own stream that wait */

struct join_input {
    struct join *join;
    const struct config_join *config;
    const char *stream; /* or the table of results */
    char *
        name; /* "PIPELINE.STREAM": as whose checkpoint, and reader of its log, it is known */
    struct log *log; /* NULL: not running yet, or these are results */
    /* Of results: the table, with a reference of the pipeline that gives them; who feeds it (join_feed) is to look again, as there
     * is room, or more is waited for. The events that wait for them may be those that they are made of. */
    const struct table *results;
    const struct config_pipeline *giver;
    void (*look)(void *ctx);
    void *look_ctx;
    bool of_same;
    _Atomic int64_t
        from_us; /* rows before are not asked for; INT64_MIN: not known yet; release, acquire */
    struct mailbox mailbox;
    /* The task's, or before it runs its owner's. */
    size_t keys;       /* index into log_entry.keys of its log */
    uint64_t position; /* of its last entry that is known */
    struct watermark watermark;
    struct asof rows;
    bool ended; /* nothing more comes: nobody waits for it */
    /* As of log_sink.behind: somebody brings it what the journal has (join_caught_up); relaxed: it is shown. */
    _Atomic bool behind;
    uint64_t ahead; /* rows that other streams have not come up to; about */
    uint32_t *map;  /* numbers of keys for those of a batch */
    size_t map_room;
    _Atomic int64_t wanted_us; /* relaxed: what the log asks for silence */
    /* What is shown; relaxed. */
    _Atomic int64_t shown_us;
    _Atomic uint64_t n_rows, bytes, late, null_keys;
    _Atomic uint64_t shown_position; /* release behind what was late up to there */
    _Atomic uint64_t late_of[LOG_SOURCES_MAX]; /* of sources with a name */
};

static inline void join_count_late(struct join_input *in, const struct log_entry *e,
                                   uint64_t n)
{
    if (n && e->source)
        metric_add(&in->late_of[e->source], n);
}

/* What was known of all others behind an entry, until the first worker takes it into its part of a checkpoint. */
struct join_snapshot {
    struct checkpoint *inputs;
    struct join_snapshot *next;
};

struct join {
    struct pipeline *pipeline;
    struct task task;
    struct mailbox mailbox; /* of the own stream */
    size_t keys;            /* index into log_entry.keys: those of the first join */
    /* The task's. */
    struct watermark watermark; /* of the own stream, behind the last entry handed on */
    struct log_entry **waiting; /* [first, first + n_waiting), modulo its room */
    size_t first, n_waiting, room;
    uint64_t rows;             /* of those */
    int64_t newest_us;         /* of those; INT64_MIN: there are none */
    struct log_entry *handing; /* not all workers have it */
    uint64_t position, number; /* of the last entry handed on; of the last checkpoint */
    bool ends;                 /* the end waits, too: a checkpoint waits behind it */
    bool own_ended;  /* it was handed on: nobody asks for rows of inputs any more */
    uint64_t *found; /* scratch: for each row of a batch */
    _Atomic int64_t wanted_us; /* relaxed: of the own stream, if it is silent */
    _Atomic bool draining;     /* relaxed: all that has come is taken */
    pthread_mutex_t lock;      /* protects the next ones */
    pthread_cond_t rests;
    bool settled; /* there is nothing that it could do */
    struct join_snapshot *snapshot, **last_snapshot;
    _Atomic uint64_t n_waits; /* rows; shown; relaxed */
    /* Where the events of all are the pipeline's (join_all.c): the own stream's watermark and place, as of an input; and what
     * the workers were told that all have reached. */
    struct join_input own;
    struct config_join own_config;
    int64_t told_us;
    size_t n;
    struct join_input input[];
};

/* For a pipeline that has joins, prepared. -ENOMEM. */
int join_new(struct pipeline *p, struct join **ret);
void join_free(struct join *j); /* ends its task; takes NULL */

/* It runs, behind `position` of the own stream. Once the workers run, too, its inputs are subscribed, `live` as of
 * pipeline_start, each behind its position, and then the own stream. */
int join_begin(struct join *j, struct tasks *tasks, uint64_t position,
               struct error *error);
int join_subscribe(struct join *j, bool live, struct error *error);
/* Before it stops, instead of starting, or after a start that failed: logs feed it no more, and inputs keep their places in
 * journals of logs that run, until the next one subscribes them. Within log_call of the own stream's. */
void join_hold(struct join *j);
/* The same of one, by its name, for a pipeline that has failed; before its log runs, or within log_call of it. */
void join_hold_place(const char *name, struct log *log, uint64_t position);
/* Nobody needs the place any more. Not within log_call of it. */
void join_leave_place(const char *name, struct log *log);

/* An input that began behind has all that its log has. */
void join_caught_up(struct join_input *in);
bool join_is_behind(const struct join *j); /* is one? Takes NULL */

/* log_sink.put of the own stream. */
bool join_put(struct join *j, struct log_entry *e, bool command);
void join_wake(struct join *j); /* a worker has room */
/* Waits until it has handed on all that it can. What still waits for another stream is dropped with it: the next start
 * reads it again. False: not by the deadline. */
bool join_drain(struct join *j, int64_t deadline_us);

/* Of the own stream, for log_sink.wanted_us. */
int64_t join_wanted(struct join *j);

/* Rows before it are not asked for any more: a row of the own stream that comes more than `within` behind the watermark
 * finds nothing. */
static inline int64_t join_oldest(const struct join_input *in)
{
    int64_t us = in->join->watermark.value_us;
    return __builtin_sub_overflow(us, 2 * in->config->within_us, &us) ? INT64_MIN : us;
}

/* ---- Inputs that are results: who has read rows of the table in the file puts them in order ---- */

/* From here on look(ctx) is called, on the task's thread: quick. */
void join_feed(struct join_input *in, void (*look)(void *ctx), void *ctx);
/* It is not any more. */
void join_unfeed(struct join_input *in);
/* Owns the entry from then on, LOG_BATCH with the keys of `their_on`, LOG_REACHED or LOG_END. False: there is no room, look is
 * called. */
bool join_feed_entry(struct join_input *in, struct log_entry *e);

/* Between the files of the task. The next entry of a mailbox that has some; */
struct log_entry *join_take(struct mailbox *m, struct log *log);
struct log_entry *join_take_input(struct join_input *in);
void join_show(struct join_input *in);
void join_failed(struct join *j, int r);
/* a mark is handed on, with what is known of the inputs. -ENOMEM. */
int join_hand_on_checkpoint(struct join *j);
/* join_all.c: one entry of one stream is handed on. False: there is none, or it waits for others. */
bool join_all_step(struct join *j);

/* join_stored.c. What is known now, as the checkpoints of the inputs. -ENOMEM. */
int join_make_checkpoints(struct join *j, struct checkpoint **ret);
/* The next of those that were made with the marks that workers have been given; of now, if it does not run yet. -ENOMEM. */
int join_take_checkpoints(struct join *j, struct checkpoint **ret);
/* Text that says what stored rows are; -ENOMEM. */
int join_define(const struct join_input *in, char **ret);
/* What stands in the pipeline's definition of all joins. */
void join_define_all(const struct pipeline *p, struct buffer *to);
/* From what is stored. -EBADMSG, -ENOMEM. */
int join_load_marks(struct join_input *in, const char *marks, size_t size);
int join_load_block(struct join_input *in, const char *data, size_t size);

#endif
