/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory for the arrays of batches: blocks of 4 KiB to 1 GiB in powers of two, kept for the next
 * batch instead of being given back and faulted in again. At most POOL_KEPT_MAX bytes are kept, or as many as are in use:
 * a queue that is full soon is again, once it was emptied.
 * Any thread; a lock for each array, never for a row.
 *
 * All blocks lie in one arena, a memfd, so that another process can map it and read a batch
 * where it lies (batch/shared.h):
 *
 *      | block | block |     block     | block | ...        never given out            |
 *      0       offset of a block                            pool_arena_size()
 *
 * The arena is address space; a page of it is memory from its first use until its block is given back
 * with enough others kept.
 */
#ifndef WEIR_BATCH_POOL_H
#define WEIR_BATCH_POOL_H

#include <stddef.h>
#include <stdint.h>

#define POOL_KEPT_MAX ((size_t)48 << 20)

/* At least `size` bytes, aligned to 64, not zeroed; *ret_room is what there is. NULL: no memory. */
void *pool_get(size_t size, size_t *ret_room);
void pool_put(void *p, size_t room); /* takes NULL */

/* `p` (room bytes, NULL at first) with its first `used` bytes in a block of at least `size`.
 * NULL: no memory, and `p` is as it was. */
void *pool_grow(void *p, size_t room, size_t used, size_t size, size_t *ret_room);

/* The arena's file, for other processes: a descriptor through which it can only be read; its size stays. -1:
 * the kernel gives none, and the arena is this process's alone. It stays the pool's. */
int pool_arena_fd(void);
size_t pool_arena_size(void); /* bytes to map */
/* Where in the arena a byte of a block lies. */
uint64_t pool_offset(const void *p);

#endif
