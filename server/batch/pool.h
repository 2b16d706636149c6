/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory for the arrays of batches: blocks of 4 KiB to 64 MiB in powers of two, kept for the next
 * batch instead of being given back and faulted in again. At most POOL_KEPT_MAX bytes are kept.
 * Any thread; a lock for each array, never for a row.
 */
#ifndef WEIR_BATCH_POOL_H
#define WEIR_BATCH_POOL_H

#include <stddef.h>

#define POOL_KEPT_MAX ((size_t)48 << 20)

/* At least `size` bytes, aligned to 64, not zeroed; *ret_room is what there is. NULL: no memory. */
void *pool_get(size_t size, size_t *ret_room);
void pool_put(void *p, size_t room); /* takes NULL */

/* `p` (room bytes, NULL at first) with its first `used` bytes in a block of at least `size`.
 * NULL: no memory, and `p` is as it was. */
void *pool_grow(void *p, size_t room, size_t used, size_t size, size_t *ret_room);

#endif
