/* SPDX-License-Identifier: Apache-2.0
 *
 * What every analyzer promises, on random rows, those that ship and the sketches of docs/abi.md: the result does
 * not depend on how rows were cut into calls or spread over groups, merging in any order and shape is as
 * folding, taking rows out is as not having folded them, the empty state is neutral, save and load change
 * nothing, memory is given back.
 */
#include "host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROWS   300
#define GROUPS 7

/* A plugin with parameters: "stats of=x:f". `exact`: merging gives every bit of what folding gives; of
 * rounded sums it need not. */
struct subject {
    const char *plugin;
    const char *set[4][2];
    bool exact;
};

static const struct subject subjects[] = {
    {"count", {{0}}, true},
    {"count", {{"of", "x:s"}}, true},
    {"count", {{"of", "x:f"}}, true},
    {"stats", {{"of", "x:i"}, {"emit", "count, sum, min, max, mean"}}, true},
    {"stats", {{"of", "x:i"}}, false},
    {"stats", {{"of", "x:f"}, {"emit", "count, min, max"}}, false},
    {"stats", {{"of", "x:f"}}, false},
    {"vwap", {{"price", "p:f"}, {"volume", "v:i"}}, false},
    {"vwap", {{"price", "p:i"}, {"volume", "v:f"}}, false},
    {"ohlc", {{"of", "x:f"}}, true},
    {"ohlc", {{"of", "x:i"}}, true},
    {"topk", {{"of", "x:s"}, {"k", "5"}}, true},
    {"topk", {{"of", "x:i"}, {"k", "5"}}, true},
    {"topk", {{"of", "x:s"}, {"k", "5"}, {"capacity", "6"}}, false},
    {"sketches/quantiles", {{"of", "x:f"}, {"q", "0 0.25 0.5 0.99 1"}}, true},
    {"sketches/funnel", {{"step", "x:s"}}, true},
    {"sketches/forecast", {{"of", "x:i"}}, false},
    {"sketches/sliding", {{"of", "x:i"}}, true},
    {"quantiles", {{"of", "x:f"}, {"q", "0 0.25 0.5 0.99 1"}}, true},
    {"quantiles", {{"of", "x:i"}, {"q", "0.1 0.9"}, {"buckets", "16"}}, true},
    {"distinct", {{"of", "x:s"}}, true},
    {"distinct", {{"of", "x:i y:s z:b"}}, true},
    {"distinct", {{"of", "x:f"}, {"precision", "8"}}, true},
    {"first", {{"of", "x:s"}}, true},
    {"first", {{"of", "x:f"}}, true},
    {"last", {{"of", "x:s"}}, true},
    {"last", {{"of", "x:t"}}, true},
    {"last", {{"of", "x:b"}}, true},
    {"sum", {{"of", "x:i"}}, true},
    {"sum", {{"of", "x:f"}}, false},
    {"histogram", {{"of", "x:f"}, {"bounds", "-20 -5.5 0 1 60"}}, true},
    {"histogram", {{"of", "x:i"}}, true},
    {"covariance", {{"x", "x:i"}, {"y", "y:f"}}, false},
    {"rate", {{"of", "x:f"}}, true},
    {"delta", {{"of", "x:i"}}, true},
    {"time_weighted", {{"of", "x:f"}}, true},
    {"twap", {{"price", "x:f"}, {"method", "linear"}, {"until", "event"}}, true},
    {"ewma", {{"of", "x:f"}}, false},
    {"change", {{"of", "x:s"}}, true},
    {"change", {{"of", "x:b"}}, true},
    {"change", {{"of", "x:f"}}, true},
    {"gap", {{"longer_than", "2us"}}, true},
    {"gap", {{"of", "x:s"}, {"longer_than", "2us"}}, true},
    {"threshold",
     {{"of", "x:f"}, {"limit", "20"}, {"hysteresis", "5"}, {"for", "3us"}},
     true},
    {"volatility", {{"price", "x:f"}}, true},
    {"drawdown", {{"of", "x:f"}}, true},
    {"imbalance", {{"volume", "x:f"}}, false},
    {"imbalance", {{"volume", "x:i"}, {"side", "y:b"}}, true},
    {"sessions", {{"gap", "3us"}}, true},
    {"moments", {{"of", "x:f"}}, false},
    {"moments", {{"of", "x:i"}}, false},
    {"mode", {{"of", "x:s"}}, true},
    {"mode", {{"of", "x:i"}}, true},
    {"entropy", {{"of", "x:s"}}, false},
    {"mad", {{"of", "x:f"}}, true},
    {"mad", {{"of", "x:i"}, {"sample", "16"}}, true},
    {"sample", {{"of", "x:s"}}, true},
    {"sample", {{"of", "x:f"}, {"k", "300"}}, true},
    {"collect", {{"of", "x:s"}, {"limit", "7"}}, true},
    {"collect", {{"of", "x:b"}, {"keep", "last"}}, true},
    {"funnel",
     {{"step", "x:s"}, {"steps", "view > cart > paid"}, {"within", "70us"}},
     true},
    {"funnel",
     {{"step", "x:s"},
      {"by", "y:i"},
      {"steps", "view > view > paid"},
      {"events", "20"}},
     true},
    {"path", {{"of", "x:s"}, {"by", "y:i"}}, true},
    {"retention", {{"by", "x:i"}, {"period", "7us"}}, true},
    {"retention", {{"by", "x:f"}, {"period", "20us"}, {"users", "100"}}, true},
    {"trending", {{"of", "x:s"}, {"recent", "10us"}, {"baseline", "50us"}}, false},
    {"trending", {{"of", "x:i"}, {"recent", "10us"}, {"baseline", "50us"}}, false},
    {"path", {{"of", "x:i"}, {"by", "y:b"}, {"events", "30"}}, true},
    {"path", {{"of", "x:i"}, {"events", "30"}}, true},
};

static uint64_t dice_state = 88172645463325252u;

/* Marsaglia, "Xorshift RNGs", 2003. */
static size_t dice(size_t below)
{
    dice_state ^= dice_state << 13;
    dice_state ^= dice_state >> 7;
    dice_state ^= dice_state << 17;
    return (size_t)(dice_state % below);
}

struct trial {
    struct host host;
    const struct subject *subject;
    struct host_table *table;
};

static const char *const words[] = {"tag", "a value that takes more room", "view",
                                    "cart", "paid"};

static void fill(struct host_table *t, uint32_t type, size_t input, size_t row)
{
    char text[64];
    size_t word = dice(8);
    bool is_null = dice(5) == 0;
    if (is_null)
        host_null(t, input, row);
    if (type == WEIR_BOOL)
        host_put_bool(t, input, row, !is_null && dice(2));
    else if (type == WEIR_INT || type == WEIR_TIME)
        ((int64_t *)t->values[input])[row] = is_null ? 0 : (int64_t)dice(40) - 20;
    else if (type == WEIR_FLOAT)
        ((double *)t->values[input])[row] =
            is_null ? 0 : (double)dice(10000) / 100 - 30;
    else
        host_put_text(
            t, input, row, text,
            is_null    ? 0
            : word > 2 ? (size_t)snprintf(text, sizeof(text), "%s %zu", words[word & 1],
                                          1 + dice(1 + dice(30)))
                       : (size_t)snprintf(text, sizeof(text), "%s", words[2 + word]));
}

static void trial_new(struct trial *t, const struct subject *subject, size_t rows)
{
    char path[256];
    snprintf(path, sizeof(path), "%splugins/%s.so",
             strchr(subject->plugin, '/') ? "tests/unit/" : "", subject->plugin);
    *t = (struct trial){.subject = subject};
    host_load(&t->host, path);
    for (size_t i = 0; i < 4 && subject->set[i][0]; i++)
        host_set(&t->host, subject->set[i][0], subject->set[i][1]);
    assert_int_equal(host_open(&t->host), 0);
    t->table = host_table_new(&t->host, rows, rows * 64);
    for (size_t row = 0; row < rows; row++) {
        t->table->time[row] = (int64_t)dice(rows);
        for (size_t k = 0; k < t->host.n_inputs; k++)
            fill(t->table, t->host.types[k], k, row);
    }
}

static void trial_free(struct trial *t)
{
    host_close(&t->host);
    host_table_free(t->table);
    assert_int_equal(t->host.allocated, 0);
}

static void *fold_all(struct trial *t)
{
    void *state = host_state(&t->host);
    assert_int_equal(host_fold(&t->host, t->table, 0, t->table->n, state), 0);
    return state;
}

/* Results as text; of rounded numbers 12 digits have to agree. */
static void assert_same(const struct trial *t, const char *a, const char *b)
{
    if (t->subject->exact) {
        assert_string_equal(a, b);
        return;
    }
    while (*a && *b) {
        char *after_a, *after_b;
        double v = strtod(a, &after_a), w = strtod(b, &after_b);
        if (after_a == a || after_b == b) {
            assert_int_equal(*a++, *b++);
            continue;
        }
        double distance = v < w ? w - v : v - w;
        assert_true(distance <= 1e-12 * (v < 0 ? -v : v) + 1e-12);
        a = after_a;
        b = after_b;
    }
    assert_int_equal(*a, *b);
}

static void finish(struct trial *t, void *state, const char *expected, bool bitwise)
{
    char *text = host_emit(&t->host, state);
    assert_non_null(text);
    if (bitwise)
        assert_string_equal(text, expected);
    else
        assert_same(t, text, expected);
    free(text);
    host_drop(&t->host, state);
}

static char *reference(struct trial *t)
{
    void *state = fold_all(t);
    char *text = host_emit(&t->host, state);
    assert_non_null(text);
    host_drop(&t->host, state);
    return text;
}

/* Runs `law` on every subject, on tables of several sizes. */
static void each(void (*law)(struct trial *t, const char *expected))
{
    static const size_t sizes[] = {0, 1, 2, 7, 64, ROWS};
    for (size_t i = 0; i < sizeof(subjects) / sizeof(*subjects); i++)
        for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++) {
            struct trial t;
            trial_new(&t, &subjects[i], sizes[k]);
            char *expected = reference(&t);
            law(&t, expected);
            free(expected);
            trial_free(&t);
        }
}

/* ---- The laws ---- */

static void law_split(struct trial *t, const char *expected)
{
    void *state = host_state(&t->host);
    for (size_t at = 0; at < t->table->n;) {
        size_t n = dice(t->table->n - at + 1); /* 0: a call without rows */
        assert_int_equal(host_fold(&t->host, t->table, at, n, state), 0);
        at += n;
    }
    finish(t, state, expected, true);
}

static void cuts_into_calls_change_nothing(void **unused)
{
    (void)unused;
    each(law_split);
}

/* All rows once more for each of several groups, one after the other and interleaved. */
static void law_groups(struct trial *t, const char *expected)
{
    size_t stride = (t->host.analyzer->state_size + 15) / 16 * 16 + 32, n = t->table->n;
    char *states = aligned_alloc(16, GROUPS * stride);
    uint32_t *row = calloc(2 * GROUPS * n + 1, sizeof(*row)), *group = row + GROUPS * n;
    memset(states, 0, GROUPS * stride);
    for (size_t g = 0; g < GROUPS; g++)
        host_init(&t->host, states + g * stride);
    for (size_t i = 0; i < GROUPS * n; i++) {
        row[i] = (uint32_t)(i / GROUPS);
        group[i] = (uint32_t)(i % GROUPS);
    }
    assert_int_equal(
        host_update(&t->host, t->table, row, group, GROUPS * n, states, stride), 0);
    const void *state[GROUPS];
    char *text[GROUPS];
    for (size_t g = 0; g < GROUPS; g++)
        state[g] = states + g * stride;
    assert_true(host_emit_many(&t->host, state, GROUPS, text));
    for (size_t g = 0; g < GROUPS; g++) {
        assert_string_equal(text[g], expected);
        free(text[g]);
        if (t->host.analyzer->drop)
            t->host.analyzer->drop(&t->host.ctx, states + g * stride);
        for (size_t k = t->host.analyzer->state_size; k < stride; k++)
            assert_int_equal(states[g * stride + k],
                             0); /* nobody wrote behind its state */
    }
    free(row);
    free(states);
}

static void groups_do_not_touch_each_other(void **unused)
{
    (void)unused;
    each(law_groups);
}

#define PIECES 12

/* Whether the law of merging holds bit for bit or, beyond its capacity, not at all: there topk keeps bounds, not
 * counts, see test_values.py. */
static bool can_merge(const struct trial *t)
{
    const char *third = t->subject->set[2][0];
    return t->host.analyzer->merge && (!third || strcmp(third, "capacity") != 0);
}

/* States of all rows, each of a run of them, in the order of the log; some are empty. */
static void fold_pieces(struct trial *t, void *piece[PIECES])
{
    size_t first = 0, rows = t->table->n;
    for (size_t i = 0; i < PIECES; i++) {
        size_t n = i + 1 == PIECES ? rows - first : dice((rows - first) / 3 + 2);
        n = n > rows - first ? rows - first : n;
        piece[i] = host_state(&t->host);
        assert_int_equal(host_fold(&t->host, t->table, first, n, piece[i]), 0);
        first += n;
    }
}

/* Two at random become one, until one is left: any order, any tree. */
static void law_merge(struct trial *t, const char *expected)
{
    for (int round = 0; can_merge(t) && round < 10; round++) {
        void *piece[PIECES];
        fold_pieces(t, piece);
        for (size_t n = PIECES; n > 1; n--) {
            size_t a = dice(n), b = dice(n - 1);
            b += b >= a;
            assert_int_equal(host_merge(&t->host, piece[a], piece[b]), 0);
            piece[b] = piece[n - 1];
        }
        finish(t, piece[0], expected, false);
    }
}

static void merging_in_any_order_is_as_folding(void **unused)
{
    (void)unused;
    each(law_merge);
}

/* All states into one in a single call. */
static void law_merge_many(struct trial *t, const char *expected)
{
    void *into[PIECES], *from[PIECES];
    const void *other[PIECES];
    const struct weir_window window = {.size = sizeof(window), .end = 1000},
                             *windows[PIECES];
    if (!can_merge(t))
        return;
    fold_pieces(t, from);
    for (size_t i = 0; i < PIECES; i++) {
        into[i] = host_state(&t->host);
        other[i] = from[i];
        windows[i] = &window;
    }
    assert_int_equal(
        t->host.analyzer->merge(&t->host.ctx, PIECES, windows, into, other), 0);
    for (size_t i = 0; i < PIECES; i++)
        host_drop(&t->host, from[i]);
    for (size_t i = 1; i < PIECES; i++)
        assert_int_equal(host_merge(&t->host, into[0], into[i]), 0);
    finish(t, into[0], expected, false);
}

static void many_pairs_can_be_merged_in_a_call(void **unused)
{
    (void)unused;
    each(law_merge_many);
}

/* Rows slide through: what is left is as if the others had never been. */
static void law_retract(struct trial *t, const char *expected)
{
    size_t n = t->table->n, gone = n - n / 3;
    (void)expected;
    if (!t->host.analyzer->retract)
        return;
    void *state = host_state(&t->host), *other = host_state(&t->host);
    for (size_t at = 0, out = 0; at < n; at++) {
        assert_int_equal(host_fold(&t->host, t->table, at, 1, state), 0);
        for (; out < gone && out + n / 3 < at + 1; out++)
            assert_int_equal(host_retract(&t->host, t->table, out, 1, state), 0);
    }
    assert_int_equal(host_fold(&t->host, t->table, gone, n - gone, other), 0);
    char *text = host_emit(&t->host, other);
    finish(t, state, text, true);
    free(text);
    host_drop(&t->host, other);
}

static void rows_can_be_taken_out_again(void **unused)
{
    (void)unused;
    each(law_retract);
}

static void law_empty(struct trial *t, const char *expected)
{
    void *full = fold_all(t), *empty = host_state(&t->host);
    assert_int_equal(host_merge(&t->host, full, host_state(&t->host)), 0);
    assert_int_equal(host_merge(&t->host, empty, fold_all(t)), 0);
    finish(t, full, expected, true);
    finish(t, empty, expected, true);
}

static void the_empty_state_is_neutral(void **unused)
{
    (void)unused;
    each(law_empty);
}

/* Saved and loaded in the middle, it goes on as if nothing had been. */
static void law_save(struct trial *t, const char *expected)
{
    void *state = host_state(&t->host);
    for (size_t at = 0; at < t->table->n;) {
        size_t left = t->table->n - at, n = 1 + dice(left < 8 ? left : 8);
        state = host_reload(&t->host, state);
        assert_int_equal(host_fold(&t->host, t->table, at, n, state), 0);
        at += n;
    }
    finish(t, host_reload(&t->host, state), expected, true);
}

static void save_and_load_change_nothing(void **unused)
{
    (void)unused;
    each(law_save);
}

static void law_emit(struct trial *t, const char *expected)
{
    void *state = host_state(&t->host);
    for (size_t at = 0; at < t->table->n; at++) {
        assert_int_equal(host_fold(&t->host, t->table, at, 1, state), 0);
        free(host_emit(&t->host, state));
    }
    finish(t, state, expected, true);
}

static void emit_changes_nothing(void **unused)
{
    (void)unused;
    each(law_emit);
}

/* Wherever memory ends, the plugin says so and gives back what it had. */
static void law_memory(struct trial *t, const char *expected)
{
    (void)expected;
    for (size_t n = 1; n < 20; n++) {
        void *state = host_state(&t->host);
        t->host.refuse = n;
        t->host.error[0] = 0;
        int err = host_fold(&t->host, t->table, 0, t->table->n, state);
        assert_true(err == 0 || t->host.error[0]);
        t->host.refuse = 0;
        host_drop(&t->host, state);
    }
}

static void no_memory_is_an_error_not_a_crash(void **unused)
{
    (void)unused;
    each(law_memory);
}

/* ---- Saved bytes come from a file: whatever they are, load must live ---- */

static void load_damaged(struct trial *t, const struct host_bytes *saved, size_t size,
                         bool flip)
{
    char *copy = malloc(size + 1); /* of its own, for the address sanitizer */
    if (size)
        memcpy(copy, saved->data, size);
    if (flip && size)
        copy[dice(size < 64 || dice(2) ? size : 64)] ^= (char)(1 << dice(8));
    void *state = host_state(&t->host);
    const struct weir_analyzer *a = t->host.analyzer;
    if (a->load(&t->host.ctx, state, a->state_version, copy, size) == 0)
        free(host_emit(&t->host, state));
    host_drop(&t->host, state);
    free(copy);
}

static void law_damage(struct trial *t, const char *expected)
{
    (void)expected;
    if (!t->host.analyzer->save || strchr(t->subject->plugin, '/'))
        return;
    void *state = fold_all(t);
    struct host_bytes saved = host_save(&t->host, state);
    host_drop(&t->host, state);
    for (int round = 0; round < 100; round++)
        load_damaged(t, &saved, saved.size, true);
    for (size_t size = 0; size < saved.size; size += size < 64 ? 1 : 509)
        load_damaged(t, &saved, size, false);
    free(saved.data);
}

static void whatever_was_saved_load_lives(void **unused)
{
    (void)unused;
    each(law_damage);
}

static void damaged_bytes_are_refused_or_load(void **unused)
{
    (void)unused;
    struct trial t;
    trial_new(&t, &subjects[11], 0);
    const uint32_t good[] = {2, 1, 0, 1000, 3, 0, 3, 0, 0, 0, 1, 0, 0, 0};
    char bytes[56];
    memcpy(bytes, good, sizeof(bytes));
    memcpy(bytes + 48, "a\0\0\0\0\0\0", 8);
    for (size_t size = 0; size <= 49; size++)
        for (int round = 0; round < 200; round++) {
            char *copy = malloc(size + 1); /* of its own, for the address sanitizer */
            memcpy(copy, bytes, size);
            if (round && size)
                copy[dice(size)] ^= (char)(1 << dice(8));
            void *state = host_state(&t.host);
            int err = t.host.analyzer->load(&t.host.ctx, state, 1, copy, size);
            if (round == 0)
                assert_int_equal(err == 0, size == 49);
            host_drop(&t.host, state);
            free(copy);
        }
    trial_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_into_calls_change_nothing),
        cmocka_unit_test(groups_do_not_touch_each_other),
        cmocka_unit_test(merging_in_any_order_is_as_folding),
        cmocka_unit_test(many_pairs_can_be_merged_in_a_call),
        cmocka_unit_test(rows_can_be_taken_out_again),
        cmocka_unit_test(the_empty_state_is_neutral),
        cmocka_unit_test(save_and_load_change_nothing),
        cmocka_unit_test(emit_changes_nothing),
        cmocka_unit_test(no_memory_is_an_error_not_a_crash),
        cmocka_unit_test(whatever_was_saved_load_lives),
        cmocka_unit_test(damaged_bytes_are_refused_or_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
