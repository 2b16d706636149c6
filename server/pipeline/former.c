/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/former.h"

#include "base/crc32c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static size_t size_of(size_t cells, size_t strings)
{
    return sizeof(struct former) + cells * sizeof(struct weir_cell) + strings;
}

int former_new(const struct weir_cell *row, size_t rows, size_t columns,
               struct former **ret)
{
    const size_t n = rows * columns;
    size_t strings = 0;
    for (size_t i = 0; i < n; i++)
        strings += row[i].type == WEIR_STRING ? row[i].size : 0;
    if (strings > UINT32_MAX || rows > UINT32_MAX)
        return -ENOMEM;
    struct former *g = malloc(size_of(n, strings));
    if (!g)
        return -ENOMEM;
    *g = (struct former){.rows = (uint32_t)rows,
                         .columns = (uint32_t)columns,
                         .size = (uint32_t)strings};
    if (n)
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

void former_drop(struct former *list)
{
    for (struct former *next; list; list = next) {
        next = list->next;
        free(list);
    }
}

const struct former *former_of(const struct former *list, size_t table)
{
    while (list && list->table != table)
        list = list->next;
    return list;
}

int former_set(struct former_rows *r, uint32_t slot, struct former *list)
{
    if (slot >= r->room && list) {
        uint32_t room = r->room ? r->room : 256;
        while (room <= slot)
            room *= 2;
        struct former **at = realloc(r->at, room * sizeof(*at));
        if (!at) {
            former_drop(list);
            return -ENOMEM;
        }
        memset(at + r->room, 0, (room - r->room) * sizeof(*at));
        r->at = at;
        r->room = room;
    }
    if (slot >= r->room)
        return 0;
    former_drop(r->at[slot]);
    r->at[slot] = list;
    return 0;
}

struct former *former_take(struct former_rows *r, uint32_t slot)
{
    struct former *list = former_at(r, slot);
    if (list)
        r->at[slot] = NULL;
    return list;
}

void former_free(struct former_rows *r)
{
    for (uint32_t i = 0; i < r->room; i++)
        former_drop(r->at[i]);
    free(r->at);
    *r = (struct former_rows){0};
}

/* ---- Stored, of each table: a head; cells of 16 bytes, where a string says how far behind the cells it stands; the strings - */

struct stored_rows {
    uint32_t form, table, revision, rows;
    uint32_t columns; /* a checksum of their names and types */
    uint32_t strings; /* bytes, padded to eights */
};
#define STORED_FORM 0x100u /* not the type of a cell, which stood here once */

struct stored_cell {
    uint32_t type, size;
    int64_t value;
};

static uint32_t sum_of(const struct table *t)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < t->n_columns; i++) {
        const uint32_t type = t->column[i].type;
        sum = crc32c(sum, t->column[i].name, strlen(t->column[i].name) + 1);
        sum = crc32c(sum, &type, sizeof(type));
    }
    return sum;
}

static size_t padded(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

void former_save(const struct former *list, const struct table *const *table,
                 struct buffer *to)
{
    static const char zeros[8];
    for (const struct former *g = list; g; g = g->next) {
        const size_t n = (size_t)g->rows * g->columns;
        const char *strings = (const char *)(g->cell + n);
        const struct stored_rows head = {.form = STORED_FORM,
                                         .table = g->table,
                                         .revision = g->revision,
                                         .rows = g->rows,
                                         .columns = sum_of(table[g->table]),
                                         .strings = g->size};
        buffer_put(to, &head, sizeof(head));
        for (size_t i = 0; i < n; i++) {
            const struct weir_cell *c = &g->cell[i];
            const bool string = c->type == WEIR_STRING;
            const struct stored_cell stored = {.type = c->type,
                                               .size = string ? c->size : 0,
                                               .value = string ? c->as.s - strings
                                                               : c->as.i};
            buffer_put(to, &stored, sizeof(stored));
        }
        buffer_put(to, strings, g->size);
        buffer_put(to, zeros, padded(g->size) - g->size);
    }
}

static int load_cells(const struct table *t, const char *bytes, struct former *g)
{
    const char *strings = (const char *)(g->cell + (size_t)g->rows * g->columns);
    for (size_t i = 0; i < (size_t)g->rows * g->columns; i++) {
        struct stored_cell s;
        memcpy(&s, bytes + i * sizeof(s), sizeof(s));
        const bool string = t->column[i % g->columns].type == WEIR_STRING;
        bool is = !s.type || (s.type == WEIR_STRING) == string;
        if (is && s.type == WEIR_STRING)
            is = (uint64_t)s.value <= g->size && s.size <= g->size - (uint64_t)s.value;
        if (!is)
            return -EBADMSG;
        g->cell[i] = (struct weir_cell){.type = s.type, .size = s.size};
        if (s.type == WEIR_STRING)
            g->cell[i].as.s = strings + s.value;
        else
            g->cell[i].as.i = s.value;
    }
    return 0;
}

/* Those of one table; *at is behind them. */
static int load_one(const struct table *const *table, size_t n, const char **at,
                    const char *end, struct former **ret)
{
    struct stored_rows head;
    if ((size_t)(end - *at) < sizeof(head))
        return -EBADMSG;
    memcpy(&head, *at, sizeof(head));
    if (head.form != STORED_FORM || head.table >= n ||
        head.columns != sum_of(table[head.table]))
        return -ESTALE;
    *at += sizeof(head);
    const struct table *t = table[head.table];
    const uint64_t cells = (uint64_t)head.rows * t->n_columns,
                   room = (uint64_t)(end - *at);
    if (cells > room / sizeof(struct stored_cell) ||
        padded(head.strings) > room - cells * sizeof(struct stored_cell))
        return -EBADMSG;
    struct former *g = malloc(size_of(cells, head.strings));
    if (!g)
        return -ENOMEM;
    *g = (struct former){.table = head.table,
                         .revision = head.revision,
                         .rows = head.rows,
                         .columns = (uint32_t)t->n_columns,
                         .size = head.strings};
    const char *strings = *at + cells * sizeof(struct stored_cell);
    if (head.strings)
        memcpy((char *)(g->cell + cells), strings, head.strings);
    int r = load_cells(t, *at, g);
    if (r < 0) {
        free(g);
        return r;
    }
    *at = strings + padded(head.strings);
    *ret = g;
    return 0;
}

int former_load(const struct table *const *table, size_t n, const char *bytes,
                size_t size, struct former **ret)
{
    struct former *list = NULL, *one;
    const char *at = bytes, *end = bytes + size;
    int r = 0;
    while (r == 0 && at < end) {
        r = load_one(table, n, &at, end, &one);
        if (r < 0)
            break;
        one->next = list;
        list = one;
    }
    if (r < 0) {
        former_drop(list);
        return r;
    }
    *ret = list;
    return 0;
}
