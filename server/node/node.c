/* SPDX-License-Identifier: Apache-2.0
 *
 * The main thread: servers are started and ended by what the tenant has found, and all are killed before a session is over of which
 * nobody has heard.
 */
#include "base/clock.h"
#include "base/logger.h"
#include "base/notify.h"
#include "base/sha256.h"
#include "base/thread.h"
#include "node/internal.h"
#include "node/pages.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define STARTS  8 /* of servers in one go: the tenant waits for the lock meanwhile */
#define AWAY_US (8 * SECOND_US) /* without a turn */
/* That a server may say nothing, which a busy machine does not explain. */
#define QUIET_US (20 * SECOND_US)
#define SOON_US  1000              /* the next ones */
#define FILE_MAX ((size_t)2 << 20) /* more than a configuration may have */

void node_wake(int fd)
{
    const uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof(one));
    (void)n; /* it is readable already */
}

/* ---- Servers ------------------------------------------------------------------------------------ */

/* `lock`. */
static void start_server(struct weir_node *n, unsigned i, int64_t now_us)
{
    struct child *c = &n->children.child[i];
    struct error error = {""};
    if (children_start(&n->children, i, &error)) {
        c->started_us = now_us;
        children_wait(c, now_us);
        logger_error("node", "shard %u: no server: %s; tried again in %.3g s", i,
                     error.text, (double)c->wait_us / 1e6);
        return;
    }
    n->shard[i].runs = true;
    logger_info("node", "shard %u: its server is process %d", i, (int)c->pid);
}

/* `lock`. When it is to be looked at again. */
static int64_t step_shard(struct weir_node *n, unsigned i, int64_t now_us,
                          unsigned *starts)
{
    const struct node_shard *s = &n->shard[i];
    const struct child *c = &n->children.child[i];
    if (c->pid && s->hold == NODE_NOT_OURS)
        children_kill(&n->children, i);
    else if (c->pid && (s->hold == NODE_GIVING || s->hold == NODE_KEEPING))
        children_end(&n->children, i);
    if (c->pid || s->hold != NODE_HELD || n->looks < s->look)
        return INT64_MAX;
    if (c->next_us <= now_us && ++*starts > STARTS)
        return now_us + SOON_US;
    if (c->next_us <= now_us)
        start_server(n, i, now_us);
    return c->pid ? INT64_MAX : c->next_us;
}

/* `lock`. */
static void has_ended(struct weir_node *n, unsigned i, int status, int64_t now_us)
{
    struct child *c = &n->children.child[i];
    struct node_shard *s = &n->shard[i];
    char text[80];
    children_say_end(status, text, sizeof(text));
    s->runs = s->ready = s->well = false;
    s->note = true;
    s->news.address[0] = s->news.problem[0] = 0;
    s->news.lag = -1;
    if (c->killed || c->term) {
        c->next_us = c->wait_us = 0;
        if (c->term && status)
            logger_warn("node", "shard %u: its server %s", i, text);
        return;
    }
    children_wait(c, now_us);
    s->look = n->looks + 1; /* it may be another's by now */
    metric_add(&n->restarts, 1);
    if (WIFEXITED(status) && WEXITSTATUS(status) == n->options->superseded) {
        metric_add(&n->fenced, 1);
        logger_warn("node",
                    "shard %u: its server was superseded by another one; it is looked "
                    "whose the shard is",
                    i);
        return;
    }
    logger_warn("node", "shard %u: its server %s; it is started again in %.3g s", i,
                text, (double)c->wait_us / 1e6);
}

/* `lock`. */
static void say_state(struct node_shard *s, unsigned i, const struct child *c)
{
    if (c->ready && !s->ready)
        logger_info("node", "shard %u: listens at %s", i, c->address);
    if (c->lag < 0 || (s->well && !strcmp(c->problem, s->news.problem)))
        return;
    if (!c->problem[0])
        logger_info("node", "shard %u: ready", i);
    else if (s->well)
        logger_warn("node", "shard %u: its server is not ready: %s", i, c->problem);
    else if (strcmp(c->problem, s->news.problem) != 0)
        logger_info("node", "shard %u: not ready yet: %s", i, c->problem);
    s->well = s->well || !c->problem[0];
}

/* `lock`. Of a lag others hear in time; of the rest at once. */
static void hear(struct weir_node *n, unsigned i, const struct child *c)
{
    struct node_shard *s = &n->shard[i];
    say_state(s, i, c);
    s->differs = true;
    if (s->ready != c->ready || (s->news.lag < 0) != (c->lag < 0) ||
        strcmp(s->news.problem, c->problem) != 0) {
        s->note = true;
        node_wake(n->wake_tenant);
    }
    s->ready = c->ready;
    s->news.lag = c->lag;
    snprintf(s->news.address, sizeof(s->news.address), "%s", c->address);
    snprintf(s->news.problem, sizeof(s->news.problem), "%s", c->problem);
}

/* `lock`. When to look again. */
static int64_t end_quiet(struct weir_node *n, int64_t now_us)
{
    int64_t next_us = INT64_MAX;
    for (unsigned i; children_quiet(&n->children, now_us, QUIET_US, &i, &next_us);) {
        metric_add(&n->restarts, 1);
        logger_error("node",
                     "shard %u: its server has said nothing for %.3g s: it is killed, "
                     "and started again",
                     i, (double)QUIET_US / 1e6);
    }
    /* Who looks rarely cannot say whether it was stopped itself. */
    return next_us < now_us + SECOND_US || next_us == INT64_MAX ? next_us
                                                                : now_us + SECOND_US;
}

/* `lock`. */
static void reap(struct weir_node *n, int64_t now_us)
{
    unsigned i;
    int status;
    while (children_reap(&n->children, &i, &status)) {
        has_ended(n, i, status, now_us);
        node_wake(n->wake_tenant);
    }
    while (children_listen(&n->children, &i)) {
        hear(n, i, &n->children.child[i]);
    }
}

/* ---- The session -------------------------------------------------------------------------------- */

/* `lock`. A tenth of it before its end. */
static int64_t last_moment(const struct weir_node *n)
{
    return n->valid_until_us == INT64_MIN
               ? INT64_MAX
               : n->valid_until_us - n->config->session_us / 10;
}

/* `lock`. Others may take what is ours any moment. */
static void end_session(struct weir_node *n)
{
    unsigned running = 0;
    for (unsigned i = 0; i < n->config->shards; i++) {
        running += n->shard[i].runs;
        n->shard[i].hold = NODE_NOT_OURS;
    }
    n->valid_until_us = INT64_MIN;
    logger_warn("node",
                "the session is over, PostgreSQL was not told in time: %u servers are "
                "killed, and started again once it has answered",
                running);
}

/* `lock`. */
static void stop_all(struct weir_node *n, bool restarts)
{
    n->stopping = true;
    n->keeps = restarts;
    for (unsigned i = 0; i < n->config->shards; i++)
        if (n->shard[i].hold == NODE_HELD)
            n->shard[i].hold = restarts ? NODE_KEEPING : NODE_GIVING;
    node_wake(n->wake_tenant);
}

/* `lock`. Until PostgreSQL knows, or it has had a session to answer. */
static bool has_stopped(const struct weir_node *n, int64_t *ret_until_us,
                        int64_t now_us)
{
    for (unsigned i = 0; i < n->config->shards; i++)
        if (n->shard[i].runs)
            return false;
    if (*ret_until_us == INT64_MAX)
        *ret_until_us = now_us + n->config->session_us;
    return n->left || now_us >= *ret_until_us;
}

/* ---- The loop ----------------------------------------------------------------------------------- */

struct loop {
    struct weir_node *n;
    int signals;      /* a signalfd */
    int64_t until_us; /* of the stop */
    int64_t stepped_us;
};

/* `lock`. */
static int64_t step(struct loop *l, int64_t now_us)
{
    struct weir_node *n = l->n;
    if (now_us > l->stepped_us + AWAY_US) /* it was stopped, perhaps */
        children_excuse(&n->children, now_us);
    l->stepped_us = now_us;
    reap(n, now_us);
    if (now_us >= last_moment(n))
        end_session(n);
    int64_t next_us = end_quiet(n, now_us);
    next_us = last_moment(n) < next_us ? last_moment(n) : next_us;
    unsigned starts = 0;
    for (unsigned i = 0; i < n->config->shards; i++) {
        const int64_t us = step_shard(n, i, now_us, &starts);
        next_us = us < next_us ? us : next_us;
    }
    const int64_t overdue_us = children_overdue(&n->children, now_us);
    next_us = overdue_us < next_us ? overdue_us : next_us;
    return next_us;
}

/* Whether two have the same configuration is seen by it. */
static void define(struct weir_node *n)
{
    struct buffer text = {.limit = FILE_MAX};
    char piece[4096];
    uint8_t digest[SHA256_SIZE];
    FILE *f = fopen(n->options->path, "re");
    for (size_t size; f && (size = fread(piece, 1, sizeof(piece), f)) > 0;)
        buffer_put(&text, piece, size);
    if (f)
        fclose(f);
    sha256(buffer_text(&text), text.size, digest);
    buffer_free(&text);
    pthread_mutex_lock(&n->lock);
    for (size_t i = 0; i < sizeof(n->definition) / 2; i++)
        snprintf(n->definition + 2 * i, 3, "%02x", digest[i]);
    pthread_mutex_unlock(&n->lock);
}

/* A second one ends the process, and the servers with it. */
static void begin_stop(struct weir_node *n, unsigned signal)
{
    const bool restarts = signal == SIGUSR1;
    sigset_t both;
    sigemptyset(&both);
    sigaddset(&both, SIGTERM);
    sigaddset(&both, SIGINT);
    pthread_sigmask(SIG_UNBLOCK, &both, NULL);
    if (restarts)
        logger_info("node",
                    "signal %u: servers are stopped, their shards are kept for %.3g s "
                    "from then on, until this node comes again; SIGTERM stops at once",
                    signal, (double)n->config->restart_us / 1e6);
    else
        logger_info("node",
                    "signal %u: servers are stopped; a second one stops at once",
                    signal);
    notify_stopping(restarts
                        ? "stopping: servers end in order, shards are kept"
                        : "stopping: servers end in order, shards are given to others");
    pthread_mutex_lock(&n->lock);
    stop_all(n, restarts);
    pthread_mutex_unlock(&n->lock);
}

static void take_signal(struct loop *l)
{
    struct signalfd_siginfo s;
    while (read(l->signals, &s, sizeof(s)) == (ssize_t)sizeof(s)) {
        if (s.ssi_signo == SIGCHLD || l->n->stopping)
            continue;
        if (s.ssi_signo == SIGHUP) {
            define(l->n);
            pages_reload(l->n->pages);
            children_signal(&l->n->children, SIGHUP);
        } else {
            begin_stop(l->n, s.ssi_signo);
        }
    }
}

static void wait_for_something(struct loop *l, int64_t until_us)
{
    const int64_t alive_us = notify_alive_every_us(), now_us = clock_monotonic_us();
    int64_t left_us = until_us == INT64_MAX ? 3600 * SECOND_US : until_us - now_us;
    left_us = left_us < 0 ? 0 : left_us < alive_us ? left_us : alive_us;
    struct pollfd fds[] = {{.fd = l->signals, .events = POLLIN},
                           {.fd = l->n->children.notify, .events = POLLIN},
                           {.fd = l->n->wake_main, .events = POLLIN}};
    uint64_t count;
    poll(fds, 3, (int)(left_us / 1000) + (left_us % 1000 != 0));
    if ((fds[2].revents & POLLIN) && read(l->n->wake_main, &count, sizeof(count)) < 0)
        return;
    notify_alive();
}

static void run_loop(struct loop *l)
{
    struct weir_node *n = l->n;
    for (bool over = false; !over;) {
        pthread_mutex_lock(&n->lock);
        const int64_t now_us = clock_monotonic_us();
        int64_t next_us = step(l, now_us);
        over = n->end != NODE_STOPPED ||
               (n->stopping && has_stopped(n, &l->until_us, now_us));
        next_us = l->until_us < next_us ? l->until_us : next_us;
        pthread_mutex_unlock(&n->lock);
        if (!over)
            wait_for_something(l, next_us);
        take_signal(l);
    }
}

/* ---- Start and end ------------------------------------------------------------------------------ */

static int open_all(struct weir_node *n, struct loop *l, struct error *error)
{
    const struct node_options *o = n->options;
    const struct children_options children = {.nodes = n->config,
                                              .path = o->path,
                                              .folder = o->folder,
                                              .verbose = o->verbose};
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGCHLD);
    n->shard = calloc(n->config->shards, sizeof(*n->shard));
    for (unsigned i = 0; n->shard && i < n->config->shards; i++)
        n->shard[i].news = (struct leases_news){.shard = i, .lag = -1};
    n->wake_main = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    n->wake_tenant = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (!n->shard || n->wake_main < 0 || n->wake_tenant < 0 || l->signals < 0)
        return error_set(error, -ENOMEM, "out of memory, or of file descriptors");
    int err = children_new(&children, &n->children, error);
    if (!err)
        err = leases_init(&n->leases, o->config, o->name, error);
    if (!err && metrics_new(&n->metrics))
        err = error_set(error, -ENOMEM, "out of memory");
    if (!err)
        err = pages_new(n, &n->pages, error);
    if (err)
        return err;
    define(n);
    n->leases.address = n->address;
    err = thread_start(&n->tenant, "weir-leases", tenant_run, n);
    n->tenant_runs = !err;
    return err ? error_set(error, err, "cannot start a thread: %s", strerror(-err)) : 0;
}

static void close_all(struct weir_node *n, struct loop *l)
{
    children_free(&n->children);
    pthread_mutex_lock(&n->lock);
    n->over = true;
    pthread_mutex_unlock(&n->lock);
    if (n->wake_tenant >= 0)
        node_wake(n->wake_tenant);
    if (n->tenant_runs)
        pthread_join(n->tenant, NULL);
    pages_free(n->pages);
    metrics_free(n->metrics);
    leases_free(&n->leases);
    leases_view_free(&n->view);
    free(n->shard);
    const int fds[] = {n->wake_main, n->wake_tenant, l->signals};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    pthread_mutex_destroy(&n->lock);
}

enum node_end node_run(const struct node_options *options, struct error *error)
{
    struct weir_node n = {.options = options,
                          .config = &options->config->nodes,
                          .children = {.notify = -1},
                          .wake_main = -1,
                          .wake_tenant = -1,
                          .valid_until_us = INT64_MIN};
    struct loop l = {.n = &n, .signals = -1, .until_us = INT64_MAX};
    pthread_mutex_init(&n.lock, NULL);
    enum node_end end = NODE_NO_START;
    if (!open_all(&n, &l, error)) {
        logger_info("node", "'%s', listening on %s; %u shards of %u partitions",
                    options->name, n.address, n.config->shards, n.config->partitions);
        notify_ready(n.address);
        run_loop(&l);
        end = n.end;
        *error = n.why;
    }
    close_all(&n, &l);
    return end;
}
