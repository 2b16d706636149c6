/* SPDX-License-Identifier: Apache-2.0
 *
 * weir node --list: what PostgreSQL knows, as tables for people.
 */
#include "base/clock.h"
#include "node/leases.h"
#include "node/node.h"

#include <inttypes.h>
#include <string.h>

#define TIME_MAX CLOCK_TEXT_MAX

/* Without fractions; "-": not known. */
static const char *put_time(int64_t us, char text[TIME_MAX])
{
    if (us == INT64_MIN)
        return "-";
    clock_format(us - us % SECOND_US, text);
    return text;
}

static const char *or_none(const char *text)
{
    return *text ? text : "-";
}

static void list_nodes(const struct leases_view *v, FILE *to)
{
    char until[TIME_MAX];
    fprintf(to, "%-20s %-8s %6s  %-20s  %-10s  %s\n", "NODE", "STATE", "SHARDS",
            "UNTIL", "DEFINITION", "ADDRESS");
    for (size_t i = 0; i < v->n_nodes; i++) {
        const struct leases_node *n = &v->node[i];
        unsigned shards = 0;
        for (unsigned k = 0; k < v->n_shards; k++)
            shards += strcmp(v->shard[k].node, n->name) == 0;
        fprintf(to, "%-20s %-8s %6u  %-20s  %.10s  %s\n", n->name, leases_state(n),
                shards, put_time(n->until_us, until), n->definition, n->address);
    }
}

static void list_shards(const struct leases_view *v, const struct config_nodes *c,
                        FILE *to)
{
    char since[TIME_MAX], copied[TIME_MAX], lag[24];
    fprintf(to, "\n%5s  %-20s %-9s %8s  %-20s  %5s  %-20s  %-24s  %s\n", "SHARD",
            "NODE", "STATE", "LAG", "SINCE", "EPOCH", "COPIED", "ADDRESS",
            "PARTITIONS");
    for (unsigned i = 0; i < v->n_shards; i++) {
        const struct leases_shard *s = &v->shard[i];
        struct buffer partitions = {0};
        config_put_partitions(c, i, &partitions);
        snprintf(lag, sizeof(lag), "%" PRId64, s->news.lag);
        fprintf(to, "%5u  %-20s %-9s %8s  %-20s  %5s  %-20s  %-24s  %s\n", i,
                or_none(s->node), leases_shard_state(v, i), s->news.lag < 0 ? "-" : lag,
                put_time(s->since_us, since), or_none(s->epoch),
                put_time(s->copied_us, copied), or_none(s->news.address),
                buffer_text(&partitions));
        buffer_free(&partitions);
    }
    for (unsigned i = 0; i < v->n_shards; i++)
        if (*v->shard[i].news.problem)
            fprintf(to, "\nshard %u: %s\n", i, v->shard[i].news.problem);
}

int node_list(const struct config *config, FILE *to, struct error *error)
{
    struct leases l = {.pg = {.wake = -1}};
    struct leases_view v = {0};
    int err = leases_init(&l, config, "", error);
    l.pg.timeout_us = config->server.postgresql->target.timeout_us;
    if (!err)
        err = leases_open_to_look(&l, error);
    if (!err)
        err = leases_look(&l, &v, error);
    if (!err) {
        list_nodes(&v, to);
        list_shards(&v, &config->nodes, to);
    }
    leases_view_free(&v);
    leases_free(&l);
    return err;
}
