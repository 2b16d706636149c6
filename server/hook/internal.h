/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the hooks share. All is the thread's but what `lock` protects.
 */
#ifndef WEIR_HOOK_INTERNAL_H
#define WEIR_HOOK_INTERNAL_H

#include "hook/alert.h"
#include "hook/hooks.h"
#include "lookup/sender.h"
#include "store/hooks.h"

#include <pthread.h>

#define HOOK_ITEMS_MAX   2000              /* of a hook, in memory */
#define HOOK_BYTES_MAX   ((size_t)4 << 20) /* likewise, or one item */
#define HOOK_BODY_MAX    ((size_t)1 << 20) /* bytes of a request, or one item */
#define HOOK_BREAK       5 /* failures in a row, then one request at a time is tried */
#define HOOK_CONNECTIONS 1000 /* open at once, all receivers together */

/* A row, or what it means to an alert.
 *
 *      rows                 READY --answer--> SENT --all before it, too--> freed
 *      alerts   FRESH --saved--> READY --answer--> SENT --saved--> freed        FRESH without a notice --saved--> freed
 */
enum item_stage { ITEM_FRESH, ITEM_READY, ITEM_SENT, ITEM_OVER };

struct item {
    int64_t seq;
    enum item_stage stage;
    bool saving; /* part of what is being saved */
    unsigned lane;
    struct item *next, *lane_next;
    struct alert_step step; /* of alerts */
    bool notice;            /* there is a text to send */
    const char *key;        /* JSON; alerts */
    size_t size;            /* of `text` */
    const char *text;       /* zero-terminated */
};

/* One request at a time; all rows of a key are in the same lane. */
struct lane {
    struct item *first, **last;
    size_t n; /* items of the request under way, or to be repeated; 0: none */
    struct sending *sending;
    struct buffer body;
    unsigned tries;  /* that failed */
    int64_t next_us; /* not before */
    struct hook *hook;
};

struct hook_counters {
    _Atomic uint64_t sent, refused, ok, retries, deleted, skipped, errors, over_keys;
    _Atomic uint64_t lag, failures, firing; /* gauges */
};

struct hook {
    struct hooks *hooks;
    struct hook_spec *spec;
    struct hook_id id;
    struct hook *next;

    int64_t since_us, last; /* of the changes of its table */
    int64_t read;           /* numbers up to this one were read */
    int64_t saved;          /* the place in the file; -1: not known */
    bool look;              /* there may be more to read */
    bool news;              /* there was a commit since how much it is was looked at */
    bool broken; /* what is in memory is not to be trusted: to be loaded again */
    struct item *first, **last_item;
    size_t n, bytes;
    struct alerts *alerts; /* NULL: rows */

    struct lane *lane; /* spec->config->in_flight */
    size_t flying;
    uint64_t failures; /* in a row */
    int64_t probe_us;  /* with HOOK_BREAK of them: not before */
    int64_t not_before_us;
    int64_t warned_us; /* of refused rows */
    bool said_broken;

    struct hook_counters count;
    struct hook_status shown; /* `lock` */
};

struct hooks {
    struct store *store;
    struct metrics *metrics;
    sqlite3 *db; /* reads */
    struct sender *sender;
    pthread_t thread;
    bool started;
    struct hook *first; /* changed with `lock` held */
    uint64_t dice;
    struct keeping *keeping; /* what is being saved; NULL: nothing is */
    int64_t keep_us;         /* not before */

    pthread_mutex_t lock; /* protects these */
    pthread_cond_t changed;
    bool committed, ending, held, busy; /* busy: a save is under way */
    bool kept;                          /* it is over, with: */
    int kept_err;
    bool exchanged; /* `specs` are in force now */
    struct hook_spec *specs;
};

/* Takes the spec. -ENOMEM. */
int hook_new(struct hooks *h, struct hook_spec *spec, struct hook **ret);
void hook_free(struct hook *k); /* cancels what is under way; takes NULL */
void hook_append(struct hook *k, struct item *i);
/* READY: it may be sent. */
void hook_ready(struct hook *k, struct item *i);
void hook_sweep(struct hook *k); /* frees items that are over */
int64_t hook_position(const struct hook *k);

/* feed.c: from the file to items. Load: where it was, states and notices. */
int feed_load(struct hook *k, struct error *error);
/* What has changed, a piece of it. -EAGAIN: later. */
int feed_read(struct hook *k, struct error *error);
/* Without room for that: how far it is behind, and what is too much. */
int feed_look(struct hook *k, struct error *error);

/* lane.c: begins what is due. When the next is; INT64_MAX: nothing waits for a time. */
int64_t lane_dispatch(struct hook *k, int64_t now_us);
void lane_answer(struct lane *l, const struct sender_answer *a);
void lane_cancel(struct lane *l);

/* keep.c: saves what is to be saved, unless nothing is, or the last save is still under way. When to call it again. */
int64_t keep_begin(struct hooks *h, int64_t now_us);
void keep_done(struct hooks *h); /* after a save: keeping, kept_err */
void keep_last(struct hooks *h); /* at the end; waits for the store */
void keep_free(struct keeping *k);

#endif
