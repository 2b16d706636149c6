/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables of the user's in the database whose columns a pipeline joins. Each is read whole and kept, by key and time:
 *
 *      table --> reference_take --> rows --> reference_seal --> digest: has the table changed?
 *                                    | ^                   \--> snapshot --> "PIPELINE.NAME" in weir_checkpoints
 *      entry --> references_widen <--/ |
 *                                      \-- reference_load <-- the same, where entries are read again
 *
 * What was read is in the file before, or with, the first row that follows from it. So an entry that is read again after a
 * crash finds what it found before, whatever has become of the table; and a table that is changed is read again only where
 * nothing is: at a start behind a checkpoint of all that there is, or at a SIGHUP.
 */
#ifndef WEIR_PIPELINE_REFERENCE_H
#define WEIR_PIPELINE_REFERENCE_H

#include "base/error.h"
#include "base/metrics.h"
#include "batch/batch.h"
#include "pipeline/asof.h"
#include "pipeline/checkpoint.h"

#define REFERENCE_ROWS_MAX  1000000u            /* of a table, */
#define REFERENCE_BYTES_MAX ((size_t)256 << 20) /* and bytes, of what is read of it */

struct config_reference;

struct reference {
    const struct config_reference *config;
    char *name; /* "PIPELINE.NAME": as which it is stored */
    struct asof rows;
    char *definition;            /* with the digest of its rows; NULL: not sealed */
    struct checkpoint *snapshot; /* of rows that are not stored yet; NULL */
    /* What is shown; relaxed. */
    _Atomic uint64_t n_rows, bytes;
    _Atomic uint64_t n_wrong; /* values that are not of their types, and so are null */
    _Atomic uint64_t missing; /* rows of the stream that found nothing */
};

struct references {
    size_t n;
    uint64_t *found; /* scratch: for each row of a batch */
    uint32_t *map;   /* scratch: for each key of a batch */
    size_t map_room;
    struct reference of[];
};

struct pipeline;

/* *ret NULL: the pipeline has none. -ENOMEM. */
int references_new(const struct pipeline *p, struct references **ret);
void references_free(struct references *all); /* takes NULL */

/* Before the pipeline runs: an empty one. */
void reference_clear(struct reference *r);
/* Rows of config->read, by key and time. A key or a time that is null is left out. -EINVAL: there are too many, or two of one
 * key and time. -ENOMEM. */
int reference_take(struct reference *r, const struct batch *b, struct error *error);
/* All are there. `stream`, `position`: of the pipeline, when that was. -ENOMEM. */
int reference_seal(struct reference *r, const char *stream, uint64_t position);
/* Is what was stored under this definition of the same columns? */
bool reference_can_load(const struct reference *r, const char *definition);
/* A block of what was stored; reference_loaded: all of them are there. -EBADMSG, -ENOMEM. */
int reference_load(struct reference *r, const char *data, size_t size);
int reference_loaded(struct reference *r, const char *definition);

/* Snapshots that are not stored yet, taken from their references: a list by `inputs`. */
struct checkpoint *references_take_snapshots(struct references *all);

/* The batch with the columns of all. The dispatcher's, or whoever hands the pipeline its entries. -ENOMEM. */
int references_widen(struct pipeline *p, struct batch *from, struct batch **ret);

/* What stands in the pipeline's definition of them; -ENOMEM is the buffer's. */
struct buffer;
void references_define(const struct pipeline *p, struct buffer *to);

int references_count(const struct pipeline *p, struct metrics *m); /* -ENOMEM */

#endif
