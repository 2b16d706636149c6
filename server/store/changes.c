/* SPDX-License-Identifier: Apache-2.0
 *
 * Following result tables by triggers. When it began is a row of weir_meta.
 */
#include "store/changes.h"
#include "base/clock.h"
#include "store/db.h"
#include "store/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANGES_PREFIX "weir_changes_"

/* "a", NEW."b": the columns of the primary key. */
static void changes_key(sqlite3_str *sql, const struct table *t, const char *before)
{
    for (size_t c = 0; c < t->n_primary; c++)
        sqlite3_str_appendf(sql, "%s%s\"%w\"", c ? ", " : "", before,
                            t->column[c].name);
}

void changes_append_join(sqlite3_str *sql, const struct table *t, bool left)
{
    sqlite3_str_appendf(sql, "\"" CHANGES_PREFIX "%w\" AS c %s JOIN \"%w\" AS t ON ",
                        t->name, left ? "LEFT" : "CROSS", t->name);
    for (size_t c = 0; c < t->n_primary; c++)
        sqlite3_str_appendf(sql, "%st.\"%w\" = c.\"%w\"", c ? " AND " : "",
                            t->column[c].name, t->column[c].name);
}

int changes_look(sqlite3 *db, const char *table, struct changes *ret,
                 struct error *error)
{
    sqlite3_int64 since = 0, first = 0, last = 0;
    char name[256];
    snprintf(name, sizeof(name), CHANGES_PREFIX "%s", table);
    int err = db_int(db, "SELECT CAST(value AS INTEGER) FROM weir_meta WHERE key = ?1",
                     name, &since, error);
    if (err)
        return err;
    /* Numbers go on from here, also when all rows are gone. */
    err = db_int(db, "SELECT seq FROM sqlite_sequence WHERE name = ?1", name, &last,
                 error);
    if (err && err != -ENOENT)
        return err;
    char *sql = sqlite3_mprintf("SELECT min(seq) FROM \"%w\"", name);
    err = sql ? db_int(db, sql, NULL, &first, error)
              : error_set(error, -ENOMEM, "out of memory");
    sqlite3_free(sql);
    if (err)
        return err;
    *ret = (struct changes){
        .since_us = since, .first = first ? first - 1 : last, .last = last};
    return 0;
}

struct changes_call {
    const struct table *table;
    bool (*wanted)(void *ctx, const char *table);
    void *ctx;
    struct changes changes;
    struct error error;
};

static bool changes_has_trigger(struct store *s, const char *table)
{
    sqlite3_int64 one;
    struct error error;
    char name[256];
    snprintf(name, sizeof(name), CHANGES_PREFIX "%s_u", table);
    return db_int(s->db,
                  "SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND name = ?1",
                  name, &one, &error) == 0;
}

static void changes_append_trigger(sqlite3_str *sql, const struct table *t,
                                   const char *suffix, const char *event)
{
    sqlite3_str_appendf(sql,
                        "CREATE TRIGGER \"" CHANGES_PREFIX
                        "%w_%s\" AFTER %s ON \"%w\" BEGIN"
                        " INSERT INTO \"" CHANGES_PREFIX "%w\" (",
                        t->name, suffix, event, t->name, t->name);
    changes_key(sql, t, "");
    sqlite3_str_appendall(sql, ") VALUES (");
    changes_key(sql, t, "NEW.");
    sqlite3_str_appendall(sql, "); END;\n");
}

/* The table may have been made anew since, with another key: then its triggers went with it. */
static int changes_begin(struct store *s, const struct table *t, struct error *error)
{
    sqlite3_str *sql = sqlite3_str_new(s->db);
    sqlite3_str_appendf(sql,
                        "BEGIN IMMEDIATE;\n"
                        "DROP TABLE IF EXISTS \"" CHANGES_PREFIX "%w\";\n"
                        "CREATE TABLE \"" CHANGES_PREFIX "%w\""
                        " (seq INTEGER PRIMARY KEY AUTOINCREMENT, ",
                        t->name, t->name);
    changes_key(sql, t, "");
    sqlite3_str_appendall(sql, ");\n");
    changes_append_trigger(sql, t, "i", "INSERT");
    changes_append_trigger(sql, t, "u", "UPDATE");
    sqlite3_str_appendf(sql,
                        "INSERT OR REPLACE INTO weir_meta (key, value)"
                        " VALUES ('" CHANGES_PREFIX "%q', %lld);\nCOMMIT;",
                        t->name, (long long)clock_now_us());
    int err = db_exec_str(s->db, sql, error);
    if (err && !sqlite3_get_autocommit(s->db))
        db_step(s->rollback);
    return err;
}

int changes_begin_here(struct store *s, const struct table *table, struct changes *ret,
                       struct error *error)
{
    int err = 0;
    if (!changes_has_trigger(s, table->name))
        err = changes_begin(s, table, error);
    return err ? err : changes_look(s->db, table->name, ret, error);
}

static int changes_follow_call(struct store *s, void *ctx)
{
    struct changes_call *c = ctx;
    s->listened = true;
    return changes_begin_here(s, c->table, &c->changes, &c->error);
}

int changes_follow(struct store *s, const struct table *table, struct changes *ret,
                   struct error *error)
{
    struct changes_call c = {.table = table};
    int err = store_call(s, changes_follow_call, &c);
    if (err)
        return error_set(error, err, "%s",
                         c.error.text[0] ? c.error.text : strerror(-err));
    *ret = c.changes;
    return 0;
}

static int changes_end(struct store *s, const char *table, struct error *error)
{
    sqlite3_str *sql = sqlite3_str_new(s->db);
    sqlite3_str_appendf(sql,
                        "BEGIN IMMEDIATE;\n"
                        "DROP TRIGGER IF EXISTS \"" CHANGES_PREFIX "%w_i\";\n"
                        "DROP TRIGGER IF EXISTS \"" CHANGES_PREFIX "%w_u\";\n"
                        "DROP TABLE IF EXISTS \"" CHANGES_PREFIX "%w\";\n"
                        "DELETE FROM weir_meta WHERE key = '" CHANGES_PREFIX
                        "%q';\nCOMMIT;",
                        table, table, table, table);
    int err = db_exec_str(s->db, sql, error);
    if (err && !sqlite3_get_autocommit(s->db))
        db_step(s->rollback);
    return err;
}

/* The place of the last who has one in it; INT64_MAX: nobody has. */
static int64_t changes_needed(const struct store *s, const char *table)
{
    int64_t position = INT64_MAX;
    for (size_t o = 0; o < CHANGES_OWNERS; o++)
        for (size_t i = 0; i < s->kept[o].n; i++) {
            const struct changes_kept *k = &s->kept[o].table[i];
            if (strcmp(k->table, table) == 0 && k->position < position)
                position = k->position;
        }
    return position;
}

bool changes_is_carried(const struct store *s, const char *table)
{
    for (size_t o = CHANGES_CARRIED; o < CHANGES_OWNERS; o++)
        for (size_t i = 0; i < s->kept[o].n; i++)
            if (strcmp(s->kept[o].table[i].table, table) == 0)
                return true;
    return false;
}

void changes_append_target(sqlite3_str *sql, const struct table *t)
{
    sqlite3_str_appendf(sql, "\"" CHANGES_PREFIX "%w\" (", t->name);
    changes_key(sql, t, "");
    sqlite3_str_appendchar(sql, 1, ')');
}

/* So many, 0: all. 1: there may be more. */
static int changes_cut(struct store *s, const char *table, int rows,
                       struct error *error)
{
    sqlite3_str *sql = sqlite3_str_new(s->db);
    sqlite3_str_appendf(sql,
                        "DELETE FROM \"" CHANGES_PREFIX "%w\" WHERE seq <= min(%lld,"
                        " (SELECT max(seq) FROM \"" CHANGES_PREFIX "%w\") - %d",
                        table, (long long)changes_needed(s, table), table,
                        CHANGES_KEPT);
    if (rows)
        sqlite3_str_appendf(sql,
                            ", (SELECT min(seq) FROM \"" CHANGES_PREFIX "%w\") + %d",
                            table, rows - 1);
    sqlite3_str_appendall(sql, ")");
    int err = db_exec_str(s->db, sql, error);
    return err ? err : rows && sqlite3_changes(s->db) >= rows;
}

static int changes_tidy_call(struct store *s, void *ctx)
{
    struct changes_call *c = ctx;
    DB_STATEMENT list = NULL;
    int err =
        db_prepare(s->db,
                   "SELECT group_concat(substr(key, length('" CHANGES_PREFIX "') + 1),"
                   " char(10)) FROM weir_meta WHERE key GLOB '" CHANGES_PREFIX "*'",
                   0, &list, &c->error);
    if (err)
        return err;
    if (sqlite3_step(list) != SQLITE_ROW)
        return db_error(s->db, &c->error);
    const char *text = (const char *)sqlite3_column_text(list, 0);
    char *names = strdup(text ? text : ""), *rest = names;
    sqlite3_reset(list);
    if (!names)
        return -ENOMEM;
    s->listened = false;
    for (char *name; !err && (name = strsep(&rest, "\n"));) {
        if (!*name)
            continue;
        bool wanted = c->wanted(c->ctx, name);
        s->listened = s->listened || wanted;
        err = wanted || changes_needed(s, name) < INT64_MAX
                  ? changes_cut(s, name, 0, &c->error)
                  : changes_end(s, name, &c->error);
    }
    free(names);
    return err;
}

static void kept_free(struct store_kept *k)
{
    for (size_t i = 0; k->table && i < k->n; i++)
        free((char *)k->table[i].table);
    free(k->table);
    *k = (struct store_kept){0};
}

void changes_free(struct store *s)
{
    for (size_t o = 0; o < CHANGES_OWNERS; o++)
        kept_free(&s->kept[o]);
}

static bool kept_same(const struct store_kept *k, const struct changes_kept *kept,
                      size_t n)
{
    size_t i = 0;
    while (n == k->n && i < n && strcmp(kept[i].table, k->table[i].table) == 0)
        i++;
    return n == k->n && i == n;
}

static int kept_new(const struct changes_kept *kept, size_t n, struct store_kept *ret)
{
    struct store_kept own = {.n = n, .table = calloc(n + 1, sizeof(*own.table))};
    bool failed = !own.table;
    for (size_t i = 0; !failed && i < n; i++)
        failed = !(own.table[i].table = strdup(kept[i].table));
    if (failed) {
        kept_free(&own);
        return -ENOMEM;
    }
    *ret = own;
    return 0;
}

int changes_keep(struct store *s, enum changes_owner owner,
                 const struct changes_kept *kept, size_t n, struct error *error)
{
    struct store_kept *own = &s->kept[owner], before = {0};
    int err = 0;
    if (!kept_same(own, kept, n)) {
        before = *own;
        if (kept_new(kept, n, own))
            return error_set(error, -ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < n; i++)
        own->table[i].position = kept[i].position;
    for (size_t i = 0; !err && i < before.n; i++)
        if (changes_needed(s, before.table[i].table) == INT64_MAX && !s->listened)
            err = changes_end(s, before.table[i].table, error);
    kept_free(&before);
    int more = 0;
    for (size_t i = 0; err >= 0 && i < n; i++) {
        err = changes_cut(s, own->table[i].table,
                          owner == CHANGES_HOOKS ? 0 : CHANGES_CUT, error);
        more = more || err == 1;
    }
    return err < 0 ? err : more;
}

int changes_tidy(struct store *s, bool (*wanted)(void *ctx, const char *table),
                 void *ctx, struct error *error)
{
    struct changes_call c = {.wanted = wanted, .ctx = ctx};
    int err = store_call(s, changes_tidy_call, &c);
    return err ? error_set(error, err, "%s",
                           c.error.text[0] ? c.error.text : strerror(-err))
               : 0;
}
