/* SPDX-License-Identifier: Apache-2.0 */
#include "laws/given.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE 1e-9

void given_begin(struct given *g, const struct binding *b)
{
    *g = (struct given){.binding = b};
}

void given_clear(struct given *g)
{
    for (size_t i = 0; i < g->n_strings; i++)
        free(g->string[i]);
    g->n_strings = 0;
    g->n = 0;
}

void given_free(struct given *g)
{
    for (size_t i = 0; i < g->n_strings; i++)
        free(g->string[i]);
    free(g->string);
    free(g->group);
    free(g->cell);
    free(g->next);
    *g = (struct given){0};
}

/* One more row, all null. */
static struct weir_cell *add_row(struct given *g, uint32_t group)
{
    size_t n = g->binding->n_outputs;
    if (g->n == g->room) {
        size_t room = g->room ? 2 * g->room : 8;
        uint32_t *more = realloc(g->group, room * sizeof(*more));
        if (more)
            g->group = more;
        struct weir_cell *cell =
            more ? realloc(g->cell, room * n * sizeof(*cell)) : NULL;
        if (!cell) {
            g->no_memory = true;
            return NULL;
        }
        g->cell = cell;
        g->room = room;
    }
    g->group[g->n] = group;
    memset(g->cell + g->n * n, 0, n * sizeof(*g->cell));
    return g->cell + g->n++ * n;
}

static struct weir_cell *one_group(void *ctx, size_t i)
{
    struct given *g = ctx;
    return add_row(g, g->base + (uint32_t)i);
}

static struct weir_cell *many_group(void *ctx, size_t i)
{
    struct given *g = ctx;
    g->at = g->base + (uint32_t)i;
    if (!g->next)
        g->next = calloc(g->binding->n_outputs, sizeof(*g->next));
    g->no_memory |= !g->next;
    return g->next;
}

static int many_row(void *ctx, struct weir_cell *cells)
{
    struct given *g = ctx;
    struct weir_cell *to = add_row(g, g->at);
    if (!to)
        return -ENOMEM;
    size_t size = g->binding->n_outputs * sizeof(*cells);
    memcpy(to, cells, size);
    memset(cells, 0, size);
    return 0;
}

static const char *keep(void *ctx, const char *bytes, size_t size)
{
    struct given *g = ctx;
    if (g->n_strings == g->string_room) {
        size_t room = g->string_room ? 2 * g->string_room : 8;
        char **more = realloc(g->string, room * sizeof(*more));
        if (more) {
            g->string = more;
            g->string_room = room;
        }
    }
    char *copy = g->n_strings < g->string_room ? malloc(size + 1) : NULL;
    if (!copy) {
        g->no_memory = true;
        return NULL;
    }
    memcpy(copy, bytes, size);
    return g->string[g->n_strings++] = copy;
}

void given_collect(struct given *g, struct weir_out *out, size_t n, uint32_t base)
{
    bool many = g->binding->plugin->analyzer.flags & WEIR_MANY_ROWS;
    g->base = base;
    *out = (struct weir_out){.group = many ? many_group : one_group,
                             .row = many ? many_row : NULL,
                             .keep = keep,
                             .ctx = g,
                             .n = n};
}

static bool equal_floats(double a, double b, bool rounded)
{
    if (a == b || (a != a && b != b))
        return true;
    return rounded && isfinite(a) && isfinite(b) &&
           fabs(a - b) <= TOLERANCE * fmax(1, fmax(fabs(a), fabs(b)));
}

static bool equal_cells(const struct weir_cell *a, const struct weir_cell *b,
                        bool rounded)
{
    if (a->type != b->type)
        return false;
    if (a->type == WEIR_FLOAT)
        return equal_floats(a->as.f, b->as.f, rounded);
    if (a->type == WEIR_STRING)
        return a->size == b->size && !memcmp(a->as.s, b->as.s, a->size);
    return !a->type || a->as.i == b->as.i;
}

bool given_equal(const struct given *a, const struct given *b, bool rounded)
{
    size_t columns = a->binding->n_outputs;
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (a->group[i] != b->group[i])
            return false;
    for (size_t i = 0; i < a->n * columns; i++)
        if (!equal_cells(&a->cell[i], &b->cell[i], rounded))
            return false;
    return true;
}

static int cell_text(const struct weir_cell *c, char *text, size_t room)
{
    switch (c->type) {
    case 0:
        return snprintf(text, room, "null");
    case WEIR_FLOAT:
        return snprintf(text, room, "%.17g", c->as.f);
    case WEIR_STRING: {
        int used = snprintf(text, room, "\"");
        for (uint32_t i = 0; i < c->size && i < 40; i++) {
            unsigned char byte = (unsigned char)c->as.s[i];
            bool plain = byte >= ' ' && byte < 127;
            used += snprintf(text + used, room - (size_t)used, plain ? "%c" : "\\x%02x",
                             byte);
            if ((size_t)used >= room)
                return used;
        }
        return used + snprintf(text + used, room - (size_t)used, "%s\"",
                               c->size > 40 ? "..." : "");
    }
    default:
        return snprintf(text, room, "%" PRId64, c->as.i);
    }
}

void given_text(const struct given *g, char *text, size_t room)
{
    const struct binding *b = g->binding;
    size_t used = 0;
    char cell[256];
    snprintf(text, room, g->n ? "" : "no rows\n");
    for (size_t i = 0; i < g->n * b->n_outputs && used < room; i++) {
        size_t column = i % b->n_outputs;
        cell_text(&g->cell[i], cell, sizeof(cell));
        if (column == 0 && g->group[i / b->n_outputs])
            used += (size_t)snprintf(text + used, room - used,
                                     "group %u: ", g->group[i / b->n_outputs]);
        if (used < room)
            used += (size_t)snprintf(text + used, room - used, "%s=%s%s",
                                     b->output[column].name, cell,
                                     column + 1 < b->n_outputs ? ", " : "\n");
    }
}
