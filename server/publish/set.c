/* SPDX-License-Identifier: Apache-2.0
 *
 * Which tables are published, and what is known of each.
 */
#include "publish/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOPIC_MAX 249 /* characters; Kafka's own limit */

static int no_memory(struct error *error)
{
    return error_set(error, -ENOMEM, "out of memory");
}

/* The text stands at the pipeline. */
static int check_table(const struct config_kafka *settings, const struct pipeline *p,
                       const struct table *t, struct error *error)
{
    if (strlen(settings->prefix) + strlen(t->name) <= TOPIC_MAX)
        return 0;
    return node_error(pipeline_config(p)->map, error,
                      "'kafka': the topic '%s%s' would have a name of more than %d "
                      "characters",
                      settings->prefix, t->name, TOPIC_MAX);
}

int publish_check(const struct config *config, struct pipeline *const *pipeline,
                  size_t n, struct error *error)
{
    const struct config_kafka *settings = config->server.kafka;
    int err = 0;
    for (size_t i = 0; !err && i < n; i++) {
        const struct table *const *table;
        if (!pipeline[i] ||
            config_is_published(config, settings, pipeline_config(pipeline[i])->name) !=
                1)
            continue;
        const size_t n_tables = pipeline_tables(pipeline[i], &table);
        for (size_t k = 0; !err && k < n_tables; k++)
            err = check_table(settings, pipeline[i], table[k], error);
    }
    return err;
}

/* Events as they came have no key; windows by count number those of a key. */
static size_t count_keys(const struct pipeline *p, const struct table *t)
{
    if (t->rows || t->late)
        return 0;
    return t->n_keys - (t->n_keys && pipeline_config(p)->window.kind == CONFIG_COUNT);
}

static int published_new(const struct config_kafka *settings, struct pipeline *p,
                         const struct table *t, int64_t late_us, struct published **ret,
                         struct error *error)
{
    int err = check_table(settings, p, t, error);
    if (err)
        return err;
    struct published *k = calloc(1, sizeof(*k));
    if (!k)
        return no_memory(error);
    k->pipeline = pipeline_ref(p);
    k->table = t;
    k->n_keys = count_keys(p, t);
    k->late_us = late_us;
    k->look = true;
    *ret = k;
    if (asprintf(&k->topic, "%s%s", settings->prefix, t->name) < 0) {
        k->topic = NULL;
        return no_memory(error);
    }
    return 0;
}

/* Late events revise rows of a pipeline, and those of pipelines that read it, whose windows may be longer. */
static int64_t latest(const struct config *c)
{
    int64_t us = 0;
    for (size_t i = 0; i < c->n_pipelines; i++)
        if (__builtin_add_overflow(us, c->pipeline[i].allowed_lateness_us, &us))
            return INT64_MAX;
    return us;
}

static int add_tables(struct publish_set *s, struct pipeline *p, int64_t late_us,
                      struct error *error)
{
    const struct table *const *table;
    size_t n = pipeline_tables(p, &table);
    struct published **last = &s->first;
    int err = 0;
    while (*last)
        last = &(*last)->next;
    for (size_t i = 0; !err && i < n; i++) {
        err = published_new(s->config->server.kafka, p, table[i], late_us, last, error);
        last = *last ? &(*last)->next : last;
    }
    return err;
}

struct left_out {
    const struct config *config;
    const struct publish_set *set;
};

/* It is published, but has no tables now. */
static bool is_left_out(void *ctx, const char *pipeline)
{
    const struct left_out *l = ctx;
    if (config_is_published(l->config, l->set->config->server.kafka, pipeline) != 1)
        return false;
    const struct published *k = l->set->first;
    while (k && strcmp(k->table->pipeline, pipeline))
        k = k->next;
    return !k;
}

static int open_places(struct store *store, struct publish_set *s, const char *writer,
                       const struct config *config, struct error *error)
{
    size_t n = 0;
    for (struct published *k = s->first; k; k = k->next)
        n++;
    const struct table **table = calloc(n + 1, sizeof(*table));
    struct carried_place *place = calloc(n + 1, sizeof(*place));
    struct left_out l = {.config = config, .set = s};
    n = 0;
    for (struct published *k = s->first; table && k; k = k->next)
        table[n++] = k->table;
    int err = table && place ? carried_open(store, CARRIED_KAFKA, table, n, writer,
                                            is_left_out, &l, place, s->database, error)
                             : no_memory(error);
    n = 0;
    for (struct published *k = s->first; !err && k; k = k->next)
        k->place = place[n++];
    free(table);
    free(place);
    return err;
}

int publish_prepare(struct store *store, const struct publisher *running,
                    struct config *config, struct config *server,
                    struct pipeline *const *pipeline, size_t n,
                    struct publish_set **ret, struct error *error)
{
    struct publish_set *s = calloc(1, sizeof(*s));
    if (!s)
        return no_memory(error);
    s->config = config_ref(server);
    const struct config_kafka *settings = server->server.kafka;
    int err = 0;
    for (size_t i = 0; !err && i < n; i++)
        if (pipeline[i] && config_is_published(config, settings,
                                               pipeline_config(pipeline[i])->name) == 1)
            err = add_tables(s, pipeline[i], latest(config), error);
    if (!err)
        err = open_places(store, s, running ? running->writer : NULL, config, error);
    if (err || !settings) {
        publish_set_free(s);
        s = NULL;
    }
    *ret = s;
    return err;
}

void publish_set_free(struct publish_set *s)
{
    if (!s)
        return;
    for (struct published *k = s->first, *next; k; k = next) {
        next = k->next;
        messages_close(k);
        pipeline_unref(k->pipeline);
        free(k->topic);
        free(k);
    }
    config_free(s->config);
    free(s);
}
