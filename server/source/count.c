/* SPDX-License-Identifier: Apache-2.0
 *
 * The metrics of a stream's sources.
 */
#include "source/source.h"

#include <stdio.h>

int source_count(struct source_stream *s, struct metrics *m)
{
    char label[160];
    snprintf(label, sizeof(label), "stream=\"%s\"", s->name);
    int rc = metrics_add(m, METRIC_COUNTER, "weir_events_total", "Events accepted.",
                         label, &s->accepted, 1);
    if (!rc)
        rc = metrics_add(m, METRIC_COUNTER, "weir_ingest_requests_total",
                         "Requests that bring events.", label, &s->requests, 1);
    if (!rc)
        rc = metrics_add(m, METRIC_COUNTER, "weir_ingest_bytes_total",
                         "Bytes of events, decompressed.", label, &s->bytes, 1);
    if (!rc)
        rc = metrics_add(m, METRIC_COUNTER, "weir_throttled_total",
                         "Requests refused because the stream's queue was full.", label,
                         &s->throttled, 1);
    if (!rc)
        rc = metrics_add(m, METRIC_COUNTER, "weir_no_space_total",
                         "Requests refused because the disk was full.", label,
                         &s->no_space, 1);
    if (!rc)
        rc = metrics_add(m, METRIC_COUNTER, "weir_too_large_total",
                         "Requests refused because the journal could never hold them.",
                         label, &s->too_large, 1);
    if (!rc)
        rc = metrics_add(m, METRIC_COUNTER, "weir_skipped_fields_total",
                         "Tags and fields of line protocol that are no columns.", label,
                         &s->skipped, 1);
    for (int i = 0; !rc && i < DECODE_REASONS; i++) {
        snprintf(label, sizeof(label), "stream=\"%s\",reason=\"%s\"", s->name,
                 decode_reason_name((enum decode_reason)i));
        rc = metrics_add(m, METRIC_COUNTER, "weir_rejected_total",
                         "Events that were wrong, by reason.", label, &s->rejected[i],
                         1);
    }
    return rc;
}
