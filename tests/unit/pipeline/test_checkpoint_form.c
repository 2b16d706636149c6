/* SPDX-License-Identifier: Apache-2.0
 *
 * The form of stored groups: bytes put together by hand from the drawing in checkpoint.h.
 */
#include "pipeline/checkpoint.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A state of 12 bytes as it lies in memory, and one that its plugin saves. */
static const char definition[] = "window 1000000 0\n"
                                 "key symbol string\n"
                                 "where \"a state=99 analyzer\"\n"
                                 "analyzer one 1.0 state=12 of=\"x state=7\" types=1,\n"
                                 "analyzer two  state=40 saved k=3 types=\n";

struct bytes {
    char data[512];
    size_t size;
};

static void put(struct bytes *b, const void *from, size_t size)
{
    memcpy(b->data + b->size, from, size);
    b->size += size;
    while (b->size % 8)
        b->data[b->size++] = 0;
}

/* 16 bytes of head, the key, 12 bytes of state, a size and as many bytes. */
static void put_group(struct bytes *b, uint32_t key_size, uint64_t saved)
{
    char fill[128];
    struct {
        int64_t start_us;
        uint32_t key_size, revision;
    } head = {1767225600000000, key_size, 1};
    memset(fill, 'x', sizeof(fill));
    put(b, &head, sizeof(head));
    put(b, fill, key_size);
    put(b, fill, 12);
    put(b, &saved, sizeof(saved));
    put(b, fill, saved);
}

/* In memory of exactly that size, so that a sanitizer sees a byte too many. */
static int form(const char *data, size_t size, uint64_t *ret_groups)
{
    char *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, data, size);
    int err = checkpoint_block_form(definition, copy, size, ret_groups);
    free(copy);
    return err;
}

static void groups_are_counted(void **state)
{
    (void)state;
    struct bytes b = {.size = 0};
    uint64_t groups = 99;
    assert_int_equal(form(b.data, 0, &groups), 0);
    assert_int_equal(groups, 0);
    put_group(&b, 5, 0);
    put_group(&b, 0, 3);
    put_group(&b, 16, 100);
    assert_int_equal(form(b.data, b.size, &groups), 0);
    assert_int_equal(groups, 3);
}

static void a_block_that_is_cut_is_damaged(void **state)
{
    (void)state;
    struct bytes b = {.size = 0};
    uint64_t groups;
    put_group(&b, 5, 9);
    size_t one = b.size;
    put_group(&b, 11, 20);
    for (size_t size = 1; size < b.size; size++)
        assert_int_equal(form(b.data, size, &groups), size == one ? 0 : -EBADMSG);
}

static void sizes_that_cannot_be_are_damaged(void **state)
{
    (void)state;
    static const uint64_t saved[] = {UINT64_MAX, UINT64_MAX - 6, UINT64_MAX - 7,
                                     INT64_MAX, 25};
    struct bytes b = {.size = 0};
    uint64_t groups;
    uint32_t key_size = UINT32_MAX;
    put_group(&b, 5, 24);
    for (size_t i = 0; i < sizeof(saved) / sizeof(saved[0]); i++) {
        memcpy(b.data + 16 + 8 + 16, &saved[i], sizeof(saved[i]));
        assert_int_equal(form(b.data, b.size, &groups), -EBADMSG);
    }
    memcpy(b.data + 8, &key_size, sizeof(key_size));
    assert_int_equal(form(b.data, b.size, &groups), -EBADMSG);
}

static void a_watermark_has_as_many_sources_as_it_says(void **state)
{
    (void)state;
    struct {
        uint32_t version, n;
        int64_t value_us, newest_us, unknown_us;
        int64_t source[4]; /* time, idle; time, idle */
    } marks = {.version = 1, .n = 2};
    for (size_t size = 0; size <= sizeof(marks); size++)
        assert_int_equal(checkpoint_marks_form((const char *)&marks, size),
                         size == sizeof(marks) ? 0 : -EBADMSG);
    marks.n = UINT32_MAX;
    assert_int_equal(checkpoint_marks_form((const char *)&marks, sizeof(marks)),
                     -EBADMSG);
    marks.n = 2;
    marks.version = 2;
    assert_int_equal(checkpoint_marks_form((const char *)&marks, sizeof(marks)),
                     -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_are_counted),
        cmocka_unit_test(a_block_that_is_cut_is_damaged),
        cmocka_unit_test(sizes_that_cannot_be_are_damaged),
        cmocka_unit_test(a_watermark_has_as_many_sources_as_it_says),
    };
    return cmocka_run_group_tests_name("checkpoint_form", tests, NULL, NULL);
}
