/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables that are carried: what PostgreSQL can have, and what is kept of each.
 */
#include "carry/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_THERE 63 /* bytes of a name in PostgreSQL */
#define CUT_NAME_MAX   48 /* of a table with partitions, which have longer ones */
#define KEY_MAX_THERE  32 /* columns of a primary key there */

/* The partitions that the stream of the pipeline reads as its share, an array of PostgreSQL's; NULL: it reads none. Names of topics
 * need no quotes there. */
static int list_partitions(const struct config_source *source, char **ret)
{
    struct buffer text = {0};
    if (!source->n_partitions)
        return 0;
    for (size_t i = 0; i < source->n_topics; i++)
        for (size_t j = 0; j < source->n_partitions; j++)
            buffer_printf(&text, "%c%s/%" PRId32, i || j ? ',' : '{', source->topic[i],
                          source->partition[j]);
    buffer_putc(&text, '}');
    buffer_putc(&text, 0);
    *ret = text.data;
    return text.error ? -ENOMEM : 0;
}

int tables_check(const struct config *config, const struct pipeline *p,
                 const struct table *t, struct error *error)
{
    const bool sharded = config->server.postgresql->shard;
    const size_t n_key = t->n_primary + sharded;
    const struct node *at = pipeline_config(p)->map;
    const char *longest = t->name;
    for (size_t i = 0; i < t->n_columns; i++) {
        if (strlen(t->column[i].name) > strlen(longest))
            longest = t->column[i].name;
        if (sharded && !strcmp(t->column[i].name, CARRY_SHARD))
            return node_error(at, error,
                              "'postgresql': table '%s': there the column '" CARRY_SHARD
                              "' says which server has put a row ('shard')",
                              t->name);
    }
    if (strlen(longest) > NAME_MAX_THERE)
        return node_error(at, error,
                          "'postgresql': table '%s': the name '%s' is longer than the "
                          "%d bytes that it has there",
                          t->name, longest, NAME_MAX_THERE);
    if (config->server.postgresql->partition_us && strlen(t->name) > CUT_NAME_MAX)
        return node_error(at, error,
                          "'postgresql': table '%s': its name is longer than the %d "
                          "bytes that it may have with 'partition'",
                          t->name, CUT_NAME_MAX);
    if (n_key > KEY_MAX_THERE)
        return node_error(at, error,
                          "'postgresql': table '%s': its primary key has %zu columns, "
                          "there it has %d at most",
                          t->name, n_key, KEY_MAX_THERE);
    return 0;
}

int tables_new(const struct config *config, struct target_table *table,
               struct error *error)
{
    struct carried *k = (struct carried *)table;
    struct buffer name = {0};
    far_quote(&name, config->server.postgresql->schema, '"');
    buffer_putc(&name, '.');
    far_quote(&name, table->table->name, '"');
    buffer_putc(&name, 0);
    k->name = name.data;
    k->shard = config->server.postgresql->shard;
    k->at = calloc(table->table->n_primary, sizeof(sqlite3_value *));
    int err =
        list_partitions(&pipeline_stream(table->pipeline)->source, &k->partitions);
    if (!err && k->shard)
        err = shards_define(table->pipeline, &k->definition);
    return err || name.error || !k->at ? error_set(error, -ENOMEM, "out of memory") : 0;
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
    free(k->partitions);
    free(k->definition);
}
