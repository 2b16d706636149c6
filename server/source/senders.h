/* SPDX-License-Identifier: Apache-2.0
 *
 * Topics that several servers publish parts of results to (`senders`): who has sent a message, and what it says. In a partition each
 * sender is a source of the log, TOPIC/PARTITION/SENDER, that has reached what its own marks say:
 *
 *      weir-shard a | rows ..... | weir-op watermark, weir-watermark 17 | rows ... of windows from 17 on
 *
 * The rows of a sender are numbered, so that those that come twice, as their transaction was given up or not known of, are
 * taken once.
 */
#ifndef WEIR_SOURCE_SENDERS_H
#define WEIR_SOURCE_SENDERS_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

struct sender { /* of one partition */
    const char *name;
    uint32_t source;
    int64_t since_us, seq; /* of its last row: number, of which numbering */
};

enum sent_what { SENT_PUT, SENT_DELETE, SENT_WATERMARK };

struct sent { /* a message */
    enum sent_what what;
    size_t sender;
    int64_t since_us, seq;
    int64_t
        reached_us; /* SENT_WATERMARK: no window that begins before it changes any more */
};

/* -EBADMSG: it is of none of them, or none of weir's: *ret_why says so. */
int sent_read(const rd_kafka_message_t *m, const struct sender *sender, size_t n,
              struct sent *ret, char ret_why[200]);

#endif
