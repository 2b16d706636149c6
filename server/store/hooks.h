/* SPDX-License-Identifier: Apache-2.0
 *
 * What webhooks remember in the file: how far each is in the changes of its table (store/changes.h), and of alerts the
 * keys for which the condition holds, and what was decided on and is not delivered yet.
 */
#ifndef WEIR_STORE_HOOKS_H
#define WEIR_STORE_HOOKS_H

#include "store/store.h"

#include <sqlite3.h>

struct hook_id {
    const char *pipeline, *hook, *table;
    bool alert; /* it has states and notices; otherwise those of before are forgotten */
};

struct hook_state { /* event times */
    int64_t since_us, last_us;
    int64_t told_us; /* INT64_MIN: nothing was told yet */
};

/* One thing that is to be remembered, or forgotten. */
struct hook_change {
    enum {
        HOOK_STATE,
        HOOK_NO_STATE,
        HOOK_NOTICE,
        HOOK_DELIVERED, /* the notice with this number */
    } what;
    const char *key;         /* but of HOOK_DELIVERED */
    struct hook_state state; /* HOOK_STATE */
    int64_t seq;             /* of a notice */
    const char *body;        /* HOOK_NOTICE; zero-terminated */
};

/* All of one hook; the texts are the caller's. */
struct hook_save {
    struct hook_id id;
    int64_t since_us, position; /* position -1: not known, all is kept */
    size_t n;
    const struct hook_change *change;
};

/* All of these, in one transaction: on the writer thread, within store_call or store_post. Tables of hooks that are
 * neither in the list nor left out are kept for them no more (store/changes.h). */
int hooks_save(struct store *s, const struct hook_save *save, size_t n,
               struct error *error);

/* Begins to follow the tables of these n hooks, or finds that they are followed, and has places for them: a hook that has none
 * begins with what is put from now on. One whose table is NULL keeps what it has. What others had is forgotten. Any thread but the writer; waits for it. */
int hooks_open(struct store *s, const struct hook_id *id,
               const struct table *const *table, size_t n, struct error *error);

/* By a connection that reads. -ENOENT: the hook has no place. */
int hooks_place(sqlite3 *db, const struct hook_id *id, int64_t *ret_since_us,
                int64_t *ret_position, struct error *error);
/* Each state; each notice, in the order of its numbers. What the call returns, if it is not 0, ends it. */
int hooks_each_state(sqlite3 *db, const struct hook_id *id,
                     int (*call)(void *ctx, const char *key,
                                 const struct hook_state *state),
                     void *ctx, struct error *error);
int hooks_each_notice(sqlite3 *db, const struct hook_id *id,
                      int (*call)(void *ctx, int64_t seq, const char *key,
                                  const char *body),
                      void *ctx, struct error *error);

#endif
