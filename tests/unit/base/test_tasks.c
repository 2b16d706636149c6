/* SPDX-License-Identifier: Apache-2.0
 *
 * Tasks and the threads that run them.
 */
#include "base/clock.h"
#include "base/tasks.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define WAKERS 4
#define WAKES  20000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* protects what tests share */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void set(bool *flag)
{
    pthread_mutex_lock(&lock);
    *flag = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_for(const bool *flag)
{
    pthread_mutex_lock(&lock);
    while (!*flag)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

struct blocker {
    struct task task;
    bool inside, go;
};

static int64_t block(void *ctx)
{
    struct blocker *b = ctx;
    set(&b->inside);
    wait_for(&b->go);
    return TASK_SLEEPS;
}

/* ---- Wakes ------------------------------------------------------------------------------------- */

struct counter {
    struct task task;
    _Atomic unsigned wanted; /* raised before each wake */
    _Atomic bool inside;
    bool twice;    /* two threads ran it at once */
    unsigned seen; /* the task's */
    bool done;
};

static int64_t count(void *ctx)
{
    struct counter *c = ctx;
    c->twice |= atomic_exchange(&c->inside, true);
    c->seen = atomic_load(&c->wanted);
    atomic_store(&c->inside, false);
    if (c->seen == WAKERS * WAKES)
        set(&c->done);
    return TASK_SLEEPS;
}

static void *wake_often(void *ctx)
{
    struct counter *c = ctx;
    for (unsigned i = 0; i < WAKES; i++) {
        atomic_fetch_add(&c->wanted, 1);
        task_wake(&c->task);
    }
    return NULL;
}

static void every_wake_is_seen_by_a_turn_and_turns_are_one_at_a_time(void **state)
{
    struct tasks *p;
    struct counter c = {0};
    pthread_t waker[WAKERS];
    (void)state;
    assert_int_equal(tasks_new("t", 3, false, &p), 0);
    assert_int_equal(task_begin(&c.task, p, count, &c), 0);
    for (unsigned i = 0; i < WAKERS; i++)
        assert_int_equal(pthread_create(&waker[i], NULL, wake_often, &c), 0);
    for (unsigned i = 0; i < WAKERS; i++)
        pthread_join(waker[i], NULL);
    wait_for(&c.done); /* the last wake was seen */
    task_end(&c.task);
    assert_false(c.twice);
    tasks_free(p);
}

static void a_task_may_be_woken_while_it_begins(void **state)
{
    struct tasks *p;
    struct counter c = {0};
    pthread_t waker[WAKERS];
    (void)state;
    assert_int_equal(tasks_new("t", 3, false, &p), 0);
    for (unsigned i = 0; i < WAKERS; i++)
        assert_int_equal(pthread_create(&waker[i], NULL, wake_often, &c), 0);
    while (!atomic_load(&c.wanted))
        clock_sleep_us(10);
    assert_int_equal(task_begin(&c.task, p, count, &c), 0);
    for (unsigned i = 0; i < WAKERS; i++)
        pthread_join(waker[i], NULL);
    task_wake(&c.task); /* if all were before */
    wait_for(&c.done);
    task_end(&c.task);
    assert_false(c.twice);
    tasks_free(p);
}

/* ---- Turns ------------------------------------------------------------------------------------- */

struct turns {
    struct task task;
    char name;
    unsigned left;
    char *order; /* of all tasks: names, one a turn */
    bool *done;
};

static int64_t take_turn(void *ctx)
{
    struct turns *t = ctx;
    size_t n = strlen(t->order);
    t->order[n] = t->name;
    if (--t->left)
        return TASK_AGAIN;
    if (t->name == 'b')
        set(t->done);
    return TASK_SLEEPS;
}

static void a_task_that_wants_more_waits_behind_the_others(void **state)
{
    struct tasks *p;
    char order[16] = "";
    bool done = false;
    struct turns a = {.name = 'a', .left = 3, .order = order, .done = &done},
                 b = {.name = 'b', .left = 3, .order = order, .done = &done};
    struct blocker first = {0};
    (void)state;
    assert_int_equal(tasks_new("t", 1, false, &p), 0);
    assert_int_equal(task_begin(&a.task, p, take_turn, &a), 0);
    assert_int_equal(task_begin(&b.task, p, take_turn, &b), 0);
    assert_int_equal(task_begin(&first.task, p, block, &first), 0);
    task_wake(&first.task);
    wait_for(&first.inside); /* both are there before either has a turn */
    task_wake(&a.task);
    task_wake(&b.task);
    set(&first.go);
    wait_for(&done);
    task_end(&first.task);
    task_end(&a.task);
    task_end(&b.task);
    tasks_free(p);
    assert_string_equal(order, "ababab");
}

/* ---- Deadlines ---------------------------------------------------------------------------------- */

struct alarm {
    struct task task;
    int64_t due_us, rang_us;
    unsigned number, *next; /* of all alarms */
    unsigned place;         /* in the order in which they rang */
    bool done;
};

static int64_t ring(void *ctx)
{
    struct alarm *a = ctx;
    int64_t now_us = clock_monotonic_us();
    if (now_us < a->due_us)
        return a->due_us;
    if (a->rang_us)
        return TASK_SLEEPS;
    a->rang_us = now_us;
    a->place = (*a->next)++;
    set(&a->done);
    return TASK_SLEEPS;
}

static void deadlines_come_in_their_order_and_not_too_early(void **state)
{
    enum { ALARMS = 40 };
    static struct alarm alarm[ALARMS];
    struct tasks *p;
    unsigned next = 0;
    (void)state;
    assert_int_equal(tasks_new("t", 1, false, &p), 0);
    int64_t now_us = clock_monotonic_us();
    for (unsigned i = 0; i < ALARMS; i++) {
        alarm[i] = (struct alarm){.due_us = now_us + 300000 + 500 * (i * 17 % ALARMS),
                                  .number = i * 17 % ALARMS,
                                  .next = &next};
        assert_int_equal(task_begin(&alarm[i].task, p, ring, &alarm[i]), 0);
        task_wake(&alarm[i].task);
    }
    for (unsigned i = 0; i < ALARMS; i++)
        wait_for(&alarm[i].done);
    for (unsigned i = 0; i < ALARMS; i++) {
        task_end(&alarm[i].task);
        assert_true(alarm[i].rang_us >= alarm[i].due_us);
        assert_int_equal(alarm[i].place, alarm[i].number);
    }
    tasks_free(p);
}

static void one_thread_that_is_held_up_leaves_the_deadlines_to_the_other(void **state)
{
    struct tasks *p;
    unsigned next = 0;
    struct alarm a = {.due_us = clock_monotonic_us() + 20000, .next = &next};
    struct blocker b = {0};
    (void)state;
    assert_int_equal(tasks_new("t", 2, false, &p), 0);
    assert_int_equal(task_begin(&a.task, p, ring, &a), 0);
    assert_int_equal(task_begin(&b.task, p, block, &b), 0);
    task_wake(&a.task);
    task_wake(&b.task);
    wait_for(&b.inside);
    wait_for(&a.done); /* though the first thread is still inside */
    set(&b.go);
    task_end(&a.task);
    task_end(&b.task);
    tasks_free(p);
}

/* ---- Holding ------------------------------------------------------------------------------------ */

static int64_t add(void *ctx)
{
    struct counter *c = ctx;
    c->seen++;
    set(&c->done);
    return TASK_SLEEPS;
}

static void a_held_task_runs_when_it_is_released_and_an_ended_one_never(void **state)
{
    struct tasks *p;
    struct counter c = {0}, other = {0};
    (void)state;
    assert_int_equal(tasks_new("t", 1, false, &p), 0);
    assert_int_equal(task_begin(&c.task, p, add, &c), 0);
    assert_int_equal(task_begin(&other.task, p, add, &other), 0);
    task_hold(&c.task);
    task_wake(&c.task);
    task_wake(&other.task);
    wait_for(&other.done); /* the only thread has gone past */
    assert_int_equal(c.seen, 0);
    task_release(&c.task);
    wait_for(&c.done);
    task_end(&c.task);
    assert_int_equal(c.seen, 1);
    other.done = false;
    task_wake(&c.task);
    task_wake(&other.task);
    wait_for(&other.done);
    assert_int_equal(c.seen, 1);
    task_end(&other.task);
    task_end(&c.task);
    tasks_free(p);
    tasks_free(NULL);
}

static void hold_waits_for_the_turn_to_end(void **state)
{
    struct tasks *p;
    struct blocker b = {0};
    (void)state;
    assert_int_equal(tasks_new("t", 1, false, &p), 0);
    assert_int_equal(task_begin(&b.task, p, block, &b), 0);
    task_wake(&b.task);
    wait_for(&b.inside);
    set(&b.go);
    task_hold(&b.task);
    b.inside = b.go = false; /* the caller's now: the thread sanitizer looks on */
    task_release(&b.task);
    task_end(&b.task);
    tasks_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_wake_is_seen_by_a_turn_and_turns_are_one_at_a_time),
        cmocka_unit_test(a_task_may_be_woken_while_it_begins),
        cmocka_unit_test(a_task_that_wants_more_waits_behind_the_others),
        cmocka_unit_test(deadlines_come_in_their_order_and_not_too_early),
        cmocka_unit_test(one_thread_that_is_held_up_leaves_the_deadlines_to_the_other),
        cmocka_unit_test(a_held_task_runs_when_it_is_released_and_an_ended_one_never),
        cmocka_unit_test(hold_waits_for_the_turn_to_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
