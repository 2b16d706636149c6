/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that grows where it is: addresses for all that it may become, which cost nothing, also where memory is not promised to
 * more than there is, and memory for what it is. Large pages once there is much: fewer faults, and fewer misses.
 */
#ifndef WEIR_BASE_RESERVE_H
#define WEIR_BASE_RESERVE_H

#include <stddef.h>

struct reserve {
    char *base;          /* of a page; NULL: not there */
    size_t most, usable; /* bytes; what is usable was zero before it was written to */
};

/* Nothing of it is usable yet. -ENOMEM. */
int reserve_init(struct reserve *r, size_t most);
/* At least so many bytes are usable. -ENOMEM, also of more than `most`. */
int reserve_grow(struct reserve *r, size_t bytes);
void reserve_free(struct reserve *r); /* also one that is all zero */

#endif
