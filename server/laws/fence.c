/* SPDX-License-Identifier: Apache-2.0 */
#include "laws/fence.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define KEPT_MAX  128u
#define KEPT_SIZE ((size_t)64 << 10) /* larger ones are not kept */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* protects kept, n_kept */
static struct fence kept[KEPT_MAX];
static size_t n_kept;

static size_t page(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static bool take_kept(struct fence *g, size_t map_size)
{
    bool found = false;
    pthread_mutex_lock(&lock);
    for (size_t i = n_kept; i-- > 0 && !found;) {
        if (kept[i].map_size != map_size)
            continue;
        *g = kept[i];
        kept[i] = kept[--n_kept];
        found = true;
    }
    pthread_mutex_unlock(&lock);
    if (found) {
        fence_protect(g, false);
        memset(g->map + page(), 0, map_size - 2 * page());
    }
    return found;
}

static bool make(struct fence *g, size_t map_size)
{
    g->map = mmap(NULL, map_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->map == MAP_FAILED)
        return false;
    if (mprotect(g->map + page(), map_size - 2 * page(), PROT_READ | PROT_WRITE) == 0)
        return true;
    munmap(g->map, map_size);
    return false;
}

bool fence_new(struct fence *g, size_t size)
{
    size_t inner = (size + page() - 1) / page() * page();
    if (inner == 0)
        inner = page();
    *g = (struct fence){0};
    if (!take_kept(g, inner + 2 * page()) && !make(g, inner + 2 * page())) {
        *g = (struct fence){0};
        return false;
    }
    g->map_size = inner + 2 * page();
    g->data = g->map + page() + inner - size;
    return true;
}

void fence_protect(struct fence *g, bool read_only)
{
    if (g->map && g->read_only != read_only)
        mprotect(g->map + page(), g->map_size - 2 * page(),
                 read_only ? PROT_READ : PROT_READ | PROT_WRITE);
    g->read_only = read_only;
}

void fence_free(struct fence *g)
{
    bool is_kept = false;
    if (!g->map)
        return;
    pthread_mutex_lock(&lock);
    if (n_kept < KEPT_MAX && g->map_size <= KEPT_SIZE) {
        kept[n_kept++] = *g;
        is_kept = true;
    }
    pthread_mutex_unlock(&lock);
    if (!is_kept)
        munmap(g->map, g->map_size);
    *g = (struct fence){0};
}
