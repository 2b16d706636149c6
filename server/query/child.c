/* SPDX-License-Identifier: Apache-2.0
 *
 * The process that runs statements of strangers.
 *
 *      what it may not exceed      kept by                              then
 *      memory                      SQLite's hard limit, RLIMIT_AS       422
 *      temporary files             RLIMIT_FSIZE, RLIMIT_NOFILE          422
 *      time of a statement         progress handler, ITIMER_REAL,       504
 *                                  RLIMIT_CPU, the server's SIGKILL
 *      the life of the server      PR_SET_PDEATHSIG
 *
 * What is spent, by work or by memory that is in pieces, says so and is replaced.
 */
#include "query/child.h"
#include "base/clock.h"
#include "query/message.h"
#include "query/statement.h"
#include "store/reader.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

/* What code, libraries and stacks take of the address space, and what is not SQLite's. */
#define CHILD_BASE_MEMORY ((rlim_t)64 << 20)
/* Standard streams, the socket, the database, its -wal and -shm, one that is open for a moment. */
#define CHILD_FILES      8
#define CHILD_TEMP_FILES 4
#define CHILD_QUESTION   ((size_t)16 << 10) /* room for questions, at first */
/* Spent after so much. */
#define CHILD_CPU_US     (60 * SECOND_US)
#define CHILD_STATEMENTS 10000

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CHILD_SHADOW 1 /* a sanitizer maps terabytes */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CHILD_SHADOW 1
#endif
#endif
#ifndef CHILD_SHADOW
#define CHILD_SHADOW 0
#endif

struct child {
    struct reader_pool *readers; /* keeps one connection */
    struct statement_limits limits;
    struct query_param param[QUERY_PARAMS_MAX];
    struct statement_out out;
    char *bytes; /* a question and its size */
    size_t room;
    unsigned statements;
    int64_t cpu_us;     /* used so far */
    int64_t cpu_end_us; /* RLIMIT_CPU */
};

/* ---- The socket ---- */

/* Until there are `least` of at most `most` bytes. False: the other end is closed. */
static bool child_read(struct child *c, size_t *size, size_t least, size_t most)
{
    while (*size < least) {
        ssize_t n = recv(QUERY_CHILD_SOCKET, c->bytes + *size, most - *size, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        *size += (size_t)n;
    }
    return true;
}

static int child_send(void *ctx, struct buffer *frames)
{
    (void)ctx;
    for (size_t at = 0; at < frames->size;) {
        ssize_t n = send(QUERY_CHILD_SOCKET, frames->data + at, frames->size - at,
                         MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -EPIPE;
        at += (size_t)n;
    }
    buffer_clear(frames);
    return 0;
}

/* ---- Limits ---- */

/* -1: it is not in force. */
static int child_limit(int what, rlim_t soft, rlim_t hard)
{
    struct rlimit limit = {.rlim_cur = soft, .rlim_max = hard};
    struct rlimit now;
    if (getrlimit(what, &now) == 0 && now.rlim_max < limit.rlim_max) {
        limit.rlim_max = now.rlim_max;
        if (limit.rlim_cur > now.rlim_max)
            limit.rlim_cur = now.rlim_max;
    }
    return setrlimit(what, &limit);
}

/* -1: something is not in force, and no statement is to be run. */
static int child_harden(const struct statement_limits *limits)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_NAME, "weir-sql");
    syscall(SYS_close_range, QUERY_CHILD_SOCKET + 1, ~0u, 0);
    /* What stops the server as a whole is the server's to obey, which ends this process when it is done. */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* writing fails instead */
    rlim_t temp = limits->temp / CHILD_TEMP_FILES;
    rlim_t memory = limits->memory + CHILD_BASE_MEMORY;
    rlim_t files = CHILD_FILES + CHILD_TEMP_FILES;
    if (child_limit(RLIMIT_CORE, 0, 0) || child_limit(RLIMIT_FSIZE, temp, temp) ||
        child_limit(RLIMIT_NOFILE, files, files) ||
        (!CHILD_SHADOW && child_limit(RLIMIT_AS, memory, memory)))
        return -1;
    if (sqlite3_config(SQLITE_CONFIG_SINGLETHREAD) || sqlite3_initialize())
        return -1;
    sqlite3_hard_heap_limit64((sqlite3_int64)limits->memory);
    return 0;
}

static int64_t child_cpu_us(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * SECOND_US +
           used.ru_utime.tv_usec + used.ru_stime.tv_usec;
}

/* Signals whose default ends the process are armed for one statement. The kernel counts processor time in seconds; the
 * limit is set anew only where it is too tight, or far too wide. */
static void child_arm(struct child *c, int64_t timeout_us)
{
    int64_t end_us = timeout_us + QUERY_GRACE_US;
    struct itimerval timer = {
        .it_value = {.tv_sec = end_us / SECOND_US, .tv_usec = end_us % SECOND_US}};
    setitimer(ITIMER_REAL, &timer, NULL);
    int64_t least_us = c->cpu_us + end_us + SECOND_US;
    if (c->cpu_end_us >= least_us && c->cpu_end_us <= least_us + 3 * SECOND_US)
        return;
    rlim_t seconds = (rlim_t)(least_us / SECOND_US) + 2;
    child_limit(RLIMIT_CPU, seconds, RLIM_INFINITY);
    c->cpu_end_us = (int64_t)seconds * SECOND_US;
}

static void child_disarm(void)
{
    static const struct itimerval none;
    setitimer(ITIMER_REAL, &none, NULL);
}

static bool child_is_spent(struct child *c)
{
    c->cpu_us = child_cpu_us();
    return ++c->statements >= CHILD_STATEMENTS || c->cpu_us >= CHILD_CPU_US ||
           sqlite3_memory_highwater(0) > (sqlite3_int64)(c->limits.memory / 2);
}

/* ---- One statement after the other ---- */

/* False: nobody listens. */
static bool child_answer(struct child *c, const struct query_ask *ask)
{
    struct query_end end = {.offset = -1};
    struct reader *reader = NULL;
    bool heard = true;
    child_arm(c, ask->timeout_us);
    end.err = reader_get(c->readers, &reader, &end.error);
    if (!end.err)
        heard = statement_run(reader, ask, &c->limits, &c->out, &end);
    reader_put(reader);
    if (!heard)
        return false;
    if (c->out.frames.error) /* HEAD may be missing: only FAILED can follow */
        buffer_clear(&c->out.frames);
    end.spent = child_is_spent(c);
    query_put_end(&c->out.frames, &end);
    child_disarm(); /* the next question may come before this call returns */
    return child_send(NULL, &c->out.frames) == 0;
}

/* False: there are no more, or what came is no question. */
static bool child_next(struct child *c)
{
    uint32_t said;
    struct query_ask ask;
    size_t size = 0;
    if (!child_read(c, &size, sizeof(said), c->room))
        return false;
    memcpy(&said, c->bytes, sizeof(said));
    if (said > QUERY_ASK_MAX || size > sizeof(said) + said)
        return false;
    if (sizeof(said) + said > c->room) {
        char *more = realloc(c->bytes, sizeof(said) + said);
        if (!more)
            return false;
        c->bytes = more;
        c->room = sizeof(said) + said;
    }
    return child_read(c, &size, sizeof(said) + said, sizeof(said) + said) &&
           query_ask_take(c->bytes + sizeof(said), said, c->param, &ask) == 0 &&
           child_answer(c, &ask);
}

int query_child(int argc, char **argv)
{
    static struct child child;
    if (argc != 5)
        return EXIT_FAILURE;
    child.limits.memory = strtoull(argv[2], NULL, 10);
    child.limits.temp = strtoull(argv[3], NULL, 10);
    if (child_harden(&child.limits)) {
        perror("weir: the limits of a process for SQL cannot be set");
        return EXIT_FAILURE;
    }
    if (getppid() != (pid_t)strtol(argv[4], NULL, 10))
        return EXIT_FAILURE; /* the server ended before it could be tied to this process */
    child.out.send = child_send;
    child.room = CHILD_QUESTION;
    child.bytes = malloc(child.room);
    if (!child.bytes || reader_pool_new(argv[1], 1, &child.readers))
        return EXIT_FAILURE;
    while (child_next(&child))
        ;
    _exit(EXIT_SUCCESS); /* a server that has gone waits for no clean-up */
}
