/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers of other services to an entry of the log, as bytes, and back:
 *
 *      version, services, digest of the definition || keys, 0 | key size, answer size | key | answer | ... || ...
 *
 * Everything begins at a multiple of 8.
 */
#ifndef WEIR_PIPELINE_LOOKUP_STORED_H
#define WEIR_PIPELINE_LOOKUP_STORED_H

#include "base/buffer.h"
#include "lookup/answer.h"

/* The answers to entries from `first` to `last`. */
struct stored_answers {
    uint64_t first, last;
    size_t n_services;
    struct stored_service {
        size_t n;
        struct stored_answer *answer; /* by hash */
    } service[];
};

void stored_answers_free(struct stored_answers *s); /* takes NULL */

/* Writing: a head, then of each service how many, then each. */
void stored_answers_head(struct buffer *to, uint32_t n_services, uint64_t digest);
void stored_answers_service(struct buffer *to, uint32_t n);
void stored_answers_put(struct buffer *to, const char *key, size_t size,
                        const struct answer *a);

/* `answer` are the schemas of the n services. -EBADMSG, -ENOMEM; -ESTALE: of another definition. */
int stored_answers_load(const char *data, size_t size, uint64_t digest,
                        const struct schema *const *answer, size_t n,
                        struct stored_answers **ret);
/* NULL: there is none. */
struct answer *stored_answers_find(const struct stored_answers *s, size_t service,
                                   const char *key, size_t size, uint64_t hash);

#endif
