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

struct slab_block {
    struct slab_block *next;
};

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

static inline unsigned class_of_block(const struct slabs *s, const void *block)
{
    const uint8_t *class = (const uint8_t *)s->memory.base;
    return class[((uintptr_t)block - (uintptr_t)s->memory.base) / CHUNK];
}

size_t slabs_size_of(const struct slabs *s, const void *block)
{
    return bytes_of(class_of_block(s, block));
}

int slabs_init(struct slabs *s, size_t most)
{
    struct slabs made = {.used = (most / CHUNK / CHUNK + 1) * CHUNK};
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

static bool next_chunk(struct slabs *s, unsigned class)
{
    if (reserve_grow(&s->memory, s->used + CHUNK) < 0)
        return false;
    char *chunk = s->memory.base + s->used;
    s->memory.base[s->used / CHUNK] = (char)class;
    s->of[class].fresh = chunk;
    s->of[class].n_fresh = CHUNK / bytes_of(class);
    s->used += CHUNK;
    return true;
}

void *slabs_take(struct slabs *s, size_t size)
{
    unsigned class = class_of(size);
    struct slab *slab = &s->of[class];
    struct slab_block *b = slab->given;
    if (b) {
        slab->given = b->next;
        return memset(b, 0, bytes_of(class));
    }
    if (!slab->n_fresh && !next_chunk(s, class))
        return NULL;
    void *fresh = slab->fresh;
    slab->fresh += bytes_of(class);
    slab->n_fresh--;
    return fresh;
}

/* Writes to the block and does not look at it: nobody waits for memory that is far. */
void slabs_give(struct slabs *s, void *block)
{
    struct slab *slab = &s->of[class_of_block(s, block)];
    struct slab_block *b = block;
    b->next = slab->given;
    slab->given = b;
}
