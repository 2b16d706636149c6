/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/mailbox.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>

void mailbox_setup(struct mailbox *m)
{
    *m = (struct mailbox){.lock = PTHREAD_MUTEX_INITIALIZER};
    clock_cond_init(&m->ended);
}

void mailbox_clear(struct mailbox *m)
{
    for (; m->n; m->n--) {
        log_entry_unref(m->entry[m->first]);
        m->first = (m->first + 1) % MAILBOX_ROOM;
    }
    pthread_cond_destroy(&m->ended);
    pthread_mutex_destroy(&m->lock);
}

bool mailbox_put(struct mailbox *m, struct log_entry *e, bool command)
{
    pthread_mutex_lock(&m->lock);
    bool has_room = m->n < (command ? MAILBOX_ROOM : MAILBOX_ENTRIES);
    if (has_room)
        m->entry[(m->first + m->n++) % MAILBOX_ROOM] = e;
    else
        m->wanted = true;
    pthread_mutex_unlock(&m->lock);
    return has_room;
}

struct log_entry *mailbox_take(struct mailbox *m, bool *ret_room)
{
    struct log_entry *e = NULL;
    pthread_mutex_lock(&m->lock);
    if (m->n) {
        e = m->entry[m->first];
        m->first = (m->first + 1) % MAILBOX_ROOM;
        m->n--;
        m->reading = true;
    }
    *ret_room = m->wanted && m->n < MAILBOX_ENTRIES;
    m->wanted = m->wanted && !*ret_room;
    pthread_mutex_unlock(&m->lock);
    return e;
}

void mailbox_done(struct mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    m->reading = false;
    if (!m->n)
        pthread_cond_broadcast(&m->ended);
    pthread_mutex_unlock(&m->lock);
}

unsigned mailbox_length(struct mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    unsigned n = m->n;
    pthread_mutex_unlock(&m->lock);
    return n;
}

bool mailbox_drain(struct mailbox *m, int64_t deadline_us)
{
    int r = 0;
    pthread_mutex_lock(&m->lock);
    while ((m->n || m->reading) && r != ETIMEDOUT)
        r = clock_cond_wait(&m->ended, &m->lock, deadline_us);
    bool drained = !m->n && !m->reading;
    pthread_mutex_unlock(&m->lock);
    return drained;
}
