/* SPDX-License-Identifier: Apache-2.0
 *
 * What PostgreSQL knows of nodes and shards, by its own clock:
 *
 *      weir_nodes     a row for each node: until when it lives, as it has said last
 *      weir_leases    a row for each shard: which node is to run it
 *
 * Each call is a statement that is done or not, and holds nothing afterwards: a node that hangs holds up nobody. Whether a server
 * may write is decided elsewhere, by what it claims itself; a lease only says who should start one. One thread.
 */
#ifndef WEIR_NODE_LEASES_H
#define WEIR_NODE_LEASES_H

#include "carry/pg.h"
#include "config/config.h"

#define LEASES_NAME_MAX  63
#define LEASES_RUN       33 /* a name by chance, and a zero */
#define LEASES_NODES_MAX 1024
#define LEASES_TEXT      128
#define LEASES_PROBLEM   200

struct leases {
    struct pg pg;
    const struct config *config;
    const char *name; /* of this node */
    char run[LEASES_RUN];
    const char *address; /* for people */
    char definition[17]; /* of its configuration */
    char *schema;        /* as SQL has it, "weir" */
};

struct leases_node {
    char name[LEASES_NAME_MAX + 1], run[LEASES_RUN];
    bool lives, stops;
    bool restarts;   /* it has ended, and has said that it comes again */
    int64_t left_us; /* until it is over */
    int64_t until_us, since_us;
    char address[LEASES_TEXT], version[32], definition[17];
};

/* Of a server. */
struct leases_news {
    unsigned shard;
    char address[LEASES_TEXT]; /* where it listens; "": nowhere yet */
    char
        problem[LEASES_PROBLEM]; /* why it is not ready, though it listens; "": it is */
    int64_t lag; /* messages that it has not read; -1: it has said nothing yet */
};

struct leases_shard {
    char node[LEASES_NAME_MAX + 1], run[LEASES_RUN]; /* "": free */
    int64_t since_us; /* INT64_MIN: it never was anybody's */
    struct leases_news news;
    char epoch[24];    /* of its copy; "": there is none */
    int64_t copied_us; /* INT64_MIN */
};

/* As it was at one moment. */
struct leases_view {
    int64_t now_us; /* there */
    size_t n_nodes; /* in the order of their names */
    struct leases_node *node;
    unsigned n_shards;
    struct leases_shard *shard;
};
void leases_view_free(struct leases_view *v); /* what it holds */

const char *
leases_state(const struct leases_node *n); /* "lives", "stops", "restarts", "over" */

/* "free"; "over": its node is; "restarts": likewise; "starts"; "not_ready"; "ready" */
const char *leases_shard_state(const struct leases_view *v, unsigned shard);

/* A run, with a name by chance. */
int leases_init(struct leases *l, const struct config *config, const char *name,
                struct error *error);
void leases_free(struct leases *l);

/* Connects, makes the tables where they are not there, and listens. -EBADF: they are those of other numbers. */
int leases_open(struct leases *l, struct error *error);
/* The same for who only asks: nothing can be changed. -ENOENT: no node has made the tables yet. */
int leases_open_to_look(struct leases *l, struct error *error);
/* This run is the node of its name, with all shards of that name. */
int leases_register(struct leases *l, struct error *error);
/* It lives for another session. -ESTALE: it is another run's; -ENOENT: the row is gone. */
int leases_renew(struct leases *l, bool stops, struct error *error);
int leases_look(struct leases *l, struct leases_view *ret, struct error *error);
/* Of n shards those that are still what `view` says come to this node; *ret_n: how many. */
int leases_take(struct leases *l, const struct leases_view *view, const size_t *shard,
                size_t n, size_t *ret_n, struct error *error);
/* A server of ours has ended, and the shard is anybody's. */
int leases_give_back(struct leases *l, unsigned shard, struct error *error);
/* What n of our servers say. */
int leases_note(struct leases *l, const struct leases_news *news, size_t n,
                struct error *error);
/* The node ends, and keeps its shards for the time that it has to come again. */
int leases_keep(struct leases *l, struct error *error);
/* The node is no more. */
int leases_leave(struct leases *l, struct error *error);
/* Others look now, too. */
int leases_tell(struct leases *l, struct error *error);
/* Have others told us? */
bool leases_told(struct leases *l);

#endif
