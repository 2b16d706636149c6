/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the log share: gather.c is the one task, dispatch.c the other, log.c is what others
 * see.
 */
#ifndef WEIR_LOG_INTERNAL_H
#define WEIR_LOG_INTERNAL_H

#include "log/entry.h"
#include "log/idempotency.h"
#include "log/intake.h"
#include "log/log.h"
#include "log/origins.h"
#include "log/sources.h"

#include <pthread.h>

struct subscriber {
    struct log_sink
        sink; /* without the arrays that log_subscribe copies; pipeline is a copy */
    struct silence silence; /* the gatherer's, under log.subscribers_lock */
    _Atomic uint64_t
        stored; /* its checkpoint in the database; relaxed: it only grows */
    _Atomic bool
        answered;     /* one has come there since the last was asked for; relaxed */
    size_t keys;      /* its key list */
    bool *dictionary; /* of each column: it wants one */
    bool behind;      /* as of the sink, until it has caught up; the dispatcher's */
    bool
        given_up; /* it has failed and the journal was trimmed past it; the dispatcher's */
};

/* Entries on their way from the gatherer to the dispatcher: as many as the intake lets in; while the journal is
 * read at start, about LINE_MAX. */
#define LINE_MAX 8u /* of up to 64k rows each */
struct backlog {
    struct task *filler, *taker; /* woken: there is room, something has come */
    pthread_mutex_t lock;        /* protects the rest */
    struct log_entry *first, **last;
    size_t n;
    uint64_t rows;   /* of batches in it */
    uint64_t wanted; /* the taker lingers for so many; 0: for anything */
    bool full;       /* the filler was told so */
    bool closed;
};

struct key_list {
    size_t *column;
    size_t n;
    size_t users; /* subscribers; 0: nobody's, the place is free */
};

/* What is written to the journal at once, in order. */
struct frame {
    struct log_entry **entry; /* without positions yet */
    size_t n, room;
    bool open; /* the last entry takes more rows */
    struct intake_item *items, **last;
    uint64_t rows;
    uint64_t stored;    /* bytes of the items in the journal, at most */
    bool due;           /* it need not wait for more */
    size_t asking;      /* requests that somebody waits for */
    size_t asked;       /* the same of the last frame */
    int64_t since_us;   /* of its first request */
    int64_t company_us; /* until when others are waited for; 0: not yet */
    int64_t retry_us;   /* when to try again to write it; 0: it has not failed */
    const struct schema *schema; /* in force behind it */
    uint32_t n_sources;          /* whose names are known behind it */
    bool begun; /* it may be on disk: nothing is added, it is written again */
};

/* What the dispatcher has taken from the backlog, and not put to all pipelines yet. */
struct handing {
    struct log_entry *entry; /* NULL: nothing */
    int64_t linger_us;       /* until when more is waited for; 0: it is complete */
    bool prepared;
    size_t next; /* the first subscriber that does not have it yet */
};

/* Checkpoints of the pipelines; the dispatcher's. */
struct checkpoints {
    uint64_t number;  /* of the last one */
    uint64_t asked;   /* position of the last one */
    bool running;     /* not all have stored it yet */
    int64_t asked_us; /* clock_monotonic_us */
    int64_t next_us;  /* the next one not before */
};

struct log {
    char *name;
    const struct schema *schema;  /* of batches as they come */
    const struct schema *columns; /* as they go, with derived columns */
    struct derive *derive;        /* NULL: there are none; the dispatcher's */
    struct log_options options;
    struct intake *intake;
    struct idempotency *idempotency;
    struct journal *journal; /* NULL: none */
    uint64_t journal_limit;
    uint64_t stored_max; /* bytes of a frame's items in the journal; UINT64_MAX: none */
    bool skip_damaged;   /* of the journal */
    struct backlog backlog;

    pthread_mutex_t names_lock; /* protects the names: any thread asks */
    char *source_name[LOG_SOURCES_MAX];
    uint32_t n_sources;
    uint16_t name_number[2 * LOG_SOURCES_MAX]; /* numbers by the hash of their names;
                                                * 0: none */

    struct {
        struct known_bookmark *known; /* fixed before log_start */
        /* By source, made with the first of them; release, acquire. */
        struct bookmarks *_Atomic of;
    } bookmarks;

    /* What arrives, by source; any thread, relaxed. */
    _Atomic uint64_t alive[LOG_SOURCES_MAX / 64]; /* bits: since the last tick */
    _Atomic uint64_t gone[LOG_SOURCES_MAX / 64];  /* bits: log_there; relaxed */
    _Atomic uint32_t waits[LOG_SOURCES_MAX];
    struct origins origins;

    /* The gatherer's, once it runs. */
    struct task gatherer;
    struct replay *replay; /* NULL: the journal is read, or there is none */
    uint64_t position;     /* of the last entry */
    struct silence_clock silence_clock;
    struct sources sources;
    int64_t reached_us;    /* by source 0, behind the last entry; INT64_MIN: nothing */
    int64_t begun_us;      /* what log_newest says; fixed before `ready` */
    int64_t will_reach_us; /* behind the frame that is being written */
    int64_t sync_us;       /* what the last frame took to the disk */
    struct frame frame;
    struct {
        struct intake_item *first, **last;
    } later; /* taken, but not into the frame: it would be too large */
    /* In force behind the last frame, since the start; NULL: the last one before may be another. */
    const struct schema *written;
    uint32_t sources_written; /* names below this number are in the journal */
    _Atomic int no_room;   /* 0, or why the journal cannot be written: -ENOSPC, -EDQUOT,
                            * -ENOMEM, -ESTALE; relaxed */
    size_t refused_bytes;  /* of the payload that it had no room for, */
    int64_t look_again_us; /* and when to see whether it has */
    bool cut_short;        /* the journal has a frame that may be on disk, to the end */
    enum log_end end;      /* set before the intake is closed */
    int64_t tick_us;       /* when to look for silence again; INT64_MAX: all is said */
    _Atomic bool look_again; /* at once; release, acquire */

    /* The dispatcher's, once it runs; changed with the lock held. */
    struct task dispatcher;
    _Atomic pthread_t
        caller; /* within log_call: the thread, which may call it again; relaxed; 0 */
    struct handing handing;
    bool no_memory;                   /* it was said */
    pthread_mutex_t subscribers_lock; /* protects the list against the gatherer */
    struct subscriber **subscriber;
    size_t n_subscribers;
    struct key_list *keys;
    size_t n_keys;
    size_t *dictionary;         /* of each column: who wants one */
    _Atomic uint64_t handed_on; /* position of the last entry; relaxed */
    struct checkpoints checkpoints;
    _Atomic uint64_t
        kept; /* keys of requests up to here are in the database; relaxed */

    _Atomic bool ready;   /* the journal is read; release, acquire */
    _Atomic bool failed;  /* it cannot be; release after error is written, acquire */
    _Atomic bool leaving; /* nothing more is handed on; relaxed: soon enough */
    struct error error;

    pthread_mutex_t end_lock; /* protects these two */
    pthread_cond_t ended;
    bool gathered, dispatched; /* the tasks have come to their ends */
    bool started, ending;      /* the owner's */

    _Atomic uint64_t batches, batch_rows, replayed, unreadable,
        derive_errors; /* metrics */
};

/* backlog.c */
void backlog_setup(struct backlog *l, struct task *filler, struct task *taker);
void backlog_free(struct backlog *l); /* with what is in it */
/* Takes the entry in any case. False: closed, it is dropped. */
bool backlog_push(struct backlog *l, struct log_entry *e);
/* There are LINE_MAX: the filler is woken once there are fewer, or it is closed. */
bool backlog_is_full(struct backlog *l);
/* NULL: there is none now, or *ret_end: closed and empty. */
struct log_entry *backlog_pop(struct backlog *l, bool *ret_end);
/* The first one, if there is one and fits(ctx, it) says so. */
struct log_entry *backlog_pop_if(struct backlog *l,
                                 bool (*fits)(void *ctx, const struct log_entry *e),
                                 void *ctx);
/* True: it is empty, and the taker is only woken once there are `rows` rows, or something that is no batch. */
bool backlog_linger(struct backlog *l, uint64_t rows);
/* Back to the front: for an entry that was just taken. */
void backlog_push_back(struct backlog *l, struct log_entry *e);
void backlog_close(struct backlog *l);

/* bookmarks.c: most streams have none */
/* Before a request with one is put. Any thread. -ENOMEM. */
int bookmarks_room(struct log *l);
/* The entry was read from the journal. -ENOMEM. */
int bookmark_replayed(struct log *l, const struct log_entry *e);
/* It is handed on: its bookmark is the log's. */
void bookmark_here(struct log *l, struct log_entry *e);
void bookmarks_free(struct log *l);

/* gather.c */
void gather_ready(struct log *l); /* from now on requests are taken */
int64_t gather_run(void *log);
/* Who is subscribed now may wait for silence. Any thread. */
void gather_look_again(struct log *l);
int gather_begin_segment(void *log, struct journal *j); /* for the journal */
int64_t gather_now(const struct log *l);                /* by the clock of silence */
/* reach.c: says of the entries of the frame what source 0 has reached behind them; */
void reach_frame(struct log *l);
/* the frame is in the journal, or it is not; */
void reach_written(struct log *l);
void reach_undo(struct log *l);
/* an entry was read from the journal. */
void reach_replayed(struct log *l, const struct log_entry *e);
/* What it has reached since, as connections have ended or are silent. INT64_MIN: no more than before. */
int64_t reach_more(struct log *l);
/* replay.c: what the journal has that not all sinks know, to the backlog. */
int replay_begin(struct log *l, struct error *error);
/* 1: the backlog is full, or it was long enough for a turn; 0: all is read; -EBADMSG, -EIO; -ESHUTDOWN. */
int replay_go_on(struct log *l, struct error *error);
void replay_end(struct log *l, bool complete); /* forgets how far it was */
/* Calls entry(ctx, e) for the entries with positions in (after, up_to]. */
int replay_range(struct log *l, uint64_t after, uint64_t up_to,
                 int (*entry)(void *ctx, struct log_entry *e), void *ctx,
                 struct error *error);

/* dispatch.c */
int64_t dispatch_run(void *log);

/* log.c */
/* One of the tasks has come to its end. */
void log_ended(struct log *l, bool *which);
/* What the journal says. -EBADMSG: another name than before, or numbers are missing; with skip_damaged those are
 * reserved, and get their names if they come later. */
int log_learn_source(struct log *l, uint32_t number, const char *name, size_t size);
/* Numbers up to this one are nobody else's, though their names may be lost. */
void log_reserve_source(struct log *l, uint32_t number);
int log_add_subscriber(struct log *l, const struct log_sink *sink, size_t *ret_keys);
void log_remove_subscriber(struct log *l, size_t i);
/* Its index, or n_subscribers. */
size_t log_find_subscriber(const struct log *l, const char *pipeline);
/* The least position that a subscriber began with, at most `position`. */
uint64_t log_least(const struct log *l, uint64_t position);

#endif
