/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "http/tls.h"

#include <errno.h>

#ifdef HAVE_GNUTLS

#include "base/clock.h"
#include "base/logger.h"
#include "http/guard.h"

#include <dlfcn.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TLS_EXPIRES_US (14 * DAY_US) /* sooner is worth a warning */

/* Of all connections that began with them. */
struct tls_credentials {
    _Atomic unsigned refs; /* taken relaxed, given back acq_rel */
    gnutls_certificate_credentials_t certificate;
    bool of_clients; /* theirs are asked for */
};

struct tls {
    char *certificate, *key, *client_ca;
    struct metrics *metrics;
    pthread_mutex_t lock; /* protects the next */
    struct tls_credentials *now;
    _Atomic uint64_t expires_s; /* for /metrics; relaxed */
};

/* ---- What the guard receives ---- */

static ssize_t (*real_record_recv)(gnutls_session_t, void *, size_t);

__attribute__((constructor)) static void find_record_recv(void)
{
    union {
        void *found;
        ssize_t (*call)(gnutls_session_t, void *, size_t);
    } next = {.found = dlsym(RTLD_NEXT, "gnutls_record_recv")};
    real_record_recv = next.call;
}

/* What libmicrohttpd calls for a connection with TLS, found as recv is (guard.c): the guard is behind the decryption. */
__attribute__((visibility("default"))) ssize_t
gnutls_record_recv(gnutls_session_t session, void *to, size_t room)
{
    struct guard *g = guard_of(gnutls_transport_get_int(session));
    if (!g || g->session != session)
        return real_record_recv(session, to, room);
    ssize_t n = guard_receive(g, to, room);
    return n >= 0            ? n
           : errno == EAGAIN ? GNUTLS_E_AGAIN
           : errno == ENOMEM ? GNUTLS_E_MEMORY_ERROR
                             : GNUTLS_E_PULL_ERROR;
}

static bool is_in_force(void)
{
    union {
        void *found;
        ssize_t (*call)(gnutls_session_t, void *, size_t);
    } first = {.found = dlsym(RTLD_DEFAULT, "gnutls_record_recv")};
    return real_record_recv && first.call == gnutls_record_recv;
}

ssize_t tls_receive(struct gnutls_session_int *session, void *to, size_t room)
{
    ssize_t n;
    do
        n = real_record_recv(session, to, room);
    while (n == GNUTLS_E_INTERRUPTED || n == GNUTLS_E_WARNING_ALERT_RECEIVED);
    if (n >= 0)
        return n;
    if (n == GNUTLS_E_PREMATURE_TERMINATION)
        return 0;
    errno = n == GNUTLS_E_AGAIN ? EAGAIN : n == GNUTLS_E_MEMORY_ERROR ? ENOMEM : EIO;
    return -1;
}

void tls_send_last(struct gnutls_session_int *session, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size) {
        ssize_t n = gnutls_record_send(session, at, size);
        if (n == GNUTLS_E_INTERRUPTED)
            continue;
        if (n <= 0)
            return; /* it is cut, and the client sees it: there is no closing alert */
        at += n;
        size -= (size_t)n;
    }
    gnutls_bye(session, GNUTLS_SHUT_WR);
}

/* ---- Credentials ---- */

void tls_end(struct tls_credentials *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    gnutls_certificate_free_credentials(c->certificate);
    free(c);
}

/* GnuTLS says "Error while reading file." for all that can be wrong with one. */
static int file_error(const char *what, const char *path, int rc, struct error *error)
{
    const char *why = access(path, R_OK) < 0 ? strerror(errno) : gnutls_strerror(rc);
    return error_set(error, -EKEYREJECTED, "tls: %s '%s': %s", what, path, why);
}

static int read_files(const struct tls *t, struct tls_credentials *c,
                      struct error *error)
{
    int rc = gnutls_certificate_set_x509_key_file2(
        c->certificate, t->certificate, t->key, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (rc < 0)
        return access(t->key, R_OK) < 0
                   ? file_error("key", t->key, rc, error)
                   : file_error("certificate", t->certificate, rc, error);
    if (!t->client_ca)
        return 0;
    rc = gnutls_certificate_set_x509_trust_file(c->certificate, t->client_ca,
                                                GNUTLS_X509_FMT_PEM);
    if (rc < 0)
        return file_error("client_ca", t->client_ca, rc, error);
    if (rc == 0)
        return error_set(error, -EKEYREJECTED,
                         "tls: client_ca '%s': there is no certificate", t->client_ca);
    c->of_clients = true;
    return 0;
}

/* When the first certificate of the chain expires; 0: not known. */
static uint64_t expires_s(const struct tls_credentials *c)
{
    gnutls_datum_t raw;
    gnutls_x509_crt_t crt;
    time_t at = -1;
    if (gnutls_certificate_get_crt_raw(c->certificate, 0, 0, &raw) < 0 ||
        gnutls_x509_crt_init(&crt) < 0)
        return 0;
    if (gnutls_x509_crt_import(crt, &raw, GNUTLS_X509_FMT_DER) == 0)
        at = gnutls_x509_crt_get_expiration_time(crt);
    gnutls_x509_crt_deinit(crt);
    return at > 0 ? (uint64_t)at : 0;
}

static void warn_of_end(const struct tls *t, uint64_t end_s)
{
    char text[CLOCK_TEXT_MAX];
    int64_t end_us = (int64_t)end_s * SECOND_US;
    if (!end_s || end_us > clock_now_us() + TLS_EXPIRES_US)
        return;
    clock_format(end_us, text);
    logger_warn("http", "the certificate '%s' expires at %s", t->certificate, text);
}

int tls_reload(struct tls *t, struct error *error)
{
    struct tls_credentials *c = calloc(1, sizeof(*c));
    if (!c || gnutls_certificate_allocate_credentials(&c->certificate) < 0) {
        free(c);
        return error_set(error, -ENOMEM, "no memory for certificates");
    }
    c->refs = 1;
    int r = read_files(t, c, error);
    if (r < 0) {
        tls_end(c);
        return r;
    }
    uint64_t end_s = expires_s(c);
    atomic_store_explicit(&t->expires_s, end_s, memory_order_relaxed);
    warn_of_end(t, end_s);
    pthread_mutex_lock(&t->lock);
    struct tls_credentials *old = t->now;
    t->now = c;
    pthread_mutex_unlock(&t->lock);
    tls_end(old);
    return 0;
}

int tls_new(const struct tls_options *o, struct metrics *metrics, struct tls **ret,
            struct error *error)
{
    if (!is_in_force())
        return error_set(
            error, -ENOTSUP,
            "libmicrohttpd would not read through the guard (http/guard.h)");
    struct tls *t = calloc(1, sizeof(*t));
    if (!t)
        return error_set(error, -ENOMEM, "no memory for certificates");
    pthread_mutex_init(&t->lock, NULL);
    t->certificate = strdup(o->certificate);
    t->key = strdup(o->key);
    t->client_ca = o->client_ca ? strdup(o->client_ca) : NULL;
    int r = t->certificate && t->key && (t->client_ca || !o->client_ca)
                ? tls_reload(t, error)
                : error_set(error, -ENOMEM, "no memory for certificates");
    if (r == 0 && metrics &&
        (r = metrics_add(
             metrics, METRIC_GAUGE, "weir_tls_certificate_expires_timestamp_seconds",
             "When the certificate in force expires.", "", &t->expires_s, 1)) < 0)
        error_set(error, r, "no memory for metrics");
    t->metrics = metrics;
    if (r < 0) {
        tls_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    if (t->metrics)
        metrics_remove(t->metrics, t, sizeof(*t));
    tls_end(t->now);
    pthread_mutex_destroy(&t->lock);
    free(t->certificate);
    free(t->key);
    free(t->client_ca);
    free(t);
}

/* ---- A connection ---- */

struct tls_credentials *tls_begin(struct tls *t, struct gnutls_session_int *session)
{
    static gnutls_typed_vdata_st purpose = {
        .type = GNUTLS_DT_KEY_PURPOSE_OID,
        .data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT};
    static const unsigned char http[] = "http/1.1";
    const gnutls_datum_t protocol = {.data = (unsigned char *)(uintptr_t)http,
                                     .size = sizeof(http) - 1};
    pthread_mutex_lock(&t->lock);
    struct tls_credentials *c = t->now;
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&t->lock);
    if (gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, c->certificate) < 0) {
        tls_end(c);
        return NULL;
    }
    gnutls_alpn_set_protocols(session, &protocol, 1, 0);
    gnutls_certificate_server_set_request(session, c->of_clients ? GNUTLS_CERT_REQUIRE
                                                                 : GNUTLS_CERT_IGNORE);
    if (c->of_clients) /* in the handshake, against client_ca */
        gnutls_session_set_verify_cert2(session, &purpose, 1, 0);
    return c;
}

#else

int tls_new(const struct tls_options *options, struct metrics *metrics,
            struct tls **ret, struct error *error)
{
    (void)options;
    (void)metrics;
    (void)ret;
    return error_set(error, -ENOTSUP, "tls: this weir was built without GnuTLS");
}

/* There is none to call these for. */
int tls_reload(struct tls *t, struct error *error)
{
    (void)t;
    (void)error;
    return -ENOTSUP;
}

void tls_free(struct tls *t)
{
    (void)t;
}

struct tls_credentials *tls_begin(struct tls *t, struct gnutls_session_int *session)
{
    (void)t;
    (void)session;
    return NULL;
}

void tls_end(struct tls_credentials *c)
{
    (void)c;
}

ssize_t tls_receive(struct gnutls_session_int *session, void *to, size_t room)
{
    (void)session;
    (void)to;
    (void)room;
    errno = ENOTSUP;
    return -1;
}

void tls_send_last(struct gnutls_session_int *session, const void *bytes, size_t size)
{
    (void)session;
    (void)bytes;
    (void)size;
}

#endif
