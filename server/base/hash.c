/* SPDX-License-Identifier: Apache-2.0
 *
 * The random key of the hash.
 */
#include "base/hash.h"
#include "base/clock.h"

#include <sys/random.h>

/* Until hash_setup: digits of pi, so that programs without it (tests) work, too. */
uint64_t hash_key[2] = {UINT64_C(0x243f6a8885a308d3), UINT64_C(0x13198a2e03707345)};

void hash_setup(void)
{
    uint64_t key[2];
    if (getrandom(key, sizeof key, GRND_NONBLOCK) != (ssize_t)sizeof key) {
        /* Very early at boot: harder to guess than a constant, no more. */
        key[0] = hash_mix((uint64_t)clock_now_us(), hash_key[0]);
        key[1] = hash_mix((uint64_t)clock_monotonic_us() ^ key[0], hash_key[1]);
    }
    hash_key[0] = key[0];
    hash_key[1] = key[1] | 1; /* never 0, which would map every key to 0 */
}
