/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection to the broker of a stream's `source: {mqtt: ...}`, by libmosquitto, without a thread of its own: nothing is read,
 * nor written, outside of these calls. What libmosquitto has to say to the broker, the receipts of messages among it, waits in
 * its queue until mqtt_client_write. Internal to source; one thread at a time.
 *
 *      mqtt_client_open -> mqtt_client_connect -> [mqtt_client_read ... mqtt_client_write]* -> mqtt_client_close
 */
#ifndef WEIR_SOURCE_MQTT_CLIENT_H
#define WEIR_SOURCE_MQTT_CLIENT_H

#include "source/pull.h"

#include <mosquitto.h>

struct client {
    const struct config_source *config;
    const struct pull *pull; /* NULL: nobody stops it */
    struct mosquitto *mosquitto;
    void (*take)(void *ctx, const struct mosquitto_message *m);
    void *ctx;
    unsigned turn;      /* the caller's: which of the addresses, modulo their number, */
    unsigned addresses; /* which is known after mqtt_client_connect; 0: not */
    bool answered;      /* by the broker; then: */
    int refused;        /* 0: it has let us in; others: why not */
    size_t granted;     /* topics that it has said something to */
    int *topic_mid;     /* of each topic */
    char said[512];     /* libmosquitto's last complaint; "" */
    struct error complaint; /* a topic that was refused; "" */
};

/* Of files of secrets and certificates that are read now. `take` gets messages during mqtt_client_read. -EINVAL, -ENOMEM with
 * a text. mqtt_client_close also after a failure. */
int mqtt_client_open(struct client *c, const struct config_source *config,
                     const struct pull *pull, bool trial, struct error *error);
/* Waits until the broker has let us in; the topics (not on trial) then wait for mqtt_client_write. Messages may come already. -EAGAIN
 * with a text: not now; -EINTR. */
int mqtt_client_connect(struct client *c, struct error *error);
/* What is there, up to about one packet. 1: something was; 0: nothing; -EAGAIN with a text: the connection is gone. */
int mqtt_client_read(struct client *c, struct error *error);
/* All that waits to be sent, as far as the socket takes it. -EAGAIN with a text. */
int mqtt_client_write(struct client *c, struct error *error);
int mqtt_client_socket(const struct client *c); /* -1 */
bool client_wants_write(const struct client *c);
/* Tells the broker that we go, and waits for a second that it has heard all. */
void mqtt_client_leave(struct client *c);
void mqtt_client_close(struct client *c);

#endif
