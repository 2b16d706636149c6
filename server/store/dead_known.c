/* SPDX-License-Identifier: Apache-2.0 */
#include "store/dead_known.h"

#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

#define ROOM_MIN 64u

uint64_t dead_hash(const struct dead_letter *l)
{
    uint64_t h = hash_bytes(l->source, strlen(l->source));
    h = hash_u64(h ^ l->line);
    h = hash_u64(h ^ l->column);
    h = hash_u64(h ^ hash_bytes(l->record ? l->record : "", l->record_size));
    return h ? h : 1;
}

/* Where it is, or would be. */
static struct dead_slot *find(const struct dead_set *s, uint64_t hash)
{
    size_t i = hash & (s->room - 1);
    while (s->slot[i].hash && s->slot[i].hash != hash)
        i = (i + 1) & (s->room - 1);
    return &s->slot[i];
}

/* NULL: it is not there. */
static struct dead_slot *get(const struct dead_set *s, uint64_t hash)
{
    struct dead_slot *at = s->slot ? find(s, hash) : NULL;
    return at && at->hash ? at : NULL;
}

static bool grow(struct dead_set *s)
{
    struct dead_set to = {.room = s->room ? 2 * s->room : ROOM_MIN, .n = s->n};
    to.slot = calloc(to.room, sizeof(*to.slot));
    for (size_t i = 0; to.slot && i < s->room; i++)
        if (s->slot[i].hash)
            *find(&to, s->slot[i].hash) = s->slot[i];
    if (!to.slot)
        return false;
    free(s->slot);
    *s = to;
    return true;
}

uint64_t dead_known_number(const struct dead_known *k, uint64_t hash)
{
    const struct dead_slot *at = get(&k->newer, hash);
    if (!at)
        at = get(&k->older, hash);
    return at ? at->number : 0;
}

void dead_known_add(struct dead_known *k, uint64_t hash, uint64_t number)
{
    if (k->newer.n >= k->limit) {
        free(k->older.slot);
        k->older = k->newer;
        k->newer = (struct dead_set){0};
    }
    struct dead_set *s = &k->newer;
    struct dead_slot *at = get(s, hash);
    if (!at && s->n >= s->room / 2 && !grow(s))
        return;
    s->n += !at;
    *find(s, hash) = (struct dead_slot){.hash = hash, .number = number};
}

void dead_known_forget(struct dead_known *k, uint64_t hash, uint64_t number)
{
    struct dead_set *const sets[] = {&k->newer, &k->older};
    for (size_t i = 0; i < 2; i++) {
        struct dead_slot *at = get(sets[i], hash);
        if (at && at->number == number)
            at->number = 0;
    }
}

void dead_known_clear(struct dead_known *k)
{
    free(k->newer.slot);
    free(k->older.slot);
    k->newer = k->older = (struct dead_set){0};
}
