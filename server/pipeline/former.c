/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/former.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static size_t size_of(size_t n, size_t strings)
{
    return sizeof(struct former) + n * sizeof(struct weir_cell) + strings;
}

int former_new(const struct weir_cell *row, size_t n, struct former **ret)
{
    size_t strings = 0;
    for (size_t i = 0; i < n; i++)
        strings += row[i].type == WEIR_STRING ? row[i].size : 0;
    if (strings > UINT32_MAX)
        return -ENOMEM;
    struct former *g = malloc(size_of(n, strings));
    if (!g)
        return -ENOMEM;
    g->n = (uint32_t)n;
    g->size = (uint32_t)strings;
    memcpy(g->cell, row, n * sizeof(*row));
    char *at = (char *)(g->cell + n);
    for (size_t i = 0; i < n; i++) {
        if (row[i].type != WEIR_STRING)
            continue;
        if (row[i].size)
            memcpy(at, row[i].as.s, row[i].size);
        g->cell[i].as.s = at;
        at += row[i].size;
    }
    *ret = g;
    return 0;
}

int former_set(struct former_rows *r, uint32_t slot, struct former *row)
{
    if (slot >= r->room && row) {
        uint32_t room = r->room ? r->room : 256;
        while (room <= slot)
            room *= 2;
        struct former **at = realloc(r->at, room * sizeof(*at));
        if (!at) {
            free(row);
            return -ENOMEM;
        }
        memset(at + r->room, 0, (room - r->room) * sizeof(*at));
        r->at = at;
        r->room = room;
    }
    if (slot >= r->room)
        return 0;
    free(r->at[slot]);
    r->at[slot] = row;
    return 0;
}

struct former *former_take(struct former_rows *r, uint32_t slot)
{
    struct former *row = former_at(r, slot);
    if (row)
        r->at[slot] = NULL;
    return row;
}

void former_free(struct former_rows *r)
{
    for (uint32_t i = 0; i < r->room; i++)
        free(r->at[i]);
    free(r->at);
    *r = (struct former_rows){0};
}

/* ---- Stored: cells of 16 bytes, where a string says how far behind the cells it stands; then the strings --- */

struct stored_cell {
    uint32_t type, size;
    int64_t value;
};

void former_save(const struct former *row, struct buffer *to)
{
    const char *strings = (const char *)(row->cell + row->n);
    for (uint32_t i = 0; i < row->n; i++) {
        const struct weir_cell *c = &row->cell[i];
        const struct stored_cell stored = {
            .type = c->type,
            .size = c->type == WEIR_STRING ? c->size : 0,
            .value = c->type == WEIR_STRING ? c->as.s - strings : c->as.i};
        buffer_put(to, &stored, sizeof(stored));
    }
    buffer_put(to, strings, row->size);
}

int former_load(const struct table *t, const char *bytes, size_t size,
                struct former **ret)
{
    size_t cells = t->n_columns * sizeof(struct stored_cell);
    if (size < cells || size - cells > UINT32_MAX)
        return -EBADMSG;
    const size_t strings = size - cells;
    struct former *g = malloc(size_of(t->n_columns, strings));
    if (!g)
        return -ENOMEM;
    g->n = (uint32_t)t->n_columns;
    g->size = (uint32_t)strings;
    char *at = (char *)(g->cell + g->n);
    memcpy(at, bytes + cells, strings);
    for (uint32_t i = 0; i < g->n; i++) {
        struct stored_cell s;
        memcpy(&s, bytes + i * sizeof(s), sizeof(s));
        bool is =
            !s.type || (s.type == WEIR_STRING) == (t->column[i].type == WEIR_STRING);
        if (is && s.type == WEIR_STRING)
            is = (uint64_t)s.value <= strings && s.size <= strings - (uint64_t)s.value;
        if (!is) {
            free(g);
            return -EBADMSG;
        }
        g->cell[i] = (struct weir_cell){.type = s.type, .size = s.size};
        if (s.type == WEIR_STRING)
            g->cell[i].as.s = at + s.value;
        else
            g->cell[i].as.i = s.value;
    }
    *ret = g;
    return 0;
}
