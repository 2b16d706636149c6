/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/keys.h"

#include "base/hash.h"
#include "batch/pool.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Open addressing over the distinct keys: id + 1 of the key that lies there, 0 where none does. */
struct key_table {
    uint32_t *slot;
    size_t slot_size;
    uint32_t mask;
};

static bool same_bytes(const char *a, const char *b, size_t n)
{
    if (n >= 8) {
        for (size_t i = 0; i + 8 <= n; i += 8)
            if (hash_load(a + i, 8) != hash_load(b + i, 8))
                return false;
        return hash_load(a + n - 8, 8) == hash_load(b + n - 8, 8);
    }
    if (n >= 4)
        return hash_load(a, 4) == hash_load(b, 4) &&
               hash_load(a + n - 4, 4) == hash_load(b + n - 4, 4);
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

static int table_resize(struct key_table *t, const struct key_ids *k, uint32_t slots)
{
    size_t size;
    uint32_t *slot = pool_get((size_t)slots * sizeof(*slot), &size);
    if (!slot)
        return -ENOMEM;
    memset(slot, 0, (size_t)slots * sizeof(*slot));
    for (uint32_t id = 0; id < k->n; id++) {
        uint32_t i = (uint32_t)k->hash[id] & (slots - 1);
        while (slot[i])
            i = (i + 1) & (slots - 1);
        slot[i] = id + 1;
    }
    pool_put(t->slot, t->slot_size);
    *t = (struct key_table){.slot = slot, .slot_size = size, .mask = slots - 1};
    return 0;
}

/* Room for one more key of `size` bytes. */
static int reserve_key(struct key_ids *k, struct key_table *t, size_t size)
{
    if (2 * (k->n + 1) > t->mask && table_resize(t, k, 4 * (t->mask + 1)) < 0)
        return -ENOMEM;
    uint64_t *hash = pool_grow(k->hash, k->hash_size, k->n * sizeof(*hash),
                               (k->n + 1) * sizeof(*hash), &k->hash_size);
    if (!hash)
        return -ENOMEM;
    k->hash = hash;
    uint32_t *offset =
        pool_grow(k->offset, k->offset_size, (k->n + 1) * sizeof(*offset),
                  (k->n + 2) * sizeof(*offset), &k->offset_size);
    if (!offset)
        return -ENOMEM;
    k->offset = offset;
    char *bytes = pool_grow(k->bytes, k->bytes_size, k->offset[k->n],
                            k->offset[k->n] + size, &k->bytes_size);
    if (!bytes)
        return -ENOMEM;
    k->bytes = bytes;
    return 0;
}

/* The id of the key, a new one if it was not there. */
static inline int find_or_add(struct key_ids *k, struct key_table *t, const char *key,
                              size_t size, uint32_t *ret_id)
{
    uint64_t h = hash_bytes(key, size);
    uint32_t i = (uint32_t)h & t->mask;
    for (; t->slot[i]; i = (i + 1) & t->mask) {
        uint32_t id = t->slot[i] - 1;
        if (k->hash[id] == h && k->offset[id + 1] - k->offset[id] == size &&
            same_bytes(k->bytes + k->offset[id], key, size)) {
            *ret_id = id;
            return 0;
        }
    }
    if (reserve_key(k, t, size) < 0)
        return -ENOMEM;
    for (i = (uint32_t)h & t->mask; t->slot[i];) /* the table may have grown */
        i = (i + 1) & t->mask;
    memcpy(k->bytes + k->offset[k->n], key, size);
    k->offset[k->n + 1] = k->offset[k->n] + (uint32_t)size;
    k->hash[k->n] = h;
    t->slot[i] = k->n + 1;
    *ret_id = k->n++;
    return 0;
}

/* ---- Keys as bytes ---------------------------------------------------------------------------- */

/* The put functions move *to on, and return false if there is no room up to `end`. */
static bool put_string(char **to, const char *end, const char *s, size_t size,
                       bool last)
{
    char *p = *to;
    size_t room = (size_t)(end - p), more = last ? 0 : 2;
    if (size + more > room)
        return false;
    if (last || size == 0 || !memchr(s, 0, size)) {
        memcpy(p, s, size);
        p += size;
    } else {
        room -= size + more; /* what is left for zeros */
        for (size_t i = 0; i < size; i++) {
            *p++ = s[i];
            if (s[i])
                continue;
            if (room-- == 0)
                return false;
            *p++ = (char)255;
        }
    }
    memset(p, 0, more);
    *to = p + more;
    return true;
}

static bool put_int(char **to, const char *end, int64_t v)
{
    uint64_t big = __builtin_bswap64((uint64_t)v ^ UINT64_C(1) << 63);
    if (end - *to < (ptrdiff_t)sizeof(big))
        return false;
    memcpy(*to, &big, sizeof(big));
    *to += sizeof(big);
    return true;
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "put_int and hash_load assume it");

static bool row_is_null(const struct column *c, uint32_t row)
{
    return c->null_count && !(c->validity[row >> 3] >> (row & 7) & 1);
}

/* The value of one key column. */
static bool put_value(char **to, const char *end, const struct column *c, uint32_t row,
                      bool last)
{
    if (c->type == WEIR_STRING)
        return put_string(to, end, c->bytes + c->offsets[row],
                          (size_t)(c->offsets[row + 1] - c->offsets[row]), last);
    if (c->type != WEIR_BOOL)
        return put_int(to, end, ((const int64_t *)c->values)[row]);
    if (*to == end)
        return false;
    *(*to)++ = (char)(((const uint8_t *)c->values)[row >> 3] >> (row & 7) & 1);
    return true;
}

void keys_read(const char **p, const char *end, enum weir_type type, bool last,
               char *scratch, struct weir_cell *ret)
{
    const char *s = *p;
    if (type == WEIR_BOOL) {
        *ret = (struct weir_cell){.type = WEIR_BOOL, .as.i = *s};
        *p = s + 1;
    } else if (type != WEIR_STRING) {
        uint64_t big;
        memcpy(&big, s, sizeof(big));
        *ret = (struct weir_cell){.type = (uint32_t)type};
        ret->as.i = (int64_t)(__builtin_bswap64(big) ^ UINT64_C(1) << 63);
        *p = s + 8;
    } else if (last) {
        cell_put_string(ret, s, (size_t)(end - s));
        *p = end;
    } else {
        size_t n = 0;
        while (s[0] || s[1]) {
            scratch[n++] = *s;
            s += *s ? 1 : 2;
        }
        cell_put_string(ret, scratch, n);
        *p = s + 2;
    }
}

/* Behind the terminator of a string; NULL: it has none. */
static const char *skip_string(const char *s, const char *end)
{
    while (end - s >= 2 && (s[0] || (unsigned char)s[1] == 255))
        s += s[0] ? 1 : 2;
    return end - s >= 2 && !s[1] ? s + 2 : NULL;
}

bool keys_skip(const char **p, const char *end, enum weir_type type, bool last)
{
    const char *s = *p;
    if (type == WEIR_STRING)
        s = last ? end : skip_string(s, end);
    else if (type == WEIR_BOOL)
        s = end - s >= 1 && (*s == 0 || *s == 1) ? s + 1 : NULL;
    else
        s = end - s >= 8 ? s + 8 : NULL;
    if (s)
        *p = s;
    return s != NULL;
}

/* ---- The passes over a batch ------------------------------------------------------------------ */

static int strings_pass(const struct column *c, uint32_t n_rows, bool keys,
                        struct key_ids *k, struct key_table *t)
{
    for (uint32_t row = 0; row < n_rows; row++) {
        size_t size = (size_t)(c->offsets[row + 1] - c->offsets[row]);
        if (keys && row_is_null(c, row))
            k->id[row] = KEY_NULL;
        else if (keys && size > KEY_BYTES_MAX)
            k->id[row] = KEY_TOO_LONG;
        else if (find_or_add(k, t, c->bytes + c->offsets[row], size, &k->id[row]) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int composed_row(const struct batch *b, const size_t *columns, size_t n_columns,
                        uint32_t row, struct key_ids *k, struct key_table *t)
{
    char key[KEY_BYTES_MAX], *to = key;
    k->id[row] = KEY_NULL;
    for (size_t i = 0; i < n_columns; i++) {
        const struct column *c = &b->column[columns[i]];
        if (row_is_null(c, row))
            return 0;
        if (!put_value(&to, key + sizeof(key), c, row, i + 1 == n_columns)) {
            k->id[row] = KEY_TOO_LONG;
            return 0;
        }
    }
    return find_or_add(k, t, key, (size_t)(to - key), &k->id[row]);
}

static int composed_pass(const struct batch *b, const size_t *columns, size_t n_columns,
                         struct key_ids *k, struct key_table *t)
{
    for (uint32_t row = 0; row < b->n_rows; row++)
        if (composed_row(b, columns, n_columns, row, k, t) < 0)
            return -ENOMEM;
    return 0;
}

static int keys_begin(const struct batch *b, struct key_ids **ret, struct key_table *t)
{
    struct key_ids *k = calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    k->id = pool_get(((size_t)b->n_rows + 1) * sizeof(*k->id), &k->id_size);
    k->offset = pool_get(2 * sizeof(*k->offset), &k->offset_size);
    *t = (struct key_table){0};
    if (!k->id || !k->offset || table_resize(t, k, 1024) < 0) {
        keys_free(k);
        return -ENOMEM;
    }
    k->offset[0] = k->offset[1] = 0;
    *ret = k;
    return 0;
}

int keys_new(const struct batch *b, const size_t *columns, size_t n_columns,
             struct key_ids **ret)
{
    struct key_table t;
    struct key_ids *k;
    int r = keys_begin(b, &k, &t);
    if (r < 0)
        return r;
    if (n_columns == 1 && b->column[columns[0]].type == WEIR_STRING)
        r = strings_pass(&b->column[columns[0]], b->n_rows, true, k, &t);
    else
        r = composed_pass(b, columns, n_columns, k, &t);
    pool_put(t.slot, t.slot_size);
    if (r < 0) {
        keys_free(k);
        return r;
    }
    *ret = k;
    return 0;
}

void keys_free(struct key_ids *k)
{
    if (!k)
        return;
    pool_put(k->id, k->id_size);
    pool_put(k->hash, k->hash_size);
    pool_put(k->offset, k->offset_size);
    pool_put(k->bytes, k->bytes_size);
    free(k);
}

int dictionary_new(const struct batch *b, size_t column, struct dictionary **ret)
{
    struct dictionary *d = calloc(1, sizeof(*d));
    if (!d)
        return -ENOMEM;
    struct key_table t;
    int r = keys_begin(b, &d->keys, &t);
    if (r < 0) {
        free(d);
        return r;
    }
    r = strings_pass(&b->column[column], b->n_rows, false, d->keys, &t);
    pool_put(t.slot, t.slot_size);
    if (r < 0) {
        dictionary_free(d);
        return r;
    }
    d->view = b->view[column];
    d->view.values = d->keys->id;
    d->view.offsets = (const int32_t *)d->keys->offset;
    d->view.bytes = d->keys->bytes;
    d->view.dictionary_size = d->keys->n;
    *ret = d;
    return 0;
}

void dictionary_free(struct dictionary *d)
{
    if (!d)
        return;
    keys_free(d->keys);
    free(d);
}
