/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/host.h"

#include "base/logger.h"

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static_assert(offsetof(struct host, ctx) == 0, "plugins give us back &host->ctx");

/* In front of each block that alloc gives. */
struct block_head {
    alignas(16) size_t size;
};

static struct host *host_of(struct weir_ctx *ctx)
{
    return (struct host *)(void *)ctx;
}

static int host_fail(struct weir_ctx *ctx, const char *format, ...)
{
    struct host *h = host_of(ctx);
    va_list args;
    va_start(args, format);
    vsnprintf(h->error.text, sizeof(h->error.text), format, args);
    va_end(args);
    return -1;
}

static void host_log(struct weir_ctx *ctx, enum weir_level level, const char *format,
                     ...)
{
    static const enum logger_level levels[] = {LOGGER_DEBUG, LOGGER_INFO, LOGGER_WARN,
                                               LOGGER_ERROR};
    struct host *h = host_of(ctx);
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    logger_write(level <= WEIR_ERROR ? levels[level] : LOGGER_ERROR, "plugin",
                 "pipeline '%s', analyzer '%s': %s", h->pipeline,
                 h->binding->plugin->analyzer.name, text);
}

static void count_memory(struct host *h, size_t more, size_t less)
{
    h->memory += more - less;
    if (h->total)
        atomic_fetch_add_explicit(h->total, more - less, memory_order_relaxed);
}

static void *host_alloc(struct weir_ctx *ctx, size_t size)
{
    struct host *h = host_of(ctx);
    if (size > HOST_MEMORY_MAX || h->memory + size > HOST_MEMORY_MAX)
        return NULL;
    struct block_head *b = calloc(1, sizeof(*b) + size);
    if (!b)
        return NULL;
    b->size = size;
    count_memory(h, size, 0);
    return b + 1;
}

static void host_free(struct weir_ctx *ctx, void *p)
{
    if (!p)
        return;
    struct block_head *b = (struct block_head *)p - 1;
    count_memory(host_of(ctx), 0, b->size);
    free(b);
}

static int host_put(struct weir_ctx *ctx, struct weir_out *out,
                    const struct weir_cell *cells)
{
    if (!out || !out->put)
        return host_fail(ctx, "put was called where no rows are expected");
    return out->put(out->ctx, cells);
}

static int host_write(struct weir_ctx *ctx, struct weir_out *out, const void *bytes,
                      size_t size)
{
    if (!out || !out->bytes)
        return host_fail(ctx, "write was called outside of save");
    buffer_put(out->bytes, bytes, size);
    return out->bytes->error ? host_fail(ctx, "no memory for a saved state") : 0;
}

static const struct weir_host host_table = {
    .size = sizeof(struct weir_host),
    .fail = host_fail,
    .log = host_log,
    .alloc = host_alloc,
    .free = host_free,
    .put = host_put,
    .write = host_write,
};

int host_open(struct host *h, const struct binding *b, const char *pipeline,
              _Atomic uint64_t *total, struct error *error)
{
    *h = (struct host){
        .ctx = {.host = &host_table, .config = b->config, .types = b->types},
        .binding = b,
        .pipeline = pipeline,
        .total = total};
    const struct weir_analyzer *a = &b->plugin->analyzer;
    if (!a->open)
        return 0;
    host_lock(h);
    int r = a->open(&h->ctx);
    host_unlock(h);
    if (r == 0)
        return 0;
    error_set(error, -EINVAL, "analyzer '%s': %s", a->name,
              h->error.text[0] ? h->error.text : "open failed");
    host_close(h);
    return -EINVAL;
}

void host_close(struct host *h)
{
    if (!h->binding)
        return;
    const struct weir_analyzer *a = &h->binding->plugin->analyzer;
    if (a->close) {
        host_lock(h);
        a->close(&h->ctx);
        host_unlock(h);
    }
    h->binding = NULL;
}
