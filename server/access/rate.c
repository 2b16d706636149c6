/* SPDX-License-Identifier: Apache-2.0 */
#include "access/rate.h"

#define SECOND_NS    INT64_C(1000000000)
#define RATE_OWED_NS (INT64_C(3600) * SECOND_NS) /* more is forgiven */

/* `busy` with n more. */
static int64_t later(const struct rate *r, int64_t busy, uint64_t n, int64_t now_ns)
{
    int64_t from = busy > now_ns ? busy : now_ns;
    double ns = (double)n * (double)SECOND_NS / (double)r->per_second;
    int64_t most = now_ns + RATE_OWED_NS;
    return ns > (double)(most - from) ? most : from + (int64_t)ns;
}

int64_t rate_wait(const struct rate *r, int64_t now_ns)
{
    int64_t busy = atomic_load_explicit(&r->busy_until_ns, memory_order_relaxed);
    int64_t ahead = busy - now_ns - RATE_BURST_NS;
    return r->per_second && ahead >= 0 ? ahead + 1 : 0;
}

int64_t rate_take(struct rate *r, int64_t now_ns)
{
    int64_t busy = atomic_load_explicit(&r->busy_until_ns, memory_order_relaxed);
    if (!r->per_second)
        return 0;
    int64_t next;
    do {
        /* What it would take must end within the burst: a rate of 5 has 5 to begin with. */
        next = later(r, busy, 1, now_ns);
        if (next > now_ns + RATE_BURST_NS)
            return next - now_ns - RATE_BURST_NS;
    } while (!atomic_compare_exchange_weak_explicit(
        &r->busy_until_ns, &busy, next, memory_order_relaxed, memory_order_relaxed));
    return 0;
}

void rate_owe(struct rate *r, uint64_t n, int64_t now_ns)
{
    if (!r->per_second || !n)
        return;
    int64_t busy = atomic_load_explicit(&r->busy_until_ns, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(
        &r->busy_until_ns, &busy, later(r, busy, n, now_ns), memory_order_relaxed,
        memory_order_relaxed))
        ;
}
