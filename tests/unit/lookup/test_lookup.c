/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers of other services: from JSON, as bytes, and back.
 */
#include "base/hash.h"
#include "pipeline/lookup_stored.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char text[] =
    "server: {database: x.db}\n"
    "streams: {s: {fields: {k: string}}}\n"
    "pipelines:\n"
    "  p:\n"
    "    from: s\n"
    "    http_lookup:\n"
    "      a: {url: 'http://h/{k}', columns: {name: string, n: int, f: {path: "
    "'in.list[1]', "
    "type: float}, b: bool, more: string}}\n"
    "      c: {url: 'http://h/{k}?x', columns: {other: string}}\n"
    "    window: none\n"
    "    select: [k]\n";

static struct config *config;
static const struct config_lookups *lookups;
static const struct schema *answers[2];

static int setup(void **state)
{
    struct error error = {""};
    (void)state;
    hash_setup();
    if (config_parse("test.yaml", text, sizeof(text) - 1, &config, &error) < 0) {
        print_error("%s\n", error.text);
        return -1;
    }
    lookups = &config->pipeline[0].lookups;
    for (size_t i = 0; i < 2; i++)
        answers[i] = lookups->lookup[i].answer;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    config_free(config);
    return 0;
}

static struct answer *read_text(const char *json, int expected)
{
    struct answer_reader *r;
    struct answer *a = NULL;
    struct error error = {""};
    assert_int_equal(answer_reader_new(&lookups->lookup[0], &r), 0);
    /* what one answer leaves behind is not the next one's */
    assert_int_equal(answer_read(r, "{\"name\":\"before\",\"n\":null}", 26, &a, &error),
                     0);
    answer_unref(a);
    a = NULL;
    assert_int_equal(answer_read(r, json, strlen(json), &a, &error), expected);
    if (expected)
        assert_string_not_equal(error.text, "");
    answer_reader_free(r);
    return a;
}

static void an_object_is_read_by_types_and_paths(void **state)
{
    (void)state;
    struct answer *a =
        read_text("{\n \"x\": [1, {}],\n \"more\": \"\\u00e9\", \"n\": -7,\n"
                  " \"in\": {\"list\": [0, 2.5]}, \"name\": \"abc\"}\n",
                  0);
    double f;
    assert_int_equal(a->bytes.outcome, ANSWER_FOUND);
    assert_int_equal(a->bytes.nulls, 1 << 3);
    assert_int_equal(a->bytes.value[0], 3);
    assert_int_equal((int64_t)a->bytes.value[1], -7);
    memcpy(&f, &a->bytes.value[2], sizeof(f));
    assert_true(f == 2.5);
    assert_int_equal(a->bytes.value[4], 2);
    assert_memory_equal((char *)(a->bytes.value + 5), "abc\xc3\xa9", 5);
    answer_unref(a);
}

static void what_is_no_object_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",         "[1]",           "5",
        "{\"n\":1", "{} x",          "{\"n\":1}{\"n\":2}",
        "<html>",   "{\"n\":\"1\"}", "{\"n\":1.5}"};
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_null(read_text(wrong[i], -EBADMSG));
}

static void an_object_without_the_columns_is_missing(void **state)
{
    (void)state;
    struct answer *a = read_text("{\"z\":1}", 0);
    assert_int_equal(a->bytes.outcome, ANSWER_MISSING);
    assert_true(a->bytes.nulls == UINT64_MAX);
    answer_unref(a);
}

static void put_all(struct buffer *b, const struct answer *a, const struct answer *none)
{
    stored_answers_head(b, 2, 77);
    stored_answers_service(b, 2);
    stored_answers_put(b, "key", 3, a);
    stored_answers_put(b, "", 0, none);
    stored_answers_service(b, 0);
    assert_int_equal(b->error, 0);
}

static void what_is_stored_comes_back(void **state)
{
    struct buffer b = {0};
    struct stored_answers *s;
    (void)state;
    struct answer *a = read_text("{\"name\":\"abc\",\"n\":5,\"more\":\"de\"}", 0);
    struct answer *none = answer_new(ANSWER_FAILED, 5);
    put_all(&b, a, none);
    assert_int_equal(stored_answers_load(b.data, b.size, 78, answers, 2, &s), -ESTALE);
    assert_int_equal(stored_answers_load(b.data, b.size, 77, answers, 2, &s), 0);
    const struct answer *found =
        stored_answers_find(s, 0, "key", 3, hash_bytes("key", 3));
    assert_non_null(found);
    assert_int_equal(found->bytes.size, a->bytes.size);
    assert_memory_equal(&found->bytes, &a->bytes, a->bytes.size);
    found = stored_answers_find(s, 0, "", 0, hash_bytes("", 0));
    assert_int_equal(found->bytes.outcome, ANSWER_FAILED);
    assert_null(stored_answers_find(s, 0, "kez", 3, hash_bytes("kez", 3)));
    assert_null(stored_answers_find(s, 1, "key", 3, hash_bytes("key", 3)));
    stored_answers_free(s);
    answer_unref(a);
    answer_unref(none);
    buffer_free(&b);
}

/* Copied to blocks of their own, so that a read behind the end shows. */
static int load_copy(const char *bytes, size_t size)
{
    struct stored_answers *s = NULL;
    char *copy = malloc(size + 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    int r = stored_answers_load(copy, size, 77, answers, 2, &s);
    if (r == 0)
        stored_answers_free(s);
    free(copy);
    return r;
}

static void what_is_damaged_is_refused_or_harmless(void **state)
{
    struct buffer b = {0};
    (void)state;
    struct answer *a = read_text("{\"name\":\"abc\",\"n\":5,\"more\":\"de\"}", 0);
    put_all(&b, a, a);
    for (size_t size = 0; size < b.size; size++)
        assert_int_equal(load_copy(b.data, size), -EBADMSG);
    for (size_t i = 0; i < 8 * b.size; i++) {
        b.data[i / 8] ^= (char)(1 << i % 8);
        load_copy(b.data, b.size);
        b.data[i / 8] ^= (char)(1 << i % 8);
    }
    assert_int_equal(load_copy(b.data, b.size), 0);
    answer_unref(a);
    buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_object_is_read_by_types_and_paths),
        cmocka_unit_test(what_is_no_object_is_refused),
        cmocka_unit_test(an_object_without_the_columns_is_missing),
        cmocka_unit_test(what_is_stored_comes_back),
        cmocka_unit_test(what_is_damaged_is_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
