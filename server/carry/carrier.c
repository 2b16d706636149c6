/* SPDX-License-Identifier: Apache-2.0
 *
 * PostgreSQL as a target (target/kind.h).
 */
#include "base/clock.h"
#include "base/logger.h"
#include "carry/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- One table ---------------------------------------------------------------------------------- */

static int carry_changes(struct carrier *c, struct carried *k, struct error *error)
{
    struct carry_piece p;
    int err = rows_changes(c, k, &p, error);
    if (err == 1) {
        k->base.look = false;
        target_settle(&k->base, p.watermark_us);
        return 0;
    }
    if (!err)
        err = far_put(c, k, &p, error);
    if (err == -EINVAL && p.plain && !strcmp(c->pg.state, "23505")) {
        k->staged_until = p.last; /* some are there already */
        return 0;
    }
    if (err)
        return err;
    k->base.place.position = p.last;
    k->base.look = !p.all;
    k->base.dirty = true;
    target_settle(&k->base, p.watermark_us);
    metric_add(&k->base.count.put, c->rows.rows);
    metric_add(&k->base.count.deleted, c->gone.rows);
    return 0;
}

static int carry_all(struct carrier *c, struct carried *k, struct error *error)
{
    struct carry_piece p;
    int err = rows_fill(c, k, &p, error);
    if (!err && k->partitioned)
        err = partitions_make(c, k, error);
    if (err >= 0)
        err = far_fill(c, k, &p, error);
    if (err)
        return err;
    metric_add(&k->base.count.put, c->rows.rows);
    if (p.all) {
        k->base.place.position = k->fill_last;
        k->staged_until = k->base.last; /* what came meanwhile was read, too, or not */
        k->base.stage = TARGET_CHANGES;
        k->base.dirty = true;
        rows_restart(k);
        logger_info("carry", "table '%s': all of its rows are in PostgreSQL",
                    k->base.table->name);
    }
    return 0;
}

static int carry(struct carrier *c, struct carried *k, struct error *error)
{
    switch (k->base.stage) {
    case TARGET_TAKE:
        return far_take(c, k, error);
    case TARGET_FILL:
        return carry_all(c, k, error);
    case TARGET_CHANGES:
        return carry_changes(c, k, error);
    case TARGET_OVER:
        break;
    }
    return 0;
}

/* Was a partition for a row missing (check_violation)? It is made, and the piece is read again. */
static int mend(struct carrier *c, struct carried *k, int err, struct error *error)
{
    struct error why = *error;
    char state[sizeof(c->pg.state)];
    if (err != -EINVAL || !k->partitioned || k->base.stage != TARGET_CHANGES ||
        strcmp(c->pg.state, "23514"))
        return err;
    memcpy(state, c->pg.state, sizeof(state));
    int r = partitions_make(c, k, error);
    if (r || !k->mended) { /* another server may have made it */
        k->mended = true;
        return r < 0 ? r : 0;
    }
    memcpy(c->pg.state, state, sizeof(state));
    *error = why;
    return err;
}

/* Whatever has failed, the table is asked for its place anew. */
static int step(struct target *t, struct target_table *table, struct error *error)
{
    struct carrier *c = (struct carrier *)t;
    struct carried *k = (struct carried *)table;
    const bool takes = table->stage == TARGET_TAKE;
    int err = carry(c, k, error);
    if (err)
        err = mend(c, k, err, error);
    else
        k->mended = false;
    if (!err)
        return 0;
    table->stage = TARGET_TAKE;
    rows_restart(k);
    if (takes && err == -EINVAL && !strcmp(c->pg.state, "42P01")) /* a table is gone */
        pg_close(&c->pg); /* who connects makes it */
    return err;
}

static bool is_lost(const struct target *t, int err)
{
    (void)err;
    return !((const struct carrier *)t)->pg.c;
}

/* What others have put there may name hosts and users, too. */
static const char *shown_text(int err, const struct error *error)
{
    switch (err) {
    case -EBADF:
    case -EPROTO:
        return error->text;
    case -EPERM:
        return "in PostgreSQL it is carried from another database";
    case -EEXIST:
        return "another server has taken its place";
    case -ECONNREFUSED:
        return "PostgreSQL cannot be reached, or refuses the connection";
    case -ETIMEDOUT:
        return "no answer within 'timeout'";
    case -ECONNRESET:
        return "the connection was lost";
    default:
        return "the log says why";
    }
}

static void tell(const struct target *t, int err, const struct error *error,
                 char ret[256])
{
    const char *state = ((const struct carrier *)t)->pg.state;
    if (err == -EINVAL && state[0])
        snprintf(ret, 256, "PostgreSQL refuses it: SQLSTATE %s", state);
    else
        snprintf(ret, 256, "%.250s", shown_text(err, error));
}

/* ---- The connection ----------------------------------------------------------------------------- */

static bool is_connected(const struct target *t)
{
    return ((const struct carrier *)t)->pg.c != NULL;
}

static void disconnect(struct target *t)
{
    copies_let_go((struct carrier *)t);
    pg_close(&((struct carrier *)t)->pg);
}

static int connect_to(struct target *t, struct error *error)
{
    struct carrier *c = (struct carrier *)t;
    copies_let_go(c);
    int err = pg_open(&c->pg, c->config, error);
    if (!err)
        err = far_schema(c, error);
    if (!err)
        err = copies_begin(c, error);
    if (err) {
        pg_close(&c->pg);
        return err;
    }
    logger_info("carry", "results are carried to PostgreSQL at '%s', database '%s'",
                PQhost(c->pg.c) ? PQhost(c->pg.c) : "", PQdb(c->pg.c));
    c->look_us = clock_monotonic_us() + t->config->max_backoff_us;
    target_ask(t);
    for (struct target_table *k = t->set->first; k; k = k->next) {
        struct carried *own = (struct carried *)k;
        rows_restart(own);
        own->temporary = false;
        k->next_us = 0;
    }
    return 0;
}

static void listen_to_it(struct target *t)
{
    shards_listen((struct carrier *)t);
    partitions_listen((struct carrier *)t);
}

static int64_t before(struct target *t)
{
    return copies_make((struct carrier *)t);
}

static bool waits(const struct target *t, const struct target_table *k)
{
    return copies_wait((const struct carrier *)t, (const struct carried *)k);
}

/* A snapshot that has nothing more to give does not keep the WAL. */
static void idle(struct target *t, int64_t until_us)
{
    const struct target_table *k = t->set->first;
    while (k && !target_has_work(t, k))
        k = k->next;
    if (!k)
        copies_let_go((struct carrier *)t);
    pg_idle(&((struct carrier *)t)->pg, until_us);
}

/* ---- The target --------------------------------------------------------------------------------- */

/* With the connection goes what was made for the tables of before. */
static void adopted(struct target *t)
{
    struct carrier *c = (struct carrier *)t;
    c->config = t->set->config->server.postgresql;
    copies_let_go(c); /* its tables may be others */
    pg_close(&c->pg);
    c->pg.timeout_us = t->config->timeout_us;
}

static void open_carrier(struct target *t, const void *with)
{
    struct carrier *c = (struct carrier *)t;
    c->pg = (struct pg){.wake = t->wake, .stop = target_is_ending, .ctx = t};
    t->hands = !with; /* with copies rows are those of the last one */
    copies_open(c, with);
}

static void close_carrier(struct target *t)
{
    struct carrier *c = (struct carrier *)t;
    copy_free(&c->rows);
    copy_free(&c->gone);
    copies_close(c);
}

static const struct config_target *settings(const struct config *c)
{
    return c->server.postgresql ? &c->server.postgresql->target : NULL;
}

const struct target_kind carry_kind = {
    .to = CARRIED_POSTGRESQL,
    .name = "PostgreSQL",
    .done = "carried",
    .log = "carry",
    .thread = "weir-carry",
    .size = sizeof(struct carrier),
    .table_size = sizeof(struct carried),
    .away_most_us = 2 * SECOND_US, /* a standby that is promoted is found soon */
    .metric = {.rows = "weir_postgresql_rows_total",
               .rows_help = "Rows by what became of them in PostgreSQL.",
               .put = "carried",
               .deleted = "deleted",
               .refused = "refused",
               .failures = "weir_postgresql_failures_total",
               .lag = "weir_postgresql_lag_rows",
               .lag_help = "Changes of the table that are not in PostgreSQL.",
               .connected = "weir_postgresql_connected",
               .connected_help = "1: there is a connection to PostgreSQL."},
    .settings = settings,
    .check = tables_check,
    .table_new = tables_new,
    .table_free = tables_free,
    .open = open_carrier,
    .close = close_carrier,
    .adopted = adopted,
    .is_connected = is_connected,
    .connect = connect_to,
    .disconnect = disconnect,
    .listen = listen_to_it,
    .before = before,
    .waits = waits,
    .step = step,
    .is_lost = is_lost,
    .tell = tell,
    .idle = idle,
};

/* ---- weir doctor -------------------------------------------------------------------------------- */

int carry_try(const struct config_postgresql *config, char ret_text[256],
              struct error *error)
{
    struct pg pg = {.wake = -1, .timeout_us = config->target.timeout_us};
    PG_RESULT r = NULL;
    int err = pg_open(&pg, config, error);
    if (!err)
        err = pg_ask(&pg,
                     "SELECT current_database(), current_user,"
                     " current_setting('server_version'), pg_is_in_recovery(),"
                     " coalesce((SELECT has_schema_privilege(oid, 'CREATE') FROM"
                     " pg_namespace WHERE nspname = $1),"
                     " has_database_privilege(current_database(), 'CREATE'))",
                     &PG_TEXT(config->schema), 1, &r, error);
    if (!err && *PQgetvalue(r, 0, 3) == 't')
        err = error_set(error, -EROFS, "it is a standby, which takes no rows");
    else if (!err && *PQgetvalue(r, 0, 4) != 't')
        err = error_set(error, -EACCES,
                        "user '%s' may not make tables in schema '%s' of database '%s'",
                        PQgetvalue(r, 0, 1), config->schema, PQgetvalue(r, 0, 0));
    if (!err)
        snprintf(ret_text, 256, "PostgreSQL %.40s, database '%.80s', user '%.80s'",
                 PQgetvalue(r, 0, 2), PQgetvalue(r, 0, 0), PQgetvalue(r, 0, 1));
    pg_close(&pg);
    return err;
}
