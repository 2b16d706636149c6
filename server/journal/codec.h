/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows and schemas as bytes of the journal, and back. Columns are written as they lie in memory, so
 * that reading a journal is a good deal faster than decoding the events was. docs/journal.md draws
 * the bytes; numbers are little-endian.
 */
#ifndef WEIR_JOURNAL_CODEC_H
#define WEIR_JOURNAL_CODEC_H

#include "batch/batch.h"

/* Bytes that codec_write makes of the batch (built, not necessarily sealed); a multiple of 8. */
size_t codec_size(const struct batch *b);
void codec_write(const struct batch *b, char *to);

/* The schema as bytes, so that entries can be read after the configuration has changed. */
size_t codec_schema_size(const struct schema *s);
void codec_schema_write(const struct schema *s, char *to);

/* How the columns of entries that were written with another schema become those of `want`: by name and
 * type; a column that is missing or of another type is null in these rows. The event time is column 0,
 * whatever it was called. */
struct codec_map;
/* -EBADMSG: no schema, or not exactly one; -ENOMEM. `want` has to live as long as the map. */
int codec_map_new(const struct schema *want, const char *bytes, size_t size,
                  struct codec_map **ret);
void codec_map_free(struct codec_map *m);          /* takes NULL */
bool codec_map_is_same(const struct codec_map *m); /* the two schemas are equal */

/* A fresh, unsealed batch of the schema that is wanted. -EBADMSG: the bytes are not exactly one batch of
 * the written schema (whatever they are: never a read beyond them, never a row that breaks a batch's
 * invariants); -ENOMEM. */
int codec_read(const struct codec_map *m, const char *bytes, size_t size,
               struct batch **ret);

#endif
