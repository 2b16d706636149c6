/* SPDX-License-Identifier: Apache-2.0 */
#include "backfill.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/logger.h"
#include "base/thread.h"
#include "pipeline/join.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct backfill {
    struct weir *weir;
    struct pipeline *pipeline; /* a reference */
    struct join_input
        *input; /* what it is brought: of a stream that it joins, or NULL: of its own */
    struct log *log;
    pthread_t thread;
    _Atomic bool stop, over; /* relaxed: soon enough; release, acquire */
    bool files;
    struct source_stream stream; /* of the files: they go to the pipeline alone */
    uint64_t sequence;           /* of the next row, from 1 on */
    struct backfill *next;
};

static int check_pipeline(const struct config *c, const struct config_pipeline *p,
                          struct error *error)
{
    struct error why;
    enum decode_format format;
    const struct config_stream *s = &c->stream[p->stream];
    for (size_t k = 0; k < p->n_backfill; k++) {
        if (s->time_unit == DECODE_ARRIVAL)
            return node_error(
                p->backfill_node, error,
                "events of '%s' have the time at which they arrive, which "
                "those of files do not have",
                s->name);
        if (strcmp(p->backfill[k], "-") == 0)
            return node_error(&p->backfill_node->item[k], error,
                              "a server has no standard input; the name of a file is "
                              "expected here");
        if (source_file_format(p->backfill[k], &format, &why) < 0)
            return node_error(&p->backfill_node->item[k], error, "%s", why.text);
    }
    return 0;
}

int backfill_check(const struct config *c, struct error *error)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < c->n_pipelines; i++)
        r = check_pipeline(c, &c->pipeline[i], error);
    return r;
}

/* ---- Files ------------------------------------------------------------------------------------- */

static int put(struct backfill *b, struct log_entry *e)
{
    fault_point("backfill");
    return log_put_behind(b->log, pipeline_config(b->pipeline)->name, e, &b->stop);
}

/* For source_file: the batches are the pipeline's. */
static int take(void *ctx, const struct request *r)
{
    struct backfill *b = ctx;
    for (size_t i = 0; i < r->n; i++) {
        struct log_entry *e;
        int err = pipeline_file_entry(b->pipeline, LOG_BATCH, b->sequence, &e);
        if (err < 0)
            return err; /* those that were taken stay so: all ends here */
        batch_seal(r->batch[i]);
        e->batch = batch_ref(r->batch[i]);
        b->sequence += r->batch[i]->n_rows;
        err = put(b, e);
        if (err < 0)
            return err;
    }
    for (size_t i = 0; i < r->n; i++)
        batch_unref(r->batch[i]);
    return 0;
}

/* Behind the last file nobody sends so any more, and from here on there is a checkpoint to go on from. */
static int end_files(struct backfill *b)
{
    static const enum log_kind kind[] = {LOG_IDLE, LOG_CHECKPOINT};
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof(kind) / sizeof(kind[0]); i++) {
        struct log_entry *e;
        r = pipeline_file_entry(b->pipeline, kind[i], b->sequence, &e);
        if (r == 0)
            r = put(b, e);
    }
    return r;
}

static int64_t stream_now(void *ctx)
{
    (void)ctx;
    return clock_now_us();
}

/* A crash is to find all of it again. */
static int check_files(const struct config_pipeline *c, struct error *error)
{
    struct stat st;
    for (size_t i = 0; i < c->n_backfill; i++)
        if (stat(c->backfill[i], &st) < 0)
            return error_set(error, -errno, "\"%s\": %s", c->backfill[i],
                             strerror(errno));
        else if (!S_ISREG(st.st_mode))
            return error_set(error, -EINVAL,
                             "\"%s\": not a regular file, which could be read again",
                             c->backfill[i]);
    return 0;
}

static int read_files(struct backfill *b, struct error *error)
{
    const struct config_pipeline *c = pipeline_config(b->pipeline);
    struct source_result result = {0};
    b->stream.name = b->weir->config->stream[c->stream].name;
    b->stream.decode = *source_decode(&b->weir->stream[c->stream]);
    b->stream.sink =
        (struct source_sink){.ctx = b, .now = stream_now, .append_wait = take};
    b->sequence = 1;
    const struct source_files files = {.stream = &b->stream,
                                       .path = (const char *const *)c->backfill,
                                       .n = c->n_backfill,
                                       .format = SOURCE_BY_NAME,
                                       .stop = &b->stop};
    int r = check_files(c, error);
    if (r == 0)
        r = source_file(&files, &result, error);
    for (size_t i = 0; i < result.n_faults; i++)
        logger_warn("backfill", "pipeline '%s': %s:%llu:%u: %s", c->name,
                    result.fault[i].path,
                    (unsigned long long)result.fault[i].error.line,
                    result.fault[i].error.column, result.fault[i].error.message);
    if (r == 0 && (r = end_files(b)) == -ENOMEM)
        error_set(error, r, "no memory");
    if (r == 0)
        logger_info("backfill",
                    "pipeline '%s': %llu events of %zu files are read, %llu rejected",
                    c->name, (unsigned long long)result.accepted, c->n_backfill,
                    (unsigned long long)result.rejected);
    return r;
}

/* ---- The thread -------------------------------------------------------------------------------- */

static void *run(void *ctx)
{
    struct backfill *b = ctx;
    const char *name = pipeline_config(b->pipeline)->name;
    const char *reader = b->input ? b->input->name : name;
    struct error error = {0};
    int r = b->files ? read_files(b, &error) : 0;
    if (r == 0)
        r = log_catch_up(b->log, reader, &b->stop, &error);
    bool stopped = atomic_load_explicit(&b->stop, memory_order_relaxed) ||
                   pipeline_failed(b->pipeline) || r == -ECANCELED;
    if (r == 0 && b->input) {
        join_caught_up(b->input);
        logger_info("backfill", "pipeline '%s' has caught up with '%s'", name,
                    b->input->stream);
    } else if (r == 0) {
        pipeline_caught_up(b->pipeline);
        logger_info("backfill", "pipeline '%s' has caught up with its stream", name);
    } else if (!stopped) {
        error_prefix(&error, "backfill");
        pipeline_fail(b->pipeline, &error);
    }
    atomic_store_explicit(&b->over, true, memory_order_release);
    return NULL;
}

static void end(struct backfill *b)
{
    atomic_store_explicit(&b->stop, true, memory_order_relaxed);
    pthread_join(b->thread, NULL);
    pipeline_unref(b->pipeline);
    free(b);
}

static void end_those(struct weir *w,
                      bool (*is)(const struct backfill *b, const void *),
                      const void *ctx)
{
    for (struct backfill **at = &w->backfills, *b; (b = *at);) {
        if (!is(b, ctx)) {
            at = &b->next;
            continue;
        }
        *at = b->next;
        end(b);
    }
}

static bool is_of(const struct backfill *b, const void *pipeline)
{
    return b->pipeline == pipeline;
}

static bool is_over(const struct backfill *b, const void *ctx)
{
    (void)ctx;
    return atomic_load_explicit(&b->over, memory_order_acquire);
}

static bool is_any(const struct backfill *b, const void *ctx)
{
    (void)b;
    (void)ctx;
    return true;
}

void backfill_stop(struct weir *w, const struct pipeline *p)
{
    end_those(w, is_of, p);
}

void backfill_stop_all(struct weir *w)
{
    end_those(w, is_any, NULL);
}

static bool runs_for(const struct weir *w, const struct pipeline *p,
                     const struct join_input *in)
{
    const struct backfill *b = w->backfills;
    while (b && (b->pipeline != p || b->input != in))
        b = b->next;
    return b;
}

static int start(struct weir *w, struct pipeline *p, struct join_input *in,
                 struct error *error)
{
    if (runs_for(w, p, in))
        return 0;

    struct backfill *b = calloc(1, sizeof(*b));
    if (!b)
        return error_set(error, -ENOMEM, "no memory");
    b->weir = w;
    b->pipeline = pipeline_ref(p);
    b->input = in;
    b->log = in ? in->log : w->log[pipeline_config(p)->stream];
    b->files = !in && pipeline_wants_files(p);
    int r = thread_start(&b->thread, "backfill", run, b);
    if (r < 0) {
        pipeline_unref(p);
        free(b);
        return error_set(error, r, "cannot start a thread: %s", strerror(-r));
    }
    b->next = w->backfills;
    w->backfills = b;
    return 0;
}

int backfill_start(struct weir *w, struct error *error)
{
    int r = 0;
    end_those(w, is_over, NULL);
    for (size_t i = 0; r == 0 && i < w->n_pipelines; i++) {
        struct pipeline *p = w->pipeline[i];
        struct join *j = pipeline_join(p);
        if (pipeline_parent(p) || pipeline_failed(p))
            continue;
        /* Each on a thread of its own: one waits where it is ahead of another. */
        for (size_t k = 0; r == 0 && j && k < j->n; k++)
            if (atomic_load_explicit(&j->input[k].behind, memory_order_relaxed))
                r = start(w, p, &j->input[k], error);
        if (r == 0 && pipeline_is_behind(p))
            r = start(w, p, NULL, error);
    }
    return r;
}
