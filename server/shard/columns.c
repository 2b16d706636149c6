/* SPDX-License-Identifier: Apache-2.0
 *
 * What is given out lies in one buffer, one column behind the other:
 *
 *      values, 8 bytes each, or offsets, 4 each | nulls, to a multiple of 8 | bytes of strings, to a multiple of 8
 */
#include "shard/columns.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_MAX ((size_t)64 << 20) /* of strings; a single row may have more */

static_assert(WEIR_SHARD_INT == (int)WEIR_INT && WEIR_SHARD_FLOAT == (int)WEIR_FLOAT &&
                  WEIR_SHARD_BOOL == (int)WEIR_BOOL &&
                  WEIR_SHARD_STRING == (int)WEIR_STRING &&
                  WEIR_SHARD_TIME == (int)WEIR_TIME,
              "types are handed on as they are");

/* ---- Tables ------------------------------------------------------------------------------------- */

static int describe(const struct table *t, struct weir_shard_table *ret)
{
    struct weir_shard_column *column = calloc(t->n_columns, sizeof(*column));
    if (!column)
        return -ENOMEM;
    for (size_t i = 0; i < t->n_columns; i++) {
        const size_t c = table_shown(t, i);
        column[i] = (struct weir_shard_column){
            .name = t->column[c].name,
            .type = t->column[c].type,
            .flags = c < t->n_primary    ? WEIR_SHARD_PRIMARY | WEIR_SHARD_NOT_NULL
                     : c == t->n_primary ? WEIR_SHARD_NOT_NULL
                                         : 0}; /* window_end */
    }
    *ret = (struct weir_shard_table){
        .name = t->name, .column = column, .n_columns = t->n_columns};
    return 0;
}

int shard_tables_make(struct shard_tables *t, const struct pipeline *p)
{
    int err = 0;
    t->n = pipeline_tables(p, &t->made);
    t->table = calloc(t->n, sizeof(*t->table));
    if (!t->table)
        return -ENOMEM;
    for (size_t i = 0; err == 0 && i < t->n; i++)
        err = describe(t->made[i], &t->table[i]);
    return err;
}

void shard_tables_free(struct shard_tables *t)
{
    for (size_t i = 0; t->table && i < t->n; i++)
        free((void *)(uintptr_t)t->table[i].column);
    free(t->table);
    *t = (struct shard_tables){0};
}

static uint32_t place_of(const struct shard_tables *t, const struct table *table)
{
    uint32_t i = 0;
    while (t->made[i] != table) /* it is one of them */
        i++;
    return i;
}

/* ---- Rows --------------------------------------------------------------------------------------- */

void columns_begin(struct columns *c, const struct rowset *rows)
{
    c->set = rows;
    c->row = 0;
}

void columns_free(struct columns *c)
{
    free(c->bytes);
    free(c->value);
    *c = (struct columns){0};
}

static const struct weir_cell *row_at(const struct columns *c, size_t row)
{
    return c->set->cell + (c->row + row) * c->set->table->n_columns;
}

static size_t string_bytes(const struct weir_cell *cell, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += cell[i].type == WEIR_STRING ? cell[i].size : 0;
    return bytes;
}

/* How many rows come next, and the bytes of their strings. */
static size_t rows_next(const struct columns *c, size_t rows_max, size_t *ret_bytes)
{
    const size_t left = c->set->n_rows - c->row, n_columns = c->set->table->n_columns;
    size_t n = 0, bytes = 0;
    while (n < left && n < rows_max) {
        const size_t more = string_bytes(row_at(c, n), n_columns);
        if (n && bytes + more > BYTES_MAX)
            break;
        bytes += more;
        n++;
    }
    *ret_bytes = bytes;
    return n;
}

static size_t up(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

/* Room for all, as pointers into it are given out. */
static char *make_room(struct columns *c, size_t n, size_t bytes)
{
    const size_t n_columns = c->set->table->n_columns;
    const size_t size = n_columns * (8 * (n + 1) + up(n) + 8) + bytes;
    if (n_columns > c->value_room) {
        struct weir_shard_values *list =
            realloc(c->value, n_columns * sizeof(*c->value));
        if (!list)
            return NULL;
        c->value = list;
        c->value_room = n_columns;
    }
    if (size > c->room) {
        free(c->bytes);
        c->bytes = malloc(size);
        c->room = c->bytes ? size : 0;
    }
    return c->bytes;
}

static char *put_strings(const struct columns *c, size_t column, size_t n, char *at,
                         struct weir_shard_values *ret)
{
    uint32_t *offsets = (void *)at, size = 0;
    uint8_t *null = (void *)(at + up(4 * (n + 1)));
    char *bytes = (char *)null + up(n);
    for (size_t i = 0; i < n; i++) {
        const struct weir_cell *cell = &row_at(c, i)[column];
        offsets[i] = size;
        null[i] = !cell->type;
        if (!cell->type || !cell->size)
            continue;
        memcpy(bytes + size, cell->as.s, cell->size);
        size += cell->size;
    }
    offsets[n] = size;
    *ret = (struct weir_shard_values){.null = null, .offsets = offsets, .bytes = bytes};
    return bytes + up(size);
}

static char *put_numbers(const struct columns *c, size_t column, size_t n, char *at,
                         struct weir_shard_values *ret)
{
    int64_t *values = (void *)at; /* of floats their bits */
    uint8_t *null = (void *)(at + 8 * n);
    for (size_t i = 0; i < n; i++) {
        const struct weir_cell *cell = &row_at(c, i)[column];
        null[i] = !cell->type;
        values[i] = cell->type ? cell->as.i : 0;
    }
    *ret = (struct weir_shard_values){.null = null, .values = values};
    return (char *)null + up(n);
}

int columns_next(struct columns *c, const struct shard_tables *tables, size_t rows_max,
                 const struct weir_shard_columns **ret)
{
    while (c->set && c->row == c->set->n_rows)
        columns_begin(c, c->set->next);
    if (!c->set) {
        *ret = NULL;
        return 0;
    }
    const struct table *t = c->set->table;
    size_t bytes;
    const size_t n = rows_next(c, rows_max ? rows_max : 1, &bytes);
    char *at = make_room(c, n, bytes);
    if (!at)
        return -ENOMEM;
    for (size_t i = 0; i < t->n_columns; i++) {
        const size_t k = table_shown(t, i);
        at = t->column[k].type == WEIR_STRING ? put_strings(c, k, n, at, &c->value[i])
                                              : put_numbers(c, k, n, at, &c->value[i]);
    }
    c->given = (struct weir_shard_columns){
        .table = place_of(tables, t), .n_rows = (uint32_t)n, .column = c->value};
    c->row += n;
    *ret = &c->given;
    return 0;
}
