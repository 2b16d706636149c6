/* SPDX-License-Identifier: Apache-2.0 */
#include "apart/ring.h"

#include <stdatomic.h>
#include <string.h>

/* ---- The writer ---- */

size_t ring_behind(const struct ring *r)
{
    uint64_t behind = r->at - atomic_load(&r->shared->tail);
    return behind > r->size ? r->size : (size_t)behind;
}

/* Behind a wrong index there is no room. */
static size_t room(const struct ring *r)
{
    uint64_t used = r->at - r->seen;
    return used > r->size ? 0 : r->size - (size_t)used;
}

size_t ring_room(struct ring *r, size_t wanted)
{
    if (room(r) < wanted)
        r->seen = atomic_load(&r->shared->tail);
    return room(r);
}

void ring_write(struct ring *r, const void *bytes, size_t size)
{
    size_t at = r->at & (r->size - 1);
    size_t first = size < r->size - at ? size : r->size - at;
    memcpy(r->data + at, bytes, first);
    if (first < size)
        memcpy(r->data, (const char *)bytes + first, size - first);
    r->at += size;
}

bool ring_has_written(const struct ring *r)
{
    return r->at != r->told;
}

void ring_show(struct ring *r)
{
    atomic_store(&r->shared->head, r->at);
}

bool ring_publish(struct ring *r)
{
    if (!ring_has_written(r))
        return false;
    r->told = r->at;
    ring_show(r);
    return atomic_load(&r->shared->reader_sleeps) &&
           atomic_exchange(&r->shared->reader_sleeps, 0);
}

bool ring_sleep_for_room(struct ring *r)
{
    atomic_store(&r->shared->writer_sleeps, 1);
    if (ring_room(r, 1) == 0)
        return true;
    atomic_store(&r->shared->writer_sleeps, 0);
    return false;
}

/* ---- The reader ---- */

static size_t ready(const struct ring *r)
{
    uint64_t n = r->seen - r->at;
    return n > r->size ? 0 : (size_t)n;
}

size_t ring_ready(struct ring *r, size_t wanted)
{
    if (ready(r) < wanted)
        r->seen = atomic_load(&r->shared->head);
    return ready(r);
}

void ring_read(struct ring *r, void *to, size_t size)
{
    size_t at = r->at & (r->size - 1);
    size_t first = size < r->size - at ? size : r->size - at;
    memcpy(to, r->data + at, first);
    if (first < size)
        memcpy((char *)to + first, r->data, size - first);
    r->at += size;
}

bool ring_give_back(struct ring *r)
{
    if (r->at == r->told)
        return false;
    r->told = r->at;
    atomic_store(&r->shared->tail, r->at);
    return atomic_load(&r->shared->writer_sleeps) &&
           atomic_exchange(&r->shared->writer_sleeps, 0);
}

bool ring_sleep_for_bytes(struct ring *r)
{
    atomic_store(&r->shared->reader_sleeps, 1);
    if (ring_ready(r, 1) == 0)
        return true;
    atomic_store(&r->shared->reader_sleeps, 0);
    return false;
}
