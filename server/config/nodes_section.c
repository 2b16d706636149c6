/* SPDX-License-Identifier: Apache-2.0
 *
 * `nodes:`, machines that take over from each other. Servers read past it: it is for weir node, which starts one for each shard.
 */
#include "base/clock.h"
#include "config/fields.h"
#include "config/sections.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int read_address(const struct node *n, void *target, void *ctx,
                        struct error *error)
{
    struct config_nodes *nodes = target;
    return server_section_address(n, ctx, &nodes->address, &nodes->port, error);
}

#define AT(member) offsetof(struct config_nodes, member)

static const struct field fields[] = {
    {"shards", FIELD_UNSIGNED, .required = true, .offset = AT(shards), .min = 1,
     .max = CONFIG_SHARDS_MAX},
    {"partitions", FIELD_UNSIGNED, .required = true, .offset = AT(partitions), .min = 1,
     .max = CONFIG_PARTITIONS_MAX},
    {"session", FIELD_DURATION, .offset = AT(session_us), .min = SECOND_US / 2,
     .max = 600 * SECOND_US, .init = 3 * SECOND_US},
    {"restart", FIELD_DURATION, .offset = AT(restart_us), .min = SECOND_US / 2,
     .max = 3600 * SECOND_US},
    {"address", FIELD_CALL, .required = true, .read = read_address,
     .schema = FIELD_SCHEMA_TEXT},
};
#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

void nodes_section_schema(struct buffer *to)
{
    fields_schema(fields, N_FIELDS, to);
}

int nodes_section(const struct node *map, const struct config_server *server,
                  struct config_nodes *ret, struct error *error)
{
    if (map->kind != NODE_MAP)
        return node_expected(map, "shards:, partitions: and address:", error);
    struct config_server who = *server; /* for read_address */
    ret->node = map;
    int r = fields_read(fields, N_FIELDS, map, "'nodes'", ret, &who, error);
    if (r < 0)
        return r;
    if (!ret->restart_us)
        ret->restart_us = ret->session_us;
    if (!server->postgresql || !server->postgresql->shard)
        return node_error(map, error,
                          "nodes find each other in PostgreSQL, and rows of all go "
                          "there: 'server: postgresql:' with 'shard' is missing");
    if (!server->postgresql->copy_us)
        return node_error(server->postgresql->node, error,
                          "who takes a shard over goes on with its database, which has "
                          "to be in PostgreSQL: 'copy' is missing, such as copy: 1s");
    if (ret->partitions < ret->shards)
        return node_error(map, error,
                          "%u shards share %u partitions: each has to have one",
                          ret->shards, ret->partitions);
    if ((ret->partitions - 1) / ret->shards >= SHARE_PARTITIONS_MAX)
        return node_error(map, error,
                          "a shard would have more than %d partitions: more 'shards'",
                          SHARE_PARTITIONS_MAX);
    if (ret->port && ret->port + ret->shards > UINT16_MAX)
        return node_error(map, error,
                          "shard %u would listen at port %u: there is none beyond %d",
                          ret->shards - 1, ret->port + ret->shards, UINT16_MAX);
    return 0;
}

void nodes_section_free(struct config_nodes *n)
{
    free(n->address);
}

/* ---- For weir node ------------------------------------------------------------------------------ */

void config_put_partitions(const struct config_nodes *nodes, unsigned shard,
                           struct buffer *to)
{
    for (unsigned p = shard; p < nodes->partitions; p += nodes->shards) {
        buffer_puts(to, p == shard ? "" : ",");
        buffer_put_uint(to, p);
    }
}

static bool is_share(const struct config_nodes *nodes, unsigned shard,
                     const struct config_source *s)
{
    size_t n = 0;
    for (unsigned p = shard; p < nodes->partitions; p += nodes->shards, n++)
        if (n == s->n_partitions || s->partition[n] != (int32_t)p)
            return false;
    return n == s->n_partitions;
}

int config_check_shard(const struct config *c, unsigned shard, const char *name,
                       struct error *error)
{
    const struct config_postgresql *pg = c->server.postgresql;
    if (strcmp(pg->shard, name))
        return node_error(pg->node, error,
                          "'shard' is '%s': weir node says which, shard: "
                          "\"${WEIR_SHARD}\"",
                          pg->shard);
    for (size_t i = 0; i < c->n_streams; i++) {
        const struct config_source *s = &c->stream[i].source;
        if (s->kind != CONFIG_SOURCE_KAFKA)
            return node_error(c->stream[i].node, error,
                              "stream '%s' is not read from Kafka: with 'nodes' all "
                              "are, so that who takes over can go on with it",
                              c->stream[i].name);
        if (!is_share(&c->nodes, shard, s))
            return node_error(s->partitions ? s->partitions : s->node, error,
                              "weir node says which partitions stream '%s' reads, "
                              "partitions: \"${WEIR_PARTITIONS}\"",
                              c->stream[i].name);
    }
    return 0;
}
