/* SPDX-License-Identifier: Apache-2.0
 *
 * What the server lends to a plugin: the table behind struct weir_ctx. One context for each worker and
 * each place that an analyzer has in a pipeline.
 *
 * What a plugin gives is checked here: cells by number, type and text, calls by when they come. The first
 * thing that is wrong stays: host_done fails from then on, whatever the plugin returns.
 */
#ifndef WEIR_PLUGIN_HOST_H
#define WEIR_PLUGIN_HOST_H

#include "base/buffer.h"
#include "base/doing.h"
#include "plugin/binding.h"

#include <stdatomic.h>

#define HOST_MEMORY_MAX ((size_t)4 << 30)  /* that one context may hold through alloc */
#define HOST_STRING_MAX ((size_t)16 << 20) /* bytes of a string in a result */
#define HOST_GIVEN_MAX  ((size_t)256 << 20) /* bytes of all that one call gives */
#define HOST_ROWS_MAX   1000000u            /* of one group */

/* Structs as plugins see them: zeros behind what we know. */
union host_rows {
    struct weir_rows rows;
    char room[PLUGIN_ROOM];
};
union host_window {
    struct weir_window window;
    char room[PLUGIN_ROOM];
};
union host_reply {
    struct weir_reply reply;
    char room[PLUGIN_ROOM];
};

/* What is to be sent. */
struct host_asked {
    union {
        struct weir_asked asked; /* first: the plugin's pointer is ours */
        char room[PLUGIN_ROOM];
    };
    struct buffer url, headers, body; /* headers: each with its zero */
    size_t n_headers;
    bool given, has_body;
};

/* struct weir_out of the plugin header: where what it gives goes. */
struct weir_out {
    /* The cells of group i, one for each column of the binding, null as yet. NULL: no memory. Of an analyzer
     * that gives many rows: cells for the next one, null. */
    struct weir_cell *(*group)(void *ctx, size_t i);
    /* Of one that gives many rows: takes the cells. -ENOMEM. */
    int (*row)(void *ctx, struct weir_cell *cells);
    /* A copy of a string for as long as the cells. NULL: no memory. */
    const char *(*keep)(void *ctx, const char *bytes, size_t size);
    void *ctx;
    size_t n;             /* groups of the call */
    struct buffer *bytes; /* of write; NULL: it is not save that is called */

    /* The host's own. */
    size_t next; /* the first group that may come */
    struct weir_cell *cell;
    struct weir_cell unwanted; /* where cells go that are no columns */
    bool put;                  /* cells that are not a row yet */
    uint32_t rows;             /* of this group */
    size_t given;              /* bytes */
};

struct host {
    union {
        struct weir_ctx ctx; /* first: the plugin's pointer is ours */
        char room[PLUGIN_ROOM];
    };
    struct binding *binding;
    const char *pipeline;
    size_t memory;       /* held through alloc */
    size_t told;         /* of it: is in `total` */
    size_t own_memory;   /* of it since open: not of states */
    struct slabs *slabs; /* of small blocks, once it holds much; NULL: not yet */
    bool no_slabs;       /* there are none to be had */
    _Atomic uint64_t
        *total; /* of the pipeline; relaxed, a figure for people; may be NULL */
    _Atomic uint64_t *skipped; /* rows of no use by reason; relaxed; may be NULL */
    bool opening;
    bool stands_in;     /* the plugin is open in another process */
    bool failed;        /* for good */
    bool many;          /* rows a group */
    struct error error; /* why, or of the last fail */
};

/* Makes the context and calls the plugin's open, which describes the binding's outputs if its table does not.
 * -EINVAL with the plugin's text. */
int host_open(struct host *h, struct binding *b, const char *pipeline,
              _Atomic uint64_t *total, _Atomic uint64_t *skipped, struct error *error);
void host_close(struct host *h);
/* The same for a context that asks other services: what it puts are answers. *ret is a copy of the binding that has them
 * in place of outputs, and borrows the rest; it stays until host_close. */
int host_open_for_answers(struct host *h, struct binding *b, struct binding *ret,
                          const char *pipeline, _Atomic uint64_t *total,
                          struct error *error);
/* The plugin's ask. 0, or -EINVAL with a text in h->error, for good. */
int host_ask(struct host *h, const struct weir_cell *value, struct host_asked *ret);
/* The plugin's read, which puts cells. 0, WEIR_AGAIN or WEIR_NO_ANSWER, with a text in h->error if it gave one; -EINVAL as
 * above. */
int host_read(struct host *h, const struct weir_reply *reply, struct weir_out *out);
/* The same of one whose plugin's close has been called, or is not to be. */
void host_leave(struct host *h);
/* Of a plugin that is open in another process: here none of its functions is called, and what it gives there is put
 * through this host. It cannot fail. */
void host_stand_in(struct host *h, struct binding *b, const char *pipeline,
                   _Atomic uint64_t *total, _Atomic uint64_t *skipped);

/* What it holds is in `total` as it is now, from time to time. */
void host_tell_memory(struct host *h);

/* What a function of the plugin has returned, `call` is its name: 0, or -EINVAL with a text in h->error, for good. */
int host_done(struct host *h, const char *call, int r);
/* Cells that a call of `whole` gives are of group i. As host_done. */
int host_begin_group(struct host *h, struct weir_out *out, size_t i);
/* The same behind emit or whole, `call`: rows are finished. */
int host_done_emit(struct host *h, struct weir_out *out, const char *call, int r);

/* States have memory of their own, and cannot be saved: -EINVAL as from host_done. */
int host_can_save(struct host *h);

/* Around each call of a plugin: it is noted, and held by one at a time if the plugin takes no more. */
static inline void host_lock(struct host *h)
{
    if (h->binding->plugin->analyzer.threads == WEIR_THREADS_ONE)
        pthread_mutex_lock(&h->binding->plugin->one);
    doing_analyzer(h->binding->plugin->analyzer.name, h->binding->place);
}

static inline void host_unlock(struct host *h)
{
    doing_no_analyzer();
    if (h->binding->plugin->analyzer.threads == WEIR_THREADS_ONE)
        pthread_mutex_unlock(&h->binding->plugin->one);
}

#endif
