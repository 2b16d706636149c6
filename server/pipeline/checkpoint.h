/* SPDX-License-Identifier: Apache-2.0
 *
 * What a worker remembers, as bytes, and back: the open groups in blocks of slots, and the watermark.
 * Only blocks that changed since the last checkpoint are written again.
 *
 *      block:  group group group ...
 *      group:  window, size of the key, revision | key | state of each analyzer
 *
 * A state is its bytes as they lie in memory, or, where the plugin has `save`, what that writes, behind
 * its size. Everything begins at a multiple of 8. Whether a window was given out already follows from
 * the watermark. A group belongs to the worker that its key hashes to when it is read: the number of
 * workers may have changed.
 */
#ifndef WEIR_PIPELINE_CHECKPOINT_H
#define WEIR_PIPELINE_CHECKPOINT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct checkpoint_block {
    uint32_t number;
    uint32_t size; /* 0: it holds nothing any more */
    char *data;
};

/* One worker's part: what it knows after the entry at `position`. */
struct checkpoint {
    uint64_t number; /* as the log counts them: parts of one have the same */
    uint64_t position;
    unsigned worker, workers;
    bool whole;       /* blocks that are not here hold nothing */
    char *stream;     /* that it reads; of worker 0, otherwise NULL */
    char *definition; /* what the states are of; of worker 0, otherwise NULL */
    char *marks;      /* the watermark and its sources; of worker 0, otherwise NULL */
    size_t marks_size;
    uint64_t groups; /* open in all blocks */
    size_t n_blocks;
    struct checkpoint_block *block;
    /* Of worker 0: those of the streams that the pipeline joins, under names of their own; each of one worker. */
    struct checkpoint *inputs;
    char *pipeline;          /* of an input: its name; otherwise NULL */
    bool written;            /* the store's: in the transaction at hand */
    struct checkpoint *next; /* for lists */
};
void checkpoint_free(struct checkpoint *c); /* with its inputs; takes NULL */

struct log_entry;
struct worker;
struct config_derive;
struct pipeline;

/* Of the worker as it is, as the entry LOG_CHECKPOINT asks for; its blocks count as unchanged from now on. -EINVAL: a plugin failed (the text
 * is in its host); -ENOMEM. */
int checkpoint_make(struct worker *w, const struct log_entry *e,
                    struct checkpoint **ret);

/* All groups of the worker, as bytes of blocks: each behind those of its part, to[part(ctx, key)]. What counts as changed stays as
 * it is. Analyzers run in its thread. -EINVAL: as above; -ENOMEM. */
struct buffer;
int checkpoint_put_parts(struct worker *w,
                         size_t (*part)(void *ctx, const char *key, size_t size),
                         void *ctx, struct buffer *to);

/* The times of a worker's watermark, without sources. */
struct checkpoint_times {
    int64_t value_us, newest_us;
    int64_t unknown_us; /* groups of windows that ended at or before it are not there */
};
struct checkpoint_times checkpoint_times(const struct worker *w);
/* Before the worker runs; groups follow. */
void checkpoint_set_times(struct worker *w, const struct checkpoint_times *t);

/* Opens the groups of a block in the workers that their keys belong to. Before the workers run. -EBADMSG:
 * not what checkpoint_make writes; -EINVAL: a plugin cannot load its state; -ENOSPC; -ENOMEM. */
int checkpoint_load_block(struct pipeline *p, const char *data, size_t size,
                          struct error *error);
/* Sets the watermark of all workers; with_groups: the blocks follow. Otherwise what is open begins anew, but for
 * windows that had been given out behind the checkpoint, up to the watermark that the workers were made with.
 * -EBADMSG. */
int checkpoint_load_marks(struct pipeline *p, const char *marks, size_t size,
                          bool with_groups);

/* Whether the bytes have the form of a block whose states are what `definition` says, or of a watermark; no
 * plugin is asked. *ret_groups: how many there are. -EBADMSG. */
int checkpoint_block_form(const char *definition, const char *data, size_t size,
                          uint64_t *ret_groups);
int checkpoint_marks_form(const char *marks, size_t size);

/* A line that says of what analyzer the states of a step are, as if they were of that version. */
struct step;
void checkpoint_put_step(const struct step *s, uint32_t version, struct buffer *to);
/* States of that version, as of ours? */
struct weir_analyzer;
bool checkpoint_loads(const struct weir_analyzer *a, uint32_t version);

/* Text that says what the states of the pipeline are of: the same text, the same states. -ENOMEM. */
int checkpoint_definition(const struct pipeline *p, char **ret);
/* Does the pipeline use the column of its schema? Does one of these texts name it? */
bool checkpoint_uses(const struct pipeline *p, size_t column);
bool checkpoint_names(const struct config_derive *d, const char *name);

/* " NAME=VALUE" of the parameter in a config struct, as definitions have it. */
struct weir_param;
void checkpoint_put_param(struct buffer *b, const struct weir_param *p,
                          const char *config);

/* Can the pipeline load what was stored under this definition? Its own, or one that differs only in that states are of
 * versions that their analyzers load still: they will be told. Before checkpoint_load_block. -ENOMEM. */
int checkpoint_can_load(struct pipeline *p, const char *definition, bool *ret);
/* Of one that it cannot load: says of the first analyzer whose states have another version which ones; false: none has. */
bool checkpoint_other_version(const struct pipeline *p, const char *definition,
                              char *text, size_t room);

#endif
