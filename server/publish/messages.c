/* SPDX-License-Identifier: Apache-2.0
 *
 * From SQLite to messages: what has changed, of one snapshot, each row as it is now. The key of a message are the key columns of its
 * group, its value the row as the API gives it; of a row that is gone the columns of its primary key.
 */
#include "publish/internal.h"
#include "query/rowout.h"
#include "store/db.h"

#include <errno.h>
#include <string.h>

/* Columns of the statement: number of the change | is there no such row? | the columns as people see them. Those of the key come
 * from the change, which knows them of rows that are gone, too. */
#define COLUMN_SEQ   0
#define COLUMN_GONE  1
#define COLUMN_FIRST 2

static const struct table_column *shown(const struct table *t, size_t i)
{
    return &t->column[table_shown(t, i)];
}

static int prepare(struct publisher *p, struct published *k)
{
    const struct table *t = k->base.table;
    sqlite3_str *sql = sqlite3_str_new(p->base.db);
    sqlite3_str_appendf(sql, "SELECT c.seq, t.\"%w\" IS NULL", t->column[0].name);
    for (size_t i = 0; i < t->n_columns; i++)
        sqlite3_str_appendf(sql, ", %s.\"%w\"",
                            table_shown(t, i) < t->n_primary ? "c" : "t",
                            shown(t, i)->name);
    sqlite3_str_appendall(sql, " FROM ");
    changes_append_join(sql, t, true);
    sqlite3_str_appendall(sql, " WHERE c.seq > ?2 ORDER BY c.seq LIMIT ?1");
    return db_prepare_str(p->base.db, sql, &k->changes);
}

/* An object of the columns whose places in the table are from `first` on and before `end`. */
static void put_object(const struct table *t, sqlite3_stmt *s, size_t first, size_t end,
                       struct buffer *to)
{
    char between = '{';
    buffer_clear(to);
    for (size_t i = 0; i < t->n_columns; i++) {
        const size_t place = table_shown(t, i);
        const struct table_column *c = &t->column[place];
        if (place < first || place >= end)
            continue;
        buffer_putc(to, between);
        buffer_put_json_string(to, c->name, strlen(c->name));
        buffer_putc(to, ':');
        rowout_put_value(to, s, COLUMN_FIRST + (int)i, c->type);
        between = ',';
    }
    if (between == '{')
        buffer_putc(to, between);
    buffer_putc(to, '}');
}

static int send_row(struct publisher *p, struct published *k, sqlite3_stmt *s,
                    struct publish_piece *piece, struct error *error)
{
    const struct table *t = k->base.table;
    const bool gone = sqlite3_column_int(s, COLUMN_GONE);
    put_object(t, s, 1, 1 + k->n_keys, &p->key);
    put_object(t, s, 0, gone ? t->n_primary : t->n_columns, &p->value);
    if (p->key.error || p->value.error)
        return error_set(error, -ENOMEM, "out of memory");
    const int64_t seq = sqlite3_column_int64(s, COLUMN_SEQ);
    const struct link_message message = {.topic = k->topic,
                                         .partition = RD_KAFKA_PARTITION_UA,
                                         .key = &p->key,
                                         .value = &p->value,
                                         .op = gone ? "delete" : "put",
                                         .number = "weir-seq",
                                         .is = seq,
                                         .since_us = k->base.place.since_us};
    int err = link_send(&p->link, &message, error);
    if (err)
        return err;
    piece->last = seq;
    piece->rows += !gone;
    piece->gone += gone;
    return 0;
}

/* Ends the piece before it; where there is nothing before it, nothing has been sent. */
static int meet_long_row(struct publisher *p, size_t before, struct error *error)
{
    struct error own = {""};
    int err = before ? 0 : link_drop(&p->link, &own);
    if (err)
        *error = own;
    return before ? 0 : err ? err : -EMSGSIZE;
}

/* In a snapshot. */
static int send_changes(struct publisher *p, struct published *k,
                        struct publish_piece *ret, struct error *error)
{
    size_t n = 0, bytes = 0;
    int err = 0, code = SQLITE_DONE;
    sqlite3_bind_int64(k->changes, 1, TARGET_ROWS);
    sqlite3_bind_int64(k->changes, 2, k->base.place.position);
    while (!err && bytes < TARGET_BYTES &&
           (code = sqlite3_step(k->changes)) == SQLITE_ROW) {
        if (!n++)
            err = link_begin(&p->link, error);
        if (!err)
            err = send_row(p, k, k->changes, ret, error);
        bytes += p->key.size + p->value.size;
    }
    if (err == -EMSGSIZE)
        err = meet_long_row(p, n - 1, error);
    if (!err && code != SQLITE_ROW && code != SQLITE_DONE)
        err = db_error(p->base.db, error);
    sqlite3_reset(k->changes);
    ret->all = code == SQLITE_DONE && n < TARGET_ROWS;
    return err ? err : n == 0;
}

int messages_send(struct publisher *p, struct published *k, struct publish_piece *ret,
                  struct error *error)
{
    struct changes known;
    *ret = (struct publish_piece){.last = k->base.place.position,
                                  .watermark_us = INT64_MIN,
                                  .tells_us = INT64_MIN};
    int err = k->changes || !prepare(p, k) ? 0 : db_error(p->base.db, error);
    if (!err)
        err = db_exec(p->base.db, "BEGIN", error);
    if (err)
        return err;
    err = changes_look(p->base.db, k->base.table->name, &known, error);
    if (!err) {
        k->base.last = known.last;
        err = carried_watermark(p->base.db, k->base.table->pipeline, &ret->watermark_us,
                                error);
        err = err == -ENOENT ? 0 : err;
    }
    if (!err)
        err = send_changes(p, k, ret, error);
    if (!ret->all)
        ret->watermark_us = INT64_MIN; /* rows before it are still to come */
    if (err >= 0 && ret->all)
        ret->tells_us = watermarks_begin(k, ret->watermark_us);
    int ended = db_exec(p->base.db, "COMMIT", err < 0 ? NULL : error);
    return err < 0 || !ended ? err : ended;
}
