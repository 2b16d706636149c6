/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/pool.h"

#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define GAP ((size_t)4096) /* behind each block, poisoned */
#else
#define ASAN_POISON_MEMORY_REGION(p, size)   ((void)(p), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(p, size) ((void)(p), (void)(size))
#define GAP                                  ((size_t)0)
#endif

#define CLASS_MIN 12 /* 4 KiB */
#define CLASSES   19 /* up to 1 GiB: the keys of a batch, 65,536 of 4 KiB, and some */

#define ROOM_OF(class) ((size_t)1 << ((class) + CLASS_MIN))

/* Address space. Classes do not lend each other blocks, so it is to hold the most that each of them ever
 * had at once, together. */
#define ARENA_MAX ((size_t)256 << 30)
#define ARENA_MIN ((size_t)1 << 30)
#define OPEN_STEP ((size_t)64 << 20) /* a divisor of both */

/* Blocks of a class that nobody has. */
struct shelf {
    struct free_block {
        struct free_block *next;
    } * warm;       /* with their pages */
    uint32_t *cold; /* page numbers of those whose pages went back */
    size_t n_cold, cold_room;
};

static struct {
    pthread_mutex_t lock; /* protects all that changes */
    struct shelf shelf[CLASSES];
    size_t kept;             /* bytes of warm blocks */
    size_t lent;             /* of those that somebody has */
    char *arena;             /* set once */
    size_t size, used, open; /* open: may be touched */
    int give_back;           /* advice by which pages go */
    int fd;                  /* read-only */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static_assert((ARENA_MAX >> CLASS_MIN) <= UINT32_MAX, "page numbers are 32 bits");

/* A file of `size` bytes, none of which is there yet; its size stays. -1: there is none. */
static int make_file(size_t size)
{
    int fd = memfd_create("weir-batches", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0 &&
        (ftruncate(fd, (off_t)size) < 0 ||
         fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* The same file, through which it cannot be written. Not F_SEAL_FUTURE_WRITE: with that no pages can be given back. */
static int read_only(int fd)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static void make_arena(void)
{
    for (size_t size = ARENA_MAX; size >= ARENA_MIN; size /= 2) {
        int fd = make_file(size);
        int flags = MAP_NORESERVE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
        void *p = mmap(NULL, size, PROT_NONE, flags, fd, 0);
        if (p != MAP_FAILED) {
            /* a dump of a crash would hold all of it */
            madvise(p, size, MADV_DONTDUMP);
            pool.arena = p;
            pool.size = size;
            pool.give_back = fd < 0 ? MADV_DONTNEED : MADV_REMOVE;
            pool.fd = fd < 0 ? -1 : read_only(fd);
        }
        if (fd >= 0)
            close(fd);
        if (p != MAP_FAILED)
            return;
    }
}

static unsigned size_class(size_t size)
{
    unsigned c = CLASS_MIN;
    while (((size_t)1 << c) < size)
        c++;
    return c - CLASS_MIN;
}

/* With the lock held: `size` bytes behind what is used may be touched. What is beyond may not, so that nobody who
 * goes over the memory of the process, as valgrind does, brings it to life. False: they cannot. */
static bool open_arena(size_t size)
{
    if (size > pool.size - pool.used)
        return false;
    if (pool.used + size <= pool.open)
        return true;
    size_t end = (pool.used + size + OPEN_STEP - 1) / OPEN_STEP * OPEN_STEP;
    if (mprotect(pool.arena + pool.open, end - pool.open, PROT_READ | PROT_WRITE))
        return false;
    pool.open = end;
    return true;
}

/* With the lock held. NULL: the arena has no more. */
static void *take(unsigned class, size_t room)
{
    struct shelf *s = &pool.shelf[class];
    void *p = s->warm;
    if (p) {
        ASAN_UNPOISON_MEMORY_REGION(p, room);
        s->warm = s->warm->next;
        pool.kept -= room;
    } else if (s->n_cold) {
        p = pool.arena + ((size_t)s->cold[--s->n_cold] << CLASS_MIN);
    } else if (open_arena(room + GAP)) {
        p = pool.arena + pool.used;
        ASAN_POISON_MEMORY_REGION((char *)p + room, GAP);
        pool.used += room + GAP;
    }
    return p;
}

void *pool_get(size_t size, size_t *ret_room)
{
    if (size > (size_t)1 << (CLASS_MIN + CLASSES - 1))
        return NULL;
    unsigned class = size_class(size);
    pthread_once(&once, make_arena);
    size_t room = ROOM_OF(class);
    pthread_mutex_lock(&pool.lock);
    void *p = take(class, room);
    pool.lent += p ? room : 0;
    pthread_mutex_unlock(&pool.lock);
    if (!p)
        return NULL;
    ASAN_UNPOISON_MEMORY_REGION(p, room);
    *ret_room = room;
    return p;
}

/* With the lock held. False: there is no memory to remember one more. */
static bool cold_room(struct shelf *s)
{
    if (s->n_cold < s->cold_room)
        return true;
    size_t room = s->cold_room ? 2 * s->cold_room : 64;
    uint32_t *cold = realloc(s->cold, room * sizeof(*cold));
    if (!cold)
        return false;
    s->cold = cold;
    s->cold_room = room;
    return true;
}

/* With the lock held. */
static void shelve(void *p, unsigned class)
{
    struct free_block *b = p;
    b->next = pool.shelf[class].warm;
    pool.shelf[class].warm = b;
    pool.kept += ROOM_OF(class);
    ASAN_POISON_MEMORY_REGION(p, ROOM_OF(class));
}

/* With the lock held: a block of those that are too many, of this class if it has one. NULL: they are not. */
static void *take_surplus(unsigned *class)
{
    if (pool.kept <= (pool.lent > POOL_KEPT_MAX ? pool.lent : POOL_KEPT_MAX))
        return NULL;
    for (unsigned c = CLASSES; !pool.shelf[*class].warm && c > 0; c--)
        if (pool.shelf[c - 1].warm)
            *class = c - 1;
    return take(*class, ROOM_OF(*class));
}

void pool_put(void *p, size_t room)
{
    if (!p)
        return;
    unsigned class = size_class(room);
    bool cold = true;
    pthread_mutex_lock(&pool.lock);
    pool.lent -= room;
    shelve(p, class);
    while (cold && (p = take_surplus(&class))) {
        /* The pages go back without the lock. Where they cannot, they stay. */
        pthread_mutex_unlock(&pool.lock);
        cold = madvise(p, ROOM_OF(class), pool.give_back) == 0;
        pthread_mutex_lock(&pool.lock);
        struct shelf *s = &pool.shelf[class];
        cold = cold && cold_room(s);
        if (cold) {
            s->cold[s->n_cold++] = (uint32_t)(pool_offset(p) >> CLASS_MIN);
            ASAN_POISON_MEMORY_REGION(p, ROOM_OF(class));
        } else {
            shelve(p, class);
        }
    }
    pthread_mutex_unlock(&pool.lock);
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

int pool_arena_fd(void)
{
    pthread_once(&once, make_arena);
    return pool.fd;
}

size_t pool_arena_size(void)
{
    pthread_once(&once, make_arena);
    return pool.size;
}

uint64_t pool_offset(const void *p)
{
    return (uint64_t)((const char *)p - pool.arena);
}
