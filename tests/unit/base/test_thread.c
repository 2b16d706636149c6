/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads: names, signals, waiting for their end, and standing back.
 */
#include "base/clock.h"
#include "base/thread.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

struct seen {
    int before, after; /* niceness */
    char name[16];
    bool blocked;
    atomic_bool go;
};

static void *look(void *ctx)
{
    struct seen *s = ctx;
    sigset_t set;
    while (!atomic_load(&s->go))
        usleep(100);
    pthread_getname_np(pthread_self(), s->name, sizeof(s->name));
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    s->blocked = sigismember(&set, SIGTERM);
    s->before = getpriority(PRIO_PROCESS, 0);
    thread_stand_back();
    s->after = getpriority(PRIO_PROCESS, 0);
    return NULL;
}

static struct seen run(int nice)
{
    struct seen s = {.go = false};
    pthread_t thread;
    thread_set_nice(nice);
    assert_int_equal(thread_start(&thread, "a name of some length", look, &s), 0);
    assert_int_equal(thread_join(thread, clock_monotonic_us() + 1000), -ETIMEDOUT);
    atomic_store(&s.go, true);
    assert_int_equal(thread_join(thread, INT64_MAX), 0);
    thread_set_nice(0);
    return s;
}

static void only_the_thread_itself_stands_back(void **state)
{
    (void)state;
    int own = getpriority(PRIO_PROCESS, 0);
    struct seen s = run(own < 12 ? 7 : 0);
    assert_int_equal(s.before, own);
    assert_int_equal(s.after, own < 12 ? own + 7 : own);
    assert_int_equal(getpriority(PRIO_PROCESS, 0), own);
    s = run(0);
    assert_int_equal(s.after, own);
    s = run(19);
    assert_int_equal(s.after, 19);
}

static void it_has_a_name_and_no_signals(void **state)
{
    (void)state;
    struct seen s = run(0);
    assert_string_equal(s.name, "a name of some ");
    assert_true(s.blocked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_thread_itself_stands_back),
        cmocka_unit_test(it_has_a_name_and_no_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
