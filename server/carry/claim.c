/* SPDX-License-Identifier: Apache-2.0
 *
 * A shard is claimed, before there is a database or a thread, and its copy read.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "carry/copies.h"
#include "carry/internal.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE_PAGES "256" /* that are fetched at once: 4 MiB, usually */
#define LATE_S      60    /* for doctor: without a first copy */

static int run(struct carrier *c, const char *before, const char *behind,
               const struct pg_param *param, size_t n, PGresult **ret,
               struct error *error)
{
    struct buffer sql = {0};
    buffer_puts(&sql, before);
    far_quote(&sql, c->config->schema, '"');
    buffer_puts(&sql, ".weir_copies");
    buffer_puts(&sql, behind);
    return far_run(c, &sql, param, n, ret, error);
}

static int begin(struct carrier *c, const struct config_postgresql *config,
                 const struct carry_stop *stop, struct error *error)
{
    *c = (struct carrier){.config = config,
                          .pg = {.wake = stop->wake,
                                 .stop = stop->stop,
                                 .ctx = stop->ctx,
                                 .timeout_us = config->target.timeout_us}};
    return pg_open(&c->pg, config, error);
}

/* At the very first there is no such table, nor a schema. */
static bool is_missing(const struct carrier *c, int err)
{
    return err == -EINVAL &&
           (!strcmp(c->pg.state, "42P01") || !strcmp(c->pg.state, "3F000"));
}

/* What its last owner has begun and not ended holds locks: it is ended. */
static int end_owner(struct carrier *c, struct error *error)
{
    if (fault_skips("copy_end"))
        return 0;
    int err = run(c, "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a JOIN ",
                  " p ON a.pid = p.backend AND a.backend_start = p.backend_start"
                  " WHERE a.pid <> pg_backend_pid() AND p.shard = $1",
                  &PG_TEXT(c->config->shard), 1, NULL, error);
    return is_missing(c, err) ? 0 : err;
}

static void take(const PGresult *r, struct carry_claim *ret)
{
    ret->before = strtoll(PQgetvalue(r, 0, 1), NULL, 10);
    ret->epoch = ret->before + 1;
    ret->seq = strtoll(PQgetvalue(r, 0, 2), NULL, 10);
    snprintf(ret->database, sizeof(ret->database), "%s", PQgetvalue(r, 0, 3));
    ret->page_bytes = (uint32_t)strtoul(PQgetvalue(r, 0, 4), NULL, 10);
    ret->pages = strtoll(PQgetvalue(r, 0, 5), NULL, 10);
    snprintf(ret->host, sizeof(ret->host), "%s", PQgetvalue(r, 0, 6));
    snprintf(ret->before_writer, sizeof(ret->before_writer), "%s", PQgetvalue(r, 0, 7));
}

static int claim(struct carrier *c, struct carry_claim *ret, struct error *error)
{
    const char *shard = c->config->shard;
    PG_RESULT r = NULL;
    char pid[24], host[128] = "";
    snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    gethostname(host, sizeof(host) - 1);
    int err = run(c, "INSERT INTO ",
                  " (shard, format, epoch, writer, host, pid, claimed, seq)"
                  " VALUES ($1, 1, 0, '', '', 0, now(), 0) ON CONFLICT DO NOTHING",
                  &PG_TEXT(shard), 1, NULL, error);
    if (!err)
        err = run(c,
                  "SELECT format, epoch, seq, coalesce(database, ''),"
                  " coalesce(page_size, 0), coalesce(pages, 0), host, writer FROM ",
                  " WHERE shard = $1 FOR UPDATE", &PG_TEXT(shard), 1, &r, error);
    if (err)
        return err;
    if (PQntuples(r) != 1)
        return error_set(error, -EAGAIN, "the row of shard '%s' has gone", shard);
    if (strtol(PQgetvalue(r, 0, 0), NULL, 10) > COPIES_FORMAT)
        return error_set(error, -EPROTO,
                         "the copy of shard '%s' was made by a newer weir", shard);
    take(r, ret);
    const struct pg_param param[] = {PG_TEXT(shard), PG_TEXT(ret->writer),
                                     PG_TEXT(host), PG_TEXT(pid)};
    return run(c, "UPDATE ",
               " SET epoch = epoch + 1, writer = $2, host = $3, pid = $4::integer,"
               " claimed = now(), backend = NULL, backend_start = NULL"
               " WHERE shard = $1",
               param, sizeof(param) / sizeof(param[0]), NULL, error);
}

int carry_claim(const struct config_postgresql *config, const struct carry_stop *stop,
                struct carry_claim *ret, struct error *error)
{
    struct carrier c;
    *ret = (struct carry_claim){.epoch = 0};
    carried_make_id(ret->writer);
    int err = begin(&c, config, stop, error);
    if (!err)
        err = end_owner(&c, error);
    if (!err)
        err = far_schema(&c, error);
    if (!err)
        err = pg_run(&c.pg, "BEGIN", error);
    if (!err)
        err = claim(&c, ret, error);
    fault_point("copy_claim");
    if (!err)
        err = pg_run(&c.pg, "COMMIT", error);
    fault_point("copy_claimed");
    if (err == -EINVAL && !strcmp(c.pg.state, "55P03")) /* of a lock: it ends */
        err = -EAGAIN;
    pg_close(&c.pg); /* an unknown outcome: the next try claims it once more */
    return err;
}

/* ---- The copy ----------------------------------------------------------------------------------- */

static uint64_t big(const char *at)
{
    uint64_t n;
    memcpy(&n, at, sizeof(n));
    return be64toh(n);
}

static int fetch_piece(struct carrier *c, int64_t behind, PGresult **ret,
                       struct error *error)
{
    struct buffer sql = {0};
    char number[24];
    snprintf(number, sizeof(number), "%" PRId64, behind);
    const struct pg_param param[] = {PG_TEXT(c->config->shard), PG_TEXT(number)};
    buffer_puts(&sql, "SELECT page, bytes FROM ");
    far_quote(&sql, c->config->schema, '"');
    buffer_puts(&sql, ".weir_copy_pages WHERE shard = $1 AND page > $2::bigint"
                      " ORDER BY page LIMIT " PIECE_PAGES);
    int err = sql.error ? error_set(error, -ENOMEM, "out of memory")
                        : pg_fetch(&c->pg, buffer_text(&sql), param, 2, ret, error);
    buffer_free(&sql);
    return err;
}

static int write_page(int fd, const char *bytes, size_t size, int64_t page,
                      struct error *error)
{
    const off_t at = (off_t)(page - 1) * (off_t)size;
    ssize_t n = pwrite(fd, bytes, size, at);
    if (n == (ssize_t)size)
        return 0;
    const int err = n < 0 ? -errno : -ENOSPC;
    return error_set(error, err, "the copy cannot be written: %s", strerror(-err));
}

static int fetch_pages(struct carrier *c, const struct carry_claim *claim, int fd,
                       struct error *error)
{
    int64_t at = 0;
    for (;;) {
        PG_RESULT r = NULL;
        int err = fetch_piece(c, at, &r, error);
        if (err)
            return err;
        for (int i = 0; i < PQntuples(r); i++) {
            if (big(PQgetvalue(r, i, 0)) != (uint64_t)++at ||
                PQgetlength(r, i, 1) != (int)claim->page_bytes)
                return error_set(error, -EBADMSG,
                                 "the copy in PostgreSQL is damaged at page %" PRId64,
                                 at);
            err = write_page(fd, PQgetvalue(r, i, 1), claim->page_bytes, at, error);
            if (err)
                return err;
        }
        if (PQntuples(r) == 0)
            break;
    }
    return at == claim->pages
               ? 0
               : error_set(error, -EBADMSG,
                           "the copy in PostgreSQL has %" PRId64 " pages and should "
                           "have %" PRId64,
                           at, claim->pages);
}

/* Nobody has written meanwhile: that is only for who has claimed it later. */
static int is_mine(struct carrier *c, const struct carry_claim *claim,
                   struct error *error)
{
    PG_RESULT r = NULL;
    int err = run(c, "SELECT writer, host FROM ", " WHERE shard = $1",
                  &PG_TEXT(c->config->shard), 1, &r, error);
    if (err)
        return err;
    const bool there = PQntuples(r) == 1;
    return there && strcmp(PQgetvalue(r, 0, 0), claim->writer) == 0
               ? 0
               : error_set(error, -EEXIST,
                           "shard '%s': a server on '%s' has taken its place",
                           c->config->shard, there ? PQgetvalue(r, 0, 1) : "?");
}

int carry_fetch(const struct config_postgresql *config, const struct carry_stop *stop,
                const struct carry_claim *claim, int fd, struct error *error)
{
    struct carrier c;
    int err = begin(&c, config, stop, error);
    int fetched = err ? err : fetch_pages(&c, claim, fd, error);
    /* What was read while another wrote is not whole, which is no damage. */
    struct error why;
    if (!err && c.pg.c && (err = is_mine(&c, claim, &why)))
        *error = why;
    pg_close(&c.pg);
    return err ? err : fetched;
}

/* ---- weir doctor -------------------------------------------------------------------------------- */

/* Whoever claims a shard begins with a copy; then there is a new one where something has changed, so its age alone says nothing. */
static int tell_copy(const struct config_postgresql *config, const PGresult *r,
                     char ret_text[256])
{
    const bool had = PQntuples(r) == 1;
    const bool any = had && strtoll(PQgetvalue(r, 0, 0), NULL, 10) > 0;
    const double held_s = had ? strtod(PQgetvalue(r, 0, 3), NULL) : 0;
    const double ten_s = 10 * (double)config->copy_us / SECOND_US;
    const bool late = had && *PQgetvalue(r, 0, 5) == 't' &&
                      held_s > (ten_s > LATE_S ? ten_s : LATE_S);
    if (late)
        snprintf(
            ret_text, 256,
            "shard '%.60s': the server on '%.60s', which has had it for %.0f s, has "
            "made no copy%s",
            config->shard, PQgetvalue(r, 0, 4), held_s,
            any ? ": the last one is that of another" : "");
    else if (any)
        snprintf(
            ret_text, 256,
            "shard '%.60s': copy %s of its database, %.1f MB, made %s s ago; it is "
            "with the server on '%.60s'",
            config->shard, PQgetvalue(r, 0, 0), strtod(PQgetvalue(r, 0, 1), NULL) / 1e6,
            PQgetvalue(r, 0, 2), PQgetvalue(r, 0, 4));
    else
        snprintf(ret_text, 256, "shard '%.80s' has no copy yet", config->shard);
    return late;
}

int carry_try_copy(const struct config_postgresql *config, char ret_text[256],
                   struct error *error)
{
    const struct carry_stop stop = {.wake = -1};
    struct carrier c;
    PG_RESULT r = NULL;
    int err = begin(&c, config, &stop, error);
    if (!err)
        err = run(&c,
                  "SELECT seq, coalesce(pages * page_size, 0),"
                  " coalesce(round(extract(epoch FROM now() - copied)), 0),"
                  " round(extract(epoch FROM now() - claimed)), host,"
                  " coalesce(copied < claimed, true) FROM ",
                  " WHERE shard = $1", &PG_TEXT(config->shard), 1, &r, error);
    err = is_missing(&c, err) ? 0 : err;
    pg_close(&c.pg);
    return err ? err : tell_copy(config, r, ret_text);
}
