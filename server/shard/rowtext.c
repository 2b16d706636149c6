/* SPDX-License-Identifier: Apache-2.0
 *
 * Result rows as JSON: columns in the order in which people see them, values as the database has them.
 */
#include "shard/rowtext.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX ((size_t)1 << 30) /* of one call: an array of Java has two at most */

void rowtext_clear(struct rowtext *r)
{
    buffer_clear(&r->text);
    r->text.limit = TEXT_MAX;
    r->n = 0;
}

void rowtext_free(struct rowtext *r)
{
    buffer_free(&r->text);
    free(r->row);
    *r = (struct rowtext){0};
}

static void put_cell(struct buffer *b, const struct weir_cell *c)
{
    if (!c->type)
        buffer_puts(b, "null");
    else if (c->type == WEIR_STRING)
        buffer_put_json_string(b, c->as.s, c->size);
    else if (c->type == WEIR_FLOAT)
        buffer_put_json_double(b, c->as.f);
    else
        buffer_printf(b, "%" PRId64, c->as.i);
}

static void put_row(struct buffer *b, const struct table *t,
                    const struct weir_cell *cell)
{
    for (size_t i = 0; i < t->n_columns; i++) {
        const size_t c = table_shown(t, i);
        buffer_putc(b, i ? ',' : '{');
        buffer_put_json_string(b, t->column[c].name, strlen(t->column[c].name));
        buffer_putc(b, ':');
        put_cell(b, &cell[c]);
    }
    buffer_put(b, "}", 2); /* with a zero */
}

int rowtext_add(struct rowtext *r, const struct rowset *set)
{
    const struct table *t = set->table;
    if (r->n + set->n_rows > r->room) {
        const size_t room = 2 * (r->n + set->n_rows);
        struct weir_shard_row *list = realloc(r->row, room * sizeof(*list));
        if (!list)
            return -ENOMEM;
        r->row = list;
        r->room = room;
    }
    for (size_t i = 0; i < set->n_rows; i++) {
        const size_t at = r->text.size;
        put_row(&r->text, t, set->cell + i * t->n_columns);
        if (r->text.error)
            return r->text.error;
        r->row[r->n++] =
            (struct weir_shard_row){.table = t->name, .size = r->text.size - at - 1};
    }
    return 0;
}

void rowtext_close(struct rowtext *r)
{
    size_t at = 0;
    for (size_t i = 0; i < r->n; i++) {
        r->row[i].json = r->text.data + at;
        at += r->row[i].size + 1;
    }
}

const struct weir_shard_row *rowtext_list(const struct rowtext *r, size_t *ret_n)
{
    *ret_n = r->n;
    return r->row;
}
