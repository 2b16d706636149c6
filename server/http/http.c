/* SPDX-License-Identifier: Apache-2.0
 *
 * The server: libmicrohttpd's daemon, start, drain, stop, metrics.
 */
#include "base/clock.h"
#include "base/logger.h"
#include "http/internal.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HTTP_CUT_US SECOND_US /* a drain lets bodies without end go on for so long */

static double http_read_queries(void *ctx)
{
    struct http_server *s = ctx;
    return atomic_load_explicit(&s->pool[HTTP_POOL_QUERY].n, memory_order_relaxed) +
           atomic_load_explicit(&s->pool[HTTP_POOL_SLOW].n, memory_order_relaxed);
}

/* The statuses that are in use have a time series each. */
static int http_count_statuses(struct http_server *s, struct metrics *m)
{
    static const unsigned status[] = {200, 201, 204, 307, 400, 401, 403, 404, 405,
                                      406, 409, 413, 415, 422, 429, 500, 503, 504,
                                      507, 408, 411, 414, 417, 421, 431, 505};
    static const char name[] = "weir_http_requests_total",
                      help[] = "HTTP requests answered.";
    for (size_t i = 0; i < sizeof(status) / sizeof(*status); i++) {
        char label[32];
        snprintf(label, sizeof(label), "status=\"%u\"", status[i]);
        int rc =
            metrics_add(m, METRIC_COUNTER, name, help, label, &s->status[status[i]], 1);
        if (rc)
            return rc;
    }
    return 0;
}

static int http_count(struct http_server *s, struct metrics *m)
{
    int rc = http_count_statuses(s, m);
    if (!rc)
        rc = metrics_add(m, METRIC_GAUGE, "weir_http_connections", "Open connections.",
                         "", &s->connections, 1);
    if (!rc)
        rc = metrics_add(m, METRIC_COUNTER, "weir_http_connections_refused_total",
                         "Connections over the limit.", "", &s->refused, 1);
    if (!rc)
        rc = metrics_add(m, METRIC_GAUGE, "weir_http_requests_active",
                         "Requests under way.", "", &s->active, 1);
    if (!rc)
        rc = metrics_add(m, METRIC_COUNTER, "weir_http_received_bytes_total",
                         "Bytes of request bodies, as sent.", "", &s->bytes_in, 1);
    if (!rc)
        rc = metrics_add(m, METRIC_COUNTER, "weir_http_request_seconds_total",
                         "Time from the headers of a request to its end.", "",
                         &s->seconds_ns, 1e-9);
    if (!rc)
        rc = metrics_add_histogram(
            m, "weir_http_request_duration_seconds",
            "The same of each request, but for bodies without a length and live "
            "results.",
            "", &s->duration);
    if (!rc)
        rc = metrics_add_call(m, METRIC_GAUGE, "weir_http_queries",
                              "Queries that run or wait for a thread.", "",
                              http_read_queries, s);
    if (!rc)
        rc =
            metrics_add(m, METRIC_GAUGE, "weir_http_spooled_bytes",
                        "Bytes of replies in files, for clients that take them slowly.",
                        "", &s->spooled, 1);
    return rc;
}

int http_new(const struct http_options *options, struct metrics *metrics,
             struct http_server **ret, struct error *error)
{
    struct http_server *s = calloc(1, sizeof(*s));
    if (!s)
        return error_set(error, -ENOMEM, "no memory for the HTTP server");
    s->options = *options;
    if (s->options.idle_timeout_us <= 0)
        s->options.idle_timeout_us = 60 * SECOND_US;
    /* The timer is before libmicrohttpd: it has an answer for what is not complete. */
    s->idle_timeout_s =
        (unsigned)((s->options.idle_timeout_us + SECOND_US - 1) / SECOND_US) + 2;
    if (s->options.max_spooled == 0)
        s->options.max_spooled = UINT64_C(1) << 30;
    pthread_mutex_init(&s->idle_lock, NULL);
    clock_cond_init(&s->idle);
    int rc = accept_new(&s->acceptor);
    s->lane = aligned_alloc(alignof(struct http_lane),
                            (s->options.epoll_threads + 1) * sizeof(*s->lane));
    for (unsigned i = 0; s->lane && i <= s->options.epoll_threads; i++)
        s->lane[i] = (struct http_lane){0};
    if (!rc && !s->lane)
        rc = error_set(error, -ENOMEM, "no memory for the HTTP server");
    if (!rc)
        rc = pause_new(&s->pauses);
    if (!rc)
        rc = accept_listen(s, error);
    if (!rc && options->tls.certificate &&
        MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
        rc = error_set(error, -ENOTSUP, "tls: libmicrohttpd was built without it");
    if (!rc && options->tls.certificate)
        rc = tls_new(&options->tls, metrics, &s->tls, error);
    if (!rc && metrics && (rc = http_count(s, metrics)))
        error_set(error, rc, "no memory for the metrics of the HTTP server");
    if (rc) {
        http_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

int http_add(struct http_server *s, const struct http_route *route)
{
    if (route->may == ACCESS_UNSAID || route->may >= ACCESS_VERBS)
        return -EINVAL;
    struct http_route_entry *entries =
        realloc(s->route, (s->n_routes + 1) * sizeof(*entries));
    if (!entries)
        return -ENOMEM;
    s->route = entries;
    int rc = route_compile(route, &s->route[s->n_routes]);
    if (!rc)
        s->n_routes++;
    return rc;
}

int http_reload(struct http_server *s, struct error *error)
{
    return s->tls ? tls_reload(s->tls, error) : 0;
}

uint16_t http_port(const struct http_server *s)
{
    return s->port;
}

unsigned http_descriptors(unsigned connections)
{
    /* half as many again, and some, hear that there are too many; files of replies; and the listening
     * socket, its eventfd and the one in reserve */
    return connections + connections / 2 + HTTP_CONNECTIONS_MORE + connections / 16 +
           HTTP_SPOOLS_LEAST + 3;
}

static void http_say(void *cls, const char *format, va_list args)
{
    char text[256];
    (void)cls;
    int n = vsnprintf(text, sizeof(text), format, args);
    while (n > 0 && (size_t)n < sizeof(text) && text[n - 1] == '\n')
        text[--n] = 0;
    logger_debug("http", "%s", text);
}

/* Sessions have credentials of their own (tls.h); libmicrohttpd wants to know of some. */
static int http_no_certificate(void)
{
    return -1;
}

static int http_start_daemon(struct http_server *s, struct error *error)
{
    unsigned threads = s->options.epoll_threads;
    /* Above our own limit (accept.c); it is divided among the threads. */
    unsigned limit =
        s->options.max_connections * 3 / 2 + 2 * HTTP_CONNECTIONS_MORE * threads;
    struct MHD_OptionItem more[4];
    size_t n = 0;
    if (threads > 1)
        more[n++] = (struct MHD_OptionItem){MHD_OPTION_THREAD_POOL_SIZE,
                                            (intptr_t)threads, NULL};
    if (s->tls) {
        static char priorities[] = TLS_PRIORITIES;
        more[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, priorities};
        more[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_CERT_CALLBACK, 0,
                                            (void *)(uintptr_t)http_no_certificate};
    }
    more[n] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    if (!guard_in_force())
        return error_set(
            error, -ENOTSUP,
            "libmicrohttpd would not read through the guard (http/guard.h)");
    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC |
            MHD_USE_ERROR_LOG | MHD_USE_NO_LISTEN_SOCKET | (s->tls ? MHD_USE_TLS : 0u),
        0, NULL, NULL, connection_handle, s,                     /* */
        MHD_OPTION_EXTERNAL_LOGGER, http_say, NULL,              /* */
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_MEMORY, /* */
        MHD_OPTION_CONNECTION_LIMIT, limit,                      /* */
        MHD_OPTION_CONNECTION_TIMEOUT, s->idle_timeout_s,        /* */
        MHD_OPTION_NOTIFY_COMPLETED, connection_completed, s,    /* */
        MHD_OPTION_NOTIFY_CONNECTION, connection_notify, s,      /* */
        MHD_OPTION_ARRAY, more, MHD_OPTION_END);
    if (!s->daemon)
        return error_set(error, -EIO, "the HTTP server does not start: %s",
                         strerror(errno));
    return 0;
}

int http_start(struct http_server *s, struct error *error)
{
    /* Signals are for the main thread. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pause_start(&s->pauses);
    if (!rc)
        rc = queries_start(s);
    if (rc)
        error_set(error, rc, "cannot start the threads of the HTTP server: %s",
                  strerror(-rc));
    else
        rc = http_start_daemon(s, error);
    if (!rc)
        rc = accept_start(s, error);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

/* Waits until no request is under way. False: the time is over. */
static bool http_wait_idle(struct http_server *s, int64_t deadline_us)
{
    int rc = 0;
    pthread_mutex_lock(&s->idle_lock);
    while (atomic_load(&s->active) > 0 && rc == 0)
        rc = clock_cond_wait(&s->idle, &s->idle_lock, deadline_us);
    pthread_mutex_unlock(&s->idle_lock);
    return rc == 0;
}

void http_drain(struct http_server *s, int64_t deadline_us)
{
    if (!s->daemon)
        return;
    atomic_store(&s->draining, true);
    accept_stop(&s->acceptor);
    int64_t cut_us = clock_monotonic_us() + HTTP_CUT_US;
    if (http_wait_idle(s, cut_us < deadline_us ? cut_us : deadline_us))
        return;
    pause_cut_open_ended(s);
    http_wait_idle(s, deadline_us);
}

void http_free(struct http_server *s)
{
    if (!s)
        return;
    atomic_store(&s->draining, true);
    atomic_store(&s->stopping, true);
    queries_stop(s);
    pause_all_resume(s);
    lanes_end(s, clock_monotonic_us() + 5 * SECOND_US);
    accept_stop(&s->acceptor);
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
    tls_free(s->tls);
    accept_free(&s->acceptor);
    queries_free(s);
    pause_free(&s->pauses);
    free(s->lane);
    for (size_t i = 0; i < s->n_routes; i++)
        route_free(&s->route[i]);
    free(s->route);
    pthread_cond_destroy(&s->idle);
    pthread_mutex_destroy(&s->idle_lock);
    free(s);
}
