/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads of the server.
 */
#include "base/thread.h"

#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NICE_MAX    19
#define TURN_NS     20000000u /* an ordinary thread has 3 ms */
#define KEEP_POLICY 8u

/* For sched_setattr(2); glibc has it from 2.41 on. */
struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

/* Of the thread's own making: blocked, they would end the process before any handler. */
static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};

static int nice_more;

int thread_start(pthread_t *ret, const char *name, void *(*run)(void *ctx), void *ctx)
{
    sigset_t all, old;
    char cut[16];
    sigfillset(&all);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = pthread_create(ret, NULL, run, ctx);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (err)
        return -err;
    snprintf(cut, sizeof(cut), "%s", name);
    pthread_setname_np(*ret, cut);
    return 0;
}

void thread_set_nice(int nice)
{
    nice_more = nice;
}

/* Linux has niceness for each thread. A thread with shorter turns than the running one takes its place when it
 * wakes (from Linux 6.12 on; before that the length is ignored). */
void thread_stand_back(void)
{
    if (nice_more == 0)
        return;
    int nice = getpriority(PRIO_PROCESS, 0) + nice_more;
    struct scheduling s = {
        .size = sizeof(s),
        .flags = KEEP_POLICY,
        .nice = nice < NICE_MAX ? nice : NICE_MAX,
        .runtime_ns = TURN_NS,
    };
    syscall(SYS_sched_setattr, 0, &s, 0); /* not allowed: it goes on as it is */
}

int thread_join(pthread_t thread, int64_t until_us)
{
    if (until_us == INT64_MAX)
        return -pthread_join(thread, NULL);
    /* By the wall clock: the thread sanitizer does not know pthread_clockjoin_np yet. */
    int64_t wait_us = until_us - clock_monotonic_us();
    int64_t us = clock_now_us() + (wait_us < 0        ? 0
                                   : wait_us < DAY_US ? wait_us
                                                      : DAY_US);
    struct timespec t = {.tv_sec = us / SECOND_US, .tv_nsec = us % SECOND_US * 1000};
    return -pthread_timedjoin_np(thread, NULL, &t);
}
