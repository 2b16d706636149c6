/* SPDX-License-Identifier: Apache-2.0 */
#include "source/senders.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* NULL: it has none. librdkafka ends values with a zero. */
static const char *header(const rd_kafka_headers_t *headers, const char *name)
{
    const void *value;
    size_t size;
    return rd_kafka_header_get_last(headers, name, &value, &size) ? NULL : value;
}

static bool number(const rd_kafka_headers_t *headers, const char *name, int64_t *ret)
{
    const char *text = header(headers, name);
    char *end;
    errno = 0;
    *ret = text ? strtoll(text, &end, 10) : 0;
    return text && *text && !*end && !errno;
}

static bool read_what(const rd_kafka_headers_t *headers, struct sent *ret)
{
    const char *op = header(headers, "weir-op");
    if (!op)
        return false;
    if (!strcmp(op, "watermark")) {
        ret->what = SENT_WATERMARK;
        return number(headers, "weir-watermark", &ret->reached_us);
    }
    ret->what = strcmp(op, "delete") ? SENT_PUT : SENT_DELETE;
    return number(headers, "weir-seq", &ret->seq) &&
           number(headers, "weir-since", &ret->since_us);
}

int sent_read(const rd_kafka_message_t *m, const struct sender *sender, size_t n,
              struct sent *ret, char ret_why[200])
{
    rd_kafka_headers_t *headers = NULL;
    const char *name =
        rd_kafka_message_headers(m, &headers) ? NULL : header(headers, "weir-shard");
    *ret = (struct sent){.reached_us = INT64_MIN};
    while (name && ret->sender < n && strcmp(sender[ret->sender].name, name))
        ret->sender++;
    if (!name || ret->sender == n) {
        snprintf(ret_why, 200,
                 name ? "'%s' has sent it, which is none of 'senders'"
                      : "nobody knows who has sent it: it has no header weir-shard",
                 name);
        return -EBADMSG;
    }
    if (read_what(headers, ret))
        return 0;
    snprintf(ret_why, 200,
             "it has not the headers of what weir publishes with 'watermarks'");
    return -EBADMSG;
}
