/* SPDX-License-Identifier: Apache-2.0
 *
 * Nothing is allocated for a row: once a decoder and its batch have grown, they stay as they are. The
 * linker puts the functions of allocations.h in place of the allocator's.
 */
#include "../allocations.h"
#include "fixture.h"

#define ROWS 5000

/* Rows of every kind: plain, with escapes, with long doubles, null, wrong, of another layout. */
static void put_row(struct buffer *to, enum decode_format format, size_t i)
{
    static const char *const object[] = {
        "{\"ts\":1,\"symbol\":\"plain\",\"price\":1.5,\"qty\":7,\"ok\":true,\"at\":"
        "null}",
        "{\"ts\":1,\"symbol\":\"\\u00e9 "
        "\xc3\xa9\",\"price\":0.30000000000000004,\"qty\":1e3}",
        "{\"qty\":null,\"t\\u0073\":1,\"price\":1e-300,\"at\":\"2023-11-14T22:13:"
        "20Z\"}",
        "{\"ts\":1,\"x\":[[{\"a\":[1,2,3]}]],\"symbol\":\"more than sixty-four bytes, "
        "so that they "
        "are copied by the slower way\"}",
        "{\"ts\":1,\"qty\":17.5}",
    };
    static const char *const row[] = {
        "1,plain,1.5,7,true,",
        "1,\"quoted \"\"twice\"\"\",0.30000000000000004,1e3,0,",
        "1,,1e-300,,,2023-11-14T22:13:20Z",
        "1,\"two\nlines\",,,,",
        "1,,,17.5,,",
    };
    const char *text = format == DECODE_CSV ? row[i % 5] : object[i % 5];
    buffer_puts(to, text);
    buffer_puts(to, format == DECODE_JSON ? i + 1 < ROWS ? ",\n" : "]" : "\n");
}

static void decode_body(struct decoder *d, const struct buffer *body, struct batch *b)
{
    const size_t piece = 10007;
    decoder_reset(d, FIXTURE_NOW_US);
    for (size_t at = 0; at < body->size; at += piece) {
        const char *p = body->data + at;
        size_t n = body->size - at < piece ? body->size - at : piece;
        assert_int_equal(decoder_feed(d, &p, &n, b), DECODE_DONE);
    }
    assert_int_equal(decoder_finish(d, b), DECODE_DONE);
    assert_int_equal(b->n_rows, ROWS / 5 * 4);
    assert_int_equal(decoder_stats(d)->rejected, ROWS / 5);
    batch_clear(b);
}

static void check_format(enum decode_format format)
{
    struct decode_options o = fixture_options();
    struct decoder *d = NULL;
    struct batch *b = NULL;
    struct buffer body = {0};
    if (format == DECODE_CSV)
        buffer_puts(&body, "ts,symbol,price,qty,ok,at\n");
    if (format == DECODE_JSON)
        buffer_putc(&body, '[');
    for (size_t i = 0; i < ROWS; i++)
        put_row(&body, format, i);
    size_t before = allocations;
    assert_int_equal(decoder_new(&o, format, &d), 0);
    assert_int_equal(batch_new(fixture_schema, ROWS, &b), 0);
    assert_true(allocations > before); /* they are counted */
    decode_body(d, &body, b);
    before = allocations;
    decode_body(d, &body, b);
    assert_int_equal(allocations, before);
    batch_unref(b);
    decoder_free(d);
    buffer_free(&body);
}

static void rows_of_ndjson_allocate_nothing(void **state)
{
    (void)state;
    check_format(DECODE_NDJSON);
}

static void elements_of_arrays_allocate_nothing(void **state)
{
    (void)state;
    check_format(DECODE_JSON);
}

static void rows_of_csv_allocate_nothing(void **state)
{
    (void)state;
    check_format(DECODE_CSV);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_ndjson_allocate_nothing),
        cmocka_unit_test(elements_of_arrays_allocate_nothing),
        cmocka_unit_test(rows_of_csv_allocate_nothing),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
