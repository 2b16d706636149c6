/* SPDX-License-Identifier: Apache-2.0 */
#include "runs.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/thread.h"
#include "control.h"
#include "wire.h"

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define LOOK_MS     200 /* for who has gone, while there is somebody */
#define STEP_US     5000
#define SEND_S      5 /* for one who does not read */
#define TELL_US     100000
#define PATIENCE_US (10 * SECOND_US) /* of a pipeline that reads nothing */

struct run {
    struct runs *owner;
    unsigned number; /* from 1 */
    int fd;          /* -1: nobody is connected */
    pthread_t thread;
    _Atomic bool stop; /* relaxed: soon enough */
    _Atomic bool over; /* release, acquire: the thread ends */

    size_t index; /* of the stream */
    struct source_stream *to;
    struct source_stream stream; /* what is read comes here first */
    uint32_t source;
    const char *path;
    int64_t told_us;
    uint64_t before;      /* events that had been taken before */
    uint64_t position;    /* of the last entry with events of it */
    struct runs_key key;  /* of the piece at hand */
    bool reserved, known; /* it is ours; it was taken before */
    int failed;           /* 0, or why nothing more is taken */
    sem_t done;           /* the ticket was called */
};

struct runs {
    struct weir *weir;
    int fd;
    pthread_t thread;
    _Atomic bool stop; /* relaxed: a shutdown follows */
    struct run run[RUNS_MAX];
};

/* ---- Packets ----------------------------------------------------------------------------------- */

static bool run_stops(const struct run *r)
{
    return atomic_load_explicit(&r->stop, memory_order_relaxed);
}

/* False: nobody hears it. */
static bool say(struct run *r, int flags, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool say(struct run *r, int flags, const char *format, ...)
{
    char text[RUNS_PACKET];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    size_t size = (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
    ssize_t sent = send(r->fd, text, size, MSG_NOSIGNAL | flags);
    return sent >= 0 || (flags & MSG_DONTWAIT && errno == EAGAIN);
}

/* The next packet, and its descriptor, or -1. False: there is none. */
static bool hear(struct run *r, char text[RUNS_PACKET], int *ret_fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec piece = {text, RUNS_PACKET - 1};
    struct msghdr m = {.msg_iov = &piece,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(r->fd, &m, MSG_CMSG_CLOEXEC);
    *ret_fd = -1;
    struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(ret_fd, CMSG_DATA(c), sizeof(*ret_fd));
    if (n <= 0)
        return false;
    text[n] = 0;
    return true;
}

/* ---- Keys -------------------------------------------------------------------------------------- */

static void leave_key(struct run *r)
{
    if (r->reserved)
        r->to->sink.key_abandon(r->to->sink.ctx, r->key.text, strlen(r->key.text));
    r->reserved = r->known = false;
}

/* Whoever has the same bytes under way is waited for: then they are known. */
static int take_key(struct run *r)
{
    struct request_known was;
    int err;
    while ((err = r->to->sink.key_begin(r->to->sink.ctx, r->key.text,
                                        strlen(r->key.text), &was)) == -EBUSY ||
           err == -EAGAIN) {
        if (run_stops(r))
            return -EINTR;
        clock_sleep_us(STEP_US);
    }
    r->known = err == 1;
    r->reserved = err == 0;
    if (!r->known)
        return err;
    if (was.answer.position > r->position)
        r->position = was.answer.position;
    request_answer_free(&was.answer);
    return 0;
}

/* For source_file. What is behind the last piece of a file has a key of its own. */
static int begin_piece(void *ctx, size_t file, const char *data, size_t size,
                       struct error *error)
{
    struct run *r = ctx;
    (void)file; /* the only one */
    leave_key(r);
    if (r->failed)
        return error_set(error, r->failed, "\"%s\": the stream takes nothing more: %s",
                         r->path, strerror(-r->failed));
    runs_key_piece(&r->key, data, size);
    int err = take_key(r);
    return err < 0 ? error_set(error, err, "\"%s\": %s", r->path,
                               err == -EINTR ? "stopped" : strerror(-err))
                   : 0;
}

/* For source_file. An end that a pipe has as its writer was interrupted, and weir run with it, is none: what is behind the last whole
 * MiB is left to who runs it again. */
static int ask_last(void *ctx, int fd, struct error *error)
{
    struct run *r = ctx;
    struct stat st;
    char text[RUNS_PACKET];
    int with = -1;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return 0;
    bool last = say(r, 0, "last?") && hear(r, text, &with) && strcmp(text, "last") == 0;
    if (with >= 0)
        close(with);
    return last ? 0 : error_set(error, -EINTR, "\"%s\": stopped", r->path);
}

/* ---- The stream -------------------------------------------------------------------------------- */

static void ticket_done(void *ctx)
{
    struct run *r = ctx;
    sem_post(&r->done);
}

/* Until it is on disk, or nobody wants to know any more. */
static int wait_for(struct run *r, struct ticket *t)
{
    while (sem_trywait(&r->done) < 0) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LOOK_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        if (sem_timedwait(&r->done, &until) == 0)
            break;
        if (!atomic_load_explicit(&r->owner->stop, memory_order_relaxed))
            continue; /* who has gone may come again: then it is to be known */
        r->to->sink.cancel(r->to->sink.ctx, t);
        return -EINTR;
    }
    if (t->position > r->position)
        r->position = t->position;
    return t->result;
}

/* The database is where it was, and the journal has been read. */
static bool is_ready(struct run *r)
{
    const struct source_sink *sink = &r->to->sink;
    while (sink->ready && sink->ready(sink->ctx)) {
        if (run_stops(r))
            return false;
        clock_sleep_us(STEP_US);
    }
    return true;
}

static int put(struct run *r, const struct request *q)
{
    const struct source_sink *sink = &r->to->sink;
    struct ticket ticket = {.done = ticket_done, .ctx = r};
    const struct request_id key = {.key = r->key.text, .size = strlen(r->key.text)};
    struct request with = *q;
    with.source = r->source;
    with.ticket = &ticket;
    with.key = &key;
    int err;
    do {
        err = is_ready(r) ? sink->append_wait(sink->ctx, &with) : -EINTR;
        if (err == -ENOMEM)
            clock_sleep_us(NO_MEMORY_US);
    } while (err == -ENOMEM && !run_stops(r));
    if (err < 0)
        return err;
    r->reserved = false; /* the log's: also if it fails */
    err = wait_for(r, &ticket);
    sink->cancel(sink->ctx, &ticket);
    r->failed = err; /* the batches are the log's all the same */
    return 0;
}

/* For source_file. */
static int take(void *ctx, const struct request *q)
{
    struct run *r = ctx;
    uint64_t rows = 0;
    for (size_t i = 0; i < q->n; i++)
        rows += q->batch[i]->n_rows;
    if (!r->known) {
        r->to->sink.alive(r->to->sink.ctx, r->source, NULL);
        int err = put(r, q);
        if (err == 0)
            metric_add(&r->to->accepted, rows);
        return err;
    }
    r->before += rows;
    for (size_t i = 0; i < q->n; i++)
        batch_unref(q->batch[i]);
    return 0;
}

static void keep_dead(void *ctx, const struct dead_letter *list, size_t n)
{
    struct run *r = ctx;
    /* Those of a piece that was taken may not have come into the table before the server was killed. */
    if (!r->known || (n && list[0].once))
        r->to->sink.dead(r->to->sink.ctx, list, n);
}

static int64_t arrival(void *ctx)
{
    struct run *r = ctx;
    return r->to->sink.now(r->to->sink.ctx);
}

static void tell_progress(void *ctx, uint64_t bytes, uint64_t total, uint64_t rows)
{
    struct run *r = ctx;
    int64_t now_us = clock_monotonic_us();
    (void)total;
    if (now_us - r->told_us < TELL_US)
        return;
    r->told_us = now_us;
    say(r, MSG_DONTWAIT, "at %llu %llu", (unsigned long long)bytes,
        (unsigned long long)rows);
}

/* ---- A file ------------------------------------------------------------------------------------ */

static void begin_stream(struct run *r)
{
    r->stream = (struct source_stream){
        .name = r->to->name,
        .decode = *source_decode(r->to),
        .sink = {.ctx = r,
                 .now = r->to->sink.now ? arrival : NULL,
                 .append_wait = take,
                 .dead = r->to->sink.dead ? keep_dead : NULL},
    };
}

static void count_rejected(struct run *r)
{
    metric_add(&r->to->bytes, r->stream.bytes);
    for (size_t i = 0; i < DECODE_REASONS; i++)
        metric_add(&r->to->rejected[i], r->stream.rejected[i]);
}

/* "FORMAT PATH" */
static bool read_file(struct run *r, const char *text, int fd)
{
    struct source_result *result = malloc(sizeof(*result));
    struct error error = {""};
    char *path;
    int format = (int)strtol(text, &path, 10);
    r->path = *path ? path + 1 : "";
    r->before = 0;
    runs_key_begin(&r->key, r->path, format);
    begin_stream(r);
    const struct source_files files = {.stream = &r->stream,
                                       .path = &r->path,
                                       .fd = &fd,
                                       .n = 1,
                                       .format = format,
                                       .progress = tell_progress,
                                       .piece = begin_piece,
                                       .last = ask_last,
                                       .ctx = r,
                                       .stop = &r->stop};
    if (!result || fd < 0 || format < SOURCE_BY_NAME || format >= DECODE_FORMATS) {
        free(result);
        return say(r, 0, "done %d 0 0 0 no file", -EINVAL);
    }
    if (r->to->closed) {
        free(result);
        return say(r, 0, "done %d 0 0 0 the server reads it from Kafka only ('copy')",
                   -EPERM);
    }
    int err = source_file(&files, result, &error);
    if (err == 0 && r->failed)
        err = error_set(&error, r->failed, "\"%s\": the stream takes nothing more: %s",
                        r->path, strerror(-r->failed));
    leave_key(r);
    count_rejected(r);
    bool heard = true;
    for (size_t i = 0; heard && i < result->n_faults; i++)
        heard = say(r, 0, "fault %llu %u %s",
                    (unsigned long long)result->fault[i].error.line,
                    result->fault[i].error.column, result->fault[i].error.message);
    heard = heard && say(r, 0, "done %d %llu %llu %llu %s", err,
                         (unsigned long long)result->accepted,
                         (unsigned long long)result->rejected,
                         (unsigned long long)r->before, error.text);
    logger_info("run",
                "stream '%s': \"%s\": %llu events taken, %llu of them before, %llu "
                "rejected%s%s",
                r->to->name, r->path, (unsigned long long)result->accepted,
                (unsigned long long)r->before, (unsigned long long)result->rejected,
                err < 0 ? ": " : "", err < 0 ? error.text : "");
    free(result);
    return heard && err == 0;
}

/* ---- The end ----------------------------------------------------------------------------------- */

static bool reads(const struct config_pipeline *c, size_t stream)
{
    bool it = c->stream == stream;
    for (size_t k = 0; k < c->joins.n; k++)
        it = it || (!c->joins.join[k].result && c->joins.join[k].stream == stream);
    return it && !c->from;
}

/* What was late of earlier ones that had the same name is not told again. */
static void forget_late(const struct run *r)
{
    struct running_list all = running_all(r->owner->weir->running);
    for (size_t i = 0; i < all.n; i++)
        pipeline_forget_late(all.pipeline[i], r->index, r->source);
    running_done(&all);
}

/* Has it read the files? Where nothing goes on any more, since *since_us, it is not waited for. */
static enum runs_state wait_for_pipeline(const struct run *r, struct pipeline *p,
                                         int64_t *since_us, struct pipeline_taken *ret)
{
    uint64_t seen = 0;
    for (bool first = true;; first = false, clock_sleep_us(STEP_US)) {
        bool failed = pipeline_failed(p);
        pipeline_took(p, r->index, r->source, ret);
        if (failed)
            return RUNS_FAILED;
        if (ret->position >= r->position)
            return RUNS_READ;
        int64_t now_us = clock_monotonic_us();
        if (!first && ret->position != seen)
            *since_us = now_us;
        seen = ret->position;
        if (run_stops(r) || now_us - *since_us >= PATIENCE_US)
            return RUNS_WAITS;
    }
}

static void tell_pipelines(struct run *r)
{
    struct running_list all = running_all(r->owner->weir->running);
    int64_t since_us = clock_monotonic_us();
    for (size_t i = 0; i < all.n; i++) {
        struct pipeline *p = all.pipeline[i];
        struct pipeline_taken taken;
        struct pipeline_status s;
        if (!reads(pipeline_config(p), r->index))
            continue;
        enum runs_state state = wait_for_pipeline(r, p, &since_us, &taken);
        pipeline_status(p, &s);
        if (state == RUNS_FAILED && s.restarts)
            state = RUNS_WAITS;
        say(r, 0, "pipeline %d %llu %llu %llu %llu %llu %lld %s", (int)state,
            (unsigned long long)s.rows, (unsigned long long)taken.not_joined,
            (unsigned long long)taken.late_by[CONFIG_LATE_DROP],
            (unsigned long long)taken.late_by[CONFIG_LATE_SIDE],
            (unsigned long long)taken.late_by[CONFIG_LATE_REVISE],
            (long long)s.watermark_us, s.name);
    }
    running_done(&all);
    say(r, 0, "over");
}

/* ---- A connection ------------------------------------------------------------------------------ */

/* "stream NAME" */
static bool find_stream(struct run *r, const char *text)
{
    struct weir *w = r->owner->weir;
    char name[sizeof(LOG_GUEST_NAME) + 12];
    const char *wanted = strchr(text, ' ');
    size_t i = 0;
    while (wanted && i < w->config->n_streams &&
           strcmp(w->config->stream[i].name, wanted + 1))
        i++;
    if (!wanted || i == w->config->n_streams) {
        say(r, 0, "no the server has no stream '%s'", wanted ? wanted + 1 : "");
        return false;
    }
    r->index = i;
    r->to = &w->stream[i];
    int n = snprintf(name, sizeof(name), LOG_GUEST_NAME " %u", r->number);
    int err = is_ready(r)
                  ? r->to->sink.name(r->to->sink.ctx, name, (size_t)n, &r->source)
                  : -EINTR;
    if (err == 0)
        return say(r, 0, "ready");
    say(r, 0, "no stream '%s': %s", r->to->name,
        err == -ENOSPC ? "there are too many named sources" : strerror(-err));
    return false;
}

static void *run_files(void *ctx)
{
    struct run *r = ctx;
    char text[RUNS_PACKET];
    int fd;
    bool more = hear(r, text, &fd) && find_stream(r, text);
    if (fd >= 0)
        close(fd);
    if (more) {
        forget_late(r);
        r->to->sink.there(r->to->sink.ctx, r->source, true);
    }
    for (bool on = more; on && hear(r, text, &fd);) {
        if (strncmp(text, "file ", 5) == 0) {
            on = read_file(r, text + 5, fd);
        } else {
            on = more = false;
            r->to->sink.there(r->to->sink.ctx, r->source, false);
            tell_pipelines(r);
        }
        if (fd >= 0)
            close(fd);
    }
    if (more)
        r->to->sink.there(r->to->sink.ctx, r->source, false);
    shutdown(r->fd, SHUT_RDWR);
    atomic_store_explicit(&r->over, true, memory_order_release);
    return NULL;
}

static void end_run(struct run *r)
{
    pthread_join(r->thread, NULL);
    close(r->fd);
    sem_destroy(&r->done);
    r->fd = -1;
}

static void begin_run(struct runs *all, struct run *r, int fd)
{
    const struct timeval patience = {.tv_sec = SEND_S};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    *r = (struct run){.owner = all, .number = (unsigned)(r - all->run) + 1, .fd = fd};
    sem_init(&r->done, 0, 0);
    bool own = control_is_own(fd);
    if (!own)
        say(r, MSG_DONTWAIT, "no the server is another user's");
    if (own && thread_start(&r->thread, "run", run_files, r) == 0)
        return;
    close(fd);
    sem_destroy(&r->done);
    r->fd = -1;
}

/* ---- The thread -------------------------------------------------------------------------------- */

/* Those who have gone, or want no more, are told to end; those that have ended make room. */
static void look_at(struct runs *all, const struct pollfd at[RUNS_MAX])
{
    for (unsigned i = 0; i < RUNS_MAX; i++) {
        struct run *r = &all->run[i];
        if (r->fd < 0)
            continue;
        if (at[i].revents)
            atomic_store_explicit(&r->stop, true, memory_order_relaxed);
        if (atomic_load_explicit(&r->over, memory_order_acquire))
            end_run(r);
    }
}

static void *runs_run(void *ctx)
{
    struct runs *all = ctx;
    while (!atomic_load_explicit(&all->stop, memory_order_relaxed)) {
        struct pollfd at[RUNS_MAX + 1];
        struct run *idle = NULL;
        bool some = false;
        for (unsigned i = 0; i < RUNS_MAX; i++) {
            struct run *r = &all->run[i];
            bool looked_at = r->fd >= 0 && !run_stops(r);
            at[i] = (struct pollfd){.fd = looked_at ? r->fd : -1, .events = POLLRDHUP};
            some = some || r->fd >= 0;
            idle = r->fd < 0 && !idle ? r : idle;
        }
        at[RUNS_MAX] = (struct pollfd){.fd = idle ? all->fd : -1, .events = POLLIN};
        if (poll(at, RUNS_MAX + 1, some ? LOOK_MS : -1) < 0)
            continue;
        look_at(all, at);
        int fd = at[RUNS_MAX].revents & POLLIN
                     ? accept4(all->fd, NULL, NULL, SOCK_CLOEXEC)
                     : -1;
        if (fd >= 0)
            begin_run(all, idle, fd);
        else if (at[RUNS_MAX].revents)
            clock_sleep_us(STEP_US); /* no descriptors, or the end */
    }
    return NULL;
}

int runs_new(struct weir *w, struct runs **ret, struct error *error)
{
    struct runs *all = calloc(1, sizeof(*all));
    if (!all)
        return error_set(error, -ENOMEM, "no memory");
    all->weir = w;
    for (unsigned i = 0; i < RUNS_MAX; i++)
        all->run[i].fd = -1;
    int err = control_listen(w->journal, RUNS_KIND, SOCK_SEQPACKET, &all->fd);
    if (err < 0) {
        free(all);
        return error_set(error, err, "no socket can be made for '%s': %s", w->journal,
                         strerror(-err));
    }
    err = thread_start(&all->thread, "runs", runs_run, all);
    if (err < 0) {
        close(all->fd);
        free(all);
        return error_set(error, err, "cannot start a thread: %s", strerror(-err));
    }
    *ret = all;
    return 0;
}

void runs_end(struct runs *all)
{
    if (!all)
        return;
    atomic_store_explicit(&all->stop, true, memory_order_relaxed);
    shutdown(all->fd, SHUT_RDWR);
    pthread_join(all->thread, NULL);
    for (unsigned i = 0; i < RUNS_MAX; i++) {
        struct run *r = &all->run[i];
        if (r->fd < 0)
            continue;
        atomic_store_explicit(&r->stop, true, memory_order_relaxed);
        shutdown(r->fd, SHUT_RD); /* who listens for the next file; it may still tell */
        end_run(r);
    }
    close(all->fd);
    free(all);
}
