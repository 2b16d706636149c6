/* SPDX-License-Identifier: Apache-2.0
 *
 * The authorizer of read-only statements: denies by default.
 */
#include "store/authorize.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

static const char *const authorize_functions[] = {
    /* scalar */
    "abs",
    "char",
    "coalesce",
    "format",
    "glob",
    "hex",
    "ifnull",
    "iif",
    "instr",
    "last_insert_rowid",
    "length",
    "like",
    "likelihood",
    "likely",
    "lower",
    "ltrim",
    "nullif",
    "octet_length",
    "printf",
    "quote",
    "replace",
    "round",
    "rtrim",
    "sign",
    "soundex",
    "sqlite_version",
    "substr",
    "substring",
    "trim",
    "typeof",
    "unhex",
    "unicode",
    "unlikely",
    "upper",
    "zeroblob",
    "random",
    "randomblob",
    "concat",
    "concat_ws",
    "match",
    "regexp",
    "if",
    "->",
    "->>",
    /* aggregates and windows */
    "avg",
    "count",
    "group_concat",
    "max",
    "min",
    "string_agg",
    "sum",
    "total",
    "median",
    "percentile",
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
    "first_value",
    "last_value",
    "nth_value",
    /* dates */
    "date",
    "time",
    "datetime",
    "julianday",
    "unixepoch",
    "strftime",
    "timediff",
    "current_date",
    "current_time",
    "current_timestamp",
    /* mathematics */
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "ceil",
    "ceiling",
    "cos",
    "cosh",
    "degrees",
    "exp",
    "floor",
    "ln",
    "log",
    "log10",
    "log2",
    "mod",
    "pi",
    "pow",
    "power",
    "radians",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "trunc",
    /* JSON */
    "json",
    "json_array",
    "json_array_length",
    "json_error_position",
    "json_extract",
    "json_insert",
    "json_object",
    "json_patch",
    "json_pretty",
    "json_quote",
    "json_remove",
    "json_replace",
    "json_set",
    "json_type",
    "json_valid",
    "json_group_array",
    "json_group_object",
};

static const char *const authorize_own_tables[] = {
    "weir_columns",      "weir_dead_letters",  "weir_meta",     "weir_pipelines",
    "weir_tables",       "sqlite_schema",      "sqlite_master", "pragma_table_list",
    "pragma_table_info", "pragma_table_xinfo",
};

static const char *const authorize_pragmas[] = {"table_list", "table_info",
                                                "table_xinfo"};

static bool authorize_has(const char *const *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(list[i], name) == 0)
            return true;
    return false;
}
#define AUTHORIZE_HAS(list, name)                                                      \
    authorize_has(list, sizeof(list) / sizeof((list)[0]), name)

/* Names that the server, SQLite or its built-in virtual tables own are closed unless listed; all
 * others are result tables, views, and what the file's owner put beside them. */
static bool authorize_table(const char *name)
{
    bool reserved =
        strncasecmp(name, "weir_", 5) == 0 || strncasecmp(name, "sqlite_", 7) == 0 ||
        strncasecmp(name, "pragma_", 7) == 0 || strcasecmp(name, "dbstat") == 0;
    return !reserved || AUTHORIZE_HAS(authorize_own_tables, name);
}

static const char *const authorize_virtual[] = {"json_each", "json_tree"};

/* A name that is no table is that of a part of the statement (WITH), of which no column is read. */
static bool authorize_in_scope(const struct authorize_scope *s, const char *table,
                               const char *column)
{
    for (const char *at = s->tables; at < s->tables + s->size; at += strlen(at) + 1)
        if (strcasecmp(at, table) == 0)
            return true;
    if (AUTHORIZE_HAS(authorize_virtual, table))
        return true;
    return column && !*column && strncasecmp(table, "sqlite_", 7) != 0 &&
           strncasecmp(table, "pragma_", 7) != 0 &&
           sqlite3_table_column_metadata(s->db, NULL, table, NULL, NULL, NULL, NULL,
                                         NULL, NULL) != SQLITE_OK;
}

int authorize(void *scope, int action, const char *a, const char *b,
              const char *database, const char *inner)
{
    const struct authorize_scope *s = scope;
    (void)database;
    (void)inner;
    bool ok = s->own && action != SQLITE_PRAGMA;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_RECURSIVE: /* the deadline ends it */
        ok = true;
        break;
    case SQLITE_READ:
        ok = ok || (a && (s->only ? authorize_in_scope(s, a, b) : authorize_table(a)));
        break;
    case SQLITE_FUNCTION:
        ok = ok || (b && AUTHORIZE_HAS(authorize_functions, b));
        break;
    case SQLITE_PRAGMA:
        ok = a && !s->only && AUTHORIZE_HAS(authorize_pragmas, a);
        break;
    default:
        break;
    }
    return ok ? SQLITE_OK : SQLITE_DENY;
}
