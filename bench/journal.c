/* SPDX-License-Identifier: Apache-2.0
 *
 * The journal alone: frames of several sizes, committed one after the other, into segments that are new
 * and into such that are used again; and, for comparison, the same bytes appended to a plain file with
 * fdatasync after each. Prints medians of several repetitions, in turns.
 *
 *      journal [-d FOLDER] [-r REPETITIONS] [-m MB]      a folder is made in FOLDER, and removed
 */
#include "config.h"

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/logger.h"
#include "journal/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define REPETITIONS_MAX 99
#define SEGMENT_SIZE    ((uint64_t)64 << 20)
#define FRAMES_LEAST    200u
#define FRAMES_MOST     20000u

enum way { APPEND, FRESH, RECYCLED, WAYS };

static const char *const way_name[] = {"append + fdatasync", "journal, new segments",
                                       "journal, used again"};

struct run {
    enum way way;
    size_t size;   /* of a frame */
    size_t frames; /* of a run */
    char folder[256];
    const char *bytes;
    double *latency_us; /* of each commit */
};

struct result {
    double mb_s, p50_us, p99_us, cpu_s_gb;
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "journal: %s: %s\n", what, why);
    exit(1);
}

static double now_us(void)
{
    return (double)clock_monotonic_ns() * 1e-3;
}

/* Of all threads. */
static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void finish(const struct run *run, double start_us, double start_cpu,
                   struct result *ret)
{
    double gb = (double)run->size * (double)run->frames * 1e-9;
    double us = now_us() - start_us;
    ret->cpu_s_gb = (cpu_s() - start_cpu) / gb;
    ret->mb_s = gb * 1e9 / us;
    qsort(run->latency_us, run->frames, sizeof(double), by_value);
    ret->p50_us = run->latency_us[run->frames / 2];
    ret->p99_us = run->latency_us[run->frames * 99 / 100];
}

/* A head of 64 bytes with a checksum, as any journal needs it. */
static void run_append(const struct run *run, struct result *ret)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/append", run->folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    char *frame = malloc(64 + run->size);
    if (fd < 0 || !frame)
        die(path, strerror(errno));
    memset(frame, 0, 64);
    double start = now_us(), cpu = cpu_s();
    for (size_t i = 0; i < run->frames; i++) {
        double before = now_us();
        memcpy(frame + 64, run->bytes, run->size);
        uint32_t crc = crc32c(0, frame + 64, run->size);
        memcpy(frame, &crc, sizeof(crc));
        if (write(fd, frame, 64 + run->size) != (ssize_t)(64 + run->size) ||
            fdatasync(fd))
            die(path, strerror(errno));
        run->latency_us[i] = now_us() - before;
    }
    finish(run, start, cpu, ret);
    free(frame);
    close(fd);
    unlink(path);
}

static void commit(struct journal *j, const struct run *run)
{
    struct error error;
    uint64_t first;
    char *room = journal_room(j, run->size);
    if (!room)
        die("room", strerror(ENOMEM));
    memcpy(room, run->bytes, run->size);
    journal_added(j, run->size);
    if (journal_commit(j, 1, &first, &error))
        die("commit", error.text);
}

/* Until segments have their size, and there are enough of them to be used again. */
static void warm_up(struct journal *j, const struct run *run)
{
    struct run large = *run;
    large.size = (size_t)1 << 20;
    for (uint64_t done = 0; done < 7 * SEGMENT_SIZE; done += large.size)
        commit(j, &large);
    journal_trim(j, journal_end(j));
}

static void run_journal(const struct run *run, struct result *ret)
{
    char path[300];
    struct error error;
    struct journal *j;
    snprintf(path, sizeof(path), "%s/journal", run->folder);
    struct journal_options o = {
        .folder = path, .stream = "bench", .segment_size = SEGMENT_SIZE};
    if (journal_open(&o, NULL, &j, &error))
        die(path, error.text);
    if (run->way == RECYCLED)
        warm_up(j, run);
    double start = now_us(), cpu = cpu_s();
    for (size_t i = 0; i < run->frames; i++) {
        double before = now_us();
        commit(j, run);
        run->latency_us[i] = now_us() - before;
        if (run->way == RECYCLED)
            journal_trim(j, journal_end(j));
    }
    finish(run, start, cpu, ret);
    journal_close(j);
    char command[400];
    snprintf(command, sizeof(command), "rm -rf '%s'", path);
    if (system(command) != 0)
        die(path, "cannot be removed");
}

static double median(const struct result *r, size_t n, size_t field)
{
    double v[REPETITIONS_MAX];
    for (size_t i = 0; i < n; i++)
        memcpy(&v[i], (const char *)&r[i] + field, sizeof(double));
    qsort(v, n, sizeof(double), by_value);
    return v[n / 2];
}

static void measure(struct run *run, size_t size, size_t repetitions, uint64_t bytes)
{
    struct result result[WAYS][REPETITIONS_MAX];
    run->size = size;
    run->frames = (size_t)(bytes / size);
    run->frames = run->frames < FRAMES_MOST ? run->frames : FRAMES_MOST;
    run->frames = run->frames > FRAMES_LEAST ? run->frames : FRAMES_LEAST;
    for (size_t i = 0; i < repetitions; i++)
        for (int way = APPEND; way < WAYS; way++) {
            run->way = (enum way)way;
            if (way == APPEND)
                run_append(run, &result[way][i]);
            else
                run_journal(run, &result[way][i]);
        }
    for (int way = APPEND; way < WAYS; way++)
        printf("| %zu KiB | %s | %.0f | %.0f | %.0f | %.2f |\n", size >> 10,
               way_name[way],
               median(result[way], repetitions, offsetof(struct result, mb_s)),
               median(result[way], repetitions, offsetof(struct result, p50_us)),
               median(result[way], repetitions, offsetof(struct result, p99_us)),
               median(result[way], repetitions, offsetof(struct result, cpu_s_gb)));
    fflush(stdout);
}

static char *some_bytes(size_t size)
{
    char *bytes = malloc(size);
    uint64_t v = 1;
    if (!bytes)
        die("memory", strerror(ENOMEM));
    for (size_t i = 0; i < size; i++) {
        v = v * UINT64_C(6364136223846793005) + 1;
        bytes[i] = (char)(v >> 56);
    }
    return bytes;
}

int main(int argc, char **argv)
{
    static const size_t sizes[] = {4 << 10, 100 << 10, 1 << 20};
    const char *parent = "/var/tmp";
    size_t repetitions = 3;
    uint64_t bytes = (uint64_t)1 << 30;
    struct run run = {.way = APPEND};
    for (int c; (c = getopt(argc, argv, "d:r:m:")) != -1;) {
        if (c == 'd')
            parent = optarg;
        else if (c == 'r')
            repetitions = (size_t)atoi(optarg);
        else if (c == 'm')
            bytes = (uint64_t)atoi(optarg) * 1000000;
        else
            return 64;
    }
    if (repetitions < 1 || repetitions > REPETITIONS_MAX)
        return 64;
    logger_setup(LOGGER_ERROR, false);
    snprintf(run.folder, sizeof(run.folder), "%s/weir-bench-XXXXXX", parent);
    if (!mkdtemp(run.folder))
        die(run.folder, strerror(errno));
    char *some = some_bytes((size_t)1 << 20);
    run.bytes = some;
    run.latency_us = calloc(FRAMES_MOST, sizeof(double));
    if (!run.latency_us)
        die("memory", strerror(ENOMEM));
    printf(
        "| frame | | MB/s | p50 us | p99 us | CPU s/GB |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        measure(&run, sizes[i], repetitions, bytes);
    rmdir(run.folder);
    free(run.latency_us);
    free(some);
    return 0;
}
