/* SPDX-License-Identifier: Apache-2.0
 *
 * What a node answers itself: whether it lives and is ready, its metrics, and who has what, also as a page for people. From what was looked at last; nobody waits
 * for PostgreSQL.
 */
#include <config.h> /* not that of this folder */

#include "access/access.h"
#include "api/jsonout.h"
#include "api/page.h"
#include "base/clock.h"
#include "base/logger.h"
#include "base/self.h"
#include "http/http.h"
#include "node/internal.h"
#include "node/pages.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECTIONS 256

struct pages {
    struct weir_node *n;
    struct access *access; /* NULL: nobody needs a token */
    struct http_server *http;
};

/* ---- Metrics ------------------------------------------------------------------------------------ */

static double count_shards(void *ctx)
{
    struct weir_node *n = ctx;
    unsigned held = 0;
    pthread_mutex_lock(&n->lock);
    for (unsigned i = 0; i < n->config->shards; i++)
        held += n->shard[i].hold != NODE_NOT_OURS;
    pthread_mutex_unlock(&n->lock);
    return held;
}

/* And has said how it is. */
static bool has_started(const struct node_shard *s)
{
    return s->ready && s->news.lag >= 0;
}

static double count_ready(void *ctx)
{
    struct weir_node *n = ctx;
    unsigned ready = 0;
    pthread_mutex_lock(&n->lock);
    for (unsigned i = 0; i < n->config->shards; i++)
        ready += has_started(&n->shard[i]) && !n->shard[i].news.problem[0];
    pthread_mutex_unlock(&n->lock);
    return ready;
}

static double sum_lag(void *ctx)
{
    struct weir_node *n = ctx;
    int64_t lag = 0;
    pthread_mutex_lock(&n->lock);
    for (unsigned i = 0; i < n->config->shards; i++)
        lag += n->shard[i].news.lag > 0 ? n->shard[i].news.lag : 0;
    pthread_mutex_unlock(&n->lock);
    return (double)lag;
}

static double lease_age(void *ctx)
{
    struct weir_node *n = ctx;
    pthread_mutex_lock(&n->lock);
    const int64_t from_us = n->valid_until_us == INT64_MIN
                                ? INT64_MIN
                                : n->valid_until_us - n->config->session_us;
    pthread_mutex_unlock(&n->lock);
    return from_us == INT64_MIN ? -1 : (double)(clock_monotonic_us() - from_us) / 1e6;
}

static double is_connected(void *ctx)
{
    struct weir_node *n = ctx;
    pthread_mutex_lock(&n->lock);
    const bool connected = n->connected;
    pthread_mutex_unlock(&n->lock);
    return connected;
}

static int add_gauges(struct weir_node *n)
{
    static const struct {
        const char *name, *help;
        double (*read)(void *ctx);
    } gauge[] = {
        {"weir_node_shards", "Shards that are this node's.", count_shards},
        {"weir_node_shards_ready", "Those whose server is ready.", count_ready},
        {"weir_node_lag_messages", "Messages that its servers have not read yet.",
         sum_lag},
        {"weir_node_lease_age_seconds",
         "How long ago PostgreSQL was told that the node lives; -1: too long.",
         lease_age},
        {"weir_node_connected", "1: PostgreSQL answers.", is_connected}};
    int err = 0;
    for (size_t i = 0; !err && i < sizeof(gauge) / sizeof(gauge[0]); i++)
        err = metrics_add_call(n->metrics, METRIC_GAUGE, gauge[i].name, gauge[i].help,
                               "", gauge[i].read, n);
    return err;
}

static int add_counters(struct weir_node *n)
{
    const struct {
        const char *name, *help;
        const _Atomic uint64_t *value;
    } counter[] = {
        {"weir_node_restarts_total", "Servers that ended by themselves.", &n->restarts},
        {"weir_node_fenced_total", "Those of them that another one had superseded.",
         &n->fenced},
        {"weir_node_taken_total", "Shards that came to this node.", &n->taken},
        {"weir_node_given_total", "Shards that were more than its share.", &n->given},
        {"weir_node_lost_total", "Shards that others had taken.", &n->lost},
        {"weir_node_postgresql_failures_total", "Calls that PostgreSQL did not answer.",
         &n->failures}};
    int err = self_count(n->metrics, PACKAGE_VERSION, sqlite3_libversion());
    for (size_t i = 0; !err && i < sizeof(counter) / sizeof(counter[0]); i++)
        err = metrics_add(n->metrics, METRIC_COUNTER, counter[i].name, counter[i].help,
                          "", counter[i].value, 1);
    return err ? err : add_gauges(n);
}

/* ---- Probes ------------------------------------------------------------------------------------- */

static bool no_arguments(struct http_request *r)
{
    const char *name;
    size_t size;
    if (!http_argument(r, 0, &name, &size))
        return true;
    http_problem(r, 400, "unknown_parameter",
                 "unknown parameter '%s'; none is taken here", name);
    return false;
}

static void get_live(struct http_request *r, void *ctx)
{
    static const char body[] = "{\"live\":true}\n";
    (void)ctx;
    if (no_arguments(r))
        http_reply(r, 200, "application/json", body, sizeof(body) - 1);
}

/* PostgreSQL answers, and all servers that are to run are ready. */
static void look_whether_ready(struct weir_node *n, struct error *why)
{
    pthread_mutex_lock(&n->lock);
    if (n->stopping)
        error_set(why, 0, "the node is stopping");
    else if (!n->connected || n->valid_until_us == INT64_MIN)
        error_set(why, 0, "PostgreSQL does not answer");
    else if (!n->looks)
        error_set(why, 0, "the node does not know yet which shards are its own");
    for (unsigned i = 0; !why->text[0] && i < n->config->shards; i++) {
        const struct node_shard *s = &n->shard[i];
        if (s->hold == NODE_HELD && !has_started(s))
            error_set(why, 0, "the server of shard %u has not started yet", i);
        else if (s->hold == NODE_HELD && s->news.problem[0])
            error_set(why, 0, "the server of shard %u: %s", i, s->news.problem);
    }
    pthread_mutex_unlock(&n->lock);
}

static void get_ready(struct http_request *r, void *ctx)
{
    static const char body[] = "{\"ready\":true}\n";
    struct pages *p = ctx;
    struct error why = {""};
    if (!no_arguments(r))
        return;
    look_whether_ready(p->n, &why);
    if (why.text[0])
        http_problem(r, 503, "not_ready", "%s", why.text);
    else
        http_reply(r, 200, "application/json", body, sizeof(body) - 1);
}

static void get_metrics(struct http_request *r, void *ctx)
{
    struct pages *p = ctx;
    struct buffer b = {0};
    if (!no_arguments(r))
        return;
    metrics_print(p->n->metrics, &b);
    http_reply_buffer(r, 200, "text/plain; version=0.0.4; charset=utf-8", &b);
}

/* ---- Who has what ------------------------------------------------------------------------------- */

static void put_node(struct buffer *b, const struct leases_view *v,
                     const struct leases_node *n)
{
    size_t shards = 0;
    for (unsigned i = 0; i < v->n_shards; i++)
        shards +=
            !strcmp(v->shard[i].node, n->name) && !strcmp(v->shard[i].run, n->run);
    jsonout_open(b, NULL, '{');
    jsonout_string(b, "node", n->name);
    jsonout_string(b, "state", leases_state(n));
    jsonout_time(b, "until", n->until_us);
    jsonout_time(b, "since", n->since_us);
    jsonout_count(b, "shards", shards);
    jsonout_string(b, "address", n->address);
    jsonout_string(b, "version", n->version);
    jsonout_string(b, "definition", n->definition);
    jsonout_close(b, '}');
}

static void put_shard(struct buffer *b, const struct config_nodes *c,
                      const struct leases_view *v, unsigned i)
{
    const struct leases_shard *s = &v->shard[i];
    char name[16];
    snprintf(name, sizeof(name), "%u", i);
    jsonout_open(b, NULL, '{');
    jsonout_string(b, "shard", name);
    jsonout_open(b, "partitions", '[');
    for (unsigned p = i; p < c->partitions; p += c->shards)
        jsonout_count(b, NULL, p);
    jsonout_close(b, ']');
    jsonout_string(b, "node", *s->node ? s->node : NULL);
    jsonout_time(b, "since", s->since_us);
    jsonout_string(b, "address", *s->news.address ? s->news.address : NULL);
    jsonout_string(b, "state", leases_shard_state(v, i));
    jsonout_string(b, "problem", *s->news.problem ? s->news.problem : NULL);
    if (s->news.lag < 0)
        jsonout_string(b, "lag", NULL);
    else
        jsonout_count(b, "lag", (uint64_t)s->news.lag);
    jsonout_string(b, "epoch", *s->epoch ? s->epoch : NULL);
    jsonout_time(b, "copied", s->copied_us);
    jsonout_close(b, '}');
}

static void get_nodes(struct http_request *r, void *ctx)
{
    struct pages *p = ctx;
    struct weir_node *n = p->n;
    struct buffer b = {0};
    if (!no_arguments(r))
        return;
    pthread_mutex_lock(&n->lock);
    const struct leases_view *v = &n->view;
    jsonout_open(&b, NULL, '{');
    jsonout_string(&b, "node", n->options->name);
    jsonout_time(&b, "at", n->looks ? v->now_us : INT64_MIN);
    jsonout_duration(&b, "session", n->config->session_us);
    jsonout_open(&b, "nodes", '[');
    for (size_t i = 0; i < v->n_nodes; i++)
        put_node(&b, v, &v->node[i]);
    jsonout_close(&b, ']');
    jsonout_open(&b, "shards", '[');
    for (unsigned i = 0; i < v->n_shards; i++)
        put_shard(&b, n->config, v, i);
    jsonout_close(&b, ']');
    jsonout_close(&b, '}');
    pthread_mutex_unlock(&n->lock);
    buffer_putc(&b, '\n');
    http_reply_buffer(r, 200, "application/json", &b);
}

static void get_results(struct http_request *r, void *ctx)
{
    elsewhere_get(r, ((struct pages *)ctx)->n);
}

static void get_page(struct http_request *r, void *ctx)
{
    const char *name = http_param(r, "file");
    (void)ctx;
    if (no_arguments(r))
        page_send(r, name ? name : "node.html");
}

/* ---- All of them -------------------------------------------------------------------------------- */

static const struct {
    const char *pattern;
    enum access_verb may;
    bool probe;
    void (*handle)(struct http_request *r, void *ctx);
} routes[] = {
    {"/", ACCESS_FREE, false, get_page},
    {"/page/{file}", ACCESS_FREE, false, get_page},
    {"/live", ACCESS_FREE, true, get_live},
    {"/livez", ACCESS_FREE, true, get_live},
    {"/ready", ACCESS_FREE, true, get_ready},
    {"/readyz", ACCESS_FREE, true, get_ready},
    {"/healthz", ACCESS_FREE, true, get_ready},
    {"/metrics", ACCESS_METRICS, false, get_metrics},
    {"/api/v1/nodes", ACCESS_KNOWN, false, get_nodes},
    {"/api/v1/pipelines/{pipeline}/results", ACCESS_READ, false, get_results},
    {"/api/v1/pipelines/{pipeline}/results/{table}", ACCESS_READ, false, get_results},
};

static int add_routes(struct pages *p)
{
    int err = 0;
    for (size_t i = 0; !err && i < sizeof(routes) / sizeof(routes[0]); i++) {
        const struct http_route route = {.method = "GET",
                                         .pattern = routes[i].pattern,
                                         .kind = HTTP_PLAIN,
                                         .may = routes[i].may,
                                         .probe = routes[i].probe,
                                         .handle = routes[i].handle,
                                         .ctx = p};
        err = http_add(p->http, &route);
    }
    return err;
}

static int open_http(struct pages *p, struct error *error)
{
    const struct config_server *c = &p->n->options->config->server;
    const struct http_options options = {.address = p->n->config->address,
                                         .port = p->n->config->port,
                                         .epoll_threads = 1,
                                         .max_connections = CONNECTIONS,
                                         .hosts = (const char *const *)c->hosts,
                                         .origins = (const char *const *)c->origins,
                                         .access = p->access,
                                         .audit = c->audit << ACCESS_POST,
                                         .tls = {.certificate = c->tls.certificate,
                                                 .key = c->tls.key,
                                                 .client_ca = c->tls.client_ca},
                                         .proxies = c->proxies,
                                         .n_proxies = c->n_proxies};
    int err = http_new(&options, p->n->metrics, &p->http, error);
    if (!err)
        err = add_routes(p) || add_counters(p->n)
                  ? error_set(error, -ENOMEM, "out of memory")
                  : http_start(p->http, error);
    return err;
}

int pages_new(struct weir_node *n, struct pages **ret, struct error *error)
{
    const struct config_server *c = &n->options->config->server;
    struct pages *p = calloc(1, sizeof(*p));
    if (!p)
        return error_set(error, -ENOMEM, "out of memory");
    p->n = n;
    int err = c->tokens ? access_new(c->tokens, n->metrics, &p->access, error) : 0;
    if (!err)
        err = open_http(p, error);
    if (err) {
        pages_free(p);
        return err;
    }
    const bool six = strchr(n->config->address, ':');
    snprintf(n->address, sizeof(n->address), "http%s://%s%s%s:%u",
             c->tls.certificate ? "s" : "", six ? "[" : "", n->config->address,
             six ? "]" : "", http_port(p->http));
    *ret = p;
    return 0;
}

void pages_reload(struct pages *p)
{
    struct error error = {""};
    if (p->access && access_reload(p->access, &error))
        logger_error("node", "SIGHUP: %s; tokens stay as they were", error.text);
    else if (p->access)
        logger_info("node", "SIGHUP: %zu tokens", access_count(p->access));
    if (http_reload(p->http, &error))
        logger_error("node", "SIGHUP: %s; certificates stay as they were", error.text);
    else if (p->n->options->config->server.tls.certificate)
        logger_info("node", "SIGHUP: certificates were read again");
}

void pages_free(struct pages *p)
{
    if (!p)
        return;
    http_free(p->http);
    access_free(p->access);
    free(p);
}
