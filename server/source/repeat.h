/* SPDX-License-Identifier: Apache-2.0
 *
 * Idempotency-Key: a request that a producer may send again without being counted twice. The key is the
 * producer's, the log remembers it (log/idempotency.h); here is what becomes of it in one request.
 *
 *      repeat_begin -> new: reserved -> [taken] -> repeat_taken: the log completes or abandons it
 *                                       \-> not taken           -> repeat_end abandons it
 *                      known: the body is only compared -> repeat_digest
 */
#ifndef WEIR_SOURCE_REPEAT_H
#define WEIR_SOURCE_REPEAT_H

#include "source/source.h"

struct repeat {
    char key[REQUEST_KEY_MAX];
    size_t size; /* 0: the request has no key */
    bool reserved;
    bool known; /* it was taken before: `was` says what came of it */
    struct request_known was;
    uint32_t crc; /* of the body so far, decompressed */
};

/* `key`: the header, or NULL. 0; -EINVAL: not 1 to REQUEST_KEY_MAX visible ASCII characters; -EBUSY:
 * another request has it under way; -ENOMEM. */
int repeat_begin(struct repeat *p, const struct source_sink *sink, const char *key);

void repeat_piece(struct repeat *p, const char *data, size_t size);

/* Of a body of `size` bytes that was read as `format`. The same in every process: it is kept on disk. */
uint64_t repeat_digest(const struct repeat *p, uint64_t size,
                       enum decode_format format);

/* The key goes with the request that the sink has taken. */
void repeat_taken(struct repeat *p);
void repeat_end(struct repeat *p, const struct source_sink *sink);

#endif
