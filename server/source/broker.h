/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection to the brokers of Kafka: of a stream's `source: {kafka: ...}`, by librdkafka's simple consumer, where partitions and offsets
 * are the caller's and there is no group that assigns any; or of who publishes (publish/link.h). Nothing of librdkafka calls us from a
 * thread of its own: what it has to say waits for broker_listen. One thread at a time.
 */
#ifndef WEIR_SOURCE_BROKER_H
#define WEIR_SOURCE_BROKER_H

#include "base/error.h"
#include "config/config.h"

#include <librdkafka/rdkafka.h>

struct broker {
    rd_kafka_t *client;
    char why[256];    /* what was wrong last; "": nothing yet */
    bool complained;  /* since it was last set to false */
    char fatal[256];  /* "": the connection can still be used */
    char commit[256]; /* why a commit has failed; "": none did */
};

/* Options are checked, and files of secrets read; nobody is waited for. -EINVAL with the text, which has no secret. */
int broker_open(const struct config_source *config, struct broker **ret,
                struct error *error);
/* The same with properties that are not the user's to set. */
struct broker_option {
    const char *name, *value;
};
int broker_open_as(rd_kafka_type_t type, const struct config_source *config,
                   const struct broker_option *own, size_t n, struct broker **ret,
                   struct error *error);
void broker_close(struct broker *b); /* takes NULL */

/* What librdkafka has to say since: `why`, `fatal`, `commit`. */
void broker_listen(struct broker *b);

/* *ret_n partitions. -ENOENT: there is no such topic; -EAGAIN: nobody answers, or not yet: with a text. */
int broker_partitions(struct broker *b, rd_kafka_topic_t *topic, int timeout_ms,
                      int32_t *ret_n, struct error *error);

#endif
