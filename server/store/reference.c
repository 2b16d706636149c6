/* SPDX-License-Identifier: Apache-2.0
 *
 * A table of the user's, that a pipeline joins: is it there, with the columns that are wanted, and all of its rows, as
 * batches. SQLite keeps values of any type in nearly any column: what is not of the type that the configuration says is
 * null, and counted.
 */
#include "base/clock.h"
#include "base/utf8.h"
#include "batch/batch.h"
#include "config/config.h"
#include "decode/decode.h"
#include "store/db.h"
#include "store/internal.h"
#include "store/restore.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TIME_MAX_US    (60 * SECOND_US) /* a view can be a query that never ends */
#define STEPS_A_LOOK   100000 /* of SQLite's machine, between two looks at the clock */
#define SUGGESTIONS    256u
#define ROWS_AT_FIRST  1024u
#define DECLARED_FORMS "string (TEXT), int (INTEGER), float (REAL) or bool (BOOLEAN)"

/* ---- Is it there? -------------------------------------------------------------------------------- */

/* What column types mean to SQLite ("Type Affinity"), and BOOLEAN, which means nothing to it. */
enum affinity { TEXT, INTEGER, REAL, BOOLEAN, BLOB, OPEN };

static bool has(const char *declared, const char *word)
{
    return strcasestr(declared, word) != NULL;
}

static enum affinity affinity_of(const char *declared)
{
    return has(declared, "INT") ? INTEGER
           : has(declared, "CHAR") || has(declared, "CLOB") || has(declared, "TEXT")
               ? TEXT
           : has(declared, "BLOB") ? BLOB
           : has(declared, "REAL") || has(declared, "FLOA") || has(declared, "DOUB")
               ? REAL
           : has(declared, "BOOL") ? BOOLEAN
                                   : OPEN; /* DECIMAL, DATE, ANY, nothing */
}

static bool can_be(enum affinity a, enum weir_type type, unsigned unit)
{
    switch (type) {
    case WEIR_STRING:
        return a == TEXT || a == OPEN;
    case WEIR_FLOAT:
        return a == REAL || a == INTEGER || a == OPEN;
    case WEIR_INT:
    case WEIR_BOOL:
        return a == INTEGER || a == BOOLEAN || a == OPEN;
    default: /* the time */
        return a == OPEN ||
               (unit == DECODE_RFC3339 ? a == TEXT : a == INTEGER || a == REAL);
    }
}

/* Names out of a statement with one parameter, for who has misspelt one. */
static void suggest(sqlite3 *db, const char *sql, const char *parameter,
                    const char *word, struct error *error)
{
    DB_STATEMENT s = NULL;
    char *name[SUGGESTIONS];
    size_t n = 0;
    if (db_prepare(db, sql, 0, &s, NULL) != 0)
        return;
    sqlite3_bind_text(s, 1, parameter, -1, SQLITE_STATIC);
    while (n < SUGGESTIONS && sqlite3_step(s) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(s, 0);
        if (text && (name[n] = strdup(text)))
            n++;
    }
    node_suggest(error, word, (const char *const *)name, n);
    for (size_t i = 0; i < n; i++)
        free(name[i]);
}

static const char columns_sql[] = "SELECT name, type FROM pragma_table_xinfo(?1)"
                                  " WHERE hidden <> 1";

static int check_column(sqlite3 *db, const struct config_reference *c, size_t i,
                        struct error *error)
{
    const struct schema_column *column = &c->read->column[i];
    DB_STATEMENT s = NULL;
    int err = db_prepare(db, columns_sql, 0, &s, error), code;
    if (err)
        return err;
    sqlite3_bind_text(s, 1, c->table, -1, SQLITE_STATIC);
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(s, 0),
                   *declared = (const char *)sqlite3_column_text(s, 1);
        if (!name || sqlite3_stricmp(name, column->name))
            continue;
        declared = declared ? declared : "";
        if (can_be(affinity_of(declared), column->type, c->time_unit))
            return 0;
        return i == 0
                   ? node_error(c->read_node[i], error,
                                "column '%s' of table '%s' is declared %s: %s", name,
                                c->table, declared,
                                c->time_unit == DECODE_RFC3339
                                    ? "numbers have a unit, such as {field: since, "
                                      "unit: s}"
                                    : "times with a unit are INTEGER or REAL")
                   : node_error(c->read_node[i], error,
                                "column '%s' of table '%s' is declared %s, and of type "
                                "%s here; there are " DECLARED_FORMS,
                                name, c->table, declared,
                                schema_type_name(column->type));
    }
    if (code != SQLITE_DONE)
        return db_error(db, error);
    node_error(c->read_node[i], error, "table '%s' has no column '%s'", c->table,
               column->name);
    suggest(db, columns_sql, c->table, column->name, error);
    return -EINVAL;
}

static int check_table(sqlite3 *db, const struct config_reference *c,
                       struct error *error)
{
    static const char find[] = "SELECT 1 FROM sqlite_schema WHERE type IN ('table', "
                               "'view') AND name = ? COLLATE NOCASE",
                      all[] = "SELECT name FROM sqlite_schema WHERE type IN ('table', "
                              "'view') AND name NOT LIKE 'weir\\_%' ESCAPE '\\'"
                              " AND ?1 IS NOT NULL";
    sqlite3_int64 found;
    int err = db_int(db, find, c->table, &found, error);
    if (err == -ENOENT) {
        node_error(c->table_node, error, "there is no table '%s' in the database '%s'",
                   c->table, sqlite3_db_filename(db, "main"));
        suggest(db, all, "", c->table, error);
        return -EINVAL;
    }
    for (size_t i = c->read_node[0] ? 0 : 1; !err && i < c->read->n; i++)
        err = check_column(db, c, i, error);
    return err;
}

/* ---- Its rows ------------------------------------------------------------------------------------ */

struct reading {
    const struct config_reference *config;
    sqlite3_stmt *rows;
    struct batch *batch;
    uint64_t wrong;
    int64_t until_us;
};

/* A time that is null or wrong is none: -ENODATA. */
static int read_time(struct reading *r, int64_t *ret_us)
{
    static const int64_t us[] = {0, SECOND_US, 1000, 1, 1};
    unsigned unit = r->config->time_unit;
    int type = sqlite3_column_type(r->rows, 0);
    int err = -EINVAL;
    if (type == SQLITE_NULL)
        return -ENODATA;
    if (unit == DECODE_RFC3339 && type == SQLITE_TEXT) {
        const char *text = (const char *)sqlite3_column_text(r->rows, 0);
        if (!text)
            return -ENOMEM;
        err = clock_parse(text, (size_t)sqlite3_column_bytes(r->rows, 0), ret_us);
    } else if (unit != DECODE_RFC3339 && type == SQLITE_INTEGER) {
        int64_t v = sqlite3_column_int64(r->rows, 0);
        int64_t below = unit == DECODE_NS ? (v % 1000 + 1000) % 1000 : 0;
        err = unit == DECODE_NS ? (*ret_us = (v - below) / 1000, 0)
              : __builtin_mul_overflow(v, us[unit], ret_us) ? -ERANGE
                                                            : 0;
    } else if (unit != DECODE_RFC3339 && type == SQLITE_FLOAT) {
        double v = floor(sqlite3_column_double(r->rows, 0) * (double)us[unit] /
                         (unit == DECODE_NS ? 1000 : 1));
        err =
            fabs(v) <= (double)DECODE_TIME_MAX_US ? (*ret_us = (int64_t)v, 0) : -ERANGE;
    }
    if (err == 0 && *ret_us >= -DECODE_TIME_MAX_US && *ret_us <= DECODE_TIME_MAX_US)
        return 0;
    r->wrong++;
    return -ENODATA;
}

static bool is_utf8(const char *p, size_t size)
{
    for (size_t n; size; p += n, size -= n)
        if ((n = utf8_length(p, size)) == 0)
            return false;
    return true;
}

/* A string of row n_rows. -ENOSPC: the batch has no room for it. */
static int read_text(struct reading *r, size_t i, int at, bool *ret_null)
{
    const char *text = (const char *)sqlite3_column_text(r->rows, at);
    size_t size = (size_t)sqlite3_column_bytes(r->rows, at);
    struct column *c = &r->batch->column[i];
    uint32_t row = r->batch->n_rows;
    if (!text)
        return -ENOMEM;
    *ret_null = !is_utf8(text, size);
    int err = *ret_null ? 0 : batch_bytes(r->batch, i, size);
    if (err || *ret_null)
        return err;
    memcpy(c->bytes + c->offsets[row], text, size);
    c->offsets[row + 1] = c->offsets[row] + (int32_t)size;
    return 0;
}

static int read_value(struct reading *r, size_t i, int at)
{
    struct column *c = &r->batch->column[i];
    uint32_t row = r->batch->n_rows;
    int type = sqlite3_column_type(r->rows, at), err = 0;
    bool null = false;
    if (c->type == WEIR_STRING) {
        c->offsets[row + 1] = c->offsets[row];
        null = type != SQLITE_TEXT;
        err = null ? 0 : read_text(r, i, at, &null);
    } else if (c->type == WEIR_FLOAT) {
        null = type != SQLITE_FLOAT && type != SQLITE_INTEGER;
        ((double *)c->values)[row] = null ? 0 : sqlite3_column_double(r->rows, at);
    } else {
        int64_t v = sqlite3_column_int64(r->rows, at);
        null = type != SQLITE_INTEGER || (c->type == WEIR_BOOL && v != 0 && v != 1);
        if (c->type == WEIR_BOOL)
            batch_put_bool(c, row, !null && v);
        else
            ((int64_t *)c->values)[row] = null ? 0 : v;
    }
    if (err == 0 && null)
        err = batch_set_null(r->batch, i);
    r->wrong += err == 0 && null && type != SQLITE_NULL;
    return err;
}

/* -ENOSPC: the batch is full. */
static int read_row(struct reading *r)
{
    const struct config_reference *c = r->config;
    const int has_time = c->read_node[0] != NULL;
    const uint64_t wrong = r->wrong;
    int64_t us = 0;
    int err = has_time ? read_time(r, &us) : 0;
    if (err == -ENODATA)
        return 0;
    if (err == 0)
        err = batch_grow(r->batch);
    if (err)
        return err;
    ((int64_t *)r->batch->column[0].values)[r->batch->n_rows] = us;
    for (size_t i = 1; !err && i < c->read->n; i++)
        err = read_value(r, i, (int)i - 1 + has_time);
    if (err) {
        batch_undo_nulls(r->batch);
        r->wrong = wrong;
        return err;
    }
    r->batch->n_rows++;
    return 0;
}

static int hand_over(struct reading *r,
                     int (*take)(void *ctx, const struct batch *b, struct error *error),
                     void *ctx, struct error *error)
{
    struct batch *full = r->batch;
    if (!full->n_rows)
        return 0;
    r->batch = NULL;
    batch_seal(full);
    int err = take(ctx, full, error);
    batch_unref(full);
    if (err == 0 && batch_new(r->config->read, ROWS_AT_FIRST, &r->batch) < 0)
        err = error_set(error, -ENOMEM, "no memory");
    return err;
}

static int read_rows(struct reading *r, sqlite3 *db,
                     int (*take)(void *ctx, const struct batch *b, struct error *error),
                     void *ctx, struct error *error)
{
    int code, err = 0;
    while (!err && (code = sqlite3_step(r->rows)) == SQLITE_ROW) {
        err = read_row(r);
        bool first = r->batch->n_rows == 0;
        if (err == -ENOSPC && !first && !(err = hand_over(r, take, ctx, error)))
            err = read_row(r);
        if (err == -ENOSPC)
            err = node_error(r->config->table_node, error,
                             "table '%s' has a text of more than %u MiB",
                             r->config->table, BATCH_BYTES_MAX >> 20);
        else if (err && !error->text[0])
            error_set(error, err, "table '%s': %s", r->config->table, strerror(-err));
    }
    if (!err && code == SQLITE_INTERRUPT)
        return node_error(r->config->table_node, error,
                          "to read '%s' takes more than %d s", r->config->table,
                          (int)(TIME_MAX_US / SECOND_US));
    if (!err && code != SQLITE_DONE)
        return db_error(db, error);
    return err ? err : hand_over(r, take, ctx, error);
}

/* By key and time, so that the same rows come in the same order, whatever a table is indexed by. */
static int prepare(sqlite3 *db, const struct config_reference *c, sqlite3_stmt **ret,
                   struct error *error)
{
    sqlite3_str *sql = sqlite3_str_new(db);
    sqlite3_str_appendall(sql, "SELECT ");
    for (size_t i = c->read_node[0] ? 0 : 1, first = i; i < c->read->n; i++)
        sqlite3_str_appendf(sql, "%s\"%w\"", i > first ? ", " : "",
                            c->read->column[i].name);
    sqlite3_str_appendf(sql, " FROM \"%w\" ORDER BY ", c->table);
    for (size_t i = 1; i <= c->n_on; i++)
        sqlite3_str_appendf(sql, "%s\"%w\" COLLATE BINARY", i > 1 ? ", " : "",
                            c->read->column[i].name);
    if (c->read_node[0])
        sqlite3_str_appendf(sql, ", \"%w\" COLLATE BINARY", c->read->column[0].name);
    int code = db_prepare_str(db, sql, ret);
    return code ? db_error(db, error) : 0;
}

static int is_over(void *reading)
{
    const struct reading *r = reading;
    return clock_monotonic_us() >= r->until_us;
}

int reference_read(sqlite3 *db, const struct config_reference *c,
                   int (*take)(void *ctx, const struct batch *b, struct error *error),
                   void *ctx, uint64_t *ret_wrong, struct error *error)
{
    struct reading r = {.config = c, .until_us = clock_monotonic_us() + TIME_MAX_US};
    int err = check_table(db, c, error);
    if (!err)
        err = prepare(db, c, &r.rows, error);
    if (err || !take) {
        sqlite3_finalize(r.rows);
        return err;
    }
    sqlite3_progress_handler(db, STEPS_A_LOOK, is_over, &r);
    err = batch_new(c->read, ROWS_AT_FIRST, &r.batch);
    err =
        err ? error_set(error, err, "no memory") : read_rows(&r, db, take, ctx, error);
    sqlite3_progress_handler(db, 0, NULL, NULL);
    sqlite3_finalize(r.rows);
    batch_unref(r.batch);
    *ret_wrong = r.wrong;
    return err;
}
