/* SPDX-License-Identifier: Apache-2.0
 *
 * The tokens in force: who sends a request, what he may, whether he has had enough. http asks for every request, by what its
 * route says that it wants; nobody else decides.
 */
#ifndef WEIR_ACCESS_ACCESS_H
#define WEIR_ACCESS_ACCESS_H

#include "access/tokens.h"
#include "base/metrics.h"

struct access;
struct access_user; /* a token in force */

/* Of what a request wants something. */
enum access_kind { ACCESS_NOTHING, ACCESS_STREAM, ACCESS_PIPELINE };

/* Reads the file. `metrics` may be NULL; it outlives this. -ENOMEM, or as tokens_load. */
int access_new(const char *path, struct metrics *metrics, struct access **ret,
               struct error *error);
/* Nobody has a user any more. Takes NULL. */
void access_free(struct access *a);

/* Reads the file again. On failure all stays as it was. A token that is the same goes on with its counts; one that has changed, or is
 * gone, is over for those that still use it. One thread at a time. */
int access_reload(struct access *a, struct error *error);
size_t access_count(struct access *a); /* tokens in force */

enum access_answer {
    ACCESS_GRANTED,
    ACCESS_NO_TOKEN,
    ACCESS_BAD_TOKEN, /* unknown, or its secret is wrong */
    ACCESS_EXPIRED,
    ACCESS_TOO_OFTEN, /* its requests or events of late; *ret_wait_ns */
    ACCESS_TOO_MANY,  /* of its requests are under way */
};

/* The user of a request by its field Authorization (NULL: none), for access_leave. With TOO_OFTEN and TOO_MANY there is one,
 * too. Any thread. */
enum access_answer access_enter(struct access *a, const char *authorization,
                                struct access_user **ret, int64_t *ret_wait_ns);
void access_leave(struct access_user *u); /* takes NULL */

bool access_may(const struct access_user *u, enum access_verb verb,
                enum access_kind kind, const char *name);
bool access_may_all(const struct access_user *u, enum access_kind kind);
const struct token *access_token(const struct access_user *u);

/* It has expired, or was revoked: what it does has to end. */
bool access_is_over(const struct access_user *u, int64_t now_us);

/* Events that were taken of it, and how long it is to wait before it sends more; 0: not. */
void access_spend(struct access_user *u, uint64_t events);
int64_t access_wait_ns(const struct access_user *u);

void access_count_forbidden(struct access_user *u);

#endif
