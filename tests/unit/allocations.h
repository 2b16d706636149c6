/* SPDX-License-Identifier: Apache-2.0
 *
 * Counts what is allocated. For programs linked with -Wl,--wrap for each of the four functions; include
 * it in one file of the program.
 */
#ifndef WEIR_TESTS_ALLOCATIONS_H
#define WEIR_TESTS_ALLOCATIONS_H

#include <stddef.h>

static _Atomic size_t allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);

void *__wrap_malloc(size_t size)
{
    allocations++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    allocations++;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    allocations++;
    return __real_realloc(p, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    allocations++;
    return __real_aligned_alloc(alignment, size);
}

#endif
