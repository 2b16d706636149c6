/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the publisher share. All is the thread's but what `lock` protects.
 *
 *      TAKE --our place, or where the file is--> CHANGES
 *       ^                                          |
 *       +----------- whatever has failed ----------+
 *      TAKE --another has published since we have--> OVER
 */
#ifndef WEIR_PUBLISH_INTERNAL_H
#define WEIR_PUBLISH_INTERNAL_H

#include "base/buffer.h"
#include "base/metrics.h"
#include "publish/publish.h"
#include "source/broker.h"
#include "store/carried.h"
#include "store/changes.h"

#include <pthread.h>
#include <stdatomic.h>

#define PUBLISH_ROWS  20000             /* of a transaction */
#define PUBLISH_BYTES ((size_t)8 << 20) /* likewise, about */
#define PUBLISH_EVERY_US                                                               \
    SECOND_US                /* how often places are saved, and lags are looked at */
#define PUBLISH_SLICE_MS 200 /* the longest that the end waits for librdkafka */

struct publish_counters {
    _Atomic uint64_t published, deleted, failures;
    _Atomic uint64_t lag; /* a gauge */
};

/* What a transaction has published. */
struct publish_piece {
    int64_t last; /* number of its last change */
    size_t rows, gone;
    bool all;             /* there is nothing behind it */
    int64_t watermark_us; /* INT64_MIN: none */
};

struct published {
    struct pipeline *pipeline; /* a reference */
    const struct table *table;
    char *topic;
    size_t n_keys; /* columns of the messages' keys, behind column 0 */
    int64_t
        late_us; /* rows of windows that ended so long before the watermark are not revised */
    struct carried_place place;
    struct published *next;

    enum publish_stage { PUBLISH_TAKE, PUBLISH_CHANGES, PUBLISH_OVER } stage;
    bool taken; /* by this run; then `before` says who had published before */
    char before[CARRIED_ID];
    int64_t last;                /* number of the last change, as it was looked at */
    bool look;                   /* there may be something to publish */
    bool dirty;                  /* the place is not saved */
    int64_t next_us, backoff_us; /* after a failure: not before; 0 */

    sqlite3_stmt *changes;
    struct publish_counters count;
    struct publish_status shown; /* `lock` */
};

struct publish_set {
    struct config *config; /* whose settings hold; a reference */
    char database[CARRIED_ID];
    struct published *first;
};

/* The connection. */
struct link {
    struct broker *producer, *asker; /* NULL: there is none */
    rd_kafka_consumer_group_metadata_t *group;
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
    struct store *store;
    struct metrics *metrics;
    const struct config_kafka *config; /* of the set */
    struct publish_set *set;
    char writer[CARRIED_ID]; /* this run */
    sqlite3 *db;             /* reads */
    struct link link;
    struct buffer key, value;
    int64_t connect_us, backoff_us; /* not before */
    bool told_away;
    bool
        superseded; /* another producer has begun: who has the tables is asked before ours does */
    int64_t watch_us, save_us; /* not before */
    pthread_t thread;
    bool started;
    _Atomic uint64_t connected;

    pthread_mutex_t lock; /* protects these */
    pthread_cond_t changed;
    bool committed, ending, held;
    struct saving *saving; /* the writer has it to do; NULL: none is */
    int saved_err;
    struct error saved_error;
    struct publish_set *fresh; /* to be taken over */
};

/* messages.c: sends the next changes, as messages of a transaction that it begins if there are any. 1: there are none. */
int messages_send(struct publisher *p, struct published *k, struct publish_piece *ret,
                  struct error *error);
void messages_close(struct published *k);

/* link.c. Open waits for nobody; take ends what another producer of the database has under way. Whatever fails but link_topic and link_place: the connection is to be closed, which gives up the transaction. -EAGAIN: nobody
 * answers; -EINVAL: it is refused; -ESTALE: another producer of that name has begun; -ECANCELED: the end. */
int link_open(struct link *l, const struct config_kafka *config, const char *database,
              struct error *error);
int link_take(struct link *l, struct error *error);
void link_close(struct link *l);
void link_listen(struct link *l);
/* Can it be sent to? -ENOENT: not now, with why. */
int link_topic(struct link *l, const char *topic, struct error *error);
int link_place(struct link *l, const char *topic, struct link_place *ret,
               struct error *error);
int link_begin(struct link *l, struct error *error);
/* Of a transaction that nothing was sent in; brokers are not asked. */
int link_drop(struct link *l, struct error *error);
/* A message. -EMSGSIZE: it is too long, and the transaction goes on without it. */
int link_send(struct link *l, const char *topic, const struct buffer *key,
              const struct buffer *value, bool gone, int64_t seq, struct error *error);
int link_commit(struct link *l, const char *topic, const struct link_place *place,
                struct error *error);

#endif
