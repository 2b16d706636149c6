/* SPDX-License-Identifier: Apache-2.0 */
#include "copies.h"

#include "admin/backup.h"
#include "base/clock.h"
#include "base/logger.h"
#include "base/sync.h"
#include "carry/carry.h"
#include "store/db.h"
#include "store/pages.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOLD_US     (10 * SECOND_US) /* for so long at most streams wait */
#define LOOK_US     200
#define LAST_US     (3 * SECOND_US) /* for the last copy */
#define META_SOURCE "sources."      /* with the name of a stream */

struct copying {
    struct carry_copying with;
    struct weir *weir;
    bool restored;        /* the database came alone, from PostgreSQL */
    char **sources;       /* of each stream, as the file has them; NULL */
    pthread_mutex_t lock; /* held while streams are */
    _Atomic bool over;    /* relaxed: soon enough */
};

static const struct config_postgresql *settings(const struct weir *w)
{
    const struct config_postgresql *p = w->config->server.postgresql;
    return p && p->copy_us ? p : NULL;
}

/* ---- What is here ------------------------------------------------------------------------------- */

struct local {
    char *path; /* of the file itself */
    bool there;
    char *database; /* NULL: it has none */
    int64_t epoch, seq;
    char writer[CARRIED_ID]; /* "": an earlier version has not said */
};

static int look_here(struct local *l, struct error *error)
{
    sqlite3 *db = NULL;
    char *text = NULL;
    struct error ignored;
    l->there = access(l->path, F_OK) == 0;
    if (!l->there)
        return 0;
    int err = db_open(l->path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, &db, error);
    if (err) {
        error_prefix(error, "database '%s'", l->path);
        return err;
    }
    /* One that is empty, or none of weir's, says nothing. */
    if (pages_meta(db, CARRY_META_COPY, &text, &ignored) == 0 &&
        sscanf(text, "%" SCNd64 " %" SCNd64 " %32s", &l->epoch, &l->seq, l->writer) < 2)
        l->epoch = l->seq = 0;
    free(text);
    pages_meta(db, "database", &l->database, &ignored);
    sqlite3_close(db);
    return 0;
}

/* Nobody has had the shard since this file was written to, and it is not older than the copy. The name, too: where a standby has taken
 * over, another one may have had it at the same epoch. */
static bool goes_on_here(const struct local *l, const struct carry_claim *c)
{
    if (!c->seq)
        return true;
    return l->there && l->database && strcmp(l->database, c->database) == 0 &&
           l->epoch == c->before && l->seq >= c->seq &&
           (!*l->writer || strcmp(l->writer, c->before_writer) == 0);
}

/* ---- What is there ------------------------------------------------------------------------------ */

static bool is_away(int err)
{
    return err == -ECONNREFUSED || err == -ETIMEDOUT || err == -ECONNRESET ||
           err == -EAGAIN;
}

static void stopping(sigset_t *ret)
{
    sigemptyset(ret);
    sigaddset(ret, SIGTERM);
    sigaddset(ret, SIGINT);
}

static bool has_to_stop(void *ctx)
{
    sigset_t pending;
    (void)ctx;
    sigpending(&pending);
    return sigismember(&pending, SIGTERM) || sigismember(&pending, SIGINT);
}

/* Until it is there. */
static int try_again(const struct config_postgresql *config, struct carry_stop *stop,
                     int (*attempt)(const struct config_postgresql *config,
                                    const struct carry_stop *stop, void *ctx,
                                    struct error *error),
                     void *ctx, struct error *error)
{
    int64_t pause_us = config->target.backoff_us;
    bool told = false;
    for (;;) {
        struct error why = {""};
        int err = attempt(config, stop, ctx, &why);
        if (!is_away(err)) {
            *error = why;
            if (!err && told)
                logger_info("copies", "PostgreSQL is there");
            return err;
        }
        if (!told)
            logger_warn("copies",
                        "shard '%s' cannot be claimed, PostgreSQL is away: %s; tried "
                        "again, and nothing is read or answered before",
                        config->shard, why.text);
        told = true;
        struct pollfd fd = {.fd = stop->wake, .events = POLLIN};
        poll(&fd, 1, (int)(pause_us / 1000));
        if (has_to_stop(NULL))
            return error_set(error, -ECANCELED, "stopped while PostgreSQL was away");
        pause_us = pause_us * 2 < config->target.max_backoff_us
                       ? pause_us * 2
                       : config->target.max_backoff_us;
    }
}

static int attempt_claim(const struct config_postgresql *config,
                         const struct carry_stop *stop, void *claim,
                         struct error *error)
{
    return carry_claim(config, stop, claim, error);
}

struct fetching {
    const struct carry_claim *claim;
    int fd;
};

static int attempt_fetch(const struct config_postgresql *config,
                         const struct carry_stop *stop, void *fetching,
                         struct error *error)
{
    const struct fetching *f = fetching;
    if (ftruncate(f->fd, 0))
        return error_set(error, -errno, "the copy cannot be written: %s",
                         strerror(errno));
    return carry_fetch(config, stop, f->claim, f->fd, error);
}

/* ---- In the place of what is here --------------------------------------------------------------- */

static char *path_of(const char *path, const char *suffix)
{
    char *all;
    return asprintf(&all, "%s%s", path, suffix) < 0 ? NULL : all;
}

/* Nothing if it is not there. */
static int move(const char *path, const char *suffix, const char *to_suffix,
                struct error *error)
{
    char *from = path_of(path, suffix), *to = path_of(path, to_suffix);
    int err = from && to ? 0 : -ENOMEM;
    if (!err && rename(from, to) && errno != ENOENT)
        err = -errno;
    if (err)
        error_set(error, err, "'%s%s' cannot be moved aside: %s", path, suffix,
                  strerror(-err));
    free(from);
    free(to);
    return err;
}

static int drop(const char *path, const char *suffix)
{
    char *all = path_of(path, suffix);
    int err = !all ? -ENOMEM : unlink(all) && errno != ENOENT ? -errno : 0;
    free(all);
    return err;
}

/* The folders of all streams: what else is there is no journal. */
static int move_journals(const char *folder, const char *aside, struct error *error)
{
    DIR *d = opendir(folder);
    int err = 0;
    if (!d)
        return errno == ENOENT ? 0
                               : error_set(error, -errno, "journal '%s': %s", folder,
                                           strerror(errno));
    for (struct dirent *e; !err && (e = readdir(d));) {
        char *from = NULL, *to = NULL;
        struct stat st;
        if (e->d_name[0] == '.')
            continue;
        if (asprintf(&from, "%s/%s", folder, e->d_name) < 0 ||
            asprintf(&to, "%s/%s", aside, e->d_name) < 0)
            err = -ENOMEM;
        else if (stat(from, &st) == 0 && S_ISDIR(st.st_mode) && rename(from, to))
            err = -errno;
        free(from);
        free(to);
    }
    closedir(d);
    return err ? error_set(error, err, "journal '%s' cannot be moved aside: %s", folder,
                           strerror(-err))
               : 0;
}

static int set_journal_aside(const char *folder, struct error *error)
{
    char *aside = path_of(folder, ".superseded");
    if (!aside)
        return error_set(error, -ENOMEM, "out of memory");
    int err = access(aside, F_OK) == 0 ? backup_remove(aside) : 0;
    if (!err && access(folder, F_OK) == 0 && mkdir(aside, 0777))
        err = -errno;
    if (err)
        error_set(error, err, "'%s': %s", aside, strerror(-err));
    else
        err = move_journals(folder, aside, error);
    if (!err)
        rmdir(aside); /* if there was none */
    free(aside);
    return err;
}

/* What is here says an earlier epoch than what is there: whoever is ended in between fetches the copy once more. */
static int exchange(const struct weir *w, const struct local *l, struct error *error)
{
    int err = set_journal_aside(w->journal, error);
    if (!err && (drop(l->path, "-shm") || drop(l->path, ".superseded-shm") ||
                 drop(l->path, ".superseded-wal")))
        err = error_set(error, -EACCES, "'%s-shm' cannot be removed", l->path);
    if (!err && l->there)
        err = move(l->path, "-wal", ".superseded-wal", error);
    else if (!err && drop(l->path, "-wal"))
        err = error_set(error, -EACCES, "'%s-wal' cannot be removed", l->path);
    if (!err)
        err = move(l->path, "", ".superseded", error);
    if (!err)
        err = move(l->path, ".fetched", "", error);
    return err;
}

/* It says itself which one it is. */
static int check_fetched(const char *path, const struct carry_claim *c,
                         struct error *error)
{
    struct local l = {.path = (char *)(uintptr_t)path};
    int err = look_here(&l, error);
    if (!err && (!l.database || strcmp(l.database, c->database) || l.seq != c->seq ||
                 l.epoch > c->before))
        err = error_set(error, -EBADMSG,
                        "the copy in PostgreSQL is damaged: it is not the one that it "
                        "is said to be");
    free(l.database);
    return err;
}

static int fetch_into(const struct config_postgresql *config, struct carry_stop *stop,
                      const struct carry_claim *claim, const char *path,
                      struct error *error)
{
    struct fetching f = {.claim = claim};
    f.fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (f.fd < 0)
        return error_set(error, -errno, "'%s': %s", path, strerror(errno));
    int err = try_again(config, stop, attempt_fetch, &f, error);
    if (!err && fsync(f.fd))
        err = error_set(error, -errno, "'%s': %s", path, strerror(errno));
    close(f.fd);
    return err ? err : check_fetched(path, claim, error);
}

static int fetch(struct copying *c, const struct local *l, struct carry_stop *stop,
                 struct error *error)
{
    const struct carry_claim *claim = &c->with.claim;
    const struct config_postgresql *config = settings(c->weir);
    const int64_t begin_us = clock_monotonic_us();
    char *path = path_of(l->path, ".fetched");
    if (!path)
        return error_set(error, -ENOMEM, "out of memory");
    int err = drop(path, "-wal") || drop(path, "-shm")
                  ? error_set(error, -EACCES, "'%s' cannot be written anew", path)
                  : fetch_into(config, stop, claim, path, error);
    if (!err)
        err = exchange(c->weir, l, error);
    if (!err && (err = sync_parent(l->path)))
        error_set(error, err, "the folder of '%s': %s", l->path, strerror(-err));
    free(path);
    if (err)
        return err;
    logger_info("copies",
                "shard '%s' goes on with copy %" PRId64
                " of its database, made on '%s': %.1f MB in %.2f s%s%s%s",
                config->shard, claim->seq, claim->host,
                (double)claim->pages * claim->page_bytes / 1e6,
                (double)(clock_monotonic_us() - begin_us) / 1e6,
                l->there ? "; what was here is '" : "", l->there ? l->path : "",
                l->there ? ".superseded' now" : "");
    c->restored = true;
    return 0;
}

/* ---- The start ---------------------------------------------------------------------------------- */

static int exit_code(int err)
{
    switch (-err) {
    case ECANCELED:
        return EXIT_SUCCESS;
    case EEXIST:
        return EXIT_SUPERSEDED;
    case EBADMSG:
    case EIO:
        return EXIT_IO;
    case EACCES:
    case ENOENT:
    case EROFS:
    case ENOSPC:
        return EXIT_CANNOT_CREATE;
    default:
        return EXIT_UNAVAILABLE;
    }
}

static int claim(struct copying *c, struct local *l, struct error *error)
{
    struct carry_claim *claim = &c->with.claim;
    const struct config_postgresql *config = settings(c->weir);
    struct carry_stop stop = {.wake = -1, .stop = has_to_stop};
    sigset_t signals;
    stopping(&signals);
    if (store_is_open(l->path))
        return error_set(error, -EBUSY, "database '%s': in use by another weir",
                         l->path);
    int err = look_here(l, error);
    if (err)
        return err;
    stop.wake = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    err = try_again(config, &stop, attempt_claim, claim, error);
    if (!err && !goes_on_here(l, claim))
        err = fetch(c, l, &stop, error);
    else if (!err)
        logger_info("copies", "shard '%s' goes on with the database that is here",
                    config->shard);
    if (stop.wake >= 0)
        close(stop.wake);
    return err;
}

static int at_rest(void *ctx, int (*call)(struct store *s, void *ctx), void *call_ctx,
                   int64_t *ret_us, struct error *error);

/* It may have anything under way, and nothing of it may come to an end: as after a power cut. */
static void superseded(void *ctx, const char *text)
{
    (void)ctx;
    logger_error("copies", "%s", text);
    _exit(EXIT_SUPERSEDED);
}

int copies_claim(struct weir *w, const char *path, int *ret_exit, struct error *error)
{
    struct local l = {.path = NULL};
    if (!settings(w))
        return 0;
    if (!path)
        path = w->config->server.database;
    struct copying *c = w->copying = calloc(1, sizeof(*c));
    l.path = realpath(path, NULL);
    if (!l.path)
        l.path = strdup(path);
    if (c)
        c->sources = calloc(w->config->n_streams + 1, sizeof(*c->sources));
    *ret_exit = EXIT_FAILURE;
    if (!c || !c->sources || !l.path) {
        free(l.path);
        return error_set(error, -ENOMEM, "no memory");
    }
    pthread_mutex_init(&c->lock, NULL);
    c->weir = w;
    c->with.at_rest = at_rest;
    c->with.superseded = superseded;
    c->with.ctx = c;
    int err = claim(c, &l, error);
    *ret_exit = exit_code(err);
    free(l.database);
    free(l.path);
    return err;
}

int copies_follow(struct weir *w, struct error *error)
{
    return w->copying ? pages_follow(w->store, error) : 0;
}

int copies_name_sources(struct weir *w, struct restore *r, size_t stream,
                        struct error *error)
{
    struct copying *c = w->copying;
    char key[256], *names = NULL;
    if (!c || !c->restored)
        return 0;
    snprintf(key, sizeof(key), META_SOURCE "%s", w->config->stream[stream].name);
    int err = restore_meta(r, key, &names, error);
    if (err)
        return err == -ENOENT ? 0 : err;
    err = log_take_sources(w->log[stream], names, error);
    c->sources[stream] = names;
    return err;
}

const void *copies_with(const struct weir *w)
{
    return w->copying ? &w->copying->with : NULL;
}

/* ---- At rest ------------------------------------------------------------------------------------ */

struct rest {
    struct copying *copying;
    size_t held; /* the streams before it are */
    int (*call)(struct store *s, void *ctx);
    void *ctx;
    int64_t begin_us;
    int err;
    struct error *error;
};

/* With the snapshot, if there are others than before: states know sources by their numbers. */
static int note_sources(struct store *s, struct copying *c, size_t stream,
                        struct error *error)
{
    const struct weir *w = c->weir;
    struct buffer names = {0};
    char key[256];
    if (!w->log[stream])
        return 0;
    log_put_sources(w->log[stream], &names);
    const char *text = buffer_text(&names);
    int err = names.error ? error_set(error, -ENOMEM, "no memory") : 0;
    if (!err && (!c->sources[stream] || strcmp(c->sources[stream], text))) {
        snprintf(key, sizeof(key), META_SOURCE "%s", w->config->stream[stream].name);
        err = pages_put_meta(s, key, text, error);
        if (!err) {
            free(c->sources[stream]);
            c->sources[stream] = strdup(text); /* NULL: once more */
        }
    }
    buffer_free(&names);
    return err;
}

static int on_writer(struct store *s, void *rest)
{
    const struct rest *r = rest;
    int err = 0;
    for (size_t i = 0; !err && i < r->copying->weir->config->n_streams; i++)
        err = note_sources(s, r->copying, i, r->error);
    return err ? err : r->call(s, r->ctx);
}

/* 1: all is stored. */
static int is_settled(struct rest *r)
{
    const struct weir *w = r->copying->weir;
    int settled = 1;
    for (size_t i = 0; settled == 1 && i < w->config->n_streams; i++)
        settled = w->log[i] ? log_is_settled(w->log[i], r->error) : 1;
    return settled;
}

static int settle(struct rest *r)
{
    struct weir *w = r->copying->weir;
    const int64_t until_us = r->begin_us + HOLD_US;
    int err = 0, settled = 0;
    for (size_t i = 0; !err && i < w->config->n_streams; i++)
        err = w->log[i] ? log_settle(w->log[i], r->error) : 0;
    while (!err && !settled) {
        if (atomic_load_explicit(&r->copying->over, memory_order_relaxed))
            return error_set(r->error, -ESHUTDOWN, "the server stops");
        if (clock_monotonic_us() > until_us)
            return error_set(r->error, -ETIME,
                             "pipelines have not stored in %d s what they were given",
                             (int)(HOLD_US / SECOND_US));
        err = store_flush_until(w->store, until_us);
        if (err == -ETIMEDOUT) {
            err = 0; /* as above */
            continue;
        }
        settled = err ? 0 : is_settled(r);
        err = settled < 0 ? settled : err;
        if (!err && !settled)
            clock_sleep_us(LOOK_US);
    }
    if (err && !r->error->text[0])
        error_set(r->error, err, "%s", strerror(-err));
    return err ? err : store_call(w->store, on_writer, r);
}

/* Between two entries of all streams. */
static void hold_next(void *rest)
{
    struct rest *r = rest;
    const struct weir *w = r->copying->weir;
    while (r->held < w->config->n_streams && !w->log[r->held])
        r->held++;
    if (r->held == w->config->n_streams) {
        r->err = settle(r);
        return;
    }
    int err = log_call_until(w->log[r->held++], r->begin_us + HOLD_US, hold_next, r);
    if (err == -ETIMEDOUT)
        r->err = error_set(r->error, -ETIME,
                           "pipelines have not taken in %d s what came before",
                           (int)(HOLD_US / SECOND_US));
    else if (err)
        r->err = error_set(r->error, err, "the server stops");
}

static int at_rest(void *ctx, int (*call)(struct store *s, void *ctx), void *call_ctx,
                   int64_t *ret_us, struct error *error)
{
    struct copying *c = ctx;
    struct rest r = {.copying = c,
                     .call = call,
                     .ctx = call_ctx,
                     .begin_us = clock_monotonic_us(),
                     .error = error};
    if (store_trouble(c->weir->store))
        return error_set(error, -EIO, "the database cannot be written to");
    pthread_mutex_lock(&c->lock);
    if (atomic_load_explicit(&c->over, memory_order_relaxed))
        r.err = error_set(error, -ESHUTDOWN, "the server stops");
    else
        hold_next(&r);
    pthread_mutex_unlock(&c->lock);
    *ret_us = clock_monotonic_us() - r.begin_us;
    return r.err;
}

/* ---- The end ------------------------------------------------------------------------------------ */

void copies_end(struct weir *w, int64_t until_us)
{
    struct copying *c = w->copying;
    if (!c)
        return;
    atomic_store_explicit(&c->over, true, memory_order_relaxed);
    while (pthread_mutex_trylock(&c->lock)) {
        if (clock_monotonic_us() >= until_us)
            return;
        clock_sleep_us(LOOK_US);
    }
    pthread_mutex_unlock(&c->lock);
}

void copies_last(struct weir *w)
{
    bool stored = w->copying && !w->lost;
    for (size_t i = 0; stored && i < w->config->n_streams; i++)
        stored = !w->log[i] || log_is_stored(w->log[i]);
    if (!stored)
        return;
    struct target *t =
        atomic_load_explicit(&w->target[CARRIED_POSTGRESQL], memory_order_acquire);
    if (!target_last(t, clock_monotonic_us() + LAST_US))
        logger_warn("copies",
                    "PostgreSQL has not taken a last copy of the database: who goes on "
                    "elsewhere reads again what came since the one before");
}

void copies_free(struct weir *w)
{
    struct copying *c = w->copying;
    if (!c)
        return;
    for (size_t i = 0; c->sources && i < w->config->n_streams; i++)
        free(c->sources[i]);
    free(c->sources);
    pthread_mutex_destroy(&c->lock);
    free(c);
    w->copying = NULL;
}
