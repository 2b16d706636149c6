/* SPDX-License-Identifier: Apache-2.0
 *
 * The value of a column in the first or the last row by event time, and when that was: all that the analyzers
 * first and last have in common. Of rows with the same time the place in the log decides, whatever order states
 * are merged in: the value carries its row's sequence number.
 *
 * EDGE_LAST is 0 or 1 before this is included.
 */
#ifndef WEIR_FIRST_EDGE_H
#define WEIR_FIRST_EDGE_H

#include "weir/plugin.h"

#include <string.h>

struct edge_config {
    const char *of;
};

/* Zero bytes are one without rows: sequence numbers begin above 0. */
struct edge {
    int64_t time_us;
    uint64_t sequence;
    union {
        int64_t i; /* int, time, bool */
        double f;
        char *text; /* `room` bytes of host->alloc, or NULL */
    } as;
    uint32_t size, room; /* of the text */
};
_Static_assert(sizeof(struct edge) == 32, "the manual pages say 32");

enum edge_output { EDGE_VALUE, EDGE_TIME };
enum edge_reason { EDGE_NAN };

static inline int edge_replaces(const struct edge *s, int64_t time_us,
                                uint64_t sequence)
{
    if (s->sequence == 0)
        return 1;
    if (time_us == s->time_us)
        return EDGE_LAST ? sequence > s->sequence : sequence < s->sequence;
    return EDGE_LAST ? time_us > s->time_us : time_us < s->time_us;
}

/* A text that fits the memory of the one before allocates nothing. */
static int edge_set_text(struct weir_ctx *ctx, struct edge *s, const char *text,
                         uint32_t size)
{
    if (size > s->room) {
        uint32_t room = size <= 16 ? 16 : size < 0x40000000 ? 2 * size : size;
        char *memory = ctx->host->alloc(ctx, room);
        if (!memory)
            return weir_fail(ctx, "no memory for a value of %u bytes", size);
        ctx->host->free(ctx, s->as.text);
        s->as.text = memory;
        s->room = room;
    }
    if (size)
        memcpy(s->as.text, text, size);
    s->size = size;
    return 0;
}

static int edge_set(struct weir_ctx *ctx, struct edge *s, const struct weir_column *c,
                    uint32_t row)
{
    size_t size;
    const char *text;
    switch (c->type) {
    case WEIR_STRING:
        text = weir_string(c, row, &size);
        return edge_set_text(ctx, s, text, (uint32_t)size);
    case WEIR_FLOAT:
        s->as.f = weir_number(c, row);
        break;
    case WEIR_BOOL:
        s->as.i = weir_bool(c, row);
        break;
    default:
        s->as.i = weir_int(c, row);
    }
    return 0;
}

static int edge_update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct weir_rows r = *rows;
    const struct weir_column *c = r.in[0];
    uint64_t nans = 0;
    for (size_t i = 0; i < r.n; i++) {
        uint32_t row = r.row[i];
        struct edge *s = (struct edge *)(void *)(r.states + r.group[i] * r.stride);
        if (weir_is_null(c, row))
            continue;
        if (c->type == WEIR_FLOAT && weir_number(c, row) != weir_number(c, row)) {
            nans++;
            continue;
        }
        if (!edge_replaces(s, r.time[row], weir_sequence(&r, row)))
            continue;
        int err = edge_set(ctx, s, c, row);
        if (err)
            return err;
        s->time_us = r.time[row];
        s->sequence = weir_sequence(&r, row);
    }
    if (nans)
        ctx->host->skip(ctx, EDGE_NAN, nans);
    return 0;
}

static int edge_merge_one(struct weir_ctx *ctx, struct edge *into,
                          const struct edge *from, const struct weir_window *window)
{
    int err = 0;
    (void)window;
    if (from->sequence == 0 || !edge_replaces(into, from->time_us, from->sequence))
        return 0;
    if (ctx->types[0] == WEIR_STRING)
        err = edge_set_text(ctx, into, from->as.text, from->size);
    else
        into->as = from->as;
    if (err)
        return err;
    into->time_us = from->time_us;
    into->sequence = from->sequence;
    return 0;
}

static int edge_emit_one(struct weir_ctx *ctx, const struct edge *s,
                         const struct weir_window *window, struct weir_out *out)
{
    (void)window;
    if (s->sequence == 0)
        return 0;
    weir_put_int(ctx, out, EDGE_TIME, s->time_us);
    if (ctx->types[0] == WEIR_STRING)
        return weir_put_string(ctx, out, EDGE_VALUE, s->size ? s->as.text : "",
                               s->size);
    if (ctx->types[0] == WEIR_FLOAT)
        return weir_put_float(ctx, out, EDGE_VALUE, s->as.f);
    return weir_put_int(ctx, out, EDGE_VALUE, s->as.i);
}

WEIR_MERGE(edge_merge, struct edge, edge_merge_one)
WEIR_EMIT(edge_emit, struct edge, edge_emit_one)

static void edge_drop(struct weir_ctx *ctx, void *state)
{
    if (ctx->types[0] == WEIR_STRING)
        ctx->host->free(ctx, ((struct edge *)state)->as.text);
}

/* ---- Saving: the state, then the text; the pointer to it as zero ---- */

static int edge_save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    const struct edge *s = state;
    struct edge saved = *s;
    int is_text = ctx->types[0] == WEIR_STRING;
    saved.room = 0;
    if (is_text)
        saved.as.i = 0;
    int err = ctx->host->write(ctx, out, &saved, sizeof(saved));
    return err || !is_text || !s->size
               ? err
               : ctx->host->write(ctx, out, s->as.text, s->size);
}

static int edge_load(struct weir_ctx *ctx, void *state, uint32_t version,
                     const void *bytes, size_t size)
{
    struct edge *s = state, saved;
    int is_text = ctx->types[0] == WEIR_STRING;
    (void)version; /* there has been one */
    if (size < sizeof(saved))
        return weir_fail(ctx, "the saved state is damaged");
    memcpy(&saved, bytes, sizeof(saved));
    if (size - sizeof(saved) != (is_text ? saved.size : 0))
        return weir_fail(ctx, "the saved state is damaged");
    s->time_us = saved.time_us;
    s->sequence = saved.sequence;
    if (is_text)
        return edge_set_text(ctx, s, (const char *)bytes + sizeof(saved), saved.size);
    s->as = saved.as;
    return 0;
}

static const struct weir_param edge_params[] = {
    {.name = "of",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct edge_config, of),
     .help = "the column; rows in which it is null do not count",
     .column_types = WEIR_NUMBERS | WEIR_TYPES(WEIR_BOOL) | WEIR_TYPES(WEIR_STRING) |
                     WEIR_TYPES(WEIR_TIME)},
    {.name = NULL},
};

#endif
