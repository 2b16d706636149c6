/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/hash.h"
#include "batch/keys.h"
#include "group/filter.h"
#include "group/groups.h"
#include "window/watermark.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

/* ---- Watermark -------------------------------------------------------------------------------- */

static struct watermark *watermark_new(int64_t out_of_orderness_us)
{
    struct watermark *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    watermark_init(w, out_of_orderness_us, INT64_MIN);
    return w;
}

static void the_watermark_is_the_newest_event_less_out_of_orderness(void **state)
{
    (void)state;
    struct watermark *w = watermark_new(10);
    watermark_begin(w, 0);
    assert_int_equal(w->value_us, INT64_MIN);
    watermark_read(w, 100, 100);
    assert_int_equal(w->value_us, 90);
    watermark_read(w, 50, 50);
    assert_int_equal(w->value_us, 90);
    assert_int_equal(watermark_at(w, 130), 120);
    assert_int_equal(w->value_us, 90);
    free(w);
}

static void the_slowest_source_holds_the_watermark_back(void **state)
{
    (void)state;
    struct watermark *w = watermark_new(0);
    watermark_begin(w, 1);
    watermark_read(w, 1000, 1000);
    assert_int_equal(w->value_us, 1000);
    watermark_begin(w,
                    2); /* new and behind: the watermark does not go back, but waits */
    watermark_read(w, 500, 500);
    assert_int_equal(w->value_us, 1000);
    watermark_begin(w, 1);
    watermark_read(w, 2000, 2000);
    assert_int_equal(w->value_us, 1000);
    watermark_begin(w, 2);
    watermark_read(w, 1500, 1500);
    assert_int_equal(w->value_us, 1500);
    assert_int_equal(watermark_at(w, 9000), 2000);
    free(w);
}

static void an_idle_source_holds_nothing_back_until_it_sends_again(void **state)
{
    (void)state;
    struct watermark *w = watermark_new(0);
    watermark_begin(w, 1);
    watermark_read(w, 100, 100);
    watermark_begin(w, 2);
    watermark_read(w, 900, 900);
    assert_int_equal(w->value_us, 100);
    watermark_idle(w, 1);
    assert_int_equal(w->value_us, 900);
    watermark_begin(w, 1);
    watermark_read(w, 200, 200);
    watermark_begin(w, 2);
    watermark_read(w, 2000, 2000);
    assert_int_equal(w->value_us, 900);
    free(w);
}

static void silence_of_all_lets_the_watermark_stand(void **state)
{
    (void)state;
    struct watermark *w = watermark_new(10);
    watermark_begin(w, 0);
    watermark_read(w, 100, 100);
    watermark_idle(w, 0);
    assert_int_equal(w->value_us, 90);
    watermark_advance(w, 200);
    watermark_advance(w, 150);
    assert_int_equal(w->value_us, 200);
    free(w);
}

static void who_is_at_the_end_holds_nothing_back_until_it_sends_again(void **state)
{
    (void)state;
    struct watermark *w = watermark_new(10);
    watermark_begin(w, 0);
    watermark_read(w, 100, 100);
    watermark_begin(w, 1);
    watermark_read(w, 150, 150);
    watermark_end(w, 200);
    assert_int_equal(w->value_us, 200);
    watermark_begin(w, 1);
    watermark_read(w, 300, 300);
    assert_int_equal(w->value_us, 290);
    watermark_begin(w, 0);
    watermark_read(w, 210, 210);
    watermark_begin(w, 1);
    watermark_read(w, 400, 400);
    assert_int_equal(w->value_us, 290);
    free(w);
}

/* What it is by its definition: the least of all that are not idle, and never less than before. */
struct plain {
    int64_t max_us[WATERMARK_SOURCES], value_us;
    bool active[WATERMARK_SOURCES];
};

static void plain_look(struct plain *p, int64_t out_of_orderness_us)
{
    int64_t least_us = INT64_MAX;
    for (size_t i = 0; i < WATERMARK_SOURCES; i++)
        if (p->active[i] && p->max_us[i] < least_us)
            least_us = p->max_us[i];
    if (least_us != INT64_MAX && least_us != INT64_MIN &&
        least_us - out_of_orderness_us > p->value_us)
        p->value_us = least_us - out_of_orderness_us;
}

static void a_thousand_sources_have_the_least_of_all(void **state)
{
    (void)state;
    struct watermark *w = watermark_new(10);
    static struct plain p;
    unsigned seed = 1;
    p.value_us = INT64_MIN;
    for (size_t i = 0; i < WATERMARK_SOURCES; i++)
        p.max_us[i] = INT64_MIN;
    for (int k = 0; k < 50000; k++) {
        uint32_t i = (uint32_t)rand_r(&seed) % WATERMARK_SOURCES;
        int64_t us = k / 10 + rand_r(&seed) % 1000;
        int what = rand_r(&seed) % 8;
        if (what == 0) {
            watermark_idle(w, i);
            p.active[i] = false;
        } else {
            if (what == 1) {
                watermark_reached(w, i, us);
            } else {
                watermark_begin(w, i);
                watermark_read(w, us, us);
                p.active[i] = true;
            }
            p.max_us[i] = us > p.max_us[i] ? us : p.max_us[i];
        }
        plain_look(&p, 10);
        assert_int_equal(w->value_us, p.value_us);
    }
    assert_true(p.value_us > 4000);
    free(w);
}

/* ---- Groups ----------------------------------------------------------------------------------- */

static uint32_t key_of(struct groups *g, const char *name)
{
    uint32_t k;
    assert_int_equal(
        groups_key(g, name, strlen(name), hash_bytes(name, strlen(name)), &k), 0);
    return k;
}

static uint32_t open_at(struct groups *g, const char *name, int64_t start_us,
                        bool expect_new)
{
    uint32_t slot;
    bool is_new;
    assert_int_equal(groups_open(g, key_of(g, name), start_us, &slot, &is_new), 0);
    assert_int_equal(is_new, expect_new);
    return slot;
}

static void a_group_is_found_again_in_any_order_of_windows(void **state)
{
    (void)state;
    struct groups g;
    assert_int_equal(groups_init(&g, 1000, 16), 0);
    uint32_t slot[10];
    static const int order[] = {5, 2, 9, 0, 7, 1, 8, 3, 6, 4};
    for (int i = 0; i < 10; i++)
        slot[order[i]] = open_at(&g, "a", order[i] * 10, true);
    for (int i = 0; i < 10; i++)
        assert_int_equal(open_at(&g, "a", i * 10, false), slot[i]);
    assert_int_equal(g.n_windows, 10);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(g.window[i].id, i * 10);
    groups_free(&g);
}

static void closing_frees_slots_and_keeps_younger_windows(void **state)
{
    (void)state;
    struct groups g;
    assert_int_equal(groups_init(&g, 4, 16), 0);
    uint32_t a0 = open_at(&g, "a", 0, true);
    uint32_t b0 = open_at(&g, "b", 0, true);
    uint32_t a1 = open_at(&g, "a", 10, true);
    open_at(&g, "a", 0, false); /* the group used last is the one that closes */
    assert_int_equal(g.window->n, 2);
    groups_close_oldest(&g, 1);
    assert_int_equal(g.open, 1);
    assert_int_equal(open_at(&g, "a", 10, false), a1);
    uint32_t again = open_at(&g, "b", 10, true);
    assert_true(again == a0 || again == b0);
    groups_close_oldest(&g, 1);
    assert_int_equal(g.n_windows, 0);
    assert_int_equal(g.open, 0);
    groups_free(&g);
}

static void over_the_limit_no_group_opens_but_the_old_ones_go_on(void **state)
{
    (void)state;
    struct groups g;
    assert_int_equal(groups_init(&g, 2, 16), 0);
    uint32_t slot = open_at(&g, "a", 0, true);
    open_at(&g, "b", 0, true);
    uint32_t other;
    bool is_new;
    assert_int_equal(groups_open(&g, key_of(&g, "c"), 0, &other, &is_new), -ENOSPC);
    assert_int_equal(groups_open(&g, key_of(&g, "a"), 10, &other, &is_new), -ENOSPC);
    assert_int_equal(open_at(&g, "a", 0, false), slot);
    groups_free(&g);
}

static void sorting_follows_the_bytes_of_the_key(void **state)
{
    (void)state;
    struct groups g;
    assert_int_equal(groups_init(&g, 100, 16), 0);
    static const char *const names[] = {"SYM0002x", "b",         "SYM0002",
                                        "",         "SYM00021",  "\xc3\xa4",
                                        "SYM0001",  "SYM0002xyz"};
    static const char *const sorted[] = {"",         "SYM0001",  "SYM0002",
                                         "SYM00021", "SYM0002x", "SYM0002xyz",
                                         "b",        "\xc3\xa4"};
    for (size_t i = 0; i < 8; i++)
        open_at(&g, names[i], 0, true);
    assert_int_equal(groups_sort(&g, g.window), 0);
    for (size_t i = 0; i < 8; i++) {
        const struct group_key *k = &g.key[g.slot[g.window->slot[i]].key];
        assert_int_equal(k->size, strlen(sorted[i]));
        assert_memory_equal(k->bytes, sorted[i], k->size);
    }
    groups_free(&g);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void sorting_many_keys_agrees_with_qsort(void **state)
{
    (void)state;
    enum { N = 5000 };
    static char name[N][24];
    struct groups g;
    assert_int_equal(groups_init(&g, N, 16), 0);
    unsigned seed = 3;
    for (int i = 0; i < N; i++) {
        snprintf(name[i], sizeof(name[i]), i % 2 ? "user-%d" : "%d",
                 rand_r(&seed) % 100000000);
        size_t n = strlen(name[i]);
        snprintf(name[i] + n, sizeof(name[i]) - n, "-%d", i); /* no name twice */
        open_at(&g, name[i], 0, true);
    }
    qsort(name, N, sizeof(name[0]), compare_names);
    assert_int_equal(groups_sort(&g, g.window), 0);
    for (size_t i = 0; i < N; i++) {
        const struct group_key *k = &g.key[g.slot[g.window->slot[i]].key];
        assert_int_equal(k->size, strlen(name[i]));
        assert_memory_equal(k->bytes, name[i], k->size);
    }
    groups_free(&g);
}

/* Random opens and closes against a plain table of what must be open. */
static void groups_agree_with_a_plain_table(void **state)
{
    (void)state;
    enum { KEYS = 3000, WINDOWS = 60 };
    static uint32_t model[WINDOWS][KEYS]; /* slot + 1 */
    struct groups g;
    assert_int_equal(groups_init(&g, KEYS * 8, 16), 0);
    unsigned seed = 7;
    for (int now = 0; now < WINDOWS - 4; now++) {
        for (int i = 0; i < 9000; i++) {
            int k = rand_r(&seed) % KEYS, w = now + rand_r(&seed) % 4;
            char name[16];
            snprintf(name, sizeof(name), "k%d", k);
            uint32_t slot = open_at(&g, name, w, !model[w][k]);
            if (model[w][k])
                assert_int_equal(slot + 1, model[w][k]);
            model[w][k] = slot + 1;
        }
        size_t expected = 0;
        for (int k = 0; k < KEYS; k++)
            expected += model[now][k] != 0;
        assert_int_equal(g.window->id, now);
        assert_int_equal(g.window->n, expected);
        groups_close_oldest(&g, 1);
    }
    groups_free(&g);
}

static void keys_without_groups_are_forgotten_in_time(void **state)
{
    (void)state;
    struct groups g;
    assert_int_equal(groups_init(&g, 100000, 16), 0);
    for (int w = 0; w < 50; w++) {
        for (int i = 0; i < 1000; i++) {
            char name[24];
            snprintf(name, sizeof(name), "w%d-%d", w, i);
            open_at(&g, name, w, true);
        }
        groups_close_oldest(&g, 1);
        groups_forget_keys(&g);
    }
    assert_in_range(g.n_keys, 1000, 6000); /* 50,000 keys have been */
    groups_free(&g);
}

/* Rows that `where` or lateness drops: a key, and no group. No window closes. */
static void keys_that_never_had_a_group_are_forgotten_too(void **state)
{
    (void)state;
    struct groups g;
    assert_int_equal(groups_init(&g, 100000, 16), 0);
    uint32_t kept = open_at(&g, "kept", 0, true);
    for (int i = 0; i < 50000; i++) {
        char name[24];
        snprintf(name, sizeof(name), "k%d", i);
        key_of(&g, name);
        groups_forget_keys(&g);
    }
    assert_in_range(g.n_keys, 2, 5000);
    assert_int_equal(open_at(&g, "kept", 0, false), kept);
    groups_free(&g);
}

static void no_window_is_made_for_a_group_over_the_limit(void **state)
{
    (void)state;
    struct groups g;
    assert_int_equal(groups_init(&g, 1, 16), 0);
    open_at(&g, "a", 0, true);
    for (int i = 1; i < 100; i++) {
        uint32_t slot;
        bool is_new;
        assert_int_equal(groups_open(&g, key_of(&g, "a"), i, &slot, &is_new), -ENOSPC);
    }
    assert_int_equal(g.n_windows, 1);
    groups_free(&g);
}

/* Rows in any order over very many open windows: looked up, not searched for. Two million look-ups take
 * well below a second; a walk along the windows took minutes. */
static void many_open_windows_cost_no_more_than_few(void **state)
{
    (void)state;
    enum { WINDOWS = 50000, ROWS = 2000000 };
    struct groups g;
    assert_int_equal(groups_init(&g, WINDOWS, 16), 0);
    uint32_t key = key_of(&g, "a");
    for (int i = 0; i < WINDOWS; i++)
        assert_int_equal(open_at(&g, "a", i, true), i);
    unsigned seed = 3;
    int64_t limit_us = clock_monotonic_us() + 30 * SECOND_US;
    for (int i = 0; i < ROWS; i++) {
        int w = rand_r(&seed) % WINDOWS;
        uint32_t slot;
        bool is_new;
        assert_int_equal(groups_open(&g, key, w, &slot, &is_new), 0);
        assert_int_equal(slot, w);
    }
    assert_true(clock_monotonic_us() < limit_us);
    groups_free(&g);
}

static void several_windows_close_at_once_and_the_rest_is_found(void **state)
{
    (void)state;
    struct groups g;
    assert_int_equal(groups_init(&g, 100, 16), 0);
    for (int i = 0; i < 20; i++)
        open_at(&g, i % 2 ? "a" : "b", i / 2 * 10, true);
    assert_int_equal(groups_window_from(&g, -5), 0);
    assert_int_equal(groups_window_from(&g, 30), 3);
    assert_int_equal(groups_window_from(&g, 31), 4);
    assert_int_equal(groups_window_from(&g, 91), 10);
    groups_close_oldest(&g, 0);
    assert_int_equal(g.open, 20);
    groups_close_oldest(&g, 7);
    assert_int_equal(g.open, 6);
    assert_int_equal(g.n_windows, 3);
    assert_int_equal(groups_window_from(&g, 0), 0);
    open_at(&g, "a", 70, false);
    open_at(&g, "b", 90, false);
    open_at(&g, "a", 60, true);
    groups_close_oldest(&g, 4);
    assert_int_equal(g.open, 0);
    assert_int_equal(g.n_windows, 0);
    groups_free(&g);
}

static void a_new_group_has_no_revision_whatever_had_its_slot_before(void **state)
{
    (void)state;
    struct groups g;
    assert_int_equal(groups_init(&g, 1, 16), 0);
    uint32_t slot = open_at(&g, "a", 0, true);
    assert_int_equal(g.slot[slot].revision, 0);
    g.slot[slot].revision = 7;
    assert_int_equal(open_at(&g, "a", 0, false), slot);
    assert_int_equal(g.slot[slot].revision, 7);
    groups_close_oldest(&g, 1);
    assert_int_equal(open_at(&g, "b", 0, true), slot);
    assert_int_equal(g.slot[slot].revision, 0);
    groups_free(&g);
}

static void slots_are_sorted_by_window_and_key_and_each_stays_once(void **state)
{
    (void)state;
    struct groups g;
    assert_int_equal(groups_init(&g, 100, 16), 0);
    uint32_t b1 = open_at(&g, "b", 10, true), z0 = open_at(&g, "z", 0, true),
             a1 = open_at(&g, "a", 10, true), aa0 = open_at(&g, "aa", 0, true),
             a0 = open_at(&g, "a", 0, true), m = open_at(&g, "m", -10, true);
    uint32_t slot[] = {z0, b1, z0, a1, aa0, a0, m, a1, a1, z0};
    const uint32_t sorted[] = {m, a0, aa0, z0, a1, b1};
    assert_int_equal(groups_sort_slots(&g, slot, 10), 6);
    assert_memory_equal(slot, sorted, sizeof(sorted));
    assert_int_equal(groups_sort_slots(&g, slot, 0), 0);
    assert_int_equal(groups_sort_slots(&g, slot, 1), 1);
    groups_free(&g);
}

/* ---- Where ------------------------------------------------------------------------------------ */

/* ts, symbol: string, price: float, qty: int, ok: bool, rowid: int; rows i = 0..9: "A" or "B", i / 4.0, i,
 * i odd, 1000 (a field may have the name that SQLite has for the number of a row); in row 9 all but the
 * time is null. */
static struct batch *ten_rows(struct schema **ret_schema)
{
    struct schema *s;
    assert_int_equal(schema_new(6, "ts", &s), 0);
    assert_int_equal(schema_set(s, 1, "symbol", WEIR_STRING), 0);
    assert_int_equal(schema_set(s, 2, "price", WEIR_FLOAT), 0);
    assert_int_equal(schema_set(s, 3, "qty", WEIR_INT), 0);
    assert_int_equal(schema_set(s, 4, "ok", WEIR_BOOL), 0);
    assert_int_equal(schema_set(s, 5, "rowid", WEIR_INT), 0);
    struct batch *b;
    assert_int_equal(batch_new(s, 0, &b), 0);
    for (uint32_t i = 0; i < 10; i++) {
        ((int64_t *)b->column[0].values)[i] = i;
        int32_t at = b->column[1].offsets[i];
        b->column[1].bytes[at] = i % 2 ? 'B' : 'A';
        b->column[1].offsets[i + 1] = at + (i < 9);
        ((double *)b->column[2].values)[i] = i / 4.0;
        ((int64_t *)b->column[3].values)[i] = i;
        batch_put_bool(&b->column[4], i, i % 2);
        ((int64_t *)b->column[5].values)[i] = 1000;
        for (size_t c = 1; i == 9 && c < 6; c++)
            assert_int_equal(batch_set_null(b, c), 0);
        b->n_rows++;
    }
    batch_seal(b);
    *ret_schema = s;
    return b;
}

/* Checks that `where` keeps just the rows that are ones in `expected`. */
static void assert_keeps(const char *where, const char *expected,
                         uint64_t expected_errors)
{
    struct schema *s;
    struct batch *b = ten_rows(&s);
    struct filter *f;
    struct error error = {0};
    assert_int_equal(filter_new(s, where, &f, &error), 0);
    uint32_t row[10], keep[10];
    for (uint32_t i = 0; i < 10; i++)
        row[i] = i;
    for (int again = 0; again < 2; again++) {
        uint64_t errors = 0;
        int n = filter_rows(f, b, row, 10, keep, &errors);
        char got[11] = "0000000000";
        for (int i = 0; i < n; i++)
            got[keep[i]] = '1';
        assert_string_equal(got, expected);
        assert_int_equal(errors, expected_errors);
    }
    filter_free(f);
    batch_unref(b);
    schema_free(s);
}

static void where_keeps_the_rows_for_which_it_is_true(void **state)
{
    (void)state;
    assert_keeps("price > 1", "0000011110", 0);
    assert_keeps("symbol = 'A' AND qty >= 4", "0000101010", 0);
    assert_keeps("ok", "0101010100", 0);
    assert_keeps("qty IS NULL", "0000000001", 0);
    assert_keeps("NOT (qty > 3)", "1111000000", 0);
    assert_keeps("\"ts\" IN (1, 9) -- with a comment", "0100000001", 0);
    assert_keeps("symbol LIKE 'b' AND length(symbol) = 1", "0101010100", 0);
    assert_keeps("rowid = 1000", "1111111110", 0);
    assert_keeps("0", "0000000000", 0);
    assert_keeps("strftime('%S', ts, 'unixepoch', '+1 minutes') = '09'", "0000000001",
                 0);
    assert_keeps("date(ts, 'unixepoch') = '1970-01-01' AND julianday(ts) > 4",
                 "0000011111", 0);
}

static void a_row_that_makes_sqlite_fail_is_counted_and_left_out(void **state)
{
    (void)state;
    assert_keeps("abs(CASE qty WHEN 3 THEN -9223372036854775807 - 1 ELSE 1 END) = 1",
                 "1110111111", 1);
}

/* What only a row can say: a column whose text is 'now' or 'localtime'. */
static void
where_depends_on_no_clock_and_no_zone_whatever_the_columns_hold(void **state)
{
    (void)state;
    assert_keeps("date(CASE WHEN ts = 2 THEN 'now' ELSE '2020-01-01' END) < '2021'",
                 "1101111111", 1);
    assert_keeps(
        "date(0, CASE WHEN ts = 2 THEN 'LocalTime' WHEN ts = 3 THEN 'utc' ELSE "
        "'+1 days' END) < '2021'",
        "1100111111", 2);
    assert_keeps("CASE WHEN ts = 5 THEN unixepoch() > 0 ELSE 1 END", "1111101111", 1);
}

static void assert_refused(const char *where, const char *text)
{
    struct schema *s;
    struct batch *b = ten_rows(&s);
    struct filter *f;
    struct error error = {0};
    assert_int_equal(filter_new(s, where, &f, &error), -EINVAL);
    assert_non_null(strstr(error.text, text));
    assert_null(strstr(error.text, "index"));
    batch_unref(b);
    schema_free(s);
}

static void where_that_is_no_expression_or_not_deterministic_is_refused(void **state)
{
    (void)state;
    assert_refused("prize > 1", "no such column: prize");
    assert_refused("price >", "syntax error");
    assert_refused("symbol = \"A\"", "no such column: A");
    assert_refused("qty IN (SELECT 1)", "subqueries prohibited");
    assert_refused("random() > 0", "non-deterministic");
    assert_refused("datetime('now') > '2026'", "non-deterministic use of datetime()");
    assert_refused("symbol = 'A' AND datetime('now') > '2026'",
                   "non-deterministic use of datetime()");
    assert_refused("qty IS NOT NULL AND qty < unixepoch()",
                   "non-deterministic use of unixepoch()");
    assert_refused("strftime('%H', ts / 1000000, 'unixepoch', 'localtime') < '12'",
                   "non-deterministic use of strftime(): 'localtime'");
    assert_refused("qty = 1 AND date(symbol, 'utc') > ''",
                   "non-deterministic use of date()");
    assert_refused("strftime('%s') > 0", "non-deterministic use of strftime()");
    assert_refused("ts > current_timestamp", "non-deterministic");
    assert_refused("_rowid_ > 1", "no such column: _rowid_");
    assert_refused("oid > 1", "no such column: oid");
    assert_refused("sqlite_version() > '3'", "not authorized");
    assert_refused("symbol == \"AAPL\"", "text stands in single quotes: 'AAPL'");
    assert_refused("qty = ?", "parameters");
    assert_refused("qty > 1) OR (1", "syntax error");
}

/* As where the kernel promises no more memory than there is: what may be written is counted, not what is reserved. */
static void room_for_max_groups_is_addresses_until_groups_open(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* they need more for themselves */
#endif
    struct rlimit old, limit;
    struct groups g;
    assert_int_equal(getrlimit(RLIMIT_DATA, &old), 0);
    limit = (struct rlimit){.rlim_cur = (rlim_t)1 << 30, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_DATA, &limit), 0);
    assert_int_equal(groups_init(&g, 10000000, 1000), 0); /* 10 GB */
    for (int i = 0; i < 1000; i++) {
        uint32_t key, slot;
        bool is_new;
        assert_int_equal(
            groups_key(&g, (const char *)&i, sizeof(i), hash_u64((uint64_t)i), &key),
            0);
        assert_int_equal(groups_open(&g, key, 0, &slot, &is_new), 0);
        memset(groups_state(&g, slot), 1, 1000);
    }
    groups_free(&g);
    setrlimit(RLIMIT_DATA, &old);
}

int main(void)
{
    hash_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_watermark_is_the_newest_event_less_out_of_orderness),
        cmocka_unit_test(the_slowest_source_holds_the_watermark_back),
        cmocka_unit_test(a_thousand_sources_have_the_least_of_all),
        cmocka_unit_test(who_is_at_the_end_holds_nothing_back_until_it_sends_again),
        cmocka_unit_test(an_idle_source_holds_nothing_back_until_it_sends_again),
        cmocka_unit_test(silence_of_all_lets_the_watermark_stand),
        cmocka_unit_test(a_group_is_found_again_in_any_order_of_windows),
        cmocka_unit_test(closing_frees_slots_and_keeps_younger_windows),
        cmocka_unit_test(over_the_limit_no_group_opens_but_the_old_ones_go_on),
        cmocka_unit_test(sorting_follows_the_bytes_of_the_key),
        cmocka_unit_test(sorting_many_keys_agrees_with_qsort),
        cmocka_unit_test(groups_agree_with_a_plain_table),
        cmocka_unit_test(keys_without_groups_are_forgotten_in_time),
        cmocka_unit_test(keys_that_never_had_a_group_are_forgotten_too),
        cmocka_unit_test(no_window_is_made_for_a_group_over_the_limit),
        cmocka_unit_test(many_open_windows_cost_no_more_than_few),
        cmocka_unit_test(several_windows_close_at_once_and_the_rest_is_found),
        cmocka_unit_test(a_new_group_has_no_revision_whatever_had_its_slot_before),
        cmocka_unit_test(slots_are_sorted_by_window_and_key_and_each_stays_once),
        cmocka_unit_test(where_keeps_the_rows_for_which_it_is_true),
        cmocka_unit_test(a_row_that_makes_sqlite_fail_is_counted_and_left_out),
        cmocka_unit_test(
            where_depends_on_no_clock_and_no_zone_whatever_the_columns_hold),
        cmocka_unit_test(where_that_is_no_expression_or_not_deterministic_is_refused),
        cmocka_unit_test(room_for_max_groups_is_addresses_until_groups_open),
    };
    return cmocka_run_group_tests_name("group", tests, NULL, NULL);
}
