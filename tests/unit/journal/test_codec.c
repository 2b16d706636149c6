/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches and schemas as bytes: the bytes of docs/journal.md, written down here by hand, and rows that
 * come back as they were put.
 */
#include "batch/batch.h"
#include "journal/codec.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct field {
    const char *name;
    enum weir_type type;
};

static struct schema *schema_of(const char *time, const struct field *f, size_t n)
{
    struct schema *s;
    assert_int_equal(schema_new(n + 1, time, &s), 0);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(schema_set(s, i + 1, f[i].name, f[i].type), 0);
    return s;
}

static const struct field trade_fields[] = {{"symbol", WEIR_STRING},
                                            {"price", WEIR_FLOAT},
                                            {"qty", WEIR_INT},
                                            {"ok", WEIR_BOOL},
                                            {"at", WEIR_TIME}};

static struct schema *trades(void)
{
    return schema_of("ts", trade_fields, 5);
}

static struct codec_map *map_of(const struct schema *want, const struct schema *written)
{
    size_t size = codec_schema_size(written);
    char *bytes = malloc(size);
    struct codec_map *m;
    codec_schema_write(written, bytes);
    assert_int_equal(codec_map_new(want, bytes, size, &m), 0);
    free(bytes);
    return m;
}

/* Row i of every test: null in column c where (i + c) % 5 is 0, unless there are to be none. */
static bool null_at(uint32_t row, size_t c, bool nulls)
{
    return nulls && c > 0 && (row + c) % 5 == 0;
}

static size_t text_of(uint32_t row, char text[32])
{
    return (size_t)snprintf(text, 32, "%.*s%u", (int)(row % 11), "abcdefghijk", row);
}

static void add_row(struct batch *b, bool nulls)
{
    uint32_t row = b->n_rows;
    char text[32];
    assert_int_equal(batch_grow(b), 0);
    bool null[6];
    for (size_t c = 0; c < 6; c++) {
        null[c] = null_at(row, c, nulls);
        if (null[c])
            assert_int_equal(batch_set_null(b, c), 0);
    }
    size_t size = null[1] ? 0 : text_of(row, text);
    assert_int_equal(batch_bytes(b, 1, size), 0);
    struct column *s = &b->column[1];
    memcpy(s->bytes + s->offsets[row], text, size);
    s->offsets[row + 1] = s->offsets[row] + (int32_t)size;
    ((int64_t *)b->column[0].values)[row] = row * INT64_C(1000003);
    ((double *)b->column[2].values)[row] = null[2] ? 0 : row / 4.0 - 10;
    ((int64_t *)b->column[3].values)[row] = null[3] ? 0 : -(int64_t)row;
    batch_put_bool(&b->column[4], row, !null[4] && row % 3 == 0);
    ((int64_t *)b->column[5].values)[row] = null[5] ? 0 : INT64_MAX - row;
    b->n_rows++;
}

static struct batch *rows_of(const struct schema *s, uint32_t n, bool nulls)
{
    struct batch *b;
    assert_int_equal(batch_new(s, 0, &b), 0);
    while (b->n_rows < n)
        add_row(b, nulls);
    return b;
}

static void assert_row(const struct batch *b, uint32_t row, bool nulls)
{
    char text[32];
    size_t size, length;
    for (size_t c = 0; c < 6; c++)
        assert_int_equal(weir_is_null(&b->view[c], row), null_at(row, c, nulls));
    const char *s = weir_string(&b->view[1], row, &size);
    length = null_at(row, 1, nulls) ? 0 : text_of(row, text);
    assert_int_equal(size, length);
    assert_memory_equal(s, text, length);
    assert_int_equal(weir_int(&b->view[0], row), row * INT64_C(1000003));
    double price = null_at(row, 2, nulls) ? 0 : row / 4.0 - 10;
    assert_true(weir_number(&b->view[2], row) == price);
    int64_t qty = null_at(row, 3, nulls) ? 0 : -(int64_t)row;
    assert_int_equal(weir_int(&b->view[3], row), qty);
    bool ok = !null_at(row, 4, nulls) && row % 3 == 0;
    assert_int_equal(weir_bool(&b->view[4], row), ok);
    int64_t at = null_at(row, 5, nulls) ? 0 : INT64_MAX - row;
    assert_int_equal(weir_int(&b->view[5], row), at);
}

static char *bytes_of(const struct batch *b, size_t *ret_size)
{
    struct codec_plan plan;
    codec_plan_make(b, &plan);
    *ret_size = plan.size;
    char *bytes = malloc(*ret_size);
    assert_non_null(bytes);
    memset(bytes, 0xee, *ret_size); /* every byte has to be written */
    codec_write(b, &plan, bytes);
    return bytes;
}

static void rows_come_back_as_they_were_put(void **state)
{
    static const uint32_t counts[] = {0, 1, 7, 8, 9, 511, 512, 513, 5000, 65536};
    struct schema *s = trades();
    struct codec_map *m = map_of(s, s);
    (void)state;
    assert_true(codec_map_is_same(m));
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]) * 2; i++) {
        bool nulls = i % 2;
        size_t size;
        struct batch *b = rows_of(s, counts[i / 2], nulls), *again;
        char *bytes = bytes_of(b, &size);
        assert_int_equal(size % 8, 0);
        assert_int_equal(codec_read(m, bytes, size, &again), 0);
        assert_int_equal(again->n_rows, counts[i / 2]);
        if (again->n_rows < BATCH_ROWS_MAX) { /* it is unsealed: rows can follow */
            add_row(again, nulls);
        }
        batch_seal(again);
        for (uint32_t row = 0; row < again->n_rows; row++)
            assert_row(again, row, nulls);
        batch_unref(again);
        batch_unref(b);
        free(bytes);
    }
    codec_map_free(m);
    codec_map_free(NULL);
    schema_free(s);
}

static void a_batch_lies_on_disk_as_documented(void **state)
{
    static const struct field f[] = {{"s", WEIR_STRING}, {"b", WEIR_BOOL}};
    static const unsigned char want[] = {
        3,   0,   0,   0,   3,   0,   0,   0,   /* rows, columns */
        0,   0,   0,   0,   0,   0,   0,   0,   /* time: no nulls, no strings, */
        1,   0,   0,   0,   0,   0,   0,   0,   /* a byte for each, */
        255, 255, 255, 255, 255, 255, 255, 255, /* counted from -1 */
        1,   0,   0,   0,   3,   0,   0,   0,   /* s: one null, 3 bytes, */
        1,   0,   0,   0,   0,   0,   0,   0,   /* a byte for each length */
        0,   0,   0,   0,   0,   0,   0,   0,   /**/
        0,   0,   0,   0,   0,   0,   0,   0,   /* b */
        0,   0,   0,   0,   0,   0,   0,   0,   /* bits */
        0,   0,   0,   0,   0,   0,   0,   0,   /**/
        2,   3,   0,   0,   0,   0,   0,   0,   /* times 1 2 -1 */
        5,   0,   0,   0,   0,   0,   0,   0,   /* s: rows 0 and 2 are there */
        1,   0,   2,   0,   0,   0,   0,   0,   /* lengths */
        'x', 'y', 'z', 0,   0,   0,   0,   0,   /**/
        6,   0,   0,   0,   0,   0,   0,   0,   /* b: false true true */
    };
    struct schema *s = schema_of("t", f, 2);
    struct batch *b;
    size_t size;
    (void)state;
    assert_int_equal(batch_new(s, 0, &b), 0);
    static const int64_t time[] = {1, 2, -1};
    static const int32_t offsets[] = {0, 1, 1, 3};
    for (uint32_t row = 0; row < 3; row++, b->n_rows++) {
        if (row == 1)
            assert_int_equal(batch_set_null(b, 1), 0);
        batch_put_bool(&b->column[2], row, row > 0);
    }
    memcpy(b->column[0].values, time, sizeof(time));
    memcpy(b->column[1].offsets, offsets, sizeof(offsets));
    memcpy(b->column[1].bytes, "xyz", 3);
    char *bytes = bytes_of(b, &size);
    assert_int_equal(size, sizeof(want));
    assert_memory_equal(bytes, want, sizeof(want));
    free(bytes);
    batch_unref(b);
    schema_free(s);
}

static void a_schema_lies_on_disk_as_documented(void **state)
{
    static const struct field f[] = {{"ninechars", WEIR_BOOL}};
    static const unsigned char want[] = {
        2,   0, 0, 0, 0, 0, 0, 0,                                       /* columns */
        5,   0, 0, 0, 1, 0, 0, 0, 't', 0,   0,   0,   0,   0,   0,   0, /* time, "t" */
        3,   0, 0, 0, 9, 0, 0, 0, 'n', 'i', 'n', 'e', 'c', 'h', 'a', 'r',
        's', 0, 0, 0, 0, 0, 0, 0};
    struct schema *s = schema_of("t", f, 1);
    char bytes[sizeof(want)];
    struct codec_map *m;
    (void)state;
    assert_int_equal(codec_schema_size(s), sizeof(want));
    codec_schema_write(s, bytes);
    assert_memory_equal(bytes, want, sizeof(want));
    assert_int_equal(codec_map_new(s, bytes, sizeof(want), &m), 0);
    assert_true(codec_map_is_same(m));
    codec_map_free(m);
    for (size_t size = 0; size < sizeof(want); size++)
        assert_int_equal(codec_map_new(s, bytes, size, &m), -EBADMSG);
    schema_free(s);
}

/* Columns in another order, one gone, one new, one of another type; the time has another name. */
static void columns_are_found_by_name_and_type(void **state)
{
    static const struct field now[] = {{"fresh", WEIR_STRING}, {"at", WEIR_TIME},
                                       {"qty", WEIR_FLOAT},    {"symbol", WEIR_STRING},
                                       {"ok", WEIR_BOOL},      {"new", WEIR_BOOL}};
    struct schema *old = trades(), *want = schema_of("when", now, 6);
    struct codec_map *m = map_of(want, old);
    size_t size, length;
    char text[32];
    struct batch *b = rows_of(old, 1001, true), *again;
    char *bytes = bytes_of(b, &size);
    (void)state;
    assert_false(codec_map_is_same(m));
    assert_int_equal(codec_read(m, bytes, size, &again), 0);
    batch_seal(again);
    const struct weir_column *v = again->view;
    for (uint32_t row = 0; row < 1001; row++) {
        assert_int_equal(weir_int(&v[0], row), row * INT64_C(1000003));
        assert_true(weir_is_null(&v[1], row) && weir_is_null(&v[3], row) &&
                    weir_is_null(&v[6], row));
        weir_string(&v[1], row, &length);
        assert_int_equal(length, 0);
        assert_int_equal(weir_bool(&v[6], row), 0);
        assert_int_equal(weir_int(&v[3], row), 0);
        int64_t at = null_at(row, 5, true) ? 0 : INT64_MAX - row;
        assert_int_equal(weir_int(&v[2], row), at);
        const char *s = weir_string(&v[4], row, &length);
        assert_int_equal(length, null_at(row, 1, true) ? 0 : text_of(row, text));
        assert_memory_equal(s, text, length);
        assert_int_equal(weir_bool(&v[5], row), !null_at(row, 4, true) && row % 3 == 0);
    }
    assert_int_equal(v[1].null_count, 1001);
    batch_unref(again);
    batch_unref(b);
    free(bytes);
    codec_map_free(m);
    schema_free(want);
    schema_free(old);
}

static void refuse(const struct codec_map *m, char *bytes, size_t size, size_t at,
                   uint32_t v)
{
    struct batch *b = NULL;
    uint32_t before;
    memcpy(&before, bytes + at, 4);
    memcpy(bytes + at, &v, 4);
    assert_int_equal(codec_read(m, bytes, size, &b), -EBADMSG);
    assert_null(b);
    memcpy(bytes + at, &before, 4);
}

/* Places are those of the bytes drawn above: 8 + 3 * 24 of heads, times, bits, lengths, bytes. */
static void bytes_that_break_a_batch_are_refused(void **state)
{
    static const struct field f[] = {{"s", WEIR_STRING}, {"b", WEIR_BOOL}};
    struct schema *s = schema_of("t", f, 2);
    struct codec_map *m = map_of(s, s);
    unsigned char good[] = {
        3,   0,   0,   0,   3,   0,   0,   0,   /* rows, columns */
        0,   0,   0,   0,   0,   0,   0,   0,   /* time: no nulls, no strings, */
        1,   0,   0,   0,   0,   0,   0,   0,   /* a byte for each, */
        255, 255, 255, 255, 255, 255, 255, 255, /* counted from -1 */
        1,   0,   0,   0,   3,   0,   0,   0,   /* s: one null, 3 bytes, */
        1,   0,   0,   0,   0,   0,   0,   0,   /* a byte for each length */
        0,   0,   0,   0,   0,   0,   0,   0,   /**/
        0,   0,   0,   0,   0,   0,   0,   0,   /* b */
        0,   0,   0,   0,   0,   0,   0,   0,   /* bits */
        0,   0,   0,   0,   0,   0,   0,   0,   /**/
        2,   3,   0,   0,   0,   0,   0,   0,   /* times 1 2 -1 */
        5,   0,   0,   0,   0,   0,   0,   0,   /* s: rows 0 and 2 are there */
        1,   0,   2,   0,   0,   0,   0,   0,   /* lengths */
        'x', 'y', 'z', 0,   0,   0,   0,   0,   /**/
        6,   0,   0,   0,   0,   0,   0,   0,   /* b: false true true */
    };
    char *bytes = (char *)good;
    size_t size = sizeof(good);
    struct batch *b;
    (void)state;
    assert_int_equal(codec_read(m, bytes, size, &b), 0);
    batch_unref(b);
    refuse(m, bytes, size, 0, 4);           /* rows */
    refuse(m, bytes, size, 0, 65537);       /**/
    refuse(m, bytes, size, 0, UINT32_MAX);  /**/
    refuse(m, bytes, size, 4, 2);           /* columns */
    refuse(m, bytes, size, 8, 1);           /* a time is null */
    refuse(m, bytes, size, 16, 0);          /* of no width */
    refuse(m, bytes, size, 16, 3);          /* of a width that there is not */
    refuse(m, bytes, size, 20, 1);          /* what is to be 0 */
    refuse(m, bytes, size, 32, 2);          /* another number of nulls */
    refuse(m, bytes, size, 36, 2);          /* other lengths of strings */
    refuse(m, bytes, size, 36, 9);          /**/
    refuse(m, bytes, size, 36, UINT32_MAX); /**/
    refuse(m, bytes, size, 40, 8);          /* too wide */
    refuse(m, bytes, size, 48, 1);          /* counted from another number than 0 */
    refuse(m, bytes, size, 60, 8);          /* strings in a column of bits */
    refuse(m, bytes, size, 64, 1);          /* bits that are bytes */
    refuse(m, bytes, size, 96, 0x00010001); /* lengths: too few */
    refuse(m, bytes, size, 96, 0x00ff0001); /* too many */
    refuse(m, bytes, size, 96, 0x00010101); /* a null with bytes */
    for (size_t less = 0; less < size; less++)
        assert_int_equal(codec_read(m, bytes, less, &b), -EBADMSG);
    codec_map_free(m);
    schema_free(s);
}

static void values_of_null_rows_are_read_as_zero(void **state)
{
    struct schema *s = trades();
    struct codec_map *m = map_of(s, s);
    struct batch *b = rows_of(s, 100, true), *again;
    size_t size;
    (void)state;
    ((int64_t *)b->column[3].values)[2] = 77; /* (2 + 3) % 5 is 0: null */
    batch_put_bool(&b->column[4], 1, true);
    char *bytes = bytes_of(b, &size);
    assert_int_equal(codec_read(m, bytes, size, &again), 0);
    batch_seal(again);
    for (uint32_t row = 0; row < 100; row++)
        assert_row(again, row, true);
    batch_unref(again);
    batch_unref(b);
    free(bytes);
    codec_map_free(m);
    schema_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_back_as_they_were_put),
        cmocka_unit_test(a_batch_lies_on_disk_as_documented),
        cmocka_unit_test(a_schema_lies_on_disk_as_documented),
        cmocka_unit_test(columns_are_found_by_name_and_type),
        cmocka_unit_test(bytes_that_break_a_batch_are_refused),
        cmocka_unit_test(values_of_null_rows_are_read_as_zero),
    };
    return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}
