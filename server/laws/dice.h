/* SPDX-License-Identifier: Apache-2.0
 *
 * Chance that can be had again: Marsaglia, "Xorshift RNGs", 2003, from a seed.
 */
#ifndef WEIR_LAWS_DICE_H
#define WEIR_LAWS_DICE_H

#include <stddef.h>
#include <stdint.h>

struct dice {
    uint64_t state; /* not 0 */
};

static inline struct dice dice_of(uint64_t seed)
{
    return (struct dice){(seed + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1};
}

/* 0 to below - 1; below > 0. */
static inline size_t dice(struct dice *d, size_t below)
{
    d->state ^= d->state << 13;
    d->state ^= d->state >> 7;
    d->state ^= d->state << 17;
    return (size_t)((d->state >> 11) % below);
}

#endif
