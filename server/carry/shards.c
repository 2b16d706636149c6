/* SPDX-License-Identifier: Apache-2.0
 *
 * Where several servers put rows into a table: weir_shards, which says who has which partitions of Kafka, and by which definition; what
 * would make rows that one server would not have is refused.
 */
#include "base/clock.h"
#include "base/logger.h"
#include "carry/internal.h"
#include "pipeline/checkpoint.h"
#include "store/db.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define put_text(to, text) far_quote(to, text, '\'')

/* ---- The table ---------------------------------------------------------------------------------- */

void shards_put_remove(struct buffer *to, const struct carrier *c,
                       const struct carried *k, const char *shard)
{
    buffer_puts(to, "DELETE FROM ");
    far_put_positions(to, c);
    buffer_puts(to, " WHERE table_name = ");
    put_text(to, k->base.table->name);
    if (!shard)
        return;
    buffer_puts(to, " AND shard = ");
    put_text(to, shard);
}

/* ---- Definitions -------------------------------------------------------------------------------- */

/* Without how an analyzer's states are kept, which another version of weir may do in another way:
 *
 *      analyzer NAME state=8 saved version=1 PARAMETERS    ->  analyzer NAME PARAMETERS
 */
static void put_line(struct buffer *to, const char *line, size_t size)
{
    static const char word[] = " version=";
    const char *state = memmem(line, size, " state=", 7),
               *version = memmem(line, size, word, sizeof(word) - 1);
    if (strncmp(line, "analyzer ", 9) == 0 && state && version && state < version) {
        const char *end = version + sizeof(word) - 1;
        end += strspn(end, "0123456789");
        buffer_put(to, line, (size_t)(state - line));
        buffer_put(to, end, size - (size_t)(end - line));
    } else {
        buffer_put(to, line, size);
    }
    buffer_putc(to, '\n');
}

/* With those of the pipelines whose results it reads. */
int shards_define(const struct pipeline *p, char **ret)
{
    struct buffer b = {0};
    int err = 0;
    for (; !err && p; p = pipeline_parent(p)) {
        char *text;
        err = checkpoint_definition(p, &text);
        for (const char *line = text; !err && *line;) {
            const size_t size = strcspn(line, "\n");
            put_line(&b, line, size);
            line += size + (line[size] == '\n');
        }
        if (!err)
            free(text);
    }
    buffer_putc(&b, 0);
    if (err || b.error) {
        buffer_free(&b);
        return -ENOMEM;
    }
    *ret = b.data;
    return 0;
}

int shards_want(struct carrier *c, const struct carried *k, struct error *error)
{
    struct buffer sql = {0};
    if (!k->shard)
        return 0;
    buffer_puts(&sql, "UPDATE ");
    far_put_positions(&sql, c);
    buffer_puts(&sql, " SET wanted = $4 WHERE table_name = $1 AND shard = $2 AND"
                      " database = $3 AND wanted IS DISTINCT FROM $4");
    const struct pg_param param[] = {PG_TEXT(k->base.table->name), PG_TEXT(k->shard),
                                     PG_TEXT(c->base.set->database),
                                     PG_TEXT(k->definition)};
    return far_run(c, &sql, param, sizeof(param) / sizeof(param[0]), NULL, error);
}

/* Whose own is what it was goes on, whatever others want: only who changes it waits until all do. */
static int check_definitions(struct carrier *c, const struct carried *k,
                             struct error *error)
{
    struct buffer sql = {0};
    PG_RESULT r = NULL;
    buffer_puts(&sql, "SELECT shard FROM ");
    far_put_positions(&sql, c);
    buffer_puts(&sql, " WHERE table_name = $1 AND shard <> $2 AND wanted <> $3 AND NOT"
                      " EXISTS (SELECT 1 FROM ");
    far_put_positions(&sql, c);
    buffer_puts(&sql, " WHERE table_name = $1 AND shard = $2 AND definition = $3)"
                      " ORDER BY 1 LIMIT 1");
    const struct pg_param param[] = {PG_TEXT(k->base.table->name), PG_TEXT(k->shard),
                                     PG_TEXT(k->definition)};
    int err = far_run(c, &sql, param, sizeof(param) / sizeof(param[0]), &r, error);
    if (err || PQntuples(r) == 0)
        return err;
    const char *other = PQgetvalue(r, 0, 0);
    shards_put_remove(&sql, c, k, other);
    error_set(
        error, -EBADF,
        "the shard '%s' has another definition of pipeline '%s': the rows of this "
        "one wait until all servers have the same; if that shard is no more: %s",
        other, k->base.table->pipeline, sql.error ? "" : buffer_text(&sql));
    buffer_free(&sql);
    return -EBADF;
}

/* ---- Partitions --------------------------------------------------------------------------------- */

/* Another shard with what is ours: rows would be there twice. */
static int check_partitions(struct carrier *c, const struct carried *k,
                            struct error *error)
{
    struct buffer sql = {0};
    PG_RESULT r = NULL;
    buffer_puts(&sql, "SELECT shard, database = $3, array_to_string(ARRAY(SELECT"
                      " unnest(partitions) INTERSECT SELECT unnest($4::text[]) ORDER BY"
                      " 1 LIMIT 8), ', ') FROM ");
    far_put_positions(&sql, c);
    buffer_puts(&sql, " WHERE table_name = $1 AND shard <> $2 AND (database = $3 OR"
                      " partitions && $4::text[]) ORDER BY 1 LIMIT 1");
    const struct pg_param param[] = {PG_TEXT(k->base.table->name), PG_TEXT(k->shard),
                                     PG_TEXT(c->base.set->database),
                                     PG_TEXT(k->partitions)};
    int err = far_run(c, &sql, param, sizeof(param) / sizeof(param[0]), &r, error);
    if (err || PQntuples(r) == 0)
        return err;
    const char *other = PQgetvalue(r, 0, 0), *both = PQgetvalue(r, 0, 2);
    const bool same = *PQgetvalue(r, 0, 1) == 't';
    shards_put_remove(&sql, c, k, other);
    error_set(
        error, -EBADF,
        "in PostgreSQL the shard '%s' has rows of %s%s: they would be there twice%s; "
        "if it is no more, delete its rows (" CARRY_SHARD "), and: %s",
        other, same ? "this database" : "partitions that are this one's, ",
        same ? "" : both,
        same ? ""
             : " (if its topic is one of another cluster that has the same name, "
               "another "
               "'schema' keeps them apart)",
        sql.error ? "" : buffer_text(&sql));
    buffer_free(&sql);
    return -EBADF;
}

int shards_check(struct carrier *c, const struct carried *k, struct error *error)
{
    int err = k->shard ? check_partitions(c, k, error) : 0;
    return err || !k->shard ? err : check_definitions(c, k, error);
}

/* How many the topic has, as the source has noted with what it has read. 0: nothing was read. */
static int count_partitions(struct carrier *c, const char *stream, const char *topic,
                            sqlite3_int64 *ret, struct error *error)
{
    char *sql =
        sqlite3_mprintf("SELECT ifnull(max(CAST(substr(bookmark, instr(bookmark,"
                        " 'partitions=') + 11) AS INTEGER)), 0) FROM weir_bookmarks"
                        " WHERE stream = %Q AND source GLOB '%q/*'",
                        stream, topic);
    int err = sql ? db_int(c->base.db, sql, NULL, ret, error)
                  : error_set(error, -ENOMEM, "out of memory");
    sqlite3_free(sql);
    return err;
}

/* Those of a topic that no shard of the table has. */
static int ask_unread(struct carrier *c, const struct carried *k, const char *topic,
                      sqlite3_int64 n, PGresult **ret, struct error *error)
{
    struct buffer sql = {0};
    buffer_printf(&sql,
                  "SELECT $2 || '/' || i FROM generate_series(0, %lld) AS i"
                  " WHERE NOT EXISTS (SELECT 1 FROM ",
                  (long long)n - 1);
    far_put_positions(&sql, c);
    buffer_puts(&sql, " WHERE table_name = $1 AND $2 || '/' || i = ANY(partitions))"
                      " ORDER BY i LIMIT 9");
    const struct pg_param param[] = {PG_TEXT(k->base.table->name), PG_TEXT(topic)};
    return far_run(c, &sql, param, sizeof(param) / sizeof(param[0]), ret, error);
}

static int list_unread(struct carrier *c, const struct carried *k, struct buffer *to,
                       struct error *error)
{
    const struct config_stream *s = pipeline_stream(k->base.pipeline);
    int err = 0, n = 0;
    for (size_t i = 0; !err && n < 9 && i < s->source.n_topics; i++) {
        PG_RESULT r = NULL;
        sqlite3_int64 there = 0;
        err = count_partitions(c, s->name, s->source.topic[i], &there, error);
        if (!err && there)
            err = ask_unread(c, k, s->source.topic[i], there, &r, error);
        for (int row = 0; !err && r && row < PQntuples(r) && n < 9; row++, n++)
            buffer_printf(to, "%s%s", n ? ", " : "",
                          n == 8 ? "..." : PQgetvalue(r, row, 0));
    }
    return err;
}

static void tell_unread(struct carrier *c, struct carried *k)
{
    struct error error = {""};
    struct buffer list = {0};
    int err = list_unread(c, k, &list, &error);
    char text[sizeof(k->unread)];
    snprintf(text, sizeof(text), "%s", list.size ? buffer_text(&list) : "");
    buffer_free(&list);
    if (err || strcmp(text, k->unread) == 0) /* it is looked at again */
        return;
    if (*text)
        logger_warn("carry",
                    "table '%s': no server reads these partitions: %s; what is in them "
                    "is in no row",
                    k->base.table->name, text);
    else
        logger_info("carry", "table '%s': all partitions are read",
                    k->base.table->name);
    memcpy(k->unread, text, sizeof(text));
}

/* Others may begin a little later: they have some time after each connection. */
void shards_listen(struct carrier *c)
{
    const int64_t now_us = clock_monotonic_us();
    if (!c->pg.c || !c->config->shard || now_us < c->look_us)
        return;
    c->look_us = now_us + c->base.config->max_backoff_us;
    const struct config_stream *last = NULL; /* tables of a stream follow each other */
    for (struct target_table *t = c->base.set->first; c->pg.c && t; t = t->next) {
        struct carried *k = (struct carried *)t;
        if (t->stage != TARGET_CHANGES || !k->partitions ||
            pipeline_stream(t->pipeline) == last)
            continue;
        last = pipeline_stream(t->pipeline);
        tell_unread(c, k);
    }
}
