/* SPDX-License-Identifier: Apache-2.0
 *
 * What other services know, asked for by key: one thread for all services, on which thousands of requests may be under
 * way. A key that several ask for at once is asked for once; answers are kept for a time.
 *
 *      lookups_ask --> known already? --> waiting for a place --> request --> answer --> done(ctx)
 *                                              ^                     | failed
 *                                              +--- backoff ---------+--> break_after look-ups in a row: nobody is asked
 *                                                                         for a while, then one at a time is tried
 */
#ifndef WEIR_LOOKUP_LOOKUPS_H
#define WEIR_LOOKUP_LOOKUPS_H

#include "base/error.h"
#include "base/metrics.h"
#include "batch/keys.h"
#include "lookup/answer.h"

struct lookups;

/* -ENOSYS: built without libcurl. */
int lookups_new(struct lookups **ret, struct error *error);
void lookups_free(struct lookups *l); /* its services are gone; takes NULL */

struct service; /* of a pipeline, under one name */

struct service_counters {
    _Atomic uint64_t found, missing, failed; /* look-ups, by outcome */
    _Atomic uint64_t kept;                   /* such as were known already */
    _Atomic uint64_t retries; /* requests that failed and were repeated */
    _Atomic uint64_t null_rows,
        dropped_rows;              /* of look-ups that failed; the pipeline's */
    _Atomic uint64_t where_errors; /* rows; the pipeline's */
    _Atomic uint64_t flying, bytes,
        broken; /* gauges: requests; of what is kept; 0 or 1 */
};

struct asker;

/* `config` and the types of its on[] outlive it, and so does `asker`, the plugin whose requests these are; NULL: they are as
 * `config` says. -ENOMEM. */
int service_new(struct lookups *l, const char *pipeline,
                const struct config_lookup *config, const enum weir_type *on_type,
                struct asker *asker, struct service **ret);
/* What was asked for is forgotten: no `done` follows. Waits for the thread. Takes NULL. */
void service_free(struct service *s);
struct service_counters *service_count(struct service *s);
/* The last failure; "": there was none. Any thread. */
void service_error(struct service *s, char *ret, size_t size);
/* Its plugin has done what it must not, and nothing comes any more. Any thread. */
bool service_is_over(struct service *s);

struct ask_key {
    struct lookup_ask *ask;
    uint32_t id;
    struct ask_key *next;
};

#define LOOKUP_BYTES_MAX ((uint64_t)64 << 20)  /* that entries of a pipeline hold */
#define LOOKUP_ENTRY_MAX ((uint64_t)256 << 20) /* of keys and answers of one entry */

/* What the entries of a pipeline hold that wait for answers. With LOOKUP_BYTES_MAX nothing more is asked for than what the
 * first of them waits for. Sequentially consistent: either side sees what the other has done. */
struct lookup_held {
    _Atomic uint64_t bytes; /* rows, keys, answers */
    _Atomic uint64_t first; /* the number of the entry that is the next one */
};

/* What is asked for; it stays where it is until done. */
struct lookup_ask {
    const struct key_ids *keys;
    const uint8_t *wanted;  /* of each key: whether it is asked for; NULL: all are */
    struct answer **answer; /* of each key: a reference; NULL: it was not asked for */
    struct ask_key *key;    /* scratch: one for each key */
    void (*done)(
        void *ctx); /* all answers are there; on the thread of the lookups, quick */
    void *ctx;
    struct lookup_held *held;
    uint64_t number; /* of the entry */
    uint64_t *
        size; /* of its keys and answers; the thread's until done. What would make it larger than
                       * LOOKUP_ENTRY_MAX has failed */
    uint32_t left; /* the thread's */
    struct service *service;
    struct lookup_ask *next;
};
void lookups_ask(struct service *s, struct lookup_ask *ask);
/* What is held has become less, or another entry is the first one. Any thread. */
void lookups_wake(struct service *s);

#endif
