/* SPDX-License-Identifier: Apache-2.0
 *
 * weir run: files or standard input through the pipelines of streams, as fast as they go.
 */
#include "base/clock.h"
#include "base/fileid.h"
#include "base/logger.h"
#include "base/thread.h"
#include "cmd.h"
#include "config/faults.h"
#include "control.h"
#include "runs.h"
#include "source/source.h"
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char help[] =
    "Usage: weir run -c FILE --stream NAME [FILE...|-]\n"
    "       weir run -c FILE --stream NAME=FILE --stream NAME=FILE...\n\n"
    "Reads events from files (.ndjson, .jsonl, .json, .csv, .lp, each also .gz) or "
    "standard "
    "input, runs the\n"
    "pipelines of the stream, closes every window at the end, writes the results to "
    "the "
    "database and\n"
    "exits. Events may be in any order, as long as there is room for all open "
    "windows.\n"
    "Where a server of this user has the database, it reads the files instead, and "
    "goes on.\n\n"
    "  -c, --config FILE      the configuration, weir.yaml(5)\n"
    "  -s, --stream NAME      the stream that the events belong to; NAME=FILE, any "
    "number "
    "of times, for\n"
    "                         several streams at once, which pipelines can join\n"
    "  -f, --format FORMAT    ndjson (default of standard input), json, csv or\n"
    "                         lines (line protocol)\n"
    "  -d, --database FILE    instead of the configured one\n"
    "  -m, --memory SIZE      for open windows; 1GiB if not given; when it is used up, "
    "windows close\n"
    "                         as events come\n"
    "      --live             windows close as events come from the beginning, as a "
    "server's do\n"
    "      --again            takes also what a server has taken of the files before,\n"
    "                         or a run that was stopped as it ended\n"
    "  -q, --quiet            no progress, no summary\n"
    "  -h, --help             this text\n\n"
    "Exit status: 0 all events were taken, 65 some were rejected or came too late for "
    "their window, 1 a\n"
    "pipeline failed, 69 the server ended meanwhile, 74 a file cannot be read, 78 bad "
    "configuration.\n";

#define MEMORY_DEFAULT ((uint64_t)1 << 30)
#define LOOK_US        1000

struct run_input { /* a stream with its files */
    char *name;
    size_t stream;
    const char **path;
    size_t n_paths;
};

struct run_options {
    const char *config, *database;
    int format;      /* enum decode_format, or SOURCE_BY_NAME */
    uint64_t memory; /* of open windows; 0: they close as events come */
    bool quiet, again;
    struct run_input *input;
    size_t n_inputs;
};

/* ---- Progress: one line on a terminal, drawn anew ten times a second --------------------------- */

struct progress {
    int64_t begun_us, drawn_us;
};

#define BAR 30

static void draw(const struct progress *p, uint64_t bytes, uint64_t total,
                 uint64_t rows)
{
    double s = (double)(clock_monotonic_us() - p->begun_us) / 1e6;
    char bar[BAR + 1] = "";
    for (uint64_t i = 0; total && i < BAR; i++)
        bar[i] = i < bytes * BAR / total ? '#' : '.';
    fprintf(stderr, "\r[%s] %.1f MB, %.2f M events, %.2f M events/s ", bar,
            (double)bytes / 1e6, (double)rows / 1e6,
            s > 0 ? (double)rows / 1e6 / s : 0);
}

static void show_progress(void *ctx, uint64_t bytes, uint64_t total, uint64_t rows)
{
    struct progress *p = ctx;
    int64_t now_us = clock_monotonic_us();
    if (now_us - p->drawn_us < SECOND_US / 10 && bytes != total)
        return;
    p->drawn_us = now_us;
    draw(p, bytes, total, rows);
}

/* ---- What came of it --------------------------------------------------------------------------- */

static void print_faults(const struct source_result *r)
{
    for (size_t i = 0; i < r->n_faults; i++) {
        const struct decode_error *e = &r->fault[i].error;
        fprintf(stderr, "%s:%llu:%u: %s\n", r->fault[i].path,
                (unsigned long long)e->line, e->column, e->message);
    }
    if (r->rejected > r->n_faults)
        fprintf(stderr, "... and %llu more\n",
                (unsigned long long)(r->rejected - r->n_faults));
}

static void print_count(uint64_t n, const char *what)
{
    if (n)
        fprintf(stderr, ", %llu %s", (unsigned long long)n, what);
}

static void print_pipeline(const struct pipeline_status *s)
{
    fprintf(stderr, "pipeline %s: %llu events in %llu result rows", s->name,
            (unsigned long long)s->events, (unsigned long long)s->rows);
    print_count(s->late_by[CONFIG_LATE_DROP], "late");
    print_count(s->late_by[CONFIG_LATE_SIDE], "late, in the table of late events");
    print_count(s->late_by[CONFIG_LATE_REVISE], "late that revised results");
    print_count(s->filtered, "not selected by where");
    print_count(s->where_errors, "for which where failed");
    print_count(s->null_keys, "without a key");
    print_count(s->long_keys, "with too long a key");
    print_count(s->over_groups, "over max_groups");
    print_count(s->no_until, "without an end of a window (no_until)");
    print_count(s->choose_errors, "for which the where of an analyzer failed");
    print_count(s->derive_errors, "derived values that are null for an error");
    print_count(s->join_late, "of joined streams late");
    print_count(s->join_too_late, "too late to find events of joined streams");
    fputc('\n', stderr);
}

/* What no result and no table has because it was late, and why. Returns how much. */
static uint64_t print_lost(const struct pipeline_status *s)
{
    uint64_t dropped = s->late_by[CONFIG_LATE_DROP], now = dropped - s->late_known;
    if (s->late_known)
        fprintf(stderr,
                "pipeline %s: %llu events are of windows that are in the database "
                "already; --database FILE begins another one\n",
                s->name, (unsigned long long)s->late_known);
    if (now && s->released)
        fprintf(stderr,
                "pipeline %s: %llu events came after their window had been closed for "
                "want of room; raise --memory or max_groups, sort the input, or raise "
                "out_of_orderness\n",
                s->name, (unsigned long long)now);
    else if (now)
        fprintf(
            stderr,
            "pipeline %s: %llu events came after their window had been closed; "
            "without --live windows stay open until the end, but those of results that "
            "others join\n",
            s->name, (unsigned long long)now);
    if (s->join_cut)
        fprintf(stderr,
                "pipeline %s: %llu joined texts are null, as those of a batch are more "
                "than it can hold; join shorter ones\n",
                s->name, (unsigned long long)s->join_cut);
    uint64_t not_found = s->join_late + s->join_too_late;
    if (not_found)
        fprintf(
            stderr,
            "pipeline %s: %llu events came too late to be joined; sort the input, or "
            "raise out_of_orderness\n",
            s->name, (unsigned long long)not_found);
    return dropped + not_found + s->join_cut;
}

static uint64_t events_lost(struct weir *w)
{
    uint64_t lost = 0;
    for (size_t i = 0; i < w->n_pipelines; i++) {
        struct pipeline_status s;
        pipeline_status(w->pipeline[i], &s);
        if (w->only[pipeline_config(w->pipeline[i])->stream])
            lost += print_lost(&s);
    }
    return lost;
}

static void print_taken(const char *by, const struct source_result *r, uint64_t before,
                        double seconds)
{
    fprintf(stderr, "%llu events taken%s", (unsigned long long)r->accepted, by);
    print_count(before, "of them before, and not again");
    fprintf(stderr, ", %llu rejected, %.2f s, %.2f M events/s\n",
            (unsigned long long)r->rejected, seconds,
            seconds > 0 ? (double)r->accepted / 1e6 / seconds : 0);
}

static void print_summary(struct weir *w, const struct source_result *r,
                          uint64_t before, double seconds)
{
    uint64_t errors = 0;
    print_taken("", r, before, seconds);
    for (size_t i = 0; i < w->config->n_streams; i++)
        errors += w->only[i] ? log_derive_errors(w->log[i]) : 0;
    if (errors)
        fprintf(stderr, "%llu derived values of the stream are null for an error\n",
                (unsigned long long)errors);
    for (size_t i = 0; i < w->n_pipelines; i++) {
        struct pipeline_status s;
        pipeline_status(w->pipeline[i], &s);
        if (w->only[pipeline_config(w->pipeline[i])->stream])
            print_pipeline(&s);
    }
}

/* ---- The run ------------------------------------------------------------------------------------ */

static int find_stream(const struct weir *w, const char *name, size_t *ret,
                       struct error *error)
{
    for (size_t i = 0; i < w->config->n_streams; i++) {
        if (strcmp(w->config->stream[i].name, name))
            continue;
        *ret = i;
        return 0;
    }
    error_set(error, -ENOENT, "stream '%s' is not in the configuration", name);
    const char **names = calloc(w->config->n_streams + 1, sizeof(char *));
    for (size_t i = 0; names && i < w->config->n_streams; i++)
        names[i] = w->config->stream[i].name;
    if (names)
        node_suggest(error, name, names, w->config->n_streams);
    free(names);
    return -ENOENT;
}

static int file_exit_code(int r)
{
    if (r == 0)
        return EXIT_SUCCESS;
    if (r == -EINTR) /* a part is not what was asked for */
        return EXIT_FAILURE;
    if (r == -EPIPE) /* of the server that had the files */
        return EXIT_UNAVAILABLE;
    return r == -EINVAL ? EXIT_USAGE : r == -EBADMSG ? EXIT_BAD_INPUT : EXIT_IO;
}

/* One stream's files, in a thread of its own where there are several: pipelines that join them need all at once. */
struct pushing {
    struct weir *weir;
    const struct run_options *options;
    const struct run_input *input;
    struct progress *progress; /* NULL: none is shown */
    const char
        *folder; /* of the journals of a server that takes them; NULL: there is none */
    uint64_t before;                /* events that a server had taken before */
    struct runs_pipeline *pipeline; /* what became of them there */
    size_t n_pipelines;
    pthread_t thread;
    struct source_result result;
    struct error error;
    int r;
};

static void note_pipeline(void *ctx, const struct runs_pipeline *pipeline)
{
    struct pushing *p = ctx;
    struct runs_pipeline *list =
        realloc(p->pipeline, (p->n_pipelines + 1) * sizeof(*list));
    if (!list)
        return;
    p->pipeline = list;
    list[p->n_pipelines++] = *pipeline;
}

static int hand_to_server(struct pushing *p, const struct source_files *files)
{
    const struct runs_handing handing = {.folder = p->folder,
                                         .stream = p->input->name,
                                         .files = files,
                                         .pipeline = note_pipeline,
                                         .ctx = p};
    return runs_hand(&handing, &p->result, &p->before, &p->error);
}

/* The keys of what a server has taken are in the journal, too, which is read first. */
static bool knows_requests(const struct pushing *p)
{
    struct log *log = p->weir->log[p->input->stream];
    struct error error;
    while (!log_is_ready(log) && !log_failed(log, &error) &&
           !atomic_load_explicit(&cmd_stop, memory_order_relaxed))
        clock_sleep_us(LOOK_US);
    return log_knows_requests(log);
}

static int push_here(struct pushing *p, const struct source_files *files)
{
    return !p->options->again && knows_requests(p)
               ? runs_push(files, &p->result, &p->before, &p->error)
               : source_file(files, &p->result, &p->error);
}

static void *push_stream(void *ctx)
{
    struct pushing *p = ctx;
    const struct source_files files = {.stream = &p->weir->stream[p->input->stream],
                                       .path = p->input->path,
                                       .n = p->input->n_paths,
                                       .format = p->options->format,
                                       .progress = p->progress ? show_progress : NULL,
                                       .ctx = p->progress,
                                       .stop = &cmd_stop};
    p->r = p->folder ? hand_to_server(p, &files) : push_here(p, &files);
    if (p->r < 0) /* the others need not go on */
        atomic_store_explicit(&cmd_stop, true, memory_order_relaxed);
    else if (p->options->n_inputs > 1 && !p->folder) {
        store_ending(p->weir->store);
        log_end(p->weir->log[p->input->stream],
                LOG_FINISH); /* nobody is to wait for it any more */
    }
    return NULL;
}

static int push_all(struct pushing *p, size_t n)
{
    size_t started = 0;
    if (n == 1) {
        push_stream(&p[0]);
        return p[0].r;
    }
    for (; started < n; started++)
        if (thread_start(&p[started].thread, "run", push_stream, &p[started]) < 0)
            break;
    if (started < n)
        atomic_store_explicit(&cmd_stop, true, memory_order_relaxed);
    for (size_t i = 0; i < started; i++)
        pthread_join(p[i].thread, NULL);
    int r = started < n ? error_set(&p[started].error, -EAGAIN, "cannot start a thread")
                        : 0;
    for (size_t i = 0; i < started; i++) /* what stopped the others comes first */
        if (p[i].r < 0 && (r == 0 || r == -EINTR))
            r = p[i].r;
    return r;
}

static void add_result(struct source_result *to, const struct source_result *r)
{
    to->accepted += r->accepted;
    to->rejected += r->rejected;
    print_faults(r);
}

static int push_inputs(struct weir *w, const struct run_options *o, struct pushing *p,
                       const char *folder, struct progress *progress)
{
    bool show = !o->quiet && o->n_inputs == 1 && isatty(STDERR_FILENO);
    for (size_t i = 0; i < o->n_inputs; i++) {
        p[i].weir = w;
        p[i].options = o;
        p[i].input = &o->input[i];
        p[i].progress = show ? progress : NULL;
        p[i].folder = folder;
    }
    int r = push_all(p, o->n_inputs);
    if (show)
        fputc('\n', stderr);
    return r;
}

static void add_results(struct source_result *to, const struct run_options *o,
                        const struct pushing *p, int r)
{
    for (size_t i = 0; i < o->n_inputs; i++) {
        add_result(to, &p[i].result);
        if (p[i].error.text[0] && (p[i].r != -EINTR || r == -EINTR))
            fprintf(stderr, "weir: %s\n", p[i].error.text);
    }
}

static uint64_t count_before(const struct run_options *o, const struct pushing *p)
{
    uint64_t before = 0;
    for (size_t i = 0; i < o->n_inputs; i++)
        before += p[i].before;
    return before;
}

/* Reads the files, closes the windows, waits for the last commit. */
static int push(struct weir *w, const struct run_options *o, struct pushing *p)
{
    struct progress progress = {.begun_us = clock_monotonic_us()};
    int r = push_inputs(w, o, p, NULL, &progress);
    /* Stopped half-way: what is open is not final, and is not given out as if it were. */
    if (r != -EINTR)
        store_ending(w->store);
    uint64_t open_groups =
        weir_stop(w, r == -EINTR ? LOG_LEAVE : LOG_FINISH, clock_monotonic_us());
    if (r != -EINTR)
        store_ended(w->store);
    struct source_result result = {0};
    add_results(&result, o, p, r);
    if (open_groups && r == -EINTR)
        fprintf(stderr, "weir: stopped; %llu groups of open windows are given up\n",
                (unsigned long long)open_groups);
    if (!o->quiet)
        print_summary(w, &result, count_before(o, p),
                      (double)(clock_monotonic_us() - progress.begun_us) / 1e6);
    uint64_t lost = events_lost(w);
    int status = file_exit_code(r);
    if (status == EXIT_SUCCESS && (result.rejected || lost))
        status = EXIT_BAD_INPUT;
    struct error error;
    for (size_t i = 0; i < o->n_inputs; i++)
        if (log_failed(w->log[o->input[i].stream], &error))
            return EXIT_IO; /* the log has said why */
    return weir_failed(w) ? EXIT_FAILURE : status;
}

/* ---- Where a server has the database ------------------------------------------------------------ */

static void print_far_pipeline(const struct runs_pipeline *p)
{
    fprintf(stderr, "pipeline %s: %llu result rows since the server's start", p->name,
            (unsigned long long)p->rows);
    print_count(p->late_by[CONFIG_LATE_DROP], "events late");
    print_count(p->late_by[CONFIG_LATE_SIDE],
                "events late, in the table of late events");
    print_count(p->late_by[CONFIG_LATE_REVISE], "events late that revised results");
    print_count(p->not_joined, "events too late to be joined");
    fputs(p->state == RUNS_READ     ? "\n"
          : p->state == RUNS_FAILED ? "; it has failed\n"
                                    : "; it has not read all of the files yet\n",
          stderr);
}

static void add_far_pipeline(struct runs_pipeline *to, const struct runs_pipeline *p)
{
    if (p->state != RUNS_READ && to->state != RUNS_FAILED)
        to->state = p->state;
    for (size_t i = 0; i < sizeof(p->late_by) / sizeof(p->late_by[0]); i++)
        to->late_by[i] += p->late_by[i];
    to->not_joined += p->not_joined;
    to->rows = p->rows > to->rows ? p->rows : to->rows;
    to->watermark_us =
        p->watermark_us > to->watermark_us ? p->watermark_us : to->watermark_us;
}

static uint64_t print_far_lost(const struct runs_pipeline *p)
{
    char until[CLOCK_TEXT_MAX] = "";
    uint64_t late = p->late_by[CONFIG_LATE_DROP];
    if (p->not_joined)
        fprintf(stderr, "pipeline %s: %llu events came too late to be joined\n",
                p->name, (unsigned long long)p->not_joined);
    if (!late)
        return p->not_joined;
    clock_format(p->watermark_us, until);
    fprintf(
        stderr,
        "pipeline %s: %llu events came after their window had been closed, as the "
        "stream is at %s; a new pipeline with 'backfill: FILE' reads what is older\n",
        p->name, (unsigned long long)late, until);
    return late + p->not_joined;
}

/* A pipeline that has events of several inputs is one. */
static struct runs_pipeline *far_pipelines(const struct pushing *p, size_t n,
                                           size_t *ret_n)
{
    size_t room = 0, found = 0;
    for (size_t i = 0; i < n; i++)
        room += p[i].n_pipelines;
    struct runs_pipeline *list = calloc(room + 1, sizeof(*list));
    for (size_t i = 0; list && i < n; i++) {
        for (size_t k = 0; k < p[i].n_pipelines; k++) {
            const struct runs_pipeline *from = &p[i].pipeline[k];
            size_t at = 0;
            while (at < found && strcmp(list[at].name, from->name))
                at++;
            if (at == found)
                list[found++] = *from;
            else
                add_far_pipeline(&list[at], from);
        }
    }
    *ret_n = list ? found : 0;
    return list;
}

/* The server reads the files, and goes on. */
static int push_far(struct weir *w, const struct run_options *o, struct pushing *p,
                    const char *folder)
{
    struct progress progress = {.begun_us = clock_monotonic_us()};
    int r = push_inputs(w, o, p, folder, &progress);
    struct source_result result = {0};
    uint64_t lost = 0;
    size_t n;
    bool failed = false;
    struct runs_pipeline *list = far_pipelines(p, o->n_inputs, &n);
    add_results(&result, o, p, r);
    if (!o->quiet)
        print_taken(" by the server", &result, count_before(o, p),
                    (double)(clock_monotonic_us() - progress.begun_us) / 1e6);
    for (size_t i = 0; i < n; i++) {
        if (!o->quiet)
            print_far_pipeline(&list[i]);
        lost += print_far_lost(&list[i]);
        failed = failed || list[i].state == RUNS_FAILED;
    }
    free(list);
    for (size_t i = 0; i < o->n_inputs; i++)
        free(p[i].pipeline);
    int status = file_exit_code(r);
    if (status == EXIT_SUCCESS && (result.rejected || lost))
        status = EXIT_BAD_INPUT;
    return failed ? EXIT_FAILURE : status;
}

/* Whether a server of this user has the database, whose journals are in the folder. */
static bool is_served(const char *folder)
{
    int fd = control_reach(folder, RUNS_KIND, SOCK_SEQPACKET);
    if (fd == -EACCES)
        logger_warn("run", "the server of '%s' is another user's", folder);
    if (fd >= 0)
        close(fd);
    return fd >= 0 || fd == -EINTR; /* many wait for it */
}

static int run_far(struct weir *w, const struct run_options *o, const char *folder)
{
    struct error error;
    struct pushing *p = calloc(o->n_inputs, sizeof(*p));
    int status = p ? 0 : EXIT_FAILURE;
    if (o->n_inputs > RUNS_MAX)
        status =
            cmd_usage("run", "a server takes files of %u streams at a time", RUNS_MAX);
    else if (o->again)
        status = cmd_usage("run", "--again: a server has the database; stop it before");
    for (size_t i = 0; status == 0 && i < o->n_inputs; i++)
        if (find_stream(w, o->input[i].name, &o->input[i].stream, &error) < 0) {
            fprintf(stderr, "weir: %s\n", error.text);
            status = EXIT_USAGE;
        }
    if (status == 0)
        status = push_far(w, o, p, folder);
    free(p);
    return status;
}

/* ---- All of it ---------------------------------------------------------------------------------- */

/* Which streams run; what their pipelines join has to be among them. */
static int choose_streams(const struct weir *w, const struct run_options *o, bool *only,
                          struct error *error)
{
    for (size_t i = 0; i < o->n_inputs; i++) {
        int r = find_stream(w, o->input[i].name, &o->input[i].stream, error);
        if (r < 0)
            return r;
        only[o->input[i].stream] = true;
    }
    for (size_t i = 0; i < w->n_pipelines; i++) {
        const struct config_pipeline *c = pipeline_config(w->pipeline[i]);
        const char *own = w->config->stream[c->stream].name;
        for (size_t k = 0; only[c->stream] && k < c->joins.n; k++) {
            const struct config_result *of = c->joins.join[k].result;
            size_t other =
                of ? w->config->pipeline[of->pipeline].stream : c->joins.join[k].stream;
            if (!only[other])
                return error_set(error, -EINVAL,
                                 "pipeline '%s' joins '%s' with '%s': --stream %s=FILE "
                                 "--stream %s=FILE gives events of both",
                                 c->name, own, w->config->stream[other].name, own,
                                 w->config->stream[other].name);
        }
    }
    return 0;
}

static int run_here(struct weir *w, const struct run_options *o)
{
    struct error error = {0};
    int status = EXIT_FAILURE, r = 0;
    bool *only = NULL;
    if (!(only = calloc(w->config->n_streams + 1, sizeof(*only))))
        r = error_set(&error, -ENOMEM, "no memory");
    if (r == 0 && (r = choose_streams(w, o, only, &error)) < 0)
        status = EXIT_USAGE;
    if (r == 0) {
        w->only = only;
        w->keep_open = o->memory;
        w->relaxed =
            true; /* after a loss of power the files are there to be read again */
        w->again = o->again;
        r = weir_open_store(w, o->database, &status, &error);
    }
    if (r == 0)
        r = weir_start(w, WEIR_RUN, &status, &error);
    if (r == 0 && w->hook_specs)
        logger_info("run", "webhooks are not sent by a run, only by 'weir serve'");
    struct pushing *p = r == 0 ? calloc(o->n_inputs, sizeof(*p)) : NULL;
    if (r < 0)
        fprintf(stderr, "weir: %s\n", error.text);
    else
        status = p ? push(w, o, p) : EXIT_FAILURE;
    free(p);
    weir_free(w); /* it looks at `only` */
    free(only);
    return status;
}

static int run(const struct run_options *o)
{
    struct weir *w = NULL;
    struct error error = {0};
    struct faults faults;
    int status;
    faults_begin(&faults);
    int r = weir_load(o->config, &w, &status, &error);
    faults_end();
    if (r < 0) {
        cmd_say_faults(&faults, &error);
        weir_free(w);
        return status;
    }
    const struct config_postgresql *pg = w->config->server.postgresql;
    if (pg && pg->copy_us && !o->database) {
        fprintf(stderr,
                "weir: with 'copy' ('postgresql') a database has what comes from "
                "Kafka only, as another machine may go on with it; --database "
                "FILE runs into another one\n");
        weir_free(w);
        return EXIT_CONFIG;
    }
    char *folder = weir_journal_folder(&w->config->server, o->database);
    if (!folder || !is_served(folder)) {
        status = run_here(w, o);
    } else {
        status = run_far(w, o, folder);
        weir_free(w);
    }
    free(folder);
    return status;
}

static int parse_format(const char *text, int *ret)
{
    static const char *const names[] = {[DECODE_NDJSON] = "ndjson",
                                        [DECODE_JSON] = "json",
                                        [DECODE_CSV] = "csv",
                                        [DECODE_LINES] = "lines"};
    for (int i = 0; i < DECODE_FORMATS; i++)
        if (!strcmp(text, names[i])) {
            *ret = i;
            return 0;
        }
    return cmd_usage("run", "'%s' is no format: ndjson, json, csv or lines", text);
}

static int parse_memory(const char *text, uint64_t *ret)
{
    const struct node n = {
        .kind = NODE_SCALAR, .file = "--memory", .text = (char *)(uintptr_t)text};
    return node_size(&n, ret, NULL) || *ret == 0
               ? cmd_usage("run", "'%s' is no size, such as 512MiB", text)
               : 0;
}

/* NAME, or NAME=FILE: one more file of that stream. */
static int add_stream(struct run_options *o, const char *text, bool *ret_file)
{
    const char *equals = strchr(text, '=');
    size_t size = equals ? (size_t)(equals - text) : strlen(text), i = 0;
    *ret_file = equals;
    while (i < o->n_inputs && (strncmp(o->input[i].name, text, size) != 0 ||
                               o->input[i].name[size] != '\0'))
        i++;
    if (i == o->n_inputs) {
        struct run_input *input = realloc(o->input, (i + 1) * sizeof(*input));
        if (!input)
            return -ENOMEM;
        o->input = input;
        o->input[i] = (struct run_input){.name = strndup(text, size)};
        if (!o->input[i].name)
            return -ENOMEM;
        o->n_inputs++;
    }
    struct run_input *in = &o->input[i];
    const char **path =
        equals ? realloc(in->path, (in->n_paths + 1) * sizeof(*path)) : in->path;
    if (equals && !path)
        return -ENOMEM;
    in->path = path;
    if (equals)
        in->path[in->n_paths++] = equals + 1;
    return 0;
}

/* What stands behind the options: files of the one stream that was named without any. */
static int add_files(struct run_options *o, bool with_files, char **file, size_t n)
{
    static const char *const standard_input[] = {"-"};
    if (with_files && n)
        return cmd_usage("run",
                         "'%s': files stand behind --stream NAME, or in each "
                         "--stream NAME=FILE",
                         file[0]);
    for (size_t i = 0; i < o->n_inputs; i++)
        if (with_files && !o->input[i].n_paths)
            return cmd_usage("run", "--stream %s has no file; --stream %s=FILE",
                             o->input[i].name, o->input[i].name);
    if (with_files)
        return 0;
    if (o->n_inputs > 1)
        return cmd_usage("run", "several streams are given as --stream NAME=FILE");
    const char **path = calloc(n + 1, sizeof(*path));
    if (!path)
        return EXIT_FAILURE;
    for (size_t i = 0; i < n || !i; i++)
        path[i] = n ? file[i] : standard_input[0];
    o->input[0].path = path;
    o->input[0].n_paths = n ? n : 1;
    return 0;
}

struct named {
    struct file_id id;
    size_t i; /* of its path */
};

static int by_id(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    if (x->id.dev != y->id.dev)
        return x->id.dev < y->id.dev ? -1 : 1;
    if (x->id.ino != y->id.ino)
        return x->id.ino < y->id.ino ? -1 : 1;
    return x->i < y->i ? -1 : 1;
}

/* A file that has several names here, or is named twice, is read once, by the first of them. */
static int pass_over_doubles(struct run_input *in)
{
    struct named *all = calloc(in->n_paths, sizeof(*all));
    size_t n = 0, left = 0;
    struct stat st;
    if (!all)
        return -ENOMEM;
    for (size_t i = 0; i < in->n_paths; i++)
        if (strcmp(in->path[i], "-") && stat(in->path[i], &st) == 0 &&
            S_ISREG(st.st_mode))
            all[n++] = (struct named){{st.st_dev, st.st_ino}, i};
    qsort(all, n, sizeof(*all), by_id);
    for (size_t k = 1, first = 0; k < n; k++) {
        if (all[k].id.dev != all[first].id.dev || all[k].id.ino != all[first].id.ino) {
            first = k;
            continue;
        }
        logger_warn("run", "'%s' is '%s': it is read once", in->path[all[k].i],
                    in->path[all[first].i]);
        in->path[all[k].i] = NULL;
    }
    free(all);
    for (size_t i = 0; i < in->n_paths; i++)
        if (in->path[i])
            in->path[left++] = in->path[i];
    in->n_paths = left;
    return 0;
}

static void free_inputs(struct run_options *o)
{
    for (size_t i = 0; i < o->n_inputs; i++) {
        free(o->input[i].name);
        free(o->input[i].path);
    }
    free(o->input);
}

/* -1: to be run; or the exit status. */
static int read_options(int argc, char **argv, struct run_options *ro)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"stream", required_argument, NULL, 's'},
                                            {"format", required_argument, NULL, 'f'},
                                            {"database", required_argument, NULL, 'd'},
                                            {"memory", required_argument, NULL, 'm'},
                                            {"live", no_argument, NULL, 'L'},
                                            {"again", no_argument, NULL, 'A'},
                                            {"quiet", no_argument, NULL, 'q'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    bool with_files = false, file;
    for (int o; (o = getopt_long(argc, argv, "c:s:f:d:m:qh", options, NULL)) != -1;) {
        if (o == 'c')
            ro->config = optarg;
        else if (o == 's' && add_stream(ro, optarg, &file) < 0)
            return EXIT_FAILURE;
        else if (o == 's')
            with_files = with_files || file;
        else if (o == 'd')
            ro->database = optarg;
        else if (o == 'q')
            ro->quiet = true;
        else if (o == 'L')
            ro->memory = 0;
        else if (o == 'A')
            ro->again = true;
        else if (o == 'm' && parse_memory(optarg, &ro->memory))
            return EXIT_USAGE;
        else if (o == 'f' && parse_format(optarg, &ro->format))
            return EXIT_USAGE;
        else if (o == 'h')
            return fputs(help, stdout) < 0;
        else if (o == '?')
            return EXIT_USAGE;
    }
    if (!ro->config || !ro->n_inputs)
        return cmd_usage("run", "%s is missing",
                         ro->config ? "--stream NAME" : "-c FILE");
    int status = add_files(ro, with_files, argv + optind, (size_t)(argc - optind));
    return status ? status : -1;
}

int cmd_run(int argc, char **argv)
{
    struct run_options run_options = {.format = SOURCE_BY_NAME,
                                      .memory = MEMORY_DEFAULT};
    int status = read_options(argc, argv, &run_options);
    for (size_t i = 0; status < 0 && i < run_options.n_inputs; i++)
        if (pass_over_doubles(&run_options.input[i]))
            status = EXIT_FAILURE;
    if (status < 0) {
        signal(SIGPIPE, SIG_IGN);
        cmd_stop_on_signals(0);
        status = run(&run_options);
    }
    free_inputs(&run_options);
    return status;
}
