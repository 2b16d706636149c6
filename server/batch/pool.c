/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define CLASS_MIN 12 /* 4 KiB */
#define CLASSES   15 /* up to 64 MiB */

struct free_block {
    struct free_block *next;
};

static struct {
    pthread_mutex_t lock; /* protects all of this */
    struct free_block *list[CLASSES];
    size_t kept; /* bytes in the lists */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

static unsigned size_class(size_t size)
{
    unsigned c = CLASS_MIN;
    while (((size_t)1 << c) < size)
        c++;
    return c - CLASS_MIN;
}

void *pool_get(size_t size, size_t *ret_room)
{
    unsigned c = size_class(size);
    size_t room = (size_t)1 << (c + CLASS_MIN);
    struct free_block *b = NULL;
    if (c < CLASSES) {
        pthread_mutex_lock(&pool.lock);
        b = pool.list[c];
        if (b) {
            pool.list[c] = b->next;
            pool.kept -= room;
        }
        pthread_mutex_unlock(&pool.lock);
    }
    void *p = b ? b : aligned_alloc(64, room);
    if (p)
        *ret_room = room;
    return p;
}

void pool_put(void *p, size_t room)
{
    if (!p)
        return;
    unsigned c = size_class(room);
    struct free_block *b = p;
    pthread_mutex_lock(&pool.lock);
    if (c < CLASSES && pool.kept + room <= POOL_KEPT_MAX) {
        b->next = pool.list[c];
        pool.list[c] = b;
        pool.kept += room;
        b = NULL;
    }
    pthread_mutex_unlock(&pool.lock);
    free(b);
}

void *pool_grow(void *p, size_t room, size_t used, size_t size, size_t *ret_room)
{
    if (p && size <= room) {
        *ret_room = room;
        return p;
    }
    size_t new_room;
    void *q = pool_get(size, &new_room);
    if (!q)
        return NULL;
    if (used)
        memcpy(q, p, used);
    pool_put(p, room);
    *ret_room = new_room;
    return q;
}
