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
static uint64_t *find(const struct dead_set *s, uint64_t hash)
{
    size_t i = hash & (s->room - 1);
    while (s->slot[i] && s->slot[i] != hash)
        i = (i + 1) & (s->room - 1);
    return &s->slot[i];
}

static bool has(const struct dead_set *s, uint64_t hash)
{
    return s->slot && *find(s, hash);
}

static bool grow(struct dead_set *s)
{
    struct dead_set to = {.room = s->room ? 2 * s->room : ROOM_MIN, .n = s->n};
    to.slot = calloc(to.room, sizeof(*to.slot));
    for (size_t i = 0; to.slot && i < s->room; i++)
        if (s->slot[i])
            *find(&to, s->slot[i]) = s->slot[i];
    if (!to.slot)
        return false;
    free(s->slot);
    *s = to;
    return true;
}

bool dead_known_has(const struct dead_known *k, uint64_t hash)
{
    return has(&k->newer, hash) || has(&k->older, hash);
}

void dead_known_add(struct dead_known *k, uint64_t hash)
{
    if (k->newer.n >= k->limit) {
        free(k->older.slot);
        k->older = k->newer;
        k->newer = (struct dead_set){0};
    }
    struct dead_set *s = &k->newer;
    if (has(s, hash) || (s->n >= s->room / 2 && !grow(s)))
        return;
    *find(s, hash) = hash;
    s->n++;
}

void dead_known_clear(struct dead_known *k)
{
    free(k->newer.slot);
    free(k->older.slot);
    k->newer = k->older = (struct dead_set){0};
}
