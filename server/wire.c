/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

#include "backfill.h"
#include "base/clock.h"
#include "base/doing.h"
#include "base/hash.h"
#include "base/logger.h"
#include "carry/carry.h"
#include "config/faults.h"
#include "copies.h"
#include "crashes.h"
#include "journal/folder.h"
#include "lookup/lookups.h"
#include "pipeline/join.h"
#include "publish/publish.h"
#include "recover.h"
#include "restart.h"
#include "results_feed.h"
#include "store/dead_letters.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STORE_QUEUE_ROWSETS 1024       /* a commit for all pipelines of a busy stream */
#define WEIR_DOING_FILE     ".crashed" /* no stream is called so */
#define DEPTH_MAX           64         /* of nested JSON */
#define CLOCK_2000_US       (INT64_C(946684800) * SECOND_US) /* 2000-01-01T00:00:00Z */

/* ---- Between the stages ----------------------------------------------------------------------- */

static int stream_name(void *ctx, const char *name, size_t size, uint32_t *ret_source)
{
    const struct weir_intake *in = ctx;
    return log_source(in->log, name, size, ret_source);
}

static int stream_ready(void *ctx)
{
    const struct weir_intake *in = ctx;
    struct error error;
    if (log_is_ready(in->log))
        return store_trouble(in->store) == -ESTALE ? -ESTALE : 0;
    return log_failed(in->log, &error) ? -EIO : -EAGAIN;
}

/* Before the log is ready (a run over files) it is not known what was given before. */
static int64_t stream_now(void *ctx)
{
    struct weir_intake *in = ctx;
    int64_t newest_us;
    if (!atomic_load_explicit(&in->clock_raised, memory_order_acquire) &&
        log_is_ready(in->log)) {
        if ((newest_us = log_newest(in->log)) != INT64_MIN)
            clock_steady_raise(&in->clock_us, newest_us);
        atomic_store_explicit(&in->clock_raised, true, memory_order_release);
    }
    return clock_steady_us(&in->clock_us);
}

/* Of a run whose clock stands still. */
static int64_t stream_fixed(void *ctx)
{
    const struct weir_intake *in = ctx;
    return in->fixed_us;
}

static struct origin *stream_origin(void *ctx)
{
    const struct weir_intake *in = ctx;
    return log_origin(in->log);
}

static void stream_origin_end(void *origin)
{
    log_origin_end(origin);
}

static void stream_alive(void *ctx, uint32_t source, struct origin *o)
{
    const struct weir_intake *in = ctx;
    log_alive(in->log, source, o);
}

static void stream_waits(void *ctx, uint32_t source, struct origin *o, bool on)
{
    const struct weir_intake *in = ctx;
    log_waits(in->log, source, o, on);
}

static void stream_guest(void *ctx, uint32_t source, bool there)
{
    const struct weir_intake *in = ctx;
    log_there(in->log, source, there);
}

/* What is full for want of room in the database is no queue that will be shorter in a second. Without the
 * database nothing is taken: the journal alone is half of the truth. */
static int stream_append(void *ctx, const struct request *r)
{
    const struct weir_intake *in = ctx;
    int trouble = store_trouble(in->store);
    if (trouble == -ESTALE)
        return trouble;
    int rc = log_append(in->log, r);
    return rc == -EAGAIN && trouble == -ENOSPC ? -ENOSPC : rc;
}

static int stream_append_wait(void *ctx, const struct request *r)
{
    const struct weir_intake *in = ctx;
    return log_append_wait(in->log, r);
}

static void stream_wait(void *ctx, struct waiter *w)
{
    const struct weir_intake *in = ctx;
    log_wait(in->log, w);
}

static void stream_unwait(void *ctx, struct waiter *w)
{
    const struct weir_intake *in = ctx;
    log_unwait(in->log, w);
}

static void stream_cancel(void *ctx, struct ticket *t)
{
    const struct weir_intake *in = ctx;
    log_cancel(in->log, t);
}

static void stream_dead(void *ctx, const struct dead_letter *list, size_t n)
{
    const struct weir_intake *in = ctx;
    dead_letters_put(in->store, list, n);
}

static int stream_key_begin(void *ctx, const char *key, size_t size,
                            struct request_known *ret)
{
    const struct weir_intake *in = ctx;
    return log_key_begin(in->log, key, size, ret);
}

static void stream_key_abandon(void *ctx, const char *key, size_t size)
{
    const struct weir_intake *in = ctx;
    log_key_abandon(in->log, key, size);
}

static int stream_bookmark(void *ctx, uint32_t source, char **ret)
{
    const struct weir_intake *in = ctx;
    return log_bookmark(in->log, source, ret);
}

static int stream_bookmarks(void *ctx,
                            int (*call)(void *ctx, const char *source,
                                        const char *bookmark),
                            void *call_ctx)
{
    const struct weir_intake *in = ctx;
    return log_known_bookmarks(in->log, call, call_ctx);
}

/* What the store has committed lets the logs trim their journals. */
static void store_stored(void *ctx, const char *pipeline, uint64_t position)
{
    const struct weir *w = ctx;
    if (!atomic_load_explicit(&w->wired, memory_order_acquire))
        return; /* the checkpoint that a pipeline begins with: its log knows */
    for (size_t i = 0; i < w->config->n_streams; i++)
        if (w->log[i])
            log_stored(w->log[i], pipeline, position);
}

static void store_kept(void *ctx, const char *stream, uint64_t position)
{
    const struct weir *w = ctx;
    if (!atomic_load_explicit(&w->wired, memory_order_acquire))
        return;
    for (size_t i = 0; i < w->config->n_streams; i++)
        if (!strcmp(w->config->stream[i].name, stream) && w->log[i])
            log_kept(w->log[i], position);
}

static void store_failed(void *ctx, const char *pipeline, const struct error *error)
{
    const struct weir *w = ctx;
    struct pipeline *p = running_get(w->running, pipeline);
    if (p)
        pipeline_fail(p, error);
    pipeline_unref(p);
}

/* Whether what the database has can be found by the next start. */
static bool stream_there(void *ctx)
{
    const struct weir_intake *in = ctx;
    return store_is_there(in->store);
}

struct keeping {
    struct store_key **last;
};

static int keep_key(void *ctx, const struct request_id *key, int64_t taken_us)
{
    struct keeping *k = ctx;
    *k->last = store_key_new(key, taken_us);
    if (!*k->last)
        return -ENOMEM;
    k->last = &(*k->last)->next;
    return 0;
}

struct keeping_bookmarks {
    struct store_bookmark **last;
};

static int keep_bookmark(void *ctx, const char *source, const char *bookmark)
{
    struct keeping_bookmarks *k = ctx;
    *k->last = store_bookmark_new(source, bookmark);
    if (!*k->last)
        return -ENOMEM;
    k->last = &(*k->last)->next;
    return 0;
}

/* Keys since the last time, and bookmarks, to the store. What fails is done the next time. */
static int stream_keep(void *ctx, uint64_t position)
{
    struct weir_intake *in = ctx;
    struct store_stream *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    *s = (struct store_stream){.stream = in->stream,
                               .position = position,
                               .forget_us = clock_unstepped_us() -
                                            in->server->idempotency_retain_us,
                               .max_keys = in->server->idempotency_keys};
    struct keeping k = {.last = &s->keys};
    struct keeping_bookmarks b = {.last = &s->bookmarks};
    int err = log_keys(in->log, in->kept, position, keep_key, &k);
    if (err == 0)
        err = log_bookmarks(in->log, keep_bookmark, &b);
    if (err < 0) {
        store_stream_free(s);
        return err;
    }
    err = store_put_stream(in->store, s);
    if (err == 0)
        in->kept = position;
    return err;
}

/* ---- Loading ---------------------------------------------------------------------------------- */

/* An analyzer ended the server and was to run in a process of its own, but cannot: the pipeline is left out. */
static int leave_out_moved(struct config_pipeline *c, const struct error *why)
{
    for (size_t i = 0; i < c->n_analyzers; i++)
        if (c->analyzer[i].moved)
            c->analyzer[i].apart = c->analyzer[i].moved = false;
    if (asprintf(&c->left_out,
                 "an analyzer ended the server, and cannot run in a process of its "
                 "own: %s",
                 why->text) >= 0)
        return 0;
    c->left_out = NULL;
    return -ENOMEM;
}

static bool has_moved(const struct config_pipeline *c)
{
    bool moved = false;
    for (size_t i = 0; !moved && i < c->n_analyzers; i++)
        moved = c->analyzer[i].moved;
    return moved && !c->left_out;
}

/* The i-th that it reads, or whose results it joins; NULL: no more. */
static struct pipeline *read_by(const struct config_pipeline *c,
                                struct pipeline *const *all, size_t i)
{
    if (c->from)
        return i ? NULL : all[c->parent];
    return i < c->results.n ? all[c->results.item[i].pipeline] : NULL;
}

static int make_pipeline(struct weir *w, struct config *config,
                         struct config_pipeline *c, struct pipeline *const *all,
                         struct metrics *metrics, struct pipeline **ret,
                         struct error *error)
{
    const struct table *const *table;
    struct pipeline *of;
    for (size_t i = 0; (of = read_by(c, all, i)); i++)
        if (pipeline_tables(of, &table) == 0) {
            logger_error("pipeline",
                         "pipeline '%s' is left out with '%s', which it reads", c->name,
                         pipeline_config(of)->name);
            return 0;
        }
    int r = pipeline_new_child(config, c, all, w->plugins, metrics, ret, error);
    if (r < 0 && has_moved(c)) {
        r = leave_out_moved(c, error);
        *error = (struct error){0};
        r = r == 0 ? pipeline_new_child(config, c, all, w->plugins, metrics, ret, error)
                   : error_set(error, r, "no memory");
    }
    return r;
}

size_t weir_close_gaps(struct pipeline **list, size_t n)
{
    size_t left = 0;
    for (size_t i = 0; i < n; i++)
        if (list[i])
            list[left++] = list[i];
    return left;
}

/* Are all there that it reads? */
static bool has_all(const struct config_pipeline *c, struct pipeline *const *all)
{
    bool has = !c->from || all[c->parent];
    for (size_t i = 0; has && i < c->results.n; i++)
        has = all[c->results.item[i].pipeline];
    return has;
}

int weir_make_pipelines(struct weir *w, struct config *config, struct metrics *metrics,
                        bool (*wanted)(void *ctx, size_t i), void *ctx,
                        struct pipeline **ret, struct error *error)
{
    int failed = 0;
    for (unsigned depth = 0; depth <= CONFIG_CHAIN_MAX; depth++) {
        for (size_t i = 0; i < config->n_pipelines; i++) {
            struct config_pipeline *c = &config->pipeline[i];
            if (c->depth != depth || (wanted && !wanted(ctx, i)) ||
                !has_all(c, ret)) /* that one has faults, or is left out: it is told */
                continue;
            int r = make_pipeline(w, config, c, ret, metrics, &ret[i], error);
            if (r < 0 && !faults_go_on(r, error))
                return r;
            failed = r < 0 ? r : failed;
        }
    }
    return failed;
}

const struct target_kind *const weir_target[CARRIED_TARGETS] = {
    [CARRIED_POSTGRESQL] = &carry_kind, [CARRIED_KAFKA] = &publish_kind};

static int check_targets(struct weir *w, struct error *error)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < CARRIED_TARGETS; i++)
        r = target_check(weir_target[i], w->config, w->pipeline, w->n_pipelines, error);
    return r;
}

static int load_pipelines(struct weir *w, struct error *error)
{
    struct config *c = w->config;
    w->pipeline = calloc(c->n_pipelines + 1, sizeof(struct pipeline *));
    w->log = calloc(c->n_streams + 1, sizeof(struct log *));
    w->stream = calloc(c->n_streams + 1, sizeof(struct source_stream));
    w->intake = calloc(c->n_streams + 1, sizeof(struct weir_intake));
    w->change = calloc(c->n_streams + 1, sizeof(struct source_change *));
    if (!w->pipeline || !w->log || !w->stream || !w->intake || !w->change)
        return error_set(error, -ENOMEM, "no memory");
    w->n_pipelines = c->n_pipelines;
    int r = running_new(&w->running);
    if (r == 0 &&
        (r = weir_make_pipelines(w, c, w->metrics, NULL, NULL, w->pipeline, error)) < 0)
        return r;
    if (r == 0)
        r = hook_specs_new(c, w->pipeline, w->n_pipelines, &w->hook_specs, error);
    if (r == 0)
        r = check_targets(w, error);
    if (r < 0)
        return error->text[0] ? r : error_set(error, r, "no memory");
    w->n_pipelines = weir_close_gaps(w->pipeline, w->n_pipelines);
    struct running_list all = running_list_of(w->pipeline, w->n_pipelines);
    if (!all.pipeline)
        return error_set(error, -ENOMEM, "no memory");
    running_set(w->running, all);
    return 0;
}

/* What crashes have taught, before there are pipelines; from then on threads note what they do, also while analyzers are opened
 * for the first time. Without these files everything works, only a crash is not named, and may come again. */
static int take_crashes(struct weir *w, struct error *error)
{
    char *path;
    struct doing last;
    struct error why;
    if (asprintf(&path, "%s/" WEIR_DOING_FILE, w->journal) < 0)
        return error_set(error, -ENOMEM, "no memory");
    folder_make(w->journal, &why); /* if it cannot be, weir_start says so */
    int r = crashes_read(w->journal, &w->crashes);
    if (r < 0)
        logger_warn("serve", "'%s': %s; what crashes have taught is not known",
                    w->journal, strerror(-r));
    if (doing_read(path, &last))
        crashes_note(w->crashes, &last, w->config, w->plugins);
    int err = doing_open(path);
    if (err < 0 && err != -ENOENT)
        logger_warn("serve", "'%s': %s; a crash will not be named", path,
                    strerror(-err));
    free(path);
    r = w->crashes ? crashes_apply(w->crashes, w->config, w->plugins) : 0;
    return r < 0 ? error_set(error, r, "no memory") : 0;
}

/* `journal` NULL: not to serve; otherwise the folder, which is taken. */
static int load(struct config *config, char *journal, struct weir **ret, int *ret_exit,
                struct error *error)
{
    *ret_exit = EXIT_CONFIG;
    struct weir *w = calloc(1, sizeof(*w));
    if (!w) {
        config_free(config);
        free(journal);
        return error_set(error, -ENOMEM, "no memory");
    }
    hash_setup();
    w->config = config;
    w->journal = journal;
    int r = metrics_new(&w->metrics);
    if (r == 0)
        r = plugins_new(config->server.plugin_path, &w->plugins);
    if (r < 0)
        error_set(error, r, "no memory");
    if (r == 0 && journal)
        r = take_crashes(w, error);
    if (r == 0)
        r = load_pipelines(w, error);
    if (r == 0)
        r = backfill_check(config, error);
    if (r < 0) {
        weir_free(w);
        return r;
    }
    *ret = w;
    return 0;
}

int weir_load_config(struct config *config, struct weir **ret, int *ret_exit,
                     struct error *error)
{
    return load(config, NULL, ret, ret_exit, error);
}

int weir_load_to_serve(const char *config_path, const char *database, struct weir **ret,
                       int *ret_exit, struct error *error)
{
    struct config *config;
    *ret_exit = EXIT_CONFIG;
    int r = config_load(config_path, &config, error);
    if (r < 0)
        return r;
    char *journal = weir_journal_folder(&config->server, database);
    if (journal)
        return load(config, journal, ret, ret_exit, error);
    config_free(config);
    return error_set(error, -ENOMEM, "no memory");
}

int weir_load(const char *config_path, struct weir **ret, int *ret_exit,
              struct error *error)
{
    struct config *config;
    *ret_exit = EXIT_CONFIG;
    int r = config_load(config_path, &config, error);
    return r < 0 ? r : weir_load_config(config, ret, ret_exit, error);
}

static int store_exit_code(int r)
{
    switch (-r) {
    case EINVAL: /* a table does not fit the configuration */
        return EXIT_CONFIG;
    case EBUSY: /* another weir has it */
        return EXIT_UNAVAILABLE;
    case EALREADY: /* a run was stopped as it ended */
        return EXIT_BAD_INPUT;
    case EEXIST: /* the file was made by a newer weir */
    case EACCES:
    case EROFS:
    case ENOENT:
    case ENOTDIR:
    case EPERM:
        return EXIT_CANNOT_CREATE;
    default:
        return EXIT_IO;
    }
}

char *weir_journal_folder(const struct config_server *s, const char *database)
{
    char *folder;
    if (s->journal && (!database || !strcmp(database, s->database)))
        return strdup(s->journal);
    if (asprintf(&folder, "%s.journal", database ? database : s->database) < 0)
        return NULL;
    return folder;
}

/* Of all pipelines; free(). NULL: no memory. */
static const struct table **all_tables(const struct weir *w, size_t *ret_n)
{
    size_t n = 0, total = 0;
    const struct table *const *table;
    for (size_t i = 0; i < w->n_pipelines; i++)
        total += pipeline_tables(w->pipeline[i], &table);
    const struct table **all = calloc(total + 1, sizeof(*all));
    for (size_t i = 0; all && i < w->n_pipelines; i++)
        for (size_t k = pipeline_tables(w->pipeline[i], &table); k > 0; k--)
            all[n++] = *table++;
    *ret_n = n;
    return all;
}

/* All at once: a configuration that is refused for one of them leaves the database as it was. */
static int make_tables(struct weir *w, struct error *error)
{
    size_t n;
    const struct table **all = all_tables(w, &n);
    int err = all ? store_tables(w->store, all, n, error)
                  : error_set(error, -ENOMEM, "no memory");
    free(all);
    return err;
}

int weir_try_store(const struct weir *w, int *ret_exit, struct error *error)
{
    size_t n;
    const struct table **all = all_tables(w, &n);
    int err = all ? store_try(w->config->server.database, all, n, error)
                  : error_set(error, -ENOMEM, "no memory");
    free(all);
    if (!err)
        err = recover_check_references(w, w->config->server.database, true, error);
    *ret_exit = err ? store_exit_code(err) : 0;
    return err;
}

int weir_open_store(struct weir *w, const char *path, int *ret_exit,
                    struct error *error)
{
    const struct config_server *s = &w->config->server;
    const struct store_options options = {.path = path ? path : s->database,
                                          .commit_interval_us = s->commit_interval_us,
                                          .queue_rowsets = STORE_QUEUE_ROWSETS,
                                          .size_max = s->database_limit,
                                          .relaxed = w->relaxed,
                                          .again = w->again,
                                          .stored = store_stored,
                                          .kept = store_kept,
                                          .failed = store_failed,
                                          .ctx = w};
    int r = store_open(&options, w->metrics, &w->store, error);
    if (r == 0 && !w->journal && !(w->journal = weir_journal_folder(s, path)))
        r = error_set(error, -ENOMEM, "no memory");
    if (r == 0)
        r = make_tables(w, error);
    if (r == 0)
        r = results_feed_prepare(w, error);
    if (r == 0)
        r = recover_check_references(w, options.path, false, error);
    for (size_t i = 0; r == 0 && i < w->config->n_streams; i++)
        r = dead_letters_keep(w->store, w->config->stream[i].name, s->dead_letters,
                              w->metrics, error);
    *ret_exit = r < 0 ? store_exit_code(r) : 0;
    return r;
}

/* ---- Running ---------------------------------------------------------------------------------- */

const struct config_stream *weir_stream(const struct weir *w, size_t i)
{
    return w->change[i] ? w->change[i]->config : &w->config->stream[i];
}

struct decode_options weir_decode(const struct weir *w, const struct config_stream *c)
{
    return (struct decode_options){.schema = c->schema,
                                   .field = c->field,
                                   .paths = c->paths,
                                   .lenient = c->lenient,
                                   .time_unit = c->time_unit,
                                   .record_max = w->config->server.max_record,
                                   .depth_max = DEPTH_MAX,
                                   .max_future_skew_us = c->max_future_skew_us,
                                   .check_unit = c->check_unit};
}

static void setup_stream(struct weir *w, size_t i)
{
    const struct config_stream *c = &w->config->stream[i];
    const struct config_server *s = &w->config->server;
    w->stream[i].name = c->name;
    atomic_init(&w->intake[i].clock_us, CLOCK_STEADY_UNSET);
    w->stream[i].decode = weir_decode(w, c);
    w->stream[i].sink =
        (struct source_sink){.ctx = &w->intake[i],
                             .ready = stream_ready,
                             .name = stream_name,
                             .now = c->time_unit == DECODE_ARRIVAL ? stream_now : NULL,
                             .origin = stream_origin,
                             .origin_end = stream_origin_end,
                             .alive = stream_alive,
                             .waits = stream_waits,
                             .there = stream_guest,
                             .append = stream_append,
                             .append_wait = stream_append_wait,
                             .wait = stream_wait,
                             .unwait = stream_unwait,
                             .cancel = stream_cancel,
                             .key_begin = stream_key_begin,
                             .key_abandon = stream_key_abandon,
                             .bookmark = stream_bookmark,
                             .bookmarks = stream_bookmarks,
                             .dead = s->dead_letters ? stream_dead : NULL};
    if (w->fixed_clock) {
        w->intake[i].fixed_us = w->clock_us != INT64_MIN         ? w->clock_us
                                : c->time_unit == DECODE_ARRIVAL ? CLOCK_2000_US
                                                                 : INT64_MAX / 2;
        w->stream[i].sink.now = stream_fixed;
    }
    w->stream[i].max_body = s->max_body;
    w->stream[i].queue_wait_us = s->queue_wait_us;
    w->stream[i].durable = c->durable;
    w->stream[i].closed = s->postgresql && s->postgresql->copy_us;
}

/* The log with what the journal and the database have of it. A run over files reads a journal that is
 * there, and writes none. */
static int make_log(struct weir *w, enum weir_mode mode, size_t i, const char *folder,
                    struct restore *r, struct error *error)
{
    const struct config_server *s = &w->config->server;
    const struct journal_options journal = {.folder = folder,
                                            .made = w->folders_made,
                                            .segment_size = s->segment_size,
                                            .limit = s->journal_limit,
                                            .keep = s->journal_keep,
                                            .skip_damaged = w->skip_damaged};
    struct derive_column derived[SCHEMA_COLUMNS_MAX];
    const struct config_stream *c = &w->config->stream[i];
    size_t n_derived = config_derive_columns(&c->derive, derived);
    struct log_options options = {
        .name = c->name,
        .schema = c->schema,
        .columns = c->columns,
        .derived = derived,
        .n_derived = n_derived,
        .front = w->front,
        .back = w->back,
        .queue_events = s->queue_events,
        .linger_us = s->linger_us,
        .checkpoint_interval_us = s->checkpoint_interval_us,
        .idempotency_keys = s->idempotency_keys,
        .idempotency_retain_us = s->idempotency_retain_us,
        .keeper = {.keep = stream_keep, .there = stream_there, .ctx = &w->intake[i]}};
    if (mode == WEIR_RUN) {
        options.checkpoint_interval_us = 0;
        options.read_only = true;
    }
    if (mode == WEIR_SERVE || access(folder, F_OK) == 0)
        options.journal = &journal;
    int err = recover_stream(w, r, i, &options, error);
    if (err < 0)
        return err;
    w->intake[i].kept = options.kept;
    return log_new(&options, w->metrics, &w->log[i], error);
}

/* The database is to know that it has seen the stream: pipelines that are added later begin at its end. */
static int note_stream(struct weir *w, struct restore *r, size_t i, struct error *error)
{
    uint64_t position;
    int err = restore_stream(r, w->config->stream[i].name, &position, error);
    if (err != -ENOENT)
        return err;
    struct store_stream *s = calloc(1, sizeof(*s));
    if (!s)
        return error_set(error, -ENOMEM, "no memory");
    s->stream = w->config->stream[i].name;
    s->position = log_first(w->log[i]) - 1;
    err = store_put_stream(w->store, s);
    return err < 0 ? error_set(error, err, "stream '%s' cannot be noted", s->stream)
                   : 0;
}

bool weir_goes_without(const struct weir *w, const char *pipeline)
{
    for (size_t i = 0; i < w->n_without; i++)
        if (!strcmp(w->without[i], pipeline))
            return true;
    return false;
}

bool weir_leaves_out(const struct weir *w, const struct pipeline *p)
{
    bool without = false;
    for (; !without && p; p = pipeline_parent(p)) {
        without = weir_goes_without(w, pipeline_config(p)->name) ||
                  pipeline_config(p)->left_out;
        for (size_t i = 0; !without && pipeline_joins(p, i); i++)
            without = weir_leaves_out(w, pipeline_joins(p, i));
    }
    return without;
}

static int hold_input(struct weir *w, struct restore *r, struct pipeline *p,
                      size_t stream, struct error *error)
{
    char *name;
    uint64_t position = 0;
    if (asprintf(&name, "%s.%s", pipeline_config(p)->name,
                 w->config->stream[stream].name) < 0)
        return error_set(error, -ENOMEM, "no memory");
    int err = recover_input_place(w, r, name, stream, &position, error);
    if (err == 0)
        join_hold_place(name, w->log[stream], position);
    free(name);
    return err;
}

/* Its place in the journal, for who starts it later. One that reads another has none of its own. */
static int find_place(struct weir *w, struct restore *r, struct pipeline *p,
                      struct log **ret_log, uint64_t *ret_position, struct error *error)
{
    *ret_log = pipeline_parent(p) ? NULL : w->log[pipeline_config(p)->stream];
    return *ret_log ? recover_place(w, r, p, *ret_log, ret_position, error) : 0;
}

static int hold_inputs(struct weir *w, struct restore *r, struct pipeline *p,
                       struct error *error)
{
    const struct config_joins *joins = &pipeline_config(p)->joins;
    int err = 0;
    for (size_t i = 0; err == 0 && i < joins->n; i++)
        if (!joins->join[i].result)
            err = hold_input(w, r, p, joins->join[i].stream, error);
    return err == 0 ? results_feed_hold(w, r, p, error) : err;
}

static int leave_out(struct weir *w, struct restore *r, struct pipeline *p,
                     struct error *error)
{
    struct log *log;
    uint64_t position = 0;
    int err = find_place(w, r, p, &log, &position, error);
    if (err == 0)
        pipeline_leave_out(p, log, position);
    if (err == 0)
        err = hold_inputs(w, r, p, error);
    store_out(w->store, pipeline_config(p)->name);
    return err;
}

/* Does it read the stream itself? The others start with the one that they read. */
static bool reads_stream(const struct pipeline *p, size_t stream)
{
    return pipeline_config(p)->stream == stream && !pipeline_parent(p);
}

static int open_stream(struct weir *w, enum weir_mode mode, size_t i, struct restore *r,
                       struct error *error)
{
    const struct config *c = w->config;
    char *folder;
    if (asprintf(&folder, "%s/%s", w->journal, c->stream[i].name) < 0)
        return error_set(error, -ENOMEM, "no memory");
    int err = make_log(w, mode, i, folder, r, error);
    free(folder);
    if (err == 0)
        err = copies_name_sources(w, r, i, error);
    if (err < 0)
        return err;
    w->intake[i].log = w->log[i];
    w->intake[i].store = w->store;
    w->intake[i].server = &c->server;
    w->intake[i].stream = c->stream[i].name;
    setup_stream(w, i);
    err = source_count(&w->stream[i], w->metrics);
    return err < 0 ? error_set(error, err, "no memory") : recover_keys(w, r, i, error);
}

static void stop_chain(struct pipeline *p)
{
    pipeline_stop(p);
    for (struct pipeline *c = NULL; (c = pipeline_child(p, c));)
        stop_chain(c);
}

/* The process of an analyzer has ended before its pipeline, or one that reads it, could begin: in loading states, say. As if
 * that had come later it is started again, or has failed (on_crash), and all others go on. Returns `err` if it was something
 * else. */
static int hold_crashed(struct weir *w, struct restore *r, struct pipeline *p, int err,
                        struct error *error)
{
    const struct error why = *error;
    struct log *log;
    uint64_t position = 0;
    if (!w->crashed || !pipeline_crash_at_start(p, &why))
        return err;
    if (!pipeline_failed(p)) /* one that reads it has */
        pipeline_fail(p, &why);
    stop_chain(p);
    *error = (struct error){0};
    err = find_place(w, r, p, &log, &position, error);
    if (err == 0)
        pipeline_hold(p, log, position);
    return err == 0 ? hold_inputs(w, r, p, error) : err;
}

static int start_pipelines(struct weir *w, enum weir_mode mode, size_t i,
                           struct restore *r, struct error *error)
{
    int err = 0;
    size_t readers = 0;
    for (size_t k = 0; k < w->n_pipelines; k++)
        readers += reads_stream(w->pipeline[k], i);
    for (size_t k = 0; mode == WEIR_RUN && k < w->n_pipelines; k++)
        if (reads_stream(w->pipeline[k], i) &&
            !results_feed_is_joined(w, w->pipeline[k])) /* others wait for them */
            pipeline_keep_open(w->pipeline[k], w->keep_open / readers);
    for (size_t k = 0; err == 0 && k < w->n_pipelines; k++) {
        struct pipeline *p = w->pipeline[k];
        if (!reads_stream(p, i))
            continue;
        if ((err = restart_tell(w, p)) < 0)
            return error_set(error, err, "no memory");
        err = weir_start_pipeline(w, r, p, false, error);
        if (err < 0 && mode == WEIR_SERVE)
            err = hold_crashed(w, r, p, err, error);
    }
    return err;
}

/* Those that read it start first, and it feeds nobody who is not there. */
static int start_chain(struct weir *w, struct restore *r, struct pipeline *p,
                       uint64_t position, bool live, struct error *error)
{
    const struct config_pipeline *c = pipeline_config(p);
    bool without = weir_leaves_out(w, p), stores = false;
    int err = without ? leave_out(w, r, p, error)
                      : recover_pipeline(w, r, p, &position, &stores, error);
    if (err == 0 && !without)
        err = pipeline_open_outflows(p, w->back, error);
    struct pipeline *child = NULL;
    while (err == 0 && (child = pipeline_child(p, child)))
        err = start_chain(w, r, child, position, false, error);
    /* Behind those of the children: where the start ends in between, they begin afresh once more, as this one does. Otherwise
     * they would keep what they know of results that it does not know any more. */
    if (err == 0 && stores)
        err = pipeline_first_checkpoint(p, position, error);
    if (err == 0 && !without)
        err = pipeline_start_outflows(p, error);
    if (err == 0 && !without)
        err = pipeline_start(p, w->back,
                             pipeline_parent(p) ? pipeline_reads(p) : w->log[c->stream],
                             position, live, error);
    if (err == 0 && !without)
        err = results_feed_add(w, p, error);
    return err;
}

int weir_start_pipeline(struct weir *w, struct restore *r, struct pipeline *p,
                        bool live, struct error *error)
{
    int err = start_chain(w, r, p, 0, live, error);
    if (err < 0 && !live) /* otherwise the pipeline itself says it */
        error_prefix(error, "pipeline '%s'", pipeline_config(p)->name);
    return err;
}

/* With its name on disk: what will be acknowledged lies below it. */
static int make_journal_folder(const struct weir *w, struct error *error)
{
    int err = folder_make(w->journal, error);
    if (err < 0)
        error_prefix(error, "journal '%s'", w->journal);
    return err;
}

/* Does the stream run? In a run over files those that it is given. */
static bool runs(const struct weir *w, size_t stream)
{
    return !w->only || w->only[stream];
}

/* Their names are made durable once for all streams: for a thousand that is half a second. If they cannot be, the journal
 * that cannot be opened says so. */
static void make_stream_folders(struct weir *w)
{
    const size_t n = w->config->n_streams;
    const char **name = calloc(n + 1, sizeof(*name));
    for (size_t i = 0; name && i < n; i++)
        name[i] = w->config->stream[i].name;
    w->folders_made = name && folder_make_all(w->journal, name, n) == 0;
    free(name);
}

/* All streams that are to run, each with its first checkpoints in the file. Pipelines that join several need all
 * logs, and whether their streams are new to the database. */
static int start_streams(struct weir *w, enum weir_mode mode, struct restore *r,
                         struct error *error)
{
    const size_t n = w->config->n_streams;
    int err = 0;
    if (mode == WEIR_SERVE && !w->only)
        make_stream_folders(w);
    for (size_t i = 0; err == 0 && i < n; i++)
        err = runs(w, i) ? open_stream(w, mode, i, r, error) : 0;
    if (err == 0 && w->crashes && (err = restart_begin(w)) < 0)
        error_set(error, err, "no memory");
    for (size_t i = 0; err == 0 && i < n; i++)
        err = runs(w, i) ? start_pipelines(w, mode, i, r, error) : 0;
    for (size_t i = 0; err == 0 && i < n; i++)
        err = runs(w, i) ? note_stream(w, r, i, error) : 0;
    if (err == 0 && (err = store_flush(w->store)) < 0)
        error_set(error, err, "the database cannot be written to");
    return err;
}

static int start_threads(struct weir *w, struct error *error)
{
    unsigned n = w->config->server.threads;
    int r = tasks_new("log", n, false, &w->front);
    if (r == 0)
        r = tasks_new("work", n, true, &w->back);
    return r < 0 ? error_set(error, r, "cannot start threads: %s", strerror(-r)) : 0;
}

static int start_targets(struct weir *w, struct error *error)
{
    int err = 0;
    for (size_t i = 0; err == 0 && i < CARRIED_TARGETS; i++) {
        struct target_set *set = w->target_set[i];
        struct target *t = NULL;
        w->target_set[i] = NULL;
        if (set)
            err =
                target_new(w->store, w->metrics, set,
                           i == CARRIED_POSTGRESQL ? copies_with(w) : NULL, &t, error);
        if (err == 0)
            atomic_store_explicit(&w->target[i], t, memory_order_release);
    }
    return err;
}

/* Before there are rows. */
static int prepare_followers(struct weir *w, struct error *error)
{
    int err = hooks_prepare(w->store, w->hook_specs, error);
    for (size_t i = 0; err == 0 && i < CARRIED_TARGETS; i++)
        err = target_prepare(weir_target[i], w->store, NULL, w->config, w->config,
                             w->pipeline, w->n_pipelines, &w->target_set[i], error);
    return err;
}

int weir_start(struct weir *w, enum weir_mode mode, int *ret_exit, struct error *error)
{
    struct restore *restore = NULL;
    *ret_exit = EXIT_FAILURE;
    w->serves = mode == WEIR_SERVE;
    int r = copies_follow(w, error);
    if (r == 0)
        r = store_start(w->store, error);
    if (r == 0)
        r = start_threads(w, error);
    if (r == 0 && mode == WEIR_SERVE && (r = make_journal_folder(w, error)) < 0)
        *ret_exit = EXIT_CANNOT_CREATE;
    if (r == 0)
        r = restore_open(store_path(w->store), &restore, error);
    if (r == 0 && mode == WEIR_SERVE)
        r = prepare_followers(w, error);
    if (r == 0 && (r = start_streams(w, mode, restore, error)) == -EBADMSG)
        *ret_exit = EXIT_IO;
    restore_close(restore);
    atomic_store_explicit(&w->wired, r == 0, memory_order_release);
    for (size_t i = 0; r == 0 && i < w->config->n_streams; i++)
        r = w->log[i] ? log_start(w->log[i], error) : 0;
    if (r == 0)
        r = backfill_start(w, error);
    if (r == 0 && mode == WEIR_SERVE)
        recover_forget(w);
    if (r == 0 && mode == WEIR_SERVE && w->hook_specs) {
        struct hook_spec *specs = w->hook_specs;
        w->hook_specs = NULL;
        r = weir_start_hooks(w, specs, error);
    }
    if (r == 0)
        r = start_targets(w, error);
    return r;
}

int weir_start_hooks(struct weir *w, struct hook_spec *specs, struct error *error)
{
    struct hooks *h = NULL;
    int err = hooks_new(w->store, w->metrics, specs, &h, error);
    if (err == 0)
        atomic_store_explicit(&w->hooks, h, memory_order_release);
    return err;
}

bool weir_is_ready(struct weir *w, struct error *why)
{
    struct error error;
    for (size_t i = 0; i < w->config->n_streams; i++) {
        if (log_failed(w->log[i], &error))
            error_set(why, 0, "stream '%s' takes nothing: %.400s",
                      w->config->stream[i].name, error.text);
        else if (!log_is_ready(w->log[i]))
            error_set(why, 0, "stream '%s': the journal is still being read",
                      w->config->stream[i].name);
        else
            continue;
        return false;
    }
    return true;
}

bool weir_can_take(struct weir *w, struct error *why)
{
    struct error error;
    if (!weir_is_ready(w, why) || !store_is_well(w->store, why))
        return false;
    for (size_t i = 0; i < w->config->n_streams; i++) {
        if (log_has_room(w->log[i], &error))
            continue;
        error_set(why, 0, "stream '%s' takes nothing: %.400s",
                  w->config->stream[i].name, error.text);
        return false;
    }
    return true;
}

/* They read what they have been fed until the deadline. Returns how many groups of open windows there are. */
static uint64_t stop_pipelines(struct weir *w, int64_t deadline_us)
{
    uint64_t open_groups = 0;
    for (size_t i = 0; i < w->n_pipelines; i++) {
        if (pipeline_drain(w->pipeline[i], deadline_us))
            continue;
        logger_warn(
            "serve",
            "pipeline '%s' is too slow: what it has not read of its events stays in "
            "the journal for the next start",
            pipeline_config(w->pipeline[i])->name);
        pipeline_leave(w->pipeline[i]);
    }
    for (size_t i = 0; i < w->n_pipelines; i++) {
        struct pipeline_status status;
        pipeline_stop(w->pipeline[i]);
        pipeline_status(w->pipeline[i], &status);
        open_groups += status.groups;
    }
    return open_groups;
}

static void say_step(struct weir *w, const char *step)
{
    if (w->step)
        atomic_store_explicit(w->step, step, memory_order_relaxed);
}

uint64_t weir_stop(struct weir *w, enum log_end end, int64_t deadline_us)
{
    uint64_t open_groups = 0;
    copies_end(w, clock_monotonic_us() + SECOND_US);
    if (w->store && end != LOG_FINISH)
        store_hurry(w->store); /* who waits for the store does not keep the others */
    backfill_stop_all(w);
    if (end == LOG_FINISH) {
        deadline_us = INT64_MAX;
        results_feed_begin_end(w);
    }
    for (size_t i = 0; i < w->config->n_streams; i++)
        if (w->log[i])
            log_end(w->log[i], end);
    for (size_t i = 0; i < w->config->n_streams; i++) {
        say_step(w, w->config->stream[i].name);
        if (w->log[i])
            log_close(w->log[i], end, deadline_us);
    }
    say_step(w, "pipelines");
    if (end == LOG_FINISH)
        results_feed_finish(w);
    results_feed_stop(w);
    open_groups = stop_pipelines(w, deadline_us);
    say_step(w, "the database");
    if (w->store && store_sync(w->store) < 0)
        w->lost = true;
    copies_last(w);
    for (size_t i = 0; end == LOG_FINISH && !weir_failed(w) && i < w->config->n_streams;
         i++)
        if (w->log[i])
            log_forget(w->log[i]);
    return open_groups;
}

bool weir_failed(struct weir *w)
{
    struct running_list all = running_all(w->running);
    bool failed = w->lost;
    for (size_t i = 0; i < all.n; i++)
        failed = failed || (pipeline_failed(all.pipeline[i]) &&
                            !pipeline_is_left_out(all.pipeline[i]));
    running_done(&all);
    return failed;
}

void weir_free(struct weir *w)
{
    if (!w)
        return;
    copies_end(w, INT64_MAX);
    results_feed_stop(w);
    backfill_stop_all(w);
    for (size_t i = 0; w->log && i < w->config->n_streams; i++)
        if (w->log[i])
            log_close(w->log[i], LOG_LEAVE, 0);
    for (size_t i = 0; w->pipeline && i < w->n_pipelines; i++)
        pipeline_stop(w->pipeline[i]);
    hooks_end(w->hooks);
    for (size_t i = 0; i < CARRIED_TARGETS; i++)
        target_end(w->target[i]);
    store_free(w->store);
    for (size_t i = 0; w->log && i < w->config->n_streams; i++)
        log_free(w->log[i]);
    if (w->metrics)
        metrics_remove_all(w->metrics);
    hooks_free(w->hooks);
    hook_specs_free(w->hook_specs);
    for (size_t i = 0; i < CARRIED_TARGETS; i++) {
        target_free(w->target[i]);
        target_set_free(w->target_set[i]);
    }
    for (size_t i = 0; w->pipeline && i < w->n_pipelines; i++)
        pipeline_unref(w->pipeline[i]);
    tasks_free(w->back);
    tasks_free(w->front);
    lookups_free(w->lookups);
    doing_close();
    copies_free(w);
    restarts_free(w->restarts);
    crashes_free(w->crashes);
    free(w->intake);
    free(w->journal);
    running_free(w->running);
    free(w->stream);
    free(w->log);
    free(w->pipeline);
    plugins_free(w->plugins);
    metrics_free(w->metrics);
    for (size_t i = 0; w->change && i < w->config->n_streams; i++)
        for (struct source_change *c = w->change[i], *before; c; c = before) {
            before = c->before;
            free(c);
        }
    free(w->change);
    for (size_t i = 0; i < w->n_past; i++)
        config_free(w->past[i]);
    free(w->past);
    config_free(w->latest);
    config_free(w->config);
    free(w);
}
