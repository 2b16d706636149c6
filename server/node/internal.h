/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the node share.
 *
 *                  taken, ours still             more than its share, stop
 *      NOT_OURS -----------------------> HELD -----------------------------> GIVING
 *         ^    a server is started          |  the server is ended              |
 *         |                                 | restart: the server is ended      | it has ended, and PostgreSQL knows
 *         |                                 v                                   |
 *         |                              KEEPING, also when it has ended        |
 *         |                                 |                                   |
 *         +-- another's, or the session is over: it is killed ------------------+
 */
#ifndef WEIR_NODE_INTERNAL_H
#define WEIR_NODE_INTERNAL_H

#include "base/metrics.h"
#include "node/children.h"
#include "node/leases.h"
#include "node/node.h"

#include <pthread.h>
#include <stdatomic.h>

enum node_hold { NODE_NOT_OURS, NODE_HELD, NODE_GIVING, NODE_KEEPING };

struct node_shard {
    enum node_hold hold;
    bool runs, ready;
    bool well;               /* it has been ready since it was started */
    struct leases_news news; /* what its server says, as PostgreSQL is told */
    bool note;               /* it is to be told now */
    bool differs;            /* it is to be told with the next turn: of another lag */
    uint64_t look;           /* not started before so many looks */
};

struct weir_node {
    const struct node_options *options;
    const struct config_nodes *config;
    struct children children; /* the main thread's */
    struct leases leases;     /* the tenant's */
    struct metrics *metrics;
    struct pages *pages;
    char address[160]; /* where it listens itself, for people */

    pthread_mutex_t lock; /* protects from here */
    struct node_shard *shard;
    struct leases_view view; /* as it was looked at last */
    uint64_t looks;
    char definition[17]; /* of the configuration, as it was read last */
    int64_t
        valid_until_us; /* monotonic: our session, as far as we know; INT64_MIN: there is none */
    bool connected, stopping, left, over;
    bool keeps;        /* its shards, while it is stopping: it is to come again */
    enum node_end end; /* not NODE_STOPPED: this is why it ends */
    struct error why;  /* likewise */
    /* to here */

    int wake_main, wake_tenant; /* eventfds */
    pthread_t tenant;
    bool tenant_runs;
    _Atomic uint64_t restarts, fenced, taken, given, lost, failures; /* relaxed */
};

void node_wake(int fd);

/* tenant.c: the thread that talks with PostgreSQL. */
void *tenant_run(void *node);

#endif
