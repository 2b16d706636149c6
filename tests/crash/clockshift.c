/* SPDX-License-Identifier: Apache-2.0
 *
 * Shifts the wall clock of a program that it is preloaded into (LD_PRELOAD), and that alone: by the int64
 * of nanoseconds that the file $CLOCKSHIFT_FILE begins with, which may change at any time. The monotonic
 * clocks go on as they are. A wait for a moment of the wall clock (pthread_cond_timedwait without
 * CLOCK_MONOTONIC) is not shifted: a program that is to be tested with this must have none.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define EXPORT    __attribute__((visibility("default")))
#define SECOND_NS INT64_C(1000000000)

static const _Atomic int64_t nothing;
static const _Atomic int64_t *shift = &nothing; /* relaxed: a number by itself */

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CLOCKSHIFT_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof(*shift), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED)
        shift = at;
}

static void now(struct timespec *ret)
{
    syscall(SYS_clock_gettime, CLOCK_REALTIME, ret);
    int64_t ns = ret->tv_sec * SECOND_NS + ret->tv_nsec +
                 atomic_load_explicit(shift, memory_order_relaxed);
    ret->tv_sec = ns / SECOND_NS;
    ret->tv_nsec = ns % SECOND_NS;
}

EXPORT int clock_gettime(clockid_t clock, struct timespec *ret)
{
    if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)
        return (int)syscall(SYS_clock_gettime, clock, ret);
    now(ret);
    return 0;
}

EXPORT int gettimeofday(struct timeval *ret, void *zone)
{
    struct timespec t;
    (void)zone;
    now(&t);
    *ret = (struct timeval){t.tv_sec, t.tv_nsec / 1000};
    return 0;
}

EXPORT time_t time(time_t *ret)
{
    struct timespec t;
    now(&t);
    if (ret)
        *ret = t.tv_sec;
    return t.tv_sec;
}

EXPORT int timespec_get(struct timespec *ret, int base)
{
    if (base != TIME_UTC)
        return 0;
    now(ret);
    return base;
}
