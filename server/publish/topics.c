/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables that are published: the names of their topics, and what is kept of each.
 */
#include "publish/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOPIC_MAX 249 /* characters; Kafka's own limit */

int topics_check(const struct config *config, const struct pipeline *p,
                 const struct table *t, struct error *error)
{
    const struct config_kafka *settings = config->server.kafka;
    if (strlen(settings->prefix) + strlen(t->name) <= TOPIC_MAX)
        return 0;
    return node_error(pipeline_config(p)->map, error,
                      "'kafka': the topic '%s%s' would have a name of more than %d "
                      "characters",
                      settings->prefix, t->name, TOPIC_MAX);
}

/* Events as they came have no key; windows by count number those of a key. */
static size_t count_keys(const struct pipeline *p, const struct table *t)
{
    if (t->rows || t->late)
        return 0;
    return t->n_keys - (t->n_keys && pipeline_config(p)->window.kind == CONFIG_COUNT);
}

int topics_new(const struct config *config, struct target_table *table,
               struct error *error)
{
    struct published *k = (struct published *)table;
    k->n_keys = count_keys(table->pipeline, table->table);
    if (asprintf(&k->topic, "%s%s", config->server.kafka->prefix, table->table->name) <
        0) {
        k->topic = NULL;
        return error_set(error, -ENOMEM, "out of memory");
    }
    table->shown.topic = k->topic;
    return 0;
}

void topics_free(struct target_table *table)
{
    struct published *k = (struct published *)table;
    sqlite3_finalize(k->changes);
    free(k->topic);
}
