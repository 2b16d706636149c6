/* SPDX-License-Identifier: Apache-2.0
 *
 * Entries of the log, and what they are in the payload of a journal's frame (docs/journal.md):
 *
 *      kind size | bytes, to a multiple of 8 || kind size | bytes || ...
 *
 * Some have a position (batches, silence), some only say what others need to be read: the schema, the
 * names of sources, the keys of requests.
 */
#ifndef WEIR_LOG_ENTRY_H
#define WEIR_LOG_ENTRY_H

#include "journal/codec.h"
#include "log/log.h"

int entry_new(enum log_kind kind, struct log_entry **ret);

/* A mark for one pipeline; NULL: for all. -ENOMEM. */
int entry_mark(enum log_kind kind, const char *pipeline, uint32_t source,
               int64_t time_us, struct log_entry **ret);

/* Frees what the dispatcher has made of the columns. */
void entry_unprepare(struct log_entry *e);

/* Puts the rows of `from` behind those of `to`, and frees it; batches of one source that nobody else has.
 * The batch is to be sealed again. -ENOMEM, -ENOSPC: nothing has changed. */
int entry_join(struct log_entry *to, struct log_entry *from);

/* ---- To the journal's frame: -ENOMEM where there is no room ---- */
int entry_write(struct journal *j, const struct log_entry *e);
int entry_write_schema(struct journal *j, const struct schema *s);
int entry_write_source(struct journal *j, uint32_t number, const char *name);
int entry_write_bookmark(struct journal *j, uint32_t source, const char *bookmark);
int entry_write_request_id(struct journal *j, const struct request_id *key,
                           int64_t taken_us);

/* Bytes that it takes there: exactly, if it is held; at most, found without looking at the rows, and so that the sizes of two
 * batches are enough for both joined. */
size_t entry_size(const struct batch *b);
size_t entry_size_max(const struct batch *b);
size_t entry_request_id_size(const struct request_id *key);
#define ENTRY_MARK_SIZE 24u /* of one that is no batch, for all pipelines */
size_t entry_bookmark_size(const char *bookmark);

/* ---- From a frame ---- */
struct entry_calls {
    int (*entry)(void *ctx, struct log_entry *e); /* owns it; position is set */
    int (*source)(void *ctx, uint32_t number, const char *name, size_t size);
    int (*key)(void *ctx, const struct request_id *key, int64_t taken_us);
    /* Of the entry that follows. */
    int (*bookmark)(void *ctx, uint32_t source, const char *bookmark, size_t size);
    /* A batch whose schema is not known, or that does not fit it. NULL: -EBADMSG. */
    int (*unreadable)(void *ctx, uint64_t position, uint32_t source);
    void *ctx;
};

/* Reads the entries of a frame with positions in (after, up_to], and all that have none. *map is that of
 * the schema in force, NULL if it is not known; it is replaced when the frame says another, and forgotten when a
 * batch does not fit it. -EBADMSG: not what a log writes. */
int entry_read(const struct journal_frame *f, uint64_t after, uint64_t up_to,
               const struct schema *schema, struct codec_map **map,
               const struct entry_calls *calls);

#endif
