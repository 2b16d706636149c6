/* SPDX-License-Identifier: Apache-2.0
 *
 * weir run: files or standard input through the pipelines of a stream, as fast as they go.
 */
#include "base/clock.h"
#include "base/logger.h"
#include "cmd.h"
#include "config/faults.h"
#include "source/source.h"
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "Usage: weir run -c FILE --stream NAME [FILE...|-]\n\n"
    "Reads events from files (.ndjson, .jsonl, .json, .csv, .lp, each also .gz) or "
    "standard "
    "input, runs the\n"
    "pipelines of the stream, closes every window at the end, writes the results to "
    "the "
    "database and\n"
    "exits. Events may be in any order, as long as there is room for all open "
    "windows.\n\n"
    "  -c, --config FILE      the configuration, weir.yaml(5)\n"
    "  -s, --stream NAME      the stream that the events belong to\n"
    "  -f, --format FORMAT    ndjson (default of standard input), json, csv or\n"
    "                         lines (line protocol)\n"
    "  -d, --database FILE    instead of the configured one\n"
    "  -m, --memory SIZE      for open windows; 1GiB if not given; when it is used up, "
    "windows close\n"
    "                         as events come\n"
    "      --live             windows close as events come from the beginning, as a "
    "server's do\n"
    "  -q, --quiet            no progress, no summary\n"
    "  -h, --help             this text\n\n"
    "Exit status: 0 all events were taken, 65 some were rejected or came too late for "
    "their window, 1 a\n"
    "pipeline failed, 74 a file cannot be read, 78 bad configuration.\n";

#define MEMORY_DEFAULT ((uint64_t)1 << 30)

struct run_options {
    const char *config, *stream, *database;
    int format;      /* enum decode_format, or SOURCE_BY_NAME */
    uint64_t memory; /* of open windows; 0: they close as events come */
    bool quiet;
    const char *const *path;
    size_t n_paths;
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
        fprintf(stderr,
                "pipeline %s: %llu events came after their window had been closed; "
                "without --live windows stay open until the end\n",
                s->name, (unsigned long long)now);
    return dropped;
}

static uint64_t events_lost(struct weir *w, size_t stream)
{
    uint64_t lost = 0;
    for (size_t i = 0; i < w->n_pipelines; i++) {
        struct pipeline_status s;
        pipeline_status(w->pipeline[i], &s);
        if (pipeline_config(w->pipeline[i])->stream == stream)
            lost += print_lost(&s);
    }
    return lost;
}

static void print_summary(struct weir *w, size_t stream, const struct source_result *r,
                          double seconds)
{
    fprintf(stderr, "%llu events taken, %llu rejected, %.2f s, %.2f M events/s\n",
            (unsigned long long)r->accepted, (unsigned long long)r->rejected, seconds,
            seconds > 0 ? (double)r->accepted / 1e6 / seconds : 0);
    uint64_t errors = log_derive_errors(w->log[stream]);
    if (errors)
        fprintf(stderr, "%llu derived values of the stream are null for an error\n",
                (unsigned long long)errors);
    for (size_t i = 0; i < w->n_pipelines; i++) {
        struct pipeline_status s;
        pipeline_status(w->pipeline[i], &s);
        if (pipeline_config(w->pipeline[i])->stream == stream)
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
    if (r == 0 || r == -EINTR)
        return EXIT_SUCCESS;
    return r == -EINVAL ? EXIT_USAGE : r == -EBADMSG ? EXIT_BAD_INPUT : EXIT_IO;
}

/* Reads the files, closes the windows, waits for the last commit. */
static int push(struct weir *w, size_t stream, const struct run_options *o,
                struct source_result *result)
{
    struct progress progress = {.begun_us = clock_monotonic_us()};
    bool show = !o->quiet && isatty(STDERR_FILENO);
    const struct source_files files = {.stream = &w->stream[stream],
                                       .path = o->path,
                                       .n = o->n_paths,
                                       .format = o->format,
                                       .progress = show ? show_progress : NULL,
                                       .ctx = &progress,
                                       .stop = &cmd_stop};
    struct error error = {0};
    int r = source_file(&files, result, &error);
    if (show)
        fputc('\n', stderr);
    /* Stopped half-way: what is open is not final, and is not given out as if it were. */
    uint64_t open_groups =
        weir_stop(w, r == -EINTR ? LOG_LEAVE : LOG_FINISH, clock_monotonic_us());
    print_faults(result);
    if (r < 0)
        fprintf(stderr, "weir: %s\n", error.text);
    if (open_groups && r == -EINTR)
        fprintf(stderr, "weir: stopped; %llu groups of open windows are given up\n",
                (unsigned long long)open_groups);
    if (!o->quiet)
        print_summary(w, stream, result,
                      (double)(clock_monotonic_us() - progress.begun_us) / 1e6);
    uint64_t lost = events_lost(w, stream);
    int status = file_exit_code(r);
    if (status == EXIT_SUCCESS && (result->rejected || lost))
        status = EXIT_BAD_INPUT;
    if (log_failed(w->log[stream], &error))
        return EXIT_IO; /* the log has said why */
    return weir_failed(w) ? EXIT_FAILURE : status;
}

static int run(const struct run_options *o)
{
    struct weir *w = NULL;
    struct error error = {0};
    struct faults faults;
    int status;
    size_t stream;
    faults_begin(&faults);
    int r = weir_load(o->config, &w, &status, &error);
    faults_end();
    if (r == 0 && (r = find_stream(w, o->stream, &stream, &error)) < 0)
        status = EXIT_USAGE;
    if (r == 0) {
        w->only = o->stream;
        w->keep_open = o->memory;
        r = weir_open_store(w, o->database, &status, &error);
    }
    if (r == 0)
        r = weir_start(w, WEIR_RUN, &status, &error);
    struct source_result *result = r == 0 ? calloc(1, sizeof(*result)) : NULL;
    if (r < 0)
        cmd_say_faults(&faults, &error);
    else
        status = result ? push(w, stream, o, result) : EXIT_FAILURE;
    free(result);
    weir_free(w);
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

int cmd_run(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"stream", required_argument, NULL, 's'},
                                            {"format", required_argument, NULL, 'f'},
                                            {"database", required_argument, NULL, 'd'},
                                            {"memory", required_argument, NULL, 'm'},
                                            {"live", no_argument, NULL, 'L'},
                                            {"quiet", no_argument, NULL, 'q'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    static const char *const standard_input[] = {"-"};
    struct run_options run_options = {.format = SOURCE_BY_NAME,
                                      .memory = MEMORY_DEFAULT};
    for (int o; (o = getopt_long(argc, argv, "c:s:f:d:m:qh", options, NULL)) != -1;) {
        if (o == 'c')
            run_options.config = optarg;
        else if (o == 's')
            run_options.stream = optarg;
        else if (o == 'd')
            run_options.database = optarg;
        else if (o == 'q')
            run_options.quiet = true;
        else if (o == 'L')
            run_options.memory = 0;
        else if (o == 'm' && parse_memory(optarg, &run_options.memory))
            return EXIT_USAGE;
        else if (o == 'f' && parse_format(optarg, &run_options.format))
            return EXIT_USAGE;
        else if (o == 'h')
            return fputs(help, stdout) < 0;
        else if (o == '?')
            return EXIT_USAGE;
    }
    if (!run_options.config || !run_options.stream)
        return cmd_usage("run", "%s is missing",
                         run_options.config ? "--stream NAME" : "-c FILE");
    run_options.path =
        optind < argc ? (const char *const *)argv + optind : standard_input;
    run_options.n_paths = optind < argc ? (size_t)(argc - optind) : 1;
    signal(SIGPIPE, SIG_IGN);
    cmd_stop_on_signals(0);
    return run(&run_options);
}
