/* SPDX-License-Identifier: Apache-2.0
 *
 * `postgresql:` of the server: where result tables are carried to. The connection is text that libpq reads, and may have a
 * password in it: no message repeats it.
 */
#include <config.h> /* not that of this folder */

#include "base/clock.h"
#include "config/fields.h"
#include "config/sections.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_LIBPQ
#include <libpq-fe.h>
#endif

#define SCHEMA_MAX 63 /* bytes of a name in PostgreSQL */

static int read_connect(const struct node *n, void *target, void *ctx,
                        struct error *error)
{
    struct config_postgresql *p = target;
    (void)ctx;
    int r = fields_text(n, &p->connect, error);
#ifdef HAVE_LIBPQ
    PQconninfoOption *options = r < 0 ? NULL : PQconninfoParse(p->connect, NULL);
    if (r == 0 && !options)
        r = node_error(
            n, error,
            "expected what libpq takes, such as \"host=db.example "
            "dbname=results user=weir\" or postgresql://weir@db.example/results"
            " (what is given may hold a password, and is not repeated)");
    PQconninfoFree(options); /* takes NULL */
#endif
    return r;
}

static int read_schema(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    struct config_postgresql *p = target;
    (void)ctx;
    int r = fields_text(n, &p->schema, error);
    if (r == 0 && (strlen(p->schema) > SCHEMA_MAX || strncmp(p->schema, "pg_", 3) == 0))
        r = node_error(n, error,
                       "expected the name of a schema of at most %d bytes, that does "
                       "not begin with pg_",
                       SCHEMA_MAX);
    return r;
}

static int read_shard(const struct node *n, void *target, void *ctx,
                      struct error *error)
{
    (void)ctx;
    return target_section_shard(n, &((struct config_postgresql *)target)->shard, error);
}

static int read_pipelines(const struct node *n, void *target, void *ctx,
                          struct error *error)
{
    (void)ctx;
    return target_section_pipelines(n, &((struct config_postgresql *)target)->target,
                                    error);
}

#define AT(member) offsetof(struct config_postgresql, member)

static const struct field fields[] = {
    {"connect", FIELD_CALL, .required = true, .read = read_connect,
     .schema = FIELD_SCHEMA_TEXT},
    {"password_file", FIELD_TEXT, .offset = AT(password_file)},
    {"schema", FIELD_CALL, .read = read_schema, .schema = FIELD_SCHEMA_TEXT},
    {"shard", FIELD_CALL, .read = read_shard, .schema = FIELD_SCHEMA_TEXT},
    {"partition", FIELD_DURATION, .offset = AT(partition_us), .min = (3600 * SECOND_US),
     .max = 3660 * DAY_US},
    {"retain", FIELD_DURATION, .offset = AT(retain_us), .min = (3600 * SECOND_US),
     .max = 36600 * DAY_US},
    {"copy", FIELD_DURATION, .offset = AT(copy_us), .min = 50000,
     .max = 3600 * SECOND_US, .init = 0},
    {"pipelines", FIELD_CALL, .read = read_pipelines, .schema = FIELD_SCHEMA_TEXTS},
    {"hold", FIELD_DURATION, .offset = AT(target.hold_us), .min = 0,
     .max = 366 * DAY_US, .init = INT64_MAX, .never = "forever"},
    {"max_lag", FIELD_COUNT, .offset = AT(target.max_lag), .min = 200000,
     .max = 1000000000, .init = 10000000},
    {"timeout", FIELD_DURATION, .offset = AT(target.timeout_us), .min = SECOND_US,
     .max = 3600 * SECOND_US, .init = 30 * SECOND_US},
    {"backoff", FIELD_DURATION, .offset = AT(target.backoff_us), .min = 10000,
     .max = 600 * SECOND_US, .init = SECOND_US},
    {"max_backoff", FIELD_DURATION, .offset = AT(target.max_backoff_us), .min = 10000,
     .max = 3600 * SECOND_US, .init = 30 * SECOND_US},
};
#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

void postgresql_section_schema(struct buffer *to)
{
    fields_schema(fields, N_FIELDS, to);
}

static int check_partition(const struct config_postgresql *p, struct error *error)
{
    if (p->partition_us % (3600 * SECOND_US))
        return node_error(node_get(p->node, "partition"), error,
                          "'partition' is whole hours, such as 1h, 1d or 7d");
    return p->retain_us && !p->partition_us
               ? node_error(node_get(p->node, "retain"), error,
                            "'retain' drops partitions: 'partition' is missing, how "
                            "long each of them is")
               : 0;
}

int postgresql_section(const struct node *map, struct config_postgresql **at,
                       struct error *error)
{
    if (map->kind != NODE_MAP)
        return node_expected(map, "connect: and where to", error);
#ifndef HAVE_LIBPQ
    return node_error(map, error,
                      "this weir was built without libpq, it carries nothing to "
                      "PostgreSQL: ./configure --with-postgresql (Debian: libpq-dev)");
#endif
    struct config_postgresql *p = *at = calloc(1, sizeof(*p));
    if (!p)
        return error_set(error, -ENOMEM, "%s: out of memory", map->file);
    p->node = map;
    int r = fields_read(fields, N_FIELDS, map, "'postgresql'", p, NULL, error);
    if (r == 0 && p->target.backoff_us > p->target.max_backoff_us)
        r = node_error(map, error, "'backoff' is longer than 'max_backoff'");
    if (r == 0)
        r = check_partition(p, error);
    if (r == 0 && !p->schema && !(p->schema = strdup("weir")))
        r = error_set(error, -ENOMEM, "%s: out of memory", map->file);
    return r;
}

/* ---- copy: -------------------------------------------------------------------------------------- */

/* What would be lost with the disk, or could not be at one position with the rest. */
static int check_copied_stream(const struct config_stream *s, struct error *error)
{
    if (s->source.kind == CONFIG_SOURCE_KAFKA)
        return 0;
    return node_error(s->node, error,
                      "with 'copy' another machine goes on with what Kafka has still: "
                      "stream '%s' is not read from Kafka, so what it has taken since "
                      "the last copy would be lost with this one",
                      s->name);
}

static int check_copied_pipeline(const struct config *c,
                                 const struct config_pipeline *p, struct error *error)
{
    const struct config_postgresql *pg = c->server.postgresql;
    if (p->joins.n || p->results.n || p->joins.all)
        return node_error(
            p->join_node ? p->join_node : p->node, error,
            "with 'copy' all of a pipeline is at one position of its "
            "stream: it is not joined with streams or results, whose rows "
            "wait for each other; tables ('table') can be joined");
    if (p->asks)
        return node_error(p->node, error,
                          "with 'copy' all of a pipeline is at one position of its "
                          "stream: it does not ask other services, whose answers are "
                          "waited for");
    if (p->backfill_node)
        return node_error(p->backfill_node, error,
                          "with 'copy' a pipeline is where its stream is: 'backfill' "
                          "reads what is on this machine only");
    return config_is_target(c, &pg->target, p->name) == 1
               ? 0
               : node_error(
                     pg->node, error,
                     "with 'copy' all tables are carried: 'pipelines' leaves out "
                     "'%s'",
                     p->name);
}

int postgresql_section_check(const struct config *c, struct error *error)
{
    const struct config_postgresql *p = c->server.postgresql;
    int r = target_section_check(c, &p->target, error);
    if (r < 0 || !p->copy_us)
        return r;
    if (!p->shard)
        return node_error(p->node, error,
                          "'copy' is for a server with a name: 'shard' is missing");
    if (c->server.kafka)
        return node_error(c->server.kafka->link.node, error,
                          "with 'copy' no results go to Kafka: what was published "
                          "since the last copy could not be taken back");
    if (c->n_pipelines == 0)
        return node_error(p->node, error, "'copy' wants a pipeline");
    for (size_t i = 0; r == 0 && i < c->n_streams; i++)
        r = check_copied_stream(&c->stream[i], error);
    for (size_t i = 0; r == 0 && i < c->n_pipelines; i++)
        r = check_copied_pipeline(c, &c->pipeline[i], error);
    return r;
}

void postgresql_section_free(struct config_postgresql *p)
{
    if (!p)
        return;
    target_section_free(&p->target);
    if (p->connect)
        explicit_bzero(p->connect, strlen(p->connect));
    free(p->connect);
    free(p->password_file);
    free(p->schema);
    free(p->shard);
    free(p);
}
