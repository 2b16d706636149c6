/* SPDX-License-Identifier: Apache-2.0 */
#include "crashes.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/logger.h"
#include "base/sync.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CRASHES_FILE ".crashes" /* no stream is called so */
#define NAME_FORMAT  "%103s"
static_assert(DOING_NAME_MAX == 104, "NAME_FORMAT has room");

/* ---- The file --------------------------------------------------------------------------------- */

static bool read_line(const char *line, struct crash *c)
{
    *c = (struct crash){0};
    if (sscanf(line,
               "thread " NAME_FORMAT " %zu " NAME_FORMAT " %d %" SCNu64 " %" SCNd64
               " %" SCNx32 " %" SCNx32,
               c->pipeline, &c->place, c->analyzer, &c->signal, &c->entry, &c->seconds,
               &c->file, &c->configuration) == 8)
        return c->place > 0;
    c->aside = true;
    return sscanf(line,
                  "aside " NAME_FORMAT " %zu " NAME_FORMAT " %" SCNu64 " %" SCNu64,
                  c->pipeline, &c->place, c->analyzer, &c->first, &c->last) == 5 &&
           c->place > 0 && c->first <= c->last;
}

static int add(struct crashes *c, const struct crash *one)
{
    if (one->aside && c->n_aside >= CRASHES_MAX)
        return -E2BIG;
    struct crash *list = realloc(c->list, (c->n + 1) * sizeof(*list));
    if (!list)
        return -ENOMEM;
    c->list = list;
    c->list[c->n++] = *one;
    c->n_aside += one->aside;
    return 0;
}

int crashes_read(const char *folder, struct crashes **ret)
{
    struct crashes *c = calloc(1, sizeof(*c));
    char *line = NULL;
    size_t room = 0;
    int err = 0;
    if (!c || asprintf(&c->path, "%s/" CRASHES_FILE, folder) < 0) {
        free(c);
        return -ENOMEM;
    }
    FILE *file = fopen(c->path, "re");
    if (!file && errno != ENOENT && errno != ENOTDIR)
        err = -errno;
    while (!err && file && getline(&line, &room, file) > 0) {
        struct crash one;
        if (read_line(line, &one))
            err = (err = add(c, &one)) == -E2BIG ? 0 : err;
        else
            logger_warn("crashes", "%s: a line that says nothing is left out: %.80s",
                        c->path, line);
    }
    if (!err && file && ferror(file))
        err = -EIO;
    if (file)
        fclose(file);
    free(line);
    if (err) {
        crashes_free(c);
        return err;
    }
    *ret = c;
    return 0;
}

void crashes_free(struct crashes *c)
{
    if (!c)
        return;
    free(c->path);
    free(c->list);
    free(c);
}

static void put_line(const struct crash *c, struct buffer *b)
{
    buffer_printf(b, "%s %s %zu %s ", c->aside ? "aside" : "thread", c->pipeline,
                  c->place, c->analyzer);
    if (c->aside)
        buffer_printf(b, "%" PRIu64 " %" PRIu64 "\n", c->first, c->last);
    else
        buffer_printf(b, "%d %" PRIu64 " %" PRId64 " %08" PRIx32 " %08" PRIx32 "\n",
                      c->signal, c->entry, c->seconds, c->file, c->configuration);
}

static int write_bytes(const char *path, const struct buffer *b)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int err = fd < 0 ? -errno : 0;
    for (size_t at = 0; !err && at < b->size;) {
        ssize_t n = write(fd, b->data + at, b->size - at);
        if (n < 0 && errno != EINTR)
            err = -errno;
        at += n > 0 ? (size_t)n : 0;
    }
    if (!err && fsync(fd))
        err = -errno;
    if (fd >= 0)
        close(fd);
    return err;
}

static int write_all(struct crashes *c)
{
    struct buffer b = {0};
    char *fresh;
    for (size_t i = 0; i < c->n; i++)
        put_line(&c->list[i], &b);
    if (b.error || asprintf(&fresh, "%s.new", c->path) < 0) {
        buffer_free(&b);
        return -ENOMEM;
    }
    int err = write_bytes(fresh, &b);
    if (!err && rename(fresh, c->path))
        err = -errno;
    if (!err)
        err = sync_parent(c->path);
    c->changed = err != 0;
    free(fresh);
    buffer_free(&b);
    return err;
}

/* ---- Analyzers that ended the server ------------------------------------------------------------ */

/* What the configuration says, whatever its places. */
static uint32_t sum_node(uint32_t sum, const struct node *n)
{
    sum = crc32c(sum, &n->kind, sizeof(n->kind));
    if (n->text)
        sum = crc32c(sum, n->text, strlen(n->text) + 1);
    for (size_t i = 0; i < n->n; i++) {
        if (n->key)
            sum = sum_node(sum, &n->key[i]);
        sum = sum_node(sum, &n->item[i]);
    }
    return sum;
}

/* Another file is of another size, or time. */
static bool add_file(const char *path, uint32_t *sum)
{
    struct stat st;
    if (stat(path, &st))
        return false;
    const int64_t what[] = {(int64_t)st.st_size, (int64_t)st.st_mtim.tv_sec,
                            (int64_t)st.st_mtim.tv_nsec};
    *sum = crc32c(*sum, what, sizeof(what));
    return true;
}

/* Of a plugin's file, and those that the analyzer's parameters name: scripts, say. 0: it is not there. */
static uint32_t sum_files(struct plugins *plugins, const struct config_analyzer *a)
{
    struct plugin *plugin;
    struct error error = {0};
    const struct node *given = a->params;
    uint32_t sum = 0;
    if (plugins_get(plugins, a->plugin, &plugin, &error) < 0 ||
        !add_file(plugin->path, &sum))
        return 0;
    const struct weir_param *first = plugin->analyzer.params;
    for (const struct weir_param *p = first; given && p && p->name; p++) {
        const struct node *value = given->kind == NODE_MAP ? node_get(given, p->name)
                                   : p == first            ? given
                                                           : NULL;
        if (p->flags & WEIR_FILE && value && value->kind == NODE_SCALAR && value->text)
            add_file(value->text, &sum);
    }
    return sum;
}

/* The analyzer that is meant, in a thread; NULL: the configuration has none. */
static struct config_analyzer *find(const struct config *config, const char *pipeline,
                                    size_t place, const char *analyzer,
                                    struct config_pipeline **ret)
{
    for (size_t i = 0; i < config->n_pipelines; i++) {
        struct config_pipeline *p = &config->pipeline[i];
        if (strcmp(p->name, pipeline) != 0)
            continue;
        *ret = p;
        struct config_analyzer *a =
            place && place <= p->n_analyzers ? &p->analyzer[place - 1] : NULL;
        return a && !a->apart && !strcmp(a->plugin, analyzer) ? a : NULL;
    }
    return NULL;
}

static bool is_same_place(const struct crash *a, const struct crash *b)
{
    return a->place == b->place && !strcmp(a->pipeline, b->pipeline) &&
           !strcmp(a->analyzer, b->analyzer);
}

static void say_last(const struct doing *d)
{
    const char *by = strsignal(d->signal);
    if (d->inside)
        logger_error("serve",
                     "the server was ended by signal %d (%s) in pipeline '%s', "
                     "analyzer '%s' at place %" PRIu64 ", at entry %" PRIu64,
                     d->signal, by, d->pipeline, d->analyzer, d->place, d->position);
    else
        logger_error("serve",
                     "the server was ended by signal %d (%s) in pipeline '%s', at "
                     "entry %" PRIu64 "; --without %s goes on without it",
                     d->signal, by, d->pipeline, d->position, d->pipeline);
}

void crashes_note(struct crashes *c, const struct doing *d, const struct config *config,
                  struct plugins *plugins)
{
    struct config_pipeline *p;
    say_last(d);
    const struct config_analyzer *a =
        c && d->inside ? find(config, d->pipeline, d->place, d->analyzer, &p) : NULL;
    if (!a)
        return;
    struct crash one = {.place = d->place,
                        .signal = d->signal,
                        .entry = d->position,
                        .seconds = clock_now_us() / SECOND_US,
                        .file = sum_files(plugins, a),
                        .configuration = sum_node(0, a->node)};
    memcpy(one.pipeline, d->pipeline, sizeof(one.pipeline));
    memcpy(one.analyzer, d->analyzer, sizeof(one.analyzer));
    size_t i = 0;
    while (i < c->n && (c->list[i].aside || !is_same_place(&c->list[i], &one)))
        i++;
    int err = 0;
    if (i < c->n)
        c->list[i] = one;
    else
        err = add(c, &one);
    if (!err)
        err = write_all(c);
    if (err)
        logger_error("crashes", "'%s': %s; what ended the server may do so again",
                     c->path, strerror(-err));
}

static int apply(const struct crash *c, struct config_analyzer *a,
                 struct config_pipeline *p)
{
    if (!a->crash_stops && !a->async) {
        a->apart = a->moved = true;
        return 0;
    }
    char *why;
    if (asprintf(&why,
                 "analyzer '%s' ended the server by signal %d (%s) at entry %" PRIu64
                 " (%s)",
                 a->plugin, c->signal, strsignal(c->signal), c->entry,
                 a->crash_stops
                     ? "on_crash: stop"
                     : "run: async, which is not for a process of its own") < 0)
        return -ENOMEM;
    free(p->left_out);
    p->left_out = why;
    return 0;
}

int crashes_apply(struct crashes *c, struct config *config, struct plugins *plugins)
{
    int err = 0;
    for (size_t i = 0; !err && i < c->n; i++) {
        struct crash *one = &c->list[i];
        struct config_pipeline *p;
        struct config_analyzer *a =
            one->aside ? NULL
                       : find(config, one->pipeline, one->place, one->analyzer, &p);
        bool same = a && one->configuration == sum_node(0, a->node);
        if (plugins)
            one->applies = same && one->file == sum_files(plugins, a);
        if (same && one->applies)
            err = apply(one, a, p);
    }
    return err;
}

void crashes_drop(struct crashes *c, bool (*keep)(void *ctx, const struct crash *one),
                  void *ctx)
{
    size_t n = 0, before = c->n;
    for (size_t i = 0; i < before; i++)
        if (!c->list[i].aside || keep(ctx, &c->list[i]))
            c->list[n++] = c->list[i];
    c->n = n;
    c->n_aside -= before - n;
    c->changed = c->changed || n < before;
}

static void say_thread(const struct crash *c)
{
    char time[CLOCK_TEXT_MAX];
    clock_format(c->seconds * SECOND_US, time);
    if (c->applies)
        logger_warn("crashes",
                    "pipeline '%s': analyzer '%s' at place %zu ended the server on "
                    "%.10s; until its file or its configuration is another one it runs "
                    "in a process of its own, or the pipeline is left out (on_crash); "
                    "--without %s goes on without it",
                    c->pipeline, c->analyzer, c->place, time, c->pipeline);
    else
        logger_info("crashes",
                    "pipeline '%s': analyzer '%s' at place %zu ended the server on "
                    "%.10s; its file or its configuration is another one now, and it "
                    "runs as configured",
                    c->pipeline, c->analyzer, c->place, time);
}

void crashes_settle(struct crashes *c)
{
    size_t n = 0, before = c->n;
    for (size_t i = 0; i < before; i++) {
        if (!c->list[i].aside)
            say_thread(&c->list[i]);
        if (c->list[i].aside || c->list[i].applies)
            c->list[n++] = c->list[i];
    }
    c->n = n;
    int err = c->changed || n < before ? write_all(c) : 0;
    if (err)
        logger_warn("crashes", "'%s' cannot be written: %s", c->path, strerror(-err));
}

int crashes_set_aside(struct crashes *c, const char *pipeline, size_t place,
                      const char *analyzer, uint64_t first, uint64_t last)
{
    struct crash one = {.aside = true, .place = place, .first = first, .last = last};
    snprintf(one.pipeline, sizeof(one.pipeline), "%s", pipeline);
    snprintf(one.analyzer, sizeof(one.analyzer), "%s", analyzer);
    int err = add(c, &one);
    return err ? err : write_all(c);
}

static bool is_of_another(void *pipeline, const struct crash *one)
{
    return strcmp(one->pipeline, pipeline) != 0;
}

void crashes_forget_aside(struct crashes *c, const char *pipeline)
{
    crashes_drop(c, is_of_another, (void *)(uintptr_t)pipeline);
    int err = c->changed ? write_all(c) : 0;
    if (err)
        logger_warn("crashes", "'%s' cannot be written: %s", c->path, strerror(-err));
}
