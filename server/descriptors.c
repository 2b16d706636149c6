/* SPDX-License-Identifier: Apache-2.0 */
#include "descriptors.h"

#include "base/logger.h"
#include "http/http.h"

#include <errno.h>
#include <sys/resource.h>

/* Counted in /proc/PID/fd, and what is open for a while only: a journal's next file and one that is read,
 * the database's files while they are changed, a backup. */
#define DESCRIPTORS_SERVER 64
#define DESCRIPTORS_STREAM 6 /* folder, lock, hold, file; next file, one that is read */
#define DESCRIPTORS_QUERY                                                              \
    8 /* of a query thread: database, log, index, temporary files */
#define DESCRIPTORS_HTTP 2 /* of an HTTP thread */
#define DESCRIPTORS_SQL  4 /* of a process for SQL: its socket, and its successor's */

#define CONNECTIONS_LEAST 16 /* with fewer there is no point in starting */

static rlim_t descriptors_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit))
        return 1024;
    rlim_t now = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    return now == limit.rlim_max || setrlimit(RLIMIT_NOFILE, &limit) ? now
                                                                     : limit.rlim_max;
}

int descriptors_budget(const struct config *c, unsigned *ret_connections,
                       struct error *error)
{
    const struct config_server *s = &c->server;
    rlim_t limit = descriptors_limit();
    rlim_t aside = DESCRIPTORS_SERVER + DESCRIPTORS_STREAM * (rlim_t)c->n_streams +
                   DESCRIPTORS_QUERY * (rlim_t)s->query_threads +
                   DESCRIPTORS_HTTP * (rlim_t)s->http_threads +
                   DESCRIPTORS_SQL * (rlim_t)s->sql_processes;
    unsigned connections = s->max_connections;
    for (size_t i = 0; i < c->n_pipelines; i++) {
        const struct config_pipeline *p = &c->pipeline[i];
        for (size_t k = 0; k < p->lookups.n; k++)
            aside += p->lookups.lookup[k].in_flight;
        for (size_t k = 0; k < p->n_analyzers; k++)
            aside += p->analyzer[k].ask ? p->analyzer[k].ask->in_flight : 0;
    }
    if (limit < aside + http_descriptors(connections)) {
        rlim_t taken = aside + http_descriptors(0),
               left = limit < taken ? 0 : limit - taken;
        connections =
            (unsigned)(left * 1000 / (http_descriptors(1000) - http_descriptors(0)));
    }
    if (connections < s->max_connections && connections < CONNECTIONS_LEAST)
        return error_set(
            error, -EMFILE,
            "%zu streams and the server need %llu open files, and for clients "
            "%u more; the limit is %llu: raise it (ulimit -n, LimitNOFILE=)",
            c->n_streams, (unsigned long long)aside,
            http_descriptors(CONNECTIONS_LEAST), (unsigned long long)limit);
    if (connections < s->max_connections)
        logger_warn(
            "serve",
            "only %llu files may be open, and %llu are for %zu streams and the "
            "server: max_connections is %u, not %u; raise the limit (ulimit -n, "
            "LimitNOFILE=)",
            (unsigned long long)limit, (unsigned long long)aside, c->n_streams,
            connections, s->max_connections);
    *ret_connections = connections;
    return 0;
}
