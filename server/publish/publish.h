/* SPDX-License-Identifier: Apache-2.0
 *
 * Result tables published to Kafka (target/target.h), each change once:
 *
 *      commit --wake--> changes of a table (store/changes.h) --messages--> its topic, and how far that is as an offset of a
 *                                                                         consumer group, in one transaction
 *
 * Who has published last is noted with the offset; who was before is fenced by Kafka.
 */
#ifndef WEIR_PUBLISH_PUBLISH_H
#define WEIR_PUBLISH_PUBLISH_H

#include "target/target.h"

/* Without librdkafka it has no settings. */
extern const struct target_kind publish_kind;

/* For weir doctor: do the brokers answer? -EAGAIN with why. */
int publish_try(const struct config_kafka *config, char ret_text[256],
                struct error *error);

#endif
