/* SPDX-License-Identifier: Apache-2.0
 *
 * The processes that run SQL of strangers.
 *
 *                start            query_run              the answer is whole
 *      (none) ---------> running <--------- idle <-------------------------- running
 *                           |                 |
 *                           | deadline, gone, nonsense, died, spent          pool is freed
 *                           v                 v
 *                        SIGKILL, waited for: at once where that is quick, otherwise later
 */
#include "query/process.h"
#include "base/clock.h"
#include "query/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESS_LOOK_MS 20 /* how often `gone` is asked */
/* The process ends itself a little after the deadline; one that is stopped, or whose system call does not return, does
 * not. */
#define PROCESS_GRACE_US (2 * QUERY_GRACE_US)
#define PROCESS_WAIT_US                                                                \
    200000 /* for the kernel to end one, before it is left for later */
#define PROCESS_WHY_US (2 * SECOND_US) /* to tell why one has ended by itself */

enum process_end { /* why one is no more */
                   PROCESS_TIMEOUT,
                   PROCESS_CANCELLED,
                   PROCESS_DIED,
                   PROCESS_SPENT,
                   PROCESS_ENDS,
                   PROCESS_IDLE = PROCESS_ENDS, /* the server stops: not counted */
};

struct process {
    pid_t pid;
    int fd;
    struct process *next;
    size_t n; /* bytes in `in` */
    char in[QUERY_FRAME_HEAD + QUERY_FRAME_MAX];
};

struct query_pool {
    char *program, *database;
    char memory[24], temp[24], parent[24]; /* arguments */
    struct metrics *metrics;
    pthread_mutex_t lock; /* protects the two below */
    struct process *idle;
    struct process *dying; /* killed, not waited for yet */
    _Atomic uint64_t processes, started;
    _Atomic uint64_t ended[PROCESS_ENDS];
};

/* ---- The pool ---- */

static int pool_count(struct query_pool *p, struct metrics *m)
{
    static const char *const reason[PROCESS_ENDS] = {
        [PROCESS_TIMEOUT] = "reason=\"timeout\"",
        [PROCESS_CANCELLED] = "reason=\"cancelled\"",
        [PROCESS_DIED] = "reason=\"died\"",
        [PROCESS_SPENT] = "reason=\"spent\"",
    };
    int rc = metrics_add(m, METRIC_GAUGE, "weir_sql_processes",
                         "Processes that run statements, or wait for one.", "",
                         &p->processes, 1);
    if (!rc)
        rc = metrics_add(m, METRIC_COUNTER, "weir_sql_process_starts_total",
                         "Processes for statements that were started.", "", &p->started,
                         1);
    for (size_t i = 0; !rc && i < PROCESS_ENDS; i++)
        rc = metrics_add(m, METRIC_COUNTER, "weir_sql_process_ends_total",
                         "Processes for statements that ended, by reason.", reason[i],
                         &p->ended[i], 1);
    return rc;
}

int query_pool_new(const struct query_options *options, struct metrics *metrics,
                   struct query_pool **ret)
{
    struct query_pool *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    pthread_mutex_init(&p->lock, NULL);
    p->program = strdup(options->program ? options->program : "/proc/self/exe");
    p->database = strdup(options->database);
    snprintf(p->memory, sizeof(p->memory), "%llu", (unsigned long long)options->memory);
    snprintf(p->temp, sizeof(p->temp), "%llu", (unsigned long long)options->temp);
    snprintf(p->parent, sizeof(p->parent), "%d", (int)getpid());
    int rc = p->program && p->database ? 0 : -ENOMEM;
    p->metrics = metrics;
    if (!rc && metrics)
        rc = pool_count(p, metrics);
    if (rc) {
        query_pool_free(p);
        return rc;
    }
    *ret = p;
    return 0;
}

/* Waits for those that are ended, without waiting. */
static void pool_reap(struct query_pool *p)
{
    pthread_mutex_lock(&p->lock);
    for (struct process **at = &p->dying; *at;) {
        struct process *x = *at;
        if (waitpid(x->pid, NULL, WNOHANG) == 0) {
            at = &x->next;
            continue;
        }
        *at = x->next;
        free(x);
    }
    pthread_mutex_unlock(&p->lock);
}

/* ---- One process ---- */

static int process_spawn(struct query_pool *p, int fd, pid_t *ret)
{
    char name[] = "weir", command[] = QUERY_CHILD_COMMAND;
    char *const argv[] = {name,    command,   p->database, p->memory,
                          p->temp, p->parent, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    if (posix_spawn_file_actions_init(&files))
        return -ENOMEM;
    if (posix_spawnattr_init(&how)) {
        posix_spawn_file_actions_destroy(&files);
        return -ENOMEM;
    }
    int rc = posix_spawn_file_actions_adddup2(&files, fd, QUERY_CHILD_SOCKET);
    if (!rc)
        rc = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    if (!rc)
        rc = posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    /* Threads of the server have all signals blocked, and it ignores SIGPIPE. */
    if (!rc)
        rc = posix_spawnattr_setsigmask(&how, &none);
    if (!rc)
        rc = posix_spawnattr_setsigdefault(&how, &all);
    if (!rc)
        rc = posix_spawnattr_setflags(&how,
                                      POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (!rc)
        rc = posix_spawn(ret, p->program, &files, &how, argv, environ);
    posix_spawnattr_destroy(&how);
    posix_spawn_file_actions_destroy(&files);
    return -rc;
}

static int process_start(struct query_pool *p, struct process **ret,
                         struct error *error)
{
    int fd[2];
    struct process *x = calloc(1, sizeof(*x));
    if (!x)
        return error_set(error, -EAGAIN, "no memory for a process");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd)) {
        free(x);
        return error_set(error, -EAGAIN, "no socket for a process: %s",
                         strerror(errno));
    }
    static const struct timeval look = {.tv_usec = PROCESS_LOOK_MS * 1000};
    setsockopt(fd[0], SOL_SOCKET, SO_RCVTIMEO, &look, sizeof(look));
    int err = process_spawn(p, fd[1], &x->pid);
    close(fd[1]);
    if (err) {
        close(fd[0]);
        free(x);
        return error_set(error, -EAGAIN, "no process can be started: %s",
                         strerror(-err));
    }
    x->fd = fd[0];
    metric_add(&p->started, 1);
    metric_add(&p->processes, 1);
    *ret = x;
    return 0;
}

/* Waits until the kernel has ended it. False: it has not, in this time. */
static bool process_wait(pid_t pid, int64_t wait_us, int *ret_status)
{
    int64_t until_us = clock_monotonic_us() + wait_us;
    *ret_status = 0;
    while (waitpid(pid, ret_status, WNOHANG) == 0) {
        if (clock_monotonic_us() >= until_us)
            return false;
        clock_sleep_us(1000);
    }
    return true;
}

/* Frees it. */
static void process_end(struct query_pool *p, struct process *x, enum process_end why)
{
    int status;
    kill(x->pid, SIGKILL);
    close(x->fd);
    atomic_fetch_sub_explicit(&p->processes, 1, memory_order_relaxed);
    bool ended = process_wait(x->pid, PROCESS_WAIT_US, &status);
    if (why < PROCESS_ENDS)
        metric_add(&p->ended[why], 1);
    if (ended) {
        free(x);
        return;
    }
    pthread_mutex_lock(&p->lock);
    x->next = p->dying;
    p->dying = x;
    pthread_mutex_unlock(&p->lock);
}

/* Its end of the socket is closed: why? */
static enum process_end process_ended(struct process *x)
{
    siginfo_t info = {0};
    int64_t until_us = clock_monotonic_us() + PROCESS_WHY_US;
    /* Left for process_end to wait for. */
    while (waitid(P_PID, (id_t)x->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0 && clock_monotonic_us() < until_us)
        clock_sleep_us(1000);
    bool by_signal = info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED;
    return by_signal && (info.si_status == SIGALRM || info.si_status == SIGXCPU)
               ? PROCESS_TIMEOUT
               : PROCESS_DIED;
}

static bool process_is_alive(const struct process *x)
{
    char byte;
    return recv(x->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static int process_get(struct query_pool *p, struct process **ret, struct error *error)
{
    struct process *x;
    pool_reap(p);
    do {
        pthread_mutex_lock(&p->lock);
        x = p->idle;
        if (x)
            p->idle = x->next;
        pthread_mutex_unlock(&p->lock);
        if (!x)
            return process_start(p, ret, error);
        if (process_is_alive(x))
            break;
        process_end(p, x, PROCESS_DIED);
    } while (true);
    *ret = x;
    return 0;
}

static void process_put(struct query_pool *p, struct process *x)
{
    pthread_mutex_lock(&p->lock);
    x->next = p->idle;
    p->idle = x;
    pthread_mutex_unlock(&p->lock);
}

void query_pool_free(struct query_pool *p)
{
    if (!p)
        return;
    for (struct process *x = p->idle, *next; x; x = next) {
        next = x->next;
        process_end(p, x, PROCESS_IDLE);
    }
    pool_reap(p);
    for (struct process *x = p->dying, *next; x; x = next) {
        next = x->next;
        free(x); /* the kernel ends it when it can */
    }
    if (p->metrics)
        metrics_remove(p->metrics, p, sizeof(*p));
    pthread_mutex_destroy(&p->lock);
    free(p->program);
    free(p->database);
    free(p);
}

/* ---- One statement ---- */

struct run {
    struct process *process;
    struct buffer ask;
    size_t sent;
    const struct query_sink *sink;
    struct query_answer *answer;
};

/* What the socket takes. -ECHILD. */
static int run_send(struct run *r)
{
    ssize_t n = send(r->process->fd, r->ask.data + r->sent, r->ask.size - r->sent,
                     MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -ECHILD;
    r->sent += (size_t)n;
    return 0;
}

/* What there is, or comes within PROCESS_LOOK_MS. -ECHILD: the other end is closed; -EPROTO; the sink's. */
static int run_receive(struct run *r, int flags)
{
    struct process *x = r->process;
    ssize_t n = recv(x->fd, x->in + x->n, sizeof(x->in) - x->n, flags);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -ECHILD;
    if (n == 0)
        return -ECHILD;
    x->n += (size_t)n;
    ssize_t taken = query_answer_take(r->answer, x->in, x->n, r->sink);
    if (taken < 0)
        return (int)taken;
    x->n -= (size_t)taken;
    memmove(x->in, x->in + taken, x->n);
    return r->answer->ended && x->n > 0 ? -EPROTO : 0; /* nobody asked for more */
}

static int run_talk(struct run *r, int64_t until_us, bool (*gone)(void *ctx), void *ctx)
{
    int64_t look_us = clock_monotonic_us() + PROCESS_LOOK_MS * 1000;
    int err = run_send(r);
    while (!err) {
        struct pollfd fd = {.fd = r->process->fd, .events = POLLIN | POLLOUT};
        if (r->sent == r->ask.size)
            err = run_receive(r, 0);
        else if (poll(&fd, 1, PROCESS_LOOK_MS) > 0)
            err = fd.revents & POLLOUT ? run_send(r) : run_receive(r, MSG_DONTWAIT);
        if (err || r->answer->ended)
            return err;
        int64_t now_us = clock_monotonic_us();
        if (now_us >= until_us)
            return -ETIMEDOUT;
        if (now_us < look_us)
            continue;
        look_us = now_us + PROCESS_LOOK_MS * 1000;
        if (gone && gone(ctx))
            return -ECANCELED;
    }
    return err;
}

/* The process is ended for it. */
static int run_failed(struct query_pool *p, struct process *x, int err,
                      struct error *error)
{
    enum process_end why = err == -ETIMEDOUT ? PROCESS_TIMEOUT
                           : err == -EPROTO  ? PROCESS_DIED
                           : err == -ECHILD  ? process_ended(x)
                                             : PROCESS_CANCELLED;
    process_end(p, x, why);
    if (why == PROCESS_TIMEOUT)
        return error_set(error, -ETIMEDOUT, "the statement took too long");
    if (why == PROCESS_DIED)
        return error_set(error, -ECHILD,
                         "the process that ran the statement ended before it was done");
    return err;
}

int query_run(struct query_pool *p, const struct query_ask *ask,
              const struct query_sink *sink, bool (*gone)(void *ctx), void *gone_ctx,
              struct query_answer *ret, struct error *error)
{
    struct run r = {.sink = sink, .answer = ret};
    *ret = (struct query_answer){0};
    query_ask_put(ask, &r.ask);
    int err = r.ask.error ? error_set(error, -EAGAIN, "no memory for the question")
                          : process_get(p, &r.process, error);
    if (err) {
        buffer_free(&r.ask);
        return err;
    }
    r.process->n = 0;
    err = run_talk(&r, clock_monotonic_us() + ask->timeout_us + PROCESS_GRACE_US, gone,
                   gone_ctx);
    buffer_free(&r.ask);
    if (err)
        return run_failed(p, r.process, err, error);
    if (ret->end.spent)
        process_end(p, r.process, PROCESS_SPENT);
    else
        process_put(p, r.process);
    return 0;
}
