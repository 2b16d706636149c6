/* SPDX-License-Identifier: Apache-2.0
 *
 * Where carried tables are, in weir_carried of sql/0007_carried.sql, and in weir_published of sql/0008_published.sql.
 */
#include "store/carried.h"
#include "store/changes.h"
#include "store/db.h"
#include "store/internal.h"
#include "store/results.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *places,
        *reader; /* the table; what rows are needed for, no stream's name */
    enum changes_owner owner;
} target[CARRIED_TARGETS] = {
    [CARRIED_POSTGRESQL] = {"weir_carried", "weir_carried", CHANGES_CARRIED},
    [CARRIED_KAFKA] = {"weir_published", "weir_published", CHANGES_PUBLISHED},
};

/* With the name of its table for %s. */
static int prepare(sqlite3 *db, enum carried_to to, const char *format,
                   sqlite3_stmt **ret, struct error *error)
{
    char *sql = sqlite3_mprintf(format, target[to].places);
    int err = sql ? db_prepare(db, sql, 0, ret, error)
                  : error_set(error, -ENOMEM, "out of memory");
    sqlite3_free(sql);
    return err;
}

void carried_make_id(char ret[CARRIED_ID])
{
    unsigned char bytes[(CARRIED_ID - 1) / 2];
    sqlite3_randomness(sizeof(bytes), bytes);
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

int carried_watermark(sqlite3 *db, const char *pipeline, int64_t *ret_us,
                      struct error *error)
{
    return store_watermark(db, pipeline, ret_us, error);
}

int carried_is_purged(sqlite3 *db, const char *table, bool *ret, struct error *error)
{
    sqlite3_int64 one;
    char *key = sqlite3_mprintf(PURGE_NOTE "%s", table);
    int err =
        key ? db_int(db, "SELECT 1 FROM weir_meta WHERE key = ?1", key, &one, error)
            : error_set(error, -ENOMEM, "out of memory");
    sqlite3_free(key);
    *ret = !err;
    return err == -ENOENT ? 0 : err;
}

/* ---- Saving ------------------------------------------------------------------------------------- */

static int put_places(sqlite3 *db, enum carried_to to,
                      const struct carried_place *place, size_t n, struct error *error)
{
    DB_STATEMENT s = NULL;
    int err = prepare(db, to,
                      "INSERT OR REPLACE INTO %s (table_name, pipeline,"
                      " since, position, writer, bound)"
                      " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                      &s, error);
    for (size_t i = 0; !err && i < n; i++) {
        const struct carried_place *p = &place[i];
        sqlite3_bind_text(s, 1, p->table, -1, SQLITE_STATIC);
        sqlite3_bind_text(s, 2, p->pipeline, -1, SQLITE_STATIC);
        sqlite3_bind_int64(s, 3, p->since_us);
        sqlite3_bind_int64(s, 4, p->position);
        sqlite3_bind_text(s, 5, p->writer, -1, SQLITE_STATIC);
        if (p->bound < 0)
            sqlite3_bind_null(s, 6);
        else
            sqlite3_bind_int64(s, 6, p->bound);
        err = db_run(s, error);
    }
    return err;
}

/* What the file says of all tables, those of pipelines that are left out, too. */
static int keep_changes(struct store *s, enum carried_to to, struct error *error)
{
    struct changes_kept *kept = NULL;
    sqlite3_int64 room = 0;
    size_t n = 0;
    DB_STATEMENT list = NULL;
    DB_STATEMENT count = NULL;
    int err = prepare(s->db, to, "SELECT count(*) FROM %s", &count, error);
    if (!err && sqlite3_step(count) != SQLITE_ROW)
        err = db_error(s->db, error);
    room = err ? 0 : sqlite3_column_int64(count, 0);
    sqlite3_reset(count);
    if (!err && !(kept = calloc((size_t)room + 1, sizeof(*kept))))
        err = error_set(error, -ENOMEM, "out of memory");
    if (!err)
        err = prepare(s->db, to, "SELECT table_name, position FROM %s ORDER BY 1",
                      &list, error);
    int code = SQLITE_DONE;
    while (!err && n < (size_t)room && (code = sqlite3_step(list)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(list, 0);
        kept[n].table = name ? strdup(name) : NULL;
        kept[n].position = sqlite3_column_int64(list, 1);
        if (!kept[n++].table)
            err = error_set(error, -ENOMEM, "out of memory");
    }
    if (!err && code != SQLITE_DONE && code != SQLITE_ROW)
        err = db_error(s->db, error);
    sqlite3_reset(list); /* its tables may be dropped */
    if (!err)
        err = changes_keep(s, target[to].owner, kept, n, error);
    for (size_t i = 0; i < n; i++)
        free((char *)kept[i].table);
    free(kept);
    return err;
}

static int need_rows(struct store *s, enum carried_to to, const char *table,
                     int64_t needed_us, struct error *error)
{
    char reader[280];
    snprintf(reader, sizeof(reader), "%s_%s", target[to].reader, table);
    return results_need(s, table, reader, needed_us)
               ? error_set(error, -ENOMEM, "out of memory")
               : 0;
}

static int load(struct store *s, enum carried_to to, struct error *error)
{
    int err = keep_changes(s, to, error);
    const struct store_kept *k = &s->kept[target[to].owner];
    for (size_t i = 0; err >= 0 && i < k->n; i++)
        err = need_rows(s, to, k->table[i].table, INT64_MIN, error);
    return err < 0 ? err : 0;
}

int carried_load(struct store *s, struct error *error)
{
    int err = load(s, CARRIED_POSTGRESQL, error);
    return err ? err : load(s, CARRIED_KAFKA, error);
}

int carried_save(struct store *s, enum carried_to to, const struct carried_place *place,
                 size_t n, struct error *error)
{
    int err = db_run(s->begin, error);
    if (!err)
        err = put_places(s->db, to, place, n, error);
    if (!err)
        err = db_run(s->commit, error);
    if (err && !sqlite3_get_autocommit(s->db))
        db_step(s->rollback);
    for (size_t i = 0; !err && i < n; i++)
        err = need_rows(s, to, place[i].table, place[i].needed_us, error);
    return err ? err : keep_changes(s, to, error);
}

/* ---- Opening ------------------------------------------------------------------------------------ */

struct open_call {
    enum carried_to to;
    const struct table *const *table;
    size_t n;
    const char *writer;
    bool (*left_out)(void *ctx, const char *pipeline);
    void *ctx;
    struct carried_place *place;
    char *database;
    struct error *error;
};

/* Tables that are not carried any more. */
static int forget_others(struct store *s, const struct open_call *c)
{
    sqlite3 *db = s->db;
    DB_STATEMENT list = NULL;
    sqlite3_str *sql = sqlite3_str_new(db);
    int err =
        prepare(db, c->to, "SELECT table_name, pipeline FROM %s", &list, c->error);
    int code = SQLITE_DONE;
    while (!err && (code = sqlite3_step(list)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(list, 0);
        const char *pipeline = (const char *)sqlite3_column_text(list, 1);
        size_t i = 0;
        while (name && i < c->n && strcmp(c->table[i]->name, name))
            i++;
        if (!name || i < c->n || (pipeline && c->left_out(c->ctx, pipeline)))
            continue;
        sqlite3_str_appendf(sql, "DELETE FROM %s WHERE table_name = %Q;\n",
                            target[c->to].places, name);
        err = need_rows(s, c->to, name, INT64_MAX, c->error);
    }
    if (!err && code != SQLITE_DONE)
        err = db_error(db, c->error);
    sqlite3_reset(list);
    sqlite3_str_appendall(sql, "SELECT 1");
    int run = db_exec_str(db, sql, err ? NULL : c->error);
    return err ? err : run;
}

static int get_database(sqlite3 *db, char ret[CARRIED_ID], struct error *error)
{
    DB_STATEMENT put = NULL;
    DB_STATEMENT get = NULL;
    char fresh[CARRIED_ID];
    carried_make_id(fresh);
    int err = db_prepare(db,
                         "INSERT OR IGNORE INTO weir_meta (key, value)"
                         " VALUES ('database', ?1)",
                         0, &put, error);
    if (!err) {
        sqlite3_bind_text(put, 1, fresh, -1, SQLITE_STATIC);
        err = db_run(put, error);
    }
    if (!err)
        err = db_prepare(db, "SELECT value FROM weir_meta WHERE key = 'database'", 0,
                         &get, error);
    if (err)
        return err;
    if (sqlite3_step(get) != SQLITE_ROW)
        return db_error(db, error);
    const char *text = (const char *)sqlite3_column_text(get, 0);
    snprintf(ret, CARRIED_ID, "%s", text ? text : "");
    return 0;
}

/* What is known of it; with another numbering, or nothing known, it begins at the front, and all that is there is to be
 * carried first. */
static int open_place(struct store *s, const struct open_call *c, const struct table *t,
                      struct carried_place *ret)
{
    struct changes known;
    DB_STATEMENT get = NULL;
    int err = changes_begin_here(s, t, &known, c->error);
    if (!err)
        err = prepare(s->db, c->to,
                      "SELECT since, position, writer, ifnull(bound, -1)"
                      " FROM %s WHERE table_name = ?1",
                      &get, c->error);
    if (err)
        return err;
    *ret = (struct carried_place){.table = t->name,
                                  .pipeline = t->pipeline,
                                  .since_us = known.since_us,
                                  .position = known.last,
                                  .bound = known.last,
                                  .needed_us = INT64_MIN};
    sqlite3_bind_text(get, 1, t->name, -1, SQLITE_STATIC);
    int code = sqlite3_step(get);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return db_error(s->db, c->error);
    if (code == SQLITE_DONE || sqlite3_column_int64(get, 0) != known.since_us)
        return 0;
    ret->position = sqlite3_column_int64(get, 1);
    const char *writer = (const char *)sqlite3_column_text(get, 2);
    snprintf(ret->writer, sizeof(ret->writer), "%s", writer ? writer : "");
    int64_t bound = sqlite3_column_int64(get, 3);
    const bool goes_on = c->writer && strcmp(ret->writer, c->writer) == 0;
    ret->bound = bound < 0 && !goes_on ? known.last : bound;
    return 0;
}

static int open_all(struct store *s, void *ctx)
{
    const struct open_call *c = ctx;
    int err = forget_others(s, c);
    if (!err && c->n)
        err = get_database(s->db, c->database, c->error);
    for (size_t i = 0; !err && i < c->n; i++)
        err = open_place(s, c, c->table[i], &c->place[i]);
    return err ? err : carried_save(s, c->to, c->place, c->n, c->error);
}

int carried_open(struct store *s, enum carried_to to, const struct table *const *table,
                 size_t n, const char *writer,
                 bool (*left_out)(void *ctx, const char *pipeline), void *ctx,
                 struct carried_place *ret, char ret_database[CARRIED_ID],
                 struct error *error)
{
    struct error own = {""};
    struct open_call c = {.to = to,
                          .table = table,
                          .n = n,
                          .writer = writer,
                          .left_out = left_out,
                          .ctx = ctx,
                          .place = ret,
                          .database = ret_database,
                          .error = &own};
    int err = store_call(s, open_all, &c);
    return err < 0 ? error_set(error, err, "tables that are carried: %s",
                               own.text[0] ? own.text : strerror(-err))
                   : 0;
}
