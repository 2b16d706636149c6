/* SPDX-License-Identifier: Apache-2.0
 *
 * Result tables published to Kafka, each change once. One thread for all tables:
 *
 *      commit --wake--> changes of a table (store/changes.h) --messages--> its topic, and how far that is as an offset of a
 *                           ^                                             consumer group, in one transaction
 *                           |                                             |
 *                       store/carried.h: what is kept, behind <-----------+
 *
 * Who has published last is noted with the offset. A server whose place another has taken, with the same database or a copy, is
 * fenced by Kafka and publishes nothing more.
 *
 * Nobody waits for this thread. Without librdkafka there is no configuration that asks for it.
 */
#ifndef WEIR_PUBLISH_PUBLISH_H
#define WEIR_PUBLISH_PUBLISH_H

#include "config/config.h"
#include "pipeline/pipeline.h"
#include "store/store.h"

struct publisher;
struct publish_set; /* tables, and what the file knows of each */

/* Can the tables of these pipelines be topics? -EINVAL. */
int publish_check(const struct config *config, struct pipeline *const *pipeline,
                  size_t n, struct error *error);

/* The tables of these pipelines of config that `server` wants published, which is the configuration that the server was started
 * with; NULL: none. `running` goes on with its own meanwhile; NULL: there is none. Of a pipeline that is left out (NULL, or without tables) what is not published is kept. Begins to follow
 * them, in time: before their pipelines begin. The store runs. */
int publish_prepare(struct store *store, const struct publisher *running,
                    struct config *config, struct config *server,
                    struct pipeline *const *pipeline, size_t n,
                    struct publish_set **ret, struct error *error);
void publish_set_free(struct publish_set *s); /* takes NULL */

/* Takes the set, and begins. The store outlives it but for publish_free, which is called behind store_free. */
int publish_new(struct store *store, struct metrics *metrics, struct publish_set *set,
                struct publisher **ret, struct error *error);
/* Ends the thread; what is not there is published by the next start. Takes NULL. */
void publish_end(struct publisher *p);
void publish_free(struct publisher *p); /* takes NULL */

/* Another configuration, as with carry_hold: nothing is saved from hold on, publish_prepare is called, then exchange, which takes
 * the set, or release. */
int publish_hold(struct publisher *p, struct error *error);
void publish_release(struct publisher *p);
void publish_exchange(struct publisher *p, struct publish_set *set);

/* For people. */
enum publish_state {
    PUBLISH_WELL,
    PUBLISH_AWAY,    /* Kafka cannot be reached, or its place is being asked for */
    PUBLISH_FAILING, /* it does not take what is sent */
    PUBLISH_FENCED,  /* another server has taken the table */
};
extern const char *const publish_state_word[PUBLISH_FENCED + 1];

struct publish_status {
    const char *table, *topic;
    enum publish_state state;
    int64_t position; /* of the last change that is there */
    uint64_t lag;     /* changes behind it */
    uint64_t published, deleted, failures;
    char error[256];              /* the last; "": none yet */
    int64_t error_us, success_us; /* wall clock; INT64_MIN: not yet */
};
/* Takes NULL. */
void publish_each(struct publisher *p, const char *pipeline,
                  void (*call)(void *ctx, const struct publish_status *s), void *ctx);

/* For weir doctor: do the brokers answer? -EAGAIN with why. */
int publish_try(const struct config_kafka *config, char ret_text[256],
                struct error *error);

#endif
