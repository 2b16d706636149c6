/* SPDX-License-Identifier: Apache-2.0 */
#include "source/mqtt_client.h"

#include "base/clock.h"
#include "source/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define ANSWER_US (10 * SECOND_US) /* of a broker that is to let us in */
#define TICK_MS                                                                        \
    10 /* while a connection is made: libmosquitto does not say what for it waits */
#define LEAVE_MS   1000
#define REFUSED    128 /* of a topic; 3.1.1, section 3.9.3 */
#define SYSTEM_CA  "/etc/ssl/certs"
#define TRIAL_SIZE 24

/* ---- What it says ------------------------------------------------------------------------------ */

static void on_log(struct mosquitto *m, void *client, int level, const char *text)
{
    struct client *c = client;
    (void)m;
    if (level & (MOSQ_LOG_ERR | MOSQ_LOG_WARNING))
        snprintf(c->said, sizeof(c->said), "%s", text);
}

static void on_connect(struct mosquitto *m, void *client, int rc)
{
    struct client *c = client;
    c->answered = true;
    c->refused = rc;
    for (size_t i = 0; rc == 0 && c->topic_mid && i < c->config->n_topics; i++)
        mosquitto_subscribe(m, &c->topic_mid[i], c->config->topic[i],
                            (int)c->config->mqtt.qos);
}

static void on_subscribe(struct mosquitto *m, void *client, int mid, int n,
                         const int *granted)
{
    struct client *c = client;
    (void)m;
    for (size_t i = 0; n == 1 && i < c->config->n_topics; i++) {
        if (c->topic_mid[i] != mid)
            continue;
        c->granted++;
        if (granted[0] >= REFUSED)
            error_set(&c->complaint, 0, "the broker refuses the topic '%.200s'",
                      c->config->topic[i]);
        else if (granted[0] < (int)c->config->mqtt.qos)
            error_set(&c->complaint, 0,
                      "the broker gives the topic '%.200s' with QoS 0 only: messages "
                      "may be lost",
                      c->config->topic[i]);
    }
}

static void on_message(struct mosquitto *m, void *client,
                       const struct mosquitto_message *message)
{
    struct client *c = client;
    (void)m;
    if (c->take)
        c->take(c->ctx, message);
}

/* The connection is gone: why. */
static int lost(const struct client *c, int rc, int why, struct error *error)
{
    const struct config_mqtt *m = &c->config->mqtt;
    const char *text = rc == MOSQ_ERR_ERRNO && why ? strerror(why)
                       : rc == MOSQ_ERR_EAI        ? "no such host"
                                                   : mosquitto_strerror(rc);
    return error_set(error, -EAGAIN, "broker %s:%d: %s%s%.200s", m->host, m->port, text,
                     c->said[0] ? ": " : "", c->said);
}

/* ---- Opening ----------------------------------------------------------------------------------- */

static int check_file(const char *path, struct error *error)
{
    if (!path || access(path, R_OK) == 0)
        return 0;
    return error_set(error, -EINVAL, "'%s': %s", path, strerror(errno));
}

static int set_tls(struct client *c, struct error *error)
{
    const struct config_mqtt *m = &c->config->mqtt;
    const char *ca = m->ca ? m->ca : SYSTEM_CA;
    struct stat st;
    if (!m->tls)
        return 0;
    int err = check_file(ca, error);
    if (err == 0)
        err = check_file(m->certificate, error);
    if (err == 0)
        err = check_file(m->key, error);
    if (err < 0)
        return err;
    bool folder = stat(ca, &st) == 0 && S_ISDIR(st.st_mode);
    int rc = mosquitto_tls_set(c->mosquitto, folder ? NULL : ca, folder ? ca : NULL,
                               m->certificate, m->key, NULL);
    return rc ? error_set(error, -EINVAL, "TLS: %s", mosquitto_strerror(rc)) : 0;
}

static int set_user(struct client *c, struct error *error)
{
    const struct config_mqtt *m = &c->config->mqtt;
    char *secret = NULL;
    if (!m->user)
        return 0;
    int err = m->password.file ? secret_read(&m->password, &secret, error) : 0;
    if (err < 0)
        return err;
    int rc = mosquitto_username_pw_set(c->mosquitto, m->user,
                                       secret ? secret : m->password.value);
    secret_free(secret);
    return rc ? error_set(error, -EINVAL, "user: %s", mosquitto_strerror(rc)) : 0;
}

int mqtt_client_open(struct client *c, const struct config_source *config,
                     const struct pull *pull, bool trial, struct error *error)
{
    char id[TRIAL_SIZE]; /* with its own it would drive out the server that runs */
    *c = (struct client){.config = config, .pull = pull};
    snprintf(id, sizeof(id), "weir-try-%d", (int)getpid());
    c->mosquitto = mosquitto_new(trial ? id : config->mqtt.client_id,
                                 trial || config->mqtt.clean_session, c);
    if (!trial)
        c->topic_mid = calloc(config->n_topics, sizeof(*c->topic_mid));
    if (!c->mosquitto || (!trial && !c->topic_mid))
        return error_set(error, -ENOMEM, "no memory for MQTT");
    mosquitto_log_callback_set(c->mosquitto, on_log);
    mosquitto_connect_callback_set(c->mosquitto, on_connect);
    mosquitto_subscribe_callback_set(c->mosquitto, on_subscribe);
    mosquitto_message_callback_set(c->mosquitto, on_message);
    /* Then it queues receipts, instead of sending them before it hands on the message. */
    mosquitto_threaded_set(c->mosquitto, true);
    mosquitto_int_option(c->mosquitto, MOSQ_OPT_TCP_NODELAY, 1);
    int err = set_tls(c, error);
    return err < 0 ? err : set_user(c, error);
}

void mqtt_client_close(struct client *c)
{
    if (c->mosquitto)
        mosquitto_destroy(c->mosquitto);
    free(c->topic_mid);
    *c = (struct client){0};
}

/* ---- Connecting -------------------------------------------------------------------------------- */

static bool stops(const struct client *c)
{
    return c->pull && pull_stops(c->pull);
}

/* One look at a connection that is being made. Once the broker has answered nothing is sent here: messages may have come with
 * the answer. */
static int tick(struct client *c, struct error *error)
{
    struct pollfd at = {.fd = mqtt_client_socket(c), .events = POLLIN};
    poll(&at, 1, TICK_MS);
    int r = mqtt_client_read(c, error);
    return r < 0 || c->answered ? r : mqtt_client_write(c, error);
}

/* The address whose turn it is, as text: libmosquitto itself would only ever take the first one. With TLS it has to have the
 * name. Returns what getaddrinfo or getnameinfo does. */
static int choose_address(struct client *c, char *ret, size_t size)
{
    const struct config_mqtt *m = &c->config->mqtt;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all;
    snprintf(ret, size, "%s", m->host);
    if (m->tls)
        return 0;
    int err = getaddrinfo(m->host, NULL, &hints, &all);
    if (err)
        return err;
    c->addresses = 0;
    for (const struct addrinfo *a = all; a; a = a->ai_next)
        c->addresses++;
    const struct addrinfo *its = all;
    for (unsigned i = c->turn % c->addresses; i > 0; i--)
        its = its->ai_next;
    err = getnameinfo(its->ai_addr, its->ai_addrlen, ret, (socklen_t)size, NULL, 0,
                      NI_NUMERICHOST);
    freeaddrinfo(all);
    return err;
}

int mqtt_client_connect(struct client *c, struct error *error)
{
    const struct config_mqtt *m = &c->config->mqtt;
    int64_t until_us = clock_monotonic_us() + ANSWER_US;
    char address[NI_MAXHOST];
    errno = 0;
    if (choose_address(c, address, sizeof(address)))
        return lost(c, MOSQ_ERR_EAI, 0, error);
    errno = 0;
    int rc = mosquitto_connect_async(c->mosquitto, address, m->port,
                                     (int)(m->keepalive_us / SECOND_US));
    if (rc)
        return lost(c, rc, errno, error);
    fcntl(mqtt_client_socket(c), F_SETFD, FD_CLOEXEC);
    while (!c->answered) {
        if (stops(c))
            return -EINTR;
        if (clock_monotonic_us() > until_us)
            return error_set(error, -EAGAIN,
                             "broker %s:%d: it has not answered%s%.200s", m->host,
                             m->port, c->said[0] ? ": " : "", c->said);
        int err = tick(c, error);
        if (err < 0 && !c->refused)
            return err;
    }
    if (c->refused)
        return error_set(error, -EAGAIN, "broker %s:%d: %s", m->host, m->port,
                         mosquitto_connack_string(c->refused));
    mosquitto_log_callback_set(c->mosquitto, NULL); /* it would format each message */
    c->said[0] = 0;
    return 0;
}

/* ---- Reading and writing ----------------------------------------------------------------------- */

int mqtt_client_socket(const struct client *c)
{
    return mosquitto_socket(c->mosquitto);
}

bool client_wants_write(const struct client *c)
{
    return mosquitto_want_write(c->mosquitto);
}

int mqtt_client_read(struct client *c, struct error *error)
{
    errno = 0;
    int rc = mosquitto_loop_read(c->mosquitto, 1);
    int why = errno;
    if (rc)
        return lost(c, rc, why, error);
    return why != EAGAIN;
}

/* Receipts are four bytes each: one segment has them all. */
static void cork(int fd, int on)
{
    if (fd >= 0)
        setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
}

int mqtt_client_write(struct client *c, struct error *error)
{
    errno = 0;
    int rc = mosquitto_loop_misc(c->mosquitto);
    if (rc == 0 && client_wants_write(c)) {
        cork(mqtt_client_socket(c), 1);
        errno = 0;
        rc = mosquitto_loop_write(c->mosquitto, 1);
        int why = errno;
        cork(mqtt_client_socket(c), 0);
        errno = why;
    }
    return rc ? lost(c, rc, errno, error) : 0;
}

/* Closed with something unread, the socket would take back what is still on its way. */
void mqtt_client_leave(struct client *c)
{
    char rest[4096];
    struct error none;
    int fd = mqtt_client_socket(c);
    if (fd < 0)
        return;
    c->take = NULL;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3); /* libmosquitto closes its own */
    mosquitto_disconnect(c->mosquitto);
    mqtt_client_write(c, &none);
    cork(copy, 0);
    int64_t until_us = clock_monotonic_us() + LEAVE_MS * 1000;
    struct pollfd at = {.fd = copy, .events = POLLIN};
    ssize_t n = 1;
    while (copy >= 0 && n > 0 && clock_monotonic_us() < until_us) {
        poll(&at, 1, TICK_MS);
        n = recv(copy, rest, sizeof(rest), MSG_DONTWAIT);
        n = n < 0 && (errno == EAGAIN || errno == EINTR) ? 1 : n;
    }
    if (copy >= 0)
        close(copy);
}
