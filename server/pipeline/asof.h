/* SPDX-License-Identifier: Apache-2.0
 *
 * Recent rows of a stream by key and time, for those who ask for the newest one at or before a time:
 *
 *      rows, a ring in the order in which they came:   | 7 | 8 | 9 | 10 | 11 | 12 |
 *      key "ABC":  (time, row) by time                   7,     9,       12, 11
 *      key "XYZ":                                            8,      10
 *
 * Rows of one time stay in the order in which they came. Nothing is allocated for a row.
 */
#ifndef WEIR_PIPELINE_ASOF_H
#define WEIR_PIPELINE_ASOF_H

#include "batch/batch.h"

#define ASOF_NONE    UINT64_MAX
#define ASOF_COLUMNS 64 /* a bit each says what is null */

struct asof_at {
    int64_t time_us;
    uint64_t row;
};

struct asof_key {
    struct asof_at *at; /* at[first] to at[end - 1], by time */
    uint32_t first, end, room;
    uint32_t seen; /* where the last one was found: the next one mostly is near */
    uint32_t next; /* in its chain of the table, or of those that are free */
    uint32_t size; /* of the bytes */
    uint64_t hash;
    char *bytes; /* NULL: the place is free */
};

struct asof {
    size_t n_columns;
    enum weir_type type[ASOF_COLUMNS];
    uint64_t first,
        end;       /* rows [first, end) are there, row & (room - 1) is their place */
    uint64_t room; /* a power of two, or 0 */
    int64_t *time;
    uint32_t *key;
    uint64_t *nulls;
    uint64_t *text_at; /* of a row: up to there `text` belongs to those before it */
    uint64_t *value[ASOF_COLUMNS];     /* bits; of a string where it begins in `text` */
    uint32_t *text_size[ASOF_COLUMNS]; /* of strings */
    char *text;                        /* a ring, too; a text lies in one piece */
    uint64_t text_room, text_last;
    struct asof_key *keys;
    uint32_t n_keys, keys_room, n_free, free_key;
    uint32_t *table; /* first key of a chain, by hash; keys_room of them */
    size_t of_keys;  /* bytes that keys have: their own, and `at` */
};

void asof_init(struct asof *a, const enum weir_type *type, size_t n_columns);
void asof_free(struct asof *a);

/* The number of a key, made if it is not there. Valid until rows are forgotten. -ENOMEM. */
int asof_key(struct asof *a, const char *bytes, size_t size, uint64_t hash,
             uint32_t *ret);
/* ASOF_KEY_NONE: no row has it. */
#define ASOF_KEY_NONE UINT32_MAX
uint32_t asof_find_key(const struct asof *a, const char *bytes, size_t size,
                       uint64_t hash);

/* A row of the batch, whose columns are column[0..n_columns). -ENOMEM: nothing has changed. */
int asof_add(struct asof *a, uint32_t key, const struct batch *b, uint32_t row,
             const size_t *column);
/* The same of values: bits as they lie, texts one behind the other with their sizes as values. */
int asof_add_values(struct asof *a, uint32_t key, int64_t time_us, uint64_t nulls,
                    const uint64_t *value, const char *text, size_t text_size);

/* The newest row of the key at or before time_us, if it is no older than within_us; otherwise the first one behind it, up to
 * lead_us later; or ASOF_NONE. */
uint64_t asof_find(struct asof *a, uint32_t key, int64_t time_us, int64_t within_us,
                   int64_t lead_us);

/* Rows older than this may go, and keys without rows do. */
void asof_forget(struct asof *a, int64_t before_us);

static inline uint64_t asof_rows(const struct asof *a)
{
    return a->end - a->first;
}
/* Bytes that it has. What rows had that were forgotten is given back once there is eight times as much of it as is in use. */
size_t asof_memory(const struct asof *a);

/* Fills a column of `to`, for all its rows, with those of row[]; with nulls for ASOF_NONE, and for what is more text than a
 * batch can have, which is counted. -ENOMEM. */
int asof_gather(const struct asof *a, size_t column, const uint64_t *row,
                struct batch *to, size_t c, uint64_t *cut);

/* join_stored.c: rows no older than this as blocks of a checkpoint, and such a block back. -EBADMSG, -ENOMEM. */
struct checkpoint;
int asof_store(const struct asof *a, int64_t before_us, struct checkpoint *c);
int asof_load(struct asof *a, const char *data, size_t size);

#endif
