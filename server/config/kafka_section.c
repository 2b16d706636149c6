/* SPDX-License-Identifier: Apache-2.0
 *
 * `kafka:` of the server: where result tables are published to.
 */
#include <config.h> /* not that of this folder */

#include "base/clock.h"
#include "config/fields.h"
#include "config/sections.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int out_of_memory(const struct node *n, struct error *error)
{
    return error_set(error, -ENOMEM, "%s: out of memory", n->file);
}

static int read_prefix(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    struct config_kafka *k = target;
    (void)ctx;
    int r = fields_text(n, &k->prefix, error);
    if (r == 0 && !source_section_is_topic(k->prefix))
        r = node_expected(n, "the beginning of names of topics, such as weir.", error);
    return r;
}

static int read_shard(const struct node *n, void *target, void *ctx,
                      struct error *error)
{
    (void)ctx;
    return target_section_shard(n, &((struct config_kafka *)target)->shard, error);
}

static int read_pipelines(const struct node *n, void *target, void *ctx,
                          struct error *error)
{
    (void)ctx;
    return target_section_pipelines(n, &((struct config_kafka *)target)->target, error);
}

#define AT(member) offsetof(struct config_kafka, member)

static const struct field fields[] = {
    {"brokers", FIELD_TEXT, .required = true, .offset = AT(link.brokers)},
    {"pipelines", FIELD_CALL, .required = true, .read = read_pipelines,
     .schema = FIELD_SCHEMA_TEXTS},
    {"prefix", FIELD_CALL, .read = read_prefix, .schema = FIELD_SCHEMA_TEXT},
    {"shard", FIELD_CALL, .read = read_shard, .schema = FIELD_SCHEMA_TEXT},
    {"watermarks", FIELD_BOOL, .offset = AT(watermarks)},
    {"options", FIELD_CALL, .read = source_section_options,
     .schema = SECTION_OPTIONS_SCHEMA},
    {"timeout", FIELD_DURATION, .offset = AT(target.timeout_us), .min = SECOND_US,
     .max = 600 * SECOND_US, .init = 30 * SECOND_US},
    {"backoff", FIELD_DURATION, .offset = AT(target.backoff_us), .min = 10000,
     .max = 600 * SECOND_US, .init = SECOND_US},
    {"max_backoff", FIELD_DURATION, .offset = AT(target.max_backoff_us), .min = 10000,
     .max = 3600 * SECOND_US, .init = 30 * SECOND_US},
};
#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

void kafka_section_schema(struct buffer *to)
{
    fields_schema(fields, N_FIELDS, to);
}

int kafka_section(const struct node *map, struct config_kafka **at, struct error *error)
{
    if (map->kind != NODE_MAP)
        return node_expected(map, "brokers: and pipelines:", error);
#ifndef HAVE_RDKAFKA
    return node_error(map, error,
                      "this weir was built without librdkafka, it publishes nothing to "
                      "Kafka: ./configure --with-kafka (Debian: librdkafka-dev)");
#endif
    struct config_kafka *k = *at = calloc(1, sizeof(*k));
    if (!k)
        return out_of_memory(map, error);
    k->link.node = map;
    k->target.hold_us = INT64_MAX;
    k->target.max_lag = UINT64_MAX;
    int r = fields_read(fields, N_FIELDS, map, "'kafka'", k, NULL, error);
    if (r == 0 && k->target.backoff_us > k->target.max_backoff_us)
        r = node_error(map, error, "'backoff' is longer than 'max_backoff'");
    if (r == 0 && k->watermarks && !k->shard)
        r = node_error(node_get(map, "watermarks"), error,
                       "'shard' is missing, a name for this server: a watermark is of "
                       "one of those that publish there");
    if (r == 0 && !k->prefix && !(k->prefix = strdup("weir.")))
        r = out_of_memory(map, error);
    return r;
}

void kafka_section_free(struct config_kafka *k)
{
    if (!k)
        return;
    target_section_free(&k->target);
    free(k->prefix);
    free(k->shard);
    source_section_free(&k->link);
    free(k);
}
