/* SPDX-License-Identifier: Apache-2.0
 *
 * Choosing, recording and replacing layouts: what happens when a line is not like the one before.
 */
#include "decode/layout.h"

/* A stream whose lines never repeat gains nothing from recording; it is tried now and then. */
#define MISSES_PATIENT  16
#define MISSES_INTERVAL 32

int layout_other(const struct layouts *t, unsigned from, unsigned k, const char *p)
{
    for (unsigned i = 0; i < LAYOUTS; i++) {
        const struct layout *l = &t->layout[i];
        if (i != from && l->n > k && t->common[from][i] >= k &&
            layout_matches(&l->slot[k], p))
            return (int)i;
    }
    return -1;
}

void layout_record(struct layouts *t, unsigned from, unsigned k)
{
    t->misses++;
    t->recording = t->misses < MISSES_PATIENT || t->misses % MISSES_INTERVAL == 0;
    if (!t->recording)
        return;
    t->next.n = k;
    memcpy(t->next.slot, t->layout[from].slot, k * sizeof t->next.slot[0]);
}

void layout_add(struct layouts *t, const char *text, size_t size, unsigned kind,
                size_t column, uint16_t object, bool last)
{
    if (!t->recording)
        return;
    if (t->next.n == LAYOUT_SLOTS || size > LAYOUT_TEXT) {
        t->recording = false;
        return;
    }
    struct layout_slot *s = &t->next.slot[t->next.n++];
    memset(s, 0, sizeof *s);
    memcpy(s->text, text, size);
    s->size = (uint32_t)size;
    s->mask = (uint16_t)(size >= 16 ? 0xffff : (1u << size) - 1);
    s->column = (uint16_t)column;
    s->object = object;
    s->kind = (uint8_t)kind;
    s->last = last;
}

static bool same_slot(const struct layout_slot *a, const struct layout_slot *b)
{
    return a->size == b->size && memcmp(a->text, b->text, a->size) == 0;
}

static uint8_t count_common(const struct layout *a, const struct layout *b)
{
    uint8_t k = 0;
    while (k < a->n && k < b->n && same_slot(&a->slot[k], &b->slot[k]))
        k++;
    return k;
}

void layout_keep(struct layouts *t, const uint64_t *missing)
{
    unsigned at = t->oldest;
    if (at == t->current) /* the one of the line before may be the one of all others */
        at = (at + 1) % LAYOUTS;
    struct layout *l = &t->layout[at];
    l->n = t->next.n;
    memcpy(l->missing, missing, sizeof l->missing);
    memcpy(l->slot, t->next.slot, l->n * sizeof l->slot[0]);
    for (unsigned i = 0; i < LAYOUTS; i++)
        t->common[at][i] = t->common[i][at] = count_common(l, &t->layout[i]);
    t->oldest = (at + 1) % LAYOUTS;
    t->current = at;
    t->recording = false;
}
