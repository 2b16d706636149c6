/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies of the database in PostgreSQL (`copy`): the pages of the file, as they are at a moment at which all pipelines have stored what
 * they have made of the stream so far. So whoever has the pages goes on there, on any machine: the rest is still in Kafka.
 *
 *      weir_copies       (shard; epoch, writer: who has it; seq: of the last copy, ...)
 *      weir_copy_pages   (shard, page, bytes)
 *
 * The thread that carries rows makes the copies, over the same connection. Rows are read from the snapshot that was copied last, so what
 * is in the tables there is never ahead of the copy there: nothing has to be taken back when another goes on with it.
 *
 *      hold, checkpoint, snapshot -> BEGIN; is it ours still?; pages that have changed; COMMIT -> rows of that snapshot -> let go
 */
#ifndef WEIR_CARRY_COPIES_H
#define WEIR_CARRY_COPIES_H

#include "base/histogram.h"
#include "carry/carry.h"
#include "store/pages.h"

#define COPIES_FORMAT 1 /* of what is in the tables */

struct carrier;
struct carried;

struct copies {
    const struct carry_copying *with; /* NULL: none are made */
    int64_t seq;                      /* of the last copy there, */
    int64_t tried;    /* and of one of which nobody knows what has become; 0 */
    uint64_t *owed;   /* bits: pages that are not in the last copy there */
    size_t n_owed;    /* words */
    uint32_t n_there; /* pages beyond it are owed, too: not all have a frame */
    bool all;         /* nobody knows which */
    bool open;        /* the snapshot's transaction; */
    bool there;       /* it is the last copy there: rows may be read from it */
    bool told;        /* that none can be made */
    int64_t next_us;  /* not before */
    int64_t look_us;  /* whether the shard is ours still: not before */
    int64_t made_us;  /* when the last snapshot was taken that is there */
    char *page;       /* room for one */
    struct pages_snapshot snapshot;
    _Atomic uint64_t made, failures, bytes, pages; /* metrics */
    _Atomic uint64_t size;                         /* of the last copy; a gauge */
    _Atomic int64_t shown_us;                      /* made_us; relaxed */
    struct histogram pause;
};

void copies_open(struct carrier *c, const struct carry_copying *with);
void copies_close(struct carrier *c);
/* Tables there, within far_schema. */
int copies_schema(struct carrier *c, struct error *error);
/* A connection has been made. -EEXIST: another has taken the shard: the process ends. */
int copies_begin(struct carrier *c, struct error *error);
/* In a transaction: the shard is ours until it ends. -EEXIST likewise. */
int copies_check(struct carrier *c, struct error *error);
/* As target_kind.before. */
int64_t copies_make(struct carrier *c);
bool copies_wait(const struct carrier *c, const struct carried *k);
/* The snapshot is not needed any more. */
void copies_let_go(struct carrier *c);

#endif
