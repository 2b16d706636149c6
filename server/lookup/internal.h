/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of look-ups share. All is the thread's but what the lock of the lookups protects.
 */
#ifndef WEIR_LOOKUP_INTERNAL_H
#define WEIR_LOOKUP_INTERNAL_H

#include "lookup/asker.h"
#include "lookup/lookups.h"
#include "lookup/sender.h"

#include <pthread.h>

#define LOOKUP_CONNECTIONS 16384              /* open at once, all services together */
#define LOOKUP_ANSWER_MAX  ((size_t)16 << 10) /* bytes */

/* A key: asked for, or answered and kept. */
struct known {
    struct known *same;             /* of its bucket */
    struct known *newer, *older;    /* of those that are kept, by their last use */
    struct known *next;             /* of those that wait for a place */
    const struct lookup_held *held; /* by whom: of the first that asked for it */
    uint64_t number;
    uint64_t hash;
    uint32_t size;         /* of the key */
    struct answer *answer; /* NULL: it is being asked for */
    int64_t at_us;         /* of the answer */
    struct ask_key *first; /* who waits for it */
    struct service *service;
    struct sending *sending; /* NULL: no request is under way */
    unsigned tries;
    int64_t due_us; /* when it is repeated */
    char *body;     /* of the request, of a plugin; NULL: it has none */
    char key[];
};

struct service {
    struct lookups *lookups;
    const char *pipeline;
    const struct config_lookup *config;
    enum weir_type on_type[CONFIG_LOOKUP_ON_MAX];
    struct asker
        *asker; /* the plugin that is asked for requests; NULL: `config` has all */
    struct answer_reader *reader; /* then */
    struct answer *failed;        /* what those get that nobody answers */
    struct known **bucket;
    size_t n_buckets, n_known;
    struct known *newest, *oldest;
    size_t bytes;                /* of what is kept */
    struct known *first, **last; /* wait for a place */
    struct known **due;          /* wait for a time: a heap, the first is the least */
    size_t n_due, due_room;
    size_t flying;
    unsigned failures; /* look-ups in a row */
    int64_t shut_us;   /* with break_after of them: nobody is asked until then */
    int64_t warned_us;
    bool said_broken;
    struct buffer url;
    struct service_counters count;
    struct service *next;
    /* Protected by the lock of the lookups. */
    char error[256];
    bool over; /* the plugin is wrong: `error` says how */
    bool leaving, gone;
};

struct lookups {
    struct sender *sender;
    pthread_t thread;
    struct service *service;
    uint64_t dice;

    pthread_mutex_t lock; /* protects these */
    pthread_cond_t changed;
    struct lookup_ask *first, **last;
    struct service *fresh; /* not the thread's yet */
    bool ending;
};

/* service.c */
void service_ask(struct service *s, struct lookup_ask *ask);
/* Begins what is due. When to come again; INT64_MAX: when something happens. */
int64_t service_run(struct service *s, int64_t now_us);
void service_answer(struct known *k, const struct sender_answer *a);
void service_end(struct service *s); /* nothing of it is under way, or kept */

#endif
