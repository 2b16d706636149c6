/* SPDX-License-Identifier: Apache-2.0
 *
 * Entries of the log on their way to a worker, in order. One thread at a time puts, one takes.
 */
#ifndef WEIR_PIPELINE_MAILBOX_H
#define WEIR_PIPELINE_MAILBOX_H

#include "log/log.h"

#include <pthread.h>

#define MAILBOX_ENTRIES 4u  /* of up to 64k rows each */
#define MAILBOX_ROOM    16u /* with those that commands bring: checkpoints, the end */

struct mailbox {
    pthread_mutex_t lock;                  /* protects the rest */
    pthread_cond_t ended;                  /* it is empty, and what was taken is read */
    struct log_entry *entry[MAILBOX_ROOM]; /* [first, first + n), modulo its length */
    int64_t put_us[MAILBOX_ROOM];          /* of each, clock_monotonic_us */
    uint64_t waited_us; /* the last one that was taken; its taker's */
    unsigned first, n;
    bool reading; /* the last one that was taken */
    bool wanted;  /* somebody was told that it is full */
};

void mailbox_setup(struct mailbox *m);
void mailbox_clear(
    struct mailbox *m); /* what is in it is dropped; it can be set up again */

/* Owns a reference from then on. False: it is full; with `command` there is more room. */
bool mailbox_put(struct mailbox *m, struct log_entry *e, bool command);
/* The next one, or NULL. *ret_room: there is room again for who was told that there is none. */
struct log_entry *mailbox_take(struct mailbox *m, bool *ret_room);
/* The one taken is read. */
void mailbox_done(struct mailbox *m);
unsigned mailbox_length(struct mailbox *m);

/* Waits until all that was put is read. False: it is not by deadline_us (clock_monotonic_us). */
bool mailbox_drain(struct mailbox *m, int64_t deadline_us);

#endif
