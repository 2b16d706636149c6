/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/hash.h"
#include "batch/keys.h"
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

/* The index does without them, and grows no more, until one is asked for. */
static void groups_of_a_window_set_aside_are_found_again(void **state)
{
    (void)state;
    enum { KEYS = 300, WINDOWS = 20 };
    static uint32_t slot[WINDOWS][KEYS];
    struct groups g;
    char name[16];
    assert_int_equal(groups_init(&g, KEYS * WINDOWS + 1, 16), 0);
    for (int w = 0; w < WINDOWS; w++) {
        for (int k = 0; k < KEYS; k++) {
            snprintf(name, sizeof(name), "k%d", k);
            slot[w][k] = open_at(&g, name, w, true);
        }
        if (w > 0) {
            groups_set_aside(&g, (size_t)w - 1);
            groups_set_aside(&g, (size_t)w - 1); /* it is already */
        }
        assert_int_equal(g.indexed, KEYS);
    }
    assert_int_equal(g.index_mask, 4095); /* as of two windows */
    assert_int_equal(open_at(&g, "k7", 3, false), slot[3][7]);
    assert_int_equal(g.indexed, 2 * KEYS);
    open_at(&g, "new", 5, true);
    assert_int_equal(g.indexed, 3 * KEYS + 1);
    groups_close_oldest(&g, 4);
    assert_int_equal(g.indexed, 2 * KEYS + 1);
    for (int w = 4; w < WINDOWS; w++)
        for (int k = KEYS; k-- > 0;) {
            snprintf(name, sizeof(name), "k%d", k);
            assert_int_equal(open_at(&g, name, w, false), slot[w][k]);
        }
    open_at(&g, "new", 5, false);
    assert_int_equal(g.indexed, g.open);
    groups_set_aside(&g, 0);
    groups_close_oldest(&g, g.n_windows);
    assert_int_equal(g.indexed, 0);
    assert_int_equal(g.open, 0);
    groups_free(&g);
}

/* Of 100 keys in a window that is merged from others, while rows of theirs come for the newest. */
static void groups_of_a_merged_window_are_found_while_it_is_made_and_later(void **state)
{
    (void)state;
    enum { KEYS = 100, PARTS = 3 };
    uint32_t newest[KEYS], merged[KEYS], slot;
    struct groups g;
    char name[16];
    bool is_new;
    assert_int_equal(groups_init(&g, 4 * KEYS, 16), 0);
    for (int k = 0; k < KEYS; k++) {
        snprintf(name, sizeof(name), "k%d", k);
        newest[k] = open_at(&g, name, 9, true);
    }
    assert_false(groups_has_window(&g, 5));
    for (int part = 0; part < PARTS; part++)
        for (int k = part % 2 ? 10 : 0; k < KEYS; k++) {
            uint32_t key = g.slot[newest[k]].key;
            assert_int_equal(groups_open_merged(&g, key, 5, &slot, &is_new), 0);
            assert_int_equal(is_new, part == 0);
            assert_true(is_new || slot == merged[k]);
            merged[k] = slot;
            assert_true(g.recent[key].window == 9 && g.recent[key].slot == newest[k]);
        }
    assert_true(groups_has_window(&g, 5));
    assert_int_equal(g.indexed, KEYS);
    assert_int_equal(g.open, 2 * KEYS);
    /* Another window, with slots that were those of this one. */
    groups_close_oldest(&g, 1);
    for (int k = KEYS; k-- > 0;)
        assert_int_equal(
            groups_open_merged(&g, g.slot[newest[k]].key, 6, &merged[k], &is_new), 0);
    assert_int_equal(g.open, 2 * KEYS);
    for (int k = 0; k < KEYS; k++) {
        snprintf(name, sizeof(name), "k%d", k);
        assert_int_equal(open_at(&g, name, 6, false), merged[k]);
        assert_int_equal(open_at(&g, name, 9, false), newest[k]);
    }
    assert_int_equal(g.indexed, g.open);
    groups_free(&g);
}

/* Numbers of keys that are forgotten are given to others. */
static void a_merged_window_knows_keys_by_what_they_are_now(void **state)
{
    (void)state;
    enum { KEYS = 5000 }; /* so many that those without a group are forgotten */
    struct groups g;
    char name[16];
    uint32_t slot, key;
    bool is_new;
    assert_int_equal(groups_init(&g, 2 * KEYS, 16), 0);
    for (int round = 0; round < 3; round++) {
        for (int k = 0; k < KEYS; k++) {
            snprintf(name, sizeof(name), "%d/%d", round, k);
            assert_int_equal(groups_key(&g, name, strlen(name),
                                        hash_bytes(name, strlen(name)), &key),
                             0);
            assert_int_equal(groups_open_merged(&g, key, round, &slot, &is_new), 0);
            assert_true(is_new && g.slot[slot].key == key);
        }
        groups_close_oldest(&g, 1);
        groups_forget_keys(&g);
        assert_int_equal(g.open, 0);
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

/* Windows open at both ends and in the middle while the oldest close, as those of panes do: the list against a sorted
 * array. */
static void windows_open_and_close_at_any_place(void **state)
{
    (void)state;
    enum { MOST = 300 };
    struct groups g;
    int64_t want[MOST + 1];
    size_t n = 0;
    unsigned seed = 9;
    assert_int_equal(groups_init(&g, MOST + 1, 16), 0);
    for (int i = 0; i < 20000; i++) {
        /* Most are the newest, or of the oldest. */
        int64_t id = rand_r(&seed) % 3 ? 10 * i : i - rand_r(&seed) % 40;
        size_t at = 0;
        while (at < n && want[at] < id)
            at++;
        bool is_new = at == n || want[at] != id;
        open_at(&g, "a", id, is_new);
        if (is_new) {
            memmove(want + at + 1, want + at, (n - at) * sizeof(want[0]));
            want[at] = id;
            n++;
        }
        size_t close = n == MOST ? MOST / 2 : rand_r(&seed) % 8 ? 0 : 1;
        groups_close_oldest(&g, close);
        n -= close;
        memmove(want, want + close, n * sizeof(want[0]));
        assert_int_equal(g.n_windows, n);
        for (size_t k = 0; k < n; k++)
            assert_int_equal(g.window[k].id, want[k]);
    }
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
        cmocka_unit_test(groups_of_a_window_set_aside_are_found_again),
        cmocka_unit_test(
            groups_of_a_merged_window_are_found_while_it_is_made_and_later),
        cmocka_unit_test(a_merged_window_knows_keys_by_what_they_are_now),
        cmocka_unit_test(keys_without_groups_are_forgotten_in_time),
        cmocka_unit_test(keys_that_never_had_a_group_are_forgotten_too),
        cmocka_unit_test(no_window_is_made_for_a_group_over_the_limit),
        cmocka_unit_test(many_open_windows_cost_no_more_than_few),
        cmocka_unit_test(windows_open_and_close_at_any_place),
        cmocka_unit_test(several_windows_close_at_once_and_the_rest_is_found),
        cmocka_unit_test(a_new_group_has_no_revision_whatever_had_its_slot_before),
        cmocka_unit_test(slots_are_sorted_by_window_and_key_and_each_stays_once),
        cmocka_unit_test(room_for_max_groups_is_addresses_until_groups_open),
    };
    return cmocka_run_group_tests_name("group", tests, NULL, NULL);
}
