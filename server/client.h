/* SPDX-License-Identifier: Apache-2.0
 *
 * Asks a running server over HTTP, TLS or a socket in the file system, as `weir top` does. One thread.
 */
#ifndef WEIR_CLIENT_H
#define WEIR_CLIENT_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>

struct config_server;

struct client_options {
    const char
        *url; /* http://..., https://..., unix:PATH; NULL: what `server` listens on */
    const struct config_server *server; /* may be NULL with a url */
    const char *token;                  /* NULL: none */
    const char *ca;                     /* NULL: those of the system */
    const char *certificate, *key;      /* of the client; NULL: none */
    const _Atomic bool
        *stop; /* true: a request that waits is given up, within a second */
};

struct client;

/* Connects to nothing yet. What the options point to, but `stop`, is copied. -EINVAL: they do not say where the server is;
 * -ENOTSUP: built without libcurl; -ENOMEM. */
int client_new(const struct client_options *options, struct client **ret,
               struct error *error);
void client_free(struct client *c); /* takes NULL */

/* For people: the address. Lives as long as the client. */
const char *client_where(const struct client *c);

/* `to` gets the body. 0 and the status, whatever it is; or -ECONNREFUSED: there was no answer; -EFBIG: too long a one. */
int client_get(struct client *c, const char *path, struct buffer *to,
               unsigned *ret_status, struct error *error);

#endif
