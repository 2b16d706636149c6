/* SPDX-License-Identifier: Apache-2.0
 *
 * Topics of a broker of MQTT: one lane. A message of QoS 1 is the broker's until it has our receipt, and that is sent only once
 * its events are on disk:
 *
 *      messages that are there -> decoder -> one request -> its ticket -> all their receipts, in one segment
 *
 * so whatever ends, what the broker has no receipt for comes again, from a session that it keeps (clean_session: no). Many
 * messages share one write to the journal: as many as the broker sends without a receipt.
 */
#include "source/mqtt_client.h"
#include "source/pull.h"

#include "base/clock.h"
#include "base/logger.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ROUND_MESSAGES 16384u /* that are handed on together, */
#define ROUND_BYTES    ((size_t)1 << 20)
#define GATHER_MS      1    /* so long one message of QoS 1 waits for the next one, */
#define GATHER_US      5000 /* and the first of them at most */
#define EXPLORE        16   /* rounds */
#define LOOK_MS        1000
#define RETRY_US                                                                       \
    (SECOND_US / 5) /* after a connection was lost; then twice as long, and so on, */
#define RETRY_MAX_US (30 * SECOND_US)
#define STEADY_US                                                                      \
    (10 * SECOND_US) /* a connection that has lasted so long was none that is refused */
#define STOP_GRACE_US (2 * SECOND_US) /* for what is on its way to the disk */
#define TOPIC_MAX                                                                      \
    1000 /* bytes, where columns are made of it: those of a batch fit into one column */
#define LANE "mqtt"

struct mqtt {
    struct pull *pull;
    struct client client;
    struct lane lane;
    int *column; /* of each of config.mqtt.column; -1: it is not there any more */

    struct ticket ticket;
    int wake; /* eventfd: the ticket was told */
    _Atomic bool told;

    uint64_t n; /* messages of this round */
    size_t bytes;
    bool receipts;   /* are waited for by the broker */
    uint64_t window; /* the most that it has sent without one, and */
    unsigned rounds; /* how often that was looked at; of this connection */
    int err;         /* of the first one that could not be decoded */
    char topic[256];

    bool begun;         /* it was connected before */
    bool strange;       /* a topic that was not asked for was told */
    bool exact;         /* a message of QoS 2 was told */
    unsigned turn;      /* of the addresses of the broker */
    char away[512];     /* as it was told last; "" */
    int64_t connect_us; /* when this connection began */
    int64_t retry_us;
};

/* ---- Opening ----------------------------------------------------------------------------------- */

int mqtt_open(struct pull *p, struct error *error)
{
    struct mqtt *m = calloc(1, sizeof(*m));
    if (!m)
        return error_set(error, -ENOMEM, "no memory for MQTT");
    p->mqtt = m;
    m->pull = p;
    mosquitto_lib_init();
    m->retry_us = RETRY_US;
    m->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    m->column = calloc(p->config->mqtt.n_columns + 1, sizeof(*m->column));
    if (m->wake < 0 || !m->column)
        return error_set(error, -ENOMEM, "no memory for MQTT");
    /* What can be said without the broker. */
    int err = mqtt_client_open(&m->client, p->config, p, false, error);
    mqtt_client_close(&m->client);
    if (err == 0)
        error_set(&p->waits, 0, "no broker has answered yet");
    return err;
}

void mqtt_close(struct pull *p)
{
    struct mqtt *m = p->mqtt;
    if (!m)
        return;
    mqtt_client_close(&m->client);
    lane_close(&m->lane);
    if (m->wake >= 0)
        close(m->wake);
    free(m->column);
    free(m);
    p->mqtt = NULL;
    mosquitto_lib_cleanup();
}

/* ---- A message --------------------------------------------------------------------------------- */

static void place_letter(void *mqtt, struct dead_letter *d)
{
    struct mqtt *m = mqtt;
    d->source = m->topic;
}

/* For a dead letter; cut between characters. */
static void note_topic(struct mqtt *m, const char *topic)
{
    size_t size = strnlen(topic, sizeof(m->topic) - 1);
    while (size && topic[size] && ((unsigned char)topic[size] & 0xc0) == 0x80)
        size--;
    memcpy(m->topic, topic, size);
    m->topic[size] = 0;
}

/* Level 1, 2, ... of a topic; 0: all of it. False: it has not as many. */
static bool find_level(const char *topic, unsigned level, const char **ret,
                       size_t *ret_size)
{
    for (unsigned i = 1; i < level; i++) {
        topic = strchr(topic, '/');
        if (!topic)
            return false;
        topic++;
    }
    *ret = topic;
    *ret_size = level ? strcspn(topic, "/") : strlen(topic);
    return true;
}

static int put_columns(struct mqtt *m, struct feed_place from, const char *topic)
{
    const struct config_mqtt *c = &m->pull->config->mqtt;
    int err = 0;
    for (size_t i = 0; err == 0 && i < c->n_columns; i++) {
        const char *text;
        size_t size;
        if (m->column[i] >= 0 && find_level(topic, c->column[i].level, &text, &size))
            err = feed_put_text(&m->lane.feed, from, (size_t)m->column[i], text, size);
    }
    return err;
}

/* It is a body of its own. -ENOSPC, -EFBIG: no batch can hold it. */
static int decode(struct mqtt *m, const struct mosquitto_message *message)
{
    struct lane *l = &m->lane;
    struct feed_place from = feed_end(&l->feed);
    int err = lane_piece(l, message->payload, (size_t)message->payloadlen);
    if (err == 0)
        err = lane_finish(l);
    lane_restart(l, place_letter, m);
    if (err == 0 || err == -EBADMSG) /* the rest could not be read: that was told */
        err = put_columns(m, from, message->topic);
    if (err == -ENOSPC || err == -EFBIG)
        feed_cut(&l->feed, from);
    return err;
}

static void refuse(struct mqtt *m, const struct mosquitto_message *message,
                   const char *why)
{
    struct source_stream *s = m->pull->stream;
    size_t size = (size_t)message->payloadlen;
    struct dead_letter letter = {.stream = s->name,
                                 .received_us = clock_now_us(),
                                 .source = m->topic,
                                 .line = 1,
                                 .column = 1,
                                 .reason = decode_reason_name(DECODE_TOO_LONG),
                                 .message = why,
                                 .record = message->payload,
                                 .record_size = size,
                                 .truncated = size > DECODE_RECORD_KEPT};
    if (letter.truncated)
        letter.record_size = DECODE_RECORD_KEPT;
    metric_add(&s->rejected[DECODE_TOO_LONG], 1);
    if (s->sink.dead)
        s->sink.dead(s->sink.ctx, &letter, 1);
}

/* A session that the broker has kept may have topics of an earlier configuration. */
static bool is_asked_for(struct mqtt *m, const char *topic)
{
    const struct config_source *c = m->pull->config;
    bool found = false;
    for (size_t i = 0; !found && i < c->n_topics; i++) {
        const char *filter = c->topic[i];
        if (!strncmp(filter, "$share/", 7) && strchr(filter + 7, '/'))
            filter = strchr(filter + 7, '/') + 1;
        mosquitto_topic_matches_sub(filter, topic, &found);
    }
    if (!found && !m->strange)
        pull_say(m->pull,
                 "the broker sends messages of '%.200s', which is not asked for: they "
                 "are passed over; its session of client_id '%s' has the topic still",
                 topic, c->mqtt.client_id ? c->mqtt.client_id : "");
    m->strange = m->strange || !found;
    return found;
}

/* Another program has subscribed with our client_id: libmosquitto has the message, and the broker forgets it, before it comes here. */
static void note_exact(struct mqtt *m, const struct mosquitto_message *message)
{
    const char *id = m->pull->config->mqtt.client_id;
    if (message->qos < 2 || m->exact)
        return;
    m->exact = true;
    pull_say(
        m->pull,
        "the broker sends messages of '%.200s' with QoS 2, which was not asked for: "
        "such messages may be lost; its session of client_id '%s' is of another "
        "program, too",
        message->topic, id ? id : "");
}

static void take(void *mqtt, const struct mosquitto_message *message)
{
    struct mqtt *m = mqtt;
    struct pull *p = m->pull;
    const struct config_mqtt *c = &p->config->mqtt;
    m->n++;
    m->bytes += (size_t)message->payloadlen;
    m->receipts = m->receipts || message->qos > 0;
    metric_add(&p->messages, 1);
    note_exact(m, message);
    if (m->err < 0)
        return; /* it comes again, or was lost with those before */
    if (message->payloadlen <= 0 || (message->retain && !c->retained) ||
        !is_asked_for(m, message->topic)) {
        metric_add(&p->passed, 1);
        return;
    }
    note_topic(m, message->topic);
    if ((uint64_t)message->payloadlen > p->stream->max_body)
        refuse(m, message, "the message is longer than max_body");
    else if (c->n_columns && strlen(message->topic) > TOPIC_MAX)
        refuse(m, message, "the topic has more than 1000 bytes");
    else
        m->err = decode(m, message);
    if (m->err != -ENOSPC && m->err != -EFBIG)
        return;
    m->err = 0;
    refuse(m, message, "its events are too long for a batch");
}

/* ---- A round ----------------------------------------------------------------------------------- */

static void on_told(void *mqtt)
{
    struct mqtt *m = mqtt;
    uint64_t one = 1;
    atomic_store_explicit(&m->told, true, memory_order_release); /* the result */
    if (write(m->wake, &one, sizeof(one)) < 0)
        logger_warn("source", "%s", strerror(errno));
}

/* -EINTR: the end came first. */
static int wait_told(struct mqtt *m)
{
    const struct source_sink *sink = &m->pull->stream->sink;
    struct pollfd at = {.fd = m->wake, .events = POLLIN};
    int64_t until_us = INT64_MAX;
    uint64_t count;
    while (!atomic_load_explicit(&m->told, memory_order_acquire)) {
        if (pull_stops(m->pull) && until_us == INT64_MAX)
            until_us = clock_monotonic_us() + STOP_GRACE_US;
        if (clock_monotonic_us() > until_us) {
            sink->cancel(sink->ctx, &m->ticket);
            return -EINTR;
        }
        poll(&at, 1, 100);
    }
    while (read(m->wake, &count, sizeof(count)) > 0)
        ;
    return 0;
}

static void count_anew(struct mqtt *m)
{
    m->n = m->bytes = 0;
    m->receipts = false;
}

/* What was decoded goes to the log, and to disk, if the broker waits for receipts. -EAGAIN with a text: it is not there. */
static int settle(struct mqtt *m, struct error *error)
{
    bool told = m->receipts && m->pull->stream->durable;
    if (m->err < 0)
        return error_set(error, -EAGAIN, "'%s': %s", m->topic, strerror(-m->err));
    count_anew(m);
    m->ticket = (struct ticket){.done = on_told, .ctx = m};
    atomic_store_explicit(&m->told, false, memory_order_relaxed);
    int err = lane_hand_on_told(&m->lane, told ? &m->ticket : NULL);
    if (err < 0 || !told)
        return err;
    err = wait_told(m);
    if (err == 0 && m->ticket.result < 0)
        return error_set(error, -EAGAIN, "what came last is not on disk: %s",
                         strerror(-m->ticket.result));
    return err;
}

/* A body with the fields that the stream has now; -ENOMEM. */
static int begin_body(struct mqtt *m)
{
    const struct config_mqtt *c = &m->pull->config->mqtt;
    int err = lane_begin(&m->lane);
    for (size_t i = 0; err == 0 && i < c->n_columns; i++)
        m->column[i] = schema_find(m->lane.feed.decode->schema, c->column[i].name);
    return err;
}

/* A write to disk has as many messages as can be had: a broker that sends one after the other is waited for, unless it has sent
 * all that it sends without a receipt. Whether that has become more is found out now and then. */
static bool more_comes(const struct mqtt *m, int64_t since_us)
{
    struct pollfd at = {.fd = mqtt_client_socket(&m->client), .events = POLLIN};
    bool full = m->n >= m->window && m->rounds % EXPLORE;
    if (!m->receipts || full || pull_stops(m->pull))
        return false;
    return poll(&at, 1, GATHER_MS) > 0 && clock_monotonic_us() - since_us < GATHER_US;
}

/* What is there now, and the receipts for it. 1: something was; 0; -EAGAIN with a text: the connection is of no use any more;
 * others were said, or it stops. */
static int run_round(struct mqtt *m, struct error *error)
{
    int read, err = lane_is_stale(&m->lane) ? begin_body(m) : 0;
    if (err < 0)
        return error_set(error, -EAGAIN, "%s", strerror(-err));
    int64_t since_us = clock_monotonic_us();
    do {
        read = mqtt_client_read(&m->client, error);
        if (read == 0 && more_comes(m, since_us))
            read = 1;
    } while (read > 0 && m->err == 0 && m->n < ROUND_MESSAGES &&
             m->bytes < ROUND_BYTES);
    m->window = m->n > m->window ? m->n : m->window;
    bool some = m->n > 0;
    m->rounds += some;
    /* Also where the connection is gone: it need not be the broker that has them still. */
    if (some)
        err = settle(m, read < 0 ? NULL : error);
    if (err == 0 && read >= 0)
        err = mqtt_client_write(&m->client, error);
    if (err < 0 && err != -EAGAIN)
        return err;
    return read < 0 ? read : err < 0 ? err : some;
}

/* ---- A connection ------------------------------------------------------------------------------ */

/* Once for each reason, until it is connected again. */
static void say_away(struct mqtt *m, const char *text)
{
    bool same = !strcmp(m->away, text);
    snprintf(m->away, sizeof(m->away), "%s", text);
    if (!m->begun) {
        pull_waits(m->pull, "%s", text);
        return;
    }
    pull_away(m->pull, text);
    if (!same)
        pull_say(m->pull, "%s; tried again until it is connected", text);
}

/* The broker has said something to each topic. */
static void note_begun(struct mqtt *m)
{
    struct pull *p = m->pull;
    if (atomic_load_explicit(&p->connected, memory_order_relaxed) ||
        m->client.granted < p->config->n_topics)
        return;
    atomic_store_explicit(&p->connected, 1, memory_order_relaxed);
    metric_add(&p->connects, 1);
    if (m->begun)
        logger_info("source", "stream '%s': the broker is connected again",
                    p->stream->name);
    const char *complaint = m->client.complaint.text;
    m->begun = true;
    m->away[0] = 0;
    pull_waits(p, "%s", "");
    pull_away(p, complaint);
    if (complaint[0])
        pull_say(p, "%s", complaint);
    lane_behind(&m->lane, false);
}

/* Until it is lost (-EAGAIN with a text), the source has failed, or it stops. */
static int serve(struct mqtt *m, struct error *error)
{
    struct pull *p = m->pull;
    m->client.turn = m->turn;
    int r = mqtt_client_connect(&m->client, error);
    m->turn += r == -EAGAIN;
    m->connect_us = clock_monotonic_us();
    if (r == 0 && m->n) /* messages of the same record of TLS as the answer */
        r = settle(m, error);
    if (r == 0)
        r = mqtt_client_write(&m->client, error); /* the topics */
    while (r >= 0 && !pull_stops(p)) {
        struct pollfd at[2] = {
            {.fd = p->stopper, .events = POLLIN},
            {.fd = mqtt_client_socket(&m->client), .events = POLLIN}};
        if (client_wants_write(&m->client))
            at[1].events |= POLLOUT;
        poll(at, 2, r > 0 ? 0 : LOOK_MS);
        r = run_round(m, error);
        note_begun(m);
    }
    if (r >= 0)
        mqtt_client_leave(&m->client);
    return r;
}

/* One connection, from the files of its secrets on. As serve. */
static int connect_once(struct mqtt *m, struct error *error)
{
    struct client *c = &m->client;
    m->connect_us = INT64_MAX;
    m->window = 0;
    m->rounds = 0;
    m->err = 0;
    count_anew(m);
    int err = begin_body(m);
    if (err < 0)
        return error_set(error, -EAGAIN, "%s", strerror(-err));
    err = mqtt_client_open(c, m->pull->config, m->pull, false, error);
    c->take = take;
    c->ctx = m;
    err = err < 0 ? -EAGAIN : serve(m, error);
    mqtt_client_close(c);
    atomic_store_explicit(&m->pull->connected, 0, memory_order_relaxed);
    return err;
}

/* The log hears of it before anything is read: it is not silent. */
static int open_lane(struct mqtt *m)
{
    char *bookmark = NULL;
    struct pull *p = m->pull;
    int err;
    while ((err = lane_open(&m->lane, p, LANE, p->config->format, &bookmark)) ==
               -ENOMEM &&
           !pull_stops(p)) {
        lane_close(&m->lane);
        pull_wait(p, -1, NO_MEMORY_US / 1000);
    }
    free(bookmark);
    if (err < 0)
        return pull_fail(p, err, "'%s': %s", LANE, strerror(-err));
    lane_behind(&m->lane, true);
    return lane_hand_on(&m->lane, LANE);
}

void mqtt_run(struct pull *p)
{
    struct mqtt *m = p->mqtt;
    int err = open_lane(m);
    while (err == 0 && !pull_stops(p)) {
        struct error error = {0};
        err = connect_once(m, &error);
        if (err >= 0 || pull_stops(p))
            break;
        if (err != -EAGAIN)
            break; /* it was said */
        err = 0;
        lane_behind(&m->lane, true);
        say_away(m, error.text);
        if (clock_monotonic_us() - m->connect_us > STEADY_US)
            m->retry_us = RETRY_US;
        pull_wait(p, -1, (int)(m->retry_us / 1000));
        m->retry_us = m->retry_us * 2 < RETRY_MAX_US ? m->retry_us * 2 : RETRY_MAX_US;
    }
    lane_behind(&m->lane,
                true); /* also after a failure: what is not read holds windows open */
}

/* ---- weir doctor ------------------------------------------------------------------------------- */

/* One address. *ret_more: there are others behind it. */
static int try_turn(const struct config_source *config, unsigned turn, bool *ret_more,
                    struct error *error)
{
    struct client c;
    int err = mqtt_client_open(&c, config, NULL, true, error);
    c.turn = turn;
    if (err == 0)
        err = mqtt_client_connect(&c, error);
    if (err == 0)
        mqtt_client_leave(&c);
    *ret_more = turn + 1 < c.addresses;
    mqtt_client_close(&c);
    return err;
}

int mqtt_try(const struct config_source *config, struct error *error)
{
    bool more;
    unsigned turn = 0;
    mosquitto_lib_init();
    int err;
    while ((err = try_turn(config, turn, &more, error)) == -EAGAIN && more)
        turn++;
    mosquitto_lib_cleanup();
    return err;
}
