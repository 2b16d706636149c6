/* SPDX-License-Identifier: Apache-2.0
 *
 * What plugins were built with is where it was: structs may only have grown, at their ends, and those that come in arrays not even that.
 */
#include "abi_layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

static bool may_grow(const char *name)
{
    static const char *const fixed[] = {"weir_column", "weir_cell", "weir_columns",
                                        "weir_numbers", NULL};
    for (size_t i = 0; fixed[i]; i++)
        if (!strcmp(fixed[i], name))
            return false;
    return true;
}

static void everything_is_where_it_was(void **unused)
{
    (void)unused;
    size_t n = 0, structs = 0;
    for (; abi_then[n].name; n++) {
        const struct abi_place *then = &abi_then[n], *now = &abi_now[n];
        assert_string_equal(then->name, now->name);
        bool whole = then->offset == SIZE_MAX;
        structs += whole;
        if (then->offset != now->offset || then->size > now->size ||
            (then->size != now->size && !(whole && may_grow(then->name))))
            fail_msg("%s was at %zu, of %zu bytes, and is at %zu, of %zu", then->name,
                     then->offset, then->size, now->offset, now->size);
    }
    assert_null(abi_now[n].name);
    assert_int_equal(structs, 12);
}

/* Of a 64-bit machine, written down by hand from the header: so that the frozen copy is not changed along with the other one. */
static void the_frozen_header_is_as_it_was(void **unused)
{
    (void)unused;
    static const struct {
        const char *name;
        size_t size;
    } structs[] = {{"weir_column", 56},  {"weir_rows", 72},      {"weir_cell", 16},
                   {"weir_window", 40},  {"weir_ctx", 48},       {"weir_host", 120},
                   {"weir_columns", 16}, {"weir_numbers", 16},   {"weir_param", 72},
                   {"weir_output", 32},  {"weir_analyzer", 168}, {"weir_entry", 72}};
    size_t k = 0;
    if (sizeof(void *) != 8)
        skip();
    for (size_t i = 0; abi_then[i].name; i++) {
        if (abi_then[i].offset != SIZE_MAX)
            continue;
        assert_string_equal(abi_then[i].name, structs[k].name);
        assert_int_equal(abi_then[i].size, structs[k++].size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_where_it_was),
        cmocka_unit_test(the_frozen_header_is_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
