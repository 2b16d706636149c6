/* SPDX-License-Identifier: Apache-2.0
 *
 * Pipelines that read other pipelines: who reads whom, looked at once all of them are known.
 */
#include "config/faults.h"
#include "config/sections.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whose table it is: the pipeline of that name, or else the one with the longest name that it begins with, and '_'. */
static size_t find_parent(const struct config *c, const char *table)
{
    size_t found = SIZE_MAX, longest = 0;
    for (size_t i = 0; i < c->n_pipelines; i++) {
        const char *name = c->pipeline[i].name;
        size_t size = name ? strlen(name) : 0;
        if (!size || strncmp(table, name, size))
            continue;
        if (!table[size])
            return i;
        if (table[size] == '_' && size > longest) {
            found = i;
            longest = size;
        }
    }
    return found;
}

static int no_parent(const struct config *c, const struct config_pipeline *p,
                     struct error *error)
{
    const char **name = calloc(c->n_streams + c->n_pipelines + 1, sizeof(*name));
    size_t n = 0;
    if (!name)
        return error_set(error, -ENOMEM, "out of memory");
    for (size_t i = 0; i < c->n_streams; i++)
        if (c->stream[i].name)
            name[n++] = c->stream[i].name;
    for (size_t i = 0; i < c->n_pipelines; i++)
        if (c->pipeline[i].name && &c->pipeline[i] != p)
            name[n++] = c->pipeline[i].name;
    node_error(p->from_node, error, "there is no stream or pipeline '%s'", p->from);
    node_suggest(error, p->from, name, n);
    free(name);
    return -EINVAL;
}

/* What speaks of order is of no use where rows come in order. */
static int check_order(const struct config_pipeline *p, struct error *error)
{
    static const char *const word[] = {"out_of_orderness", "late", "allowed_lateness",
                                       "idle_timeout"};
    for (size_t i = 0; i < sizeof(word) / sizeof(word[0]); i++)
        if (node_get(p->map, word[i]))
            return node_error(
                node_get(p->map, word[i]), error,
                "'%s' is for pipelines that read a stream: the results of "
                "'%s' come in order, none is late and none missing",
                word[i], p->from);
    return 0;
}

static int check_join(const struct config_pipeline *p,
                      const struct config_pipeline *parent, struct error *error)
{
    const struct node *join = node_get(p->map, "join");
    return join ? node_error(join, error,
                             "'join' is for pipelines that read a stream; '%s', or the "
                             "pipeline that it reads, can join",
                             parent->name)
                : 0;
}

/* Results that take each other's place, as of `global` and of `late: revise`: what is over would have to be opened again. */
static int check_replaced(const struct config_pipeline *p,
                          const struct config_pipeline *parent, struct error *error)
{
    if (p->window.kind != CONFIG_GLOBAL)
        return node_error(
            p->window.node, error,
            "results of '%s' are replaced (%s), so what is made of "
            "them is never final: a pipeline that reads them is 'global'%s",
            parent->name,
            parent->window.kind == CONFIG_GLOBAL ? "'global'" : "'late: revise'",
            parent->window.kind == CONFIG_GLOBAL ? ", too" : "");
    if (p->window.expire_us != INT64_MAX)
        return node_error(node_get(p->window.node, "expire"), error,
                          "'expire' is for pipelines that read a stream: a key goes "
                          "when all results of '%s' that it came of are gone",
                          parent->name);
    int r = check_join(p, parent, error);
    return r < 0 ? r : check_order(p, error);
}

static int check_parent(const struct config_pipeline *p,
                        const struct config_pipeline *parent, struct error *error)
{
    if (parent->joins.all)
        return node_error(
            p->from_node, error,
            "results of '%s', which reads several streams, cannot be read "
            "by pipelines",
            parent->name);
    if (parent->window.kind == CONFIG_GLOBAL)
        return check_replaced(p, parent, error);
    /* A derived stream has the order of the ends. */
    if (parent->window.kind != CONFIG_TUMBLING && parent->window.kind != CONFIG_HOPPING)
        return node_error(p->from_node, error,
                          "results of '%s' do not come in the order of their windows' "
                          "ends ('%s'); those of tumbling and hopping windows do",
                          parent->name, config_window_word[parent->window.kind]);
    if (parent->late == CONFIG_LATE_REVISE && parent->window.n_coarse)
        return node_error(p->from_node, error,
                          "results of '%s' are revised ('late: revise') in windows of "
                          "several sizes, of which each would replace its own; those "
                          "of one size can be read",
                          parent->name);
    if (parent->late == CONFIG_LATE_REVISE)
        return check_replaced(p, parent, error);
    if (p->window.kind == CONFIG_UNTIL || p->window.kind == CONFIG_NONE)
        return node_error(p->window.node, error,
                          "'%s' is for pipelines that read a stream",
                          config_window_word[p->window.kind]);
    int r = check_join(p, parent, error);
    return r < 0 ? r : check_order(p, error);
}

/* The path from p to itself, or further up, to one that has been on it. */
static int say_cycle(const struct config *c, const struct config_pipeline *p,
                     struct error *error)
{
    char path[320];
    size_t size = (size_t)snprintf(path, sizeof(path), "%s", p->name);
    const struct config_pipeline *at = p;
    do {
        at = &c->pipeline[at->parent];
        size_t room = sizeof(path) - size;
        int n = snprintf(path + size, room, " -> %s", at->name);
        size += (size_t)n < room ? (size_t)n : room - 1;
    } while (at != p);
    return node_error(p->from_node, error, "'%s' reads itself: %s", p->name, path);
}

/* Follows the parents of one to its stream. On a cycle only who stands on it is told of it. */
static int link_pipeline(struct config *c, struct config_pipeline *p,
                         struct error *error)
{
    const struct config_pipeline *at = p;
    unsigned depth = 0;
    for (; at->parent != SIZE_MAX; depth++) {
        if (depth > c->n_pipelines)
            return 0;
        at = &c->pipeline[at->parent];
        if (at == p)
            return say_cycle(c, p, error);
    }
    if (depth > CONFIG_CHAIN_MAX)
        return node_error(p->from_node, error,
                          "more than %d pipelines would read one another here",
                          CONFIG_CHAIN_MAX);
    p->stream = at->stream;
    p->depth = depth;
    return 0;
}

int chain_link(struct config *c, struct error *error)
{
    int r = 0, failed = 0;
    for (size_t i = 0; r == 0 && i < c->n_pipelines; i++) {
        struct config_pipeline *p = &c->pipeline[i];
        if (!p->from) /* of a stream, or with a fault there */
            continue;
        p->parent = find_parent(c, p->from);
        r = p->parent == SIZE_MAX ? no_parent(c, p, error)
                                  : check_parent(p, &c->pipeline[p->parent], error);
        failed = r < 0 ? r : failed;
        r = faults_go_on(r, error) ? 0 : r;
    }
    for (size_t i = 0; r == 0 && i < c->n_pipelines; i++) {
        if (c->pipeline[i].parent == SIZE_MAX)
            continue;
        r = link_pipeline(c, &c->pipeline[i], error);
        failed = r < 0 ? r : failed;
        r = faults_go_on(r, error) ? 0 : r;
    }
    return failed;
}
