/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables that are carried: what PostgreSQL can have, and what is kept of each.
 */
#include "carry/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_THERE 63 /* bytes of a name in PostgreSQL */
#define KEY_MAX_THERE  32 /* columns of a primary key there */

static void put_name(struct buffer *to, const char *name)
{
    buffer_putc(to, '"');
    for (; *name; name++) {
        if (*name == '"')
            buffer_putc(to, '"');
        buffer_putc(to, *name);
    }
    buffer_putc(to, '"');
}

int tables_check(const struct config *config, const struct pipeline *p,
                 const struct table *t, struct error *error)
{
    (void)config;
    const struct node *at = pipeline_config(p)->map;
    const char *longest = t->name;
    for (size_t i = 0; i < t->n_columns; i++)
        if (strlen(t->column[i].name) > strlen(longest))
            longest = t->column[i].name;
    if (strlen(longest) > NAME_MAX_THERE)
        return node_error(at, error,
                          "'postgresql': table '%s': the name '%s' is longer than the "
                          "%d bytes that it has there",
                          t->name, longest, NAME_MAX_THERE);
    if (t->n_primary > KEY_MAX_THERE)
        return node_error(at, error,
                          "'postgresql': table '%s': its primary key has %zu columns, "
                          "there it has %d at most",
                          t->name, t->n_primary, KEY_MAX_THERE);
    return 0;
}

int tables_new(const struct config *config, struct target_table *table,
               struct error *error)
{
    struct carried *k = (struct carried *)table;
    struct buffer name = {0};
    put_name(&name, config->server.postgresql->schema);
    buffer_putc(&name, '.');
    put_name(&name, table->table->name);
    buffer_putc(&name, 0);
    k->name = name.data;
    k->at = calloc(table->table->n_primary, sizeof(sqlite3_value *));
    return name.error || !k->at ? error_set(error, -ENOMEM, "out of memory") : 0;
}

void tables_free(struct target_table *table)
{
    struct carried *k = (struct carried *)table;
    rows_restart(k);
    sqlite3_finalize(k->changes);
    sqlite3_finalize(k->first);
    sqlite3_finalize(k->more);
    copy_free(&k->lower);
    copy_free(&k->upper);
    free(k->at);
    free(k->name);
}
