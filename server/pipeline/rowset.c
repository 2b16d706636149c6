/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/rowset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_SIZE ((size_t)16 << 10)

struct rowset_chunk {
    struct rowset_chunk *next;
    size_t used, room;
    char bytes[];
};

int rowset_new(const struct table *table, size_t rows, struct rowset **ret)
{
    struct rowset *r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->table = table;
    r->room = rows ? rows : 16;
    r->cell = calloc(r->room * table->n_columns, sizeof(*r->cell));
    if (!r->cell) {
        free(r);
        return -ENOMEM;
    }
    *ret = r;
    return 0;
}

struct weir_cell *rowset_row(struct rowset *r)
{
    size_t n = r->table->n_columns;
    if (r->n_rows == r->room) {
        struct weir_cell *cell = realloc(r->cell, 2 * r->room * n * sizeof(*cell));
        if (!cell)
            return NULL;
        memset(cell + r->room * n, 0, r->room * n * sizeof(*cell));
        r->cell = cell;
        r->room *= 2;
    }
    return r->cell + r->n_rows++ * n;
}

/* A power of two of them, once there are some: there is room while n_overdue is none. */
int rowset_overdue(struct rowset *r)
{
    const size_t n = r->n_overdue;
    if (!(n & (n - 1))) {
        size_t *grown = realloc(r->overdue, (n ? 2 * n : 1) * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        r->overdue = grown;
    }
    r->overdue[r->n_overdue++] = r->n_rows - 1;
    return 0;
}

size_t rowset_results(const struct rowset *r, size_t first, size_t n)
{
    const struct table *t = r->table;
    const bool many = t->n_primary > 1 + t->n_keys;
    return n && many && !r->cell[first * t->n_columns + t->n_primary - 1].as.i ? 0 : n;
}

int rowset_keep(struct rowset *r, struct weir_cell *cell)
{
    struct rowset_chunk *c = r->chunks;
    if (!c || c->room - c->used < cell->size) {
        size_t room = cell->size > CHUNK_SIZE ? cell->size : CHUNK_SIZE;
        c = malloc(sizeof(*c) + room);
        if (!c)
            return -ENOMEM;
        *c = (struct rowset_chunk){.next = r->chunks, .room = room};
        r->chunks = c;
    }
    if (cell->size)
        memcpy(c->bytes + c->used, cell->as.s, cell->size);
    cell->as.s = c->bytes + c->used;
    c->used += cell->size;
    r->bytes += cell->size;
    return 0;
}

int rowset_value(struct rowset *r, const struct weir_column *c, uint32_t row,
                 struct weir_cell *ret)
{
    if (weir_is_null(c, row))
        return 0;
    size_t size;
    const char *s;
    ret->type = c->type;
    switch ((enum weir_type)c->type) {
    case WEIR_FLOAT:
        ret->as.f = weir_number(c, row);
        return 0;
    case WEIR_BOOL:
        ret->as.i = weir_bool(c, row);
        return 0;
    case WEIR_INT:
    case WEIR_TIME:
        ret->as.i = weir_int(c, row);
        return 0;
    case WEIR_STRING:
        break;
    }
    s = weir_string(c, row, &size);
    cell_put_string(ret, s, size);
    return rowset_keep(r, ret);
}

void rowset_free(struct rowset *r)
{
    if (!r)
        return;
    for (struct rowset_chunk *c = r->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(r->overdue);
    free(r->cell);
    free(r);
}

void table_free(struct table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n_columns; i++) {
        free(t->column[i].name);
        free(t->column[i].help);
    }
    free(t->column);
    free(t->name);
    free(t->pipeline);
    free(t->top);
    free(t);
}
