/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS of connections, 1.2 and later: certificates and keys in force, which can be exchanged while connections go on with those that they
 * began with. libmicrohttpd does the handshake and the sending, by GnuTLS; what it receives, decrypted, comes through the
 * guard (http/guard.h). Of all types of GnuTLS only the session is seen here, as a pointer.
 *
 * Built without GnuTLS, tls_new fails with -ENOTSUP.
 */
#ifndef WEIR_HTTP_TLS_H
#define WEIR_HTTP_TLS_H

#include "base/error.h"
#include "base/metrics.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct gnutls_session_int;
struct tls;
struct tls_credentials;

struct tls_options {
    const char *certificate, *key; /* PEM; the chain in the first */
    const char *client_ca;         /* PEM; NULL: clients need no certificate */
};

#define TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE"

/* Reads the files. `options` is copied; `metrics` may be NULL. -EKEYREJECTED: one is not
 * there, not what it should be, or the key not that of the certificate; -ENOMEM. */
int tls_new(const struct tls_options *options, struct metrics *metrics,
            struct tls **ret, struct error *error);
/* Reads them again, for connections to come. On failure all stays as it was. One thread at a time. */
int tls_reload(struct tls *t, struct error *error);
void tls_free(struct tls *t); /* all connections are closed; takes NULL */

/* Before the handshake. NULL: the connection is not to go on. */
struct tls_credentials *tls_begin(struct tls *t, struct gnutls_session_int *session);
void tls_end(struct tls_credentials *c); /* takes NULL */

/* As recv(2), of what is decrypted. An end without the alert that announces it is an end, too: bodies have lengths. */
ssize_t tls_receive(struct gnutls_session_int *session, void *to, size_t room);
/* All, or what the socket takes at once; and that nothing follows. */
void tls_send_last(struct gnutls_session_int *session, const void *bytes, size_t size);

#endif
