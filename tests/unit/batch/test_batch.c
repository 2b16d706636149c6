/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/batch.h"
#include "batch/keys.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* time, symbol: string, qty: int, ok: bool */
static struct schema *trades(void)
{
    struct schema *s;
    assert_int_equal(schema_new(4, "ts", &s), 0);
    assert_int_equal(schema_set(s, 1, "symbol", WEIR_STRING), 0);
    assert_int_equal(schema_set(s, 2, "qty", WEIR_INT), 0);
    assert_int_equal(schema_set(s, 3, "ok", WEIR_BOOL), 0);
    return s;
}

/* One row; a NULL symbol is null, and so is qty -1. */
static void add(struct batch *b, int64_t us, const char *symbol, int64_t qty, bool ok)
{
    assert_int_equal(batch_grow(b), 0);
    uint32_t row = b->n_rows;
    size_t size = symbol ? strlen(symbol) : 0;
    ((int64_t *)b->column[0].values)[row] = us;
    assert_int_equal(batch_bytes(b, 1, size), 0);
    struct column *s = &b->column[1];
    memcpy(s->bytes + s->offsets[row], symbol ? symbol : "", size);
    s->offsets[row + 1] = s->offsets[row] + (int32_t)size;
    if (!symbol)
        assert_int_equal(batch_set_null(b, 1), 0);
    ((int64_t *)b->column[2].values)[row] = qty == -1 ? 0 : qty;
    if (qty == -1)
        assert_int_equal(batch_set_null(b, 2), 0);
    batch_put_bool(&b->column[3], row, ok);
    b->n_rows++;
}

static void assert_row(const struct batch *b, uint32_t row, int64_t us,
                       const char *symbol, int64_t qty, bool ok)
{
    assert_int_equal(weir_int(&b->view[0], row), us);
    assert_int_equal(weir_is_null(&b->view[1], row), !symbol);
    size_t size;
    const char *s = weir_string(&b->view[1], row, &size);
    assert_int_equal(size, symbol ? strlen(symbol) : 0);
    assert_memory_equal(s, symbol ? symbol : "", size);
    assert_int_equal(weir_is_null(&b->view[2], row), qty == -1);
    if (qty != -1)
        assert_int_equal(weir_int(&b->view[2], row), qty);
    assert_int_equal(weir_bool(&b->view[3], row), ok);
}

static void rows_come_back_as_they_were_put(void **state)
{
    (void)state;
    struct schema *s = trades();
    struct batch *b;
    assert_int_equal(batch_new(s, 0, &b), 0);
    char symbol[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(symbol, sizeof(symbol), "S%d", i);
        add(b, i * 7, i % 5 ? symbol : NULL, i % 3 ? i : -1, i % 2);
    }
    batch_seal(b);
    for (int i = 0; i < 5000; i++) {
        snprintf(symbol, sizeof(symbol), "S%d", i);
        assert_row(b, (uint32_t)i, i * 7, i % 5 ? symbol : NULL, i % 3 ? i : -1, i % 2);
    }
    assert_int_equal(b->view[1].null_count, 1000);
    assert_int_equal(b->view[2].null_count, 1667);
    batch_unref(b);
    schema_free(s);
}

static void appended_rows_stand_behind_with_nulls_and_bits_in_place(void **state)
{
    (void)state;
    struct schema *s = trades();
    struct batch *all, *part;
    assert_int_equal(batch_new(s, 0, &all), 0);
    for (int k = 0; k < 200; k++) {
        assert_int_equal(batch_new(s, 0, &part), 0);
        for (int i = 0; i < k % 7; i++)
            add(part, k, k % 3 ? "x" : NULL, k % 2 ? k : -1, (k + i) % 2);
        assert_int_equal(batch_append(all, part), 0);
        batch_unref(part);
    }
    batch_seal(all);
    uint32_t row = 0;
    for (int k = 0; k < 200; k++)
        for (int i = 0; i < k % 7; i++)
            assert_row(all, row++, k, k % 3 ? "x" : NULL, k % 2 ? k : -1, (k + i) % 2);
    assert_int_equal(all->n_rows, row);
    batch_unref(all);
    schema_free(s);
}

static void reserved_room_changes_no_row(void **state)
{
    (void)state;
    struct schema *schema = trades();
    struct batch *b;
    assert_int_equal(batch_new(schema, 0, &b), 0);
    batch_reserve(b, 40000); /* like none: not yet */
    for (int i = 0; i < 100; i++)
        add(b, i, "eight by", i, i % 2);
    assert_true(b->room < 40000);
    batch_reserve(b, 40000);
    assert_int_equal(b->room, 40000);
    for (int i = 100; i < 40000; i++)
        add(b, i, "eight by", i, i % 2);
    assert_int_equal(b->room, 40000);
    batch_reserve(b, UINT32_MAX);
    assert_int_equal(b->room, BATCH_ROWS_MAX);
    batch_seal(b);
    for (uint32_t i = 0; i < 40000; i += 99)
        assert_row(b, i, i, "eight by", i, i % 2);
    batch_unref(b);
    schema_free(schema);
}

static void a_text_needs_no_room_for_what_it_replaces(void **state)
{
    (void)state;
    const size_t much = BATCH_BYTES_MAX / 4 * 3;
    char *text = malloc(much);
    struct schema *s = trades();
    struct batch *b;
    assert_non_null(text);
    memset(text, 'y', much);
    assert_int_equal(batch_new(s, 0, &b), 0);
    add(b, 0, "x", 0, true);
    add(b, 1, NULL, 1, true);
    for (int i = 0; i < 2; i++)
        assert_int_equal(batch_put_text(b, 1, 1, text, much), 0);
    assert_int_equal(b->column[1].offsets[2], much + 1);
    assert_memory_equal(b->column[1].bytes + 1, text, much);
    batch_seal(b);
    assert_row(b, 0, 0, "x", 0, true);
    assert_int_equal(b->view[1].null_count, 0);
    batch_unref(b);
    schema_free(s);
    free(text);
}

static void a_text_takes_the_place_of_what_the_last_rows_had(void **state)
{
    (void)state;
    static const char *const had[] = {NULL, "", "x", "longer than what comes"};
    struct schema *s = trades();
    struct batch *b;
    assert_int_equal(batch_new(s, 0, &b), 0);
    for (int i = 0; i < 3000; i++) {
        add(b, i, had[i % 4], i, i % 2);
        if (i % 100 == 99) /* the last 50 of each 100 */
            assert_int_equal(batch_put_text(b, 1, (uint32_t)i - 49, "sensors/1", 9), 0);
    }
    assert_int_equal(batch_put_text(b, 1, 3000, "nobody", 6), 0);
    assert_int_equal(batch_put_text(b, 1, 2950, "x", BATCH_BYTES_MAX / 50 + 1),
                     -ENOSPC);
    batch_seal(b);
    for (int i = 0; i < 3000; i++)
        assert_row(b, (uint32_t)i, i, i % 100 < 50 ? had[i % 4] : "sensors/1", i,
                   i % 2);
    assert_int_equal(b->view[1].null_count, 390);
    batch_unref(b);
    schema_free(s);
}

/* Of time, qty: rows are put, copied one by one and appended as if there were no other columns. */
static void columns_that_nobody_wants_have_no_arrays(void **state)
{
    (void)state;
    const bool wanted[] = {false, false, true,
                           false}; /* the time is there all the same */
    struct schema *s = trades();
    struct batch *from, *to;
    assert_int_equal(batch_new_of(s, wanted, 0, &from), 0);
    assert_int_equal(batch_new_of(s, wanted, 0, &to), 0);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(batch_grow(from), 0);
        ((int64_t *)from->column[0].values)[i] = i;
        ((int64_t *)from->column[2].values)[i] = i % 3 ? i * 7 : 0;
        if (i % 3 == 0)
            assert_int_equal(batch_set_null(from, 2), 0);
        from->n_rows++;
        assert_int_equal(batch_append_row(to, from, (uint32_t)i), 0);
    }
    assert_int_equal(batch_append(to, from), 0);
    batch_seal(to);
    assert_int_equal(to->n_rows, 6000);
    for (uint32_t i = 0; i < 6000; i++) {
        assert_int_equal(weir_int(&to->view[0], i), i % 3000);
        assert_int_equal(weir_is_null(&to->view[2], i), i % 3 == 0);
        assert_int_equal(weir_int(&to->view[2], i), i % 3 ? i % 3000 * 7 : 0);
    }
    for (size_t c = 1; c < 4; c += 2) {
        assert_null(to->view[c].values);
        assert_null(to->view[c].offsets);
        assert_null(to->view[c].bytes);
    }
    batch_unref(from);
    batch_unref(to);
    schema_free(s);
}

/* Every third row from the end, some at a time, without qty. */
static void chosen_rows_are_appended_with_chosen_columns(void **state)
{
    (void)state;
    static const char *const name[] = {"", "a", NULL, "a longer one"};
    const size_t column[] = {0, 3, 1};
    struct schema *s = trades(), *narrow;
    struct batch *from, *to;
    uint32_t row[100], n = 0, done = 0;
    assert_int_equal(schema_new(3, "ts", &narrow), 0);
    for (size_t i = 1; i < 3; i++)
        assert_int_equal(
            schema_set(narrow, i, s->column[column[i]].name, s->column[column[i]].type),
            0);
    assert_int_equal(batch_new(s, 0, &from), 0);
    assert_int_equal(batch_new(narrow, 0, &to), 0);
    for (int i = 0; i < 3000; i++)
        add(from, i, name[i % 4], i, i % 2);
    for (uint32_t i = 3000; i-- > 0;) {
        if (i % 3 == 0)
            row[n++] = i;
        if (n == 100 || i == 0) {
            assert_int_equal(batch_append_rows(to, from, column, row, n), 0);
            n = 0;
        }
    }
    batch_seal(to);
    assert_int_equal(to->n_rows, 1000);
    for (uint32_t i = 3000; i-- > 0;) {
        if (i % 3)
            continue;
        const char *wanted = name[i % 4];
        size_t size;
        const char *text = weir_string(&to->view[2], done, &size);
        assert_int_equal(weir_int(&to->view[0], done), i);
        assert_int_equal(weir_bool(&to->view[1], done), i % 2);
        assert_int_equal(weir_is_null(&to->view[2], done), !wanted);
        assert_int_equal(size, wanted ? strlen(wanted) : 0);
        assert_memory_equal(text, wanted ? wanted : "", size);
        done++;
    }
    batch_unref(from);
    batch_unref(to);
    schema_free(narrow);
    schema_free(s);
}

static void a_row_given_up_leaves_no_null_behind(void **state)
{
    (void)state;
    struct schema *s = trades();
    struct batch *b;
    assert_int_equal(batch_new(s, 0, &b), 0);
    add(b, 1, "a", 1, true);
    assert_int_equal(batch_set_null(b, 1), 0);
    assert_int_equal(batch_set_null(b, 2), 0);
    assert_int_equal(batch_set_null(b, 2), 0);
    batch_undo_nulls(b);
    add(b, 2, "b", 2, false);
    batch_seal(b);
    assert_row(b, 1, 2, "b", 2, false);
    assert_null(b->view[1].validity);
    assert_null(b->view[2].validity);
    batch_unref(b);
    schema_free(s);
}

static void a_full_batch_takes_no_more(void **state)
{
    (void)state;
    struct schema *s = trades();
    struct batch *b, *one;
    assert_int_equal(batch_new(s, 0, &b), 0);
    for (uint32_t i = 0; i < BATCH_ROWS_MAX; i++)
        add(b, (int64_t)i, "a", 1, true);
    assert_int_equal(batch_grow(b), -ENOSPC);
    assert_int_equal(batch_new(s, 0, &one), 0);
    add(one, 0, "b", 1, true);
    assert_int_equal(batch_append(b, one), -ENOSPC);
    assert_int_equal(b->n_rows, BATCH_ROWS_MAX);
    batch_unref(one);
    batch_unref(b);
    schema_free(s);
}

static void a_column_of_strings_keeps_to_its_limit(void **state)
{
    (void)state;
    struct schema *s = trades();
    struct batch *b;
    assert_int_equal(batch_new(s, 1, &b), 0);
    assert_int_equal(batch_bytes(b, 1, BATCH_BYTES_MAX), 0);
    assert_int_equal(batch_bytes(b, 1, BATCH_BYTES_MAX + 1), -ENOSPC);
    batch_unref(b);
    schema_free(s);
}

static void seal_knows_the_range_of_times_of_each_block(void **state)
{
    (void)state;
    struct schema *s = trades();
    struct batch *b;
    assert_int_equal(batch_new(s, 0, &b), 0);
    for (int i = 0; i < 2500; i++)
        add(b, i % 2 ? i : -i, "a", 1, true);
    batch_seal(b);
    assert_int_equal(b->block[0].min_us, -1022);
    assert_int_equal(b->block[0].max_us, 1023);
    assert_int_equal(b->block[2].min_us, -2498);
    assert_int_equal(b->block[2].max_us, 2499);
    assert_int_equal(b->span.min_us, -2498);
    assert_int_equal(b->span.max_us, 2499);
    batch_unref(b);
    schema_free(s);
}

static void keys_are_numbered_in_the_order_of_their_first_row(void **state)
{
    (void)state;
    struct schema *s = trades();
    struct batch *b;
    assert_int_equal(batch_new(s, 0, &b), 0);
    const char *symbols[] = {"b", "a", "b", NULL, "", "longer than eight bytes", "a"};
    const uint32_t expected[] = {0, 1, 0, KEY_NULL, 2, 3, 1};
    for (size_t i = 0; i < 7; i++)
        add(b, 0, symbols[i], 1, true);
    batch_seal(b);
    struct key_ids *k;
    assert_int_equal(keys_new(b, (size_t[]){1}, 1, &k), 0);
    assert_int_equal(k->n, 4);
    assert_memory_equal(k->id, expected, sizeof(expected));
    assert_int_equal(k->offset[4] - k->offset[3], 23);
    keys_free(k);
    batch_unref(b);
    schema_free(s);
}

static void many_distinct_keys_stay_distinct(void **state)
{
    (void)state;
    struct schema *s = trades();
    struct batch *b;
    assert_int_equal(batch_new(s, 0, &b), 0);
    char symbol[32];
    for (int i = 0; i < 60000; i++) {
        snprintf(symbol, sizeof(symbol), "key-%d", i / 2);
        add(b, 0, symbol, 1, true);
    }
    batch_seal(b);
    struct key_ids *k;
    assert_int_equal(keys_new(b, (size_t[]){1}, 1, &k), 0);
    assert_int_equal(k->n, 30000);
    for (uint32_t i = 0; i < 60000; i++)
        assert_int_equal(k->id[i], i / 2);
    keys_free(k);
    batch_unref(b);
    schema_free(s);
}

static int compare_keys(const struct key_ids *k, uint32_t a, uint32_t b)
{
    uint32_t na = k->offset[a + 1] - k->offset[a], nb = k->offset[b + 1] - k->offset[b];
    int c = memcmp(k->bytes + k->offset[a], k->bytes + k->offset[b], na < nb ? na : nb);
    return c ? c : (na > nb) - (na < nb);
}

/* Rows in the order in which SQLite sorts (symbol, qty, ok): the bytes must sort alike. */
static void composed_keys_sort_as_their_columns(void **state)
{
    (void)state;
    static const struct {
        const char *symbol;
        int64_t qty;
        bool ok;
    } row[] = {
        {"", INT64_MIN, false}, {"", -2, false},  {"", -2, true},
        {"", 0, false},         {"a", -5, false}, {"a", 3, false},
        {"a", 256, true},       {"ab", 1, false}, {"b", INT64_MAX, true},
    };
    enum { N = sizeof(row) / sizeof(row[0]) };
    struct schema *s = trades();
    struct batch *b;
    assert_int_equal(batch_new(s, 0, &b), 0);
    for (size_t i = 0; i < N; i++)
        add(b, 0, row[i].symbol, row[i].qty, row[i].ok);
    batch_seal(b);
    struct key_ids *k;
    assert_int_equal(keys_new(b, (size_t[]){1, 2, 3}, 3, &k), 0);
    assert_int_equal(k->n, N);
    for (uint32_t i = 0; i < N; i++) {
        if (i)
            assert_true(compare_keys(k, i - 1, i) < 0);
        const char *at = k->bytes + k->offset[i], *end = k->bytes + k->offset[i + 1];
        char scratch[KEY_BYTES_MAX];
        struct weir_cell c;
        keys_read(&at, end, WEIR_STRING, false, scratch, &c);
        assert_int_equal(c.size, strlen(row[i].symbol));
        assert_memory_equal(c.as.s, row[i].symbol, c.size);
        keys_read(&at, end, WEIR_INT, false, scratch, &c);
        assert_int_equal(c.as.i, row[i].qty);
        keys_read(&at, end, WEIR_BOOL, true, scratch, &c);
        assert_int_equal(c.as.i, row[i].ok);
        assert_ptr_equal(at, end);
    }
    keys_free(k);
    batch_unref(b);
    schema_free(s);
}

static void a_zero_byte_in_a_key_is_kept_apart(void **state)
{
    (void)state;
    struct schema *s = trades();
    struct batch *b;
    assert_int_equal(batch_new(s, 0, &b), 0);
    add(b, 0, "aXb", 7, true);
    add(b, 0, "a", 7, true);
    b->column[1].bytes[1] = 0;
    batch_seal(b);
    struct key_ids *k;
    assert_int_equal(keys_new(b, (size_t[]){1, 2}, 2, &k), 0);
    assert_int_equal(k->n, 2);
    assert_true(compare_keys(k, 1, 0) < 0); /* "a" < "a\0b", as in SQLite */
    const char *at = k->bytes;
    char scratch[KEY_BYTES_MAX];
    struct weir_cell c;
    keys_read(&at, k->bytes + k->offset[1], WEIR_STRING, false, scratch, &c);
    assert_int_equal(c.size, 3);
    assert_memory_equal(c.as.s, "a\0b", 3);
    keys_free(k);
    batch_unref(b);
    schema_free(s);
}

static void no_key_column_is_one_key(void **state)
{
    (void)state;
    struct schema *s = trades();
    struct batch *b;
    assert_int_equal(batch_new(s, 0, &b), 0);
    add(b, 0, "x", 7, true);
    add(b, 0, NULL, -1, true);
    batch_seal(b);
    struct key_ids *k;
    assert_int_equal(keys_new(b, NULL, 0, &k), 0);
    assert_int_equal(k->n, 1);
    assert_int_equal(k->id[0], 0);
    assert_int_equal(k->id[1], 0);
    keys_free(k);
    batch_unref(b);
    schema_free(s);
}

static void a_key_over_the_limit_is_marked(void **state)
{
    (void)state;
    struct schema *s = trades();
    struct batch *b;
    assert_int_equal(batch_new(s, 0, &b), 0);
    char *text = calloc(1, KEY_BYTES_MAX + 2);
    memset(text, 'x', KEY_BYTES_MAX + 1);
    add(b, 0, text, 1, true);
    text[KEY_BYTES_MAX] = 0;
    add(b, 0, text, 1, true);
    batch_seal(b);
    struct key_ids *k;
    assert_int_equal(keys_new(b, (size_t[]){1}, 1, &k), 0);
    assert_int_equal(k->id[0], KEY_TOO_LONG);
    assert_int_equal(k->id[1], 0);
    keys_free(k);
    assert_int_equal(keys_new(b, (size_t[]){1, 2}, 2, &k), 0);
    assert_int_equal(k->id[0], KEY_TOO_LONG);
    keys_free(k);
    free(text);
    batch_unref(b);
    schema_free(s);
}

/* A string before the last column takes two bytes more, an int eight. */
static void a_key_of_several_columns_may_fill_the_limit(void **state)
{
    (void)state;
    static const struct {
        size_t size, columns[2];
        bool fits;
    } row[] = {
        {KEY_BYTES_MAX - 10, {1, 2}, true},
        {KEY_BYTES_MAX - 9, {1, 2}, false},
        {KEY_BYTES_MAX - 8, {2, 1}, true},
        {KEY_BYTES_MAX - 7, {2, 1}, false},
    };
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        struct schema *s = trades();
        struct batch *b;
        struct key_ids *k;
        char *text = calloc(1, KEY_BYTES_MAX);
        assert_int_equal(batch_new(s, 0, &b), 0);
        memset(text, 'x', row[i].size);
        add(b, 0, text, 1, true);
        batch_seal(b);
        assert_int_equal(keys_new(b, row[i].columns, 2, &k), 0);
        assert_int_equal(k->id[0], row[i].fits ? 0 : KEY_TOO_LONG);
        keys_free(k);
        free(text);
        batch_unref(b);
        schema_free(s);
    }
}

static void a_dictionary_gives_the_strings_of_the_rows(void **state)
{
    (void)state;
    struct schema *s = trades();
    struct batch *b;
    assert_int_equal(batch_new(s, 0, &b), 0);
    const char *symbols[] = {"b", "a", NULL, "b"};
    for (size_t i = 0; i < 4; i++)
        add(b, 0, symbols[i], 1, true);
    batch_seal(b);
    struct dictionary *d;
    assert_int_equal(dictionary_new(b, 1, &d), 0);
    assert_int_equal(d->view.dictionary_size, 3); /* "" stands in for the null row */
    for (uint32_t i = 0; i < 4; i++) {
        size_t size;
        const char *text = weir_string(&d->view, i, &size);
        assert_int_equal(weir_is_null(&d->view, i), !symbols[i]);
        assert_int_equal(size, symbols[i] ? 1 : 0);
        if (symbols[i])
            assert_int_equal(*text, *symbols[i]);
    }
    dictionary_free(d);
    batch_unref(b);
    schema_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_back_as_they_were_put),
        cmocka_unit_test(appended_rows_stand_behind_with_nulls_and_bits_in_place),
        cmocka_unit_test(reserved_room_changes_no_row),
        cmocka_unit_test(a_text_takes_the_place_of_what_the_last_rows_had),
        cmocka_unit_test(a_text_needs_no_room_for_what_it_replaces),
        cmocka_unit_test(columns_that_nobody_wants_have_no_arrays),
        cmocka_unit_test(chosen_rows_are_appended_with_chosen_columns),
        cmocka_unit_test(a_row_given_up_leaves_no_null_behind),
        cmocka_unit_test(a_full_batch_takes_no_more),
        cmocka_unit_test(a_column_of_strings_keeps_to_its_limit),
        cmocka_unit_test(seal_knows_the_range_of_times_of_each_block),
        cmocka_unit_test(keys_are_numbered_in_the_order_of_their_first_row),
        cmocka_unit_test(many_distinct_keys_stay_distinct),
        cmocka_unit_test(composed_keys_sort_as_their_columns),
        cmocka_unit_test(a_zero_byte_in_a_key_is_kept_apart),
        cmocka_unit_test(no_key_column_is_one_key),
        cmocka_unit_test(a_key_over_the_limit_is_marked),
        cmocka_unit_test(a_key_of_several_columns_may_fill_the_limit),
        cmocka_unit_test(a_dictionary_gives_the_strings_of_the_rows),
    };
    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
