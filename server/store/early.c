/* SPDX-License-Identifier: Apache-2.0
 *
 * Early rows: given out while later events may still make them others. They are in the file as all rows are, and as long
 * as they are there weir_meta has a line early.PIPELINE. The line goes when the watermark has passed their windows; if
 * it is still there when the store is opened or closed, the rows go, too.
 *
 * At the end of a run the lines go one by one. Meanwhile there is a line run.ending: where a run was ended then, some pipelines
 * have their results, and would have them twice if its files were taken again.
 */
#include "base/logger.h"
#include "store/db.h"
#include "store/internal.h"

#include <errno.h>

void early_note(struct store_pipeline *p, const struct rowset *rows)
{
    for (const struct rowset *r = rows; r; r = r->next) {
        if (r->when != ROWS_EARLY || !r->n_rows)
            continue;
        const struct table *t = r->table;
        const struct weir_cell *last = r->cell + (r->n_rows - 1) * t->n_columns;
        if (last[t->n_primary].as.i > p->early_us)
            p->early_us = last[t->n_primary].as.i;
    }
}

int early_mark(struct store *s, struct store_pipeline *p, int64_t watermark_us)
{
    p->early = p->early_us > watermark_us;
    if (p->early == p->early_kept)
        return SQLITE_OK;
    DB_STATEMENT mark = NULL;
    int code = sqlite3_prepare_v2(
        s->db,
        p->early ? "INSERT OR REPLACE INTO weir_meta VALUES ('early.' || ?1, '')"
                 : "DELETE FROM weir_meta WHERE key = 'early.' || ?1",
        -1, &mark, NULL);
    if (code)
        return code;
    sqlite3_bind_text(mark, 1, p->name, -1, SQLITE_STATIC);
    return db_step(mark);
}

void early_committed(struct store_pipeline *p)
{
    p->early_kept = p->early;
}

/* Of one table: what its pipeline's watermark has not passed. */
static int early_delete(sqlite3 *db, const char *table, const char *pipeline,
                        struct error *error)
{
    sqlite3_str *sql = sqlite3_str_new(db);
    sqlite3_str_appendf(
        sql,
        "DELETE FROM \"%w\" WHERE window_end > ifnull((SELECT watermark "
        "FROM weir_pipelines WHERE pipeline = %Q), window_end - 1)",
        table, pipeline);
    return db_exec_str(db, sql, error);
}

static int early_delete_all(sqlite3 *db, struct error *error)
{
    DB_STATEMENT s = NULL;
    int code = SQLITE_DONE;
    int err =
        db_prepare(db,
                   "SELECT t.name, t.pipeline FROM weir_meta AS m"
                   " JOIN weir_tables AS t ON m.key = 'early.' || t.pipeline"
                   " JOIN sqlite_schema AS s ON s.type = 'table' AND s.name = t.name",
                   0, &s, error);
    while (!err && (code = sqlite3_step(s)) == SQLITE_ROW)
        err = early_delete(db, (const char *)sqlite3_column_text(s, 0),
                           (const char *)sqlite3_column_text(s, 1), error);
    if (!err && code != SQLITE_DONE)
        err = db_error(db, error);
    return err ? err
               : db_exec(db, "DELETE FROM weir_meta WHERE key GLOB 'early.*'", error);
}

int early_clean(sqlite3 *db, struct error *error)
{
    sqlite3_int64 found;
    int err = db_int(db, "SELECT 1 FROM weir_meta WHERE key GLOB 'early.*'", NULL,
                     &found, error);
    if (err)
        return err == -ENOENT ? 0 : err;
    err = db_exec(db, "BEGIN IMMEDIATE", error);
    if (err)
        return err;
    err = early_delete_all(db, error);
    if (!err)
        err = db_exec(db, "COMMIT", error);
    if (err)
        db_exec(db, "ROLLBACK", NULL);
    return err;
}

/* ---- The end of a run ---- */

int early_note_ending(struct store *s)
{
    char *message = NULL;
    int code = sqlite3_exec(
        s->db, "INSERT OR REPLACE INTO weir_meta VALUES ('run.ending', '')", NULL, NULL,
        &message);
    sqlite3_free(message);
    return code;
}

int early_clear_ending(sqlite3 *db, struct error *error)
{
    return db_exec(db, "DELETE FROM weir_meta WHERE key = 'run.ending'", error);
}

/* "t, g"; free it. */
static char *early_names(sqlite3 *db)
{
    DB_STATEMENT s = NULL;
    struct error error;
    int err =
        db_prepare(db,
                   "SELECT group_concat(substr(key, 7), ', ') FROM (SELECT key FROM"
                   " weir_meta WHERE key GLOB 'early.*' ORDER BY key)",
                   0, &s, &error);
    if (err || sqlite3_step(s) != SQLITE_ROW || !sqlite3_column_text(s, 0))
        return NULL;
    return sqlite3_mprintf("%s", sqlite3_column_text(s, 0));
}

int early_check_ending(struct store *s, struct error *error)
{
    sqlite3_int64 found;
    int err = db_int(s->db, "SELECT 1 FROM weir_meta WHERE key = 'run.ending'", NULL,
                     &found, error);
    if (err)
        return err == -ENOENT ? 0 : err;
    char *without = early_names(s->db);
    const char *but = without ? " but for " : "", *names = without ? without : "";
    if (s->options.relaxed && !s->options.again)
        err = error_set(
            error, -EALREADY,
            "the run before this one was stopped as it ended: pipelines may have "
            "its results%s%s; put the file back as it was before, or --again "
            "takes files once more, for all pipelines",
            but, names);
    else if (!s->options.relaxed)
        logger_warn(
            "store",
            "'%s': a 'weir run' was stopped as it ended: pipelines may have its "
            "results%s%s; its files are not to be taken again",
            s->path, but, names);
    sqlite3_free(without);
    return err ? err : early_clear_ending(s->db, error);
}
