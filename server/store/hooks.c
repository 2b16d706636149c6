/* SPDX-License-Identifier: Apache-2.0
 *
 * What webhooks remember, in the tables of sql/0004_hooks.sql.
 */
#include "store/hooks.h"
#include "store/changes.h"
#include "store/db.h"
#include "store/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Prepares, binds the names of the hook as 1 and 2. */
static int prepare(sqlite3 *db, const char *sql, const struct hook_id *id,
                   sqlite3_stmt **ret, struct error *error)
{
    int err = db_prepare(db, sql, 0, ret, error);
    if (!err) {
        sqlite3_bind_text(*ret, 1, id->pipeline, -1, SQLITE_STATIC);
        sqlite3_bind_text(*ret, 2, id->hook, -1, SQLITE_STATIC);
    }
    return err;
}

/* ---- Writing ------------------------------------------------------------------------------------ */

static const char *const save_sql[] = {
    [HOOK_STATE] = "INSERT OR REPLACE INTO weir_hook_states"
                   " (pipeline, hook, key, since, last, told)"
                   " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [HOOK_NO_STATE] = "DELETE FROM weir_hook_states"
                      " WHERE pipeline = ?1 AND hook = ?2 AND key = ?3",
    [HOOK_NOTICE] = "INSERT OR REPLACE INTO weir_hook_notices"
                    " (pipeline, hook, seq, key, body) VALUES (?1, ?2, ?4, ?3, ?5)",
    [HOOK_DELIVERED] = "DELETE FROM weir_hook_notices"
                       " WHERE pipeline = ?1 AND hook = ?2 AND seq = ?4",
};

#define KINDS (sizeof(save_sql) / sizeof(save_sql[0]))

static void bind_change(sqlite3_stmt *s, const struct hook_change *c)
{
    if (c->what != HOOK_DELIVERED)
        sqlite3_bind_text(s, 3, c->key, -1, SQLITE_STATIC);
    if (c->what == HOOK_STATE) {
        sqlite3_bind_int64(s, 4, c->state.since_us);
        sqlite3_bind_int64(s, 5, c->state.last_us);
        if (c->state.told_us == INT64_MIN)
            sqlite3_bind_null(s, 6);
        else
            sqlite3_bind_int64(s, 6, c->state.told_us);
    } else if (c->what != HOOK_NO_STATE) {
        sqlite3_bind_int64(s, 4, c->seq);
    }
    if (c->what == HOOK_NOTICE)
        sqlite3_bind_text(s, 5, c->body, -1, SQLITE_STATIC);
}

static int save_changes(sqlite3 *db, const struct hook_save *h, struct error *error)
{
    sqlite3_stmt *s[KINDS] = {0};
    int err = 0;
    for (size_t i = 0; !err && i < h->n; i++) {
        const struct hook_change *c = &h->change[i];
        if (!s[c->what])
            err = prepare(db, save_sql[c->what], &h->id, &s[c->what], error);
        if (!err) {
            bind_change(s[c->what], c);
            err = db_run(s[c->what], error);
        }
    }
    for (size_t k = 0; k < KINDS; k++)
        sqlite3_finalize(s[k]);
    return err;
}

static int save_place(sqlite3 *db, const struct hook_save *h, struct error *error)
{
    DB_STATEMENT s = NULL;
    int err = prepare(db,
                      "INSERT OR REPLACE INTO weir_hooks"
                      " (pipeline, hook, table_name, since, position)"
                      " VALUES (?1, ?2, ?3, ?4, ?5)",
                      &h->id, &s, error);
    if (err)
        return err;
    sqlite3_bind_text(s, 3, h->id.table, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 4, h->since_us);
    sqlite3_bind_int64(s, 5, h->position);
    return db_run(s, error);
}

static bool is_saved(const struct hook_save *save, size_t n, const char *pipeline,
                     const char *hook)
{
    size_t i = 0;
    while (i < n && (strcmp(save[i].id.pipeline, pipeline) != 0 ||
                     strcmp(save[i].id.hook, hook) != 0))
        i++;
    return i < n;
}

/* Those of pipelines that are left out before their tables are known, whose place stays as it is in the file. */
static int add_left_out(sqlite3 *db, const struct hook_save *save, size_t n,
                        size_t room, struct changes_kept *kept, size_t *n_kept,
                        struct error *error)
{
    DB_STATEMENT list = NULL;
    int code = SQLITE_DONE;
    int err = db_prepare(db,
                         "SELECT pipeline, hook, table_name, position FROM weir_hooks"
                         " JOIN weir_meta ON key = 'weir_changes_' || table_name"
                         " WHERE CAST(value AS INTEGER) = since ORDER BY 1, 2",
                         0, &list, error);
    while (!err && *n_kept < room && (code = sqlite3_step(list)) == SQLITE_ROW) {
        const char *pipeline = (const char *)sqlite3_column_text(list, 0),
                   *hook = (const char *)sqlite3_column_text(list, 1),
                   *table = (const char *)sqlite3_column_text(list, 2);
        if (pipeline && hook && is_saved(save, n, pipeline, hook))
            continue;
        struct changes_kept *k = &kept[(*n_kept)++];
        k->table = table ? strdup(table) : NULL;
        k->position = sqlite3_column_int64(list, 3);
        if (!pipeline || !hook || !k->table)
            err = error_set(error, -ENOMEM, "out of memory");
    }
    return !err && code != SQLITE_DONE && code != SQLITE_ROW ? db_error(db, error)
                                                             : err;
}

/* Of the tables, what all of their hooks are done with may go. */
static int keep_changes(struct store *s, const struct hook_save *save, size_t n,
                        struct error *error)
{
    sqlite3_int64 others = 0;
    int err = db_int(s->db, "SELECT count(*) FROM weir_hooks", NULL, &others, error);
    if (err)
        return err;
    const size_t room = n + (size_t)others;
    struct changes_kept *kept = calloc(room + 1, sizeof(*kept));
    if (!kept)
        return error_set(error, -ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++)
        kept[i] = (struct changes_kept){.table = save[i].id.table,
                                        .position = save[i].position};
    size_t n_kept = n;
    err = add_left_out(s->db, save, n, room, kept, &n_kept, error);
    if (!err)
        err = changes_keep(s, CHANGES_HOOKS, kept, n_kept, error);
    for (size_t i = n; i < n_kept; i++)
        free((char *)kept[i].table);
    free(kept);
    return err;
}

int hooks_save(struct store *s, const struct hook_save *save, size_t n,
               struct error *error)
{
    int err = db_run(s->begin, error);
    for (size_t i = 0; !err && i < n; i++) {
        err = save_changes(s->db, &save[i], error);
        if (!err && save[i].position >= 0)
            err = save_place(s->db, &save[i], error);
    }
    if (!err)
        err = db_run(s->commit, error);
    if (err && !sqlite3_get_autocommit(s->db))
        db_step(s->rollback);
    return err ? err : keep_changes(s, save, n, error);
}

/* ---- Opening ------------------------------------------------------------------------------------ */

struct open_call {
    const struct hook_id *id;
    const struct table *const *table;
    size_t n;
    struct error *error;
};

/* Hooks that are not configured any more. */
static int forget_others(sqlite3 *db, const struct open_call *c)
{
    static const char *const table[] = {"weir_hooks", "weir_hook_states",
                                        "weir_hook_notices"};
    int err = db_exec(db,
                      "CREATE TEMP TABLE IF NOT EXISTS hook_names (pipeline, hook);"
                      "DELETE FROM temp.hook_names",
                      c->error);
    DB_STATEMENT put = NULL;
    if (!err)
        err = db_prepare(db, "INSERT INTO temp.hook_names VALUES (?1, ?2)", 0, &put,
                         c->error);
    for (size_t i = 0; !err && i < c->n; i++) {
        sqlite3_bind_text(put, 1, c->id[i].pipeline, -1, SQLITE_STATIC);
        sqlite3_bind_text(put, 2, c->id[i].hook, -1, SQLITE_STATIC);
        err = db_run(put, c->error);
    }
    for (size_t i = 0; !err && i < c->n; i++)
        for (size_t k = 1;
             !err && !c->id[i].alert && k < sizeof(table) / sizeof(table[0]); k++) {
            sqlite3_str *sql = sqlite3_str_new(db);
            sqlite3_str_appendf(sql,
                                "DELETE FROM %s WHERE pipeline = '%q' AND hook = '%q'",
                                table[k], c->id[i].pipeline, c->id[i].hook);
            err = db_exec_str(db, sql, c->error);
        }
    for (size_t k = 0; !err && k < sizeof(table) / sizeof(table[0]); k++) {
        sqlite3_str *sql = sqlite3_str_new(db);
        sqlite3_str_appendf(sql,
                            "DELETE FROM %s WHERE (pipeline, hook) NOT IN"
                            " (SELECT pipeline, hook FROM temp.hook_names)",
                            table[k]);
        err = db_exec_str(db, sql, c->error);
    }
    return err;
}

/* Finds the place, or makes one at the end. */
static int open_place(struct store *s, const struct open_call *c, size_t i,
                      struct hook_save *ret)
{
    struct changes known;
    int64_t since_us, position;
    int err = changes_begin_here(s, c->table[i], &known, c->error);
    if (err)
        return err;
    *ret = (struct hook_save){
        .id = c->id[i], .since_us = known.since_us, .position = known.last};
    err = hooks_place(s->db, &c->id[i], &since_us, &position, c->error);
    if (err == -ENOENT)
        return 0;
    ret->since_us = since_us; /* another numbering is told where it is read */
    ret->position = position;
    return err;
}

static int open_all(struct store *s, void *ctx)
{
    const struct open_call *c = ctx;
    struct hook_save *save = calloc(c->n + 1, sizeof(*save));
    int err = save ? forget_others(s->db, c) : -ENOMEM;
    size_t n = 0;
    for (size_t i = 0; !err && i < c->n; i++)
        err = c->table[i] ? open_place(s, c, i, &save[n++]) : 0;
    if (!err)
        err = hooks_save(s, save, n, c->error);
    free(save);
    return err;
}

int hooks_open(struct store *s, const struct hook_id *id,
               const struct table *const *table, size_t n, struct error *error)
{
    struct error own = {""};
    struct open_call c = {.id = id, .table = table, .n = n, .error = &own};
    int err = store_call(s, open_all, &c);
    return err ? error_set(error, err, "webhooks: %s",
                           own.text[0] ? own.text : strerror(-err))
               : 0;
}

/* ---- Reading ------------------------------------------------------------------------------------ */

int hooks_place(sqlite3 *db, const struct hook_id *id, int64_t *ret_since_us,
                int64_t *ret_position, struct error *error)
{
    DB_STATEMENT s = NULL;
    int err = prepare(db,
                      "SELECT since, position FROM weir_hooks"
                      " WHERE pipeline = ?1 AND hook = ?2 AND table_name = ?3",
                      id, &s, error);
    if (err)
        return err;
    sqlite3_bind_text(s, 3, id->table, -1, SQLITE_STATIC);
    int code = sqlite3_step(s);
    if (code == SQLITE_DONE)
        return -ENOENT;
    if (code != SQLITE_ROW)
        return db_error(db, error);
    *ret_since_us = sqlite3_column_int64(s, 0);
    *ret_position = sqlite3_column_int64(s, 1);
    return 0;
}

int hooks_each_state(sqlite3 *db, const struct hook_id *id,
                     int (*call)(void *ctx, const char *key,
                                 const struct hook_state *state),
                     void *ctx, struct error *error)
{
    DB_STATEMENT s = NULL;
    int err = prepare(db,
                      "SELECT key, since, last, told FROM weir_hook_states"
                      " WHERE pipeline = ?1 AND hook = ?2",
                      id, &s, error);
    int code = SQLITE_DONE;
    while (!err && (code = sqlite3_step(s)) == SQLITE_ROW) {
        const char *key = (const char *)sqlite3_column_text(s, 0);
        const struct hook_state state = {.since_us = sqlite3_column_int64(s, 1),
                                         .last_us = sqlite3_column_int64(s, 2),
                                         .told_us =
                                             sqlite3_column_type(s, 3) == SQLITE_NULL
                                                 ? INT64_MIN
                                                 : sqlite3_column_int64(s, 3)};
        err = key ? call(ctx, key, &state) : -ENOMEM;
        if (err)
            error_set(error, err, "out of memory");
    }
    return err || code == SQLITE_DONE ? err : db_error(db, error);
}

int hooks_each_notice(sqlite3 *db, const struct hook_id *id,
                      int (*call)(void *ctx, int64_t seq, const char *key,
                                  const char *body),
                      void *ctx, struct error *error)
{
    DB_STATEMENT s = NULL;
    int err = prepare(db,
                      "SELECT seq, key, body FROM weir_hook_notices"
                      " WHERE pipeline = ?1 AND hook = ?2 ORDER BY seq",
                      id, &s, error);
    int code = SQLITE_DONE;
    while (!err && (code = sqlite3_step(s)) == SQLITE_ROW) {
        const char *key = (const char *)sqlite3_column_text(s, 1);
        const char *body = (const char *)sqlite3_column_text(s, 2);
        err = key && body ? call(ctx, sqlite3_column_int64(s, 0), key, body) : -ENOMEM;
        if (err)
            error_set(error, err, "out of memory");
    }
    return err || code == SQLITE_DONE ? err : db_error(db, error);
}
