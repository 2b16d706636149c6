/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that ends where it says: a page that may not be touched lies behind it, and one before it. Who reads or
 * writes beyond it is ended by a signal.
 */
#ifndef WEIR_LAWS_FENCE_H
#define WEIR_LAWS_FENCE_H

#include <stdbool.h>
#include <stddef.h>

struct fence {
    char *map, *data; /* data: zeros, aligned to 16 if its size is a multiple of that */
    size_t map_size;
    bool read_only;
};

/* False: no memory. Of mappings that are given back some are kept for the next ones; any thread. */
bool fence_new(struct fence *g, size_t size);
/* Reading only from now on, or writing again. */
void fence_protect(struct fence *g, bool read_only);
void fence_free(struct fence *g);

#endif
