/* SPDX-License-Identifier: Apache-2.0
 *
 * `source: {mqtt: ...}` of a stream: a broker of MQTT, and the topics that are read from it.
 */
#include <config.h> /* of the build */

#include "base/clock.h"
#include "config/fields.h"
#include "config/sections.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#ifdef HAVE_MOSQUITTO
#include <mosquitto.h>
#endif

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define PORT          1883
#define PORT_TLS      8883
#define LEVEL_MAX     100
#define CLIENT_ID_MAX 200 /* bytes: brokers take at least 23, most take these */
#define TOPIC_MAX     1000
#define COLUMNS_MAX   100
#define HOST_MAX      253 /* characters of a name of DNS */

static int out_of_memory(const struct node *n, struct error *error)
{
    return error_set(error, -ENOMEM, "%s: out of memory", n->file);
}

/* ---- url --------------------------------------------------------------------------------------- */

/* :PORT, or nothing. -1: neither. */
static int parse_port(const char *text, int usual)
{
    if (!*text)
        return usual;
    const char *digits = text + 1;
    size_t n = strspn(digits, "0123456789");
    int port = n && n <= 5 && !digits[n] ? atoi(digits) : 0;
    return *text == ':' && port > 0 && port < 65536 ? port : -1;
}

/* mqtt://HOST, mqtts://HOST:PORT, mqtt://[ADDRESS]:PORT */
static int read_url(const struct node *n, void *target, void *ctx, struct error *error)
{
    static const char expected[] = "mqtt://HOST:PORT, or mqtts://HOST:PORT with TLS";
    struct config_mqtt *m = &((struct config_source *)target)->mqtt;
    const char *text;
    (void)ctx;
    int r = node_text(n, &text, error);
    if (r < 0)
        return r;
    if (strncmp(text, "mqtt://", 7) && strncmp(text, "mqtts://", 8))
        return node_expected(n, expected, error);
    m->tls = text[4] == 's';
    const char *host = text + (m->tls ? 8 : 7);
    if (strchr(host, '@'))
        return node_error(n, error, "the name of a user goes into 'user'");
    bool bracket = *host == '[';
    host += bracket;
    size_t size = strcspn(host, bracket ? "]" : ":/");
    const char *behind = host + size + (bracket && host[size] == ']');
    m->port = parse_port(behind, m->tls ? PORT_TLS : PORT);
    if (!size || size > HOST_MAX || m->port < 0 || (bracket && !host[size]))
        return node_expected(n, expected, error);
    m->host = strndup(host, size);
    return m->host ? 0 : out_of_memory(n, error);
}

/* ---- The others -------------------------------------------------------------------------------- */

static bool is_filter(const char *topic)
{
#ifdef HAVE_MOSQUITTO
    return mosquitto_sub_topic_check(topic) == MOSQ_ERR_SUCCESS;
#else
    return *topic; /* the section is refused */
#endif
}

static int read_topics(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    struct config_source *s = target;
    int r = source_read_topics(n, target, ctx, error);
    for (size_t i = 0; r == 0 && i < s->n_topics; i++)
        if (strlen(s->topic[i]) > TOPIC_MAX || !is_filter(s->topic[i]))
            r = node_error(n->kind == NODE_LIST ? &n->item[i] : n, error,
                           "'%s' is no topic, nor a filter such as sensors/+/temp or "
                           "sensors/#",
                           s->topic[i]);
    return r;
}

static int read_qos(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_source *s = target;
    int64_t qos;
    (void)ctx;
    int r = node_int(n, 0, 2, &qos, error);
    if (r < 0)
        return r;
    if (qos == 2)
        return node_error(n, error,
                          "weir reads with QoS 0 or 1: with 2, libmosquitto takes over "
                          "a message before it is on disk, and forgets it in a crash; "
                          "what is published with 2 comes with 1");
    s->mqtt.qos = (unsigned)qos;
    return 0;
}

static int read_client_id(const struct node *n, void *target, void *ctx,
                          struct error *error)
{
    struct config_source *s = target;
    (void)ctx;
    int r = fields_text(n, &s->mqtt.client_id, error);
    if (r == 0 && strlen(s->mqtt.client_id) > CLIENT_ID_MAX)
        r = node_error(n, error, "a client_id has at most %d bytes", CLIENT_ID_MAX);
    return r;
}

static int read_password(const struct node *n, void *target, void *ctx,
                         struct error *error)
{
    struct config_source *s = target;
    (void)ctx;
    return source_read_option(n, &s->mqtt.password, error);
}

static int add_column(const struct node *key, unsigned level, struct config_mqtt *m,
                      struct error *error)
{
    if (m->n_columns == COLUMNS_MAX)
        return node_error(key, error, "at most %d columns are made of a topic",
                          COLUMNS_MAX);
    struct config_topic_column *list =
        realloc(m->column, (m->n_columns + 1) * sizeof(*list));
    if (!list)
        return out_of_memory(key, error);
    m->column = list;
    struct config_topic_column *c = &list[m->n_columns];
    *c = (struct config_topic_column){.level = level, .node = key};
    int r = fields_text(key, &c->name, error);
    m->n_columns += r == 0;
    return r;
}

static int read_topic(const struct node *n, void *target, void *ctx,
                      struct error *error)
{
    (void)ctx;
    return add_column(n, 0, &((struct config_source *)target)->mqtt, error);
}

static int read_levels(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    struct config_source *s = target;
    (void)ctx;
    if (n->kind != NODE_MAP)
        return node_expected(n, "fields with the levels of a topic, {room: 2}", error);
    for (size_t i = 0; i < n->n; i++) {
        int64_t level;
        int r = node_int(&n->item[i], 1, LEVEL_MAX, &level, error);
        if (r == 0)
            r = add_column(&n->key[i], (unsigned)level, &s->mqtt, error);
        if (r < 0)
            return r;
    }
    return 0;
}

#define AT(member) offsetof(struct config_source, mqtt.member)

const struct field mqtt_section_field[MQTT_FIELDS] = {
    {"url", FIELD_CALL, .required = true, .read = read_url,
     .schema = "{\"type\":\"string\",\"pattern\":\"^(mqtts?://|.*[$])\"}"},
    {"topics", FIELD_CALL, .required = true, .read = read_topics,
     .schema = FIELD_SCHEMA_TEXTS},
    {"qos", FIELD_CALL, .read = read_qos, .schema = "{\"enum\":[0,1]}"},
    {"client_id", FIELD_CALL, .read = read_client_id, .schema = FIELD_SCHEMA_TEXT},
    {"clean_session", FIELD_BOOL, .offset = AT(clean_session)},
    {"keepalive", FIELD_DURATION, .offset = AT(keepalive_us), .min = 5 * SECOND_US,
     .max = 65535 * SECOND_US, .init = 60 * SECOND_US},
    {"user", FIELD_TEXT, .offset = AT(user)},
    {"password", FIELD_CALL, .read = read_password, .schema = SOURCE_OPTION_SCHEMA},
    {"ca", FIELD_TEXT, .offset = AT(ca)},
    {"certificate", FIELD_TEXT, .offset = AT(certificate)},
    {"key", FIELD_TEXT, .offset = AT(key)},
    {"format", FIELD_CALL, .read = source_read_format, .words = source_format_word,
     .n_words = SOURCE_FORMATS},
    {"topic", FIELD_CALL, .read = read_topic, .schema = FIELD_SCHEMA_TEXT},
    {"levels", FIELD_CALL, .read = read_levels,
     .schema = "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\","
               "\"minimum\":1,\"maximum\":100}}"},
    {"retained", FIELD_BOOL, .offset = AT(retained)},
};

/* ---- The section ------------------------------------------------------------------------------- */

#ifdef HAVE_MOSQUITTO
static int check(const struct node *n, const struct config_mqtt *m, struct error *error)
{
    if (!m->clean_session && !m->client_id)
        return node_error(n, error,
                          "'mqtt' needs a client_id, by which the broker knows this "
                          "server again and keeps what comes while it is away; or "
                          "`clean_session: yes`");
    if (m->password.node && !m->user)
        return node_error(m->password.node, error, "a password needs a 'user'");
    if (!m->certificate != !m->key)
        return node_error(n, error, "'certificate' and 'key' go together");
    if (!m->tls && (m->ca || m->certificate))
        return node_error(n, error, "for TLS the url begins with mqtts://");
    return 0;
}
#endif

int mqtt_section(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_source *s = target;
    s->kind = CONFIG_SOURCE_MQTT;
#ifndef HAVE_MOSQUITTO
    (void)ctx;
    return node_error(n, error,
                      "this weir was built without libmosquitto, it reads no MQTT: "
                      "./configure --with-mqtt (Debian: libmosquitto-dev)");
#else
    s->mqtt.qos = 1;
    int r = fields_read(mqtt_section_field, MQTT_FIELDS, n, "'mqtt'", s, ctx, error);
    return r == 0 ? check(n, &s->mqtt, error) : r;
#endif
}

void mqtt_section_free(struct config_mqtt *m)
{
    free(m->host);
    free(m->client_id);
    free(m->user);
    free(m->password.value);
    free(m->password.file);
    free(m->ca);
    free(m->certificate);
    free(m->key);
    for (size_t i = 0; i < m->n_columns; i++)
        free(m->column[i].name);
    free(m->column);
}
