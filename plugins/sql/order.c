/* SPDX-License-Identifier: Apache-2.0 */
#include "order.h"

#include <stdlib.h>
#include <string.h>

#define SHORT 8u /* bytes of a string that are a number themselves */

static int compare_bytes(const char *a, size_t a_size, const char *b, size_t b_size)
{
    int c = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return c ? c : (a_size > b_size) - (a_size < b_size);
}

int order_compare(const struct weir_column *c, uint32_t a, uint32_t b)
{
    size_t a_size, b_size;
    switch (c->type) {
    case WEIR_FLOAT: {
        double x = weir_number(c, a), y = weir_number(c, b);
        return (x > y) - (x < y);
    }
    case WEIR_STRING: {
        const char *x = weir_string(c, a, &a_size), *y = weir_string(c, b, &b_size);
        return compare_bytes(x, a_size, y, b_size);
    }
    case WEIR_BOOL:
        return weir_bool(c, a) - weir_bool(c, b);
    default: {
        int64_t x = weir_int(c, a), y = weir_int(c, b);
        return (x > y) - (x < y);
    }
    }
}

/* ---- Radix ------------------------------------------------------------------------------------- */

/* Least byte first; bytes in which all keys are alike cost nothing. */
static void sort_items(struct order_item *item, size_t n)
{
    struct order_item *from = item, *to = item + n;
    uint64_t differ = 0;
    for (size_t i = 1; i < n; i++)
        differ |= item[i].key ^ item[0].key;
    for (unsigned shift = 0; shift < 64; shift += 8) {
        size_t at[257] = {0};
        if (!(differ >> shift & 255))
            continue;
        for (size_t i = 0; i < n; i++)
            at[(from[i].key >> shift & 255) + 1]++;
        for (unsigned k = 1; k < 257; k++)
            at[k] += at[k - 1];
        for (size_t i = 0; i < n; i++)
            to[at[from[i].key >> shift & 255]++] = from[i];
        struct order_item *swap = from;
        from = to;
        to = swap;
    }
    if (from != item)
        memcpy(item, from, n * sizeof(*item));
}

/* By the keys that the items have, of row[0..n), to row[]. */
static void sort_rows(uint32_t *row, size_t n, struct order_item *item, int descending)
{
    for (size_t i = 0; i < n; i++) {
        item[i].row = row[i];
        if (descending)
            item[i].key = ~item[i].key;
    }
    sort_items(item, n);
    for (size_t i = 0; i < n; i++)
        row[i] = item[i].row;
}

/* ---- Keys of numbers and short strings --------------------------------------------------------- */

static uint64_t int_key(int64_t v)
{
    return (uint64_t)v ^ UINT64_C(1) << 63;
}

static uint64_t float_key(double v)
{
    uint64_t bits;
    v += 0.0; /* -0.0 is 0.0 */
    memcpy(&bits, &v, sizeof(bits));
    return bits >> 63 ? ~bits : bits ^ UINT64_C(1) << 63;
}

static uint64_t short_key(const char *s, size_t size)
{
    uint64_t v = 0;
    for (size_t i = 0; i < SHORT; i++)
        v = v << 8 | (i < size ? (unsigned char)s[i] : 0);
    return v;
}

static void number_keys(const struct weir_column *c, const uint32_t *row, size_t n,
                        struct order_item *item)
{
    if (c->type == WEIR_FLOAT)
        for (size_t i = 0; i < n; i++)
            item[i].key = float_key(weir_number(c, row[i]));
    else if (c->type == WEIR_BOOL)
        for (size_t i = 0; i < n; i++)
            item[i].key = (uint64_t)weir_bool(c, row[i]);
    else
        for (size_t i = 0; i < n; i++)
            item[i].key = int_key(weir_int(c, row[i]));
}

/* A string and another with zeros behind it have the same key: their sizes are sorted by first. */
static void sort_short(const struct weir_column *c, uint32_t *row, size_t n,
                       struct order_item *item, int descending)
{
    size_t size;
    for (size_t i = 0; i < n; i++) {
        weir_string(c, row[i], &size);
        item[i].key = size;
    }
    sort_rows(row, n, item, descending);
    for (size_t i = 0; i < n; i++) {
        const char *s = weir_string(c, row[i], &size);
        item[i].key = short_key(s, size);
    }
    sort_rows(row, n, item, descending);
}

/* ---- Ranks of other strings -------------------------------------------------------------------- */

struct distinct {
    const struct weir_column *column;
    uint64_t seed;
    uint32_t *slot; /* open addressing: number of a distinct string + 1 */
    size_t mask;
    uint32_t *row, *rank; /* of each distinct string: a row that has it; its place */
    uint32_t n;
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t m = (__uint128_t)(a ^ UINT64_C(0x9e3779b97f4a7c15)) *
                    (b ^ UINT64_C(0xe7037ed1a0b428db));
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static uint64_t hash(const char *s, size_t size, uint64_t seed)
{
    uint64_t h = seed ^ size, v;
    for (; size >= 8; s += 8, size -= 8) {
        memcpy(&v, s, 8);
        h = mix(h, v);
    }
    v = 0;
    memcpy(&v, s, size);
    return mix(mix(h, v), seed);
}

/* The number of the row's string. */
static uint32_t number_of(struct distinct *d, uint32_t row)
{
    size_t size, other_size;
    const char *s = weir_string(d->column, row, &size);
    size_t i = (size_t)hash(s, size, d->seed) & d->mask;
    for (; d->slot[i]; i = (i + 1) & d->mask) {
        const char *other = weir_string(d->column, d->row[d->slot[i] - 1], &other_size);
        if (size == other_size && memcmp(s, other, size) == 0)
            return d->slot[i] - 1;
    }
    d->row[d->n] = row;
    d->slot[i] = ++d->n;
    return d->n - 1;
}

static int compare_numbers(const void *a, const void *b, void *distinct)
{
    const struct distinct *d = distinct;
    return order_compare(d->column, d->row[*(const uint32_t *)a],
                         d->row[*(const uint32_t *)b]);
}

static int rank_keys(struct weir_ctx *ctx, struct distinct *d, const uint32_t *row,
                     size_t n, struct order_item *item)
{
    const struct weir_host *host = ctx->host;
    d->mask = 15;
    while (d->mask < 2 * n)
        d->mask = 2 * d->mask + 1;
    d->slot = host->alloc(ctx, (d->mask + 1) * sizeof(*d->slot));
    d->row = host->alloc(ctx, 3 * n * sizeof(*d->row));
    if (d->slot && d->row) {
        uint32_t *number = d->row + 2 * n;
        d->rank = d->row + n;
        for (size_t i = 0; i < n; i++)
            item[i].key = number_of(d, row[i]);
        for (uint32_t k = 0; k < d->n; k++)
            number[k] = k;
        qsort_r(number, d->n, sizeof(*number), compare_numbers, d);
        for (uint32_t k = 0; k < d->n; k++)
            d->rank[number[k]] = k;
        for (size_t i = 0; i < n; i++)
            item[i].key = d->rank[item[i].key];
    }
    int err = d->slot && d->row ? 0 : -1;
    host->free(ctx, d->slot);
    host->free(ctx, d->row);
    return err;
}

static int sort_strings(struct weir_ctx *ctx, const struct weir_column *c,
                        uint32_t *row, size_t n, struct order_item *item,
                        int descending, uint64_t seed)
{
    struct distinct d = {.column = c, .seed = seed};
    size_t longest = 0, size;
    for (size_t i = 0; i < n; i++) {
        weir_string(c, row[i], &size);
        longest = size > longest ? size : longest;
    }
    if (longest <= SHORT) {
        sort_short(c, row, n, item, descending);
        return 0;
    }
    int err = rank_keys(ctx, &d, row, n, item);
    if (!err)
        sort_rows(row, n, item, descending);
    return err;
}

int order_by(struct weir_ctx *ctx, const struct weir_column *c, int descending,
             uint32_t *row, size_t n, struct order_item *item, uint64_t seed)
{
    int err = 0;
    if (c->type == WEIR_STRING) {
        err = sort_strings(ctx, c, row, n, item, descending, seed);
    } else {
        number_keys(c, row, n, item);
        sort_rows(row, n, item, descending);
    }
    if (err || !c->validity)
        return err;
    for (size_t i = 0; i < n; i++)
        item[i].key = !weir_is_null(c, row[i]);
    sort_rows(row, n, item, descending);
    return 0;
}
