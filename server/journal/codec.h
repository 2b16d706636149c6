/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows and schemas as bytes of the journal, and back. Columns are written one after the other, numbers as
 * narrow as the batch allows, so that a commit has little to write, and reading a journal is a good deal
 * faster than decoding the events was. docs/journal.md draws
 * the bytes; numbers are little-endian.
 */
#ifndef WEIR_JOURNAL_CODEC_H
#define WEIR_JOURNAL_CODEC_H

#include "batch/batch.h"

/* How wide the numbers of a batch have to be on disk: found once, for size and writing. */
struct codec_plan {
    struct codec_width {
        uint32_t
            width; /* bytes of a value, or of a string's length: 1, 2, 4, 8; 0: bits */
        int64_t base; /* that values are counted from */
    } column[SCHEMA_COLUMNS_MAX];
    size_t size; /* bytes that codec_write makes; a multiple of 8 */
};

/* Of a batch (built, not necessarily sealed) that does not change until it is written. */
void codec_plan_make(const struct batch *b, struct codec_plan *ret);
void codec_write(const struct batch *b, const struct codec_plan *plan, char *to);

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
