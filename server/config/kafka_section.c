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

/* That there are such pipelines, config.c sees to: they stand behind the server. */
static int read_pipelines(const struct node *n, void *target, void *ctx,
                          struct error *error)
{
    struct config_kafka *k = target;
    const struct node *name = n->kind == NODE_LIST ? n->item : n;
    size_t n_names = n->kind == NODE_LIST ? n->n : 1;
    (void)ctx;
    if (n->kind == NODE_MAP || n_names == 0)
        return node_expected(n, "the name of a pipeline, or a list of names", error);
    k->pipelines = n;
    if (!(k->pipeline = calloc(n_names + 1, sizeof(*k->pipeline))))
        return out_of_memory(n, error);
    int r = 0;
    for (size_t i = 0; r == 0 && i < n_names; i++)
        r = fields_text(&name[i], &k->pipeline[i], error);
    return r;
}

#define AT(member) offsetof(struct config_kafka, member)

static const struct field fields[] = {
    {"brokers", FIELD_TEXT, .required = true, .offset = AT(link.brokers)},
    {"pipelines", FIELD_CALL, .required = true, .read = read_pipelines,
     .schema = FIELD_SCHEMA_TEXTS},
    {"prefix", FIELD_CALL, .read = read_prefix, .schema = FIELD_SCHEMA_TEXT},
    {"options", FIELD_CALL, .read = source_section_options,
     .schema = SECTION_OPTIONS_SCHEMA},
    {"timeout", FIELD_DURATION, .offset = AT(timeout_us), .min = SECOND_US,
     .max = 600 * SECOND_US, .init = 30 * SECOND_US},
    {"backoff", FIELD_DURATION, .offset = AT(backoff_us), .min = 10000,
     .max = 600 * SECOND_US, .init = SECOND_US},
    {"max_backoff", FIELD_DURATION, .offset = AT(max_backoff_us), .min = 10000,
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
    int r = fields_read(fields, N_FIELDS, map, "'kafka'", k, NULL, error);
    if (r == 0 && k->backoff_us > k->max_backoff_us)
        r = node_error(map, error, "'backoff' is longer than 'max_backoff'");
    if (r == 0 && !k->prefix && !(k->prefix = strdup("weir.")))
        r = out_of_memory(map, error);
    return r;
}

int kafka_section_check(const struct config *c, struct error *error)
{
    const struct config_kafka *k = c->server.kafka;
    const char **names = calloc(c->n_pipelines + 1, sizeof(*names));
    if (!names)
        return error_set(error, -ENOMEM, "out of memory");
    int r = 0;
    for (size_t i = 0; i < c->n_pipelines; i++)
        names[i] = c->pipeline[i].name;
    for (size_t i = 0; r == 0 && k->pipeline && k->pipeline[i]; i++) {
        const struct node *n =
            k->pipelines->kind == NODE_LIST ? &k->pipelines->item[i] : k->pipelines;
        if (config_is_published(c, k, k->pipeline[i]) < 0) {
            node_error(n, error, "there is no pipeline '%s'", k->pipeline[i]);
            node_suggest(error, k->pipeline[i], names, c->n_pipelines);
            r = -EINVAL;
        }
    }
    free(names);
    return r;
}

int config_is_published(const struct config *c, const struct config_kafka *k,
                        const char *pipeline)
{
    size_t i = 0;
    while (i < c->n_pipelines && strcmp(c->pipeline[i].name, pipeline))
        i++;
    if (i == c->n_pipelines)
        return -ENOENT;
    char **name = k ? k->pipeline : NULL;
    while (name && *name && strcmp(*name, pipeline))
        name++;
    return name && *name;
}

void kafka_section_free(struct config_kafka *k)
{
    if (!k)
        return;
    for (char **name = k->pipeline; name && *name; name++)
        free(*name);
    free(k->pipeline);
    free(k->prefix);
    source_section_free(&k->link);
    free(k);
}
