/* SPDX-License-Identifier: Apache-2.0
 *
 * libcurl's easy interface, one connection that is kept.
 */
#include "config.h"

#include "client.h"

#include "config/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_LIBCURL

#include <curl/curl.h>

#define ANSWER_MAX ((size_t)64 << 20) /* a thousand pipelines are told in 4 MiB */
#define TIMEOUT_MS 5000

struct client {
    CURL *easy;
    struct curl_slist *headers;
    char *base;   /* http://host:port */
    char *socket; /* NULL: none */
    char *where;
    const _Atomic bool *stop;
    char text[CURL_ERROR_SIZE];
};

static char *base_of_config(const struct config_server *s)
{
    char *base;
    const char *host = s->address;
    if (!strcmp(host, "0.0.0.0"))
        host = "127.0.0.1";
    else if (!strcmp(host, "::"))
        host = "::1";
    bool six = strchr(host, ':');
    int n = asprintf(&base, "http%s://%s%s%s:%u", s->tls.certificate ? "s" : "",
                     six ? "[" : "", host, six ? "]" : "", s->port);
    return n < 0 ? NULL : base;
}

/* base and socket. */
static int find_server(struct client *c, const struct client_options *o,
                       struct error *error)
{
    const char *path = NULL;
    if (o->url && strncmp(o->url, "unix:", 5) == 0)
        path = o->url + 5;
    else if (!o->url && o->server)
        path = o->server->socket;
    if (path) {
        bool tls = !o->url && o->server->tls.certificate;
        c->base = strdup(tls ? "https://localhost" : "http://localhost");
        c->socket = strdup(path);
        if (!c->socket || asprintf(&c->where, "unix:%s", path) < 0)
            c->where = NULL;
    } else if (o->url) {
        if (strncmp(o->url, "http://", 7) != 0 && strncmp(o->url, "https://", 8) != 0)
            return error_set(error, -EINVAL,
                             "'%s' is no address: http://HOST:PORT, https://HOST:PORT "
                             "or unix:PATH",
                             o->url);
        c->base = strdup(o->url);
        for (size_t n = c->base ? strlen(c->base) : 0; n && c->base[n - 1] == '/'; n--)
            c->base[n - 1] = 0;
    } else if (!o->server || !o->server->port) {
        return error_set(error, -EINVAL,
                         "the configuration does not say which port: --url is needed");
    } else {
        c->base = base_of_config(o->server);
    }
    if (!path && c->base)
        c->where = strdup(c->base);
    return c->base && c->where ? 0 : error_set(error, -ENOMEM, "out of memory");
}

static size_t take_answer(char *bytes, size_t size, size_t n, void *to)
{
    buffer_put(to, bytes, size * n);
    return ((struct buffer *)to)->error ? 0 : size * n;
}

static int look_at_stop(void *client, curl_off_t a, curl_off_t b, curl_off_t c,
                        curl_off_t d)
{
    const struct client *k = client;
    (void)a, (void)b, (void)c, (void)d;
    return k->stop && *k->stop;
}

#define SET(option, value)                                                             \
    ((void)(failed = curl_easy_setopt(e, option, value) != CURLE_OK || failed))

static int set_options(struct client *c, const struct client_options *o,
                       struct error *error)
{
    CURL *e = c->easy;
    bool failed = false;
    char header[1024];
    if (o->token) {
        int n = snprintf(header, sizeof(header), "Authorization: Bearer %s", o->token);
        if (n >= (int)sizeof(header))
            return error_set(error, -EINVAL, "the token is too long");
        c->headers = curl_slist_append(NULL, header);
        if (!c->headers)
            return error_set(error, -ENOMEM, "out of memory");
    }
#if LIBCURL_VERSION_NUM >= 0x075500
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
    SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    SET(CURLOPT_PROXY, ""); /* a token is for this server */
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_USERAGENT, "weir/" PACKAGE_VERSION);
    SET(CURLOPT_HTTPHEADER, c->headers);
    SET(CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
    SET(CURLOPT_WRITEFUNCTION, take_answer);
    SET(CURLOPT_ERRORBUFFER, c->text);
    SET(CURLOPT_NOPROGRESS, 0L);
    SET(CURLOPT_XFERINFOFUNCTION, look_at_stop);
    SET(CURLOPT_XFERINFODATA, c);
    if (c->socket)
        SET(CURLOPT_UNIX_SOCKET_PATH, c->socket);
    if (o->ca)
        SET(CURLOPT_CAINFO, o->ca);
    if (o->certificate)
        SET(CURLOPT_SSLCERT, o->certificate);
    if (o->key)
        SET(CURLOPT_SSLKEY, o->key);
    return failed ? error_set(error, -ENOTSUP, "libcurl lacks what is needed") : 0;
}

int client_new(const struct client_options *options, struct client **ret,
               struct error *error)
{
    struct client *c = calloc(1, sizeof(*c));
    if (!c || curl_global_init(CURL_GLOBAL_DEFAULT) || !(c->easy = curl_easy_init())) {
        free(c);
        return error_set(error, -ENOMEM, "out of memory");
    }
    c->stop = options->stop;
    int err = find_server(c, options, error);
    if (!err)
        err = set_options(c, options, error);
    if (err)
        client_free(c);
    else
        *ret = c;
    return err;
}

void client_free(struct client *c)
{
    if (!c)
        return;
    curl_easy_cleanup(c->easy);
    curl_slist_free_all(c->headers);
    free(c->base);
    free(c->socket);
    free(c->where);
    free(c);
}

const char *client_where(const struct client *c)
{
    return c->where;
}

int client_get(struct client *c, const char *path, struct buffer *to,
               unsigned *ret_status, struct error *error)
{
    char *url;
    long status = 0;
    if (asprintf(&url, "%s%s", c->base, path) < 0)
        return error_set(error, -ENOMEM, "out of memory");
    to->limit = ANSWER_MAX;
    buffer_clear(to);
    c->text[0] = 0;
    curl_easy_setopt(c->easy, CURLOPT_URL, url);
    curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, to);
    CURLcode code = curl_easy_perform(c->easy);
    free(url);
    if (code == CURLE_WRITE_ERROR && to->error)
        return error_set(error, to->error, "%s%s: the answer is too long", c->where,
                         path);
    if (code)
        return error_set(error, -ECONNREFUSED, "%s: %s", c->where,
                         c->text[0] ? c->text : curl_easy_strerror(code));
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    *ret_status = (unsigned)status;
    return 0;
}

#else

int client_new(const struct client_options *options, struct client **ret,
               struct error *error)
{
    (void)options, (void)ret;
    return error_set(error, -ENOTSUP,
                     "this weir was built without libcurl, and cannot ask a server");
}

void client_free(struct client *c)
{
    (void)c;
}

const char *client_where(const struct client *c)
{
    (void)c;
    return "";
}

int client_get(struct client *c, const char *path, struct buffer *to,
               unsigned *ret_status, struct error *error)
{
    (void)c, (void)path, (void)to, (void)ret_status;
    return error_set(error, -ENOTSUP, "built without libcurl");
}

#endif
