/* SPDX-License-Identifier: Apache-2.0
 *
 * What other services have answered for entries that no checkpoint has passed yet.
 */
#include "pipeline/pipeline.h"
#include "store/db.h"
#include "store/internal.h"

int answers_prepare(struct store *s, struct error *error)
{
    int err = db_prepare(s->db,
                         "INSERT OR REPLACE INTO weir_answers"
                         " (pipeline, last, first, data) VALUES (?1, ?2, ?3, ?4)",
                         SQLITE_PREPARE_PERSISTENT, &s->statement.answers_put, error);
    return err ? err
               : db_prepare(
                     s->db,
                     "DELETE FROM weir_answers WHERE pipeline = ?1 AND last <= ?2",
                     SQLITE_PREPARE_PERSISTENT, &s->statement.answers_forget, error);
}

void answers_free(struct store *s)
{
    sqlite3_finalize(s->statement.answers_put);
    sqlite3_finalize(s->statement.answers_forget);
}

int answers_write(struct store *s, const char *pipeline,
                  const struct pipeline_answers *a)
{
    sqlite3_stmt *put = s->statement.answers_put;
    int code = sqlite3_bind_text(put, 1, pipeline, -1, SQLITE_STATIC);
    if (!code)
        code = sqlite3_bind_int64(put, 2, (sqlite3_int64)a->last);
    if (!code)
        code = sqlite3_bind_int64(put, 3, (sqlite3_int64)a->first);
    if (!code) /* SQLITE_TOOBIG: what was bound before would be written instead */
        code = sqlite3_bind_blob64(put, 4, a->data, a->size, SQLITE_STATIC);
    return code ? code : db_step(put);
}

int answers_forget(struct store *s, const char *pipeline, uint64_t position)
{
    sqlite3_stmt *forget = s->statement.answers_forget;
    int code = sqlite3_bind_text(forget, 1, pipeline, -1, SQLITE_STATIC);
    if (!code)
        code = sqlite3_bind_int64(forget, 2, (sqlite3_int64)position);
    return code ? code : db_step(forget);
}
