/* SPDX-License-Identifier: Apache-2.0
 *
 * From what the database and the journals have to running pipelines: the one way in which a pipeline
 * starts, whether the server was stopped, killed, or told to reload.
 *
 *      checkpoint found, same definition    its groups and watermark; entries behind its position follow
 *      another definition                   its watermark only: open windows begin anew
 *      none                                 at the end of the log; of a stream that the database does not
 *                                           know, or with `backfill`, at the beginning of its journal
 */
#ifndef WEIR_RECOVER_H
#define WEIR_RECOVER_H

#include "store/restore.h"
#include "wire.h"

/* How far the database is with a stream, before its log is made: fills in position, kept and least. */
int recover_stream(struct weir *w, struct restore *r, size_t stream,
                   struct log_options *options, struct error *error);

/* Keys of requests into the log. */
int recover_keys(struct weir *w, struct restore *r, size_t stream, struct error *error);

/* Prepares the pipeline and gives it what there is. *ret_position: of the last entry of the stream that it knows; given: that
 * of its parent, or 0. *ret_stores: it is to make its first checkpoint, so that the next start finds where it began. */
int recover_pipeline(struct weir *w, struct restore *r, struct pipeline *p,
                     uint64_t *ret_position, bool *ret_stores, struct error *error);

/* The tables that pipelines of `w` join: are they in the database at `path`, with such columns; `rows`: and can they be
 * read? -EINVAL. */
int recover_check_references(const struct weir *w, const char *path, bool rows,
                             struct error *error);
/* For a pipeline that is not prepared yet: its tables, as they are now. */
int recover_read_references(const struct weir *w, struct restore *r, struct pipeline *p,
                            struct error *error);
/* Have they changed since one that runs has read them? */
int recover_references_differ(const struct weir *w, struct restore *r,
                              struct pipeline *p, bool *ret, struct error *error);

/* Groups of pipelines that are not configured any more, and that the journal has been trimmed past, leave the
 * database. On the main thread, or that of a reload. */
void recover_forget(struct weir *w);

/* Where one that does not run keeps its place: what it has stored, as far as the journal has what is behind it. */
int recover_place(struct weir *w, struct restore *r, struct pipeline *p,
                  struct log *log, uint64_t *ret_position, struct error *error);
/* The same of a stream that it joins, by the name of that place ("PIPELINE.STREAM"). */
int recover_input_place(struct weir *w, struct restore *r, const char *name,
                        size_t stream, uint64_t *ret_position, struct error *error);

#endif
