/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists of windows by key and their queues, held against arrays that are searched.
 */
#include "group/spans.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEYS  5
#define MOST  64
#define STEPS 20000

struct open {
    uint32_t slot, key;
    int64_t order, due_us;
    int queue; /* -1: none */
};

struct model {
    struct open open[MOST];
    size_t n;
};

static void check_lists(const struct spans *s, const struct model *m)
{
    for (uint32_t key = 0; key < KEYS; key++) {
        uint32_t n, found = 0;
        const uint32_t *slot = spans_of(s, key, &n);
        for (size_t i = 0; i < m->n; i++)
            found += m->open[i].key == key;
        assert_int_equal(n, found);
        for (uint32_t i = 1; i < n; i++)
            assert_true(s->at[slot[i - 1]].order <= s->at[slot[i]].order);
        assert_int_equal(spans_newest(s, key), n ? slot[n - 1] : SLOT_NONE);
    }
}

static void check_queues(const struct spans *s, const struct model *m)
{
    for (int q = 0; q < 2; q++) {
        int64_t first_us = INT64_MAX;
        for (size_t i = 0; i < m->n; i++)
            if (m->open[i].queue == q && m->open[i].due_us < first_us)
                first_us = m->open[i].due_us;
        uint32_t slot = spans_first_due(s, (unsigned)q, INT64_MAX);
        assert_true((slot == SLOT_NONE) == (first_us == INT64_MAX));
        for (size_t i = 0; i < m->n; i++)
            if (m->open[i].slot == slot)
                assert_int_equal(m->open[i].due_us, first_us);
        if (first_us != INT64_MAX)
            assert_int_equal(spans_first_due(s, (unsigned)q, first_us - 1), SLOT_NONE);
    }
}

static void change(struct spans *s, struct model *m, unsigned *seed)
{
    struct open *o = &m->open[rand_r(seed) % (int)m->n];
    switch (rand_r(seed) % 4) {
    case 0:
        o->order = rand_r(seed) % 100;
        spans_order(s, o->slot, o->order);
        break;
    case 1:
        o->queue = -1;
        spans_undue(s, o->slot);
        break;
    default:
        o->queue = rand_r(seed) % 2;
        o->due_us = rand_r(seed) % 1000;
        assert_int_equal(spans_due(s, o->slot, (unsigned)o->queue, o->due_us), 0);
    }
}

static void lists_and_queues_are_in_order(void **state)
{
    struct groups g;
    struct spans s;
    struct model m = {.n = 0};
    unsigned seed = 3;
    (void)state;
    assert_int_equal(groups_init(&g, MOST, 16), 0);
    spans_init(&s, &g);
    for (uint32_t k = 0; k < KEYS; k++) {
        char name = (char)('a' + k);
        uint32_t key;
        assert_int_equal(groups_key(&g, &name, 1, k, &key), 0);
        assert_int_equal(key, k);
    }
    for (int i = 0; i < STEPS; i++) {
        int what = rand_r(&seed) % 4;
        uint32_t slot;
        struct span span = {.order = rand_r(&seed) % 100};
        uint32_t key = (uint32_t)rand_r(&seed) % KEYS;
        if (m.n == MOST) {
            assert_int_equal(spans_open(&s, key, &span, &slot), -ENOSPC);
            what = 1;
        }
        if (what == 0 || !m.n) {
            assert_int_equal(spans_open(&s, key, &span, &slot), 0);
            m.open[m.n++] = (struct open){slot, key, span.order, 0, -1};
        } else if (what == 1) {
            size_t k = (size_t)rand_r(&seed) % m.n;
            spans_close(&s, m.open[k].slot);
            m.open[k] = m.open[--m.n];
        } else {
            change(&s, &m, &seed);
        }
        assert_int_equal(g.open, m.n);
        check_lists(&s, &m);
        check_queues(&s, &m);
    }
    spans_free(&s);
    groups_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_and_queues_are_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
