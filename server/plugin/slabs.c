/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/slabs.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#define CHUNK ((size_t)64 << 10)

/* Sizes: by 16 to 256, by 64 to 1024, by 256 to 4096. */
#define FINE   256u
#define MIDDLE 1024u
static_assert(SLABS_CLASSES ==
                  FINE / 16 + (MIDDLE - FINE) / 64 + (SLABS_BLOCK_MAX - MIDDLE) / 256,
              "a class for each size");
static_assert(SLABS_BLOCK_MAX <= CHUNK / 16, "the rest of a chunk is little");

#if defined(__SANITIZE_ADDRESS__)
#define LOOKS_FOR_ERRORS true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define LOOKS_FOR_ERRORS true
#endif
#endif
#ifndef LOOKS_FOR_ERRORS
#define LOOKS_FOR_ERRORS false
#endif

/* What of a chunk is free. Zero: nothing was ever in it. */
struct chunk {
    uint32_t next,
        before; /* with room and of the same class, or without a class; 0: none */
    uint16_t
        given; /* the block given back last, in units of 16 bytes, plus 1; it begins with the one before; 0: none */
    uint16_t n_used;  /* blocks */
    uint16_t n_fresh; /* at its end, not taken since it got its class */
    uint8_t class;
    uint8_t is_written; /* fresh ones, too */
};
static_assert(sizeof(struct chunk) == 16, "little beside a chunk");
static_assert(CHUNK / 16 < UINT16_MAX, "places fit");

static inline unsigned class_of(size_t size)
{
    if (size <= FINE)
        return (unsigned)((size + !size - 1) / 16);
    if (size <= MIDDLE)
        return 16 + (unsigned)((size - FINE - 1) / 64);
    return 28 + (unsigned)((size - MIDDLE - 1) / 256);
}

static inline size_t bytes_of(unsigned class)
{
    return class < 16   ? (class + 1) * (size_t)16
           : class < 28 ? FINE + (class - 15) * (size_t)64
                        : MIDDLE + (class - 27) * (size_t)256;
}

size_t slabs_size(size_t size)
{
    return bytes_of(class_of(size));
}

bool slabs_has(const struct slabs *s, const void *block)
{
    return (uintptr_t)block - (uintptr_t)s->memory.base < s->memory.usable;
}

static inline struct chunk *chunk_at(const struct slabs *s, uint32_t number)
{
    return (struct chunk *)(void *)s->memory.base + number;
}

static inline size_t offset_of(const struct slabs *s, const void *block)
{
    return (uintptr_t)block - (uintptr_t)s->memory.base;
}

size_t slabs_size_of(const struct slabs *s, const void *block)
{
    return bytes_of(chunk_at(s, (uint32_t)(offset_of(s, block) / CHUNK))->class);
}

int slabs_init(struct slabs *s, size_t most)
{
    struct slabs made = {.used =
                             (most / CHUNK * sizeof(struct chunk) / CHUNK + 1) * CHUNK};
    for (unsigned class = 0; class < SLABS_CLASSES; class ++)
        made.of[class].n_blocks = (uint16_t)(CHUNK / bytes_of(class));
    if (LOOKS_FOR_ERRORS)
        return -ENOTSUP;
    int r = reserve_init(&made.memory, most);
    if (r == 0)
        r = reserve_grow(&made.memory, made.used);
    if (r < 0)
        reserve_free(&made.memory);
    else
        *s = made;
    return r;
}

void slabs_free(struct slabs *s)
{
    reserve_free(&s->memory);
    *s = (struct slabs){0};
}

static void put_first(struct slabs *s, uint32_t *first, uint32_t number)
{
    struct chunk *c = chunk_at(s, number);
    c->before = 0;
    c->next = *first;
    if (c->next)
        chunk_at(s, c->next)->before = number;
    *first = number;
}

static void take_out(struct slabs *s, uint32_t *first, uint32_t number)
{
    struct chunk *c = chunk_at(s, number);
    if (c->next)
        chunk_at(s, c->next)->before = c->before;
    if (c->before)
        chunk_at(s, c->before)->next = c->next;
    else
        *first = c->next;
}

static bool next_chunk(struct slabs *s, unsigned class)
{
    uint32_t number = s->empty;
    if (number) {
        take_out(s, &s->empty, number);
    } else {
        if (reserve_grow(&s->memory, s->used + CHUNK) < 0)
            return false;
        number = (uint32_t)(s->used / CHUNK);
        s->used += CHUNK;
    }
    struct chunk *c = chunk_at(s, number);
    c->class = (uint8_t) class;
    c->given = c->n_used = 0;
    c->n_fresh = s->of[class].n_blocks;
    put_first(s, &s->of[class].roomy, number);
    return true;
}

void *slabs_take(struct slabs *s, size_t size)
{
    unsigned class = class_of(size);
    struct slab *slab = &s->of[class];
    if (!slab->roomy && !next_chunk(s, class))
        return NULL;
    uint32_t number = slab->roomy;
    struct chunk *c = chunk_at(s, number);
    char *block = s->memory.base + number * CHUNK;
    bool is_zero = !c->given && !c->is_written;
    if (c->given) {
        block += (c->given - 1u) * (size_t)16;
        memcpy(&c->given, block, sizeof(c->given));
    } else {
        block += (size_t)(slab->n_blocks - c->n_fresh--) * bytes_of(class);
    }
    c->n_used++;
    if (!c->given && !c->n_fresh)
        take_out(s, &slab->roomy, number);
    return is_zero ? block : memset(block, 0, bytes_of(class));
}

/* Writes to the block and does not look at it: nobody waits for memory that is far. */
void slabs_give(struct slabs *s, void *block)
{
    size_t offset = offset_of(s, block);
    uint32_t number = (uint32_t)(offset / CHUNK);
    struct chunk *c = chunk_at(s, number);
    uint32_t *roomy = &s->of[c->class].roomy;
    if (!c->given && !c->n_fresh)
        put_first(s, roomy, number);
    memcpy(block, &c->given, sizeof(c->given));
    c->given = (uint16_t)(offset % CHUNK / 16 + 1);
    /* The last chunk of a size stays: one block may come and go. */
    if (--c->n_used == 0 && (c->next || c->before)) {
        take_out(s, roomy, number);
        c->is_written = 1;
        put_first(s, &s->empty, number);
    }
}
