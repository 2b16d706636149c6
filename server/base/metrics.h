/* SPDX-License-Identifier: Apache-2.0
 *
 * The registry behind /metrics: stages own their counters and register where they lie.
 */
#ifndef WEIR_BASE_METRICS_H
#define WEIR_BASE_METRICS_H

#include "base/buffer.h"
#include "base/histogram.h"

#include <stdatomic.h>
#include <stdint.h>

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metrics;

int metrics_new(struct metrics **ret);
void metrics_free(struct metrics *m);

/* `name` and `help` are literals (kept, not copied); `labels` is like `stream="trades"` or "" and is
 * copied. The value printed is *value * scale (scale 1e-9 turns nanoseconds into seconds). The value
 * is read with relaxed ordering and must outlive the registry. All metrics of one name share help and
 * kind. -ENOMEM. */
int metrics_add(struct metrics *m, enum metric_kind kind, const char *name,
                const char *help, const char *labels, const _Atomic uint64_t *value,
                double scale);

/* Calls `read(ctx)` at each scrape instead; may return any double. */
int metrics_add_call(struct metrics *m, enum metric_kind kind, const char *name,
                     const char *help, const char *labels, double (*read)(void *ctx),
                     void *ctx);

/* In seconds. Likewise. */
int metrics_add_histogram(struct metrics *m, const char *name, const char *help,
                          const char *labels, const struct histogram *h);

/* Forgets the metrics whose values, or ctx, lie in the `size` bytes at `base`: they are about to be freed. */
void metrics_remove(struct metrics *m, const void *base, size_t size);
/* The end is near, and each for itself would take long. */
void metrics_remove_all(struct metrics *m);

/* Appends `name="value"` with the value escaped, and a comma if `out` is not empty: makes `labels`. */
void metrics_put_label(struct buffer *out, const char *name, const char *value);

/* Prometheus text format 0.0.4, metrics of one name together. Any thread. */
void metrics_print(struct metrics *m, struct buffer *out);

static inline void metric_add(_Atomic uint64_t *v, uint64_t n)
{
    atomic_fetch_add_explicit(v, n, memory_order_relaxed);
}

#endif
