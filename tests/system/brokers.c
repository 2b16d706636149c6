/* SPDX-License-Identifier: Apache-2.0
 *
 * A Kafka for tests: brokers of librdkafka's mock cluster in a process of their own, and a producer. Commands come as lines, each is
 * answered with one, "ok ..." or "error ...":
 *
 *      brokers N             N brokers are started; says where
 *      at HOST:PORT          or real ones are used
 *      topic NAME PARTITIONS
 *      grow NAME PARTITIONS  it has so many (real brokers only)
 *      cut NAME PARTITION OFFSET               messages before it are removed (real brokers only)
 *      send NAME PARTITION TIME_MS SIZE        and SIZE bytes: a message; TIME_MS 0: now
 *      nothing NAME PARTITION KEY              a message with a key, and null
 *      codec NAME            how messages are compressed from now on: none, gzip, snappy, lz4 (as at first), zstd
 *      undo NAME PARTITION TEXT                a message in a transaction that is given up (real brokers only)
 *      events NAME PARTITIONS EACH PATH        the lines of a file, EACH of them a message, to partitions in turn
 *      read NAME             what those who read committed messages only find there: their number, and so many lines: partition,
 *                            weir-op, weir-seq (of a watermark: weir-watermark), weir-shard, key, value, with tabs between
 *      flush                 all is with the brokers
 *      down N, up N          connections to a broker are closed and refused; or no more
 *      slow N MS             answers of a broker take so long
 *      committed GROUP NAME PARTITION
 *      refuse NAME CODE      whoever asks for this topic is told of an error; 0: no more
 *      fail KEY CODE TIMES   so many requests of this API key are answered with an error; TIMES 0: no more
 */
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLUSH_MS 120000

static rd_kafka_t *producer;
static rd_kafka_mock_cluster_t *cluster;
static char servers[256];
static char codec[16] = "lz4";
static unsigned long failed; /* messages that were not delivered */

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

static void say_result(rd_kafka_resp_err_t err)
{
    if (err)
        say("error %s", rd_kafka_err2str(err));
    else
        say("ok");
}

static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *ctx)
{
    (void)rk, (void)ctx;
    failed += m->err != 0;
}

static rd_kafka_t *new_client(void)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (servers[0])
        rd_kafka_conf_set(conf, "bootstrap.servers", servers, why, sizeof(why));
    rd_kafka_conf_set(conf, "log_level", "0", why, sizeof(why));
    rd_kafka_conf_set(conf, "linger.ms", "5", why, sizeof(why));
    rd_kafka_conf_set(conf, "queue.buffering.max.messages", "1000000", why,
                      sizeof(why));
    rd_kafka_conf_set(conf, "message.max.bytes", "20000000", why, sizeof(why));
    rd_kafka_conf_set(conf, "compression.codec", codec, why, sizeof(why));
    if (!cluster && servers[0]) /* what is sent again is there once */
        rd_kafka_conf_set(conf, "enable.idempotence", "true", why, sizeof(why));
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    if (!rk) {
        say("error %s", why);
        exit(1);
    }
    return rk;
}

static void produce(const char *topic, int partition, long long time_ms,
                    const void *bytes, size_t size)
{
    rd_kafka_resp_err_t err;
    while ((err = rd_kafka_producev(
                producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
                RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                RD_KAFKA_V_VALUE((void *)(size ? bytes : NULL), size),
                RD_KAFKA_V_TIMESTAMP(time_ms), RD_KAFKA_V_END)) ==
           RD_KAFKA_RESP_ERR__QUEUE_FULL)
        rd_kafka_poll(producer, 100);
    failed += err != 0;
}

static void send_events(const char *topic, int partitions, long each, const char *path)
{
    FILE *f = fopen(path, "re");
    char *line = NULL, *message = NULL;
    size_t room = 0, size = 0, message_room = 0;
    long lines = 0, sent = 0;
    ssize_t n;
    if (!f) {
        say("error %s: %s", path, strerror(errno));
        return;
    }
    while ((n = getline(&line, &room, f)) > 0 || size) {
        if (n > 0 && size + (size_t)n > message_room) {
            message_room = 2 * (size + (size_t)n);
            message = realloc(message, message_room);
            if (!message)
                abort();
        }
        if (n > 0)
            memcpy(message + size, line, (size_t)n);
        size += n > 0 ? (size_t)n : 0;
        if (++lines % each == 0 || n <= 0) {
            /* One event a message has no line feed, as producers send it. */
            produce(topic, (int)(sent++ % partitions), 0, message,
                    each == 1 ? size - 1 : size);
            size = 0;
            rd_kafka_poll(producer, 0);
        }
        if (n <= 0)
            break;
    }
    free(line);
    free(message);
    fclose(f);
    say("ok %ld", sent);
}

static void do_send(const char *rest)
{
    char topic[256];
    int partition;
    long long time_ms;
    size_t size;
    if (sscanf(rest, "%255s %d %lld %zu", topic, &partition, &time_ms, &size) != 4) {
        say("error send NAME PARTITION TIME_MS SIZE");
        return;
    }
    char *bytes = malloc(size + 1);
    if (!bytes || fread(bytes, 1, size, stdin) != size)
        exit(1);
    produce(topic, partition, time_ms, bytes, size);
    free(bytes);
    say("ok");
}

/* The producer learns of partitions that are new. */
static void wait_partitions(const char *topic, int n)
{
    rd_kafka_topic_t *t = rd_kafka_topic_new(producer, topic, NULL);
    const struct rd_kafka_metadata *m;
    for (int found = 0; found != n;) {
        if (rd_kafka_metadata(producer, 0, t, &m, FLUSH_MS))
            break;
        found = m->topics[0].partition_cnt;
        rd_kafka_metadata_destroy(m);
    }
    rd_kafka_topic_destroy(t);
}

static void send_nothing(const char *topic, int partition, const char *key)
{
    rd_kafka_resp_err_t err = rd_kafka_producev(
        producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key, strlen(key)),
        RD_KAFKA_V_VALUE(NULL, 0), RD_KAFKA_V_END);
    say_result(err ? err : rd_kafka_flush(producer, FLUSH_MS));
}

/* Waits for what real brokers answer. */
static void administer(void (*call)(rd_kafka_queue_t *, const char *, int, long long),
                       const char *topic, int n, long long offset)
{
    rd_kafka_queue_t *q = rd_kafka_queue_new(producer);
    call(q, topic, n, offset);
    rd_kafka_event_t *e = rd_kafka_queue_poll(q, FLUSH_MS);
    rd_kafka_resp_err_t err =
        e ? rd_kafka_event_error(e) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    const rd_kafka_topic_result_t **result = NULL;
    size_t results = 0;
    if (!err && rd_kafka_event_type(e) == RD_KAFKA_EVENT_CREATETOPICS_RESULT)
        result = rd_kafka_CreateTopics_result_topics(
            rd_kafka_event_CreateTopics_result(e), &results);
    if (!err && rd_kafka_event_type(e) == RD_KAFKA_EVENT_CREATEPARTITIONS_RESULT)
        result = rd_kafka_CreatePartitions_result_topics(
            rd_kafka_event_CreatePartitions_result(e), &results);
    if (results)
        err = rd_kafka_topic_result_error(result[0]);
    if (!err && results)
        wait_partitions(topic, n);
    say_result(err);
    if (e)
        rd_kafka_event_destroy(e);
    rd_kafka_queue_destroy(q);
}

static void create(rd_kafka_queue_t *q, const char *topic, int n, long long unused)
{
    char why[256];
    (void)unused;
    rd_kafka_NewTopic_t *new = rd_kafka_NewTopic_new(topic, n, -1, why, sizeof(why));
    rd_kafka_CreateTopics(producer, &new, 1, NULL, q);
    rd_kafka_NewTopic_destroy(new);
}

static void grow(rd_kafka_queue_t *q, const char *topic, int n, long long unused)
{
    char why[256];
    (void)unused;
    rd_kafka_NewPartitions_t *new =
        rd_kafka_NewPartitions_new(topic, (size_t)n, why, sizeof(why));
    rd_kafka_CreatePartitions(producer, &new, 1, NULL, q);
    rd_kafka_NewPartitions_destroy(new);
}

static void cut(rd_kafka_queue_t *q, const char *topic, int partition, long long offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = offset;
    rd_kafka_DeleteRecords_t *before = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(producer, &before, 1, NULL, q);
    rd_kafka_DeleteRecords_destroy(before);
    rd_kafka_topic_partition_list_destroy(list);
}

static void say_committed(const char *group, const char *topic, int partition)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", servers, why, sizeof(why));
    rd_kafka_conf_set(conf, "group.id", group, why, sizeof(why));
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition);
    rd_kafka_resp_err_t err = rd_kafka_committed(rk, list, FLUSH_MS);
    if (err)
        say_result(err);
    else
        say("ok %lld", (long long)list->elems[0].offset);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
}

static const char *header_of(const rd_kafka_message_t *m, const char *name)
{
    rd_kafka_headers_t *headers;
    const void *value;
    size_t size;
    if (rd_kafka_message_headers(m, &headers) ||
        rd_kafka_header_get_last(headers, name, &value, &size))
        return "";
    return value; /* librdkafka ends it with a zero */
}

/* Of all partitions, each from its beginning to its end. */
static rd_kafka_resp_err_t read_to_end(rd_kafka_t *rk, int partitions, FILE *out,
                                       long *ret_n)
{
    for (int at_end = 0; at_end < partitions;) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, FLUSH_MS);
        if (!m)
            return RD_KAFKA_RESP_ERR__TIMED_OUT;
        at_end += m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
        if (!m->err) {
            fprintf(out, "%d\t%s\t%s\t%s\t%.*s\t%.*s\n", (int)m->partition,
                    header_of(m, "weir-op"),
                    header_of(m, strcmp(header_of(m, "weir-op"), "watermark")
                                     ? "weir-seq"
                                     : "weir-watermark"),
                    header_of(m, "weir-shard"), (int)m->key_len, (const char *)m->key,
                    (int)m->len, (const char *)m->payload);
            ++*ret_n;
        }
        rd_kafka_message_destroy(m);
    }
    return 0;
}

static void read_all(const char *topic)
{
    char why[256], *text = NULL;
    size_t size = 0;
    long n = 0;
    const struct rd_kafka_metadata *m;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", servers, why, sizeof(why));
    rd_kafka_conf_set(conf, "group.id", "weir-test-reader", why, sizeof(why));
    rd_kafka_conf_set(conf, "isolation.level", "read_committed", why, sizeof(why));
    rd_kafka_conf_set(conf, "enable.partition.eof", "true", why, sizeof(why));
    rd_kafka_conf_set(conf, "enable.auto.commit", "false", why, sizeof(why));
    rd_kafka_conf_set(conf, "log_level", "0", why, sizeof(why));
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    rd_kafka_topic_t *t = rd_kafka_topic_new(rk, topic, NULL);
    rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 0, t, &m, FLUSH_MS);
    FILE *out = open_memstream(&text, &size);
    if (!err && out) {
        const int partitions = m->topics[0].partition_cnt;
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
        for (int i = 0; i < partitions; i++)
            rd_kafka_topic_partition_list_add(list, topic, i)->offset =
                RD_KAFKA_OFFSET_BEGINNING;
        rd_kafka_poll_set_consumer(rk);
        rd_kafka_assign(rk, list);
        err = read_to_end(rk, partitions, out, &n);
        rd_kafka_topic_partition_list_destroy(list);
        rd_kafka_metadata_destroy(m);
    }
    if (out)
        fclose(out);
    if (err) {
        say_result(err);
    } else {
        printf("ok %ld\n%s", n, text ? text : "");
        fflush(stdout);
    }
    free(text);
    rd_kafka_topic_destroy(t);
    rd_kafka_destroy(rk);
}

/* Leaves messages that nobody is given, and a mark behind them. */
static void undo(const char *topic, int partition, const char *text)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", servers, why, sizeof(why));
    rd_kafka_conf_set(conf, "transactional.id", "weir-test", why, sizeof(why));
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    rd_kafka_error_t *error = rd_kafka_init_transactions(rk, FLUSH_MS);
    if (!error)
        error = rd_kafka_begin_transaction(rk);
    if (!error)
        rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                          RD_KAFKA_V_VALUE((void *)text, strlen(text)), RD_KAFKA_V_END);
    if (!error)
        rd_kafka_flush(rk, FLUSH_MS);
    if (!error)
        error = rd_kafka_abort_transaction(rk, FLUSH_MS);
    say("%s", error ? rd_kafka_error_string(error) : "ok");
    if (error)
        rd_kafka_error_destroy(error);
    rd_kafka_destroy(rk);
}

static void do_line(const char *line)
{
    char name[256], path[4096];
    int n, code, times;
    long each;
    if (sscanf(line, "brokers %d", &n) == 1) {
        cluster = rd_kafka_mock_cluster_new(new_client(), n);
        snprintf(servers, sizeof(servers), "%s",
                 rd_kafka_mock_cluster_bootstraps(cluster));
        producer = new_client();
        say("ok %s", servers);
    } else if (sscanf(line, "at %255s", servers) == 1) {
        producer = new_client();
        say("ok %s", servers);
    } else if (sscanf(line, "topic %255s %d", name, &n) == 2) {
        if (cluster)
            say_result(rd_kafka_mock_topic_create(cluster, name, n, 1));
        else
            administer(create, name, n, 0);
    } else if (sscanf(line, "grow %255s %d", name, &n) == 2) {
        administer(grow, name, n, 0);
    } else if (sscanf(line, "cut %255s %d %ld", name, &n, &each) == 3) {
        administer(cut, name, n, each);
    } else if (sscanf(line, "nothing %255s %d %4095s", name, &n, path) == 3) {
        send_nothing(name, n, path);
    } else if (sscanf(line, "codec %15s", codec) == 1) {
        rd_kafka_flush(producer, FLUSH_MS);
        rd_kafka_destroy(producer);
        producer = new_client();
        say("ok");
    } else if (!strncmp(line, "send ", 5)) {
        do_send(line + 5);
    } else if (sscanf(line, "events %255s %d %ld %4095s", name, &n, &each, path) == 4) {
        send_events(name, n, each, path);
    } else if (sscanf(line, "undo %255s %d %4095[^\n]", name, &n, path) == 3) {
        undo(name, n, path);
    } else if (sscanf(line, "committed %255s %4095s %d", name, path, &n) == 3) {
        say_committed(name, path, n);
    } else if (sscanf(line, "read %255s", name) == 1) {
        read_all(name);
    } else if (!strcmp(line, "flush")) {
        rd_kafka_resp_err_t err = rd_kafka_flush(producer, FLUSH_MS);
        if (!err && failed)
            say("error %lu messages were not delivered", failed);
        else
            say_result(err);
    } else if (sscanf(line, "down %d", &n) == 1) {
        say_result(rd_kafka_mock_broker_set_down(cluster, n));
    } else if (sscanf(line, "up %d", &n) == 1) {
        say_result(rd_kafka_mock_broker_set_up(cluster, n));
    } else if (sscanf(line, "slow %d %d", &n, &times) == 2) {
        say_result(rd_kafka_mock_broker_set_rtt(cluster, n, times));
    } else if (sscanf(line, "refuse %255s %d", name, &code) == 2) {
        rd_kafka_mock_topic_set_error(cluster, name, (rd_kafka_resp_err_t)code);
        say("ok");
    } else if (sscanf(line, "fail %d %d %d", &n, &code, &times) == 3) {
        if (times == 0)
            rd_kafka_mock_clear_request_errors(cluster, (int16_t)n);
        for (; times > 0; times--)
            rd_kafka_mock_push_request_errors(cluster, (int16_t)n, 1,
                                              (rd_kafka_resp_err_t)code);
        say("ok");
    } else {
        say("error unknown command: %s", line);
    }
}

int main(void)
{
    char line[8192];
    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = 0;
        do_line(line);
    }
    return 0; /* without waiting for brokers: the process is the cluster */
}
