/* SPDX-License-Identifier: Apache-2.0
 *
 * SELECT (expression) FROM (SELECT CAST(?1 AS REAL) AS "price", ...): a cast gives the affinity that a column has.
 */
#include "expr/single.h"
#include "base/buffer.h"
#include "expr/events.h"
#include "expr/pure_time.h"
#include "expr/split.h"

#include <errno.h>
#include <stdlib.h>

struct single {
    sqlite3 *db;
    sqlite3_stmt *select;
    size_t n;
};

static int prepare(struct single *s, const struct schema *schema,
                   const char *expression)
{
    static const char *const affinity[] = {
        [WEIR_INT] = "INTEGER", [WEIR_FLOAT] = "REAL",   [WEIR_BOOL] = "INTEGER",
        [WEIR_STRING] = "TEXT", [WEIR_TIME] = "INTEGER",
    };
    struct buffer sql = {0};
    buffer_printf(&sql, "SELECT (%s\n) IS TRUE FROM (SELECT ", expression);
    for (size_t i = 0; i < schema->n; i++)
        buffer_printf(&sql, "%sCAST(?%zu AS %s) AS \"%s\"", i ? ", " : "", i + 1,
                      affinity[schema->column[i].type], schema->column[i].name);
    buffer_putc(&sql, ')');
    int code = sql.error
                   ? SQLITE_NOMEM
                   : sqlite3_prepare_v3(s->db, buffer_text(&sql), -1,
                                        SQLITE_PREPARE_PERSISTENT, &s->select, NULL);
    buffer_free(&sql);
    return code;
}

int single_new(const struct schema *schema, const char *expression, struct single **ret,
               struct error *error)
{
    struct events *check = NULL;
    int err = events_new(schema, expression, &check, error);
    events_free(check);
    if (err)
        return err;
    struct single *s = calloc(1, sizeof(*s));
    if (!s)
        return error_set(error, -ENOMEM, "no memory");
    s->n = schema->n;
    int code = sqlite3_open_v2(
        ":memory:", &s->db,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code == SQLITE_OK)
        code = pure_time_install(s->db);
    if (code == SQLITE_OK)
        code = split_install(s->db);
    if (code == SQLITE_OK) {
        sqlite3_db_config(s->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
        code = prepare(s, schema, expression);
    }
    if (code != SQLITE_OK) {
        err = error_set(error, code == SQLITE_NOMEM ? -ENOMEM : -EINVAL, "%s",
                        s->db ? sqlite3_errmsg(s->db) : "no memory");
        single_free(s);
        return err;
    }
    *ret = s;
    return 0;
}

void single_free(struct single *s)
{
    if (!s)
        return;
    sqlite3_finalize(s->select);
    sqlite3_close(s->db);
    free(s);
}

int single_holds(struct single *s, sqlite3_stmt *row, bool *ret)
{
    for (size_t i = 0; i < s->n; i++)
        if (sqlite3_bind_value(s->select, (int)i + 1,
                               sqlite3_column_value(row, (int)i)) != SQLITE_OK)
            return -ENOMEM;
    int code = sqlite3_step(s->select);
    bool holds = code == SQLITE_ROW && sqlite3_column_int(s->select, 0);
    sqlite3_reset(s->select);
    if (code != SQLITE_ROW)
        return code == SQLITE_NOMEM ? -ENOMEM : -EDOM;
    *ret = holds;
    return 0;
}
