/* SPDX-License-Identifier: Apache-2.0
 *
 * The distinct keys of a sealed batch, numbered 0, 1, 2, ... in the order of their first row: after
 * this pass a worker looks up each distinct key once, and each row is an array index.
 *
 * A key is written as bytes whose memcmp order is the order of its columns in SQLite: a string is its
 * bytes (followed by 0 0, with a zero inside as 0 255, unless it is the last column), an int 8 bytes,
 * most significant first, with the sign turned, a bool one byte.
 */
#ifndef WEIR_BATCH_KEYS_H
#define WEIR_BATCH_KEYS_H

#include "batch/batch.h"
#include "batch/cell.h"

#define KEY_NULL      UINT32_MAX /* id of a row in which a key column is null */
#define KEY_BYTES_MAX 4096u /* of one key; rows with a longer one get KEY_TOO_LONG */
#define KEY_TOO_LONG  (UINT32_MAX - 1)

struct key_ids {
    uint32_t n;       /* distinct keys */
    uint32_t *id;     /* of each row of the batch */
    uint64_t *hash;   /* of each key: hash_bytes of its bytes */
    uint32_t *offset; /* n + 1; key k is bytes[offset[k]] to bytes[offset[k + 1]] */
    char *bytes;
    size_t id_size, hash_size, offset_size, bytes_size; /* of the pool's blocks */
};

/* No columns: all rows have key 0, which is empty. -ENOMEM. */
int keys_new(const struct batch *b, const size_t *columns, size_t n_columns,
             struct key_ids **ret);
void keys_free(struct key_ids *k); /* takes NULL */

/* Reads one column's value off the front of a key; moves *p on. Strings point into the key, or, if
 * they had to be unescaped, into `scratch` (at least KEY_BYTES_MAX). `last`: no terminator. */
void keys_read(const char **p, const char *end, enum weir_type type, bool last,
               char *scratch, struct weir_cell *ret);

/* Moves *p behind one column's value. False: the bytes up to `end` do not begin with one. */
bool keys_skip(const char **p, const char *end, enum weir_type type, bool last);

/* A string column with its dictionary: codes in place of row offsets. */
struct dictionary {
    struct weir_column view;
    struct key_ids *keys;
};
int dictionary_new(const struct batch *b, size_t column, struct dictionary **ret);
void dictionary_free(struct dictionary *d);

#endif
