/* SPDX-License-Identifier: Apache-2.0
 *
 * weir serve: the server, from start to the signal that ends it.
 */
#include "config.h"

#include "access/access.h"
#include "api/api.h"
#include "base/clock.h"
#include "base/doing.h"
#include "base/logger.h"
#include "base/notify.h"
#include "base/self.h"
#include "base/thread.h"
#include "cmd.h"
#include "config/faults.h"
#include "control.h"
#include "copies.h"
#include "descriptors.h"
#include "http/http.h"
#include "query/process.h"
#include "reload.h"
#include "restart.h"
#include "runs.h"
#include "source/source.h"
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWER 3 /* all of it takes several times as long */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOWER 3
#endif
#endif
#ifndef SLOWER
#define SLOWER 1
#endif

/* After SIGTERM: for requests under way; until pipelines leave what they have not read to the journal; and until the
 * process ends, whatever still holds it up. */
#define DRAIN_US         (10 * SECOND_US)
#define LEAVE_US         (16 * SLOWER * SECOND_US)
#define STOP_US          (20 * SLOWER * SECOND_US)
#define RESTART_LOOK_US  10000     /* while a restart is due in a moment */
#define WITHOUT_MAX      100       /* of pipelines by --without */
#define TELL_US          SECOND_US /* how often a node is told how this server is */
#define TELL_SOON_US     (SECOND_US / 10) /* until it is ready */
#define HTTP_IDLE_US     (60 * SECOND_US)
#define TELL_AGAIN_US    (2 * SECOND_US)   /* though nothing has changed */
#define SAID_MAX         ((size_t)1 << 20) /* of what a reload says, for weir reload */
#define QUERIES_A_THREAD 16 /* running and waiting; more are answered 503 */

static const char help[] =
    "Usage: weir serve [-c FILE]\n\n"
    "Takes events by HTTP, runs the pipelines, writes results "
    "to the database and answers queries,\n"
    "until SIGTERM or SIGINT. Messages go to standard error.\n\n"
    "  -c, --config FILE    the configuration, weir.yaml(5)\n"
    "  -l, --listen ADDR    address and port, instead of the "
    "configured ones (port 0: any)\n"
    "  -d, --database FILE  instead of the configured one\n"
    "      --without NAME   go on without this pipeline; it keeps its place in the "
    "journal\n"
    "      --skip-damaged   go on where a journal cannot be "
    "read; what is lost is logged\n"
    "  -v, --verbose        debug messages, too\n"
    "  -h, --help           this text\n\n"
    "Exit status: 0 stopped by a signal, 78 bad configuration, "
    "69 address in use or too few open files allowed, 73 or 74 database,\n"
    "74 also a damaged journal, 75 another server has taken the shard ('copy').\n";

/* What came of the last SIGHUP. */
struct outcome {
    pthread_mutex_t lock; /* protects all but the atomics */
    struct api_reload last;
    pthread_cond_t changed;
    uint64_t begun, ended; /* reloads, one after the other */
    bool over;             /* no more will end */
    int status;            /* of the last that ended, for weir reload */
    struct buffer
        said; /* likewise: its messages, control.h; of the reload's thread while one is under way */
    _Atomic uint64_t successful, success_us; /* the same for /metrics; relaxed */
};

enum reload_state {
    RELOAD_ENDED,
    RELOAD_RUNS,
    RELOAD_AGAIN /* another signal has come: the file may have been read before it was changed */
};

#define WANTS_FILE    1u /* SIGHUP: the configuration is to be read again */
#define WANTS_RESTART 2u /* SIGUSR1: a pipeline has crashed */

struct server {
    struct weir *weir;
    struct outcome outcome;
    struct access *access; /* NULL: nobody needs a token */
    struct http_server *http;
    struct control *control;
    struct runs *runs;
    char listening[320]; /* for people: where */
    struct source_post *post;
    _Atomic(struct source_pulls *) pulls; /* release, acquire */
    struct reader_pool *readers;
    struct query_pool *queries;
    struct api *api;
    char *backups;              /* folder */
    _Atomic bool draining;      /* set once; for /ready */
    _Atomic(const char *) step; /* of the stop; relaxed, for people */
    struct reload {
        const char *path;
        pthread_t thread;
        bool started;
        _Atomic int state;      /* enum reload_state */
        _Atomic unsigned wants; /* WANTS_FILE, ...: since it was looked at last */
    } reload;
    struct {
        pthread_t thread;
        bool started;
        pthread_mutex_t lock; /* protects `over` */
        pthread_cond_t changed;
        bool over;
        int64_t until_us;
    } watch;
};

static int listen_exit_code(int r)
{
    if (r == -EKEYREJECTED || r == -ENOTSUP) /* of TLS */
        return EXIT_CONFIG;
    return r == -EADDRINUSE || r == -EADDRNOTAVAIL || r == -EACCES ? EXIT_UNAVAILABLE
                                                                   : EXIT_FAILURE;
}

static int open_access(struct server *s, int *ret_exit, struct error *error)
{
    const char *path = s->weir->config->server.tokens;
    int r = path ? access_new(path, s->weir->metrics, &s->access, error) : 0;
    *ret_exit = r < 0 ? EXIT_CONFIG : 0;
    if (r == 0 && path && access_count(s->access) == 0)
        logger_warn("serve", "there is no token in '%s': nobody may do anything", path);
    return r;
}

static int open_http(struct server *s, int *ret_exit, struct error *error)
{
    const struct config_server *c = &s->weir->config->server;
    unsigned connections;
    int r = descriptors_budget(s->weir->config, &connections, error);
    *ret_exit = EXIT_UNAVAILABLE;
    if (r < 0)
        return r;
    const struct http_options options = {
        .address = c->address,
        .port = c->port,
        .epoll_threads = c->http_threads,
        .max_connections = connections,
        .query_threads = c->query_threads,
        .max_queries = c->query_threads * QUERIES_A_THREAD,
        .slow_threads = c->sql_processes,
        .max_slow = c->sql_processes * QUERIES_A_THREAD,
        .max_spooled = c->spool_limit,
        .idle_timeout_us = HTTP_IDLE_US,
        .hosts = (const char *const *)c->hosts,
        .origins = (const char *const *)c->origins,
        .socket = c->socket,
        .socket_mode = c->socket_mode,
        .socket_group = c->socket_group,
        .access = s->access,
        .audit = c->audit << ACCESS_POST,
        .tls = {.certificate = c->tls.certificate,
                .key = c->tls.key,
                .client_ca = c->tls.client_ca},
        .proxies = c->proxies,
        .n_proxies = c->n_proxies};
    r = http_new(&options, s->weir->metrics, &s->http, error);
    *ret_exit = r < 0 ? listen_exit_code(r) : 0;
    return r;
}

/* For /ready, which looks at the pipelines itself. */
static bool is_ready(void *ctx, struct error *why)
{
    struct server *s = ctx;
    if (!s->draining)
        return weir_can_take(s->weir, why) &&
               !source_pulls_failed(
                   atomic_load_explicit(&s->pulls, memory_order_acquire), why);
    error_set(why, 0, "the server is stopping");
    return false;
}

static void last_reload(void *ctx, struct api_reload *ret)
{
    struct outcome *o = ctx;
    pthread_mutex_lock(&o->lock);
    *ret = o->last;
    pthread_mutex_unlock(&o->lock);
}

/* With r >= 0 the configuration that was read is in force; otherwise faults or `error` say why not. */
static void set_outcome(struct outcome *o, int r, const struct faults *f,
                        const struct error *error)
{
    int64_t now_us = clock_now_us();
    pthread_mutex_lock(&o->lock);
    o->last.tried_us = now_us;
    o->last.successful = r >= 0;
    o->last.n = r >= 0 ? 0 : f->n ? f->n : 1;
    for (size_t i = 0; i < o->last.n; i++)
        o->last.fault[i] = f->n ? f->fault[i] : *error;
    if (r >= 0)
        o->last.loaded_us = now_us;
    pthread_mutex_unlock(&o->lock);
    atomic_store_explicit(&o->successful, r >= 0, memory_order_relaxed);
    if (r >= 0)
        atomic_store_explicit(&o->success_us, (uint64_t)now_us, memory_order_relaxed);
}

/* That of the start counts as a success, as with Prometheus. */
static int count_outcome(struct outcome *o, struct metrics *m)
{
    int64_t now_us = clock_now_us();
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->changed, NULL);
    o->said.limit = SAID_MAX;
    o->last = (struct api_reload){.loaded_us = now_us, .tried_us = INT64_MIN};
    o->successful = 1;
    o->success_us = (uint64_t)now_us;
    int r =
        metrics_add(m, METRIC_GAUGE, "weir_config_last_reload_successful",
                    "1 if the configuration that was read last is in force, else 0.",
                    "", &o->successful, 1);
    return r < 0 ? r
                 : metrics_add(m, METRIC_GAUGE,
                               "weir_config_last_reload_success_timestamp_seconds",
                               "When the configuration in force was read.", "",
                               &o->success_us, 1e-6);
}

/* DATABASE.backups, unless the configuration says where. */
static int find_backups(struct server *s)
{
    const char *configured = s->weir->config->server.backups;
    if (configured)
        s->backups = strdup(configured);
    else if (asprintf(&s->backups, "%s.backups", store_path(s->weir->store)) < 0)
        s->backups = NULL;
    return s->backups ? 0 : -ENOMEM;
}

static int open_api(struct server *s, const char *database, struct error *error)
{
    struct weir *w = s->weir;
    const struct config_server *c = &w->config->server;
    int r = reader_pool_new(database ? database : c->database, c->query_threads,
                            &s->readers);
    const struct query_options queries = {.database = database ? database : c->database,
                                          .memory = c->sql_memory,
                                          .temp = c->sql_temp};
    if (r == 0)
        r = query_pool_new(&queries, w->metrics, &s->queries);
    if (r == 0)
        r = find_backups(s);
    if (r == 0)
        r = count_outcome(&s->outcome, w->metrics);
    if (r == 0)
        r = self_count(w->metrics, PACKAGE_VERSION, sqlite3_libversion());
    if (r < 0)
        return error_set(error, r, "no memory");
    const struct api_context context = {.config = w->config,
                                        .readers = s->readers,
                                        .queries = s->queries,
                                        .store = w->store,
                                        .journal = w->journal,
                                        .backups = s->backups,
                                        .metrics = w->metrics,
                                        .plugins = w->plugins,
                                        .running = w->running,
                                        .hooks = &w->hooks,
                                        .target = w->target,
                                        .stream = w->stream,
                                        .version = PACKAGE_VERSION,
                                        .ready = is_ready,
                                        .ready_ctx = s,
                                        .reload = last_reload,
                                        .reload_ctx = &s->outcome};
    return api_setup(s->http, &context, &s->api, error);
}

static int start(struct server *s, const char *database, int *ret_exit,
                 struct error *error)
{
    struct weir *w = s->weir;
    int r = open_access(s, ret_exit, error);
    if (r == 0) /* first: a second server finds out before it does harm */
        r = open_http(s, ret_exit, error);
    if (r == 0)
        r = copies_claim(w, database, ret_exit, error);
    if (r == 0)
        r = weir_open_store(w, database, ret_exit, error);
    if (r == 0)
        r = weir_start(w, WEIR_SERVE, ret_exit, error);
    if (r < 0)
        return r;
    *ret_exit = EXIT_FAILURE;
    r = source_post_new(w->stream, w->config->n_streams, s->http, &s->post, error);
    if (r == 0)
        r = source_post_count(s->post, w->metrics);
    if (r == 0)
        r = open_api(s, database, error);
    struct source_pulls *pulls = NULL;
    if (r == 0)
        r = source_pulls_new(w->stream, w->config->stream, w->config->n_streams,
                             w->metrics, &pulls, error);
    atomic_store_explicit(&s->pulls, pulls, memory_order_release);
    if (r == 0)
        r = http_start(s->http, error);
    return r < 0 ? r : source_pulls_start(pulls, error);
}

/* ---- SIGHUP ------------------------------------------------------------------------------------- */

static void reload_say(int err, const struct faults *faults, const struct error *error)
{
    for (size_t i = 1; err < 0 && i < faults->n; i++)
        logger_error("serve", "SIGHUP: %s", faults->fault[i].text);
    if (err < 0)
        logger_error("serve", "SIGHUP: %s; the configuration stays as it was",
                     faults->n ? faults->fault[0].text : error->text);
    else
        logger_info("serve", "SIGHUP: the configuration was read again");
}

/* Tokens and certificates do not wait for what else a configuration may lack: who is to be kept out is. */
static int access_again(struct server *s, struct error *error)
{
    struct error why = {""};
    int err = s->access ? access_reload(s->access, error) : 0;
    if (err < 0)
        logger_error("serve", "SIGHUP: %s; tokens stay as they were", error->text);
    else if (s->access)
        logger_info("serve", "SIGHUP: %zu tokens", access_count(s->access));
    int tls_err = http_reload(s->http, &why);
    if (tls_err < 0)
        logger_error("serve", "SIGHUP: %s; certificates stay as they were", why.text);
    else if (s->weir->config->server.tls.certificate)
        logger_info("serve", "SIGHUP: certificates were read again");
    if (tls_err < 0 && err >= 0)
        *error = why;
    return err < 0 ? err : tls_err;
}

/* What the thread says until reload_over is kept for who waits. */
static void reload_under_way(struct outcome *o)
{
    pthread_mutex_lock(&o->lock);
    o->begun++;
    buffer_clear(&o->said);
    pthread_mutex_unlock(&o->lock);
    logger_copy(&o->said);
    notify_reloading();
}

static bool has_error_line(struct buffer *said)
{
    static const char level[] = "error ";
    const char *text = buffer_text(said);
    return strncmp(text, level, sizeof(level) - 1) == 0 || strstr(text, "\nerror ");
}

static void reload_over(struct server *s, int err)
{
    struct outcome *o = &s->outcome;
    logger_copy(NULL);
    pthread_mutex_lock(&o->lock);
    o->ended = o->begun;
    if (err == -EAGAIN) /* of the journal something is still to be read */
        o->status = EXIT_UNAVAILABLE;
    else if (err < 0)
        o->status = EXIT_CONFIG;
    else if (o->said.error || has_error_line(&o->said))
        o->status = EXIT_FAILURE;
    else
        o->status = EXIT_SUCCESS;
    pthread_cond_broadcast(&o->changed);
    pthread_mutex_unlock(&o->lock);
    if (!s->draining)
        notify_ready(s->listening);
}

/* For weir reload, on the thread of control. One that is under way may have read the file before it was changed: the next
 * is waited for. */
static void ask_reload(void *server, struct buffer *answer)
{
    struct outcome *o = &((struct server *)server)->outcome;
    pthread_mutex_lock(&o->lock);
    uint64_t wanted = o->begun + 1;
    pthread_mutex_unlock(&o->lock);
    kill(getpid(), SIGHUP); /* to wait_for_signal */
    pthread_mutex_lock(&o->lock);
    while ((o->ended < wanted || o->ended != o->begun) && !o->over)
        pthread_cond_wait(&o->changed, &o->lock);
    if (o->ended >= wanted && o->ended == o->begun) {
        buffer_put(answer, o->said.data, o->said.error ? 0 : o->said.size);
        buffer_printf(answer, "status %d\n", o->status);
    }
    pthread_mutex_unlock(&o->lock);
}

/* Once the journals' folder is there. Without it everything works, but for weir reload. */
static void open_control(struct server *s)
{
    struct error error = {""};
    if (control_new(s->weir->journal, ask_reload, s, &s->control, &error) < 0)
        logger_warn("serve", "%s; weir reload will not work, SIGHUP does", error.text);
    if (runs_new(s->weir, &s->runs, &error) < 0)
        logger_warn("serve", "%s; weir run will hand over no files", error.text);
}

static void close_control(struct server *s)
{
    if (!s->control)
        return;
    pthread_mutex_lock(&s->outcome.lock);
    s->outcome.over = true;
    pthread_cond_broadcast(&s->outcome.changed);
    pthread_mutex_unlock(&s->outcome.lock);
    control_free(s->control);
    s->control = NULL;
}

static int read_again(struct server *s, struct faults *faults, struct error *error)
{
    struct error why = {0};
    reload_under_way(&s->outcome);
    int access_err = access_again(s, &why);
    faults_begin(faults);
    int err = weir_reload(s->weir, s->reload.path, error);
    faults_end();
    set_outcome(&s->outcome, err < 0 ? err : access_err, faults,
                err < 0 ? error : &why);
    return err;
}

/* Until a pipeline is due to be started again, or there is something else to do. */
static void wait_for_restart(struct server *s, int64_t due_us)
{
    while (!s->draining && !atomic_load(&s->reload.wants) &&
           clock_monotonic_us() < due_us)
        clock_sleep_us(RESTART_LOOK_US);
}

/* On a thread of its own: it may wait for the database, and the end must not wait for it. */
static void *reload_run(void *server)
{
    struct server *s = server;
    bool over = false;
    while (!over && !s->draining) {
        struct error error = {0};
        struct faults faults;
        int state = RELOAD_RUNS, err = 0;
        bool reads = atomic_exchange(&s->reload.wants, 0) & WANTS_FILE;
        if (reads)
            err = read_again(s, &faults, &error);
        int64_t due_us = weir_restart(s->weir);
        over = due_us == INT64_MAX &&
               atomic_compare_exchange_strong(&s->reload.state, &state, RELOAD_ENDED);
        if (!over)
            atomic_store(&s->reload.state, RELOAD_RUNS);
        if (reads) {
            reload_say(err, &faults, &error);
            reload_over(s, err);
        }
        if (due_us != INT64_MAX)
            wait_for_restart(s, due_us);
    }
    doing_over();
    return NULL;
}

static void reload_end(struct reload *r)
{
    if (r->started)
        pthread_join(r->thread, NULL);
    r->started = false;
}

static void reload_begin(struct server *s, unsigned wants)
{
    struct reload *r = &s->reload;
    int state = RELOAD_RUNS;
    atomic_fetch_or(&r->wants, wants);
    if (atomic_compare_exchange_strong(&r->state, &state, RELOAD_AGAIN)) {
        if (wants == WANTS_FILE)
            logger_info("serve",
                        "SIGHUP: the one before is still under way; this one follows");
        return;
    }
    if (state == RELOAD_AGAIN)
        return;
    reload_end(r);
    atomic_store(&r->state, RELOAD_RUNS);
    int err = thread_start(&r->thread, "reload", reload_run, s);
    r->started = err == 0;
    if (err < 0) {
        atomic_store(&r->state, RELOAD_ENDED);
        reload_under_way(&s->outcome);
        logger_error("serve", "SIGHUP: cannot start a thread: %s", strerror(-err));
        reload_over(s, 0);
    }
}

/* ---- The end -------------------------------------------------------------------------------------- */

static void step(struct server *s, const char *name)
{
    atomic_store_explicit(&s->step, name, memory_order_relaxed);
}

static void say_doing(void *ctx, const struct doing *d)
{
    (void)ctx;
    logger_error("serve", "pipeline '%s' is still at entry %llu%s%s%s", d->pipeline,
                 (unsigned long long)d->position,
                 d->analyzer[0] ? ", in analyzer '" : "", d->analyzer,
                 d->analyzer[0] ? "'" : "");
}

/* What does not end by itself, in a plugin, on a disk, is ended with the process: all that was acknowledged is in the
 * journal, and the next start goes on from there. */
static void *watch_run(void *server)
{
    struct server *s = server;
    int r = 0;
    pthread_mutex_lock(&s->watch.lock);
    while (!s->watch.over && r != ETIMEDOUT)
        r = clock_cond_wait(&s->watch.changed, &s->watch.lock, s->watch.until_us);
    bool over = s->watch.over;
    pthread_mutex_unlock(&s->watch.lock);
    if (over)
        return NULL;
    logger_error(
        "serve",
        "stopped in the middle: '%s' did not end in time; what is missing in the "
        "database is in the journal",
        atomic_load_explicit(&s->step, memory_order_relaxed));
    doing_each(say_doing, NULL);
    _exit(EXIT_FAILURE);
}

static void watch_begin(struct server *s, int64_t until_us)
{
    s->watch.until_us = until_us;
    pthread_mutex_init(&s->watch.lock, NULL);
    clock_cond_init(&s->watch.changed);
    int err = thread_start(&s->watch.thread, "stop", watch_run, s);
    s->watch.started = err == 0;
    if (err < 0)
        logger_error("serve", "the stop has no deadline, cannot start a thread: %s",
                     strerror(-err));
}

static void watch_end(struct server *s)
{
    if (!s->watch.started)
        return;
    pthread_mutex_lock(&s->watch.lock);
    s->watch.over = true;
    pthread_cond_signal(&s->watch.changed);
    pthread_mutex_unlock(&s->watch.lock);
    pthread_join(s->watch.thread, NULL);
}

/* To wait_for_signal. */
static void crashed(void)
{
    kill(getpid(), SIGUSR1);
}

struct told {
    bool any, well; /* it has been ready */
    int64_t us;
    uint64_t lag;
    struct error problem;
};

/* A node's servers say how they are, weir node, and that they are. What did not arrive is said again. */
static void tell_node(const struct server *s, struct told *t)
{
    struct told now = {.any = true, .well = t->well, .us = clock_monotonic_us()};
    for (size_t i = 0; i < s->weir->config->n_streams; i++) {
        struct source_state state;
        if (source_state(&s->weir->stream[i], &state))
            now.lag += state.lag;
    }
    if (api_is_ready(s->api, &now.problem))
        now.problem.text[0] = 0;
    now.well = now.well || !now.problem.text[0];
    if (t->any && now.us < t->us + TELL_AGAIN_US && now.lag == t->lag &&
        !strcmp(now.problem.text, t->problem.text))
        return;
    if (notify_state(now.lag, now.problem.text))
        *t = now;
}

/* Soon, as long as it begins. */
static int64_t tell_again_us(const struct told *t)
{
    return t->well ? TELL_US : TELL_SOON_US;
}

static int wait_us(const sigset_t *signals, int64_t us)
{
    const struct timespec t = {.tv_sec = us / SECOND_US,
                               .tv_nsec = us % SECOND_US * 1000};
    return us == INT64_MAX ? sigwaitinfo(signals, NULL)
                           : sigtimedwait(signals, NULL, &t);
}

/* systemd's watchdog is told meanwhile that this thread gets its turns. */
static int next_signal(const struct server *s, struct told *told,
                       const sigset_t *signals)
{
    const bool tells = s->weir->config->nodes.node;
    int signal;
    do {
        int64_t us = notify_alive_every_us();
        notify_alive();
        if (tells)
            tell_node(s, told);
        if (tells && tell_again_us(told) < us)
            us = tell_again_us(told);
        signal = wait_us(signals, us);
    } while (signal < 0);
    return signal;
}

static void wait_for_signal(struct server *s, sigset_t *signals)
{
    int signal;
    struct told told = {0};
    while ((signal = next_signal(s, &told, signals)) == SIGHUP || signal == SIGUSR1)
        reload_begin(s, signal == SIGUSR1 ? WANTS_RESTART : WANTS_FILE);
    logger_info("serve", "signal %d: stopping; a second one stops at once", signal);
    notify_stopping("stopping: what was taken is handed on and stored");
    sigdelset(signals, SIGHUP); /* these stay blocked: it is too late */
    sigdelset(signals, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, signals, NULL); /* their default: the process ends */
}

static void stop(struct server *s)
{
    int64_t now_us = clock_monotonic_us();
    step(s, "start");
    watch_begin(s, now_us + STOP_US);
    s->draining = true;
    close_control(s);
    step(s, "requests");
    api_end_live(s->api);
    hooks_end(s->weir->hooks);
    if (s->http)
        http_drain(s->http, now_us + DRAIN_US);
    step(s, "weir run");
    runs_end(s->runs);
    step(s, "sources");
    source_pulls_end(s->pulls);
    step(s, "SIGHUP");
    if (s->reload.started && atomic_load(&s->reload.state) != RELOAD_ENDED)
        store_hurry(s->weir->store);
    reload_end(&s->reload);
    uint64_t open_groups = weir_stop(s->weir, LOG_STOP, now_us + LEAVE_US);
    if (s->weir->lost)
        logger_error("serve",
                     "stopped; what is missing in the database is in the journal");
    else
        logger_info("serve",
                    "stopped; %llu groups of windows that are still open are kept",
                    (unsigned long long)open_groups);
}

static void say_where(struct server *s)
{
    const struct config_server *c = &s->weir->config->server;
    bool six = c->address && strchr(c->address, ':');
    if (c->socket)
        snprintf(s->listening, sizeof(s->listening), "listening on unix:%s", c->socket);
    else
        snprintf(s->listening, sizeof(s->listening), "listening on http%s://%s%s%s:%u",
                 c->tls.certificate ? "s" : "", six ? "[" : "", c->address,
                 six ? "]" : "", http_port(s->http));
    logger_info("serve", "%s", s->listening);
}

static int run(struct server *s, const char *path, const char *database)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* threads inherit it */
    signal(SIGPIPE, SIG_IGN);

    struct error error = {0};
    int status = EXIT_FAILURE;
    if (start(s, database, &status, &error) < 0) {
        fprintf(stderr, "weir: %s\n", error.text);
        return status;
    }
    say_where(s);
    s->reload.path = path;
    open_control(s);
    notify_ready(s->listening);
    wait_for_signal(s, &signals);
    stop(s);
    return weir_failed(s->weir) ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int check_without(const struct weir *w)
{
    for (size_t i = 0; i < w->n_without; i++) {
        size_t k = 0;
        while (k < w->n_pipelines &&
               strcmp(pipeline_config(w->pipeline[k])->name, w->without[i]))
            k++;
        if (k == w->n_pipelines)
            return cmd_usage("serve", "--without: there is no pipeline '%s'",
                             w->without[i]);
    }
    return 0;
}

int cmd_serve(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"listen", required_argument, NULL, 'l'},
                                            {"database", required_argument, NULL, 'd'},
                                            {"skip-damaged", no_argument, NULL, 'k'},
                                            {"without", required_argument, NULL, 'w'},
                                            {"verbose", no_argument, NULL, 'v'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *path = NULL, *listen = NULL, *database = NULL;
    enum logger_level least = LOGGER_INFO;
    bool skip_damaged = false;
    const char *without[WITHOUT_MAX];
    size_t n_without = 0;
    for (int o; (o = getopt_long(argc, argv, "c:l:d:vh", options, NULL)) != -1;) {
        if (o == 'c')
            path = optarg;
        else if (o == 'l')
            listen = optarg;
        else if (o == 'd')
            database = optarg;
        else if (o == 'k')
            skip_damaged = true;
        else if (o == 'w' && n_without < WITHOUT_MAX)
            without[n_without++] = optarg;
        else if (o == 'v')
            least = LOGGER_DEBUG;
        else if (o == 'h')
            return fputs(help, stdout) < 0;
        else
            return EXIT_USAGE;
    }
    if (optind < argc)
        return cmd_usage("serve", "one argument too many");
    if (!path && !(path = cmd_default_config()))
        return cmd_usage("serve", CMD_NO_CONFIG);

    struct server s = {0};
    struct error error = {0};
    struct faults faults;
    int status;
    logger_setup(least, false);
    logger_shard(
        getenv("WEIR_SHARD")); /* weir node says it, and whoever has named it so */
    notify_setup();
    faults_begin(&faults);
    int r = weir_load_to_serve(path, database, &s.weir, &status, &error);
    faults_end();
    if (r == 0 && listen) {
        r = config_listen(listen, &s.weir->config->server, &error);
        status = EXIT_USAGE;
    }
    if (r < 0) {
        cmd_say_faults(&faults, &error);
        weir_free(s.weir);
        return status;
    }
    logger_setup(least, s.weir->config->server.log_json);
    config_warn(&s.weir->config->server);
    thread_set_nice((int)s.weir->config->server.nice);
    s.weir->skip_damaged = skip_damaged;
    s.weir->without = without;
    s.weir->n_without = n_without;
    s.weir->step = &s.step;
    s.weir->crashed = crashed;
    status = check_without(s.weir);
    if (status == 0)
        status = run(&s, path, database);
    http_free(s.http);
    access_free(s.access);
    source_pulls_free(s.pulls);
    source_post_free(s.post);
    api_free(s.api);
    free(s.backups);
    buffer_free(&s.outcome.said);
    query_pool_free(s.queries);
    reader_pool_free(s.readers);
    weir_free(s.weir);
    watch_end(&s);
    return status;
}
