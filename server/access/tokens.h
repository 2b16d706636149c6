/* SPDX-License-Identifier: Apache-2.0
 *
 * The file of tokens: who may do what, until when, how often. A file of its own, not a table of the database: SQL that
 * users send cannot reach it, copies of the database do not hold it, and a token can be made before there is a database or
 * while a server has it. It is YAML, read with the places of faults; `weir token` writes it, whole or not at all.
 *
 *      - id: 5f0c9a1b77e2
 *        note: "the dashboard in the hall"
 *        sha256: "..."                       # of the whole token
 *        created: 2026-11-26T10:00:00Z
 *        expires: 2027-11-26T10:00:00Z       # left out: never
 *        may: [read, sql]                    # post, read, sql, metrics, admin
 *        streams: [trades]                   # "*": all
 *        pipelines: [ohlc]                   # neither of both: all of both
 *        requests: 100                       # a second; events: a second; concurrent: requests at a time
 */
#ifndef WEIR_ACCESS_TOKENS_H
#define WEIR_ACCESS_TOKENS_H

#include "access/secret.h"
#include "base/error.h"
#include "base/sha256.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKENS_MAX       1000 /* each has series of metrics */
#define TOKENS_NAMES_MAX 1000 /* streams, and pipelines, of one */
#define TOKENS_NOTE_MAX  200

/* What a request wants to do. */
enum access_verb {
    ACCESS_UNSAID, /* a route that does not say it is refused by http_add */
    ACCESS_FREE,   /* nothing that needs a token: probes, the page */
    ACCESS_KNOWN,  /* what any token may */
    ACCESS_POST,   /* events, to a stream */
    ACCESS_READ,   /* results, of a pipeline; dead letters, of a stream */
    ACCESS_SQL,    /* over the tables of its pipelines */
    ACCESS_METRICS,
    ACCESS_ADMIN, /* backups; dead letters are deleted */
    ACCESS_VERBS
};
extern const char *const access_verb_word[ACCESS_VERBS]; /* NULL: not in a file */

/* "post", ...: the verb; ACCESS_UNSAID: it is none. */
enum access_verb access_verb_of(const char *word);
#define ACCESS_ALL                                                                     \
    (1u << ACCESS_POST | 1u << ACCESS_READ | 1u << ACCESS_SQL | 1u << ACCESS_METRICS | \
     1u << ACCESS_ADMIN)

struct token_names {
    bool all;
    size_t n;
    char **name;
};

struct token {
    char id[SECRET_ID_MAX + 1];
    char *note; /* NULL: none */
    uint8_t digest[SHA256_SIZE];
    int64_t created_us, expires_us; /* INT64_MIN: not said; INT64_MAX: never */
    unsigned may;                   /* bits 1 << enum access_verb */
    struct token_names streams, pipelines;
    uint64_t requests, events, concurrent; /* 0: any */
};

struct tokens {
    size_t n;
    struct token *token; /* in the order of the file */
};

bool token_names_have(const struct token_names *names, const char *name);
bool token_same(const struct token *a, const struct token *b);
void token_free(struct token *t); /* what it holds */
void tokens_free(struct tokens *t);

/* Of a file that others may write: -EPERM. -ENOENT, -EINVAL with file:line:column, ... */
int tokens_load(const char *path, struct tokens *ret, struct error *error);

/* Reads the file, lets `change` change it, and writes it anew, for its owner and group as before; others that do the same wait.
 * `create`: it may not be there yet. What `change` returns, if it is not 0, leaves the file as it was. */
int tokens_change(const char *path, bool create,
                  int (*change)(struct tokens *t, void *ctx, struct error *error),
                  void *ctx, struct error *error);

#endif
