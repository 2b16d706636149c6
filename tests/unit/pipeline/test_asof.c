/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/asof.h"

#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char text[] = "a text of some length, so that the ring of texts turns";

/* Rows with an int and a text, which say which row they are. */
static void add(struct asof *a, const char *key, int64_t time_us, uint64_t n)
{
    uint32_t number;
    size_t size = strlen(key);
    uint64_t value[2] = {n, n % sizeof(text)};
    assert_int_equal(asof_key(a, key, size, hash_bytes(key, size), &number), 0);
    assert_int_equal(asof_add_values(a, number, time_us, n % 7 ? 0 : 1, value, text,
                                     n % sizeof(text)),
                     0);
}

static int64_t find(struct asof *a, const char *key, int64_t time_us, int64_t within_us,
                    int64_t lead_us)
{
    size_t size = strlen(key);
    uint32_t number = asof_find_key(a, key, size, hash_bytes(key, size));
    if (number == ASOF_KEY_NONE)
        return -1;
    uint64_t row = asof_find(a, number, time_us, within_us, lead_us);
    return row == ASOF_NONE ? -1 : (int64_t)a->value[0][row & (a->room - 1)];
}

static void setup(struct asof *a)
{
    const enum weir_type type[] = {WEIR_INT, WEIR_STRING};
    hash_setup();
    asof_init(a, type, 2);
}

static void newest_at_or_before(void **state)
{
    struct asof a;
    (void)state;
    setup(&a);
    add(&a, "a", 10, 1);
    add(&a, "a", 20, 2);
    add(&a, "a", 20, 3); /* the later of two at one time */
    add(&a, "a", 15, 4); /* out of order */
    add(&a, "b", 18, 5);
    assert_int_equal(find(&a, "a", 9, 100, 0), -1);
    assert_int_equal(find(&a, "a", 9, 100, 1), 1);
    assert_int_equal(find(&a, "a", 10, 0, 0), 1);
    assert_int_equal(find(&a, "a", 16, 100, 0), 4);
    assert_int_equal(find(&a, "a", 20, 100, 0), 3);
    assert_int_equal(find(&a, "a", 30, 10, 0), 3);
    assert_int_equal(find(&a, "a", 31, 10, 0), -1);
    assert_int_equal(find(&a, "b", 31, 100, 0), 5);
    assert_int_equal(find(&a, "c", 31, 100, 0), -1);
    asof_forget(&a, 20);
    assert_int_equal(find(&a, "a", 19, 100, 0), -1);
    assert_int_equal(find(&a, "a", 21, 100, 0), 3);
    asof_forget(&a, 21);
    assert_int_equal(asof_rows(&a), 0);
    assert_int_equal(find(&a, "a", 21, 100, 0), -1);
    add(&a, "a", 40, 6);
    assert_int_equal(find(&a, "a", 40, 0, 0), 6);
    asof_free(&a);
}

/* Against a search through all rows, while the rings grow and turn and keys come and go. */
static void any_order(void **state)
{
    enum { N = 4000, SPAN = 400 };
    struct asof a;
    struct {
        int64_t time_us;
        int key;
    } *row = calloc(N, sizeof(*row));
    (void)state;
    assert_non_null(row);
    setup(&a);
    srand(1);
    for (int i = 0; i < N; i++) {
        char key[16];
        int64_t now = i / 3;
        row[i].time_us = now + rand() % 20;
        row[i].key = i / 500 + rand() % 30;
        snprintf(key, sizeof(key), "k%d", row[i].key);
        add(&a, key, row[i].time_us, (uint64_t)i);
        if (i % 50 == 0)
            asof_forget(&a, now - SPAN);
        int64_t at = now - rand() % 100, within = rand() % 200, lead = rand() % 30;
        int wanted = i / 500 + rand() % 30, best = -1;
        for (int k = 0; k <= i; k++)
            if (row[k].key == wanted && row[k].time_us <= at &&
                row[k].time_us >= at - within &&
                (best < 0 || row[k].time_us >= row[best].time_us))
                best = k;
        bool before = best >= 0;
        for (int k = 0; !before && k <= i; k++) /* the first of the earliest */
            if (row[k].key == wanted && row[k].time_us > at &&
                row[k].time_us <= at + lead &&
                (best < 0 || row[k].time_us < row[best].time_us))
                best = k;
        snprintf(key, sizeof(key), "k%d", wanted);
        assert_int_equal(find(&a, key, at, within, lead), best);
        if (best < 0)
            continue;
        uint64_t r = a.first;
        while (a.value[0][r & (a.room - 1)] != (uint64_t)best)
            r++;
        r &= a.room - 1;
        assert_int_equal(a.text_size[1][r], (uint64_t)best % sizeof(text));
        assert_memory_equal(a.text + (a.value[1][r] & (a.text_room - 1)), text,
                            a.text_size[1][r]);
    }
    asof_free(&a);
    free(row);
}

/* Rows of so many bytes of text, each with a key of its own or all with one. */
static void add_large(struct asof *a, int64_t time_us, size_t key_size,
                      const char *bytes, uint64_t size)
{
    char key[4096];
    uint32_t number;
    uint64_t value[2] = {(uint64_t)time_us, size};
    memset(key, 'k', sizeof(key));
    snprintf(key, sizeof(key), "%lld", (long long)(key_size ? time_us : 0));
    key[strlen(key)] = 'k';
    key_size = key_size ? key_size : 16;
    assert_int_equal(asof_key(a, key, key_size, hash_bytes(key, key_size), &number), 0);
    assert_int_equal(asof_add_values(a, number, time_us, 0, value, bytes, size), 0);
}

/* What is counted is at least what is held, and not much more than twice as much; it is given back. */
static void memory_follows_what_is_held(void **state)
{
    enum { SIZE = 3000, ROWS = 20000 };
    const size_t least = (size_t)SIZE * ROWS;
    static char bytes[SIZE];
    struct asof a;
    (void)state;
    setup(&a);
    memset(bytes, 'x', sizeof(bytes));
    const size_t empty = asof_memory(&a);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < ROWS; i++) /* texts */
            add_large(&a, 2 * round * ROWS + i, 0, bytes, SIZE);
        assert_in_range(asof_memory(&a), least, 3 * least);
        for (int i = ROWS - 10; i < ROWS; i++)
            assert_int_equal(find(&a, "0kkkkkkkkkkkkkkk", 2 * round * ROWS + i, 0, 0),
                             2 * round * ROWS + i);
        asof_forget(&a, 2 * round * ROWS + ROWS - 10);
        asof_forget(&a, 2 * round * ROWS + ROWS - 10);
        asof_forget(&a, 2 * round * ROWS + ROWS - 10);
        assert_in_range(asof_memory(&a), 10 * SIZE, least / 10);
        for (int i = ROWS - 10; i < ROWS; i++)
            assert_int_equal(find(&a, "0kkkkkkkkkkkkkkk", 2 * round * ROWS + i, 0, 0),
                             2 * round * ROWS + i);
        for (int i = 0; i < ROWS; i++) /* keys */
            add_large(&a, (2 * round + 1) * ROWS + i, SIZE, bytes, 0);
        assert_in_range(asof_memory(&a), least, 2 * least);
        asof_forget(&a, (2 * round + 2) * ROWS);
        assert_int_equal(asof_rows(&a), 0);
        assert_int_equal(a.of_keys, 0);
    }
    asof_forget(&a, INT64_MAX);
    assert_in_range(asof_memory(&a), empty, least / 10);
    asof_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest_at_or_before),
        cmocka_unit_test(any_order),
        cmocka_unit_test(memory_follows_what_is_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
