/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that grows where it is.
 */
#include "base/reserve.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void memory_is_zero_and_stays_where_it_is(void **state)
{
    struct reserve r;
    (void)state;
    assert_int_equal(reserve_init(&r, (size_t)8 << 30), 0);
    char *base = r.base;
    for (size_t n = 1; n < (size_t)24 << 20; n += n / 3 + 4000) {
        size_t before = r.usable;
        assert_int_equal(reserve_grow(&r, n), 0);
        assert_true(r.usable >= n);
        assert_true(r.usable >= before);
        assert_true(r.usable < n + n / 2 + ((size_t)4 << 20));
        for (size_t i = before; i < r.usable; i += 509)
            assert_int_equal(base[i], 0);
        if (before)
            assert_int_equal(base[before - 1], 1);
        base[r.usable - 1] = 1;
    }
    assert_ptr_equal(base, r.base);
    reserve_free(&r);
    assert_null(r.base);
}

static void more_than_reserved_is_refused(void **state)
{
    struct reserve r;
    (void)state;
    assert_int_equal(reserve_init(&r, 5000000), 0);
    assert_int_equal(reserve_grow(&r, 5000001), -ENOMEM);
    assert_int_equal(reserve_grow(&r, 5000000), 0);
    memset(r.base, 1, 5000000);
    assert_int_equal(reserve_grow(&r, 5000001), -ENOMEM);
    reserve_free(&r);
}

static void nothing_can_be_reserved(void **state)
{
    struct reserve r, none = {0};
    (void)state;
    assert_int_equal(reserve_init(&r, 0), 0);
    assert_int_equal(reserve_grow(&r, 0), 0);
    assert_int_equal(reserve_grow(&r, 1), -ENOMEM);
    reserve_free(&r);
    reserve_free(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zero_and_stays_where_it_is),
        cmocka_unit_test(more_than_reserved_is_refused),
        cmocka_unit_test(nothing_can_be_reserved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
