/* SPDX-License-Identifier: Apache-2.0
 *
 * Result tables carried to PostgreSQL, each row once. One thread for all tables:
 *
 *      commit --wake--> changes of a table (store/changes.h) --COPY--> the same table there, and how far that is, in one
 *                           ^                                          transaction
 *                           |                                             |
 *                       store/carried.h: what is kept, behind <-----------+
 *
 * How far a table is says PostgreSQL alone; so there is one way to go on, whatever has ended or was cut: ask it. Where the two do
 * not fit (a new database there, a copy of ours put back, changes that are not known any more) all rows of the table are carried
 * anew, in the place of those that are there. Who has written last is noted there, too, and looked at in each transaction: a
 * server whose place another has taken writes nothing more.
 *
 * Nobody waits for this thread. Without libpq there is no configuration that asks for it.
 */
#ifndef WEIR_CARRY_CARRY_H
#define WEIR_CARRY_CARRY_H

#include "config/config.h"
#include "pipeline/pipeline.h"
#include "store/store.h"

struct carrier;
struct carry_set; /* tables, and what the file knows of each */

/* Can PostgreSQL have the tables of these pipelines? -EINVAL. */
int carry_check(const struct config *config, struct pipeline *const *pipeline, size_t n,
                struct error *error);

/* The tables of these pipelines of config that `server` wants carried, which is the configuration that the server was started with;
 * NULL: none. Of a pipeline that is left out (NULL, or without tables) what is not carried is kept. Begins to follow them, in
 * time: before their pipelines begin. The store runs. */
int carry_prepare(struct store *store, struct config *config, struct config *server,
                  struct pipeline *const *pipeline, size_t n, struct carry_set **ret,
                  struct error *error);
void carry_set_free(struct carry_set *s); /* takes NULL */

/* Takes the set, and begins. The store outlives it but for carry_free, which is called behind store_free. */
int carry_new(struct store *store, struct metrics *metrics, struct carry_set *set,
              struct carrier **ret, struct error *error);
/* Ends the thread; what is not there is carried by the next start. Takes NULL. */
void carry_end(struct carrier *c);
void carry_free(struct carrier *c); /* takes NULL */

/* Another configuration, as with hooks_hold: nothing is saved from hold on, carry_prepare is called, then exchange, which takes the
 * set, or release. */
int carry_hold(struct carrier *c, struct error *error);
void carry_release(struct carrier *c);
void carry_exchange(struct carrier *c, struct carry_set *set);

/* For people. */
enum carry_state {
    CARRY_WELL,
    CARRY_FILLING, /* all rows are carried, or it is looked whether they have to be */
    CARRY_AWAY,    /* PostgreSQL cannot be reached */
    CARRY_FAILING, /* it does not take what is sent, or the table does not fit */
    CARRY_FENCED,  /* another server has taken the table */
};
extern const char *const carry_state_word[CARRY_FENCED + 1];

struct carry_status {
    const char *table;
    enum carry_state state;
    int64_t position; /* of the last change that is there */
    uint64_t lag;     /* changes behind it */
    uint64_t carried, deleted, refused, failures;
    char error[256];              /* the last; "": none yet */
    int64_t error_us, success_us; /* wall clock; INT64_MIN: not yet */
};
/* Takes NULL. */
void carry_each(struct carrier *c, const char *pipeline,
                void (*call)(void *ctx, const struct carry_status *s), void *ctx);

/* For weir doctor: can it be reached, and written to? The text says what is there; -ECONNREFUSED and others with why. */
int carry_try(const struct config_postgresql *config, char ret_text[256],
              struct error *error);

#endif
