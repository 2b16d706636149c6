/* SPDX-License-Identifier: Apache-2.0
 *
 * What librdkafka takes of itself: reads a topic to its end and counts.
 *
 *      consume [-b] SERVERS TOPIC [PROPERTY=VALUE]...
 *
 * As weir does, with a callback a message and the properties of server/source/broker.c; -b: arrays of messages. Says
 * messages=, bytes=, seconds= and cpu_s=, those of the whole process.
 */
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MESSAGES  16384
#define ANSWER_MS 30000

static struct {
    unsigned long long messages, bytes;
    int open; /* partitions whose end is ahead */
    bool failed;
} found;

static void count(rd_kafka_message_t *m, void *unused)
{
    (void)unused;
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        found.open--;
    } else if (m->err) {
        fprintf(stderr, "consume: %s\n", rd_kafka_message_errstr(m));
        found.failed = true;
    } else {
        found.messages++;
        found.bytes += m->len;
    }
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char why[256];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) == RD_KAFKA_CONF_OK)
        return;
    fprintf(stderr, "consume: %s\n", why);
    exit(1);
}

static rd_kafka_t *new_client(const char *servers, char **property)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", servers);
    set(conf, "queued.max.messages.kbytes", "16384");
    set(conf, "queued.min.messages", "1000000");
    set(conf, "fetch.max.bytes", "8388608");
    set(conf, "fetch.message.max.bytes", "262144");
    set(conf, "enable.auto.offset.store", "false");
    set(conf, "enable.auto.commit", "false");
    set(conf, "enable.partition.eof", "true");
    for (char *value; *property; property++)
        if ((value = strchr(*property, '='))) {
            *value = 0;
            set(conf, *property, value + 1);
        }
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    if (!client) {
        fprintf(stderr, "consume: %s\n", why);
        exit(1);
    }
    return client;
}

/* Returns whether there is such a topic. */
static bool start(rd_kafka_t *client, rd_kafka_topic_t *t, rd_kafka_queue_t *q)
{
    const struct rd_kafka_metadata *m;
    rd_kafka_resp_err_t err = rd_kafka_metadata(client, 0, t, &m, ANSWER_MS);
    if (err)
        return false;
    found.open = m->topics[0].partition_cnt;
    rd_kafka_metadata_destroy(m);
    for (int i = 0; i < found.open; i++)
        rd_kafka_consume_start_queue(t, i, RD_KAFKA_OFFSET_BEGINNING, q);
    return found.open > 0;
}

static void read_arrays(rd_kafka_queue_t *q)
{
    static rd_kafka_message_t *message[MESSAGES];
    while (found.open > 0 && !found.failed) {
        ssize_t n = rd_kafka_consume_batch_queue(q, 1, message, MESSAGES);
        for (ssize_t i = 0; i < n; i++) {
            count(message[i], NULL);
            rd_kafka_message_destroy(message[i]);
        }
    }
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
    const bool arrays = argc > 1 && !strcmp(argv[1], "-b");
    argv += arrays ? 2 : 1;
    if (argc < (arrays ? 4 : 3)) {
        fprintf(stderr, "usage: consume [-b] SERVERS TOPIC [PROPERTY=VALUE]...\n");
        return 64;
    }
    const double began_s = now_s();
    rd_kafka_t *client = new_client(argv[0], argv + 2);
    rd_kafka_topic_t *t = rd_kafka_topic_new(client, argv[1], NULL);
    rd_kafka_queue_t *q = rd_kafka_queue_new(client);
    if (!start(client, t, q)) {
        fprintf(stderr, "consume: there is no topic '%s'\n", argv[1]);
        return 1;
    }
    if (arrays)
        read_arrays(q);
    while (found.open > 0 && !found.failed)
        rd_kafka_consume_callback_queue(q, 1000, count, NULL);
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    printf("messages=%llu bytes=%llu seconds=%.3f cpu_s=%.3f\n", found.messages,
           found.bytes, now_s() - began_s,
           seconds_of(r.ru_utime) + seconds_of(r.ru_stime));
    fflush(stdout);
    _exit(found.failed); /* without waiting for brokers */
}
