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
    const int64_t now_us = clock_monotonic_us();
    pthread_mutex_lock(&m->lock);
    bool has_room = m->n < (command ? MAILBOX_ROOM : MAILBOX_ENTRIES);
    unsigned at = (m->first + m->n) % MAILBOX_ROOM;
    if (has_room) {
        m->entry[at] = e;
        m->put_us[at] = now_us;
        m->n++;
    } else {
        m->wanted = true;
    }
    pthread_mutex_unlock(&m->lock);
    return has_room;
}

struct log_entry *mailbox_take(struct mailbox *m, bool *ret_room)
{
    struct log_entry *e = NULL;
    int64_t put_us = 0;
    pthread_mutex_lock(&m->lock);
    if (m->n) {
        e = m->entry[m->first];
        put_us = m->put_us[m->first];
        m->first = (m->first + 1) % MAILBOX_ROOM;
        m->n--;
        m->reading = true;
    }
    *ret_room = m->wanted && m->n < MAILBOX_ENTRIES;
    m->wanted = m->wanted && !*ret_room;
    pthread_mutex_unlock(&m->lock);
    if (e)
        m->waited_us = (uint64_t)(clock_monotonic_us() - put_us);
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
