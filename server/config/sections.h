/* SPDX-License-Identifier: Apache-2.0
 *
 * The sections of the configuration file, a source file each, and what they share. All return
 * -EINVAL with the place in `error`, or -ENOMEM; what they took is config_free's then.
 */
#ifndef WEIR_CONFIG_SECTIONS_H
#define WEIR_CONFIG_SECTIONS_H

#include "config/config.h"
#include "config/fields.h"

#define SECTION_NAME_MAX                                                               \
    48 /* characters of a stream's or pipeline's name: room for suffixes */
#define SECTION_ITEMS_MAX 1000 /* streams, and pipelines */

/* What was taken on failure is source_section_free's. */
int source_section(const struct node *n, struct config_source *ret,
                   struct error *error);
void source_section_free(struct config_source *s);
/* Columns that it fills are there, and text. */
int source_section_columns(const struct config_source *s, const struct schema *schema,
                           struct error *error);

/* What several kinds of sources have, as field.read. */
int source_read_topics(const struct node *n, void *target, void *ctx,
                       struct error *error);
int source_read_format(const struct node *n, void *target, void *ctx,
                       struct error *error);
#define SOURCE_FORMATS 4
extern const char *const source_format_word[SOURCE_FORMATS];
/* Text, or {file: PATH}, which is read when it is needed. */
int source_read_option(const struct node *n, struct config_option *o,
                       struct error *error);
#define SOURCE_OPTION_SCHEMA                                                           \
    "{\"$ref\":\"#/$defs/text\"},{\"type\":\"object\",\"required\":[\"file\"],"        \
    "\"additionalProperties\":false,"                                                  \
    "\"properties\":{\"file\":{\"$ref\":\"#/$defs/text\"}}}"

/* `partitions` and `partitioned_by` of Kafka, as field.read. */
#define SHARE_PARTITIONS_MAX 1023 /* as many as a stream has sources */
int share_read_partitions(const struct node *n, void *target, void *ctx,
                          struct error *error);
int share_read_by(const struct node *n, void *target, void *ctx, struct error *error);
extern const char share_partitions_schema[];
/* Streams whose topics several servers read: are the rows of their pipelines those of one? All else is read. */
int share_check(const struct config *c, struct error *error);

/* `mqtt:` of a source. */
#define MQTT_FIELDS 15
extern const struct field mqtt_section_field[MQTT_FIELDS];
int mqtt_section(const struct node *n, void *target, void *ctx, struct error *error);
void mqtt_section_free(struct config_mqtt *m);

/* `map` NULL: all defaults. */
int server_section(const struct node *map, struct config_server *ret,
                   struct error *error);
void server_section_free(struct config_server *s);

/* As `listen` of the server, which says who may reach it; on success *ret_address is the caller's. */
int server_section_address(const struct node *n, const struct config_server *server,
                           char **ret_address, uint16_t *ret_port, struct error *error);

/* `nodes:`, behind the server. What was taken on failure is nodes_section_free's. */
int nodes_section(const struct node *map, const struct config_server *server,
                  struct config_nodes *ret, struct error *error);
void nodes_section_free(struct config_nodes *n);
void nodes_section_schema(struct buffer *to);

/* On failure it has a name, if that is one, and no schema. */
int stream_section(const struct node *name, const struct node *map,
                   struct config_stream *ret, struct error *error);
void stream_section_free(struct config_stream *s);

/* `config` has its streams. */
int pipeline_section(const struct node *name, const struct node *map,
                     const struct config *config, struct config_pipeline *ret,
                     struct error *error);
void pipeline_section_free(struct config_pipeline *p);

/* `schema` NULL: the stream has faults. */
int window_section(const struct node *n, const struct schema *schema,
                   struct config_window *ret, struct error *error);
/* All pipelines are read: those that read others find them. -EINVAL: there is none, or they read one another in a
 * circle. */
int chain_link(struct config *c, struct error *error);

/* `derive:` with the columns of `schema` before it. What was taken on failure is derive_section_free's. */
int derive_section(const struct node *n, const struct schema *schema,
                   struct config_derive *ret, struct error *error);
void derive_section_free(struct config_derive *d);

/* `join:` of a pipeline that reads the stream, whose columns are `schema`. What was taken on failure is
 * join_section_free's. */
int join_section(const struct node *n, const struct config *config, size_t stream,
                 const struct schema *schema, const struct config_results *results,
                 struct config_joins *ret, struct error *error);
/* The names that are none of streams, for when it is known what they stand for. */
int join_section_results(const struct node *n, const struct config *config,
                         struct config_results *ret, struct error *error);
void join_section_results_free(struct config_results *r);
void join_section_free(struct config_joins *j);
/* Of the same mapping what has a `table`; `schema` has the columns of the streams that are joined. What was taken on
 * failure is reference_section_free's. */
bool reference_section_is(const struct node *join);
int reference_section(const struct node *n, const struct schema *schema,
                      struct config_references *ret, struct error *error);
void reference_section_free(struct config_references *all);
/* `from:`, where it is a list of streams: *ret_stream is the first, the others are joins. */
int streams_section(const struct node *n, const struct config *config,
                    size_t *ret_stream, struct config_joins *ret, struct error *error);

/* A field behind its name; what was taken on failure is field_section_free's. */
int field_section(const struct node *n, enum weir_type *ret_type,
                  struct decode_field *ret, struct error *error);
void field_section_free(struct decode_field *f);

/* The name of a server among those whose tables go to the same place. */
int target_section_shard(const struct node *n, char **ret, struct error *error);
/* Whose tables go to a target, an item of its section. What was taken on failure is target_section_free's. */
int target_section_pipelines(const struct node *n, struct config_target *ret,
                             struct error *error);
/* The pipelines that it names are there. */
int target_section_check(const struct config *c, const struct config_target *t,
                         struct error *error);
void target_section_free(struct config_target *t);

/* `postgresql:` of the server. What was taken on failure is freed with the server. */
int postgresql_section(const struct node *map, struct config_postgresql **at,
                       struct error *error);
/* All else is read. */
int postgresql_section_check(const struct config *c, struct error *error);
void postgresql_section_free(struct config_postgresql *p); /* takes NULL */

/* `kafka:` of the server, likewise. */
int kafka_section(const struct node *map, struct config_kafka **at,
                  struct error *error);
void kafka_section_free(struct config_kafka *k); /* takes NULL */

/* What `source: {kafka: ...}` has in common with it: librdkafka's properties, for fields_read with a struct config_source, and
 * names of topics. */
int source_section_options(const struct node *n, void *target, void *ctx,
                           struct error *error);
bool source_section_is_topic(const char *name);
#define SECTION_OPTIONS_SCHEMA                                                         \
    "{\"type\":\"object\",\"additionalProperties\":{\"anyOf\":[" SOURCE_OPTION_SCHEMA  \
    "]}}"

/* `webhook:`, one or a list. What was taken on failure is freed with the pipeline. */
int hook_sections(const struct node *n, struct config_pipeline *p, struct error *error);
void hook_section_free(struct config_hook *h);

/* `headers:` of requests to other services: "Name: value" each. `own`: names that are weir's, NULL-ended. */
int section_headers(const struct node *n, const char *const *own, char ***ret,
                    size_t *ret_n, struct error *error);
/* Is the text a URL of http or https with a host, of ASCII without spaces? */
bool section_is_url(const char *text);

/* `http_lookup:` of a pipeline that reads a stream, whose columns are `schema`. What was taken on failure is
 * lookup_sections_free's. */
int lookup_sections(const struct node *n, const struct schema *schema,
                    struct config_lookups *ret, struct error *error);
void lookup_sections_free(struct config_lookups *l);
/* `ask:` of an analyzer, or the defaults where map is NULL: time-outs and limits. */
int ask_section(const struct node *map, struct config_lookup **ret,
                struct error *error);
void ask_section_free(struct config_lookup *l); /* takes NULL */

/* "string", "float", ... */
int section_type(const struct node *n, enum weir_type *ret, struct error *error);

/* The JSON Schema of each. */
void server_section_schema(struct buffer *to);
void stream_section_schema(struct buffer *to);
void source_section_schema(struct buffer *to);
void window_section_schema(struct buffer *to);
void join_section_schema(struct buffer *to);      /* of one join */
void reference_section_schema(struct buffer *to); /* likewise */
void hook_section_schema(struct buffer *to);
void postgresql_section_schema(struct buffer *to);
void kafka_section_schema(struct buffer *to);
void lookup_section_schema(struct buffer *to); /* of one */
void ask_section_schema(struct buffer *to);
void pipeline_section_schema(struct buffer *to);
/* What stands beside the name of an analyzer in an item of `analyzers`, `inside`: in its parameters: "as": ..., each with a
 * comma behind it. */
void analyzer_keys_schema(bool inside, struct buffer *to);

/* [a-z][a-z0-9_]*, as streams, pipelines and plugins are called. `what` is for messages. */
int section_name(const struct node *n, const char *what, const char **ret,
                 struct error *error);

#endif
