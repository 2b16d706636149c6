/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests to other services, thousands at once on one thread: libcurl's multi interface. Knows nothing of rows or repeats:
 *
 *      sender_begin, sender_begin, ... -> [sender_wait -> sender_next until there is none]*
 *
 * Redirects are not followed, proxies of the environment are not used, http and https are the only protocols; certificates
 * are checked. All calls but sender_wake are for one thread.
 */
#ifndef WEIR_LOOKUP_SENDER_H
#define WEIR_LOOKUP_SENDER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sender;
struct sending; /* a request under way */

/* At most so many connections are open, all services together. -ENOSYS: built without libcurl. */
int sender_new(unsigned connections, struct sender **ret, struct error *error);
void sender_free(struct sender *s); /* cancels what is under way; takes NULL */

struct
    sender_request { /* what it points to is to stay until the answer, or the cancellation */
    const char *url;
    const char *ca_file; /* NULL: the system's */
    size_t n_headers;
    const char *const *header; /* "Name: value"; copied */
    const char *body;          /* of a POST; NULL: a GET */
    size_t size;
    size_t
        answer_max; /* bytes of an answer that are kept; 0: none are, the status says all */
    int64_t timeout_us;
    void *ctx;
};

/* -ENOMEM, -EINVAL with a text. */
int sender_begin(struct sender *s, const struct sender_request *r, struct sending **ret,
                 struct error *error);
void sender_cancel(struct sending *r); /* there will be no answer; takes NULL */

/* Until something happens, or somebody wakes it, at most so long. */
void sender_wait(struct sender *s, int64_t timeout_us);
void sender_wake(struct sender *s); /* any thread */

struct sender_answer {
    void *ctx;
    int status;             /* 0: there was none, and `error` says why */
    int64_t retry_after_us; /* 0: it does not say */
    const char *
        body; /* answer_max: what came, and a zero; until the next call of sender_next */
    size_t size;
    struct error error;
};
bool sender_next(struct sender *s, struct sender_answer *ret);

#endif
