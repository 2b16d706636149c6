/* SPDX-License-Identifier: Apache-2.0 */
#include "expect.h"

#include "base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NAMES_MAX 512 /* columns that a message can suggest */

/* The rows that are there, cell after cell in the order of the table's columns. */
struct there {
    const struct table *table;
    size_t n;
    sqlite3_value **cell;
    bool *taken;
};

static void there_free(struct there *t)
{
    for (size_t i = 0; t->cell && i < t->n * t->table->n_columns; i++)
        sqlite3_value_free(t->cell[i]);
    free(t->cell);
    free(t->taken);
}

static int prepare(const struct table *t, sqlite3 *db, sqlite3_stmt **ret,
                   struct error *error)
{
    struct buffer sql = {0};
    buffer_puts(&sql, "SELECT ");
    for (size_t i = 0; i < t->n_columns; i++)
        buffer_printf(&sql, "%s\"%s\"", i ? ", " : "", t->column[i].name);
    buffer_printf(&sql, " FROM \"%s\" ORDER BY", t->name);
    for (size_t i = 0; i < t->n_primary; i++)
        buffer_printf(&sql, "%s %zu", i ? "," : "", i + 1);
    int r = sqlite3_prepare_v2(db, buffer_text(&sql), -1, ret, NULL);
    int err = sql.error;
    buffer_free(&sql);
    if (err < 0)
        return error_set(error, err, "out of memory");
    return r ? error_set(error, -EIO, "table '%s': %s", t->name, sqlite3_errmsg(db))
             : 0;
}

static int take_row(struct there *t, sqlite3_stmt *s, size_t *room, struct error *error)
{
    size_t columns = t->table->n_columns;
    if (t->n == EXPECT_ROWS_MAX)
        return error_set(error, -E2BIG, "table '%s' has more than %u rows",
                         t->table->name, EXPECT_ROWS_MAX);
    if (t->n == *room) {
        size_t more = *room ? 2 * *room : 64;
        void *cell = realloc(t->cell, more * columns * sizeof(*t->cell));
        if (!cell)
            return error_set(error, -ENOMEM, "out of memory");
        t->cell = cell;
        *room = more;
    }
    sqlite3_value **to = t->cell + t->n++ * columns;
    memset(to, 0, columns * sizeof(*to));
    for (size_t i = 0; i < columns; i++)
        if (!(to[i] = sqlite3_value_dup(sqlite3_column_value(s, (int)i))))
            return error_set(error, -ENOMEM, "out of memory");
    return 0;
}

static int read_rows(struct there *t, sqlite3 *db, struct error *error)
{
    sqlite3_stmt *s = NULL;
    size_t room = 0;
    int err = prepare(t->table, db, &s, error), r = SQLITE_ROW;
    while (err == 0 && (r = sqlite3_step(s)) == SQLITE_ROW)
        err = take_row(t, s, &room, error);
    if (err == 0 && r != SQLITE_DONE)
        err = error_set(error, -EIO, "table '%s': %s", t->table->name,
                        sqlite3_errmsg(db));
    sqlite3_finalize(s);
    if (err == 0 && !(t->taken = calloc(t->n + 1, sizeof(*t->taken))))
        err = error_set(error, -ENOMEM, "out of memory");
    return err;
}

/* ---- A cell and the value that is expected ----------------------------------------------------- */

static int same_time(const struct node *n, int64_t v, struct error *error)
{
    int64_t us;
    if (n->kind == NODE_SCALAR && clock_parse(n->text, strlen(n->text), &us) == 0)
        return us == v;
    if (node_int(n, INT64_MIN, INT64_MAX, &us, error) == 0)
        return us == v;
    return node_expected(n, "a time such as 2026-01-02T03:04:05Z, or microseconds",
                         error);
}

static int same_float(const struct node *n, double v, double tolerance,
                      struct error *error)
{
    static const char *const infinite[] = {".inf", "-.inf"};
    double w;
    for (size_t i = 0; i < 2; i++)
        if (n->kind == NODE_SCALAR && !n->quoted && !strcasecmp(n->text, infinite[i]))
            return v == (i ? -INFINITY : INFINITY);
    int err = node_float(n, &w, error);
    if (err < 0)
        return err;
    double scale = fmax(1, fmax(fabs(v), fabs(w)));
    return v == w || fabs(v - w) <= tolerance * scale;
}

/* 1: it is, 0: it is not, -EINVAL: no cell of that column can be. */
static int same(enum weir_type type, sqlite3_value *v, const struct node *n,
                double tolerance, struct error *error)
{
    bool null = sqlite3_value_type(v) == SQLITE_NULL, truth;
    int64_t i;
    int r;
    if (node_is_null(n))
        return null;
    switch (type) {
    case WEIR_TIME:
        r = same_time(n, sqlite3_value_int64(v), error);
        break;
    case WEIR_FLOAT:
        r = same_float(n, sqlite3_value_double(v), tolerance, error);
        break;
    case WEIR_BOOL:
        r = node_bool(n, &truth, error);
        r = r < 0 ? r : truth == (sqlite3_value_int(v) != 0);
        break;
    case WEIR_INT:
        r = node_int(n, INT64_MIN, INT64_MAX, &i, error);
        r = r < 0 ? r : i == sqlite3_value_int64(v);
        break;
    default:
        if (n->kind != NODE_SCALAR)
            return node_expected(n, "a text", error);
        r = !null && strlen(n->text) == (size_t)sqlite3_value_bytes(v) &&
            !memcmp(n->text, sqlite3_value_text(v), strlen(n->text));
    }
    return r < 0 ? r : !null && r;
}

/* ---- Words ------------------------------------------------------------------------------------- */

/* As one would write it in the file: quotes only where it could be taken for something else. */
static void put_text(struct buffer *to, const char *text, size_t size)
{
    static const char *const words[] = {"null", "true", "false", "yes",
                                        "no",   "on",   "off"};
    bool plain = size > 0 && isalpha((unsigned char)*text);
    for (size_t i = 0; plain && i < size; i++)
        plain = isalnum((unsigned char)text[i]) || strchr("_-.", text[i]);
    for (size_t i = 0; plain && i < sizeof(words) / sizeof(*words); i++)
        plain = strlen(words[i]) != size || strncasecmp(words[i], text, size) != 0;
    if (plain)
        buffer_put(to, text, size);
    else
        buffer_put_json_string(to, text, size);
}

static void put_value(struct buffer *to, enum weir_type type, sqlite3_value *v)
{
    char time[CLOCK_TEXT_MAX];
    double number = sqlite3_value_double(v);
    if (sqlite3_value_type(v) == SQLITE_NULL) {
        buffer_puts(to, "null");
    } else if (type == WEIR_TIME) {
        clock_format(sqlite3_value_int64(v), time);
        buffer_puts(to, time);
    } else if (type == WEIR_BOOL) {
        buffer_puts(to, sqlite3_value_int(v) ? "true" : "false");
    } else if (type == WEIR_FLOAT && isinf(number)) {
        buffer_puts(to, number < 0 ? "-.inf" : ".inf");
    } else if (type == WEIR_FLOAT) {
        buffer_put_json_double(to, number);
    } else if (type == WEIR_STRING) {
        put_text(to, (const char *)sqlite3_value_text(v),
                 (size_t)sqlite3_value_bytes(v));
    } else {
        buffer_printf(to, "%lld", (long long)sqlite3_value_int64(v));
    }
}

static void put_node(struct buffer *to, const struct node *n)
{
    if (n->kind != NODE_SCALAR)
        buffer_puts(to, n->kind == NODE_LIST ? "[...]" : "{...}");
    else if (n->quoted)
        buffer_put_json_string(to, n->text, strlen(n->text));
    else
        buffer_puts(to, *n->text ? n->text : "null");
}

static void put_expected(struct buffer *to, const struct node *row)
{
    for (size_t i = 0; i < row->n; i++) {
        buffer_printf(to, "%s%s: ", i ? ", " : "{", row->key[i].text);
        put_node(to, &row->item[i]);
    }
    buffer_puts(to, row->n ? "}" : "{}");
}

/* Row k: the columns that `named` names, or all. */
static void put_there(struct buffer *to, const struct there *t, size_t k,
                      const struct node *named, const int *column)
{
    const struct table *table = t->table;
    size_t n = named ? named->n : table->n_columns;
    for (size_t i = 0; i < n; i++) {
        size_t c = named ? (size_t)column[i] : table_shown(table, i);
        buffer_printf(to, "%s%s: ", i ? ", " : "{", table->column[c].name);
        put_value(to, table->column[c].type, t->cell[k * table->n_columns + c]);
    }
    buffer_puts(to, n ? "}" : "{}");
}

/* ---- Rows -------------------------------------------------------------------------------------- */

static int find_column(const struct table *t, const struct node *key,
                       struct error *error)
{
    const char *names[NAMES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < t->n_columns; i++) {
        if (!strcmp(t->column[i].name, key->text))
            return (int)i;
        if (n < NAMES_MAX)
            names[n++] = t->column[i].name;
    }
    node_error(key, error, "table '%s' has no column '%s'", t->name, key->text);
    node_suggest(error, key->text, names, n);
    return -EINVAL;
}

/* The columns that an expected row names, in its order. */
static int find_columns(const struct table *t, const struct node *row, int **ret,
                        struct error *error)
{
    if (row->kind != NODE_MAP)
        return node_expected(row, "a row such as {symbol: ABC, count: 2}", error);
    int *column = calloc(row->n + 1, sizeof(*column)), r = 0;
    if (!column)
        return error_set(error, -ENOMEM, "out of memory");
    for (size_t i = 0; r >= 0 && i < row->n; i++)
        column[i] = r = find_column(t, &row->key[i], error);
    if (r < 0) {
        free(column);
        return r;
    }
    *ret = column;
    return 0;
}

/* How much row k is like the expected one: an equal key counts for more than any result. SIZE_MAX: it is the
 * one. */
static int likeness(const struct there *t, size_t k, const struct node *row,
                    const int *column, double tolerance, size_t *ret,
                    struct error *error)
{
    const struct table *table = t->table;
    size_t equal = 0, score = 0;
    for (size_t i = 0; i < row->n; i++) {
        size_t c = (size_t)column[i];
        int r = same(table->column[c].type, t->cell[k * table->n_columns + c],
                     &row->item[i], tolerance, error);
        if (r < 0)
            return r;
        equal += r == 1;
        score += r ? c < table->n_primary ? table->n_columns + 1 : 1 : 0;
    }
    *ret = equal == row->n ? SIZE_MAX : score;
    return 0;
}

/* The row that is most like the expected one, of those that are left. */
static int find_row(const struct there *t, const struct node *row, const int *column,
                    double tolerance, size_t *ret_score, size_t *ret,
                    struct error *error)
{
    size_t best = 0, at = 0;
    for (size_t k = 0; best < SIZE_MAX && k < t->n; k++) {
        size_t score = 0;
        int err =
            t->taken[k] ? 0 : likeness(t, k, row, column, tolerance, &score, error);
        if (err < 0)
            return err;
        if (score > best)
            best = score, at = k;
    }
    *ret_score = best;
    *ret = at;
    return 0;
}

static void say_missing(struct buffer *to, const struct node *row)
{
    buffer_puts(to, "    - ");
    put_expected(to, row);
    buffer_printf(to, "   (line %u)\n", row->line);
}

/* The expected row, the one that comes closest, and which of its values are others. */
static int say_difference(struct buffer *to, const struct there *t, size_t k,
                          const struct node *row, const int *column, double tolerance,
                          struct error *error)
{
    say_missing(to, row);
    buffer_puts(to, "    + ");
    put_there(to, t, k, row, column);
    buffer_puts(to, "\n        ");
    bool first = true;
    for (size_t i = 0; i < row->n; i++) {
        size_t c = (size_t)column[i];
        enum weir_type type = t->table->column[c].type;
        sqlite3_value *v = t->cell[k * t->table->n_columns + c];
        int r = same(type, v, &row->item[i], tolerance, error);
        if (r < 0)
            return r;
        if (r)
            continue;
        buffer_printf(to, "%s%s is ", first ? "" : ", ", row->key[i].text);
        put_value(to, type, v);
        buffer_puts(to, ", not ");
        put_node(to, &row->item[i]);
        first = false;
    }
    buffer_puts(to, "\n");
    return 0;
}

/* Exact matches first, so that a row that differs does not take the place of another one's. */
static int compare(struct there *t, const struct node *rows, int *const *column,
                   double tolerance, struct buffer *to, size_t *ret_faults,
                   struct error *error)
{
    bool *found = calloc(rows->n + 1, sizeof(*found));
    size_t score, k, faults = 0;
    int err = found ? 0 : error_set(error, -ENOMEM, "out of memory");
    for (int round = 0; err == 0 && round < 2; round++)
        for (size_t i = 0; err == 0 && i < rows->n; i++) {
            const struct node *row = &rows->item[i];
            if (found[i])
                continue;
            err = find_row(t, row, column[i], tolerance, &score, &k, error);
            if (err < 0 || (round == 0 && score != SIZE_MAX))
                continue;
            found[i] = true;
            if (t->n && score > 0)
                t->taken[k] = true;
            if (round == 0)
                continue;
            faults++;
            if (score > 0)
                err = say_difference(to, t, k, row, column[i], tolerance, error);
            else
                say_missing(to, row);
        }
    for (k = 0; err == 0 && k < t->n; k++) {
        if (t->taken[k])
            continue;
        faults++;
        buffer_puts(to, "    + ");
        put_there(to, t, k, NULL, NULL);
        buffer_puts(to, "   (not expected)\n");
    }
    free(found);
    *ret_faults = faults;
    return err;
}

int expect_rows(const struct table *t, sqlite3 *db, const struct node *rows,
                double tolerance, struct buffer *to, size_t *ret_faults,
                struct error *error)
{
    struct there there = {.table = t};
    struct buffer lines = {0};
    size_t faults = 0;
    if (rows->kind != NODE_LIST)
        return node_expected(rows, "a list of rows", error);
    int **column = calloc(rows->n + 1, sizeof(*column));
    int err = column ? 0 : error_set(error, -ENOMEM, "out of memory");
    for (size_t i = 0; err == 0 && i < rows->n; i++)
        err = find_columns(t, &rows->item[i], &column[i], error);
    if (err == 0)
        err = read_rows(&there, db, error);
    if (err == 0)
        err = compare(&there, rows, column, tolerance, &lines, &faults, error);
    if (err == 0 && faults) {
        buffer_printf(to, "  %s: %zu row%s expected, %zu there; - expected, + there\n",
                      t->name, rows->n, rows->n == 1 ? "" : "s", there.n);
        buffer_put(to, lines.data, lines.size);
    }
    for (size_t i = 0; column && i < rows->n; i++)
        free(column[i]);
    free(column);
    buffer_free(&lines);
    there_free(&there);
    *ret_faults = faults;
    return err;
}
