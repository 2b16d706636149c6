/* SPDX-License-Identifier: Apache-2.0
 *
 * How long something took, in buckets from half a millisecond to ten seconds, for /metrics (metrics_add_histogram). Any
 * thread may add; the counts are relaxed: a scrape may see one that its sum does not have yet.
 */
#ifndef WEIR_BASE_HISTOGRAM_H
#define WEIR_BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

#define HISTOGRAM_BOUNDS 14

extern const uint32_t histogram_bound_us[HISTOGRAM_BOUNDS];

struct histogram {
    _Atomic uint64_t count[HISTOGRAM_BOUNDS + 1]; /* up to each bound, and above all */
    _Atomic uint64_t sum_us;
};

static inline void histogram_add(struct histogram *h, int64_t us)
{
    unsigned i = 0;
    while (i < HISTOGRAM_BOUNDS && us > (int64_t)histogram_bound_us[i])
        i++;
    atomic_fetch_add_explicit(&h->count[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_us, us > 0 ? (uint64_t)us : 0,
                              memory_order_relaxed);
}

#endif
