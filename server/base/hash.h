/* SPDX-License-Identifier: Apache-2.0
 *
 * A fast keyed 64-bit hash for tables in memory; not for files, not cryptographic. The key is random
 * in each process, so that nobody can choose keys that collide.
 */
#ifndef WEIR_BASE_HASH_H
#define WEIR_BASE_HASH_H

#include <stdint.h>
#include <string.h>

extern uint64_t hash_key[2]; /* set by hash_setup before threads start */

void hash_setup(void);

/* The folded 128-bit product, the mixing step of the multiply-based hashes. */
static inline uint64_t hash_mix(uint64_t a, uint64_t b)
{
    __uint128_t p = (__uint128_t)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

static inline uint64_t hash_u64(uint64_t v)
{
    return hash_mix(v ^ hash_key[0], hash_key[1]);
}

static inline uint64_t hash_load(const char *p, size_t n)
{
    uint64_t v = 0;
    memcpy(&v, p, n);
    return v;
}

static inline uint64_t hash_bytes(const char *p, size_t n)
{
    uint64_t h = hash_key[0] ^ n;
    if (n >= 8) {
        size_t i = 0;
        for (; i + 8 <= n; i += 8)
            h = hash_mix(h ^ hash_load(p + i, 8), hash_key[1]);
        return hash_mix(h ^ hash_load(p + n - 8, 8), hash_key[1]);
    }
    if (n >= 4) {
        uint64_t v = hash_load(p, 4) << 32 | hash_load(p + n - 4, 4);
        return hash_mix(h ^ v, hash_key[1]);
    }
    if (n > 0) {
        uint64_t v = (uint64_t)(unsigned char)p[0] << 16 |
                     (uint64_t)(unsigned char)p[n / 2] << 8 | (unsigned char)p[n - 1];
        return hash_mix(h ^ v, hash_key[1]);
    }
    return hash_mix(h, hash_key[1]);
}

#endif
