/* SPDX-License-Identifier: Apache-2.0
 *
 * The servers of the shards that run here: a process each, weir serve. One that ends is started again, after 0.1 s at first, up to
 * 30 s. None outlives the node: the kernel kills them with the thread that started them (PR_SET_PDEATHSIG), which is the main one
 * and the only one that may call this.
 */
#ifndef WEIR_NODE_CHILDREN_H
#define WEIR_NODE_CHILDREN_H

#include "base/error.h"
#include "config/config.h"

#include <sys/types.h>

struct children_options {
    const struct config_nodes *nodes;
    const char *path;   /* of the configuration */
    const char *folder; /* DIR: shard 3 has DIR/3/weir.db */
    bool verbose;
};

struct child {
    pid_t pid; /* 0: none */
    bool ready, term, killed;
    int64_t started_us;
    int64_t next_us;  /* not started before */
    int64_t wait_us;  /* that was waited last; 0: none has ended yet */
    int64_t kill_us;  /* if it has not ended by then */
    int64_t heard_us; /* that it said something */
    char address[128];
    int64_t lag;       /* of its sources; -1: it has not said yet */
    char problem[200]; /* why it is not ready, though it has started; "": it is */
};

struct children {
    struct children_options options;
    struct child *child; /* nodes->shards */
    int notify;          /* a socket: systemd's protocol, which servers speak */
    char notify_name[120];
};

int children_new(const struct children_options *options, struct children *ret,
                 struct error *error);
void children_free(struct children *c); /* kills what runs */

int children_start(struct children *c, unsigned shard, struct error *error);
/* In order; by force if that takes too long. */
void children_end(struct children *c, unsigned shard);
void children_kill(struct children *c, unsigned shard);
void children_signal(struct children *c, int signal); /* all */

/* The next that has ended: its status as of waitpid. False: none has. */
bool children_reap(struct children *c, unsigned *ret_shard, int *ret_status);
/* It has ended by itself: when is it to be started again? Says why it ended. */
void children_wait(struct child *c, int64_t now_us);
void children_say_end(int status, char *text, size_t room);
/* The next of which something is new: it has started, or stops, or says how it is. False: nothing is. */
bool children_listen(struct children *c, unsigned *ret_shard);
/* The next that has started, and has said nothing for so long: it is killed. False: none has. Who was not there to listen calls
 * children_excuse before it listens. *next_us: when to look again, if that is earlier. */
bool children_quiet(struct children *c, int64_t now_us, int64_t quiet_us,
                    unsigned *ret_shard, int64_t *next_us);
void children_excuse(struct children *c, int64_t now_us);
/* What is overdue is killed; when the next is, INT64_MAX: none. */
int64_t children_overdue(struct children *c, int64_t now_us);

#endif
