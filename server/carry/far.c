/* SPDX-License-Identifier: Apache-2.0
 *
 * In PostgreSQL: the tables, whose they are, and transactions of rows.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/logger.h"
#include "batch/schema.h"
#include "carry/internal.h"
#include "carry/types.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void far_quote(struct buffer *to, const char *text, char quote)
{
    buffer_putc(to, quote);
    for (; *text; text++) {
        if (*text == quote)
            buffer_putc(to, quote);
        buffer_putc(to, *text);
    }
    buffer_putc(to, quote);
}

#define put_name(to, text) far_quote(to, text, '"')
#define put_text(to, text) far_quote(to, text, '\'') /* standard_conforming_strings */

static const struct table_column *shown(const struct table *t, size_t i)
{
    return &t->column[table_shown(t, i)];
}

/* "a", "b": the key, or all columns, as rows are sent; `with` stands before each. */
static void put_columns(struct buffer *to, const struct carried *k, bool key,
                        const char *with)
{
    const struct table *t = k->base.table;
    for (size_t i = 0, n = 0; i < t->n_columns; i++) {
        if (key && table_shown(t, i) >= t->n_primary)
            continue;
        buffer_puts(to, n++ ? ", " : "");
        buffer_puts(to, with);
        put_name(to, shown(t, i)->name);
    }
    if (k->shard)
        buffer_printf(to, ", %s" CARRY_SHARD, with);
}

/* Who carries which table: where there are shards each has a row of its own. */
void far_put_positions(struct buffer *to, const struct carrier *c)
{
    put_name(to, c->config->schema);
    buffer_puts(to, c->config->shard ? ".weir_shards" : ".weir_positions");
}

/* The row that is ours; $1 is the table's name. */
static void put_position(struct buffer *to, const struct carried *k, const char *with)
{
    buffer_printf(to, "%stable_name = $1", with);
    if (!k->shard)
        return;
    buffer_printf(to, " AND %sshard = ", with);
    put_text(to, k->shard);
}

/* The names of the temporary tables of a table: its rows, and keys of rows that are gone. */
static void put_temporary(struct buffer *to, const char *what, const struct carried *k)
{
    buffer_printf(to, "pg_temp.weir_%s_%" PRIxPTR, what, (uintptr_t)k);
}

int far_run(struct carrier *c, struct buffer *sql, const struct pg_param *param,
            size_t n, PGresult **ret, struct error *error)
{
    int err = sql->error ? error_set(error, -ENOMEM, "out of memory")
                         : pg_ask(&c->pg, buffer_text(sql), param, n, ret, error);
    buffer_free(sql);
    return err;
}

/* Begins with BEGIN. What has failed in it is undone. */
int far_finish(struct carrier *c, int err, struct error *error)
{
    if (!err)
        return pg_run(&c->pg, "COMMIT", error);
    if (c->pg.c) {
        char state[sizeof(c->pg.state)];
        struct error second;
        memcpy(state, c->pg.state, sizeof(state));
        pg_run(&c->pg, "ROLLBACK", &second);
        memcpy(c->pg.state, state, sizeof(state));
    }
    return err;
}

/* ---- The schema --------------------------------------------------------------------------------- */

/* Of a table that an earlier version made. Asked first, as ALTER TABLE waits for all others. */
static int add_place_column(struct carrier *c, const char *table, const char *column,
                            const char *type, struct error *error)
{
    struct buffer name = {0}, sql = {0};
    PG_RESULT there = NULL;
    put_name(&name, c->config->schema);
    buffer_printf(&name, ".%s", table);
    buffer_puts(&sql, "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass($1) AND"
                      " attname = $2 AND NOT attisdropped");
    const struct pg_param param[] = {PG_TEXT(buffer_text(&name)), PG_TEXT(column)};
    int err = name.error ? error_set(error, -ENOMEM, "out of memory")
                         : far_run(c, &sql, param, 2, &there, error);
    if (!err && PQntuples(there) == 0) {
        buffer_printf(&sql, "ALTER TABLE %s ADD COLUMN %s %s", buffer_text(&name),
                      column, type);
        err = far_run(c, &sql, NULL, 0, NULL, error);
    }
    buffer_free(&name);
    buffer_free(&sql);
    return err;
}

static int add_place_columns(struct carrier *c, struct error *error)
{
    int err = add_place_column(c, "weir_positions", "taken_from", "text", error);
    if (!err)
        err = add_place_column(c, "weir_positions", "epoch", FAR_EPOCH, error);
    if (!err && c->config->shard)
        err = add_place_column(c, "weir_shards", "epoch", FAR_EPOCH, error);
    return err;
}

/* Of shards: also who has which partitions. `wanted` differs from `definition` while a server waits for others. */
static int make_places(struct carrier *c, bool shards, struct error *error)
{
    struct buffer sql = {0};
    buffer_puts(&sql, "CREATE TABLE IF NOT EXISTS ");
    put_name(&sql, c->config->schema);
    buffer_printf(
        &sql,
        ".%s (table_name text, %spipeline text NOT NULL,"
        " database text NOT NULL, writer text NOT NULL, since bigint NOT NULL,"
        " seq bigint, watermark timestamptz, changed timestamptz NOT NULL,"
        " host text NOT NULL, pid integer NOT NULL, backend integer NOT NULL,"
        " backend_start timestamptz NOT NULL, taken_from text,"
        " epoch " FAR_EPOCH ", PRIMARY KEY (table_name%s))",
        shards ? "weir_shards" : "weir_positions",
        shards ? "shard text, partitions text[], definition text, wanted text, " : "",
        shards ? ", shard" : "");
    return far_run(c, &sql, NULL, 0, NULL, error);
}

static int make_schema(struct carrier *c, struct error *error)
{
    const char *schema = c->config->schema;
    struct buffer sql = {0};
    PG_RESULT there = NULL;
    int err = pg_ask(&c->pg, "SELECT 1 FROM pg_namespace WHERE nspname = $1",
                     &PG_TEXT(schema), 1, &there, error);
    if (!err && PQntuples(there) == 0) {
        buffer_puts(&sql, "CREATE SCHEMA ");
        put_name(&sql, schema);
        err = far_run(c, &sql, NULL, 0, NULL, error);
    }
    if (err)
        return err;
    err = make_places(c, false, error);
    if (!err && c->config->copy_us)
        err = copies_schema(c, error);
    if (!err && c->config->shard)
        err = make_places(c, true, error);
    return err ? err : add_place_columns(c, error);
}

/* Two servers may begin at once. */
int far_schema(struct carrier *c, struct error *error)
{
    int err = pg_run(&c->pg, "BEGIN", error);
    if (!err)
        err = pg_run(&c->pg, "SELECT pg_advisory_xact_lock(hashtext('weir'))", error);
    if (!err)
        err = make_schema(c, error);
    return far_finish(c, err, error);
}

/* ---- A table ------------------------------------------------------------------------------------ */

static void put_type(struct buffer *to, const struct table *t, size_t i)
{
    const struct table_column *column = shown(t, i);
    const size_t place = table_shown(t, i);
    put_name(to, column->name);
    buffer_printf(to, " %s", type_there[column->type].name);
    if (column->type == WEIR_STRING && place < t->n_primary)
        buffer_puts(to, " COLLATE \"C\""); /* compares as ours does */
    if (place < t->n_primary)
        buffer_puts(to, " NOT NULL");
    else if (t->revision && place == t->revision)
        buffer_puts(to, " NOT NULL DEFAULT 0");
}

/* Rows that somebody has deleted with the table, or a column of it: all servers that had put some carry all of theirs, and one that is
 * about to put more finds that it is not where it was. */
static int forget_places(struct carrier *c, const struct carried *k,
                         struct error *error)
{
    struct buffer sql = {0};
    buffer_puts(&sql, "UPDATE ");
    far_put_positions(&sql, c);
    buffer_puts(&sql, " SET seq = NULL, writer = '' WHERE table_name = $1");
    return far_run(c, &sql, &PG_TEXT(k->base.table->name), 1, NULL, error);
}

static int make_table(struct carrier *c, struct carried *k, struct error *error)
{
    const struct table *t = k->base.table;
    struct buffer sql = {0};
    buffer_printf(&sql, "CREATE TABLE %s (", k->name);
    for (size_t i = 0; i < t->n_columns; i++) {
        put_type(&sql, t, i);
        buffer_puts(&sql, ", ");
    }
    if (k->shard)
        buffer_puts(&sql, CARRY_SHARD " text COLLATE \"C\" NOT NULL, ");
    buffer_puts(&sql, "PRIMARY KEY (");
    put_columns(&sql, k, true, "");
    buffer_puts(&sql, "))");
    if (partitions_want(c, k)) {
        buffer_puts(&sql, " PARTITION BY RANGE (");
        put_name(&sql, t->column[0].name);
        buffer_putc(&sql, ')');
    }
    int err = far_run(c, &sql, NULL, 0, NULL, error);
    if (err)
        return err;
    k->partitioned = partitions_want(c, k);
    buffer_printf(&sql, "COMMENT ON TABLE %s IS ", k->name);
    struct buffer text = {0};
    buffer_printf(&text, "results of the pipeline '%s' of weir", t->pipeline);
    put_text(&sql, buffer_text(&text));
    buffer_free(&text);
    err = far_run(c, &sql, NULL, 0, NULL, error);
    return err ? err : forget_places(c, k, error);
}

static int comment(struct carrier *c, const struct carried *k, size_t i,
                   struct error *error)
{
    const struct table_column *column = shown(k->base.table, i);
    struct buffer sql = {0};
    if (!column->help || !*column->help)
        return 0;
    buffer_printf(&sql, "COMMENT ON COLUMN %s.", k->name);
    put_name(&sql, column->name);
    buffer_puts(&sql, " IS ");
    struct buffer text = {0};
    const char *unit =
        column->type == WEIR_TIME ? strstr(column->help, ", microsec") : NULL;
    if (unit) /* there it has none */
        buffer_put(&text, column->help, (size_t)(unit - column->help));
    else
        buffer_puts(&text, column->help);
    put_text(&sql, buffer_text(&text));
    buffer_free(&text);
    return far_run(c, &sql, NULL, 0, NULL, error);
}

/* One that had been there was dropped since, and what rows had in it. */
static int add_column(struct carrier *c, const struct carried *k, size_t i,
                      struct error *error)
{
    struct buffer sql = {0};
    buffer_printf(&sql, "ALTER TABLE %s ADD COLUMN ", k->name);
    put_type(&sql, k->base.table, i);
    int err = far_run(c, &sql, NULL, 0, NULL, error);
    if (!err && k->fitted)
        err = forget_places(c, k, error);
    return err ? err : comment(c, k, i, error);
}

#define ADVICE                                                                         \
    "; rename or drop the table there, and its rows of weir_positions and "            \
    "weir_shards, and it is made anew"

static int check_column(struct carrier *c, const struct carried *k, size_t i,
                        const PGresult *there, struct error *error)
{
    const struct table_column *column = shown(k->base.table, i);
    const bool key = table_shown(k->base.table, i) < k->base.table->n_primary;
    int r = 0;
    while (r < PQntuples(there) && strcmp(PQgetvalue(there, r, 0), column->name))
        r++;
    if (r == PQntuples(there) && !key)
        return add_column(c, k, i, error);
    if (r == PQntuples(there) || (*PQgetvalue(there, r, 2) == 't') != key)
        return error_set(
            error, -EBADF,
            "its primary key is another one in PostgreSQL (column '%s')" ADVICE,
            column->name);
    const char *type = PQgetvalue(there, r, 1);
    return strcmp(type, type_there[column->type].name) == 0
               ? 0
               : error_set(error, -EBADF,
                           "column '%s' is of type %s in PostgreSQL, here of %s" ADVICE,
                           column->name, type, type_there[column->type].name);
}

/* That of rows of several servers. */
static int check_shard(const struct carried *k, const PGresult *there,
                       struct error *error)
{
    for (int r = 0; k->shard && r < PQntuples(there); r++)
        if (!strcmp(PQgetvalue(there, r, 0), CARRY_SHARD) &&
            !strcmp(PQgetvalue(there, r, 1), "text") && *PQgetvalue(there, r, 2) == 't')
            return 0;
    return !k->shard ? 0
                     : error_set(error, -EBADF,
                                 "its primary key has no column '" CARRY_SHARD
                                 "' of type text in PostgreSQL: its rows are those of "
                                 "one server, without 'shard'" ADVICE);
}

/* What others have put there: columns that are given no value may not want one. */
static int check_others(const struct carried *k, const PGresult *there,
                        struct error *error)
{
    const struct table *t = k->base.table;
    for (int r = 0; r < PQntuples(there); r++) {
        size_t i = 0;
        while (i < t->n_columns && strcmp(PQgetvalue(there, r, 0), t->column[i].name))
            i++;
        if (i < t->n_columns ||
            (k->shard && !strcmp(PQgetvalue(there, r, 0), CARRY_SHARD)))
            continue;
        if (*PQgetvalue(there, r, 2) == 't' || *PQgetvalue(there, r, 3) == 't')
            return error_set(error, -EBADF,
                             "column '%s' is in PostgreSQL only, and no row may be "
                             "without it" ADVICE,
                             PQgetvalue(there, r, 0));
    }
    return 0;
}

/* Makes it, or sees that it fits: -EBADF. Columns that have come are added. */
static int ensure_table(struct carrier *c, struct carried *k, struct error *error)
{
    PG_RESULT there = NULL;
    int err = pg_ask(
        &c->pg,
        "SELECT a.attname, format_type(a.atttypid, NULL),"
        " coalesce(a.attnum = ANY(i.indkey), false),"
        " a.attnotnull AND NOT a.atthasdef AND a.attidentity = '',"
        " (SELECT relkind FROM pg_class WHERE oid = a.attrelid)"
        " FROM pg_attribute a LEFT JOIN pg_index i"
        " ON i.indrelid = a.attrelid AND i.indisprimary"
        " WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped",
        &PG_TEXT(k->name), 1, &there, error);
    if (err)
        return err;
    const size_t n = k->base.table->n_columns;
    if (PQntuples(there) == 0) {
        err = make_table(c, k, error);
        for (size_t i = 0; !err && i < n; i++)
            err = comment(c, k, i, error);
        return err;
    }
    const char kind = *PQgetvalue(there, 0, 4);
    if (kind != 'r' && kind != 'p')
        return error_set(error, -EBADF, "in PostgreSQL it is no table" ADVICE);
    k->partitioned = kind == 'p' && partitions_want(c, k);
    for (size_t i = 0; !err && i < n; i++)
        err = check_column(c, k, i, there, error);
    if (!err)
        err = check_shard(k, there, error);
    return err ? err : check_others(k, there, error);
}

/* ---- Whose it is -------------------------------------------------------------------------------- */

struct owner {
    bool there;
    char writer[CARRIED_ID], database[CARRIED_ID];
    char
        from[CARRIED_ID]; /* the writer has written nothing yet; before, this one has */
    int64_t since_us, seq; /* -1: being filled */
    int64_t epoch;         /* how often it was taken */
    char host[128];
};

static int ask_owner(struct carrier *c, const struct carried *k, const char *lock,
                     struct owner *ret, struct error *error)
{
    struct buffer sql = {0};
    PG_RESULT r = NULL;
    buffer_puts(&sql, "SELECT writer, database, since, coalesce(seq, -1), host,"
                      " coalesce(taken_from, ''), epoch FROM ");
    far_put_positions(&sql, c);
    buffer_puts(&sql, " WHERE ");
    put_position(&sql, k, "");
    buffer_printf(&sql, " %s", lock);
    int err = far_run(c, &sql, &PG_TEXT(k->base.table->name), 1, &r, error);
    *ret = (struct owner){.there = !err && PQntuples(r) > 0};
    if (err || !ret->there)
        return err;
    snprintf(ret->writer, sizeof(ret->writer), "%s", PQgetvalue(r, 0, 0));
    snprintf(ret->database, sizeof(ret->database), "%s", PQgetvalue(r, 0, 1));
    ret->since_us = strtoll(PQgetvalue(r, 0, 2), NULL, 10);
    ret->seq = strtoll(PQgetvalue(r, 0, 3), NULL, 10);
    snprintf(ret->host, sizeof(ret->host), "%s", PQgetvalue(r, 0, 4));
    snprintf(ret->from, sizeof(ret->from), "%s", PQgetvalue(r, 0, 5));
    ret->epoch = strtoll(PQgetvalue(r, 0, 6), NULL, 10);
    return 0;
}

/* -EEXIST: it is not for us to take. */
static int check_owner(struct carrier *c, const struct carried *k,
                       const struct owner *o, struct error *error)
{
    if (!o->there)
        return 0;
    if (strcmp(o->database, c->base.set->database)) {
        struct buffer sql = {0};
        shards_put_remove(&sql, c, k, k->shard);
        error_set(error, -EPERM,
                  "in PostgreSQL it is carried from another database, by a server on "
                  "'%s'; to take it over: %s",
                  o->host, sql.error ? "" : buffer_text(&sql));
        buffer_free(&sql);
        return -EPERM;
    }
    /* One that says less is one that forgot, as a standby may: it is ours still. As much, by another writer: two primaries have counted.
     * From whom it was taken it is ours, too, wherever that one has taken it meanwhile; and nobody's, if it was made anew. */
    if (k->base.taken && *o->writer && strcmp(o->writer, c->base.writer) &&
        strcmp(o->writer, k->base.before) && o->epoch >= k->base.epoch &&
        !fault_skips("carry_fence"))
        return error_set(error, -EEXIST, "a server on '%s' has taken its place",
                         o->host);
    return 0;
}

/* Is what is there what we have up to its place, and do we know what follows? */
static bool is_ours(const struct carrier *c, const struct carried *k,
                    const struct owner *o, const struct changes *known)
{
    if (!o->there || o->since_us != known->since_us || o->seq < known->first)
        return false;
    if (strcmp(o->writer, c->base.writer) == 0)
        return true;
    const char *before = k->base.taken ? k->base.before : k->base.place.writer;
    const int64_t bound = k->base.taken ? k->base.before_bound : k->base.place.bound;
    /* Or a run that was ended before the file knew of it (target/kind.h). */
    return *before &&
           (strcmp(o->writer, before) == 0 || strcmp(o->from, before) == 0) &&
           o->seq <= bound;
}

/* What its last writer has begun and not ended, if it hangs, holds locks: it is ended. */
static int end_writer(struct carrier *c, const struct carried *k, struct error *error)
{
    struct buffer sql = {0};
    if (fault_skips("carry_end"))
        return 0;
    buffer_puts(&sql,
                "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a JOIN ");
    far_put_positions(&sql, c);
    buffer_puts(&sql, " p ON a.pid = p.backend AND a.backend_start = p.backend_start"
                      " WHERE a.pid <> pg_backend_pid() AND ");
    put_position(&sql, k, "p.");
    return far_run(c, &sql, &PG_TEXT(k->base.table->name), 1, NULL, error);
}

/* What was read once is nobody else's, also when it is read no more: its rows are there. */
static const char of_shard[] =
    ", partitions = (SELECT array_agg(DISTINCT x ORDER BY x) FROM"
    " unnest(p.partitions || excluded.partitions) AS x),"
    " definition = excluded.definition, wanted = excluded.wanted";

static int put_owner(struct carrier *c, const struct carried *k, const char *from,
                     int64_t seq, int64_t epoch, struct error *error)
{
    char since[24], at[24], pid[24], count[24], host[128] = "";
    snprintf(count, sizeof(count), "%" PRId64, epoch);
    snprintf(since, sizeof(since), "%" PRId64, k->base.place.since_us);
    snprintf(at, sizeof(at), "%" PRId64, seq);
    snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    gethostname(host, sizeof(host) - 1);
    struct buffer sql = {0};
    buffer_puts(&sql, "INSERT INTO ");
    far_put_positions(&sql, c);
    buffer_printf(
        &sql,
        " AS p (table_name, pipeline, database, writer, since,"
        " seq, changed, host, pid, backend, backend_start, taken_from, epoch%s) SELECT "
        "$1,"
        " $2, $3, $4, $5::bigint, $6::bigint, now(), $7, $8::integer, pid,"
        " backend_start, $9, $10::bigint%s"
        " FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        " ON CONFLICT (table_name%s) DO UPDATE SET pipeline = excluded.pipeline,"
        " database = excluded.database, writer = excluded.writer, since ="
        " excluded.since, seq = excluded.seq, watermark = CASE WHEN excluded.seq"
        " IS NOT NULL THEN p.watermark END, changed = excluded.changed,"
        " host = excluded.host, pid = excluded.pid, backend = excluded.backend,"
        " backend_start = excluded.backend_start, taken_from ="
        " excluded.taken_from, epoch = excluded.epoch%s",
        k->shard ? ", shard, partitions, definition, wanted" : "",
        k->shard ? ", $11, $12::text[], $13, $13" : "", k->shard ? ", shard" : "",
        k->shard ? of_shard : "");
    const struct pg_param param[] = {PG_TEXT(k->base.table->name),
                                     PG_TEXT(k->base.table->pipeline),
                                     PG_TEXT(c->base.set->database),
                                     PG_TEXT(c->base.writer),
                                     PG_TEXT(since),
                                     PG_TEXT(seq < 0 ? NULL : at),
                                     PG_TEXT(host),
                                     PG_TEXT(pid),
                                     PG_TEXT(from),
                                     PG_TEXT(count),
                                     PG_TEXT(k->shard),
                                     PG_TEXT(k->partitions),
                                     PG_TEXT(k->definition)};
    const size_t n = sizeof(param) / sizeof(param[0]);
    return far_run(c, &sql, param, k->shard ? n : n - 3, NULL, error);
}

static int take(struct carrier *c, struct carried *k, const struct changes *known,
                struct owner *ret, bool *ret_ours, struct error *error)
{
    int err = copies_check(c, error);
    if (!err)
        err = ensure_table(c, k, error);
    if (!err)
        err = ask_owner(c, k, "FOR UPDATE", ret, error);
    if (!err)
        err = check_owner(c, k, ret, error);
    if (!err)
        err = shards_check(c, k, error);
    *ret_ours = !err && is_ours(c, k, ret, known);
    k->base.place.since_us = known->since_us;
    const char *from = strcmp(ret->writer, c->base.writer) == 0 ? ret->from
                       : k->base.taken                          ? k->base.before
                                                                : k->base.place.writer;
    if (ret->epoch < k->base.epoch)
        ret->epoch = k->base.epoch;
    return err ? err
               : put_owner(c, k, from, *ret_ours ? ret->seq : -1, ++ret->epoch, error);
}

int far_take(struct carrier *c, struct carried *k, struct error *error)
{
    struct changes known;
    struct owner owner;
    bool ours = false;
    int err = changes_look(c->base.db, k->base.table->name, &known, error);
    target_drop_handed(&c->base, &k->base); /* numbers of before may mean other rows */
    if (!err)
        err = ask_owner(c, k, "", &owner, error);
    if (!err)
        err = check_owner(c, k, &owner, error);
    if (!err)
        err = end_writer(c, k, error);
    if (!err)
        err = shards_want(c, k, error);
    if (!err)
        err = carried_is_purged(c->base.db, k->base.table->name, &k->purged, error);
    if (!err)
        err = pg_run(&c->pg, "BEGIN", error);
    if (err)
        return err;
    err = pg_run(&c->pg, "SELECT pg_advisory_xact_lock(hashtext('weir'))", error);
    if (!err)
        err = take(c, k, &known, &owner, &ours, error);
    fault_point("carry_take");
    err = far_finish(c, err, error);
    if (err)
        return err;
    fault_point("carry_taken");
    k->fitted = true;
    if (*owner.writer && !k->base.taken && strcmp(owner.writer, k->base.place.writer) &&
        strcmp(owner.writer, c->base.writer))
        logger_warn("carry", "table '%s': taken over from a server on '%s'",
                    k->base.table->name, owner.host);
    if (!k->base.taken) {
        memcpy(k->base.before, k->base.place.writer, sizeof(k->base.before));
        k->base.before_bound = k->base.place.bound;
    }
    k->base.taken = true;
    k->base.epoch = owner.epoch;
    memcpy(k->base.place.writer, c->base.writer, sizeof(c->base.writer));
    k->base.place.bound = -1;
    k->base.place.position = ours ? owner.seq : known.last;
    k->base.stage = ours ? TARGET_CHANGES : TARGET_FILL;
    k->temporary = false;
    k->base.look = true;
    target_note(&c->base, &k->base);
    rows_restart(k);
    if (!ours)
        logger_info("carry",
                    "table '%s': all of its rows are carried to PostgreSQL, which does "
                    "not know them, or knows others",
                    k->base.table->name);
    return 0;
}

/* ---- Transactions ------------------------------------------------------------------------------- */

/* As it is sent. */
static uint64_t far_time(int64_t us)
{
    return htobe64((uint64_t)us - TYPES_2000_US);
}

/* First of all: who is not where it was, as another has written there, does nothing. seq -1: it is not known where. */
static int move_place(struct carrier *c, const struct carried *k, int64_t from,
                      int64_t to, int64_t watermark_us, struct error *error)
{
    char at[24], was[24];
    const uint64_t watermark = far_time(watermark_us);
    struct buffer sql = {0};
    PG_RESULT r = NULL;
    snprintf(at, sizeof(at), "%" PRId64, to);
    snprintf(was, sizeof(was), "%" PRId64, from);
    buffer_puts(&sql, "UPDATE ");
    far_put_positions(&sql, c);
    buffer_puts(&sql, " SET seq = $3::bigint, watermark = coalesce($5,"
                      " watermark), changed = now(), taken_from = NULL WHERE ");
    put_position(&sql, k, "");
    buffer_puts(&sql, fault_skips("carry_fence")
                          ? " AND ($2::text, $4::bigint) IS NOT NULL IS NOT NULL"
                          : " AND writer = $2 AND seq IS NOT DISTINCT FROM $4::bigint");
    const struct pg_param param[] = {
        PG_TEXT(k->base.table->name),
        PG_TEXT(c->base.writer),
        PG_TEXT(to < 0 ? NULL : at),
        PG_TEXT(from < 0 ? NULL : was),
        {.type = type_there[WEIR_TIME].oid,
         .data = watermark_us == INT64_MIN ? NULL : (const char *)&watermark,
         .size = 8}};
    int err = far_run(c, &sql, param, sizeof(param) / sizeof(param[0]), &r, error);
    if (!err && strcmp(PQcmdTuples(r), "1"))
        err = error_set(error, -ESTALE, "its place in PostgreSQL is another one");
    return err;
}

static int copy_to(struct carrier *c, const struct carried *k, const char *temporary,
                   const struct copy *rows, struct error *error)
{
    struct buffer sql = {0};
    buffer_puts(&sql, "COPY ");
    if (temporary)
        put_temporary(&sql, temporary, k);
    else
        buffer_puts(&sql, k->name);
    buffer_puts(&sql, " (");
    put_columns(&sql, k, rows == &c->gone, "");
    buffer_puts(&sql, ") FROM STDIN (FORMAT binary)");
    int err = sql.error
                  ? error_set(error, -ENOMEM, "out of memory")
                  : pg_copy(&c->pg, buffer_text(&sql), rows->data, rows->size, error);
    buffer_free(&sql);
    return err;
}

/* Those that were made for the table as it was before it was taken again go. */
static int make_temporary(struct carrier *c, struct carried *k, struct error *error)
{
    int err = 0;
    for (int gone = 0; !err && gone < 2; gone++) {
        struct buffer sql = {0};
        buffer_puts(&sql, "DROP TABLE IF EXISTS ");
        put_temporary(&sql, gone ? "gone" : "rows", k);
        if ((err = far_run(c, &sql, NULL, 0, NULL, error)))
            break;
        buffer_puts(&sql, "CREATE TEMPORARY TABLE ");
        put_temporary(&sql, gone ? "gone" : "rows", k);
        buffer_puts(&sql, " ON COMMIT DELETE ROWS AS SELECT ");
        put_columns(&sql, k, gone, "");
        buffer_printf(&sql, " FROM %s WITH NO DATA", k->name);
        err = far_run(c, &sql, NULL, 0, NULL, error);
    }
    k->temporary = !err; /* it goes with the transaction, if that fails */
    return err;
}

static int delete_gone(struct carrier *c, const struct carried *k, struct error *error)
{
    struct buffer sql = {0};
    buffer_printf(&sql, "DELETE FROM %s AS t USING ", k->name);
    put_temporary(&sql, "gone", k);
    buffer_puts(&sql, " AS g WHERE (");
    put_columns(&sql, k, true, "t.");
    buffer_puts(&sql, ") = (");
    put_columns(&sql, k, true, "g.");
    buffer_puts(&sql, ")");
    return far_run(c, &sql, NULL, 0, NULL, error);
}

/* A row that has changed twice in the piece is there twice, as it is now. */
static int merge(struct carrier *c, const struct carried *k, struct error *error)
{
    const struct table *t = k->base.table;
    struct buffer sql = {0};
    buffer_printf(&sql, "INSERT INTO %s (", k->name);
    put_columns(&sql, k, false, "");
    buffer_puts(&sql, ") SELECT DISTINCT ON (");
    put_columns(&sql, k, true, "");
    buffer_puts(&sql, ") ");
    put_columns(&sql, k, false, "");
    buffer_puts(&sql, " FROM ");
    put_temporary(&sql, "rows", k);
    buffer_puts(&sql, " ON CONFLICT (");
    put_columns(&sql, k, true, "");
    buffer_puts(&sql, ") DO ");
    const char *between = "UPDATE SET ";
    for (size_t i = 0; i < t->n_columns; i++) {
        if (table_shown(t, i) < t->n_primary)
            continue;
        buffer_puts(&sql, between);
        put_name(&sql, shown(t, i)->name);
        buffer_puts(&sql, " = excluded.");
        put_name(&sql, shown(t, i)->name);
        between = ", ";
    }
    if (t->n_columns == t->n_primary)
        buffer_puts(&sql, "NOTHING");
    return far_run(c, &sql, NULL, 0, NULL, error);
}

static int put_staged(struct carrier *c, struct carried *k, struct error *error)
{
    int err = k->temporary ? 0 : make_temporary(c, k, error);
    if (!err && c->gone.rows)
        err = copy_to(c, k, "gone", &c->gone, error);
    if (!err && c->gone.rows)
        err = delete_gone(c, k, error);
    if (!err && c->rows.rows)
        err = copy_to(c, k, "rows", &c->rows, error);
    if (!err && c->rows.rows)
        err = merge(c, k, error);
    return err;
}

/* What may be there already goes by way of a temporary table. */
int far_put(struct carrier *c, struct carried *k, const struct carry_piece *p,
            struct error *error)
{
    const bool made = k->temporary;
    fault_point("carry_begin");
    int err = pg_run(&c->pg, "BEGIN", error);
    if (err)
        return err;
    fault_point("carry_begun");
    err = move_place(c, k, p->from, p->last, p->watermark_us, error);
    fault_point("carry_fenced");
    if (!err && !p->plain)
        err = put_staged(c, k, error);
    else if (!err && c->rows.rows)
        err = copy_to(c, k, NULL, &c->rows, error);
    fault_point("carry_commit");
    err = far_finish(c, err, error);
    fault_point("carry_committed");
    if (err)
        k->temporary = made;
    return err;
}

/* ---- All rows ----------------------------------------------------------------------------------- */

/* ("a", "b" COLLATE "C") */
static void put_key(struct buffer *to, const struct table *t)
{
    buffer_putc(to, '(');
    for (size_t c = 0; c < t->n_primary; c++) {
        buffer_puts(to, c ? ", " : "");
        put_name(to, t->column[c].name);
        if (t->column[c].type == WEIR_STRING)
            buffer_puts(to, " COLLATE \"C\"");
    }
    buffer_putc(to, ')');
}

/* " (a, b) > ($1, $2)", whose values are those of the key that was sent. */
static void put_bound(struct buffer *to, const struct table *t, const char *compare,
                      const struct copy *key, struct pg_param *param, size_t *n)
{
    const char *at = key->data;
    buffer_putc(to, ' ');
    put_key(to, t);
    buffer_printf(to, " %s (", compare);
    for (size_t c = 0; c < t->n_primary; c++) {
        uint32_t size;
        memcpy(&size, at, sizeof(size));
        size = be32toh(size);
        param[*n] = (struct pg_param){.type = type_there[t->column[c].type].oid,
                                      .data = at + sizeof(size),
                                      .size = (int)size};
        at += sizeof(size) + size;
        buffer_printf(to, "%s$%zu", c ? ", " : "", ++*n);
    }
    buffer_putc(to, ')');
}

/* Rows of windows by key that `retain` has taken here lie between those that are left: what ended before stays there. INT64_MIN:
 * nothing does. */
static int64_t taken_before(const struct carried *k, const struct carry_piece *p)
{
    const struct table *t = k->base.table;
    int64_t end_us;
    if (t->retain_us == INT64_MAX || !window_is_by_key(&t->window) ||
        p->watermark_us == INT64_MIN ||
        __builtin_sub_overflow(p->watermark_us, t->retain_us, &end_us))
        return INT64_MIN;
    return end_us + 1; /* as purge_border */
}

/* What there is of the shard is here: what else is there was put by another copy of the file, which read its partitions in other
 * pieces, so that keys with positions differ. But not if `retain` had once taken rows. */
static bool is_all_here(const struct carried *k)
{
    return k->shard && k->base.table->retain_us == INT64_MAX && !k->purged;
}

/* Which of them are to give way to those of the piece, or are behind the last. */
enum clearing { CLEAR_PIECE, CLEAR_BEHIND, CLEAR_ALL };

static int clear(struct carrier *c, const struct carried *k,
                 const struct carry_piece *p, enum clearing which, struct error *error)
{
    const struct table *t = k->base.table;
    const int64_t taken_us = taken_before(k, p);
    const uint64_t ended = far_time(taken_us);
    struct pg_param param[PG_PARAMS];
    struct buffer sql = {0};
    size_t n = 0;
    if (2 * t->n_primary + 1 > PG_PARAMS)
        return error_set(error, -E2BIG, "its key has too many columns");
    buffer_printf(&sql, "DELETE FROM %s WHERE", k->name);
    if (which == CLEAR_ALL) {
        buffer_puts(&sql, " true");
    } else if (which == CLEAR_BEHIND) {
        put_bound(&sql, t, ">", k->upper.rows ? &k->upper : &k->lower, param, &n);
    } else {
        if (!k->inclusive || !is_all_here(k)) {
            put_bound(&sql, t, k->inclusive ? ">=" : ">", &k->lower, param, &n);
            buffer_puts(&sql, " AND");
        }
        put_bound(&sql, t, "<=", &k->upper, param, &n);
    }
    if (taken_us > INT64_MIN) {
        param[n++] = (struct pg_param){
            .type = type_there[WEIR_TIME].oid, .data = (const char *)&ended, .size = 8};
        buffer_printf(&sql, " AND window_end >= $%zu", n);
    }
    if (k->shard) {
        buffer_puts(&sql, " AND " CARRY_SHARD " = ");
        put_text(&sql, k->shard);
    }
    return far_run(c, &sql, param, n, NULL, error);
}

int far_fill(struct carrier *c, struct carried *k, const struct carry_piece *p,
             struct error *error)
{
    const bool made = k->temporary;
    int err = pg_run(&c->pg, "BEGIN", error);
    if (err)
        return err;
    err = move_place(c, k, -1, p->all ? k->fill_last : -1, INT64_MIN, error);
    if (!err && k->upper.rows)
        err = clear(c, k, p, CLEAR_PIECE, error);
    if (!err && taken_before(k, p) > INT64_MIN) /* some of them may be there still */
        err = put_staged(c, k, error);
    else if (!err && c->rows.rows)
        err = copy_to(c, k, NULL, &c->rows, error);
    if (!err && p->all && (k->upper.rows || k->lower.rows))
        err = clear(c, k, p, CLEAR_BEHIND, error);
    else if (!err && p->all && is_all_here(k))
        err = clear(c, k, p, CLEAR_ALL, error);
    fault_point("carry_filled");
    err = far_finish(c, err, error);
    if (err)
        k->temporary = made;
    return err;
}
