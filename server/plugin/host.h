/* SPDX-License-Identifier: Apache-2.0
 *
 * What the server lends to a plugin: the table behind struct weir_ctx. One context for each worker and
 * each place that an analyzer has in a pipeline.
 */
#ifndef WEIR_PLUGIN_HOST_H
#define WEIR_PLUGIN_HOST_H

#include "base/buffer.h"
#include "plugin/binding.h"

#include <stdatomic.h>

#define HOST_MEMORY_MAX ((size_t)4 << 30) /* that one context may hold through alloc */

/* struct weir_out of the plugin header: where put and write go. */
struct weir_out {
    int (*put)(void *ctx, const struct weir_cell *cells); /* NULL: put is an error */
    void *ctx;
    struct buffer *bytes; /* of write; NULL: write is an error */
};

struct host {
    struct weir_ctx ctx; /* first: the plugin's pointer is ours */
    const struct binding *binding;
    const char *pipeline;
    size_t memory; /* held through alloc */
    _Atomic uint64_t
        *total;         /* of the pipeline; relaxed, a figure for people; may be NULL */
    struct error error; /* of the last fail */
};

/* Makes the context and calls the plugin's open. -EINVAL with the plugin's text. */
int host_open(struct host *h, const struct binding *b, const char *pipeline,
              _Atomic uint64_t *total, struct error *error);
void host_close(struct host *h);

/* Held around calls of a plugin that takes only one at a time. */
static inline void host_lock(struct host *h)
{
    if (h->binding->plugin->analyzer.threads == WEIR_THREADS_ONE)
        pthread_mutex_lock(&h->binding->plugin->one);
}

static inline void host_unlock(struct host *h)
{
    if (h->binding->plugin->analyzer.threads == WEIR_THREADS_ONE)
        pthread_mutex_unlock(&h->binding->plugin->one);
}

#endif
