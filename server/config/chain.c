/* SPDX-License-Identifier: Apache-2.0
 *
 * Pipelines that read other pipelines, or join their results: who reads whom, looked at once all of them are known.
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
                     const struct node *at, const char *table, struct error *error)
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
    node_error(at, error, "there is no stream or pipeline '%s'", table);
    node_suggest(error, table, name, n);
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

/* Results have no order among streams; tables have none. */
static int check_join(const struct config_pipeline *p,
                      const struct config_pipeline *parent, struct error *error)
{
    const struct node *join = p->join_node;
    for (size_t i = 0; join && i < join->n; i++) {
        if (!reference_section_is(&join->item[i]))
            return node_error(&join->key[i], error,
                              "a pipeline that reads another one joins tables only "
                              "('table'); '%s', or the pipeline that it reads, can "
                              "join streams",
                              parent->name);
        if (parent->late == CONFIG_LATE_REVISE)
            return node_error(&join->key[i], error,
                              "results of '%s' are revised ('late: revise'): where the "
                              "table is changed, what was made of those that are not "
                              "kept any more could not be taken out",
                              parent->name);
    }
    return 0;
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
    if (parent->late == CONFIG_LATE_REVISE)
        return check_replaced(p, parent, error);
    if (p->window.kind == CONFIG_UNTIL || p->window.kind == CONFIG_NONE)
        return node_error(p->window.node, error,
                          "'%s' is for pipelines that read a stream",
                          config_window_word[p->window.kind]);
    int r = check_join(p, parent, error);
    return r < 0 ? r : check_order(p, error);
}

/* Are those that it reads taken out again, and its own with the last of them? */
static bool reads_replaced(const struct config *c, const struct config_pipeline *p)
{
    const size_t i = p->from ? find_parent(c, p->from) : SIZE_MAX;
    return i != SIZE_MAX && (c->pipeline[i].window.kind == CONFIG_GLOBAL ||
                             c->pipeline[i].late == CONFIG_LATE_REVISE);
}

/* Results that are found by time: what there is up to a time is there once the watermark has passed it, and stays. */
static int check_joined(const struct config *c, const struct config_result *r,
                        const struct config_pipeline *of, struct error *error)
{
    if (of->late == CONFIG_LATE_REVISE)
        return node_error(r->node, error,
                          "results of '%s' can be revised ('late: revise'), and what "
                          "was joined with them could not",
                          of->name);
    if (of->window.kind == CONFIG_NONE)
        return node_error(
            r->node, error,
            "'%s' has no windows, whose results could be joined, but rows "
            "('none')",
            of->name);
    if (of->window.kind == CONFIG_GLOBAL &&
        (of->window.expire_us != INT64_MAX || reads_replaced(c, of)))
        return node_error(r->node, error,
                          "results of '%s' are taken back (%s): which were there at a "
                          "time is not known afterwards",
                          of->name,
                          of->window.expire_us != INT64_MAX ? "'expire'"
                                                            : "as those that it reads");
    return 0;
}

/* The i-th that a pipeline has results of; SIZE_MAX: it is not known. */
static size_t read_by(const struct config_pipeline *p, size_t i)
{
    if (p->parent == SIZE_MAX)
        return p->results.item[i].pipeline;
    return i ? p->results.item[i - 1].pipeline : p->parent;
}

static size_t n_read(const struct config_pipeline *p)
{
    return (p->parent != SIZE_MAX) + p->results.n;
}

/* Is there a way from `at` to `to`? It is put into path[]. */
static bool find_path(const struct config *c, size_t at, size_t to, bool *seen,
                      size_t *path, size_t *n)
{
    const struct config_pipeline *p = &c->pipeline[at];
    path[(*n)++] = at;
    seen[at] = true;
    for (size_t i = 0; i < n_read(p); i++) {
        size_t next = read_by(p, i);
        if (next == to ||
            (next != SIZE_MAX && !seen[next] && find_path(c, next, to, seen, path, n)))
            return true;
    }
    (*n)--;
    return false;
}

/* Where it says that it reads the next one of the path. */
static const struct node *node_of(const struct config_pipeline *p, size_t next)
{
    const struct node *at = p->from_node;
    for (size_t i = 0; p->parent != next && i < p->results.n; i++)
        if (p->results.item[i].pipeline == next)
            at = p->results.item[i].node;
    return at;
}

/* The path from p to itself. */
static int say_cycle(const struct config *c, const size_t *by, size_t n,
                     struct error *error)
{
    char path[320];
    const struct config_pipeline *p = &c->pipeline[by[0]];
    size_t size = (size_t)snprintf(path, sizeof(path), "%s", p->name);
    for (size_t i = 1; i <= n; i++) {
        size_t room = sizeof(path) - size;
        int more =
            snprintf(path + size, room, " -> %s", c->pipeline[by[i < n ? i : 0]].name);
        size += (size_t)more < room ? (size_t)more : room - 1;
    }
    return node_error(node_of(p, by[n > 1]), error, "'%s' reads itself: %s", p->name,
                      path);
}

/* On a cycle only who stands on it is told of it. */
static int check_cycle(const struct config *c, size_t i, struct error *error)
{
    size_t n = 0, *path = calloc(c->n_pipelines + 1, sizeof(*path));
    bool *seen = calloc(c->n_pipelines + 1, sizeof(*seen));
    int r = path && seen ? 0 : error_set(error, -ENOMEM, "out of memory");
    if (r == 0 && find_path(c, i, i, seen, path, &n))
        r = say_cycle(c, path, n, error);
    free(path);
    free(seen);
    return r;
}

/* One more than the deepest that it reads. */
static unsigned depth_of(const struct config *c, const struct config_pipeline *p)
{
    unsigned depth = 0;
    for (size_t i = 0; i < n_read(p); i++) {
        size_t k = read_by(p, i);
        if (k != SIZE_MAX && c->pipeline[k].depth >= depth)
            depth = c->pipeline[k].depth + 1;
    }
    return depth;
}

/* Depths rise until all are right; on a cycle, and behind one, they never are. */
static bool set_depths(struct config *c)
{
    bool changed = true;
    for (unsigned round = 0; changed && round <= CONFIG_CHAIN_MAX + 1; round++) {
        changed = false;
        for (size_t i = 0; i < c->n_pipelines; i++) {
            unsigned depth = depth_of(c, &c->pipeline[i]);
            changed = changed || depth != c->pipeline[i].depth;
            c->pipeline[i].depth = depth;
        }
    }
    return !changed;
}

static int link_parent(struct config *c, struct config_pipeline *p, struct error *error)
{
    p->parent = find_parent(c, p->from);
    return p->parent == SIZE_MAX ? no_parent(c, p, p->from_node, p->from, error)
                                 : check_parent(p, &c->pipeline[p->parent], error);
}

static int link_results(struct config *c, struct config_pipeline *p,
                        struct error *error)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < p->results.n; i++) {
        struct config_result *item = &p->results.item[i];
        item->pipeline = find_parent(c, item->table);
        r = item->pipeline == SIZE_MAX
                ? no_parent(c, p, item->node, item->table, error)
                : check_joined(c, item, &c->pipeline[item->pipeline], error);
    }
    return r;
}

/* The stream that the first of its chain reads. */
static void find_stream(struct config *c, struct config_pipeline *p)
{
    const struct config_pipeline *at = p;
    while (at->parent != SIZE_MAX)
        at = &c->pipeline[at->parent];
    p->stream = at->stream;
}

int chain_link(struct config *c, struct error *error)
{
    int r = 0, failed = 0;
    for (size_t i = 0; r == 0 && i < c->n_pipelines; i++) {
        struct config_pipeline *p = &c->pipeline[i];
        r = p->from ? link_parent(c, p, error) : link_results(c, p, error);
        failed = r < 0 ? r : failed;
        r = faults_go_on(r, error) ? 0 : r;
    }
    const bool deep = r == 0 && !set_depths(c);
    for (size_t i = 0; r == 0 && deep && i < c->n_pipelines; i++) {
        r = check_cycle(c, i, error);
        failed = r < 0 ? r : failed;
        r = faults_go_on(r, error) ? 0 : r;
    }
    for (size_t i = 0; r == 0 && failed == 0 && i < c->n_pipelines; i++)
        if (c->pipeline[i].depth > CONFIG_CHAIN_MAX)
            return node_error(c->pipeline[i].from_node, error,
                              "more than %d pipelines would read one another here",
                              CONFIG_CHAIN_MAX);
    for (size_t i = 0; failed == 0 && i < c->n_pipelines; i++)
        find_stream(c, &c->pipeline[i]);
    return failed;
}

bool config_depends(const struct config *c, size_t pipeline, size_t stream)
{
    const struct config_pipeline *p = &c->pipeline[pipeline];
    const char *name = c->stream[stream].name;
    bool depends =
        p->stream == stream || (p->join_node && node_get(p->join_node, name));
    for (size_t i = 0; !depends && p->joins.all && i < p->joins.n; i++)
        depends = p->joins.join[i].stream == stream;
    for (size_t i = 0; !depends && i < n_read(p); i++)
        depends = config_depends(c, read_by(p, i), stream);
    return depends;
}
