/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of rejected records, as they are told to whoever listens.
 */
#include "fixture.h"

/* LINE:COLUMN REASON "RECORD" and "..." if it was cut; "-": no bytes. */
static void note(void *ctx, const struct decode_reject *r)
{
    struct buffer *to = ctx;
    buffer_printf(to, "%llu:%u %s ", (unsigned long long)r->error->line,
                  r->error->column, decode_reason_name(r->error->reason));
    if (r->record)
        buffer_put_json_string(to, r->record, r->size);
    else
        buffer_putc(to, '-');
    buffer_puts(to, r->truncated ? "...\n" : "\n");
}

static void feed(struct decoder *d, struct batch *b, const char *p, size_t n)
{
    char *copy = malloc(n + 1); /* so that a sanitizer sees its end */
    assert_non_null(copy);
    memcpy(copy, p, n);
    const char *at = copy;
    decoder_feed(d, &at, &n, b);
    free(copy);
}

/* What is told of a body cut at `cut`, and at every place if `step`. */
static const char *told(const struct decode_options *o, enum decode_format format,
                        const char *body, size_t size, size_t cut, size_t step)
{
    static struct buffer text;
    struct decoder *d = NULL;
    struct batch *b = NULL;
    assert_int_equal(decoder_new(o, format, &d), 0);
    assert_int_equal(batch_new(fixture_schema, 1, &b), 0);
    buffer_clear(&text);
    decoder_on_reject(d, note, &text);
    decoder_reset(d, FIXTURE_NOW_US);
    feed(d, b, body, cut);
    for (size_t at = cut; at < size; at += step)
        feed(d, b, body + at, size - at < step ? size - at : step);
    decoder_finish(d, b);
    batch_unref(b);
    decoder_free(d);
    return buffer_text(&text);
}

static void check(const struct decode_options *o, enum decode_format format,
                  const char *body, size_t size, const char *expected)
{
    assert_string_equal(told(o, format, body, size, size, size + 1), expected);
    for (size_t cut = 0; cut < size; cut++)
        assert_string_equal(told(o, format, body, size, cut, size), expected);
    assert_string_equal(told(o, format, body, size, 0, 1), expected);
}

static void lines_are_told_without_their_end(void **state)
{
    (void)state;
    struct decode_options o = fixture_options();
    static const char body[] = "{\"ts\":1}\n"
                               "{\"ts\":1,\"qty\":\"x\"}\r\n"
                               "\xff\xfe{\n"
                               "\n"
                               "{\"ts\":2}\n"
                               "  [1, 2]  \n"
                               "{\"ts\":1,\"x\":{";
    check(&o, DECODE_NDJSON, body, sizeof(body) - 1,
          "2:15 type \"{\\\"ts\\\":1,\\\"qty\\\":\\\"x\\\"}\"\n"
          "3:1 syntax \"\xef\xbf\xbd\xef\xbf\xbd{\"\n"
          "6:3 type \"  [1, 2]  \"\n"
          "7:14 syntax \"{\\\"ts\\\":1,\\\"x\\\":{\"\n");
}

static void rows_and_headers_of_csv_are_told(void **state)
{
    (void)state;
    struct decode_options o = fixture_options();
    static const char body[] = "ts,qty,symbol\r\n"
                               "1,x,\"a\r\nb\"\r\n"
                               "1,2\n"
                               "1,2,\"not closed";
    check(&o, DECODE_CSV, body, sizeof(body) - 1,
          "2:3 type \"1,x,\\\"a\\r\\nb\\\"\"\n"
          "4:0 fields \"1,2\"\n"
          "5:0 syntax \"1,2,\\\"not closed\"\n");
    check(&o, DECODE_CSV, "a,b\n1,2\n", 8, "1:0 no_time \"a,b\"\n");
}

static void elements_are_told_as_they_are(void **state)
{
    (void)state;
    struct decode_options o = fixture_options();
    static const char body[] = "[{\"ts\":1},\n {\"ts\":\n\"a\"}, 7,{\"ts\":";
    check(&o, DECODE_JSON, body, sizeof(body) - 1,
          "2:1 type \"{\\\"ts\\\":\\n\\\"a\\\"}\"\n"
          "3:7 type \"7\"\n"
          "3:0 syntax \"{\\\"ts\\\":\"\n");
    /* what is wrong between elements is no record */
    check(&o, DECODE_JSON, "[{\"ts\":1};", 10, "1:10 syntax -\n");
    check(&o, DECODE_JSON, "[{\"ts\":1}", 9, "1:0 syntax -\n");
}

static char *long_line(size_t size)
{
    static const char begin[] = "{\"symbol\":\"";
    char *line = malloc(size + 2);
    assert_non_null(line);
    memset(line, 'a', size);
    memcpy(line, begin, sizeof(begin) - 1);
    line[size] = '\n';
    line[size + 1] = 0;
    return line;
}

static void long_records_are_cut_between_characters(void **state)
{
    (void)state;
    const unsigned limits[] = {100, 4000, 4096, 4500};
    char *line = long_line(5000);
    struct buffer expected = {0};
    memcpy(line + 4095, "\xc3\xa9", 2); /* the last byte that is kept is half of it */
    buffer_puts(&expected, "1:0 too_long ");
    buffer_put_json_string(&expected, line, 4095);
    buffer_puts(&expected, "...\n");
    for (size_t i = 0; i < 4; i++) {
        struct decode_options o = fixture_options();
        o.record_max = limits[i];
        for (size_t cut = 0; cut <= 5001; cut += cut < 4090 || cut > 4100 ? 91 : 1)
            assert_string_equal(told(&o, DECODE_NDJSON, line, 5001, cut, 5001),
                                buffer_text(&expected));
        assert_string_equal(told(&o, DECODE_NDJSON, line, 5001, 0, 1),
                            buffer_text(&expected));
    }
    buffer_free(&expected);
    free(line);
}

/* Longer than the stream takes, but no longer than what is kept. */
static void short_limit_does_not_cut_what_is_told(void **state)
{
    (void)state;
    struct decode_options o = fixture_options();
    o.record_max = 64;
    static const char body[] =
        "ts,symbol\n"
        "1,aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggg\n"
        "2,b\n";
    check(&o, DECODE_CSV, body, sizeof(body) - 1,
          "2:0 too_long \"1,aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeee"
          "ffffffffffgggggggggg\"\n");
}

static void all_are_told_however_many(void **state)
{
    (void)state;
    struct decode_options o = fixture_options();
    struct buffer body = {0};
    for (size_t i = 0; i < 3 * DECODE_ERRORS_MAX; i++)
        buffer_puts(&body, "{]\n");
    const char *text =
        told(&o, DECODE_NDJSON, body.data, body.size, body.size, body.size);
    size_t lines = 0;
    for (const char *p = text; (p = strchr(p, '\n')); p++)
        lines++;
    assert_int_equal(lines, 3 * DECODE_ERRORS_MAX);
    assert_non_null(strstr(text, "300:2 syntax \"{]\"\n"));
    buffer_free(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_told_without_their_end),
        cmocka_unit_test(rows_and_headers_of_csv_are_told),
        cmocka_unit_test(elements_are_told_as_they_are),
        cmocka_unit_test(long_records_are_cut_between_characters),
        cmocka_unit_test(short_limit_does_not_cut_what_is_told),
        cmocka_unit_test(all_are_told_however_many),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
