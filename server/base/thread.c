/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads of the server.
 */
#include "base/thread.h"

#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

int thread_start(pthread_t *ret, const char *name, void *(*run)(void *ctx), void *ctx)
{
    sigset_t all, old;
    char cut[16];
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = pthread_create(ret, NULL, run, ctx);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (err)
        return -err;
    snprintf(cut, sizeof(cut), "%s", name);
    pthread_setname_np(*ret, cut);
    return 0;
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
