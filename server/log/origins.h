/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections of producers that give no name. In the log they are all source 0; here it is known how far each of
 * them is, so that one that is ahead does not make the events of another one late. What follows from it is said
 * in the log (log_entry.held, LOG_REACHED): it lives no longer than the connections, and nobody replays it.
 *
 *      log_origin -> [come] -> origins_look: holds what source 0 had reached
 *                                 | rows in the log: holds their newest
 *                                 | silent for as long as the most patient pipeline waits: holds nothing
 *                                 '-> log_origin_end, and nothing of it under way: gone
 */
#ifndef WEIR_LOG_ORIGINS_H
#define WEIR_LOG_ORIGINS_H

#include "log/log.h"

#include <pthread.h>

struct origins;

struct origin {
    struct origins *owner;
    struct origin *next;   /* in `come` */
    _Atomic bool heard;    /* bytes came since origins_tick; relaxed */
    _Atomic bool ended;    /* release, acquire: nobody else has it any more */
    _Atomic uint32_t busy; /* requests of it in the log, and such as wait for room */

    /* The log thread's. */
    uint32_t place; /* in owner->list */
    bool holds;
    int64_t
        newest_us; /* of its rows, those of the frame included that is being written */
    int64_t sure_us; /* without these */
    int64_t last_us; /* when it was heard of last, by the clock of silence */
};

struct origins {
    pthread_mutex_t lock; /* protects `come`, and the making of the arrays */
    struct origin *come;
    uint32_t n;           /* all that there are; under the lock */
    _Atomic bool changed; /* some have come or ended; release, acquire */

    /* The log thread's. */
    struct origin **list; /* LOG_ORIGINS_MAX; NULL until there is one */
    int64_t *least;       /* base/least.h: of those that hold */
    uint32_t n_listed, n_holding;
    bool some_ended; /* since the start */
};

void origins_init(struct origins *os);
void origins_free(struct origins *os);

/* Any thread. NULL: too many, or no memory. */
struct origin *origins_add(struct origins *os);
void origin_end(struct origin *o);
/* `o` may be NULL. */
void origin_busy(struct origin *o, bool on);

/* ---- The log thread's ---- */

/* Takes those in that have come, holding at reached_us, and drops those that have ended. */
void origins_look(struct origins *os, int64_t reached_us, int64_t now_us);
/* Who is silent for patience_us holds no more, who is heard of again holds again. Returns when the one was heard
 * of that holds and has been silent for longest; INT64_MAX: none holds. */
int64_t origins_tick(struct origins *os, int64_t reached_us, int64_t now_us,
                     int64_t patience_us);
/* The least of what is held, by all or by those that are silent for less than patience_us. INT64_MAX: by nobody. */
int64_t origins_least(const struct origins *os);
int64_t origins_least_of(const struct origins *os, int64_t now_us, int64_t patience_us);
/* Rows with times up to max_us are in the frame; the frame is written, or it was given up. */
void origin_took(struct origin *o, int64_t max_us);
void origin_sure(struct origin *o, int64_t now_us);
void origin_undo(struct origin *o);

#endif
