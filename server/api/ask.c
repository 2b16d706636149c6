/* SPDX-License-Identifier: Apache-2.0
 *
 * Query arguments of GET .../results, and the SELECT they make.
 */
#include "api/ask.h"
#include "api/cursor.h"
#include "api/rows.h"
#include "base/clock.h"
#include "store/changes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ask_reading {
    enum ask_kind kind;
    struct ask *ask;
    bool format_given;
    bool again; /* the argument at hand */
    struct error *error;
};

static int ask_number(const char *text, int64_t *ret)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text || *end || *text == ' ' || *text == '+')
        return -EINVAL;
    *ret = v;
    return 0;
}

/* Numbers since 1970 by their size, so that each may be a time from 1973 on: microseconds, or milliseconds, as Grafana
 * has them, or seconds; from the year 5138 on, as microseconds, it is nanoseconds that are meant. */
static int64_t ask_unit(int64_t v)
{
    uint64_t size = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    if (size >= UINT64_C(100000000000000000))
        return v / 1000 - (v % 1000 < 0);
    if (size >= UINT64_C(100000000000000))
        return v;
    return size >= UINT64_C(100000000000) ? v * 1000
           : size >= 100000000            ? v * SECOND_US
                                          : v;
}

/* A number, -15m (before now), now, RFC 3339. */
static int ask_time(const char *name, const char *text, int64_t *ret,
                    struct error *error)
{
    int64_t back_us;
    if (ask_number(text, ret) == 0) {
        *ret = ask_unit(*ret);
        return 0;
    }
    if (strcmp(text, "now") == 0) {
        *ret = clock_now_us();
        return 0;
    }
    if (text[0] == '-' && clock_parse_duration(text + 1, &back_us) == 0) {
        *ret = clock_now_us() - back_us;
        return 0;
    }
    if (clock_parse(text, strlen(text), ret) == 0)
        return 0;
    return error_set(
        error, -EINVAL,
        "%s: '%s' is no time; like 2026-01-02T03:04:05Z, -15m, now, or microseconds "
        "since 1970 (write + in a URL as %%2B)",
        name, text);
}

static int ask_set_limit(struct ask *ask, const char *text, struct error *error)
{
    int64_t n;
    ask->all = strcmp(text, "all") == 0;
    if (ask->all)
        return 0;
    if (ask_number(text, &n) || n < 1 || n > ASK_LIMIT_MAX)
        return error_set(error, -EINVAL, "limit: '%s' is not 1 to %d, nor 'all'", text,
                         ASK_LIMIT_MAX);
    ask->limit = (uint64_t)n;
    return 0;
}

static int ask_set_order(struct ask *ask, const char *text, struct error *error)
{
    ask->descending = strcmp(text, "desc") == 0;
    if (!ask->descending && strcmp(text, "asc") != 0)
        return error_set(error, -EINVAL, "order: '%s' is neither asc nor desc", text);
    return 0;
}

static int ask_set_open(struct ask *ask, const char *text, struct error *error)
{
    static const char *const words[] = {"0", "1", "only"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(words[i], text) != 0)
            continue;
        ask->open = (enum ask_open)i;
        return 0;
    }
    return error_set(error, -EINVAL, "live: '%s' is not 0, 1 or only", text);
}

static int ask_add_column(struct ask *ask, const char *name, size_t size,
                          struct error *error)
{
    const struct table *t = ask->table;
    struct rowout_column found = {0};
    for (size_t c = 0; c < t->n_columns; c++)
        if (strlen(t->column[c].name) == size &&
            memcmp(t->column[c].name, name, size) == 0)
            found = (struct rowout_column){t->column[c].name, t->column[c].type};
    if (!found.name)
        return error_set(error, -EINVAL, "columns: table '%s' has no column '%.*s'",
                         t->name, (int)(size < 100 ? size : 100), name);
    if (ask->n_columns == ASK_COLUMNS_MAX)
        return error_set(error, -EINVAL, "columns: more than %d", ASK_COLUMNS_MAX);
    ask->column[ask->n_columns++] = found;
    return 0;
}

static int ask_set_columns(struct ask *ask, const char *list, struct error *error)
{
    int err = 0;
    for (const char *p = list;; p++) {
        size_t size = strcspn(p, ",");
        err = ask_add_column(ask, p, size, error);
        p += size;
        if (err || !*p)
            return err;
    }
}

static int ask_add_filter(struct ask *ask, size_t column, const char *value,
                          size_t size, struct error *error)
{
    const struct table_column *c = &ask->table->column[column];
    struct ask_filter f = {column, value, size, 0};
    bool is_bool = c->type == WEIR_BOOL;
    if (ask->n_filters == ASK_FILTERS_MAX)
        return error_set(error, -EINVAL, "more than %d values for key columns",
                         ASK_FILTERS_MAX);
    if (is_bool && (strcmp(value, "true") == 0 || strcmp(value, "false") == 0))
        f.number = value[0] == 't';
    else if (c->type != WEIR_STRING && ask_number(value, &f.number))
        return error_set(error, -EINVAL, "%s: '%s' is no %s", c->name, value,
                         is_bool ? "bool (true, false)" : "whole number");
    ask->filter[ask->n_filters++] = f;
    return 0;
}

/* The key column of this name; 0 (the window's start): there is none. */
static size_t ask_key(const struct table *t, const char *name)
{
    for (size_t c = 1; c < t->n_primary; c++)
        if (strcmp(t->column[c].name, name) == 0)
            return c;
    return 0;
}

/* By what is asked: parameters that there are. */
static const char *const ask_parameters[] = {
    [ASK_PAGES] = "from, to, columns, order, limit, cursor, format, times, live, "
                  "changed_since, shards",
    [ASK_LIVE] = "columns, times, last_event_id",
    [ASK_CHANGED] = "columns, limit, format, times, changed_since",
    [ASK_EVERYWHERE] = "from, to, columns, order, limit, cursor, format, times, shards",
};

static int ask_unknown(const struct ask *ask, enum ask_kind kind, const char *name,
                       struct error *error)
{
    error_set(error, -EINVAL,
              "unknown parameter '%s'; there are %s, and the key columns", name,
              ask_parameters[kind]);
    for (size_t c = 1; c < ask->table->n_primary; c++) {
        size_t used = strlen(error->text);
        snprintf(error->text + used, sizeof(error->text) - used, "%s %s",
                 c > 1 ? "," : "", ask->table->column[c].name);
    }
    return -EINVAL;
}

static bool ask_is_among(const char *name, const char *list)
{
    size_t size = strlen(name);
    for (const char *p = list; size && p; p = strstr(p, ", "), p = p ? p + 2 : NULL)
        if (strncmp(p, name, size) == 0 && (p[size] == ',' || !p[size]))
            return true;
    return false;
}

static bool ask_is_parameter(const char *name)
{
    return ask_is_among(name, ask_parameters[ASK_PAGES]);
}

/* Those of ask_parameters that who asks has read himself. */
static bool ask_is_read(enum ask_kind kind, const char *name)
{
    static const char *const names[] = {[ASK_PAGES] = "changed_since",
                                        [ASK_LIVE] = "last_event_id",
                                        [ASK_CHANGED] = "changed_since",
                                        [ASK_EVERYWHERE] = "shards"};
    return strcmp(name, names[kind]) == 0;
}

static int ask_argument(struct ask_reading *reading, const char *name,
                        const char *value, size_t size)
{
    struct ask *ask = reading->ask;
    struct error *error = reading->error;
    /* A key column that is called like a parameter is reached as key.NAME. */
    size_t key = ask_key(ask->table, strncmp(name, "key.", 4) == 0 ? name + 4 : name);
    if (strlen(value) < size &&
        (!key || ask_is_parameter(name) || ask->table->column[key].type != WEIR_STRING))
        return error_set(error, -EINVAL, "%s: it holds a zero character", name);
    if (reading->again &&
        (ask_is_parameter(name) || ask_is_among(name, ask_parameters[reading->kind])))
        return error_set(error, -EINVAL, "%s: it is there twice", name);
    if (ask_is_read(reading->kind, name))
        return 0;
    if (ask_is_parameter(name) && !ask_is_among(name, ask_parameters[reading->kind]))
        return error_set(error, -EINVAL, "%s: %s are not asked by pages", name,
                         reading->kind == ASK_LIVE      ? "live results"
                         : reading->kind == ASK_CHANGED ? "rows since a place"
                                                        : "rows of all servers");
    if (strcmp(name, "from") == 0)
        return ask_time(name, value, &ask->from_us, error);
    if (strcmp(name, "to") == 0)
        return ask_time(name, value, &ask->to_us, error);
    if (strcmp(name, "limit") == 0)
        return ask_set_limit(ask, value, error);
    if (strcmp(name, "order") == 0)
        return ask_set_order(ask, value, error);
    if (strcmp(name, "times") == 0)
        return rows_times(value, &ask->times, error);
    if (strcmp(name, "live") == 0)
        return ask_set_open(ask, value, error);
    if (strcmp(name, "columns") == 0)
        return ask_set_columns(ask, value, error);
    if (strcmp(name, "cursor") == 0) {
        ask->cursor = value;
        return cursor_check(ask->table, value)
                   ? error_set(error, -EINVAL, "cursor: it is not one of this table")
                   : 0;
    }
    if (strcmp(name, "format") == 0) {
        reading->format_given = true;
        return rows_format(value, &ask->format, error);
    }
    return key ? ask_add_filter(ask, key, value, size, error)
               : ask_unknown(ask, reading->kind, name, error);
}

int ask_parse(struct ask *ask, const struct table *table, enum ask_kind kind,
              struct http_request *r, struct error *error)
{
    *ask = (struct ask){.table = table,
                        .from_us = INT64_MIN,
                        .to_us = INT64_MAX,
                        .limit = ASK_LIMIT_DEFAULT};
    struct ask_reading reading = {.kind = kind, .ask = ask, .error = error};
    const char *name, *value;
    size_t size;
    for (size_t i = 0; (value = http_argument(r, i, &name, &size)); i++) {
        reading.again = http_argument_again(r, i);
        int err = ask_argument(&reading, name, value, size);
        if (err)
            return err;
    }
    if (!reading.format_given && kind != ASK_LIVE) {
        int err = rows_accept(r, &ask->format, error);
        if (err)
            return err;
    }
    if (ask->all && ask->format == ROWOUT_JSON)
        return error_set(
            error, -EINVAL,
            "limit=all is for format=ndjson, csv and arrow; JSON takes 1 to %d",
            ASK_LIMIT_MAX);
    int err = 0;
    if (ask->n_columns == 0)
        for (size_t i = 0; !err && i < table->n_columns; i++) {
            const char *shown = table->column[table_shown(table, i)].name;
            err = ask_add_column(ask, shown, strlen(shown), error);
        }
    if (!err && ask->open && ask->n_columns == ASK_COLUMNS_MAX)
        return error_set(error, -EINVAL, "columns: more than %d", ASK_COLUMNS_MAX - 1);
    if (!err && ask->open)
        ask->column[ask->n_columns++] = (struct rowout_column){"open", WEIR_BOOL};
    return err;
}

/* ---- The statement ---- */

static void ask_primary(sqlite3_str *sql, const struct table *t, const char *between)
{
    for (size_t c = 0; c < t->n_primary; c++)
        sqlite3_str_appendf(sql, "%s\"%w\"", c ? between : "", t->column[c].name);
}

static void ask_marks(sqlite3_str *sql, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sqlite3_str_appendall(sql, i ? ", ?" : "?");
}

/* AND "symbol" IN (?, ?): the values of one column, wherever they stood among the arguments. */
static void ask_filters(sqlite3_str *sql, const struct ask *ask, const char *of)
{
    for (size_t c = 1; c < ask->table->n_primary; c++) {
        size_t n = 0;
        for (size_t i = 0; i < ask->n_filters; i++)
            n += ask->filter[i].column == c;
        if (!n)
            continue;
        sqlite3_str_appendf(sql, " AND %s\"%w\" IN (", of, ask->table->column[c].name);
        ask_marks(sql, n);
        sqlite3_str_appendall(sql, ")");
    }
}

static void ask_bound(sqlite3_str *sql, const struct table *t, const char *comparison)
{
    sqlite3_str_appendall(sql, " AND (");
    ask_primary(sql, t, ", ");
    sqlite3_str_appendf(sql, ") %s (", comparison);
    ask_marks(sql, t->n_primary);
    sqlite3_str_appendall(sql, ")");
}

char *ask_sql(const struct ask *ask, enum ask_select what, bool after, bool last)
{
    const struct table *t = ask->table;
    sqlite3_str *sql = sqlite3_str_new(NULL);
    const bool marked = what == ASK_MARKED_CLOSED || what == ASK_MARKED_OPEN;
    sqlite3_str_appendall(sql, "SELECT ");
    for (size_t c = 0; what != ASK_LOOKAHEAD && c + marked < ask->n_columns; c++)
        sqlite3_str_appendf(sql, "\"%w\", ", ask->column[c].name);
    if (marked)
        sqlite3_str_appendf(sql, "%d, ", what == ASK_MARKED_OPEN);
    ask_primary(sql, t, ", ");
    if (marked)
        sqlite3_str_appendf(sql, t->revision ? ", \"%w\"" : ", 0",
                            t->column[t->revision].name);
    sqlite3_str_appendf(sql, " FROM \"%w\" WHERE \"%w\" >= ? AND \"%w\" %s ?", t->name,
                        t->column[0].name, t->column[0].name,
                        ask->to_us == INT64_MAX ? "<=" : "<");
    ask_filters(sql, ask, "");
    if (after)
        ask_bound(sql, t, ask->descending ? "<" : ">");
    if (last)
        ask_bound(sql, t, ask->descending ? ">=" : "<=");
    sqlite3_str_appendall(sql, " ORDER BY ");
    ask_primary(sql, t, ask->descending ? " DESC, " : ", ");
    sqlite3_str_appendall(sql, ask->descending ? " DESC LIMIT ? OFFSET ?"
                                               : " LIMIT ? OFFSET ?");
    return sqlite3_str_finish(sql);
}

/* From parameter i on; returns the one behind. */
static int ask_bind_filters(const struct ask *ask, sqlite3_stmt *s, int i)
{
    for (size_t c = 1; c < ask->table->n_primary; c++) {
        for (size_t k = 0; k < ask->n_filters; k++) {
            const struct ask_filter *f = &ask->filter[k];
            if (f->column != c)
                continue;
            if (ask->table->column[c].type == WEIR_STRING)
                sqlite3_bind_text(s, i++, f->text, (int)f->size, SQLITE_STATIC);
            else
                sqlite3_bind_int64(s, i++, f->number);
        }
    }
    return i;
}

int ask_bind(const struct ask *ask, sqlite3_stmt *s, const char *after,
             const char *last, uint64_t limit, uint64_t offset)
{
    int err = 0;
    int n_primary = (int)ask->table->n_primary;
    sqlite3_bind_int64(s, 1, ask->from_us);
    sqlite3_bind_int64(s, 2, ask->to_us);
    int i = ask_bind_filters(ask, s, 3);
    if (after) {
        err = cursor_bind(ask->table, after, s, i);
        i += n_primary;
    }
    if (last && !err) {
        err = cursor_bind(ask->table, last, s, i);
        i += n_primary;
    }
    sqlite3_bind_int64(s, i++, (sqlite3_int64)limit);
    sqlite3_bind_int64(s, i, (sqlite3_int64)offset);
    return err;
}

char *ask_sql_changes(const struct ask *ask, bool columns)
{
    sqlite3_str *sql = sqlite3_str_new(NULL);
    sqlite3_str_appendall(sql, "SELECT ");
    for (size_t c = 0; columns && c < ask->n_columns; c++)
        sqlite3_str_appendf(sql, "t.\"%w\", ", ask->column[c].name);
    sqlite3_str_appendall(sql, "c.seq FROM ");
    changes_append_join(sql, ask->table, false);
    sqlite3_str_appendall(sql, " WHERE c.seq > ? AND c.seq <= ?");
    ask_filters(sql, ask, "t.");
    sqlite3_str_appendall(sql, " ORDER BY c.seq LIMIT ? OFFSET ?");
    return sqlite3_str_finish(sql);
}

void ask_bind_changes(const struct ask *ask, sqlite3_stmt *s, int64_t after,
                      int64_t last, int64_t limit, int64_t offset)
{
    sqlite3_bind_int64(s, 1, after);
    sqlite3_bind_int64(s, 2, last);
    int i = ask_bind_filters(ask, s, 3);
    sqlite3_bind_int64(s, i, limit);
    sqlite3_bind_int64(s, i + 1, offset);
}
