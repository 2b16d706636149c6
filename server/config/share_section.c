/* SPDX-License-Identifier: Apache-2.0
 *
 * `partitions` of a stream from Kafka: several servers read a topic, each its share. Rows of such a stream's pipelines are those that
 * one server would have, each in one of the databases, if all events of a key are in one partition; what cannot be so is refused.
 */
#include "config/faults.h"
#include "config/sections.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX 99999 /* of a partition */

const char share_partitions_schema[] =
    "{\"type\":[\"integer\",\"string\"]},{\"type\":\"array\",\"minItems\":1,\"items\":{"
    "\"type\":[\"integer\",\"string\"]}}";

static int out_of_memory(const struct node *n, struct error *error)
{
    return error_set(error, -ENOMEM, "%s: out of memory", n->file);
}

/* ---- partitions: 0-3, [0-2, 7], "0-3,8" --------------------------------------------------------- */

static int expected(const struct node *n, struct error *error)
{
    return node_expected(n,
                         "numbers of partitions: 0-3, or [0-3, 8], from 0 to 99999, at "
                         "most 1023",
                         error);
}

/* In its place. -EEXIST, -ENOSPC. */
static int add_partition(struct config_source *s, int32_t number)
{
    size_t at = s->n_partitions;
    while (at > 0 && s->partition[at - 1] > number)
        at--;
    if (at > 0 && s->partition[at - 1] == number)
        return -EEXIST;
    if (s->n_partitions == SHARE_PARTITIONS_MAX)
        return -ENOSPC;
    memmove(&s->partition[at + 1], &s->partition[at],
            (s->n_partitions - at) * sizeof(*s->partition));
    s->partition[at] = number;
    s->n_partitions++;
    return 0;
}

static bool read_number(const char **text, long *ret)
{
    char *end;
    const size_t digits = strspn(*text, "0123456789");
    if (digits < 1 || digits > 5)
        return false;
    *ret = strtol(*text, &end, 10);
    *text = end;
    return *ret <= NUMBER_MAX;
}

/* "3", "0-3", "0-3,8": as a variable has them. */
static int read_ranges(const struct node *n, struct config_source *s,
                       struct error *error)
{
    const char *at = n->kind == NODE_SCALAR ? n->text : "";
    for (;;) {
        long from, to;
        at += strspn(at, " ");
        if (!read_number(&at, &from))
            return expected(n, error);
        to = from;
        if (*at == '-' && (at++, !read_number(&at, &to) || to < from))
            return expected(n, error);
        for (long i = from; i <= to; i++) {
            int err = add_partition(s, (int32_t)i);
            if (err)
                return err == -EEXIST
                           ? node_error(n, error, "partition %ld is listed twice", i)
                           : expected(n, error);
        }
        at += strspn(at, " ");
        if (!*at)
            return 0;
        if (*at++ != ',')
            return expected(n, error);
    }
}

int share_read_partitions(const struct node *n, void *target, void *ctx,
                          struct error *error)
{
    struct config_source *s = target;
    const struct node *item = n->kind == NODE_LIST ? n->item : n;
    size_t n_items = n->kind == NODE_LIST ? n->n : 1;
    (void)ctx;
    s->partitions = n;
    s->partition = calloc(SHARE_PARTITIONS_MAX, sizeof(*s->partition));
    if (!s->partition)
        return out_of_memory(n, error);
    int r = n_items ? 0 : expected(n, error);
    for (size_t i = 0; r == 0 && i < n_items; i++)
        r = read_ranges(&item[i], s, error);
    return r;
}

int share_read_by(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_source *s = target;
    const struct node *item = n->kind == NODE_LIST ? n->item : n;
    size_t n_items = n->kind == NODE_LIST ? n->n : 1;
    (void)ctx;
    if (n->kind == NODE_MAP || !n_items)
        return node_expected(n, "the name of a field, or a list of names", error);
    s->partitioned_by_node = n;
    s->partitioned_by = calloc(n_items, sizeof(*s->partitioned_by));
    if (!s->partitioned_by)
        return out_of_memory(n, error);
    int r = 0;
    for (size_t i = 0; r == 0 && i < n_items; i++) {
        r = fields_text(&item[i], &s->partitioned_by[i], error);
        s->n_partitioned_by += r == 0;
    }
    return r;
}

/* ---- Pipelines ---------------------------------------------------------------------------------- */

static bool has_key(const struct config_pipeline *p, const char *name)
{
    const struct node *key = node_get(p->map, "key");
    if (!key || key->kind == NODE_MAP)
        return false;
    if (key->kind == NODE_SCALAR)
        return strcmp(key->text, name) == 0;
    for (size_t i = 0; i < key->n; i++)
        if (key->item[i].kind == NODE_SCALAR && !strcmp(key->item[i].text, name))
            return true;
    return false;
}

/* Whose key is in several partitions has a part of each row on each server. Rows that are kept as they come are in one. */
static int check_key(const struct config_pipeline *p, const struct config_stream *s,
                     struct error *error)
{
    const struct node *key = node_get(p->map, "key");
    for (size_t i = 0; i < s->source.n_partitioned_by; i++) {
        const char *name = s->source.partitioned_by[i];
        if (p->window.kind == CONFIG_NONE || p->partial_node || has_key(p, name))
            continue;
        return node_error(
            key ? key : p->node, error,
            "other servers read other partitions of stream '%s', so each would have a "
            "part of a row: the key has to have '%s', by which they are made "
            "('partitioned_by'); or the parts go to a topic by this key, and another "
            "pipeline puts them together ('partial')",
            s->name, name);
    }
    return 0;
}

/* Other streams, or their results: rows of the same key may be elsewhere. */
static int check_joins(const struct config_pipeline *p, const struct config_stream *s,
                       struct error *error)
{
    if (!p->joins.n && !p->results.n && !p->joins.all)
        return 0;
    return node_error(p->join_node ? p->join_node : p->node, error,
                      "other servers read other partitions of stream '%s': it is not "
                      "joined with streams or results, as rows of the same key may be "
                      "elsewhere; tables ('table') can be joined",
                      s->name);
}

/* Each would read the files. */
static int check_backfill(const struct config_pipeline *p,
                          const struct config_stream *s, struct error *error)
{
    if (!p->n_backfill)
        return 0;
    return node_error(p->backfill_node, error,
                      "other servers read other partitions of stream '%s', and would "
                      "begin with the same files: 'backfill' from the journal only",
                      s->name);
}

static int check_shard(const struct config *c, const struct config_pipeline *p,
                       const struct config_stream *s, const struct config_target *to,
                       const char *shard, const struct node *at, const char *what,
                       struct error *error)
{
    if (shard || config_is_target(c, to, p->name) != 1)
        return 0;
    return node_error(
        at, error,
        "other servers read other partitions of stream '%s', and %s the "
        "table of pipeline '%s', too: 'shard' is missing, a name for this "
        "one",
        s->name, what, p->name);
}

/* What comes of several servers has to say of which. */
static int check_targets(const struct config *c, const struct config_pipeline *p,
                         const struct config_stream *s, struct error *error)
{
    const struct config_postgresql *pg = c->server.postgresql;
    const struct config_kafka *kafka = c->server.kafka;
    int r =
        pg ? check_shard(c, p, s, &pg->target, pg->shard, pg->node, "carry", error) : 0;
    if (r == 0 && kafka)
        r = check_shard(c, p, s, &kafka->target, kafka->shard, kafka->link.node,
                        "publish", error);
    return r;
}

/* ---- partial: rows that another pipeline puts together, behind a topic -------------------------- */

static bool has_end(const struct config_window *w)
{
    return w->kind != CONFIG_NONE && w->kind != CONFIG_SESSION &&
           w->kind != CONFIG_COUNT && w->kind != CONFIG_GLOBAL &&
           w->kind != CONFIG_UNTIL;
}

/* What makes another row of one that was sent would be added to it. */
static int check_partial(const struct config *c, const struct config_pipeline *p,
                         struct error *error)
{
    const struct config_kafka *kafka = c->server.kafka;
    const struct config_postgresql *pg = c->server.postgresql;
    const struct node *at = p->partial_node;
    if (!has_end(&p->window))
        return node_error(at, error,
                          "'partial' is for windows by time: where those by key end, "
                          "all of its rows say together");
    if (p->late != CONFIG_LATE_DROP)
        return node_error(p->late_node, error,
                          "'late: %s' does not go with 'partial': what was sent is "
                          "added up, and not taken back",
                          config_late_word[p->late]);
    if (p->backfill_node)
        return node_error(p->backfill_node, error,
                          "'backfill' does not go with 'partial': what was sent would "
                          "come again, and be added up");
    if (!kafka || !kafka->watermarks ||
        config_is_target(c, &kafka->target, p->name) != 1)
        return node_error(
            at, error,
            "parts that nobody puts together: 'kafka' of the server has to "
            "publish pipeline '%s', with 'watermarks: yes'",
            p->name);
    if (pg && config_is_target(c, &pg->target, p->name) == 1)
        return node_error(
            at, error,
            "rows of pipeline '%s' are parts, and other servers have others "
            "of the same keys: 'postgresql' is for the pipeline that puts "
            "them together",
            p->name);
    return 0;
}

/* States are of columns that are known here, and of rows that are told apart by who has sent them: so the pipeline that
 * merges them is in the same file, and knows all who send. */
static int check_states(const struct config *c, struct config_pipeline *p,
                        struct error *error)
{
    const struct config_pipeline *merges = NULL;
    for (size_t i = 0; !merges && i < c->n_pipelines; i++)
        if (c->pipeline[i].merges && &c->pipeline[c->pipeline[i].parts_of] == p)
            merges = &c->pipeline[i];
    if (p->from || p->joins.all || p->joins.n || p->results.n)
        return node_error(p->from_node, error,
                          "'partial: states' is for pipelines that read one stream");
    if (!merges)
        return node_error(p->partial_node, error,
                          "states that nobody merges: there is no pipeline with "
                          "'parts_of: %s'",
                          p->name);
    const struct config_source *s = &c->stream[merges->stream].source;
    while (p->sender < s->n_senders &&
           strcmp(s->sender[p->sender], c->server.kafka->shard))
        p->sender++;
    if (p->sender < s->n_senders)
        return 0;
    return node_error(merges->merges, error,
                      "it reads stream '%s', whose source has to name 'senders', "
                      "'%s', this one, among them",
                      c->stream[merges->stream].name, c->server.kafka->shard);
}

static int check_merging(const struct config *c, const struct config_pipeline *p,
                         struct error *error)
{
    if (p->partial_node)
        return node_error(p->partial_node, error,
                          "'partial' and 'parts_of' do not go together");
    if (p->from || p->joins.all || p->joins.n || p->results.n)
        return node_error(p->from_node, error,
                          "'parts_of' is for pipelines that read one stream");
    if (!has_end(&p->window))
        return node_error(p->window.node, error, "'parts_of' is for windows by time");
    const struct config_pipeline *of = &c->pipeline[p->parts_of];
    for (size_t i = 0; c->stream[p->stream].source.n_partitions && i < of->n_keys;
         i++) {
        const char *name = of->schema->column[of->key[i]].name;
        if (!has_key(p, name))
            return node_error(
                p->merges, error,
                "the key has to have '%s', too: pipeline '%s' has it, and "
                "its whole key says in which partition a part is",
                name, of->name);
    }
    return 0;
}

/* All of them, whatever they read. */
static int check_partials(const struct config *c, struct error *error)
{
    int r = 0, failed = 0;
    for (size_t i = 0; r == 0 && i < c->n_pipelines; i++) {
        struct config_pipeline *p = &c->pipeline[i];
        r = p->partial_node ? check_partial(c, p, error) : 0;
        if (r == 0 && p->partial == CONFIG_PARTIAL_STATES)
            r = check_states(c, p, error);
        if (r == 0 && p->merges)
            r = check_merging(c, p, error);
        failed = r < 0 ? r : failed;
        r = faults_go_on(r, error) ? 0 : r;
    }
    return failed;
}

static int check_sources(const struct config_source *s, struct error *error)
{
    if (s->n_partitions * (s->n_senders + 1) <= SHARE_PARTITIONS_MAX)
        return 0;
    return node_error(s->partitions, error,
                      "%zu partitions of %zu senders: a stream has at most %d sources, "
                      "and each sender is one in each partition",
                      s->n_partitions, s->n_senders, SHARE_PARTITIONS_MAX);
}

static int check_stream(const struct config *c, size_t stream, struct error *error)
{
    const struct config_stream *s = &c->stream[stream];
    int r = 0, failed = 0;
    for (size_t i = 0; r == 0 && i < s->source.n_partitioned_by; i++)
        if (schema_find(s->columns, s->source.partitioned_by[i]) < 0)
            return node_error(s->source.partitioned_by_node, error,
                              "the stream has no field '%s'",
                              s->source.partitioned_by[i]);
    for (size_t i = 0; r == 0 && i < c->n_pipelines; i++) {
        const struct config_pipeline *p = &c->pipeline[i];
        if (!config_depends(c, i, stream))
            continue;
        r = check_joins(p, s, error);
        if (r == 0)
            r = check_key(p, s, error);
        if (r == 0)
            r = check_backfill(p, s, error);
        if (r == 0)
            r = check_targets(c, p, s, error);
        failed = r < 0 ? r : failed;
        r = faults_go_on(r, error) ? 0 : r;
    }
    return failed;
}

int share_check(const struct config *c, struct error *error)
{
    int r = check_partials(c, error);
    for (size_t i = 0; r == 0 && i < c->n_streams; i++) {
        const struct config_source *s = &c->stream[i].source;
        if (s->n_partitions && !s->n_partitioned_by)
            r = node_error(s->partitions, error,
                           "'partitioned_by' is missing: the fields that say which "
                           "partition an event is in");
        else if (!s->n_partitions && s->n_partitioned_by)
            r = node_error(s->partitioned_by_node, error,
                           "'partitioned_by' is for servers that share a topic: "
                           "'partitions' is missing");
        else if (s->n_partitions && s->n_senders)
            r = check_sources(s, error);
        if (r == 0 && s->n_partitions)
            r = check_stream(c, i, error);
    }
    return r;
}
