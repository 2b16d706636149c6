/* SPDX-License-Identifier: Apache-2.0
 *
 * So many a second, in one number: until when what was taken keeps the rate busy (the generic cell rate algorithm of
 * ITU-T I.371, as a virtual schedule). It may run ahead of the clock by RATE_BURST_NS, what a second allows. Any thread, no
 * lock.
 */
#ifndef WEIR_ACCESS_RATE_H
#define WEIR_ACCESS_RATE_H

#include <stdatomic.h>
#include <stdint.h>

#define RATE_BURST_NS INT64_C(1000000000)
#define RATE_MAX      UINT64_C(1000000000) /* a second */

struct rate {
    uint64_t per_second; /* 0: any */
    _Atomic int64_t
        busy_until_ns; /* clock_monotonic_ns; 0: never used. Relaxed: nothing else hangs on it */
};

/* Takes one, and returns 0; or how long it is until there is one to take. */
int64_t rate_take(struct rate *r, int64_t now_ns);
/* Takes n that are there already, however many; rate_wait: how long it is until one might be taken; 0: now. */
void rate_owe(struct rate *r, uint64_t n, int64_t now_ns);
int64_t rate_wait(const struct rate *r, int64_t now_ns);

#endif
