/* SPDX-License-Identifier: Apache-2.0
 *
 * What can be dealt by key, and the reasons why the rest cannot.
 */
#include "base/hash.h"
#include "config/node.h"
#include "plugin/loader.h"
#include "shard/internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MILLISECOND_US 1000

int job_error(const struct job *p, int err, const struct error *why,
              struct weir_shard_error *ret)
{
    snprintf(ret->text, sizeof(ret->text), "pipeline '%.80s': %.400s",
             p->pipeline->name, why->text[0] ? why->text : strerror(-err));
    return err;
}

/* ---- What is refused ---------------------------------------------------------------------------- */

static const char *refused_input(const struct config_pipeline *c,
                                 const struct config_stream *s)
{
    if (c->from)
        return "it reads the results of another pipeline: a second job reads them";
    if (c->joins.n || c->joins.all || c->results.n)
        return "it joins other streams or results, whose rows are elsewhere";
    if (c->references.n)
        return "it joins a table of weir's database, which is not here";
    if (c->asks)
        return "it asks other services, and their answers would have no journal";
    if (s->time_unit == DECODE_ARRIVAL)
        return "its events have no time of their own: read again, they would have "
               "another one";
    return NULL;
}

static const char *refused_window(const struct config_pipeline *c)
{
    const struct config_window *w = &c->window;
    if (w->kind == CONFIG_NONE)
        return "it has no windows";
    if (w->kind != CONFIG_TUMBLING && w->kind != CONFIG_HOPPING)
        return "its windows are by key; tumbling and hopping ones can be dealt";
    if (w->size_us % MILLISECOND_US || w->by_us % MILLISECOND_US ||
        w->offset_us % MILLISECOND_US)
        return "its windows do not end at whole milliseconds";
    if (!c->n_keys)
        return "it has no key";
    if (c->late != CONFIG_LATE_DROP)
        return "late events are dropped here: 'late: drop', without allowed_lateness";
    return NULL;
}

static const char *refused_analyzer(const struct config_analyzer *a, bool has_program)
{
    if (a->apart && !has_program)
        return "'run: process' needs weir itself, and nobody has said where that is";
    if (a->async)
        return "'run: async' is weir's own";
    if (!strncmp(a->plugin, "python", strlen("python")))
        return "analyzers in Python run in weir itself only";
    return NULL;
}

static int check(const struct job *p, struct error *error)
{
    const struct config_pipeline *c = p->pipeline;
    const char *why = refused_input(c, p->stream);
    const struct node *node = c->node;
    if (!why)
        why = refused_window(c);
    for (size_t i = 0; !why && i < c->n_analyzers; i++)
        if ((why = refused_analyzer(&c->analyzer[i], p->program)))
            node = c->analyzer[i].node;
    return why ? node_error(node, error, "pipeline '%s' cannot run here: %s", c->name,
                            why)
               : 0;
}

/* ---- Making ------------------------------------------------------------------------------------- */

static int find(struct job *p, const char *name, struct error *error)
{
    for (size_t i = 0; i < p->config->n_pipelines; i++)
        if (!strcmp(p->config->pipeline[i].name, name)) {
            p->pipeline = &p->config->pipeline[i];
            p->stream = &p->config->stream[p->pipeline->stream];
            return 0;
        }
    return error_set(error, -ENOENT, "there is no pipeline '%s'", name);
}

/* Router and shard come to the same. */
static int make_sent(struct job *p)
{
    const struct schema *s = p->stream->schema;
    bool wanted[SCHEMA_COLUMNS_MAX] = {false};
    const bool some = !p->stream->derive.n && pipeline_wants(p->made, wanted);
    size_t n = 1; /* the time */
    for (size_t i = 1; i < s->n; i++)
        if (!some || wanted[i])
            p->sent_from[n++] = i;
    int err = schema_new(n, s->column[0].name, &p->sent);
    for (size_t i = 1; err == 0 && i < n; i++)
        err = schema_set(p->sent, i, s->column[p->sent_from[i]].name,
                         s->column[p->sent_from[i]].type);
    return err;
}

static int make_map(struct job *p)
{
    const size_t size = codec_schema_size(p->sent);
    char *bytes = malloc(size);
    if (!bytes)
        return -ENOMEM;
    codec_schema_write(p->sent, bytes);
    int r = codec_map_new(p->stream->schema, bytes, size, &p->map);
    free(bytes);
    return r;
}

static void set_up(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, hash_setup);
}

int job_make(struct job *p, const struct weir_shard_options *options,
             struct weir_shard_error *ret)
{
    struct error error = {0};
    *p = (struct job){.parts = options->parts};
    set_up();
    int r = 0;
    if (!options->parts || options->parts > WEIR_SHARD_PARTS_MAX)
        r = error_set(&error, -EINVAL, "parts are 1 to %d", WEIR_SHARD_PARTS_MAX);
    if (r == 0)
        r = config_parse(options->file, options->config, options->config_size,
                         &p->config, &error);
    if (r == 0)
        r = find(p, options->pipeline, &error);
    if (r == 0 && options->program && !(p->program = strdup(options->program)))
        r = -ENOMEM;
    if (r == 0)
        r = check(p, &error);
    for (size_t i = 0; r == 0 && i < p->pipeline->n_analyzers; i++)
        p->pipeline->analyzer[i].program = p->program;
    if (r == 0) {
        p->pipeline->workers = 1; /* several are several shards */
        r = plugins_new(p->config->server.plugin_path, &p->plugins);
    }
    if (r == 0)
        r = pipeline_new(p->config, p->pipeline, p->plugins, NULL, &p->made, &error);
    if (r == 0)
        r = make_sent(p);
    if (r == 0)
        r = make_map(p);
    if (r < 0)
        snprintf(ret->text, sizeof(ret->text), "%s",
                 error.text[0] ? error.text : strerror(-r));
    return r;
}

void job_free(struct job *p)
{
    codec_map_free(p->map);
    schema_free(p->sent);
    pipeline_unref(p->made);
    plugins_free(p->plugins);
    config_free(p->config);
    free(p->program);
}
