/* SPDX-License-Identifier: Apache-2.0
 *
 * A host in another process: it maps the batches of the server read-only, keeps the states, and answers
 * through a ring. The plugin does not know.
 * Asks for: rows that are pointers into memory that somebody else has mapped and nothing else; no pointer that
 * outlives a call; results and saved bytes only through calls, so that they can be written to a ring as they
 * come; errors as text; states that can be moved as bytes; sizes of what crosses.
 */
#include "weir/plugin.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STRUCT_MAX                                                                     \
    256 /* bytes of a struct that a plugin of a later header may look at */

/* Offsets into the mapping. */
struct shared_column {
    uint32_t type, zero;
    uint64_t validity, values, offsets, bytes;
    int64_t null_count, dictionary_size;
};
struct shared_rows {
    uint64_t n, row, group, time, sequence;
    uint32_t n_inputs, zero;
    struct shared_column in[];
};

enum message { FAILED, GROUP, INT, FLOAT, STRING, ROW, SAVED, SKIPPED };

struct ring; /* to the server; waits for room */
int ring_put(struct ring *r, enum message kind, uint64_t number, const void *bytes,
             size_t size);

struct worker {
    struct weir_ctx ctx; /* first */
    char more[STRUCT_MAX];
    struct ring *ring;
    const char *map;
    char *states;
    size_t stride;
};

static struct ring *ring_of(struct weir_ctx *ctx)
{
    return ((struct worker *)(void *)ctx)->ring;
}

static int lend_fail(struct weir_ctx *ctx, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ring_put(ring_of(ctx), FAILED, 0, text, strlen(text));
    return -1;
}

static int lend_group(struct weir_ctx *ctx, struct weir_out *out, size_t i)
{
    (void)out;
    return ring_put(ring_of(ctx), GROUP, i, NULL, 0);
}

static int lend_put_int(struct weir_ctx *ctx, struct weir_out *out, uint32_t cell,
                        int64_t v)
{
    (void)out;
    return ring_put(ring_of(ctx), INT, cell, &v, sizeof(v));
}

static int lend_put_string(struct weir_ctx *ctx, struct weir_out *out, uint32_t cell,
                           const char *s, size_t size)
{
    (void)out;
    return ring_put(ring_of(ctx), STRING, cell, s, size);
}

static int lend_write(struct weir_ctx *ctx, struct weir_out *out, const void *bytes,
                      size_t size)
{
    (void)out;
    return ring_put(ring_of(ctx), SAVED, 0, bytes, size);
}

/* As large as the plugin's header says; what is not set here is zero. */
static union {
    struct weir_host host;
    char bytes[STRUCT_MAX];
} table = {.host = {.size = sizeof(struct weir_host),
                    .fail = lend_fail,
                    .group = lend_group,
                    .put_int = lend_put_int,
                    .put_string = lend_put_string,
                    .write = lend_write}};

static const void *at(const struct worker *w, uint64_t offset)
{
    return offset ? w->map + offset : NULL;
}

/* One message of the server: these rows, at most 256 inputs. */
int worker_update(struct worker *w, const struct weir_analyzer *a, uint64_t message)
{
    const struct shared_rows *s = at(w, message);
    struct weir_column column[256];
    const struct weir_column *in[256];
    for (uint32_t k = 0; k < s->n_inputs; k++) {
        const struct shared_column *c = &s->in[k];
        column[k] = (struct weir_column){.type = c->type,
                                         .validity = at(w, c->validity),
                                         .values = at(w, c->values),
                                         .offsets = at(w, c->offsets),
                                         .bytes = at(w, c->bytes),
                                         .null_count = c->null_count,
                                         .dictionary_size = c->dictionary_size};
        in[k] = c->type ? &column[k] : NULL;
    }
    union {
        struct weir_rows rows;
        char bytes[STRUCT_MAX];
    } r = {.rows = {.size = sizeof(struct weir_rows),
                    .n = s->n,
                    .row = at(w, s->row),
                    .group = at(w, s->group),
                    .states = w->states,
                    .stride = w->stride,
                    .time = at(w, s->time),
                    .in = in,
                    .sequence = s->sequence}};
    w->ctx.host = &table.host;
    return a->update(&w->ctx, &r.rows);
}

/* A state goes back to the server, for a checkpoint or to another worker: its bytes, or what save writes. */
int worker_save(struct worker *w, const struct weir_analyzer *a, uint32_t group)
{
    const char *state = w->states + group * w->stride;
    return a->save ? a->save(&w->ctx, state, NULL)
                   : ring_put(w->ring, SAVED, 0, state, a->state_size);
}
