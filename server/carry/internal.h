/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the carrier share, beside target/kind.h.
 */
#ifndef WEIR_CARRY_INTERNAL_H
#define WEIR_CARRY_INTERNAL_H

#include "base/buffer.h"
#include "carry/carry.h"
#include "carry/copies.h"
#include "carry/copy.h"
#include "carry/pg.h"
#include "target/kind.h"

/* What a transaction carries, as one snapshot of ours has it. */
struct carry_piece {
    int64_t from, last;   /* numbers of changes behind `from`, up to `last` */
    bool all;             /* there is nothing behind it */
    bool plain;           /* each row was put once, and is new there */
    int64_t watermark_us; /* INT64_MIN: none */
};

struct carried {
    struct target_table base;
    int64_t staged_until;                 /* rows up to this number may be there */
    sqlite3_stmt *changes, *first, *more; /* rows: of changes, and of all */
    sqlite3_value *
        *at; /* FILL: the key of the last row that was read; [0] NULL: none was */
    int64_t fill_last; /* the last change when it began */
    struct copy lower,
        upper; /* FILL: keys, as they are sent, of the rows that the piece is between; `rows` 0: none */
    bool inclusive; /* lower is the first row; otherwise the last of the piece before */
    bool temporary; /* its tables for this connection were made */
    char *name;     /* "schema"."table" */
    const char *shard; /* of the settings: rows with it are ours; NULL: all are */
    char *partitions; /* "{topic/0,topic/1}", the stream's share of Kafka; NULL: none */
    char *definition; /* of its rows: another one is another table's; NULL: no shard */
    bool noted_then,
        copied;       /* `noted` as of the snapshot; the last copy there says so */
    bool fitted;      /* there it was made, or had all columns */
    bool purged;      /* `retain` has taken rows here, now or once */
    bool partitioned; /* there: cut by time, by us */
    bool mended; /* a partition was missing, and is there since; nothing was put yet */
    int drop_failed;  /* as was told */
    char unread[256]; /* partitions that no shard has read, as was told; "": none */
};

/* How often a table was taken. */
#define FAR_EPOCH "bigint NOT NULL DEFAULT 0"

struct carrier {
    struct target base;
    const struct config_postgresql *config; /* of the set */
    struct pg pg;
    struct copy rows, gone;
    struct copies copies;
    int64_t look_us; /* for partitions that nobody reads: not before */
    int64_t drop_us; /* for those of tables there that are old: not before */
};

/* tables.c */
int tables_check(const struct config *config, const struct pipeline *p,
                 const struct table *t, struct error *error);
int tables_new(const struct config *config, struct target_table *table,
               struct error *error);
void tables_free(struct target_table *table);

/* rows.c: the next piece of changes, or of all rows, into c->rows, and keys of rows that are gone into c->gone. 1: there is
 * none. -ESTALE: what is next is not known any more. */
int rows_changes(struct carrier *c, struct carried *k, struct carry_piece *ret,
                 struct error *error);
int rows_fill(struct carrier *c, struct carried *k, struct carry_piece *ret,
              struct error *error);
void rows_restart(struct carried *k); /* of all rows, from the first one */

/* far.c: there. All leave no transaction open; what pg.h says of failures. Take: the table is made, or fits, and is ours; -EEXIST:
 * another's. */
int far_schema(struct carrier *c, struct error *error);
int far_take(struct carrier *c, struct carried *k, struct error *error);
/* The piece that was read. -ESTALE: the place there is another one: take it again. */
int far_put(struct carrier *c, struct carried *k, const struct carry_piece *p,
            struct error *error);
int far_fill(struct carrier *c, struct carried *k, const struct carry_piece *p,
             struct error *error);

/* For shards.c and partitions.c: the text in these quotes; the name of the table that says whose tables are; a statement, whose text is freed. */
void far_quote(struct buffer *to, const char *text, char quote);
void far_put_positions(struct buffer *to, const struct carrier *c);
int far_run(struct carrier *c, struct buffer *sql, const struct pg_param *param,
            size_t n, PGresult **ret, struct error *error);
/* The end of what BEGIN has begun: err, or what COMMIT has come to. */
int far_finish(struct carrier *c, int err, struct error *error);

/* shards.c: where several servers put rows into a table. What a user may do whose row is to go; shard NULL: the only one. */
void shards_put_remove(struct buffer *to, const struct carrier *c,
                       const struct carried *k, const char *shard);
/* What the rows of a pipeline are made by: *ret is NULL if it is no shard. -ENOMEM. */
int shards_define(const struct pipeline *p, char **ret);
/* Before it is taken: the other servers get to know by which definition this one would go on. */
int shards_want(struct carrier *c, const struct carried *k, struct error *error);
/* May it be taken? -EBADF: not beside what others have there. */
int shards_check(struct carrier *c, const struct carried *k, struct error *error);
/* Once a second: partitions that nobody reads are told. */
void shards_listen(struct carrier *c);

/* partitions.c: tables there that are cut by time. */
#define PARTITIONS_AT_ONCE 1000
#define PARTITIONS_MOST    10000 /* of a table */
/* Is the table to be made so? */
bool partitions_want(const struct carrier *c, const struct carried *k);
/* Those that rows of the piece want and that are not there. 1: some were made. -EBADF: they are too many, or their names are taken. */
int partitions_make(struct carrier *c, struct carried *k, struct error *error);
/* Once a second: those that are older than `retain` go. */
void partitions_listen(struct carrier *c);

#endif
