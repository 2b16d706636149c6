/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h> /* of the build */

#include "shard/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_LIBPQ
#include <libpq-fe.h>
#endif

/* `prefix` may be "". Values of NULL are not given. */
static int add(struct settings *s, const char *prefix, const char *name,
               const char *value)
{
    if (!value)
        return 0;
    if (s->n == s->room) {
        const size_t room = s->room ? 2 * s->room : 16;
        struct weir_shard_setting *list = realloc(s->list, room * sizeof(*list));
        if (!list)
            return -ENOMEM;
        s->list = list;
        s->room = room;
    }
    char *whole = malloc(strlen(prefix) + strlen(name) + 1);
    char *copy = strdup(value);
    if (!whole || !copy) {
        free(whole);
        free(copy);
        return -ENOMEM;
    }
    stpcpy(stpcpy(whole, prefix), name);
    s->list[s->n++] = (struct weir_shard_setting){.name = whole, .value = copy};
    return 0;
}

static int add_kafka(struct settings *s, const struct config_source *k)
{
    static const char *const format[] = {[DECODE_NDJSON] = "ndjson",
                                         [DECODE_JSON] = "json",
                                         [DECODE_CSV] = "csv",
                                         [DECODE_LINES] = "lines"};
    char number[16];
    int err = add(s, "kafka.", "brokers", k->brokers);
    for (size_t i = 0; err == 0 && i < k->n_topics; i++)
        err = add(s, "kafka.", "topic", k->topic[i]);
    for (size_t i = 0; err == 0 && i < k->n_partitions; i++) {
        snprintf(number, sizeof(number), "%" PRId32, k->partition[i]);
        err = add(s, "kafka.", "partition", number);
    }
    for (size_t i = 0; err == 0 && i < k->n_senders; i++)
        err = add(s, "kafka.", "sender", k->sender[i]);
    for (size_t i = 0; err == 0 && i < k->n_options; i++)
        err = add(s, k->option[i].value ? "kafka.option." : "kafka.option_file.",
                  k->option[i].name,
                  k->option[i].value ? k->option[i].value : k->option[i].file);
    if (err == 0)
        err = add(s, "kafka.", "group", k->group);
    if (err == 0)
        err = add(s, "kafka.", "format", format[k->format]);
    if (err == 0)
        err = add(s, "kafka.", "begin", k->newest ? "newest" : "oldest");
    return err < 0 ? err
                   : add(s, "kafka.", "on_lost", k->lost_goes_on ? "go_on" : "stop");
}

#ifdef HAVE_LIBPQ
static int add_connect(struct settings *s, const char *connect)
{
    PQconninfoOption *options = PQconninfoParse(connect, NULL);
    int err = options ? 0 : -ENOMEM; /* the configuration was read */
    for (PQconninfoOption *o = options; err == 0 && o->keyword; o++)
        err = add(s, "postgresql.connect.", o->keyword, o->val);
    PQconninfoFree(options); /* takes NULL */
    return err;
}
#else
static int add_connect(struct settings *s, const char *connect)
{
    (void)s, (void)connect;
    return 0; /* the section is refused */
}
#endif

static bool is_carried(const struct config_postgresql *p, const char *pipeline)
{
    if (!p->target.pipeline)
        return true;
    for (char **name = p->target.pipeline; *name; name++)
        if (!strcmp(*name, pipeline))
            return true;
    return false;
}

static int add_postgresql(struct settings *s, const struct config_postgresql *p)
{
    int err = add_connect(s, p->connect);
    if (err == 0)
        err = add(s, "postgresql.", "password_file", p->password_file);
    if (err == 0)
        err = add(s, "postgresql.", "schema", p->schema);
    return err < 0 ? err : add(s, "postgresql.", "shard", p->shard);
}

int settings_make(struct settings *s, const struct job *job)
{
    const struct config_source *source = &job->stream->source;
    const struct config_postgresql *p = job->config->server.postgresql;
    int err = source->kind == CONFIG_SOURCE_KAFKA ? add_kafka(s, source) : 0;
    if (err == 0 && p && is_carried(p, job->pipeline->name))
        err = add_postgresql(s, p);
    return err;
}

void settings_free(struct settings *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free((void *)(uintptr_t)s->list[i].name);
        free((void *)(uintptr_t)s->list[i].value);
    }
    free(s->list);
    *s = (struct settings){0};
}
