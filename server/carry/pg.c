/* SPDX-License-Identifier: Apache-2.0 */
#include "carry/pg.h"
#include "base/clock.h"
#include "carry/hosts.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SERVER_LEAST 120000 /* of which the catalogs are asked about */
#define COPY_PIECE   (64 << 10)

/* ---- Waiting ------------------------------------------------------------------------------------ */

/* -ETIMEDOUT, -ECANCELED: told to stop. */
static int wait_for(struct pg *p, short events, int64_t until_us)
{
    for (;;) {
        int64_t left_us = until_us - clock_monotonic_us();
        if (left_us <= 0)
            return -ETIMEDOUT;
        struct pollfd fds[] = {{.fd = PQsocket(p->c), .events = events},
                               {.fd = p->wake, .events = POLLIN}};
        int ms = left_us > 3600 * SECOND_US ? 3600000 : (int)(left_us / 1000) + 1;
        int n = poll(fds, 2, ms);
        uint64_t count;
        if (n > 0 && (fds[1].revents & POLLIN) &&
            read(p->wake, &count, sizeof(count)) != 0 && p->stop && p->stop(p->ctx))
            return -ECANCELED;
        if (n > 0 && fds[0].revents)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

void pg_idle(struct pg *p, int64_t until_us)
{
    int64_t left_us = until_us - clock_monotonic_us();
    struct pollfd fds[] = {{.fd = p->wake, .events = POLLIN},
                           {.fd = p->c ? PQsocket(p->c) : -1, .events = POLLIN}};
    int ms = left_us <= 0                 ? 0
             : left_us > 3600 * SECOND_US ? 3600000
                                          : (int)(left_us / 1000) + 1;
    uint64_t count;
    if (poll(fds, 2, ms) <= 0)
        return;
    if ((fds[0].revents & POLLIN) && read(p->wake, &count, sizeof(count)) < 0)
        return;
    if (fds[1].revents && (!PQconsumeInput(p->c) || PQstatus(p->c) != CONNECTION_OK))
        pg_close(p);
}

/* ---- The connection ----------------------------------------------------------------------------- */

void pg_close(struct pg *p)
{
    PQfinish(p->c); /* takes NULL */
    p->c = NULL;
}

/* One line of what libpq says; it never has the password. */
static int say(struct error *error, int err, const char *text)
{
    while (*text == ' ' || *text == '\n')
        text++;
    error_set(error, err, "%.*s", (int)strcspn(text, "\n"), text);
    return err;
}

/* It is not known what has become of the last statement. */
static int lose(struct pg *p, int err, struct error *error)
{
    const char *text = PQerrorMessage(p->c);
    if (err == -ETIMEDOUT)
        error_set(error, err, "no answer within 'timeout'");
    else if (err == -ECANCELED)
        error_set(error, err, "the server stops");
    else
        say(error, err, *text ? text : "the connection is lost");
    p->state[0] = 0;
    pg_close(p);
    return err;
}

static int read_password(const char *path, char **ret, struct error *error)
{
    char text[4098];
    FILE *f = fopen(path, "re");
    if (!f)
        return error_set(error, -errno, "password_file '%s': %s", path,
                         strerror(errno));
    size_t size = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r'))
        size--;
    text[size] = 0;
    *ret = size > 0 && size <= 4096 && !memchr(text, 0, size) ? strdup(text) : NULL;
    explicit_bzero(text, sizeof(text));
    return *ret ? 0
                : error_set(error, -EINVAL,
                            "password_file '%s' has no password of 1 to 4096 bytes",
                            path);
}

static void be_quiet(void *ctx, const PGresult *notice)
{
    (void)ctx, (void)notice;
}

static int connect_until(struct pg *p, int64_t until_us, struct error *error)
{
    PostgresPollingStatusType s = PGRES_POLLING_WRITING;
    if (PQstatus(p->c) == CONNECTION_BAD)
        return lose(p, -ECONNREFUSED, error);
    do {
        int err = wait_for(p, s == PGRES_POLLING_READING ? POLLIN : POLLOUT, until_us);
        if (err)
            return lose(p, err, error);
        s = PQconnectPoll(p->c);
    } while (s == PGRES_POLLING_READING || s == PGRES_POLLING_WRITING);
    return s == PGRES_POLLING_OK ? 0 : lose(p, -ECONNREFUSED, error);
}

static int check_server(struct pg *p, struct error *error)
{
    const char *encoding = PQparameterStatus(p->c, "server_encoding");
    int err = 0;
    if (PQserverVersion(p->c) < SERVER_LEAST)
        err = error_set(error, -EPROTO, "its version is %d, 12 or later is needed",
                        PQserverVersion(p->c) / 10000);
    else if (!encoding || strcmp(encoding, "UTF8"))
        err = error_set(error, -EPROTO, "its database is encoded in %s, not in UTF8",
                        encoding ? encoding : "nobody knows what");
    if (err)
        pg_close(p);
    return err;
}

/* Begins to connect; to the one of several hosts. What comes later wins. */
static int begin(struct pg *p, const struct config_postgresql *config,
                 const char *password, const struct hosts *hosts, size_t i)
{
    const char *host_key[3] = {NULL};
    char *host[3] = {NULL};
    if (hosts && hosts_one(hosts, i, host_key, host) < 0) {
        hosts_free_one(host);
        return -ENOMEM;
    }
    /* A standby takes no rows. */
    const char *const key[] = {"fallback_application_name",
                               "target_session_attrs",
                               "dbname",
                               "client_encoding",
                               password ? "password" : "client_encoding",
                               host_key[0],
                               host_key[1],
                               host_key[2],
                               NULL};
    const char *const value[] = {
        "weir",  "read-write", config->connect, "UTF8", password ? password : "UTF8",
        host[0], host[1],      host[2],         NULL};
    pg_close(p);
    p->c = PQconnectStartParams(key, value, 1);
    hosts_free_one(host);
    return p->c ? 0 : -ENOMEM;
}

/* One host after the other. */
static int connect_any(struct pg *p, const struct config_postgresql *config,
                       const char *password, struct error *error)
{
    struct hosts hosts;
    int err = begin(p, config, password, NULL, 0);
    if (!err && PQstatus(p->c) == CONNECTION_BAD)
        return lose(p, -ECONNREFUSED, error);
    if (!err)
        err = hosts_of(p->c, p->timeout_us, &hosts);
    if (err)
        return error_set(error, err, "out of memory");
    for (size_t i = 0; i < hosts.n; i++) {
        if (hosts.n > 1 && (err = begin(p, config, password, &hosts, i)) < 0) {
            error_set(error, err, "out of memory");
            break;
        }
        err = connect_until(p, clock_monotonic_us() + hosts.each_us, error);
        if (!err || err == -ECANCELED)
            break;
    }
    hosts_free(&hosts);
    return err;
}

/* Whoever hangs in a transaction does not hold up who takes its place; nor a table that somebody has locked the others. What somebody
 * has set for all of a user's sessions neither ends those that have nothing to say for a while, nor hides what others have committed
 * from who has waited for a lock. */
static int settle(struct pg *p, struct error *error)
{
    char lock[24];
    snprintf(lock, sizeof(lock), "%lldms",
             (long long)(p->timeout_us < 4 * SECOND_US ? p->timeout_us / 2000 : 2000));
    return pg_ask(p,
                  "SELECT set_config(name, CASE name WHEN 'lock_timeout' THEN $1 WHEN"
                  " 'idle_in_transaction_session_timeout' THEN '5s' WHEN"
                  " 'idle_session_timeout' THEN '0' ELSE 'read committed' END, false)"
                  " FROM pg_settings WHERE name IN ('lock_timeout',"
                  " 'idle_in_transaction_session_timeout', 'idle_session_timeout',"
                  " 'default_transaction_isolation')",
                  &PG_TEXT(lock), 1, NULL, error);
}

int pg_open(struct pg *p, const struct config_postgresql *config, struct error *error)
{
    char *password = NULL;
    p->state[0] = 0;
    int err = config->password_file
                  ? read_password(config->password_file, &password, error)
                  : 0;
    if (err)
        return err;
    err = connect_any(p, config, password, error);
    if (password)
        explicit_bzero(password, strlen(password));
    free(password);
    if (err)
        return err;
    PQsetnonblocking(p->c, 1);
    PQsetNoticeReceiver(p->c, be_quiet, NULL);
    err = check_server(p, error);
    return err ? err : settle(p, error);
}

/* ---- Statements --------------------------------------------------------------------------------- */

static int flush(struct pg *p, int64_t until_us)
{
    int left;
    while ((left = PQflush(p->c)) > 0) {
        int err = wait_for(p, POLLIN | POLLOUT, until_us);
        if (err)
            return err;
        if (!PQconsumeInput(p->c))
            return -ECONNRESET;
    }
    return left < 0 ? -ECONNRESET : 0;
}

/* The next result; NULL: there is none. */
static int next_result(struct pg *p, int64_t until_us, PGresult **ret)
{
    while (PQisBusy(p->c)) {
        int err = wait_for(p, POLLIN, until_us);
        if (err)
            return err;
        if (!PQconsumeInput(p->c))
            return -ECONNRESET;
    }
    *ret = PQgetResult(p->c);
    return 0;
}

static int refuse(struct pg *p, const PGresult *r, struct error *error)
{
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    snprintf(p->state, sizeof(p->state), "%s", state ? state : "");
    return say(error, -EINVAL, text ? text : PQresultErrorMessage(r));
}

/* What a statement has come to, and all results behind it. A COPY has begun: it has none. */
static int finish(struct pg *p, int64_t until_us, PGresult **ret, struct error *error)
{
    int failed = 0;
    bool more = true;
    while (more) {
        PG_RESULT r = NULL;
        int err = next_result(p, until_us, &r);
        if (err)
            return lose(p, err, error);
        if (!r)
            break;
        ExecStatusType s = PQresultStatus(r);
        more = s != PGRES_COPY_IN;
        if (s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK || s == PGRES_COPY_IN) {
            if (ret) {
                PQclear(*ret);
                *ret = r;
                r = NULL;
            }
            continue;
        }
        failed = refuse(p, r, error);
    }
    if (PQstatus(p->c) != CONNECTION_OK) {
        pg_close(p); /* the text says why */
        return failed ? -ECONNRESET
                      : error_set(error, -ECONNRESET, "the connection is lost");
    }
    return failed;
}

static int send_statement(struct pg *p, const char *sql, const struct pg_param *param,
                          size_t n, bool each, int64_t until_us, struct error *error)
{
    Oid type[PG_PARAMS] = {0};
    const char *value[PG_PARAMS] = {NULL};
    int length[PG_PARAMS] = {0}, format[PG_PARAMS] = {0};
    if (!p->c)
        return error_set(error, -ENOTCONN, "there is no connection");
    if (n > PG_PARAMS)
        return error_set(error, -E2BIG, "too many columns");
    for (size_t i = 0; i < n; i++) {
        type[i] = param[i].type;
        value[i] = param[i].data;
        length[i] = param[i].size;
        format[i] = param[i].type != 0;
    }
    p->state[0] = 0;
    if (!PQsendQueryParams(p->c, sql, (int)n, type, value, length, format, p->binary) ||
        (each && !PQsetSingleRowMode(p->c)))
        return lose(p, -ECONNRESET, error);
    int err = flush(p, until_us);
    return err ? lose(p, err, error) : 0;
}

int pg_ask(struct pg *p, const char *sql, const struct pg_param *param, size_t n,
           PGresult **ret, struct error *error)
{
    const int64_t until_us = clock_monotonic_us() + p->timeout_us;
    int err = send_statement(p, sql, param, n, false, until_us, error);
    return err ? err : finish(p, until_us, ret, error);
}

int pg_each(struct pg *p, const char *sql, const struct pg_param *param, size_t n,
            struct error *error)
{
    p->until_us = clock_monotonic_us() + p->timeout_us;
    return send_statement(p, sql, param, n, true, p->until_us, error);
}

int pg_row(struct pg *p, PGresult **ret, struct error *error)
{
    PG_RESULT r = NULL;
    int err = next_result(p, p->until_us, &r);
    if (err)
        return lose(p, err, error);
    if (PQresultStatus(r) == PGRES_SINGLE_TUPLE) {
        *ret = r;
        r = NULL;
        return 1;
    }
    if (PQresultStatus(r) == PGRES_TUPLES_OK)
        return finish(p, p->until_us, NULL, error);
    struct error second;
    err = refuse(p, r, error);
    return finish(p, p->until_us, NULL, &second) && !p->c ? -ECONNRESET : err;
}

int pg_fetch(struct pg *p, const char *sql, const struct pg_param *param, size_t n,
             PGresult **ret, struct error *error)
{
    const bool before = p->binary;
    p->binary = true;
    int err = pg_ask(p, sql, param, n, ret, error);
    p->binary = before;
    return err;
}

int pg_run(struct pg *p, const char *sql, struct error *error)
{
    return pg_ask(p, sql, NULL, 0, NULL, error);
}

int pg_copy(struct pg *p, const char *sql, const char *data, size_t size,
            struct error *error)
{
    int err = pg_run(p, sql, error);
    if (err)
        return err;
    int64_t until_us = clock_monotonic_us() + p->timeout_us;
    for (size_t at = 0; !err && at < size; at += COPY_PIECE) {
        size_t n = size - at < COPY_PIECE ? size - at : COPY_PIECE;
        if (PQputCopyData(p->c, data + at, (int)n) < 0)
            err = -ECONNRESET;
        else
            err = flush(p, until_us);
    }
    if (!err && PQputCopyEnd(p->c, NULL) < 0)
        err = -ECONNRESET;
    if (!err)
        err = flush(p, until_us);
    return err ? lose(p, err, error) : finish(p, until_us, NULL, error);
}
