/* SPDX-License-Identifier: Apache-2.0
 *
 * What `weir top` shows: one look at a server, read from its JSON and its metrics, and lines for people or for scripts.
 */
#ifndef WEIR_TOP_H
#define WEIR_TOP_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct client;
struct sqlite3;

/* NaN: not known. */
enum top_count {
    TOP_EVENTS,
    TOP_BYTES, /* of events; of a pipeline: of states */
    TOP_ROWS,
    TOP_REJECTED, /* of a pipeline: late */
    TOP_REFUSED,  /* requests: 429, 507 */
    TOP_GROUPS,
    TOP_QUEUED,
    TOP_LAG,     /* seconds */
    TOP_CPU,     /* seconds */
    TOP_WAIT,    /* seconds that entries waited for a worker, or a process, */
    TOP_ENTRIES, /* and how many those were */
    TOP_RESTARTS,
    TOP_COUNTS
};

struct top_row {
    char *name;
    char *of;    /* of a pipeline: what it reads; of an analyzer: its pipeline */
    char *state; /* of a pipeline: runs, failed, ... */
    char *error; /* "" */
    double count[TOP_COUNTS];
    double rate[TOP_COUNTS]; /* a second, since the look before */
};

struct top_rows {
    size_t n, room;
    struct top_row *row;
};

/* Zeros: an empty one. */
struct top_look {
    int64_t at_us; /* clock_monotonic_us */
    struct top_rows streams, pipelines, analyzers;
    struct top_row server; /* TOP_CPU, TOP_BYTES: resident */
    char version[32];
    double started_s; /* since 1970 */
    double commit_age_s;
    char ready[512];     /* "": it is; else why not */
    struct buffer nodes; /* of a node: lines for top_nodes_each; of a server nothing */
};

/* -ECONNREFUSED: there was no answer; -EACCES: it may not be asked; -EPROTO: it is no weir; -ENOMEM. What a token may not
 * see, metrics, is not known then. */
int top_look(struct client *c, struct top_look *ret, struct error *error);
/* For it: of a node, nodes and shards, "0LINE\n" each, or "1LINE\n" where something is not as it should be. `db` is empty. */
int top_nodes(struct client *c, struct sqlite3 *db, struct buffer *ret,
              struct error *error);
/* The rates of `now`. */
void top_rates(struct top_look *now, const struct top_look *before);
void top_free(struct top_look *l); /* and makes it empty again */

struct top_form {
    unsigned width; /* columns; 0: all, for scripts, in plain numbers */
    bool analyzers;
    int sort; /* enum top_count; -1: by name */
    bool last_first;
};

/* How a line is to look. */
enum top_style { TOP_PLAIN, TOP_TITLE, TOP_BAD, TOP_FAIR };

/* Calls for each line from top to bottom: UTF-8 without control characters, at most `width` characters. */
void top_lines(const struct top_look *l, const struct top_form *form, const char *where,
               void (*line)(void *ctx, enum top_style style, const char *text),
               void *ctx);

#endif
