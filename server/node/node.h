/* SPDX-License-Identifier: Apache-2.0
 *
 * weir node: the process of a machine that starts a server for each shard which it holds.
 *
 *      PostgreSQL <--- tenant.c, a thread: lives, looks, takes, gives back
 *                         |  which shards are held, until when
 *                      node.c, the main thread ---> children.c: weir serve, a process a shard
 *                         |
 *                      pages.c: /, /live, /ready, /metrics, /api/v1/nodes
 */
#ifndef WEIR_NODE_NODE_H
#define WEIR_NODE_NODE_H

#include "base/error.h"
#include "config/config.h"

#include <stdio.h>

struct node_options {
    const struct config *config; /* with `nodes`; of the first shard */
    const char *path;            /* of its file */
    const char *name;            /* up to 63 letters, digits, '.', '_', '-' */
    const char *folder;          /* of the shards */
    bool verbose;
    int superseded; /* exit status of a server that another one has superseded */
};

enum node_end {
    NODE_STOPPED,  /* by a signal */
    NODE_REFUSED,  /* another one has its name, or PostgreSQL has other numbers */
    NODE_NO_START, /* address, folder */
};

/* Until a signal ends it. Signals are blocked already, all of them; the caller is the main thread. */
enum node_end node_run(const struct node_options *options, struct error *error);

/* What PostgreSQL knows of nodes and shards, as a table. -ECONNREFUSED and others with a text. */
int node_list(const struct config *config, FILE *to, struct error *error);

#endif
