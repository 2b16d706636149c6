/* SPDX-License-Identifier: Apache-2.0
 *
 * What another service said of a key: values of columns, in one block of bytes, which is also how it is stored:
 *
 *      outcome, size, nulls | value of each column, of a string its length | texts
 */
#ifndef WEIR_LOOKUP_ANSWER_H
#define WEIR_LOOKUP_ANSWER_H

#include "batch/batch.h"
#include "config/config.h"
#include "decode/decode.h"

#include <assert.h>
#include <stdatomic.h>

enum answer_outcome {
    ANSWER_FOUND,
    ANSWER_MISSING, /* 404, or none of the columns: all are null */
    ANSWER_FAILED, /* nobody answered: all are null, and on_error says what becomes of the row */
};

struct answer_bytes {
    uint32_t outcome, size; /* of all of it */
    uint64_t nulls;         /* bits of columns */
    uint64_t value[];       /* then texts */
};
static_assert(CONFIG_LOOKUP_COLUMNS_MAX <= 64, "a bit for each column");

struct answer {
    _Atomic uint32_t refs; /* taken relaxed, given back acq_rel */
    struct answer_bytes bytes;
};

/* Of `n` columns, with nothing in it but nulls. NULL: no memory. */
struct answer *answer_new(enum answer_outcome outcome, size_t n);
/* From what is stored, of `schema` (its columns behind the time). -EBADMSG, -ENOMEM. */
int answer_load(const char *bytes, size_t size, const struct schema *schema,
                struct answer **ret);
struct answer *answer_ref(struct answer *a);
void answer_unref(struct answer *a); /* takes NULL */

/* Reads answers of one service. One thread. */
struct answer_reader;
int answer_reader_new(const struct config_lookup *c, struct answer_reader **ret);
void answer_reader_free(struct answer_reader *r); /* takes NULL */
/* A JSON object. -EBADMSG with a text: it is none, or a value is of another type; -ENOMEM. */
int answer_read(struct answer_reader *r, const char *text, size_t size,
                struct answer **ret, struct error *error);

#define ANSWER_TEXTS_MAX 65536u /* bytes of all strings of one that is made of cells */

/* Of cells as plugins put them, null or of the type of their column. -E2BIG, -ENOMEM. */
int answer_of_cells(const struct weir_cell *cell, const struct schema *schema,
                    struct answer **ret);

/* Column `column` of the answers, one a row (NULL: null), becomes column `c` of a batch made by batch_extend. *cut: texts for
 * which it had no room. -ENOMEM. */
int answer_gather(const struct answer *const *row, size_t column,
                  const struct schema *schema, struct batch *to, size_t c,
                  uint64_t *cut);

#endif
