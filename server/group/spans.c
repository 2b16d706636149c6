/* SPDX-License-Identifier: Apache-2.0 */
#include "group/spans.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void spans_init(struct spans *s, struct groups *g)
{
    *s = (struct spans){.groups = g};
}

void spans_free(struct spans *s)
{
    for (uint32_t i = 0; i < s->key_room; i++)
        free(s->key[i].many);
    free(s->key);
    free(s->at);
    free(s->queue[0].due);
    free(s->queue[1].due);
}

/* An array as long as one of struct groups has room for; what is new is zero. */
static int follow(void *array_pointer, size_t item, uint32_t wanted, uint32_t *room)
{
    char **array = array_pointer;
    if (wanted <= *room)
        return 0;
    char *p = realloc(*array, (size_t)wanted * item);
    if (!p)
        return -ENOMEM;
    memset(p + (size_t)*room * item, 0, (size_t)(wanted - *room) * item);
    *array = p;
    *room = wanted;
    return 0;
}

/* ---- The list of a key -------------------------------------------------------------------------- */

/* Room for one more. */
static int list_grow(struct span_key *k)
{
    if (!k->n || k->n < k->room)
        return 0;
    uint32_t room = k->room ? 2 * k->room : 4;
    uint32_t *many = realloc(k->many, room * sizeof(*many));
    if (!many)
        return -ENOMEM;
    if (!k->room)
        many[0] = k->one;
    k->many = many;
    k->room = room;
    return 0;
}

static void list_put(const struct spans *s, struct span_key *k, uint32_t slot)
{
    if (!k->room) {
        k->one = slot;
        k->n = 1;
        return;
    }
    uint32_t i = k->n++;
    for (; i && s->at[k->many[i - 1]].order > s->at[slot].order; i--)
        k->many[i] = k->many[i - 1];
    k->many[i] = slot;
}

static void list_take(struct span_key *k, uint32_t slot)
{
    uint32_t i = 0;
    k->n--;
    if (!k->room)
        return;
    while (k->many[i] != slot)
        i++;
    memmove(&k->many[i], &k->many[i + 1], (k->n - i) * sizeof(*k->many));
    if (k->n)
        return;
    free(k->many);
    k->many = NULL;
    k->room = 0;
}

void spans_order(struct spans *s, uint32_t slot, int64_t order)
{
    struct span_key *k = &s->key[s->groups->slot[slot].key];
    uint32_t i = 0;
    s->at[slot].order = order;
    if (k->n < 2)
        return;
    while (k->many[i] != slot)
        i++;
    for (; i && s->at[k->many[i - 1]].order > s->at[slot].order; i--)
        k->many[i] = k->many[i - 1];
    for (; i + 1 < k->n && s->at[k->many[i + 1]].order < s->at[slot].order; i++)
        k->many[i] = k->many[i + 1];
    k->many[i] = slot;
}

int spans_open(struct spans *s, uint32_t key, const struct span *span,
               uint32_t *ret_slot)
{
    struct groups *g = s->groups;
    uint32_t slot;
    if (follow(&s->key, sizeof(*s->key), g->keys_room, &s->key_room) < 0 ||
        list_grow(&s->key[key]) < 0)
        return -ENOMEM;
    int r = groups_open_apart(g, key, &slot);
    if (r < 0)
        return r;
    if (follow(&s->at, sizeof(*s->at), g->slots_room, &s->at_room) < 0) {
        groups_close_apart(g, slot);
        return -ENOMEM;
    }
    s->at[slot] = *span;
    s->at[slot].place = SLOT_NONE;
    list_put(s, &s->key[key], slot);
    *ret_slot = slot;
    return 0;
}

/* ---- Queues ------------------------------------------------------------------------------------- */

static void place(struct spans *s, struct span_queue *q, uint32_t i,
                  struct span_due due)
{
    q->due[i] = due;
    s->at[due.slot].place = i;
}

/* Puts `due` into the heap at i or where it belongs. */
static void sift(struct spans *s, struct span_queue *q, uint32_t i, struct span_due due)
{
    for (; i && q->due[(i - 1) / 2].us > due.us; i = (i - 1) / 2)
        place(s, q, i, q->due[(i - 1) / 2]);
    for (uint32_t child; (child = 2 * i + 1) < q->n; i = child) {
        if (child + 1 < q->n && q->due[child + 1].us < q->due[child].us)
            child++;
        if (q->due[child].us >= due.us)
            break;
        place(s, q, i, q->due[child]);
    }
    place(s, q, i, due);
}

void spans_undue(struct spans *s, uint32_t slot)
{
    uint32_t i = s->at[slot].place;
    struct span_queue *q = &s->queue[s->at[slot].queue];
    if (i == SLOT_NONE)
        return;
    s->at[slot].place = SLOT_NONE;
    struct span_due last = q->due[--q->n];
    if (last.slot != slot)
        sift(s, q, i, last);
}

int spans_due(struct spans *s, uint32_t slot, unsigned queue, int64_t us)
{
    struct span_queue *q = &s->queue[queue];
    if (s->at[slot].queue != queue)
        spans_undue(s, slot);
    uint32_t i = s->at[slot].place;
    if (i == SLOT_NONE) {
        if (q->n == q->room) {
            uint32_t room = q->room ? 2 * q->room : 64;
            struct span_due *due = realloc(q->due, room * sizeof(*due));
            if (!due)
                return -ENOMEM;
            q->due = due;
            q->room = room;
        }
        i = q->n++;
    }
    s->at[slot].queue = queue & 1;
    sift(s, q, i, (struct span_due){.us = us, .slot = slot});
    return 0;
}

void spans_close(struct spans *s, uint32_t slot)
{
    spans_undue(s, slot);
    list_take(&s->key[s->groups->slot[slot].key], slot);
    groups_close_apart(s->groups, slot);
}
