/* SPDX-License-Identifier: Apache-2.0
 *
 * Small blocks for analyzers.
 */
#include "plugin/slabs.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)

static struct slabs s;

static int setup(void **state)
{
    (void)state;
    return slabs_init(&s, 64 * MIB);
}

static int teardown(void **state)
{
    (void)state;
    slabs_free(&s);
    return 0;
}

static int is_zero(const char *block, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (block[i])
            return 0;
    return 1;
}

/* Each byte of each block is its own: what is written to one stays, whatever becomes of the others. */
static void blocks_are_zeroed_aligned_and_apart(void **state)
{
    enum { N = 4000 };
    static char *block[N];
    static size_t size[N];
    unsigned dice = 1;
    (void)state;
    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < N; i++) {
            if (block[i])
                continue;
            dice = dice * 1103515245u + 12345u;
            size[i] = dice / 65536 % (i % 2 ? 300 : SLABS_BLOCK_MAX + 1);
            block[i] = slabs_take(&s, size[i]);
            assert_non_null(block[i]);
            assert_int_equal((uintptr_t)block[i] % 16, 0);
            assert_true(slabs_has(&s, block[i]));
            assert_int_equal(slabs_size_of(&s, block[i]), slabs_size(size[i]));
            assert_true(slabs_size(size[i]) >= size[i]);
            assert_true(is_zero(block[i], size[i]));
            memset(block[i], (int)(i % 255 + 1), size[i]);
        }
        for (size_t i = 0; i < N; i++) {
            for (size_t k = 0; k < size[i]; k++)
                assert_int_equal((unsigned char)block[i][k], i % 255 + 1);
            if (i % 3 == 0) {
                slabs_give(&s, block[i]);
                block[i] = NULL;
            }
        }
    }
    memset(block, 0, sizeof(block));
}

static void size_of_a_block_is_little_more_than_asked_for(void **state)
{
    (void)state;
    for (size_t size = 1; size <= SLABS_BLOCK_MAX; size++) {
        size_t given = slabs_size(size);
        assert_true(given >= size);
        assert_true(given - size < 16 || given - size < size / 4);
        assert_int_equal(given % 16, 0);
    }
}

static void memory_that_was_given_back_is_used_again(void **state)
{
    (void)state;
    size_t used = 0;
    for (int turn = 0; turn < 10; turn++) {
        void *block[1000];
        for (int i = 0; i < 1000; i++)
            assert_non_null(block[i] = slabs_take(&s, 100));
        for (int i = 0; i < 1000; i++)
            slabs_give(&s, block[i]);
        assert_true(turn == 0 || s.used == used);
        used = s.used;
    }
}

/* As a table does that doubles, for many groups, all of them at about the same time. */
static void memory_of_blocks_that_grew_serves_larger_ones(void **state)
{
    enum { N = 4000 };
    static char *block[N];
    (void)state;
    for (size_t i = 0; i < N; i++)
        assert_non_null(block[i] = slabs_take(&s, 96));
    for (size_t size = 192; size <= 3072; size *= 2) {
        for (size_t i = 0; i < N; i++) {
            char *larger = slabs_take(&s, size);
            assert_non_null(larger);
            assert_true(is_zero(larger, size));
            memset(larger, 1, size);
            slabs_give(&s, block[i]);
            block[i] = larger;
        }
        assert_true(s.used < N * size * 6 / 5 + 2 * MIB);
    }
}

static void no_more_is_given_than_there_may_be(void **state)
{
    (void)state;
    size_t bytes = 0;
    while (slabs_take(&s, SLABS_BLOCK_MAX))
        bytes += SLABS_BLOCK_MAX;
    assert_true(bytes <= 64 * MIB && bytes > 60 * MIB);
}

static void blocks_of_malloc_are_not_theirs(void **state)
{
    (void)state;
    void *other = malloc(100);
    assert_non_null(other);
    assert_false(slabs_has(&s, other));
    assert_false(slabs_has(&s, &other));
    free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blocks_are_zeroed_aligned_and_apart, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(size_of_a_block_is_little_more_than_asked_for,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(memory_that_was_given_back_is_used_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(memory_of_blocks_that_grew_serves_larger_ones,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(no_more_is_given_than_there_may_be, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(blocks_of_malloc_are_not_theirs, setup,
                                        teardown),
    };
    if (slabs_init(&s, 64 * MIB) == -ENOTSUP)
        return 77; /* skipped: a sanitizer wants malloc */
    slabs_free(&s);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
