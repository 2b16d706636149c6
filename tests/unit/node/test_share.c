/* SPDX-License-Identifier: Apache-2.0
 *
 * Shards among nodes: as many nodes as there are move towards even shares, each by what it works out for itself, whatever comes and
 * goes; no more shards move than have to.
 */
#include "node/share.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NODES  40
#define SHARDS 100

struct world {
    size_t n_nodes, n_shards, owner[SHARDS], has[NODES];
    int64_t since[SHARDS], now;
};

static struct share seen_by(struct world *w, size_t me)
{
    memset(w->has, 0, sizeof(w->has));
    for (size_t i = 0; i < w->n_shards; i++)
        if (w->owner[i] < w->n_nodes)
            w->has[w->owner[i]]++;
    return (struct share){.n_nodes = w->n_nodes,
                          .me = me,
                          .has = w->has,
                          .n_shards = w->n_shards,
                          .owner = w->owner,
                          .since = w->since};
}

/* All see the same, then all do what they want: none takes what another one takes, too. Returns what has moved. */
static size_t one_turn(struct world *w)
{
    size_t some[SHARDS], moved = 0, next[SHARDS];
    memcpy(next, w->owner, sizeof(next));
    for (size_t me = 0; me < w->n_nodes; me++) {
        const struct share s = seen_by(w, me);
        const size_t gives = share_surplus(&s, some);
        for (size_t i = 0; i < gives; i++) {
            assert_int_equal(w->owner[some[i]], me);
            next[some[i]] = SHARE_NOBODY;
        }
        const size_t wants = share_wanted(&s, some);
        assert_true(!gives || !wants);
        for (size_t i = 0; i < wants; i++) {
            assert_true(next[some[i]] == SHARE_NOBODY &&
                        w->owner[some[i]] == SHARE_NOBODY);
            next[some[i]] = me;
            w->since[some[i]] = ++w->now;
        }
        moved += wants;
    }
    memcpy(w->owner, next, sizeof(next));
    return moved;
}

static size_t settle(struct world *w)
{
    size_t moved = 0;
    for (int i = 0; i < 4; i++)
        moved += one_turn(w);
    seen_by(w, 0);
    for (size_t i = 0; i < w->n_nodes; i++)
        assert_in_range(w->has[i], w->n_shards / w->n_nodes,
                        (w->n_shards + w->n_nodes - 1) / w->n_nodes);
    assert_int_equal(one_turn(w), 0);
    return moved;
}

static void leave(struct world *w, size_t node)
{
    for (size_t i = 0; i < w->n_shards; i++)
        if (w->owner[i] == node)
            w->owner[i] = SHARE_NOBODY;
        else if (w->owner[i] != SHARE_NOBODY && w->owner[i] > node)
            w->owner[i]--;
    w->n_nodes--;
}

/* Names come in between. */
static void come(struct world *w, size_t node)
{
    for (size_t i = 0; i < w->n_shards; i++)
        w->owner[i] += w->owner[i] != SHARE_NOBODY && w->owner[i] >= node;
    w->n_nodes++;
}

static void world(struct world *w, size_t nodes, size_t shards)
{
    *w = (struct world){.n_nodes = nodes, .n_shards = shards};
    for (size_t i = 0; i < shards; i++)
        w->owner[i] = SHARE_NOBODY;
}

static void eight_shards_of_three_nodes(void **state)
{
    struct world w;
    (void)state;
    world(&w, 1, 8);
    assert_int_equal(settle(&w), 8);
    come(&w, 1);
    assert_int_equal(settle(&w), 4);
    come(&w, 1);
    assert_int_equal(settle(&w), 2);
    leave(&w, 0);
    assert_int_equal(settle(&w), 3);
}

/* The first it got stay. */
static void those_that_came_last_go(void **state)
{
    struct world w;
    size_t some[SHARDS];
    (void)state;
    world(&w, 2, 4);
    for (size_t i = 0; i < 4; i++)
        w.owner[i] = 0;
    w.since[1] = w.since[2] = 7;
    const struct share s = seen_by(&w, 0);
    assert_int_equal(share_surplus(&s, some), 2);
    assert_int_equal(some[0], 2);
    assert_int_equal(some[1], 1);
}

static void nobody_is_given_what_is_anothers(void **state)
{
    struct world w;
    size_t some[SHARDS];
    (void)state;
    world(&w, 1, 3);
    w.owner[1] = SHARE_NOBODY - 1; /* of one that stops */
    struct share s = seen_by(&w, 0);
    assert_int_equal(share_wanted(&s, some), 2);
    assert_int_equal(some[0], 0);
    assert_int_equal(some[1], 2);
    s.me = SHARE_NOBODY; /* who stops wants nothing, and gives nothing for that */
    assert_int_equal(share_wanted(&s, some), 0);
    assert_int_equal(share_surplus(&s, some), 0);
}

static void more_nodes_than_shards(void **state)
{
    struct world w;
    (void)state;
    world(&w, 5, 3);
    assert_int_equal(settle(&w), 3);
}

/* Each step moves the shards of who has left, or a fair share to who has come, and one more at most for what was left over. */
static void whoever_comes_and_goes(void **state)
{
    struct world w;
    (void)state;
    srand(7);
    world(&w, 3, SHARDS - 3);
    settle(&w);
    for (int i = 0; i < 2000; i++) {
        const bool comes =
            w.n_nodes == 1 || (w.n_nodes < NODES && rand() % 2); /* NOLINT */
        const size_t node = (size_t)rand() % (w.n_nodes + comes);
        const size_t before = comes ? 0 : w.has[node];
        if (comes)
            come(&w, node);
        else
            leave(&w, node);
        const size_t moved = settle(&w);
        const size_t least = comes ? w.n_shards / w.n_nodes : before;
        assert_in_range(moved, least, least + 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_shards_of_three_nodes),
        cmocka_unit_test(those_that_came_last_go),
        cmocka_unit_test(nobody_is_given_what_is_anothers),
        cmocka_unit_test(more_nodes_than_shards),
        cmocka_unit_test(whoever_comes_and_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
