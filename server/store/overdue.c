/* SPDX-License-Identifier: Apache-2.0
 *
 * Results that came when the watermark had passed their windows' ends, as those of windows by count may: whoever joins results
 * has looked for them before, and must not find them when it reads again after a crash. Which they are stands beside each
 * table, mostly empty: the columns of its primary key, and window_end.
 */
#include "store/db.h"
#include "store/internal.h"

static bool overdue_can_be(const struct table *t)
{
    return t->window.kind == CONFIG_COUNT && !t->late && !t->rows;
}

/* "window_start", "symbol", ... */
static void overdue_append_key(sqlite3_str *text, const struct table *t)
{
    for (size_t c = 0; c < t->n_primary; c++)
        sqlite3_str_appendf(text, "%s\"%w\"", c ? ", " : "", t->column[c].name);
}

int overdue_make(sqlite3 *db, const struct table *t, struct error *error)
{
    if (!overdue_can_be(t))
        return 0;
    sqlite3_str *text = sqlite3_str_new(db);
    sqlite3_str_appendf(text, "CREATE TABLE IF NOT EXISTS \"weir_overdue_%w\" (\n",
                        t->name);
    for (size_t c = 0; c < t->n_primary; c++)
        sqlite3_str_appendf(text, "    \"%w\" %s NOT NULL,\n", t->column[c].name,
                            t->column[c].type == WEIR_STRING ? "TEXT" : "INTEGER");
    sqlite3_str_appendall(text, "    window_end INTEGER NOT NULL,\n    PRIMARY KEY (");
    overdue_append_key(text, t);
    sqlite3_str_appendall(text, ")\n) STRICT, WITHOUT ROWID");
    return db_exec_str(db, text, error);
}

void overdue_append_none(sqlite3_str *text, const struct table *t)
{
    if (!overdue_can_be(t))
        return;
    sqlite3_str_appendf(
        text, " AND NOT EXISTS (SELECT 1 FROM \"weir_overdue_%w\" AS weir_o WHERE ",
        t->name);
    for (size_t c = 0; c < t->n_primary; c++)
        sqlite3_str_appendf(text, "%sweir_o.\"%w\" = \"%w\".\"%w\"", c ? " AND " : "",
                            t->column[c].name, t->name, t->column[c].name);
    sqlite3_str_appendall(text, ")");
}

/* INSERT OR IGNORE INTO "weir_overdue_t" VALUES (?, ...) */
static int overdue_prepare(struct store *s, struct store_table *t)
{
    sqlite3_str *text = sqlite3_str_new(s->db);
    sqlite3_str_appendf(text, "INSERT OR IGNORE INTO \"weir_overdue_%w\" VALUES (",
                        t->table->name);
    for (size_t c = 0; c <= t->table->n_primary; c++)
        sqlite3_str_appendall(text, c ? ", ?" : "?");
    sqlite3_str_appendall(text, ")");
    return db_prepare_str(s->db, text, &t->overdue);
}

int overdue_write(struct store *s, struct store_table *t, const struct rowset *r)
{
    const struct table *table = t->table;
    int code = r->n_overdue && !t->overdue ? overdue_prepare(s, t) : SQLITE_OK;
    for (size_t i = 0; !code && i < r->n_overdue; i++) {
        const struct weir_cell *row = r->cell + r->overdue[i] * table->n_columns;
        if (row[table->n_primary].as.i < t->gone_us)
            continue; /* retention has deleted it before, and what stood here */
        for (size_t c = 0; c <= table->n_primary; c++)
            if (row[c].type == WEIR_STRING)
                sqlite3_bind_text64(t->overdue, (int)c + 1,
                                    row[c].size ? row[c].as.s : "", row[c].size,
                                    SQLITE_STATIC, SQLITE_UTF8);
            else
                sqlite3_bind_int64(t->overdue, (int)c + 1, row[c].as.i);
        code = db_step(t->overdue);
    }
    return code;
}

int overdue_purge(struct store *s, const struct table *t, int64_t before_us)
{
    if (!overdue_can_be(t))
        return SQLITE_OK;
    DB_STATEMENT statement = NULL;
    sqlite3_str *text = sqlite3_str_new(s->db);
    sqlite3_str_appendf(text, "DELETE FROM \"weir_overdue_%w\" WHERE window_end < ?1",
                        t->name);
    int code = db_prepare_str(s->db, text, &statement);
    if (code)
        return code;
    sqlite3_bind_int64(statement, 1, before_us);
    return db_step(statement);
}
