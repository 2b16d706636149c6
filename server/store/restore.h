/* SPDX-License-Identifier: Apache-2.0
 *
 * What a restart goes on from, read from the file through a connection of its own: checkpoints of
 * pipelines, their groups, keys of requests, bookmarks, tables that are joined.
 */
#ifndef WEIR_STORE_RESTORE_H
#define WEIR_STORE_RESTORE_H

#include "base/error.h"
#include "batch/request.h"
#include "store/journals.h"

struct restore;
/* A line of weir_meta; free(). -ENOENT. */
int restore_meta(struct restore *r, const char *key, char **ret, struct error *error);

/* A file that store_open has opened. -EIO, ... */
int restore_open(const char *path, struct restore **ret, struct error *error);
void restore_close(struct restore *r); /* takes NULL */

/* See journals_kept. */
int restore_stream(struct restore *r, const char *stream, uint64_t *ret_position,
                   struct error *error);
/* How far it is with the stream and its pipelines; see journals_needs. */
int restore_needs(struct restore *r, const struct config *config, const char *stream,
                  struct journals_needs *ret, struct error *error);
/* Keys taken at or after since_us, oldest first. Stops with what call returns below 0. */
int restore_keys(struct restore *r, const char *stream, int64_t since_us,
                 int (*call)(void *ctx, const struct request_id *key, int64_t taken_us),
                 void *ctx, struct error *error);

/* The same of bookmarks. */
int restore_bookmarks(struct restore *r, const char *stream,
                      int (*call)(void *ctx, const char *source, const char *bookmark),
                      void *ctx, struct error *error);

/* The committed watermark of a pipeline; -ENOENT: none. */
int restore_watermark(struct restore *r, const char *pipeline, int64_t *ret_us,
                      struct error *error);

struct restore_checkpoint {
    uint64_t position, groups;
    char *definition, *marks; /* malloc'ed; marks NULL: nothing seen */
    size_t marks_size;
};
void restore_checkpoint_free(struct restore_checkpoint *c);

/* Of the pipeline when it read the stream. -ENOENT: none. */
int restore_checkpoint(struct restore *r, const char *pipeline, const char *stream,
                       struct restore_checkpoint *ret, struct error *error);
/* What other services have answered for it behind `position`, in order. Stops with what call returns below 0. */
int restore_answers(struct restore *r, const char *pipeline, uint64_t position,
                    int (*call)(void *ctx, uint64_t first, uint64_t last,
                                const char *data, size_t size),
                    void *ctx, struct error *error);
/* A table that a pipeline joins: its rows, by key and time, as sealed batches of c->read. take NULL: only whether there
 * is such a table, with such columns. *ret_wrong: values that are not of the types that they should be, which are
 * null. -EINVAL: there is none. -ETIMEDOUT: it takes too long. Stops with what take returns below 0. */
struct batch;
struct config_reference;
int restore_reference(struct restore *r, const struct config_reference *c,
                      int (*take)(void *ctx, const struct batch *b,
                                  struct error *error),
                      void *ctx, uint64_t *ret_wrong, struct error *error);
/* The blocks of its groups. Stops with what call returns below 0. -EBADMSG: one is empty. */
int restore_states(struct restore *r, const char *pipeline,
                   int (*call)(void *ctx, const char *data, size_t size), void *ctx,
                   struct error *error);

#endif
