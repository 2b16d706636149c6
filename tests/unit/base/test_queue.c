/* SPDX-License-Identifier: Apache-2.0
 *
 * The queue between threads.
 */
#include "base/clock.h"
#include "base/queue.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void items_come_out_in_order_around_the_ring(void **state)
{
    struct queue *q;
    int item[10];
    (void)state;
    assert_int_equal(queue_new(3, &q), 0);
    for (int i = 0; i < 10; i++) { /* never more than two inside: the ring goes round */
        assert_true(queue_push(q, &item[i]));
        if (i > 0)
            assert_ptr_equal(queue_pop(q, 0), &item[i - 1]);
    }
    assert_int_equal(queue_length(q), 1);
    assert_ptr_equal(queue_pop(q, INT64_MAX), &item[9]);
    assert_int_equal(queue_length(q), 0);
    queue_free(q);
}

static void a_full_queue_takes_no_more_without_waiting(void **state)
{
    struct queue *q;
    int a, b;
    (void)state;
    assert_int_equal(queue_new(1, &q), 0);
    assert_true(queue_try_push(q, &a));
    assert_false(queue_try_push(q, &b));
    assert_ptr_equal(queue_pop(q, 0), &a);
    assert_true(queue_try_push(q, &b));
    queue_free(q);
    queue_free(NULL);
}

static void an_empty_queue_is_waited_for_until_the_deadline(void **state)
{
    struct queue *q;
    (void)state;
    assert_int_equal(queue_new(1, &q), 0);
    int64_t deadline = clock_monotonic_us() + 20000;
    assert_null(queue_pop(q, deadline));
    assert_true(clock_monotonic_us() >= deadline);
    assert_null(queue_pop(q, 0));
    assert_null(queue_pop(q, INT64_MIN));
    queue_free(q);
}

static void what_is_in_a_closed_queue_can_still_be_taken(void **state)
{
    struct queue *q;
    int a, b;
    (void)state;
    assert_int_equal(queue_new(4, &q), 0);
    assert_true(queue_push(q, &a));
    assert_false(queue_is_closed(q));
    queue_close(q);
    assert_true(queue_is_closed(q));
    assert_false(queue_push(q, &b));
    assert_false(queue_try_push(q, &b));
    assert_ptr_equal(queue_pop(q, INT64_MAX), &a);
    assert_null(queue_pop(q, INT64_MAX)); /* does not wait for ever */
    queue_free(q);
}

static void *push_blocked(void *ctx)
{
    static int item;
    return queue_push(ctx, &item) ? &item : NULL;
}

static void *pop_blocked(void *ctx)
{
    return queue_pop(ctx, INT64_MAX);
}

/* Whether the threads wait already when it is closed or not, they must end. */
static void closing_ends_every_wait(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct queue *full, *empty;
        pthread_t thread[4];
        int item;
        void *result[4];
        assert_int_equal(queue_new(1, &full), 0);
        assert_int_equal(queue_new(1, &empty), 0);
        assert_true(queue_push(full, &item));
        for (int k = 0; k < 2; k++) {
            assert_int_equal(pthread_create(&thread[k], NULL, push_blocked, full), 0);
            assert_int_equal(pthread_create(&thread[2 + k], NULL, pop_blocked, empty),
                             0);
        }
        queue_close(full);
        queue_close(empty);
        for (int k = 0; k < 4; k++) {
            assert_int_equal(pthread_join(thread[k], &result[k]), 0);
            assert_null(result[k]);
        }
        queue_free(full);
        queue_free(empty);
    }
}

#define PRODUCERS 3
#define CONSUMERS 3
#define ITEMS     20000

struct traffic {
    struct queue *q;
    uint64_t sum, n;
};

static void *produce(void *ctx)
{
    struct traffic *t = ctx;
    for (uintptr_t i = 1; i <= ITEMS; i++) {
        if (queue_push(t->q, (void *)i))
            t->n++;
    }
    return NULL;
}

static void *consume(void *ctx)
{
    struct traffic *t = ctx;
    void *item;
    while ((item = queue_pop(t->q, INT64_MAX))) {
        t->sum += (uintptr_t)item;
        t->n++;
    }
    return NULL;
}

static void many_threads_lose_and_double_nothing(void **state)
{
    struct queue *q;
    struct traffic in[PRODUCERS] = {0}, out[CONSUMERS] = {0};
    pthread_t producer[PRODUCERS], consumer[CONSUMERS];
    uint64_t sum = 0, n = 0;
    (void)state;
    assert_int_equal(queue_new(5, &q), 0);
    for (int i = 0; i < CONSUMERS; i++) {
        out[i].q = q;
        assert_int_equal(pthread_create(&consumer[i], NULL, consume, &out[i]), 0);
    }
    for (int i = 0; i < PRODUCERS; i++) {
        in[i].q = q;
        assert_int_equal(pthread_create(&producer[i], NULL, produce, &in[i]), 0);
    }
    for (int i = 0; i < PRODUCERS; i++) {
        assert_int_equal(pthread_join(producer[i], NULL), 0);
        assert_int_equal(in[i].n, ITEMS);
    }
    queue_close(q);
    for (int i = 0; i < CONSUMERS; i++) {
        assert_int_equal(pthread_join(consumer[i], NULL), 0);
        sum += out[i].sum;
        n += out[i].n;
    }
    assert_int_equal(n, PRODUCERS * ITEMS);
    assert_int_equal(sum, (uint64_t)PRODUCERS * ITEMS * (ITEMS + 1) / 2);
    queue_free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_in_order_around_the_ring),
        cmocka_unit_test(a_full_queue_takes_no_more_without_waiting),
        cmocka_unit_test(an_empty_queue_is_waited_for_until_the_deadline),
        cmocka_unit_test(what_is_in_a_closed_queue_can_still_be_taken),
        cmocka_unit_test(closing_ends_every_wait),
        cmocka_unit_test(many_threads_lose_and_double_nothing),
    };
    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
