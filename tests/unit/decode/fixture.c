/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include "base/hash.h"

struct schema *fixture_schema;

int fixture_setup(void **state)
{
    (void)state;
    hash_setup();
    fixture_schema =
        dump_schema("ts,symbol:string,price:float,qty:int,ok:bool,at:time");
    return 0;
}

int fixture_teardown(void **state)
{
    (void)state;
    schema_free(fixture_schema);
    return 0;
}

struct decode_options fixture_options(void)
{
    return (struct decode_options){.schema = fixture_schema,
                                   .time_unit = DECODE_MS,
                                   .record_max = 4096,
                                   .depth_max = 8,
                                   .max_future_skew_us = INT64_MAX};
}

const char *fixture_decode(const struct decode_options *o, enum decode_format format,
                           const char *body, size_t size)
{
    static struct buffer text;
    struct decoder *d = NULL;
    assert_int_equal(decoder_new(o, format, &d), 0);
    decoder_reset(d, FIXTURE_NOW_US);
    buffer_clear(&text);
    dump_decode(d, o->schema, body, size, NULL, 0, &text);
    decoder_free(d);
    return buffer_text(&text);
}

static void check_cuts(struct decoder *d, const struct decode_options *o,
                       const char *body, size_t size, const size_t *cut, size_t n,
                       const char *expected)
{
    struct buffer got = {0};
    decoder_reset(d, FIXTURE_NOW_US);
    dump_decode(d, o->schema, body, size, cut, n, &got);
    if (strcmp(buffer_text(&got), expected) != 0)
        fail_msg("%zu cuts, the first at %zu, gave\n%s, not\n%s", n, cut[0],
                 buffer_text(&got), expected);
    buffer_free(&got);
}

void fixture_check_splits(const struct decode_options *o, enum decode_format format,
                          const char *body, size_t size)
{
    char *whole = strdup(fixture_decode(o, format, body, size));
    size_t *cut = calloc(size + 1, sizeof *cut);
    struct decoder *d = NULL;
    assert_non_null(whole);
    assert_non_null(cut);
    assert_int_equal(decoder_new(o, format, &d), 0);
    for (size_t i = 0; i <= size; i++) {
        cut[i] = i;
        check_cuts(d, o, body, size, &cut[i], 1, whole);
    }
    check_cuts(d, o, body, size, cut, size + 1, whole);
    decoder_free(d);
    free(cut);
    free(whole);
}
