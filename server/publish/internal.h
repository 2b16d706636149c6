/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the publisher share, beside target/kind.h.
 */
#ifndef WEIR_PUBLISH_INTERNAL_H
#define WEIR_PUBLISH_INTERNAL_H

#include "base/buffer.h"
#include "publish/publish.h"
#include "source/broker.h"
#include "target/kind.h"

#define PUBLISH_TELL_US  100000 /* between two watermarks of a table */
#define PUBLISH_SLICE_MS 200    /* the longest that the end waits for librdkafka */

/* What a transaction has published. */
struct publish_piece {
    int64_t last; /* number of its last change */
    size_t rows, gone;
    bool all;             /* there is nothing behind it */
    int64_t watermark_us; /* INT64_MIN: none */
    int64_t tells_us; /* what is to be told of it behind the rows; INT64_MIN: nothing */
};

struct published {
    struct target_table base;
    char *topic;
    size_t n_keys;      /* columns of the messages' keys, behind column 0 */
    bool sign;          /* its place is to be put there, with the name of this run */
    int32_t partitions; /* of the topic, as it was looked at */
    int64_t
        told_us; /* by the last watermark that is there; INT64_MIN: none of this connection */
    int64_t tell_us; /* when the next one may be (clock_monotonic_us) */
    sqlite3_stmt *changes;
};

/* The connection. */
struct link {
    struct broker *producer, *asker; /* NULL: there is none */
    rd_kafka_consumer_group_metadata_t *group;
    const char
        *shard; /* of the settings: said with each message; NULL: of one server */
    int64_t timeout_us;
    bool (*stop)(void *ctx);
    void *ctx;
};

/* Where a table is, as Kafka has it. */
struct link_place {
    bool there;
    int64_t position, since_us;
    char writer[CARRIED_ID];
};

struct publisher {
    struct target base;
    const struct config_kafka *config; /* of the set */
    struct link link;
    struct buffer key, value;
    bool
        superseded; /* another producer has begun: who has the tables is asked before ours does */
};

/* topics.c */
int topics_check(const struct config *config, const struct pipeline *p,
                 const struct table *t, struct error *error);
int topics_new(const struct config *config, struct target_table *table,
               struct error *error);
void topics_free(struct target_table *table);

/* messages.c: sends the next changes, as messages of a transaction that it begins if there are any. 1: there are none. */
int messages_send(struct publisher *p, struct published *k, struct publish_piece *ret,
                  struct error *error);

/* watermarks.c: behind the rows of all windows that have ended, to each partition, where `watermarks` wants it. */
/* Before this no row's window begins that is still to come, by what the pipeline's watermark is. INT64_MIN: nobody knows. */
int64_t watermarks_begin(const struct published *k, int64_t watermark_us);
/* In a transaction. */
int watermarks_send(struct publisher *p, const struct published *k, int64_t us,
                    struct error *error);

/* link.c. Open waits for nobody; take ends what another producer of the database has under way. Whatever fails but link_topic and link_place: the connection is to be closed, which gives up the transaction. But -EBADMSG: a broker has refused what was sent, and the transaction was given up. -EAGAIN: nobody
 * answers; -EINVAL: it is refused; -ESTALE: another producer of that name has begun; -ECANCELED: the end. */
int link_open(struct link *l, const struct config_kafka *config, const char *database,
              struct error *error);
int link_take(struct link *l, struct error *error);
void link_close(struct link *l);
void link_listen(struct link *l);
/* Can it be sent to, and how many partitions has it? -ENOENT: not now, with why. */
int link_topic(struct link *l, const char *topic, int32_t *ret_partitions,
               struct error *error);
int link_place(struct link *l, const char *topic, struct link_place *ret,
               struct error *error);
int link_begin(struct link *l, struct error *error);
/* Of a transaction that nothing was sent in; brokers are not asked. */
int link_drop(struct link *l, struct error *error);
/* A message. -EMSGSIZE: it is too long, and the transaction goes on without it. */
struct link_message {
    const char *topic;
    int32_t partition; /* RD_KAFKA_PARTITION_UA: by the key */
    const struct buffer *key, *value;
    const char *op;       /* "put", "delete", "watermark" */
    const char *number;   /* the header that says which: weir-seq, weir-watermark */
    int64_t is, since_us; /* since_us: of which numbering; 0: of none */
};
int link_send(struct link *l, const struct link_message *m, struct error *error);
int link_commit(struct link *l, const char *topic, const struct link_place *place,
                struct error *error);

#endif
