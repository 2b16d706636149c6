/* SPDX-License-Identifier: Apache-2.0
 *
 * Result tables: made from struct table, checked against what is in the file, with a view that shows
 * times as text.
 */
#include "base/clock.h"
#include "batch/schema.h"
#include "store/db.h"
#include "store/internal.h"
#include "store/sql.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *result_table_sql_type(enum weir_type type)
{
    switch (type) {
    case WEIR_FLOAT:
        return "REAL";
    case WEIR_STRING:
        return "TEXT";
    default:
        return "INTEGER";
    }
}

/* Also in a table whose pipeline no longer revises, and gives no revision, it is 0 and not null. */
static const char *result_table_constraint(const struct table *t, size_t c)
{
    if (c < t->n_primary)
        return " NOT NULL";
    return t->revision && c == t->revision ? " NOT NULL DEFAULT 0" : "";
}

static int result_table_create(sqlite3 *db, const struct table *t, struct error *error)
{
    sqlite3_str *sql = sqlite3_str_new(db);
    sqlite3_str_appendf(sql, "CREATE TABLE \"%w\" (\n", t->name);
    for (size_t c = 0; c < t->n_columns; c++)
        if (t->rows || c != t->n_primary)
            sqlite3_str_appendf(sql, "    \"%w\" %s%s,\n", t->column[c].name,
                                result_table_sql_type(t->column[c].type),
                                result_table_constraint(t, c));
    if (!t->rows)
        sqlite3_str_appendall(sql, "    \"window_end\" INTEGER");
    if (store_is_generated(t, t->n_primary))
        sqlite3_str_appendf(sql, " GENERATED ALWAYS AS (window_start + %lld) VIRTUAL",
                            (long long)window_fixed_size(&t->window));
    sqlite3_str_appendall(sql, t->rows ? "    PRIMARY KEY (" : ",\n    PRIMARY KEY (");
    for (size_t c = 0; c < t->n_primary; c++)
        sqlite3_str_appendf(sql, "%s\"%w\"", c ? ", " : "", t->column[c].name);
    sqlite3_str_appendall(sql, ")\n) STRICT, WITHOUT ROWID");
    return db_exec_str(db, sql, error);
}

/* The Gregorian calendar repeats itself after so many seconds, and SQLite knows the years 0 to 9999. */
#define YEARS_400 "12622780800"
#define YEAR_0    "-62167219200"
#define YEAR_9999 "253402300799" /* its last second */

/* Of a second outside of these years: the same second of a cycle around 1970, and its year moved back. It is short, as all who
 * open the database parse it, for each time in each table. */
static const char result_table_far_time[] =
    "(SELECT printf(iif(y < 0, '%%05d', '%%04d'), y) ||"
    " strftime('-%%m-%%dT%%H:%%M:%%S', r, 'unixepoch')"
    " FROM (SELECT strftime('%%Y', r, 'unixepoch') + s / " YEARS_400
    " * 400 AS y, r FROM (SELECT s, s %% " YEARS_400 " AS r FROM (SELECT %s AS s))))";

/* An int64 time as RFC 3339 text, the fraction only where there is one; floors before 1970 too. */
static void result_table_append_time(sqlite3_str *sql, const char *column)
{
    char *f = sqlite3_mprintf("((\"%w\" %% 1000000 + 1000000) %% 1000000)", column);
    char *s =
        sqlite3_mprintf("(\"%w\" / 1000000 - (\"%w\" %% 1000000 < 0))", column, column);
    char *far = sqlite3_mprintf(result_table_far_time, s);
    sqlite3_str_appendf(
        sql,
        "CASE WHEN %s BETWEEN " YEAR_0 " AND " YEAR_9999
        " THEN strftime('%%Y-%%m-%%dT%%H:%%M:%%S', %s, 'unixepoch') ELSE %s END"
        " || CASE %s WHEN 0 THEN 'Z' ELSE printf('.%%06dZ', %s) END",
        s, s, far, f, f);
    sqlite3_free(far);
    sqlite3_free(s);
    sqlite3_free(f);
}

static char *result_table_view_text(sqlite3 *db, const struct table *t)
{
    sqlite3_str *sql = sqlite3_str_new(db);
    sqlite3_str_appendf(sql, "CREATE VIEW \"%w_readable\" AS\nSELECT ", t->name);
    for (size_t i = 0; i < t->n_columns; i++) {
        const struct table_column *c = &t->column[table_shown(t, i)];
        sqlite3_str_appendall(sql, i ? ",\n    " : "");
        if (c->type == WEIR_TIME)
            result_table_append_time(sql, c->name);
        else
            sqlite3_str_appendf(sql, "\"%w\"", c->name);
        sqlite3_str_appendf(sql, " AS \"%w\"", c->name);
    }
    sqlite3_str_appendf(sql, "\nFROM \"%w\"", t->name);
    return sqlite3_str_finish(sql);
}

/* 1: the schema has an entry of this name and type; `text`, if not NULL, must also be its SQL. */
static int result_table_in_schema(sqlite3 *db, const char *type, const char *name,
                                  const char *text, struct error *error)
{
    DB_STATEMENT s = NULL;
    int err = db_prepare(db,
                         "SELECT 1 FROM sqlite_schema WHERE type = ?1 AND"
                         " name = ?2 COLLATE NOCASE AND (?3 IS NULL OR sql = ?3)",
                         0, &s, error);
    if (err)
        return err;
    sqlite3_bind_text(s, 1, type, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, name, -1, SQLITE_STATIC);
    if (text)
        sqlite3_bind_text(s, 3, text, -1, SQLITE_STATIC);
    int code = sqlite3_step(s);
    return code == SQLITE_ROW ? 1 : code == SQLITE_DONE ? 0 : db_error(db, error);
}

/* Made anew when its text is not what it should be: new columns, a newer weir. `fresh`: its table is new; `none`: there
 * was none either. */
static int result_table_view(sqlite3 *db, const struct table *t, bool fresh, bool none,
                             struct error *error)
{
    char *text = result_table_view_text(db, t);
    char *name = sqlite3_mprintf("%s_readable", t->name);
    int err = 0;
    if (!text || !name)
        err = error_set(error, -ENOMEM, "out of memory");
    else if (!fresh)
        err = result_table_in_schema(db, "view", name, text, error);
    if (err == 0) {
        sqlite3_str *drop = none ? NULL : sqlite3_str_new(db);
        if (drop) {
            sqlite3_str_appendf(drop, "DROP VIEW IF EXISTS \"%w\"", name);
            err = db_exec_str(db, drop, error);
        }
        if (!err)
            err = db_exec(db, text, error);
    }
    sqlite3_free(name);
    sqlite3_free(text);
    return err < 0 ? err : 0;
}

static int result_table_note_columns(sqlite3 *db, const struct table *t,
                                     struct error *error)
{
    DB_STATEMENT s = NULL;
    int err = db_prepare(db, sql_column_put, 0, &s, error);
    for (size_t c = 0; !err && c < t->n_columns; c++) {
        const struct table_column *column = &t->column[c];
        sqlite3_bind_text(s, 1, t->name, -1, SQLITE_STATIC);
        sqlite3_bind_text(s, 2, column->name, -1, SQLITE_STATIC);
        sqlite3_bind_text(s, 3, schema_type_name(column->type), -1, SQLITE_STATIC);
        sqlite3_bind_int64(s, 4, c < t->n_primary ? (sqlite3_int64)c + 1 : 0);
        sqlite3_bind_text(s, 5, column->help ? column->help : "", -1, SQLITE_STATIC);
        err = db_run(s, error);
    }
    return err;
}

static int result_table_note(sqlite3 *db, const struct table *t, struct error *error)
{
    DB_STATEMENT s = NULL;
    int err = db_prepare(db, sql_table_put, 0, &s, error);
    if (err)
        return err;
    sqlite3_bind_text(s, 1, t->name, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, t->pipeline, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 3, window_fixed_size(&t->window));
    if (t->retain_us != INT64_MAX)
        sqlite3_bind_int64(s, 4, t->retain_us);
    err = db_run(s, error);
    return err ? err : result_table_note_columns(db, t, error);
}

#define TABLES_ADVICE "rename the pipeline, or drop the table with the sqlite3 shell"

static void result_table_lengths(int64_t window_us, char text[2 * CLOCK_TEXT_MAX])
{
    char size[CLOCK_TEXT_MAX];
    clock_format_duration(window_us, size);
    snprintf(text, 2 * CLOCK_TEXT_MAX, window_us ? "%s long" : "of different lengths",
             size);
}

static int result_table_check_window(sqlite3 *db, const struct table *t,
                                     struct error *error)
{
    DB_STATEMENT s = NULL;
    int err = db_prepare(
        db, "SELECT pipeline, window_us FROM weir_tables WHERE name = ?", 0, &s, error);
    if (err)
        return err;
    sqlite3_bind_text(s, 1, t->name, -1, SQLITE_STATIC);
    int code = sqlite3_step(s);
    if (code == SQLITE_DONE)
        return error_set(error, -EINVAL,
                         "the database has a table of that name which weir did not "
                         "make; " TABLES_ADVICE);
    if (code != SQLITE_ROW)
        return db_error(db, error);
    const char *pipeline = (const char *)sqlite3_column_text(s, 0);
    if (!pipeline || strcmp(pipeline, t->pipeline) != 0)
        return error_set(
            error, -EINVAL,
            "it belongs to pipeline '%s'; rename one of the two, or an analyzer's `as`",
            pipeline ? pipeline : "");
    int64_t was_us = sqlite3_column_int64(s, 1);
    int64_t is_us = window_fixed_size(&t->window);
    if (was_us == is_us)
        return 0;
    char was[2 * CLOCK_TEXT_MAX], is[2 * CLOCK_TEXT_MAX];
    result_table_lengths(was_us, was);
    result_table_lengths(is_us, is);
    return error_set(
        error, -EINVAL,
        "its windows are %s, those of the configuration %s; " TABLES_ADVICE, was, is);
}

/* What weir_columns says of one column. *ret_key is -1 if it says nothing. */
static int result_table_known_column(sqlite3_stmt *s, const struct table *t,
                                     const char *name, char ret_type[16], int *ret_key,
                                     struct error *error)
{
    sqlite3_reset(s);
    sqlite3_bind_text(s, 1, t->name, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, name, -1, SQLITE_STATIC);
    int code = sqlite3_step(s);
    *ret_key = -1;
    if (code == SQLITE_DONE)
        return 0;
    if (code != SQLITE_ROW)
        return db_error(sqlite3_db_handle(s), error);
    const char *type = (const char *)sqlite3_column_text(s, 0);
    *ret_key = sqlite3_column_int(s, 1);
    sqlite3_snprintf(16, ret_type, "%s", type ? type : "");
    return 0;
}

static int result_table_add_column(sqlite3 *db, const struct table *t, size_t c,
                                   struct error *error)
{
    sqlite3_str *sql = sqlite3_str_new(db);
    sqlite3_str_appendf(sql, "ALTER TABLE \"%w\" ADD COLUMN \"%w\" %s%s", t->name,
                        t->column[c].name, result_table_sql_type(t->column[c].type),
                        result_table_constraint(t, c));
    return db_exec_str(db, sql, error);
}

static int result_table_check_column(sqlite3_stmt *s, const struct table *t, size_t c,
                                     struct error *error)
{
    const struct table_column *column = &t->column[c];
    int place = c < t->n_primary ? (int)c + 1 : 0;
    char type[16];
    int key;
    int err = result_table_known_column(s, t, column->name, type, &key, error);
    if (err)
        return err;
    if (key == -1 && store_is_generated(t, c))
        return 0; /* such a column was not noted once, but every table has it */
    if (key == -1 && place == 0)
        return result_table_add_column(sqlite3_db_handle(s), t, c, error);
    if (key != place)
        return error_set(error, -EINVAL,
                         "its primary key is another one (column '%s'); " TABLES_ADVICE,
                         column->name);
    if (strcmp(type, schema_type_name(column->type)) != 0)
        return error_set(error, -EINVAL,
                         "column '%s' is of type %s, now %s; " TABLES_ADVICE,
                         column->name, type, schema_type_name(column->type));
    return 0;
}

/* Key columns are the same, outputs too or new; outputs no longer wanted stay and become null. A new
 * `revision` is 0 in the rows that are there, which is what they are: given out once. */
static int result_table_check_columns(sqlite3 *db, const struct table *t,
                                      struct error *error)
{
    sqlite3_int64 keys = 0;
    int err =
        db_int(db, "SELECT count(*) FROM weir_columns WHERE key > 0 AND table_name = ?",
               t->name, &keys, error);
    if (err)
        return err;
    if (keys != (sqlite3_int64)t->n_primary)
        return error_set(error, -EINVAL,
                         "its primary key has %lld columns, that of the configuration "
                         "%zu; " TABLES_ADVICE,
                         (long long)keys, t->n_primary);
    DB_STATEMENT s = NULL;
    err = db_prepare(
        db, "SELECT type, key FROM weir_columns WHERE table_name = ? AND name = ?", 0,
        &s, error);
    for (size_t c = 0; !err && c < t->n_columns; c++)
        err = result_table_check_column(s, t, c, error);
    return err;
}

/* Somebody dropped the table by hand: what is noted of it goes too. */
static int result_table_forget(sqlite3 *db, const struct table *t, struct error *error)
{
    sqlite3_str *sql = sqlite3_str_new(db);
    sqlite3_str_appendf(sql,
                        "DELETE FROM weir_columns WHERE table_name = %Q;"
                        "DELETE FROM weir_tables WHERE name = %Q;"
                        "DROP TABLE IF EXISTS \"weir_overdue_%w\";"
                        "DROP TABLE IF EXISTS \"weir_given_%w\"",
                        t->name, t->name, t->name, t->name);
    return db_exec_str(db, sql, error);
}

/* 1: nothing is in the file but what is the server's own, and nothing of tables that were dropped: none of a thousand new
 * ones needs to be looked for. */
static int result_table_none(sqlite3 *db, struct error *error)
{
    sqlite3_int64 some = 1;
    int err = db_int(db,
                     "SELECT EXISTS (SELECT 1 FROM weir_tables)"
                     " OR EXISTS (SELECT 1 FROM weir_columns)"
                     " OR EXISTS (SELECT 1 FROM sqlite_schema"
                     " WHERE name GLOB 'weir_overdue_*' OR name GLOB 'weir_given_*'"
                     " OR NOT (name GLOB 'weir_*' OR name GLOB 'sqlite_*'))",
                     NULL, &some, error);
    return err ? err : !some;
}

int result_table_sync(sqlite3 *db, const struct table *t, bool none,
                      struct error *error)
{
    int there = none ? 0 : result_table_in_schema(db, "table", t->name, NULL, error);
    int err = there;
    if (there == 0) {
        err = none ? 0 : result_table_forget(db, t, error);
        if (!err)
            err = result_table_create(db, t, error);
    } else if (there == 1) {
        err = result_table_check_window(db, t, error);
        if (!err)
            err = result_table_check_columns(db, t, error);
    }
    if (!err)
        err = overdue_make(db, t, error);
    if (!err && there)
        err = replaced_sync(db, t, error);
    if (!err)
        err = result_table_note(db, t, error);
    if (!err)
        err = result_table_view(db, t, there == 0, none, error);
    return err;
}

static int result_table_new(struct store *s, const struct table *table,
                            struct store_table **ret, struct error *error)
{
    struct store_pipeline *pipeline;
    int err = store_need_pipeline(s, table->pipeline, &pipeline, error);
    struct store_pipeline *top = pipeline;
    if (!err && table->top)
        err = store_need_pipeline(s, table->top, &top, error);
    if (err)
        return err;
    chains_join(s, pipeline, top);
    struct store_table *t = calloc(1, sizeof(*t));
    if (!t)
        return error_set(error, -ENOMEM, "out of memory");
    *t = (struct store_table){.table = table,
                              .pipeline = pipeline,
                              .purged_us = INT64_MIN,
                              .given_us = INT64_MIN,
                              .next = s->tables};
    s->tables = t;
    *ret = t;
    return 0;
}

static int result_table_both(const struct table *a, const struct table *b,
                             struct error *error)
{
    return error_set(error, -EINVAL,
                     "pipelines '%s' and '%s' both have a table of that name",
                     a->pipeline, b->pipeline);
}

/* Of the tables that are there, and those `before` it that are made with it. `again`: the pipeline may have it
 * already. */
static int result_table_check_name(const struct store *s, const struct table *table,
                                   const struct table *const *before, size_t n_before,
                                   bool again, struct error *error)
{
    if (strncasecmp(table->name, "weir_", 5) == 0)
        return error_set(error, -EINVAL,
                         "names that begin with weir_ are the server's own");
    for (const struct store_table *t = s->tables; t; t = t->next)
        if (strcasecmp(t->table->name, table->name) == 0 &&
            !(again && strcmp(t->table->pipeline, table->pipeline) == 0))
            return result_table_both(t->table, table, error);
    for (size_t i = 0; i < n_before; i++)
        if (strcasecmp(before[i]->name, table->name) == 0)
            return result_table_both(before[i], table, error);
    return 0;
}

static int result_table_make(struct store *s, const struct table *table,
                             const struct table *const *before, size_t n_before,
                             bool again, bool none, struct error *error)
{
    int err = result_table_check_name(s, table, before, n_before, again, error);
    if (!err)
        err = result_table_sync(s->db, table, none, error);
    if (err)
        error_prefix(error, "table '%s'", table->name);
    return err;
}

static int result_table_make_all(struct store *s, const struct table *const *table,
                                 size_t n, bool again, struct error *error)
{
    int err = db_exec(s->db, "BEGIN IMMEDIATE", error);
    if (err)
        return err;
    int none = result_table_none(s->db, error);
    err = none < 0 ? none : 0;
    for (size_t i = 0; !err && i < n; i++)
        err = result_table_make(s, table[i], table, i, again, none, error);
    if (!err)
        err = db_exec(s->db, "COMMIT", error);
    if (err)
        db_exec(s->db, "ROLLBACK", NULL);
    return err;
}

int store_make_tables(struct store *s, const struct table *const *table, size_t n,
                      struct error *error)
{
    return result_table_make_all(s, table, n, true, error);
}

static int result_table_use(struct store *s, const struct table *table,
                            struct error *error)
{
    struct store_table *t = NULL;
    int err = result_table_new(s, table, &t, error);
    if (!err && (insert_prepare(s, t) || purge_prepare(s, t)))
        err = db_error(s->db, error);
    if (err)
        error_prefix(error, "table '%s'", table->name);
    return err;
}

int store_tables(struct store *s, const struct table *const *table, size_t n,
                 struct error *error)
{
    int err = result_table_make_all(s, table, n, false, error);
    for (size_t i = 0; !err && i < n; i++)
        err = result_table_use(s, table[i], error);
    return err;
}

int store_table(struct store *s, const struct table *table, struct error *error)
{
    return store_tables(s, &table, 1, error);
}
