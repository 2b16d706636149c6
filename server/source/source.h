/* SPDX-License-Identifier: Apache-2.0
 *
 * Where events come from: a POST (source/post.c), files and standard input (source/file.c). A source
 * cuts bytes into pieces, has them decoded into batches, and hands the batches to the stream's sink.
 */
#ifndef WEIR_SOURCE_SOURCE_H
#define WEIR_SOURCE_SOURCE_H

#include "base/error.h"
#include "base/metrics.h"
#include "base/waiter.h"
#include "batch/batch.h"
#include "decode/decode.h"
#include "http/http.h"

/* What a stream takes; filled in by the wiring from the stream's log (log/log.h has the contract of
 * each call). */
struct source_sink {
    void *ctx;
    int (*name)(void *ctx, const char *name, size_t size, uint32_t *ret_source);
    int (*append)(void *ctx, uint32_t source, struct batch *batch); /* 0, -EAGAIN, -ESHUTDOWN */
    int (*append_wait)(void *ctx, uint32_t source, struct batch *batch);
    void (*wait)(void *ctx, struct waiter *w);
    void (*unwait)(void *ctx, struct waiter *w);
};

/* A stream as sources see it. Outlives the HTTP server. */
struct source_stream {
    const char *name;
    struct decode_options decode;
    struct source_sink sink;
    uint64_t max_body;      /* bytes of a bounded request, decompressed */
    int64_t queue_wait_us;  /* then 429 */
    _Atomic uint64_t accepted, rejected[DECODE_REASONS], requests, bytes, throttled;
};

#endif
