/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h> /* not that of this folder */

#include "base/buffer.h"
#include "base/clock.h"
#include "node/leases.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define CHANNEL  "weir_nodes"
#define CALL_MIN (SECOND_US / 4)

/* ---- Statements --------------------------------------------------------------------------------- */

/* "%s" in the text stands for the schema, up to four times. */
static int ask(struct leases *l, const char *text, const struct pg_param *param,
               size_t n, PGresult **ret, struct error *error)
{
    struct buffer sql = {0};
    for (const char *at; (at = strstr(text, "%s")); text = at + 2) {
        buffer_put(&sql, text, (size_t)(at - text));
        buffer_puts(&sql, l->schema);
    }
    buffer_puts(&sql, text);
    int err = sql.error ? error_set(error, -ENOMEM, "out of memory")
                        : pg_ask(&l->pg, buffer_text(&sql), param, n, ret, error);
    buffer_free(&sql);
    return err;
}

static void copy_text(char *to, size_t size, const PGresult *r, int row, int column)
{
    snprintf(to, size, "%s", PQgetvalue(r, row, column));
}

/* Microseconds; INT64_MIN: NULL. */
static int64_t number(const PGresult *r, int row, int column)
{
    return PQgetisnull(r, row, column) ? INT64_MIN
                                       : strtoll(PQgetvalue(r, row, column), NULL, 10);
}
#define US(time) "(extract(epoch FROM " time ") * 1000000)::bigint"

/* ---- A run -------------------------------------------------------------------------------------- */

int leases_init(struct leases *l, const struct config *config, const char *name,
                struct error *error)
{
    uint8_t chance[(LEASES_RUN - 1) / 2];
    if (getrandom(chance, sizeof(chance), 0) != (ssize_t)sizeof(chance))
        return error_set(error, -EIO, "no random numbers: %s", strerror(errno));
    for (size_t i = 0; i < sizeof(chance); i++)
        snprintf(l->run + 2 * i, 3, "%02x", chance[i]);
    l->config = config;
    l->name = name;
    /* A call that hangs is found out, and another connection made, before the session is over. */
    l->pg.timeout_us = config->nodes.session_us / 2 > CALL_MIN
                           ? config->nodes.session_us / 2
                           : CALL_MIN;
    return 0;
}

void leases_free(struct leases *l)
{
    pg_close(&l->pg);
    free(l->schema);
    l->schema = NULL;
}

/* ---- Tables ------------------------------------------------------------------------------------- */

static int quote_schema(struct leases *l, struct error *error)
{
    const char *name = l->config->server.postgresql->schema;
    char *quoted = PQescapeIdentifier(l->pg.c, name, strlen(name));
    free(l->schema);
    l->schema = quoted ? strdup(quoted) : NULL;
    PQfreemem(quoted);
    return l->schema ? 0 : error_set(error, -ENOMEM, "out of memory");
}

static int make_tables(struct leases *l, struct error *error)
{
    static const char *const statement[] = {
        "CREATE TABLE IF NOT EXISTS %s.weir_nodes (node text COLLATE \"C\" PRIMARY KEY,"
        " run text NOT NULL, until timestamptz NOT NULL, stopping boolean NOT NULL,"
        " since timestamptz NOT NULL, address text NOT NULL, version text NOT NULL,"
        " definition text NOT NULL)",
        "CREATE TABLE IF NOT EXISTS %s.weir_leases (shard integer PRIMARY KEY,"
        " shards integer NOT NULL, partitions integer NOT NULL, node text COLLATE"
        " \"C\", run text, since timestamptz, address text)",
        "ALTER TABLE %s.weir_leases ADD COLUMN IF NOT EXISTS problem text,"
        " ADD COLUMN IF NOT EXISTS lag bigint",
        "ALTER TABLE %s.weir_nodes ADD COLUMN IF NOT EXISTS restarting boolean NOT NULL"
        " DEFAULT false"};
    PG_RESULT there = NULL;
    int err = pg_ask(&l->pg, "SELECT 1 FROM pg_namespace WHERE nspname = $1",
                     &PG_TEXT(l->config->server.postgresql->schema), 1, &there, error);
    if (!err && PQntuples(there) == 0)
        err = ask(l, "CREATE SCHEMA %s", NULL, 0, NULL, error);
    for (size_t i = 0; !err && i < sizeof(statement) / sizeof(statement[0]); i++)
        err = ask(l, statement[i], NULL, 0, NULL, error);
    return err;
}

/* Several may begin at once. */
static int make_schema(struct leases *l, struct error *error)
{
    int err = pg_run(&l->pg, "BEGIN", error);
    if (!err)
        err = pg_run(&l->pg, "SELECT pg_advisory_xact_lock(hashtext('weir'))", error);
    if (!err)
        err = make_tables(l, error);
    struct error second;
    if (err && l->pg.c)
        pg_run(&l->pg, "ROLLBACK", &second);
    return err ? err : pg_run(&l->pg, "COMMIT", error);
}

/* With the column that came last. */
static int are_there(struct leases *l, bool *ret, struct error *error)
{
    PG_RESULT r = NULL;
    int err = pg_ask(&l->pg,
                     "SELECT to_regclass($1 || '.weir_leases') IS NOT NULL AND EXISTS"
                     " (SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass($1 ||"
                     " '.weir_nodes') AND attname = 'restarting')",
                     &PG_TEXT(l->schema), 1, &r, error);
    *ret = !err && *PQgetvalue(r, 0, 0) == 't';
    return err;
}

/* A row for each shard, also where some are gone. With other numbers each would have other partitions than its database. */
static int make_rows(struct leases *l, struct error *error)
{
    const struct config_nodes *c = &l->config->nodes;
    char shards[16], partitions[16];
    PG_RESULT r = NULL;
    snprintf(shards, sizeof(shards), "%u", c->shards);
    snprintf(partitions, sizeof(partitions), "%u", c->partitions);
    const struct pg_param param[] = {PG_TEXT(shards), PG_TEXT(partitions)};
    int err =
        ask(l,
            "INSERT INTO %s.weir_leases (shard, shards, partitions) SELECT i,"
            " $1::integer, $2::integer FROM generate_series(0, $1::integer - 1) AS i"
            " WHERE NOT EXISTS (SELECT 1 FROM %s.weir_leases WHERE shards <>"
            " $1::integer OR partitions <> $2::integer) ON CONFLICT DO NOTHING",
            param, 2, NULL, error);
    if (!err)
        err = ask(l,
                  "SELECT max(shards), max(partitions) FROM %s.weir_leases HAVING"
                  " count(*) <> $1::integer OR min(shards) <> $1::integer OR"
                  " max(partitions) <> $2::integer",
                  param, 2, &r, error);
    if (err || PQntuples(r) == 0)
        return err;
    return error_set(error, -EBADF,
                     "in schema '%s' of PostgreSQL %s partitions are dealt out to %s "
                     "shards, here %u to %u: each shard has what it has read; another "
                     "'schema', and topics that are read anew, for other numbers",
                     c->node ? l->config->server.postgresql->schema : "",
                     PQgetvalue(r, 0, 1), PQgetvalue(r, 0, 0), c->partitions,
                     c->shards);
}

int leases_open(struct leases *l, struct error *error)
{
    bool there = false;
    int err = pg_open(&l->pg, l->config->server.postgresql, error);
    if (!err)
        err = quote_schema(l, error);
    if (!err)
        err = are_there(l, &there, error);
    if (!err && !there)
        err = make_schema(l, error);
    if (!err)
        err = make_rows(l, error);
    if (!err)
        err = pg_run(&l->pg, "LISTEN " CHANNEL, error);
    if (err)
        pg_close(&l->pg);
    return err;
}

int leases_open_to_look(struct leases *l, struct error *error)
{
    bool there = false;
    int err = pg_open(&l->pg, l->config->server.postgresql, error);
    if (!err)
        err = pg_run(&l->pg, "SET default_transaction_read_only = on", error);
    if (!err)
        err = quote_schema(l, error);
    if (!err)
        err = are_there(l, &there, error);
    if (!err && !there)
        err =
            error_set(error, -ENOENT,
                      "in schema '%s' of PostgreSQL there are no tables of nodes: none "
                      "has run yet",
                      l->config->server.postgresql->schema);
    if (err)
        pg_close(&l->pg);
    return err;
}

/* ---- The node ----------------------------------------------------------------------------------- */

static const char *put_us(int64_t us, char text[24])
{
    snprintf(text, 24, "%" PRId64, us);
    return text;
}

int leases_register(struct leases *l, struct error *error)
{
    char session[24];
    const struct pg_param param[] = {
        PG_TEXT(l->name),
        PG_TEXT(l->run),
        PG_TEXT(put_us(l->config->nodes.session_us, session)),
        PG_TEXT(l->address),
        PG_TEXT(PACKAGE_VERSION),
        PG_TEXT(l->definition)};
    int err = ask(l,
                  "DELETE FROM %s.weir_nodes AS n WHERE until < clock_timestamp() -"
                  " interval '1 day' AND NOT EXISTS (SELECT 1 FROM %s.weir_leases AS l"
                  " WHERE l.node = n.node)",
                  NULL, 0, NULL, error);
    return err ? err
               : ask(l,
                     "WITH me AS (INSERT INTO %s.weir_nodes (node, run, until,"
                     " stopping, since, address, version, definition) VALUES ($1, $2,"
                     " clock_timestamp() + $3::bigint * interval '1 microsecond',"
                     " false, clock_timestamp(), $4, $5, $6) ON CONFLICT (node) DO"
                     " UPDATE SET run = excluded.run, until = excluded.until,"
                     " stopping = false, restarting = false, since = excluded.since, "
                     "address ="
                     " excluded.address, version = excluded.version, definition ="
                     " excluded.definition RETURNING node) UPDATE %s.weir_leases AS l"
                     " SET run = $2, address = NULL, problem = NULL, lag = NULL FROM "
                     "me WHERE l.node = me.node",
                     param, 6, NULL, error);
}

/* For `us` from now on. */
static int renew(struct leases *l, int64_t us, bool stops, bool restarts,
                 struct error *error)
{
    char text[24];
    PG_RESULT r = NULL;
    PG_RESULT now = NULL;
    const struct pg_param param[] = {PG_TEXT(l->name),
                                     PG_TEXT(l->run),
                                     PG_TEXT(put_us(us, text)),
                                     PG_TEXT(stops ? "t" : "f"),
                                     PG_TEXT(restarts ? "t" : "f"),
                                     PG_TEXT(l->definition)};
    int err = ask(l,
                  "UPDATE %s.weir_nodes SET until = clock_timestamp() + $3::bigint *"
                  " interval '1 microsecond', stopping = $4::boolean, restarting ="
                  " $5::boolean, definition = $6 WHERE node = $1 AND run = $2",
                  param, 6, &r, error);
    if (err || !strcmp(PQcmdTuples(r), "1"))
        return err;
    err = ask(l, "SELECT 1 FROM %s.weir_nodes WHERE node = $1", param, 1, &now, error);
    if (err)
        return err;
    return PQntuples(now) ? error_set(error, -ESTALE, "another one has its name")
                          : error_set(error, -ENOENT, "its row is gone");
}

int leases_renew(struct leases *l, bool stops, struct error *error)
{
    return renew(l, l->config->nodes.session_us, stops, false, error);
}

int leases_keep(struct leases *l, struct error *error)
{
    int err = renew(l, l->config->nodes.restart_us, false, true, error);
    return err ? err : leases_tell(l, error);
}

int leases_leave(struct leases *l, struct error *error)
{
    const struct pg_param param[] = {PG_TEXT(l->name), PG_TEXT(l->run)};
    int err = ask(l,
                  "WITH gone AS (DELETE FROM %s.weir_nodes WHERE node = $1 AND run = $2"
                  " RETURNING node) UPDATE %s.weir_leases AS l SET node = NULL, run ="
                  " NULL, address = NULL, problem = NULL, lag = NULL FROM gone WHERE "
                  "l.node = gone.node",
                  param, 2, NULL, error);
    return err ? err : leases_tell(l, error);
}

int leases_tell(struct leases *l, struct error *error)
{
    return pg_run(&l->pg, "NOTIFY " CHANNEL, error);
}

bool leases_told(struct leases *l)
{
    bool told = false;
    PGnotify *n;
    while (l->pg.c && (n = PQnotifies(l->pg.c))) {
        told = told || n->be_pid != PQbackendPID(l->pg.c);
        PQfreemem(n);
    }
    return told;
}

/* ---- Shards ------------------------------------------------------------------------------------- */

/* {"a",NULL} */
static void put_item(struct buffer *to, size_t i, const char *text)
{
    buffer_putc(to, i ? ',' : '{');
    if (!*text) {
        buffer_puts(to, "NULL");
        return;
    }
    buffer_putc(to, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            buffer_putc(to, '\\');
        buffer_putc(to, *text);
    }
    buffer_putc(to, '"');
}

int leases_take(struct leases *l, const struct leases_view *view, const size_t *shard,
                size_t n, size_t *ret_n, struct error *error)
{
    struct buffer shards = {0}, nodes = {0}, runs = {0};
    PG_RESULT r = NULL;
    for (size_t i = 0; i < n; i++) {
        buffer_printf(&shards, "%c%zu", i ? ',' : '{', shard[i]);
        put_item(&nodes, i, view->shard[shard[i]].node);
        put_item(&runs, i, view->shard[shard[i]].run);
    }
    buffer_putc(&shards, '}');
    buffer_putc(&nodes, '}');
    buffer_putc(&runs, '}');
    const struct pg_param param[] = {
        PG_TEXT(l->name), PG_TEXT(l->run), PG_TEXT(buffer_text(&shards)),
        PG_TEXT(buffer_text(&nodes)), PG_TEXT(buffer_text(&runs))};
    /* Who has changed since is not looked for: a row that another one has taken meanwhile does not fit any more. */
    int err =
        shards.error || nodes.error || runs.error
            ? error_set(error, -ENOMEM, "out of memory")
            : ask(l,
                  "UPDATE %s.weir_leases AS l SET node = $1, run = $2, since ="
                  " clock_timestamp(), address = NULL, problem = NULL, lag = NULL FROM "
                  "unnest($3::integer[],"
                  " $4::text[], $5::text[]) AS w(shard, node, run) WHERE l.shard ="
                  " w.shard AND l.node IS NOT DISTINCT FROM w.node AND l.run IS NOT"
                  " DISTINCT FROM w.run AND NOT EXISTS (SELECT 1 FROM %s.weir_nodes AS "
                  "n"
                  " WHERE n.node = l.node AND n.run = l.run AND n.until >"
                  " clock_timestamp()) AND EXISTS (SELECT 1 FROM %s.weir_nodes AS n"
                  " WHERE n.node = $1 AND n.run = $2 AND n.until > clock_timestamp())",
                  param, 5, &r, error);
    buffer_free(&shards);
    buffer_free(&nodes);
    buffer_free(&runs);
    if (!err)
        *ret_n = strtoul(PQcmdTuples(r), NULL, 10);
    return err;
}

int leases_give_back(struct leases *l, unsigned shard, struct error *error)
{
    char number[16];
    snprintf(number, sizeof(number), "%u", shard);
    const struct pg_param param[] = {PG_TEXT(l->name), PG_TEXT(l->run),
                                     PG_TEXT(number)};
    return ask(l,
               "UPDATE %s.weir_leases SET node = NULL, run = NULL, address = NULL, "
               "problem = NULL, lag = NULL WHERE"
               " shard = $3::integer AND node = $1 AND run = $2",
               param, 3, NULL, error);
}

int leases_note(struct leases *l, const struct leases_news *news, size_t n,
                struct error *error)
{
    struct buffer list[4] = {{0}};
    for (size_t i = 0; i < n; i++) {
        buffer_printf(&list[0], "%c%u", i ? ',' : '{', news[i].shard);
        put_item(&list[1], i, news[i].address);
        put_item(&list[2], i, news[i].problem);
        buffer_printf(&list[3], news[i].lag < 0 ? "%cNULL" : "%c%" PRId64,
                      i ? ',' : '{', news[i].lag);
    }
    struct pg_param param[6] = {PG_TEXT(l->name), PG_TEXT(l->run)};
    bool failed = false;
    for (size_t i = 0; i < 4; i++) {
        buffer_putc(&list[i], '}');
        param[2 + i] = PG_TEXT(buffer_text(&list[i]));
        failed = failed || list[i].error;
    }
    int err = failed ? error_set(error, -ENOMEM, "out of memory")
                     : ask(l,
                           "UPDATE %s.weir_leases AS l SET address = w.address, problem"
                           " = w.problem, lag = w.lag FROM unnest($3::integer[],"
                           " $4::text[], $5::text[], $6::bigint[]) AS w(shard, address,"
                           " problem, lag) WHERE l.shard = w.shard AND l.node = $1 AND"
                           " l.run = $2",
                           param, 6, NULL, error);
    for (size_t i = 0; i < 4; i++)
        buffer_free(&list[i]);
    return err;
}

/* ---- All of it ---------------------------------------------------------------------------------- */

static int look_at_shards(struct leases *l, struct leases_view *v, bool *ret_copies,
                          struct error *error)
{
    PG_RESULT r = NULL;
    struct buffer copies = {0};
    buffer_printf(&copies, "%s.weir_copies", l->schema);
    int err = copies.error
                  ? error_set(error, -ENOMEM, "out of memory")
                  : ask(l,
                        "SELECT shard, node, run, " US(
                            "since") ", address,"
                                     " to_regclass($1) IS NOT NULL, " US(
                                         "clock_timestamp()") ", problem, lag FROM "
                                                              "%s.weir_leases "
                                                              "ORDER BY shard",
                        &PG_TEXT(buffer_text(&copies)), 1, &r, error);
    buffer_free(&copies);
    if (!err && PQntuples(r) != (int)v->n_shards)
        err = error_set(error, -EBADMSG, "weir_leases has %d rows, not %u",
                        PQntuples(r), v->n_shards);
    for (int i = 0; !err && i < PQntuples(r); i++) {
        struct leases_shard *s = &v->shard[i];
        copy_text(s->node, sizeof(s->node), r, i, 1);
        copy_text(s->run, sizeof(s->run), r, i, 2);
        s->since_us = number(r, i, 3);
        s->news.shard = (unsigned)i;
        copy_text(s->news.address, sizeof(s->news.address), r, i, 4);
        copy_text(s->news.problem, sizeof(s->news.problem), r, i, 7);
        s->news.lag = PQgetisnull(r, i, 8) ? -1 : number(r, i, 8);
        s->copied_us = INT64_MIN;
        *ret_copies = *PQgetvalue(r, i, 5) == 't';
        v->now_us = number(r, i, 6);
    }
    return err;
}

/* The servers' own table (carry/copies.c), for people: what cannot be read holds up nobody. */
static int look_at_copies(struct leases *l, struct leases_view *v, struct error *error)
{
    static const char sql[] = "SELECT c.shard, c.epoch, " US(
        "c.copied") " FROM %s.weir_copies AS c"
                    " WHERE c.shard IN (SELECT shard::text FROM %s.weir_leases)";
    PG_RESULT r = NULL;
    int err = ask(l, sql, NULL, 0, &r, error);
    if (err == -EINVAL)
        return 0;
    for (int i = 0; !err && i < PQntuples(r); i++) {
        const unsigned long shard = strtoul(PQgetvalue(r, i, 0), NULL, 10);
        if (shard >= v->n_shards)
            continue;
        copy_text(v->shard[shard].epoch, sizeof(v->shard[shard].epoch), r, i, 1);
        v->shard[shard].copied_us = number(r, i, 2);
    }
    return err;
}

static int look_at_nodes(struct leases *l, struct leases_view *v, struct error *error)
{
    PG_RESULT r = NULL;
    char most[16];
    snprintf(most, sizeof(most), "%d", LEASES_NODES_MAX);
    int err =
        ask(l,
            "SELECT node, run, until > clock_timestamp(), stopping, " US(
                "until - "
                "clock_timestamp("
                ")") ", " US("until") ", " US("since") ", address, version, "
                                                       "definition, restarting "
                                                       "FROM (SELECT * "
                                                       "FROM %s.weir_nodes"
                                                       " ORDER BY until DESC LIMIT "
                                                       "$1::integer) AS n "
                                                       "ORDER BY node",
            &PG_TEXT(most), 1, &r, error);
    if (err)
        return err;
    v->node = calloc((size_t)PQntuples(r) + 1, sizeof(*v->node));
    if (!v->node)
        return error_set(error, -ENOMEM, "out of memory");
    v->n_nodes = (size_t)PQntuples(r);
    for (int i = 0; i < PQntuples(r); i++) {
        struct leases_node *n = &v->node[i];
        copy_text(n->name, sizeof(n->name), r, i, 0);
        copy_text(n->run, sizeof(n->run), r, i, 1);
        n->lives = *PQgetvalue(r, i, 2) == 't';
        n->stops = *PQgetvalue(r, i, 3) == 't';
        n->left_us = number(r, i, 4);
        n->until_us = number(r, i, 5);
        n->since_us = number(r, i, 6);
        copy_text(n->address, sizeof(n->address), r, i, 7);
        copy_text(n->version, sizeof(n->version), r, i, 8);
        copy_text(n->definition, sizeof(n->definition), r, i, 9);
        n->restarts = *PQgetvalue(r, i, 10) == 't';
    }
    return 0;
}

int leases_look(struct leases *l, struct leases_view *ret, struct error *error)
{
    struct leases_view v = {.n_shards = l->config->nodes.shards};
    bool copies = false;
    v.shard = calloc(v.n_shards, sizeof(*v.shard));
    int err = v.shard ? look_at_shards(l, &v, &copies, error)
                      : error_set(error, -ENOMEM, "out of memory");
    if (!err && copies)
        err = look_at_copies(l, &v, error);
    if (!err)
        err = look_at_nodes(l, &v, error);
    if (err)
        leases_view_free(&v);
    else
        *ret = v;
    return err;
}

const char *leases_state(const struct leases_node *n)
{
    return !n->lives ? "over" : n->stops ? "stops" : n->restarts ? "restarts" : "lives";
}

const char *leases_shard_state(const struct leases_view *v, unsigned shard)
{
    const struct leases_shard *s = &v->shard[shard];
    const struct leases_node *n = NULL;
    for (size_t i = 0; !n && i < v->n_nodes; i++)
        if (!strcmp(v->node[i].name, s->node) && !strcmp(v->node[i].run, s->run))
            n = &v->node[i];
    if (!*s->node)
        return "free";
    if (!n || !n->lives)
        return "over";
    if (n->restarts)
        return "restarts";
    return !*s->news.address || s->news.lag < 0 ? "starts"
           : *s->news.problem                   ? "not_ready"
                                                : "ready";
}

void leases_view_free(struct leases_view *v)
{
    free(v->node);
    free(v->shard);
    *v = (struct leases_view){0};
}
