/* SPDX-License-Identifier: Apache-2.0
 *
 * The names and meanings are those of https://prometheus.io/docs/instrumenting/writing_clientlibs/ ("Process metrics");
 * the numbers are of proc(5).
 */
#include "base/self.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum stat_field { STAT_START = 22, STAT_VSIZE = 23, STAT_RSS = 24 };

/* A field of /proc/self/stat, counted from 1; NaN: not to be had. */
static double stat_value(enum stat_field field)
{
    char text[1024];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return NAN;
    text[n] = 0;
    char *at =
        strrchr(text, ')'); /* behind the name, which may hold anything: field 3 */
    for (int i = 2; at && i < (int)field; i++)
        at = strchr(at + 1, ' ');
    return at ? strtod(at + 1, NULL) : NAN;
}

static double cpu_seconds(void *unused)
{
    (void)unused;
    struct timespec t;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t))
        return NAN;
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double resident_bytes(void *unused)
{
    (void)unused;
    return stat_value(STAT_RSS) * (double)sysconf(_SC_PAGESIZE);
}

static double virtual_bytes(void *unused)
{
    (void)unused;
    return stat_value(STAT_VSIZE);
}

/* The start is told in ticks since the machine's. */
static double start_seconds(void *unused)
{
    (void)unused;
    struct timespec now, up;
    if (clock_gettime(CLOCK_REALTIME, &now) || clock_gettime(CLOCK_BOOTTIME, &up))
        return NAN;
    double booted =
        (double)(now.tv_sec - up.tv_sec) + (double)(now.tv_nsec - up.tv_nsec) / 1e9;
    return round((booted + stat_value(STAT_START) / (double)sysconf(_SC_CLK_TCK)) *
                 100) /
           100;
}

static double open_fds(void *unused)
{
    (void)unused;
    DIR *d = opendir("/proc/self/fd");
    if (!d)
        return NAN;
    double n = -1; /* but for the folder itself */
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static double max_fds(void *unused)
{
    (void)unused;
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) ? NAN : (double)limit.rlim_cur;
}

int self_count(struct metrics *m, const char *version, const char *sqlite)
{
    static const _Atomic uint64_t one = 1;
    static const struct {
        enum metric_kind kind;
        const char *name, *help;
        double (*read)(void *unused);
    } table[] = {
        {METRIC_COUNTER, "process_cpu_seconds_total",
         "Total user and system CPU time spent in seconds.", cpu_seconds},
        {METRIC_GAUGE, "process_resident_memory_bytes",
         "Resident memory size in bytes.", resident_bytes},
        {METRIC_GAUGE, "process_virtual_memory_bytes", "Virtual memory size in bytes.",
         virtual_bytes},
        {METRIC_GAUGE, "process_start_time_seconds",
         "Start time of the process since unix epoch in seconds.", start_seconds},
        {METRIC_GAUGE, "process_open_fds", "Number of open file descriptors.",
         open_fds},
        {METRIC_GAUGE, "process_max_fds", "Maximum number of open file descriptors.",
         max_fds},
    };
    struct buffer labels = {0};
    metrics_put_label(&labels, "version", version);
    metrics_put_label(&labels, "sqlite", sqlite);
    int r = labels.error ? labels.error
                         : metrics_add(m, METRIC_GAUGE, "weir_build_info",
                                       "1; its labels say what was built.",
                                       buffer_text(&labels), &one, 1);
    buffer_free(&labels);
    for (size_t i = 0; r == 0 && i < sizeof(table) / sizeof(table[0]); i++)
        r = metrics_add_call(m, table[i].kind, table[i].name, table[i].help, "",
                             table[i].read, NULL);
    return r;
}
