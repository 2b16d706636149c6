/* SPDX-License-Identifier: Apache-2.0
 *
 * Arithmetic, comparisons and logic over the rows of a block, an operation at a time, with what SQLite makes of null,
 * division by zero, and numbers of different types. Where a row would get another type than the others (a whole
 * number that overflows is a real one in SQLite), the whole block is SQLite's.
 */
#ifndef WEIR_EXPR_VECTOR_H
#define WEIR_EXPR_VECTOR_H

#include "batch/batch.h"
#include "expr/parse.h"

enum vector_kind { VECTOR_INT, VECTOR_REAL, VECTOR_TEXT };

/* Values of the rows of a block; of null ones anything, as long as it can be read. */
struct vector_values {
    enum vector_kind kind;
    bool nulls; /* false: `null` is not looked at */
    uint8_t null[BATCH_BLOCK];
    union {
        int64_t i[BATCH_BLOCK];
        double f[BATCH_BLOCK];
        const char *text[BATCH_BLOCK];
    };
    uint32_t size[BATCH_BLOCK]; /* of texts */
};

struct vector;

/* *ret is NULL if something in it is for SQLite alone. The tree must stay. -ENOMEM. */
int vector_new(const struct expr_tree *tree, const struct schema *schema,
               struct vector **ret);
void vector_free(struct vector *v); /* takes NULL */

/* The values of rows row[0..n) of a sealed batch, n at most BATCH_BLOCK; valid until the next call. NULL: SQLite is to
 * be asked. Branches of a CASE that are whole and real numbers come as real ones. */
const struct vector_values *vector_run(struct vector *v, const struct batch *b,
                                       const uint32_t *row, uint32_t n);

#endif
