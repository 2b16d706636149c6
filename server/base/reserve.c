/* SPDX-License-Identifier: Apache-2.0 */
#include "base/reserve.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

#define STEP      ((size_t)256 << 10)
#define HUGE_PAGE ((size_t)2 << 20)
#define MUCH      (2 * HUGE_PAGE) /* from here on large pages */

int reserve_init(struct reserve *r, size_t most)
{
    void *base = mmap(NULL, most ? most : 1, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return -ENOMEM;
    *r = (struct reserve){.base = base, .most = most};
    return 0;
}

static size_t round_up(size_t n, size_t step)
{
    return (n + step - 1) / step * step;
}

/* Where to end, a fifth further than asked for. A large page is only given where it is usable as a whole, so those end
 * where an address is a multiple of its size. */
static size_t end_of(const struct reserve *r, size_t bytes)
{
    size_t end = bytes + r->usable / 4;
    if (end < MUCH)
        return round_up(end, STEP);
    return round_up((uintptr_t)r->base + end, HUGE_PAGE) - (uintptr_t)r->base;
}

int reserve_grow(struct reserve *r, size_t bytes)
{
    if (bytes <= r->usable)
        return 0;
    if (bytes > r->most)
        return -ENOMEM;
    const size_t ends[] = {end_of(r, bytes),
                           round_up(bytes, STEP)}; /* or just enough */
    char *from = r->base + r->usable;
    size_t end = 0;
    int err = -1;
    for (size_t i = 0; err && i < 2; i++) {
        end = ends[i] < r->most ? ends[i] : r->most;
        err = mprotect(from, end - r->usable, PROT_READ | PROT_WRITE);
    }
    if (err)
        return -ENOMEM;
    if (end >= MUCH)
        madvise(from, end - r->usable, MADV_HUGEPAGE); /* some kernels have none */
    r->usable = end;
    return 0;
}

void reserve_free(struct reserve *r)
{
    if (r->base)
        munmap(r->base, r->most ? r->most : 1);
    *r = (struct reserve){0};
}
