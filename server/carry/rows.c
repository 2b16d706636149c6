/* SPDX-License-Identifier: Apache-2.0
 *
 * From SQLite: pieces of what has changed, or of all that there is, as bytes of COPY. A piece is of one snapshot, and the snapshot
 * is given back before PostgreSQL is asked anything.
 */
#include "base/logger.h"
#include "carry/internal.h"
#include "store/db.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Columns of the statements: number of the change | is there no such row? | the columns as people see them. Those of the key come
 * from the change, which knows them of rows that are gone, too. */
#define COLUMN_SEQ   0
#define COLUMN_GONE  1
#define COLUMN_FIRST 2

static bool is_key(const struct table *t, size_t shown)
{
    return table_shown(t, shown) < t->n_primary;
}

static void append_columns(sqlite3_str *sql, const struct table *t, const char *keys)
{
    for (size_t i = 0; i < t->n_columns; i++)
        sqlite3_str_appendf(sql, ", %s.\"%w\"", is_key(t, i) ? keys : "t",
                            t->column[table_shown(t, i)].name);
}

static void append_key(sqlite3_str *sql, const struct table *t)
{
    for (size_t c = 0; c < t->n_primary; c++)
        sqlite3_str_appendf(sql, "%st.\"%w\"", c ? ", " : "", t->column[c].name);
}

static void append_parameters(sqlite3_str *sql, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sqlite3_str_appendf(sql, "%s?%d", i ? ", " : "", (int)i + 2);
}

static int prepare(struct carrier *c, struct carried *k)
{
    const struct table *t = k->base.table;
    sqlite3_str *sql = sqlite3_str_new(c->base.db);
    sqlite3_str_appendf(sql, "SELECT c.seq, t.\"%w\" IS NULL", t->column[0].name);
    append_columns(sql, t, "c");
    sqlite3_str_appendall(sql, " FROM ");
    changes_append_join(sql, t, true);
    sqlite3_str_appendall(sql, " WHERE c.seq > ?2 ORDER BY c.seq LIMIT ?1");
    int code = db_prepare_str(c->base.db, sql, &k->changes);
    for (int more = 0; !code && more < 2; more++) {
        sql = sqlite3_str_new(c->base.db);
        sqlite3_str_appendall(sql, "SELECT 0, 0");
        append_columns(sql, t, "t");
        sqlite3_str_appendf(sql, " FROM \"%w\" AS t", t->name);
        if (more) {
            sqlite3_str_appendall(sql, " WHERE (");
            append_key(sql, t);
            sqlite3_str_appendall(sql, ") > (");
            append_parameters(sql, t->n_primary);
            sqlite3_str_appendall(sql, ")");
        }
        sqlite3_str_appendall(sql, " ORDER BY ");
        append_key(sql, t);
        sqlite3_str_appendall(sql, " LIMIT ?1");
        code = db_prepare_str(c->base.db, sql, more ? &k->more : &k->first);
    }
    return code;
}

static int append(const struct carried *k, sqlite3_stmt *s, bool key, struct copy *to)
{
    const struct table *t = k->base.table;
    const size_t before = to->size;
    int err = copy_row(to, (key ? t->n_primary : t->n_columns) + (k->shard != NULL));
    for (size_t i = 0; !err && i < t->n_columns; i++)
        if (!key || is_key(t, i))
            err = copy_value(to, t->column[table_shown(t, i)].type, s,
                             COLUMN_FIRST + (int)i);
    if (!err && k->shard)
        err = copy_text(to, k->shard);
    if (err)
        to->size = before;
    else
        to->rows++;
    return err;
}

/* What PostgreSQL cannot have is left out, and so that it is not there as it was before, it is deleted there. */
static int put_row(struct carrier *c, struct carried *k, sqlite3_stmt *s, bool gone)
{
    const struct table *t = k->base.table;
    int err = append(k, s, gone, gone ? &c->gone : &c->rows);
    if (err != -EDOM)
        return err;
    if (!k->base.refused_told)
        logger_warn(
            "carry",
            "table '%s': rows with a zero byte or bytes that are not UTF-8 in a "
            "text, or a time beyond what PostgreSQL knows, are not carried",
            t->name);
    k->base.refused_told = true;
    metric_add(&k->base.count.refused, 1);
    err = gone || k->base.stage == TARGET_FILL ? 0 : append(k, s, true, &c->gone);
    return err == -EDOM ? 0 : err; /* nor its key: it never was there */
}

/* With copies the snapshot is that of the last one. */
static int step(const struct carrier *c, const char *sql, struct error *error)
{
    return c->copies.with ? 0 : db_exec(c->base.db, sql, error);
}

static int begin(struct carrier *c, struct carried *k, struct carry_piece *ret,
                 struct error *error)
{
    const int64_t from = k->base.place.position;
    struct changes known;
    int err = k->changes || !prepare(c, k) ? 0 : db_error(c->base.db, error);
    if (!err && (copy_begin(&c->rows) || copy_begin(&c->gone)))
        err = error_set(error, -ENOMEM, "out of memory");
    if (!err)
        err = step(c, "BEGIN", error);
    if (err)
        return err;
    err = changes_look(c->base.db, k->base.table->name, &known, error);
    if (!err && (known.since_us != k->base.place.since_us || known.first > from))
        err = k->base.stage == TARGET_FILL ? 0 : -ESTALE;
    *ret = (struct carry_piece){.from = from, .last = from, .watermark_us = INT64_MIN};
    if (!err && k->base.stage == TARGET_FILL && !k->at[0])
        k->fill_last = known.last;
    k->base.last = err ? k->base.last : known.last;
    if (!err)
        err = carried_watermark(c->base.db, k->base.table->pipeline, &ret->watermark_us,
                                error);
    return err == -ENOENT ? 0 : err;
}

static int end(struct carrier *c, sqlite3_stmt *s, int err, struct error *error)
{
    sqlite3_reset(s);
    int ended = step(c, "COMMIT", err ? NULL : error);
    if (!err && !ended && (copy_end(&c->rows) || copy_end(&c->gone)))
        return error_set(error, -ENOMEM, "out of memory");
    return err ? err : ended;
}

/* A row of revision 0 was put once: a replay puts none again, and what revises it raises the revision. */
static int revision_column(const struct table *t)
{
    for (size_t i = 0; t->revision && i < t->n_columns; i++)
        if (table_shown(t, i) == t->revision)
            return COLUMN_FIRST + (int)i;
    return -1;
}

/* A row of a set, as append of the row that SQLite reads. */
static int append_cells(const struct carried *k, const struct weir_cell *row,
                        struct copy *to)
{
    const struct table *t = k->base.table;
    const int64_t size_us = window_fixed_size(&t->window);
    const struct weir_cell end = {.type = WEIR_TIME, .as.i = row[0].as.i + size_us};
    const size_t before = to->size;
    int err = copy_row(to, t->n_columns + (k->shard != NULL));
    for (size_t i = 0; !err && i < t->n_columns; i++) {
        const size_t c = table_shown(t, i);
        err = copy_cell(to, t->column[c].type,
                        c == t->n_primary && size_us > 0 ? &end : &row[c]);
    }
    if (!err && k->shard)
        err = copy_text(to, k->shard);
    if (err)
        to->size = before;
    else
        to->rows++;
    return err;
}

/* As much as there is room for; *last is the change before, then the last that there was room for. */
static int append_set(struct carrier *c, const struct carried *k,
                      const struct rowset *r, int64_t *last)
{
    const size_t first = (size_t)(*last + 1 - r->first);
    const struct weir_cell *row = r->cell + first * r->table->n_columns;
    int err = 0;
    for (size_t i = first; !err && i < r->n_rows && c->rows.rows < TARGET_ROWS &&
                           c->rows.size < TARGET_BYTES;
         i++) {
        err = append_cells(k, row, &c->rows);
        row += r->table->n_columns;
        *last += !err;
    }
    return err;
}

/* What the store has handed on, as far as the snapshot knows it. A row that cannot be sent is left to who reads the table. */
static int take_handed(struct carrier *c, struct carried *k, struct carry_piece *ret)
{
    const struct rowset *r;
    int err = 0;
    while (!err && c->rows.rows < TARGET_ROWS && c->rows.size < TARGET_BYTES &&
           (r = target_handed(&c->base, &k->base, ret->last + 1)) &&
           r->first + (int64_t)r->n_rows - 1 <= k->base.last)
        err = append_set(c, k, r, &ret->last);
    if (err == -EDOM)
        target_drop_handed(&c->base, &k->base);
    ret->all = ret->last >= k->base.last;
    return err == -EDOM ? 0 : err;
}

static int read_changes(struct carrier *c, struct carried *k, struct carry_piece *ret,
                        size_t *ret_n, struct error *error)
{
    const int revision = revision_column(k->base.table);
    int code = SQLITE_DONE, err = 0;
    size_t n = 0;
    sqlite3_bind_int64(k->changes, 1, TARGET_ROWS);
    sqlite3_bind_int64(k->changes, 2, ret->from);
    while (!err && c->rows.size < TARGET_BYTES &&
           (code = sqlite3_step(k->changes)) == SQLITE_ROW) {
        bool gone = sqlite3_column_int(k->changes, COLUMN_GONE);
        err = put_row(c, k, k->changes, gone);
        ret->last = sqlite3_column_int64(k->changes, COLUMN_SEQ);
        if (c->gone.rows ||
            (revision >= 0 && sqlite3_column_int64(k->changes, revision) > 0))
            ret->plain = false;
        n++;
    }
    if (!err && code != SQLITE_ROW && code != SQLITE_DONE)
        err = db_error(c->base.db, error);
    ret->all = code == SQLITE_DONE && n < TARGET_ROWS;
    *ret_n = n;
    return err;
}

/* Rows that were handed on are as they were put, those that are read as they are now: they are not in one piece. */
int rows_changes(struct carrier *c, struct carried *k, struct carry_piece *ret,
                 struct error *error)
{
    int err = begin(c, k, ret, error);
    size_t n = 0;
    ret->plain = ret->from >= k->staged_until;
    if (!err) {
        err = take_handed(c, k, ret);
        n = c->rows.rows;
    }
    if (!err && !n)
        err = read_changes(c, k, ret, &n, error);
    if (err == -ENOMEM)
        error_set(error, err, "out of memory");
    if (!ret->all)
        ret->watermark_us = INT64_MIN; /* rows before it are still to come */
    err = end(c, k->changes, err, error);
    return err ? err : n == 0;
}

/* ---- All rows ----------------------------------------------------------------------------------- */

void rows_restart(struct carried *k)
{
    for (size_t i = 0; k->at && i < k->base.table->n_primary; i++) {
        sqlite3_value_free(k->at[i]);
        k->at[i] = NULL;
    }
    k->lower.rows = k->upper.rows = 0;
}

/* `at` of a row; the columns of the key in the order of the table. */
static int note_key(struct carried *k, sqlite3_stmt *s)
{
    const struct table *t = k->base.table;
    for (size_t i = 0; i < t->n_columns; i++) {
        size_t place = table_shown(t, i);
        if (place >= t->n_primary)
            continue;
        sqlite3_value_free(k->at[place]);
        k->at[place] =
            sqlite3_value_dup(sqlite3_column_value(s, COLUMN_FIRST + (int)i));
        if (!k->at[place])
            return -ENOMEM;
    }
    return 0;
}

/* The key of a row, as it is sent: of its bytes, behind the number of fields. -ENOMEM. */
static int cut_key(const struct table *t, const char *row, struct copy *to)
{
    const char *at = row + sizeof(uint16_t);
    to->size = 0;
    to->rows = 1;
    for (size_t i = 0; i < t->n_columns; i++) {
        uint32_t size;
        memcpy(&size, at, sizeof(size));
        size = be32toh(size);
        size = (uint32_t)sizeof(size) + (size == UINT32_MAX ? 0 : size);
        if (is_key(t, i) && copy_bytes(to, at, size))
            return -ENOMEM;
        at += size;
    }
    return 0;
}

/* Where the piece begins and ends: none of its rows may have been taken. */
static int note_bounds(struct carrier *c, struct carried *k, size_t first, size_t last)
{
    if (!c->rows.rows)
        return 0;
    int err = cut_key(k->base.table, c->rows.data + last, &k->upper);
    if (err || k->lower.rows)
        return err;
    k->inclusive = true;
    return cut_key(k->base.table, c->rows.data + first, &k->lower);
}

int rows_fill(struct carrier *c, struct carried *k, struct carry_piece *ret,
              struct error *error)
{
    int code = SQLITE_DONE, err = begin(c, k, ret, error);
    sqlite3_stmt *s = k->at[0] ? k->more : k->first;
    size_t n = 0;
    if (k->upper.rows) { /* of the piece before */
        const struct copy last = k->upper;
        k->upper = k->lower;
        k->lower = last;
        k->inclusive = false;
        k->upper.rows = 0;
    }
    if (!err)
        sqlite3_bind_int64(s, 1, TARGET_ROWS);
    for (size_t i = 0; !err && k->at[0] && i < k->base.table->n_primary; i++)
        sqlite3_bind_value(s, (int)i + 2, k->at[i]);
    const size_t first = c->rows.size;
    size_t last = first;
    while (!err && c->rows.size < TARGET_BYTES &&
           (code = sqlite3_step(s)) == SQLITE_ROW) {
        const size_t at = c->rows.size;
        err = put_row(c, k, s, false);
        last = c->rows.size > at ? at : last;
        if (!err && (++n == TARGET_ROWS || c->rows.size >= TARGET_BYTES))
            err = note_key(k, s);
    }
    if (!err)
        err = note_bounds(c, k, first, last);
    if (err == -ENOMEM)
        error_set(error, err, "out of memory");
    if (!err && code != SQLITE_ROW && code != SQLITE_DONE)
        err = db_error(c->base.db, error);
    ret->all = code == SQLITE_DONE && n < TARGET_ROWS;
    return end(c, s, err, error);
}
