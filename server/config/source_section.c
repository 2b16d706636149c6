/* SPDX-License-Identifier: Apache-2.0
 *
 * `source:` of a stream: what weir reads itself, files, topics of Kafka (and of MQTT: mqtt_section.c).
 */
#include <config.h> /* of the build */

#include "config/fields.h"
#include "config/sections.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#ifdef HAVE_RDKAFKA
#include <librdkafka/rdkafka.h>
#endif

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define TOPIC_MAX 249 /* characters; Kafka's own limit */

static int read_begin(const struct node *n, void *target, void *ctx,
                      struct error *error);

const char *const source_format_word[SOURCE_FORMATS] = {"ndjson", "json", "csv",
                                                        "lines"};
static const char *const begin_word[] = {"oldest", "newest"};
static const char *const lost_word[] = {"stop", "go_on"};

/* ---- kafka ------------------------------------------------------------------------------------- */

static int out_of_memory(const struct node *n, struct error *error)
{
    return error_set(error, -ENOMEM, "%s: out of memory", n->file);
}

bool source_section_is_topic(const char *t)
{
    return *t && strlen(t) <= TOPIC_MAX &&
           strspn(t, "abcdefghijklmnopqrstuvwxyz"
                     "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                     "0123456789._-") == strlen(t);
}

int source_read_topics(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    struct config_source *s = target;
    (void)ctx;
    const struct node *item = n->kind == NODE_LIST ? n->item : n;
    size_t n_items = n->kind == NODE_LIST ? n->n : 1;
    if (!n_items || n_items > CONFIG_TOPICS_MAX)
        return node_expected(n, "one to 100 names of topics", error);
    s->topic = calloc(n_items, sizeof(*s->topic));
    if (!s->topic)
        return out_of_memory(n, error);
    for (size_t i = 0; i < n_items; i++) {
        int r = fields_text(&item[i], &s->topic[i], error);
        if (r < 0)
            return r;
        s->n_topics++;
        for (size_t k = 0; k < i; k++)
            if (!strcmp(s->topic[k], s->topic[i]))
                return node_error(&item[i], error, "topic '%s' is listed twice",
                                  s->topic[i]);
    }
    return 0;
}

static int read_topics(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    struct config_source *s = target;
    int r = source_read_topics(n, target, ctx, error);
    for (size_t i = 0; r == 0 && i < s->n_topics; i++) {
        const char *t = s->topic[i];
        if (!source_section_is_topic(t))
            r = node_error(n->kind == NODE_LIST ? &n->item[i] : n, error,
                           "'%s' is no name of a topic", t);
    }
    return r;
}

static int read_senders(const struct node *n, void *target, void *ctx,
                        struct error *error)
{
    struct config_source *s = target;
    (void)ctx;
    const struct node *item = n->kind == NODE_LIST ? n->item : n;
    size_t n_items = n->kind == NODE_LIST ? n->n : 1;
    if (n->kind == NODE_MAP || !n_items || n_items > CONFIG_SENDERS_MAX)
        return node_expected(n, "one to 100 names of servers, 'shard' of each", error);
    s->sender = calloc(n_items, sizeof(*s->sender));
    if (!s->sender)
        return out_of_memory(n, error);
    int r = 0;
    for (size_t i = 0; r == 0 && i < n_items; i++) {
        r = target_section_shard(&item[i], &s->sender[i], error);
        s->n_senders +=
            s->sender[i] != NULL; /* also one that is refused: it is freed */
        for (size_t k = 0; r == 0 && k < i; k++)
            if (!strcmp(s->sender[k], s->sender[i]))
                r = node_error(&item[i], error, "'%s' is listed twice", s->sender[i]);
    }
    return r;
}

static int read_lost(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_source *s = target;
    (void)ctx;
    int r = node_word(n, lost_word, COUNT(lost_word), error);
    s->lost_goes_on = r == 1;
    return r < 0 ? r : 0;
}

/* What weir decides itself: offsets are its own. */
static const struct {
    const char *name, *instead;
} own_option[] = {
    {"bootstrap.servers", "'brokers'"},
    {"metadata.broker.list", "'brokers'"},
    {"group.id", "'group'"},
    {"auto.offset.reset", "'begin' and 'on_lost'"},
    {"enable.auto.commit", "nothing: offsets are in the database"},
    {"enable.auto.offset.store", "nothing: offsets are in the database"},
    {"enable.partition.eof", "nothing"},
    {"partition.assignment.strategy", "nothing: all partitions are read"},
    {"auto.commit.enable", "nothing: offsets are in the database"},
    {"offset.store.method", "nothing: offsets are in the database"},
    {"plugin.library.paths", "nothing: to check a configuration runs no code of it"},
    {"log.queue", "nothing"},
    {"transactional.id", "nothing: it is made of the database's name"},
};

#ifdef HAVE_RDKAFKA
static int try_option(const struct node *key, const char *value, struct error *error)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_res_t r = rd_kafka_conf_set(conf, key->text, value, why, sizeof(why));
    rd_kafka_conf_destroy(conf);
    return r == RD_KAFKA_CONF_OK ? 0 : node_error(key, error, "librdkafka: %s", why);
}
#else
static int try_option(const struct node *key, const char *value, struct error *error)
{
    (void)key, (void)value, (void)error;
    return 0; /* the section is refused */
}
#endif

int source_read_option(const struct node *n, struct config_option *o,
                       struct error *error)
{
    const struct node *file = node_get(n, "file");
    o->node = n;
    if (n->kind != NODE_MAP)
        return fields_text(n, &o->value, error);
    if (!file || n->n != 1)
        return node_expected(n, "a text, or {file: PATH}", error);
    return fields_text(file, &o->file, error);
}

static int read_option(const struct node *key, const struct node *n,
                       struct config_option *o, struct error *error)
{
    int r = source_read_option(n, o, error);
    return r == 0 && o->value ? try_option(key, o->value, error) : r;
}

int source_section_options(const struct node *n, void *target, void *ctx,
                           struct error *error)
{
    struct config_source *s = target;
    (void)ctx;
    if (n->kind != NODE_MAP)
        return node_expected(n, "a mapping of librdkafka's properties", error);
    s->option = calloc(n->n + 1, sizeof(*s->option));
    if (!s->option)
        return out_of_memory(n, error);
    for (size_t i = 0; i < n->n; i++) {
        const struct node *key = &n->key[i];
        for (size_t k = 0; k < COUNT(own_option); k++)
            if (!strcmp(key->text, own_option[k].name))
                return node_error(key, error,
                                  "'%s' is weir's to set: instead there is %s",
                                  key->text, own_option[k].instead);
        struct config_option *o = &s->option[s->n_options++];
        int r = read_option(key, &n->item[i], o, error);
        if (r == 0 && !(o->name = strdup(key->text)))
            r = out_of_memory(n, error);
        if (r < 0)
            return r;
    }
    return 0;
}

static const struct field kafka_fields[] = {
    {"brokers", FIELD_TEXT, .required = true,
     .offset = offsetof(struct config_source, brokers)},
    {"topics", FIELD_CALL, .required = true, .read = read_topics,
     .schema = FIELD_SCHEMA_TEXTS},
    {"partitions", FIELD_CALL, .read = share_read_partitions,
     .schema = share_partitions_schema},
    {"partitioned_by", FIELD_CALL, .read = share_read_by, .schema = FIELD_SCHEMA_TEXTS},
    {"senders", FIELD_CALL, .read = read_senders, .schema = FIELD_SCHEMA_TEXTS},
    {"group", FIELD_TEXT, .offset = offsetof(struct config_source, group)},
    {"format", FIELD_CALL, .read = source_read_format, .words = source_format_word,
     .n_words = SOURCE_FORMATS},
    {"begin", FIELD_CALL, .read = read_begin, .words = begin_word,
     .n_words = COUNT(begin_word)},
    {"on_lost", FIELD_CALL, .read = read_lost, .words = lost_word,
     .n_words = COUNT(lost_word)},
    {"options", FIELD_CALL, .read = source_section_options,
     .schema = SECTION_OPTIONS_SCHEMA},
};

static int read_kafka(const struct node *n, void *target, void *ctx,
                      struct error *error)
{
    struct config_source *s = target;
    s->kind = CONFIG_SOURCE_KAFKA;
#ifndef HAVE_RDKAFKA
    (void)ctx;
    return node_error(n, error,
                      "this weir was built without librdkafka, it reads no Kafka: "
                      "./configure --with-kafka (Debian: librdkafka-dev)");
#else
    return fields_read(kafka_fields, COUNT(kafka_fields), n, "'kafka'", s, ctx, error);
#endif
}

/* ---- The section ------------------------------------------------------------------------------- */

int source_read_format(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    static const enum decode_format format[SOURCE_FORMATS] = {
        DECODE_NDJSON, DECODE_JSON, DECODE_CSV, DECODE_LINES};
    struct config_source *s = target;
    (void)ctx;
    int r = node_word(n, source_format_word, SOURCE_FORMATS, error);
    if (r < 0)
        return r;
    s->format = format[r];
    s->format_node = n;
    return 0;
}

static int read_begin(const struct node *n, void *target, void *ctx,
                      struct error *error)
{
    struct config_source *s = target;
    (void)ctx;
    int r = node_word(n, begin_word, COUNT(begin_word), error);
    s->newest = r == 1;
    return r < 0 ? r : 0;
}

static int read_file(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_source *s = target;
    (void)ctx;
    s->kind = CONFIG_SOURCE_FILE;
    return fields_text(n, &s->file, error);
}

static const struct field source_fields[] = {
    {"file", FIELD_CALL, .read = read_file, .schema = FIELD_SCHEMA_TEXT},
    {"format", FIELD_CALL, .read = source_read_format, .words = source_format_word,
     .n_words = SOURCE_FORMATS},
    {"begin", FIELD_CALL, .read = read_begin, .words = begin_word,
     .n_words = COUNT(begin_word)},
    {"kafka", FIELD_CALL, .read = read_kafka, .keys = kafka_fields,
     .n_keys = COUNT(kafka_fields)},
    {"mqtt", FIELD_CALL, .read = mqtt_section, .keys = mqtt_section_field,
     .n_keys = MQTT_FIELDS},
};

void source_section_schema(struct buffer *to)
{
    fields_schema(source_fields, COUNT(source_fields), to);
}

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), n = strlen(end);
    return size >= n && !strcasecmp(text + size - n, end);
}

/* By the name, where `format` is not given. */
static int check_file(const struct node *n, struct config_source *s,
                      struct error *error)
{
    const struct node *at = node_get(n, "file");
    if (ends_with(s->file, ".gz") || ends_with(s->file, ".zst"))
        return node_error(at, error,
                          "a file that is written to cannot be packed; weir run reads "
                          "packed files");
    if (s->format_node && s->format == DECODE_JSON)
        return node_error(s->format_node, error,
                          "a file is read line by line: ndjson, csv or lines");
    if (s->format_node)
        return 0;
    if (ends_with(s->file, ".csv"))
        s->format = DECODE_CSV;
    else if (ends_with(s->file, ".lp"))
        s->format = DECODE_LINES;
    else if (ends_with(s->file, ".json"))
        return node_error(at, error,
                          "a JSON array is not read line by line; `format: ndjson` if "
                          "each line is an object");
    return 0;
}

int source_section(const struct node *n, struct config_source *ret, struct error *error)
{
    static const char *const kind[] = {"file", "kafka", "mqtt"};
    const struct node *at = NULL;
    const char *is = NULL;
    ret->node = n;
    ret->format = DECODE_NDJSON;
    for (size_t i = 0; n->kind == NODE_MAP && i < COUNT(kind); i++) {
        const struct node *found = node_get(n, kind[i]);
        if (found && at)
            return node_error(found, error, "a source is '%s' or '%s', not both", is,
                              kind[i]);
        if (found) {
            at = found;
            is = kind[i];
        }
    }
    if (!at)
        return node_expected(n,
                             "{file: PATH}, {kafka: {brokers: ..., topics: ...}} or "
                             "{mqtt: {url: ..., topics: ...}}",
                             error);
    if (strcmp(is, "file") && n->n > 1)
        return node_error(n, error, "beside '%s' there is nothing: it goes inside", is);
    int r = fields_read(source_fields, COUNT(source_fields), n, "'source'", ret, NULL,
                        error);
    return r == 0 && !strcmp(is, "file") ? check_file(n, ret, error) : r;
}

int source_section_columns(const struct config_source *s, const struct schema *schema,
                           struct error *error)
{
    for (size_t i = 0; i < s->mqtt.n_columns; i++) {
        const struct config_topic_column *c = &s->mqtt.column[i];
        int found = schema_find(schema, c->name);
        if (found < 0 || schema->column[found].type != WEIR_STRING)
            return node_error(c->node, error,
                              "the stream has no field '%s' of type string", c->name);
    }
    return 0;
}

void source_section_free(struct config_source *s)
{
    free(s->file);
    free(s->brokers);
    free(s->group);
    for (size_t i = 0; i < s->n_topics; i++)
        free(s->topic[i]);
    free(s->topic);
    free(s->partition);
    for (size_t i = 0; i < s->n_partitioned_by; i++)
        free(s->partitioned_by[i]);
    free(s->partitioned_by);
    for (size_t i = 0; i < s->n_senders; i++)
        free(s->sender[i]);
    free(s->sender);
    for (size_t i = 0; i < s->n_options; i++) {
        free(s->option[i].name);
        free(s->option[i].value);
        free(s->option[i].file);
    }
    free(s->option);
    mqtt_section_free(&s->mqtt);
}
