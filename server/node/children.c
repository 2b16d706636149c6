/* SPDX-License-Identifier: Apache-2.0 */
#include "node/children.h"

#include "base/clock.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_LEAST_US (SECOND_US / 10)
#define WAIT_MOST_US  (30 * SECOND_US)
#define END_US        (90 * SECOND_US) /* a server itself gives up after a minute at most */

/* ---- What they say ------------------------------------------------------------------------------ */

/* The kernel gives the socket a name that nobody else has, and says which process a message is from. */
static int open_socket(struct children *c)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t size = offsetof(struct sockaddr_un, sun_path);
    const int on = 1;
    c->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->notify < 0 ||
        setsockopt(c->notify, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) ||
        bind(c->notify, (const struct sockaddr *)(const void *)&name, size))
        return -errno;
    size = sizeof(name);
    if (getsockname(c->notify, (struct sockaddr *)(void *)&name, &size))
        return -errno;
    snprintf(c->notify_name, sizeof(c->notify_name), "NOTIFY_SOCKET=@%.*s",
             (int)(size - offsetof(struct sockaddr_un, sun_path) - 1),
             name.sun_path + 1);
    return 0;
}

static pid_t receive(int fd, char *text, size_t room)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct iovec data = {.iov_base = text, .iov_len = room - 1};
    struct msghdr m = {.msg_iov = &data,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof(control.room)};
    ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    struct cmsghdr *c = n >= 0 ? CMSG_FIRSTHDR(&m) : NULL;
    struct ucred who;
    if (n < 0)
        return -1;
    text[n] = 0;
    if (!c || c->cmsg_type != SCM_CREDENTIALS)
        return 0;
    memcpy(&who, CMSG_DATA(c), sizeof(who));
    return who.pid;
}

/* "STATUS=listening on http://127.0.0.1:9001" */
static void take_address(struct child *c, const char *text)
{
    static const char word[] = "listening on ";
    const char *at = strstr(text, word);
    const size_t size = at ? strcspn(at + sizeof(word) - 1, "\n") : 0;
    snprintf(c->address, sizeof(c->address), "%.*s", (int)size,
             at ? at + sizeof(word) - 1 : "");
}

/* "X_WEIR_LAG=12\nX_WEIR_PROBLEM=text\n" */
static bool take_state(struct child *c, const char *text)
{
    static const char word[] = "X_WEIR_PROBLEM=";
    char *end;
    const int64_t lag = strtoll(text, &end, 10);
    const char *problem = *end == '\n' ? end + 1 : "";
    problem =
        strncmp(problem, word, sizeof(word) - 1) ? "" : problem + sizeof(word) - 1;
    struct child was = *c;
    c->lag = lag;
    snprintf(c->problem, sizeof(c->problem), "%.*s", (int)strcspn(problem, "\n"),
             problem);
    /* It goes to PostgreSQL, and may have been cut anywhere. */
    for (char *p = c->problem; *p;) {
        const size_t n = utf8_length(p, strlen(p));
        if (!n)
            *p = '?';
        p += n ? n : 1;
    }
    return lag != was.lag || strcmp(c->problem, was.problem) != 0;
}

static bool take_start_or_stop(struct child *c, const char *text)
{
    const bool ready = strncmp(text, "READY=1", 7) == 0,
               stops = strncmp(text, "STOPPING=1", 10) == 0;
    if ((!ready && !stops) || ready == c->ready)
        return false;
    c->ready = ready;
    c->lag = -1;
    c->problem[0] = 0;
    take_address(c, ready ? text : "");
    return true;
}

bool children_listen(struct children *c, unsigned *ret_shard)
{
    static const char state[] = "X_WEIR_LAG=";
    char text[1025];
    for (pid_t pid; (pid = receive(c->notify, text, sizeof(text))) >= 0;) {
        unsigned i = 0;
        while (i < c->options.nodes->shards && (!pid || c->child[i].pid != pid))
            i++;
        if (i == c->options.nodes->shards)
            continue;
        struct child *child = &c->child[i];
        *ret_shard = i;
        child->heard_us = clock_monotonic_us();
        if (strncmp(text, state, sizeof(state) - 1) == 0
                ? take_state(child, text + sizeof(state) - 1)
                : take_start_or_stop(child, text))
            return true;
    }
    return false;
}

/* ---- Start -------------------------------------------------------------------------------------- */

struct start {
    char *argv[12], **envp;
    char database[512], listen[160], shard[40];
    struct buffer partitions;
};

static bool is_ours(const char *variable)
{
    static const char *const name[] = {
        "WEIR_SHARD=", "WEIR_PARTITIONS=", "NOTIFY_SOCKET=", "WATCHDOG_USEC=",
        "WATCHDOG_PID="};
    for (size_t i = 0; i < sizeof(name) / sizeof(name[0]); i++)
        if (strncmp(variable, name[i], strlen(name[i])) == 0)
            return true;
    return false;
}

/* Before there is a process: it may allocate nothing. */
static int prepare(struct children *c, unsigned shard, struct start *s,
                   struct error *error)
{
    const struct config_nodes *nodes = c->options.nodes;
    char folder[400];
    size_t n = 0;
    if (snprintf(folder, sizeof(folder), "%s/%u", c->options.folder, shard) >=
        (int)sizeof(folder))
        return error_set(error, -ENAMETOOLONG, "'%s' is too long", c->options.folder);
    if (mkdir(folder, 0750) && errno != EEXIST)
        return error_set(error, -errno, "'%s': %s", folder, strerror(errno));
    snprintf(s->database, sizeof(s->database), "%s/weir.db", folder);
    const bool six = strchr(nodes->address, ':');
    snprintf(s->listen, sizeof(s->listen), "%s%s%s:%u", six ? "[" : "", nodes->address,
             six ? "]" : "", nodes->port ? nodes->port + 1 + shard : 0);
    snprintf(s->shard, sizeof(s->shard), "WEIR_SHARD=%u", shard);
    buffer_puts(&s->partitions, "WEIR_PARTITIONS=");
    config_put_partitions(nodes, shard, &s->partitions);
    buffer_putc(&s->partitions, 0);
    while (environ[n])
        n++;
    s->envp = calloc(n + 4, sizeof(*s->envp));
    if (!s->envp || s->partitions.error)
        return error_set(error, -ENOMEM, "out of memory");
    size_t to = 0;
    for (size_t i = 0; i < n; i++)
        if (!is_ours(environ[i]))
            s->envp[to++] = environ[i];
    s->envp[to++] = s->shard;
    s->envp[to++] = s->partitions.data;
    s->envp[to++] = c->notify_name;
    char *const argv[] = {
        "weir",      "serve", "-c",      (char *)(uintptr_t)c->options.path, "-d",
        s->database, "-l",    s->listen, c->options.verbose ? "-v" : NULL,   NULL};
    memcpy(s->argv, argv, sizeof(argv));
    return 0;
}

/* In the new process, beside threads that are no more: system calls only. A group of its own: what a terminal sends goes to the
 * node, which ends it in order. */
static _Noreturn void become(const struct start *s, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it has ended meanwhile, and nobody would tell */
        _exit(EXIT_FAILURE);
    const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null > 0)
        dup2(null, 0);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve("/proc/self/exe", s->argv, s->envp);
    _exit(EXIT_FAILURE);
}

int children_start(struct children *c, unsigned shard, struct error *error)
{
    struct child *child = &c->child[shard];
    struct start s = {.envp = NULL};
    int err = prepare(c, shard, &s, error);
    if (!err) {
        const pid_t parent = getpid(), pid = fork();
        if (pid == 0)
            become(&s, parent);
        if (pid < 0)
            err = error_set(error, -errno, "no process can be started: %s",
                            strerror(errno));
        else
            *child = (struct child){.pid = pid,
                                    .started_us = clock_monotonic_us(),
                                    .wait_us = child->wait_us,
                                    .kill_us = INT64_MAX,
                                    .lag = -1};
    }
    free(s.envp);
    buffer_free(&s.partitions);
    return err;
}

/* ---- End ---------------------------------------------------------------------------------------- */

void children_end(struct children *c, unsigned shard)
{
    struct child *child = &c->child[shard];
    if (!child->pid || child->term || child->killed)
        return;
    child->term = true;
    child->kill_us = clock_monotonic_us() + END_US;
    kill(child->pid, SIGTERM);
}

/* One that is stopped by a signal, too. */
void children_kill(struct children *c, unsigned shard)
{
    struct child *child = &c->child[shard];
    if (!child->pid || child->killed)
        return;
    child->killed = true;
    child->kill_us = INT64_MAX;
    kill(child->pid, SIGKILL);
}

void children_signal(struct children *c, int signal)
{
    for (unsigned i = 0; i < c->options.nodes->shards; i++)
        if (c->child[i].pid && !c->child[i].term && !c->child[i].killed)
            kill(c->child[i].pid, signal);
}

bool children_reap(struct children *c, unsigned *ret_shard, int *ret_status)
{
    for (unsigned i = 0; i < c->options.nodes->shards; i++) {
        struct child *child = &c->child[i];
        if (!child->pid || waitpid(child->pid, ret_status, WNOHANG) != child->pid)
            continue;
        child->pid = 0;
        child->ready = false;
        child->address[0] = child->problem[0] = 0;
        child->lag = -1;
        child->kill_us = INT64_MAX;
        *ret_shard = i;
        return true;
    }
    return false;
}

void children_wait(struct child *c, int64_t now_us)
{
    if (now_us - c->started_us > WAIT_MOST_US)
        c->wait_us = 0;
    c->wait_us = c->wait_us ? 2 * c->wait_us : WAIT_LEAST_US;
    if (c->wait_us > WAIT_MOST_US)
        c->wait_us = WAIT_MOST_US;
    c->next_us = now_us + c->wait_us;
}

void children_say_end(int status, char *text, size_t room)
{
    if (WIFSIGNALED(status))
        snprintf(text, room, "was killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(text, room, "ended with status %d", WEXITSTATUS(status));
}

bool children_quiet(struct children *c, int64_t now_us, int64_t quiet_us,
                    unsigned *ret_shard, int64_t *next_us)
{
    for (unsigned i = 0; i < c->options.nodes->shards; i++) {
        const struct child *child = &c->child[i];
        if (!child->pid || !child->ready || child->term || child->killed)
            continue;
        const int64_t until_us = child->heard_us + quiet_us;
        if (until_us <= now_us) {
            children_kill(c, i);
            *ret_shard = i;
            return true;
        }
        *next_us = until_us < *next_us ? until_us : *next_us;
    }
    return false;
}

void children_excuse(struct children *c, int64_t now_us)
{
    for (unsigned i = 0; i < c->options.nodes->shards; i++)
        c->child[i].heard_us = now_us;
}

int64_t children_overdue(struct children *c, int64_t now_us)
{
    int64_t next_us = INT64_MAX;
    for (unsigned i = 0; i < c->options.nodes->shards; i++) {
        if (!c->child[i].pid)
            continue;
        if (c->child[i].kill_us <= now_us)
            children_kill(c, i);
        next_us = c->child[i].kill_us < next_us ? c->child[i].kill_us : next_us;
    }
    return next_us;
}

/* A node that cannot write would take shards from others, and no server of it would start. */
static int try_folder(const char *folder, struct error *error)
{
    char path[512];
    if (mkdir(folder, 0750) && errno != EEXIST)
        return error_set(error, -errno, "'%s': %s", folder, strerror(errno));
    snprintf(path, sizeof(path), "%s/.tried-%ld", folder, (long)getpid());
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const int err = fd < 0 || write(fd, "", 1) != 1 ? -errno : 0;
    if (fd >= 0) {
        close(fd);
        unlink(path);
    }
    return err ? error_set(error, err, "nothing can be written in '%s': %s", folder,
                           strerror(-err))
               : 0;
}

/* ---- All of them -------------------------------------------------------------------------------- */

int children_new(const struct children_options *options, struct children *ret,
                 struct error *error)
{
    *ret = (struct children){.options = *options, .notify = -1};
    ret->child = calloc(options->nodes->shards, sizeof(*ret->child));
    int err = ret->child ? open_socket(ret) : -ENOMEM;
    if (err)
        error_set(error, err, "no socket for what servers say: %s", strerror(-err));
    else
        err = try_folder(options->folder, error);
    if (err)
        children_free(ret);
    return err;
}

void children_free(struct children *c)
{
    for (unsigned i = 0; c->child && i < c->options.nodes->shards; i++) {
        children_kill(c, i);
        if (c->child[i].pid)
            waitpid(c->child[i].pid, NULL, 0);
    }
    free(c->child);
    if (c->notify >= 0)
        close(c->notify);
    *c = (struct children){.notify = -1};
}
