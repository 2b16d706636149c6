/* SPDX-License-Identifier: Apache-2.0
 *
 * distinct and quantiles over more values than test_values.py can send: as many as are put in come out, within what
 * the manual pages say.
 */
#include "host.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BATCH 10000

static void put(struct host_table *t, uint32_t type, size_t row, uint64_t value)
{
    char text[32];
    if (type == WEIR_INT)
        ((int64_t *)t->values[0])[row] = (int64_t)value;
    else if (type == WEIR_FLOAT)
        ((double *)t->values[0])[row] = (double)value / 8;
    else
        host_put_text(t, 0, row, text,
                      (size_t)snprintf(text, sizeof(text), "user-%llu",
                                       (unsigned long long)value));
}

/* The values first, first + step...: n different ones, each of them twice. */
static double counted(const char *of, uint64_t first, uint64_t step, size_t n)
{
    static struct host h;
    host_load(&h, "plugins/distinct.so");
    host_set(&h, "of", of);
    assert_int_equal(host_open(&h), 0);
    void *state = host_state(&h);
    for (size_t at = 0; at < n; at += BATCH) {
        size_t rows = n - at < BATCH ? n - at : BATCH;
        struct host_table *t = host_table_new(&h, rows, rows * 32);
        for (size_t i = 0; i < rows; i++)
            put(t, h.types[0], i, first + (at + i) * step);
        for (int twice = 0; twice < 2; twice++)
            assert_int_equal(host_fold(&h, t, 0, rows, state), 0);
        host_table_free(t);
    }
    char *text = host_emit(&h, state);
    double found = strtod(text, NULL);
    free(text);
    host_drop(&h, state);
    host_close(&h);
    assert_int_equal(h.allocated, 0);
    return found;
}

static void check(const char *of, uint64_t step, size_t n)
{
    double found = counted(of, 1000 * step, step, n), expected = (double)n;
    if (n <= 3072)
        assert_true(found == expected);
    if (fabs(found - expected) > 0.02 * expected)
        fail_msg("%s: %.0f of %zu", of, found, n);
}

static void within_2_percent_from_10_to_10_million(void **unused)
{
    (void)unused;
    for (size_t n = 1; n <= 1000000; n *= 10)
        for (size_t k = 1; k < 10; k += 2) {
            check("x:i", 1, n * k > 1000000 ? n : n * k);
            check("x:s", 1, n * k > 100000 ? n : n * k);
            check("x:f", 1, n * k > 100000 ? n : n * k);
        }
    check("x:i", 1, 10000000);
    check("x:i", (uint64_t)1 << 40, 3000000); /* low bits all zero */
    check("x:i", 3072, 3072);
    check("x:s", 1, 3073);
}

/* 1.04 / sqrt(2^15) is 0.575 %. Of 100 sets, the mean square is within a third of it nearly always. */
static void the_standard_error_is_as_said(void **unused)
{
    (void)unused;
    double squares = 0;
    for (uint64_t i = 0; i < 100; i++) {
        double error = counted("x:i", i << 32, 7, 50000) / 50000 - 1;
        squares += error * error;
    }
    double rms = sqrt(squares / 100);
    assert_true(rms > 0.00575 * 0.67 && rms < 0.00575 * 1.33);
}

/* As many again of what the state has. */
static void twice(struct host *h, void *state)
{
    struct host_bytes saved = host_save(h, state);
    void *again = host_state(h);
    assert_int_equal(h->analyzer->load(&h->ctx, again, h->analyzer->state_version,
                                       saved.data, saved.size),
                     0);
    assert_int_equal(host_merge(h, state, again), 0);
    free(saved.data);
}

/* Two rows of 1 are doubled up to 2^34, then come two hundred of 100: both quantiles are 1, and would be 100 if 32
 * bits were all that counts them. */
static void quantiles_count_beyond_32_bits(void **unused)
{
    (void)unused;
    struct host h;
    host_load(&h, "plugins/quantiles.so");
    host_set(&h, "of", "x:i");
    assert_int_equal(host_open(&h), 0);
    struct host_table *t = host_table_new(&h, 202, 0);
    for (size_t i = 0; i < 202; i++)
        ((int64_t *)t->values[0])[i] = i < 2 ? 1 : 100;
    void *state = host_state(&h);
    assert_int_equal(host_fold(&h, t, 0, 2, state), 0);
    for (int power = 1; power < 34; power++)
        twice(&h, state);
    assert_int_equal(host_fold(&h, t, 2, 200, state), 0);
    char *text = host_emit(&h, state), *end;
    assert_true(fabs(strtod(text, &end) - 1) <= 0.01);
    assert_true(fabs(strtod(end, NULL) - 1) <= 0.01);
    free(text);
    host_drop(&h, state);
    host_table_free(t);
    host_close(&h);
    assert_int_equal(h.allocated, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(within_2_percent_from_10_to_10_million),
        cmocka_unit_test(the_standard_error_is_as_said),
        cmocka_unit_test(quantiles_count_beyond_32_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
