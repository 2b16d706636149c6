/* SPDX-License-Identifier: Apache-2.0 */
#include "store/restore.h"

#include "store/db.h"
#include "store/internal.h"
#include "store/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct restore {
    sqlite3 *db;
};

int restore_open(const char *path, struct restore **ret, struct error *error)
{
    struct restore *r = calloc(1, sizeof(*r));
    if (!r)
        return error_set(error, -ENOMEM, "out of memory");
    int err = db_open(path, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, &r->db, error);
    if (err) {
        error_prefix(error, "database '%s'", path);
        free(r);
        return err;
    }
    *ret = r;
    return 0;
}

void restore_close(struct restore *r)
{
    if (!r)
        return;
    sqlite3_close(r->db);
    free(r);
}

static int restore_prepare(struct restore *r, const char *sql, const char *name,
                           sqlite3_stmt **ret, struct error *error)
{
    int err = db_prepare(r->db, sql, 0, ret, error);
    if (!err)
        sqlite3_bind_text(*ret, 1, name, -1, SQLITE_STATIC);
    return err;
}

/* 1: a row, 0: no more. */
static int restore_step(struct restore *r, sqlite3_stmt *s, struct error *error)
{
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW)
        return 1;
    return code == SQLITE_DONE ? 0 : db_error(r->db, error);
}

int restore_meta(struct restore *r, const char *key, char **ret, struct error *error)
{
    return pages_meta(r->db, key, ret, error);
}

int restore_stream(struct restore *r, const char *stream, uint64_t *ret_position,
                   struct error *error)
{
    return journals_kept(r->db, stream, ret_position, error);
}

int restore_needs(struct restore *r, const struct config *config, const char *stream,
                  struct journals_needs *ret, struct error *error)
{
    return journals_needs(r->db, config, stream, ret, error);
}

int store_watermark(sqlite3 *db, const char *pipeline, int64_t *ret_us,
                    struct error *error)
{
    sqlite3_int64 us;
    int err = db_int(db,
                     "SELECT watermark FROM weir_pipelines"
                     " WHERE watermark IS NOT NULL AND pipeline = ?",
                     pipeline, &us, error);
    if (!err)
        *ret_us = us;
    return err;
}

int restore_watermark(struct restore *r, const char *pipeline, int64_t *ret_us,
                      struct error *error)
{
    return store_watermark(r->db, pipeline, ret_us, error);
}

/* ---- Keys ------------------------------------------------------------------------------------- */

static int restore_key(sqlite3_stmt *s,
                       int (*call)(void *ctx, const struct request_id *key,
                                   int64_t taken_us),
                       void *ctx)
{
    const char *errors = (const char *)sqlite3_column_text(s, 5);
    const struct request_id key = {
        .key = (const char *)sqlite3_column_text(s, 0),
        .size = (size_t)sqlite3_column_bytes(s, 0),
        .digest = (uint64_t)sqlite3_column_int64(s, 1),
        .answer = {.accepted = (uint64_t)sqlite3_column_int64(s, 2),
                   .rejected = (uint64_t)sqlite3_column_int64(s, 3),
                   .position = (uint64_t)sqlite3_column_int64(s, 4),
                   .errors = (char *)(uintptr_t)errors,
                   .errors_size = errors ? strlen(errors) : 0}};
    return key.key ? call(ctx, &key, sqlite3_column_int64(s, 6)) : -ENOMEM;
}

int restore_keys(struct restore *r, const char *stream, int64_t since_us,
                 int (*call)(void *ctx, const struct request_id *key, int64_t taken_us),
                 void *ctx, struct error *error)
{
    DB_STATEMENT s = NULL;
    int err = restore_prepare(
        r,
        "SELECT key, digest, accepted, rejected, position, errors, taken"
        " FROM weir_requests WHERE stream = ?1 AND taken >= ?2 ORDER BY taken",
        stream, &s, error);
    if (err)
        return err;
    sqlite3_bind_int64(s, 2, since_us);
    while ((err = restore_step(r, s, error)) > 0) {
        err = restore_key(s, call, ctx);
        if (err < 0)
            return error_set(error, err, "%s", strerror(-err));
    }
    return err;
}

int restore_bookmarks(struct restore *r, const char *stream,
                      int (*call)(void *ctx, const char *source, const char *bookmark),
                      void *ctx, struct error *error)
{
    DB_STATEMENT s = NULL;
    int err = restore_prepare(
        r, "SELECT source, bookmark FROM weir_bookmarks WHERE stream = ?1", stream, &s,
        error);
    if (err)
        return err;
    while ((err = restore_step(r, s, error)) > 0) {
        const char *source = (const char *)sqlite3_column_text(s, 0),
                   *bookmark = (const char *)sqlite3_column_text(s, 1);
        err = source && bookmark ? call(ctx, source, bookmark) : -ENOMEM;
        if (err < 0)
            return error_set(error, err, "%s", strerror(-err));
    }
    return err;
}

/* ---- Checkpoints ------------------------------------------------------------------------------ */

void restore_checkpoint_free(struct restore_checkpoint *c)
{
    free(c->definition);
    free(c->marks);
    *c = (struct restore_checkpoint){0};
}

static int restore_copy(sqlite3_stmt *s, struct restore_checkpoint *c)
{
    const char *definition = (const char *)sqlite3_column_text(s, 1);
    const void *marks = sqlite3_column_blob(s, 2);
    c->position = (uint64_t)sqlite3_column_int64(s, 0);
    c->groups = (uint64_t)sqlite3_column_int64(s, 3);
    c->definition = definition ? strdup(definition) : NULL;
    if (!c->definition)
        return -ENOMEM;
    if (!marks)
        return 0;
    c->marks_size = (size_t)sqlite3_column_bytes(s, 2);
    c->marks = malloc(c->marks_size);
    if (!c->marks)
        return -ENOMEM;
    memcpy(c->marks, marks, c->marks_size);
    return 0;
}

int restore_checkpoint(struct restore *r, const char *pipeline, const char *stream,
                       struct restore_checkpoint *ret, struct error *error)
{
    DB_STATEMENT s = NULL;
    struct restore_checkpoint c = {0};
    int err =
        restore_prepare(r,
                        "SELECT position, definition, marks, groups"
                        " FROM weir_checkpoints WHERE pipeline = ?1 AND stream = ?2",
                        pipeline, &s, error);
    if (err)
        return err;
    sqlite3_bind_text(s, 2, stream, -1, SQLITE_STATIC);
    err = restore_step(r, s, error);
    if (err <= 0)
        return err ? err : -ENOENT;
    if (restore_copy(s, &c) < 0) {
        restore_checkpoint_free(&c);
        return error_set(error, -ENOMEM, "out of memory");
    }
    *ret = c;
    return 0;
}

int restore_states(struct restore *r, const char *pipeline,
                   int (*call)(void *ctx, const char *data, size_t size), void *ctx,
                   struct error *error)
{
    DB_STATEMENT s = NULL;
    int err =
        restore_prepare(r,
                        "SELECT data FROM weir_states,"
                        " (SELECT number << 40 AS first FROM weir_checkpoints"
                        "  WHERE pipeline = ?1)"
                        " WHERE id >= first AND id < first + (1 << 40) ORDER BY id",
                        pipeline, &s, error);
    if (err)
        return err;
    while ((err = restore_step(r, s, error)) > 0) {
        const char *data = sqlite3_column_blob(s, 0);
        size_t size = (size_t)sqlite3_column_bytes(s, 0);
        if (!data)
            return size ? error_set(error, -ENOMEM, "out of memory")
                        : error_set(error, -EBADMSG, "the stored groups are damaged");
        err = call(ctx, data, size);
        if (err < 0)
            return err;
    }
    return err;
}

int restore_reference(struct restore *r, const struct config_reference *c,
                      int (*take)(void *ctx, const struct batch *b,
                                  struct error *error),
                      void *ctx, uint64_t *ret_wrong, struct error *error)
{
    return reference_read(r->db, c, take, ctx, ret_wrong, error);
}

int restore_answers(struct restore *r, const char *pipeline, uint64_t position,
                    int (*call)(void *ctx, uint64_t first, uint64_t last,
                                const char *data, size_t size),
                    void *ctx, struct error *error)
{
    DB_STATEMENT s = NULL;
    int err = restore_prepare(r,
                              "SELECT first, last, data FROM weir_answers"
                              " WHERE pipeline = ?1 AND last > ?2 ORDER BY last",
                              pipeline, &s, error);
    if (err)
        return err;
    sqlite3_bind_int64(s, 2, (sqlite3_int64)position);
    while ((err = restore_step(r, s, error)) > 0) {
        const char *data = sqlite3_column_blob(s, 2);
        size_t size = (size_t)sqlite3_column_bytes(s, 2);
        err = data ? call(ctx, (uint64_t)sqlite3_column_int64(s, 0),
                          (uint64_t)sqlite3_column_int64(s, 1), data, size)
                   : -ENOMEM;
        if (err < 0)
            return error_set(error, err, "%s",
                             err == -ENOMEM
                                 ? "out of memory"
                                 : "the stored answers of other services are damaged");
    }
    return err;
}
