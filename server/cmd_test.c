/* SPDX-License-Identifier: Apache-2.0
 *
 * weir test: events in, expected rows out. Each case is a run of its own, as `weir run` makes it: real decoder, real
 * pipelines, a database of its own that is gone afterwards.
 */
#include "admin/backup.h"
#include "base/clock.h"
#include "base/logger.h"
#include "cmd.h"
#include "config/faults.h"
#include "config/fields.h"
#include "expect.h"
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define MEMORY_MAX   ((uint64_t)1 << 30) /* of open windows, where all wait for the end */

static const char help[] =
    "Usage: weir test FILE...\n\n"
    "Runs the cases of test files: puts their events through the pipelines of a "
    "configuration and\n"
    "compares the rows that come out with those that are expected. Nothing of the "
    "configuration's\n"
    "database is touched.\n\n"
    "  config: weir.yaml              # or `streams:` and `pipelines:` in the file "
    "itself\n"
    "  cases:\n"
    "    two quotes make a mean:\n"
    "      events:\n"
    "        quotes:                  # or a file: quotes.ndjson\n"
    "          - {ts: 2026-01-02T03:04:01Z, symbol: ABC, price: 1.5}\n"
    "          - {ts: 2026-01-02T03:04:02Z, symbol: ABC, price: 2.5}\n"
    "      expect:\n"
    "        quotes_10s:\n"
    "          - {symbol: ABC, count: 2, price_mean: 2}\n\n"
    "  -h, --help  this text; weir-test(5) tells all keys\n\n"
    "Exit status: 0 all is as expected, 1 it is not, 78 the test file or the "
    "configuration is wrong.\n";

/* ---- The file ---------------------------------------------------------------------------------- */

struct settings {
    int64_t clock_us; /* INT64_MIN: not given */
    double tolerance;
    bool live;
};

struct test_case {
    const char *name;
    struct settings settings;
    const struct node *sql, *events, *expect, *rejected, *late; /* NULL: not given */
};

struct test_file {
    const char *path;
    struct node *root;
    const struct node *config, *cases;
    struct test_case whole; /* what stands beside the cases holds for each of them */
    bool inline_config;
};

static int read_clock(const struct node *n, void *target, void *ctx,
                      struct error *error)
{
    (void)ctx;
    struct test_case *c = target;
    if (n->kind == NODE_SCALAR &&
        clock_parse(n->text, strlen(n->text), &c->settings.clock_us) == 0)
        return 0;
    return node_expected(n, "a time such as 2026-01-02T03:04:05Z", error);
}

static int read_tolerance(const struct node *n, void *target, void *ctx,
                          struct error *error)
{
    (void)ctx;
    struct test_case *c = target;
    int r = node_float(n, &c->settings.tolerance, error);
    return r == 0 && c->settings.tolerance < 0
               ? node_expected(n, "a tolerance of 0 or more", error)
               : r;
}

static int read_live(const struct node *n, void *target, void *ctx, struct error *error)
{
    (void)ctx;
    return node_bool(n, &((struct test_case *)target)->settings.live, error);
}

/* What the database has before: tables that pipelines join. */
static int read_sql(const struct node *n, void *target, void *ctx, struct error *error)
{
    const char *text;
    (void)ctx;
    ((struct test_case *)target)->sql = n;
    return node_text(n, &text, error);
}

static int map_of(const struct node *n, const char *what, const struct node **ret,
                  struct error *error)
{
    if (n->kind != NODE_MAP)
        return node_expected(n, what, error);
    *ret = n;
    return 0;
}

static int read_events(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    (void)ctx;
    return map_of(n, "a mapping, stream: list of events or file",
                  &((struct test_case *)target)->events, error);
}

static int read_expect(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    (void)ctx;
    return map_of(n, "a mapping, pipeline or table: list of rows",
                  &((struct test_case *)target)->expect, error);
}

static int read_rejected(const struct node *n, void *target, void *ctx,
                         struct error *error)
{
    (void)ctx;
    return map_of(n, "a mapping, stream: number of events",
                  &((struct test_case *)target)->rejected, error);
}

static int read_late(const struct node *n, void *target, void *ctx, struct error *error)
{
    (void)ctx;
    return map_of(n, "a mapping, pipeline: number of events",
                  &((struct test_case *)target)->late, error);
}

static const struct field case_fields[] = {
    {"clock", FIELD_CALL, .read = read_clock},
    {"tolerance", FIELD_CALL, .read = read_tolerance},
    {"live", FIELD_CALL, .read = read_live},
    {"sql", FIELD_CALL, .read = read_sql},
    {"events", FIELD_CALL, .required = true, .read = read_events},
    {"expect", FIELD_CALL, .read = read_expect},
    {"rejected", FIELD_CALL, .read = read_rejected},
    {"late", FIELD_CALL, .read = read_late},
};

static int read_config(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    struct test_file *f = ctx;
    const char *text;
    (void)target;
    f->config = n;
    return node_text(n, &text, error);
}

static int read_inline(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    (void)n, (void)target, (void)error; /* the configuration checks it */
    ((struct test_file *)ctx)->inline_config = true;
    return 0;
}

static int read_cases(const struct node *n, void *target, void *ctx,
                      struct error *error)
{
    (void)target;
    return map_of(n, "a mapping, name of a case: what it is",
                  &((struct test_file *)ctx)->cases, error);
}

/* A single case can stand at the top. */
static const struct field file_fields[] = {
    {"config", FIELD_CALL, .read = read_config},
    {"server", FIELD_CALL, .read = read_inline},
    {"streams", FIELD_CALL, .read = read_inline},
    {"pipelines", FIELD_CALL, .read = read_inline},
    {"clock", FIELD_CALL, .read = read_clock},
    {"tolerance", FIELD_CALL, .read = read_tolerance},
    {"live", FIELD_CALL, .read = read_live},
    {"sql", FIELD_CALL, .read = read_sql},
    {"cases", FIELD_CALL, .read = read_cases},
    {"events", FIELD_CALL, .read = read_events},
    {"expect", FIELD_CALL, .read = read_expect},
    {"rejected", FIELD_CALL, .read = read_rejected},
    {"late", FIELD_CALL, .read = read_late},
};

static int read_file(struct test_file *f, struct error *error)
{
    int r = node_load(f->path, &f->root, error);
    f->whole = (struct test_case){
        .name = f->path,
        .settings = {.clock_us = INT64_MIN, .tolerance = 1e-9, .live = true}};
    if (r == 0)
        r = fields_read(file_fields, COUNT(file_fields), f->root, "the test file",
                        &f->whole, f, error);
    if (r < 0)
        return r;
    if (!f->config == !f->inline_config)
        return node_error(f->root, error, "%s",
                          f->config ? "'config' and a configuration in the file itself "
                                      "exclude each other"
                                    : "the configuration is missing: 'config: "
                                      "weir.yaml', or 'streams' and 'pipelines'");
    if (!f->cases == !f->whole.events)
        return node_error(f->root, error,
                          f->cases ? "'events' stands in each of the 'cases'"
                                   : "'cases' is missing, or 'events' and 'expect'");
    return 0;
}

/* `name` beside the test file, unless it begins at the root. NULL: no memory. */
static char *beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    char *ret;
    if (*name == '/' || !slash)
        return strdup(name);
    return asprintf(&ret, "%.*s%s", (int)(slash - path + 1), path, name) < 0 ? NULL
                                                                             : ret;
}

/* A case changes nothing for the next one, so each reads the configuration again. */
static int load_config(const struct test_file *f, struct config **ret,
                       struct error *error)
{
    if (f->config) {
        char *path = beside(f->path, f->config->text);
        int r = path ? config_load(path, ret, error)
                     : error_set(error, -ENOMEM, "out of memory");
        free(path);
        return r;
    }
    struct node *root;
    int r = node_load(f->path, &root, error);
    if (r < 0)
        return r;
    size_t n = 0;
    for (size_t i = 0; i < root->n; i++) {
        const char *key = root->key[i].text;
        if (!strcmp(key, "server") || !strcmp(key, "streams") ||
            !strcmp(key, "pipelines")) {
            root->key[n] = root->key[i];
            root->item[n++] = root->item[i];
            continue;
        }
        node_clear(&root->key[i]);
        node_clear(&root->item[i]);
    }
    root->n = n;
    return config_of_node(root, ret, error);
}

/* ---- Events ------------------------------------------------------------------------------------ */

/* As JSON has numbers: what YAML alone takes for one is a text. */
static bool is_json_number(const char *p)
{
    p += *p == '-';
    size_t whole = strspn(p, "0123456789");
    if (whole == 0 || (whole > 1 && *p == '0'))
        return false;
    p += whole;
    if (*p == '.') {
        size_t fraction = strspn(++p, "0123456789");
        if (fraction == 0)
            return false;
        p += fraction;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '-' || *p == '+';
        size_t exponent = strspn(p, "0123456789");
        if (exponent == 0)
            return false;
        p += exponent;
    }
    return *p == 0;
}

static void put_json(struct buffer *to, const struct node *n)
{
    static const char *const plain[] = {"true", "false"};
    if (n->kind != NODE_SCALAR) {
        bool map = n->kind == NODE_MAP;
        buffer_putc(to, map ? '{' : '[');
        for (size_t i = 0; i < n->n; i++) {
            if (i)
                buffer_putc(to, ',');
            if (map) {
                buffer_put_json_string(to, n->key[i].text, strlen(n->key[i].text));
                buffer_putc(to, ':');
            }
            put_json(to, &n->item[i]);
        }
        buffer_putc(to, map ? '}' : ']');
    } else if (node_is_null(n)) {
        buffer_puts(to, "null");
    } else if (!n->quoted && (is_json_number(n->text) || !strcmp(n->text, plain[0]) ||
                              !strcmp(n->text, plain[1]))) {
        buffer_puts(to, n->text);
    } else {
        buffer_put_json_string(to, n->text, strlen(n->text));
    }
}

/* A line for each event: the decoder's line is the place in the list. */
static int write_events(const struct node *list, const char *path, struct error *error)
{
    struct buffer lines = {0};
    for (size_t i = 0; i < list->n; i++) {
        put_json(&lines, &list->item[i]);
        buffer_putc(&lines, '\n');
    }
    FILE *to = lines.error ? NULL : fopen(path, "we");
    int err = lines.error ? lines.error : to ? 0 : -errno;
    if (to && lines.size && fwrite(lines.data, lines.size, 1, to) != 1)
        err = -EIO;
    if (to && fclose(to) != 0 && err == 0)
        err = -errno;
    buffer_free(&lines);
    return err < 0 ? error_set(error, err, "'%s': %s", path, strerror(-err)) : 0;
}

/* ---- A case ------------------------------------------------------------------------------------ */

struct run {
    const struct test_file *file;
    const struct test_case *c;
    struct weir *w;
    char folder[64];
    uint64_t *rejected; /* of each stream */
    struct buffer said; /* what is not as expected, and what was rejected */
    size_t faults;
};

static int find_name(const struct node *key, const char *what, const char *const *names,
                     size_t n, size_t *ret, struct error *error)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(names[i], key->text))
            continue;
        *ret = i;
        return 0;
    }
    node_error(key, error, "the configuration has no %s '%s'", what, key->text);
    node_suggest(error, key->text, names, n);
    return -EINVAL;
}

static int find_stream(const struct run *r, const struct node *key, size_t *ret,
                       struct error *error)
{
    const struct config *c = r->w->config;
    const char **names = calloc(c->n_streams + 1, sizeof(*names));
    if (!names)
        return error_set(error, -ENOMEM, "out of memory");
    for (size_t i = 0; i < c->n_streams; i++)
        names[i] = c->stream[i].name;
    int err = find_name(key, "stream", names, c->n_streams, ret, error);
    free(names);
    return err;
}

static int find_pipeline(const struct run *r, const struct node *key, size_t *ret,
                         struct error *error)
{
    const char **names = calloc(r->w->n_pipelines + 1, sizeof(*names));
    if (!names)
        return error_set(error, -ENOMEM, "out of memory");
    for (size_t i = 0; i < r->w->n_pipelines; i++)
        names[i] = pipeline_config(r->w->pipeline[i])->name;
    int err = find_name(key, "pipeline", names, r->w->n_pipelines, ret, error);
    free(names);
    return err;
}

/* A table by its name; the name of a pipeline stands for its first one. */
static int find_table(const struct run *r, const struct node *key,
                      const struct table **ret, struct error *error)
{
    const struct table *const *table, **all;
    size_t n = 0, k, total = 0;
    for (size_t i = 0; i < r->w->n_pipelines; i++) {
        size_t m = pipeline_tables(r->w->pipeline[i], &table);
        total += m;
        if (m && !strcmp(pipeline_config(r->w->pipeline[i])->name, key->text)) {
            *ret = table[0];
            return 0;
        }
    }
    const char **names = calloc(total + 1, sizeof(*names));
    all = calloc(total + 1, sizeof(struct table *));
    int err = names && all ? 0 : error_set(error, -ENOMEM, "out of memory");
    for (size_t i = 0; err == 0 && i < r->w->n_pipelines; i++)
        for (size_t m = pipeline_tables(r->w->pipeline[i], &table); m > 0; m--, table++)
            names[n] = (*table)->name, all[n++] = *table;
    if (err == 0)
        err = find_name(key, "pipeline or table", names, n, &k, error);
    if (err == 0)
        *ret = all[k];
    free(names);
    free(all);
    return err;
}

static void say_rejected(struct run *r, const struct node *list,
                         const struct source_result *result)
{
    for (size_t i = 0; i < result->n_faults; i++) {
        const struct decode_error *e = &result->fault[i].error;
        if (list->kind == NODE_LIST && e->line >= 1 && e->line <= list->n)
            buffer_printf(&r->said, "    %s:%u: %s\n", r->file->path,
                          list->item[e->line - 1].line, e->message);
        else
            buffer_printf(&r->said, "    %s:%llu:%u: %s\n", result->fault[i].path,
                          (unsigned long long)e->line, e->column, e->message);
    }
}

/* The number that is expected under a name; 0 where none is. */
static int expected_count(const struct node *map, const char *name, uint64_t *ret,
                          struct error *error)
{
    const struct node *n = map ? node_get(map, name) : NULL;
    int64_t v = 0;
    int err = n ? node_int(n, 0, INT64_MAX, &v, error) : 0;
    *ret = (uint64_t)v;
    return err;
}

static int push_stream(struct run *r, const struct node *key, const struct node *events,
                       struct error *error)
{
    char made[96];
    const char *path = made;
    char *other = NULL;
    size_t stream;
    uint64_t expected = 0;
    int err = find_stream(r, key, &stream, error);
    if (err < 0)
        return err;
    if (events->kind == NODE_MAP)
        return node_expected(events, "a list of events, or the name of a file", error);
    if (events->kind == NODE_SCALAR) {
        path = other = beside(r->file->path, events->text);
    } else {
        snprintf(made, sizeof(made), "%s/events.ndjson", r->folder);
        err = write_events(events, made, error);
    }
    struct source_result *result = calloc(1, sizeof(*result));
    if (err == 0 && (!path || !result))
        err = error_set(error, -ENOMEM, "out of memory");
    const struct source_files files = {.stream = &r->w->stream[stream],
                                       .path = &path,
                                       .n = 1,
                                       .format = SOURCE_BY_NAME,
                                       .stop = &cmd_stop};
    if (err == 0)
        err = source_file(&files, result, error);
    if (err == 0)
        err = expected_count(r->c->rejected, key->text, &expected, error);
    if (err == 0 && result->rejected != expected) {
        r->faults++;
        buffer_printf(&r->said, "  stream %s: %llu events rejected, not %llu\n",
                      key->text, (unsigned long long)result->rejected,
                      (unsigned long long)expected);
        say_rejected(r, events, result);
    }
    free(result);
    free(other);
    return err;
}

static int check_late(struct run *r, struct error *error)
{
    for (size_t i = 0; i < r->w->n_pipelines; i++) {
        struct pipeline_status s;
        uint64_t expected;
        pipeline_status(r->w->pipeline[i], &s);
        int err = expected_count(r->c->late, s.name, &expected, error);
        if (err < 0)
            return err;
        if (s.error[0]) {
            r->faults++;
            buffer_printf(&r->said, "  pipeline %s has stopped: %s\n", s.name, s.error);
        }
        if (s.late_by[CONFIG_LATE_DROP] == expected)
            continue;
        r->faults++;
        buffer_printf(&r->said,
                      "  pipeline %s: %llu events came too late and were dropped, not "
                      "%llu\n",
                      s.name, (unsigned long long)s.late_by[CONFIG_LATE_DROP],
                      (unsigned long long)expected);
    }
    return 0;
}

static int check_rows(struct run *r, struct error *error)
{
    sqlite3 *db = NULL;
    const struct node *expect = r->c->expect;
    int err = 0;
    if (!expect)
        return 0;
    if (sqlite3_open_v2(store_path(r->w->store), &db, SQLITE_OPEN_READONLY, NULL))
        err = error_set(error, -EIO, "'%s': %s", store_path(r->w->store),
                        db ? sqlite3_errmsg(db) : "no memory");
    for (size_t i = 0; err == 0 && i < expect->n; i++) {
        const struct table *table;
        size_t faults;
        err = find_table(r, &expect->key[i], &table, error);
        if (err == 0)
            err = expect_rows(table, db, &expect->item[i], r->c->settings.tolerance,
                              &r->said, &faults, error);
        if (err == 0)
            r->faults += faults;
    }
    sqlite3_close(db);
    return err;
}

/* Names that are expected to be there are; otherwise a misspelt one would check nothing. */
static int check_names(const struct run *r, struct error *error)
{
    size_t k;
    int err = 0;
    for (size_t i = 0; err == 0 && r->c->rejected && i < r->c->rejected->n; i++)
        err = find_stream(r, &r->c->rejected->key[i], &k, error);
    for (size_t i = 0; err == 0 && r->c->late && i < r->c->late->n; i++)
        err = find_pipeline(r, &r->c->late->key[i], &k, error);
    return err;
}

/* The text of a file, where it is the name of one. */
static int load_sql(const struct run *r, struct buffer *to, struct error *error)
{
    const struct node *n = r->c->sql;
    size_t size = strlen(n->text);
    if (size < 4 || strcmp(n->text + size - 4, ".sql")) {
        buffer_puts(to, n->text);
        return to->error ? error_set(error, -ENOMEM, "out of memory") : 0;
    }
    char *path = beside(r->file->path, n->text), piece[65536];
    FILE *from = path ? fopen(path, "re") : NULL;
    int err = from ? 0 : path ? -errno : -ENOMEM;
    while (from && (size = fread(piece, 1, sizeof(piece), from)) > 0)
        buffer_put(to, piece, size);
    if (from && ferror(from))
        err = -EIO;
    if (from)
        fclose(from);
    free(path);
    err = err < 0 ? err : to->error;
    return err < 0 ? node_error(n, error, "'%s': %s", n->text, strerror(-err)) : 0;
}

static int run_sql(const struct run *r, const char *database, struct error *error)
{
    sqlite3 *db = NULL;
    struct buffer sql = {0};
    int err = load_sql(r, &sql, error);
    if (err == 0 && (sqlite3_open(database, &db) ||
                     sqlite3_exec(db, buffer_text(&sql), NULL, NULL, NULL)))
        err = node_error(r->c->sql, error, "%s", db ? sqlite3_errmsg(db) : "no memory");
    sqlite3_close(db);
    buffer_free(&sql);
    return err;
}

static int start(struct run *r, struct error *error)
{
    struct config *config;
    char database[96];
    int status, err = load_config(r->file, &config, error);
    if (err == 0)
        err = weir_load_config(config, &r->w, &status, error);
    if (err == 0)
        err = check_names(r, error);
    if (err < 0)
        return err;
    snprintf(database, sizeof(database), "%s/weir.db", r->folder);
    r->w->keep_open = r->c->settings.live ? 0 : MEMORY_MAX;
    r->w->fixed_clock = true;
    r->w->clock_us = r->c->settings.clock_us;
    if (r->c->sql && (err = run_sql(r, database, error)) < 0)
        return err;
    err = weir_open_store(r->w, database, &status, error);
    return err < 0 ? err : weir_start(r->w, WEIR_RUN, &status, error);
}

static int run_in_folder(struct run *r, struct error *error)
{
    const struct node *events = r->c->events;
    int err = start(r, error);
    for (size_t i = 0; err == 0 && i < events->n; i++)
        err = push_stream(r, &events->key[i], &events->item[i], error);
    if (err < 0)
        return err;
    weir_stop(r->w, LOG_FINISH, INT64_MAX);
    err = check_late(r, error);
    return err < 0 ? err : check_rows(r, error);
}

/* 0, or what keeps the case from being run. */
static int run_case(const struct test_file *f, const struct test_case *c,
                    size_t *ret_faults, struct error *error)
{
    struct run r = {.file = f, .c = c};
    const char *temp = getenv("TMPDIR");
    int n = snprintf(r.folder, sizeof(r.folder), "%s/weir-case-XXXXXX",
                     temp && *temp ? temp : "/tmp");
    if (n >= (int)sizeof(r.folder))
        snprintf(r.folder, sizeof(r.folder), "/tmp/weir-case-XXXXXX");
    if (!mkdtemp(r.folder))
        return error_set(error, -errno, "cannot make '%s': %s", r.folder,
                         strerror(errno));
    int err = run_in_folder(&r, error);
    weir_free(r.w);
    backup_remove(r.folder);
    if (err == 0 && r.said.error)
        err = error_set(error, r.said.error, "out of memory");
    if (err == 0) {
        printf("%-4s  %s\n", r.faults ? "FAIL" : "ok", c->name);
        if (r.said.size)
            fwrite(r.said.data, r.said.size, 1, stdout);
        fflush(stdout);
    }
    buffer_free(&r.said);
    *ret_faults = r.faults;
    return err;
}

/* ---- The command ------------------------------------------------------------------------------- */

struct totals {
    size_t cases, failed;
};

static int run_cases(const struct test_file *f, struct totals *t, struct error *error)
{
    size_t n = f->cases ? f->cases->n : 1, faults = 0;
    int err = 0;
    for (size_t i = 0; err == 0 && i < n; i++) {
        struct test_case c = f->whole;
        if (f->cases) {
            c.name = f->cases->key[i].text;
            err = fields_read(case_fields, COUNT(case_fields), &f->cases->item[i],
                              "a case", &c, NULL, error);
        }
        if (err == 0)
            err = run_case(f, &c, &faults, error);
        if (err < 0)
            return err;
        t->cases++;
        t->failed += faults > 0;
    }
    return err;
}

static int run_file(const char *path, struct totals *t)
{
    struct test_file f = {.path = path};
    struct error error = {""};
    struct faults all;
    faults_begin(&all);
    int err = read_file(&f, &error);
    if (err == 0)
        err = run_cases(&f, t, &error);
    faults_end();
    node_free(f.root);
    if (err == 0)
        return EXIT_SUCCESS;
    cmd_say_faults(&all, &error);
    return err == -EINVAL || err == -ENOENT ? EXIT_CONFIG : EXIT_IO;
}

int cmd_test(int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    for (int o; (o = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (o == 'h')
            return fputs(help, stdout) < 0;
        return EXIT_USAGE;
    }
    if (optind == argc)
        return cmd_usage("test", "no test file is named");
    signal(SIGPIPE, SIG_IGN);
    cmd_stop_on_signals(0);
    logger_setup(LOGGER_WARN, false);
    struct totals t = {0};
    int status = EXIT_SUCCESS;
    for (int i = optind; i < argc; i++) {
        int r = run_file(argv[i], &t);
        status = status == EXIT_SUCCESS ? r : status;
    }
    printf("%zu case%s, %zu failed\n", t.cases, t.cases == 1 ? "" : "s", t.failed);
    return status != EXIT_SUCCESS ? status : t.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
