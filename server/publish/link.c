/* SPDX-License-Identifier: Apache-2.0
 *
 * The connection to Kafka: a producer with transactions, and a consumer that only asks for offsets. The producer's name is made of that
 * of the database, so that a server that begins ends what another has under way, and lets it publish nothing more. Offsets of
 * partition 0 of a topic, of the group of the same name, are numbers of changes; their metadata says of which numbering, and by
 * whom.
 */
#include "base/clock.h"
#include "publish/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_MS    2000
#define STOP_US   (2 * SECOND_US) /* that a commit under way has once the server ends */
#define FULL_MS   50
#define ABORT_MS  1000
#define PLACE_MAX 128

/* ---- Errors ------------------------------------------------------------------------------------ */

static bool is_fenced(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__FENCED ||
           code == RD_KAFKA_RESP_ERR_PRODUCER_FENCED ||
           code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
}

static bool is_silence(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__TIMED_OUT ||
           code == RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE ||
           code == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT ||
           code == RD_KAFKA_RESP_ERR__TRANSPORT ||
           code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
           code == RD_KAFKA_RESP_ERR__WAIT_COORD ||
           code == RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT ||
           code == RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE ||
           code == RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
}

static int fail(struct link *l, rd_kafka_resp_err_t code, const char *text,
                struct error *error)
{
    char fatal[256];
    rd_kafka_resp_err_t why =
        rd_kafka_fatal_error(l->producer->client, fatal, sizeof(fatal));
    if (is_fenced(code) || is_fenced(why))
        return error_set(error, -ESTALE, "another server has taken its place");
    if (!is_silence(code))
        return error_set(error, -EINVAL, "%s", why ? fatal : text);
    broker_listen(l->producer);
    return error_set(error, -EAGAIN, "%s",
                     l->producer->why[0] ? l->producer->why : text);
}

static int insist(struct link *l, rd_kafka_error_t *(*call)(struct link *l, void *ctx),
                  void *ctx, struct error *error);

static rd_kafka_error_t *call_abort(struct link *l, void *ctx)
{
    (void)ctx;
    return rd_kafka_abort_transaction(l->producer->client, PUBLISH_SLICE_MS);
}

/* What a broker does not take is given up; the connection goes on with the next transaction. */
static int refuse(struct link *l, const rd_kafka_error_t *e, struct error *error)
{
    struct error own = {""};
    const int err = insist(l, call_abort, NULL, &own);
    return err ? error_set(error, err, "%s", own.text)
               : error_set(error, -EBADMSG, "a broker refuses it: %s",
                           rd_kafka_error_string(e));
}

static bool is_refused(struct link *l, const rd_kafka_error_t *e)
{
    return rd_kafka_error_txn_requires_abort(e) &&
           !is_silence(rd_kafka_error_code(e)) && !is_fenced(rd_kafka_error_code(e)) &&
           !rd_kafka_fatal_error(l->producer->client, NULL, 0);
}

/* What takes its time is called again and again, so that the end need not wait for it. */
static int insist(struct link *l, rd_kafka_error_t *(*call)(struct link *l, void *ctx),
                  void *ctx, struct error *error)
{
    int64_t until_us = clock_monotonic_us() + l->timeout_us;
    bool stopping = false;
    rd_kafka_error_t *e;
    while ((e = call(l, ctx)) && rd_kafka_error_is_retriable(e) &&
           clock_monotonic_us() < until_us) {
        broker_listen(l->producer);
        if (!stopping && l->stop(l->ctx)) {
            stopping = true;
            until_us = clock_monotonic_us() + STOP_US;
        }
        if (rd_kafka_error_code(e) != RD_KAFKA_RESP_ERR__TIMED_OUT)
            clock_sleep_us(FULL_MS * 1000);
        rd_kafka_error_destroy(e);
    }
    if (!e)
        return 0;
    int err = stopping ? -ECANCELED
              : call != call_abort && is_refused(l, e)
                  ? refuse(l, e, error)
                  : fail(l, rd_kafka_error_code(e), rd_kafka_error_string(e), error);
    rd_kafka_error_destroy(e);
    return err;
}

/* ---- Opening ----------------------------------------------------------------------------------- */

static rd_kafka_error_t *call_init(struct link *l, void *ctx)
{
    (void)ctx;
    return rd_kafka_init_transactions(l->producer->client, PUBLISH_SLICE_MS);
}

static int open_both(struct link *l, const struct config_kafka *config,
                     const char *name, struct error *error)
{
    const struct broker_option asker[] = {
        {"group.id", name},
        {"isolation.level", "read_committed"}, /* offsets, too */
        {"enable.auto.commit", "false"},
    };
    const struct broker_option producer[] = {{"transactional.id", name}};
    int err = broker_open_as(RD_KAFKA_CONSUMER, &config->link, asker,
                             sizeof(asker) / sizeof(asker[0]), &l->asker, error);
    return err ? err
               : broker_open_as(RD_KAFKA_PRODUCER, &config->link, producer,
                                sizeof(producer) / sizeof(producer[0]), &l->producer,
                                error);
}

int link_open(struct link *l, const struct config_kafka *config, const char *database,
              struct error *error)
{
    char name[CARRIED_ID + 8];
    snprintf(name, sizeof(name), "weir-%s", database);
    l->timeout_us = config->target.timeout_us;
    l->shard = config->shard;
    int err = open_both(l, config, name, error);
    if (!err && !(l->group = rd_kafka_consumer_group_metadata_new(name)))
        err = error_set(error, -ENOMEM, "out of memory");
    if (err)
        link_close(l);
    return err;
}

int link_take(struct link *l, struct error *error)
{
    return insist(l, call_init, NULL, error);
}

/* librdkafka falls over answers to a transaction that it does not expect any more, so it is told. Who begins next ends what the brokers
 * have, whatever comes of this. */
static void give_up(rd_kafka_t *client)
{
    rd_kafka_error_t *e = rd_kafka_abort_transaction(client, ABORT_MS);
    if (e)
        rd_kafka_error_destroy(e); /* there is none, too */
    rd_kafka_purge(client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
}

void link_close(struct link *l)
{
    if (l->group)
        rd_kafka_consumer_group_metadata_destroy(l->group);
    if (l->producer)
        give_up(l->producer->client);
    broker_close(l->producer);
    broker_close(l->asker);
    l->group = NULL;
    l->producer = l->asker = NULL;
}

void link_listen(struct link *l)
{
    if (!l->producer)
        return;
    broker_listen(l->producer);
    broker_listen(l->asker);
}

/* ---- Asking ------------------------------------------------------------------------------------ */

int link_topic(struct link *l, const char *topic, int32_t *ret_partitions,
               struct error *error)
{
    const struct rd_kafka_metadata *m;
    rd_kafka_topic_t *t = rd_kafka_topic_new(l->producer->client, topic, NULL);
    if (!t)
        return error_set(error, -ENOENT, "topic '%s': %s", topic,
                         rd_kafka_err2str(rd_kafka_last_error()));
    rd_kafka_resp_err_t code = rd_kafka_metadata(l->producer->client, 0, t, &m, ASK_MS);
    rd_kafka_topic_destroy(t);
    broker_listen(l->producer);
    if (code)
        return error_set(error, -EAGAIN, "%s",
                         l->producer->why[0] ? l->producer->why
                                             : rd_kafka_err2str(code));
    code = m->topic_cnt ? m->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    const int32_t n = code ? 0 : m->topics[0].partition_cnt;
    rd_kafka_metadata_destroy(m);
    if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        return error_set(error, -ENOENT, "there is no topic '%s'", topic);
    if (code)
        return error_set(error, -ENOENT, "topic '%s': %s", topic,
                         rd_kafka_err2str(code));
    *ret_partitions = n;
    return 0;
}

static int read_place(const rd_kafka_topic_partition_t *at, struct link_place *ret,
                      struct error *error)
{
    char text[PLACE_MAX] = "";
    int end = 0;
    *ret = (struct link_place){.there = at->offset >= 0, .position = at->offset};
    if (!ret->there)
        return 0;
    if (at->metadata && at->metadata_size < sizeof(text))
        memcpy(text, at->metadata, at->metadata_size);
    if (sscanf(text, "since=%" SCNd64 " writer=%32[0-9a-f]%n", &ret->since_us,
               ret->writer, &end) != 2 ||
        text[end])
        return error_set(error, -EINVAL, "its place there is none of weir's: '%.100s'",
                         text);
    return 0;
}

int link_place(struct link *l, const char *topic, struct link_place *ret,
               struct error *error)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *at = rd_kafka_topic_partition_list_add(list, topic, 0);
    rd_kafka_resp_err_t code = rd_kafka_committed(l->asker->client, list, ASK_MS);
    broker_listen(l->asker);
    if (!code)
        code = at->err;
    int err = code ? error_set(error, is_silence(code) ? -EAGAIN : -EINVAL,
                               "its place there cannot be asked for: %s",
                               rd_kafka_err2str(code))
                   : read_place(at, ret, error);
    rd_kafka_topic_partition_list_destroy(list);
    return err;
}

/* ---- A transaction ----------------------------------------------------------------------------- */

int link_begin(struct link *l, struct error *error)
{
    rd_kafka_error_t *e = rd_kafka_begin_transaction(l->producer->client);
    if (!e)
        return 0;
    int err = fail(l, rd_kafka_error_code(e), rd_kafka_error_string(e), error);
    rd_kafka_error_destroy(e);
    return err;
}

static rd_kafka_error_t *call_commit(struct link *l, void *ctx)
{
    (void)ctx;
    return rd_kafka_commit_transaction(l->producer->client, PUBLISH_SLICE_MS);
}

static int meet_refusal(struct link *l, struct error *error)
{
    int err = insist(l, call_commit, NULL, error);
    return err ? err : error_set(error, -EINVAL, "a message was not taken");
}

/* Headers become the message's, where it is taken. */
static rd_kafka_headers_t *make_headers(const struct link *l,
                                        const struct link_message *m)
{
    rd_kafka_headers_t *h = rd_kafka_headers_new(4);
    char text[24];
    rd_kafka_header_add(h, "weir-op", -1, m->op, -1);
    snprintf(text, sizeof(text), "%" PRId64, m->is);
    rd_kafka_header_add(h, m->number, -1, text, -1);
    snprintf(text, sizeof(text), "%" PRId64, m->since_us);
    if (m->since_us)
        rd_kafka_header_add(h, "weir-since", -1, text, -1);
    if (l->shard)
        rd_kafka_header_add(h, "weir-shard", -1, l->shard, -1);
    return h;
}

static rd_kafka_resp_err_t produce(struct link *l, const struct link_message *m)
{
    rd_kafka_headers_t *headers = make_headers(l, m);
    rd_kafka_resp_err_t code = rd_kafka_producev(
        l->producer->client, RD_KAFKA_V_TOPIC(m->topic),
        RD_KAFKA_V_PARTITION(m->partition), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_KEY(m->key->data, m->key->size),
        RD_KAFKA_V_VALUE(m->value->data, m->value->size), RD_KAFKA_V_HEADERS(headers),
        RD_KAFKA_V_END);
    if (code)
        rd_kafka_headers_destroy(headers);
    return code;
}

int link_send(struct link *l, const struct link_message *m, struct error *error)
{
    int64_t until_us = clock_monotonic_us() + l->timeout_us;
    for (;;) {
        rd_kafka_resp_err_t code = produce(l, m);
        if (!code)
            return 0;
        if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
            return error_set(error, -EMSGSIZE,
                             "a row of %zu bytes, with its key, is longer than "
                             "'message.max.bytes'",
                             m->key->size + m->value->size);
        if (code ==
            RD_KAFKA_RESP_ERR__STATE) /* what was sent before was refused: why? */
            return meet_refusal(l, error);
        if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL || clock_monotonic_us() >= until_us)
            return fail(l, code, rd_kafka_err2str(code), error);
        if (l->stop(l->ctx))
            return -ECANCELED;
        rd_kafka_poll(l->producer->client, FULL_MS);
    }
}

int link_drop(struct link *l, struct error *error)
{
    return insist(l, call_abort, NULL, error);
}

struct offsets {
    rd_kafka_topic_partition_list_t *list;
};

static rd_kafka_error_t *call_offsets(struct link *l, void *ctx)
{
    struct offsets *o = ctx;
    return rd_kafka_send_offsets_to_transaction(l->producer->client, o->list, l->group,
                                                PUBLISH_SLICE_MS);
}

/* The list frees the metadata. */
static int put_place(struct offsets *o, const char *topic,
                     const struct link_place *place)
{
    char text[PLACE_MAX];
    int size = snprintf(text, sizeof(text), "since=%" PRId64 " writer=%s",
                        place->since_us, place->writer);
    o->list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *at =
        rd_kafka_topic_partition_list_add(o->list, topic, 0);
    at->offset = place->position;
    at->metadata = strdup(text);
    at->metadata_size = at->metadata ? (size_t)size : 0;
    return at->metadata ? 0 : -ENOMEM;
}

int link_commit(struct link *l, const char *topic, const struct link_place *place,
                struct error *error)
{
    struct offsets o;
    int err = put_place(&o, topic, place);
    if (err)
        error_set(error, err, "out of memory");
    if (!err)
        err = insist(l, call_offsets, &o, error);
    rd_kafka_topic_partition_list_destroy(o.list);
    return err ? err : insist(l, call_commit, NULL, error);
}

/* ---- weir doctor ------------------------------------------------------------------------------- */

int publish_try(const struct config_kafka *config, char ret_text[256],
                struct error *error)
{
    struct broker *b = NULL;
    const struct rd_kafka_metadata *m;
    int err = broker_open_as(RD_KAFKA_PRODUCER, &config->link, NULL, 0, &b, error);
    if (err)
        return err;
    rd_kafka_resp_err_t code = rd_kafka_metadata(b->client, 0, NULL, &m, 2 * ASK_MS);
    broker_listen(b);
    if (code) {
        err = error_set(error, -EAGAIN, "%s",
                        b->why[0] ? b->why : rd_kafka_err2str(code));
    } else {
        snprintf(ret_text, 256, "Kafka answers, with %d brokers", m->broker_cnt);
        rd_kafka_metadata_destroy(m);
    }
    broker_close(b);
    return err;
}
