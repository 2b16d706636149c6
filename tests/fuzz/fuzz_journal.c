/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes of the journal. If the first byte is odd, the second says how many words of 8 bytes the schema
 * has that follows; else it is the one that is wanted. The rest is a batch. What is taken keeps the
 * invariants of a batch, and written and read again it is the same.
 */
#include "journal/codec.h"

#include "target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void broken(const char *what)
{
    fprintf(stderr, "%s\n", what);
    abort();
}

static struct schema *wanted(void)
{
    static struct schema *s;
    if (!s &&
        (schema_new(6, "ts", &s) || schema_set(s, 1, "symbol", WEIR_STRING) ||
         schema_set(s, 2, "price", WEIR_FLOAT) || schema_set(s, 3, "qty", WEIR_INT) ||
         schema_set(s, 4, "ok", WEIR_BOOL) || schema_set(s, 5, "at", WEIR_TIME)))
        broken("no schema");
    return s;
}

static bool is_zero(const struct column *c, uint32_t row)
{
    if (c->type == WEIR_STRING)
        return c->offsets[row] == c->offsets[row + 1];
    if (c->type == WEIR_BOOL)
        return !(((uint8_t *)c->values)[row / 8] >> row % 8 & 1);
    return ((int64_t *)c->values)[row] == 0;
}

static void check_column(const struct column *c, uint32_t rows)
{
    int64_t nulls = 0;
    for (uint32_t row = 0; c->validity && row < rows; row++) {
        bool null = !(c->validity[row / 8] >> row % 8 & 1);
        nulls += null;
        if (null && !is_zero(c, row))
            broken("a null that is not zero");
    }
    if (nulls != c->null_count)
        broken("another number of nulls");
    if (c->type != WEIR_STRING)
        return;
    for (uint32_t row = 0; row < rows; row++)
        if (c->offsets[row] > c->offsets[row + 1])
            broken("offsets fall");
    if (c->offsets[0] != 0 || (size_t)c->offsets[rows] > c->bytes_room)
        broken("offsets point outside");
    memset(c->bytes + c->offsets[rows], 0, BATCH_SLACK);
}

static char *bytes_of(const struct batch *b, size_t *ret_size)
{
    struct codec_plan plan;
    codec_plan_make(b, &plan);
    *ret_size = plan.size;
    char *bytes = malloc(*ret_size); /* exact: a sanitizer sees what lies outside */
    if (!bytes)
        broken("no memory");
    codec_write(b, &plan, bytes);
    return bytes;
}

static struct codec_map *map_of(const struct schema *s)
{
    struct codec_map *m;
    size_t size = codec_schema_size(s);
    char *bytes = malloc(size);
    if (!bytes)
        broken("no memory");
    codec_schema_write(s, bytes);
    if (codec_map_new(s, bytes, size, &m) || !codec_map_is_same(m))
        broken("a schema is not its own");
    free(bytes);
    return m;
}

static void check_batch(struct batch *b)
{
    struct codec_map *m = map_of(b->schema);
    struct batch *again;
    size_t size, size_again;
    if (b->n_rows > BATCH_ROWS_MAX || b->n_rows > b->room || b->column[0].null_count)
        broken("rows");
    for (size_t i = 0; i < b->schema->n; i++)
        check_column(&b->column[i], b->n_rows);
    char *bytes = bytes_of(b, &size);
    if (codec_read(m, bytes, size, &again))
        broken("what was read cannot be read again");
    char *bytes_again = bytes_of(again, &size_again);
    if (size != size_again || memcmp(bytes, bytes_again, size) != 0)
        broken("written twice it is not the same");
    free(bytes_again);
    free(bytes);
    batch_unref(again);
    codec_map_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct codec_map *m = NULL;
    struct batch *b = NULL;
    if (size < 2)
        return 0;
    size_t schema_size = data[0] & 1 ? (size_t)data[1] * 8 : 0;
    const char *bytes = (const char *)data + 2;
    if (schema_size > size - 2)
        return 0;
    if (!(data[0] & 1))
        m = map_of(wanted());
    else if (codec_map_new(wanted(), bytes, schema_size, &m))
        return 0;
    int err = codec_read(m, bytes + schema_size, size - 2 - schema_size, &b);
    if (!err)
        check_batch(b);
    else if (err != -EBADMSG && err != -ENOMEM)
        broken("another error");
    batch_unref(b);
    codec_map_free(m);
    return 0;
}
