/* SPDX-License-Identifier: Apache-2.0
 *
 * What `postgresql:` and `kafka:` of the server have in common: whose tables go there.
 */
#include "config/sections.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SHARD_MAX 63

/* It is part of messages, and of what people write. */
int target_section_shard(const struct node *n, char **ret, struct error *error)
{
    int r = fields_text(n, ret, error);
    if (r == 0 &&
        (strlen(*ret) > SHARD_MAX || strspn(*ret, "abcdefghijklmnopqrstuvwxyz"
                                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                  "0123456789._-") != strlen(*ret)))
        r = node_error(n, error,
                       "expected a name of at most %d letters, digits, '.', '_' and "
                       "'-', another one for each server",
                       SHARD_MAX);
    return r;
}

/* That there are such pipelines, config.c sees to: they stand behind the server. */
int target_section_pipelines(const struct node *n, struct config_target *ret,
                             struct error *error)
{
    const struct node *name = n->kind == NODE_LIST ? n->item : n;
    size_t n_names = n->kind == NODE_LIST ? n->n : 1;
    if (n->kind == NODE_MAP || n_names == 0)
        return node_expected(n, "the name of a pipeline, or a list of names", error);
    ret->pipelines = n;
    if (!(ret->pipeline = calloc(n_names + 1, sizeof(*ret->pipeline))))
        return error_set(error, -ENOMEM, "%s: out of memory", n->file);
    int r = 0;
    for (size_t i = 0; r == 0 && i < n_names; i++)
        r = fields_text(&name[i], &ret->pipeline[i], error);
    return r;
}

int target_section_check(const struct config *c, const struct config_target *t,
                         struct error *error)
{
    const char **names = calloc(c->n_pipelines + 1, sizeof(*names));
    if (!names)
        return error_set(error, -ENOMEM, "out of memory");
    int r = 0;
    for (size_t i = 0; i < c->n_pipelines; i++)
        names[i] = c->pipeline[i].name;
    for (size_t i = 0; r == 0 && t->pipeline && t->pipeline[i]; i++) {
        const struct node *n =
            t->pipelines->kind == NODE_LIST ? &t->pipelines->item[i] : t->pipelines;
        if (config_is_target(c, t, t->pipeline[i]) < 0) {
            node_error(n, error, "there is no pipeline '%s'", t->pipeline[i]);
            node_suggest(error, t->pipeline[i], names, c->n_pipelines);
            r = -EINVAL;
        }
    }
    free(names);
    return r;
}

int config_is_target(const struct config *c, const struct config_target *t,
                     const char *pipeline)
{
    size_t i = 0;
    while (i < c->n_pipelines && strcmp(c->pipeline[i].name, pipeline))
        i++;
    if (i == c->n_pipelines)
        return -ENOENT;
    char **name = t ? t->pipeline : NULL;
    while (name && *name && strcmp(*name, pipeline))
        name++;
    return t && (!name || *name);
}

void target_section_free(struct config_target *t)
{
    for (char **name = t->pipeline; name && *name; name++)
        free(*name);
    free(t->pipeline);
}
