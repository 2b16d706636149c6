/* SPDX-License-Identifier: Apache-2.0
 *
 * Retention: rows older than `retain` behind the pipeline's committed watermark are deleted, oldest
 * first, a few thousand at a time between commits.
 */
#include "base/clock.h"
#include "store/db.h"
#include "store/internal.h"

/* "window_start", "symbol", ...: the columns of the primary key, or as many question marks. */
static void purge_append_key(sqlite3_str *text, const struct table *t, bool marks)
{
    for (size_t c = 0; c < t->n_primary; c++) {
        sqlite3_str_appendall(text, c ? ", " : "");
        if (marks)
            sqlite3_str_appendchar(text, 1, '?');
        else
            sqlite3_str_appendf(text, "\"%w\"", t->column[c].name);
    }
}

/* Where windows differ in length, none that has not ended goes, though those behind it do. */
static void purge_append_ended(sqlite3_str *text, const struct table *t)
{
    if (window_is_by_key(&t->window))
        sqlite3_str_appendall(text, " AND window_end < ?1");
}

int purge_prepare(struct store *s, struct store_table *t)
{
    if (t->table->retain_us == INT64_MAX)
        return SQLITE_OK;
    sqlite3_str *find = sqlite3_str_new(s->db);
    sqlite3_str_appendall(find, "SELECT ");
    purge_append_key(find, t->table, false);
    sqlite3_str_appendf(find, " FROM \"%w\" WHERE \"%w\" < ?1", t->table->name,
                        t->table->column[0].name);
    purge_append_ended(find, t->table);
    sqlite3_str_appendall(find, " ORDER BY ");
    purge_append_key(find, t->table, false);
    sqlite3_str_appendf(find, " LIMIT 1 OFFSET %d", STORE_PURGE_ROWS - 1);
    int code = db_prepare_str(s->db, find, &t->purge_find);

    sqlite3_str *to = sqlite3_str_new(s->db);
    sqlite3_str_appendf(to, "DELETE FROM \"%w\" WHERE (", t->table->name);
    purge_append_key(to, t->table, false);
    sqlite3_str_appendall(to, ") <= (");
    purge_append_key(to, t->table, true);
    sqlite3_str_appendall(to, ")");
    if (window_is_by_key(&t->table->window))
        sqlite3_str_appendf(to, " AND window_end < ?%d", (int)t->table->n_primary + 1);
    int code_to = db_prepare_str(s->db, to, &t->purge_to);

    sqlite3_str *all = sqlite3_str_new(s->db);
    sqlite3_str_appendf(all, "DELETE FROM \"%w\" WHERE \"%w\" < ?1", t->table->name,
                        t->table->column[0].name);
    purge_append_ended(all, t->table);
    int code_all = db_prepare_str(s->db, all, &t->purge_all);
    return code ? code : code_to ? code_to : code_all;
}

bool purge_border_of(const struct store_table *t, int64_t needed_us,
                     int64_t *ret_before_us)
{
    int64_t watermark_us = t->pipeline->committed_us;
    int64_t end_us;
    if (!t->purge_all || watermark_us == INT64_MIN || needed_us == INT64_MIN ||
        __builtin_sub_overflow(watermark_us, t->table->retain_us, &end_us))
        return false;
    end_us = needed_us < end_us ? needed_us : end_us;
    const struct window_kind *kind = &t->table->window;
    int64_t before_us =
        window_is_by_key(kind)
            ? end_us + (end_us < INT64_MAX)
            : window_by_id(kind, window_first_open(kind, end_us)).start_us;
    *ret_before_us = before_us;
    return true;
}

bool purge_border(const struct store_table *t, int64_t *ret_before_us)
{
    return purge_border_of(t, results_needed(t->store, t->table->name), ret_before_us);
}

static bool purge_due(const struct store_table *t, int64_t *ret_before_us)
{
    if (!purge_border(t, ret_before_us))
        return false;
    int64_t before_us = *ret_before_us;
    /* Looking once a window, or once a second for small ones, is often enough. */
    int64_t next_us;
    return t->purged_us == INT64_MIN ||
           __builtin_add_overflow(t->purged_us, SECOND_US, &next_us) ||
           before_us >= next_us;
}

/* Binds the key found to the statement that deletes up to it. */
static void purge_bind_found(const struct store_table *t, int64_t before_us)
{
    int c = 0;
    for (; c < (int)t->table->n_primary; c++)
        sqlite3_bind_value(t->purge_to, c + 1, sqlite3_column_value(t->purge_find, c));
    if (window_is_by_key(&t->table->window))
        sqlite3_bind_int64(t->purge_to, c + 1, before_us);
}

/* With the first rows that go: from now on the file says that not all that there were are here, also when `retain` is taken out
 * (carried_is_purged). */
static int purge_note(struct store *s, struct store_table *t)
{
    if (t->purge_noted)
        return SQLITE_OK;
    sqlite3_stmt *put = NULL;
    sqlite3_str *text = sqlite3_str_new(s->db);
    sqlite3_str_appendf(text,
                        "INSERT OR IGNORE INTO weir_meta (key, value)"
                        " VALUES ('" PURGE_NOTE "%q', '')",
                        t->table->name);
    int code = db_prepare_str(s->db, text, &put);
    if (!code)
        code = db_step(put);
    sqlite3_finalize(put);
    return code;
}

/* Deletes one piece. *ret_last: nothing older is left. */
static int purge_piece(struct store *s, struct store_table *t, int64_t before_us,
                       size_t *ret_deleted, bool *ret_last)
{
    sqlite3_stmt *statement = t->purge_all;
    sqlite3_bind_int64(t->purge_find, 1, before_us);
    int found = sqlite3_step(t->purge_find);
    if (found == SQLITE_ROW) {
        purge_bind_found(t, before_us);
        statement = t->purge_to;
    } else {
        sqlite3_bind_int64(t->purge_all, 1, before_us);
    }
    int code = sqlite3_reset(t->purge_find);
    if (code)
        return code;
    const bool note = !t->purge_noted;
    code = note ? db_step(s->begin) : SQLITE_OK;
    if (!code)
        code = db_step(statement);
    sqlite3_clear_bindings(statement);
    const size_t deleted = code ? 0 : (size_t)sqlite3_changes(s->db);
    if (!code && deleted)
        code = purge_note(s, t);
    if (!code && note)
        code = db_step(s->commit);
    if (code) {
        if (!sqlite3_get_autocommit(s->db))
            db_step(s->rollback);
        return code;
    }
    t->purge_noted = t->purge_noted || deleted;
    *ret_deleted = deleted;
    *ret_last = found != SQLITE_ROW;
    return SQLITE_OK;
}

int purge_run(struct store *s, size_t budget, bool *ret_more)
{
    size_t total = 0;
    for (struct store_table *t = s->tables; t; t = t->next) {
        int64_t before_us = 0;
        int given = t->pipeline->failed ? SQLITE_OK : replaced_purge(s, t);
        if (given && !db_is_local(given)) /* others have their turn, it the next one */
            return given;
        bool last = t->pipeline->failed || !purge_due(t, &before_us);
        while (!last && total < budget) {
            size_t deleted;
            int code = purge_piece(s, t, before_us, &deleted, &last);
            if (db_is_local(code)) {
                writer_fail_pipeline(s, t->pipeline, t->table);
                last = true;
                continue;
            }
            if (code)
                return code;
            total += deleted;
            metric_add(&s->count.purged, deleted);
            if (last && (code = overdue_purge(s, t->table, before_us)))
                return code;
            if (last)
                t->purged_us = before_us;
        }
        if (!last) {
            *ret_more = true;
            return SQLITE_OK;
        }
    }
    *ret_more = false;
    return SQLITE_OK;
}
