/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h> /* of the build */

#include "apart/process.h"

#include "apart/limits.h"
#include "base/clock.h"
#include "base/thread.h"
#include "batch/pool.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEAD_BYTES 4096               /* of the map, before the rings */
#define LOOK_MS    50                 /* how often `leaves` is asked */
#define SEND_BYTES ((size_t)64 << 10) /* that come together before a sleeper is woken */
#define GIVE_BYTES ((size_t)64 << 10) /* that were read before they are room again */
#define END_US     (500 * 1000)       /* for the end that it makes itself */
#define KILLED_US  (5 * SECOND_US)    /* for the kernel to end one */
#define CHILD_FD   3

static_assert(sizeof(struct apart_shared) <= HEAD_BYTES, "it lies before the rings");

/* ---- The thread that starts processes ---------------------------------------------------------- */

/* A process ends with the thread that started it (PR_SET_PDEATHSIG), so that is one which stays as long as there are
 * processes. */
static struct {
    pthread_mutex_t lock; /* protects all below */
    pthread_cond_t changed;
    pthread_t thread;
    unsigned users; /* processes, or such as are being started */
    struct spawning {
        char *const *argv;
        const char *program;
        int fd;
        pid_t pid;
        int err;
        bool done;
        struct spawning *next;
    } * first;
    bool over;
} spawner = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static int spawn(const struct spawning *s, pid_t *ret)
{
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
    int rc = posix_spawn_file_actions_adddup2(&files, s->fd, CHILD_FD);
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
        rc = posix_spawn(ret, s->program, &files, &how, s->argv, environ);
    posix_spawnattr_destroy(&how);
    posix_spawn_file_actions_destroy(&files);
    return -rc;
}

static void *spawner_run(void *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&spawner.lock);
    while (!spawner.over) {
        struct spawning *s = spawner.first;
        if (!s) {
            pthread_cond_wait(&spawner.changed, &spawner.lock);
            continue;
        }
        spawner.first = s->next;
        s->err = spawn(s, &s->pid);
        s->done = true;
        pthread_cond_broadcast(&spawner.changed);
    }
    pthread_mutex_unlock(&spawner.lock);
    return NULL;
}

/* Once for each process, before it starts. */
static int spawner_join(void)
{
    pthread_mutex_lock(&spawner.lock);
    while (spawner.over)
        pthread_cond_wait(&spawner.changed, &spawner.lock);
    int err =
        spawner.users ? 0 : thread_start(&spawner.thread, "apart", spawner_run, NULL);
    spawner.users += err == 0;
    pthread_mutex_unlock(&spawner.lock);
    return err;
}

/* Once it has ended. The last one ends the thread, and nobody begins another one meanwhile. */
static void spawner_leave(void)
{
    pthread_mutex_lock(&spawner.lock);
    spawner.over = --spawner.users == 0;
    bool last = spawner.over;
    pthread_cond_broadcast(&spawner.changed);
    pthread_mutex_unlock(&spawner.lock);
    if (!last)
        return;
    pthread_join(spawner.thread, NULL);
    pthread_mutex_lock(&spawner.lock);
    spawner.over = false;
    pthread_cond_broadcast(&spawner.changed);
    pthread_mutex_unlock(&spawner.lock);
}

static int spawner_start(const char *program, char *const *argv, int fd, pid_t *ret)
{
    struct spawning s = {.argv = argv, .program = program, .fd = fd};
    pthread_mutex_lock(&spawner.lock);
    s.next = spawner.first;
    spawner.first = &s;
    pthread_cond_broadcast(&spawner.changed);
    while (!s.done)
        pthread_cond_wait(&spawner.changed, &spawner.lock);
    pthread_mutex_unlock(&spawner.lock);
    *ret = s.pid;
    return s.err;
}

/* ---- Start and end ----------------------------------------------------------------------------- */

static void set_rings(void *map, struct apart_shared *shared, struct ring *commands,
                      struct ring *answers)
{
    *commands = (struct ring){.shared = &shared->commands,
                              .data = (char *)map + HEAD_BYTES,
                              .size = APART_COMMANDS};
    *answers = (struct ring){.shared = &shared->answers,
                             .data = (char *)map + HEAD_BYTES + APART_COMMANDS,
                             .size = APART_ANSWERS};
}

/* Its size cannot change: whoever has it cannot take it away from the other. */
static int make_shared(size_t size)
{
    int fd = memfd_create("weir-analyzer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)size) ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

/* Two descriptors, over the socket. */
static int send_files(int to, int shared, int arena)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control = {.room = {0}};
    char byte = 0;
    struct iovec data = {.iov_base = &byte, .iov_len = 1};
    struct msghdr m = {.msg_iov = &data,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof(control.room)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    const int files[2] = {shared, arena};
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(files));
    memcpy(CMSG_DATA(c), files, sizeof(files));
    return sendmsg(to, &m, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

static int start_process(struct apart *a, int shared)
{
    int fd[2];
    char name[] = "weir", command[] = APART_COMMAND, version[] = PACKAGE_VERSION;
    char parent[24], arena[24];
    char *const argv[] = {name, command, parent, arena, version, NULL};
    snprintf(parent, sizeof(parent), "%d", (int)getpid());
    snprintf(arena, sizeof(arena), "%zu", pool_arena_size());
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd))
        return -errno;
    const char *program = a->options.program ? a->options.program : "/proc/self/exe";
    int err = send_files(fd[0], shared, pool_arena_fd());
    if (!err)
        err = spawner_start(program, argv, fd[1], &a->pid);
    close(fd[1]);
    if (err)
        close(fd[0]);
    else
        a->fd = fd[0];
    return err;
}

int apart_start(const struct apart_options *options, struct apart **ret,
                struct error *error)
{
    if (pool_arena_fd() < 0)
        return error_set(error, -ENOTSUP,
                         "this system has no memory that processes can share "
                         "(memfd_create): 'run: process' needs it");
    struct apart *a = calloc(1, sizeof(*a));
    if (!a)
        return error_set(error, -EAGAIN, "no memory for a process");
    a->options = *options;
    a->map_size = HEAD_BYTES + APART_COMMANDS + APART_ANSWERS;
    a->map = MAP_FAILED;
    int shared = make_shared(a->map_size), err = shared < 0 ? shared : 0;
    if (!err) {
        a->map = mmap(NULL, a->map_size, PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
        err = a->map == MAP_FAILED ? -errno : spawner_join();
    }
    if (!err) {
        a->shared = a->map;
        set_rings(a->map, a->shared, &a->commands, &a->answers);
        a->seen_us = clock_monotonic_us();
        err = start_process(a, shared);
        if (err)
            spawner_leave();
    }
    if (shared >= 0)
        close(shared);
    if (err) {
        if (a->map != MAP_FAILED)
            munmap(a->map, a->map_size);
        free(a);
        return error_set(error, -EAGAIN, "no process can be started: %s",
                         strerror(-err));
    }
    *ret = a;
    return 0;
}

/* Waits until the kernel has ended it. */
static bool wait_for_end(struct apart *a, int64_t wait_us)
{
    int64_t until_us = clock_monotonic_us() + wait_us;
    while (waitpid(a->pid, &a->status, WNOHANG) == 0) {
        if (clock_monotonic_us() >= until_us)
            return false;
        clock_sleep_us(1000);
    }
    return true;
}

static void end(struct apart *a, bool kills)
{
    if (a->ended)
        return;
    a->ended = true;
    shutdown(a->fd, SHUT_RDWR);
    if (!kills && wait_for_end(a, END_US))
        return;
    kill(a->pid, SIGKILL);
    wait_for_end(a, KILLED_US);
}

void apart_close(struct apart *a)
{
    if (!a)
        return;
    end(a, false);
    close(a->fd);
    munmap(a->map, a->map_size);
    spawner_leave();
    free(a);
}

void apart_say_end(const struct apart *a, char *text, size_t room)
{
    if (a->hung)
        snprintf(text, room, "did not go on for %.3g s (limit_time) and was killed",
                 (double)a->options.limit_us / 1e6);
    else if (WIFSIGNALED(a->status))
        snprintf(text, room, "was killed by signal %d (%s)", WTERMSIG(a->status),
                 strsignal(WTERMSIG(a->status)));
    else
        snprintf(text, room, "exited with status %d", WEXITSTATUS(a->status));
}

/* ---- The server's end -------------------------------------------------------------------------- */

/* Takes the bytes that were sent to wake us. False: the other end is closed. */
static bool drain(struct apart *a)
{
    char bytes[64];
    ssize_t n = recv(a->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

bool apart_has_ended(struct apart *a)
{
    if (!a->ended && !drain(a))
        end(a, false);
    return a->ended;
}

/* Has it gone on, in whatever it does, within the limit? Otherwise it is ended. */
static bool goes_on(struct apart *a)
{
    const uint64_t now[3] = {atomic_load(&a->shared->commands.tail),
                             atomic_load(&a->shared->answers.head),
                             atomic_load(&a->shared->steps)};
    int64_t now_us = clock_monotonic_us();
    if (memcmp(now, a->seen, sizeof(now)) != 0) {
        memcpy(a->seen, now, sizeof(now));
        a->seen_us = now_us;
        return true;
    }
    if (now_us - a->seen_us < a->options.limit_us)
        return true;
    a->hung = true;
    end(a, true);
    return false;
}

static void wake(int fd)
{
    char byte = 0;
    ssize_t n = send(fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)n; /* where there is no room, there are bytes that wake it */
}

static void give_back_answers(struct apart *a)
{
    if (ring_give_back(&a->answers))
        wake(a->fd);
}

/* Sleeps until something has changed, or a moment. */
static int look(struct apart *a)
{
    struct pollfd fd = {.fd = a->fd, .events = POLLIN};
    if (poll(&fd, 1, LOOK_MS) > 0 && !drain(a))
        end(a, false);
    if (!a->ended && !goes_on(a))
        return -ECHILD;
    if (a->ended)
        return -ECHILD;
    return a->options.leaves && a->options.leaves(a->options.ctx) ? -ECANCELED : 0;
}

int apart_put(struct apart *a, const void *bytes, size_t size)
{
    const char *from = bytes;
    while (size && !a->ended) {
        size_t n = ring_room(&a->commands, size);
        n = n < size ? n : size;
        ring_write(&a->commands, from, n);
        from += n;
        size -= n;
        if (!size)
            break;
        int err = apart_send(a, true);
        give_back_answers(a);
        if (!err && ring_sleep_for_room(&a->commands))
            err = look(a);
        if (err)
            return err;
    }
    return a->ended ? -ECHILD : 0;
}

bool apart_has_room(struct apart *a, size_t size)
{
    return !a->ended && ring_room(&a->commands, size) >= size;
}

int apart_send(struct apart *a, bool now)
{
    if (a->ended)
        return -ECHILD;
    /* Otherwise it would be woken for every block, and for nothing by every call that waits. */
    if (!ring_has_written(&a->commands) ||
        (!now && ring_behind(&a->commands) < SEND_BYTES))
        return 0;
    if (atomic_load(&a->shared->commands.tail) ==
        atomic_load(&a->shared->commands.head))
        a->seen_us = clock_monotonic_us(); /* it had nothing to do */
    if (ring_publish(&a->commands))
        wake(a->fd);
    return 0;
}

int apart_get(struct apart *a, void *to, size_t size)
{
    char *at = to;
    int err = apart_send(a, true);
    while (!err && size) {
        size_t n = ring_ready(&a->answers, size);
        n = n < size ? n : size;
        if (n == 0) {
            give_back_answers(a);
            if (ring_sleep_for_bytes(&a->answers))
                err = look(a);
            continue;
        }
        ring_read(&a->answers, at, n);
        if (a->answers.at - a->answers.told >= GIVE_BYTES)
            give_back_answers(a);
        at += n;
        size -= n;
    }
    return err;
}

bool apart_is_behind(struct apart *a)
{
    return ring_behind(&a->commands) > APART_BEHIND && !apart_has_ended(a) &&
           goes_on(a);
}

/* ---- The process's end ------------------------------------------------------------------------- */

static int receive_files(int ret[2])
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control;
    char byte;
    struct iovec data = {.iov_base = &byte, .iov_len = 1};
    struct msghdr m = {.msg_iov = &data,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof(control.room)};
    if (recvmsg(CHILD_FD, &m, MSG_CMSG_CLOEXEC) != 1)
        return -1;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(2 * sizeof(int)))
        return -1;
    memcpy(ret, CMSG_DATA(c), 2 * sizeof(int));
    return 0;
}

int apart_attach(int argc, char **argv, struct apart_here *ret)
{
    int files[2];
    size_t size = HEAD_BYTES + APART_COMMANDS + APART_ANSWERS;
    *ret = (struct apart_here){0};
    if (argc != 4 || strcmp(argv[3], PACKAGE_VERSION) != 0 || limits_begin(CHILD_FD) ||
        getppid() != (pid_t)strtol(argv[1], NULL, 10) || receive_files(files))
        return -1;
    ret->arena_size = strtoull(argv[2], NULL, 10);
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, files[0], 0);
    ret->arena =
        mmap(NULL, ret->arena_size, PROT_READ, MAP_SHARED | MAP_NORESERVE, files[1], 0);
    close(files[0]);
    close(files[1]);
    if (map == MAP_FAILED || ret->arena == MAP_FAILED)
        return -1;
    ret->shared = map;
    set_rings(map, ret->shared, &ret->commands, &ret->answers);
    return 0;
}

static void wake_server(void)
{
    char byte = 0;
    ssize_t n = write(CHILD_FD, &byte, 1);
    (void)n;
}

static void give_back(struct apart_here *h)
{
    h->taken = 0;
    if (ring_give_back(&h->commands))
        wake_server();
}

static void publish(struct apart_here *h)
{
    if (ring_publish(&h->answers))
        wake_server();
}

/* CPU time is written down where there is time for it. */
static void note_cpu(struct apart_here *h)
{
    struct timespec t;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0)
        atomic_store_explicit(&h->shared->cpu_ns,
                              (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec,
                              memory_order_relaxed);
}

void apart_take(struct apart_here *h, void *to, size_t size, void (*over)(void *ctx),
                void *ctx)
{
    char *at = to;
    while (size) {
        size_t n = ring_ready(&h->commands, size);
        n = n < size ? n : size;
        if (n == 0) {
            char bytes[64];
            give_back(h);
            publish(h);
            note_cpu(h);
            if (ring_sleep_for_bytes(&h->commands) &&
                read(CHILD_FD, bytes, sizeof(bytes)) <= 0 && errno != EINTR) {
                over(ctx);
                _exit(EXIT_SUCCESS);
            }
            continue;
        }
        ring_read(&h->commands, at, n);
        h->taken += n;
        at += n;
        size -= n;
        if (h->taken >= GIVE_BYTES)
            give_back(h);
    }
}

void apart_answer(struct apart_here *h, const void *bytes, size_t size)
{
    const char *from = bytes;
    while (size) {
        size_t n = ring_room(&h->answers, size);
        n = n < size ? n : size;
        ring_write(&h->answers, from, n);
        from += n;
        size -= n;
        if (!size)
            break;
        give_back(h);
        publish(h);
        char byte[64];
        if (ring_sleep_for_room(&h->answers) &&
            read(CHILD_FD, byte, sizeof(byte)) <= 0 && errno != EINTR)
            _exit(EXIT_SUCCESS);
    }
}

void apart_answer_send(struct apart_here *h)
{
    give_back(h);
    ring_show(&h->answers);
    if (ring_behind(&h->answers) >= SEND_BYTES || !ring_ready(&h->commands, 1))
        publish(h);
}

void apart_give_up(struct apart_here *h, const char *why)
{
    size_t n = strnlen(why, sizeof(h->shared->why) - 1);
    memcpy(h->shared->why, why, n);
    h->shared->why[n] = 0;
    atomic_store_explicit(&h->shared->gave_up, 1, memory_order_release);
    _exit(EXIT_FAILURE);
}
