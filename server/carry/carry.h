/* SPDX-License-Identifier: Apache-2.0
 *
 * Result tables carried to PostgreSQL (target/target.h), each row once:
 *
 *      commit --wake--> changes of a table (store/changes.h) --COPY--> the same table there, and how far that is, in one
 *                                                                      transaction
 *
 * Where the two do not fit (a new database there, a copy of ours put back, changes that are not known any more) all rows of the table
 * are carried anew, in the place of those that are there. Who has written last is looked at in each transaction.
 *
 * With `copy` the database itself is there, too (carry/copies.h): who claims a shard is the one that goes on with it.
 */
#ifndef WEIR_CARRY_CARRY_H
#define WEIR_CARRY_CARRY_H

#include "target/target.h"

/* The last column of the primary key there, with `shard`. */
#define CARRY_SHARD "weir_shard"

/* Without libpq it has no settings. */
extern const struct target_kind carry_kind;

/* For weir doctor: can it be reached, and written to? The text says what is there; -ECONNREFUSED and others with why. */
int carry_try(const struct config_postgresql *config, char ret_text[256],
              struct error *error);
/* With `copy`: the last copy of the shard. 1: there should be one, or a newer one. */
int carry_try_copy(const struct config_postgresql *config, char ret_text[256],
                   struct error *error);

/* ---- Copies of the database ---------------------------------------------------------------------- */

/* In weir_meta: "EPOCH SEQ WRITER", the copy that is about to be made; in the copy, what it is. */
#define CARRY_META_COPY "copy"

struct carry_claim {
    int64_t epoch;                  /* of this run; greater than any before */
    char writer[CARRIED_ID];        /* its name */
    int64_t before;                 /* the epoch of who had it; 0: nobody had */
    char before_writer[CARRIED_ID]; /* and its name */
    char host[128];                 /* his; "" */
    int64_t seq;                    /* of the copy that is there; 0: none is */
    char database[CARRIED_ID];
    uint32_t page_bytes;
    int64_t pages;
};

/* What whoever makes copies is given. */
struct carry_copying {
    struct carry_claim claim;
    /* Calls `call` on the store's thread (store_call) while all is at rest: no pipeline is behind or ahead of another, and what they have
     * made is committed. *ret_us: how long that held them up. -EBUSY and others: it cannot be now. */
    int (*at_rest)(void *ctx, int (*call)(struct store *s, void *ctx), void *call_ctx,
                   int64_t *ret_us, struct error *error);
    void (*superseded)(void *ctx, const char *text); /* does not return */
    void *ctx;
};

/* Who can be asked to stop meanwhile: readable `wake`, as of carry/pg.h. */
struct carry_stop {
    int wake;
    bool (*stop)(void *ctx);
    void *ctx;
};

/* From now on the shard is this run's. -ECONNREFUSED, -ETIMEDOUT, -ECONNRESET, -EAGAIN: PostgreSQL is away, or busy; -ECANCELED; -EPROTO: what is there was made
 * by a newer weir. */
int carry_claim(const struct config_postgresql *config, const struct carry_stop *stop,
                struct carry_claim *ret, struct error *error);
/* The pages of the copy into the file, which is empty. -EBADMSG: it is damaged; -EEXIST: another has claimed the shard. */
int carry_fetch(const struct config_postgresql *config, const struct carry_stop *stop,
                const struct carry_claim *claim, int fd, struct error *error);

#endif
