/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables there that are cut by time (`partition`): TABLE_p20260101 has the rows of windows that begin on that day. A partition is made when a row
 * wants it (SQLSTATE 23514), and dropped once it ended `retain` before what all rows are there of.
 */
#include "base/clock.h"
#include "base/logger.h"
#include "carry/internal.h"
#include "carry/types.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPY_HEAD 19 /* bytes before the first row */
#define HOUR_S    3600

bool partitions_want(const struct carrier *c, const struct carried *k)
{
    return c->config->partition_us && k->base.table->window.kind != CONFIG_GLOBAL;
}

/* ---- Which ones the rows of a piece are in ------------------------------------------------------ */

static uint32_t get32(const char *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof(v));
    return be32toh(v);
}

static int64_t partition_of(const char *time, int64_t width_us)
{
    uint64_t v;
    memcpy(&v, time, sizeof(v));
    const int64_t us = (int64_t)be64toh(v) + TYPES_2000_US;
    return us / width_us - (us % width_us < 0);
}

/* The row behind, NULL: it was the last. The first field is the window's start, or the time of a row that is kept. */
static const char *next_row(const char *at)
{
    uint16_t fields;
    memcpy(&fields, at, sizeof(fields));
    fields = be16toh(fields);
    if (fields == UINT16_MAX)
        return NULL;
    at += sizeof(fields);
    for (uint16_t i = 0; i < fields; i++) {
        const uint32_t size = get32(at);
        at += 4 + (size == UINT32_MAX ? 0 : size);
    }
    return at;
}

/* In ret[PARTITIONS_AT_ONCE + 1]; so many: there are more. */
static size_t list_wanted(const struct copy *rows, int64_t width_us, int64_t *ret)
{
    size_t n = 0, i = 0;
    const char *at = rows->data + COPY_HEAD;
    for (const char *next; n <= PARTITIONS_AT_ONCE && (next = next_row(at));
         at = next) {
        const int64_t number = partition_of(at + 6, width_us);
        if (i < n && ret[i] == number) /* as the row before */
            continue;
        for (i = 0; i < n && ret[i] != number; i++)
            ;
        if (i == n)
            ret[n++] = number;
    }
    return n;
}

/* ---- Making them -------------------------------------------------------------------------------- */

/* TABLE_p20260101, or TABLE_p2026010113 where they are not whole days; of years that have not four digits, by the hour since 1970. */
static void name_of(char *to, size_t room, const struct carried *k, int64_t number,
                    int64_t width_us)
{
    const int64_t hours = number * (width_us / SECOND_US / HOUR_S);
    const int64_t days = hours / 24 - (hours % 24 < 0);
    int64_t year;
    unsigned month, day;
    clock_civil_from_days(days, &year, &month, &day);
    if (year < 1000 || year > 9999)
        snprintf(to, room, "%s_ph%" PRId64, k->base.table->name, hours);
    else if (width_us % DAY_US == 0)
        snprintf(to, room, "%s_p%04" PRId64 "%02u%02u", k->base.table->name, year,
                 month, day);
    else
        snprintf(to, room, "%s_p%04" PRId64 "%02u%02u%02d", k->base.table->name, year,
                 month, day, (int)(hours - days * 24));
}

static void put_time(struct buffer *to, int64_t number, int64_t width_us)
{
    buffer_printf(to, "(timestamptz 'epoch' + %" PRId64 " * interval '1 hour')",
                  number * (width_us / SECOND_US / HOUR_S));
}

/* Made beside the table, then attached: for which others who read or write it need not end first. */
static void put_make(struct buffer *to, const struct carrier *c,
                     const struct carried *k, const char *name, int64_t number)
{
    struct buffer full = {0};
    far_quote(&full, c->config->schema, '"');
    buffer_putc(&full, '.');
    far_quote(&full, name, '"');
    buffer_printf(to,
                  "CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
                  buffer_text(&full), k->name);
    buffer_printf(to, "; ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM ", k->name,
                  buffer_text(&full));
    put_time(to, number, c->config->partition_us);
    buffer_puts(to, " TO ");
    put_time(to, number + 1, c->config->partition_us);
    to->error = to->error ? to->error : full.error;
    buffer_free(&full);
}

static int count_there(struct carrier *c, const struct carried *k, long *ret,
                       struct error *error)
{
    PG_RESULT r = NULL;
    int err = pg_ask(&c->pg,
                     "SELECT count(*) FROM pg_inherits WHERE inhparent = "
                     "to_regclass($1)",
                     &PG_TEXT(k->name), 1, &r, error);
    if (!err)
        *ret = strtol(PQgetvalue(r, 0, 0), NULL, 10);
    return err;
}

/* 1: it was made; 0: it is there, of this table. */
static int make_one(struct carrier *c, const struct carried *k, int64_t number,
                    struct error *error)
{
    char name[128];
    PG_RESULT r = NULL;
    struct buffer sql = {0};
    name_of(name, sizeof(name), k, number, c->config->partition_us);
    const struct pg_param param[] = {PG_TEXT(k->name), PG_TEXT(c->config->schema),
                                     PG_TEXT(name)};
    int err =
        pg_ask(&c->pg,
               "SELECT EXISTS (SELECT 1 FROM pg_inherits WHERE inhrelid = t.oid AND"
               " inhparent = to_regclass($1)) FROM pg_class t JOIN pg_namespace s"
               " ON s.oid = t.relnamespace WHERE s.nspname = $2 AND t.relname = $3",
               param, 3, &r, error);
    if (err)
        return err;
    if (PQntuples(r))
        return *PQgetvalue(r, 0, 0) == 't'
                   ? 0
                   : error_set(error, -EBADF,
                               "'%s' in PostgreSQL is no partition of the table", name);
    put_make(&sql, c, k, name, number);
    char *text = sql.error ? NULL : strdup(buffer_text(&sql));
    buffer_free(&sql);
    char *attach = text ? strstr(text, "; ALTER TABLE") : NULL;
    if (!attach) {
        free(text);
        return error_set(error, -ENOMEM, "out of memory");
    }
    *attach = 0; /* one statement at a time */
    err = pg_run(&c->pg, text, error);
    if (!err)
        err = pg_run(&c->pg, attach + 2, error);
    free(text);
    return err ? err : 1;
}

static int too_many(struct error *error)
{
    return error_set(error, -EBADF,
                     "its rows want more than %d partitions in PostgreSQL at once, or "
                     "%d in all: 'partition' is too short for them",
                     PARTITIONS_AT_ONCE, PARTITIONS_MOST);
}

static int make_all(struct carrier *c, const struct carried *k, const int64_t *number,
                    size_t n, size_t *ret_made, struct error *error)
{
    long there = 0;
    int r = pg_run(&c->pg, "SELECT pg_advisory_xact_lock(hashtext('weir'))", error);
    if (r == 0)
        r = count_there(c, k, &there, error);
    for (size_t i = 0; r >= 0 && i < n; i++) {
        if (there >= PARTITIONS_MOST)
            return too_many(error);
        r = make_one(c, k, number[i], error);
        there += r > 0;
        *ret_made += r > 0;
    }
    return r < 0 ? r : 0;
}

int partitions_make(struct carrier *c, struct carried *k, struct error *error)
{
    int64_t number[PARTITIONS_AT_ONCE + 1];
    const size_t n =
        c->rows.rows ? list_wanted(&c->rows, c->config->partition_us, number) : 0;
    if (n > PARTITIONS_AT_ONCE)
        return too_many(error);
    size_t made = 0;
    int err = n ? pg_run(&c->pg, "BEGIN", error) : 0;
    if (!err && n)
        err = far_finish(c, make_all(c, k, number, n, &made, error), error);
    return err ? err : made > 0;
}

/* ---- Dropping them ------------------------------------------------------------------------------ */

/* Of all shards; what one that has said nothing yet may bring stays. */
static int list_old(struct carrier *c, const struct carried *k, PGresult **ret,
                    struct error *error)
{
    struct buffer sql = {0};
    buffer_puts(
        &sql,
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = to_regclass($2) AND c.relname ~ '_ph?-?[0-9]+$' AND"
        " substring(pg_get_expr(c.relpartbound, c.oid) FROM"
        " 'TO \\(''([^'']+)''\\)')::timestamptz <= (SELECT CASE WHEN"
        " bool_and(watermark IS NOT NULL) THEN min(watermark) END FROM ");
    far_put_positions(&sql, c);
    buffer_printf(&sql,
                  " WHERE table_name = $1) - %" PRId64
                  " * interval '1 second' ORDER BY 1 LIMIT 100",
                  c->config->retain_us / SECOND_US);
    const struct pg_param param[] = {PG_TEXT(k->base.table->name), PG_TEXT(k->name)};
    return far_run(c, &sql, param, 2, ret, error);
}

/* Who reads the table is not kept waiting: it is tried again. */
static int drop_old(struct carrier *c, const struct carried *k, struct error *error)
{
    PG_RESULT old = NULL;
    int err = list_old(c, k, &old, error);
    for (int i = 0; !err && i < PQntuples(old); i++) {
        struct buffer sql = {0};
        buffer_puts(&sql, "DROP TABLE IF EXISTS ");
        far_quote(&sql, c->config->schema, '"');
        buffer_putc(&sql, '.');
        far_quote(&sql, PQgetvalue(old, i, 0), '"');
        err = far_run(c, &sql, NULL, 0, NULL, error);
        if (!err)
            logger_info("carry", "table '%s': partition '%s' is gone from PostgreSQL",
                        k->base.table->name, PQgetvalue(old, i, 0));
    }
    return err;
}

void partitions_listen(struct carrier *c)
{
    const int64_t now_us = clock_monotonic_us();
    if (!c->pg.c || !c->config->retain_us || now_us < c->drop_us)
        return;
    c->drop_us = now_us + c->base.config->max_backoff_us;
    for (struct target_table *t = c->base.set->first; c->pg.c && t; t = t->next) {
        struct carried *k = (struct carried *)t;
        struct error error = {""};
        if (t->stage != TARGET_CHANGES || !k->partitioned)
            continue;
        int err = drop_old(c, k, &error);
        if (err && err != k->drop_failed) /* once, until it is another one */
            logger_warn("carry",
                        "table '%s': old partitions cannot be dropped in PostgreSQL, "
                        "which is tried again: %s",
                        t->table->name, error.text);
        k->drop_failed = err;
    }
}
