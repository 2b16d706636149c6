/* SPDX-License-Identifier: Apache-2.0 */
#include "expr/events.h"

#include "base/buffer.h"
#include "expr/pure_time.h"
#include "expr/split.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct view_table {
    sqlite3_vtab base;
    struct events *events;
};

struct view_cursor {
    sqlite3_vtab_cursor base;
    struct events *events;
};

static const char *const declared_type[] = {
    [WEIR_INT] = "INTEGER", [WEIR_FLOAT] = "REAL",   [WEIR_BOOL] = "INTEGER",
    [WEIR_STRING] = "TEXT", [WEIR_TIME] = "INTEGER",
};

/* "name" (c TYPE, ...) with quoted names. Without a rowid: that of a row would be its place in the batch. */
static void put_columns(struct buffer *sql, const struct schema *schema)
{
    for (size_t i = 0; i < schema->n; i++)
        buffer_printf(sql, "%s\"%s\" %s", i ? ", " : " (", schema->column[i].name,
                      declared_type[schema->column[i].type]);
    buffer_printf(sql, ", PRIMARY KEY(\"%s\")) WITHOUT ROWID", schema->column[0].name);
}

static int view_connect(sqlite3 *db, void *aux, int argc, const char *const *argv,
                        sqlite3_vtab **ret, char **message)
{
    (void)argc, (void)argv, (void)message;
    struct events *f = aux;
    struct buffer sql = {0};
    buffer_puts(&sql, "CREATE TABLE x");
    put_columns(&sql, f->schema);
    struct view_table *t = sqlite3_malloc(sizeof(*t));
    int r =
        t && !sql.error ? sqlite3_declare_vtab(db, buffer_text(&sql)) : SQLITE_NOMEM;
    buffer_free(&sql);
    if (r != SQLITE_OK) {
        sqlite3_free(t);
        return r;
    }
    *t = (struct view_table){.events = f};
    *ret = &t->base;
    return SQLITE_OK;
}

static int view_disconnect(sqlite3_vtab *table)
{
    sqlite3_free(table);
    return SQLITE_OK;
}

static int view_best_index(sqlite3_vtab *table, sqlite3_index_info *info)
{
    (void)table;
    info->estimatedCost = 1024;
    return SQLITE_OK;
}

static int view_open(sqlite3_vtab *table, sqlite3_vtab_cursor **ret)
{
    struct view_cursor *c = sqlite3_malloc(sizeof(*c));
    if (!c)
        return SQLITE_NOMEM;
    *c = (struct view_cursor){.events = ((struct view_table *)table)->events};
    *ret = &c->base;
    return SQLITE_OK;
}

static int view_close(sqlite3_vtab_cursor *cursor)
{
    sqlite3_free(cursor);
    return SQLITE_OK;
}

static int view_filter(sqlite3_vtab_cursor *cursor, int plan, const char *name,
                       int argc, sqlite3_value **argv)
{
    (void)cursor, (void)plan, (void)name, (void)argc, (void)argv;
    return SQLITE_OK; /* goes on from events->at */
}

static int view_next(sqlite3_vtab_cursor *cursor)
{
    ((struct view_cursor *)cursor)->events->at++;
    return SQLITE_OK;
}

static int view_eof(sqlite3_vtab_cursor *cursor)
{
    const struct events *f = ((struct view_cursor *)cursor)->events;
    return f->at >= f->n;
}

static int view_column(sqlite3_vtab_cursor *cursor, sqlite3_context *to, int column)
{
    const struct events *f = ((struct view_cursor *)cursor)->events;
    const struct weir_column *c = &f->batch->view[column];
    uint32_t row = f->row[f->at];
    if (weir_is_null(c, row))
        return SQLITE_OK;
    size_t size;
    const char *s;
    switch (c->type) {
    case WEIR_FLOAT:
        sqlite3_result_double(to, weir_number(c, row));
        break;
    case WEIR_STRING:
        s = weir_string(c, row, &size);
        sqlite3_result_text(to, s, (int)size, SQLITE_STATIC);
        break;
    case WEIR_BOOL:
        sqlite3_result_int(to, weir_bool(c, row));
        break;
    default:
        sqlite3_result_int64(to, weir_int(c, row));
    }
    return SQLITE_OK;
}

static const sqlite3_module view_module = {
    .iVersion = 1,
    .xConnect = view_connect, /* no xCreate: the table is there by its name */
    .xDisconnect = view_disconnect,
    .xBestIndex = view_best_index,
    .xOpen = view_open,
    .xClose = view_close,
    .xFilter = view_filter,
    .xNext = view_next,
    .xEof = view_eof,
    .xColumn = view_column,
};

/* Text in double quotes is a column's name, as in SQL; many write it as in other languages. */
static void hint_at_quotes(const char *where, struct error *error)
{
    static const char begin[] = "no such column: ";
    const char *name = error->text + sizeof(begin) - 1;
    char quoted[128];
    if (strncmp(error->text, begin, sizeof(begin) - 1) || strstr(name, "quote"))
        return;
    name += *name == '"';
    size_t size = strcspn(name, "\"");
    if (size > sizeof(quoted) - 3)
        return;
    snprintf(quoted, sizeof(quoted), "\"%.*s\"", (int)size, name);
    if (!strstr(where, quoted))
        return;
    char hint[160];
    snprintf(hint, sizeof(hint), "; text stands in single quotes: '%.*s'", (int)size,
             name);
    size_t used = strlen(error->text);
    snprintf(error->text + used, sizeof(error->text) - used, "%s", hint);
}

/* SQLite's text, without its talk of the index that is our means only. */
static int refuse(struct events *f, const char *where, struct error *error)
{
    static const char *const talk[] = {" in partial index WHERE clauses",
                                       " in an index"};
    error_set(error, -EINVAL, "%s", sqlite3_errmsg(f->db));
    for (size_t i = 0; error && i < sizeof(talk) / sizeof(talk[0]); i++) {
        char *at = strstr(error->text, talk[i]);
        if (at)
            *at = 0;
    }
    if (error)
        hint_at_quotes(where, error);
    return -EINVAL;
}

/* 'now' and 'localtime' are arguments, which SQLite sees only when it evaluates: with a row that is null but for the
 * time, and as the value of an index, for which both sides of AND are evaluated. A partial index would stop at the
 * first. */
static int check_now(struct events *f, const char *where, struct error *error)
{
    struct buffer sql = {0};
    buffer_printf(&sql,
                  "DROP INDEX i; DROP INDEX j; CREATE INDEX k ON event((%s\n)); "
                  "INSERT INTO event(\"%s\") VALUES (0)",
                  where, f->schema->column[0].name);
    int r = sql.error ? SQLITE_NOMEM
                      : sqlite3_exec(f->db, buffer_text(&sql), NULL, NULL, NULL);
    buffer_free(&sql);
    if (r == SQLITE_NOMEM)
        return error_set(error, -ENOMEM, "no memory");
    bool now = r != SQLITE_OK && strstr(sqlite3_errmsg(f->db), PURE_TIME_REFUSED);
    return now ? refuse(f, where, error) : 0;
}

/* A partial index takes just the expressions we want: SQLite refuses sub-selects and functions that are
 * not deterministic there, in its own words. Without the parentheses it refuses those that do not
 * match, as in "x) OR (y". */
static int check_expression(struct events *f, const char *where, struct error *error)
{
    struct buffer sql = {0};
    buffer_puts(&sql, "CREATE TABLE event");
    put_columns(&sql, f->schema);
    buffer_printf(&sql,
                  "; CREATE INDEX i ON event(\"%s\") WHERE (%s\n); "
                  "CREATE INDEX j ON event(\"%s\") WHERE %s\n",
                  f->schema->column[0].name, where, f->schema->column[0].name, where);
    int r = sql.error ? SQLITE_NOMEM
                      : sqlite3_exec(f->db, buffer_text(&sql), NULL, NULL, NULL);
    buffer_free(&sql);
    if (r == SQLITE_NOMEM)
        return error_set(error, -ENOMEM, "no memory");
    return r == SQLITE_OK ? check_now(f, where, error) : refuse(f, where, error);
}

/* What tells the versions of SQLite apart would tell results apart. */
static int authorize(void *unused, int action, const char *a, const char *b,
                     const char *database, const char *trigger)
{
    (void)unused, (void)a, (void)database, (void)trigger;
    return action == SQLITE_FUNCTION && b && !strncasecmp(b, "sqlite_", 7) ? SQLITE_DENY
                                                                           : SQLITE_OK;
}

int events_new(const struct schema *schema, const char *expression, struct events **ret,
               struct error *error)
{
    struct events *f = calloc(1, sizeof(*f));
    if (!f)
        return error_set(error, -ENOMEM, "no memory");
    f->schema = schema;
    int r = 0;
    if (sqlite3_open_v2(":memory:", &f->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
                            SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK ||
        sqlite3_create_module(f->db, "events", &view_module, f) != SQLITE_OK ||
        pure_time_install(f->db) != SQLITE_OK || split_install(f->db) != SQLITE_OK)
        r = error_set(error, -ENOMEM, "no memory");
    if (r == 0) {
        sqlite3_db_config(f->db, SQLITE_DBCONFIG_DQS_DML, 0,
                          NULL); /* "x" is a column, always */
        sqlite3_db_config(f->db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
        sqlite3_set_authorizer(f->db, authorize, NULL);
        r = check_expression(f, expression, error);
    }
    if (r < 0) {
        events_free(f);
        return r;
    }
    *ret = f;
    return 0;
}

int events_select(struct events *f, bool where, const char *expression,
                  struct error *error)
{
    struct buffer sql = {0};
    buffer_printf(
        &sql, where ? "SELECT 1 FROM events WHERE (%s\n)" : "SELECT (%s\n) FROM events",
        expression);
    const char *tail = NULL;
    int r = sql.error
                ? SQLITE_NOMEM
                : sqlite3_prepare_v3(f->db, buffer_text(&sql), -1,
                                     SQLITE_PREPARE_PERSISTENT, &f->select, &tail);
    bool more = r == SQLITE_OK && *tail;
    buffer_free(&sql);
    if (r != SQLITE_OK)
        return error_set(error, r == SQLITE_NOMEM ? -ENOMEM : -EINVAL, "%s",
                         sqlite3_errmsg(f->db));
    if (more || sqlite3_bind_parameter_count(f->select))
        return error_set(error, -EINVAL,
                         "one expression without parameters is expected");
    return 0;
}

void events_free(struct events *f)
{
    if (!f)
        return;
    sqlite3_finalize(f->select);
    sqlite3_close(f->db);
    free(f);
}

void events_begin(struct events *f, const struct batch *b, const uint32_t *row,
                  uint32_t n)
{
    f->batch = b;
    f->row = row;
    f->n = n;
    f->at = 0;
}

enum events_step events_step(struct events *f)
{
    if (f->at >= f->n)
        return EVENTS_END;
    int r = sqlite3_step(f->select);
    if (r == SQLITE_ROW)
        return EVENTS_ROW;
    sqlite3_reset(f->select);
    if (r == SQLITE_DONE || f->at >= f->n)
        return EVENTS_END;
    return r == SQLITE_NOMEM ? EVENTS_NO_MEMORY : EVENTS_FAULT;
}
