/* SPDX-License-Identifier: Apache-2.0 */
#include "source/broker.h"

#include "base/logger.h"
#include "source/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Before those of the configuration, which may say otherwise. */
static const struct broker_option usual[] = {
    {"client.id", "weir"},
    {"reconnect.backoff.max.ms", "2000"},
};
static const struct broker_option usual_to_read[] = {
    /* What is read ahead: so much in the queue, as much that was taken out of it, and twice an answer of each broker. */
    {"queued.max.messages.kbytes", "16384"},
    {"queued.min.messages", "1000000"},
    {"fetch.max.bytes", "8388608"},
    /* Of a partition at a time: memory for more is not found in the caches, and costs half as much again. */
    {"fetch.message.max.bytes", "262144"},
};
/* And what not all versions know. */
static const struct broker_option usual_to_read_if_known[] = {
    {"fetch.queue.backoff.ms", "20"},
};
static const struct broker_option usual_to_write[] = {
    {"socket.timeout.ms",
     "2000"}, /* calls of transactions wait so long for a broker that does not answer */
};

/* And behind them. */
static const struct broker_option always[] = {
    {"auto.offset.reset", "error"}, /* nothing is passed over in silence */
    {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
    {"enable.partition.eof", "true"},
};

/* ---- What it says ------------------------------------------------------------------------------ */

static void on_error(rd_kafka_t *client, int code, const char *reason, void *broker)
{
    struct broker *b = broker;
    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        rd_kafka_fatal_error(client, b->fatal, sizeof(b->fatal));
        return;
    }
    if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || !b->why[0])
        snprintf(b->why, sizeof(b->why), "%s", reason);
    b->complained = true;
}

/* The same as on_error is given, or what an option `debug` asks for. */
static void on_log(const rd_kafka_t *client, int level, const char *facility,
                   const char *text)
{
    (void)client;
    logger_write(level >= 7 ? LOGGER_INFO : LOGGER_DEBUG, "kafka", "%s: %s", facility,
                 text);
}

static void on_commit(rd_kafka_t *client, rd_kafka_resp_err_t err,
                      rd_kafka_topic_partition_list_t *offsets, void *broker)
{
    struct broker *b = broker;
    (void)client;
    for (int i = 0; !err && offsets && i < offsets->cnt; i++)
        err = offsets->elems[i].err;
    snprintf(b->commit, sizeof(b->commit), "%s", err ? rd_kafka_err2str(err) : "");
}

void broker_listen(struct broker *b)
{
    while (rd_kafka_poll(b->client, 0) > 0)
        ;
}

/* ---- Opening ----------------------------------------------------------------------------------- */

static int set(rd_kafka_conf_t *conf, const char *name, const char *value,
               struct error *error)
{
    char why[256];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) == RD_KAFKA_CONF_OK)
        return 0;
    return error_set(error, -EINVAL, "librdkafka: %s", why);
}

static int set_option(rd_kafka_conf_t *conf, const struct config_option *o,
                      struct error *error)
{
    if (!o->file)
        return set(conf, o->name, o->value, error);
    char *secret = NULL;
    int err = secret_read(o, &secret, error);
    if (err < 0)
        return err;
    struct error hidden; /* its text may repeat the value */
    err = set(conf, o->name, secret, &hidden);
    if (err < 0)
        node_error(o->node, error, "librdkafka does not take what is in '%s' for '%s'",
                   o->file, o->name);
    secret_free(secret);
    return err;
}

static int set_all(rd_kafka_conf_t *conf, const struct broker_option *o, size_t n,
                   struct error *error)
{
    int err = 0;
    for (size_t i = 0; err == 0 && i < n; i++)
        err = set(conf, o[i].name, o[i].value, error);
    return err;
}

static void set_known(rd_kafka_conf_t *conf, const struct broker_option *o, size_t n)
{
    struct error none;
    for (size_t i = 0; i < n; i++)
        set(conf, o[i].name, o[i].value, &none);
}

static int configure(rd_kafka_conf_t *conf, rd_kafka_type_t type,
                     const struct config_source *config,
                     const struct broker_option *own, size_t n, struct error *error)
{
    int err = set(conf, "bootstrap.servers", config->brokers, error);
    if (err == 0)
        err = set_all(conf, usual, sizeof(usual) / sizeof(usual[0]), error);
    if (err == 0 && type == RD_KAFKA_CONSUMER)
        err = set_all(conf, usual_to_read,
                      sizeof(usual_to_read) / sizeof(usual_to_read[0]), error);
    if (err == 0 && type == RD_KAFKA_CONSUMER)
        set_known(conf, usual_to_read_if_known,
                  sizeof(usual_to_read_if_known) / sizeof(usual_to_read_if_known[0]));
    if (err == 0 && type == RD_KAFKA_PRODUCER)
        err = set_all(conf, usual_to_write,
                      sizeof(usual_to_write) / sizeof(usual_to_write[0]), error);
    for (size_t i = 0; err == 0 && i < config->n_options; i++)
        err = set_option(conf, &config->option[i], error);
    if (err == 0)
        err = set(conf, "log.queue", "true", error);
    if (err == 0)
        err = set_all(conf, own, n, error);
    if (err == 0 && config->group)
        err = set(conf, "group.id", config->group, error);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_offset_commit_cb(conf, on_commit);
    return err;
}

int broker_open(const struct config_source *config, struct broker **ret,
                struct error *error)
{
    return broker_open_as(RD_KAFKA_CONSUMER, config, always,
                          sizeof(always) / sizeof(always[0]), ret, error);
}

int broker_open_as(rd_kafka_type_t type, const struct config_source *config,
                   const struct broker_option *own, size_t n, struct broker **ret,
                   struct error *error)
{
    char why[256];
    struct broker *b = calloc(1, sizeof(*b));
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    int err = b ? configure(conf, type, config, own, n, error)
                : error_set(error, -ENOMEM, "no memory for Kafka");
    rd_kafka_conf_set_opaque(conf, b);
    if (err == 0)
        b->client = rd_kafka_new(type, conf, why, sizeof(why));
    if (err == 0 && !b->client)
        err = node_error(config->node, error, "librdkafka: %s", why);
    if (err < 0) {
        rd_kafka_conf_destroy(conf);
        free(b);
        return err;
    }
    rd_kafka_set_log_queue(b->client, NULL);
    *ret = b;
    return 0;
}

void broker_close(struct broker *b)
{
    if (!b)
        return;
    rd_kafka_destroy_flags(b->client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    free(b);
}

/* ---- Asking ------------------------------------------------------------------------------------ */

int broker_partitions(struct broker *b, rd_kafka_topic_t *topic, int timeout_ms,
                      int32_t *ret_n, struct error *error)
{
    const struct rd_kafka_metadata *m;
    rd_kafka_resp_err_t err = rd_kafka_metadata(b->client, 0, topic, &m, timeout_ms);
    broker_listen(b);
    if (err)
        return error_set(error, -EAGAIN, "%s",
                         b->why[0] ? b->why : rd_kafka_err2str(err));
    int n = m->topic_cnt ? m->topics[0].partition_cnt : 0;
    err = m->topic_cnt ? m->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    rd_kafka_metadata_destroy(m);
    if (err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        return error_set(error, -ENOENT, "there is no topic '%s'",
                         rd_kafka_topic_name(topic));
    if (err || !n)
        return error_set(error, -EAGAIN, "topic '%s': %s", rd_kafka_topic_name(topic),
                         err ? rd_kafka_err2str(err) : "it has no partitions yet");
    *ret_n = n;
    return 0;
}
