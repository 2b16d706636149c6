/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection to the brokers of a stream's `source: {kafka: ...}`, by librdkafka's simple consumer: partitions and offsets are the
 * caller's, there is no group that assigns any. Nothing of librdkafka calls us from a thread of its own: what it has to say waits
 * for broker_listen. Internal to source; one thread at a time.
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
void broker_close(struct broker *b); /* takes NULL */

/* What librdkafka has to say since: `why`, `fatal`, `commit`. */
void broker_listen(struct broker *b);

/* *ret_n partitions. -ENOENT: there is no such topic; -EAGAIN: nobody answers, or not yet: with a text. */
int broker_partitions(struct broker *b, rd_kafka_topic_t *topic, int timeout_ms,
                      int32_t *ret_n, struct error *error);

#endif
