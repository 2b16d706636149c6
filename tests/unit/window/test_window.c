/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "window/window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static struct window_kind tumbling(int64_t size_us, int64_t offset_us)
{
    return window_kind(
        &(struct config_window){.size_us = size_us, .offset_us = offset_us}, NULL);
}

/* Python: start = us - (us - offset) % size, end = start + size; cut to what int64 holds. */
static const struct {
    int64_t size_us, offset_us, us, start_us, end_us;
} known[] = {
    {10000000, 0, 0, 0, 10000000},
    {10000000, 0, -1, -10000000, 0},
    {10000000, 0, 9999999, 0, 10000000},
    {10000000, 0, 10000000, 10000000, 20000000},
    {86400000000, 21600000000, 1767319199999999, 1767247200000000, 1767333600000000},
    {7000000, 3000000, -5000000, -11000000, -4000000},
    {604800000000, 345600000000, 1767225600000000, 1766966400000000, 1767571200000000},
    {1000, 999, -4611686018427387904, -4611686018427388001, -4611686018427387001},
    {3155760000000000, 3155759999000000, 123, -1000000, 3155759999000000},
    {1000, 0, -9223372036854774808, -9223372036854775000, -9223372036854774000},
    {1000, 0, INT64_MAX, 9223372036854775000, INT64_MAX},
    {1000, 1, INT64_MIN, INT64_MIN, -9223372036854774999},
};

static void a_time_is_in_the_window_that_python_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        struct window_kind k = tumbling(known[i].size_us, known[i].offset_us);
        struct window w = window_of(&k, known[i].us);
        assert_true(w.start_us == known[i].start_us);
        assert_true(w.end_us == known[i].end_us);
        assert_true(window_last_end(&k, known[i].us) == known[i].end_us);
        assert_true(window_next_border(&k, known[i].us) == known[i].end_us);
        struct window same = window_by_id(&k, w.id);
        assert_true(same.start_us == w.start_us && same.end_us == w.end_us);
        assert_true(window_has(&w, known[i].us) == (known[i].us != INT64_MAX));
        assert_true(window_has(&w, w.start_us));
        assert_false(window_has(&w, w.end_us));
    }
}

/* Windows of 7 us, one beginning at 3: walked through one by one. */
static void windows_follow_each_other_without_a_gap(void **state)
{
    (void)state;
    struct window_kind k = tumbling(7, 3);
    int64_t start_us = 3 - 7 * 20, last_id = INT64_MIN;
    for (int64_t us = start_us; us < 7 * 20; us++) {
        start_us += us - start_us == 7 ? 7 : 0;
        struct window w = window_of(&k, us);
        assert_int_equal(w.start_us, start_us);
        assert_int_equal(w.end_us, start_us + 7);
        for (int64_t other = -10; other < 10; other++)
            assert_int_equal(window_has(&w, us + other),
                             us + other >= start_us && us + other < start_us + 7);
        assert_true(us == start_us ? w.id > last_id : w.id == last_id);
        last_id = w.id;
        /* A watermark closes what ends at or before it. */
        int64_t first = window_first_open(&k, us);
        assert_true(window_by_id(&k, first).end_us > us);
        assert_true(window_of(&k, start_us - 1).id < first);
    }
}

static void an_id_that_no_window_has_is_known(void **state)
{
    (void)state;
    struct window_kind k = tumbling(7, 3);
    for (int64_t id = -100; id < 100; id++)
        assert_int_equal(window_has_id(&k, id), (id + 700 - 3) % 7 == 0);
    assert_false(window_has_id(&k, INT64_MIN));
    assert_false(window_has_id(&k, INT64_MAX));
    assert_false(window_has_id(&k, window_of(&k, INT64_MIN).id)); /* cut short */
    assert_false(window_has_id(&k, window_of(&k, INT64_MAX).id));
}

/* Windows of 30 that end every 10, borders at multiples of 10 and 3. What a watermark is done with has the lesser ids. */
static void panes_are_done_with_behind_their_last_window(void **state)
{
    (void)state;
    struct window_kind k = window_kind(
        &(struct config_window){
            .kind = CONFIG_HOPPING, .size_us = 30, .by_us = 10, .offset_us = 3},
        NULL);
    assert_true(window_has_panes(&k));
    for (int64_t us = -200; us < 200; us++) {
        struct window pane = window_of(&k, us);
        assert_int_equal((pane.start_us - 3) % 10, 0);
        assert_int_equal(pane.end_us, pane.start_us + 10);
        assert_true(pane.start_us <= us && us < pane.end_us);
        assert_true(window_is_pane(&k, pane.id) && window_has_id(&k, pane.id));
        assert_int_equal(window_by_id(&k, pane.id).start_us, pane.start_us);
        assert_int_equal(window_by_id(&k, pane.id).end_us, pane.end_us);
        assert_int_equal(window_last_end(&k, us), pane.start_us + 30);
        int ids = 0;
        for (int64_t border = window_next_border(&k, us), i = 0; i < 6; i++) {
            struct window_merge m[WINDOW_SIZES];
            assert_int_equal(window_ending(&k, border + 10 * i + 1, m), 0);
            assert_int_equal(window_ending(&k, border + 10 * i, m), 1);
            struct window w = m[0].window;
            assert_int_equal(w.end_us, pane.end_us + 10 * i);
            assert_int_equal(w.start_us, w.end_us - 30);
            assert_false(window_is_pane(&k, w.id));
            assert_true(window_has_id(&k, w.id));
            assert_int_equal(window_by_id(&k, w.id).start_us, w.start_us);
            assert_int_equal(window_by_id(&k, w.id).end_us, w.end_us);
            assert_int_equal(m[0].first, window_of(&k, w.start_us).id);
            assert_int_equal(m[0].last, window_of(&k, w.end_us - 1).id);
            assert_int_equal(window_around(&k, us, (size_t)i, &w), i < 3);
            assert_true(i >= 3 || w.id == m[0].window.id);
            ids += pane.id >= m[0].first && pane.id <= m[0].last;
            for (int64_t mark = us - 50; mark < us + 50; mark++) {
                assert_int_equal(m[0].window.id < window_first_open(&k, mark),
                                 m[0].window.end_us <= mark);
                assert_int_equal(pane.id < window_first_open(&k, mark),
                                 window_last_end(&k, us) <= mark);
            }
        }
        assert_int_equal(ids, 3); /* the pane is in three windows */
    }
    int named = 0;
    for (int64_t id = -500; id < 500; id++)
        named += window_has_id(&k, id);
    assert_int_equal(named, 200); /* a window and a pane each 10 */
    assert_false(window_has_id(&k, INT64_MIN));
    /* At the ends of time nothing overflows. */
    struct window_merge m[WINDOW_SIZES];
    assert_int_equal(window_ending(&k, window_next_border(&k, INT64_MIN), m), 1);
    assert_true(m[0].window.start_us == INT64_MIN);
    assert_true(m[0].window.end_us < INT64_MIN + 11 && m[0].first < m[0].last);
    assert_int_equal(window_ending(&k, window_of(&k, INT64_MAX).start_us, m), 1);
    assert_true(m[0].window.end_us > INT64_MAX - 11 && m[0].last == INT64_MAX);
    assert_true(window_last_end(&k, INT64_MAX) == INT64_MAX);
}

/* Windows of 100, 400 and 1200, at multiples of these and 30: ids lie in the order of what is done, each is of one thing,
 * and each window is made of the panes that it holds. */
static void windows_of_several_sizes_are_made_of_each_other(void **state)
{
    (void)state;
    static const int64_t size[] = {100, 400, 1200};
    struct window_kind k = window_kind(&(struct config_window){.kind = CONFIG_TUMBLING,
                                                               .size_us = 100,
                                                               .n_coarse = 2,
                                                               .coarse_us = {400, 1200},
                                                               .offset_us = 30},
                                       NULL);
    assert_true(window_has_panes(&k) && window_fixed_size(&k) == 1200);
    for (int64_t us = -4000; us < 4000; us += 7) {
        struct window pane = window_of(&k, us), w;
        assert_true(pane.start_us <= us && us < pane.end_us);
        assert_int_equal(pane.end_us - pane.start_us, 100);
        assert_int_equal((pane.start_us + 12000) % 100, 30);
        for (size_t i = 0; i < 3; i++) {
            int64_t start_us = (us - 30 + 12000) / size[i] * size[i] - 12000 + 30;
            assert_true(window_around(&k, us, i, &w));
            assert_int_equal(w.start_us, start_us);
            assert_int_equal(w.end_us, start_us + size[i]);
            assert_true(window_has_id(&k, w.id) && !window_is_pane(&k, w.id));
            assert_int_equal(window_size_of(&k, w.id), i);
            assert_int_equal(window_by_id(&k, w.id).start_us, w.start_us);
            assert_int_equal(window_by_id(&k, w.id).end_us, w.end_us);
            for (int64_t mark = us - 1500; mark < us + 1500; mark += 11)
                assert_int_equal(w.id < window_first_open(&k, mark), w.end_us <= mark);
            if (i == 2)
                continue;
            /* The pane of this size: once the one window has closed, until the next has. */
            int64_t id, longer_us = (us - 30 + 12000) / size[i + 1] * size[i + 1] -
                                    12000 + 30 + size[i + 1];
            if (i && w.end_us == longer_us)
                continue;
            assert_true(window_open_pane(&k, us, i ? w.end_us : us, &id));
            assert_true(window_has_id(&k, id) && window_is_pane(&k, id));
            assert_int_equal(window_size_of(&k, id), i);
            assert_int_equal(window_by_id(&k, id).start_us, w.start_us);
            assert_int_equal(window_by_id(&k, id).end_us, w.end_us);
            assert_true(i || id == pane.id);
            for (int64_t mark = us - 1500; mark < us + 1500; mark += 11)
                assert_int_equal(id < window_first_open(&k, mark), longer_us <= mark);
        }
        assert_false(window_around(&k, us, 3, &w));
        assert_int_equal(window_last_end(&k, us), w.end_us);
    }
    int named = 0;
    for (int64_t id = -12000 + 30; id < 12000 + 30; id++)
        named += window_has_id(&k, id);
    /* Panes of 100 and 400, windows of 100, 400 and 1200. */
    assert_int_equal(named, 240 + 60 + 240 + 60 + 20);
    struct window_merge m[WINDOW_SIZES], other[WINDOW_SIZES];
    assert_int_equal(window_ending(&k, 1230, m), 3);
    assert_int_equal(window_ending(&k, 1130, other), 1);
    assert_int_equal(window_ending(&k, 1131, other), 0);
    assert_int_equal(m[1].window.start_us, 830);
    assert_int_equal((m[1].last - m[1].first) / m[1].step, 3);
    assert_int_equal(window_by_id(&k, m[1].first).start_us, 830);
    assert_int_equal(window_by_id(&k, m[1].last).start_us, 1130);
    assert_int_equal(window_by_id(&k, m[1].pane).start_us, 830);
    assert_int_equal(window_by_id(&k, m[2].last).start_us, 830);
    assert_true(m[0].pane == m[0].first && m[0].pane == m[0].last);
    assert_true(m[2].pane == INT64_MAX);
    assert_int_equal(window_next_end_of(&k, m[1].first, 0), 930);
    assert_int_equal(window_next_end_of(&k, m[1].first, 930), 1230);
    assert_int_equal(window_next_end_of(&k, m[1].pane, 0), 1230);
    assert_false(window_has_id(&k, INT64_MIN) || window_has_id(&k, INT64_MAX));
}

/* It stands in the checkpoints of databases that are there. */
static void the_definition_stays_as_it_is(void **state)
{
    (void)state;
    struct window_kind k = tumbling(10 * SECOND_US, SECOND_US);
    struct buffer b = {0};
    window_define(&k, &b);
    assert_string_equal(buffer_text(&b), "window 10000000 1000000\n");
    buffer_free(&b);
    assert_int_equal(window_fixed_size(&k), 10 * SECOND_US);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_time_is_in_the_window_that_python_says),
        cmocka_unit_test(windows_follow_each_other_without_a_gap),
        cmocka_unit_test(an_id_that_no_window_has_is_known),
        cmocka_unit_test(panes_are_done_with_behind_their_last_window),
        cmocka_unit_test(windows_of_several_sizes_are_made_of_each_other),
        cmocka_unit_test(the_definition_stays_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
