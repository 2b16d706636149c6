/* SPDX-License-Identifier: Apache-2.0
 *
 * Result tables that go to another store: to PostgreSQL (carry/), to Kafka (publish/). One thread a target for all of its tables:
 *
 *      commit --wake--> changes of a table (store/changes.h) --kind.h--> the target, and how far that is, at once
 *                           ^                                               |
 *                           +-- store/carried.h: what is kept, behind <-----+
 *
 * How far a table is says the target alone; so there is one way to go on, whatever has ended or was cut: ask it. Who has written last
 * is noted there, too: a server whose place another has taken, with the same database or a copy, writes nothing more.
 *
 * Nobody waits for this thread. Without the library of a target there is no configuration that asks for it.
 */
#ifndef WEIR_TARGET_TARGET_H
#define WEIR_TARGET_TARGET_H

#include "config/config.h"
#include "pipeline/pipeline.h"
#include "store/carried.h"
#include "store/store.h"

struct target;
struct target_set;  /* tables, and what the file knows of each */
struct target_kind; /* kind.h */

/* Can it have the tables of these pipelines? -EINVAL. */
int target_check(const struct target_kind *kind, const struct config *config,
                 struct pipeline *const *pipeline, size_t n, struct error *error);

/* The tables of these pipelines of config that `server` wants there, which is the configuration that the server was started with;
 * NULL: none. `running` goes on with its own meanwhile; NULL: there is none. Of a pipeline that is left out (NULL, or without tables)
 * what is not there is kept. Begins to follow them, in time: before their pipelines begin. The store runs. */
int target_prepare(const struct target_kind *kind, struct store *store,
                   const struct target *running, struct config *config,
                   struct config *server, struct pipeline *const *pipeline, size_t n,
                   struct target_set **ret, struct error *error);
void target_set_free(struct target_set *s); /* takes NULL */

/* Takes the set, and begins; `with` is the kind's own, and outlives it: NULL, or struct carry_copying of carry/carry.h. The store outlives it but for target_free, which is called behind store_free. */
int target_new(struct store *store, struct metrics *metrics, struct target_set *set,
               const void *with, struct target **ret, struct error *error);
/* All is at rest and stored, the end is near: what the kind does last. Waits for it. False: it has not come to that. Takes NULL. */
bool target_last(struct target *t, int64_t until_us);
/* Ends the thread; what is not there is carried by the next start. Takes NULL. */
void target_end(struct target *t);
void target_free(struct target *t); /* takes NULL */

/* Another configuration, as with hooks_hold: nothing is saved from hold on, target_prepare is called, then exchange, which takes the
 * set, or release. */
int target_hold(struct target *t, struct error *error);
void target_release(struct target *t);
void target_exchange(struct target *t, struct target_set *set);

/* For people. */
enum target_state {
    TARGET_WELL,
    TARGET_FILLING, /* all rows go there, or it is looked whether they have to */
    TARGET_AWAY,    /* it cannot be reached */
    TARGET_FAILING, /* it does not take what is sent, or the table does not fit */
    TARGET_FENCED,  /* another server has taken the table */
};
extern const char *const target_state_word[TARGET_FENCED + 1];

struct target_status {
    const char *table, *topic; /* NULL: it has none */
    enum target_state state;
    int64_t position; /* of the last change that is there */
    uint64_t lag;     /* changes behind it */
    uint64_t put, deleted, refused, failures;
    char error[256];              /* the last; "": none yet */
    int64_t error_us, success_us; /* wall clock; INT64_MIN: not yet */
};
/* Takes NULL. */
void target_each(struct target *t, const char *pipeline,
                 void (*call)(void *ctx, const struct target_status *s), void *ctx);

#endif
