/* SPDX-License-Identifier: Apache-2.0
 *
 * Windows that depend on the rows of a key: each key has a list of its own, each window is a group, and somebody has
 * to look at it at a time that moves with its rows.
 *
 *      key --> slots of its windows, in an order
 *      slot --> span: where the window begins and ends
 *      two queues: slots by the time at which they are due, the earliest first
 *
 * The group of a span is in no index and in no list of windows of struct groups, which know them by key and id only;
 * everything else of it is as with any group.
 */
#ifndef WEIR_GROUP_SPANS_H
#define WEIR_GROUP_SPANS_H

#include "group/groups.h"

enum span_given {
    SPAN_FRESH, /* never given out */
    SPAN_AGAIN, /* it was, or may have been by an earlier run, and rows came since */
    SPAN_GIVEN, /* it was, as it is */
};

/* What start, end and the rest mean is the caller's; all of it but `place` is stored with the group. */
struct span {
    int64_t order; /* among those of the key: mostly the start */
    int64_t start_us, end_us, last_us, floor_us;
    uint64_t number, rows;
    uint32_t given : 2; /* enum span_given */
    uint32_t queue : 1; /* the last one that it was in */
    uint32_t
        overdue : 1; /* count: the watermark had passed its end when it was full; not stored */
    uint32_t place; /* there; SLOT_NONE: it is not due at any time */
};

struct span_key {
    uint32_t n, room;
    uint32_t one;   /* slot, with n = 1 and no room */
    uint32_t *many; /* in their order, where there is room */
};

struct spans {
    struct groups *groups;
    struct span *at;      /* of each slot */
    struct span_key *key; /* of each key number */
    uint32_t at_room, key_room;
    struct span_queue {
        struct span_due {
            int64_t us;
            uint32_t slot;
        } * due; /* a heap */
        uint32_t n, room;
    } queue[2];
};

void spans_init(struct spans *s, struct groups *g);
void spans_free(struct spans *s);

/* Opens a group of the key, due at no time; behind others of the same order. The bytes of its states are not zeroed. -ENOSPC: max_open groups are open, -ENOMEM. */
int spans_open(struct spans *s, uint32_t key, const struct span *span,
               uint32_t *ret_slot);
void spans_close(struct spans *s, uint32_t slot);

/* It has another order now. */
void spans_order(struct spans *s, uint32_t slot, int64_t order);

/* The slots of a key's windows in their order; valid until one is opened or closed. */
static inline const uint32_t *spans_of(const struct spans *s, uint32_t key,
                                       uint32_t *ret_n)
{
    if (key >= s->key_room) {
        *ret_n = 0;
        return NULL;
    }
    const struct span_key *k = &s->key[key];
    *ret_n = k->n;
    return k->room ? k->many : &k->one;
}

/* The last of them; SLOT_NONE: the key has none. */
static inline uint32_t spans_newest(const struct spans *s, uint32_t key)
{
    uint32_t n;
    const uint32_t *slot = spans_of(s, key, &n);
    return n ? slot[n - 1] : SLOT_NONE;
}

/* It is due then, in this queue and in no other, and at no other time. -ENOMEM. */
int spans_due(struct spans *s, uint32_t slot, unsigned queue, int64_t us);
void spans_undue(struct spans *s, uint32_t slot);

/* The slot that is due first in a queue, at or before `until_us`; SLOT_NONE: there is none. */
static inline uint32_t spans_first_due(const struct spans *s, unsigned queue,
                                       int64_t until_us)
{
    const struct span_queue *q = &s->queue[queue];
    return q->n && q->due[0].us <= until_us ? q->due[0].slot : SLOT_NONE;
}

#endif
