/* SPDX-License-Identifier: Apache-2.0
 *
 * The open groups of one worker: a group is one key in one window, and has a slot, a number under
 * which its states lie in one block of a contiguous arena.
 *
 *      key bytes --table--> key number, window --index--> slot --> arena + slot * stride
 *      window -> slots of its groups
 *
 * A key's last group is remembered, so that a row of a known key in the current window costs one
 * comparison. Slots of closed windows are used again, the warmest first. Windows for which hardly a row will come may be
 * set aside: the index does without their groups until one does, and stays as small as what is in use.
 *
 * All that is remembered of a group is its window's id, the bytes of its key, its block of states and
 * its revision; everything else here is made from these. Whether a window has been given out is not
 * among them: between two entries of the log it has been if its end is at or before the watermark.
 */
#ifndef WEIR_GROUP_GROUPS_H
#define WEIR_GROUP_GROUPS_H

#include "base/reserve.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLOT_NONE UINT32_MAX

/* The group of a key that was used last: all that most rows look at. */
struct group_recent {
    int64_t window; /* id; of `slot` */
    uint32_t slot;  /* SLOT_NONE: the key has no open group */
};

struct group_key {
    uint64_t hash;
    char *bytes; /* NULL: the number is free */
    uint32_t size;
    union {
        uint32_t groups;    /* open ones */
        uint32_t next_free; /* number */
    };
};

struct group_slot {
    int64_t window; /* id */
    uint32_t key;   /* SLOT_NONE: the slot is free */
    union {
        uint32_t
            revision;  /* of a group: late rows folded in so far; the caller counts */
        uint32_t next; /* free slot */
    };
};

/* What the caller has given out of a group before its window closed. */
enum group_early { EARLY_NOTHING, EARLY_GIVEN, EARLY_CHANGED /* since */ };

struct group_window {
    int64_t
        id; /* as window/window.h gives them: what closes earlier has a lesser one */
    uint32_t *slot; /* of its groups, in the order in which they were opened */
    size_t n, room;
    bool aside; /* its groups are not in the index */
};

struct groups {
    struct group_key *key;
    struct group_recent *recent; /* of each key */
    uint32_t *merged; /* of each key: perhaps its group in the window merged last */
    uint32_t n_keys, keys_room, recent_room, merged_room, keys_free,
        keys_dead;   /* dead: known, without an open group */
    uint32_t *table; /* open addressing: key number + 1 */
    uint32_t table_mask;

    uint32_t *index; /* of open groups, open addressing: slot + 1 */
    uint32_t index_mask;
    uint64_t indexed;

    struct group_slot *slot;
    uint8_t *early; /* enum group_early of each slot; the caller's */
    uint32_t n_slots, slots_room, early_room, slots_free;
    uint64_t open, max_open;
    struct reserve states; /* for max_open slots */
    size_t stride;         /* bytes of a slot's */
    uint8_t *
        dirty; /* of each block of slots: 1 if it is not as it was at the last checkpoint */
    uint32_t dirty_room;
    unsigned block_shift; /* slot >> block_shift is the number of its block */

    struct group_window *window; /* those with groups, by id */
    size_t n_windows, windows_room;
    size_t windows_free; /* places before the first; the room counts them */
};

/* `max_open` groups of `stride` bytes at most (max_open below 2^32 - 1, stride a multiple of 16).
 * -ENOMEM. */
int groups_init(struct groups *g, uint64_t max_open, size_t stride);
void groups_free(struct groups *g);

/* The number of a key; it stays valid until the next groups_forget_keys. -ENOMEM. */
int groups_key(struct groups *g, const char *bytes, size_t size, uint64_t hash,
               uint32_t *ret);

/* Opens or finds the group of `key` in the window of this id. *ret_new says that the slot is new: its
 * bytes are not zeroed, its revision is 0. -ENOSPC: max_open groups are open, -ENOMEM. */
int groups_open(struct groups *g, uint32_t key, int64_t window, uint32_t *ret_slot,
                bool *ret_new);

/* The same in a window into which groups are merged, one after the other: hardly a row comes for it, so it is set aside
 * from the start, and rows of the key find the group that they found before. The window must have had no group before the
 * first of these calls, and others come only behind the last. */
int groups_open_merged(struct groups *g, uint32_t key, int64_t window,
                       uint32_t *ret_slot, bool *ret_new);

/* The same for groups whose windows somebody else knows (group/spans.h): they are in no index, and not among the
 * windows. `window` of the slot is the caller's; groups_sort_slots looks at it. */
int groups_open_apart(struct groups *g, uint32_t key, uint32_t *ret_slot);
void groups_close_apart(struct groups *g, uint32_t slot);

static inline void *groups_state(const struct groups *g, uint32_t slot)
{
    return g->states.base + (size_t)slot * g->stride;
}

/* The group at `slot` is not as it was at the last checkpoint. */
static inline void groups_touch(struct groups *g, uint32_t slot)
{
    g->dirty[slot >> g->block_shift] = 1;
}

/* Blocks that may hold groups. */
static inline uint32_t groups_blocks(const struct groups *g)
{
    return g->n_slots ? ((g->n_slots - 1) >> g->block_shift) + 1 : 0;
}

/* The index in `window` of the first with this id or a greater one, n_windows if there is none. */
size_t groups_window_from(const struct groups *g, int64_t id);

/* Has it groups? */
bool groups_has_window(const struct groups *g, int64_t id);

/* Sorts the groups of a window by key. -ENOMEM. */
int groups_sort(struct groups *g, struct group_window *w);

/* Sorts some groups by window and key and takes out those that are there twice. Returns how many are left. */
size_t groups_sort_slots(struct groups *g, uint32_t *slot, size_t n);

/* Sets groups->window[i] aside. */
void groups_set_aside(struct groups *g, size_t i);

/* Forgets the n oldest windows and their groups. */
void groups_close_oldest(struct groups *g, size_t n);

/* Forgets the keys that have no group, once they are many and as many as the open groups. Key numbers
 * become invalid. Rows that are late, or not wanted, make such keys too: to be called after every batch. */
void groups_forget_keys(struct groups *g);

#endif
